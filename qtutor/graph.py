"""A network as data: run in floats, calibrated, quantized, and run on integers.  Notebook 07.

A `Graph` is a tuple of nodes, each of which names the tensors that it reads, and the shape of the input.
Weights stand beside it, name -> array, and every function takes both: no network is built in.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from qtutor.affine import QParams, check_codes
from qtutor.calibration import MinMaxObserver
from qtutor.fixedpoint import Multiply
from qtutor.layers import Accumulate, QAdd, QAveragePool, QConv2d, QLinear, fold_batch_norm
from qtutor.matmul import integer_matmul
from qtutor.rounding import INT8, IntRange

EPSILON = 1e-5  # batch norm divides by sqrt(variance + EPSILON)
IMAGES_AT_ONCE = 200  # more are run in parts, since NumPy is slower where its temporaries leave the cache

Weights = Mapping[str, np.ndarray]


# ---- the graph ----------------------------------------------------------------------------------------


class Conv(NamedTuple):
    """Convolution with zero padding, so that stride 1 keeps the size; batch norm; leaky ReLU of this slope.

    Its weights: weight (out_channels, in_channels, kernel, kernel), with in_channels = 1 if depthwise, and
    gamma, beta, mean, variance of the batch norm, each (out_channels,).
    """

    name: str
    source: str
    in_channels: int
    out_channels: int
    kernel: int = 3  # odd
    stride: int = 1
    depthwise: bool = False  # True: channel c of the output sees channel c of the input alone
    slope: float = 1.0  # for x < 0: 1 is no activation, 0 is ReLU


class Add(NamedTuple):
    """Sum of two tensors of one shape, with no activation after it."""

    name: str
    left: str
    right: str


class Pool(NamedTuple):
    """Global average pooling: the mean over height and width."""

    name: str
    source: str


class Linear(NamedTuple):
    """Matrix product with a bias.  Its weights: weight (out_features, in_features), bias (out_features,)."""

    name: str
    source: str
    in_features: int
    out_features: int


Node = Conv | Add | Pool | Linear


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of computation; the tensor that a node makes goes by the node's name.

    nodes        Conv, Add, Pool and Linear; each reads "input" or earlier nodes, by their names
    input_shape  of one image: (channels, height, width)

    Raises ValueError where a name is taken or unknown, or where a node cannot read a tensor of that shape.

    >>> graph = Graph((Conv("edges", "input", 1, 4, stride=2), Pool("mean", "edges")), (1, 6, 10))
    >>> graph.shapes
    {'input': (1, 6, 10), 'edges': (4, 3, 5), 'mean': (4,)}
    >>> Graph((Linear("answer", "input", 5, 2),), (1, 6, 10))
    Traceback (most recent call last):
    ValueError: Linear 'answer' needs input of shape (5,), got (1, 6, 10)
    """

    nodes: tuple[Node, ...]
    input_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        self.shapes  # noqa: B018  # raises where the graph makes no sense

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """name -> shape of that tensor for one image, in the order of computation."""
        shapes = {"input": self.input_shape}
        for node in self.nodes:
            if node.name in shapes:
                raise ValueError(f"two tensors are named {node.name!r}")
            for source in inputs_of(node):
                if source not in shapes:
                    raise ValueError(
                        f"{node.name!r} reads {source!r}, but there are only {[*shapes]} before it"
                    )
            shapes[node.name] = _shape_after(node, shapes)
        return shapes


def inputs_of(node: Node) -> tuple[str, ...]:
    """The names of the tensors that a node reads."""
    return (node.left, node.right) if isinstance(node, Add) else (node.source,)


def _shape_after(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of what a node makes, or ValueError where it cannot read what it names."""
    source, *_ = inputs_of(node)
    shape = shapes[source]
    needs: tuple[Any, ...]
    match node:
        case Conv():
            if node.kernel % 2 == 0 or min(node.kernel, node.stride) < 1:
                raise ValueError(f"Conv {node.name!r} needs an odd kernel and stride >= 1, got {node}")
            if node.depthwise and node.in_channels != node.out_channels:
                raise ValueError(f"depthwise {node.name!r} needs in_channels = out_channels, got {node}")
            needs = (node.in_channels, *shape[1:]) if len(shape) == 3 else (node.in_channels, "h", "w")
            after = (node.out_channels, *(-(-size // node.stride) for size in shape[1:]))
        case Add():
            needs, after = shapes[node.right], shape
        case Pool():
            needs = shape if len(shape) == 3 else ("channels", "h", "w")
            after = shape[:1]
        case Linear():
            needs, after = (node.in_features,), (node.out_features,)
    if shape != needs:
        wanted = f"({', '.join(map(str, needs))}{',' * (len(needs) == 1)})"
        raise ValueError(f"{type(node).__name__} {node.name!r} needs {source} of shape {wanted}, got {shape}")
    return after


def weight_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array that the graph's nodes need, in the order of the nodes.

    >>> weight_shapes(Graph((Conv("edges", "input", 1, 4), Pool("mean", "edges")), (1, 6, 6)))["edges.weight"]
    (4, 1, 3, 3)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for node in graph.nodes:
        match node:
            case Conv(name=name):
                channels_seen = 1 if node.depthwise else node.in_channels
                shapes[f"{name}.weight"] = (node.out_channels, channels_seen, node.kernel, node.kernel)
                for constant in ("gamma", "beta", "mean", "variance"):
                    shapes[f"{name}.{constant}"] = (node.out_channels,)
            case Linear(name=name):
                shapes[f"{name}.weight"] = (node.out_features, node.in_features)
                shapes[f"{name}.bias"] = (node.out_features,)
    return shapes


# ---- in floats ----------------------------------------------------------------------------------------


def forward(graph: Graph, weights: Weights, x: np.ndarray) -> dict[str, np.ndarray]:
    """Run the network in floats: name -> float32 tensor, in the order of computation.

    weights  float32, names and shapes as in `weight_shapes(graph)`
    x        float32 (n, *graph.input_shape)

    A convolution's tensor is the one after batch norm and activation.
    Raises ValueError or TypeError for weights or x of a wrong name, shape or dtype.

    >>> from qtutor.models.digits import CNN, load_digits, load_weights, to_input
    >>> tensors = forward(CNN, load_weights(), to_input(load_digits().images[:5]))
    >>> {name: x.shape for name, x in tensors.items() if name in ("stem", "block2.add", "logits")}
    {'stem': (5, 24, 8, 8), 'block2.add': (5, 48, 4, 4), 'logits': (5, 10)}
    >>> tensors["logits"].argmax(axis=1)
    array([0, 1, 2, 3, 4])
    """
    _check(graph, weights)
    x = np.asarray(x)
    if x.dtype != np.float32:
        raise TypeError(f"forward needs x in float32, got {x.dtype}")
    if x.ndim == 0 or x.shape[1:] != graph.input_shape:
        raise ValueError(f"forward needs x of shape (n, *{graph.input_shape}), got {x.shape}")
    tensors = {"input": x}
    for node in graph.nodes:
        match node:
            case Conv(name=name):
                y = convolve(tensors[node.source], weights[f"{name}.weight"], node)
                y = batch_norm(y, *(weights[f"{name}.{v}"] for v in ("gamma", "beta", "mean", "variance")))
                tensors[name] = leaky_relu(y, node.slope)
            case Add(name=name):
                tensors[name] = tensors[node.left] + tensors[node.right]
            case Pool(name=name):
                tensors[name] = tensors[node.source].mean(axis=(2, 3))
            case Linear(name=name):
                tensors[name] = tensors[node.source] @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return tensors


def convolve(x: np.ndarray, weight: np.ndarray, node: Conv) -> np.ndarray:
    """y[n,o,h,w] = sum over c, i, j of weight[o,c,i,j] * x[n,c,stride*h+i,stride*w+j], with x padded.

    x is (n, in_channels, height, width).  In a depthwise layer c = o, and the sum is over i and j alone.
    """
    views = taps(pad(x, node.kernel), node.kernel, node.stride)
    if node.depthwise:
        products = (weight[:, 0, i, j, np.newaxis, np.newaxis] * view for i, j, view in views)
    else:
        products = (mix_channels(weight[:, :, i, j], view) for i, j, view in views)
    return np.asarray(sum(products))


def pad(x: np.ndarray, kernel: int) -> np.ndarray:
    """Zeros around each image, so that a kernel of odd size can stand on every pixel."""
    edge = kernel // 2
    return np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))


def taps(x: np.ndarray, kernel: int, stride: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each place (i, j) of the kernel, what all the output pixels see there: (n, c, out_h, out_w).

    x is padded already.  The views share its memory, so that training can add gradients into them.

    >>> [(i, j, view.ravel().tolist()) for i, j, view in taps(np.arange(6).reshape(1, 1, 2, 3), 2, 1)]
    [(0, 0, [0, 1]), (0, 1, [1, 2]), (1, 0, [3, 4]), (1, 1, [4, 5])]
    """
    height, width = x.shape[2] - kernel + 1, x.shape[3] - kernel + 1
    for i in range(kernel):
        for j in range(kernel):
            yield i, j, x[:, :, i : i + height : stride, j : j + width : stride]


def mix_channels(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """y[n,o,h,w] = sum over c of matrix[o,c] * x[n,c,h,w]: a 1x1 convolution is a matrix product."""
    n, channels, height, width = x.shape
    return (matrix @ x.reshape(n, channels, height * width)).reshape(n, len(matrix), height, width)


def batch_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> np.ndarray:
    """y = gamma * (x - mean) / sqrt(variance + EPSILON) + beta, for each channel of (n, channels, h, w).

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1.
    """
    gamma, beta, mean, variance = (v[:, np.newaxis, np.newaxis] for v in (gamma, beta, mean, variance))
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """x where x >= 0, slope * x elsewhere, for a slope of at most 1.

    >>> leaky_relu(np.array([-8.0, 0.0, 8.0]), 0.125).tolist()
    [-1.0, 0.0, 8.0]
    """
    return np.maximum(x, slope * x)


def _check(graph: Graph, weights: Weights) -> None:
    """ValueError unless weights holds each array of `weight_shapes`, as float32 of that shape."""
    for name, shape in weight_shapes(graph).items():
        if name not in weights:
            raise ValueError(f"weights lack {name!r}, which must be float32 of shape {shape}")
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            given = f"{weights[name].dtype} of shape {weights[name].shape}"
            raise ValueError(f"weights[{name!r}] must be float32 of shape {shape}, got {given}")


# ---- from floats to integers --------------------------------------------------------------------------


def calibrate(
    graph: Graph,
    weights: Weights,
    x: np.ndarray,
    to: IntRange = INT8,
    *,
    observer: Callable[[], Any] = MinMaxObserver,
    symmetric: bool = False,
) -> dict[str, QParams]:
    """A map for every tensor, name -> map, from what the network makes of a calibration set.

    weights, x  as for `forward`
    to          the codes of every tensor
    observer    makes an observer for each tensor, such as MSEObserver
    symmetric   tensors without a zero-point

    >>> from qtutor.models.digits import CNN, load_digits, load_weights, to_input
    >>> maps = calibrate(CNN, load_weights(), to_input(load_digits().images[:100]))
    >>> {name: int(maps[name].zero_point) for name in ("input", "stem", "block1.add")}
    {'input': -128, 'stem': -94, 'block1.add': -16}
    """
    tensors = forward(graph, weights, x)
    return {name: observer().observe(t).qparams(to, symmetric=symmetric) for name, t in tensors.items()}


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """What a network on integers consists of.

    graph   its nodes
    input   the map of its input
    layers  name -> QConv2d, QLinear, QAdd or QAveragePool, for every node; or whatever is called like these

    To ask "what if", replace a constant: `dataclasses.replace(network.layers["stem"], pad_code=0)`.
    """

    graph: Graph
    input: QParams
    layers: Mapping[str, Any]

    def __post_init__(self) -> None:
        names = [node.name for node in self.graph.nodes]
        if list(self.layers) != names:
            raise ValueError(f"layers must be named {names}, in this order, got {list(self.layers)}")
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def __reduce__(self) -> tuple:  # a MappingProxyType can be neither copied nor pickled
        return QuantizedNetwork, (self.graph, self.input, dict(self.layers))

    @property
    def qparams(self) -> dict[str, QParams]:
        """name -> map, of every tensor."""
        return {"input": self.input, **{name: layer.output for name, layer in self.layers.items()}}


def quantize_network(
    graph: Graph,
    weights: Weights,
    qparams: Mapping[str, QParams],
    *,
    weight_range: IntRange = INT8,
    per_channel: bool = True,
) -> QuantizedNetwork:
    """The network on integers, with these maps of its tensors.

    weights       as for `forward`
    qparams       name -> map of every tensor, such as `calibrate` returns
    weight_range  the codes of the weights, always symmetric; biases are int32
    per_channel   one scale for each output channel of a weight, or one for all of it
    """
    how: dict[str, Any] = {"to": weight_range, "per_channel": per_channel}
    layers: dict[str, Any] = {}
    for node in graph.nodes:
        output = qparams[node.name]
        match node:
            case Conv(name=name, source=source):
                normalization = (weights[f"{name}.{v}"] for v in ("gamma", "beta", "mean", "variance"))
                weight, bias = fold_batch_norm(weights[f"{name}.weight"], *normalization, epsilon=EPSILON)
                layers[name] = QConv2d.from_real(
                    weight,
                    bias,
                    qparams[source],
                    output,
                    **how,
                    slope=node.slope,
                    stride=node.stride,
                    padding=node.kernel // 2,
                    groups=node.in_channels if node.depthwise else 1,
                )
            case Add(name=name, left=left, right=right):
                layers[name] = QAdd.from_qparams(qparams[left], qparams[right], output)
            case Pool(name=name, source=source):
                _, height, width = graph.shapes[source]
                layers[name] = QAveragePool.from_qparams(qparams[source], output, count=height * width)
            case Linear(name=name, source=source):
                weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
                layers[name] = QLinear.from_real(weight, bias, qparams[source], output, **how)
    return QuantizedNetwork(graph, qparams["input"], layers)


# ---- on integers --------------------------------------------------------------------------------------


def run(
    network: QuantizedNetwork, q: np.ndarray, *, multiply: Multiply, accumulate: Accumulate = integer_matmul
) -> dict[str, np.ndarray]:
    """The codes of every tensor: name -> codes, in the order of computation.

    q           codes of the input, (n, *graph.input_shape): quantize(x, network.input)
    multiply    such as multiply_double_rounding: the codes depend on it, so there is no default
    accumulate  integer_matmul, where float BLAS carries exact integers; or integer_only_matmul, and then
                there is not a single float operation from here to the last code: the codes are the same

    >>> from qtutor import multiply_double_rounding, quantize
    >>> from qtutor.models.digits import CNN, load_digits, load_weights, to_input
    >>> x, weights = to_input(load_digits().images[:100]), load_weights()
    >>> network = quantize_network(CNN, weights, calibrate(CNN, weights, x))
    >>> tensors = run(network, quantize(x[:5], network.input), multiply=multiply_double_rounding)
    >>> tensors["logits"].dtype, tensors["logits"].argmax(axis=1)
    (dtype('int8'), array([0, 1, 2, 3, 4]))
    """
    q = check_codes(q, network.input.codes, "run")
    if q.ndim == 0 or q.shape[1:] != network.graph.input_shape:
        raise ValueError(f"run needs codes of shape (n, *{network.graph.input_shape}), got {q.shape}")
    if len(q) > IMAGES_AT_ONCE:
        parts = np.array_split(q, range(IMAGES_AT_ONCE, len(q), IMAGES_AT_ONCE))
        runs = [run(network, part, multiply=multiply, accumulate=accumulate) for part in parts]
        return {name: np.concatenate([tensors[name] for tensors in runs]) for name in runs[0]}
    tensors = {"input": q}
    for node in network.graph.nodes:
        how: dict[str, Any] = {"multiply": multiply}
        if isinstance(node, Conv | Linear):
            how["accumulate"] = accumulate
        layer = network.layers[node.name]
        tensors[node.name] = layer(*(tensors[source] for source in inputs_of(node)), **how)
    return tensors

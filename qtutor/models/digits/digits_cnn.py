"""The running network: a small float CNN that reads 8x8 digits.  Later chapters quantize this very network.

It stands in one place, as data: `ARCHITECTURE`, a tuple of layer descriptions.  `forward` walks it; so do
train.py and every chapter that folds, quantizes or runs the network on integers.

    input 1x8x8 -> stem 24x8x8 -> block1 (depthwise, pointwise, + stem) -> down (depthwise / 2, pointwise)
    48x4x4 -> block2 (depthwise, pointwise, + down) -> pool 48 -> logits 10             6,082 parameters

A batch norm follows each convolution, then a leaky ReLU, except where the result is added to another
tensor: there nothing follows, and nothing follows the addition.  So the tensors have a negative side that
is small but not empty, and their zero-points lie inside the integer range.

Sources: depthwise separable convolution, Howard et al. 2017, arXiv:1704.04861, section 3.1; a block that
ends without an activation before its addition, Sandler et al. 2018, arXiv:1801.04381, section 3.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

MAX_PIXEL = 16  # a pixel counts the inked dots of a 4x4 cell: 0..16
SLOPE = 0.125  # of the leaky ReLU for x < 0: a power of two, which is a shift for integers
EPSILON = 1e-5  # batch norm divides by sqrt(variance + EPSILON)


class Conv(NamedTuple):
    """Convolution with zero padding, then batch norm, then perhaps leaky ReLU."""

    name: str
    source: str
    in_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    depthwise: bool = False  # True: channel c of the output sees channel c of the input alone
    activation: bool = True  # True: leaky ReLU after the batch norm


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
    """Matrix product with a bias."""

    name: str
    source: str
    in_features: int
    out_features: int


ARCHITECTURE: tuple[Conv | Add | Pool | Linear, ...] = (
    Conv("stem", "input", 1, 24),
    Conv("block1.depthwise", "stem", 24, 24, depthwise=True),
    Conv("block1.pointwise", "block1.depthwise", 24, 24, kernel=1, activation=False),
    Add("block1.add", "block1.pointwise", "stem"),
    Conv("down.depthwise", "block1.add", 24, 24, stride=2, depthwise=True),
    Conv("down.pointwise", "down.depthwise", 24, 48, kernel=1),
    Conv("block2.depthwise", "down.pointwise", 48, 48, depthwise=True),
    Conv("block2.pointwise", "block2.depthwise", 48, 48, kernel=1, activation=False),
    Add("block2.add", "block2.pointwise", "down.pointwise"),
    Pool("pool", "block2.add"),
    Linear("logits", "pool", 48, 10),
)


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of the network, in the order of `ARCHITECTURE`.

    A convolution's weight is (out_channels, in_channels, kernel, kernel), in_channels = 1 when depthwise.

    >>> weight_shapes()["down.pointwise.weight"], weight_shapes()["down.depthwise.weight"]
    ((48, 24, 1, 1), (24, 1, 3, 3))
    >>> [name for name in weight_shapes() if name.startswith("stem")]
    ['stem.weight', 'stem.gamma', 'stem.beta', 'stem.mean', 'stem.variance']
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in ARCHITECTURE:
        match layer:
            case Conv(name=name):
                channels_seen = 1 if layer.depthwise else layer.in_channels
                shapes[f"{name}.weight"] = (layer.out_channels, channels_seen, layer.kernel, layer.kernel)
                for constant in ("gamma", "beta", "mean", "variance"):
                    shapes[f"{name}.{constant}"] = (layer.out_channels,)
            case Linear(name=name):
                shapes[f"{name}.weight"] = (layer.out_features, layer.in_features)
                shapes[f"{name}.bias"] = (layer.out_features,)
    return shapes


def forward(weights: Mapping[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """Run the network on digits; every named tensor, in the order of computation.

    weights  what `load_digits_cnn` returns: float32, names and shapes as in `weight_shapes`
    images   integers 0..16 of shape (n, 8, 8), as in `load_digits().images`; `to_input` divides them by 16

    Returns name -> float32 array: (n, channels, height, width) from "input" to "block2.add", then "pool"
    (n, 48) and "logits" (n, 10).  A convolution's tensor is the one after batch norm and activation.
    Raises ValueError or TypeError for weights or images of a wrong name, shape, dtype or range.

    >>> from qtutor.models.digits import load_digits, load_digits_cnn
    >>> tensors = forward(load_digits_cnn(), load_digits().images[:5])
    >>> {name: x.shape for name, x in tensors.items() if name in ("stem", "block2.add", "logits")}
    {'stem': (5, 24, 8, 8), 'block2.add': (5, 48, 4, 4), 'logits': (5, 10)}
    >>> tensors["logits"].argmax(axis=1)
    array([0, 1, 2, 3, 4])
    """
    _check(weights)
    tensors = {"input": to_input(images)}
    for layer in ARCHITECTURE:
        match layer:
            case Conv(name=name):
                y = convolve(tensors[layer.source], weights[f"{name}.weight"], layer)
                y = batch_norm(y, *(weights[f"{name}.{v}"] for v in ("gamma", "beta", "mean", "variance")))
                tensors[name] = leaky_relu(y) if layer.activation else y
            case Add(name=name):
                tensors[name] = tensors[layer.left] + tensors[layer.right]
            case Pool(name=name):
                tensors[name] = tensors[layer.source].mean(axis=(2, 3))
            case Linear(name=name):
                tensors[name] = tensors[layer.source] @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return tensors


def to_input(images: np.ndarray) -> np.ndarray:
    """Pixels as the network takes them: (n, 8, 8) integers 0..16 -> (n, 1, 8, 8) float32 0..1.

    Raises TypeError for pixels that are not integers, ValueError for another shape or a pixel beyond 0..16.

    >>> to_input(np.full((2, 8, 8), 4))[1, 0, 0, :2].tolist()
    [0.25, 0.25]
    """
    images = np.asarray(images)
    if images.dtype.kind not in "iu":  # pixels that were divided by 16 before would be divided twice
        raise TypeError(f"images must be integers 0..{MAX_PIXEL}, got {images.dtype}")
    if images.ndim != 3 or images.shape[1:] != (8, 8):
        raise ValueError(f"images must have the shape (n, 8, 8), got {images.shape}")
    if images.size and (images.min() < 0 or images.max() > MAX_PIXEL):
        raise ValueError(f"pixels must lie in 0..{MAX_PIXEL}, got {images.min()}..{images.max()}")
    return np.divide(images[:, np.newaxis], MAX_PIXEL, dtype=np.float32)


def convolve(x: np.ndarray, weight: np.ndarray, layer: Conv) -> np.ndarray:
    """y[n,o,h,w] = sum over c, i, j of weight[o,c,i,j] * x[n,c,stride*h+i,stride*w+j], with x padded.

    x is (n, in_channels, height, width).  In a depthwise layer c = o, and the sum is over i and j alone.
    """
    views = taps(pad(x, layer.kernel), layer.kernel, layer.stride)
    if layer.depthwise:
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


def leaky_relu(x: np.ndarray) -> np.ndarray:
    """x where x >= 0, SLOPE * x elsewhere.

    >>> leaky_relu(np.array([-8.0, 0.0, 8.0])).tolist()
    [-1.0, 0.0, 8.0]
    """
    return np.maximum(x, SLOPE * x)


def _check(weights: Mapping[str, np.ndarray]) -> None:
    """ValueError unless weights holds each array of `weight_shapes`, as float32 of that shape."""
    for name, shape in weight_shapes().items():
        if name not in weights:
            raise ValueError(f"weights lack {name!r}, which must be float32 of shape {shape}")
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            given = f"{weights[name].dtype} of shape {weights[name].shape}"
            raise ValueError(f"weights[{name!r}] must be float32 of shape {shape}, got {given}")

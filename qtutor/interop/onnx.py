"""A quantized network as an ONNX graph, for engines that others wrote to run (needs the package `onnx`).

There are two graphs of one network, both from int8 codes of the input to int8 codes of every tensor:

export_integers  integer operators alone.  Requantization is by mantissa and shift, as in `fixedpoint`, so
                 every engine gives the codes of `run` with the same rounding.
export_qlinear   QLinearConv and friends, which requantize by a float32.  ONNX Runtime gives the codes of
                 `run` with multiply_float on the network that `float_network` makes, if that adds as the
                 session does: a default session fuses the three operators of an add into one.

The types of the operands decide whether sums of products are exact.  With uint8 codes and int8 weights,
ONNX Runtime saturates pairs of products at 16 bits on an x86-64 processor without VNNI (`engines` has the
rule).  With int8 for both, as here, it is exact: seen with 1.24.1 and 1.32.0 on AVX2 without VNNI.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from qtutor.affine import QParams
from qtutor.engines.onnxruntime import dequantize_linear, qlinear_add, quantize_linear
from qtutor.fixedpoint import FixedPointMultiplier, Multiply
from qtutor.graph import Add, Conv, Graph, Linear, Pool, QuantizedNetwork
from qtutor.layers import SPARE_BITS, QAdd, QAveragePool, QConv2d, QLinear
from qtutor.rounding import INT8, INT32

SPACE = np.array([2, 3], np.int64)  # the axes height and width
OPSET, IR_VERSION = 21, 10  # of 2024: what is installed today reads them

Ports = Mapping[str, tuple[int, Sequence[int | None]]]


class OnnxGraph:
    """Nodes and constants, in the order of computation.  A tensor goes by its name.

    >>> graph = OnnxGraph()
    >>> graph.add("Add", "x", np.int64(3), name="y")
    'y'
    >>> list(graph.nodes[0].input), numpy_helper.to_array(graph.constants[0]).item()
    (['x', 'constant 0'], 3)
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self, operator: str, *inputs: str | np.ndarray | np.generic, name: str = "", **attributes: Any
    ) -> str:
        """Add a node and return the name of its result.  An input that is not a name becomes a constant."""
        name = name or f"{operator} {len(self.nodes)}"
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray | np.generic) -> str:
        """Add a constant of the dtype that it has and return its name."""
        name = f"constant {len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def model(self, inputs: Ports, outputs: Ports) -> onnx.ModelProto:
        """The graph, with its inputs and outputs: name -> element type and shape, None for an open axis."""
        sides = [
            [helper.make_tensor_value_info(name, *port) for name, port in ports.items()]
            for ports in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "qtutor", sides[0], sides[1], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


# ---- integers alone -----------------------------------------------------------------------------------

# (graph, acc, mantissa, shift) -> the product, as the name of an int64 tensor; acc is one, too, and mantissa
# and shift are int64 arrays that broadcast against it
MultiplyNodes = Callable[[OnnxGraph, str, np.ndarray, np.ndarray], str]


def single_rounding_nodes(graph: OnnxGraph, acc: str, mantissa: np.ndarray, shift: np.ndarray) -> str:
    """What multiply_single_rounding computes: floor((acc * mantissa + half) / 2**(31 + shift)).

    Not saturated at int32, since codes are: they end sooner.

    >>> graph = OnnxGraph()
    >>> _ = single_rounding_nodes(graph, "acc", np.int64(2**30), np.int64(7))
    >>> [node.op_type for node in graph.nodes]
    ['Mul', 'Add', 'Mod', 'Sub', 'Div']
    """
    divisor = np.int64(1) << (31 + shift)
    product = graph.add("Mul", acc, mantissa)
    return floor_divide(graph, graph.add("Add", product, divisor >> 1), divisor)


def double_rounding_nodes(graph: OnnxGraph, acc: str, mantissa: np.ndarray, shift: np.ndarray) -> str:
    """What multiply_double_rounding computes: floor((acc * mantissa + 2**30) / 2**31), then / 2**shift.

    >>> graph = OnnxGraph()
    >>> _ = double_rounding_nodes(graph, "acc", np.int64(2**30), np.int64(7))
    >>> [node.op_type for node in graph.nodes]
    ['Mul', 'Add', 'Mod', 'Sub', 'Div', 'Abs', 'Add', 'Div', 'Sign', 'Mul']
    """
    if (shift < 0).any():
        acc = graph.add("Mul", acc, np.int64(1) << np.maximum(-shift, 0))
        # not Clip, Min or Max: to ONNX Runtime 1.24 to 1.26, 2**31 and 2**31 - 1 are the same float32 there
        for beyond, end in (("Greater", np.int64(INT32.max)), ("Less", np.int64(INT32.min))):
            acc = graph.add("Where", graph.add(beyond, acc, end), end, acc)
    product = graph.add("Mul", acc, mantissa)
    high = floor_divide(graph, graph.add("Add", product, np.int64(2**30)), np.int64(2**31))
    divisor = np.int64(1) << np.maximum(shift, 0)
    size = graph.add("Div", graph.add("Add", graph.add("Abs", high), divisor >> 1), divisor)
    return graph.add("Mul", graph.add("Sign", high), size)


def floor_divide(graph: OnnxGraph, x: str, divisor: np.ndarray | np.generic) -> str:
    """floor(x / divisor).  Div truncates, but Mod is in 0..divisor - 1, and x - Mod leaves no remainder."""
    return graph.add("Div", graph.add("Sub", x, graph.add("Mod", x, divisor)), divisor)


def export_integers(network: QuantizedNetwork, *, multiply: MultiplyNodes) -> onnx.ModelProto:
    """The network in integer operators: there is no float in the graph.

    network   from quantize_network, all codes within int8, else ValueError
    multiply  single_rounding_nodes or double_rounding_nodes; as for `run`, there is no default

    Its codes are those of run(network, q, multiply=multiply_single_rounding), or multiply_double_rounding.

    >>> from qtutor.graph import calibrate, quantize_network
    >>> from qtutor.models.digits import CNN, load_digits, load_weights, to_input
    >>> maps = calibrate(CNN, load_weights(), to_input(load_digits().images[:100]))
    >>> network = quantize_network(CNN, load_weights(), maps)
    >>> graph = export_integers(network, multiply=double_rounding_nodes).graph
    >>> sorted({helper.tensor_dtype_to_np_dtype(constant.data_type).name for constant in graph.initializer})
    ['int32', 'int64', 'int8']
    """
    _check_int8(network)
    graph = OnnxGraph()

    def centred(source: str, qparams: QParams) -> str:
        return graph.add("Sub", graph.add("Cast", source, to=TensorProto.INT64), np.int64(qparams.zero_point))

    def times(acc: str, multiplier: FixedPointMultiplier, *, axes: int = 0) -> str:
        shape = (*multiplier.mantissa.shape, *[1] * axes)  # the channels, and the axes after them
        mantissa, shift = (x.astype(np.int64).reshape(shape) for x in (multiplier.mantissa, multiplier.shift))
        return multiply(graph, acc, mantissa, shift)

    for node in network.graph.nodes:
        layer = network.layers[node.name]
        match node:
            case Conv(source=source) | Linear(source=source):
                if isinstance(node, Conv):
                    operator, weight, axes, attributes = "ConvInteger", layer.weight.q, 2, _geometry(layer)
                else:
                    operator, weight, axes, attributes = "MatMulInteger", layer.weight.q.T, 0, {}
                acc = graph.add(operator, source, weight, _zero_point(layer.input), **attributes)
                acc = graph.add("Add", acc, layer.bias.reshape(-1, *[1] * axes))
                acc = graph.add("Cast", acc, to=TensorProto.INT64)
                y = times(acc, layer.multiplier, axes=axes)
                if layer.negative_multiplier is not None:
                    negative = times(acc, layer.negative_multiplier, axes=axes)
                    y = graph.add("Where", graph.add("Less", acc, np.int64(0)), negative, y)
            case Pool(source=source):
                acc = graph.add("ReduceSum", centred(source, layer.input), SPACE, keepdims=0)
                y = times(acc, layer.multiplier)
            case Add(left=left, right=right):
                y1 = graph.add("Mul", centred(left, layer.left), np.int64(2**SPARE_BITS))
                y2 = graph.add("Mul", centred(right, layer.right), np.int64(2**SPARE_BITS))
                acc = graph.add("Add", times(y1, layer.left_multiplier), times(y2, layer.right_multiplier))
                y = times(acc, layer.output_multiplier)
        q = graph.add("Add", y, np.int64(layer.output.zero_point))
        q = graph.add("Clip", q, np.int64(layer.output.qmin), np.int64(layer.output.qmax))
        graph.add("Cast", q, to=TensorProto.INT8, name=node.name)
    return _with_every_tensor(graph, network.graph)


# ---- quantized operators ------------------------------------------------------------------------------


def export_qlinear(network: QuantizedNetwork) -> onnx.ModelProto:
    """The network in quantized operators, which take scales and zero-points.

    network  from quantize_network, all codes within int8, else ValueError

    Convolution is QLinearConv, as is the last layer, since QLinearMatMul has no bias; the average pool is
    QLinearMatMul with weights 1 / count; the residual add is DequantizeLinear, Add, QuantizeLinear, which
    ONNX Runtime fuses from graph optimization level EXTENDED on, and so by default (`float_network`).  A
    LeakyRelu behind a QLinearConv would round a second time, which makes another network.  But as rounding
    keeps the order, max(x, slope * x) is the larger of two QLinearConv, one at scale output.scale / slope.

    >>> from qtutor.graph import calibrate, quantize_network
    >>> from qtutor.models.digits import CNN, load_digits, load_weights, to_input
    >>> maps = calibrate(CNN, load_weights(), to_input(load_digits().images[:100]))
    >>> network = quantize_network(CNN, load_weights(), maps)
    >>> operators = [node.op_type for node in export_qlinear(network).graph.node]
    >>> {name: operators.count(name) for name in ("QLinearConv", "Max", "QLinearMatMul", "QuantizeLinear")}
    {'QLinearConv': 13, 'Max': 5, 'QLinearMatMul': 1, 'QuantizeLinear': 2}
    """
    _check_int8(network)
    graph = OnnxGraph()

    def convolve(source: str, layer: Any, weight: np.ndarray, slope: float = 1.0, **attributes: Any) -> str:
        scale = layer.weight.qparams.scale
        operands = (
            layer.input.scale,
            _zero_point(layer.input),
            weight,
            scale,
            np.zeros(scale.shape, np.int8),
        )
        result = (layer.output.scale / np.float32(slope), _zero_point(layer.output), layer.bias)
        return graph.add("QLinearConv", source, *operands, *result, **attributes)

    def dequantized(source: str, qparams: QParams) -> str:
        return graph.add("DequantizeLinear", source, qparams.scale, _zero_point(qparams))

    for node in network.graph.nodes:
        layer = network.layers[node.name]
        match node:
            case Conv(source=source):
                q = convolve(source, layer, layer.weight.q, **_geometry(layer))
                if node.slope == 0:
                    q = graph.add("Max", q, _zero_point(layer.output))
                elif node.slope < 1:
                    negative = convolve(source, layer, layer.weight.q, node.slope, **_geometry(layer))
                    q = graph.add("Max", q, negative)
            case Linear(source=source):
                pixel = graph.add("Unsqueeze", source, SPACE)
                q = convolve(pixel, layer, layer.weight.q[:, :, np.newaxis, np.newaxis])
                q = graph.add("Squeeze", q, SPACE)
            case Pool(source=source):
                rows = graph.add("Reshape", source, np.array([0, 0, -1], np.int64))  # 0: as it is
                ones = (np.ones((layer.count, 1), np.int8), np.float32(1 / layer.count), np.int8(0))
                maps = (layer.input.scale, _zero_point(layer.input), *ones, layer.output.scale)
                q = graph.add("QLinearMatMul", rows, *maps, _zero_point(layer.output))
                q = graph.add("Squeeze", q, SPACE[:1])
            case Add(left=left, right=right):
                x = graph.add("Add", dequantized(left, layer.left), dequantized(right, layer.right))
                q = graph.add("QuantizeLinear", x, layer.output.scale, _zero_point(layer.output))
        # engines saturate at the ends of int8, and a smaller range ends sooner
        ends = (np.int8(layer.output.qmin), np.int8(layer.output.qmax))
        graph.add("Clip", q, *ends, name=node.name)
    return _with_every_tensor(graph, network.graph)


# (q1, q2, left, right, output) -> codes of the sum
AddCodes = Callable[[np.ndarray, np.ndarray, QParams, QParams, QParams], np.ndarray]


def unfused_add(q1: np.ndarray, q2: np.ndarray, left: QParams, right: QParams, output: QParams) -> np.ndarray:
    """DequantizeLinear, Add, QuantizeLinear: a session with graph optimization level BASIC, or none.

    >>> left, right, output = QParams(1.5, 10), QParams(0.5, 0), QParams(1.0, 0)
    >>> unfused_add(np.int8([11, 12]), np.int8([2, 3]), left, right, output)  # 1.5 + 1.0 and 3.0 + 1.5
    array([2, 4], dtype=int8)
    """
    x1 = dequantize_linear(q1, left.scale, left.zero_point)
    x2 = dequantize_linear(q2, right.scale, right.zero_point)
    return quantize_linear(x1 + x2, output.scale, output.zero_point, output.codes)


def fused_add(q1: np.ndarray, q2: np.ndarray, left: QParams, right: QParams, output: QParams) -> np.ndarray:
    """QLinearAdd, which a session puts in the place of the three from level EXTENDED on, and by default.

    >>> left, right, output = QParams(1.5, 10), QParams(0.5, 0), QParams(1.0, 0)
    >>> fused_add(np.int8([11, 12]), np.int8([2, 3]), left, right, output)
    array([2, 4], dtype=int8)
    """
    maps = (left.scale, left.zero_point, q2, right.scale, right.zero_point, output.scale, output.zero_point)
    # the engine saturates at the ends of int8; the graph has a Clip for a smaller range
    return np.clip(qlinear_add(q1, *maps, INT8), output.qmin, output.qmax).astype(np.int8)


@dataclass(frozen=True, eq=False)
class FloatAdd:
    """One of these adds, in the place of a QAdd.

    left, right, output  the maps, per-tensor
    add                  unfused_add or fused_add
    """

    left: QParams
    right: QParams
    output: QParams
    add: AddCodes

    def __call__(self, q1: np.ndarray, q2: np.ndarray, *, multiply: Multiply) -> np.ndarray:
        return self.add(q1, q2, self.left, self.right, self.output)


def float_network(network: QuantizedNetwork, *, add: AddCodes) -> QuantizedNetwork:
    """The same codes, biases and maps, but multipliers and sums in float32, as ONNX Runtime has them.

    add  unfused_add or fused_add, as the session's graph optimization level decides: there is no default

    To be run with multiply_float; then its codes are those of export_qlinear(network).

    >>> from qtutor.graph import calibrate, quantize_network
    >>> from qtutor.models.digits import CNN, load_digits, load_weights, to_input
    >>> maps = calibrate(CNN, load_weights(), to_input(load_digits().images[:100]))
    >>> network = float_network(quantize_network(CNN, load_weights(), maps), add=fused_add)
    >>> network.layers["pool"].multiplier.dtype
    dtype('float32')
    """
    layers: dict[str, Any] = {}
    for node in network.graph.nodes:
        layer = network.layers[node.name]
        match layer:
            case QAdd(left=left, right=right, output=output):
                layers[node.name] = FloatAdd(left, right, output, add)
            case QAveragePool(input=input, output=output, count=count):
                M = input.scale * np.float32(1 / count) / output.scale
                layers[node.name] = replace(layer, multiplier=M)
            case _:
                product, slope = layer.input.scale * layer.weight.qparams.scale, getattr(node, "slope", 1.0)
                M, negative = product / layer.output.scale, None
                if slope < 1:
                    negative = product / (layer.output.scale / np.float32(slope)) if slope else 0 * M
                layers[node.name] = replace(layer, multiplier=M, negative_multiplier=negative)
    return replace(network, layers=layers)


# ---- what both need -----------------------------------------------------------------------------------


def _with_every_tensor(nodes: OnnxGraph, graph: Graph) -> onnx.ModelProto:
    """The network's graph; every tensor is an output, and the number of images is open."""
    ports = {name: (TensorProto.INT8, [None, *shape]) for name, shape in graph.shapes.items()}
    return nodes.model({"input": ports.pop("input")}, ports)


def _zero_point(qparams: QParams) -> np.ndarray:
    return qparams.zero_point.astype(np.int8)


def _geometry(layer: QConv2d) -> dict[str, Any]:
    return {"pads": [layer.padding] * 4, "strides": [layer.stride] * 2, "group": layer.groups}


def _check_int8(network: QuantizedNetwork) -> None:
    for name, qparams in network.qparams.items():
        if not INT8.qmin <= qparams.qmin < qparams.qmax <= INT8.qmax:
            raise ValueError(f"the graph has int8 codes, got {qparams.qmin}..{qparams.qmax} for {name}")
    for name, layer in network.layers.items():
        if isinstance(layer, FloatAdd):
            raise TypeError(f"the graph is made from what quantize_network returns, got FloatAdd for {name}")
        if isinstance(layer, QConv2d | QLinear) and layer.weight.q.dtype != np.int8:
            raise ValueError(f"the graph has int8 weights, got {layer.weight.q.dtype} for {name}")
        if isinstance(layer, QConv2d) and layer.pad_code != layer.input.zero_point:
            raise ValueError(
                f"engines pad with the zero-point, {layer.input.zero_point}, got {layer.pad_code} for {name}"
            )

"""Which rule of qtutor.engines answers which recorded operator, and under which names it was recorded.

Each function takes the arrays and arguments of a recorded case by name, and returns the arrays that the
engine answered, by name.  A case with an argument that its function does not take is not understood.
"""

import numpy as np

from qtutor import UINT8, IntRange, QParams, QTensor
from qtutor.engines import litert, onnx, onnxruntime, torch

RULES = {}  # {(engine, operator): function}
RANGES = {
    "uint8": IntRange(0, 255),
    "int8": IntRange(-128, 127),
    "uint16": IntRange(0, 65535),
    "int16": IntRange(-32768, 32767),
    "uint4": IntRange(0, 15),
    "int4": IntRange(-8, 7),
    "uint2": IntRange(0, 3),
    "int2": IntRange(-2, 1),
}
FLOATS = {
    "float8e4m3fn": onnx.FLOAT8_E4M3FN,
    "float8e5m2": onnx.FLOAT8_E5M2,
    "float4e2m1": onnx.FLOAT4_E2M1,
}


def rule(engine, *operators):
    def register(function):
        RULES.update({(engine, operator): function for operator in operators})
        return function

    return register


def range_of(zero_point):
    """The range of the codes that have this zero-point; ONNX's default is uint8 0."""
    return RANGES["uint8" if zero_point is None else zero_point.dtype.name]


def or_zero(zero_point):
    return np.uint8(0) if zero_point is None else zero_point


# ---- ONNX Runtime


@rule("ort", "QuantizeLinear")
def _(x, scale, zp=None, *, dtype, **attributes):
    return {"y": onnxruntime.quantize_linear(x, scale, or_zero(zp), RANGES[dtype], **attributes)}


@rule("ort", "DequantizeLinear")
def _(x, scale, zp=None, *, dtype, axis=1, block_size=0):
    assert x.dtype == dtype
    axis = 1 if axis is None else axis
    return {"y": onnxruntime.dequantize_linear(x, scale, or_zero(zp), axis=axis, block_size=block_size)}


@rule("ort", "DynamicQuantizeLinear")
def _(x):
    y, scale, zp = onnxruntime.dynamic_quantize_linear(x)
    return {"y": y, "scale": scale, "zp": zp}


@rule("ort", "compute_scale_zp")
def _(rmin, rmax, *, qmin, qmax, symmetric):
    scale, zp = onnxruntime.compute_scale_zp(rmin, rmax, IntRange(qmin, qmax), symmetric=symmetric)
    return {"scale": scale, "zp": zp}


@rule("ort", "MatMulInteger")
def _(a, b, a_zp=None, b_zp=None, *, types):
    assert types == f"{a.dtype}x{b.dtype}"
    return {"y": onnxruntime.matmul_integer(a, b, or_zero(a_zp), or_zero(b_zp))}


@rule("ort-avx2", "MatMulInteger")
def _(a, b, a_zp=None, b_zp=None, *, types):
    assert types == f"{a.dtype}x{b.dtype}"
    exact = onnxruntime.matmul_integer(a, b, or_zero(a_zp), or_zero(b_zp))
    y = exact
    if types == "uint8xint8":
        y = onnxruntime.matmul_integer_without_vnni(a, b, or_zero(a_zp), or_zero(b_zp))
    return {"y": y, "y_exact": exact.astype(np.int64)}


@rule("ort", "QLinearMatMul")
def _(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, *, types, per_column):
    assert types == f"{a.dtype}x{b.dtype}"
    assert per_column or b_scale.size == 1
    maps = (a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp)
    return {"y": onnxruntime.qlinear_matmul(*maps, range_of(y_zp))}


@rule("ort", "ConvInteger")
def _(x, w, x_zp=None, w_zp=None, *, types, **geometry):
    assert types == f"{x.dtype}x{w.dtype}"
    return {"y": onnxruntime.conv_integer(x, w, or_zero(x_zp), or_zero(w_zp), **geometry)}


@rule("ort", "QLinearConv")
def _(
    x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, bias=None,
    *, types, per_channel, pads, strides, dilations, group,
):  # fmt: skip
    assert types == f"{x.dtype}x{w.dtype}"
    assert per_channel or w_scale.size == 1
    maps = (x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp)
    geometry = {"pads": pads, "strides": strides, "dilations": dilations, "group": group}
    return {"y": onnxruntime.qlinear_conv(*maps, range_of(y_zp), bias, **geometry)}


@rule("ort", "QLinearAdd")
def _(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp):
    y = onnxruntime.qlinear_add(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, range_of(y_zp))
    return {"y": y}


# ---- ONNX: the reference evaluator, and the node tests of the standard


@rule("onnx-ref", "QuantizeLinear")
def _(x, scale, zp=None, *, dtype, axis=1, block_size=0):
    return {"y": onnx.quantize_linear(x, scale, or_zero(zp), RANGES[dtype], axis=axis, block_size=block_size)}


@rule("onnx-node", "QuantizeLinear")
def _(x, scale, zp=None, *, x_type, y_type, axis=1, block_size=0, output_dtype=None, saturate=1):
    assert x.dtype == x_type
    layout = {"axis": axis, "block_size": block_size}
    if y_type in RANGES:
        return {"y": onnx.quantize_linear(x, scale, or_zero(zp), RANGES[y_type], **layout)}
    assert saturate and not or_zero(zp).any()  # floats have no zero-point but 0
    y = onnx.quantize_linear_to_float(x, scale, FLOATS[y_type], **layout)
    return {"y": y, "y_as_float32": FLOATS[y_type].values[y]}


@rule("onnx-node", "DequantizeLinear")
def _(x, scale, zp=None, *, x_type, y_type, axis=1, block_size=0):
    assert scale.dtype == y_type
    values = FLOATS[x_type].values[x] if x_type in FLOATS else x
    return {"y": onnx.dequantize_linear(values, scale, or_zero(zp), axis=axis, block_size=block_size)}


@rule("onnx-ref", "DynamicQuantizeLinear")
@rule("onnx-node", "DynamicQuantizeLinear")
def _(x):
    y, scale, zp = onnx.dynamic_quantize_linear(x)
    return {"y": y, "scale": scale, "zp": zp}


@rule("onnx-node", "MatMulInteger")
def _(a, b, a_zp=None, b_zp=None):
    return {"y": onnx.matmul_integer(a, b, or_zero(a_zp), or_zero(b_zp))}


@rule("onnx-ref", "QLinearMatMul")
@rule("onnx-node", "QLinearMatMul")
def _(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, *, types=None, per_column=None):
    assert types in (None, a.dtype, f"{a.dtype}x{b.dtype}")
    assert per_column is not False or b_scale.size == 1
    return {"y": onnx.qlinear_matmul(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, range_of(y_zp))}


@rule("onnx-node", "ConvInteger")
def _(x, w, x_zp=None, w_zp=None, *, pads=None, strides=None, dilations=None, group=1):
    geometry = {"pads": pads, "strides": strides, "dilations": dilations, "group": group}
    return {"y": onnx.conv_integer(x, w, or_zero(x_zp), or_zero(w_zp), **geometry)}


@rule("onnx-node", "QLinearConv")
def _(
    x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, bias=None,
    *, pads=None, strides=None, dilations=None, group=1,
):  # fmt: skip
    maps = (x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp)
    geometry = {"pads": pads, "strides": strides, "dilations": dilations, "group": group}
    return {"y": onnx.qlinear_conv(*maps, range_of(y_zp), bias, **geometry)}


# ---- PyTorch


@rule("torch", "quantize_per_tensor")
def _(x, scale, zp, *, dtype):
    if dtype == "int32":
        return {"y": torch.quantize_per_tensor_to_int32(x, scale, zp)}
    return {"y": torch.quantize_per_tensor(x, scale, zp, RANGES[dtype])}


@rule("torch", "quantize_per_channel")
def _(x, scale, zp, *, dtype, axis):
    return {"y": torch.quantize_per_channel(x, scale, zp, RANGES[dtype], axis)}


@rule("torch", "decomposed.quantize_per_tensor")
def _(x, scale, zp, *, dtype):
    return {"y": torch.decomposed_quantize(x, scale, zp, RANGES[dtype])}


@rule("torch", "fake_quantize_per_tensor_affine")
def _(x, scale, zp, *, dtype, qmin, qmax):
    assert dtype == "float32"
    return {"y": torch.fake_quantize(x, scale, zp, IntRange(qmin, qmax))}


@rule("torch", "dequantize")
def _(x, scale, zp, *, dtype):
    assert x.dtype == dtype
    return {"y": torch.dequantize(x, scale, zp)}


@rule("torch", "MinMaxObserver")
def _(rmin, rmax, *, qmin, qmax, symmetric, eps, custom, dtype):
    signed = {"torch.qint8": True, "torch.int8": True, "torch.quint8": False, "torch.uint8": False}[dtype]
    midpoint = 0 if signed else (qmin + qmax) // 2 if custom else 128
    to = IntRange(qmin, qmax)
    scale, zp = torch.minmax_qparams(rmin, rmax, to, symmetric=symmetric, eps=eps, midpoint=midpoint)
    return {"scale": scale, "zp": zp}


@rule("torch", "PerChannelMinMaxObserver")
def _(x, *, dtype, scheme):
    signed = {"qint8": True, "quint8": False}[dtype]
    symmetric = {"per_channel_symmetric": True, "per_channel_affine": False}[scheme]
    channels = x.reshape(len(x), -1)
    rmin, rmax, to = channels.min(axis=1), channels.max(axis=1), RANGES["int8" if signed else "uint8"]
    midpoint = 0 if signed else 128
    scale, zp = torch.minmax_qparams(rmin, rmax, to, symmetric=symmetric, eps=2.0**-23, midpoint=midpoint)
    return {"scale": scale, "zp": zp if symmetric else zp.astype(np.int32)}


@rule("torch", "MovingAverageMinMaxObserver")
def _(x, *, averaging_constant, dtype):
    to = {"qint8": RANGES["int8"], "quint8": RANGES["uint8"]}[dtype]
    low, high = torch.moving_average(x, averaging_constant)
    scale, zp = torch.minmax_qparams(
        low.reshape(1), high.reshape(1), to, symmetric=False, eps=2.0**-23, midpoint=0
    )
    return {"min_val": low, "max_val": high, "scale": scale, "zp": zp.astype(np.int32)}


@rule("torch", "_choose_qparams_per_tensor")
def _(rmin, rmax, *, reduce_range, qengine):
    qmax = 127 if reduce_range and qengine != "qnnpack" else 255
    chosen = [torch.choose_qparams(low, high, qmax) for low, high in zip(rmin, rmax, strict=True)]
    scale, zp = (np.array(column) for column in zip(*chosen, strict=True))
    return {"scale": scale, "zp": zp.astype(np.int64)}


def tensor(q, scale, zp=0, axis=None):
    """Codes with their map; a recorded scale of shape (1,) is a tensor's, unless an axis says whose."""
    scale = scale.reshape(-1 if axis is not None else ())
    return QTensor(q, QParams(scale, np.full(scale.shape, zp), RANGES[q.dtype.name], axis))


def engine_of(qengine, vnni):
    """torch's name of an engine, and whether the CPU has VNNI, as rules."""
    return {
        "fbgemm": torch.FBGEMM,
        "qnnpack": torch.QNNPACK,
        "onednn": torch.ONEDNN if vnni else torch.ONEDNN_WITHOUT_VNNI,
        "x86": torch.X86 if vnni else torch.FBGEMM,
    }[qengine]


@rule("torch", "linear")
def _(x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None, *, qengine, vnni, per_channel, relu):
    y = torch.linear(
        tensor(x, x_scale, x_zp),
        tensor(w, w_scale, axis=0 if per_channel else None),
        bias,
        QParams(y_scale, y_zp, UINT8),
        engine=engine_of(qengine, vnni),
        relu=relu,
    )
    return {"y": y}


@rule("torch", "conv2d")
def _(
    x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None,
    *, qengine, vnni, per_channel, relu, strides, pads, dilations, group,
):  # fmt: skip
    assert pads[:2] == pads[2:]  # torch has one number for both ends
    y = torch.conv2d(
        tensor(x, x_scale, x_zp),
        tensor(w, w_scale, axis=0 if per_channel else None),
        bias,
        QParams(y_scale, y_zp, UINT8),
        engine=engine_of(qengine, vnni),
        strides=strides,
        pads=pads[:2],
        dilations=dilations,
        group=group,
        relu=relu,
    )
    return {"y": y}


# ---- LiteRT and TensorFlow Lite Micro

KERNELS = {"ref": litert.REFERENCE, "opt": litert.OPTIMIZED, "xnn": litert.XNNPACK, "tflm": litert.MICRO}
PADDINGS = {"SAME": litert.same, "VALID": litert.valid}
ACTIVATIONS = {
    "none": litert.NONE,
    "relu": litert.RELU,
    "relu6": litert.RELU6,
    "relu_n1_to_1": litert.RELU_N1_TO_1,
}


@rule("tflite", "QUANTIZE")
def _(x, scale, zp, *, resolver, dtype):
    return {"y": litert.quantize(x, QParams(scale, zp, RANGES[dtype]), kernels=KERNELS[resolver])}


@rule("tflite", "DEQUANTIZE")
def _(x, scale, zp, *, resolver, dtype):
    assert x.dtype == dtype
    return {"y": litert.dequantize(tensor(x, scale, zp), kernels=KERNELS[resolver])}


@rule("tflite", "REQUANTIZE")
def _(x, x_scale, x_zp, y_scale, y_zp, *, resolver, dtype):
    output = QParams(y_scale, y_zp, RANGES[dtype])
    return {"y": litert.requantize(tensor(x, x_scale, x_zp), output, kernels=KERNELS[resolver])}


@rule("tflite", "FULLY_CONNECTED")
def _(x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None, *, resolver, per_channel, relu):
    y = litert.fully_connected(
        tensor(x, x_scale, x_zp),
        tensor(w, w_scale, axis=0 if per_channel else None),
        bias,
        QParams(y_scale, y_zp),
        kernels=KERNELS[resolver],
        activation=litert.RELU if relu else litert.NONE,
    )
    return {"y": y}


def geometry(resolver, stride, padding, activation, dilation):
    """The arguments of a convolution; one number was recorded where height and width have the same."""
    return {
        "kernels": KERNELS[resolver],
        "strides": np.broadcast_to(stride, 2).tolist(),
        "padding": PADDINGS[padding],
        "dilations": np.broadcast_to(dilation, 2).tolist(),
        "activation": ACTIVATIONS[activation],
    }


@rule("tflite", "CONV_2D")
def _(
    x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None,
    *, resolver, stride, padding, activation, dilation=1,
):  # fmt: skip
    x, w, output = tensor(x, x_scale, x_zp), tensor(w, w_scale, axis=0), QParams(y_scale, y_zp)
    arguments = geometry(resolver, stride, padding, activation, dilation)
    return {"y": litert.conv_2d(x, w, bias, output, **arguments)}


@rule("tflite", "DEPTHWISE_CONV_2D")
def _(
    x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None,
    *, resolver, stride, padding, activation, dilation=1,
):  # fmt: skip
    x, w, output = tensor(x, x_scale, x_zp), tensor(w, w_scale, axis=3), QParams(y_scale, y_zp)
    arguments = geometry(resolver, stride, padding, activation, dilation)
    return {"y": litert.depthwise_conv_2d(x, w, bias, output, **arguments)}


@rule("tflite", "ADD")
def _(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, *, resolver, relu):
    a, b, output = tensor(a, a_scale, a_zp), tensor(b, b_scale, b_zp), QParams(y_scale, y_zp)
    activation = litert.RELU if relu else litert.NONE
    return {"y": litert.add(a, b, output, kernels=KERNELS[resolver], activation=activation)}


@rule("tflite", "LOGISTIC")
def _(x, x_scale, x_zp, *, resolver):
    return {"y": litert.logistic(tensor(x, x_scale, x_zp), kernels=KERNELS[resolver])}


@rule("tflite", "SOFTMAX")
def _(x, x_scale, x_zp, *, resolver):
    return {"y": litert.softmax(tensor(x, x_scale, x_zp), kernels=KERNELS[resolver])}


def pooled(pool, x, resolver, filter, stride, padding, activation):
    x = tensor(x, np.float32(0.1), 3)  # the map matters to an activation alone, and live_litert.py has this
    arguments = {"strides": stride, "padding": PADDINGS[padding], "activation": ACTIVATIONS[activation]}
    return {"y": pool(x, filter, kernels=KERNELS[resolver], **arguments)}


@rule("tflite", "AVERAGE_POOL_2D")
def _(x, *, resolver, filter, stride, padding, activation="none"):
    return pooled(litert.average_pool_2d, x, resolver, filter, stride, padding, activation)


@rule("tflite", "MAX_POOL_2D")
def _(x, *, resolver, filter, stride, padding, activation="none"):
    return pooled(litert.max_pool_2d, x, resolver, filter, stride, padding, activation)

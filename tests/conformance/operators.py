"""Which rule of qtutor.engines answers which recorded operator, and under which names it was recorded.

Each function takes the arrays and arguments of a recorded case by name, and returns the arrays that the
engine answered, by name.  A case with an argument that its function does not take is not understood.
"""

import numpy as np

from qtutor.engines import litert, onnx, onnxruntime, processor, torch
from qtutor.rounding import IntRange

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


def spread(parameter, shape, axis, block_size):
    """A scale or zero-point, made to broadcast against a tensor of this shape."""
    if parameter.size == 1:
        return parameter.reshape(())
    if block_size:
        return np.repeat(parameter, block_size, axis).take(range(shape[axis]), axis)
    return processor.along(parameter, axis, len(shape))


@rule("ort", "QuantizeLinear")
def _(x, scale, zp=None, *, dtype, axis=1, block_size=0):
    scale, zp = (spread(p, x.shape, axis, block_size) for p in (scale, or_zero(zp)))
    return {"y": onnxruntime.quantize_linear(x, scale, zp, RANGES[dtype])}


@rule("ort", "DequantizeLinear")
def _(x, scale, zp=None, *, dtype, axis=1, block_size=0):
    assert x.dtype == dtype
    scale, zp = (spread(p, x.shape, axis or 0, block_size) for p in (scale, or_zero(zp)))
    return {"y": onnxruntime.dequantize_linear(x, scale, zp)}


@rule("ort", "DynamicQuantizeLinear")
def _(x):
    y, scale, zp = onnxruntime.dynamic_quantize_linear(x)
    return {"y": y, "scale": scale, "zp": zp}


@rule("ort", "compute_scale_zp")
def _(rmin, rmax, *, qmin, qmax, symmetric):
    scale, zp = onnxruntime.compute_scale_zp(rmin, rmax, IntRange(qmin, qmax), symmetric=symmetric)
    return {"scale": scale, "zp": zp}


def column(zero_point):
    """A zero-point of a's rows stands beside them."""
    return zero_point[..., None] if zero_point.ndim else zero_point


@rule("ort", "MatMulInteger")
def _(a, b, a_zp=None, b_zp=None, *, types):
    assert types == f"{a.dtype}x{b.dtype}"
    return {"y": onnxruntime.matmul_integer(a, b, column(or_zero(a_zp)), or_zero(b_zp))}


@rule("ort-avx2", "MatMulInteger")
def _(a, b, a_zp=None, b_zp=None, *, types):
    assert types == f"{a.dtype}x{b.dtype}"
    a_zp, b_zp = column(or_zero(a_zp)), or_zero(b_zp)
    pairs_saturate = types == "uint8xint8"
    saturated = onnxruntime.matmul_integer_without_vnni(a, b, a_zp, b_zp)
    exact = onnxruntime.matmul_integer(a, b, a_zp, b_zp)
    return {"y": saturated if pairs_saturate else exact, "y_exact": exact.astype(np.int64)}


@rule("ort", "QLinearMatMul")
def _(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, *, types, per_column):
    assert types == f"{a.dtype}x{b.dtype}"
    assert per_column or b_scale.size == 1
    acc = onnxruntime.matmul_integer(a, b, column(a_zp), b_zp)
    return {"y": onnxruntime.requantize(acc, column(a_scale), b_scale, y_scale, y_zp, range_of(y_zp))}


@rule("ort", "ConvInteger")
def _(x, w, x_zp=None, w_zp=None, *, types, pads, strides, dilations, group):
    assert types == f"{x.dtype}x{w.dtype}"
    x, w = processor.centred(x, or_zero(x_zp)), processor.centred(w, or_zero(w_zp), axis=0)
    return {"y": processor.convolution(x, w, strides, pads, dilations, group)}


@rule("ort", "QLinearConv")
def _(
    x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, bias=None,
    *, types, per_channel, pads, strides, dilations, group,
):  # fmt: skip
    assert types == f"{x.dtype}x{w.dtype}"
    assert per_channel or w_scale.size == 1
    acc = processor.convolution(
        processor.centred(x, x_zp), processor.centred(w, w_zp, axis=0), strides, pads, dilations, group
    )
    if bias is not None:
        acc = acc + processor.along(bias, 1, acc.ndim)
    w_scale = processor.along(w_scale, 1, acc.ndim)
    return {"y": onnxruntime.requantize(acc, x_scale, w_scale, y_scale, y_zp, range_of(y_zp))}


# ---- ONNX: the reference evaluator, and the node tests of the standard


@rule("onnx-ref", "QuantizeLinear")
def _(x, scale, zp=None, *, dtype, axis=1, block_size=0):
    scale, zp = (spread(p, x.shape, axis, block_size) for p in (scale, or_zero(zp)))
    return {"y": onnx.quantize_linear(x, scale, zp, RANGES[dtype])}


@rule("onnx-node", "QuantizeLinear")
def _(x, scale, zp=None, *, x_type, y_type, axis=1, block_size=0, output_dtype=None, saturate=1):
    assert x.dtype == x_type
    scale, zp = (spread(p, x.shape, axis, block_size) for p in (scale, or_zero(zp)))
    if y_type in RANGES:
        return {"y": onnx.quantize_linear(x, scale, zp, RANGES[y_type])}
    assert saturate and not zp.any()  # floats have no zero-point but 0
    y = onnx.quantize_linear_to_float(x, scale, FLOATS[y_type])
    return {"y": y, "y_as_float32": FLOATS[y_type].values[y]}


@rule("onnx-node", "DequantizeLinear")
def _(x, scale, zp=None, *, x_type, y_type, axis=1, block_size=0):
    assert scale.dtype == y_type
    values = FLOATS[x_type].values[x] if x_type in FLOATS else x
    scale, zp = (spread(p, x.shape, axis, block_size) for p in (scale, or_zero(zp)))
    return {"y": onnx.dequantize_linear(values, scale, zp)}


@rule("onnx-ref", "DynamicQuantizeLinear")
@rule("onnx-node", "DynamicQuantizeLinear")
def _(x):
    y, scale, zp = onnx.dynamic_quantize_linear(x)
    return {"y": y, "scale": scale, "zp": zp}


@rule("onnx-node", "MatMulInteger")
def _(a, b, a_zp=None, b_zp=None):
    return {"y": onnxruntime.matmul_integer(a, b, column(or_zero(a_zp)), or_zero(b_zp))}


@rule("onnx-ref", "QLinearMatMul")
@rule("onnx-node", "QLinearMatMul")
def _(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, *, types=None, per_column=None):
    assert types in (None, a.dtype, f"{a.dtype}x{b.dtype}")
    assert per_column is not False or b_scale.size == 1
    acc = onnxruntime.matmul_integer(a, b, a_zp, b_zp)
    return {"y": onnx.requantize(acc, a_scale, b_scale, y_scale, y_zp, range_of(y_zp))}


@rule("onnx-node", "ConvInteger")
def _(x, w, x_zp=None, w_zp=None, *, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), group=1):
    x, w = processor.centred(x, or_zero(x_zp)), processor.centred(w, or_zero(w_zp), axis=0)
    return {"y": processor.convolution(x, w, strides, pads, dilations, group)}


@rule("onnx-node", "QLinearConv")
def _(
    x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp, bias=None,
    *, pads=(0, 0, 0, 0), strides=(1, 1), dilations=(1, 1), group=1,
):  # fmt: skip
    acc = processor.convolution(
        processor.centred(x, x_zp), processor.centred(w, w_zp, axis=0), strides, pads, dilations, group
    )
    if bias is not None:
        acc = acc + processor.along(bias, 1, acc.ndim)
    w_scale = processor.along(w_scale, 1, acc.ndim)
    return {"y": onnx.requantize(acc, x_scale, w_scale, y_scale, y_zp, range_of(y_zp))}


# ---- PyTorch


@rule("torch", "quantize_per_tensor")
def _(x, scale, zp, *, dtype):
    if dtype == "int32":
        return {"y": torch.quantize_per_tensor_to_int32(x, scale, zp)}
    return {"y": torch.quantize_per_tensor(x, scale, zp, RANGES[dtype])}


@rule("torch", "quantize_per_channel")
def _(x, scale, zp, *, dtype, axis):
    scale, zp = (processor.along(p, axis, x.ndim) for p in (scale, zp))
    return {"y": torch.quantize_per_channel(x, scale, zp, RANGES[dtype])}


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


def torch_layer(acc, bias, x_scale, w_scale, y_scale, y_zp, *, engine, vnni, per_channel, relu, convolves):
    """After the sum; acc has its channels on the last axis."""
    bias = np.zeros(acc.shape[-1], np.float32) if bias is None else bias
    scales = torch.Scales(x_scale, w_scale, y_scale)
    if engine == "fbgemm":
        y = torch.fbgemm_requantize(acc, bias, scales, y_zp, RANGES["uint8"], per_channel=per_channel)
    elif engine == "qnnpack":
        y = torch.qnnpack_requantize(acc, bias, scales, y_zp, RANGES["uint8"])
    else:
        assert engine == "onednn"
        y = torch.onednn_requantize(acc, bias, scales, y_zp, RANGES["uint8"], convolves=convolves, vnni=vnni)
    return np.maximum(y, y_zp).astype(np.uint8) if relu else y


@rule("torch", "linear")
def _(x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None, *, qengine, vnni, per_channel, relu):
    acc = onnxruntime.matmul_integer(x, w.T, x_zp)
    engine = "fbgemm" if qengine == "x86" else qengine
    y = torch_layer(
        acc, bias, x_scale, w_scale, y_scale, y_zp,
        engine=engine, vnni=vnni, per_channel=per_channel, relu=relu, convolves=False,
    )  # fmt: skip
    return {"y": y}


@rule("torch", "conv2d")
def _(
    x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None,
    *, qengine, vnni, per_channel, relu, strides, pads, dilations, group,
):  # fmt: skip
    acc = processor.convolution(processor.centred(x, x_zp), w, strides, pads, dilations, group)
    engine = {"x86": "onednn" if vnni else "fbgemm"}.get(qengine, qengine)
    y = torch_layer(
        np.moveaxis(acc, 1, -1), bias, x_scale, w_scale, y_scale, y_zp,
        engine=engine, vnni=vnni, per_channel=per_channel, relu=relu, convolves=True,
    )  # fmt: skip
    return {"y": np.moveaxis(y, -1, 1)}


# ---- LiteRT and TensorFlow Lite Micro


@rule("tflite", "QUANTIZE")
def _(x, scale, zp, *, resolver, dtype):
    quantize = {
        "ref": litert.reference_quantize,
        "opt": litert.optimized_quantize,
        "xnn": litert.optimized_quantize if dtype == "int16" else litert.xnnpack_quantize,
    }
    return {"y": quantize[resolver](x, scale, zp, RANGES[dtype])}


@rule("tflite", "DEQUANTIZE")
def _(x, scale, zp, *, resolver, dtype):
    assert x.dtype == dtype
    dequantize = {
        "ref": litert.reference_dequantize,
        "opt": litert.optimized_dequantize,
        "xnn": litert.reference_dequantize,
    }
    return {"y": dequantize[resolver](x, scale, zp)}


@rule("tflite", "REQUANTIZE")
def _(x, x_scale, x_zp, y_scale, y_zp, *, resolver, dtype):
    requantize = {
        "ref": litert.reference_requantize_codes,
        "opt": litert.optimized_requantize_codes,
        "xnn": litert.xnnpack_requantize_codes,
    }
    return {"y": requantize[resolver](x, x_scale, x_zp, y_scale, y_zp, RANGES[dtype])}


def litert_layer(acc, x_scale, w_scale, y_scale, y_zp, *, operator, resolver, activation):
    """After the sum; acc has its channels on the last axis."""
    to = RANGES["int8"]
    if resolver == "xnn":
        y = litert.xnnpack_requantize(acc, x_scale, w_scale, y_scale, y_zp, to)
    else:
        after_the_sum = {
            ("ref", "FULLY_CONNECTED"): litert.requantize_float64,
            ("ref", "CONV_2D"): litert.requantize_double_rounding,
            ("ref", "DEPTHWISE_CONV_2D"): litert.requantize_double_rounding,
            ("opt", "FULLY_CONNECTED"): litert.requantize_half_up,
            ("opt", "CONV_2D"): litert.requantize_half_up,
            ("opt", "DEPTHWISE_CONV_2D"): litert.requantize_by_eights,
            ("tflm", "FULLY_CONNECTED"): litert.requantize_double_rounding,
            ("tflm", "CONV_2D"): litert.requantize_double_rounding,
            ("tflm", "DEPTHWISE_CONV_2D"): litert.requantize_double_rounding,
        }
        rounds = (resolver, operator, w_scale.size) == ("opt", "FULLY_CONNECTED", 1)
        multiplier = litert.optimized_multiplier_of if rounds else litert.multiplier_of
        M = multiplier(x_scale, w_scale, y_scale)
        y = after_the_sum[resolver, operator](acc, M, y_zp, to)
    return activated(y, activation, y_scale, y_zp, resolver)


ACTIVATIONS = {
    "none": (-np.inf, np.inf),
    "relu": (0, np.inf),
    "relu6": (0, 6),
    "relu_n1_to_1": (-1, 1),
}


def activated(y, activation, y_scale, y_zp, resolver):
    limits_of = litert.xnnpack_limits if resolver == "xnn" else litert.limits
    low, high = np.clip(limits_of(*ACTIVATIONS[activation], y_scale, y_zp), -128, 127)
    return np.clip(y, int(low), int(high)).astype(y.dtype)


@rule("tflite", "FULLY_CONNECTED")
def _(x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None, *, resolver, per_channel, relu):
    acc = onnxruntime.matmul_integer(x, w.T, x_zp)
    acc = acc if bias is None else acc + bias
    w_scale = w_scale if per_channel else w_scale.reshape(())
    activation = "relu" if relu else "none"
    y = litert_layer(
        acc, x_scale, w_scale, y_scale, y_zp,
        operator="FULLY_CONNECTED", resolver=resolver, activation=activation,
    )  # fmt: skip
    return {"y": y}


def same_or_valid(padding, sizes, kernel, strides):
    """Borders before and after each axis of space: SAME gives ceil(size / stride) outputs, VALID none."""
    if padding == "VALID":
        return [0] * (2 * len(sizes))
    assert padding == "SAME"
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, kernel, strides, strict=True)]
    return [t // 2 for t in totals] + [t - t // 2 for t in totals]


@rule("tflite", "CONV_2D")
def _(x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None, *, resolver, stride, padding, activation):
    strides = [stride, stride]
    pads = same_or_valid(padding, x.shape[1:3], w.shape[1:3], strides)
    x, w = np.moveaxis(processor.centred(x, x_zp), -1, 1), np.moveaxis(w, -1, 1)
    acc = np.moveaxis(processor.convolution(x, w, strides, pads, [1, 1]), 1, -1)
    acc = acc if bias is None else acc + bias
    y = litert_layer(
        acc, x_scale, w_scale, y_scale, y_zp,
        operator="CONV_2D", resolver=resolver, activation=activation,
    )  # fmt: skip
    return {"y": y}


@rule("tflite", "DEPTHWISE_CONV_2D")
def _(x, x_scale, x_zp, w, w_scale, y_scale, y_zp, bias=None, *, resolver, stride, padding, activation):
    strides = [stride, stride]
    pads = same_or_valid(padding, x.shape[1:3], w.shape[1:3], strides)
    x, w = np.moveaxis(processor.centred(x, x_zp), -1, 1), np.moveaxis(w, (0, 3), (1, 0))
    acc = np.moveaxis(processor.convolution(x, w, strides, pads, [1, 1], group=x.shape[1]), 1, -1)
    acc = acc if bias is None else acc + bias
    y = litert_layer(
        acc, x_scale, w_scale, y_scale, y_zp,
        operator="DEPTHWISE_CONV_2D", resolver=resolver, activation=activation,
    )  # fmt: skip
    return {"y": y}


@rule("tflite", "ADD")
def _(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp, *, resolver, relu):
    add = {"ref": litert.reference_add, "opt": litert.optimized_add, "xnn": litert.xnnpack_add}[resolver]
    y = add(litert.Operand(a, a_scale, a_zp), litert.Operand(b, b_scale, b_zp), y_scale, y_zp, RANGES["int8"])
    return {"y": activated(y, "relu" if relu else "none", y_scale, y_zp, resolver)}


@rule("tflite", "LOGISTIC")
def _(x, x_scale, x_zp, *, resolver):
    logistic = {
        "ref": litert.reference_logistic,
        "opt": litert.reference_logistic,
        "xnn": litert.xnnpack_logistic,
    }
    return {"y": logistic[resolver](x, x_scale, x_zp)}


@rule("tflite", "SOFTMAX")
def _(x, x_scale, x_zp, *, resolver):
    softmax = {
        "ref": litert.reference_softmax,
        "opt": litert.optimized_softmax,
        "xnn": litert.optimized_softmax,
    }
    return {"y": softmax[resolver](x, x_scale, x_zp)}


def windows(x, kernel, strides, padding):
    """Each pool's codes on a last axis, and a mask of those that are not padding."""
    pads = same_or_valid(padding, x.shape[1:3], kernel, strides)
    borders = [(0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)]
    seen = []
    for part in (x.astype(np.int32), np.ones(x.shape, bool)):
        part = np.pad(part, borders)
        view = np.lib.stride_tricks.sliding_window_view(part, kernel, axis=(1, 2))
        view = view[:, :: strides[0], :: strides[1]]
        seen.append(view.reshape(*view.shape[:4], -1))
    return seen


@rule("tflite", "AVERAGE_POOL_2D")
def _(x, *, resolver, filter, stride, padding):
    assert resolver in ("ref", "opt", "xnn")
    codes, real = windows(x, filter, stride, padding)
    return {"y": litert.average_pool((codes * real).sum(-1), real.sum(-1)).astype(x.dtype)}


@rule("tflite", "MAX_POOL_2D")
def _(x, *, resolver, filter, stride, padding):
    assert resolver in ("ref", "opt", "xnn")
    codes, real = windows(x, filter, stride, padding)
    return {"y": np.where(real, codes, -128).max(-1).astype(x.dtype)}

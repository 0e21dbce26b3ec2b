"""PyTorch: torch 2.13.0 on an x86-64 CPU.

A quantized tensor of torch carries its map, so layers take and compute with a QTensor, and the map of the
result, a QParams.  Their codes are quint8 and their weights qint8, UINT8 and INT8 here.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from qtutor.affine import QParams, QTensor
from qtutor.engines.onnx import spread
from qtutor.engines.processor import (
    INT16,
    Array,
    Numbers,
    bias_of,
    centred,
    convolution,
    fused_multiply_add,
    matmul,
    reals,
    reciprocal,
    silent,
    single,
    to_int32,
    whole,
)
from qtutor.rounding import INT8, INT32, UINT8, IntRange, saturate


@silent
def quantize_per_tensor(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.quantize_per_tensor: rint(x * (1 / scale) + zero_point), product and sum in one fused step.

    NaN and what is too large become qmax: the processor's min(NaN, a) is a.

    >>> from qtutor import INT8
    >>> quantize_per_tensor(np.float32([0.5, 2.5, np.nan]), 1.0, 1, INT8)
    array([  2,   4, 127], dtype=int8)
    """
    x = reals(x, "x of quantize_per_tensor")
    q = np.rint(fused_multiply_add(x, reciprocal(scale), zero_point))
    return saturate(np.fmax(np.fmin(q, to.qmax), to.qmin), to)


@silent
def quantize_per_tensor_to_int32(x: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """torch.quantize_per_tensor to qint32, as for biases: rint(x * (1 / scale) + zero_point), each rounded.

    NaN becomes INT32_MIN.

    >>> quantize_per_tensor_to_int32(np.float32([0.5, 1e6, np.nan]), 0.25, 0).tolist()
    [2, 4000000, -2147483648]
    """
    x = reals(x, "x of quantize_per_tensor")
    q = np.rint(x * reciprocal(scale) + single(zero_point)).astype(np.float64)
    return np.clip(np.where(np.isnan(q), INT32.min, q), INT32.min, INT32.max).astype(np.int32)


@silent
def quantize_per_channel(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange, axis: int = 0) -> Array:
    """torch.quantize_per_channel: rint(x * (1 / scale) + zero_point), each step rounded to float32.

    scale, zero_point  one number, or one for each index of `axis`, else ValueError

    NaN becomes 0.

    >>> from qtutor import INT8
    >>> quantize_per_channel(np.float32([[0.5], [2.5], [np.nan]]), [1.0, 0.5, 1.0], 1, INT8).tolist()
    [[2], [6], [0]]
    """
    x = reals(x, "x of quantize_per_channel")
    S, Z = (spread(parameter, x.shape, axis) for parameter in (scale, zero_point))
    q = np.rint(x * reciprocal(S) + single(Z))
    return saturate(np.where(np.isnan(q), 0, np.clip(q, to.qmin, to.qmax)), to)


@silent
def decomposed_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """quantized_decomposed.quantize_per_tensor (torch.export, PT2E): rint(x * (1 / scale)) + zero_point.

    NaN becomes 0.

    >>> from qtutor import INT8
    >>> decomposed_quantize(np.float32([0.5, 2.5, np.nan]), 1.0, 1, INT8)
    array([1, 3, 0], dtype=int8)
    """
    x = reals(x, "x of quantize_per_tensor")
    q = np.rint(x * reciprocal(scale)) + single(zero_point)
    return saturate(np.where(np.isnan(q), 0, np.clip(q, to.qmin, to.qmax)), to)


@silent
def fake_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.fake_quantize_per_tensor_affine: (clip(rint(x * (1 / scale)) + zero_point) - zero_point) * scale.

    NaN becomes the real value of qmin.

    >>> from qtutor import INT8
    >>> fake_quantize(np.float32([0.75, 99.0, np.nan]), 0.5, 1, INT8).tolist()
    [1.0, 63.0, -64.5]
    """
    x = reals(x, "x of fake_quantize_per_tensor_affine")
    q = np.rint(x * reciprocal(scale)) + single(zero_point)
    return (single(np.fmin(np.fmax(q, to.qmin), to.qmax)) - single(zero_point)) * single(scale)


@silent
def dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """Tensor.dequantize: float32(q - zero_point) * scale.

    >>> dequantize(np.uint8([0, 130]), 0.5, 128).tolist()
    [-64.0, 1.0]
    """
    return single(centred(whole(q, "dequantize"), zero_point)) * single(scale)


@silent
def minmax_qparams(
    rmin: Array, rmax: Array, to: IntRange, *, symmetric: bool, eps: float, midpoint: int
) -> tuple[Array, Array]:
    """MinMaxObserver and its kin, calculate_qparams: float32 scale, int64 zero_point.

    eps       the smallest scale, by default 2**-23
    midpoint  the zero_point of a symmetric range: 0 if signed, else 128, or (qmin + qmax) // 2 for a
              range of your own

    A symmetric int8 is -128..127 here, and its scale max / 127.5, so that +max has no code.

    >>> from qtutor import INT8
    >>> ends = np.float32(-2.0), np.float32(255.0)
    >>> scale, zero_point = minmax_qparams(*ends, INT8, symmetric=True, eps=2.0**-23, midpoint=0)
    >>> float(scale), int(zero_point)
    (2.0, 0)
    """
    rmin, rmax = np.minimum(single(rmin), np.float32(0)), np.maximum(single(rmax), np.float32(0))
    if symmetric:
        scale = np.maximum(-rmin, rmax) / np.float32((to.qmax - to.qmin) / 2)
        scale = np.maximum(scale, np.float32(eps))
        return scale, np.full(scale.shape, midpoint, np.int64)
    scale = np.maximum((rmax - rmin) / np.float32(to.qmax - to.qmin), np.float32(eps))
    zero_point = np.clip(to.qmin - to_int32(np.rint(rmin / scale)).astype(np.int64), to.qmin, to.qmax)
    return scale, zero_point


def moving_average(x: Array, averaging_constant: float) -> tuple[Array, Array]:
    """MovingAverageMinMaxObserver: min_val and max_val after it has seen x[0], x[1], ..., in float32.

    >>> moving_average(np.float32([[-1.0, 1.0], [-3.0, 2.0]]), 0.5)
    (array(-2., dtype=float32), array(1.5, dtype=float32))
    """
    c = np.float32(averaging_constant)
    min_val, max_val = np.min(x[0]), np.max(x[0])
    for batch in x[1:]:
        min_val = min_val + c * (np.min(batch) - min_val)
        max_val = max_val + c * (np.max(batch) - max_val)
    return np.asarray(min_val), np.asarray(max_val)


SMALLEST_SCALE: Any = np.float32(6.1e-5)


@silent
def choose_qparams(rmin: Numbers, rmax: Numbers, qmax: int) -> tuple[float, int]:
    """torch._choose_qparams_per_tensor for codes 0..qmax: scale and zero_point, in float64.

    A scale of 0 becomes 0.1, one below 6.1e-5 becomes that.  zero_point comes from the end of the range
    whose error is the smaller, and is rounded from float32.

    >>> choose_qparams(-1.0, 3.0, 255)
    (0.01568627450980392, 64)
    """
    rmin, rmax = np.minimum(np.float32(rmin), np.float32(0)), np.maximum(np.float32(rmax), np.float32(0))
    scale = (np.float64(rmax) - np.float64(rmin)) / qmax
    if np.float32(scale) == 0 or np.isinf(np.float32(1) / np.float32(scale)):
        scale = np.float64(0.1)
    if scale < SMALLEST_SCALE:
        amplifier = SMALLEST_SCALE / np.float32(scale)
        scale = np.float64(SMALLEST_SCALE)
        if rmin == 0:
            rmax = SMALLEST_SCALE * np.float32(qmax)
        elif rmax == 0:
            rmin = -SMALLEST_SCALE * np.float32(qmax)
        else:
            rmin, rmax = rmin * amplifier, rmax * amplifier
    from_min, from_max = 0 - rmin / scale, qmax - rmax / scale
    error_of_min, error_of_max = -abs(rmin / scale), qmax - abs(rmax / scale)
    zero_point = from_min if error_of_min < error_of_max else from_max
    return float(scale), int(np.rint(np.float32(np.clip(zero_point, 0, qmax))))


class Scales(NamedTuple):
    """What a layer needs after the sum; float32, w of shape () or (channels,), the last axis of acc."""

    x: Array
    w: Array
    y: Array


@silent
def fbgemm_requantize(
    acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange, *, per_channel: bool
) -> Array:
    """fbgemm (torch.backends.quantized.engine = "fbgemm"): rint((acc + b / (sx * sw)) * m) + zero_point.

    The bias b is float32.  Per-tensor, b * (1 / (sx * sw)) is added to acc in one fused step; per-channel,
    b is divided and added, each step rounded.

    >>> from qtutor import UINT8
    >>> half = np.float32(0.5)
    >>> s = Scales(half, half, half)
    >>> fbgemm_requantize(np.int32([1, 3, 99]), np.float32([0]), s, 10, UINT8, per_channel=False)
    array([10, 12, 60], dtype=uint8)
    """
    product = s.x * s.w
    a = single(acc) + bias / product if per_channel else fused_multiply_add(bias, reciprocal(product), acc)
    return saturate_as_int32(np.rint(a * (product / s.y)), zero_point, to)


@silent
def qnnpack_requantize(acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange) -> Array:
    """qnnpack: rint((acc + b) * (sx * sw * (1 / sy))) + zero_point, with b = rint(bias * (1 / (sx * sw))).

    b is int32 (the kernels disagree on a bias beyond that), and the sum wraps.

    >>> from qtutor import UINT8
    >>> half = np.float32(0.5)
    >>> qnnpack_requantize(np.int32([1, 3]), np.float32([0.1]), Scales(half, half, half), 10, UINT8)
    array([10, 12], dtype=uint8)
    """
    product = s.x * s.w
    b = quantize_per_tensor_to_int32(bias, product, 0)
    m = product * reciprocal(s.y)
    return saturate_as_int32(np.rint(single(acc + b) * m), zero_point, to)


@silent
def onednn_requantize(
    acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange, *, convolves: bool, vnni: bool
) -> Array:
    """oneDNN: rint((acc * S * W + b) * (1 / sy) + zero_point), with a float32 bias b.

    That is the engine "onednn", and "x86" in convolutions on CPUs with VNNI; otherwise "x86" is fbgemm.
    S = 1 / (1 / sx) is not quite sx; likewise W, but in a convolution W = sw.  With VNNI the product is
    (acc * S) * W, without it acc * (S * W).  (A convolution in groups of three channels was seen to do
    otherwise there.)

    >>> from qtutor import UINT8
    >>> half, no_bias = np.float32(0.5), np.float32([0])
    >>> s = Scales(half, half, half)
    >>> onednn_requantize(np.int32([1, 3]), no_bias, s, 11, UINT8, convolves=False, vnni=True)
    array([12, 12], dtype=uint8)
    """
    S = reciprocal(reciprocal(s.x))
    W = s.w if convolves else reciprocal(reciprocal(s.w))
    y = (single(acc) * S * W if vnni else single(acc) * (S * W)) + bias
    return saturate(np.clip(np.rint(y * reciprocal(s.y) + single(zero_point)), to.qmin, to.qmax), to)


def saturate_as_int32(steps: Array, zero_point: Numbers, to: IntRange) -> Array:
    """steps + zero_point, saturated at int16 on the way as the vector instructions do (PACKSSDW, PADDSW).

    >>> saturate_as_int32(np.float32([3.0, 4e9]), 10, INT8)  # 4e9 becomes INT32_MIN
    array([  13, -128], dtype=int8)
    """
    steps = np.clip(to_int32(steps), INT16.qmin, INT16.qmax)
    return saturate(np.clip(steps + np.asarray(zero_point, np.int32), INT16.qmin, INT16.qmax), to)


# ---- layers --------------------------------------------------------------------------------------------

# (acc, bias, scales, zero_point, to) -> codes, as fbgemm_requantize
Requantize = Callable[..., Array]


class Engine(NamedTuple):
    """What torch.backends.quantized.engine chooses: the rules after the sum, of linear and of conv2d."""

    linear: Requantize
    conv2d: Requantize


def fbgemm(acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange) -> Array:
    """fbgemm_requantize, per-channel where the weights are.

    >>> half, no_bias = np.float32(0.5), np.float32([0])
    >>> fbgemm(np.int32([1, 3]), no_bias, Scales(half, half, half), 10, UINT8)
    array([10, 12], dtype=uint8)
    """
    return fbgemm_requantize(acc, bias, s, zero_point, to, per_channel=s.w.ndim > 0)


FBGEMM = Engine(fbgemm, fbgemm)
QNNPACK = Engine(qnnpack_requantize, qnnpack_requantize)
ONEDNN, ONEDNN_WITHOUT_VNNI = (
    Engine(*(partial(onednn_requantize, convolves=convolves, vnni=vnni) for convolves in (False, True)))
    for vnni in (True, False)
)
X86 = Engine(FBGEMM.linear, ONEDNN.conv2d)  # with VNNI; without, it is FBGEMM


def linear(
    x: QTensor,
    w: QTensor,
    bias: Array | None,
    output: QParams,
    *,
    engine: Engine,
    relu: bool = False,
) -> Array:
    """torch.ops.quantized.linear and linear_relu: codes (..., features) of x @ w.T + bias.

    x       uint8 codes (..., K), per-tensor
    w       int8 codes (features, K), zero_point 0, per-tensor or with axis 0
    bias    float32 (features,), or None
    output  the map of the result, uint8, per-tensor
    engine  FBGEMM, QNNPACK, X86, ONEDNN, ONEDNN_WITHOUT_VNNI

    No pair of products may saturate (see onnxruntime.matmul_integer_without_vnni), as none does with VNNI.
    Raises ValueError where maps or shapes are others.

    >>> from qtutor import INT8, UINT8
    >>> x = QTensor(np.uint8([[12, 13]]), QParams(0.5, 10, UINT8))
    >>> w = QTensor(np.int8([[1, 2]]), QParams(0.5, 0, INT8))
    >>> output = QParams(1.0, 1, UINT8)
    >>> linear(x, w, np.float32([0.5]), output, engine=FBGEMM)  # 0.5 * 1.0 + 1.0 * 1.5 + 0.5
    array([[3]], dtype=uint8)
    """
    _check_layer(x, w, output, "linear")
    if w.q.ndim != 2:
        raise ValueError(f"linear needs weights (features, K), got shape {w.q.shape}")
    acc = matmul(centred(x.q, x.qparams.zero_point), w.q.T)
    return _after_the_sum(acc, x, w, bias, output, engine.linear, relu)


def conv2d(
    x: QTensor,
    w: QTensor,
    bias: Array | None,
    output: QParams,
    *,
    engine: Engine,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    relu: bool = False,
) -> Array:
    """torch.ops.quantized.conv2d and conv2d_relu: codes (batch, features, h', w').

    x     uint8 codes (batch, channels, h, w), per-tensor; padding is real 0
    w     int8 codes (features, channels / group, *kernel), zero_point 0, per-tensor or with axis 0
    pads  for each axis of space, the same at both ends

    The other arguments, and errors, are those of linear.

    >>> from qtutor import INT8, UINT8
    >>> x = QTensor(np.full((1, 1, 1, 2), 12, np.uint8), QParams(0.5, 10, UINT8))
    >>> w = QTensor(np.ones((1, 1, 1, 3), np.int8), QParams(0.5, 0, INT8))
    >>> conv2d(x, w, None, QParams(0.5, 0, UINT8), engine=QNNPACK, pads=(0, 1))  # 0.5 * (1.0 + 1.0)
    array([[[[2, 2]]]], dtype=uint8)
    """
    _check_layer(x, w, output, "conv2d")
    q = centred(x.q, x.qparams.zero_point)
    acc = convolution(q, w.q, strides, [*pads, *pads], dilations, group)
    y = _after_the_sum(np.moveaxis(acc, 1, -1), x, w, bias, output, engine.conv2d, relu)
    return np.moveaxis(y, -1, 1)


def _after_the_sum(
    acc: Array,
    x: QTensor,
    w: QTensor,
    bias: Array | None,
    output: QParams,
    requantize: Requantize,
    relu: bool,
) -> Array:
    """Codes from accumulators; the channels are on the last axis."""
    b = bias_of(bias, np.float32, acc.shape[-1], "the bias of a layer of torch")
    scales = Scales(x.qparams.scale, w.qparams.scale, output.scale)
    y = requantize(acc, b, scales, output.zero_point, output.codes)
    return np.maximum(y, output.zero_point.astype(y.dtype)) if relu else y


def _check_layer(x: QTensor, w: QTensor, output: QParams, where: str) -> None:
    for name, qparams, to in (("x", x.qparams, UINT8), ("w", w.qparams, INT8), ("output", output, UINT8)):
        if qparams.codes != to or qparams.axis not in ((None, 0) if name == "w" else (None,)):
            raise ValueError(f"{name} of {where} has codes {qparams.codes}, axis={qparams.axis}: needs {to}")
    if w.qparams.zero_point.any():
        raise ValueError(f"w of {where} needs zero_point 0, got {w.qparams.zero_point}")

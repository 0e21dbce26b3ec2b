"""PyTorch: torch 2.13.0 on an x86-64 CPU."""

from typing import Any, NamedTuple

import numpy as np

from qtutor.engines.processor import (
    INT16,
    Array,
    Numbers,
    centred,
    fused_multiply_add,
    reciprocal,
    silent,
    single,
    to_int32,
)
from qtutor.fixedpoint import INT32
from qtutor.rounding import IntRange, saturate


@silent
def quantize_per_tensor(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.quantize_per_tensor: rint(x * (1 / scale) + zero_point), product and sum in one fused step.

    NaN and what is too large become qmax: the processor's min(NaN, a) is a.

    >>> from qtutor import INT8
    >>> quantize_per_tensor(np.float32([0.5, 2.5, np.nan]), 1.0, 1, INT8)
    array([  2,   4, 127], dtype=int8)
    """
    q = np.rint(fused_multiply_add(x, reciprocal(scale), zero_point))
    return saturate(np.fmax(np.fmin(q, to.qmax), to.qmin), to)


@silent
def quantize_per_tensor_to_int32(x: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """torch.quantize_per_tensor to qint32, as for biases: rint(x * (1 / scale) + zero_point), each rounded.

    NaN becomes INT32_MIN.
    """
    q = np.rint(single(x) * reciprocal(scale) + single(zero_point)).astype(np.float64)
    return np.clip(np.where(np.isnan(q), INT32.min, q), INT32.min, INT32.max).astype(np.int32)


@silent
def quantize_per_channel(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.quantize_per_channel: rint(x * (1 / scale) + zero_point), each step rounded to float32.

    scale and zero_point broadcast against x.  NaN becomes 0.
    """
    q = np.rint(single(x) * reciprocal(scale) + single(zero_point))
    return saturate(np.where(np.isnan(q), 0, np.clip(q, to.qmin, to.qmax)), to)


@silent
def decomposed_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """quantized_decomposed.quantize_per_tensor (torch.export, PT2E): rint(x * (1 / scale)) + zero_point.

    NaN becomes 0.
    """
    q = np.rint(single(x) * reciprocal(scale)) + single(zero_point)
    return saturate(np.where(np.isnan(q), 0, np.clip(q, to.qmin, to.qmax)), to)


@silent
def fake_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.fake_quantize_per_tensor_affine: (clip(rint(x * (1 / scale)) + zero_point) - zero_point) * scale.

    NaN becomes the real value of qmin.
    """
    q = np.rint(single(x) * reciprocal(scale)) + single(zero_point)
    return (single(np.fmin(np.fmax(q, to.qmin), to.qmax)) - single(zero_point)) * single(scale)


@silent
def dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """Tensor.dequantize: float32(q - zero_point) * scale."""
    return single(centred(q, zero_point)) * single(scale)


@silent
def minmax_qparams(
    rmin: Array, rmax: Array, to: IntRange, *, symmetric: bool, eps: float, midpoint: int
) -> tuple[Array, Array]:
    """MinMaxObserver and its kin, calculate_qparams: float32 scale, int64 zero_point.

    eps       the smallest scale, by default 2**-23
    midpoint  the zero_point of a symmetric range: 0 if signed, else 128, or (qmin + qmax) // 2 for a
              range of your own

    A symmetric int8 is -128..127 here, and its scale max / 127.5, so that +max has no code.
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
    """MovingAverageMinMaxObserver: min_val and max_val after it has seen x[0], x[1], ..., in float32."""
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
    """What a linear or convolution layer needs after the sum; w broadcasts against the accumulators."""

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
    """
    product = s.x * s.w
    a = single(acc) + bias / product if per_channel else fused_multiply_add(bias, reciprocal(product), acc)
    return saturate_as_int32(np.rint(a * (product / s.y)), zero_point, to)


@silent
def qnnpack_requantize(acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange) -> Array:
    """qnnpack: rint((acc + b) * (sx * sw * (1 / sy))) + zero_point, with b = rint(bias * (1 / (sx * sw))).

    b is int32 (the kernels disagree on a bias beyond that), and the sum wraps.
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
    """
    S = reciprocal(reciprocal(s.x))
    W = s.w if convolves else reciprocal(reciprocal(s.w))
    y = (single(acc) * S * W if vnni else single(acc) * (S * W)) + bias
    return saturate(np.clip(np.rint(y * reciprocal(s.y) + single(zero_point)), to.qmin, to.qmax), to)


def saturate_as_int32(steps: Array, zero_point: Numbers, to: IntRange) -> Array:
    """steps + zero_point, saturated at int16 on the way as the vector instructions do (PACKSSDW, PADDSW)."""
    steps = np.clip(to_int32(steps), INT16.qmin, INT16.qmax)
    return saturate(np.clip(steps + np.asarray(zero_point, np.int32), INT16.qmin, INT16.qmax), to)

"""ONNX Runtime: onnxruntime 1.32.0, CPUExecutionProvider, on x86-64."""

import numpy as np

from qtutor.engines.processor import INT16, Array, Numbers, centred, silent, single
from qtutor.rounding import UINT8, IntRange, saturate


@silent
def quantize_linear(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QuantizeLinear: clip x / scale to the range around zero_point, then round, then add zero_point.

    scale and zero_point broadcast against x.  NaN becomes qmin, since the processor's max(NaN, a) is a.

    >>> from qtutor import INT8
    >>> quantize_linear(np.float32([0.5, 2.5, np.nan, np.inf]), 1.0, 1, INT8)
    array([   1,    3, -128,  127], dtype=int8)
    """
    Z = single(zero_point)
    steps = np.fmin(np.fmax(single(x) / single(scale), to.qmin - Z), to.qmax - Z)
    return saturate(np.rint(steps) + Z, to)


@silent
def dequantize_linear(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DequantizeLinear: float32(q - zero_point) * scale; int32 codes beyond 2**24 round on the way.

    >>> dequantize_linear(np.int32([2**24 + 1]), 0.5, 0).tolist()
    [8388608.0]
    """
    return single(centred(q, zero_point)) * single(scale)


@silent
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """DynamicQuantizeLinear: uint8 codes, scale, zero_point; all in float32.

    A range of nothing but 0, or no element at all, gives scale 1.

    >>> [part.tolist() for part in dynamic_quantize_linear(np.float32([-1.0, 1.0]))]
    [[0, 254], 0.007843137718737125, 127]
    """
    rmin = np.fmin.reduce(x, axis=None, initial=np.float32(0))
    rmax = np.fmax.reduce(x, axis=None, initial=np.float32(0))
    scale = single(1.0) if rmin == rmax else single((rmax - rmin) / np.float32(255))
    zero_point = np.rint(np.fmax(np.float32(0), np.fmin(np.float32(255), 0 - rmin / scale)))
    return (
        quantize_linear(x, scale, zero_point, UINT8),
        scale,
        np.asarray(zero_point).astype(np.uint8),
    )


@silent
def compute_scale_zp(rmin: Array, rmax: Array, to: IntRange, *, symmetric: bool) -> tuple[Array, Array]:
    """onnxruntime.quantization's compute_scale_zp: float32 scale and int64 zero_point.

    In float64; a scale below the smallest normal float32 becomes 1, with zero_point 0.  Symmetric int8
    is -127..127 for the caller to pass; a symmetric uint8 has zero_point rint(127.5) = 128.
    """
    rmin, rmax = np.minimum(rmin, np.float32(0)), np.maximum(rmax, np.float32(0))
    if symmetric:
        rmax = np.maximum(-rmin, rmax)
        rmin = -rmax
    scale = (rmax.astype(np.float64) - rmin) / (to.qmax - to.qmin)
    zero_point = np.rint((to.qmin + to.qmax) / 2) if symmetric else np.rint(to.qmin - rmin / scale)
    usable = scale >= np.finfo(np.float32).tiny
    return single(np.where(usable, scale, 1)), np.where(usable, zero_point, 0).astype(np.int64)


def matmul_integer(a: Array, b: Array, a_zero_point: Numbers = 0, b_zero_point: Numbers = 0) -> Array:
    """MatMulInteger: (a - a_zero_point) @ (b - b_zero_point), exact, wrapping in int32.

    Zero-points broadcast: a's of shape () or (rows, 1), b's of shape () or (columns,).  On x86-64
    without VNNI, uint8 x int8 is matmul_integer_without_vnni instead.
    """
    acc = centred(a, a_zero_point).astype(np.int64) @ centred(b, b_zero_point).astype(np.int64)
    return acc.astype(np.int32)


def matmul_integer_without_vnni(
    a: Array, b: Array, a_zero_point: Numbers = 0, b_zero_point: Numbers = 0
) -> Array:
    """MatMulInteger of uint8 a and int8 b on AVX2: each pair of products along K saturates at int16.

    VPMADDUBSW adds a[2k] * b[2k] and a[2k + 1] * b[2k + 1] into 16 bits: 255 * 127 twice is 64770, and
    becomes 32767.  The zero-points enter after the products, as row and column sums, exactly.  Within
    7 bits (b in -64..63) no pair can saturate.

    >>> matmul_integer_without_vnni(np.uint8([[255, 255]]), np.int8([[127], [127]]))
    array([[32767]], dtype=int32)
    """
    K = a.shape[-1]
    acc = np.zeros((*a.shape[:-1], b.shape[-1]), np.int64)
    for k in range(0, K, 2):
        pair = a[..., k : k + 2].astype(np.int64) @ b[..., k : k + 2, :].astype(np.int64)
        acc += np.clip(pair, INT16.qmin, INT16.qmax)
    exact = a.astype(np.int64) @ b.astype(np.int64)
    return (acc - exact + matmul_integer(a, b, a_zero_point, b_zero_point)).astype(np.int32)


@silent
def requantize(
    acc: Array,
    x_scale: Numbers,
    w_scale: Numbers,
    y_scale: Numbers,
    zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QLinearMatMul and QLinearConv after the sum: rint(float32(acc) * m) + zero_point.

    m = x_scale * w_scale / y_scale, rounded to float32 after each step; w_scale broadcasts against acc.
    An int32 bias is added to acc before, and wraps there.

    >>> from qtutor import INT8
    >>> requantize(np.int32([-6, 1, 6]), 0.5, 0.5, 1.0, 0, INT8)
    array([-2,  0,  2], dtype=int8)
    """
    m = single(x_scale) * single(w_scale) / single(y_scale)
    Z = single(zero_point)
    steps = np.fmin(np.fmax(single(acc) * m, to.qmin - Z), to.qmax - Z)
    return saturate(np.rint(steps) + Z, to)

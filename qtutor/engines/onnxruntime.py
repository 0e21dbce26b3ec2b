"""ONNX Runtime: onnxruntime 1.32.0, CPUExecutionProvider, on x86-64.

Operators and the order of their inputs are those of the standard, as in `engines.onnx`: `to` is the range
of y.  Integer sums are exact, so that MatMulInteger and ConvInteger are the same there and here.
"""

import functools
from collections.abc import Sequence

import numpy as np

from qtutor.affine import check_codes
from qtutor.engines.onnx import conv_integer, matmul_integer, of_rows, one, spread
from qtutor.engines.processor import (
    INT16,
    Array,
    Numbers,
    bias_of,
    centred,
    fused_multiply_add,
    reals,
    silent,
    single,
    to_int32,
)
from qtutor.rounding import INT8, INT32, UINT8, IntRange, integers, saturate


@silent
def quantize_linear(
    x: Array, scale: Numbers, zero_point: Numbers, to: IntRange, *, axis: int = 1, block_size: int = 0
) -> Array:
    """QuantizeLinear: clip x / scale to the range around zero_point, then round, then add zero_point.

    x                  float32
    scale, zero_point  one number, or one for each index of `axis`, or for each block there

    NaN becomes qmin, since the processor's max(NaN, a) is a.  Raises TypeError for other dtypes than
    float32, ValueError where shapes do not fit.

    >>> from qtutor import INT8
    >>> quantize_linear(np.float32([0.5, 2.5, np.nan, np.inf]), 1.0, 1, INT8)
    array([   1,    3, -128,  127], dtype=int8)
    """
    x = reals(x, "x of QuantizeLinear")
    S, Z = (single(spread(p, x.shape, axis, block_size)) for p in (scale, zero_point))
    return clipped_then_rounded(x / S, Z, to)


def clipped_then_rounded(steps: Array, Z: Array, to: IntRange) -> Array:
    """rint(steps) + Z, with the steps clipped before they are rounded; NaN becomes qmin.

    >>> clipped_then_rounded(np.float32([0.5, 1.5, 1e9]), np.float32(1), INT8)
    array([  1,   3, 127], dtype=int8)
    """
    return saturate(np.rint(np.fmin(np.fmax(steps, to.qmin - Z), to.qmax - Z)) + Z, to)


@silent
def dequantize_linear(
    q: Array, scale: Numbers, zero_point: Numbers = 0, *, axis: int = 1, block_size: int = 0
) -> Array:
    """DequantizeLinear: float32(q - zero_point) * scale; int32 codes beyond 2**24 round on the way.

    q                  codes, or int32 with zero_point 0
    scale, zero_point  as for quantize_linear

    >>> dequantize_linear(np.int32([2**24 + 1]), 0.5, 0).tolist()
    [8388608.0]
    """
    q = integers(q, INT32.min, INT32.max, "DequantizeLinear")
    S, Z = (spread(p, q.shape, axis, block_size) for p in (scale, zero_point))
    return single(centred(q, Z)) * single(S)


@silent
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """DynamicQuantizeLinear, on one thread: uint8 codes, scale, zero_point; all in float32.

    x  float32, else TypeError

    A range of nothing but 0, or no element at all, gives scale 1.  A NaN hides some of the other numbers,
    see `extreme`; if the extremes become NaN, the scale is NaN, zero_point 255, and all codes are 0.
    (More threads share the work from 129 elements on, and then a NaN hides others.)

    >>> [part.tolist() for part in dynamic_quantize_linear(np.float32([-1.0, 1.0]))]
    [[0, 254], 0.007843137718737125, 127]
    >>> [part.tolist() for part in dynamic_quantize_linear(np.float32([1, 2, 3, 4, 5, 6, 7, np.nan]))]
    [[0, 0, 0, 0, 0, 0, 0, 0], nan, 255]
    """
    x = reals(x, "x of DynamicQuantizeLinear")
    rmin, rmax = extreme(x, np.less), extreme(x, np.greater)
    scale = single(1.0) if rmin == rmax else single((rmax - rmin) / np.float32(255))
    zero_point = np.rint(np.fmax(np.float32(0), np.fmin(np.float32(255), 0 - rmin / scale)))
    return (
        quantize_linear(x, scale, zero_point, UINT8),
        scale,
        np.asarray(zero_point).astype(np.uint8),
    )


def extreme(x: Array, beats: np.ufunc) -> Array:
    """The least number of x and 0 (beats = np.less) or the largest (np.greater), as MLAS finds it with AVX.

    x is read in lanes: four vectors of eight, what is left in vectors of eight, and the rest one by one.
    MINPS and MAXPS of (a, b) are b unless a beats b; so a NaN in b wins, and then loses to what comes next.
    That is as if the lane had begun there: what stood before is forgotten.

    >>> x = np.float32([9, 1, 1, 1, 2, 1, 1, 1])
    >>> float(extreme(x, np.greater))
    9.0
    >>> x[0] = np.nan
    >>> float(extreme(x, np.greater))
    2.0
    """

    def pick(a: Array, b: Array) -> Array:
        return np.where(beats(a, b), a, b)

    x = x.ravel()
    ends = x.size // 32 * 32, x.size // 8 * 8
    four = functools.reduce(pick, x[: ends[0]].reshape(-1, 4, 8), np.zeros((4, 8), np.float32))
    lanes = pick(pick(four[0], four[1]), pick(four[2], four[3]))
    lanes = functools.reduce(pick, x[ends[0] : ends[1]].reshape(-1, 8), lanes)
    for half in (4, 2, 1):
        lanes = pick(lanes[:half], lanes[half:])
    found = lanes[0]
    for number in [*x[ends[1] :], np.float32(0)]:  # here a NaN in x loses, and one that was found stays
        found = pick(number, found)
    return found


@silent
def compute_scale_zp(rmin: Array, rmax: Array, to: IntRange, *, symmetric: bool) -> tuple[Array, Array]:
    """onnxruntime.quantization's compute_scale_zp: float32 scale and int64 zero_point.

    In float64; a scale below the smallest normal float32 becomes 1, with zero_point 0.  Symmetric int8
    is -127..127 for the caller to pass; a symmetric uint8 has zero_point rint(127.5) = 128.

    >>> ends = np.float32(-1.0), np.float32(254.0)
    >>> [part.item() for part in compute_scale_zp(*ends, UINT8, symmetric=False)]
    [1.0, 1]
    """
    rmin, rmax = np.minimum(rmin, np.float32(0)), np.maximum(rmax, np.float32(0))
    if symmetric:
        rmax = np.maximum(-rmin, rmax)
        rmin = -rmax
    scale = (rmax.astype(np.float64) - rmin) / (to.qmax - to.qmin)
    zero_point = np.rint((to.qmin + to.qmax) / 2) if symmetric else np.rint(to.qmin - rmin / scale)
    usable = scale >= np.finfo(np.float32).tiny
    return single(np.where(usable, scale, 1)), np.where(usable, zero_point, 0).astype(np.int64)


def matmul_integer_without_vnni(
    a: Array, b: Array, a_zero_point: Numbers = 0, b_zero_point: Numbers = 0
) -> Array:
    """MatMulInteger of uint8 a and int8 b on AVX2: each pair of products along K saturates at int16.

    VPMADDUBSW adds a[2k] * b[2k] and a[2k + 1] * b[2k + 1] into 16 bits: 255 * 127 twice is 64770, and
    becomes 32767.  The zero-points enter after the products, as row and column sums, exactly.  Within
    7 bits (b in -64..63) no pair can saturate.  Arguments and errors are those of matmul_integer.

    >>> matmul_integer_without_vnni(np.uint8([[255, 255]]), np.int8([[127], [127]]))
    array([[32767]], dtype=int32)
    """
    exact = matmul_integer(a, b, a_zero_point, b_zero_point)
    for name, q, to in (("a", a, UINT8), ("b", b, INT8)):
        check_codes(q, to, f"{name} of MatMulInteger without VNNI")
    lost = np.zeros(exact.shape, np.int64)  # by saturation
    for k in range(0, a.shape[-1], 2):
        pair = a[..., k : k + 2].astype(np.int64) @ b[..., k : k + 2, :].astype(np.int64)
        lost += pair - np.clip(pair, INT16.qmin, INT16.qmax)
    return (exact - lost).astype(np.int32)


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
    return clipped_then_rounded(single(acc) * m, single(zero_point), to)


def qlinear_matmul(
    a: Array,
    a_scale: Numbers,
    a_zero_point: Numbers,
    b: Array,
    b_scale: Numbers,
    b_zero_point: Numbers,
    y_scale: Numbers,
    y_zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QLinearMatMul: codes of the product, `matmul_integer` and then `requantize`.

    a, b  codes, shapes (..., rows, K) and (..., K, columns); a's scale and zero-point are one number or one
          for each row, b's one or one for each column, y's one

    Raises TypeError for floats, ValueError where shapes do not fit.

    >>> from qtutor import UINT8
    >>> half, a, b = 0.5, np.uint8([[3, 4]]), np.uint8([[1], [2]])
    >>> qlinear_matmul(a, half, 2, b, half, 0, half, 1, UINT8)  # 5 / 2 is a tie, then + 1
    array([[3]], dtype=uint8)
    """
    acc = matmul_integer(a, b, a_zero_point, b_zero_point)
    return requantize(acc, of_rows(a_scale), b_scale, y_scale, one(y_zero_point, "y_zero_point"), to)


def qlinear_conv(
    x: Array,
    x_scale: Numbers,
    x_zero_point: Numbers,
    w: Array,
    w_scale: Numbers,
    w_zero_point: Numbers,
    y_scale: Numbers,
    y_zero_point: Numbers,
    to: IntRange,
    bias: Array | None = None,
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
) -> Array:
    """QLinearConv: codes of the convolution, `conv_integer`, + bias wrapping, and then `requantize`.

    x, w, strides, pads, dilations, group  as for conv_integer
    w_scale, w_zero_point                  one number, or one for each feature; x's and y's are one
    bias                                   int32 (features,), at scale x_scale * w_scale

    Raises TypeError for floats, ValueError where shapes do not fit.

    >>> from qtutor import UINT8
    >>> half = 0.5
    >>> x, w, bias = np.uint8([[[3, 4, 5]]]), np.uint8([[[1, 1]]]), np.int32([-2])
    >>> qlinear_conv(x, half, 2, w, half, 0, half, 0, UINT8, bias, pads=[1, 0])
    array([[[0, 0, 2]]], dtype=uint8)
    """
    acc = conv_integer(
        x, w, x_zero_point, w_zero_point, strides=strides, pads=pads, dilations=dilations, group=group
    )
    acc = acc + spread(bias_of(bias, np.int32, acc.shape[1], "bias of QLinearConv"), acc.shape, 1)
    y_zero_point = one(y_zero_point, "y_zero_point")
    return requantize(acc, x_scale, spread(w_scale, acc.shape, 1), y_scale, y_zero_point, to)


@silent
def qlinear_add(
    a: Array,
    a_scale: Numbers,
    a_zero_point: Numbers,
    b: Array,
    b_scale: Numbers,
    b_zero_point: Numbers,
    y_scale: Numbers,
    y_zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QLinearAdd of com.microsoft: codes of a + b, by two fused multiply-adds that know no real number.

    a, b    codes in `to`, INT8 or UINT8, of one shape; every scale and zero-point is one number
    result  rint(a * A + (b * B + c)), with A = a_scale / y_scale, B = b_scale / y_scale, and the constant
            c = y_zero_point - (A * a_zero_point + B * b_zero_point)

    A session with graph optimization EXTENDED or ALL, the default, puts it in the place of DequantizeLinear
    twice, Add, QuantizeLinear: now and then another code than theirs, which round four times.  A single
    element has a and b exchanged.  Raises TypeError for floats, ValueError where codes or shapes do not fit.
    Seen with AVX2 and FMA, on a CPU that also has AVX512-VNNI.  Source: MLAS, qladd_avx2.cpp; how c is
    rounded there is the compiler's choice, and was found by experiment.

    >>> a, b = np.int8([0, 1]), np.int8([1, 1])
    >>> qlinear_add(a, 0.5, 0, b, 0.5, 0, 1.0, 10, INT8)  # 0.5 + 10 is a tie
    array([10, 11], dtype=int8)
    """
    if to not in (INT8, UINT8):
        raise ValueError(f"QLinearAdd has codes of {INT8} or {UINT8}, got {to}")
    a, b = check_codes(a, to, "a of QLinearAdd"), check_codes(b, to, "b of QLinearAdd")
    if a.shape != b.shape:
        raise ValueError(f"QLinearAdd needs two tensors of one shape, got {a.shape} and {b.shape}")
    maps = (a_scale, a_zero_point, b_scale, b_zero_point, y_scale, y_zero_point)
    sa, za, sb, zb, sy, zy = (single(one(number, "a scale or zero-point of QLinearAdd")) for number in maps)
    A, B = sa / sy, sb / sy
    if a.size == 1:
        a, A, za, b, B, zb = b, B, zb, a, A, za
    c = zy - fused_multiply_add(A, za, B * zb)
    steps = fused_multiply_add(a, A, fused_multiply_add(b, B, c))
    return saturate(to_int32(np.rint(steps)), to)

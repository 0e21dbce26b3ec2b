"""ONNX: onnx.reference.ReferenceEvaluator of onnx 1.23.2, and with it the node tests of the standard.

Inputs come in the order of the standard, https://onnx.ai/onnx/operators.  There the dtype of y is that of
its zero-point; here a zero-point may be a plain number, and `to` is the range of y.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qtutor.engines.processor import (
    Array,
    Numbers,
    bias_of,
    centred,
    convolution,
    matmul,
    reals,
    silent,
    single,
    to_int32,
    whole,
)
from qtutor.rounding import INT32, IntRange, integers, plain, saturate

# ---- what the standard fixes for every engine: layouts, and sums of integers -----------------------------


def spread(parameter: Numbers, shape: tuple[int, ...], axis: int, block_size: int = 0) -> Array:
    """A scale or zero-point, made to broadcast against a tensor of this shape.

    It is one number; or shape (channels,), along `axis`; or, with a block_size, of the tensor's shape but
    for `axis`, where one number serves so many elements.  Raises ValueError for other shapes.

    >>> spread(np.float32([1, 2]), (3, 2), 1).shape
    (1, 2)
    >>> spread(np.float32([[1, 2]]), (1, 3), 1, block_size=2).tolist()
    [[1.0, 1.0, 2.0]]
    >>> spread(np.float32([1, 2, 3]), (3, 2), 1)
    Traceback (most recent call last):
    ValueError: a scale or zero-point of shape (3,) does not fit shape (3, 2): axis 1 needs (2,)
    """
    parameter = np.asarray(parameter)
    if parameter.size == 1:
        return parameter.reshape(())
    if not -len(shape) <= axis < len(shape) or block_size < 0:
        raise ValueError(f"shape {shape} has no axis {axis}, or block_size {block_size} is negative")
    needed: tuple[int, ...] = (shape[axis],)
    if block_size:
        needed = tuple(-(-n // block_size) if i == axis % len(shape) else n for i, n in enumerate(shape))
    if parameter.shape != needed:
        raise ValueError(
            f"a scale or zero-point of shape {parameter.shape} does not fit shape {shape}: "
            f"axis {axis} needs {needed}"
        )
    if block_size:
        return np.repeat(parameter, block_size, axis).take(range(shape[axis]), axis)
    return np.moveaxis(parameter.reshape(*[1] * (len(shape) - 1), -1), -1, axis)


def one(parameter: Numbers, name: str) -> Array:
    """A scale or zero-point of a whole tensor, shape (); ValueError for more than one number.

    >>> one(np.int8([3]), "zero_point")
    array(3, dtype=int8)
    """
    array = np.asarray(parameter)
    if array.size != 1:
        raise ValueError(f"{name} must be one number, got shape {array.shape}")
    return array.reshape(())


def of_rows(parameter: Numbers) -> Array:
    """A scale or zero-point of a matrix's rows stands beside them.

    >>> of_rows([1, 2]).tolist()
    [[1], [2]]
    """
    parameter = np.asarray(parameter)
    return parameter[..., np.newaxis] if parameter.ndim else parameter


def matmul_integer(a: Array, b: Array, a_zero_point: Numbers = 0, b_zero_point: Numbers = 0) -> Array:
    """MatMulInteger: int32 (a - a_zero_point) @ (b - b_zero_point), exact, wrapping.

    a, b  codes, shapes (..., rows, K) and (..., K, columns); their zero-points are one number, or one for
          each row of a, one for each column of b

    Raises TypeError for floats, ValueError where shapes do not fit.

    >>> matmul_integer(np.uint8([[3, 4]]), np.int8([[1], [2]]), 2)
    array([[5]], dtype=int32)
    """
    a, b = whole(a, "a of MatMulInteger"), whole(b, "b of MatMulInteger")
    return matmul(centred(a, of_rows(a_zero_point)), centred(b, b_zero_point))


def conv_integer(
    x: Array,
    w: Array,
    x_zero_point: Numbers = 0,
    w_zero_point: Numbers = 0,
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
) -> Array:
    """ConvInteger: int32 accumulators of a convolution, exact, wrapping; padding is real 0.

    x             codes (batch, channels, *space)
    w             codes (features, channels / group, *kernel)
    x_zero_point  one number
    w_zero_point  one number, or one for each feature
    pads          all beginnings, then all ends; default 0, as 1 for strides and dilations

    Raises TypeError for floats, ValueError where shapes do not fit.

    >>> conv_integer(np.uint8([[[3, 4, 5]]]), np.uint8([[[1, 1]]]), 2, pads=[1, 0])
    array([[[1, 3, 5]]], dtype=int32)
    """
    x, w = whole(x, "x of a convolution"), whole(w, "w of a convolution")
    axes = max(x.ndim - 2, 0)
    return convolution(
        centred(x, one(x_zero_point, "x_zero_point")),
        centred(w, spread(w_zero_point, w.shape, 0)),
        [1] * axes if strides is None else strides,
        [0] * 2 * axes if pads is None else pads,
        [1] * axes if dilations is None else dilations,
        group,
    )


# ---- what the evaluator computes ----------------------------------------------------------------------


@silent
def quantize_linear(
    x: Array, scale: Array, zero_point: Numbers, to: IntRange, *, axis: int = 1, block_size: int = 0
) -> Array:
    """QuantizeLinear to integers: rint(x / scale) as int32, + zero_point wrapping, then saturate.

    x                  float32 or float16
    scale, zero_point  one number, or one for each index of `axis`, or for each block there; scale has the
                       dtype of x

    NaN, inf and 2**31 are INT32_MIN before zero_point is added; a negative one then wraps to a large code.
    Raises TypeError for integers, ValueError where shapes do not fit.

    >>> from qtutor import INT8
    >>> quantize_linear(np.float32([0.5, 2.5, np.inf]), np.float32(1), -1, INT8)
    array([ -1,   1, 127], dtype=int8)
    """
    x = plain(x, "x of QuantizeLinear", "f", "floats")
    scale, zero_point = (spread(p, x.shape, axis, block_size) for p in (scale, zero_point))
    steps = to_int32(np.rint(x / scale))
    return saturate(steps + np.asarray(zero_point).astype(np.int32), to)


@silent
def dequantize_linear(
    q: Array, scale: Array, zero_point: Numbers = 0, *, axis: int = 1, block_size: int = 0
) -> Array:
    """DequantizeLinear: (float32(q) - zero_point) * scale, rounded to scale's dtype (float16 too).

    q                  codes; or float32 values of codes of a float of at most 8 bits
    scale, zero_point  as for quantize_linear

    >>> dequantize_linear(np.int8([-1, 3]), np.float32(0.5), 1).tolist()
    [-1.0, 1.0]
    """
    q, scale = np.asarray(q), plain(scale, "scale of DequantizeLinear", "f", "floats")
    if q.dtype.kind == "f":
        q = reals(q, "DequantizeLinear")
    else:
        q = integers(q, INT32.min, INT32.max, "DequantizeLinear")
    S, Z = (spread(p, q.shape, axis, block_size) for p in (scale, zero_point))
    return ((single(q) - single(Z)) * S).astype(scale.dtype)


@silent
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """DynamicQuantizeLinear: as ONNX Runtime, but an all-zero x gives scale 1 / 255; NaN is not understood.

    x  float32, one element or more

    >>> [part.tolist() for part in dynamic_quantize_linear(np.float32([-1.0, 1.0]))]
    [[0, 254], 0.007843137718737125, 127]
    """
    x = reals(x, "x of DynamicQuantizeLinear")
    if x.size == 0:
        raise ValueError(f"DynamicQuantizeLinear of ONNX needs an element, got shape {x.shape}")
    rmin, rmax = np.minimum(np.float32(0), np.min(x)), np.maximum(np.float32(0), np.max(x))
    scale = single(1 if rmin == rmax else rmax - rmin) / np.float32(255)
    zero_point = np.rint(max(0, min(255, 0 - rmin / scale)))
    q = np.clip(np.rint(x / scale) + zero_point, 0, 255)
    return to_int32(q).astype(np.uint8), np.asarray(scale), np.asarray(zero_point, np.uint8)


@silent
def requantize(
    acc: Array, x_scale: Array, w_scale: Array, y_scale: Array, zero_point: Numbers, to: IntRange
) -> Array:
    """QLinearMatMul and QLinearConv after the sum: rint(float64(acc) * m + zero_point).

    m = x_scale * w_scale / y_scale in the scales' dtype (NumPy widens int32 * float32 to float64).
    zero_point is added before rounding, so an odd one turns ties.

    >>> from qtutor import INT8
    >>> half = np.float32(0.5)
    >>> requantize(np.int32([-3, -1, 1]), half, half, half, 1, INT8)
    array([0, 0, 2], dtype=int8)
    """
    m = np.asarray(x_scale * w_scale / y_scale).astype(np.float64)
    return saturate(np.rint(np.clip(acc * m + zero_point, to.qmin, to.qmax)), to)


def qlinear_matmul(
    a: Array,
    a_scale: Array,
    a_zero_point: Numbers,
    b: Array,
    b_scale: Array,
    b_zero_point: Numbers,
    y_scale: Array,
    y_zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QLinearMatMul: codes of the product, `matmul_integer` and then `requantize`.

    a, b  codes, shapes (..., rows, K) and (..., K, columns); a's scale and zero-point are one number or one
          for each row, b's one or one for each column, y's one

    Raises TypeError for floats, ValueError where shapes do not fit.

    >>> from qtutor import UINT8
    >>> half, a, b = np.float32(0.5), np.uint8([[3, 4]]), np.uint8([[1], [2]])
    >>> qlinear_matmul(a, half, 2, b, half, 0, half, 1, UINT8)  # 5 / 2 + 1 is a tie
    array([[4]], dtype=uint8)
    """
    acc = matmul_integer(a, b, a_zero_point, b_zero_point)
    return requantize(acc, of_rows(a_scale), b_scale, y_scale, one(y_zero_point, "y_zero_point"), to)


def qlinear_conv(
    x: Array,
    x_scale: Array,
    x_zero_point: Numbers,
    w: Array,
    w_scale: Array,
    w_zero_point: Numbers,
    y_scale: Array,
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
    >>> half = np.float32(0.5)
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


# ---- floats of at most 8 bits ------------------------------------------------------------------------


class SmallFloat(NamedTuple):
    """A float of at most 8 bits: a sign, then exponent_bits, then mantissa_bits.

    >>> [float(FLOAT8_E4M3FN.values[code]) for code in (0x00, 0x01, 0x38, 0x7E, 0xB8)]
    [0.0, 0.001953125, 1.0, 448.0, -1.0]
    """

    exponent_bits: int
    mantissa_bits: int
    largest: float

    @property
    def values(self) -> Array:
        """The value of each code, float32; NaN or inf beyond the largest number."""
        codes = np.arange(2 ** (1 + self.exponent_bits + self.mantissa_bits))
        mantissa = codes % 2**self.mantissa_bits
        exponent = codes >> self.mantissa_bits & 2**self.exponent_bits - 1
        bias = 2 ** (self.exponent_bits - 1) - 1
        hidden_bit = np.where(exponent > 0, 2**self.mantissa_bits, 0)  # subnormals have none
        power = np.maximum(exponent, 1) - bias - self.mantissa_bits
        size = np.ldexp(hidden_bit + mantissa, power)
        infinite = (mantissa == 0) & (self == FLOAT8_E5M2)  # the other two have no inf
        size = np.where(size <= self.largest, size, np.where(infinite, np.inf, np.nan))
        return single(np.where(codes < codes.size // 2, size, -size))


FLOAT8_E4M3FN = SmallFloat(4, 3, 448.0)
FLOAT8_E5M2 = SmallFloat(5, 2, 57344.0)
FLOAT4_E2M1 = SmallFloat(2, 1, 6.0)


@silent
def quantize_linear_to_float(
    x: Array, scale: Array, to: SmallFloat, *, axis: int = 1, block_size: int = 0
) -> Array:
    """QuantizeLinear to float8 or float4: the code of the float nearest to x / scale; uint8.

    Ties go to the even code, what is too large (inf too) to the largest number, NaN to NaN, if there is one.
    The evaluator adds zero_point, which is 0, to a float4 alone: -0.0 + 0 is 0.0.

    >>> quantize_linear_to_float(np.float32([1.0, 5.0, -100.0]), np.float32(1), FLOAT4_E2M1).tolist()
    [2, 6, 15]
    """
    x = plain(x, "x of QuantizeLinear", "f", "floats")
    x = x / spread(scale, x.shape, axis, block_size)
    x = np.asarray(x + 0 if to == FLOAT4_E2M1 else x)
    positive = to.values[: to.values.size // 2]
    finite = positive[: np.count_nonzero(np.isfinite(positive))]
    middles = (finite[1:] + finite[:-1]) / 2  # exact in float32
    size = np.minimum(np.abs(x), single(to.largest))
    above = np.searchsorted(middles, size, side="right")  # a tie goes up ...
    below = np.searchsorted(middles, size, side="left")  # ... or down
    code = np.where(above % 2 == 0, above, below)
    code = np.where(np.isnan(x), positive.size - 1, code)
    return (code + np.where(np.signbit(x), positive.size, 0)).astype(np.uint8)

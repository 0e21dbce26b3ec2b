"""ONNX: onnx.reference.ReferenceEvaluator of onnx 1.23.2, and with it the node tests of the standard."""

from typing import NamedTuple

import numpy as np

from qtutor.engines.processor import Array, Numbers, silent, single, to_int32
from qtutor.rounding import IntRange, saturate


@silent
def quantize_linear(x: Array, scale: Array, zero_point: Numbers, to: IntRange) -> Array:
    """QuantizeLinear to integers: rint(x / scale) as int32, + zero_point wrapping, then saturate.

    NaN, inf and 2**31 are INT32_MIN before zero_point is added; a negative one then wraps to a large code.

    >>> from qtutor import INT8
    >>> quantize_linear(np.float32([0.5, 2.5, np.inf]), np.float32(1), -1, INT8)
    array([ -1,   1, 127], dtype=int8)
    """
    steps = to_int32(np.rint(x / scale))
    return saturate(steps + np.asarray(zero_point).astype(np.int32), to)


def dequantize_linear(q: Array, scale: Array, zero_point: Numbers) -> Array:
    """DequantizeLinear: (float32(q) - zero_point) * scale, rounded to scale's dtype (float16 too)."""
    return ((single(q) - single(zero_point)) * scale).astype(scale.dtype)


@silent
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """DynamicQuantizeLinear: as ONNX Runtime, but an all-zero x gives scale 1 / 255."""
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
def quantize_linear_to_float(x: Array, scale: Array, to: SmallFloat) -> Array:
    """QuantizeLinear to float8 or float4: the code of the float nearest to x / scale; uint8.

    Ties go to the even code, what is too large (inf too) to the largest number, NaN to NaN, if there is one.
    The evaluator adds zero_point, which is 0, to a float4 alone: -0.0 + 0 is 0.0.
    """
    x = np.asarray(x / scale + 0 if to == FLOAT4_E2M1 else x / scale)
    positive = to.values[: to.values.size // 2]
    finite = positive[: np.count_nonzero(np.isfinite(positive))]
    middles = (finite[1:] + finite[:-1]) / 2  # exact in float32
    size = np.minimum(np.abs(x), single(to.largest))
    above = np.searchsorted(middles, size, side="right")  # a tie goes up ...
    below = np.searchsorted(middles, size, side="left")  # ... or down
    code = np.where(above % 2 == 0, above, below)
    code = np.where(np.isnan(x), positive.size - 1, code)
    return (code + np.where(np.signbit(x), positive.size, 0)).astype(np.uint8)

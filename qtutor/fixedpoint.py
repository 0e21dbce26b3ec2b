"""From int32 accumulators to 8-bit codes without a float: M as mantissa and shift.  Notebook 06."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qtutor.affine import Frozen, QParams, along
from qtutor.rounding import INT32, IntRange, integer, integers, real_array, round_half_away

# (acc, multiplier) -> the int32 nearest to multiplier * acc, and 0 for 0; which one is near enough,
# engines disagree
Multiply = Callable[[np.ndarray, Any], np.ndarray]


@dataclass(frozen=True, eq=False)
class FixedPointMultiplier(Frozen):
    """The real number mantissa * 2**-31 * 2**-shift, to multiply int32 accumulators by.

    mantissa  2**30 <= mantissa < 2**31, or 0: the number 0.5 <= mantissa * 2**-31 < 1; stored as int32
    shift     -30..31, bits to the right after the product, so a negative one is a shift to the left
              before it; stored as int32.  LiteRT and gemmlowp count the other way: their shift is ours
              times -1, the exponent of 2

    Both have shape (), or shape (channels,) for one multiplier per channel.  They are copied and
    read-only.  Raises TypeError or ValueError where a field is impossible.

    >>> FixedPointMultiplier(2**30, 3).real, FixedPointMultiplier(3 * 2**29, -1).real
    (array(0.0625), array(1.5))
    >>> FixedPointMultiplier(2**29, 0)
    Traceback (most recent call last):
    ValueError: mantissa must be 0 or 2**30..2**31 - 1, got 536870912
    """

    mantissa: np.ndarray
    shift: np.ndarray

    def __post_init__(self) -> None:
        mantissa = integers(self.mantissa, 0, INT32.max, "mantissa")
        shift = integers(self.shift, -30, 31, "shift")
        if not ((mantissa == 0) | (mantissa >= 2**30)).all():
            raise ValueError(f"mantissa must be 0 or 2**30..2**31 - 1, got {self.mantissa}")
        if mantissa.shape != shift.shape or mantissa.ndim > 1 or mantissa.size == 0:
            raise ValueError(
                f"mantissa and shift must both have shape () or (channels,), "
                f"got {mantissa.shape} and {shift.shape}"
            )
        self._keep(mantissa=mantissa.astype(np.int32), shift=shift.astype(np.int32))

    @property
    def real(self) -> np.ndarray:
        """The number itself, float64, exact."""
        return np.asarray(np.ldexp(self.mantissa.astype(np.float64), -31 - self.shift))


def quantize_multiplier(M: float | np.ndarray) -> FixedPointMultiplier:
    """M as mantissa and shift, exact to a relative error of 2**-31.

    M  real, shape () or (channels,), computed in float64: such as scale1 * scale2 / scale3

    With M = fraction * 2**exponent, 1/2 <= fraction < 1, the mantissa is fraction * 2**31, rounded
    (ties away), and a mantissa of 2**31 becomes 2**30 with the next exponent.  As in LiteRT, M below
    2**-32 becomes 0: with over 31 bits to shift out, nothing is left of any accumulator.

    Raises ValueError for negative M, NaN, inf, and for 2**30 and more, with which 2 leaves int32.
    Source: Jacob et al. 2018, arXiv:1712.05877, equations (5) and (6); LiteRT, QuantizeMultiplier in
    kernels/internal/quantization_util.cc.

    >>> multiplier = quantize_multiplier(0.0072)
    >>> multiplier.mantissa.item(), multiplier.shift.item()
    (1979120930, 7)
    >>> quantize_multiplier(2.0**-33).mantissa.item()
    0
    """
    real = real_array(M, "quantize_multiplier").astype(np.float64)
    if not ((real >= 0) & (real < 2**30)).all():  # False for NaN
        raise ValueError(f"quantize_multiplier needs 0 <= M < 2**30, got {M}")
    fraction, exponent = np.frexp(real)
    mantissa = round_half_away(fraction * 2**31).astype(np.int64)
    carried = mantissa == 2**31
    mantissa, exponent = np.where(carried, 2**30, mantissa), exponent + carried
    if (exponent > 30).any():
        raise ValueError(f"quantize_multiplier needs M that rounds below 2**30, got {M}")
    flushed = exponent < -31
    return FixedPointMultiplier(np.where(flushed, 0, mantissa), np.where(flushed, 0, -exponent))


def rounding_doubling_high_multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """floor((a * b + 2**30) / 2**31): the high half of 2 * a * b, rounded to nearest, ties up; int32.

    a, b  integers that fit int32, shapes that broadcast

    Only -2**31 * -2**31 leaves int32: it saturates at 2**31 - 1.
    Source: gemmlowp, SaturatingRoundingDoublingHighMul in fixedpoint/fixedpoint.h; Arm's SQRDMULH.

    >>> rounding_doubling_high_multiply(np.int32([100, 3, -3]), np.int32(2**30))
    array([50,  2, -1], dtype=int32)
    """
    where = "rounding_doubling_high_multiply"
    a, b = _int32(a, f"a of {where}"), _int32(b, f"b of {where}")
    return _saturate_int32((np.multiply(a, b, dtype=np.int64) + 2**30) >> 31)


def rounding_right_shift(x: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    """x / 2**shift, rounded to nearest, ties away from 0; int32.

    x      integers that fit int32, any shape
    shift  integers 0..31, shape broadcasts against x

    Source: gemmlowp, RoundingDivideByPOT in fixedpoint/fixedpoint.h.

    >>> rounding_right_shift(np.int32([5, 6, 7, -5, -6, -7]), 2)
    array([ 1,  2,  2, -1, -2, -2], dtype=int32)
    """
    x = _int32(x, "x of rounding_right_shift").astype(np.int64)
    shift = integers(shift, 0, 31, "shift of rounding_right_shift").astype(np.int64)
    return _saturate_int32(np.sign(x) * ((np.abs(x) + _half(shift)) >> shift))


def multiply_double_rounding(acc: np.ndarray, multiplier: FixedPointMultiplier) -> np.ndarray:
    """multiplier * acc, rounded twice: to nearest (ties up) by the product, then (ties away) by the shift.

    acc         integers that fit int32; for multipliers of shape (channels,) that is its last axis
    multiplier  from quantize_multiplier

    Returns int32 of acc's shape.  A multiplier of 1 or more shifts acc to the left first.  What passes
    int32 there saturates before the product, as in gemmlowp's SaturatingRoundingMultiplyByPOT: it ends
    at 2**30 or beyond, which every 16-bit code saturates at.  (LiteRT shifts unchecked.)
    Source: LiteRT and TensorFlow Lite Micro, MultiplyByQuantizedMultiplier in kernels/internal/common.h.

    >>> multiply_double_rounding(np.int32([-6, -1, 1, 5, 6]), quantize_multiplier(0.25))
    array([-2,  0,  1,  2,  2], dtype=int32)
    """
    acc, mantissa, shift = _factors(acc, multiplier, "multiply_double_rounding")
    high = rounding_doubling_high_multiply(shifted_left(acc, np.maximum(-shift, 0)), mantissa)
    return rounding_right_shift(high, np.maximum(shift, 0))


def multiply_half_up(acc: np.ndarray, multiplier: FixedPointMultiplier) -> np.ndarray:
    """multiplier * acc, rounded twice, both times to nearest with ties up.

    As multiply_double_rounding, but for the ties of the shift.
    Source: measured on LiteRT 2.3.0: its optimized kernels (BUILTIN_WITHOUT_DEFAULT_DELEGATES).

    >>> multiply_half_up(np.int32([-6, -1, 1, 5, 6]), quantize_multiplier(0.25))
    array([-1,  0,  1,  2,  2], dtype=int32)
    """
    acc, mantissa, shift = _factors(acc, multiplier, "multiply_half_up")
    high = rounding_doubling_high_multiply(shifted_left(acc, np.maximum(-shift, 0)), mantissa)
    right = np.maximum(shift, 0)
    return _saturate_int32((high.astype(np.int64) + _half(right)) >> right)


def multiply_single_rounding(acc: np.ndarray, multiplier: FixedPointMultiplier) -> np.ndarray:
    """floor(multiplier * acc + 1/2): one 64-bit product, one shift of 31 + shift bits, rounded once.

    acc, multiplier  as for multiply_double_rounding

    Returns int32 of acc's shape, saturated (LiteRT asserts that it fits, in debug builds).
    Source: LiteRT, MultiplyByQuantizedMultiplier under TFLITE_SINGLE_ROUNDING.

    >>> multiply_single_rounding(np.int32([-6, -1, 1, 5, 6]), quantize_multiplier(0.25))
    array([-1,  0,  0,  1,  2], dtype=int32)
    """
    acc, mantissa, shift = _factors(acc, multiplier, "multiply_single_rounding")
    shift = 31 + shift  # 1..62, and acc * mantissa + half stays below 2**62 + 2**61: int64 holds it
    y = (np.multiply(acc, mantissa, dtype=np.int64) + _half(shift)) >> shift
    # only a multiplier of 1 or more, a shift to the left, can pass int32
    return _saturate_int32(y) if (shift < 31).any() else np.asarray(y, np.int32)


def multiply_float(acc: np.ndarray, multiplier: float | np.ndarray) -> np.ndarray:
    """rint(float32(acc) * float32(multiplier)): the only one here that computes with floats.

    acc         as for multiply_double_rounding; beyond 2**24 not every int32 has a float32
    multiplier  real, 0 <= M, finite as float32, shape () or (channels,)

    Returns int32 of acc's shape, saturated.
    Source: measured on ONNX Runtime 1.32.0 (QLinearConv, QLinearMatMul), and XNNPACK in LiteRT 2.3.0.

    >>> multiply_float(np.int32([-6, -1, 1, 5, 6]), 0.25)
    array([-2,  0,  0,  1,  2], dtype=int32)
    """
    acc = _int32(acc, "acc of multiply_float")
    with np.errstate(over="ignore", under="ignore"):
        real = real_array(multiplier, "multiply_float")
        M = real.astype(np.float32)
        if not ((real >= 0) & np.isfinite(M)).all():
            raise ValueError(f"multiply_float needs 0 <= M, finite as float32, got {multiplier}")
        whole = np.rint(acc.astype(np.float32) * along(M, -1, acc.shape))
    return _saturate_int32(whole.astype(np.float64))  # 2**31 - 1 is no float32


def requantize(
    acc: np.ndarray,
    multiplier: Any,
    to: QParams,
    *,
    multiply: Multiply,
    axis: int = -1,
    clamp: IntRange | None = None,
) -> np.ndarray:
    """int32 accumulators -> codes: q = saturate(multiply(acc, multiplier) + zero_point).

    acc         integers that fit int32, at scale scale1 * scale2
    multiplier  scale1 * scale2 / to.scale, as `multiply` takes it: quantize_multiplier(M), or M itself
    to          the map of the result, per-tensor; its scale is in the multiplier already
    multiply    such as multiply_double_rounding, or your own; there is no default, as engines differ
    axis        where acc has the channels of a multiplier of shape (channels,)
    clamp       codes to saturate at instead of to.qmin..to.qmax, for a fused activation: a ReLU is
                IntRange(zero_point, qmax), since real 0 has that code

    Returns codes of acc's shape and of the dtype `to.codes.dtype`.
    Raises TypeError for floats in acc, ValueError where acc leaves int32 or shapes do not fit.
    Source: Jacob et al. 2018, arXiv:1712.05877, equation (7) and section 2.4.

    >>> M = quantize_multiplier(0.01)
    >>> to = QParams(0.5, -100)
    >>> requantize(np.int32([-9_000, 50, 1_000, 99_999]), M, to, multiply=multiply_single_rounding)
    array([-128,  -99,  -90,  127], dtype=int8)
    >>> relu = IntRange(-100, 127)
    >>> requantize(np.int32([-9_000, 50]), M, to, multiply=multiply_single_rounding, clamp=relu)
    array([-100,  -99], dtype=int8)
    """
    if to.axis is not None:
        raise ValueError(f"requantize needs a per-tensor map, got one with axis={to.axis}")
    if clamp is not None and not to.qmin <= clamp.qmin < clamp.qmax <= to.qmax:
        raise ValueError(f"clamp {clamp} is outside qmin..qmax = {to.qmin}..{to.qmax}")
    acc, axis = _int32(acc, "acc of requantize").astype(np.int64), integer(axis, "axis of requantize")
    if axis == -1:
        y = multiply(acc, multiplier)
    else:
        y = np.moveaxis(multiply(np.moveaxis(acc, axis, -1), multiplier), -1, axis)
    limits, Z = clamp or to.codes, to.zero_point
    # saturated before the zero-point is added, which could take an int32 past its end
    y = np.clip(_int32(y, "the result of multiply"), limits.qmin - Z, limits.qmax - Z)
    return (y + Z).astype(to.codes.dtype)


def _int32(x: object, name: str) -> np.ndarray:
    """x as int32, or as int64 where its dtype is wider, once it is known to fit int32."""
    array = integers(x, INT32.min, INT32.max, name)
    return array.astype(np.int32 if np.can_cast(array.dtype, np.int32) else np.int64, copy=False)


def _saturate_int32(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(x, INT32.min, INT32.max, out=np.empty_like(x, np.int32), casting="unsafe"))


def _half(shift: np.ndarray) -> np.ndarray:
    """Half of 2**shift, or 0 where nothing is shifted out."""
    return (np.ones_like(shift) << shift) >> 1


def shifted_left(x: np.ndarray, bits: np.ndarray | int) -> np.ndarray:
    """x * 2**bits, saturated at int32, for x in int32 and bits in 0..31."""
    return _saturate_int32(np.left_shift(x, bits, dtype=np.int64))


def _factors(acc: object, multiplier: object, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """acc, mantissa and shift, to be multiplied and shifted as int64."""
    if not isinstance(multiplier, FixedPointMultiplier):
        raise TypeError(f"{where} needs a FixedPointMultiplier (quantize_multiplier), got {multiplier!r}")
    q = _int32(acc, f"acc of {where}")
    mantissa = along(multiplier.mantissa, -1, q.shape).astype(np.int64)
    return q, mantissa, multiplier.shift.astype(np.int64)

"""LiteRT (once TensorFlow Lite) on x86-64, by op resolver; XNNPACK in it; TensorFlow Lite Micro.

"ref" is BUILTIN_REF, "opt" BUILTIN_WITHOUT_DEFAULT_DELEGATES, "xnn" (XNNPACK) AUTO, the default.
Seen on ai-edge-litert 2.3.0 and tflite-micro of 2026-10-23.
"""

from typing import Any, NamedTuple

import numpy as np

from qtutor.engines import onnxruntime
from qtutor.engines.processor import Array, Numbers, centred, reciprocal, silent, single, to_int32
from qtutor.fixedpoint import (
    INT32,
    FixedPointMultiplier,
    multiply_double_rounding,
    multiply_half_up,
    quantize_multiplier,
    rounding_doubling_high_multiply,
    rounding_right_shift,
)
from qtutor.rounding import INT8, IntRange, round_half_away, saturate


@silent
def reference_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE, ref: x / scale rounded half away from zero, as int32, + zero_point wrapping, then saturate.

    >>> reference_quantize(np.float32([0.5, 2.5, np.inf]), 1.0, -1, INT8)
    array([  0,   2, 127], dtype=int8)
    """
    return int32_steps(round_half_away(single(x) / single(scale)), zero_point, to)


@silent
def xnnpack_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE to 8 bits, xnn: rint(x * (1 / scale)) + zero_point; NaN becomes qmax."""
    Z = single(zero_point)
    steps = np.fmax(np.fmin(single(x) * reciprocal(scale), to.qmax - Z), to.qmin - Z)
    return saturate(np.rint(steps) + Z, to)


@silent
def optimized_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE, opt (and xnn for int16): the result depends on where in the tensor x stands.

    Blocks of eight: rint(x * (1 / scale)) as int32.  The last x.size % 8: the float64 quotient x / scale,
    rounded half away from zero.  Then as ref.

    >>> optimized_quantize(np.float32([0.5] * 9), 1.0, 0, INT8).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    body = np.rint(single(x) * reciprocal(scale))
    tail = round_half_away(x.astype(np.float64) / single(scale))
    return int32_steps(np.where(in_tail(x, 8), tail, body), zero_point, to)


def int32_steps(steps: Array, zero_point: Numbers, to: IntRange) -> Array:
    """steps as int32 + zero_point, wrapping, then saturated."""
    return saturate(to_int32(steps) + np.asarray(zero_point, np.int32), to)


def in_tail(x: Array, block: int) -> Array:
    """Where the elements stand that are left over from blocks, the tensor taken as one line."""
    return (np.arange(x.size) >= x.size // block * block).reshape(x.shape)


def reference_dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DEQUANTIZE, ref and xnn: float32(q - zero_point) * scale."""
    return single(centred(q, zero_point)) * single(scale)


def optimized_dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DEQUANTIZE, opt: q * scale + (-zero_point * scale), in blocks of eight; the rest as ref.

    For q = zero_point that is exactly 0 again, but other codes are off by an ulp here and there.
    """
    body = single(q) * single(scale) + -single(zero_point) * single(scale)
    return np.where(in_tail(q, 8), reference_dequantize(q, scale, zero_point), body)


def double_rounding(acc: Array, M: Numbers) -> Array:
    """acc * M by multiply_double_rounding, but an M above 1 shifts acc out of int32 unseen."""
    acc, multiplier = wrapped_left_shift(acc, quantize_multiplier(M))
    return multiply_double_rounding(acc, multiplier)


def half_up(acc: Array, M: Numbers) -> Array:
    """acc * M by multiply_half_up, but an M above 1 shifts acc out of int32 unseen."""
    acc, multiplier = wrapped_left_shift(acc, quantize_multiplier(M))
    return multiply_half_up(acc, multiplier)


def wrapped_left_shift(acc: Array, M: FixedPointMultiplier) -> tuple[Array, FixedPointMultiplier]:
    """acc shifted left where M > 1, keeping the low 32 bits, and the multiplier that is left."""
    shifted = acc.astype(np.int64) << np.maximum(-M.shift, 0)
    return shifted.astype(np.int32), FixedPointMultiplier(M.mantissa, np.maximum(M.shift, 0))


def reference_requantize_codes(
    q: Array, x_scale: Numbers, x_zero_point: Numbers, y_scale: Numbers, y_zero_point: Numbers, to: IntRange
) -> Array:
    """QUANTIZE from codes to codes, ref: (q - zero_point) * M, rounded twice, ties away from zero."""
    M = np.float64(x_scale) / np.float64(y_scale)
    return saturate(double_rounding(centred(q, x_zero_point), M) + np.int32(y_zero_point), to)


def optimized_requantize_codes(
    q: Array, x_scale: Numbers, x_zero_point: Numbers, y_scale: Numbers, y_zero_point: Numbers, to: IntRange
) -> Array:
    """QUANTIZE from codes to codes, opt: rounded twice, ties up, in blocks of sixteen; the rest as ref.

    >>> optimized_requantize_codes(np.full(17, -6, np.int8), 0.25, 0, 1.0, 0, INT8)[[0, 16]]
    array([-1, -2], dtype=int8)
    """
    M = np.float64(x_scale) / np.float64(y_scale)
    acc = centred(q, x_zero_point)
    steps = np.where(in_tail(q, 16), double_rounding(acc, M), half_up(acc, M))
    return saturate(steps + np.int32(y_zero_point), to)


def xnnpack_requantize_codes(
    q: Array,
    x_scale: Numbers,
    x_zero_point: Numbers,
    y_scale: Numbers,
    y_zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QUANTIZE from codes to codes, xnn: M has 8 bits, rint(256 * x_scale / y_scale), and ties round up.

    A ratio of scales outside 2**-8..2**7, and int8 to uint8, are left to opt.
    """
    ratio = single(x_scale) / single(y_scale)
    if not 2**-8 <= ratio <= 2**7 or q.dtype != to.dtype:
        return optimized_requantize_codes(q, x_scale, x_zero_point, y_scale, y_zero_point, to)
    M = np.rint(np.float32(256) * ratio).astype(np.int32)
    return saturate((centred(q, x_zero_point) * M + 128 >> 8) + np.int32(y_zero_point), to)


def multiplier_of(x_scale: Numbers, w_scale: Numbers, y_scale: Numbers) -> Array:
    """M = x_scale * w_scale / y_scale in float64, w_scale per output channel or per tensor."""
    return np.float64(x_scale) * np.asarray(w_scale, np.float64) / np.float64(y_scale)


def optimized_multiplier_of(x_scale: Numbers, w_scale: Numbers, y_scale: Numbers) -> Array:
    """M of opt's FULLY_CONNECTED with one w_scale: x_scale * w_scale is rounded to float32 on the way."""
    return np.asarray(single(x_scale) * single(w_scale), np.float64) / np.float64(y_scale)


def requantize_double_rounding(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, in TFLM's FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D, and in ref's two convolutions.

    Channels are the last axis of acc, here and below.
    """
    return saturate(double_rounding(acc, M) + np.int32(zero_point), to)


def requantize_half_up(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, opt's FULLY_CONNECTED and CONV_2D: both roundings take ties up."""
    return saturate(half_up(acc, M) + np.int32(zero_point), to)


def requantize_by_eights(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, opt's DEPTHWISE_CONV_2D: half up in blocks of eight channels, the rest as ref."""
    channels = acc.shape[-1]
    tail = np.arange(channels) >= channels // 8 * 8
    of_tail, of_body = (
        rule(acc, M, zero_point, to) for rule in (requantize_double_rounding, requantize_half_up)
    )
    return np.where(tail, of_tail, of_body)


def requantize_float64(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, ref's FULLY_CONNECTED: float64(acc) * M, rounded half away from zero."""
    return saturate(round_half_away(acc * M) + zero_point, to)


def xnnpack_requantize(
    acc: Array,
    x_scale: Numbers,
    w_scale: Numbers,
    y_scale: Numbers,
    zero_point: Numbers,
    to: IntRange,
) -> Array:
    """After the sum, xnn's FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D: as ONNX Runtime."""
    return onnxruntime.requantize(acc, x_scale, w_scale, y_scale, zero_point, to)


def limits(low: float, high: float, y_scale: Numbers, y_zero_point: Numbers) -> Array:
    """The codes at which a fused activation clamps (ReLU6 to low, high = 0, 6): half away, + zero_point."""
    return round_half_away(single([low, high]) / single(y_scale)) + single(y_zero_point)


def xnnpack_limits(low: float, high: float, y_scale: Numbers, y_zero_point: Numbers) -> Array:
    """The codes at which a fused activation clamps: rint(limit / scale + zero_point)."""
    return np.rint(single([low, high]) / single(y_scale) + single(y_zero_point))


class Operand(NamedTuple):
    """Codes with their scale and zero-point, per-tensor."""

    q: Array
    scale: Array
    zero_point: Array


def added(a: Operand, b: Operand, y_scale: Numbers) -> Array:
    """(a + b) / y_scale: both to a common scale, with 20 bits of fraction, then to y's, by double_rounding.

    The common scale is twice the larger of the two, so that neither multiplier exceeds 1/2.
    """
    twice_the_larger = 2 * max(float(a.scale), float(b.scale))
    total: Any = np.int32(0)
    for operand in (a, b):
        steps = centred(operand.q, operand.zero_point) << 20
        total = total + double_rounding(steps, float(operand.scale) / twice_the_larger)
    return double_rounding(total, twice_the_larger / (2**20 * float(y_scale)))


def reference_add(a: Operand, b: Operand, y_scale: Numbers, y_zero_point: Numbers, to: IntRange) -> Array:
    """ADD, ref: `added` + zero_point, saturated."""
    return saturate(added(a, b, y_scale) + np.int32(y_zero_point), to)


def optimized_add(a: Operand, b: Operand, y_scale: Numbers, y_zero_point: Numbers, to: IntRange) -> Array:
    """ADD, opt: as ref, but in blocks of sixteen what is added to zero_point wraps at 16 bits."""
    y = added(a, b, y_scale) + np.int32(y_zero_point)
    return saturate(np.where(in_tail(y, 16), y, y.astype(np.int16)), to)


def xnnpack_add(a: Operand, b: Operand, y_scale: Numbers, y_zero_point: Numbers, to: IntRange) -> Array:
    """ADD, xnn: both ratios of scales with one shift; the larger has 21 bits, and ties round up.

    A ratio below 2**-10, or of 2**8 and more, is left to opt.
    """
    ratios = [single(operand.scale) / single(y_scale) for operand in (a, b)]
    if min(ratios) < 2**-10 or max(ratios) >= 2**8:
        return optimized_add(a, b, y_scale, y_zero_point, to)
    _, exponent = np.frexp(max(ratios))
    shift = 21 - int(exponent)
    total: Any = np.int64(1 << (shift - 1))
    for operand, ratio in zip((a, b), ratios, strict=True):
        M = np.rint(np.ldexp(ratio, shift)).astype(np.int64)
        total = total + centred(operand.q, operand.zero_point) * M
    return saturate((total >> shift) + np.int64(y_zero_point), to)


@silent
def reference_logistic(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """LOGISTIC int8, ref and opt: a table of float32 1 / (1 + exp(-x)), times 256, half away from zero.

    The result's scale is 1/256, its zero_point -128.  exp is correctly rounded here, as far as was seen.
    """
    x = reference_dequantize(q, scale, zero_point)
    y = 1 / (1 + single(np.exp(-x.astype(np.float64))))
    return saturate(round_half_away(y * 256) - 128, INT8)


def xnnpack_logistic(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """LOGISTIC int8, xnn: exp(x) / (1 + exp(x)) in float64, then float32, and rint(y * 256 - 128) of that."""
    x = reference_dequantize(q, scale, zero_point)
    exp = np.exp(np.clip(x, -100, 100).astype(np.float64))
    return saturate(np.rint(single(exp / (1 + exp)) * 256 - 128), INT8)


# SOFTMAX of ref is in fixed point.  A number in Q(n) is an int32 with n bits before the binary point.

times: Any = rounding_doubling_high_multiply  # Q(m) times Q(n) is in Q(m + n)
ONE_IN_Q0: Any = np.int32(2**31 - 1)  # 1 itself is one too many
EXP_OF_MINUS_POWERS = {  # exp(-2**power) in Q0
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}


def shifted_left(x: Array, bits: int) -> Array:
    """x * 2**bits, saturated at int32."""
    return np.clip(x.astype(np.int64) << bits, INT32.min, INT32.max).astype(np.int32)


def exp_of_negative(x: Array) -> Array:
    """exp(x) in Q0 for x <= 0 in Q5: gemmlowp's exp_on_negative_values.

    x = r - (a sum of powers of two), -1/4 <= r < 0: a Taylor polynomial around -1/8 gives exp(r), and each
    power contributes a factor from the table.

    >>> exp_of_negative(np.int32([0, -(2**26)])).tolist()  # exp(0) and exp(-1)
    [2147483647, 790015308]
    """
    quarter = 1 << 24
    r = (x & (quarter - 1)) - quarter
    t = shifted_left(r, 5) + (1 << 28)  # r + 1/8 in Q0
    t2 = times(t, t)
    t3, t4 = times(t2, t), times(t2, t2)
    third, exp_of_minus_eighth = 715827883, 1895147668  # in Q0
    t3_and_t4 = times(rounding_right_shift(t4, 2) + t3, third)  # t3 / 3 + t4 / 12
    result = exp_of_minus_eighth + times(exp_of_minus_eighth, t + rounding_right_shift(t2 + t3_and_t4, 1))
    powers = r - x
    for power, factor in EXP_OF_MINUS_POWERS.items():
        has_power = powers & (1 << (26 + power)) != 0
        result = np.where(has_power, times(result, factor), result)
    return np.where(x == 0, ONE_IN_Q0, result)


def one_over_one_plus(x: Array) -> Array:
    """1 / (1 + x) in Q0 for 0 <= x <= 1 in Q0: gemmlowp's, by three steps of Newton's method.

    >>> one_over_one_plus(np.int32([0, 2**30])).tolist()  # 1 and 2 / 3
    [2147483647, 1431655762]
    """
    half_denominator = (x.astype(np.int64) + 2**31) // 2
    y = 1515870810 + times(half_denominator, -1010580540)  # 48/17 - 32/17 * half_denominator, in Q2
    for _ in range(3):
        error = (1 << 29) - times(half_denominator, y)
        y = y + shifted_left(times(y, error), 2)
    return shifted_left(y, 1)


def reference_softmax(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """SOFTMAX int8 over the last axis, ref: in fixed point.

    The result's scale is 1/256, its zero_point -128.  The input's zero_point does not matter: only
    differences to the largest code enter.  Where the exponentials add up to 512 or more, LiteRT aborts,
    and the shift raises ValueError here.
    """
    M = np.float64(scale) * 2**26  # from codes to Q5
    left_shift = min(int(np.frexp(M)[1]), 31)
    radius = int(31 * 2**26 / 2.0**left_shift)  # codes farther from the largest leave Q5, and give 0
    x = centred(q, np.max(q, axis=-1, keepdims=True, initial=-128))
    seen = x >= -radius
    x_in_q5 = double_rounding(np.where(seen, x, 0), min(M, 2.0**30 - 1))
    exponentials = np.where(seen, exp_of_negative(x_in_q5), 0)
    total = rounding_right_shift(exponentials, 12).sum(axis=-1, keepdims=True, dtype=np.int64)  # in Q12
    headroom = 32 - np.frexp(total)[1]  # leading zeros of 32 bits
    reciprocal = one_over_one_plus(((total << headroom) - 2**31).astype(np.int32))
    y = rounding_right_shift(times(reciprocal, exponentials), 12 - headroom + 31 - 8)
    return np.where(seen, saturate(y - 128, INT8), np.int8(-128))


def optimized_softmax(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """SOFTMAX int8 over the last axis, opt and xnn: float32 exponentials from a table, summed in order."""
    x = centred(q, np.max(q, axis=-1, keepdims=True, initial=-128))
    exponentials = single(np.exp((single(scale) * single(x)).astype(np.float64)))
    total = np.add.accumulate(exponentials, axis=-1)[..., -1:]
    return saturate(round_half_away(exponentials * (1 / (total * np.float32(1 / 256)))) - 128, INT8)


def average_pool(sums: Array, count: Array) -> Array:
    """AVERAGE_POOL_2D int8, ref, opt and xnn: the sum of the codes over `count`, ties away from zero."""
    return np.sign(sums) * ((np.abs(sums) + count // 2) // count)

"""LiteRT's kernels on x86-64, rule by rule: reference, optimized, XNNPACK; and TensorFlow Lite Micro's.

The four differ in where they round, to which side of a tie, and in what is left over from their blocks.
`engines.litert` has the whole operators, which take one set of these rules as an argument.
Seen on ai-edge-litert 2.3.0 and tflite-micro of 2026-10-23, on CPUs with SSE4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from qtutor.affine import QParams, QTensor
from qtutor.engines import gemmlowp, onnxruntime
from qtutor.engines.gemmlowp import times
from qtutor.engines.processor import INT16, Array, Numbers, centred, reciprocal, silent, single, to_int32
from qtutor.fixedpoint import (
    FixedPointMultiplier,
    multiply_double_rounding,
    multiply_half_up,
    quantize_multiplier,
    rounding_right_shift,
)
from qtutor.rounding import INT8, IntRange, round_half_away, saturate


@silent
def reference_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE, reference: x / scale, half away from zero, as int32, + zero_point wrapping, then saturate.

    >>> reference_quantize(np.float32([0.5, 2.5, np.inf]), 1.0, -1, INT8)
    array([  0,   2, 127], dtype=int8)
    """
    return int32_steps(round_half_away(single(x) / single(scale)), zero_point, to)


@silent
def xnnpack_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE, XNNPACK: rint(x * (1 / scale)) + zero_point; NaN becomes qmax.

    int16 is left to optimized.

    >>> xnnpack_quantize(np.float32([0.5, 2.5, np.nan]), 1.0, 1, INT8)
    array([  1,   3, 127], dtype=int8)
    """
    if to == INT16:
        return optimized_quantize(x, scale, zero_point, to)
    Z = single(zero_point)
    steps = np.fmax(np.fmin(single(x) * reciprocal(scale), to.qmax - Z), to.qmin - Z)
    return saturate(np.rint(steps) + Z, to)


@silent
def optimized_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE, optimized: the result depends on where in the tensor x stands.

    Blocks of eight: rint(x * (1 / scale)) as int32.  The last x.size % 8: the float64 quotient x / scale,
    rounded half away from zero.  Then as reference.

    >>> optimized_quantize(np.float32([0.5] * 9), 1.0, 0, INT8).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    body = np.rint(single(x) * reciprocal(scale))
    tail = round_half_away(x.astype(np.float64) / single(scale))
    return int32_steps(np.where(in_tail(x, 8), tail, body), zero_point, to)


def int32_steps(steps: Array, zero_point: Numbers, to: IntRange) -> Array:
    """steps as int32 + zero_point, wrapping, then saturated.

    >>> int32_steps(np.float32([3.0, 4e9]), -1, INT8)  # INT32_MIN - 1 wraps
    array([  2, 127], dtype=int8)
    """
    return saturate(to_int32(steps) + np.asarray(zero_point, np.int32), to)


def in_tail(x: Array, block: int) -> Array:
    """Where the elements stand that are left over from blocks, the tensor taken as one line.

    >>> in_tail(np.zeros((2, 5)), 8).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    """
    return (np.arange(x.size) >= x.size // block * block).reshape(x.shape)


@silent
def reference_dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DEQUANTIZE, reference and XNNPACK: float32(q - zero_point) * scale.

    >>> reference_dequantize(np.int8([-1, 3]), 0.5, 1).tolist()
    [-1.0, 1.0]
    """
    return single(centred(q, zero_point)) * single(scale)


@silent
def optimized_dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DEQUANTIZE, optimized: q * scale + (-zero_point * scale), in blocks of eight; the rest as reference.

    For q = zero_point that is exactly 0 again, but other codes are off by an ulp here and there.

    >>> optimized_dequantize(np.int8([9] * 9), 0.1, 2)[[0, 8]].tolist()
    [0.7000000476837158, 0.699999988079071]
    """
    body = single(q) * single(scale) + -single(zero_point) * single(scale)
    return np.where(in_tail(q, 8), reference_dequantize(q, scale, zero_point), body)


def double_rounding(acc: Array, M: Numbers) -> Array:
    """acc * M by multiply_double_rounding, but an M above 1 shifts acc out of int32 unseen.

    >>> double_rounding(np.int32([-6, 6, 2**30]), [0.25, 0.25, 4.0]).tolist()
    [-2, 2, 0]
    """
    acc, multiplier = wrapped_left_shift(acc, quantize_multiplier(M))
    return multiply_double_rounding(acc, multiplier)


def half_up(acc: Array, M: Numbers) -> Array:
    """acc * M by multiply_half_up, but an M above 1 shifts acc out of int32 unseen.

    >>> half_up(np.int32([-6, 6]), 0.25).tolist()
    [-1, 2]
    """
    acc, multiplier = wrapped_left_shift(acc, quantize_multiplier(M))
    return multiply_half_up(acc, multiplier)


def wrapped_left_shift(acc: Array, M: FixedPointMultiplier) -> tuple[Array, FixedPointMultiplier]:
    """acc shifted left where M > 1, keeping the low 32 bits, and the multiplier that is left.

    >>> acc, multiplier = wrapped_left_shift(np.int32([3, 2**29]), quantize_multiplier(6.0))
    >>> acc.tolist(), float(multiplier.real)
    ([24, 0], 0.75)
    """
    shifted = acc.astype(np.int64) << np.maximum(-M.shift, 0)
    return shifted.astype(np.int32), FixedPointMultiplier(M.mantissa, np.maximum(M.shift, 0))


def reference_requantize_codes(
    q: Array, x_scale: Numbers, x_zero_point: Numbers, y_scale: Numbers, y_zero_point: Numbers, to: IntRange
) -> Array:
    """QUANTIZE from codes to codes, reference: (q - zero_point) * M, rounded twice, ties away from zero.

    >>> reference_requantize_codes(np.int8([-6, 6]), 0.25, 0, 1.0, 0, INT8)
    array([-2,  2], dtype=int8)
    """
    M = np.float64(x_scale) / np.float64(y_scale)
    return saturate(double_rounding(centred(q, x_zero_point), M) + np.int32(y_zero_point), to)


def optimized_requantize_codes(
    q: Array, x_scale: Numbers, x_zero_point: Numbers, y_scale: Numbers, y_zero_point: Numbers, to: IntRange
) -> Array:
    """QUANTIZE from codes to codes, optimized: blocks of sixteen, both ties up; the rest as reference.

    >>> optimized_requantize_codes(np.full(17, -6, np.int8), 0.25, 0, 1.0, 0, INT8)[[0, 16]]
    array([-1, -2], dtype=int8)
    """
    M = np.float64(x_scale) / np.float64(y_scale)
    acc = centred(q, x_zero_point)
    steps = np.where(in_tail(q, 16), double_rounding(acc, M), half_up(acc, M))
    return saturate(steps + np.int32(y_zero_point), to)


@silent
def xnnpack_requantize_codes(
    q: Array,
    x_scale: Numbers,
    x_zero_point: Numbers,
    y_scale: Numbers,
    y_zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QUANTIZE from codes to codes, XNNPACK: M has 8 bits, rint(256 * x_scale / y_scale), and ties round up.

    A ratio of scales outside 2**-8..2**7, and int8 to uint8, are left to optimized.

    >>> xnnpack_requantize_codes(np.int8([-6, 6]), 0.25, 0, 1.0, 0, INT8)
    array([-1,  2], dtype=int8)
    """
    ratio = single(x_scale) / single(y_scale)
    if not 2**-8 <= ratio <= 2**7 or q.dtype != to.dtype:
        return optimized_requantize_codes(q, x_scale, x_zero_point, y_scale, y_zero_point, to)
    M = np.rint(np.float32(256) * ratio).astype(np.int32)
    return saturate((centred(q, x_zero_point) * M + 128 >> 8) + np.int32(y_zero_point), to)


@silent
def multiplier_of(x_scale: Numbers, w_scale: Numbers, y_scale: Numbers) -> Array:
    """M = x_scale * w_scale / y_scale in float64, w_scale per output channel or per tensor.

    >>> float(multiplier_of(np.float32(0.5), np.float32(0.5), np.float32(8)))
    0.03125
    """
    return np.float64(x_scale) * np.asarray(w_scale, np.float64) / np.float64(y_scale)


@silent
def optimized_multiplier_of(x_scale: Numbers, w_scale: Numbers, y_scale: Numbers) -> Array:
    """M of optimized FULLY_CONNECTED: with one w_scale, x_scale * w_scale is rounded to float32 on the way.

    >>> scales = np.float32(0.1), np.float32(0.3), np.float32(1)
    >>> bool(optimized_multiplier_of(*scales) == multiplier_of(*scales))
    False
    """
    if np.size(w_scale) > 1:
        return multiplier_of(x_scale, w_scale, y_scale)
    return np.asarray(single(x_scale) * single(w_scale), np.float64) / np.float64(y_scale)


def requantize_double_rounding(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, in TFLM's FULLY_CONNECTED, CONV_2D, DEPTHWISE_CONV_2D, in reference's two convolutions.

    M has shape () or (channels,), the last axis of acc, here and below.

    >>> requantize_double_rounding(np.int32([-6, 6]), 0.25, 10, INT8)
    array([ 8, 12], dtype=int8)
    """
    return saturate(double_rounding(acc, M) + np.int32(zero_point), to)


def requantize_half_up(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, optimized FULLY_CONNECTED and CONV_2D: both roundings take ties up.

    >>> requantize_half_up(np.int32([-6, 6]), 0.25, 10, INT8)
    array([ 9, 12], dtype=int8)
    """
    return saturate(half_up(acc, M) + np.int32(zero_point), to)


def requantize_by_eights(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, optimized DEPTHWISE_CONV_2D: half up in blocks of eight channels, the rest as reference.

    >>> requantize_by_eights(np.full(9, -6), 0.25, 0, INT8)
    array([-1, -1, -1, -1, -1, -1, -1, -1, -2], dtype=int8)
    """
    channels = acc.shape[-1]
    tail = np.arange(channels) >= channels // 8 * 8
    of_tail, of_body = (
        rule(acc, M, zero_point, to) for rule in (requantize_double_rounding, requantize_half_up)
    )
    return np.where(tail, of_tail, of_body)


@silent
def requantize_float64(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, reference FULLY_CONNECTED: float64(acc) * M, rounded half away from zero.

    >>> requantize_float64(np.int32([-1, 1]), 0.5, 10, INT8)
    array([ 9, 11], dtype=int8)
    """
    return saturate(round_half_away(acc * M) + zero_point, to)


@silent
def xnnpack_requantize(
    acc: Array,
    x_scale: Numbers,
    w_scale: Numbers,
    y_scale: Numbers,
    zero_point: Numbers,
    to: IntRange,
) -> Array:
    """After the sum, XNNPACK's FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D: as ONNX Runtime.

    With x_scale * w_scale / y_scale of 256 and more LiteRT makes no interpreter: ValueError.

    >>> xnnpack_requantize(np.int32([-6, 6]), 0.5, 0.5, 1.0, 10, INT8)
    array([ 8, 12], dtype=int8)
    """
    ratio = np.max(single(x_scale) * single(w_scale) / single(y_scale))
    if ratio >= 256:
        raise ValueError(f"XNNPACK refuses x_scale * w_scale / y_scale of 256 and more, got {ratio}")
    return onnxruntime.requantize(acc, x_scale, w_scale, y_scale, zero_point, to)


@silent
def limits(low: float, high: float, y_scale: Numbers, y_zero_point: Numbers) -> Array:
    """The codes at which a fused activation clamps (ReLU6 to low, high = 0, 6): half away, + zero_point.

    >>> limits(0, 6, 4.0, 10).tolist()
    [10.0, 12.0]
    """
    return round_half_away(single([low, high]) / single(y_scale)) + single(y_zero_point)


@silent
def xnnpack_limits(low: float, high: float, y_scale: Numbers, y_zero_point: Numbers) -> Array:
    """The codes at which a fused activation clamps: rint(limit / scale + zero_point).

    >>> xnnpack_limits(0, 6, 12.0, 10).tolist()  # 10.5 is a tie
    [10.0, 10.0]
    """
    return np.rint(single([low, high]) / single(y_scale) + single(y_zero_point))


def added(a: QTensor, b: QTensor, y_scale: Numbers) -> Array:
    """(a + b) / y_scale: both to a common scale, with 20 bits of fraction, then to y's, by double_rounding.

    The common scale is twice the larger of the two, so that neither multiplier exceeds 1/2.

    >>> a, b = (QTensor(np.int8([q]), QParams(0.5, 0)) for q in (2, 3))
    >>> added(a, b, 1.0)  # 1.0 + 1.5 is a tie
    array([3], dtype=int32)
    """
    twice_the_larger = 2 * max(float(a.qparams.scale), float(b.qparams.scale))
    total: Any = np.int32(0)
    for operand in (a, b):
        steps = centred(operand.q, operand.qparams.zero_point) << 20
        total = total + double_rounding(steps, float(operand.qparams.scale) / twice_the_larger)
    return double_rounding(total, twice_the_larger / (2**20 * float(y_scale)))


def reference_add(a: QTensor, b: QTensor, output: QParams) -> Array:
    """ADD, reference: `added` + zero_point, saturated.

    >>> reference_add(*(QTensor(np.int8([q]), QParams(0.5, 0)) for q in (2, 3)), QParams(1.0, 10))
    array([13], dtype=int8)
    """
    return saturate(added(a, b, output.scale) + output.zero_point, output.codes)


def optimized_add(a: QTensor, b: QTensor, output: QParams) -> Array:
    """ADD, optimized: as reference, but in blocks of sixteen what is added to zero_point wraps at 16 bits.

    >>> a = QTensor(np.full(17, 127, np.int8), QParams(1.0, 0))
    >>> optimized_add(a, a, QParams(2.0**-8, 0))[[0, 16]]  # 254 * 2**8 = 65024 wraps to -512
    array([-128,  127], dtype=int8)
    """
    y = added(a, b, output.scale) + output.zero_point
    return saturate(np.where(in_tail(y, 16), y, y.astype(np.int16)), output.codes)


@silent
def xnnpack_add(a: QTensor, b: QTensor, output: QParams) -> Array:
    """ADD, XNNPACK: both ratios of scales with one shift; the larger has 21 bits, and ties round up.

    A ratio below 2**-10, or of 2**8 and more, is left to optimized.

    >>> xnnpack_add(*(QTensor(np.int8([q]), QParams(0.5, 0)) for q in (-2, -3)), QParams(1.0, 10))
    array([8], dtype=int8)
    """
    ratios = [operand.qparams.scale / output.scale for operand in (a, b)]
    if min(ratios) < 2**-10 or max(ratios) >= 2**8:
        return optimized_add(a, b, output)
    _, exponent = np.frexp(max(ratios))
    shift = 21 - int(exponent)
    total: Any = np.int64(1 << (shift - 1))
    for operand, ratio in zip((a, b), ratios, strict=True):
        M = np.rint(np.ldexp(ratio, shift)).astype(np.int64)
        total = total + centred(operand.q, operand.qparams.zero_point) * M
    return saturate((total >> shift) + output.zero_point, output.codes)


@silent
def reference_logistic(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """LOGISTIC, reference and optimized: a table of float32 1 / (1 + exp(-x)), times 256, half away.

    The result's scale is 1/256, its zero_point -128.  exp is correctly rounded here, as far as was seen.

    >>> reference_logistic(np.int8([-128, 0, 127]), 0.1, 0).tolist()
    [-128, 0, 127]
    """
    x = reference_dequantize(q, scale, zero_point)
    y = 1 / (1 + single(np.exp(-x.astype(np.float64))))
    return saturate(round_half_away(y * 256) - 128, INT8)


@silent
def xnnpack_logistic(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """LOGISTIC, XNNPACK: exp(x) / (1 + exp(x)) in float64, then float32, and rint(y * 256 - 128) of that.

    >>> xnnpack_logistic(np.int8([-128, 0, 127]), 0.1, 0).tolist()
    [-128, 0, 127]
    """
    x = reference_dequantize(q, scale, zero_point)
    exp = np.exp(np.clip(x, -100, 100).astype(np.float64))
    return saturate(np.rint(single(exp / (1 + exp)) * 256 - 128), INT8)


def micro_logistic(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """LOGISTIC, TFLM: in fixed point, by gemmlowp; the result is as in reference.

    >>> micro_logistic(np.int8([-128, 0, 127]), 0.1, 0).tolist()
    [-128, 0, 127]
    """
    M = np.float64(scale) * 2**27  # from codes to Q4
    left_shift = int(np.frexp(M)[1])
    # codes farther from the zero-point leave Q4; C's shift by a negative number, for M below 1/2, leaves none
    radius = int(15 * 2**27 / 2.0**left_shift) if left_shift >= 0 else 0
    x = centred(q, zero_point)
    seen = np.abs(x) < radius
    y = gemmlowp.logistic(double_rounding(np.where(seen, x, 0), min(M, 2.0**30 - 1)))
    in_q4 = rounding_right_shift(y, 31 - 8) - 128
    return saturate(np.where(seen, in_q4, np.where(x >= np.maximum(radius, 1), 127, -128)), INT8)


def reference_softmax(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """SOFTMAX over the last axis, reference: in fixed point.

    The result's scale is 1/256, its zero_point -128.  The input's zero_point does not matter: only
    differences to the largest code enter.  Where the exponentials add up to 512 or more, and with a scale of
    2**-26 or less, LiteRT aborts: ValueError.

    >>> reference_softmax(np.int8([[1, 3, 3]]), 0.5, 0)
    array([[-88, -20, -20]], dtype=int8)
    """
    M = np.float64(scale) * 2**26  # from codes to Q5
    if M <= 1:
        raise ValueError(f"the reference SOFTMAX needs a scale above 2**-26, got {scale}")
    left_shift = min(int(np.frexp(M)[1]), 31)
    radius = int(31 * 2**26 / 2.0**left_shift)  # codes farther from the largest leave Q5, and give 0
    x = centred(q, np.max(q, axis=-1, keepdims=True, initial=-128))
    seen = x >= -radius
    x_in_q5 = double_rounding(np.where(seen, x, 0), min(M, 2.0**30 - 1))
    exponentials = np.where(seen, gemmlowp.exp_of_negative(x_in_q5, integer_bits=5), 0)
    total = rounding_right_shift(exponentials, 12).sum(axis=-1, keepdims=True, dtype=np.int64)  # in Q12
    headroom = 32 - np.frexp(total)[1]  # leading zeros of 32 bits
    reciprocal = gemmlowp.one_over_one_plus(((total << headroom) - 2**31).astype(np.int32))
    y = rounding_right_shift(times(reciprocal, exponentials), 12 - headroom + 31 - 8)
    return np.where(seen, saturate(y - 128, INT8), np.int8(-128))


@silent
def optimized_softmax(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """SOFTMAX over the last axis, optimized and XNNPACK: float32 exponentials of a table, summed in order.

    >>> optimized_softmax(np.int8([[1, 3, 3]]), 0.5, 0)
    array([[-88, -20, -20]], dtype=int8)
    """
    x = centred(q, np.max(q, axis=-1, keepdims=True, initial=-128))
    exponentials = single(np.exp((single(scale) * single(x)).astype(np.float64)))
    total = np.add.accumulate(exponentials, axis=-1)[..., -1:]
    return saturate(round_half_away(exponentials * (1 / (total * np.float32(1 / 256)))) - 128, INT8)


def average_pool(sums: Array, count: Array) -> Array:
    """AVERAGE_POOL_2D, all four: the sum of the codes over `count`, ties away from zero.

    >>> average_pool(np.int32([-3, 3]), np.int32([2, 2])).tolist()
    [-2, 2]
    """
    return np.sign(sums) * ((np.abs(sums) + count // 2) // count)


# ---- four sets of rules ---------------------------------------------------------------------------------


class Kernels(NamedTuple):
    """The rules of one set of kernels: what an operator is passed as `kernels`.

    After the sum, a layer's rule takes (acc, x_scale, w_scale, y_scale, zero_point, to); the others take
    what the functions above do.
    """

    quantize: Callable[..., Array]
    requantize: Callable[..., Array]
    dequantize: Callable[..., Array]
    fully_connected: Callable[..., Array]
    conv_2d: Callable[..., Array]
    depthwise_conv_2d: Callable[..., Array]
    limits: Callable[..., Array]
    add: Callable[..., Array]
    logistic: Callable[..., Array]
    softmax: Callable[..., Array]


def by_multiplier(
    requantize: Callable[..., Array], multiplier: Callable[..., Array] = multiplier_of
) -> Callable[..., Array]:
    """A rule that takes M, as one that takes the three scales of which M is made.

    >>> by_multiplier(requantize_float64)(np.int32([-1, 1]), 0.5, 2.0, 2.0, 10, INT8)
    array([ 9, 11], dtype=int8)
    """

    def rule(
        acc: Array,
        x_scale: Numbers,
        w_scale: Numbers,
        y_scale: Numbers,
        zero_point: Numbers,
        to: IntRange,
    ) -> Array:
        return requantize(acc, multiplier(x_scale, w_scale, y_scale), zero_point, to)

    return rule


REFERENCE = Kernels(
    quantize=reference_quantize,
    requantize=reference_requantize_codes,
    dequantize=reference_dequantize,
    fully_connected=by_multiplier(requantize_float64),
    conv_2d=by_multiplier(requantize_double_rounding),
    depthwise_conv_2d=by_multiplier(requantize_double_rounding),
    limits=limits,
    add=reference_add,
    logistic=reference_logistic,
    softmax=reference_softmax,
)
OPTIMIZED = Kernels(
    quantize=optimized_quantize,
    requantize=optimized_requantize_codes,
    dequantize=optimized_dequantize,
    fully_connected=by_multiplier(requantize_half_up, optimized_multiplier_of),
    conv_2d=by_multiplier(requantize_half_up),
    depthwise_conv_2d=by_multiplier(requantize_by_eights),
    limits=limits,
    add=optimized_add,
    logistic=reference_logistic,
    softmax=optimized_softmax,
)
XNNPACK = Kernels(
    quantize=xnnpack_quantize,
    requantize=xnnpack_requantize_codes,
    dequantize=reference_dequantize,
    fully_connected=xnnpack_requantize,
    conv_2d=xnnpack_requantize,
    depthwise_conv_2d=xnnpack_requantize,
    limits=xnnpack_limits,
    add=xnnpack_add,
    logistic=xnnpack_logistic,
    softmax=optimized_softmax,
)
MICRO = REFERENCE._replace(  # it has no QUANTIZE from reals to uint8
    fully_connected=by_multiplier(requantize_double_rounding), logistic=micro_logistic
)

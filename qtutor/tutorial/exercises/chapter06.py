"""Exercises of chapter 06: from int32 accumulators to codes."""

import math
from fractions import Fraction

import numpy as np

from qtutor.fixedpoint import multiply_single_rounding, quantize_multiplier
from qtutor.rounding import round_half_away
from qtutor.tutorial.exercises import Exercise, Function, Number

Array = np.ndarray


def int32(values: list) -> Array:
    return np.array(values, np.int32)


# --- 6.1: one product, one shift, one rounding ---


def multiply(acc: Array, mantissa: int, shift: int) -> Array:
    M = Fraction(mantissa, 2 ** (31 + shift))
    return np.array([math.floor(a * M + Fraction(1, 2)) for a in acc.tolist()])


def multiply_truncating(acc: Array, mantissa: int, shift: int) -> Array:
    return acc.astype(np.int64) * mantissa >> 31 + shift


def multiply_in_int32(acc: Array, mantissa: int, shift: int) -> Array:
    with np.errstate(over="ignore"):
        product = acc * np.int32(mantissa)
    return product.astype(np.int64) + (1 << 30 + shift) >> 31 + shift


def multiply_with_half_of_the_shift(acc: Array, mantissa: int, shift: int) -> Array:
    return acc.astype(np.int64) * mantissa + (1 << shift >> 1) >> 31 + shift


def multiply_rounding_by_the_shift(acc: Array, mantissa: int, shift: int) -> Array:
    high = acc.astype(np.int64) * mantissa >> 31
    return high + (1 << shift >> 1) >> shift


def multiply_twice(acc: Array, mantissa: int, shift: int) -> Array:
    high = acc.astype(np.int64) * mantissa + 2**30 >> 31
    return high + (1 << shift >> 1) >> shift


def multiply_adding_one(acc: Array, mantissa: int, shift: int) -> Array:
    return acc.astype(np.int64) * mantissa + (1 << 31 + shift) >> 31 + shift


def multiply_half_away(acc: Array, mantissa: int, shift: int) -> Array:
    return np.sign(acc) * multiply(np.abs(acc), mantissa, shift)


def multiply_half_even(acc: Array, mantissa: int, shift: int) -> Array:
    M = Fraction(mantissa, 2 ** (31 + shift))
    return np.array([round(a * M) for a in acc.tolist()])


# --- 6.2: mantissa and shift ---


def mantissa_and_shift(M: float) -> tuple[int, int]:
    multiplier = quantize_multiplier(M)
    return int(multiplier.mantissa), int(multiplier.shift)


def not_renormalized(M: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(M)
    return round(fraction * 2**31), -exponent


def with_the_exponent(M: float) -> tuple[int, int]:
    mantissa, shift = mantissa_and_shift(M)
    return mantissa, -shift


def shift_first(M: float) -> tuple[int, int]:
    mantissa, shift = mantissa_and_shift(M)
    return shift, mantissa


def mantissa_truncated(M: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(M)
    return int(fraction * 2**31), -exponent


def shift_from_the_product(M: float) -> tuple[int, int]:
    mantissa, shift = mantissa_and_shift(M)
    return mantissa, shift + 31


def thirty_bits(M: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(M)
    return round(fraction * 2**30), 1 - exponent


def never_halved(M: float) -> tuple[int, int]:
    shift = 0
    while M < 0.5:
        M, shift = 2 * M, shift + 1
    return round(M * 2**31), shift


def halved_but_not_shifted(M: float) -> tuple[int, int]:
    mantissa, shift = not_renormalized(M)
    return min(mantissa, 2**31 - 1), shift


# --- 6.4: the left shift that came too late ---


def scale_up(acc: Array, mantissa: int, left: int) -> Array:
    return (acc.astype(np.int64) << left) * mantissa + 2**30 >> 31


def scale_up_as_given(acc: Array, mantissa: int, left: int) -> Array:
    return (acc.astype(np.int64) * mantissa + 2**30 >> 31) << left


def scale_up_in_int32(acc: Array, mantissa: int, left: int) -> Array:
    with np.errstate(over="ignore"):
        return (acc << np.int32(left)) * np.int32(mantissa) + np.int32(2**30) >> 31


def scale_up_mantissa_in_int32(acc: Array, mantissa: int, left: int) -> Array:
    wrapped = (np.array([mantissa], np.int64) << left).astype(np.int32).astype(np.int64)
    return acc.astype(np.int64) * wrapped + 2**30 >> 31


def scale_up_without_half(acc: Array, mantissa: int, left: int) -> Array:
    return (acc.astype(np.int64) << left) * mantissa >> 31


def scale_up_with_too_large_a_half(acc: Array, mantissa: int, left: int) -> Array:
    return acc.astype(np.int64) * mantissa + 2**30 >> 31 - left


def scale_up_to_the_right(acc: Array, mantissa: int, left: int) -> Array:
    return (acc.astype(np.int64) >> left) * mantissa + 2**30 >> 31


# --- 6.5: ReLU6 as a clamp ---


def steps_of_6(scale: float) -> int:
    return int(round_half_away(np.array(6 / scale)))


def relu6(acc: Array, scale: float, Z: int) -> Array:
    top = min(steps_of_6(scale) + Z, 127)
    return np.clip(acc + Z, Z, top).astype(np.int8)


def relu6_at_code_0(acc: Array, scale: float, Z: int) -> Array:
    top = min(steps_of_6(scale) + Z, 127)
    return np.clip(acc + Z, 0, max(top, 0)).astype(np.int8)


def relu6_up_to_code_6(acc: Array, scale: float, Z: int) -> Array:
    return np.clip(acc + Z, Z, max(6, Z)).astype(np.int8)


def relu6_from_0_to_6(acc: Array, scale: float, Z: int) -> Array:
    return np.clip(acc + Z, 0, 6).astype(np.int8)


def relu6_of_6_steps(acc: Array, scale: float, Z: int) -> Array:
    return (np.clip(acc, 0, 6) + Z).astype(np.int8)


def relu6_cut_off(acc: Array, scale: float, Z: int) -> Array:
    return np.clip(acc + Z, Z, min(int(6 / scale) + Z, 127)).astype(np.int8)


def relu6_beyond_127(acc: Array, scale: float, Z: int) -> Array:
    return np.clip(acc, 0, steps_of_6(scale)) + Z


def relu6_without_zero_point_at_the_top(acc: Array, scale: float, Z: int) -> Array:
    top = min(steps_of_6(scale), 127)
    return np.clip(acc + Z, Z, max(top, Z)).astype(np.int8)


def relu6_without_top(acc: Array, scale: float, Z: int) -> Array:
    return np.clip(acc + Z, Z, 127).astype(np.int8)


def relu6_wrapping(acc: Array, scale: float, Z: int) -> Array:
    top = steps_of_6(scale) + Z
    return np.clip(acc + Z, Z, top).astype(np.int32).astype(np.int8)


def relu6_without_zero_point(acc: Array, scale: float, Z: int) -> Array:
    return np.clip(acc, 0, min(steps_of_6(scale), 127)).astype(np.int8)


# --- 6.6: the shortest mantissa that changes nothing ---


def fewest_bits(reach: int) -> int:
    """Bits of the mantissa of M = 0.003931 that give every accumulator up to `reach` the same integer."""
    M, acc = 0.003931, np.arange(-reach, reach + 1)
    full = multiply_single_rounding(acc, quantize_multiplier(M))
    fraction, exponent = math.frexp(M)
    for bits in range(1, 32):
        shorter = math.ldexp(round(fraction * 2**bits), exponent - bits)
        if np.array_equal(multiply_single_rounding(acc, quantize_multiplier(shorter)), full):
            return bits
    return 31


EXERCISES: dict[str, Exercise] = {
    "6.1": Function(
        cases=[
            (int32([6, -6, 10, -10, 1]), 2**30, 1),  # M = 1/4: ties, and 1/4
            # the last product is 2 below a multiple of 2**38: the least half, too, lifts it
            (int32([32_890, -31_129, 2_000_000_000, -1, 496_429_323]), 1_080_609_466, 7),
            (int32([7, -7, 12, -12, 0]), 2**30, 3),
            (int32([3, -5, 1_000]), 1_500_000_000, 0),
        ],
        expected=multiply,
        mistakes={
            "you don't add half before the shift": multiply_truncating,
            "you multiply in int32, and the product wraps": multiply_in_int32,
            "you add half of 2**shift, though more bits fall off than that": multiply_with_half_of_the_shift,
            "you leave the rounding to the shift, and a shift of 0 does none": multiply_rounding_by_the_shift,
            "you round twice, after 31 bits and after the shift": multiply_twice,
            "you take ties to even": multiply_half_even,
            "you take ties away from zero": multiply_half_away,
            "you add 1 before the shift, not one half": multiply_adding_one,
        },
    ),
    "6.2": Function(
        cases=[(0.0039312344,), (0.75,), (3.7,), (1 - 2.0**-40,)],
        expected=mantissa_and_shift,
        mistakes={
            "you leave a mantissa of 2**31, which no int32 holds": not_renormalized,
            "you return the exponent, whose sign is the other one": with_the_exponent,
            "you return the shift first": shift_first,
            "you cut the mantissa off instead of rounding it": mantissa_truncated,
            "you count the 31 bits of the mantissa into the shift": shift_from_the_product,
            "you use 30 bits of the 31": thirty_bits,
            "you double a small M until it is 1/2 or more, but don't halve a large one": never_halved,
            "you let a mantissa of 2**31 saturate at 2**31 - 1": halved_but_not_shifted,
        },
    ),
    "6.3": Number(
        expected=lambda: 1_000_000 / 2**7,  # 0.0125 = 0.8 * 2**-6, so s = 6
        mistakes={
            "you forget that only one side of a tie is lifted": lambda: 1_000_000 / 2**6,
            "you take M / 2 for 2**-(s + 1), mantissa and all": lambda: 1_000_000 * 0.0125 / 2,
            "you give their share, not their number": lambda: 1 / 2**7,
            "you count ties, of which an M like this makes none": lambda: 0,
            "you count one bit too many into the shift": lambda: 1_000_000 / 2**8,
        },
        tolerance=0.05,  # "about"
    ),
    "6.4": Function(
        cases=[
            (int32([1, 2, 3, -1, -3]), 3 * 2**29, 2),  # M = 3
            (int32([10, -11, 40]), 1_986_422_375, 2),  # M = 3.7
            (int32([1_000, -7]), 2**30, 0),
        ],
        expected=scale_up,
        mistakes={
            "you round before the shift to the left": scale_up_as_given,
            "you multiply in int32, and the product wraps": scale_up_in_int32,
            "you shift the mantissa instead, out of int32": scale_up_mantissa_in_int32,
            "you shift less to the right, and still add half of 2**31": scale_up_with_too_large_a_half,
            "you lose the half that makes the last shift round": scale_up_without_half,
            "you shift to the right": scale_up_to_the_right,
        },
    ),
    "6.5": Function(
        cases=[
            (int32([-90, -1, 0, 7, 64, 300]), 0.125, -20),  # 6 has code 28
            (int32([-300, 50, 200, 400]), 0.03, -128),  # 6 has code 72
            (int32([-5, 0, 90, 300]), 0.02, 10),  # 6 has no code: 310 is too many
            (int32([-1, 5, 8, 9, 10]), 0.7, -60),  # 6 lies between two codes, nearer to the upper one
        ],
        expected=relu6,
        mistakes={
            "you clamp at code 0 instead of at the code of real 0": relu6_at_code_0,
            "you clamp at code 6 instead of at the code of real 6": relu6_up_to_code_6,
            "you clamp at the codes 0 and 6": relu6_from_0_to_6,
            "you clamp at 6 steps instead of at real 6": relu6_of_6_steps,
            "you cut the number of steps to 6 off instead of rounding it": relu6_cut_off,
            "you let the code of 6 pass 127, the last one": relu6_beyond_127,
            "you forget the zero-point in the code of 6": relu6_without_zero_point_at_the_top,
            "you forget the 6": relu6_without_top,
            "you let the code of 6 pass 127, and the cast wraps": relu6_wrapping,
            "you forget to add the zero-point": relu6_without_zero_point,
        },
    ),
    "6.6": Number(
        expected=lambda: fewest_bits(32_000),
        mistakes={
            "you keep all the bits there are": lambda: 31,
            "you count the sign as a bit of the mantissa": lambda: fewest_bits(32_000) + 1,
            "you leave out the leading bit, since it is always 1": lambda: fewest_bits(32_000) - 1,
            "you ask for 8 bits since the codes have 8": lambda: 8,
            "you take the 20 of our layer, which has not every accumulator there is": lambda: 20,
        },
    ),
}

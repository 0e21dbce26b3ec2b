"""The exercises of notebook 01: rounding."""

import numpy as np

from qtutor.rounding import int_range, round_half_away, round_half_even, saturate
from qtutor.tutorial.exercises import Choice, Exercise, Function, Number

NARROW = int_range(8, narrow=True)


# 1.1  a quantizer that never wraps


def codes(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(round_half_even(x / scale), NARROW)


def cast_before_saturating(x: np.ndarray, scale: float) -> np.ndarray:
    return np.clip(round_half_even(x / scale).astype(np.int32).astype(np.int8), -127, 127)


def only_cast(x: np.ndarray, scale: float) -> np.ndarray:
    return round_half_even(x / scale).astype(np.int32).astype(np.int8)


def truncate(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(np.trunc(x / scale), NARROW)


def floor(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(np.floor(x / scale), NARROW)


def leave_floats(x: np.ndarray, scale: float) -> np.ndarray:
    return np.clip(np.rint(x / scale), -127, 127)


def ties_away(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(round_half_away(x / scale), NARROW)


def ties_up(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(np.floor(x / scale + 0.5), NARROW)


def use_minus_128(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(round_half_even(x / scale), int_range(8))


def clip_reals(x: np.ndarray, scale: float) -> np.ndarray:
    return round_half_even(np.clip(x, -127, 127) / scale).astype(np.int32).astype(np.int8)


def multiply(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(round_half_even(x * scale), NARROW)


def multiply_by_the_inverse(x: np.ndarray, scale: float) -> np.ndarray:
    return saturate(round_half_even(x * (1 / scale)), NARROW)


# 1.2  predict a noise: the root mean square of the error of int8 on -4..4


def rms_error() -> float:
    return 4 / 127 / 12**0.5


# 1.3  round half away, without floor(x + 0.5)


def add_half_then_truncate(x: np.ndarray) -> np.ndarray:
    return np.trunc(x + np.copysign(0.5, x))


def floor_of_x_plus_half(x: np.ndarray) -> np.ndarray:
    return np.floor(x + 0.5)


def add_half_for_negatives_too(x: np.ndarray) -> np.ndarray:
    return np.trunc(x + 0.5)


# 1.4  the fewest bits for an error of at most 0.01 on -3..3


def violated(answer: tuple[int, float]) -> str | None:
    bits, scale = answer
    if not scale > 0:
        return "A scale is a width, so it must be over 0."
    end = int_range(bits).qmax * scale
    if scale / 2 > 0.01:
        return f"The error may be scale/2 = {scale / 2:.4g}, which is more than 0.01."
    if 3 - end > 0.01:
        return f"{bits} bits with this scale end at {end:.4g}: 3 is clipped, by more than 0.01."
    if bits > 9:
        return f"It works, but {bits} bits are more than you need."
    return None


# 1.5  the cast, as arithmetic


def wrap(n: int, qmin: int, qmax: int) -> int:
    return (n - qmin) % (qmax - qmin + 1) + qmin


def saturate_instead(n: int, qmin: int, qmax: int) -> int:
    return min(max(n, qmin), qmax)


def ignore_the_sign(n: int, qmin: int, qmax: int) -> int:
    return n % (qmax - qmin + 1)


def wrap_once(n: int, qmin: int, qmax: int) -> int:
    levels = qmax - qmin + 1
    return n - levels if n > qmax else n + levels if n < qmin else n


def wrap_to_uint8(n: int, qmin: int, qmax: int) -> int:
    return n % 256


def wrap_to_int8(n: int, qmin: int, qmax: int) -> int:
    return (n + 128) % 256 - 128


def count_one_code_too_few(n: int, qmin: int, qmax: int) -> int:
    return (n - qmin) % (qmax - qmin) + qmin


# 1.6  two signed 4-bit codes in one byte


def pack(high: int, low: int) -> int:
    return ((high & 15) << 4) | (low & 15)


def pack_unmasked(high: int, low: int) -> int:
    return ((high << 4) | low) & 255


def pack_added(high: int, low: int) -> int:
    return ((high << 4) + low) & 255


def pack_swapped(high: int, low: int) -> int:
    return pack(low, high)


def pack_with_offset(high: int, low: int) -> int:
    return ((high + 8) << 4) | (low + 8)


def pack_to_a_negative_byte(high: int, low: int) -> int:
    return (high << 4) | (low & 15)


def pack_sizes(high: int, low: int) -> int:
    return (abs(high) << 4) | abs(low)


EXERCISES: dict[str, Exercise] = {
    "1.1": Function(
        cases=[
            (np.array([0.2, -0.9, 1.4]), 0.1),
            (np.array([0.25, 0.75, 1.25, -0.25]), 0.5),
            (np.array([65.0, 100.0, -118.0]), 0.5),
            (np.array([300.0, -300.0]), 2.0),
            (np.array([-5.12, 5.12]), 0.04),
            (np.array([73.5, 171.5]) / 64, 49 / 64),  # 1.5 and 3.5 steps, exactly; 1 / scale is not exact
        ],
        expected=codes,
        mistakes={
            "you cast without saturating": only_cast,
            "you cast before saturating": cast_before_saturating,
            "you truncate instead of rounding": truncate,
            "you round down instead of to the nearest": floor,
            "you leave the codes as floats": leave_floats,
            "you break ties away from zero": ties_away,
            "you add 0.5 and take the floor: ties go up": ties_up,
            "you use the code -128, which the narrow range leaves out": use_minus_128,
            "you clip x itself instead of its code": clip_reals,
            "you multiply by the scale instead of dividing": multiply,
            "you multiply by 1 / scale, which is itself rounded": multiply_by_the_inverse,
        },
    ),
    "1.2": Number(
        expected=rms_error,
        mistakes={
            "you give the worst error, S/2": lambda: 4 / 127 / 2,
            "you give the mean square, without the root": lambda: (4 / 127) ** 2 / 12,
            "you divide the range -4..4 by 127: twice the step": lambda: 8 / 127 / 12**0.5,
            "you give the step": lambda: 4 / 127,
            "you divide by 127.5, as for the codes -128..127": lambda: 4 / 127.5 / 12**0.5,
            "you divide by 128, the size of the code -128": lambda: 4 / 128 / 12**0.5,
        },
        tolerance=0.002,
    ),
    "1.3": Function(
        cases=[
            (np.array([0.3, 0.5, 1.5, 2.5, 7.0]),),
            (np.array([-0.3, -0.5, -1.5, -2.5, -2.7]),),
            (np.array([0.49999997, -0.49999997], np.float32),),  # the largest float32 below 0.5
            (np.array([0.49999999999999994, -0.49999999999999994]),),  # and the largest float64
        ],
        expected=round_half_away,
        mistakes={
            "you add 0.5 and take the floor: negative ties go up": floor_of_x_plus_half,
            "you add 0.5 in the direction of x and truncate: the sum itself rounds, just below one half": (
                add_half_then_truncate
            ),
            "you break ties to even": round_half_even,
            "you add 0.5 to negative numbers and truncate": add_half_for_negatives_too,
        },
    ),
    "1.4": Choice(
        violated=violated,
        example=(9, 3 / 255),
        wrong=[(8, 3 / 127), (8, 0.02), (9, 0.01), (10, 3 / 511), (9, 0.03)],
    ),
    "1.5": Function(
        cases=[(130, -128, 127), (-236, -128, 127), (127, -128, 127), (6750341, 0, 255), (-8, -8, 7)],
        expected=wrap,
        mistakes={
            "you saturate": saturate_instead,
            "you take the remainder as it is, which is never negative": ignore_the_sign,
            "you add or subtract the number of codes once only": wrap_once,
            "you wrap to uint8, whatever qmin and qmax are": wrap_to_uint8,
            "you wrap to int8, whatever qmin and qmax are": wrap_to_int8,
            "you leave one end out when you count the codes": count_one_code_too_few,
        },
    ),
    "1.6": Function(
        cases=[(high, low) for high in range(7, -9, -1) for low in range(7, -9, -1)],
        expected=pack,
        mistakes={
            "you let the sign of low spill over high": pack_unmasked,
            "you add low, and a negative low takes 1 away from high": pack_added,
            "you put low into the high half": pack_swapped,
            "you add 8, which is another format: unsigned, with zero-point 8": pack_with_offset,
            "you mask low only, and a negative high gives no byte": pack_to_a_negative_byte,
            "you drop the signs": pack_sizes,
        },
    ),
}

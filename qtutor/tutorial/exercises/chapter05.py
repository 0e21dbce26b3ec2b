"""Exercises of chapter 05: integer matrix products."""

from collections.abc import Sequence

import numpy as np

from qtutor.matmul import integer_matmul
from qtutor.rounding import round_half_away, round_half_even
from qtutor.tutorial.exercises import Choice, Exercise, Function, Number

Array = np.ndarray
rng = np.random.default_rng(5)


def int8(codes: list) -> Array:
    return np.array(codes, np.int8)


def uint8(codes: list) -> Array:
    return np.array(codes, np.uint8)


# --- 5.1: the four terms of an accumulator, which the sums and the product alone make ---


def four_terms(q1: Array, q2: Array, Z1: int, Z2: int) -> tuple:
    a, b = q1.astype(int), q2.astype(int)
    return int(a @ b), Z2 * int(a.sum()), Z1 * int(b.sum()), len(a) * Z1 * Z2


def terms_of_distances(q1: Array, q2: Array, Z1: int, Z2: int) -> int:
    product, row, column, constant = four_terms(q1, q2, Z1, Z2)
    return product - row - column + constant


def terms_with_signs(q1: Array, q2: Array, Z1: int, Z2: int) -> tuple:
    product, row, column, constant = four_terms(q1, q2, Z1, Z2)
    return product, -row, -column, constant


def terms_constant_once(q1: Array, q2: Array, Z1: int, Z2: int) -> tuple:
    return *four_terms(q1, q2, Z1, Z2)[:3], Z1 * Z2


def terms_swapped(q1: Array, q2: Array, Z1: int, Z2: int) -> tuple:
    return four_terms(q1, q2, Z2, Z1)


def terms_in_uint8(q1: Array, q2: Array, Z1: int, Z2: int) -> tuple:
    return int(np.dot(q1, q2)), *four_terms(q1, q2, Z1, Z2)[1:]


def terms_summed_in_uint8(q1: Array, q2: Array, Z1: int, Z2: int) -> tuple:
    product, _, _, constant = four_terms(q1, q2, Z1, Z2)
    return product, Z2 * int(q1.sum(dtype=np.uint8)), Z1 * int(q2.sum(dtype=np.uint8)), constant


# --- 5.2: column term and bias in one int32 vector ---


def offset(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return round_half_even(b / (S1 * S2)).astype(np.int32) - Z1 * q2.sum(axis=0, dtype=np.int32)


def offset_added(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return round_half_even(b / (S1 * S2)).astype(np.int32) + Z1 * q2.sum(axis=0, dtype=np.int32)


def offset_of_rows(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return round_half_even(b / (S1 * S2)).astype(np.int32) - Z1 * q2.sum(axis=1, dtype=np.int32)


def offset_of_everything(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return round_half_even(b / (S1 * S2)).astype(np.int32) - Z1 * q2.sum(dtype=np.int32)


def offset_without_bias(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return -Z1 * q2.sum(axis=0, dtype=np.int32)


def offset_summed_in_int8(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return round_half_even(b / (S1 * S2)).astype(np.int32) - Z1 * q2.sum(axis=0, dtype=np.int8).astype(
        np.int32
    )


def offset_at_weight_scale(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return round_half_even(b / S2).astype(np.int32) - Z1 * q2.sum(axis=0, dtype=np.int32)


def offset_truncated(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return (b / (S1 * S2)).astype(np.int32) - Z1 * q2.sum(axis=0, dtype=np.int32)


def offset_half_away(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    return round_half_away(b / (S1 * S2)).astype(np.int32) - Z1 * q2.sum(axis=0, dtype=np.int32)


def offset_with_int8_bias(q2: Array, Z1: int, b: Array, S1: float, S2: float) -> Array:
    q_b = np.clip(round_half_even(b / (S1 * S2)), -128, 127).astype(np.int32)
    return q_b - Z1 * q2.sum(axis=0, dtype=np.int32)


# --- 5.4: the layer that is right on small numbers ---


def layer(q1: Array, q2: Array, Z1: int) -> Array:
    return integer_matmul(q1, q2, Z1)


def layer_as_given(q1: Array, q2: Array, Z1: int) -> Array:
    return (q1 - np.int8(Z1)) @ q2


def layer_widened_late(q1: Array, q2: Array, Z1: int) -> Array:
    return (q1 - np.int8(Z1)).astype(np.int32) @ q2.astype(np.int32)


def layer_saturated(q1: Array, q2: Array, Z1: int) -> Array:
    return np.clip(q1.astype(np.int32) - Z1, -128, 127) @ q2.astype(np.int32)


def layer_in_int16(q1: Array, q2: Array, Z1: int) -> Array:
    return (q1.astype(np.int16) - np.int16(Z1)) @ q2.astype(np.int16)


# --- 5.5: a pair that int16 does not hold ---


def pair_is_exact(answer: Sequence[int]) -> str | None:
    a0, w0, a1, w1 = (int(part) for part in answer)
    if (a0, w0, a1, w1) != tuple(answer):
        return "All four must be integers."
    if not (0 <= a0 <= 150 and 0 <= a1 <= 150):
        return f"The codes must lie in 0..150 (uint8, at most 150 in size); these are {a0} and {a1}."
    if not (-127 <= w0 <= 127 and -127 <= w1 <= 127):
        return f"The weights must lie in -127..127; these are {w0} and {w1}."
    pair = a0 * w0 + a1 * w1
    if -(2**15) <= pair <= 2**15 - 1:
        return f"The instruction is right: {a0} * {w0} + {a1} * {w1} = {pair} fits int16."
    return None


INT8_CASES = [
    (int8([[1, 2]]), int8([[3], [4]]), 1),
    (int8([[127, -128], [100, 3]]), int8([[127], [-127]]), -103),
    (rng.integers(-128, 128, (3, 40), np.int8), rng.integers(-127, 128, (40, 2), np.int8), 22),
]

EXERCISES: dict[str, Exercise] = {
    "5.1": Function(
        cases=[
            (uint8([10, 12]), uint8([1, 3]), 10, 1),
            (uint8([0, 255, 7]), uint8([200, 100, 131]), 25, 131),
            (rng.integers(0, 256, 50, np.uint8), rng.integers(0, 256, 50, np.uint8), 128, 3),
        ],
        expected=four_terms,
        mistakes={
            "you return the accumulator: the distances, multiplied": terms_of_distances,
            "you return the signs, too": terms_with_signs,
            "you count the constant once, not K times": terms_constant_once,
            "you multiply each sum by its own zero-point instead of the other's": terms_swapped,
            "you multiply in uint8": terms_in_uint8,
            "you sum the codes in uint8": terms_summed_in_uint8,
        },
    ),
    "5.2": Function(
        cases=[
            (int8([[1, -2], [3, 4]]), 10, np.array([0.3125, -2.6]), 0.25, 0.5),  # 2.5 steps: a tie
            (int8([[100, -2], [100, 40]]), 25, np.array([19.4, -19.6]), 0.5, 0.25),
        ],
        expected=offset,
        mistakes={
            "you add the column term instead of subtracting it": offset_added,
            "you sum the rows of q2 instead of its columns": offset_of_rows,
            "you sum all of q2, not each of its columns": offset_of_everything,
            "you leave out the bias": offset_without_bias,
            "you sum in int8, and the sum wraps": offset_summed_in_int8,
            "you scale the bias by S2 alone": offset_at_weight_scale,
            "you truncate the bias instead of rounding it": offset_truncated,
            "you break the tie away from zero, not to even": offset_half_away,
            "you saturate the bias to int8": offset_with_int8_bias,
        },
    ),
    "5.3": Number(
        expected=lambda: (2**15 - 1) // (255 * 7),
        mistakes={
            "you forget that the sign takes a bit": lambda: (2**16 - 1) // (255 * 7),
            "you let a weight be -8": lambda: (2**15 - 1) // (255 * 8),
            "you let the weights be int8": lambda: (2**15 - 1) // (255 * 127),
            "you take an accumulator of int32": lambda: (2**31 - 1) // (255 * 7),
        },
    ),
    "5.4": Function(
        cases=INT8_CASES,
        expected=layer,
        mistakes={
            "you leave all of it in int8": layer_as_given,
            "you subtract in int8 and widen afterwards": layer_widened_late,
            "you saturate the difference to int8": layer_saturated,
            "you accumulate in int16": layer_in_int16,
        },
    ),
    "5.5": Choice(
        violated=pair_is_exact,
        example=(150, 110, 150, 110),
        wrong=[(150, 100, 150, 100), (150, 110, 150, -110), (255, 127, 255, 127), (150, 128, 150, 128)],
    ),
}

"""Exercises of chapter 04: dequantization and error."""

from collections.abc import Callable
from functools import cache

import numpy as np

from qtutor.affine import choose_qparams, fake_quantize
from qtutor.error import error_budget, sqnr_db
from qtutor.graph import forward
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.rounding import INT4
from qtutor.tutorial.exercises import Choice, Exercise, Function, Number

Array = np.ndarray

# --- 4.1: codes of any 8-bit dtype, back to reals ---


def back(q: Array, scale: float, zero_point: int) -> Array:
    return scale * (q.astype(np.int32) - zero_point)


def back_added(q: Array, scale: float, zero_point: int) -> Array:
    return q.astype(np.int32) * scale + zero_point


def back_subtracted_late(q: Array, scale: float, zero_point: int) -> Array:
    return q.astype(np.int32) * scale - zero_point


def back_wrong_sign(q: Array, scale: float, zero_point: int) -> Array:
    return scale * (q.astype(np.int32) + zero_point)


def back_added_wrapped(q: Array, scale: float, zero_point: int) -> Array:
    return scale * (q + np.asarray(zero_point, q.dtype))


def back_forgotten(q: Array, scale: float, zero_point: int) -> Array:
    return scale * q.astype(np.int32)


def back_wrapped(q: Array, scale: float, zero_point: int) -> Array:
    return scale * (q - np.asarray(zero_point, q.dtype))


def back_divided(q: Array, scale: float, zero_point: int) -> Array:
    return (q.astype(np.int32) - zero_point) / scale


# --- 4.2: an even spread over [-1, 1] ---

STEP = 2 / 255


def _db(ratio: float) -> float:
    return float(10 * np.log10(ratio))


# --- 4.3: mean squared error, split by whether a value was clipped ---


def split(x: Array, x_hat: Array, low: float, high: float, scale: float) -> tuple[float, float]:
    e2 = (x - x_hat) ** 2
    clipped = (x < low - scale / 2) | (x > high + scale / 2)
    return float(e2[~clipped].sum() / x.size), float(e2[clipped].sum() / x.size)


def _split_wrongly(
    power: Callable[[Array], Array], edge: float, own_count: bool
) -> Callable[[Array, Array, float, float, float], tuple[float, float]]:
    def wrong(x: Array, x_hat: Array, low: float, high: float, scale: float) -> tuple[float, float]:
        e = power(x - x_hat)
        clipped = (x < low - edge * scale) | (x > high + edge * scale)
        sizes = ((~clipped).sum(), clipped.sum()) if own_count else (x.size, x.size)
        return float(e[~clipped].sum() / sizes[0]), float(e[clipped].sum() / sizes[1])

    return wrong


def split_summed(x: Array, x_hat: Array, low: float, high: float, scale: float) -> tuple[float, float]:
    rounding, clipping = split(x, x_hat, low, high, scale)
    return rounding * x.size, clipping * x.size


def split_swapped(x: Array, x_hat: Array, low: float, high: float, scale: float) -> tuple[float, float]:
    rounding, clipping = split(x, x_hat, low, high, scale)
    return clipping, rounding


# --- 4.4: SQNR in dB ---


def sqnr(x: Array, x_hat: Array) -> float:
    return float(10 * np.log10(np.mean(x**2) / np.mean((x - x_hat) ** 2)))


def sqnr_as_given(x: Array, x_hat: Array) -> float:
    return float(20 * np.log10(np.mean(x**2) / np.mean(x - x_hat) ** 2))


def sqnr_of_amplitudes(x: Array, x_hat: Array) -> float:
    return float(20 * np.log10(np.mean(x**2) / np.mean((x - x_hat) ** 2)))


def sqnr_of_the_mean_error(x: Array, x_hat: Array) -> float:
    return float(10 * np.log10(np.mean(x**2) / np.mean(x - x_hat) ** 2))


def sqnr_upside_down(x: Array, x_hat: Array) -> float:
    return -sqnr(x, x_hat)


def sqnr_in_bels(x: Array, x_hat: Array) -> float:
    return sqnr(x, x_hat) / 10


def sqnr_of_variances(x: Array, x_hat: Array) -> float:
    return float(10 * np.log10(np.var(x) / np.var(x - x_hat)))


def sqnr_natural(x: Array, x_hat: Array) -> float:
    return float(10 * np.log(np.mean(x**2) / np.mean((x - x_hat) ** 2)))


# --- 4.5: a range that clips, chosen on the digits that may choose ---


@cache
def _logits() -> Array:
    digits = load_digits()
    return forward(CNN, load_weights(), to_input(digits.images[digits.train]))["logits"]


def too_noisy(answer: tuple[float, float]) -> str | None:
    rmin, rmax = (float(end) for end in answer)
    if not rmin < rmax:
        return f"A range needs rmin < rmax; this is ({rmin:g}, {rmax:g})."
    x, qparams = _logits(), choose_qparams(rmin, rmax, INT4)
    sqnr = sqnr_db(x, fake_quantize(x, qparams))
    if sqnr >= 20:
        return None
    low, high = qparams.limits
    budget = error_budget(x, qparams)
    return (
        f"{sqnr:.2f} dB, and 20 are needed. {budget.rounding / budget.total:.0%} of the noise is rounding, "
        f"the rest clipping ({np.sum(x < low)} below, {np.sum(x > high)} above the range)."
    )


EXERCISES: dict[str, Exercise] = {
    "4.1": Function(
        cases=[
            (np.array([-128, 0, 127], np.int8), 0.5, -103),
            (np.array([0, 25, 255], np.uint8), 0.25, 25),
            (np.array([[3, -7]], np.int8), 0.125, 0),
        ],
        expected=back,
        mistakes={
            "you compute q * scale + zero_point": back_added,
            "you compute q * scale - zero_point": back_subtracted_late,
            "you add the zero-point instead of subtracting it": back_wrong_sign,
            "you add the zero-point in 8 bits, and the sum wraps": back_added_wrapped,
            "you forget the zero-point": back_forgotten,
            "you subtract in 8 bits, and the difference wraps": back_wrapped,
            "you divide by the scale": back_divided,
        },
    ),
    "4.2": Number(
        expected=lambda: _db((1 / 3) / (STEP**2 / 12)),
        mistakes={
            "you take the mean square at the ends, which is 1": lambda: _db(1 / (STEP**2 / 12)),
            "you forget the 12": lambda: _db((1 / 3) / STEP**2),
            "you give every error its largest size, half a step": lambda: _db((1 / 3) / (STEP / 2) ** 2),
            "you take 20 log10 of a ratio of squares": lambda: 2 * _db((1 / 3) / (STEP**2 / 12)),
        },
        tolerance=0.002,
    ),
    "4.3": Function(
        cases=[
            (np.array([-9.0, 0.2, 1.1, 5.2, 8.0]), np.array([-4.0, 0.0, 1.0, 5.0, 5.0]), -4.0, 5.0, 0.5),
            (np.array([0.1, 0.6, 6.3, 7.0]), np.array([0.0, 0.5, 6.0, 6.0]), -2.0, 6.0, 0.5),
        ],
        expected=split,
        mistakes={
            "you divide each sum by its own number of values": _split_wrongly(np.square, 0.5, True),
            "you count every value beyond a limit as clipped, though up to half a step rounds back": (
                _split_wrongly(np.square, 0, False)
            ),
            "you count a value as clipped only when it is more than a whole step outside": (
                _split_wrongly(np.square, 1, False)
            ),
            "you return sums of squares, not their share of the mean": split_summed,
            "you add up sizes of errors, not squares": _split_wrongly(np.abs, 0.5, False),
            "you return clipping first": split_swapped,
        },
    ),
    "4.4": Function(
        cases=[
            (np.array([3.0, -4.0, 0.5]), np.array([3.1, -4.1, 0.4])),
            (np.array([1.0, 2.0]), np.array([1.0, 2.1])),
        ],
        expected=sqnr,
        mistakes={
            "you leave it as it is": sqnr_as_given,
            "you take 20 log10 of a ratio of squares": sqnr_of_amplitudes,
            "you square the mean error, in which errors of both signs cancel": sqnr_of_the_mean_error,
            "you put the noise on top": sqnr_upside_down,
            "you take the natural logarithm": sqnr_natural,
            "you give bels, which are ten decibels each": sqnr_in_bels,
            "you compare variances, which leave the means out": sqnr_of_variances,
        },
        tolerance=1e-4,  # the slow loop takes steps of 0.001 dB
    ),
    "4.5": Choice(
        violated=too_noisy,
        example=(-2.45, 5.15),
        wrong=[(-4.41, 6.48), (-4.41, 4.0), (-30.0, 30.0), (5.15, -2.45)],
    ),
}

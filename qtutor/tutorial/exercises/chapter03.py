"""Exercises of chapter 03: calibration."""

from collections.abc import Callable
from functools import cache

import numpy as np

from qtutor.affine import QParams, fake_quantize
from qtutor.calibration import MSEObserver, PercentileObserver
from qtutor.error import error_budget
from qtutor.graph import forward
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.rounding import INT4, UINT8
from qtutor.tutorial.exercises import Choice, Exercise, Function, Number

TAILS = np.random.default_rng(31).laplace(size=3000)


def least_error_clip(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    return _best(lambda x, clip, qmax: (x - clip / qmax * _saturated(x, clip, qmax)) ** 2, x, clips, bits)


def _best(error: Callable[..., np.ndarray], x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    return float(min(clips, key=lambda clip: np.mean(error(x, clip, 2 ** (bits - 1) - 1))))


def _saturated(x: np.ndarray, clip: float, qmax: int) -> np.ndarray:
    return np.clip(np.rint(x * qmax / clip), -qmax, qmax)


def _never_saturated(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    return _best(lambda x, clip, qmax: (x - clip / qmax * np.rint(x * qmax / clip)) ** 2, x, clips, bits)


def _never_rounded(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    return _best(lambda x, clip, qmax: (x - np.clip(x, -clip, clip)) ** 2, x, clips, bits)


def _absolute_error(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    return _best(lambda x, clip, qmax: np.abs(x - clip / qmax * _saturated(x, clip, qmax)), x, clips, bits)


def _twice_the_codes(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    return least_error_clip(x, clips, bits + 1)


def _one_code_more(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    def error(x: np.ndarray, clip: float, qmax: int) -> np.ndarray:
        return (x - clip / qmax * np.clip(np.rint(x * qmax / clip), -qmax - 1, qmax)) ** 2

    return _best(error, x, clips, bits)


def _error_of_the_clip(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    clip, qmax = least_error_clip(x, clips, bits), 2 ** (bits - 1) - 1
    return float(np.mean((x - clip / qmax * _saturated(x, clip, qmax)) ** 2))


def _index_of_the_clip(x: np.ndarray, clips: np.ndarray, bits: int) -> float:
    return float(np.flatnonzero(clips == least_error_clip(x, clips, bits))[0])


def coarsen(counts: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    bins = np.arange(first, first + counts.size) >> 1
    joined = np.zeros(bins[-1] - bins[0] + 1, np.int64)
    np.add.at(joined, bins - bins[0], counts)
    return joined, int(bins[0])


def _pairs_from_the_first_bin(counts: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    return np.append(counts, [0] * (counts.size % 2)).reshape(-1, 2).sum(axis=1), first // 2


def _as_shipped(counts: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    return _pairs_from_the_first_bin(counts, first)[0], int(first / 2)


def _first_towards_zero(counts: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    return coarsen(counts, first)[0], int(first / 2)


def _halved_towards_zero(counts: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    bins = np.trunc(np.arange(first, first + counts.size) / 2).astype(np.int64)
    joined = np.zeros(bins[-1] - bins[0] + 1, np.int64)
    np.add.at(joined, bins - bins[0], counts)
    return joined, int(bins[0])


def some_pixel_changes(answer: object) -> str | None:
    """Whether (scale, zero_point) of uint8 changes any of the 17 values that a pixel can have."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "The answer must be a pair: (scale, zero_point)."
    pixels = np.arange(17) / 16
    x_hat = fake_quantize(pixels, QParams(answer[0], answer[1], UINT8))
    changed = np.flatnonzero(x_hat != pixels)
    if changed.size == 0:
        return None
    return f"{changed.size} of the 17 values change; {changed[0]}/16 comes back as {x_hat[changed[0]]:.9g}."


@cache
def _pointwise() -> tuple[np.ndarray, PercentileObserver, QParams]:
    """The tensor of exercise 3.5, its histogram, and the map that MSEObserver proposes at 4 bits."""
    digits = load_digits()
    x = forward(CNN, load_weights(), to_input(digits.images[digits.train]))["block1.pointwise"]
    return x, PercentileObserver().observe(x), MSEObserver().observe(x).qparams(INT4)


def too_noisy(percentile: float) -> str | None:
    """Whether the percentile is over 5 % worse than MSE, at 4 bits, on block1.pointwise."""
    x, observer, best = _pointwise()
    chosen = PercentileObserver(percentile)
    chosen.histogram = observer.histogram
    qparams = chosen.qparams(INT4)
    ratio = error_budget(x, qparams).total / error_budget(x, best).total
    side = "narrow" if qparams.scale < best.scale else "wide"
    words = f"That gives {ratio:.3f} times the noise of MSEObserver: the range is too {side}."
    return None if ratio <= 1.05 else words


EXERCISES: dict[str, Exercise] = {
    "3.1": Function(
        cases=[(TAILS, np.linspace(0.5, 12.0, 47), bits) for bits in (4, 3, 8)],
        expected=least_error_clip,
        mistakes={
            "you round but never saturate, so the smallest steps win": _never_saturated,
            "you clip but never round, so the widest range wins": _never_rounded,
            "you compare absolute errors, not squared ones": _absolute_error,
            "you let qmax be 2 ** bits - 1, twice the codes that there are": _twice_the_codes,
            "you use one code more, below -qmax": _one_code_more,
            "you return the least error, not its clip": _error_of_the_clip,
            "you return the index of the clip, not the clip": _index_of_the_clip,
        },
    ),
    "3.2": Number(
        expected=lambda: 6.0 / (3 * 254**2),
        mistakes={
            "you count the 255 codes, not the steps between them": lambda: 6.0 / (3 * 255**2),
            "you count the 256 codes of full int8 as steps": lambda: 6.0 / (3 * 256**2),
            "you take 127 steps: those of one side": lambda: 6.0 / (3 * 127**2),
            "you take the excess at one end, as in (3.4)": lambda: 12.0 / (12 * 254**2),
            "you compute the rounding noise scale**2 / 12": lambda: (6.0 / 127) ** 2 / 12,
        },
        tolerance=0.002,
    ),
    "3.3": Function(
        cases=[
            (np.array([1, 2, 3, 4]), 0),
            (np.array([1, 2, 3]), 1),
            (np.array([5, 6, 7, 8]), -3),
            (np.array([9]), -1),
            (np.array([1, 2, 4, 8, 16]), -2),
        ],
        expected=coarsen,
        mistakes={
            "you change nothing: this is the function as shipped": _as_shipped,
            "you join pairs from the first bin on, whatever its index": _pairs_from_the_first_bin,
            "you round first / 2 towards zero": _first_towards_zero,
            "you halve each index towards zero": _halved_towards_zero,
        },
    ),
    "3.4": Choice(
        violated=some_pixel_changes,
        example=(1 / 16, 0),
        wrong=[(1 / 255, 0), (1 / 256, 0), (1 / 16, 250), (0.1, 0)],
    ),
    "3.5": Choice(violated=too_noisy, example=99.5, wrong=[99.9, 99.99, 100, 95]),
}

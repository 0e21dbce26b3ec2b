"""How much a round trip loses, and where: clipping, rounding, SQNR.  Notebook 04."""

from typing import NamedTuple

import numpy as np

from qtutor.affine import QParams, fake_quantize
from qtutor.rounding import real_array

LARGEST = 1e150  # squares of larger numbers would leave float64


class ErrorBudget(NamedTuple):
    """Mean squared errors, float64, in squared real units; rounding + clipping == total."""

    rounding: float
    clipping: float
    total: float


def sqnr_db(x: np.ndarray, x_hat: np.ndarray) -> float:
    """Signal-to-quantization-noise ratio 10 log10(mean(x**2) / mean((x - x_hat)**2)), in dB.

    x, x_hat  real arrays of one shape, not empty; computed in float64

    inf where x_hat equals x, -inf where x is all zero and x_hat is not (and beyond 3000 dB either way).
    Raises ValueError for NaN, inf, values over 1e150, empty input or shapes that differ.
    Source: Bennett 1948; Nagel et al. 2021, arXiv:2106.08295, section 2.

    >>> round(sqnr_db(np.array([1.0, 2.0]), np.array([1.0, 2.1])), 3)
    26.99
    """
    x, x_hat = _finite(x, "sqnr_db"), _finite(x_hat, "sqnr_db")
    if x.shape != x_hat.shape:
        raise ValueError(f"sqnr_db needs two arrays of one shape, got {x.shape} and {x_hat.shape}")
    with np.errstate(over="ignore", under="ignore"):
        unit = np.max(np.abs(x - x_hat))  # divided out: 1e-200 is a float64, but its square is 0
        if unit == 0:
            return float("inf")
        signal, noise = np.mean((x / unit) ** 2), np.mean(((x - x_hat) / unit) ** 2)
        return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")


def clipped_fraction(x: np.ndarray, qparams: QParams) -> float:
    """The share of x, from 0 to 1, that lies beyond the codes: over half a step outside `limits`.

    x  real array, not empty

    >>> clipped_fraction(np.float32([-100.0, 0.0, 1.0, 58.6]), QParams(0.5, 10))
    0.25
    """
    return float(np.mean(_clipped(_finite(x, "clipped_fraction"), qparams)))


def error_budget(x: np.ndarray, qparams: QParams) -> ErrorBudget:
    """The mean squared error of fake_quantize(x), split by whether a value was clipped or rounded.

    x  real array, not empty; the sums are float64

    Source: the two terms of Nagel et al. 2021, arXiv:2106.08295, section 2 (clipping and rounding).

    >>> budget = error_budget(np.float32([-100.0, 0.0, 1.1, 58.5]), QParams(0.5, 10))
    >>> round(budget.clipping, 2), round(budget.rounding, 4)
    (240.25, 0.0025)
    """
    x64 = _finite(x, "error_budget")
    clipped = _clipped(x64, qparams)
    with np.errstate(under="ignore"):
        squared = (x64 - fake_quantize(x, qparams)) ** 2
        rounding = float(np.sum(squared[~clipped]) / x64.size)
        clipping = float(np.sum(squared[clipped]) / x64.size)
    return ErrorBudget(rounding, clipping, rounding + clipping)


def _clipped(x: np.ndarray, qparams: QParams) -> np.ndarray:
    """Where x is over half a step outside, exactly: 18 bits times 24 fit a float64, so nothing is rounded."""
    scale, zero_point = (p.astype(np.float64) for p in qparams.aligned_to(x.shape))
    low, high = qparams.qmin - 0.5 - zero_point, qparams.qmax + 0.5 - zero_point
    return (x < scale * low) | (x > scale * high)


def _finite(x: object, where: str) -> np.ndarray:
    array = real_array(x, where).astype(np.float64)
    if array.size == 0 or not (np.abs(array) <= LARGEST).all():
        got = "none" if array.size == 0 else array[~(np.abs(array) <= LARGEST)][0]
        raise ValueError(f"{where} needs finite numbers, at most {LARGEST:g} in size, got {got}")
    return array

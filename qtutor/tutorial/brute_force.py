"""The map with the least noise, found by trying: a yardstick for every way to choose a range."""

from collections.abc import Callable

import numpy as np

from qtutor.rounding import IntRange

Noise = Callable[[float, int, IntRange], float]


def noise_of(x: np.ndarray) -> Noise:
    """The function (scale, zero_point, to) -> mean squared error of that map on the reals x.

    x  real array of any shape, not empty

    x is sorted once.  Then the values of one code are a slice, and running sums give its error exactly, in
    microseconds, however large x is.

    >>> round(noise_of(np.array([0.0, 0.9, 2.2]))(1.0, 0, IntRange(-8, 7)), 4)
    0.0167
    """
    x = np.sort(x, axis=None).astype(np.float64)
    sums, power = np.append(0, np.cumsum(x)), np.mean(x**2)

    def noise(scale: float, zero_point: int, to: IntRange) -> float:
        x_hat = scale * (np.arange(to.qmin, to.qmax + 1) - zero_point)  # what every code means
        between = np.searchsorted(x, (x_hat[1:] + x_hat[:-1]) / 2)  # the nearest code wins
        cuts = np.concatenate([[0], between, [x.size]])
        # the mean of (x - x_hat)**2, multiplied out
        return float(power + (x_hat**2 @ np.diff(cuts) - 2 * x_hat @ np.diff(sums[cuts])) / x.size)

    return noise


def brute_force(noise: Noise, x: np.ndarray, to: IntRange) -> tuple[float, float, int]:
    """(least noise, its scale, its zero_point): a grid of both that closes in on its best point.

    noise  what `noise_of(x)` gave
    x      real array of any shape, not all zero

    >>> x = np.arange(-3, 12) / 2
    >>> least, scale, zero_point = brute_force(noise_of(x), x, IntRange(-8, 7))
    >>> least < 1e-6, round(scale, 2), zero_point
    (True, 0.5, -5)
    """
    scale, zero_point = float(np.ptp(np.append(x, 0))) / (to.levels - 1) / 8, (to.qmin + to.qmax) // 2
    ratio, reach = 8.0, to.levels // 2 + 1
    while ratio > 1.001:
        scales = [scale * factor for factor in np.geomspace(1 / ratio, ratio, 15).tolist()]
        low, high = max(to.qmin, zero_point - reach), min(to.qmax, zero_point + reach)
        zero_points = range(low, high + 1, max(1, reach // 8))
        least, scale, zero_point = min((noise(s, z, to), s, z) for s in scales for z in zero_points)
        ratio, reach = ratio**0.3, max(1, reach // 4)
    return least, scale, zero_point

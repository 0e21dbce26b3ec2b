"""Choosing the real range from data: five observers.  Notebook 03.

Every observer has observe(x), which takes in one batch and returns the observer, and
qparams(to, symmetric=...), which proposes a map.  All but the moving average have merge(other),
which returns the observer of both data sets: observing in pieces, in any order, on any number of
machines, equals observing at once, to the last bit.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from qtutor.affine import BLOCK, QParams, choose_qparams, fake_quantize
from qtutor.rounding import INT8, IntRange, integer, real_array

BINS = 2**13  # a histogram has at most this many bins, and over half of them are in use
SMALLEST_EXPONENT = -1074  # 2**-1074 is the smallest positive float64
KL_DECIMALS = 12  # that divergences are compared to, since float sums are no better
SHRINK = 2.0 ** -(np.arange(97) / 12)  # clips to try: 1 down to 1/256, twelve to a factor of 2


class MinMaxObserver:
    """The range is the smallest and the largest value seen.

    axis  None for one range, or the axis whose every index gets its own (per-channel)

    >>> observer = MinMaxObserver().observe(np.array([0.5, 3.0])).observe(np.array([-1.0]))
    >>> [round(limit, 2) for limit in observer.qparams().limits]
    [-1.0, 3.0]
    """

    def __init__(self, axis: int | None = None) -> None:
        self.axis = None if axis is None else integer(axis, "axis, unless None,")
        self.minimum: np.ndarray | None = None
        self.maximum: np.ndarray | None = None

    def observe(self, x: np.ndarray) -> Self:
        """Take in a batch: finite reals, not empty; ValueError otherwise."""
        self._take(*_min_max(_batch(x, self), self.axis))
        return self

    def merge(self, other: "MinMaxObserver") -> "MinMaxObserver":
        """The observer of both data sets."""
        if not isinstance(other, MinMaxObserver) or other.axis != self.axis:
            raise ValueError(f"merge needs a MinMaxObserver with axis={self.axis}, got {other!r}")
        merged = MinMaxObserver(self.axis)
        for part in (self, other):
            if part.minimum is not None and part.maximum is not None:
                merged._take(part.minimum, part.maximum)
        return merged

    def _take(self, minimum: np.ndarray, maximum: np.ndarray) -> None:
        if self.minimum is None or self.maximum is None:
            self.minimum, self.maximum = minimum, maximum
        elif self.minimum.shape != minimum.shape:
            raise ValueError(f"a batch has channels {minimum.shape}, earlier ones {self.minimum.shape}")
        else:
            self.minimum, self.maximum = np.minimum(self.minimum, minimum), np.maximum(self.maximum, maximum)

    def qparams(self, to: IntRange = INT8, *, symmetric: bool = False) -> QParams:
        """The map of the whole observed range onto `to`; see choose_qparams."""
        if self.minimum is None or self.maximum is None:
            raise ValueError("MinMaxObserver has observed nothing yet: call observe(x) first")
        return choose_qparams(self.minimum, self.maximum, to, symmetric=symmetric, axis=self.axis)


class MovingAverageMinMaxObserver:
    """The range is an average of the batches' smallest and largest values, newest first.

    momentum  the weight of a new batch, over 0 and at most 1

    Each batch moves the range by `momentum` of the way: minimum += momentum * (batch - minimum).
    The result depends on the order of the batches, so there is no merge: two halves of a stream do
    not say what the whole stream would have given.
    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.1 (exponential moving averages).

    >>> observer = MovingAverageMinMaxObserver(momentum=0.5)
    >>> observer.observe(np.array([0.0, 4.0])).observe(np.array([0.0, 2.0])).maximum
    3.0
    """

    def __init__(self, momentum: float = 0.01) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be over 0 and at most 1, got {momentum}")
        self.momentum = float(momentum)  # in float16, a sum of small moves would stand still
        self.minimum: float | None = None
        self.maximum: float | None = None

    def observe(self, x: np.ndarray) -> Self:
        """Take in a batch: finite reals, not empty; ValueError otherwise."""
        minimum, maximum = (float(bound) for bound in _min_max(_batch(x, self), None))
        if self.minimum is None or self.maximum is None:
            self.minimum, self.maximum = minimum, maximum
        else:
            self.minimum += self.momentum * (minimum - self.minimum)
            self.maximum += self.momentum * (maximum - self.maximum)
            self.maximum = max(self.maximum, self.minimum)  # where they meet, a last bit may cross them
        return self

    def qparams(self, to: IntRange = INT8, *, symmetric: bool = False) -> QParams:
        """The map of the averaged range onto `to`; see choose_qparams."""
        if self.minimum is None or self.maximum is None:
            raise ValueError("MovingAverageMinMaxObserver has observed nothing yet: call observe(x) first")
        return choose_qparams(self.minimum, self.maximum, to, symmetric=symmetric)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts on bins of width 2**exponent, anchored at 0: bin i holds i <= x / 2**exponent < i + 1.

    The bins run from the one of min(minimum, 0) to the one of max(maximum, 0), `first` being the
    index of the first.  The exponent is the smallest for which that is at most BINS bins.  So the
    whole state is a function of the data *set*: no order, no grouping enters.  Twice the width
    joins bins 2i and 2i + 1 into bin i, exactly, so a range can grow without looking back.
    """

    minimum: float
    maximum: float
    exponent: int
    first: int
    counts: np.ndarray

    @classmethod
    def empty(cls, minimum: float, maximum: float) -> "Histogram":
        """The bins of this range, with nothing in them."""
        exponent = _exponent(minimum, maximum)
        first, last = _bin(min(minimum, 0.0), exponent), _bin(max(maximum, 0.0), exponent)
        return cls(minimum, maximum, exponent, int(first), np.zeros(int(last - first) + 1, np.int64))

    @classmethod
    def of(cls, x: np.ndarray) -> "Histogram":
        """The histogram of one batch of finite reals, not empty."""
        h = cls.empty(*(float(bound) for bound in _min_max(x, None)))
        x = x.ravel(order="K")
        for start in range(0, x.size, BLOCK // 8):  # or the temporaries would take eight times its memory
            bins = _bin(x[start : start + BLOCK // 8].astype(np.float64), h.exponent)
            np.add(h.counts, np.bincount(bins - h.first, minlength=h.counts.size), out=h.counts)
        return h

    def merge(self, other: "Histogram") -> "Histogram":
        """The histogram of both data sets."""
        h = Histogram.empty(min(self.minimum, other.minimum), max(self.maximum, other.maximum))
        for part in (self, other):
            bins = np.arange(part.first, part.first + part.counts.size)
            np.add.at(h.counts, (bins >> min(h.exponent - part.exponent, 63)) - h.first, part.counts)
        return h

    @property
    def width(self) -> float:
        """The width of a bin in real units, a power of two."""
        return 2.0**self.exponent

    @property
    def centres(self) -> np.ndarray:
        """The middle of every bin, float64."""
        return (np.arange(self.first, self.first + self.counts.size) + 0.5) * self.width


class _HistogramObserver:
    """What the three observers that need the whole distribution have in common."""

    def __init__(self) -> None:
        self.histogram: Histogram | None = None

    def observe(self, x: np.ndarray) -> Self:
        """Take in a batch: finite reals, not empty; ValueError otherwise."""
        batch = Histogram.of(_batch(x, self))
        self.histogram = batch if self.histogram is None else self.histogram.merge(batch)
        return self

    def merge(self, other: Self) -> Self:
        """The observer of both data sets; both must have the same settings."""
        if type(other) is not type(self) or self._settings() != other._settings():
            raise ValueError(
                f"merge needs a {type(self).__name__} with {self._settings()}, "
                f"got {type(other).__name__} with {getattr(other, '_settings', dict)()}"
            )
        merged = type(self)(**self._settings())
        parts = [part.histogram for part in (self, other) if part.histogram is not None]
        if parts:
            merged.histogram = parts[0] if len(parts) == 1 else parts[0].merge(parts[1])
        return merged

    def qparams(self, to: IntRange = INT8, *, symmetric: bool = False) -> QParams:
        """The map of the chosen range onto `to`; see choose_qparams."""
        if self.histogram is None:
            raise ValueError(f"{type(self).__name__} has observed nothing yet: call observe(x) first")
        with np.errstate(over="ignore", under="ignore"):  # the squares of huge and of tiny errors
            rmin, rmax = self._range(self.histogram, to, symmetric)
        return choose_qparams(rmin, rmax, to, symmetric=symmetric)

    def _settings(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if name != "histogram"}

    def _range(self, histogram: Histogram, to: IntRange, symmetric: bool) -> tuple[float, float]:
        raise NotImplementedError


class PercentileObserver(_HistogramObserver):
    """The range leaves out the same small share of the values at each end.

    percentile  over 50 and at most 100: with 99.9, a value in a thousand lies below the range and
                one above; to the width of a bin, less than 1/4095 of the observed range with 0

    Source: Wu et al. 2020, arXiv:2004.09602, section 3.4 (there of |x|).

    >>> x = np.append(np.linspace(0, 1, 10_001), 50.0)
    >>> [round(limit, 1) for limit in PercentileObserver(99).observe(x).qparams().limits]
    [0.0, 1.0]
    """

    def __init__(self, percentile: float = 99.9) -> None:
        super().__init__()
        if not 50 < percentile <= 100:
            raise ValueError(f"percentile must be over 50 and at most 100, got {percentile}")
        self.percentile = float(percentile)

    def _range(self, histogram: Histogram, to: IntRange, symmetric: bool) -> tuple[float, float]:
        below = np.cumsum(histogram.counts)
        total = below[-1]
        share = 1 - self.percentile / 100 + 2**-52  # in floats 1 - 90 / 100 is just below a tenth
        outside = int(total * share)  # how many values may lie beyond each end
        low = int(np.searchsorted(below, outside, side="right"))
        high = int(np.searchsorted(below, total - outside, side="left"))
        rmin = max((histogram.first + low) * histogram.width, histogram.minimum)
        rmax = min((histogram.first + high + 1) * histogram.width, histogram.maximum)
        return rmin, rmax


class MSEObserver(_HistogramObserver):
    """The range with the least mean squared error of the round trip, as the histogram tells it.

    Tries 97 clips, from the whole range down to 1/256 of it: of both ends together, and then, unless
    symmetric, of each end in turn, until neither moves.  Values count as the middle of their bin.
    Source: Nagel et al. 2021, arXiv:2106.08295, section 3.1 (range setting by mean squared error).

    >>> x = np.append(np.linspace(-1, 1, 10_001), 50.0)
    >>> observers = MinMaxObserver(), MSEObserver()
    >>> [round(o.observe(x).qparams(IntRange(-8, 7)).limits[1]) for o in observers]
    [51, 11]
    """

    def _range(self, histogram: Histogram, to: IntRange, symmetric: bool) -> tuple[float, float]:
        filled = histogram.counts > 0
        x, counts = histogram.centres[filled], histogram.counts[filled]

        def best(rmins: np.ndarray | float, rmaxs: np.ndarray | float) -> tuple[float, float]:
            """Of the ranges rmins[i]..rmaxs[i] the one with the least squared error: a channel for each."""
            rmins, rmaxs = np.broadcast_arrays(rmins, rmaxs)
            qparams = choose_qparams(rmins, rmaxs, to, symmetric=symmetric, axis=0)
            error = x - fake_quantize(np.broadcast_to(x, (rmins.size, x.size)), qparams)
            i = np.argmin(np.einsum("ix,ix,x->i", error, error, counts))  # sum of counts * error**2
            return float(rmins[i]), float(rmaxs[i])

        low, high = min(histogram.minimum, 0.0), max(histogram.maximum, 0.0)
        if symmetric:
            clips = max(-low, high) * SHRINK
            return best(np.maximum(low, -clips), np.minimum(high, clips))
        lows, highs = low * SHRINK, high * SHRINK
        rmin, rmax = best(lows, highs)
        before = None
        while before != rmin:
            before = rmin
            rmin, rmax = best(rmin, highs)
            rmin, rmax = best(lows, rmax)
        return rmin, rmax


class EntropyObserver(_HistogramObserver):
    """The clip of |x| whose coarse histogram tells least apart from the true one (KL divergence).

    For each clip after i of at most 2048 bins: P is the histogram of |x| up to the clip, with all
    that lies beyond added to its last bin; Q is the same histogram, without that, merged into
    levels / 2 groups, each spread evenly over its bins that are not empty.  The clip with the
    smallest KL(P, Q) wins, the largest among equals.  The groups are the codes of one sign, so
    the method suits symmetric codes; an affine map then uses the part of -clip..clip that has data.
    With as many groups as bins (12 bits and more) there is nothing to merge, and nothing is clipped.
    Source: Migacz 2017, "8-bit inference with TensorRT", the slides on calibration; Wu et al. 2020,
    arXiv:2004.09602, section 3.4.

    >>> x = np.append(np.random.default_rng(0).normal(size=100_000), 50.0)
    >>> 2 < EntropyObserver().observe(x).qparams(symmetric=True).limits[1] < 20
    True
    """

    def _range(self, histogram: Histogram, to: IntRange, symmetric: bool) -> tuple[float, float]:
        size = max(-histogram.first, histogram.first + histogram.counts.size)
        counts = np.zeros(size, np.int64)
        negative, positive = np.split(histogram.counts, [-histogram.first])
        counts[: positive.size] += positive
        counts[: negative.size] += negative[::-1]
        width = histogram.width
        while counts.size > 2048:
            counts = np.append(counts, [0] * (counts.size % 2)).reshape(-1, 2).sum(axis=1)
            width *= 2
        groups = to.levels // 2
        if counts.size < groups:
            return histogram.minimum, histogram.maximum
        divergences = _divergences(counts, groups)[::-1].round(KL_DECIMALS)  # the largest clip first
        clip = (counts.size - int(np.argmin(divergences))) * width
        return max(histogram.minimum, -clip), min(histogram.maximum, clip)


def _divergences(counts: np.ndarray, groups: int) -> np.ndarray:
    """KL(P, Q) of the clip after i bins, in nats, for each i from groups to counts.size.

    P and Q count values, N and `inside` of them, so KL is (sum P log P - sum P log Q) / N + log(inside / N).
    Where a group holds S values in n bins that are not empty, Q is S / n in each of these.  So it takes
    sums of c log c over bins and of S log(S / n) over groups, and running sums give them for all clips.
    KL is inf where Q is 0 and P is not: at an empty last bin.
    """

    def up_to(x: np.ndarray) -> np.ndarray:
        return np.append(0, np.cumsum(x))

    def x_log_x(x: np.ndarray) -> np.ndarray:
        return x * np.log(np.maximum(x, 1))

    i = np.arange(groups, counts.size + 1)
    edges = -(-np.arange(groups + 1) * i[:, np.newaxis] // groups)  # bin k is in group k * groups // i
    S, n = np.diff(up_to(counts)[edges]), np.diff(up_to(counts > 0)[edges])
    log_share = np.log(np.maximum(S, 1) / np.maximum(n, 1))
    last, inside, N = counts[i - 1], up_to(counts)[i], counts.sum()
    outside = N - inside
    P_log_P = up_to(x_log_x(counts))[i - 1] + x_log_x(last + outside)
    P_log_Q = np.einsum("ig,ig->i", S, log_share) + outside * log_share[:, -1]
    with np.errstate(divide="ignore"):
        divergence = (P_log_P - P_log_Q) / N + np.log(inside / N)
    return np.where((outside > 0) & (last == 0), np.inf, divergence)


def _batch(x: object, observer: object) -> np.ndarray:
    where = f"{type(observer).__name__}.observe"
    batch = real_array(x, where)
    if batch.size == 0:
        raise ValueError(f"{where} needs at least one value, got shape {batch.shape}")
    if not np.isfinite(_min_max(batch, None)).all():  # NaN is the minimum of what it is in
        raise ValueError(f"{where} needs finite numbers, got NaN or inf")
    return batch


def _min_max(x: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value as float64: of all of x, or for each index of the axis."""
    if axis is not None and not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis {axis} is not an axis of shape {x.shape}")
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    with np.errstate(invalid="ignore"):  # NaN
        low, high = x.min(axis=others), x.max(axis=others)
    # -0.0 becomes 0.0: which of the two came first must not show
    return np.asarray(low, np.float64) + 0.0, np.asarray(high, np.float64) + 0.0


def _exponent(minimum: float, maximum: float) -> int:
    """The smallest exponent for which the bins of minimum, maximum and 0 are at most BINS."""
    if minimum == maximum == 0:
        return SMALLEST_EXPONENT
    _, exponent = np.frexp(max(-minimum, maximum))
    exponent = max(int(exponent) - BINS.bit_length(), SMALLEST_EXPONENT)  # surely too fine, or the finest
    while _bin(max(maximum, 0.0), exponent) - _bin(min(minimum, 0.0), exponent) >= BINS:
        exponent += 1
    return exponent


def _bin(x: np.ndarray | float, exponent: int) -> np.ndarray:
    """floor(x / 2**exponent) as int64, exact: ldexp only moves the binary point."""
    with np.errstate(under="ignore"):
        index = np.floor(np.ldexp(x, -exponent)).astype(np.int64)
    return np.where(np.asarray(x) < 0, np.minimum(index, -1), index)  # -1e-300 may underflow to -0

"""qtutor/calibration.py: observers whose answer depends on the data alone, not on how they arrive."""

import logging
import math
import pickle
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtutor import (
    INT8,
    UINT8,
    EntropyObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MSEObserver,
    PercentileObserver,
    calibration,
    choose_qparams,
    fake_quantize,
    int_range,
)
from qtutor.calibration import BINS, SHRINK, SMALLEST_EXPONENT, Histogram

MERGING = {
    "min-max": MinMaxObserver,
    "percentile": lambda: PercentileObserver(99.0),
    "mse": MSEObserver,
    "entropy": EntropyObserver,
}
ALL = {**MERGING, "moving average": MovingAverageMinMaxObserver}
HISTOGRAMS = [name for name in MERGING if name != "min-max"]

EXTREMES = [0.0, -0.0, -1e-300, 1e300, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1.0]
ANY_FLOAT = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(EXTREMES), st.floats(-10, 10)
)
BATCHES = st.lists(hnp.arrays(np.float64, st.integers(1, 6), elements=ANY_FLOAT), min_size=1, max_size=5)


def state(observer):
    """All that an observer knows, to the last bit."""
    if isinstance(observer, MinMaxObserver):
        return np.asarray(observer.minimum).tobytes(), np.asarray(observer.maximum).tobytes()
    h = observer.histogram
    return h.minimum.hex(), h.maximum.hex(), h.exponent, h.first, h.counts.dtype, h.counts.tobytes()


def observe_all(observer, batches):
    for batch in batches:
        assert observer.observe(batch) is observer
    return observer


# --- hand-checkable cases


def test_min_max_takes_the_smallest_and_the_largest():
    observer = MinMaxObserver().observe(np.array([0.5, 3.0])).observe([[-1.0]])
    assert (observer.minimum, observer.maximum) == (-1.0, 3.0)
    expected = choose_qparams(-1.0, 3.0, UINT8)
    qparams = observer.qparams(UINT8)
    assert qparams.scale == expected.scale and qparams.zero_point == expected.zero_point
    assert observer.qparams(symmetric=True).limits == choose_qparams(-1.0, 3.0, symmetric=True).limits


def test_min_max_per_channel_keeps_each_channel_apart():
    x = np.array([[1.0, -2.0, 3.0], [0.5, 8.0, -4.0]])
    for axis, minimum, maximum in [
        (0, [-2.0, -4.0], [3.0, 8.0]),
        (1, [0.5, -2.0, -4.0], [1.0, 8.0, 3.0]),
        (-1, [0.5, -2.0, -4.0], [1.0, 8.0, 3.0]),
    ]:
        observer = MinMaxObserver(axis).observe(x).observe(x * 0.5)
        low, high = np.minimum(minimum, np.array(minimum) / 2), np.maximum(maximum, np.array(maximum) / 2)
        assert observer.minimum.tolist() == low.tolist() and observer.maximum.tolist() == high.tolist()
        qparams = observer.qparams()
        assert qparams.axis == axis and qparams.scale.shape == (len(minimum),)


@pytest.mark.parametrize("kind", [MinMaxObserver, MovingAverageMinMaxObserver])
def test_before_the_first_batch_there_is_no_range(kind):
    assert kind().minimum is None and kind().maximum is None


def test_the_moving_average_moves_by_its_momentum():
    observer = MovingAverageMinMaxObserver(momentum=0.25)
    observer.observe(np.array([-4.0, 8.0]))  # the first batch sets the range
    assert (observer.minimum, observer.maximum) == (-4.0, 8.0)
    observer.observe(np.array([0.0, 4.0]))
    assert (observer.minimum, observer.maximum) == (-3.0, 7.0)
    observer.observe(np.array([-3.0, 11.0]))
    assert (observer.minimum, observer.maximum) == (-3.0, 8.0)
    assert observer.qparams(UINT8).limits == choose_qparams(-3.0, 8.0, UINT8).limits
    assert observer.qparams(symmetric=True).zero_point == 0


def test_a_histogram_has_the_narrowest_bins_that_fit():
    bins = Histogram.of(np.array([0.5, 1.0, 1.5, 8191.5]))  # 8192 bins of width 1
    assert (bins.width, bins.first, bins.counts.size) == (1.0, 0, BINS)
    assert bins.counts[:3].tolist() == [1, 2, 0] and bins.counts[-1] == 1
    bins = Histogram.of(np.array([0.5, 1.0, 2.5, 8192.0]))  # one bin too many: width 2
    assert (bins.width, bins.first, bins.counts.size) == (2.0, 0, 4097)
    assert bins.counts[:3].tolist() == [2, 1, 0] and bins.counts[-1] == 1
    bins = Histogram.of(np.array([-0.5, 8190.0]))  # -0.5 lies in bin -1
    assert (bins.width, bins.first, bins.counts.size) == (1.0, -1, BINS)
    bins = Histogram.of(np.array([-1.5, 8190.0]))
    assert (bins.width, bins.first, bins.counts.size) == (2.0, -1, 4097)
    assert Histogram.of(np.array([1.0])).centres[0] == Histogram.of(np.array([1.0])).width / 2
    assert Histogram.of(np.array([5e-324])).width == 5e-324  # no power of two is smaller


@pytest.mark.parametrize(("percentile", "outside"), [(90, 1), (80, 2), (99, 0), (100, 0), (70, 3), (60, 4)])
def test_a_percentile_leaves_out_that_share_at_each_end(percentile, outside):
    # of ten values, 10 % at each end is one: although 1 - 90 / 100 is a little under 0.1 in floats
    x = np.array([-100.0, -1, 1, 2, 3, 4, 5, 6, 7, 100.0])
    observer = PercentileObserver(percentile).observe(x)
    rmin, rmax = observer._range(observer.histogram, INT8, False)
    width = observer.histogram.width
    assert 0 <= x[outside] - rmin < width and 0 <= rmax - x[9 - outside] <= width


def test_one_in_a_thousand_at_each_end_is_one_of_a_thousand():
    observer = PercentileObserver(99.9).observe(np.append(np.linspace(0, 1, 999), 50.0))
    assert observer.qparams().limits[1] == pytest.approx(1, abs=observer.histogram.width)
    observer = PercentileObserver(99.9).observe(np.append(np.linspace(0, 1, 998), 50.0))
    assert observer.qparams().limits[1] == pytest.approx(50)  # 999 values: one is more than a thousandth
    assert PercentileObserver().percentile == 99.9


@pytest.mark.parametrize(("percentile", "outside"), [(91.93, 807), (98.18, 182), (99.29, 71)])
def test_a_percentile_with_decimals_leaves_out_exactly_that_many(percentile, outside):
    # each share comes out of the floats short of a whole number of ten thousandths, by up to 2**-53
    x = np.append(np.zeros(10_000 - outside), np.ones(outside))
    observer = PercentileObserver(percentile).observe(x)
    assert observer._range(observer.histogram, INT8, False) == (0.0, observer.histogram.width)


def test_entropy_by_hand(monkeypatch):
    # counts 8 4 0 1 in 4 bins, 2 groups.  After 4 bins: Q = 6 6 0 1 and KL = (8 ln(8/6) + 4 ln(4/6)) / 13.
    # After 3: the last bin of P holds the outlier, that of Q nothing: inf.  After 2: P = 8 5, Q = 8 4.
    after_4 = (8 * math.log(8 / 6) + 4 * math.log(4 / 6)) / 13
    after_2 = 8 / 13 * math.log((8 / 13) / (8 / 12)) + 5 / 13 * math.log((5 / 13) / (4 / 12))
    counts = np.array([8, 4, 0, 1])
    assert calibration._divergences(counts, 2).tolist() == pytest.approx([after_2, math.inf, after_4])
    assert after_2 < after_4
    # nothing beyond: P and Q are the same
    assert calibration._divergences(np.array([8, 4, 0]), 3) == pytest.approx(0, abs=1e-15)
    monkeypatch.setattr(calibration, "BINS", 4)
    x = np.array([0.25] * 8 + [-1.5] * 4 + [3.5])  # the sign does not matter
    assert Histogram.of(x).counts.tolist() != counts.tolist()  # with a sign: -2 .. 3 is 6 bins, so width 2
    x = np.abs(x)
    assert Histogram.of(x).counts.tolist() == counts.tolist()
    observer = EntropyObserver().observe(x)
    assert observer._range(observer.histogram, int_range(2), False) == (0.25, 2.0)
    assert observer.qparams(int_range(2)).limits[1] == pytest.approx(2.0)


# --- the law of the observers: the data set alone decides


@pytest.mark.parametrize("name", MERGING)
@settings(max_examples=50)
@given(batches=BATCHES)
def test_in_pieces_equals_at_once_to_the_last_bit(name, batches):
    at_once = MERGING[name]().observe(np.concatenate(batches))
    for order in (batches, batches[::-1], sorted(batches, key=len)):
        assert state(observe_all(MERGING[name](), order)) == state(at_once)
    value_by_value = [batch[i : i + 1] for batch in batches for i in range(batch.size)]
    assert state(observe_all(MERGING[name](), value_by_value)) == state(at_once)


@pytest.mark.parametrize("name", MERGING)
@settings(max_examples=40)
@given(data=st.tuples(BATCHES, BATCHES, BATCHES))
def test_merge_is_commutative_and_associative_to_the_last_bit(name, data):
    a, b, c = (observe_all(MERGING[name](), batches) for batches in data)
    at_once = MERGING[name]().observe(np.concatenate([batch for batches in data for batch in batches]))
    for merged in (a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(b).merge(a), b.merge(c.merge(a))):
        assert type(merged) is type(a) and state(merged) == state(at_once)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_equal_states_give_equal_maps(name):
    x = np.random.default_rng(0).normal(size=3000)
    at_once = MERGING[name]().observe(x)
    pieces = [MERGING[name]().observe(part) for part in np.array_split(x[::-1], 7)]
    merged = pieces[0]
    for piece in pieces[1:]:
        merged = piece.merge(merged)
    for to in (UINT8, int_range(3)):
        assert merged.qparams(to).scale.tobytes() == at_once.qparams(to).scale.tobytes()
        assert merged.qparams(to).zero_point == at_once.qparams(to).zero_point


@pytest.mark.parametrize("name", MERGING)
def test_merging_changes_neither_part(name):
    a, b = MERGING[name]().observe(np.array([1.0, 2.0])), MERGING[name]().observe(np.array([-1e6]))
    before = state(a), state(b)
    merged = a.merge(b)
    merged.observe(np.array([1e9]))
    assert (state(a), state(b)) == before


@pytest.mark.parametrize("name", MERGING)
def test_an_observer_that_saw_nothing_adds_nothing(name):
    empty, full = MERGING[name](), MERGING[name]().observe(np.array([0.0, -3.0, 5.0]))
    assert state(empty.merge(full)) == state(full.merge(empty)) == state(full)
    both = empty.merge(MERGING[name]())
    with pytest.raises(ValueError, match="has observed nothing yet: call observe"):
        both.qparams()


@given(
    st.lists(hnp.arrays(np.float32, (2, 3), elements=st.floats(-1e9, 1e9, width=32)), min_size=2, max_size=4)
)
def test_per_channel_shards_merge_to_the_whole(batches):
    for axis in (0, 1, -2):
        at_once = MinMaxObserver(axis).observe(np.concatenate(batches, axis=1 - axis % 2))
        merged = MinMaxObserver(axis)
        for batch in batches:
            merged = merged.merge(MinMaxObserver(axis).observe(batch))
        assert state(merged) == state(at_once)


def test_a_local_cluster_gives_the_same_bits_as_one_process(tmp_path):
    distributed = pytest.importorskip("distributed")
    x = np.random.default_rng(0).standard_t(3, size=40_000) * np.float64(0.1)
    shards = np.array_split(x, 8)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for observer in (MinMaxObserver(), PercentileObserver(99.0), MSEObserver(), EntropyObserver()):
            parts = client.map(observer.observe, shards, pure=False)
            while len(parts) > 1:  # a tree of merges, wherever the parts happen to be
                pairs = zip(parts[::2], parts[1::2], strict=True)
                parts = [client.submit(type(observer).merge, a, b, pure=False) for a, b in pairs]
            merged, alone = parts[0].result(), observer.observe(x)
            assert state(merged) == state(alone)
            assert merged.qparams().scale.tobytes() == alone.qparams().scale.tobytes()
            assert merged.qparams().zero_point == alone.qparams().zero_point


# --- the histogram


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=ANY_FLOAT))
def test_every_value_lies_in_its_bin_by_exact_fractions(x):
    h = Histogram.of(x)
    width = Fraction(2) ** h.exponent
    counts = dict.fromkeys(range(h.first, h.first + h.counts.size), 0)
    for value in x.tolist():
        counts[math.floor(Fraction(value) / width)] += 1
    assert h.counts.tolist() == list(counts.values())
    assert (h.minimum, h.maximum) == (x.min(), x.max())
    # the bins reach from that of min(minimum, 0) to that of max(maximum, 0), and no further
    low, high = min(Fraction(float(x.min())), Fraction(0)), max(Fraction(float(x.max())), Fraction(0))
    assert h.first == math.floor(low / width) and h.first + h.counts.size - 1 == math.floor(high / width)
    # at most BINS of them, and half the width would need more than BINS
    assert h.counts.size <= BINS
    halves = math.floor(high / (width / 2)) - math.floor(low / (width / 2)) + 1
    assert halves > BINS or h.exponent == SMALLEST_EXPONENT
    assert h.exponent >= SMALLEST_EXPONENT and h.width == float(width) > 0
    assert np.isfinite(h.centres).all()


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=ANY_FLOAT))
def test_a_bin_is_under_a_4095th_of_the_range(x):
    h = Histogram.of(x)
    span = Fraction(max(h.maximum, 0.0)) - Fraction(min(h.minimum, 0.0))
    assert Fraction(2) ** h.exponent * 4095 < span or h.exponent == SMALLEST_EXPONENT


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=ANY_FLOAT), st.integers(0, 20))
def test_a_growing_range_joins_bins_in_pairs_exactly(x, times):
    h = Histogram.of(x)
    far = Histogram.of(np.array([min(max(abs(h.maximum), abs(h.minimum), 1e-300) * 2.0**times, 1.7e308)]))
    merged = h.merge(far)
    assert merged.exponent >= max(h.exponent, far.exponent)
    assert merged.counts.sum() == x.size + 1
    again = Histogram.of(np.append(x, far.maximum))
    assert merged.counts.tolist() == again.counts.tolist() and merged.first == again.first


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_memory_does_not_grow_with_the_data(name):
    observer = MERGING[name]()
    rng = np.random.default_rng(0)
    for decade in range(-300, 301, 60):
        observer.observe(rng.normal(size=2000) * 10.0**decade)
        assert observer.histogram.counts.size <= BINS and observer.histogram.counts.dtype == np.int64
    few = len(pickle.dumps(MERGING[name]().observe(rng.normal(size=10_000))))
    many = len(pickle.dumps(MERGING[name]().observe(rng.normal(size=500_000))))
    assert many < few + 8 * BINS and many < 8 * BINS + 1000


def test_counts_beyond_int32_are_exact():
    h = Histogram.of(np.array([1.0, -1.0]))
    for _ in range(40):
        h = h.merge(h)
    assert h.counts.sum() == 2**41


# --- oracles


@given(hnp.arrays(np.float64, st.integers(1, 300), elements=st.floats(-100, 100)), st.floats(50.1, 100))
def test_percentiles_are_those_of_the_sorted_data_within_a_bin(x, percentile):
    observer = PercentileObserver(percentile).observe(x)
    outside = math.floor(x.size * (1 - Fraction(percentile) / 100) + Fraction(1, 10**9))
    ordered = np.sort(x)
    rmin, rmax = observer._range(observer.histogram, INT8, False)
    width = observer.histogram.width
    assert 0 <= ordered[outside] - rmin <= width
    assert 0 <= rmax - ordered[x.size - 1 - outside] <= width
    assert ordered[0] <= rmin <= rmax <= ordered[-1]


@pytest.mark.parametrize("percentile", [60, 95, 99, 99.9, 100])
def test_percentiles_agree_with_numpy_within_a_bin(percentile):
    x = np.random.default_rng(0).normal(size=50_001)
    observer = PercentileObserver(percentile)
    for batch in np.array_split(x, 10):
        observer.observe(batch)
    expected = np.percentile(x, [100 - percentile, percentile])
    # NumPy interpolates between two neighbours: closer than a bin except far out in the tails
    ordered = np.sort(x)
    gaps = [np.diff(ordered)[np.searchsorted(ordered[:-1], bound) - 2 :][:3].max() for bound in expected]
    found = observer._range(observer.histogram, INT8, False)
    assert np.abs(np.subtract(found, expected)).max() <= observer.histogram.width + max(gaps)


SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "ReLU": lambda rng, n: np.maximum(rng.normal(size=n), 0),
    "skewed": lambda rng, n: rng.gamma(1.5, size=n) - 0.3,
    "one outlier": lambda rng, n: np.append(rng.normal(size=n), 40.0),
    "heavy tails": lambda rng, n: rng.standard_t(3, size=n),
}


def mean_squared_error(x, qparams):
    return np.mean((x - fake_quantize(x, qparams)) ** 2)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_mse_is_within_a_tenth_of_the_best_of_a_brute_force_search(shape, bits):
    x, to = SHAPES[shape](np.random.default_rng(0), 1000), int_range(bits)
    found = mean_squared_error(x, MSEObserver().observe(x).qparams(to))
    low, high, shares = min(x.min(), 0), max(x.max(), 0), np.linspace(0, 1, 31)
    best = min(
        mean_squared_error(x, choose_qparams(low * a, high * b, to))
        for a in (shares if low < 0 else [1])
        for b in shares
    )
    assert found <= 1.1 * best

    found = mean_squared_error(x, MSEObserver().observe(x).qparams(to, symmetric=True))
    clips = np.abs(x).max() * np.linspace(0.01, 1, 200)
    best = min(
        mean_squared_error(x, choose_qparams(max(low, -c), min(high, c), to, symmetric=True)) for c in clips
    )
    assert found <= 1.1 * best


def test_the_clips_that_mse_tries_are_those_it_names():
    assert SHRINK.size == 97 and SHRINK[0] == 1 and SHRINK[12] == 0.5 and SHRINK[-1] == 1 / 256
    assert np.allclose(SHRINK[1:] / SHRINK[:-1], 2 ** (-1 / 12))


def kl_range(x, width, bins, groups):
    """The entropy method in loops, from its description alone."""
    counts = [0] * bins
    for value in x:
        counts[min(int(abs(value) // width), bins - 1)] += 1
    divergence = {}
    for i in range(groups, bins + 1):
        P = counts[:i]
        P[-1] += sum(counts[i:])
        Q = [0.0] * i
        for group in range(groups):
            members = [b for b in range(i) if b * groups // i == group]
            filled = [b for b in members if counts[b]]
            for b in filled:
                Q[b] = sum(counts[m] for m in members) / len(filled)
        if any(p and not q for p, q in zip(P, Q, strict=True)):
            continue
        divergence[i] = sum(
            p / sum(P) * math.log((p / sum(P)) / (q / sum(Q))) for p, q in zip(P, Q, strict=True) if p
        )
    least = min(divergence.values())
    return max(i for i in divergence if math.isclose(divergence[i], least, abs_tol=1e-12)) * width


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bits", [3, 4])
def test_entropy_is_that_of_plain_loops(seed, bits, monkeypatch):
    monkeypatch.setattr(calibration, "BINS", 2**7)
    rng = np.random.default_rng(seed)
    x = np.append(rng.normal(size=500), rng.uniform(3, 20, size=3))
    if seed % 2:
        x = np.abs(x)
    observer = EntropyObserver().observe(x)
    h, to = observer.histogram, int_range(bits)
    bins = max(-h.first, h.first + h.counts.size)
    assert max(-x.min(), x.max()) <= bins * h.width and h.counts.size <= 2**7
    clip = kl_range(x, h.width, bins, to.levels // 2)
    assert observer._range(h, to, False) == (max(x.min(), -clip), min(x.max(), clip))


def test_of_clips_that_entropy_cannot_tell_apart_the_largest_wins():
    # a clip after 0.3 has all values in one bin, in P as in Q, and after 1.0 nothing lies beyond: both give 0
    for seed in range(20):
        x = np.random.default_rng(seed).choice([0.3, 0.5, 0.7, 0.9, 1.0], 1000)
        assert EntropyObserver().observe(x).qparams(UINT8).limits[1] == pytest.approx(1.0)


def test_entropy_tells_clips_apart_whose_divergences_are_close():
    x = np.random.default_rng(0).normal(size=20_000)
    observer = EntropyObserver().observe(x)
    divergences = calibration._divergences(np.bincount((np.abs(x) / 2**-8).astype(int)), 128)
    assert np.sum(divergences < divergences.min() + 2e-5) > 1
    clip = (128 + np.argmin(divergences)) * 2**-8
    assert observer._range(observer.histogram, INT8, False) == (-clip, clip)


def test_entropy_halves_a_fine_histogram_to_2048_bins(monkeypatch):
    # sparse data on which a single count more or less moves the clip
    rngs = [np.random.default_rng(seed) for seed in (9, 10, 12, 34, 35, 54)]
    data = [np.append(np.abs(rng.normal(size=100)), rng.uniform(3, 4, size=2)) for rng in rngs]

    def clips():
        observers = [EntropyObserver().observe(x) for x in data]
        sizes = [observer.histogram.counts.size for observer in observers]
        return sizes, [o._range(o.histogram, int_range(bits), False) for o in observers for bits in (7, 8, 9)]

    sizes, found = clips()
    assert min(sizes) > 2048 and {size % 2 for size in sizes} == {0, 1}
    monkeypatch.setattr(calibration, "BINS", 2048)  # the same grid, from the start
    sizes, expected = clips()
    assert max(sizes) <= 2048 and found == expected


@pytest.mark.parametrize(("bins", "clip"), [(2048, 1099.0), (2049, 2048.5)])
def test_entropy_takes_2048_bins_as_they_are_and_halves_2049(bins, clip, monkeypatch):
    monkeypatch.setattr(calibration, "BINS", bins)
    x = np.append(np.random.default_rng(1).integers(0, 1100, size=1000), bins - 1) + 0.5
    observer = EntropyObserver().observe(x)
    assert observer.histogram.counts.size == bins and observer.histogram.width == 1
    # 11 bits have 1024 groups; 2049 bins become 1025, and with so few nothing is clipped
    assert observer._range(observer.histogram, int_range(11), False) == (x.min(), clip)


@pytest.mark.parametrize("bits", [12, 14, 16])
def test_entropy_clips_nothing_where_codes_are_as_many_as_bins(bits):
    x = np.append(np.random.default_rng(0).normal(size=1000), 50.0)
    qparams = EntropyObserver().observe(x).qparams(int_range(bits))
    expected = MinMaxObserver().observe(x).qparams(int_range(bits))
    assert qparams.scale == expected.scale and qparams.zero_point == expected.zero_point


# --- what every observer promises


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64])
def test_every_real_dtype_and_shape_is_observed(name, dtype):
    for x in (np.array(3, dtype), np.array([[1, 2], [3, 0]], dtype).T, np.arange(8).astype(dtype)[::-2]):
        expected = ALL[name]().observe(x.astype(np.float64).ravel()).qparams()
        qparams = ALL[name]().observe(x).qparams()
        assert qparams.scale == expected.scale and qparams.zero_point == expected.zero_point


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("constant", [0.0, 3.0, -3.0, 1e-40, 1e-300, 5e-324, 1e30])
def test_constant_data_have_a_map_that_returns_them(name, constant, symmetric):
    qparams = ALL[name]().observe(np.full(10, constant)).qparams(symmetric=symmetric)
    assert qparams.zero_point == 0 or not symmetric
    assert abs(fake_quantize(np.array(constant), qparams) - constant) <= max(abs(constant) * 0.01, 2.0**-126)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_unit_of_the_data_is_the_unit_of_the_range(name, sign):
    x = np.abs(np.random.default_rng(0).standard_t(3, size=3000)) * sign
    qparams = ALL[name]().observe(x).qparams(int_range(4))
    for unit in (2.0**-20, 2.0**20):  # powers of two, so exactly
        scaled = ALL[name]().observe(x * unit).qparams(int_range(4))
        assert scaled.scale == qparams.scale * np.float32(unit) and scaled.zero_point == qparams.zero_point


@pytest.mark.parametrize("name", ALL)
def test_no_observer_goes_beyond_the_data(name):
    x = np.random.default_rng(0).standard_t(3, size=5000) + 0.5
    for symmetric in (False, True):
        for to in (INT8, int_range(4)):
            qparams = ALL[name]().observe(x).qparams(to, symmetric=symmetric)
            widest = choose_qparams(x.min(), x.max(), to, symmetric=symmetric)
            assert qparams.scale <= widest.scale * np.float32(1 + 2**-20)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_an_outlier_is_cut_off_by_those_that_see_the_distribution(name):
    x = np.append(np.random.default_rng(0).normal(size=20_000), 100.0)
    limit = MERGING[name]().observe(x).qparams(int_range(4)).limits[1]
    assert 1 < limit < 30 < MinMaxObserver().observe(x).qparams(int_range(4)).limits[1]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_and_leave_no_trace(name, value):
    observer = ALL[name]().observe(np.array([1.0, 2.0]))
    before = pickle.dumps(observer)
    with pytest.raises(
        ValueError, match=rf"{type(observer).__name__}.observe needs finite numbers, got NaN or inf"
    ):
        observer.observe(np.array([[0.0, value]]))
    assert pickle.dumps(observer) == before


@pytest.mark.parametrize("name", ALL)
def test_empty_batches_and_other_kinds_are_refused(name):
    observer = ALL[name]()
    kind = type(observer).__name__
    with pytest.raises(ValueError, match=rf"{kind}.observe needs at least one value, got shape \(0, 3\)"):
        observer.observe(np.zeros((0, 3)))
    with pytest.raises(TypeError, match=rf"{kind}.observe needs real numbers"):
        observer.observe(np.array([True]))
    with pytest.raises(ValueError, match=rf"^{kind} has observed nothing yet: call observe\(x\) first$"):
        observer.qparams()


@pytest.mark.parametrize("name", ALL)
def test_unsigned_symmetric_codes_refuse_negative_data(name):
    observer = ALL[name]().observe(np.array([-1.0, 2.0] * 100))
    with pytest.raises(ValueError, match="have no negative values, got rmin"):
        observer.qparams(UINT8, symmetric=True)


@pytest.mark.parametrize("name", MERGING)
def test_observers_of_another_kind_do_not_merge(name):
    observer = MERGING[name]().observe(np.array([1.0]))
    others = [ALL[other]().observe(np.array([1.0])) for other in ALL if other != name]
    for other in [*others, None, 3, "min-max"]:
        got = f"got {type(other).__name__} with" if name in HISTOGRAMS else "got"
        with pytest.raises(ValueError, match=f"merge needs a {type(observer).__name__} with .*, {got}"):
            observer.merge(other)


def test_observers_with_other_settings_do_not_merge():
    with pytest.raises(ValueError, match=r"merge needs a PercentileObserver with .*99\.0.*, got .*99\.9"):
        PercentileObserver(99.0).merge(PercentileObserver(99.9))
    with pytest.raises(ValueError, match="merge needs a MinMaxObserver with axis=0"):
        MinMaxObserver(0).merge(MinMaxObserver(1))
    with pytest.raises(ValueError, match="merge needs a MinMaxObserver with axis=None"):
        MinMaxObserver().merge(MinMaxObserver(0))


def test_channels_may_not_change_between_batches():
    observer = MinMaxObserver(0).observe(np.ones((2, 3)))
    message = r"a batch has channels \(3,\), earlier ones \(2,\)"
    with pytest.raises(ValueError, match=message):
        observer.observe(np.ones((3, 2)))
    with pytest.raises(ValueError, match=message):
        observer.merge(MinMaxObserver(0).observe(np.ones((3, 3))))
    for axis in (2, -3):
        with pytest.raises(ValueError, match=rf"axis {axis} is not an axis of shape \(2, 3\)"):
            MinMaxObserver(axis).observe(np.ones((2, 3)))


@pytest.mark.parametrize("percentile", [50, 0, -1, 100.001, 999, np.nan])
def test_impossible_percentiles_are_refused(percentile):
    with pytest.raises(ValueError, match=f"percentile must be over 50 and at most 100, got {percentile}"):
        PercentileObserver(percentile)


@pytest.mark.parametrize("momentum", [0, -0.1, 1.1, np.nan])
def test_impossible_momenta_are_refused(momentum):
    with pytest.raises(ValueError, match=f"momentum must be over 0 and at most 1, got {momentum}"):
        MovingAverageMinMaxObserver(momentum)


def test_settings_are_python_numbers_and_not_coarser_for_being_numpys():
    x = np.random.default_rng(0).normal(size=5000)
    for share in (np.float16(99.5), np.float32(99.5), np.uint8(99)):
        coarse, fine = (PercentileObserver(s).observe(x) for s in (share, float(share)))
        assert coarse.qparams().limits == fine.qparams().limits
        coarse.merge(fine)
    batches = np.array_split(x, 100)
    slow, fine = (observe_all(MovingAverageMinMaxObserver(m), batches) for m in (np.float16(0.125), 0.125))
    assert (slow.minimum, slow.maximum) == (fine.minimum, fine.maximum)
    for axis in (np.uint8(1), np.int64(-1)):
        observer = MinMaxObserver(axis).observe(x.reshape(50, 100))
        assert type(observer.axis) is int and observer.minimum.shape == (100,)


@pytest.mark.parametrize("axis", [True, 1.0, "0", [0]])
def test_an_axis_is_one_integer_or_none(axis):
    with pytest.raises(TypeError, match="axis, unless None, must be an integer, got"):
        MinMaxObserver(axis)


def test_an_axis_of_any_size_is_refused():
    with pytest.raises(ValueError, match="axis 1000000000000000000000000000000 is not an axis of shape"):
        MinMaxObserver(10**30).observe(np.ones((2, 3)))


# --- memory


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*ALL, "min-max per channel"])
def test_a_batch_is_observed_with_at_most_three_times_its_memory(name, dtype):
    x = np.random.default_rng(0).normal(size=(1000, 1000)).astype(dtype)
    for batch in (x, x.T, x[:, ::2], x[::-1]):
        observer = MinMaxObserver(1) if name == "min-max per channel" else ALL[name]()
        tracemalloc.start()
        observer.observe(batch)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= 3 * batch.nbytes


def test_the_blocks_of_a_long_batch_make_one_histogram():
    x = np.random.default_rng(0).normal(size=(300, 701))
    h = Histogram.of(x)
    bins = np.floor(x / h.width).astype(int) - h.first
    assert np.array_equal(h.counts, np.bincount(bins.ravel(), minlength=h.counts.size))
    for same in (x.T, x[::-1, ::-1], np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert np.array_equal(Histogram.of(same).counts, h.counts)


# --- the moving average


def test_the_moving_average_depends_on_the_order_and_so_has_no_merge():
    batches = [np.array([0.0, 1.0]), np.array([0.0, 9.0]), np.array([0.0, 5.0])]
    forward, backward = (observe_all(MovingAverageMinMaxObserver(0.5), b) for b in (batches, batches[::-1]))
    assert (forward.maximum, backward.maximum) == (5.0, 4.0)  # (1 + 9) / 2 and 5; (5 + 9) / 2 and 1
    assert not hasattr(forward, "merge")
    assert "no merge" in MovingAverageMinMaxObserver.__doc__


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=8),
    st.floats(0.01, 1),
)
def test_the_moving_average_equals_exact_fractions(pairs, momentum):
    observer = MovingAverageMinMaxObserver(momentum)
    minimum = maximum = None
    for pair in pairs:
        observer.observe(np.array(pair))
        low, high = Fraction(min(pair)), Fraction(max(pair))
        a = Fraction(momentum)
        minimum = low if minimum is None else (1 - a) * minimum + a * low
        maximum = high if maximum is None else (1 - a) * maximum + a * high
    assert observer.minimum == pytest.approx(float(minimum), abs=1e-9)
    assert observer.maximum == pytest.approx(float(maximum), abs=1e-9)


def test_a_last_bit_does_not_turn_the_moving_average_around():
    # found by search: the minimum is rounded up past the maximum
    batches = [[-0.3501074203247322, -0.35010742032473186], [1.7729774190061827, 1.7729774190061829]]
    observer = observe_all(MovingAverageMinMaxObserver(0.8926365835651188), batches)
    assert observer.minimum <= observer.maximum
    observer.qparams()


def test_the_moving_average_moves_slowly_unless_told_otherwise():
    observer = MovingAverageMinMaxObserver().observe(np.array([0.0, 100.0])).observe(np.array([0.0, 0.0]))
    assert observer.maximum == pytest.approx(99.0)


def test_a_momentum_of_one_remembers_only_the_last_batch():
    observer = MovingAverageMinMaxObserver(1).observe(np.array([-8.0, 8.0])).observe(np.array([1.0, 2.0]))
    assert (observer.minimum, observer.maximum) == (1.0, 2.0)

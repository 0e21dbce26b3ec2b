"""Fresh data for the engines installed here, rich in what random data hides.

Half of the scales are powers of two, so that products and quotients are exact and ties are real ties; reals
lie on multiples of scale / 2 and right beside them; codes are often the first or the last; and some reals
are NaN, infinite, subnormal or beyond int32.
"""

import numpy as np

SPECIAL = np.float32([np.nan, np.inf, -np.inf, 3e9, -3e9, 2.0**31, 1e38, -1e38, 0.0, -0.0, 1e-45, -1e-38])
SHAPES = [(), (0,), (1,), (7,), (8,), (9,), (16,), (61,), (3, 5), (2, 3, 11)]


def one_of(rng, choices):
    """One of a list, as it is (rng.choice would make arrays of tuples)."""
    return choices[rng.integers(len(choices))]


def scale(rng, shape=()):
    powers = 2.0 ** rng.integers(-9, 3, shape)
    others = np.exp(rng.uniform(-6, 1, shape))
    return np.asarray(np.where(rng.random() < 0.5, powers, others), np.float32)


def codes(rng, shape, dtype, bits=None):
    """Codes of a dtype.  With bits=7 and int8, no pair of products with uint8 codes leaves int16."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if bits == 7:
        low, high = low // 2, high // 2
    q = rng.integers(low, high, shape, endpoint=True)
    ends = rng.choice([low, high], shape)
    return np.asarray(np.where(rng.random(shape) < 0.2, ends, q), dtype)


def zero_point(rng, shape, dtype):
    return np.where(
        rng.random(shape) < 0.3, np.asarray(rng.integers(0, 2, shape)), codes(rng, shape, dtype)
    ).astype(dtype)


def reals(rng, shape, scale, dtype):
    """Reals around the range that codes of this dtype have at this scale."""
    widest = 2.0 ** np.iinfo(dtype).bits
    steps = rng.integers(-2 * widest, 2 * widest, shape) / 2
    x = np.float32(steps * scale)
    x = np.where(rng.random(shape) < 0.3, np.nextafter(x, np.float32(one_of(rng, [-np.inf, np.inf]))), x)
    x = np.where(rng.random(shape) < 0.3, rng.normal(size=shape) * widest / 4 * scale, x)
    x = np.where(rng.random(shape) < one_of(rng, [0, 0.1]), rng.choice(SPECIAL, shape), x)
    return np.asarray(x, np.float32)


def output_scale(rng, acc, scales):
    """A scale at which accumulators fill the codes, or need a large bias to; half the time a power of two."""
    typical = float(np.abs(acc).mean() + 1) * float(np.prod([np.max(s) for s in scales])) / 60
    typical = one_of(rng, [2.0 ** np.round(np.log2(typical)), typical * rng.uniform(0.1, 2)])
    return np.float32(typical * one_of(rng, [1, 1, 2**14]))


def on_ties(rng, acc, m):
    """What to add to accumulators so that times m they lie as near to a tie as a whole number can."""
    ties = rng.integers(-150, 150, np.shape(acc)) + 0.5
    return np.asarray(np.clip(np.rint(ties / m - acc), -(2**30), 2**30), np.int32)


def biases_on_ties(rng, acc, acc_scale, y_scale):
    """float32 biases with which accumulators land on ties of y_scale, or a few ulps beside."""
    ties = (rng.integers(-150, 150, np.shape(acc)) + 0.5) * np.float64(y_scale)
    largest = 2.0**30 * np.float64(acc_scale)  # qnnpack's kernels disagree on a bias beyond int32
    bias = np.float32(np.clip(ties - acc * np.float64(acc_scale), -largest, largest))
    return bias + np.float32(rng.integers(-2, 3, np.shape(acc))) * np.spacing(bias)


def ranges(rng, n):
    """n pairs rmin <= rmax, as float32: of all sizes, and some whose zero-point is a tie."""
    ends = np.float32(rng.normal(size=(2, n)) * 10.0 ** rng.integers(-41, 30, (2, n)))
    ends[0, :6], ends[1, :6] = [0, -1, -127.5, 0.5, -1e-39, -3], [0, 1, 127.5, 0.5, 1e-39, 0]
    return np.sort(ends, axis=0)

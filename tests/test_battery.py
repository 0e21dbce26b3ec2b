"""Every family of tensors, every public function: the guarantee holds or the documented error is raised.

FAMILIES are the tensors. A Row is what a function promises about any tensor, and what it refuses.
The test is their product: each row meets each family, under each map that fits the family.
Each function runs as if its caller had asked NumPy to raise on every overflow, underflow and NaN, and must
neither fail for that nor change it: then it says the same, and without a warning, under all other settings.
"""

import dataclasses
import functools
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

import qtutor as qt
from qtutor import fixedpoint
from qtutor.affine import BLOCK, SMALLEST_SCALE

rng = np.random.default_rng(0)
normal = rng.normal(size=(24, 6)).astype(np.float32)
everyday = rng.integers(-8, 8, (5, 7))


def changed(x, index, value):
    """A copy of x that holds `value` at this index."""
    x = x.copy()
    x[index] = value
    return x


def frozen(x):
    """A copy of x that cannot be written to."""
    x = x.copy()
    x.setflags(write=False)
    return x


def extremes(dtype):
    """The numbers at the walls of an integer dtype, and around 0."""
    info = np.iinfo(dtype)
    return np.array([[info.min, info.min + 1, 0], [1, info.max - 1, info.max]], dtype)


FAMILIES = {
    # --- how values are distributed
    "normal": normal,
    "relu": np.maximum(normal, 0),
    "all positive": np.abs(normal) + np.float32(0.1),
    "all negative": -np.abs(normal) - np.float32(0.1),
    "narrow band far from 0": 1000 + normal / 1000,
    "narrow band far below 0": -1e6 + normal,
    "constant": np.full((3, 4), 2.7, np.float32),
    "negative constant": np.full(9, -0.3, np.float32),
    "zeros": np.zeros((3, 4), np.float32),
    "negative zeros": np.full(5, -0.0, np.float32),
    "one outlier": changed(normal, (3, 2), 1e4),
    "one negative outlier": changed(normal, (0, 0), -1e4),
    "one value in zeros": changed(np.zeros(50), 7, 0.125),
    "two clusters": np.sign(normal) * 8 + normal / 8,
    "heavy tails": rng.standard_cauchy(200),
    "sixty decades": 10.0 ** rng.uniform(-30, 30, 60) * rng.choice([-1, 1], 60),
    "ties": np.arange(-20, 20, dtype=np.float32) / 4,
    # --- at the ends of the floats
    "subnormal": np.float32([[1e-40, -1e-45, 0], [3e-39, 2e-45, -1e-41]]),
    "subnormal float64": np.array([5e-324, -5e-324, 1e-310]),
    "around the smallest scale": np.float32([-1, 1, 3, 300]) * np.float32(2.0**-126),
    "huge": np.float32([[-1e38, 1e38, 1], [2.5e37, 0, -3]]),
    "huge and positive": np.float32([3.3e38, 1e38]),
    "largest that may be squared": np.array([1e150, -1e150, 1.0]),
    "largest float64": np.array([-1.7e308, 1.7e308]),
    # --- how many values, in which shape
    "one element": np.float32([0.7]),
    "one matrix element": np.float32([[-0.7]]),
    "0-d": np.array(1.3, np.float32),
    "0-d zero": np.array(0.0),
    "0-d negative": np.array(-250.0),
    "empty": np.zeros(0, np.float32),
    "empty matrix": np.zeros((0, 3)),
    "empty integers": np.zeros((2, 0), np.int8),
    "images": rng.normal(size=(2, 3, 4, 4)).astype(np.float32),
    "longer than a block": rng.normal(size=BLOCK // 4 + 3).astype(np.float32),
    "dead channel": changed(normal, (slice(None), 2), 0),
    "channels of all sizes": (normal * 10.0 ** np.arange(-4, 8, 2)).astype(np.float32),
    "channels on one side": np.abs(normal) * np.float32([1, -1, 1, -1, 1, -1]),
    # --- how they lie in memory
    "non-contiguous": np.repeat(normal, 2, axis=1)[::3, ::2],
    "reversed": normal[::-1, ::-1],
    "transposed": normal.T,
    "broadcast": np.broadcast_to(normal[0], (5, 6)),
    "Fortran order": np.asfortranarray(normal),
    "read-only": frozen(normal),
    "big-endian": normal.astype(">f4"),
    # --- other floats
    "float16": normal.astype(np.float16),
    "float16 at its ends": np.float16([65504, -65504, 6e-8, 0]),
    "float64": rng.normal(size=(4, 9)),
    "long double": normal.astype(np.longdouble),
    # --- integers
    "every int8": np.arange(-128, 128).astype(np.int8),
    "every uint8": np.arange(256).astype(np.uint8).reshape(16, 16),
    "small integers": everyday,
    "small unsigned integers": np.abs(everyday).astype(np.uint8),
    "integer zeros": np.zeros((3, 3), np.int32),
    "big-endian integers": everyday.astype(">i2"),
    "int16": extremes(np.int16),
    "uint16": extremes(np.uint16),
    "int32": extremes(np.int32),
    "int64": extremes(np.int64),
    "uint64": extremes(np.uint64),
    # --- floats that are no real numbers
    "NaN": np.array(np.nan),
    "one NaN": changed(normal, (5, 5), np.nan),
    "one NaN in the last block": changed(np.zeros(BLOCK // 4 + 3, np.float32), -1, np.nan),
    "+inf": changed(normal, (0, 3), np.inf),
    "-inf": changed(normal.astype(np.float64), (0, 3), -np.inf),
    "+inf and -inf": np.array([np.inf, -np.inf]),
    "float16 inf": np.float16([1, np.inf]),
    "NaN in a dead channel": changed(np.zeros((3, 4)), (slice(None), 1), np.nan),
    # --- not even floats
    "bools": normal > 0,
    "complex": normal + 1j,
    "strings": np.array(["1", "2"]),
    "fractions": np.array([Fraction(1, 3), Fraction(2)]),
    "None": np.array(None),
    "dates": np.array(["2017-12-15"], "datetime64[D]"),
}

INT16, UINT16 = qt.int_range(16), qt.int_range(16, signed=False)
RANGES = [qt.INT8, qt.UINT8, qt.INT4, qt.int_range(2), qt.int_range(8, narrow=True), INT16, UINT16]
CHOICES = [
    (qt.INT8, False),
    (qt.INT8, True),
    (qt.UINT8, False),
    (qt.UINT8, True),
    (qt.INT4, False),
    (UINT16, False),
]


# --- what may be wrong with a tensor x; `case` is the map or the choice that it meets


def not_real(x, case):
    return x.dtype.kind not in "fiu"


def not_float(x, case):
    return x.dtype.kind != "f"


def not_integer(x, case):
    return x.dtype.kind not in "iu"


def not_finite(x, case):
    return x.dtype.kind == "f" and not np.isfinite(x).all()


def empty(x, case):
    return x.size == 0


def not_whole(x, case):
    return x.dtype.kind == "f" and bool((x != np.rint(x)).any())


def has_nan(x, case):
    return x.dtype.kind == "f" and bool(np.isnan(x).any())


def ends(x):
    """The smallest and the largest value and 0, as Python numbers, which compare exactly."""
    return x.min(initial=0).item(), x.max(initial=0).item()


def outside_its_codes(x, qparams):
    return x.size > 0 and not qparams.qmin <= x.min().item() <= x.max().item() <= qparams.qmax


def over_1e150(x, case):
    return max(map(abs, ends(x))) > 1e150


def beyond_float32(x, case):
    return max(map(abs, ends(x))) > 3.4e38


def negative_without_sign(x, choice):
    to, symmetric, *_ = choice
    return symmetric and to.qmin == 0 and bool((x < 0).any())


def no_matrix(x, case):
    return x.ndim < 2


def no_terms(x, case):
    return x.shape[-1] == 0


def over_16_bits(x, case):
    low, high = ends(x)
    return low < -(2**15) or high >= 2**16


def always(x, case):
    return True


# --- what a tensor meets


def finite(x):
    """The tensor made fit: x itself where it is real and finite."""
    if x.dtype.kind not in "fiu":
        return np.zeros(x.shape)
    return np.nan_to_num(x, posinf=1, neginf=-1) if x.dtype.kind == "f" else x


def axes(x):
    """None, and every axis that has channels, but not thousands of them."""
    return [None, *(axis for axis in range(x.ndim) if 0 < x.shape[axis] <= 64)]


def extent(x, axis):
    """The smallest and the largest of the finite values and 0, for all of x or for each channel, float64."""
    x = finite(x).astype(np.float64)
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
    return x.min(axis=others, initial=0), x.max(axis=others, initial=0)


def maps(x):
    """Maps that cut x off, maps that are too coarse for it, and those that are chosen to cover it."""
    fixed = [qt.QParams(0.5, 10), qt.QParams(0.5, 10, qt.UINT8), qt.QParams(0.1, -8, qt.INT4)]
    fixed += [qt.QParams(2.0**-149, 3), qt.QParams(1e33, 0, INT16), qt.QParams(7e-5, 65535, UINT16)]
    chosen = [
        qt.choose_qparams(*np.clip(extent(x, axis), -1e38, 1e38), to, symmetric=symmetric, axis=axis)
        for axis in axes(x)
        for to, symmetric in CHOICES
        if not negative_without_sign(finite(x), (to, symmetric))
    ]
    return fixed + chosen


def per_tensor_maps(x):
    return [qparams for qparams in maps(x) if qparams.axis is None]


def choices(x):
    return CHOICES


def choices_per_channel(x):
    return [(to, symmetric, axis) for to, symmetric in CHOICES for axis in axes(x)]


def one_choice(x):
    """For the entropy observer, which tries some 2000 clips a time."""
    return [(qt.INT8, True)]


def int_ranges(x):
    return RANGES


def nothing(x):
    return [None]


@dataclass(frozen=True)
class Row:
    names: tuple[str, ...]  # the public names whose promise this is
    meets: Callable  # x -> what x is tried with
    refuses: dict  # what may be wrong -> (error, message); of several, the first
    check: Callable  # (x, case): calls the function and asserts what it guarantees


ROWS: list[Row] = []


def promise(*names, meets=nothing, refuses=None):
    """Put the function below into the table."""

    def add(check):
        ROWS.append(Row(names, meets, refuses or {}, check))
        return check

    return add


# --- rounding


def check_rounding(rounding, x):
    whole = rounding(x)
    assert whole.shape == x.shape
    assert whole.dtype == x.dtype.newbyteorder("=")
    inside = np.isfinite(x)
    assert np.array_equal(whole[~inside], x[~inside], equal_nan=True)
    whole, x = whole[inside], x[inside]
    assert np.array_equal(whole, np.trunc(whole))
    assert (np.abs(whole - x) <= 0.5).all()
    tie = np.abs(whole - x) == 0.5
    return whole[tie], x[tie]


@promise("round_half_even", refuses={not_float: (TypeError, "round_half_even needs floats, got dtype")})
def nearest_and_ties_to_even(x, case):
    whole, _ = check_rounding(qt.round_half_even, x)
    assert (whole % 2 == 0).all()


@promise("round_half_away", refuses={not_float: (TypeError, "round_half_away needs floats, got dtype")})
def nearest_and_ties_away_from_0(x, case):
    whole, tie = check_rounding(qt.round_half_away, x)
    assert (np.abs(whole) > np.abs(tie)).all()


@promise(
    "saturate",
    meets=int_ranges,
    refuses={
        not_real: (TypeError, r"saturate needs real numbers .*, got dtype"),
        not_whole: (ValueError, r"saturate needs whole numbers, got \S+: round before saturating"),
    },
)
def saturated_whole_numbers(x, to):
    q = qt.saturate(x, to)
    assert (q.shape, q.dtype) == (x.shape, to.dtype)
    # Python compares numbers of any size and kind exactly
    assert q.ravel().tolist() == [min(max(value, to.qmin), to.qmax) for value in x.ravel().tolist()]


@promise(
    "saturate",
    meets=int_ranges,
    refuses={not_real: (TypeError, "saturate needs real numbers"), has_nan: (ValueError, "got nan")},
)
def saturated_once_rounded(x, to):
    saturated_whole_numbers(np.rint(x) if x.dtype.kind == "f" else x, to)


@promise("IntRange", refuses={always: (TypeError, "qmin of IntRange must be an integer, got")})
def an_int_range_of_a_tensor(x, case):
    qt.IntRange(x, 127)


@promise("int_range", refuses={always: (ValueError, "bits must be an integer from 2 to 16, got")})
def an_int_range_of_tensor_bits(x, case):
    qt.int_range(x)


# --- the affine map


def aligned(x, qparams):
    """x with the channels as its last axis, so that arrays of shape (channels,) broadcast."""
    return x if qparams.axis is None else np.moveaxis(x, qparams.axis, -1)


def half_a_step(qparams, sign=1):
    """scale / 2 and the slack of floats (sign = -1: less the slack).

    Two float32 roundings, of x / scale and of scale * (q - zero_point), each move a result by at
    most 2**-24 of its size, which is at most that of the larger limit.
    """
    slack = 2.0**-23 * np.max(np.abs(qparams.limits), axis=0)
    return qparams.scale.astype(np.float64) / 2 + sign * slack


def check_codes(q, x, qparams):
    assert (q.shape, q.dtype) == (x.shape, qparams.codes.dtype)
    assert ((q >= qparams.qmin) & (q <= qparams.qmax)).all()
    zero_points = np.broadcast_to(qparams.zero_point, aligned(q, qparams).shape)
    at_zero = aligned(x, qparams) == 0
    assert np.array_equal(aligned(q, qparams)[at_zero], zero_points[at_zero])


def check_reals(x_hat, x, qparams):
    """x came back: 0 as 0, a value inside the limits within half a step, one outside as the limit."""
    assert (x_hat.shape, x_hat.dtype) == (x.shape, np.float32)
    assert (x_hat[x == 0] == 0).all()
    assert not np.signbit(x_hat[x == 0]).any()
    low, high = np.array(qparams.limits)
    # as float64, but not longer: the limits are exact in it
    x, x_hat = aligned(x, qparams).astype(np.float64), aligned(x_hat, qparams).astype(np.float64)
    assert (np.abs(x_hat - np.clip(x, low, high)) <= half_a_step(qparams)).all()
    assert np.array_equal(x_hat[x <= low], np.broadcast_to(low, x.shape)[x <= low])
    assert np.array_equal(x_hat[x >= high], np.broadcast_to(high, x.shape)[x >= high])


def codes(x, qparams):
    """The tensor as codes, by our own formula in float64, with x's memory layout."""
    with np.errstate(over="ignore"):
        steps = np.rint(aligned(finite(x), qparams).astype(np.float64) / qparams.scale.astype(np.float64))
    q = np.clip(steps + qparams.zero_point, qparams.qmin, qparams.qmax).astype(qparams.codes.dtype)
    return q if qparams.axis is None else np.moveaxis(q, -1, qparams.axis)


def refused_by(name):
    return {
        not_real: (TypeError, rf"{name} needs real numbers \(float or integer dtype\), got dtype"),
        not_finite: (ValueError, rf"{name} needs finite numbers, got -?(nan|inf) at index \("),
    }


def codes_refused_by(name):
    return {
        not_integer: (TypeError, f"{name} needs integers, got dtype"),
        outside_its_codes: (ValueError, rf"{name} needs integers in -?\d+\.\.\d+, got -?\d+"),
    }


@promise("quantize", meets=maps, refuses=refused_by("quantize"))
def codes_of_reals(x, qparams):
    q = qt.quantize(x, qparams)
    check_codes(q, x, qparams)
    check_codes(qt.quantize(x, qparams, rounding=qt.round_half_away), x, qparams)
    assert np.array_equal(q, qt.quantize(np.array(x, order="C"), qparams))  # whatever the memory layout
    if x.dtype.kind != "f" or x.dtype == np.float64:  # computed in float64, as `codes` is
        assert np.array_equal(q, codes(x, qparams))


@promise("fake_quantize", meets=maps, refuses=refused_by("quantize"))
def reals_come_back(x, qparams):
    x_hat = qt.fake_quantize(x, qparams)
    check_reals(x_hat, x, qparams)
    assert np.array_equal(qt.fake_quantize(x_hat, qparams), x_hat)  # nothing more to lose
    check_reals(qt.fake_quantize(x, qparams, rounding=qt.round_half_away), x, qparams)


@promise("QTensor.from_real", "QTensor", meets=maps, refuses=refused_by("quantize"))
def a_qtensor_keeps_codes_and_map(x, qparams):
    tensor = qt.QTensor.from_real(x, qparams)
    check_codes(tensor.q, x, qparams)
    check_reals(tensor.real, x, qparams)
    assert tensor.qparams is qparams


@promise("dequantize", meets=maps, refuses=codes_refused_by("dequantize"))
def reals_of_integers(q, qparams):
    x_hat = qt.dequantize(q, qparams)
    assert (x_hat.shape, x_hat.dtype) == (q.shape, np.float32)
    # 24 bits times 17 bits fit float64, so float32 rounds once
    exact = qparams.scale.astype(np.float64) * (aligned(q, qparams).astype(np.int64) - qparams.zero_point)
    assert np.array_equal(aligned(x_hat, qparams), exact.astype(np.float32))


@promise("dequantize", meets=maps)
def reals_of_codes(x, qparams):
    q = codes(x, qparams)
    reals_of_integers(q, qparams)
    reals_of_integers(q.astype(np.int64), qparams)


@promise("QTensor", meets=maps, refuses=codes_refused_by("QTensor"))
def a_qtensor_of_integers(q, qparams):
    tensor = qt.QTensor(q, qparams)
    assert tensor.q.dtype == qparams.codes.dtype
    assert np.array_equal(tensor.q, q)
    assert not tensor.q.flags.writeable and not np.shares_memory(tensor.q, q)


@promise("QParams.aligned_to", meets=maps)
def parameters_broadcast_along_their_axis(x, qparams):
    scale, zero_point = qparams.aligned_to(x.shape)
    assert np.broadcast_shapes(scale.shape, zero_point.shape, x.shape) == x.shape
    expected = np.broadcast_to(qparams.scale, aligned(x, qparams).shape)
    assert np.array_equal(aligned(np.broadcast_to(scale, x.shape), qparams), expected)
    if qparams.axis is not None:
        with pytest.raises(ValueError, match=r"axis \d+ of shape \(.*\) does not hold \d+ channels"):
            qparams.aligned_to((*x.shape[: qparams.axis], x.shape[qparams.axis] + 1))


def no_scale(x, case):
    with np.errstate(over="ignore", under="ignore"):
        return not ((x.astype(np.float32) > 0) & np.isfinite(x.astype(np.float32) * 128)).all()


def neither_number_nor_channels(x, case):
    return x.ndim > 1 or x.size == 0


@promise(
    "QParams",
    refuses={
        not_real: (TypeError, r"QParams needs real numbers .*, got dtype"),
        no_scale: (ValueError, "scale must be > 0 and its codes finite, in float32; got scale"),
        neither_number_nor_channels: (ValueError, r"axis=None goes with .* got axis=\w+ and shape"),
    },
)
def a_map_with_the_tensor_as_scale(x, case):
    qparams = qt.QParams(x, np.zeros(x.shape, np.int64), axis=0 if x.ndim else None)
    assert (qparams.scale.dtype, qparams.zero_point.dtype) == (np.float32, np.int32)
    assert np.array_equal(qparams.scale, x.astype(np.float32))
    assert not qparams.scale.flags.writeable and not np.shares_memory(qparams.scale, x)


@promise(
    "QParams",
    meets=int_ranges,
    refuses={
        not_integer: (TypeError, "zero_point needs integers, got dtype"),
        lambda Z, to: any(not to.qmin <= z <= to.qmax for z in Z.ravel().tolist()): (
            ValueError,
            r"zero_point needs integers in",
        ),
        neither_number_nor_channels: (ValueError, r"axis=None goes with .* got axis=\w+ and shape"),
    },
)
def a_map_with_the_tensor_as_zero_point(x, to):
    qparams = qt.QParams(np.ones(x.shape), x, to, axis=0 if x.ndim else None)
    assert qparams.zero_point.dtype == np.int32
    assert np.array_equal(qparams.zero_point, x)


# --- the choice of the map

OBSERVED = {  # what every observer refuses; .observe and .qparams each have their part
    not_real: (TypeError, r"Observer\.observe needs real numbers .*, got dtype"),
    empty: (ValueError, r"Observer\.observe needs at least one value, got shape"),
    not_finite: (ValueError, r"Observer\.observe needs finite numbers, got NaN or inf"),
    negative_without_sign: (ValueError, "symmetric codes .* have no negative values, got rmin"),
    beyond_float32: (ValueError, "scale must be > 0 and its codes finite, in float32"),
}


def check_choice(qparams, x, to, symmetric):
    """Zero has a code; the codes are inside `to`; no step is wasted beyond the range of the data with 0."""
    assert (qparams.scale.dtype, qparams.zero_point.dtype) == (np.float32, np.int32)
    assert to.qmin <= qparams.qmin and qparams.qmax <= to.qmax
    assert ((qparams.zero_point >= qparams.qmin) & (qparams.zero_point <= qparams.qmax)).all()
    if symmetric:
        assert not qparams.zero_point.any()
        assert qparams.qmin in (0, -qparams.qmax)
    low, high = (bound.astype(np.float64) for bound in extent(x, qparams.axis))
    steps = qparams.qmax if symmetric else qparams.qmax - qparams.qmin
    widest = (np.maximum(-low, high) if symmetric else high - low) / steps
    all_zero = low == high
    assert (qparams.scale[all_zero] == 1).all()
    # stored as float32: 2**-24 more at most
    allowed = np.maximum(widest, SMALLEST_SCALE) * (1 + 2.0**-23)
    assert (qparams.scale[~all_zero] <= allowed[~all_zero]).all()


def check_cover(qparams, x):
    """Nothing of x is beyond the outermost codes, to half a step."""
    low, high = np.array(qparams.limits)
    assert (low - half_a_step(qparams) <= aligned(x, qparams).astype(np.float64)).all()
    assert (high + half_a_step(qparams) >= aligned(x, qparams).astype(np.float64)).all()


def smallest_and_largest(x, axis):
    """rmin and rmax as a reader would find them; x itself where it has neither."""
    if x.dtype.kind not in "fiu" or x.size == 0:
        return x, x
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
    return x.min(axis=others), x.max(axis=others)


CHOSEN = {
    not_real: (TypeError, r"choose_qparams needs real numbers .*, got dtype"),
    not_finite: (ValueError, r"a range needs finite rmin <= rmax, got rmin [\s\S]* and rmax"),
    negative_without_sign: (ValueError, "symmetric codes .* have no negative values, got rmin"),
    empty: (ValueError, r"axis=None goes with .* got axis=\w+ and shape"),
    beyond_float32: (ValueError, "scale must be > 0 and its codes finite, in float32"),
}


@promise("choose_qparams", meets=choices_per_channel, refuses=CHOSEN)
def the_range_of_the_tensor_is_covered(x, choice):
    to, symmetric, axis = choice
    qparams = qt.choose_qparams(*smallest_and_largest(x, axis), to, symmetric=symmetric, axis=axis)
    check_choice(qparams, x, to, symmetric)
    check_cover(qparams, x)


def not_constant(x, choice):
    rmin, rmax = smallest_and_largest(x, choice[-1])
    return bool(np.any(rmin != rmax))


@promise(
    "choose_qparams",
    meets=choices_per_channel,
    refuses={
        not_real: CHOSEN[not_real],
        empty: CHOSEN[empty],
        not_constant: CHOSEN[not_finite],
        not_finite: CHOSEN[not_finite],
        negative_without_sign: CHOSEN[negative_without_sign],
        beyond_float32: CHOSEN[beyond_float32],
    },
)
def a_range_the_wrong_way_round(x, choice):
    to, symmetric, axis = choice
    rmax, rmin = smallest_and_largest(x, axis)
    check_choice(qt.choose_qparams(rmin, rmax, to, symmetric=symmetric, axis=axis), x, to, symmetric)


def check_observer(make, x, to, symmetric):
    """What all five promise; returns the map."""
    seen = make().observe(x)
    qparams = seen.qparams(to, symmetric=symmetric)
    check_choice(qparams, x, to, symmetric)
    assert (np.array(qt.fake_quantize(np.zeros(x.shape), qparams)) == 0).all()
    without_data = make()
    with pytest.raises(ValueError, match="Observer has observed nothing yet: call observe"):
        without_data.qparams(to, symmetric=symmetric)
    return qparams


def same_map(qparams1, qparams2):
    fields1, fields2 = (
        (p.scale.tolist(), p.zero_point.tolist(), p.codes, p.axis) for p in (qparams1, qparams2)
    )
    return fields1 == fields2


def check_merge(make, x, whole, to, symmetric, axis=None):
    """Two halves, observed apart and merged, are the whole; and so is the whole with nothing."""
    halves = np.array_split(x.ravel(), 2) if axis is None else np.array_split(x, 2, axis - 1)
    first, second = (make().observe(half) if half.size else make() for half in halves)
    assert same_map(first.merge(second).qparams(to, symmetric=symmetric), whole)
    assert same_map(second.merge(first).qparams(to, symmetric=symmetric), whole)


@promise(
    "MinMaxObserver",
    "MinMaxObserver.observe",
    "MinMaxObserver.merge",
    "MinMaxObserver.qparams",
    meets=choices_per_channel,
    refuses=OBSERVED,
)
def all_that_was_seen_is_covered(x, choice):
    to, symmetric, axis = choice
    qparams = check_observer(lambda: qt.MinMaxObserver(axis), x, to, symmetric)
    check_cover(qparams, x)
    if axis is None or x.ndim > 1:
        check_merge(lambda: qt.MinMaxObserver(axis), x, qparams, to, symmetric, axis)


@promise(
    "MovingAverageMinMaxObserver",
    "MovingAverageMinMaxObserver.observe",
    "MovingAverageMinMaxObserver.qparams",
    meets=choices,
    refuses=OBSERVED,
)
def the_average_of_equal_batches_is_the_batch(x, choice):
    to, symmetric = choice
    qparams = check_observer(qt.MovingAverageMinMaxObserver, x, to, symmetric)
    check_cover(qparams, x)
    twice = qt.MovingAverageMinMaxObserver(0.5).observe(x).observe(x)
    assert same_map(twice.qparams(to, symmetric=symmetric), qparams)


@promise(
    "PercentileObserver",
    "PercentileObserver.observe",
    "PercentileObserver.merge",
    "PercentileObserver.qparams",
    meets=choices,
    refuses=OBSERVED,
)
def one_in_a_thousand_at_each_end_is_outside(x, choice):
    to, symmetric = choice
    qparams = check_observer(qt.PercentileObserver, x, to, symmetric)
    check_merge(qt.PercentileObserver, x, qparams, to, symmetric)
    low, high = qparams.limits
    assert np.mean(x.astype(np.float64) < low - half_a_step(qparams)) <= 0.001
    assert np.mean(x.astype(np.float64) > high + half_a_step(qparams)) <= 0.001


@promise(
    "MSEObserver",
    "MSEObserver.observe",
    "MSEObserver.merge",
    "MSEObserver.qparams",
    meets=choices,
    refuses=OBSERVED,
)
def no_worse_than_the_whole_range(x, choice):
    to, symmetric = choice
    qparams = check_observer(qt.MSEObserver, x, to, symmetric)
    check_merge(qt.MSEObserver, x, qparams, to, symmetric)
    whole = qt.MinMaxObserver().observe(x).qparams(to, symmetric=symmetric)
    x64 = x.astype(np.float64)
    error, error_of_whole = (
        math.sqrt(np.mean((x64 - qt.fake_quantize(x, p)) ** 2)) for p in (qparams, whole)
    )
    # the distance to the nearest code changes by at most as much as x does: by half a bin, twice
    low, high = extent(x, None)
    assert error <= error_of_whole + (high - low) / 4095 + 2 * half_a_step(whole) * 2.0**-20


@promise(
    "EntropyObserver",
    "EntropyObserver.observe",
    "EntropyObserver.merge",
    "EntropyObserver.qparams",
    meets=one_choice,
    refuses=OBSERVED,
)
def the_clip_is_inside_the_data(x, choice):
    to, symmetric = choice
    qparams = check_observer(qt.EntropyObserver, x, to, symmetric)
    if x.size < 1000:
        check_merge(qt.EntropyObserver, x, qparams, to, symmetric)


# --- measures of error


def measured_by(name):
    return {
        not_real: (TypeError, f"{name} needs real numbers .*, got dtype"),
        empty: (ValueError, rf"{name} needs finite numbers, at most 1e\+150 in size, got none"),
        not_finite: (ValueError, rf"{name} needs finite numbers, at most 1e\+150 in size, got -?(nan|inf)"),
        over_1e150: (ValueError, rf"{name} needs finite numbers, at most 1e\+150 in size, got"),
    }


@promise("sqnr_db", refuses=measured_by("sqnr_db"))
def ratios_that_are_known_beforehand(x, case):
    x = x.astype(np.float64) if x.dtype.kind in "iu" else x
    assert qt.sqnr_db(x, x) == math.inf
    if not x.any():
        assert qt.sqnr_db(x, np.ones_like(x)) == -math.inf
        return
    assert qt.sqnr_db(x, np.zeros_like(x)) == pytest.approx(0, abs=1e-9)
    half = x.astype(np.float64) / 2
    if np.array_equal(2 * half, x):  # half of the smallest subnormal is none
        assert qt.sqnr_db(x, half) == pytest.approx(20 * math.log10(2))


@promise("clipped_fraction", meets=maps, refuses=measured_by("clipped_fraction"))
def the_share_beyond_the_codes(x, qparams):
    fraction = qt.clipped_fraction(x, qparams)
    low, high = np.array(qparams.limits)
    x64 = aligned(x, qparams).astype(np.float64)
    surely, perhaps = half_a_step(qparams), half_a_step(qparams, -1)  # between them, roundings decide
    assert fraction >= np.mean((x64 < low - surely) | (x64 > high + surely))
    assert fraction <= np.mean((x64 < low - perhaps) | (x64 > high + perhaps))


@promise("error_budget", "ErrorBudget", meets=maps, refuses=measured_by("error_budget"))
def the_budget_adds_up(x, qparams):
    budget = qt.error_budget(x, qparams)
    assert isinstance(budget, qt.ErrorBudget)
    assert all(type(part) is float and part >= 0 for part in budget)
    total = np.mean((x.astype(np.float64) - qt.fake_quantize(x, qparams)) ** 2)
    assert budget.total == budget.rounding + budget.clipping == pytest.approx(total, rel=1e-12, abs=0)
    assert budget.rounding <= np.max(half_a_step(qparams)) ** 2
    assert qt.clipped_fraction(x, qparams) > 0 or budget.clipping == 0


# --- integer matrices


def matrix(x, qparams):
    """The tensor as a matrix of codes."""
    q = codes(x, qparams)
    return q.reshape(-1, q.shape[-1]) if q.ndim > 1 and q.size else np.atleast_2d(q)


def no_terms_in_the_matrix(x, qparams):
    return matrix(x, qparams).shape[-1] == 0


def might_pass_int32(x, qparams):
    q = matrix(x, qparams).astype(np.int64) - qparams.zero_point
    return q.shape[-1] * int(np.abs(q).max(initial=0)) ** 2 > 2**31 - 1


def a_term_might_pass_int32(x, qparams):
    q, Z = matrix(x, qparams).astype(np.int64), abs(int(qparams.zero_point))
    return (
        might_pass_int32(x, qparams) or q.shape[-1] * max(int(np.abs(q).max(initial=0)), Z) ** 2 > 2**31 - 1
    )


@promise(
    "integer_matmul",
    refuses={
        not_integer: (TypeError, "q1 of integer_matmul needs integers, got dtype"),
        over_16_bits: (ValueError, "q1 of integer_matmul needs integers in -32768..65535, got"),
        no_matrix: (ValueError, "q1 of integer_matmul needs a matrix, shape .*, got shape"),
        no_terms: (
            ValueError,
            r"integer_matmul cannot multiply shapes \(2, 0\) and \(0, 2\): K must be at least 1",
        ),
    },
)
def sums_of_rows(q, case):
    acc = qt.integer_matmul(q, np.ones((q.shape[-1] if q.ndim else 1, 2), np.int8))
    assert acc.dtype == np.int32
    assert np.array_equal(acc, np.repeat(q.astype(np.int64).sum(axis=-1, keepdims=True), 2, axis=-1))


@promise(
    "integer_matmul",
    meets=per_tensor_maps,
    refuses={
        no_terms_in_the_matrix: (
            ValueError,
            "integer_matmul cannot multiply shapes .*: K must be at least 1",
        ),
        might_pass_int32: (ValueError, r"an accumulator might pass int32: .* allowed is 2147483647"),
    },
)
def accumulators_are_those_of_int64(x, qparams):
    q, Z = matrix(x, qparams), int(qparams.zero_point)
    acc = qt.integer_matmul(q, q.T, Z, Z)
    assert acc.dtype == np.int32
    assert np.array_equal(acc, (q.astype(np.int64) - Z) @ (q.astype(np.int64) - Z).T)


@promise(
    "matmul_terms",
    "MatmulTerms",
    meets=per_tensor_maps,
    refuses={
        no_terms_in_the_matrix: (ValueError, "matmul_terms cannot multiply shapes .*: K must be at least 1"),
        a_term_might_pass_int32: (ValueError, "an accumulator might pass int32: .* allowed is 2147483647"),
    },
)
def four_terms_make_the_product(x, qparams):
    q, Z = matrix(x, qparams), int(qparams.zero_point)
    terms = qt.matmul_terms(q, q.T, Z, Z)
    assert isinstance(terms, qt.MatmulTerms)
    M, K = q.shape
    wide = q.astype(np.int64)
    assert [term.dtype for term in terms] == [np.int32] * 4
    assert np.array_equal(terms.product, wide @ wide.T)
    assert terms.row.shape == (M, 1) and np.array_equal(terms.row[:, 0], Z * wide.sum(axis=1))
    assert terms.column.shape == (1, M) and np.array_equal(terms.column[0], Z * wide.sum(axis=1))
    assert terms.constant.shape == (1, 1) and terms.constant.item() == K * Z * Z


@promise("accumulator_bits", refuses={always: (ValueError, "K must be an integer >= 1, got")})
def a_tensor_is_no_count(x, case):
    qt.accumulator_bits(x, qt.INT8, qt.INT8)


@promise("accumulator_bits", refuses={empty: (ValueError, "K must be an integer >= 1, got 0")})
def bits_for_as_many_products_as_values(x, case):
    for range1 in RANGES:
        bits = qt.accumulator_bits(x.size, range1, qt.INT8)
        ends = [x.size * a * b for a in (range1.qmin, range1.qmax) for b in (-128, 127)]
        assert -(2 ** (bits - 1)) <= min(ends) and max(ends) < 2 ** (bits - 1)
        assert min(ends) < -(2 ** (bits - 2)) or max(ends) >= 2 ** (bits - 2)  # one bit less is too few


# --- fixed point


def beyond_int32(x, case):
    low, high = ends(x)
    return low < -(2**31) or high >= 2**31


def int32_needed(name):
    return {
        not_integer: (TypeError, f"{name} needs integers, got dtype"),
        beyond_int32: (ValueError, rf"{name} needs integers in -2147483648..2147483647, got -?\d+"),
    }


def no_multiplier(M, case):
    return not ((M.astype(np.float64) >= 0) & (M.astype(np.float64) < 2**30)).all()


def no_positive_int32(x, case):
    low, high = ends(x)
    return low < 0 or high >= 2**31


def no_mantissa(x, case):
    return not ((x == 0) | (x >= 2**30)).all()


@promise(
    "quantize_multiplier",
    refuses={
        not_real: (TypeError, "quantize_multiplier needs real numbers .*, got dtype"),
        no_multiplier: (ValueError, r"quantize_multiplier needs 0 <= M < 2\*\*30, got"),
        neither_number_nor_channels: (ValueError, r"must both have shape \(\) or \(channels,\), got"),
    },
)
def multipliers_to_31_bits(M, case):
    multiplier = qt.quantize_multiplier(M)
    assert multiplier.mantissa.shape == multiplier.shift.shape == multiplier.real.shape == M.shape
    M = M.astype(np.float64)
    assert (np.abs(multiplier.real - M) <= np.where(M < 2.0**-32, M, M * 2.0**-31)).all()


@promise(
    "FixedPointMultiplier",
    refuses={
        not_integer: (TypeError, "mantissa needs integers, got dtype"),
        no_positive_int32: (ValueError, r"mantissa needs integers in 0\.\.2147483647, got -?\d+"),
        no_mantissa: (ValueError, r"mantissa must be 0 or 2\*\*30\.\.2\*\*31 - 1, got"),
        empty: (ValueError, r"must both have shape \(\) or \(channels,\), got"),
    },
)
def a_multiplier_with_the_tensor_as_mantissas(x, case):
    multiplier = qt.FixedPointMultiplier(x.ravel(), np.ones(x.size, np.int8))
    assert multiplier.mantissa.dtype == np.int32 and np.array_equal(multiplier.mantissa, x.ravel())
    assert np.array_equal(multiplier.real, x.ravel() * 2.0**-32)


@promise("rounding_doubling_high_multiply", refuses=int32_needed("a of rounding_doubling_high_multiply"))
def half_of_each_ties_up(x, case):
    half = fixedpoint.rounding_doubling_high_multiply(x, 2**30)
    assert half.dtype == np.int32 and np.array_equal(half, (x.astype(np.int64) + 1) // 2)


@promise("rounding_right_shift", refuses=int32_needed("x of rounding_right_shift"))
def half_of_each_ties_away(x, case):
    half, wide = fixedpoint.rounding_right_shift(x, 1), x.astype(np.int64)
    assert half.dtype == np.int32 and np.array_equal(half, np.sign(wide) * ((np.abs(wide) + 1) // 2))


def reals_to_multiply_by(x):
    return [0.0, 2.0**-32, 0.0072, 0.5, 1.0, 8.0]  # powers of two but for one: float32 holds the products


VARIANTS = ("multiply_double_rounding", "multiply_half_up", "multiply_single_rounding", "multiply_float")


@promise(*VARIANTS, meets=reals_to_multiply_by, refuses=int32_needed("acc of multiply_double_rounding"))
def products_within_1_that_saturate(acc, M):
    for name in VARIANTS:
        y = getattr(qt, name)(acc, M if name == "multiply_float" else qt.quantize_multiplier(M))
        exact = np.clip(acc.astype(np.float64) * M, -(2**31), 2**31 - 1)
        assert (y.shape, y.dtype) == (acc.shape, np.int32)
        # 24 bits are what float32 keeps; a left shift that saturates is multiplied by 1/2 after it
        slack = 1 + np.abs(exact) * (2.0**-23 if name == "multiply_float" else 2.0**-31)
        saturated = (np.abs(acc.astype(np.float64)) * M >= 2**30) & (M >= 1)
        assert (np.abs(y - exact) <= np.where(saturated, 2**30, slack)).all()


@promise("requantize", meets=per_tensor_maps, refuses=int32_needed("acc of requantize"))
def requantized_accumulators(acc, to):
    M = qt.quantize_multiplier(0.01)
    q = qt.requantize(acc, M, to, multiply=qt.multiply_single_rounding)
    assert (q.shape, q.dtype) == (acc.shape, to.codes.dtype)
    whole = qt.multiply_single_rounding(acc, M).astype(np.int64)
    assert np.array_equal(q, np.clip(whole + to.zero_point, to.qmin, to.qmax))


# --- layers


def no_weight(x, case):
    return x.ndim < 2 or x.size == 0


def no_bias_in_int32(x, case):
    return not_finite(x, case) or beyond_int32(np.rint(x) if x.dtype.kind == "f" else x, case)


@promise(
    "fold_batch_norm",
    refuses={
        not_real: (TypeError, "fold_batch_norm needs real numbers"),
        not_finite: (ValueError, "fold_batch_norm needs finite numbers"),
    },
)
def a_batch_norm_that_halves_and_adds_1(weight, case):
    ones = np.ones(weight.shape[:1])
    folded, bias = qt.fold_batch_norm(weight, ones, 3 * ones, 4 * ones, 3 * ones, epsilon=1.0)
    assert folded.dtype == bias.dtype == np.float64
    assert np.array_equal(folded, weight.astype(np.float64) / 2)
    assert np.array_equal(bias, ones)


@promise(
    "weight_qparams",
    refuses={
        not_real: (TypeError, "weight_qparams needs real numbers"),
        no_weight: (ValueError, r"weight_qparams needs weights \(out_channels, \.\.\.\), got shape"),
        not_finite: CHOSEN[not_finite],
        beyond_float32: CHOSEN[beyond_float32],
    },
)
def weights_are_covered_and_no_scale_is_dead(weight, case):
    for per_channel in (True, False):
        qparams = qt.weight_qparams(weight, per_channel=per_channel)
        assert qparams.axis == (0 if per_channel else None) and not qparams.zero_point.any()
        check_cover(qparams, weight)
        assert (qparams.scale >= 0.999e-3 * qparams.scale.max()).all()


@promise(
    "quantize_bias",
    refuses={
        not_real: (TypeError, "quantize_bias needs real numbers"),
        lambda bias, case: bias.ndim != 1: (
            ValueError,
            r"quantize_bias needs a bias \(out_channels,\), .* got",
        ),
        no_bias_in_int32: (ValueError, r"a bias must fit int32 at scale input.scale \* weight.scale, got"),
    },
)
def biases_at_scale_1(bias, case):
    q = qt.quantize_bias(bias, qt.QParams(0.5, 10), qt.QParams(2.0, 0))
    assert q.dtype == np.int32 and np.array_equal(q, np.rint(bias.astype(np.float64)))


def sums_might_pass_int32(x, qparams):
    q = matrix(x, qparams).astype(np.int64) - qparams.zero_point
    return q.shape[-1] * int(np.abs(q).max(initial=0)) > 2**31 - 1


@promise(
    "integer_only_matmul",
    meets=per_tensor_maps,
    refuses={
        no_terms_in_the_matrix: (ValueError, "integer_only_matmul cannot .*: K must be at least 1"),
        sums_might_pass_int32: (ValueError, r"an accumulator might pass int32: .* allowed is 2147483647"),
    },
)
def accumulators_without_floats(x, qparams):
    q, Z = matrix(x, qparams), int(qparams.zero_point)
    acc = qt.integer_only_matmul(q, np.ones((q.shape[-1], 2), np.int8), Z)
    assert acc.dtype == np.int32
    assert np.array_equal(acc[:, 1], (q.astype(np.int64) - Z).sum(axis=-1))


def eight_bit_maps(x):
    return [qt.QParams(0.5, 10), qt.QParams(0.5, 255, qt.UINT8), qt.QParams(0.1, -8, qt.INT4)]


def no_image(x, qparams):
    return matrix(x, qparams).size == 0


def might_leave_int32(x, qparams):
    largest = max(qparams.qmax - int(qparams.zero_point), int(qparams.zero_point) - qparams.qmin)
    return matrix(x, qparams).shape[-1] * 127 * largest > 2**31 - 1


@promise(
    "QLinear",
    "QLinear.from_real",
    "QLinear.accumulators",
    meets=eight_bit_maps,
    refuses={
        no_terms_in_the_matrix: (ValueError, r"weight_qparams needs weights .*, got shape \(2, 0\)"),
        might_leave_int32: (ValueError, r"an accumulator of QLinear might pass int32: with K = \d+ products"),
    },
)
def sums_of_codes_in_a_linear_layer(x, qparams):
    q = matrix(x, qparams)
    weight, out = np.ones((2, q.shape[-1])), qt.QParams(1.0, 0, INT16)
    layer = qt.QLinear.from_real(weight, np.zeros(2), qparams, out)
    exact = 127 * (q.astype(np.int64) - qparams.zero_point).sum(axis=-1)
    assert np.array_equal(layer.accumulators(q), np.stack([exact, exact], axis=-1))
    y = layer(q, multiply=qt.multiply_single_rounding)
    assert (y.shape, y.dtype) == ((len(q), 2), np.int16)
    real = np.clip(exact * float(qparams.scale) / 127, -(2**15), 2**15 - 1)
    assert (np.abs(y[:, 0] - real) <= 0.5 + 2.0**-20 * np.abs(real)).all()


@promise(
    "QConv2d",
    "QConv2d.from_real",
    "QConv2d.accumulators",
    "QAdd",
    "QAdd.from_qparams",
    "QAveragePool",
    "QAveragePool.from_qparams",
    meets=eight_bit_maps,
    refuses={no_image: (ValueError, r"QConv2d needs codes \(n, 1, h, w\), .* got shape")},
)
def layers_that_give_the_codes_back(x, qparams):
    q, one = matrix(x, qparams)[np.newaxis, np.newaxis], {"multiply": qt.multiply_single_rounding}
    layer = qt.QConv2d.from_real(np.ones((1, 1, 1, 1)), np.zeros(1), qparams, qparams, padding=1)
    assert np.array_equal(
        layer.accumulators(q)[:, :, 1:-1, 1:-1], 127 * (q.astype(np.int32) - qparams.zero_point)
    )
    y = layer(q, **one)
    assert np.array_equal(y[:, :, 1:-1, 1:-1], q)  # a weight of 1.0
    assert (y[:, :, 0] == qparams.zero_point).all()  # the padding is real 0
    zeros = np.full(q.shape, qparams.zero_point)
    assert np.array_equal(qt.QAdd.from_qparams(*[qparams] * 3)(q, zeros, **one), q)
    pool = qt.QAveragePool.from_qparams(qparams, qparams, count=q.size)
    assert np.abs(pool(q, **one).item() - q.mean()) <= 0.5 + 1e-6


def no_rows_of_codes(x, case):
    return x.ndim != 2 or x.shape[1] == 0


def the_map_of_one(x):
    return [qt.QParams(1.0, 0)]


@promise(
    "QLinear",
    meets=the_map_of_one,
    refuses={
        **codes_refused_by("QLinear"),
        no_rows_of_codes: (ValueError, r"QLinear needs codes \(n, \d+\), got"),
    },
)
def tensors_as_codes_of_a_linear_layer(x, qparams):
    width = max(x.shape[-1], 1) if x.ndim else 1
    layer = qt.QLinear.from_real(np.ones((1, min(width, 9))), np.zeros(1), qparams, qparams)
    assert layer(x[:, :9] if x.ndim == 2 else x, multiply=qt.multiply_single_rounding).shape == (len(x), 1)


# --- the product of the two


@functools.cache
def cases(meets, family):
    return meets(FAMILIES[family])


def meet(row, family):
    """One cell of the table: under each map the guarantee holds, or the one documented error is raised."""
    x = FAMILIES[family]
    before = x.tobytes()
    assert cases(row.meets, family)
    for case in cases(row.meets, family):
        expected = next((answer for wrong, answer in row.refuses.items() if wrong(x, case)), None)
        if expected is None:
            row.check(x, case)
        else:
            error, message = expected
            with pytest.raises(error, match=message):
                row.check(x, case)
    assert x.tobytes() == before, "the function wrote into its argument"


def strictly(function):
    """The function, called by somebody whose NumPy raises on all floating-point errors."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        with np.errstate(all="raise"):
            try:
                return function(*args, **kwargs)
            finally:
                assert set(np.geterr().values()) == {"raise"}, "the function changed its caller's settings"

    return call


@pytest.fixture
def strict(monkeypatch):
    """Every public function, method and constructor under np.errstate(all="raise")."""
    for name, value in ((name, getattr(qt, name)) for name in qt.__all__):
        if inspect.isfunction(value):
            monkeypatch.setattr(qt, name, strictly(value))
        elif inspect.isclass(value) and not issubclass(value, tuple):
            for attribute in dir(value):
                member = inspect.getattr_static(value, attribute)
                if attribute.startswith("_") and attribute not in ("__init__", "__call__"):
                    continue
                if inspect.isfunction(member):
                    monkeypatch.setattr(value, attribute, strictly(member))
                elif isinstance(member, classmethod):
                    monkeypatch.setattr(value, attribute, classmethod(strictly(member.__func__)))
                elif isinstance(member, property):
                    monkeypatch.setattr(value, attribute, property(strictly(member.fget)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.names[0]}: {row.check.__name__}")
def test_the_guarantee_holds_or_the_documented_error_is_raised(row, strict):
    # one test a row, not a cell: 2000 tests would spend half of their time in pytest
    broken = {}
    for family in FAMILIES:
        try:
            meet(row, family)
        except (Exception, pytest.fail.Exception) as error:
            broken[family] = error
    for first in broken.values():
        first.add_note(f"{row.names[0]} breaks its promise for {len(broken)} families: {', '.join(broken)}")
        raise first


# --- is the battery whole?


GEMMLOWP = ("rounding_doubling_high_multiply", "rounding_right_shift")  # public in fixedpoint alone


def public_functions():
    """Name -> the code object that runs when the name is called: __all__, methods, and gemmlowp's two."""
    functions = {name: getattr(fixedpoint, name).__code__ for name in GEMMLOWP}
    for name in qt.__all__:
        value = getattr(qt, name)
        if inspect.isclass(value):
            made_by = "__new__" if issubclass(value, tuple) else "__init__"
            functions[name] = getattr(value, made_by).__code__
            for method in dir(value):
                inherited = hasattr(tuple, method) or method in ("_asdict", "_make", "_replace")
                if not (method.startswith("_") or inherited) and callable(getattr(value, method)):
                    functions[f"{name}.{method}"] = inspect.unwrap(getattr(value, method)).__code__
        elif callable(value):
            functions[name] = inspect.unwrap(value).__code__
    return functions


def test_every_public_function_and_method_has_a_row():
    assert {name for row in ROWS for name in row.names} == set(public_functions())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.check.__name__)
def test_a_row_calls_the_functions_that_it_names(row):
    x, case = next(
        (x, case)
        for family, x in FAMILIES.items()
        for case in cases(row.meets, family)
        if always in row.refuses or not any(wrong(x, case) for wrong in row.refuses)
    )
    called = set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: called.add(frame.f_code))
    try:
        row.check(x, case)
    except (TypeError, ValueError):
        assert always in row.refuses
    finally:
        sys.setprofile(before)
    assert [name for name in row.names if public_functions()[name] not in called] == []


def test_the_families_are_many_and_of_every_kind():
    assert len(FAMILIES) >= 30
    assert {x.dtype.kind for x in FAMILIES.values()} == set("fiubcUOM")
    assert {x.ndim for x in FAMILIES.values()} == {0, 1, 2, 4}


# --- however an array comes in

STEPS = np.float32([np.arange(-127, 0) + 0.5, np.arange(127) + 0.5]) * np.float32(0.1)  # ties, nearly
TENTHS, ONES = qt.QParams(0.1, 0), qt.QParams([0.1, 0.2], [0, 0], axis=0)
CODES = np.int16([[-128, 3, 127], [5, -6, 0]])
SUMS = np.int32([[-(2**31), -77, 5], [2**31 - 1, 1000, 6]])
ROW, HALF = np.array([0.5, 0.25, 3.0]), qt.quantize_multiplier(0.5)
SINGLE = {"multiply": qt.multiply_single_rounding}
high_multiply, right_shift = fixedpoint.rounding_doubling_high_multiply, fixedpoint.rounding_right_shift
LINEAR = qt.QLinear.from_real(np.ones((2, 3)), np.zeros(2), TENTHS, TENTHS)
CONV = qt.QConv2d.from_real(np.ones((1, 1, 2, 2)), np.zeros(1), TENTHS, TENTHS, padding=1)


FACTORS = (CODES, CODES.T[:, :1], np.array(3, np.int16), np.array(4, np.uint16))
NORM = (STEPS, ROW[:2], ROW[1:], -ROW[:2], ROW[:2] + 1)


def observed(make):
    return lambda x: make().observe(x).qparams()


# every argument that is an array: an array for it, and the call
ARRAYS = {
    "round_half_even x": (STEPS, qt.round_half_even),
    "round_half_away x": (STEPS, qt.round_half_away),
    "saturate x": (np.rint(STEPS), lambda x: qt.saturate(x, qt.INT4)),
    "QParams scale": (ROW, lambda scale: qt.QParams(scale, [1, 2, 3], axis=0)),
    "QParams zero_point": (CODES[0], lambda zero_point: qt.QParams(ROW, zero_point, axis=0)),
    "choose_qparams rmin": (-ROW, lambda rmin: qt.choose_qparams(rmin, ROW, axis=0)),
    "choose_qparams rmax": (ROW, lambda rmax: qt.choose_qparams(-ROW, rmax, axis=0)),
    "quantize x": (STEPS, lambda x: qt.quantize(x, TENTHS)),
    "quantize x, per-channel": (STEPS, lambda x: qt.quantize(x, ONES)),
    "fake_quantize x": (STEPS, lambda x: qt.fake_quantize(x, TENTHS)),
    "dequantize q": (CODES, lambda q: qt.dequantize(q, TENTHS)),
    "QTensor q": (CODES, lambda q: qt.QTensor(q, TENTHS)),
    "QTensor.from_real x": (STEPS, lambda x: qt.QTensor.from_real(x, ONES)),
    "MinMaxObserver x": (STEPS, observed(qt.MinMaxObserver)),
    "MinMaxObserver x, per-channel": (STEPS, observed(lambda: qt.MinMaxObserver(0))),
    "MovingAverageMinMaxObserver x": (STEPS, observed(qt.MovingAverageMinMaxObserver)),
    "PercentileObserver x": (STEPS, observed(qt.PercentileObserver)),
    "MSEObserver x": (STEPS, observed(qt.MSEObserver)),
    "EntropyObserver x": (STEPS, observed(qt.EntropyObserver)),
    "sqnr_db x": (STEPS, lambda x: qt.sqnr_db(x, np.float32(1.01) * STEPS)),
    "sqnr_db x_hat": (STEPS, lambda x_hat: qt.sqnr_db(np.float32(1.01) * STEPS, x_hat)),
    "clipped_fraction x": (STEPS, lambda x: qt.clipped_fraction(x, qt.QParams(0.1, 0, qt.INT4))),
    "error_budget x": (STEPS, lambda x: qt.error_budget(x, TENTHS)),
    **{
        f"{matmul.__name__} {argument}": (
            value,
            lambda x, matmul=matmul, i=i: matmul(*FACTORS[:i], x, *FACTORS[i + 1 :]),
        )
        for matmul in (qt.integer_matmul, qt.integer_only_matmul, qt.matmul_terms)
        for i, (argument, value) in enumerate(
            zip(("q1", "q2", "zero_point1", "zero_point2"), FACTORS, strict=True)
        )
    },
    "quantize_multiplier M": (ROW, qt.quantize_multiplier),
    "FixedPointMultiplier mantissa": (SUMS[1, :1], lambda mantissa: qt.FixedPointMultiplier(mantissa, [3])),
    "FixedPointMultiplier shift": (CODES[1, :1], lambda shift: qt.FixedPointMultiplier([2**30], shift)),
    "multiply_double_rounding acc": (SUMS, lambda acc: qt.multiply_double_rounding(acc, HALF)),
    "multiply_half_up acc": (SUMS, lambda acc: qt.multiply_half_up(acc, HALF)),
    "multiply_single_rounding acc": (SUMS, lambda acc: qt.multiply_single_rounding(acc, HALF)),
    "multiply_float acc": (SUMS, lambda acc: qt.multiply_float(acc, 0.3)),
    "multiply_float multiplier": (ROW, lambda multiplier: qt.multiply_float(SUMS, multiplier)),
    "rounding_doubling_high_multiply a": (
        SUMS,
        lambda a: high_multiply(a, 2**30),
    ),
    "rounding_doubling_high_multiply b": (
        SUMS,
        lambda b: high_multiply(2**30, b),
    ),
    "rounding_right_shift x": (SUMS, lambda x: right_shift(x, 3)),
    "rounding_right_shift shift": (
        np.int32([0, 1, 31]),
        lambda shift: right_shift(SUMS, shift),
    ),
    "requantize acc": (SUMS, lambda acc: qt.requantize(acc, HALF, TENTHS, **SINGLE)),
    **{
        f"fold_batch_norm argument {i}": (
            value,
            lambda x, i=i: qt.fold_batch_norm(*NORM[:i], x, *NORM[i + 1 :], epsilon=1.0),
        )
        for i, value in enumerate(NORM)
    },
    "weight_qparams weight": (STEPS, qt.weight_qparams),
    "quantize_bias bias": (ROW, lambda bias: qt.quantize_bias(bias, TENTHS, TENTHS)),
    "QLinear.from_real weight": (STEPS, lambda W: qt.QLinear.from_real(W, [1.0, 2.0], TENTHS, TENTHS)),
    "QLinear.from_real bias": (ROW[:2], lambda b: qt.QLinear.from_real(STEPS, b, TENTHS, TENTHS)),
    "QLinear bias": (SUMS[:, 1], lambda b: qt.QLinear(LINEAR.weight, b, TENTHS, TENTHS, HALF)),
    "QLinear q": (CODES, lambda q: LINEAR(q, **SINGLE)),
    "QLinear.accumulators q": (CODES, LINEAR.accumulators),
    "QConv2d q": (CODES[None, None], lambda q: CONV(q, **SINGLE)),
    "QConv2d.accumulators q": (CODES[None, None], CONV.accumulators),
    "QAdd q1": (CODES, lambda q1: qt.QAdd.from_qparams(*[TENTHS] * 3)(q1, CODES, **SINGLE)),
    "QAdd q2": (CODES, lambda q2: qt.QAdd.from_qparams(*[TENTHS] * 3)(CODES, q2, **SINGLE)),
    "QAveragePool q": (
        CODES[None, None],
        lambda q: qt.QAveragePool.from_qparams(TENTHS, TENTHS, count=6)(q, **SINGLE),
    ),
}


class Subclass(np.ndarray):
    """An array of a kind of its own, as other packages have them."""


FORMS = {
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "little-endian": lambda x: x.astype(x.dtype.newbyteorder("<")),
    "read-only": frozen,
    "Fortran order": lambda x: np.array(x, order="F"),
    "strided": lambda x: np.stack([x, 0 * x], axis=-1)[..., 0],
    "reversed twice": lambda x: np.flip(np.flip(x).copy()),
    "unaligned": lambda x: np.frombuffer(b"1" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "subclass": lambda x: x.view(Subclass),
}


def anatomy(result):
    """All that a result holds, to the last bit, arrays with their types and dtypes."""
    if isinstance(result, (np.ndarray, np.generic)):
        return type(result), result.dtype.str, result.shape, result.tobytes()
    if isinstance(result, tuple):
        return type(result), *map(anatomy, result)
    if dataclasses.is_dataclass(result):
        return type(result), *(anatomy(getattr(result, field.name)) for field in dataclasses.fields(result))
    return result


@pytest.mark.parametrize("argument", ARRAYS)
def test_neither_byte_order_nor_layout_nor_subclass_changes_a_bit(argument):
    x, call = ARRAYS[argument]
    expected = anatomy(call(x))
    for form, make in FORMS.items():
        other = make(x)
        assert np.array_equal(other, x)
        assert anatomy(call(other)) == expected, form


@pytest.mark.parametrize("argument", ARRAYS)
def test_no_mask_is_ignored(argument):
    x, call = ARRAYS[argument]
    hidden = np.zeros(x.shape, bool)
    hidden.flat[0] = True
    for mask in (hidden, np.ma.nomask):
        masked = np.ma.array(x, mask=mask)
        for given in (masked, [*masked]) if masked.ndim > 1 else (masked,):
            with pytest.raises(
                TypeError, match=r"takes no masked array: call its filled\(value\) or compressed\(\)"
            ):
                call(given)


def test_every_function_that_takes_an_array_is_in_the_table():
    taking = {argument.partition(" ")[0] for argument in ARRAYS}
    without = {
        "IntRange",
        "int_range",
        "accumulator_bits",
        "ErrorBudget",
        "MatmulTerms",
    }  # an array is no count
    assert {name for name in qt.__all__ if callable(getattr(qt, name))} - without <= {
        n.partition(".")[0] for n in taking
    }


# --- finite domains, to the last value

EIGHT_BITS = [qt.INT8, qt.UINT8, qt.int_range(8, narrow=True)]
EVERY_FLOAT16 = np.arange(2**16, dtype=np.uint16).view(np.float16)
EVERY_FLOAT16 = EVERY_FLOAT16[~np.isnan(EVERY_FLOAT16)]
EVERY_FINITE_FLOAT16 = EVERY_FLOAT16[np.isfinite(EVERY_FLOAT16)]


@pytest.mark.parametrize("to", EIGHT_BITS, ids=str)
def test_every_8_bit_code_under_every_zero_point(to):
    q = np.arange(to.qmin, to.qmax + 1)
    for zero_point in q.tolist():
        qparams = qt.QParams(0.1, zero_point, to)
        reals_of_integers(q, qparams)
        x = qt.dequantize(q, qparams)
        assert x[q == zero_point].tolist() == [0]
        codes_of_reals(x, qparams)
        assert np.array_equal(qt.quantize(x, qparams), q)
        assert np.array_equal(qt.QTensor(q, qparams).q, q)


@pytest.mark.parametrize("to", EIGHT_BITS, ids=str)
def test_every_float16_as_an_8_bit_code(to):
    for scale, zero_point in [(0.1, to.qmin), (2.0**-24, 3), (300.0, to.qmax), (515.0, 100)]:
        qparams = qt.QParams(scale, zero_point, to)
        check_codes(qt.quantize(EVERY_FINITE_FLOAT16, qparams), EVERY_FINITE_FLOAT16, qparams)
        reals_come_back(EVERY_FINITE_FLOAT16, qparams)


def test_every_float16_is_rounded_and_saturated():
    nearest_and_ties_to_even(EVERY_FLOAT16, None)
    nearest_and_ties_away_from_0(EVERY_FLOAT16, None)
    for to in RANGES:
        saturated_once_rounded(EVERY_FLOAT16, to)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_every_16_bit_integer_saturates(dtype):
    every = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1).astype(dtype)
    for to in RANGES:
        saturated_whole_numbers(every, to)


@pytest.mark.parametrize("to1", EIGHT_BITS, ids=str)
@pytest.mark.parametrize("to2", EIGHT_BITS, ids=str)
def test_every_product_of_two_8_bit_codes_under_every_zero_point_of_the_first(to1, to2):
    q1, q2 = (np.arange(to.qmin, to.qmax + 1).astype(to.dtype) for to in (to1, to2))
    for Z in q1.tolist():
        acc = qt.integer_matmul(q1[:, None], q2[None, :], Z, q2[::-1][None, :])
        exact = (q1.astype(np.int64) - Z)[:, None] * (q2.astype(np.int64) - q2[::-1])[None, :]
        assert np.array_equal(acc, exact)


def test_every_range_of_2_to_16_bits():
    for bits in range(2, 17):
        for narrow in (False, True):
            signed, unsigned = (qt.int_range(bits, signed=s, narrow=narrow) for s in (True, False))
            assert signed.levels == unsigned.levels == 2**bits - narrow
            assert (signed.qmin, signed.qmax) == (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1)
            assert (unsigned.qmin, unsigned.qmax) == (int(narrow), 2**bits - 1)
            assert signed.dtype == (np.int8 if bits <= 8 else np.int16)
            assert unsigned.dtype == (np.uint8 if bits <= 8 else np.uint16)


@pytest.mark.parametrize("bits", [*range(2, 17)])
def test_every_choice_of_bits_keeps_zero_and_covers_the_range(bits):
    for signed in (True, False):
        for narrow in (True, False):
            to = qt.int_range(bits, signed=signed, narrow=narrow)
            the_range_of_the_tensor_is_covered(FAMILIES["heavy tails"], (to, False, None))

"""qtutor/rounding.py: ranges, the two tie rules, and saturation that never wraps."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtutor import INT4, INT8, UINT8, IntRange, int_range, round_half_away, round_half_even, saturate

FLOATS = [np.float16, np.float32, np.float64]
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
BELOW_HALF = 0.49999999999999994  # the largest double below 0.5; adding 0.5 to it gives 1.0


# --- hand-checkable cases


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "qmin", "qmax", "dtype"),
    [
        (2, True, False, -2, 1, "int8"),
        (2, False, False, 0, 3, "uint8"),
        (4, True, False, -8, 7, "int8"),
        (4, False, False, 0, 15, "uint8"),
        (8, True, False, -128, 127, "int8"),
        (8, True, True, -127, 127, "int8"),
        (8, False, False, 0, 255, "uint8"),
        (8, False, True, 1, 255, "uint8"),
        (16, True, False, -32768, 32767, "int16"),
        (16, True, True, -32767, 32767, "int16"),
        (16, False, False, 0, 65535, "uint16"),
    ],
)
def test_ranges_are_those_of_the_onnx_types(bits, signed, narrow, qmin, qmax, dtype):
    # ONNX QuantizeLinear, version 25, lists int2 to uint16; narrow drops the lowest code
    to = int_range(bits, signed=signed, narrow=narrow)
    assert (to.qmin, to.qmax, to.levels, to.dtype) == (qmin, qmax, qmax - qmin + 1, np.dtype(dtype))


def test_the_named_ranges_are_what_their_names_say():
    assert (INT8.qmin, INT8.qmax) == (-128, 127)
    assert (UINT8.qmin, UINT8.qmax) == (0, 255)
    assert (INT4.qmin, INT4.qmax) == (-8, 7)


def test_ties_go_to_the_even_neighbour_or_away_from_zero():
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert round_half_even(x).tolist() == [-2, -2, 0, 0, 2, 2]
    assert round_half_away(x).tolist() == [-3, -2, -1, 1, 2, 3]


def test_just_below_a_tie_both_rules_round_down():
    # Muller et al., Handbook of Floating-Point Arithmetic: floor(x + 0.5) gives 1 here
    assert math.floor(BELOW_HALF + 0.5) == 1
    for rounding in (round_half_even, round_half_away):
        assert rounding(np.array([BELOW_HALF, -BELOW_HALF])).tolist() == [0, 0]
        below = np.nextafter(np.float32(0.5), np.float32(0))
        assert rounding(np.array([below, -below])).tolist() == [0, 0]


def test_numbers_too_large_for_a_fraction_stay_as_they_are():
    huge = np.array([2.0**52 + 1, -(2.0**52) - 1, 2.0**53 - 1, 1e300, -1e300, np.inf, -np.inf])
    for rounding in (round_half_even, round_half_away):
        assert rounding(huge).tolist() == huge.tolist()  # and no warning, which pytest makes an error
    ties = np.array([2.0**51 + 0.5, 2.0**51 + 1.5])  # the last doubles that are ties
    assert round_half_even(ties).tolist() == [2.0**51, 2.0**51 + 2]
    assert round_half_away(ties).tolist() == [2.0**51 + 1, 2.0**51 + 2]


def test_minus_a_half_rounds_to_negative_zero_or_to_minus_one():
    assert round_half_even(np.array(-0.5)) == 0 and np.signbit(round_half_even(np.array(-0.5)))
    assert round_half_away(np.array(-0.5)) == -1


def test_saturating_before_the_cast_keeps_what_a_bare_cast_wraps():
    x = np.array([100, 127, 128, 130, 255, 256, -128, -129, -300])
    assert saturate(x, INT8).tolist() == [100, 127, 127, 127, 127, 127, -128, -128, -128]
    assert x.astype(np.int8).tolist() == [100, 127, -128, -126, -1, 0, -128, 127, -44]


def test_infinities_and_the_largest_integers_saturate():
    assert saturate(np.array([np.inf, -np.inf, 1e300, -1e300]), UINT8).tolist() == [255, 0, 255, 0]
    assert saturate(np.array([2**64 - 1, 2**63, 0], np.uint64), INT8).tolist() == [127, 127, 0]
    assert saturate(np.array([-(2**63), 2**63 - 1]), INT4).tolist() == [-8, 7]


# --- properties


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rounding", [round_half_even, round_half_away])
def test_rounding_keeps_shape_and_dtype(rounding, dtype):
    for shape in [(), (0,), (3,), (2, 0), (2, 3)]:
        result = np.asarray(rounding(np.full(shape, 1.5, dtype)))
        assert result.shape == shape and result.dtype == dtype


@given(st.data())
def test_both_rules_are_odd_functions(data):
    x = data.draw(hnp.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)))
    for rounding in (round_half_even, round_half_away):
        assert np.array_equal(rounding(-x), -rounding(x))


@pytest.mark.parametrize("dtype", INTEGERS)
@given(data=st.data())
def test_no_integer_wraps(data, dtype):
    x = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
    for to in (INT8, UINT8, INT4, int_range(2), int_range(16), int_range(16, signed=False)):
        q = saturate(x, to)
        assert q.dtype == to.dtype and q.shape == x.shape
        exact = [min(max(int(value), to.qmin), to.qmax) for value in x.flat]
        assert [int(code) for code in q.flat] == exact


@pytest.mark.parametrize("to", [INT8, UINT8, int_range(16), IntRange(300, 400), IntRange(-10, -5)])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_no_extreme_integer_wraps(dtype, to):
    limits = np.iinfo(dtype)
    for value in (limits.min, limits.max, limits.min + 1, limits.max - 1):
        assert int(saturate(np.array(value, dtype), to)) == min(max(value, to.qmin), to.qmax)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_no_float_wraps(data, dtype):
    width = np.dtype(dtype).itemsize * 8
    x = np.rint(data.draw(hnp.arrays(dtype, 4, elements=st.floats(width=width, allow_nan=False))))
    for to in (INT8, UINT8, int_range(16), int_range(16, signed=False)):
        q = saturate(x, to)
        assert q.dtype == to.dtype
        exact = [to.qmin if v < to.qmin else to.qmax if v > to.qmax else int(v) for v in x.tolist()]
        assert q.tolist() == exact


def test_float16_input_reaches_codes_that_float16_cannot_hold():
    # near 65504 a float16 knows only every 32nd integer, so the walls must not be cast to float16
    assert saturate(np.float16([65504, np.inf, 4096]), IntRange(0, 4097)).tolist() == [4097, 4097, 4096]


# --- oracles


def half_even(value):
    return round(Fraction(value))  # Python's exact rule: ties to even


def half_away(value):
    exact = Fraction(value)
    nearest = math.floor(abs(exact) + Fraction(1, 2))
    return nearest if exact >= 0 else -nearest


@pytest.mark.parametrize(
    ("rounding", "exact"), [(round_half_even, half_even), (round_half_away, half_away)], ids=["even", "away"]
)
@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_rounding_equals_exact_fractions(data, dtype, rounding, exact):
    width = np.dtype(dtype).itemsize * 8
    anything = st.floats(width=width, allow_nan=False, allow_infinity=False)
    ties = st.integers(-1000, 1000).map(lambda n: n + 0.5)
    beside = st.tuples(ties, st.sampled_from([-math.inf, math.inf])).map(
        lambda pair: float(np.nextafter(dtype(pair[0]), dtype(pair[1])))
    )
    x = data.draw(hnp.arrays(dtype, 8, elements=st.one_of(anything, ties, beside)))
    assert [int(value) for value in rounding(x)] == [exact(value) for value in x.tolist()]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_bits_as_a_numpy_integer_make_the_same_range(dtype):
    # 2**8 of a uint8 is 0, and 2**7 of an int8 is -128
    for bits in range(2, 17):
        for signed in (True, False):
            for narrow in (True, False):
                to = int_range(bits, signed=signed, narrow=narrow)
                assert int_range(dtype(bits), signed=np.bool_(signed), narrow=np.bool_(narrow)) == to
                assert type(to.qmin) is type(to.qmax) is int


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="a long double is a double here")
def test_a_fraction_that_only_a_long_double_holds_is_a_fraction():
    above = np.longdouble(3) + np.finfo(np.longdouble).eps * 2
    assert np.float64(above) == 3
    with pytest.raises(ValueError, match=r"saturate needs whole numbers, got 3\.0000"):
        saturate(np.array([1, above]), INT8)
    huge = np.finfo(np.longdouble).max
    assert saturate(np.array([2, huge, -huge, np.inf], np.longdouble), INT8).tolist() == [2, 127, -128, 127]


# --- what is refused, and what the error says


@pytest.mark.parametrize("choice", [2, 1, 0, "no", None, 1.0, np.int8(1), np.array([True])])
def test_a_choice_is_true_or_false(choice):
    with pytest.raises(TypeError, match="signed must be True or False, got"):
        int_range(8, signed=choice)
    with pytest.raises(TypeError, match="narrow must be True or False, got"):
        int_range(8, narrow=choice)


@pytest.mark.parametrize("bits", [1, 0, -8, 17, 64, 8.0, "8", True, None])
def test_bits_other_than_2_to_16_are_refused(bits):
    with pytest.raises(ValueError, match=r"bits must be an integer from 2 to 16, got"):
        int_range(bits)


@pytest.mark.parametrize(("qmin", "qmax"), [(0, 0), (5, 4), (-32769, 0), (0, 65536)])
def test_impossible_ranges_are_refused(qmin, qmax):
    with pytest.raises(ValueError, match=f"-32768 <= qmin < qmax <= 65535, got qmin={qmin}, qmax={qmax}"):
        IntRange(qmin, qmax)


@pytest.mark.parametrize("limit", [1.0, "1", True, None, np.float64(1)])
def test_limits_that_are_no_integers_are_refused(limit):
    with pytest.raises(TypeError, match=r"qmax of IntRange must be an integer, got"):
        IntRange(0, limit)
    with pytest.raises(TypeError, match=r"qmin of IntRange must be an integer, got"):
        IntRange(limit, 9)


def test_a_range_is_a_value_that_cannot_change():
    assert IntRange(-128, 127) == INT8 and hash(IntRange(-128, 127)) == hash(INT8)
    assert type(IntRange(np.int8(-3), np.uint16(9)).qmax) is int  # or qmax + 1 could wrap
    with pytest.raises(AttributeError):
        INT8.qmax = 255


@pytest.mark.parametrize(
    ("qmin", "qmax", "dtype"),
    [(0, 256, "uint16"), (-1, 128, "int16"), (-1, 65535, "int32"), (-129, 0, "int16"), (-1, 1, "int8")],
)
def test_the_dtype_is_the_smallest_that_holds_every_code(qmin, qmax, dtype):
    assert IntRange(qmin, qmax).dtype == dtype


@pytest.mark.parametrize("value", [0.5, -2.25, 130.5, 1e-300, np.nan])
def test_saturate_refuses_fractions_and_nan_wherever_they_are(value):
    with pytest.raises(ValueError, match=f"whole numbers, got {value}: round before saturating"):
        saturate(np.array([[1.0, 2.0], [3.0, value]]), INT8)


@pytest.mark.parametrize("x", [np.array([True]), np.array([1j]), np.array(["1"]), np.array([None]), [2**70]])
def test_saturate_refuses_what_is_no_real_number(x):
    with pytest.raises(TypeError, match=r"saturate needs real numbers \(float or integer dtype\), got dtype"):
        saturate(x, INT8)


@pytest.mark.parametrize("x", [np.array([2**53 + 1]), np.uint8([1]), np.array([True]), 3, [None]])
def test_rounding_refuses_what_is_no_float(x):
    # as a float, 2**53 + 1 would become 2**53: an integer that changes by being rounded
    for rounding in (round_half_even, round_half_away):
        with pytest.raises(TypeError, match=f"{rounding.__name__} needs floats, got dtype"):
            rounding(x)

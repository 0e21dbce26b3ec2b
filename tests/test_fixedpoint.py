"""qtutor/fixedpoint.py: from int32 accumulators to codes, against exact integers and fractions."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from exact import (
    INT32_MAX,
    INT32_MIN,
    away,
    even,
    exact_double,
    exact_half_up,
    exact_single,
    into_int32,
    nearest,
    up,
)
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtutor import INT4, INT8, UINT8, IntRange, QParams, int_range
from qtutor.fixedpoint import (
    FixedPointMultiplier,
    multiply_double_rounding,
    multiply_float,
    multiply_half_up,
    multiply_single_rounding,
    quantize_multiplier,
    requantize,
    rounding_doubling_high_multiply,
    rounding_right_shift,
)

INTEGER_VARIANTS = [multiply_double_rounding, multiply_half_up, multiply_single_rounding]
POWERS = [factor * 2**k for k in range(32) for factor in (1, 3)]
# the ends, 0, and all numbers of one or two bits with their neighbours: with the mantissa 2**30, ties
ACCS = sorted(
    {
        sign * power + step
        for power in [0, 5, 7, 1_000_003, INT32_MAX, *POWERS]
        for sign in (1, -1)
        for step in (-1, 0, 1)
        if INT32_MIN <= sign * power + step <= INT32_MAX
    }
)
MANTISSAS = [0, 2**30, 2**30 + 1, 3 * 2**29 - 1, 3 * 2**29, 2**31 - 2, 2**31 - 1]
SHIFTS = range(-30, 32)

int32s = st.one_of(st.integers(INT32_MIN, INT32_MAX), st.sampled_from(ACCS), st.integers(-300, 300))
mantissas = st.one_of(st.integers(2**30, 2**31 - 1), st.sampled_from(MANTISSAS))
shifts = st.integers(-30, 31)


# --- the oracle: exact.py

ORACLES = dict(zip(INTEGER_VARIANTS, [exact_double, exact_half_up, exact_single], strict=True))


def float32(x):
    """The fraction x rounded to a float32, as IEEE 754 says: 24 bits, ties to even."""
    if x == 0:
        return Fraction(0)
    exponent = -149
    while abs(x) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    return nearest(x / Fraction(2) ** exponent, even) * Fraction(2) ** exponent


def exact_float(acc, M):
    return into_int32(nearest(float32(float32(Fraction(acc)) * M), even))


# --- published cases


@pytest.mark.parametrize(
    ("M", "mantissa", "exponent"),
    [
        # LiteRT's own tests of QuantizeMultiplierSmallerThanOneExp and QuantizeMultiplierGreaterThanOne
        (0.25, 1073741824, -1),
        (0.50 - 5e-9, 2147483627, -1),
        (0.50 - 1e-10, 1073741824, 0),
        (0.50, 1073741824, 0),
        (0.75, 1610612736, 0),
        (1 - 1e-9, 2147483646, 0),
        (1 + 1e-11, 1073741824, 1),
        (1.25, 1342177280, 1),
        (1.50, 1610612736, 1),
        (1.75, 1879048192, 1),
        (2 - 1e-9, 2147483647, 1),
        (2 - 1e-11, 1073741824, 2),
        (2, 1073741824, 2),
    ],
)
def test_mantissa_and_shift_are_those_of_litert(M, mantissa, exponent):
    multiplier = quantize_multiplier(M)
    assert (multiplier.mantissa.item(), multiplier.shift.item()) == (mantissa, -exponent)


@pytest.mark.parametrize(
    ("acc", "M", "litert_ref_conv", "litert_opt_conv", "onnx_runtime"),
    [
        (1, 0.25, 1, 1, 0),
        (-2, 0.25, -1, 0, 0),
        (-1, 0.5, 0, 0, 0),
        (-3, 0.5, -1, -1, -2),
        (-3, 0.25, -1, 0, -1),
    ],
)
def test_where_engines_part_each_function_gives_its_engines_answer(
    acc, M, litert_ref_conv, litert_opt_conv, onnx_runtime
):
    # measured on LiteRT 2.3.0 (reference and optimized kernels) and ONNX Runtime 1.32.0
    assert multiply_double_rounding(acc, quantize_multiplier(M)).item() == litert_ref_conv
    assert multiply_half_up(acc, quantize_multiplier(M)).item() == litert_opt_conv
    assert multiply_float(acc, M).item() == onnx_runtime


def test_one_quarter_by_hand():
    # 0.25 = 2**30 * 2**-31 * 2**-1.  1 * 0.5 is a tie, up to 1; 1 / 2 is a tie, away to 1: 0.25 became 1
    quarter = quantize_multiplier(0.25)
    assert (quarter.mantissa.item(), quarter.shift.item()) == (2**30, 1)
    assert rounding_doubling_high_multiply(1, 2**30).item() == 1
    assert rounding_right_shift(1, 1).item() == 1
    assert multiply_double_rounding(1, quarter).item() == 1
    assert multiply_single_rounding(1, quarter).item() == 0


# --- the two steps


def test_high_multiply_is_exact_at_every_edge_and_saturates_once():
    a, b = np.meshgrid(ACCS, [*ACCS, *MANTISSAS])
    high = rounding_doubling_high_multiply(a, b)
    assert high.dtype == np.int32
    expected = [(p * q + 2**30) // 2**31 for p, q in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)]
    outside = [n for n in expected if n != into_int32(n)]
    assert outside == [2**31]  # of all pairs, only INT32_MIN times INT32_MIN
    assert high.ravel().tolist() == [into_int32(n) for n in expected]


@given(int32s, int32s)
def test_high_multiply_is_the_nearest_with_ties_up(a, b):
    assert rounding_doubling_high_multiply(a, b).item() == into_int32(nearest(Fraction(a * b, 2**31), up))


def test_right_shift_is_the_nearest_with_ties_away_at_every_edge():
    x, shift = np.meshgrid(ACCS, range(32))
    y = rounding_right_shift(x, shift)
    assert y.dtype == np.int32
    pairs = zip(x.ravel().tolist(), shift.ravel().tolist(), strict=True)
    assert y.ravel().tolist() == [nearest(Fraction(n, 2**k), away) for n, k in pairs]


@given(int32s, st.integers(0, 31))
def test_right_shift_treats_both_signs_alike(x, shift):
    y = rounding_right_shift(x, shift).item()
    assert y == nearest(Fraction(x, 2**shift), away)
    assert x == INT32_MIN or rounding_right_shift(-x, shift).item() == -y


@pytest.mark.parametrize("shift", [-1, 32, 63, [0, 32]])
def test_a_right_shift_beyond_31_bits_is_refused(shift):
    with pytest.raises(ValueError, match=r"shift of rounding_right_shift needs integers in 0\.\.31, got"):
        rounding_right_shift(np.int32([1, 2]), shift)


# --- the multiplier


@pytest.mark.parametrize("mantissa", [m for m in MANTISSAS if m])
def test_every_fixed_point_multiplier_is_found_again(mantissa):
    for shift in SHIFTS:
        multiplier = FixedPointMultiplier(mantissa, shift)
        assert Fraction(multiplier.real.item()) == Fraction(mantissa, 2**31) / Fraction(2) ** shift
        again = quantize_multiplier(multiplier.real)
        assert (again.mantissa.item(), again.shift.item()) == (mantissa, shift)


@given(st.floats(2.0**-32, 2.0**30, exclude_max=True))
@example(2.0**-32)
@example(1 - 2**-53)
@example(2.0**29)
@example((2**30 + 0.5) / 2**31)
@example((2**30 + 1.5) / 2**31)
def test_the_mantissa_is_the_nearest_with_ties_away(M):
    exact = Fraction(M)
    shift = 31
    while exact >= Fraction(2) ** -shift:
        shift -= 1
    expected = nearest(exact * 2**31 * Fraction(2) ** shift, away)
    if expected == 2**31:
        expected, shift = 2**30, shift - 1
    if shift < -30:
        with pytest.raises(ValueError, match="quantize_multiplier needs M that rounds below"):
            quantize_multiplier(M)
        return
    multiplier = quantize_multiplier(M)
    assert (multiplier.mantissa.item(), multiplier.shift.item()) == (expected, shift)
    assert multiplier.mantissa.dtype == multiplier.shift.dtype == np.int32
    assert abs(Fraction(multiplier.real.item()) - exact) <= exact / 2**31


@pytest.mark.parametrize(
    "M", [0, 0.0, -0.0, 5e-324, 1e-38, 2.0**-40, 2.0**-33, np.nextafter(2.0**-32, 0) / 2]
)
def test_multipliers_too_small_for_31_bits_of_shift_become_0(M):
    multiplier = quantize_multiplier(M)
    assert (multiplier.mantissa.item(), multiplier.shift.item(), multiplier.real.item()) == (0, 0, 0.0)
    for multiply in INTEGER_VARIANTS:
        assert multiply(np.array(ACCS), multiplier).tolist() == [0] * len(ACCS)


def test_the_flush_starts_below_two_to_the_minus_32():
    assert quantize_multiplier(2.0**-32).mantissa.item() == 2**30
    assert quantize_multiplier(2.0**-32).shift.item() == 31
    below = 2.0**-32 * (1 - 2.0**-31)  # one 31-bit step below
    assert quantize_multiplier(below).mantissa.item() == 0
    assert quantize_multiplier(np.nextafter(2.0**-32, 0)).mantissa.item() == 2**30  # rounds up to 2**-32
    for acc in (INT32_MIN, INT32_MAX):  # and so nothing is lost: the exact product rounds to 0
        assert nearest(acc * Fraction(below), away) == 0


@pytest.mark.parametrize("M", [-1e-300, -0.5, np.nan, np.inf, -np.inf, 2.0**30, 1e300, [0.5, np.nan]])
def test_impossible_multipliers_are_refused(M):
    with pytest.raises(ValueError, match=r"quantize_multiplier needs 0 <= M < 2\*\*30, got"):
        quantize_multiplier(M)
    if not np.array_equal(M, 2.0**30) and not np.array_equal(M, 1e300):
        with pytest.raises(ValueError, match="multiply_float needs 0 <= M, finite as float32, got"):
            multiply_float(np.int32([1, 2]), M)


def test_a_multiplier_that_rounds_up_to_two_to_the_30_is_refused():
    largest = 2.0**30 - 0.5
    assert quantize_multiplier(largest).real.item() == largest
    with pytest.raises(ValueError, match=r"quantize_multiplier needs M that rounds below 2\*\*30, got"):
        quantize_multiplier(2.0**30 - 0.25)
    with pytest.raises(ValueError, match=r"multiply_float needs 0 <= M, finite as float32, got 1e\+39"):
        multiply_float(1, 1e39)


@pytest.mark.parametrize("M", ["0.5", True, 1j, None])
def test_a_multiplier_that_is_no_number_is_refused(M):
    for refuse in (quantize_multiplier, lambda M: multiply_float(1, M)):
        with pytest.raises(TypeError, match="needs real numbers"):
            refuse(M)


@pytest.mark.parametrize(
    ("mantissa", "shift", "error", "message"),
    [
        (1, 0, ValueError, r"mantissa must be 0 or 2\*\*30..2\*\*31 - 1, got 1"),
        (2**30 - 1, 0, ValueError, "mantissa must be 0 or"),
        (-(2**30), 0, ValueError, r"mantissa needs integers in 0\.\.2147483647, got -1073741824"),
        (2**31, 0, ValueError, r"mantissa needs integers in 0\.\.2147483647, got 2147483648"),
        (2**30, -31, ValueError, r"shift needs integers in -30\.\.31, got -31"),
        (2**30, 32, ValueError, r"shift needs integers in -30\.\.31, got 32"),
        (2**30, 62, ValueError, r"shift needs integers in -30\.\.31, got 62"),
        (2**30, 2**40, ValueError, r"shift needs integers in -30\.\.31, got 1099511627776"),
        (float(2**30), 0, TypeError, "mantissa needs integers, got dtype float64"),
        (2**30, 0.0, TypeError, "shift needs integers, got dtype float64"),
        (2**30, True, TypeError, "shift needs integers, got dtype bool"),
        ([2**30], 0, ValueError, r"must both have shape \(\) or \(channels,\), got \(1,\) and \(\)"),
        ([[2**30]], [[0]], ValueError, r"must both have shape \(\) or \(channels,\), got \(1, 1\)"),
        (np.zeros(0, int), np.zeros(0, int), ValueError, r"must both have shape"),
    ],
)
def test_a_multiplier_cannot_lie(mantissa, shift, error, message):
    with pytest.raises(error, match=message):
        FixedPointMultiplier(mantissa, shift)


def test_a_multiplier_keeps_its_own_numbers():
    mantissa, shift = np.array([2**30, 2**31 - 1]), np.array([3, -2])
    multiplier = FixedPointMultiplier(mantissa, shift)
    mantissa[0], shift[0] = 0, 9
    assert multiplier.mantissa.tolist() == [2**30, 2**31 - 1] and multiplier.shift.tolist() == [3, -2]
    assert multiplier.real.tolist() == [0.0625, 4 - 2**-29]
    for part in (multiplier.mantissa, multiplier.shift):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        multiplier.shift = 0


# --- the variants


@pytest.mark.parametrize("multiply", INTEGER_VARIANTS)
@pytest.mark.parametrize("mantissa", MANTISSAS)
def test_every_edge_is_exact_and_nothing_wraps(multiply, mantissa):
    oracle, accs = ORACLES[multiply], np.array(ACCS, np.int32)
    for shift in SHIFTS:
        y = multiply(accs, FixedPointMultiplier(mantissa, shift))
        assert y.dtype == np.int32
        assert y.tolist() == [oracle(acc, mantissa, shift) for acc in ACCS], shift


@pytest.mark.parametrize("multiply", INTEGER_VARIANTS)
@given(acc=int32s, mantissa=mantissas, shift=shifts)
def test_any_product_is_exact(multiply, acc, mantissa, shift):
    y = multiply(acc, FixedPointMultiplier(mantissa, shift)).item()
    assert y == ORACLES[multiply](acc, mantissa, shift)


@pytest.mark.parametrize("multiply", INTEGER_VARIANTS)
@given(acc=int32s, mantissa=mantissas, shift=shifts)
def test_two_roundings_are_off_by_at_most_one_and_one_rounding_by_half(multiply, acc, mantissa, shift):
    exact = acc * Fraction(mantissa, 2**31) / Fraction(2) ** shift
    if abs(exact) < 2**31 - 1 and acc * 2 ** max(-shift, 0) == into_int32(acc * 2 ** max(-shift, 0)):
        error = abs(multiply(acc, FixedPointMultiplier(mantissa, shift)).item() - exact)
        assert error <= (Fraction(1, 2) if multiply is multiply_single_rounding else 1)


@pytest.mark.parametrize("multiply", INTEGER_VARIANTS)
def test_multipliers_above_1_saturate_where_a_left_shift_would_wrap(multiply):
    accs = np.int32([2**30, 2**29, -(2**30), INT32_MIN, INT32_MAX, 1])
    wrapped = (accs.astype(np.int64) * 8).astype(np.int32)
    assert wrapped.tolist() == [0, 0, 0, 0, -8, 8]
    y = multiply(accs, quantize_multiplier(8.0))  # mantissa 2**30, shift -4
    halved = multiply is not multiply_single_rounding  # saturated by the shift, then times 1/2
    largest, smallest = (2**30, -(2**30)) if halved else (INT32_MAX, INT32_MIN)
    assert y.tolist() == [largest, largest, smallest, smallest, largest, 8]


@pytest.mark.parametrize("M", [0.0, 2.0**-149, 2.0**-32, 0.0072, 0.25, 0.5, 1 / 3, 1.0, 1.5, 8.0, 1e6, 3e38])
def test_the_float_variant_rounds_three_times_to_even(M):
    M = np.float32(M)
    y = multiply_float(np.array(ACCS), M)
    assert y.dtype == np.int32
    assert y.tolist() == [exact_float(acc, Fraction(float(M))) for acc in ACCS]


@given(int32s, st.floats(2.0**-40, 2.0**10, width=32))
def test_any_float_product_is_that_of_float32(acc, M):
    assert multiply_float(acc, M).item() == exact_float(acc, Fraction(M))
    assert multiply_float(acc, np.float64(M)).item() == multiply_float(acc, np.float32(M)).item()


def test_float32_has_no_room_for_every_accumulator():
    # 2**24 + 1 becomes 2**24 before it is multiplied; fixed point keeps all 31 bits
    assert multiply_float(2**24 + 1, 1.0).item() == 2**24
    assert multiply_single_rounding(2**24 + 1, quantize_multiplier(1.0)).item() == 2**24 + 1


@pytest.mark.parametrize("multiply", [*INTEGER_VARIANTS, multiply_float])
def test_storage_and_layout_of_accumulators_change_nothing(multiply):
    multiplier = 0.3 if multiply is multiply_float else quantize_multiplier(0.3)
    acc = np.array([[100, 7, 0], [55, 90, 127]])
    expected = multiply(acc, multiplier).tolist()
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"):
        assert multiply(acc.astype(dtype), multiplier).tolist() == expected
    assert multiply(acc.tolist(), multiplier).tolist() == expected
    assert multiply(np.asfortranarray(acc), multiplier).tolist() == expected
    assert multiply(np.repeat(acc, 2, axis=1)[:, ::2], multiplier).tolist() == expected
    for shape in [(), (0,), (3, 0)]:
        assert multiply(np.zeros(shape, np.int32), multiplier).shape == shape


@pytest.mark.parametrize("multiply", [*INTEGER_VARIANTS, multiply_float])
def test_each_channel_has_the_product_it_would_have_alone(multiply):
    reals = np.array([0.3, 5e-5, 0.0, 2.7])
    make = np.float32 if multiply is multiply_float else quantize_multiplier
    acc = np.random.default_rng(0).integers(-(10**6), 10**6, (5, 3, 4))
    y = multiply(acc, make(reals))
    for channel, M in enumerate(reals):
        assert np.array_equal(y[..., channel], multiply(acc[..., channel], make(M)))


@pytest.mark.parametrize("multiply", [*INTEGER_VARIANTS, multiply_float])
def test_channels_that_do_not_fit_are_refused(multiply):
    make = np.float32 if multiply is multiply_float else quantize_multiplier
    for shape in [(), (3,), (2, 3), (2, 1)]:  # (2, 1) would broadcast: one accumulator is no channel each
        with pytest.raises(ValueError, match=r"axis -1 of shape \(.*\) does not hold 2 channels"):
            multiply(np.zeros(shape, np.int32), make([0.5, 0.25]))
    if multiply is multiply_float:  # a FixedPointMultiplier has no such shape
        with pytest.raises(ValueError, match=r"axis -1 of shape \(2, 2\) does not hold"):
            multiply(np.zeros((2, 2), np.int32), np.float32([[0.5, 0.25]]))


def test_the_integer_variants_take_no_float_multiplier():
    for multiply in INTEGER_VARIANTS:
        with pytest.raises(TypeError, match=rf"{multiply.__name__} needs a FixedPointMultiplier .*, got 0.5"):
            multiply(np.int32([1]), 0.5)
    with pytest.raises(TypeError, match="multiply_float needs real numbers"):
        multiply_float(np.int32([1]), quantize_multiplier(0.5))


@pytest.mark.parametrize("multiply", [*INTEGER_VARIANTS, multiply_float])
def test_accumulators_that_are_not_int32_are_refused(multiply):
    multiplier = 0.5 if multiply is multiply_float else quantize_multiplier(0.5)
    for acc in (np.float32([1.0]), np.array([True]), np.array([1j]), np.array(["1"]), np.array([None])):
        with pytest.raises(TypeError, match=f"acc of {multiply.__name__} needs integers, got dtype"):
            multiply(acc, multiplier)
    for acc in (2**31, -(2**31) - 1, 2**62, np.uint64(2**64 - 1), np.array([0, 2**31])):
        with pytest.raises(
            ValueError, match=rf"acc of {multiply.__name__} needs integers in -{2**31}\.\.{2**31 - 1}, got"
        ):
            multiply(acc, multiplier)
    assert multiply(np.array([INT32_MIN, INT32_MAX]), multiplier).size == 2


def test_a_refusal_names_the_argument():
    for name, call in {
        "a of rounding_doubling_high_multiply": lambda x: rounding_doubling_high_multiply(x, 1),
        "b of rounding_doubling_high_multiply": lambda x: rounding_doubling_high_multiply(1, x),
        "x of rounding_right_shift": lambda x: rounding_right_shift(x, 1),
        "shift of rounding_right_shift": lambda x: rounding_right_shift(1, x),
    }.items():
        with pytest.raises(TypeError, match=rf"^{name} needs integers, got dtype float64$"):
            call(0.5)
        with pytest.raises(ValueError, match=rf"^{name} needs integers in .*, got {2**31}$"):
            call(2**31)
    with pytest.raises(TypeError, match=r"^quantize_multiplier needs real numbers"):
        quantize_multiplier("0.5")


def test_the_callers_floating_point_settings_change_no_code():
    with np.errstate(all="raise"):
        assert multiply_float(np.int32([1, 2**31 - 1]), 1e-60).tolist() == [0, 0]
        assert multiply_float(np.int32([1, 2**31 - 1]), 3e38).tolist() == [2**31 - 1] * 2


# --- requantize


def test_a_requantization_by_hand():
    # 0.05 * 0.02 / 0.1 = 0.01: 1234 becomes 12.34, so 12 above the zero-point
    M, to = quantize_multiplier(0.05 * 0.02 / 0.1), QParams(0.1, -3)
    acc = np.int32([1234, -1234, 0, 99_999, -99_999])
    assert requantize(acc, M, to, multiply=multiply_single_rounding).tolist() == [9, -15, -3, 127, -128]


@pytest.mark.parametrize("multiply", INTEGER_VARIANTS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_narrow_accumulators_do_not_wrap(multiply, dtype):
    acc = np.array([100, 104, 124, 120], dtype)  # NumPy before 2.0 would multiply by one M in acc's own dtype
    for M, exact in {0.25: [25, 26, 31, 30], 4.0: [400, 416, 496, 480]}.items():
        for multiplier in (quantize_multiplier(M), quantize_multiplier(np.full(4, M))):
            assert multiply(acc, multiplier).tolist() == exact
    assert acc.tolist() == [100, 104, 124, 120]


@pytest.mark.parametrize("multiply", [*INTEGER_VARIANTS, multiply_float])
def test_one_number_gives_an_array_too(multiply):
    M = 0.25 if multiply is multiply_float else quantize_multiplier(0.25)
    y = multiply(6, M)
    assert isinstance(y, np.ndarray) and y.shape == () and y.dtype == np.int32


def test_your_own_multiply_cannot_change_your_accumulators():
    def in_place(acc, multiplier):
        acc >>= 1
        return acc

    for dtype in (np.int32, np.int64):
        acc = np.array([10, 20], dtype)
        acc.setflags(write=False)
        assert requantize(acc, None, QParams(1.0, 0), multiply=in_place).tolist() == [5, 10]
        assert acc.tolist() == [10, 20]


def test_codes_of_your_own_multiply_do_not_wrap_when_the_zero_point_is_added():
    to = QParams(1.0, 100, IntRange(100, 200))
    q = requantize(np.int16([0, 127]), 1, to, multiply=lambda acc, M: acc.astype(np.int8))
    assert q.tolist() == [100, 200]


def test_a_channel_saturates_where_another_needs_not():
    acc = np.int32([[2**30, 2**30], [-(2**30), -(2**30)]])
    result = multiply_single_rounding(acc, quantize_multiplier(np.array([4.0, 0.5])))
    assert result.tolist() == [[2**31 - 1, 2**29], [-(2**31), -(2**29)]]


@pytest.mark.parametrize("to", [INT8, UINT8, INT4, int_range(16), int_range(8, narrow=True), IntRange(3, 5)])
@given(data=st.data())
def test_codes_are_the_exact_product_moved_by_the_zero_point_and_saturated(to, data):
    zero_point = data.draw(st.integers(to.qmin, to.qmax))
    mantissa, shift = data.draw(mantissas), data.draw(shifts)
    accs = data.draw(hnp.arrays(np.int32, (3, 2), elements=int32s))
    for multiply, oracle in ORACLES.items():
        q = requantize(
            accs, FixedPointMultiplier(mantissa, shift), QParams(1.0, zero_point, to), multiply=multiply
        )
        assert (q.shape, q.dtype) == (accs.shape, to.dtype)
        products = [oracle(acc, mantissa, shift) for acc in accs.ravel().tolist()]
        assert q.ravel().tolist() == [min(max(y + zero_point, to.qmin), to.qmax) for y in products]


def test_the_zero_point_is_added_to_int32_ends_without_wrapping():
    for multiply in INTEGER_VARIANTS:
        for to in (INT8, UINT8, int_range(16), int_range(16, signed=False)):
            for zero_point in (to.qmin, to.qmax):
                q = requantize(
                    np.int32([INT32_MIN, INT32_MAX]),
                    quantize_multiplier(2.0**29),
                    QParams(1.0, zero_point, to),
                    multiply=multiply,
                )
                assert q.tolist() == [to.qmin, to.qmax]
    floats = requantize(np.int32([INT32_MIN, INT32_MAX]), 3e38, QParams(1.0, 127), multiply=multiply_float)
    assert floats.tolist() == [-128, 127]


def test_the_tie_falls_before_the_zero_point_is_added():
    # 0.5 rounds to 0 and 0 + 1 is 1; rounding 0.5 + 1 to even would give 2
    assert requantize(np.int32([1]), 0.5, QParams(1.0, 1), multiply=multiply_float).tolist() == [1]
    M = quantize_multiplier(0.5)
    assert requantize(np.int32([1]), M, QParams(1.0, 1), multiply=multiply_double_rounding).tolist() == [2]


@example(np.int32([-(10**6), -1, 0, 1, 10**6]), -128)  # a clamp may begin at the lowest code
@given(hnp.arrays(np.int32, 9, elements=int32s), st.integers(-128, 126))
def test_a_fused_relu_is_the_clamp_at_the_zero_point(acc, zero_point):
    M, to = quantize_multiplier(0.003), QParams(0.1, zero_point)
    plain = requantize(acc, M, to, multiply=multiply_single_rounding)
    relu = requantize(acc, M, to, multiply=multiply_single_rounding, clamp=IntRange(zero_point, to.qmax))
    assert relu.dtype == np.int8  # also where zero_point..127 would fit uint8
    assert np.array_equal(relu, np.maximum(plain, np.int8(zero_point)))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_each_channel_along_any_axis_is_requantized_as_it_would_be_alone(axis):
    acc = np.random.default_rng(1).integers(-(10**4), 10**4, (3, 3, 3))  # a wrong axis would fit too
    reals, to = np.array([0.01, 0.002, 0.3]), QParams(0.1, 5)
    for multiply in [*INTEGER_VARIANTS, multiply_float]:
        make = np.float32 if multiply is multiply_float else quantize_multiplier
        q = requantize(acc, make(reals), to, multiply=multiply, axis=axis)
        for channel, M in enumerate(reals):
            alone = requantize(np.take(acc, channel, axis), make(M), to, multiply=multiply)
            assert np.array_equal(np.take(q, channel, axis), alone)


def test_what_requantize_refuses():
    M, to = quantize_multiplier(0.5), QParams(1.0, 0)
    acc = np.int32([[1, 2]])
    with pytest.raises(TypeError, match="acc of requantize needs integers, got dtype float64"):
        requantize(acc * 1.0, M, to, multiply=multiply_single_rounding)
    with pytest.raises(
        ValueError, match=r"acc of requantize needs integers in .*, got 1099511627776..2199023255552"
    ):
        requantize(acc.astype(np.int64) << 40, M, to, multiply=multiply_single_rounding)
    with pytest.raises(ValueError, match="requantize needs a per-tensor map, got one with axis=1"):
        requantize(acc, M, QParams([1.0, 2.0], [0, 0], axis=1), multiply=multiply_single_rounding)
    with pytest.raises(
        ValueError, match=r"clamp IntRange\(qmin=0, qmax=255\) is outside qmin..qmax = -128..127"
    ):
        requantize(acc, M, to, multiply=multiply_single_rounding, clamp=UINT8)
    for axis in (True, 1.0, None, "0"):
        with pytest.raises(TypeError, match="axis of requantize must be an integer, got"):
            requantize(acc, M, to, multiply=multiply_single_rounding, axis=axis)
    with pytest.raises(ValueError, match="axis 2 is out of bounds"):
        requantize(acc, M, to, multiply=multiply_single_rounding, axis=2)
    with pytest.raises(ValueError, match=r"axis -1 of shape \(2, 1\) does not hold 2 channels"):
        requantize(acc, quantize_multiplier([0.5, 0.5]), to, multiply=multiply_single_rounding, axis=0)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'multiply'"):
        requantize(acc, M, to)


def test_a_multiply_of_ones_own_must_return_int32():
    to = QParams(1.0, 0)
    truncated = requantize(np.int32([7, -7]), 4, to, multiply=lambda acc, M: acc // M)
    assert truncated.tolist() == [1, -2]
    with pytest.raises(TypeError, match="the result of multiply needs integers, got dtype float64"):
        requantize(np.int32([7]), 4, to, multiply=lambda acc, M: acc / M)
    with pytest.raises(ValueError, match=r"the result of multiply needs integers in .*, got 7516192768"):
        requantize(np.int32([7]), 2**30, to, multiply=lambda acc, M: acc * M)

"""qtutor/error.py: SQNR, the share that is clipped, and the error budget."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtutor import (
    INT4,
    INT8,
    UINT8,
    QParams,
    choose_qparams,
    clipped_fraction,
    error_budget,
    fake_quantize,
    int_range,
    sqnr_db,
)

REALS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=2), elements=st.floats(-1e6, 1e6, width=32))
MAPS = st.builds(
    QParams, st.floats(2.0**-20, 2.0**20, width=32), st.integers(-8, 7), st.sampled_from([INT8, INT4])
)


# --- hand-checkable cases


def test_sqnr_is_ten_times_the_logarithm_of_the_ratio_of_powers():
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 3.5])) == pytest.approx(20.0)  # 25 to 0.25
    assert sqnr_db(np.array([1.0, -1.0]), np.array([0.0, 0.0])) == 0.0  # the noise is the signal
    assert sqnr_db(np.array([1.0]), np.array([3.0])) == pytest.approx(-20 * math.log10(2))
    assert sqnr_db([10], [9]) == pytest.approx(20.0)  # integers


def test_perfect_copies_are_infinitely_good_and_noise_alone_infinitely_bad():
    assert sqnr_db(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == math.inf
    assert sqnr_db(np.zeros(3), np.zeros(3)) == math.inf
    assert sqnr_db(np.zeros(3), np.ones(3)) == -math.inf


def test_sqnr_of_tiny_and_of_huge_numbers_is_that_of_ordinary_ones():
    x, x_hat = np.array([1.0, -2.0, 3.0]), np.array([1.1, -2.0, 2.7])
    for unit in (1e-300, 1e-200, 1e-40, 1e40, 1e149):  # the squares of most of these leave float64
        assert sqnr_db(x * unit, x_hat * unit) == pytest.approx(sqnr_db(x, x_hat))
    assert sqnr_db(np.array([1e-200]), np.array([0.0])) == 0.0  # and not inf


def test_beyond_3000_decibels_the_ratio_is_infinite():
    assert sqnr_db(np.array([1.0, 1e-200]), np.array([1.0, 0.0])) == math.inf
    assert sqnr_db(np.array([1e-200]), np.array([1.0])) == -math.inf


def test_a_value_is_clipped_from_half_a_step_beyond_the_limits():
    qparams = QParams(0.5, 10)  # limits -69.0 .. 58.5
    x = np.array([-69.3, -69.2, -69.0, 0.0, 58.5, 58.7, 58.8, 1e30])
    assert clipped_fraction(x, qparams) == 3 / 8
    assert clipped_fraction(np.array([58.7]), qparams) == 0.0
    assert clipped_fraction(np.array([[-1e9], [1e9]]), qparams) == 1.0


@pytest.mark.parametrize("to", [INT8, UINT8, INT4, int_range(8, narrow=True), int_range(16)])
@pytest.mark.parametrize("scale", [1.0, 0.1, 2.0**-149, 1e-3])
def test_exactly_half_a_step_outside_is_not_clipped_whatever_the_parity(to, scale):
    for zero_point in {to.qmin, to.qmin + 1, 3, to.qmax - 1, to.qmax}:
        qparams = QParams(scale, zero_point, to)
        S = float(qparams.scale)  # 24 bits: the products below are exact in float64
        ends = np.array([(to.qmin - 0.5 - zero_point) * S, (to.qmax + 0.5 - zero_point) * S])
        outside = np.nextafter(ends, [-np.inf, np.inf])
        assert clipped_fraction(ends, qparams) == 0
        assert clipped_fraction(outside, qparams) == 1
        assert error_budget(ends, qparams).clipping == 0
        assert error_budget(outside, qparams).rounding == 0


def test_the_budget_puts_each_error_where_it_belongs():
    qparams = QParams(1.0, 0)  # limits -128 .. 127
    budget = error_budget(np.array([0.25, 130.0, -130.0, 5.0]), qparams)
    assert budget == (0.25**2 / 4, (3**2 + 2**2) / 4, (0.25**2 + 3**2 + 2**2) / 4)
    assert budget == (budget.rounding, budget.clipping, budget.total)


def test_each_channel_is_measured_with_its_own_map():
    qparams = QParams([1.0, 100.0], [0, 0], axis=1)
    x = np.array([[200.0, 200.0], [0.5, 150.0]])
    assert clipped_fraction(x, qparams) == 0.25
    assert error_budget(x, qparams) == ((0.5**2 + 50**2) / 4, 73**2 / 4, (0.5**2 + 50**2 + 73**2) / 4)


# --- laws


@pytest.mark.parametrize("to", [INT8, UINT8, int_range(10)])
def test_rounding_noise_of_uniform_data_is_a_twelfth_of_the_squared_step(to):
    # Bennett 1948: an error uniform in -scale/2 .. scale/2 has the mean square scale**2 / 12
    x = np.random.default_rng(0).uniform(-1, 1, 200_000)
    qparams = choose_qparams(-1.0, 1.0, to)
    budget = error_budget(x, qparams)
    assert budget.rounding == pytest.approx(float(qparams.scale) ** 2 / 12, rel=0.02)
    assert budget.clipping < budget.rounding / 1000


def test_each_bit_is_worth_six_decibels():
    x = np.random.default_rng(1).uniform(-1, 1, 200_000)
    for bits in range(4, 13):
        scale = 2 / 2**bits
        cells = x - scale / 2  # the codes -2**(bits - 1) .. 2**(bits - 1) - 1 own exactly this interval
        sqnr = sqnr_db(cells, fake_quantize(cells, QParams(scale, 0, int_range(bits))))
        # power 1/3 to scale**2 / 12 = 4**-bits / 3
        assert sqnr == pytest.approx(20 * math.log10(2) * bits, abs=0.07)


def test_a_range_that_covers_the_data_clips_nothing():
    x = np.random.default_rng(2).normal(size=10_000)
    assert clipped_fraction(x, choose_qparams(x.min(), x.max())) == 0
    assert error_budget(x, choose_qparams(x.min(), x.max())).clipping == 0


# --- properties and oracles


@given(REALS, MAPS)
def test_rounding_and_clipping_sum_to_the_error_of_the_round_trip(x, qparams):
    budget = error_budget(x, qparams)
    assert budget.total == budget.rounding + budget.clipping
    squares = [
        (Fraction(a) - Fraction(b)) ** 2
        for a, b in zip(x.ravel().tolist(), fake_quantize(x, qparams).ravel().tolist(), strict=True)
    ]
    assert budget.total == pytest.approx(float(sum(squares) / len(squares)), rel=1e-12)


@given(REALS, MAPS)
def test_what_is_not_clipped_errs_by_at_most_half_a_step(x, qparams):
    budget, clipped = error_budget(x, qparams), clipped_fraction(x, qparams)
    slack = 1 + 2**-12  # float32: at most 255 half steps, each to 2**-23
    assert budget.rounding <= (float(qparams.scale) / 2 * slack) ** 2 * (1 - clipped)
    assert (budget.clipping > 0) <= (clipped > 0)
    assert 0 <= clipped <= 1


@given(REALS, MAPS)
def test_sqnr_equals_exact_fractions(x, qparams):
    x_hat = fake_quantize(x, qparams)
    pairs = [(Fraction(float(a)), Fraction(float(b))) for a, b in zip(x.flat, x_hat.flat, strict=True)]
    signal, noise = sum(a**2 for a, _ in pairs), sum((a - b) ** 2 for a, b in pairs)
    assume(signal and noise)
    assert sqnr_db(x, x_hat) == pytest.approx(10 * (math.log10(signal) - math.log10(noise)), abs=1e-6)


@given(REALS, st.floats(2.0**-100, 2.0**100))
def test_sqnr_does_not_depend_on_the_unit(x, unit):
    x = x.astype(np.float64)
    x_hat = x + np.cos(np.arange(x.size)).reshape(x.shape)
    assume(np.any(x))
    assert sqnr_db(x * unit, x_hat * unit) == pytest.approx(sqnr_db(x, x_hat), abs=1e-4)


def test_the_callers_settings_change_no_measure():
    x, x_hat = (
        np.array([1e150, 1e-300, 5e-324, 0.0, -1e-200]),
        np.array([1e150, -1e-300, 0.0, 5e-324, 1e-200]),
    )
    maps = [QParams(1.0, 0), QParams(1e33, 3), QParams(2.0**-149, -3)]
    expected = [sqnr_db(x, x_hat), *(f(x, q) for q in maps for f in (clipped_fraction, error_budget))]
    with np.errstate(all="raise"):
        measured = [sqnr_db(x, x_hat), *(f(x, q) for q in maps for f in (clipped_fraction, error_budget))]
        assert set(np.geterr().values()) == {"raise"}
    assert measured == expected


def test_big_endian_data_have_the_same_budget():
    x = (np.arange(-127, 127, dtype=np.float32) + np.float32(0.5)) * np.float32(0.1)
    assert error_budget(x.astype(">f4"), QParams(0.1, 0)) == error_budget(x, QParams(0.1, 0))


# --- what is refused


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200, -1e151])
def test_what_cannot_be_squared_is_refused(value):
    x, qparams = np.array([1e150, value]), QParams(1.0, 0)  # 1e150 is not the one to blame
    for measure in (clipped_fraction, error_budget):
        with pytest.raises(ValueError, match=f"{measure.__name__} needs finite numbers, at most"):
            measure(x, qparams)
    for pair in [(x, np.ones(2)), (np.ones(2), x)]:
        with pytest.raises(ValueError, match="sqnr_db needs finite numbers, at most"):
            sqnr_db(*pair)
    with pytest.raises(ValueError) as error:
        sqnr_db(x, x)
    assert str(error.value) == f"sqnr_db needs finite numbers, at most 1e+150 in size, got {value}"


def test_the_largest_number_that_can_be_squared_is_taken():
    assert sqnr_db(np.array([1e150, -1e150]), np.array([0.9e150, -0.9e150])) == pytest.approx(20.0)
    assert error_budget(np.array([1e150]), QParams(1.0, 0)).clipping == pytest.approx(1e300)


def test_empty_data_have_no_error():
    empty = np.zeros((0, 3))
    for measure in (clipped_fraction, error_budget):
        with pytest.raises(ValueError, match=f"{measure.__name__} needs finite numbers, .* got none"):
            measure(empty, QParams(1.0, 0))
    with pytest.raises(ValueError, match=r"sqnr_db needs finite numbers, .* got none"):
        sqnr_db(empty, empty)


def test_shapes_that_would_only_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"two arrays of one shape, got \(2,\) and \(2, 1\)"):
        sqnr_db(np.ones(2), np.ones((2, 1)))
    with pytest.raises(ValueError, match="axis 0 of shape"):
        clipped_fraction(np.ones(3), QParams([1.0, 1.0], [0, 0], axis=0))
    with pytest.raises(TypeError, match="sqnr_db needs real numbers"):
        sqnr_db(np.array([True]), np.array([True]))

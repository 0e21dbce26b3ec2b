"""qtutor/tutorial/brute_force: the yardstick of chapter 03 measures what it says."""

import numpy as np
import pytest

import qtutor as qt
from qtutor.tutorial.brute_force import brute_force, noise_of

X = np.random.default_rng(5).laplace(0.3, 1.0, (40, 50))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("rmax", [0.5, 3.0, 20.0])
def test_the_noise_from_running_sums_is_that_of_the_round_trip(bits, rmax):
    p = qt.choose_qparams(-2.0, rmax, qt.int_range(bits))
    slowly = np.mean((X - qt.fake_quantize(X, p)) ** 2)
    assert noise_of(X)(float(p.scale), int(p.zero_point), p.codes) == pytest.approx(slowly, rel=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_no_map_that_an_observer_proposes_has_less_noise(bits):
    to, noise = qt.int_range(bits), noise_of(X)
    least, scale, zero_point = brute_force(noise, X, to)
    assert least == noise(scale, zero_point, to)
    for observer in (qt.MinMaxObserver(), qt.PercentileObserver(), qt.MSEObserver(), qt.EntropyObserver()):
        p = observer.observe(X).qparams(to)
        assert noise(float(p.scale), int(p.zero_point), to) > 0.999 * least

r"""Which name stands for which symbol, and the numbers on which each equation meets its line of code.

A symbol of the formulas has a name here, in SYMBOLS, or is a function, in FUNCTIONS. A name in a line of code
is one of the same names, or one of ALSO_CALLED, or the equation says in `also` what it is.

The numbers obey what the notebook says of them: where it defines M as S1 S2 / S3, so does its row here. A
bound is drawn so that it is reached; where two sides are equal for good ranges alone, or about equal for much
data, the data is such that they are equal.
"""

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import qtutor as qt

SYMBOLS = {
    "x": "x",
    r"\hat x": "x_hat",
    "q": "q",
    "S": "S",
    "Z": "Z",
    r"q_{\min}": "qmin",
    r"q_{\max}": "qmax",
    r"r_{\min}": "rmin",
    r"r_{\max}": "rmax",
    "e": "e",
    "f": "f",
    r"\mathrm{gain}": "gain",
    r"\mathrm{SQNR}": "sqnr",
    # 03
    "c": "c",
    "N": "N",
    "a": "a",
    "b": "b",
    "P": "P",
    "Q": "Q",
    "w": "w",
    # 04
    "n": "n",
    "e_y": "e_y",
    r"\mathrm{inside}": "inside",
    r"\mathrm{outside}": "outside",
    # 05, 06 and 07: inputs, weights, outputs, biases
    "W": "W",
    "K": "K",
    "B": "B",
    "S_1": "S1",
    "S_2": "S2",
    "S_3": "S3",
    "S_b": "S_b",
    "Z_1": "Z1",
    "Z_2": "Z2",
    "Z_3": "Z3",
    "Z_b": "Z_b",
    "q_1": "q1",
    "q_2": "q2",
    "q_3": "q3",
    "q_b": "q_b",
    r"\mathrm{offset}": "offset",
    r"\mathrm{acc}": "acc",
    "M": "M",
    r"M_{\mathrm{acc} \ge 0}": "M_positive",
    r"M_{\mathrm{acc} < 0}": "M_negative",
    "m": "m",
    "s": "s",
    r"\mathrm{high}": "high",
    r"\delta": "delta",
    r"\mathrm{share\ of\ changed\ codes}": "share",
    "p": "p",
    r"\sigma_p": "sigma_p",
    "W'": "W_folded",
    "b'": "b_folded",
    "g": "g",
    r"\beta": "beta",
    r"\gamma": "gamma",
    r"\mu": "mu",
    r"\sigma": "sigma",
    r"\epsilon": "epsilon",
}

FUNCTIONS = {
    r"\mathrm{round}": "rint",
    r"\mathrm{saturate}": "saturate",
    r"\mathrm{sign}": "sign",
    r"\mathrm{E}": "mean",
    r"\mathrm{mean}": "mean",
    r"\mathrm{quantize}": "quantize",
    r"\mathrm{dequantize}": "dequantize",
    r"\mathrm{ReLU}": "ReLU",
    r"D_{\mathrm{round}}": "D_round",
    r"D_{\mathrm{clip}}": "D_clip",
    "D": "D",
}

# What a line of code calls them, where the equation has no symbol of that name.
ALSO_CALLED = {
    "scale": "S",
    "w": "x",
    "five": "x",
    "clip": "c",
    "clips": "c",
    "wide1": "q1",
    "wide2": "q2",
    "EPSILON": "epsilon",
}


class Over(NamedTuple):
    """An array and its indices; ? is an axis of which every use computes the index."""

    indices: str
    values: Any


class Equation(NamedTuple):
    numbers: Callable  # a generator of random numbers -> {name: number, or array Over its indices}
    gives: str = ""  # what the line of code computes: "q", or "W_folded b_folded", or a function "D(P, Q)"
    over: str = "i"  # the indices of what it computes, if it is an array
    also: Mapping[str, str] = MappingProxyType({})  # name in the line of code -> name of the symbol
    value: str = "_"  # what the formula says of the line's value


def sign(rng):
    return int(rng.choice([-1, 1]))


def zero_point(rng):
    return sign(rng) * int(rng.integers(3, 60))


def scale(rng):
    return float(np.float32(rng.uniform(0.01, 0.1)))


def codes(rng, reach=126):
    """Reals that come up to so many steps from 0, and any codes."""
    S, q = scale(rng), rng.integers(-128, 128, 60)
    x = S * rng.uniform(-reach, reach, 60)
    x_hat = S * np.rint(x / S)
    return dict(S=S, Z=zero_point(rng), x=Over("i", x), q=Over("i", q), x_hat=Over("i", x_hat))


def ties(rng):
    """Reals of which one lies halfway between two steps, where the error is largest."""
    S = 2.0 ** -int(rng.integers(2, 8))
    x = S * np.append(rng.uniform(-126, 126, 60), 2.5)
    return dict(S=S, x=Over("i", x), x_hat=Over("i", S * np.rint(x / S)))


def saturated(rng):
    return codes(rng, reach=300) | dict(qmin=-127, qmax=127)


def a_map(rng):
    """Codes, and the map that the package would use."""
    S, Z, q = scale(rng), zero_point(rng), rng.integers(-128, 128, 60).astype(np.int8)

    def quantize(x):
        return np.clip(np.rint(x / S) + Z, -128, 127)

    def dequantize(q):
        return S * (q - Z)

    return dict(q=Over("i", q), qparams=qt.QParams(S, Z), quantize=quantize, dequantize=dequantize)


def a_range(rng):
    """The ends of a range and of the codes, and data from one end to the other."""
    rmin, rmax = -rng.uniform(0.1, 3), rng.uniform(0.1, 3)
    qmin, qmax = -int(rng.integers(60, 129)), int(rng.integers(60, 129))
    x = np.append(rng.uniform(rmin, rmax, 20), [rmin, rmax])
    return dict(rmin=rmin, rmax=rmax, qmin=qmin, qmax=qmax, S=scale(rng), x=Over("i", x))


def a_range_for_int8(rng):
    """Of one sign or of two, so that the zero-point of some saturates."""
    return a_range(rng) | dict(qmin=-128, qmax=127, rmin=rng.uniform(-3, 1))


def a_clip(rng):
    c, qmax = 4.0, int(rng.integers(5, 128))
    return dict(c=c, qmax=qmax, S=c / qmax, x=Over("i", rng.normal(scale=4, size=60)))


def a_good_clip(rng):
    """Data of which one value lies so far beyond c that (3.3) holds."""
    c, N = rng.uniform(2, 5), int(rng.integers(4, 30))
    inside, excess = rng.uniform(-c, c, 19), c / (3 * N**2)
    return dict(c=c, N=N, x=Over("i", np.append(inside, -(c + 20 * excess))))


def a_good_range(rng):
    """Data of which one value lies so far below a, and one so far above b, that (3.4) holds."""
    a, b, N = -rng.uniform(1, 3), rng.uniform(1, 3), 15
    excess = (b - a) / (12 * N**2)
    x = np.append(rng.uniform(a, b, 18), [a - 20 * excess, b + 20 * excess])
    return dict(a=a, b=b, N=N, x=Over("i", x))


def distributions(rng):
    return dict(P=Over("i", rng.dirichlet(np.ones(9))), Q=Over("i", rng.dirichlet(np.ones(9))))


def bins(rng):
    return dict(w=2.0**-8, x=Over("i", rng.uniform(-1, 1, 60)))


def errors(rng):
    """Errors, of which some come from clipping."""
    e, outside = rng.normal(size=40), rng.random(40) < 0.3
    masks = dict(outside=Over("i", outside), inside=Over("i", ~outside))
    return masks | dict(e=Over("i", e), e2=e**2, x=e, n=e.size)


def noise_of_a_product(rng):
    """Errors of S / sqrt(12) with every pattern of signs, so that they are uncorrelated, times weights."""
    S, W = scale(rng), rng.normal(size=(4, 3))
    signs = np.array(list(itertools.product([-1, 1], repeat=4)))
    return dict(S=S, W=Over("kn", W), e_y=Over("in", signs * S / np.sqrt(12) @ W))


def matrices(rng):
    """Codes of an input and of weights, K to a sum, and the reals that they stand for."""
    q1, q2 = rng.integers(0, 256, (2, 4)), rng.integers(-128, 128, (4, 3))
    Z1, Z2, S1, S2 = int(rng.integers(3, 90)), zero_point(rng), scale(rng), scale(rng)
    reals = dict(x=Over("mk", S1 * (q1 - Z1)), W=Over("kn", S2 * (q2 - Z2)))
    numbers = dict(q1=Over("mk", q1), q2=Over("kn", q2), Z1=Z1, Z2=Z2, S1=S1, S2=S2, K=4)
    return numbers | reals


def a_bias(rng):
    S1, S2 = scale(rng), scale(rng)
    return dict(S1=S1, S2=S2, S_b=S1 * S2, Z_b=0, b=Over("n", rng.normal(size=7)))


def all_codes(rng):
    """Every code, and a bias that fills what is left of B bits, or half of it."""
    Z1, Z2, B, K = int(rng.integers(100)), zero_point(rng), int(rng.integers(24, 30)), 48
    q1, q2 = np.arange(256), Z2 + np.arange(-127, 128)
    left = 2 ** (B - 1) - 1 - K * (255 - Z1) * 127
    q_b = np.array([0, 5, -left // int(rng.integers(1, 3))])
    return dict(q1=Over("i", q1), q2=Over("j", q2), Z1=Z1, Z2=Z2, q_b=Over("n", q_b), K=K, B=B)


def longest_sums(rng):
    """As many products of the largest codes as float32 holds exactly."""
    Z1, Z2, K = int(rng.integers(100)), zero_point(rng), 2**24 // (255 * 127)
    q1, q2 = Z1 + np.arange(256), Z2 + np.arange(-127, 128)
    return dict(q1=Over("i", q1), q2=Over("j", q2), Z1=Z1, Z2=Z2, K=K)


def requantization(rng):
    """Accumulators, a multiplier of 31 bits and a shift; of both also the least and the largest."""
    m = int(rng.choice([2**30, 2**31 - 1, rng.integers(2**30, 2**31)]))
    s = int(rng.integers(1, 5))
    M, S1, S2 = m * 2.0**-31 * 2.0**-s, scale(rng), scale(rng)
    acc = rng.integers(-150 / M, 150 / M, 60).astype(np.int32)
    high = (acc.astype(np.int64) * m + 2**30) >> 31
    q3, Z3 = rng.integers(-128, 128, 60).astype(np.int8), zero_point(rng)
    numbers = dict(S1=S1, S2=S2, S3=S1 * S2 / M, Z3=Z3, M=M, m=m, s=s)
    return numbers | dict(acc=Over("i", acc), high=Over("i", high), q3=Over("i", q3))


def a_shorter_multiplier(rng):
    """One that differs from M by a share of delta."""
    delta = rng.uniform(0, 0.1)
    return requantization(rng) | dict(delta=delta, counts={4: 0}, shortened=lambda M, bits: M * (1 + delta))


def a_share(rng):
    return dict(p=rng.uniform(0.1, 0.9), n=int(rng.integers(50, 500)))


def batch_norm(rng):
    beta, gamma, mu, sigma = rng.uniform(0.3, 2, (4, 5))
    epsilon, W = 0.25, rng.normal(size=(5, 2, 3, 4))
    vectors = dict(beta=beta, gamma=gamma, mu=mu, sigma=sigma, g=gamma / np.sqrt(sigma**2 + epsilon))
    return {name: Over("o", v) for name, v in vectors.items()} | dict(epsilon=epsilon, W=Over("ocij", W))


def convolution(rng):
    """A padded image of 2 channels, 4 kernels of 3 x 2, and the code's function that cuts out windows."""
    q, w = rng.integers(-128, 128, (2, 7, 6)), rng.integers(-127, 128, (4, 2, 3, 2))
    q_b, Z1 = rng.integers(-99, 99, 4), zero_point(rng)

    def windows(q, pad_code):
        return np.lib.stride_tricks.sliding_window_view(q, (3, 2), axis=(1, 2))[np.newaxis]

    return dict(q=Over("c??", q), w=Over("ocij", w), q_b=Over("o", q_b), Z1=Z1, windows=windows)


def two_slopes(rng):
    """One multiplier for each sign of the accumulator."""
    S1, S2, S3 = scale(rng), scale(rng), 5 * scale(rng)
    ratio, Z3 = S1 * S2 / S3, zero_point(rng)
    acc = rng.integers(-2000 / ratio, 200 / ratio, 60)
    M = np.where(acc >= 0, 1, 1 / 8) * ratio
    numbers = dict(S1=S1, S2=S2, S3=S3, Z3=Z3, M_positive=ratio, M_negative=ratio / 8)
    return numbers | dict(acc=Over("i", acc), M=Over("i", M))


def a_namespace(S, Z):
    """What stands for the parameters of a map in a line of code."""
    return SimpleNamespace(scale=S, zero_point=Z)


def an_addition(rng):
    S1, S2, S3, Z1, Z2, Z3 = scale(rng), scale(rng), scale(rng), *(zero_point(rng) for _ in range(3))
    q1, q2 = rng.integers(-128, 128, (2, 60))
    maps = dict(a=a_namespace(S1, Z1), b=a_namespace(S2, Z2), c=a_namespace(S3, Z3))
    numbers = dict(S1=S1, S2=S2, S3=S3, Z1=Z1, Z2=Z2, Z3=Z3, q1=Over("i", q1), q2=Over("i", q2))
    return numbers | maps


def a_pool(rng):
    """Sixteen codes of each of nine channels."""
    S1, S2, Z1, Z2 = scale(rng), scale(rng), zero_point(rng), zero_point(rng)
    q1, M = rng.integers(-128, 128, (9, 16)), S1 / 16 / S2
    numbers = dict(S1=S1, S2=S2, Z1=Z1, Z2=Z2, q1=Over("ci", q1), M=M)
    return numbers | dict(acc=(q1 - Z1).sum(axis=1), b=a_namespace(S2, Z2))


EQUATIONS = {
    "0.1": Equation(codes, gives="q"),
    "0.2": Equation(codes, gives="x_hat"),
    "1.1": Equation(codes, gives="q"),
    "1.2": Equation(codes, gives="x_hat"),
    "1.3": Equation(ties),
    "1.4": Equation(saturated, gives="q"),
    "1.5": Equation(saturated, gives="S"),
    "1.6": Equation(codes),
    "1.7": Equation(codes),
    "1.8": Equation(codes),
    "1.9": Equation(codes),
    "2.1": Equation(codes, gives="x"),
    "2.2": Equation(a_range, gives="S"),
    "2.3": Equation(a_range, gives="Z"),
    "2.4": Equation(a_range_for_int8, gives="Z"),
    "2.5": Equation(codes, gives="ReLU(q)"),
    "2.6": Equation(saturated, gives="q"),
    "2.7": Equation(a_range, gives="gain"),
    "3.1": Equation(a_clip, gives="D_round(c)"),
    "3.2": Equation(a_clip, gives="D_clip(c)"),
    "3.3": Equation(a_good_clip),
    "3.4": Equation(a_good_range),
    "3.5": Equation(distributions, gives="D(P, Q)"),
    "3.6": Equation(bins),
    "4.1": Equation(codes, gives="x_hat"),
    "4.2": Equation(a_map),
    "4.3": Equation(errors, value="np.sum(_)"),
    "4.4": Equation(codes, gives="sqnr"),
    "4.5": Equation(codes, gives="sqnr"),
    "4.6": Equation(noise_of_a_product, over="n"),
    "5.1": Equation(matrices, over="mn", value="S1 * S2 * _"),
    "5.2": Equation(matrices, over="mn"),
    "5.3": Equation(matrices, gives="offset", over="n"),
    "5.4": Equation(matrices, over="mn", also={"w": "q2"}),
    "5.5": Equation(a_bias, gives="q_b", over="n", also={"S": "S_b"}),
    "5.6": Equation(all_codes),
    "5.7": Equation(longest_sums),
    "6.1": Equation(requantization, gives="q3"),
    "6.2": Equation(requantization, value="float(_)"),
    "6.3": Equation(requantization),
    "6.4": Equation(requantization, gives="high"),
    "6.5": Equation(requantization),
    "6.6": Equation(requantization, gives="share"),
    "6.7": Equation(a_shorter_multiplier, gives="share", value="_[4]"),
    "6.8": Equation(requantization, gives="q"),
    "7.1": Equation(a_share, gives="sigma_p"),
    "7.2": Equation(batch_norm, gives="W_folded b_folded", over="ocij o", also={"mean": "mu"}),
    "7.3": Equation(convolution, gives="acc", over="oyx", value="_[0]"),
    "7.4": Equation(two_slopes, gives="q3"),
    "7.5": Equation(an_addition, gives="q3"),
    "7.6": Equation(a_pool, gives="q2", over="c"),
}

# Equations that are not bound to their line of code: number -> the reason.
UNBOUND: dict[str, str] = {}

"""qtutor/engines: the arithmetic below the rules, which tests/conformance compares with the engines."""

import itertools
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtutor import INT8
from qtutor.engines import litert, onnx, onnxruntime, processor, torch

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def nearest_float32(exact):
    """The float32 nearest to a Fraction, ties to even, found with integers."""
    if exact == 0:
        return 0.0
    size, exponent = abs(exact), -149  # float32's smallest step is 2**-149
    while size >= Fraction(2) ** (exponent + 24):
        exponent += 1
    steps = size / Fraction(2) ** exponent
    whole, rest = divmod(steps, 1)
    whole += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2)
    size = whole * Fraction(2) ** exponent
    return math.copysign(float(size) if size < 2**128 else math.inf, exact)


@given(FINITE, FINITE, FINITE)
def test_the_fused_step_rounds_the_exact_sum_once(a, b, c):
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert float(processor.fused_multiply_add(a, b, c)) == nearest_float32(exact)


@given(st.integers(2**11, 2**13), st.integers(2**11, 2**13), st.integers(24, 60), st.sampled_from([-1, 1]))
def test_the_fused_step_is_right_where_a_second_rounding_would_make_a_tie(a, b, k, sign):
    # a * b needs up to 26 bits, so it may be a tie of float32; c is too small for float64 beside it
    a, b, c = a * 2.0**-12 + 1, b * 2.0**-12 + 1, sign * 2.0**-k
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert float(processor.fused_multiply_add(a, b, c)) == nearest_float32(exact)


def test_infinity_and_nan_pass_through_the_fused_step():
    y = processor.fused_multiply_add([np.inf, np.inf, 3e38, np.nan], [1, 1, 10, 1], [1, -np.inf, 0, 1])
    assert np.array_equal(y, np.float32([np.inf, np.nan, np.inf, np.nan]), equal_nan=True)


def test_threads_neither_spoil_each_others_answers_nor_their_settings_of_errors():
    # NumPy keeps such settings for each thread: what a rule leaves behind shows in the thread's next call
    x = np.float32([np.nan, np.inf, -3e38, 0.5, 1e-45] * 8)
    scale = np.float32(1e-3)
    rules = [onnx.quantize_linear, onnxruntime.quantize_linear, torch.quantize_per_tensor]
    settings = ["warn", "raise", "ignore"]
    together = Barrier(len(settings))

    def answers(setting):
        together.wait()
        differ = 0
        with np.errstate(all=setting):
            before = np.geterr()
            for rule, expected in zip(rules * 300, alone * 300, strict=True):
                differ += not np.array_equal(rule(x, scale, 3, INT8), expected)
                differ += np.geterr() != before
        return differ

    alone = [rule(x, scale, 3, INT8) for rule in rules]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(settings)) as threads:
            assert list(threads.map(answers, settings)) == [0, 0, 0]
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("kind", [onnx.FLOAT8_E4M3FN, onnx.FLOAT8_E5M2, onnx.FLOAT4_E2M1])
def test_each_small_float_is_the_nearest_to_its_value_and_ties_go_to_even_codes(kind):
    values = kind.values
    finite = np.flatnonzero(np.isfinite(values))
    codes = onnx.quantize_linear_to_float(values[finite], np.float32(1), kind)
    assert np.array_equal(values[codes], values[finite])
    positive = [int(code) for code in finite if not np.signbit(values[code])]
    for low, high in itertools.pairwise(positive):
        middle = (values[low] + values[high]) / np.float32(2)
        x = np.float32([np.nextafter(middle, np.float32(0)), middle, np.nextafter(middle, np.float32(1e9))])
        even = low if low % 2 == 0 else high
        assert onnx.quantize_linear_to_float(x, np.float32(1), kind).tolist() == [low, even, high]


def test_small_floats_have_the_published_extremes():
    # OCP 8-bit Floating Point Specification, revision 1.0, table 1; OCP Microscaling Formats 1.0, table 5
    e4m3, e5m2, e2m1 = (kind.values for kind in (onnx.FLOAT8_E4M3FN, onnx.FLOAT8_E5M2, onnx.FLOAT4_E2M1))
    assert (e4m3[0x7E], e4m3[0x08], e4m3[0x01]) == (448, 2.0**-6, 2.0**-9)
    assert np.isnan(e4m3[[0x7F, 0xFF]]).all()
    assert not np.isinf(e4m3).any()
    assert (e5m2[0x7B], e5m2[0x04], e5m2[0x01], e5m2[0x7C]) == (57344, 2.0**-14, 2.0**-16, np.inf)
    assert np.isnan(e5m2[0x7D:0x80]).all()
    assert e2m1[:8].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("strides", [[1, 1], [2, 1]])
@pytest.mark.parametrize("dilations", [[1, 1], [1, 2]])
def test_a_convolution_is_the_sum_over_its_window(group, strides, dilations):
    rng = np.random.default_rng(0)
    x, w = rng.integers(-255, 256, (2, 4, 5, 6)), rng.integers(-128, 128, (6, 4 // group, 2, 3))
    pads = [1, 0, 2, 1]
    acc = processor.convolution(x, w, strides, pads, dilations, group)
    for n, f, i, j in np.ndindex(*acc.shape):
        total = 0
        for c, k, m in np.ndindex(*w.shape[1:]):
            row = i * strides[0] + k * dilations[0] - pads[0]
            column = j * strides[1] + m * dilations[1] - pads[1]
            if 0 <= row < 5 and 0 <= column < 6:
                channel = f // (6 // group) * (4 // group) + c
                total += int(x[n, channel, row, column]) * int(w[f, c, k, m])
        assert acc[n, f, i, j] == total
    assert acc.shape[2:] == (
        (5 + 3 - dilations[0] - 1) // strides[0] + 1,
        (6 + 1 - 2 * dilations[1] - 1) // strides[1] + 1,
    )


@given(st.integers(0, 2**31 - 1))
def test_the_fixed_point_reciprocal_is_accurate(x):
    y = int(litert.one_over_one_plus(np.array([x]))[0])
    assert abs(y - 2**31 / (1 + x / 2**31)) <= 16


@given(st.integers(-(2**31), 0))
def test_the_fixed_point_exponential_is_accurate(x):
    y = int(litert.exp_of_negative(np.array([x]))[0])
    assert abs(y - 2**31 * np.exp(x / 2**26)) <= 2000  # 1e-6 of the largest

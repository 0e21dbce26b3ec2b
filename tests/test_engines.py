"""qtutor/engines: what stands around the rules, which tests/conformance compares with the engines.

The arithmetic of processors, the layouts and windows of whole operators, and what they refuse.
"""

import importlib
import inspect
import itertools
import math
import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtutor import INT8, UINT8, IntRange, QParams, QTensor, engines
from qtutor.engines import gemmlowp, litert, onnx, onnxruntime, processor, torch

ROOT = Path(__file__).resolve().parents[1]
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
    y = int(gemmlowp.one_over_one_plus(np.array([x]))[0])
    assert abs(y - 2**31 / (1 + x / 2**31)) <= 16


@given(st.integers(-(2**31), 0))
def test_the_fixed_point_exponential_is_accurate(x):
    y = int(gemmlowp.exp_of_negative(np.array([x]), integer_bits=5)[0])
    assert abs(y - 2**31 * np.exp(x / 2**26)) <= 2000  # 1e-6 of the largest


@given(st.integers(-(2**31) + 1, 2**31 - 1))
def test_the_fixed_point_logistic_is_accurate(x):
    y = int(gemmlowp.logistic(np.array([x]))[0])
    assert abs(y - 2**31 / (1 + np.exp(-x / 2**27))) <= 4000  # 2e-6 of the largest


# --- whole operators against one that is spelled out, element by element


@pytest.mark.parametrize("padding", [litert.same, litert.valid])
@pytest.mark.parametrize(("strides", "dilations"), [((1, 1), (1, 1)), ((2, 1), (1, 2)), ((1, 3), (2, 1))])
def test_convolutions_of_litert_are_sums_over_their_windows(padding, strides, dilations):
    rng = np.random.default_rng(0)
    x = QTensor(rng.integers(-9, 9, (2, 6, 7, 3)), QParams(1.0, 2))
    kernel = (3, 2)
    w = QTensor(rng.integers(-2, 3, (4, *kernel, 3)), QParams(1.0, 0))
    deep = QTensor(rng.integers(-2, 3, (1, *kernel, 6)), QParams(1.0, 0))
    bias, output = np.arange(6, dtype=np.int32), QParams(1.0, 1)
    arguments = {"kernels": litert.MICRO, "strides": strides, "padding": padding, "dilations": dilations}
    full = litert.conv_2d(x, w, bias[:4], output, **arguments)
    depthwise = litert.depthwise_conv_2d(x, deep, bias, output, **arguments)

    before = []  # the documented rule: SAME gives ceil(n / stride) outputs, and the larger half goes after
    for n, k, s, d, there in zip((6, 7), kernel, strides, dilations, full.shape[1:3], strict=True):
        reach = (k - 1) * d + 1
        expected = -(-n // s) if padding is litert.same else -(-(n - reach + 1) // s)
        assert there == expected
        before.append(max((expected - 1) * s + reach - n, 0) // 2 if padding is litert.same else 0)
    assert depthwise.shape == (*full.shape[:3], 6)
    for n, i, j in np.ndindex(*full.shape[:3]):
        sums, deep_sums = bias[:4].astype(int), bias.astype(int)
        for a, b in np.ndindex(*kernel):
            row, column = (
                i * strides[0] + a * dilations[0] - before[0],
                j * strides[1] + b * dilations[1] - before[1],
            )
            if 0 <= row < 6 and 0 <= column < 7:
                pixel = x.q[n, row, column].astype(int) - 2
                sums = sums + w.q[:, a, b].astype(int) @ pixel
                deep_sums = deep_sums + deep.q[0, a, b].astype(int) * np.repeat(pixel, 2)
        assert full[n, i, j].tolist() == np.clip(sums + 1, -128, 127).tolist()
        assert depthwise[n, i, j].tolist() == np.clip(deep_sums + 1, -128, 127).tolist()


@pytest.mark.parametrize("kernels", [litert.REFERENCE, litert.OPTIMIZED, litert.XNNPACK, litert.MICRO])
def test_pools_of_litert_see_no_padding_and_clamp_their_codes(kernels):
    x = QTensor(np.int8([[-8, -6, -3], [-7, -5, 9]]).reshape(1, 2, 3, 1), QParams(0.5, -6))
    arguments = {"kernels": kernels, "strides": (2, 2), "padding": litert.same}
    assert litert.average_pool_2d(x, (2, 2), **arguments).ravel().tolist() == [-7, 3]  # -6.5 goes away from 0
    assert litert.max_pool_2d(x, (2, 2), **arguments).ravel().tolist() == [-5, 9]
    relu6 = {**arguments, "activation": litert.RELU6}
    assert litert.average_pool_2d(x, (2, 2), **relu6).ravel().tolist() == [-6, 3]
    assert litert.max_pool_2d(x, (2, 2), **relu6).ravel().tolist() == [-5, 6]


@pytest.mark.parametrize(
    ("activation", "codes"),
    [
        (litert.NONE, [-90, -10, -8, 10, 14, 90]),
        (litert.RELU, [-10, -10, -8, 10, 14, 90]),
        (litert.RELU6, [-10, -10, -8, 2, 2, 2]),
        (litert.RELU_N1_TO_1, [-12, -10, -8, -8, -8, -8]),
    ],
)
def test_an_activation_clamps_between_the_codes_of_its_reals(activation, codes):
    x = QTensor(np.int8([[-80, 0, 2, 20, 24, 100]]).T, QParams(0.5, 0))
    w, output = QTensor(np.int8([[1]]), QParams(1.0, 0)), QParams(0.5, -10)
    y = litert.fully_connected(x, w, None, output, kernels=litert.REFERENCE, activation=activation)
    assert y.ravel().tolist() == codes


@pytest.mark.parametrize("kernels", [litert.REFERENCE, litert.OPTIMIZED, litert.XNNPACK, litert.MICRO])
@pytest.mark.parametrize("scale", [1e-42, 2.0**-126, 7.0, 1e36])
def test_the_callers_settings_of_errors_change_no_answer_of_litert(kernels, scale):
    q = np.int8([[-128, -1, 0, 1, 127]])
    x, w, output = QTensor(q, QParams(scale, 1)), QTensor(q, QParams(2.0**-120, 0)), QParams(2.0**-6, 1)
    rules = {"kernels": kernels}

    def answers():
        yield litert.dequantize(x, **rules)
        yield litert.softmax(x, **rules) if scale > 2**-26 else 0
        yield litert.logistic(x, **rules)
        yield litert.fully_connected(x, w, None, output, activation=litert.RELU6, **rules)
        yield litert.quantize(np.float32([1e-45, 1e30]), QParams(scale, 0), **rules)
        yield litert.max_pool_2d(
            QTensor(q.reshape(1, 1, 5, 1), x.qparams),
            (1, 2),
            strides=(1, 1),
            activation=litert.RELU6,
            **rules,
        )

    with np.errstate(all="ignore"):
        expected = list(answers())
    with np.errstate(all="raise"):
        for y, y_expected in zip(answers(), expected, strict=True):
            assert np.array_equal(y, y_expected)


def test_a_scale_too_small_for_its_shift_saturates_the_logistic_of_tflm():
    # seen on tflite-micro of 2026-10-23: C leaves a shift by a negative number open, and this came out
    x = np.int8([[-128, -3, 22, 122]])
    answers = [litert.logistic(QTensor(x, QParams(2.0**e, 0)), **MICRO).tolist() for e in (-28, -29, -60)]
    assert answers == [[[0, 0, 0, 0]], [[-128, -128, 127, 127]], [[-128, -128, 127, 127]]]


# --- what is no input of an operator is refused, with a word on what was given and what is allowed

CODES, REALS = np.int8([[1, 2]]), np.float32([[1, 2]])
X, W = QTensor(CODES, QParams(1.0, 0)), QTensor(CODES, QParams(1.0, 0))
X4, W4 = (QTensor(np.ones((1, 2, 2, 3), np.int8), QParams(1.0, 0)) for _ in range(2))
UNSIGNED = QTensor(CODES, QParams(1.0, 0, UINT8))
OUT, OUT8 = QParams(1.0, 0), QParams(1.0, 0, UINT8)
PER_CHANNEL = QTensor(CODES, QParams([1.0, 1.0], [0, 0], axis=1))
MICRO = {"kernels": litert.MICRO}
HALF = np.float32(0.5)


@pytest.mark.parametrize(
    ("words", "call"),
    {
        "a of MatMulInteger needs integers, got dtype f": lambda: onnx.matmul_integer(REALS, CODES.T),
        "needs integers in -32768..65535, got 1..70000": lambda: onnx.matmul_integer(
            np.int32([[1, 70000]]), CODES.T
        ),
        r"shapes \(1, 2\) and \(1, 2\) cannot be multiplied": lambda: onnx.matmul_integer(CODES, CODES),
        r"x_zero_point must be one number, got shape \(3,\)": lambda: onnx.conv_integer(
            np.ones((1, 3, 4), np.int8), np.ones((1, 3, 2), np.int8), [1, 2, 3]
        ),
        "a kernel .5. with dilations .1. leaves .4.": lambda: onnx.conv_integer(
            np.ones((1, 3, 4), np.int8), np.ones((1, 3, 5), np.int8)
        ),
        "3 channels and 1 features do not fit": lambda: onnx.conv_integer(
            np.ones((1, 3, 4), np.int8), np.ones((1, 2, 2), np.int8)
        ),
        "strides, dilations and group must be 1 or more": lambda: onnx.conv_integer(
            np.ones((1, 3, 4), np.int8), np.ones((1, 3, 2), np.int8), strides=[0]
        ),
        r"bias of QLinearConv must be int32 of shape \(1,\), got float64": lambda: onnxruntime.qlinear_conv(
            np.ones((1, 1, 4), np.int8), 1.0, 0, np.ones((1, 1, 2), np.int8), 1.0, 0, 1.0, 0, INT8, np.ones(1)
        ),
        r"shape \(3,\) does not fit shape \(1, 2\): axis 1 needs \(2,\)": lambda: onnxruntime.quantize_linear(
            REALS, np.ones(3), 0, INT8
        ),
        r"axis 1 needs \(1, 1\)": lambda: onnxruntime.quantize_linear(
            REALS, np.ones((2, 1)), 0, INT8, block_size=2
        ),
        "has no axis 2": lambda: onnxruntime.quantize_linear(REALS, np.ones(2), 0, INT8, axis=2),
        "x of QuantizeLinear must be float32, got dtype float64": lambda: onnxruntime.quantize_linear(
            np.ones(2), 1.0, 0, INT8
        ),
        "needs floats, got dtype int8": lambda: onnx.quantize_linear(CODES, HALF, 0, INT8),
        "DequantizeLinear needs integers, got": lambda: onnxruntime.dequantize_linear(REALS, HALF),
        "needs an element, got shape": lambda: onnx.dynamic_quantize_linear(np.float32([])),
        "a of MatMulInteger without VNNI needs integers in 0..255, got -1": lambda: (
            onnxruntime.matmul_integer_without_vnni(np.int8([[-1]]), np.int8([[1]]))
        ),
        "x of quantize_per_tensor must be float32": lambda: torch.quantize_per_tensor([1.0], 1.0, 0, INT8),
        r"x of linear has codes IntRange": lambda: torch.linear(X, W, None, OUT8, engine=torch.FBGEMM),
        r"w of linear has codes": lambda: torch.linear(UNSIGNED, UNSIGNED, None, OUT8, engine=torch.FBGEMM),
        r"the bias of a layer of torch must be float32 of shape \(1,\)": lambda: torch.linear(
            UNSIGNED, W, np.ones(1), OUT8, engine=torch.FBGEMM
        ),
        "w of linear needs zero_point 0, got 1": lambda: torch.linear(
            UNSIGNED, QTensor(CODES, QParams(1.0, 1)), None, OUT8, engine=torch.FBGEMM
        ),
        "x of QUANTIZE must be float32, got dtype int8": lambda: litert.quantize(CODES, OUT, **MICRO),
        "needs zero_point 0 for int16, got 1": lambda: litert.quantize(
            REALS, QParams(1.0, 1, IntRange(-32768, 32767)), **MICRO
        ),
        "LOGISTIC needs x per-tensor with codes of": lambda: litert.logistic(UNSIGNED, **MICRO),
        "SOFTMAX needs x per-tensor with .* got axis=1": lambda: litert.softmax(PER_CHANNEL, **MICRO),
        "SOFTMAX needs a scale above 2..-26, got 1.": lambda: litert.softmax(
            QTensor(CODES, QParams(2.0**-26, 0)), **MICRO
        ),
        "FULLY_CONNECTED needs w .features, K.": lambda: litert.fully_connected(X4, W4, None, OUT, **MICRO),
        "FULLY_CONNECTED needs w with codes of .* axis=1": lambda: litert.fully_connected(
            X, PER_CHANNEL, None, OUT, **MICRO
        ),
        r"bias of FULLY_CONNECTED must be int32 of shape \(1,\), got int32 of shape \(2,\)": lambda: (
            litert.fully_connected(X, W, np.int32([1, 2]), OUT, **MICRO)
        ),
        "XNNPACK refuses x_scale . w_scale / y_scale of 256 and more, got 256": lambda: (
            litert.fully_connected(X, W, None, QParams(2.0**-8, 0), kernels=litert.XNNPACK)
        ),
        "CONV_2D needs x": lambda: litert.conv_2d(X, W4, None, OUT, **MICRO),
        "DEPTHWISE_CONV_2D needs x": lambda: litert.depthwise_conv_2d(
            QTensor(np.ones((1, 2, 2, 2), np.int8), OUT), W4, None, OUT, **MICRO
        ),
        "strides and dilations must be two each, 1 or more": lambda: litert.conv_2d(
            X4, W4, None, OUT, strides=(0, 1), padding=litert.same, **MICRO
        ),
        "ADD needs two tensors of one shape": lambda: litert.add(X, X4, OUT, **MICRO),
        r"a window \(3, 1\) leaves x of shape \(1, 2, 2, 3\)": lambda: litert.max_pool_2d(
            X4, (3, 1), strides=(1, 1), **MICRO
        ),
        "MAX_POOL_2D needs x": lambda: litert.max_pool_2d(X, (1, 1), strides=(1, 1), **MICRO),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_input_is_named(words, call):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


# --- the package


def modules():
    return {
        info.name: importlib.import_module(info.name)
        for info in pkgutil.iter_modules(engines.__path__, "qtutor.engines.")
    }


def test_importing_the_rules_loads_none_of_the_engines():
    program = (
        "import sys; from qtutor import engines; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'onnx', 'onnxruntime', 'torch', 'ai_edge_litert', 'tflite_micro'}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert answer.stdout.split() == []


@pytest.mark.parametrize("name", modules())
def test_every_public_function_of_an_engine_has_an_example_that_runs(name):
    module = modules()[name]
    for function_name, function in vars(module).items():
        if inspect.isfunction(function) and function.__module__ == name and not function_name.startswith("_"):
            assert ">>> " in (function.__doc__ or ""), f"{name}.{function_name} has no example"

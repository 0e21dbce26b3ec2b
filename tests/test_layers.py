"""qtutor/layers.py: the layers, and the digits CNN made of them: integers from the first code to the last."""

import copy
import dataclasses
import pickle
from fractions import Fraction

import numpy as np
import pytest
from exact import exact_double, exact_single, nearest, up
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_cnn import run_loops
from make_oracle_codes import NETWORKS, RECORD, digest, recorded_network
from networks import input_codes, integer_network

from qtutor import (
    INT4,
    INT8,
    UINT8,
    IntRange,
    MSEObserver,
    QParams,
    QTensor,
    choose_qparams,
    dequantize,
    int_range,
    integer_matmul,
    multiply_double_rounding,
    multiply_float,
    multiply_half_up,
    multiply_single_rounding,
    quantize,
    quantize_multiplier,
    sqnr_db,
)
from qtutor.graph import (
    EPSILON,
    IMAGES_AT_ONCE,
    Conv,
    QuantizedNetwork,
    batch_norm,
    convolve,
    forward,
    leaky_relu,
    run,
)
from qtutor.layers import (
    QAdd,
    QAveragePool,
    QConv2d,
    QLinear,
    fold_batch_norm,
    integer_only_matmul,
    quantize_bias,
    weight_qparams,
)
from qtutor.models.digits import CNN, load_digits, load_weights, to_input

INT16 = int_range(16)
MULTIPLY = {exact_double: multiply_double_rounding, exact_single: multiply_single_rounding}
DIGITS, WEIGHTS = load_digits(), load_weights()
TEST = DIGITS.images[DIGITS.test]


@pytest.fixture(scope="module")
def network():
    return integer_network(DIGITS.images[DIGITS.train])


@pytest.fixture(scope="module")
def codes(network):
    return run(network, input_codes(network, TEST), multiply=multiply_double_rounding)


# --- hand-checkable cases


def test_the_accumulators_are_those_of_the_onnx_example_whose_padding_is_the_zero_point():
    # ONNX ConvInteger, its examples: x 2..10 with zero-point 1, four weights of 1
    x = np.arange(2, 11, dtype=np.uint8).reshape(1, 1, 3, 3)
    qparams = QParams(1.0, 1, UINT8)
    for padding, expected in [
        (0, [[12, 16], [24, 28]]),
        (1, [[1, 3, 5, 3], [5, 12, 16, 9], [11, 24, 28, 15], [7, 15, 17, 9]]),
    ]:
        layer = QConv2d(
            QTensor(np.ones((1, 1, 2, 2), np.int8), QParams(1.0, 0)),
            np.int32([0]),
            qparams,
            QParams(1.0, 0, UINT8),
            quantize_multiplier(1.0),
            padding=padding,
        )
        assert layer.accumulators(x)[0, 0].tolist() == expected
        assert layer(x, multiply=multiply_single_rounding)[0, 0].tolist() == expected


def test_a_leaky_relu_is_a_second_multiplier_for_negative_accumulators():
    # accumulators 16, 0, -16 at scale 1, output scale 1: slope 1/8 leaves 16, 0, -2
    layer = QLinear.from_real([[127.0]], [0.0], QParams(1.0, 0), QParams(127.0, 3), slope=0.125)
    q = layer(np.int8([[16], [0], [-16]]), multiply=multiply_single_rounding)
    assert q.tolist() == [[19], [3], [1]]
    # accumulators 2, 0, -2 and multipliers 16 and 2
    loud = QLinear.from_real([[127.0, 1.0]], [0.0], QParams(1.0, 0), QParams(0.0625, 3), slope=0.125)
    q = loud(np.int8([[0, 2], [0, 0], [0, -2]]), multiply=multiply_single_rounding)
    assert q.tolist() == [[35], [3], [-1]]
    plain = QLinear.from_real([[127.0]], [0.0], QParams(1.0, 0), QParams(127.0, 3))
    assert plain.negative_multiplier is None
    assert plain(np.int8([[16], [0], [-16]]), multiply=multiply_single_rounding).tolist() == [
        [19],
        [3],
        [-13],
    ]


def test_a_network_gives_many_images_the_codes_that_each_has_alone(network):
    q = input_codes(network, TEST)
    assert len(q) > IMAGES_AT_ONCE  # so they are run in parts
    tensors = run(network, q, multiply=multiply_single_rounding)
    with pytest.raises(ValueError, match=r"got \(599, 8, 8\)"):
        run(network, q[:, 0], multiply=multiply_single_rounding)
    for i in (0, IMAGES_AT_ONCE - 1, IMAGES_AT_ONCE, len(q) - 1):
        alone = run(network, q[i : i + 1], multiply=multiply_single_rounding)
        assert list(alone) == list(tensors)
        for name in alone:
            assert tensors[name].shape[0] == len(q)
            assert np.array_equal(tensors[name][i], alone[name][0]), name


def test_a_sum_of_two_scales_by_hand():
    # (12 - 10) * 0.5 + (8 - 0) * 0.25 = 3.0, and 3.0 / 0.1 - 5 = 25
    add = QAdd.from_qparams(QParams(0.5, 10), QParams(0.25, 0), QParams(0.1, -5))
    assert add.left_multiplier.real == 0.5 and add.right_multiplier.real == 0.25
    for multiply in (multiply_double_rounding, multiply_half_up, multiply_single_rounding):
        assert add(np.int8([12]), np.int8([8]), multiply=multiply).tolist() == [25]
        assert add(np.int8([127]), np.int8([127]), multiply=multiply).tolist() == [127]  # 902.5 saturates


def test_a_mean_by_hand():
    # codes 1 2 2 5 at zero-point 1 are 0 1 1 4, whose mean is 1.5 at scale 0.5: 0.75, which is 3 at 0.25
    pool = QAveragePool.from_qparams(QParams(0.5, 1), QParams(0.25, -7), count=4)
    assert pool(np.int8([[[[1, 2], [2, 5]]]]), multiply=multiply_single_rounding).tolist() == [[-4]]


# --- constants of the layers


def test_a_folded_batch_norm_is_the_convolution_and_the_batch_norm():
    rng = np.random.default_rng(0)
    for layer in (Conv("", "", 4, 6), Conv("", "", 6, 6, depthwise=True, stride=2)):
        x = rng.normal(size=(3, layer.in_channels, 5, 5))
        weight = rng.normal(size=(6, 1 if layer.depthwise else 4, 3, 3))
        norm = [rng.normal(size=6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0, 2, size=6)]
        folded, bias = fold_batch_norm(weight, *norm, epsilon=EPSILON)
        expected = batch_norm(convolve(x, weight, layer), *norm)
        assert np.allclose(convolve(x, folded, layer) + bias[:, None, None], expected, rtol=1e-12, atol=1e-12)
        assert folded.dtype == bias.dtype == np.float64


@pytest.mark.parametrize("epsilon", [-1.0, np.nan])
def test_a_batch_norm_without_positive_variance_is_refused(epsilon):
    ones = np.ones(2)
    with pytest.raises(ValueError, match=r"fold_batch_norm needs four arrays of shape \(2,\) and variance"):
        fold_batch_norm(np.ones((2, 3)), ones, ones, ones, ones, epsilon=epsilon)
    for which in range(4):
        norm = [ones] * 4
        norm[which] = np.ones(3)
        with pytest.raises(ValueError, match=r"of shape \(2,\) .* got shapes .*\(3,\)"):
            fold_batch_norm(np.ones((2, 3)), *norm, epsilon=1.0)


@pytest.mark.parametrize("size", [1e200, np.inf, np.nan])
def test_a_batch_norm_beyond_the_floats_is_refused_under_all_settings(size):
    for reaction in ("ignore", "raise"):
        with (
            np.errstate(all=reaction),
            pytest.raises(ValueError, match="fold_batch_norm needs finite numbers"),
        ):
            fold_batch_norm(
                np.full((2, 3), size), *[np.full(2, 1e200)] * 2, np.ones(2), np.ones(2), epsilon=1.0
            )


@pytest.mark.parametrize("epsilon", [np.ones(2), np.ones(1), [1.0]])
def test_a_batch_norm_has_one_epsilon(epsilon):
    one = np.ones(1)  # epsilons of shape (2,) would make two channels of it
    with pytest.raises(ValueError, match=r"fold_batch_norm needs four arrays .* got shapes .* epsilon"):
        fold_batch_norm(np.ones((1, 3)), one, one, one, one, epsilon=epsilon)
    for none in (True, "1", np.ma.array(1.0, mask=True)):
        with pytest.raises(TypeError, match=r"fold_batch_norm (needs real numbers|takes no masked array)"):
            fold_batch_norm(np.ones((1, 3)), one, one, one, one, epsilon=none)


def test_each_output_channel_has_the_scale_it_would_have_alone():
    weight = np.random.default_rng(1).normal(size=(3, 4, 2, 2)) * np.array([1, 0.1, 5]).reshape(3, 1, 1, 1)
    for to in (INT8, INT4, int_range(5)):
        qparams = weight_qparams(weight, to)
        assert qparams.axis == 0 and not qparams.zero_point.any()
        assert (qparams.qmin, qparams.qmax) == (-to.qmax, to.qmax)  # narrow: -q exists for every q
        for channel in range(3):
            alone = weight_qparams(weight[channel : channel + 1], to, per_channel=False)
            assert qparams.scale[channel] == alone.scale
        assert weight_qparams(weight, to, per_channel=False).scale == qparams.scale.max()


@pytest.mark.parametrize("size", [0.0, 1e-37, 1e-12, 1e-5])
def test_dead_channels_get_a_floor_on_their_scale_so_that_their_bias_fits(size):
    weight, bias = np.array([[1.0, -0.5], [size, -size]]), np.array([0.1, 3.0])
    input, output = QParams(0.01, 0), QParams(0.05, 0)
    without_floor = choose_qparams(np.array([-1.0, -size]), np.array([1.0, size]), symmetric=True, axis=0)
    if 0 < size < 1e-5:
        with pytest.raises(ValueError, match=r"a bias must fit int32 .*, got .*e\+"):
            quantize_bias(bias, input, without_floor)
    layer = QLinear.from_real(weight, bias, input, output)
    assert layer.weight.qparams.scale[1] == np.float32(1e-3 / 127)
    assert layer(np.int8([[0, 0]]), multiply=multiply_single_rounding).tolist() == [[2, 60]]


@pytest.mark.parametrize("weight", [np.ones(3), 1.0, np.ones((0, 3)), np.ones((3, 0))])
def test_weights_without_output_channels_are_refused(weight):
    with pytest.raises(ValueError, match=r"weight_qparams needs weights \(out_channels, ...\), got shape"):
        weight_qparams(weight)


def test_biases_are_the_nearest_integers_and_leave_int32_never():
    scale = float(np.float32(0.5)) * float(np.float32(0.125))
    input, weight = QParams(0.5, -3), QParams(0.125, 0)
    for steps in (0.5, 1.5, -0.5, -1.5, 2.5, 2**31 - 1, -(2**31), 2**31 - 0.75, 7.4999):
        q = quantize_bias(np.array([steps * scale]), input, weight)
        assert q.dtype == np.int32 and q.tolist() == [round(Fraction(steps))]
    for steps in (2**31, -(2**31) - 1, 2**31 - 0.5, 1e30, np.inf, -np.inf, np.nan):
        with pytest.raises(
            ValueError, match=r"a bias must fit int32 at scale input.scale \* weight.scale, got"
        ):
            quantize_bias(np.array([0.0, steps * scale]), input, weight)


def test_the_constants_of_the_network_are_exact(network):
    for node in CNN.nodes:
        layer = network.layers[node.name]
        if not isinstance(layer, QConv2d | QLinear):
            continue
        if isinstance(node, Conv):
            norm = (WEIGHTS[f"{node.name}.{v}"] for v in ("gamma", "beta", "mean", "variance"))
            weight, bias = fold_batch_norm(WEIGHTS[f"{node.name}.weight"], *norm, epsilon=EPSILON)
        else:
            weight, bias = WEIGHTS["logits.weight"], WEIGHTS["logits.bias"]
        sx, sy = Fraction(float(layer.input.scale)), Fraction(float(layer.output.scale))
        for channel, scale in enumerate(layer.weight.qparams.scale.tolist()):
            sw = Fraction(scale)
            assert layer.bias[channel] == round(Fraction(float(bias[channel])) / (sx * sw))
            M = sx * sw / sy
            assert abs(Fraction(float(layer.multiplier.real[channel])) - M) <= M / 2**30
            off = np.abs(layer.weight.q[channel] - weight[channel] / scale)
            assert off.max() <= 0.5 + 1e-4
        if layer.negative_multiplier is not None:
            assert np.array_equal(layer.negative_multiplier.mantissa, layer.multiplier.mantissa)
            assert np.array_equal(layer.negative_multiplier.shift, layer.multiplier.shift + 3)  # 1/8


# --- the layers against loops over Python integers


@st.composite
def convolutions(draw):
    """A layer of any geometry with random constants, and codes for it."""
    groups, seen, made = (draw(st.integers(1, 3)) for _ in range(3))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding, stride = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    to, weights_to = (draw(st.sampled_from([INT8, UINT8, INT4])) for _ in range(2))
    input, output = (QParams(rng.uniform(0.1, 1), rng.integers(to.qmin, to.qmax + 1), to) for _ in range(2))
    channels = groups * made
    layer = QConv2d(
        QTensor(
            rng.integers(weights_to.qmin, weights_to.qmax + 1, (channels, seen, *kernel)),
            QParams(np.ones(channels), np.zeros(channels, int), IntRange(-128, 255), axis=0),
        ),
        rng.integers(-(10**5), 10**5, channels).astype(np.int32),
        input,
        output,
        quantize_multiplier(rng.uniform(1e-4, 0.1, channels)),
        quantize_multiplier(rng.uniform(1e-4, 0.1)) if draw(st.booleans()) else None,
        padding=padding,
        stride=stride,
        groups=groups,
    )
    size = [max(k - 2 * padding, 1) + draw(st.integers(0, 3)) for k in kernel]
    return layer, rng.integers(to.qmin, to.qmax + 1, (draw(st.integers(1, 2)), groups * seen, *size))


def pixels(layer, q, n, o, top, left):
    """(weight, code - Z) for each place of the kernel that is inside the image."""
    _, in_group, height, width = layer.weight.q.shape
    first = o // (len(layer.bias) // layer.groups) * in_group
    for c in range(in_group):
        for i in range(height):
            for j in range(width):
                y, x = top + i - layer.padding, left + j - layer.padding
                if 0 <= y < q.shape[2] and 0 <= x < q.shape[3]:
                    yield (
                        int(layer.weight.q[o, c, i, j]),
                        int(q[n, first + c, y, x]) - int(layer.input.zero_point),
                    )


@settings(max_examples=50)
@given(convolutions())
def test_convolutions_of_every_geometry_are_their_definition(case):
    layer, q = case
    acc = layer.accumulators(q)
    assert acc.dtype == np.int32
    assert np.array_equal(acc, layer.accumulators(q, integer_only_matmul))
    result = layer(q, multiply=multiply_single_rounding)
    assert (result.shape, result.dtype) == (acc.shape, layer.output.codes.dtype)
    sizes = [
        (a + 2 * layer.padding - k) // layer.stride + 1
        for a, k in zip(q.shape[2:], layer.weight.q.shape[2:], strict=True)
    ]
    assert acc.shape == (len(q), len(layer.bias), *sizes)
    for n, o, y, x in np.ndindex(acc.shape):
        exact = int(layer.bias[o]) + sum(
            w * v for w, v in pixels(layer, q, n, o, y * layer.stride, x * layer.stride)
        )
        assert acc[n, o, y, x] == exact
        multiplier, channel = layer.multiplier, o
        if exact < 0 and layer.negative_multiplier is not None:
            multiplier, channel = layer.negative_multiplier, ()
        product = exact_single(exact, int(multiplier.mantissa[channel]), int(multiplier.shift[channel]))
        low, high = layer.output.qmin, layer.output.qmax
        assert result[n, o, y, x] == min(max(product + int(layer.output.zero_point), low), high)


@given(st.data())
def test_sums_are_within_one_step_of_the_real_sum(data):
    maps = [QParams(data.draw(st.floats(0.01, 10)), data.draw(st.integers(-128, 127))) for _ in range(3)]
    q1, q2 = (np.array([data.draw(st.integers(-128, 127))], np.int8) for _ in range(2))
    s1, s2, s3 = (Fraction(float(qparams.scale)) for qparams in maps)
    Z1, Z2, Z3 = (int(qparams.zero_point) for qparams in maps)
    exact = (s1 * (int(q1[0]) - Z1) + s2 * (int(q2[0]) - Z2)) / s3 + Z3
    for multiply in (multiply_single_rounding, multiply_double_rounding, multiply_half_up):
        q = int(QAdd.from_qparams(*maps)(q1, q2, multiply=multiply)[0])
        # half a step, the second half of a second rounding, and what 20 spare bits leave
        slack = Fraction(1, 2) if multiply is multiply_single_rounding else Fraction(3, 4) + Fraction(1, 4)
        assert abs(q - min(max(exact, -128), 127)) <= slack + Fraction(1, 100)


@given(st.data())
def test_means_are_the_nearest_codes(data):
    input, output = (
        QParams(data.draw(st.floats(0.01, 10)), data.draw(st.integers(-128, 127))) for _ in range(2)
    )
    q = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers(-128, 128, (2, 3, 2, 5))
    result = QAveragePool.from_qparams(input, output, count=10)(q, multiply=multiply_single_rounding)
    assert result.shape == (2, 3)
    ratio = Fraction(float(input.scale)) / (10 * Fraction(float(output.scale)))
    for n, c in np.ndindex(2, 3):
        total = sum(int(v) - int(input.zero_point) for v in q[n, c].ravel())
        exact = total * ratio
        if abs(exact - nearest(exact, up)) < Fraction(49, 100):  # M has 31 bits: near a tie they may decide
            assert result[n, c] == min(max(nearest(exact, up) + int(output.zero_point), -128), 127)


# --- the whole network


@pytest.fixture(scope="module")
def record():
    with np.load(RECORD) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_code_differs_from_what_loops_of_python_integers_recorded_for_599_images(record, name):
    exact, *_ = NETWORKS[name]
    recorded = recorded_network(record, name)
    tensors = run(recorded, input_codes(recorded, TEST), multiply=MULTIPLY[exact])
    assert len(tensors["logits"]) == 599
    assert list(tensors) == record["tensors"].tolist()
    assert int((tensors["logits"] != record[f"{name}/logits"]).sum()) == 0
    for tensor, recorded_digest in zip(tensors, record[f"{name}/sha256"].tolist(), strict=True):
        assert digest(tensors[tensor]) == recorded_digest, tensor


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loops_run_again_on_some_images_differ_in_no_code(record, name):
    exact, *_ = NETWORKS[name]
    recorded = recorded_network(record, name)
    some = slice(len(name), None, 200)
    q = input_codes(recorded, TEST[some])
    tensors = run(recorded, q, multiply=MULTIPLY[exact])
    for i, image in enumerate(q.tolist()):
        for tensor, expected in run_loops(recorded, image, exact).items():
            assert tensors[tensor][i].ravel().tolist() == expected, tensor
    assert np.array_equal(tensors["logits"], record[f"{name}/logits"][some])


@pytest.mark.parametrize(
    ("choices", "multiply", "images"),
    [
        ({}, multiply_double_rounding, TEST),
        ({"activation_range": UINT8, "per_channel": False}, multiply_half_up, TEST[:99]),
        ({"weight_range": INT4, "activation_range": INT4}, multiply_single_rounding, TEST[:99]),
    ],
)
def test_floats_that_carry_integers_give_the_codes_of_integers_alone(choices, multiply, images):
    network = integer_network(DIGITS.images[DIGITS.train[:200]], **choices)
    q = input_codes(network, images)
    fast = run(network, q, multiply=multiply)
    slow = run(network, q, multiply=multiply, accumulate=integer_only_matmul)
    assert len(fast) == len(slow) == 1 + len(CNN.nodes)
    for name in fast:
        assert fast[name].dtype == slow[name].dtype == network.qparams[name].codes.dtype
        assert np.array_equal(fast[name], slow[name]), name


def test_the_integer_network_reads_digits_as_well_as_the_float_one(network, codes, record_property):
    tensors = forward(CNN, WEIGHTS, to_input(TEST))
    labels = DIGITS.labels[DIGITS.test]
    of_float, of_codes = tensors["logits"].argmax(axis=1), codes["logits"].argmax(axis=1)
    logits = dequantize(codes["logits"], network.qparams["logits"])
    record_property("accuracy of float, %", round(100 * float(np.mean(of_float == labels)), 2))
    record_property("accuracy of int8, %", round(100 * float(np.mean(of_codes == labels)), 2))
    record_property("int8 logits, SQNR in dB", round(sqnr_db(tensors["logits"], logits), 1))
    record_property("int8 against float, answers that differ", int(np.sum(of_codes != of_float)))
    # the standard error of an accuracy near 99 % is 0.4 points: a loss of 2 points would be no accident,
    # and noise at 20 dB is a tenth of the logits; the network of the chapter is well inside both
    assert np.mean(of_codes == labels) >= np.mean(of_float == labels) - 0.02
    assert sqnr_db(tensors["logits"], logits) > 20
    assert np.array_equal(of_codes, logits.argmax(axis=1))  # one positive scale keeps the order


def test_each_layer_alone_is_within_a_step_of_its_float_twin(network, codes):
    real = {name: dequantize(q, network.qparams[name]).astype(np.float64) for name, q in codes.items()}
    for node in CNN.nodes:
        layer, name = network.layers[node.name], node.name
        if isinstance(layer, QConv2d):
            y = convolve(real[node.source], layer.weight.real.astype(np.float64), node)
            scale = layer.input.scale.astype(np.float64) * layer.weight.qparams.scale
            y += (layer.bias * scale)[:, None, None]
            y = leaky_relu(y, node.slope)
        elif isinstance(layer, QAdd):
            y = real[node.left] + real[node.right]
        elif isinstance(layer, QAveragePool):
            y = real[node.source].mean(axis=(2, 3))
        else:
            y = real[node.source] @ layer.weight.real.T.astype(np.float64)
            y += layer.bias * layer.input.scale.astype(np.float64) * layer.weight.qparams.scale
        off = np.abs(real[name] - np.clip(y, *layer.output.limits)) / layer.output.scale
        assert off.max() <= 0.76, name  # half a step, and half of the half step of the first rounding
        assert np.mean(off) < 0.35, name


# --- not a single float between the codes


class FloatOperation(Exception):
    """A float turned up between the codes."""


class Guarded(np.ndarray):
    """Integers that raise FloatOperation when an operation on them takes or makes a float, of any size.

    An array that is not guarded may not join in, so whatever comes out guarded was never anything else.
    """

    def __array_finalize__(self, parent):
        refuse_floats(self)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        for x in (*inputs, *out):
            refuse_floats(x)
            if not isinstance(x, Guarded) and np.ndim(x) > 0:
                raise FloatOperation(f"{ufunc.__name__}: an array that is not guarded: {x!r}")
        if "signature" in options or np.dtype(options.get("dtype") or int).kind not in "iub":
            raise FloatOperation(f"{ufunc.__name__}: asked to compute as {options}")
        bare = [x.view(np.ndarray) if isinstance(x, Guarded) else x for x in inputs]
        if out:
            options["out"] = tuple(x.view(np.ndarray) for x in out)
        with np.errstate(all="raise"):
            return guarded(getattr(ufunc, method)(*bare, **options))

    def __array_function__(self, function, types, inputs, options):
        return guarded(super().__array_function__(function, types, inputs, options))

    def __getitem__(self, index):
        return guarded(super().__getitem__(index))  # NumPy would make a bare number of one element

    def leave(self, *_):
        raise FloatOperation("a number leaves the guard: what Python does with it, nobody sees")

    __float__ = __int__ = __index__ = __iter__ = item = tolist = leave


def refuse_floats(x):
    if np.asarray(x).dtype.kind not in "iub":
        raise FloatOperation(f"{np.asarray(x).dtype}")


def guarded(thing):
    """Arrays, and all arrays in layers, maps and networks; their scales are gone, so nobody can use them."""
    if isinstance(thing, (np.ndarray, np.generic)):
        refuse_floats(thing)
        return np.array(thing).view(Guarded)
    if isinstance(thing, (tuple, list)):
        return type(thing)(guarded(part) for part in thing)
    if isinstance(thing, QuantizedNetwork):
        layers = {name: guarded(layer) for name, layer in thing.layers.items()}
        return QuantizedNetwork(thing.graph, guarded(thing.input), layers)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, IntRange):
        twin = copy.copy(thing)
        for field in dataclasses.fields(thing):
            value = None if field.name == "scale" else guarded(getattr(thing, field.name))
            object.__setattr__(twin, field.name, value)
        return twin
    return thing


@pytest.fixture
def guard(monkeypatch):
    """np.asarray makes a plain array of a guarded one; here it keeps the guard."""
    monkeypatch.setattr(np, "asarray", np.asanyarray)


FLOAT_OPERATIONS = {
    "division": lambda a: a / 2,
    "inverse": lambda a: 2 / a,
    "float factor": lambda a: a * 0.5,
    "NumPy float": lambda a: np.float32(1) + a,
    "float array": lambda a: a + np.zeros(3),
    "float 0-d array": lambda a: a + np.array(1.0),
    "bare array": lambda a: a + np.arange(3),
    "cast": lambda a: a.astype(np.float32),
    "half": lambda a: a.astype(np.float16),
    "square root": lambda a: np.sqrt(a),
    "mean": lambda a: a.mean(),
    "mean function": lambda a: np.mean(a),
    "average": lambda a: np.average(a),
    "accumulated in float": lambda a: np.sum(a, dtype=np.float64),
    "float loop into integers": lambda a: np.add(a, a, dtype=np.float64, out=a, casting="unsafe"),
    "float() of one": lambda a: float(a[0]) + 1,
    "out of NumPy": lambda a: [x * 0.5 for x in a],
    "out of NumPy as a list": lambda a: sum(a.tolist()) / 2,
    "out of NumPy as a number": lambda a: int(a[0]) / 2,
    "out of NumPy as an item": lambda a: a.max().item() / 2,
    "float loop by its signature": lambda a: np.add(a, a, signature="dd->d", out=a, casting="unsafe"),
    "float into integers": lambda a: np.multiply(a, 0.5, out=a, casting="unsafe"),
    "mixed signs": lambda a: a.astype(np.int64) + a.astype(np.uint64),
    "where": lambda a: np.where(a > 0, a, 0.5),
    "complex": lambda a: a * 1j,
    "zeros of float": lambda a: np.zeros_like(a, dtype=float),
    "in place": lambda a: a.__imul__(1.5),
    "matmul with floats": lambda a: a @ np.ones(3),
}


@pytest.mark.parametrize("operation", FLOAT_OPERATIONS)
def test_the_guard_fires_on(operation, guard):
    with pytest.raises(FloatOperation):
        FLOAT_OPERATIONS[operation](guarded(np.arange(1, 4)))


def test_the_guard_lets_integers_pass(guard):
    a = guarded(np.arange(1, 4))
    for y in (
        (a + 1) * a // 2 >> 1,
        a @ a,
        np.clip(a, 0, 2),
        np.pad(a, 1),
        a.sum(),
        np.where(a > 1, a, 0),
        a[:1],
    ):
        assert isinstance(y, Guarded)
        assert y.dtype == np.int64


@pytest.mark.parametrize(
    ("multiply", "images"),
    [(multiply_double_rounding, TEST), (multiply_single_rounding, TEST[:60]), (multiply_half_up, TEST[:60])],
)
def test_there_is_no_float_operation_between_the_codes(network, guard, multiply, images):
    q = input_codes(network, images)
    tensors = run(guarded(network), guarded(q), multiply=multiply, accumulate=integer_only_matmul)
    plain = run(network, q, multiply=multiply)
    assert len(tensors) == 1 + len(CNN.nodes)
    for name, x in tensors.items():
        assert type(x) is Guarded, name  # it never lost its guard, so no float could hide
        assert np.array_equal(x.view(np.ndarray), plain[name]), name
    answers = np.argmax(tensors["logits"], axis=1)
    assert type(answers) is Guarded and np.array_equal(
        answers.view(np.ndarray), plain["logits"].argmax(axis=1)
    )


@pytest.mark.parametrize(
    ("multiply", "accumulate"),
    [
        (multiply_double_rounding, integer_matmul),  # floats carry the integers
        (lambda acc, multiplier: multiply_float(acc, 0.01), integer_only_matmul),
        (lambda acc, multiplier: (acc * 0.01).astype(np.int32), integer_only_matmul),
        (lambda acc, multiplier: np.rint(acc / 64).astype(np.int32), integer_only_matmul),
        (lambda acc, multiplier: acc // multiplier.real.astype(int), integer_only_matmul),
        (multiply_double_rounding, lambda q1, q2, Z1, Z2: q1 @ (q2 - Z2.astype(float))),
    ],
)
def test_the_guard_fires_when_a_float_is_put_into_the_network(network, guard, multiply, accumulate):
    q = guarded(input_codes(network, TEST[:3]))
    with pytest.raises(FloatOperation):
        run(guarded(network), q, multiply=multiply, accumulate=accumulate)


@pytest.mark.parametrize("kind", [QConv2d, QAdd, QAveragePool])
def test_the_guard_fires_when_a_layer_uses_its_scale_or_drops_its_guard(network, guard, monkeypatch, kind):
    q = guarded(input_codes(network, TEST[:3]))
    original = kind.__call__

    def with_a_float_inside(self, *codes, **arithmetic):
        return (original(self, *codes, **arithmetic) * 1.0).astype(np.int8)

    def with_the_guard_dropped(self, *codes, **arithmetic):
        y = original(self, *codes, **arithmetic).view(np.ndarray)
        return (y * 1.0).astype(np.int8)

    monkeypatch.setattr(kind, "__call__", with_a_float_inside)
    with pytest.raises(FloatOperation):
        run(guarded(network), q, multiply=multiply_single_rounding, accumulate=integer_only_matmul)
    monkeypatch.setattr(kind, "__call__", with_the_guard_dropped)
    with pytest.raises(FloatOperation, match="not guarded"):
        run(guarded(network), q, multiply=multiply_single_rounding, accumulate=integer_only_matmul)


# --- what if: a constant replaced


def replaced(network, change):
    """The network with change(layer) -> fields to replace, for the layers that have weights."""
    layers = {
        name: dataclasses.replace(layer, **change(layer)) if hasattr(layer, "bias") else layer
        for name, layer in network.layers.items()
    }
    return dataclasses.replace(network, layers=layers)


WHAT_IF = {
    "padding with raw 0": lambda layer: {"pad_code": 0} if hasattr(layer, "pad_code") else {},
    "no bias": lambda layer: {"bias": np.zeros_like(layer.bias)},
    "no cross term": lambda layer: {"input": QParams(layer.input.scale, 0, layer.input.codes)},
}


@pytest.mark.parametrize("what", WHAT_IF)
def test_a_wrong_constant_ruins_the_answers(network, codes, what):
    wrong = replaced(network, WHAT_IF[what])
    q = codes["input"][:99]
    tensors = run(wrong, q, multiply=multiply_double_rounding)
    assert np.mean(tensors["logits"] != codes["logits"][:99]) > 0.5
    again = run(network, q, multiply=multiply_double_rounding)  # which is as it was
    assert all(np.array_equal(again[name], codes[name][:99]) for name in codes)


def test_the_cross_term_can_be_dropped_and_the_padding_kept():
    layer = QConv2d.from_real(np.ones((1, 1, 3, 3)), [0.0], QParams(1.0, 7), QParams(1.0, 0), padding=1)
    assert layer.pad_code == 7
    wrong = dataclasses.replace(layer, input=QParams(1.0, 0))
    assert wrong.pad_code == 7
    assert (wrong.accumulators(np.full((1, 1, 1, 1), 7)) == 9 * 7 * 127).all()
    assert (layer.accumulators(np.full((1, 1, 1, 1), 7)) == 0).all()


# --- what is refused, and where nothing wraps


UNIT = QParams(1.0, 0)


def linear(q=((1, 2),), bias=(0,), input=UNIT, output=UNIT, zero_point=0, axis=None):
    shape = () if axis is None else np.shape(q)[axis]
    map_of_weights = QParams(np.ones(shape), np.full(shape, zero_point), INT16, axis)
    bias = np.array(bias, np.int32) if isinstance(bias, tuple) else bias
    return QLinear(QTensor(np.array(q), map_of_weights), bias, input, output, quantize_multiplier(0.5))


def test_constants_with_which_an_accumulator_could_leave_int32_are_refused():
    ends = 2**31 - 1
    assert linear(((128, 0),), (ends - 128 * 128,)).bias.item() == ends - 128 * 128
    for q, bias, bound in [
        (((128, 0),), (ends - 128 * 128 + 1,), 2**31),
        (((-128, 0),), (-ends + 128 * 128 - 1,), 2**31),
        (((1, 0),), (-(2**31),), 2**31 + 128),
        (((32767, -32768),) * 2, (ends, 0), ends + 65535 * 128),
    ]:
        with pytest.raises(
            ValueError,
            match=rf"QLinear might pass int32: with K = 2 products, .* may be {bound}, allowed is {ends}",
        ):
            linear(q, bias)
    with pytest.raises(ValueError, match=r"with K = 9 products, .* may be 19326173202, allowed is"):
        QConv2d(
            QTensor(np.full((1, 1, 3, 3), 32767), QParams(1.0, 0, INT16)),
            np.int32([0]),
            QParams(1.0, -32767, IntRange(-32768, 32767)),
            QParams(1.0, 0),
            quantize_multiplier(0.5),
        )


def test_sums_at_the_ends_of_int32_do_not_wrap():
    ends = 2**31 - 1
    for sign in (1, -1):
        layer = linear(((sign * 128, 0),), (sign * (ends - 128 * 128),))
        for accumulate in (integer_matmul, integer_only_matmul):
            acc = layer.accumulators(np.int8([[-128, 5]]), accumulate)
            assert acc.tolist() == [[sign * (ends - 2 * 128 * 128)]]
        assert layer(np.int8([[-128, 5]]), multiply=multiply_single_rounding).tolist() == [
            [127 if sign > 0 else -128]
        ]
    pool = QAveragePool.from_qparams(QParams(1.0, -32768, INT16), QParams(1.0, 0, INT16), count=2**15)
    q = np.full((1, 1, 2**7, 2**8), 32767, np.int16)  # the sum is 65535 * 2**15 = 2**31 - 2**15
    assert pool(q, multiply=multiply_single_rounding).tolist() == [[32767]]
    add = QAdd.from_qparams(*[QParams(1.0, -1000, IntRange(-1000, 1047))] * 2, QParams(1.0, 0, INT16))
    assert add(np.int16([1047]), np.int16([1047]), multiply=multiply_single_rounding).tolist() == [4094]
    q = np.int8([-128])
    add = QAdd.from_qparams(QParams(1.0, 127), QParams(1.0, 127), QParams(1.0, 0, INT16))
    assert add(q, q, multiply=multiply_double_rounding).tolist() == [-510]


def test_maps_whose_sums_could_leave_int32_are_refused():
    wide = QParams(1.0, -1000, IntRange(-1000, 1048))
    for left, right in [(wide, QParams(1.0, 0)), (QParams(1.0, 0), wide)]:
        with pytest.raises(
            ValueError, match=r"QAdd needs \|q - zero_point\| below 2\*\*11, but its maps allow 2048"
        ):
            QAdd.from_qparams(left, right, QParams(1.0, 0))
    sixteen = QParams(1.0, -32768, INT16)
    for count in (0, -1, 2**15 + 1):
        with pytest.raises(ValueError, match=rf"QAveragePool needs a count of 1..32768 pixels, got {count}"):
            QAveragePool(sixteen, QParams(1.0, 0), count, quantize_multiplier(0.5))


def test_the_integer_only_accumulators_take_and_refuse_what_the_others_do():
    q = np.full((1, 2), -32768)
    zero, all_ones = np.uint8([[0]]), np.uint8([[255]])
    for matmul in (integer_matmul, integer_only_matmul):
        name = matmul.__name__
        assert matmul(q[:, :1], q.T[:1]).item() == 2**30
        assert matmul(zero, all_ones, np.uint8(255)).item() == -65025  # not 1 * 255
        assert matmul(all_ones, zero, 0, np.uint64(255)).item() == -65025
        for factors in [(q, q.T), (q, 2 * -q.T.clip(-32767))]:
            with pytest.raises(
                ValueError, match=r"an accumulator might pass int32: K .* allowed is 2147483647"
            ):
                matmul(*factors)
        for wide in (2**17, -(2**17), 2**40):  # int64 sums of wider codes could wrap
            for operands in [(q + wide, q.T), (q, q.T + wide), (q, q.T, wide), (q, q.T, 0, wide)]:
                with pytest.raises(ValueError, match=rf"{name} needs integers in -32768\.\.65535, got"):
                    matmul(*operands)
        for operands in [(q * 0.5, q.T), (q, q.T * 0.5), (q, q.T, 0.5), (q, q.T, 0, 0.5)]:
            with pytest.raises(TypeError, match=f"[12] of {name} needs integers, got dtype float64"):
                matmul(*operands)
        for vectors in [(q[0], q.T), (q, q[0]), (q[0], q[0])]:
            with pytest.raises(ValueError, match=rf"q[12] of {name} needs a matrix, .* got shape \(2,\)"):
                matmul(*vectors)
        for Z in (np.zeros((3, 1), int), np.zeros((2, 1, 1), int)):  # which would make three rows of one
            with pytest.raises(
                ValueError, match=rf"zero_point1 of {name} has shape .* broadcast to .*\(1, 2\)"
            ):
                matmul(q, q.T, Z)
            with pytest.raises(
                ValueError, match=rf"zero_point2 of {name} has shape .* broadcast to .*\(1, 2\)"
            ):
                matmul(q.T, q, 0, Z)
        with pytest.raises(
            ValueError, match=rf"{name} cannot multiply shapes \(1, 0\) and \(0, 3\): K must be"
        ):
            matmul(np.zeros((1, 0), int), np.zeros((0, 3), int))
        with pytest.raises(
            ValueError, match=rf"{name} cannot multiply shapes \(1, 2\) and \(1, 2\): K differs"
        ):
            matmul(q, q)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"bias": np.zeros(1)}, r"QLinear needs an int32 bias of shape \(1,\), got float64, \(1,\)"),
        ({"bias": np.zeros(1, np.int64)}, r"needs an int32 bias of shape \(1,\), got int64"),
        ({"bias": (0, 0)}, r"needs an int32 bias of shape \(1,\), got int32, \(2,\)"),
        ({"q": (1, 2)}, r"QLinear needs weights \(out_channels, ...\), .* got shape \(2,\)"),
        ({"q": np.zeros((0, 2), int)}, r"QLinear needs weights .* got shape \(0, 2\)"),
        ({"zero_point": 3}, "needs weights .*, zero_point 0, .* zero_point 3"),
        ({"axis": 1}, r"needs weights .*, per-tensor or with axis=0, .* axis=1"),
        (
            {"input": QParams([1.0, 2.0], [0, 0], axis=1)},
            "codes between layers need per-tensor maps, got one with axis=1",
        ),
    ],
)
def test_impossible_constants_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        linear(**constants)


UNEQUAL = quantize_multiplier(np.array([0.5, 0.25]))
FLOAT = np.float32([0.5, 0.25])  # as multiply_float takes it
HOLDERS = {
    "QParams": lambda: QParams([0.5, 1.0], [3, 4], axis=0),
    "QTensor": lambda: QTensor(np.int8([[1, 2], [3, 4]]), QParams([0.5, 1.0], [0, 0], axis=0)),
    "FixedPointMultiplier": lambda: UNEQUAL,
    "QLinear": lambda: dataclasses.replace(
        linear(((1, 2), (3, 4)), (5, 6)), multiplier=UNEQUAL, negative_multiplier=FLOAT.copy()
    ),
    "QConv2d": lambda: QConv2d(
        QTensor(np.ones((2, 1, 1, 1), int), UNIT),
        np.int32([7, 8]),
        UNIT,
        UNIT,
        FLOAT.copy(),
        pad_code=3,
        padding=1,
    ),
    "QAdd": lambda: QAdd(UNIT, UNIT, UNIT, *(FLOAT.copy() for _ in range(3))),
    "QAveragePool": lambda: QAveragePool(UNIT, UNIT, 4, FLOAT.copy()),
}
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "replace": dataclasses.replace,
    **{
        f"pickle {protocol}": lambda x, protocol=protocol: pickle.loads(pickle.dumps(x, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


def parts(value):
    """Every value that a layer or a map holds, by its path."""
    if not dataclasses.is_dataclass(value):
        return {"": value}
    fields = {field.name: parts(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {f".{name}{path}": part for name, found in fields.items() for path, part in found.items()}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_nobody_can_write_to_the_arrays_of_a_copy(holder, how):
    value = HOLDERS[holder]()
    twin = COPIES[how](value)
    assert type(twin) is type(value) and twin is not value
    before, after = parts(value), parts(twin)
    assert before.keys() == after.keys()
    arrays = {path for path, part in before.items() if isinstance(part, np.ndarray)}
    assert arrays
    for path, part in after.items():
        assert type(part) is type(before[path]) and np.array_equal(part, before[path]), path
        assert path not in arrays or not (part.flags.writeable or before[path].flags.writeable), path
        assert path not in arrays or part.dtype == before[path].dtype, path


def test_layers_keep_their_own_multipliers():
    for holder, names in [
        ("QLinear", ["multiplier", "negative_multiplier"]),
        ("QConv2d", ["multiplier", "negative_multiplier"]),
        ("QAdd", ["left_multiplier", "right_multiplier", "output_multiplier"]),
        ("QAveragePool", ["multiplier"]),
    ]:
        for name in names:
            given = FLOAT.copy()
            layer = dataclasses.replace(HOLDERS[holder](), **{name: given})
            given[0] = 99
            assert getattr(layer, name).tolist() == [0.5, 0.25]
            with pytest.raises(ValueError, match="read-only"):
                getattr(layer, name)[0] = 99


def test_layers_keep_their_own_bias():
    bias = np.int32([5])
    layer = linear(bias=bias)
    bias[0] = 9
    assert layer.bias.tolist() == [5]
    with pytest.raises(ValueError, match="read-only"):
        layer.bias[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.bias = bias


NARROW = QParams(0.5, -100)
GEOMETRY = {"stride": 2, "padding": 100, "groups": 2, "pad_code": -90}


def test_numpy_integers_in_a_geometry_do_not_wrap():
    # 2 * np.int8(100) is -56
    def conv(make):
        geometry = {name: make(value) for name, value in GEOMETRY.items()}
        return dataclasses.replace(
            QConv2d.from_real(np.ones((2, 64, 3, 3)), np.zeros(2), NARROW, NARROW, groups=2), **geometry
        )

    q = np.int8([-128, 5])[np.random.default_rng(0).integers(0, 2, (1, 128, 2, 2))]
    assert np.array_equal(conv(np.int8).accumulators(q), conv(int).accumulators(q))
    assert all(type(getattr(conv(np.int8), name)) is int for name in GEOMETRY)
    pool = QAveragePool.from_qparams(UNIT, UNIT, count=np.uint8(4))
    assert type(pool.count) is int
    assert pool(np.int8([[[[1, 2], [3, 6]]]]), multiply=multiply_single_rounding).tolist() == [[3]]


@pytest.mark.parametrize("value", [1.0, True, "1", np.array([1]), np.array(1), np.ones((1, 2, 2), int), [1]])
def test_a_geometry_is_made_of_integers(value):
    layer = QConv2d.from_real(np.ones((1, 1, 1, 1)), np.zeros(1), UNIT, UNIT)
    for name in GEOMETRY:
        with pytest.raises(TypeError, match=f"{name} of QConv2d must be an integer, got"):
            dataclasses.replace(layer, **{name: value})
    with pytest.raises(TypeError, match="count of QAveragePool must be an integer, got"):
        QAveragePool.from_qparams(UNIT, UNIT, count=value)
    with pytest.raises(TypeError, match="count of QAveragePool must be an integer, got"):
        QAveragePool(UNIT, UNIT, value, quantize_multiplier(0.5))


def test_a_count_below_1_is_refused_under_all_settings():
    for reaction in ("ignore", "raise"):
        with np.errstate(all=reaction), pytest.raises(ValueError, match=r"needs a count of 1\..* got 0"):
            QAveragePool.from_qparams(UNIT, UNIT, count=0)


@pytest.mark.parametrize(("input", "dtype"), [(NARROW, np.uint8), (QParams(0.5, 200, UINT8), np.int8)])
def test_a_border_does_not_wrap_in_the_dtype_of_the_codes(input, dtype):
    layer = QConv2d.from_real(np.ones((1, 1, 1, 1)), np.zeros(1), input, input, padding=1)
    q = np.full((1, 1, 1, 1), 7)
    for codes in (q, q.astype(dtype)):
        acc = layer.accumulators(codes)[0, 0]
        assert acc[1, 1] == 127 * (7 - input.zero_point) and acc.sum() == acc[1, 1]  # a border of real zeros
        assert layer(codes, multiply=multiply_single_rounding)[0, 0, 0, 0] == input.zero_point


@pytest.mark.parametrize("accumulate", [integer_matmul, integer_only_matmul])
def test_an_empty_batch_stays_empty_in_every_layer(accumulate):
    one = {"multiply": multiply_single_rounding}
    to = QParams(0.5, 3, UINT8)
    flat = QLinear.from_real(np.ones((3, 2)), np.zeros(3), UNIT, to, slope=0.5)
    conv = QConv2d.from_real(np.ones((4, 1, 3, 3)), np.zeros(4), UNIT, to, padding=1, stride=2, groups=2)
    add, pool = QAdd.from_qparams(UNIT, UNIT, to), QAveragePool.from_qparams(UNIT, to, count=20)
    empty, images = np.zeros((0, 2), np.int8), np.zeros((0, 2, 5, 4), np.int8)
    for y, shape in [
        (flat(empty, accumulate=accumulate, **one), (0, 3)),
        (conv(images, accumulate=accumulate, **one), (0, 4, 3, 2)),
        (add(images, images, **one), images.shape),
        (pool(images, **one), (0, 2)),
    ]:
        assert y.shape == shape and y.dtype == np.uint8
    assert (
        accumulate(empty, np.ones((2, 3), np.int8)).shape
        == flat.accumulators(empty, accumulate).shape
        == (0, 3)
    )
    assert accumulate(np.ones((3, 2), np.int8), empty.T).shape == (3, 0)
    assert conv.accumulators(images, accumulate).dtype == np.int32


@pytest.mark.parametrize(
    ("bias", "input", "weight"),
    [
        (np.zeros(2), QParams([1.0, 2.0], [0, 0], axis=0), UNIT),
        (np.zeros(2), UNIT, QParams([1.0, 2.0], [0, 0], axis=1)),
        (np.zeros(2), UNIT, QParams([1.0, 2.0], [0, 0], axis=-1)),
        (np.zeros(1), UNIT, QParams([1.0, 2.0], [0, 0], axis=0)),
        (np.zeros((2, 2)), UNIT, QParams([1.0, 2.0], [0, 0], axis=0)),
        (np.zeros((1, 2)), UNIT, UNIT),
        (0.0, UNIT, UNIT),
        (0.0, UNIT, QParams([1.0], [0], axis=0)),
    ],
)
def test_a_bias_and_maps_that_do_not_fit_are_refused(bias, input, weight):
    with pytest.raises(ValueError, match=r"quantize_bias needs a bias \(out_channels,\), a per-tensor input"):
        quantize_bias(bias, input, weight)


@pytest.mark.parametrize("choice", [2, 1, None, "no"])
def test_per_channel_is_true_or_false(choice):
    with pytest.raises(TypeError, match="per_channel must be True or False, got"):
        weight_qparams(np.ones((1, 1)), per_channel=choice)


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"stride": 0}, "stride and groups >= 1, padding >= 0, got shape .*, stride=0"),
        ({"groups": 0}, "stride and groups >= 1, padding >= 0, got shape .*, groups=0"),
        ({"padding": -1}, "stride and groups >= 1, padding >= 0, got shape .*, padding=-1"),
        ({"groups": 2}, "3 output channels do not make 2 groups"),
    ],
)
def test_an_impossible_geometry_is_refused(geometry, message):
    qparams = QParams(1.0, 0)
    with pytest.raises(ValueError, match=message):
        QConv2d.from_real(np.ones((3, 1, 3, 3)), np.zeros(3), qparams, qparams, **geometry)
    with pytest.raises(ValueError, match=r"QConv2d needs weights of 4 axes, .* got shape \(3, 1, 3\)"):
        QConv2d.from_real(np.ones((3, 1, 3)), np.zeros(3), qparams, qparams)
    layer = QConv2d.from_real(np.ones((3, 1, 3, 3)), np.zeros(3), qparams, qparams)
    with pytest.raises(ValueError, match=r"pad_code of QConv2d needs integers in -128..127, got 128"):
        dataclasses.replace(layer, pad_code=128)
    with pytest.raises(TypeError, match=r"pad_code of QConv2d must be an integer, got 0\.5"):
        dataclasses.replace(layer, pad_code=0.5)


def test_codes_of_a_wrong_shape_dtype_or_range_are_refused():
    qparams, arithmetic = QParams(1.0, 0, INT4), {"multiply": multiply_single_rounding}
    conv = QConv2d.from_real(np.ones((2, 2, 3, 3)), np.zeros(2), qparams, qparams, padding=1, groups=1)
    for shape in [(1, 3, 4, 4), (1, 2, 4), (2, 4, 4), (0, 3, 4, 4), (1, 2, 0, 4), ()]:
        with pytest.raises(ValueError, match=r"QConv2d needs codes \(n, 2, h, w\), .* got shape"):
            conv(np.zeros(shape, np.int8), **arithmetic)
    unpadded = dataclasses.replace(conv, padding=0)
    with pytest.raises(
        ValueError, match=r"at least as large as the kernel \[3, 3\], got shape \(1, 2, 3, 2\)"
    ):
        unpadded(np.zeros((1, 2, 3, 2), np.int8), **arithmetic)
    assert unpadded(np.zeros((1, 2, 3, 3), np.int8), **arithmetic).shape == (1, 2, 1, 1)
    flat = QLinear.from_real(np.ones((3, 2)), np.zeros(3), qparams, qparams)
    for shape in [(1, 3), (2,), (1, 1, 2)]:
        with pytest.raises(ValueError, match=r"QLinear needs codes \(n, 2\), got shape"):
            flat(np.zeros(shape, np.int8), **arithmetic)
    add, pool = QAdd.from_qparams(*[qparams] * 3), QAveragePool.from_qparams(qparams, qparams, count=4)
    with pytest.raises(ValueError, match=r"QAdd needs two tensors of one shape, got \(1, 2\) and \(2, 1\)"):
        add(np.zeros((1, 2), int), np.zeros((2, 1), int), **arithmetic)
    for shape in [(1, 2, 4, 2), (1, 2, 2), (1, 2, 2, 2, 1)]:
        with pytest.raises(ValueError, match=r"QAveragePool needs codes .*, h \* w = 4, got"):
            pool(np.zeros(shape, int), **arithmetic)
    for layer, shape in [(conv, (1, 2, 4, 4)), (flat, (1, 2)), (pool, (1, 1, 2, 2))]:
        name = type(layer).__name__
        with pytest.raises(ValueError, match=f"{name} needs integers in -8..7, got 0..8"):
            layer(np.eye(*shape[-2:], dtype=int) * 8 + np.zeros(shape, int), **arithmetic)
        with pytest.raises(TypeError, match=f"{name} needs integers, got dtype float32"):
            layer(np.zeros(shape, np.float32), **arithmetic)
    for pair in [(np.int8([8]), np.int8([0])), (np.int8([0]), np.int8([8]))]:
        with pytest.raises(ValueError, match=r"QAdd needs integers in -8\.\.7, got 8"):
            add(*pair, **arithmetic)


def test_a_network_is_whole_and_takes_codes(network):
    with pytest.raises(ValueError, match=r"layers must be named .* in this order, got"):
        QuantizedNetwork(CNN, network.input, {"stem": network.layers["stem"]})
    with pytest.raises(TypeError, match="run needs integers, got dtype float32"):
        run(network, TEST[:1].astype(np.float32), multiply=multiply_single_rounding)
    with pytest.raises(TypeError, match="does not support item assignment"):
        network.layers["stem"] = None
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'multiply'"):
        run(network, input_codes(network, TEST[:1]))


def test_every_observer_and_range_makes_a_network():
    for choices in (
        {"observer": MSEObserver, "activation_range": INT4, "weight_range": INT4},
        {"symmetric": True},
        {"weight_range": int_range(2), "activation_range": int_range(2, signed=False)},
        {"weight_range": int_range(10), "activation_range": int_range(10)},
    ):
        network = integer_network(DIGITS.images[DIGITS.train[:50]], **choices)
        tensors = run(network, input_codes(network, TEST[:5]), multiply=multiply_single_rounding)
        assert tensors["logits"].shape == (5, 10)
        assert all((qparams.zero_point == 0) for qparams in network.qparams.values()) == bool(
            choices.get("symmetric")
        )
    assert np.array_equal(quantize(np.float32([0.0]), network.input), [network.input.zero_point])

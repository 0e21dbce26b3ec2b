"""qtutor/graph.py: a network is an argument; whatever its shapes, floats, integers and loops agree."""

import copy
import pickle

import numpy as np
import pytest
from exact import exact_single
from loop_cnn import run_loops
from networks import OTHER, other_network

import qtutor as qt
from qtutor.graph import Add, Conv, Graph, Linear, Pool, forward, run
from qtutor.models.digits import CNN


@pytest.fixture(scope="module")
def other():
    return other_network()


def test_the_shapes_of_a_graph_are_those_of_its_tensors(other):
    weights, x, network = other
    q = qt.quantize(x, network.input)
    for tensors in (forward(OTHER, weights, x), run(network, q, multiply=qt.multiply_half_up)):
        assert {name: t.shape[1:] for name, t in tensors.items()} == OTHER.shapes
        assert {len(t) for t in tensors.values()} == {40}


def test_another_network_runs_in_floats_as_its_nodes_say(other):
    weights, x, _ = other
    tensors = forward(OTHER, weights, x)
    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def pixel(name, source, n, o, h, v, node):
        """One number of a convolution, by its definition."""
        y, edge = 0.0, node.kernel // 2
        for c, i, j in np.ndindex(w[f"{name}.weight"].shape[1:]):
            row, column = node.stride * h + i - edge, node.stride * v + j - edge
            if 0 <= row < source.shape[2] and 0 <= column < source.shape[3]:
                seen = source[n, o if node.depthwise else c, row, column]
                y += w[f"{name}.weight"][o, c, i, j] * float(seen)
        gamma, beta, mean, variance = (w[f"{name}.{v}"][o] for v in ("gamma", "beta", "mean", "variance"))
        y = gamma * (y - mean) / np.sqrt(variance + 1e-5) + beta
        return y if y > 0 else node.slope * y

    rng = np.random.default_rng(6)
    for node in OTHER.nodes:
        y = tensors[node.name]
        match node:
            case Conv():
                for n, o, h, v in rng.integers(0, y.shape, (30, 4)):
                    expected = pixel(node.name, tensors[node.source], n, o, h, v, node)
                    assert y[n, o, h, v] == pytest.approx(expected, rel=1e-4, abs=1e-4)
            case Add():
                assert np.array_equal(y, tensors[node.left] + tensors[node.right])
            case Pool():
                assert y == pytest.approx(
                    np.einsum("nchw->nc", tensors[node.source]) / 15, rel=1e-4, abs=1e-5
                )
            case Linear():
                expected = tensors[node.source] @ weights["answer.weight"].T + weights["answer.bias"]
                assert np.array_equal(y, expected)


def test_another_network_on_integers_has_the_codes_of_loops_in_python_integers(other):
    _, x, network = other
    q = qt.quantize(x[:4], network.input)
    tensors = run(network, q, multiply=qt.multiply_single_rounding)
    for i, image in enumerate(q.tolist()):
        for name, codes in run_loops(network, image, exact_single).items():
            assert tensors[name][i].ravel().tolist() == codes, name


def test_another_network_answers_on_integers_as_in_floats(other):
    weights, x, network = other
    real = forward(OTHER, weights, x)
    codes = run(network, qt.quantize(x, network.input), multiply=qt.multiply_double_rounding)
    for name, q in codes.items():
        assert qt.sqnr_db(real[name], qt.dequantize(q, network.qparams[name])) > 20, name


def test_copies_and_pickles_of_a_network_are_the_network_and_cannot_be_written(other):
    _, x, network = other
    q = qt.quantize(x[:2], network.input)
    expected = run(network, q, multiply=qt.multiply_half_up)
    for twin in (copy.copy(network), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        tensors = run(twin, q, multiply=qt.multiply_half_up)
        assert all(np.array_equal(tensors[name], expected[name]) for name in expected)
        with pytest.raises(TypeError, match="does not support item assignment"):
            twin.layers["first"] = None


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Pool("a", "input"), Pool("a", "input")], "two tensors are named 'a'"),
        ([Pool("input", "input")], "two tensors are named 'input'"),
        ([Pool("a", "b")], r"'a' reads 'b', but there are only \['input'\] before it"),
        ([Add("a", "input", "a")], r"'a' reads 'a', but there are only \['input'\]"),
        ([Conv("a", "input", 1, 2)], r"Conv 'a' needs input of shape \(1, 5, 9\), got \(3, 5, 9\)"),
        ([Conv("a", "input", 3, 4, depthwise=True)], "depthwise 'a' needs in_channels = out_channels"),
        ([Conv("a", "input", 3, 4, kernel=2)], "Conv 'a' needs an odd kernel and stride >= 1"),
        ([Conv("a", "input", 3, 4, stride=0)], "Conv 'a' needs an odd kernel and stride >= 1"),
        (
            [Conv("a", "input", 3, 4), Add("b", "a", "input")],
            r"Add 'b' needs a of shape \(3, 5, 9\), got \(4",
        ),
        ([Pool("a", "input"), Pool("b", "a")], r"Pool 'b' needs a of shape \(channels, h, w\), got \(3,\)"),
        ([Pool("a", "input"), Conv("b", "a", 3, 1)], r"Conv 'b' needs a of shape \(3, h, w\), got \(3,\)"),
        ([Pool("a", "input"), Linear("b", "a", 4, 1)], r"Linear 'b' needs a of shape \(4,\), got \(3,\)"),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused_with_the_node_that_makes_none(nodes, message):
    with pytest.raises(ValueError, match=message):
        Graph(nodes, (3, 5, 9))


def test_tensors_of_another_network_are_refused(other):
    weights, x, network = other
    q = qt.quantize(x, network.input)
    with pytest.raises(TypeError, match="forward needs x in float32, got float64"):
        forward(OTHER, weights, x.astype(np.float64))
    for wrong in (x[0], x[:, :1], np.float32(1)):
        with pytest.raises(ValueError, match=r"forward needs x of shape \(n, \*\(3, 5, 9\)\), got"):
            forward(OTHER, weights, wrong)
    for wrong in (q[0], q[:, :1], np.int8(1)):
        with pytest.raises(ValueError, match=r"run needs codes of shape \(n, \*\(3, 5, 9\)\), got"):
            run(network, wrong, multiply=qt.multiply_half_up)
    with pytest.raises(ValueError, match=r"weights lack 'stem\.weight'"):
        forward(CNN, weights, x)

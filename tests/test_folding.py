"""qtutor/tutorial/folding.py: zero-points in constants change no code and cost no operation, as counted."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from networks import input_codes, integer_network, other_network

from qtutor.affine import quantize
from qtutor.fixedpoint import multiply_single_rounding, quantize_multiplier
from qtutor.graph import inputs_of
from qtutor.graph import run as run_network
from qtutor.models.digits import load_digits
from qtutor.rounding import INT8, UINT8, int_range
from qtutor.tutorial.folding import count, counted, run

IMAGES = load_digits().images[:60]


def counts(network, fold):
    tally = Counter()
    codes = run(network, input_codes(network, IMAGES[40:]), tally, fold=fold)
    return codes, tally


def assert_same_codes(network, q, fold):
    assert any(qparams.zero_point != 0 for qparams in network.qparams.values())
    codes = run(network, q, Counter(), fold=fold)
    for name, expected in run_network(network, q, multiply=multiply_single_rounding).items():
        np.testing.assert_array_equal(codes[name], expected, err_msg=name, strict=True)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("to", [INT8, UINT8, int_range(4)], ids=str)
def test_no_code_changes_where_the_zero_points_stand(to, fold):
    network = integer_network(IMAGES[:40], activation_range=to)
    assert_same_codes(network, input_codes(network, IMAGES[40:]), fold)


@pytest.mark.parametrize("fold", [False, True])
def test_no_code_changes_in_a_network_of_every_kind_of_node(fold):
    _, x, network = other_network()
    assert_same_codes(network, quantize(x, network.input), fold)


def test_folded_zero_points_cost_no_operation_that_a_symmetric_network_would_not_do():
    affine, symmetric = integer_network(IMAGES[:40]), integer_network(IMAGES[:40], symmetric=True)
    assert counts(affine, fold=True)[1] == counts(symmetric, fold=True)[1]


def test_in_plain_sight_they_cost_one_addition_for_each_code_read_and_each_written():
    network = integer_network(IMAGES[:40])
    codes, folded = counts(network, fold=True)
    _, in_sight = counts(network, fold=False)
    read = sum(codes[name].size for node in network.graph.nodes for name in inputs_of(node))
    written = sum(codes[node.name].size for node in network.graph.nodes)
    assert in_sight - folded == {"additions": read + written}
    assert not folded - in_sight


@pytest.mark.parametrize("shift", [24, 25, 28])
def test_a_zero_point_too_large_for_its_constant_is_refused_not_wrapped(shift):
    """At shift 28, -98 * 2**59 wraps in int64 and the codes would be wrong; 2**62 are left to the product."""
    network = integer_network(IMAGES[:40])
    stem = network.layers["stem"]
    tiny = quantize_multiplier(0.75 * 2.0**-shift * np.ones(len(stem.bias)))
    layers = network.layers | {"stem": replace(stem, multiplier=tiny, negative_multiplier=None)}
    network = replace(network, layers=layers)
    q, Z3 = input_codes(network, IMAGES[40:42]), int(stem.output.zero_point)
    assert Z3 == -98
    in_sight = run(network, q, Counter(), fold=False)
    assert (in_sight["stem"] == Z3).all()
    if shift == 24:
        np.testing.assert_array_equal(run(network, q, Counter(), fold=True)["stem"], in_sight["stem"])
    else:
        with pytest.raises(ValueError, match=rf"stem.*2\*\*62, got zero-point -98 and shift {shift}"):
            run(network, q, Counter(), fold=True)


def test_only_what_depends_on_the_input_is_counted():
    tally = Counter()
    q, weights = counted(np.arange(6).reshape(2, 3), tally), np.ones((3, 4), np.int64)
    offset = 5 * weights.sum(axis=0) + 1  # known before q
    assert tally == {}
    acc = q @ weights
    assert tally == {"products": 2 * 3 * 4, "additions": 2 * 2 * 4}
    assert (acc - offset).tolist() == [[-13] * 4, [-4] * 4]
    assert tally == {"products": 24, "additions": 16 + 8}
    q.sum(axis=1)
    assert tally == {"products": 24, "additions": 24 + 4}
    (q << 2) >> 1
    assert tally["shifts"] == 12


def test_a_program_costs_what_waits_for_the_input():
    def distance(q, w, Z):
        return q @ (w - Z)

    q, w = np.array([[1, 2]]), np.array([[3], [5]])
    for waits, additions in {"q": 1, "q Z": 3, "q w": 3, "Z": 3}.items():
        result, tally = count(distance, waits, q, w, 2)
        assert result.tolist() == [[7]]
        assert tally == {"products": 2, "additions": additions}


def test_an_operation_that_is_not_counted_is_refused():
    with pytest.raises(NotImplementedError, match="cannot count floor_divide"):
        counted(np.arange(3), Counter()) // 2
    with pytest.raises(NotImplementedError, match=r"cannot count multiply\.reduce"):
        counted(np.arange(3), Counter()).prod()


def test_floats_are_not_counted():
    with pytest.raises(TypeError, match="integers, got dtype float64"):
        counted(np.array([0.5]), Counter())

"""qtutor/tutorial/mistakes.py: each mistake is the one that it is called, and nothing else."""

import numpy as np
import pytest
from networks import input_codes, integer_network

from qtutor import QAdd, QLinear, QParams, multiply_single_rounding
from qtutor.graph import run
from qtutor.models.digits import load_digits
from qtutor.tutorial import mistakes

DIGITS = load_digits()
ONCE = {"multiply": multiply_single_rounding}


@pytest.fixture(scope="module")
def network():
    return integer_network(DIGITS.images[DIGITS.train])


def test_each_of_the_nine_changes_codes_of_the_network(network):
    q = input_codes(network, DIGITS.images[DIGITS.test])
    right = run(network, q, **ONCE)
    for name, (wrong, how) in mistakes.nine(network).items():
        tensors = run(wrong, q, **ONCE | how)
        assert any(not np.array_equal(tensors[tensor], right[tensor]) for tensor in right), name


def test_a_layer_that_is_swapped_leaves_the_others_and_the_network_alone(network):
    wrong = mistakes.swapped(network, mistakes.without_bias, ["logits"])
    assert not wrong.layers["logits"].bias.any() and network.layers["logits"].bias.any()
    assert all(wrong.layers[name] is layer for name, layer in network.layers.items() if name != "logits")


def test_only_a_convolution_pads_and_only_a_weighted_layer_has_a_bias(network):
    add = network.layers["block1.add"]
    assert mistakes.padded_with_raw_0(add) is add and mistakes.without_bias(add) is add
    assert mistakes.padded_with_raw_0(network.layers["stem"]).pad_code == 0


def test_what_wraps_is_right_modulo_the_number_of_codes_and_right_where_it_fits():
    layer = QLinear.from_real(np.array([[1.0]]), np.zeros(1), QParams(0.25, 0), QParams(0.0625, 100))
    q = np.int8([[6], [7], [-60]])  # 24, 28 and -240 steps from 100
    assert layer(q, **ONCE).tolist() == [[124], [127], [-128]]
    assert mistakes.wraps(layer)(q, **ONCE).tolist() == [[124], [-128], [116]]


def test_an_add_as_if_of_one_scale_is_right_only_where_the_scales_are_equal():
    q = np.int8([10, 20]), np.int8([3, -4])
    same = QAdd.from_qparams(QParams(0.5, 1), QParams(0.5, -2), QParams(0.5, 3))
    assert mistakes.one_scale(same)(*q, **ONCE).tolist() == same(*q, **ONCE).tolist() == [17, 20]
    other = QAdd.from_qparams(QParams(0.5, 1), QParams(0.25, -2), QParams(0.5, 3))
    assert mistakes.one_scale(other)(*q, **ONCE).tolist() == [17, 20]
    assert other(*q, **ONCE).tolist() == [15, 21]


def test_an_accumulator_of_16_bits_that_clamps_stops_at_its_ends():
    q1, q2 = np.full((1, 4), 100, np.int8), np.full((4, 1), 100, np.int8)
    assert mistakes.clamped_at_16_bits(q1, q2).tolist() == [[32767]]
    assert mistakes.clamped_at_16_bits(-q1, q2, 0, 0).tolist() == [[-32768]]
    assert mistakes.without_column_term(q1, q2, 7, 0).tolist() == [[40000]]

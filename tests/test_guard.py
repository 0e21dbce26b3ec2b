"""qtutor/tutorial/guard.py: the guard lets integers pass and stops every float, in the digits CNN too."""

import numpy as np
import pytest
from networks import input_codes, integer_network

from qtutor import (
    integer_matmul,
    multiply_double_rounding,
    multiply_float,
    multiply_half_up,
    multiply_single_rounding,
)
from qtutor.graph import run
from qtutor.layers import QAdd, QAveragePool, QConv2d, integer_only_matmul
from qtutor.models.digits import CNN, load_digits
from qtutor.tutorial.guard import FloatOperation, Guarded, guarded, no_floats

DIGITS = load_digits()
TEST = DIGITS.images[DIGITS.test]


@pytest.fixture(scope="module")
def network():
    return integer_network(DIGITS.images[DIGITS.train])


@pytest.fixture
def guard():
    with no_floats():
        yield


def test_the_guard_is_on_duty_only_inside():
    asarray = np.asarray
    with no_floats():
        assert isinstance(np.asarray(guarded(np.arange(3))), Guarded)
    assert np.asarray is asarray


def test_floats_get_no_guard():
    for x in (np.zeros(2), np.float32(1), [np.arange(2), np.zeros(2)]):
        with pytest.raises(FloatOperation, match="float"):
            guarded(x)


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

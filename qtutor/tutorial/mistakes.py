"""Classic mistakes, each put into an integer network that is right otherwise (for notebook 07).

A mistake is a layer of one's own making, or another `multiply` or `accumulate` for `run`.

>>> import numpy as np
>>> from qtutor import QParams, QLinear, multiply_single_rounding
>>> layer = QLinear.from_real(np.array([[1.0]]), np.zeros(1), QParams(0.25, 0), QParams(0.0625, 100))
>>> layer(np.int8([[8]]), multiply=multiply_single_rounding)  # 32 + 100, which saturates
array([[127]], dtype=int8)
>>> wraps(layer)(np.int8([[8]]), multiply=multiply_single_rounding)
array([[-124]], dtype=int8)
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from qtutor.affine import QParams
from qtutor.fixedpoint import (
    FixedPointMultiplier,
    Multiply,
    multiply_double_rounding,
    multiply_float,
    quantize_multiplier,
    requantize,
)
from qtutor.graph import QuantizedNetwork
from qtutor.layers import QAdd, QConv2d
from qtutor.matmul import integer_matmul
from qtutor.rounding import int_range


def swapped(
    network: QuantizedNetwork, change: Callable[[Any], Any], names: Iterable[str]
) -> QuantizedNetwork:
    """The network with change(layer) in the place of each layer of these names."""
    changed = {name: change(network.layers[name]) for name in names}
    return replace(network, layers={**network.layers, **changed})


def padded_with_raw_0(layer: Any) -> Any:
    """The layer, which pads with the byte 0 if it pads at all."""
    return replace(layer, pad_code=0) if isinstance(layer, QConv2d) else layer


def without_bias(layer: Any) -> Any:
    """The layer with biases of 0, if it has any."""
    return replace(layer, bias=np.zeros_like(layer.bias)) if hasattr(layer, "bias") else layer


def wraps(layer: Any) -> Callable[..., np.ndarray]:
    """The layer with room for 16 bits in its output, cut down to the codes that there are by modulo."""
    there = layer.output
    wide = replace(layer, output=QParams(there.scale, there.zero_point, int_range(16)))

    def compute(*q: np.ndarray, **how: Any) -> np.ndarray:
        y = wide(*q, **how).astype(np.int32) - there.qmin
        return np.asarray(y % (there.qmax - there.qmin + 1) + there.qmin).astype(there.codes.dtype)

    return compute


def one_scale(layer: QAdd) -> Callable[..., np.ndarray]:
    """An add that counts the steps of both sides as if they were of one length, the left one's."""
    M = quantize_multiplier(float(layer.left.scale) / float(layer.output.scale))

    def compute(q1: np.ndarray, q2: np.ndarray, *, multiply: Multiply) -> np.ndarray:
        steps = q1.astype(np.int32) - layer.left.zero_point + q2 - layer.right.zero_point
        return requantize(steps, M, layer.output, multiply=multiply)

    return compute


def without_column_term(q1: np.ndarray, q2: np.ndarray, *zero_points: object) -> np.ndarray:
    """The sum of products, with no zero-point taken into account."""
    return integer_matmul(q1, q2)


def clamped_at_16_bits(*q: Any) -> np.ndarray:
    """Accumulators as they come out of a register of 16 bits that saturates."""
    return np.clip(integer_matmul(*q), -(2**15), 2**15 - 1)


def by_float32(acc: np.ndarray, M: FixedPointMultiplier) -> np.ndarray:
    """No mistake: one float32 multiplication, half to even, nearly as in ONNX Runtime."""
    return multiply_float(acc, M.real)


def nine(network: QuantizedNetwork) -> dict[str, tuple[QuantizedNetwork, dict[str, Any]]]:
    """{mistake: (network, what `run` gets besides)}: nine of the twelve that chapter 07 compares."""
    adds = [name for name, layer in network.layers.items() if isinstance(layer, QAdd)]
    return {
        "pad with raw 0 in one layer": (swapped(network, padded_with_raw_0, ["block2.depthwise"]), {}),
        "no bias anywhere": (swapped(network, without_bias, network.layers), {}),
        "no bias in the last layer": (swapped(network, without_bias, ["logits"]), {}),
        "no column term": (network, {"accumulate": without_column_term}),
        "add as if of one scale": (swapped(network, one_scale, adds), {}),
        "wrap instead of saturate": (swapped(network, wraps, network.layers), {}),
        "int16 accumulator, clamped": (network, {"accumulate": clamped_at_16_bits}),
        "round twice": (network, {"multiply": multiply_double_rounding}),
        "float32 multiplier": (network, {"multiply": by_float32}),
    }

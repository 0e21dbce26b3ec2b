"""Exercises of chapter 07: a network on integers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from qtutor.affine import dequantize, quantize
from qtutor.error import sqnr_db
from qtutor.fixedpoint import multiply_single_rounding
from qtutor.graph import QuantizedNetwork, calibrate, forward, quantize_network, run
from qtutor.layers import fold_batch_norm
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.rounding import INT8, int_range, round_half_away, round_half_even, saturate
from qtutor.tutorial.exercises import Choice, Exercise, Function

Array = np.ndarray
rng = np.random.default_rng(7)


def int8(codes: list) -> Array:
    return np.array(codes, np.int8)


def along_channels(g: Array, W: Array) -> Array:
    return g.reshape(-1, *[1] * (W.ndim - 1)) * W


# --- 7.1: fold a batch norm into a convolution that has a bias already ---


def fold(W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    folded, bias = fold_batch_norm(W, gamma, beta, mean, variance, epsilon=1e-5)
    return folded, bias + gamma / np.sqrt(variance + 1e-5) * b


def fold_variance(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / (variance + 1e-5)
    return along_channels(g, W), beta + g * (b - mean)


def fold_without_epsilon(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / np.sqrt(variance)
    return along_channels(g, W), beta + g * (b - mean)


def fold_bias_unscaled(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / np.sqrt(variance + 1e-5)
    return along_channels(g, W), beta + b - g * mean


def fold_mean_unscaled(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / np.sqrt(variance + 1e-5)
    return along_channels(g, W), beta + g * b - mean


def fold_without_own_bias(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / np.sqrt(variance + 1e-5)
    return along_channels(g, W), beta - g * mean


def fold_epsilon_outside(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / (np.sqrt(variance) + 1e-5)
    return along_channels(g, W), beta + g * (b - mean)


def fold_mean_added(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / np.sqrt(variance + 1e-5)
    return along_channels(g, W), beta + g * (b + mean)


def fold_input_channels(
    W: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array
) -> tuple[Array, Array]:
    g = gamma / np.sqrt(variance + 1e-5)
    return along_channels(g, W.swapaxes(0, 1)).swapaxes(0, 1), beta + g * (b - mean)


def norm(channels: int) -> tuple[Array, ...]:
    return (*rng.normal(size=(4, channels)), rng.uniform(1e-5, 0.5, size=channels))


# --- 7.2: quantize a bias, one scale per output channel ---


def bias_codes(b: Array, S1: float, S2: Array) -> Array:
    return round_half_even(b / (S1 * S2)).astype(np.int32)


def bias_at_weight_scale(b: Array, S1: float, S2: Array) -> Array:
    return round_half_even(b / S2).astype(np.int32)


def bias_at_one_scale(b: Array, S1: float, S2: Array) -> Array:
    return round_half_even(b / (S1 * S2.max())).astype(np.int32)


def bias_without_brackets(b: Array, S1: float, S2: Array) -> Array:
    return round_half_even(b / S1 * S2).astype(np.int32)


def bias_at_input_scale(b: Array, S1: float, S2: Array) -> Array:
    return round_half_even(b / S1).astype(np.int32)


def bias_half_away(b: Array, S1: float, S2: Array) -> Array:
    return round_half_away(b / (S1 * S2)).astype(np.int32)


def bias_multiplied(b: Array, S1: float, S2: Array) -> Array:
    return round_half_even(b * (S1 * S2)).astype(np.int32)


def bias_truncated(b: Array, S1: float, S2: Array) -> Array:
    return (b / (S1 * S2)).astype(np.int32)


def bias_in_int8(b: Array, S1: float, S2: Array) -> Array:
    return saturate(round_half_even(b / (S1 * S2)), INT8)


# --- 7.3: convert a layer ---


Layer = tuple[Array, Array, Array]


def convert(W: Array, b: Array, S1: float, S3: float) -> tuple:
    return _converted(W, b, S1, S3, np.abs(W).reshape(len(W), -1).max(axis=1) / 127)


def _converted(W: Array, b: Array, S1: float, S3: float, S2: Array) -> Layer:
    w = saturate(round_half_even(W / S2.reshape(-1, *[1] * (W.ndim - 1))), INT8)
    return w, bias_codes(b, S1, S2), S1 * S2 / S3


def convert_at_one_scale(W: Array, b: Array, S1: float, S3: float) -> Layer:
    return _converted(W, b, S1, S3, np.full(len(W), np.abs(W).max() / 127))


def convert_signed(W: Array, b: Array, S1: float, S3: float) -> Layer:
    return _converted(W, b, S1, S3, W.reshape(len(W), -1).max(axis=1) / 127)


def convert_with_128(W: Array, b: Array, S1: float, S3: float) -> Layer:
    return _converted(W, b, S1, S3, np.abs(W).reshape(len(W), -1).max(axis=1) / 128)


def convert_with_255_steps(W: Array, b: Array, S1: float, S3: float) -> Layer:
    rows = W.reshape(len(W), -1)
    return _converted(W, b, S1, S3, (rows.max(axis=1) - rows.min(axis=1)) / 255)


def convert_input_channels(W: Array, b: Array, S1: float, S3: float) -> Layer:
    S2 = np.abs(W).max(axis=(0, 2, 3)) / 127
    return round_half_even(W / S2[:, None, None]).astype(np.int8), bias_codes(b, S1, S2), S1 * S2 / S3


def convert_bias_without_input(W: Array, b: Array, S1: float, S3: float) -> Layer:
    w, _, M = convert(W, b, S1, S3)
    return w, bias_codes(b, 1.0, M * S3 / S1), M


def convert_bias_to_output(W: Array, b: Array, S1: float, S3: float) -> Layer:
    w, _, M = convert(W, b, S1, S3)
    return w, bias_codes(b, S3, np.ones(len(b))), M


def convert_without_output(W: Array, b: Array, S1: float, S3: float) -> Layer:
    w, q_b, M = convert(W, b, S1, S3)
    return w, q_b, M * S3


def convert_upside_down(W: Array, b: Array, S1: float, S3: float) -> Layer:
    w, q_b, M = convert(W, b, S1, S3)
    return w, q_b, 1 / M


def convert_truncating(W: Array, b: Array, S1: float, S3: float) -> Layer:
    _, q_b, M = convert(W, b, S1, S3)
    return (W / (M * S3 / S1).reshape(-1, 1, 1, 1)).astype(np.int8), q_b, M


# --- 7.4: a residual add ---


def add(q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int) -> Array:
    return _codes(S1 * _steps(q1, Z1) + S2 * _steps(q2, Z2), S3, Z3)


def _steps(q: Array, Z: int) -> Array:
    return q.astype(np.int32) - Z


def _codes(real: Array, S: float, Z: int) -> Array:
    return saturate(round_half_even(real / S) + Z, INT8).astype(np.int8)


def add_codes(q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int) -> Array:
    return saturate(q1.astype(np.int32) + q2, INT8).astype(np.int8)


def add_one_scale(q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int) -> Array:
    return _codes(S1 * (_steps(q1, Z1) + _steps(q2, Z2)), S3, Z3)


def add_without_zero_points(
    q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int
) -> Array:
    return _codes(S1 * q1 + S2 * q2, S3, Z3)


def add_without_output_zero_point(
    q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int
) -> Array:
    return _codes(S1 * _steps(q1, Z1) + S2 * _steps(q2, Z2), S3, 0)


def add_rounded_early(
    q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int
) -> Array:
    sides = round_half_even(S1 / S3 * _steps(q1, Z1)), round_half_even(S2 / S3 * _steps(q2, Z2))
    return saturate(sides[0] + sides[1] + Z3, INT8).astype(np.int8)


def add_in_int8(q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int) -> Array:
    return _codes(S1 * (q1 - np.int8(Z1)) + S2 * (q2 - np.int8(Z2)), S3, Z3)


def add_wrapped(q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int) -> Array:
    real = S1 * _steps(q1, Z1) + S2 * _steps(q2, Z2)
    return (round_half_even(real / S3) + Z3).astype(np.int32).astype(np.int8)


def add_truncated(q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int) -> Array:
    real = S1 * _steps(q1, Z1) + S2 * _steps(q2, Z2)
    return saturate(np.trunc(real / S3 + Z3), INT8).astype(np.int8)


def add_before_rounding(
    q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int
) -> Array:
    real = S1 * _steps(q1, Z1) + S2 * _steps(q2, Z2)
    return saturate(round_half_even(real / S3 + Z3), INT8).astype(np.int8)


def add_without_output_scale(
    q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int
) -> Array:
    return _codes(S1 * _steps(q1, Z1) + S2 * _steps(q2, Z2), 1.0, Z3)


def add_saturated_early(
    q1: Array, q2: Array, S1: float, Z1: int, S2: float, Z2: int, S3: float, Z3: int
) -> Array:
    real = S1 * _steps(q1, Z1) + S2 * _steps(q2, Z2)
    return (saturate(round_half_even(real / S3), INT8) + np.int32(Z3)).astype(np.int8)


# --- 7.5: a convolution along a line, as it was posted, has four bugs ---


def conv1d(q: Array, w: Array, q_b: int, Z1: int, M: float, Z3: int) -> Array:
    return conv1d_with_bugs()(q, w, q_b, Z1, M, Z3)


def conv1d_with_bugs(*bugs: str) -> Callable[[Array, Array, int, int, float, int], Array]:
    """The convolution with some of the bugs named in BUGS."""

    def answer(q: Array, w: Array, q_b: int, Z1: int, M: float, Z3: int) -> Array:
        kernel = w[::-1] if "the kernel" in bugs else w
        padded = np.pad(q.astype(np.int32), 1, constant_values=0 if "the border" in bugs else Z1)
        acc = np.correlate(padded - Z1, kernel.astype(np.int32), "valid") + q_b
        y = np.trunc(M * acc + Z3) if "the rounding" in bugs else round_half_even(M * acc) + Z3
        return (y.astype(np.int32) if "the saturation" in bugs else saturate(y, INT8)).astype(np.int8)

    return answer


BUGS = {
    "the kernel": "you let np.convolve flip the kernel",
    "the border": "you pad with the byte 0",
    "the rounding": "you cast to int8 without rounding",
    "the saturation": "you cast to int8 without saturating",
}


def half_repaired() -> dict[str, Callable]:
    """The ways to repair one or two of the four: the report says how many are left, but not which."""
    answers = {}
    for count, left in ((1, "three"), (2, "two")):
        for repaired in combinations(BUGS, count):
            words = f"you repair {' and '.join(repaired)}, and {left} bugs are left"
            answers[words] = conv1d_with_bugs(*(bug for bug in BUGS if bug not in repaired))
    return answers


# --- 7.6: bits for each layer, within a budget ---

BUDGET, ENOUGH = 3_500, 15.0  # bytes of weights, dB of the logits
SIZES = {
    "stem": 216,
    "block1.depthwise": 216,
    "block1.pointwise": 576,
    "down.depthwise": 216,
    "down.pointwise": 1_152,
    "block2.depthwise": 432,
    "block2.pointwise": 2_304,
    "logits": 480,
}


@cache
def laboratory() -> tuple[Any, dict[int, QuantizedNetwork], Array]:
    """Validation digits, the network with weights of 2..8 bits, and the float network's logits."""
    digits, weights = load_digits(), load_weights()
    maps = calibrate(CNN, weights, to_input(digits.images[digits.train]))
    networks = {
        bits: quantize_network(CNN, weights, maps, weight_range=int_range(bits)) for bits in range(2, 9)
    }
    x = to_input(digits.images[digits.validation])
    return x, networks, forward(CNN, weights, x)["logits"].astype(np.float64)


def logits_db(bits: Sequence[int]) -> float:
    """SQNR of the logits on the validation images, with so many bits for the weights of each layer."""
    x, networks, logits = laboratory()
    chosen = dict(zip(SIZES, bits, strict=True))
    layers = {name: networks[chosen.get(name, 8)].layers[name] for name in networks[8].layers}
    network = replace(networks[8], layers=layers)
    q = run(network, quantize(x, network.input), multiply=multiply_single_rounding)["logits"]
    return sqnr_db(logits, dequantize(q, network.qparams["logits"]))


def budget_is_missed(answer: Sequence[int]) -> str | None:
    bits = tuple(answer)
    if len(bits) != len(SIZES) or not all(isinstance(b, int | np.integer) and 2 <= b <= 8 for b in bits):
        return f"Eight integers are needed, 2..8, for {', '.join(SIZES)}."
    size = sum(b * count for b, count in zip(bits, SIZES.values(), strict=True)) / 8
    if size > BUDGET:
        return f"These weights take {size:,.0f} bytes, and there are only {BUDGET:,}."
    sqnr = logits_db(bits)
    if sqnr < ENOUGH:
        return f"The logits come to {sqnr:.1f} dB with {size:,.0f} bytes; {ENOUGH:g} dB are asked for."
    return None


EXERCISES: dict[str, Exercise] = {
    "7.1": Function(
        cases=[
            (
                np.array([[1.0, 2.0], [3.0, -4.0]]).reshape(2, 2, 1, 1),
                *(np.array([0.5, 2.0]), np.array([2.0, 1.0]), np.array([0.0, 3.0])),
                *(np.array([1.5, -1.0]), np.array([0.25, 4.0])),
            ),
            (rng.normal(size=(3, 3, 3, 3)), *norm(3)),
        ],
        expected=fold,
        mistakes={
            "you divide by the variance, not by its root": fold_variance,
            "you leave out epsilon": fold_without_epsilon,
            "you add epsilon to the root, not under it": fold_epsilon_outside,
            "you scale along the input channels, not the output channels": fold_input_channels,
            "you add the mean instead of subtracting it": fold_mean_added,
            "you do not scale the convolution's own bias": fold_bias_unscaled,
            "you do not scale the mean": fold_mean_unscaled,
            "you leave out the convolution's own bias": fold_without_own_bias,
        },
    ),
    "7.2": Function(
        cases=[
            (np.array([1.0, -0.275]), 0.5, np.array([0.25, 0.0625])),
            (np.array([0.15625, 3.0, -40.0]), 0.25, np.array([0.25, 0.5, 0.03125])),  # 2.5 steps: a tie
        ],
        expected=bias_codes,
        mistakes={
            "you leave the input's scale out": bias_at_weight_scale,
            "you leave the weights' scales out": bias_at_input_scale,
            "you divide by one scale and multiply by the other": bias_without_brackets,
            "you break the tie away from zero, not to even": bias_half_away,
            "you take the largest scale for all channels": bias_at_one_scale,
            "you multiply by the scale instead of dividing": bias_multiplied,
            "you truncate instead of rounding": bias_truncated,
            "you saturate the bias to int8": bias_in_int8,
        },
    ),
    "7.3": Function(
        cases=[
            (
                np.array([[1.27, -0.5], [0.05, -0.635]]).reshape(2, 2, 1, 1),
                *(np.array([0.5, -0.0101]), 0.02, 0.1),
            ),
            (
                rng.normal(size=(2, 2, 3, 3)) * np.reshape([1.0, 0.1], (2, 1, 1, 1)),
                np.array([-1.0, 2.0]),
                0.1,
                0.05,
            ),
        ],
        expected=convert,
        mistakes={
            "you take one scale for all output channels": convert_at_one_scale,
            "you take a scale for each input channel, which no multiplier can undo": convert_input_channels,
            "you take the largest weight, though a negative one may be larger": convert_signed,
            "you divide by 128, so that the largest weight has no code": convert_with_128,
            "you spread 255 steps from the smallest weight to the largest": convert_with_255_steps,
            "you leave the input's scale out of the bias": convert_bias_without_input,
            "you count the bias in steps of the output": convert_bias_to_output,
            "you leave the output's scale out of M": convert_without_output,
            "you turn M upside down": convert_upside_down,
            "you truncate the weights instead of rounding": convert_truncating,
        },
    ),
    "7.4": Function(
        cases=[
            (int8([12, 14, 9]), int8([8, 1, -1]), 0.5, 10, 0.25, 0, 1.0, -5),
            (
                int8([82, -89, 32, 115, -127, -8]),
                int8([114, -100, 83, -120, -21, 45]),
                *(0.0646, -19),
                *(0.0186, -98),
                *(0.05, -24),
            ),
            (int8([1]), int8([0]), 1.0, 0, 1.0, 0, 2.0, 1),  # half a step: to the even 0, and then 1
        ],
        expected=add,
        mistakes={
            "you add the codes as they are": add_codes,
            "you give both sides the first scale": add_one_scale,
            "you do not subtract the zero-points": add_without_zero_points,
            "you forget the zero-point of the result": add_without_output_zero_point,
            "you forget the scale of the result": add_without_output_scale,
            "you add the zero-point of the result before rounding": add_before_rounding,
            "you truncate instead of rounding": add_truncated,
            "you saturate before you add the zero-point of the result": add_saturated_early,
            "you round each side before adding": add_rounded_early,
            "you cast before saturating": add_wrapped,
            "you subtract the zero-points in int8, where differences wrap": add_in_int8,
        },
    ),
    "7.5": Function(
        cases=[
            (int8([3, -20, 50, 7, 90]), int8([1, -2, 5]), 10, -20, 0.0613, 3),
            (int8([100, -128, 64, 127, 0, 1]), int8([-127, 3, 90]), -500, -98, 0.0101, 22),
        ],
        expected=conv1d,
        mistakes={
            **{words: conv1d_with_bugs(bug) for bug, words in BUGS.items()},
            **half_repaired(),
            "you leave it as it was posted": conv1d_with_bugs(*BUGS),
        },
    ),
    "7.6": Choice(
        violated=budget_is_missed,
        example=(8, 6, 6, 5, 5, 5, 4, 4),
        wrong=[(8,) * 8, (4,) * 8, (5,) * 8, (8, 8, 4, 4, 4, 4, 4, 4), (2, 4, 4, 5, 5, 5, 6, 6)],
    ),
}

"""A network that runs on integers alone: codes in, codes out, layer by layer.  Notebook 07."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from qtutor.affine import Frozen, QParams, QTensor, check_codes, choose_qparams, quantize
from qtutor.fixedpoint import Multiply, quantize_multiplier, requantize
from qtutor.matmul import checked_factors, integer_matmul
from qtutor.rounding import INT8, INT32, IntRange, flag, integer, plain, real_array, round_half_even

SMALLEST_CHANNEL = 1e-3  # no scale of a weight channel is below this share of the layer's largest
SPARE_BITS = 20  # that QAdd works with, as LiteRT does

# (q1, q2, zero_point1, zero_point2) -> int32 accumulators of (q1 - Z1) @ (q2 - Z2), as integer_matmul
Accumulate = Callable[..., np.ndarray]


def fold_batch_norm(
    weight: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the one convolution that equals convolution, then batch norm; float64.

    weight                       real, (out_channels, ...), of a convolution without a bias
    gamma, beta, mean, variance  real, (out_channels,), else ValueError, of the batch norm
                                 gamma * (y - mean) / sqrt(variance + epsilon) + beta, all finite

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2 and equation (14).

    >>> one = np.ones(1)
    >>> fold_batch_norm(np.array([[3.0]]), 2 * one, 5 * one, 7 * one, 3 * one, epsilon=1.0)
    (array([[3.]]), array([-2.]))
    """
    weight, gamma, beta, mean, variance, one = (
        real_array(x, "fold_batch_norm").astype(np.float64)
        for x in (weight, gamma, beta, mean, variance, epsilon)
    )
    shapes = [x.shape for x in (gamma, beta, mean, variance, one)]
    with np.errstate(all="ignore"):
        deviation = np.sqrt(variance + one)
        if shapes != [*[weight.shape[:1]] * 4, ()] or not (deviation > 0).all():
            raise ValueError(
                f"fold_batch_norm needs four arrays of shape {weight.shape[:1]} and variance + epsilon > 0, "
                f"got shapes {shapes}, variance {variance} and epsilon {epsilon}"
            )
        gain = gamma / deviation
        folded, bias = (weight.T * gain).T, beta - gain * mean
    if not (np.isfinite(folded).all() and np.isfinite(bias).all()):
        raise ValueError("fold_batch_norm needs finite numbers that stay so: its result is not finite")
    return folded, bias


def weight_qparams(weight: np.ndarray, to: IntRange = INT8, *, per_channel: bool = True) -> QParams:
    """Symmetric maps for weights: zero_point 0, one scale per output channel (axis 0) or one for all.

    weight  real, (out_channels, ...)

    An output channel may have a scale of its own, since it scales the accumulator as a whole; an
    input channel may not, since its products are added to others.  The floor on the scale is for
    dead channels: with weights near 0 the scale would be so small that the bias leaves int32.
    Source: Krishnamoorthi 2018, arXiv:1806.08342, section 2.6 (granularity).

    >>> [f"{scale:g}" for scale in weight_qparams(np.array([[0.5, -1.27], [0.0, 1e-9]])).scale]
    ['0.01', '1e-05']
    """
    magnitude = np.abs(real_array(weight, "weight_qparams").astype(np.float64))
    if magnitude.ndim < 2 or magnitude.size == 0:
        raise ValueError(f"weight_qparams needs weights (out_channels, ...), got shape {magnitude.shape}")
    per_channel = flag(per_channel, "per_channel")
    limit = magnitude.max(axis=tuple(range(1, magnitude.ndim)) if per_channel else None)
    with np.errstate(under="ignore"):
        limit = np.maximum(limit, SMALLEST_CHANNEL * limit.max())
    return choose_qparams(-limit, limit, to, symmetric=True, axis=0 if per_channel else None)


def quantize_bias(bias: np.ndarray, input: QParams, weight: QParams) -> np.ndarray:
    """The bias at scale input.scale * weight.scale, zero_point 0: int32 that joins the accumulator as it is.

    bias           real, (out_channels,)
    input, weight  the maps of the layer's input, per-tensor, and of its weight, per-tensor or with axis 0

    Computed in float64, half to even.  Raises ValueError where a bias is NaN or leaves int32, and where
    shapes or axes do not fit.
    Source: Jacob et al. 2018, arXiv:1712.05877, section 2.4 and equation (11).

    >>> quantize_bias(np.array([1.0, -0.26]), QParams(0.5, 10), QParams([0.1, 0.01], [0, 0], axis=0))
    array([ 20, -52], dtype=int32)
    """
    bias = real_array(bias, "quantize_bias").astype(np.float64)
    fit = bias.ndim == 1 and weight.scale.shape in ((), bias.shape)
    if not fit or input.axis is not None or weight.axis not in (None, 0):
        raise ValueError(
            f"quantize_bias needs a bias (out_channels,), a per-tensor input, and no weight axis but 0; "
            f"got shapes {bias.shape}, {input.scale.shape}, {weight.scale.shape} and axis={weight.axis}"
        )
    scale = input.scale.astype(np.float64) * weight.scale.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        q = round_half_even(bias / scale)
    fits = (q >= INT32.min) & (q <= INT32.max)  # False for NaN
    if not fits.all():
        raise ValueError(
            f"a bias must fit int32 at scale input.scale * weight.scale, got {q[~fits][0]} steps"
        )
    return q.astype(np.int32)


def integer_only_matmul(
    q1: np.ndarray, q2: np.ndarray, zero_point1: int | np.ndarray = 0, zero_point2: int | np.ndarray = 0
) -> np.ndarray:
    """The accumulators of integer_matmul, int32, without a float to carry them.

    q1, q2, zero_point1, zero_point2  as integer_matmul takes them; what it refuses is refused here too

    Computed in int64, without BLAS, and so slowly: it is here to show that no float is needed.

    >>> integer_only_matmul(np.uint8([[10, 12]]), np.int8([[1], [3]]), 10)
    array([[6]], dtype=int32)
    """
    centred1, centred2, _ = checked_factors(q1, q2, zero_point1, zero_point2, "integer_only_matmul")
    return (centred1.astype(np.int64) @ centred2.astype(np.int64)).astype(np.int32)


@dataclass(frozen=True, eq=False)
class _Weighted(Frozen):
    """What QLinear and QConv2d share: q = saturate(M * (sum of (q - Z) * weight + bias) + Z_output)."""

    weight: QTensor
    bias: np.ndarray
    input: QParams
    output: QParams
    multiplier: Any
    negative_multiplier: Any = None

    @classmethod
    def from_real(
        cls,
        weight: np.ndarray,
        bias: np.ndarray,
        input: QParams,
        output: QParams,
        *,
        to: IntRange = INT8,
        per_channel: bool = True,
        slope: float = 1.0,
        **geometry: int,
    ) -> Self:
        """The layer for real weights and biases, its weights' codes in `to`.

        slope     below 1: a leaky ReLU follows, with this slope for negative numbers
        geometry  stride, padding, groups of QConv2d
        """
        qparams = weight_qparams(weight, to, per_channel=per_channel)
        s1, s2, s3 = (scale.astype(np.float64) for scale in (input.scale, qparams.scale, output.scale))
        return cls(
            QTensor(quantize(weight, qparams), qparams),
            quantize_bias(bias, input, qparams),
            input,
            output,
            quantize_multiplier(s1 * s2 / s3),
            None if slope == 1 else quantize_multiplier(slope * s1 * s2 / s3),
            **geometry,
        )

    def __post_init__(self) -> None:
        name, q, qparams = type(self).__name__, self.weight.q, self.weight.qparams
        if q.ndim < 2 or q.size == 0 or qparams.axis not in (None, 0) or qparams.zero_point.any():
            raise ValueError(
                f"{name} needs weights (out_channels, ...), zero_point 0, per-tensor or with axis=0, got "
                f"shape {q.shape}, zero_point {qparams.zero_point}, axis={qparams.axis}"
            )
        bias = plain(self.bias, f"the bias of {name}")
        if bias.dtype != np.int32 or bias.shape != q.shape[:1]:
            raise ValueError(
                f"{name} needs an int32 bias of shape {q.shape[:1]}, got {bias.dtype}, {bias.shape}"
            )
        self._keep(bias=bias)
        # no input whatsoever may drive an accumulator out of int32: then none of the sums below wraps
        sums = np.abs(q.astype(np.int64)).reshape(len(q), -1).sum(axis=1) * _largest(self.input)
        bound = int(np.max(sums + np.abs(bias.astype(np.int64))))
        if bound > INT32.max:
            raise ValueError(
                f"an accumulator of {name} might pass int32: with K = {q[0].size} products, sum |q - Z| * "
                f"|weight| + |bias| may be {bound}, allowed is {INT32.max}"
            )

    def accumulators(self, q: np.ndarray, accumulate: Accumulate) -> np.ndarray:
        """int32, at scale input.scale * weight.scale and zero_point 0."""
        raise NotImplementedError

    def __call__(
        self, q: np.ndarray, *, multiply: Multiply, accumulate: Accumulate = integer_matmul
    ) -> np.ndarray:
        acc = self.accumulators(q, accumulate)
        if self.negative_multiplier is None:
            return requantize(acc, self.multiplier, self.output, multiply=multiply, axis=1)

        def leaky(acc: np.ndarray, multipliers: tuple[Any, Any]) -> np.ndarray:
            # the sign of acc is that of the real number; one of the two parts is 0
            M, negative_M = multipliers
            return np.add(multiply(np.maximum(acc, 0), M), multiply(np.minimum(acc, 0), negative_M))

        multipliers = (self.multiplier, self.negative_multiplier)
        return requantize(acc, multipliers, self.output, multiply=leaky, axis=1)


@dataclass(frozen=True, eq=False)
class QLinear(_Weighted):
    """Matrix product with a bias, on codes: (n, in_features) -> (n, out_features).

    weight               codes (out_features, in_features) with their map: zero_point 0
    bias                 int32 (out_features,) at scale input.scale * weight.scale, see quantize_bias
    input, output        the maps of the codes that come and go, per-tensor
    multiplier           input.scale * weight.scale / output.scale, as `multiply` takes it
    negative_multiplier  the same for negative accumulators, slope * M, where a leaky ReLU follows

    Raises ValueError where an accumulator could leave int32 for any input.
    Source: Jacob et al. 2018, arXiv:1712.05877, section 2.4.

    >>> from qtutor import multiply_single_rounding
    >>> layer = QLinear.from_real(np.array([[1.0, 2.0]]), np.array([3.0]), QParams(0.5, 10), QParams(1.0, 0))
    >>> layer(np.int8([[12, 16]]), multiply=multiply_single_rounding)  # 1 * 1.0 + 2 * 3.0 + 3
    array([[10]], dtype=int8)
    """

    def accumulators(self, q: np.ndarray, accumulate: Accumulate = integer_matmul) -> np.ndarray:
        """int32 (n, out_features), at scale input.scale * weight.scale and zero_point 0."""
        q = check_codes(q, self.input.codes, "QLinear")
        if q.ndim != 2 or q.shape[1] != self.weight.q.shape[1]:
            raise ValueError(f"QLinear needs codes (n, {self.weight.q.shape[1]}), got shape {q.shape}")
        return accumulate(q, self.weight.q.T, self.input.zero_point, 0) + self.bias


@dataclass(frozen=True, eq=False)
class QConv2d(_Weighted):
    """Convolution on codes: (n, in_channels, h, w) -> (n, out_channels, h', w').

    weight           codes (out_channels, in_channels / groups, kernel_h, kernel_w)
    pad_code         one integer, all around the image; by default the code of real 0, input.zero_point
    stride, padding  in pixels; padding is the width of the border
    groups           in how many groups the channels are cut, each of which sees itself alone:
                     as many as there are channels make the convolution depthwise

    The other fields are those of QLinear.

    >>> from qtutor import multiply_single_rounding
    >>> qparams = QParams(0.5, 10)
    >>> layer = QConv2d.from_real(np.ones((1, 1, 3, 3)), np.zeros(1), qparams, qparams, padding=1)
    >>> layer(np.full((1, 1, 3, 3), 12), multiply=multiply_single_rounding)[0, 0]  # 1.0 everywhere
    array([[18, 22, 18],
           [22, 28, 22],
           [18, 22, 18]], dtype=int8)
    """

    pad_code: Any = None
    stride: int = 1
    padding: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad_code is None:
            self._keep(pad_code=int(self.input.zero_point))
        for name in ("pad_code", "stride", "padding", "groups"):
            self._keep(**{name: integer(getattr(self, name), f"{name} of QConv2d")})
        check_codes(self.pad_code, self.input.codes, "pad_code of QConv2d")
        if self.weight.q.ndim != 4 or min(self.stride, self.groups, self.padding + 1) < 1:
            raise ValueError(
                f"QConv2d needs weights of 4 axes, stride and groups >= 1, padding >= 0, got shape "
                f"{self.weight.q.shape}, stride={self.stride}, groups={self.groups}, padding={self.padding}"
            )
        if len(self.weight.q) % self.groups:
            raise ValueError(f"{len(self.weight.q)} output channels do not make {self.groups} groups")

    def accumulators(self, q: np.ndarray, accumulate: Accumulate = integer_matmul) -> np.ndarray:
        """int32 (n, out_channels, h', w'), at scale input.scale * weight.scale and zero_point 0."""
        # in the input's own dtype, since an array of another may be too narrow for pad_code
        q = check_codes(q, self.input.codes, "QConv2d").astype(self.input.codes.dtype, copy=False)
        out_channels, seen, *kernel = self.weight.q.shape
        edges = [2 * self.padding + size - k for size, k in zip(q.shape[2:], kernel, strict=False)]
        if q.ndim != 4 or 0 in q.shape[1:] or q.shape[1] != self.groups * seen or min(edges) < 0:
            raise ValueError(
                f"QConv2d needs codes (n, {self.groups * seen}, h, w), with the padding at least as "
                f"large as the kernel {kernel}, got shape {q.shape}"
            )
        # axes: channel, row, column, image; with the images last, NumPy's inner loops are long
        border = [(0, 0), (self.padding,) * 2, (self.padding,) * 2, (0, 0)]
        padded = np.pad(q.transpose(1, 2, 3, 0), border, constant_values=self.pad_code)
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
        windows = windows[:, :: self.stride, :: self.stride].transpose(0, 4, 5, 1, 2, 3)
        # two matrices for each group: a row is an output channel, a column what one output pixel sees
        rows = self.weight.q.reshape(self.groups, out_channels // self.groups, -1)
        columns = windows.reshape(self.groups, rows.shape[-1], math.prod(windows.shape[3:]))
        acc = accumulate(rows, columns, 0, self.input.zero_point)
        acc = acc.reshape(out_channels, *windows.shape[3:]) + self.bias.reshape(-1, 1, 1, 1)
        return acc.transpose(3, 0, 1, 2)


@dataclass(frozen=True, eq=False)
class QAdd(Frozen):
    """Sum of two tensors of one shape, each with its map.

    left, right, output                the maps, per-tensor
    left_multiplier, right_multiplier  scale / (2 * larger scale of the two), at most 1/2
    output_multiplier                  2 * larger scale / 2**20 / output.scale

    Each side is shifted left by 20 bits, so that the rounding which brings both to one scale does not
    show; they are added as int32, and requantized.  |q - zero_point| must be below 2**11, else ValueError.
    Source: LiteRT, ADD for int8 (kernels/add.cc and kernels/internal/reference/add.h).

    >>> from qtutor import multiply_single_rounding
    >>> add = QAdd.from_qparams(QParams(0.5, 10), QParams(0.25, 0), QParams(1.0, -5))
    >>> add(np.int8([12]), np.int8([8]), multiply=multiply_single_rounding)  # 1.0 + 2.0
    array([-2], dtype=int8)
    """

    left: QParams
    right: QParams
    output: QParams
    left_multiplier: Any
    right_multiplier: Any
    output_multiplier: Any

    @classmethod
    def from_qparams(cls, left: QParams, right: QParams, output: QParams) -> Self:
        """The layer for these three maps."""
        s1, s2, s3 = (qparams.scale.astype(np.float64) for qparams in (left, right, output))
        s = 2 * np.maximum(s1, s2)
        multipliers = [quantize_multiplier(M) for M in (s1 / s, s2 / s, s / 2**SPARE_BITS / s3)]
        return cls(left, right, output, *multipliers)

    def __post_init__(self) -> None:
        self._keep()
        largest = max(_largest(self.left), _largest(self.right))
        if largest << SPARE_BITS > INT32.max:
            raise ValueError(f"QAdd needs |q - zero_point| below 2**11, but its maps allow {largest}")

    def __call__(self, q1: np.ndarray, q2: np.ndarray, *, multiply: Multiply) -> np.ndarray:
        q1, q2 = check_codes(q1, self.left.codes, "QAdd"), check_codes(q2, self.right.codes, "QAdd")
        if q1.shape != q2.shape:
            raise ValueError(f"QAdd needs two tensors of one shape, got {q1.shape} and {q2.shape}")
        y1 = multiply((q1.astype(np.int32) - self.left.zero_point) << SPARE_BITS, self.left_multiplier)
        y2 = multiply((q2.astype(np.int32) - self.right.zero_point) << SPARE_BITS, self.right_multiplier)
        return requantize(np.add(y1, y2), self.output_multiplier, self.output, multiply=multiply)


@dataclass(frozen=True, eq=False)
class QAveragePool(Frozen):
    """Mean over height and width of codes: (n, channels, h, w) -> (n, channels).

    input, output  the maps, per-tensor
    count          h * w; the sum of count * |q - zero_point| must fit int32, else ValueError
    multiplier     input.scale / count / output.scale: it divides by the count, too

    >>> from qtutor import multiply_single_rounding
    >>> pool = QAveragePool.from_qparams(QParams(0.5, 10), QParams(0.25, 0), count=4)
    >>> pool(np.int8([[[[10, 12], [14, 16]]]]), multiply=multiply_single_rounding)  # of 0, 1, 2 and 3
    array([[6]], dtype=int8)
    """

    input: QParams
    output: QParams
    count: int
    multiplier: Any

    @classmethod
    def from_qparams(cls, input: QParams, output: QParams, *, count: int) -> Self:
        """The layer for images of `count` pixels."""
        s1, s2 = (qparams.scale.astype(np.float64) for qparams in (input, output))
        pixels = max(integer(count, "count of QAveragePool"), 1)  # 0 and less: the constructor's refusal
        return cls(input, output, count, quantize_multiplier(s1 / pixels / s2))

    def __post_init__(self) -> None:
        self._keep(count=integer(self.count, "count of QAveragePool"))
        limit = INT32.max // _largest(self.input)
        if not 1 <= self.count <= limit:
            raise ValueError(f"QAveragePool needs a count of 1..{limit} pixels, got {self.count}")

    def __call__(self, q: np.ndarray, *, multiply: Multiply) -> np.ndarray:
        q = check_codes(q, self.input.codes, "QAveragePool")
        if q.ndim != 4 or q.shape[2] * q.shape[3] != self.count:
            raise ValueError(
                f"QAveragePool needs codes (n, channels, h, w), h * w = {self.count}, got {q.shape}"
            )
        acc = np.asarray(np.sum(q.astype(np.int32) - self.input.zero_point, axis=(2, 3), dtype=np.int32))
        return requantize(acc, self.multiplier, self.output, multiply=multiply)


def _largest(qparams: QParams) -> int:
    """The largest |q - zero_point| of codes between layers, which have one map per tensor."""
    if qparams.axis is not None:
        raise ValueError(f"codes between layers need per-tensor maps, got one with axis={qparams.axis}")
    return int(max(qparams.qmax - qparams.zero_point, qparams.zero_point - qparams.qmin))

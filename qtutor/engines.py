"""What real engines compute, rule by rule: ONNX Runtime, ONNX, PyTorch, LiteRT (an instrument).

Everybody writes q = saturate(round(x / scale) + zero_point), and no two engines compute it alike.  One
multiplies by 1 / scale, another adds zero_point before it rounds, a third rounds ties away from zero, and
what becomes of NaN is anybody's guess.  Each function here is one operator of one engine, bit for bit: its
docstring names the engine and the API, its body is the formula.  tests/conformance holds what the
engines answered, and the same tests run against those installed on your machine.

Not part of the core: `import qtutor` does not load it.  The rules were established by experiment on
x86-64 with onnx 1.23.2, onnxruntime 1.32.0, torch 2.13.0, ai-edge-litert 2.3.0, tflite-micro of 2026-10-23.

Throughout, x is real (float32), q holds codes, `to` is the range of the result's codes, acc int32
accumulators.  Scales are float32, zero-points integers; both have shape (), or (channels,) with an axis.
"""

from typing import Any, NamedTuple

import numpy as np

from qtutor.fixedpoint import (
    FixedPointMultiplier,
    multiply_double_rounding,
    multiply_half_up,
    quantize_multiplier,
    rounding_doubling_high_multiply,
    rounding_right_shift,
)
from qtutor.rounding import INT8, UINT8, IntRange, round_half_away, saturate

INT32 = np.iinfo(np.int32)
INT16 = IntRange(-32768, 32767)
Array = np.ndarray
Numbers = Any  # an array, or a number where that has shape ()

# ---- arithmetic that processors have and NumPy hides ------------------------------------------------


def silent() -> np.errstate:
    """As on the processor: NaN, inf and overflow pass without a word."""
    return np.errstate(all="ignore")


def single(x: Numbers) -> Array:
    """x rounded to float32."""
    return np.asarray(x, np.float32)


def reciprocal(x: Numbers) -> Array:
    """1 / x in float32."""
    return np.float32(1) / single(x)


def to_int32(x: Array) -> Array:
    """float -> int32 as x86 does it: NaN and whatever int32 cannot hold become INT32_MIN.

    >>> to_int32(np.float32([1.0, np.nan, np.inf, 3e9])).tolist()
    [1, -2147483648, -2147483648, -2147483648]
    """
    fits = (x >= INT32.min) & (x < 2.0**31)
    return np.where(fits, x, np.float64(INT32.min)).astype(np.int32)


@silent()
def fused_multiply_add(a: Numbers, b: Numbers, c: Numbers) -> Array:
    """a * b + c for float32, rounded once, as the FMA instructions compute it.

    In float64 the product of two float32 is exact (24 + 24 <= 53 bits), but the sum may round, and to
    round that to float32 again may turn a near miss into a tie and break it the wrong way.  So the sum
    is rounded to odd: where it is inexact (TwoSum tells by how much), take the neighbour whose last bit
    is 1.  Such a number is never a tie of float32, and lies on the same side of each as the exact sum.
    Source: S. Boldo and G. Melquiond, Emulation of a FMA and correctly rounded sums, 2008.

    >>> ones = 1 + 2.0**-12  # ones**2 = 1 + 2**-11 + 2**-24 is a tie of float32, 2**-60 lifts it
    >>> float(fused_multiply_add(ones, ones, 2.0**-60)) - 1 - 2.0**-11 == 2.0**-23
    True
    """
    product = np.multiply(single(a), single(b), dtype=np.float64)
    addend = single(c).astype(np.float64)
    total = np.asarray(product + addend)
    part = total - product
    error = (product - (total - part)) + (addend - part)  # total + error is the exact sum
    last_bit_is_0 = total.view(np.int64) % 2 == 0
    inexact = np.isfinite(error) & (error != 0)
    to_odd = np.where(inexact & last_bit_is_0, np.nextafter(total, np.copysign(np.inf, error)), total)
    return to_odd.astype(np.float32)


def along(parameter: Numbers, axis: int | None, ndim: int) -> Array:
    """A scale or zero-point of shape (channels,), reshaped to broadcast along `axis`; others as they are."""
    parameter = np.asarray(parameter)
    if axis is None or parameter.ndim == 0:
        return parameter
    shape = [1] * ndim
    shape[axis] = parameter.size
    return parameter.reshape(shape)


def centred(q: Array, zero_point: Numbers, axis: int | None = None) -> Array:
    """q - zero_point, exact in int32 for codes of at most 16 bits."""
    return q.astype(np.int32) - along(zero_point, axis, q.ndim).astype(np.int32)


def convolution(
    x: Array, w: Array, strides: list[int], pads: list[int], dilations: list[int], group: int = 1
) -> Array:
    """int32 accumulators of a convolution, in `group` parts that do not see each other.

    x     q - zero_point, shape (batch, channels, *space); so padding with 0 is padding with real 0
    w     q - zero_point, shape (features, channels / group, *kernel)
    pads  all beginnings, then all ends, as in ONNX
    """
    (batch, channels, *space), (features, _, *kernel) = x.shape, w.shape
    borders = zip(pads[: len(space)], pads[len(space) :], strict=True)
    x = np.pad(x.astype(np.int64), [(0, 0), (0, 0), *borders])
    steps = list(zip(kernel, strides, dilations, strict=True))
    out = [(n - (k - 1) * d - 1) // s + 1 for n, (k, s, d) in zip(x.shape[2:], steps, strict=True)]
    x = x.reshape(batch, group, channels // group, *x.shape[2:])
    w = w.astype(np.int64).reshape(group, features // group, channels // group, *kernel)
    acc = np.zeros((batch, group, features // group, *out), np.int64)
    for k in np.ndindex(*kernel):
        seen = [slice(i * d, i * d + n * s, s) for i, n, (_, s, d) in zip(k, out, steps, strict=True)]
        acc += np.einsum("ngc...,gfc->ngf...", x[:, :, :, *seen], w[:, :, :, *k])
    return acc.reshape(batch, features, *out).astype(np.int32)


# ---- ONNX Runtime: onnxruntime, CPUExecutionProvider --------------------------------------------------


@silent()
def ort_quantize_linear(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QuantizeLinear: clip x / scale to the range around zero_point, then round, then add zero_point.

    scale and zero_point broadcast against x.  NaN becomes qmin, since the processor's max(NaN, a) is a.

    >>> ort_quantize_linear(np.float32([0.5, 2.5, np.nan, np.inf]), 1.0, 1, INT8)
    array([   1,    3, -128,  127], dtype=int8)
    """
    Z = single(zero_point)
    steps = np.fmin(np.fmax(single(x) / single(scale), to.qmin - Z), to.qmax - Z)
    return saturate(np.rint(steps) + Z, to)


@silent()
def ort_dequantize_linear(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DequantizeLinear: float32(q - zero_point) * scale; int32 codes beyond 2**24 round on the way.

    >>> ort_dequantize_linear(np.int32([2**24 + 1]), 0.5, 0).tolist()
    [8388608.0]
    """
    return single(centred(q, zero_point)) * single(scale)


@silent()
def ort_dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """DynamicQuantizeLinear: uint8 codes, scale, zero_point; all in float32.

    A range of nothing but 0, or no element at all, gives scale 1.

    >>> [part.tolist() for part in ort_dynamic_quantize_linear(np.float32([-1.0, 1.0]))]
    [[0, 254], 0.007843137718737125, 127]
    """
    rmin = np.fmin.reduce(x, axis=None, initial=np.float32(0))
    rmax = np.fmax.reduce(x, axis=None, initial=np.float32(0))
    scale = single(1.0) if rmin == rmax else single((rmax - rmin) / np.float32(255))
    zero_point = np.rint(np.fmax(np.float32(0), np.fmin(np.float32(255), 0 - rmin / scale)))
    return (
        ort_quantize_linear(x, scale, zero_point, UINT8),
        scale,
        np.asarray(zero_point).astype(np.uint8),
    )


@silent()
def ort_compute_scale_zp(rmin: Array, rmax: Array, to: IntRange, *, symmetric: bool) -> tuple[Array, Array]:
    """onnxruntime.quantization's compute_scale_zp: float32 scale and int64 zero_point.

    In float64; a scale below the smallest normal float32 becomes 1, with zero_point 0.  Symmetric int8
    is -127..127 for the caller to pass; a symmetric uint8 has zero_point rint(127.5) = 128.
    """
    rmin, rmax = np.minimum(rmin, np.float32(0)), np.maximum(rmax, np.float32(0))
    if symmetric:
        rmax = np.maximum(-rmin, rmax)
        rmin = -rmax
    scale = (rmax.astype(np.float64) - rmin) / (to.qmax - to.qmin)
    zero_point = np.rint((to.qmin + to.qmax) / 2) if symmetric else np.rint(to.qmin - rmin / scale)
    usable = scale >= np.finfo(np.float32).tiny
    return single(np.where(usable, scale, 1)), np.where(usable, zero_point, 0).astype(np.int64)


def ort_matmul_integer(a: Array, b: Array, a_zero_point: Numbers = 0, b_zero_point: Numbers = 0) -> Array:
    """MatMulInteger: (a - a_zero_point) @ (b - b_zero_point), exact, wrapping in int32.

    Zero-points broadcast: a's of shape () or (rows, 1), b's of shape () or (columns,).  On x86-64
    without VNNI, uint8 x int8 is ort_matmul_integer_without_vnni instead.
    """
    acc = centred(a, a_zero_point).astype(np.int64) @ centred(b, b_zero_point).astype(np.int64)
    return acc.astype(np.int32)


def ort_matmul_integer_without_vnni(
    a: Array, b: Array, a_zero_point: Numbers = 0, b_zero_point: Numbers = 0
) -> Array:
    """MatMulInteger of uint8 a and int8 b on AVX2: each pair of products along K saturates at int16.

    VPMADDUBSW adds a[2k] * b[2k] and a[2k + 1] * b[2k + 1] into 16 bits: 255 * 127 twice is 64770, and
    becomes 32767.  The zero-points enter after the products, as row and column sums, exactly.  Within
    7 bits (b in -64..63) no pair can saturate.

    >>> ort_matmul_integer_without_vnni(np.uint8([[255, 255]]), np.int8([[127], [127]]))
    array([[32767]], dtype=int32)
    """
    K = a.shape[-1]
    acc = np.zeros((*a.shape[:-1], b.shape[-1]), np.int64)
    for k in range(0, K, 2):
        pair = a[..., k : k + 2].astype(np.int64) @ b[..., k : k + 2, :].astype(np.int64)
        acc += np.clip(pair, INT16.qmin, INT16.qmax)
    exact = a.astype(np.int64) @ b.astype(np.int64)
    return (acc - exact + ort_matmul_integer(a, b, a_zero_point, b_zero_point)).astype(np.int32)


@silent()
def ort_requantize(
    acc: Array,
    x_scale: Numbers,
    w_scale: Numbers,
    y_scale: Numbers,
    zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QLinearMatMul and QLinearConv after the sum: rint(float32(acc) * m) + zero_point.

    m = x_scale * w_scale / y_scale, rounded to float32 after each step; w_scale broadcasts against acc.
    An int32 bias is added to acc before, and wraps there.

    >>> ort_requantize(np.int32([-6, 1, 6]), 0.5, 0.5, 1.0, 0, INT8)
    array([-2,  0,  2], dtype=int8)
    """
    m = single(x_scale) * single(w_scale) / single(y_scale)
    Z = single(zero_point)
    steps = np.fmin(np.fmax(single(acc) * m, to.qmin - Z), to.qmax - Z)
    return saturate(np.rint(steps) + Z, to)


# ---- ONNX: onnx.reference.ReferenceEvaluator, and with it the node tests of the standard ---------------


@silent()
def onnx_quantize_linear(x: Array, scale: Array, zero_point: Numbers, to: IntRange) -> Array:
    """QuantizeLinear to integers: rint(x / scale) as int32, + zero_point wrapping, then saturate.

    NaN, inf and 2**31 are INT32_MIN before zero_point is added; a negative one then wraps to a large code.

    >>> onnx_quantize_linear(np.float32([0.5, 2.5, np.inf]), np.float32(1), -1, INT8)
    array([ -1,   1, 127], dtype=int8)
    """
    steps = to_int32(np.rint(x / scale))
    return saturate(steps + np.asarray(zero_point).astype(np.int32), to)


def onnx_dequantize_linear(q: Array, scale: Array, zero_point: Numbers) -> Array:
    """DequantizeLinear: (float32(q) - zero_point) * scale, rounded to scale's dtype (float16 too)."""
    return ((single(q) - single(zero_point)) * scale).astype(scale.dtype)


@silent()
def onnx_dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """DynamicQuantizeLinear: as ONNX Runtime, but an all-zero x gives scale 1 / 255."""
    rmin, rmax = np.minimum(np.float32(0), np.min(x)), np.maximum(np.float32(0), np.max(x))
    scale = single(1 if rmin == rmax else rmax - rmin) / np.float32(255)
    zero_point = np.rint(max(0, min(255, 0 - rmin / scale)))
    q = np.clip(np.rint(x / scale) + zero_point, 0, 255)
    return to_int32(q).astype(np.uint8), np.asarray(scale), np.asarray(zero_point, np.uint8)


@silent()
def onnx_requantize(
    acc: Array, x_scale: Array, w_scale: Array, y_scale: Array, zero_point: Numbers, to: IntRange
) -> Array:
    """QLinearMatMul and QLinearConv after the sum: rint(float64(acc) * m + zero_point).

    m = x_scale * w_scale / y_scale in the scales' dtype (NumPy widens int32 * float32 to float64).
    zero_point is added before rounding, so an odd one turns ties.

    >>> half = np.float32(0.5)
    >>> onnx_requantize(np.int32([-3, -1, 1]), half, half, half, 1, INT8)
    array([0, 0, 2], dtype=int8)
    """
    m = np.asarray(x_scale * w_scale / y_scale).astype(np.float64)
    return saturate(np.rint(np.clip(acc * m + zero_point, to.qmin, to.qmax)), to)


class SmallFloat(NamedTuple):
    """A float of at most 8 bits: a sign, then exponent_bits, then mantissa_bits.

    >>> [float(FLOAT8_E4M3FN.values[code]) for code in (0x00, 0x01, 0x38, 0x7E, 0xB8)]
    [0.0, 0.001953125, 1.0, 448.0, -1.0]
    """

    exponent_bits: int
    mantissa_bits: int
    largest: float

    @property
    def values(self) -> Array:
        """The value of each code, float32; NaN or inf beyond the largest number."""
        codes = np.arange(2 ** (1 + self.exponent_bits + self.mantissa_bits))
        mantissa = codes % 2**self.mantissa_bits
        exponent = codes >> self.mantissa_bits & 2**self.exponent_bits - 1
        bias = 2 ** (self.exponent_bits - 1) - 1
        hidden_bit = np.where(exponent > 0, 2**self.mantissa_bits, 0)  # subnormals have none
        power = np.maximum(exponent, 1) - bias - self.mantissa_bits
        size = np.ldexp(hidden_bit + mantissa, power)
        infinite = (mantissa == 0) & (self == FLOAT8_E5M2)  # the other two have no inf
        size = np.where(size <= self.largest, size, np.where(infinite, np.inf, np.nan))
        return single(np.where(codes < codes.size // 2, size, -size))


FLOAT8_E4M3FN = SmallFloat(4, 3, 448.0)
FLOAT8_E5M2 = SmallFloat(5, 2, 57344.0)
FLOAT4_E2M1 = SmallFloat(2, 1, 6.0)


@silent()
def onnx_quantize_linear_to_float(x: Array, scale: Array, to: SmallFloat) -> Array:
    """QuantizeLinear to float8 or float4: the code of the float nearest to x / scale; uint8.

    Ties go to the even code, what is too large (inf too) to the largest number, NaN to NaN, if there is one.
    The evaluator adds zero_point, which is 0, to a float4 alone: -0.0 + 0 is 0.0.
    """
    x = np.asarray(x / scale + 0 if to == FLOAT4_E2M1 else x / scale)
    positive = to.values[: to.values.size // 2]
    finite = positive[: np.count_nonzero(np.isfinite(positive))]
    middles = (finite[1:] + finite[:-1]) / 2  # exact in float32
    size = np.minimum(np.abs(x), single(to.largest))
    above = np.searchsorted(middles, size, side="right")  # a tie goes up ...
    below = np.searchsorted(middles, size, side="left")  # ... or down
    code = np.where(above % 2 == 0, above, below)
    code = np.where(np.isnan(x), positive.size - 1, code)
    return (code + np.where(np.signbit(x), positive.size, 0)).astype(np.uint8)


# ---- PyTorch: torch on an x86-64 CPU ------------------------------------------------------------------


@silent()
def torch_quantize_per_tensor(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.quantize_per_tensor: rint(x * (1 / scale) + zero_point), product and sum in one fused step.

    NaN and what is too large become qmax: the processor's min(NaN, a) is a.

    >>> torch_quantize_per_tensor(np.float32([0.5, 2.5, np.nan]), 1.0, 1, INT8)
    array([  2,   4, 127], dtype=int8)
    """
    q = np.rint(fused_multiply_add(x, reciprocal(scale), zero_point))
    return saturate(np.fmax(np.fmin(q, to.qmax), to.qmin), to)


@silent()
def torch_quantize_per_tensor_to_int32(x: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """torch.quantize_per_tensor to qint32, as for biases: rint(x * (1 / scale) + zero_point), each rounded.

    NaN becomes INT32_MIN.
    """
    q = np.rint(single(x) * reciprocal(scale) + single(zero_point)).astype(np.float64)
    return np.clip(np.where(np.isnan(q), INT32.min, q), INT32.min, INT32.max).astype(np.int32)


@silent()
def torch_quantize_per_channel(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.quantize_per_channel: rint(x * (1 / scale) + zero_point), each step rounded to float32.

    scale and zero_point broadcast against x.  NaN becomes 0.
    """
    q = np.rint(single(x) * reciprocal(scale) + single(zero_point))
    return saturate(np.where(np.isnan(q), 0, np.clip(q, to.qmin, to.qmax)), to)


@silent()
def torch_decomposed_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """quantized_decomposed.quantize_per_tensor (torch.export, PT2E): rint(x * (1 / scale)) + zero_point.

    NaN becomes 0.
    """
    q = np.rint(single(x) * reciprocal(scale)) + single(zero_point)
    return saturate(np.where(np.isnan(q), 0, np.clip(q, to.qmin, to.qmax)), to)


@silent()
def torch_fake_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """torch.fake_quantize_per_tensor_affine: (clip(rint(x * (1 / scale)) + zero_point) - zero_point) * scale.

    NaN becomes the real value of qmin.
    """
    q = np.rint(single(x) * reciprocal(scale)) + single(zero_point)
    return (single(np.fmin(np.fmax(q, to.qmin), to.qmax)) - single(zero_point)) * single(scale)


@silent()
def torch_dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """Tensor.dequantize: float32(q - zero_point) * scale."""
    return single(centred(q, zero_point)) * single(scale)


@silent()
def torch_minmax_qparams(
    rmin: Array, rmax: Array, to: IntRange, *, symmetric: bool, eps: float, midpoint: int
) -> tuple[Array, Array]:
    """MinMaxObserver and its kin, calculate_qparams: float32 scale, int64 zero_point.

    eps       the smallest scale, by default 2**-23
    midpoint  the zero_point of a symmetric range: 0 if signed, else 128, or (qmin + qmax) // 2 for a
              range of your own

    A symmetric int8 is -128..127 here, and its scale max / 127.5, so that +max has no code.
    """
    rmin, rmax = np.minimum(single(rmin), np.float32(0)), np.maximum(single(rmax), np.float32(0))
    if symmetric:
        scale = np.maximum(-rmin, rmax) / np.float32((to.qmax - to.qmin) / 2)
        scale = np.maximum(scale, np.float32(eps))
        return scale, np.full(scale.shape, midpoint, np.int64)
    scale = np.maximum((rmax - rmin) / np.float32(to.qmax - to.qmin), np.float32(eps))
    zero_point = np.clip(to.qmin - to_int32(np.rint(rmin / scale)).astype(np.int64), to.qmin, to.qmax)
    return scale, zero_point


def torch_moving_average(x: Array, averaging_constant: float) -> tuple[Array, Array]:
    """MovingAverageMinMaxObserver: min_val and max_val after it has seen x[0], x[1], ..., in float32."""
    c = np.float32(averaging_constant)
    min_val, max_val = np.min(x[0]), np.max(x[0])
    for batch in x[1:]:
        min_val = min_val + c * (np.min(batch) - min_val)
        max_val = max_val + c * (np.max(batch) - max_val)
    return np.asarray(min_val), np.asarray(max_val)


SMALLEST_TORCH_SCALE: Any = np.float32(6.1e-5)


@silent()
def torch_choose_qparams(rmin: Numbers, rmax: Numbers, qmax: int) -> tuple[float, int]:
    """torch._choose_qparams_per_tensor for codes 0..qmax: scale and zero_point, in float64.

    A scale of 0 becomes 0.1, one below 6.1e-5 becomes that.  zero_point comes from the end of the range
    whose error is the smaller, and is rounded from float32.
    """
    rmin, rmax = np.minimum(np.float32(rmin), np.float32(0)), np.maximum(np.float32(rmax), np.float32(0))
    scale = (np.float64(rmax) - np.float64(rmin)) / qmax
    if np.float32(scale) == 0 or np.isinf(np.float32(1) / np.float32(scale)):
        scale = np.float64(0.1)
    if scale < SMALLEST_TORCH_SCALE:
        amplifier = SMALLEST_TORCH_SCALE / np.float32(scale)
        scale = np.float64(SMALLEST_TORCH_SCALE)
        if rmin == 0:
            rmax = SMALLEST_TORCH_SCALE * np.float32(qmax)
        elif rmax == 0:
            rmin = -SMALLEST_TORCH_SCALE * np.float32(qmax)
        else:
            rmin, rmax = rmin * amplifier, rmax * amplifier
    from_min, from_max = 0 - rmin / scale, qmax - rmax / scale
    error_of_min, error_of_max = -abs(rmin / scale), qmax - abs(rmax / scale)
    zero_point = from_min if error_of_min < error_of_max else from_max
    return float(scale), int(np.rint(np.float32(np.clip(zero_point, 0, qmax))))


class Scales(NamedTuple):
    """What a linear or convolution layer needs after the sum; w broadcasts against the accumulators."""

    x: Array
    w: Array
    y: Array


@silent()
def fbgemm_requantize(
    acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange, *, per_channel: bool
) -> Array:
    """fbgemm (torch.backends.quantized.engine = "fbgemm"): rint((acc + b / (sx * sw)) * m) + zero_point.

    The bias b is float32.  Per-tensor, b * (1 / (sx * sw)) is added to acc in one fused step; per-channel,
    b is divided and added, each step rounded.
    """
    product = s.x * s.w
    a = single(acc) + bias / product if per_channel else fused_multiply_add(bias, reciprocal(product), acc)
    return saturate_as_int32(np.rint(a * (product / s.y)), zero_point, to)


@silent()
def qnnpack_requantize(acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange) -> Array:
    """qnnpack: rint((acc + b) * (sx * sw * (1 / sy))) + zero_point, with b = rint(bias * (1 / (sx * sw))).

    b is int32 (the kernels disagree on a bias beyond that), and the sum wraps.
    """
    product = s.x * s.w
    b = torch_quantize_per_tensor_to_int32(bias, product, 0)
    m = product * reciprocal(s.y)
    return saturate_as_int32(np.rint(single(acc + b) * m), zero_point, to)


@silent()
def onednn_requantize(
    acc: Array, bias: Array, s: Scales, zero_point: Numbers, to: IntRange, *, convolves: bool, vnni: bool
) -> Array:
    """oneDNN: rint((acc * S * W + b) * (1 / sy) + zero_point), with a float32 bias b.

    That is the engine "onednn", and "x86" in convolutions on CPUs with VNNI; otherwise "x86" is fbgemm.
    S = 1 / (1 / sx) is not quite sx; likewise W, but in a convolution W = sw.  With VNNI the product is
    (acc * S) * W, without it acc * (S * W).  (A convolution in groups of three channels was seen to do
    otherwise there.)
    """
    S = reciprocal(reciprocal(s.x))
    W = s.w if convolves else reciprocal(reciprocal(s.w))
    y = (single(acc) * S * W if vnni else single(acc) * (S * W)) + bias
    return saturate(np.clip(np.rint(y * reciprocal(s.y) + single(zero_point)), to.qmin, to.qmax), to)


def saturate_as_int32(steps: Array, zero_point: Numbers, to: IntRange) -> Array:
    """steps + zero_point, saturated at int16 on the way as the vector instructions do (PACKSSDW, PADDSW)."""
    steps = np.clip(to_int32(steps), INT16.qmin, INT16.qmax)
    return saturate(np.clip(steps + np.asarray(zero_point, np.int32), INT16.qmin, INT16.qmax), to)


# ---- LiteRT (once TensorFlow Lite) on x86-64, by op resolver; XNNPACK in it; TensorFlow Lite Micro ---------
# "ref" is BUILTIN_REF, "opt" BUILTIN_WITHOUT_DEFAULT_DELEGATES, "xnn" (XNNPACK) AUTO, the default


@silent()
def litert_ref_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE, ref: x / scale rounded half away from zero, as int32, + zero_point wrapping, then saturate.

    >>> litert_ref_quantize(np.float32([0.5, 2.5, np.inf]), 1.0, -1, INT8)
    array([  0,   2, 127], dtype=int8)
    """
    return int32_steps(round_half_away(single(x) / single(scale)), zero_point, to)


@silent()
def xnnpack_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE to 8 bits, xnn: rint(x * (1 / scale)) + zero_point; NaN becomes qmax."""
    Z = single(zero_point)
    steps = np.fmax(np.fmin(single(x) * reciprocal(scale), to.qmax - Z), to.qmin - Z)
    return saturate(np.rint(steps) + Z, to)


@silent()
def litert_opt_quantize(x: Array, scale: Numbers, zero_point: Numbers, to: IntRange) -> Array:
    """QUANTIZE, opt (and xnn for int16): the result depends on where in the tensor x stands.

    Blocks of eight: rint(x * (1 / scale)) as int32.  The last x.size % 8: the float64 quotient x / scale,
    rounded half away from zero.  Then as ref.

    >>> litert_opt_quantize(np.float32([0.5] * 9), 1.0, 0, INT8).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    body = np.rint(single(x) * reciprocal(scale))
    tail = round_half_away(x.astype(np.float64) / single(scale))
    return int32_steps(np.where(in_tail(x, 8), tail, body), zero_point, to)


def int32_steps(steps: Array, zero_point: Numbers, to: IntRange) -> Array:
    """steps as int32 + zero_point, wrapping, then saturated."""
    return saturate(to_int32(steps) + np.asarray(zero_point, np.int32), to)


def in_tail(x: Array, block: int) -> Array:
    """Where the elements stand that are left over from blocks, the tensor taken as one line."""
    return (np.arange(x.size) >= x.size // block * block).reshape(x.shape)


def litert_dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DEQUANTIZE, ref and xnn: float32(q - zero_point) * scale."""
    return single(centred(q, zero_point)) * single(scale)


def litert_opt_dequantize(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """DEQUANTIZE, opt: q * scale + (-zero_point * scale), in blocks of eight; the rest as ref.

    For q = zero_point that is exactly 0 again, but other codes are off by an ulp here and there.
    """
    body = single(q) * single(scale) + -single(zero_point) * single(scale)
    return np.where(in_tail(q, 8), litert_dequantize(q, scale, zero_point), body)


def double_rounding(acc: Array, M: Numbers) -> Array:
    """acc * M by multiply_double_rounding, but an M above 1 shifts acc out of int32 unseen."""
    acc, multiplier = wrapped_left_shift(acc, quantize_multiplier(M))
    return multiply_double_rounding(acc, multiplier)


def half_up(acc: Array, M: Numbers) -> Array:
    """acc * M by multiply_half_up, but an M above 1 shifts acc out of int32 unseen."""
    acc, multiplier = wrapped_left_shift(acc, quantize_multiplier(M))
    return multiply_half_up(acc, multiplier)


def wrapped_left_shift(acc: Array, M: FixedPointMultiplier) -> tuple[Array, FixedPointMultiplier]:
    """acc shifted left where M > 1, keeping the low 32 bits, and the multiplier that is left."""
    shifted = acc.astype(np.int64) << np.maximum(-M.shift, 0)
    return shifted.astype(np.int32), FixedPointMultiplier(M.mantissa, np.maximum(M.shift, 0))


def litert_ref_requantize(
    q: Array, x_scale: Numbers, x_zero_point: Numbers, y_scale: Numbers, y_zero_point: Numbers, to: IntRange
) -> Array:
    """QUANTIZE from codes to codes, ref: (q - zero_point) * M, rounded twice, ties away from zero."""
    M = np.float64(x_scale) / np.float64(y_scale)
    return saturate(double_rounding(centred(q, x_zero_point), M) + np.int32(y_zero_point), to)


def litert_opt_requantize(
    q: Array, x_scale: Numbers, x_zero_point: Numbers, y_scale: Numbers, y_zero_point: Numbers, to: IntRange
) -> Array:
    """QUANTIZE from codes to codes, opt: rounded twice, ties up, in blocks of sixteen; the rest as ref.

    >>> litert_opt_requantize(np.full(17, -6, np.int8), 0.25, 0, 1.0, 0, INT8)[[0, 16]]
    array([-1, -2], dtype=int8)
    """
    M = np.float64(x_scale) / np.float64(y_scale)
    acc = centred(q, x_zero_point)
    steps = np.where(in_tail(q, 16), double_rounding(acc, M), half_up(acc, M))
    return saturate(steps + np.int32(y_zero_point), to)


def xnnpack_requantize_codes(
    q: Array,
    x_scale: Numbers,
    x_zero_point: Numbers,
    y_scale: Numbers,
    y_zero_point: Numbers,
    to: IntRange,
) -> Array:
    """QUANTIZE from codes to codes, xnn: M has 8 bits, rint(256 * x_scale / y_scale), and ties round up.

    A ratio of scales outside 2**-8..2**7, and int8 to uint8, are left to opt.
    """
    ratio = single(x_scale) / single(y_scale)
    if not 2**-8 <= ratio <= 2**7 or q.dtype != to.dtype:
        return litert_opt_requantize(q, x_scale, x_zero_point, y_scale, y_zero_point, to)
    M = np.rint(np.float32(256) * ratio).astype(np.int32)
    return saturate((centred(q, x_zero_point) * M + 128 >> 8) + np.int32(y_zero_point), to)


def litert_multiplier(x_scale: Numbers, w_scale: Numbers, y_scale: Numbers) -> Array:
    """M = x_scale * w_scale / y_scale in float64, w_scale per output channel or per tensor."""
    return np.float64(x_scale) * np.asarray(w_scale, np.float64) / np.float64(y_scale)


def litert_opt_multiplier(x_scale: Numbers, w_scale: Numbers, y_scale: Numbers) -> Array:
    """M of opt's FULLY_CONNECTED with one w_scale: x_scale * w_scale is rounded to float32 on the way."""
    return np.asarray(single(x_scale) * single(w_scale), np.float64) / np.float64(y_scale)


def litert_double_rounding(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, in TFLM's FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D, and in ref's two convolutions.

    Channels are the last axis of acc, here and below.
    """
    return saturate(double_rounding(acc, M) + np.int32(zero_point), to)


def litert_half_up(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, opt's FULLY_CONNECTED and CONV_2D: both roundings take ties up."""
    return saturate(half_up(acc, M) + np.int32(zero_point), to)


def litert_opt_depthwise(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, opt's DEPTHWISE_CONV_2D: half up in blocks of eight channels, the rest as ref."""
    channels = acc.shape[-1]
    tail = np.arange(channels) >= channels // 8 * 8
    of_tail, of_body = (rule(acc, M, zero_point, to) for rule in (litert_double_rounding, litert_half_up))
    return np.where(tail, of_tail, of_body)


def litert_ref_fully_connected(acc: Array, M: Array, zero_point: Numbers, to: IntRange) -> Array:
    """After the sum, ref's FULLY_CONNECTED: float64(acc) * M, rounded half away from zero."""
    return saturate(round_half_away(acc * M) + zero_point, to)


def xnnpack_requantize(
    acc: Array,
    x_scale: Numbers,
    w_scale: Numbers,
    y_scale: Numbers,
    zero_point: Numbers,
    to: IntRange,
) -> Array:
    """After the sum, xnn's FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D: as ONNX Runtime."""
    return ort_requantize(acc, x_scale, w_scale, y_scale, zero_point, to)


def litert_limits(low: float, high: float, y_scale: Numbers, y_zero_point: Numbers) -> Array:
    """The codes at which a fused activation clamps (ReLU6 to low, high = 0, 6): half away, + zero_point."""
    return round_half_away(single([low, high]) / single(y_scale)) + single(y_zero_point)


def xnnpack_limits(low: float, high: float, y_scale: Numbers, y_zero_point: Numbers) -> Array:
    """The codes at which a fused activation clamps: rint(limit / scale + zero_point)."""
    return np.rint(single([low, high]) / single(y_scale) + single(y_zero_point))


class Operand(NamedTuple):
    """Codes with their scale and zero-point, per-tensor."""

    q: Array
    scale: Array
    zero_point: Array


def added(a: Operand, b: Operand, y_scale: Numbers) -> Array:
    """(a + b) / y_scale: both to a common scale, with 20 bits of fraction, then to y's, by double_rounding.

    The common scale is twice the larger of the two, so that neither multiplier exceeds 1/2.
    """
    twice_the_larger = 2 * max(float(a.scale), float(b.scale))
    total: Any = np.int32(0)
    for operand in (a, b):
        steps = centred(operand.q, operand.zero_point) << 20
        total = total + double_rounding(steps, float(operand.scale) / twice_the_larger)
    return double_rounding(total, twice_the_larger / (2**20 * float(y_scale)))


def litert_ref_add(a: Operand, b: Operand, y_scale: Numbers, y_zero_point: Numbers, to: IntRange) -> Array:
    """ADD, ref: `added` + zero_point, saturated."""
    return saturate(added(a, b, y_scale) + np.int32(y_zero_point), to)


def litert_opt_add(a: Operand, b: Operand, y_scale: Numbers, y_zero_point: Numbers, to: IntRange) -> Array:
    """ADD, opt: as ref, but in blocks of sixteen what is added to zero_point wraps at 16 bits."""
    y = added(a, b, y_scale) + np.int32(y_zero_point)
    return saturate(np.where(in_tail(y, 16), y, y.astype(np.int16)), to)


def xnnpack_add(a: Operand, b: Operand, y_scale: Numbers, y_zero_point: Numbers, to: IntRange) -> Array:
    """ADD, xnn: both ratios of scales with one shift; the larger has 21 bits, and ties round up.

    A ratio below 2**-10, or of 2**8 and more, is left to opt.
    """
    ratios = [single(operand.scale) / single(y_scale) for operand in (a, b)]
    if min(ratios) < 2**-10 or max(ratios) >= 2**8:
        return litert_opt_add(a, b, y_scale, y_zero_point, to)
    _, exponent = np.frexp(max(ratios))
    shift = 21 - int(exponent)
    total: Any = np.int64(1 << (shift - 1))
    for operand, ratio in zip((a, b), ratios, strict=True):
        M = np.rint(np.ldexp(ratio, shift)).astype(np.int64)
        total = total + centred(operand.q, operand.zero_point) * M
    return saturate((total >> shift) + np.int64(y_zero_point), to)


@silent()
def litert_logistic(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """LOGISTIC int8, ref and opt: a table of float32 1 / (1 + exp(-x)), times 256, half away from zero.

    The result's scale is 1/256, its zero_point -128.  exp is correctly rounded here, as far as was seen.
    """
    x = litert_dequantize(q, scale, zero_point)
    y = 1 / (1 + single(np.exp(-x.astype(np.float64))))
    return saturate(round_half_away(y * 256) - 128, INT8)


def xnnpack_logistic(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """LOGISTIC int8, xnn: exp(x) / (1 + exp(x)) in float64, then float32, and rint(y * 256 - 128) of that."""
    x = litert_dequantize(q, scale, zero_point)
    exp = np.exp(np.clip(x, -100, 100).astype(np.float64))
    return saturate(np.rint(single(exp / (1 + exp)) * 256 - 128), INT8)


# SOFTMAX of ref is in fixed point.  A number in Q(n) is an int32 with n bits before the binary point.

times: Any = rounding_doubling_high_multiply  # Q(m) times Q(n) is in Q(m + n)
ONE_IN_Q0: Any = np.int32(2**31 - 1)  # 1 itself is one too many
EXP_OF_MINUS_POWERS = {  # exp(-2**power) in Q0
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}


def shifted_left(x: Array, bits: int) -> Array:
    """x * 2**bits, saturated at int32."""
    return np.clip(x.astype(np.int64) << bits, INT32.min, INT32.max).astype(np.int32)


def exp_of_negative(x: Array) -> Array:
    """exp(x) in Q0 for x <= 0 in Q5: gemmlowp's exp_on_negative_values.

    x = r - (a sum of powers of two), -1/4 <= r < 0: a Taylor polynomial around -1/8 gives exp(r), and each
    power contributes a factor from the table.

    >>> exp_of_negative(np.int32([0, -(2**26)])).tolist()  # exp(0) and exp(-1)
    [2147483647, 790015308]
    """
    quarter = 1 << 24
    r = (x & (quarter - 1)) - quarter
    t = shifted_left(r, 5) + (1 << 28)  # r + 1/8 in Q0
    t2 = times(t, t)
    t3, t4 = times(t2, t), times(t2, t2)
    third, exp_of_minus_eighth = 715827883, 1895147668  # in Q0
    t3_and_t4 = times(rounding_right_shift(t4, 2) + t3, third)  # t3 / 3 + t4 / 12
    result = exp_of_minus_eighth + times(exp_of_minus_eighth, t + rounding_right_shift(t2 + t3_and_t4, 1))
    powers = r - x
    for power, factor in EXP_OF_MINUS_POWERS.items():
        has_power = powers & (1 << (26 + power)) != 0
        result = np.where(has_power, times(result, factor), result)
    return np.where(x == 0, ONE_IN_Q0, result)


def one_over_one_plus(x: Array) -> Array:
    """1 / (1 + x) in Q0 for 0 <= x <= 1 in Q0: gemmlowp's, by three steps of Newton's method.

    >>> one_over_one_plus(np.int32([0, 2**30])).tolist()  # 1 and 2 / 3
    [2147483647, 1431655762]
    """
    half_denominator = (x.astype(np.int64) + 2**31) // 2
    y = 1515870810 + times(half_denominator, -1010580540)  # 48/17 - 32/17 * half_denominator, in Q2
    for _ in range(3):
        error = (1 << 29) - times(half_denominator, y)
        y = y + shifted_left(times(y, error), 2)
    return shifted_left(y, 1)


def litert_ref_softmax(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """SOFTMAX int8 over the last axis, ref: in fixed point.

    The result's scale is 1/256, its zero_point -128.  The input's zero_point does not matter: only
    differences to the largest code enter.  Where the exponentials add up to 512 or more, LiteRT aborts,
    and the shift raises ValueError here.
    """
    M = np.float64(scale) * 2**26  # from codes to Q5
    left_shift = min(int(np.frexp(M)[1]), 31)
    radius = int(31 * 2**26 / 2.0**left_shift)  # codes farther from the largest leave Q5, and give 0
    x = centred(q, np.max(q, axis=-1, keepdims=True, initial=-128))
    seen = x >= -radius
    x_in_q5 = double_rounding(np.where(seen, x, 0), min(M, 2.0**30 - 1))
    exponentials = np.where(seen, exp_of_negative(x_in_q5), 0)
    total = rounding_right_shift(exponentials, 12).sum(axis=-1, keepdims=True, dtype=np.int64)  # in Q12
    headroom = 32 - np.frexp(total)[1]  # leading zeros of 32 bits
    reciprocal = one_over_one_plus(((total << headroom) - 2**31).astype(np.int32))
    y = rounding_right_shift(times(reciprocal, exponentials), 12 - headroom + 31 - 8)
    return np.where(seen, saturate(y - 128, INT8), np.int8(-128))


def litert_opt_softmax(q: Array, scale: Numbers, zero_point: Numbers) -> Array:
    """SOFTMAX int8 over the last axis, opt and xnn: float32 exponentials from a table, summed in order."""
    x = centred(q, np.max(q, axis=-1, keepdims=True, initial=-128))
    exponentials = single(np.exp((single(scale) * single(x)).astype(np.float64)))
    total = np.add.accumulate(exponentials, axis=-1)[..., -1:]
    return saturate(round_half_away(exponentials * (1 / (total * np.float32(1 / 256)))) - 128, INT8)


def litert_average_pool(sums: Array, count: Array) -> Array:
    """AVERAGE_POOL_2D int8, ref, opt and xnn: the sum of the codes over `count`, ties away from zero."""
    return np.sign(sums) * ((np.abs(sums) + count // 2) // count)

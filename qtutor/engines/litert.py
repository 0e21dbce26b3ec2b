"""LiteRT (once TensorFlow Lite) and TensorFlow Lite Micro: whole operators, from codes to codes.

A tensor of a .tflite file carries its map, so operators take a QTensor, and the map of the result, a
QParams; channels are last, (batch, height, width, channels).  `kernels` says whose rules apply:

    REFERENCE  LiteRT, op resolver BUILTIN_REF
    OPTIMIZED  LiteRT, BUILTIN_WITHOUT_DEFAULT_DELEGATES
    XNNPACK    LiteRT, AUTO, the default
    MICRO      TensorFlow Lite Micro

`engines.litert_kernels` has these rules, and the versions they were seen on.
"""

from collections.abc import Callable, Sequence

import numpy as np

from qtutor.affine import QParams, QTensor
from qtutor.engines.litert_kernels import MICRO, OPTIMIZED, REFERENCE, XNNPACK, Kernels, average_pool
from qtutor.engines.processor import INT16, Array, bias_of, centred, convolution, matmul, reals
from qtutor.rounding import INT8, UINT8, IntRange

__all__ = [
    "MICRO",
    "NONE",
    "OPTIMIZED",
    "REFERENCE",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "XNNPACK",
    "add",
    "average_pool_2d",
    "conv_2d",
    "depthwise_conv_2d",
    "dequantize",
    "fully_connected",
    "logistic",
    "max_pool_2d",
    "quantize",
    "requantize",
    "same",
    "softmax",
    "valid",
]

# The reals between which an activation clamps
Activation = tuple[float, float]
NONE: Activation = (-np.inf, np.inf)
RELU: Activation = (0, np.inf)
RELU6: Activation = (0, 6)
RELU_N1_TO_1: Activation = (-1, 1)

# (sizes, kernel, strides, dilations) -> how many zeros go before each axis of space, then how many after
Padding = Callable[..., list[int]]


def valid(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """VALID: no padding.

    >>> valid([5, 5], [3, 3], [2, 2], [1, 1])
    [0, 0, 0, 0]
    """
    return [0] * (2 * len(sizes))


def same(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """SAME: as much as gives ceil(size / stride) outputs; of an odd number the larger half goes after.

    >>> same([4, 5], [3, 3], [2, 2], [1, 1])
    [0, 1, 1, 1]
    """
    totals = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return [t // 2 for t in totals] + [t - t // 2 for t in totals]


def quantize(x: Array, output: QParams, *, kernels: Kernels) -> Array:
    """QUANTIZE from reals: codes of x's shape.

    x        float32, else TypeError
    output   the map of the result, per-tensor: int8, uint8 or int16 with zero_point 0
    kernels  REFERENCE, OPTIMIZED, XNNPACK, MICRO

    >>> quantize(np.float32([0.5, 2.5]), QParams(1.0, -1), kernels=REFERENCE)
    array([0, 2], dtype=int8)
    """
    x = reals(x, "x of QUANTIZE")
    _check_maps("QUANTIZE", INT8, UINT8, INT16, output=output)
    return kernels.quantize(x, output.scale, output.zero_point, output.codes)


def requantize(x: QTensor, output: QParams, *, kernels: Kernels) -> Array:
    """QUANTIZE from codes to codes, of x's shape.

    x       int8, per-tensor
    output  the map of the result, per-tensor: int8 or uint8

    >>> requantize(QTensor(np.int8([-6, 6]), QParams(0.25, 0)), QParams(1.0, 0), kernels=XNNPACK)
    array([-1,  2], dtype=int8)
    """
    _check_maps("QUANTIZE", INT8, x=x.qparams)
    _check_maps("QUANTIZE", INT8, UINT8, output=output)
    maps = (x.qparams.scale, x.qparams.zero_point, output.scale, output.zero_point, output.codes)
    return kernels.requantize(x.q, *maps)


def dequantize(x: QTensor, *, kernels: Kernels) -> Array:
    """DEQUANTIZE: float32 of x's shape.

    x  int8 or uint8, per-tensor, else ValueError

    >>> dequantize(QTensor(np.int8([-1, 3]), QParams(0.5, 1)), kernels=MICRO).tolist()
    [-1.0, 1.0]
    """
    _check_maps("DEQUANTIZE", INT8, UINT8, x=x.qparams)
    return kernels.dequantize(x.q, x.qparams.scale, x.qparams.zero_point)


def fully_connected(
    x: QTensor,
    w: QTensor,
    bias: Array | None,
    output: QParams,
    *,
    kernels: Kernels,
    activation: Activation = NONE,
) -> Array:
    """FULLY_CONNECTED: codes (rows, features) of x @ w.T + bias, clamped.

    x           int8 codes, per-tensor, of any shape that holds rows of K
    w           int8 codes (features, K), zero_point 0, per-tensor or with axis 0
    bias        int32 (features,), at scale x's * w's, or None; it wraps, as sums of more products than
                int32 holds do
    output      the map of the result, int8, per-tensor
    kernels     REFERENCE, OPTIMIZED, XNNPACK, MICRO
    activation  NONE, RELU, RELU6, RELU_N1_TO_1: the reals between which the result is clamped

    Raises ValueError where maps or shapes are others.

    >>> x, w = QTensor(np.int8([[2, 3]]), QParams(0.5, 0)), QTensor(np.int8([[1, -2]]), QParams(0.5, 0))
    >>> [fully_connected(x, w, np.int32([3]), QParams(0.5, 0), kernels=k).item() for k in (REFERENCE, MICRO)]
    [-1, 0]
    """
    _check_weights("FULLY_CONNECTED", x, w, output, axis=0)
    if w.q.ndim != 2 or x.q.ndim == 0 or w.q.size == 0 or x.q.size % w.q.shape[1]:
        raise ValueError(
            f"FULLY_CONNECTED needs w (features, K) and x with rows of K, got shapes {w.q.shape}, {x.q.shape}"
        )
    q = centred(x.q, x.qparams.zero_point)
    acc = matmul(q.reshape(-1, w.q.shape[1]), w.q.T)
    acc = acc + bias_of(bias, np.int32, acc.shape[-1], "bias of FULLY_CONNECTED")
    return _after_the_sum(acc, x, w, output, kernels.fully_connected, kernels, activation)


def conv_2d(
    x: QTensor,
    w: QTensor,
    bias: Array | None,
    output: QParams,
    *,
    kernels: Kernels,
    strides: Sequence[int] = (1, 1),
    padding: Padding = valid,
    dilations: Sequence[int] = (1, 1),
    activation: Activation = NONE,
) -> Array:
    """CONV_2D: codes (batch, height', width', features), clamped.

    x                   int8 codes (batch, height, width, channels), per-tensor; padding is real 0
    w                   int8 codes (features, *kernel, channels), zero_point 0, per-tensor or with axis 0
    strides, dilations  of height and width
    padding             same or valid

    The other arguments, and errors, are those of fully_connected.

    >>> x = QTensor(np.full((1, 1, 3, 1), 12, np.int8), QParams(0.5, 10))
    >>> w = QTensor(np.ones((1, 1, 3, 1), np.int8), QParams(0.5, 0))
    >>> conv_2d(x, w, None, QParams(0.5, 0), kernels=OPTIMIZED, padding=same)[0, 0, :, 0]
    array([2, 3, 2], dtype=int8)
    """
    _check_weights("CONV_2D", x, w, output, axis=0)
    if x.q.ndim != 4 or w.q.ndim != 4 or x.q.shape[3] != w.q.shape[3]:
        raise ValueError(
            f"CONV_2D needs x (batch, height, width, channels) and w (features, height, width, channels), "
            f"got shapes {x.q.shape}, {w.q.shape}"
        )
    q, weights = np.moveaxis(centred(x.q, x.qparams.zero_point), 3, 1), np.moveaxis(w.q, 3, 1)
    pads = _pads(padding, x.q.shape[1:3], w.q.shape[1:3], strides, dilations)
    acc = np.moveaxis(convolution(q, weights, strides, pads, dilations), 1, 3)
    acc = acc + bias_of(bias, np.int32, acc.shape[-1], "bias of CONV_2D")
    return _after_the_sum(acc, x, w, output, kernels.conv_2d, kernels, activation)


def depthwise_conv_2d(
    x: QTensor,
    w: QTensor,
    bias: Array | None,
    output: QParams,
    *,
    kernels: Kernels,
    strides: Sequence[int] = (1, 1),
    padding: Padding = valid,
    dilations: Sequence[int] = (1, 1),
    activation: Activation = NONE,
) -> Array:
    """DEPTHWISE_CONV_2D: codes (batch, height', width', channels * depth multiplier), clamped.

    w  int8 codes (1, *kernel, channels * depth multiplier), zero_point 0, per-tensor or with axis 3;
       the features of a channel stand side by side

    The other arguments, and errors, are those of conv_2d.

    >>> x = QTensor(np.int8([[[[2, 4]]]]), QParams(0.5, 0))
    >>> w = QTensor(np.int8([[[[1, 2, 3, 4]]]]), QParams(0.5, 0))  # two features of each channel
    >>> depthwise_conv_2d(x, w, None, QParams(0.5, 0), kernels=XNNPACK)
    array([[[[1, 2, 6, 8]]]], dtype=int8)
    """
    _check_weights("DEPTHWISE_CONV_2D", x, w, output, axis=3)
    if x.q.ndim != 4 or w.q.ndim != 4 or w.q.shape[0] != 1 or w.q.shape[3] % max(x.q.shape[3], 1):
        raise ValueError(
            f"DEPTHWISE_CONV_2D needs x (batch, height, width, channels) and w (1, height, width, "
            f"channels * depth multiplier), got shapes {x.q.shape}, {w.q.shape}"
        )
    q, weights = np.moveaxis(centred(x.q, x.qparams.zero_point), 3, 1), np.moveaxis(w.q, (0, 3), (1, 0))
    pads = _pads(padding, x.q.shape[1:3], w.q.shape[1:3], strides, dilations)
    acc = np.moveaxis(convolution(q, weights, strides, pads, dilations, group=x.q.shape[3]), 1, 3)
    acc = acc + bias_of(bias, np.int32, acc.shape[-1], "bias of DEPTHWISE_CONV_2D")
    return _after_the_sum(acc, x, w, output, kernels.depthwise_conv_2d, kernels, activation)


def add(a: QTensor, b: QTensor, output: QParams, *, kernels: Kernels, activation: Activation = NONE) -> Array:
    """ADD: codes of a + b, clamped.

    a, b    int8 codes of one shape, per-tensor
    output  the map of the result, int8, per-tensor

    The other arguments are those of fully_connected.  Raises ValueError where maps or shapes are others.

    >>> a, b = (QTensor(np.int8([q]), QParams(0.5, 0)) for q in (-2, -3))
    >>> [add(a, b, QParams(1.0, 0), kernels=k).item() for k in (REFERENCE, XNNPACK)]  # -2.5
    [-3, -2]
    """
    _check_maps("ADD", INT8, a=a.qparams, b=b.qparams, output=output)
    if a.q.shape != b.q.shape:
        raise ValueError(f"ADD needs two tensors of one shape, got {a.q.shape} and {b.q.shape}")
    return _activated(kernels.add(a, b, output), activation, output, kernels)


def logistic(x: QTensor, *, kernels: Kernels) -> Array:
    """LOGISTIC, 1 / (1 + exp(-x)): int8 codes of x's shape, with scale 1/256 and zero_point -128.

    x  int8, per-tensor, else ValueError

    >>> x = QTensor(np.int8([0, 16]), QParams(0.1, 0))
    >>> logistic(x, kernels=MICRO)  # 0.5 and 0.832
    array([ 0, 85], dtype=int8)
    """
    _check_maps("LOGISTIC", INT8, x=x.qparams)
    return kernels.logistic(x.q, x.qparams.scale, x.qparams.zero_point)


def softmax(x: QTensor, *, kernels: Kernels) -> Array:
    """SOFTMAX with beta 1, over the last axis: int8 codes of x's shape, with scale 1/256 and zero_point -128.

    x  int8, per-tensor, at least one axis, else ValueError

    >>> softmax(QTensor(np.int8([1, 3, 3]), QParams(0.5, 0)), kernels=REFERENCE)
    array([-88, -20, -20], dtype=int8)
    """
    _check_maps("SOFTMAX", INT8, x=x.qparams)
    if x.q.ndim == 0:
        raise ValueError("SOFTMAX needs an axis, got shape ()")
    return kernels.softmax(x.q, x.qparams.scale, x.qparams.zero_point)


def average_pool_2d(
    x: QTensor,
    window: Sequence[int],
    *,
    kernels: Kernels,
    strides: Sequence[int],
    padding: Padding = valid,
    activation: Activation = NONE,
) -> Array:
    """AVERAGE_POOL_2D: int8 codes (batch, height', width', channels), with the map of x.

    x       int8 codes (batch, height, width, channels), per-tensor
    window  height and width; what of it is padding does not count

    The other arguments are those of conv_2d.  Raises ValueError where maps or shapes are others.

    >>> x = QTensor(np.int8([-3, 0, 4, 5]).reshape(1, 2, 2, 1), QParams(0.5, 0))
    >>> average_pool_2d(x, (2, 1), kernels=MICRO, strides=(1, 1)).ravel()  # 0.5 and 2.5
    array([1, 3], dtype=int8)
    """
    codes, real = _windows("AVERAGE_POOL_2D", x, window, strides, padding)
    y = average_pool((codes * real).sum(-1), real.sum(-1)).astype(np.int8)
    return _activated(y, activation, x.qparams, kernels)


def max_pool_2d(
    x: QTensor,
    window: Sequence[int],
    *,
    kernels: Kernels,
    strides: Sequence[int],
    padding: Padding = valid,
    activation: Activation = NONE,
) -> Array:
    """MAX_POOL_2D: int8 codes (batch, height', width', channels), with the map of x.

    Arguments and errors are those of average_pool_2d.

    >>> x = QTensor(np.int8([-3, 0, 4, 5]).reshape(1, 2, 2, 1), QParams(0.5, 0))
    >>> max_pool_2d(x, (2, 1), kernels=MICRO, strides=(1, 1)).ravel()
    array([4, 5], dtype=int8)
    """
    codes, real = _windows("MAX_POOL_2D", x, window, strides, padding)
    y = np.where(real, codes, INT8.qmin).max(-1).astype(np.int8)
    return _activated(y, activation, x.qparams, kernels)


# ---- what they share -------------------------------------------------------------------------------------


def _after_the_sum(
    acc: Array,
    x: QTensor,
    w: QTensor,
    output: QParams,
    rule: Callable[..., Array],
    kernels: Kernels,
    activation: Activation,
) -> Array:
    """Codes from accumulators, whose channels are on the last axis."""
    y = rule(acc, x.qparams.scale, w.qparams.scale, output.scale, output.zero_point, output.codes)
    return _activated(y, activation, output, kernels)


def _activated(y: Array, activation: Activation, output: QParams, kernels: Kernels) -> Array:
    ends = kernels.limits(*activation, output.scale, output.zero_point)
    low, high = np.clip(ends, output.qmin, output.qmax).astype(y.dtype)
    return np.clip(y, low, high)


def _pads(
    padding: Padding,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    if [len(strides), len(dilations)] != [2, 2] or min(*strides, *dilations) < 1:
        raise ValueError(f"strides and dilations must be two each, 1 or more; got {strides}, {dilations}")
    return padding(sizes, kernel, strides, dilations)


def _windows(
    where: str, x: QTensor, window: Sequence[int], strides: Sequence[int], padding: Padding
) -> tuple[Array, Array]:
    """Each pool's codes on a last axis, and a mask of those that are not padding."""
    _check_maps(where, INT8, x=x.qparams)
    if x.q.ndim != 4 or len(window) != 2 or min(window) < 1:
        raise ValueError(
            f"{where} needs x (batch, height, width, channels) and a window of height and width, "
            f"got shape {x.q.shape} and {window}"
        )
    pads = _pads(padding, x.q.shape[1:3], window, strides, (1, 1))
    borders = [(0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0)]
    seen = []
    for part in (x.q.astype(np.int32), np.ones(x.q.shape, bool)):
        part = np.pad(part, borders)
        if part.shape[1] < window[0] or part.shape[2] < window[1]:
            raise ValueError(f"{where}: a window {window} leaves x of shape {x.q.shape}")
        view = np.lib.stride_tricks.sliding_window_view(part, window, axis=(1, 2))
        view = view[:, :: strides[0], :: strides[1]]
        seen.append(view.reshape(*view.shape[:4], -1))
    return seen[0], seen[1]


def _check_maps(where: str, *allowed: IntRange, **maps: QParams) -> None:
    for name, qparams in maps.items():
        if qparams.axis is not None or qparams.codes not in allowed:
            raise ValueError(
                f"{where} needs {name} per-tensor with codes of {' or '.join(map(str, allowed))}, "
                f"got axis={qparams.axis} and {qparams.codes}"
            )
        if qparams.codes == INT16 and qparams.zero_point:
            raise ValueError(f"{where} needs zero_point 0 for int16, got {qparams.zero_point} for {name}")


def _check_weights(where: str, x: QTensor, w: QTensor, output: QParams, axis: int) -> None:
    _check_maps(where, INT8, x=x.qparams, output=output)
    qparams = w.qparams
    if qparams.codes != INT8 or qparams.axis not in (None, axis) or qparams.zero_point.any():
        raise ValueError(
            f"{where} needs w with codes of {INT8} and zero_point 0, per-tensor or with axis={axis}, got "
            f"{qparams.codes}, zero_point {qparams.zero_point}, axis={qparams.axis}"
        )

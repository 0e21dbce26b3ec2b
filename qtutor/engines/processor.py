"""Arithmetic that processors have and NumPy hides."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from qtutor.matmul import SIXTEEN_BITS
from qtutor.rounding import INT32, IntRange, integers

INT16 = IntRange(-32768, 32767)
Array = np.ndarray
Numbers = Any  # an array, or a number where that has shape ()

P = ParamSpec("P")
R = TypeVar("R")


def silent(rule: Callable[P, R]) -> Callable[P, R]:
    """As on the processor: in this rule NaN, inf and overflow pass without a word.

    >>> float(silent(np.divide)(np.float32(1), np.float32(0)))
    inf
    """

    @functools.wraps(rule)
    def silenced(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):  # anew for each call: threads share one in NumPy 1.26, and mix it up
            return rule(*args, **kwargs)

    return silenced


def single(x: Numbers) -> Array:
    """x rounded to float32.

    >>> float(single(0.1))
    0.10000000149011612
    """
    return np.asarray(x, np.float32)


def reciprocal(x: Numbers) -> Array:
    """1 / x in float32.

    >>> float(reciprocal(3))
    0.3333333432674408
    """
    return np.float32(1) / single(x)


def to_int32(x: Array) -> Array:
    """float -> int32 as x86 does it: NaN and whatever int32 cannot hold become INT32_MIN.

    >>> to_int32(np.float32([1.0, np.nan, np.inf, 3e9])).tolist()
    [1, -2147483648, -2147483648, -2147483648]
    """
    fits = (x >= INT32.min) & (x < 2.0**31)
    return np.where(fits, x, np.float64(INT32.min)).astype(np.int32)


@silent
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


def whole(q: object, where: str) -> Array:
    """q as an array, once it is known to hold codes: integers of at most 16 bits.

    >>> whole(np.float32([1, 2]), "x of ADD")
    Traceback (most recent call last):
    TypeError: x of ADD needs integers, got dtype float32
    """
    return integers(q, *SIXTEEN_BITS, where)


def reals(x: object, where: str) -> Array:
    """x as an array, once it is known to be float32: how to become so, the caller says.

    >>> reals(np.array([0.1]), "x of QUANTIZE")
    Traceback (most recent call last):
    TypeError: x of QUANTIZE must be float32, got dtype float64
    """
    array = np.asarray(x)
    if array.dtype != np.float32:
        raise TypeError(f"{where} must be float32, got dtype {array.dtype}")
    return array


def bias_of(bias: object, dtype: type, channels: int, where: str) -> Array:
    """bias as an array, once it is known to be of this dtype and to fit the channels; zeros for None.

    >>> bias_of(None, np.int32, 2, "bias")
    array([0, 0], dtype=int32)
    """
    array = np.zeros(channels, dtype) if bias is None else np.asarray(bias)
    if array.dtype != dtype or array.shape != (channels,):
        expected = f"{np.dtype(dtype)} of shape ({channels},)"
        raise ValueError(f"{where} must be {expected}, got {array.dtype} of shape {array.shape}")
    return array


def centred(q: Array, zero_point: Numbers) -> Array:
    """q - zero_point, exact in int32 for codes of at most 16 bits.

    >>> centred(np.uint8([0, 255]), np.uint8(128)).tolist()
    [-128, 127]
    """
    return q.astype(np.int32) - np.asarray(zero_point).astype(np.int32)


def matmul(x: Array, w: Array) -> Array:
    """int32 accumulators of x @ w, which wrap as the processor's do.

    x, w  q - zero_point, shapes (..., rows, K) and (..., K, columns), or (K,), as for NumPy's matmul

    >>> matmul(np.int32([[2**16, 1]]), np.int32([[2**15], [-3]]))
    array([[2147483645]], dtype=int32)
    """
    if x.ndim == 0 or w.ndim == 0 or x.shape[-1] != w.shape[max(w.ndim - 2, 0)]:
        raise ValueError(f"shapes {x.shape} and {w.shape} cannot be multiplied: K differs")
    return np.asarray(x.astype(np.int64) @ w.astype(np.int64)).astype(np.int32)


def convolution(
    x: Array,
    w: Array,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int = 1,
) -> Array:
    """int32 accumulators of a convolution, in `group` parts that do not see each other; they wrap.

    x     q - zero_point, shape (batch, channels, *space); so padding with 0 is padding with real 0
    w     q - zero_point, shape (features, channels / group, *kernel)
    pads  all beginnings, then all ends, as in ONNX

    Returns shape (batch, features, *space').  Raises ValueError where the shapes do not fit.

    >>> convolution(np.ones((1, 1, 3), int), np.ones((1, 1, 3), int), [1], [1, 1], [1]).tolist()
    [[[2, 3, 2]]]
    """
    axes = x.ndim - 2
    if axes < 1 or w.ndim != x.ndim or [len(strides), len(dilations), len(pads)] != [axes, axes, 2 * axes]:
        raise ValueError(
            f"a convolution needs x (batch, channels, *space), w (features, channels / group, *kernel), and "
            f"a stride, a dilation and two pads for each axis of space; got shapes {x.shape} and {w.shape}, "
            f"strides {strides}, dilations {dilations}, pads {pads}"
        )
    if min(*strides, *dilations, group, 1 + min(pads)) < 1:
        raise ValueError(
            f"strides, dilations and group must be 1 or more, pads 0 or more; got strides {strides}, "
            f"dilations {dilations}, group {group}, pads {pads}"
        )
    (batch, channels, *space), (features, seen_channels, *kernel) = x.shape, w.shape
    if channels != seen_channels * group or features % group:
        raise ValueError(
            f"in {group} groups, {channels} channels and {features} features do not fit weights {w.shape}"
        )
    borders = list(zip(pads[:axes], pads[axes:], strict=True))
    steps = list(zip(kernel, strides, dilations, strict=True))
    out = [
        (n + before + after - (k - 1) * d - 1) // s + 1
        for n, (before, after), (k, s, d) in zip(space, borders, steps, strict=True)
    ]
    if min(out) < 1:
        raise ValueError(f"a kernel {kernel} with dilations {dilations} leaves {space} with pads {pads}")
    x = np.pad(x.astype(np.int64), [(0, 0), (0, 0), *borders])
    x = x.reshape(batch, group, seen_channels, *x.shape[2:])
    w = w.astype(np.int64).reshape(group, features // group, seen_channels, *kernel)
    acc = np.zeros((batch, group, features // group, *out), np.int64)
    for k in np.ndindex(*kernel):
        seen = [slice(i * d, i * d + n * s, s) for i, n, (_, s, d) in zip(k, out, steps, strict=True)]
        acc += np.einsum("ngc...,gfc->ngf...", x[:, :, :, *seen], w[:, :, :, *k])
    return acc.reshape(batch, features, *out).astype(np.int32)

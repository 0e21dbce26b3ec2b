"""Arithmetic that processors have and NumPy hides."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from qtutor.fixedpoint import INT32
from qtutor.rounding import IntRange

INT16 = IntRange(-32768, 32767)
Array = np.ndarray
Numbers = Any  # an array, or a number where that has shape ()

P = ParamSpec("P")
R = TypeVar("R")


def silent(rule: Callable[P, R]) -> Callable[P, R]:
    """As on the processor: in this rule NaN, inf and overflow pass without a word."""

    @functools.wraps(rule)
    def silenced(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):  # anew for each call: threads share one in NumPy 1.26, and mix it up
            return rule(*args, **kwargs)

    return silenced


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

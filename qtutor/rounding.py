"""From reals to integers with walls: ranges, rounding, saturation.  Notebook 01."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Rounding = Callable[[np.ndarray], np.ndarray]
INT32 = np.iinfo(np.int32)  # what an accumulator may be


@dataclass(frozen=True)
class IntRange:
    """The closed interval of integers qmin..qmax that a code may take.

    qmin, qmax  Python integers, -32768 <= qmin < qmax <= 65535, else ValueError

    >>> UINT8.levels, UINT8.dtype
    (256, dtype('uint8'))
    >>> IntRange(5, 5)
    Traceback (most recent call last):
    ValueError: IntRange needs -32768 <= qmin < qmax <= 65535, got qmin=5, qmax=5
    """

    qmin: int
    qmax: int

    def __post_init__(self) -> None:
        for name in ("qmin", "qmax"):
            object.__setattr__(self, name, integer(getattr(self, name), f"{name} of IntRange"))
        if not -(2**15) <= self.qmin < self.qmax <= 2**16 - 1:
            raise ValueError(
                f"IntRange needs -32768 <= qmin < qmax <= 65535, got qmin={self.qmin}, qmax={self.qmax}"
            )

    @property
    def levels(self) -> int:
        """How many codes there are."""
        return self.qmax - self.qmin + 1

    @property
    def dtype(self) -> np.dtype:
        """The smallest NumPy integer that stores every code."""
        for dtype in (np.uint8, np.int8, np.uint16, np.int16):
            if np.iinfo(dtype).min <= self.qmin and self.qmax <= np.iinfo(dtype).max:
                return np.dtype(dtype)
        return np.dtype(np.int32)


def int_range(bits: int, *, signed: bool = True, narrow: bool = False) -> IntRange:
    """The range of a two's complement (signed) or plain (unsigned) integer of 2 to 16 bits.

    A narrow range gives up the lowest code, which leaves a signed range symmetric about 0:
    then -q exists for every q, and products stay clear of (-128) * (-128).
    Raises ValueError for other bits, TypeError where `signed` or `narrow` is neither True nor False.

    >>> int_range(4), int_range(8, narrow=True), int_range(2, signed=False)
    (IntRange(qmin=-8, qmax=7), IntRange(qmin=-127, qmax=127), IntRange(qmin=0, qmax=3))
    """
    if not is_integer(bits) or not 2 <= bits <= 16:
        raise ValueError(f"bits must be an integer from 2 to 16, got {bits!r}")
    bits = int(bits)  # 2**8 of a NumPy integer may be 0
    signed, narrow = flag(signed, "signed"), flag(narrow, "narrow")
    qmin, qmax = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return IntRange(qmin + narrow, qmax)


def is_integer(value: object) -> bool:
    """Whether value is one integer, of Python or NumPy; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def integer(value: Any, name: str) -> int:
    """value as a Python integer: NumPy's wrap, np.uint8(200) + np.uint8(100) is 44."""
    if not is_integer(value):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return int(value)


def flag(value: object, name: str) -> bool:
    """value as a Python bool: bits where a choice of two belongs would be as good as True."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


INT8 = int_range(8)
UINT8 = int_range(8, signed=False)
INT4 = int_range(4)


def round_half_even(x: np.ndarray) -> np.ndarray:
    """Nearest integer; ties go to the even neighbour (IEEE 754's default, NumPy, ONNX).

    x  floats of any shape, else TypeError; the result has the same shape and dtype

    >>> round_half_even(np.array([-1.5, -0.5, 0.5, 1.5, 2.5])).tolist()
    [-2.0, -0.0, 0.0, 2.0, 2.0]
    """
    return np.rint(plain(x, "round_half_even", "f", "floats"))  # as a float, 2**53 + 1 would be 2**53


def round_half_away(x: np.ndarray) -> np.ndarray:
    """Nearest integer; ties go away from zero (C's `round`, TensorFlow Lite's reference kernels).

    x  floats of any shape, else TypeError; the result has the same shape and dtype

    Not floor(|x| + 0.5): the largest double below 0.5 plus 0.5 is 1.0 in floating point.

    >>> round_half_away(np.array([-1.5, -0.5, 0.5, 1.5, 2.5])).tolist()
    [-2.0, -1.0, 1.0, 2.0, 3.0]
    >>> float(round_half_away(np.array(0.49999999999999994)))
    0.0
    """
    x = plain(x, "round_half_away", "f", "floats")
    whole = np.trunc(x)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and NaN >= 0.5 is False: inf stays inf
        return whole + np.copysign(np.abs(x - whole) >= 0.5, x).astype(x.dtype)


def saturate(x: np.ndarray, to: IntRange) -> np.ndarray:
    """Clip to qmin..qmax, *then* cast: the other order wraps, and 130 becomes -126.

    x   whole numbers (float or integer dtype) of any shape; +-inf saturates
    to  the range; the result has the same shape and the dtype `to.dtype`

    Raises ValueError for NaN and for fractions (round first), TypeError for anything not a real number.

    >>> saturate(np.array([-1e10, 3.0, 130.0]), INT8)
    array([-128,    3,  127], dtype=int8)
    >>> saturate(np.array([0.5]), INT8)
    Traceback (most recent call last):
    ValueError: saturate needs whole numbers, got 0.5: round before saturating
    """
    x = plain(x, "saturate")
    if x.dtype.kind == "f":
        broken = x != np.rint(x)  # NaN is not equal to itself, so this finds it too
        if broken.any():
            raise ValueError(f"saturate needs whole numbers, got {x[broken][0]!s}: round before saturating")
    x = real_array(x, "saturate")  # after the check: a longdouble may lose its fraction
    if x.dtype.kind != "f":
        # compare as wide signed integers: qmin = -128 is no uint8, and 2**64 - 1 is no int64
        if x.dtype.kind == "u":
            x = np.minimum(x.astype(np.uint64), np.uint64(2**63 - 1))
        x = x.astype(np.int64)
    return np.clip(x, to.qmin, to.qmax).astype(to.dtype)


def plain(x: object, where: str, kinds: str = "", what: str = "") -> np.ndarray:
    """x as a plain array in the machine's byte order, of these kinds of dtype, if any are given."""
    for part in x if isinstance(x, (list, tuple)) else [x]:
        if isinstance(part, np.ndarray) and hasattr(part, "mask"):  # which np.asarray would drop
            raise TypeError(f"{where} takes no masked array: call its filled(value) or compressed() first")
    array = np.asarray(x)
    if kinds and array.dtype.kind not in kinds:
        raise TypeError(f"{where} needs {what}, got dtype {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def real_array(x: object, where: str) -> np.ndarray:
    """x as an array of float32, float64 or integers; float16 becomes float32, longdouble float64."""
    array = plain(x, where, "fiu", "real numbers (float or integer dtype)")
    if array.dtype.kind == "f" and array.dtype not in (np.float32, np.float64):
        with np.errstate(over="ignore", under="ignore"):
            array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    return array


def integers(x: object, low: int, high: int, where: str) -> np.ndarray:
    """x as an array, once it is known to hold integers in low..high."""
    array = plain(x, where, "iu", "integers")
    stored = np.iinfo(array.dtype)
    if array.size and not (low <= stored.min and stored.max <= high):  # else every value fits
        smallest, largest = array.min(), array.max()
        if not (low <= smallest and largest <= high):
            got = smallest if smallest == largest else f"{smallest}..{largest}"
            raise ValueError(f"{where} needs integers in {low}..{high}, got {got}")
    return array

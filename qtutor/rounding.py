"""From reals to integers with walls: ranges, rounding, saturation.  Notebook 01."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Rounding = Callable[[np.ndarray], np.ndarray]


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
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"IntRange needs integers, got {name}={value!r}")
            object.__setattr__(self, name, int(value))
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

    >>> int_range(4), int_range(8, narrow=True), int_range(2, signed=False)
    (IntRange(qmin=-8, qmax=7), IntRange(qmin=-127, qmax=127), IntRange(qmin=0, qmax=3))
    """
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 2 <= bits <= 16:
        raise ValueError(f"bits must be an integer from 2 to 16, got {bits!r}")
    qmin, qmax = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return IntRange(qmin + narrow, qmax)


INT8 = int_range(8)
UINT8 = int_range(8, signed=False)
INT4 = int_range(4)


def round_half_even(x: np.ndarray) -> np.ndarray:
    """Nearest integer; ties go to the even neighbour (IEEE 754's default, NumPy, ONNX).

    x  floats of any shape, else TypeError; the result has the same shape and dtype

    >>> round_half_even(np.array([-1.5, -0.5, 0.5, 1.5, 2.5])).tolist()
    [-2.0, -0.0, 0.0, 2.0, 2.0]
    """
    return np.rint(floats(x, "round_half_even"))


def round_half_away(x: np.ndarray) -> np.ndarray:
    """Nearest integer; ties go away from zero (C's `round`, TensorFlow Lite's reference kernels).

    x  floats of any shape, else TypeError; the result has the same shape and dtype

    Not floor(|x| + 0.5): the largest double below 0.5 plus 0.5 is 1.0 in floating point.

    >>> round_half_away(np.array([-1.5, -0.5, 0.5, 1.5, 2.5])).tolist()
    [-2.0, -1.0, 1.0, 2.0, 3.0]
    >>> float(round_half_away(np.array(0.49999999999999994)))
    0.0
    """
    x = floats(x, "round_half_away")
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
    x = real_array(x, "saturate")
    if x.dtype.kind == "f":
        broken = x != np.rint(x)  # NaN is not equal to itself, so this finds it too
        if broken.any():
            raise ValueError(f"saturate needs whole numbers, got {x[broken][0]}: round before saturating")
    else:
        # compare as wide signed integers: qmin = -128 is no uint8, and 2**64 - 1 is no int64
        if x.dtype.kind == "u":
            x = np.minimum(x.astype(np.uint64), np.uint64(2**63 - 1))
        x = x.astype(np.int64)
    return np.clip(x, to.qmin, to.qmax).astype(to.dtype)


def floats(x: object, where: str) -> np.ndarray:
    """x as an array of its own float dtype; NumPy would round 2**53 + 1 by making it a float first."""
    array = np.asarray(x)
    if array.dtype.kind != "f":
        raise TypeError(f"{where} needs floats, got dtype {array.dtype}")
    return array


def real_array(x: object, where: str) -> np.ndarray:
    """x as an array of float32, float64 or integers (float16 is widened: it cannot hold 4097)."""
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{where} needs real numbers (float or integer dtype), got dtype {array.dtype}")
    if array.dtype.kind == "f" and array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    return array

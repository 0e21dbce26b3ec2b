"""Values in words, for the reports: on one line, the same on every machine, and never too long."""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

LARGE = 5_000  # values: of what holds more, the first and the last are shown


def show(value: Any, digits: int | None = None) -> str:
    """Write `value` on one line, not too long, that is the same on every machine: no address.

    >>> show(np.arange(3_000_000, dtype=np.int64))
    '[0, 1, 2, ..., 2999997, 2999998, 2999999] (int64, shape (3000000,))'
    """
    text = _text(value, digits)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-60:]}"


def show_apart(a: Any, b: Any) -> tuple[str, str]:
    """The same for two values that differ, such that nobody takes one for the other.

    Eight digits are calmer than seventeen: they are enough where they make no two numbers alike. If the
    difference were cut out of the middle, the part that has it is shown.
    """
    full, short = ([_text(value, digits) for value in (a, b)] for digits in (None, 8))
    words, short_words = (re.findall(r"[^\s,()\[\]{}]+", " ".join(texts)) for texts in (full, short))
    digits = 8 if len(set(short_words)) == len(set(words)) else None
    if (shown := (show(a, digits), show(b, digits)))[0] != shown[1]:
        return shown
    if full[0] == full[1]:
        return _first_difference(a, b)
    at = next((i for i, (c, d) in enumerate(zip(*full, strict=False)) if c != d), 0)
    start = max(0, at - 60)
    yours, expected = (f"... {text[start : start + 120]} ... {text[-20:]}" for text in full)
    return yours, expected


def _first_difference(a: Any, b: Any) -> tuple[str, str]:
    """What stands where two large arrays, or lists of numbers, differ that begin and end alike."""
    x, y = np.asarray(a), np.asarray(b)
    unequal = (x != y) & ~((x != x) & (y != y))  # not where both are NaN
    at = np.unravel_index(int(unequal.argmax()), unequal.shape)
    shown = [
        f"... {_text(values[at], None)} at {[int(i) for i in at]} ... in {show(values)}" for values in (x, y)
    ]
    return shown[0], shown[1]


def _text(value: Any, digits: int | None) -> str:
    """`value` with so many digits of its floats, or with all that tell them from any other float."""
    try:
        return _written(value, digits, 3 if _count(value, LARGE) > LARGE else None)
    except Exception:  # an object that lets nobody look at it
        return f"<{type(value).__name__}>"


def _count(value: Any, most: int, levels: int = 20) -> int:
    """How many values are in `value`: more than `most` where lists nest too deep, or hold themselves."""
    parts: Iterable
    if isinstance(value, np.ndarray) and value.dtype != object:
        return math.prod(max(size, 1) for size in value.shape)  # [[], [], ...] is long, too
    if isinstance(value, np.ndarray):
        parts = value.flat
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = (getattr(value, field.name) for field in dataclasses.fields(value))
    else:
        return 1
    count = 1 if levels else most + 1
    for part in parts:
        if count > most:
            break
        count += _count(part, most - count, levels - 1)
    return count


def _written(value: Any, digits: int | None, levels: int | None) -> str:
    """`value` in full where `levels` is None, else that many levels of it, and the ends of each."""

    def inside(parts: Sequence[Any]) -> str:
        if levels is None or len(parts) <= 6:
            return ", ".join(write(part) for part in parts)
        return f"{inside(parts[:3])}, ..., {inside(parts[-3:])}"

    def write(part: Any) -> str:
        return _written(part, digits, None if levels is None else levels - 1)

    if levels is not None and levels < 0:
        return "..."
    if isinstance(value, np.generic | np.ndarray):
        if levels is not None and (value.size > 6 or value.size == 0):
            ends = (_plain(value.flat[part]) for part in (slice(3), slice(-3, None)))
            text = ", ..., ".join(inside(part) for part in ends if part)
            return f"[{text}] ({value.dtype}, shape {value.shape})"
        return f"{write(_plain(value))} ({value.dtype})"
    if isinstance(value, float) and digits and value % 1:
        return f"{value:.{digits}g}"
    if isinstance(value, BaseException):
        said = " ".join(str(value).split())
        return f"{type(value).__name__}: {said}" if said else type(value).__name__
    if isinstance(value, list | tuple):
        text = inside(value)
        return f"[{text}]" if isinstance(value, list) else f"({text}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        few = list(value.items())[: None if levels is None else 3]
        parts = [f"{key!r}: {write(part)}" for key, part in few]
        return f"{{{', '.join(parts)}{', ...' * (len(few) < len(value))}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [f"{field.name}={write(getattr(value, field.name))}" for field in dataclasses.fields(value)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, int) and value.bit_length() > 1_000:
        return f"an integer of {value.bit_length()} bits"
    if value is None or value is ... or isinstance(value, bool | int | float | complex | str):
        return repr(value)
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else f"<{type(value).__name__}>"


def _plain(value: np.generic | np.ndarray) -> Any:
    """As Python's own numbers, with no more digits than they need: float32's 0.1, not 0.10000000149011612."""
    if value.dtype.kind != "f" or value.dtype == np.float64:
        return value.tolist()
    return np.array([float(str(v)) for v in value.flat]).reshape(value.shape).tolist()

"""Exercises that check themselves and name the mistake (an instrument of every notebook).

The last line of an exercise cell is `check("2.1", answer)`. It prints a calm report: correct, not tried yet,
or the first input that comes out wrong and, where the answer is a known mistake, which one.

What is correct is computed, never written down: an exercise holds a function that answers it and functions
that answer it wrongly in known ways. The exercises of chapter N live in `chapter0N.py` beside this file, as
`EXERCISES = {"N.1": ...}`, and are loaded when first asked for. There are three kinds: `Function` (write a
function), `Number` (predict a number) and `Choice` (find anything that meets a condition).

>>> halve = Function(
...     cases=[(4,), (7,), (-7,)],
...     expected=lambda n: n // 2,
...     mistakes={"you truncate towards zero": lambda n: int(n / 2)},
... )
>>> print(verdict("0.1", halve, lambda n: n >> 1)[1])
Exercise 0.1: correct on 3 inputs.
>>> print(verdict("0.1", halve, lambda n: (n + 1) // 2 if n > 0 else n // 2)[1])
Exercise 0.1: not yet. Input 2 of 3, another value:
  n        = 7
  yours    = 4
  expected = 3
>>> print(verdict("0.1", halve, lambda n: -(-n // 2) if n < 0 else n // 2)[1])
Exercise 0.1: not yet. Input 3 of 3, another value:
  n        = -7
  yours    = -3
  expected = -4
This is what comes out when you truncate towards zero.
"""

import copy
import dataclasses
import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Choice", "Exercise", "Function", "Number", "check", "load", "verdict"]


@dataclasses.dataclass(frozen=True)
class Function:
    """Write a function: for each tuple of arguments in `cases` it must do as `expected` does.

    `mistakes` maps how it goes wrong ("you cast before saturating") to a function that does just that.
    Integers must be equal, floats agree to `tolerance` times the largest magnitude expected; where integers
    are expected, floats are a mistake. When `expected` raises an error, the answer must raise that error.
    """

    cases: Sequence[tuple]
    expected: Callable
    mistakes: Mapping[str, Callable]
    tolerance: float = 1e-6


@dataclasses.dataclass(frozen=True)
class Number:
    """Predict a number: `expected()`, to `tolerance` times its magnitude (an integer exactly)."""

    expected: Callable[[], float]
    mistakes: Mapping[str, Callable[[], float]]
    tolerance: float = 0.01


@dataclasses.dataclass(frozen=True)
class Choice:
    """Find anything that meets a condition: `violated(answer)` is None, or a sentence saying what is wrong.

    `example` is an answer that meets it and `wrong` are answers that don't: they test the condition.
    """

    violated: Callable[[Any], str | None]
    example: Any
    wrong: Sequence[Any]


Exercise = Function | Number | Choice


def check(name: str, answer: Any) -> None:
    """Print how `answer` does in exercise `name`, such as "2.1".

    Raises ValueError when there is no such exercise. What is wrong with the answer is printed, not raised.
    """
    exercises = load(name.partition(".")[0])
    if name not in exercises:
        raise ValueError(f"no exercise {name!r}; this chapter has {', '.join(exercises)}")
    print(verdict(name, exercises[name], answer)[1])


def load(chapter: str) -> Mapping[str, Exercise]:
    """The exercises of a chapter, "1" or "01", by name."""
    module = f"qtutor.tutorial.exercises.chapter{chapter:0>2}"
    try:
        return importlib.import_module(module).EXERCISES
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(f"no exercises for chapter {chapter!r}") from None


def verdict(name: str, exercise: Exercise, answer: Any) -> tuple[bool, str]:
    """Whether `answer` is correct, and the report that `check` prints."""
    if isinstance(exercise, Function):
        correct, report = _judge_function(exercise, answer)
    elif isinstance(exercise, Number):
        correct, report = _judge_number(exercise, answer)
    else:
        correct, report = _judge_choice(exercise, answer)
    return correct, f"Exercise {name}: {report}"


# --- one judge for each kind of exercise ---

UNTRIED = False, "not tried yet. Replace the ... and run the cell again."


def _judge_function(exercise: Function, answer: Any) -> tuple[bool, str]:
    if _untried(answer):
        return UNTRIED
    if not callable(answer):
        return False, f"the answer must be a function; this is {_show(answer)}."
    mine = [_run(answer, case) for case in exercise.cases]
    if mine[0] is None:
        return False, "the function gives nothing back. It must end with return and the answer."
    if _untried(mine[0]) or isinstance(mine[0], NotImplementedError):
        return UNTRIED
    right = [_run(exercise.expected, case) for case in exercise.cases]
    differences = [_difference(m, r, exercise.tolerance) for m, r in zip(mine, right, strict=True)]
    if not any(differences):
        return True, f"correct on {len(mine)} input{'s' * (len(mine) > 1)}."

    i = next(i for i, difference in enumerate(differences) if difference)
    parameters = inspect.signature(exercise.expected).parameters
    rows = {name: _show(case) for name, case in zip(parameters, exercise.cases[i], strict=False)}
    rows["yours"], rows["expected"] = _show_apart(mine[i], right[i])
    width = max(len(name) for name in rows)
    table = "\n".join(f"  {name:{width}} = {text}" for name, text in rows.items())

    def matches(mistake: Callable) -> bool:
        wrong = [_run(mistake, case) for case in exercise.cases]
        return not any(_difference(m, w, exercise.tolerance) for m, w in zip(mine, wrong, strict=True))

    named = _name([words for words, mistake in exercise.mistakes.items() if matches(mistake)])
    return False, f"not yet. Input {i + 1} of {len(mine)}, {differences[i]}:\n{table}{named}"


def _judge_number(exercise: Number, answer: Any) -> tuple[bool, str]:
    if _untried(answer):
        return UNTRIED
    if np.ndim(answer) != 0 or np.asarray(answer).dtype.kind not in "iuf":
        return False, f"the answer must be a number; this is {_show(answer)}."

    def is_right(value: float) -> bool:
        allowed = 0 if isinstance(value, int | np.integer) else exercise.tolerance * abs(value)
        return bool(abs(float(answer) - value) <= allowed)

    if is_right(exercise.expected()):
        return True, "correct."
    named = _name([words for words, mistake in exercise.mistakes.items() if is_right(mistake())])
    return False, f"not yet; it is not {_show(answer)}.{named}"


def _judge_choice(exercise: Choice, answer: Any) -> tuple[bool, str]:
    if _untried(answer):
        return UNTRIED
    violated = _run(exercise.violated, (answer,))
    if isinstance(violated, TypeError | IndexError | KeyError):
        return False, f"{_show(answer)} is not the kind of answer that is asked for."
    if isinstance(violated, Exception):
        return False, f"not yet. {_show(answer)} does not work: {violated}."
    return (True, "correct.") if violated is None else (False, f"not yet. {violated}")


# --- what they share ---


def _untried(answer: Any) -> bool:
    """Whether the answer is still the dots (or the nothing) that the exercise cell came with."""
    if isinstance(answer, list | tuple | dict):
        return any(part is ... for part in (answer.values() if isinstance(answer, dict) else answer))
    return answer is None or answer is ...


def _name(mistakes: list[str]) -> str:
    return f"\nThis is what comes out when {', or when '.join(mistakes)}." if mistakes else ""


def _run(function: Callable, case: tuple) -> Any:
    """What `function` returns, or the error that it raises, on copies of the arguments in `case`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a wrong answer may overflow or divide by zero: the report says so
        try:
            return function(*copy.deepcopy(case))
        except Exception as error:
            return error


def _difference(mine: Any, right: Any, tolerance: float) -> str:
    """In a few words, how `mine` differs from `right`; "" when it does not."""
    if isinstance(mine, Exception) or isinstance(right, Exception):
        if isinstance(mine, Exception) and isinstance(right, Exception):
            return "" if isinstance(mine, type(right)) else "the wrong kind of error"
        return "an error" if isinstance(mine, Exception) else "no error where one is expected"
    if dataclasses.is_dataclass(right):
        if type(mine) is not type(right):
            return f"not a {type(right).__name__}"
        return _difference(_fields(mine), _fields(right), tolerance)
    if isinstance(right, tuple):
        if not isinstance(mine, list | tuple) or len(mine) != len(right):
            return f"not {len(right)} values"
        pairs = zip(mine, right, strict=True)
        return next((found for m, r in pairs if (found := _difference(m, r, tolerance))), "")
    try:
        m, r = np.asarray(mine), np.asarray(right)
    except ValueError:  # nested lists of unequal lengths
        return "not an array"
    kinds = {"i": "integers", "u": "integers", "f": "floats", "b": "truth values"}
    if r.dtype.kind not in kinds:
        return "" if type(mine) is type(right) and mine == right else "another value"
    if m.shape != r.shape:
        return f"shape {m.shape} where {r.shape} is expected"
    if m.dtype.kind not in kinds:
        return f"not {kinds[r.dtype.kind]}"
    if r.dtype.kind != "f":
        if not np.array_equal(m, r):
            return _another_value(m != r)
        return "" if kinds[m.dtype.kind] == kinds[r.dtype.kind] else f"not {kinds[r.dtype.kind]}"
    finite = np.abs(r[np.isfinite(r)], dtype=np.float64)
    close = np.isclose(m, r, rtol=0, atol=tolerance * finite.max(initial=0), equal_nan=True)
    return "" if close.all() else _another_value(~close)


def _another_value(unequal: np.ndarray) -> str:
    """Where in an array the first one is."""
    return "another value" + (f" at {np.argwhere(unequal)[0].tolist()}" if np.ndim(unequal) else "")


def _fields(value: Any) -> tuple:
    return tuple(getattr(value, field.name) for field in dataclasses.fields(value))


def _show(value: Any, digits: int | None = None) -> str:
    """Write `value` on one line, not too long, that is the same on every machine: no address."""
    text = _text(value, digits)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-60:]}"


def _show_apart(a: Any, b: Any) -> tuple[str, str]:
    """The same for two values that differ, such that nobody takes one for the other.

    Eight digits are calmer than seventeen: they are enough where they make no two numbers alike. If the
    difference were cut out of the middle, the part that has it is shown.
    """
    full, short = ([_text(value, digits) for value in (a, b)] for digits in (None, 8))
    words, short_words = (re.findall(r"[^\s,()\[\]{}]+", " ".join(texts)) for texts in (full, short))
    digits = 8 if len(set(short_words)) == len(set(words)) else None
    if (shown := (_show(a, digits), _show(b, digits)))[0] != shown[1]:
        return shown
    at = next((i for i, (c, d) in enumerate(zip(*full, strict=False)) if c != d), 0)
    start = max(0, at - 60)
    yours, expected = (f"... {text[start : start + 120]} ... {text[-20:]}" for text in full)
    return yours, expected


def _text(value: Any, digits: int | None = None) -> str:
    """`value` in full; its floats with so many digits, or with all that tell them from any other float."""
    if isinstance(value, np.generic | np.ndarray):
        short = value.dtype.kind == "f" and value.dtype != np.float64  # float32: 0.1, not 0.10000000149011612
        array = np.array([float(str(v)) for v in value.flat]).reshape(value.shape) if short else value
        return f"{_text(array.tolist(), digits)} ({value.dtype})"
    if isinstance(value, float) and digits and value % 1:
        return f"{value:.{digits}g}"
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {' '.join(str(value).split())}"
    if isinstance(value, list | tuple):
        inside = ", ".join(_text(part, digits) for part in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_text(part, digits)}' for key, part in value.items())}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        parts = (f"{name}={_text(getattr(value, name), digits)}" for name in names)
        return f"{type(value).__name__}({', '.join(parts)})"
    if value is None or value is ... or isinstance(value, bool | int | float | complex | str):
        return repr(value)
    return getattr(value, "__name__", None) or f"<{type(value).__name__}>"

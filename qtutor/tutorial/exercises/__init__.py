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
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qtutor.tutorial.exercises.limit import OutOfTime, run_within
from qtutor.tutorial.exercises.words import LARGE, show, show_apart

__all__ = ["Choice", "Exercise", "Function", "Number", "check", "load", "verdict"]

LIMIT = 20.0  # seconds that an answer may take


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

    What is wrong with the answer is printed, not raised, whatever the answer does. One that has not ended
    after 20 seconds is stopped, and the report says so. Python can stop it between two of its steps only, by
    an error raised in it. So one long step outside of Python (`time.sleep(3600)`, a product of huge matrices)
    and a loop whose `except:` takes every error run on in the background, which the report says, too. And a
    step that lets nothing else run meanwhile (`3 ** 10**9`) also holds up `check`: there, restart the kernel.

    Raises TypeError when the name is not a string, ValueError when there is no such exercise.
    """
    if not isinstance(name, str):
        raise TypeError(f'the name of an exercise is a string such as "0.2"; this is {show(name)}')
    exercises = load(name.partition(".")[0])
    if name not in exercises:
        raise ValueError(f"no exercise {name!r}; this chapter has {', '.join(exercises)}")
    print(verdict(name, exercises[name], answer)[1])


def load(chapter: str) -> Mapping[str, Exercise]:
    """The exercises of a chapter, "1" or "01", by name."""
    module = f"qtutor.tutorial.exercises.chapter{chapter:0>2}"
    try:
        if chapter.isdecimal():
            return importlib.import_module(module).EXERCISES
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
    raise ValueError(f"no exercises for chapter {chapter!r}")


def verdict(name: str, exercise: Exercise, answer: Any, seconds: float = LIMIT) -> tuple[bool, str]:
    """Whether `answer` is correct, and the report that `check` prints; `seconds` are all the time it has."""
    mine: list = []  # what a function gave so far: if it does not end, the report tells on which input

    def judge() -> tuple[bool, str]:
        try:
            with np.errstate(all="ignore"):
                if isinstance(exercise, Function):
                    return _judge_function(exercise, answer, mine)
                if isinstance(exercise, Number):
                    return _judge_number(exercise, answer)
                return _judge_choice(exercise, answer)
        except OutOfTime:
            raise
        except BaseException as error:  # an answer may hold an object that cannot be compared with another
            return False, f"the answer cannot be compared: {show(error)}."

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a wrong answer may overflow or divide by zero: the report says so
        judged, done, still_runs = run_within(seconds, judge, mine)
    correct, report = judged or (False, _without_end(exercise, done, seconds, still_runs))
    printable = report.encode(errors="backslashreplace").decode()  # halves of characters are not
    return correct, f"Exercise {name}: {printable}"


# --- one judge for each kind of exercise ---

UNTRIED = False, "not tried yet. Replace the ... and run the cell again."


def _judge_function(exercise: Function, answer: Any, mine: list) -> tuple[bool, str]:
    if _untried(answer):
        return UNTRIED
    if not callable(answer):
        return False, f"the answer must be a function; this is {show(answer)}."
    mine.extend(_run(answer, case) for case in exercise.cases)
    if mine[0] is None:
        return False, "the function gives nothing back. It must end with return and the answer."
    if _untried(mine[0]) or _has_raised(mine[0], NotImplementedError):
        return UNTRIED
    right = [_run(exercise.expected, case) for case in exercise.cases]
    differences = [_difference(m, r, exercise.tolerance) for m, r in zip(mine, right, strict=True)]
    if not any(differences):
        return True, f"correct on {len(mine)} input{'s' * (len(mine) > 1)}."

    i = next(i for i, difference in enumerate(differences) if difference)
    yours, expected = show_apart(*(r.error if isinstance(r, _Raised) else r for r in (mine[i], right[i])))
    table = _table(exercise, i, yours=yours, expected=expected)

    def matches(mistake: Callable) -> bool:
        wrong = [_run(mistake, case) for case in exercise.cases]
        return not any(_difference(m, w, exercise.tolerance) for m, w in zip(mine, wrong, strict=True))

    named = _name([words for words, mistake in exercise.mistakes.items() if matches(mistake)])
    return False, f"not yet. Input {i + 1} of {len(mine)}, {differences[i]}:\n{table}{named}"


def _table(exercise: Function, i: int, **results: str) -> str:
    """A table of the arguments in case `i`, and of what came out."""
    parameters = inspect.signature(exercise.expected).parameters
    rows = {name: show(case) for name, case in zip(parameters, exercise.cases[i], strict=False)} | results
    width = max(len(name) for name in rows)
    return "\n".join(f"  {name:{width}} = {text}" for name, text in rows.items())


def _judge_number(exercise: Number, answer: Any) -> tuple[bool, str]:
    if _untried(answer):
        return UNTRIED
    number: Any = answer[()] if isinstance(answer, np.ndarray) and answer.ndim == 0 else answer
    if not isinstance(number, int | float | np.integer | np.floating) or isinstance(number, bool):
        return False, f"the answer must be a number; this is {show(answer)}."

    def is_right(value: float) -> bool:
        if isinstance(value, int | np.integer):
            return bool(number == value)
        near = float(number) if -1e300 < number < 1e300 else math.inf  # Python's integers have no end
        return bool(abs(near - value) <= exercise.tolerance * abs(value))

    if is_right(exercise.expected()):
        return True, "correct."
    named = _name([words for words, mistake in exercise.mistakes.items() if is_right(mistake())])
    return False, f"not yet; it is not {show(answer)}.{named}"


def _judge_choice(exercise: Choice, answer: Any) -> tuple[bool, str]:
    if _untried(answer):
        return UNTRIED
    # to read an iterator, or a list that holds itself, may be one step without end, which nothing can stop
    endless = isinstance(answer, Iterator) or _nests(answer, 8)
    violated = _Raised(TypeError()) if endless else _run(exercise.violated, (answer,))
    if _has_raised(violated, TypeError, IndexError, KeyError):
        return False, f"{show(answer)} is not the kind of answer that is asked for."
    if isinstance(violated, _Raised):
        said = show(violated.error).partition(": ")[2]
        return False, f"not yet. {show(answer)} does not work: {said}."
    return (True, "correct.") if violated is None else (False, f"not yet. {violated}")


def _without_end(exercise: Exercise, done: int, seconds: float, still_runs: bool) -> str:
    """The report on an answer that has not ended; `done` is how many inputs a function had finished."""
    what = "function" if isinstance(exercise, Function) else "answer"
    report = f"not yet. Your {what} has not ended after {seconds:g} s."
    if still_runs:
        report += " It cannot be stopped and still runs: once you have changed it, restart the kernel."
    if isinstance(exercise, Function) and done < len(exercise.cases):
        report += f" Input {done + 1} of {len(exercise.cases)}:\n{_table(exercise, done)}"
    return report


# --- what they share ---


@dataclasses.dataclass(frozen=True)
class _Raised:
    """What a function gives that raises an error, which is not the same as to return one."""

    error: BaseException


def _has_raised(result: Any, *kinds: type[BaseException]) -> bool:
    return isinstance(result, _Raised) and isinstance(result.error, kinds)


def _untried(answer: Any) -> bool:
    """Whether the answer is still the dots (or the nothing) that the exercise cell came with."""
    if isinstance(answer, list | tuple | dict):
        return any(part is ... for part in (answer.values() if isinstance(answer, dict) else answer))
    return answer is None or answer is ...


def _name(mistakes: list[str]) -> str:
    return f"\nThis is what comes out when {', or when '.join(mistakes)}." if mistakes else ""


def _run(function: Callable, case: tuple) -> Any:
    """What `function` returns, or the error that it raises, on copies of the arguments in `case`."""
    try:
        result = function(*copy.deepcopy(case))
        if isinstance(result, np.ndarray) and result.size <= LARGE:
            result = result.copy()  # or the next call could write in it
    except OutOfTime:
        raise
    except BaseException as error:  # also SystemExit and KeyboardInterrupt, where the answer raises them
        return _Raised(error)
    return result


def _difference(mine: Any, right: Any, tolerance: float) -> str:
    """In a few words, how `mine` differs from `right`; "" when it does not."""
    if isinstance(mine, _Raised) or isinstance(right, _Raised):
        if isinstance(mine, _Raised) and isinstance(right, _Raised):
            return "" if isinstance(mine.error, type(right.error)) else "the wrong kind of error"
        return "an error" if isinstance(mine, _Raised) else "no error where one is expected"
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
        r = np.asarray(right)
        if isinstance(mine, list | tuple | range) and len(mine) > max(LARGE, r.size):
            return f"{len(mine):,} values, which are too many"
        m = _array(mine)
    except Exception:  # nested lists of unequal lengths, or an object that refuses
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


def _array(value: Any) -> np.ndarray:
    """`value` as an array; ValueError where some of it is masked, or lists are in lists without an end."""
    if np.ma.is_masked(value) or _nests(value, 8):
        raise ValueError("not a plain array")
    return np.asarray(value)


def _nests(value: Any, levels: int) -> bool:
    """Whether there are lists in lists in more levels than this."""
    lists = (
        [part for part in value if isinstance(part, list | tuple)] if isinstance(value, list | tuple) else []
    )
    return bool(lists) and (levels == 0 or any(_nests(part, levels - 1) for part in lists))


def _fields(value: Any) -> tuple:
    return tuple(getattr(value, field.name) for field in dataclasses.fields(value))

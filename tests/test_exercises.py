"""qtutor/tutorial/exercises: an answer is judged fairly, told calmly, and a known mistake is named."""

import ast
import contextlib
import copy
import importlib
import inspect
import itertools
import pkgutil
import re
import signal
import sys
import threading
import time
import types
import typing
import warnings
import zlib
from pathlib import Path

import nbformat
import numpy as np
import pytest

from qtutor.affine import QParams, choose_qparams
from qtutor.rounding import INT8, round_half_even, saturate
from qtutor.tutorial import exercises
from qtutor.tutorial.exercises import Choice, Function, Number, check, verdict
from qtutor.tutorial.exercises.words import show

CHAPTERS = sorted(m.name for m in pkgutil.iter_modules(exercises.__path__) if m.name.startswith("chapter"))
ENTRIES = [
    pytest.param(name, exercise, id=name)
    for chapter in CHAPTERS
    for name, exercise in importlib.import_module(f"qtutor.tutorial.exercises.{chapter}").EXERCISES.items()
]
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS)
every_exercise = pytest.mark.parametrize(("name", "exercise"), ENTRIES)


# --- the exercises of every chapter, found, not listed ---


def mistakes_of(exercise):
    """(words, wrong answer) pairs; the wrong answers of a Choice have no words."""
    if isinstance(exercise, Choice):
        return [(None, wrong) for wrong in exercise.wrong]
    if isinstance(exercise, Number):
        return [(words, mistake()) for words, mistake in exercise.mistakes.items()]
    return list(exercise.mistakes.items())


@every_chapter
def test_a_chapter_has_four_exercises_numbered_in_order(chapter):
    number = int(chapter.removeprefix("chapter"))
    names = list(exercises.load(str(number)))
    assert len(names) >= 4
    assert names == [f"{number}.{k}" for k in range(1, len(names) + 1)]


@every_exercise
def test_the_expected_answer_is_correct(name, exercise):
    answers = {Function: lambda e: e.expected, Number: lambda e: e.expected(), Choice: lambda e: e.example}
    correct, report = verdict(name, exercise, answers[type(exercise)](exercise))
    assert correct and report.startswith(f"Exercise {name}: correct"), report


@every_exercise
def test_three_known_mistakes_are_each_rejected_by_the_name_of_that_one_alone(name, exercise):
    mistakes = mistakes_of(exercise)
    assert len(mistakes) >= 3
    for words, wrong in mistakes:
        correct, report = verdict(name, exercise, wrong)
        assert not correct, words or wrong
        assert words is None or report.endswith(f"\nThis is what comes out when {words}."), report


def written_down():
    """Exercise -> the words of each known mistake -> what it gives, input by input, from mistakes.txt."""
    found = {}
    for line in Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, words, *given = line.split(" | ")
            found.setdefault(name, {})[words] = given
    return found


WRITTEN_DOWN = written_down()


def plain(value):
    """Numbers as Python writes them, floats with six digits: the same on every machine."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return f"{value:.6g}" if value % 1 else f"{value:.1f}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    return repr(value)


@every_exercise
def test_a_known_mistake_gives_what_is_written_down_for_it(name, exercise):
    def outline(text):
        return text if len(text) <= 80 else f"{text[:40]} ... {zlib.crc32(text.encode())}"

    gives = {}
    for words, mistake in getattr(exercise, "mistakes", {}).items():
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            given = [plain(mistake(*copy.deepcopy(case))) for case in getattr(exercise, "cases", [()])]
        gives[words] = [outline(text) for text in (given if len(given) < 10 else [" ".join(given)])]
    assert gives == WRITTEN_DOWN.get(name, {})


@every_exercise
def test_the_words_of_a_mistake_complete_the_sentence(name, exercise):
    for words, _ in mistakes_of(exercise):
        assert words is None or (words.startswith("you ") and not words.endswith("."))


@every_exercise
def test_an_exercise_not_tried_is_told_in_one_calm_line(name, exercise):
    for untried in (..., None, *([lambda *case: ...] if isinstance(exercise, Function) else [])):
        correct, report = verdict(name, exercise, untried)
        assert not correct
        assert report == f"Exercise {name}: not tried yet. Replace the ... and run the cell again."


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("3.5", 99, "the range is too narrow"),
        ("3.5", 99.9, "the range is too wide"),
        ("4.5", (-4.41, 6.48), "100% of the noise is rounding, the rest clipping (1 below, 0 above"),
        ("4.5", (-4.41, 4.0), "40% of the noise is rounding, the rest clipping (0 below, 634 above"),
    ],
)
def test_a_range_that_is_refused_is_told_on_which_side_it_errs(name, answer, told):
    assert told in verdict(name, exercises.load(name[0])[name], answer)[1]


# --- what the page says of an exercise: the loop that specifies it, the stub, the worked solution ---


def on_the_pages():
    """Exercise -> the sources of its cells in the notebook, joined by what they are for."""
    found = {}
    for path in sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb")):
        cells, here = nbformat.read(path, as_version=4).cells, None
        imports = next(cell.source for cell in cells if cell.cell_type == "code")
        for cell in cells:
            if heading := re.search(r"^### Exercise ([\d.]+): (.*)", cell.source, re.MULTILINE | re.DOTALL):
                here = found[heading[1]] = dict(imports=imports, words="", given="", stub="", solution="")
            elif cell.source.startswith("## "):
                here = None
            if here is not None:
                here[use_of(cell)] += (heading[2] if heading else cell.source) + "\n"
    return found


def use_of(cell):
    if cell.cell_type == "markdown":
        return "words"
    if "solution" in cell.metadata.get("tags", []):
        return "solution"
    return "stub" if re.search(r"^check\(", cell.source, re.MULTILINE) else "given"


PAGES = on_the_pages()
FUNCTIONS = [entry for entry in ENTRIES if isinstance(entry.values[1], Function)]
every_function = pytest.mark.parametrize(("name", "exercise"), FUNCTIONS)
every_number_and_choice = pytest.mark.parametrize(
    ("name", "exercise"), [entry for entry in ENTRIES if entry not in FUNCTIONS]
)


def test_every_exercise_is_on_its_page_with_a_cell_to_try_it_and_a_solution():
    assert list(PAGES) == [entry.values[0] for entry in ENTRIES]
    for name, page in PAGES.items():
        assert page["stub"].count(f'check("{name}", ') == page["solution"].count(f'check("{name}", ') == 1
        assert page["solution"].startswith(f"# Solution {name}\n")  # a folded cell still shows its first line


def slow_loop(name):
    """The last block of code in an exercise's words, as a function: the stub's, with this as its body.

    As in a cell, its last line is what comes out. It knows what the notebook imports at the top.
    """
    page = PAGES[name]
    blocks = re.findall(r"^```python\n(.*?)^```", page["words"], re.DOTALL | re.MULTILINE)
    *loop, result = ast.parse(blocks[-1]).body
    assert any(isinstance(line, ast.For | ast.While) for line in loop) and isinstance(result, ast.Expr)
    (stub,) = (node for node in ast.parse(page["stub"]).body if isinstance(node, ast.FunctionDef))
    stub.body = [*loop, ast.Return(result.value)]
    around = ast.parse(page["imports"] + "\n" + page["given"]).body
    known = [node for node in around if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)]
    names = {}
    exec(compile(ast.fix_missing_locations(ast.Module([*known, stub], [])), name, "exec"), names)
    return names[stub.name]


@every_function
def test_the_slow_loop_on_the_page_is_a_right_answer(name, exercise):
    correct, report = verdict(name, exercise, slow_loop(name))
    assert correct, report


@every_function
def test_a_stub_says_what_it_takes_and_gives_and_nothing_else(name, exercise):
    function, call = ast.parse(PAGES[name]["stub"]).body
    assert [ast.unparse(line) for line in function.body] == ["return ..."]
    assert ast.unparse(call) == f"check('{name}', {function.name})"
    stated = {a.arg: ast.unparse(a.annotation) for a in function.args.args}
    stated["return"] = ast.unparse(function.returns)
    assert list(stated) == [*inspect.signature(exercise.expected).parameters, "return"]
    hints = typing.get_type_hints(exercise.expected)
    assert {name: eval(hint, {"np": np}) for name, hint in stated.items()} == hints


# --- no solution is visible, on the page or in a report ---


def tokens(text):
    return " ".join(["", *re.findall(r"\w+|[^\w\s]", text), ""])


def pieces(source, kinds=ast.BinOp | ast.BoolOp | ast.Compare | ast.Call | ast.Attribute | ast.Subscript):
    """Every expression in some code that computes something, as tokens."""
    return {tokens(ast.unparse(node)) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)}


def given(name):
    return tokens(PAGES[name]["words"] + PAGES[name]["given"] + PAGES[name]["stub"])


def numbers(text):
    written = re.findall(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?", text)
    return {float(number.replace(",", "")) for number in written}


def refused(name, exercise):
    """(wrong answer, report) of known mistakes, of what is not tried, of odd types, and of what raises."""
    odd = [..., None, (...,), "", "1", (), {}, 1j, np.nan, np.inf, 0, -1, 10**9, np.zeros(3), int]
    functions = [lambda *case, out=out: out for out in odd] + [lambda: 0, raises_not_implemented]
    for wrong in [*(wrong for _, wrong in mistakes_of(exercise)), *odd, *functions]:
        correct, report = verdict(name, exercise, wrong)
        if not correct:
            yield wrong, report.removeprefix(f"Exercise {name}: ")


@every_function
def test_the_page_does_not_give_the_function_away(name, exercise):
    returned = pieces(PAGES[name]["solution"], ast.Return)
    assert not [line for line in returned if line.replace(" return ", " ") in given(name)]


@every_exercise
def test_no_report_holds_a_piece_of_the_solution(name, exercise):
    solution = PAGES[name]["solution"]
    if isinstance(exercise, Function):
        solution += inspect.getsource(exercise.expected)
    hidden = [piece for piece in pieces(solution) if piece not in given(name)]
    for _, report in refused(name, exercise):
        assert not [piece for piece in hidden if piece in tokens(report)], report


@every_number_and_choice
def test_no_report_tells_a_number_of_the_solution(name, exercise):
    solution = exercise.expected() if isinstance(exercise, Number) else exercise.example
    right, tolerance = numbers(repr(solution)), getattr(exercise, "tolerance", 1e-4)
    for wrong, report in refused(name, exercise):
        told = numbers(report) - numbers(repr(wrong)) - numbers(PAGES[name]["words"])
        assert not [n for n in told if np.isclose(n, [*right], tolerance, 0).any()], report


# --- the machinery, on a small registry ---


def codes(x, scale):
    return saturate(round_half_even(x / scale), INT8)


def wrapped(x, scale):
    return round_half_even(x / scale).astype(np.int32).astype(np.int8)


CODES = Function(
    cases=[(np.array([0.4, -0.8]), 0.5), (np.array([0.25, 300.0]), 0.5)],
    expected=codes,
    mistakes={
        "you cast before saturating": wrapped,
        "you leave the codes as floats": lambda x, scale: np.clip(np.rint(x / scale), -128, 127),
        "you multiply by the scale": lambda x, scale: codes(x * scale, 1),
        "you forget to round": lambda x, scale: saturate(np.trunc(x / scale), INT8),
    },
)
BITS = Number(expected=lambda: 256, mistakes={"you count from 1": lambda: 255})
DECIBEL = Number(expected=lambda: 20 * np.log10(2), mistakes={"you take the power": lambda: 10 * np.log10(2)})
RANGE = Choice(
    violated=lambda r: None if r[0] <= 0 <= r[1] else f"{r[0]} to {r[1]} does not hold 0.",
    example=(-1.0, 1.0),
    wrong=[(1.0, 2.0), (-2.0, -1.0), (3.0, 4.0)],
)


def report(exercise, answer):
    return verdict("9.1", exercise, answer)[1]


def test_a_correct_function_is_told_so():
    assert verdict("9.1", CODES, codes) == (True, "Exercise 9.1: correct on 2 inputs.")


def test_the_first_wrong_input_is_shown_and_the_mistake_named():
    assert report(CODES, wrapped).splitlines() == [
        "Exercise 9.1: not yet. Input 2 of 2, another value at [1]:",
        "  x        = [0.25, 300.0] (float64)",
        "  scale    = 0.5",
        "  yours    = [0, 88] (int8)",
        "  expected = [0, 127] (int8)",
        "This is what comes out when you cast before saturating.",
    ]


def test_a_mistake_that_nobody_foresaw_is_not_named():
    assert "This is what" not in report(CODES, lambda x, scale: np.zeros(2, np.int8))


def test_a_mistake_is_named_only_when_it_matches_on_every_input():
    def half_wrapped(x, scale):
        return wrapped(x, scale) if x[-1] > 0 else codes(x + 9, scale)

    assert "This is what" not in report(CODES, half_wrapped)


def test_two_mistakes_that_look_the_same_are_both_named():
    twice = Number(lambda: 3, {"you add": lambda: 4, "you multiply": lambda: 4})
    assert report(twice, 4).endswith("This is what comes out when you add, or when you multiply.")


def test_floats_are_not_codes_but_any_integer_type_is():
    assert "not integers" in report(CODES, CODES.mistakes["you leave the codes as floats"])
    assert verdict("9.1", CODES, lambda x, scale: codes(x, scale).astype(np.int64))[0]
    assert verdict("9.1", CODES, lambda x, scale: codes(x, scale).tolist())[0]


def test_integers_and_close_floats_pass_where_floats_are_expected():
    halves = Function([(4.0,), (6.0,)], lambda x: x / 2, {})
    assert verdict("9.1", halves, lambda x: int(x) // 2)[0]
    assert verdict("9.1", halves, lambda x: np.float32(x / 2 * (1 + 5e-7)))[0]
    assert not verdict("9.1", halves, lambda x: x / 2 * (1 + 5e-6))[0]
    assert not verdict("9.1", halves, lambda x: np.nan)[0]


def test_nan_is_right_where_nan_is_expected():
    mean = Function([([],), ([1.0],)], lambda x: np.mean(x) if x else np.nan, {})
    assert verdict("9.1", mean, lambda x: x[0] if x else float("nan"))[0]
    assert not verdict("9.1", mean, lambda x: x[0] if x else 0.0)[0]


def test_a_wrong_shape_is_told():
    assert "shape (1,) where (2,) is expected" in report(CODES, lambda x, scale: codes(x, scale)[:1])
    assert "shape () where (2,) is expected" in report(CODES, lambda x, scale: 3)


def test_several_results_are_compared_one_by_one():
    both = Function([(7, 2)], lambda a, b: (a // b, a % b), {})
    assert verdict("9.1", both, lambda a, b: divmod(a, b))[0]
    assert not verdict("9.1", both, lambda a, b: (a // b, 0))[0]
    assert "not 2 values" in report(both, lambda a, b: a // b)
    assert "not 2 values" in report(both, lambda a, b: (a // b, a % b, a))


def test_qparams_are_compared_field_by_field():
    chosen = Function([(-1.0, 6.0)], lambda rmin, rmax: choose_qparams(rmin, rmax), {})
    assert verdict("9.1", chosen, choose_qparams)[0]
    assert "yours    = QParams(scale=0.5 (float32), zero_point=3" in report(
        chosen, lambda a, b: QParams(0.5, 3)
    )
    assert "not a QParams" in report(chosen, lambda a, b: (0.5, 3))


def test_an_error_of_the_answer_is_told_in_one_line_with_its_input():
    def broken(x, scale):
        raise KeyError("a\nb")

    lines = report(CODES, broken).splitlines()
    assert lines[0].endswith("Input 1 of 2, an error:")
    assert lines[3].startswith("  yours    = KeyError: ")


def test_where_an_error_is_expected_the_answer_must_raise_it():
    strict = Function([(1.0,), (np.nan,)], lambda x: choose_qparams(x, x).qmax, {})

    def raises(error):
        def answer(x):
            if np.isnan(x):
                raise error
            return 127

        return answer

    assert verdict("9.1", strict, raises(ValueError("NaN")))[0]
    assert "the wrong kind of error" in report(strict, raises(TypeError("NaN")))
    assert "no error where one is expected" in report(strict, lambda x: 127)


def test_an_answer_cannot_spoil_the_inputs():
    def spoils(x, scale):
        x[:] = 0
        return codes(x, scale)

    assert not verdict("9.1", CODES, spoils)[0]
    assert verdict("9.1", CODES, codes)[0]


def raises_not_implemented(x, scale):
    raise NotImplementedError


@pytest.mark.parametrize("untried", [..., None, lambda x, scale: ..., raises_not_implemented])
def test_a_function_not_tried_is_told_so(untried):
    assert report(CODES, untried) == "Exercise 9.1: not tried yet. Replace the ... and run the cell again."


def test_a_function_that_forgets_to_return_is_told_so():
    assert report(CODES, lambda x, scale: None) == (
        "Exercise 9.1: the function gives nothing back. It must end with return and the answer."
    )


@pytest.mark.parametrize("untried", [(..., 1), [1, ...], {"scale": ...}])
def test_a_choice_half_made_is_not_tried_yet(untried):
    assert "not tried yet" in report(RANGE, untried)


def test_what_is_not_a_function_or_a_number_is_told_so():
    assert report(CODES, 3) == "Exercise 9.1: the answer must be a function; this is 3."
    for not_a_number in ("256", True, [256], QParams(1.0, 0), 1j):
        assert "must be a number" in report(BITS, not_a_number)


def test_an_integer_is_predicted_exactly_and_a_float_to_its_tolerance():
    assert verdict("9.1", BITS, 256.0)[0] and verdict("9.1", BITS, np.int64(256))[0]
    assert not verdict("9.1", BITS, 257)[0]
    assert verdict("9.1", DECIBEL, 6.0)[0] and verdict("9.1", DECIBEL, 6.02)[0]
    assert not verdict("9.1", DECIBEL, 6.1)[0]
    assert not verdict("9.1", DECIBEL, np.nan)[0]


def test_a_wrong_prediction_never_tells_the_number():
    assert report(BITS, 255) == (
        "Exercise 9.1: not yet; it is not 255.\nThis is what comes out when you count from 1."
    )
    assert "256" not in report(BITS, 7)


def test_a_choice_is_told_which_condition_it_violates():
    assert report(RANGE, (1.0, 2.0)) == "Exercise 9.1: not yet. 1.0 to 2.0 does not hold 0."
    assert report(RANGE, (-3, 4)) == "Exercise 9.1: correct."
    assert report(RANGE, 3) == "Exercise 9.1: 3 is not the kind of answer that is asked for."
    assert report(RANGE, (1.0,)) == "Exercise 9.1: (1.0,) is not the kind of answer that is asked for."
    positive = Choice(lambda x: None if float(x) > 0 else f"{x} is not positive.", 1.0, [])
    assert report(positive, "") == (
        "Exercise 9.1: not yet. '' does not work: could not convert string to float: ''."
    )


def test_a_report_is_the_same_on_every_run():
    call = Function([(round_half_even, [1, 2.5], None, {"a": 0.1}, object())], lambda f, a, b, c, d: f, {})
    lines = report(call, lambda *case: object()).splitlines()
    assert lines[1:6] == [
        "  f        = round_half_even",
        "  a        = [1, 2.5]",
        "  b        = None",
        "  c        = {'a': 0.1}",
        "  d        = <object>",
    ]
    assert "0x" not in "".join(lines)


def test_a_long_array_is_shortened_and_stays_on_one_line():
    many = Function([(np.arange(1000.0).reshape(10, 100),)], lambda x: x, {})
    lines = report(many, lambda x: x + 1).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) < 320


def told(mine, right):
    """How a report shows two values, as (yours, expected)."""
    text = report(Function([()], lambda: right, {}, tolerance=0), lambda: mine)
    return re.search(r"yours +(= .*)\n +expected +(= .*)", text).groups()


THIRD = np.float32(1 / 3)
LONG = np.arange(1000.0)


@pytest.mark.parametrize(
    ("mine", "right"),
    [
        (0.1 + 0.2, 0.3),
        (np.array([0.49999999999999994]), np.array([0.5])),
        (np.nextafter(THIRD, np.float32(1)), THIRD),
        (float(THIRD), 1 / 3),
        (np.float32([1.0, 16777216.0]), np.float32([1.0, 16777215.0])),
        (1e300, np.nextafter(1e300, 0)),
        ((1, 2.0 + 2**-50), (1, 2.0)),
        (LONG + (np.arange(1000) == 500), LONG),
        ([*range(300), 7, *range(300)], [*range(300), 8, *range(300)]),
        (np.append(LONG, 1.0), np.append(LONG, 2.0)),
    ],
)
def test_two_unequal_values_never_look_alike(mine, right):
    yours, expected = told(mine, right)
    assert yours != expected
    assert max(len(yours), len(expected)) < 320


def test_a_float32_has_no_more_digits_than_it_needs():
    assert told(np.float32([0.1, 1e-7]), np.float32([0.2, 1e-7]))[0] == "= [0.1, 1e-07] (float32)"


def test_warnings_of_a_wrong_answer_stay_out_of_the_way():
    assert "yours    = [nan, nan] (float64)" in report(CODES, lambda x, scale: np.log(-np.abs(x)))


# --- whatever the answer does, check reports it


def given_back(value):
    return report(CODES, lambda x, scale: value)


def holding_itself(times=1):
    values = []
    values.extend([values] * times)
    return values


class Refuses:
    """An object that lets nobody look at it."""

    def no(self, *given, **named):
        raise RuntimeError("no")

    __eq__ = __ne__ = __hash__ = __repr__ = __str__ = __len__ = __array__ = __bool__ = __float__ = no
    __iter__ = __getitem__ = __deepcopy__ = __call__ = __lt__ = __gt__ = __abs__ = no


class SaysNothing(Exception):
    def __str__(self):
        raise ValueError


class NoElements(list):
    def __iter__(self):
        raise OSError


MILLIONS = np.arange(3_000_000, dtype=np.int64)
ODD = {
    "lists of unequal lengths": [[1], [1, 2]],
    "a list that holds itself": holding_itself(),
    "a list that holds itself twice": holding_itself(2),
    "an array that holds itself": np.array([None]),
    "an object that refuses everything": Refuses(),
    "a list without elements": NoElements([1]),
    "an error, not raised": ValueError("x"),
    "an error that says nothing": SaysNothing(),
    "a generator": (n for n in range(2)),
    "numbers without end": itertools.count(),
    "a range that would fill the memory": range(10**12),
    "a range that has no length": range(10**30),
    "a view that would fill the memory": np.broadcast_to(np.int8(0), 10**12),
    "half a character": "\ud800",
    "a set": {0, 1},
    "an object array": np.array([0, None]),
    "masked codes": np.ma.masked_array(np.int8([1, -2]), [False, True]),
    "an integer without a float": -(10**400),
    "an integer without a text": 10**5000,
    "NaN": np.nan,
    "a complex number": 1j,
    "a class": int,
    "a function of nothing": lambda: 1,
    "nothing, a million times": np.zeros((10**6, 0)),
    "millions of numbers": MILLIONS,
    "a list of many": [*range(100_000)],
    "a dict of many": dict.fromkeys(range(100_000)),
}
ODD["an array that holds itself"][0] = ODD["an array that holds itself"]


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_no_answer_makes_check_raise_or_talk_on_and_on(value):
    for exercise in (CODES, BITS, DECIBEL, RANGE):
        for answer in (value, lambda *case: value):
            correct, said = verdict("9.1", exercise, answer)
            assert not correct or exercise is RANGE
            assert len(said) < 800
            print(said)  # what cannot be printed raises here


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), SaysNothing(), ValueError("\ud800")]
)
def test_an_error_of_any_kind_is_told_not_passed_on(error):
    def answer(x, scale):
        raise error

    said = report(CODES, answer)
    assert said.splitlines()[0].endswith("Input 1 of 2, an error:")
    assert type(error).__name__ in said and said.isprintable() is ("\n" not in said)


def test_recursion_without_end_is_an_ordinary_error():
    def answer(x, scale):
        return answer(x, scale)

    assert "yours    = RecursionError: maximum recursion depth exceeded" in report(CODES, answer)


def test_a_wrong_signature_is_an_ordinary_error():
    assert "takes 1 positional argument but 2 were given" in report(CODES, lambda x: x)


def test_an_error_given_back_is_not_an_error_raised():
    strict = Function([(1.0,)], lambda x: choose_qparams(np.nan, x), {})
    assert "no error where one is expected" in report(strict, lambda x: ValueError("NaN"))


def test_a_million_values_are_shown_by_shape_dtype_and_ends():
    ends = "[0, 1, 2, ..., 2999997, 2999998, 2999999]"
    assert f"yours    = {ends} (int64, shape (3000000,))\n" in given_back(MILLIONS)
    assert "shape (3, 1000000) where (2,) is expected" in given_back(MILLIONS.reshape(3, -1))
    assert f"{ends} (int64, shape (3, 1000000))" in given_back(MILLIONS.reshape(3, -1))


def test_many_values_in_a_list_are_counted_and_shown_by_their_ends():
    many, ends = list(range(100_000)), "[0, 1, 2, ..., 99997, 99998, 99999]"
    assert "Input 1 of 2, 100,000 values, which are too many:\n" in given_back(many)
    assert f"yours    = {ends}\n" in given_back(many)
    assert f"this is {ends}." in report(BITS, many)


def test_two_large_values_that_begin_and_end_alike_are_shown_where_they_differ():
    wrong = MILLIONS.reshape(1000, -1) + 0.0
    wrong[700, 3] = np.nan
    yours, expected = told(wrong, MILLIONS.reshape(1000, -1) + 0.0)
    assert yours.startswith("= ... nan (float64) at [700, 3] ... in [0.0, 1.0, 2.0, ..., ")
    assert expected.startswith("= ... 2100003.0 (float64) at [700, 3] ... in [0.0, 1.0, 2.0, ..., ")
    yours, _ = told([0.0] * 4000 + [1.0] + [0.0] * 4000, [0.0] * 8001)
    assert yours.startswith("= ... 1.0 (float64) at [4000] ... in [0.0, 0.0, 0.0, ...,")


def test_of_six_parts_all_are_shown_and_of_seven_the_ends():
    ends = "[0, 1, 2, ..., 2999997, 2999998, 2999999] (int64, shape (3000000,))"
    assert show([1, 2, 3, 4, 5, MILLIONS]) == f"[1, 2, 3, 4, 5, {ends}]"
    assert show([1, 2, 3, 4, 5, 6, MILLIONS]) == f"[1, 2, 3, ..., 5, 6, {ends}]"


def test_of_a_dict_all_is_shown_or_the_beginning():
    squares = {n: n * n for n in range(10_000)}
    assert show(squares) == "{0: 0, 1: 1, 2: 4, ...}"
    assert show(dict(list(squares.items())[:4])) == "{0: 0, 1: 1, 2: 4, 3: 9}"


def test_lists_in_lists_are_shown_three_levels_deep():
    assert "yours    = [[[[...]]]]\n" in given_back(holding_itself())
    assert "not an array:" in given_back(holding_itself())


def test_masked_codes_are_not_codes():
    codes = np.ma.masked_array(np.int8([1, -2]), [False, True])
    assert "Input 1 of 2, not an array:" in given_back(codes)
    assert "yours    = [1, None] (int8)" in given_back(codes)


def test_an_answer_may_give_back_the_same_array_each_time():
    same = np.zeros(2, np.int8)

    def answer(x, scale):
        same[:] = codes(x, scale)
        return same

    assert verdict("9.1", CODES, answer)[0]


def test_an_integer_beyond_the_floats_is_compared_exactly():
    large = Number(lambda: 2**60, {"you count one more": lambda: 2**60 + 1})
    assert verdict("9.1", large, 2**60)[0]
    assert report(large, 2**60 + 1).endswith("This is what comes out when you count one more.")
    assert report(DECIBEL, 10**400) == "Exercise 9.1: not yet; it is not an integer of 1329 bits."


@pytest.mark.parametrize("endless", [itertools.count(), holding_itself(2)])
def test_what_has_no_end_is_no_answer_to_a_choice(endless):
    reads_all = Choice(lambda answer: f"{np.array(answer).size} values", 1, [])
    assert report(reads_all, endless).endswith(" is not the kind of answer that is asked for.")


def test_the_settings_of_numpy_change_no_verdict():
    with np.errstate(all="raise"):
        assert "yours    = [nan, nan] (float64)" in report(CODES, lambda x, scale: np.log(-np.abs(x)))


# --- an answer that does not end


def loops(x, scale):
    while True:
        pass


def loops_over_errors(x, scale):
    while True:
        with contextlib.suppress(Exception):
            loops(x, scale)


def insists(x, scale):
    for _ in range(3):
        with contextlib.suppress(BaseException):
            loops(x, scale)
    loops(x, scale)


def gives_up_late(x, scale):
    try:
        loops(x, scale)
    except BaseException:
        return codes(x, scale)


def naps(x, scale):
    while True:
        time.sleep(0.001)


def prints(x, scale):
    while True:
        print(end="")


def hangs_on_the_second(x, scale):
    return loops(x, scale) if x[1] > 0 else codes(x, scale)


@pytest.mark.parametrize("endless", [loops, loops_over_errors, insists, gives_up_late, naps, prints])
def test_a_function_that_does_not_end_is_stopped_and_told(endless):
    correct, said = verdict("9.1", CODES, endless, seconds=0.02)
    assert not correct
    assert said.splitlines() == [
        "Exercise 9.1: not yet. Your function has not ended after 0.02 s. Input 1 of 2:",
        "  x     = [0.4, -0.8] (float64)",
        "  scale = 0.5",
    ]


def test_the_report_on_a_function_that_does_not_end_shows_the_input():
    _, said = verdict("9.1", CODES, hangs_on_the_second, seconds=0.1)
    assert "Input 2 of 2:\n  x     = [0.25, 300.0]" in said


def test_what_cannot_be_stopped_is_left_alone_and_told():
    end = threading.Event()  # waiting for a lock is one step, and nothing reaches it

    correct, said = verdict("9.1", CODES, lambda x, scale: end.wait(), seconds=0.02)
    end.set()
    assert not correct
    assert "It cannot be stopped and still runs: once you have changed it, restart the kernel." in said


def test_an_answer_to_a_choice_has_no_more_time():
    endless = Choice(lambda answer: loops(answer, 1), 1, [])
    assert verdict("9.1", endless, 1, seconds=0.02) == (
        False,
        "Exercise 9.1: not yet. Your answer has not ended after 0.02 s.",
    )


def test_an_answer_has_20_seconds():
    assert inspect.signature(verdict).parameters["seconds"].default == exercises.LIMIT == 20


def test_an_interrupt_from_the_keyboard_is_the_reader_s_and_stops_the_answer():
    ended = threading.Event()

    def answer(x, scale):
        try:
            signal.raise_signal(signal.SIGINT)  # as if the reader pressed stop, now
            loops(x, scale)
        finally:
            ended.set()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            verdict("9.1", CODES, answer)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.is_set()


@pytest.fixture
def chapter_99(monkeypatch):
    module = types.ModuleType("qtutor.tutorial.exercises.chapter99")
    module.EXERCISES = {"99.1": BITS, "99.2": CODES}
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_check_prints_and_returns_nothing(chapter_99, capsys):
    assert check("99.2", codes) is None
    assert capsys.readouterr() == ("Exercise 99.2: correct on 2 inputs.\n", "")


def test_check_names_the_exercises_that_there_are(chapter_99):
    with pytest.raises(ValueError, match=r"no exercise '99.3'; this chapter has 99.1, 99.2"):
        check("99.3", ...)
    for name, chapter in {"98.1": "98", "x/y.1": "x/y", "\0.1": r"\\x00", "": ""}.items():
        with pytest.raises(ValueError, match=f"no exercises for chapter '{chapter}'"):
            check(name, ...)


@pytest.mark.parametrize("name", [0.2, 2, None, ("0.2",), Refuses()])
def test_the_name_of_an_exercise_is_a_string(name):
    with pytest.raises(TypeError, match=r'name of an exercise is a string such as "0\.2"; this is'):
        check(name, 16)


def test_check_does_not_hide_an_error_in_a_chapter(monkeypatch, tmp_path):
    (tmp_path / "chapter97.py").write_text("import no_such_package", encoding="utf-8")
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        check("97.1", ...)

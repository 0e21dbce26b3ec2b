r"""No formula can go wrong unseen: its LaTeX gives what its own line of code gives, on the same numbers.

An equation is found by its number: `\tag{2.2}` in the words, `# (2.2)` at the end of a line of code.
`formulas.py` reads the LaTeX, `formula_numbers.py` holds the numbers. Of the notebook, only the expression of
that line runs, and of its cell the assignments of names that have no number. Then the check of the checks:
faults are planted in every formula, and are seen.
"""

import ast
import builtins
import re
from collections import Counter
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import formulas
import numpy as np
import page_checker
import pytest
from formula_numbers import ALSO_CALLED, EQUATIONS, UNBOUND, Over

import qtutor as qt

DRAWS = 12
PACKAGES = {"np": np, "qt": qt, "Fraction": Fraction}
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


# --- what stands in the notebooks


@cache
def latex():
    """{number: LaTeX} of every numbered equation, without its number."""
    found = {}
    for page in map(page_checker.load, page_checker.NOTEBOOKS):
        for text in page_checker.prose(page):
            for formula in re.findall(r"\$\$(.+?)\$\$", text, re.S):
                for number in re.findall(r"\\tag\{([^}]*)\}", formula):
                    found[number] = re.sub(r"\\tag\{[^}]*\}", "", formula).strip()
    return found


class Line(NamedTuple):
    """A line of code that says which equation it is."""

    statement: ast.stmt
    cell: ast.Module


@cache
def lines():
    """{number: its line of code}"""
    found = {}
    for page in map(page_checker.load, page_checker.NOTEBOOKS):
        for cell in page.notebook.cells:
            for number, line in page_checker.marked_lines(cell.source) if cell.cell_type == "code" else ():
                tree = ast.parse(cell.source)
                around = [node for node in ast.walk(tree) if spans(node, line)]
                assert around, f"the line of code of ({number}) is part of no assignment, return or assertion"
                found[number] = Line(max(around, key=lambda node: node.lineno), tree)
    return found


def spans(node, line):
    """Whether it is a statement with a value, of which this is a line."""
    kinds = ast.Assign | ast.Return | ast.Assert | ast.Expr
    return isinstance(node, kinds) and node.lineno <= line <= node.end_lineno


def expressions(statement):
    """What a line of code computes: one expression, or those that it compares."""
    tree = statement.test if isinstance(statement, ast.Assert) else statement.value
    while True:
        match tree:
            case ast.Compare(comparators=[ast.Compare() as last]):  # (a == b) == (c <= d) is about c and d
                tree = last
            case ast.Call(func=ast.Attribute(value=inner, attr="all"), args=[]):
                tree = inner
            case (
                ast.Compare(left=left, comparators=[right])
                | ast.Call(
                    func=ast.Attribute(attr="array_equal" | "allclose" | "isclose"), args=[left, right]
                )
            ):
                return [left, right]
            case _:
                return [tree]


# --- the same numbers for both


class Draw(NamedTuple):
    numbers: dict  # name -> value, also of what the line of code computes
    axes: dict  # name -> indices, of the arrays
    code: list[str]  # the names of what it computes, where the formula has no symbol for that


@cache
def draws(number):
    """The numbers of an equation, drawn several times, and what its line of code makes of them."""
    return [one_draw(number, np.random.default_rng([*map(int, number.split(".")), i])) for i in range(DRAWS)]


def one_draw(number, rng):
    equation, drawn = EQUATIONS[number], EQUATIONS[number].numbers(rng)
    axes = {name: value.indices for name, value in drawn.items() if isinstance(value, Over)}
    numbers = {name: value.values if isinstance(value, Over) else value for name, value in drawn.items()}
    line = lines()[number].statement
    if function := re.fullmatch(r"(\w+)\((.*)\)", equation.gives):

        def computed(*arguments):
            given = dict(zip(function[2].split(", "), arguments, strict=True))
            return run(number, expressions(line)[0], numbers | given)

        return Draw(numbers | {function[1]: computed}, axes, [])
    values = [run(number, expression, numbers) for expression in expressions(line)]
    values = [part for value in values for part in (value if isinstance(value, tuple | list) else [value])]
    names = equation.gives.split()
    code = [] if names else [f"code{i}" for i in range(len(values))]
    indices = equation.over.split() if len(names) > 1 else [equation.over] * len(values)
    for name, value, letters in zip(names or code, map(np.asarray, values), indices, strict=True):
        numbers = numbers | {name: value}
        axes = axes | {name: letters if value.ndim else ""}
    return Draw(numbers, axes, code)


def run(number, expression, numbers):
    """What the formula says of the value of an expression of the line of code."""
    line = lines()[number].statement
    try:
        value = value_of(number, expression, numbers, line.lineno)
        return eval(EQUATIONS[number].value, {**PACKAGES, **numbers, "_": value})
    except Exception as error:
        error.add_note(f"in the line of code of ({number}): {ast.unparse(line)}")
        raise


def value_of(number, expression, numbers, line):
    """The value of an expression that stands in this line of its cell.

    What the cell assigned to a name counts where the row has no number for it, and where it is made of the
    same name, as in q_b = q_b[:, None].
    """
    also, names = EQUATIONS[number].also, {}
    own = {n.id for n in ast.walk(expression) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for name in names_in(expression) - own:  # without those of a comprehension
        symbol = also.get(name, name if name in numbers else ALSO_CALLED.get(name))
        assigned = last_assignment(number, name, line)
        if assigned and (symbol not in numbers or name in names_in(assigned.expression)):
            value = value_of(number, assigned.expression, numbers, assigned.line)
            names[name] = value if assigned.place is None else list(value)[assigned.place]
        elif symbol in numbers:
            names[name] = numbers[symbol]
        elif name not in PACKAGES and not hasattr(builtins, name):
            raise LookupError(
                f"the name {name} in the line of code of ({number}) has no number: it has no entry in "
                "ALSO_CALLED of tests/formula_numbers.py, and is none of its row in EQUATIONS"
            )
    return eval(compile(ast.Expression(expression), f"({number})", "eval"), {**PACKAGES, **names})


def names_in(expression):
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


class Assignment(NamedTuple):
    expression: ast.expr
    place: int | None  # in what the expression gives, if that is unpacked
    line: int


def last_assignment(number, name, line):
    """What the cell assigns to a name before this line, if anything."""
    found = []
    for node in ast.walk(lines()[number].cell):
        if isinstance(node, ast.Assign) and node.lineno < line:
            match node.targets[0], node.value:
                case ast.Name(id=target), value if target == name:
                    found.append(Assignment(value, None, node.lineno))
                case ast.Tuple(elts=targets), value if name in (places := [ast.unparse(t) for t in targets]):
                    place = places.index(name)
                    if isinstance(value, ast.Tuple):
                        found.append(Assignment(value.elts[place], None, node.lineno))
                    else:
                        found.append(Assignment(value, place, node.lineno))
    return max(found, key=lambda assignment: assignment.line, default=None)


# --- both agree


def problem(number, formula):
    """What is wrong with the LaTeX of this equation, or "". It is a SyntaxError if it cannot be read."""
    close = {}  # {a bound: whether it was reached}
    for numbers, axes, code in draws(number):
        try:
            statements, names = formulas.read(formula, axes)[:2]
            if unknown := names - {*numbers, *formulas.TOOLS, "mean"}:
                return f"({number}) has no numbers for {min(unknown)} in {formula}"
            if unused := computed_names(number) - names:
                return f"({number}) does not say {min(unused)}, which its line of code computes: {formula}"
            if alone := [s[0].latex for s in statements[bool(code) :] if len(s) == 1]:
                return f"({number}) says nothing of {alone[0]}, which is compared with nothing: {formula}"
            by_latex = [[formulas.evaluate(side.python, numbers, axes) for side in s] for s in statements]
            by_code = [formulas.evaluate(indexed(name, axes), numbers, axes) for name in code]
        except SyntaxError as error:
            error.add_note(f"in the LaTeX of ({number})")
            raise
        except (LookupError, ValueError, ArithmeticError) as error:
            return f"({number}) {formula} cannot be evaluated: {error}"
        for statement, values in zip(statements, by_latex, strict=True):
            for before, side, left, right in zip(statement, statement[1:], values, values[1:], strict=False):
                if not holds(side, left, right):
                    return difference(number, formula, before.latex, left, side.latex, right)
                close[side] = close.get(side) or len(by_code) > 1 or is_reached(side, left, right)
        for side, value, computed in beside_code(statements[0], by_latex[0], by_code):
            if not holds(side._replace(relation="=="), computed, value):
                return difference(number, formula, side.latex, value, "the code", computed)
    return next(
        (f"({number}) the bound {side.latex} is not reached" for side in close if not close[side]), ""
    )


def computed_names(number):
    """The symbols, and the function, whose values the line of code computes."""
    return set(re.sub(r"\(.*\)", "", EQUATIONS[number].gives).split())


def indexed(name, axes):
    return f"{name}[{', '.join(axes[name])}]" if axes[name] else name


def beside_code(statement, values, by_code):
    """(side, its value, what the code computes) for whatever must be equal."""
    if all(side.relation in ("", "==") for side in statement):
        return [(side, a, b) for side, a in zip(statement, values, strict=True) for b in by_code]
    return [(side, np.max(a), np.max(b)) for side, a, b in zip(statement, values, by_code, strict=False)]


def holds(side, left, right):
    """Whether the relation of this side to the one before is true of these values."""
    if side.relation == "==":
        exact = {"rtol": 0, "atol": 0.5 * 10**-side.decimals} if side.decimals else CLOSE
        return np.shape(np.squeeze(left)) == np.shape(np.squeeze(right)) and np.allclose(left, right, **exact)
    gap = right - left if side.relation[0] == "<" else left - right
    return bool(np.all(gap >= -1e-9 if side.relation[1:] else gap > 0))


def is_reached(side, left, right):
    """Whether a bound is; one that is not part of the range is reached by the next integer."""
    gap = np.min(right - left if side.relation[0] == "<" else left - right)
    return side.relation == "==" or np.isclose(gap, 0 if side.relation[1:] else 1)


def difference(number, formula, left, by_left, right, by_right):
    shown = [np.array2string(np.ravel(value)[:4], separator=", ") for value in (by_left, by_right)]
    code = ast.unparse(lines()[number].statement)
    return f"({number}) {formula}\ncode: {code}\n{left} gives {shown[0]}, {right} gives {shown[1]}"


@pytest.mark.parametrize("number", EQUATIONS)
def test_a_formula_gives_what_its_line_of_code_gives(number):
    assert number in latex(), f"no notebook has an equation ({number}), which has a row in EQUATIONS"
    assert number in lines(), f"no line of code is marked # ({number})"
    assert not (wrong := problem(number, latex()[number])), wrong


def test_every_numbered_equation_is_bound_to_its_code_or_listed_with_the_reason(record_property):
    for number in latex():
        assert (number in EQUATIONS) != (number in UNBOUND), (
            f"({number}) needs a row in EQUATIONS of tests/formula_numbers.py, with the numbers on which it "
            "meets its line of code; or else one in UNBOUND, with the reason"
        )
    assert latex().keys() >= UNBOUND.keys()
    record_property("formulas bound to their lines of code", f"{len(EQUATIONS)} of {len(latex())}")
    assert len(UNBOUND) <= 6


# --- the check of the checks
# Each function yields copies of a formula with one fault of its kind, as often as the formula has a place.


def replaced(formula, *changes):
    """The formula with other text at these places, each a token or a slice."""
    for place, text in sorted(changes, key=lambda change: change[0].start, reverse=True):
        stop = place.stop if isinstance(place, slice) else place.end
        formula = formula[: place.start] + text + formula[stop:]
    return formula


def tokens(formula):
    """(token, the symbol that it is a subscript of, or "") of a formula."""
    base = depth = 0
    found = formulas.Reader(formula, {}).tokens
    for i, token in enumerate(found):
        depth += {"{": 1, "}": -1}.get(token.text, 0) if base else 0
        if i and found[i - 1].text == "_" and found[i - 2].text not in (r"\log", r"\int", r"\sum"):
            base, depth = found[i - 2], int(token.text == "{")
            yield token, base.text
        else:
            yield token, base.text if base and depth else ""
        if not depth:
            base = 0


def a_flipped_sign(formula, axes):
    for token, _ in tokens(formula):
        if token.text in "+-":
            yield replaced(formula, (token, "-" if token.text == "+" else "+"))


def a_numerator_exchanged_with_its_denominator(formula, axes):
    for above, below in formulas.read(formula, axes).fractions:
        one, other = (formula[place] for place in (above, below))
        if formula[below.start - 1] != "/" and "{" not in one[0] + other[0]:  # \frac1n
            one, other = f"{{{one}}}", f"{{{other}}}"
        yield replaced(formula, (above, other), (below, one))


def a_factor_made_a_divisor(formula, axes):
    for place in formulas.read(formula, axes).products:
        yield replaced(formula, (place, "/"))


def a_wrong_index(formula, axes):
    other = {"1": "2", "2": "1", "3": "1", r"\min": r"\max", r"\max": r"\min"}
    for token, base in tokens(formula):
        if base and token.text in other:
            yield replaced(formula, (token, other[token.text]))
    for match in re.finditer(r"(?<=_\{)(\d,)?([a-z])([a-z]+)(?=\})", formula):  # q_{1,mk}
        yield replaced(formula, (slice(*match.span(2)), match[3]), (slice(*match.span(3)), match[2]))


def min_for_max(formula, axes):
    for token, base in tokens(formula):
        if token.text in (r"\min", r"\max") and not base:
            yield replaced(formula, (token, r"\max" if token.text == r"\min" else r"\min"))


def a_changed_constant(formula, axes):
    for token, base in tokens(formula):
        if token.text[0].isdigit() and not base:
            whole, point, decimals = token.text.partition(".")
            changed = str(int(whole + decimals) + 1)
            yield replaced(
                formula, (token, f"{changed[: len(whole)]}.{changed[len(whole) :]}" if point else changed)
            )


def a_bound_on_the_other_side(formula, axes):
    other = {r"\le": r"\ge", r"\ge": r"\le", "<": ">"}
    for token, base in tokens(formula):
        if token.text in other and not base:
            yield replaced(formula, (token, other[token.text]))


def another_function(formula, axes):
    yield from (
        formula.replace(r"\rceil", r"\rfloor") for _ in re.findall(r"\\lfloor [^\\]*\\rceil", formula)
    )
    if r"\mathrm{quantize}" in formula:
        swapped = {r"\mathrm{quantize}": r"\mathrm{dequantize}", r"\mathrm{dequantize}": r"\mathrm{quantize}"}
        yield re.sub("|".join(map(re.escape, swapped)), lambda m: swapped[m[0]], formula)


FAULTS = [
    a_flipped_sign,
    a_numerator_exchanged_with_its_denominator,
    a_factor_made_a_divisor,
    a_wrong_index,
    min_for_max,
    a_changed_constant,
    a_bound_on_the_other_side,
    another_function,
]

# Faults that are not seen: (number, kind) -> the reason.
SURVIVORS = {("3.6", "a factor made a divisor"): "x/2/w is what x/2w means"}


def test_every_fault_planted_in_a_formula_is_seen(record_property):
    planted, unseen = Counter(), {}
    for number in EQUATIONS:
        before = planted.total()
        for fault in FAULTS:
            kind = fault.__name__.replace("_", " ")
            for faulty in fault(latex()[number], draws(number)[0].axes):
                planted[kind] += 1
                if not problem(number, faulty):
                    unseen.setdefault((number, kind), []).append(faulty)
        assert planted.total() > before, f"no fault has a place in ({number})"
    seen = planted.total() - sum(map(len, unseen.values()))
    counts = ", ".join(f"{kind} {count}" for kind, count in planted.items())
    record_property("faults in formulas", f"{seen} of {planted.total()} seen: {counts}")
    assert {place: len(faulty) for place, faulty in unseen.items()} == dict.fromkeys(SURVIVORS, 1), unseen
    assert seen >= 0.95 * planted.total()


def test_a_symbol_that_has_no_entry_is_named():
    assert r"the symbol \xi has no entry in SYMBOLS" in problem("2.2", latex()["2.2"].replace("S", r"\xi", 1))
    assert "the symbol S_{4} has no entry in SYMBOLS" in problem("2.2", latex()["2.2"].replace("S", "S_4", 1))
    assert "the symbol x_{ml} has no" in problem("5.1", latex()["5.1"].replace("_{mk}", "_{ml}", 1))


def test_a_part_of_a_formula_that_is_compared_with_nothing_is_named():
    assert "says nothing of M - 1," in problem("6.1", latex()["6.1"] + r", \quad M - 1")


def test_a_name_in_a_line_of_code_that_has_no_number_is_named():
    line = ast.parse("(largest - rmin) / (qmax - qmin)", mode="eval").body
    with pytest.raises(LookupError, match=r"the name largest in the line of code of \(2.2\) has no number"):
        run("2.2", line, draws("2.2")[0].numbers)


@pytest.mark.parametrize(("number", "right", "wrong"), [("2.2", "-", "+"), ("2.3", r"q_{\min}", r"q_{\max}")])
def test_a_wrong_formula_is_shown_with_its_code_and_what_both_give(number, right, wrong):
    formula = latex()[number].replace(right, wrong, 1)
    shown, code, values = problem(number, formula).splitlines()
    assert (shown, code) == (f"({number}) {formula}", f"code: {ast.unparse(lines()[number].statement)}")
    assert re.fullmatch(r"[SZ] gives \[.*\], .* gives \[.*\]", values)

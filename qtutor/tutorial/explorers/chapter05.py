"""The four terms of an integer matrix product whose zeros are not 0.  Notebook 05."""

from collections.abc import Iterator, Mapping

import ipywidgets
import numpy as np

from qtutor.matmul import accumulator_bits, integer_matmul, matmul_terms
from qtutor.rounding import INT8, UINT8, IntRange
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import ERROR, METHODS, QUANTIZED

K = 3
# name of the term, its sign in the sum, what is written before the arithmetic, who pays for it
TERMS = (
    ("product", 1, "Σ q1 q2", "what the hardware multiplies"),
    ("row", -1, "Z2 Σ q1", "new with each q1; gone when Z2 = 0"),
    ("column", -1, "Z1 Σ q2", "known before q1 arrives: melts into the bias"),
    ("constant", 1, "K Z1 Z2", "known before q1 arrives: melts into the bias"),
)
CELL, TOP = 42, 90  # size of a matrix cell, y of the matrices
FIRST_TERM, TERM = 262, 46  # y of the first term, height of each


def matmul_explorer() -> Explorer:
    """Explorer: what does each zero-point add to an integer matrix product?"""
    return Explorer(
        draw_matmul,
        zero_point1=ipywidgets.IntSlider(3, min=0, max=15, description="Z1"),
        zero_point2=ipywidgets.IntSlider(-1, min=-8, max=8, description="Z2"),
        i=ipywidgets.IntSlider(0, min=0, max=2, description="row i"),
        j=ipywidgets.IntSlider(0, min=0, max=2, description="column j"),
        dropped=ipywidgets.ToggleButtons(
            options=["none", "row", "column", "constant"], description="forget a term"
        ),
        activations=ipywidgets.Text("4 7 3, 9 2 6, 5 8 1", description="q1 (uint8)"),
        weights=ipywidgets.Text("2 -1 3, -4 5 1, 6 -2 -3", description="q2 (int8)"),
    )


def draw_matmul(
    zero_point1: int, zero_point2: int, i: int, j: int, dropped: str, activations: str, weights: str
) -> svg.Drawing:
    """Draw element (i, j) of (q1 - Z1) @ (q2 - Z2), without the term `dropped` ("none": with all).

    Raises ValueError where `activations` or `weights` are not nine codes of at most two digits.
    """
    q1, q2 = matrix(activations, "q1", IntRange(0, 99)), matrix(weights, "q2", IntRange(-99, 99))
    exact = integer_matmul(q1, q2, zero_point1, zero_point2)
    terms = matmul_terms(q1, q2, zero_point1, zero_point2)._asdict()
    signed = {name: sign * np.broadcast_to(terms[name], (K, K)) for name, sign, *_ in TERMS}
    total = np.sum([signed[name] for name in signed if name != dropped], axis=0)

    arithmetic = {
        "product": " + ".join(f"{a}·{_factor(b)}" for a, b in zip(q1[i], q2[:, j], strict=True)),
        "row": f"-{_factor(zero_point2)} · ({' + '.join(str(a) for a in q1[i])})",
        "column": f"-{zero_point1} · ({' + '.join(_factor(b) for b in q2[:, j])})",
        "constant": f"{K} · {zero_point1} · {_factor(zero_point2)}",
    }
    values = {name: int(signed[name][i, j]) for name in signed}
    shapes = [
        *_matrices(q1, q2, zero_point1, zero_point2, exact, total, i, j),
        *_terms(values, arithmetic, dropped, int(total[i, j])),
    ]
    wrong = int((total != exact).sum())
    facts = [
        (f"sum of the {'four' if dropped == 'none' else 'three'} terms", str(total[i, j])),
        ("integer_matmul", str(exact[i, j])),
        ("elements that differ", f"{wrong} of 9"),
        ("bits for any such sum", str(accumulator_bits(K, UINT8, INT8))),
    ]
    if wrong:
        headline = f"Without the {dropped} term, acc[{i}, {j}] is off by {total[i, j] - exact[i, j]}"
    elif dropped != "none":
        headline = f"Here the {dropped} term is 0 everywhere: forgetting it changes nothing"
    else:
        zeros = sum(not terms[name].any() for name in ("row", "column", "constant"))
        headline = "The four terms add up to the product"
        headline += ("", ", and one of them is 0", ", and two of them are 0", ", and three of them are 0")[
            zeros
        ]
    settings = f"Z1 = {zero_point1}, Z2 = {zero_point2}, element [{i}, {j}], "
    settings += "all four terms" if dropped == "none" else f"the {dropped} term forgotten"
    return svg.drawing(headline, settings, facts, FIRST_TERM + 4 * TERM + 26, shapes)


def matrix(words: str, name: str, to: IntRange) -> np.ndarray:
    """'4 7 3, 9 2 6, 5 8 1' -> 3 x 3 codes; ValueError unless they are nine integers in qmin..qmax."""
    try:
        codes = np.array([int(word) for word in words.replace(",", " ").split()])
    except ValueError as error:
        raise ValueError(f"{name}: {error}; write nine integers") from None
    if codes.size != K * K or codes.min() < to.qmin or codes.max() > to.qmax:
        raise ValueError(f"{name} needs nine integers in {to.qmin}..{to.qmax}, row by row; got '{words}'")
    return codes.reshape(K, K).astype(to.dtype)


def _factor(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _matrices(
    q1: np.ndarray, q2: np.ndarray, Z1: int, Z2: int, exact: np.ndarray, total: np.ndarray, i: int, j: int
) -> Iterator[str]:
    """(q1 - Z1) @ (q2 - Z2) = acc, tinted where row i meets column j."""
    wide = 82  # cells of the accumulators
    x1, x2, x3 = 24, 250, 736 - 3 * wide
    middle = TOP + 1.5 * CELL + 5
    row, column = np.arange(K)[:, np.newaxis] == i, np.arange(K) == j
    yield from _matrix(q1, x1, CELL, "q1, uint8", np.broadcast_to(row, (K, K)))
    yield svg.text(x1 + 3 * CELL + 8, middle, f"- {_factor(Z1)}", size=17, bold=True)
    yield svg.text(x2 - 30, middle, "@", size=17)
    yield from _matrix(q2, x2, CELL, "q2, int8", np.broadcast_to(column, (K, K)))
    yield svg.text(x2 + 3 * CELL + 8, middle, f"- {_factor(Z2)}", size=17, bold=True)
    yield svg.text(x3 - 30, middle, "=", size=17)
    yield from _matrix(total, x3, wide, "acc, int32", row & column, exact)


def _matrix(
    values: np.ndarray, x: float, width: float, name: str, chosen: np.ndarray, exact: np.ndarray | None = None
) -> Iterator[str]:
    """A grid of integers; `chosen` cells are tinted; a value that is not exact says what it should be."""
    yield svg.note(x, TOP - 10, name)
    for (r, c), value in np.ndenumerate(values):
        left, top = x + c * width, TOP + r * CELL
        wrong = exact is not None and value != exact[r, c]
        tint = ERROR if wrong else QUANTIZED
        yield svg.rect(left, top, width, CELL, svg.PAPER, stroke=svg.PALE)
        yield svg.rect(left, top, width, CELL, tint, opacity=0.3 if chosen[r, c] else 0.12 if wrong else 0)
        middle, baseline = left + width / 2, top + (19 if wrong else 27)
        yield svg.text(middle, baseline, str(value), size=16, anchor="middle", bold=bool(chosen[r, c]))
        if exact is not None and wrong:
            yield svg.text(middle, top + 36, f"not {exact[r, c]}", size=svg.SMALL, anchor="middle")


def _terms(
    values: Mapping[str, int], arithmetic: Mapping[str, str], dropped: str, total: int
) -> Iterator[str]:
    """One line for each term, and beside it the running sum as a waterfall of bars."""
    running, sums = 0, [0]
    for name, value in values.items():
        running += 0 if name == dropped else value
        sums.append(running)
    to_x = svg.scaled(min(sums) - 1, max(sums) + 1, 560, 736)
    bottom = FIRST_TERM + 4 * TERM
    yield svg.line(to_x(0), FIRST_TERM - 18, to_x(0), bottom + 16, svg.GREY, 1, stroke_dasharray="3 3")
    yield svg.note(to_x(0), FIRST_TERM - 22, "0", "middle")
    for k, (name, sign, formula, cost) in enumerate(TERMS):
        y, gone = FIRST_TERM + k * TERM, name == dropped
        yield svg.rect(24, y - 14, 6, 34, METHODS[k])
        yield svg.text(38, y, f"{'+' if sign > 0 else '-'} {formula}", bold=True)
        yield svg.text(140, y, f"= {arithmetic[name]}")
        yield svg.note(140, y + 19, cost)
        yield svg.text(540, y, f"{values[name]:+d}", size=16, bold=True, anchor="end")
        left, right = sorted((to_x(sums[k]), to_x(sums[k + 1])))
        if gone:
            yield svg.line(34, y - 5, 544, y - 5, ERROR, 3)
        else:
            yield svg.rect(left, y - 12, max(right - left, 2), 20, METHODS[k])
        yield svg.line(
            to_x(sums[k + 1]), y - 12 if gone else y + 8, to_x(sums[k + 1]), y + TERM - 12, svg.GREY
        )
    yield svg.line(24, bottom - 18, 544, bottom - 18, svg.GREY)
    yield svg.text(38, bottom + 6, "the sum", bold=True)
    yield svg.text(540, bottom + 6, str(total), size=18, bold=True, anchor="end")
    left, right = sorted((to_x(0), to_x(total)))
    yield svg.rect(left, bottom - 8, max(right - left, 2), 20, QUANTIZED)

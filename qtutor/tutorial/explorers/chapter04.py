"""The error of a round trip: predicted from the scale alone, and measured on real layers.  Notebook 04."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import ipywidgets
import numpy as np

from qtutor.affine import QParams, dequantize, quantize
from qtutor.calibration import MinMaxObserver, PercentileObserver
from qtutor.error import ErrorBudget, clipped_fraction, error_budget, sqnr_db
from qtutor.rounding import int_range
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.activations import activations
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import ERROR, METHODS

RANGES: dict[str, type[MinMaxObserver | PercentileObserver]] = {
    "min-max": MinMaxObserver,
    "percentile 99.9": PercentileObserver,
}
BITS = range(2, 9)
TOP, BOTTOM = 108, 262  # y of both panels
BUDGET = 318  # y of the bars


class Measured(NamedTuple):
    """What the round trip of one layer costs at one number of bits."""

    qparams: QParams
    budget: ErrorBudget
    sqnr: float
    predicted: float  # SQNR if the noise were scale**2 / 12


def error_explorer() -> Explorer:
    """Explorer: does scale**2 / 12 tell how large the error of a real layer is?"""
    return Explorer(
        draw_error,
        layer=ipywidgets.ToggleButtons(options=list(activations()), value="block1.add", description="layer"),
        observer=ipywidgets.ToggleButtons(options=list(RANGES), description="range"),
        bits=ipywidgets.IntSlider(8, min=2, max=8, description="bits"),
    )


@cache
def measured(layer: str, observer: str, bits: int) -> Measured:
    """Quantize the layer, bring it back, and compare, computed once."""
    x = activations()[layer]
    qparams = RANGES[observer]().observe(x).qparams(int_range(bits))
    noise = float(qparams.scale) ** 2 / 12
    x_hat = dequantize(quantize(x, qparams), qparams)
    return Measured(
        qparams, error_budget(x, qparams), sqnr_db(x, x_hat), float(10 * np.log10(np.mean(x**2) / noise))
    )


def draw_error(layer: str, observer: str, bits: int) -> svg.Drawing:
    """Draw predicted and measured SQNR over bits, the errors' histogram, and the budget of both noises."""
    x, now = activations()[layer], measured(layer, observer, bits)
    q = quantize(x, now.qparams)
    scale = float(now.qparams.scale)
    steps = (dequantize(q, now.qparams) - x) / scale
    facts = [
        ("predicted, scale²/12", f"{scale**2 / 12:#.3g}"),
        ("measured noise", f"{now.budget.total:#.3g}"),
        ("predicted SQNR", svg.decibels(now.predicted)),
        ("measured SQNR", svg.decibels(now.sqnr)),
        ("scale", svg.number(scale)),
        ("error bound, scale/2", svg.number(scale / 2)),
        ("clipped", f"{100 * clipped_fraction(x, now.qparams):.2f} %"),
        ("codes used", f"{len(np.unique(q))} of {now.qparams.codes.levels}"),
    ]
    off = now.sqnr - now.predicted
    if abs(off) < 0.5:
        headline = f"The prediction holds: {abs(off):.1f} dB between scale²/12 and the measured noise"
    elif now.budget.clipping > now.budget.rounding:
        headline = f"Clipping is most of the error: {-off:.1f} dB worse than scale²/12"
    else:
        headline = f"The prediction is {abs(off):.1f} dB off: these errors are not spread evenly"
    shapes = [*_sqnr(layer, observer, bits), *_steps(steps), *_budget(now.budget, scale)]
    settings = f"{layer}, {x.size:,} elements, int{bits}, {observer} range"
    return svg.drawing(headline, settings, facts, BUDGET + 60, shapes)


def _sqnr(layer: str, observer: str, bits: int) -> Iterator[str]:
    """SQNR over bits: the prediction as a line, 6.02 dB a bit, the measurements as discs."""
    rows = {b: measured(layer, observer, b) for b in BITS}
    values = [value for row in rows.values() for value in (row.sqnr, row.predicted)]
    low, high = np.floor(min(values) / 10) * 10, np.ceil(max(values) / 10) * 10
    to_x, to_y = svg.scaled(2, 8, svg.LEFT + 40, 350), svg.scaled(low, high, BOTTOM, TOP)
    yield svg.text(svg.LEFT, TOP - 20, "SQNR in dB, over bits", bold=True)
    for value in svg.ticks(low, high, 5):
        yield svg.line(svg.LEFT + 30, to_y(value), 360, to_y(value), svg.PALE)
        yield svg.note(svg.LEFT + 26, to_y(value) + 5, f"{value:g}", "end")
    yield svg.axis(to_x, BOTTOM, BITS)
    yield svg.path(
        [(to_x(b), to_y(row.predicted)) for b, row in rows.items()], svg.GREY, 2, stroke_dasharray="6 4"
    )
    for b, row in rows.items():
        yield svg.circle(to_x(b), to_y(row.sqnr), 8 if b == bits else 5, svg.INK if b == bits else METHODS[0])
    yield svg.note(358, BOTTOM - 26, "dashed: if the noise", "end")
    yield svg.note(358, BOTTOM - 9, "were scale²/12", "end")


def _steps(steps: np.ndarray) -> Iterator[str]:
    """The errors in steps of scale: even between -1/2 and 1/2 is what the prediction supposes."""
    counts, edges = np.histogram(np.clip(steps, -0.99, 0.99), 40, (-1, 1))
    density = counts / steps.size * 20  # 1 where the errors are spread evenly over one step
    top = max(1.5, float(density.max()))
    to_x, to_y = svg.scaled(-1, 1, 410, svg.RIGHT), svg.scaled(0, top, BOTTOM, TOP)
    yield svg.text(410, TOP - 20, "errors, in steps of scale", bold=True)
    for value, left, right in zip(density, edges, edges[1:], strict=False):
        yield svg.rect(to_x(left), to_y(value), to_x(right) - to_x(left) - 1, BOTTOM - to_y(value), ERROR)
    flat = [(to_x(-0.5), BOTTOM), (to_x(-0.5), to_y(1)), (to_x(0.5), to_y(1)), (to_x(0.5), BOTTOM)]
    yield svg.path(flat, svg.GREY, 2, stroke_dasharray="6 4")
    yield svg.line(410, BOTTOM, svg.RIGHT, BOTTOM, svg.GREY)
    yield svg.axis(to_x, BOTTOM, [-1, -0.5, 0, 0.5, 1])
    yield svg.note(to_x(-1), TOP + 12, "dashed:")
    yield svg.note(to_x(-1), TOP + 29, "even")


def _budget(budget: ErrorBudget, scale: float) -> Iterator[str]:
    """Two bars, one scale: what rounding costs and what clipping costs, and a mark at scale**2 / 12."""
    predicted = scale**2 / 12
    to_x = svg.scaled(0, max(budget.rounding, budget.clipping, predicted), 130, svg.RIGHT - 100)
    for row, (name, noise) in enumerate((("rounding", budget.rounding), ("clipping", budget.clipping))):
        y = BUDGET + row * 28
        yield svg.text(svg.LEFT, y + 14, name, bold=True)
        yield svg.rect(130, y, to_x(noise) - 130, 18, METHODS[row])
        yield svg.text(to_x(max(noise, predicted)) + 8, y + 14, f"{noise:#.3g}" if noise else "0")
    yield svg.line(
        to_x(predicted), BUDGET - 6, to_x(predicted), BUDGET + 52, svg.GREY, 2, stroke_dasharray="6 4"
    )

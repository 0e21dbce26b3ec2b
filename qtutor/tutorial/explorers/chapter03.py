"""The clip: rounding noise against clipping noise on a real activation tensor.  Notebook 03."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import ipywidgets
import numpy as np

from qtutor.affine import QParams, choose_qparams, dequantize, fake_quantize, quantize
from qtutor.calibration import EntropyObserver, MinMaxObserver, MSEObserver, PercentileObserver
from qtutor.error import clipped_fraction, error_budget, sqnr_db
from qtutor.rounding import int_range
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.activations import activations
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import ERROR, METHODS, QUANTIZED, REAL

Observer = MinMaxObserver | PercentileObserver | MSEObserver | EntropyObserver
OBSERVERS: dict[str, type[Observer]] = {
    "min-max": MinMaxObserver,
    "percentile 99.9": PercentileObserver,
    "MSE": MSEObserver,
    "entropy": EntropyObserver,
}
STEPS = 50  # the slider stands at 1/50, 2/50, ... of the largest |x|
TOP, BARS, CURVES, BOTTOM = 94, 212, 290, 436  # y: histogram from TOP to BARS, curves from CURVES to BOTTOM


class Curves(NamedTuple):
    """Mean squared errors at every position of the slider, and what each observer would choose."""

    clips: list[float]
    rounding: np.ndarray
    clipping: np.ndarray
    total: np.ndarray
    observers: dict[str, tuple[QParams, float]]  # name -> map, SQNR in dB


def clip_explorer() -> Explorer:
    """Explorer: where should the range end, when the data has tails?"""
    for bits in range(2, 9):
        curves("block2.add", bits)  # computed before the reader waits for them: 50 ms each
    return Explorer(
        draw_clip,
        layer=ipywidgets.ToggleButtons(options=layers(), value="block2.add", description="layer"),
        bits=ipywidgets.IntSlider(4, min=2, max=8, description="bits"),
        fraction=ipywidgets.FloatSlider(
            0.8, min=1 / STEPS, max=1, step=1 / STEPS, description="clip, of max |x|", readout_format=".0%"
        ),
    )


def layers() -> list[str]:
    """The tensors that are large enough to have a distribution."""
    return [name for name, x in activations().items() if x.size > 5_000]


def clips(x: np.ndarray) -> list[float]:
    """Where the slider can stand: up to the largest |x|, this rounded up to three digits."""
    largest = np.abs(x).max()
    digit = 10.0 ** (np.floor(np.log10(largest)) - 2)
    return [float(f"{step / STEPS * np.ceil(largest / digit) * digit:.6g}") for step in range(1, STEPS + 1)]


def clipped_map(x: np.ndarray, clip: float, bits: int) -> QParams:
    """The affine map of the part of -clip..clip that has data."""
    return choose_qparams(max(x.min(), -clip), min(x.max(), clip), int_range(bits))


@cache
def curves(layer: str, bits: int) -> Curves:
    """Both noises for every position of the slider, computed once."""
    x = activations()[layer]
    budgets = [error_budget(x, clipped_map(x, clip, bits)) for clip in clips(x)]
    rounding, clipping, total = np.transpose(budgets)
    observers = {}
    for name, observer in OBSERVERS.items():
        qparams = observer().observe(x).qparams(int_range(bits))
        observers[name] = (qparams, sqnr_db(x, fake_quantize(x, qparams)))
    return Curves(clips(x), rounding, clipping, total, observers)


def draw_clip(layer: str, bits: int, fraction: float) -> svg.Drawing:
    """Draw the layer's histogram, clipped at `fraction` of its largest |x|, and the noises over the clip.

    `fraction` is taken to the nearest position of the slider.
    """
    x, known = activations()[layer], curves(layer, bits)
    position, best = round(fraction * STEPS) - 1, int(np.argmin(known.total))
    clip = known.clips[position]
    qparams = clipped_map(x, clip, bits)
    budget, q = error_budget(x, qparams), quantize(x, qparams)
    edge = svg.nice(float(np.abs(x).max()) / 10)
    low, high = np.floor(x.min() / edge) * edge, np.ceil(known.clips[-1] / edge) * edge
    to_x = svg.scaled(low, high, svg.LEFT + 44, svg.RIGHT - 8)
    facts = [
        ("clip", svg.number(clip)),
        ("elements clipped", f"{100 * clipped_fraction(x, qparams):.2f} %"),
        ("SQNR", svg.decibels(sqnr_db(x, dequantize(q, qparams)))),
        ("error bound, scale/2", svg.number(float(qparams.scale) / 2)),
        # an observer chooses two ends, and no one clip: both, or it would seem to be another best clip
        *(
            (f"{name}, {db:.1f} dB", "{:.2f} to {:.2f}".format(*chosen.limits))
            for name, (chosen, db) in known.observers.items()
        ),
    ]
    shapes = [
        *_histogram(x, qparams, low, high, to_x),
        *_curves(known, position, to_x),
    ]
    if position == best:
        headline = "Here the sum of both noises is least"
    elif position < best:
        headline = f"Tight: {budget.clipping / budget.total:.0%} of the noise is clipping"
    else:
        headline = f"Wide: {budget.rounding / budget.total:.0%} of the noise is rounding"
    settings = (
        f"{layer}, {x.size:,} elements, int{bits}, clip at {(position + 1) / STEPS:.0%} of the largest |x|"
    )
    return svg.drawing(headline, settings, facts, BOTTOM + 34, shapes)


def _histogram(x: np.ndarray, qparams: QParams, low: float, high: float, to_x: svg.Scale) -> Iterator[str]:
    """How many elements lie where, on a logarithmic scale; in the error colour those beyond the codes."""
    counts, edges = np.histogram(x, 100, (low, high))
    to_y = svg.scaled(0, np.log10(1 + counts.max()), BARS, TOP)
    yield svg.note(svg.LEFT, TOP - 14, "elements, on a logarithmic scale; ticks: the codes")
    first, last = (
        limit + side * qparams.scale / 2 for limit, side in zip(qparams.limits, (-1, 1), strict=True)
    )
    for end, far in ((first, low), (last, high)):
        left, right = sorted((to_x(end), to_x(far)))
        if low < end < high:
            yield svg.rect(left, TOP, right - left, BARS - TOP, ERROR, opacity=0.18)
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        y = to_y(np.log10(1 + count))
        beyond = not first <= (left + right) / 2 <= last
        yield svg.rect(to_x(left), y, to_x(right) - to_x(left), BARS - y, ERROR if beyond else REAL)
    yield svg.line(to_x(low), BARS, to_x(high), BARS, svg.GREY)
    yield svg.axis(to_x, BARS + 8, svg.ticks(low, high))
    for value in dequantize(np.arange(qparams.qmin, qparams.qmax + 1), qparams):
        if low <= value <= high:
            yield svg.line(to_x(value), BARS + 1, to_x(value), BARS + 9, QUANTIZED, 1.5)


def _curves(known: Curves, position: int, to_x: svg.Scale) -> Iterator[str]:
    """The two noises and their sum against the clip, on logarithmic axes of power; the observers' choices."""
    floor, ceiling = known.total.min() / 20, known.total.max() * 1.2
    to_y = svg.scaled(np.log10(floor), np.log10(ceiling), BOTTOM, CURVES)
    colours = (METHODS[0], METHODS[1], ERROR)
    yield svg.note(svg.LEFT, CURVES - 12, "mean squared error over the clip:")
    yield svg.legend(
        svg.LEFT + 260, CURVES - 12, zip(colours, ("rounding", "clipping", "their sum"), strict=True)
    )
    for power in range(int(np.ceil(np.log10(floor))), int(np.floor(np.log10(ceiling))) + 1):
        yield svg.line(svg.LEFT + 44, to_y(power), svg.RIGHT, to_y(power), svg.PALE)
        yield svg.note(svg.LEFT + 40, to_y(power) + 5, f"1e{power}", "end")
    for noise, colour, width in zip(known[1:4], colours, (2, 2, 3), strict=True):
        points = [(to_x(c), to_y(np.log10(n))) for c, n in zip(known.clips, noise, strict=True) if n > floor]
        yield svg.path(points, colour, width)
    here = to_x(known.clips[position])
    for start, end in ((TOP, BARS), (CURVES, BOTTOM)):
        yield svg.line(here, start, here, end, svg.INK, 2, stroke_dasharray="5 3")
    yield svg.circle(here, to_y(np.log10(known.total[position])), 6, svg.INK)
    names = [name.replace("percentile 99.9", "99.9 %") for name in known.observers]  # short
    ends = [max(abs(limit) for limit in chosen.limits) for chosen, _ in known.observers.values()]
    places = [min(to_x(end), svg.RIGHT) for end in ends]
    labels = svg.spread(places, [svg.width_of(name, svg.SMALL) + 8 for name in names], svg.LEFT, svg.RIGHT)
    for name, place, label in zip(names, places, labels, strict=True):
        yield svg.path(
            [(place, CURVES), (place, BOTTOM), (label, BOTTOM + 12)], svg.GREY, 1, stroke_dasharray="2 3"
        )
        yield svg.text(label, BOTTOM + 26, name, size=svg.SMALL, anchor="middle")

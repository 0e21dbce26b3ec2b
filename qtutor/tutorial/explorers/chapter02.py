"""The zero-point: move the range of the reals and watch the codes, and the code of real 0.  Notebook 02."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import ipywidgets
import numpy as np

from qtutor.affine import choose_qparams, dequantize, quantize
from qtutor.error import sqnr_db
from qtutor.rounding import INT8, UINT8, IntRange, round_half_even, saturate
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.activations import activations
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import ERROR, QUANTIZED, REAL

PRESETS = {"ReLU": (0.0, 6.0), "leaky ReLU": (-0.4, 5.0), "weights": (-1.0, 1.0), "all positive": (1.0, 6.0)}
REACH = 8.0  # the real axis shows -REACH..REACH
REALS, CODES, ZOOM = 108, 204, 342  # y of the real line, of the strip of codes, of the look at real 0


class Map(NamedTuple):
    """A scale, a zero-point and the two directions; the broken map has a fraction for a zero-point."""

    scale: float
    zero_point: float
    to: IntRange
    quantize: Callable[[np.ndarray], np.ndarray]
    dequantize: Callable[[np.ndarray], np.ndarray]


def zero_point_explorer() -> Explorer:
    """Explorer: where does real 0 land, and how many codes does the range use?"""
    preset = ipywidgets.ToggleButtons(
        options={**PRESETS, "your own": ()}, value=PRESETS["leaky ReLU"], description="reals like"
    )
    limits = ipywidgets.FloatRangeSlider(
        value=preset.value, min=-REACH, max=REACH, step=0.1, description="real min, max", readout_format=".1f"
    )
    preset.observe(lambda change: setattr(limits, "value", change["new"] or limits.value), "value")
    limits.observe(lambda change: setattr(preset, "value", preset_of(change["new"])), "value")
    return Explorer(
        draw_zero_point,
        presets=preset,
        limits=limits,
        codes=ipywidgets.ToggleButtons(options=["int8", "uint8"], description="codes"),
        mode=ipywidgets.ToggleButtons(options=["affine", "symmetric"], description="map"),
        holding_zero=ipywidgets.Checkbox(True, description="hold 0 in the range (off: broken)"),
    )


def preset_of(limits: tuple[float, float]) -> tuple[float, ...]:
    """The preset that these limits are, or () where they are the reader's own."""
    near = (round(limits[0], 1), round(limits[1], 1))  # a slider's steps of 0.1 add up inexactly
    return near if near in PRESETS.values() else ()


def draw_zero_point(limits: tuple[float, float], codes: str, mode: str, holding_zero: bool) -> svg.Drawing:
    """Draw the map of the real range `limits` onto int8 or uint8 codes.

    Raises ValueError where that map does not exist, as choose_qparams says.
    """
    rmin, rmax = limits
    to = {"int8": INT8, "uint8": UINT8}[codes]
    sound = holding_zero or mode == "symmetric"  # a symmetric map always holds 0
    chosen = sound_map(rmin, rmax, to, mode == "symmetric") if sound else broken_map(rmin, rmax, to)
    first, last = (int(q) for q in chosen.quantize(np.array([rmin, rmax])))
    zero = float(chosen.dequantize(chosen.quantize(np.array([0.0])))[0])
    zero = zero if abs(zero) > 1e-9 * chosen.scale else 0.0  # less is the noise of float64
    used = last - first + 1

    uniform = np.linspace(rmin, rmax, 4001)
    stem = activations()["stem"]
    stretched = rmin + (stem - stem.min()) / (stem.max() - stem.min()) * (rmax - rmin)
    sqnr = [sqnr_db(x, chosen.dequantize(chosen.quantize(x))) for x in (uniform, stretched)]

    Z = svg.number(chosen.zero_point, 6)
    facts = [
        ("scale", svg.number(chosen.scale, 4)),
        ("zero-point Z", Z),
        ("real 0 comes back as", "0, exactly" if zero == 0 else svg.number(zero)),
        ("codes used", f"{used} of 256"),
        ("SQNR, uniform x", svg.decibels(sqnr[0])),
        ("SQNR, real activations", svg.decibels(sqnr[1])),
        ("error bound, scale/2", svg.number(chosen.scale / 2)),
        ("reals with a code", " to ".join(svg.number(v) for v in _limits(chosen))),
    ]
    if zero != 0:
        headline = f"Broken: no code is real 0, so every zero comes back as {svg.number(zero)}"
    elif used < 250:
        headline = f"Real 0 is code {Z}, exactly; {256 - used} of 256 codes are never used"
    else:
        headline = f"Real 0 is code {Z}, exactly, and {used} of 256 codes are used"
    settings = f"real range {rmin:g} to {rmax:g}, {codes}, {mode}"
    settings += "" if sound else ", range and zero-point as they come"
    shapes = [*_range_to_codes(chosen, rmin, rmax, first, last), *_around_zero(chosen, zero)]
    return svg.drawing(headline, settings, facts, ZOOM + 50, shapes)


def sound_map(rmin: float, rmax: float, to: IntRange, symmetric: bool) -> Map:
    """The map that the package chooses."""
    qparams = choose_qparams(rmin, rmax, to, symmetric=symmetric)
    return Map(
        float(qparams.scale),
        int(qparams.zero_point),
        qparams.codes,
        lambda x: quantize(x, qparams),
        lambda q: dequantize(q, qparams).astype(np.float64),
    )


def broken_map(rmin: float, rmax: float, to: IntRange) -> Map:
    """What chapter 02 warns of and QParams refuses: a range without 0, a fraction as zero-point."""
    if rmin == rmax:
        raise ValueError(f"the range {rmin:g}..{rmax:g} is empty: the scale would be 0")
    scale = (rmax - rmin) / (to.qmax - to.qmin)
    zero_point = to.qmin - rmin / scale
    return Map(
        scale,
        zero_point,
        to,
        lambda x: saturate(round_half_even(x / scale + zero_point), to),
        lambda q: scale * (q - zero_point),
    )


def _limits(chosen: Map) -> list[float]:
    return [float(v) for v in chosen.dequantize(np.array([chosen.to.qmin, chosen.to.qmax], chosen.to.dtype))]


def _range_to_codes(chosen: Map, rmin: float, rmax: float, first: int, last: int) -> Iterator[str]:
    """The real range above, the 256 codes below, and the beam from one to the other."""
    to_x = svg.scaled(-REACH, REACH, svg.LEFT + 10, svg.RIGHT - 10)
    lowest, levels = min(chosen.to.qmin, -128 if chosen.to.qmin < 0 else 0), 256
    to_code = svg.scaled(lowest, lowest + levels, svg.LEFT + 2, svg.RIGHT - 2)  # the left edge of a code
    x1, x2, c1, c2 = to_x(rmin), to_x(rmax), to_code(first), to_code(last + 1)
    yield svg.named(svg.LEFT, REALS - 28, "real x", REAL)
    yield svg.area([(x1, REALS), (x2, REALS), (c2, CODES), (c1, CODES)], REAL, opacity=0.13)
    yield svg.line(svg.LEFT, REALS, svg.RIGHT, REALS, svg.GREY)
    for value in svg.ticks(-REACH, REACH, 16):
        yield svg.line(to_x(value), REALS - 4, to_x(value), REALS + 4, svg.GREY)
        if value % 2 == 0:
            yield svg.note(to_x(value), REALS - 12, f"{value:g}", "middle")
    yield svg.line(x1, REALS, max(x2, x1 + 2), REALS, REAL, 7, stroke_linecap="round")
    for q in range(lowest, lowest + levels):
        used = first <= q <= last
        yield svg.rect(
            to_code(q) + 0.3, CODES, to_code(q + 1) - to_code(q) - 0.6, 30, QUANTIZED if used else svg.PALE
        )
    zero = to_code(chosen.zero_point + 0.5)
    if svg.LEFT <= zero <= svg.RIGHT:
        yield svg.line(to_x(0), REALS, zero, CODES - 2, svg.INK, 2, stroke_dasharray="5 3")
        yield svg.area([(zero, CODES + 32), (zero - 6, CODES + 43), (zero + 6, CODES + 43)], svg.INK)
    yield svg.text(svg.LEFT, CODES + 84, "integer q:", bold=True)
    yield svg.legend(
        svg.LEFT + 100, CODES + 84, [(QUANTIZED, "codes in use"), (svg.PALE, "codes never used")]
    )
    marks: list[tuple[float, str]] = [(lowest, str(lowest)), (lowest + 255, str(lowest + 255))]
    if svg.LEFT <= zero <= svg.RIGHT:
        marks.append((chosen.zero_point, f"Z = {svg.number(chosen.zero_point, 6)}"))
    places = [to_code(q + 0.5) for q, _ in marks]
    widths = [svg.width_of(words) + 12 for _, words in marks]
    for (_, words), place in zip(marks, svg.spread(places, widths, svg.LEFT - 6, svg.RIGHT + 6), strict=True):
        yield svg.text(place, CODES + 60, words, anchor="middle", bold=words.startswith("Z"))


def _around_zero(chosen: Map, zero: float) -> Iterator[str]:
    """The neighbourhood of real 0, magnified: the reals that have codes, and whether 0 is among them."""
    low, high = min(0.0, zero) - 2.6 * chosen.scale, max(0.0, zero) + 2.6 * chosen.scale
    to_x = svg.scaled(low, high, svg.LEFT + 180, svg.RIGHT)
    step = to_x(chosen.scale) - to_x(0)
    yield svg.note(svg.LEFT, ZOOM - 4, "around real 0,")
    yield svg.note(svg.LEFT, ZOOM + 13, "magnified")
    yield svg.line(to_x(low), ZOOM, to_x(high), ZOOM, REAL, 2)
    if zero != 0:
        yield svg.line(to_x(0), ZOOM, to_x(zero), ZOOM, ERROR, 8)
    yield svg.line(to_x(0), ZOOM - 18, to_x(0), ZOOM + 18, svg.INK, 2, stroke_dasharray="5 3")
    yield svg.text(to_x(0), ZOOM - 24, "real 0", anchor="middle", bold=True)
    every = max(1, math.ceil(44 / step))
    nearest = int(chosen.quantize(np.array([0.0]))[0])
    for q in range(chosen.to.qmin, chosen.to.qmax + 1):
        x = chosen.scale * (q - chosen.zero_point)
        if low <= x <= high:
            yield svg.circle(
                to_x(x),
                ZOOM,
                7 if q == nearest else 5,
                QUANTIZED if q == nearest else svg.PAPER,
                stroke=QUANTIZED,
                stroke_width=2,
            )
            if (q - nearest) % every == 0:
                yield svg.text(
                    to_x(x),
                    ZOOM + 36,
                    str(q),
                    anchor="middle",
                    size=14,
                    fill=svg.INK if q == nearest else svg.GREY,
                    bold=q == nearest,
                )

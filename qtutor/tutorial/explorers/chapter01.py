"""The number line: reals above, integers below, and what the rounding loses.  Notebook 01."""

import math
from collections.abc import Callable, Iterator

import ipywidgets
import numpy as np

from qtutor.affine import QParams, dequantize_code, quantize
from qtutor.error import clipped_fraction, sqnr_db
from qtutor.rounding import int_range, round_half_away, round_half_even
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import ERROR, QUANTIZED, REAL

TIE_RULES = {"half to even": round_half_even, "half away from 0": round_half_away}
REALS, CODES, ERRORS = 130, 236, 376  # y of the three lines
REACH = 40  # pixels from the line of errors to an error of scale; larger ones leave the picture


def number_line() -> Explorer:
    """Explorer: which integers do these reals become, and how far off do they come back?"""
    return Explorer(
        draw_number_line,
        # sixteenths are exact in float32, so that a tie is a tie
        scale=ipywidgets.FloatSlider(
            0.5, min=0.0625, max=2, step=0.0625, description="scale", readout_format=".4f"
        ),
        bits=ipywidgets.IntSlider(4, min=2, max=8, description="bits"),
        tie_rule=ipywidgets.ToggleButtons(options=list(TIE_RULES), description="ties go"),
        saturating=ipywidgets.Checkbox(True, description="saturate (off: the cast wraps)"),
        numbers=ipywidgets.Text("-5, -2.25, -1.3, -0.25, 0.6, 1.25, 2.9, 4.4", description="your own reals"),
    )


def draw_number_line(scale: float, bits: int, tie_rule: str, saturating: bool, numbers: str) -> svg.Drawing:
    """Draw the numbers as they are quantized with this scale, zero-point 0, to `bits` bits.

    Raises ValueError where `numbers` are not one to twelve finite numbers.
    """
    x, qparams = parsed(numbers), QParams(scale, 0, int_range(bits))
    other_rule = next(rule for rule in TIE_RULES if rule != tie_rule)

    def codes(x: np.ndarray, rule: str) -> np.ndarray:
        q = quantize(x, qparams, rounding=TIE_RULES[rule]) if saturating else wrapped(x, qparams, rule)
        return q.astype(np.int32)

    def come_back(q: np.ndarray) -> np.ndarray:
        return dequantize_code(q, qparams.scale, qparams.zero_point).astype(np.float64)

    q = codes(x, tie_rule)
    x_hat = come_back(q)
    beyond = np.array([clipped_fraction(np.array([value]), qparams) == 1 for value in x])
    others = come_back(codes(x, other_rule))

    reach = 1.12 * max(1.0, float(np.abs(x).max()))
    to_x = svg.scaled(-reach, reach, svg.LEFT, svg.RIGHT)
    shapes = [
        *_grid(qparams, to_x),
        *_arrows(x, x_hat, others, beyond, saturating, to_x),
        *_binary(q, bits, x_hat, to_x),
        *_errors(x, x_hat, lambda x: come_back(codes(x, tie_rule)) - x, qparams, reach, to_x),
    ]
    bound, errors = svg.number(float(qparams.scale) / 2), np.abs(x_hat - x)
    verb = "clipped" if saturating else "wrapped"
    facts = [
        ("reals with a code", "{:g} to {:g}".format(*qparams.limits)),
        ("codes used", f"{len(np.unique(q))} of {qparams.codes.levels}"),
        ("beyond the codes", f"{beyond.sum()} of {x.size}, {verb}"),
        ("on a tie", f"{(x_hat != others).sum()} of {x.size}"),
        ("SQNR", svg.decibels(sqnr_db(x, x_hat))),
        ("error bound, scale/2", bound),
        ("largest error inside", svg.number(errors[~beyond].max()) if (~beyond).any() else "none is inside"),
        ("largest error beyond", svg.number(errors[beyond].max()) if beyond.any() else "none is beyond"),
    ]
    if not beyond.any():
        headline = f"Every real comes back at most scale/2 = {bound} away from where it started"
    elif saturating:
        headline = f"{beyond.sum()} of {x.size} reals beyond the codes: saturated at the ends"
    else:
        headline = f"{beyond.sum()} of {x.size} reals beyond the codes: wrapped to the other side"
    settings = f"scale {float(qparams.scale):g}, int{bits} codes {qparams.qmin}..{qparams.qmax}, "
    settings += f"ties go {tie_rule}, {'saturating' if saturating else 'not saturating'}"
    return svg.drawing(headline, settings, facts, ERRORS + REACH + 10, shapes)


def wrapped(x: np.ndarray, qparams: QParams, rule: str) -> np.ndarray:
    """Round, then keep only the low bits, as a cast from int32 to a narrower two's complement does."""
    q = TIE_RULES[rule](x / qparams.scale.astype(np.float64)).astype(np.int32)
    return (q - qparams.qmin) % qparams.codes.levels + qparams.qmin


def parsed(numbers: str) -> np.ndarray:
    """'1, 2.5 -3' -> float64 array; ValueError unless that is one to twelve numbers of at most a million."""
    try:
        x = np.array([float(word) for word in numbers.replace(",", " ").split()])
    except ValueError as error:
        raise ValueError(f"your own reals: {error}; write for example 0.5, -2, 3.25") from None
    if not 1 <= x.size <= 12:
        raise ValueError(f"your own reals: give one to twelve numbers, got {x.size}")
    if not (np.abs(x) <= 1e6).all():
        raise ValueError(f"your own reals: they must be finite and at most a million in size, got {numbers}")
    return x


def _walls(qparams: QParams) -> tuple[float, float]:
    """Half a step beyond the last codes: between the two, rounding finds a code."""
    (low, high), half = qparams.limits, float(qparams.scale) / 2
    return float(low) - half, float(high) + half


def _grid(qparams: QParams, to_x: svg.Scale) -> Iterator[str]:
    """The two lines; a mark for each real that has a code, numbers at some codes, grey where none is near."""

    def in_view(x: float) -> float:
        return min(max(to_x(x), svg.LEFT), svg.RIGHT)

    left, right = map(in_view, qparams.limits)
    low, high = map(in_view, _walls(qparams))
    step = to_x(float(qparams.scale)) - to_x(0)
    for start, end in ((svg.LEFT, low), (high, svg.RIGHT)):
        yield svg.rect(start, REALS, end - start, CODES - REALS, svg.PALE, opacity=0.6)
        if end - start > 120:
            yield svg.note((start + end) / 2, CODES - 10, "no codes here", "middle")
    yield svg.named(svg.LEFT, REALS - 50, "real x", REAL)
    yield svg.named(svg.LEFT, CODES + 66, "integer q", QUANTIZED)
    yield svg.line(svg.LEFT, REALS, svg.RIGHT, REALS, REAL, 2)
    yield svg.line(left, CODES, right, CODES, QUANTIZED, 2)
    every = svg.nice(max(1, (svg.width_of(str(qparams.qmin), svg.SMALL) + 8) / step))
    for q in range(qparams.qmin, qparams.qmax + 1):
        x = to_x(q * float(qparams.scale))
        if step >= 3 and svg.LEFT <= x <= svg.RIGHT:
            yield svg.line(x, REALS - 4, x, REALS + 4, REAL)
            yield svg.circle(x, CODES, min(4, step / 3), svg.PAPER, stroke=QUANTIZED)
        if q % every == 0 and svg.LEFT <= x <= svg.RIGHT:
            yield svg.note(x, CODES + 22, str(q), "middle")


def _arrows(
    x: np.ndarray,
    x_hat: np.ndarray,
    others: np.ndarray,
    beyond: np.ndarray,
    saturating: bool,
    to_x: svg.Scale,
) -> Iterator[str]:
    """One arrow for each real, to its code; a ring and a dotted arrow where the other tie rule differs."""
    labels = [f"{value:g}" for value in x]
    widths = [svg.width_of(label) + 8 for label in labels]
    places = svg.spread([to_x(value) for value in x], widths, svg.LEFT - 8, svg.RIGHT + 8)
    for value, back, other, label, place in zip(x, x_hat, others, labels, places, strict=True):
        yield svg.line(place, REALS - 24, to_x(value), REALS, svg.PALE, 1.5)
        yield svg.text(place, REALS - 28, label, anchor="middle", bold=True)
        if other != back:
            yield svg.arrow(to_x(value), REALS, to_x(other), CODES - 4, svg.GREY, stroke_dasharray="2 4")
    for value, back, other, far in zip(x, x_hat, others, beyond, strict=True):
        colour, width = (ERROR, 2.5) if far else (svg.INK, 1.5)
        dashes = "7 4" if far and not saturating else None
        yield svg.arrow(to_x(value), REALS, to_x(back), CODES - 4, colour, width, stroke_dasharray=dashes)
        yield svg.circle(to_x(value), REALS, 5, REAL)
        yield svg.circle(to_x(back), CODES, 5, QUANTIZED)
        if other != back:
            yield svg.circle(to_x(value), REALS, 9, "none", stroke=svg.INK, stroke_width=1.5)
    if (others != x_hat).any():
        words = "ringed: on a tie; dotted: where the other rule sends it"
        yield svg.note(svg.RIGHT, CODES + 66, words, "end")


def _binary(q: np.ndarray, bits: int, x_hat: np.ndarray, to_x: svg.Scale) -> Iterator[str]:
    """The bits of each code in use, in two's complement, where there is room for them."""
    places = dict(zip(q.tolist(), map(to_x, x_hat), strict=True))
    words = [np.binary_repr(code, bits) for code in places]
    widths = [svg.width_of(word, svg.SMALL) + 6 for word in words]
    if sum(widths) > svg.RIGHT - svg.LEFT:
        return
    spread = svg.spread(list(places.values()), widths, svg.LEFT, svg.RIGHT)
    for place, label, word in zip(places.values(), spread, words, strict=True):
        yield svg.line(place, CODES + 26, label, CODES + 32, svg.PALE, 1.5)
        yield svg.text(label, CODES + 43, word, size=svg.SMALL, anchor="middle")


def _errors(
    x: np.ndarray,
    x_hat: np.ndarray,
    error_at: Callable[[np.ndarray], np.ndarray],
    qparams: QParams,
    reach: float,
    to_x: svg.Scale,
) -> Iterator[str]:
    """The error of every real in view, the given ones on it; tinted, where it keeps to the bound."""
    scale = float(qparams.scale)
    low, high = (min(max(wall, -reach), reach) for wall in _walls(qparams))
    to_y = svg.scaled(-scale, scale, ERRORS + REACH, ERRORS - REACH)
    top, bottom = to_y(scale / 2), to_y(-scale / 2)
    yield svg.named(svg.LEFT, ERRORS - REACH - 8, "error x_hat - x", ERROR)
    words = "tinted: at most scale/2; arrows: errors too large for the picture"
    yield svg.note(svg.RIGHT, ERRORS - REACH - 8, words, "end")
    yield svg.rect(to_x(low), top, to_x(high) - to_x(low), bottom - top, ERROR, opacity=0.25)
    yield svg.line(svg.LEFT, ERRORS, svg.RIGHT, ERRORS, svg.GREY)
    if reach / scale < 120:  # else the teeth are finer than the pixels
        near = scale * 1e-6
        ties = (np.arange(math.floor(-reach / scale), math.ceil(reach / scale)) + 0.5) * scale
        at = np.concatenate([[-reach, reach], ties - near, ties + near])
        at = np.sort(at[np.abs(at) <= reach])  # between two ties the error is a straight line
        shown = [(to_x(a), to_y(e)) for a, e in zip(at, error_at(at), strict=True) if abs(e) <= 1.01 * scale]
        yield svg.path(shown, ERROR, 1.5)
    for value, error in zip(x, x_hat - x, strict=True):
        if abs(error) > scale:
            yield svg.arrow(to_x(value), ERRORS, to_x(value), to_y(np.sign(error) * scale), svg.INK, 2)
        else:
            yield svg.line(to_x(value), ERRORS, to_x(value), to_y(error), svg.INK, 2)
            yield svg.circle(to_x(value), to_y(error), 4, svg.INK)

"""An accumulator times M, as a mantissa and a shift: where each rounding takes it.  Notebook 06."""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

import ipywidgets
import numpy as np

from qtutor.fixedpoint import (
    FixedPointMultiplier,
    multiply_double_rounding,
    multiply_float,
    multiply_half_up,
    multiply_single_rounding,
    quantize_multiplier,
    rounding_doubling_high_multiply,
)
from qtutor.rounding import round_half_away
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import ERROR, QUANTIZED, REAL

PRESETS = {
    "1 × 1/4": ("1/4", 1),
    "tie at 1/2": ("1/2", 1),
    "tie at -1/2": ("1/2", -1),
    "-1 × 3/8": ("3/8", -1),
    "a real layer": ("0.00393159", 890),
    "M above 1": ("3.7", 5),
}
LARGEST_M = 100
BITS = 31  # of a whole mantissa
CELL, STRIP = 18, 96  # width of a bit, y of the strip of bits
AXIS, FIRST_ROW, ROW = 192, 246, 44  # y of the number line, of the first rule, height of each
LINE_FROM, LINE_TO = 250, 636  # the number line, in pixels: right of it, room for an answer of six digits
VISIBLE = 8  # pixels: a shorter step hides behind the ring at its end


class Rule(NamedTuple):
    """How one rule gets from M * acc to an integer."""

    who: str  # where it is in use
    stops: tuple[float, ...]  # where the value stands after each rounding but the last
    answer: int


def requantize_explorer() -> Explorer:
    """Explorer: what do mantissa and shift make of M, and what do five rules make of M * acc?"""
    preset = ipywidgets.ToggleButtons(
        options={**PRESETS, "your own": ()}, value=PRESETS["1 × 1/4"], description="try"
    )
    multiplier = ipywidgets.Text(preset.value[0], description="multiplier M")
    acc = ipywidgets.IntSlider(preset.value[1], min=-1000, max=1000, description="acc")

    def choose(change: Mapping[str, tuple]) -> None:
        if change["new"]:
            watch(False)  # or the first of the two would be taken for a number of the reader's own
            multiplier.value, acc.value = change["new"]
            watch(True)

    def name(change: object) -> None:
        own = multiplier.value, acc.value
        preset.value = own if own in PRESETS.values() else ()

    def watch(on: bool) -> None:
        for control in (multiplier, acc):
            (control.observe if on else control.unobserve)(name, "value")

    watch(True)
    preset.observe(choose, "value")
    return Explorer(
        draw_requantize,
        presets=preset,
        multiplier=multiplier,
        acc=acc,
        bits=ipywidgets.IntSlider(BITS, min=2, max=BITS, description="mantissa bits"),
    )


def draw_requantize(multiplier: str, acc: int, bits: int) -> svg.Drawing:
    """Draw M * acc, M = `multiplier` with its mantissa rounded to `bits` bits, and what each rule answers.

    Raises ValueError where `multiplier` is not a number, such as 0.0072 or 1/4, in 0..100.
    """
    M = parsed(multiplier)
    fixed = quantize_multiplier(shortened(M, bits))
    mantissa, shift = int(fixed.mantissa), int(fixed.shift)
    exact = Fraction(M) * acc
    error = Fraction(float(fixed.real)) - Fraction(M)
    rules = answers(M, fixed, acc)
    given = sorted({rule.answer for rule in rules.values()})

    facts = [
        ("M · acc", svg.number(float(exact), 7)),
        ("mantissa m", str(mantissa)),
        ("shift s", str(shift)),
        ("answers", f"{given[0]} to {given[-1]}" if len(given) > 2 else " or ".join(map(str, given))),
        ("M is off by", f"{svg.number(float(100 * abs(error) / Fraction(M)) if M else 0, 2)} %"),
        ("and M · acc by", f"{svg.number(float(abs(error) * abs(acc)), 2)} codes"),
        ("rounding twice changes", f"{50 / 2**shift:.2g} %" if shift > 0 else "nothing"),
        ("product, high half", str(rounding_doubling_high_multiply(shifted(acc, shift), fixed.mantissa))),
    ]
    shapes = [*_mantissa(mantissa, shift, bits), *_number_line(float(exact), rules)]
    settings = f"M = {multiplier.strip()}, acc = {acc}, mantissa of {bits} bits, shift {shift}"
    return svg.drawing(
        headline(exact, given, error * acc, rules), settings, facts, FIRST_ROW + 5 * ROW - 8, shapes
    )


def parsed(multiplier: str) -> float:
    """'0.0072' or '1/4' -> float; ValueError unless it is a number in 0..100."""
    try:
        M = Fraction(multiplier.strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"M: write a number such as 0.0072 or 1/4, not '{multiplier}'") from None
    if not 0 <= M <= LARGEST_M:
        raise ValueError(f"M must lie in 0..{LARGEST_M}, got '{multiplier}'")
    return float(M)


def shortened(M: float, bits: int) -> float:
    """M with its mantissa rounded to `bits` bits: quantize_multiplier fills up the rest with zeros."""
    fraction, exponent = math.frexp(M)
    return math.ldexp(round(fraction * 2**bits), exponent - bits)


def shifted(acc: int, shift: int) -> np.ndarray:
    """acc, shifted to the left where M is 1 or more."""
    return np.asarray(acc << max(-shift, 0))


def answers(M: float, fixed: FixedPointMultiplier, acc: int) -> dict[str, Rule]:
    """What each rule gives, by name; the first three take M from its mantissa, the others as a float."""
    a, right = np.asarray(acc), max(int(fixed.shift), 0)
    high = int(rounding_doubling_high_multiply(shifted(acc, int(fixed.shift)), fixed.mantissa)) / 2**right
    as_float32 = float(np.float32(acc) * np.float32(M))
    return {
        "twice, ties away": Rule("LiteRT reference, TFLM", (high,), int(multiply_double_rounding(a, fixed))),
        "twice, ties up": Rule("LiteRT optimized", (high,), int(multiply_half_up(a, fixed))),
        "once, ties up": Rule("TFLITE_SINGLE_ROUNDING", (), int(multiply_single_rounding(a, fixed))),
        "float32, ties even": Rule("ONNX Runtime, XNNPACK", (as_float32,), int(multiply_float(a, M))),
        "float64, ties away": Rule("LiteRT ref. dense layer", (), int(round_half_away(np.asarray(acc * M)))),
    }


def headline(exact: Fraction, given: list[int], moved: Fraction, rules: Mapping[str, Rule]) -> str:
    """The one claim: do they agree, and if not, why?"""
    if len(given) == 1:
        return f"All five rules answer {given[0]}"
    said = " and ".join(map(str, given))
    if exact.denominator == 2:
        return f"A tie: {said} are both nearest, and each rule has its convention"
    if abs(moved) >= Fraction(1, 100):
        return f"A short mantissa moved M · acc by {svg.number(float(abs(moved)), 2)} codes: {said}"
    once = {rules["once, ties up"].answer, rules["float64, ties away"].answer}
    if len(once) == 1:
        off = svg.number(float(abs(exact - exact // 1 - Fraction(1, 2))), 2)
        return f"No tie, by {off}, and yet {said}: the first of two roundings made one"
    return f"So near to a tie that the last bit of M decides: {said}"


def _mantissa(mantissa: int, shift: int, bits: int) -> Iterator[str]:
    """The 31 bits of the mantissa, the highest on the left, and the two factors beside them."""
    left = svg.RIGHT - BITS * CELL
    yield svg.text(svg.LEFT, STRIP + 4, "mantissa m", bold=True)
    yield svg.note(svg.LEFT, STRIP + 22, "M ≈ m / 2^31 / 2^s")
    for k in range(BITS):
        one, x = mantissa >> (BITS - 1 - k) & 1, left + k * CELL
        colour, opacity = QUANTIZED if one else svg.PALE, 1 if k < bits else 0.35
        yield svg.rect(x, STRIP - 14, CELL - 2, 24, colour, opacity=opacity)
        yield svg.text(x + CELL / 2 - 1, STRIP + 3, str(one), size=13, anchor="middle", bold=bool(one))
    end = left + bits * CELL - 2
    yield svg.line(left, STRIP + 16, end, STRIP + 16, svg.GREY, 2)
    more = f"then {shift} more to the right" if shift >= 0 else f"after {-shift} to the left"
    yield svg.note(left, STRIP + 34, f"{bits} bits in use; the product is shifted 31 to the right, {more}")


def _number_line(exact: float, rules: Mapping[str, Rule]) -> Iterator[str]:
    """The reals about M * acc, and below them each rule's way from there to its integer."""
    places = [exact, *(p for rule in rules.values() for p in (*rule.stops, rule.answer))]
    middle = (min(places) + max(places)) / 2
    reach = max(1.3, (max(places) - min(places)) / 2 + 0.4)
    to_x = svg.scaled(middle - reach, middle + reach, LINE_FROM, LINE_TO)
    bottom = FIRST_ROW + 5 * ROW - 26
    integers = [v for v in svg.ticks(middle - reach, middle + reach, 6) if v == round(v)]
    yield svg.line(LINE_FROM, AXIS, LINE_TO, AXIS, svg.GREY, 2)
    yield svg.note(svg.LEFT, AXIS + 4, "M · acc, and the codes")
    for v in integers:
        yield svg.line(to_x(v), AXIS + 26, to_x(v), bottom, svg.PALE, 2)
        yield svg.text(to_x(v), AXIS + 20, f"{v:.0f}", size=15, anchor="middle", bold=True)
    if reach < 2:
        for tie in np.arange(math.floor(middle - reach), middle + reach) + 0.5:
            if middle - reach < tie < middle + reach:
                yield svg.line(to_x(tie), AXIS - 4, to_x(tie), AXIS + 4, svg.GREY, 1)
                yield svg.line(to_x(tie), AXIS + 26, to_x(tie), bottom, svg.GREY, 1, stroke_dasharray="3 4")
                yield svg.note(to_x(tie), AXIS + 20, "tie", "middle")
    yield svg.line(to_x(exact), AXIS + 26, to_x(exact), bottom, REAL, 2)
    yield svg.circle(to_x(exact), AXIS, 6, REAL)
    yield svg.note(svg.RIGHT, AXIS + 4, "answer", "end")
    for k, (name, rule) in enumerate(rules.items()):
        y = FIRST_ROW + k * ROW
        yield svg.text(svg.LEFT, y, name, bold=True)
        yield svg.note(svg.LEFT, y + 17, rule.who)
        here = to_x(exact)
        for stop in rule.stops:
            yield svg.line(here, y - 4, to_x(stop), y - 4, ERROR, 4)
            if stop != exact and abs(to_x(stop) - here) < VISIBLE:
                side, anchor = (12, None) if stop <= middle else (-12, "end")
                yield svg.note(to_x(stop) + side, y - 13, f"by {svg.number(stop - exact, 2)}", anchor)
            here = to_x(stop)
            yield svg.circle(here, y - 4, 5, svg.PAPER, stroke=ERROR, stroke_width=3)
        yield svg.line(here, y - 4, to_x(rule.answer), y - 4, QUANTIZED, 4)
        yield svg.circle(to_x(rule.answer), y - 4, 7, QUANTIZED)
        yield svg.text(svg.RIGHT, y, str(rule.answer), size=17, bold=True, anchor="end")
    yield svg.legend(
        LINE_FROM - 70,
        AXIS - 34,
        [(REAL, "M · acc"), (ERROR, "to where the first rounding puts it"), (QUANTIZED, "to the answer")],
    )

"""SVG by hand: the few shapes, the axis and the frame that every explorer draws with.

A drawing is plain text: it needs no browser to be tested, redraws in a millisecond, and holds no ids,
no dates and no more than one decimal, so that it comes out the same on every machine.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from qtutor.tutorial.plots import NEUTRAL

WIDTH = 760  # of every drawing, in pixels at zoom 1
MARGIN = 24
LEFT, RIGHT = MARGIN, WIDTH - MARGIN
INK, GREY, PALE, PAPER = "#1F1F1F", NEUTRAL, "#E0E0E0", "#FFFFFF"
SMALL = 13  # no letter is smaller than this many pixels
FONT = "DejaVu Sans, Verdana, sans-serif"  # the figures' font where there is one; Verdana is as wide

Facts = Sequence[tuple[str, str]]  # what an explorer reads out: name and value
Scale = Callable[[float], float]  # from a quantity to its place in pixels


class Drawing(NamedTuple):
    """A picture, and the same in words and numbers."""

    svg: str
    text: str


def drawing(
    headline: str,
    settings: str,
    facts: Facts,
    height: float,
    shapes: Iterable[str],
    places: Sequence[tuple[float, float]] | None = None,
) -> Drawing:
    """Frame: headline and settings on top, then the shapes, from y = 60 to `height`, then the facts.

    headline  the one claim that the picture makes at these settings
    places    upper left corners of the facts; None: below the shapes, in rows of four

    >>> picture = drawing("Half of the codes wait", "int8", [("codes used", "128 of 256")], 80, [])
    >>> print(picture.text)
    Half of the codes wait
    int8
      codes used: 128 of 256
    """
    if places is None:
        places = [(LEFT + i % 4 * (RIGHT - LEFT) / 4, height + 8 + i // 4 * 50) for i in range(len(facts))]
        height += 8 + math.ceil(len(facts) / 4) * 50
    said = "; ".join([settings, *(f"{name}: {value}" for name, value in facts)])
    svg = tag(
        "svg",
        tag("title", escape(headline)),
        tag("desc", escape(said)),
        rect(0.5, 0.5, WIDTH - 1, height - 1, PAPER, stroke=PALE, rx=8),
        text(LEFT, 28, headline, size=16, bold=True),
        note(LEFT, 48, settings),
        *shapes,
        *(fact(x, y, name, value) for (x, y), (name, value) in zip(places, facts, strict=True)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {coordinate(height)}",
        width=WIDTH,
        height=height,
        style="max-width:100%;height:auto",
        role="img",
        font_family=FONT,
    )
    return Drawing(svg, "\n".join([headline, settings, *(f"  {name}: {value}" for name, value in facts)]))


def fact(x: float, y: float, name: str, value: str) -> str:
    """A number with its name above it, 38 pixels high."""
    bar = rect(x, y, 3, 38, GREY)
    return bar + note(x + 10, y + 12, name) + text(x + 10, y + 34, value, size=17, bold=True)


def problem(words: str) -> Drawing:
    """What to show instead of a picture where the settings have no result: the error, in its own words."""
    lines = wrapped(words, 82)
    shapes = [text(LEFT, 72 + 22 * i, line, size=14) for i, line in enumerate(lines)]
    return drawing("These settings have no result", "qtutor says:", [], 84 + 22 * len(lines), shapes)


def wrapped(words: str, width: int) -> list[str]:
    """Cut a sentence into lines of at most `width` characters."""
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


# --- shapes


def tag(name: str, *content: str, **attributes: object) -> str:
    """One element; numbers get one decimal, but opacity two; None is left out.

    >>> tag("line", x1=0, x2=12.345, stroke_width=2, opacity=0.25, fill=None)
    '<line x1="0" x2="12.3" stroke-width="2" opacity="0.25"/>'
    """
    said = ""
    for key, value in attributes.items():
        if value is None:
            continue
        if isinstance(value, (int, float, np.number)):
            value = f"{value:.2f}" if key == "opacity" else coordinate(float(value))
        said += f" {key.replace('_', '-')}={quoteattr(str(value))}"
    return f"<{name}{said}>{''.join(content)}</{name}>" if content else f"<{name}{said}/>"


def coordinate(value: float) -> str:
    """One decimal, no '-0': '12.5', '12'."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 14,
    fill: str = INK,
    anchor: str | None = None,
    bold: bool = False,
    **more: object,
) -> str:
    """Words that start at x, or are centred there (anchor "middle"), or end there ("end")."""
    weight = "bold" if bold else None
    return tag(
        "text",
        escape(words),
        x=x,
        y=y,
        font_size=size,
        fill=fill,
        text_anchor=anchor,
        font_weight=weight,
        **more,
    )


def note(x: float, y: float, words: str, anchor: str | None = None) -> str:
    """Small grey words."""
    return text(x, y, words, size=SMALL, fill=GREY, anchor=anchor)


def named(x: float, y: float, words: str, colour: str) -> str:
    """What something is, bold, after a square of its colour: coloured letters would be hard to read."""
    return rect(x, y - 11, 12, 12, colour) + text(x + 18, y, words, bold=True)


def rect(x: float, y: float, width: float, height: float, fill: str, **more: object) -> str:
    """A filled rectangle with its upper left corner at (x, y)."""
    return tag("rect", x=x, y=y, width=max(width, 0), height=max(height, 0), fill=fill, **more)


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, **more: object) -> str:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width, **more)


def circle(x: float, y: float, radius: float, fill: str, **more: object) -> str:
    """A disc."""
    return tag("circle", cx=x, cy=y, r=radius, fill=fill, **more)


def path(points: Iterable[tuple[float, float]], colour: str, width: float = 2, **more: object) -> str:
    """Straight lines through the points."""
    d = "M" + " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
    return tag("path", d=d, fill="none", stroke=colour, stroke_width=width, stroke_linejoin="round", **more)


def area(points: Iterable[tuple[float, float]], fill: str, **more: object) -> str:
    """A filled polygon."""
    return tag(
        "polygon", points=" ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points), fill=fill, **more
    )


def arrow(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.5, **more: object) -> str:
    """A line with a head at (x2, y2)."""
    length = math.hypot(x2 - x1, y2 - y1) or 1
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    back_x, back_y = x2 - 9 * dx, y2 - 9 * dy
    head = [(x2, y2), (back_x - 4 * dy, back_y + 4 * dx), (back_x + 4 * dy, back_y - 4 * dx)]
    return line(x1, y1, back_x, back_y, colour, width, **more) + area(head, colour)


# --- axes and labels


def scaled(low: float, high: float, start: float, end: float) -> Scale:
    """The map of low..high onto the pixels start..end."""
    return lambda value: start + (float(value) - low) / (high - low) * (end - start)


def ticks(low: float, high: float, count: int = 8) -> list[float]:
    """About `count` round numbers from low to high, 1, 2 or 5 times a power of ten apart.

    >>> ticks(-0.9, 4.2, 6)
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    step = nice((high - low) / count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def nice(value: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `value` > 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(float(f"{m * power:.12g}") for m in (1, 2, 5, 10) if m * power >= value * (1 - 1e-9))


def axis(to_x: Scale, y: float, values: Iterable[float]) -> str:
    """Tick marks and numbers below a horizontal line at y."""
    return "".join(
        line(to_x(v), y, to_x(v), y + 5, GREY) + note(to_x(v), y + 19, f"{v:g}", "middle") for v in values
    )


def spread(positions: Sequence[float], widths: Sequence[float], low: float, high: float) -> list[float]:
    """Centres for labels of these widths, as near to `positions` as they can stand without overlapping.

    >>> spread([10, 50, 52], [20, 20, 20], 0, 100)
    [10.0, 41.0, 61.0]
    """
    order = np.argsort(positions, kind="stable")
    wide = np.asarray(widths, np.float64)[order]
    packed = low + np.cumsum(wide) - wide / 2  # the centres if all labels stood side by side from `low` on
    groups: list[list[float]] = []  # labels that touch move together, by the mean of what each would like
    for wish in np.asarray(positions, np.float64)[order] - packed:
        groups.append([float(wish)])
        while len(groups) > 1 and np.mean(groups[-2]) >= np.mean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    moved = np.concatenate([np.full(len(group), np.mean(group)) for group in groups])
    centres = np.empty(len(order))
    centres[order] = packed + np.clip(moved, 0, max(high - low - wide.sum(), 0))
    return centres.tolist()


def legend(x: float, y: float, entries: Iterable[tuple[str, str]]) -> str:
    """Coloured squares, each followed by what the colour means, in one line that starts at x."""
    shapes = ""
    for colour, words in entries:
        shapes += rect(x, y - 11, 12, 12, colour) + note(x + 18, y, words)
        x += 18 + width_of(words, SMALL) + 16
    return shapes


def width_of(words: str, size: float = 14) -> float:
    """About how wide the words are, in pixels: DejaVu Sans is wide, so that other fonts fit too."""
    return 0.64 * size * len(words)


# --- numbers in words


def number(value: float, digits: int = 3) -> str:
    """A few significant digits, or all before the point: '0.0157', '-2.5', '1.2e-05', '1482', never '-0'."""
    said = f"{float(value) + 0.0:.{digits}g}"
    return f"{value:.0f}" if "e+" in said else said


def decibels(value: float) -> str:
    """'23.1 dB'; an error of exactly 0 has no finite SQNR."""
    return "no error" if value == math.inf else "-∞ dB" if value == -math.inf else f"{value + 0.0:.1f} dB"

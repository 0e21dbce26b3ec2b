"""Figures with one look, alt text and a fingerprint of what was drawn (an instrument of every notebook).

A notebook stores a figure as a PNG and as text. The text holds what a reader without pictures needs,
the alt text, and what a test needs: titles, labels, limits, and a fingerprint of each thing drawn, which
is the same on every machine and with every matplotlib release (the pixels of a PNG are not).

>>> fig, ax = figure("Every real lands on one of 16 integers")
>>> _ = ax.plot([-1.0, 1.0], [-8, 7], color=QUANTIZED, label="q")
>>> print(show(fig, "A straight line from -8 at x = -1 up to 7 at x = 1.").text)
Figure: A straight line from -8 at x = -1 up to 7 at x = 1.
axes 'Every real lands on one of 16 integers', x 'real x' -1.100 to 1.100, y 'integer q' -8.75 to 7.75
  line 'q' #d55e00, 2 points, fingerprint -0.115 -0.501
"""

import base64
import io
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

try:
    import matplotlib as mpl
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'figures need matplotlib: install qtutor with its extra, pip install ".[notebooks]"'
    ) from None
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Transform
from numpy.typing import ArrayLike

from qtutor.affine import QParams, quantize

__all__ = [
    "ERROR",
    "METHODS",
    "NEUTRAL",
    "QUANTIZED",
    "REAL",
    "Picture",
    "figure",
    "histogram",
    "show",
    "staircase",
]

# Okabe and Ito, "Color Universal Design" (2008): eight colours that the colour-blind tell apart, too.
REAL = "#0072B2"  # blue: x, what the network computes in floating point
QUANTIZED = "#D55E00"  # vermilion: q and x_hat, what the integers say
ERROR = "#CC79A7"  # reddish purple: x_hat - x
NEUTRAL = "#595959"  # grey: bounds, guides, whatever is not the subject
METHODS = ("#009E73", "#E69F00", "#56B4E9", "#595959", "#000000")  # methods or terms side by side

POINTS = 11  # no letter in a figure is smaller than this many points
LOOK: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, hence the same on every machine
    "font.size": POINTS,
    "axes.titlesize": POINTS + 2,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.titlesize": POINTS + 2,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E0E0E0",
    "figure.constrained_layout.w_pad": 0.1,  # inches
    "figure.constrained_layout.h_pad": 0.1,
}


def figure(
    title: str,
    *,
    xlabel: str = "real x",
    ylabel: str = "integer q",
    nrows: int = 1,
    ncols: int = 1,
    height: float = 3.6,
) -> tuple[Figure, Any]:
    """An empty figure, 7.6 inches wide and `height` inches high: (fig, ax), or (fig, array of axes).

    `title` is the one claim that the figure makes; with several axes it stands above them all. Several
    axes come as an array of shape (n,) when they are in one row or column, else of shape (nrows, ncols).
    """
    with mpl.rc_context(LOOK):
        fig = Figure(figsize=(7.6, height), layout="constrained")
        axes = fig.subplots(nrows, ncols)
        for ax in np.atleast_1d(axes).flat:
            ax.set(xlabel=xlabel, ylabel=ylabel)
            ax.tick_params(labelsize=POINTS)
            ax.set_prop_cycle(color=METHODS)
        if isinstance(axes, Axes):
            axes.set_title(title)
        else:
            fig.suptitle(title, x=0.01, ha="left")
    return fig, axes


class Picture:
    """A finished figure: `png` (bytes) and `text` (alt text, then what was drawn). A notebook shows both."""

    def __init__(self, png: bytes, text: str) -> None:
        self.png = png
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png).decode("ascii"), "text/plain": self.text}


def show(fig: Figure, alt: str) -> Picture:
    """Finish `fig`; as the last line of a cell, show it. `alt` says in words what the picture shows.

    Raises ValueError when `alt` has fewer than 20 characters: to a reader who can't see, it is the figure.
    """
    alt = " ".join(alt.split())
    if len(alt) < 20:
        raise ValueError(f"alt is {alt!r}; say in at least 20 characters what the picture shows")
    with mpl.rc_context(LOOK):
        for ax in fig.axes:
            if ax.images:
                ax.grid(False)
        for artist in fig.findobj():
            if isinstance(artist, Text):
                artist.set_fontsize(max(POINTS, artist.get_fontsize()))
        file = io.BytesIO()
        # no "Software" entry: it would hold matplotlib's version
        fig.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return Picture(file.getvalue(), f"Figure: {alt}\n{describe(fig)}")


# --- painters that several chapters share ---


def staircase(ax: Axes, qparams: QParams, *, color: str = QUANTIZED, label: str = "q = quantize(x)") -> None:
    """Draw q over x for per-tensor `qparams`; grey marks the reals out of range, where the codes saturate."""
    if qparams.axis is not None:
        raise ValueError(f"staircase draws one map; these qparams are per-channel (axis {qparams.axis})")
    rmin, rmax = qparams.limits
    margin = 0.15 * (rmax - rmin)
    x = np.linspace(rmin - margin, rmax + margin, 4001)
    ax.plot(x, quantize(x, qparams), color=color, linewidth=2, label=label)
    for low, high in ((x[0], rmin), (rmax, x[-1])):
        ax.axvspan(low, high, color=NEUTRAL, alpha=0.12, linewidth=0)


def histogram(
    ax: Axes, x: ArrayLike, *, bins: int | np.ndarray = 100, color: str = REAL, label: str = "x"
) -> None:
    """Draw how many elements of `x` (any shape) fall into each of `bins` equal bins over its range.

    bins  their number, or their edges
    """
    x = np.asarray(x, np.float64)
    edges = np.histogram_bin_edges(x, bins)
    edges[1:-1] -= 1e-6 * (edges[-1] - edges[0])  # a plain value on an edge belongs above it, last bit or no
    counts, _ = np.histogram(x, edges)
    ax.stairs(counts, edges, fill=True, color=color, alpha=0.7, label=label)


# --- what was drawn, in words and in numbers that hold on every machine ---


def describe(fig: Figure) -> str:
    """Say what `fig` shows, one line for each axes and for each thing drawn in it.

    Positions are fractions of the axes, so that layout and fonts don't matter. A fingerprint is two
    numbers with three decimals. Last-bit differences between machines don't reach them. They change when
    all points move by about 1/1000 of the axes, or one of n points by about sqrt(n)/1000; the pixels of
    the PNG tell what is smaller.
    """
    title = fig.get_suptitle()
    lines = [f"title {title!r}"] if title else []
    for ax in fig.axes:
        kind = "colour bar" if ax.get_label() == "<colorbar>" else "axes"
        name = ax.get_title(loc="left") or ax.get_title()
        lines.append(f"{kind} {name!r}, {_axis(ax, 'x')}, {_axis(ax, 'y')}")
        if kind == "axes":
            lines += [f"  {thing}" for thing in _things(ax)]
    return "\n".join(lines)


def _axis(ax: Axes, name: str) -> str:
    """Say which quantity an axis shows, from where to where, and the words (not the numbers) at its ticks."""
    label, scale = getattr(ax, f"get_{name}label")(), getattr(ax, f"get_{name}scale")()
    first, last = getattr(ax, f"get_{name}lim")()
    ends = [_decimal(end, last - first if scale == "linear" else end) for end in (first, last)]
    said = f"{name} {label!r} {ends[0]} to {ends[1]}" + ("" if scale == "linear" else f" ({scale})")
    words = [tick.get_text() for tick in getattr(ax, f"get_{name}ticklabels")()]
    return said + (f" at {words}" if any(re.search("^[^$]*[A-Za-z]", word) for word in words) else "")


def _things(ax: Axes) -> Iterator[str]:
    """Describe each line, group of patches of one colour, collection, image and text that `ax` shows."""

    def place(transform: Transform, points: ArrayLike) -> np.ndarray:
        # fractions of the axes: for data on linear axes (x - left) / (right - left), and the same for y
        return (transform - ax.transAxes).transform(np.asarray(points, np.float64))

    def name(artist: Artist) -> str:
        label = str(artist.get_label())
        return f" {label!r}" if label and not label.startswith("_") else ""  # "_": matplotlib made it up

    for line in ax.lines:
        points = place(line.get_transform(), line.get_xydata())
        yield f"line{name(line)} {to_hex(line.get_color())}, {_points(points)}"
    corners: dict[str, list[np.ndarray]] = {}
    for patch in ax.patches:
        kind = f"patches{name(patch)} {to_hex(patch.get_facecolor())}"
        points = place(patch.get_transform(), patch.get_path().vertices)
        if len(points) == 5:  # a box, as two of its corners: releases differ in where they begin
            points = np.array([points.min(axis=0), points.max(axis=0)])
        corners.setdefault(kind, []).append(points)
    for kind, groups in corners.items():
        yield f"{kind}, {_points(np.concatenate(groups))}"
    for collection in ax.collections:
        if isinstance(collection, PathCollection):  # a scatter plot: its points
            points = place(collection.get_offset_transform(), collection.get_offsets())
        else:  # areas or bundles of lines: their corners
            paths = [path.vertices for path in collection.get_paths()]
            points = place(collection.get_transform(), np.concatenate(paths or [np.empty((0, 2))]))
        yield f"collection{name(collection)}, {_points(points)}{_values(collection)}"
    for image in ax.images:
        yield f"image{name(image)}{_values(image)}"
    for text in ax.texts:
        yield f"text {text.get_text()!r}"


def _values(artist: ScalarMappable) -> str:
    """Describe the array that an artist shows as colours, as fractions of the range of its colour map."""
    values = artist.get_array()
    if values is None:
        return ""
    low, high = artist.get_clim()
    fractions = (np.ma.filled(np.ma.asarray(values, np.float64), np.nan) - low) / ((high - low) or 1)
    return f", values of shape {np.shape(values)}, {_fingerprint(fractions)}"


def _points(xy: ArrayLike) -> str:
    return f"{len(np.asarray(xy))} points, {_fingerprint(xy)}"


def _fingerprint(values: ArrayLike) -> str:
    """Project the values on a wave whose phase grows like k**2: random enough, the same on every machine."""
    v = np.clip(np.nan_to_num(np.ravel(values), nan=-1.0), -1.0, 2.0)  # out of sight, and a gap in a line
    phase = np.arange(1, v.size + 1, dtype=np.float64) ** 2 * 0.6180339887 % 1
    z = np.exp(2j * np.pi * phase) @ v / np.sqrt(max(1, v.size))
    return f"fingerprint {_decimal(z.real, 1)} {_decimal(z.imag, 1)}"


def _decimal(value: float, span: float) -> str:
    """Write `value` to about a thousandth of `span`.

    Plain values lie halfway between two roundings, and plain spans on a power of ten; there a last bit
    decides. So both edges are moved: values round up from 0.4863 instead of 0.5, spans count from 0.9865.
    """
    exponent = math.floor(math.log10(abs(span) * 1.0137 or 1)) - 3
    rounded = math.floor(value / 10.0**exponent + 0.5137)
    return f"{rounded * 10.0**exponent:.{max(0, -exponent)}f}" if rounded else "0"

"""A digit and what one neuron makes of it, on fewer and fewer integers.  Notebook 00."""

from collections.abc import Iterator
from functools import cache

import ipywidgets
import numpy as np

from qtutor.affine import QParams, choose_qparams, dequantize, quantize
from qtutor.error import sqnr_db
from qtutor.graph import forward
from qtutor.models.digits import CNN, MAX_PIXEL, load_digits, load_weights, to_input
from qtutor.rounding import int_range
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import ERROR, QUANTIZED, REAL

DIGIT = 3  # which of the images
CELL = 22  # pixels a side
SIDE = 8 * CELL
COLUMNS, ROWS = (24, 216, 408), (112, 362)  # upper left corners of the pictures
FACTS = 602  # x of the facts


def digit_explorer() -> Explorer:
    """Explorer: how few bits does a picture need, and how few does an activation?"""
    return Explorer(draw_digit, bits=ipywidgets.IntSlider(4, min=2, max=8, description="bits"))


@cache
def digit_and_neuron() -> tuple[np.ndarray, int, np.ndarray]:
    """The digit's pixels, 0..16; which of the stem's 24 neurons follows them most; its activations."""
    image = load_digits().images[DIGIT]
    stem = forward(CNN, load_weights(), to_input(image[np.newaxis]))["stem"][0].astype(np.float64)
    with_pixels = np.corrcoef(stem.reshape(len(stem), -1), image.reshape(1, -1))[-1, :-1]
    neuron = int(with_pixels.argmax())
    return image.astype(np.float64), neuron, stem[neuron]


def draw_digit(bits: int) -> svg.Drawing:
    """Draw the digit and the neuron: real, on 2**bits codes, and the error between."""
    to = int_range(bits, signed=False)
    pixels, number, neuron = digit_and_neuron()
    rows = (
        (
            f"The digit: 64 pixels, which are integers 0..{MAX_PIXEL}",
            pixels,
            choose_qparams(0, MAX_PIXEL, to),
        ),
        (
            f"Neuron {number} of the first layer: 64 reals, {neuron.min():.2f} to {neuron.max():.2f}",
            neuron,
            choose_qparams(neuron.min(), neuron.max(), to),
        ),
    )
    facts: list[tuple[str, str]] = []
    shapes: list[str] = []
    sqnr: list[str] = []
    for top, (name, x, qparams) in zip(ROWS, rows, strict=True):
        q = quantize(x, qparams)
        x_hat = dequantize(q, qparams).astype(np.float64)
        sqnr.append(svg.decibels(sqnr_db(x, x_hat)))
        shapes += _row(top, name, x, q, x_hat, qparams)
        facts += [
            ("different reals x", str(len(np.unique(x)))),
            ("codes used", f"{len(np.unique(q))} of {to.levels}"),
            ("SQNR", sqnr[-1]),
            ("bound, scale/2", svg.number(float(qparams.scale) / 2)),
        ]
    headline = (
        f"{bits} bits are {to.levels} codes: the digit comes back at {sqnr[0]}, the neuron at {sqnr[1]}"
    )
    settings = f"q = quantize(x) to uint{bits}; the ranges: 0 to {MAX_PIXEL} for any pixel, the neuron's own"
    places = [(FACTS, top + 48 * i) for top in ROWS for i in range(4)]
    return svg.drawing(headline, settings, facts, ROWS[1] + SIDE + 44, shapes, places)


def _row(
    top: float, name: str, x: np.ndarray, q: np.ndarray, x_hat: np.ndarray, qparams: QParams
) -> Iterator[str]:
    """Three 8 x 8 pictures: x, x_hat, and the size of the error; below the second, which codes are in use."""
    low, high = qparams.limits
    coarsest = (high - low) / 6  # the error bound of 2 bits is full ink
    captions = ("real x", f"integer q, {qparams.qmin}..{qparams.qmax}", "error |x_hat - x|")
    inks = ((x - low) / (high - low), (x_hat - low) / (high - low), np.abs(x_hat - x) / coarsest)
    yield svg.text(COLUMNS[0], top - 30, name, bold=True)
    for left, caption, ink, colour in zip(COLUMNS, captions, inks, (REAL, QUANTIZED, ERROR), strict=True):
        yield svg.note(left, top - 9, caption)
        yield from _pixels(left, top, ink, colour)
    bottom = top + SIDE + 6
    to_x = svg.scaled(qparams.qmin, qparams.qmax + 1, COLUMNS[1], COLUMNS[1] + SIDE)
    for code in np.unique(q).tolist():
        yield svg.rect(to_x(code), bottom, max(to_x(code + 1) - to_x(code), 1), 12, QUANTIZED)
    yield svg.rect(COLUMNS[1], bottom, SIDE, 12, "none", stroke=svg.GREY)
    yield svg.note(COLUMNS[0], bottom + 11, "the codes in use:")
    yield svg.note(COLUMNS[2], bottom + 11, f"at most {svg.number(np.abs(x_hat - x).max())}")


def _pixels(left: float, top: float, ink: np.ndarray, colour: str) -> Iterator[str]:
    yield svg.rect(left, top, SIDE, SIDE, "none", stroke=svg.PALE)
    for (row, column), share in np.ndenumerate(np.clip(ink, 0, 1)):
        if share > 0.005:
            yield svg.rect(left + column * CELL, top + row * CELL, CELL, CELL, colour, opacity=f"{share:.2f}")

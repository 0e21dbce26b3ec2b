"""Every code of the integer network, for one digit, right or with a mistake put in.  Notebook 07."""

import dataclasses
import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import ipywidgets
import numpy as np

from qtutor.affine import QParams, dequantize, quantize
from qtutor.calibration import MinMaxObserver
from qtutor.error import sqnr_db
from qtutor.fixedpoint import multiply_single_rounding
from qtutor.graph import QuantizedNetwork, forward, quantize_network, run
from qtutor.matmul import integer_matmul
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.rounding import int_range
from qtutor.tutorial.explorers import svg
from qtutor.tutorial.explorers.explorer import Explorer
from qtutor.tutorial.plots import NEUTRAL, QUANTIZED, REAL

MISTAKES = ("none", "pad with raw 0", "no biases", "no column term", "wrap, don't saturate")
COLUMNS, STRIDE, WIDE, HIGH = 4, 182, 166, 112  # pictures side by side, from one to the next, largest size
TOP, ROW = 104, 176  # y of the first picture, from one row to the next
SHADES = 16  # of either colour


class Given(NamedTuple):
    """What the pictures are of, and the float network that they are compared with."""

    x: np.ndarray
    labels: np.ndarray
    logits: np.ndarray  # of the float network
    observers: Mapping[str, MinMaxObserver]  # of every tensor, on the training images


def cnn_explorer() -> Explorer:
    """Explorer: what does every layer of the integer network make of a digit?"""
    return Explorer(
        draw_cnn,
        image=ipywidgets.IntSlider(3, min=0, max=len(load_digits().test) - 1, description="test image"),
        symmetric=ipywidgets.Checkbox(False, description="no zero-points (symmetric)"),
        weight_bits=ipywidgets.IntSlider(8, min=2, max=8, description="weight bits"),
        activation_bits=ipywidgets.IntSlider(8, min=2, max=8, description="activation bits"),
        mistake=ipywidgets.ToggleButtons(options=MISTAKES, description="mistake"),
    )


@cache
def given() -> Given:
    """The test images with what the float network says of them, computed once."""
    digits, weights = load_digits(), load_weights()
    x = to_input(digits.images[digits.test])
    train = forward(CNN, weights, to_input(digits.images[digits.train]))
    observers = {name: MinMaxObserver().observe(x) for name, x in train.items()}
    return Given(x, digits.labels[digits.test], forward(CNN, weights, x)["logits"], observers)


@cache
def network(weight_bits: int, activation_bits: int, symmetric: bool) -> QuantizedNetwork:
    """The integer network; its scales have four digits, so that every machine builds the same."""
    maps = {}
    for name, observer in given().observers.items():
        qparams = observer.qparams(int_range(activation_bits), symmetric=symmetric)
        maps[name] = QParams(float(f"{qparams.scale:.4g}"), int(qparams.zero_point), qparams.codes)
    return quantize_network(CNN, load_weights(), maps, weight_range=int_range(weight_bits))


@lru_cache(maxsize=256)
def codes(
    image: int, symmetric: bool, weight_bits: int, activation_bits: int, mistake: str
) -> dict[str, np.ndarray]:
    """The codes of every tensor for one image when the network makes this mistake of MISTAKES."""
    right = network(weight_bits, activation_bits, symmetric)
    layers: dict[str, Any] = dict(right.layers)
    for name, layer in layers.items():
        if mistake == "pad with raw 0" and hasattr(layer, "pad_code"):
            layers[name] = dataclasses.replace(layer, pad_code=0)
        if mistake == "no biases" and hasattr(layer, "bias"):
            layers[name] = dataclasses.replace(layer, bias=np.zeros_like(layer.bias))
        if mistake == "wrap, don't saturate":
            layers[name] = _wrapping(layer)
    return run(
        dataclasses.replace(right, layers=layers),
        quantize(given().x[image : image + 1], right.input),
        multiply=multiply_single_rounding,
        accumulate=_without_column_term if mistake == "no column term" else integer_matmul,
    )


def _without_column_term(q1: np.ndarray, q2: np.ndarray, *zero_points: object) -> np.ndarray:
    return integer_matmul(q1, q2)


def _wrapping(layer: Any) -> Any:
    """The layer with room for 16 bits in its output, cut down to the codes that there are by modulo."""
    there = layer.output
    wide = dataclasses.replace(layer, output=QParams(there.scale, there.zero_point, int_range(16)))

    def compute(*q: np.ndarray, **how: Any) -> np.ndarray:
        y = wide(*q, **how).astype(np.int32) - there.qmin
        return np.asarray(y % (there.qmax - there.qmin + 1) + there.qmin).astype(there.codes.dtype)

    return compute


def draw_cnn(
    image: int, symmetric: bool, weight_bits: int, activation_bits: int, mistake: str
) -> svg.Drawing:
    """Draw the codes of all tensors for test image number `image`, and say what the mistake changed."""
    label, logits = int(given().labels[image]), given().logits[image].astype(np.float64)
    right = network(weight_bits, activation_bits, symmetric)
    settings = image, symmetric, weight_bits, activation_bits
    expected, tensors = codes(*settings, "none"), codes(*settings, mistake)
    changed = {name: np.mean(q != expected[name]) for name, q in tensors.items()}
    total = sum(q.size for q in tensors.values())
    overall = sum(np.count_nonzero(q != expected[name]) for name, q in tensors.items()) / total
    q, qparams = tensors["logits"][0], right.qparams["logits"]
    answer, real = int(q.argmax()), int(logits.argmax())
    ordered = np.sort(q).astype(int)
    facts = [
        ("integer network", str(answer)),
        ("float network", str(real)),
        ("label", str(label)),
        ("margin, in codes", str(ordered[-1] - ordered[-2])),
        ("SQNR of its logits", svg.decibels(sqnr_db(logits, dequantize(q, qparams)))),
        ("codes changed", f"{100 * overall:.1f} %"),
        ("zero-points that are 0", f"{sum(p.zero_point == 0 for p in right.qparams.values())} of 12"),
        ("codes in all", f"{total:,}"),
    ]
    highest = [str(digit) for digit in np.flatnonzero(q == q.max())]
    if mistake == "none":
        headline = f"All codes on the way to the answer, {answer}"
        if len(highest) > 1:
            headline = f"A tie of {' and '.join(highest)}: argmax takes the first, {answer}"
        if answer != real:
            headline += f"; the float network says {real}"
    elif not overall:
        headline = f"{mistake}: here it changes nothing"
        headline += ", for nothing saturates" if mistake == "wrap, don't saturate" else ""
    else:
        same = answer == int(expected["logits"][0].argmax())
        headline = f"{mistake}: {100 * overall:.1f} % of the codes change, the answer "
        headline += f"is still {answer}" if same else f"becomes {answer}"
    said = f"test image {image}, {weight_bits}-bit weights, {activation_bits}-bit activations, "
    said += "no zero-points" if symmetric else "with zero-points"
    shapes = [
        svg.note(svg.LEFT, 76, "white: the code of real 0; stronger: farther from it"),
        svg.legend(
            svg.LEFT + 370,
            76,
            [(QUANTIZED, "above it"), (NEUTRAL, "below it"), (REAL, "float logits")],
        ),
        *_pictures(tensors, changed, right.qparams),
        *_logits(q, logits, qparams, answer),
    ]
    return svg.drawing(headline, said, facts, TOP + 3 * ROW - 14, shapes)


def _pictures(
    tensors: Mapping[str, np.ndarray], changed: Mapping[str, float], maps: Mapping[str, QParams]
) -> Iterator[str]:
    """A picture for each tensor: its channels side by side, a square for each code."""
    for i, (name, q) in enumerate(tensors.items()):
        x, y = svg.LEFT + i % COLUMNS * STRIDE, TOP + i // COLUMNS * ROW
        yield svg.text(x, y + 12, name, bold=True)
        yield svg.note(x, y + 36 + HIGH, f"Z = {maps[name].zero_point}")
        if changed[name]:
            share = f"{100 * changed[name]:.0f}" if changed[name] >= 0.01 else "< 1"
            yield svg.text(x + WIDE, y + 36 + HIGH, f"{share} % changed", size=svg.SMALL, anchor="end")
        if name == "logits":
            continue
        channels = q.reshape(q.shape[1], *(q.shape[2:] or (1, 1)))
        across = {1: 1, 24: 6, 48: 8 if channels.shape[1] > 1 else 12}[len(channels)]
        down = len(channels) // across
        size = min(WIDE / across / channels.shape[2], HIGH / down / channels.shape[1])
        mosaic = np.block([list(row) for row in channels.reshape(down, across, *channels.shape[1:])])
        height, width = (size * n for n in mosaic.shape)
        yield svg.tag(
            "image",
            x=x,
            y=y + 20,
            width=width,
            height=height,
            href=picture(mosaic, maps[name]),
            preserveAspectRatio="none",
            style="image-rendering:pixelated",
        )
        for k in range(across + 1):
            left = x + k * width / across
            yield svg.line(left, y + 20, left, y + 20 + height, svg.GREY, 0.7)
        for k in range(down + 1):
            top = y + 20 + k * height / down
            yield svg.line(x, top, x + width, top, svg.GREY, 0.7)


def _logits(q: np.ndarray, logits: np.ndarray, qparams: QParams, answer: int) -> Iterator[str]:
    """Ten bars from the zero-point, and where the float network's logits would stand."""
    x, y = svg.LEFT + 3 * STRIDE, TOP + 2 * ROW + 20
    to_y = svg.scaled(qparams.qmin, qparams.qmax, y + HIGH - 20, y)
    step, zero = WIDE / 10, to_y(float(qparams.zero_point))
    for digit, code in enumerate(q):
        left, top = x + digit * step, to_y(float(code))
        colour = QUANTIZED if digit == answer else svg.GREY
        yield svg.rect(left + 2, min(top, zero), step - 4, abs(top - zero), colour)
        there = to_y(np.clip(logits[digit] / qparams.scale + qparams.zero_point, qparams.qmin, qparams.qmax))
        yield svg.line(left, there, left + step, there, REAL, 3)
        yield svg.text(left + step / 2, y + HIGH - 4, str(digit), size=svg.SMALL, anchor="middle")
    yield svg.line(x, zero, x + WIDE, zero, svg.GREY)


def picture(q: np.ndarray, qparams: QParams) -> str:
    """Codes (height, width) as a PNG in a data URL: white only where real 0 is, else the colour of that side.

    Written byte by byte and not compressed, so that it is the same on every machine.
    """
    farthest = max(qparams.qmax - int(qparams.zero_point), int(qparams.zero_point) - qparams.qmin)
    steps = q.astype(np.float64) - int(qparams.zero_point)
    levels = (np.sign(steps) * np.ceil(SHADES * np.abs(steps) / farthest)).astype(int)  # 0 only at real 0
    height, width = q.shape
    pixels = b"".join(b"\0" + bytes(row) for row in (levels + SHADES).astype(np.uint8))
    stored = struct.pack("<BHH", 1, len(pixels), 0xFFFF - len(pixels)) + pixels
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": _palette(),
        b"IDAT": b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(pixels)),
        b"IEND": b"",
    }
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in parts.items():
        png += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return "data:image/png," + "".join(f"%{byte:02X}" for byte in png)


@cache
def _palette() -> bytes:
    """Red, green and blue for -SHADES..SHADES steps from real 0; the root tells small steps apart."""
    ends = [np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) for colour in (NEUTRAL, QUANTIZED)]
    shares = np.arange(-SHADES, SHADES + 1) / SHADES
    colours = [255 + abs(share) ** 0.5 * (ends[int(share > 0)] - 255) for share in shares]
    return bytes(np.rint(colours).astype(np.uint8).ravel())

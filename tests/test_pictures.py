"""qtutor/tutorial/explorers: each mark of a picture stands where qtutor's core says, at ten settings.

Where a mark stands is read from the picture alone: two marks or labels whose values are known give the
scale of an axis, and the others have to keep to it.
"""

import io
import math
import re
from fractions import Fraction
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pytest
from PIL import Image

import qtutor as qt
from qtutor.graph import forward
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.tutorial import explorers
from qtutor.tutorial.explorers import chapter07
from qtutor.tutorial.explorers.activations import activations
from qtutor.tutorial.plots import ERROR, METHODS, NEUTRAL, QUANTIZED, REAL

INK, PALE, PAPER = "#1F1F1F", "#E0E0E0", "#FFFFFF"
PIXEL = 0.11  # places are written with one decimal
TEN = pytest.mark.parametrize("seed", range(10))


def drawn(name, seed, **texts):
    """Settings drawn from what the controls of an explorer allow, and the picture of them."""
    rng = np.random.default_rng([seed, *name.encode()])
    explorer = EXPLORERS[name]

    settings = {}

    def draw(key, control):
        match control:
            case ipywidgets.Text():
                return texts[key](rng, settings)
            case ipywidgets.ToggleButtons():
                return control.options[rng.integers(len(control.options))]
            case ipywidgets.Checkbox():
                return bool(rng.integers(2))
            case ipywidgets.IntSlider():
                return int(rng.integers(control.min, control.max + 1))
        steps = rng.integers(0, round((control.max - control.min) / control.step) + 1, 2)
        low, high = np.sort(control.min + control.step * steps).tolist()
        return (low, high) if isinstance(control, ipywidgets.FloatRangeSlider) else low

    for key, control in explorer.controls.items():
        settings[key] = draw(key, control)
    return settings, Picture(explorer.draw(**settings))


EXPLORERS = {name: getattr(explorers, name)() for name in explorers.__all__}


class Picture:
    """What is in a drawing, by kind of mark."""

    def __init__(self, drawing):
        self.headline, self.settings, *lines = drawing.text.splitlines()
        self.facts = [tuple(line.strip().split(": ", 1)) for line in lines]
        self.root = ElementTree.fromstring(drawing.svg)

    def marks(self, tag, **wanted):
        """The attributes of all marks of a kind that have these, numbers as floats; in the order drawn."""
        wanted = {key.replace("_", "-"): value for key, value in wanted.items()}
        found = []
        for element in self.root.iter("{http://www.w3.org/2000/svg}" + tag):
            mark = {key: as_number(value) for key, value in element.attrib.items()} | {"text": element.text}
            if all(mark.get(key) == value for key, value in wanted.items()):
                found.append(mark)
        return found

    def texts(self, **wanted):
        return [mark["text"] for mark in self.marks("text", **wanted)]

    def numbers(self, **wanted):
        """Place (x, y) and value of each text that is a number."""
        marks = [mark for mark in self.marks("text", **wanted) if re.fullmatch(r"-?\d[\d.]*", mark["text"])]
        return [(mark["x"], mark["y"], float(mark["text"])) for mark in marks]


def as_number(value):
    try:
        return float(value)
    except ValueError:
        return value


def column(marks, key):
    return np.array([mark[key] for mark in marks])


def axis(values, places):
    """value -> place, the straight line through known marks, which must lie on it."""
    values, places = np.asarray(values, np.float64), np.asarray(places, np.float64)
    first, last = values.argmin(), values.argmax()
    step = (places[last] - places[first]) / (values[last] - values[first])
    start = places[first] - step * values[first]
    assert np.abs(start + step * values - places).max() <= PIXEL
    return lambda value: start + step * np.asarray(value, np.float64)


def near(places, expected, pixels=2 * PIXEL):
    """Whether marks stand at these places, one at each."""
    places, expected = np.ravel(places), np.ravel(expected)
    return places.shape == expected.shape and (places.size == 0 or np.abs(places - expected).max() <= pixels)


def points(mark, key="d"):
    return np.array([pair.split(",") for pair in mark[key].removeprefix("M").split()], np.float64)


def said(value, digits=3):
    """A number as the pictures write it."""
    words = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in words else words


def decibels(x, x_hat):
    sqnr = qt.sqnr_db(x, x_hat)
    return "no error" if sqnr == math.inf else "-∞ dB" if sqnr == -math.inf else f"{sqnr:.1f} dB"


# --- 00: a digit and a neuron, in pixels


@pytest.mark.parametrize("bits", range(2, 9))  # all that there are
def test_digit_explorer_inks_each_pixel_by_its_real_its_code_and_its_error(bits):
    picture = Picture(explorers.digit_explorer().draw(bits))
    image = load_digits().images[3].astype(np.float64)
    stem = forward(CNN, load_weights(), to_input(load_digits().images[3:4]))["stem"][0].astype(np.float64)
    follows = [np.corrcoef(channel.ravel(), image.ravel())[0, 1] for channel in stem]
    number = int(np.argmax(follows))
    frames = picture.marks("rect", width=176.0, height=176.0, fill="none")
    bars = picture.marks("rect", width=176.0, height=12.0, fill="none")
    assert len(frames) == 6 and len(bars) == 2
    pixels, codes = picture.marks("rect", width=22.0, height=22.0), picture.marks("rect", height=12.0)
    sqnr = []
    for row, (x, low, high) in enumerate(
        [(image, 0, 16), (stem[number], stem[number].min(), stem[number].max())]
    ):
        qparams = qt.choose_qparams(low, high, qt.int_range(bits, signed=False))
        q, x_hat = qt.quantize(x, qparams), qt.fake_quantize(x, qparams).astype(np.float64)
        first, last = (float(limit) for limit in qparams.limits)
        shares = (
            (REAL, (x - first) / (last - first)),
            (QUANTIZED, (x_hat - first) / (last - first)),
            (ERROR, np.abs(x_hat - x) / (last - first) * 6),
        )
        for frame, (colour, share) in zip(frames[3 * row : 3 * row + 3], shares, strict=True):
            shown = np.zeros((8, 8))
            for pixel in pixels:
                i, j = (pixel["y"] - frame["y"]) / 22, (pixel["x"] - frame["x"]) / 22
                if pixel["fill"] == colour and i in range(8) and j in range(8):
                    shown[int(i), int(j)] = pixel["opacity"]
            assert np.abs(shown - share.clip(0, 1)).max() <= 0.0051
        used, bar = np.unique(q).astype(int), bars[row]
        at = axis([qparams.qmin, qparams.qmax + 1], [bar["x"], bar["x"] + bar["width"]])
        here = [code for code in codes if code["y"] == bar["y"] and code["fill"] == QUANTIZED]
        assert near(column(here, "x"), at(used))
        assert near(column(here, "width"), [max(176 / 2**bits, 1)] * len(used))
        assert picture.facts[4 * row : 4 * row + 4] == [
            ("different reals x", str(len(np.unique(x)))),
            ("codes used", f"{len(used)} of {2**bits}"),
            ("SQNR", decibels(x, x_hat)),
            ("bound, scale/2", said(float(qparams.scale) / 2)),
        ]
        assert picture.texts(y=bar["y"] + 11, x=408.0) == [f"at most {said(np.abs(x_hat - x).max())}"]
        assert picture.texts(y=frames[3 * row]["y"] - 9) == [
            "real x", f"integer q, 0..{2**bits - 1}", "error |x_hat - x|"
        ]  # fmt: skip
        sqnr.append(decibels(x, x_hat))
    shown = f"{stem[number].min():.2f} to {stem[number].max():.2f}"
    assert picture.texts(x=24.0, font_weight="bold")[1:] == [
        "The digit: 64 pixels, which are integers 0..16",
        f"Neuron {number} of the first layer: 64 reals, {shown}",
    ]
    assert picture.headline == (
        f"{bits} bits are {2**bits} codes: the digit comes back at {sqnr[0]}, the neuron at {sqnr[1]}"
    )
    assert picture.settings.startswith(f"q = quantize(x) to uint{bits}; the ranges: 0 to 16 for any pixel")


# --- 01: the number line


def some_numbers(rng, settings):
    """Two to twelve sixteenths, many of them ties, but none just half a step beyond the last code."""
    half = 2 ** (settings["bits"] - 1)
    edges = [settings["scale"] * (-half - 0.5), settings["scale"] * (half - 0.5)]
    sixteenths = np.setdiff1d(np.arange(-128, 129) / 16, edges)
    return " ".join(map(str, rng.choice(sixteenths, rng.integers(2, 13), replace=False)))


@TEN
def test_number_line_takes_each_real_to_its_code_and_back(seed):
    settings, picture = drawn("number_line", seed, numbers=some_numbers)
    scale, bits, saturating = settings["scale"], settings["bits"], settings["saturating"]
    x = np.array([float(word) for word in settings["numbers"].split()])
    qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def back(rounding):
        steps = np.array([rounding(Fraction(value) / Fraction(scale)) for value in x])
        codes = steps.clip(qmin, qmax) if saturating else (steps - qmin) % 2**bits + qmin
        return codes, scale * codes

    rules = {
        "half to even": round,  # of a Fraction, exactly
        "half away from 0": lambda r: int(math.copysign(math.floor(abs(r) + Fraction(1, 2)), r)),
    }
    q, x_hat = back(rules.pop(settings["tie_rule"]))
    _, others = back(*rules.values())
    moved = x_hat != others
    beyond = (x < (qmin - 0.5) * scale) | (x > (qmax + 0.5) * scale)
    error = x_hat - x

    assert picture.facts == [
        ("reals with a code", f"{qmin * scale:g} to {qmax * scale:g}"),
        ("codes used", f"{len(set(q.tolist()))} of {2**bits}"),
        ("beyond the codes", f"{beyond.sum()} of {x.size}, {'clipped' if saturating else 'wrapped'}"),
        ("on a tie", f"{moved.sum()} of {x.size}"),
        ("SQNR", decibels(x, x_hat)),
        ("error bound, scale/2", said(scale / 2)),
        ("largest error inside", said(np.abs(error[~beyond]).max()) if (~beyond).any() else "none is inside"),
        ("largest error beyond", said(np.abs(error[beyond]).max()) if beyond.any() else "none is beyond"),
    ]
    reals, codes = (picture.marks("circle", r=5.0, fill=colour) for colour in (REAL, QUANTIZED))
    at = axis(x, column(reals, "cx"))
    reach = 1.12 * max(1.0, np.abs(x).max())
    assert near(at([-reach, reach]), [24, 736])
    assert ("ringed: on a tie; dotted: where the other rule sends it" in picture.texts()) == moved.any()
    (real_line,) = picture.marks("line", stroke=REAL, stroke_width=2.0)
    (code_line,) = picture.marks("line", stroke=QUANTIZED, stroke_width=2.0)
    left, right = (np.clip(at(limit * scale), 24, 736) for limit in (qmin, qmax))
    assert near([code_line["x1"], code_line["x2"]], [left, right])
    assert set(column(reals, "cy")) == {real_line["y1"]} and set(column(codes, "cy")) == {code_line["y1"]}
    assert near(column(codes, "cx"), at(x_hat))
    assert near(column(picture.marks("circle", r=9.0, fill="none", stroke=INK), "cx"), at(x[moved]))
    dotted = picture.marks("line", stroke_dasharray="2 4")
    assert near(column(dotted, "x1"), at(x[moved]))
    # an arrow for each real, coloured where it lies beyond the codes, dashed where it wraps
    arrows = [
        mark for mark in picture.marks("line", y1=real_line["y1"]) if mark["y2"] > 200 and mark not in dotted
    ]
    assert near(column(arrows, "x1"), at(x))
    assert [mark["stroke"] for mark in arrows] == [ERROR if far else INK for far in beyond]
    assert [mark.get("stroke-dasharray") for mark in arrows] == [
        "7 4" if far and not saturating else None for far in beyond
    ]
    heads = picture.marks("polygon", fill=ERROR)
    assert len(heads) == beyond.sum()
    # every code in view has a ring, and its real a tick, where there is room; some have their number
    in_view = [code for code in range(qmin, qmax + 1) if 24 <= at(code * scale) <= 736]
    rings = picture.marks("circle", fill=PAPER, stroke=QUANTIZED)
    ticks = picture.marks("line", stroke=REAL, stroke_width=1.0)
    room = float(at(scale) - at(0)) >= 3
    assert near(column(rings, "cx"), at(np.array(in_view) * scale) if room else [])
    assert near(column(ticks, "x1"), at(np.array(in_view) * scale) if room else [])
    labels = picture.numbers(y=code_line["y1"] + 22)
    assert len(labels) > 0 and near(
        [place for place, *_ in labels], at([code * scale for *_, code in labels])
    )
    assert set(picture.texts(y=real_line["y1"] - 28, font_weight="bold")) == {f"{value:g}" for value in x}
    binary = [np.binary_repr(code, bits) for code in dict.fromkeys(q.tolist())]
    fits = len(binary) * (0.64 * 13 * bits + 6) <= 712
    assert picture.texts(y=code_line["y1"] + 43) == (binary if fits else [])
    # the errors of the given reals, 40 pixels for one of scale, upwards where positive; arrows beyond that
    (tinted,) = picture.marks("rect", fill=ERROR, opacity=0.25)
    zero = tinted["y"] + tinted["height"] / 2
    # the bound holds, and codes are reached, to half a step beyond the last code
    walls = [np.clip(at(end * scale), 24, 736) for end in (qmin - 0.5, qmax + 0.5)]
    assert near([tinted["x"], tinted["x"] + tinted["width"], tinted["height"]], [*walls, 40])
    below, above = picture.marks("rect", fill=PALE, opacity=0.6)
    assert near([below["x"], below["x"] + below["width"]], [24, walls[0]])
    assert near([above["x"], above["x"] + above["width"]], [walls[1], 736])
    (flat,) = [m for m in picture.marks("line", stroke=NEUTRAL) if m["y1"] == m["y2"]]
    assert [flat["x1"], flat["x2"], flat["y1"]] == [24, 736, zero]
    small = np.abs(error) <= scale
    dots = picture.marks("circle", r=4.0, fill=INK)
    assert near(column(dots, "cx"), at(x[small]))
    assert near(column(dots, "cy"), zero - 40 * error[small] / scale)
    stems = [mark for mark in picture.marks("line", stroke=INK, stroke_width=2.0) if mark["y1"] == zero]
    assert near(column(stems, "x1"), at(x))
    assert (np.sign(zero - column(stems, "y2")) == np.sign(error)).all() or (error == 0).any()
    if saturating:
        for curve in picture.marks("path", stroke=ERROR):
            here = (points(curve)[:, 0] - at(0)) / (at(1) - at(0)) / scale  # in steps
            nearest = np.abs(here - np.rint(here).clip(qmin, qmax))
            steps = np.abs(points(curve)[:, 1] - zero) / 40
            assert np.abs(steps - nearest).max() <= 0.003 + 0.12 / float(at(scale) - at(0))
    claim = "Every real comes back at most scale/2"
    if beyond.any():
        claim = f"{beyond.sum()} of {x.size} reals beyond the codes: "
        claim += "saturated at the ends" if saturating else "wrapped to the other side"
    assert picture.headline.startswith(claim)
    assert picture.settings.startswith(f"scale {scale:g}, int{bits} codes {qmin}..{qmax}, ties go ")


# --- 02: the zero-point


@TEN
def test_zero_point_explorer_colours_the_codes_in_use_and_beams_the_range_on_them(seed):
    try:
        settings, picture = drawn("zero_point_explorer", seed)
    except ValueError:  # uint8 has no symmetric map of negative reals: another test says so
        settings, picture = drawn("zero_point_explorer", seed + 100)
    (rmin, rmax), to = settings["limits"], {"int8": qt.INT8, "uint8": qt.UINT8}[settings["codes"]]
    symmetric = settings["mode"] == "symmetric"
    if settings["holding_zero"] or symmetric:
        qparams = qt.choose_qparams(rmin, rmax, to, symmetric=symmetric)
        scale, Z, qmin = float(qparams.scale), int(qparams.zero_point), qparams.qmin
    else:
        scale, qmin = (rmax - rmin) / 255, to.qmin
        Z = qmin - rmin / scale

    def codes(x):
        return np.rint(np.asarray(x) / scale + Z).clip(qmin, to.qmax)

    def sqnr(x):
        return decibels(x, scale * (codes(x) - Z))

    first, last = codes([rmin, rmax]).astype(int).tolist()
    nearest = int(codes(0.0))
    zero = scale * (nearest - Z) if abs(nearest - Z) > 1e-9 else 0.0
    stem = activations()["stem"]
    stretched = rmin + (stem - stem.min()) / np.ptp(stem) * (rmax - rmin)
    assert picture.facts == [
        ("scale", said(scale, 4)),
        ("zero-point Z", said(Z, 6)),
        ("real 0 comes back as", "0, exactly" if zero == 0 else said(zero)),
        ("codes used", f"{last - first + 1} of 256"),
        ("SQNR, uniform x", sqnr(np.linspace(rmin, rmax, 4001))),
        ("SQNR, real activations", sqnr(stretched)),
        ("error bound, scale/2", said(scale / 2)),
        ("reals with a code", f"{said(scale * (qmin - Z) + 0.0)} to {said(scale * (to.qmax - Z) + 0.0)}"),
    ]
    strip = picture.marks("rect", height=30.0)
    lowest = -128 if settings["codes"] == "int8" else 0
    used = [first <= code <= last for code in range(lowest, lowest + 256)]
    assert [mark["fill"] for mark in strip] == [QUANTIZED if here else PALE for here in used]
    at_code = axis(np.arange(lowest, lowest + 256), column(strip, "x") - 0.3)  # the left edge of a code
    labels = [number for number in picture.numbers(text_anchor="middle") if number[1] < 100]
    at = axis([value for *_, value in labels], [place for place, *_ in labels])
    (beam,) = picture.marks("polygon", fill=REAL)
    assert near(points(beam, "points")[:, 0], [*at([rmin, rmax]), *at_code([last + 1, first])])
    (line,) = picture.marks("line", stroke=REAL, stroke_width=7.0)
    assert near([line["x1"], line["x2"]], [at(rmin), max(at(rmax), at(rmin) + 2)])
    words = said(Z, 6)
    visible = 24 <= at_code(Z + 0.5) <= 736
    assert picture.texts(font_weight="bold", text_anchor="middle").count(f"Z = {words}") == visible
    dashed = [m for m in picture.marks("line", stroke=INK, stroke_dasharray="5 3") if m["y1"] < 200]
    assert near([(m["x1"], m["x2"]) for m in dashed], [(at(0), at_code(Z + 0.5))] if visible else [])
    # around real 0: one disc for each real that has a code, the code of real 0 filled
    discs = picture.marks("circle", stroke=QUANTIZED)
    numbered = [number for number in picture.numbers(font_size=14.0) if number[1] > discs[0]["cy"]]
    low, high = min(0.0, zero) - 2.6 * scale, max(0.0, zero) + 2.6 * scale
    codes_there = range(qmin, to.qmax + 1)
    near_zero = [code for code in codes_there if low <= scale * (code - Z) <= high]
    assert len(discs) == len(near_zero)
    assert [mark["fill"] for mark in discs] == [QUANTIZED if code == nearest else PAPER for code in near_zero]
    (here,) = picture.marks("text", text="real 0")
    zoomed = axis([low, high], [204, 736])
    assert near(here["x"], zoomed(0))
    assert near(column(discs, "cx"), zoomed(scale * (np.array(near_zero) - Z)))
    assert all(near(place, zoomed(scale * (code - Z))) for place, _, code in numbered)
    assert nearest in [code for *_, code in numbered]
    error = picture.marks("line", stroke=ERROR, stroke_width=8.0)
    assert near([(mark["x1"], mark["x2"]) for mark in error], [zoomed([0, zero])] if zero else [])
    count = last - first + 1
    if zero:
        assert picture.headline == f"Broken: no code is real 0, so every zero comes back as {said(zero)}"
    elif count < 250:
        assert (
            picture.headline == f"Real 0 is code {words}, exactly; {256 - count} of 256 codes are never used"
        )
    else:
        assert picture.headline == f"Real 0 is code {words}, exactly, and {count} of 256 codes are used"
    assert picture.settings.startswith(
        f"real range {rmin:g} to {rmax:g}, {settings['codes']}, {settings['mode']}"
    )


# --- 03: the clip


OBSERVERS = {
    "min-max": qt.MinMaxObserver,
    "percentile 99.9": qt.PercentileObserver,
    "MSE": qt.MSEObserver,
    "entropy": qt.EntropyObserver,
}


def linear(labels, key=0):
    """The scale of an axis from its numbers, (x, y, value)."""
    return axis([value for *_, value in labels], [label[key] for label in labels])


@TEN
def test_clip_explorer_draws_the_histogram_the_codes_and_both_noises(seed):
    settings, picture = drawn("clip_explorer", seed)
    x, bits = activations()[settings["layer"]], settings["bits"]
    position = round(settings["fraction"] * 50)
    largest = np.abs(x).max()
    digit = 10.0 ** (math.floor(math.log10(largest)) - 2)
    clips = np.arange(1, 51) / 50 * math.ceil(largest / digit) * digit

    def qparams_at(clip):
        return qt.choose_qparams(max(x.min(), -clip), min(x.max(), clip), qt.int_range(bits))

    budgets = np.array([qt.error_budget(x, qparams_at(clip)) for clip in clips])  # rounding, clipping, total
    clip, qparams, budget = clips[position - 1], qparams_at(clips[position - 1]), budgets[position - 1]
    step = float(qparams.scale)
    chosen = {name: observer().observe(x).qparams(qt.int_range(bits)) for name, observer in OBSERVERS.items()}
    ends = {name: max(abs(float(limit)) for limit in there.limits) for name, there in chosen.items()}
    assert picture.facts == [
        ("clip", said(clip)),
        ("elements clipped", f"{100 * qt.clipped_fraction(x, qparams):.2f} %"),
        ("SQNR", decibels(x, qt.fake_quantize(x, qparams))),
        ("error bound, scale/2", said(step / 2)),
        *(
            (f"{name}, {decibels(x, qt.fake_quantize(x, there))}", "{:.2f} to {:.2f}".format(*there.limits))
            for name, there in chosen.items()
        ),
    ]
    best = int(budgets[:, 2].argmin()) + 1
    if position == best:
        claim = "Here the sum of both noises is least"
    elif position < best:
        claim = f"Tight: {budget[1] / budget[2]:.0%} of the noise is clipping"
    else:
        claim = f"Wide: {budget[0] / budget[2]:.0%} of the noise is rounding"
    assert picture.headline == claim
    assert picture.settings == (
        f"{settings['layer']}, {x.size:,} elements, int{bits}, clip at {position / 50:.0%} of the largest |x|"
    )
    # a bar for each of 100 bins, as high as the logarithm of its count, coloured where no code reaches
    bars = [mark for mark in picture.marks("rect") if mark["fill"] in (REAL, ERROR) and "opacity" not in mark]
    bars = [mark for mark in bars if (mark["width"], mark["height"]) != (12, 12)]  # those of the legend
    at = linear(picture.numbers(text_anchor="middle"))
    low, high = ((bars[k]["x"] + k // 99 * bars[k]["width"] - at(0)) / (at(1) - at(0)) for k in (0, 99))
    edge = next(
        m * 10.0**e for e in range(-9, 9) for m in (1, 2, 5) if m * 10.0**e >= largest / 10 * (1 - 1e-9)
    )
    low, high = (float(round(end / edge) * edge) for end in (low, high))  # ends are round numbers
    assert low <= x.min() < low + edge and high - edge < clips[-1] <= high + 1e-9
    counts, edges = np.histogram(x, 100, (low, high))
    assert near(column(bars, "x"), at(edges[:-1]))
    tallest = column(bars, "height").max()
    assert near(column(bars, "height"), tallest * np.log1p(counts) / np.log1p(counts.max()))
    first, last = (float(limit) for limit in qparams.limits)
    middles = (edges[1:] + edges[:-1]) / 2
    inside = (middles >= first - step / 2) & (middles <= last + step / 2)
    assert [mark["fill"] for mark in bars] == [REAL if here else ERROR for here in inside]
    tinted = picture.marks("rect", fill=ERROR, opacity=0.18)
    left, right = first - step / 2, last + step / 2
    expected = [(at(low), at(left))] * (low < left < high) + [(at(right), at(high))] * (low < right < high)
    assert near([(mark["x"], mark["x"] + mark["width"]) for mark in tinted], expected)
    codes = qt.dequantize(np.arange(qparams.qmin, qparams.qmax + 1), qparams)
    codes = codes[(codes >= low) & (codes <= high)]
    assert near(column(picture.marks("line", stroke=QUANTIZED), "x1"), at(codes))
    # the curves of both noises and their sum, on an axis of powers of ten
    powers = [mark for mark in picture.marks("text") if re.fullmatch(r"1e-?\d+", mark["text"])]
    if len(powers) > 1:
        up = axis([int(mark["text"][2:]) for mark in powers], column(powers, "y") - 5)
        for k, colour in enumerate((METHODS[0], METHODS[1], ERROR)):
            (curve,) = picture.marks("path", stroke=colour)
            seen = budgets[:, k] > budgets[:, 2].min() / 20
            assert near(points(curve)[:, 0], at(clips[seen]))
            assert near(points(curve)[:, 1], up(np.log10(budgets[seen, k])), 0.3)
        (dot,) = picture.marks("circle", r=6.0, fill=INK)
        assert near([dot["cx"], dot["cy"]], [at(clip), up(np.log10(budget[2]))], 0.3)
    assert near(column(picture.marks("line", stroke=INK, stroke_dasharray="5 3"), "x1"), [at(clip)] * 2)
    dotted = picture.marks("path", stroke=NEUTRAL, stroke_dasharray="2 3")
    assert near([points(path)[0, 0] for path in dotted], [min(at(end), 736) for end in ends.values()])
    short = ["min-max", "99.9 %", "MSE", "entropy"]  # a long name would push the others from their lines
    names = [mark for mark in picture.marks("text") if mark["text"] in short]
    assert [mark["text"] for mark in names] == short
    assert near(column(names, "x"), [points(path)[-1, 0] for path in dotted])


# --- 04: the error of a round trip


@TEN
def test_error_explorer_draws_what_is_predicted_and_what_is_measured(seed):
    settings, picture = drawn("error_explorer", seed)
    x, bits, name = activations()[settings["layer"]], settings["bits"], settings["observer"]
    observer = OBSERVERS[name]().observe(x)

    def round_trip(bits):
        qparams = observer.qparams(qt.int_range(bits))
        return qparams, qt.fake_quantize(x, qparams)

    def predicted(qparams):
        return 10 * np.log10(np.mean(x**2) / (float(qparams.scale) ** 2 / 12))

    qparams, x_hat = round_trip(bits)
    scale, budget = float(qparams.scale), qt.error_budget(x, qparams)
    off = qt.sqnr_db(x, x_hat) - predicted(qparams)
    assert picture.facts == [
        ("predicted, scale²/12", f"{scale**2 / 12:#.3g}"),
        ("measured noise", f"{budget.total:#.3g}"),
        ("predicted SQNR", f"{predicted(qparams):.1f} dB"),
        ("measured SQNR", decibels(x, x_hat)),
        ("scale", said(scale)),
        ("error bound, scale/2", said(scale / 2)),
        ("clipped", f"{100 * qt.clipped_fraction(x, qparams):.2f} %"),
        ("codes used", f"{len(np.unique(qt.quantize(x, qparams)))} of {2**bits}"),
    ]
    if abs(off) < 0.5:
        claim = f"The prediction holds: {abs(off):.1f} dB between"
    elif budget.clipping > budget.rounding:
        claim = f"Clipping is most of the error: {-off:.1f} dB worse than"
    else:
        claim = f"The prediction is {abs(off):.1f} dB off:"
    assert picture.headline.startswith(claim)
    assert picture.settings == f"{settings['layer']}, {x.size:,} elements, int{bits}, {name} range"
    # SQNR over bits: discs for the measurements, a dashed line for the prediction
    rows = [round_trip(b) for b in range(2, 9)]
    discs, (dashed, even) = picture.marks("circle"), picture.marks("path", stroke=NEUTRAL)
    to_x = axis(range(2, 9), column(discs, "cx"))
    up = axis(*zip(*[(value, y - 5) for _, y, value in picture.numbers(text_anchor="end")], strict=True))
    assert near(column(discs, "cy"), up([qt.sqnr_db(x, back) for _, back in rows]))
    assert near(points(dashed)[:, 0], to_x(range(2, 9)))
    assert near(points(dashed)[:, 1], up([predicted(there) for there, _ in rows]))
    assert [(mark["fill"], mark["r"]) for mark in discs] == [
        (INK, 8.0) if b == bits else (METHODS[0], 5.0) for b in range(2, 9)
    ]
    # the errors in steps, in 40 bins, and the height of an even spread
    counts, edges = np.histogram(((x_hat - x) / scale).clip(-0.99, 0.99), 40, (-1, 1))
    bars = picture.marks("rect", fill=ERROR)
    numbers = [number for number in picture.numbers(text_anchor="middle") if number[0] >= 410]
    at = linear(numbers)
    assert [value for *_, value in numbers] == [-1, -0.5, 0, 0.5, 1]
    assert near(column(bars, "x"), at(edges[:-1]))
    flat = points(even)
    assert (
        near(flat[:, 0], at([-0.5, -0.5, 0.5, 0.5]))
        and flat[0, 1] == flat[3, 1] == bars[0]["y"] + bars[0]["height"]
    )
    assert near(column(bars, "height"), (flat[0, 1] - flat[1, 1]) * counts / x.size * 20, 0.3)
    # the budget: two bars, and the prediction as a line across both
    widths = [picture.marks("rect", fill=colour, height=18.0)[0]["width"] for colour in METHODS[:2]]
    (across,) = picture.marks("line", stroke=NEUTRAL, stroke_dasharray="6 4")
    longest = max(budget.rounding, budget.clipping, scale**2 / 12)
    shares = [noise / longest for noise in (budget.rounding, budget.clipping, scale**2 / 12)]
    assert near([*widths, across["x1"] - 130], np.array(shares) * 506)
    written = [f"{noise:#.3g}" if noise else "0" for noise in (budget.rounding, budget.clipping)]
    assert [mark["text"] for mark in picture.marks("text") if mark["y"] in (332, 360)] == [
        "rounding", written[0], "clipping", written[1]
    ]  # fmt: skip


# --- 05: the four terms


def some_codes(low, high):
    return lambda rng, settings: " ".join(map(str, rng.integers(low, high + 1, 9)))


def factor(value):
    return f"({value})" if value < 0 else str(value)


@TEN
def test_matmul_explorer_writes_and_draws_each_term_and_marks_what_is_wrong(seed):
    settings, picture = drawn(
        "matmul_explorer", seed, activations=some_codes(0, 99), weights=some_codes(-99, 99)
    )
    Z1, Z2, i, j = (settings[name] for name in ("zero_point1", "zero_point2", "i", "j"))
    q1, q2 = (
        np.array([int(word) for word in settings[name].split()]).reshape(3, 3)
        for name in ("activations", "weights")
    )
    terms = {
        "product": q1 @ q2,
        "row": -Z2 * q1.sum(axis=1, keepdims=True) + np.zeros((3, 3), int),
        "column": -Z1 * q2.sum(axis=0) + np.zeros((3, 3), int),
        "constant": np.full((3, 3), 3 * Z1 * Z2),
    }
    exact = qt.integer_matmul(q1.astype(np.uint8), q2.astype(np.int8), Z1, Z2)
    dropped = settings["dropped"]
    total = sum(term for name, term in terms.items() if name != dropped)
    wrong = total != exact
    assert picture.facts == [
        (f"sum of the {'four' if dropped == 'none' else 'three'} terms", str(total[i, j])),
        ("integer_matmul", str(exact[i, j])),
        ("elements that differ", f"{wrong.sum()} of 9"),
        ("bits for any such sum", str(qt.accumulator_bits(3, qt.UINT8, qt.INT8))),
    ]
    zeros = sum(not terms[name].any() for name in ("row", "column", "constant"))
    if wrong.any():
        claim = f"Without the {dropped} term, acc[{i}, {j}] is off by {total[i, j] - exact[i, j]}"
    elif dropped != "none":
        claim = f"Here the {dropped} term is 0 everywhere: forgetting it changes nothing"
    else:
        claim = "The four terms add up to the product"
        claim += ["", ", and one of them is 0", ", and two of them are 0", ", and three of them are 0"][zeros]
    assert picture.headline == claim
    assert picture.settings.startswith(f"Z1 = {Z1}, Z2 = {Z2}, element [{i}, {j}], ")
    # the matrices: every element, tinted where row i meets column j, and what a wrong one should be
    cells = picture.marks("rect", stroke=PALE, fill=PAPER, height=42.0)
    values = [mark["text"] for mark in picture.marks("text", font_size=16.0, text_anchor="middle")]
    assert values == [str(value) for value in np.concatenate([q1, q2, total], axis=None)]
    chosen = np.zeros((3, 3, 3), bool)
    chosen[0, i], chosen[1, :, j], chosen[2, i, j] = True, True, True
    bad = np.concatenate([np.zeros(18, bool), wrong.ravel()])
    tints = [mark for mark in picture.marks("rect", height=42.0) if "opacity" in mark]
    assert column(tints, "opacity").tolist() == np.where(chosen.ravel(), 0.3, bad * 0.12).tolist()
    assert [mark["fill"] for mark in tints] == [ERROR if here else QUANTIZED for here in bad]
    assert near(column(tints, "x"), column(cells, "x")) and near(column(tints, "y"), column(cells, "y"))
    corrections = [mark["text"] for mark in picture.marks("text") if mark["text"].startswith("not ")]
    assert corrections == [f"not {value}" for value in exact[wrong]]
    assert picture.texts(font_size=17.0, font_weight="bold")[:2] == [f"- {factor(Z1)}", f"- {factor(Z2)}"]
    # the terms: their arithmetic, their value, and a bar from one running sum to the next
    products = " + ".join(f"{a}·{factor(b)}" for a, b in zip(q1[i], q2[:, j], strict=True))
    assert picture.texts(x=140.0, font_size=14.0) == [
        f"= {products}",
        f"= -{factor(Z2)} · ({' + '.join(map(str, q1[i]))})",
        f"= -{Z1} · ({' + '.join(map(factor, q2[:, j]))})",
        f"= 3 · {Z1} · {factor(Z2)}",
    ]
    at_ij = [int(terms[name][i, j]) for name in terms]
    assert picture.texts(x=540.0) == [*(f"{value:+d}" for value in at_ij), str(total[i, j])]
    sums = np.cumsum([0, *(0 if name == dropped else v for name, v in zip(terms, at_ij, strict=True))])
    (zero,) = picture.marks("line", stroke_dasharray="3 3")
    at = axis([min(sums) - 1, max(sums) + 1], [560, 736])
    assert near(zero["x1"], at(0))
    bars = picture.marks("rect", height=20.0)
    kept = [k for k, name in enumerate(terms) if name != dropped]
    assert [mark["fill"] for mark in bars] == [*(METHODS[k] for k in kept), QUANTIZED]
    ends = [*((sums[k], sums[k + 1]) for k in kept), (0, total[i, j])]
    assert near(column(bars, "x"), [at(min(pair)) for pair in ends])
    assert near(column(bars, "width"), [max(at(max(pair)) - at(min(pair)), 2) for pair in ends])
    struck = picture.marks("line", stroke=ERROR, stroke_width=3.0)
    names = picture.marks("rect", width=6.0, height=34.0)
    assert [mark["fill"] for mark in names] == list(METHODS[:4])
    row = list(terms).index(dropped) if dropped != "none" else None
    assert near(column(struck, "y1"), [] if row is None else [names[row]["y"] + 9])


# --- 06: mantissa and shift


def some_multiplier(rng, settings):
    return str(rng.choice(["1/4", "3/8", f"{rng.uniform(0, 1):.6g}", f"{10 ** rng.uniform(-4, 2):.6g}"]))


@TEN
def test_requantize_explorer_draws_the_bits_and_the_way_of_each_rule_to_its_answer(seed):
    settings, picture = drawn("requantize_explorer", seed, multiplier=some_multiplier)
    M, acc, bits = float(Fraction(settings["multiplier"])), settings["acc"], settings["bits"]
    shift = -math.frexp(M)[1]
    short = round(Fraction(M) * 2 ** (bits + shift))  # M = short / 2**(bits + shift)
    if short == 2**bits:
        short, shift = short // 2, shift - 1
    mantissa = short << 31 - bits
    fixed = qt.FixedPointMultiplier(mantissa, shift)
    exact, moved = Fraction(M) * acc, abs(Fraction(mantissa, 2**31) / Fraction(2) ** shift - Fraction(M))
    product = (acc << max(-shift, 0)) * mantissa
    high = (abs(product) + 2**30 >> 31) * (1 if product >= 0 else -1)  # ties away from zero
    if product < 0 and (abs(product) + 2**30) % 2**31 == 0:
        high += 1  # but gemmlowp's negative ties go up
    stop = Fraction(high, 2 ** max(shift, 0))
    half = Fraction(1, 2)
    in_float32 = float(np.float32(acc) * np.float32(M))
    in_float64 = float(acc * M)
    answers = [
        math.floor(abs(stop) + half) * (1 if stop >= 0 else -1),
        math.floor(stop + half),
        math.floor(Fraction(mantissa, 2**31) / Fraction(2) ** shift * acc + half),
        round(in_float32),
        math.floor(abs(Fraction(in_float64)) + half) * (1 if in_float64 >= 0 else -1),
    ]
    assert fixed.shift == shift
    given = sorted(set(answers))
    assert picture.facts == [
        ("M · acc", said(float(exact), 7)),
        ("mantissa m", str(mantissa)),
        ("shift s", str(shift)),
        ("answers", f"{given[0]} to {given[-1]}" if len(given) > 2 else " or ".join(map(str, given))),
        ("M is off by", f"{said(float(100 * moved / Fraction(M)), 2)} %"),
        ("and M · acc by", f"{said(float(moved * abs(acc)), 2)} codes"),
        ("rounding twice changes", f"{50 / 2**shift:.2g} %" if shift > 0 else "nothing"),
        ("product, high half", str(high)),
    ]
    if len(given) == 1:
        assert picture.headline == f"All five rules answer {given[0]}"
    else:
        assert " and ".join(map(str, given)) in picture.headline
    assert picture.settings == (
        f"M = {settings['multiplier']}, acc = {acc}, mantissa of {bits} bits, shift {shift}"
    )
    cells = picture.marks("rect", width=16.0, height=24.0)
    digits = f"{mantissa:031b}"
    assert "".join(picture.texts(font_size=13.0, text_anchor="middle"))[:31] == digits
    assert [mark["fill"] for mark in cells] == [QUANTIZED if digit == "1" else PALE for digit in digits]
    assert column(cells, "opacity").tolist() == [1.0] * bits + [0.35] * (31 - bits)
    (underlined,) = picture.marks("line", x1=cells[0]["x"], stroke=NEUTRAL)
    assert near(underlined["x2"], cells[bits - 1]["x"] + 16)
    way = f"then {shift} more to the right" if shift >= 0 else f"after {-shift} to the left"
    assert f"{bits} bits in use; the product is shifted 31 to the right, {way}" in picture.texts()
    # every rule's way: from M * acc over its first rounding, if there are two, to its answer
    rows = ["twice, ties away", "twice, ties up", "once, ties up", "float32, ties even", "float64, ties away"]
    assert [name for name in picture.texts(x=24.0, font_weight="bold") if "ties" in name][-5:] == rows
    discs, rings = (
        picture.marks("circle", r=7.0, fill=QUANTIZED),
        picture.marks("circle", r=5.0, stroke=ERROR),
    )
    (start,) = picture.marks("circle", r=6.0, fill=REAL)
    stops = [float(stop), float(stop), in_float32]
    known = [float(exact), *stops, *answers]
    reach = max(1.3, (max(known) - min(known)) / 2 + 0.4)
    middle = (max(known) + min(known)) / 2
    at = axis([middle - reach, middle + reach], [250, 636])
    assert near(column(discs, "cx"), at(answers)) and near(start["cx"], at(float(exact)))
    assert near(column(rings, "cx"), at(stops))
    assert near(column(rings, "cy"), column(discs, "cy")[[0, 1, 3]])
    assert picture.texts(x=736.0, font_size=17.0) == [str(answer) for answer in answers]
    lines = picture.marks("line", stroke_width=4.0)
    first, second = ([m for m in lines if m["stroke"] == colour] for colour in (ERROR, QUANTIZED))
    assert near([(m["x1"], m["x2"]) for m in first], [(at(float(exact)), at(stop)) for stop in stops])
    starts = [stops[0], stops[1], float(exact), stops[2], float(exact)]
    pairs = zip(starts, answers, strict=True)
    assert near([(m["x1"], m["x2"]) for m in second], [(at(a), at(b)) for a, b in pairs])
    labels = picture.numbers(font_size=15.0)
    assert len(labels) >= 2 and near([x for x, *_ in labels], at([value for *_, value in labels]))
    ties = [mark["x"] for mark in picture.marks("text", text="tie")]
    halves = [k + 0.5 for k in range(math.floor(middle - reach) - 1, math.ceil(middle + reach) + 1)]
    wanted = [tie for tie in halves if middle - reach < tie < middle + reach] if reach < 2 else []
    assert near(ties, at(wanted))


# --- 07: the network


def pixels_of(mark):
    """The picture in a data URL, (height, width, 3)."""
    png = unquote_to_bytes(mark["href"].removeprefix("data:image/png,"))
    return np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def shade(steps, farthest):
    """The colour of a code so many steps from real 0, of at most `farthest`: one of 16 on either side."""
    share = math.ceil(16 * abs(steps) / farthest) / 16
    ink = [int((QUANTIZED if steps > 0 else NEUTRAL)[k : k + 2], 16) for k in (1, 3, 5)]
    return [round(255 + share**0.5 * (part - 255)) for part in ink]


@TEN
def test_cnn_explorer_paints_each_code_and_counts_what_a_mistake_changes(seed):
    settings, picture = drawn("cnn_explorer", seed)
    image, symmetric, weight_bits, activation_bits, mistake = settings.values()
    maps = chapter07.network(weight_bits, activation_bits, symmetric).qparams
    right = chapter07.codes(image, symmetric, weight_bits, activation_bits, "none")
    tensors = chapter07.codes(*settings.values())
    logits = chapter07.given().logits[image].astype(np.float64)
    q, qparams = tensors["logits"][0].astype(int), maps["logits"]
    changed = {name: int((codes != right[name]).sum()) for name, codes in tensors.items()}
    total = sum(codes.size for codes in tensors.values())
    percent = f"{100 * sum(changed.values()) / total:.1f} %"
    second, highest = np.sort(q)[-2:]
    assert picture.facts == [
        ("integer network", str(q.argmax())),
        ("float network", str(logits.argmax())),
        ("label", str(chapter07.given().labels[image])),
        ("margin, in codes", str(highest - second)),
        ("SQNR of its logits", decibels(logits, qt.dequantize(tensors["logits"][0], qparams))),
        ("changed by the mistake", percent if mistake != "none" else "no mistake"),
        ("zero-points that are 0", f"{sum(int(m.zero_point) == 0 for m in maps.values())} of 12"),
        ("codes in all", f"{total:,}"),
    ]
    if mistake != "none" and any(changed.values()):
        becomes = "is still" if q.argmax() == right["logits"][0].argmax() else "becomes"
        assert picture.headline == (
            f"{mistake}: {percent} of the codes change, the answer {becomes} {q.argmax()}"
        )
    said_maps = "no zero-points" if symmetric else "with zero-points"
    assert picture.settings == (
        f"test image {image}, {weight_bits}-bit weights, {activation_bits}-bit activations, {said_maps}"
    )
    # a caption and a mosaic for each tensor, white exactly where its codes are real 0
    captions = [mark for mark in picture.marks("text", font_weight="bold") if mark["text"] in tensors]
    assert [mark["text"] for mark in captions] == list(tensors)
    zeros = {(mark["x"], mark["y"]): mark["text"] for mark in picture.marks("text") if "Z = " in mark["text"]}
    shares = {
        (mark["x"], mark["y"]): mark["text"] for mark in picture.marks("text") if "changed" in mark["text"]
    }
    images = picture.marks("image")
    for caption, (name, codes) in zip(captions, tensors.items(), strict=True):
        below = caption["y"] + 136
        assert zeros[caption["x"], below] == f"Z = {maps[name].zero_point}"
        share = 100 * changed[name] / codes.size
        shown = f"{share:.0f} % changed" if share >= 1 else "< 1 % changed"
        assert shares.get((caption["x"] + 166, below)) == (shown if changed[name] else None)
    for caption, mark, (name, codes) in zip(captions, images, tensors.items(), strict=False):
        assert near([mark["x"], mark["y"]], [caption["x"], caption["y"] + 8])
        assert mark["width"] <= 166.1 and mark["height"] <= 112.1
        pixels = pixels_of(mark)
        assert near(mark["width"] / pixels.shape[1], mark["height"] / pixels.shape[0], 0.02)  # square codes
        channels = codes[0].reshape(codes.shape[1], *(codes.shape[2:] or (1, 1))).astype(int)
        height, width = channels.shape[1:]
        steps = channels - int(maps[name].zero_point)
        farthest = max(
            maps[name].qmax - int(maps[name].zero_point), int(maps[name].zero_point) - maps[name].qmin
        )
        across = pixels.shape[1] // width
        assert across * (pixels.shape[0] // height) == len(channels)
        for k in range(len(channels)):
            top, left = k // across * height, k % across * width
            for code in np.unique(steps[k]):
                painted = pixels[top : top + height, left : left + width][steps[k] == code]
                assert (painted == shade(code, farthest)).all()
    assert len(images) == len(tensors) - 1
    # the logits: bars from the zero-point, and the float logits as lines where their codes would be
    bars = picture.marks("rect", width=12.6)
    lines = picture.marks("line", stroke=REAL, stroke_width=3.0)
    (ground,) = [
        mark for mark in picture.marks("line", stroke=NEUTRAL) if near(mark["x2"] - mark["x1"], 166)
    ][-1:]
    up = axis([qparams.qmin, qparams.qmax], [captions[-1]["y"] + 100, captions[-1]["y"] + 8])
    Z = int(qparams.zero_point)
    assert near(ground["y1"], up(Z))
    assert near(column(bars, "y"), [min(up(code), up(Z)) for code in q])
    assert near(column(bars, "height"), [abs(up(code) - up(Z)) for code in q])
    assert [mark["fill"] for mark in bars] == [QUANTIZED if k == q.argmax() else NEUTRAL for k in range(10)]
    ideal = (logits / float(qparams.scale) + Z).clip(qparams.qmin, qparams.qmax)
    assert near(column(lines, "y1"), up(ideal)) and near(column(lines, "x1") + 2, column(bars, "x"))


# --- what stands beside the marks


LEGENDS = {
    "digit_explorer": {},
    "number_line": {"real x": REAL, "integer q": QUANTIZED, "error x_hat - x": ERROR},
    "zero_point_explorer": {"real x": REAL, "codes in use": QUANTIZED, "codes never used": PALE},
    "clip_explorer": {"rounding": METHODS[0], "clipping": METHODS[1], "their sum": ERROR},
    "error_explorer": {},
    "matmul_explorer": {},
    "requantize_explorer": {
        "M · acc": REAL, "to where the first rounding puts it": ERROR, "to the answer": QUANTIZED
    },
    "cnn_explorer": {"above it": QUANTIZED, "below it": NEUTRAL, "float logits": REAL},
}  # fmt: skip
NOTES = {
    "digit_explorer": ["the codes in use:", "the codes in use:"],
    "number_line": ["tinted: at most scale/2; arrows: errors too large for the picture"],
    "zero_point_explorer": ["integer q:", "around real 0,", "magnified", "real 0"],
    "clip_explorer": [
        "elements, on a logarithmic scale; ticks: the codes",
        "mean squared error over the clip:",
    ],
    "error_explorer": [
        *("SQNR in dB, over bits", "dashed: if the noise", "were scale²/12"),
        *("errors, in steps of scale", "dashed:", "even"),
    ],
    "matmul_explorer": [
        *("q1, uint8", "@", "q2, int8", "=", "acc, int32", "the sum"),
        *("+ Σ q1 q2", "what the hardware multiplies"),
        *("- Z2 Σ q1", "new with each q1; gone when Z2 = 0"),
        *("- Z1 Σ q2", "known before q1 arrives: melts into the bias"),
        *("+ K Z1 Z2", "known before q1 arrives: melts into the bias"),
    ],
    "requantize_explorer": [
        *("mantissa m", "M ≈ m / 2^31 / 2^s", "M · acc, and the codes", "answer"),
        *("LiteRT reference, TFLM", "LiteRT optimized", "TFLITE_SINGLE_ROUNDING"),
        *("ONNX Runtime, XNNPACK", "LiteRT ref. dense layer"),
    ],
    "cnn_explorer": ["white: the code of real 0; stronger: farther from it"],
}


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_picture_says_what_its_colours_and_its_parts_are(name):
    picture = Picture(EXPLORERS[name].drawing())
    legend = {
        words["text"]: square["fill"]
        for square in picture.marks("rect", width=12.0, height=12.0)
        for words in picture.marks("text", x=square["x"] + 18, y=square["y"] + 11)
    }
    assert legend == LEGENDS[name]
    texts = picture.texts()
    assert all(texts.count(words) >= NOTES[name].count(words) for words in NOTES[name])

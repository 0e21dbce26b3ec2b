"""qtutor/tutorial/explorers/chapter07.py: its numbers and pictures are those of the integer network."""

import dataclasses
import io
import re
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from networks import input_codes, integer_network
from PIL import Image

import qtutor as qt
from qtutor.graph import forward, run
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.tutorial.explorers import chapter07
from qtutor.tutorial.plots import NEUTRAL, QUANTIZED

DIGITS, WEIGHTS = load_digits(), load_weights()
RIGHT = {"image": 3, "symmetric": False, "weight_bits": 8, "activation_bits": 8, "mistake": "none"}


def facts(drawing):
    return dict(line.strip().split(": ", 1) for line in drawing.text.splitlines() if line.startswith("  "))


@pytest.mark.parametrize("image", [0, 3, 598])
@pytest.mark.parametrize(("symmetric", "weight_bits", "activation_bits"), [(False, 8, 8), (True, 4, 6)])
def test_it_shows_what_the_network_computes(image, symmetric, weight_bits, activation_bits) -> None:
    shown = facts(chapter07.draw_cnn(image, symmetric, weight_bits, activation_bits, "none"))
    network = integer_network(
        DIGITS.images[DIGITS.train],
        weight_range=qt.int_range(weight_bits),
        activation_range=qt.int_range(activation_bits),
        symmetric=symmetric,
    )
    for name, qparams in chapter07.network(weight_bits, activation_bits, symmetric).qparams.items():
        assert np.isclose(qparams.scale, network.qparams[name].scale, rtol=5e-4)
        assert qparams.zero_point == network.qparams[name].zero_point
    number = DIGITS.test[image]
    logits = forward(CNN, WEIGHTS, to_input(DIGITS.images[number][np.newaxis]))["logits"][0]
    assert shown["float network"] == str(logits.argmax())
    assert shown["label"] == str(DIGITS.labels[number])
    assert shown["changed by the mistake"] == "no mistake"
    assert shown["zero-points that are 0"] == ("12 of 12" if symmetric else "0 of 12")
    q = chapter07.codes(image, symmetric, weight_bits, activation_bits, "none")
    assert shown["codes in all"] == f"{sum(x.size for x in q.values()):,}"
    assert shown["integer network"] == str(q["logits"][0].argmax())
    x_hat = qt.dequantize(
        q["logits"][0], chapter07.network(weight_bits, activation_bits, symmetric).qparams["logits"]
    )
    assert shown["SQNR of its logits"] == f"{qt.sqnr_db(logits.astype(np.float64), x_hat):.1f} dB"


def test_the_mistakes_are_those_that_they_are_called() -> None:
    network = chapter07.network(8, 8, False)
    q = input_codes(network, DIGITS.images[DIGITS.test[3:4]])
    padded = dict(network.layers)
    for name, layer in network.layers.items():
        if isinstance(layer, qt.QConv2d):
            padded[name] = dataclasses.replace(layer, pad_code=0)
    expected = run(dataclasses.replace(network, layers=padded), q, multiply=qt.multiply_single_rounding)
    for name, codes in chapter07.codes(3, False, 8, 8, "pad with raw 0").items():
        assert np.array_equal(codes, expected[name])
    answers = {m: facts(chapter07.draw_cnn(**RIGHT | {"mistake": m})) for m in chapter07.MISTAKES}
    assert answers["none"]["integer network"] == "4"
    for mistake in ("pad with raw 0", "no biases", "no column term"):
        assert answers[mistake]["integer network"] != "4"


def test_without_zero_points_raw_padding_and_a_forgotten_column_term_change_nothing() -> None:
    for mistake in ("pad with raw 0", "no column term"):
        drawing = chapter07.draw_cnn(**RIGHT | {"symmetric": True, "mistake": mistake})
        assert drawing.text.startswith(f"{mistake}: here it changes nothing")


def test_what_wraps_is_the_same_number_modulo_the_number_of_codes() -> None:
    wide = chapter07.codes(3, False, 4, 3, "wrap, don't saturate")
    right = chapter07.codes(3, False, 4, 3, "none")
    assert np.array_equal(wide["input"], right["input"])
    assert all(q.min() >= -4 and q.max() <= 3 for q in wide.values())
    outside = wide["stem"] != right["stem"]
    assert set(right["stem"][outside]) <= {-4, 3}  # the codes at which the right network saturates


def test_the_pictures_are_the_codes_white_at_real_zero() -> None:
    drawing = chapter07.draw_cnn(**RIGHT)
    hrefs = re.findall(r'href="data:image/png,([^"]*)"', drawing.svg)
    assert len(hrefs) == 11  # the logits are drawn as bars
    image = np.array(Image.open(io.BytesIO(unquote_to_bytes(hrefs[0]))).convert("RGB"))
    q = chapter07.codes(3, False, 8, 8, "none")["input"][0, 0]
    assert image.shape == (8, 8, 3)
    assert (image[q == -128] == 255).all() and (image[q != -128] != 255).any(axis=-1).all()
    ink = tuple(int(QUANTIZED[i : i + 2], 16) for i in (1, 3, 5))
    assert (image[q == 127] == ink).all()


def test_both_ends_of_the_codes_have_the_colours_of_the_legend() -> None:
    picture = chapter07.picture(np.int8([[-128, 0, 127]]), qt.QParams(1.0, 0))
    png = unquote_to_bytes(picture.removeprefix("data:image/png,"))
    pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB"))[0].tolist()
    expected = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (NEUTRAL, "#ffffff", QUANTIZED)]
    assert pixels == expected


@pytest.mark.parametrize("zero_point", [-128, -98, 0, 1])
def test_no_code_but_that_of_real_zero_is_white(zero_point) -> None:
    q = np.arange(-128, 128, dtype=np.int8)[np.newaxis]
    png = unquote_to_bytes(chapter07.picture(q, qt.QParams(1.0, zero_point)).removeprefix("data:image/png,"))
    white = (np.array(Image.open(io.BytesIO(png)).convert("RGB"))[0] == 255).all(axis=-1)
    assert q[0, white].tolist() == [zero_point]


def test_a_tie_of_the_logits_is_called_a_tie() -> None:
    q = chapter07.codes(3, True, 2, 2, "none")["logits"][0]
    assert np.flatnonzero(q == q.max()).tolist() == [2, 4]
    drawing = chapter07.draw_cnn(3, True, 2, 2, "none")
    assert drawing.text.startswith("A tie of 2 and 4: argmax takes the first, 2; the float network says 4")


def test_wrapping_changes_nothing_where_nothing_saturates() -> None:
    drawing = chapter07.draw_cnn(0, False, 8, 8, "wrap, don't saturate")
    assert drawing.text.startswith("wrap, don't saturate: here it changes nothing, for nothing saturates")

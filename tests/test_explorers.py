"""qtutor/tutorial/explorers: what they show is what qtutor computes, at every corner of their controls."""

import base64
import itertools
import re
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import ipywidgets
import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

import qtutor as qt
from qtutor.models.digits import load_digits
from qtutor.tutorial import explorers, plots
from qtutor.tutorial.explorers import chapter01, chapter02, chapter03, chapter05, chapter06, svg
from qtutor.tutorial.explorers.activations import activations
from qtutor.tutorial.explorers.explorer import Explorer

SVG = "{http://www.w3.org/2000/svg}"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
TEXTS = {
    "numbers": (
        "0",
        "1e6 -1e6 0.001",
        "-8 -7 -6 -5 -4 -3 -2 -1 0 0.5 1 1.5",
        "0.111111 0.222222 0.333333 0.444444",
    ),
    "activations": ("99 99 99 99 99 99 99 99 99",),
    "weights": ("-99 -99 -99 -99 -99 -99 -99 -99 -99",),
    "multiplier": ("0", "1e-30", "1/2", "0.003931234", "0.4999", "0.165", "99.9"),
}
LAYERS = ("stem", "block2.pointwise", "logits")


def extremes(name: str, control: ipywidgets.Widget) -> list:
    """The values of a control between which all others lie."""
    match control:
        case ipywidgets.Checkbox():
            return [False, True]
        case ipywidgets.Text():
            return [control.value, *TEXTS[name]]
        case ipywidgets.FloatRangeSlider(min=low, max=high):
            return [
                (low, low),
                (low, high),
                (high, high),
                (0.0, 0.0),
                (3.0, 3.1),
                *chapter02.PRESETS.values(),
            ]
        case ipywidgets.ToggleButtons():
            return [value for value in control.options if name != "layer" or value in LAYERS]
        case _:
            return [control.min, control.max]


def corners(explorer: Explorer) -> list[dict]:
    """Settings where every control stands at an extreme: all of them, or 64 drawn from all."""
    every = list(itertools.product(*(extremes(*item) for item in explorer.controls.items())))
    some = np.random.default_rng(64).permutation(len(every))[:64]
    return [dict(zip(explorer.controls, every[k], strict=True)) for k in sorted(some)]


EXPLORERS = {name: getattr(explorers, name)() for name in explorers.__all__}
CORNERS = [
    pytest.param(name, settings, id=f"{name}-{i}")
    for name, explorer in EXPLORERS.items()
    for i, settings in enumerate(corners(explorer))
]


PICTURES: dict[tuple, svg.Drawing | None] = {}


def picture(name: str, settings: dict) -> svg.Drawing | None:
    """The drawing, or None where qtutor refuses the settings (a test below says when it may)."""
    key = (name, *settings.values())
    if key not in PICTURES:
        try:
            PICTURES[key] = EXPLORERS[name].draw(**settings)
        except ValueError:
            PICTURES[key] = None
    return PICTURES[key]


def facts(drawing: svg.Drawing) -> dict[str, str]:
    """What a drawing reads out, by name."""
    return dict(line.strip().split(": ", 1) for line in drawing.text.splitlines() if line.startswith("  "))


def defaults(name: str, **changed: object) -> dict:
    """The settings an explorer starts with, some of them changed."""
    return {key: control.value for key, control in EXPLORERS[name].controls.items()} | changed


# --- every explorer, at every corner


@pytest.mark.parametrize(("name", "settings"), CORNERS)
def test_picture_is_sound_svg_that_says_what_it_shows(name, settings) -> None:
    drawing = picture(name, settings) or svg.problem("no result")
    root = ElementTree.fromstring(drawing.svg)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    assert [child.tag for child in root[:2]] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == drawing.text.splitlines()[0]
    assert not re.search(
        r"nan|inf\b| id=|e[+-]\d+\"", re.sub(r"<(text|title|desc)\b.*?</\1>", "", drawing.svg)
    )
    assert all(value in root[1].text for value in facts(drawing).values())


@pytest.mark.parametrize(("name", "settings"), CORNERS)
def test_all_words_are_large_enough_inside_the_picture_and_off_each_other(name, settings) -> None:
    drawing = picture(name, settings)
    if drawing is None:
        return
    root = ElementTree.fromstring(drawing.svg)
    width, height = (float(root.get(side)) for side in ("width", "height"))
    boxes = []
    for element in root.iter(f"{SVG}text"):
        left, right, top, bottom = box(element)
        assert float(element.get("font-size")) >= 13
        assert left >= 2 and right <= width - 2 and top >= 2 and bottom <= height - 2, element.text
        for other, (l2, r2, t2, b2) in boxes:
            assert right <= l2 or r2 <= left or bottom <= t2 or b2 <= top, (element.text, other)
        boxes.append((element.text, (left, right, top, bottom)))


def box(element: ElementTree.Element) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of a text in DejaVu Sans, a wide font."""
    face = "DejaVuSans-Bold.ttf" if element.get("font-weight") else "DejaVuSans.ttf"
    size = float(element.get("font-size"))
    wide = length(face, element.text) * size
    x, y = float(element.get("x")), float(element.get("y"))
    left = x - {"start": 0, "middle": wide / 2, "end": wide}[element.get("text-anchor", "start")]
    return left, left + wide, y - 0.74 * size, y + 0.1 * size


@cache
def length(face: str, words: str) -> float:
    """How long the words are, in letters of size 1."""
    return font(face).getlength(words) / 100


@cache
def font(face: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONTS / face), 100)


@pytest.mark.parametrize("name", EXPLORERS)
def test_a_notebook_stores_widget_picture_and_words_with_the_same_numbers(name) -> None:
    bundle = EXPLORERS[name]._repr_mimebundle_()
    assert set(bundle) == {
        "application/vnd.jupyter.widget-view+json", "image/svg+xml", "text/html", "text/plain"
    }  # fmt: skip
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    shown = [element.text for element in root.iter(f"{SVG}text")]
    read_out = facts(svg.Drawing("", bundle["text/plain"]))
    assert len(read_out) >= 4
    assert set(read_out.values()) <= set(shown)
    assert EXPLORERS[name].picture.value == bundle["image/svg+xml"]
    image = ElementTree.fromstring(bundle["text/html"].replace(">", "/>"))
    encoded = image.get("src").removeprefix("data:image/svg+xml;base64,")
    assert base64.b64decode(encoded).decode() == bundle["image/svg+xml"]
    assert all(value in image.get("alt") for value in read_out.values())
    assert not re.search(r"0x[0-9a-f]{6}|object at", bundle["text/plain"])


@pytest.mark.parametrize(
    ("name", "control"), [(name, key) for name, explorer in EXPLORERS.items() for key in explorer.controls]
)
def test_moving_a_control_redraws_picture_and_words(name, control) -> None:
    explorer = getattr(explorers, name)()
    before = explorer.picture.value, explorer._repr_mimebundle_()["text/plain"]
    moved = explorer.controls[control]
    moved.value = next(value for value in extremes(control, moved) if value != moved.value)
    assert explorer.picture.value != before[0]
    assert explorer._repr_mimebundle_()["text/plain"] != before[1]
    assert explorer.picture.value == explorer.drawing().svg


CONTROLS = {
    "clip_explorer": "layer, bits, clip, of max |x|",
    "cnn_explorer": "test image, no zero-points (symmetric), weight bits, activation bits, mistake",
    "digit_explorer": "bits",
    "error_explorer": "layer, range, bits",
    "matmul_explorer": "Z1, Z2, row i, column j, forget a term, q1 (uint8), q2 (int8)",
    "number_line": "scale, bits, ties go, saturate (off: the cast wraps), your own reals",
    "requantize_explorer": "multiplier M, acc, mantissa bits",
    "zero_point_explorer": "real min, max, codes, map, hold 0 in the range (off: broken)",
}


@pytest.mark.parametrize("name", EXPLORERS)
def test_every_control_says_what_it_is(name) -> None:
    assert EXPLORERS[name]._repr_mimebundle_()["text/plain"].startswith(f"Explorer ({CONTROLS[name]}): ")
    grid, _ = EXPLORERS[name].children
    for control in grid.children:
        assert len(control.description) >= 2 and control.tooltip == control.description


def test_settings_without_a_result_show_the_error_in_its_own_words() -> None:
    explorer = explorers.zero_point_explorer()
    explorer.controls["codes"].value, explorer.controls["mode"].value = "uint8", "symmetric"
    with pytest.raises(ValueError) as caught:
        qt.choose_qparams(-0.4, 5.0, qt.UINT8, symmetric=True)
    assert str(caught.value) in " ".join(
        element.text for element in ElementTree.fromstring(explorer.picture.value).iter(f"{SVG}text")
    )
    explorer.controls["mode"].value = "affine"
    assert "Real 0 is code" in explorer.picture.value


@pytest.mark.parametrize(("name", "settings"), CORNERS)
def test_only_settings_that_have_no_map_are_refused(name, settings) -> None:
    if picture(name, settings) is None:
        rmin, rmax = settings["limits"]
        symmetric = settings["mode"] == "symmetric"
        assert (symmetric and settings["codes"] == "uint8" and rmin < 0) or (not symmetric and rmin == rmax)


def test_the_colours_stand_in_one_place() -> None:
    palette = {plots.REAL, plots.QUANTIZED, plots.ERROR, plots.NEUTRAL, *plots.METHODS[:3]}
    for file in Path(explorers.__file__).parent.glob("*.py"):
        source = file.read_text(encoding="utf-8").lower()
        assert not any(colour.lower() in source for colour in palette), file.name


def test_importing_the_core_loads_no_widgets() -> None:
    program = "import sys, qtutor; sys.exit('ipywidgets' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- what each shows, computed again


@pytest.mark.parametrize("bits", range(2, 9))
def test_digit_explorer_shows_codes_and_sqnr_of_the_pixels(bits) -> None:
    drawing = explorers.digit_explorer().draw(bits)
    image = load_digits().images[3].astype(np.float64)
    qparams = qt.choose_qparams(0.0, 16.0, qt.int_range(bits, signed=False))
    lines = [line.strip() for line in drawing.text.splitlines()[2:6]]  # the digit's four facts come first
    assert lines[0] == f"different reals x: {len(set(image.ravel().tolist()))}"
    assert lines[1] == f"codes used: {len(np.unique(qt.quantize(image, qparams)))} of {2**bits}"
    assert lines[2] == f"SQNR: {qt.sqnr_db(image, qt.fake_quantize(image, qparams)):.1f} dB"
    assert lines[3] == f"bound, scale/2: {16 / (2**bits - 1) / 2:.3g}"


def test_digit_explorer_opens_where_an_error_can_be_seen() -> None:
    inks = re.findall(rf'fill="{plots.ERROR}" opacity="([0-9.]+)"', explorers.digit_explorer().drawing().svg)
    assert max(map(float, inks)) > 0.1


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("scale", [0.0625, 0.5, 2.0])
@pytest.mark.parametrize("rule", chapter01.TIE_RULES)
def test_number_line_shows_bound_sqnr_and_clipped(bits, scale, rule) -> None:
    settings = defaults("number_line", scale=scale, bits=bits, tie_rule=rule)
    shown = facts(chapter01.draw_number_line(**settings))
    x = np.array([-5, -2.25, -1.3, -0.25, 0.6, 1.25, 2.9, 4.4])
    qparams = qt.QParams(scale, 0, qt.int_range(bits))
    x_hat = qt.fake_quantize(x, qparams, rounding=chapter01.TIE_RULES[rule])
    assert shown["SQNR"] == f"{qt.sqnr_db(x, x_hat) + 0.0:.1f} dB"
    assert shown["error bound, scale/2"] == f"{scale / 2:.3g}"
    assert shown["beyond the codes"] == f"{8 * qt.clipped_fraction(x, qparams):.0f} of 8, clipped"
    assert shown["codes used"] == f"{len(np.unique(x_hat))} of {2**bits}"


def test_number_line_wraps_as_a_cast_from_int32_to_int8_does() -> None:
    x = np.array([-1000.0, -130, -129, -128, -0.4, 127, 128, 200, 1000])
    q = chapter01.wrapped(x, qt.QParams(1.0, 0), "half to even")
    assert q.tolist() == np.rint(x).astype(np.int32).astype(np.int8).tolist()


def test_number_line_counts_the_inputs_that_the_tie_rule_moves() -> None:
    settings = defaults("number_line", numbers="0.25 0.75 1.25 0.3 9", scale=0.5)
    shown = facts(chapter01.draw_number_line(**settings))
    assert shown["on a tie"] == "2 of 5"  # 0.5 and 2.5 steps; 1.5 steps goes to 2 by both rules


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ("1, two", "two"),
        ("", "got 0"),
        (" ".join("1" * 13), "got 13"),
        ("1 nan", "finite"),
        ("2e6", "million"),
    ],
)
def test_number_line_refuses_numbers_that_it_cannot_draw(numbers, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        chapter01.parsed(numbers)


@pytest.mark.parametrize("codes", ["int8", "uint8"])
@pytest.mark.parametrize(
    "limits", [*chapter02.PRESETS.values(), (-8.0, 8.0), (0.0, 0.0), (-8.0, -8.0), (7.9, 8.0)]
)
def test_zero_point_explorer_shows_the_map_that_choose_qparams_chooses(codes, limits) -> None:
    shown = facts(chapter02.draw_zero_point(limits, codes, "affine", True))
    to = {"int8": qt.INT8, "uint8": qt.UINT8}[codes]
    qparams = qt.choose_qparams(*limits, to)
    first, last = qt.quantize(np.array(limits), qparams).tolist()
    assert shown["scale"] == f"{float(qparams.scale):.4g}"
    assert shown["zero-point Z"] == str(qparams.zero_point)
    assert shown["real 0 comes back as"] == "0, exactly"
    assert shown["codes used"] == f"{last - first + 1} of 256"
    assert shown["error bound, scale/2"] == f"{float(qparams.scale) / 2:.3g}"
    x = np.linspace(*limits, 4001)
    assert shown["SQNR, uniform x"] == svg.decibels(qt.sqnr_db(x, qt.fake_quantize(x, qparams)))


def test_zero_point_explorer_breaks_real_zero_when_told_to() -> None:
    shown = facts(chapter02.draw_zero_point((1.0, 6.0), "uint8", "affine", False))
    assert shown["zero-point Z"] == "-51" and shown["real 0 comes back as"] == "1"
    shown = facts(chapter02.draw_zero_point((-0.4, 5.0), "int8", "affine", False))
    scale = 5.4 / 255  # by hand: -128 + 0.4 / scale = -109.111, and its nearest code is 0.111 steps off
    assert shown["zero-point Z"] == "-109.111" and shown["real 0 comes back as"] == f"{scale / 9:.3g}"


def test_zero_point_explorer_symmetric_map_leaves_the_negative_codes_unused() -> None:
    shown = facts(chapter02.draw_zero_point((0.0, 6.0), "int8", "symmetric", True))
    assert shown["codes used"] == "128 of 256" and shown["zero-point Z"] == "0"


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("fraction", [0.02, 0.5, 1.0])
def test_clip_explorer_shows_the_noise_of_the_clip(bits, fraction) -> None:
    shown = facts(chapter03.draw_clip("stem", bits, fraction))
    x = activations()["stem"]
    clip = fraction * np.ceil(np.abs(x).max() * 100) / 100
    qparams = qt.choose_qparams(max(x.min(), -clip), min(x.max(), clip), qt.int_range(bits))
    assert shown["clip"] == f"{clip:.3g}"
    assert shown["SQNR"] == f"{qt.sqnr_db(x, qt.fake_quantize(x, qparams)):.1f} dB"
    assert shown["elements clipped"] == f"{100 * qt.clipped_fraction(x, qparams):.2f} %"
    assert shown["error bound, scale/2"] == f"{float(qparams.scale) / 2:.3g}"
    entropy = qt.EntropyObserver().observe(x).qparams(qt.int_range(bits))
    low, high = entropy.limits
    sqnr = qt.sqnr_db(x, qt.fake_quantize(x, entropy))
    assert shown[f"entropy, {sqnr:.1f} dB"] == f"{low:.2f} to {high:.2f}"


def test_clip_explorer_tells_the_best_clip_only_to_who_has_found_it() -> None:
    known = chapter03.curves("block2.add", 4)
    best = int(np.argmin(known.total))
    for position in range(50):
        text = chapter03.draw_clip("block2.add", 4, (position + 1) / 50).text
        headline = text.partition("\n")[0]
        assert ("the sum of both noises is least" in headline) == (position == best)
        assert (svg.number(known.clips[best]) in text) == (position == best)


def test_clip_explorer_curves_are_the_error_budget_at_each_position_of_the_slider() -> None:
    x, known = activations()["stem"], chapter03.curves("stem", 4)
    assert len(known.clips) == 50 and known.clips[-1] >= np.abs(x).max()
    for position in (0, 24, 49):
        clip = known.clips[position]
        budget = qt.error_budget(x, qt.choose_qparams(max(x.min(), -clip), min(x.max(), clip), qt.INT4))
        assert (known.rounding[position], known.clipping[position], known.total[position]) == budget


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("layer", LAYERS)
def test_error_explorer_shows_predicted_and_measured(layer, bits) -> None:
    shown = facts(explorers.error_explorer().draw(layer=layer, bits=bits, observer="min-max"))
    x = activations()[layer]
    qparams = qt.MinMaxObserver().observe(x).qparams(qt.int_range(bits))
    noise = float(qparams.scale) ** 2 / 12
    assert shown["predicted, scale²/12"] == f"{noise:#.3g}"
    assert shown["measured noise"] == f"{qt.error_budget(x, qparams).total:#.3g}"
    assert shown["predicted SQNR"] == f"{10 * np.log10(np.mean(x**2) / noise) + 0.0:.1f} dB"
    assert shown["measured SQNR"] == f"{qt.sqnr_db(x, qt.fake_quantize(x, qparams)) + 0.0:.1f} dB"


@pytest.mark.parametrize("Z1", [0, 3, 15])
@pytest.mark.parametrize("Z2", [-8, 0, 8])
def test_matmul_explorer_terms_add_up_to_the_exact_product(Z1, Z2) -> None:
    q1, q2 = [[4, 7, 3], [9, 2, 6], [5, 8, 1]], [[2, -1, 3], [-4, 5, 1], [6, -2, -3]]
    for i, j in itertools.product(range(3), repeat=2):
        exact = sum((q1[i][k] - Z1) * (q2[k][j] - Z2) for k in range(3))  # Python's integers
        settings = defaults("matmul_explorer", zero_point1=Z1, zero_point2=Z2, i=i, j=j)
        shown = facts(chapter05.draw_matmul(**settings))
        assert shown["sum of the four terms"] == shown["integer_matmul"] == str(exact)
        without = facts(chapter05.draw_matmul(**settings | {"dropped": "row"}))
        assert without["sum of the three terms"] == str(exact + Z2 * sum(q1[i]))
        assert without["integer_matmul"] == str(exact)
        assert without["elements that differ"] == ("0 of 9" if Z2 == 0 else "9 of 9")


@pytest.mark.parametrize("Z1", [0, 3, 15])
@pytest.mark.parametrize("Z2", [-8, -1, 0, 8])
def test_matmul_explorer_writes_equations_that_are_true(Z1, Z2) -> None:
    settings = defaults("matmul_explorer", zero_point1=Z1, zero_point2=Z2, j=2)
    words = re.findall(">([^<>]+)</text>", chapter05.draw_matmul(**settings).svg)
    terms = [i for i, word in enumerate(words) if word.startswith("= ") and "·" in word]
    assert len(terms) == 4
    for i in terms:  # the formula stands before the arithmetic, the value after a note
        assert eval(words[i][2:].replace("·", "*")) == int(words[i + 2])  # digits of our own


@pytest.mark.parametrize("words", ["1 2 3", "1 2 3 4 5 6 7 8 100", "1 2 3 4 5 6 7 8 -1", "1 2 3 4 5 6 7 8 x"])
def test_matmul_explorer_refuses_what_is_no_matrix_of_small_codes(words) -> None:
    with pytest.raises(ValueError, match="q1"):
        chapter05.draw_matmul(**defaults("matmul_explorer", activations=words))


@pytest.mark.parametrize("bits", [2, 8, 31])
@pytest.mark.parametrize("acc", [-1000, -1, 0, 1, 890])
@pytest.mark.parametrize("M", ["1/4", "3/8", "0.00393159", "3.7", "0"])
def test_requantize_explorer_shows_mantissa_shift_and_the_error_of_the_product(M, acc, bits) -> None:
    shown = facts(chapter06.draw_requantize(M, acc, bits))
    mantissa, shift, exact = int(shown["mantissa m"]), int(shown["shift s"]), Fraction(float(Fraction(M)))
    real = Fraction(mantissa, 2 ** (31 + shift))
    assert mantissa == 0 or 2**30 <= mantissa < 2**31
    assert mantissa % 2 ** (31 - bits) == 0 and abs(real - exact) <= exact / 2**bits
    assert shown["and M · acc by"] == f"{svg.number(float(abs(real - exact) * abs(acc)), 2)} codes"
    assert shown["rounding twice changes"] == (f"{50 / 2**shift:.2g} %" if shift > 0 else "nothing")
    answers = {int(answer) for answer in shown["answers"].split(" or ")}
    nearest = {int(np.floor(exact * acc)), int(np.ceil(exact * acc))}
    assert answers <= nearest or bits < 31


@pytest.mark.parametrize(
    ("M", "acc", "answers"),
    [("1/4", 1, "0 or 1"), ("1/2", -1, "-1 or 0"), ("3/8", -1, "-1 or 0"), ("3/4", 4, "3")],
)
def test_requantize_explorer_shows_the_witnesses_of_chapter_06(M, acc, answers) -> None:
    assert facts(chapter06.draw_requantize(M, acc, 31))["answers"] == answers


@pytest.mark.parametrize("M", ["a quarter", "", "1/0", "-0.1", "101", "nan", "inf"])
def test_requantize_explorer_refuses_what_is_no_multiplier(M) -> None:
    with pytest.raises(ValueError, match="M"):
        chapter06.draw_requantize(M, 1, 31)


def test_requantize_explorer_presets_set_both_controls_and_notice_your_own() -> None:
    explorer = explorers.requantize_explorer()
    preset = explorer.children[0].children[0]
    for pair in chapter06.PRESETS.values():
        preset.value = pair
        assert (explorer.controls["multiplier"].value, explorer.controls["acc"].value) == pair
        assert preset.value == pair
    explorer.controls["multiplier"].value = "0.3"
    assert preset.value == ()


@pytest.mark.parametrize(
    ("M", "acc", "bits"), [*itertools.product(TEXTS["multiplier"], (-1000, 1, 1000), (2, 31))]
)
def test_requantize_explorer_keeps_dots_and_words_off_the_answers(M, acc, bits) -> None:
    root = ElementTree.fromstring(chapter06.draw_requantize(M, acc, bits).svg)
    texts = [element for element in root.iter(f"{SVG}text") if element.get("y")]
    answers = min(box(t)[0] for t in texts if t.get("text-anchor") == "end" and t.get("font-size") == "17")
    assert max(float(c.get("cx")) + float(c.get("r")) for c in root.iter(f"{SVG}circle")) < answers


def test_requantize_explorer_says_how_long_a_step_is_that_no_one_sees() -> None:
    said = chapter06.draw_requantize(*chapter06.PRESETS["a real layer"], 31).svg
    assert said.count(f">by {3.5 - 0.00393159 * 890:.2g}<") == 2  # both rules that round twice
    assert ">by " not in chapter06.draw_requantize(*chapter06.PRESETS["1 × 1/4"], 31).svg


# --- the machinery


def test_no_large_number_is_said_as_a_power_of_ten() -> None:
    assert [svg.number(value, 2) for value in (300, -99.6, 48, 0.000123)] == ["300", "-100", "48", "0.00012"]


def test_labels_are_spread_without_overlap_inside_the_frame() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        widths = rng.uniform(5, 40, 12)
        places = svg.spread(rng.uniform(0, 700, 12), widths, 0, 700)
        order = np.argsort(places)
        left, right = (places - widths / 2)[order], (places + widths / 2)[order]
        assert left[0] >= -1e-9 and right[-1] <= 700 + 1e-9 and (left[1:] >= right[:-1] - 1e-9).all()


def test_an_explorer_redraws_when_and_only_when_a_value_changes() -> None:
    calls = []

    def draw(a: int) -> svg.Drawing:
        calls.append(a)
        return svg.problem(str(a))

    explorer = Explorer(draw, a=ipywidgets.IntSlider(1, min=0, max=3, description="number a"))
    explorer.controls["a"].value = 1
    explorer.controls["a"].max = 5
    assert calls == [1]
    explorer.controls["a"].value = 2
    assert calls == [1, 2]

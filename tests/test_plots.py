"""qtutor/tutorial/plots.py: a figure says in words what it shows, and its text changes when it does."""

import re
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from matplotlib.text import Text

from qtutor.affine import QParams, choose_qparams, quantize
from qtutor.rounding import INT4
from qtutor.tutorial.plots import (
    ERROR,
    METHODS,
    NEUTRAL,
    POINTS,
    QUANTIZED,
    REAL,
    describe,
    figure,
    histogram,
    show,
    staircase,
)

ALT = "Three points on a rising line, and one bar."
X = np.array([0.0, 0.5, 1.0])


def drawing(title="A claim", xlabel="real x", x=X, y=X, color=REAL, label="x", **other):
    """Text of a figure with one of each thing, each of which a test can change."""
    text, bar, dot, area, pixel = (
        {"text": "here", "bar": 0.25, "dot": 0.5, "area": 1, "pixel": 0.5} | other
    ).values()
    fig, (left, right) = figure(title, xlabel=xlabel, ncols=2)
    left.plot(x, y, color=color, label=label)
    left.bar([0.5], [bar], color=QUANTIZED)
    left.scatter([0.0, 0.5, 1.0], [0.0, dot, 1.0])
    left.text(0.5, 0.5, text)
    left.fill_between([0.0, 1.0], [0.5, area])
    right.imshow([[0.0, 1.0], [pixel, 0.25]])
    return describe(fig)


CHANGES = {
    "a point": {"y": [0.0, 0.52, 1.0]},
    "all points but one by a code of 255": {"y": [0.0, 0.5 + 1 / 255, 1.0 + 1 / 255]},
    "the order of points": {"x": X[::-1], "y": X[::-1]},
    "a gap": {"y": [0.0, np.nan, 1.0]},
    "the number of points": {"x": [0.0, 0.5, 0.5, 1.0], "y": [0.0, 0.5, 0.5, 1.0]},
    "the range": {"x": X * 2},
    "a colour": {"color": QUANTIZED},
    "a label": {"label": "x_hat"},
    "the title": {"title": "Another claim"},
    "an axis": {"xlabel": "integer q"},
    "a text": {"text": "there"},
    "a bar": {"bar": 0.26},
    "a dot": {"dot": 0.51},
    "an area": {"area": 0.99},
    "a pixel": {"pixel": 0.51},
}


@cache
def unchanged():
    return drawing()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_text_changes_with(change):
    assert drawing(**change) != unchanged()


@pytest.mark.parametrize("seed", range(20))
def test_the_text_does_not_depend_on_last_bits(seed):
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=200), 2)  # plain values are those that a last bit can turn

    def text(x):
        fig, axes = figure("Elements", ncols=3)
        axes[0].plot(x, x**2)
        histogram(axes[1], np.abs(x), bins=7)
        axes[2].imshow(x.reshape(10, 20))
        return describe(fig)

    edges = np.abs(x) == np.abs(x).max()  # the histogram is over the range, whose ends must stay ends
    noisy = np.where(edges, x, np.nextafter(x, rng.choice([-np.inf, np.inf], x.size)))
    assert text(noisy) == text(x)


def test_limits_between_two_decimals_do_not_depend_on_last_bits():
    def text(left, right):
        fig, ax = figure("Limits")
        ax.set_xlim(left, right)
        return describe(fig)

    assert "1 to 1001" in text(0.5, 1000.5)  # a span of 1000 is told in ones, and 0.5 lies between two
    assert text(0.5, 1000.5) == text(np.nextafter(0.5, 0), 1000.5)
    assert text(0, 10) == text(0, np.nextafter(10, 0))  # the span decides how many decimals are told


def test_the_text_does_not_depend_on_the_size_of_the_figure():
    texts = set()
    for height in (2.0, 3.6, 6.0):
        fig, ax = figure("One line", height=height)
        ax.plot(X, X)
        texts.add(describe(fig))
    assert len(texts) == 1


def test_words_at_the_ticks_are_told_and_numbers_are_not():
    fig, axes = figure("Layers", ncols=2)
    axes[0].bar(["stem", "head"], [1, 2])
    axes[1].plot([0.001, 10], [1, 1000])
    axes[1].set(xscale="log", yscale="log", xlim=(0.001, 10))
    text = show(fig, ALT).text
    assert "at ['stem', 'head']" in text
    assert text.count(" at [") == 1
    assert "0.001000 to 10.00 (log)" in text


def test_a_figure_is_a_png_and_its_words_and_the_same_each_time():
    def picture():
        fig, ax = figure("One line")
        ax.plot(X, X)
        return show(fig, ALT)

    bundle = picture()._repr_mimebundle_()
    assert bundle == picture()._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"}
    assert bundle["text/plain"].startswith(f"Figure: {ALT}\naxes 'One line'")
    assert picture().png.startswith(b"\x89PNG")
    assert b"matplotlib" not in picture().png.lower()  # its version would change the bytes
    assert repr(picture()) == picture().text


@pytest.mark.parametrize("alt", ["", "A plot.", "    \n        A plot.      \n"])
def test_a_figure_without_words_is_refused(alt):
    with pytest.raises(ValueError, match="20 characters"):
        show(figure("One line")[0], alt)


def test_no_letter_is_too_small_to_read():
    fig, ax = figure("One line")
    ax.plot(X, X, label="x")
    ax.text(0, 0, "small", fontsize=4)
    ax.legend(fontsize=5)
    show(fig, ALT)
    assert min(text.get_fontsize() for text in fig.findobj(Text)) >= POINTS


def test_axes_come_alone_or_as_an_array():
    assert figure("One")[1].get_title(loc="left") == "One"
    assert figure("Three", ncols=3)[1].shape == (3,)
    assert figure("Two", nrows=2)[1].shape == (2,)
    fig, axes = figure("Six", nrows=2, ncols=3)
    assert axes.shape == (2, 3)
    assert fig.get_suptitle() == "Six"
    assert {(ax.get_xlabel(), ax.get_ylabel()) for ax in axes.flat} == {("real x", "integer q")}


def test_a_staircase_is_what_quantize_computes_and_shows_where_it_saturates():
    qparams = choose_qparams(-1.0, 6.0, INT4)
    _, ax = figure("A staircase")
    staircase(ax, qparams)
    x, q = ax.lines[0].get_data()
    np.testing.assert_array_equal(q, quantize(x, qparams))
    assert set(q) == set(range(-8, 8))
    rmin, rmax = qparams.limits
    assert x[0] < rmin and rmax < x[-1]
    below, above = (patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches)
    np.testing.assert_allclose([below.x0, below.x1, above.x0, above.x1], [x[0], rmin, rmax, x[-1]])


def test_a_staircase_of_several_channels_is_refused():
    with pytest.raises(ValueError, match="per-channel"):
        staircase(figure("None")[1], QParams(np.array([1.0, 2.0]), np.array([0, 0]), axis=0))


def test_a_histogram_counts_every_element_once():
    _, ax = figure("Elements", ylabel="elements")
    histogram(ax, np.array([[0.0, 0.0, 1.0], [2.0, 4.0, 4.0]]), bins=4)
    np.testing.assert_array_equal(ax.patches[0].get_data().values, [2, 1, 1, 2])


def luminance(color):
    """Relative luminance of "#rrggbb", as WCAG 2.2 defines it."""
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_the_fixed_colours_are_distinct_and_stand_out_from_white():
    assert len({REAL, QUANTIZED, ERROR, NEUTRAL}) == 4
    assert len(set(METHODS)) == len(METHODS)
    for color in (REAL, QUANTIZED, ERROR, NEUTRAL):
        assert 1.05 / (luminance(color) + 0.05) >= 2.9  # WCAG 1.4.11 asks 3; the palette's purple has 2.97


def test_plots_need_no_display_and_no_pyplot():
    code = "import sys, qtutor.tutorial.plots; print('matplotlib.pyplot' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_without_matplotlib_plots_say_which_extra_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import qtutor.tutorial.plots"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search(r"figures need matplotlib: .* extra, .*\[notebooks\]", answer.stderr.splitlines()[-1])


def test_describe_is_the_second_half_of_the_text():
    fig, ax = figure("One line")
    ax.plot(X, X)
    assert show(fig, ALT).text == f"Figure: {ALT}\n{describe(fig)}"

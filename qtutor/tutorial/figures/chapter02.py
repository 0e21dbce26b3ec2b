"""The drawings of notebook 02: where real 0 lands, and what a zero-point buys."""

from collections.abc import Mapping

import numpy as np

from qtutor.affine import QParams, quantize
from qtutor.tutorial import plots


def lopsided(x: np.ndarray) -> plots.Picture:
    """The histogram of activations, with real 0 marked."""
    fig, ax = plots.figure(
        "Half of the values are negative, yet they need little of the range", ylabel="values"
    )
    plots.histogram(ax, x, label="x, output of the first layer")
    ax.axvline(0, color=plots.NEUTRAL, linestyle="--", label="real 0")
    ax.set_yscale("log")
    ax.legend()
    return plots.show(
        fig,
        "Histogram of the first layer's output, counts on a log scale: a tall peak just below 0, nothing "
        f"below {x.min():.1f}, and a long slope down to {x.max():.1f} on the right.",
    )


def ways_to_zero(ranges: Mapping[tuple[float, float], str]) -> plots.Picture:
    """For each real range the lines to the codes 0..15, with that of real 0 in black: {range: verdict}."""
    codes = np.arange(16)
    place = 0.43 * codes - 0.7  # of the codes, along the real axis
    title = "The ends of the range decide whether real 0 meets a code"
    fig, axes = plots.figure(title, xlabel="", ylabel="", nrows=2, ncols=2, height=4.8)
    for ax, ((low, high), verdict) in zip(axes.flat, ranges.items(), strict=True):
        S = (high - low) / 15
        Z = 0 - low / S
        ax.plot([place, S * (codes - Z)], [0, 1], color=plots.QUANTIZED, linewidth=1, alpha=0.6)
        ax.plot(place, 0 * place, "o", color=plots.QUANTIZED)
        ax.plot([low, high], [1, 1], color=plots.REAL, linewidth=6, solid_capstyle="butt")
        ax.plot([0, 0.43 * Z - 0.7], [1, 0], color="black", linewidth=2.5)
        met = np.isclose(codes, Z).any()
        ax.plot(0.43 * Z - 0.7, 0, "o" if met else "X", color="black", markersize=9)
        for real in range(-1, 7):
            ax.text(real, 1.14, real, ha="center", color=plots.REAL)
        for q in (0, 5, 10, 15):
            ax.text(place[q], -0.14, q, ha="center", va="top", color=plots.QUANTIZED)
        ax.text(-4.3, 1, "real x", va="center", color=plots.REAL)
        ax.text(-4.3, 0, "code q", va="center", color=plots.QUANTIZED)
        ax.set(xlim=(-4.3, 6.4), ylim=(-0.5, 1.35))
        ax.set_title(f"{low:g} to {high:g}: {verdict}", loc="left")
        ax.set_axis_off()
    return plots.show(
        fig,
        "Four ranges of reals, each with lines down to the codes 0 to 15. For -0.9 to 4.1 the line from "
        "real 0 ends at 2.7, between two codes; for 1 to 6 at -3, left of them all. For -1 to 4 it ends on"
        " the code 3, for 0 to 6 on the code 0.",
    )


def channel_shifts(shifts: Mapping[str, Mapping[str, np.ndarray]]) -> plots.Picture:
    """The mean shift of each channel in output steps: {"rounding" or "Z left real": {layer: shifts}}."""
    title = "Rounding cancels; a zero without a code shifts whole channels"
    fig, ax = plots.figure(title, xlabel="layer; a mark is a channel", ylabel="mean shift, output steps")
    looks = {"rounding": (plots.QUANTIZED, "o", -0.2), "Z left real": (plots.ERROR, "x", 0.2)}
    for name, (color, marker, side) in looks.items():
        layers = shifts[name]
        place = [i + side + np.linspace(-0.15, 0.15, shift.size) for i, shift in enumerate(layers.values())]
        x_mark, y_mark = np.concatenate(place), np.concatenate(list(layers.values()))
        ax.plot(x_mark, y_mark, marker, color=color, markersize=6, markeredgewidth=1.5, label=name)
    ax.set_xticks(range(len(layers)), list(layers))
    ax.set(ylim=(-0.9, 0.9))
    ax.legend(loc="upper left")
    return plots.show(
        fig,
        "The mean shift of every channel at the border, for four layers. By rounding: all within a tenth "
        "of a step of 0. With a real-valued Z: none in the first layer, up to two thirds of a step in the "
        "others.",
    )


def codes_in_use(x: np.ndarray, maps: Mapping[str, QParams]) -> plots.Picture:
    """Histograms of the codes of x, one above the other: {name: map}."""
    title = "Without a zero-point, codes stay ready for numbers that never come"
    fig, axes = plots.figure(title, xlabel="integer q", ylabel="values", nrows=len(maps), height=5.0)
    for ax, (name, qparams) in zip(axes, maps.items(), strict=True):
        codes, counts = np.unique(quantize(x, qparams), return_counts=True)
        ax.bar(codes, counts, 1.0, color=plots.QUANTIZED, label=f"{name}: {codes.size} codes used")
        zero = int(qparams.zero_point)
        ax.axvline(zero, color=plots.REAL, linestyle="--", label=f"the code of real 0: {zero}")
        ax.set(xlim=(-130, 130), yscale="log")
        ax.legend(loc="upper left" if zero == 0 else "upper right")
    return plots.show(
        fig,
        "Two histograms of int8 codes of the first layer's output. Symmetric: the codes below about -16 "
        "are empty. With a zero-point: nearly all codes are in use, and real 0 sits near the left end.",
    )


def gains(of_activations: Mapping[str, tuple], of_weights: Mapping[str, tuple]) -> plots.Picture:
    """What a zero-point gains in decibels: {tensor: (predicted, measured)}, activations above weights."""
    title = "A zero-point pays where one side is small"
    fig, ax = plots.figure(title, xlabel="gain, dB", ylabel="", height=6.0)
    n, names = len(of_activations), [*of_activations, *of_weights]
    place = np.arange(len(names))
    predicted, measured = np.transpose([*of_activations.values(), *of_weights.values()])
    ax.barh(place[:n], measured[:n], color=plots.REAL, label="activations, measured")
    ax.barh(place[n:], measured[n:], color=plots.NEUTRAL, label="weights, measured")
    ax.plot(predicted, place, "d", color=plots.QUANTIZED, markersize=8, label="predicted by (2.7)")
    ax.axvline(20 * np.log10(2), color=plots.NEUTRAL, linestyle="--", label="one bit")
    ax.set_yticks(place, names)
    ax.invert_yaxis()
    ax.legend(loc="lower right", bbox_to_anchor=(0.93, 0.05))
    return plots.show(
        fig,
        "Horizontal bars: what a zero-point gains in decibels for each activation and each weight tensor, "
        "with the predictions on them. About 6 for the input, 5 after each leaky ReLU, little elsewhere.",
    )

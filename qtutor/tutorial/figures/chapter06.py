"""The drawings of notebook 06: from int32 accumulators to codes."""

from collections.abc import Mapping

import numpy as np

from qtutor.tutorial import plots

Array = np.ndarray


def rounding_errors(acc: Array, twice: Array, once: Array) -> plots.Picture:
    """How far both ways of rounding are from acc / 8, for each acc."""
    fig, ax = plots.figure(
        "Rounded twice, an error may pass half a step", xlabel="acc, with M = 1/8", ylabel="result - M * acc"
    )
    ax.plot(acc, twice - acc / 8, "X", color=plots.ERROR, markersize=9, label="rounded twice")
    ax.plot(
        acc, once - acc / 8, "o", color=plots.QUANTIZED, markersize=10, fillstyle="none", label="rounded once"
    )
    for bound in (-0.5, 0.5):
        ax.axhline(bound, color=plots.NEUTRAL, linestyle="--", label="half a step" if bound > 0 else None)
    ax.set_ylim(-0.8, 0.8)
    ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return plots.show(
        fig,
        "Errors over acc from -16 to 16. Rounded once, all lie within half a step. Rounded twice, every "
        "eighth positive acc, just below a tie, is off by 0.625; and at negative ties the result goes the "
        "other way.",
    )


def changed_by_shift(shares: Mapping[str, Array], ours: tuple[int, float]) -> plots.Picture:
    """Shares of changed codes for the shifts 0, 1, 2 ..., a row each; `ours`: our shift and share."""
    fig, ax = plots.figure(
        "Random M shows double rounding, powers of two a tie rule",
        xlabel="shift s",
        ylabel="% of codes changed",
        height=4,
    )
    shifts = np.arange(1, len(next(iter(shares.values()))))
    ax.plot(shifts, 100 * 2.0 ** -(shifts + 1), "--", color=plots.NEUTRAL, label="equation (6.6)")
    for (name, row), mark, colour in zip(shares.items(), "os", plots.METHODS, strict=False):
        seen = np.flatnonzero(row)
        ax.plot(seen, 100 * row[seen], mark, color=colour, markersize=8, label=name)
    ax.plot(ours[0], 100 * ours[1], "*", color=plots.QUANTIZED, markersize=16, label="twice, up; our layer")
    ax.set_yscale("log")
    ax.legend(loc="upper right")
    return plots.show(
        fig,
        "Share of changed codes over the shift, logarithmic. The points of double rounding, for random "
        "multipliers and for our layer, lie on the dashed line of the equation, which halves with each shift "
        "from 25 percent on. The tie rule's points, for powers of two, run parallel, a factor of two below.",
    )


def changed_by_bits(random: Array, ours: Array, predicted: Array) -> plots.Picture:
    """Shares of changed codes for a mantissa of 1, 2, 3 ... bits: many multipliers, our layer, (6.7)."""
    fig, ax = plots.figure(
        "On average, each bit of the mantissa halves the changed codes",
        xlabel="bits of the mantissa",
        ylabel="% of codes changed",
    )
    for row, mark, colour, name in (
        (random, "o", plots.METHODS[0], "10,000 random multipliers"),
        (ours, "s", plots.QUANTIZED, "our layer"),
    ):
        seen = np.flatnonzero(row)
        ax.plot(seen + 1, 100 * row[seen], mark, color=colour, label=name)
    line = np.maximum(100 * predicted, 1e-9)
    ax.plot(np.arange(len(line)) + 1, line, "--", color=plots.NEUTRAL, label="our layer, equation (6.7)")
    ax.set_yscale("log")
    ax.set(ylim=(1e-6, 300), xlim=(0, 32))
    ax.legend(loc="lower left")
    return plots.show(
        fig,
        "Share of changed codes over the bits of the mantissa, logarithmic. Random multipliers fall by half "
        "with each bit, down to one or two codes from 19 bits on, and none is left beyond 23. Our layer goes "
        "down in steps, along the dashed prediction, which at 31 bits is far below the picture.",
    )

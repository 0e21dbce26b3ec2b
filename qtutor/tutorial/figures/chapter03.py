"""The drawings of notebook 03: calibration."""

from collections.abc import Mapping, Sequence

import numpy as np

from qtutor.tutorial import plots
from qtutor.tutorial.plots import Picture


def codes_in_the_tails(x: np.ndarray, codes: np.ndarray) -> Picture:
    """The histogram of x, and under it what each code stands for."""
    title = "Half of the min-max codes stand in the tails"
    fig, ax = plots.figure(title, ylabel="values (log scale)", height=3.0)
    plots.histogram(ax, x, label="x, block1.pointwise")
    look = {"color": plots.QUANTIZED, "markersize": 16, "markeredgewidth": 2}
    ax.plot(codes, np.full(codes.size, 3.0), "|", label=f"the {codes.size} codes", **look)
    ax.set_yscale("log")
    ax.legend()
    return plots.show(
        fig,
        f"""A histogram of block1.pointwise with a logarithmic count axis: a peak near 0 and two tails. The
        {codes.size} codes of the min-max map stand at equal distances from {codes[0]:.1f} to {codes[-1]:.1f};
        the outer half of them stand in the tails, where there is next to no data.""",
    )


def two_noises(
    clips: np.ndarray, rounding: Mapping[int, np.ndarray], clipping: np.ndarray, best: Mapping[int, int]
) -> Picture:
    """Both noises and their sum over the clip; `rounding` for each number of bits, `best` as an index."""
    title = "Fewer bits, a tighter clip"
    fig, ax = plots.figure(title, xlabel="clip c", ylabel="mean squared error", height=4.4)
    ax.plot(clips, clipping, "-.", color=plots.METHODS[1], linewidth=2, label="clipping (3.2)")
    for bits, i in best.items():
        total = rounding[bits] + clipping
        ax.plot(clips, rounding[bits], "--", color=plots.METHODS[0], label="rounding (3.1)")
        ax.plot(clips, total, color=plots.ERROR, linewidth=3, zorder=1.9, label="their sum")
        ax.plot(clips[i], total[i], "o", color=plots.NEUTRAL, markersize=9, label="smallest sum")
        ax.text(1.02 * clips[-1], total[-1], f"{bits} bits", va="center")
    ax.set(yscale="log", ylim=(3e-6, 8), xlim=(0, 1.12 * clips[-1]))
    ax.legend(handles=ax.lines[:4], loc="upper center", ncols=4)
    return plots.show(
        fig,
        f"""Curves over the clip, with logarithmic error. One clipping curve falls steeply. Four rounding
        curves rise, for 8, 6, 4 and 3 bits, each far above the one before. Each sum has one smallest point:
        at a clip of {clips[best[8]]:.1f} for 8 bits, {clips[best[4]]:.1f} for 4, and here always right of the
        crossing.""",
    )


def spread_of_methods(ratio: Mapping[tuple[int, str, str], float]) -> Picture:
    """For each number of bits and each method: its noise over the least, typical and worst of all tensors.

    ratio  (bits, tensor, method) -> noise / least noise
    """
    widths, methods = (list(dict.fromkeys(key[i] for key in ratio)) for i in (0, 2))
    title = "Which method is good depends on the bits, except for MSE and (3.4)"
    fig, axes = plots.figure(title, xlabel="noise / least noise", ylabel="", ncols=len(widths), height=3.8)
    said = []
    for ax, bits in zip(axes, widths, strict=True):
        for row, method in enumerate(methods):
            values = [r for (b, _, m), r in ratio.items() if (b, m) == (bits, method)]
            typical, worst = float(np.exp(np.mean(np.log(values)))), max(values)
            ax.plot([min(values), worst], [row, row], color=plots.NEUTRAL, linewidth=3)
            ax.plot(typical, row, "o", color=plots.ERROR, markersize=9)
            ax.annotate(f"{typical:.2f}", (worst, row), (9, 0), textcoords="offset points", va="center")
            said.append(f"{bits} bits, {method}: {typical:.2f}, at worst {worst:.2f}")
        ax.set(title=f"{bits} bits", xscale="log", xlim=(0.9, 22), ylim=(len(methods) - 0.5, -0.5))
        ax.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        ax.set_yticks(range(len(methods)), methods if ax is axes[0] else [""] * len(methods))
        ax.grid(axis="y", visible=False)
        ax.minorticks_off()
    return plots.show(
        fig,
        f"""Three panels, a row for each method: a bar from its best to its worst of the eleven tensors, and
        a dot at the typical one, which the number beside the bar says. {"; ".join(said)}.""",
    )


def scale_over_digits(sizes: Sequence[int], scales: Mapping[str, Sequence[float]]) -> Picture:
    """The scale that each method would choose after so many digits."""
    title = "Min-max climbs past 256 digits; percentile and MSE settle"
    fig, ax = plots.figure(title, xlabel="calibration digits", ylabel="scale, 4 bits")
    for (name, values), color, marker in zip(scales.items(), (0, 1, 3, 4), "s^vo", strict=True):
        ax.plot(sizes, values, color=plots.METHODS[color], marker=marker, label=name)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.set_ylim(0, 1.4)
    ax.legend(ncols=4, loc="lower center")
    return plots.show(
        fig,
        f"""Four curves of the scale over the number of calibration digits, 1 to 1018. Min-max climbs from
        {scales["min-max"][0]:.1f} to {scales["min-max"][-1]:.1f}. Percentile and MSE are level from about 32
        digits on; entropy wobbles.""",
    )

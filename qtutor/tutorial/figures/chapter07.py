"""The drawings of notebook 07: a network on integers."""

from collections.abc import Mapping, Sequence

import numpy as np

from qtutor.tutorial import plots

Array = np.ndarray


def grey_frame(right: Array, wrong: Array, off: Array) -> plots.Picture:
    """Two padded images of int8 codes (height, width), and the mean error of the next layer."""
    fig, axes = plots.figure("Raw 0 draws a grey frame around every digit", xlabel="", ylabel="", ncols=3)
    for ax, codes, title in zip(
        axes, (right, wrong), ("padded with the code of 0", "padded with the byte 0"), strict=False
    ):
        ax.imshow(codes, cmap="gray_r", vmin=-128, vmax=127)
        ax.set_title(title)
    axes[2].imshow(off, cmap="gray_r", vmin=0)
    axes[2].set(title="how far the stem is off", xlabel=f"black: {off.max():.1f} codes")
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return plots.show(
        fig,
        "Three small images. A digit on white paper; the same digit within a grey frame one pixel wide; and "
        "the stem's mean error for each pixel, which is dark along the border and white inside.",
    )


def decay(
    bits: Sequence[int],
    sqnr: Mapping[str, Array],
    accuracy: Mapping[str, Array],
    band: tuple[float, float],
) -> plots.Picture:
    """SQNR of the logits and accuracy over the bits of the weights; band: the float network's accuracy."""
    fig, axes = plots.figure(
        "The logits decay from the first bit on; accuracy looks away",
        xlabel="bits of the weights",
        ylabel="",
        ncols=2,
    )
    for ax, rows in zip(axes, (sqnr, accuracy), strict=True):
        for (kind, row), mark in zip(rows.items(), ("o-", "s--"), strict=True):
            ax.plot(bits, row, mark, label=kind, linewidth=2, markersize=8)
        ax.set_xticks(sorted(bits))
        ax.invert_xaxis()
    axes[0].set(title="SQNR of the logits in dB")
    axes[1].set(title="accuracy in %", ylim=(70, 101))
    axes[1].axhspan(*band, color=plots.REAL, alpha=0.25, label="float, ± 2 σ")
    axes[1].legend(loc="lower left")
    return plots.show(
        fig,
        "Two panels over 8, 6, 5 and 4 bits of the weights. The SQNR of the logits falls at each step, one "
        "scale per tensor far below one per channel. The accuracy stays within the float network's band down "
        "to 5 bits with scales per channel, and 6 bits with one; then it falls, per tensor steeply.",
    )


def worth_of_zero_points(
    with_zero_points: Mapping[str, Sequence[float]],
    symmetric: Mapping[str, Sequence[float]],
    bits: Sequence[int],
) -> plots.Picture:
    """SQNR of the logits for each way to choose ranges, a panel for each number of bits."""
    fig, axes = plots.figure(
        "Zero-points are worth about 3 dB, by min-max as by MSE",
        xlabel="SQNR of the logits in dB",
        ylabel="",
        ncols=len(bits),
        height=3.2,
    )
    names = list(with_zero_points)
    for i, (ax, count) in enumerate(zip(axes, bits, strict=True)):
        for name, row in symmetric.items():
            ends = row[i], with_zero_points[name][i]
            ax.plot(ends, [names.index(name)] * 2, color=plots.NEUTRAL, linewidth=2)
            ax.text(np.mean(ends), names.index(name) - 0.18, f"{ends[1] - ends[0]:+.1f}", ha="center")
        ax.plot(
            [row[i] for row in with_zero_points.values()],
            range(len(names)),
            "o",
            color=plots.QUANTIZED,
            markersize=9,
            label="with zero-points",
        )
        ax.plot(
            [row[i] for row in symmetric.values()],
            [names.index(name) for name in symmetric],
            "o",
            markerfacecolor="white",
            markeredgecolor=plots.NEUTRAL,
            color=plots.NEUTRAL,
            markersize=9,
            label="without",
        )
        ax.set(title=f"{count} bits", ylim=(len(names) - 0.5, -0.6))
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(labelleft=ax is axes[0])
        ax.margins(x=0.15)
    fig.legend(*axes[0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
    return plots.show(
        fig,
        "Three panels, for activations of 8, 6 and 4 bits. In each, a row for every way to choose ranges, "
        "with a dot at the SQNR of the logits. For min-max and MSE a hollow dot, without zero-points, stands "
        "2.6 to 3.8 decibels to the left. Percentile is last at 8 bits and near the best at 4; MSE is best "
        "in each.",
    )


def damage(of_mistakes: Mapping[str, tuple[float, int, float, float]], best: float) -> plots.Picture:
    """(accuracy, flips, SQNR, % changed) of each mistake as bars; best: the SQNR without one."""
    fig, axes = plots.figure(
        "What changes codes need not change answers", xlabel="", ylabel="", ncols=3, height=4.6
    )
    order = sorted(of_mistakes, key=lambda name: of_mistakes[name][2])
    for ax, title, column, digits in zip(
        axes, ("codes changed, %", "SQNR lost, dB", "flips"), (3, 2, 1), (2, 1, 0), strict=True
    ):
        values = np.array([of_mistakes[name][column] for name in order], np.float64)
        if column == 2:
            values = best - values
        bars = ax.barh(order, np.maximum(values, 0), color=plots.ERROR)  # -0.001 dB is no loss
        ax.bar_label(bars, fmt=f"%.{digits}f", padding=3)
        ax.set_xlim(0, 1.4 * values.max())
        ax.set_title(title)
        ax.invert_yaxis()
        ax.tick_params(labelleft=ax is axes[0])
    return plots.show(
        fig,
        "Three bar charts of the twelve mistakes, worst on top. The share of changed codes goes up and "
        "down with no order, truncation's bar among the long ones. The SQNR lost shrinks steadily. Flips: "
        "six long bars, one short one, and next to nothing for truncation, wrapping and those below.",
    )

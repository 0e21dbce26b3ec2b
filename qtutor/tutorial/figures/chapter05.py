"""The longer drawings of notebook 05: arrays in, a picture out."""

from collections.abc import Mapping, Sequence

import numpy as np

from qtutor.matmul import MatmulTerms
from qtutor.tutorial import plots

BIAS = 0.11  # width of the box that all constants end in; a row's four terms together are 1 wide
FUNNEL = 0.09  # how far from it they begin to melt


def small_difference(terms: MatmulTerms, pixel: int) -> plots.Picture:
    """The product of one pixel's outputs and what must come off it, in order of size; their gap is acc."""
    product = terms.product[pixel]
    order = np.argsort(product)
    off = np.broadcast_to(terms.row + terms.column - terms.constant, terms.product.shape)[pixel]
    fig, ax = plots.figure(
        "Two large numbers, and the answer is their gap",
        xlabel="the output channels of one pixel, smallest product first",
        ylabel="integer",
    )
    place = np.arange(len(order))
    ax.vlines(place, off[order], product[order], color=plots.QUANTIZED, linewidth=3, alpha=0.45)
    ax.plot(place, product[order], "s", color=plots.METHODS[0], label="product")
    ax.plot(place, off[order], "_", color="black", markeredgewidth=2, label="row + column - constant")
    ax.bar(place, (product - off)[order], color=plots.QUANTIZED, label="acc: the gap, drawn from 0")
    ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return plots.show(
        fig,
        "For each of 48 outputs a square for the product and a dash for what must come off it, both far "
        "above zero and rising together. A bar joins the two, and the same bar stands on zero: it is short, "
        "upwards for some outputs and downwards for others.",
    )


def gains(gains: Mapping[str, Sequence[float]], names: Sequence[str]) -> plots.Picture:
    """Three bars for each layer: what each of three ways gains over symmetric int8, in dB."""
    fig, ax = plots.figure(
        "A zero-point pays on inputs, hardly on weights",
        xlabel="gain over symmetric int8 in dB",
        ylabel="",
        height=6.4,
    )
    for i, hatch in enumerate(("", "//", "..")):
        bars = [gain[i] for gain in gains.values()]
        drawn = ax.barh(
            np.arange(len(bars)) + 0.29 * i, bars, 0.27, color=plots.METHODS[i], hatch=hatch, label=names[i]
        )
        ax.bar_label(drawn, fmt="%.1f", padding=3)
    ax.set_yticks(np.arange(len(gains)) + 0.29, list(gains))
    ax.set(xlim=(-0.7, 6.7), ylim=(len(gains) - 0.1, -0.3))
    ax.legend(loc="upper center", bbox_to_anchor=(0.35, -0.08), ncols=2)
    return plots.show(
        fig,
        "Three bars with their numbers for each of eight layers. A zero-point on the input gains about "
        "five dB or more in six layers; on the weights it gains a fraction of a dB, and in two layers "
        "loses it; a scale per channel gains one to five.",
    )


def what_does_not_fit(acc: np.ndarray) -> plots.Picture:
    """Histograms of the accumulators, ten for each digit: the largest of each, and the other nine."""
    fig, ax = plots.figure("The answers are what does not fit int16", xlabel="acc", ylabel="accumulators")
    bins = np.linspace(-60_000, 110_000, 69)
    ax.set(xlim=(-60_000, 110_000), ylim=(0, 180))
    ordered = np.sort(acc, axis=1)
    largest, others = ordered[:, -1], ordered[:, :-1]
    plots.histogram(ax, largest, bins=bins, color=plots.METHODS[0], label="the largest of each digit")
    plots.histogram(ax, others, bins=bins, color=plots.QUANTIZED, label="the other nine")
    for limit in (-(2**15), 2**15 - 1):
        label = "the ends of int16" if limit > 0 else None
        ax.axvline(limit, color=plots.NEUTRAL, linestyle="--", label=label)
    ax.legend()
    return plots.show(
        fig,
        "Two histograms of the last layer's accumulators. The largest of each digit are a small hump right "
        "of the dashed ends of int16. The other nine are a wide hump just left of zero, most of it inside.",
    )


def the_answer(cases: Mapping[str, tuple[MatmulTerms, str, Mapping[str, int]]]) -> plots.Picture:
    """The terms of a product as blocks, left of the input's arrival or right of it.

    cases  who has a zero-point -> its four terms; what waits for the input ("q1", "q1 Z1", "q1 q2"); and how
           many products and additions that costs beside the product
    """
    fig, ax = plots.figure(
        "What is known before the input arrives melts into the bias", height=1.2 + len(cases)
    )
    ax.set(xlabel="", ylabel="", xlim=(-0.83, 1.12), ylim=(len(cases) - 0.42, -0.92))
    ax.set_axis_off()
    ax.vlines(BIAS, -0.92, len(cases) - 0.68, color=plots.NEUTRAL, linestyle=(0, (2, 2)))
    ax.text(-0.83, -0.56, "A zero-point ...", va="center", weight="bold")
    ax.text(BIAS - 0.02, -0.84, "before the input arrives", ha="right", va="center", style="italic")
    ax.text(BIAS + 0.02, -0.84, "for every input", ha="left", va="center", style="italic")
    note = "width: share among the terms drawn on this line; number: mean absolute value"
    ax.text(-0.83, len(cases) - 0.48, note, va="center")
    for y, (name, (terms, waits, more)) in enumerate(cases.items()):
        waiting = {"product", "row"} | ({"column"} if {"q2", "Z1"} & set(waits.split()) else set())
        cost = " and ".join(f"{more[kind]:,} {kind}" for kind in sorted(more, reverse=True)) or "nothing"
        sizes = {term: float(np.abs(values).mean()) for term, values in terms._asdict().items()}
        total = sum(sizes.values())
        left, right = -FUNNEL, BIAS + 0.02
        ax.text(-0.83, y - 0.31, name, va="center", weight="bold")
        ax.text(1.12, y - 0.31, f"{cost} more", va="center", ha="right")
        for i, (term, size) in enumerate(sizes.items()):
            width = size / total
            if width == 0:
                continue
            start = right if term in waiting else left - width
            ax.barh(
                y,
                width - 0.008,
                0.4,
                left=start,
                color=plots.METHODS[i],
                alpha=1 if term in waiting else 0.45,
            )
            ax.text(start + width / 2, y, f"{term}\n{size:,.0f}", ha="center", va="center")
            left, right = (left, right + width) if term in waiting else (left - width, right)
        if left < -FUNNEL:  # what is left of the line pours into the bias
            ax.fill([-FUNNEL, 0, 0, -FUNNEL], [y - 0.2, y - 0.07, y + 0.07, y + 0.2], color="#D9D9D9")
        ax.barh(y, BIAS - 0.012, 0.4, left=0, color="white", edgecolor="black", linewidth=1.5)
        ax.text(BIAS / 2 - 0.006, y, "bias", ha="center", va="center")
    return plots.show(
        fig,
        "Six rows of blocks, as wide as the terms are large, left or right of a line where the input "
        "arrives. No zero-point: the product stands right of the line, alone. With a zero-point on the "
        "input, or symmetric codes as unsigned bytes: still alone; the column term stands left and pours "
        "into the bias. If the zero-point is measured with the input, the column term stands right. On the "
        "weights too: column and constant pour into the bias, product and row stand "
        "right. Two inputs multiplied: only the constant is left of the line.",
    )

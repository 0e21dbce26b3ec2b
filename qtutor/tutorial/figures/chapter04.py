"""The drawings of notebook 04: what comes back, and how wrong it is."""

from collections.abc import Mapping

import numpy as np

from qtutor.tutorial import plots
from qtutor.tutorial.plots import Picture


def errors_in_steps(errors: Mapping[str, np.ndarray]) -> Picture:
    """Three histograms of errors, in steps: {what was quantized: errors}."""
    title = "The prediction needs a flat error"
    fig, axes = plots.figure(title, xlabel="(x_hat - x) / S", ylabel="", ncols=3, height=3)
    for ax, (name, e), share in zip(axes, errors.items(), (0.04, 0.65, 0.08), strict=True):
        plots.histogram(ax, e, bins=40, color=plots.ERROR)
        ax.set_title(name, fontsize=11, fontweight="normal")
        ax.set(xlim=(-0.55, 0.55), xticks=[-0.5, 0, 0.5], yticks=[], ylim=(0, share * e.size))
    axes[0].set_ylabel("values")
    return plots.show(
        fig,
        """Three histograms of errors in steps. For block1.add it is flat from -0.5 to 0.5. For the input it
        is a comb with half of everything at 0. For down.depthwise in int4 a slope stands on the right half.
        """,
    )


def noise_of_channels(weight_power: np.ndarray, measured: np.ndarray, predicted: np.ndarray) -> Picture:
    """The error that arrives in each output channel over the sum of its squared weights."""
    fig, ax = plots.figure(
        "A layer weighs the noise by its squared weights",
        xlabel="sum of squared weights of an output channel",
        ylabel="mean squared error",
    )
    ax.plot(weight_power, measured, "o", color=plots.ERROR, label=f"measured, {measured.size} channels")
    ax.plot(np.sort(weight_power), np.sort(predicted), color=plots.NEUTRAL, label="predicted by (4.6)")
    ax.legend()
    return plots.show(
        fig,
        f"""{measured.size} points, one per output channel, close along a straight line: the larger the sum
        of squared weights, the larger the error that arrives.""",
    )


def accuracy_and_sqnr(accuracy: Mapping[int, float], sqnr: Mapping[int, float]) -> Picture:
    """Both over the bits of every weight: {bits: percent}, {bits: dB}."""
    title = "Accuracy stays silent until it is too late"
    fig, axes = plots.figure(title, xlabel="bits of every weight", ylabel="", ncols=2, height=3)
    labels = ("accuracy in %", "SQNR of the logits in dB")
    for ax, label, values in zip(axes, labels, (accuracy, sqnr), strict=True):
        ax.plot(list(values), list(values.values()), "o-", color=plots.QUANTIZED)
        ax.set_ylabel(label)
    return plots.show(
        fig,
        """Two lines over 3 to 8 bits. From 8 bits down the accuracy is level to 6, sinks, and at 3 falls off
        a cliff; the SQNR of the logits falls with every bit from the start.""",
    )


def codes_of_channels(trained: np.ndarray, folded: np.ndarray) -> Picture:
    """The largest code of each channel, sorted, before and after a batch norm is folded."""
    fig, ax = plots.figure(
        "After the fold, one scale leaves few codes to a small channel",
        xlabel="rank among the channels of block1.depthwise",
        ylabel="largest |q|",
    )
    ax.plot(trained, "o", color=plots.NEUTRAL, label="as trained")
    ax.plot(folded, "o", color=plots.QUANTIZED, label="folded")
    ax.axhline(127, color=plots.REAL, linestyle="--", label="with a scale of its own")
    ax.set_ylim(0, 140)
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.9))
    return plots.show(
        fig,
        f"""The largest code of each of {trained.size} channels. As trained they rise steadily from
        {trained[0]} to 127. Folded, all but two stay below 50, and the smallest is {folded[0]}. With a scale
        of its own, every channel reaches 127.""",
    )

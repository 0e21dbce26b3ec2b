"""The drawings of notebook 01: the staircase, the wrap, the shape of an error, and what a bit buys."""

from collections.abc import Mapping, Sequence

import numpy as np

from qtutor.tutorial import plots


def between_the_walls(x: np.ndarray, q: np.ndarray, x_hat: np.ndarray, scale: float) -> plots.Picture:
    """Codes and errors over reals x that reach beyond the codes."""
    fig, (top, bottom) = plots.figure("Between the walls, no error passes half a step", nrows=2, height=5.4)
    first, last = (scale * (end + side) for end, side in ((q.min(), -0.5), (q.max(), 0.5)))
    for ax in (top, bottom):
        ax.axvspan(x[0], first, color=plots.NEUTRAL, alpha=0.12)
        ax.axvspan(last, x[-1], color=plots.NEUTRAL, alpha=0.12, label="beyond the codes")
    top.plot(x, x / scale, color=plots.REAL, linestyle="--", label="x / scale")
    top.plot(x, q, color=plots.QUANTIZED, linewidth=2, label="q")
    top.set(xlabel="", yticks=range(-4, 5, 2))
    for half in (-0.5, 0.5):
        bottom.axhline(half, color=plots.NEUTRAL, linestyle=":", label="half a step" if half > 0 else None)
    bottom.plot(x, (x_hat - x) / scale, color=plots.ERROR, linewidth=2, label="error")
    bottom.set_ylabel("error in steps")
    for ax in (top, bottom):
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return plots.show(
        fig,
        "Above, a staircase of seven codes from -3 to 3 that runs flat beyond real -1.75 and 1.75. Below, "
        "its error: a saw between minus and plus half a step, which grows without end beyond the same two "
        "walls.",
    )


def saturated_or_wrapped(
    w: np.ndarray, beyond: np.ndarray, saturated: np.ndarray, wrapped: np.ndarray
) -> plots.Picture:
    """What comes back of weights w, some of them `beyond` the codes, in two ways."""
    fig, axes = plots.figure("A weight that wraps comes back with the wrong sign", ylabel="x_hat", ncols=2)
    for ax, name, x_hat in zip(axes, ("saturate", "wrap"), (saturated, wrapped), strict=True):
        ax.plot(w[~beyond], x_hat[~beyond], ".", color=plots.QUANTIZED, label="within the codes")
        ax.plot(w[beyond], x_hat[beyond], "x", markersize=9, color=plots.ERROR, label="beyond the codes")
        ax.set_title(name)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return plots.show(
        fig,
        f"x_hat over x, twice: {beyond.sum()} weights are beyond the codes. Saturated they lie flat at the "
        "ends of the diagonal. Wrapped, the largest weights lie at the bottom and the most negative ones "
        "at the top.",
    )


def shapes_of_errors(errors: Mapping[int, np.ndarray]) -> plots.Picture:
    """Histograms of errors in steps: {bits: errors}."""
    title = "The error is uniform while the steps are small"
    fig, axes = plots.figure(title, xlabel="error in steps", ylabel="weights", ncols=len(errors))
    for ax, (bits, error) in zip(axes, errors.items(), strict=True):
        plots.histogram(ax, error, bins=20, color=plots.ERROR, label="measured")
        ax.axhline(error.size / 20, color=plots.NEUTRAL, linestyle="--", label="uniform")
        ax.set(title=f"{bits} bits", ylim=(0, 240))
    axes[0].legend()
    return plots.show(
        fig,
        "Histograms of the error in steps, from -0.5 to 0.5. At 8 bits it is flat, as predicted. At 2 bits"
        " it is a bell around 0: the shape of the weights themselves.",
    )


def decibels_per_bit(bits: Sequence[int], measured: Sequence[float], law: Sequence[float]) -> plots.Picture:
    """SQNR over bits, measured and as predicted from the scale."""
    fig, ax = plots.figure("Each bit buys about 6 dB", xlabel="bits", ylabel="SQNR in dB")
    ax.plot(bits, law, color=plots.NEUTRAL, linestyle="--", label="predicted from the scale, S²/12")
    ax.plot(bits, measured, "o", markersize=8, color=plots.QUANTIZED, label="measured on the weights")
    ax.legend()
    return plots.show(
        fig,
        f"SQNR over bits, 2 to 8. The measured points rise from {measured[0]:.0f} to {measured[-1]:.0f} dB "
        "and lie on the line that the scale alone predicts, save for the first, which lies a little above "
        "it.",
    )

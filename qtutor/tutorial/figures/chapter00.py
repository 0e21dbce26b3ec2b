"""The drawings of notebook 00: what few bits leave of a picture, and of a network."""

from collections.abc import Mapping

import numpy as np

from qtutor.tutorial import plots


def on_fewer_bits(pictures: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> plots.Picture:
    """A digit and a neuron's answer to it, side by side: {bits: (digit, neuron)}, 32 bits being floats."""
    title = "Fewer bits, fewer shades"
    fig, axes = plots.figure(title, xlabel="", ylabel="", nrows=2, ncols=len(pictures), height=4.4)
    for row, colours, which in zip(axes, ("Greys", "Blues"), (0, 1), strict=True):
        real = pictures[32][which]
        for ax, (bits, pair) in zip(row, pictures.items(), strict=True):
            ax.imshow(pair[which], cmap=colours, vmin=real.min(), vmax=real.max())
            ax.set(xticks=[], yticks=[], xlabel=f"{bits} bits: {np.unique(pair[which]).size} values")
    axes[0, 0].set_ylabel("the digit")
    axes[1, 0].set_ylabel("one neuron")
    return plots.show(
        fig,
        "Two rows of four small pictures: a handwritten 3 and one neuron's answer to it, on 32, 8, 4 and 2"
        " bits. On 8 and 4 bits they look almost as on 32. On 2 bits both have hard edges, but the 3 is "
        "readable.",
    )


def scores_over_bits(scores: Mapping[int, int]) -> plots.Picture:
    """How many of 599 digits the network reads: {bits per weight: digits}, 32 bits being floats."""
    title = "8 bits per weight cost no digit, 3 bits cost nearly all"
    fig, ax = plots.figure(title, xlabel="bits per weight", ylabel="digits read, of 599")
    bits = sorted(set(scores) - {32})
    ax.plot(
        bits,
        [scores[b] for b in bits],
        "o-",
        markersize=8,
        color=plots.QUANTIZED,
        label="quantized weights",
    )
    ax.axhline(scores[32], color=plots.REAL, linestyle="--", label="floats")
    ax.axhline(599 / 10, color=plots.NEUTRAL, linestyle=":", label="guessing")
    ax.legend(loc="center right")
    return plots.show(
        fig,
        f"Digits read, over bits per weight. From {scores[2]} and {scores[3]} at 2 and 3 bits, as good as "
        f"guessing, the curve rises to {scores[4]} at 4 bits and is level with the floats' {scores[32]} "
        "from 6 bits on.",
    )

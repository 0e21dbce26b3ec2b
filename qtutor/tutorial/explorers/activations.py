"""What the running network computes for some real digits, for the explorers to quantize."""

import math
from functools import cache

import numpy as np

from qtutor.graph import forward
from qtutor.models.digits import CNN, load_digits, load_weights, to_input

DIGITS, ELEMENTS = 64, 8_000  # enough for tails, few enough to redraw at once


@cache
def activations() -> dict[str, np.ndarray]:
    """Every tensor of the digits network on the first training digits, name -> float64, flat.

    Of a large tensor, each n-th element, at most ELEMENTS.
    """
    digits = load_digits()
    tensors = forward(CNN, load_weights(), to_input(digits.images[digits.train[:DIGITS]]))
    # an odd n meets every row, column and channel: their numbers are powers of two, or 3 times one
    return {
        name: x.ravel()[:: math.ceil(x.size / ELEMENTS) | 1].astype(np.float64) for name, x in tensors.items()
    }

"""Real handwritten digits, and a small CNN that was trained on them: the running example of every chapter.

    input 1x8x8 -> stem 24x8x8 -> block1 (depthwise, pointwise, + stem) -> down (depthwise / 2, pointwise)
    48x4x4 -> block2 (depthwise, pointwise, + down) -> pool 48 -> logits 10             6,082 parameters

A batch norm follows each convolution, then a leaky ReLU, except where the result is added to another
tensor: there nothing follows, and nothing follows the addition.  So the tensors have a negative side that
is small but not empty, and their zero-points lie inside the integer range.

Where each file comes from, its licence and how to make it again: README.md beside this module.
Sources: depthwise separable convolution, Howard et al. 2017, arXiv:1704.04861, section 3.1; a block that
ends without an activation before its addition, Sandler et al. 2018, arXiv:1801.04381, section 3.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from qtutor.graph import Add, Conv, Graph, Linear, Pool

__all__ = ["CNN", "Digits", "load_digits", "load_weights", "to_input"]

MAX_PIXEL = 16  # a pixel counts the inked dots of a 4x4 cell: 0..16
SLOPE = 0.125  # of the leaky ReLU for x < 0: a power of two, which is a shift for integers

CNN = Graph(
    (
        Conv("stem", "input", 1, 24, slope=SLOPE),
        Conv("block1.depthwise", "stem", 24, 24, depthwise=True, slope=SLOPE),
        Conv("block1.pointwise", "block1.depthwise", 24, 24, kernel=1),
        Add("block1.add", "block1.pointwise", "stem"),
        Conv("down.depthwise", "block1.add", 24, 24, stride=2, depthwise=True, slope=SLOPE),
        Conv("down.pointwise", "down.depthwise", 24, 48, kernel=1, slope=SLOPE),
        Conv("block2.depthwise", "down.pointwise", 48, 48, depthwise=True, slope=SLOPE),
        Conv("block2.pointwise", "block2.depthwise", 48, 48, kernel=1),
        Add("block2.add", "block2.pointwise", "down.pointwise"),
        Pool("pool", "block2.add"),
        Linear("logits", "pool", 48, 10),
    ),
    input_shape=(1, 8, 8),
)


class Digits(NamedTuple):
    """1,797 handwritten digits, and three lists of indices that together name each digit once."""

    images: np.ndarray  # uint8 (1797, 8, 8), 0 (paper) .. 16 (ink)
    labels: np.ndarray  # int64 (1797,), 0..9
    train: np.ndarray  # int64 (1018,): the weights were fitted to these, and ranges may be
    validation: np.ndarray  # int64 (180,): choices are made on these
    test: np.ndarray  # int64 (599,): nothing was ever chosen on these


def load_digits() -> Digits:
    """The UCI handwritten digits, read-only (Alpaydin and Kaynak 1998, DOI 10.24432/C50P49, CC BY 4.0).

    >>> digits = load_digits()
    >>> digits.images.shape, digits.images.dtype
    ((1797, 8, 8), dtype('uint8'))
    >>> digits.labels[:12]
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    >>> len(digits.train), len(digits.validation), len(digits.test)
    (1018, 180, 599)
    """
    return Digits(**_load("digits.npz"))


def load_weights() -> dict[str, np.ndarray]:
    """The trained weights of `CNN`: name -> float32 array, read-only.

    Convolutions and batch norms are kept apart (not folded); `weight_shapes(CNN)` lists names and shapes.

    >>> weights = load_weights()
    >>> weights["stem.weight"].shape, weights["stem.weight"].dtype
    ((24, 1, 3, 3), dtype('float32'))
    """
    return _load("weights.npz")


def to_input(images: np.ndarray) -> np.ndarray:
    """Pixels as the network takes them: (n, 8, 8) integers 0..16 -> (n, 1, 8, 8) float32 0..1.

    Raises TypeError for pixels that are not integers, ValueError for another shape or a pixel beyond 0..16.

    >>> to_input(np.full((2, 8, 8), 4))[1, 0, 0, :2].tolist()
    [0.25, 0.25]
    """
    images = np.asarray(images)
    if images.dtype.kind not in "iu":  # pixels that were divided by 16 before would be divided twice
        raise TypeError(f"images must be integers 0..{MAX_PIXEL}, got {images.dtype}")
    if images.ndim != 3 or images.shape[1:] != (8, 8):
        raise ValueError(f"images must have the shape (n, 8, 8), got {images.shape}")
    if images.size and (images.min() < 0 or images.max() > MAX_PIXEL):
        raise ValueError(f"pixels must lie in 0..{MAX_PIXEL}, got {images.min()}..{images.max()}")
    return np.divide(images[:, np.newaxis], MAX_PIXEL, dtype=np.float32)


def _load(file: str) -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name(file), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for array in arrays.values():
        array.setflags(write=False)  # one cell of a notebook must not change the data of the next
    return arrays

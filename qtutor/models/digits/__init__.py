"""The data that the chapters run on: real handwritten digits, and a small CNN that was trained on them.

Where each file comes from, its licence and how to make it again: README.md beside this module.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Digits", "load_digits", "load_digits_cnn"]


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


def load_digits_cnn() -> dict[str, np.ndarray]:
    """The trained weights of the network in `digits_cnn`: name -> float32 array, read-only.

    Convolutions and batch norms are kept apart (not folded); `weight_shapes` there lists names and shapes.

    >>> weights = load_digits_cnn()
    >>> weights["stem.weight"].shape, weights["stem.weight"].dtype
    ((24, 1, 3, 3), dtype('float32'))
    """
    return _load("digits_cnn.npz")


def _load(file: str) -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name(file), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for array in arrays.values():
        array.setflags(write=False)  # one cell of a notebook must not change the data of the next
    return arrays

"""Make digits.npz: python -m qtutor.models.digits.make_digits PATH

PATH is the test part (1,797 images) of "Optical Recognition of Handwritten Digits" by E. Alpaydin and
C. Kaynak, 1998, UCI Machine Learning Repository, DOI 10.24432/C50P49, licence CC BY 4.0.  The archive that
the repository offers calls it optdigits.tes; scikit-learn ships the same table, as digits.csv.gz among its
data sets.  Either file will do: 65 columns of text with commas between them, the 64 pixels of an 8x8 image
row by row (0..16), then its label (0..9).
"""

import argparse
from pathlib import Path

import numpy as np

SEED = 1998  # of the split
VALIDATION, TEST = 180, 599  # images; the other 1,018 train


def read_digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """images uint8 (1797, 8, 8) and labels int64 (1797,); ValueError if the file holds anything else."""
    table = np.loadtxt(path, delimiter=",", ndmin=2)
    if table.shape != (1797, 65):
        raise ValueError(f"{path.name} must be the test part, a table of (1797, 65), got {table.shape}")
    pixels, labels = table[:, :64], table[:, 64]
    if not (np.isin(pixels, range(17)).all() and np.isin(labels, range(10)).all()):
        raise ValueError(f"{path.name} must hold integer pixels 0..16 and integer labels 0..9")
    return pixels.reshape(-1, 8, 8).astype(np.uint8), labels.astype(np.int64)


def split(count: int) -> dict[str, np.ndarray]:
    """Three disjoint parts of range(count), int64, drawn by SEED without a look at images or labels."""
    order = np.random.default_rng(SEED).permutation(count).astype(np.int64)
    test, validation, train = np.split(order, [TEST, TEST + VALIDATION])
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


def main() -> None:
    """Write digits.npz beside this script."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path", type=Path, help="optdigits.tes or digits.csv.gz: see the top of this script")
    images, labels = read_digits(parser.parse_args().path)
    target = Path(__file__).with_name("digits.npz")
    # savez neither compresses nor dates: the same arrays give the same bytes
    np.savez(target, images=images, labels=labels, **split(len(images)))  # type: ignore[arg-type]
    print(f"{target.name}: {len(images)} images, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

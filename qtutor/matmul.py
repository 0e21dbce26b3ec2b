"""Multiplying matrices of integers whose zero is not 0.  Notebook 05."""

from typing import NamedTuple

import numpy as np

from qtutor.rounding import INT32, IntRange, integers, is_integer

SIXTEEN_BITS = (-(2**15), 2**16 - 1)  # signed and unsigned codes


class MatmulTerms(NamedTuple):
    """The four parts of sum_k (q1 - Z1)(q2 - Z2) = product - row - column + constant, each int32.

    product   sum_k q1 q2     (M, N): what the hardware multiplies
    row       Z2 sum_k q1     (M, 1): changes with every input, gone when Z2 = 0
    column    Z1 sum_k q2     (1, N): known once the weights are
    constant  K Z1 Z2         (1, 1)
    """

    product: np.ndarray
    row: np.ndarray
    column: np.ndarray
    constant: np.ndarray


def integer_matmul(
    q1: np.ndarray, q2: np.ndarray, zero_point1: int | np.ndarray = 0, zero_point2: int | np.ndarray = 0
) -> np.ndarray:
    """int32 accumulators of (q1 - Z1) @ (q2 - Z2), exact.

    q1, q2       codes, integers of at most 16 bits, shapes (..., M, K) and (..., K, N), K >= 1
    zero_point1  integer, or an integer array that broadcasts against q1, such as shape (M, 1)
    zero_point2  the same for q2; shape (1, N) for one zero-point per column

    The real product is scale1 * scale2 * accumulator (Jacob et al. 2018, arXiv:1712.05877,
    equations (3) and (4)).  Returns int32 of shape (..., M, N).  Raises TypeError for floats and
    ValueError where the shapes do not fit, or where K * max|q1 - Z1| * max|q2 - Z2| >= 2**31, so
    that an accumulator could overflow.

    NumPy's integer @ has no BLAS behind it.  Floats carry it exactly: float32 holds every integer
    up to 2**24.  Cut K into blocks of at most 2**24 / (max|q1 - Z1| * max|q2 - Z2|) terms.  A sum
    of any of a block's products, in any order, with or without fused multiply-add, is an integer
    of at most 2**24 in size; it has a float32, so no operation rounds.  The blocks are then added
    as int32.  (16-bit codes have products beyond 2**24: the same holds for float64 and 2**53.)

    >>> integer_matmul(np.uint8([[10, 12]]), np.int8([[1], [3]]), 10, 1)
    array([[4]], dtype=int32)
    """
    centred1, centred2, largest_product = checked_factors(q1, q2, zero_point1, zero_point2, "integer_matmul")
    carrier: type[np.float32] | type[np.float64] = np.float32 if largest_product <= 2**24 else np.float64
    exact = 2 ** (np.finfo(carrier).nmant + 1)  # 2**24 or 2**53: every integer up to here has a float
    terms = exact // int(largest_product)  # as many as may be added before a partial sum could be rounded
    acc: np.ndarray = np.zeros((), np.int32)
    for k in range(0, centred1.shape[-1], terms):
        block1 = centred1[..., :, k : k + terms].astype(carrier)
        block2 = centred2[..., k : k + terms, :].astype(carrier)
        with np.errstate(all="ignore"):  # some BLAS report an overflow that there is not
            acc = acc + np.matmul(block1, block2).astype(np.int32)
    return acc


def matmul_terms(q1: np.ndarray, q2: np.ndarray, zero_point1: int, zero_point2: int) -> MatmulTerms:
    """The four terms of integer_matmul(q1, q2, zero_point1, zero_point2), each exact in int32.

    q1, q2                    codes of shapes (M, K) and (K, N)
    zero_point1, zero_point2  integers

    Raises as integer_matmul does, and where a term on its own could pass int32.
    Source: Jacob et al. 2018, arXiv:1712.05877, equations (7) and (8).

    >>> terms = matmul_terms(np.uint8([[10, 12]]), np.int8([[1], [3]]), 10, 1)
    >>> [term.item() for term in terms]
    [46, 22, 40, 20]
    >>> (terms.product - terms.row - terms.column + terms.constant).item()
    4
    """
    Z1, Z2 = _zero_point(zero_point1, (), "matmul_terms", 1), _zero_point(zero_point2, (), "matmul_terms", 2)
    # four terms may fit where their sum does not: (127 + 128)**2 is four times 127**2
    K = checked_factors(q1, q2, Z1, Z2, "matmul_terms")[0].shape[-1]
    Z1, Z2 = np.full((1, K), Z1), np.full((K, 1), Z2)
    return MatmulTerms(
        product=integer_matmul(q1, q2),
        row=integer_matmul(q1, Z2),
        column=integer_matmul(Z1, q2),
        constant=integer_matmul(Z1, Z2),
    )


def accumulator_bits(K: int, range1: IntRange, range2: IntRange) -> int:
    """Bits of the smallest signed integer that holds every sum of up to K products of two codes.

    K               how many products are added, an integer >= 1
    range1, range2  where the factors lie: the codes, or q - Z (for uint8, -255..255 covers any Z)

    >>> from qtutor import INT8, UINT8
    >>> accumulator_bits(1, UINT8, INT8), accumulator_bits(2, INT8, INT8)
    (16, 17)
    >>> accumulator_bits(33_025, IntRange(-255, 255), IntRange(-255, 255))
    32
    """
    if not is_integer(K) or K < 1:
        raise ValueError(f"K must be an integer >= 1, got {K!r}")
    products = [a * b for a in (range1.qmin, range1.qmax) for b in (range2.qmin, range2.qmax)]
    low, high = int(K) * min(products), int(K) * max(products)
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


def checked_factors(
    q1: object, q2: object, zero_point1: object, zero_point2: object, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q1 - Z1, q2 - Z2 and max|q1 - Z1| * max|q2 - Z2|, at least 1: no sum of K products can pass int32."""
    centred1, centred2 = _centred(q1, zero_point1, where, 1), _centred(q2, zero_point2, where, 2)
    K = centred1.shape[-1]
    if centred2.shape[-2] != K or K == 0:
        why = "K must be at least 1" if K == 0 else "K differs"
        raise ValueError(f"{where} cannot multiply shapes {centred1.shape} and {centred2.shape}: {why}")
    largest1, largest2 = (
        np.maximum(c.max(initial=0), -c.min(initial=0)).astype(np.int64) for c in (centred1, centred2)
    )
    largest_product = np.maximum(largest1 * largest2, 1)
    if INT32.max // largest_product < K:  # K * largest_product itself might pass int64
        raise ValueError(
            f"an accumulator might pass int32: K * max|q1 - Z1| * max|q2 - Z2| = "
            f"{K} * {largest1} * {largest2} = {K * int(largest_product)}, allowed is {INT32.max}"
        )
    return centred1, centred2, largest_product


def _centred(q: object, zero_point: object, where: str, which: int) -> np.ndarray:
    """q - zero_point, for the codes q1 or q2 and their zero-point."""
    name = f"q{which} of {where}"
    codes = integers(q, *SIXTEEN_BITS, name)
    if codes.ndim < 2:
        raise ValueError(f"{name} needs a matrix, shape (..., rows, columns), got shape {codes.shape}")
    Z = _zero_point(zero_point, codes.shape, where, which)
    # 8-bit codes leave room in int16, which is half as much to read and write
    wide = np.int16 if codes.dtype.itemsize == 1 and np.abs(Z).max(initial=0) < 2**14 else np.int32
    return codes.astype(wide) - Z.astype(wide)


def _zero_point(zero_point: object, shape: tuple[int, ...], where: str, which: int) -> np.ndarray:
    name = f"zero_point{which} of {where}"
    Z = integers(zero_point, *SIXTEEN_BITS, name)
    try:
        np.broadcast_to(Z, shape)  # fails where q - Z would, or would have another shape than q
    except ValueError:
        raise ValueError(f"{name} has shape {Z.shape}, which does not broadcast to shape {shape}") from None
    return Z.astype(np.int32)

"""Fixed-point products in Python's exact integers and fractions, and what each rule says of a tie."""

from fractions import Fraction

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def nearest(x, on_a_tie):
    """The integer nearest to the fraction x."""
    below, rest = divmod(x.numerator, x.denominator)
    if 2 * rest == x.denominator:
        return on_a_tie(below)
    return below + (2 * rest > x.denominator)


def up(below):
    return below + 1


def away(below):
    return below + 1 if below >= 0 else below


def even(below):
    return below + below % 2


def into_int32(n):
    return min(max(n, INT32_MIN), INT32_MAX)


def exact_double(acc, mantissa, shift, second=away):
    """Two roundings: of the product, ties up, and of the shift."""
    widened = into_int32(acc * 2 ** max(-shift, 0))
    high = into_int32(nearest(Fraction(widened * mantissa, 2**31), up))
    return into_int32(nearest(Fraction(high, 2 ** max(shift, 0)), second))


def exact_half_up(acc, mantissa, shift):
    """Two roundings, both with ties up."""
    return exact_double(acc, mantissa, shift, second=up)


def exact_single(acc, mantissa, shift):
    """One rounding of the exact product, ties up."""
    return into_int32(nearest(Fraction(acc * mantissa * 2**30, 2 ** (61 + shift)), up))

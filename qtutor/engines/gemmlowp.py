"""exp and its kin in fixed point, as gemmlowp computes them: for LiteRT's reference SOFTMAX, TFLM's LOGISTIC.

A number in Q(n) is an int32 with n bits before the binary point.
Source: gemmlowp, fixedpoint/fixedpoint.h.
"""

from typing import Any

import numpy as np

from qtutor.engines.processor import Array
from qtutor.fixedpoint import rounding_doubling_high_multiply, rounding_right_shift, shifted_left

times: Any = rounding_doubling_high_multiply  # Q(m) times Q(n) is in Q(m + n)
ONE_IN_Q0: Any = np.int32(2**31 - 1)  # 1 itself is one too many
EXP_OF_MINUS_POWERS = {  # exp(-2**power) in Q0
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}


def exp_of_negative(x: Array, integer_bits: int) -> Array:
    """exp(x) in Q0 for x <= 0 in Q(integer_bits): gemmlowp's exp_on_negative_values.

    x = r - (a sum of powers of two), -1/4 <= r < 0: a Taylor polynomial around -1/8 gives exp(r), and each
    power contributes a factor from the table.

    >>> exp_of_negative(np.int32([0, -(2**26)]), integer_bits=5).tolist()  # exp(0) and exp(-1)
    [2147483647, 790015308]
    """
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    r = (x & (quarter - 1)) - quarter
    t = shifted_left(r, integer_bits) + (1 << 28)  # r + 1/8 in Q0
    t2 = times(t, t)
    t3, t4 = times(t2, t), times(t2, t2)
    third, exp_of_minus_eighth = 715827883, 1895147668  # in Q0
    t3_and_t4 = times(rounding_right_shift(t4, 2) + t3, third)  # t3 / 3 + t4 / 12
    result = exp_of_minus_eighth + times(exp_of_minus_eighth, t + rounding_right_shift(t2 + t3_and_t4, 1))
    powers = r - x
    for power, factor in EXP_OF_MINUS_POWERS.items():
        if power < integer_bits:
            has_power = powers & (1 << (fraction_bits + power)) != 0
            result = np.where(has_power, times(result, factor), result)
    return np.where(x == 0, ONE_IN_Q0, result)


def one_over_one_plus(x: Array) -> Array:
    """1 / (1 + x) in Q0 for 0 <= x <= 1 in Q0: gemmlowp's, by three steps of Newton's method.

    >>> one_over_one_plus(np.int32([0, 2**30])).tolist()  # 1 and 2 / 3
    [2147483647, 1431655762]
    """
    half_denominator = (x.astype(np.int64) + 2**31) // 2
    y = 1515870810 + times(half_denominator, -1010580540)  # 48/17 - 32/17 * half_denominator, in Q2
    for _ in range(3):
        error = (1 << 29) - times(half_denominator, y)
        y = y + shifted_left(times(y, error), 2)
    return shifted_left(y, 1)


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)) in Q0 for x in Q4: gemmlowp's.

    >>> logistic(np.int32([0, 2**27, -(2**27)])).tolist()  # of 0, 1 and -1
    [1073741824, 1569936226, 577547421]
    """
    y = one_over_one_plus(exp_of_negative(-np.abs(x), integer_bits=4))
    return np.where(x == 0, 1 << 30, np.where(x > 0, y, ONE_IN_Q0 - y))

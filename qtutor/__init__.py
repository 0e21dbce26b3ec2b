"""qtutor: neural-network quantization in plain NumPy, to read, to run and to check your own code with.

One module a chapter: rounding (01), affine (02), calibration (03), error (04), matmul (05).
"""

from qtutor.affine import QParams, QTensor, choose_qparams, dequantize, fake_quantize, quantize
from qtutor.calibration import (
    EntropyObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MSEObserver,
    PercentileObserver,
)
from qtutor.error import ErrorBudget, clipped_fraction, error_budget, sqnr_db
from qtutor.matmul import MatmulTerms, accumulator_bits, integer_matmul, matmul_terms
from qtutor.rounding import (
    INT4,
    INT8,
    UINT8,
    IntRange,
    int_range,
    round_half_away,
    round_half_even,
    saturate,
)

__all__ = [
    "INT4",
    "INT8",
    "UINT8",
    "EntropyObserver",
    "ErrorBudget",
    "IntRange",
    "MSEObserver",
    "MatmulTerms",
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "PercentileObserver",
    "QParams",
    "QTensor",
    "accumulator_bits",
    "choose_qparams",
    "clipped_fraction",
    "dequantize",
    "error_budget",
    "fake_quantize",
    "int_range",
    "integer_matmul",
    "matmul_terms",
    "quantize",
    "round_half_away",
    "round_half_even",
    "saturate",
    "sqnr_db",
]

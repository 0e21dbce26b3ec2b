"""qtutor: neural-network quantization in plain NumPy, to read, to run and to check your own code with.

The core, which `import qtutor` brings, one module a chapter: rounding (01), affine (02), calibration (03),
error (04), matmul (05), fixedpoint (06), layers (07).  What stands above it is imported by its own name:

    graph     a network as data: run in floats, calibrated, quantized, run on integers (07)
    engines   what real engines compute, rule by rule, bit for bit
    interop   what talks to the files of other programs: ONNX
    models    networks and data to quantize, each with its source and licence
    tutorial  the instruments of the notebooks: exercises, explorers, plots
    bench     speed and memory, measured
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
from qtutor.fixedpoint import (
    FixedPointMultiplier,
    multiply_double_rounding,
    multiply_float,
    multiply_half_up,
    multiply_single_rounding,
    quantize_multiplier,
    requantize,
)
from qtutor.layers import (
    QAdd,
    QAveragePool,
    QConv2d,
    QLinear,
    fold_batch_norm,
    integer_only_matmul,
    quantize_bias,
    weight_qparams,
)
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

__version__ = "0.1.0"  # pyproject.toml reads it from here

__all__ = [
    "INT4",
    "INT8",
    "UINT8",
    "EntropyObserver",
    "ErrorBudget",
    "FixedPointMultiplier",
    "IntRange",
    "MSEObserver",
    "MatmulTerms",
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "PercentileObserver",
    "QAdd",
    "QAveragePool",
    "QConv2d",
    "QLinear",
    "QParams",
    "QTensor",
    "accumulator_bits",
    "choose_qparams",
    "clipped_fraction",
    "dequantize",
    "error_budget",
    "fake_quantize",
    "fold_batch_norm",
    "int_range",
    "integer_matmul",
    "integer_only_matmul",
    "matmul_terms",
    "multiply_double_rounding",
    "multiply_float",
    "multiply_half_up",
    "multiply_single_rounding",
    "quantize",
    "quantize_bias",
    "quantize_multiplier",
    "requantize",
    "round_half_away",
    "round_half_even",
    "saturate",
    "sqnr_db",
    "weight_qparams",
]

"""One table of what the engines' kernels answer to one input (for notebook 06).

The rules are those of qtutor.engines, which says where each one comes from and how it was checked.

>>> import numpy as np
>>> from qtutor.rounding import INT8
>>> {kernel: requantize(1, 0.25, 0) for kernel, requantize in list(REQUANTIZE.items())[:4:3]}
{'TFLM; LiteRT 2.3.0 reference CONV_2D': 1, 'LiteRT 2.3.0 default CONV_2D (XNNPACK)': 0}
>>> [quantize(2.5, 1.0, 0, INT8) for quantize in QUANTIZE.values()]
[2, 2, 2, 2, 2, 3, 2]
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from qtutor.engines import litert_kernels, onnx, onnxruntime, torch
from qtutor.fixedpoint import multiply_double_rounding, multiply_single_rounding, quantize_multiplier
from qtutor.rounding import INT8, UINT8, IntRange

single: Any = np.float32
ONE, NO_BIAS = single(1), single(0)


def _in_torch(rule: Callable[..., Any], **how: bool) -> Callable[..., Any]:
    """A rule of torch's layers, which answer in uint8: both answer and zero-point are moved by 128."""

    def requantize(acc: np.ndarray, M: float, Z: int) -> Any:
        scales = torch.Scales(single(M), ONE, ONE)
        return rule(acc, NO_BIAS, scales, Z + 128, UINT8, **how) - 128.0

    return requantize


def _by_mantissa(multiply: Callable[..., np.ndarray]) -> Callable[..., Any]:
    return lambda acc, M, Z: multiply(acc, quantize_multiplier(M)) + Z


def _one(rule: Callable[..., Any]) -> Callable[[int, float, int], int]:
    """The rule for one accumulator, as an integer."""
    return lambda acc, M, Z: int(rule(np.array([acc], np.int32), M, Z)[0])


# {kernel: acc, M, Z -> code}
REQUANTIZE: dict[str, Callable[[int, float, int], int]] = {
    kernel: _one(rule)
    for kernel, rule in {
        "TFLM; LiteRT 2.3.0 reference CONV_2D": lambda acc, M, Z: litert_kernels.requantize_double_rounding(
            acc, np.array(M), Z, INT8
        ),
        "LiteRT 2.3.0 optimized CONV_2D": lambda acc, M, Z: litert_kernels.requantize_half_up(
            acc, np.array(M), Z, INT8
        ),
        "LiteRT 2.3.0 reference FULLY_CONNECTED": lambda acc, M, Z: litert_kernels.requantize_float64(
            acc, M, Z, INT8
        ),
        "LiteRT 2.3.0 default CONV_2D (XNNPACK)": lambda acc, M, Z: litert_kernels.xnnpack_requantize(
            acc, single(M), ONE, ONE, Z, INT8
        ),
        "ONNX Runtime 1.32.0 QLinearConv": lambda acc, M, Z: onnxruntime.requantize(
            acc, single(M), ONE, ONE, Z, INT8
        ),
        "ONNX 1.23.2 reference QLinearMatMul": lambda acc, M, Z: onnx.requantize(
            acc, single(M), ONE, ONE, Z, INT8
        ),
        "torch 2.13.0 fbgemm linear": _in_torch(torch.fbgemm_requantize, per_channel=False),
        "torch 2.13.0 oneDNN linear": _in_torch(torch.onednn_requantize, convolves=False, vnni=True),
        "torch 2.13.0 QNNPACK linear": _in_torch(torch.qnnpack_requantize),
        "gemmlowp, Jacob et al. 2018": _by_mantissa(multiply_double_rounding),
        "LiteRT with TFLITE_SINGLE_ROUNDING": _by_mantissa(multiply_single_rounding),
    }.items()
}


def _one_real(rule: Callable[..., Any]) -> Callable[[float, float, int, IntRange], int]:
    """The rule for one real number, as an integer."""
    return lambda x, S, Z, to: int(rule(single([x]), single(S), Z, to).item())


# {kernel: x, S, Z, range of the codes -> code}
QUANTIZE: dict[str, Callable[[float, float, int, IntRange], int]] = {
    kernel: _one_real(rule)
    for kernel, rule in {
        "ONNX Runtime 1.32.0 QuantizeLinear": onnxruntime.quantize_linear,
        "ONNX 1.23.2 reference QuantizeLinear": onnx.quantize_linear,
        "torch 2.13.0 quantize_per_tensor": torch.quantize_per_tensor,
        "torch 2.13.0 quantize_per_channel": torch.quantize_per_channel,
        "torch 2.13.0 quantized_decomposed": torch.decomposed_quantize,
        "LiteRT 2.3.0 reference QUANTIZE": litert_kernels.reference_quantize,
        "LiteRT 2.3.0 default (XNNPACK) QUANTIZE": litert_kernels.xnnpack_quantize,
    }.items()
}

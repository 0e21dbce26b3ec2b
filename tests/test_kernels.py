"""qtutor/tutorial/kernels.py: each row of the table answers by the rule of the kernel that it names."""

import numpy as np
import pytest

from qtutor import INT8, UINT8, engines
from qtutor.tutorial.kernels import QUANTIZE, REQUANTIZE

GRID = [(acc, M, Z) for acc in range(-9, 10) for M in (0.25, 0.3, 0.5, 0.75) for Z in (-3, 0, 1)]


@pytest.mark.parametrize("kernel", REQUANTIZE)
def test_every_requantizer_is_within_a_code_of_the_exact_value(kernel):
    answers = [REQUANTIZE[kernel](*given) for given in GRID]
    assert all(type(answer) is int for answer in answers)
    off = [abs(answer - (acc * M + Z)) for answer, (acc, M, Z) in zip(answers, GRID, strict=True)]
    assert 0.45 < max(off) <= 0.75


def test_the_rows_of_the_engines_answer_as_their_modules_do():
    for acc, M, Z in GRID:
        scales = np.int32([acc]), np.float32(M), np.float32(1), np.float32(1), Z
        for kernel, rule in {
            "LiteRT 2.3.0 default CONV_2D (XNNPACK)": engines.litert_kernels.xnnpack_requantize,
            "ONNX Runtime 1.32.0 QLinearConv": engines.onnxruntime.requantize,
            "ONNX 1.23.2 reference QLinearMatMul": engines.onnx.requantize,
        }.items():
            assert REQUANTIZE[kernel](acc, M, Z) == rule(*scales, INT8).item(), kernel


def test_no_two_rows_of_known_difference_are_the_same_rule():
    rows = {kernel: tuple(rule(*given) for given in GRID) for kernel, rule in REQUANTIZE.items()}
    assert rows["TFLM; LiteRT 2.3.0 reference CONV_2D"] == rows["gemmlowp, Jacob et al. 2018"]
    assert len(set(rows.values())) == 7
    assert rows["torch 2.13.0 oneDNN linear"] != rows["torch 2.13.0 fbgemm linear"]


@pytest.mark.parametrize("to", [INT8, UINT8], ids=["int8", "uint8"])
@pytest.mark.parametrize("kernel", QUANTIZE)
def test_every_quantizer_is_right_where_nothing_is_near_a_tie_and_saturates(kernel, to):
    assert [QUANTIZE[kernel](x, 0.5, 3, to) for x in (0.0, 1.1, 1.4)] == [3, 5, 6]
    assert QUANTIZE[kernel](1e4, 0.5, 3, to) == to.qmax

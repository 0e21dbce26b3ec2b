"""The core that the chapters teach gives ONNX Runtime's bits, wherever both define an answer."""

from pathlib import Path

import numpy as np
from operators import RANGES
from vectors import read

import qtutor as qt

DATA = Path(__file__).parent / "data"


def recorded(file, operator, without=()):
    cases = [case for case in read(DATA / file) if case.operator == operator]
    return [case for case in cases if not any(case.arguments.get(name) for name in without)]


def qparams_of(case):
    zero_point = case.inputs["zp"].astype(np.int32)
    axis = None if zero_point.ndim == 0 else case.arguments["axis"]
    return qt.QParams(case.inputs["scale"], zero_point, RANGES[case.arguments["dtype"]], axis)


def test_quantize_is_that_of_onnx_runtime():
    cases = recorded("ort_quant.npz", "QuantizeLinear", without=["block_size"])
    assert len(cases) == 24
    for case in cases:
        assert np.array_equal(qt.quantize(case.inputs["x"], qparams_of(case)), case.answers["y"]), case


def test_dequantize_is_that_of_onnx_runtime():
    cases = [case for case in recorded("ort_quant.npz", "DequantizeLinear") if "zp" in case.inputs]
    assert len(cases) == 12
    for case in cases:
        assert np.array_equal(qt.dequantize(case.inputs["x"], qparams_of(case)), case.answers["y"]), case


def test_integer_matmul_is_that_of_onnx_runtime():
    cases = recorded("ort_matmul_conv.npz", "MatMulInteger")
    assert len(cases) == 12
    for case in cases:
        a, b, a_zp, b_zp = (case.inputs[name] for name in ("a", "b", "a_zp", "b_zp"))
        assert np.array_equal(qt.integer_matmul(a, b, a_zp, b_zp), case.answers["y"]), case

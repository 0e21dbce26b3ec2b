"""One input, as many answers as engines: each witness of their disagreement, rule by rule."""

import json
import re

import numpy as np
import pytest
from operators import RANGES
from test_recorded import folder_of

from qtutor import INT8, UINT8, IntRange
from qtutor.engines import litert_kernels as kernels
from qtutor.engines import onnx, onnxruntime, processor, torch

HALF = np.float32(0.5)


def naive(x, scale, zero_point, to):
    """What is written most: no saturation, so the cast keeps the low bits, of INT32_MIN too."""
    with np.errstate(all="ignore"):
        return processor.to_int32(np.round(x / scale + np.float32(zero_point))).astype(to.dtype)


QUANTIZE = {
    "ORT": onnxruntime.quantize_linear,
    "ONNX ref": onnx.quantize_linear,
    "torch quantize_per_tensor": torch.quantize_per_tensor,
    "torch quantize_per_channel": torch.quantize_per_channel,
    "torch decomposed/fake_quant": torch.decomposed_quantize,
    "LiteRT ref": kernels.reference_quantize,
    "LiteRT opt": kernels.optimized_quantize,
    "LiteRT xnn": kernels.xnnpack_quantize,
    "naive np.round(x/s+zp).astype": naive,
}


def quantize(witness, engine):
    x = np.full(8, witness["x"], np.float32)  # a whole block: LiteRT's opt treats what is left over otherwise
    scale, to = np.float32(witness["scale"]), RANGES[witness["dtype"]]
    return QUANTIZE[engine](x, scale, witness["zp"], to)[0]


def quantize_array(witness, engine):
    x = np.full(9, HALF)
    return QUANTIZE[f"LiteRT {engine}"](x, np.float32(1), 0, INT8)


def minmax(to, symmetric):
    return lambda *ends: torch.minmax_qparams(*ends, to, symmetric=symmetric, eps=2.0**-23, midpoint=0)


def scale_zp(to, symmetric=False):
    return lambda *ends: onnxruntime.compute_scale_zp(*ends, to, symmetric=symmetric)


CHOOSE = {
    "ORT compute_scale_zp uint8": scale_zp(UINT8),
    "ORT compute_scale_zp int8": scale_zp(INT8),
    "ORT symmetric int8": scale_zp(IntRange(-127, 127), symmetric=True),
    "ORT DynamicQuantizeLinear": lambda *ends: onnxruntime.dynamic_quantize_linear(np.array(ends))[1:],
    "ONNX ref DynamicQuantizeLinear": lambda *ends: onnx.dynamic_quantize_linear(np.array(ends))[1:],
    "torch MinMaxObserver quint8": minmax(UINT8, symmetric=False),
    "torch MinMaxObserver qint8": minmax(INT8, symmetric=False),
    "torch symmetric qint8": minmax(INT8, symmetric=True),
    "torch _choose_qparams": lambda *ends: torch.choose_qparams(*ends, 255),
}


def choose_qparams(witness, engine):
    rmin, rmax = np.float32(re.findall(r"[-\de.]+(?=[,\]])", witness["name"]))
    return CHOOSE[engine](rmin, rmax)


def fixed_point(rule):
    return lambda acc, M, zp: rule(acc, M, zp, INT8)


def float_scale(rule):
    return lambda acc, M, zp: rule(acc, M, np.float32(1), np.float32(1), zp, INT8)


def torch_layer(rule, **kind):
    """uint8 and zero_point + 128, which is int8 and zero_point again."""
    bias, one = np.float32(0), np.float32(1)
    return lambda acc, M, zp: (
        rule(acc, bias, torch.Scales(M, one, one), zp + 128, UINT8, **kind).astype(int) - 128
    )


REQUANTIZE = {
    "LiteRT ref FULLY_CONNECTED": fixed_point(kernels.requantize_float64),
    "LiteRT ref CONV_2D": fixed_point(kernels.requantize_double_rounding),
    "LiteRT opt FULLY_CONNECTED": fixed_point(kernels.requantize_half_up),
    "LiteRT opt CONV_2D": fixed_point(kernels.requantize_half_up),
    "LiteRT xnn FULLY_CONNECTED": float_scale(kernels.xnnpack_requantize),
    "LiteRT xnn CONV_2D": float_scale(kernels.xnnpack_requantize),
    "TFLM FULLY_CONNECTED": fixed_point(kernels.requantize_double_rounding),
    "TFLM CONV_2D": fixed_point(kernels.requantize_double_rounding),
    "ORT QLinearConv": float_scale(onnxruntime.requantize),
    "ORT QLinearMatMul": float_scale(onnxruntime.requantize),
    "ONNX ref QLinearMatMul": float_scale(onnx.requantize),
    "torch fbgemm linear (quint8, zp+128)": torch_layer(torch.fbgemm_requantize, per_channel=False),
    "torch onednn linear (quint8, zp+128)": torch_layer(torch.onednn_requantize, convolves=False, vnni=True),
    "torch qnnpack linear (quint8, zp+128)": torch_layer(torch.qnnpack_requantize),
}


def requantize(witness, engine):
    acc, M, zp = re.match(r"acc=(\S+) x (\S+) = .*, out zp (\S+)", witness["name"]).groups()
    return REQUANTIZE[engine](np.int32(acc), np.float32(M), int(zp))


def requantize_codes(witness, engine):
    q, x_scale, y_scale = re.match(r"q=(\S+), scale (\S+)->(\S+) ", witness["name"]).groups()
    rule = {
        "ref": kernels.reference_requantize_codes,
        "opt": kernels.optimized_requantize_codes,
        "xnn": kernels.xnnpack_requantize_codes,
    }[engine]
    return rule(np.array([q]).astype(np.int8), np.float32(x_scale), 0, np.float32(y_scale), 0, INT8)[0]


def dequantize(witness, engine):
    """How many of the 256 codes do not become (q - zero_point) * scale."""
    scale, zp = re.search(r"s=([\d.]+), zp=(\d+)", witness["name"]).groups()
    q, scale, zp = np.arange(-128, 128).astype(np.int8), np.float32(scale), int(zp)
    rule = kernels.optimized_dequantize if engine == "opt" else kernels.reference_dequantize
    return np.count_nonzero(rule(q, scale, zp) != np.float32(q.astype(int) - zp) * scale)


KINDS = {
    "quantize": quantize,
    "quantize-array": quantize_array,
    "choose_qparams": choose_qparams,
    "requantize": requantize,
    "int8->int8 QUANTIZE": requantize_codes,
    "dequantize": dequantize,
}


def witnesses_of(config):
    path = folder_of(config) / "witnesses.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def pytest_generate_tests(metafunc):
    if "engine" in metafunc.fixturenames:
        answers = [
            pytest.param(witness, engine, id=f"{engine}, {witness['kind']} {number}")
            for number, witness in enumerate(witnesses_of(metafunc.config))
            for engine in witness["result"]
        ]
        metafunc.parametrize(("witness", "engine"), answers)


def test_the_rule_gives_the_answer_of_the_engine(witness, engine):
    answer = KINDS[witness["kind"]](witness, engine)
    assert np.array_equal(np.ravel(answer), np.ravel(witness["result"][engine])), witness["name"]

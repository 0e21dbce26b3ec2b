"""The rules of qtutor.engines against the engines installed here, on fresh data: `--live` asks for it.

Recorded answers grow old: a new release of an engine may round otherwise, and these tests say so.
"""

import importlib.metadata
import secrets

import live_litert
import live_onnx
import live_torch
import numpy as np
import pytest
from vectors import case_of

CASES = 60  # per engine and operator: each a second or less
ENGINES = {  # {engine: (the package that has it, its operators)}
    "onnx-ref": ("onnx", live_onnx.REFERENCE),
    "ort": ("onnxruntime", live_onnx.ORT),
    "torch": ("torch", live_torch.TORCH),
    "tflite-ref": ("ai-edge-litert", live_litert.LITERT),
    "tflite-opt": ("ai-edge-litert", live_litert.LITERT),
    "tflite-xnn": ("ai-edge-litert", live_litert.LITERT),
    "tflm": ("tflite-micro", live_litert.LITERT),
}
NEEDS = {"onnxruntime": ["onnx"], "tflite-micro": ["ai-edge-litert"]}  # to write the models down


RECORDERS = [
    pytest.param(engine, operator, id=f"{engine}-{operator}")
    for engine, (_, operators) in ENGINES.items()
    for operator in operators
]


def installed(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def provenance_of(engine, operator):
    """As recorded files say it, this machine's CPU included."""
    if engine == "onnx-ref":
        return {"engine": "onnx.reference"}
    if engine == "ort":
        saturates = operator == "MatMulInteger" and live_onnx.pairs_saturate()
        return {"engine": "onnxruntime" + (" (no VNNI)" if saturates else "")}
    if engine == "torch":
        return {"engine": "torch", "vnni": live_torch.has_vnni()}
    return {"engine": "LiteRT"}


def record(engine, operator, rng):
    """One fresh case: its arguments and arrays."""
    recorder = ENGINES[engine][1][operator]
    if engine == "onnx-ref":
        return recorder(rng, live_onnx.run_onnx_reference)
    if engine == "ort":
        return recorder(rng, live_onnx.run_onnxruntime)
    if engine == "torch":
        return recorder(rng)
    resolver = engine.removeprefix("tflite-")
    arguments, arrays = recorder(rng, resolver)
    return {"resolver": resolver, **arguments}, arrays


@pytest.mark.parametrize(("engine", "operator"), RECORDERS)
@pytest.mark.filterwarnings("default")  # torch warns that its quantization moves elsewhere
def test_the_rule_answers_as_the_installed_engine(engine, operator, pytestconfig, record_property):
    if not pytestconfig.getoption("live"):
        pytest.skip("asks the installed engines: run with --live")
    package = ENGINES[engine][0]
    for needed in [package, *NEEDS.get(package, [])]:
        if not installed(needed):
            pytest.skip(f"{engine} not compared: {needed} is not installed")
    seed = secrets.randbits(32)
    provenance = provenance_of(engine, operator)
    tally, wrong = np.zeros(4, int), []
    for number in range(CASES):
        arguments, arrays = record(engine, operator, np.random.default_rng([seed, number]))
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        meta = {"op": operator, "arrays": [*arrays], **arguments}
        file = f"{package} {installed(package)} here"
        equal, elements, differences = case_of(file, number, provenance, meta, arrays).compare()
        tally += (not differences, 1, equal, elements)
        wrong += differences
    record_property("conformance", {file: tally.tolist()})
    assert not wrong, f"seed {seed}:\n" + "\n".join(wrong[:20])

"""The rules of qtutor.engines against what the engines answered, bit for bit: every case of every file.

`--vectors DIR` checks the files of another folder, which must all be understood.
"""

from collections import defaultdict
from pathlib import Path

import pytest
from vectors import NotUnderstood, read

OURS = Path(__file__).parent / "data"
CASES = {  # in each of our files: a case that goes missing would otherwise go unseen
    "onnx_node_cases.npz": 42,
    "onnxref.npz": 17,
    "onnxref_corners.npz": 4,
    "ort_avx2_u8s8.npz": 6,
    "ort_corners.npz": 7,
    "ort_matmul_conv.npz": 55,
    "ort_nan.npz": 40,
    "ort_qlinear_add.npz": 29,
    "ort_quant.npz": 78,
    "tflite_corners.npz": 45,
    "tflite_geometry.npz": 40,
    "tflite_matmul_conv.npz": 80,
    "tflite_micro.npz": 31,
    "tflite_misc.npz": 36,
    "tflite_quant.npz": 48,
    "torch_corners.npz": 22,
    "torch_linear_conv.npz": 48,
    "torch_quant.npz": 56,
}
NOT_VECTORS = {".md", ".json"}  # prose; and witnesses.json, which test_witnesses.py reads
SET_ASIDE = {"wakeword": "a whole network, which the chapter on microcontroller models checks"}


def folder_of(config):
    chosen = config.getoption("vectors")
    return config.invocation_params.dir / chosen if chosen else OURS


def files_of(folder):
    return sorted(path for path in folder.iterdir() if path.suffix not in NOT_VECTORS)


def by_label(folder):
    """{engine and operator: its cases}, of the files that can be read."""
    found = defaultdict(list)
    for path in files_of(folder):
        try:
            for case in read(path):
                found[case.label].append(case)
        except NotUnderstood:
            pass  # which fails in test_every_file_is_understood
    return {label: cases for label, cases in found.items() if cases[0].operator not in SET_ASIDE}


def pytest_generate_tests(metafunc):
    folder = folder_of(metafunc.config)
    if "path" in metafunc.fixturenames:
        metafunc.parametrize("path", files_of(folder), ids=lambda path: path.name)
    if "cases" in metafunc.fixturenames:
        found = by_label(folder)
        metafunc.parametrize("cases", found.values(), ids=found.keys())


def test_there_are_cases(pytestconfig):
    folder = folder_of(pytestconfig)
    assert by_label(folder), f"no recorded case in {folder}"
    if folder == OURS:
        assert {path.name: len(read(path)) for path in files_of(folder)} == CASES


def test_every_file_is_understood(path):
    cases = read(path)
    if {case.operator for case in cases} <= SET_ASIDE.keys():
        pytest.skip(f"{path.name}: {SET_ASIDE[cases[0].operator]}")
    for case in cases:
        case.bound()


def test_the_rule_answers_as_the_engine_did(cases, record_property):
    tally, wrong = defaultdict(lambda: [0, 0, 0, 0]), []
    for case in cases:
        equal, elements, differences = case.compare()
        counts = (not differences, 1, equal, elements)
        tally[case.file] = [a + b for a, b in zip(tally[case.file], counts, strict=True)]
        wrong += differences
    record_property("conformance", dict(tally))
    assert not wrong, "\n".join(wrong[:20])

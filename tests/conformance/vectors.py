"""Reading recorded cases, and comparing each with its rule, bit for bit.

A file is an .npz with one JSON string `meta` = {"provenance": {...}, "cases": [...]}.  A case names its
operator, arguments and arrays; the arrays of case i are stored as `c{i}/{name}`.
"""

import functools
import inspect
import json
from dataclasses import dataclass, field

import numpy as np
from operators import RULES

# Arguments that describe a case to a reader and change nothing of what the engine computes
PROSE = {"kind", "note", "config", "name", "opset"}
# What the engine answered; every other array was an input
OUTPUTS = {
    "DynamicQuantizeLinear": {"y", "scale", "zp"},
    "compute_scale_zp": {"scale", "zp"},
    "MinMaxObserver": {"scale", "zp"},
    "PerChannelMinMaxObserver": {"scale", "zp"},
    "MovingAverageMinMaxObserver": {"min_val", "max_val", "scale", "zp"},
    "_choose_qparams_per_tensor": {"scale", "zp"},
}
# The arrays of an ONNX node are numbered: their names are those of the other files, in the operator's order
ONNX_INPUTS = {
    "QuantizeLinear": "x scale zp",
    "DequantizeLinear": "x scale zp",
    "DynamicQuantizeLinear": "x",
    "MatMulInteger": "a b a_zp b_zp",
    "QLinearMatMul": "a a_scale a_zp b b_scale b_zp y_scale y_zp",
    "ConvInteger": "x w x_zp w_zp",
    "QLinearConv": "x x_scale x_zp w w_scale w_zp y_scale y_zp bias",
}
ONNX_OUTPUTS = {"DynamicQuantizeLinear": "y scale zp"}


class NotUnderstood(Exception):
    """A file or a case that the rules do not cover: it must fail, not be skipped."""


@dataclass
class Case:
    """One call of an engine: `engine` and `operator` find the rule, and `label` names the test."""

    file: str
    number: int
    label: str
    engine: str
    operator: str
    arguments: dict
    inputs: dict
    answers: dict = field(repr=False)

    def bound(self):
        """The rule with this case's inputs and arguments, or an error that says what does not fit."""
        where = f"{self.file} case {self.number}"
        if (self.engine, self.operator) not in RULES:
            raise NotUnderstood(f"{where}: no rule for {self.operator} of {self.engine}")
        if not self.answers:
            raise NotUnderstood(f"{where}: nothing that {self.label} answered")
        rule = RULES[self.engine, self.operator]
        try:
            inspect.signature(rule).bind(**self.inputs, **self.arguments)
        except TypeError as error:
            raise NotUnderstood(f"{where}, {self.label}: {error}") from error
        return lambda: rule(**self.inputs, **self.arguments)

    def compare(self):
        """(elements equal, elements, what differs): exact in values, dtype and shape."""
        where, total = f"{self.file} case {self.number}", sum(answer.size for answer in self.answers.values())
        try:
            got = self.bound()()
        except Exception as error:  # of whatever kind: this case fails, the others still count
            return 0, total, [f"{where}: {type(error).__name__}: {error}"]
        equal, differences = 0, []
        for name, answer in self.answers.items():
            if name not in got:
                differences.append(f"{where}: no rule for the answer {name!r}, only for {[*got]}")
                continue
            mine = np.asarray(got[name])
            if (mine.dtype, mine.shape) != (answer.dtype, answer.shape):
                kinds = f"{mine.dtype} {mine.shape}, the engine {answer.dtype} {answer.shape}"
                differences.append(f"{where}, {name}: the rule gives {kinds}")
                continue
            same = same_bits(mine, answer)
            equal += int(same.sum())
            if not same.all():
                at = tuple(int(i) for i in np.argwhere(~same)[0])
                differences.append(
                    f"{where}, {name}{list(at)}: the rule gives {mine[at]!r}, the engine {answer[at]!r}; "
                    f"{int((~same).sum())} of {answer.size} differ ({self.arguments})"
                )
        return equal, total, differences


def same_bits(a, b):
    """Where two arrays of one dtype hold the same value, -0.0 and 0.0 told apart, any NaN equal to any."""
    if a.dtype.kind != "f":
        return a == b
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


@functools.cache
def read(path):
    """Every case of a file, or NotUnderstood."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(str(arrays.pop("meta")))
        provenance, cases = meta["provenance"], meta["cases"]
    except (OSError, ValueError, KeyError) as error:
        raise NotUnderstood(f"{path.name} is no file of recorded cases: {error!r}") from error
    if not cases:
        raise NotUnderstood(f"{path.name} holds no case")
    found = []
    for number, case in enumerate(cases):
        names = case.get("arrays", [])
        keys = {name: f"c{number}/{name}" for name in names}
        if missing := [key for key in keys.values() if key not in arrays]:
            raise NotUnderstood(f"{path.name} case {number} lacks {missing}")
        found.append(
            case_of(path.name, number, provenance, case, {n: arrays.pop(k) for n, k in keys.items()})
        )
    if arrays:
        raise NotUnderstood(f"{path.name} has arrays of no case: {[*arrays]}")
    return found


def case_of(file, number, provenance, case, arrays):
    """A case as recorded, in the words of the rules."""
    arguments = {key: value for key, value in case.items() if key not in {"op", "arrays", *PROSE}}
    operator = case.get("op", "?")
    engine = label = engine_of(file, provenance)
    if engine == "onnx-node":
        arrays, arguments = onnx_node(file, number, operator, arrays, arguments)
    if engine == "torch" and "qengine" in arguments and operator in ("linear", "conv2d"):
        label = f"torch-{arguments['qengine']}"
        if "vnni" not in provenance:
            raise NotUnderstood(f"{file} does not say whether the CPU had VNNI, which decides the kernels")
        arguments["vnni"] = provenance["vnni"]
    if engine == "tflite":
        label = "tflm" if arguments.get("resolver") == "tflm" else f"tflite-{arguments.get('resolver')}"
    outputs = OUTPUTS.get(operator, {"y"}) | {"y_exact", "y_as_float32"}
    return Case(
        file=file,
        number=number,
        label=f"{label}-{operator}",
        engine=engine,
        operator=operator,
        arguments=arguments,
        inputs={name: array for name, array in arrays.items() if name not in outputs},
        answers={name: array for name, array in arrays.items() if name in outputs},
    )


def engine_of(file, provenance):
    """Which engine's rules apply, from what the file says about its origin."""
    engine = provenance.get("engine", "?")
    for beginning, name in {
        "onnx.backend.test": "onnx-node",
        "onnx.reference": "onnx-ref",
        "onnxruntime": "ort-avx2" if "no VNNI" in engine else "ort",
        "torch": "torch",
        "LiteRT": "tflite",
    }.items():
        if engine.startswith(beginning):
            return name
    raise NotUnderstood(f"{file}: no rules for engine {engine!r}")


def onnx_node(file, number, operator, arrays, arguments):
    """in0, in1, ..., out0, ... and the node's attributes, by the names of the other files."""
    if operator not in ONNX_INPUTS:
        raise NotUnderstood(f"{file} case {number}: no rule for the node {operator}")
    names = {f"in{i}": name for i, name in enumerate(ONNX_INPUTS[operator].split())}
    outputs = ONNX_OUTPUTS.get(operator, "y").split()
    names |= {f"out{i}": name for i, name in enumerate(outputs)} | {"out0_as_float32": "y_as_float32"}
    if unknown := arrays.keys() - names.keys():
        raise NotUnderstood(f"{file} case {number}: unknown arrays {unknown}")
    attributes = dict(arguments.pop("attrs"))
    in_types, out_types = arguments.pop("in_types"), arguments.pop("out_types")
    arguments.pop("input_names")
    if operator in ("QuantizeLinear", "DequantizeLinear"):
        attributes |= {"x_type": onnx_type(in_types[0]), "y_type": onnx_type(out_types[0])}
    return {names[name]: array for name, array in arrays.items()}, arguments | attributes


def onnx_type(name):
    """FLOAT16 -> float16, but FLOAT -> float32."""
    return "float32" if name == "FLOAT" else name.lower()

"""qtutor/interop: ONNX Runtime and ONNX's reference give the codes of `run`, every one of them."""

import ast
import dataclasses
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from exact import exact_double, exact_single
from networks import input_codes, integer_network, other_network
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from qtutor import (
    INT4,
    UINT8,
    int_range,
    multiply_double_rounding,
    multiply_float,
    multiply_single_rounding,
    quantize,
)
from qtutor.graph import run
from qtutor.interop.onnx import (
    OnnxGraph,
    double_rounding_nodes,
    export_integers,
    export_qlinear,
    float_network,
    fused_add,
    single_rounding_nodes,
    unfused_add,
)
from qtutor.models.digits import CNN, load_digits

PACKAGE = Path(__file__).resolve().parents[1] / "qtutor"
NAMES = [node.name for node in CNN.nodes]
DIGITS = load_digits()
TRAIN, TEST = DIGITS.images[DIGITS.train], DIGITS.images[DIGITS.test]
NETWORKS = {
    "int8, per-channel": {},
    "int8, per-tensor": {"per_channel": False},
    "4-bit weights": {"weight_range": INT4},
    "4-bit activations": {"activation_range": INT4},
    "without zero-points": {"symmetric": True},
}


def run_in_float(network, q, *, optimized=False):
    """As ONNX Runtime runs export_qlinear, whose optimization fuses the add."""
    add = fused_add if optimized else unfused_add
    return run(float_network(network, add=add), q, multiply=multiply_float)


# name -> (network -> graph, network -> what run has to give)
GRAPHS = {
    "single rounding": (
        lambda network: export_integers(network, multiply=single_rounding_nodes),
        lambda network, q, **_: run(network, q, multiply=multiply_single_rounding),
    ),
    "double rounding": (
        lambda network: export_integers(network, multiply=double_rounding_nodes),
        lambda network, q, **_: run(network, q, multiply=multiply_double_rounding),
    ),
    "QLinearConv": (export_qlinear, run_in_float),
}


@pytest.fixture(scope="module")
def ort():
    if os.environ.get("CI"):  # there a missing engine is a failure, not a skip
        import onnxruntime
    else:
        onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return onnxruntime


@pytest.fixture(scope="module")
def networks():
    return {name: integer_network(TRAIN, **choices) for name, choices in NETWORKS.items()}


@pytest.fixture(scope="module")
def network(networks):
    return networks["int8, per-channel"]


def answers(ort, model, q, *, optimized=False):
    """The codes of every tensor in ONNX Runtime, by name."""
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors alone
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return named(model, session.run(None, {"input": q}))


def named(model, tensors):
    return dict(zip((output.name for output in model.graph.output), tensors, strict=True))


def reference_answers(model, q):
    return named(model, ReferenceEvaluator(model).run(None, {"input": q}))


def differing(got, expected):
    """name -> how many codes differ, for the tensors where any does."""
    assert list(got) == list(expected)[1:]  # all but the input
    assert all(got[name].dtype == np.int8 and got[name].shape == expected[name].shape for name in got)
    counts = {name: int(np.sum(got[name] != expected[name])) for name in got}
    return {name: count for name, count in counts.items() if count}


# --- the same codes in engines that others wrote


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_gives_every_code_of_every_tensor_on_all_test_images(
    ort, networks, name, graph, record_property
):
    export, expect = GRAPHS[graph]
    q = input_codes(networks[name], TEST)
    assert q.shape == (599, 1, 8, 8)
    for optimized in (False, True):  # the graph as it is written, and as ONNX Runtime rewrites it
        got = answers(ort, export(networks[name]), q, optimized=optimized)
        assert differing(got, expect(networks[name], q, optimized=optimized)) == {}
    if name == "int8, per-channel":
        total = sum(codes.size for codes in got.values())
        record_property(
            f"digits CNN, {graph}, ONNX Runtime {ort.__version__}", f"{total} of {total} codes equal"
        )


@pytest.mark.parametrize("graph", ["single rounding", "double rounding"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_onnx_reference_gives_every_code_of_the_integer_graphs(networks, name, graph):
    export, expect = GRAPHS[graph]
    q = input_codes(networks[name], TEST[:10])
    assert differing(reference_answers(export(networks[name]), q), expect(networks[name], q)) == {}


@pytest.mark.parametrize("graph", GRAPHS)
def test_onnx_runtime_gives_every_code_of_another_network(ort, graph):
    export, expect = GRAPHS[graph]
    _, x, network = other_network()
    q = quantize(x, network.input)
    for optimized in (False, True):
        got = answers(ort, export(network), q, optimized=optimized)
        assert differing(got, expect(network, q, optimized=optimized)) == {}


def test_onnx_runtime_gives_every_code_of_a_hundred_networks_fused_or_not(ort, record_property):
    rng = np.random.default_rng(10)
    told_apart = 0
    for _ in range(100):
        network = integer_network(rng.choice(TRAIN, 20, replace=False))  # other ranges each time
        q, model = input_codes(network, rng.choice(TEST, 30, replace=False)), export_qlinear(network)
        expected = {o: run_in_float(network, q, optimized=o) for o in (False, True)}
        for optimized in expected:
            got = answers(ort, model, q, optimized=optimized)
            assert differing(got, expected[optimized]) == {}
        told_apart += any((expected[False][name] != expected[True][name]).any() for name in NAMES)
    assert told_apart > 0  # else the two adds would be one
    record_property("digits CNNs in which a fused add gives other codes", f"{told_apart} of 100")


def test_the_onnx_reference_multiplies_by_the_scale_in_double_precision(network):
    # its rule for QLinearConv and QLinearMatMul (engines.onnx_requantize): another than ONNX Runtime's
    def multiply_in_double(acc, multiplier):
        return np.rint(acc.astype(np.float64) * multiplier.astype(np.float64)).astype(np.int32)

    q = input_codes(network, TEST[:60])
    expected = run(float_network(network, add=unfused_add), q, multiply=multiply_in_double)
    assert differing(reference_answers(export_qlinear(network), q), expected) == {}


# --- the products


MANTISSAS = [2**30, 2**30 + 1, 1518500250, 2**31 - 1, 0]
SHIFTS = [-30, -8, -1, 0, 1, 2, 7, 20, 30, 31]


@pytest.mark.parametrize(
    ("nodes", "exact"),
    [(single_rounding_nodes, exact_single), (double_rounding_nodes, exact_double)],
)
def test_the_nodes_round_like_exact_fractions(ort, nodes, exact):
    edges = [sign * (2**k + d) for k in (0, 1, 7, 8, 15, 24, 30, 31) for d in (-1, 0, 1) for sign in (1, -1)]
    ties = [sign * (2 * n + 1) * 2**k for n in range(3) for k in (0, 6, 19) for sign in (1, -1)]
    accs = [acc for acc in {*edges, *ties} if -(2**31) <= acc < 2**31]
    for shift in SHIFTS:
        graph = OnnxGraph()
        acc = np.array(accs, np.int64)[:, np.newaxis]
        result = nodes(graph, "acc", np.array(MANTISSAS, np.int64), np.full(len(MANTISSAS), shift, np.int64))
        port = (TensorProto.INT64, [None, None])
        model = graph.model({"acc": port}, {result: port})
        expected = [[exact(a, mantissa, shift) for mantissa in MANTISSAS] for a in accs]
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for (y,) in (session.run(None, {"acc": acc}), ReferenceEvaluator(model).run(None, {"acc": acc})):
            assert np.clip(y, -(2**31), 2**31 - 1).tolist() == expected


# --- what the graphs consist of


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_graph_is_valid_and_has_every_tensor_as_an_output(network, graph):
    model = GRAPHS[graph][0](network)
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == NAMES
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def dtypes(model):
    """name -> type of every tensor of the graph."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {constant.name: constant.data_type for constant in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    assert found.keys() == {name for node in graph.node for name in (*node.input, *node.output)}
    return found


@pytest.mark.parametrize("nodes", [single_rounding_nodes, double_rounding_nodes])
def test_the_integer_graph_has_no_float(network, nodes):
    assert set(dtypes(export_integers(network, multiply=nodes)).values()) == {
        TensorProto.BOOL,  # acc < 0
        TensorProto.INT8,
        TensorProto.INT32,
        TensorProto.INT64,
    }


@pytest.mark.parametrize("graph", GRAPHS)
def test_both_operands_of_every_product_are_int8_since_uint8_needs_vnni(network, graph):
    model = GRAPHS[graph][0](network)
    found, seen = dtypes(model), 0
    second = {"ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3}
    for node in model.graph.node:
        if node.op_type in second:
            seen += 1
            assert found[node.input[0]] == found[node.input[second[node.op_type]]] == TensorProto.INT8
    assert seen == (14 if graph == "QLinearConv" else 8)


# --- a fault is seen


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_zero_point_off_by_one_changes_codes(ort, network, graph):
    export, expect = GRAPHS[graph]
    q = input_codes(network, TEST[:20])
    expected = expect(network, q)
    model = export(network)
    fields = {"ConvInteger": 2, "MatMulInteger": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QuantizeLinear": 2}
    constants = {constant.name: constant for constant in model.graph.initializer}
    zero_points = [node.input[fields[node.op_type]] for node in model.graph.node if node.op_type in fields]
    assert len(zero_points) == (16 if graph == "QLinearConv" else 8)
    for name in zero_points:
        right = numpy_helper.to_array(constants[name])
        constants[name].CopyFrom(numpy_helper.from_array(right + np.int8(1 if right < 127 else -1), name))
        assert differing(answers(ort, model, q), expected)
        constants[name].CopyFrom(numpy_helper.from_array(right, name))
    assert differing(answers(ort, model, q), expected) == {}


def test_the_three_graphs_are_three_networks(network):
    # were all codes the same, none of the tests above could tell one rounding from another
    q = input_codes(network, TEST)
    single, double, by_float = (expect(network, q) for _, expect in GRAPHS.values())
    for one, other in ((single, double), (double, by_float), (single, by_float)):
        assert any((one[name] != other[name]).any() for name in NAMES)


# --- what is refused


@pytest.mark.parametrize("export", [export for export, _ in GRAPHS.values()], ids=GRAPHS)
def test_networks_that_the_graph_cannot_hold_are_refused(network, export):
    few = TRAIN[:50]
    with pytest.raises(ValueError, match=r"the graph has int8 codes, got 0\.\.255 for input"):
        export(integer_network(few, activation_range=UINT8))
    with pytest.raises(ValueError, match=r"the graph has int8 codes, got -512\.\.511 for input"):
        export(integer_network(few, activation_range=int_range(10)))
    with pytest.raises(ValueError, match="the graph has int8 weights, got int16 for stem"):
        export(integer_network(few, weight_range=int_range(9)))
    padded = dataclasses.replace(network.layers["stem"], pad_code=0)
    with pytest.raises(ValueError, match="engines pad with the zero-point, -128, got 0 for stem"):
        export(dataclasses.replace(network, layers={**network.layers, "stem": padded}))
    with pytest.raises(TypeError, match=r"from what quantize_network returns, got FloatAdd for block1"):
        export(float_network(network, add=fused_add))


# --- nothing else needs onnx


def test_no_other_module_imports_onnx_when_it_is_imported():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # not what functions import
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if path.parent.name != "interop":
                tops = {name.partition(".")[0] for name in names}
                assert not {"onnx", "onnxruntime"} & tops and "qtutor.interop.onnx" not in names, path.name

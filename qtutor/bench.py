"""How fast, and with how much memory: ratios from one run, on one thread.

Run it with `python3 run.py bench`.  A ratio compares two ways of the same machine at the same hour, so it
says something elsewhere too; seconds would not.  Each way is timed in turn, right after a run that is not
timed, since the other left the caches and the memory in its own order; the best of 15 counts.
"""

import importlib.util
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from qtutor.affine import QParams, dequantize, quantize
from qtutor.engines.onnxruntime import matmul_integer_without_vnni
from qtutor.fixedpoint import multiply_float, multiply_single_rounding
from qtutor.graph import calibrate, quantize_network, run
from qtutor.matmul import integer_matmul
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.rounding import UINT8

Row = tuple[str, str, str]  # what, measured, to reach

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "BLIS")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}


def main() -> None:
    """Print the table.  NumPy reads the number of threads when it is imported: start again with it set."""
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        sys.exit(subprocess.call([sys.executable, "-m", "qtutor.bench"], env={**os.environ, **ONE_THREAD}))
    print(f"{'one thread, ratios from one run':<58}{'measured':>14}{'to reach':>14}")
    for rows in (quantize_rows, matmul_rows, network_rows, import_rows):
        for name, measured, to_reach in rows():
            print(f"{name:<58}{measured:>14}{to_reach:>14}".rstrip(), flush=True)


def quantize_rows() -> list[Row]:
    """Blocks that stay in the cache, against the line that everybody writes."""
    scale, zero_point = np.float32(0.02), 128
    x = np.random.default_rng(0).normal(size=2**24).astype(np.float32)
    qparams = QParams(scale, zero_point, UINT8)
    q = quantize(x, qparams)

    def naive_quantize() -> np.ndarray:
        return np.clip(np.round(x / scale) + zero_point, 0, 255).astype(np.uint8)

    def naive_dequantize() -> np.ndarray:
        return scale * (q.astype(np.int32) - zero_point).astype(np.float32)

    assert np.array_equal(q, naive_quantize())
    assert np.array_equal(dequantize(q, qparams), naive_dequantize())
    faster_to = ratio(naive_quantize, lambda: quantize(x, qparams))
    faster_back = ratio(naive_dequantize, lambda: dequantize(q, qparams))
    return [
        ("quantize 16M float32 to uint8, against the naive line", f"{faster_to:.1f}x", ">= 3x"),
        ("  memory beyond the output", f"{extra_memory(lambda: quantize(x, qparams)):.1f} MB", "<= 2 MB"),
        ("dequantize 16M uint8 to float32, against the naive line", f"{faster_back:.1f}x", ">= 2.5x"),
        ("  memory beyond the output", f"{extra_memory(lambda: dequantize(q, qparams)):.1f} MB", "<= 2 MB"),
    ]


def matmul_rows() -> list[Row]:
    """Exact integers on float BLAS, against NumPy's own integer product and ONNX Runtime's."""
    rng = np.random.default_rng(0)
    q1 = rng.integers(0, 256, size=(512, 512)).astype(np.uint8)
    q2 = rng.integers(-127, 128, size=(512, 512)).astype(np.int8)

    def ours() -> np.ndarray:
        return integer_matmul(q1, q2, 128)

    def naive_matmul() -> np.ndarray:
        return (q1.astype(np.int32) - 128) @ q2.astype(np.int32)

    assert np.array_equal(ours(), naive_matmul())
    faster = ratio(naive_matmul, ours)
    rows = [("integer_matmul 512x512x512 u8 x s8, against int32 @", f"{faster:.0f}x", ">= 25x")]
    slower = "not installed"
    if installed("onnx", "onnxruntime"):
        engine = ort_matmul(q1, q2, 128)
        saturated = matmul_integer_without_vnni(q1, q2, 128)  # u8 x s8 is exact where there is VNNI
        assert np.array_equal(engine(), ours()) or np.array_equal(engine(), saturated)
        slower = f"{ratio(ours, engine):.1f}x slower"
    return [*rows, ("  against ONNX Runtime, MatMulInteger", slower, "<= 6x slower")]


def network_rows() -> list[Row]:
    """The integer CNN on all the test images at once, against engines that compute the same codes."""
    names = (
        "int8 CNN on 599 images, against onnx.reference",
        "  against ONNX Runtime, the same integer operators",
        "  multipliers in float32, against ONNX Runtime, QLinearConv",
    )
    measured = ["not installed"] * 3
    if installed("onnx"):
        from onnx.reference import ReferenceEvaluator

        from qtutor.interop import onnx as onnx_export

        digits = load_digits()
        weights = load_weights()
        maps = calibrate(CNN, weights, to_input(digits.images[digits.train]))
        network = quantize_network(CNN, weights, maps)
        float_network = onnx_export.float_network(network, add=onnx_export.fused_add)
        integers = onnx_export.export_integers(network, multiply=onnx_export.single_rounding_nodes)
        q = quantize(to_input(digits.images[digits.test]), network.input)

        def ours() -> dict[str, np.ndarray]:
            return run(network, q, multiply=multiply_single_rounding)

        def ours_in_float() -> dict[str, np.ndarray]:
            return run(float_network, q, multiply=multiply_float)

        reference = ReferenceEvaluator(integers)
        contests = [(ours, lambda: reference.run(None, {"input": q}))]
        if installed("onnxruntime"):
            contests.append((ours, ort_session(integers, input=q)))
            contests.append((ours_in_float, ort_session(onnx_export.export_qlinear(network), input=q)))
        for i, (run_ours, engine) in enumerate(contests):
            assert all(map(np.array_equal, list(run_ours().values())[1:], engine()))
            faster = ratio(engine, run_ours)
            measured[i] = f"{faster:.1f}x" if i == 0 or faster >= 1 else f"{1 / faster:.1f}x slower"
    return list(zip(names, measured, (">= 10x", "", ""), strict=True))


def installed(*packages: str) -> bool:
    """Whether all of these can be imported; the table does without those that cannot."""
    return all(importlib.util.find_spec(package) for package in packages)


def ort_session(model: Any, **inputs: np.ndarray) -> Callable[[], list[np.ndarray]]:
    """The model in ONNX Runtime, on one thread: call it to compute all outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, inputs)


def ort_matmul(q1: np.ndarray, q2: np.ndarray, zero_point1: int) -> Callable[[], np.ndarray]:
    """ONNX Runtime's MatMulInteger of these square matrices, uint8 and int8: call it to compute."""
    from onnx import TensorProto

    from qtutor.interop.onnx import OnnxGraph

    graph, shape = OnnxGraph(), q1.shape
    acc = graph.add("MatMulInteger", "q1", "q2", np.uint8(zero_point1))
    inputs = {"q1": (TensorProto.UINT8, shape), "q2": (TensorProto.INT8, shape)}
    session = ort_session(graph.model(inputs, {acc: (TensorProto.INT32, shape)}), q1=q1, q2=q2)
    return lambda: session()[0]


def import_rows() -> list[Row]:
    """What `import qtutor` adds, once NumPy is there."""
    code = (
        "import numpy, time; start = time.perf_counter(); import qtutor; print(time.perf_counter() - start)"
    )
    seconds = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(7))
    return [("import qtutor, beyond import numpy", f"{1000 * seconds:.0f} ms", "<= 30 ms")]


def ratio(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """How many times as long `slow` takes: the best of 15, taken in turn, each after a run to warm up."""
    times: dict[Callable[[], object], list[float]] = {slow: [], fast: []}
    for _ in range(15):
        for way, seconds in times.items():
            way()
            start = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - start)
    return min(times[slow]) / min(times[fast])


def extra_memory(work: Callable[[], np.ndarray]) -> float:
    """The largest amount of memory that NumPy held beyond the result, in MB of 10**6 bytes."""
    tracemalloc.start()
    size = work().nbytes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (peak - size) / 1e6


if __name__ == "__main__":
    main()

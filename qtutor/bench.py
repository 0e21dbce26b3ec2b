"""How fast, and with how much memory: ratios from one run, on one thread.

Run it with `python3 run.py bench`.  A ratio compares two ways of the same machine at the same hour, so it
says something elsewhere too; seconds would not.  Each way is timed in turn, and the best of 15 counts.
"""

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from qtutor.affine import QParams, dequantize, quantize
from qtutor.matmul import integer_matmul
from qtutor.rounding import UINT8

LIBRARIES = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "BLIS")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}


def main() -> None:
    """Print the table.  NumPy reads the number of threads when it is imported: start again with it set."""
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        sys.exit(subprocess.call([sys.executable, "-m", "qtutor.bench"], env={**os.environ, **ONE_THREAD}))
    print(f"{'one thread, ratios from one run':<58}{'measured':>10}{'to reach':>11}")
    for name, measured, to_reach in [*quantize_rows(), *matmul_rows(), *import_rows()]:
        print(f"{name:<58}{measured:>10}{to_reach:>11}", flush=True)


def quantize_rows() -> list[tuple[str, str, str]]:
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


def matmul_rows() -> list[tuple[str, str, str]]:
    """Exact integers on float BLAS, against NumPy's own integer product."""
    rng = np.random.default_rng(0)
    q1 = rng.integers(0, 256, size=(512, 512)).astype(np.uint8)
    q2 = rng.integers(-127, 128, size=(512, 512)).astype(np.int8)

    def naive_matmul() -> np.ndarray:
        return (q1.astype(np.int32) - 128) @ q2.astype(np.int32)

    assert np.array_equal(integer_matmul(q1, q2, 128), naive_matmul())
    faster = ratio(naive_matmul, lambda: integer_matmul(q1, q2, 128))
    return [("integer_matmul 512x512x512 u8 x s8, against int32 @", f"{faster:.0f}x", ">= 25x")]


def import_rows() -> list[tuple[str, str, str]]:
    """What `import qtutor` adds, once NumPy is there."""
    code = (
        "import numpy, time; start = time.perf_counter(); import qtutor; print(time.perf_counter() - start)"
    )
    seconds = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(7))
    return [("import qtutor, beyond import numpy", f"{1000 * seconds:.0f} ms", "<= 30 ms")]


def ratio(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """How many times as long `slow` takes: the best of 15, taken in turn, after one round to warm up."""
    times: dict[Callable[[], object], list[float]] = {slow: [], fast: []}
    for _ in range(16):
        for way, seconds in times.items():
            start = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - start)
    return min(times[slow][1:]) / min(times[fast][1:])


def extra_memory(work: Callable[[], np.ndarray]) -> float:
    """The largest amount of memory that NumPy held beyond the result, in MB of 10**6 bytes."""
    tracemalloc.start()
    size = work().nbytes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (peak - size) / 1e6


if __name__ == "__main__":
    main()

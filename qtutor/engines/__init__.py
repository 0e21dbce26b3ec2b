"""What real engines compute, rule by rule: ONNX Runtime, ONNX, PyTorch, LiteRT (an instrument).

Everybody writes q = saturate(round(x / scale) + zero_point), and no two engines compute it alike.  One
multiplies by 1 / scale, another adds zero_point before it rounds, a third rounds ties away from zero, and
what becomes of NaN is anybody's guess.  Each function here is one operator of one engine, or one rule of
it, bit for bit: its docstring names the engine and the API, its body is the formula.  tests/conformance
holds what the engines answered, and the same tests run against those installed on your machine.

    processor       arithmetic that processors have and NumPy hides
    onnxruntime     ONNX Runtime
    onnx            ONNX's reference evaluator
    torch           PyTorch: fbgemm, oneDNN, QNNPACK
    litert          LiteRT, XNNPACK in it, TensorFlow Lite Micro
    litert_kernels  the rules in which these differ; gemmlowp: the exponentials of some

Not part of the core: `import qtutor` does not load it; and it loads NumPy alone, none of the real engines.
The rules were established by experiment on x86-64 with onnx 1.23.2, onnxruntime 1.32.0, torch 2.13.0,
ai-edge-litert 2.3.0, tflite-micro of 2026-10-23.

Throughout, x is real (float32), q holds codes, `to` is the range of the result's codes, acc int32
accumulators.  Scales are float32, zero-points integers; both have shape (), or (channels,) with an axis.
"""

from qtutor.engines import litert, litert_kernels, onnx, onnxruntime, processor, torch

__all__ = ["litert", "litert_kernels", "onnx", "onnxruntime", "processor", "torch"]

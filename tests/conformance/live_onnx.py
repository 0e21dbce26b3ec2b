"""Fresh cases from ONNX Runtime, and from the ONNX reference evaluator, which reads the same models."""

import fresh
import numpy as np

from qtutor.engines import processor


def model(operator, inputs, attributes, outputs, domain=""):
    """A model of one node, and what to feed it.  `outputs` gives the ONNX type of each."""
    from onnx import TensorProto, helper

    inputs = {name: np.asarray(array) for name, array in inputs.items()}
    described = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    answered = [
        helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), None)
        for name, kind in outputs.items()
    ]
    node = helper.make_node(operator, list(inputs), list(outputs), domain=domain, **attributes)
    graph = helper.make_graph([node], operator, described, answered)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), inputs


def run_onnxruntime(operator, inputs, attributes, outputs, domain=""):
    """Without graph optimizations, on one thread."""
    import onnxruntime as ort

    one_node, feeds = model(operator, inputs, attributes, outputs, domain)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(one_node.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, map(np.asarray, session.run(None, feeds)), strict=True))


def run_onnx_reference(operator, inputs, attributes, outputs):
    from onnx.reference import ReferenceEvaluator

    one_node, feeds = model(operator, inputs, attributes, outputs)
    with np.errstate(all="ignore"):
        answers = ReferenceEvaluator(one_node).run(None, feeds)
    return dict(zip(outputs, map(np.asarray, answers), strict=True))


def pairs_saturate():
    """Whether this CPU lacks VNNI, so that pairs of uint8 x int8 products saturate at int16."""
    inputs = {"a": np.full((1, 2), 255, np.uint8), "b": np.full((2, 1), 127, np.int8)}
    y = run_onnxruntime("MatMulInteger", inputs, {}, {"y": "INT32"})["y"]
    return int(y[0, 0]) != 2 * 255 * 127


def quantize_linear(rng, run):
    dtype = fresh.one_of(rng, ["uint8", "int8", "uint16", "int16"])
    shape, attributes = fresh.one_of(rng, fresh.SHAPES), {}
    parameters = ()
    if rng.random() < 0.3:
        shape, axis = (3, 4, 9), int(rng.integers(-3, 3))
        attributes, parameters = {"axis": axis}, (shape[axis],)
    elif rng.random() < 0.3:
        shape, axis, block = (6, 10), int(rng.integers(0, 2)), int(rng.integers(1, 5))
        parameters = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape))
        attributes = {"axis": axis, "block_size": block}
    scale = fresh.scale(rng, parameters)
    inputs = {"x": fresh.reals(rng, shape, scale.mean(), dtype), "scale": scale}
    inputs["zp"] = fresh.zero_point(rng, parameters, dtype)
    answers = run("QuantizeLinear", inputs, attributes, {"y": dtype.upper()})
    return {"dtype": dtype, **attributes}, inputs | answers


def dequantize_linear(rng, run):
    dtype = fresh.one_of(rng, ["uint8", "int8", "uint16", "int16", "int32"])
    shape, axis = (5, 9), None if dtype == "int32" else fresh.one_of(rng, [None, 0, 1, -1])
    parameters = () if axis is None else (shape[axis],)
    inputs = {"x": fresh.codes(rng, shape, dtype), "scale": fresh.scale(rng, parameters)}
    if dtype != "int32":
        inputs["zp"] = fresh.codes(rng, parameters, dtype)
    answers = run("DequantizeLinear", inputs, {} if axis is None else {"axis": axis}, {"y": "FLOAT"})
    return {"dtype": dtype, "axis": axis}, inputs | answers


def dynamic_quantize_linear(rng, run):
    n = fresh.one_of(rng, [0, 1, 2, 8, 9, 32, 40, 333] if run is run_onnxruntime else [1, 2, 9, 40, 333])
    low = rng.integers(0, 255) + 0.5  # so that zero_point is a tie
    x = fresh.one_of(
        rng,
        [
            np.zeros(n),
            np.resize([-low, 255 - low, 0.5, 1.5, -2.5], n) * fresh.scale(rng),
            rng.normal(size=n) * fresh.one_of(rng, [1e-44, 1e-38, 1e30]),
            rng.normal(size=n) + fresh.one_of(rng, [-9, 0, 9]),
        ],
    )
    x = np.float32(x)
    if run is run_onnxruntime and n and rng.random() < 0.5:  # the evaluator makes NaN the cast of the CPU
        x[rng.integers(0, n, fresh.one_of(rng, [1, 2, n]))] = np.nan
    inputs, outputs = {"x": x}, {"y": "UINT8", "scale": "FLOAT", "zp": "UINT8"}
    return {}, inputs | run("DynamicQuantizeLinear", inputs, {}, outputs)


def compute_scale_zp(rng, run):
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    qmin, qmax, symmetric = fresh.one_of(
        rng,
        [
            (0, 255, False),
            (-128, 127, False),
            (0, 255, True),
            (-127, 127, True),
            (0, 65535, False),
            (0, 127, False),
        ],
    )
    dtype = np.int8 if qmin < 0 else np.uint16 if qmax > 255 else np.uint8
    rmin, rmax = fresh.ranges(rng, 60)
    chosen = [
        compute_scale_zp(low, high, np.array(qmin, dtype), np.array(qmax, dtype), symmetric=symmetric)
        for low, high in zip(rmin, rmax, strict=True)
    ]
    zp, scale = (np.array([part.item() for part in parts]) for parts in zip(*chosen, strict=True))
    arrays = {"rmin": rmin, "rmax": rmax, "scale": np.float32(scale), "zp": zp.astype(np.int64)}
    return {"qmin": qmin, "qmax": qmax, "symmetric": symmetric}, arrays


def types(rng):
    return fresh.one_of(rng, [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])


def matmul_integer(rng, run):
    kind_a, kind_b = types(rng)
    m, k, n = (fresh.one_of(rng, [1, 2, 3, 7, 8, 33, 64, 130]) for _ in range(3))
    inputs = {
        "a": fresh.codes(rng, (m, k), kind_a),
        "b": fresh.codes(rng, (k, n), kind_b),
        "a_zp": fresh.zero_point(rng, (), kind_a),
        "b_zp": fresh.zero_point(rng, fresh.one_of(rng, [(), (n,)]), kind_b),
    }
    return {"types": f"{kind_a}x{kind_b}"}, inputs | run("MatMulInteger", inputs, {}, {"y": "INT32"})


def qlinear_matmul(rng, run):
    kind_a, kind_b = (
        types(rng) if run is run_onnxruntime else fresh.one_of(rng, [["uint8"] * 2, ["int8"] * 2])
    )
    m, k, n = (fresh.one_of(rng, [1, 2, 3, 7, 8, 33]) for _ in range(3))
    per_column = run is run_onnxruntime and bool(rng.integers(2))
    a, b = fresh.codes(rng, (m, k), kind_a), fresh.codes(rng, (k, n), kind_b, bits=7)
    columns = (n,) if per_column else ()
    a_zp, b_zp = fresh.zero_point(rng, (), kind_a), fresh.zero_point(rng, columns, kind_b)
    a_scale, b_scale = fresh.scale(rng), fresh.scale(rng, columns)
    acc = (a.astype(int) - a_zp) @ (b.astype(int) - b_zp)
    inputs = {
        "a": a, "a_scale": a_scale, "a_zp": a_zp, "b": b, "b_scale": b_scale, "b_zp": b_zp,
        "y_scale": fresh.output_scale(rng, acc, [a_scale, b_scale]),
        "y_zp": fresh.zero_point(rng, (), kind_a),
    }  # fmt: skip
    kinds = f"{kind_a}x{kind_b}" if run is run_onnxruntime else kind_a
    answers = run("QLinearMatMul", inputs, {}, {"y": kind_a.upper()})
    return {"types": kinds, "per_column": per_column}, inputs | answers


def convolution(rng, kind_x, kind_w):
    """x, w and the attributes of a two-dimensional convolution."""
    group, channels, features = fresh.one_of(rng, [(1, 3, 5), (2, 4, 6), (6, 6, 6), (1, 2, 200)])
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    attributes = {
        "pads": [int(p) for p in rng.integers(0, 3, 4)],
        "strides": [int(s) for s in rng.integers(1, 3, 2)],
        "dilations": [int(d) for d in rng.integers(1, 3, 2)],
        "group": group,
    }
    x = fresh.codes(rng, (2, channels, 7, 8), kind_x)
    return x, fresh.codes(rng, (features, channels // group, *kernel), kind_w, bits=7), attributes


def conv_integer(rng, run):
    kind_x, kind_w = fresh.one_of(rng, [("uint8", "uint8"), ("uint8", "int8")])
    x, w, attributes = convolution(rng, kind_x, kind_w)
    inputs = {
        "x": x,
        "w": w,
        "x_zp": fresh.zero_point(rng, (), kind_x),
        "w_zp": fresh.zero_point(rng, (), kind_w),
    }
    answers = run("ConvInteger", inputs, attributes, {"y": "INT32"})
    return {"types": f"{kind_x}x{kind_w}", **attributes}, inputs | answers


def qlinear_conv(rng, run):
    kind_x, kind_w = types(rng)
    x, w, attributes = convolution(rng, kind_x, kind_w)
    per_channel = bool(rng.integers(2))
    channels = (len(w),) if per_channel else ()
    x_scale, w_scale = fresh.scale(rng), fresh.scale(rng, channels)
    w_zp = np.full(channels, fresh.zero_point(rng, (), kind_w) if kind_w == "uint8" else 0, kind_w)
    x_zp = fresh.zero_point(rng, (), kind_x)
    acc = processor.convolution(processor.centred(x, x_zp), processor.centred(w, w_zp.flat[0]), **attributes)
    y_scale = fresh.output_scale(rng, acc, [x_scale, w_scale])
    inputs = {
        "x": x, "x_scale": x_scale, "x_zp": x_zp, "w": w, "w_scale": w_scale, "w_zp": w_zp,
        "y_scale": y_scale, "y_zp": fresh.zero_point(rng, (), kind_x),
    }  # fmt: skip
    if rng.random() < 0.8:
        inputs["bias"] = fresh.on_ties(rng, acc[0, :, 0, 0], np.float64(x_scale) * w_scale / y_scale)
    answers = run("QLinearConv", inputs, attributes, {"y": kind_x.upper()})
    return {"types": f"{kind_x}x{kind_w}", "per_channel": per_channel, **attributes}, inputs | answers


def qlinear_add(rng, run):
    dtype, n = fresh.one_of(rng, ["uint8", "int8"]), fresh.one_of(rng, [1, 2, 3, 7, 31, 32, 33, 64, 100, 400])
    y_scale = fresh.scale(rng)
    # y = a * whole / 2**k + ...: many sums are ties, or would be without a rounding on the way
    ratios = rng.integers(1, 64, 2) * 2.0 ** rng.integers(-8, -2)
    scales = y_scale * ratios if rng.random() < 0.8 else fresh.scale(rng, (2,))
    (a, b), (a_zp, b_zp, y_zp) = fresh.codes(rng, (2, n), dtype), fresh.codes(rng, (3,), dtype)
    a_scale, b_scale = np.float32(scales)
    inputs = {
        "a": a, "a_scale": a_scale, "a_zp": a_zp, "b": b, "b_scale": b_scale, "b_zp": b_zp,
        "y_scale": y_scale, "y_zp": y_zp,
    }  # fmt: skip
    return {}, inputs | run("QLinearAdd", inputs, {}, {"y": dtype.upper()}, "com.microsoft")


ORT = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "compute_scale_zp": compute_scale_zp,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "ConvInteger": conv_integer,
    "QLinearConv": qlinear_conv,
    "QLinearAdd": qlinear_add,
}
REFERENCE = {
    "QuantizeLinear": quantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QLinearMatMul": qlinear_matmul,
}

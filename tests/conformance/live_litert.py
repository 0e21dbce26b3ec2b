"""Fresh cases from LiteRT, by each of its op resolvers, and from TensorFlow Lite Micro.

Neither offers its operators one by one, so each case builds a .tflite model of one operator, from LiteRT's
own schema.
"""

import fresh
import numpy as np

RESOLVERS = {"ref": "BUILTIN_REF", "opt": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "xnn": "AUTO"}
VERSIONS = {"FULLY_CONNECTED": 5, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}  # those of int8; 2 for the others


def tensor(schema, name, array, buffer, scale=None, zero_point=0, axis=0):
    described = schema.TensorT()
    described.name, described.shape, described.buffer = name.encode(), list(array.shape), buffer
    described.type = getattr(schema.TensorType, array.dtype.name.upper())
    if scale is not None:
        described.quantization = parameters = schema.QuantizationParametersT()
        parameters.scale = [float(s) for s in np.ravel(scale)]
        parameters.zeroPoint = [int(z) for z in np.resize(zero_point, len(parameters.scale))]
        parameters.quantizedDimension = axis
    return described


def model(operator, inputs, constants, output, options):
    """A .tflite file of one operator.  Each tensor is (array, scale, zero_point, axis) or a part of that."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    whole, graph, code, node = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    whole.version, whole.description, graph.name = 3, b"", b"main"
    whole.buffers, graph.tensors = [schema.BufferT()], []
    for name, parts in {**inputs, **constants, "y": output}.items():
        number = 0
        if name in constants:
            stored = schema.BufferT()
            stored.data = np.frombuffer(np.ascontiguousarray(parts[0]).tobytes(), np.uint8)
            whole.buffers.append(stored)
            number = len(whole.buffers) - 1
        graph.tensors.append(tensor(schema, name, parts[0], number, *parts[1:]))
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, VERSIONS.get(operator, 2)
    last = len(graph.tensors) - 1
    node.inputs, node.outputs = list(range(last)), [last]
    kind, fields = options
    if kind:
        node.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        node.builtinOptions = getattr(schema, kind + "T")()
        for field, value in fields.items():
            setattr(node.builtinOptions, field, value)
    graph.inputs, graph.outputs, graph.operators = list(range(len(inputs))), [last], [node]
    whole.operatorCodes, whole.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(resolver, operator, inputs, constants, output, options=("", {})):
    file = model(operator, inputs, constants, output, options)
    arrays = [parts[0] for parts in inputs.values()]
    if resolver == "tflm":
        from tflite_micro.python.tflite_micro import runtime

        micro = runtime.Interpreter.from_bytes(file)
        for i, array in enumerate(arrays):
            micro.set_input(array, i)
        micro.invoke()
        return micro.get_output(0)
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    lite = Interpreter(
        model_content=file,
        experimental_op_resolver_type=getattr(OpResolverType, RESOLVERS[resolver]),
        num_threads=1,
    )
    lite.allocate_tensors()
    for described, array in zip(lite.get_input_details(), arrays, strict=True):
        lite.set_tensor(described["index"], array)
    lite.invoke()
    return lite.get_tensor(lite.get_output_details()[0]["index"])


def int8_zero_point(rng):
    return np.asarray(np.int64(fresh.zero_point(rng, (), "int8")))


def zero_point(rng, dtype):
    """int16 is symmetric in LiteRT."""
    zp = 0 if dtype == "int16" else fresh.zero_point(rng, (), dtype)
    return np.asarray(np.int64(zp))


def some_shape(rng):
    return fresh.one_of(rng, [shape for shape in fresh.SHAPES if np.prod(shape) and shape])


def quantize(rng, resolver):
    dtype = fresh.one_of(rng, ["int8", "int16"] if resolver == "tflm" else ["uint8", "int8", "int16"])
    shape, scale, zp = some_shape(rng), fresh.scale(rng), zero_point(rng, dtype)
    x = fresh.reals(rng, shape, scale, dtype)
    y = run(
        resolver, "QUANTIZE", {"x": (x,)}, {}, (np.empty(shape, dtype), scale, zp), ("QuantizeOptions", {})
    )
    return {"dtype": dtype}, {"x": x, "scale": scale, "zp": zp, "y": y}


def dequantize(rng, resolver):
    dtype = fresh.one_of(rng, ["uint8", "int8"])
    shape, scale, zp = some_shape(rng), fresh.scale(rng), zero_point(rng, dtype)
    x = fresh.codes(rng, shape, dtype)
    output = (np.empty(shape, np.float32),)
    y = run(resolver, "DEQUANTIZE", {"x": (x, scale, zp)}, {}, output, ("DequantizeOptions", {}))
    return {"dtype": dtype}, {"x": x, "scale": scale, "zp": zp, "y": y}


def requantize(rng, resolver):
    dtype = fresh.one_of(rng, ["int8", "uint8"])
    x_scale, x_zp, y_zp = fresh.scale(rng), int8_zero_point(rng), zero_point(rng, dtype)
    y_scale = np.float32(x_scale * fresh.one_of(rng, [1, 4, 0.5, 2**-7, 256, 300, rng.uniform(0.1, 9)]))
    x = fresh.codes(rng, some_shape(rng), "int8")
    output = (np.empty(x.shape, dtype), y_scale, y_zp)
    y = run(resolver, "QUANTIZE", {"x": (x, x_scale, x_zp)}, {}, output, ("QuantizeOptions", {}))
    return {"dtype": dtype}, {
        "x": x,
        "x_scale": x_scale,
        "x_zp": x_zp,
        "y_scale": y_scale,
        "y_zp": y_zp,
        "y": y,
    }


ACTIVATIONS = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}


def layer(rng, operator, resolver, x, w, channels, axis, y_shape, options, first):
    """Run a layer; w has its output channels on `axis`.

    first(x) gives one accumulator per output channel: the bias puts it near a tie.
    """
    per_channel = operator != "FULLY_CONNECTED" or bool(rng.integers(2))
    x_scale, w_scale = fresh.scale(rng), fresh.scale(rng, (channels if per_channel else 1,))
    products = w.size // channels
    y_scale = fresh.output_scale(rng, 4000 * np.sqrt(products), [x_scale, w_scale])
    if rng.random() < 0.2:
        y_scale = np.float32(fresh.one_of(rng, [4, 12]))  # 6 / 4 and 6 / 12 are ties
    y_scale = np.maximum(y_scale, x_scale * w_scale.max() / 200)  # XNNPACK refuses 256 and more
    x_zp, y_zp = int8_zero_point(rng), int8_zero_point(rng)
    bias = fresh.on_ties(rng, first(x - x_zp), np.float64(x_scale) * w_scale / y_scale)
    bias_scale = np.broadcast_to(np.float64(x_scale) * w_scale, channels if per_channel else 1)
    y = run(
        resolver,
        operator,
        {"x": (x, x_scale, x_zp)},
        {"w": (w, w_scale, 0, axis), "bias": (bias, bias_scale, 0, 0)},
        (np.empty(y_shape, np.int8), y_scale, y_zp),
        options,
    )
    arrays = {
        "x": x, "x_scale": x_scale, "x_zp": x_zp, "w": w, "w_scale": w_scale, "bias": bias,
        "y_scale": y_scale, "y_zp": y_zp, "y": y,
    }  # fmt: skip
    return per_channel, arrays


def fully_connected(rng, resolver):
    m, k, n = (fresh.one_of(rng, sizes) for sizes in ([1, 5, 19], [1, 5, 16, 33], [1, 16, 33, 300]))
    relu = bool(rng.integers(2))
    x, w = fresh.codes(rng, (m, k), "int8"), np.maximum(fresh.codes(rng, (n, k), "int8"), -127)
    options = ("FullyConnectedOptions", {"fusedActivationFunction": int(relu)})
    per_channel, arrays = layer(
        rng, "FULLY_CONNECTED", resolver, x, w, n, 0, (m, n), options, lambda x: x[0] @ w.T.astype(int)
    )
    return {"per_channel": per_channel, "relu": relu}, arrays


def convolution(rng, resolver, operator):
    padding, activation = fresh.one_of(rng, ["SAME", "VALID"]), fresh.one_of(rng, list(ACTIVATIONS))
    kernel, stride = [int(k) for k in rng.integers(1, 4, 2)], [int(s) for s in rng.integers(1, 3, 2)]
    dilation = [int(d) for d in rng.integers(1, 3, 2)] if rng.random() < 0.3 else [1, 1]
    x = fresh.codes(rng, (2, 9, 8, fresh.one_of(rng, [1, 3, 6, 8, 11, 16])), "int8")
    fields = {
        "strideH": stride[0], "strideW": stride[1], "padding": int(padding == "VALID"),
        "fusedActivationFunction": ACTIVATIONS[activation],
        "dilationHFactor": dilation[0], "dilationWFactor": dilation[1],
    }  # fmt: skip
    if operator == "CONV_2D":
        channels = fresh.one_of(rng, [1, 2, 8, 9, 200])
        w, axis, options = fresh.codes(rng, (channels, *kernel, x.shape[3]), "int8"), 0, "Conv2DOptions"
    else:
        fields["depthMultiplier"] = fresh.one_of(rng, [1, 1, 1, 2, 3])
        channels = x.shape[3] * fields["depthMultiplier"]
        w, axis, options = fresh.codes(rng, (1, *kernel, channels), "int8"), 3, "DepthwiseConv2DOptions"
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    room = [n if padding == "SAME" else n - r + 1 for n, r in zip(x.shape[1:3], reach, strict=True)]
    y_shape = (2, *(-(-n // s) for n, s in zip(room, stride, strict=True)), channels)
    w = np.maximum(w, -127)

    def first(x):
        """The accumulators at the first place where the window lies inside."""
        window = x[0, : reach[0] : dilation[0], : reach[1] : dilation[1], :]
        if operator == "CONV_2D":
            return (window * w.astype(int)).sum((1, 2, 3))
        return (np.repeat(window, channels // x.shape[3], axis=2) * w[0].astype(int)).sum((0, 1))

    _, arrays = layer(rng, operator, resolver, x, w, channels, axis, y_shape, (options, fields), first)
    return {"stride": stride, "padding": padding, "activation": activation, "dilation": dilation}, arrays


def conv_2d(rng, resolver):
    return convolution(rng, resolver, "CONV_2D")


def depthwise_conv_2d(rng, resolver):
    return convolution(rng, resolver, "DEPTHWISE_CONV_2D")


def add(rng, resolver):
    a, b = (fresh.codes(rng, (61,), "int8") for _ in range(2))
    relu, scales = bool(rng.integers(2)), fresh.scale(rng, (3,))
    (a_scale, b_scale, y_scale), (a_zp, b_zp, y_zp) = scales, (int8_zero_point(rng) for _ in range(3))
    inputs = {"a": (a, a_scale, a_zp), "b": (b, b_scale, b_zp)}
    options = ("AddOptions", {"fusedActivationFunction": int(relu)})
    y = run(resolver, "ADD", inputs, {}, (np.empty(61, np.int8), y_scale, y_zp), options)
    return {"relu": relu}, {
        "a": a, "a_scale": a_scale, "a_zp": a_zp, "b": b, "b_scale": b_scale, "b_zp": b_zp,
        "y_scale": y_scale, "y_zp": y_zp, "y": y,
    }  # fmt: skip


def logistic(rng, resolver):
    x, scale, zp = np.arange(-128, 128).astype(np.int8), fresh.scale(rng), int8_zero_point(rng)
    y = run(resolver, "LOGISTIC", {"x": (x, scale, zp)}, {}, (np.empty(256, np.int8), 1 / 256, -128))
    return {}, {"x": x, "x_scale": scale, "x_zp": zp, "y": y}


def softmax(rng, resolver):
    shape = fresh.one_of(rng, [(4, 10), (1, 1), (3, 2), (2, 100)])
    x, scale, zp = fresh.codes(rng, shape, "int8"), fresh.scale(rng), int8_zero_point(rng)
    output = (np.empty(shape, np.int8), 1 / 256, -128)
    y = run(resolver, "SOFTMAX", {"x": (x, scale, zp)}, {}, output, ("SoftmaxOptions", {"beta": 1.0}))
    return {}, {"x": x, "x_scale": scale, "x_zp": zp, "y": y}


def pool(rng, resolver, operator):
    x, padding = fresh.codes(rng, (1, 8, 9, 4), "int8"), fresh.one_of(rng, ["SAME", "VALID"])
    window, stride = [int(k) for k in rng.integers(1, 5, 2)], [int(s) for s in rng.integers(1, 4, 2)]
    activation = fresh.one_of(rng, list(ACTIVATIONS))
    fields = {
        "filterHeight": window[0], "filterWidth": window[1], "strideH": stride[0], "strideW": stride[1],
        "padding": int(padding == "VALID"), "fusedActivationFunction": ACTIVATIONS[activation],
    }  # fmt: skip
    room = [n if padding == "SAME" else n - k + 1 for n, k in zip((8, 9), window, strict=True)]
    shape = (1, *(-(-n // s) for n, s in zip(room, stride, strict=True)), 4)
    y = run(
        resolver,
        operator,
        {"x": (x, 0.1, 3)},
        {},
        (np.empty(shape, np.int8), 0.1, 3),
        ("Pool2DOptions", fields),
    )
    arguments = {"filter": window, "stride": stride, "padding": padding, "activation": activation}
    return arguments, {"x": x, "y": y}


def average_pool_2d(rng, resolver):
    return pool(rng, resolver, "AVERAGE_POOL_2D")


def max_pool_2d(rng, resolver):
    return pool(rng, resolver, "MAX_POOL_2D")


LITERT = {
    "FULLY_CONNECTED": fully_connected,
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "REQUANTIZE": requantize,
    "ADD": add,
    "LOGISTIC": logistic,
    "SOFTMAX": softmax,
    "AVERAGE_POOL_2D": average_pool_2d,
    "MAX_POOL_2D": max_pool_2d,
}

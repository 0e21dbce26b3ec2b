"""An integer network once more, slowly: Python integers and loops.

Of qtutor it takes the constants of a QuantizedNetwork, as Python integers, and none of its arithmetic.
"""

from exact import into_int32


def run_loops(network, image, product):
    """Name -> flat list of codes, for the codes of one image, as planes of rows of pixels.

    product  (acc, mantissa, shift) -> int32, such as exact_double
    """
    Z = {name: int(qparams.zero_point) for name, qparams in network.qparams.items()}
    # real zeros stand around an image, and what is stored here is code minus zero-point: so 0
    tensors = {"input": [[[code - Z["input"] for code in row] for row in plane] for plane in image]}
    codes = {"input": [code for plane in image for row in plane for code in row]}
    for node in network.graph.nodes:
        name, layer = node.name, network.layers[node.name]
        kind = type(node).__name__
        low, high = layer.output.qmin, layer.output.qmax

        def code(y, name=name, low=low, high=high):
            return min(max(y + Z[name], low), high)

        if kind == "Conv":
            planes = convolve(layer, tensors[node.source], product)
        elif kind == "Add":
            planes = add(layer, tensors[node.left], tensors[node.right], product)
        elif kind == "Pool":
            planes = pool(layer, tensors[node.source], product)
        else:
            vector = [plane[0][0] for plane in tensors[node.source]]
            planes = linear(layer, vector, product)
        saturated = [[[code(y) for y in row] for row in plane] for plane in planes]
        tensors[name] = [[[q - Z[name] for q in row] for row in plane] for plane in saturated]
        codes[name] = [q for plane in saturated for row in plane for q in row]
    return codes


def pair(multiplier, channel=None):
    """mantissa and shift of one channel."""
    mantissa, shift = multiplier.mantissa.tolist(), multiplier.shift.tolist()
    return (mantissa[channel], shift[channel]) if isinstance(mantissa, list) else (mantissa, shift)


def convolve(layer, planes, product):
    weight, bias = layer.weight.q.tolist(), layer.bias.tolist()
    in_group = len(weight[0])
    out_per_group = len(weight) // layer.groups
    height, width = len(planes[0]), len(planes[0][0])
    result = []
    for o, kernels in enumerate(weight):
        first = o // out_per_group * in_group
        positive = pair(layer.multiplier, o)
        negative = positive if layer.negative_multiplier is None else pair(layer.negative_multiplier, o)
        plane = []
        for top in range(-layer.padding, height + layer.padding - len(kernels[0]) + 1, layer.stride):
            row = []
            for left in range(-layer.padding, width + layer.padding - len(kernels[0][0]) + 1, layer.stride):
                acc = bias[o]
                for c, kernel in enumerate(kernels):
                    for i, weights in enumerate(kernel):
                        for j, w in enumerate(weights):
                            if 0 <= top + i < height and 0 <= left + j < width:
                                acc += w * planes[first + c][top + i][left + j]
                assert acc == into_int32(acc)
                row.append(product(acc, *(negative if acc < 0 else positive)))
            plane.append(row)
        result.append(plane)
    return result


def linear(layer, vector, product):
    result = []
    for o, (weights, b) in enumerate(zip(layer.weight.q.tolist(), layer.bias.tolist(), strict=True)):
        acc = b
        for w, x in zip(weights, vector, strict=True):
            acc += w * x
        result.append([[product(acc, *pair(layer.multiplier, o))]])
    return result


def add(layer, left, right, product):
    one, other, both = (
        pair(m) for m in (layer.left_multiplier, layer.right_multiplier, layer.output_multiplier)
    )
    return [
        [
            [
                product(product(a * 2**20, *one) + product(b * 2**20, *other), *both)
                for a, b in zip(row1, row2, strict=True)
            ]
            for row1, row2 in zip(plane1, plane2, strict=True)
        ]
        for plane1, plane2 in zip(left, right, strict=True)
    ]


def pool(layer, planes, product):
    result = []
    for plane in planes:
        total = 0
        for row in plane:
            for value in row:
                total += value
        result.append([[product(total, *pair(layer.multiplier))]])
    return result

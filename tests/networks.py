"""Networks to test with: the digits network on integers, with any settings, and one that is unlike it."""

import numpy as np

from qtutor import INT8, MinMaxObserver, quantize
from qtutor.graph import Add, Conv, Graph, Linear, Pool, calibrate, quantize_network, weight_shapes
from qtutor.models.digits import CNN, load_weights, to_input


def integer_network(
    images,
    *,
    activation_range=INT8,
    weight_range=INT8,
    observer=MinMaxObserver,
    per_channel=True,
    symmetric=False,
):
    """CNN on integers, calibrated on these images."""
    weights = load_weights()
    maps = calibrate(CNN, weights, to_input(images), activation_range, observer=observer, symmetric=symmetric)
    return quantize_network(CNN, weights, maps, weight_range=weight_range, per_channel=per_channel)


def input_codes(network, images):
    """The codes that this network reads for these images."""
    return quantize(to_input(images), network.input)


# As unlike the digits network as nodes can be: colours, images wider than high, a kernel of 5, every kind of
# activation, an add of an add, a stride that leaves an odd size, and no power of two anywhere.
OTHER = Graph(
    (
        Conv("first", "input", 3, 6, kernel=5, slope=0.0),
        Conv("second", "first", 6, 6, depthwise=True, slope=0.3),
        Add("sum", "first", "second"),
        Add("twice", "sum", "first"),
        Conv("smaller", "twice", 6, 5, stride=2, slope=0.1),
        Pool("mean", "smaller"),
        Linear("answer", "mean", 5, 3),
    ),
    input_shape=(3, 5, 9),
)


def other_network():
    """Random weights of OTHER, 40 random inputs, and the network on integers."""
    rng = np.random.default_rng(5)
    weights = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in weight_shapes(OTHER).items()
    }
    weights |= {name: np.abs(w) + np.float32(0.5) for name, w in weights.items() if "variance" in name}
    x = rng.normal(size=(40, *OTHER.input_shape)).astype(np.float32)
    return weights, x, quantize_network(OTHER, weights, calibrate(OTHER, weights, x))

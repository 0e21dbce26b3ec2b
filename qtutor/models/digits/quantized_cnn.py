"""The digits CNN on integers: from the float model and a few images to layers of `qtutor.layers`, and a run.

It stands beside the float network, not in the core, because it walks `ARCHITECTURE`, as `forward` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from qtutor.affine import QParams, check_codes, quantize
from qtutor.calibration import MinMaxObserver
from qtutor.fixedpoint import Multiply
from qtutor.layers import Accumulate, QAdd, QAveragePool, QConv2d, QLinear, fold_batch_norm
from qtutor.matmul import integer_matmul
from qtutor.models.digits.digits_cnn import (
    ARCHITECTURE,
    EPSILON,
    SLOPE,
    Add,
    Conv,
    Linear,
    Pool,
    forward,
    to_input,
)
from qtutor.rounding import INT8, IntRange

IMAGES_AT_ONCE = 200  # more are run in parts, since NumPy is slower where its temporaries leave the cache


@dataclass(frozen=True, eq=False)
class QuantizedCNN:
    """What the integer network consists of.

    input   the map of its input, pixels / 16
    layers  name -> QConv2d, QLinear, QAdd or QAveragePool, for every name in `ARCHITECTURE`

    To ask "what if", replace a constant: `dataclasses.replace(network.layers["stem"], pad_code=0)`.
    """

    input: QParams
    layers: Mapping[str, Any]

    def __post_init__(self) -> None:
        names = [layer.name for layer in ARCHITECTURE]
        if list(self.layers) != names:
            raise ValueError(f"layers must be named {names}, in this order, got {list(self.layers)}")
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    @property
    def qparams(self) -> dict[str, QParams]:
        """name -> map, of every tensor."""
        return {"input": self.input, **{name: layer.output for name, layer in self.layers.items()}}


def quantize_cnn(
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    *,
    weight_range: IntRange = INT8,
    activation_range: IntRange = INT8,
    observer: Callable[[], Any] = MinMaxObserver,
    per_channel: bool = True,
    symmetric: bool = False,
) -> QuantizedCNN:
    """From the float model and a calibration set to the integer model.

    weights           what `load_digits_cnn` returns
    images            the calibration set, integers 0..16 of shape (n, 8, 8)
    weight_range      the codes of the weights, always symmetric; biases are int32
    activation_range  the codes of every other tensor
    observer          makes an observer for each tensor, such as MSEObserver
    per_channel       one scale for each output channel of a weight, or one for all of it
    symmetric         activations without a zero-point

    >>> from qtutor.models.digits import load_digits, load_digits_cnn
    >>> digits = load_digits()
    >>> network = quantize_cnn(load_digits_cnn(), digits.images[digits.train[:100]])
    >>> {name: int(network.qparams[name].zero_point) for name in ("input", "stem", "block1.add")}
    {'input': -128, 'stem': -94, 'block1.add': -22}
    """
    qparams = {
        name: observer().observe(x).qparams(activation_range, symmetric=symmetric)
        for name, x in forward(weights, images).items()
    }
    return quantize_with_maps(weights, qparams, weight_range=weight_range, per_channel=per_channel)


def quantize_with_maps(
    weights: Mapping[str, np.ndarray],
    qparams: Mapping[str, QParams],
    *,
    weight_range: IntRange = INT8,
    per_channel: bool = True,
) -> QuantizedCNN:
    """The integer model with these maps of its tensors, name -> map; the rest as for quantize_cnn."""
    layers: dict[str, Any] = {}
    for layer in ARCHITECTURE:
        match layer:
            case Conv(name=name, source=source):
                normalization = (weights[f"{name}.{v}"] for v in ("gamma", "beta", "mean", "variance"))
                weight, bias = fold_batch_norm(weights[f"{name}.weight"], *normalization, epsilon=EPSILON)
                layers[name] = QConv2d.from_real(
                    weight,
                    bias,
                    qparams[source],
                    qparams[name],
                    to=weight_range,
                    per_channel=per_channel,
                    slope=SLOPE if layer.activation else 1.0,
                    stride=layer.stride,
                    padding=layer.kernel // 2,
                    groups=layer.in_channels if layer.depthwise else 1,
                )
            case Add(name=name, left=left, right=right):
                layers[name] = QAdd.from_qparams(qparams[left], qparams[right], qparams[name])
            case Pool(name=name, source=source):
                layers[name] = QAveragePool.from_qparams(qparams[source], qparams[name], count=4 * 4)
            case Linear(name=name, source=source):
                layers[name] = QLinear.from_real(
                    weights[f"{name}.weight"],
                    weights[f"{name}.bias"],
                    qparams[source],
                    qparams[name],
                    to=weight_range,
                    per_channel=per_channel,
                )
    return QuantizedCNN(qparams["input"], layers)


def input_codes(network: QuantizedCNN, images: np.ndarray) -> np.ndarray:
    """The codes of images (n, 8, 8), integers 0..16: here, before the network, floats have their last word.

    Each pixel is one of 17 numbers, so a table of 17 codes would do as well.
    """
    return quantize(to_input(images), network.input)


def run(
    network: QuantizedCNN, q: np.ndarray, *, multiply: Multiply, accumulate: Accumulate = integer_matmul
) -> dict[str, np.ndarray]:
    """The codes of every tensor: name -> codes, in the order of computation.

    q           codes of the input, (n, 1, 8, 8), from `input_codes`
    multiply    such as multiply_double_rounding: the codes depend on it, so there is no default
    accumulate  integer_matmul, where float BLAS carries exact integers; or integer_only_matmul, and then
                there is not a single float operation from here to the last code: the codes are the same

    >>> from qtutor import multiply_double_rounding
    >>> from qtutor.models.digits import load_digits, load_digits_cnn
    >>> digits = load_digits()
    >>> network = quantize_cnn(load_digits_cnn(), digits.images[digits.train])
    >>> tensors = run(network, input_codes(network, digits.images[:5]), multiply=multiply_double_rounding)
    >>> tensors["logits"].dtype, tensors["logits"].argmax(axis=1)
    (dtype('int8'), array([0, 1, 2, 3, 4]))
    """
    q = check_codes(q, network.input.to, "run")
    if q.ndim == 4 and len(q) > IMAGES_AT_ONCE:
        parts = np.array_split(q, range(IMAGES_AT_ONCE, len(q), IMAGES_AT_ONCE))
        runs = [run(network, part, multiply=multiply, accumulate=accumulate) for part in parts]
        return {name: np.concatenate([tensors[name] for tensors in runs]) for name in runs[0]}
    tensors = {"input": q}
    for layer in ARCHITECTURE:
        compute = network.layers[layer.name]
        match layer:
            case Conv(source=source) | Linear(source=source):
                y = compute(tensors[source], multiply=multiply, accumulate=accumulate)
            case Pool(source=source):
                y = compute(tensors[source], multiply=multiply)
            case Add(left=left, right=right):
                y = compute(tensors[left], tensors[right], multiply=multiply)
        tensors[layer.name] = y
    return tensors

"""A network whose zero-points hide in constants, and a count of what runs (an instrument of notebook 05).

What depends on the input is `counted`: an array that notes each operation done on it. All else, such as the
sum of a layer's weights, is known before the input arrives, and costs nothing at run time.

>>> tally = Counter()
>>> q1, weights = counted(np.uint8([[10, 12]]), tally), np.array([[1], [3]])
>>> q1 @ weights + (7 - 10 * weights.sum(axis=0))  # Z1 = 10 and a bias of 7: one constant
Counted([[13]])
>>> dict(tally)
{'products': 2, 'additions': 2}
"""

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from qtutor.graph import QuantizedNetwork, inputs_of
from qtutor.layers import SPARE_BITS, QAdd, QAveragePool

__all__ = ["Counted", "count", "counted", "run"]

KINDS = {
    np.add: "additions",
    np.subtract: "additions",
    np.multiply: "products",
    np.left_shift: "shifts",
    np.right_shift: "shifts",
    np.less: "comparisons",
    np.minimum: "comparisons",
    np.maximum: "comparisons",
}


class Counted(np.ndarray):
    """int64 numbers that depend on the input; what is done with them adds to `tally`, by kind.

    Operators, matrix products and sums are counted; to look at numbers, or to move them, is free.
    Raises NotImplementedError for an operation of another kind, so that none goes uncounted.
    """

    def __array_finalize__(self, parent: object) -> None:
        tally: Counter | None = getattr(parent, "tally", None)
        self.tally = Counter() if tally is None else tally

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **how: Any) -> Self:
        tally = next(x.tally for x in inputs if isinstance(x, Counted))
        numbers = [np.asarray(x) for x in inputs]
        result = np.asarray(getattr(ufunc, method)(*numbers, **how))
        if ufunc is np.matmul and method == "__call__":
            K = numbers[0].shape[-1]
            tally["products"] += K * result.size
            tally["additions"] += (K - 1) * result.size
        elif ufunc is np.add and method == "reduce":
            tally["additions"] += numbers[0].size - result.size
        elif ufunc in KINDS and method == "__call__":
            tally[KINDS[ufunc]] += result.size
        else:
            raise NotImplementedError(f"Counted cannot count {ufunc.__name__}.{method}")
        return counted(result, tally)  # type: ignore[return-value]


def counted(q: np.ndarray, tally: Counter) -> Counted:
    """Integers q as int64, what is done with which adds to `tally`: additions, products, shifts, ...

    q  integers of any shape; TypeError for floats

    A comparison gives counted truth values, which stay bool.
    """
    numbers = np.asarray(q)
    if numbers.dtype.kind not in "iub":
        raise TypeError(f"counted needs integers, got dtype {numbers.dtype}")
    fresh = (numbers if numbers.dtype == bool else numbers.astype(np.int64)).view(Counted)
    fresh.tally = tally
    return fresh


def count(program: Callable, waits: str, *arguments: Any) -> tuple[np.ndarray, Counter]:
    """What a program makes of its arguments, and what it does for those that wait for the input.

    waits  names of parameters of the program, such as "q1 Z1": only what depends on them is counted

    >>> one = np.eye(2, dtype=int)
    >>> acc, tally = count(lambda q, w, Z: q @ w - Z * w.sum(axis=0), "q", one, one, 3)
    >>> acc.tolist(), dict(tally)
    ([[-2, -3], [-3, -2]], {'products': 8, 'additions': 8})
    """
    tally: Counter = Counter()
    named = inspect.signature(program).bind(*arguments).arguments
    for name in waits.split():
        named[name] = counted(named[name], tally)
    return np.asarray(program(**named)), tally


def run(network: QuantizedNetwork, q: np.ndarray, tally: Counter, *, fold: bool) -> dict[str, np.ndarray]:
    """The codes of every tensor, as graph.run with multiply_single_rounding; `tally` counts the operations.

    q      codes of the input, (n, *network.graph.input_shape)
    fold   False: each zero-point is subtracted from the codes that come, and added to those that go.
           True: each is part of a constant, and no operation is there for its sake:
           -Z1 * sum of the weights  joins a bias;
           -count * Z1 * mantissa    joins the constant that rounds a mean;
           -Z * 2**20 * mantissa     joins the constant that rounds each side of an add;
           Z3 * 2**(31 + shift)      joins the constant that rounds the result.

    Both run the same products, in int64, and give the same codes. ValueError if fold and a layer's
    Z3 * 2**(31 + shift) leaves int64 no room for the product, which may reach 2**62.

    >>> from qtutor.graph import calibrate, quantize_network
    >>> from qtutor.models.digits import CNN, load_digits, load_weights, to_input
    >>> from qtutor.affine import quantize
    >>> x, weights = to_input(load_digits().images[:20]), load_weights()
    >>> network = quantize_network(CNN, weights, calibrate(CNN, weights, x))
    >>> in_sight, folded = Counter(), Counter()
    >>> q = quantize(x[:1], network.input)
    >>> one = run(network, q, in_sight, fold=False)["logits"]
    >>> np.array_equal(one, run(network, q, folded, fold=True)["logits"])
    True
    >>> dict(in_sight - folded)  # one for each code that a layer reads, and one for each that it writes
    {'additions': 21674}
    """
    tensors = {"input": counted(q, tally)}
    for node in network.graph.nodes:
        layer, codes = network.layers[node.name], [tensors[name] for name in inputs_of(node)]
        Z = [int(network.qparams[name].zero_point) for name in inputs_of(node)]
        Z3, to = int(layer.output.zero_point), layer.output.codes
        if fold:
            _check_constant(node.name, layer, Z3)
            y = _apply(layer, codes, Z, Z3)
        else:
            distances = [q - z for q, z in zip(codes, Z, strict=True)]
            y = _apply(layer, distances, [0] * len(Z), 0) + Z3
        tensors[node.name] = np.minimum(np.maximum(y, to.qmin), to.qmax)
    return {name: np.asarray(q).astype(network.qparams[name].codes.dtype) for name, q in tensors.items()}


def _check_constant(name: str, layer: Any, Z3: int) -> None:
    last = layer.output_multiplier if isinstance(layer, QAdd) else layer.multiplier
    multipliers = (last, getattr(layer, "negative_multiplier", None))
    shift = max(int(np.max(M.shift)) for M in multipliers if M is not None)
    if (2 * abs(Z3) + 1) << max(30 + shift, 0) > 2**62:
        raise ValueError(
            f"folding.run: layer {name!r} needs (|zero-point| + 1/2) * 2**(31 + shift) to be at most 2**62, "
            f"got zero-point {Z3} and shift {shift}"
        )


def _apply(layer: Any, codes: list, Z: list[int], Z3: int) -> Any:
    """What a layer makes of codes whose real 0 is still at Z, with real 0 at Z3; not yet saturated."""
    if isinstance(layer, QAdd):
        M1, M2, M3 = layer.left_multiplier, layer.right_multiplier, layer.output_multiplier
        left = _scaled(codes[0] << SPARE_BITS, M1.mantissa, M1.shift, -Z[0] << SPARE_BITS)
        right = _scaled(codes[1] << SPARE_BITS, M2.mantissa, M2.shift, -Z[1] << SPARE_BITS)
        return _scaled(left + right, M3.mantissa, M3.shift, 0, Z3)
    M = layer.multiplier
    if isinstance(layer, QAveragePool):
        return _scaled(codes[0].sum(axis=(2, 3)), M.mantissa, M.shift, -layer.count * Z[0], Z3)

    weight = layer.weight.q.astype(np.int64)
    bias = layer.bias - Z[0] * weight.reshape(len(weight), -1).sum(axis=1)
    channels = (-1,) + (1,) * (weight.ndim - 2)
    acc = codes[0] @ weight.T if weight.ndim == 2 else _convolve(layer, codes[0], weight, Z[0])
    acc = acc + bias.reshape(channels)
    mantissa, shift = M.mantissa.reshape(channels), M.shift.reshape(channels)
    if layer.negative_multiplier is not None:  # a leaky ReLU: the sign chooses between two sets of constants
        negative, other = np.asarray(acc < 0), layer.negative_multiplier
        mantissa = np.where(negative, other.mantissa.reshape(channels), mantissa)
        shift = np.where(negative, other.shift.reshape(channels), shift)
    return _scaled(acc, mantissa, shift, 0, Z3)


def _scaled(acc: Any, mantissa: np.ndarray, shift: np.ndarray, before: int, after: int = 0) -> Any:
    """floor(M * (acc + before) + 1/2) + after: one product, one addition, one shift."""
    mantissa, shift = np.asarray(mantissa, np.int64), 31 + np.asarray(shift, np.int64)
    half = (np.int64(1) << shift) >> 1
    constant = half + before * mantissa + (np.int64(after) << shift)
    return (acc * mantissa + constant) >> shift


def _convolve(layer: Any, q: Counted, weight: np.ndarray, Z: int) -> Any:
    """The products and sums of a convolution, nothing else; real 0 is at Z."""
    n, channels, height, width = q.shape
    edge, (out_channels, _, *kernel) = layer.padding, weight.shape
    padded = np.full_like(
        q,
        layer.pad_code - layer.input.zero_point + Z,
        shape=(n, channels, height + 2 * edge, width + 2 * edge),
    )
    padded[:, :, edge : edge + height, edge : edge + width] = q
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3), subok=True)
    windows = windows[:, :, :: layer.stride, :: layer.stride]
    rows = weight.reshape(layer.groups, out_channels // layer.groups, -1)
    columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(layer.groups, rows.shape[-1], -1)
    return (rows @ columns).reshape(out_channels, n, *windows.shape[2:4]).transpose(1, 0, 2, 3)

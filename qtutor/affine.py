"""The affine map between reals and integers, x = scale * (q - zero_point).  Notebook 02."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qtutor.rounding import INT8, IntRange, Rounding, flag, integer, integers, real_array, round_half_even

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # the smallest normal float32, 2**-126
BLOCK = 2**19  # bytes of a block: two temporaries of this size, which a cache holds


class Frozen:
    """What values with arrays share: nobody can write to their arrays, nor to those of a copy or a pickle."""

    def _keep(self: Any, **checked: Any) -> None:
        """Set these fields and leave the others, but make all arrays copies that nobody can write to."""
        for name in (field.name for field in fields(self)):
            value = checked[name] if name in checked else getattr(self, name)
            if isinstance(value, np.ndarray):
                value = np.array(value)
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __reduce__(self: Any) -> tuple:  # for copy and pickle: call the constructor again
        return type(self), tuple(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, eq=False, init=False)
class QParams(Frozen):
    """The map x = scale * (q - zero_point) for codes q in qmin..qmax.

    scale       real units per integer step, stored as float32 (as the engines do), finite and > 0
    zero_point  the code of real 0: an integer in qmin..qmax, stored as int32
    codes       their range (default INT8)
    axis        None: scale and zero_point have shape (), one map for the whole tensor (per-tensor);
                an int: they have shape (channels,), one map per index of that axis (per-channel)

    Both arrays are copied and read-only.  Raises ValueError or TypeError where a field is impossible.
    Source: Jacob et al. 2018, arXiv:1712.05877, equation (1).

    >>> QParams(0.5, 10).limits
    (-69.0, 58.5)
    >>> QParams(0.5, 300)
    Traceback (most recent call last):
    ValueError: zero_point needs integers in -128..127, got 300
    """

    scale: np.ndarray
    zero_point: np.ndarray
    codes: IntRange
    axis: int | None

    def __init__(
        self, scale: ArrayLike, zero_point: ArrayLike, codes: IntRange = INT8, axis: int | None = None
    ) -> None:
        if not isinstance(codes, IntRange):
            raise TypeError(f"codes must be an IntRange such as INT8, got {codes!r}")
        Z = integers(zero_point, codes.qmin, codes.qmax, "zero_point").astype(np.int32)
        with np.errstate(over="ignore", under="ignore"):
            S = real_array(scale, "QParams").astype(np.float32)
            if S.shape != Z.shape:
                raise ValueError(f"scale has shape {S.shape} but zero_point has shape {Z.shape}")
            widest = S * np.maximum(codes.qmax - Z, Z - codes.qmin).astype(np.float32)
        if not (np.isfinite(widest).all() and (S > 0).all()):
            raise ValueError(f"scale must be > 0 and its codes finite, in float32; got scale {scale!r}")
        axis = None if axis is None else integer(axis, "axis, unless None,")
        if S.ndim != (axis is not None) or S.size == 0:
            raise ValueError(
                f"axis=None goes with a scale of shape (), an int with shape (channels,); "
                f"got axis={axis} and shape {S.shape}"
            )
        self._keep(scale=S, zero_point=Z, codes=codes, axis=axis)

    @property
    def qmin(self) -> int:
        """The lowest code."""
        return self.codes.qmin

    @property
    def qmax(self) -> int:
        """The highest code."""
        return self.codes.qmax

    @property
    def limits(self) -> tuple:
        """The real values of qmin and qmax: two floats, or two lists of floats per channel."""
        return tuple(dequantize_code(q, self.scale, self.zero_point).tolist() for q in (self.qmin, self.qmax))

    def aligned_to(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """scale and zero_point, reshaped to broadcast over a tensor of this shape along `axis`."""
        return along(self.scale, self.axis, shape), along(self.zero_point, self.axis, shape)


def along(values: np.ndarray, axis: int | None, shape: tuple[int, ...]) -> np.ndarray:
    """Values of shape (channels,), reshaped to broadcast over this shape along `axis`; shape () stays."""
    if axis is None or values.ndim == 0:
        return values
    if not -len(shape) <= axis < len(shape) or values.shape != (shape[axis],):
        raise ValueError(f"axis {axis} of shape {shape} does not hold {values.size} channels")
    return values.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])


def dequantize_code(q: np.ndarray | int, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """The map itself, on plain arrays."""
    return scale * np.asarray(q - zero_point, np.float32)


def choose_qparams(
    rmin: ArrayLike, rmax: ArrayLike, to: IntRange = INT8, *, symmetric: bool = False, axis: int | None = None
) -> QParams:
    """Scale and zero-point such that qmin..qmax covers rmin..rmax, and real 0 has a code.

    rmin, rmax  the real range: numbers, or arrays of shape (channels,) together with `axis`
    to          the codes to spread over it
    symmetric   zero_point = 0; a signed range becomes narrow (INT8 turns into -127..127), so that
                -x has the code -q, and no product is (-128) * (-128)

    The range is first widened to hold 0.  Padding, ReLU and sparsity write exact zeros by the
    million; a zero that has no code would come back as the same wrong number each time, and an
    error that is always the same is a bias, not noise.

    With S = (rmax - rmin) / (qmax - qmin), zero_point = saturate(qmin - round(rmin / S)), in
    float64 and half to even; S is then stored as float32.  Rounding before qmin enters gives int8
    and uint8 the same map shifted by 128, on ties too.  A constant c becomes the range 0..c; an
    all-zero range gives scale 1 and zero_point 0 (or the code nearest to 0); a scale below 2**-126,
    the smallest normal float32, becomes 2**-126.

    Raises ValueError for NaN, inf, rmin > rmax, shapes that disagree, a range whose codes would leave
    float32, and for a negative rmin where `symmetric` meets an unsigned range.
    Source: Jacob et al. 2018, arXiv:1712.05877, section 2.1 and equation (13); narrow range:
    section 3.1 there and Krishnamoorthi 2018, arXiv:1806.08342, section 2.2.

    >>> qparams = choose_qparams(-1.0, 3.0, IntRange(0, 255))
    >>> round(float(qparams.scale), 6), int(qparams.zero_point)
    (0.015686, 64)
    >>> choose_qparams(-1.0, 3.0, symmetric=True).codes
    IntRange(qmin=-127, qmax=127)
    """
    symmetric = flag(symmetric, "symmetric")
    low, high = (real_array(r, "choose_qparams").astype(np.float64) for r in (rmin, rmax))
    if low.shape != high.shape:
        raise ValueError(f"rmin has shape {low.shape} but rmax has shape {high.shape}")
    if not (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
        raise ValueError(f"a range needs finite rmin <= rmax, got rmin {low} and rmax {high}")
    rmin, rmax = np.minimum(low, 0.0), np.maximum(high, 0.0)  # the range must hold real 0
    if symmetric:
        if to.qmin < 0 < to.qmax:
            to = IntRange(-min(-to.qmin, to.qmax), min(-to.qmin, to.qmax))
        elif to.qmin != 0:
            raise ValueError(f"symmetric needs codes on both sides of 0, or 0..qmax; got {to}")
        elif np.any(rmin < 0):
            raise ValueError(f"symmetric codes {to} have no negative values, got rmin {rmin}")
    # a width beyond float64 becomes inf, which QParams refuses; what vanishes is far below a step
    with np.errstate(over="ignore", under="ignore"):
        if symmetric:
            scale = np.maximum(np.maximum(-rmin, rmax) / to.qmax, SMALLEST_SCALE)
            zero_point = np.zeros(scale.shape)
        else:
            steps = to.qmax - to.qmin
            width = np.maximum(rmax - rmin, steps * SMALLEST_SCALE)
            scale = width / steps
            rmin_in_steps = steps * (rmin / width)  # rmin / S, exactly half of the steps for a range -a..a
            zero_point = np.where(rmin == rmax, 0.0, to.qmin - round_half_even(rmin_in_steps))
    scale = np.where(rmin == rmax, 1.0, scale)
    return QParams(scale, np.clip(zero_point, to.qmin, to.qmax).astype(np.int32), to, axis)


def quantize(x: np.ndarray, qparams: QParams, *, rounding: Rounding = round_half_even) -> np.ndarray:
    """real -> integer: q = saturate(round(x / scale) + zero_point).

    x         float16, float32, float64 or integers, any shape; computed in float32 (float64 for
              float64 and integers)
    rounding  maps floats to whole floats as wide; zero_point is added after it (engines differ in both)

    Returns codes of x's shape in the smallest dtype that holds qmin..qmax.
    Raises ValueError for NaN and +-inf, which are no real numbers, and where `axis` does not fit.
    Source: ONNX operator QuantizeLinear, version 21.

    >>> quantize(np.float32([-1.0, 0.0, 0.26, 99.0]), QParams(0.5, 10))
    array([  8,  10,  11, 127], dtype=int8)
    >>> quantize(np.float32([0.0, np.nan]), QParams(0.5, 10))
    Traceback (most recent call last):
    ValueError: quantize needs finite numbers, got nan at index (1,)
    """
    x = real_array(x, "quantize")
    compute = np.float32 if x.dtype == np.float32 else np.float64
    probe = np.array([-2.5, -0.3, 0.0, 0.5, 1.7], compute)
    whole = np.asarray(rounding(probe))
    if whole.dtype.kind != "f" or not np.can_cast(compute, whole.dtype):
        raise TypeError(f"rounding must return floats: for {probe.dtype} it returned {whole.dtype}")
    if not ((whole == np.rint(whole)) & (np.abs(whole - probe) < 1)).all():
        raise ValueError(f"rounding must return the whole number below or above, got {whole} for {probe}")

    def formula(block: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
        steps = block / scale
        # steps is in the cache, the block may not be; a finite x whose quotient overflows saturates
        if not np.isfinite(steps).all() and not np.isfinite(block).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
            raise ValueError(f"quantize needs finite numbers, got {x[index]} at index {index}")
        q = rounding(steps)
        q += zero_point
        return np.clip(q, qparams.qmin, qparams.qmax, out=q)

    return _blockwise(formula, x, qparams.aligned_to(x.shape), compute, qparams.codes.dtype)


def dequantize(q: np.ndarray, qparams: QParams) -> np.ndarray:
    """integer -> real: x_hat = scale * (q - zero_point), one float32 rounding.

    q  integers in qmin..qmax of any shape and integer dtype; returns float32 of the same shape

    Raises TypeError for floats, ValueError for codes outside qmin..qmax.
    Source: ONNX operator DequantizeLinear, version 21.

    >>> dequantize(np.int8([8, 10, 127]), QParams(0.5, 10)).tolist()
    [-1.0, 0.0, 58.5]
    """
    q = check_codes(q, qparams.codes, "dequantize")

    def formula(q: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
        return scale * (q - zero_point)

    return _blockwise(formula, q, qparams.aligned_to(q.shape), np.float32, np.float32)


def fake_quantize(x: np.ndarray, qparams: QParams, *, rounding: Rounding = round_half_even) -> np.ndarray:
    """real -> real: what is left of x after the round trip, as float32.

    >>> fake_quantize(np.float32([-1.0, 0.0, 0.26, 99.0]), QParams(0.5, 10)).tolist()
    [-1.0, 0.0, 0.5, 58.5]
    """
    return dequantize(quantize(x, qparams, rounding=rounding), qparams)


@dataclass(frozen=True, eq=False)
class QTensor(Frozen):
    """Integers together with the map that gives them their meaning.

    q        codes in qmin..qmax, integer dtype, any shape; copied and read-only, stored as `codes.dtype`
    qparams  their map

    >>> x = QTensor.from_real(np.float32([-1.0, 0.0, 0.26]), QParams(0.5, 10))
    >>> x.q, x.real.tolist()
    (array([ 8, 10, 11], dtype=int8), [-1.0, 0.0, 0.5])
    """

    q: np.ndarray
    qparams: QParams

    def __post_init__(self) -> None:
        q = check_codes(self.q, self.qparams.codes, "QTensor").astype(self.qparams.codes.dtype, copy=False)
        self.qparams.aligned_to(q.shape)  # raises where the channels do not fit
        self._keep(q=q)

    @classmethod
    def from_real(cls, x: np.ndarray, qparams: QParams, *, rounding: Rounding = round_half_even) -> "QTensor":
        """Quantize x and keep the map beside the codes."""
        return cls(quantize(x, qparams, rounding=rounding), qparams)

    @property
    def real(self) -> np.ndarray:
        """The real values that the codes stand for, float32."""
        return dequantize(self.q, self.qparams)


def check_codes(q: object, to: IntRange, where: str) -> np.ndarray:
    """q as an array, once it is known to hold integers in qmin..qmax."""
    return integers(q, to.qmin, to.qmax, where)


def _blockwise(
    formula: Callable, tensor: np.ndarray, parameters: tuple, compute: type, result: np.dtype | type
) -> np.ndarray:
    """formula(tensor, *parameters), broadcast, in flat blocks of dtype `compute`, cast to `result`.

    NumPy makes a whole-tensor temporary for every operation, and memory is slower than arithmetic.
    The same line on blocks that fit the cache is about three times as fast, and needs no extra
    memory.  np.nditer cuts the blocks, for any strides, and repeats scale and zero_point.
    """
    parameters = tuple(p.astype(compute) for p in parameters)  # here, or every block would convert them
    blocks = np.nditer(  # type: ignore[call-overload]  # a list of operands may hold None, the output
        [tensor, *parameters, None],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly"]] * (1 + len(parameters)) + [["writeonly", "allocate"]],
        op_dtypes=[compute] * (1 + len(parameters)) + [result],
        casting="same_kind",
        buffersize=BLOCK // np.dtype(compute).itemsize,
    )
    with blocks, np.errstate(over="ignore", under="ignore"):  # x / scale may overflow: inf saturates
        for *block, out in blocks:
            np.copyto(out, formula(*block), casting="unsafe")
        return blocks.operands[-1]

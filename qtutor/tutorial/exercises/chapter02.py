"""Exercises of chapter 02: the zero-point."""

from collections.abc import Mapping
from functools import cache

import numpy as np

from qtutor.affine import choose_qparams, fake_quantize
from qtutor.error import sqnr_db
from qtutor.graph import forward
from qtutor.models.digits import CNN, load_digits, load_weights, to_input
from qtutor.rounding import INT8, UINT8
from qtutor.tutorial.exercises import Choice, Exercise, Function, Number


def scale_and_zero_point(rmin: float, rmax: float) -> tuple[float, int]:
    rmin, rmax = min(rmin, 0.0), max(rmax, 0.0)
    scale = (rmax - rmin) / 255
    return scale, int(np.clip(np.rint(0 - rmin / scale), 0, 255))


def _range_not_widened(rmin: float, rmax: float) -> tuple[float, int]:
    scale = (rmax - rmin) / 255
    return scale, int(np.clip(np.rint(-rmin / scale), 0, 255))


def _not_widened_not_clipped(rmin: float, rmax: float) -> tuple[float, int]:
    scale = (rmax - rmin) / 255
    return scale, int(np.rint(-rmin / scale))


def _zero_point_real(rmin: float, rmax: float) -> tuple[float, float]:
    rmin, rmax = min(rmin, 0.0), max(rmax, 0.0)
    scale = (rmax - rmin) / 255
    return scale, -rmin / scale


def _zero_point_truncated(rmin: float, rmax: float) -> tuple[float, int]:
    scale, zero_point = _zero_point_real(rmin, rmax)
    return scale, int(zero_point)


def _zero_point_first(rmin: float, rmax: float) -> tuple[int, float]:
    scale, zero_point = scale_and_zero_point(rmin, rmax)
    return zero_point, scale


def _wrong_side(rmin: float, rmax: float) -> tuple[float, int]:
    scale, zero_point = scale_and_zero_point(rmin, rmax)
    return scale, 255 - zero_point


def _for_int8(rmin: float, rmax: float) -> tuple[float, int]:
    scale, zero_point = scale_and_zero_point(rmin, rmax)
    return scale, zero_point - 128


def _256_steps(rmin: float, rmax: float) -> tuple[float, int]:
    rmin, rmax = min(rmin, 0.0), max(rmax, 0.0)
    scale = (rmax - rmin) / 256
    return scale, int(np.clip(np.rint(-rmin / scale), 0, 255))


def _inverse_scale(rmin: float, rmax: float) -> tuple[float, int]:
    scale, zero_point = scale_and_zero_point(rmin, rmax)
    return 1 / scale, zero_point


def relu_codes(q: np.ndarray, zero_point: int) -> np.ndarray:
    return np.maximum(q, np.asarray(zero_point, q.dtype))


def pad_codes(q: np.ndarray, n: int, zero_point: int) -> np.ndarray:
    return np.pad(q, n, constant_values=zero_point)


@cache
def _tensors() -> dict[str, np.ndarray]:
    digits, weights = load_digits(), load_weights()
    tensors = forward(CNN, weights, to_input(digits.images[digits.train[:200]]))
    return {
        "input": tensors["input"],
        "leaky": tensors["stem"],
        "weights": weights["block1.pointwise.weight"],
    }


WAYS = {  # codes, and whether real 0 has the code 0
    "int8 symmetric": (INT8, True),
    "uint8 symmetric": (UINT8, True),
    "int8 affine": (INT8, False),
}


def too_costly(answer: Mapping[str, str]) -> str | None:
    """Each tensor within 0.5 dB of its best map, with at most one zero-point that is not 0."""
    tensors = _tensors()
    if (
        not isinstance(answer, Mapping)
        or set(answer) != set(tensors)
        or not set(answer.values()) <= set(WAYS)
    ):
        return f"The answer is a dict from each of {list(tensors)} to one of {list(WAYS)}."
    stored = 0
    for name, x in tensors.items():
        sqnr = {}
        for way, (to, symmetric) in WAYS.items():
            if way == "uint8 symmetric" and x.min() < 0:
                continue
            qparams = choose_qparams(x.min(), x.max(), to, symmetric=symmetric)
            sqnr[way] = sqnr_db(x, fake_quantize(x, qparams)), int(qparams.zero_point)
        if answer[name] not in sqnr:
            return f"{name!r} has negative values, and {answer[name]} has no codes for them."
        got, zero_point = sqnr[answer[name]]
        best = max(sqnr.values())[0]
        if got < best - 0.5:
            return f"{name!r} gets {got:.1f} dB, which is {best - got:.1f} dB below its best map."
        stored += zero_point != 0
    return None if stored <= 1 else f"{stored} zero-points are not 0, and the hardware has room for one."


GOOD = {"input": "uint8 symmetric", "leaky": "int8 affine", "weights": "int8 symmetric"}

EXERCISES: dict[str, Exercise] = {
    "2.1": Function(
        cases=[(-1.0, 3.0), (0.0, 6.0), (1.0, 6.0), (-6.0, -1.0), (-0.3, 0.3), (-10.0, 0.5)],
        expected=scale_and_zero_point,
        mistakes={
            "you do not widen the range to hold 0": _range_not_widened,
            "you neither widen the range nor saturate the zero-point": _not_widened_not_clipped,
            "you leave the zero-point a real number": _zero_point_real,
            "you truncate the zero-point instead of rounding it": _zero_point_truncated,
            "you return the zero-point first": _zero_point_first,
            "you count the zero-point from the wrong end, qmax": _wrong_side,
            "you divide by the number of codes, 256, instead of the number of steps": _256_steps,
            "you give the zero-point of int8": _for_int8,
            "you return steps per real unit instead of real units per step": _inverse_scale,
        },
    ),
    "2.2": Number(
        expected=lambda: int(choose_qparams(-0.25, 1.75, INT8).zero_point),
        mistakes={
            "you give the zero-point of uint8": lambda: 32,
            "you count from the wrong end of the range": lambda: 95,
            "you do not round": lambda: -128 + 0.25 * 255 / 2,
            "you leave out qmin and get the sign wrong": lambda: -32,
            "you add rmin / S to qmin where (2.3) subtracts it": lambda: -160,
        },
    ),
    "2.3": Function(
        cases=[
            (np.array([-128, -101, -100, 0, 127], np.int8), -101),
            (np.array([[3, 200], [27, 26]], np.uint8), 27),
            (np.array([-5, 0, 5], np.int8), 0),
        ],
        expected=relu_codes,
        mistakes={
            "you clamp at the code 0, which stands for real 0 only when Z is 0": lambda q, Z: np.maximum(
                q, 0
            ),
            "you subtract Z and do not add it back": lambda q, Z: np.maximum(q.astype(int) - Z, 0),
            "you subtract Z in the dtype of q, where differences wrap": lambda q, Z: (
                np.maximum(q - np.asarray(Z, q.dtype), 0) + np.asarray(Z, q.dtype)
            ),
            "you take the smaller of the two": lambda q, Z: np.minimum(q, np.asarray(Z, q.dtype)),
            "you write the code 0 where the input is negative": lambda q, Z: np.where(q > Z, q, 0),
        },
    ),
    "2.4": Function(
        cases=[
            (np.array([1, 2, 3], np.int8), 1, -101),
            (np.array([7], np.uint8), 2, 128),
            (np.array([[1, 2], [3, 4]], np.int8), 1, 0),
        ],
        expected=pad_codes,
        mistakes={
            "you pad with the code 0": lambda q, n, Z: np.pad(q, n),
            "you pad with the lowest code": lambda q, n, Z: np.pad(
                q, n, constant_values=np.iinfo(q.dtype).min
            ),
            "you repeat the edge": lambda q, n, Z: np.pad(q, n, mode="edge"),
            "you pad with -Z": lambda q, n, Z: np.pad(q.astype(int), n, constant_values=-Z),
        },
    ),
    "2.5": Choice(
        violated=too_costly,
        example=GOOD,
        wrong=[
            {**GOOD, "input": "int8 symmetric"},
            {**GOOD, "leaky": "uint8 symmetric"},
            {**GOOD, "leaky": "int8 symmetric"},
            {**GOOD, "weights": "int8 affine"},
            {"input": "int8 affine"},
        ],
    ),
}

"""Integers that refuse to meet a float: is there really none between the codes? (for notebook 07)

>>> import numpy as np
>>> from qtutor import QParams, quantize_multiplier, requantize, multiply_single_rounding
>>> with no_floats():
...     a = guarded(np.arange(4))
...     print(a * 3 >> 1)
...     print(requantize(a, quantize_multiplier(3.0), QParams(1.0, 2), multiply=multiply_single_rounding))
[0 1 3 4]
[ 2  5  8 11]
>>> a / 2
Traceback (most recent call last):
    ...
qtutor.tutorial.guard.FloatOperation: float64
"""

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, NoReturn
from unittest import mock

import numpy as np

from qtutor.graph import QuantizedNetwork
from qtutor.rounding import IntRange


class FloatOperation(TypeError):
    """A float turned up between the codes."""


class Guarded(np.ndarray):
    """Integers that raise FloatOperation when an operation on them takes or makes a float, of any size.

    An array that is not guarded may not join in, so whatever comes out guarded was never anything else.
    A single number that Python takes out of the array would pass unseen, so none may leave.
    """

    def __array_finalize__(self, parent: Any) -> None:
        _refuse_floats(self)

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any
    ) -> Any:
        for x in (*inputs, *out):
            _refuse_floats(x)
            if not isinstance(x, Guarded) and np.ndim(x) > 0:
                raise FloatOperation(f"{ufunc.__name__}: an array that is not guarded: {x!r}")
        asked = np.dtype(options.get("dtype") or int)
        if "signature" in options or asked.kind not in "iub":
            raise FloatOperation(f"{ufunc.__name__}: asked to compute in {options.get('signature', asked)}")
        bare = [x.view(np.ndarray) if isinstance(x, Guarded) else x for x in inputs]
        if out:
            options["out"] = tuple(x.view(np.ndarray) for x in out)
        with np.errstate(all="raise"):
            return guarded(getattr(ufunc, method)(*bare, **options))

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        return guarded(super().__array_function__(function, types, inputs, options))

    def __getitem__(self, index: Any) -> Any:
        return guarded(super().__getitem__(index))  # NumPy would make a bare number of one element

    def _leave(self, *_: Any) -> NoReturn:
        raise FloatOperation("a number leaves the guard: what Python does with it, nobody sees")

    __float__ = __int__ = __index__ = __iter__ = item = tolist = _leave


def guarded(thing: Any) -> Any:
    """Arrays, and all arrays in layers, maps and networks, as Guarded; their scales are gone.

    Raises FloatOperation for an array of floats. What holds no array comes back as it is.
    """
    if isinstance(thing, np.ndarray | np.generic):
        _refuse_floats(thing)
        return np.array(thing).view(Guarded)
    if isinstance(thing, tuple | list):
        return type(thing)(guarded(part) for part in thing)
    if isinstance(thing, QuantizedNetwork):
        layers = {name: guarded(layer) for name, layer in thing.layers.items()}
        return QuantizedNetwork(thing.graph, guarded(thing.input), layers)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, IntRange):
        twin = copy.copy(thing)
        for field in dataclasses.fields(thing):
            # what isn't there can't be used
            value = None if field.name == "scale" else guarded(getattr(thing, field.name))
            object.__setattr__(twin, field.name, value)
        return twin
    return thing


@contextlib.contextmanager
def no_floats() -> Iterator[None]:
    """In here np.asarray, which would make a plain array of a guarded one, keeps the guard."""
    with mock.patch.object(np, "asarray", np.asanyarray):
        yield


def _refuse_floats(x: Any) -> None:
    dtype = np.asanyarray(x).dtype
    if dtype.kind not in "iub":
        raise FloatOperation(f"{dtype}")

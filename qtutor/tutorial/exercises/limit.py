"""An end for an answer that has none: it runs in a thread of its own, and is stopped after some seconds."""

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class OutOfTime(BaseException):
    """Raised inside what takes too long. It is no Exception, or `except Exception` would catch it."""


def run_within(seconds: float, compute: Callable[[], T], done: Sequence) -> tuple[T | None, int, bool]:
    """Call `compute`, for at most so many seconds; it must raise no error of its own.

    Returns what it returns, or None when the time is over; how long the list `done`, to which it may add
    what it has done so far, was at the end; and whether it cannot be stopped and still runs.

    It runs in a thread, since a thread can be left alone where it cannot be stopped, on every system. And
    as an interrupt from the keyboard reaches the main thread only, a KeyboardInterrupt in there is its own.

    >>> run_within(20, lambda: 2 + 2, [])
    (4, 0, False)
    """
    results: list[T] = []
    running = threading.Lock()  # held as long as the thread runs

    def work() -> None:
        with contextlib.suppress(OutOfTime):
            try:
                results.append(compute())
            finally:
                running.release()

    running.acquire()
    thread = threading.Thread(target=work, daemon=True)
    end, ended = time.monotonic() + seconds, False
    try:
        thread.start()
        while not ended and time.monotonic() < end:
            ended = running.acquire(timeout=0.1)  # on Windows, one long wait would let no interrupt through
        result, count = results[0] if results else None, len(done)
    finally:
        ended = ended or _stop(thread, running)
    return result, count, not ended


def _stop(thread: threading.Thread, running: threading.Lock) -> bool:
    """Whether the thread ends when it is told to: again and again, since it may be inside an `except:`."""
    ident = ctypes.c_ulong(thread.ident or 0)
    for _ in range(10):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(OutOfTime))
        if running.acquire(timeout=0.1):
            return True
    return False

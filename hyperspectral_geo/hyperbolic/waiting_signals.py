"""Signals that wait until a step is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["take_effect", "waiting_signals"]


@contextmanager
def waiting_signals(*, enabled: bool = True) -> Iterator[Callable[[], int]]:
    """Hold SIGINT and SIGTERM back inside the block, and let them take effect at its end.

    Yields a function that gives the number of the one that has arrived, 0 before. At the end SIGINT raises
    ``KeyboardInterrupt`` and SIGTERM ``SystemExit(143)``. A second signal does not wait. Outside the main thread
    nothing is held back.
    """
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    arrived: list[int] = []

    def note(number: int, frame: object) -> None:
        if arrived:
            take_effect(number)
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: arrived[0] if arrived else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        take_effect(arrived[0])


def take_effect(number: int) -> None:
    """Raise what a signal raises: ``KeyboardInterrupt`` for SIGINT, ``SystemExit`` for others."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)

"""Signals that wait until a step is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["waiting_signals"]


@contextmanager
def waiting_signals(*, enabled: bool = True) -> Iterator[Callable[[], bool]]:
    """Hold SIGINT and SIGTERM back inside the block, and let them take effect at its end.

    Yields a function that says whether one has arrived. At the end SIGINT raises ``KeyboardInterrupt`` and SIGTERM
    ``SystemExit(143)``. A second signal does not wait. Outside the main thread nothing is held back.
    """
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    arrived: list[int] = []

    def note(number: int, frame: object) -> None:
        if arrived:
            _take_effect(number)
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        _take_effect(arrived[0])


def _take_effect(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)

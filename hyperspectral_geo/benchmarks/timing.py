"""Ratios of CPU time that hold on a noisy machine: the two sides in turn, medians, and an interval."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from statistics import median

import torch

__all__ = ["Pair", "compare", "one_thread"]


@dataclass(frozen=True)
class Pair:
    """CPU seconds of both sides, turn by turn."""

    ours: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def speedups(self) -> list[float]:
        """Peer's time over ours, turn by turn, ascending."""
        return sorted(b / a for a, b in zip(self.ours, self.peer, strict=True))

    @property
    def speedup(self) -> float:
        """Median of the speedups."""
        return median(self.speedups)

    @property
    def interval(self) -> tuple[float, float]:
        """Second smallest and second largest speedup, the extremes below five turns."""
        ratios = self.speedups
        return (ratios[1], ratios[-2]) if len(ratios) >= 5 else (ratios[0], ratios[-1])

    def __add__(self, other: Pair) -> Pair:
        return Pair(self.ours + other.ours, self.peer + other.peer)


def compare(ours: Callable[[], object], peer: Callable[[], object], *, turns: int) -> Pair:
    """CPU time of two calls, ours and the peer's in turn; each is called once uncounted before each counted call.

    The uncounted call brings memory and caches to where a loop over one function has them, for both sides alike.
    """
    collecting = gc.isenabled()
    gc.disable()  # a collection would be charged to whichever side it falls on
    try:
        times = [(_cpu_seconds(ours), _cpu_seconds(peer)) for _ in range(turns)]
    finally:
        if collecting:
            gc.enable()
    return Pair(tuple(a for a, _ in times), tuple(b for _, b in times))


def _cpu_seconds(call: Callable[[], object]) -> float:
    call()
    start = time.process_time()
    call()
    return time.process_time() - start


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, and for NumPy and SciPy where threadpoolctl is installed."""
    threads = torch.get_num_threads()
    try:
        from threadpoolctl import threadpool_limits

        limits = threadpool_limits(1)
    except ImportError:
        limits = nullcontext()
    torch.set_num_threads(1)
    try:
        with limits:
            yield
    finally:
        torch.set_num_threads(threads)

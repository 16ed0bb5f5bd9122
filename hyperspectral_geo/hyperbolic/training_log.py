"""A training log: one line of JSON every few steps."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hyperspectral_geo.atomic_write import write_atomically

__all__ = ["TrainingLog"]


class TrainingLog:
    """Lines such as ``{"step": 10, "loss": 2.5, "skipped": 0, "pairs": 5120, "seconds": 0.3}``.

    Pairs of concepts measured and seconds of CPU time are those since the run was begun or resumed.

    Args:
        path: the file; None to keep no log.
        after: step after which a resumed run goes on: later lines, of a run that was killed, are dropped.

    Raises:
        ValueError: if there is a file that holds anything but such lines; a log of another run is written over.
        OSError: if it cannot be written.
    """

    def __init__(self, path: str | Path | None, *, after: int = 0) -> None:
        self.path = None if path is None else Path(path)
        self._start = time.process_time()
        if self.path is None:
            return
        earlier = self._until(after) if self.path.exists() else []
        kept = earlier if after else []
        write_atomically(self.path, "".join(kept).encode())

    def add(self, *, step: int, loss: float, skipped: int, pairs: int) -> None:
        """Append a line; a loss that is not finite is written as null."""
        if self.path is None:
            return
        seconds = round(time.process_time() - self._start, 3)
        finite = loss if loss - loss == 0 else None
        line = json.dumps({"step": step, "loss": finite, "skipped": skipped, "pairs": pairs, "seconds": seconds})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _until(self, step: int) -> list[str]:
        assert self.path is not None
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = []
        for number, line in enumerate(lines, start=1):
            try:
                at = int(json.loads(line)["step"])
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines) > 1:
                    break  # cut short by the kill that made the resumption necessary
                raise ValueError(
                    f"{self.path}, line {number}: expected a line of a training log, got {line!r:.60}; pass another log"
                ) from error
            if at <= step:
                kept.append(line)
        return kept

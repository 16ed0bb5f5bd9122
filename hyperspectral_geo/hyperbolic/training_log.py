"""Training logs: every few steps one line of JSON, or TensorBoard's scalars."""

from __future__ import annotations

import json
import time
import weakref
from pathlib import Path

from hyperspectral_geo.atomic_write import write_atomically

__all__ = ["TensorBoardLog", "TrainingLog"]

_FIRST = '{"step": '


class TrainingLog:
    """Lines such as ``{"step": 10, "loss": 2.5, "skipped": 0, "pairs": 5120, "seconds": 0.3}``.

    Pairs of concepts measured and seconds of CPU time are those since the run was begun or resumed.

    Args:
        path: the file.
        after: step after which a resumed run goes on: later lines, of a run that was killed, are dropped.

    Raises:
        ValueError: if there is a file that holds anything but such lines; a log of another run is written over.
        OSError: if it cannot be written.
    """

    def __init__(self, path: str | Path, *, after: int = 0) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise IsADirectoryError(f"log: expected a file, got the folder {self.path}; name a file")
        self._start = time.process_time()
        earlier = self._until(after) if self.path.exists() else []
        kept = earlier if after else []
        write_atomically(self.path, "".join(kept).encode())

    def add(self, *, step: int, loss: float, skipped: int, pairs: int) -> None:
        """Append a line; a loss that is not finite is written as null."""
        seconds = round(time.process_time() - self._start, 3)
        finite = loss if loss - loss == 0 else None
        line = json.dumps({"step": step, "loss": finite, "skipped": skipped, "pairs": pairs, "seconds": seconds})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _until(self, step: int) -> list[str]:
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = []
        for number, line in enumerate(lines, start=1):
            try:
                at = int(json.loads(line)["step"])
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines) and _FIRST.startswith(line[: len(_FIRST)]) and not line.endswith("\n"):
                    break  # cut short by the kill that made the resumption necessary
                raise ValueError(
                    f"{self.path}, line {number}: expected a line of a training log, got {line!r:.60}; pass another log"
                ) from error
            if at <= step:
                kept.append(line)
        return kept


class TensorBoardLog:
    """The scalars ``loss``, ``skipped`` and ``pairs`` as events that TensorBoard shows.

    Args:
        folder: where events are added; made if it is missing.
        after: step after which a resumed run goes on: TensorBoard hides later events, of a run that was killed.

    Raises:
        ImportError: if TensorBoard is not installed.
        OSError: if the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, *, after: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "tensorboard: expected it to be installed for this log, got no such package; "
                "pip install 'hyperspectral-geo[tensorboard]', or write lines of JSON (log=, --log)"
            ) from error
        if Path(folder).exists() and not Path(folder).is_dir():
            raise NotADirectoryError(f"tensorboard: expected a folder, got the file {folder}; pass another")
        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)
        weakref.finalize(self, self._writer.close)

    def add(self, *, step: int, loss: float, skipped: int, pairs: int) -> None:
        """Write the scalars of a step to disk."""
        for name, value in (("loss", loss), ("skipped", skipped), ("pairs", pairs)):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

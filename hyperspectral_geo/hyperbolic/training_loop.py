"""The loop of training: step after step, logged, kept, and stopped by signals, in one process or several."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hyperspectral_geo.hyperbolic.checkpoint import Checkpoints
from hyperspectral_geo.hyperbolic.training_log import TensorBoardLog, TrainingLog
from hyperspectral_geo.hyperbolic.training_run import Training
from hyperspectral_geo.hyperbolic.waiting_signals import take_effect, waiting_signals

__all__ = ["train"]


def train(
    training: Training,
    *,
    run: str,
    progress: Callable[[int, float], None] | None = None,
    log: str | Path | None = None,
    tensorboard: str | Path | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    resume: bool = False,
) -> None:
    """Take all steps that are left; options as in ``fit``.

    The first process writes files and shows progress, the others compute with it; a signal that reaches one of them
    stops all after the same step.

    Args:
        training: changed in place.
        run: its ``fingerprint``.

    Raises:
        ValueError: for a checkpoint, log or process of another run.
        OSError, ImportError: if a file cannot be written, or TensorBoard is not installed.
        FloatingPointError: as ``Training.advance``.
        KeyboardInterrupt, SystemExit: on signals.
    """
    together = training.together
    together.require_same(run)
    kept = None
    if checkpoint is not None:
        folder = Path(checkpoint)
        kept = together.by_first(lambda: _taken_up(training, Checkpoints(folder, run, together.count), resume))
        _share(training)
    logs = together.by_first(lambda: _logs(log, tensorboard, after=training.taken)) or []
    stopped = 0
    with waiting_signals(enabled=checkpoint is not None or together.count > 1) as arrived:
        while training.taken < training.steps and not stopped:
            loss = training.advance()
            if training.taken % 10 == 0:
                pairs = together.total(training.pairs)
                for one in logs:
                    one.add(step=training.taken, loss=loss, skipped=training.skipped, pairs=pairs)
                if progress is not None and together.first:
                    progress(training.taken, loss)
            due = training.taken % every == 0 or training.taken == training.steps
            # asked once: what arrives later waits for the next step, and its save
            stopped = together.largest(arrived())
            if checkpoint is not None and (due or stopped):
                together.by_first(lambda: kept and kept.save(training))
    if stopped:
        take_effect(stopped)  # in the processes that the signal itself did not reach
    if training.skipped and together.first:
        told = f"{training.skipped} of {training.steps} steps were skipped: their loss or gradient was not finite"
        warnings.warn(f"{told}; lower learning_rate or scale", RuntimeWarning, stacklevel=3)


def _taken_up(training: Training, kept: Checkpoints, resume: bool) -> Checkpoints:
    kept.take_up(training, resume=resume)
    return kept


def _share(training: Training) -> None:
    """Bring all processes to the state of the first."""
    if training.together.count == 1:
        return
    tensors, numbers = training.state()
    counts = {f"number.{name}": torch.tensor(value) for name, value in numbers.items()}
    found = training.together.from_first(tensors | counts)
    training.load_state(found, {name: int(found[f"number.{name}"]) for name in numbers})


def _logs(
    log: str | Path | None, tensorboard: str | Path | None, *, after: int
) -> Sequence[TrainingLog | TensorBoardLog]:
    logs: list[TrainingLog | TensorBoardLog] = []
    if log is not None:
        logs.append(TrainingLog(log, after=after))
    if tensorboard is not None:
        logs.append(TensorBoardLog(tensorboard, after=after))
    return logs

"""Eigenvalues after the merge, end to end: moved away from the anchor only as far as held-out inputs agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hyperspectral_geo.merging.descent import Objective, Problem, with_parameters
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.spectrum import Free, spectra

__all__ = ["Calibration", "calibrate"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """A calibrated module, and how far from its anchor the held-out inputs let it go.

    Attributes:
        module: the merged module with moved eigenvalues; the anchor itself if nothing else was better.
        learning_rate: chosen step size.
        steps: chosen number of steps; 0 is the anchor.
        gain: held-out loss of the choice over the anchor's, minus one: -0.2 is a fifth less loss.
        curves: for each learning rate, the held-out loss over the anchor's after 0, 1, … steps, mean over the folds.
    """

    module: Module
    learning_rate: float
    steps: int
    gain: float
    curves: Mapping[float, tuple[float, ...]]


def calibrate(
    network: nn.Module,
    anchor: Module,
    folds: Sequence[Sequence[Any]],
    objective: Objective,
    *,
    free: Free = "eigenvalues",
    learning_rates: Sequence[float] = (0.003, 0.01, 0.03, 0.1),
    steps: int = 40,
    caution: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Move the eigenvalues of a merged module by gradient on any loss, as far as held-out batches agree.

    From the anchor, p = 0, Adam descends the mean loss of the training batches over p alone (``Spectrum``: the basis
    stays). Each fold is held out once a learning rate; the number of steps and the rate of the lowest held-out loss
    are taken for a last descent on all folds, and the anchor stays where no descent beats it by ``caution`` standard
    errors over the folds' batches. Only p and two moments a number are kept; a weight is formed when a batch needs it.

    Args:
        network: the base model, in evaluation mode; its own parameters are not changed.
        anchor: a merged module, best the best data-free one.
        folds: two or more lists of batches; a batch is whatever ``objective`` takes.
        objective: ``objective(forward, batch)``, a loss ().
        free: what moves, see ``Spectrum``.
        learning_rates: Adam's steps to choose from, relative to the eigenvalues.
        steps: most steps.
        caution: standard errors by which a descent must beat the anchor.
        progress: called as ``progress(done, all)`` after each descent.

    Raises:
        ValueError: for fewer than two folds, an empty one, a module that does not fit the network, or a loss at the
            anchor that is not finite.
    """
    if len(folds) < 2 or any(len(fold) == 0 for fold in folds):
        raise ValueError(f"folds: expected two or more, none of them empty, got sizes {[len(fold) for fold in folds]}")
    network.eval()
    problem = Problem(network, anchor, spectra(anchor, free=free), objective)
    start = [problem.losses(problem.origin(), fold) for fold in folds]
    curves = {}
    for i, rate in enumerate(learning_rates):
        curves[rate] = _held_out(problem, folds, start, rate, steps)
        if progress is not None:
            progress(i + 1, len(learning_rates) + 1)
    rate, count, gain = _choose(curves, caution)
    every = [batch for fold in folds for batch in fold]
    *_, p = (problem.origin(), *problem.descend(every, rate, count))
    means = {r: tuple(c.mean(0).tolist()) for r, c in curves.items()}
    module = with_parameters(anchor, problem.found, p) if count else anchor
    return Calibration(module, rate, count, gain, means)


def _held_out(
    problem: Problem, folds: Sequence[Sequence[Any]], start: Sequence[Tensor], rate: float, steps: int
) -> Tensor:
    """Held-out losses over the anchor's, (batches, steps + 1)."""
    rows = []
    for i, fold in enumerate(folds):
        training = [batch for j, other in enumerate(folds) if j != i for batch in other]
        path = [start[i], *(problem.losses(p, fold) for p in problem.descend(training, rate, steps))]
        rows.append(torch.stack(path, 1) / start[i].unsqueeze(1))
    return torch.cat(rows)


def _choose(curves: Mapping[float, Tensor], caution: float) -> tuple[float, int, float]:
    """Learning rate, number of steps and gain of the lowest mean held-out loss; no steps unless it beats the anchor."""
    best = min(curves, key=lambda rate: float(curves[rate].mean(0).nan_to_num(math.inf).min()))
    count = int(curves[best].mean(0).nan_to_num(math.inf).argmin())
    gains = curves[best][:, count] - 1
    error = gains.std() / math.sqrt(len(gains)) if len(gains) > 1 else gains.new_zeros(())
    if not bool(gains.mean() + caution * error < 0):
        return best, 0, 0.0
    return best, count, float(gains.mean())

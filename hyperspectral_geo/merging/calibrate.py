"""Eigenvalues after the merge, end to end: moved away from the anchor only as far as held-out inputs agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.merging.descent import Objective, Problem, Renew, with_parameters
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.spectrum import Free, spectra

__all__ = ["Calibration", "Course", "calibrate"]


@dataclass(frozen=True)
class Course:
    """One way down from the anchor: what moves, Adam's step, and how many steps."""

    free: Free
    learning_rate: float
    steps: int


@dataclass(frozen=True, eq=False)
class Calibration:
    """A calibrated module, and how far from its anchor the held-out inputs let it go.

    Attributes:
        module: the merged module with moved eigenvalues; the anchor itself if nothing else was better.
        course: what was chosen; no steps for the anchor.
        gain: held-out loss of the choice over the anchor's, minus one: -0.2 is a fifth less loss.
        curves: for each way and number of steps tried the held-out loss over the anchor's, mean over the folds.
    """

    module: Module
    course: Course
    gain: float
    curves: Mapping[Course, float]


def calibrate(
    network: nn.Module,
    anchor: Module,
    folds: Sequence[Sequence[Any]],
    objective: Objective,
    *,
    free: Free | Sequence[Free] = ("eigenvalues", "core"),
    learning_rates: Mapping[Free, Sequence[float]] | None = None,
    steps: int = 30,
    every: int = 3,
    batches_per_step: int | None = None,
    caution: float = 1.0,
    renew: Renew | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Move the eigenvalues of a merged module by gradient on any loss, as far as held-out batches agree.

    From the anchor, p = 0, Adam descends the mean loss of the training batches over p alone (``Spectrum``: the basis
    stays). Each fold is held out once for each learning rate; what moves, the rate and the number of steps of the
    lowest held-out loss are taken, and the anchor stays where no descent beats it by ``caution`` standard errors over
    the held-out batches. The result is the descent on all folds. Only p and two moments a number are kept; a weight
    is formed when a batch needs it, so networks of any size and kind that ``torch.func`` can call will do.

    Args:
        network: the base model; it is put in evaluation mode and its own parameters are not changed.
        anchor: a merged module, best the best data-free one.
        folds: two or more lists of batches; a batch is whatever ``objective`` takes.
        objective: ``objective(forward, batch)``, a loss (); see ``ModuleMatching``, ``labelled`` and ``entropy``.
        free: what moves, see ``Spectrum``; of several, held-out batches choose.
        learning_rates: Adam's steps to choose from, by what moves, relative to the eigenvalues.
        steps: most steps.
        every: held-out losses are taken after each so many steps.
        batches_per_step: how many training batches a step sums over, in turn; None for all.
        caution: standard errors by which a descent must beat the anchor.
        renew: makes a training batch anew before each step, ``renew(batch, generator)``, such as by mixing inputs.
        seed: of that generator.
        progress: called as ``progress(done, all)`` after each descent.

    Raises:
        ValueError: for fewer than two folds, an empty one, a module that does not fit the network, or a loss at the
            anchor that is not finite and positive.
    """
    if len(folds) < 2 or any(len(fold) == 0 for fold in folds):
        raise ValueError(f"folds: expected two or more, none of them empty, got sizes {[len(fold) for fold in folds]}")
    rates = {**_LEARNING_RATES, **(learning_rates or {})}
    kinds: Sequence[Free] = [kind for kind in get_args(Free) if kind == free or kind in free]
    ways = [(kind, rate) for kind in kinds for rate in rates[kind]]
    problems = {kind: Problem(network.eval(), anchor, spectra(anchor, free=kind), objective) for kind in kinds}
    descent = _Descent(steps, every, batches_per_step, renew, seed)
    start = _losses_at_anchor(problems[kinds[0]], folds)
    tried: dict[Course, Tensor] = {}
    for i, (kind, rate) in enumerate(ways):
        held_out = descent.held_out(problems[kind], folds, start, rate)
        tried |= {Course(kind, rate, (j + 1) * every): held_out[:, j] for j in range(held_out.shape[1])}
        if progress is not None:
            progress(i + 1, len(ways) + 1)
    course, gain = _choose(tried, caution)
    curves = {way: float(losses.mean()) for way, losses in tried.items()}
    if course.steps == 0:
        return Calibration(anchor, course, 0.0, curves)
    problem = problems[course.free]
    batches = [batch for fold in folds for batch in fold]
    *_, p = descent.path(problem, batches, course.learning_rate, course.steps)
    return Calibration(with_parameters(anchor, problem.found, p), course, gain, curves)


_LEARNING_RATES: dict[Free, Sequence[float]] = {
    "eigenvalues": (0.01, 0.03),
    "core": (0.001, 0.003),
    "scale": (0.03,),
}
"""A core has k times as many numbers as eigenvalues, so each has to move less."""


@dataclass(frozen=True)
class _Descent:
    steps: int
    every: int
    batches_per_step: int | None
    renew: Renew | None
    seed: int

    def path(self, problem: Problem, batches: Sequence[Any], rate: float, steps: int) -> list[dict[str, Tensor]]:
        """p after each ``every`` steps."""
        found = problem.descend(
            batches, rate, steps, batches_per_step=self.batches_per_step, renew=self.renew, seed=self.seed
        )
        return [
            {name: x.detach().clone() for name, x in p.items()} for i, p in enumerate(found, 1) if i % self.every == 0
        ]

    def held_out(
        self, problem: Problem, folds: Sequence[Sequence[Any]], start: Sequence[Tensor], rate: float
    ) -> Float[Tensor, "batches points"]:
        """Held-out losses over the anchor's, each fold held out once."""
        rows = []
        for i, fold in enumerate(folds):
            training = [batch for j, other in enumerate(folds) if j != i for batch in other]
            path = self.path(problem, training, rate, self.steps)
            rows.append(torch.stack([problem.losses(p, fold) / start[i] for p in path], 1))
        return torch.cat(rows)


def _losses_at_anchor(problem: Problem, folds: Sequence[Sequence[Any]]) -> list[Tensor]:
    start = [problem.losses(problem.origin(), fold) for fold in folds]
    every = torch.cat(start)
    if not bool((every.isfinite() & (every > 0)).all()):
        raise ValueError(
            f"objective: expected finite losses > 0 at the anchor, got {every.tolist()}; "
            "where the anchor is perfect there is nothing to calibrate"
        )
    return start


def _choose(tried: Mapping[Course, Tensor], caution: float) -> tuple[Course, float]:
    """The course of the lowest mean held-out loss, and its gain; no steps unless it beats the anchor."""
    course = min(tried, key=lambda way: float(tried[way].mean().nan_to_num(math.inf)))
    gains = tried[course] - 1
    error = gains.std() / math.sqrt(len(gains)) if len(gains) > 1 else torch.zeros(())
    if not bool(gains.mean() + caution * error < 0):
        return Course(course.free, course.learning_rate, 0), 0.0
    return course, float(gains.mean())

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
from hyperspectral_geo.merging.grams import evaluating
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
        gain: held-out loss of the choice over the anchor's, minus one: -0.2 is a fifth less loss. The folds that it
            is measured on have also chosen, so expect somewhat less.
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
    caution: float = 2.0,
    renew: Renew | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Move the eigenvalues of a merged module by gradient on any loss, as far as held-out batches agree.

    From the anchor, p = 0, Adam descends the mean loss of the training batches over p alone (``Spectrum``: the basis
    stays). Each fold is held out once for each learning rate; what moves, the rate and the number of steps of the
    lowest held-out loss are taken, and the anchor stays where no descent beats it by ``caution`` standard errors over
    the held-out batches. The result is the descent on all folds. Gradients accumulate over the batches, and only p and
    its two moments are kept between them; while a batch runs, the changed weights exist a second time. Any network that
    ``torch.func`` can call will do.

    Args:
        network: the base model, run in evaluation mode and left in its own; its parameters are not changed.
        anchor: a merged module, best the best data-free one.
        folds: two or more lists of batches; a batch is whatever ``objective`` takes.
        objective: ``objective(forward, batch)``, a loss (); see ``ModuleMatching``, ``labelled`` and ``entropy``.
        free: what moves, see ``Spectrum``; of several, held-out batches choose.
        learning_rates: Adam's steps to choose from, by what moves, relative to the eigenvalues.
        steps: most steps.
        every: held-out losses are taken after each so many steps.
        batches_per_step: how many training batches a step sums over, in turn; None for all.
        caution: standard errors by which a descent must beat the anchor. The folds that choose among the descents
            also judge the chosen one, which flatters it: below two, noise is taken for a gain now and then.
        renew: makes a training batch anew before each step, ``renew(batch, generator)``, such as by mixing inputs.
        seed: of that generator.
        progress: called as ``progress(done, all)`` after each descent.

    Raises:
        ValueError: for fewer than two folds, an empty one, options out of range, a module that does not fit the
            network, or a loss at the anchor that is no number, not finite, or zero throughout.
    """
    if len(folds) < 2 or any(len(fold) == 0 for fold in folds):
        raise ValueError(f"folds: expected two or more, none of them empty, got sizes {[len(fold) for fold in folds]}")
    ways = _ways(free, learning_rates)
    descent = _Descent(steps, every, batches_per_step, renew, seed)
    if not caution >= 0:
        raise ValueError(f"caution: expected a number >= 0, got {caution}")
    kinds: list[Free] = list(dict.fromkeys(kind for kind, _ in ways))
    problems: dict[Free, Problem] = {
        kind: Problem(network, anchor, spectra(anchor, free=kind), objective) for kind in kinds
    }
    with evaluating(network):
        return _calibrate(problems, ways, folds, descent, caution, progress or (lambda done, all_: None))


def _calibrate(
    problems: Mapping[Free, Problem],
    ways: Sequence[tuple[Free, float]],
    folds: Sequence[Sequence[Any]],
    descent: _Descent,
    caution: float,
    progress: Callable[[int, int], None],
) -> Calibration:
    anchor = problems[ways[0][0]].anchor
    start = _losses_at_anchor(problems[ways[0][0]], folds)
    tried: dict[Course, Tensor] = {}
    for i, (kind, rate) in enumerate(ways):
        held_out = descent.held_out(problems[kind], folds, start, rate)
        tried |= {Course(kind, rate, (j + 1) * descent.every): held_out[:, j] for j in range(held_out.shape[1])}
        progress(i + 1, len(ways) + 1)
    course, gain = _choose(tried, caution)
    curves = {way: float(losses.mean()) for way, losses in tried.items()}
    module = anchor
    if course.steps:
        problem = problems[course.free]
        batches = [batch for fold in folds for batch in fold]
        *_, p = descent.path(problem, batches, course.learning_rate, course.steps)
        module = with_parameters(anchor, problem.found, p)
    progress(len(ways) + 1, len(ways) + 1)
    return Calibration(module, course, gain, curves)


def _ways(
    free: Free | Sequence[Free], learning_rates: Mapping[Free, Sequence[float]] | None
) -> list[tuple[Free, float]]:
    """What moves and at which rate: all that are to be tried."""
    wanted = [free] if isinstance(free, str) else list(free)
    known: tuple[Free, ...] = get_args(Free)
    if not wanted or any(kind not in known for kind in (*wanted, *(learning_rates or {}))):
        raise ValueError(
            f"free, learning_rates: expected one or more of {', '.join(known)}, got {wanted} and "
            f"{list(learning_rates or {})}"
        )
    rates = {**_LEARNING_RATES, **(learning_rates or {})}
    if bad := [kind for kind in wanted if not rates[kind] or not all(0 < rate < math.inf for rate in rates[kind])]:
        raise ValueError(f"learning_rates: expected positive numbers for {bad[0]}, got {rates[bad[0]]}")
    return [(kind, rate) for kind in known if kind in wanted for rate in rates[kind]]


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

    def __post_init__(self) -> None:
        if not 1 <= self.every <= self.steps:
            raise ValueError(f"steps, every: expected 1 <= every <= steps, got every {self.every}, steps {self.steps}")
        if self.batches_per_step is not None and self.batches_per_step < 1:
            raise ValueError(f"batches_per_step: expected at least 1 or None for all, got {self.batches_per_step}")

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
        """One plus the change of each held-out batch's loss from the anchor's, over the anchor's mean size.

        The mean over the batches is the ratio of the summed losses, in which no batch of tiny loss rules.
        """
        size = torch.cat(list(start)).abs().mean()
        rows = []
        for i, fold in enumerate(folds):
            training = [batch for j, other in enumerate(folds) if j != i for batch in other]
            path = self.path(problem, training, rate, self.steps)
            changes = torch.stack([problem.losses(p, fold) - start[i] for p in path], 1)
            rows.append(1 + changes / size)
        return torch.cat(rows)


def _losses_at_anchor(problem: Problem, folds: Sequence[Sequence[Any]]) -> list[Tensor]:
    start = [problem.losses(problem.origin(), fold) for fold in folds]
    every = torch.cat(start)
    if not bool(every.isfinite().all() and every.any()):
        raise ValueError(
            f"objective: expected finite losses at the anchor, not all zero, got {every.tolist()}; "
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

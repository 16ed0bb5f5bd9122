"""Intervals for normalised accuracies over tasks, and for their paired differences between methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = ["Correct", "Draws", "summary"]

Correct: TypeAlias = list[Tensor]
"""For each task, which test items a network labels right, booleans (n_t,)."""


class Draws:
    """Resamples of seeds, and of the test items that all seeds share, the same for every method, so that differences
    pair.

    Args:
        experts: for each seed the experts' own results, by which the others' are divided.
        count: number of resamples.
    """

    def __init__(self, experts: Sequence[Correct], *, count: int = 1000) -> None:
        rng = np.random.default_rng(0)
        sizes = [len(task) for task in experts[0]]
        self.seeds = rng.integers(len(experts), size=(count, len(experts)))
        # how often each item is drawn: one multinomial a resample and task, for all seeds, which share the items
        self.counts = [torch.from_numpy(rng.multinomial(n, [1 / n] * n, size=count)).double() / n for n in sizes]
        self.experts = [self._accuracies(correct) for correct in experts]
        self.own = [torch.tensor([float(task.double().mean()) for task in correct]) for correct in experts]

    def normalised(self, results: Sequence[Correct]) -> tuple[Tensor, Tensor]:
        """Normalised mean and worst task of each resample, averaged over its seeds, each (count,)."""
        shares = torch.stack(
            [self._accuracies(correct) / own for correct, own in zip(results, self.experts, strict=True)]
        )  # (seeds, count, tasks)
        picked = shares[torch.from_numpy(self.seeds).mT, torch.arange(shares.shape[1])]
        return picked.mean(2).mean(0), picked.amin(2).mean(0)

    def point(self, results: Sequence[Correct]) -> tuple[float, float]:
        """Normalised mean and worst task, averaged over the seeds."""
        shares = [
            torch.tensor([float(task.double().mean()) for task in correct]) / own
            for correct, own in zip(results, self.own, strict=True)
        ]
        return (
            float(torch.stack([s.mean() for s in shares]).mean()),
            float(torch.stack([s.min() for s in shares]).mean()),
        )

    def _accuracies(self, correct: Correct) -> Tensor:
        """(count, tasks)."""
        pairs = zip(self.counts, correct, strict=True)
        return torch.stack([counts @ task.double() for counts, task in pairs], 1)


def summary(values: Tensor) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles."""
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high

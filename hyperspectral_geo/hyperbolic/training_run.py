"""A run of training: what it holds, one step of it, and its state to be saved and taken up again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.objective import PreparedObjective
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters, summed_rows
from hyperspectral_geo.hyperbolic.processes import Processes
from hyperspectral_geo.hyperbolic.row_adam import RowAdam

__all__ = ["MOST_SKIPPED", "Training", "step_generator"]

MOST_SKIPPED = 20
"""Steps in a row whose loss or gradient is not finite, after which training stops."""

_WARM_UP = 50


class Training:
    """A run of training: parameters, Adam's moments, and how many steps were taken.

    Args:
        objectives: what is minimised, each with its weight.
        parameters: changed in place.
        steps: how many there will be.
        rate: the largest step length.
        seed: of all samples.
        widen: whether to go over to float64 when points are too far out for float32.
        together: the processes that train; each draws samples of its own and all take the same steps.
    """

    def __init__(
        self,
        objectives: Sequence[tuple[float, PreparedObjective]],
        parameters: HopParameters,
        *,
        steps: int,
        rate: float,
        seed: int,
        widen: bool = False,
        together: Processes | None = None,
    ) -> None:
        self.objectives = objectives
        self.parameters = parameters
        self.together = together or Processes()
        held = [rows for _, one in objectives if (rows := one.begin(parameters)) is not None]
        self.held = torch.cat(held) if held else None
        self.adam = RowAdam(parameters.all(), rates=parameters.rates)
        self.steps, self.rate, self.seed, self.widen = steps, rate, seed, widen
        self.taken = self.skipped = self.in_a_row = 0

    @property
    def pairs(self) -> int:
        """Pairs of concepts measured since the run was begun or resumed."""
        return sum(objective.pairs for _, objective in self.objectives)

    def advance(self) -> float:
        """Take one step and return its loss; a step that is not finite is skipped and counted.

        Raises:
            FloatingPointError: if that happens ``MOST_SKIPPED`` times in a row, or a parameter leaves its range.
        """
        step = self.taken
        loss, gradients = self._sampled(step)
        self.taken += 1
        if not (math.isfinite(loss) and all(bool(g.value.isfinite().all()) for g in gradients.values())):
            self.skipped += 1
            self.in_a_row += 1
            if self.in_a_row >= MOST_SKIPPED:
                raise FloatingPointError(
                    f"the loss or its gradient was not finite in {MOST_SKIPPED} steps up to step {step}, where the "
                    f"loss was {loss:g}; lower learning_rate or scale"
                )
            return loss
        self.in_a_row = 0
        rise = min(1.0, (step + 1) / min(_WARM_UP, self.steps))
        self.adam.step(gradients, self.rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps)))
        if self.widen and step % 100 == 99:
            self._widen_where_needed()
        return loss

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All tensors, and the numbers that go with them."""
        tensors = {f"parameter.{n}": t for n, t in self.parameters.all().items()} | self.adam.state()
        return tensors, {"taken": self.taken, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave. Raises ``KeyError`` or ``ValueError`` for what does not fit."""
        for name, own in self.parameters.all().items():
            given = tensors[f"parameter.{name}"]
            if given.shape != own.shape or given.dtype not in (torch.float32, torch.float64):
                raise ValueError(
                    f"parameter.{name}: expected floats of shape {tuple(own.shape)}, got {given.dtype} of shape "
                    f"{tuple(given.shape)}"
                )
        self._adopt({name: tensors[f"parameter.{name}"].clone() for name in self.parameters.all()})
        self.adam.load_state(tensors)
        for name in ("taken", "skipped", "in_a_row"):
            value = numbers[name]
            if type(value) is not int or not 0 <= value <= self.steps:
                raise ValueError(f"{name}: expected a number of steps up to {self.steps}, got {value!r:.40}")
            setattr(self, name, value)

    def _sampled(self, step: int) -> tuple[float, dict[str, Gradient]]:
        total, found = 0.0, {}
        for number, (weight, objective) in enumerate(self.objectives):
            generator = step_generator(self.seed, step + 1, number, self.together.rank)
            loss, gradients = objective.step(self.parameters, generator)
            total += weight * loss
            for name, (rows, value) in gradients.items():
                found.setdefault(name, []).append(Gradient(rows, value if weight == 1 else weight * value))
        added = {name: _without(_added(parts), self.held) for name, parts in found.items()}
        return self.together.averaged(total, added)

    def _widen_where_needed(self) -> None:
        """Over to float64 once eps·e^{2r}, the error of cosh d, exceeds a thousandth."""
        tangents = [self.parameters.tables[n] for n in ("tangents", "targets") if n in self.parameters.tables]
        radius = max(float(torch.linalg.vector_norm(z, dim=1).max()) for z in tangents)
        curved = self.parameters.geometry in ("hyperbolic", "product")
        if curved and self.parameters.dtype == torch.float32 and radius > 4.8:
            moments = {n: t.double() if t.is_floating_point() else t for n, t in self.adam.state().items()}
            self._adopt({name: tensor.double() for name, tensor in self.parameters.all().items()})
            self.adam.load_state(moments)

    def _adopt(self, tensors: Mapping[str, Tensor]) -> None:
        for part in (self.parameters.tables, self.parameters.shared):
            part.update({name: tensors[name] for name in part})
        self.adam = RowAdam(self.parameters.all(), rates=self.parameters.rates)


def _added(parts: list[Gradient]) -> Gradient:
    if len(parts) == 1:
        return parts[0]
    if parts[0].rows is None:
        return Gradient(None, torch.stack([part.value for part in parts]).sum(0))
    return summed_rows(torch.cat([p.rows for p in parts if p.rows is not None]), torch.cat([p.value for p in parts]))


def _without(gradient: Gradient, held: Tensor | None) -> Gradient:
    """The gradient of the rows that may move."""
    if held is None or gradient.rows is None:
        return gradient
    free = ~torch.isin(gradient.rows, held)
    return Gradient(gradient.rows[free], gradient.value[free])


def step_generator(seed: int, step: int, number: int, rank: int = 0) -> torch.Generator:
    """What one objective draws in one step of one process: a function of these four numbers alone."""
    mixed = seed
    for part in (step, number, rank) if rank else (step, number):
        # splitmix64, so that neighbouring steps have nothing in common
        mixed = (mixed + 0x9E3779B97F4A7C15 * (part + 1)) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)

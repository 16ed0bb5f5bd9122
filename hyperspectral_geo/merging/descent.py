"""Gradient descent on the few free numbers of a merged network, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from hyperspectral_geo.merging.apply import Forward, applied, base_parameters, changed_parameters, weight_from
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.module import Module

__all__ = ["Movable", "Objective", "Problem", "Renew", "with_parameters"]

Objective: TypeAlias = Callable[[Forward, Any], Tensor]
"""``objective(forward, batch) -> loss ()``: any loss of a batch, ``forward`` being the merged network."""

Renew: TypeAlias = Callable[[Any, torch.Generator], Any]
"""``renew(batch, generator) -> batch``: a training batch made anew, before each step."""


@runtime_checkable
class Movable(Protocol):
    """A weight's update left(p) @ vh that a parameter p moves; p = 0 is where it starts."""

    @property
    def vh(self) -> Tensor:
        """The right factor."""
        ...

    def origin(self) -> Tensor:
        """The parameter that moves nothing: zeros."""
        ...

    def left(self, p: Tensor) -> Tensor:
        """The left factor at p, differentiable."""
        ...


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, a merged module on it whose updates can be moved, and the loss of a batch.

    Attributes:
        network: the base model; never changed.
        anchor: the merged module at p = 0.
        found: how each of its updates moves.
        objective: the loss.
    """

    network: nn.Module
    anchor: Module
    found: Mapping[str, Movable]
    objective: Objective

    def origin(self) -> dict[str, Tensor]:
        """All parameters at zero."""
        return {name: s.origin() for name, s in self.found.items()}

    def forward(self, p: Mapping[str, Tensor]) -> Forward:
        """The merged network at p."""
        fixed = changed_parameters(self.network, replace(self.anchor, deltas={}))
        base = base_parameters(self.network, self.found)
        moved = {
            name: weight_from(base[name], self.anchor.layouts[name], s.left(p[name]), s.vh)
            for name, s in self.found.items()
        }
        return applied(self.network, {**fixed, **moved})

    def losses(self, p: Mapping[str, Tensor], batches: Sequence[Any]) -> Tensor:
        """One loss a batch, without gradients."""
        with torch.no_grad():
            forward = self.forward(p)
            found = torch.stack([self._loss(forward, batch).double() for batch in batches])
        return found

    def _loss(self, forward: Forward, batch: Any) -> Tensor:
        loss = self.objective(forward, batch)
        if not isinstance(loss, Tensor) or loss.shape != ():
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"objective: expected a loss of a batch, a tensor of shape (), got {got}; take its mean")
        return loss

    def descend(
        self,
        batches: Sequence[Any],
        rate: float,
        steps: int,
        *,
        batches_per_step: int | None = None,
        renew: Renew | None = None,
        seed: int = 0,
    ) -> Iterator[dict[str, Tensor]]:
        """p after each of the steps of Adam on the mean loss of the batches; gradients accumulate over them."""
        p = {name: x.requires_grad_() for name, x in self.origin().items()}
        adam = torch.optim.Adam(p.values(), lr=rate)
        generator = torch.Generator().manual_seed(seed)
        count = len(batches) if batches_per_step is None else min(batches_per_step, len(batches))
        for step in range(steps):
            adam.zero_grad()
            for i in range(count):
                batch = batches[(step * count + i) % len(batches)]
                if renew is not None:
                    batch = renew(batch, generator)
                loss = self._loss(self.forward(p), batch)
                if not loss.requires_grad:
                    raise ValueError("objective: expected a loss that depends on forward's outputs, got a constant")
                (loss / count).backward(inputs=list(p.values()))  # not into the network's own parameters
            adam.step()
            yield p


def with_parameters(merged: Module, found: Mapping[str, Movable], parameters: Mapping[str, Tensor]) -> Module:
    """The module with its updates moved by the parameters."""

    def moved(name: str, old: Delta) -> Delta:
        if name not in found:
            return old
        new = LowRank(found[name].left(parameters[name].detach()).to(old.dtype), found[name].vh.to(old.dtype))
        return Dense(new.dense(), old.notes) if isinstance(old, Dense) else replace(new, notes=old.notes)

    return replace(merged, deltas={name: moved(name, old) for name, old in merged.deltas.items()})

"""What calibration may aim at: the modules' own outputs, labels, or sure answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from hyperspectral_geo.merging.apply import Forward, applied, changed_parameters
from hyperspectral_geo.merging.grams import evaluating
from hyperspectral_geo.merging.module import Module

__all__ = ["Head", "Matched", "ModuleMatching", "entropy", "labelled", "split_folds"]

Head: TypeAlias = Callable[[Tensor], Tensor]
"""Features (b, d) to a task's logits (b, classes)."""


@dataclass(frozen=True, eq=False)
class Matched:
    """Inputs of several tasks, and what each task's own module makes of them.

    Attributes:
        inputs: (b, …), what the network is called with.
        task: (b,), the task of each, ascending.
        goals: for each task in the batch, its module's features (b_t, d), or its head's log-probabilities
            (b_t, classes).
    """

    inputs: Shaped[Tensor, "b ..."]
    task: Int[Tensor, " b"]
    goals: tuple[Tensor, ...]


class ModuleMatching:
    """Unlabelled inputs of T tasks: a merged network should make of them what each task's own module does.

    The loss of a task is, with heads, the divergence KL(p_own ‖ p_merged) of the classes' probabilities (distillation,
    Hinton et al. 2015, arXiv:1503.02531), without heads the mean squared difference of the features over their
    variance; tasks count alike. Give ``folds``, ``objective`` and ``renew`` to ``calibrate``.

    Args:
        network: the base model, run in evaluation mode and left in its own; its output is one tensor (b, d), the
            features. Wrap it if it is not.
        modules: one a task.
        inputs: one tensor a task, items along the first dimension.
        heads: one a task, if what counts is their answer.
        mixing: whether ``renew`` mixes inputs of a task in pairs, λx + (1 − λ)x′ with λ from ½ to 1 (mixup, Zhang et
            al. 2018, arXiv:1710.09412). The modules answer for mixtures as well, so few inputs go further. For inputs
            that can be added only, not for token numbers.

    Raises:
        ValueError: for other numbers of tensors or heads than modules, a task without inputs, or modules that do not
            fit the network.
    """

    def __init__(
        self,
        network: nn.Module,
        modules: Sequence[Module],
        inputs: Sequence[Tensor],
        *,
        heads: Sequence[Head] | None = None,
        mixing: bool = True,
    ) -> None:
        for name, given in (("inputs", inputs), ("heads", heads)):
            if given is not None and len(given) != len(modules):
                raise ValueError(f"{name}: expected one for each of {len(modules)} modules, got {len(given)}")
        if mixing and any(not x.is_floating_point() for x in inputs):
            raise ValueError("mixing: expected inputs of floating point, got token numbers; pass mixing=False")
        if not modules or any(len(x) == 0 for x in inputs):
            raise ValueError(f"inputs: expected some of every task, got {[len(x) for x in inputs]}")
        self._network = network
        self.inputs = tuple(inputs)
        self.heads = None if heads is None else tuple(heads)
        self.mixing = mixing
        self._own = [applied(network, changed_parameters(network, module)) for module in modules]
        self._features = [self._run(t, x) for t, x in enumerate(inputs)]
        self._sizes = [float((f - f.mean(0)).square().mean()) for f in self._features]

    def folds(self, count: int = 4, *, batch: int = 8) -> list[list[Matched]]:
        """The inputs in ``count`` parts, each of every task, in batches of at most ``batch`` items a task.

        Raises:
            ValueError: if a task has fewer inputs than there are to be folds.
        """
        rows = [split_folds(len(x), count, name=f"inputs of task {t}") for t, x in enumerate(self.inputs)]
        parts = []
        for i in range(count):
            chunks = [r[i].split(batch) for r in rows]
            longest = max(map(len, chunks))
            parts.append([self._batch([(t, c[j]) for t, c in enumerate(chunks) if j < len(c)]) for j in range(longest)])
        return parts

    def objective(self, forward: Forward, batch: Matched) -> Tensor:
        """Mean over the tasks of how far the merged network's outputs are from their own modules', ()."""
        outputs = forward(batch.inputs)
        losses = []
        for t, goal in zip(batch.task.unique().tolist(), batch.goals, strict=True):
            mine = outputs[batch.task == t]
            if self.heads is None:
                losses.append((mine - goal).square().mean() / self._sizes[t])
            else:
                log_p = self.heads[t](mine).log_softmax(-1)
                losses.append(functional.kl_div(log_p, goal, log_target=True, reduction="batchmean"))
        return torch.stack(losses).mean()

    def renew(self, batch: Matched, generator: torch.Generator) -> Matched:
        """The batch with its inputs mixed in pairs within each task, and the modules' answers to the mixtures."""
        if not self.mixing:
            return batch
        inputs, goals = [], []
        for t in batch.task.unique().tolist():
            x = batch.inputs[batch.task == t]
            shares = 0.5 + 0.5 * torch.rand(len(x), *[1] * (x.ndim - 1), generator=generator, dtype=x.dtype)
            inputs.append(shares * x + (1 - shares) * x[torch.randperm(len(x), generator=generator)])
            goals.append(self._goal(t, self._run(t, inputs[-1])))
        return replace(batch, inputs=torch.cat(inputs), goals=tuple(goals))

    def _batch(self, rows: Sequence[tuple[int, Tensor]]) -> Matched:
        return Matched(
            torch.cat([self.inputs[t][r] for t, r in rows]),
            torch.cat([torch.full_like(r, t) for t, r in rows]),
            tuple(self._goal(t, self._features[t][r]) for t, r in rows),
        )

    @torch.no_grad()
    def _run(self, task: int, x: Tensor) -> Tensor:
        with evaluating(self._network):
            return torch.cat([self._own[task](part) for part in x.split(256)])

    @torch.no_grad()
    def _goal(self, task: int, features: Tensor) -> Tensor:
        return features if self.heads is None else self.heads[task](features).log_softmax(-1)


def entropy(head: Head | None = None) -> Callable[[Forward, Tensor], Tensor]:
    """Mean entropy of the predicted classes, −Σ p log p, for unlabelled inputs (AdaMerging, arXiv:2310.02575)."""

    def objective(forward: Forward, batch: Tensor) -> Tensor:
        logits = forward(batch) if head is None else head(forward(batch))
        log_p = logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1).mean()

    return objective


def labelled(head: Head | None = None) -> Callable[[Forward, tuple[Tensor, Tensor]], Tensor]:
    """Cross-entropy of labelled batches (inputs, labels), for a few shots."""

    def objective(forward: Forward, batch: tuple[Tensor, Tensor]) -> Tensor:
        logits = forward(batch[0]) if head is None else head(forward(batch[0]))
        return functional.cross_entropy(logits, batch[1])

    return objective


def split_folds(count: int, folds: int, *, name: str = "inputs") -> list[Tensor]:
    """Indices 0 … count − 1 dealt out in turn, so that each fold has its share of any order in the items."""
    if not 2 <= folds <= count:
        raise ValueError(f"{name}: expected at least two folds and as many inputs as folds, got {count} for {folds}")
    return [torch.arange(i, count, folds) for i in range(folds)]

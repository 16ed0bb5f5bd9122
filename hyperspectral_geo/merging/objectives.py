"""What calibration may aim at: the modules' own features, labels, or sure answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.merging.apply import Forward, applied, changed_parameters
from hyperspectral_geo.merging.module import Module

__all__ = ["Matched", "entropy", "feature_error", "match_features", "split_folds"]


@dataclass(frozen=True, eq=False)
class Matched:
    """Inputs of one task, and what that task's own module makes of them.

    Attributes:
        inputs: what the network is called with.
        features: the module's outputs on them.
        size: the scale of the error, so that tasks count alike: the outputs' mean squared deviation from their mean.
    """

    inputs: Any
    features: Float[Tensor, "b *rest"]
    size: float


def match_features(
    network: nn.Module, modules: Sequence[Module], inputs: Sequence[Tensor], *, folds: int = 4, batch: int = 256
) -> list[list[Matched]]:
    """Folds for ``calibrate`` from unlabelled inputs: each task's, with its own module's features as what to reach.

    Args:
        network: the base model; its output is one tensor, the features. Wrap it if it is not.
        modules: one a task.
        inputs: one tensor a task, items along the first dimension.
        folds: in how many parts each task's inputs are split.
        batch: most items at once.

    Raises:
        ValueError: for other numbers of tasks than modules, or fewer inputs of a task than folds.
    """
    if len(modules) != len(inputs):
        raise ValueError(f"inputs: expected one tensor for each of {len(modules)} modules, got {len(inputs)}")
    network.eval()
    parts: list[list[Matched]] = [[] for _ in range(folds)]
    for module, x in zip(modules, inputs, strict=True):
        forward = applied(network, changed_parameters(network, module))
        with torch.no_grad():
            features = torch.cat([forward(b) for b in x.split(batch)])
        size = float((features - features.mean(0)).square().mean())
        for i, rows in enumerate(split_folds(len(x), folds, name=module.name)):
            for chunk in rows.split(batch):
                parts[i].append(Matched(x[chunk], features[chunk], size))
    return parts


def feature_error(forward: Forward, batch: Matched) -> Tensor:
    """Mean squared difference of the merged network's features from the module's own, over their variance, ()."""
    return (forward(batch.inputs) - batch.features).square().mean() / batch.size


def entropy(head: Callable[[Tensor], Tensor] | None = None) -> Callable[[Forward, Tensor], Tensor]:
    """Mean entropy of the predicted classes, −Σ p log p, for unlabelled inputs (AdaMerging, arXiv:2310.02575)."""

    def objective(forward: Forward, batch: Tensor) -> Tensor:
        logits = forward(batch) if head is None else head(forward(batch))
        log_p = logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1).mean()

    return objective


def split_folds(count: int, folds: int, *, name: str = "inputs") -> list[Tensor]:
    """Indices 0 … count − 1 dealt out in turn, so that each fold has its share of any order in the items."""
    if not 2 <= folds <= count:
        raise ValueError(f"{name}: expected at least two folds and as many inputs as folds, got {count} for {folds}")
    return [torch.arange(i, count, folds) for i in range(folds)]

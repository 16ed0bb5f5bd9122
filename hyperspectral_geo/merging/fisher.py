"""The diagonal of a network's Fisher information, streamed: how much each entry of a weight matters to a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.merging.apply import changed_parameters
from hyperspectral_geo.merging.grams import evaluating, run_network
from hyperspectral_geo.merging.module import Module

__all__ = ["diagonal_fisher"]


def diagonal_fisher(
    network: nn.Module,
    module: Module,
    inputs: Iterable[Any],
    *,
    loss: Callable[[Any, Any], Tensor] | None = None,
    samples: int = 1,
    seed: int = 0,
) -> Mapping[str, Float[Tensor, "_ _"]]:
    """F = E_x E_{y ~ p(·|x)} (∂ log p(y|x)/∂W)² at the base plus ``module``, each weight of the module a matrix (m, n).

    Labels are drawn from the network's own softmax over the last dimension, so that none are needed; a row of inputs at
    a time, for the square of a sum of gradients is no sum of squares. (With labels of the data instead the result is
    the "empirical" Fisher, which is another matrix: Kunstner et al. 2019, arXiv:1905.12558.) A module that is certain
    of its outputs has a Fisher of small norm.

    Args:
        network: the base model, run in evaluation mode with the module's changes added; it is not changed.
        module: whose deltas name the weights.
        inputs: batches, their first dimension the examples: a tensor, or a tuple or mapping of tensors.
        loss: ``loss(output, batch) -> −log p`` of the batch of one example, instead of drawn labels.
        samples: labels an example.
        seed: of the labels.

    Raises:
        ValueError: for no inputs, no samples, a network that the module does not fit, or gradients that are not finite.
    """
    if samples < 1:
        raise ValueError(f"samples: expected at least one label an example, got {samples}")
    generator = torch.Generator().manual_seed(seed)
    names = list(module.deltas)
    # leaves of a graph of their own: the network's parameters stay as they are, and get no gradient
    changed = changed_parameters(network, module)
    own = dict(network.named_parameters(remove_duplicate=False))
    # of tied parameters one name may be passed, and that is the one that the module changes
    taken = {id(own[name]) for name in changed}
    parameters = {name: p.detach() for name, p in network.named_parameters() if id(p) not in taken}
    parameters |= {name: p.requires_grad_(name in names) for name, p in changed.items()}
    sums = {name: torch.zeros(parameters[name].shape, dtype=torch.float64) for name in names}
    count = 0
    with evaluating(network):
        for batch in inputs:
            for example in _examples(batch):
                output = run_network(network, example, parameters)
                for draw in range(samples if loss is None else 1):
                    value = _own_loss(output, generator) if loss is None else loss(output, example)
                    last = loss is not None or draw == samples - 1
                    gradients = torch.autograd.grad(value, [parameters[n] for n in names], retain_graph=not last)
                    for name, gradient in zip(names, gradients, strict=True):
                        sums[name] += gradient.detach().double().square()
                    count += 1
    if count == 0:
        raise ValueError("inputs: expected at least one example, got none")
    found = {name: module.layouts[name].to_matrix(total / count) for name, total in sums.items()}
    bad = next((name for name, f in found.items() if not bool(f.isfinite().all())), None)
    if bad is not None:
        raise ValueError(f"inputs: the gradients of {bad!r} hold a NaN or an infinity; clean the batches")
    return found


def _examples(batch: Any) -> Iterable[Any]:
    """A batch as batches of one."""
    if isinstance(batch, Tensor):
        return batch.split(1)
    if isinstance(batch, Mapping):
        return (
            dict(zip(batch, parts, strict=True)) for parts in zip(*(v.split(1) for v in batch.values()), strict=True)
        )
    return zip(*(v.split(1) for v in batch), strict=True)


def _own_loss(output: Any, generator: torch.Generator) -> Tensor:
    """−log p of labels drawn from the softmax of the output's last dimension, summed over positions."""
    logits = output if isinstance(output, Tensor) else output.logits
    logits = logits.flatten(0, -2)
    drawn = torch.multinomial(logits.detach().double().softmax(-1), 1, generator=generator).squeeze(-1)
    return nn.functional.cross_entropy(logits, drawn, reduction="sum")

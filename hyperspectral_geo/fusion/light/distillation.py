"""What a truncation lost, taught again: the thin layers learn the original's outputs on inputs without labels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.fusion.alignment import check_count
from hyperspectral_geo.fusion.light.layer_truncation import ThinLayers
from hyperspectral_geo.validation import require_finite, require_floating

__all__ = ["Distillation", "distill"]

Forward = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Distillation:
    """The taught copy, and the loss of every step: squared error of the outputs over their own variance."""

    network: nn.Module
    losses: Float[Tensor, " steps"]


def distill(
    truncated: nn.Module,
    targets: Float[Tensor, "n *out"],
    inputs: Float[Tensor, "n *shape"],
    *,
    steps: int = 60,
    batch: int = 32,
    rate: float = 1e-3,
    seed: int = 0,
    forward: Forward | None = None,
    progress: Callable[[int, float], object] | None = None,
) -> Distillation:
    """Train the thin layers of a truncated network, and nothing else, to give the original's outputs.

    Loss: ‖f(x) − target‖² over the mean of ‖target − mean target‖², by Adam with a rate that falls to zero as a cosine.
    The network stays in evaluation mode, so that running statistics of batch norms do not move.

    Args:
        truncated: the network of a ``Truncation``; it is not changed.
        targets: outputs of the original for ``inputs``, (n, …), in the shape that the network gives.
        inputs: (n, …), without labels.
        steps, batch: rows are drawn without repetition until all were seen, then anew.
        rate: of Adam at the start, > 0.
        seed: of the order of rows.
        forward: how to run the network; ``network(batch)`` if left out.
        progress: called after each step with its number and loss.

    Raises:
        ValueError: for unequal lengths, outputs of another shape than the targets, NaN, targets that do not vary, a
            network without thin layers, a count below 1, or a loss that stops being finite (take a lower rate).

    References:
        Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, arXiv:1503.02531; Romero et al.,
        "FitNets", 2014, arXiv:1412.6550, for features as targets.
    """
    for name, x in (("targets", targets), ("inputs", inputs)):
        require_floating(name, x)
        require_finite(name, x)
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"targets: expected {len(inputs)} rows, one an input, got {len(targets)}")
    targets, inputs = targets.detach(), inputs.detach()  # what made them is not taught
    check_count("steps", steps)
    check_count("batch", batch)
    if not 0 < rate < float("inf"):
        raise ValueError(f"rate: expected a finite number > 0, got {rate!r}")
    usual = float((targets - targets.mean(0)).square().mean())
    if usual == 0:
        raise ValueError("targets: expected outputs that vary, got equal ones; give more inputs")
    network = copy.deepcopy(truncated).eval().requires_grad_(False)
    thin = [module for module in network.modules() if isinstance(module, ThinLayers)]
    if not thin:
        raise ValueError("truncated: expected a network with thin layers, got none; truncate_layers makes them")
    parameters = [parameter.requires_grad_(True) for module in thin for parameter in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, losses, waiting = torch.Generator().manual_seed(seed), [], torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if not len(waiting):
            waiting = torch.randperm(len(inputs), generator=generator)
        rows, waiting = waiting[:batch], waiting[batch:]
        made = (forward or _call)(network, inputs[rows])
        if made.shape != targets[rows].shape:  # else they would be spread over each other
            raise ValueError(
                f"targets: expected {tuple(made.shape[1:])} for each input, as the network gives, got "
                f"{tuple(targets.shape[1:])}; reshape them"
            )
        loss = (made - targets[rows]).square().mean() / usual
        if not bool(loss.isfinite()):
            got = float(loss.detach())
            raise ValueError(f"step {step}: expected a finite loss, got {got}; take a rate below {rate}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(step, losses[-1])
    return Distillation(network.requires_grad_(True), torch.tensor(losses))


def _call(network: nn.Module, batch: Tensor) -> Tensor:
    return network(batch)

"""RegMean++: RegMean on the inputs that the merged network itself gives its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hyperspectral_geo.merging.core import join
from hyperspectral_geo.merging.grams import activation_grams, evaluating, run_network, watched_layers
from hyperspectral_geo.merging.merge import merge
from hyperspectral_geo.merging.merge_plan import ModuleWeights, module_weights
from hyperspectral_geo.merging.methods import regmean
from hyperspectral_geo.merging.module import Module

__all__ = ["regmean_plus_plus"]


def regmean_plus_plus(
    network: nn.Module,
    modules: Sequence[Module],
    inputs: Sequence[Sequence[Any]],
    *,
    weights: ModuleWeights | None = None,
    reduction: float = 0.9,
    ridge: float = 1e-6,
    progress: Callable[[int, int], None] | None = None,
) -> Module:
    """``regmean`` layer after layer in the order of the forward pass, each on the inputs that come to it through the
    layers merged before (RegMean++, Nguyen et al. 2025, arXiv:2508.03121).

    RegMean takes the inputs that each module's own network gives a layer, which the merged network will never see. Here
    G_t comes from task t's batches run through the network merged so far. Tensors that are no matrices are averaged
    first. Each layer runs all batches once, so T tasks and L layers cost T·L forward passes.

    Args:
        network: the base model; it is not changed.
        modules: of this base model; they may change linear layers, convolutions and embeddings.
        inputs: for each module a sequence of batches of its task, as ``activation_grams`` takes them.
        weights: w_t, as ``merge`` takes them, ones by default.
        reduction: as in ``regmean``.
        ridge: as in ``regmean``.
        progress: called as ``progress(done, all)`` after each layer.

    Raises:
        ValueError: for other than one sequence of batches a module, weights that no batch reaches, or what ``merge``
            and ``activation_grams`` refuse.
    """
    if len(inputs) != len(modules) or not all(len(batches) for batches in inputs):
        raise ValueError(
            f"inputs: expected a sequence of at least one batch for each of {len(modules)} modules, got "
            f"{[len(batches) for batches in inputs]}"
        )
    names = list(dict.fromkeys(name for m in modules for name in m.deltas))
    order = _forward_order(network, names, inputs[0][0])
    bare = [Module(m.name, {}, {}, m.vectors, m.replaced, m.magnitudes, m.config) for m in modules]
    start = merge(bare, weights=weights, method="regmean", grams={}).vectors
    own = dict(network.named_parameters(remove_duplicate=False))
    parameters = {name: own[name].detach() + change.to(own[name]) for name, change in start.items()}
    w = module_weights(weights, [m.name for m in modules])
    grams: dict[str, Tensor] = {}
    for done, name in enumerate(order, 1):
        found = [activation_grams(network, b, weights=[name], parameters=parameters)[name] for b in inputs]
        grams[name] = torch.stack(found)
        joint = join(name, [m.deltas.get(name) for m in modules])
        delta = regmean(joint, w, grams=grams, reduction=reduction, ridge=ridge)
        layout = next(m.layouts[name] for m in modules if name in m.layouts)
        parameters[name] = own[name].detach() + layout.to_weight(delta.dense()).to(own[name])
        if progress is not None:
            progress(done, len(order))
    return merge(modules, method="regmean", weights=weights, grams=grams, reduction=reduction, ridge=ridge)


def _forward_order(network: nn.Module, names: Sequence[str], batch: Any) -> list[str]:
    """The weights in the order in which a batch first comes to them."""
    reached: dict[str, None] = {}
    handles = [
        layer.register_forward_pre_hook(lambda *_, name=name: reached.setdefault(name))
        for name, layer in watched_layers(network, names).items()
    ]
    try:
        with evaluating(network), torch.no_grad():
            run_network(network, batch)
    finally:
        for handle in handles:
            handle.remove()
    missing = next((name for name in names if name not in reached), None)
    if missing is not None:
        raise ValueError(f"inputs: no batch has reached {missing!r}; pass inputs that use it")
    return list(reached)

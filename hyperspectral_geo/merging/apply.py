"""A module on a network: the parameters that it gives, without touching the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hyperspectral_geo.merging.module import Layout, Module

__all__ = ["Forward", "applied", "changed_parameters", "require_fits"]

Forward: TypeAlias = Callable[..., Any]
"""A network with some parameters in place of its own: called as the network is."""


def changed_parameters(network: nn.Module, module: Module) -> dict[str, Tensor]:
    """W₀ + ΔW for each parameter that the module changes, in the network's dtype and on its device.

    For a parameter that the module replaces, its value takes the place of W₀.

    Raises:
        ValueError: for a parameter that the network lacks or that has another shape there.
    """
    require_fits(network, module)
    own = dict(network.named_parameters(remove_duplicate=False))
    # a full value stands for the base's, and changes come on top of it, as in ``Module.against``
    changed = {name: value.to(own[name]) for name, value in module.replaced.items()}
    for name, delta in module.deltas.items():
        change = module.layouts[name].to_weight(delta.dense().to(own[name].device))
        changed[name] = changed.get(name, own[name].detach()) + change.to(own[name].dtype)
    for name, vector in module.vectors.items():
        changed[name] = changed.get(name, own[name].detach()) + vector.to(own[name])
    return changed


def applied(network: nn.Module, parameters: Mapping[str, Tensor]) -> Forward:
    """The network as a function, with ``parameters`` in place of its own; tied weights stay tied."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return functional_call(network, dict(parameters), args, kwargs, tie_weights=True)

    return forward


def require_fits(network: nn.Module, module: Module) -> None:
    """Raise ``ValueError`` unless the network has every parameter that the module changes, in the same shape."""
    own = {name: tuple(p.shape) for name, p in network.named_parameters(remove_duplicate=False)}
    wanted = {name: layout.shape for name, layout in module.layouts.items()}
    wanted |= {name: tuple(x.shape) for name, x in {**module.vectors, **module.replaced}.items()}
    for name, shape in wanted.items():
        if name not in own:
            raise ValueError(
                f"{module.name}: expected a network with the parameter {name}, got {type(network).__name__} without "
                f"it; its parameters begin with {', '.join(list(own)[:3])}"
            )
        if own[name] != tuple(shape):
            raise ValueError(f"{module.name}: {name}: expected shape {own[name]} as in the network, got {tuple(shape)}")
    if module.magnitudes:
        raise ValueError(f"{module.name}: its magnitudes (DoRA) need the base weights: use module.against(base) first")


def weight_from(base: Tensor, layout: Layout, left: Tensor, right: Tensor) -> Tensor:
    """W₀ + left @ right as the weight is stored; differentiable in the factors."""
    return base + layout.to_weight(left @ right).to(base.dtype)


def base_parameters(network: nn.Module, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """The network's own values of the named parameters, without gradients."""
    own = dict(network.named_parameters(remove_duplicate=False))
    return {name: own[name].detach() for name in names}


def float_kind(network: nn.Module) -> torch.dtype:
    """The dtype of the network's first parameter."""
    return next(network.parameters()).dtype

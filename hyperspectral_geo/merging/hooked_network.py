"""A network with hooks on some of its layers, and a state that brings its own sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hyperspectral_geo.merging.composed_layer import ComposedLayer

__all__ = ["HookedNetwork"]


class HookedNetwork(nn.Module):
    """A network, and a ``ComposedLayer`` behind each layer that something is added to; the network is not copied.

    Args:
        network: with at least one parameter.
        rank: bound of each layer's joint basis.

    Raises:
        ValueError: for a network without parameters.
    """

    def __init__(self, network: nn.Module, *, rank: int | None) -> None:
        super().__init__()
        if next(network.parameters(), None) is None:
            raise ValueError(f"network: expected one with parameters, got {type(network).__name__} without any")
        if rank is not None and (isinstance(rank, bool) or rank < 1):
            raise ValueError(f"rank: expected a whole number >= 1 or None, got {rank!r}")
        self.network = network
        self.layers = nn.ModuleDict()
        self.rank = rank
        self._handles: dict[str, RemovableHandle] = {}

    def attach(self, path: str) -> ComposedLayer:
        """The composed layer of the network's layer ``path``, hooked to it if it is new."""
        key = _key(path)
        if key not in self.layers:
            try:
                layer = self.network.get_submodule(path)
            except AttributeError as error:
                raise ValueError(f"{path}: expected a layer of the network, got a name that it lacks") from error
            composed = ComposedLayer(path, layer, rank=self.rank)
            self.layers[key] = composed
            self._handles[key] = layer.register_forward_hook(_Addition(composed), with_kwargs=True)
        found = self.layers[key]
        assert isinstance(found, ComposedLayer)
        return found

    def detach(self, key: str) -> None:
        """Take the hook off that ``layers`` knows as ``key``."""
        self._handles.pop(key).remove()
        del self.layers[key]

    def composed(self) -> list[ComposedLayer]:
        """All composed layers, in the order of ``layers``."""
        return [layer for layer in self.layers.values() if isinstance(layer, ComposedLayer)]

    def buffers_by_layer(self) -> dict[str, dict[str, Tensor]]:
        """What ``restore`` puts back; nothing is copied, since changes put new tensors in the place of old ones."""
        return {key: dict(layer.named_buffers()) for key, layer in self.layers.items()}

    def restore(self, before: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put all layers back into an earlier state."""
        for key, layer in list(self.layers.items()):
            if key not in before:
                self.detach(key)
            elif isinstance(layer, ComposedLayer):
                layer.restore(before[key])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Layers and sizes follow what was added, so a state is loaded by making room for what it holds.
        start = f"{prefix}layers."
        wanted = {key[len(start) :].split(".")[0] for key in state_dict if key.startswith(start)}
        for key in set(self.layers) - wanted:
            self.detach(key)
        for key in sorted(wanted):
            self.attach(key[1:].replace("/", "."))
        own = {f"{prefix}{name}" for name, _ in self.named_buffers(recurse=False)}
        for key, value in state_dict.items():
            if key in own or key.startswith(start):
                owner, _, buffer = key[len(prefix) :].rpartition(".")
                place = self.get_submodule(owner)
                if buffer in dict(place.named_buffers(recurse=False)):
                    setattr(place, buffer, torch.empty_like(value, device=place.get_buffer(buffer).device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class _Addition:
    """A forward hook: the layer's output with what the modules add."""

    def __init__(self, composed: ComposedLayer) -> None:
        self.composed = composed

    def __call__(
        self, layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
    ) -> Tensor:
        return self.composed(layer, inputs[0] if inputs else next(iter(named.values())), output)


def _key(path: str) -> str:
    """A layer's name where names with dots, none at all, or those of a ModuleDict's methods are not allowed."""
    return "/" + path.replace(".", "/")

"""Where in a network a module's changes act: the layers of each parameter, tied ones included."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from hyperspectral_geo.merging.composed_layer import is_transposed, layer_kind
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.module import Module

__all__ = ["Place", "find_places"]


@dataclass(frozen=True)
class Place:
    """One layer in which a module's change of one parameter acts.

    Attributes:
        parameter: its name in the module.
        path: the layer's name in the network.
        own: the parameter's name in the layer.
        turned: whether the layer reads the module's matrix transposed, as a head does that is tied to an embedding.
    """

    parameter: str
    path: str
    own: str
    turned: bool = False

    def delta(self, module: Module) -> Delta | None:
        """The change as a matrix (out, in) of the layer; None for a vector."""
        delta = module.deltas.get(self.parameter)
        return _transposed(delta) if self.turned and delta is not None else delta


def find_places(network: nn.Module, module: Module) -> list[Place]:
    """All places of a module's changes; nothing is computed or touched.

    A parameter that several layers share changes in all of them, as it would if it were merged.

    Raises:
        ValueError: for a layer of another kind, or two changes of one shared parameter.
    """
    every = dict(network.named_parameters(remove_duplicate=False))
    names: dict[int, list[str]] = {}
    for name, parameter in every.items():
        names.setdefault(id(parameter), []).append(name)
    places: list[Place] = []
    seen: dict[int, str] = {}
    for parameter in (*module.deltas, *module.vectors):
        shared = id(every[parameter])
        if shared in seen:
            raise ValueError(
                f"{module.name}: expected one change of the shared parameter {seen[shared]}, got another as "
                f"{parameter}; drop one of them"
            )
        seen[shared] = parameter
        layers: dict[int, str] = {}  # a layer that the network holds under two names acts once a call all the same
        for name in names[shared]:
            path, _, own = name.rpartition(".")
            layer = network.get_submodule(path)
            if id(layer) not in layers:
                layers[id(layer)] = path
                places.append(_place(module, parameter, path, own, layer))
    return places


def _place(module: Module, parameter: str, path: str, own: str, layer: nn.Module) -> Place:
    kind = layer_kind(path, layer)
    is_matrix = parameter in module.deltas
    fits = own == "weight" if is_matrix else own == "bias" or (own == "weight" and kind == "norm")
    if not fits or (kind == "norm" and is_matrix):
        raise ValueError(
            f"{module.name}: {parameter}: expected a matrix for a layer's weight and a vector for its bias, or for a "
            f"LayerNorm's weight, got a {'matrix' if is_matrix else 'vector'} for {own} of {path}; merge it instead"
        )
    stored = is_matrix and module.layouts[parameter].kind in ("fan_in_fan_out", "embedding")
    return Place(parameter, path, own, turned=is_matrix and stored != is_transposed(layer))


def _transposed(delta: Delta) -> Delta:
    if isinstance(delta, LowRank):
        return LowRank(delta.right.mT, delta.left.mT, delta.notes)
    return Dense(delta.matrix.mT, delta.notes)

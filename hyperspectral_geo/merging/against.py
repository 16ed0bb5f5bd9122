"""A module beside its base model: names found, full values and magnitudes turned into changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.delta import Delta, Dense
from hyperspectral_geo.merging.layouts import guess_layout
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.tensor_file import Spec

__all__ = ["BaseNames", "against", "spec_of"]


class BaseNames:
    """Finds a module's parameters in a base model whose names may carry another prefix."""

    def __init__(self, base: Mapping[str, Tensor]) -> None:
        self._base = base
        self._by_end: dict[str, list[str]] = {}
        for key in base:
            self._by_end.setdefault(_end(key), []).append(key)

    def find(self, name: str, *, module: str) -> str:
        """The base's key: ``name`` itself, or the only key that is an end of ``name`` or has it as its end.

        Raises:
            ValueError: if there is none or more than one.
        """
        if name in self._base:
            return name
        near = [k for k in self._by_end.get(_end(name), []) if k.endswith(f".{name}") or name.endswith(f".{k}")]
        if len(near) == 1:
            return near[0]
        if near:
            raise ValueError(
                f"{module}: {name!a} is the end of {len(near)} parameters of the base model, {near[0]}, {near[1]}"
                "…; rename the module's parameters by the base"
            )
        hint = "; the layer may have no bias" if name.endswith(".bias") else ""
        if name.endswith("lm_head.weight"):
            hint = "; it may be tied to the embedding and so not have a value of its own"
        raise ValueError(f"{module}: expected {name!a} in the base model, found none{hint}; check that it is the base")

    def require_shape(self, name: str, shape: tuple[int, ...], *, module: str) -> str:
        """The base's key, its parameter being of ``shape``."""
        key = self.find(name, module=module)
        found = spec_of(self._base, key).shape
        if found != shape:
            hint = ""
            if len(shape) == 2 and found == shape[::-1]:
                hint = "; the layer is stored transposed: fan_in_fan_out does not fit it"
            elif len(shape) == len(found) and shape[1:] == found[1:]:
                hint = "; the vocabulary or the classes differ: resize the base model first"
            raise ValueError(
                f"{module}: {name}: expected shape {shape} as in the base model's {key}, got {found}{hint}"
            )
        return key


def against(module: Module, base: Mapping[str, Tensor]) -> Module:
    """See ``Module.against``."""
    names = BaseNames(base)
    for name in module.vectors:
        names.find(name, module=module.name)
    for name in module.deltas:
        names.require_shape(name, module.layouts[name].shape, module=module.name)
    if not module.magnitudes and not module.replaced:
        return module  # and what it computes when asked is not computed here
    deltas: dict[str, Delta] = {}
    layouts = dict(module.layouts)
    vectors = dict(module.vectors)
    for name, delta in module.deltas.items():
        if name in module.magnitudes or name in module.replaced:
            delta = _beside(module, name, delta, base[names.find(name, module=module.name)])
        deltas[name] = delta
    for name, value in module.replaced.items():
        if name in deltas:
            continue
        key = names.require_shape(name, tuple(value.shape), module=module.name)
        change = value.double() - base[key].double()
        if value.ndim >= 2:
            layouts[name] = guess_layout(name, tuple(value.shape))
            deltas[name] = Dense(layouts[name].to_matrix(change).to(value.dtype))
        else:
            vectors[name] = (vectors[name].double() + change if name in vectors else change).to(value.dtype)
    # These two say how the file held what is a change now.
    config = {k: v for k, v in module.config.items() if k not in ("bias", "modules_to_save")}
    return replace(module, deltas=deltas, layouts=layouts, vectors=vectors, replaced={}, magnitudes={}, config=config)


def _beside(module: Module, name: str, delta: Delta, weight: Tensor) -> Dense:
    """The whole change of a weight that is replaced, or scaled by DoRA, or both."""
    layout = module.layouts[name]
    old = layout.to_matrix(weight.double())
    start = layout.to_matrix(module.replaced[name].double()) if name in module.replaced else old
    new = start + delta.to(torch.float64).dense()
    if name in module.magnitudes:
        norms = torch.linalg.vector_norm(new, dim=1)
        if bool((norms == 0).any()):
            row = int((norms == 0).nonzero()[0])
            raise ValueError(f"{module.name}: {name}: row {row} of base and change is zero, so DoRA cannot scale it")
        new = (module.magnitudes[name].double() / norms).unsqueeze(1) * new
    return Dense((new - old).to(delta.dtype), delta.notes)


def spec_of(base: Mapping[str, Tensor], key: str) -> Spec:
    """Kind and shape of a parameter, without reading it where a header knows."""
    if isinstance(base, Checkpoint):
        return base.spec(key)
    x = base[key]
    return Spec(x.dtype, tuple(x.shape))


def _end(name: str) -> str:
    return ".".join(name.split(".")[-2:])

"""A fine-tuned checkpoint as a module: what it changes in its base, computed weight by weight when asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.delta import Delta, Dense
from hyperspectral_geo.merging.extract import cut
from hyperspectral_geo.merging.format_error import refusal
from hyperspectral_geo.merging.layouts import guess_layout
from hyperspectral_geo.merging.module import Layout, LazyMapping, Module

__all__ = ["load_checkpoint"]

LayoutKind = Literal["linear", "fan_in_fan_out", "embedding"]


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | Checkpoint,
    rank: int | Literal["noise_edge"] | None = None,
    name: str | None = None,
    layouts: Mapping[str, LayoutKind] | None = None,
) -> Module:
    """What a fine-tuned checkpoint changes in its base: tuned − base for every parameter, matrices and the rest.

    Nothing but headers is read here. A change is computed each time it is asked for, in float32, or float64 where a
    side is stored so, and not kept. Parameters that did not change are there too, as zeros; integer buffers must be
    equal.

    Args:
        path: the tuned model's folder, or its safetensors file or index.
        base: the base model, likewise.
        rank: None keeps changes dense; a number cuts each to that rank, "noise_edge" to the rank that stands above the
            noise (`hyperspectral_geo.spectral.noise_rank`); either takes an SVD each time a change is asked for.
        name: the module's name; the folder's by default.
        layouts: how two-dimensional weights are stored, by patterns as in a shell, where names mislead: by default
            embeddings are known by their usual names and transformers' Conv1D by the family in config.json.

    Raises:
        ModuleFormatError: naming the tensor that only one side has, whose shape differs (a resized vocabulary) or whose
            kind of number does not allow a difference.
        OSError: if a file cannot be opened.
    """
    tuned = Checkpoint(path)
    source = base if isinstance(base, Checkpoint) else Checkpoint(base)
    family = source.family()
    names = _common_names(tuned, source)
    shapes = {n: source.spec(n).shape for n in names}
    kinds = {n: _layout(n, shape, family, layouts or {}) for n, shape in shapes.items() if len(shape) >= 2}

    def change(name: str) -> Tensor:
        kind = torch.promote_types(tuned.spec(name).dtype, torch.promote_types(source.spec(name).dtype, torch.float32))
        difference = tuned[name].to(kind)
        difference -= source[name]  # widened on the way, without a copy
        return difference

    def delta(name: str) -> Delta:
        dense = Dense(kinds[name].to_matrix(change(name)))
        return dense if rank is None else cut(dense, rank)[0]

    return Module(
        name=(Path(path).name or Path(path).resolve().name) if name is None else name,
        deltas=LazyMapping(list(kinds), delta),
        layouts=kinds,
        vectors=LazyMapping([n for n in names if n not in kinds], change),
        stored={n: tuned.spec(n).dtype for n in names},
    )


def _common_names(tuned: Checkpoint, base: Checkpoint) -> list[str]:
    """The parameters of floating kind; everything else must be equal."""
    for name in base:
        if name not in tuned:
            raise refusal(tuned.path, name, f"the base model has it, this checkpoint does not; check that {base.path} "
                          "is its base")  # fmt: skip
    names: list[str] = []
    for name in tuned:
        spec = tuned.spec(name)
        if name not in base:
            if _is_copy(tuned, name):
                continue
            raise refusal(
                tuned.file(name), name, f"the base model {base.path} does not have it; check that it is the base"
            )
        if spec.shape != base.spec(name).shape:
            hint = "was the vocabulary resized? resize the base likewise" if len(spec.shape) == 2 else "check the base"
            reason = f"expected shape {base.spec(name).shape} as in the base model, got {spec.shape}; {hint}"
            raise refusal(tuned.file(name), name, reason)
        if spec.dtype.is_floating_point and base.spec(name).dtype.is_floating_point:
            names.append(name)
        elif not torch.equal(tuned[name], base[name]):
            raise refusal(
                tuned.file(name), name, f"it is of kind {spec.dtype} and differs from the base; dequantise both"
            )
    return names


def _is_copy(tuned: Checkpoint, name: str) -> bool:
    """Whether the tensor repeats another of the file, as a tied head that was written out does."""
    spec = tuned.spec(name)
    twins = [n for n in tuned if n != name and tuned.spec(n) == spec]
    return len(spec.shape) == 2 and any(torch.equal(tuned[name], tuned[n]) for n in twins)


def _layout(name: str, shape: tuple[int, ...], family: str | None, given: Mapping[str, LayoutKind]) -> Layout:
    kind: LayoutKind | None = next((k for pattern, k in given.items() if fnmatchcase(name, pattern)), None)
    return guess_layout(name, shape, family=family) if kind is None or len(shape) != 2 else Layout(kind, shape)

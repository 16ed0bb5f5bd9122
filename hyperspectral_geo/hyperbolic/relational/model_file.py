"""A relational embedding in one safetensors file: written whole or not at all, read with suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.model_file import packed_names, unpacked_names, unpacked_space
from hyperspectral_geo.hyperbolic.relational.model import RelationalEmbedding
from hyperspectral_geo.hyperbolic.relational.queries import RELATION_TABLES
from hyperspectral_geo.record_file import read_record_file, record_bytes

__all__ = ["read_relations", "write_relations"]

_KIND = "relational embedding 1"
_TABLES = ("tangents", "biases", *RELATION_TABLES)
_NAMES = ("entities", "relations")


def write_relations(path: Path, model: RelationalEmbedding) -> Path:
    """Write a model; what stood at ``path`` before stays until the new file is whole."""
    if not (model.entities and model.relations):
        raise ValueError(f"{path}: expected a model with entities and relations, got none; there is nothing to save")
    tensors = {name: getattr(model, name) for name in _TABLES}
    for kind in _NAMES:
        tensors[kind], tensors[f"{kind}_ends"] = packed_names(getattr(model, kind))
    record = {"geometry": model.geometry, "scale": model.scale}
    return write_atomically(path, record_bytes(tensors, record, kind=_KIND))


def read_relations(path: Path) -> RelationalEmbedding:
    """Read a model.

    Raises:
        ValueError: naming the file and what is wrong with it: a pickle, damage, another format, tensors or names
            that do not fit each other.
        OSError: if the file cannot be opened.
    """
    return read_record_file(path, _unpacked, kind=_KIND, maker="hsgeo kg train")


def _unpacked(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> RelationalEmbedding:
    needed = {*_TABLES, *_NAMES, *(f"{kind}_ends" for kind in _NAMES)}
    if set(tensors) != needed:
        raise ValueError(f"expected tensors {', '.join(sorted(needed))}, got {sorted(tensors)!r:.120}")
    entities, relations = (unpacked_names(tensors[kind], tensors[f"{kind}_ends"]) for kind in _NAMES)
    geometry, scale = unpacked_space(record)
    tables = {name: tensors[name] for name in _TABLES}
    return RelationalEmbedding(entities, relations, geometry=geometry, scale=scale, **tables)

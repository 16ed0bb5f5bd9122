"""A relational embedding in one safetensors file: written whole or not at all, read with suspicion."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.model_file import packed_names, unpacked_names
from hyperspectral_geo.hyperbolic.relational.model import RelationalEmbedding
from hyperspectral_geo.hyperbolic.relational.queries import RELATION_TABLES
from hyperspectral_geo.tensor_file import TensorFile, parse_json, refuse_plainly

__all__ = ["read_relations", "write_relations"]

_MARKER = "hyperspectral_geo"
_FORMAT = "relational embedding 1"
_TABLES = ("tangents", "biases", *RELATION_TABLES)
_NAMES = ("entities", "relations")


def write_relations(path: Path, model: RelationalEmbedding) -> Path:
    """Write a model; what stood at ``path`` before stays until the new file is whole."""
    if not (model.entities and model.relations):
        raise ValueError(f"{path}: expected a model with entities and relations, got none; there is nothing to save")
    tensors = {name: getattr(model, name) for name in _TABLES}
    for kind in _NAMES:
        tensors[kind], tensors[f"{kind}_ends"] = packed_names(getattr(model, kind))
    record = {"format": _FORMAT, "geometry": model.geometry, "scale": model.scale}
    # clones, since the format refuses tensors that share memory
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return write_atomically(path, save(plain, metadata={_MARKER: json.dumps(record)}))


def read_relations(path: Path) -> RelationalEmbedding:
    """Read a model.

    Raises:
        ValueError: naming the file and what is wrong with it: a pickle, damage, another format, tensors or names
            that do not fit each other.
        OSError: if the file cannot be opened.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected a saved relational embedding, got no such file; `hsgeo kg train` makes one"
        )
    file = TensorFile(path)
    record = parse_json(file.metadata.get(_MARKER, "{}").encode(), path, refuse_plainly, what="metadata")
    if record.get("format") != _FORMAT:
        raise refuse_plainly(path, None, f"expected a saved relational embedding, got {record.get('format')!r:.40}")
    needed = {*_TABLES, *_NAMES, *(f"{kind}_ends" for kind in _NAMES)}
    if set(file) != needed:
        raise refuse_plainly(path, None, f"expected tensors {', '.join(sorted(needed))}, got {sorted(file)!r:.120}")
    geometry, scale = record.get("geometry"), record.get("scale")
    if not isinstance(geometry, str) or isinstance(scale, bool) or not isinstance(scale, int | float):
        raise refuse_plainly(path, None, f"expected a geometry and a scale, got {geometry!r:.40}, {scale!r:.40}")
    try:
        names = [unpacked_names(file[kind], file[f"{kind}_ends"]) for kind in _NAMES]
        tables = {name: file[name] for name in _TABLES}
        return RelationalEmbedding(*names, geometry=geometry, scale=float(scale), **tables)  # pyright: ignore[reportArgumentType]
    except (ValueError, KeyError, OverflowError) as error:
        raise refuse_plainly(path, None, f"its parts do not fit each other ({error}); save the model again") from error

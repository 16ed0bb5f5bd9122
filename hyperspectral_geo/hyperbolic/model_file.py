"""A hop embedding in one safetensors file: written whole or not at all, read with suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import GEOMETRIES, Geometry
from hyperspectral_geo.hyperbolic.provenance import Adjusted, Provenance
from hyperspectral_geo.hyperbolic.readout import Staircase
from hyperspectral_geo.record_file import read_record_file, record_bytes

__all__ = [
    "model_bytes",
    "packed_model",
    "packed_names",
    "read_model",
    "unpacked_model",
    "unpacked_names",
    "unpacked_space",
    "write_model",
]

_KIND = "hop embedding 1"
_TABLES = ("tangents", "targets", "outgoing", "incoming")
_STAIRS = ("thresholds", "log_slopes")


def write_model(path: Path, model: HopEmbedding) -> Path:
    """Write an embedding; what stood at ``path`` before stays until the new file is whole."""
    if not model.names:
        raise ValueError(f"{path}: expected a model with concepts, got none; there is nothing to save")
    return write_atomically(path, model_bytes(model))


def model_bytes(model: HopEmbedding) -> bytes:
    """The whole file of a model, which its digest is taken of: equal models give equal bytes."""
    return record_bytes(*packed_model(model), kind=_KIND)


def packed_model(model: HopEmbedding) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A model as tensors, which may be its own, and as a JSON object."""
    tensors = {name: getattr(model, name) for name in _TABLES if getattr(model, name) is not None}
    if model.readout is not None:
        tensors |= {name: getattr(model.readout, name) for name in _STAIRS}
    if model.forms is not None:
        tensors["forms"] = model.forms
    tensors["names"], tensors["name_ends"] = packed_names(model.names)
    record: dict[str, Any] = {"geometry": model.geometry, "scale": model.scale}
    if model.provenance is not None:
        record["provenance"] = model.provenance.as_record()
    if model.adjusted is not None:
        record["adjusted"] = asdict(model.adjusted)
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}, record


def read_model(path: Path) -> HopEmbedding:
    """Read an embedding.

    Raises:
        ValueError: naming the file and what is wrong with it: a pickle, damage, another format, tensors or names
            that do not fit each other.
        OSError: if the file cannot be opened.
    """
    return read_record_file(path, unpacked_model, kind=_KIND, maker="hsgeo hops train")


def unpacked_model(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> HopEmbedding:
    """What ``packed_model`` packed. Raises ``ValueError`` for what it cannot have packed."""
    needed = {"tangents", "names", "name_ends"}
    if not needed <= set(tensors) <= needed | {*_TABLES, *_STAIRS, "forms"}:
        raise ValueError(f"expected tensors {', '.join(sorted(needed))}, got {sorted(tensors)!r:.120}")
    geometry, scale = unpacked_space(record)
    names = unpacked_names(tensors["names"], tensors["name_ends"])
    stairs = Staircase(*(tensors[name] for name in _STAIRS)) if not tensors.keys().isdisjoint(_STAIRS) else None
    tables = {name: tensors[name] for name in _TABLES if name in tensors}
    forms = tensors["forms"] if "forms" in tensors else None  # noqa: SIM401
    made = Provenance.from_record(record["provenance"]) if "provenance" in record else None
    return HopEmbedding(
        names,
        geometry=geometry,
        scale=scale,
        readout=stairs,
        forms=forms,
        provenance=made,
        adjusted=Adjusted.from_record(record["adjusted"]) if "adjusted" in record else None,
        **tables,
    )


def unpacked_space(record: Mapping[str, Any]) -> tuple[Geometry, float]:
    """Geometry and scale of a record. Raises ``ValueError`` unless it holds both."""
    geometry, scale = record.get("geometry"), record.get("scale")
    if geometry not in GEOMETRIES or isinstance(scale, bool) or not isinstance(scale, int | float):
        raise ValueError(f"expected a geometry and a scale, got {geometry!r:.40}, {scale!r:.40}")
    return geometry, float(scale)


def packed_names(names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Names as one run of UTF-8 bytes (uint8) and where each ends (int64): any characters, and no limit of a header.

    >>> packed_names(("ab", "é"))
    (tensor([ 97,  98, 195, 169], dtype=torch.uint8), tensor([2, 4]))
    """
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    ends = torch.tensor([len(name) for name in encoded]).cumsum(0)
    joined = b"".join(encoded) or b"\0"  # safetensors holds no empty tensor
    return torch.frombuffer(bytearray(joined), dtype=torch.uint8), ends


def unpacked_names(joined: Tensor, ends: Tensor) -> tuple[str, ...]:
    """What ``packed_names`` packed. Raises ``ValueError`` for what it cannot have packed."""
    if joined.dtype != torch.uint8 or ends.dtype != torch.int64 or joined.ndim != 1 or ends.ndim != 1:
        raise ValueError(f"names: expected bytes and their ends, got {joined.dtype} and {ends.dtype}")
    stops = ends.tolist()
    starts = [0, *stops[:-1]]
    if any(a > b for a, b in zip(starts, stops, strict=True)) or max(stops[-1], 1) != len(joined):
        raise ValueError(f"name_ends: expected rising ends up to {len(joined)} bytes, got others")
    run = joined.numpy().tobytes()
    return tuple(run[a:b].decode("utf-8", "surrogatepass") for a, b in zip(starts, stops, strict=True))

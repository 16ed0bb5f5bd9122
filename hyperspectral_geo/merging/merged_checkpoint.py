"""Whole checkpoints written tensor by tensor: any tensors, or a base model with a module's changes added."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hyperspectral_geo.merging.against import BaseNames, against, spec_of
from hyperspectral_geo.merging.atomic_folder import require_absent, write_folder
from hyperspectral_geo.merging.checkpoint import INDEX_NAME, SINGLE_NAME, Checkpoint
from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.format_error import refusal
from hyperspectral_geo.merging.module import LazyMapping, Module
from hyperspectral_geo.merging.saved import Saved
from hyperspectral_geo.merging.tensor_writer import cast, write_tensor_file
from hyperspectral_geo.tensor_file import Spec, read_json

__all__ = ["save_merged", "write_checkpoint"]

_SHARD_BYTES = 5_000_000_000
_COMPANIONS = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_MOST_COMPANION_BYTES = 1 << 28


def write_checkpoint(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    *,
    specs: Mapping[str, Spec] | None = None,
    shard_bytes: int = _SHARD_BYTES,
    metadata: Mapping[str, str] | None = None,
    companions: Callable[[Path], None] | None = None,
    overwrite: bool = False,
) -> Saved:
    """Write a folder with model.safetensors, or shards and their index; memory holds one tensor at a time.

    Args:
        path: the folder; whole or absent, see ``Module.save``.
        tensors: by name; a mapping that computes its values is asked once for each, shard by shard.
        specs: kinds and shapes; needed so as not to ask for each tensor twice.
        shard_bytes: largest shard, unless a single tensor is larger.
        metadata: texts for the headers, besides ``{"format": "pt"}``, which transformers wants.
        companions: puts further files into the folder before it gets its name.
        overwrite: replace an existing folder.

    Returns:
        What was written. Where no ``specs`` are given, tensors that are the same memory are written once, under the
        first of their names, if ``tensors`` is a dict, and the others are in ``tied`` and in the metadata.

    Raises:
        ValueError: for a tensor that safetensors cannot hold; FileExistsError, OSError: as ``Module.save``.
    """
    path = Path(path)
    require_absent(path, overwrite=overwrite)
    if not shard_bytes >= 1:
        raise ValueError(f"shard_bytes: expected at least 1, got {shard_bytes!r}")
    tied: dict[str, str] = {}
    if specs is None and isinstance(tensors, Checkpoint):
        specs = {name: tensors.spec(name) for name in tensors}
    elif specs is None:
        # Only what is held in memory can be recognised by its place there.
        tied = _tied(tensors) if isinstance(tensors, dict) else {}
        specs = {n: Spec(x.dtype, tuple(x.shape)) for n, x in tensors.items() if n not in tied}
    if not specs:
        raise ValueError(f"{path}: expected at least one tensor to write, got none")
    shards = _shards(specs, shard_bytes)
    texts = {**(metadata or {}), **tied, "format": "pt"}

    def fill(folder: Path) -> None:
        for file, names in shards.items():
            write_tensor_file(folder / file, {n: specs[n] for n in names}, tensors.__getitem__, metadata=texts)
        if len(shards) > 1:
            index = {
                "metadata": {"total_size": sum(spec.size for spec in specs.values())},
                "weight_map": {n: file for file, names in shards.items() for n in names},
            }
            (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        if companions is not None:
            companions(folder)

    write_folder(path, fill, overwrite=overwrite)
    return Saved(path, {}, tied)


def save_merged(
    module: Module,
    path: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | Mapping[str, Tensor],
    rank: int | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = _SHARD_BYTES,
    overwrite: bool = False,
) -> Saved:
    """See ``Module.save`` with ``base``: W + ΔW in float32 or wider, rounded once to the kind the base is stored in.

    ``errors`` are relative to the change, so 1 means that rounding has eaten it.
    """
    source = Checkpoint(base) if isinstance(base, str | os.PathLike) else base
    require_absent(Path(path), overwrite=overwrite)
    if module.magnitudes or module.replaced:
        module = against(module, source)
    owners = _owners(module, source)
    specs = {
        name: Spec(dtype if dtype is not None and spec.dtype.is_floating_point else spec.dtype, spec.shape)
        for name in source
        for spec in [spec_of(source, name)]
    }
    errors: dict[str, float] = {}

    def value(key: str) -> Tensor:
        before = source[key]
        if key not in owners:
            return cast(key, before, specs[key].dtype) if before.is_floating_point() else before
        total, change = _sum(module, owners[key], before, rank)
        stored = cast(key, total, specs[key].dtype)
        size = float(torch.linalg.vector_norm(change))
        # Where the kinds are the same, stored is total itself.
        lost = 0.0 if stored is total else float(torch.linalg.vector_norm(total.sub_(stored)))
        errors[owners[key]] = lost / size if size else 0.0
        return stored

    def companions(folder: Path) -> None:
        if isinstance(source, Checkpoint):
            _copy_companions(source.folder, folder, dtype)

    tensors = LazyMapping(list(specs), value)
    write_checkpoint(path, tensors, specs=specs, shard_bytes=shard_bytes, companions=companions, overwrite=overwrite)
    return Saved(Path(path), errors)


def _owners(module: Module, base: Mapping[str, Tensor]) -> dict[str, str]:
    """Base key → the module's name for it; shapes are compared before anything is written."""
    names = BaseNames(base)
    owners: dict[str, str] = {}
    for name in (*module.deltas, *module.vectors):
        if name in module.layouts:
            key = names.require_shape(name, module.layouts[name].shape, module=module.name)
        else:
            key = names.find(name, module=module.name)
        if key in owners:
            raise ValueError(f"{module.name}: {name} and {owners[key]} are both {key} in the base model; rename one")
        if not spec_of(base, key).dtype.is_floating_point:
            raise ValueError(f"{module.name}: {name}: the base model's is {spec_of(base, key).dtype}; dequantise it")
        owners[key] = name
    return owners


def _sum(module: Module, name: str, before: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """W + ΔW and ΔW, as stored, in float32 or wider."""
    if name not in module.deltas:
        change = module.vectors[name]
        if tuple(change.shape) != tuple(before.shape):
            raise ValueError(f"{module.name}: {name}: expected shape {tuple(before.shape)}, got {tuple(change.shape)}")
    else:
        delta = module.deltas[name]
        if rank is not None and delta.rank > rank:
            delta = delta.truncated(rank)
        kind = torch.promote_types(torch.promote_types(delta.dtype, before.dtype), torch.float32)
        matrix = delta.to(kind).dense() if isinstance(delta, LowRank) else delta.dense()
        change = module.layouts[name].to_weight(matrix)
    kind = torch.promote_types(torch.promote_types(change.dtype, before.dtype), torch.float32)
    return before.to(kind) + change, change


def _shards(specs: Mapping[str, Spec], most: int) -> dict[str, list[str]]:
    groups: list[list[str]] = [[]]
    size = 0
    for name, spec in specs.items():
        if groups[-1] and size + spec.size > most:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += spec.size
    if len(groups) == 1:
        return {SINGLE_NAME: groups[0]}
    return {f"model-{i:05d}-of-{len(groups):05d}.safetensors": names for i, names in enumerate(groups, 1)}


def _tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of tensors that are the same memory as an earlier one → that one's name."""
    first: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    for name, x in tensors.items():
        place = (x.device, x.data_ptr(), x.dtype, tuple(x.shape), x.stride())
        if x.numel() and first.setdefault(place, name) != name:
            tied[name] = first[place]
    return tied


def _copy_companions(source: Path, target: Path, dtype: torch.dtype | None) -> None:
    """Configuration and tokenizer; never weights, code or a description of the base model."""
    for file in sorted(source.iterdir()):
        named = file.suffix in _COMPANIONS and not file.name.endswith(".index.json")
        if not (named or file.name.startswith("LICENSE")) or not file.is_file():
            continue
        if file.stat().st_size > _MOST_COMPANION_BYTES or (target / file.name).exists():
            continue
        shutil.copyfile(file, target / file.name)
    config = target / "config.json"
    if dtype is not None and config.exists():
        fields = read_json(config, refusal, most_bytes=_MOST_COMPANION_BYTES)
        fields |= {key: str(dtype).removeprefix("torch.") for key in ("dtype", "torch_dtype") if key in fields}
        config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

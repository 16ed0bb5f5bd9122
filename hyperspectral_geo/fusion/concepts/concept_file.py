"""Concepts on disk: one safetensors file of several, or a folder with a file for each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule
from hyperspectral_geo.tensor_file import TensorFile, parse_json, refuse_plainly

__all__ = ["load_concepts", "save_concepts"]

_MARKER = "hyperspectral_geo"
_KIND = "concepts 1"
_SUFFIX = ".safetensors"
_LABELS = ("name", "noise", "count", "space")
_TENSORS = ("mean", "basis", "eigenvalues")


def save_concepts(path: str | os.PathLike[str], concepts: Sequence[ConceptModule]) -> None:
    """Write concepts: to one file if the path ends in ``.safetensors``, else one file each into that folder.

    Every file is whole or absent, and gives back what was saved, bit for bit. A folder is made if it is missing; its
    files are numbered, so that adding one more concept leaves the others' files as they are.

    Raises:
        ValueError: for no concepts, or two of one name.
        OSError: if the place cannot be written to.
    """
    path = Path(path)
    names = [concept.name for concept in concepts]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"concepts: expected one or more with different names, got {names[:20]}")
    if path.suffix == _SUFFIX:
        write_atomically(path, _packed(concepts))
        return
    path.mkdir(exist_ok=True)
    for number, concept in enumerate(concepts):
        write_atomically(path / f"{number:05d}{_SUFFIX}", _packed([concept]))


def load_concepts(path: str | os.PathLike[str]) -> tuple[ConceptModule, ...]:
    """Read concepts that ``save_concepts`` wrote, in their order; every tensor is checked as on construction.

    Raises:
        ValueError: naming the file, for one that is corrupt, hostile, a pickle or of another kind, or a name twice.
        FileNotFoundError: if there is nothing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected saved concepts, got no such file; save_concepts makes one")
    files = sorted(path.glob(f"*{_SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path}: expected files *{_SUFFIX}, got a folder without; save_concepts makes them")
    concepts = tuple(concept for file in files for concept in _unpacked(file))
    names = [concept.name for concept in concepts]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: expected concepts of different names, got {sorted(names)[:20]}; remove one")
    return concepts


def _packed(concepts: Sequence[ConceptModule]) -> bytes:
    records = [{key: getattr(concept, key) for key in _LABELS} for concept in concepts]
    tensors = {
        f"{number}.{key}": tensor.cpu().contiguous().clone()
        for number, concept in enumerate(concepts)
        for key in _TENSORS
        if (tensor := getattr(concept, key)).numel()  # the format's readers here take no empty tensors
    }
    return save(tensors, metadata={_MARKER: json.dumps({"format": _KIND, "concepts": records}, sort_keys=True)})


def _unpacked(path: Path) -> list[ConceptModule]:
    file = TensorFile(path)
    record = parse_json(file.metadata.get(_MARKER, "{}").encode(), path, refuse_plainly, what="metadata")
    if record.get("format") != _KIND:
        raise refuse_plainly(path, None, f"expected saved {_KIND}, got {record.get('format')!r:.40}; save them again")
    try:
        records: list[dict[str, Any]] = record["concepts"]
        known = {f"{number}.{key}" for number in range(len(records)) for key in _TENSORS}
        if extra := set(file) - known:
            raise ValueError(f"unexpected tensors {sorted(extra)[:5]}")
        return [_concept(file, number, labels) for number, labels in enumerate(records)]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = f"its parts do not fit each other ({error}); save the concepts again"
        raise refuse_plainly(path, None, reason) from error


def _concept(file: TensorFile, number: int, labels: dict[str, Any]) -> ConceptModule:
    mean: Tensor = file[f"{number}.mean"]
    basis = file[f"{number}.basis"] if f"{number}.basis" in file else mean.new_zeros(len(mean), 0)
    values = file[f"{number}.eigenvalues"] if f"{number}.eigenvalues" in file else mean.new_zeros(0)
    return ConceptModule(mean=mean, basis=basis, eigenvalues=values, **{key: labels[key] for key in _LABELS})

"""Concepts on disk: one safetensors file of several, or a folder with a file for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule
from hyperspectral_geo.record_file import read_record_file, record_bytes

__all__ = ["load_concepts", "save_concepts"]

_KIND = "concepts 1"
_SUFFIX = ".safetensors"
_LABELS = ("name", "noise", "count", "space")
_TENSORS = ("mean", "basis", "eigenvalues")


def save_concepts(path: str | os.PathLike[str], concepts: Sequence[ConceptModule]) -> None:
    """Write concepts: to one file if the path ends in ``.safetensors``, else one file each into that folder.

    Every file is whole or absent, and gives back what was saved, bit for bit. A folder is made if it is missing; its
    files are numbered, so that adding one more concept leaves the others' files as they are, and files of concepts that
    an earlier, longer list left behind are removed.

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
    for file in path.glob(f"[0-9][0-9][0-9][0-9][0-9]{_SUFFIX}"):
        if int(file.stem) >= len(concepts):
            file.unlink()


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
    concepts = tuple(
        concept for file in files for concept in read_record_file(file, _unpacked, kind=_KIND, maker="save_concepts")
    )
    names = [concept.name for concept in concepts]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: expected concepts of different names, got {sorted(names)[:20]}; remove one")
    return concepts


def _packed(concepts: Sequence[ConceptModule]) -> bytes:
    records = [{key: getattr(concept, key) for key in _LABELS} for concept in concepts]
    tensors = {
        f"{number}.{key}": tensor
        for number, concept in enumerate(concepts)
        for key in _TENSORS
        if (tensor := getattr(concept, key)).numel()  # the format's readers here take no empty tensors
    }
    return record_bytes(tensors, {"concepts": records}, kind=_KIND)


def _unpacked(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> list[ConceptModule]:
    records: Any = record["concepts"]
    if not isinstance(records, list) or not all(isinstance(labels, dict) for labels in records):
        raise ValueError(f"expected a list of concepts, got {type(records).__name__}")
    known = {f"{number}.{key}" for number in range(len(records)) for key in _TENSORS}
    if extra := set(tensors) - known:
        raise ValueError(f"unexpected tensors {sorted(extra)[:5]}")
    return [_concept(tensors, number, labels) for number, labels in enumerate(records)]


def _concept(tensors: Mapping[str, Tensor], number: int, labels: Mapping[str, Any]) -> ConceptModule:
    mean = tensors[f"{number}.mean"]
    basis, values = (tensors[name] if (name := f"{number}.{key}") in tensors else None for key in _TENSORS[1:])
    return ConceptModule(
        mean=mean,
        basis=mean.new_zeros(len(mean), 0) if basis is None else basis,
        eigenvalues=mean.new_zeros(0) if values is None else values,
        **{key: labels[key] for key in _LABELS},
    )

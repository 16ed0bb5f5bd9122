"""NCBI's taxonomy: a real tree of 2.6 million nodes."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from .catalogue import require_data_set

__all__ = ["Taxonomy", "load_taxonomy"]

_FILE = "ncbi_taxonomy_20240907.npz"
_TAXA = 2_609_295
_DEPTH = 38
_REMEDY = "restore the file"


@dataclass(frozen=True)
class Taxonomy:
    """A tree of taxa: row (c, p) of ``edges`` says that ``names[c]`` belongs to ``names[p]``.

    Attributes:
        names: NCBI's number of each taxon, as text.
        edges: (n − 1, 2) int64, child and parent, sorted by child.
        ranks: (n,) uint8, the rank of each taxon as the source numbers it: 9 is a genus, 23 a species, 45 no rank.
        depth: the most steps from a taxon to the root.
    """

    names: tuple[str, ...]
    edges: Int[Tensor, "e 2"]
    ranks: UInt8[Tensor, " n"]
    depth: int


def load_taxonomy(folder: str | os.PathLike[str] | None = None, *, verify: bool = True) -> Taxonomy:
    """Read NCBI's taxonomy of 7 September 2024 as edges from child to parent; the root is its own parent there.

    Args:
        folder: where ``ncbi_taxonomy_20240907.npz`` lies; by default ``taxonomy`` below ``HSGEO_DATA``.
        verify: whether to refuse other counts than those below.

    Raises:
        ValueError: if the file is damaged, or is no tree; with ``verify``, for other counts.
        FileNotFoundError: if it is missing.

    References:
        Schoch et al., "NCBI Taxonomy: a comprehensive update on curation, resources and tools", 2020.

    STATS:

    ========= ========= =====
    taxa      edges     depth
    ========= ========= =====
    2,609,295 2,609,294 38
    ========= ========= =====
    """
    path = (require_data_set("taxonomy") if folder is None else Path(folder)) / _FILE
    taxid, parent, rank = _columns(path)
    order = np.argsort(taxid, kind="stable")
    taxid, parent, rank = taxid[order], parent[order], rank[order]
    if (np.diff(taxid) == 0).any():
        raise ValueError(f"{path}: expected each taxid once, got {taxid[:-1][np.diff(taxid) == 0][0]} again; {_REMEDY}")
    up = np.searchsorted(taxid, parent).clip(max=len(taxid) - 1)
    if (taxid[up] != parent).any():
        raise ValueError(f"{path}: expected parents among the taxa, got {parent[taxid[up] != parent][0]}; {_REMEDY}")
    depth = _depth(path, up)
    if verify and (len(taxid), depth) != (_TAXA, _DEPTH):
        raise ValueError(
            f"{path}: expected {_TAXA:,} taxa and depth {_DEPTH}, got {len(taxid):,} and {depth}; {_REMEDY}, "
            "or pass verify=False"
        )
    child = np.flatnonzero(up != np.arange(len(up)))
    edges = torch.from_numpy(np.stack([child, up[child]], axis=1))
    return Taxonomy(tuple(map(str, taxid.tolist())), edges, torch.from_numpy(rank), depth)


def _columns(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the taxonomy, found no such file; {_REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            taxid, parent, rank = (archive[name] for name in ("taxid", "parent", "rank"))
    except (ValueError, KeyError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected arrays taxid, parent and rank, got a damaged file ({error}); {_REMEDY}"
        ) from error
    whole = all(column.dtype.kind in "iu" and column.ndim == 1 for column in (taxid, parent, rank))
    if not whole or not len(taxid) == len(parent) == len(rank) > 0:
        shapes = ", ".join(f"{column.dtype} {column.shape}" for column in (taxid, parent, rank))
        raise ValueError(f"{path}: expected three columns of whole numbers of one length, got {shapes}; {_REMEDY}")
    if rank.min() < 0 or rank.max() > 255:
        raise ValueError(f"{path}: expected ranks from 0 to 255, got {rank.min()} to {rank.max()}; {_REMEDY}")
    return taxid.astype(np.int64), parent.astype(np.int64), rank.astype(np.uint8)


def _depth(path: Path, up: np.ndarray) -> int:
    """The most steps to the root, by pointers that double their reach in every round; refuses what is no tree."""
    roots = np.flatnonzero(up == np.arange(len(up)))
    if len(roots) != 1:
        raise ValueError(f"{path}: expected one root, its own parent, got {len(roots)}; {_REMEDY}")
    steps = (up != np.arange(len(up))).astype(np.int64)
    for _ in range(len(up).bit_length() + 1):
        if (up == roots[0]).all():
            return int(steps.max())
        steps, up = steps + steps[up], up[up]
    raise ValueError(f"{path}: expected a tree, got a cycle through row {int((up != roots[0]).argmax())}; {_REMEDY}")

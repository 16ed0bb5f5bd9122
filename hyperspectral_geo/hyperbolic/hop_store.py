"""Hop counts on disk: written block by block, taken up again after an interruption, read by memory mapping."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.bfs import WORD, checked_sources
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import hop_count_blocks
from hyperspectral_geo.tensor_file import TensorFile, read_json, refuse_plainly

__all__ = ["HopStore", "graph_hash"]

_HEADER = "hops.json"
_FORMAT = "hyperspectral_geo hop counts, 1"
_MOST_HEADER_BYTES = 1 << 28


def graph_hash(graph: HopGraph) -> str:
    """SHA-256, in hexadecimal, of the number of nodes, the links and their lengths; names do not count.

    Example:
        >>> graph = HopGraph.from_edges([("a", "b")])
        >>> graph_hash(graph) == graph_hash(HopGraph.from_edges([(0, 1)]))
        True
    """
    found = hashlib.sha256(f"{len(graph)} nodes, {len(graph.edges)} links".encode())
    found.update(graph.edges.contiguous().numpy().astype("<i8", copy=False).data)
    if graph.lengths is not None:
        found.update(graph.lengths.contiguous().numpy().astype("<f8", copy=False).data)
    return found.hexdigest()


@dataclass(frozen=True, eq=False)
class HopStore:
    """Rows of ``hop_counts`` in a folder; made by ``HopStore.build`` or ``HopStore.open``.

    ``store[i]`` are the distances of ``store.sources[i]``; slices and index tensors give several rows. The folder holds
    ``hops.json``, which says what was counted in which graph, and a safetensors file for every 64 rows with a checksum,
    which is compared when a row of the file is first asked for. Rows are copied; all else stays on disk.

    Attributes:
        folder: where it lies.
        sources: (m,) node numbers, one a row.
        nodes: how many nodes the graph has.
    """

    folder: Path
    sources: Int[Tensor, " m"]
    nodes: int
    _blocks: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls,
        graph: HopGraph,
        folder: str | os.PathLike[str],
        sources: Int[Tensor, " m"] | Sequence[int] | None = None,
        *,
        reverse: bool = False,
        limit: int | float | None = None,
        weighted: bool = True,
        dtype: torch.dtype = torch.float32,
        progress: Callable[[int, int], object] | None = None,
    ) -> HopStore:
        """Count what ``hop_counts`` counts into ``folder``, or what is still missing there.

        Each block is whole or absent, whenever the process is ended. Blocks that are there already are read once, to
        compare their checksums. The working memory does not depend on the number of sources.

        Args:
            graph, sources, reverse, limit, weighted, dtype: as for ``hop_counts``; by default all nodes are sources.
            folder: a new or empty folder in an existing one, or one in which the same was begun.
            progress: called with the number of blocks done and of all.

        Raises:
            ValueError: as ``hop_counts``; if something else was begun in the folder, saying what differs; if one of its
                blocks is damaged.
            FileExistsError: if the folder holds other files.
            OSError: if it cannot be written.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> graph = HopGraph.from_edges([(0, 1), (1, 2)])
            >>> with TemporaryDirectory() as folder:
            ...     store = HopStore.build(graph, folder)
            ...     store[0], store[[1, 2]].tolist()
            (tensor([0, 1, 2], dtype=torch.int8), [[-1, 0, 1], [-1, -1, 0]])
        """
        nodes = torch.arange(len(graph)) if sources is None else checked_sources(graph, sources)
        store = cls(Path(folder), nodes, len(graph))
        missing = [i for i in range(store._count) if not store._path(i).exists()]
        wanted = torch.cat([nodes[:0], *(nodes[i * WORD : (i + 1) * WORD] for i in missing)])
        options: dict[str, Any] = {"reverse": reverse, "limit": limit, "weighted": weighted, "dtype": dtype}
        blocks = hop_count_blocks(graph, wanted, **options)  # refuses bad options before anything is written
        kind = str(dtype).removeprefix("torch.") if weighted and graph.lengths is not None else "hops"
        limit = None if limit == math.inf else limit  # JSON has no infinity
        asked = {"reverse": reverse, "limit": limit, "distances": kind, "sources": nodes.tolist()}
        store._begin({"format": _FORMAT, "graph": graph_hash(graph), "nodes": len(graph), **asked})
        for i in set(range(store._count)).difference(missing):
            store._block(i)
        for done, (i, block) in enumerate(zip(missing, blocks, strict=True)):
            metadata = {"crc32": str(zlib.crc32(block.numpy().data))}
            write_atomically(store._path(i), save({"hops": block}, metadata))
            if progress is not None:
                progress(store._count - len(missing) + done + 1, store._count)
        return store

    @classmethod
    def open(cls, folder: str | os.PathLike[str], graph: HopGraph) -> HopStore:
        """The store in a folder, which must be whole and of this graph.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is of another graph, unfinished or damaged.
        """
        header = _read_header(Path(folder))
        if header.get("graph") != graph_hash(graph) or header.get("nodes") != len(graph):
            raise ValueError(
                f"{folder}: expected hop counts of this graph, got those of another (SHA-256 of nodes, links and "
                "lengths); build them in another folder"
            )
        store = cls(Path(folder), checked_sources(graph, header.get("sources")), len(graph))
        there = sum(store._path(i).exists() for i in range(store._count))
        if there < store._count:
            raise ValueError(
                f"{folder}: expected {store._count} blocks, got {there}; HopStore.build goes on where it stopped"
            )
        return store

    @property
    def header(self) -> dict[str, Any]:
        """What was counted, as ``hops.json`` says: the ``graph`` by its hash, ``reverse``, ``limit``, ``sources`` …"""
        return _read_header(self.folder)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(
        self, rows: int | slice | list[int] | Int[Tensor, " k"]
    ) -> Int[Tensor, "*k n"] | Float[Tensor, "*k n"]:
        """Distances (n,) of one source or (k, n) of several, in memory of their own."""
        places = torch.arange(len(self))[rows]
        found = [self._block(place // WORD)[place % WORD] for place in places.flatten().tolist()]
        table = np.stack(found) if found else np.empty((0, self.nodes), dtype=np.int8)
        return torch.from_numpy(table).reshape(*places.shape, self.nodes)

    @property
    def _count(self) -> int:
        return -(-len(self) // WORD)

    def _path(self, block: int) -> Path:
        return self.folder / f"{block:06d}.safetensors"

    def _begin(self, header: dict[str, Any]) -> None:
        """Make the folder, or see that the same was begun in it."""
        if (self.folder / _HEADER).exists():
            found = _read_header(self.folder)
            differing = next((key for key in header if found.get(key) != header[key]), None)
            if differing is not None:
                expected, got = (str(h.get(differing))[:80] for h in (header, found))
                raise ValueError(
                    f"{self.folder}: expected hop counts with {differing} {expected}, got {got}; name another folder"
                )
            return
        if not self.folder.parent.is_dir():
            raise FileNotFoundError(f"{self.folder}: expected a folder to make in an existing one, got none above it")
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder}: expected a folder, got a file; name another folder")
        self.folder.mkdir(exist_ok=True)
        # A process that was killed may have left a file under a temporary name.
        if foreign := next((p for p in self.folder.iterdir() if p.suffix != ".tmp"), None):
            raise FileExistsError(
                f"{self.folder}: expected a new or empty folder, got {foreign.name!r} in it; name another folder"
            )
        write_atomically(self.folder / _HEADER, json.dumps(header).encode())

    def _block(self, block: int) -> np.ndarray:
        """The mapped rows of a block; checked when it is first asked for."""
        if block not in self._blocks:
            path = self._path(block)
            file, rows = TensorFile(path), min(WORD, len(self) - block * WORD)
            entry = file.entries.get("hops")
            if entry is None or entry.shape != (rows, self.nodes):
                got = f"shape {entry.shape}" if entry else f"{', '.join(file.entries)[:80]}"
                raise ValueError(f"{path}: expected hops of shape {(rows, self.nodes)}, got {got}; {_REMEDY}")
            kind = torch.empty(0, dtype=entry.dtype).numpy().dtype.newbyteorder("<")
            mapped = np.memmap(path, kind, "r", offset=entry.start, shape=entry.shape)
            if file.metadata.get("crc32") != str(zlib.crc32(mapped.data)):
                raise ValueError(f"{path}: expected the checksum that it was written with, got another; {_REMEDY}")
            self._blocks[block] = mapped
        return self._blocks[block]


_REMEDY = "remove the file and call HopStore.build again"


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / _HEADER
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the header of a store of hop counts, got none; see HopStore.build")
    header = read_json(path, refuse_plainly, most_bytes=_MOST_HEADER_BYTES)
    if header.get("format") != _FORMAT:
        raise ValueError(f"{path}: expected the format {_FORMAT!r}, got {str(header.get('format'))[:80]!r}; build anew")
    return header

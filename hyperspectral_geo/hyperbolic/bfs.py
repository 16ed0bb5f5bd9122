"""Hop counts from many sources at once, a bit a source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["WORD", "bfs", "bfs_blocks", "checked_sources"]

WORD = 64
"""Sources that are followed at once: one bit each in a word a node."""

_PUSH = 4  # a link costs about four times as much to push over as to pull over
_LINKS = 1 << 16  # links pulled at once, so that what they carry stays in the cache
_NODES = 1 << 12  # nodes whose hop counts are unpacked at once, for the same reason
_MOST_NODES = 1 << 31  # node numbers are kept in 32 bits


def bfs(
    graph: HopGraph, sources: Int[Tensor, " m"] | Sequence[int], *, reverse: bool = False, limit: int | None = None
) -> Int[Tensor, "m n"]:
    """Hop counts from each source to every node: the fewest links of a walk between them, −1 where there is no walk.

    Breadth-first search for 64 sources at once. Bit s of the word seen[v] says that a walk from source s has reached v;
    a level follows all links by ORs of words,

        next[v] = OR of new[u] over links u → v,   new = next AND NOT seen,   seen = seen OR new,

    either by pulling into all nodes that some source has not reached yet, or, while few nodes are new, by pushing out
    of these. Lengths of links are not looked at: every link is one hop.

    Memory: the result, m·n bytes for hop counts up to 127, and no more than 20 bytes a link and 200 a node, however
    many sources there are.

    Args:
        graph: of at most 2³¹ nodes.
        sources: node numbers; repeated ones give repeated rows.
        reverse: count hops from every node to each source, against the links' direction.
        limit: the largest hop count that is looked for; farther nodes get −1 too.

    Returns:
        (m, n), int8 if no hop count is above 127, else int16 if none is above 32,767, else int32.

    Raises:
        ValueError: for sources that are not nodes of the graph, or a negative limit.

    References:
        Then et al., "The More the Merrier: Efficient Multi-Source Graph Traversal", VLDB 2014. Pushing and pulling:
        Beamer, Asanović and Patterson, "Direction-Optimizing Breadth-First Search", SC 2012.

    Example:
        >>> graph = HopGraph.from_edges([("a", "b"), ("b", "c"), ("d", "a")])
        >>> bfs(graph, [0, 2])
        tensor([[ 0,  1,  2, -1],
                [-1, -1,  0, -1]], dtype=torch.int8)
        >>> bfs(graph, [2], reverse=True)
        tensor([[2, 1, 0, 3]], dtype=torch.int8)
    """
    nodes = checked_sources(graph, sources)
    hops = torch.empty(len(nodes), len(graph), dtype=torch.int8)
    for i, block in enumerate(bfs_blocks(graph, nodes, reverse=reverse, limit=limit)):
        if block.dtype.itemsize > hops.dtype.itemsize:
            hops = hops.to(block.dtype)
        hops[i * WORD : i * WORD + len(block)] = block
    return hops


def bfs_blocks(
    graph: HopGraph, sources: Int[Tensor, " m"] | Sequence[int], *, reverse: bool = False, limit: int | None = None
) -> Iterator[Int[Tensor, "block n"]]:
    """The rows of ``bfs`` in blocks of up to 64, each in the smallest type that holds it.

    Memory is that of ``bfs`` without the result.

    Raises:
        ValueError: as ``bfs``, before the first block.

    Example:
        >>> graph = HopGraph.from_edges([(i, i + 1) for i in range(99)])
        >>> [tuple(block.shape) for block in bfs_blocks(graph, range(100))]
        [(64, 100), (36, 100)]
    """
    nodes = checked_sources(graph, sources).numpy()
    limit = _checked_limit(limit)
    if len(graph) > _MOST_NODES:
        raise ValueError(f"graph: expected at most {_MOST_NODES} nodes, got {len(graph)}; take a part of it")
    return _blocks(graph, nodes, reverse, limit)


def _blocks(graph: HopGraph, nodes: np.ndarray, reverse: bool, limit: int | None) -> Iterator[Tensor]:
    onward = _compressed(graph, reverse=reverse)
    back = onward if not graph.directed else _compressed(graph, reverse=not reverse)
    pull = _Pull.over(*back)
    for start in range(0, len(nodes), WORD):
        block = nodes[start : start + WORD]
        yield _unpacked(*_search(block, onward, pull, limit), len(block))


def checked_sources(graph: HopGraph, sources: object) -> Int[Tensor, " m"]:
    """Node numbers as int64 on the CPU; ``ValueError`` unless they are a list of nodes of the graph."""
    try:
        nodes = sources.cpu() if isinstance(sources, Tensor) else torch.tensor(np.asarray(sources))
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"sources: expected node numbers, got {str(sources)[:80]}; see graph.names.index") from None
    nodes = nodes.long() if nodes.numel() == 0 else nodes
    if nodes.ndim != 1 or nodes.is_floating_point() or nodes.is_complex() or nodes.dtype == torch.bool:
        raise ValueError(
            f"sources: expected integers of shape (m,), got {nodes.dtype} {tuple(nodes.shape)}; "
            "pass a list of node numbers"
        )
    nodes = nodes.long()  # what is beyond it becomes negative
    outside = (nodes < 0) | (nodes >= len(graph))
    if bool(outside.any()):
        at = int(outside.nonzero()[0])
        raise ValueError(
            f"sources: expected nodes of a graph of {len(graph)}, numbered from 0, got {int(nodes[at])} at place {at}"
        )
    return nodes


def _checked_limit(limit: object) -> int | None:
    """The limit; ``ValueError`` unless it is None or a whole number from 0."""
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0):
        return limit
    raise ValueError(f"limit: expected a whole number of hops from 0, or None, got {limit!r}")


def _compressed(graph: HopGraph, *, reverse: bool) -> tuple[np.ndarray, np.ndarray]:
    """Compressed rows as ``HopGraph.compressed`` makes them, with ends in 32 bits."""
    rows, ends = graph.edges.numpy().T
    if reverse:
        # Both numbers of a link as one: NumPy sorts these several times faster than it sorts indirectly.
        keys = ends << 32 | rows
        keys.sort()
        ends = keys.astype(np.int32)  # the lower half
        keys >>= 32
        rows = keys
    first = np.zeros(len(graph) + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=len(graph)), out=first[1:])
    return first, ends.astype(np.int32, copy=False)


@dataclass(frozen=True)
class _Pull:
    """Links by the node they lead to: node ``rows[i]`` is reached from ``origins[starts[i] : starts[i + 1]]``.

    Every row has links; the last of ``starts`` is the number of links.
    """

    rows: np.ndarray
    starts: np.ndarray
    origins: np.ndarray

    @classmethod
    def over(cls, first: np.ndarray, ends: np.ndarray) -> _Pull:
        """From compressed rows."""
        rows = np.flatnonzero(np.diff(first))
        return cls(rows, np.append(first[rows], len(ends)), ends)

    def __len__(self) -> int:
        return len(self.origins)

    def without(self, done: np.ndarray) -> _Pull:
        """Those links that lead to nodes which are not ``done``, if that is less than half of them; else all."""
        kept, counts = ~done[self.rows], np.diff(self.starts)
        if 2 * int(counts[kept].sum()) > len(self):
            return self
        starts = np.append(0, np.cumsum(counts[kept]))
        return _Pull(self.rows[kept], starts, self.origins[np.repeat(kept, counts)])

    def into(self, words: np.ndarray, out: np.ndarray) -> None:
        """Write the OR of the words of its origins to each row of ``out``."""
        cuts = np.searchsorted(self.starts, np.arange(0, len(self), _LINKS))
        for i, j in itertools.pairwise([*cuts, len(self.rows)]):
            if i < j:
                low, high = self.starts[i], self.starts[j]
                # All numbers are in range; to say so with "clip" spares NumPy a slower, checked loop.
                carried = words.take(self.origins[low:high], mode="clip")
                out[self.rows[i:j]] = np.bitwise_or.reduceat(carried, self.starts[i:j] - low)


def _push(first: np.ndarray, ends: np.ndarray, nodes: np.ndarray, words: np.ndarray, out: np.ndarray) -> np.ndarray:
    """OR the words of the nodes into ``out`` at what they link to; returns the nodes that it wrote, sorted."""
    counts = first[nodes + 1] - first[nodes]
    gaps = first[nodes] - (np.cumsum(counts) - counts)
    targets = ends[np.repeat(gaps, counts) + np.arange(counts.sum())]
    np.bitwise_or.at(out, targets, np.repeat(words, counts))
    targets.sort()
    return targets[np.diff(targets, prepend=-1) > 0]


def _search(
    sources: np.ndarray, onward: tuple[np.ndarray, np.ndarray], pull: _Pull, limit: int | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """``seen``, and hop counts as binary digits: bit s of ``digits[b][v]`` is digit b of the hops from s to v."""
    first, _ = onward
    words, after, seen = np.zeros((3, len(first) - 1), dtype="<u8")
    digits: list[np.ndarray] = []
    every = np.bitwise_or.reduce(bits := np.uint64(1) << np.arange(len(sources), dtype=np.uint64))
    np.bitwise_or.at(words, sources, bits)
    seen |= words
    nodes, level = np.flatnonzero(words), 0
    while len(nodes) and level != limit:
        level += 1
        if _PUSH * int((first[nodes + 1] - first[nodes]).sum()) < len(pull):
            at = _push(*onward, nodes, words[nodes], after)
        else:
            pull = pull.without(seen == every)
            pull.into(words, after)
            at = slice(None)
        words[nodes] = 0
        new = after[at] & ~seen[at]
        after[at] = new
        seen[at] |= new
        nodes = np.flatnonzero(new) if isinstance(at, slice) else at[new != 0]
        if len(nodes) and level.bit_length() > len(digits):
            digits.append(np.zeros_like(seen))
        for b, digit in enumerate(digits):
            if level >> b & 1:
                digit[at] |= new
        words, after = after, words
    return seen, digits


_SPREAD = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view("<u8")[:, 0]
"""Byte → eight bytes, each one bit of it."""


def _unpacked(seen: np.ndarray, digits: list[np.ndarray], count: int) -> Tensor:
    """Hop counts (count, n) from their digits, −1 where not seen."""
    size = 1 if len(digits) < 8 else 2 if len(digits) < 16 else 4
    hops = np.empty((count, len(seen), size), dtype=np.uint8)
    for low in range(0, len(seen), _NODES):
        part = slice(low, low + _NODES)
        missing = _SPREAD[(~seen[part]).view(np.uint8)] * np.uint64(255)
        for byte in range(size):
            spread = missing.copy()
            for b, digit in enumerate(digits[8 * byte : 8 * byte + 8]):
                spread |= _SPREAD[digit[part].view(np.uint8)] << np.uint64(b)
            hops[:, part, byte] = spread.view(np.uint8).reshape(-1, WORD).T[:count]
    return torch.from_numpy(hops.view(f"<i{size}")[:, :, 0])

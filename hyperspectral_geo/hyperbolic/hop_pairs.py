"""Pairs that hop regression is trained on: blocks of a table or a store of hop counts, or samples of pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Real
from torch import Tensor

from hyperspectral_geo.hyperbolic.bfs import WORD, bfs
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import MOST_NODES, hop_counts
from hyperspectral_geo.hyperbolic.hop_store import HopStore
from hyperspectral_geo.hyperbolic.landmarks import HopSamples, hop_samples, landmarks
from hyperspectral_geo.hyperbolic.splits import HeldOut

__all__ = ["Drawn", "Held", "HopPairs", "default_samples", "hop_pairs"]

Held = HeldOut | Callable[[Tensor, Tensor], Tensor]
"""Pairs kept away from training: by hashing, or as a function of (m,) sources and (n,) targets to (m, n) booleans."""

_PAIRS_A_NODE = 40  # of default_samples
_LEAST_PAIRS = 2_000_000


class Drawn(NamedTuple):
    """What one step is trained on: every source with every target, or where ``paired`` each with its own.

    Attributes:
        sources: (m,) node numbers.
        targets: (n,) node numbers; (m,) if paired.
        hops: (m, n) distances; (m,) if paired.
        real: of the same shape: whether the pair counts.
        paired: whether sources and targets correspond.
    """

    sources: Int[Tensor, " m"]
    targets: Int[Tensor, " n"]
    hops: Real[Tensor, "*pairs"]
    real: Bool[Tensor, "*pairs"]
    paired: bool


class HopPairs(ABC):
    """Pairs of known distance from which a step draws; made by ``hop_pairs``.

    Attributes:
        mean: of the distances of all pairs that count.
        longest: of them.
        whole: whether all of them are whole numbers, as hop counts are.
    """

    mean: float
    longest: float
    whole: bool

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Drawn:
        """Pairs for one step, a function of the generator alone."""

    def _summarise(self, parts: Iterable[Tensor]) -> None:
        total = pairs = self.longest = 0.0
        self.whole = True
        for counted in parts:
            if len(counted):
                self.whole = self.whole and bool((counted == counted.round()).all())
                total += float(counted.double().sum())
                pairs += len(counted)
                self.longest = max(self.longest, float(counted.amax()))
        if not pairs:
            raise ValueError("graph: expected pairs that a walk joins and that are not held out, got none")
        self.mean = total / pairs


def hop_pairs(
    graph: HopGraph, hops: Tensor | HopStore | HopSamples | None, *, held: Held | None = None, block: int = 512
) -> HopPairs:
    """What a step may draw from.

    Args:
        graph: whose nodes are trained.
        hops: (n, n) distances, −1 or infinite where there is no walk; a store of the distances of some sources; pairs
            of known hop count; None for all pairs of a graph of up to 20,000 nodes, ``default_samples`` of a larger.
        held: which pairs to leave out.
        block: of a table ``block`` sources and targets a step, of a store as many pairs in 64 rows, of samples
            32·``block`` pairs.

    Raises:
        ValueError: for hops of another shape, pairs that are none of the graph's, and if no pair is left.
    """
    if held is not None and not callable(held) and not isinstance(held, HeldOut):
        raise ValueError(f"held: expected a HeldOut or a function of sources and targets, got {held!r:.80}")
    if isinstance(held, HeldOut) and held.nodes != len(graph):
        raise ValueError(f"held: expected pairs of {len(graph)} nodes, got pairs of {held.nodes}")
    if hops is None:
        hops = hop_counts(graph) if len(graph) <= MOST_NODES else default_samples(graph)
    if isinstance(hops, HopSamples):
        return _Samples(_checked_samples(hops, len(graph)), held, 32 * block)
    if isinstance(hops, HopStore):
        if hops.nodes != len(graph):
            raise ValueError(f"hops: expected a store of {len(graph)} nodes, got one of {hops.nodes}")
        return _Rows(hops, held, block)
    if not isinstance(hops, Tensor) or hops.shape != (len(graph), len(graph)):
        got = tuple(hops.shape) if isinstance(hops, Tensor) else type(hops).__name__
        raise ValueError(f"hops: expected a tensor of shape {(len(graph),) * 2}, a HopStore or HopSamples, got {got}")
    return _Table(hops, held, block)


def default_samples(graph: HopGraph, *, sources: int = 2048, seed: int = 0) -> HopSamples:
    """Pairs for training on a graph too large to count all: 40 a node, at least two million, drawn as evenly as can be.

    Random nodes, not hubs, are the landmarks, hop counts are as frequent as among all pairs, and nothing is added of
    ``short_hops``. A model learns what tells the nodes drawn from the others: near pairs alone, of nodes that are met
    in no others, would teach it that all such nodes are near.

    Memory: 256 bytes a node while 128 landmarks are counted, and 24 bytes a pair.

    Args:
        sources: landmarks; more of them cost time, fewer leave more to be guessed.
        seed: of all that is drawn.

    Raises:
        ValueError: for a graph whose links have lengths.

    Example:
        >>> ring = HopGraph.from_edges([(i, (i + 1) % 300) for i in range(300)])
        >>> sources, targets, hops = default_samples(ring)
        >>> len(hops), torch.equal((targets - sources) % 300, hops)
        (89700, True)
    """
    if graph.lengths is not None:
        raise ValueError(
            f"graph: expected at most {MOST_NODES} nodes where links have lengths, got {len(graph)}; pass "
            "hops=HopStore.build(graph, folder, landmarks(graph, 512, seed=0, hubs=0.0))"
        )
    marks = landmarks(graph, sources, seed=seed, hubs=0.0)
    if not len(marks):
        raise ValueError("graph: expected pairs that a walk joins and that are not held out, got none")
    seen = bfs(graph, marks[:WORD])
    # as often as seen from some, and now and then what is farther than all that these see
    weights = {hop: max(1.0, float((seen == hop).sum())) for hop in range(1, 2 * int(seen.max()) + 1)}
    count = max(_LEAST_PAIRS, _PAIRS_A_NODE * len(graph))
    parts = [
        hop_samples(graph, count * len(some) // len(marks), seed=seed + i, marks=some, near=0.0, weights=weights)
        for i, some in enumerate(marks.split(2 * WORD))
    ]
    every = [torch.cat(part) for part in zip(*parts, strict=True)]
    _, first = np.unique((every[0] * len(graph) + every[1]).numpy(), return_index=True)  # two landmarks may meet twice
    return HopSamples(*(part[torch.from_numpy(first)] for part in every))


class _Table(HopPairs):
    """Blocks of a table of all pairs."""

    def __init__(self, hops: Tensor, held: Held | None, block: int) -> None:
        self.hops, self.held, self.block = hops, held, block
        every = torch.arange(len(hops))
        self._summarise(hops[rows][self._drawn(rows, every).real] for rows in every.split(1024))

    def draw(self, generator: torch.Generator) -> Drawn:
        rows, columns = (torch.randperm(len(self.hops), generator=generator)[: self.block] for _ in range(2))
        return self._drawn(rows, columns)

    def _drawn(self, rows: Tensor, columns: Tensor) -> Drawn:
        hops = self.hops[rows[:, None], columns]
        return Drawn(rows, columns, hops, _real(hops) & ~_held_block(self.held, rows, columns), False)


class _Rows(HopPairs):
    """Blocks of a store: some of its rows, cut to some columns."""

    def __init__(self, store: HopStore, held: Held | None, block: int) -> None:
        self.store, self.held = store, held
        self.height = min(block, WORD, len(store))
        self.width = block * block // max(self.height, 1)
        self.reverse = bool(store.header.get("reverse"))
        every = torch.arange(store.nodes)
        blocks = (self._drawn(places, every) for places in torch.arange(len(store)).split(WORD))
        self._summarise(block.hops[block.real] for block in blocks)

    def draw(self, generator: torch.Generator) -> Drawn:
        places = torch.randperm(len(self.store), generator=generator)[: self.height]
        return self._drawn(places, torch.randperm(self.store.nodes, generator=generator)[: self.width])

    def _drawn(self, places: Tensor, others: Tensor) -> Drawn:
        hops, ends = self.store[places][:, others], (self.store.sources[places], others)
        hops, (sources, targets) = (hops.T, ends[::-1]) if self.reverse else (hops, ends)
        return Drawn(sources, targets, hops, _real(hops) & ~_held_block(self.held, sources, targets), False)


class _Samples(HopPairs):
    """Single pairs, drawn with equal chances."""

    def __init__(self, samples: HopSamples, held: Held | None, count: int) -> None:
        stay = _real(samples.hops) & (samples.sources != samples.targets)
        stay &= ~_held_pairs(held, samples.sources, samples.targets)
        self.samples, self.count = HopSamples(*(part[stay] for part in samples)), count
        self._summarise([self.samples.hops])

    def draw(self, generator: torch.Generator) -> Drawn:
        chosen = torch.randint(len(self.samples.hops), (self.count,), generator=generator)
        sources, targets, hops = (part[chosen] for part in self.samples)
        return Drawn(sources, targets, hops, torch.ones_like(hops, dtype=torch.bool), True)


def _real(hops: Tensor) -> Tensor:
    return (hops > 0) & torch.isfinite(hops)


def _held_block(held: Held | None, sources: Tensor, targets: Tensor) -> Bool[Tensor, "m n"]:
    shape = (len(sources), len(targets))
    if held is None:
        return torch.zeros(shape, dtype=torch.bool)
    found = held.mask(sources, targets) if isinstance(held, HeldOut) else held(sources, targets)
    if found.shape != shape or found.dtype != torch.bool:
        raise ValueError(f"held: expected booleans of shape {shape}, got {found.dtype} of shape {tuple(found.shape)}")
    return found


def _held_pairs(held: Held | None, sources: Tensor, targets: Tensor) -> Bool[Tensor, " k"]:
    """Of a function that knows only blocks, the diagonals of small ones."""
    if held is None or not len(sources):
        return torch.zeros(len(sources), dtype=torch.bool)
    if isinstance(held, HeldOut):
        return held.contains(sources, targets)
    parts = zip(sources.split(WORD), targets.split(WORD), strict=True)
    return torch.cat([_held_block(held, *both).diagonal() for both in parts])


def _checked_samples(samples: HopSamples, nodes: int) -> HopSamples:
    for name, part in samples._asdict().items():
        if not isinstance(part, Tensor) or part.shape != samples.sources.shape or part.ndim != 1:
            raise ValueError(f"hops.{name}: expected a tensor (k,) like hops.sources, got {part!r:.60}")
        if name == "hops":
            continue
        numbers = not part.is_floating_point() and part.dtype != torch.bool
        if not numbers or (len(part) and not 0 <= int(part.min()) <= int(part.max()) < nodes):
            raise ValueError(f"hops.{name}: expected nodes from 0 to {nodes - 1}, got others")
    return samples

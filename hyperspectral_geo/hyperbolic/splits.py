"""Which pairs and which links a model does not see in training, so that it can be judged on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["APART", "HeldOut", "LinkSplit", "held_out_pairs", "link_split"]

APART = 1 << 61
"""Added to a seed it draws pairs that have nothing to do with those held out under the same seed."""


@dataclass(frozen=True)
class HeldOut:
    """A share of all ordered pairs, drawn by hashing, so that any block of the mask can be had without the others.

    A pair is held out if a 64-bit hash of (source, target, seed) falls below share·2⁶⁴. A node and itself never are.

    Attributes:
        nodes: n, how many nodes there are.
        share: of the pairs that is held out, 0 ≤ share < 1.
        seed: another seed draws other pairs.
        directed: if false, (u, v) and (v, u) are held out together.
    """

    nodes: int
    share: float
    seed: int
    directed: bool = True

    def mask(
        self, rows: Int[Tensor, " m"] | None = None, columns: Int[Tensor, " k"] | None = None
    ) -> Bool[Tensor, "m k"]:
        """Which pairs of the given sources and targets are held out; by default of all nodes.

        Raises:
            ValueError: for numbers that are not nodes.

        Example:
            >>> held = held_out_pairs(1000, 0.1, seed=0)
            >>> held.mask(torch.arange(3)).shape, bool(held.mask().diagonal().any())
            (torch.Size([3, 1000]), False)
        """
        every = torch.arange(self.nodes)
        rows, columns = every if rows is None else rows, every if columns is None else columns
        return self.contains(rows[:, None], columns)

    def contains(self, sources: Int[Tensor, "*#shape"], targets: Int[Tensor, "*#shape"]) -> Bool[Tensor, "*shape"]:
        """Whether each pair is held out; shapes broadcast.

        Raises:
            ValueError: for numbers that are not nodes.
        """
        for name, ends in (("sources", sources), ("targets", targets)):
            if ends.numel() and not 0 <= int(ends.min()) <= int(ends.max()) < self.nodes:
                found = f"{int(ends.min())} to {int(ends.max())}"
                raise ValueError(f"{name}: expected nodes from 0 to {self.nodes - 1}, got {found}")
        # One key a node, and one round of mixing a pair; equal streams of keys make the sum symmetric.
        out = _node_keys(sources, 2 * self.seed)
        into = _node_keys(targets, 2 * self.seed + self.directed)
        drawn = _scrambled(out + into)
        below = drawn < int(self.share * 2.0**64) - 2**63
        return below & (sources != targets)


def held_out_pairs(nodes: int, share: int | float, *, seed: int, directed: bool = True) -> HeldOut:
    """Draw pairs to be left out of training and used for judging.

    Args:
        nodes: how many nodes there are.
        share: of the ordered pairs that is held out, each independently, 0 ≤ share < 1.
        seed: any whole number; the same arguments give the same pairs on every machine.
        directed: if false, (u, v) and (v, u) are held out together, as a symmetric table of distances asks for.

    Raises:
        ValueError: for another number of nodes than 0, 1, 2, …, or a share outside 0 ≤ share < 1.

    References:
        The hash is SplitMix64's: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.

    Example:
        >>> held = held_out_pairs(1000, 0.1, seed=0)
        >>> 0.098 < held.mask().double().mean().item() < 0.102
        True
    """
    if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 0:
        raise ValueError(f"nodes: expected a whole number from 0, got {nodes!r}; pass len(graph)")
    if not isinstance(share, (int, float)) or not 0 <= share < 1:
        raise ValueError(f"share: expected a number from 0 to below 1, got {share!r}; 0.1 holds out a tenth")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed: expected a whole number, got {seed!r}")
    return HeldOut(nodes, float(share), seed, directed)


def _signed(word: int) -> int:
    """The 64-bit word as the signed number that torch.int64 holds."""
    return (word + 2**63) % 2**64 - 2**63


_STEP = _signed(0x9E3779B97F4A7C15)
_ROUNDS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


def _node_keys(nodes: Tensor, stream: int) -> Tensor:
    start = _scrambled(torch.tensor([_signed(stream)]) * _STEP)
    return _scrambled(nodes.long() * _STEP + start)


def _scrambled(words: Tensor) -> Tensor:
    """SplitMix64's output function, but for its last shift, which leaves the upper bits as they are; in place."""
    for shift, factor in _ROUNDS:
        upper = words >> shift
        words ^= upper.bitwise_and_(2 ** (64 - shift) - 1)  # the shift of a negative number brings in ones
        words *= factor
    return words


@dataclass(frozen=True, eq=False)
class LinkSplit:
    """Links to train on and links to predict; made by ``link_split``.

    Attributes:
        graph: all links.
        training: the graph without the links held out.
        validation, test: (k, 2) int64, links held out; of an undirected graph each once, smaller number first.
        validation_non_links, test_non_links: as many pairs that ``graph`` does not link, in either direction if it is
            undirected.
    """

    graph: HopGraph
    training: HopGraph
    validation: Int[Tensor, "v 2"]
    test: Int[Tensor, "t 2"]
    validation_non_links: Int[Tensor, "v 2"]
    test_non_links: Int[Tensor, "t 2"]


def link_split(
    graph: HopGraph, *, seed: int, test: int | float = 0.1, validation: int | float = 0.05, connected: bool = True
) -> LinkSplit:
    """Hold out links, with as many pairs that are no links, uniform among those.

    Args:
        graph: directed or not. The two directions of an undirected link are held out together; of a directed graph a
            link may be held out while its reverse stays.
        seed: fixes all that is drawn.
        test, validation: shares of the links.
        connected: keep a random spanning forest in training, so that what hangs together still does, its directions
            ignored; strong components may fall apart. Only other links are then held out, so none is that is the sole
            link of a node.

    Raises:
        ValueError: for shares that are negative or sum to more than 1, that ask for more links than there are beside
            the forest, or for more non-links than there are.

    References:
        Liben-Nowell and Kleinberg, "The Link-Prediction Problem for Social Networks", CIKM 2003.

    Example:
        >>> ring = HopGraph.from_edges([(i, (i + k) % 40) for i in range(40) for k in (1, 2)])
        >>> split = link_split(ring, seed=0)
        >>> len(split.training.edges), len(split.validation), len(split.test)
        (68, 4, 8)
    """
    shares = (test, validation)
    if not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in shares) or sum(shares) > 1:
        raise ValueError(
            f"test, validation: expected shares from 0 that sum to at most 1, got {test!r}, {validation!r}"
        )
    generator = torch.Generator().manual_seed(seed)
    links = graph.edges if graph.directed else graph.edges[graph.edges[:, 0] < graph.edges[:, 1]]
    order = torch.randperm(len(links), generator=generator)
    free = order[~_forest(links, len(graph), generator)[order]] if connected else order
    sizes = [round(share * len(links)) for share in shares]
    if sum(sizes) > len(free):
        raise ValueError(
            f"graph: expected {sum(sizes)} links to hold out, got {len(free)} of {len(links)} that may go; "
            "lower test and validation, or pass connected=False"
        )
    tested, validated = links[free[: sizes[0]]], links[free[sizes[0] : sum(sizes)]]
    non_links = _non_links(graph, sum(sizes), generator)
    training = _without(graph, torch.cat([tested, validated]))
    return LinkSplit(graph, training, validated, tested, non_links[sizes[0] :], non_links[: sizes[0]])


def _forest(links: Tensor, nodes: int, generator: torch.Generator) -> Bool[Tensor, " e"]:
    """Which links belong to a spanning forest of least random weight; directions are ignored."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    if len(links) == 0:
        return torch.zeros(0, dtype=torch.bool)
    weights = 1 + torch.rand(len(links), generator=generator, dtype=torch.float64)
    tree = minimum_spanning_tree(coo_array((weights.numpy(), links.T.numpy()), shape=(nodes, nodes)).tocsr()).tocoo()
    rows, columns = (torch.from_numpy(ends.astype(np.int64)) for ends in tree.coords)
    return torch.isin(links @ torch.tensor([nodes, 1]), rows * nodes + columns)


def _without(graph: HopGraph, links: Tensor) -> HopGraph:
    """The graph without some links; without their reverses too if it is undirected."""
    gone = links if graph.directed else torch.cat([links, links.flip(1)])
    as_number = torch.tensor([len(graph), 1])
    stay = ~torch.isin(graph.edges @ as_number, gone @ as_number)
    lengths = None if graph.lengths is None else graph.lengths[stay]
    return dataclasses.replace(graph, edges=graph.edges[stay], lengths=lengths)


def _non_links(graph: HopGraph, count: int, generator: torch.Generator) -> Int[Tensor, "k 2"]:
    """Distinct pairs that the graph does not link, in random order; of undirected ones the smaller number first."""
    n = len(graph)
    there_are = (n * (n - 1) - len(graph.edges)) // (1 if graph.directed else 2)
    if count > there_are:
        raise ValueError(
            f"graph: expected {count} pairs without a link, as many as are held out, got {there_are}; "
            "lower test and validation"
        )
    found = torch.zeros(0, dtype=torch.int64)
    while len(found) < count:
        drawn = torch.randint(n, (2 * count + 64, 2), generator=generator)
        drawn = drawn if graph.directed else drawn.sort(1).values
        source, target = drawn[(drawn[:, 0] != drawn[:, 1]) & ~graph.has_links(drawn[:, 0], drawn[:, 1])].unbind(1)
        found = torch.cat([found, source * n + target]).unique()
    chosen = found[torch.randperm(len(found), generator=generator)[:count]]
    return torch.stack([chosen // max(n, 1), chosen % max(n, 1)], 1)

"""Greedy routing: from link to link, always to where the learned distance to the goal is least."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.bfs import WORD
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import hop_count_blocks
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.predictions import require_names

__all__ = [
    "NoRoutesError",
    "Route",
    "RoutingScore",
    "Stopped",
    "route",
    "routing_success",
    "walk_length",
    "wilson_interval",
]

Stopped = Literal["arrived", "dead end", "circle", "too long"]
"""``"dead end"``: no link leads to a node not yet visited; ``"circle"``: the walk came back to a node."""


@dataclass(frozen=True)
class Route:
    """A walk along links; made by ``route``.

    Attributes:
        names: the nodes on it, the source first.
        stopped: why it ends.
    """

    names: tuple[str, ...]
    stopped: Stopped

    @property
    def arrived(self) -> bool:
        """Whether it reached the target."""
        return self.stopped == "arrived"

    @property
    def hops(self) -> int:
        """How many links it took."""
        return len(self.names) - 1


@dataclass(frozen=True)
class RoutingScore:
    """How often greedy routing arrives; made by ``routing_success``.

    Attributes:
        success: share of the pairs for which it does.
        low, high: Wilson's interval for that share, 95 %.
        stretch: mean over the routes that arrive of their length / the shortest one; 1 is best, NaN if none arrives.
        pairs: how many were tried.
        unreachable: how many more were not tried because no walk joins them.
    """

    success: float
    low: float
    high: float
    stretch: float
    pairs: int
    unreachable: int

    def as_dict(self) -> dict[str, float | int]:
        """Figures by name, as a row of a table."""
        return asdict(self)


class NoRoutesError(ValueError):
    """No walk joins any of the pairs, so that there is nothing to route; made by ``routing_success``.

    Attributes:
        pairs: how many there were.
    """

    def __init__(self, pairs: int) -> None:
        super().__init__(f"pairs: expected some that a walk joins, got none among {pairs}; draw more, or others")
        self.pairs = pairs


def route(
    model: HopEmbedding, graph: HopGraph, source: str, target: str, *, most: int = 100, revisit: bool = False
) -> Route:
    """Walk from ``source`` towards ``target``, at each node taking the link whose end is nearest to the target.

    A link to the target is always taken; of equally near ends the one with the smaller number. Nobody looks ahead or
    goes back: this is how people play Wikispeedia, and it needs the links of the visited nodes only.

    Args:
        model: says how near: d(end→target).
        graph: the links, of the nodes that the model names.
        source, target: names.
        most: hops after which the walk is given up.
        revisit: if true, nodes that were visited may be chosen again, which ends the walk, for it would turn in a
            circle: the walk then succeeds only without a local minimum on the way.

    Raises:
        ValueError: for unknown names, with similar ones, a graph of other nodes, or ``most`` below 1.

    References:
        Kleinberg, "Navigation in a small world", Nature 406, 2000. Boguñá, Krioukov and Claffy, "Navigability of
        complex networks", Nature Physics 5, 2009, arXiv:0709.0303. Of people: West and Leskovec, WWW 2012.

    Example:
        >>> graph = HopGraph.from_edges([("a", "b"), ("b", "c"), ("b", "a")])
        >>> model = HopEmbedding(graph.names, torch.tensor([[0.0], [1.0], [2.0]]), "euclidean")
        >>> route(model, graph, "a", "c")
        Route(names=('a', 'b', 'c'), stopped='arrived')
        >>> route(model, graph, "c", "a").stopped
        'dead end'
    """
    require_counts(most=most)
    require_names(model, graph)
    pair = torch.tensor([[model.index(source), model.index(target)]])
    ((numbers, stopped),) = _walks(model, graph, pair, most, revisit)
    return Route(tuple(graph.names[i] for i in numbers), stopped)


def routing_success(
    model: HopEmbedding,
    graph: HopGraph,
    pairs: Int[Tensor, "k 2"] | int = 1000,
    *,
    seed: int = 0,
    most: int = 100,
    revisit: bool = False,
) -> RoutingScore:
    """How often ``route`` arrives, and by how much longer a way than the shortest.

    Args:
        model, graph, most, revisit: as ``route`` takes them; with lengths, a way is as long as their sum.
        pairs: sources and targets by number; or how many to draw, evenly from the pairs of different nodes, none of
            them twice, so that a small graph has fewer.
        seed: of the drawing.

    Raises:
        NoRoutesError: a ``ValueError``, if no walk joins any of the pairs.
        ValueError: for pairs that are not nodes of the graph or a node and itself, or as ``route``.

    References:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.

    Example:
        >>> ring = HopGraph.from_edges([(i, (i + 1) % 8) for i in range(8)], directed=False)
        >>> turn = torch.arange(8) * torch.pi / 4
        >>> model = HopEmbedding(ring.names, torch.stack([turn.cos(), turn.sin()], 1), "euclidean")
        >>> found = routing_success(model, ring, 50)
        >>> found.success, round(found.low, 2), found.high, found.stretch
        (1.0, 0.93, 1.0, 1.0)
    """
    require_counts(most=most)
    require_names(model, graph)
    asked = _drawn(len(graph), pairs, seed) if isinstance(pairs, int) else _checked(len(graph), pairs)
    shortest = _shortest(graph, asked)
    joined = shortest.isfinite()
    if not bool(joined.any()):
        raise NoRoutesError(len(asked))
    stretch = []
    ways = _walks(model, graph, asked[joined], most, revisit)
    for (numbers, stopped), least in zip(ways, shortest[joined].tolist(), strict=True):
        if stopped == "arrived":
            stretch.append(walk_length(graph, numbers) / least)
    tried = int(joined.sum())
    low, high = wilson_interval(len(stretch), tried)
    mean = sum(stretch) / len(stretch) if stretch else math.nan
    return RoutingScore(len(stretch) / tried, low, high, mean, tried, len(asked) - tried)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval for the probability of a success, inside [0, 1] even where all succeed or none.

    >>> [round(end, 4) for end in wilson_interval(0, 20)]
    [0.0, 0.1611]
    """
    z, share = 1.959963984540054, successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def _walks(
    model: HopEmbedding, graph: HopGraph, pairs: Int[Tensor, "k 2"], most: int, revisit: bool
) -> Iterator[tuple[list[int], Stopped]]:
    """Nodes of each way, and why it ends; all walkers take a step at a time."""
    rows, (sources, targets) = graph.compressed(), pairs.unbind(1)
    way = torch.full((len(pairs), most + 1), -1)
    way[:, 0] = sources
    ended: list[Stopped | None] = ["arrived" if a == b else None for a, b in pairs.tolist()]
    for step in range(most):
        walker = torch.tensor([i for i, end in enumerate(ended) if end is None], dtype=torch.int64)
        if len(walker) == 0:
            break
        row, end = _links_of(rows, way[walker, step])
        if not revisit:
            new = (way[walker, : step + 1][row] != end[:, None]).all(1)
            row, end = row[new], end[new]
        chosen = _nearest_end(model, row, end, targets[walker])
        circle = (way[walker] == chosen[:, None]).any(1).tolist()
        way[walker, step + 1] = chosen
        goal = targets[walker].tolist()
        for i, node, back, target in zip(walker.tolist(), chosen.tolist(), circle, goal, strict=True):
            if node in (-1, target) or back:
                ended[i] = "dead end" if node == -1 else "arrived" if node == target else "circle"
    for numbers, end in zip(way.tolist(), ended, strict=True):
        yield [node for node in numbers if node >= 0], end or "too long"


def _links_of(rows: tuple[Tensor, Tensor], nodes: Int[Tensor, " w"]) -> tuple[Int[Tensor, " l"], Int[Tensor, " l"]]:
    """All links of some nodes: which of the nodes each leaves, and its end."""
    first, ends = rows
    fan = first[nodes + 1] - first[nodes]
    row = torch.repeat_interleave(torch.arange(len(nodes)), fan)
    return row, ends[first[nodes][row] + torch.arange(len(row)) - (fan.cumsum(0) - fan)[row]]


def _nearest_end(
    model: HopEmbedding, row: Int[Tensor, " l"], end: Int[Tensor, " l"], targets: Int[Tensor, " w"]
) -> Int[Tensor, " w"]:
    """Of each walker's links the end that is nearest to its target, the first of equals; −1 without links."""
    distance = model.pair_scores(end, targets[row]).masked_fill(end == targets[row], -torch.inf)
    least = distance.new_full((len(targets),), torch.inf).scatter_reduce_(0, row, distance, "amin")
    hit = torch.nonzero(distance == least[row])[:, 0]
    place = torch.full_like(targets, len(end)).scatter_reduce_(0, row[hit], hit, "amin")
    return torch.cat([end, end.new_full((1,), -1)])[place]


def _drawn(nodes: int, count: int, seed: int) -> Int[Tensor, "k 2"]:
    """Pairs of different nodes, each as likely as any other and none twice; at most as many as there are."""
    require_counts(pairs=count)
    if nodes < 2:
        raise ValueError(f"graph: expected at least two nodes to route between, got {nodes}")
    generator = torch.Generator().manual_seed(seed)
    every = nodes * (nodes - 1)
    if 2 * count > every:
        drawn = torch.randperm(every, generator=generator)[:count]
    else:
        found: dict[int, None] = {}
        while len(found) < count:
            source = torch.randint(nodes, (count,), generator=generator)
            further = torch.randint(1, nodes, (count,), generator=generator)
            found |= dict.fromkeys((source * (nodes - 1) + further - 1).tolist())
        drawn = torch.tensor(list(found)[:count])
    source, further = drawn // (nodes - 1), drawn % (nodes - 1) + 1
    return torch.stack([source, (source + further) % nodes], 1)


def _checked(nodes: int, pairs: Tensor) -> Int[Tensor, "k 2"]:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point() or pairs.dtype == torch.bool:
        raise ValueError(f"pairs: expected node numbers (k, 2), got {pairs.dtype} {tuple(pairs.shape)}")
    if len(pairs) == 0 or not 0 <= int(pairs.min()) <= int(pairs.max()) < nodes:
        raise ValueError(f"pairs: expected node numbers from 0 to {nodes - 1}, got others, or none")
    if bool((pairs[:, 0] == pairs[:, 1]).any()):
        raise ValueError("pairs: expected two different nodes in each, got a node and itself")
    return pairs.long()


def _shortest(graph: HopGraph, pairs: Int[Tensor, "k 2"]) -> Float[Tensor, " k"]:
    """Length of the shortest walk of each pair, infinite where there is none; 64 sources at a time."""
    sources, row = pairs[:, 0].unique(return_inverse=True)
    found = torch.empty(len(pairs), dtype=torch.float64)
    for low, block in enumerate(hop_count_blocks(graph, sources, dtype=torch.float64)):
        here = row // WORD == low
        found[here] = block[row[here] % WORD, pairs[here, 1]].double()
    return found.masked_fill_(found < 0, torch.inf)


def walk_length(graph: HopGraph, numbers: Sequence[int]) -> float:
    """How long a walk from node to node along links is: its hops, or the sum of its links' lengths.

    >>> walk_length(HopGraph.from_edges([("a", "b"), ("b", "c")], lengths=[0.5, 2.0]), [0, 1, 2])
    2.5
    """
    if graph.lengths is None:
        return float(len(numbers) - 1)
    keys = graph.edges[:, 0] * len(graph) + graph.edges[:, 1]
    steps = torch.tensor(numbers, dtype=torch.int64)
    return float(graph.lengths[torch.searchsorted(keys, steps[:-1] * len(graph) + steps[1:])].sum())

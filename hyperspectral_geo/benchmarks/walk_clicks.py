"""Clicks of people on their way to a target, from Wikispeedia's walks, and how well the next one is foreseen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hyperspectral_geo.data import Walk
from hyperspectral_geo.data.catalogue import require_data_set
from hyperspectral_geo.data.edge_rows import text_rows
from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.feedback.constraint import Nearer

__all__ = ["Clicks", "Judged", "judged", "log_totals", "nearer_by_clicks", "walk_clicks", "walk_players"]

BACK = "<"


@dataclass(frozen=True, eq=False)
class Clicks:
    """Clicks on links: on page ``here``, on the way to ``target``, somebody chose ``choice`` among the page's links.

    Attributes:
        here, choice, target: numbers of pages, (k,).
        player: the number of who made each click, (k,), from 0.
        graph: whose links could be chosen.
        left_out: how many clicks were left out, by the reason.
    """

    here: Int[Tensor, " k"]
    choice: Int[Tensor, " k"]
    target: Int[Tensor, " k"]
    player: Int[Tensor, " k"]
    graph: HopGraph
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.here)

    def some(self, kept: Bool[Tensor, " k"] | Int[Tensor, " m"]) -> Clicks:
        """These of them."""
        here, choice, target, player = (part[kept] for part in (self.here, self.choice, self.target, self.player))
        return Clicks(here, choice, target, player, self.graph, self.left_out)

    def split(self, share: float, *, seed: int, number: int = 0) -> tuple[Clicks, Clicks]:
        """Those of most players, and those of the ``number``-th share of them, drawn by the seed; none is in both."""
        players = int(self.player.max()) + 1 if len(self) else 0
        order = torch.randperm(players, generator=torch.Generator().manual_seed(seed))
        place = (order[self.player].double() / max(1, players) / share).long()
        return self.some(place != number), self.some(place == number)

    @cached_property
    def links(self) -> tuple[Int[Tensor, " e"], Int[Tensor, " e"], Int[Tensor, " k"]]:
        """Every link that could be chosen: (number of the click, link), and where in this list the choice is."""
        first, ends = self.graph.compressed()
        counts = first[self.here + 1] - first[self.here]
        click = torch.repeat_interleave(torch.arange(len(self)), counts)
        offset = torch.arange(len(click)) - (counts.cumsum(0) - counts)[click]
        link = ends[first[self.here][click] + offset]
        return click, link, (link == self.choice[click]).nonzero()[:, 0]


@dataclass(frozen=True, eq=False)
class Judged:
    """How a score foresees clicks: for each 1/rank of the choice, and −log of its probability."""

    reciprocal: Float[Tensor, " k"]
    surprise: Float[Tensor, " k"]


def walk_clicks(walks: Sequence[Walk], graph: HopGraph, *, players: Sequence[str] | None = None) -> Clicks:
    """Clicks that are links of the page they were made on, after back clicks were taken back.

    A click on "<" leads to the page before. Left out, and counted by reason, are walks whose target is none of the
    graph's pages, clicks from or to other pages, clicks that are no link of the page, clicks on pages with one link
    only, where nothing is to be foreseen, and clicks on the target itself, after which there is no choice.

    Args:
        walks: in any order.
        graph: of pages by name.
        players: who made each walk; by default each has a player of its own.

    >>> graph = HopGraph.from_edges([("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a")])
    >>> found = walk_clicks([Walk(9, ("a", "b", "<", "c"), "b", "restart")], graph)
    >>> found.here.tolist(), found.choice.tolist(), found.left_out
    ([0], [2], Counter({'clicks on the target': 1}))
    """
    number = {name: i for i, name in enumerate(graph.names)}
    links = {(a, b) for a, b in graph.edges.tolist()}
    out = torch.bincount(graph.edges[:, 0], minlength=len(graph)).tolist()
    who = range(len(walks)) if players is None else players
    person = {name: i for i, name in enumerate(dict.fromkeys(who))}
    left: Counter[str] = Counter()
    rows = []
    for one, name in zip(walks, who, strict=True):
        clicks = list(_forward(one.path))
        target = number.get(one.target)
        if target is None:
            left["clicks of walks to no page of the graph"] += len(clicks)
            continue
        for source, chosen in clicks:
            here, choice = number.get(source), number.get(chosen)
            if here is None or choice is None:
                left["clicks from or to other pages"] += 1
            elif (here, choice) not in links:
                left["clicks that are no link"] += 1
            elif out[here] < 2:
                left["clicks without a choice"] += 1
            elif choice == target:
                left["clicks on the target"] += 1
            else:
                rows.append((here, choice, target, person[name]))
    here, choice, target, player = torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).unbind(1)
    return Clicks(here, choice, target, player, graph, left)


def walk_players(folder: str | os.PathLike[str] | None = None) -> list[str]:
    """Who played each of the games that ``load_walks`` gives, as a hash of the address; some share one."""
    home = require_data_set("wikispeedia") if folder is None else Path(folder)
    top = home / "wikispeedia_paths-and-graph"
    path = (top if top.is_dir() else home) / "paths_unfinished.tsv"
    return [fields[0] for _, fields in text_rows(path, "\t")]


def judged(clicks: Clicks, scores: Float[Tensor, " e"]) -> Judged:
    """Rank of the choice among the page's links by ``scores`` of ``clicks.links``, the highest first; ties share
    their mean rank. The probability is the softmax of the scores over the page's links.
    """
    click, _, at = clicks.links
    scores = scores.double()
    chosen = scores[at][click]
    ahead = torch.zeros(len(clicks), dtype=torch.float64).index_add_(0, click, (scores > chosen).double())
    even = torch.zeros(len(clicks), dtype=torch.float64).index_add_(0, click, (scores == chosen).double())
    return Judged(1 / (ahead + (even + 1) / 2), log_totals(clicks, scores) - scores[at])


def nearer_by_clicks(clicks: Clicks, *, each: int, seed: int) -> list[Nearer]:
    """What clicks say: to the target the link that was chosen is nearer than another one of the page.

    Args:
        clicks: those to learn from.
        each: how many of the page's other links stand against a choice, drawn; the target itself is none of them.
        seed: of the draws.
    """
    first, ends = clicks.graph.compressed()
    generator = torch.Generator().manual_seed(seed)
    start, count = first[clicks.here], first[clicks.here + 1] - first[clicks.here]
    names, said = clicks.graph.names, []
    for _ in range(each):
        drawn = (torch.rand(len(clicks), generator=generator) * count).long()
        other = ends[start + drawn]
        kept = (other != clicks.choice) & (other != clicks.target)
        rows = torch.stack([clicks.target, clicks.choice, other], 1)[kept].tolist()
        said += [Nearer(names[a], names[b], names[c], toward=True) for a, b, c in rows]
    return said


def _forward(path: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Page and choice of every click but those on "<"."""
    trail: list[str] = []
    for step in path:
        if step == BACK:
            if len(trail) > 1:
                trail.pop()
            continue
        if trail:
            yield trail[-1], step
        trail.append(step)


def log_totals(clicks: Clicks, scores: Float[Tensor, " e"]) -> Float[Tensor, " k"]:
    """log Σ exp(score) over the links of each click's page, float64."""
    click = clicks.links[0]
    wide = scores.double()
    top = torch.full((len(clicks),), -torch.inf, dtype=torch.float64).scatter_reduce_(0, click, wide, "amax")
    total = torch.zeros(len(clicks), dtype=torch.float64).index_add_(0, click, (wide - top[click]).exp())
    return total.log() + top

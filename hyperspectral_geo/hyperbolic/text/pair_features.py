"""What can be told about a possible link from two texts, and from the links of pages that have some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.text.mentions import MentionTable

__all__ = ["GROUPS", "PageFacts", "PairFacts", "candidate_pairs", "known_rates"]

GROUPS: Mapping[str, int] = {
    "source_links": 2,
    "target_links": 2,
    "forward": 6,
    "reverse": 6,
    "renown": 1,
    "source_title": 2,
    "target_title": 4,
    "rest": 5,
}
"""Columns of ``PairFacts.columns`` by what must be at hand for them: links of the source, links of the target, the
source's text and the target's title, the target's text and the source's title, all texts and the target's title, the
titles; and what there always is."""


@dataclass(frozen=True, eq=False)
class PageFacts:
    """What is known of each page by itself.

    Attributes:
        directions: unit vectors of the texts, centred, (n, f).
        lengths: words of the text, (n,).
        shapes: of the titles, (n, 4), see ``TitleIndex.shapes``.
        mentioning: titles that the text mentions, (n,).
        mentioned: texts that mention the title, (n,).
    """

    directions: Float[Tensor, "n f"]
    lengths: Float[Tensor, " n"]
    shapes: Float[Tensor, "n 4"]
    mentioning: Float[Tensor, " n"]
    mentioned: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.lengths)

    def joined(self, more: PageFacts) -> PageFacts:
        """These pages and then those."""
        both = {name: torch.cat([own, getattr(more, name)]) for name, own in vars(self).items()}
        return replace(self, **both)


@dataclass(frozen=True, eq=False)
class PairFacts:
    """Pairs of pages and what is known of them.

    Attributes:
        pairs: source and target of the possible link, (k, 2).
        columns: one row a pair, columns as ``GROUPS`` counts them.
    """

    pairs: Int[Tensor, "k 2"]
    columns: Float[Tensor, "k 28"]

    @classmethod
    def of(
        cls,
        pairs: Int[Tensor, "k 2"],
        facts: PageFacts,
        table: MentionTable,
        rates: Float[Tensor, "k 4"],
    ) -> PairFacts:
        """Look up what the texts say, and put it beside the rates that ``known_rates`` gives."""
        source, target = pairs.unbind(1)
        likeness = (facts.directions[source] * facts.directions[target]).sum(1)
        titles = torch.cat([facts.shapes[source][:, [1, 3]], facts.shapes[target]], 1)
        mentions, words = facts.mentioning[source], facts.lengths[source]
        # A list mentions many titles in few words, and links them.
        sizes = [words.log1p(), facts.lengths[target].log1p(), mentions.log1p(), mentions / words.clamp_min(1)]
        forward = _mention_columns(table, pairs, len(facts), facts.lengths[source])
        reverse = _mention_columns(table, pairs.flip(1), len(facts), facts.lengths[target])
        renown = facts.mentioned[target][:, None].log1p()
        return cls(pairs, torch.cat([rates, forward, reverse, renown, titles, torch.stack([*sizes, likeness], 1)], 1))


def _mention_columns(table: MentionTable, pairs: Tensor, nodes: int, lengths: Tensor) -> Float[Tensor, "k 6"]:
    """Count, place and spelling of the mention of each pair's second page in the first one's text; zeros for none."""
    weights = torch.tensor([nodes, 1])
    keys, asked = table.pairs @ weights, pairs @ weights
    at = torch.searchsorted(keys, asked).clamp_max(max(len(keys) - 1, 0))
    if len(keys) == 0:
        return torch.zeros(len(pairs), 6)
    there = keys[at] == asked
    first, depth = table.first[at], table.first[at] / lengths.clamp_min(1)
    found = [table.counts[at].log1p(), first.log1p(), depth, table.cased[at], table.small[at], torch.ones_like(first)]
    return torch.stack(found, 1) * there[:, None]


def known_rates(
    pairs: Int[Tensor, "k 2"],
    linked: Bool[Tensor, " k"],
    known: Bool[Tensor, " n"],
    table: MentionTable,
    edges: Int[Tensor, "e 2"],
) -> Float[Tensor, "k 4"]:
    """Of each pair: how often the source links what it mentions and how many links it has; the target's the same.

    A pair's own link is left out of its row, since it is what the row shall tell: a page that links 5 of the 9 titles
    that it mentions, the asked one among both, has 4 of 8. Two imagined mentions, a third of them linked, keep pages
    with few mentions from extremes (Milne and Witten's "commonness", CIKM 2008, smoothed).

    Args:
        pairs: source and target.
        linked: whether the pair is a link; of a pair with a page that is not ``known`` it does not matter.
        known: pages whose links are known.
        table: what texts mention.
        edges: links among known pages.

    >>> from hyperspectral_geo.hyperbolic.text import TitleIndex
    >>> table = TitleIndex(["Beer", "Yeast", "Hops"]).find(["Beer: yeast and hops"], [0])
    >>> pairs, edges = torch.tensor([[0, 1]]), torch.tensor([[0, 2]])
    >>> known_rates(pairs, torch.tensor([False]), torch.ones(3, dtype=torch.bool), table, edges)
    tensor([[0.5556, 0.6931, 0.3333, 0.0000]])
    """
    n, weights = len(known), torch.tensor([len(known), 1])
    inside = known[table.pairs].all(1)
    mentions = table.pairs[inside]
    kept = torch.isin(mentions @ weights, edges @ weights)
    own = known[pairs].all(1)
    mentioned = own & torch.isin(pairs @ weights, mentions @ weights)
    own_link = own & linked
    columns = []
    for end in (0, 1):
        at = pairs[:, end]
        mention_count = torch.bincount(mentions[:, end], minlength=n)[at] - mentioned.long()
        link_count = torch.bincount(mentions[kept][:, end], minlength=n)[at] - (mentioned & own_link).long()
        degree = torch.bincount(edges[:, end], minlength=n)[at] - own_link.long()
        columns += [(link_count + 2 / 3) / (mention_count + 2), degree.clamp_min(0).float().log1p()]
    return torch.stack(columns, 1)


def candidate_pairs(
    facts: PageFacts, table: MentionTable, *, alike: int, among: Int[Tensor, " m"] | None = None
) -> Int[Tensor, "k 2"]:
    """Pairs that may be links: mentions, reversed mentions, and the pages most alike in text, both ways; in order.

    Args:
        facts: of all pages.
        table: what texts mention.
        alike: how many of the most similar pages each page is paired with.
        among: only pairs with one of these pages; by default all.

    >>> numbers = torch.ones(3)
    >>> facts = PageFacts(torch.eye(3), numbers, torch.ones(3, 4), numbers, numbers)
    >>> from hyperspectral_geo.hyperbolic.text import TitleIndex
    >>> table = TitleIndex(["Beer", "Yeast", "Hops"]).find(["Beer: yeast"], [0])
    >>> candidate_pairs(facts, table, alike=0).tolist()
    [[0, 1], [1, 0]]
    """
    n = len(facts)
    rows = torch.arange(n) if among is None else among
    near = []
    for some in rows.split(1024):
        likeness = facts.directions[some] @ facts.directions.T
        likeness[torch.arange(len(some)), some] = -torch.inf
        best = likeness.topk(min(alike, n - 1), 1).indices
        near.append(torch.stack([some[:, None].expand_as(best), best], -1).flatten(0, 1))
    mentions = table.pairs if among is None else table.pairs[torch.isin(table.pairs, among).any(1)]
    both = torch.cat([mentions, *near])
    keys = (torch.cat([both, both.flip(1)]) @ torch.tensor([n, 1])).unique()
    return torch.stack([keys // n, keys % n], 1)

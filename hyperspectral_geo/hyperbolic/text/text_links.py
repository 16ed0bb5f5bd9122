"""From the texts and links of known pages to the probable links of new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.text.link_model import LinkModel
from hyperspectral_geo.hyperbolic.text.mentions import MentionTable, TitleIndex
from hyperspectral_geo.hyperbolic.text.missing_links import MissingLinks
from hyperspectral_geo.hyperbolic.text.pair_features import PageFacts, PairFacts, candidate_pairs, known_rates
from hyperspectral_geo.hyperbolic.text.soft_links import SoftLinks
from hyperspectral_geo.hyperbolic.text.words import words

__all__ = ["NEW", "TextLinks"]

NEW = ("new", "unnamed")
"""Pages whose title is looked for in all texts, and those of which there is but a text."""

_ALIKE = 40


@dataclass(frozen=True, eq=False)
class TextLinks:
    """What texts and links of known pages teach about links of new ones; made by ``TextLinks.fit``.

    Attributes:
        graph: titles and links of the known pages.
        center: mean of the known texts' vectors, (f,).
        facts: of the known pages.
        table: which of their texts mention which of their titles.
        model: probability of a link.
        missing: links that a page has beside the candidates, out and in, by the kinds of ``NEW``.
    """

    graph: HopGraph
    center: Float[Tensor, " f"]
    facts: PageFacts
    table: MentionTable
    model: LinkModel
    missing: Mapping[str, tuple[MissingLinks, MissingLinks]]

    @classmethod
    def fit(
        cls,
        graph: HopGraph,
        texts: Sequence[str],
        vectors: Float[Tensor, "n f"],
        *,
        steps: int = 2000,
        seed: int = 0,
    ) -> TextLinks:
        """Learn from pages with texts and links.

        Args:
            graph: links among them; its names are the titles.
            texts: of the pages, in its order.
            vectors: of the texts, by any encoder.
            steps: of the link model's training.
            seed: of its training.

        Raises:
            ValueError: if the numbers of pages differ, or there is nothing to learn from.
        """
        index = TitleIndex(graph.names)
        table = index.find(texts, range(len(graph)))
        center = vectors.mean(0)
        facts = _facts(index, table, texts, vectors - center)
        pairs = candidate_pairs(facts, table, alike=_ALIKE)
        linked = graph.has_links(pairs[:, 0], pairs[:, 1])
        everyone = torch.ones(len(graph), dtype=torch.bool)
        rates = known_rates(pairs, linked, everyone, table, graph.edges)
        about = PairFacts.of(pairs, facts, table, rates)
        model = LinkModel.fit(about, linked, steps=steps, seed=seed)
        return cls(graph, center, facts, table, model, _missing(graph, facts, table, about, model))

    def links(
        self,
        titles: Sequence[str | None],
        texts: Sequence[str],
        vectors: Float[Tensor, "m f"],
        *,
        known_texts: Sequence[str] | None = None,
    ) -> SoftLinks:
        """Probable links of new pages.

        Args:
            titles: of the new pages; None for a text without one.
            texts: of the new pages.
            vectors: of these texts, by the encoder of the known ones.
            known_texts: of the known pages, to be searched for the new titles. Without them links to a new page are
                guessed from what its own text mentions and is like.
        """
        n, m = len(self.graph), len(texts)
        named = known_texts is not None and all(title is not None for title in titles)
        index = TitleIndex([*self.graph.names, *(title or "" for title in titles)])
        own = index.find(texts, range(n, n + m))
        found = _joined(self._mentions_of_new(index, known_texts) if named and known_texts else self.table, own)
        facts = self.facts.joined(_facts(index, found, texts, vectors - self.center, start=n))
        pairs = candidate_pairs(facts, found, alike=_ALIKE, among=torch.arange(n, n + m))
        known = torch.arange(n + m) < n
        rates = known_rates(pairs, torch.zeros(len(pairs), dtype=torch.bool), known, found, self.graph.edges)
        about = PairFacts.of(pairs, facts, found, rates)
        source_new, target_new = pairs[:, 0] >= n, pairs[:, 1] >= n
        new = NEW[0 if named else 1]
        kinds = (f"{new} to known", f"known to {new}", f"{new} to {new}")
        out, into, between = torch.zeros(m, n), torch.zeros(n, m), torch.zeros(m, m)
        for table, situation, some, shift in (
            (out, kinds[0], source_new & ~target_new, (n, 0)),
            (into, kinds[1], target_new & ~source_new, (0, n)),
            (between, kinds[2], source_new & target_new, (n, n)),
        ):
            chosen = PairFacts(pairs[some], about.columns[some])
            at = chosen.pairs - torch.tensor(shift)
            table[at[:, 0], at[:, 1]] = self.model.probabilities(chosen, situation)
        return SoftLinks(out, into, between, self.missing[new])

    def among_known(self) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
        """Probable links of each known page taken for a new one: out, and into it with ``into[i, j]`` that of j → i."""
        n = len(self.graph)
        pairs = candidate_pairs(self.facts, self.table, alike=_ALIKE)
        linked = self.graph.has_links(pairs[:, 0], pairs[:, 1])
        rates = known_rates(pairs, linked, torch.ones(n, dtype=torch.bool), self.table, self.graph.edges)
        about = PairFacts.of(pairs, self.facts, self.table, rates)
        out, into = torch.zeros(n, n), torch.zeros(n, n)
        out[pairs[:, 0], pairs[:, 1]] = self.model.probabilities(about, "new to known")
        into[pairs[:, 1], pairs[:, 0]] = self.model.probabilities(about, "known to new")
        return out, into

    def _mentions_of_new(self, index: TitleIndex, known_texts: Sequence[str]) -> MentionTable:
        """What known texts mention, the new titles among it; the new ones may be part of longer known titles."""
        return index.find(known_texts, range(len(self.graph)))


def _facts(
    index: TitleIndex, table: MentionTable, texts: Sequence[str], directions: Tensor, *, start: int = 0
) -> PageFacts:
    """Of the pages from ``start`` on."""
    n = len(index)
    inside = (table.pairs < start).any(1) if start else torch.ones(len(table), dtype=torch.bool)
    source, target = table.pairs.unbind(1)
    lengths = torch.tensor([float(len(words(text))) for text in texts])
    mentioning = torch.bincount(source, minlength=n)[start:].float()
    mentioned = torch.bincount(target[inside], minlength=n)[start:].float()
    unit = directions / torch.linalg.vector_norm(directions, dim=1, keepdim=True).clamp_min(1e-12)
    return PageFacts(unit, lengths, index.shapes()[start:], mentioning, mentioned)


def _joined(first: MentionTable, second: MentionTable) -> MentionTable:
    """Two tables of different sources, the second's higher."""
    parts = [torch.cat([getattr(first, name), getattr(second, name)]) for name in vars(first)]
    return MentionTable(*parts)


def _missing(
    graph: HopGraph, facts: PageFacts, table: MentionTable, about: PairFacts, model: LinkModel
) -> dict[str, tuple[MissingLinks, MissingLinks]]:
    """Learn from known pages, each taken for a new one, of the links that are no candidates."""
    n, weights = len(graph), torch.tensor([len(graph), 1])
    alike = candidate_pairs(facts, MentionTable(*(part[:0] for part in vars(table).values())), alike=_ALIKE)
    own = torch.cat([table.pairs, alike]) @ weights  # what a page's own text tells, as a source of links
    found = {}
    for new in NEW:
        sides = []
        for end, situation in ((0, f"{new} to known"), (1, f"known to {new}")):
            keys = about.pairs @ weights
            if new == "unnamed":
                seen = torch.isin(about.pairs.flip(1) @ weights if end else keys, own)
                candidates = PairFacts(about.pairs[seen], about.columns[seen])
            else:
                candidates = about
            p = model.probabilities(candidates, situation)
            expected = torch.zeros(n).index_add_(0, candidates.pairs[:, end], p)
            beside = ~torch.isin(graph.edges @ weights, candidates.pairs @ weights)
            counts = torch.bincount(graph.edges[beside, end], minlength=n).float()
            sides.append(MissingLinks.fit(counts, expected))
        found[new] = (sides[0], sides[1])
    return found

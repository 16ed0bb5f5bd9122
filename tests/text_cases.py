"""A small world of pages with titles, texts and links, made by chance, that the tests of free text share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial, partialmethod

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic import Geometry, HopEmbedding, HopGraph, HopRegression, Staircase, fit
from hyperspectral_geo.hyperbolic.step_forms import feature_count
from hyperspectral_geo.hyperbolic.text import TextHead, TextHopEncoder
from hyperspectral_geo.hyperbolic.text.pair_features import PageFacts, PairFacts, candidate_pairs, known_rates
from hyperspectral_geo.hyperbolic.text.text_links import TextLinks

COMMON = (
    *("the", "of", "and", "in", "is", "a", "to", "was", "by", "for", "with", "as", "on", "it", "are"),
    *("from", "that", "at", "which", "or", "an", "be", "its", "this", "has", "have", "also", "not", "but", "were"),
)


@dataclass(frozen=True)
class World:
    """Pages of which the last ``held`` are new to the graph: it has but the known ones and the links among them."""

    titles: tuple[str, ...]
    texts: Mapping[str, str]
    whole: HopGraph
    graph: HopGraph

    @property
    def known(self) -> dict[str, str]:
        return {name: self.texts[name] for name in self.graph.names}

    @property
    def new(self) -> tuple[str, ...]:
        return self.titles[len(self.graph) :]


def small_world(pages: int = 150, held: int = 20, *, topics: int = 6, seed: int = 0) -> World:
    """Pages mention well-known titles, and titles of their own topic; most early mentions are links, few late ones.

    Each page also links to the next, which no text tells.
    """
    random = np.random.default_rng(seed)
    titles = _titles(pages, random)
    topic = random.integers(topics, size=pages)
    renown = random.permutation(1 / (1 + np.arange(pages)) ** 0.7)
    vocabulary = [[_word(random, 3) for _ in range(40)] for _ in range(topics)]
    edges, texts = [], {}
    for page in range(pages):
        likely = renown * np.where(topic == topic[page], 8.0, 1.0)
        likely[page] = 0
        mentioned = random.choice(pages, size=14, replace=False, p=likely / likely.sum())
        words = list(random.choice(COMMON, 90)) + list(random.choice(vocabulary[topic[page]], 40))
        words = [str(word) for word in random.permutation(words)]
        for at, other in enumerate(mentioned):
            early = at < 7
            words.insert(5 * at if early else 70 + 5 * at, titles[other].split(" (")[0])
            if random.random() < (0.9 if early else 0.15):
                edges.append((page, int(other)))
        texts[titles[page]] = f"{titles[page].split(' (')[0]} {' '.join(words)}."
        edges.append((page, (page + 1) % pages))
    known = pages - held
    inside = [(a, b) for a, b in edges if a < known and b < known]
    whole = HopGraph.from_edges(edges, names=titles)
    return World(titles, texts, whole, HopGraph.from_edges(inside, names=titles[:known]))


@cache
def world() -> World:
    """The one that tests share."""
    return small_world()


@cache
def model() -> HopEmbedding:
    """Of the known pages of ``world``."""
    return fit(world().graph, dim=4, geometry="bilinear", forms=True, objective=HopRegression(), steps=200)


@contextmanager
def quickly() -> Iterator[None]:
    """``TextHopEncoder.fit`` trains its link model for 200 steps, not 2,000, and its head for 60, not 300."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextLinks, "fit", partial(TextLinks.fit, steps=200))
        patch.setattr(TextHead, "trained", partialmethod(TextHead.trained, steps=60))
        yield


@cache
def encoder() -> TextHopEncoder:
    """Of these pages."""
    with quickly():
        return TextHopEncoder.fit(model(), world().graph, world().known)


def known_texts() -> list[str]:
    return list(world().known.values())


def new_texts() -> list[str]:
    return [world().texts[name] for name in world().new]


def first_texts(count: int) -> dict[str, str]:
    """Texts of the first known pages."""
    return dict(list(world().known.items())[:count])


def _titles(pages: int, random: np.random.Generator) -> tuple[str, ...]:
    """Of one word, of two, and with a qualifier."""
    found: dict[str, None] = {}
    while len(found) < pages:
        name = _word(random, 3).capitalize()
        kind = len(found) % 5
        found[f"{name} {_word(random, 2)}" if kind == 3 else f"{name} (thing)" if kind == 4 else name] = None
    return tuple(found)


def _word(random: np.random.Generator, syllables: int) -> str:
    return "".join(
        str(random.choice(list("bdfgklmnprstvz"))) + str(random.choice(list("aeiou"))) for _ in range(syllables)
    )


def about_known(links: TextLinks) -> tuple[PairFacts, Tensor]:
    """Facts of the candidate pairs of known pages, and which are links."""
    graph, everyone = links.graph, torch.ones(len(links.graph), dtype=torch.bool)
    pairs = candidate_pairs(links.facts, links.table, alike=40)
    linked = graph.has_links(pairs[:, 0], pairs[:, 1])
    rates = known_rates(pairs, linked, everyone, links.table, graph.edges)
    return PairFacts.of(pairs, links.facts, links.table, rates), linked


def page_facts(n: int, f: int = 5, *, seed: int = 0) -> PageFacts:
    """Facts by chance."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(n, f, generator=g), dim=1)
    numbers = (torch.randint(1, 50, (n,), generator=g).float() for _ in range(3))
    lengths, mentioning, mentioned = numbers
    return PageFacts(directions, lengths, torch.rand(n, 4, generator=g), mentioning, mentioned)


FORMS = {
    "one point": {},
    "two points": {"targets": True},
    "scalars": {"scalars": True},
    "two points, scalars, read-out": {"targets": True, "scalars": True, "readout": True},
    "one point, scalars, read-out": {"scalars": True, "readout": True},
    "one point, read-out": {"readout": True},
    "all with forms": {"targets": True, "scalars": True, "readout": True, "forms": True},
}


def hop_model(
    n: int = 12,
    d: int = 3,
    *,
    geometry: Geometry = "hyperbolic",
    targets: bool = False,
    scalars: bool = False,
    readout: bool = False,
    forms: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> HopEmbedding:
    """A model by chance with the parts that are asked for."""
    g = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    size = feature_count(d)
    return HopEmbedding(
        tuple(f"page {i}" for i in range(n)),
        drawn(n, d),
        geometry,
        0.8,
        drawn(n, d) if targets else None,
        drawn(n) + 1 if scalars else None,
        drawn(n) + 1 if scalars else None,
        Staircase.even(4, dtype=dtype) if readout else None,
        0.05 * drawn(4, size, size) if forms else None,
    )

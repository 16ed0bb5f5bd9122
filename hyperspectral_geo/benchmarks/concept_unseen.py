"""A concept that was never seen, composed of others: weights by WordNet hops of names against equal and random ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.table import Row
from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.fusion.concepts.algebra import compose
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule, concept_module
from hyperspectral_geo.fusion.concepts.weights import concept_weights
from hyperspectral_geo.hyperbolic import HopGraph, bfs

__all__ = ["NounHops", "unseen_rows"]

_TEMPERATURES = (0.5, 1.0, 2.0)
_SPREAD = 0.1
_RANK = 4


@dataclass(frozen=True)
class NounHops:
    """Hops between names whose parts are WordNet nouns, such as animal-bird, over undirected hypernym links.

    d(a, b) is the mean over the parts of both names of the hops to the other name's nearest part, first senses.
    """

    parts: dict[str, tuple[int, ...]]
    hops: Tensor

    @classmethod
    def of(cls, names: Sequence[str]) -> NounHops:
        """Of those names all of whose parts are nouns."""
        nouns = load_wordnet("nouns", closure=False)
        number = {name: i for i, name in enumerate(nouns.names)}
        split = {name: name.replace(" & ", "-").split("-") for name in names}
        known = {
            name: tuple(f"{part}.n.01" for part in parts)
            for name, parts in split.items()
            if all(f"{part}.n.01" in number for part in parts)
        }
        synsets = sorted({synset for parts in known.values() for synset in parts})
        graph = HopGraph.from_edges(nouns.edges, names=nouns.names, directed=False)
        columns = [number[synset] for synset in synsets]
        hops = bfs(graph, columns)[:, columns].double()
        place = {synset: i for i, synset in enumerate(synsets)}
        return cls({name: tuple(place[s] for s in parts) for name, parts in known.items()}, hops)

    def distance(self, first: str, second: str, /) -> float:
        """Mean hops from each part of either name to the nearest part of the other."""
        between = self.hops[list(self.parts[first])][:, list(self.parts[second])]
        return torch.cat([between.amin(0), between.amin(1)]).mean().item()


def unseen_rows(
    task: str,
    x: Tensor,
    y: Tensor,
    classes: Sequence[str],
    splits: Sequence[tuple[Tensor, Tensor]],
    *,
    most: int | None = None,
) -> list[Row]:
    """How well composed concepts rank test samples of the concept that was left out above those of all others.

    The area under the ROC curve of the log density, over that of all other concepts composed equally, averaged over
    concepts. The temperature of the hops is chosen for each concept on the other concepts. ``most`` limits the number
    of concepts.
    """
    hops = NounHops.of(classes)
    named = [label for label, name in enumerate(classes) if name in hops.parts][:most]
    areas: dict[str, list[float]] = {}
    for seed, (train, test) in enumerate(splits):
        background = Background.of(x[train], groups=y[train], shrinkage=0.25)
        concepts = [
            concept_module(x[train][y[train] == label], name=classes[label], background=background, rank=_RANK)
            for label in named
        ]
        kept = torch.isin(y[test], torch.tensor(named))
        z, truth = background.whiten(x[test][kept]), y[test][kept]
        for name, value in _split_areas(concepts, named, z, truth, hops, seed).items():
            areas.setdefault(name, []).append(value)
    chosen = "weights by hops"
    return [
        Row(
            f"{task}: unseen concept, ROC area, {name}",
            sum(values) / len(values),
            bar=0.5 if name == chosen else None,
            interval=(min(values), max(values)) if len(values) > 1 else None,
            ours=f"{len(named)} concepts named by nouns" if name == chosen else "",
            peer="equal weights, by definition .5" if name == chosen else "",
        )
        for name, values in areas.items()
    ]


def _split_areas(
    concepts: list[ConceptModule], named: list[int], z: Tensor, truth: Tensor, hops: NounHops, seed: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    by_temperature = torch.zeros(len(concepts), len(_TEMPERATURES), dtype=torch.float64)
    found: dict[str, list[float]] = {"random weights": [], "hop weights dealt at random": []}
    own = []
    for i, concept in enumerate(concepts):
        others = concepts[:i] + concepts[i + 1 :]
        names = [other.name for other in others]
        positive = truth == named[i]

        anything = compose(others, [1.0] * len(others)).log_density(z, spread=_SPREAD)

        def area(weights: Tensor) -> float:
            density = compose(others, weights).log_density(z, spread=_SPREAD)  # noqa: B023  # called in this round only
            return _area(density - anything, positive)  # noqa: B023

        drawn = torch.rand(len(others), generator=generator, dtype=torch.float64).log().neg()
        near = [concept_weights(hops, concept.name, names, temperature=t) for t in _TEMPERATURES]
        dealt = near[1][torch.randperm(len(others), generator=generator)]
        by_temperature[i] = torch.tensor([area(weights) for weights in near], dtype=torch.float64)
        found["random weights"].append(area(drawn))
        found["hop weights dealt at random"].append(area(dealt))
        own.append(_area(concept.log_density(z, spread=_SPREAD) - anything, positive))
    total = by_temperature.sum(0)
    chosen = [row[int((total - row).argmax())].item() for row in by_temperature]
    means = {name: sum(values) / len(values) for name, values in found.items()}
    return {"weights by hops": sum(chosen) / len(chosen), **means, "its own module (not unseen)": sum(own) / len(own)}


def _area(scores: Tensor, positive: Tensor) -> float:
    """Chance that a positive scores above a negative; half a chance for a tie."""
    above, below = scores[positive], scores[~positive]
    wins = (above[:, None] > below).double() + 0.5 * (above[:, None] == below)
    return wins.mean().item() if wins.numel() else math.nan

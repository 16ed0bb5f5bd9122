"""Glosses joined in, on real data: they place words of WN18RR that training never met."""

from __future__ import annotations

import torch

from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph, load_knowledge_graph, synset_glosses
from hyperspectral_geo.hyperbolic.relational import TripleScores, fit_relations, triple_ranks
from hyperspectral_geo.hyperbolic.text.tfidf import Tfidf

MAMMAL = "01861778"


def mammals() -> KnowledgeGraph:
    """The mammals of WN18RR and what is a kind of what; a fifth of those without kinds below them are held out."""
    kg = load_knowledge_graph("wn18rr")
    triples = torch.cat([kg.train, kg.valid, kg.test]).tolist()
    links = [(kg.entities[h], kg.entities[t]) for h, r, t in triples if kg.relations[r] == "_hypernym"]
    below: dict[str, list[str]] = {}
    for child, parent in links:
        below.setdefault(parent, []).append(child)
    inside, last = {MAMMAL}, [MAMMAL]
    while last:
        last = [child for parent in last for child in below.get(parent, []) if child not in inside]
        inside |= set(last)
    held = set(sorted(inside - below.keys())[::5])
    kinds = [(child, "is a", parent) for child, parent in links if {child, parent} <= inside]
    known = [triple for triple in kinds if triple[0] not in held]
    return KnowledgeGraph.from_triples(known, test=[triple for triple in kinds if triple[0] in held])


def test_glosses_place_words_that_training_never_met(shared_data):
    shared_data("kg"), shared_data("wordnet")
    kg = mammals()
    assert kg.unseen == len(kg.test) == 54
    texts = [gloss or "" for gloss in synset_glosses(kg.entities)]
    assert all(texts)
    options = {"dim": 16, "steps": 150, "questions": 256, "negatives": 256}
    by_text, blind = (
        TripleScores.of(triple_ranks(fit_relations(kg, **options, features=features), kg, kg.test)[:, 0])
        for features in (Tfidf.fit(texts, dim=64, least=2).encode(texts), None)
    )
    assert by_text.hits[10] > 0.4
    assert by_text.mrr > 0.2
    assert blind.hits[10] < 0.1  # so it is the glosses that tell: training alone knows nothing of these words

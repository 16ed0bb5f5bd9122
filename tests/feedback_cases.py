"""What the tests of feedback share: a graph, and answers to a model of it."""

from __future__ import annotations

from hop_cases import random_graph

from hyperspectral_geo.hyperbolic import HopEmbedding
from hyperspectral_geo.hyperbolic.feedback import AboutHops, Closer, Constraint, Farther, Nearer, Pin

GRAPH = random_graph(40, 120)


def answers(model: HopEmbedding) -> list[Constraint]:
    """A hop more or less than the model says, and an order the other way round."""
    near, far = sorted(("5", "6"), key=lambda name: model.distance("4", name))
    return [
        AboutHops("0", "1", max(1.0, model.distance("0", "1") - 1)),
        Farther("2", "3", strength=2),
        Nearer("4", far, near),
        Closer("7", "8"),
        Pin("9"),
        AboutHops("9", "10", model.distance("9", "10") + 1),
    ]

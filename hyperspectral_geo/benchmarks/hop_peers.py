"""The peers of link embeddings, by their published recipes: gensim's Poincaré model, and one written with geoopt."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph

__all__ = ["PeerRun", "gensim_poincare", "geoopt_poincare"]


@dataclass(frozen=True, eq=False)
class PeerRun:
    """What a peer gave.

    Attributes:
        model: its points, scored like ours.
        seconds: CPU time of training.
        pairs: pairs (concept, link or negative) whose distance was computed on the way.
    """

    model: HopEmbedding
    seconds: float
    pairs: int


def gensim_poincare(
    graph: HopGraph, *, dim: int, epochs: int, burn_in: int = 10, negatives: int = 10, seed: int = 0
) -> PeerRun:
    """gensim's ``PoincareModel``, by default after a burn-in of 10 epochs as in the paper.

    More than 10 negatives make it stall on graphs whose nodes have many links: it draws a whole set anew for a single
    repetition or link in it.

    Raises:
        ImportError: if gensim is missing.
    """
    poincare = import_module("gensim.models.poincare")
    logging.getLogger("gensim").setLevel(logging.WARNING)
    names = graph.names
    relations = [(names[u], names[v]) for u, v in graph.edges.tolist()]
    model = poincare.PoincareModel(relations, size=dim, negative=negatives, burn_in=burn_in, seed=seed)
    start = time.process_time()
    model.train(epochs=epochs, batch_size=50, print_every=10**9)
    seconds = time.process_time() - start
    order = [model.kv.key_to_index[name] for name in names]
    ball = torch.from_numpy(np.asarray(model.kv.vectors, dtype=np.float64)[order])
    return PeerRun(_from_ball(names, ball), seconds, (epochs + burn_in) * len(relations) * (negatives + 1))


def geoopt_poincare(
    graph: HopGraph, *, dim: int, epochs: int, negatives: int = 50, batch: int = 256, rate: float = 1.0, seed: int = 0
) -> PeerRun:
    """Nickel and Kiela's recipe with geoopt's ``PoincareBall`` and ``RiemannianSGD``: each link its own negatives."""
    geoopt = import_module("geoopt")
    generator = torch.Generator().manual_seed(seed)
    ball = geoopt.PoincareBall()
    start_at = torch.rand(len(graph), dim, generator=generator, dtype=torch.float64).sub_(0.5).mul_(2e-3)
    points = geoopt.ManifoldParameter(start_at, manifold=ball)
    descent = geoopt.optim.RiemannianSGD([points], lr=rate)
    start = time.process_time()
    for epoch in range(epochs):
        descent.param_groups[0]["lr"] = rate * batch / (10 if epoch < 20 else 1) / 25
        for links in graph.edges[torch.randperm(len(graph.edges), generator=generator)].split(batch):
            source, target = links.unbind(1)
            others = torch.randint(len(graph), (len(links), negatives), generator=generator)
            distance = ball.dist(points[source, None], points[torch.cat([target[:, None], others], 1)])
            linked = graph.has_links(source[:, None], others) | (others == source[:, None])
            hidden = torch.cat([torch.zeros_like(linked[:, :1]), linked], 1)
            loss = -(-distance.masked_fill(hidden, torch.inf)).log_softmax(1)[:, 0].mean()
            descent.zero_grad()
            loss.backward()
            descent.step()
    seconds = time.process_time() - start
    model = _from_ball(graph.names, points.detach().as_subclass(torch.Tensor))
    return PeerRun(model, seconds, epochs * len(graph.edges) * (negatives + 1))


def _from_ball(names: tuple[str, ...], ball: torch.Tensor) -> HopEmbedding:
    """Points of the Poincaré ball as tangents at the origin."""
    norm = torch.linalg.vector_norm(ball, dim=1, keepdim=True).clamp(1e-15, 1 - 1e-15)
    return HopEmbedding(names, 2 * torch.atanh(norm) * ball / norm, "hyperbolic", 1.0)

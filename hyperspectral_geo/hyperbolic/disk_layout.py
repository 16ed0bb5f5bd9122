"""Where the concepts of a model stand in a picture: places in the Poincaré disk."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_factors import HopFactors
from hyperspectral_geo.hyperbolic.link_softmax import LinkSoftmax
from hyperspectral_geo.hyperbolic.training import fit

__all__ = ["disk_layout"]

_RIM = 0.9995  # norm up to which 16 bits a coordinate tell points apart
_RADIUS = 3.2  # hyperbolic radius of a layout, norm 0.92
_ALIKE = 12  # concepts that each is drawn to
_BY_HOPS = 0.7  # share of the mean hops in the order of the radii; the rest is the descent's
_TURN = 0.7  # how far angles are turned towards even ones
_BLOCK = 1 << 22  # pairs compared at once


def disk_layout(
    model: HopEmbedding, factors: HopFactors, *, steps: int | None = None, seed: int = 0
) -> Float[Tensor, "n 2"]:
    """Places of all concepts in the Poincaré disk, float64, norms below 1.

    A hyperbolic model of two dimensions is its own picture: its points, those beyond norm 0.9995 moved back to it.

    For any other the picture is made, and shows topics and not distances. Concepts are alike whose hops are fewer than
    what the one usually has to go and the other usually is away: the 12 most alike of each are links of a graph, which
    ``LinkSoftmax`` embeds in two dimensions. Its angles are kept, spread more evenly; radii follow mostly the mean
    predicted hops, so that what is quickly left and reached stands at the centre. The same arguments give the same
    places.

    Time: for 5,000 concepts some 8 s on one core, for 50,000 a minute.

    Args:
        model: n ≥ 1 concepts.
        factors: those of the model, as ``hop_factors`` makes them.
        steps: of the training in two dimensions; by default 150 and one for every three concepts, at most 5,150.
        seed: of that training.

    Raises:
        ValueError: for factors of another number of concepts, no concepts, steps below 1 or a seed below 0.

    Example:
        >>> from hyperspectral_geo.hyperbolic.hop_factors import hop_factors
        >>> model = HopEmbedding(("a", "b"), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
        >>> disk_layout(model, hop_factors(model))
        tensor([[0.0000, 0.0000],
                [0.0000, 0.4621]], dtype=torch.float64)
    """
    if len(factors.source) != len(model):
        raise ValueError(f"factors: expected those of {len(model)} concepts, got {len(factors.source)}")
    if model.geometry == "hyperbolic" and model.tangents.shape[1] == 2:
        points = model.poincare().double()
        norm = torch.linalg.vector_norm(points, dim=1, keepdim=True)
        return points * (_RIM / norm.clamp_min(_RIM))
    if len(model) < 3:  # nothing to arrange
        return torch.linspace(-0.5, 0.5, len(model), dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.0])
    steps = 150 + min(len(model) // 3, 5_000) if steps is None else steps
    alike = _most_alike(factors, min(_ALIKE, len(model) - 1))
    links = torch.stack([torch.arange(len(model)).repeat_interleave(alike.shape[1]), alike.flatten()], 1)
    graph = HopGraph.from_edges(links, names=model.names, directed=False)
    objective = LinkSoftmax(negatives=256, run=1)
    plane = fit(graph, dim=2, objective=objective, steps=steps, seed=seed).tangents.double()
    angle = _spread(torch.atan2(plane[:, 1], plane[:, 0]))
    order = (1 - _BY_HOPS) * _ranks(torch.linalg.vector_norm(plane, dim=1)) + _BY_HOPS * _remoteness(factors)
    norm = torch.tanh(_radii(_ranks(order)) / 2)
    return norm[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def _most_alike(factors: HopFactors, count: int) -> Int[Tensor, "n k"]:
    """For each concept those with the fewest hops there and back, less the mean hops of either end.

    Taking both means off every pair is taking the mean off each factor.
    """
    source, target = factors.source.float() * factors.scales.float(), factors.target.float()
    source, target = source - source.mean(0), target - target.mean(0)
    there_and_back = torch.cat([source, target], 1), torch.cat([target, source], 1)
    found = []
    for rows in torch.arange(len(source)).split(max(1, _BLOCK // len(source))):
        hops = there_and_back[0][rows] @ there_and_back[1].T
        hops[torch.arange(len(rows)), rows] = torch.inf
        found.append(hops.topk(count, largest=False).indices)
    return torch.cat(found)


def _remoteness(factors: HopFactors) -> Float[Tensor, " n"]:
    """The larger of two ranks, that of the mean hops from a concept and that of those to it.

    A model says little of the hops to what nothing links to: small ones alone do not make a centre.
    """
    source, target = factors.source.double() * factors.scales, factors.target.double()
    return torch.maximum(_ranks(source @ target.mean(0)), _ranks(target @ source.mean(0)))


def _ranks(numbers: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Place of each number in their order, from 0 to 1."""
    return (numbers.argsort(stable=True).argsort() + 0.5) / len(numbers)


def _spread(angle: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Angles turned towards even ones of the same order, the even ones turned as a whole so that they move least."""
    turn = 2 * math.pi * _ranks(angle) - angle
    turn = torch.remainder(turn - torch.atan2(turn.sin().mean(), turn.cos().mean()) + math.pi, 2 * math.pi) - math.pi
    return angle + _TURN * turn


def _radii(share: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Hyperbolic radii between those even in hyperbolic area and those even in the area of the picture."""
    plane = torch.acosh(1 + share * (math.cosh(_RADIUS) - 1))
    picture = 2 * torch.atanh(share.sqrt() * math.tanh(_RADIUS / 2))
    return (plane + picture) / 2

"""Entailment cones: angles against their definition on the hyperboloid, and hierarchies that end up contained."""

from __future__ import annotations

import math

import pytest
import torch

from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.hyperbolic import EntailmentCones, HopGraph, fit
from hyperspectral_geo.hyperbolic.entailment_cones import cone_aperture, cone_excess, exterior_angle
from hyperspectral_geo.hyperbolic.geometry import points_from_tangents
from hyperspectral_geo.manifolds import Lorentz


def points(count: int, d: int, *, seed: int = 0, radius: float = 2.0) -> torch.Tensor:
    z = torch.randn(count, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return points_from_tangents(radius * z / z.norm(dim=1, keepdim=True).clamp_min(1), "hyperbolic")


def test_exterior_angle_is_that_between_geodesics():
    x, y = points(50, 3), points(50, 3, seed=1)
    H = Lorentz()
    onwards = -H.logmap(x, H.origin(x.shape, dtype=torch.float64))
    towards = H.logmap(x, y)
    cosine = H.inner(x, onwards, towards) / (H.inner(x, onwards) * H.inner(x, towards)).sqrt()
    torch.testing.assert_close(exterior_angle(x, y), torch.acos(cosine.clamp(-1, 1)), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(("radius", "angle"), [(0.5, 0.0), (3.0, 0.0), (-1.0, math.pi)])
def test_exterior_angle_along_the_ray(radius: float, angle: float):
    x = points_from_tangents(torch.tensor([[0.25, 0.0]], dtype=torch.float64), "hyperbolic")
    y = points_from_tangents(torch.tensor([[radius, 0.0]], dtype=torch.float64), "hyperbolic")
    assert exterior_angle(x, y).item() == pytest.approx(angle, abs=2e-3)


def test_apertures_narrow_with_the_radius():
    x = points_from_tangents(torch.tensor([[0.05, 0], [1.0, 0], [3.0, 0]], dtype=torch.float64), "hyperbolic")
    wide, middle, narrow = cone_aperture(x).tolist()
    assert wide == pytest.approx(math.pi / 2, abs=1e-3)
    assert middle == pytest.approx(math.asin(0.2 / math.sinh(1)))
    assert narrow == pytest.approx(math.asin(0.2 / math.sinh(3)))


def test_containment_is_transitive():
    # a cone that holds a point holds that point's cone: the property that makes cones an order
    generator, width = torch.Generator().manual_seed(0), 0.4
    angle = 0.6 * torch.randn(3, 5000, generator=generator, dtype=torch.float64)
    radius = torch.tensor([[0.8], [1.2], [1.8]], dtype=torch.float64)  # sinh 0.8 > 2K, where the aperture is defined
    z = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
    a, b, c = (points_from_tangents(part, "hyperbolic") for part in z)
    chained = (cone_excess(a, b, width=width) <= 0) & (cone_excess(b, c, width=width) <= 0)
    assert 100 < int(chained.sum()) < 4900
    assert float(cone_excess(a, c, width=width)[chained].max()) <= 1e-9


def test_the_mammals_end_up_in_the_cones_of_their_ancestors():
    mammals = load_wordnet("mammals")
    graph = HopGraph.from_edges(mammals.edges, names=mammals.names)
    x = fit(graph, dim=5, objective=EntailmentCones(), steps=400).points
    inside = cone_excess(x[graph.edges[:, 1]], x[graph.edges[:, 0]]) <= 0
    other = torch.randint(len(graph), (20_000, 2), generator=torch.Generator().manual_seed(0))
    other = other[~graph.has_links(other[:, 0], other[:, 1]) & (other[:, 0] != other[:, 1])]
    wrongly = cone_excess(x[other[:, 1]], x[other[:, 0]]) <= 0
    assert float(inside.double().mean()) > 0.9
    assert float(wrongly.double().mean()) < 0.1


BAD = {
    "batch": EntailmentCones(batch=0),
    "negatives": EntailmentCones(negatives=-1),
    "margin": EntailmentCones(margin=0.0),
    "width": EntailmentCones(width=math.nan),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        fit(HopGraph.from_edges([(0, 1)]), objective=BAD[name], dim=2, steps=1)


def test_other_geometries_and_graphs_without_links_are_refused():
    with pytest.raises(ValueError, match="need 'hyperbolic'"):
        fit(HopGraph.from_edges([(0, 1)]), objective=EntailmentCones(), geometry="euclidean", dim=2, steps=1)
    with pytest.raises(ValueError, match="at least one link"):
        fit(HopGraph.from_edges([], names=["a"]), objective=EntailmentCones(), dim=2, steps=1)

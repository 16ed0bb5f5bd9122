"""Embeddings of links: distances and their gradients against mpmath, and training that is checked, seeded and stops."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, fit
from hyperspectral_geo.hyperbolic.embedding import pairwise_distance, points_from_tangents
from hyperspectral_geo.manifolds import Lorentz

EPS = torch.finfo(torch.float64).eps


def tangents(n: int, d: int, *, radius: float = 3.0, seed: int = 0) -> torch.Tensor:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return radius * z / z.norm(dim=1).max()


def tree(depth: int = 4) -> HopGraph:
    """Links of the nodes of a binary tree to all their ancestors."""
    edges = []
    for node in range(1, 2**depth - 1):
        above = node
        while above:
            above = (above - 1) // 2
            edges.append((node, above))
    return HopGraph.from_edges(edges)


def exact(x: torch.Tensor, y: torch.Tensor) -> mpmath.mpf:
    """Hyperbolic distance of two points given by their space-like parts, in 60 digits."""
    with mpmath.workdps(60):
        a, b = ([mpmath.mpf(v) for v in point.tolist()] for point in (x, y))
        product = mpmath.sqrt(1 + sum(v * v for v in a)) * mpmath.sqrt(1 + sum(v * v for v in b))
        return mpmath.acosh(product - sum(v * w for v, w in zip(a, b, strict=True)))


# Distances


@pytest.mark.parametrize("radius", [0.01, 1.0, 5.0, 9.0])
def test_pairwise_distances_are_those_of_the_manifold_and_of_mpmath(radius: float):
    points = points_from_tangents(tangents(12, 3, radius=radius), "hyperbolic")
    found = pairwise_distance(points[:5], points[5:], "hyperbolic")
    one_by_one = Lorentz().dist(points[:5, None], points[None, 5:])
    true = torch.tensor([[float(exact(a, b)) for b in points[5:, 1:]] for a in points[:5, 1:]], dtype=torch.float64)
    torch.testing.assert_close(one_by_one, true, rtol=1e-12, atol=0)
    bound = 8 * EPS * math.exp(2 * radius) / torch.sinh(true)  # what the docstring says, with a margin
    assert bool(((found - true).abs() <= bound + 8 * EPS * true).all())


def test_distances_of_points_to_themselves_are_zero_to_rounding():
    points = points_from_tangents(tangents(6, 4), "hyperbolic")
    assert float(pairwise_distance(points, points, "hyperbolic").diagonal().max()) <= 1e-6
    assert bool((pairwise_distance(points, points, "hyperbolic") >= 0).all())


def test_pairwise_euclidean_distances():
    x, y = tangents(40, 3), tangents(30, 3, seed=1)
    expected = (x[:, None] - y).square().sum(-1).sqrt()
    torch.testing.assert_close(pairwise_distance(x, y, "euclidean"), expected, rtol=1e-12, atol=1e-7)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_gradient_of_pairwise_distances(geometry):
    def distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return pairwise_distance(points_from_tangents(x, geometry), points_from_tangents(y, geometry), geometry)

    x, y = tangents(4, 3).requires_grad_(), tangents(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(distances, (x, y))


def test_gradient_of_pairwise_distances_by_the_coordinates():
    x, y = (points_from_tangents(tangents(4, 3, seed=s), "hyperbolic").requires_grad_() for s in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: pairwise_distance(a, b, "hyperbolic"), (x, y))


def test_gradient_of_pairwise_distances_against_mpmath():
    z, w = tangents(1, 3, radius=6.0)[0], tangents(1, 3, radius=6.0, seed=1)[0]
    x = points_from_tangents(z[None], "hyperbolic")[0, 1:].requires_grad_()
    y = points_from_tangents(w[None], "hyperbolic")
    full = torch.cat([(1 + x.square().sum()).sqrt()[None], x])
    (found,) = torch.autograd.grad(pairwise_distance(full[None], y, "hyperbolic").sum(), x)
    with mpmath.workdps(60):
        point, other = x.tolist(), y[0, 1:]
        for i in range(3):

            def along(value, i=i):
                moved = [mpmath.mpf(v) for v in point]
                moved[i] = value
                b = [mpmath.mpf(v) for v in other.tolist()]
                times = mpmath.sqrt(1 + sum(v * v for v in moved)) * mpmath.sqrt(1 + sum(v * v for v in b))
                return mpmath.acosh(times - sum(v * u for v, u in zip(moved, b, strict=True)))

            assert float(found[i]) == pytest.approx(float(mpmath.diff(along, mpmath.mpf(point[i]))), rel=1e-6)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_gradients_at_coincident_points_are_finite_and_small(geometry):
    z = torch.cat([torch.zeros(1, 3, dtype=torch.float64), tangents(3, 3)]).requires_grad_()
    points = points_from_tangents(z, geometry)
    (gradient,) = torch.autograd.grad(pairwise_distance(points, points.detach(), geometry).diagonal().sum(), z)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().max()) <= 2  # a distance is 1-Lipschitz; rounding may leave any such slope here


# The embedding


@pytest.fixture(scope="module")
def model() -> HopEmbedding:
    return fit(tree(), dim=2, steps=100)


def test_named_distances_are_exact(model: HopEmbedding):
    far = HopEmbedding(("a", "b"), torch.tensor([[20.0, 0.0], [20.0, 1e-9]], dtype=torch.float64), "hyperbolic", 2.0)
    points = far.points[:, 1:]
    assert far.distance("a", "b") == pytest.approx(2 * float(exact(points[0], points[1])), rel=1e-9)
    assert model.distance("3", "3") == 0
    assert model.distance("3", "5") == model.distance("5", "3")
    flat = HopEmbedding(("a", "b"), torch.tensor([[0.0, 3.0], [4.0, 0.0]], dtype=torch.float64), "euclidean", 2.0)
    assert flat.distance("a", "b") == 10.0


def test_distances_hold_the_scale_and_agree_with_the_named_ones(model: HopEmbedding):
    some = torch.tensor([4, 2])
    table = model.distances(some)
    assert table.shape == (2, len(model.names))
    torch.testing.assert_close(table, model.distances()[some])
    expected = [[model.distance(model.names[i], name) for name in model.names] for i in some]
    torch.testing.assert_close(table, torch.tensor(expected, dtype=torch.float64), rtol=1e-8, atol=1e-6)


def test_poincare_picture_keeps_directions_and_radii(model: HopEmbedding):
    z = torch.cat([torch.zeros(1, 2, dtype=torch.float64), tangents(5, 2, radius=30.0)])
    disk = HopEmbedding(tuple("abcdef"), z, "hyperbolic", 1.0).poincare()
    radius = disk.norm(dim=1)
    assert bool((radius <= 1).all())
    assert radius[0] == 0
    inside = z.norm(dim=1) < 15
    torch.testing.assert_close(2 * torch.atanh(radius[inside]), z.norm(dim=1)[inside], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(disk[1:] / radius[1:, None], z[1:] / z[1:].norm(dim=1, keepdim=True))
    # The picture is of the same space: its distance formula gives the distances of the points.
    ball = model.poincare()
    between = (ball[1] - ball[2]).square().sum() / ((1 - ball[1].square().sum()) * (1 - ball[2].square().sum()))
    assert model.scale * math.acosh(1 + 2 * float(between)) == pytest.approx(model.distance("1", "2"), rel=1e-9)


def test_what_an_embedding_refuses(model: HopEmbedding):
    with pytest.raises(ValueError, match="'15' is not one of the 15 concepts; similar: "):
        model.distance("3", "15")
    with pytest.raises(ValueError, match="Euclidean"):
        fit(tree(), dim=2, steps=1, geometry="euclidean").poincare()


# Training


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_a_seed_gives_one_result_and_leaves_the_global_state_alone(geometry):
    state = torch.get_rng_state()
    first = fit(tree(), dim=3, steps=40, geometry=geometry, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again = fit(tree(), dim=3, steps=40, geometry=geometry, seed=3)
    other = fit(tree(), dim=3, steps=40, geometry=geometry, seed=4)
    assert torch.equal(first.tangents, again.tangents)
    assert not torch.equal(first.tangents, other.tangents)
    assert (first.geometry, first.scale, first.names) == (geometry, 3.0, tree().names)
    assert not first.tangents.requires_grad
    assert first.tangents.dtype == torch.float64


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_loss_falls_and_links_come_near(geometry):
    told = []
    graph = tree()
    fitted = fit(graph, dim=3, steps=305, geometry=geometry, progress=lambda step, loss: told.append((step, loss)))
    assert [step for step, _ in told] == list(range(10, 301, 10))
    losses = [loss for _, loss in told]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    distances = fitted.distances()
    nodes = torch.arange(len(graph))
    linked = graph.has_links(nodes[:, None], nodes)
    apart = ~linked & (nodes[:, None] != nodes)
    assert float(distances[linked].mean()) < float(distances[apart].mean())


def test_reported_loss_is_the_documented_one():
    # One link and every negative drawn is either end of it, so the loss is log(1 + Σ e^{s(d(u,v) − d(u,n))}) = 0.
    told = []
    fit(HopGraph.from_edges([(0, 1)]), dim=2, steps=10, progress=lambda step, loss: told.append(loss))
    assert told == [0.0]
    # A third node, far from nothing at the start: all distances are about 1e-3, so each negative counts e^0 = 1.
    told.clear()
    graph = HopGraph.from_edges([(0, 1)], names="abc")
    fit(graph, dim=2, steps=10, negatives=3000, learning_rate=1e-12, progress=lambda step, loss: told.append(loss))
    assert told[0] == pytest.approx(math.log(1 + 1000), rel=0.02)


def test_nothing_is_left_behind_by_an_interrupt(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    graph, state, threads = tree(), torch.get_rng_state(), torch.get_num_threads()
    before = graph.edges.clone()

    def interrupt(step: int, loss: float) -> None:
        if step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(graph, dim=2, steps=100, progress=interrupt)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert torch.equal(graph.edges, before)
    assert list(tmp_path.iterdir()) == []
    uninterrupted = fit(graph, dim=2, steps=30)
    assert torch.equal(uninterrupted.tangents, fit(tree(), dim=2, steps=30).tangents)


@pytest.mark.parametrize("given", [{"learning_rate": 1e4}, {"scale": 1e308}, {"scale": 1e308, "geometry": "euclidean"}])
def test_training_that_runs_away_is_stopped(given: dict):
    with pytest.raises(FloatingPointError, match="lower learning_rate or scale"):
        fit(tree(), dim=2, steps=50, **given)


def test_small_graphs_and_batches_train():
    for given in ({"batch": 1}, {"batch": 1000}, {"negatives": 1}, {"dim": 1}, {"steps": 1}, {"dim": 40}):
        fitted = fit(tree(2), **{"dim": 2, "steps": 12, **given})
        assert bool(torch.isfinite(fitted.tangents).all())
        assert fitted.tangents.shape == (3, given.get("dim", 2))


BAD = {
    "no links": {"graph": HopGraph.from_edges([], names=["a"])},
    "no nodes": {"graph": HopGraph.from_edges([])},
    "geometry": {"geometry": "spherical"},
    "dim 0": {"dim": 0},
    "dim a float": {"dim": 2.0},
    "dim a boolean": {"dim": True},
    "steps 0": {"steps": 0},
    "batch negative": {"batch": -1},
    "negatives 0": {"negatives": 0},
    "scale 0": {"scale": 0.0},
    "scale NaN": {"scale": math.nan},
    "scale a text": {"scale": "3"},
    "learning_rate negative": {"learning_rate": -0.1},
    "learning_rate infinite": {"learning_rate": math.inf},
    "seed a float": {"seed": 1.5},
    "seed a boolean": {"seed": True},
    "seed negative": {"seed": -1},
    "seed too large": {"seed": 2**70},
}


@pytest.mark.parametrize("given", BAD.values(), ids=BAD)
def test_bad_arguments_are_refused_before_training(given: dict, unchecked):
    told = []
    given = {"graph": tree(2), "dim": 2, "steps": 10, "progress": lambda *values: told.append(values), **given}
    with pytest.raises(ValueError, match="^[a-z_]+: expected .+ got"):
        fit(given.pop("graph"), **given)
    assert told == []

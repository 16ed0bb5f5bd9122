"""The loss of typed links beside its definition, its gradient beside finite differences; relations as isometries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import ortho_group

from hyperspectral_geo.hyperbolic.geometry import points_from_tangents
from hyperspectral_geo.hyperbolic.relational import link_loss as module
from hyperspectral_geo.hyperbolic.relational.link_loss import link_loss, squared_distance
from hyperspectral_geo.hyperbolic.relational.queries import (
    boosted,
    query_points,
    reflected,
    rotated,
)
from hyperspectral_geo.manifolds import Lorentz

GEOMETRIES = ("hyperbolic", "euclidean")
ROWS = torch.tensor([0, 0, 1, 3, 3, 4])  # question 2 has no tail
MASKED = (torch.tensor([0, 1, 1, 4]), torch.tensor([2, 0, 6, 6]))
NONE = (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def sample(geometry: str, *, dtype: torch.dtype = torch.float64, spread: float = 0.8) -> tuple[torch.Tensor, ...]:
    """Queries, candidates, biases, scores of heads and of tails."""
    points = [points_from_tangents(torch.randn(n, 4, dtype=dtype) * spread, geometry) for n in (5, 7)]
    return *points, *(torch.randn(n, dtype=dtype) for n in (7, 5, len(ROWS)))


def distances(x: torch.Tensor, y: torch.Tensor, geometry: str) -> np.ndarray:
    """All distances, by NumPy from the definition."""
    if geometry == "euclidean":
        return np.linalg.norm(x.numpy()[:, None] - y.numpy(), axis=-1)
    return np.arccosh(np.maximum(np.outer(x[:, 0], y[:, 0]) - x.numpy()[:, 1:] @ y.numpy()[:, 1:].T, 1))


def expected(x, y, biases, own, rows, scores, masked, geometry, scale, share) -> float:
    table = biases.numpy() - scale * distances(x, y, geometry) ** 2
    table[masked] = -np.inf
    total = 0.0
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        total += logsumexp([score, own[row], logsumexp(table[row]) - math.log(share)]) - score
    return total


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("masked", [NONE, MASKED], ids=["unmasked", "masked"])
@pytest.mark.parametrize(("scale", "share"), [(0.5, 1.0), (2.0, 0.1)])
@pytest.mark.parametrize("entries", [1 << 18, 14], ids=["one block", "blocks of two rows"])
def test_loss_is_the_softmax_of_its_definition(monkeypatch, geometry, masked, scale, share, entries):
    monkeypatch.setattr(module, "_ENTRIES", entries)
    x, y, biases, own, scores = sample(geometry)
    found = link_loss(x, y, biases, own, ROWS, scores, masked, geometry=geometry, scale=scale, share=share)
    want = expected(x, y, biases, own, ROWS, scores, tuple(m.numpy() for m in masked), geometry, scale, share)
    assert float(found) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("masked", [NONE, MASKED], ids=["unmasked", "masked"])
def test_gradient_is_that_of_finite_differences(monkeypatch, geometry, masked):
    monkeypatch.setattr(module, "_ENTRIES", 14)
    tangents = [torch.randn(n, 4, dtype=torch.float64).requires_grad_() for n in (5, 7)]
    others = [torch.randn(n, dtype=torch.float64).requires_grad_() for n in (7, 5, len(ROWS))]

    def loss(left, right, biases, own, scores):
        points = (points_from_tangents(z, geometry) for z in (left, right))
        return link_loss(*points, biases, own, ROWS, scores, masked, geometry=geometry, scale=0.7, share=0.3)

    assert torch.autograd.gradcheck(loss, (*tangents, *others), atol=1e-7)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_float32_gradient_is_near_that_of_float64(geometry):
    """Products that give gradients may be in bfloat16: three hundredths of the largest entry, not more."""
    found = []
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(0)
        z = torch.randn(300, 8, dtype=torch.float64).to(dtype).requires_grad_()
        points = points_from_tangents(z, geometry)
        rows = torch.arange(100)
        tails = -0.5 * squared_distance(points[:100], points[100:200], geometry)
        loss = link_loss(
            points[:100],
            points[100:],
            points.new_zeros(200),
            points.new_zeros(100),
            rows,
            tails,
            (rows, rows),
            geometry=geometry,
            scale=0.5,
        )
        loss.backward()
        found.append((float(loss.detach()), z.grad.double()))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    assert float((found[1][1] - found[0][1]).abs().max()) < 0.03 * float(found[0][1].abs().max())


def test_a_question_whose_candidates_are_all_masked_costs_nothing():
    x, y, biases, own, scores = sample("hyperbolic")
    all_of_first = (torch.zeros(7, dtype=torch.int64), torch.arange(7))
    rows = torch.zeros(len(ROWS), dtype=torch.int64)
    scores.requires_grad_()
    loss = link_loss(x, y, biases, own.fill_(-1e30), rows, scores, all_of_first, geometry="hyperbolic", scale=1.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not bool(scores.grad.any())


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_squared_distance_agrees_and_has_a_finite_gradient_where_points_meet(geometry):
    x, y, *_ = sample(geometry)
    np.testing.assert_allclose(squared_distance(x, y[:5], geometry), np.diag(distances(x, y[:5], geometry)) ** 2)
    z = torch.randn(3, 4).requires_grad_()
    point = points_from_tangents(z, geometry)
    squared_distance(point, point.detach().clone(), geometry).sum().backward()
    assert bool(z.grad.isfinite().all())


tangents = st.lists(st.floats(-2, 2), min_size=4, max_size=4).map(lambda v: torch.tensor([v], dtype=torch.float64))
angles = st.lists(st.floats(-7, 7), min_size=2, max_size=2).map(lambda v: torch.tensor([v], dtype=torch.float64))


@given(tangents, tangents, angles)
def test_rotations_and_reflections_keep_inner_products_and_invert(a, b, angle):
    for turned in (rotated, reflected):
        assert float((turned(a, angle) * turned(b, angle)).sum()) == pytest.approx(float((a * b).sum()), abs=1e-9)
    torch.testing.assert_close(rotated(rotated(a, angle), -angle), a)
    torch.testing.assert_close(reflected(reflected(a, angle), angle), a)


@given(tangents, tangents, tangents)
def test_boosts_are_isometries_that_move_the_origin_as_said(a, b, t):
    x, y, aim = (points_from_tangents(z, "hyperbolic") for z in (a, b, t))
    lorentz = Lorentz()
    before, after = lorentz.dist(x, y), lorentz.dist(boosted(x, t), boosted(y, t))
    torch.testing.assert_close(before, after, atol=1e-6, rtol=1e-6)
    origin = points_from_tangents(torch.zeros_like(t), "hyperbolic")
    torch.testing.assert_close(boosted(origin, t), aim)
    torch.testing.assert_close(boosted(boosted(x, t), -t), x, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_queries_turn_mirror_and_move_the_head(geometry):
    """Mixing at its ends is a pure rotation or reflection; the translation takes the origin to exp₀(t)."""
    z, shift = torch.randn(2, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    relations = {
        "rotations": torch.randn(2, 2, dtype=torch.float64),
        "reflections": torch.randn(2, 2, dtype=torch.float64),
        "mixing": torch.tensor([[60.0, 60.0], [-60.0, -60.0]], dtype=torch.float64),
        "translations": torch.zeros_like(shift),
    }
    found = query_points(z, relations, geometry, torch.tensor([0, 1]))
    turned = torch.cat([rotated(z[:1], relations["rotations"][:1]), reflected(z[1:], relations["reflections"][1:])])
    torch.testing.assert_close(found, points_from_tangents(turned, geometry))
    moved = query_points(torch.zeros_like(z), relations | {"translations": shift}, geometry, torch.tensor([0, 1]))
    torch.testing.assert_close(moved, points_from_tangents(shift, geometry))


def test_the_loss_does_not_change_under_an_isometry_of_all_points():
    x, y, biases, own, scores = sample("hyperbolic")
    turn = torch.from_numpy(ortho_group.rvs(4, random_state=0))
    t = torch.randn(1, 4, dtype=torch.float64)

    def moved(points):
        return boosted(torch.cat([points[:, :1], points[:, 1:] @ turn], 1), t.expand(len(points), 4))

    losses = [
        link_loss(a, b, biases, own, ROWS, scores, MASKED, geometry="hyperbolic", scale=1.0)
        for a, b in ((x, y), (moved(x), moved(y)))
    ]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-9)


def test_points_far_out_cost_much_but_no_more_than_numbers():
    """A boost may run away; cosh² d is no float32 beyond d = 44."""
    _, y, biases, own, _ = sample("hyperbolic", dtype=torch.float32)
    z = torch.full((5, 4), 13.0).requires_grad_()
    far = points_from_tangents(z, "hyperbolic")
    scores = -0.5 * squared_distance(far, y[:5], "hyperbolic")
    rows = torch.arange(5)
    loss = link_loss(far, y, biases, own, rows, scores, NONE, geometry="hyperbolic", scale=0.5)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert bool(z.grad.isfinite().all())

"""Moments and joint bases of views: against NumPy, ``rcca`` and the flag mean of the views' sample spans."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fusion_cases import related
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.fusion import Moments, join, principal_covariances, rcca, view_basis
from hyperspectral_geo.manifolds import flag_mean, subspace_distance


def joined(views, **options):
    moments = Moments.of(views)
    bases = [view_basis(moments, v) for v in range(len(views))]
    return join(bases, principal_covariances(moments, bases), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_are_those_of_numpy_at_a_large_offset(dtype):
    x, y = (view.to(dtype) + 3000 for view in related(500, 6, 4))
    moments = Moments.of([x, y])
    table = np.cov(np.hstack([x.double().numpy(), y.double().numpy()]).T, bias=True)
    torch.testing.assert_close(moments.covariance(0, 0), torch.from_numpy(table[:6, :6]), rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(moments.covariance(1, 0), torch.from_numpy(table[6:, :6]), rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(moments.mean(1), y.double().mean(0), rtol=1e-12, atol=0)


@given(cut=st.integers(1, 59), seed=st.integers(0, 99))
def test_parts_add_up_and_come_off(cut, seed):
    views = related(60, 4, 3, seed=seed)
    whole = Moments.of(views)
    first, rest = (Moments.of([v[part] for v in views], shifts=whole.shifts) for part in (slice(cut), slice(cut, 60)))
    for u, v in ((0, 0), (0, 1), (1, 1)):
        torch.testing.assert_close((first + rest).covariance(u, v), whole.covariance(u, v))
        torch.testing.assert_close((whole - rest).covariance(u, v), first.covariance(u, v), rtol=1e-7, atol=1e-7)


def test_missing_rows_count_where_they_are():
    x, y = related(50, 5, 4)
    has_x, has_y = torch.arange(50) % 3 != 0, torch.arange(50) % 5 != 0
    moments = Moments.of([x, y], present=[has_x, has_y])
    both = has_x & has_y
    expected = np.cov(np.hstack([x[both].numpy(), y[both].numpy()]).T, bias=True)
    torch.testing.assert_close(moments.covariance(0, 1), torch.from_numpy(expected[:5, 5:]))
    own = torch.from_numpy(np.cov(x[has_x].numpy().T, bias=True))
    torch.testing.assert_close(moments.covariance(0, 0), own)
    assert (moments.count(0, 0), moments.count(0, 1)) == (int(has_x.sum()), int(both.sum()))


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.5, 20.0])
@pytest.mark.parametrize(("n", "dx", "dy"), [(60, 7, 5), (70, 12, 30)])
def test_two_views_are_canonical_correlations(n, dx, dy, ridge):
    views = related(n, dx, dy)
    ours, theirs = joined(views, ridges=(ridge, ridge)), rcca(*views, ridge=ridge)
    torch.testing.assert_close(ours.correlations, theirs.correlations, rtol=1e-8, atol=1e-8)
    for view, x in enumerate(views):
        mine, yours = ours.coordinates(view, x), (x - theirs.means[view]) @ theirs.weights[view]
        k = int((theirs.correlations > 1e-4).sum())
        torch.testing.assert_close(mine[:, :k].abs(), yours[:, :k].abs(), rtol=1e-4, atol=1e-5)


def test_an_infinite_ridge_is_partial_least_squares():
    x, y = related(80, 6, 5)
    basis = joined([x, y], ridges=(math.inf, math.inf))
    u, s, _ = np.linalg.svd((x - x.mean(0)).T.numpy() @ (y - y.mean(0)).numpy() / 80)
    ratio = basis.correlations / torch.from_numpy(s[:5])
    torch.testing.assert_close(ratio, ratio[:1].expand(5))
    directions = torch.nn.functional.normalize(basis.weights[0], dim=0)
    torch.testing.assert_close(directions.abs(), torch.from_numpy(np.abs(u[:, :5])))


def test_more_views_are_the_flag_mean_of_their_sample_spans():
    """MAXVAR: the consensus, sum of all views' coordinates, spans the flag mean of the column spans."""
    views = related(90, 6, 5, 4, noise=2.0)
    basis = joined(views, ridges=(0.0,) * 3, n_components=2)
    consensus = sum(basis.coordinates(v, x) for v, x in enumerate(views))
    spans = [torch.linalg.qr(x - x.mean(0))[0] for x in views]
    assert float(subspace_distance(torch.linalg.qr(consensus)[0], flag_mean(spans, dim=2))) < 1e-6


def test_mean_correlation_of_more_views_is_that_of_their_coordinates():
    views = related(200, 6, 5, 4)
    basis = joined(views, ridges=(0.0,) * 3, n_components=3)
    codes = [basis.coordinates(v, x) for v, x in enumerate(views)]
    total = sum((a * b).mean(0) for i, a in enumerate(codes) for b in codes[i + 1 :]) / 3
    torch.testing.assert_close(total, basis.correlations, rtol=1e-8, atol=1e-8)


def test_importance_draws_the_consensus_to_a_view():
    views = related(100, 5, 5, 5, noise=1.5)
    plain = joined(views, ridges=(0.1,) * 3, n_components=1)
    drawn = joined(views, ridges=(0.1,) * 3, n_components=1, importance=(2.8, 0.1, 0.1))
    assert drawn.weights[0].shape == plain.weights[0].shape
    assert not torch.allclose(drawn.weights[0].abs(), plain.weights[0].abs(), rtol=1e-3)


def test_constant_features_and_views():
    x, y = related(30, 4, 3)
    x[:, 1] = 7.0
    basis = joined([x, y], ridges=(0.1, 0.1))
    assert basis.weights[0][1].abs().max() < 1e-9 * basis.weights[0].abs().max()
    with pytest.raises(ValueError, match="view 1: expected features that vary, got 3 constant ones"):
        view_basis(Moments.of([x, torch.full_like(y, 2.5)]), 1)

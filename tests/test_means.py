"""Fréchet mean, flag mean and geometric median: one contract over the table of means, then what each one promises."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from cases import DTYPES, MEANS, MeanCase, cluster, frames, given_share, projector, randn, rotation
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.linalg import orthonormalize, polar
from hyperspectral_geo.manifolds import (
    MeanReport,
    flag_mean,
    frechet_mean,
    geometric_median,
    grassmann_exp,
    grassmann_log,
    principal_angles,
    subspace_distance,
)

every = pytest.mark.parametrize("case", MEANS.values(), ids=MEANS)
iterative = pytest.mark.parametrize(
    "case", [c for c in MEANS.values() if c.iterative], ids=[n for n, c in MEANS.items() if c.iterative]
)
seeds = st.integers(0, 10_000)


def gap(x: Tensor, y: Tensor) -> float:
    return (projector(x) - projector(y)).abs().max().item()


def cost(case: MeanCase, mean: Tensor, points: Tensor, weights: Tensor) -> Tensor:
    return case.cost(principal_angles(points, mean.unsqueeze(-3)), weights / weights.sum(-1, keepdim=True))


def positive(k: int, seed: int) -> Tensor:
    """Weights in which no point comes near half of the total: a median crawls beside a point that almost holds it."""
    return 1 + randn(k, seed=seed).sigmoid()


# The contract


@every
@given_share(0.3, seed=seeds)
def test_the_order_of_points_does_not_matter(case, seed):
    points, weights = cluster(8, 7, 2, seed=seed), positive(8, seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    assert gap(case.mean(points[order], weights[order]), case.mean(points, weights)) <= 1e-12


@every
@given_share(0.3, seed=seeds)
def test_whole_weights_are_repetitions(case, seed):
    points, counts = cluster(6, 7, 2, seed=seed), [1.0, 2.0, 2.0, 1.0, 1.0, 2.0]
    repeated = points.repeat_interleave(torch.tensor(counts).long(), dim=0)
    assert gap(case.mean(points, counts), case.mean(repeated)) <= 1e-12


@every
@given_share(0.3, seed=seeds, factor=st.floats(1e-6, 1e6))
def test_only_the_ratio_of_weights_matters(case, seed, factor):
    points, weights = cluster(8, 7, 2, seed=seed), positive(8, seed)
    assert gap(case.mean(points, factor * weights), case.mean(points, weights)) <= 1e-12


@every
@given_share(0.3, seed=seeds)
def test_a_point_without_weight_is_as_if_absent(case, seed):
    points, weights = cluster(8, 7, 2, seed=seed), positive(8, seed)
    weights[3] = 0
    kept = [0, 1, 2, 4, 5, 6, 7]
    assert gap(case.mean(points, weights), case.mean(points[kept], weights[kept])) <= 1e-12


@every
@given_share(0.3, seed=seeds)
def test_bases_do_not_matter(case, seed):
    points, weights = cluster(8, 7, 3, seed=seed), positive(8, seed)
    turned = points @ torch.stack([rotation(3, seed + i) for i in range(8)])
    assert gap(case.mean(turned, weights), case.mean(points, weights)) <= 1e-12


@every
@given_share(0.3, seed=seeds)
def test_the_mean_turns_with_the_space(case, seed):
    points, weights = cluster(8, 7, 2, seed=seed), positive(8, seed)
    q = rotation(7, seed + 5)
    assert gap(case.mean(q @ points, weights), q @ case.mean(points, weights)) <= 1e-12


@every
@given_share(0.3, seed=seeds, spread=st.floats(1e-6, 0.7))
def test_no_nearby_subspace_costs_less(case, seed, spread):
    points, weights = cluster(8, 7, 2, seed=seed, spread=spread), positive(8, seed)
    mean = case.mean(points, weights)
    least = cost(case, mean, points, weights)
    for i in range(4):
        u = randn(7, 2, seed=seed + 50 + i)
        u = u - mean @ (mean.mT @ u)
        for step in (0.3, 0.01):
            other = grassmann_exp(mean, u / torch.linalg.matrix_norm(u) * step * spread)
            assert cost(case, other, points, weights) >= least * (1 - 1e-9)


@every
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_a_batch_is_a_loop(case, batch, dtype):
    points = cluster(8, 7, 2, seed=1, batch=batch, dtype=dtype)
    weights = (1 + randn(*batch, 8, seed=2).sigmoid()).to(dtype)
    mean = case.mean(points, weights)
    assert mean.shape == (*batch, 7, 2)
    assert mean.dtype == dtype
    eps = torch.finfo(dtype).eps
    for i in np.ndindex(*batch):
        assert gap(mean[i], case.mean(points[i], weights[i])) <= 500 * eps
    shared = case.mean(points, weights[(0,) * len(batch)])
    assert gap(shared[(0,) * len(batch)], mean[(0,) * len(batch)]) <= 500 * eps


@every
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 5, 2), (7, 4, 1), (3, 3, 3), (6, 40, 5), (2, 5, 4)])
def test_the_mean_is_orthonormal_for_every_shape(case, shape, dtype):
    points = cluster(*shape, seed=1, dtype=dtype)
    mean = case.mean(points)
    p = shape[-1]
    error = torch.linalg.matrix_norm(mean.mT @ mean - torch.eye(p, dtype=dtype))
    assert error <= (2e-6 if dtype == torch.float32 else 1e-13) * p**0.5
    if shape[0] == 1:
        assert gap(mean, points[0]) <= 50 * torch.finfo(dtype).eps


@every
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given_share(0.3, seed=seeds)
def test_the_mean_of_two_is_the_midpoint(case, dtype, seed):
    points = cluster(2, 7, 2, seed=seed, spread=0.5, dtype=dtype)
    mean = case.mean(points)
    x, y = points
    if case.name == "median":  # every point of the geodesic between two is one
        total = subspace_distance(x, mean) + subspace_distance(mean, y)
        assert total.item() == pytest.approx(subspace_distance(x, y).item(), rel=100 * torch.finfo(dtype).eps)
    else:
        middle = grassmann_exp(x, grassmann_log(x, y) / 2)
        assert gap(mean, middle) <= 100 * torch.finfo(dtype).eps


@every
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_mean_of_one_point_many_times_is_that_point(case, dtype):
    x = frames(8, 3, seed=1, dtype=dtype)
    points = (x @ torch.stack([rotation(3, i, dtype) for i in range(6)])).requires_grad_()
    mean = case.mean(points)
    assert gap(mean.detach(), x) <= 50 * torch.finfo(dtype).eps
    mean.square().mul(torch.arange(3.0, dtype=dtype)).sum().backward()
    assert torch.isfinite(points.grad).all()


@every
@pytest.mark.parametrize("batch", [(0,), (2, 0)])
def test_an_empty_batch_has_an_empty_mean(case, batch):
    points = torch.zeros(*batch, 3, 6, 2)
    assert case.mean(points).shape == (*batch, 6, 2)
    assert case.mean(points, torch.ones(*batch, 3)).shape == (*batch, 6, 2)


@every
def test_inputs_are_left_alone(case):
    points, weights = cluster(4, 7, 2, seed=1), positive(4, 2)
    kept, before = points.clone(), weights.clone()
    case.mean(points, weights)
    assert torch.equal(points, kept)
    assert torch.equal(weights, before)


@every
def test_huge_weights_do_not_overflow(case):
    points = cluster(3, 6, 2, seed=1, dtype=torch.float32)
    assert gap(case.mean(points, [3e38, 3e38, 3e38]), case.mean(points)) <= 1e-5


# Gradients


def through(case: MeanCase):
    def function(a: Tensor, w: Tensor) -> Tensor:
        return projector(case.mean(polar(a), w, **({"tolerance": 1e-11} if case.iterative else {})))

    return function


@every
@pytest.mark.parametrize("shape", [(6, 4, 2), (8, 5, 1), (2, 6, 4, 2)])
def test_gradients_in_points_and_weights(case, shape):
    *batch, k, n, p = shape
    points = cluster(k, n, p, seed=3, batch=tuple(batch)).requires_grad_()
    weights = (1 + randn(*batch, k, seed=4).sigmoid()).requires_grad_()
    assert torch.autograd.gradcheck(through(case), (points, weights), eps=1e-5, atol=1e-5, fast_mode=True)


@every
def test_gradients_at_tied_angles(case):
    """Points in a symmetric arrangement: all angles to the mean are equal."""
    x = frames(6, 2, seed=1)
    u = rotation(6, 2)[:, :2]
    u = orthonormalize(u - x @ (x.mT @ u))
    points = torch.stack([grassmann_exp(x, t * u) for t in (0.4, -0.4, 0.1)]).requires_grad_()
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    if case.name == "median":  # on a geodesic it is a data point: see below
        return
    assert torch.autograd.gradcheck(through(case), (points, weights), eps=1e-5, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_median_at_a_data_point_moves_with_it(dtype):
    points = cluster(5, 6, 2, seed=1, spread=0.3, dtype=dtype).requires_grad_()
    weights = torch.tensor([9.0, 1, 1, 1, 1], dtype=dtype, requires_grad=True)
    median = geometric_median(points, weights)
    assert gap(median.detach(), points[0].detach()) <= 50 * torch.finfo(dtype).eps
    direction = randn(6, 6, seed=2, dtype=dtype)
    (projector(median) * direction).sum().backward()
    alone = points[0].detach().clone().requires_grad_()
    (projector(alone) * direction).sum().backward()
    horizontal = alone.grad - alone.detach() @ (alone.detach().mT @ alone.grad)
    torch.testing.assert_close(points.grad[0], horizontal, rtol=0, atol=100 * torch.finfo(dtype).eps)
    assert (points.grad[1:] == 0).all()
    assert (weights.grad == 0).all()


@iterative
def test_float32_gradients_agree_with_float64(case):
    grads = []
    for dtype in DTYPES:
        points = cluster(5, 8, 2, seed=3, dtype=dtype).requires_grad_()
        mean = case.mean(points)
        (projector(mean) * randn(8, 8, seed=4, dtype=dtype)).sum().backward()
        grads.append(points.grad.double())
    torch.testing.assert_close(*grads, rtol=0, atol=1e-4)


# Iterations and reports


def in_the_tangent_space(case: MeanCase, points: Tensor) -> Tensor:
    """The mean of points that are close to each other, computed as if the manifold were flat."""
    base = points[0]
    logs = grassmann_log(base, points)
    mean = logs.mean(0)
    for _ in range(2000 if case.name == "median" else 0):
        w = 1 / torch.linalg.matrix_norm(logs - mean).clamp_min(1e-300)
        mean = (w[:, None, None] * logs).sum(0) / w.sum()
    return grassmann_exp(base, mean)


@iterative
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("spread", [1e-9, 1e-6, 1e-4, 1e-2, 0.2, 0.7])
def test_converges_at_any_spread(case, spread, dtype):
    """The stopping rule scales with the dtype, and the median measures distances below the root of eps."""
    points = cluster(9, 20, 3, seed=2, spread=spread, dtype=dtype)
    mean, report = case.mean(points, return_report=True)
    assert report.converged.all()
    assert report.iterations < 200
    eps = torch.finfo(dtype).eps
    if 1e3 * eps < spread <= 1e-2:
        exact, uniform = orthonormalize(points.double()), torch.ones(9, dtype=torch.float64)
        least = cost(case, in_the_tangent_space(case, exact), exact, uniform)
        found = cost(case, orthonormalize(mean.double()), exact, uniform)
        assert found <= least * (1 + 1e-9 + spread**2 + 100 * (eps / spread))
    if dtype == torch.float64:
        assert report.gradient_norm.max() <= 30 * report.tolerance


@iterative
def test_the_riemannian_gradient_is_zero(case):
    points, weights = cluster(6, 9, 3, seed=4), positive(6, 4)
    mean = case.mean(points, weights)
    logs = grassmann_log(mean, points)
    w = weights / weights.sum()
    if case.name == "median":
        w = w / torch.linalg.matrix_norm(logs)
    assert torch.linalg.matrix_norm((w[:, None, None] * logs).sum(0)) <= 1e-12


@iterative
def test_report_tells_each_item_of_the_batch(case):
    points = cluster(5, 6, 2, seed=1, batch=(2, 3))
    mean, report = case.mean(points, return_report=True)
    assert isinstance(report, MeanReport)
    assert mean.shape == (2, 3, 6, 2)
    assert report.gradient_norm.shape == report.converged.shape == (2, 3)
    assert report.converged.dtype == torch.bool
    assert report.iterations >= 1
    assert 0 < report.tolerance < 1e-13
    with pytest.raises(AttributeError):
        report.iterations = 0


@iterative
def test_too_few_iterations_warn(case):
    points = cluster(5, 6, 2, seed=1, spread=0.7)
    with pytest.warns(RuntimeWarning, match=r"1 of 1 means did not converge in 1 iterations.*max_iterations"):
        _, report = case.mean(points, max_iterations=1, return_report=True)
    assert not report.converged.any()
    assert report.iterations == 1


@iterative
@pytest.mark.filterwarnings("error")
def test_a_loose_tolerance_stops_earlier(case):
    points = cluster(5, 6, 2, seed=1, spread=0.7)
    _, loose = case.mean(points, tolerance=1e-3, return_report=True)
    _, tight = case.mean(points, return_report=True)
    assert loose.iterations < tight.iterations
    assert loose.tolerance == 1e-3
    assert loose.gradient_norm <= 1e-3


def test_frechet_mean_agrees_with_a_general_optimiser():
    points, weights = cluster(4, 4, 1, seed=6, spread=0.7), positive(4, 6)
    lines = points[..., 0].numpy()

    def total(v: np.ndarray) -> float:
        t = np.arccos(np.clip(np.abs(lines @ v) / np.linalg.norm(v), 0, 1))
        return float((weights.numpy() * t**2).sum())

    best = scipy.optimize.minimize(total, lines[0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-15})
    v = torch.from_numpy(best.x / np.linalg.norm(best.x))[:, None]
    assert gap(frechet_mean(points, weights), v) <= 1e-6


# The median


@given_share(0.3, seed=seeds)
def test_the_median_withstands_outliers_below_half(seed):
    """Inliers that all are one point keep the median there as long as they hold half of the weight."""
    inlier = frames(8, 2, seed=seed)
    points = torch.cat([inlier.expand(5, 8, 2), frames(4, 8, 2, seed=seed + 1)])
    assert gap(geometric_median(points), inlier) <= 1e-12


@pytest.mark.parametrize("outliers", [1, 3, 4])
def test_the_median_moves_little_where_the_mean_moves_much(outliers):
    inliers = cluster(6, 10, 2, seed=1, spread=0.1)
    centre = frechet_mean(inliers)
    far = frames(10, 2, seed=77).expand(outliers, 10, 2)
    everything = torch.cat([inliers, far])
    by_median = subspace_distance(geometric_median(everything), centre)
    by_mean = subspace_distance(frechet_mean(everything), centre)
    assert by_median < 0.1
    assert by_mean > 1.5 * by_median


def test_a_data_point_with_half_of_the_weight_is_the_median():
    points = cluster(5, 7, 2, seed=3)
    median, report = geometric_median(points, [4.0, 1.0, 1.0, 1.0, 1.0], return_report=True)
    assert gap(median, points[0]) <= 1e-14
    assert report.converged
    assert report.iterations <= 8


def test_three_points_on_a_geodesic_have_the_middle_one_as_median():
    x = frames(6, 2, seed=1)
    u = randn(6, 2, seed=2)
    u = 0.2 * (u - x @ (x.mT @ u))
    points = torch.stack([x, grassmann_exp(x, u), grassmann_exp(x, 0.3 * u)])
    assert gap(geometric_median(points), points[2]) <= 1e-13


# The flag mean


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 2, 3), (4, 1), (3, 3, 3, 3), (5, 5)])
@pytest.mark.parametrize("dim", [1, 2, 3, None])
@pytest.mark.parametrize("n", [5, 12])
def test_flag_mean_is_the_leading_eigenspace(sizes, dim, n):
    points = [frames(n, p, seed=i) for i, p in enumerate(sizes)]
    weights = positive(len(sizes), 9)
    mean = flag_mean(points, weights, dim=dim)
    total = sum(w * projector(x) for w, x in zip(weights / weights.sum(), points, strict=True))
    values, vectors = np.linalg.eigh(total.numpy())
    d = dim or min(sizes)
    assert mean.shape == (n, d)
    if d < n and values[-d] - values[-d - 1] > 1e-6:
        assert gap(mean, torch.from_numpy(vectors[:, -d:].copy())) <= 1e-12
    along = (mean * (total @ mean)).sum(0)
    np.testing.assert_allclose(along, values[::-1][:d], rtol=0, atol=1e-13)


def test_flag_means_are_nested():
    points = [frames(9, p, seed=p) for p in (1, 2, 3, 4)]
    largest = flag_mean(points, dim=6)
    for d in range(1, 6):
        assert gap(flag_mean(points, dim=d), largest[:, :d]) <= 1e-12


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_flag_mean_beyond_the_rank_is_still_orthonormal(dtype):
    x = frames(8, 2, seed=1, dtype=dtype)
    mean = flag_mean([x, x @ rotation(2, 3, dtype)], dim=4)
    assert torch.linalg.matrix_norm(mean.mT @ mean - torch.eye(4, dtype=dtype)) <= 100 * torch.finfo(dtype).eps
    assert gap(mean[:, :2], x) <= 50 * torch.finfo(dtype).eps


def test_flag_mean_of_mixed_dimensions_has_gradients_and_batches():
    a, b = randn(2, 6, 2, seed=1).requires_grad_(), randn(2, 6, 3, seed=2).requires_grad_()
    w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)

    def function(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return projector(flag_mean([polar(a), polar(b)], w, dim=2))

    assert torch.autograd.gradcheck(function, (a, b, w), atol=1e-5)


def test_flag_mean_at_a_tie_across_the_cut_has_finite_gradients():
    e = torch.eye(4, dtype=torch.float64)
    points = torch.stack([e[:, :1], e[:, 1:2]]).requires_grad_()
    projector(flag_mean(points, dim=1)).sum().backward()
    assert torch.isfinite(points.grad).all()


def test_flag_and_frechet_means_of_a_tight_cluster_agree():
    points = cluster(6, 10, 3, seed=2, spread=1e-3)
    assert subspace_distance(flag_mean(points), frechet_mean(points)) <= 1e-8

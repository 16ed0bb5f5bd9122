"""Means of subspaces: Fréchet (Karcher) mean, flag mean, geometric median; weighted, batched, differentiable."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.fixed_point import implicit_gradient
from hyperspectral_geo.linalg import core_dtype
from hyperspectral_geo.manifolds.geodesics import arc_ratio, grassmann_exp, grassmann_log
from hyperspectral_geo.validation import require_frames, require_orthonormal, resolve_weights, spread_weights

__all__ = ["MeanReport", "frechet_mean", "geometric_median"]


@dataclass(frozen=True)
class MeanReport:
    """How an iterative mean ended.

    ``gradient_norm`` is the length of the next step in radians, per batch item: the Riemannian gradient's norm, for the
    median over Σ w_i/d_i. ``converged`` items reached ``tolerance``, or stalled at the rounding of their dtype.
    """

    iterations: int
    gradient_norm: Float[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]
    tolerance: float


def frechet_mean(
    points: Float[Tensor, "*batch k n p"],
    weights: Float[Tensor, "*#batch k"] | Sequence[float] | None = None,
    *,
    tolerance: float | None = None,
    max_iterations: int = 500,
    return_report: bool = False,
) -> Float[Tensor, "*batch n p"] | tuple[Float[Tensor, "*batch n p"], MeanReport]:
    """Fréchet (Karcher) mean on the Grassmannian: argmin over M of ½ Σ w_i dist(M, X_i)².

    Iterates M ← exp_M(Σ w_i log_M(X_i)). The Hessian of ½dist² is at most 1 on a manifold of non-negative curvature, so
    the unit step never overshoots. One iteration is two matrix products over all points at once and k p×p SVDs.

    Args:
        points: orthonormal bases (…, k, n, p), k ≥ 1.
        weights: k numbers ≥ 0, or (…, k) of them, rescaled to sum to one; equal by default.
        tolerance: gradient norm ‖Σ w_i log_M(X_i)‖ at which to stop; 4·eps·√(n p) by default.
        max_iterations: a ``RuntimeWarning`` is given where they did not suffice.
        return_report: also return a ``MeanReport``.

    Returns:
        Basis of the mean (…, n, p); the global minimiser if all points lie in a ball of radius π/4, else the local one
        reached from the heaviest point. Differentiable (once) in points and weights by the implicit function theorem,
        with gradients in horizontal directions.

    Raises:
        ValueError: for wrong shapes or dtypes, k = 0, bad weights, or bases that are not orthonormal.

    References:
        H. Karcher, Comm. Pure Appl. Math. 30 (1977). B. Afsari, *Riemannian L^p center of mass*, Proc. AMS 139 (2011).

    Example:
        >>> angles = torch.tensor([0.1, 0.3], dtype=torch.float64)
        >>> lines = torch.stack([angles.cos(), angles.sin()], -1)[..., None]
        >>> mean = frechet_mean(lines)
        >>> f"{torch.atan(mean[1] / mean[0]).item():.12f}"
        '0.200000000000'
    """
    return _mean(points, weights, _FrechetMean, tolerance, max_iterations, return_report)


def geometric_median(
    points: Float[Tensor, "*batch k n p"],
    weights: Float[Tensor, "*#batch k"] | Sequence[float] | None = None,
    *,
    tolerance: float | None = None,
    max_iterations: int = 1000,
    return_report: bool = False,
) -> Float[Tensor, "*batch n p"] | tuple[Float[Tensor, "*batch n p"], MeanReport]:
    """Geometric median on the Grassmannian: argmin over M of Σ w_i dist(M, X_i).

    Weiszfeld's iteration in the tangent space, with Vardi and Zhang's rule at a data point: X_j is the median as soon
    as the others pull on it with no more than w_j. Up to half of the weight may be outliers.

    Arguments, errors and gradients as ``frechet_mean``. Where the median is a data point it moves with that point
    alone, and so does its gradient.

    References:
        P. T. Fletcher, S. Venkatasubramanian, S. Joshi, *The geometric median on Riemannian manifolds with application
        to robust atlas estimation*, NeuroImage 45 (2009). Y. Vardi, C.-H. Zhang, PNAS 97 (2000).

    Example:
        >>> angles = torch.tensor([0.1, 0.2, 1.4], dtype=torch.float64)
        >>> lines = torch.stack([angles.cos(), angles.sin()], -1)[..., None]
        >>> median = geometric_median(lines)
        >>> f"{torch.atan(median[1] / median[0]).item():.12f}"
        '0.200000000000'
    """
    return _mean(points, weights, _GeometricMedian, tolerance, max_iterations, return_report)


def _mean(points, weights, function, tolerance, max_iterations, return_report):
    require_point_set(points)
    if tolerance is None:
        tolerance = _rounding(points)
    if not tolerance > 0:
        raise ValueError(f"tolerance: expected a positive number, got {tolerance}")
    w = spread_weights(resolve_weights(weights, points.shape[-3], like=points), points.shape[:-3])
    reports: list[MeanReport] = []
    mean = function.apply(points, w, tolerance, max_iterations, reports)
    report = reports[0]
    if not bool(report.converged.all()):
        warnings.warn(
            f"{int((~report.converged).sum())} of {report.converged.numel()} means did not converge in "
            f"{report.iterations} iterations (gradient {report.gradient_norm.max().item():.3g}, asked for "
            f"{tolerance:.3g}); raise max_iterations or tolerance, or take flag_mean if points are nearly orthogonal",
            RuntimeWarning,
            stacklevel=3,
        )
    return (mean, report) if return_report else mean


def require_point_set(points: Tensor) -> None:
    """Raise ``ValueError`` unless ``points`` is (…, k, n, p) with k ≥ 1 orthonormal bases."""
    require_frames("points", points)
    if points.ndim < 3 or points.shape[-3] == 0:
        raise ValueError(f"points: expected shape (..., k, n, p) with k >= 1 bases, got {tuple(points.shape)}")
    require_orthonormal("points", points)


class _PointSet:
    """All points side by side, (…, n, k·p), so that one product serves every logarithm at once."""

    def __init__(self, points: Tensor) -> None:
        *batch, k, n, p = points.shape
        self.points, self.shape = points, (k, p)
        self.rounding = _rounding(points)
        self.beside = points.movedim(-3, -2).reshape(*batch, n, k * p)

    def pull(self, base: Tensor, weigh: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Σ w_i log_base(X_i) and the distances (…, k), the weights being ``weigh(distances)``."""
        k, p = self.shape
        product = (self.beside.mT @ base).unflatten(-2, (k, p))
        left, s, right_t = torch.linalg.svd(product.to(core_dtype(base)))
        distances = torch.linalg.vector_norm(torch.acos(s.clamp(max=1)), dim=-1)
        factor = arc_ratio(s) * weigh(distances).unsqueeze(-1)
        towards = ((left * factor.unsqueeze(-2)) @ right_t).flatten(-3, -2)
        away = (right_t.mT @ ((factor * s).unsqueeze(-1) * right_t)).sum(-3)
        pull = self.beside @ towards.to(base.dtype) - base @ away.to(base.dtype)
        return pull - base @ (base.mT @ pull), distances

    def logs(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Each log_base(X_i) (…, k, n, p) and its length (…, k): the cosines of ``pull`` lose lengths below √eps."""
        logs = _horizontal(base.unsqueeze(-3), grassmann_log(base.unsqueeze(-3), self.points))
        return logs, torch.linalg.vector_norm(logs, dim=(-2, -1))

    def at(self, index: Tensor) -> Tensor:
        """The points (…, n, p) numbered by ``index`` (…)."""
        return torch.take_along_dim(self.points, index[..., None, None, None], dim=-3).squeeze(-3)


def _rounding(points: Tensor) -> float:
    """Norm of a gradient that is rounding only: it grows with the number of entries that are summed."""
    return 4 * torch.finfo(points.dtype).eps * (points.shape[-1] * points.shape[-2]) ** 0.5


def _iterate(start: Tensor, advance, *, tolerance: float, rounding: float, max_iterations: int):
    """Repeat ``advance(mean, iteration) -> (mean, step)`` until the step is below the tolerance or stalls."""
    mean, iteration = start, 0
    best = start.new_full(start.shape[:-2], torch.inf)
    since = torch.zeros_like(best, dtype=torch.int64)
    while True:
        mean, step = advance(mean, iteration)
        norm = torch.linalg.vector_norm(step, dim=(-2, -1))
        since = torch.where(norm < 0.99 * best, 0, since + 1)
        best = torch.minimum(best, norm)
        converged = (norm <= tolerance) | ((norm <= 30 * rounding) & (since >= 4))
        if bool(converged.all()) or iteration >= max_iterations:
            return mean, MeanReport(iteration, norm, converged, tolerance)
        mean = torch.where(converged[..., None, None], mean, grassmann_exp(mean, step))
        iteration += 1


class _FrechetMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points: Tensor, weights: Tensor, tolerance: float, max_iterations: int, reports: list):
        cloud = _PointSet(points)

        def advance(mean: Tensor, iteration: int) -> tuple[Tensor, Tensor]:
            return mean, cloud.pull(mean, lambda distances: weights)[0]

        limits = {"tolerance": tolerance, "rounding": cloud.rounding, "max_iterations": max_iterations}
        mean, report = _iterate(cloud.at(weights.argmax(-1)), advance, **limits)
        reports.append(report)
        ctx.save_for_backward(points, weights, mean)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        points, weights, mean = ctx.saved_tensors
        return *_implicit(points, weights, mean, grad, lambda weights, distances: weights), None, None, None


class _GeometricMedian(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points: Tensor, weights: Tensor, tolerance: float, max_iterations: int, reports: list):
        cloud = _PointSet(points)

        def advance(mean: Tensor, iteration: int) -> tuple[Tensor, Tensor]:
            if iteration % 4 == 0:  # near a data point the iteration crawls, so ask whether that point is the median
                nearest = cloud.logs(mean)[1].argmin(-1)
                point = cloud.at(nearest)
                settled = torch.linalg.vector_norm(_weiszfeld_step(cloud, weights, point), dim=(-2, -1)) == 0
                mean = torch.where(settled[..., None, None], point, mean)
            return mean, _weiszfeld_step(cloud, weights, mean)

        start = cloud.at(weights.argmax(-1))
        start = grassmann_exp(start, cloud.pull(start, lambda distances: weights)[0])
        limits = {"tolerance": tolerance, "rounding": cloud.rounding, "max_iterations": max_iterations}
        mean, report = _iterate(start, advance, **limits)
        reports.append(report)
        ctx.save_for_backward(points, weights, mean)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        points, weights, mean = ctx.saved_tensors
        touching = _touching(points)
        on_points, on_weights = _implicit(points, weights, mean, grad, lambda w, d: _pull_weights(w, d, touching))
        # a median that is a data point X_j moves with it, M = X_j (X_jᵀ M), and with nothing else
        product = points.mT @ mean.unsqueeze(-3)
        here = _PointSet(points).logs(mean)[1] <= touching
        held = here.any(-1)
        carried = (
            _horizontal(points, grad.unsqueeze(-3) @ product.mT)
            * (here / here.sum(-1, keepdim=True).clamp_min(1))[..., None, None]
        )
        on_points = torch.where(held[..., None, None, None], carried, on_points)
        return on_points, torch.where(held.unsqueeze(-1), 0, on_weights), None, None, None


def _touching(points: Tensor) -> float:
    """Distance below which two points are one: that of two bases of one span."""
    return 4 * _rounding(points)


def _pull_weights(weights: Tensor, distances: Tensor, touching: float) -> Tensor:
    """w_i/d_i, and 0 for points that touch the base."""
    apart = distances > touching
    return torch.where(apart, weights, 0) / torch.where(apart, distances, 1)


def _weiszfeld_step(cloud: _PointSet, weights: Tensor, base: Tensor) -> Tensor:
    """Mean of the logarithms by weight w_i/d_i, shortened by the weight that holds on to the base (Vardi and Zhang)."""
    touching = _touching(cloud.points)
    logs, distances = cloud.logs(base)
    pulling = _pull_weights(weights, distances, touching)
    pull = (pulling[..., None, None] * logs).sum(-3)
    force = torch.linalg.vector_norm(pull, dim=(-2, -1))
    holding = torch.where(distances <= touching, weights, 0).sum(-1)
    total = pulling.sum(-1)
    scale = (1 - holding / force.clamp_min(torch.finfo(base.dtype).tiny)).clamp_min(0)
    scale = torch.where(total > 0, scale / torch.where(total > 0, total, 1), 0)
    return pull * scale.to(pull.dtype)[..., None, None]


def _implicit(points: Tensor, weights: Tensor, mean: Tensor, grad: Tensor, weigh) -> tuple[Tensor, Tensor]:
    """Gradients by points and weights through M = exp_M(Σ ω_i log_M(X_i) / Σ ω_i), ω = weigh(w, d)."""

    def step(mean: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        logs = grassmann_log(mean.unsqueeze(-3), points)
        pull = weigh(weights, torch.linalg.vector_norm(logs, dim=(-2, -1)))
        pull = pull / pull.sum(-1, keepdim=True).clamp_min(torch.finfo(pull.dtype).tiny)
        return grassmann_exp(mean, (pull[..., None, None] * logs).sum(-3))

    on_points, on_weights = implicit_gradient(
        step,
        mean,
        (points, weights),
        grad,
        project=lambda v: _horizontal(mean, v),
        tolerance=16 * torch.finfo(points.dtype).eps,
    )
    assert on_points is not None
    assert on_weights is not None
    return _horizontal(points, on_points), on_weights


def _horizontal(base: Tensor, direction: Tensor) -> Tensor:
    return direction - base @ (base.mT @ direction)

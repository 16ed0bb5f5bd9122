"""The joint basis of several views: the common directions of their whitened subspaces, with a spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.moments import Moments

__all__ = ["JointBasis", "ViewBasis", "common_directions", "join", "principal_covariances", "view_basis"]

_TINY = 1e-7  # of the largest singular value: below, directions of a Gram matrix are rounding


@dataclass(frozen=True)
class ViewBasis:
    """Principal directions of one view: covariance = directions · diag(variances) · directionsᵀ.

    Attributes:
        mean: (d,).
        directions: orthonormal columns, (d, r), of the variances above rounding, the largest first.
        variances: (r,).
        spread: mean variance over the directions that the samples could span: the unit of ridges.
    """

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d r"]
    variances: Float[Tensor, " r"]
    spread: float

    def whitening(self, ridge: float) -> Float[Tensor, " r"]:
        """(s + λ)^(−½) with λ = ridge · spread; ridge ∞ leaves the directions as they are, in units of the spread."""
        if math.isinf(ridge):
            return torch.full_like(self.variances, self.spread**-0.5)
        return (self.variances + ridge * self.spread).rsqrt()


def view_basis(moments: Moments, view: int, *, among: str = "") -> ViewBasis:
    """Eigenvectors and eigenvalues of a view's covariance, without those that are rounding.

    ``among`` is for the message: which rows the moments are of, if not all.

    Raises:
        ValueError: if the view does not vary.
    """
    covariance = moments.covariance(view, view)
    if not bool(torch.isfinite(covariance).all()):
        raise ValueError(
            f"view {view}: expected features whose squares are finite numbers, got larger ones; rescale them"
        )
    variances, directions = torch.linalg.eigh(covariance)
    eps = torch.finfo(covariance.dtype).eps
    # sums are of samples less their shift, so that an offset costs only what the samples themselves have lost
    offset = moments.mean(view)
    size = covariance.diagonal().abs() + (offset - moments.shifts[view]).square()
    noise = max(len(covariance) * eps * float(size.max()), float((eps * offset).square().sum()))
    kept = variances > max(noise, len(covariance) * eps * float(variances[-1]))
    if not bool(kept.any()):
        raise ValueError(
            f"view {view}: expected features that vary{among}, got {len(covariance)} constant ones; check how they "
            "were made"
        )
    possible = max(1, min(moments.count(view, view) - 1, len(covariance)))
    return ViewBasis(
        mean=moments.mean(view),
        directions=directions[:, kept].flip(1),
        variances=variances[kept].flip(0),
        spread=float(variances.clamp_min(0).sum()) / possible,
    )


@dataclass(frozen=True)
class JointBasis:
    """Means and weights that carry each view to common coordinates, z_v = (x_v − means[v])·weights[v].

    Attributes:
        means: one vector a view, (d_v,).
        weights: (d_v, k) each.
        correlations: ρ, (k,), descending: mean (regularised) correlation of a coordinate between two views. Of two
            views they are the cosines of the principal angles between the spans of their samples.
    """

    means: tuple[Float[Tensor, " _"], ...]
    weights: tuple[Float[Tensor, "_ k"], ...]
    correlations: Float[Tensor, " k"]

    def coordinates(self, view: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """z of samples of one view, in the dtype of the basis."""
        mean, weight = self.means[view], self.weights[view]
        return (x.to(weight.dtype) - mean) @ weight


def principal_covariances(moments: Moments, bases: Sequence[ViewBasis]) -> dict[tuple[int, int], Tensor]:
    """B_uᵀ C_uv B_v of views u < v: what every choice of ridges shares."""
    return {
        (u, v): bases[u].directions.T @ moments.covariance(u, v) @ bases[v].directions
        for u, v in combinations(range(len(bases)), 2)
    }


def join(
    bases: Sequence[ViewBasis],
    covariances: Mapping[tuple[int, int], Tensor],
    *,
    ridges: Sequence[float],
    n_components: int | None = None,
    importance: Sequence[float] | None = None,
) -> JointBasis:
    """Common directions of V views: the leading eigenvectors of the whitened covariances between views.

    With B_v and s_v the principal directions and variances of view v, and A_v = B_v diag((s_v + λ_v)^(−½)),

        W_uv = √(w_u w_v) · A_uᵀ C_uv A_v (u ≠ v),  W_vv = 0,   W P = P diag(μ),   weights_v = √V · A_v P_v.

    Of two views that is regularised CCA (the singular vectors of W_12), and at ridge ∞ partial least squares. Of more
    views, without ridge, it is MAXVAR: the eigenvectors of W + I, whose blocks span the weighted flag mean of the
    views' sample spans; the diagonal is left out since with a ridge it would reward directions that only one view has.

    Args:
        bases: of each view, from ``view_basis``.
        covariances: between them, from ``principal_covariances``.
        ridges: λ_v in units of the view's mean variance, ≥ 0, or ∞.
        n_components: k; fewer where the rank is smaller. ``None`` keeps all.
        importance: w_v > 0, of mean 1; alike if left out.

    Returns:
        A ``JointBasis`` in float64.

    References:
        Hotelling 1936; Björck and Golub 1973; Kettenring, "Canonical analysis of several sets of variables", 1971;
        Draper, Kirby, Marks, Marrinan and Peterson, "A flag representation for finite collections of subspaces", 2014.
    """
    maps, values = common_directions(bases, covariances, ridges, n_components, importance)
    weights = tuple(basis.directions @ part for basis, part in zip(bases, maps, strict=True))
    return JointBasis(tuple(basis.mean for basis in bases), weights, values)


def common_directions(
    bases: Sequence[ViewBasis],
    covariances: Mapping[tuple[int, int], Tensor],
    ridges: Sequence[float],
    n_components: int | None,
    importance: Sequence[float] | None = None,
    *,
    exact: bool = True,
) -> tuple[list[Float[Tensor, "_ k"]], Float[Tensor, " k"]]:
    """Maps from each view's principal coordinates to the joint ones, and correlations; see ``join``.

    ``exact=False`` takes the singular values of two views from a Gram matrix, a third of the time, and loses half of
    the digits of small ones: enough to choose by.
    """
    count = len(bases)
    weights = [1.0] * count if importance is None else list(importance)
    whitening = [
        basis.whitening(ridge) * math.sqrt(weight) for basis, ridge, weight in zip(bases, ridges, weights, strict=True)
    ]
    core = {(u, v): whitening[u][:, None] * block * whitening[v] for (u, v), block in covariances.items()}
    parts, values = (
        _two(core[0, 1], exact=exact) if count == 2 else _many(core, [len(basis.variances) for basis in bases])
    )
    k = len(values) if n_components is None else min(n_components, len(values))
    maps = [
        white[:, None] * part[:, :k] / math.sqrt(weight)
        for white, part, weight in zip(whitening, parts, weights, strict=True)
    ]
    bounded = all(math.isfinite(ridge) for ridge in ridges)  # then they are correlations, above 1 by rounding alone
    return maps, values[:k].clamp(0.0, 1.0) if bounded else values[:k]


def _two(core: Tensor, *, exact: bool) -> tuple[list[Tensor], Tensor]:
    if exact:
        p, rho, qt = torch.linalg.svd(core, full_matrices=False)
        return [p, qt.T], rho
    wide = core if core.shape[0] <= core.shape[1] else core.T
    squares, left = torch.linalg.eigh(wide @ wide.T)
    rho, left = squares.flip(0).clamp_min(0).sqrt(), left.flip(1)
    right = (wide.T @ left) / rho.clamp_min(_TINY * rho[0])
    return ([left, right] if wide is core else [right, left]), rho


def _many(core: dict[tuple[int, int], Tensor], sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    table = torch.zeros(starts[-1], starts[-1], dtype=core[0, 1].dtype)
    for (u, v), block in core.items():
        table[starts[u] : starts[u + 1], starts[v] : starts[v + 1]] = block
        table[starts[v] : starts[v + 1], starts[u] : starts[u + 1]] = block.T
    values, vectors = torch.linalg.eigh(table)
    count, most = len(sizes), sum(sizes) - max(sizes)  # as many directions as all pairs of views together can share
    values, vectors = values.flip(0)[:most], vectors.flip(1)[:, :most] * math.sqrt(count)
    kept = values > len(table) * torch.finfo(values.dtype).eps * values.abs().max()
    parts = [vectors[starts[v] : starts[v + 1], kept] for v in range(count)]
    return parts, values[kept] / (count - 1)

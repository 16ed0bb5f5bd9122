"""Canonical directions of two views: the principal angles between the column spans of their paired samples."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from numbers import Real
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.linalg import core_dtype
from hyperspectral_geo.validation import require_finite, require_floating

__all__ = ["CanonicalDirections", "rcca"]


@dataclass(frozen=True)
class CanonicalDirections:
    """Means and weights that carry each of two views to common coordinates, and the spectrum that joins them.

    Coordinate i of a sample x of view v is (x − means[v])·weights[v][:, i]; over the pairs that were fitted, the two
    views' coordinates i have (regularised) correlation ``correlations[i]``, descending, and others have none.
    """

    means: tuple[Float[Tensor, " dx"], Float[Tensor, " dy"]]
    weights: tuple[Float[Tensor, "dx k"], Float[Tensor, "dy k"]]
    correlations: Float[Tensor, " k"]

    def embed(self, x: Float[Tensor, "n d"], *, view: int) -> Float[Tensor, "n k"]:
        """Unit vectors z/‖z‖ with z_i = √ρ_i·(x − mean)·w_i: their inner products are the similarity of two samples.

        Weighing by the correlations ρ is canonical similarity analysis (Li, Ravi, Johnson and Wang 2024,
        arXiv:2410.07610), here with the weights in the norms as well, so that it is a cosine. A sample that equals
        the mean has no direction and becomes 0.
        """
        if view not in (0, 1):
            raise ValueError(f"view: expected 0 or 1, got {view}")
        check_samples(f"view {view}", x)
        if x.shape[1] != len(self.means[view]):
            raise ValueError(f"view {view}: expected {len(self.means[view])} features as when fitted, got {x.shape[1]}")
        if x.dtype != self.means[view].dtype:
            raise ValueError(
                f"view {view}: expected {self.means[view].dtype} as when fitted, got {x.dtype}; use x.to(…)"
            )
        z = (x - self.means[view]) @ self.weights[view] * self.correlations.sqrt()
        return torch.nn.functional.normalize(z, dim=1)

    def similarity(self, x: Float[Tensor, "n dx"], y: Float[Tensor, "m dy"]) -> Float[Tensor, "n m"]:
        """Cosines between all samples of the first view and all of the second, in the correlation-weighted metric."""
        return self.embed(x, view=0) @ self.embed(y, view=1).T


@dataclass(frozen=True)
class ViewSpectrum:
    """Thin SVD of one centred view, X − mean = scale·U diag(values) Vᵀ, with values[0] = 1."""

    mean: Float[Tensor, " d"]
    scale: float
    left: Float[Tensor, "n r"]
    values: Float[Tensor, " r"]
    right: Float[Tensor, "d r"]


def rcca(
    x: Float[Tensor, "n dx"],
    y: Float[Tensor, "n dy"],
    *,
    ridge: float | tuple[float, float] = 0.0,
    n_components: int | None = None,
) -> CanonicalDirections:
    """Regularised canonical correlation analysis of paired samples, as principal angles between two subspaces.

    With centred views X = U_x S_x V_xᵀ and Y = U_y S_y V_yᵀ,

        M = F_x U_xᵀ U_y F_y = P diag(ρ) Qᵀ,    F = S (S² + λ)^(−½),    W_x = √n V_x (S_x² + λ_x)^(−½) P.

    ρ are the cosines of the principal angles between the spans of [X; √λ_x I; 0] and [Y; 0; √λ_y I]; without ridge
    those are the column spans of X and Y, and the method is CCA. λ = ridge · ‖X‖²_F / min(n − 1, d), so that ridge 1
    is as large as the mean variance: a growing ridge leads from CCA to partial least squares. It holds at d > n, where
    CCA without ridge finds ρ = 1 in any data.

    Args:
        x, y: n ≥ 2 pairs, one a row, float32 or float64; computed in float64. Directions whose singular value is below
            max(n, d)·eps of the largest are left out, so constant and repeated features do no harm.
        ridge: λ in units of the mean variance, one for both views or one each.
        n_components: how many directions to keep; fewer are returned where the rank is smaller. ``None`` keeps all.

    Returns:
        ``CanonicalDirections`` in the dtype of the input, at most min(rank x, rank y) of them.

    Raises:
        ValueError: for unpaired or fewer than two samples, integers, NaN, features that are all constant, a negative
            ridge, or no component.

    References:
        Hotelling, "Relations between two sets of variates", 1936. Björck and Golub, "Numerical methods for computing
        angles between linear subspaces", 1973. Vinod, "Canonical ridge and econometrics of joint production", 1976.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> rcca(x, x[:, :1] * 7 + 3).correlations
    tensor([1.])
    """
    check_pairs(x, y)
    ridges = _two_ridges(ridge)
    if n_components is not None:
        check_count("n_components", n_components)
    return join_spectra(view_spectrum("x", x), view_spectrum("y", y), ridges, n_components, dtype=x.dtype)


def view_spectrum(name: str, x: Float[Tensor, "n d"], *, dtype: torch.dtype | None = None) -> ViewSpectrum:
    """Centre a view and decompose it; this is the costly part, and every ridge can share it."""
    wide = x.to(core_dtype(x))
    mean = wide.mean(dim=0)
    centred = wide - mean
    eps = torch.finfo(x.dtype).eps
    # What is left of a constant feature is rounding, which may outweigh the other features if its value is large.
    constant = centred.abs().amax(dim=0) <= 4 * eps * wide.abs().amax(dim=0)
    if bool(constant.all()):
        raise ValueError(
            f"{name}: expected features that vary, got {x.shape[1]} constant ones; check how they were made"
        )
    centred[:, constant] = 0.0
    peak = centred.abs().max()  # squares of the entries could overflow, those of centred / peak cannot
    left, values, right = torch.linalg.svd((centred / peak).to(dtype or wide.dtype), full_matrices=False)
    kept = values > values[0] * max(x.shape) * eps
    return ViewSpectrum(mean, (peak * values[0]).item(), left[:, kept], values[kept] / values[0], right[kept].T)


def join_spectra(
    x: ViewSpectrum, y: ViewSpectrum, ridges: tuple[float, float], n_components: int | None, *, dtype: torch.dtype
) -> CanonicalDirections:
    """Canonical directions from two decomposed views: one small SVD a ridge."""
    inverse_x, inverse_y = _ridge_root(x, ridges[0]), _ridge_root(y, ridges[1])
    core = (x.values * inverse_x)[:, None] * (x.left.T @ y.left) * (y.values * inverse_y)
    p, rho, qt = torch.linalg.svd(core, full_matrices=False)
    k = len(rho) if n_components is None else min(n_components, len(rho))
    root_n = math.sqrt(len(x.left))
    return CanonicalDirections(
        means=(x.mean.to(dtype), y.mean.to(dtype)),
        weights=(
            (x.right @ (inverse_x[:, None] * p[:, :k]) * (root_n / x.scale)).to(dtype),
            (y.right @ (inverse_y[:, None] * qt[:k].T) * (root_n / y.scale)).to(dtype),
        ),
        correlations=rho[:k].clamp(max=1.0).to(dtype),  # a cosine, but for rounding
    )


def check_pairs(x: Tensor, y: Tensor) -> None:
    """Raise ``ValueError`` unless x and y are at least two pairs of finite samples."""
    check_samples("x", x)
    check_samples("y", y)
    if len(x) != len(y):
        raise ValueError(
            f"y: expected {len(x)} samples, one for each of x, got {len(y)}; pairs must be in the same order"
        )
    if len(x) < 2:
        raise ValueError(f"x: expected at least 2 pairs, got {len(x)}; correlation needs samples that differ")
    if x.dtype != y.dtype or x.device != y.device:
        raise ValueError(f"y: expected {x.dtype} on {x.device} as x, got {y.dtype} on {y.device}; convert with y.to(x)")


def check_count(name: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number ≥ 1."""
    if not isinstance(value, SupportsIndex) or isinstance(value, bool) or operator.index(value) < 1:
        raise ValueError(f"{name}: expected a whole number, 1 or more, got {value!r}; pass an int")


def check_samples(name: str, x: Tensor) -> None:
    """Raise ``ValueError`` unless x is a finite float32 or float64 matrix, samples by features."""
    require_floating(name, x)
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name}: expected float32 or float64, got {x.dtype}; convert with .float()")
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name}: expected shape (samples, features), got {tuple(x.shape)}")
    require_finite(name, x)


def _two_ridges(ridge: float | tuple[float, float]) -> tuple[float, float]:
    ridges = ridge if isinstance(ridge, tuple) else (ridge, ridge)
    if len(ridges) != 2:
        raise ValueError(f"ridge: expected one number, or one for each of the two views, got {len(ridges)}")
    for value in ridges:
        if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value < math.inf:
            raise ValueError(f"ridge: expected a finite number >= 0, got {value!r}; 0 is CCA without ridge")
    return float(ridges[0]), float(ridges[1])


def _ridge_root(view: ViewSpectrum, ridge: float) -> Tensor:
    """(S² + λ)^(−½) in units of the largest singular value; λ is ``ridge`` times the mean of S²."""
    squares = view.values.square()
    directions = min(len(view.left) - 1, len(view.mean))
    return (squares + ridge * squares.sum() / directions).rsqrt()

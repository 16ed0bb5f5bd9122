"""How orthogonal concepts are, and how well samples are sums of what their concepts contribute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Real

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_samples
from hyperspectral_geo.fusion.concepts.background import centred_rows, row_spectrum
from hyperspectral_geo.linalg import core_dtype
from hyperspectral_geo.spectral.truncate import rank_by_energy
from hyperspectral_geo.validation import require_finite, require_floating

__all__ = ["LinearFactors", "cross_concept_cosine", "linear_factors"]


@dataclass(frozen=True)
class LinearFactors:
    """How far samples are sums of contributions of their factors' values, in whitened coordinates.

    Attributes:
        r2: share of the whitened variance that the sum explains, 0 to 1; 1 where samples with equal factors are equal
            and factors add up.
        chance: the share that labels without meaning would explain, degrees of freedom over n − 1.
        cosine: mean abs cos between directions of different factors; 0 where factors use orthogonal subspaces.
        cosine_chance: the mean for random directions of that many whitened coordinates, about √(2/πk).
        k95: how many principal directions hold 95 % of the samples' variance.
        directions: what each value of a factor contributes, centred, (values, k) in whitened coordinates.
    """

    r2: float
    chance: float
    cosine: float
    cosine_chance: float
    k95: int
    directions: tuple[Float[Tensor, "_ _"], ...]


def cross_concept_cosine(directions: Sequence[Float[Tensor, "n _"]]) -> float:
    """Mean abs cos between directions of different concepts, 0 (orthogonal) to 1 (all on one line).

    (1/pairs) Σ over a < b of the mean over i, j of abs(u_aᵢ·u_bⱼ)/‖u_aᵢ‖‖u_bⱼ‖. Random directions of R^n have about
    √(2/πn). Unlike principal angles it looks at the columns as they are given: take means or differences of means as
    columns, or bases, whose choice among tied eigenvalues then matters.

    Args:
        directions: one matrix (n, pᵢ) a concept, columns are directions; columns of length 0 are left out.

    Raises:
        ValueError: for fewer than two concepts with a direction, different n, or NaN.

    References:
        Uselis, Dittadi and Oh, "Compositional generalization requires linear, orthogonal representations in vision
        embedding models", 2026, arXiv:2602.24264.

    Example:
        >>> e = torch.eye(4)
        >>> cross_concept_cosine([e[:, :1], e[:, 1:3], e[:, :1]])
        0.333
    """
    units = []
    for index, columns in enumerate(directions):
        require_floating(f"directions[{index}]", columns)
        if columns.ndim != 2 or len(columns) != len(directions[0]):
            raise ValueError(
                f"directions[{index}]: expected shape ({len(directions[0])}, p), got {tuple(columns.shape)}"
            )
        require_finite(f"directions[{index}]", columns)
        wide = columns.to(core_dtype(columns))
        lengths = torch.linalg.vector_norm(wide, dim=0)
        kept = lengths > 1e-12 * lengths.amax() if lengths.numel() else lengths > 0
        if bool(kept.any()):
            units.append(wide[:, kept] / lengths[kept])
    if len(units) < 2:
        raise ValueError(f"directions: expected two concepts or more with a direction, got {len(units)}")
    means = [(a.T @ b).abs().mean().item() for a, b in combinations(units, 2)]
    return sum(means) / len(means)


def linear_factors(
    x: Float[Tensor, "n d"], factors: Int[Tensor, "n f"], *, energy: float = 0.99, ridge: float = 0.0
) -> LinearFactors:
    """Fit z(x) ≈ Σ_f u_f(value of factor f) and say how much of the whitened samples it explains.

    The samples are centred and whitened, z = Λ^(−½) Vᵀ(x − mean), on the directions that hold ``energy`` of their
    variance, so that every direction counts alike and R² = ‖P Z‖²/‖Z‖² for the projector P on the factors' indicators.

    Args:
        x: n samples (n, d), float32 or float64; whitening and fit in float64.
        factors: which value, 0, 1, …, each sample has of each of f ≥ 1 factors.
        energy: share of the variance to look at, in (0, 1]; small directions are mostly noise.
        ridge: in units of samples, added to the count of each value; 0 is least squares.

    Raises:
        ValueError: for factors that do not fit the samples, or samples that do not vary.

    References:
        As ``cross_concept_cosine``; Trager et al., "Linear spaces of meanings: compositional structures in
        vision-language models", 2023, arXiv:2302.14383.

    Example:
        >>> table = torch.cartesian_prod(torch.arange(3), torch.arange(2)).repeat(5, 1)
        >>> shape, colour = torch.eye(5)[:3], torch.eye(5)[3:]
        >>> found = linear_factors(shape[table[:, 0]] + colour[table[:, 1]], table)
        >>> f"{found.r2:.3f} {found.cosine:.3f} {found.chance:.3f}"
        '1.000 0.000 0.103'
    """
    check_samples("x", x)
    if not isinstance(factors, Tensor):
        raise ValueError(f"factors: expected a torch.Tensor, got {type(factors).__name__}; use torch.as_tensor")
    if factors.ndim != 2 or len(factors) != len(x) or not factors.shape[1]:
        raise ValueError(f"factors: expected shape ({len(x)}, f), a value a sample, got {tuple(factors.shape)}")
    if factors.is_floating_point() or bool((factors < 0).any()):
        raise ValueError(f"factors: expected whole numbers from 0, got {factors.dtype}; number the values")
    if not isinstance(energy, Real) or not isinstance(ridge, Real) or not 0 < energy <= 1 or not 0 <= ridge < math.inf:
        raise ValueError(f"energy, ridge: expected 0 < energy <= 1 and ridge >= 0, got {energy!r} and {ridge!r}")
    centred = centred_rows(x.to(core_dtype(x)))
    basis, variances = row_spectrum(centred)
    if not variances.numel():
        raise ValueError(f"x: expected samples that vary, got {len(x)} equal ones")
    kept = int(rank_by_energy(variances, energy))
    z = centred @ basis[:, :kept] / variances[:kept].sqrt()
    indicators = [_indicators(column) for column in factors.unbind(1)]
    design = torch.cat(indicators, 1).to(z)
    contributions, freedom = _fit(design, z, ridge)
    residual = z - design @ contributions
    parts = contributions.split([block.shape[1] for block in indicators])
    directions = tuple(part - part.mean(0) for part in parts)
    varied = [part.T for part in directions if bool((part.abs() > 1e-9).any())]
    return LinearFactors(
        r2=1 - (residual.square().sum() / z.square().sum()).item(),
        chance=freedom / max(len(x) - 1, 1),
        cosine=cross_concept_cosine(varied) if len(varied) > 1 else 0.0,
        cosine_chance=math.sqrt(2 / (math.pi * kept)),
        k95=int(rank_by_energy(variances, 0.95)),
        directions=directions,
    )


def _indicators(column: Tensor) -> Tensor:
    """One centred column a value: 1 for the samples that have it, less the share that has."""
    distinct, which = column.unique(return_inverse=True)
    hot = torch.nn.functional.one_hot(which, len(distinct)).double()
    return hot - hot.mean(0)


def _fit(design: Tensor, z: Tensor, ridge: float) -> tuple[Tensor, int]:
    """Least squares of least norm (indicators depend on each other), and the rank of the design."""
    left, values, right_t = torch.linalg.svd(design, full_matrices=False)
    kept = values > max(design.shape) * torch.finfo(values.dtype).eps * values.amax()
    left, values, right_t = left[:, kept], values[kept], right_t[kept]
    shrunk = values / (values.square() + ridge)
    return right_t.T @ (shrunk[:, None] * (left.T @ z)), int(kept.sum())

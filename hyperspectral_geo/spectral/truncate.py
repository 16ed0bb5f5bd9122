"""How many directions of a spectrum count: pure functions of its eigenvalues or singular values.

If you are not sure, pick `rank_by_energy` to compress, `hyperspectral_geo.spectral.noise_rank` to separate signal from
noise, and `effective_rank` to describe. None of them depends on the order of the values, nor on their scale.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.spectral.checks import require_number, require_rank, require_shape, require_spectrum
from hyperspectral_geo.spectral.noise_edge import covariance_noise_edge, noise_edge

__all__ = ["count_leading", "effective_rank", "participation_ratio", "rank_by_energy", "rankme", "stable_rank"]


def _relative(name: str, values: Tensor) -> Tensor:
    """The values divided by their largest, so that squares and sums neither overflow nor vanish."""
    require_spectrum(name, values)
    largest = values.amax(dim=-1, keepdim=True)
    if bool((largest <= 0).any()):
        raise ValueError(f"{name}: expected at least one number > 0, got only zeros; a zero matrix has no directions")
    return values / largest


def _exp_entropy(p: Tensor) -> Tensor:
    """exp(−Σ p log p) with 0 log 0 = 0; the inner `where` keeps gradients finite at p = 0."""
    return torch.exp(-(p * torch.where(p > 0, p, 1.0).log()).sum(dim=-1))


def rank_by_energy(energies: Float[Tensor, "*batch p"], energy: float) -> Int[Tensor, "*batch"]:
    r"""Fewest directions that hold a given fraction of the energy: min{k : Σ_{i≤k} eᵢ ≥ energy · Σ eᵢ}.

    ``energies`` are variances, or *squared* singular values, ≥ 0, in any order; ``energy`` is in (0, 1]. Sums run in
    float64. Raises `ValueError` for a fraction outside, negative, non-finite or all-zero energies.

    >>> rank_by_energy(torch.tensor([1.0, 8.0, 1.0]), 0.9)
    tensor(2)
    """
    if not 0.0 < require_number("energy", energy) <= 1.0:
        raise ValueError(f"energy: expected a fraction in (0, 1], got {energy!r}; for 95 % pass 0.95")
    values = _relative("energies", energies).double().sort(dim=-1, descending=True).values
    cumulative = values.cumsum(dim=-1)
    # A few ulp of slack, lest 0.9 of [8, 1, 1] needs a third direction because 0.9·10 rounds up.
    target = energy * cumulative[..., -1:] * (1.0 - 4.0 * torch.finfo(torch.float64).eps)
    return (cumulative < target).sum(dim=-1) + 1


def effective_rank(singular_values: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch"]:
    r"""Effective rank exp(−Σ pᵢ log pᵢ), pᵢ = σᵢ / Σσ: between 1 and the number of non-zero values.

    Takes singular values ≥ 0, in any order; differentiable. Raises `ValueError` for negative, non-finite or all-zero
    values. Source: Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO.

    >>> effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0]))
    tensor(3.)
    """
    s = _relative("singular_values", singular_values)
    return _exp_entropy(s / s.sum(dim=-1, keepdim=True))


def rankme(singular_values: Float[Tensor, "*batch p"], *, epsilon: float = 1e-7) -> Float[Tensor, "*batch"]:
    r"""RankMe exp(−Σ pᵢ log pᵢ), pᵢ = σᵢ / Σσ + ε: `effective_rank` with the published offset.

    Takes singular values of a matrix of embeddings (rows samples, not centred), in any order; differentiable. Raises
    `ValueError` as `effective_rank` does. Source: Garrido, Balestriero, Najman & LeCun 2023, arXiv 2210.02885.

    >>> rankme(torch.tensor([1.0, 1.0]))
    tensor(2.)
    """
    s = _relative("singular_values", singular_values)
    return _exp_entropy(s / s.sum(dim=-1, keepdim=True) + epsilon)


def participation_ratio(eigenvalues: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch"]:
    r"""Participation ratio (Σλ)² / Σλ²: between 1 and the number of non-zero values.

    Takes variances (squared singular values) ≥ 0, in any order; differentiable. Raises `ValueError` for negative,
    non-finite or all-zero values. Source: Gao et al. 2017, bioRxiv 214262, for neural activity.

    >>> participation_ratio(torch.tensor([1.0, 1.0, 0.0]))
    tensor(2.)
    """
    v = _relative("eigenvalues", eigenvalues)
    return v.sum(dim=-1).square() / v.square().sum(dim=-1)


def stable_rank(singular_values: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch"]:
    r"""Stable rank ‖W‖_F² / ‖W‖₂² = Σσ² / max σ²: between 1 and the rank, and continuous in W.

    Takes singular values ≥ 0, in any order; differentiable. Raises `ValueError` for negative, non-finite or all-zero
    values. Source: Rudelson & Vershynin 2007, arXiv math/0503442.

    >>> stable_rank(torch.tensor([2.0, 1.0, 1.0]))
    tensor(1.5000)
    """
    return _relative("singular_values", singular_values).square().sum(dim=-1)


def count_leading(
    values: Float[Tensor, " p"],
    *,
    kind: str,
    centred: bool,
    rank: int | None = None,
    energy: float | None = None,
    above: float | None = None,
    noise_shape: tuple[int, int] | None = None,
    sigma: float | None = None,
    confidence: float = 0.99,
) -> int:
    """How many of a basis's eigenvalues, descending, meet the one criterion given; see `SpectralBasis.truncate`."""
    criteria = {"rank": rank, "energy": energy, "above": above, "noise_shape": noise_shape}
    given = [key for key, value in criteria.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"truncate: expected exactly one of {', '.join(criteria)}, got {given or 'none'}")
    if sigma is not None and noise_shape is None:
        raise ValueError("sigma: goes with noise_shape only; remove it")
    if rank is not None:
        return require_rank("rank", rank, most=len(values), reason="the directions held")
    if energy is not None:
        return int(rank_by_energy(values.double().square() if kind == "singular" else values, energy))
    if noise_shape is None:
        edge = require_number("above", above)
    else:
        edge = _noise_edge(values, noise_shape, kind=kind, centred=centred, sigma=sigma, confidence=confidence)
    if edge != edge:
        raise ValueError("above: expected a number, got nan")
    count = int((values > edge).sum())
    if count == 0:
        raise ValueError(
            f"truncate: no eigenvalue rises above {edge:g} (the largest is {values[0].item():g}), so nothing would be "
            "left; lower the edge, or treat the module as noise"
        )
    return count


def _noise_edge(
    values: Tensor, shape: tuple[int, int], *, kind: str, centred: bool, sigma: float | None, confidence: float
) -> float:
    if kind == "smoothness":
        raise ValueError("noise_shape: a graph's frequencies have no noise edge; use rank, energy or above")
    samples, features = require_shape("noise_shape", shape)
    if kind == "singular":
        return float(noise_edge(values, shape=(samples, features), sigma=sigma, confidence=confidence))
    variance = None if sigma is None else require_number("sigma", sigma) ** 2
    return float(
        covariance_noise_edge(
            values, samples=samples, features=features, variance=variance, centred=centred, confidence=confidence
        )
    )

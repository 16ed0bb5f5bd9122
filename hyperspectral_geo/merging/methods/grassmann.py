"""The Fréchet mean of the modules' subspaces, and the modules brought into it."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.methods.participants import require_choice, taking_part
from hyperspectral_geo.merging.methods.spectra import module_svd, numerical_rank, polar_factor
from hyperspectral_geo.merging.methods.subspace_mean import SubspaceMean, subspace_mean
from hyperspectral_geo.merging.methods.svd import require_rank

__all__ = ["grassmann"]

_RANK_TOLERANCE = 1e-7


def grassmann(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    rank: int | None = None,
    eigenvalues: Literal["squared", "plain"] = "squared",
    core: Literal["projection", "transport"] = "projection",
    tolerance: float = 1e-6,
    max_iterations: int = 500,
) -> LowRank:
    """The modules' sum inside the Fréchet mean of their subspaces, on the Grassmannian Gr(k, ·) of each side.

    Left and right, the mean Y minimises Σ_t |w_t| Σ_j λ_tj ∠(u_tj, Y)²: module t is a subspace with a spectrum, its
    singular vectors u_tj with λ_tj = σ_tj²/Σ σ_t² are points, and ∠(u, Y) = arccos ‖Yᵀu‖ is the distance of a line from
    a subspace of another dimension (Ye & Lim 2016, *Schubert varieties and distances between subspaces of different
    dimensions*, arXiv:1407.0900). Modules of any ranks are averaged so, and their strong directions count more.

    core="projection": ΔW = P_left (Σ w_t ΔW_t) P_right, what the sum does inside both means. core="transport": each
    module's singular frames are turned onto the means, U_t → Y polar(YᵀU_t), and keep their singular values; then they
    are summed.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,); a negative one counts by its size in the means and by its sign in the sum.
        rank: k, the largest r_t by default, up to Σ r_t. A larger one is nearer to the plain sum.
        eigenvalues: λ_t from σ_t², "squared", or σ_t, "plain".
        core: see above.
        tolerance: length of the Riemannian gradient at which to stop, the weights summing to one.
        max_iterations: of each mean.

    Returns:
        Rank k. Its notes hold for "left" and "right": iterations, gradient_norm, converged (0 or 1) and mean_angle, the
        root of the mean of the squared angles. Modules at right angles to each other have many means; one is returned.

    Raises:
        ValueError: for a rank below 1, another spectrum or core, or a tolerance that is not positive.
    """
    require_rank(rank)
    require_choice("eigenvalues", eigenvalues, ("squared", "plain"))
    require_choice("core", core, ("projection", "transport"))
    if not tolerance > 0:
        raise ValueError(f"tolerance: expected a positive number, got {tolerance}")
    active, w, index = taking_part(joint, weights)
    if not index:
        zero = torch.zeros_like(joint.cores[0])
        return joint.factors(zero[:, :1], zero[:1])
    k = min(rank if rank is not None else max(active.ranks), *active.cores.shape[1:])
    svds = [_significant(*module_svd(active, t)) for t in range(len(index))]
    shares = torch.cat([v * _spectrum(s, eigenvalues) for v, (_, s, _) in zip(w.abs(), svds, strict=True)])
    shares = shares / shares.sum()
    left, right = _means(
        torch.cat([u for u, _, _ in svds], 1),
        torch.cat([vh for _, _, vh in svds], 0).mT,
        shares,
        k,
        tolerance,
        max_iterations,
    )
    if core == "projection":
        small = left.basis.mT @ torch.einsum("t,tab->ab", w, active.cores) @ right.basis
    else:
        small = torch.zeros(left.basis.shape[1], right.basis.shape[1], dtype=w.dtype)
        for v, (u, s, vh) in zip(w, svds, strict=True):
            small += v * (polar_factor(left.basis.mT @ u) * s) @ polar_factor(right.basis.mT @ vh.mT).mT
    notes = {f"left_{name}": value for name, value in left.notes.items()}
    notes |= {f"right_{name}": value for name, value in right.notes.items()}
    return active.factors(left.basis @ small, right.basis.mT, notes=notes)


def _significant(u: Tensor, s: Tensor, vh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Without directions of singular value zero, which are arbitrary."""
    k = numerical_rank(s, _RANK_TOLERANCE)
    return u[:, :k], s[:k], vh[:k]


def _spectrum(s: Tensor, eigenvalues: str) -> Tensor:
    powers = s.square() if eigenvalues == "squared" else s
    return powers / powers.sum()


def _means(
    left: Tensor, right: Tensor, shares: Tensor, k: int, tolerance: float, max_iterations: int
) -> tuple[SubspaceMean, SubspaceMean]:
    """Both sides' means, side by side where they have one shape."""
    if left.shape == right.shape:
        both = subspace_mean(torch.stack([left, right]), shares, k, tolerance=tolerance, max_iterations=max_iterations)
        return both[0], both[1]
    one = [
        subspace_mean(x.unsqueeze(0), shares, k, tolerance=tolerance, max_iterations=max_iterations)[0]
        for x in (left, right)
    ]
    return one[0], one[1]

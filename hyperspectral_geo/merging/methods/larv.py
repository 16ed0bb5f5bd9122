"""LARV: task arithmetic with a scale a layer, from the spectra of the update and of the base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.linear import linear

__all__ = ["effective_rank", "larv", "prepare_larv"]


def larv(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    base: Mapping[str, Float[Tensor, "_ _"]],
    tiers: tuple[float, ...] = (0.8, 1.0, 1.2),
    layer_scales: Mapping[str, float] | None = None,
) -> Delta:
    """ΔW = s Σ w_t ΔW_t with a scale s a layer (Layer-wise Adaptive Rescaling Veneer, Wang et al. 2026,
    arXiv:2602.09413).

    Two numbers rate a layer, Δ being the sum of its updates and θ the base's weight: e = r(θ)/r(Δ), with the effective
    rank r = exp(−Σ p log p), p = σ²/Σσ², which is high for a concentrated update; and the conflict
    c = ‖θᵀΔ − Δᵀθ‖/(2‖θ‖‖Δ‖), how little the two commute. Layers are ordered by z(e) − z(c), z standardising over the
    layers, and the order is cut into as many equal parts as there are tiers. The paper's own thresholds and scales were
    not at hand: the equal parts, and the values of the tiers, are a reading of its "tiered" gate, and z uses the plain
    sum of the updates.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        base: the base's weights by name as matrices (m, n).
        tiers: scales from the lowest to the highest rating.
        layer_scales: found by ``prepare_larv``; without them the one layer has the middle tier.

    Raises:
        ValueError: for a weight without base, another shape, or no tiers.
    """
    _base_weight(joint, base)
    _require_tiers(tiers)
    scale = tiers[len(tiers) // 2] if layer_scales is None else layer_scales[joint.name]
    return replace(linear(joint, weights).scaled(scale), notes={"layer_scale": float(scale)})


def prepare_larv(
    joints: Iterable[Joint],
    *,
    base: Mapping[str, Float[Tensor, "_ _"]],
    tiers: tuple[float, ...] = (0.8, 1.0, 1.2),
) -> Mapping[str, Any]:
    """Each layer's scale, by weight name."""
    _require_tiers(tiers)
    names: list[str] = []
    ratings: list[tuple[float, float]] = []
    for joint in joints:
        weight = _base_weight(joint, base).to(joint.cores.dtype)
        core = joint.cores.sum(0)
        e = effective_rank(weight) / max(effective_rank(core), 1e-12)
        names.append(joint.name)
        ratings.append((e, _conflict(weight, joint, core)))
    rated = torch.tensor(ratings, dtype=torch.float64)
    z = (rated - rated.mean(0)) / rated.std(0, correction=0).clamp_min(1e-12)
    rating = (z[:, 0] - z[:, 1]).round(decimals=9)
    # twice the mean place, plus one: layers that are rated alike, such as two of two often are, share a tier
    places = 2 * (rating < rating.unsqueeze(1)).sum(1) + (rating == rating.unsqueeze(1)).sum(1)
    parts = [tiers[int(place) * len(tiers) // (2 * len(names))] for place in places]
    return {"layer_scales": dict(zip(names, parts, strict=True))}


def effective_rank(a: Float[Tensor, "_ _"]) -> float:
    """exp(−Σ p log p) with p = σ²/Σσ², 0 for a zero matrix."""
    energy = torch.linalg.svdvals(a).square()
    if not bool(energy.sum() > 0):
        return 0.0
    p = energy / energy.sum()
    return float(torch.special.entr(p).sum().exp())


def _conflict(weight: Tensor, joint: Joint, core: Tensor) -> float:
    """‖θᵀΔ − Δᵀθ‖/(2‖θ‖‖Δ‖) for Δ = left core rightᵀ, by ‖X − Xᵀ‖² = 2‖X‖² − 2⟨X, Xᵀ⟩ of X = θᵀΔ."""
    size = 2 * torch.linalg.matrix_norm(weight) * torch.linalg.matrix_norm(core)
    if not bool(size > 0):
        return 0.0
    outer = weight.mT if joint.left is None else weight.mT @ joint.left  # (n, a)
    right = torch.eye(joint.shape[1], dtype=core.dtype) if joint.right is None else joint.right  # (n, b)
    first = outer @ core  # X = first @ rightᵀ
    cross = right.mT @ first
    squared = 2 * first.square().sum() - 2 * (cross * cross.mT).sum()
    return float(squared.clamp_min(0).sqrt() / size)


def _base_weight(joint: Joint, base: Mapping[str, Tensor]) -> Tensor:
    if joint.name not in base:
        raise ValueError(f"base: expected the base's weight {joint.name!r}, found none; pass the model's state_dict()")
    if tuple(base[joint.name].shape) != joint.shape:
        raise ValueError(
            f"base: {joint.name}: expected a matrix of shape {joint.shape}, got {tuple(base[joint.name].shape)}; "
            "turn it with the module's layouts[name].to_matrix"
        )
    return base[joint.name]


def _require_tiers(tiers: tuple[float, ...]) -> None:
    if not tiers:
        raise ValueError("tiers: expected at least one scale, got none")

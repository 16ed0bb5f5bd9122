"""Eigenvalues after the merge, chosen by cross-fitting: on vectors that the concepts' bases have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.merging.concepts import ConceptSpace, energy_shares, require_bases, require_rows_in_space
from hyperspectral_geo.spectral import SpectralBasis

__all__ = ["Fold", "reweight"]


@dataclass(frozen=True, eq=False)
class Fold:
    """Vectors, the concept each belongs to, and concept bases extracted without these vectors."""

    x: Float[Tensor, "m n"]
    labels: Int[Tensor, " m"]
    bases: Sequence[SpectralBasis]


def reweight(
    space: ConceptSpace,
    folds: Sequence[Fold],
    *,
    steps: int = 60,
    learning_rate: float = 0.05,
    penalty: float = 1e-3,
) -> ConceptSpace:
    """Eigenvalues θ of the common basis that tell held-out vectors' concepts apart best.

    Minimises the cross-entropy of a softmax over τ·scores plus penalty·Σ(log θ)², over θ and the temperature τ, by Adam
    from θ = 1: as few steps as these stay near the merge they start from. Each fold is scored by bases that have not
    seen it; the same number of eigenvalues serves all concepts.

    Raises:
        ValueError: for no folds or vectors, vectors, labels or bases that do not match the space, or arguments out of
            range.

    Returns:
        The space with eigenvalues of geometric mean one.
    """
    if len(folds) == 0:
        raise ValueError("folds: expected at least one, got none; split the training vectors in two or more")
    if not (steps >= 0 and penalty >= 0 and learning_rate > 0):
        raise ValueError(
            "steps, penalty, learning_rate: expected numbers >= 0, the last > 0, "
            f"got {steps}, {penalty} and {learning_rate}"
        )
    parts = [(*_in_common_coordinates(space, fold), fold.labels) for fold in folds]
    count = sum(len(labels) for *_, labels in parts)
    if count == 0:
        raise ValueError("folds: expected at least one vector, got none")
    log_theta = torch.zeros_like(space.eigenvalues, requires_grad=True)
    log_temperature = torch.full_like(space.eigenvalues[0], 3.0).requires_grad_()
    adam = torch.optim.Adam([log_theta, log_temperature], lr=learning_rate)
    for _ in range(steps):
        loss = penalty * log_theta.square().sum()
        for z, frames, labels in parts:
            logits = log_temperature.exp() * energy_shares(z, log_theta.exp(), frames)
            loss = loss + torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / count
        adam.zero_grad()
        loss.backward()
        adam.step()
    log_theta = log_theta.detach()
    return space.with_eigenvalues((log_theta - log_theta.mean()).exp())


def _in_common_coordinates(space: ConceptSpace, fold: Fold) -> tuple[Tensor, Tensor]:
    k, (n, p) = len(space.names), (space.basis.shape[0], space.frames.shape[-1])
    require_rows_in_space("folds: x", fold.x, space.basis)
    require_bases("folds: bases", fold.bases)
    if len(fold.bases) != k:
        raise ValueError(f"folds: expected {k} bases a fold, one a concept, got {len(fold.bases)}")
    shapes = {tuple(b.basis.shape) for b in fold.bases}
    if shapes != {(n, p)}:
        raise ValueError(f"folds: expected bases of shape {(n, p)} like the space's concepts, got {sorted(shapes)}")
    kind = (space.basis.dtype, space.basis.device)
    other = next((b for b in fold.bases if (b.dtype, b.device) != kind), None)
    if other is not None:
        raise ValueError(
            f"folds: expected bases of {kind[0]} on {kind[1]} like the space, got {other.dtype} on {other.device}; "
            "convert with basis.to(dtype, device)"
        )
    if not isinstance(fold.labels, Tensor) or fold.labels.dtype != torch.int64:
        got = getattr(fold.labels, "dtype", type(fold.labels).__name__)
        raise ValueError(f"folds: expected int64 labels, got {got}; convert with torch.as_tensor(labels).long()")
    if fold.labels.device != fold.x.device:
        raise ValueError(
            f"folds: expected labels on {fold.x.device} like x, got {fold.labels.device}; move with labels.to(x.device)"
        )
    if fold.labels.shape != fold.x.shape[:1] or not bool(((fold.labels >= 0) & (fold.labels < k)).all()):
        raise ValueError(f"folds: expected a label from 0 to {k - 1} for each of the {len(fold.x)} vectors")
    return fold.x @ space.basis, space.basis.mT @ torch.stack([b.basis for b in fold.bases])

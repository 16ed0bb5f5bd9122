"""What each step of the read-out adds to the score: a bilinear form of quadratic features of both ends."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["feature_count", "form_scores", "quadratic_features", "rowwise_form_scores"]


def feature_count(dim: int) -> int:
    """How many features a concept of ``dim`` coordinates and one scalar has: dim + 2 + dim(dim + 1)/2.

    >>> feature_count(10)
    67
    """
    return dim + 2 + dim * (dim + 1) // 2


def quadratic_features(z: Float[Tensor, "m d"], scalar: Float[Tensor, " m"]) -> Float[Tensor, "m f"]:
    """φ(z, a) = [z, a, 1, all products z_i·z_j with i ≤ j].

    >>> quadratic_features(torch.tensor([[2.0, 3.0]]), torch.tensor([0.5]))
    tensor([[2.0000, 3.0000, 0.5000, 1.0000, 4.0000, 6.0000, 9.0000]])
    """
    i, j = torch.triu_indices(z.shape[1], z.shape[1])
    return torch.cat([z, scalar[:, None], torch.ones_like(z[:, :1]), z[:, i] * z[:, j]], 1)


def form_scores(
    left: Float[Tensor, "m f"], right: Float[Tensor, "n f"], forms: Float[Tensor, "k f f"]
) -> Float[Tensor, "k m n"]:
    """φ_uᵀ M_k φ_v of all pairs at each step."""
    return left @ forms @ right.T


def rowwise_form_scores(
    left: Float[Tensor, "n f"], right: Float[Tensor, "n f"], forms: Float[Tensor, "k f f"]
) -> Float[Tensor, "k n"]:
    """φ_uᵀ M_k φ_v of corresponding rows at each step."""
    return ((left @ forms) * right).sum(-1)

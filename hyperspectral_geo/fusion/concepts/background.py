"""The background that concepts are told from: shared coordinates in which what is usual has variance one."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from numbers import Real

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_samples
from hyperspectral_geo.linalg import core_dtype

__all__ = ["Background"]


@dataclass(frozen=True, eq=False)
class Background:
    """Coordinates z = W (x − mean), W = Σ^(−½) for the shrunk covariance Σ = (1 − γ) S + γ (tr S/d) I.

    W = (I + V diag(gains − 1) Vᵀ)/scale is kept by the directions V in which it is not a multiple of the identity. All
    concepts of a classifier share one background, so that each can be learned from its own rows alone.

    Attributes:
        mean: (d,), float64.
        basis: V, (d, r), orthonormal columns.
        gains: (r,), in (0, 1]: how much less a direction counts than one without variance of its own.
        scale: √(γ tr S/d), the standard deviation of a direction without variance of its own.
    """

    mean: Float[Tensor, " d"]
    basis: Float[Tensor, "d r"]
    gains: Float[Tensor, " r"]
    scale: float

    @classmethod
    def of(
        cls,
        x: Float[Tensor, "n d"],
        *,
        groups: Int[Tensor, " n"] | None = None,
        shrinkage: float = 0.2,
    ) -> Background:
        """Learn it from samples.

        Args:
            x: n ≥ 2 samples, one a row, float32 or float64; computed in float64.
            groups: which group a sample belongs to, whole numbers; S is then the covariance about the groups' means,
                which leaves the differences between groups out of what is usual. ``None`` is one group of all.
            shrinkage: γ in (0, 1]; 1 changes nothing but the scale.

        Raises:
            ValueError: for fewer than two samples, samples that do not vary, NaN, groups that are not one whole number
                a sample, or γ out of range.

        References:
            Friedman, "Regularized discriminant analysis", 1989; Ledoit and Wolf, "A well-conditioned estimator for
            large-dimensional covariance matrices", 2004.

        Example:
            >>> x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
            >>> background = Background.of(x, shrinkage=0.5)
            >>> z = background.whiten(x)
            >>> (z.T @ z / 4).diagonal()
            tensor([1.2857, 0.3333], dtype=torch.float64)
        """
        check_samples("x", x)
        if len(x) < 2:
            raise ValueError(f"x: expected at least 2 samples, got {len(x)}; a background needs samples that differ")
        if not isinstance(shrinkage, Real) or isinstance(shrinkage, bool) or not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage: expected a number in (0, 1], got {shrinkage!r}; 0.2 is usual")
        wide = x.to(core_dtype(x))
        numbers = None if groups is None else number_groups(groups, len(x))
        return cls.of_spread(wide.mean(0), *row_spectrum(centred_rows(wide, numbers)), shrinkage=shrinkage)

    @classmethod
    def of_spread(
        cls, mean: Float[Tensor, " d"], basis: Float[Tensor, "d r"], variances: Float[Tensor, " r"], *, shrinkage: float
    ) -> Background:
        """From S = V diag(variances) Vᵀ; every shrinkage can share one decomposition."""
        usual = shrinkage * variances.sum() / len(mean)
        if not usual > 0:
            raise ValueError(
                "x: expected samples that vary (within groups), got none that do; check how they were made"
            )
        gains = (usual / ((1 - shrinkage) * variances + usual)).sqrt()
        return cls(mean, basis, gains, math.sqrt(usual.item()))

    def whiten(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Coordinates z of samples, float64, in which the background has covariance near the identity."""
        check_samples("x", x)
        if x.shape[1] != len(self.mean):
            raise ValueError(f"x: expected {len(self.mean)} features as the background has, got {x.shape[1]}")
        centred = x.to(self.mean) - self.mean
        return (centred + (centred @ self.basis * (self.gains - 1)) @ self.basis.T) / self.scale

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that two backgrounds share if and only if they are equal, bit for bit."""
        digest = hashlib.blake2b(repr(self.scale).encode(), digest_size=8)
        for tensor in (self.mean, self.basis, self.gains):
            digest.update((tensor.cpu().contiguous() + 0.0).numpy().tobytes())
        return digest.hexdigest()


def number_groups(groups: Int[Tensor, " n"], rows: int) -> Int[Tensor, " n"]:
    """Groups as 0, 1, … in the order of their numbers; ``ValueError`` unless there is a whole number a row."""
    if not isinstance(groups, Tensor) or groups.is_floating_point() or groups.is_complex() or groups.shape != (rows,):
        got = f"{groups.dtype} of {tuple(groups.shape)}" if isinstance(groups, Tensor) else type(groups).__name__
        raise ValueError(f"groups: expected {rows} whole numbers, one for each row of x, got {got}; pass a tensor")
    return groups.unique(return_inverse=True)[1]


def centred_rows(x: Float[Tensor, "n d"], groups: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n d"]:
    """Rows less the mean of all, or of their group 0, 1, …; 0 in features where what is left is rounding."""
    if groups is None:
        centres = x.mean(0)
    else:
        sizes = torch.bincount(groups)
        sums = x.new_zeros(len(sizes), x.shape[1]).index_add_(0, groups, x)
        centres = (sums / sizes.clamp_min(1).to(x)[:, None])[groups]
    rest = x - centres
    rounding = 4 * torch.finfo(x.dtype).eps * x.abs().amax(0)
    return torch.where(rest.abs().amax(0) > rounding, rest, 0.0)


def row_spectrum(rows: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d r"], Float[Tensor, " r"]]:
    """Directions and variances of rows that are centred: XᵀX/n = V diag(λ) Vᵀ, λ descending and above rounding."""
    if len(rows) < rows.shape[1]:  # a few long rows: three times as fast by way of their triangular factor
        q, r = torch.linalg.qr(rows.T)
        left, values, _ = torch.linalg.svd(r)
        directions = q @ left
    else:
        _, values, right = torch.linalg.svd(rows, full_matrices=False)
        directions = right.T
    kept = values > max(rows.shape) * torch.finfo(rows.dtype).eps * values.amax()
    return directions[:, kept].contiguous(), values[kept].square() / len(rows)

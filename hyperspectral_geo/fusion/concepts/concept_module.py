"""A concept as a module: where its samples lie, the directions in which they vary, and how much."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from numbers import Real
from typing import Literal, SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_samples
from hyperspectral_geo.fusion.concepts.background import Background, centred_rows, row_spectrum
from hyperspectral_geo.linalg import core_dtype
from hyperspectral_geo.manifolds import principal_angles
from hyperspectral_geo.spectral import SpectralBasis
from hyperspectral_geo.spectral.noise_edge import covariance_noise_edge
from hyperspectral_geo.validation import require_finite, require_floating, require_orthonormal

__all__ = ["ConceptModule", "concept_module"]


@dataclass(frozen=True, eq=False, repr=False)
class ConceptModule:
    """A concept: mean m, orthonormal directions U with variances λ, and the noise σ² of all directions.

    As a density it is N(m, σ²I + U diag(λ) Uᵀ) (probabilistic principal components with the noise added, not replaced);
    as a subspace it is span(U). The sign and order of columns carry no meaning.

    Attributes:
        name: of the concept, such as ``"cat"``.
        mean: (n,), float64, in the coordinates of ``space``.
        basis: U, (n, p), n ≥ p ≥ 0; p = 0 is a concept that is a single point, or what remains of none.
        eigenvalues: λ, (p,), variances > 0, descending, about the mean (divided by the number of samples).
        noise: σ² > 0, variance of every direction.
        count: number of samples behind it.
        space: fingerprint of the background whose coordinates these are; empty for the features themselves.

    Raises:
        ValueError: for shapes that do not fit, columns that are not orthonormal, variances that are not positive.
    """

    name: str
    mean: Float[Tensor, " n"]
    basis: Float[Tensor, "n p"]
    eigenvalues: Float[Tensor, " p"]
    noise: float
    count: int
    space: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.space, str):
            raise ValueError(f"name, space: expected texts, got {self.name!r} and {self.space!r}; pass strings")
        where = f"concept {self.name!r}"
        n, p = self.basis.shape if self.basis.ndim == 2 else (0, 0)
        if self.basis.ndim != 2 or not p <= n or self.mean.shape != (n,) or self.eigenvalues.shape != (p,):
            raise ValueError(
                f"{where}: expected mean (n,), basis (n, p) and eigenvalues (p,), got {tuple(self.mean.shape)}, "
                f"{tuple(self.basis.shape)} and {tuple(self.eigenvalues.shape)}"
            )
        for key in ("mean", "basis", "eigenvalues"):
            require_floating(f"{where}, {key}", getattr(self, key))
            tensor: Tensor = getattr(self, key).detach().to(torch.float64)
            require_finite(f"{where}, {key}", tensor)
            object.__setattr__(self, key, tensor.clone(memory_format=torch.contiguous_format))
        require_orthonormal(f"{where}, basis", self.basis)
        values = self.eigenvalues
        if p and (bool((values <= 0).any()) or bool((values[1:] > values[:-1]).any())):
            raise ValueError(f"{where}: expected eigenvalues > 0 that descend, got {values[:8].tolist()}; sort them")
        if not isinstance(self.noise, Real) or not 0 < self.noise < float("inf"):
            raise ValueError(f"{where}: expected a noise variance > 0, got {self.noise!r}")
        if not isinstance(self.count, int) or self.count < 0:
            raise ValueError(f"{where}: expected a whole number of samples, got {self.count!r}")

    @property
    def width(self) -> int:
        """Dimension of the space."""
        return len(self.mean)

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self.basis.shape[1]

    def covariance(self) -> Float[Tensor, "n n"]:
        """U diag(λ) Uᵀ, without the noise: it does not depend on signs, order, or the choice of tied directions."""
        return (self.basis * self.eigenvalues) @ self.basis.T

    def angles(self, other: ConceptModule) -> Float[Tensor, " q"]:
        """Principal angles to another concept's directions, radians, ascending; none if either has no direction."""
        require_one_space(self, other)
        if not self.rank or not other.rank:
            return self.mean.new_zeros(0)
        return principal_angles(self.basis, other.basis)

    def log_density(self, z: Float[Tensor, "k n"], *, spread: float = 1.0) -> Float[Tensor, " k"]:
        """log N(z; m, σ²I + κ U diag(λ) Uᵀ), without the constant −½n log 2π; κ = ``spread`` shrinks the directions.

        By Woodbury's identity it costs O(knp): −½[‖z − m‖²/σ² − Σ gᵢaᵢ²/σ² + n log σ² + Σ log(1 + κλᵢ/σ²)], with
        aᵢ = uᵢᵀ(z − m) and gᵢ = κλᵢ/(σ² + κλᵢ).
        """
        return self.density_of(*self.deviations(z), spread=spread)

    def deviations(self, z: Float[Tensor, "k n"]) -> tuple[Float[Tensor, " k"], Float[Tensor, "k p"]]:
        """‖z − m‖² and the squares aᵢ² of the coordinates along the directions: all that a density needs of samples."""
        require_floating("z", z)
        from_mean = z - self.mean
        return from_mean.square().sum(1), (from_mean @ self.basis).square()

    def density_of(
        self, distances: Float[Tensor, " k"], squares: Float[Tensor, "k p"], *, spread: float = 1.0
    ) -> Float[Tensor, " k"]:
        """``log_density`` from ``deviations``; many spreads can share these."""
        gains = self.gains(spread=spread)
        volume = self.width * math.log(self.noise) - torch.log1p(-gains).sum()
        return -0.5 * ((distances - squares @ gains) / self.noise + volume)

    def gains(self, *, spread: float = 1.0) -> Float[Tensor, " p"]:
        """gᵢ = κλᵢ/(σ² + κλᵢ) in [0, 1): how much of a deviation along direction i is the concept's own."""
        own = spread * self.eigenvalues
        return own / (self.noise + own)

    def spectral_basis(self) -> SpectralBasis:
        """The same as a ``SpectralBasis`` of kind variance; refused without directions, which it cannot hold."""
        if not self.rank:
            raise ValueError(f"concept {self.name!r}: expected at least one direction, got a concept that is a point")
        return SpectralBasis(self.basis, self.eigenvalues, self.name, mean=self.mean)

    def __repr__(self) -> str:
        return f"ConceptModule({self.name!r}, width={self.width}, rank={self.rank}, count={self.count})"


def concept_module(
    x: Float[Tensor, "k n"],
    *,
    name: str,
    rank: int | Literal["noise"] | None = None,
    background: Background | None = None,
) -> ConceptModule:
    """Learn a concept from its own samples alone.

    Args:
        x: k ≥ 1 samples of the concept, one a row, float32 or float64; computed in float64.
        name: of the concept.
        rank: how many directions to keep at most; ``None`` all k − 1, ``"noise"`` those above the Marchenko–Pastur edge
            (with a background its variance 1 is the noise; alone, the noise is read off the median).
        background: shared coordinates; the noise is then 1. Without one, the noise is the mean variance tr S/n.

    Returns:
        ``ConceptModule`` in the coordinates of the background.

    Raises:
        ValueError: for no samples, NaN, another number of features than the background has, or, without a background,
            samples that are all equal: a lone point says nothing of its scale.

    References:
        Tipping and Bishop, "Probabilistic principal component analysis", 1999.

    Example:
        >>> x = torch.tensor([[2.0, 0.0, 1.0], [4.0, 0.0, 1.0]])
        >>> cat = concept_module(x, name="cat")
        >>> cat, cat.eigenvalues
        (ConceptModule('cat', width=3, rank=1, count=2), tensor([1.], dtype=torch.float64))
    """
    check_samples("x", x)
    if isinstance(rank, bool) or not (rank is None or rank == "noise" or isinstance(rank, SupportsIndex)):
        raise ValueError(f"rank: expected a whole number, 'noise' or None, got {rank!r}")
    z = x.to(core_dtype(x)) if background is None else background.whiten(x)
    basis, eigenvalues = row_spectrum(centred_rows(z))
    noise = 1.0 if background is not None else eigenvalues.sum().item() / z.shape[1]
    if not noise > 0:
        raise ValueError(f"x: expected samples of {name!r} that differ, got {len(x)} equal ones; pass a background")
    if isinstance(rank, str):
        kept = _above_noise(eigenvalues, len(z), z.shape[1], known=background is not None)
    else:
        kept = len(eigenvalues) if rank is None else min(operator.index(rank), len(eigenvalues))
        if kept < 0:
            raise ValueError(f"rank: expected 0 or more, got {rank}")
    space = "" if background is None else background.fingerprint
    return ConceptModule(name, z.mean(0), basis[:, :kept], eigenvalues[:kept], noise, len(z), space)


def require_one_space(*modules: ConceptModule) -> None:
    """Raise ``ValueError`` unless all concepts lie in the same coordinates."""
    first = modules[0]
    for other in modules[1:]:
        if not isinstance(other, ConceptModule):
            raise ValueError(f"expected a ConceptModule, got {type(other).__name__}; make one with concept_module")
        if other.width != first.width or other.space != first.space:
            raise ValueError(
                f"concept {other.name!r}: expected {first.width} coordinates of background {first.space or 'none'!r} "
                f"like {first.name!r}, got {other.width} of {other.space or 'none'!r}; take the same background"
            )


def _above_noise(eigenvalues: Tensor, samples: int, features: int, *, known: bool) -> int:
    if samples < 3:
        return 0
    full = eigenvalues.new_zeros(min(samples - 1, features))
    full[: len(eigenvalues)] = eigenvalues[: len(full)] * samples / (samples - 1)
    edge = covariance_noise_edge(full, samples=samples, features=features, variance=1.0 if known else None)
    return int((full > edge).sum())

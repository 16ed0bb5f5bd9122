"""Concepts, each a subspace with a spectrum, joined in one common basis on the Grassmannian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.linalg import orthonormalize
from hyperspectral_geo.manifolds import flag_mean
from hyperspectral_geo.spectral import SpectralBasis
from hyperspectral_geo.validation import require_finite, require_same_kind, require_vectors

__all__ = ["ConceptSpace", "merge_concepts"]


@dataclass(frozen=True, eq=False)
class ConceptSpace:
    """A common basis with eigenvalues, and the concepts as frames in it; made by ``merge_concepts``.

    Attributes:
        basis: M, (n, d), orthonormal columns.
        eigenvalues: θ, (d,), how much each direction counts; ones after the merge.
        frames: MᵀU_k, (k, d, p), the concepts' bases in common coordinates.
        names: one name a concept.
    """

    basis: Float[Tensor, "n d"]
    eigenvalues: Float[Tensor, " d"]
    frames: Float[Tensor, "k d p"]
    names: tuple[str, ...]

    def scores(self, x: Float[Tensor, "m n"]) -> Float[Tensor, "m k"]:
        """Share of each vector's energy that lies in each concept, ‖P_k z‖²/‖z‖² in [0, 1], z = diag(θ) Mᵀx."""
        require_rows_in_space("x", x, self.basis)
        return energy_shares(x @ self.basis, self.eigenvalues, self.frames)

    def with_eigenvalues(self, eigenvalues: Float[Tensor, " d"]) -> ConceptSpace:
        """The same space with other eigenvalues."""
        require_same_kind(basis=self.basis, eigenvalues=eigenvalues)
        if eigenvalues.shape != self.eigenvalues.shape:
            raise ValueError(
                f"eigenvalues: expected shape {tuple(self.eigenvalues.shape)}, got {tuple(eigenvalues.shape)}"
            )
        require_finite("eigenvalues", eigenvalues)
        if not bool((eigenvalues > 0).all()):
            raise ValueError(f"eigenvalues: expected numbers > 0, got {eigenvalues.min().item():g}")
        return replace(self, eigenvalues=eigenvalues)


def merge_concepts(bases: Sequence[SpectralBasis], *, dim: int) -> ConceptSpace:
    """Join concepts in the d-dimensional subspace nearest to all of theirs: the flag mean, on the Grassmannian.

    Only the subspaces count: the eigenvalues and the means of the bases are not used.

    Args:
        bases: one basis a concept, of equal dimensions n and p.
        dim: d, from p to the sum of the concepts' dimensions.

    Raises:
        ValueError: for no bases, differing shapes or dtypes, or a dim out of range or so small that a concept loses
            rank.

    Example:
        >>> axes = torch.eye(4, dtype=torch.float64)
        >>> cat, dog = (
        ...     SpectralBasis(axes[:, i : i + 1], torch.ones(1, dtype=torch.float64), n)
        ...     for i, n in enumerate(("cat", "dog"))
        ... )
        >>> merge_concepts([cat, dog], dim=2).scores(axes[:2])
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    require_bases("bases", bases)
    if len(bases) == 0:
        raise ValueError("bases: expected at least one concept, got none")
    shapes = {(b.n, b.p) for b in bases}
    if len(shapes) > 1:
        raise ValueError(f"bases: expected equal shapes (n, p), got {sorted(shapes)}; truncate them to one rank")
    for i, b in enumerate(bases):
        require_same_kind(**{"bases[0]": bases[0].basis, f"bases[{i}]": b.basis})
    frames = torch.stack([b.basis for b in bases])
    if isinstance(dim, int) and dim < frames.shape[-1]:
        raise ValueError(
            f"dim: expected at least p = {frames.shape[-1]} so that each concept keeps its rank, got {dim}"
        )
    common = flag_mean(frames, dim=dim)
    inside = common.mT @ frames
    kept = torch.linalg.svdvals(inside)[:, -1]
    if bool((kept <= 100 * torch.finfo(kept.dtype).eps).any()):
        lost = bases[int(kept.argmin())].name
        raise ValueError(
            f"dim: expected enough for every concept to keep its rank, but a direction of {lost!r} is orthogonal to "
            f"the common subspace of dimension {dim}; raise dim"
        )
    return ConceptSpace(common, torch.ones_like(common[0]), inside, tuple(b.name for b in bases))


def require_bases(name: str, bases: object) -> None:
    """Raise ``ValueError`` unless ``bases`` is a sequence of ``SpectralBasis``."""
    if not isinstance(bases, Sequence):
        raise ValueError(f"{name}: expected a list of SpectralBasis, got {type(bases).__name__}; pass a list")
    other = next((b for b in bases if not isinstance(b, SpectralBasis)), None)
    if other is not None:
        raise ValueError(f"{name}: expected SpectralBasis, got {type(other).__name__}; wrap each tensor in one")


def require_rows_in_space(name: str, x: Tensor, basis: Tensor) -> None:
    """Raise ``ValueError`` unless ``x`` is finite, of the kind of ``basis`` (n, d), and of shape (m, n)."""
    require_vectors(name, x)
    require_finite(name, x)
    require_same_kind(basis=basis, **{name: x})
    if x.ndim != 2 or x.shape[1] != basis.shape[0]:
        raise ValueError(f"{name}: expected shape (m, {basis.shape[0]}), one vector a row, got {tuple(x.shape)}")


def energy_shares(
    z: Float[Tensor, "m d"], eigenvalues: Float[Tensor, " d"], frames: Float[Tensor, "k d p"]
) -> Float[Tensor, "m k"]:
    """‖P_k diag(θ)z‖²/‖diag(θ)z‖², P_k projecting on the span of diag(θ) frames_k; differentiable in θ."""
    weighted = z * eigenvalues
    # so that squares of large or small vectors neither overflow nor vanish; a zero vector scores zero
    largest = weighted.detach().abs().amax(-1, keepdim=True)
    weighted = weighted / largest.clamp_min(torch.finfo(z.dtype).tiny)
    inside = orthonormalize(frames * eigenvalues.unsqueeze(-1))
    energy = (weighted @ inside).square().sum(-1).mT
    return energy / weighted.square().sum(-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)

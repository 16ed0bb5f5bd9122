"""Union, intersection, difference and weighted composition of concepts, as operations on subspaces with variances.

All are functions of projectors and covariances, so that neither signs nor the order of eigenvectors, nor the choice of
basis among tied eigenvalues, can change a result. A direction counts as shared by two concepts if its principal angle
is below 45° (cosine above √½), that is, if it lies nearer to the other concept than to its complement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule, require_one_space
from hyperspectral_geo.linalg import symmetrize
from hyperspectral_geo.validation import resolve_weights

__all__ = ["compose", "difference", "intersection", "union"]

_SHARED = math.sqrt(0.5)
_SAME_ANGLE = 1e-6  # radians below which two directions are one: float64 cannot tell their difference from rounding


def union(
    *concepts: ConceptModule, weights: Tensor | Sequence[float] | None = None, name: str | None = None
) -> ConceptModule:
    """The joint span of concepts, with the variances of Σ wᵢ UᵢΛᵢUᵢᵀ on it.

    The span is that of the sum of projectors Σ UᵢUᵢᵀ (every level of their flag), whatever the weights, which say how
    much each concept's variances and mean count. union(a, a) is a, and the order of concepts does not matter.

    Args:
        concepts: one or more, in the same coordinates.
        weights: one a concept, > 0 for the variances to remain; rescaled to sum to one, equal by default.
        name: of the result; by default the names joined by ``∪``.

    Raises:
        ValueError: for no concept, different coordinates, or weights that are not positive.

    References:
        Draper, Kirby, Marks, Marrinan and Peterson, "A flag representation for finite collections of subspaces of mixed
        dimensions", 2014.

    Example:
        >>> e = torch.eye(3, dtype=torch.float64)
        >>> a = ConceptModule("a", e[0], e[:, :1], e[0, :1], 1.0, 5)
        >>> b = ConceptModule("b", e[0], e[:, 1:2], e[0, :1], 1.0, 5)
        >>> union(a, b), union(a, a).rank
        (ConceptModule('a∪b', width=3, rank=2, count=10), 1)
    """
    w = _weights(concepts, weights)
    if bool((w <= 0).any()):
        raise ValueError(f"weights: expected numbers > 0, got {w.min().item():g}; leave the concept out instead")
    beside = torch.cat([concept.basis for concept in concepts], 1)
    left, values, _ = torch.linalg.svd(beside, full_matrices=False)
    span = left[:, values > _SAME_ANGLE]  # two unit vectors at angle θ add the singular value √2·sin(θ/2)
    core = span.new_zeros(span.shape[1], span.shape[1])
    for weight, concept in zip(w, concepts, strict=True):
        core += weight * _seen_from(span, concept)
    basis, eigenvalues = _spectrum(span, core)
    return _joined("∪", concepts, w, basis, eigenvalues, name)


def compose(
    concepts: Sequence[ConceptModule], weights: Tensor | Sequence[float] | None = None, *, name: str | None = None
) -> ConceptModule:
    """The one concept with the moments of a mixture: m = Σ wᵢmᵢ, covariance Σ wᵢ (UᵢΛᵢUᵢᵀ + (mᵢ − m)(mᵢ − m)ᵀ).

    Unlike ``union`` it also spans the differences of the means. With weights in proportion to the counts, and all
    directions kept, it is the concept that the samples of all of them together would have given.

    Args:
        concepts: one or more, in the same coordinates.
        weights: one a concept, ≥ 0, rescaled to sum to one; by default in proportion to the counts.
        name: of the result; by default the names joined by ``+``.

    Raises:
        ValueError: for no concept, different coordinates, or weights that are negative or all zero.

    Example:
        >>> e = torch.eye(3, dtype=torch.float64)
        >>> a, b = (ConceptModule(k, m, e[:, :0], e[0, :0], 1.0, 1) for k, m in zip("ab", e))
        >>> compose([a, b]).eigenvalues
        tensor([0.5000], dtype=torch.float64)
    """
    if weights is None and concepts and all(c.count for c in concepts):
        weights = [float(c.count) for c in concepts]
    w = _weights(concepts, weights)
    means = torch.stack([concept.mean for concept in concepts])
    between = (means - w @ means).T * w.sqrt()
    roots = [c.basis * (weight * c.eigenvalues).sqrt() for weight, c in zip(w, concepts, strict=True)]
    left, values, _ = torch.linalg.svd(torch.cat([between, *roots], 1), full_matrices=False)
    # squares of singular values below this are rounding, of the means as well, which may be large beside the spread
    floor = max(values[0].item(), means.abs().max().item()) * left.shape[0] * torch.finfo(values.dtype).eps
    kept = values > floor
    return _joined("+", concepts, w, left[:, kept], values[kept].square(), name)


def intersection(
    a: ConceptModule, b: ConceptModule, *, threshold: float = _SHARED, name: str | None = None
) -> ConceptModule:
    """Directions that two concepts share: the bisectors of principal vectors whose cosine is above ``threshold``.

    The variances are those of the geometric mean C_a # C_b = C_a^½ (C_a^−½ C_b C_a^−½)^½ C_a^½ of both concepts'
    covariances on these directions: small where either is small. The mean and the noise are half-way. intersection(a,
    a) is a; concepts that share nothing give one with p = 0.

    Args:
        a, b: concepts in the same coordinates.
        threshold: cosine of the principal angle, in (0, 1); √½ by default.
        name: of the result; by default the names joined by ``∩``.

    Raises:
        ValueError: for different coordinates or a threshold out of range.

    References:
        Björck and Golub 1973 (principal vectors); Bhatia, "Positive Definite Matrices", 2007 (geometric mean).

    Example:
        >>> e = torch.eye(3, dtype=torch.float64)
        >>> a = ConceptModule("a", e[0], e[:, :2], 4 * e[0, :1].expand(2), 1.0, 5)
        >>> b = ConceptModule("b", e[0], e[:, 1:], e[0, :1].expand(2), 1.0, 5)
        >>> intersection(a, b).eigenvalues
        tensor([2.], dtype=torch.float64)
    """
    left, cosines, right, shared = _principal(a, b, threshold)
    towards = a.basis @ left[:, :shared] + b.basis @ right[:, :shared]
    span = towards / (2 + 2 * cosines[:shared]).sqrt()  # ‖u + v‖ for unit vectors with this cosine
    core = _geometric_mean(_seen_from(span, a), _seen_from(span, b)) if shared else span.new_zeros(0, 0)
    basis, eigenvalues = _spectrum(span, core)
    return _joined("∩", (a, b), a.mean.new_tensor([0.5, 0.5]), basis, eigenvalues, name)


def difference(
    a: ConceptModule, b: ConceptModule, *, threshold: float = _SHARED, name: str | None = None
) -> ConceptModule:
    """What a has and b lacks: a's directions that are not shared, less their projection on b.

    Of a's principal vectors those with a cosine up to ``threshold`` remain, as (I − P_b)u, with a's covariance of
    these; the result is orthogonal to b. It has a.rank minus intersection(a, b).rank directions: difference(a, a)
    has none, and keeps the mean and the noise of a.

    Arguments and errors as ``intersection``; the name is joined by ``∖``.

    Example:
        >>> e = torch.eye(3, dtype=torch.float64)
        >>> a = ConceptModule("a", e[0], e[:, :2], e[0, :1].expand(2), 1.0, 5)
        >>> b = ConceptModule("b", e[0], e[:, 1:], e[0, :1].expand(2), 1.0, 5)
        >>> difference(a, b).basis.abs().T
        tensor([[1., 0., 0.]], dtype=torch.float64)
    """
    left, _, _, shared = _principal(a, b, threshold)
    own = left[:, shared:]
    rest = a.basis @ own
    rest = rest - b.basis @ (b.basis.T @ rest)
    inner, lengths, turn = torch.linalg.svd(rest, full_matrices=False)
    core = (own.T * a.eigenvalues) @ own
    moved = lengths[:, None] * (turn @ core @ turn.T) * lengths
    basis, eigenvalues = _spectrum(inner, moved)
    return ConceptModule(name or f"{a.name}∖{b.name}", a.mean, basis, eigenvalues, a.noise, a.count, a.space)


def _principal(a: ConceptModule, b: ConceptModule, threshold: float) -> tuple[Tensor, Tensor, Tensor, int]:
    """All of a's and b's principal vectors in their own coordinates, the cosines, and how many are shared."""
    if not isinstance(threshold, Real) or not 0 < threshold < 1:
        raise ValueError(f"threshold: expected a cosine in (0, 1), got {threshold!r}; the default is 0.7071")
    require_one_space(a, b)
    left, cosines, right_t = torch.linalg.svd(a.basis.T @ b.basis, full_matrices=True)
    return left, cosines, right_t.T, int((cosines > threshold).sum())


def _seen_from(span: Tensor, concept: ConceptModule) -> Float[Tensor, "q q"]:
    """The concept's covariance in the coordinates of a span."""
    inside = span.T @ concept.basis
    return (inside * concept.eigenvalues) @ inside.T


def _spectrum(span: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal directions span·Q and falling variances of a covariance that is ``core`` on the span."""
    if not core.numel():
        return span[:, :0], span.new_zeros(0)
    values, vectors = torch.linalg.eigh(symmetrize(core))
    values, vectors = values.flip(0), vectors.flip(1)
    smallest = torch.finfo(values.dtype).eps * values[0].clamp_min(torch.finfo(values.dtype).tiny)
    return torch.linalg.qr(span @ vectors)[0], values.clamp_min(smallest.item())


def _geometric_mean(a: Tensor, b: Tensor) -> Tensor:
    root, inverse = _powers(a, 0.5), _powers(a, -0.5)
    return root @ _powers(inverse @ b @ inverse, 0.5) @ root


def _powers(a: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(symmetrize(a))
    smallest = torch.finfo(values.dtype).eps * values[-1].item()
    return (vectors * values.clamp_min(smallest) ** power) @ vectors.T


def _weights(concepts: Sequence[ConceptModule], weights: Tensor | Sequence[float] | None) -> Tensor:
    if not concepts:
        raise ValueError("concepts: expected one or more, got none")
    require_one_space(*concepts)
    return resolve_weights(weights, len(concepts), like=concepts[0].mean)


def _joined(
    sign: str, concepts: Sequence[ConceptModule], w: Tensor, basis: Tensor, eigenvalues: Tensor, name: str | None
) -> ConceptModule:
    mean = w @ torch.stack([concept.mean for concept in concepts])
    noise = sum(weight * concept.noise for weight, concept in zip(w.tolist(), concepts, strict=True))
    count = sum(concept.count for concept in concepts)
    joined = name or sign.join(concept.name for concept in concepts)
    return ConceptModule(joined, mean, basis, eigenvalues, float(noise), count, concepts[0].space)

"""Picking the directions that a task needs without labels: from names of the classes, or from concept modules."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_samples
from hyperspectral_geo.fusion.light.discriminant import ClassMoments, class_moments, solve
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace
from hyperspectral_geo.validation import resolve_weights

__all__ = ["Concept", "select_by_text", "select_from_concepts"]


@runtime_checkable
class Concept(Protocol):
    """A concept module: principal directions (d, r) of its members, their variances (r,), and their mean (d,)."""

    @property
    def basis(self) -> Tensor:
        """Orthonormal columns."""
        ...

    @property
    def eigenvalues(self) -> Tensor:
        """Variances along them."""
        ...

    @property
    def mean(self) -> Tensor | None:
        """Of the members."""
        ...


def select_by_text(
    x: Float[Tensor, "n d"],
    class_vectors: Float[Tensor, "C d"],
    *,
    classes: Sequence[Hashable] | None = None,
    ridge: float = 10.0,
) -> TaskSubspace:
    """Directions that tell classes apart of which only an encoded name or description is known, without labels.

    As ``select``, with the covariance of unlabelled rows and, as class means, the names' vectors: centred, and
    made of equal length in the whitened metric, so that the score is a cosine. Rows are centred by their own mean,
    which takes away what separates all images from all texts.

    Args:
        x: rows of one view in a joint space, (n, d), better of other classes: the covariance of those to be told apart
            holds what tells them apart, and whitening shrinks that; n ≥ 2.
        class_vectors: (C, d), of another view in the same space, such as encoded captions; C ≥ 2.
        classes: what they stand for; numbers if left out.
        ridge: λ > 0 in units of the mean variance of the rows, without labels to choose it by: the larger, the more the
            score is the plain cosine of ``zero_shot``; below 1 it whitens noise.

    Raises:
        ValueError: for NaN, unequal widths, fewer than two rows or classes, equal class vectors,
            or equal rows.

    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [0.9, 0.2], [-1.1, -0.1]])
    >>> select_by_text(x, torch.tensor([[3.0, 0.0], [1.0, 0.0]]), classes=["dog", "cat"]).predict(x).tolist()
    [0, 1, 0, 1]
    """
    for name, rows in (("x", x), ("class_vectors", class_vectors)):
        check_samples(name, rows)
    names = tuple(range(len(class_vectors))) if classes is None else tuple(classes)
    _check_classes(names, len(class_vectors))
    _check_ridge(ridge)
    if x.shape[1] != class_vectors.shape[1]:
        raise ValueError(
            f"class_vectors: expected {x.shape[1]} columns as x, got {class_vectors.shape[1]}; encode both"
        )
    if len(x) < 2:
        raise ValueError("x: expected at least 2 rows, for a covariance, got 1")
    wide = x.double()
    found = class_moments(wide, torch.zeros(len(x), dtype=torch.long), 1)
    offsets = (class_vectors.double() - class_vectors.double().mean(0)) @ found.axes
    lengths = (offsets.square() / (found.variances + ridge * found.spread)).sum(1, keepdim=True).sqrt()
    if not bool((lengths > 1e-9 * offsets.abs().max()).all()) or not bool((lengths > 0).all()):
        raise ValueError("class_vectors: expected vectors that differ, got equal ones; describe the classes otherwise")
    shares = torch.full((len(names),), 1 / len(names), dtype=torch.float64)
    return _unlabelled(found._replace(offsets=offsets / lengths, shares=shares), names, ridge, x.dtype)


def select_from_concepts(
    concepts: Mapping[Hashable, Concept], *, ridge: float = 1.0, weights: Sequence[float] | None = None
) -> TaskSubspace:
    """Directions that tell concepts apart of which only modules are at hand, not their members.

    As ``select``, with the modules' means as class means and W = Σ π_c B_c Λ_c B_cᵀ. A concept can so be added
    to or taken from a task without its data. Modules of the features as they are make better small models than those of
    a ``Background`` of fewer rows than features, which amplifies noise.

    Args:
        concepts: name → module with an orthonormal ``basis`` (d, r), variances ``eigenvalues`` (r,) and ``mean`` (d,),
            such as a ``SpectralBasis`` of activations; at least two.
        ridge: λ > 0 in units of the mean variance. It stands for the directions that the modules left out as well.
        weights: π, shares of the concepts, > 0; alike if left out.

    Raises:
        ValueError: for fewer than two concepts, one without a mean, or modules of different spaces.

    >>> from hyperspectral_geo.spectral import from_activations
    >>> cat, dog = (from_activations(torch.eye(3) + offset) for offset in (torch.zeros(3), torch.ones(3)))
    >>> select_from_concepts({"cat": cat, "dog": dog}).predict(torch.tensor([[1.0, 1.0, 0.9]])).tolist()
    [1]
    """
    names = tuple(concepts)
    _check_classes(names, len(names))
    _check_ridge(ridge)
    means, roots = [], []
    for name, concept in concepts.items():
        if concept.mean is None:
            raise ValueError(
                f"concept {name!r}: expected one with a mean, got none; extract it from centred activations"
            )
        if getattr(concept, "space", "") != getattr(concepts[names[0]], "space", ""):
            raise ValueError(f"concept {name!r}: expected the background of the others, got another; make them alike")
        if means and (concept.mean.shape, concept.mean.dtype) != (means[0].shape, means[0].dtype):
            raise ValueError(
                f"concept {name!r}: expected the space and dtype of the others, got {concept.mean.dtype} "
                f"of {len(concept.mean)} features"
            )
        means.append(concept.mean)
        roots.append(concept.basis.double() * concept.eigenvalues.double().sqrt())
    shares = resolve_weights(weights, len(names), like=means[0].double())
    if not bool((shares > 0).all()):
        raise ValueError("weights: expected shares > 0, got 0; leave the concept out instead")
    centroids = torch.stack(means).double()
    mean = shares @ centroids
    stacked = torch.cat([root * share.sqrt() for root, share in zip(roots, shares, strict=True)], 1)
    # All happens in the span of the modules and of their means.
    frame = torch.linalg.svd(torch.cat([stacked, (centroids - mean).T], 1), full_matrices=False).U
    variances, axes = torch.linalg.eigh(frame.T @ stacked @ stacked.T @ frame)
    if not float(variances.mean()) > 0:
        raise ValueError("concepts: expected directions in which members vary, got none in any; use more members")
    axes = frame @ axes
    found = ClassMoments(mean, axes, variances.clamp_min(0), (centroids - mean) @ axes, shares, float(variances.mean()))
    return _unlabelled(found, names, ridge, means[0].dtype)


def _unlabelled(found: ClassMoments, names: tuple[Hashable, ...], ridge: float, dtype: torch.dtype) -> TaskSubspace:
    discriminant = solve(found, ridge)
    return TaskSubspace(
        mean=found.mean.to(dtype),
        weights=(found.axes @ discriminant.directions).to(dtype),
        eigenvalues=discriminant.eigenvalues.to(dtype),
        centroids=discriminant.centroids.to(dtype),
        log_priors=found.shares.log().to(dtype),
        temperature=1.0,
        classes=names,
        noise_edge=0.0,
        ridge=ridge,
    )


def _check_ridge(ridge: float) -> None:
    if not 0 < ridge < math.inf:
        raise ValueError(f"ridge: expected a finite number > 0, got {ridge!r}; 1 to 10 is usual")


def _check_classes(names: Sequence[Hashable], count: int) -> None:
    if count < 2 or len(names) != count or len(set(names)) != count:
        raise ValueError(f"classes: expected {max(count, 2)} different names, one a class, got {len(set(names))}")

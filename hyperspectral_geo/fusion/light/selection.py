"""Picking the directions of a large model that a task needs: from labels, from class names, from concept modules."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_count, check_samples
from hyperspectral_geo.fusion.light.discriminant import (
    ClassMoments,
    choose,
    class_moments,
    continued,
    noise_edge,
    solve,
)
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace
from hyperspectral_geo.validation import resolve_weights

__all__ = ["Concept", "select", "select_by_text", "select_from_concepts"]

_RIDGES = tuple(10 ** (power / 2) for power in range(-5, 5))


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


def select(
    x: Float[Tensor, "n d"],
    y: Int[Tensor, " n"] | Sequence[Hashable],
    *,
    n_components: int | None = None,
    ridges: Sequence[float] = _RIDGES,
    folds: int = 5,
    seed: int = 0,
) -> TaskSubspace:
    r"""Directions of frozen features that tell the classes of labelled rows apart, in nested order.

    With the covariances W within and B between the classes,

        B v = μ (W + λI) v,    vᵀ(W + λI)v = 1,    weights = √τ·v,    M_c = √τ·s·m_c,    s = μ/(μ + h),

    in the order of μ, where m_c is the mean of class c in the coordinates v: at most C − 1 directions have μ > 0. At
    h = 0 this is regularised linear discriminant analysis. At h = 1 the factor s is ρ², the squared (regularised)
    canonical correlation of features and labels, and draws centroids in where they are least certain: rows that were
    not seen fall short of the means of those that were, the more so the smaller ρ is. λ and τ (how much distances count
    beside the shares of the classes) are chosen by the accuracy on held-out folds of the rows given; h is 1 unless 0 is
    better there by a standard error; then the temperature is chosen by the log-loss.

    What lies above the noise edge is the task's subspace: the largest μ of labels that were shuffled. Beyond C − 1 come
    the directions of the largest variance within classes; the scores do not use them, a later head may.

    Args:
        x: (n, d), float32 or float64; computed in float64.
        y: class of each row: whole numbers, or names; at least two classes, and two rows in one of them.
        n_components: k; ``None`` keeps min(C − 1, d), all that the scores can use.
        ridges: candidates for λ, > 0, in units of the mean variance within classes.
        folds: of the cross-validation, dealt class by class; classes of one row are never held out alone.
        seed: of the folds and of the shuffles.

    Returns:
        A ``TaskSubspace`` in the dtype of x.

    Raises:
        ValueError: for NaN, a wrong shape, one class, no two rows of a class, features that do not vary within or
            between classes, a candidate that is not > 0, or more components than features.

    References:
        Fisher, "The use of multiple measurements in taxonomic problems", 1936; Friedman, "Regularized discriminant
        analysis", 1989; Kusupati et al., "Matryoshka representation learning", 2022, arXiv:2205.13147, for nested
        prefixes.

    >>> x = torch.tensor([[0.0, 5.0], [0.1, -5.0], [1.0, 4.0], [1.1, -4.0]])
    >>> task = select(x, ["a", "a", "b", "b"], folds=2)
    >>> task.classes, task.predict(torch.tensor([[0.2, 9.0], [0.9, 9.0]])).tolist()
    (('a', 'b'), [0, 1])
    """
    check_samples("x", x)
    classes, labels = _labels(y, len(x))
    check_count("folds", folds)
    if folds < 2:
        raise ValueError(f"folds: expected 2 or more, got {folds}; one ridge in ridges needs no choice")
    if not ridges or not all(0 < ridge < math.inf for ridge in ridges):
        raise ValueError(f"ridges: expected finite candidates > 0, got {tuple(ridges)}")
    wide = x.double()
    mean, peak = wide.mean(0), float(wide.abs().max()) or 1.0
    rows = (wide - mean) / peak  # squares of the entries could overflow, those of entries / peak cannot
    if not bool((rows.abs().amax(0) > 1e-12).any()):
        raise ValueError("x: expected features that vary, got constant ones only; check how they were made")
    # With few rows all happens in their span, which is exact and much smaller.
    frame = torch.linalg.svd(rows, full_matrices=False).Vh.T if len(rows) <= rows.shape[1] else None
    rows = rows if frame is None else rows @ frame
    generator = torch.Generator().manual_seed(seed)
    ridge, pull, scale, temperature = choose(rows, labels, len(classes), ridges, folds, generator)
    found = class_moments(rows, labels, len(classes))
    discriminant = solve(found, ridge)
    edge = noise_edge(rows, labels, len(classes), ridge * found.spread, generator)
    if n_components is not None:
        discriminant = continued(found, discriminant, ridge, n_components)
    discriminant = discriminant.drawn_in(pull).scaled(scale)
    weights = found.axes @ discriminant.directions
    return TaskSubspace(
        mean=mean.to(x.dtype),
        weights=((weights if frame is None else frame @ weights) / peak).to(x.dtype),
        eigenvalues=discriminant.eigenvalues.to(x.dtype),
        centroids=discriminant.centroids.to(x.dtype),
        log_priors=found.shares.log().to(x.dtype),
        temperature=temperature,
        classes=classes,
        noise_edge=edge,
        ridge=ridge,
    )


def select_by_text(
    x: Float[Tensor, "n d"],
    class_vectors: Float[Tensor, "C d"],
    *,
    classes: Sequence[Hashable] | None = None,
    ridge: float = 1.0,
) -> TaskSubspace:
    """Directions that tell classes apart of which only an encoded name or description is known, without labels.

    As ``select``, with the covariance of unlabelled rows and, as class means, the names' vectors: centred, and
    made of equal length in the whitened metric, so that the score is a cosine. Rows are centred by their own mean,
    which takes away what separates all images from all texts.

    Args:
        x: rows of one view in a joint space, (n, d): those to be told apart, or others like them; n ≥ 2.
        class_vectors: (C, d), of another view in the same space, such as encoded captions; C ≥ 2.
        classes: what they stand for; numbers if left out.
        ridge: λ > 0 in units of the mean variance of the rows. There are no labels to choose it by.

    Raises:
        ValueError: for NaN, unequal widths, fewer than two rows or classes, equal class vectors,
            or equal rows.

    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [0.9, 0.2], [-1.1, -0.1]])
    >>> select_by_text(x, torch.tensor([[3.0, 0.0], [1.0, 0.0]]), classes=["dog", "cat"]).predict(x).tolist()
    [0, 1, 0, 1]
    """
    check_samples("x", x)
    check_samples("class_vectors", class_vectors)
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
    to or taken from a task without its data.

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
    axes = frame @ axes
    found = ClassMoments(mean, axes, variances.clamp_min(0), (centroids - mean) @ axes, shares, float(variances.mean()))
    return _unlabelled(found, names, ridge, means[0].dtype)


def _labels(y: Tensor | Sequence[Hashable], rows: int) -> tuple[tuple[Hashable, ...], Tensor]:
    """The classes in order, and the number of each row's class."""
    values = y.tolist() if isinstance(y, Tensor) else list(y)
    if len(values) != rows:
        raise ValueError(f"y: expected {rows} labels, one for each row of x, got {len(values)}")
    try:
        classes = tuple(sorted(set(values)))  # pyright: ignore[reportArgumentType]  # or the error below
    except TypeError:
        raise ValueError(
            "y: expected labels that can be sorted, got a mixture; use numbers only, or names only"
        ) from None
    if len(classes) < 2:
        raise ValueError(f"y: expected at least 2 classes, got {len(classes)}; a task tells classes apart")
    if len(classes) == rows:
        raise ValueError("y: expected 2 rows or more in some class, got 1 in each; spread within classes is unknown")
    number = {name: i for i, name in enumerate(classes)}
    return classes, torch.tensor([number[value] for value in values])


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
        raise ValueError(f"ridge: expected a finite number > 0, got {ridge!r}; 1 is usual")


def _check_classes(names: Sequence[Hashable], count: int) -> None:
    if count < 2 or len(names) != count or len(set(names)) != count:
        raise ValueError(f"classes: expected {max(count, 2)} different names, one a class, got {len(set(names))}")

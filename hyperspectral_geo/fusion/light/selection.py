"""Picking the directions of a large model that a task needs, from a few labels."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_count, check_samples
from hyperspectral_geo.fusion.light.discriminant import (
    choose,
    class_moments,
    continued,
    noise_edge,
    solve,
)
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace
from hyperspectral_geo.validation import require_seed

__all__ = ["select"]

_RIDGES = tuple(10 ** (power / 2) for power in range(-5, 5))


def select(
    x: Float[Tensor, "n d"],
    y: Int[Tensor, " n"] | np.ndarray | Sequence[Hashable],
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
    not seen fall short of the means of those that were, the more so the smaller ρ is. Of few rows even the lengths of
    centroids are uncertain, and it may be better to have them all alike. λ, h, whether lengths are alike, and τ (how
    much distances count beside the shares of the classes) are chosen on held-out folds of the rows given: the least
    log-loss among those that are within a standard error of the most right answers. The temperature goes with it.

    What lies above the noise edge is the task's subspace: the largest μ of labels that were shuffled. Beyond C − 1 come
    the directions of the largest variance within classes; the scores do not use them, a later head may.

    Args:
        x: (n, d), float32 or float64; computed in float64.
        y: class of each row: whole numbers, or names; at least two classes, and two rows in one of them. NumPy's become
            Python's.
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

    >>> x = torch.tensor([[0.0, 5.0], [0.1, -5.0], [-0.1, 0.0], [1.0, 4.0], [1.1, -4.0], [0.9, 0.0]])
    >>> task = select(x, ["a", "a", "a", "b", "b", "b"], folds=3)
    >>> task.classes, task.predict(torch.tensor([[0.2, 9.0], [0.9, 9.0]])).tolist()
    (('a', 'b'), [0, 1])
    """
    check_samples("x", x)
    classes, labels = _labels(y, len(x))
    check_count("folds", folds)
    if folds < 2:
        raise ValueError(f"folds: expected 2 or more, got {folds}; one ridge in ridges needs no choice")
    require_seed(seed)
    candidates = _candidates(ridges)
    wide = x.double()
    mean, peak = wide.mean(0), float(wide.abs().max()) or 1.0
    rows = (wide - mean) / peak  # squares of the entries could overflow, those of entries / peak cannot
    if not bool((rows.abs().amax(0) > 1e-12).any()):
        raise ValueError("x: expected features that vary, got constant ones only; check how they were made")
    # With few rows all happens in their span, which is exact and much smaller.
    frame = torch.linalg.svd(rows, full_matrices=False).Vh.T if len(rows) <= rows.shape[1] else None
    rows = rows if frame is None else rows @ frame
    generator = torch.Generator().manual_seed(seed)
    rule = choose(rows, labels, len(classes), candidates, folds, generator)
    found = class_moments(rows, labels, len(classes))
    discriminant = solve(found, rule.ridge)
    edge = noise_edge(rows, labels, len(classes), rule.ridge * found.spread, generator)
    if n_components is not None:
        discriminant = continued(found, discriminant, rule.ridge, n_components)
    if not bool(discriminant.eigenvalues.to(x.dtype).isfinite().all()):
        raise ValueError(
            f"ridges: expected candidates above rounding, got {rule.ridge:g} for classes whose rows do not vary in "
            "some direction; take 1e-6"
        )
    discriminant = discriminant.drawn_in(rule.pull)
    discriminant = (discriminant.levelled() if rule.level else discriminant).scaled(rule.scale)
    weights = found.axes @ discriminant.directions
    return TaskSubspace(
        mean=mean.to(x.dtype),
        weights=((weights if frame is None else frame @ weights) / peak).to(x.dtype),
        eigenvalues=discriminant.eigenvalues.to(x.dtype),
        centroids=discriminant.centroids.to(x.dtype),
        log_priors=found.shares.log().to(x.dtype),
        temperature=rule.temperature,
        classes=classes,
        noise_edge=edge,
        ridge=rule.ridge,
    )


def _candidates(ridges: object) -> tuple[float, ...]:
    try:
        found = tuple(float(ridge) for ridge in ridges)  # pyright: ignore[reportGeneralTypeIssues]  # or the error below
    except (TypeError, ValueError, RuntimeError, OverflowError):  # torch's and Python's for what is no number
        found = ()
    if isinstance(ridges, str) or not found or not all(0 < ridge < math.inf for ridge in found):
        raise ValueError(f"ridges: expected finite candidates > 0, got {ridges!r:.80}; pass a list, such as [0.1, 1.0]")
    return found


def _labels(y: Tensor | np.ndarray | Sequence[Hashable], rows: int) -> tuple[tuple[Hashable, ...], Tensor]:
    """The classes in order, and the number of each row's class."""
    if isinstance(y, Tensor | np.ndarray) and y.ndim != 1:
        got = f"shape {tuple(y.shape)}"
        raise ValueError(f"y: expected a row of {rows} labels, one for each row of x, got {got}; pass y.ravel()")
    if y is None:
        raise ValueError(f"y: expected a label for each of {rows} rows of x, got None")
    labels = y.tolist() if isinstance(y, Tensor) else y
    values = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if len(values) != rows:
        raise ValueError(f"y: expected {rows} labels, one for each row of x, got {len(values)}")
    try:
        missing = any(value != value for value in values)
        classes = tuple(sorted(set(values)))  # pyright: ignore[reportArgumentType]  # or the error below
    except TypeError:
        raise ValueError(
            "y: expected labels that can be sorted, got a mixture; use numbers only, or names only"
        ) from None
    if missing:
        raise ValueError("y: expected a label for each row of x, got NaN; leave these rows out")
    if len(classes) < 2:
        raise ValueError(f"y: expected at least 2 classes, got {len(classes)}; a task tells classes apart")
    if len(classes) == rows:
        raise ValueError("y: expected 2 rows or more in some class, got 1 in each; spread within classes is unknown")
    number = {name: i for i, name in enumerate(classes)}
    return classes, torch.tensor([number[value] for value in values])

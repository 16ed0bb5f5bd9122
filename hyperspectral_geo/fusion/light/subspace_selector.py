"""The selection of task directions as an estimator: fit, transform, predict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hyperspectral_geo.fusion.array_input import class_labels, like_input, sample_matrix, share_right
from hyperspectral_geo.fusion.estimator import Estimator
from hyperspectral_geo.fusion.light.selection import select
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace

__all__ = ["SubspaceSelector"]


class SubspaceSelector(Estimator):
    """Project features to the nested directions that tell classes apart, as ``select`` finds them.

    Args:
        n_components: coordinates to give; fewer where there are fewer directions. ``None`` gives all that classify,
            and ``"noise"`` those above the noise edge, at least one.
        folds, seed: of the cross-validation in ``fit``.

    Attributes:
        task_: the fitted ``TaskSubspace``; ``task_.prefix(k)`` is a smaller model, ``LightModel.of(task_)`` a network.
        classes_: the labels, sorted.

    >>> import torch
    >>> x = torch.tensor([[0.0, 5.0], [0.1, -5.0], [1.0, 4.0], [1.1, -4.0]])
    >>> SubspaceSelector(folds=2).fit(x, [0, 0, 1, 1]).transform(x).shape
    torch.Size([4, 1])
    """

    role = "transformer"
    needs_target = True

    task_: TaskSubspace
    classes_: np.ndarray

    def __init__(self, n_components: int | str | None = None, *, folds: int = 5, seed: int = 0) -> None:
        self.n_components, self.folds, self.seed = n_components, folds, seed

    def fit(self, X: Any, y: Any) -> SubspaceSelector:
        """Select from samples X (n, d) with labels y (n,); refuses what ``select`` refuses."""
        x = sample_matrix(self, X, reset=True)
        if len(x) < 2:
            raise ValueError(f"X: expected at least 2 samples, got 1 sample (shape={tuple(x.shape)})")
        classes, labels = class_labels(self, y, rows=len(x))
        if isinstance(self.n_components, str) and self.n_components != "noise":
            raise ValueError(f"n_components: expected a whole number, None or 'noise', got {self.n_components!r}")
        task = replace(select(x, labels, folds=self.folds, seed=self.seed), classes=tuple(classes.tolist()))
        wanted = max(1, task.signal) if self.n_components == "noise" else self.n_components
        if wanted is not None:
            task = task.prefix(min(wanted, task.k))  # pyright: ignore[reportArgumentType]
        self.task_, self.classes_ = task, classes
        return self

    def transform(self, X: Any) -> Any:
        """Coordinates, (n, k), in the precision of X; a tensor for a tensor, else an array."""
        self.require_fitted()
        x = sample_matrix(self, X, reset=False)
        return like_input(X, self.task_.coordinates(x).to(x.dtype))

    def fit_transform(self, X: Any, y: Any) -> Any:
        """Select, and give the coordinates of the same samples: they lie closer to their classes than new ones will."""
        return self.fit(X, y).transform(X)

    def predict(self, X: Any) -> np.ndarray:
        """The best class of each sample, (n,)."""
        self.require_fitted()
        return self.classes_[self.task_.predict(sample_matrix(self, X, reset=False)).cpu().numpy()]

    def score(self, X: Any, y: Any) -> float:
        """Share of samples whose label is predicted."""
        return share_right(self.predict(X), y)

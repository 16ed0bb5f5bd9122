"""Classifiers of scikit-learn that ``hsgeo bench fusion-concepts`` sets beside concepts, each tuned on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["peers"]

_FOLDS = 3
_RANKS = (1, 2, 4, 8, 16, 32)


def peers(*, classes: int) -> dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]]:
    """By name, functions from training samples, their labels and test samples to predicted labels.

    What each has to choose it chooses by 3-fold cross-validation on the training samples, as the concepts do.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    equal = np.full(classes, 1 / classes)  # as for the concepts
    return {
        "linear discriminants": _tuned(
            LinearDiscriminantAnalysis(solver="lsqr", priors=equal), {"shrinkage": [0.1, 0.4]}
        ),
        "logistic regression": _tuned(
            LogisticRegression(class_weight="balanced", max_iter=300, tol=1e-3), {"C": [0.03, 0.3]}
        ),
        "nearest class mean": lambda x, y, test: NearestCentroid().fit(x, y).predict(test),
        "k nearest neighbours": _tuned(
            make_pipeline(Normalizer(), KNeighborsClassifier()), {"kneighborsclassifier__n_neighbors": [1, 3, 5, 10]}
        ),
        "class PCA residual": _class_residual,
    }


def _tuned(model: Any, grid: dict[str, list[Any]]) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    from sklearn.model_selection import GridSearchCV

    def predict(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
        return GridSearchCV(model, grid, cv=_FOLDS).fit(x, y).predict(test)

    return predict


def _class_residual(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The class whose principal subspace leaves the least residual, all of one rank, which is cross-validated."""
    from sklearn.model_selection import StratifiedKFold

    folds = list(StratifiedKFold(_FOLDS).split(x, y))
    right = np.zeros(len(_RANKS))
    for train, held in folds:
        residuals = _residuals(x[train], y[train], x[held], _RANKS)
        right += [(found.argmin(1) == y[held]).sum() for found in residuals]
    return _residuals(x, y, test, (_RANKS[int(right.argmax())],))[0].argmin(1)


def _residuals(x: np.ndarray, y: np.ndarray, test: np.ndarray, ranks: tuple[int, ...]) -> list[np.ndarray]:
    from sklearn.decomposition import PCA

    columns = []
    for label in range(y.max() + 1):
        rows = x[y == label]
        model = PCA(min(*rows.shape, max(ranks))).fit(rows)
        squares = model.transform(test) ** 2
        length = ((test - model.mean_) ** 2).sum(1)
        columns.append([length - squares[:, :rank].sum(1) for rank in ranks])
    return [np.stack([column[i] for column in columns], 1) for i in range(len(ranks))]

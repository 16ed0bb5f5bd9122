"""What an estimator is given: arrays, tensors, lists or tables become tensors, and the wrong ones are refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.estimator import Estimator, sklearn_class
from hyperspectral_geo.validation import require_finite

__all__ = ["class_labels", "like_input", "sample_matrix", "share_right"]


def sample_matrix(estimator: Estimator, x: Any, *, reset: bool) -> Float[Tensor, "n d"]:
    """Samples, one a row, as a tensor; float32 and float64 stay as they are, other numbers become float64.

    Messages say what scikit-learn's say, since its ``check_estimator`` looks for their words.

    Args:
        estimator: gets ``n_features_in_`` (and ``feature_names_in_``, if ``x`` is a table whose columns have names)
            when ``reset``; otherwise ``x`` must have the same.
        x: a tensor, an array, nested lists, or a table such as a pandas DataFrame, shape (n, d).
        reset: whether this is ``fit``.

    Raises:
        ValueError: for another shape, no row, no column, complex numbers, NaN or infinity, other columns than in fit.
        TypeError: for sparse matrices and entries that are no numbers.
    """
    found = _floating(x)
    if found.ndim != 2:
        raise ValueError(
            f"X: Expected 2D array, got {found.ndim}D array instead, shape {tuple(found.shape)}; Reshape your data to "
            "(samples, features), with X.reshape(1, -1) if it is one sample"
        )
    if not len(found):
        raise ValueError(
            f"X: expected rows, got 0 sample(s) (shape={tuple(found.shape)}) while a minimum of 1 is required."
        )
    if not found.shape[1]:
        raise ValueError(
            f"X: expected columns, got 0 feature(s) (shape={tuple(found.shape)}) while a minimum of 1 is required."
        )
    require_finite("X (NaN or infinity)", found)
    _same_columns(estimator, x, found.shape[1], reset=reset)
    return found


def class_labels(estimator: Estimator, y: Any, *, rows: int) -> tuple[np.ndarray, Tensor]:
    """The distinct labels, sorted, and for each sample which of them it has.

    Args:
        estimator: for messages.
        y: a label a sample: whole numbers, texts or booleans, shape (n,).
        rows: how many samples there are.

    Raises:
        ValueError: for no labels, another number or shape of them, or numbers that are not whole.
    """
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None; pass labels")
    labels = _of_one_kind(y.detach().cpu().numpy() if isinstance(y, Tensor) else y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected; pass y.ravel()",
            sklearn_class("DataConversionWarning", UserWarning),
            stacklevel=3,
        )
        labels = labels.ravel()
    if labels.ndim != 1:
        raise ValueError(f"y should be a 1d array, one label a sample, got shape {labels.shape}; pass y.ravel()")
    if len(labels) != rows:
        raise ValueError(f"y: expected {rows} labels, one for each row of X, got {len(labels)}; pass them together")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError(
                f"Input y contains {'NaN' if np.isnan(labels).any() else 'infinity'} or a value too large for "
                f"dtype('{labels.dtype}'). Labels must be whole numbers or texts"
            )
        if (labels != np.round(labels)).any():
            raise ValueError("Unknown label type: continuous; expected classes, got fractions; round or bin them")
    try:
        classes, which = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise _mixture(str(error)) from None
    return classes, torch.from_numpy(which.astype(np.int64))


def share_right(predicted: np.ndarray, y: Any) -> float:
    """Share of the predictions that are the given labels.

    Raises:
        ValueError: unless there is one label for each prediction.
    """
    truth = np.asarray(y)
    if truth.size != len(predicted) or truth.ndim > 2:
        raise ValueError(f"y: expected {len(predicted)} labels, one for each row of X, got shape {truth.shape}")
    return float((predicted == truth.ravel()).mean())


def like_input(x: Any, result: Tensor) -> Any:
    """A tensor where the caller passed a tensor, an array otherwise."""
    return result if isinstance(x, Tensor) else result.cpu().numpy()


def _of_one_kind(y: Any) -> np.ndarray:
    """Labels as an array; NumPy makes a text of a NaN among texts, and leaves a NaN among objects alone."""
    labels = np.asarray(y)
    if labels.dtype.kind not in "OU":
        return labels
    each = np.asarray(y, dtype=object)
    texts = sum(isinstance(label, str) for label in each.flat)
    if 0 < texts < each.size:
        raise _mixture("texts and others")
    return labels if texts else np.array(each.tolist())


def _mixture(said: str) -> ValueError:
    return ValueError(f"y: expected labels of one kind, got a mixture ({said}); pass texts only")


def _floating(x: Any) -> Tensor:
    if hasattr(x, "tocsr") or (isinstance(x, Tensor) and x.layout != torch.strided):
        raise TypeError("X: expected a dense array, got a sparse matrix; Sparse data is not supported: use X.toarray()")
    if isinstance(x, Tensor):
        found = x.detach()
        if found.is_complex():
            raise ValueError("X: expected real numbers, got complex ones. Complex data not supported")
        return found if found.dtype in (torch.float32, torch.float64) else found.double()
    array = np.asarray(x)
    if array.dtype.kind == "c":
        raise ValueError(f"X: expected real numbers, got {array.dtype}. Complex data not supported")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # torch holds no other byte order
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)  # objects that are no numbers raise TypeError or ValueError, which say so
    # torch cannot hold what is read-only or runs backwards
    return torch.from_numpy(array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy())


def _same_columns(estimator: Any, x: Any, count: int, *, reset: bool) -> None:
    names = _column_names(x)
    if reset:
        estimator.n_features_in_ = count
        vars(estimator).pop("feature_names_in_", None)
        if names is not None:
            estimator.feature_names_in_ = names
        return
    known = getattr(estimator, "feature_names_in_", None)
    if names is not None and known is not None and list(names) != list(known):
        raise ValueError(_name_difference(list(known), list(names)))
    if count != estimator.n_features_in_:
        raise ValueError(
            f"X has {count} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} features "
            "as input; pass the features that it was fitted on"
        )


def _column_names(x: Any) -> np.ndarray | None:
    columns = getattr(x, "columns", None)
    if columns is None or not all(isinstance(name, str) for name in columns):
        return None
    return np.asarray(list(columns), dtype=object)


def _name_difference(known: list[str], names: list[str]) -> str:
    said = "The feature names should match those that were passed during fit.\n"
    for intro, some in (
        ("Feature names unseen at fit time", sorted(set(names) - set(known))),
        ("Feature names seen at fit time, yet now missing", sorted(set(known) - set(names))),
    ):
        if some:
            said += f"{intro}:\n" + "".join(f"- {name}\n" for name in some[:5])
    return said if set(known) != set(names) else said + "Feature names must be in the same order as they were in fit.\n"

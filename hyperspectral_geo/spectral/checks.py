"""Checks of spectra, ranks and shapes that the modules of this folder share."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import SupportsIndex

import torch
from torch import Tensor

from hyperspectral_geo.validation import require_finite, require_floating, require_same_kind, require_vectors

__all__ = [
    "DTYPES",
    "KINDS",
    "require_basis",
    "require_eigenvalues",
    "require_held",
    "require_labels",
    "require_last",
    "require_matrix",
    "require_number",
    "require_precision",
    "require_rank",
    "require_shape",
    "require_spectrum",
    "require_whole",
    "working_dtype",
]

DTYPES = (torch.float32, torch.float64)
KINDS = ("variance", "singular", "smoothness")

_WORKING = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def require_spectrum(name: str, values: object) -> None:
    """Raise `ValueError` unless ``values`` is a floating tensor (…, p ≥ 1) of finite numbers ≥ 0."""
    require_vectors(name, values)
    assert isinstance(values, Tensor)
    require_finite(name, values)
    if values.numel() and bool((values < 0).any()):
        raise ValueError(
            f"{name}: expected numbers >= 0, got {values.min().item():g}; eigenvalues here say how much a direction "
            "counts, so take singular values, or clamp rounding noise with clamp(min=0)"
        )


def require_precision(name: str, x: object) -> None:
    """Raise `ValueError` unless ``x`` is a tensor of float64, float32 or a half precision."""
    require_floating(name, x)
    assert isinstance(x, Tensor)
    if x.dtype not in (*DTYPES, *_WORKING):
        raise ValueError(
            f"{name}: expected float16, bfloat16, float32 or float64, got {x.dtype}; convert with {name}.float()"
        )


def require_number(name: str, value: object) -> float:
    """``value`` as a ``float``; `ValueError` unless it is a real number."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name}: expected a real number, got {value!r}; pass a float") from None


def require_held(name: str, largest: Tensor, dtype: torch.dtype) -> None:
    """Raise `ValueError` if ``largest``, the largest eigenvalue of what is not zero, overflows or vanishes in dtype."""
    if not 0.0 < float(largest.to(dtype)) < float("inf"):
        remedy = "rescale the data" if dtype == torch.float64 else "rescale the data or pass float64"
        raise ValueError(
            f"{name}: expected eigenvalues within the range of {dtype}, got {largest.item():.3g}; {remedy}"
        )


def require_matrix(name: str, x: object) -> None:
    """Raise `ValueError` unless ``x`` is a floating, finite matrix with at least one row and one column."""
    require_precision(name, x)
    assert isinstance(x, Tensor)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(
            f"{name}: expected a matrix with at least one row and one column, got shape {tuple(x.shape)}; "
            f"flatten a convolution's kernel with {name}.flatten(1)"
        )
    require_finite(name, x)


def require_rank(name: str, rank: object, *, most: int, reason: str) -> int:
    """``rank`` as an ``int`` in 1…``most``; `ValueError` (with the ``reason`` for the limit) otherwise."""
    value = require_whole(name, rank)
    if not 1 <= value <= most:
        raise ValueError(f"{name}: expected 1 <= {name} <= {most} ({reason}), got {value}; lower it, or pass None")
    return value


def require_whole(name: str, value: object) -> int:
    """``value`` as an ``int``; `ValueError` unless it is a whole number."""
    try:
        if not isinstance(value, SupportsIndex) or isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: expected a whole number, got {value!r}; pass an int or None") from None


def require_shape(name: str, shape: object) -> tuple[int, int]:
    """``shape`` as two whole numbers ≥ 1; `ValueError` otherwise."""
    try:
        rows, columns = shape  # pyright: ignore[reportGeneralTypeIssues]
        rows, columns = operator.index(rows), operator.index(columns)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected two whole numbers (rows, columns), got {shape!r}") from None
    if rows < 1 or columns < 1:
        raise ValueError(f"{name}: expected rows >= 1 and columns >= 1, got {(rows, columns)}")
    return rows, columns


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype to decompose in: float32 for half precisions, which no LAPACK routine takes, else unchanged."""
    return _WORKING.get(dtype, dtype)


def require_labels(name: object, kind: object, metadata: object) -> None:
    """Raise `ValueError` unless ``name`` is text, ``kind`` is known and ``metadata`` maps text to text."""
    _require_text("name", name)
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {str(kind)[:80]!r}")
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata: expected a mapping from str to str, got {type(metadata).__name__}")
    for key, value in metadata.items():
        _require_text("metadata key", key)
        _require_text(f"metadata[{key!r}]", value)


def _require_text(where: str, text: object) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{where}: expected a str, got {type(text).__name__}; convert it with str")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: expected text that UTF-8 can hold, got a lone surrogate ({error.reason})") from None


def require_basis(basis: Tensor) -> None:
    """Raise `ValueError` unless ``basis`` is a finite (n, p) matrix of orthonormal columns in float32 or float64."""
    require_floating("basis", basis)
    if basis.dtype not in DTYPES:
        raise ValueError(f"basis: expected float32 or float64, got {basis.dtype}; convert, then linalg.orthonormalize")
    if basis.ndim != 2 or not 1 <= basis.shape[1] <= basis.shape[0]:
        raise ValueError(
            f"basis: expected shape (n, p) with n >= p >= 1, got {tuple(basis.shape)}; columns are the directions, so "
            "transpose if rows are, and keep batches in a list"
        )
    require_finite("basis", basis)
    n, p = basis.shape
    # In float64 the Gram matrix of a float32 basis is exact enough to see the basis's own error.
    wide = basis.detach() if basis.device.type == "mps" else basis.detach().double()
    error = (wide.mT @ wide - torch.eye(p, dtype=wide.dtype, device=wide.device)).abs()
    limit = (128.0 + 4.0 * n**0.5) * torch.finfo(basis.dtype).eps
    if float(error.max()) > limit:
        i, j = divmod(int(error.argmax()), p)
        raise ValueError(
            f"basis: expected orthonormal columns, max |BtB - I| <= {limit:.1e}, got {float(error.max()):.1e} at "
            f"columns {i} and {j}; make a basis of its span with hyperspectral_geo.linalg.orthonormalize, after "
            "dropping columns that depend on the others"
        )


def require_eigenvalues(basis: Tensor, eigenvalues: Tensor) -> None:
    """Raise `ValueError` unless ``eigenvalues`` has one finite number ≥ 0 for each column, descending."""
    require_floating("eigenvalues", eigenvalues)
    if eigenvalues.shape != basis.shape[1:]:
        raise ValueError(
            f"eigenvalues: expected shape ({basis.shape[1]},), one for each column, got {tuple(eigenvalues.shape)}"
        )
    require_spectrum("eigenvalues", eigenvalues)
    rises = eigenvalues.diff() > 0
    if bool(rises.any()):
        i = int(rises.nonzero()[0])
        raise ValueError(
            f"eigenvalues: expected descending numbers, got {eigenvalues[i].item():g} before "
            f"{eigenvalues[i + 1].item():g} at {i}; sort both with order = eigenvalues.argsort(descending=True)"
        )


def require_last(name: str, x: Tensor, length: int, *, like: Tensor) -> None:
    """Raise `ValueError` unless ``x`` has shape (…, ``length``) and the dtype and device of ``like``."""
    require_floating(name, x)
    if x.ndim < 1 or x.shape[-1] != length:
        raise ValueError(f"{name}: expected shape (..., {length}), got {tuple(x.shape)}; vectors are rows")
    require_same_kind(basis=like, **{name: x})

"""What callers pass as views: arrays or tensors, rows in step, some of them without some view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Views", "as_samples", "as_views", "require_pairs"]

_LEAST = 4  # pairs: two folds of two


@dataclass(frozen=True)
class Views:
    """Features of V views whose rows i belong to one thing.

    Attributes:
        rows: (n, d_v) each, float32 or float64; a missing row holds zeros.
        present: which rows a view has, (n,), or ``None`` for all.
        blocks: widths of a view's blocks of features, which add up to d_v.
    """

    rows: tuple[Float[Tensor, "n _"], ...]
    present: tuple[Bool[Tensor, " n"] | None, ...]
    blocks: tuple[tuple[int, ...], ...]

    @property
    def complete(self) -> Bool[Tensor, " n"]:
        """Rows that have every view."""
        found = torch.ones(len(self.rows[0]), dtype=torch.bool)
        for mask in self.present:
            if mask is not None:
                found &= mask
        return found

    def paired(self) -> Views:
        """The complete rows alone."""
        rows = self.complete
        return Views(tuple(x[rows] for x in self.rows), (None,) * len(self.rows), self.blocks)


def as_views(views: Sequence[Any], *, least: int = 2, lacking: bool = False) -> Views:
    """Check and convert the views of ``fit``.

    A row that is NaN throughout is a missing one.

    Args:
        views: two or more arrays or tensors of shape (n, d_v), as many rows in each. A view may be a tuple of such:
            blocks of features, such as layers of one network, which are to have equal say.
        least: views that are needed.
        lacking: whether a view may be missing in every row.

    Raises:
        ValueError: for fewer views, other shapes, unequal lengths, no complete row, or NaN and infinity in a row that
            is not missing, with the view and the row.
    """
    if isinstance(views, Tensor | np.ndarray) or not isinstance(views, Sequence) or len(views) < least:
        got = f"{len(views)}" if isinstance(views, Sequence) else type(views).__name__
        raise ValueError(f"views: expected {least} or more, such as [image_features, text_features], got {got}")
    rows, present, blocks = [], [], []
    for number, view in enumerate(views):
        samples, widths = _joined(f"view {number}", view)
        if rows and len(samples) != len(rows[0]):
            raise ValueError(
                f"view {number}: expected {len(rows[0])} rows, one for each of view 0, got {len(samples)}; rows must "
                "be in the same order, with NaN in those that a view lacks"
            )
        missing = samples.isnan().all(1)
        if bool(missing.all()) and not lacking:
            raise ValueError(f"view {number}: expected samples, got only rows of NaN")
        if bool(missing.any()):
            samples = samples.masked_fill(missing[:, None], 0.0)
        _require_finite(f"view {number}", samples, "drop the row, or make all of it NaN if the view is missing there")
        rows.append(samples)
        present.append(~missing if bool(missing.any()) else None)
        blocks.append(widths)
    return Views(tuple(rows), tuple(present), tuple(blocks))


def require_pairs(count: int) -> None:
    """Raise ``ValueError`` unless there are rows enough that have every view."""
    if count < _LEAST:
        raise ValueError(f"views: expected at least {_LEAST} rows that have every view, got {count}; pair more samples")


def as_samples(name: str, x: Any, *, blocks: tuple[int, ...]) -> Float[Tensor, "n d"]:
    """Check and convert samples of one view.

    Raises:
        ValueError: for another number of features, NaN or infinity.
    """
    samples, widths = _joined(name, x)
    if widths not in (blocks, (sum(blocks),)):
        expected = " + ".join(map(str, blocks))
        raise ValueError(f"{name}: expected {expected} features as when fitted, got {' + '.join(map(str, widths))}")
    if bool(samples.isnan().all(1).any()):
        row = int(samples.isnan().all(1).nonzero()[0])
        raise ValueError(
            f"{name}: expected samples, got a missing one, row {row}, NaN throughout; drop it, or use fuse, which "
            "takes what other views have"
        )
    _require_finite(name, samples, "drop the row")
    return samples


def _joined(name: str, view: Any) -> tuple[Tensor, tuple[int, ...]]:
    """Blocks side by side, and their widths."""
    if not isinstance(view, tuple):
        samples = _matrix(name, view)
        return samples, (samples.shape[1],)
    parts = [_matrix(f"{name}, block {number}", part) for number, part in enumerate(view)]
    if not parts or len({len(part) for part in parts}) > 1:
        raise ValueError(f"{name}: expected blocks with as many rows each, got {[len(part) for part in parts]} rows")
    return torch.cat([part.double() if len(parts) > 1 else part for part in parts], 1), tuple(p.shape[1] for p in parts)


def _matrix(name: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{name}: expected a matrix (samples, features), got {error}") from None
        if hasattr(x, "tocsr"):
            raise ValueError(f"{name}: expected a dense matrix, got a sparse one; pass x.toarray()")
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise ValueError(f"{name}: expected real numbers, got {array.dtype}; convert with .astype(float)")
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        x = torch.from_numpy(array if array.flags.writeable else array.copy())  # torch has no tensors for reading only
    if x.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense matrix, got a sparse one; pass x.to_dense()")
    if x.is_complex() or x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name}: expected real numbers of shape (samples, features), got {x.dtype}, {tuple(x.shape)}")
    x = x.detach().cpu()
    return (
        x
        if x.dtype in (torch.float32, torch.float64)
        else x.to(torch.float32 if x.is_floating_point() else torch.float64)
    )


def _require_finite(name: str, x: Tensor, remedy: str) -> None:
    if bool(torch.isfinite(x.sum())):
        return
    bad = (~torch.isfinite(x)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise ValueError(
            f"{name}: expected finite numbers, got {float(x[row, column])} in row {row}, feature {column} ({len(bad)} "
            f"such entries); {remedy}"
        )

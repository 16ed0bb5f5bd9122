"""What pictures accept: arrays of any library, read as NumPy; refusals say what was expected, got and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

__all__ = ["as_disk_points", "as_edges", "as_list", "as_numbers"]


def as_numbers(name: str, x: Any) -> Shaped[np.ndarray, "..."]:
    """``x`` as a NumPy array of finite float64; tensors of torch may require gradients or lie on another device.

    Raises ``ValueError`` for what is not an array of real numbers, and for NaN and infinities.
    """
    array = _as_array(name, x)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected real numbers, got dtype {array.dtype}; convert them with astype(float)")
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{name}: expected finite numbers, got {array[first]} at index {first} "
            f"({(~finite).sum()} of {array.size}); leave these items out"
        )
    return array


def as_disk_points(name: str, x: Any) -> Float[np.ndarray, "*batch 2"]:
    """Points (…, 2) of the open unit disk, as float64; ``ValueError`` for another shape or a point outside."""
    points = as_numbers(name, x)
    if points.ndim == 0 or points.shape[-1] != 2:
        raise ValueError(
            f"{name}: expected shape (..., 2), got {points.shape}; only a two-dimensional embedding fits a disk"
        )
    radius = np.hypot(points[..., 0], points[..., 1])
    if (radius >= 1).any():
        raise ValueError(
            f"{name}: expected points inside the unit disk, got norm {radius.max():.6g} ({(radius >= 1).sum()} of "
            f"{radius.size} outside); compute them in float64, or multiply points rounded to the rim by 1 - 1e-6"
        )
    return points


def as_edges(name: str, x: Any, *, count: int) -> Int[np.ndarray, "e 2"]:
    """Pairs of indices (e, 2) into ``count`` points, as int64; ``ValueError`` for another shape, dtype or range."""
    edges = _as_array(name, x)
    if edges.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected integers of shape (e, 2), got {edges.dtype} of shape {edges.shape}; "
            "a row holds the numbers of two points, so transpose an edge_index"
        )
    if edges.min() < 0 or edges.max() >= count:
        raise ValueError(f"{name}: expected indices from 0 to {count - 1}, got {edges.min()} to {edges.max()}")
    return edges.astype(np.int64)


def as_list(name: str, x: Any, *, count: int) -> list[Any]:
    """The items of ``x``, one a point; those of an array become Python's own. ``ValueError`` for another length."""
    if isinstance(x, str):
        raise ValueError(f"{name}: expected {count} items, one a point, got the single string {x[:40]!r}; pass a list")
    items = x.tolist() if hasattr(x, "tolist") else list(x)
    if len(items) != count:
        raise ValueError(
            f"{name}: expected {count} items, one a point, got {len(items)}; None stands for no {name[:-1]}"
        )
    return items


def _as_array(name: str, x: Any) -> Shaped[np.ndarray, "..."]:
    # By their methods rather than by their type: a tensor is recognised without importing torch.
    for method in ("detach", "cpu"):
        x = getattr(x, method)() if hasattr(x, method) else x
    try:
        return np.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected an array of numbers, got {type(x).__name__} ({error})") from error

"""Checks of what a caller passes in: every refusal says what was expected, what was got and the remedy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "require_finite",
    "require_floating",
    "require_frames",
    "require_broadcastable",
    "require_orthonormal",
    "require_pair",
    "require_same_kind",
    "require_seed",
    "require_vectors",
    "resolve_weights",
    "spread_weights",
]


def require_floating(name: str, x: object) -> None:
    """Raise ``ValueError`` unless ``x`` is a real, dense, floating-point tensor."""
    if not isinstance(x, Tensor):
        if isinstance(getattr(x, "basis", None), Tensor):
            remedy = f"pass {name}.basis"
        elif isinstance(x, (list, tuple)) and any(isinstance(item, Tensor) for item in x):
            remedy = "join its tensors with torch.stack"
        elif hasattr(x, "toarray"):
            remedy = "it is sparse, so convert it with torch.as_tensor(x.toarray())"
        else:
            remedy = "convert it with torch.as_tensor"
        raise ValueError(f"{name}: expected a torch.Tensor, got {type(x).__name__}; {remedy}")
    if x.layout is not torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got a sparse one; convert with {name}.to_dense()")
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected a real floating-point tensor, got {x.dtype}; convert with {name}.float()")


def require_frames(name: str, x: object) -> None:
    """Raise ``ValueError`` unless ``x`` has shape (…, n, p) with n ≥ p ≥ 1 and dtype float32 or float64."""
    require_floating(name, x)
    assert isinstance(x, Tensor)
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name}: expected float32 or float64, got {x.dtype}; convert with {name}.float()")
    if x.ndim < 2:
        raise ValueError(f"{name}: expected shape (..., n, p), got {tuple(x.shape)}; add a dimension with [:, None]")
    n, p = x.shape[-2:]
    if not 1 <= p <= n:
        raise ValueError(
            f"{name}: expected shape (..., n, p) with n >= p >= 1, got {tuple(x.shape)}; "
            "columns are the basis vectors, so transpose if rows are"
        )


def require_vectors(name: str, x: object, *, minimum: int = 1) -> None:
    """Raise ``ValueError`` unless ``x`` has shape (…, d) with d ≥ ``minimum`` and a floating dtype."""
    require_floating(name, x)
    assert isinstance(x, Tensor)
    if x.ndim < 1 or x.shape[-1] < minimum:
        raise ValueError(f"{name}: expected shape (..., d) with d >= {minimum}, got {tuple(x.shape)}")


def require_finite(name: str, x: Tensor) -> None:
    """Raise ``ValueError`` if ``x`` holds a NaN or an infinity, naming the first such entry."""
    if bool(torch.isfinite(x.sum())):  # twenty times faster than looking at each entry, and enough to pass
        return
    finite = torch.isfinite(x)
    if bool(finite.all()):
        return
    index = tuple(torch.nonzero(~finite)[0].tolist())
    count = int((~finite).sum())
    raise ValueError(
        f"{name}: expected finite entries, got {x[index].item()} at index {index} ({count} of {x.numel()} entries); "
        f"clean the input, for instance with torch.nan_to_num"
    )


def require_seed(seed: object) -> None:
    """Raise ``ValueError`` unless it is a whole number that a generator can be seeded with."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed: expected a whole number from 0 to 2^63 - 1, got {seed!r}; pass an int")


def require_orthonormal(name: str, x: Tensor) -> None:
    """Raise ``ValueError`` unless the columns of ``x`` (…, n, p) are finite and orthonormal.

    Every entry of XᵀX − I is looked at: a few products Xz would cost as much at p = 16, and let columns that depend on
    others pass where the entries of z cancel. The tolerance, 1e-3 in float32 and 1e-5 in float64, is for mistakes, not
    for rounding.
    """
    x = x.detach()
    error = x.mT @ x
    error.diagonal(dim1=-2, dim2=-1).sub_(1)
    if bool((error.abs_() <= orthonormal_tolerance(x.dtype)).all()):
        return
    require_finite(name, x)
    error = torch.linalg.matrix_norm(error).max().item()
    raise ValueError(
        f"{name}: expected orthonormal columns, got ||X^T X - I|| = {error:.3g} for shape {tuple(x.shape)}; "
        f"pass linalg.orthonormalize({name})"
    )


def orthonormal_tolerance(dtype: torch.dtype) -> float:
    """Largest deviation from orthonormality that is taken for rounding, not for a mistake."""
    return 1e-3 if dtype == torch.float32 else 1e-5


def require_same_kind(**tensors: Tensor) -> None:
    """Raise ``ValueError`` unless all tensors share one dtype and one device."""
    (first_name, first), *rest = tensors.items()
    for name, x in rest:
        if x.dtype != first.dtype:
            raise ValueError(
                f"{name}: expected dtype {first.dtype} like {first_name}, got {x.dtype}; "
                f"convert with {name}.to({first_name})"
            )
        if x.device != first.device:
            raise ValueError(
                f"{name}: expected device {first.device} like {first_name}, got {x.device}; "
                f"move it with {name}.to({first_name}.device)"
            )


def require_broadcastable(trailing: int, **tensors: Tensor) -> None:
    """Raise ``ValueError`` unless the shapes of all tensors broadcast, but for their last ``trailing`` dimensions."""
    shapes = {name: tuple(x.shape[: x.ndim - trailing]) for name, x in tensors.items()}
    try:
        torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        said = ", ".join(f"{shape} of {name}" for name, shape in shapes.items())
        raise ValueError(
            f"{', '.join(shapes)}: expected batch dimensions that broadcast, got {said}; "
            "add dimensions of size 1 with [:, None] where one set of items meets another"
        ) from None


def require_pair(first: str, x: Tensor, second: str, y: Tensor) -> None:
    """Raise ``ValueError`` unless x and y are (…, n, p) of one kind, with equal n and p and batches that broadcast."""
    require_frames(first, x)
    require_frames(second, y)
    require_same_kind(**{first: x, second: y})
    if x.shape[-2:] != y.shape[-2:]:
        raise ValueError(
            f"{second}: expected last dimensions {tuple(x.shape[-2:])} like {first}, got {tuple(y.shape[-2:])}; "
            "for subspaces of different dimension use subspace_distance"
        )
    if x.shape != y.shape:
        require_broadcastable(2, **{first: x, second: y})


def resolve_weights(weights: Tensor | Sequence[float] | None, count: int, *, like: Tensor) -> Tensor:
    """Weights of ``count`` items, (…, count), rescaled to sum to one, in the dtype and on the device of ``like``.

    ``None`` means equal weights. Raises ``ValueError`` for a wrong length, a negative or non-finite weight, or a sum
    of zero.
    """
    if weights is None:
        return torch.full((count,), 1.0 / max(count, 1), dtype=like.dtype, device=like.device)
    try:
        is_complex = isinstance(weights, Tensor) and weights.is_complex()
        w = None if is_complex else torch.as_tensor(weights, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError):
        w = None
    if w is None:
        raise ValueError(f"weights: expected {count} real numbers, one an item, got {weights!r}")
    if w.ndim == 0 or w.shape[-1] != count:
        raise ValueError(f"weights: expected {count} numbers, one an item, got shape {tuple(w.shape)}")
    require_finite("weights", w.detach())
    if bool((w < 0).any()):
        raise ValueError(f"weights: expected numbers >= 0, got {w.min().item():g}; drop the item instead")
    largest = w.detach().amax(-1, keepdim=True)
    if bool((largest <= 0).any()):
        raise ValueError("weights: expected a positive sum, got 0; give at least one item a weight")
    w = w / largest  # so that the sum of large weights does not overflow
    return w / w.sum(-1, keepdim=True)


def spread_weights(weights: Tensor, batch: tuple[int, ...]) -> Tensor:
    """Weights (…, k) expanded to the batch dimensions of the items they weigh; ``ValueError`` if they do not fit."""
    try:
        return weights.expand(*batch, weights.shape[-1])
    except RuntimeError:
        expected = (*batch, weights.shape[-1])
        raise ValueError(f"weights: expected shape {expected} or its tail, got {tuple(weights.shape)}") from None

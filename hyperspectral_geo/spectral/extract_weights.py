"""Spectral bases of linear maps: a weight matrix, or the two factors of a low-rank update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.linalg import core_dtype
from hyperspectral_geo.spectral.basis import SpectralBasis
from hyperspectral_geo.spectral.checks import require_held, require_matrix, require_number, require_rank, working_dtype
from hyperspectral_geo.validation import require_same_kind

__all__ = ["from_lora", "from_weights"]

Side = Literal["output", "input", "both"]


@overload
def from_weights(
    w: Tensor, *, rank: int | None = ..., side: Literal["output", "input"] = ..., name: str = ...
) -> SpectralBasis: ...
@overload
def from_weights(
    w: Tensor, *, rank: int | None = ..., side: Literal["both"], name: str = ...
) -> tuple[SpectralBasis, SpectralBasis]: ...
def from_weights(
    w: Float[Tensor, "m n"], *, rank: int | None = None, side: Side = "output", name: str = ""
) -> SpectralBasis | tuple[SpectralBasis, SpectralBasis]:
    """Singular directions of a weight W = U diag(σ) Vᵀ, with the singular values as eigenvalues.

    Args:
        w: shape (m, n), rows are outputs (torch.nn.Linear's layout; transpose for Conv1D of transformers).
        rank: keep this many; None keeps the numerical rank, σ > max(m, n)·eps·σ₁: what is beyond is rounding.
        side: "output" gives U, a basis in R^m; "input" gives V, in R^n; "both" gives the pair from one decomposition,
            so that ``left.basis * σ @ right.basis.T`` is W.
        name: the basis's label.

    Returns:
        Bases of kind "singular", in the dtype of ``w`` (float32 for half precisions), with the shape in ``metadata``.

    Raises:
        ValueError: for a shape other than (m, n), an integer dtype, non-finite entries, a zero matrix, an unknown side,
            or a rank above the numerical rank.

    Example:
        >>> b = from_weights(torch.tensor([[0.0, 3.0], [0.0, 0.0], [1.0, 0.0]]), side="output")
        >>> b.eigenvalues
        tensor([3., 1.])
        >>> b.n, b.p
        (3, 2)
    """
    require_matrix("w", w)
    _require_side(side)
    w = w.detach().to(working_dtype(w.dtype))
    u, s, vh = torch.linalg.svd(w, full_matrices=False)
    return _bases(u, s, vh.mT, size=max(w.shape), rank=rank, side=side, name=name, source="weights", argument="w")


@overload
def from_lora(
    lora_a: Tensor,
    lora_b: Tensor,
    *,
    scale: float = ...,
    rank: int | None = ...,
    side: Literal["output", "input"] = ...,
    name: str = ...,
) -> SpectralBasis: ...
@overload
def from_lora(
    lora_a: Tensor,
    lora_b: Tensor,
    *,
    scale: float = ...,
    rank: int | None = ...,
    side: Literal["both"],
    name: str = ...,
) -> tuple[SpectralBasis, SpectralBasis]: ...
def from_lora(
    lora_a: Float[Tensor, "r n"],
    lora_b: Float[Tensor, "m r"],
    *,
    scale: float = 1.0,
    rank: int | None = None,
    side: Side = "output",
    name: str = "",
) -> SpectralBasis | tuple[SpectralBasis, SpectralBasis]:
    """Singular directions of a low-rank update ΔW = scale · B A, without ever forming the m×n product.

    With B = Q_B R_B and Aᵀ = Q_A R_A, the update is Q_B (scale · R_B R_Aᵀ) Q_Aᵀ: an SVD of the small core, at most r×r,
    gives it exactly in O((m + n) r²) time and O((m + n) r) memory.

    Args:
        lora_a: A, shape (r, n): ``lora_A.weight`` of peft.
        lora_b: B, shape (m, r): ``lora_B.weight``.
        scale: alpha / r, or alpha / √r for rsLoRA; may be negative, not 0.
        rank, side, name: as in `from_weights`.

    Returns:
        As `from_weights`. An update that has not been trained (B = 0) has no directions and is refused.

    Raises:
        ValueError: as `from_weights`, and if the inner dimensions, dtypes or devices of the factors differ, or the
            update overflows or vanishes in the result's dtype.

    Example:
        >>> a, b = torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0], [4.0]])
        >>> from_lora(a, b, scale=0.5).eigenvalues
        tensor([5.])
    """
    require_matrix("lora_a", lora_a)
    require_matrix("lora_b", lora_b)
    require_same_kind(lora_a=lora_a, lora_b=lora_b)
    _require_side(side)
    if lora_a.shape[0] != lora_b.shape[1]:
        raise ValueError(
            f"lora_a, lora_b: expected shapes (r, n) and (m, r), got {tuple(lora_a.shape)} and {tuple(lora_b.shape)}; "
            "A comes first, B second"
        )
    scale = require_number("scale", scale)
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(f"scale: expected a finite number other than 0, got {scale!r}; it is alpha / r")
    dtype = working_dtype(lora_a.dtype)
    left, core_left = torch.linalg.qr(lora_b.detach().to(dtype))
    right, core_right = torch.linalg.qr(lora_a.detach().to(dtype).mT)
    wide = core_dtype(core_left)
    core = scale * (core_left.to(wide) @ core_right.to(wide).mT)
    if bool(core.any()):  # else refused below, as zero
        require_held("lora_a, lora_b", core.abs().max() * len(core), dtype)
    u, s, vh = (x.to(dtype) for x in torch.linalg.svd(core, full_matrices=False))
    size = max(lora_b.shape[0], lora_a.shape[1])
    return _bases(
        left @ u, s, right @ vh.mT, size=size, rank=rank, side=side, name=name, source="lora", argument="lora_a, lora_b"
    )


def _require_side(side: object) -> None:
    if side not in ("output", "input", "both"):
        raise ValueError(f"side: expected 'output', 'input' or 'both', got {side!r}")


def _bases(
    u: Tensor,
    s: Tensor,
    v: Tensor,
    *,
    size: int,
    rank: int | None,
    side: Side,
    name: str,
    source: str,
    argument: str,
) -> SpectralBasis | tuple[SpectralBasis, SpectralBasis]:
    """Wrap the leading singular triplets."""
    numerical = int((s > size * torch.finfo(s.dtype).eps * s[0]).sum())
    if numerical == 0:
        raise ValueError(f"{argument}: expected a map other than zero, got only zeros; leave this layer out")
    if rank is not None:
        rank = require_rank("rank", rank, most=numerical, reason="the numerical rank; the rest is rounding")
    keep = numerical if rank is None else rank

    def basis(vectors: Tensor, which: str) -> SpectralBasis:
        metadata: Mapping[str, str] = {"source": source, "side": which, "shape": f"{u.shape[0]}x{v.shape[0]}"}
        return SpectralBasis(vectors[:, :keep], s[:keep], name, kind="singular", metadata=metadata)

    if side == "both":
        return basis(u, "output"), basis(v, "input")
    return basis(u if side == "output" else v, side)

"""Spectral bases of data: activations streamed in one pass, or a covariance that is at hand.

The stream keeps a triangular factor R with RᵀR = Σ (x − mean)(x − mean)ᵀ instead of that matrix itself. Squaring the
data would lose every eigenvalue below about 1e-16 of the largest and half the digits of one at 1e-8; the factor keeps
singular values to 1e-16, hence an eigenvalue at 1e-10 of the largest to about ten digits.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.spectral.basis import SpectralBasis
from hyperspectral_geo.spectral.checks import (
    DTYPES,
    require_held,
    require_matrix,
    require_precision,
    require_rank,
    working_dtype,
)
from hyperspectral_geo.validation import require_finite

__all__ = ["ActivationStream", "from_activations", "from_covariance"]


class ActivationStream:
    """Covariance of rows that arrive in batches, in factored form; push style, for forward hooks.

    Holds the number of rows N, their mean and a factor R of at most n rows: 8·n·min(N, n) bytes however many rows pass,
    and about three times that while a batch is folded in. Two streams with means m₁, m₂ join exactly (Chan, Golub &
    LeVeque 1983, in factored form): R is the triangular factor of [R₁; R₂; √(N₁N₂/N) (m₂ − m₁)ᵀ].

    Args:
        centre: subtract the mean of all rows; otherwise second moments about the origin are taken.

    Example:
        >>> stream = ActivationStream()
        >>> for batch in (torch.eye(3), torch.ones(5, 3)):
        ...     stream.update(batch)
        >>> stream.rows, stream.basis(rank=1).n
        (8, 3)
    """

    def __init__(self, *, centre: bool = True) -> None:
        self.centre = centre
        self.rows = 0
        self._batches = 0
        self._mean: Tensor | None = None
        self._factor: Tensor | None = None
        self._dtype: torch.dtype | None = None
        self._width = 0
        self._pending: list[Tensor] = []

    def update(self, batch: Float[Tensor, "*rows n"]) -> None:
        """Fold in a batch of shape (…, n), each vector of n features one row.

        Raises `ValueError`, naming the batch, for another n or dtype, non-finite entries or a scalar.
        """
        where = f"batch {self._batches}"
        require_precision(where, batch)
        if batch.ndim < 1 or batch.shape[-1] < 1:
            raise ValueError(f"{where}: expected shape (..., n) with n >= 1, got {tuple(batch.shape)}")
        if self._dtype is not None and batch.shape[-1] != self._width:
            raise ValueError(f"{where}: expected {self._width} features like the first batch, got {batch.shape[-1]}")
        if self._dtype is not None and batch.dtype != self._dtype:
            raise ValueError(f"{where}: expected {self._dtype} like the first batch, got {batch.dtype}; convert it")
        require_finite(where, batch)
        self._dtype, self._width = batch.dtype, batch.shape[-1]
        self._batches += 1
        rows = batch.detach().reshape(-1, self._width)
        # A block of n rows a time keeps the cost of the QR at a small multiple of n² a row, for batches of any size.
        for block in rows.split(max(self._width, 256)):
            if block.shape[0]:
                self._pending.append(block.to(torch.float64, copy=True))
            if sum(x.shape[0] for x in self._pending) >= self._width:
                self._fold()

    def merge(self, other: ActivationStream) -> None:
        """Fold in another stream's rows, as if they had come here; ``other`` is not changed.

        Raises `ValueError` if the number of features, the dtype or the centring differ.
        """
        if other.centre != self.centre:
            raise ValueError("other: expected the same centring, got one centred and one plain stream")
        other._fold()
        if other._factor is None or other._mean is None:
            return
        if self._dtype is None:
            self._dtype, self._width = other._dtype, other._width
        if (other._width, other._dtype) != (self._width, self._dtype):
            raise ValueError(
                f"other: expected {self._width} features of {self._dtype}, got {other._width} of {other._dtype}"
            )
        self._fold()
        self._join(other._factor, other._mean, other.rows)

    def basis(self, *, rank: int | None = None, name: str = "") -> SpectralBasis:
        """The principal directions so far; see `from_activations` for the convention and errors."""
        self._fold()
        needed = 2 if self.centre else 1
        if self._factor is None or self._mean is None or self.rows < needed:
            raise ValueError(f"activations: expected at least {needed} rows, got {self.rows}; stream more data")
        _, s, vh = torch.linalg.svd(self._factor, full_matrices=False)
        # A QR errs by about n·eps, and the errors of many updates add up like a random walk.
        floor = max(self._width, self.rows**0.5) * torch.finfo(torch.float64).eps
        scale = max(float(s[0]), float(self._mean.abs().max()) * self.rows**0.5) if self.centre else float(s[0])
        variances = s.square() / (self.rows - 1 if self.centre else self.rows)
        return _from_spectrum(
            vh.mT,
            variances,
            numerical=int((s > floor * scale).sum()),
            rank=rank,
            name=name,
            dtype=self._dtype,
            mean=self._mean if self.centre else None,
            metadata={"source": "activations", "rows": str(self.rows)},
        )

    def _fold(self) -> None:
        if not self._pending:
            return
        block = torch.cat(self._pending)
        self._pending.clear()
        mean = block.mean(dim=0) if self.centre else torch.zeros_like(block[0])
        self._join(block - mean if self.centre else block, mean, block.shape[0])

    def _join(self, factor: Tensor, mean: Tensor, rows: int) -> None:
        if self._factor is None or self._mean is None:
            self._factor, self._mean, self.rows = torch.linalg.qr(factor, mode="r").R, mean, rows
            return
        total = self.rows + rows
        stacked = [self._factor, factor]
        if self.centre:
            gap = mean - self._mean
            stacked.append((self.rows * (rows / total)) ** 0.5 * gap.unsqueeze(0))
            self._mean = self._mean + gap * (rows / total)
        self._factor = torch.linalg.qr(torch.cat(stacked), mode="r").R
        self.rows = total


def from_activations(
    batches: Tensor | Iterable[Tensor], *, rank: int | None = None, centre: bool = True, name: str = ""
) -> SpectralBasis:
    """Principal directions of activations, streamed in one pass, with the variances as eigenvalues.

    λᵢ = σᵢ²/(N − 1) for the singular values σᵢ of the N rows minus their mean; σᵢ²/N without ``centre``. All sums run
    in float64 by a QR update, so eigenvalues are right to about 1e-15·√(λ₁/λᵢ) relative: ten digits at λᵢ = 1e-10·λ₁.

    Args:
        batches: a tensor (…, n), or any iterable of such tensors (a generator is read once). Memory depends on n and
            on the largest batch, not on the number of rows (`ActivationStream`).
        rank: keep this many; None keeps the numerical rank in float64. Rounding in the data themselves (float32 or half
            activations of a low-rank layer) counts as data: cut it off with ``rank`` or `SpectralBasis.truncate`.
        centre: subtract the mean, which the basis then carries; otherwise a constant offset is the first direction.
        name: the basis's label.

    Returns:
        A basis of kind "variance" in the dtype of the data (float32 for half precisions), with the number of rows in
        ``metadata``.

    Raises:
        ValueError: naming the batch, for a differing width or dtype, integers, non-finite entries or something that is
            no tensor; for fewer than two rows (one without ``centre``); for data that do not vary, or whose variances
            overflow or vanish in the basis's dtype; for a rank above the numerical rank.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [0.0, -0.5]])
        >>> b = from_activations(x.split(3))
        >>> b.eigenvalues
        tensor([0.6667, 0.1667])
    """
    stream = ActivationStream(centre=centre)
    if isinstance(batches, str | bytes | dict) or not isinstance(batches, Iterable):
        raise ValueError(
            f"batches: expected a tensor or an iterable of tensors, got {type(batches).__name__}; wrap arrays with "
            "torch.as_tensor and pick the tensor from tuples, (x for x, _ in loader)"
        )
    for batch in (batches,) if isinstance(batches, Tensor) else batches:
        stream.update(batch)
    return stream.basis(rank=rank, name=name)


def from_covariance(c: Float[Tensor, "n n"], *, rank: int | None = None, name: str = "") -> SpectralBasis:
    """Eigenvectors of a covariance (symmetric positive semi-definite) matrix, with its eigenvalues.

    Args:
        c: shape (n, n); asymmetry up to 100·√n·eps of its largest entry is averaged out.
        rank: keep this many; None keeps the numerical rank, λ > n·eps·λ₁. A covariance holds its eigenvalues to
            eps·λ₁ absolute, so one at 1e-10·λ₁ has six digits in float64 and none in float32.
        name: the basis's label.

    Returns:
        A basis of kind "variance" in the dtype of ``c`` (float32 for half precisions).

    Raises:
        ValueError: if ``c`` is not square, symmetric or positive semi-definite within rounding, holds non-finite
            entries or integers, is zero, or has a numerical rank below ``rank``.

    Example:
        >>> from_covariance(torch.tensor([[2.0, 0.0], [0.0, 5.0]])).eigenvalues
        tensor([5., 2.])
    """
    require_matrix("c", c)
    n = c.shape[0]
    if c.shape != (n, n):
        raise ValueError(f"c: expected a square matrix, got {tuple(c.shape)}; for data use from_activations")
    dtype, eps = c.dtype, torch.finfo(c.dtype).eps
    wide = c.detach().to(torch.float64)
    gap, size = float((wide - wide.mT).abs().max()), float(wide.abs().max())
    if gap > 100 * n**0.5 * eps * size:
        raise ValueError(
            f"c: expected a symmetric matrix, got entries {gap:.1e} apart across the diagonal; take (c + c.T) / 2"
        )
    values, vectors = torch.linalg.eigh((wide + wide.mT) / 2)
    floor = n * eps * float(values[-1].clamp(min=0))
    if float(values[0]) < -max(100 * floor, 0.0):
        raise ValueError(
            f"c: expected eigenvalues >= 0, got {float(values[0]):.3g} beside {float(values[-1]):.3g}; a covariance is "
            "positive semi-definite, a map with signs goes to from_weights"
        )
    return _from_spectrum(
        vectors.flip(-1),
        values.flip(-1).clamp(min=0),
        numerical=int((values > floor).sum()),
        rank=rank,
        name=name,
        dtype=dtype,
        mean=None,
        metadata={"source": "covariance"},
    )


def _from_spectrum(
    vectors: Tensor,
    variances: Tensor,
    *,
    numerical: int,
    rank: int | None,
    name: str,
    dtype: torch.dtype | None,
    mean: Tensor | None,
    metadata: dict[str, str],
) -> SpectralBasis:
    """Wrap the leading directions in the caller's dtype."""
    if numerical == 0:
        raise ValueError(f"{metadata['source']}: expected data that vary, got constant data; there is no direction")
    if rank is not None:
        rank = require_rank("rank", rank, most=numerical, reason="the numerical rank; the rest is rounding")
    keep = numerical if rank is None else rank
    target = working_dtype(dtype or torch.float64)
    assert target in DTYPES
    require_held(metadata["source"], variances[0], target)
    return SpectralBasis(
        vectors[:, :keep].to(target),
        variances[:keep].to(target),
        name,
        mean=None if mean is None else mean.to(target),
        metadata=metadata,
    )

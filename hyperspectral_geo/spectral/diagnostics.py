"""One table row a layer: what the spectra of a network's weights look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.spectral.checks import require_matrix, require_spectrum, working_dtype
from hyperspectral_geo.spectral.noise_edge import noise_rank
from hyperspectral_geo.spectral.truncate import effective_rank, participation_ratio, stable_rank

__all__ = ["LayerSpectrum", "alpha_req", "describe"]


@dataclass(frozen=True)
class LayerSpectrum:
    """A row of `describe`; all numbers are pure, and none depends on the scale of the weight.

    ``rank`` is the numerical rank, ``noise_rank`` the number of singular values above the `noise_edge`, ``alpha`` the
    decay of the squared singular values (`alpha_req`; nan with fewer than two). A zero weight has ranks 0.
    """

    name: str
    rows: int
    columns: int
    rank: int
    noise_rank: int
    effective_rank: float
    stable_rank: float
    participation_ratio: float
    alpha: float


def alpha_req(eigenvalues: Float[Tensor, " p"], *, start: int = 1, stop: int | None = None) -> float:
    r"""Decay exponent α of a spectrum λᵢ ∝ i^{−α}: minus the least-squares slope of log λᵢ on log i.

    Args:
        eigenvalues: shape (p,), variances or squared singular values ≥ 0, in any order; zeros are left out.
        start: first index of the fit, from 1; the leading few are often signal that does not follow the law.
        stop: last index of the fit, None for the last positive eigenvalue.

    Returns:
        α, or nan if fewer than two positive eigenvalues are in the range.

    Raises:
        ValueError: for negative or non-finite eigenvalues, or start < 1.

    References:
        K. K. Agrawal et al., *α-ReQ: assessing representation quality in self-supervised learning by measuring
        eigenspectrum decay*, NeurIPS 2022.

    Example:
        >>> round(alpha_req(torch.arange(1.0, 50.0) ** -1.5), 4)
        1.5
    """
    require_spectrum("eigenvalues", eigenvalues)
    if start < 1:
        raise ValueError(f"start: expected an index >= 1, got {start}")
    ordered = eigenvalues.detach().double().sort(descending=True).values
    positive = ordered[ordered > 0][start - 1 : stop]
    if positive.numel() < 2:
        return float("nan")
    x = torch.arange(start, start + len(positive), dtype=torch.float64, device=positive.device).log()
    x, y = x - x.mean(), positive.log()
    return -float((x * y).sum() / x.square().sum())


def describe(source: nn.Module | Mapping[str, Tensor]) -> list[LayerSpectrum]:
    """Spectral summary of every weight of a module or state dict, one row each, in the order given.

    Tensors with two or more dimensions count as weights (a kernel is flattened to (out, rest)); vectors and integers
    are passed over. Half precisions are decomposed in float32. The cost is that of the singular values of each weight.

    Raises:
        ValueError: naming the layer, for non-finite entries; for a source that is neither a module nor a mapping.

    Example:
        >>> [row.name for row in describe(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)))]
        ['0.weight', '2.weight']
    """
    if isinstance(source, nn.Module):
        source = source.state_dict()
    if not isinstance(source, Mapping):
        raise ValueError(f"source: expected a torch.nn.Module or a state dict, got {type(source).__name__}")
    return [_describe(name, w) for name, w in _weights(source)]


def _weights(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, w in state.items():
        if isinstance(w, Tensor) and w.is_floating_point() and w.ndim >= 2 and w.numel():
            yield name, w.detach().flatten(1)


def _describe(name: str, w: Tensor) -> LayerSpectrum:
    require_matrix(name, w)
    rows, columns = w.shape
    s = torch.linalg.svdvals(w.to(working_dtype(w.dtype)))
    rank = int((s > max(rows, columns) * torch.finfo(s.dtype).eps * s[0]).sum())
    if rank == 0:
        return LayerSpectrum(name, rows, columns, 0, 0, 0.0, 0.0, 0.0, float("nan"))
    # What is below the numerical rank is rounding: it would bend α, and pass for signal where the median is 0.
    kept = s[:rank].double()
    padded = torch.nn.functional.pad(kept, (0, len(s) - rank))
    return LayerSpectrum(
        name=name,
        rows=rows,
        columns=columns,
        rank=rank,
        noise_rank=int(noise_rank(padded, shape=(rows, columns))),
        effective_rank=float(effective_rank(kept)),
        stable_rank=float(stable_rank(kept)),
        participation_ratio=float(participation_ratio(kept.square())),
        alpha=alpha_req(kept.square()),
    )

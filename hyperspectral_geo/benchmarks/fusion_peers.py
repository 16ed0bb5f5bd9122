"""Peers of fusion by retrieval: rCCA, CSA, kernel CCA, Procrustes and ASIF, tuned on the training pairs alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from hyperspectral_geo.fusion.alignment import join_spectra, view_spectrum
from hyperspectral_geo.fusion.retrieval import csls, mean_reciprocal_rank

__all__ = [
    "PEERS",
    "Similarity",
    "asif",
    "canonical",
    "corrected",
    "cross_validated",
    "fit_peers",
    "kernel_coordinates",
    "procrustes",
]

Similarity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From samples (n, dx) of one view and (m, dy) of the other to their similarities (n, m)."""
Candidates: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Iterator[tuple[str, tuple[float, ...], Tensor]]]
"""From training pairs x, y and held-out ones to (peer, setting, similarity of the held-out ones)."""

PEERS = ("rCCA", "CSA", "KCCA", "Procrustes", "ASIF")
"""All peers by name."""

_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # of mean variance, as ours
_COUNTS = (25, 50, 100, 200, 400)  # of directions
_RANK = 200  # of kernel PCA
_POWERS, _SHARES, _LEAST = (1.0, 2.0, 4.0, 8.0), (0.02, 0.1, 0.3, 1.0), 5  # of ASIF
_FOLDS = 5


def fit_peers(x: Float[Tensor, "n dx"], y: Float[Tensor, "n dy"], *, seed: int = 0) -> dict[str, Similarity]:
    """All peers, each with hyper-parameters by 5-fold cross-validation: the best mean reciprocal rank after CSLS.

    rCCA and CSA choose ridge and number of directions, and so does KCCA, which is rCCA after kernel PCA to 200
    directions, with a Gaussian kernel at the median distance; Procrustes whether rows are scaled to unit length, ASIF
    power and number of anchors kept. What canonical peers choose is fitted by cca-zoo's own ``RidgeCCA``; the settings
    on the way share one decomposition a fold, with the same result.

    Args:
        x, y: training pairs.
        seed: of the folds.

    Raises:
        ImportError: if cca-zoo is not installed.

    References:
        rCCA: Vinod 1976. CSA: Li, Ravi, Johnson and Wang 2024, arXiv:2410.07610. KCCA: Hardoon, Szedmak and
        Shawe-Taylor 2004. Procrustes: Schönemann 1966. ASIF: Norelli et al. 2023, arXiv:2210.01738.
    """
    x, y = x.double(), y.double()
    best = cross_validated(x, y, (_canonical_candidates, _kernel_candidates, _plain_candidates), seed=seed)
    found: dict[str, Similarity] = {}
    for name, weighted in (("rCCA", False), ("CSA", True)):
        ridge, count = best[name]
        found[name] = canonical(x, y, ridge=ridge, count=int(count), weighted=weighted)
    ridge, count = best["KCCA"]
    lift_x, lift_y = kernel_coordinates(x), kernel_coordinates(y)
    joined = canonical(lift_x(x), lift_y(y), ridge=ridge, count=int(count))
    found["KCCA"] = lambda a, b: joined(lift_x(a.double()), lift_y(b.double()))
    found["Procrustes"] = procrustes(x, y, unit=bool(best["Procrustes"][0]))
    found["ASIF"] = asif(x, y, power=best["ASIF"][0], share=best["ASIF"][1])
    return found


def corrected(similarity: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """CSLS as ``SubspaceFusion.similarity`` applies it: with ten neighbours, or as many as there are."""
    return csls(similarity, k=min(10, *similarity.shape))


def cross_validated(
    x: Float[Tensor, "n dx"], y: Float[Tensor, "n dy"], families: tuple[Candidates, ...], *, seed: int
) -> dict[str, tuple[float, ...]]:
    """For each peer the setting with the best mean reciprocal rank on held-out folds; of equals the first."""
    scores: dict[str, dict[tuple[float, ...], float]] = {}
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    for inside in order.tensor_split(_FOLDS):
        outside = torch.ones(len(x), dtype=torch.bool)
        outside[inside] = False
        for family in families:
            for name, setting, similarity in family(x[outside], y[outside], x[inside], y[inside]):
                table = scores.setdefault(name, {})
                table[setting] = table.get(setting, 0.0) + mean_reciprocal_rank(corrected(similarity))
    return {name: max(table, key=lambda setting: table[setting]) for name, table in scores.items()}


def canonical(
    x: Float[Tensor, "n dx"], y: Float[Tensor, "n dy"], *, ridge: float, count: int, weighted: bool = False
) -> Similarity:
    """rCCA by cca-zoo's ``RidgeCCA``, or with ``weighted`` CSA.

    rCCA: cos(z, z') of canonical coordinates. CSA: Σ ρ_i z_i z'_i / (‖z‖·‖z'‖). A ridge in units of the mean variance
    is the shrinkage c = ridge/(1 + ridge) of views that are scaled to mean variance 1.

    Args:
        x, y: training pairs.
        ridge: λ over mean variance.
        count: directions, fewer where there are fewer.
        weighted: whether products are weighed by correlations.
    """
    from cca_zoo.linear import RidgeCCA

    scales = [math.sqrt(_mean_variance(view)) for view in (x, y)]
    scaled: list[Any] = [(view.double() / scale).numpy() for view, scale in zip((x, y), scales, strict=True)]
    shrinkage = ridge / (1 + ridge)
    model = RidgeCCA(min(count, x.shape[1], y.shape[1]), shrinkage=shrinkage).fit(scaled)
    means, weights = (
        [torch.from_numpy(np.asarray(part)) for part in parts] for parts in (model.means_, model.weights_)
    )
    ends = [(torch.from_numpy(v) - m) @ w for v, m, w in zip(scaled, means, weights, strict=True)]
    correlations = (1 - shrinkage) * (ends[0] * ends[1]).sum(0) / (len(x) - 1)

    def similarity(a: Tensor, b: Tensor) -> Tensor:
        z = [(v.double() / s - m) @ w for v, s, m, w in zip((a, b), scales, means, weights, strict=True)]
        return _cosines(z[0], z[1], correlations if weighted else None)

    return similarity


def kernel_coordinates(x: Float[Tensor, "n d"], *, rank: int = _RANK) -> Callable[[Tensor], Tensor]:
    """Kernel PCA with a Gaussian kernel at the median distance: k(a, b) = exp(−‖a − b‖²/median‖x_i − x_j‖²).

    Args:
        x: training samples.
        rank: directions to keep, of the largest eigenvalues.

    >>> x = torch.tensor([[0.0], [1.0], [3.0]])
    >>> z = kernel_coordinates(x)(x)
    >>> z.shape, bool(torch.allclose(z.mean(0), torch.zeros(2, dtype=torch.float64)))
    (torch.Size([3, 2]), True)
    """
    from scipy.linalg import eigh

    mean = x.double().mean(0)
    x = x.double() - mean
    squares = _squared_distances(x, x)
    median = squares[torch.triu_indices(len(x), len(x), 1).unbind()].median()
    kernel = (-squares / median).exp()
    means, grand = kernel.mean(0), kernel.mean()
    centred = (kernel - means - means[:, None] + grand).numpy()
    values, vectors = eigh(centred, subset_by_index=(max(0, len(x) - rank), len(x) - 1))
    kept = values > 1e-10 * values[-1]
    directions = torch.from_numpy(vectors[:, kept][:, ::-1] / np.sqrt(values[kept][::-1]))

    def coordinates(a: Tensor) -> Tensor:
        rows = (-_squared_distances(a.double() - mean, x) / median).exp()
        return (rows - rows.mean(1, keepdim=True) - means + grand) @ directions

    return coordinates


def procrustes(x: Float[Tensor, "n dx"], y: Float[Tensor, "n dy"], *, unit: bool) -> Similarity:
    """The orthogonal map W = U Vᵀ of centred pairs, Xᵀ Y = U S Vᵀ, that turns one view into the other.

    Args:
        x, y: training pairs.
        unit: whether samples are scaled to unit length first.
    """
    means = [view.double().mean(0) for view in (x, y)]

    def prepared(view: Tensor, mean: Tensor) -> Tensor:
        centred = view.double() - mean
        return normalize(centred, dim=1) if unit else centred

    u, _, vt = torch.linalg.svd(prepared(x, means[0]).T @ prepared(y, means[1]), full_matrices=False)
    turn = u @ vt
    return lambda a, b: _cosines(prepared(a, means[0]) @ turn, prepared(b, means[1]))


def asif(x: Float[Tensor, "n dx"], y: Float[Tensor, "n dy"], *, power: float, share: float) -> Similarity:
    """Cosines of sparse relative representations: max(0, cos to training samples)^power, the largest kept.

    Args:
        x, y: training pairs, the anchors.
        power: of the similarities.
        share: of the anchors that a sample keeps, at least five.
    """
    means = [view.double().mean(0) for view in (x, y)]
    anchors = [normalize(view.double() - mean, dim=1) for view, mean in zip((x, y), means, strict=True)]
    kept = min(len(x), max(_LEAST, round(share * len(x))))

    def codes(view: Tensor, side: int) -> Tensor:
        found = (normalize(view.double() - means[side], dim=1) @ anchors[side].T).clamp_min(0)
        least = found.topk(kept, dim=1).values[:, -1:]
        return (found * (found >= least)) ** power

    return lambda a, b: _cosines(codes(a, 0), codes(b, 1))


def _canonical_candidates(
    x: Tensor, y: Tensor, a: Tensor, b: Tensor
) -> Iterator[tuple[str, tuple[float, ...], Tensor]]:
    for ridge, count, z, other, correlations in _coordinates(x, y, a, b):
        yield "rCCA", (ridge, count), _cosines(z, other)
        yield "CSA", (ridge, count), _cosines(z, other, correlations)


def _kernel_candidates(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Iterator[tuple[str, tuple[float, ...], Tensor]]:
    lift_x, lift_y = kernel_coordinates(x), kernel_coordinates(y)
    for ridge, count, z, other, _ in _coordinates(lift_x(x), lift_y(y), lift_x(a), lift_y(b)):
        yield "KCCA", (ridge, count), _cosines(z, other)


def _plain_candidates(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Iterator[tuple[str, tuple[float, ...], Tensor]]:
    for unit in (True, False):
        yield "Procrustes", (float(unit),), procrustes(x, y, unit=unit)(a, b)
    for power in _POWERS:
        for share in _SHARES:
            yield "ASIF", (power, share), asif(x, y, power=power, share=share)(a, b)


def _coordinates(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Iterator[tuple[float, float, Tensor, Tensor, Tensor]]:
    """Ridge, count, canonical coordinates of held-out a and b, and correlations; one decomposition serves them all."""
    views = [view_spectrum(name, part, dtype=torch.float32) for name, part in (("x", x), ("y", y))]
    for ridge in _RIDGES:
        found = join_spectra(views[0], views[1], (ridge, ridge), None, dtype=torch.float32)
        z, other = ((v.float() - m) @ w for v, m, w in zip((a, b), found.means, found.weights, strict=True))
        most = len(found.correlations)
        for count in sorted({min(count, most) for count in _COUNTS}):
            yield ridge, float(count), z[:, :count], other[:, :count], found.correlations[:count]


def _cosines(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cosines, or with the products of coordinates weighed."""
    x, y = normalize(x, dim=1), normalize(y, dim=1)
    return (x if weights is None else x * weights) @ y.T


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_min(0)


def _mean_variance(x: Tensor) -> float:
    """Over the directions that the samples can span: the unit of ridges."""
    centred = x.double() - x.double().mean(0)
    return float(centred.square().sum()) / (len(x) - 1) / min(len(x) - 1, x.shape[1])

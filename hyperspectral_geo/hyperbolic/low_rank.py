"""The strongest simple prediction: additive plus low rank, fitted to the pairs that are not held out."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Real
from torch import Tensor

from hyperspectral_geo.hyperbolic.baselines import Bilinear, Loss, additive, pair_weights
from hyperspectral_geo.hyperbolic.hop_table import Held, training_pairs
from hyperspectral_geo.hyperbolic.predictions import rows_at_once
from hyperspectral_geo.hyperbolic.splits import APART, held_out_pairs

__all__ = ["additive_low_rank"]

_RIDGES = (0.3, 0.1, 0.03, 0.01, 0.003)  # of the largest singular value of noise as large as the residual
_VALIDATION = 0.05
_WORTHWHILE = 1e-3  # relative gain on the validation part for which a weaker ridge is taken
_SETTLED, _ROUGHLY_SETTLED = 1e-4, 2e-3  # relative gain of a sweep, for the fit and for the choice of a ridge


def additive_low_rank(
    hops: Real[Tensor, "n n"],
    rank: int,
    *,
    held: Held | None = None,
    ridge: int | float | None = None,
    loss: Loss = "squared",
    sweeps: int = 50,
    seed: int = 0,
) -> Bilinear:
    """Predictions d̂(u→v) = a_u + b_v + l_u·r_v by alternating weighted least squares with a ridge on l and r.

    Minimises Σ w·(d̂ − h)² + ridge·(Σ|l_u|² + Σ|r_v|²) over the pairs that are neither held out nor without a walk, w
    being 1 or 1/h². Nothing is filled in, so scores on held-out pairs are honest. With no pair held
    out and ``ridge=0`` it is the truncated singular value decomposition of what the additive model leaves, but for the
    diagonal.

    Args:
        hops: (n, n) distances, −1 or infinity where there is no walk.
        rank: k ≥ 0, so that the model has 2 + 2·k numbers a node.
        held: pairs not to be looked at, as for ``hop_scores``.
        ridge: by default the best of five on a twentieth of the training pairs, on which the model is fitted after all.
        loss: ``"squared"`` for Σ(d̂ − h)², ``"relative"`` for Σ(d̂/h − 1)².
        sweeps: the largest number of passes; it stops when a pass gains less than 0.01 %.
        seed: of the start and of the pairs that choose the ridge.

    Raises:
        ValueError: for a table that holds no distances, no pair to fit to, a rank that is no whole number from 0 to
            n, or a negative ridge.

    References:
        Hastie, Mazumder, Lee and Zadeh, "Matrix Completion and Low-Rank SVD via Fast Alternating Least Squares", JMLR
        2015, arXiv:1410.2596.

    Example:
        >>> places = torch.arange(1.0, 7.0)
        >>> hops = (places * places[:, None]).fill_diagonal_(0)
        >>> model = additive_low_rank(hops, 1, ridge=0)
        >>> model.numbers_per_node, round(model.distances()[4, 5].item(), 3)
        (4, 30.0)
    """
    seen = training_pairs(hops, held=held)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 <= rank <= len(seen):
        raise ValueError(f"rank: expected a whole number from 0 to {len(seen)}, got {rank!r}")
    if ridge is not None and not (isinstance(ridge, (int, float)) and 0 <= ridge < math.inf):
        raise ValueError(f"ridge: expected a number from 0, or None, got {ridge!r}")
    start = _random_start(seen, rank, loss, seed)
    if rank == 0:
        return start
    if ridge is None:
        ridge, start = _chosen_ridge(seen, start, loss, sweeps, seed)
    return _descended(seen, start, float(ridge), loss, sweeps, _SETTLED)


def _random_start(seen: Tensor, rank: int, loss: Loss, seed: int) -> Bilinear:
    """The additive model, and random right factors."""
    model = additive(seen, loss=loss)
    drawn = torch.randn(len(seen), rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Bilinear(model.outgoing, model.incoming, torch.zeros_like(drawn), drawn, 2 + 2 * rank)


def _chosen_ridge(seen: Tensor, start: Bilinear, loss: Loss, sweeps: int, seed: int) -> tuple[float, Bilinear]:
    """The ridge that is best on a part of the training pairs, from strong to weak until that stops helping.

    With it the model fitted to the other training pairs, from which the last fit may start.
    """
    judged = held_out_pairs(len(seen), _VALIDATION, seed=seed + APART).mask() & (seen > 0)
    rest = torch.where(judged, -1, seen)
    if not bool(judged.any()) or not bool((rest > 0).any()):
        raise ValueError("hops: expected enough pairs to choose a ridge on some of them, got too few; pass ridge=1.0")
    judged_only = torch.where(judged, seen, -1)
    left_over = math.sqrt(_error(seen, start, loss) / int((seen > 0).sum()))
    unit = 2 * left_over * math.sqrt(len(seen))
    best, best_error, model = (_RIDGES[0] * unit, start), math.inf, start
    for ridge in (share * unit for share in _RIDGES):
        model = _descended(rest, model, ridge, loss, sweeps, _ROUGHLY_SETTLED)
        error = _error(judged_only, model, loss)
        if error > (1 - _WORTHWHILE) * best_error:
            break
        best, best_error = (ridge, model), error
    return best


def _descended(seen: Tensor, model: Bilinear, ridge: float, loss: Loss, sweeps: int, settled: float) -> Bilinear:
    """Solve for (a, l) and (b, r) in turn until a sweep gains less than the share ``settled``."""
    outgoing, left, incoming, right, before = model.outgoing, model.left, model.incoming, model.right, math.inf
    for _ in range(sweeps):
        outgoing, left, _ = _half_sweep(seen, incoming, right, ridge, loss)
        incoming, right, now = _half_sweep(seen.T, outgoing, left, ridge, loss)
        if before - now <= settled * now:
            break
        before = now
    return Bilinear(outgoing, incoming, left, right, model.numbers_per_node)


def _half_sweep(
    seen: Tensor, shift: Tensor, factors: Tensor, ridge: float, loss: Loss
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n k"], float]:
    """For each row the best number and factor against fixed ones of the columns, and the objective then."""
    n, k = factors.shape
    features = torch.cat([torch.ones(n, 1, dtype=torch.float64), factors], 1)
    i, j = torch.triu_indices(k + 1, k + 1)
    products = features[:, i] * features[:, j]
    penalty = torch.full((k + 1,), ridge, dtype=torch.float64)
    penalty[0] = 0
    rows, objective = [], ridge * factors.square().sum().item()
    for part in torch.arange(n).split(rows_at_once(n, None)):
        weight = pair_weights(seen[part], loss)
        target = seen[part].double() - shift
        matrix = torch.empty(len(part), k + 1, k + 1, dtype=torch.float64)
        matrix[:, i, j] = matrix[:, j, i] = weight @ products
        right = (weight * target) @ features
        # A breath on the diagonal: a row without pairs, or with fewer than unknowns, gets the smallest solution.
        breath = 1e-10 * matrix.diagonal(dim1=1, dim2=2).amax(1).clamp_min(1e-10)
        matrix += torch.diag(penalty) + breath[:, None, None] * torch.eye(k + 1, dtype=torch.float64)
        found = torch.linalg.solve(matrix, right)
        objective += (weight * target.square()).sum().item() - (found * right).sum().item()
        rows.append(found)
    solved = torch.cat(rows)
    empty = ~(seen > 0).any(1)
    solved[empty, 0] = solved[~empty, 0].mean()
    return solved[:, 0].contiguous(), solved[:, 1:].contiguous(), objective


def _error(seen: Tensor, model: Bilinear, loss: Loss) -> float:
    """Weighted sum of squares over the pairs seen."""
    total = 0.0
    for part in torch.arange(len(seen)).split(rows_at_once(len(seen), None)):
        off = model.distances(part) - seen[part]
        total += (pair_weights(seen[part], loss) * off.square()).sum().item()
    return total

"""Mean subspaces of weighted lines, by Riemannian descent with Barzilai and Borwein's steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["SubspaceMean", "subspace_mean"]

_MEMORY = 8
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class SubspaceMean:
    """A mean (n, k) with orthonormal columns, and how its search ended."""

    basis: Float[Tensor, "n k"]
    notes: dict[str, float]


def subspace_mean(
    points: Float[Tensor, "sides n r"],
    shares: Float[Tensor, " r"],
    k: int,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 500,
) -> list[SubspaceMean]:
    """For each side the Y in Gr(k, n) that minimises f(Y) = Σ_i share_i ∠(u_i, Y)², ∠(u, Y) = arccos ‖Yᵀu‖.

    The gradient is −2 Σ share_i θ_i/(sin θ_i cos θ_i) (I − YYᵀ) u_i u_iᵀ Y. Starts at the k leading eigenvectors of
    Σ share_i u_i u_iᵀ, the weighted flag mean; steps of Barzilai and Borwein (1988) with the search of Grippo,
    Lampariello and Lucidi (1986) on orthonormal frames (Wen & Yin 2013). A line at a right angle to Y pulls nowhere, so
    where the start has one it is first turned a little.

    Args:
        points: unit vectors u_i as columns.
        shares: numbers ≥ 0 that sum to one.
        k: dimension of the mean, cut to that of the span of all points.
        tolerance: length of the gradient at which to stop.
        max_iterations: after which the mean is returned with ``converged`` 0.
    """
    basis = _start(points, shares, k)
    value, gradient, angles = _objective(basis, points, shares)
    square = _inner(gradient, gradient)
    step = torch.full_like(value, 0.5)
    history = [value]
    iteration = 0
    while iteration < max_iterations and bool((square > tolerance**2).any()):
        worst = torch.stack(history[-_MEMORY:]).amax(0)
        step = torch.where(square > tolerance**2, step, 0)  # a side that has arrived stays
        step, trial, (value, new, angles) = _search(basis, gradient, square, step, worst, points, shares)
        carried = gradient @ (basis.mT @ trial)
        here, across, square = _inner(carried, carried), _inner(carried, new), _inner(new, new)
        step = _next_step(step, here, across, square, iteration)
        basis, gradient = trial, new
        history.append(value)
        iteration += 1
    norm = square.sqrt()
    basis = torch.linalg.qr(basis)[0]  # what rounding has added up to
    return [
        SubspaceMean(
            basis[side],
            {
                "iterations": float(iteration),
                "gradient_norm": float(norm[side]),
                "converged": float(norm[side] <= tolerance),
                "mean_angle": float((shares * angles[side].square()).sum().sqrt()),
            },
        )
        for side in range(len(basis))
    ]


def _start(points: Tensor, shares: Tensor, k: int) -> Tensor:
    """The weighted flag mean, turned by a tenth where a point is at a right angle to it."""
    weighted = points * shares.sqrt()
    values, vectors = torch.linalg.eigh(weighted @ weighted.mT)
    rank = int((values > _TINY * values.amax(-1, keepdim=True)).sum(-1).min())
    k = max(min(k, rank), 1)
    start = vectors[..., -k:]
    reached = torch.linalg.vector_norm(start.mT @ points, dim=-2)
    if rank == k or bool((reached[..., shares > 0] > 1e-6).all()):
        return start
    rest = vectors[..., -rank:-k]
    turn = torch.sin(torch.arange(1.0, rest.shape[-1] * k + 1, dtype=points.dtype)).reshape(rest.shape[-1], k)
    return torch.linalg.qr(start + 0.1 * rest @ turn / torch.linalg.matrix_norm(turn))[0]


def _objective(basis: Tensor, points: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """f, its Riemannian gradient, and the angles (…, r)."""
    inside = basis.mT @ points
    cos2 = inside.square().sum(-2)
    # sin θ loses its digits near θ = 0, but θ/sin θ does not, as both come from the same number
    cos, sin = cos2.sqrt(), (1 - cos2).clamp_min_(_TINY**2).sqrt_()
    angles = torch.atan2(sin, cos)
    pulled = inside * (angles * shares / (sin * cos).clamp_min_(_TINY**2)).unsqueeze(-2)
    gradient = torch.baddbmm(points @ pulled.mT, basis, inside @ pulled.mT, beta=-2, alpha=2)
    return (shares * angles.square()).sum(-1), gradient, angles


def _search(
    basis: Tensor, gradient: Tensor, square: Tensor, length: Tensor, worst: Tensor, points: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Shorten each side's step until f falls enough below the worst of the last values."""
    for attempt in range(41):
        trial = _retract(basis, gradient, length)
        found = _objective(trial, points, shares)
        short = found[0] > worst - 1e-4 * length * square + 1e-15
        if attempt == 40 or not bool(short.any()):
            return length, trial, found
        length = torch.where(short, 0.3 * length, length)
    raise AssertionError


def _retract(basis: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
    """Orthonormal columns that span Y − length·G, by the Cholesky factor of their Gram matrix, I + length² GᵀG."""
    moved = basis - length[:, None, None] * gradient
    factor, failed = torch.linalg.cholesky_ex(moved.mT @ moved)
    if bool(failed.any()):
        return torch.linalg.qr(moved)[0]
    return torch.linalg.solve_triangular(factor.mT, moved, upper=True, left=False)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    return torch.linalg.vecdot(x.flatten(1), y.flatten(1))


def _next_step(step: Tensor, here: Tensor, across: Tensor, there: Tensor, iteration: int) -> Tensor:
    """Barzilai and Borwein's two step lengths in turn, ⟨s,s⟩/⟨s,y⟩ and ⟨s,y⟩/⟨y,y⟩, for s = −step·g and y = g⁺ − g.

    Given are ⟨g,g⟩, ⟨g,g⁺⟩ and ⟨g⁺,g⁺⟩, with the old gradient g carried along.
    """
    cross = (step * (here - across)).abs().clamp_min(1e-300)
    if iteration % 2 == 0:
        return (step.square() * here / cross).clamp(1e-6, 1e4)
    return (cross / (here - 2 * across + there).clamp_min(1e-300)).clamp(1e-6, 1e4)

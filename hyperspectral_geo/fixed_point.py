"""Fixed points x = F(x) of batched tensor maps, and gradients through them without unrolling the iteration."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from hyperspectral_geo.linalg import core_dtype

__all__ = ["anderson", "implicit_gradient"]


def anderson(
    step: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    tolerance: float,
    max_iterations: int = 200,
    memory: int = 6,
) -> tuple[Tensor, Tensor]:
    """Solve x = F(x) by Anderson's mixing of the last residuals; on a linear map this is GMRES.

    Args:
        step: the map F on tensors of shape (…, n, p), acting on each batch item apart.
        start: first iterate, shape (…, n, p).
        tolerance: an item has converged once ‖F(x) − x‖ ≤ tolerance·max(1, ‖x‖).
        max_iterations: evaluations of F.
        memory: how many past differences are mixed.

    Returns:
        The iterate with the smallest residual of each item, and those residual norms, shape (…).

    References:
        H. F. Walker, P. Ni, *Anderson acceleration for fixed-point iterations*, SIAM J. Numer. Anal. 49 (2011).

    Example:
        >>> x, residual = anderson(lambda x: x.cos(), torch.zeros(1, 1, dtype=torch.float64), tolerance=1e-14)
        >>> f"{x.item():.12f}"
        '0.739085133215'
    """
    x, best = start, start
    best_norm = start.new_full(start.shape[:-2], torch.inf)
    iterates: list[Tensor] = []
    residuals: list[Tensor] = []
    for _ in range(max_iterations):
        residual = step(x) - x
        norm = torch.linalg.vector_norm(residual, dim=(-2, -1))
        better = norm < best_norm
        best = torch.where(better[..., None, None], x, best)
        best_norm = torch.where(better, norm, best_norm)
        scale = torch.linalg.vector_norm(best, dim=(-2, -1)).clamp_min(1)
        if bool((best_norm <= tolerance * scale).all()) or not bool(torch.isfinite(norm).all()):
            break
        iterates, residuals = [*iterates, x][-memory - 1 :], [*residuals, residual][-memory - 1 :]
        x = _mix(iterates, residuals)
    return best, best_norm


def _mix(iterates: list[Tensor], residuals: list[Tensor]) -> Tensor:
    x, residual = iterates[-1], residuals[-1]
    if len(residuals) == 1:
        return x + residual
    moves = torch.stack([b - a for a, b in pairwise(iterates)], -1).flatten(-3, -2)
    changes = torch.stack([b - a for a, b in pairwise(residuals)], -1).flatten(-3, -2)
    wide = changes.to(core_dtype(changes))  # in float32 the ridge would be below the rounding of a singular Gram matrix
    gram = wide.mT @ wide
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)
    # the ridge only slows the mixing where differences are dependent; it cannot move the fixed point
    gram.diagonal(dim1=-2, dim2=-1).add_(1e-13 * trace + torch.finfo(gram.dtype).tiny)
    weights = torch.linalg.solve(gram, wide.mT @ residual.flatten(-2).unsqueeze(-1).to(wide.dtype)).to(changes.dtype)
    return x + residual - ((moves + changes) @ weights).squeeze(-1).view_as(x)


def implicit_gradient(
    step: Callable[..., Tensor],
    point: Tensor,
    parameters: tuple[Tensor, ...],
    grad: Tensor,
    *,
    project: Callable[[Tensor], Tensor],
    tolerance: float,
) -> tuple[Tensor | None, ...]:
    """Gradients by ``parameters`` through x = F(x, parameters) at its solution, by the implicit function theorem.

    Solves v = ḡ + (∂F/∂x)ᵀv on the subspace that ``project`` keeps, then returns (∂F/∂parameters)ᵀv. Directions along
    which F cannot contract, such as a change of basis of a Grassmann point, have to be projected away.
    """
    with torch.enable_grad():
        x = point.detach().requires_grad_()
        inputs = tuple(t.detach().requires_grad_() for t in parameters)
        image = step(x, *inputs)
    grad = project(grad)

    def back(v: Tensor) -> Tensor:
        (pulled,) = torch.autograd.grad(image, x, v, retain_graph=True)
        return grad + project(pulled)

    v, _ = anderson(back, grad, tolerance=tolerance)
    return torch.autograd.grad(image, inputs, v, allow_unused=True)

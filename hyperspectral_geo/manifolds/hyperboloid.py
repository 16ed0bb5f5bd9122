"""Distances on the hyperboloid from space-like coordinates, without the cancellation of −⟨x, y⟩.

At radius r coordinates grow like eʳ/2, so −⟨x, y⟩ subtracts numbers of size e^{2r} to leave one of order 1: float32 has
nothing left from r ≈ 6, float64 from r ≈ 15. A point is its space-like part here, and the distance is built from
cosh d − 1 = (cosh(r_x − r_y) − 1) + |x||y|(1 − cos∠), and both terms come from differences that are taken before
anything is squared: |x|² − |y|² = (x − y)·(x + y), and |x|²|y|² − (x·y)² from the part of y across x.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = [
    "DistanceParts",
    "SpaceLikeDistance",
    "across",
    "asinhc",
    "cosh_root",
    "distance_over_sinh",
    "inner_excess",
    "length",
    "ratio",
    "sinhc",
    "unit",
]


class DistanceParts:
    """The well-conditioned parts of cosh d − 1 = radial_excess + angular between space-like a and b (…, d).

    Points satisfy x₀² = k + |x|²; d is in units of √k. Coordinates are not divided by √k first: rounding them anew
    would move points at large radius by more than their distance.
    """

    def __init__(self, a: Tensor, b: Tensor, k: Tensor) -> None:
        self.norm_a, self.norm_b = length(a), length(b)
        self.time_a, self.time_b = (k + self.norm_a.square()).sqrt(), (k + self.norm_b.square()).sqrt()
        self.difference = ((a - b) * (a + b)).sum(-1, keepdim=True)  # |a|² − |b|²
        # sinh(r_a − r_b)
        self.radial = ratio(self.difference, self.norm_a * self.time_b + self.norm_b * self.time_a)
        self.radial_excess = self.radial.square() / (1 + (1 + self.radial.square()).sqrt())
        swap = self.norm_a < self.norm_b
        base, other = torch.where(swap, b, a), torch.where(swap, a, b)
        wedge = base.square().sum(-1, keepdim=True) * across(base, other).square().sum(-1, keepdim=True)
        inner, product = (a * b).sum(-1, keepdim=True), self.norm_a * self.norm_b
        # |a||b|(1 − cos∠)/k
        self.angular = torch.where(inner > 0, ratio(wedge, product + inner), product - inner) / k

    @property
    def excess(self) -> Tensor:
        """cosh d − 1, shape (…, 1)."""
        return self.radial_excess + self.angular


class SpaceLikeDistance(torch.autograd.Function):
    """d/√k between space-like coordinates (…, d) of points with x₀² = k + |x|², with its gradient in the same parts."""

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, k: Tensor) -> Tensor:
        """Distances (…), in the dtype that is computed in."""
        ctx.save_for_backward(x, y, k)
        a, b = torch.broadcast_tensors(x, y)
        parts = DistanceParts(a, b, k)
        return from_excess(parts.excess).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        """Gradients by x, y and k; 0 where the points coincide."""
        x, y, k = ctx.saved_tensors
        a, b = torch.broadcast_tensors(x, y)
        parts = DistanceParts(a, b, k)
        scale = ratio(grad.unsqueeze(-1), (parts.excess * (parts.excess + 2)).sqrt())  # over sinh d; 0 at d = 0
        along_a = parts.radial / parts.time_a + ratio(parts.angular, parts.norm_a)
        along_b = -parts.radial / parts.time_b + ratio(parts.angular, parts.norm_b)
        grad_x = scale * (unit(a) * along_a - across(a, b) / k)
        grad_y = scale * (unit(b) * along_b - across(b, a) / k)
        spread = parts.difference.square() / (2 * (parts.time_a + parts.time_b).square() * parts.time_a * parts.time_b)
        grad_k = (scale * (spread - parts.excess) / k).sum().reshape(k.shape)
        return grad_x.sum_to_size(x.shape), grad_y.sum_to_size(y.shape), grad_k


def inner_excess(a: Tensor, b: Tensor, k: Tensor) -> Tensor:
    """cosh d − 1 in forms that are smooth at the origin, for |a|² ≤ k; accurate there for any b."""
    time_a, time_b = (k + a.square().sum(-1, keepdim=True)).sqrt(), (k + b.square().sum(-1, keepdim=True)).sqrt()
    time_difference = ((a - b) * (a + b)).sum(-1, keepdim=True) / (time_a + time_b)
    chord = ((a - b).square().sum(-1, keepdim=True) - time_difference.square()) / 2
    far = time_a * time_b - (a * b).sum(-1, keepdim=True) - k
    return torch.where(time_b.square() < 9 * k, chord, far) / k


def across(base: Tensor, other: Tensor) -> Tensor:
    """Part of ``other`` orthogonal to ``base``, to full relative precision even where the two are almost parallel.

    The first subtraction is free of error (Dekker's product, Knuth's sum; T. J. Dekker, Numer. Math. 18 (1971)), so
    projecting again removes what the rounding of the coefficient left along the base, a factor eps each time: three
    times serve radii up to 100.
    """
    squared = base.square().sum(-1, keepdim=True)
    coefficient = ratio((base * other).sum(-1, keepdim=True), squared)
    product = coefficient * base
    c_high, b_high = _high_half(coefficient), _high_half(base)
    c_low, b_low = coefficient - c_high, base - b_high
    product_error = ((c_high * b_high - product) + c_high * b_low + c_low * b_high) + c_low * b_low
    total = other - product
    virtual = total - other
    total_error = (other - (total - virtual)) + (-product - virtual)
    left = total + (total_error - product_error)
    for _ in range(3):
        left = left - base * ratio((base * left).sum(-1, keepdim=True), squared)
    return left


def _high_half(x: Tensor) -> Tensor:
    """Leading half of the mantissa of x (Veltkamp's splitting)."""
    bits = 27 if x.dtype == torch.float64 else 12
    shifted = x * (2.0**bits + 1)
    return shifted - (shifted - x)


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a/b, and 0 where b = 0."""
    zero = b == 0
    return torch.where(zero, torch.zeros_like(a / torch.ones_like(b)), a / torch.where(zero, torch.ones_like(b), b))


def length(x: Tensor) -> Tensor:
    """|x| over the last dimension, shape (…, 1), without over- or underflow of the squares."""
    largest = x.detach().abs().amax(-1, keepdim=True)
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    return largest * torch.linalg.vector_norm(x / largest, dim=-1, keepdim=True)


def unit(x: Tensor) -> Tensor:
    """x/|x|, and 0 at x = 0."""
    zero = (x == 0).all(-1, keepdim=True)
    safe = torch.where(zero, torch.ones_like(x), x)
    safe = safe / safe.detach().abs().amax(-1, keepdim=True)
    return torch.where(zero, torch.zeros_like(x), safe / torch.linalg.vector_norm(safe, dim=-1, keepdim=True))


def from_excess(excess: Tensor) -> Tensor:
    """d from cosh d − 1: 2·asinh(√(excess/2))."""
    return 2 * torch.asinh((excess / 2).sqrt())


def distance_over_sinh(excess: Tensor) -> Tensor:
    """d/sinh d from q = cosh d − 1: 2·asinh(√(q/2))/√(q(q + 2)), by its series at small q."""
    small = excess < 1e-2
    q = torch.where(small, excess, torch.zeros_like(excess))
    series, term = torch.ones_like(q), torch.ones_like(q)
    for j in range(1, 9):  # θ/sin θ in 1 − cos θ, continued to −q
        term = term * -q * j / (2 * j + 1)
        series = series + term
    safe = torch.where(small, torch.ones_like(excess), excess)
    return torch.where(small, series, from_excess(safe) / (safe * (safe + 2)).sqrt())


def sinhc(squared: Tensor) -> Tensor:
    """sinh(r)/r as a function of r², by its series below 1, so that the gradient at 0 exists."""
    small = squared < 1
    t = torch.where(small, squared, torch.zeros_like(squared))
    series = torch.ones_like(t)
    for j in range(9, 0, -1):
        series = 1 + series * t / (2 * j * (2 * j + 1))
    r = torch.where(small, torch.ones_like(squared), squared).sqrt()
    return torch.where(small, series, torch.sinh(r) / r)


def cosh_root(squared: Tensor) -> Tensor:
    """cosh(r) as a function of r², by its series below 1."""
    small = squared < 1
    t = torch.where(small, squared, torch.zeros_like(squared))
    series = torch.ones_like(t)
    for j in range(9, 0, -1):
        series = 1 + series * t / (2 * j * (2 * j - 1))
    return torch.where(small, series, torch.cosh(torch.where(small, torch.ones_like(squared), squared).sqrt()))


def asinhc(x: Tensor) -> Tensor:
    """asinh(r)/r of r = |x| over the last dimension, shape (…, 1); its gradient at 0 exists."""
    largest = x.detach().abs().amax(-1, keepdim=True).clamp_min(1)  # keeps squares from overflowing
    squared = (x / largest).square().sum(-1, keepdim=True)
    small = (squared < 1e-2) & (largest == 1)
    t = torch.where(small, squared, torch.zeros_like(squared))
    series, term = torch.ones_like(t), torch.ones_like(t)
    for j in range(1, 9):
        term = term * -t * (2 * j - 1) / (2 * j)
        series = series + term / (2 * j + 1)
    r = largest * torch.where(small, torch.ones_like(squared), squared).sqrt()
    return torch.where(small, series, torch.asinh(r) / r)

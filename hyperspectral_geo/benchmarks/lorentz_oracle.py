"""Lorentz distances and gradients against mpmath on the same rounded inputs, beside geoopt's."""

from __future__ import annotations

from collections.abc import Iterator

import geoopt
import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.table import Row, worst
from hyperspectral_geo.manifolds import Lorentz

__all__ = ["exact_distance", "lorentz_rows", "pair_at_radius"]

SEPARATION = "1.7627"
DIGITS = 80


def lorentz_rows(*, pairs: int, dim: int = 10) -> Iterator[Row]:
    """Largest errors over ``pairs`` pairs a radius, 1.7627 apart in random directions."""
    cases = [(torch.float32, r, 1e-4 if r <= 12 else 0.02) for r in (0, 2, 4, 6, 8, 10, 12, 15, 18)]
    cases += [(torch.float64, r, 1e-10) for r in (0, 6, 12, 18, 25)]
    gradient_errors, self_distances = [], []
    for dtype, radius, bar in cases:
        errors, peer_errors = [], []
        for seed in range(pairs):
            x, y = pair_at_radius(radius, dim, seed=1000 * radius + seed, dtype=dtype)
            true, gradient = exact_distance(x, y)
            distance, measured = _measure(Lorentz(), x, y)
            errors.append(abs(distance / true - 1))
            peer_errors.append(abs(_measure(geoopt.Lorentz(), x, y)[0] / true - 1))
            gradient_errors.append(((measured - gradient).norm() / gradient.norm()).item())
            point = Lorentz().projx(torch.cat([x.new_zeros(1), x]))
            self_distances.append(Lorentz().dist(point, point).item())
        name = str(dtype).removeprefix("torch.")
        spread = (min(errors), worst(errors))
        theirs = f"geoopt {worst(peer_errors):.1e}"
        yield Row(f"Lorentz distance, r={radius} {name}: relative error", spread[1], bar, "lower", spread, "", theirs)
    yield Row("Lorentz gradient, all of these: relative error", worst(gradient_errors), 1e-3, "lower")
    yield Row("Lorentz distance from a point to itself, all of these", worst(self_distances), 0.0, "lower")


def _measure(manifold: geoopt.Lorentz, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Distance, and its gradient by the space-like part of x, of points completed by √(1 + |x|²)."""
    manifold = manifold.to(x.dtype)
    x, y = x.clone().requires_grad_(), y.clone()
    full = [torch.cat([(1 + v.square().sum()).sqrt()[None], v]) for v in (x, y)]
    distance = manifold.dist(full[0], full[1])
    distance.backward()
    assert x.grad is not None
    return distance.item(), x.grad.double()


def pair_at_radius(radius: int, dim: int, *, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Space-like parts of x at a radius in a random direction and of y = exp_x in a random direction, then rounded."""
    import mpmath as mp

    generator = torch.Generator().manual_seed(seed)
    with mp.workdps(DIGITS):
        direction, other = ([mp.mpf(v) for v in torch.randn(dim, generator=generator).tolist()] for _ in range(2))
        norm = mp.sqrt(sum(v * v for v in direction))
        direction = [v / norm for v in direction]
        along = sum(a * b for a, b in zip(direction, other, strict=True))
        across = [b - along * a for a, b in zip(direction, other, strict=True)]
        length = mp.sqrt(along**2 + sum(v * v for v in across))
        cosh, sinh, apart = mp.cosh(radius), mp.sinh(radius), mp.mpf(SEPARATION)
        tangent = [(along * cosh * a + b) / length for a, b in zip(direction, across, strict=True)]
        x = [sinh * a for a in direction]
        y = [mp.cosh(apart) * a + mp.sinh(apart) * b for a, b in zip(x, tangent, strict=True)]
        x, y = [float(v) for v in x], [float(v) for v in y]
    return torch.tensor(x, dtype=torch.float64).to(dtype), torch.tensor(y, dtype=torch.float64).to(dtype)


def exact_distance(x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Distance of two space-like parts and its gradient by the first, in 80 digits, rounded at the end."""
    import mpmath as mp

    with mp.workdps(DIGITS):
        a, b = ([mp.mpf(v) for v in t.double().tolist()] for t in (x, y))
        time_a, time_b = (mp.sqrt(1 + sum(v * v for v in t)) for t in (a, b))
        cosh = time_a * time_b - sum(v * w for v, w in zip(a, b, strict=True))
        sinh = mp.sqrt(cosh**2 - 1)
        gradient = [(time_b / time_a * v - w) / sinh for v, w in zip(a, b, strict=True)]
        return float(mp.acosh(cosh)), torch.tensor([float(v) for v in gradient], dtype=torch.float64)

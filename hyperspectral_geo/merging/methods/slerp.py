"""SLERP: the modules as points of a sphere."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import require_no_negative, taking_part

__all__ = ["slerp"]

_OPPOSITE = 1e-6
"""Angle to π below which two directions are opposite: the rounding of a float32 module."""
_TOLERANCE = 1e-13
"""Length of a step of the mean at which it is left."""


def slerp(joint: Joint, weights: Float[Tensor, " t"], *, max_iterations: int = 200) -> Delta:
    """Spherical interpolation of the updates, each weight matrix one point; only proportions of the weights count.

    Two modules: ΔW = sin((1−u)θ)/sin θ ΔW_1 + sin(uθ)/sin θ ΔW_2 with u = w_2/(w_1 + w_2) and θ the angle between them,
    as published (Shoemake, SIGGRAPH 1985); for parallel ones the straight line that this tends to. More modules: the
    weighted Riemannian mean of the directions ΔW_t/‖ΔW_t‖ on the sphere, M ← exp_M(Σ w_t log_M), with the weighted mean
    of the norms. A point here is a whole matrix, not a subspace: for that see ``grassmann``.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t ≥ 0, (T,).
        max_iterations: of the mean of more than two.

    Raises:
        ValueError: for a negative weight, or for modules that point in opposite directions, between which no shortest
            way is the one.
    """
    require_no_negative(joint, weights, "slerp")
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    if len(index) == 1:
        return active.delta(active.cores[0])
    w = w / w.sum()
    norms = torch.linalg.matrix_norm(active.cores)
    # coordinates (T, T) in the span of the updates, where small angles keep their digits, unlike in a Gram matrix
    basis, points = torch.linalg.qr((active.cores / norms[:, None, None]).flatten(1).mT)
    points = points.mT / torch.linalg.vector_norm(points.mT, dim=1, keepdim=True)
    if len(index) == 2:
        angle = _angles(points[0], points[1:])[0]
        _require_no_opposite(joint, angle)
        shares = _sine_ratio(w, angle)
        return active.delta(torch.einsum("t,tab->ab", shares, active.cores), notes={"angle": float(angle)})
    mean, notes = _mean(joint, points, w, max_iterations)
    core = (basis @ mean).reshape(active.cores.shape[1:])
    return active.delta((w @ norms) * core, notes=notes)


def _sine_ratio(shares: Tensor, angle: Tensor) -> Tensor:
    """sin(s θ)/sin θ, s at θ = 0."""
    return shares * torch.sinc(shares * angle / torch.pi) / torch.sinc(angle / torch.pi)


def _angles(x: Tensor, points: Tensor) -> Tensor:
    """Angles between the unit vector x and unit vectors, exact near 0 and π (Kahan)."""
    return 2 * torch.atan2(torch.linalg.vector_norm(points - x, dim=-1), torch.linalg.vector_norm(points + x, dim=-1))


def _require_no_opposite(joint: Joint, angle: Tensor) -> None:
    if bool((torch.pi - angle < _OPPOSITE).any()):
        raise ValueError(
            f"{joint.name}: modules: expected directions less than π apart, got opposite ones, between which the way "
            "on the sphere is not defined; use linear, or give one of them weight 0"
        )


def _mean(joint: Joint, points: Tensor, w: Tensor, max_iterations: int) -> tuple[Tensor, dict[str, float]]:
    """The weighted mean of unit vectors, by Karcher's iteration from the normalised sum."""
    mean = w @ points
    if float(torch.linalg.vector_norm(mean)) < _OPPOSITE:
        mean = points[w.argmax()]
    mean = mean / torch.linalg.vector_norm(mean)
    iteration, norm = 0, float("inf")
    while iteration < max_iterations and norm > _TOLERANCE:
        angles = _angles(mean, points)
        _require_no_opposite(joint, angles)
        # log_mean(x) = (x − cos θ · mean) · θ/sin θ
        step = w @ ((points - angles.cos()[:, None] * mean) / torch.sinc(angles / torch.pi)[:, None])
        step = step - (step @ mean) * mean
        length = torch.linalg.vector_norm(step)
        mean = length.cos() * mean + torch.sinc(length / torch.pi) * step
        mean = mean / torch.linalg.vector_norm(mean)
        iteration, norm = iteration + 1, float(length)
    return mean, {"iterations": float(iteration), "gradient_norm": norm, "converged": float(norm <= _TOLERANCE)}

"""
Principal angles, small and large
=================================

Two subspaces are compared by their principal angles. The usual recipe takes the singular values of :math:`X^\\top Y` as
cosines and returns their arccosine. For a small angle θ the cosine is :math:`1 - θ^2/2`: below θ ≈ √eps it rounds to 1,
and the angle is lost. :func:`~hyperspectral_geo.manifolds.principal_angles` takes the sines there.

The figure measures both against angles that are known by construction, and then shows six distances between
subspaces of different dimension.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from hyperspectral_geo import principal_angles, subspace_distance

# %%
# Subspaces whose angles are known
# --------------------------------
# With an orthonormal frame :math:`[F_1\ F_2]`, the span of :math:`F_1 \cos θ + F_2 \sin θ` is at the angle θ from the
# span of :math:`F_1`. It is built in NumPy's widest precision, turned within its span, and rounded once, at the end.


def pair_at(theta, *, n=64, p=4, seed=0, dtype=torch.float64):
    """Bases (k, n, p) of pairs of subspaces, the i-th pair with all its angles equal to theta[i]."""
    rng = np.random.default_rng(seed)

    def frame(*shape):
        q = np.linalg.qr(rng.standard_normal(shape))[0].astype(np.longdouble)
        return 1.5 * q - q @ (q.swapaxes(-1, -2) @ q) / 2  # one Newton-Schulz step: orthonormal to the wide precision

    f, angle = frame(len(theta), n, 2 * p), np.asarray(theta, dtype=np.longdouble)[:, None, None]
    x, y = f[..., :p], f[..., :p] * np.cos(angle) + f[..., p:] * np.sin(angle)
    return tuple(torch.from_numpy((a @ frame(len(theta), p, p)).astype(np.float64)).to(dtype) for a in (x, y))


def angles_by_arccos(x, y):
    """The recipe to compare with: the arccosine of the singular values, clamped to at most 1."""
    return torch.acos(torch.linalg.svdvals(x.mT @ y).clamp(max=1))


# %%
# What is drawn
# -------------
# Left and middle: the largest error at each angle, in both precisions. Right: a plane at the angles θ/2 and θ from a
# four-dimensional subspace. By default the distance is that of the plane to the nearest plane *inside* the larger
# subspace, so that it is 0 where the plane is contained.

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6b7280"
STYLES = {
    "martin": ("#CC79A7", (0, (1, 1))),
    "geodesic": ("#0072B2", "-"),
    "asimov": ("#56B4E9", (0, (5, 2))),
    "binet_cauchy": ("#009E73", (0, (3, 1, 1, 1))),
    "chordal": ("#D55E00", "-"),
    "projection": ("#E69F00", (0, (5, 2))),
}


def draw_errors(ax, theta, dtype):
    x, y = pair_at(theta, dtype=dtype)
    eps = torch.finfo(dtype).eps
    curves = {
        "arccos of the cosines": (angles_by_arccos(x, y), ORANGE, "s"),
        "principal_angles": (principal_angles(x, y), BLUE, "o"),
    }
    for name, (angles, colour, marker) in curves.items():
        error = (angles.double() - torch.from_numpy(theta)[:, None]).abs().amax(-1)
        ax.loglog(theta, error.clamp_min(1e-19), marker, color=colour, markersize=3.5, label=name)
        print(f"{dtype!s:14} {name:22} largest error {error.max():.1e} rad = {error.max() / eps:.2g} eps")
    ax.axhline(eps, color=GREY, linewidth=1)
    ax.annotate("eps", (10, eps), xytext=(0, 3), textcoords="offset points", ha="right", color=GREY)
    ax.axline((1e-12, 1e-12), (1.0, 1.0), color=GREY, linewidth=1, linestyle=":")
    ax.annotate("error = θ", (3e-3, 3e-3), xytext=(-58, 6), textcoords="offset points", color=GREY)
    ax.set(title=str(dtype).removeprefix("torch."), xlabel="true angle θ (rad)", xlim=(3e-13, 10), ylim=(3e-20, 1e4))
    ax.legend(loc="upper left", frameon=False, fontsize=9)


def draw_distances(ax):
    e = torch.eye(8, dtype=torch.float64)
    larger, ends = e[:, :4], []
    theta = torch.linspace(0, math.pi / 2, 91, dtype=torch.float64)
    for i, angle in enumerate((theta / 2, theta)):
        ends.append(angle.cos()[:, None] * e[i] + angle.sin()[:, None] * e[4 + i])
    plane = torch.stack(ends, -1)
    for kind, (colour, dashes) in STYLES.items():
        distance = subspace_distance(plane, larger, kind=kind)
        ax.plot(theta.rad2deg(), distance, color=colour, linestyle=dashes, linewidth=2, label=kind)
    at_60 = subspace_distance(plane[60], larger), subspace_distance(plane[60], larger, unequal="metric")
    print(f"angles of 30° and 60°: geodesic distance {at_60[0]:.4f}; as a metric over all dimensions {at_60[1]:.4f}")
    ax.set(title="a plane and a 4-dimensional subspace", xlabel="largest angle θ (degrees)", ylabel="distance")
    ax.set(xlim=(0, 90), ylim=(0, 2.5), xticks=range(0, 91, 15))
    ax.legend(frameon=False, fontsize=9)


def run(quick=True):
    """Draw the figure; ``quick`` takes fewer angles."""
    theta = np.geomspace(1e-12, math.pi / 2, 60 if quick else 400)
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.3), layout="constrained")
    axes[0].set_ylabel("largest error (rad)")
    draw_errors(axes[0], theta, torch.float32)
    draw_errors(axes[1], theta, torch.float64)
    draw_distances(axes[2])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# In float32 the arccosine is wrong by some 1e-4 at every angle below that size, in float64 by some 1e-8. On the dotted
# line the error is as large as the angle itself: nothing of it is left. What remains of the other error is the rounding
# of the bases to their precision. An error of 0 is drawn at the lower rim.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

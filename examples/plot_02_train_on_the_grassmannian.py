"""
Train on the Grassmannian
=========================

:class:`~hyperspectral_geo.manifolds.Grassmann` is a geoopt manifold, so a subspace can be a parameter of a PyTorch
model. Here the parameter maximises :math:`\\operatorname{tr}(U^\\top A U)`, whose maximum is the dominant subspace of a
symmetric matrix A. That subspace is known from SciPy's ``eigsh``, so the distance to it can be measured.

An eigensolver is much faster at this problem. Training by gradients is for functions that have no eigensolver; this
one is chosen because its answer can be checked.
"""

import time

import geoopt
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.sparse.linalg import eigsh

from hyperspectral_geo import Grassmann
from hyperspectral_geo.linalg import orthonormalize

# %%
# The problem
# -----------
# Symmetric matrices with p leading eigenvalues between 2 and 3, and the others between 0 and 1.


def matrices(count, n, p, generator):
    """A (count, n, n), and bases (count, n, p) of the dominant subspaces as ``eigsh`` finds them."""
    basis = orthonormalize(torch.randn(count, n, n, generator=generator, dtype=torch.float64))
    values = torch.cat([torch.linspace(3, 2, p), torch.linspace(1, 0, n - p)]).double()
    a = (basis * values) @ basis.mT
    a = (a + a.mT) / 2
    start = time.perf_counter()
    dominant = [eigsh(each, k=p, v0=np.ones(n))[1] for each in a.numpy()]
    print(f"scipy's eigsh: {(time.perf_counter() - start) / count * 1e3:.1f} ms a matrix")
    return a, torch.from_numpy(np.stack(dominant))


# %%
# The training
# ------------
# All subspaces go into one parameter of shape (count, n, p): a step of one stacked tensor costs far less than a step of
# as many separate parameters. The optimisers are geoopt's, the step length falls to zero along a cosine.


def train(a, dominant, start, make_optimiser, steps):
    """Distances to the dominant subspaces after each step, (steps + 1, count)."""
    manifold = Grassmann()
    u = geoopt.ManifoldParameter(start.clone(), manifold=manifold)
    optimiser = make_optimiser(u)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    history = [manifold.dist(u.detach(), dominant)]
    for _ in range(steps):
        optimiser.zero_grad()
        loss = -(u * (a @ u)).sum()
        loss.backward()
        optimiser.step()
        schedule.step()
        history.append(manifold.dist(u.detach(), dominant))
    assert manifold.check_point_on_manifold(u.detach())
    return torch.stack(history)


OPTIMISERS = {
    "RiemannianAdam": ("#0072B2", "-", lambda u: geoopt.optim.RiemannianAdam([u], lr=0.2)),
    "RiemannianSGD, momentum 0.8": (
        "#009E73",
        (0, (5, 2)),
        lambda u: geoopt.optim.RiemannianSGD([u], lr=0.2, momentum=0.8),
    ),
    "RiemannianSGD": ("#D55E00", (0, (1, 1)), lambda u: geoopt.optim.RiemannianSGD([u], lr=0.3)),
}


def run(quick=True):
    """Draw the figure; ``quick`` takes smaller matrices and fewer steps."""
    count, n, p, steps = (4, 60, 4, 300) if quick else (8, 400, 8, 600)
    generator = torch.Generator().manual_seed(0)
    a, dominant = matrices(count, n, p, generator)
    start = orthonormalize(torch.randn(count, n, p, generator=generator, dtype=torch.float64))

    figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for name, (colour, dashes, make_optimiser) in OPTIMISERS.items():
        begin = time.perf_counter()
        history = train(a, dominant, start, make_optimiser, steps)
        seconds = time.perf_counter() - begin
        print(f"{name}: {seconds / steps * 1e3:.1f} ms a step for {count} matrices, distance {history[-1].max():.1e}")
        ax.semilogy(history, color=colour, linestyle=dashes, alpha=0.3, linewidth=1)
        ax.semilogy(history.median(1).values, color=colour, linestyle=dashes, linewidth=2.2, label=name)
    ax.axhline(np.pi / 2 * p**0.5, color="#6b7280", linewidth=1, linestyle=":")
    ax.annotate(
        "largest possible",
        (steps, np.pi / 2 * p**0.5),
        (0, 4),
        textcoords="offset points",
        ha="right",
        color="#6b7280",
    )
    ax.set(xlabel="step", ylabel="distance to eigsh's subspace (rad)", xlim=(0, steps), ylim=(1e-16, 1e2))
    ax.set_title(f"Dominant {p}-dimensional subspaces of {count} matrices {n} × {n}")
    ax.legend(
        frameon=False,
        loc="upper right",
        bbox_to_anchor=(1, 0.9),
        title="thin lines: each matrix; thick: their median",
        title_fontsize=9,
    )
    ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# On this smooth problem plain gradient steps, of a length that fits the curvature, get to rounding; Adam, whose steps
# shrink only with the schedule, does not within these steps. The distance is accurate down to 1e-15, so the curves can
# be read to the end; the arccosine of :math:`X^\top Y` would stop at 1e-8.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

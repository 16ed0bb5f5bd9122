"""
Means of subspaces, with outliers
=================================

The library has three means of subspaces. The **Fréchet mean** minimises squared distances, the **flag mean** minimises
squared chordal distances and needs no iteration, the **geometric median** minimises distances and holds out against
outliers. Here subspaces lie around a known centre, and a growing share of them is replaced by outliers that agree with
each other on a wrong subspace.
"""

import time

import matplotlib.pyplot as plt
import torch

from hyperspectral_geo import Grassmann, flag_mean, frechet_mean, geometric_median
from hyperspectral_geo.linalg import orthonormalize

# %%
# Subspaces around a centre
# -------------------------
# A tangent of a given length, through the exponential map, ends at that distance from the centre.


def around(centre, k, distance, generator):
    """k points at ``distance`` from each centre (…, n, p), in random directions: (…, k, n, p)."""
    manifold, centre = Grassmann(), centre.unsqueeze(-3)
    shape = (*centre.shape[:-3], k, *centre.shape[-2:])
    u = manifold.proju(centre, torch.randn(shape, generator=generator, dtype=centre.dtype))
    return manifold.expmap(centre, distance * u / manifold.norm(centre, u, keepdim=True))


MEANS = {
    "Fréchet mean": (frechet_mean, "#D55E00", "s", "-"),
    "flag mean": (flag_mean, "#009E73", "^", (0, (5, 2))),
    "geometric median": (geometric_median, "#0072B2", "o", "-"),
}


def run(quick=True):
    """Draw the figure; ``quick`` takes fewer trials."""
    trials, k, n, p = (10 if quick else 100), 40, 50, 3
    generator = torch.Generator().manual_seed(0)
    centre = orthonormalize(torch.randn(trials, n, p, generator=generator, dtype=torch.float64))
    good = around(centre, k, 0.4, generator)
    wrong = around(centre, 1, 1.6, generator).squeeze(-3)
    bad = around(wrong, k, 0.4, generator)

    counts = list(range(0, k // 2 + 5, 4))
    figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for name, (mean, colour, marker, dashes) in MEANS.items():
        start, errors = time.perf_counter(), []
        for count in counts:
            points = torch.cat([good[:, count:], bad[:, :count]], dim=1)  # (trials, k, n, p): all trials at once
            errors.append(Grassmann().dist(mean(points), centre))
        milliseconds = (time.perf_counter() - start) / len(counts) / trials * 1e3
        low, middle, high = torch.stack(errors).quantile(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), dim=1)
        share = [100 * count / k for count in counts]
        ax.fill_between(share, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.plot(share, middle, color=colour, marker=marker, linestyle=dashes, linewidth=2, label=name)
        print(
            f"{name:16} error {middle[0]:.3f} without outliers, {middle[counts.index(k // 5)]:.3f} with 20 %, "
            f"{middle[counts.index(2 * k // 5)]:.3f} with 40 %; {milliseconds:.1f} ms a mean of {k} points {n} × {p}"
        )
    ax.set(xlabel="share of outliers (%)", ylabel="distance of the mean from the true centre (rad)", xlim=(0, 60))
    ax.set(ylim=(0, None), title=f"Means of {k} subspaces; outliers 1.6 rad away, together")
    ax.legend(frameon=False, title=f"line: median; band: range of {trials} trials", title_fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# Without outliers the three agree. With outliers the means are dragged along as their share grows; the median lies
# nearer to the centre until half of the points are wrong, and there no mean can know which half is right. Beyond, it
# goes over to the others sooner than the means do.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

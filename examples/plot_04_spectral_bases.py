"""
Spectral bases, and where noise ends
====================================

A :class:`~hyperspectral_geo.spectral.SpectralBasis` is an orthonormal basis and one eigenvalue a direction. Two are
made here: one from the two factors of a low-rank update, without its dense product, and one from activations that
arrive in batches. In the second, a few directions are planted in noise. The noise edge tells how many can be told from
noise.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from hyperspectral_geo import SpectralBasis, from_activations, from_lora
from hyperspectral_geo.linalg import orthonormalize
from hyperspectral_geo.spectral import covariance_noise_edge

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b7280"

# %%
# From the factors of a low-rank update
# -------------------------------------
# The singular values of the update ``scale · B A`` come from a 16 × 16 core. The dense matrix is formed here for
# comparison only.


def draw_lora(ax, outputs, inputs, rank, generator):
    lora_a = torch.randn(rank, inputs, generator=generator) * torch.linspace(1, 0.05, rank)[:, None]
    lora_b = torch.randn(outputs, rank, generator=generator)
    start = time.perf_counter()
    basis = from_lora(lora_a, lora_b, scale=0.5, name="update")
    from_factors = time.perf_counter() - start
    start = time.perf_counter()
    dense = torch.linalg.svdvals(0.5 * lora_b @ lora_a)
    from_dense = time.perf_counter() - start
    gap = ((basis.eigenvalues - dense[:rank]).abs() / dense[0]).max()
    print(basis)
    print(
        f"update {outputs} × {inputs}, rank {rank}: {from_factors * 1e3:.1f} ms from the factors, "
        f"{from_dense * 1e3:.0f} ms for the dense singular values; they differ by {gap:.0e} of the largest"
    )
    half = basis.truncate(energy=0.9)
    print(f"90 % of the energy is in {half.p} of {basis.p} directions")
    index = torch.arange(1, rank + 1)
    ax.plot(index, dense[:rank], "s", color=ORANGE, markersize=9, markerfacecolor="none", label="dense product")
    ax.plot(index, basis.eigenvalues, "o", color=BLUE, markersize=4, label="from_lora")
    ax.axvspan(0.5, half.p + 0.5, color=BLUE, alpha=0.08, linewidth=0, label="90 % of the energy")
    ax.set(
        title="A low-rank update", xlabel="direction", ylabel="singular value", ylim=(0, None), xlim=(0.5, rank + 0.5)
    )
    ax.legend(frameon=False)


# %%
# From activations, with directions planted in noise
# --------------------------------------------------
# For d features and N rows of noise of variance σ², the eigenvalues of the covariance fill the Marchenko–Pastur bulk,
# which ends at σ²(1 + √β)² with β = d/N. Of a finite sample the largest value fluctuates about that end. The edge adds
# the Tracy–Widom margin, so that noise stays below it in about 99 of 100 cases (a few less if there are few features);
# σ is read off the median eigenvalue.


def planted(rows, features, strengths, generator):
    """Rows of unit noise with a few directions of larger variance, and those directions (features, k)."""
    directions = orthonormalize(torch.randn(features, len(strengths), generator=generator, dtype=torch.float64))
    signal = torch.randn(rows, len(strengths), generator=generator, dtype=torch.float64) * strengths
    return torch.randn(rows, features, generator=generator, dtype=torch.float64) + signal @ directions.mT, directions


def bulk_density(x, ratio):
    """Marchenko–Pastur density of unit variance."""
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
    return np.sqrt(np.clip((high - x) * (x - low), 0, None)) / (2 * np.pi * ratio * x)


def draw_activations(ax, rows, features, generator):
    strengths = torch.tensor([2.2, 1.8, 1.5, 1.3, 1.1], dtype=torch.float64)
    x, directions = planted(rows, features, strengths, generator)
    basis = from_activations(x.split(200), name="activations")  # any iterable of batches would do
    edge = covariance_noise_edge(basis.eigenvalues, samples=rows)
    signal = basis.truncate(noise_shape=(rows, features))
    truth = SpectralBasis(directions, torch.ones(len(strengths), dtype=torch.float64), "planted")
    angles = ", ".join(f"{angle:.0f}" for angle in signal.angles(truth).rad2deg())
    print(f"{signal.p} of {len(strengths)} planted directions rise above {edge:.3f}; they are {angles} degrees off")

    ratio = features / rows
    grid = np.linspace((1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2, 400)
    bins = np.linspace(0, float(basis.eigenvalues[0]) + 0.2, 80)
    ax.hist(basis.eigenvalues, bins, density=True, color=BLUE, alpha=0.35, label="eigenvalues")
    ax.plot(grid, bulk_density(grid, ratio), color=BLUE, linewidth=2, label="Marchenko–Pastur law")
    ax.plot(signal.eigenvalues, torch.full((signal.p,), 0.025), "v", color=GREEN, label="found above the edge")
    ax.axvline(float(edge), color=ORANGE, linewidth=2, linestyle=(0, (5, 2)), label="noise edge, 99 %")
    ax.set(
        title=f"{rows:,} activations of {features} features", xlabel="eigenvalue of the covariance", ylabel="density"
    )
    ax.legend(frameon=False)


def false_alarms(rows, features, trials, generator):
    """Share of pure noise in which something rises above the edge."""
    noise = torch.randn(trials, rows, features, generator=generator, dtype=torch.float64)
    values = torch.linalg.svdvals(noise).square() / rows
    edge = covariance_noise_edge(values, samples=rows, centred=False)
    print(f"pure noise, {trials} trials: something above the edge in {(values[:, 0] > edge).double().mean():.1%}")


def run(quick=True):
    """Draw the figure; ``quick`` takes smaller matrices and fewer trials of pure noise."""
    generator = torch.Generator().manual_seed(0)
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained", width_ratios=(1, 1.4))
    draw_lora(axes[0], *((768, 512) if quick else (4096, 4096)), 16, generator)
    draw_activations(axes[1], *((1200, 240) if quick else (6000, 1200)), generator)
    false_alarms(200, 64, 500 if quick else 5000, generator)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    run(quick=True)
    plt.show()

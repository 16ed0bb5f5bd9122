"""Ranks of spectra against NumPy and SciPy, and the noise edge against noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.spectral import (
    covariance_noise_edge,
    effective_rank,
    marchenko_pastur_median,
    noise_edge,
    noise_rank,
    participation_ratio,
    rank_by_energy,
    rankme,
    stable_rank,
    tracy_widom_quantile,
)

SHAPES = [(256, 256), (256, 512), (128, 1024), (400, 100)]
SUMMARIES = {
    "effective_rank": effective_rank,
    "rankme": rankme,
    "participation_ratio": participation_ratio,
    "stable_rank": stable_rank,
}
spectra = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30)


def reference(name: str, s: np.ndarray) -> float:
    """The published formula, in NumPy."""
    if name == "participation_ratio":
        return float(s.sum() ** 2 / (s**2).sum())
    if name == "stable_rank":
        m = np.diag(s)
        return float(np.linalg.norm(m, "fro") ** 2 / np.linalg.norm(m, 2) ** 2)
    if name == "rankme":
        p = s / s.sum() + 1e-7
        return float(np.exp(-(p * np.log(p)).sum()))
    return float(np.exp(scipy.stats.entropy(s)))


@pytest.mark.parametrize("name", SUMMARIES)
@given(values=spectra)
def test_summary_matches_numpy_and_ignores_order_and_scale(name: str, values: list[float]):
    s = torch.tensor(values, dtype=torch.float64)
    result = SUMMARIES[name](s)
    assert float(result) == pytest.approx(reference(name, s.numpy()), rel=1e-10)
    torch.testing.assert_close(SUMMARIES[name](s.flip(0) * 3e7), result, rtol=1e-12, atol=0)
    assert 1 - 1e-4 <= float(result) <= len(values) + 1e-4


@pytest.mark.parametrize("name", SUMMARIES)
def test_summary_is_batched_in_float32_and_does_not_overflow(name: str):
    s = torch.rand(3, 4, 10) + 0.1
    whole = SUMMARIES[name](s)
    assert whole.shape == (3, 4)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole[1, 2], SUMMARIES[name](s[1, 2]))
    torch.testing.assert_close(SUMMARIES[name](s * 1e30), whole)


@pytest.mark.parametrize("name", SUMMARIES)
def test_summary_has_finite_gradients_at_zeros_and_ties(name: str):
    s = torch.tensor([2.0, 2.0, 1.0, 0.0, 0.0], requires_grad=True)
    SUMMARIES[name](s).backward()
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()


@given(values=spectra, energy=st.floats(0.01, 1.0))
def test_rank_by_energy_is_the_smallest_that_reaches(values: list[float], energy: float):
    e = torch.tensor(values, dtype=torch.float64)
    k = int(rank_by_energy(e, energy))
    cumulative = np.cumsum(np.sort(e.numpy())[::-1])
    assert cumulative[k - 1] >= energy * cumulative[-1] * (1 - 1e-12)
    assert k == 1 or cumulative[k - 2] < energy * cumulative[-1]
    assert int(rank_by_energy(e.flip(0), energy)) == k


@pytest.mark.parametrize("ratio", [1e-4, 0.01, 0.3, 0.5, 0.9, 0.999, 0.999999, 1.0])
def test_marchenko_pastur_median_against_quadrature(ratio: float):
    median = marchenko_pastur_median(ratio)
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    edges = np.linspace(math.sqrt(median), math.sqrt(high), 20)

    def density_of_the_root(s: float) -> float:
        return math.sqrt(max(high - s * s, 0.0) * max(s * s - low, 0.0)) / (math.pi * ratio * s)

    mass = sum(scipy.integrate.quad(density_of_the_root, a, b)[0] for a, b in itertools.pairwise(edges))
    assert mass == pytest.approx(0.5, abs=1e-7)


@pytest.mark.parametrize(
    ("confidence", "published"),
    [(0.9, 0.4501), (0.95, 0.9793), (0.99, 2.0234), (0.995, 2.4224), (0.999, 3.2724)],
)
def test_tracy_widom_quantile_against_published_tables(confidence: float, published: float):
    assert tracy_widom_quantile(confidence) == pytest.approx(published, abs=3e-4)


def test_tracy_widom_quantile_against_chianis_gamma_law():
    # Chiani 2014 (arXiv 1209.3394): TW1 + 9.84801 is nearly Gamma(46.446, 0.186054).
    for confidence in (0.3, 0.7, 0.97):
        approximate = scipy.stats.gamma.ppf(confidence, 46.446, scale=0.186054) - 9.84801
        assert tracy_widom_quantile(confidence) == pytest.approx(approximate, abs=5e-3)


def noise_spectra(shape: tuple[int, int], dtype: torch.dtype, seeds: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.linalg.svdvals(0.02 * torch.randn(seeds, *shape, generator=generator, dtype=dtype))


def iqr_rank(s: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The rule of Spectrum (Hartford et al. 2024, arXiv 2406.06623): σ from the interquartile range, no margin."""
    ratio = min(shape) / max(shape)
    sigma = (s.quantile(0.75, dim=-1) - s.quantile(0.25, dim=-1)) / 1.349
    return (s > sigma[..., None] * (1 + math.sqrt(ratio))).sum(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_noise_has_no_spikes(shape: tuple[int, int], dtype: torch.dtype):
    s = noise_spectra(shape, dtype)
    # 1 in 100 expected of 20 seeds; three or more have a probability of 1e-3.
    assert int(noise_rank(s, shape=shape).sum()) <= 2
    assert int(noise_rank(s, shape=shape, sigma=0.02).sum()) <= 2
    assert int(iqr_rank(s, shape).float().mean()) > 20  # what the margin and the median are for
    # The edge is not bought by standing far off: it is within a few per cent of the largest noise value.
    assert float((noise_edge(s, shape=shape) / s[:, 0]).median()) < 1.05


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_planted_spikes_are_found(shape: tuple[int, int]):
    m, n = shape
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(20):
        noise = torch.randn(m, n, generator=generator, dtype=torch.float64)
        u = torch.linalg.qr(torch.randn(m, 5, generator=generator, dtype=torch.float64)).Q
        v = torch.linalg.qr(torch.randn(n, 5, generator=generator, dtype=torch.float64)).Q
        # From 1.4 to 2 times (mn)^¼, below which a spike cannot be told from noise even in principle.
        strength = torch.linspace(1.4, 2.0, 5, dtype=torch.float64) * (m * n) ** 0.25
        found.append(int(noise_rank(torch.linalg.svdvals(noise + u * strength @ v.T), shape=shape)))
    assert np.mean(found) >= 4.4
    assert max(found) <= 6


def test_noise_edge_is_symmetric_scales_and_ignores_order():
    s = noise_spectra((60, 90), torch.float64, seeds=3)
    edge = noise_edge(s, shape=(60, 90))
    assert edge.shape == (3,)
    torch.testing.assert_close(noise_edge(s.flip(-1), shape=(90, 60)), edge)
    torch.testing.assert_close(noise_edge(7 * s, shape=(60, 90)), 7 * edge)
    assert (noise_edge(s, shape=(60, 90), confidence=0.999) > edge).all()
    assert float(noise_edge(torch.tensor([3.0, 0.0, 0.0]), shape=(3, 9))) == 0.0


@pytest.mark.parametrize("samples", [2000, 80])
def test_covariance_edge_for_many_and_for_few_samples(samples: int):
    counts = []
    for _ in range(20):
        x = torch.randn(samples, 120, dtype=torch.float64) + 5.0
        values = torch.linalg.eigvalsh(torch.cov(x.T)).clamp(min=0)
        counts.append(int((values > covariance_noise_edge(values, samples=samples)).sum()))
        known = covariance_noise_edge(values, samples=samples, variance=1.0)
        assert float(known) == pytest.approx(float(covariance_noise_edge(values, samples=samples)), rel=0.2)
    assert sum(counts) <= 2
    x[:, 0] *= 4.0
    values = torch.linalg.eigvalsh(torch.cov(x.T)).clamp(min=0)
    assert int((values > covariance_noise_edge(values, samples=samples)).sum()) == 1


S = torch.tensor([3.0, 2.0, 1.0])
BAD = {
    "integers": (
        lambda: effective_rank(torch.tensor([3, 2])),
        "real floating-point tensor, got torch.int64",
    ),
    "negative": (lambda: participation_ratio(torch.tensor([1.0, -2.0])), "expected numbers >= 0, got -2"),
    "nan": (lambda: stable_rank(torch.tensor([1.0, math.nan])), r"got nan at index \(1,\)"),
    "zeros": (lambda: effective_rank(torch.zeros(3)), "expected at least one number > 0, got only zeros"),
    "empty": (lambda: rankme(torch.zeros(0)), r"expected shape \(\.\.\., d\) with d >= 1"),
    "energy above one": (lambda: rank_by_energy(S, 95), r"fraction in \(0, 1\], got 95; for 95 % pass 0.95"),
    "energy zero": (lambda: rank_by_energy(S, 0.0), r"fraction in \(0, 1\], got 0.0"),
    "cut before": (
        lambda: noise_edge(S, shape=(10, 20)),
        r"expected all min\(10, 20\) = 10 .* got 3; .*pass sigma",
    ),
    "too many": (lambda: noise_edge(S, shape=(2, 20), sigma=1.0), "a matrix of shape 2x20 has at most 2, got 3"),
    "no shape": (lambda: noise_edge(S, shape=7), r"expected two whole numbers \(rows, columns\), got 7"),
    "empty shape": (lambda: noise_edge(S, shape=(0, 3)), "expected rows >= 1 and columns >= 1"),
    "sigma": (lambda: noise_edge(S, shape=(3, 4), sigma=0.0), "sigma: expected a finite number > 0, got 0.0"),
    "confidence": (lambda: noise_edge(S, shape=(3, 4), confidence=99), r"confidence: expected a number in \[0.001"),
    "energy a text": (lambda: rank_by_energy(S, "a"), "energy: expected a real number, got 'a'"),
    "sigma a text": (lambda: noise_edge(S, shape=(3, 4), sigma="1"), "sigma: expected a real number, got '1'"),
    "confidence a text": (lambda: noise_edge(S, shape=(3, 4), confidence="a"), "confidence: expected a real number"),
    "samples a text": (lambda: covariance_noise_edge(S, samples="5"), "samples: expected a whole number, got '5'"),
    "variance a text": (lambda: covariance_noise_edge(S, samples=9, variance="a"), "variance: expected a real number"),
    "ratio": (lambda: marchenko_pastur_median(2.0), "ratio: expected 0 < .* <= 1, got 2.0"),
    "one sample": (lambda: covariance_noise_edge(S, samples=1), "expected rows >= 1 and columns >= 1"),
    "variance": (lambda: covariance_noise_edge(S, samples=9, variance=-1.0), "variance: expected a number > 0"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_with_a_remedy(case: str):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()

"""Where noise ends in a spectrum: the Marchenko–Pastur edge with a Tracy–Widom margin.

A matrix of independent noise of standard deviation σ has singular values that fill a known bulk. What rises above the
bulk by more than the largest noise value is likely to fluctuate is signal. σ is read off the *median* singular value,
which a few strong directions hardly move; the margin is the Tracy–Widom quantile, which is what the largest value of
noise really follows. If you are not sure, call `noise_rank`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import root_scalar
from scipy.special import airy
from torch import Tensor

from hyperspectral_geo.spectral.checks import require_number, require_shape, require_spectrum, require_whole

__all__ = [
    "covariance_noise_edge",
    "marchenko_pastur_median",
    "noise_edge",
    "noise_rank",
    "tracy_widom_quantile",
]


def _upper_mass(theta: float, ratio: float) -> float:
    """Mass of the Marchenko–Pastur law above x(θ) = 1 + β + 2√β cos θ, in closed form.

    With x written through θ the density becomes 2 sin²θ / (π (1 + β + 2√β cos θ)), which has an elementary integral;
    no quadrature means no loss at β → 1, where the density itself is unbounded.
    """
    root = math.sqrt(ratio)
    arc = math.atan((1.0 - root) / (1.0 + root) * math.tan(theta / 2.0))
    inner = (1.0 + ratio) * theta / (4.0 * ratio) - math.sin(theta) / (2.0 * root) - (1.0 - ratio) / (2.0 * ratio) * arc
    return 2.0 / math.pi * inner


@lru_cache(maxsize=256)
def marchenko_pastur_median(ratio: float) -> float:
    r"""Median of the Marchenko–Pastur law of unit variance and aspect ratio β.

    The law is the limit of the eigenvalues of A Aᵀ / N for an m×N matrix A of unit noise, β = m / N ≤ 1, with density
    √((b−x)(x−a)) / (2πβx) on a = (1−√β)², b = (1+√β)².

    Valid for 0 < β ≤ 1; accurate to about eps/√β. Raises `ValueError` outside. Source: Marchenko & Pastur 1967;
    Gavish & Donoho 2014 (arXiv 1305.5870) use this median to read off the scale of the noise.

    >>> round(marchenko_pastur_median(1.0), 6)
    0.652776
    """
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"ratio: expected 0 < min(m, n) / max(m, n) <= 1, got {ratio!r}; swap the sides")
    bracket = (1e-9, math.pi - 1e-9)
    theta = root_scalar(lambda t: _upper_mass(t, ratio) - 0.5, bracket=bracket, xtol=1e-15, rtol=1e-15).root
    return 1.0 + ratio + 2.0 * math.sqrt(ratio) * math.cos(theta)


def _tracy_widom_cdf(s: float, *, nodes: int = 64, reach: float = 18.0) -> float:
    """F₁(s) = det(I − K) on L²(s, ∞), K(x, y) = Ai((x + y)/2) / 2, by Gauss–Legendre quadrature."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    # Beyond s = 18 the kernel is below 1e-23, so the interval always ends there or `reach` further on.
    length = max(reach - s, 2.0)
    x, w = s + length * (x + 1.0) / 2.0, w * length / 2.0
    kernel = 0.5 * airy((x[:, None] + x[None, :]) / 2.0)[0]
    root = np.sqrt(w)
    return float(np.linalg.det(np.eye(nodes) - root[:, None] * kernel * root[None, :]))


@lru_cache(maxsize=64)
def tracy_widom_quantile(confidence: float) -> float:
    r"""Quantile of the Tracy–Widom law of real matrices (β = 1).

    The law is that of the largest eigenvalue of real noise, centred and scaled. Its distribution function is the
    Fredholm determinant F₁(s) = det(I − K_s), K_s(x, y) = ½ Ai((x+y)/2) on (s, ∞) (Ferrari & Spohn 2005,
    arXiv math-ph/0505012), evaluated by the quadrature of Bornemann 2010 (arXiv 0804.2543) to about 1e-12.

    Valid for 0.001 ≤ confidence ≤ 1 − 1e-9; `ValueError` outside.

    >>> [round(tracy_widom_quantile(c), 4) for c in (0.90, 0.95, 0.99)]
    [0.4501, 0.9793, 2.0234]
    """
    if not 0.001 <= require_number("confidence", confidence) <= 1.0 - 1e-9:
        raise ValueError(f"confidence: expected a number in [0.001, 1 - 1e-9], got {confidence!r}; 0.99 is usual")
    return float(root_scalar(lambda s: _tracy_widom_cdf(s) - confidence, bracket=(-8.0, 12.0), xtol=1e-12).root)


def _largest_noise_value(rows: int, columns: int, confidence: float) -> float:
    """The singular value that unit noise of this shape exceeds with probability 1 − confidence."""
    a, b = math.sqrt(max(rows - 0.5, 0.5)), math.sqrt(max(columns - 0.5, 0.5))
    centre = (a + b) ** 2
    scale = (a + b) * (1.0 / a + 1.0 / b) ** (1.0 / 3.0)
    return math.sqrt(centre + scale * tracy_widom_quantile(confidence))


def _noise_scale(singular_values: Tensor, rows: int, columns: int) -> Tensor:
    """σ from the median singular value, in float64."""
    short, long = sorted((rows, columns))
    if singular_values.shape[-1] != short:
        raise ValueError(
            f"singular_values: expected all min({rows}, {columns}) = {short} values to find the noise scale from their "
            f"median, got {singular_values.shape[-1]}; find the edge before cutting the rank, or pass sigma"
        )
    median = singular_values.double().quantile(0.5, dim=-1)
    return median / math.sqrt(long * marchenko_pastur_median(short / long))


def noise_edge(
    singular_values: Float[Tensor, "*batch p"],
    *,
    shape: tuple[int, int],
    sigma: float | None = None,
    confidence: float = 0.99,
) -> Float[Tensor, "*batch"]:
    r"""Singular value above which a direction of an m×n matrix is signal rather than noise.

    edge = σ √(μ + s·q),  μ = (√(m−½) + √(n−½))²,  s = (√(m−½) + √(n−½)) (1/√(m−½) + 1/√(n−½))^{1/3},

    where q is the Tracy–Widom quantile at ``confidence`` and σ, unless given, is median(singular values) / √(N·x½) with
    N = max(m, n) and x½ the Marchenko–Pastur median at min(m, n)/N. Pure noise then has a value above the edge in about
    a fraction 1 − confidence of the cases.

    Args:
        singular_values: shape (…, min(m, n)), ≥ 0, all of them, in any order; fewer only if ``sigma`` is given.
        shape: (m, n), the shape of their matrix.
        sigma: standard deviation of one entry of the noise, if known.
        confidence: probability that noise stays below the edge, in [0.001, 1 − 1e-9].

    Returns:
        The edge in the units and dtype of the singular values, shape (…); 0 where more than half of them are 0, that
        is, no noise at all.

    The entries of the noise are taken as independent, of equal variance and finite fourth moment. With the scale
    estimated, false alarms rise above 1 − confidence where min(m, n) is small (measured at 0.99 over 1,000 Gaussian
    matrices each: 9 % at 8 × 8, 5 % at 32 × 32, 4 % at 64 × 64, 2 % at 64 × 128), and signal in a large part of the
    directions (a fifth or more) lifts the median and with it the edge: pass ``sigma`` then.

    Raises:
        ValueError: for negative or non-finite values, a wrong count, a shape below 1×1, sigma ≤ 0, or a confidence
            outside its range.

    References:
        I. M. Johnstone, *On the distribution of the largest eigenvalue in principal components analysis*, Annals of
        Statistics 29 (2001): the law.
        Z. Ma, *Accuracy of the Tracy–Widom limits for the extreme eigenvalues in white Wishart matrices*, Bernoulli 18
        (2012), arXiv 1203.0839: the −½, accurate to second order and symmetric in m and n.
        M. Gavish, D. L. Donoho, *The optimal hard threshold for singular values is 4/√3*, IEEE Trans. Inf. Theory 60
        (2014), arXiv 1305.5870: the median scale.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> noise = torch.randn(64, 256, generator=g, dtype=torch.float64)
        >>> s = torch.linalg.svdvals(noise)
        >>> bool(s[0] < noise_edge(s, shape=(64, 256)))
        True
    """
    require_spectrum("singular_values", singular_values)
    rows, columns = require_shape("shape", shape)
    if sigma is None:
        scale = _noise_scale(singular_values, rows, columns)
    else:
        if not 0 < require_number("sigma", sigma) < math.inf:
            raise ValueError(f"sigma: expected a finite number > 0, got {sigma!r}; pass None to estimate it")
        if singular_values.shape[-1] > min(rows, columns):
            raise ValueError(
                f"singular_values: a matrix of shape {rows}x{columns} has at most {min(rows, columns)}, "
                f"got {singular_values.shape[-1]}; check shape"
            )
        scale = torch.full(singular_values.shape[:-1], sigma, dtype=torch.float64, device=singular_values.device)
    return (scale * _largest_noise_value(rows, columns, confidence)).to(singular_values.dtype)


def noise_rank(
    singular_values: Float[Tensor, "*batch p"],
    *,
    shape: tuple[int, int],
    sigma: float | None = None,
    confidence: float = 0.99,
) -> Int[Tensor, "*batch"]:
    """How many singular values rise above the `noise_edge`; its arguments and errors are that function's.

    >>> noise_rank(torch.tensor([40.0, 1.0]), shape=(100, 100), sigma=1.0)
    tensor(1)
    """
    edge = noise_edge(singular_values, shape=shape, sigma=sigma, confidence=confidence)
    return (singular_values > edge.unsqueeze(-1)).sum(dim=-1)


def covariance_noise_edge(
    eigenvalues: Float[Tensor, "*batch d"],
    *,
    samples: int,
    features: int | None = None,
    variance: float | None = None,
    centred: bool = True,
    confidence: float = 0.99,
) -> Float[Tensor, "*batch"]:
    r"""`noise_edge` for the eigenvalues of a sample covariance of ``samples`` rows.

    The covariance of N rows of d features is XᵀX / ν with ν = N − 1 after subtracting the mean (``centred``) and ν = N
    otherwise, so its eigenvalues are σᵢ²/ν for the singular values σᵢ of a ν×d matrix and the edge is noise_edge² / ν.
    ``features`` is d, by default the number of eigenvalues; only the min(ν, d) largest enter the median, because the
    others are 0 whatever the noise. ``variance`` is the noise's, if known. Units: those of the eigenvalues (squared
    units of the features). Raises `ValueError` as `noise_edge` does.

    >>> x = torch.randn(400, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    >>> values = torch.linalg.eigvalsh(torch.cov(x.T))
    >>> int((values > covariance_noise_edge(values, samples=400)).sum())
    0
    """
    require_spectrum("eigenvalues", eigenvalues)
    samples = require_whole("samples", samples)
    degrees = samples - 1 if centred else samples
    d = eigenvalues.shape[-1] if features is None else features
    rows, columns = require_shape("(samples, features)", (degrees, d))
    values = (eigenvalues.double() * degrees).sqrt().sort(dim=-1, descending=True).values[..., : min(rows, columns)]
    if variance is not None and not require_number("variance", variance) > 0:
        raise ValueError(f"variance: expected a number > 0, got {variance!r}; pass None to estimate it")
    sigma = None if variance is None else math.sqrt(variance)
    edge = noise_edge(values, shape=(rows, columns), sigma=sigma, confidence=confidence)
    return (edge.square() / degrees).to(eigenvalues.dtype)

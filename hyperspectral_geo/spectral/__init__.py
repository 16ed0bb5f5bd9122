"""Modules as spectral bases: an orthonormal basis and how much each of its directions counts."""

from hyperspectral_geo.spectral.basis import SpectralBasis
from hyperspectral_geo.spectral.diagnostics import LayerSpectrum, alpha_req, describe
from hyperspectral_geo.spectral.extract_activations import ActivationStream, from_activations, from_covariance
from hyperspectral_geo.spectral.extract_graph import from_graph
from hyperspectral_geo.spectral.extract_weights import from_lora, from_weights
from hyperspectral_geo.spectral.noise_edge import (
    covariance_noise_edge,
    marchenko_pastur_median,
    noise_edge,
    noise_rank,
    tracy_widom_quantile,
)
from hyperspectral_geo.spectral.truncate import (
    effective_rank,
    participation_ratio,
    rank_by_energy,
    rankme,
    stable_rank,
)

__all__ = [
    "SpectralBasis",
    "from_weights",
    "from_lora",
    "from_activations",
    "from_covariance",
    "from_graph",
    "ActivationStream",
    "noise_edge",
    "noise_rank",
    "covariance_noise_edge",
    "rank_by_energy",
    "effective_rank",
    "participation_ratio",
    "stable_rank",
    "rankme",
    "describe",
    "LayerSpectrum",
    "alpha_req",
    "marchenko_pastur_median",
    "tracy_widom_quantile",
]

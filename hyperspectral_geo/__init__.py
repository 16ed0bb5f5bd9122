"""Learned modules as subspaces with a spectrum: manifolds, spectral bases, hop distances, fusion.

Names are loaded when they are first used, so ``import hyperspectral_geo`` is cheap and imports no torch.

>>> import hyperspectral_geo
>>> "Grassmann" in dir(hyperspectral_geo)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hyperspectral_geo.version import __version__

if TYPE_CHECKING:
    from hyperspectral_geo.data import load_emoji, load_wordnet
    from hyperspectral_geo.fusion import SubspaceFusion
    from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, fit
    from hyperspectral_geo.manifolds import (
        Grassmann,
        Lorentz,
        Stiefel,
        flag_mean,
        frechet_mean,
        geometric_median,
        principal_angles,
        subspace_distance,
    )
    from hyperspectral_geo.merging import (
        Composition,
        Module,
        calibrate,
        load_adapter,
        load_checkpoint,
        merge,
        merge_concepts,
        reweight,
    )
    from hyperspectral_geo.spectral import (
        SpectralBasis,
        effective_rank,
        from_activations,
        from_covariance,
        from_graph,
        from_lora,
        from_weights,
        noise_edge,
    )

__all__ = [
    "Grassmann",
    "Stiefel",
    "Lorentz",
    "principal_angles",
    "subspace_distance",
    "frechet_mean",
    "flag_mean",
    "geometric_median",
    "SpectralBasis",
    "from_weights",
    "from_lora",
    "from_activations",
    "from_covariance",
    "from_graph",
    "noise_edge",
    "effective_rank",
    "HopGraph",
    "HopEmbedding",
    "fit",
    "Module",
    "load_adapter",
    "load_checkpoint",
    "merge",
    "calibrate",
    "Composition",
    "merge_concepts",
    "reweight",
    "SubspaceFusion",
    "load_wordnet",
    "load_emoji",
    "__version__",
]

# The package that each name is imported from. Written out, as in the block for type checkers above: a checker reads
# no dictionaries, and a test holds the three lists together.
_HOMES = {
    "data": ("load_emoji", "load_wordnet"),
    "fusion": ("SubspaceFusion",),
    "hyperbolic": ("HopEmbedding", "HopGraph", "fit"),
    "manifolds": (
        "Grassmann",
        "Lorentz",
        "Stiefel",
        "flag_mean",
        "frechet_mean",
        "geometric_median",
        "principal_angles",
        "subspace_distance",
    ),
    "merging": (
        "Composition",
        "Module",
        "calibrate",
        "load_adapter",
        "load_checkpoint",
        "merge",
        "merge_concepts",
        "reweight",
    ),
    "spectral": (
        "SpectralBasis",
        "effective_rank",
        "from_activations",
        "from_covariance",
        "from_graph",
        "from_lora",
        "from_weights",
        "noise_edge",
    ),
}
# Packages and modules that are attributes too, though none of their names is.
_PLACES = {*_HOMES, "linalg", "plotting"}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PLACES})

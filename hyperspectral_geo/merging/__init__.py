"""Modules joined in a common spectral basis, tuned by their eigenvalues, composed at run time."""

from hyperspectral_geo.merging import methods
from hyperspectral_geo.merging.concepts import ConceptSpace, merge_concepts
from hyperspectral_geo.merging.core import Joint, join
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.merge import LayerRule, merge
from hyperspectral_geo.merging.module import Layout, Module
from hyperspectral_geo.merging.reweight import Fold, reweight

__all__ = [
    "Module",
    "merge",
    "methods",
    "LayerRule",
    "Delta",
    "LowRank",
    "Dense",
    "Layout",
    "Joint",
    "join",
    "ConceptSpace",
    "merge_concepts",
    "Fold",
    "reweight",
]

"""Modules joined in a common spectral basis. First version: concept bases merged, their eigenvalues re-weighted."""

from hyperspectral_geo.merging.concepts import ConceptSpace, merge_concepts
from hyperspectral_geo.merging.reweight import Fold, reweight

__all__ = ["ConceptSpace", "Fold", "merge_concepts", "reweight"]

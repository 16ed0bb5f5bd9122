"""Concepts as modules: a mean, a basis and a spectrum each, learned apart, composed, compared, and used to classify."""

from hyperspectral_geo.fusion.concepts.algebra import compose, difference, intersection, union
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.classifier import ConceptClassifier
from hyperspectral_geo.fusion.concepts.concept_file import load_concepts, save_concepts
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule, concept_module
from hyperspectral_geo.fusion.concepts.concept_use import ConceptUse
from hyperspectral_geo.fusion.concepts.measures import LinearFactors, cross_concept_cosine, linear_factors
from hyperspectral_geo.fusion.concepts.weights import NameDistance, concept_weights

__all__ = [
    "Background",
    "ConceptClassifier",
    "ConceptModule",
    "ConceptUse",
    "LinearFactors",
    "NameDistance",
    "compose",
    "concept_module",
    "concept_weights",
    "cross_concept_cosine",
    "difference",
    "intersection",
    "linear_factors",
    "load_concepts",
    "save_concepts",
    "union",
]

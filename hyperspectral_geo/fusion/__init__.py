"""Modalities on one Grassmannian: joint spaces of paired features, retrieval, concepts, and light models."""

from __future__ import annotations

from hyperspectral_geo.fusion.alignment import CanonicalDirections, rcca
from hyperspectral_geo.fusion.concepts.algebra import compose, difference, intersection, union
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.classifier import ConceptClassifier
from hyperspectral_geo.fusion.concepts.concept_file import load_concepts, save_concepts
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule, concept_module
from hyperspectral_geo.fusion.concepts.concept_use import ConceptUse
from hyperspectral_geo.fusion.concepts.measures import LinearFactors, cross_concept_cosine, linear_factors
from hyperspectral_geo.fusion.concepts.weights import NameDistance, concept_weights
from hyperspectral_geo.fusion.explanation import Explanation
from hyperspectral_geo.fusion.joint_basis import JointBasis, ViewBasis, join, principal_covariances, view_basis
from hyperspectral_geo.fusion.joint_space import JointSpace
from hyperspectral_geo.fusion.light.distillation import distill
from hyperspectral_geo.fusion.light.layer_truncation import Truncation, truncate_layers
from hyperspectral_geo.fusion.light.light_model import LightModel
from hyperspectral_geo.fusion.light.selection import select
from hyperspectral_geo.fusion.light.subspace_selector import SubspaceSelector
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace
from hyperspectral_geo.fusion.light.unlabelled_selection import select_by_text, select_from_concepts
from hyperspectral_geo.fusion.moments import Moments
from hyperspectral_geo.fusion.presets import PRESETS
from hyperspectral_geo.fusion.retrieval import (
    Recall,
    csls,
    mean_average_precision,
    mean_reciprocal_rank,
    ranks,
    recall_at_k,
)
from hyperspectral_geo.fusion.subspace_fusion import NothingShared, SubspaceFusion
from hyperspectral_geo.fusion.zero_shot import ZeroShot, zero_shot

__all__ = [
    "SubspaceFusion",
    "NothingShared",
    "zero_shot",
    "ZeroShot",
    "Explanation",
    "PRESETS",
    "JointSpace",
    "Moments",
    "ViewBasis",
    "JointBasis",
    "view_basis",
    "principal_covariances",
    "join",
    "rcca",
    "CanonicalDirections",
    "Background",
    "ConceptModule",
    "concept_module",
    "union",
    "intersection",
    "difference",
    "compose",
    "ConceptClassifier",
    "ConceptUse",
    "concept_weights",
    "NameDistance",
    "cross_concept_cosine",
    "linear_factors",
    "LinearFactors",
    "save_concepts",
    "load_concepts",
    "select",
    "select_by_text",
    "select_from_concepts",
    "TaskSubspace",
    "SubspaceSelector",
    "LightModel",
    "truncate_layers",
    "Truncation",
    "distill",
    "recall_at_k",
    "Recall",
    "ranks",
    "mean_reciprocal_rank",
    "mean_average_precision",
    "csls",
]

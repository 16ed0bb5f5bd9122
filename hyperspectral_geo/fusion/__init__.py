"""Two modalities on one Grassmannian: canonical directions of paired features, and retrieval across them."""

from __future__ import annotations

from .alignment import CanonicalDirections, rcca
from .retrieval import Recall, csls, mean_reciprocal_rank, ranks, recall_at_k
from .ridge import RidgeChoice, select_ridge
from .subspace_fusion import SubspaceFusion

__all__ = [
    "SubspaceFusion",
    "rcca",
    "CanonicalDirections",
    "select_ridge",
    "RidgeChoice",
    "recall_at_k",
    "Recall",
    "ranks",
    "mean_reciprocal_rank",
    "csls",
]

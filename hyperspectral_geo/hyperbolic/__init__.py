"""Hop distances: graphs of concepts embedded so that what is linked lies near, in hyperbolic or Euclidean space."""

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.metrics import Reconstruction, reconstruction
from hyperspectral_geo.hyperbolic.training import fit

__all__ = ["HopEmbedding", "HopGraph", "Reconstruction", "fit", "reconstruction"]

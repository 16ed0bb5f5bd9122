"""Hop distances: graphs of concepts, how many hops lie between them, and spaces whose distances are these hops."""

from hyperspectral_geo.hyperbolic.bfs import bfs
from hyperspectral_geo.hyperbolic.disk_layout import disk_layout
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.entailment_cones import EntailmentCones
from hyperspectral_geo.hyperbolic.export import to_parquet, to_projector, to_word2vec
from hyperspectral_geo.hyperbolic.geometry import GEOMETRIES, Geometry
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.graph_files import read_graph, write_graph
from hyperspectral_geo.hyperbolic.graph_formats import to_networkx, to_pyg
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.hop_factors import HopFactors, hop_factors
from hyperspectral_geo.hyperbolic.hop_regression import HopRegression
from hyperspectral_geo.hyperbolic.hop_scores import HopScores, hop_scores
from hyperspectral_geo.hyperbolic.hop_store import HopStore
from hyperspectral_geo.hyperbolic.hyperbolicity import Hyperbolicity, gromov_delta
from hyperspectral_geo.hyperbolic.landmarks import HopSamples, hop_samples, landmarks
from hyperspectral_geo.hyperbolic.link_prediction import LinkScores, link_prediction
from hyperspectral_geo.hyperbolic.link_softmax import LinkSoftmax
from hyperspectral_geo.hyperbolic.metrics import Reconstruction, reconstruction
from hyperspectral_geo.hyperbolic.neighbors import Neighbor, nearest, neighbors
from hyperspectral_geo.hyperbolic.objective import Objective
from hyperspectral_geo.hyperbolic.provenance import Provenance
from hyperspectral_geo.hyperbolic.readout import Staircase
from hyperspectral_geo.hyperbolic.routing import Route, RoutingScore, route, routing_success
from hyperspectral_geo.hyperbolic.splits import HeldOut, LinkSplit, held_out_pairs, link_split
from hyperspectral_geo.hyperbolic.training import fit
from hyperspectral_geo.hyperbolic.tree_embedding import embed_tree, tree_learning_rate

__all__ = [
    "HopGraph",
    "HopEmbedding",
    "fit",
    "embed_tree",
    "tree_learning_rate",
    "Objective",
    "HopRegression",
    "LinkSoftmax",
    "EntailmentCones",
    "Staircase",
    "Provenance",
    "GEOMETRIES",
    "Geometry",
    "bfs",
    "hop_counts",
    "HopStore",
    "landmarks",
    "hop_samples",
    "HopSamples",
    "hop_scores",
    "HopScores",
    "held_out_pairs",
    "HeldOut",
    "link_split",
    "LinkSplit",
    "link_prediction",
    "LinkScores",
    "gromov_delta",
    "Hyperbolicity",
    "Reconstruction",
    "reconstruction",
    "neighbors",
    "nearest",
    "Neighbor",
    "route",
    "routing_success",
    "Route",
    "RoutingScore",
    "hop_factors",
    "HopFactors",
    "disk_layout",
    "to_word2vec",
    "to_projector",
    "to_parquet",
    "read_graph",
    "write_graph",
    "to_networkx",
    "to_pyg",
]

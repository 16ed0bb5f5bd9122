"""Knowledge graphs: typed relations as isometries between points of the same space as hops."""

from hyperspectral_geo.hyperbolic.relational.model import Found, RelationalEmbedding
from hyperspectral_geo.hyperbolic.relational.ranking import TripleScores, rank_triples, triple_ranks
from hyperspectral_geo.hyperbolic.relational.training import fit_relations

__all__ = ["Found", "RelationalEmbedding", "TripleScores", "fit_relations", "rank_triples", "triple_ranks"]

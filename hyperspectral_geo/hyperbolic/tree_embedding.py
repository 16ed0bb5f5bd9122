"""Trees laid out in hyperbolic space without training: every branch gets a cap of the sphere at infinity."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.forest import Forest
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.validation import require_seed

__all__ = ["embed_tree", "tree_learning_rate"]

_WIDEST = 1.0  # angle of a root's cap, radians
_APART = 1e-3  # by which a cap is wider than that of an only child, lest the two coincide
_ROOM = 1.5  # of the second child; 2 keeps it wholly inside its parent's cap, but costs three more in radius
_FILLED = 0.01  # share of a cap that its children but the largest fill; so rarely does one at random lie in another
_FARTHEST = 30.0  # radius to which float64 tells neighbours apart
_OUTWARD = 2.0  # radius of a leaf over that of its parent
_SCALE = 3.0  # that at which ``LinkSoftmax`` trains


def embed_tree(graph: HopGraph, *, dim: int = 10, seed: int = 0) -> HopEmbedding:
    """Embed a tree so that what lies above a leaf is nearer to it than what does not; without training, in n log n.

    The nodes that are nearer than the origin to a point far out in direction θ are those in whose cap θ lies: a node
    at radius r has a cap of angle φ around its own direction, r = 2 log cot(φ/2). Ancestors of a leaf therefore come
    first if caps lie in the caps of their parents and apart from those of their siblings. Seen from the leaves up, a
    cap has to be as wide as S = max(1.001 S₁ + 1.5 S₂, (S₁^p + Σ_{i>1} S_i^p / 0.01)^{1/p}), S₁ ≥ S₂ ≥ … those of its
    children, p = d − 1 the dimension of the sphere, and S = 1 for a leaf; seen from the root down, the largest child
    comes into the middle and the others around it, in random directions. So a small side branch costs a long chain
    little, where equal shares for all children, Sarkar's construction, would take a fixed step of radius at every
    generation.

    A node that is no leaf has nodes below it, which lie as near to it as those above. Its leaves are kept from coming
    before its ancestors: each lies twice as far out as its parent, up to radius 30, to which no other leaf objects.
    What is left are its children that have children: on NCBI's taxa the mean average precision of ancestors is 1.00
    from leaves, 0.8 from other nodes; 0.6 from those of a binary tree, before training.

    Args:
        graph: a tree or forest, links from child to parent.
        dim: d, at least 2; deep trees need more.
        seed: of the directions.

    Returns:
        One point a node in float64, hyperbolic. Distances rank ancestors; they are not hop counts.
        ``fit(start=..., learning_rate=tree_learning_rate(graph))`` trains it further.

    Raises:
        ValueError: if a node has two parents, links form a cycle, or points would lie farther out than float64 can
            tell apart.

    References:
        R. Sarkar, *Low distortion Delaunay embedding of trees in hyperbolic plane*, Graph Drawing 2011; in more
        dimensions F. Sala, C. De Sa, A. Gu, C. Ré, ICML 2018, arXiv:1804.03329. Caps nested as here are the shadows of
        O. Ganea, G. Bécigneul, T. Hofmann, *Hyperbolic entailment cones*, ICML 2018, arXiv:1804.01882.

    Example:
        >>> model = embed_tree(
        ...     HopGraph.from_edges([("dog", "canine"), ("wolf", "canine"), ("canine", "mammal")]), dim=3
        ... )
        >>> model.distance("dog", "mammal") < model.distance("dog", "wolf")
        True
    """
    require_counts(dim=dim)
    if dim < 2:
        raise ValueError(f"dim: expected at least 2, got {dim}: on a line only two caps have room")
    require_seed(seed)
    if len(graph) == 0:
        raise ValueError("graph: expected nodes, got none")
    caps = _Caps.of(Forest.of(graph), dim - 1)
    radius = -2 * (caps.sizes * caps.unit / 2).tan().log()
    if not float(radius.max()) <= _FARTHEST:
        raise ValueError(
            f"dim: {dim} dimensions would put leaves of this tree at radius {float(radius.max()):.0f}, and float64 "
            f"tells points apart up to {_FARTHEST:.0f}; raise dim"
        )
    outward = radius.maximum((_OUTWARD * radius[caps.parent]).clamp_max(_FARTHEST))
    radius = torch.where(caps.largest == 0, outward, radius)
    directions = caps.directions(torch.Generator().manual_seed(seed))
    return HopEmbedding(graph.names, (directions * radius[:, None])[:-1], scale=_SCALE)


def tree_learning_rate(graph: HopGraph) -> float:
    """Learning rate for training on from a tree's layout: min(0.03, 0.36/√n); the more nodes, the narrower their caps.

    Measured with ``LinkSoftmax(ancestors=True)`` in ten dimensions on trees of 300 to 2.6 million nodes.

    Example:
        >>> round(tree_learning_rate(HopGraph.from_edges([(i, 0) for i in range(1, 10_000)])), 6)
        0.0036
    """
    return min(0.03, 0.36 / max(len(graph), 1) ** 0.5)


class _Caps(NamedTuple):
    """Sizes of caps; the last row is the ground, above all roots.

    Attributes:
        levels: nodes by depth, the roots first.
        parent: (n + 1,), roots on the ground.
        sizes: (n + 1,) S.
        largest: (n + 1,) S₁, that of the largest child; 0 for a leaf.
        central: (n + 1,) whether a node is the largest child.
        p: dimension of the sphere.
    """

    levels: tuple[Tensor, ...]
    parent: Int[Tensor, " n_plus_1"]
    sizes: Float[Tensor, " n_plus_1"]
    largest: Float[Tensor, " n_plus_1"]
    central: Bool[Tensor, " n_plus_1"]
    p: int

    @classmethod
    def of(cls, forest: Forest, p: int) -> _Caps:
        """Sizes from the leaves up."""
        ground = len(forest)
        parent = torch.where(forest.parent < 0, ground, forest.parent)
        parent = torch.cat([parent, torch.tensor([ground])])
        sizes = torch.ones(ground + 1, dtype=torch.float64)
        largest, second, others = sizes.new_zeros(3, ground + 1).unbind()
        central = torch.zeros(ground + 1, dtype=torch.bool)
        alone = 1 + min(_APART, 1 / len(forest.levels))  # the longest chain takes no more than 2 in radius
        for level in reversed(forest.levels):
            # families together, the largest child first
            level = level[sizes[level].argsort(descending=True, stable=True)]
            level = level[parent[level].argsort(stable=True)]
            above, size = parent[level], sizes[level]
            first = above.diff(prepend=above.new_tensor([-1])) != 0
            next_ = first.roll(1) & ~first
            central[level[first]] = True
            largest[above[first]], second[above[next_]] = size[first], size[next_]
            others.index_add_(0, above[~first], (size / largest[above])[~first] ** p)
            above = above[first]
            packed = largest[above] * (1 + others[above] / _FILLED) ** (1 / p)
            sizes[above] = torch.maximum(alone * largest[above] + _ROOM * second[above], packed)
        return cls(forest.levels, parent, sizes, largest, central, p)

    @property
    def unit(self) -> float:
        """Radians of a cap of size 1."""
        return _WIDEST / float(self.sizes[-1])

    def directions(self, generator: torch.Generator) -> Float[Tensor, "n_plus_1 d"]:
        """Centres of the caps, from the ground up."""
        found = torch.zeros(len(self.parent), self.p + 1, dtype=torch.float64)
        found[-1, 0] = 1
        for level in self.levels:
            centre = found[self.parent[level]]
            aside = torch.randn(centre.shape, generator=generator, dtype=torch.float64)
            aside -= (aside * centre).sum(1, keepdim=True) * centre
            aside /= torch.linalg.vector_norm(aside, dim=1, keepdim=True)
            angle = self._offsets(level, generator)[:, None]
            found[level] = torch.nn.functional.normalize(angle.cos() * centre + angle.sin() * aside, dim=1)
        return found

    def _offsets(self, level: Tensor, generator: torch.Generator) -> Tensor:
        """Angles from the centres of their parents' caps: clear of the largest child, and even by volume."""
        above = self.parent[level]
        nearest = (self.largest[above] + self.sizes[level]) / self.sizes[above]
        farthest = (1 - self.sizes[level] / self.sizes[above]).maximum(nearest)
        drawn = torch.rand(len(level), generator=generator, dtype=torch.float64)
        share = (nearest**self.p + (farthest**self.p - nearest**self.p) * drawn) ** (1 / self.p)
        return (share * self.sizes[above] * self.unit).masked_fill(self.central[level], 0.0)

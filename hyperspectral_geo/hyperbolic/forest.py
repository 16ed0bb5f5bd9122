"""Hierarchies in which everything has one parent at most: who is above whom, without storing all such pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["Forest"]


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees of nodes; made by ``Forest.of``.

    NCBI's 2.6 million taxa have 47 million pairs (taxon, ancestor); here they are walked when they are asked for.

    Attributes:
        parent: (n,) the node above each; −1 for a root.
        depth: (n,) steps up to the root.
    """

    parent: Int[Tensor, " n"]
    depth: Int[Tensor, " n"]

    @classmethod
    def of(cls, graph: HopGraph) -> Forest:
        """A graph whose links lead from child to parent.

        Raises:
            ValueError: for an undirected graph, a node with two parents, or a cycle.

        Example:
            >>> Forest.of(HopGraph.from_edges([("dog", "canine"), ("wolf", "canine"), ("canine", "mammal")])).depth
            tensor([2, 1, 2, 0])
        """
        if not graph.directed:
            raise ValueError(
                "graph: expected links from child to parent, got an undirected graph; pass directed=True, or leave out "
                "--undirected"
            )
        parent = torch.full((len(graph),), -1)
        parent[graph.edges[:, 0]] = graph.edges[:, 1]
        if len(graph.edges) > int((parent >= 0).sum()):
            twice = int(graph.edges[1:, 0][graph.edges[:-1, 0] == graph.edges[1:, 0]][0])
            raise ValueError(
                f"graph: expected one parent a node, got several for {graph.names[twice]!r}; a closure, or a hierarchy "
                "that is no tree, is trained on link by link"
            )
        return cls(parent, _depths(graph.names, parent))

    def __len__(self) -> int:
        return len(self.parent)

    @cached_property
    def levels(self) -> tuple[Int[Tensor, " _"], ...]:
        """Nodes by depth, the roots first."""
        return self.depth.argsort(stable=True).split(torch.bincount(self.depth).tolist())

    def ancestors(self, nodes: Int[Tensor, " m"]) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        """Pairs (place in ``nodes``, ancestor of the node there), parents first.

        Example:
            >>> forest = Forest.of(HopGraph.from_edges([(1, 0), (2, 1), (3, 1)]))
            >>> [pairs.tolist() for pairs in forest.ancestors(torch.tensor([3, 1]))]
            [[0, 1, 0], [1, 0, 0]]
        """
        steps = list(self._upwards(nodes))
        if not steps:
            return nodes.new_empty(0), nodes.new_empty(0)
        rows, above = zip(*steps, strict=True)
        return torch.cat(rows), torch.cat(above)

    def descendants(self) -> Int[Tensor, " n"]:
        """How many nodes lie below each."""
        found = torch.zeros_like(self.parent)
        for level in reversed(self.levels[1:]):
            found.index_add_(0, self.parent[level], found[level] + 1)
        return found

    def _upwards(self, nodes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        row, above = torch.arange(len(nodes)), self.parent[nodes]
        while True:
            real = above >= 0
            row, above = row[real], above[real]
            if not len(row):
                return
            yield row, above
            above = self.parent[above]


def _depths(names: tuple[str, ...], parent: Tensor) -> Tensor:
    """Steps up to the root, by pointers that double their reach in every round."""
    ground = len(parent)  # above all roots
    up = torch.cat([torch.where(parent < 0, ground, parent), torch.tensor([ground])])
    steps = (up != ground).long()
    for _ in range(len(parent).bit_length() + 1):
        if bool((up == ground).all()):
            return steps[:-1]
        steps, up = steps + steps[up], up[up]
    wrong = names[int((up != ground).nonzero()[0])]
    raise ValueError(f"graph: expected a hierarchy, got a cycle above {wrong!r}; leave one of its links out")

"""A graph of named concepts and the links between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

__all__ = ["HopGraph"]


@dataclass(frozen=True, eq=False)
class HopGraph:
    """Concepts and links; made by ``from_edges``.

    Attributes:
        names: one name a node.
        edges: (e, 2) int64, source and target, sorted, without repeats and self-loops.
        directed: whether a link is one-way; an undirected graph holds both directions in ``edges``.
    """

    names: tuple[str, ...]
    edges: Int[Tensor, "e 2"]
    directed: bool

    @classmethod
    def from_edges(
        cls,
        edges: Int[Tensor, "e 2"] | Sequence[tuple[int, int]] | Sequence[tuple[str, str]],
        *,
        names: Sequence[str] | None = None,
        directed: bool = True,
    ) -> HopGraph:
        """Graph from pairs (source, target): node numbers, or names.

        Args:
            edges: an (e, 2) integer tensor, pairs of node numbers, or pairs of names.
            names: the nodes' names. Needed for links given as numbers unless the numbers themselves will do; with links
                given as names it fixes the order and adds nodes without links.
            directed: if false, each link is also read backwards.

        Raises:
            ValueError: for repeated names, unknown names, numbers out of range, or anything that is not pairs.

        Example:
            >>> graph = HopGraph.from_edges([("sports", "football"), ("football", "ball")])
            >>> graph.names, graph.edges.tolist()
            (('sports', 'football', 'ball'), [[0, 1], [1, 2]])
        """
        if not isinstance(edges, Tensor) and len(edges) and isinstance(edges[0][0], str):
            found = dict.fromkeys(str(name) for pair in edges for name in pair)
            order = list(found) if names is None else list(names)
            numbers = {name: i for i, name in enumerate(order)}
            unknown = next((name for pair in edges for name in pair if str(name) not in numbers), None)
            if unknown is not None:
                raise ValueError(f"edges: {unknown!r} is not among the {len(order)} names; add it to names")
            pairs = torch.tensor([[numbers[str(a)], numbers[str(b)]] for a, b in edges])
            names = order
        else:
            pairs = torch.as_tensor(edges)
        pairs = pairs.reshape(0, 2).long() if pairs.numel() == 0 else pairs
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point() or pairs.dtype == torch.bool:
            raise ValueError(f"edges: expected integers of shape (e, 2), got {pairs.dtype} {tuple(pairs.shape)}")
        count = int(pairs.max()) + 1 if names is None and len(pairs) else len(names or ())
        names = tuple(str(i) for i in range(count)) if names is None else tuple(names)
        if len(set(names)) != count:
            raise ValueError("names: expected a different name for each node; number the repeated ones")
        if len(pairs) and (int(pairs.min()) < 0 or int(pairs.max()) >= count):
            raise ValueError(
                f"edges: expected node numbers 0 to {count - 1}, got {int(pairs.min())} to {int(pairs.max())}"
            )
        pairs = pairs.long()
        if not directed:
            pairs = torch.cat([pairs, pairs.flip(1)])
        return cls(names, torch.unique(pairs[pairs[:, 0] != pairs[:, 1]], dim=0), directed)

    def __len__(self) -> int:
        return len(self.names)

    def has_links(self, sources: Int[Tensor, "*#shape"], targets: Int[Tensor, "*#shape"]) -> Bool[Tensor, "*shape"]:
        """Whether each source links to its target; shapes broadcast."""
        if self._dense is not None:
            return self._dense[sources, targets]
        keys = self.edges[:, 0] * len(self) + self.edges[:, 1]
        wanted = sources * len(self) + targets
        return keys[torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)] == wanted

    @cached_property
    def _dense(self) -> Tensor | None:
        """Adjacency as a table while it stays below 64 MB: a look-up costs a third of a search."""
        if len(self) > 8192 and len(self.edges):
            return None
        table = torch.zeros(len(self), len(self), dtype=torch.bool)
        table[self.edges[:, 0], self.edges[:, 1]] = True
        return table

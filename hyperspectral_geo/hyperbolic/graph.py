"""A graph of named concepts and the links between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

__all__ = ["HopGraph"]

_DENSE = 8192  # nodes up to which links are looked up in a table
_UNNAMED = 1_000_000  # node numbers up to which gaps are taken for nodes without links


@dataclass(frozen=True, eq=False)
class HopGraph:
    """Concepts and links; made by ``from_edges``.

    Attributes:
        names: one name a node.
        edges: (e, 2) int64 on the CPU, source and target, sorted, without repeats and self-loops.
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
        if names is not None and not isinstance(names, Iterable):
            raise ValueError(f"names: expected one name a node, got {names!r}; pass a list of names")
        pairs, names = _numbered(edges, names)
        lowest, highest = (int(pairs.min()), int(pairs.max())) if len(pairs) else (0, -1)
        if names is None and highest >= max(_UNNAMED, 100 * len(pairs)):
            # A key of some other table read as a node number would ask for that many names.
            raise ValueError(
                f"edges: expected node numbers from 0 without large gaps, got {highest} among {len(pairs)} links; "
                "pass names, or renumber with torch.unique(edges, return_inverse=True)"
            )
        names = tuple(str(i) for i in range(highest + 1)) if names is None else tuple(names)
        if len(set(names)) != len(names):
            raise ValueError("names: expected a different name for each node; number the repeated ones")
        if lowest < 0 or highest >= len(names):
            raise ValueError(f"edges: expected node numbers from 0 to {len(names) - 1}, got {lowest} to {highest}")
        if not directed:
            pairs = torch.cat([pairs, pairs.flip(1)])
        return cls(names, torch.unique(pairs[pairs[:, 0] != pairs[:, 1]], dim=0), directed)

    def __len__(self) -> int:
        return len(self.names)

    def has_links(self, sources: Int[Tensor, "*#shape"], targets: Int[Tensor, "*#shape"]) -> Bool[Tensor, "*shape"]:
        """Whether each source links to its target; shapes broadcast."""
        if self._dense is not None:
            return self._dense[sources, targets]
        if len(self.edges) == 0:
            return torch.zeros(torch.broadcast_shapes(sources.shape, targets.shape), dtype=torch.bool)
        keys = self.edges[:, 0] * len(self) + self.edges[:, 1]
        wanted = sources * len(self) + targets
        return keys[torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)] == wanted

    @cached_property
    def _dense(self) -> Tensor | None:
        """Adjacency as a table while it stays below 64 MB: a look-up costs a third of a search."""
        if len(self) > _DENSE:
            return None
        table = torch.zeros(len(self), len(self), dtype=torch.bool)
        table[self.edges[:, 0], self.edges[:, 1]] = True
        return table


def _numbered(edges: object, names: Sequence[str] | None) -> tuple[Tensor, Sequence[str] | None]:
    """Links as (e, 2) int64, and the names if any are known."""
    if not isinstance(edges, Tensor):
        pairs = _listed(edges)
        if any(isinstance(end, str) for pair in pairs[:1] for end in pair):
            return _from_names(pairs, names)
        try:
            edges = torch.tensor(pairs)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"edges: expected pairs of names or of node numbers, got others: {error}") from None
    links = edges.reshape(0, 2).long() if edges.numel() == 0 else edges
    whole = not (links.is_floating_point() or links.is_complex() or links.dtype == torch.bool)
    if links.ndim != 2 or links.shape[1] != 2 or not whole:
        raise ValueError(f"edges: expected integers of shape (e, 2), got {links.dtype} {tuple(links.shape)}")
    return links.long().cpu(), names


def _from_names(pairs: list, names: Sequence[str] | None) -> tuple[Tensor, Sequence[str]]:
    ends = [end for pair in pairs for end in pair]
    other = next((end for end in ends if not isinstance(end, str)), None)
    if other is not None:
        raise ValueError(f"edges: expected names on both ends of every link, got {other!r}")
    order = list(dict.fromkeys(ends)) if names is None else list(names)
    numbers = {name: i for i, name in enumerate(order)}
    unknown = next((end for end in ends if end not in numbers), None)
    if unknown is not None:
        raise ValueError(f"edges: {unknown!r} is not among the {len(order)} names; add it to names")
    return torch.tensor([numbers[end] for end in ends]).reshape(-1, 2), order


def _listed(edges: Any) -> list:
    """Links as a list of pairs; a name alone is not a pair, not even one of two letters."""
    try:
        pairs = edges.tolist() if hasattr(edges, "tolist") else list(edges)
    except TypeError:
        raise ValueError(f"edges: expected pairs (source, target), got {type(edges).__name__}") from None
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"edges: expected pairs (source, target), got {pair!r} among them")
    return pairs

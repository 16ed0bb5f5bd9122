"""A graph of named concepts and the links between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    import networkx
    import torch_geometric.data

__all__ = ["HopGraph"]

Weights = Literal["length", "probability", "ignore"]

_DENSE = 8192  # nodes up to which links are looked up in a table
_UNNAMED = 1_000_000  # node numbers up to which gaps are taken for nodes without links


@dataclass(frozen=True, eq=False)
class HopGraph:
    """Concepts and links; made by ``from_edges``.

    A link's length is what a walk over it costs: 1 for hop counts, −log p for a link that is taken, or a cause that
    takes effect, with probability p, so that the shortest walk is the likeliest one.

    Attributes:
        names: one name a node.
        edges: (e, 2) int64 on the CPU, source and target, sorted, without repeats and self-loops.
        directed: whether a link is one-way; an undirected graph holds both directions in ``edges``.
        lengths: one length a link, (e,) float64, positive; None if every link is one hop.
        loops: how many links from a node to itself were left out.
        repeats: how many links were left out because another of the same ends, and no longer, stays.
    """

    names: tuple[str, ...]
    edges: Int[Tensor, "e 2"]
    directed: bool
    lengths: Float[Tensor, " e"] | None = None
    loops: int = 0
    repeats: int = 0

    @classmethod
    def from_edges(
        cls,
        edges: Int[Tensor, "e 2"] | Sequence[tuple[int, int]] | Sequence[tuple[str, str]],
        *,
        names: Sequence[str] | None = None,
        directed: bool = True,
        lengths: Float[Tensor, " e"] | Sequence[float] | None = None,
    ) -> HopGraph:
        """Graph from pairs (source, target): node numbers, or names.

        Args:
            edges: an (e, 2) integer tensor, pairs of node numbers, or pairs of names.
            names: the nodes' names. Needed for links given as numbers unless the numbers themselves will do; with links
                given as names it fixes the order and adds nodes without links.
            directed: if false, each link is also read backwards.
            lengths: one positive length a link; for probabilities p pass −log p. Of repeated links the shortest stays.

        Raises:
            ValueError: for repeated names, unknown names, numbers out of range, anything that is not pairs, or lengths
                that are not positive and finite.

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
        given = None if lengths is None else _checked_lengths(lengths, len(pairs))
        if not directed:
            pairs = torch.cat([pairs, pairs.flip(1)])
            given = None if given is None else torch.cat([given, given])
        return cls._cleaned(names, pairs, directed, given)

    @classmethod
    def read(cls, path: str | PathLike[str], *, directed: bool = True, weights: Weights | None = None) -> HopGraph:
        """Graph from a ``.tsv``, ``.csv``, ``.txt`` or ``.parquet`` file; more options: ``graph_files.read_graph``."""
        from hyperspectral_geo.hyperbolic.graph_files import read_graph

        return read_graph(path, directed=directed, weights=weights)

    @classmethod
    def from_networkx(cls, graph: networkx.Graph, *, weight: str | None = None) -> HopGraph:
        """Graph from networkx, lengths from the attribute ``weight``; more options: ``graph_formats.from_networkx``."""
        from hyperspectral_geo.hyperbolic.graph_formats import from_networkx

        return from_networkx(graph, weight=weight)

    @classmethod
    def from_pyg(
        cls, data: torch_geometric.data.Data, *, directed: bool = True, weights: Weights | None = None
    ) -> HopGraph:
        """Graph from a PyG ``Data`` with ``names`` if it has them; more options: ``graph_formats.from_pyg``."""
        from hyperspectral_geo.hyperbolic.graph_formats import from_pyg

        return from_pyg(data, directed=directed, weights=weights)

    @classmethod
    def _cleaned(cls, names: tuple[str, ...], pairs: Tensor, directed: bool, lengths: Tensor | None) -> HopGraph:
        proper = pairs[:, 0] != pairs[:, 1]
        loops = int((~proper).sum())
        # a pair travels as one number, which sorts ten times faster than rows
        keys = (pairs[:, 0] * len(names) + pairs[:, 1])[proper]
        found, where = torch.unique(keys, return_inverse=True)
        shortest = None
        if lengths is not None:
            shortest = torch.full((len(found),), torch.inf, dtype=torch.float64)
            shortest.scatter_reduce_(0, where, lengths[proper], "amin")
        count = max(len(names), 1)
        ends = torch.stack([found // count, found % count], 1)
        each = 1 if directed else 2  # an undirected link is counted once
        return cls(names, ends, directed, shortest, loops // each, (len(keys) - len(found)) // each)

    def compressed(self, *, reverse: bool = False) -> tuple[Int[Tensor, " n_plus_1"], Int[Tensor, " e"]]:
        """Compressed rows: the links of node i go to ``ends[first[i] : first[i + 1]]``.

        Args:
            reverse: the links that come in instead of those that go out.
        """
        rows, ends = (self.edges[:, 1], self.edges[:, 0]) if reverse else (self.edges[:, 0], self.edges[:, 1])
        if reverse:
            ends = ends[torch.argsort(rows, stable=True)]
        first = torch.zeros(len(self) + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(rows, minlength=len(self)), 0, out=first[1:])
        return first, ends.contiguous()

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


def _checked_lengths(lengths: object, count: int) -> Tensor:
    """One positive length a link, float64."""
    try:
        found = torch.as_tensor(lengths, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"lengths: expected one number a link, got {type(lengths).__name__}") from None
    if found.shape != (count,):
        raise ValueError(f"lengths: expected one number for each of {count} links, got shape {tuple(found.shape)}")
    wrong = ~(found.isfinite() & (found > 0))
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise ValueError(
            f"lengths: expected positive finite numbers, got {float(found[at])} for link {at}; "
            "a probability p has the length -log(p): p = 0 is no link, and p = 1 must be clipped below 1"
        )
    return found


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

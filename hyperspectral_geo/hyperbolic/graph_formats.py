"""Hop graphs from and to networkx and PyTorch Geometric.

Numbers on links are never guessed at: whether they are lengths or probabilities is asked for, since a likely link taken
for a long one turns every distance round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from hyperspectral_geo.data.link_lengths import link_lengths
from hyperspectral_geo.hyperbolic.graph import HopGraph

if TYPE_CHECKING:
    import networkx
    import torch_geometric.data

__all__ = ["from_networkx", "from_pyg", "to_networkx", "to_pyg"]

Weights = Literal["length", "probability", "ignore"]


def from_networkx(
    graph: networkx.Graph,
    *,
    weight: str | None = None,
    weights: Literal["length", "probability"] = "length",
    certain: float | None = None,
) -> HopGraph:
    """Graph from networkx, directed if that one is; of parallel links the shortest stays.

    Args:
        graph: a ``Graph``, ``DiGraph``, ``MultiGraph`` or ``MultiDiGraph``. Nodes that are no strings are named by
            ``str``.
        weight: the attribute of the links that holds their weight; without it every link is one hop.
        weights: what the attribute is: a length, or a probability p, taken as −log p.
        certain: the largest probability; see ``data.link_lengths``. Without it, p = 1 is refused.

    Raises:
        ValueError: for something that is no graph, two nodes of one name, or links without the attribute or with one
            that is no number or out of range.

    Example:
        >>> import networkx
        >>> from_networkx(networkx.path_graph(["ice", "water", "steam"])).edges.tolist()
        [[0, 1], [1, 0], [1, 2], [2, 1]]
    """
    if not (hasattr(graph, "is_directed") and hasattr(graph, "adj")):
        raise ValueError(f"graph: expected a networkx graph, got {type(graph).__name__}; make one with networkx.Graph")
    number = {node: i for i, node in enumerate(graph)}
    names = _distinct(number)
    pairs = torch.tensor([(number[a], number[b]) for a, b in graph.edges()], dtype=torch.int64).reshape(-1, 2)
    lengths = None
    if weight is not None:
        links = list(graph.edges(data=weight))
        values = np.array([_weight_of(link, weight) for link in links], dtype=np.float64)
        found = link_lengths(
            values, weights, certain=certain, where=lambda i: f"link {links[i][0]!r} → {links[i][1]!r}"
        )
        lengths = torch.from_numpy(found)
    return HopGraph.from_edges(pairs, names=names, directed=graph.is_directed(), lengths=lengths)


def _distinct(nodes: Iterable[Any]) -> list[str]:
    names: dict[str, Any] = {}
    for node in nodes:
        name = node if isinstance(node, str) else str(node)
        if name in names:
            raise ValueError(f"graph: expected nodes of different names, got {names[name]!r} and {node!r}; rename one")
        names[name] = node
    return list(names)


def _weight_of(link: tuple[Any, Any, Any], weight: str) -> float:
    try:
        return float(link[2])
    except (TypeError, ValueError):
        raise ValueError(
            f"link {link[0]!r} → {link[1]!r}: expected a number as {weight!r}, got {link[2]!r}; set it on every link"
        ) from None


def to_networkx(graph: HopGraph) -> networkx.Graph:
    """A networkx ``DiGraph``, or ``Graph`` if undirected, of named nodes; lengths become the attribute ``weight``.

    Example:
        >>> list(to_networkx(HopGraph.from_edges([("a", "b")])).edges)
        [('a', 'b')]
    """
    import networkx

    made = networkx.DiGraph() if graph.directed else networkx.Graph()
    made.add_nodes_from(graph.names)
    ends = ((graph.names[a], graph.names[b]) for a, b in graph.edges.tolist())
    if graph.lengths is None:
        made.add_edges_from(ends)
    else:
        made.add_weighted_edges_from((*pair, x) for pair, x in zip(ends, graph.lengths.tolist(), strict=True))
    return made


def from_pyg(
    data: torch_geometric.data.Data,
    *,
    directed: bool = True,
    weights: Weights | None = None,
    certain: float | None = None,
) -> HopGraph:
    """Graph from ``edge_index`` of a PyG ``Data``, with ``names`` (a list of strings) if it has them.

    Args:
        data: (2, e) ``edge_index``; ``edge_weight`` or an ``edge_attr`` of one column may hold weights.
        directed: if false, each link is also read backwards; PyG stores an undirected one in both directions anyway.
        weights: what the weights are: a ``"length"``, a ``"probability"`` p, taken as −log p, or something to
            ``"ignore"``. It has to be said where there are weights.
        certain: the largest probability; see ``data.link_lengths``. Without it, p = 1 is refused.

    Raises:
        ValueError: for ``HeteroData``, a missing ``edge_index``, names that do not fit, weights that are missing, not
            spoken for or out of range.

    Example:
        >>> from torch_geometric.data import Data
        >>> from_pyg(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)).names
        ('0', '1', '2')
    """
    from torch_geometric.utils import is_undirected

    if not hasattr(data, "num_nodes") or hasattr(data, "edge_types"):
        raise ValueError(f"data: expected a PyG Data, got {type(data).__name__}; for HeteroData, data.to_homogeneous()")
    edges = data.edge_index
    if not isinstance(edges, Tensor) or edges.ndim != 2 or edges.shape[0] != 2:
        got = tuple(edges.shape) if isinstance(edges, Tensor) else type(edges).__name__
        raise ValueError(f"edge_index: expected a tensor of shape (2, e), got {got}; a sparse adj_t has .coo()")
    edges = edges.detach().cpu()
    pairs, values = edges.T, _weights_of(data, weights)
    lengths = None
    if values is not None:
        kind = "probability" if weights == "probability" else "length"
        lengths = torch.from_numpy(link_lengths(values, kind, certain=certain, where="edge_weight {}".format))
    names = _names_of(data)
    graph = HopGraph.from_edges(pairs, names=names, directed=directed, lengths=lengths)
    if directed or not is_undirected(edges, lengths, num_nodes=len(graph)):
        return graph
    once = pairs[:, 0] <= pairs[:, 1]  # both directions are there: read again, they would count as repeats
    return HopGraph.from_edges(
        pairs[once], names=names, directed=False, lengths=None if lengths is None else lengths[once]
    )


def _weights_of(data: Any, weights: Weights | None) -> np.ndarray | None:
    if weights not in (None, "length", "probability", "ignore"):
        raise ValueError(f"weights: expected 'length', 'probability', 'ignore' or None, got {weights!r}")
    found, field = data.get("edge_weight"), "edge_weight"
    attributes = data.edge_attr
    if found is None and isinstance(attributes, Tensor) and (attributes.ndim == 1 or attributes.shape[1:] == (1,)):
        found, field = attributes.reshape(-1), "edge_attr"
    if weights == "ignore" or (found is None and weights is None):
        return None
    if found is None:
        raise ValueError(f"weights: expected edge_weight or an edge_attr of one column as {weights}, got neither")
    if weights is None:
        raise ValueError(f"{field}: expected unit hops, got weights; say weights='length', 'probability' or 'ignore'")
    if not isinstance(found, Tensor) or found.shape != (data.edge_index.shape[1],):
        raise ValueError(f"{field}: expected one number for each of {data.edge_index.shape[1]} links; got others")
    return found.detach().cpu().double().numpy()


def _names_of(data: Any) -> Sequence[str]:
    count = data.num_nodes
    names = data.get("names")
    if names is None:
        return [str(i) for i in range(count or 0)]
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names: expected a list of strings, got {type(names).__name__}; pass one string a node")
    if count != len(names):
        raise ValueError(f"names: expected one for each of {count} nodes, got {len(names)}")
    return names


def to_pyg(graph: HopGraph) -> torch_geometric.data.Data:
    """A PyG ``Data``: ``edge_index`` (2, e), ``num_nodes``, ``names``, and lengths as ``edge_weight``, float64.

    Example:
        >>> to_pyg(HopGraph.from_edges([("a", "b")]))
        Data(edge_index=[2, 1], num_nodes=2, names=[2])
    """
    from torch_geometric.data import Data

    data = Data(edge_index=graph.edges.T.contiguous(), num_nodes=len(graph), names=list(graph.names))
    if graph.lengths is not None:
        data.edge_weight = graph.lengths
    return data

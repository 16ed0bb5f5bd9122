"""Spectral bases of graphs: the smoothest functions on their nodes."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from hyperspectral_geo.spectral.basis import SpectralBasis
from hyperspectral_geo.spectral.checks import DTYPES, require_number, require_rank, require_whole
from hyperspectral_geo.spectral.laplacian import laplacian_matrix, lowest_eigenpairs

__all__ = ["from_graph"]

_MOST_WEIGHT = 1e150  # squares of degrees stay finite


def from_graph(
    graph: Any,
    *,
    rank: int,
    normalized: bool = True,
    time: float | None = None,
    weight: str | None = "weight",
    n_nodes: int | None = None,
    dtype: torch.dtype = torch.float64,
    name: str = "",
) -> SpectralBasis:
    """The ``rank`` smoothest eigenvectors of an undirected graph's Laplacian.

    Laplacian eigenvalues ℓ ascend with frequency, while a `SpectralBasis` puts first what counts most. So the basis's
    eigenvalues are c − ℓ, with c = 2 for the normalised Laplacian (they are those of I + D^{-1/2} A D^{-1/2}, in
    [0, 2]) and c = 2·max degree for the combinatorial one, or the heat kernel exp(−time·ℓ) if ``time`` is given. The ℓ
    themselves are in ``frequencies``, ascending.

    Args:
        graph: a networkx graph (nodes in its own order), a scipy sparse or square dense adjacency, a torch_geometric
            ``Data`` (``edge_weight`` used if it has one), or an edge_index tensor (2, E) with both directions of each
            edge. A tensor of 2×2 whole numbers may be either: give ``n_nodes`` with an edge_index, or a floating-point
            adjacency. Weights ≥ 0, of sum ≤ 1e150; parallel edges add up; a self-loop counts towards its node's degree.
        rank: number of eigenpairs, 1 … number of nodes. As many zeros come first as the graph has connected components,
            isolated nodes included (``metadata["components"]``). A cut within tied eigenvalues, or a rank below the
            number of components (then the largest come first), leaves the choice within the tie arbitrary.
        normalized: I − D^{-1/2} A D^{-1/2} (an isolated node's row is 0), otherwise D − A.
        time: diffusion time of the heat kernel, > 0, in units of 1/ℓ.
        weight: edge attribute of a networkx graph, 1 where it is missing; None for an unweighted graph.
        n_nodes: number of nodes of an edge_index, if more than the largest index + 1.
        dtype: of the result; the computation is in float64.
        name: the basis's label.

    Returns:
        A basis of kind "smoothness", on the CPU wherever the graph was. The same graph gives the same basis, bit for
        bit, on the same machine.

    Raises:
        ValueError: for a directed graph or asymmetric adjacency, negative, complex or non-finite weights, an empty
            graph, a rank outside 1 … n, a time ≤ 0, or a type not listed.

    References:
        F. R. K. Chung, *Spectral Graph Theory*, 1997.

    Example:
        >>> b = from_graph(nx.path_graph(3), rank=3)
        >>> b.frequencies.abs()
        tensor([0., 1., 2.], dtype=torch.float64)
        >>> b.eigenvalues.abs()
        tensor([2., 1., 0.], dtype=torch.float64)
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
    if time is not None and not 0 < require_number("time", time) < math.inf:
        raise ValueError(f"time: expected a finite number > 0, got {time!r}; pass None for c - l")
    n_nodes = None if n_nodes is None else require_whole("n_nodes", n_nodes)
    adjacency = _checked(_adjacency(graph, weight=weight, n_nodes=n_nodes))
    rank = require_rank("rank", rank, most=len(adjacency.indptr) - 1, reason="the number of nodes")
    laplacian, kernel = laplacian_matrix(adjacency, normalized=normalized)
    frequencies, basis, components = lowest_eigenpairs(laplacian, kernel, rank)
    if time is not None:
        strength = np.exp(-time * frequencies)
    else:
        top = 2.0 if normalized else 2.0 * float(laplacian.diagonal().max())
        strength = np.maximum(top - frequencies, 0.0)
    metadata = {
        "source": "graph",
        "laplacian": "normalised" if normalized else "combinatorial",
        "components": str(components),
    }
    return SpectralBasis(
        torch.from_numpy(basis).to(dtype),
        torch.from_numpy(strength).to(dtype),
        name,
        kind="smoothness",
        frequencies=torch.from_numpy(frequencies).to(dtype),
        metadata=metadata,
    )


def _adjacency(graph: Any, *, weight: str | None, n_nodes: int | None) -> sp.csr_array:
    """The graph as a sparse float64 matrix, whatever it came as."""
    if isinstance(graph, nx.Graph):
        if graph.is_directed():
            raise ValueError("graph: expected an undirected graph, got a directed one; use graph.to_undirected()")
        if len(graph) == 0:
            raise ValueError("graph: expected at least one node, got none")
        # networkx takes None for "every edge counts 1"; its annotation does not say so.
        matrix = nx.to_scipy_sparse_array(graph, weight=weight)  # pyright: ignore[reportArgumentType]
        return sp.csr_array(_real("graph", matrix))
    if sp.issparse(graph):
        return sp.csr_array(_real("graph", graph))
    if isinstance(graph, Tensor) and _is_whole(graph) and graph.ndim == 2 and graph.shape[0] == 2:
        if graph.shape[1] == 2 and n_nodes is None:
            raise ValueError(
                "graph: expected an adjacency or an edge_index, got 2x2 whole numbers, which may be either; pass an "
                "adjacency as graph.double(), an edge_index together with n_nodes"
            )
        return _from_edge_index(graph, None, n_nodes)
    if isinstance(graph, np.ndarray | Tensor):
        return sp.csr_array(_real("graph", graph))
    if isinstance(getattr(graph, "edge_index", None), Tensor):
        # Duck typing: torch_geometric takes seconds to import, and only its attributes are needed.
        return _from_edge_index(graph.edge_index, getattr(graph, "edge_weight", None), n_nodes or graph.num_nodes)
    raise ValueError(
        f"graph: expected a networkx graph, a sparse adjacency, torch_geometric Data or an edge_index tensor, got "
        f"{type(graph).__name__}"
    )


def _is_whole(x: Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)


def _real(name: str, values: Any) -> Any:
    """An array, sparse or dense, in float64; a complex one would lose its imaginary part."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values if values.is_complex() else values.double()).numpy()
    try:
        if values.dtype.kind == "c":
            raise TypeError
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected real edge weights, got {values.dtype}; convert them to float64") from None


def _from_edge_index(edge_index: Tensor, edge_weight: Tensor | None, n_nodes: int | None) -> sp.csr_array:
    if not _is_whole(edge_index) or edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise ValueError(
            f"edge_index: expected whole numbers of shape (2, E), got {edge_index.dtype} of {tuple(edge_index.shape)}"
        )
    source, target = edge_index.cpu().numpy()
    largest = int(edge_index.max()) if edge_index.numel() else -1
    n = largest + 1 if n_nodes is None else n_nodes
    if n < 1:
        raise ValueError("graph: expected at least one node, got none; pass n_nodes for a graph without edges")
    if largest >= n or (edge_index.numel() and int(edge_index.min()) < 0):
        raise ValueError(f"edge_index: expected nodes 0 ... {n - 1}, got {int(edge_index.min())} ... {largest}")
    weights = np.ones(len(source))
    if edge_weight is not None:
        weights = _real("edge_weight", edge_weight).ravel()
    if len(weights) != len(source):
        raise ValueError(f"edge_weight: expected {len(source)} numbers, one an edge, got {len(weights)}")
    return sp.csr_array(sp.coo_array((weights, (source, target)), shape=(n, n)))


def _checked(adjacency: sp.csr_array) -> sp.csr_array:
    """The adjacency without explicit zeros, made exactly symmetric, once it is known to be one."""
    shape = tuple(adjacency.shape or ())
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"graph: expected a square adjacency with at least one node, got shape {shape}")
    adjacency.sum_duplicates()
    adjacency.eliminate_zeros()
    data = adjacency.data
    if not np.isfinite(data).all():
        raise ValueError("graph: expected finite edge weights, got nan or inf; remove or repair those edges")
    if data.size and data.min() < 0:
        raise ValueError(f"graph: expected edge weights >= 0, got {data.min():g}; take absolute values or drop them")
    if data.size and data.max() > _MOST_WEIGHT / data.size:
        raise ValueError(
            f"graph: expected edge weights whose sum is at most {_MOST_WEIGHT:g}, got one of {data.max():g}; divide "
            "them by the largest"
        )
    gap = abs(adjacency - adjacency.T)
    if gap.nnz and gap.max() > 1e-6 * data.max():
        i, j = (int(v[int(gap.tocoo().data.argmax())]) for v in gap.tocoo().coords)
        raise ValueError(
            f"graph: expected an undirected graph, got weights {adjacency[i, j]:g} and {adjacency[j, i]:g} for "
            f"{i}-{j} and its reverse; use A.maximum(A.T), or torch_geometric.utils.to_undirected"
        )
    return sp.csr_array((adjacency + adjacency.T) / 2)

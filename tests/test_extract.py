"""Spectral bases of weights, LoRA factors, activations and graphs, against NumPy, scikit-learn and networkx."""

from __future__ import annotations

import itertools
import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.decomposition
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Data
from torch_geometric.utils import from_networkx, to_undirected

from hyperspectral_geo.spectral import (
    ActivationStream,
    SpectralBasis,
    from_activations,
    from_covariance,
    from_graph,
    from_lora,
    from_weights,
)
from hyperspectral_geo.spectral import laplacian as laplacian_module

DTYPES = [torch.float32, torch.float64]


def projector(columns: Tensor) -> Tensor:
    return columns @ columns.T


def assert_same_subspaces(b: SpectralBasis, values: np.ndarray, vectors: np.ndarray, tolerance: float) -> None:
    """Eigenvalues agree, and so does the projector of each group of tied ones: signs and turns do not matter."""
    got = b.eigenvalues.double().numpy()
    np.testing.assert_allclose(got, values, atol=tolerance * max(values[0], 1e-300))
    cuts = [0, *(np.flatnonzero(-np.diff(values) > 1e-4 * values[0]) + 1), len(values)]
    for start, stop in itertools.pairwise(cuts):
        mine = b.basis[:, start:stop].double().numpy()
        theirs = vectors[:, start:stop]
        np.testing.assert_allclose(mine @ mine.T, theirs @ theirs.T, atol=1e4 * tolerance)


# --- weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (7, 7), (1, 5), (5, 1)], ids=str)
def test_weights_against_numpy(shape: tuple[int, int], dtype: torch.dtype):
    w = torch.randn(shape, dtype=dtype)
    u, s, vt = np.linalg.svd(w.double().numpy(), full_matrices=False)
    left, right = from_weights(w, side="both", name="layer")
    tolerance = 50 * torch.finfo(dtype).eps
    assert_same_subspaces(left, s, u, tolerance)
    assert_same_subspaces(right, s, vt.T, tolerance)
    torch.testing.assert_close(left.basis * left.eigenvalues @ right.basis.T, w)
    assert left == from_weights(w, name="layer")
    assert right == from_weights(w, side="input", name="layer")
    assert left.kind == "singular"
    assert left.metadata["shape"] == f"{shape[0]}x{shape[1]}"


def test_weights_keep_the_numerical_rank_only():
    w = torch.randn(40, 3, dtype=torch.float64) @ torch.randn(3, 50, dtype=torch.float64)
    assert from_weights(w).p == 3
    assert from_weights(w, rank=2).p == 2
    assert from_weights(w.float()).p == 3
    assert from_weights(w.bfloat16(), rank=2).dtype == torch.float32


@given(seed=st.integers(0, 1000), m=st.integers(2, 12), n=st.integers(2, 12))
def test_weights_turn_with_the_space(seed: int, m: int, n: int):
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(m, n, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64)).Q
    a, b = from_weights(w), from_weights(turn @ w)
    torch.testing.assert_close(a.eigenvalues, b.eigenvalues)
    torch.testing.assert_close(projector(turn @ a.basis), projector(b.basis))


# --- LoRA ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("m", "n", "r"), [(40, 60, 4), (60, 40, 4), (6, 50, 9), (50, 6, 9), (5, 4, 8)])
def test_lora_is_the_svd_of_the_product(m: int, n: int, r: int, dtype: torch.dtype):
    a, b = torch.randn(r, n, dtype=dtype), torch.randn(m, r, dtype=dtype)
    dense = (-1.7 * b.double() @ a.double()).numpy()
    u, s, vt = np.linalg.svd(dense, full_matrices=False)
    p = min(m, n, r)
    left, right = from_lora(a, b, scale=-1.7, side="both")
    tolerance = 100 * torch.finfo(dtype).eps
    assert_same_subspaces(left, s[:p], u[:, :p], tolerance)
    assert_same_subspaces(right, s[:p], vt[:p].T, tolerance)
    product = left.basis * left.eigenvalues @ right.basis.T
    np.testing.assert_allclose(product.double().numpy(), dense, atol=tolerance * s[0])
    assert from_lora(a, b, scale=-1.7, rank=1, side="input") == right.truncate(rank=1)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation gave back."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                self.largest = max(self.largest, x.numel(), x.untyped_storage().nbytes() // x.element_size())
        return out


def test_lora_of_factors_far_apart_in_size():
    a, b = torch.rand(2, 5), torch.rand(7, 2)
    expected = from_lora(a, b)
    found = from_lora(1e-30 * a, 1e30 * b)
    torch.testing.assert_close(found.eigenvalues, expected.eigenvalues)


def test_lora_never_forms_the_product():
    n, r = 200_000, 4
    a, b = torch.randn(r, n), torch.randn(n, r)
    with LargestTensor() as seen:
        left, right = from_lora(a, b, scale=0.5, side="both")
    assert n * r <= seen.largest <= 2 * n * r
    assert (left.n, left.p, right.n) == (n, r, n)
    # The trace of ΔWᵀΔW, from r×r matrices alone.
    expected = 0.25 * torch.trace((b.double().T @ b.double()) @ (a.double() @ a.double().T))
    assert float(left.energies.double().sum()) == pytest.approx(float(expected), rel=1e-5)


# --- activations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "n"), [(500, 12), (30, 40), (41, 40)])
def test_activations_against_scikit_learn(rows: int, n: int, dtype: torch.dtype):
    x = torch.randn(rows, n, dtype=dtype) * torch.linspace(3, 1, n, dtype=dtype) + 10
    b = from_activations(x.split(7))
    pca = sklearn.decomposition.PCA().fit(x.double().numpy())
    p = min(rows - 1, n)
    assert b.p == p
    assert b.dtype == dtype
    assert b.mean is not None
    np.testing.assert_allclose(b.mean.double().numpy(), pca.mean_, rtol=1e-6)
    assert_same_subspaces(
        b, pca.explained_variance_[:p], pca.components_[:p].T, 1e-13 if dtype == torch.float64 else 1e-6
    )
    plain = from_activations(x, centre=False, rank=3)
    expected = np.linalg.eigvalsh(x.double().numpy().T @ x.double().numpy() / rows)[::-1]
    np.testing.assert_allclose(plain.eigenvalues.double().numpy(), expected[:3], rtol=1e-5)
    assert plain.mean is None


@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_small_variances_survive(offset: float):
    rows, n = 4000, 32
    columns = torch.cat([torch.ones(rows, 1), torch.randn(rows, n)], dim=1).double()
    u = torch.linalg.qr(columns).Q[:, 1:]  # orthonormal and of mean zero
    v = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q
    variances = torch.logspace(0, -10, n, dtype=torch.float64)
    x = u * (variances * (rows - 1)).sqrt() @ v.T
    b = from_activations((x + offset).split(100))
    torch.testing.assert_close(b.eigenvalues, variances, rtol=1e-10 + 1e-9 * offset, atol=0)
    assert float(projector(b.basis[:, :16]).sub(projector(v[:, :16])).abs().max()) < 1e-8


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8), centre=st.booleans())
def test_batches_do_not_matter_nor_does_their_order(sizes: list[int], centre: bool):
    x = torch.randn(sum(sizes) + 2, 6, dtype=torch.float64) + 2
    whole = from_activations(x, centre=centre)
    batches = [*x.split([*sizes, 2])]
    for order in (batches, batches[::-1]):
        b = from_activations(order, centre=centre)
        torch.testing.assert_close(b.eigenvalues, whole.eigenvalues, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(projector(b.basis), projector(whole.basis))


def test_streams_merge_and_take_any_leading_shape():
    x = torch.randn(4, 25, 5, dtype=torch.float64)
    first, second = ActivationStream(), ActivationStream()
    first.update(x[0])
    second.update(x[1:])
    second.update(x[0, :0])
    first.merge(second)
    first.merge(ActivationStream())
    empty = ActivationStream()
    empty.merge(first)
    expected = from_activations(x.reshape(-1, 5))
    for stream in (first, empty):
        assert stream.rows == 100
        torch.testing.assert_close(stream.basis().eigenvalues, expected.eigenvalues)
        torch.testing.assert_close(stream.basis().mean, expected.mean)


def test_a_refused_batch_leaves_the_stream_as_it_was(unchecked: None):
    stream, x = ActivationStream(), torch.randn(5, 4)
    for bad in (torch.full((5, 3), torch.nan), torch.ones(5, 2, dtype=torch.long)):
        with pytest.raises(ValueError, match="batch 0"):
            stream.update(bad)
    stream.update(x)
    assert stream.basis() == from_activations(x)


def test_one_pass_and_memory_that_does_not_grow():
    pulled = 0

    def batches(count: int) -> Any:
        nonlocal pulled
        for _ in range(count):
            pulled += 1
            yield torch.randn(50, 16)

    sizes = []
    for count in (5, 100):
        with LargestTensor() as seen:
            from_activations(batches(count))
        sizes.append(seen.largest)
    assert pulled == 105
    assert sizes[0] == sizes[1]


# --- covariance ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_covariance_with_ties_against_numpy(dtype: torch.dtype):
    v = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64)).Q
    values = torch.tensor([5, 5, 5, 2, 1, 1, 0.5, 0, 0], dtype=torch.float64)
    c = (v * values @ v.T).to(dtype)
    b = from_covariance(c)
    assert b.p == 7
    assert_same_subspaces(b, values[:7].numpy(), v[:, :7].numpy(), 20 * torch.finfo(dtype).eps)
    order = torch.randperm(9)
    shuffled = from_covariance(c[order][:, order])
    torch.testing.assert_close(projector(shuffled.basis[:, :3]), projector(b.basis[:, :3])[order][:, order])
    assert from_covariance(c.half(), rank=2).dtype == torch.float32


def test_covariance_and_activations_agree():
    x = torch.randn(300, 8, dtype=torch.float64)
    a, b = from_activations(x), from_covariance(torch.cov(x.T))
    torch.testing.assert_close(a.eigenvalues, b.eigenvalues)
    assert float(a.truncate(rank=3).angles(b.truncate(rank=3)).max()) < 1e-10


# --- graphs -------------------------------------------------------------------------------------------------------


def graphs() -> dict[str, nx.Graph]:
    weighted = nx.gnm_random_graph(30, 60, seed=2)
    for i, (_, _, edge) in enumerate(weighted.edges(data=True)):
        edge["weight"] = 0.5 + i % 7
    lonely = nx.disjoint_union(nx.path_graph(6), nx.cycle_graph(5))
    lonely.add_nodes_from([100, 101])
    loops = nx.path_graph(5)
    loops.add_edge(2, 2)
    return {
        "karate": nx.karate_club_graph(),
        "weighted": weighted,
        "disconnected": lonely,
        "complete": nx.complete_graph(8),
        "cycle": nx.cycle_graph(12),
        "star": nx.star_graph(9),
        "no edges": nx.empty_graph(4),
        "one node": nx.empty_graph(1),
        "self-loop": loops,
    }


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", graphs())
def test_graph_against_networkx(name: str, normalized: bool, dense: bool, monkeypatch: pytest.MonkeyPatch):
    graph = graphs()[name]
    if not dense:
        monkeypatch.setattr(laplacian_module, "_DENSE", 2)
    matrix = nx.normalized_laplacian_matrix(graph) if normalized else nx.laplacian_matrix(graph)
    values, vectors = np.linalg.eigh(matrix.toarray().astype(float))
    n = len(graph)
    for rank in {1, 2, max(n // 4, 1), n}:
        if rank > n:
            continue
        b = from_graph(graph, rank=rank, normalized=normalized)
        assert b.frequencies is not None
        top = 2.0 if normalized else 2 * float(np.diag(matrix.toarray()).max())
        np.testing.assert_allclose(b.frequencies, values[:rank], atol=1e-12 * max(top, 1))
        np.testing.assert_allclose(b.eigenvalues, np.maximum(top - values[:rank], 0), atol=1e-12 * max(top, 1))
        residual = matrix @ b.basis.numpy() - b.basis.numpy() * b.frequencies.numpy()
        assert np.abs(residual).max() < 1e-10 * max(top, 1)
        if rank == n or values[rank] - values[rank - 1] > 1e-6:  # not cut within a tie
            np.testing.assert_allclose(projector(b.basis), vectors[:, :rank] @ vectors[:, :rank].T, atol=1e-9)
        zeros = int((b.frequencies < 1e-12).sum())
        assert zeros == min(rank, nx.number_connected_components(graph)) == min(rank, int(b.metadata["components"]))


@pytest.mark.parametrize(
    ("graph", "rank"),
    [
        (nx.hypercube_graph(11), 12),  # 11 twins
        (nx.cycle_graph(2000), 9),
        (nx.grid_2d_graph(45, 45), 11),
        (nx.star_graph(1500), 6),  # all but two tied
        (nx.disjoint_union(nx.path_graph(1300), nx.path_graph(1300)), 7),
    ],
    ids=["hypercube", "cycle", "grid", "star", "two paths"],
)
def test_large_graphs_keep_every_twin(graph: nx.Graph, rank: int):
    b = from_graph(graph, rank=rank)
    matrix = nx.normalized_laplacian_matrix(graph)
    assert b.frequencies is not None
    residual = matrix @ b.basis.numpy() - b.basis.numpy() * b.frequencies.numpy()
    assert np.abs(residual).max() < 1e-12
    # Closed forms: a small residual alone would not notice a twin that is missing.
    known = {
        2048: [0.0] + [2 / 11] * 11,
        2000: [1 - math.cos(2 * math.pi * ((i + 1) // 2) / 2000) for i in range(9)],
        1501: [0.0] + [1.0] * 5,
        2600: sorted([1 - math.cos(math.pi * (i // 2) / 1299) for i in range(7)]),
    }.get(len(graph))
    if known is None:
        known = np.linalg.eigvalsh(matrix.toarray())[:rank]
    np.testing.assert_allclose(b.frequencies, known, atol=1e-12)
    assert from_graph(graph, rank=rank) == b  # deterministic


def test_every_kind_of_graph_gives_the_same_basis():
    graph = nx.karate_club_graph()
    adjacency = nx.to_scipy_sparse_array(graph, dtype=float)
    data = from_networkx(graph)
    data.edge_weight = data.weight.float()
    expected = from_graph(graph, rank=4)
    for other in (
        adjacency,
        sp.csc_matrix(adjacency),
        adjacency.toarray(),
        torch.from_numpy(adjacency.toarray()),
        data,
    ):
        b = from_graph(other, rank=4)
        torch.testing.assert_close(projector(b.basis), projector(expected.basis))
        torch.testing.assert_close(b.frequencies, expected.frequencies)
    unweighted = from_graph(graph, rank=4, weight=None)
    torch.testing.assert_close(from_graph(data.edge_index, rank=4).frequencies, unweighted.frequencies)
    assert from_graph(torch.zeros(2, 0, dtype=torch.long), rank=3, n_nodes=3).p == 3
    assert from_graph(Data(edge_index=data.edge_index, num_nodes=40), rank=8).metadata["components"] == "7"
    heat = from_graph(graph, rank=4, time=2.0, dtype=torch.float32)
    assert heat.frequencies is not None
    torch.testing.assert_close(heat.eigenvalues, torch.exp(-2 * heat.frequencies))


def test_two_nodes_as_an_edge_index_and_as_an_adjacency():
    both = torch.tensor([[0, 1], [1, 0]])
    assert from_graph(both, rank=2, n_nodes=2) == from_graph(both.double(), rank=2)
    assert from_graph(both.bfloat16(), rank=2) == from_graph(both.bool(), rank=2) == from_graph(both.double(), rank=2)


def test_nodes_may_be_renumbered():
    graph = nx.gnm_random_graph(40, 90, seed=5)
    adjacency = nx.to_numpy_array(graph)
    order = np.random.default_rng(0).permutation(40)
    a, b = from_graph(adjacency, rank=5), from_graph(adjacency[order][:, order], rank=5)
    torch.testing.assert_close(b.eigenvalues, a.eigenvalues)
    torch.testing.assert_close(projector(b.basis), projector(a.basis)[order][:, order])


# --- bad input ----------------------------------------------------------------------------------------------------

W = torch.eye(3, 4)
X = torch.arange(12.0).reshape(6, 2)
EDGES = torch.tensor([[0, 1], [1, 2]])
LARGE = torch.full((3, 4), 1e30)
PATH = nx.path_graph(4)
BAD: dict[str, tuple[Any, str]] = {
    "weights integer": (lambda: from_weights(W.long()), "w: expected a real floating-point tensor, got torch.int64"),
    "weights kernel": (
        lambda: from_weights(torch.ones(2, 3, 3, 3)),
        r"w: expected a matrix .* got shape .*flatten\(1\)",
    ),
    "weights empty": (lambda: from_weights(torch.ones(0, 3)), r"at least one row and one column, got shape \(0, 3\)"),
    "weights nan": (lambda: from_weights(W * torch.nan), r"w: expected finite entries, got nan at index \(0, 0\)"),
    "weights zero": (
        lambda: from_weights(0 * W),
        "w: expected a map other than zero, got only zeros; leave this layer",
    ),
    "weights rank": (lambda: from_weights(W, rank=4), r"rank: expected 1 <= rank <= 3 \(the numerical rank"),
    "weights side": (lambda: from_weights(W, side="left"), "side: expected 'output', 'input' or 'both', got 'left'"),
    "weights float8": (
        lambda: from_weights(W.to(torch.float8_e4m3fn)),
        r"w: expected float16, .* got torch.float8_e4m3fn; convert with w.float\(\)",
    ),
    "lora scale a text": (lambda: from_lora(W, torch.ones(5, 3), scale="1"), "scale: expected a real number, got '1'"),
    "lora overflow": (
        lambda: from_lora(LARGE, LARGE.T),
        "lora_a, lora_b: expected eigenvalues within the range of torch.float32, got .*; .* or pass float64",
    ),
    "lora underflow": (lambda: from_lora(1 / LARGE, 1 / LARGE.T), "within the range of torch.float32"),
    "lora overflow in float64": (
        lambda: from_lora(LARGE.double() ** 6, LARGE.T.double() ** 6),
        "within the range of torch.float64, got inf; rescale the data$",
    ),
    "lora swapped": (lambda: from_lora(torch.ones(9, 2), torch.ones(2, 8)), "A comes first, B second"),
    "lora dtypes": (lambda: from_lora(W, torch.ones(5, 3).double()), "lora_b: expected dtype torch.float32"),
    "lora scale": (lambda: from_lora(W, torch.ones(5, 3), scale=0.0), "scale: expected a finite number other than 0"),
    "lora untrained": (lambda: from_lora(W, torch.zeros(5, 3)), "lora_a, lora_b: expected a map other than zero"),
    "lora rank": (lambda: from_lora(W, torch.ones(5, 3), rank=2), "rank <= 1"),
    "activations array": (lambda: from_activations(3), "batches: expected a tensor or an iterable of tensors, got int"),
    "activations dict": (lambda: from_activations({"x": X}), "batches: expected .* got dict"),
    "activations tuple": (lambda: from_activations([(X, 1)]), "batch 0: expected a torch.Tensor, got tuple"),
    "activations none": (lambda: from_activations([]), "activations: expected at least 2 rows, got 0"),
    "activations one": (lambda: from_activations(X[:1]), "activations: expected at least 2 rows, got 1"),
    "activations width": (
        lambda: from_activations([X, X.T]),
        "batch 1: expected 2 features like the first batch, got 6",
    ),
    "activations dtype": (lambda: from_activations([X, X.double()]), "batch 1: expected torch.float32 like the first"),
    "activations nan": (lambda: from_activations([X, X, X / 0]), "batch 2: expected finite entries"),
    "activations scalar": (lambda: from_activations(torch.tensor(1.0)), r"batch 0: expected shape \(\.\.\., n\)"),
    "activations float8": (lambda: from_activations(X.to(torch.float8_e5m2)), "batch 0: expected float16, .* got"),
    "activations too small": (
        lambda: from_activations(1e-30 * X),
        "activations: expected eigenvalues within the range of torch.float32, got .*; rescale the data or pass float64",
    ),
    "activations too large": (lambda: from_activations(1e30 * X), "within the range of torch.float32"),
    "activations too small for float64": (
        lambda: from_activations(1e-200 * X.double()),
        "within the range of torch.float64, got 0; rescale the data$",
    ),
    "activations constant": (lambda: from_activations(torch.ones(5, 3)), "expected data that vary, got constant data"),
    "activations rank": (lambda: from_activations(X, rank=2), r"rank: expected 1 <= rank <= 1 \(the numerical rank"),
    "covariance shape": (lambda: from_covariance(W), r"c: expected a square matrix, got \(3, 4\)"),
    "covariance skew": (
        lambda: from_covariance(torch.tensor([[1.0, 2.0], [0.0, 1.0]])),
        "c: expected a symmetric matrix",
    ),
    "covariance signs": (
        lambda: from_covariance(torch.diag(torch.tensor([1.0, -1.0]))),
        "c: expected eigenvalues >= 0",
    ),
    "covariance zero": (lambda: from_covariance(torch.zeros(2, 2)), "expected data that vary"),
    "graph directed": (
        lambda: from_graph(nx.DiGraph(PATH), rank=1),
        r"got a directed one; use graph.to_undirected\(\)",
    ),
    "graph one-way": (
        lambda: from_graph(EDGES, rank=1, n_nodes=3),
        "got weights 1 and 0 for 0-1 and its reverse; .*to_undirected",
    ),
    "graph empty": (lambda: from_graph(nx.Graph(), rank=1), "graph: expected at least one node, got none"),
    "graph no nodes": (lambda: from_graph(EDGES[:, :0], rank=1), "pass n_nodes for a graph without edges"),
    "graph rank": (lambda: from_graph(PATH, rank=5), r"rank: expected 1 <= rank <= 4 \(the number of nodes\), got 5"),
    "graph rank 0": (lambda: from_graph(PATH, rank=0), "rank: expected 1 <= rank <= 4"),
    "graph signs": (lambda: from_graph(-np.ones((2, 2)), rank=1), "graph: expected edge weights >= 0, got -1"),
    "graph nan": (lambda: from_graph(np.full((2, 2), np.nan), rank=1), "graph: expected finite edge weights"),
    "graph shape": (lambda: from_graph(np.ones((2, 3)), rank=1), r"expected a square adjacency .* got shape \(2, 3\)"),
    "graph few nodes": (
        lambda: from_graph(to_undirected(EDGES), rank=1, n_nodes=2),
        r"edge_index: expected nodes 0 \.\.\. 1, got 0 \.\.\. 2",
    ),
    "graph weights": (
        lambda: from_graph(Data(edge_index=EDGES, edge_weight=torch.ones(3), num_nodes=3), rank=1),
        "edge_weight: expected 2 numbers, one an edge, got 3",
    ),
    "graph time": (lambda: from_graph(PATH, rank=1, time=-1.0), "time: expected a finite number > 0, got -1.0"),
    "graph time a text": (lambda: from_graph(PATH, rank=1, time="a"), "time: expected a real number, got 'a'"),
    "graph nodes 2.5": (lambda: from_graph(EDGES, rank=1, n_nodes=2.5), "n_nodes: expected a whole number, got 2.5"),
    "graph complex": (lambda: from_graph(np.eye(2) * 1j, rank=1), "graph: expected real edge weights, got complex128"),
    "graph complex sparse": (lambda: from_graph(sp.eye_array(2) * 1j, rank=1), "graph: expected real edge weights"),
    "graph complex tensor": (lambda: from_graph(torch.eye(2) * 1j, rank=1), "graph: expected real edge weights"),
    "graph complex networkx": (
        lambda: from_graph(nx.Graph([(0, 1, {"weight": 1j})]), rank=1),
        "graph: expected real edge weights",
    ),
    "graph complex weights": (
        lambda: from_graph(Data(edge_index=EDGES, edge_weight=torch.ones(2) * 1j, num_nodes=3), rank=1),
        "edge_weight: expected real edge weights",
    ),
    "graph ambiguous": (
        lambda: from_graph(torch.tensor([[0, 1], [1, 0]]), rank=1),
        r"got 2x2 whole numbers, which may be either; pass an adjacency as graph.double\(\)",
    ),
    "graph heavy": (
        lambda: from_graph(1e308 * (np.ones((2, 2)) - np.eye(2)), rank=1),
        r"graph: expected edge weights whose sum is at most 1e\+150, got one of 1e\+308; divide",
    ),
    "graph dtype": (
        lambda: from_graph(PATH, rank=1, dtype=torch.half),
        "dtype: expected torch.float32 or torch.float64",
    ),
    "graph type": (lambda: from_graph("karate", rank=1), "graph: expected a networkx graph, .* got str"),
    "merge widths": (lambda: merged(X, torch.rand(3, 3)), "other: expected 2 features of torch.float32, got 3 of"),
    "merge centring": (lambda: merged(X, X, centre=False), "other: expected the same centring"),
}


def merged(x: Tensor, y: Tensor, *, centre: bool = True) -> None:
    a, b = ActivationStream(), ActivationStream(centre=centre)
    a.update(x)
    b.update(y)
    a.merge(b)


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_with_a_remedy(case: str):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()

"""The lowest eigenpairs of a graph's Laplacian: exact multiplicities, disconnected graphs and isolated nodes included.

Each connected component is solved by itself, on the space orthogonal to its constant vector, which is known. A Krylov
method started from one vector may find one eigenvector of a tied eigenvalue and miss its twin, so what it returns is
deflated, and the rest is probed until nothing lower turns up. Start vectors are fixed: equal graphs give equal bases.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh, splu

__all__ = ["laplacian_matrix", "lowest_eigenpairs"]

_DENSE = 1200
_RESTARTS = 120
_PROBE_STEPS = 200


def laplacian_matrix(adjacency: sp.csr_array, *, normalized: bool) -> tuple[sp.csr_array, np.ndarray]:
    """Laplacian of a symmetric adjacency A with degrees d = A·1, and the vector each component's kernel is made of.

    Combinatorial: L = D − A, kernel vector 1. Normalised: L = I − D^{-1/2} A D^{-1/2} with 0 for the row of an isolated
    node, so that it is a component with eigenvalue 0 like any other; kernel vector √d (1 at isolated nodes).
    """
    degree = np.asarray(adjacency.sum(axis=1), dtype=np.float64).ravel()
    if not normalized:
        return sp.csr_array(sp.diags_array(degree) - adjacency), np.ones_like(degree)
    lonely = degree == 0
    root = np.sqrt(np.where(lonely, 1.0, degree))
    inverse = sp.diags_array(1.0 / root)
    scaled = inverse @ adjacency @ inverse
    return sp.csr_array(sp.diags_array(np.where(lonely, 0.0, 1.0)) - scaled), root


def lowest_eigenpairs(laplacian: sp.csr_array, kernel: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The k lowest eigenvalues, ascending, their orthonormal eigenvectors (n, k), and the number of components.

    ``laplacian`` and ``kernel`` come from `laplacian_matrix`. If k is smaller than the number of components, the kernel
    vectors of the largest components (then of those with the lowest node) are returned.
    """
    n = len(kernel)
    count, labels = connected_components(laplacian, directed=False)
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1])
    parts.sort(key=lambda nodes: (-len(nodes), nodes[0]))
    values: list[np.ndarray] = []
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    # Every component has exactly one zero, so the other places go to at most k − count pairs of each.
    others = max(k - count, 0)
    for nodes in parts[:k]:
        null = kernel[nodes] / np.linalg.norm(kernel[nodes])
        low, vectors = np.zeros(1), null[:, None]
        wanted = min(others, len(nodes) - 1)
        if wanted > 0:
            block = sp.csr_array(laplacian[nodes][:, nodes])
            more, found = _connected_eigenpairs(block, null, wanted)
            low, vectors = np.concatenate([low, more]), np.hstack([vectors, found])
        values.append(low)
        columns.append((nodes, vectors))
    flat = np.concatenate(values)
    chosen = np.argsort(flat, kind="stable")[:k]
    owner = np.repeat(np.arange(len(values)), [len(v) for v in values])
    within = np.concatenate([np.arange(len(v)) for v in values])
    basis = np.zeros((n, k))
    for column, index in enumerate(chosen):
        nodes, vectors = columns[owner[index]]
        basis[nodes, column] = vectors[:, within[index]]
    return flat[chosen], basis, count


def _connected_eigenpairs(block: sp.csr_array, null: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k lowest eigenpairs after the zero of a connected Laplacian whose unit kernel vector is ``null``."""
    n = len(null)
    if n <= _DENSE or 3 * k >= n:
        # The known zero is moved above the rest of the spectrum (Gershgorin), where it cannot mix with small ones.
        top = 2.0 * float(block.diagonal().max()) + 1.0
        values, vectors = scipy.linalg.eigh(block.toarray() + top * np.outer(null, null), subset_by_index=[0, k - 1])
        return np.maximum(values, 0.0), _orthonormal(vectors, null)
    # Trees, and what is nearly one, factor without fill and have crowded low frequencies: no use trying without.
    if block.nnz - n > 2.04 * n:
        try:
            return _search(*_reflected(block), null, k, restarts=_RESTARTS)
        except ArpackNoConvergence:
            pass  # low frequencies that crowd, as on grids and meshes; such graphs have cheap sparse factors, too
    return _search(*_inverted(block), null, k, restarts=None)


Operator = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]


def _reflected(block: sp.csr_array) -> Operator:
    """x ↦ (c − L) x with c above the spectrum, and the map from its eigenvalues back to L's."""
    top = 2.0 * float(block.diagonal().max())
    return (lambda x: top * x - block @ x), (lambda mu: top - mu)


def _inverted(block: sp.csr_array) -> Operator:
    """x ↦ (L + δ)⁻¹ x with a small δ, which only the kernel feels, and the map back."""
    shift = 1e-10 * float(block.diagonal().max())
    n = len(block.indptr) - 1
    factor = splu(
        sp.csc_array(block + shift * sp.eye_array(n)),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return factor.solve, (lambda mu: 1.0 / mu - shift)


def _search(
    apply: Callable[[np.ndarray], np.ndarray],
    back: Callable[[np.ndarray], np.ndarray],
    null: np.ndarray,
    k: int,
    *,
    restarts: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenpairs of an operator orthogonal to ``null``, searched again until no twin is missing."""
    n = len(null)
    rng = np.random.default_rng(0)
    values, vectors = _krylov(apply, null[:, None], k, rng, restarts)
    for _ in range(k):  # each round adds a missing twin, of which there are at most k
        known = np.hstack([null[:, None], vectors])
        # A pair that only ties with the last one kept is another choice of the same rank, not a missing one.
        if _largest_ritz_value(_Deflated(apply, known), rng) <= values[-1] * (1.0 + 1e-9):
            break
        more, found = _krylov(apply, known, 1, rng, restarts)
        values, vectors = np.append(values, more), np.hstack([vectors, found])
        order = np.argsort(-values, kind="stable")[:k]
        values, vectors = values[order], vectors[:, order]
    assert vectors.shape == (n, k)
    return np.maximum(back(values), 0.0), _orthonormal(vectors, null)


class _Deflated(LinearOperator):
    """A symmetric operator confined to the complement of the orthonormal columns of ``known``."""

    def __init__(self, apply: Callable[[np.ndarray], np.ndarray], known: np.ndarray) -> None:
        super().__init__(np.dtype(np.float64), (len(known), len(known)))
        self._apply = apply
        self._known = known

    def project(self, x: np.ndarray) -> np.ndarray:
        """``x`` without its part along ``known``."""
        return x - self._known @ (self._known.T @ x)

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self.project(self._apply(self.project(x.ravel())))


def _krylov(
    apply: Callable[[np.ndarray], np.ndarray],
    known: np.ndarray,
    k: int,
    rng: np.random.Generator,
    restarts: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenpairs of an operator on the complement of the columns of ``known``, descending."""
    n = len(known)
    operator = _Deflated(apply, known)
    start = operator.project(rng.standard_normal(n))
    width = min(n - 1, max(2 * k + 1, k + 32))
    try:
        values, vectors = eigsh(operator, k=k, which="LA", v0=start, ncv=width, maxiter=restarts, rng=rng)
    except ArpackNoConvergence:
        raise
    except ArpackError as error:  # the operator is zero on the complement: every direction ties
        raise ValueError(f"graph: the eigenvalue solver failed ({error}); ask for fewer eigenpairs") from error
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def _largest_ritz_value(operator: _Deflated, rng: np.random.Generator) -> float:
    """A lower bound of the largest eigenvalue, close to it unless many others crowd there, by a short Lanczos run.

    No restarts and no reorthogonalisation: neither a converged vector nor the absence of ghosts is needed for a bound.
    """
    x = operator.project(rng.standard_normal(operator.shape[0]))
    x, previous, beta = x / np.linalg.norm(x), np.zeros_like(x), 0.0
    diagonal: list[float] = []
    off: list[float] = []
    for _ in range(min(_PROBE_STEPS, len(x) - 1)):
        y = operator.matvec(x) - beta * previous
        diagonal.append(float(x @ y))
        y -= diagonal[-1] * x
        beta = float(np.linalg.norm(y))
        if beta <= 1e-13 * max(map(abs, diagonal)):
            break
        off.append(beta)
        previous, x = x, y / beta
    return float(scipy.linalg.eigvalsh_tridiagonal(diagonal, off[: len(diagonal) - 1])[-1])


def _orthonormal(vectors: np.ndarray, null: np.ndarray) -> np.ndarray:
    """The nearest orthonormal columns, orthogonal to ``null``: what is left to remove is rounding."""
    clean = vectors - np.outer(null, null @ vectors)
    p, _, qt = scipy.linalg.svd(clean, full_matrices=False)
    return p @ qt

"""Fusion: canonical directions against SciPy and scikit-learn, and retrieval against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cross_decomposition import CCA

from hyperspectral_geo.fusion import (
    csls,
    mean_reciprocal_rank,
    ranks,
    rcca,
    recall_at_k,
)

SHAPES = {
    "tall": (60, 7, 5),
    "one_wide": (30, 50, 6),
    "both_wide": (20, 45, 33),
    "square": (13, 12, 12),
    "least": (2, 3, 1),
}


def paired(n: int, dx: int, dy: int, *, seed: int = 0, dtype: torch.dtype = torch.float64):
    """Two noisy views of three common factors, off centre and with unequal variances."""
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(n, 3, generator=generator, dtype=torch.float64)

    def view(d: int) -> torch.Tensor:
        noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
        mixing = torch.randn(3, d, generator=generator, dtype=torch.float64)
        scales = torch.logspace(0, 1, d, dtype=torch.float64)
        return ((factors @ mixing + noise) * scales + 5).to(dtype)

    return view(dx), view(dy)


def penalty(x: torch.Tensor, ridge: float) -> float:
    """λ of the formula in ``rcca``."""
    centred = x - x.mean(dim=0)
    return ridge * centred.square().sum().item() / min(len(x) - 1, x.shape[1])


def augmented(x: torch.Tensor, y: torch.Tensor, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """[X; √λ_x I; 0] and [Y; 0; √λ_y I]: spans whose principal angles are the regularised correlations."""
    (n, dx), dy = x.shape, y.shape[1]
    top_x, top_y = (x - x.mean(dim=0)).numpy(), (y - y.mean(dim=0)).numpy()
    a, b = np.zeros((n + dx + dy, dx)), np.zeros((n + dx + dy, dy))
    a[:n], a[n : n + dx] = top_x, np.sqrt(penalty(x, ridge)) * np.eye(dx)
    b[:n], b[n + dx :] = top_y, np.sqrt(penalty(y, ridge)) * np.eye(dy)
    return a, b


# Canonical directions


@pytest.mark.parametrize("ridge", [1e-3, 0.3, 10.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_correlations_are_cosines_of_principal_angles(shape, ridge):
    x, y = paired(*shape)
    cosines = np.sort(np.cos(scipy.linalg.subspace_angles(*augmented(x, y, ridge))))[::-1]
    found = rcca(x, y, ridge=ridge).correlations.numpy()
    np.testing.assert_allclose(found, cosines[: len(found)], atol=1e-10)
    np.testing.assert_allclose(cosines[len(found) :], 0, atol=1e-7)


def test_without_ridge_they_are_the_angles_of_the_column_spans():
    x, y = paired(*SHAPES["tall"])
    angles = scipy.linalg.subspace_angles((x - x.mean(dim=0)).numpy(), (y - y.mean(dim=0)).numpy())
    np.testing.assert_allclose(rcca(x, y).correlations.numpy(), np.sort(np.cos(angles))[::-1], atol=1e-12)
    near = rcca(x, y, ridge=1e-9).correlations.numpy()
    np.testing.assert_allclose(near, np.sort(np.cos(angles))[::-1], atol=1e-6)


@pytest.mark.parametrize("ridge", [0.01, 1.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_directions_solve_the_generalised_eigenproblem(shape, ridge):
    x, y = paired(*shape)
    cx, cy = (x - x.mean(dim=0)).numpy(), (y - y.mean(dim=0)).numpy()
    dx, dy = cx.shape[1], cy.shape[1]
    cross = np.zeros((dx + dy, dx + dy))
    cross[:dx, dx:], cross[dx:, :dx] = cx.T @ cy, cy.T @ cx
    within = scipy.linalg.block_diag(
        cx.T @ cx + penalty(x, ridge) * np.eye(dx), cy.T @ cy + penalty(y, ridge) * np.eye(dy)
    )
    values = scipy.linalg.eigh(cross, within, eigvals_only=True)[::-1]
    found = rcca(x, y, ridge=ridge)
    np.testing.assert_allclose(found.correlations.numpy(), values[: len(found.correlations)], atol=1e-10)
    stacked = torch.cat(found.weights).numpy()
    np.testing.assert_allclose(
        cross @ stacked, within @ stacked * found.correlations.numpy(), atol=1e-9 * np.abs(within @ stacked).max()
    )


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_coordinates_are_white_and_joined_by_the_spectrum(shape, ridge):
    """Wᵀ(XᵀX + λI)W = n·I in each view and W_xᵀXᵀYW_y = n·diag(ρ)."""
    x, y = paired(*shape)
    found = rcca(x, y, ridge=ridge)
    n, k = len(x), len(found.correlations)
    for view, mean, weights in zip((x, y), found.means, found.weights, strict=True):
        z = (view - mean) @ weights
        gram = (z.T @ z + penalty(view, ridge) * weights.T @ weights) / n
        torch.testing.assert_close(gram, torch.eye(k, dtype=gram.dtype), atol=1e-9, rtol=0)
    cross = ((x - found.means[0]) @ found.weights[0]).T @ ((y - found.means[1]) @ found.weights[1]) / n
    torch.testing.assert_close(cross, torch.diag(found.correlations), atol=1e-9, rtol=0)


def test_agrees_with_scikit_learn():
    x, y = paired(200, 6, 5)
    zx, zy = CCA(n_components=3, max_iter=5000, tol=1e-12).fit_transform(x.numpy(), y.numpy())
    expected = [abs(np.corrcoef(zx[:, i], zy[:, i])[0, 1]) for i in range(3)]
    np.testing.assert_allclose(rcca(x, y, n_components=3).correlations.numpy(), expected, atol=1e-6)


def test_a_large_ridge_gives_partial_least_squares():
    x, y = paired(50, 6, 4)
    found = rcca(x, y, ridge=1e8, n_components=1)
    u, _, vt = torch.linalg.svd((x - x.mean(dim=0)).T @ (y - y.mean(dim=0)))
    for weights, direction in zip(found.weights, (u[:, 0], vt[0]), strict=True):
        cosine = weights[:, 0] @ direction / weights[:, 0].norm()
        assert abs(cosine.item()) == pytest.approx(1, abs=1e-6)


def test_without_ridge_wide_views_correlate_perfectly():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(20, 30, generator=generator), torch.randn(20, 40, generator=generator)
    correlations = rcca(x, y).correlations
    torch.testing.assert_close(correlations, torch.ones(19), atol=1e-5, rtol=0)
    assert correlations.max() <= 1
    assert rcca(x, y, ridge=1.0).correlations[0] < 0.95


@given(
    seed=st.integers(0, 1000), ridge=st.sampled_from([0.0, 0.1, 3.0]), scale=st.sampled_from([1e-200, 1e-3, 1e5, 1e200])
)
def test_correlations_ignore_rotation_scale_shift_and_order(seed, ridge, scale):
    x, y = paired(25, 6, 4, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    order = torch.randperm(25, generator=generator)
    moved = rcca(((x + 2) @ rotation * scale)[order], y[order] - 7, ridge=ridge)
    expected = rcca(x, y, ridge=ridge)
    torch.testing.assert_close(moved.correlations, expected.correlations, atol=1e-9, rtol=0)
    similarity = moved.similarity((x + 2) @ rotation * scale, y - 7)
    torch.testing.assert_close(similarity, expected.similarity(x, y), atol=1e-8, rtol=0)


def test_constant_and_repeated_features_do_no_harm():
    x, y = paired(40, 5, 4)
    more = torch.cat([x, torch.full((40, 2), 1e9, dtype=x.dtype), x[:, :2]], dim=1)
    torch.testing.assert_close(rcca(more, y).correlations, rcca(x, y).correlations, atol=1e-9, rtol=0)
    assert rcca(more, y, ridge=0.1).correlations.isfinite().all()


def test_float32_agrees_with_float64():
    x, y = paired(200, 300, 20)
    double = rcca(x, y, ridge=0.1, n_components=5)
    single = rcca(x.float(), y.float(), ridge=0.1, n_components=5)
    assert single.correlations.dtype == single.weights[0].dtype == single.means[1].dtype == torch.float32
    torch.testing.assert_close(single.correlations.double(), double.correlations, atol=1e-5, rtol=0)
    similarity = single.similarity(x.float(), y.float())
    torch.testing.assert_close(similarity.double(), double.similarity(x, y), atol=1e-3, rtol=0)


def test_similarity_is_the_weighted_cosine():
    x, y = paired(30, 6, 5)
    found = rcca(x, y, ridge=0.2, n_components=3)
    a, b = (x - found.means[0]) @ found.weights[0], (y - found.means[1]) @ found.weights[1]
    rho = found.correlations
    norms = (rho * a**2).sum(dim=1).sqrt()[:, None] * (rho * b**2).sum(dim=1).sqrt()
    torch.testing.assert_close(found.similarity(x, y), (rho * a) @ b.T / norms)
    assert found.embed(found.means[0][None], view=0).abs().max() == 0


def test_fewer_components_are_the_first_ones():
    x, y = paired(40, 6, 5)
    full, few = rcca(x, y, ridge=0.1), rcca(x, y, ridge=0.1, n_components=2)
    torch.testing.assert_close(few.correlations, full.correlations[:2])
    torch.testing.assert_close(few.weights[0], full.weights[0][:, :2])
    assert len(rcca(x, y, n_components=99).correlations) == 5


def with_entry(x: torch.Tensor, index: tuple[int, int], value: float) -> torch.Tensor:
    x = x.clone()
    x[index] = value
    return x


X, Y = paired(20, 4, 3)
BAD_PAIRS = {
    "counts": ((X, Y[:-1]), "expected 20 samples, one for each of x, got 19"),
    "one sample": ((X[:1], Y[:1]), "at least 2 pairs"),
    "no sample": ((X[:0], Y[:0]), "expected shape"),
    "no feature": ((X, Y[:, :0]), "expected shape"),
    "vector": ((X[:, 0], Y), "expected shape"),
    "NaN": ((with_entry(X, (3, 1), float("nan")), Y), "x: expected finite.*\\(3, 1\\)"),
    "infinity": ((X, with_entry(Y, (2, 0), float("inf"))), "y: expected finite"),
    "constant": ((X, torch.full_like(Y, 0.1)), "y: expected features that vary"),
    "integers": ((X.long(), Y), "x: expected a real floating-point"),
    "complex": ((X, Y.to(torch.complex128)), "y: expected a real floating-point"),
    "half": ((X.half(), Y.half()), "float32 or float64"),
    "dtypes": ((X, Y.float()), "expected torch.float64"),
    "no tensor": ((X.numpy(), Y), "expected a torch.Tensor"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("views", "message"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_bad_pairs_are_refused(views, message):
    with pytest.raises(ValueError, match=message):
        rcca(*views, ridge=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": -1.0}, "ridge: expected"),
        ({"ridge": float("nan")}, "ridge: expected"),
        ({"ridge": (0.1, -0.1)}, "ridge: expected"),
        ({"ridge": (1.0, 2.0, 3.0)}, "ridge: expected one number, or one for each of the two views, got 3"),
        ({"ridge": "a"}, "ridge: expected a finite number >= 0, got 'a'"),
        ({"n_components": 0}, "n_components: expected"),
        ({"n_components": 2.5}, "n_components: expected a whole number, 1 or more, got 2.5"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rcca(X, Y, **options)


# Retrieval


@given(seed=st.integers(0, 1000), n=st.integers(1, 12), levels=st.integers(1, 6))
def test_ranks_and_recall_count_ties_against_the_partner(seed, n, levels):
    similarity = torch.randint(levels, (n, n), generator=torch.Generator().manual_seed(seed)).float()
    loops = [sum(int(entry >= row[i]) for entry in row) for i, row in enumerate(similarity.tolist())]
    assert ranks(similarity).tolist() == loops
    recall = recall_at_k(similarity, ks=(1, 3))
    assert recall.forward[3] == sum(rank <= 3 for rank in loops) / n
    assert recall.backward == recall_at_k(similarity.T, ks=(1, 3)).forward
    assert recall.chance == {1: min(1 / n, 1), 3: min(3 / n, 1)}
    assert recall.mean[1] == (recall.forward[1] + recall.backward[1]) / 2


def test_a_constant_similarity_earns_nothing():
    recall = recall_at_k(torch.ones(50, 50))
    assert set(recall.mean.values()) == {0.0}
    assert mean_reciprocal_rank(torch.ones(50, 50)) == pytest.approx(1 / 50)


def test_random_similarity_scores_chance():
    n = 1000
    recall = recall_at_k(torch.rand(n, n, generator=torch.Generator().manual_seed(0)), ks=(10, 100))
    for k, value in recall.mean.items():
        assert value == pytest.approx(recall.chance[k], abs=4 * (k / n / n) ** 0.5)


def test_csls_agrees_with_loops():
    similarity = torch.rand(9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    array = similarity.numpy()
    rows = [np.mean(sorted(array[i])[-3:]) for i in range(9)]
    columns = [np.mean(sorted(array[:, j])[-3:]) for j in range(7)]
    expected = [[2 * array[i, j] - rows[i] - columns[j] for j in range(7)] for i in range(9)]
    np.testing.assert_allclose(csls(similarity, k=3).numpy(), expected)


def test_csls_demotes_a_hub():
    """Column 0 is near to every row; corrected, each row finds its own column."""
    similarity = torch.eye(6) * 0.5
    similarity[:, 0] = 0.6
    assert recall_at_k(similarity).forward[1] == pytest.approx(1 / 6)
    assert recall_at_k(csls(similarity, k=2)).forward[1] >= 5 / 6


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (torch.zeros(2, 3), "expected shape"),
        (torch.zeros(0, 0), "expected shape"),
        (torch.zeros(3), "expected shape"),
        (torch.zeros(2, 2, dtype=torch.long), "floating"),
        (torch.tensor([[float("nan"), 0.0], [0.0, 1.0]]), "finite"),
    ],
)
def test_bad_similarities_are_refused(similarity, message):
    for use in (ranks, recall_at_k, mean_reciprocal_rank):
        with pytest.raises(ValueError, match=message):
            use(similarity)


@pytest.mark.usefixtures("unchecked")
def test_bad_list_lengths_are_refused():
    for ks in ((), (0,), (1, -5), (1.5,)):
        with pytest.raises(ValueError, match="ks: expected"):
            recall_at_k(torch.eye(3), ks=ks)
    for k in (0, 4):
        with pytest.raises(ValueError, match="k: expected"):
            csls(torch.eye(3), k=k)
    with pytest.raises(ValueError, match="finite"):
        csls(torch.full((3, 3), float("nan")), k=1)

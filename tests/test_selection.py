"""Task subspaces: against scikit-learn's discriminant, the contract of prefixes, and the figures on emoji."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import eigh
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.concept_module import concept_module
from hyperspectral_geo.fusion.light.distillation import distill
from hyperspectral_geo.fusion.light.layer_truncation import truncate_layers
from hyperspectral_geo.fusion.light.selection import select
from hyperspectral_geo.fusion.light.subspace_selector import SubspaceSelector
from hyperspectral_geo.fusion.light.unlabelled_selection import select_by_text, select_from_concepts
from hyperspectral_geo.spectral import from_activations


def blobs(classes: int = 4, each: int = 30, d: int = 12, *, seed: int = 0, apart: float = 3.0):
    """Rows around random means with a common, uneven covariance."""
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, d, generator=g, dtype=torch.float64) * apart
    mix = torch.randn(d, d, generator=g, dtype=torch.float64)
    y = torch.arange(classes).repeat(each)
    return means[y] + torch.randn(len(y), d, generator=g, dtype=torch.float64) @ mix, y


def test_directions_are_those_of_the_generalised_eigenproblem():
    """SciPy solves B v = μ (W + λI) v directly."""
    x, y = blobs()
    task = select(x, y, ridges=[0.1])
    centred = (x - x.mean(0)).numpy()
    means = np.stack([centred[y.numpy() == c].mean(0) for c in range(4)])
    within = (centred - means[y]).T @ (centred - means[y]) / len(y)
    between = means.T @ means / 4
    within += 0.1 * np.trace(within) / 12 * np.eye(12)
    values, vectors = eigh(between, within)
    np.testing.assert_allclose(task.eigenvalues.numpy(), values[::-1][:3], rtol=1e-8)
    for i in range(3):
        ours, theirs = task.weights[:, i].numpy(), vectors[:, -1 - i]
        assert abs(ours @ within @ theirs) == pytest.approx(np.sqrt(ours @ within @ ours), rel=1e-8)


def test_without_shrinkage_it_is_scikit_learns_discriminant():
    """Well separated, many rows: h and the ridge do not matter, and both rules agree on nearly all rows."""
    x, y = blobs(each=200, apart=1.5)
    task = select(x[:400], y[:400], ridges=[1e-6])
    theirs = LinearDiscriminantAnalysis().fit(x[:400].numpy(), y[:400].numpy()).predict(x[400:].numpy())
    assert (task.predict(x[400:]).numpy() == theirs).mean() > 0.98


@given(seed=st.integers(0, 100), k=st.integers(1, 3))
def test_every_prefix_is_a_model(seed, k):
    x, y = blobs(seed=seed)
    task = select(x, y, folds=2, ridges=[0.1, 1.0])
    part = task.prefix(k)
    assert part.k == k
    torch.testing.assert_close(part.coordinates(x), task.coordinates(x)[:, :k])
    z, m = task.coordinates(x)[:, :k], task.centroids[:, :k]
    gaussian = -torch.cdist(z, m).square() / 2 + z.square().sum(1, keepdim=True) / 2 + task.log_priors
    torch.testing.assert_close(part.scores(x), gaussian / task.temperature)
    assert (part.eigenvalues.diff() <= 0).all()


def test_few_labels_make_centroids_of_equal_length():
    """With five labels a class lengths say less than directions; with many the rule is the plain one."""
    emoji = load_emoji()
    order = torch.randperm(1906, generator=torch.Generator().manual_seed(21))
    groups = np.array(emoji.subcategories)[order]
    few = np.concatenate([np.flatnonzero(groups == g)[:5] for g in np.unique(groups) if (groups == g).sum() > 5])
    rest = np.setdiff1d(np.flatnonzero(np.isin(groups, groups[few])), few)
    x = emoji.image[order]
    task = select(x[few], groups[few])
    lengths = task.centroids.norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1].expand_as(lengths))
    assert (np.array(task.classes)[task.predict(x[rest]).numpy()] == groups[rest]).mean() > 0.38
    plain = select(*blobs(each=200, apart=0.5)).centroids.norm(dim=1)
    assert float(plain.std()) > 1e-3


def test_further_directions_do_not_repeat_the_first():
    x = torch.cat([torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(60, 1)], 1)
    x = torch.cat([x, x[:, :1]], 1).double()
    y = [0, 1] * 30
    task = select(x, y, n_components=4, ridges=[1e-9])
    z = task.coordinates(x)
    within = z - torch.stack([z[::2].mean(0), z[1::2].mean(0)])[torch.tensor(y)]
    found = np.corrcoef(within.T.numpy())
    assert np.abs(found - np.eye(4)).max() < 1e-6
    with pytest.raises(ValueError, match="n_components: expected at most 4, as many as tell classes apart or vary"):
        select(x, y, n_components=5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("ridges", [np.array([0.1, 1.0]), torch.tensor([0.1, 1.0]), iter([0.1, 1.0])], ids=type)
def test_ridges_come_in_any_row_of_numbers(ridges):
    x, y = blobs()
    assert select(x, y, ridges=ridges).ridge in (pytest.approx(0.1), 1.0)


def test_coordinates_are_uncorrelated_within_classes():
    x, y = blobs(each=50)
    task = select(x, y, ridges=[1e-9])
    z = task.coordinates(x)
    z = z - torch.stack([z[y == c].mean(0) for c in range(4)])[y]
    covariance = z.T @ z / len(z)
    torch.testing.assert_close(covariance / covariance[0, 0], torch.eye(3, dtype=z.dtype), atol=1e-6, rtol=0)


def test_it_does_not_depend_on_units_order_or_place():
    x, y = blobs()
    task = select(x, y)
    moved = select(x * 1e150 + 1e151, y)
    torch.testing.assert_close(moved.eigenvalues, task.eigenvalues, rtol=1e-6, atol=0)
    assert torch.equal(moved.predict(x * 1e150 + 1e151), task.predict(x))
    named = select(x, [f"class {int(c)}" for c in y])
    assert named.classes == ("class 0", "class 1", "class 2", "class 3")
    assert torch.equal(named.weights, task.weights)
    assert torch.equal(select(x, y).weights, task.weights)


def test_more_features_than_rows_give_the_same_as_their_span():
    """Features that add nothing change nothing but the unit of the ridge, the trace over min(n − 1, d)."""
    x, y = blobs(each=10)
    wide = torch.cat([x, torch.zeros(len(x), 60, dtype=x.dtype)], 1)
    found, narrow = select(wide, y, ridges=[0.3]), select(x, y, ridges=[0.3 * 12 / 39])
    torch.testing.assert_close(found.eigenvalues, narrow.eigenvalues)
    gram = found.weights[:12].T @ narrow.weights / narrow.weights.norm(dim=0) / found.weights.norm(dim=0)
    torch.testing.assert_close(gram.diagonal().abs(), torch.ones(3, dtype=x.dtype))


def test_directions_continue_with_what_differs_within_classes():
    x, y = blobs()
    task, more = select(x, y, ridges=[0.1]), select(x, y, ridges=[0.1], n_components=8)
    assert more.k == 8
    torch.testing.assert_close(more.prefix(3).weights, task.weights)
    assert (more.eigenvalues[3:] == 0).all()
    torch.testing.assert_close(more.scores(x), task.scores(x))
    assert torch.linalg.matrix_rank(more.weights) == 8
    assert select(x, y, n_components=2).k == 2


def test_noise_has_no_signal_and_classes_have():
    noise = torch.randn(120, 30, dtype=torch.float64)
    labels = torch.arange(120) % 4
    assert sum(select(noise, labels.roll(i)[torch.randperm(120)]).signal for i in range(5)) <= 2
    x, y = blobs()
    assert select(x, y).signal == 3


def test_scores_are_calibrated():
    x, y = blobs(each=100, apart=0.5)
    task = select(x[:200], y[:200])
    scores = task.scores(x[200:])
    loss = float(torch.nn.functional.cross_entropy(scores, y[200:]))
    assert loss <= min(float(torch.nn.functional.cross_entropy(scores * f, y[200:])) for f in (0.25, 4.0))


def test_class_names_select_without_labels():
    g = torch.Generator().manual_seed(0)
    x, y = blobs(classes=3, each=60, d=8, apart=4.0)
    names = torch.stack([x[y == c].mean(0) for c in range(3)]) + 0.3 * torch.randn(3, 8, generator=g) + 7.0
    task = select_by_text(x, names, classes=["a", "b", "c"])
    assert task.k == 2
    assert (task.predict(x) == y).double().mean() > 0.95
    assert torch.equal(select_by_text(x + 100, names * 3).predict(x + 100), task.predict(x))


def test_concept_modules_select_without_rows():
    x, y = blobs(apart=2.0)
    modules = {c: from_activations(x[y == c], rank=6) for c in range(4)}
    task = select_from_concepts(modules, ridge=0.1)
    assert (task.predict(x) == y).double().mean() > 0.95
    assert select_from_concepts({c: modules[c] for c in (0, 2)}).classes == (0, 2)


X, Y = blobs(each=5)
FINE = SimpleNamespace(basis=torch.eye(3)[:, :1], eigenvalues=torch.ones(1), mean=torch.zeros(3))
BARE = SimpleNamespace(basis=torch.eye(3)[:, :1], eigenvalues=torch.ones(1), mean=None)
WIDE = SimpleNamespace(basis=torch.eye(4)[:, :1], eigenvalues=torch.ones(1), mean=torch.zeros(4))
BAD = {
    "NaN": (lambda: select(torch.full((4, 2), float("nan")), [0, 0, 1, 1]), "finite"),
    "integers": (lambda: select(torch.ones(4, 2).long(), [0, 0, 1, 1]), "floating"),
    "a vector": (lambda: select(torch.ones(4), [0, 0, 1, 1]), "expected shape"),
    "fewer labels": (lambda: select(X, Y[:-1]), "expected 20 labels"),
    "a column of labels": (lambda: select(X, Y[:, None]), r"a row of 20 labels, .* got shape \(20, 1\)"),
    "a column of NumPy's": (lambda: select(X, Y.numpy()[:, None]), r"a row of 20 labels, .* got shape \(20, 1\)"),
    "no label": (lambda: select(X, [float("nan"), *[1.0, 2.0] * 9, 1.0]), "got NaN"),
    "one class": (lambda: select(X, [1] * 20), "at least 2 classes"),
    "a class a row": (lambda: select(X, range(20)), "2 rows or more"),
    "a mixture": (lambda: select(X, ["a"] * 10 + [1] * 10), "can be sorted"),
    "constant": (lambda: select(torch.ones(4, 2), [0, 0, 1, 1]), "constant"),
    "no ridge": (lambda: select(X, Y, ridges=[]), "ridges: expected"),
    "negative ridge": (lambda: select(X, Y, ridges=[-1.0]), "ridges: expected"),
    "ridge below all": (lambda: select(X[:3].repeat(5, 1), [0, 1, 2] * 5, ridges=[1e-300]), "above rounding"),
    "one fold": (lambda: select(X, Y, folds=1), "folds: expected"),
    "too many": (lambda: select(X, Y, n_components=13), "n_components: expected at most 12"),
    "none": (lambda: select(X, Y, n_components=0), "n_components: expected"),
    "prefix": (lambda: select(X, Y).prefix(4), "k: expected at most 3"),
    "other width": (lambda: select(X, Y).predict(X[:, 1:]), "expected 12 features"),
    "one name": (lambda: select_by_text(X, X[:1]), "expected 2 different names"),
    "other space": (lambda: select_by_text(X, X[:2, 1:]), "expected 12 columns"),
    "equal names": (lambda: select_by_text(X, X[[0, 0]]), "vectors that differ"),
    "names twice": (lambda: select_by_text(X, X[:2], classes=["a", "a"]), "different names"),
    "one row": (lambda: select_by_text(X[:1], X[:2]), "at least 2 rows"),
    "no ridges": (lambda: select(X, Y, ridges=1.0), "ridges: expected finite candidates"),
    "ridges of texts": (lambda: select(X, Y, ridges=["a"]), "ridges: expected finite candidates"),
    "ridges in a text": (lambda: select(X, Y, ridges="12"), "ridges: expected finite candidates"),
    "a table of ridges": (lambda: select(X, Y, ridges=torch.ones(2, 2)), "ridges: expected finite candidates"),
    "no seed": (lambda: select(X, Y, seed="a"), "seed: expected a whole number"),
    "no labels": (lambda: select(X, None), "y: expected a label for each of"),
    "ridge of names": (lambda: select_by_text(X, X[:2], ridge=0.0), "ridge: expected"),
    "one concept": (lambda: select_from_concepts({"a": FINE}), "expected 2 different"),
    "no mean": (lambda: select_from_concepts({"a": FINE, "b": BARE}), "expected one with a mean"),
    "other concepts": (lambda: select_from_concepts({"a": FINE, "b": WIDE}), "expected the space"),
    "no weight": (lambda: select_from_concepts({"a": FINE, "b": FINE}, weights=[1.0, 0.0]), "shares > 0"),
    "unknown size": (lambda: SubspaceSelector("all").fit(X, Y), "'noise', got 'all'"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("sparse", [scipy.sparse.csr_array(X.numpy()), X.to_sparse()])
@pytest.mark.parametrize(
    "call",
    [
        lambda x: select(x, Y),
        lambda x: select(X, Y).predict(x),
        lambda x: select_by_text(x, X[:2]),
        lambda x: select_by_text(X, x),
        lambda x: truncate_layers(nn.Linear(12, 12).double(), [x], energy=0.5),
        lambda x: distill(nn.Linear(12, 12), x, X),
        lambda x: distill(nn.Linear(12, 12), X, x),
    ],
)
def test_sparse_features_are_refused(call, sparse):
    with pytest.raises(ValueError, match=r"sparse.*convert.*(to_dense|toarray)"):
        call(sparse)


@pytest.mark.parametrize("ridge", [1e-3, 1e-12, 1e-20])
def test_rows_that_repeat_are_told_apart_whatever_the_ridge(ridge):
    """Nothing varies within the classes, and the covariance has fewer dimensions than the features."""
    rows, y = X[:3].repeat(5, 1), [0, 1, 2] * 5
    task = select(rows, y, ridges=[ridge])
    assert task.predict(rows).tolist() == y
    assert 0 < task.noise_edge < 10
    assert task.signal == 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learns_own_checks():
    results = check_estimator(SubspaceSelector(), on_fail=None, on_skip=None)
    assert not [(r["check_name"], str(r["exception"])) for r in results if r["status"] == "failed"]
    assert sum(r["status"] == "passed" for r in results) > 30


def test_the_estimator_is_the_selection():
    x, y = blobs()
    selector = SubspaceSelector(2).fit(x, y)
    torch.testing.assert_close(selector.transform(x), select(x, y).prefix(2).coordinates(x))
    assert SubspaceSelector("noise").fit(x, y).task_.k == 3
    named = SubspaceSelector().fit(x, np.array(["d", "a", "c", "b"])[y])
    assert named.task_.classes == tuple(named.classes_) == ("a", "b", "c", "d")
    pipeline = make_pipeline(StandardScaler(), SubspaceSelector()).fit(x.numpy(), y.numpy())
    assert pipeline.score(x.numpy(), y.numpy()) > 0.95


def test_eight_dimensions_of_emoji_beat_sixty_four_principal_ones():
    emoji = load_emoji()
    order = torch.randperm(1906, generator=torch.Generator().manual_seed(0))
    x, labels = emoji.image[order], [emoji.categories[i] for i in order]
    train, test = x[:1400], x[1400:]

    def accuracy(task, rows) -> float:
        found = [task.classes[i] for i in task.predict(rows).tolist()]
        return float(np.mean([a == b for a, b in zip(found, labels[1400:], strict=True)]))

    task = select(train, labels[:1400])
    principal = torch.linalg.svd(train - train.mean(0), full_matrices=False).Vh[:64].T
    assert accuracy(task, test) > 0.74
    assert accuracy(task, test) > accuracy(select(train @ principal, labels[:1400]), test @ principal) + 0.03


def test_concepts_of_other_backgrounds_or_without_directions_are_refused():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    one, other = Background.of(x), Background.of(2 * x)
    apart = {
        "a": concept_module(x[:9], name="a", background=one),
        "b": concept_module(x[9:], name="b", background=other),
    }
    with pytest.raises(ValueError, match="concept 'b': expected the background of the others"):
        select_from_concepts(apart)
    points = {name: concept_module(x[i : i + 1], name=name, background=one) for i, name in enumerate("ab")}
    with pytest.raises(ValueError, match="expected directions in which members vary, got none"):
        select_from_concepts(points)

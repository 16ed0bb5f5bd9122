"""What scikit-learn asks of estimators: parameters, representation, tags, input; with and without scikit-learn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from hyperspectral_geo.fusion.array_input import class_labels, like_input, sample_matrix
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.classifier import ConceptClassifier
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule, concept_module
from hyperspectral_geo.fusion.concepts.measures import cross_concept_cosine, linear_factors
from hyperspectral_geo.fusion.concepts.shrinkage import choose_shrinkage
from hyperspectral_geo.fusion.estimator import Estimator
from hyperspectral_geo.fusion.light.subspace_selector import SubspaceSelector


class Centring(Estimator):
    """The least transformer there is."""

    role = "transformer"

    def __init__(self, by=1.0, *, inner=None):
        self.by, self.inner = by, inner

    def fit(self, X, y=None):
        self.mean_ = sample_matrix(self, X, reset=True).mean(0)
        return self

    def transform(self, X):
        self.require_fitted()
        x = sample_matrix(self, X, reset=False)
        return like_input(X, x - self.by * self.mean_.to(x.dtype))

    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X)


ESTIMATORS = {
    "transformer": Centring(),
    "classifier": ConceptClassifier(),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_scikit_learns_own_checks(estimator) -> None:
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(r["check_name"], str(r["exception"])) for r in results if r["status"] == "failed"]
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 30


def test_parameters_are_those_of_init_and_nest() -> None:
    outer = Centring(2.0, inner=Centring(3.0))
    assert outer.get_params() == {"by": 2.0, "inner": outer.inner, "inner__by": 3.0, "inner__inner": None}
    assert outer.get_params(deep=False) == {"by": 2.0, "inner": outer.inner}
    assert outer.set_params(inner__by=5.0, by=0.0) is outer
    assert (outer.by, outer.inner.by) == (0.0, 5.0)
    assert repr(outer) == "Centring(by=0.0, inner=Centring(by=5.0))"
    assert clone(outer).get_params()["inner__by"] == 5.0
    with pytest.raises(ValueError, match="expected parameters by, inner, got 'to'"):
        outer.set_params(by=9.0, to=1)
    assert outer.by == 0.0


def test_pipelines_grids_and_folds_work() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 6)) + 4 * np.eye(6)[y]
    model = make_pipeline(StandardScaler(), ConceptClassifier(shrinkage=0.5))
    assert cross_val_score(model, x, y, cv=3).min() > 0.9
    grid = GridSearchCV(ConceptClassifier(), {"spread": [0.0, 0.5]}, cv=3).fit(x, y)
    assert grid.best_score_ > 0.9
    assert is_classifier(ConceptClassifier())


@pytest.mark.parametrize(
    ("x", "kind", "message"),
    [
        (np.ones(3), ValueError, "Reshape your data"),
        (np.ones((0, 3)), ValueError, "0 sample"),
        (np.ones((3, 0)), ValueError, "0 feature"),
        (np.array([[1.0, np.nan]]), ValueError, "NaN or infinity"),
        (np.array([[1.0, np.inf]]), ValueError, "expected finite entries"),
        (np.ones((2, 2)) * 1j, ValueError, "Complex data not supported"),
        (torch.ones(2, 2) * 1j, ValueError, "Complex data not supported"),
        (scipy.sparse.eye_array(3), TypeError, "Sparse data"),
        (torch.eye(3).to_sparse(), TypeError, "Sparse data"),
        ([["a", "b"]], ValueError, "could not convert"),
        ([[{}, 1.0]], TypeError, "must be a string or a real number"),
    ],
)
def test_wrong_samples_are_refused(x, kind, message) -> None:
    with pytest.raises(kind, match=message):
        Centring().fit(x)


@pytest.mark.usefixtures("unchecked")
def test_a_fit_that_failed_is_none() -> None:
    model = ConceptClassifier()
    with pytest.raises(ValueError, match="classes|labels|concepts"):
        model.fit(torch.randn(5, 3), [0] * 4)
    with pytest.raises(ValueError, match="call fit first"):
        model.predict(torch.randn(5, 3))


E = torch.eye(3, dtype=torch.float64)
SPARSE = {
    "background": lambda x: Background.of(x),
    "whitening": lambda x: Background.of(E).whiten(x),
    "concept": lambda x: concept_module(x, name="a"),
    "directions": lambda x: ConceptModule("a", E[0], x, E[0], 1.0, 1),
    "density": lambda x: concept_module(E, name="a").log_density(x),
    "shrinkage": lambda x: choose_shrinkage(x, torch.zeros(3, dtype=torch.long)),
    "cosine": lambda x: cross_concept_cosine([x, x]),
    "factors": lambda x: linear_factors(x, torch.zeros(3, 1, dtype=torch.long)),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("sparse", [scipy.sparse.eye_array(3), E.to_sparse()])
@pytest.mark.parametrize("call", SPARSE.values(), ids=SPARSE)
def test_sparse_samples_are_refused(call, sparse) -> None:
    with pytest.raises(ValueError, match=r"sparse.*convert.*(to_dense|toarray)"):
        call(sparse)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "target y is None"),
        ([0, 1], "expected 3 labels"),
        (np.zeros((3, 2)), "1d array"),
        ([0.5, 1.0, 2.0], "Unknown label type"),
        ([0.0, np.nan, 1.0], "NaN"),
        (np.array([0, "a", None], dtype=object), "of one kind"),
        (["a", np.nan, "b"], "of one kind"),
        (["a", None, "b"], "of one kind"),
        (["a", 1, "b"], "of one kind"),
        (np.array([0, np.nan, 1], dtype=object), "NaN"),
        (np.array([0, 0.5, 1], dtype=object), "Unknown label type"),
    ],
)
def test_wrong_labels_are_refused(y, message) -> None:
    with pytest.raises(ValueError, match=message):
        class_labels(Centring(), y, rows=3)


@pytest.mark.parametrize("estimator", [ConceptClassifier(), SubspaceSelector()], ids=["concepts", "selector"])
def test_scores_take_a_column_of_labels_and_refuse_other_numbers_of_them(estimator):
    x = np.random.default_rng(0).normal(size=(30, 4))
    y = np.arange(30) % 3
    estimator.fit(x, y)
    assert estimator.score(x, y[:, None]) == estimator.score(x, y)
    with pytest.raises(ValueError, match=r"y: expected 30 labels, one for each row of X, got shape \(1,\)"):
        estimator.score(x, [1])


def test_kinds_and_types_of_samples_are_kept() -> None:
    x = np.asfortranarray(np.arange(6.0).reshape(3, 2))[::-1]
    x.flags.writeable = False
    found = Centring().fit(x)
    assert isinstance(found.transform(x), np.ndarray)
    tensor = found.transform(torch.tensor([[1.0, 2.0]], requires_grad=True))
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float32
    assert found.transform([[1, 2]]).dtype == np.float64
    assert found.transform(np.ones((1, 2), ">f4")).dtype == np.float32
    with pytest.raises(ValueError, match="X has 3 features, but Centring is expecting 2"):
        found.transform(np.ones((1, 3)))
    with pytest.raises(NotFittedError, match="call fit first"):
        Centring().transform(x)


def test_it_works_without_scikit_learn() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from hyperspectral_geo.fusion.concepts.classifier import ConceptClassifier
x = np.random.default_rng(0).normal(size=(30, 4)) + 5 * np.eye(4)[np.arange(30) % 3]
assert ConceptClassifier().fit(x, np.arange(30) % 3).score(x, np.arange(30) % 3) > 0.9
try:
    ConceptClassifier().predict(x)
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "call fit first" in done.stdout

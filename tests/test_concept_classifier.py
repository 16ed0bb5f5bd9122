"""Classifying by concepts: against linear discriminants, adding and removing, weights, explanations, measures."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.classifier import ConceptClassifier
from hyperspectral_geo.fusion.concepts.concept_module import concept_module
from hyperspectral_geo.fusion.concepts.measures import cross_concept_cosine, linear_factors
from hyperspectral_geo.fusion.concepts.shrinkage import choose_shrinkage
from hyperspectral_geo.fusion.concepts.weights import concept_weights

D = torch.float64
NAMES = np.array(["cat", "dog", "fox"])


def three(seed: int = 0, *, each: int = 30, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ in their means and in the direction in which they vary."""
    rng = np.random.default_rng(seed)
    y = np.arange(3 * each) % 3
    x = rng.normal(size=(3 * each, n)) + 2 * np.eye(n)[y]
    x[np.arange(len(y)), 3 + y] *= 4
    return x, NAMES[y]


@pytest.fixture(scope="module")
def fitted() -> ConceptClassifier:
    return ConceptClassifier().fit(*three())


def test_without_spread_it_is_linear_discriminant_analysis() -> None:
    x, y = three()
    test = three(1)[0]
    peer = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(3, 1 / 3), shrinkage=1e-9).fit(x, y)
    ours = ConceptClassifier(shrinkage=1e-9, spread=0.0, temperature=1.0).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(test), peer.predict_proba(test), rtol=1e-4, atol=1e-9)
    assert ours.choice_ is None


def test_directions_help_where_classes_differ_in_them(fitted) -> None:
    test, truth = three(2, each=300)
    linear = ConceptClassifier(spread=0.0).fit(*three())
    assert fitted.score(test, truth) > linear.score(test, truth) + 0.02
    assert fitted.spread_ > 0
    assert fitted.choice_.losses[fitted.choice_.shrinkage, fitted.spread_] == min(fitted.choice_.losses.values())


def test_probabilities_are_calibrated_by_the_temperature() -> None:
    x, y = three(each=20)
    wide = np.repeat(x, 20, axis=1)  # each feature twenty times: a Gaussian is then twenty times too sure
    model = ConceptClassifier(shrinkage=1.0).fit(wide, y)
    test, truth = three(3, each=100)
    probabilities = model.predict_proba(np.repeat(test, 20, axis=1))
    sure = probabilities.max(1).mean()
    assert model.temperature_ > 4
    assert sure == pytest.approx(model.score(np.repeat(test, 20, axis=1), truth), abs=0.08)


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32])
def test_arrays_and_tensors_give_the_same(kind, fitted) -> None:
    x, y = three()
    x = torch.as_tensor(x, dtype=kind) if isinstance(kind, torch.dtype) else x.astype(kind)
    model = ConceptClassifier(shrinkage=0.5, spread=0.3, temperature=1.0).fit(x, y)
    wide = ConceptClassifier(shrinkage=0.5, spread=0.3, temperature=1.0).fit(np.asarray(x, dtype=np.float64), y)
    assert type(model.predict_proba(x)) is type(x)
    np.testing.assert_array_equal(np.asarray(model.predict_proba(x)), wide.predict_proba(np.asarray(x, dtype=float)))


def test_a_concept_added_is_as_if_it_had_always_been_there() -> None:
    x, y = three()
    test = three(1)[0]
    background = Background.of(torch.from_numpy(x), shrinkage=0.5)
    settings = {"background": background, "spread": 0.3, "temperature": 2.0}
    together = ConceptClassifier(**settings).fit(x, y)
    two = ConceptClassifier(**settings).fit(x[y != "fox"], y[y != "fox"])
    before = two.predict_proba(test)
    fox = concept_module(torch.from_numpy(x[y == "fox"]), name="fox", background=background)
    three_now = two.with_concept(fox)
    np.testing.assert_array_equal(three_now.predict_proba(test), together.predict_proba(test))
    np.testing.assert_array_equal(three_now.predict(test), together.predict(test))
    assert all(a is b for a, b in zip(two.concepts_, three_now.concepts_, strict=False))
    np.testing.assert_array_equal(three_now.without("fox").predict_proba(test), before)
    np.testing.assert_array_equal(two.predict_proba(test), before)
    assert three_now.concept("fox") is fox


def test_weights_are_prior_probabilities(fitted) -> None:
    x = three(1)[0]
    plain, weighted = fitted.predict_proba(x), fitted.predict_proba(x, weights={"cat": 3.0, "dog": 0.5})
    wanted = plain * [3.0, 0.5, 1.0]
    np.testing.assert_allclose(weighted, wanted / wanted.sum(1, keepdims=True))
    ruled_out = fitted.predict_proba(x, weights={"dog": 0.0})
    np.testing.assert_allclose(ruled_out[:, [0, 2]], fitted.without("dog").predict_proba(x))
    assert not ruled_out[:, 1].any()
    assert fitted.without("dog").decision_function(x).shape == (len(x),)


def test_explanations_add_up_to_the_density(fitted) -> None:
    x = three(1)[0][:20]
    z = fitted.background_.whiten(torch.from_numpy(x))
    decisions = fitted.decision_function(x)
    for row, use in enumerate(fitted.explain(x, top=2)):
        concept = fitted.concept(use.concept)
        density = -0.5 * (use.distance - use.explained.sum()) + use.volume
        assert density.item() == pytest.approx(concept.log_density(z[row : row + 1], spread=fitted.spread_).item())
        assert use.label == fitted.predict(x)[row] == use.concept
        first, second = np.sort(decisions[row])[::-1][:2]
        assert use.margin == pytest.approx(first - second)
        assert list(use.directions) == np.argsort(-use.explained.numpy())[:2].tolist()
        assert use.runner_up != use.concept


def test_an_explanation_names_the_direction_that_was_moved_along(fitted) -> None:
    cat = fitted.concept("cat")
    whitened = (cat.mean + 3 * cat.eigenvalues[0].sqrt() * cat.basis[:, 0])[None]
    w = fitted.background_.whiten(torch.eye(8, dtype=D) + fitted.background_.mean)
    sample = whitened @ torch.linalg.inv(w) + fitted.background_.mean
    (use,) = fitted.explain(sample, top=1)
    assert (use.concept, use.directions) == ("cat", (0,))
    assert use.explained[0] > 0.99 * use.explained.sum()


def test_signs_of_directions_never_matter(fitted) -> None:
    from dataclasses import replace

    turned = pickle.loads(pickle.dumps(fitted))
    turned.concepts_ = tuple(replace(c, basis=-c.basis) for c in fitted.concepts_)
    x = three(1)[0]
    np.testing.assert_allclose(turned.predict_proba(x), fitted.predict_proba(x), rtol=1e-12)


REFUSALS = {
    "taken": (lambda m: m.with_concept(m.concept("cat")), "a new name and label"),
    "kind of label": (lambda m: m.with_concept(_other(m), label=3), "expected one like"),
    "fraction for a label": (
        lambda m: _of_numbers().with_concept(_other(_of_numbers()), label=7.5),
        "one like 0, got 7.5",
    ),
    "NaN for a label": (
        lambda m: _of_numbers().with_concept(_other(_of_numbers()), label=np.nan),
        "one like 0, got nan",
    ),
    "boolean for a label": (lambda m: _of_numbers().with_concept(_other(_of_numbers()), label=True), "got True"),
    "column for a label": (lambda m: _of_numbers().with_concept(_other(_of_numbers()), label=[7]), r"got \[7\]"),
    "text for a number": (lambda m: _of_numbers().with_concept(_other(_of_numbers())), "one like 0, got 'owl'"),
    "other background": (lambda m: m.with_concept(concept_module(torch.eye(8), name="owl")), "same background"),
    "unknown name": (lambda m: m.without("owl"), "expected one of cat, dog, fox, got 'owl'"),
    "the last one": (lambda m: m.without("cat").without("dog").without("fox"), "a classifier needs one"),
    "unknown weight": (lambda m: m.predict(np.ones((1, 8)), weights={"owl": 1.0}), "got 'owl'"),
    "negative weight": (lambda m: m.predict(np.ones((1, 8)), weights={"cat": -1.0}), "numbers >= 0"),
    "all weights 0": (lambda m: m.predict(np.ones((1, 8)), weights=dict.fromkeys(NAMES, 0)), "leave one in"),
    "features": (lambda m: m.predict(np.ones((1, 7))), "X has 7 features"),
    "top": (lambda m: m.explain(np.ones((1, 8)), top=0), "top: expected a whole number"),
    **{
        f"{key} {value}": (
            lambda m, options={key: value}: ConceptClassifier(**options).fit(*three()),
            f"{key}: expected a .*number .* or None, got {value!r}",
        )
        for key, below in (("spread", -1.0), ("shrinkage", 0.0), ("temperature", 0.0))
        for value in (below, math.inf, math.nan, True, "1")
    },
    "folds": (lambda m: ConceptClassifier(folds=1).fit(*three()), "folds: expected 2"),
    "background": (lambda m: ConceptClassifier("mean").fit(*three()), "expected a Background"),
    "constant samples": (lambda m: ConceptClassifier().fit(np.ones((6, 2)), [0, 1] * 3), "that vary"),
    "one sample": (lambda m: ConceptClassifier().fit(np.ones((1, 2)), [0]), "n_samples = 1"),
}


def _of_numbers() -> ConceptClassifier:
    x, y = three()
    return ConceptClassifier(shrinkage=0.5, spread=0.3, temperature=1.0).fit(x, np.unique(y, return_inverse=True)[1])


def _other(model: ConceptClassifier):
    return concept_module(torch.eye(8), name="owl", background=model.background_)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "message"), REFUSALS.values(), ids=REFUSALS)
def test_bad_input_is_refused(call, message: str, fitted) -> None:
    with pytest.raises(ValueError, match=message):
        call(fitted)


@pytest.mark.parametrize(
    ("kind", "label", "found"),
    [("U3", "elephant", "elephant"), ("O", "owl", "owl"), ("i8", np.int64(7), 7), (">u1", 300, 300), ("f8", 7.0, 7.0)],
)
def test_a_concept_added_is_predicted_by_its_label(kind, label, found) -> None:
    x, y = three()
    y = (y if kind in "U3O" else np.unique(y, return_inverse=True)[1]).astype(kind)
    model = ConceptClassifier(shrinkage=0.5, spread=0.3, temperature=1.0).fit(x, y)
    far = torch.from_numpy(x[:9]) + 50
    owl = concept_module(far, name="owl", background=model.background_)
    wider = model.with_concept(owl, label=label)
    assert wider.predict(far).tolist() == [found] * 9
    assert wider.classes_[:3].tolist() == model.classes_.tolist()
    assert wider.concept(found) is owl


@pytest.mark.parametrize("value", [5.0, 0.1])
@pytest.mark.parametrize("odd", range(4))
def test_folds_in_which_nothing_varies_do_not_judge(value: float, odd: int) -> None:
    x = torch.full((7, 3), value, dtype=D)
    x[odd] += 1
    groups = torch.zeros(7, dtype=torch.long)
    found = choose_shrinkage(x, groups)
    assert all(math.isfinite(loss) for loss in found.losses.values())
    assert ConceptClassifier().fit(x, groups).predict(x).tolist() == [0] * 7
    assert choose_shrinkage(x[odd + 1 :], groups[odd + 1 :]).losses == {}
    for learn in (Background.of, lambda rows: concept_module(rows, name="a")):
        with pytest.raises(ValueError, match="expected samples .*(that vary|that differ)"):
            learn(x[odd + 1 :])


def test_one_sample_a_class_and_one_class_work() -> None:
    assert ConceptClassifier().fit(np.eye(3), [5, 6, 7]).predict(np.eye(3)).tolist() == [5, 6, 7]
    assert ConceptClassifier().fit(np.eye(3), ["a"] * 3).predict_proba(np.eye(3)).tolist() == [[1.0]] * 3


class Lengths:
    """Distances of names by their lengths; none is known to the names in ``far``."""

    def distance(self, first: str, second: str, /) -> float:
        return math.inf if "far" in second else float(abs(len(first) - len(second)))


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9), st.floats(0.1, 10))
def test_weights_are_a_softmax_of_distances(names: list[str], temperature: float) -> None:
    weights = concept_weights(Lengths(), "query", names, temperature=temperature)
    raw = np.exp([-Lengths().distance("query", name) / temperature for name in names])
    np.testing.assert_allclose(weights, raw / raw.sum(), atol=1e-12)


def test_weights_of_what_cannot_be_reached() -> None:
    assert concept_weights(Lengths(), "cat", ["dog", "far off"])[1] == 0
    for names, temperature, message in (
        (["far off"], 1.0, "infinitely far"), ([], 1.0, "one or more"), (["a"], 0.0, "temperature"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            concept_weights(Lengths(), "cat", names, temperature=temperature)


def test_cosine_measures() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = [torch.randn(400, 3, generator=generator, dtype=D) for _ in range(6)]
    assert cross_concept_cosine(frames) == pytest.approx(math.sqrt(2 / (400 * math.pi)), rel=0.15)
    axes = list(torch.eye(6, dtype=D)[:, :, None].unbind(1))
    assert cross_concept_cosine(axes) == 0
    assert cross_concept_cosine([axes[0], -3 * axes[0]]) == 1
    with pytest.raises(ValueError, match="two concepts"):
        cross_concept_cosine(axes[:1])


def test_linear_factors_of_sums_of_noise_and_of_interactions() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.cartesian_prod(torch.arange(4), torch.arange(5)).repeat(10, 1)
    parts = [torch.randn(k, 30, generator=generator, dtype=D) for k in (4, 5)]
    additive = parts[0][table[:, 0]] + parts[1][table[:, 1]]
    exact = linear_factors(additive, table)
    assert exact.r2 == pytest.approx(1.0)
    assert exact.cosine < 1e-6  # a full table makes whitened factors orthogonal
    assert exact.k95 <= 7
    noise = torch.randn(200, 30, generator=generator, dtype=D)
    found = linear_factors(noise, table)
    assert found.chance == 7 / 199
    assert found.r2 == pytest.approx(found.chance, abs=0.02)
    products = torch.randn(20, 30, generator=generator, dtype=D)[table[:, 0] * 5 + table[:, 1]]
    assert found.r2 < linear_factors(products, table).r2 < 0.6  # 7 of 19 directions


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("x", "factors", "message"),
    [
        (torch.eye(4), torch.zeros(3, 1, dtype=torch.int64), "factors: expected shape"),
        (torch.eye(4), torch.zeros(4, 1), "whole numbers"),
        (torch.eye(4), np.zeros((4, 1), int), "factors: expected a torch.Tensor, got ndarray"),
        (torch.ones(4, 2), torch.zeros(4, 1, dtype=torch.int64), "that vary"),
    ],
)
def test_wrong_factors_are_refused(x, factors, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_factors(x, factors)

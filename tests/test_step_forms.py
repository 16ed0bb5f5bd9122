"""Steps with scores of their own: the formula, every way to ask, neighbours, gradients, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
import torch
from hop_cases import plain_distance, random_graph, tangents
from torch import Tensor

from hyperspectral_geo.hyperbolic import (
    GEOMETRIES,
    HopEmbedding,
    HopRegression,
    LinkSoftmax,
    Staircase,
    fit,
    hop_counts,
    nearest,
    routing_success,
    to_parquet,
)
from hyperspectral_geo.hyperbolic.parameters import HopParameters
from hyperspectral_geo.hyperbolic.step_forms import (
    feature_count,
    form_scores,
    quadratic_features,
    rowwise_form_scores,
)


def model_with_forms(
    n: int = 40, *, geometry="hyperbolic", targets: bool = True, size: float = 0.3, dtype: torch.dtype = torch.float64
) -> HopEmbedding:
    """A random model of three steps."""
    d, generator = 3, torch.Generator().manual_seed(n)
    a, b = torch.randn(2, n, generator=generator, dtype=torch.float64).to(dtype)
    noise = torch.randn(3, feature_count(d), feature_count(d), generator=generator, dtype=torch.float64)
    return HopEmbedding(
        tuple(f"page {i}" for i in range(n)),
        tangents(n, d, radius=2.0, dtype=dtype),
        geometry,
        1.7,
        targets=tangents(n, d, radius=2.0, seed=1, dtype=dtype) if targets else None,
        outgoing=a,
        incoming=b,
        readout=Staircase(torch.tensor([0.2, 1.0, 2.5], dtype=dtype), torch.tensor([0.5, 1.0, -0.3], dtype=dtype)),
        forms=size * noise.to(dtype),
    )


def plain_features(x: list[float], scalar: float) -> Tensor:
    products = [x[i] * x[j] for i, j in itertools.combinations_with_replacement(range(len(x)), 2)]
    return torch.tensor([*x, scalar, 1.0, *products], dtype=torch.float64)


def by_the_formula(model: HopEmbedding, u: int, v: int) -> float:
    """1 + Σ_k σ(β_k(s·d + a + b + φ_uᵀ M_k φ_v − θ_k)), plainly."""
    assert model.readout is not None
    assert model.forms is not None
    assert model.outgoing is not None
    assert model.incoming is not None
    reached = model.tangents if model.targets is None else model.targets
    left = plain_features(model.tangents[u].tolist(), float(model.outgoing[u]))
    right = plain_features(reached[v].tolist(), float(model.incoming[v]))
    metric = model.scale * plain_distance(model.tangents[u : u + 1], reached[v : v + 1], model.geometry)[0, 0]
    metric = metric + model.outgoing[u] + model.incoming[v]
    steps = zip(model.forms, model.readout.thresholds, model.readout.log_slopes, strict=True)
    return 1 + sum(float(torch.sigmoid(b.exp() * (metric + left @ form @ right - edge))) for form, edge, b in steps)


@pytest.mark.parametrize("targets", [True, False], ids=["two points", "one point"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_all_ways_to_ask_give_the_formula(geometry, targets: bool):
    model = model_with_forms(7, geometry=geometry, targets=targets)
    table = model.distances()
    for u, v in itertools.product(range(7), repeat=2):
        expected = 0.0 if u == v else by_the_formula(model, u, v)
        assert float(table[u, v]) == pytest.approx(expected, abs=1e-12)
        assert model.distance(model.names[u], model.names[v]) == pytest.approx(expected, abs=1e-12)


def test_float32_models_answer_in_float32():
    small, wide = (model_with_forms(dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert small.distances().dtype == torch.float32
    torch.testing.assert_close(small.distances().double(), wide.distances(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_forms_of_zero_change_nothing(geometry):
    plain = dataclasses.replace(model_with_forms(geometry=geometry), forms=None)
    model = model_with_forms(geometry=geometry, size=0.0)
    torch.testing.assert_close(model.distances(), plain.distances(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [0.3, 30.0], ids=["moderate", "saturated"])
@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("block", [1, 37, 1 << 20])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_neighbours_are_those_of_a_look_at_all(geometry, direction, block: int, size: float):
    model = model_with_forms(60, geometry=geometry, size=size)
    queries = torch.tensor([3, 0, 59, 3])
    distances, numbers = nearest(model, queries, 7, direction=direction, block=block)
    for row, query in enumerate(queries.tolist()):
        others = torch.tensor([i for i in range(60) if i != query])
        here = torch.full_like(others, query)
        scores = model.pair_scores(here, others) if direction == "out" else model.pair_scores(others, here)
        expected = sorted(zip(scores.tolist(), others.tolist(), strict=True))[:7]
        assert numbers[row].tolist() == [number for _, number in expected]
        assert distances[row].tolist() == pytest.approx([1 + score for score, _ in expected], abs=1e-12)


@pytest.mark.parametrize("size", [0.3, 30.0, 3e6])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_bounds_hold(geometry, size: float):
    model = model_with_forms(60, geometry=geometry, size=size)
    below = model.scoring.below(model.leaving(), model.reached())
    u, v = torch.cartesian_prod(torch.arange(60), torch.arange(60)).T
    assert bool((below.flatten() <= model.pair_scores(u, v)).all())
    torch.testing.assert_close(below.flatten(), model.pair_scores(u, v), rtol=1e-6, atol=1e-6)


def test_pairs_and_rows_have_the_same_scores():
    x, y = tangents(5, 4), tangents(5, 4, seed=1)
    left, right = quadratic_features(x, x[:, 0]), quadratic_features(y, y[:, 1])
    forms = torch.randn(2, feature_count(4), feature_count(4), generator=torch.Generator().manual_seed(0)).double()
    rows = rowwise_form_scores(left, right, forms)
    torch.testing.assert_close(form_scores(left, right, forms).diagonal(dim1=1, dim2=2), rows)


# Training


@pytest.mark.parametrize("targets", [True, False], ids=["two points", "one point"])
def test_loss_and_gradients_are_those_of_the_formula(targets: bool):
    model = model_with_forms(14, targets=targets)
    graph = random_graph(14, 30)
    hops = hop_counts(graph)
    assert model.readout is not None
    tables = {"tangents": model.tangents, "outgoing": model.outgoing, "incoming": model.incoming}
    tables |= {"targets": model.targets} if targets else {}
    shared = {"thresholds": model.readout.thresholds, "log_slopes": model.readout.log_slopes, "forms": model.forms}
    own = HopParameters("hyperbolic", tables, shared | {"log_scale": torch.tensor(0.4, dtype=torch.float64)})
    prepared = HopRegression(relative=0, links=2.0, block=14).prepare(graph)
    loss, gradients = prepared.step(own, torch.Generator().manual_seed(4))

    leaves = {name: tensor.clone().requires_grad_() for name, tensor in own.all().items()}
    left = quadratic_features(leaves["tangents"], leaves["outgoing"])
    right = quadratic_features(leaves["targets" if targets else "tangents"], leaves["incoming"])
    scores = torch.einsum("uf,kfg,vg->kuv", left, leaves["forms"], right)
    reached = leaves["targets" if targets else "tangents"]
    scores = scores + leaves["log_scale"].exp() * plain_distance(leaves["tangents"], reached, "hyperbolic")
    scores = scores + leaves["outgoing"][:, None] + leaves["incoming"]
    above = leaves["log_slopes"].exp()[:, None, None] * (scores - leaves["thresholds"][:, None, None])
    found, real, link = 1 + above.sigmoid().sum(0), hops > 0, hops == 1
    surprise = -torch.where(link, torch.log(1 - above[0].sigmoid()), torch.log(above[0].sigmoid()))
    expected = (found - hops)[real].square().mean() + 2 * surprise[real].mean()
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-10)
    assert set(gradients) == set(leaves)
    for name, (at, value) in gradients.items():
        dense = value if at is None else torch.zeros_like(own.tables[name]).index_add_(0, at, value)
        torch.testing.assert_close(dense, leaves[name].grad, rtol=1e-7, atol=1e-9)


def test_forms_learn_what_one_score_cannot():
    """At the same number of coordinates, and without held-out pairs: this is about capacity."""
    graph = random_graph(60, 240)
    models = [fit(graph, dim=3, forms=forms, steps=600, learning_rate=0.05, readout=4) for forms in (False, True)]
    hops = hop_counts(graph)
    errors = [float((model.distances() - hops)[hops > 0].square().mean()) for model in models]
    assert errors[1] < 0.8 * errors[0]


def test_a_trained_model_is_used_like_any_other(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    graph = random_graph(40, 160)
    model = fit(graph, dim=3, forms=True, steps=60)
    assert model.forms is not None
    assert routing_success(model, graph, 20).pairs > 0
    assert torch.equal(HopEmbedding.load(model.save(tmp_path / "m")).distances(), model.distances())
    found = parquet.read_table(to_parquet(model, tmp_path / "m.parquet")).schema.metadata[b"hyperspectral_geo"]
    assert json.loads(found)["forms"] == model.forms.tolist()


# Failures

PLAIN = model_with_forms(5)
assert PLAIN.forms is not None
REFUSED = {
    "no read-out": {"readout": None},
    "no scalars": {"outgoing": None},
    "no in-scalars": {"incoming": None},
    "too few forms": {"forms": PLAIN.forms[:2]},
    "forms of another dimension": {"forms": torch.zeros(3, 20, 20, dtype=torch.float64)},
    "forms of another dtype": {"forms": PLAIN.forms.float()},
    "NaN": {"forms": torch.full((3, feature_count(3), feature_count(3)), torch.nan, dtype=torch.float64)},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_parts_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match=r"^(forms|readout\.\w+): expected"):
        dataclasses.replace(PLAIN, **change)


@pytest.mark.parametrize(
    "options",
    [{"scalars": False}, {"readout": 0}, {"forms": "yes"}, {"objective": LinkSoftmax()}],
    ids=str,
)
def test_training_refuses_them_too(unchecked, options):
    with pytest.raises(ValueError, match="^forms: expected"):
        fit(random_graph(9, 20), **{"dim": 2, "steps": 2, "forms": True} | options)


def test_a_file_whose_forms_do_not_fit_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = PLAIN.save(tmp_path / "m")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    stairs = {name: tensors[name][:2].clone() for name in ("thresholds", "log_slopes")}
    for broken in ({"forms": tensors["forms"][:2].clone()}, stairs):
        save_file({**tensors, **broken}, path, metadata)
        with pytest.raises(ValueError, match="its parts do not fit each other"):
            HopEmbedding.load(path)

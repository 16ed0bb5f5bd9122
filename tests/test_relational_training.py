"""Training of relational embeddings: quality on real graphs, seeds, checkpoints, features, starts, bad input."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph, load_knowledge_graph
from hyperspectral_geo.hyperbolic import HopEmbedding
from hyperspectral_geo.hyperbolic.relational import RelationalEmbedding, fit_relations, rank_triples

KG = KnowledgeGraph.from_triples(
    [(f"e{i}", f"r{i % 2}", f"e{(3 * i + 1) % 20}") for i in range(20)], test=[("e0", "r1", "e4")]
)
SMALL = {"dim": 4, "steps": 40, "questions": 16, "negatives": 8}


def same(a: RelationalEmbedding, b: RelationalEmbedding) -> bool:
    names = ("tangents", "biases", "rotations", "reflections", "mixing", "translations")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_a_short_training_ranks_held_out_facts_of_umls(shared_data, geometry):
    shared_data("kg")
    kg = load_knowledge_graph("umls")
    model = fit_relations(kg, dim=32, geometry=geometry, steps=200, questions=256)
    found = rank_triples(model, kg)
    assert found.mrr > 0.75
    assert found.hits[10] > 0.95
    assert found.count == 2 * len(kg.test)


def test_an_untrained_model_knows_nothing(shared_data):
    """So the bar above is one of training, not of the ranking."""
    shared_data("kg")
    kg = load_knowledge_graph("umls")
    assert rank_triples(fit_relations(kg, steps=1, learning_rate=1e-9), kg).mrr < 0.15


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, second, other = (fit_relations(KG, **SMALL, seed=seed) for seed in (3, 3, 4))
    assert same(first, second)
    assert not same(first, other)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_a_run_taken_up_again_is_the_same_bit_by_bit(tmp_path, geometry):
    def stop(step: int, loss: float) -> None:
        if step == 20:
            os.kill(os.getpid(), signal.SIGINT)

    options = {**SMALL, "geometry": geometry, "checkpoint": tmp_path / "run", "every": 10}
    with pytest.raises(KeyboardInterrupt):
        fit_relations(KG, **options, progress=stop)
    steps: list[int] = []
    resumed = fit_relations(KG, **options, resume=True, progress=lambda step, loss: steps.append(step))
    assert steps == [30, 40]
    assert same(resumed, fit_relations(KG, **{**SMALL, "geometry": geometry}))


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"scale": 2.0},
        {"dim": 6},
        {"negatives": 9},
        {"dropout": 0.0},
        {"weighted": False},
        {"decay": 0.1},
        {"kg": replace(KG, train=KG.train[1:])},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changed):
    fit_relations(KG, **SMALL, checkpoint=tmp_path)
    options = {"kg": KG, **SMALL, "checkpoint": tmp_path, "resume": True, **changed}
    with pytest.raises(ValueError, match="another graph, objective or setting"):
        fit_relations(**options)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    whole = fit_relations(KG, **SMALL, checkpoint=tmp_path, every=20)
    latest = max(Path(tmp_path).glob("step-*.safetensors"))
    latest.write_bytes(latest.read_bytes()[:-9])
    assert same(fit_relations(KG, **SMALL, checkpoint=tmp_path, every=20, resume=True), whole)


def test_watch_sees_models_on_the_way():
    seen: list[tuple[int, float]] = []
    last = fit_relations(
        KG, **SMALL, every=20, watch=lambda step, model: seen.append((step, float(model.tangents.norm())))
    )
    assert [step for step, _ in seen] == [20, 40]
    assert seen[0][1] != seen[1][1] == float(last.tangents.norm())


def test_features_give_unseen_entities_a_place():
    """Twins share their features; one of them is never met in training."""
    families = [(f"dog{i}", "is a", "pet") for i in range(6)] + [(f"tree{i}", "is a", "plant") for i in range(6)]
    kg = KnowledgeGraph.from_triples(families, test=[("dog6", "is a", "pet"), ("tree6", "is a", "plant")])
    kinds = torch.tensor([[float("dog" in name), float("tree" in name)] for name in kg.entities])
    model = fit_relations(kg, dim=4, steps=300, features=kinds, dropout=0.0)
    assert model.best_tails("dog6", "is a", 1)[0].name == "pet"
    assert model.best_tails("tree6", "is a", 1)[0].name == "plant"


@pytest.mark.parametrize(
    "given",
    [lambda f: f.half(), lambda f: f.bfloat16(), lambda f: f.double(), lambda f: f.clone().requires_grad_()],
    ids=["float16", "bfloat16", "float64", "with gradient"],
)
def test_features_are_taken_as_encoders_give_them(given):
    features = torch.arange(40.0).reshape(20, 2) / 64  # the same in all of these kinds
    assert same(fit_relations(KG, **SMALL, features=given(features)), fit_relations(KG, **SMALL, features=features))


def test_training_may_start_from_a_model_of_hops():
    start = HopEmbedding(KG.entities, torch.randn(len(KG.entities), 4), "hyperbolic")
    moved = fit_relations(KG, **{**SMALL, "steps": 1}, learning_rate=1e-9, start=start)
    torch.testing.assert_close(moved.tangents, start.tangents)
    for wrong in (
        HopEmbedding(KG.entities[::-1], start.tangents, "hyperbolic"),
        HopEmbedding(KG.entities, start.tangents, "euclidean"),
        HopEmbedding(KG.entities, torch.zeros(len(KG.entities), 6), "hyperbolic"),
    ):
        with pytest.raises(ValueError, match="start: expected"):
            fit_relations(KG, **SMALL, start=wrong)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 3}, "dim: expected an even"),
        ({"dim": 0}, "dim: expected"),
        ({"dim": 4.0}, "dim: expected"),
        ({"geometry": "spherical"}, "geometry: expected"),
        ({"geometry": None}, "geometry: expected"),
        ({"scale": 0}, "scale: expected"),
        ({"scale": float("inf")}, "scale: expected"),
        ({"learning_rate": -1.0}, "learning_rate: expected"),
        ({"learning_rate": True}, "learning_rate: expected"),
        ({"dropout": 1.0}, "dropout: expected"),
        ({"decay": -1.0}, "decay: expected"),
        ({"decay": float("nan")}, "decay: expected"),
        ({"dropout": float("nan")}, "dropout: expected"),
        ({"steps": 0}, "steps: expected"),
        ({"questions": 2.5}, "questions: expected"),
        ({"negatives": 0}, "negatives: expected"),
        ({"seed": -1}, "seed: expected"),
        ({"every": 0}, "every: expected"),
        ({"threads": 0}, "threads: expected"),
        ({"features": torch.zeros(19, 2)}, "features: expected floats of shape"),
        ({"features": torch.zeros(20, 2, dtype=torch.int64)}, "features: expected floats"),
        ({"features": torch.full((20, 2), torch.nan)}, "features: expected finite"),
        ({"features": [[1.0]] * 20}, "features: expected floats"),
        ({"features": torch.zeros(20, 0)}, "features: expected floats of shape"),
        ({"features": torch.zeros(20)}, "features: expected floats of shape"),
        ({"features": torch.full((20, 2), 1e300, dtype=torch.float64)}, "features: expected finite"),
        ({"kg": replace(KG, train=KG.train[:0])}, "kg: expected at least one triple"),
    ],
)
def test_arguments_out_of_range_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        fit_relations(**{"kg": KG, **SMALL, **options})


def test_a_run_that_leaves_the_numbers_stops_with_a_reason():
    with pytest.raises(FloatingPointError, match="learning_rate"):
        fit_relations(KG, **SMALL, learning_rate=1e30)

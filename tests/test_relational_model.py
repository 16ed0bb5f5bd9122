"""Relational embeddings: scores, filtered ranks beside a brute-force reference, files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph
from hyperspectral_geo.hyperbolic import neighbors
from hyperspectral_geo.hyperbolic.relational import (
    RelationalEmbedding,
    TripleScores,
    rank_triples,
    triple_ranks,
)
from hyperspectral_geo.hyperbolic.relational.tail_lists import TailLists

GEOMETRIES = ("hyperbolic", "euclidean")


def graph(seed: int = 0, entities: int = 9, count: int = 30) -> KnowledgeGraph:
    """Random triples; the first of them name all entities and relations in order."""
    draw = np.random.default_rng(seed)
    triples = [(f"e{i}", "r0", f"e{(i + 1) % entities}") for i in range(entities)] + [("e0", "r1", "e1")]
    rows = [(f"e{h}", f"r{r}", f"e{t}") for h, r, t in draw.integers([entities, 2, entities], size=(count, 3))]
    return KnowledgeGraph.from_triples(triples + rows[:10], rows[10:20], rows[20:])


def model_of(kg: KnowledgeGraph, geometry: str = "hyperbolic", *, spread: float = 1.0) -> RelationalEmbedding:
    n, ways = len(kg.entities), 2 * len(kg.relations)
    return RelationalEmbedding(
        kg.entities,
        kg.relations,
        torch.randn(n, 4) * spread,
        torch.randn(n) * spread,
        *(torch.randn(ways, 2) for _ in range(3)),
        torch.randn(ways, 4) * spread,
        geometry=geometry,  # pyright: ignore[reportArgumentType]
        scale=0.7,
    )


def reference_rank(scores: np.ndarray, true: int, others: set[int]) -> float:
    """Mean of the best and the worst place that ties allow, among what is not filtered out."""
    rivals = [s for i, s in enumerate(scores) if i not in others and i != true]
    better, same = (sum(test(s) for s in rivals) for test in (lambda s: s > scores[true], lambda s: s == scores[true]))
    return ((better + 1) + (better + same + 1)) / 2


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("spread", [1.0, 0.0], ids=["distinct", "all tied"])
def test_filtered_ranks_are_those_of_the_reference(geometry, spread):
    kg = graph()
    model = model_of(kg, geometry, spread=spread)
    known = {tuple(t) for t in torch.cat([kg.train, kg.valid, kg.test]).tolist()}
    found = triple_ranks(model, kg, kg.test)
    for (h, r, t), (tail_rank, head_rank) in zip(kg.test.tolist(), found.tolist(), strict=True):
        for rank, asked, true, others in (
            (tail_rank, (h, r), t, {x for x in range(9) if (h, r, x) in known}),
            (head_rank, (t, r + 2), h, {x for x in range(9) if (x, r, t) in known}),
        ):
            scores = model.tail_scores(torch.tensor([asked[0]]), torch.tensor([asked[1]]))[0].numpy()
            assert rank == reference_rank(scores, true, others)


def test_metrics_are_those_of_the_ranks():
    scores = TripleScores.of(torch.tensor([1.0, 2.0, 4.0, 20.5], dtype=torch.float64))
    assert scores.mrr == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 20.5) / 4)
    assert scores.hits == {1: 0.25, 3: 0.5, 10: 0.75}
    assert (scores.mean_rank, scores.count) == (6.875, 4)


@given(st.integers(0, 50))
def test_lists_of_tails_hold_what_the_triples_say(seed):
    kg = graph(seed)
    lists = TailLists(kg, kg.train, kg.test)
    triples = {tuple(t) for t in torch.cat([kg.train, kg.test]).tolist()}
    asked = torch.tensor([(h, r) for h in range(9) for r in range(4)])
    rows, tails = lists.of(asked[:, 0], asked[:, 1])
    found = {(*asked[row].tolist(), tail) for row, tail in zip(rows.tolist(), tails.tolist(), strict=True)}
    assert found == triples | {(t, r + 2, h) for h, r, t in triples}
    assert bool((rows.diff() >= 0).all())


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_scores_by_name_by_number_and_in_tables_agree(geometry):
    kg = graph()
    model = model_of(kg, geometry)
    table = model.tail_scores(torch.tensor([3]), torch.tensor([1]))[0]
    assert model.score("e3", "r1", "e5") == pytest.approx(float(table[5]), rel=1e-6)
    assert model.score(3, 1, 5) == model.score("e3", "r1", "e5")
    best = model.best_tails("e3", "r1", 3)
    assert [f.name for f in best] == [f"e{i}" for i in table.argsort(descending=True)[:3].tolist()]
    assert best[0].score == pytest.approx(float(table.max()))
    heads = model.tail_scores(torch.tensor([5]), torch.tensor([3]))[0]
    assert model.best_heads("r1", "e5", 1)[0].name == f"e{int(heads.argmax())}"
    assert len(model.best_tails(0, 0, 1000)) == 9


def test_the_entities_alone_are_a_model_of_distances():
    model = model_of(graph())
    hops = model.hop_embedding()
    assert hops.tangents is model.tangents
    assert len(neighbors(hops, "e0", 3)) == 3


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_files_give_back_the_same_bits(tmp_path, geometry):
    model = model_of(graph(), geometry)
    model = replace(model, entities=("é\n", *model.entities[1:]))
    found = RelationalEmbedding.load(model.save(tmp_path / "m.safetensors"))
    assert (found.entities, found.relations) == (model.entities, model.relations)
    assert (found.geometry, found.scale) == (geometry, 0.7)
    for name in ("tangents", "biases", "rotations", "reflections", "mixing", "translations"):
        assert torch.equal(getattr(found, name), getattr(model, name))


def _cut(content: dict, record: dict) -> None:
    del content["mixing"]


def _nan(content: dict, record: dict) -> None:
    content["biases"][3] = torch.nan


def _short(content: dict, record: dict) -> None:
    content["tangents"] = content["tangents"][:-1].clone()


def _more(content: dict, record: dict) -> None:
    content["more"] = torch.zeros(1)


def _kind(content: dict, record: dict) -> None:
    content["mixing"] = content["mixing"].double()


def _ends(content: dict, record: dict) -> None:
    content["entities_ends"] = content["entities_ends"].flip(0)


def _set(**values):
    def change(content: dict, record: dict) -> None:
        record.update(values)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut, "expected tensors"),
        (_more, "expected tensors"),
        (_nan, "biases: expected finite"),
        (_short, "tangents: expected"),
        (_kind, "mixing: expected"),
        (_ends, "name_ends"),
        (_set(format="hop embedding 1"), "expected a saved relational embedding"),
        (_set(geometry="spherical"), "geometry"),
        (_set(geometry=["hyperbolic"]), "geometry"),
        (_set(scale=-1.0), "scale"),
        (_set(scale=True), "scale"),
        (_set(scale="1"), "scale"),
    ],
)
def test_files_whose_parts_do_not_fit_are_refused(tmp_path, unchecked, change, said):
    path = model_of(graph()).save(tmp_path / "m.safetensors")
    content = load_file(path)
    record = {"format": "relational embedding 1", "geometry": "hyperbolic", "scale": 0.7}
    change(content, record)
    save_file(content, path, metadata={"hyperspectral_geo": json.dumps(record)})
    with pytest.raises(ValueError, match=said) as caught:
        RelationalEmbedding.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 400, -1])
def test_files_cut_short_are_refused(tmp_path, kept):
    path = model_of(graph()).save(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"m\.safetensors"):
        RelationalEmbedding.load(path)


def test_pickles_and_missing_files_are_refused(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match="pickle"):
        RelationalEmbedding.load(tmp_path / "m.pt")
    with pytest.raises(FileNotFoundError, match="hsgeo kg train"):
        RelationalEmbedding.load(tmp_path / "none.safetensors")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"geometry": "product"}, "geometry: expected"),
        ({"scale": 0.0}, "scale: expected"),
        ({"scale": float("nan")}, "scale: expected"),
        ({"tangents": torch.zeros(9, 3)}, "d even"),
        ({"tangents": torch.zeros(8, 4)}, "tangents: expected"),
        ({"tangents": torch.zeros(9, 4, dtype=torch.int64)}, "float32 or float64"),
        ({"tangents": torch.zeros(36)}, "tangents: expected"),
        ({"mixing": torch.zeros(2, 2)}, "mixing: expected"),
        ({"translations": torch.zeros(4, 2)}, "translations: expected"),
        ({"rotations": torch.full((4, 2), torch.inf)}, "rotations: expected finite"),
        ({"entities": ("e",) * 9}, "different names"),
        ({"relations": ("r", "r")}, "different names"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        replace(model_of(graph()), **changed)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda m: m.score("e33", "r0", "e1"), "head: 'e33' is not one of the 9 names; similar: e3"),
        (lambda m: m.score("e3", "r9", "e1"), "relation: 'r9'"),
        (lambda m: m.score("e3", "r0", 9), "tail: expected a name or a number below 9, got 9"),
        (lambda m: m.score(-1, "r0", 1), "head: expected a name or a number"),
        (lambda m: m.score(True, "r0", 1), "head: expected a name or a number"),
        (lambda m: m.score(None, "r0", 1), "head: expected a name or a number"),
        (lambda m: m.best_tails("e1", "r0", 0), "count: expected"),
        (lambda m: m.best_tails("e1", "r0", 2.5), "count: expected"),
        (lambda m: m.best_heads("r0", ""), "tail: ''"),
    ],
)
def test_unknown_names_and_numbers_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        asked(model_of(graph()))


def test_ranks_of_another_graph_or_of_nothing_are_refused():
    kg = graph()
    model = model_of(kg)
    for other, said in (
        ({"entities": kg.entities[::-1]}, "its 9 entities in their order, got 9, of which number 0 is 'e0', not 'e8'"),
        ({"entities": (*kg.entities, "new")}, "its 10 entities in their order, got 9, of which number 9 is None, not"),
        ({"relations": ("r0", "r2")}, "its 2 relations in their order, got 2, of which number 1 is 'r1', not 'r2'"),
    ):
        with pytest.raises(ValueError, match=f"this knowledge graph, with {said}"):
            rank_triples(model, replace(kg, **other))
    with pytest.raises(ValueError, match="at least one"):
        rank_triples(model, replace(kg, test=kg.test[:0]))
    for wrong in ([[0, 0, 9]], [[0, 2, 0]], [[-1, 0, 0]]):
        with pytest.raises(ValueError, match="triples: expected numbers"):
            rank_triples(model, kg, torch.tensor(wrong))

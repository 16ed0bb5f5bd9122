"""Provenance: there and back with the model, old files without it, and records that nobody wrote refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph
from hyperspectral_geo.hyperbolic.provenance import Provenance

HASH = "0123456789abcdef" * 4
GRAPH = HopGraph.from_edges([("a", "b"), ("b", "a")])
GOOD = {
    "graph": HASH,
    "directed": True,
    "objective": "hops",
    "weighted": True,
    "weights": "probability",
    "certain": 0.999,
    "hold_out": 0.1,
    "seed": 3,
}


def saved(folder: Path, provenance: Provenance | None = None) -> Path:
    return HopEmbedding(GRAPH.names, torch.ones(2, 2), provenance=provenance).save(folder / "m")


def changed(path: Path, provenance: object) -> Path:
    """The same file with something else as provenance in its record."""
    with safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["hyperspectral_geo"])
    text = json.dumps({**record, "provenance": provenance})
    save_file(load_file(path), path, metadata={"hyperspectral_geo": text})
    return path


@given(
    st.builds(
        Provenance,
        graph=st.just(HASH),
        directed=st.booleans(),
        objective=st.sampled_from(["hops", "links", "tree"]),
        weighted=st.booleans(),
        weights=st.sampled_from([None, "length", "probability", "ignore"]),
        certain=st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
        hold_out=st.floats(0, 1, exclude_max=True),
        seed=st.integers(0, 2**63 - 1),
    )
)
def test_the_record_is_json_there_and_back(made: Provenance):
    assert Provenance.from_record(json.loads(json.dumps(made.as_record()))) == made


@pytest.mark.parametrize("made", [None, Provenance(**GOOD), Provenance.of(GRAPH, "tree")], ids=["none", "all", "of"])
def test_a_model_keeps_it(tmp_path: Path, made: Provenance | None):
    path = saved(tmp_path, made)
    assert HopEmbedding.load(path).provenance == made
    assert HopEmbedding.load(path).save(tmp_path / "again").read_bytes() == path.read_bytes()


def test_it_is_of_its_graph_alone():
    made = Provenance.of(GRAPH, "links", seed=2)
    assert (made.directed, made.weighted, made.seed) == (True, False, 2)
    assert made.is_of(GRAPH)
    assert not made.is_of(HopGraph.from_edges([("a", "b")]))


BAD = {
    "graph": ["", "0" * 63, HASH.upper(), HASH + "\n", 7, None],
    "directed": [1, None, "true"],
    "objective": ["distances", None, ["hops"], {}],
    "weighted": [0, "no"],
    "weights": ["none", 1, [], {}],
    "certain": [0, 1, 1.5, -0.1, True, "0.9", float("nan")],
    "hold_out": [1, -0.1, True, None, "0.1", float("nan"), 10**400],
    "seed": [-1, 2**63, 1.0, True, None, "0"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_are_refused_by_name(tmp_path: Path, unchecked, name: str, value: object):
    with pytest.raises(ValueError, match=f"^provenance: expected as {name} ") as caught:
        Provenance(**{**GOOD, name: value})
    assert len(str(caught.value)) < 200
    path = changed(saved(tmp_path, Provenance(**GOOD)), {**GOOD, name: value})
    with pytest.raises(ValueError, match=f"^{path}: "):
        HopEmbedding.load(path)


@pytest.mark.parametrize(
    "record",
    [None, 1, "hops", [], [GOOD], {}, {**GOOD, "surprise": 1}, {k: v for k, v in GOOD.items() if k != "seed"}],
    ids=["null", "number", "text", "list", "list of one", "empty", "a field more", "a field less"],
)
def test_a_record_of_another_form_is_refused(tmp_path: Path, unchecked, record: object):
    path = changed(saved(tmp_path, Provenance(**GOOD)), record)
    with pytest.raises(ValueError, match=f"^{path}: .*provenance: expected certain, "):
        HopEmbedding.load(path)


def test_it_does_not_change_a_distance():
    model = HopEmbedding(GRAPH.names, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    kept = dataclasses.replace(model, provenance=Provenance(**GOOD))
    assert torch.equal(model.distances(), kept.distances())

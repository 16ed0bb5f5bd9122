"""Benches of a joint space at work, of concepts, and of models picked with and without labels: quick, on real emoji."""

from __future__ import annotations

import pytest
import torch
from rich.progress import Progress

from hyperspectral_geo.benchmarks import emoji_layers, fusion_concepts, fusion_select_unlabelled, fusion_use
from hyperspectral_geo.benchmarks.fusion_splits import emoji

pytestmark = pytest.mark.usefixtures("one_thread_each")


@pytest.fixture
def one_thread_each():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def invented_names(monkeypatch):
    """Names of subcategories without a sentence encoder: the mean caption of their members."""
    data = emoji(grouped=True)
    assert data.groups is not None
    members = {one: [i for i, group in enumerate(data.groups) if group == one] for one in set(data.groups)}
    names = {one: data.y[rows].mean(0, keepdim=True) for one, rows in members.items()}
    monkeypatch.setattr(fusion_use, "group_names", lambda: names)
    return names


def test_unseen_classes_are_named_better_than_by_the_most_frequent(invented_names):
    pytest.importorskip("cca_zoo")
    found = fusion_use.named(0, most=60)
    assert set(found) == {"ours", "rCCA", "CSA", "KCCA", "Procrustes", "ASIF", "the most frequent"}
    assert found["ours"] > 0.1
    assert all(0 <= value <= 1 for value in found.values())


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0)])
def test_features_of_the_other_view_are_near_the_true_ones(source, target):
    pytest.importorskip("sklearn")
    found = fusion_use.converted(0, source, target, pairs=60)
    assert set(found) == {"ours", "ridge regression", "mean of the ten nearest"}
    assert found["ours"] > 3 * 10 / 400


@pytest.mark.parametrize("view", [0, 1])
def test_flags_are_new_to_a_space_that_has_seen_none(view):
    pytest.importorskip("sklearn")
    found = fusion_use.told_apart("Flags", view, pairs=60)
    assert set(found) == {"ours", "outside 95 % PCA", "mean distance of the ten nearest"}
    assert found["ours"] > 0.55


def test_without_the_encoder_classes_are_not_named_and_the_table_says_so(monkeypatch):
    def missing():
        raise ImportError("no encoder")

    pytest.importorskip("cca_zoo")
    monkeypatch.setattr(fusion_use, "group_names", missing)
    monkeypatch.setattr(fusion_use, "converted", lambda *_args, **_options: {"ours": 0.5, "other": 0.4})
    monkeypatch.setattr(fusion_use, "told_apart", lambda *_args, **_options: {"ours": 0.5, "other": 0.6})
    with Progress(disable=True) as progress:
        table = fusion_use.run(quick=True, progress=progress)
    assert any("not measured: no encoder" in note for note in table.notes)
    rows = {row.figure: row for row in table.rows}
    assert len(rows) == 8
    assert rows["features of a caption from the picture: R@10, above other"].value == pytest.approx(0.1)
    assert all(row.bar is None for row in table.rows)


def test_models_are_picked_by_names_and_by_concepts(invented_names):
    data = emoji(grouped=True)
    by_names = fusion_select_unlabelled.by_names(data, invented_names, 5, pairs=60)
    assert list(by_names)[:2] == ["picked", "its first 8"]
    assert by_names["picked"] > 10
    for whitened in (False, True):
        by_concepts = fusion_select_unlabelled.by_concepts(data, 5, whitened=whitened)
        assert by_concepts["with labels"] + 7 > by_concepts["picked"] > by_concepts["its first 8"] > 10


def test_names_are_encoded_once(monkeypatch, tmp_path):
    class Encoder:
        calls = 0

        @classmethod
        def load(cls):
            return cls()

        def encode(self, texts):
            Encoder.calls += 1
            assert "food fruit" in texts
            return torch.arange(384.0 * len(texts)).view(len(texts), 384) / 1e3

    monkeypatch.setattr(emoji_layers, "SentenceEncoder", Encoder)
    first = emoji_layers.group_names(folder=tmp_path)
    assert emoji_layers.group_names(folder=tmp_path).keys() == first.keys()
    assert Encoder.calls == 1
    assert first["food-fruit"].shape == (1, 384)


def test_a_quick_run_of_concepts(shared_data):
    pytest.importorskip("sklearn")
    shared_data("mnist")
    with Progress(disable=True) as progress:
        table = fusion_concepts.run(quick=True, progress=progress)
    values = {row.figure: row.value for row in table.rows}
    assert values["digits: accuracy, concepts learned apart"] > 80
    assert values["digits: probabilities that differ, last class added later against all at once"] == 0

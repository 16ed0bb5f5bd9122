"""Benches of fusion: their features, classifiers, pictures and bars, and one quick run of each."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from fusion_bench_cases import pairs
from rich.progress import Progress

from hyperspectral_geo.benchmarks import emoji_layers, fusion_retrieval, fusion_speed, fusion_wiki
from hyperspectral_geo.benchmarks.fusion_splits import PairedSet, random_split
from hyperspectral_geo.benchmarks.student_interval import student_interval
from hyperspectral_geo.fusion.alignment import rcca
from hyperspectral_geo.plotting.fusion_retrieval import retrieval_curves

# layers, wiki, picture


class _Small(torch.nn.Module):
    """A network with the parts that features are taken from."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks = torch.nn.ModuleList(torch.nn.Conv2d(3, 3, 1) for _ in range(16))
        self._fc = torch.nn.Linear(3, 2)

    def extract_features(self, x):
        for block in self._blocks:
            x = block(x)
        return x


def test_layers_are_averages_and_maxima_of_maps():
    network, images = _Small().eval(), torch.randn(2, 3, 4, 4)
    found = emoji_layers.pooled_layers(network, images)
    assert list(found) == ["block 7", "block 10", "block 14", "block 15", "maximum", "logits"]
    last = network.extract_features(images)
    assert torch.allclose(found["block 15"], torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1))
    assert torch.allclose(found["maximum"], last.amax((2, 3)))
    assert torch.allclose(found["logits"], network._fc(last.mean((2, 3))))
    assert not network._blocks[7]._forward_hooks


def test_features_are_computed_once(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"one": torch.arange(6.0).reshape(3, 2)}

    for _ in range(2):
        found = emoji_layers._kept("image", tmp_path, make)
        assert torch.equal(found["one"], torch.arange(6.0).reshape(3, 2))
    assert calls == [1]
    with np.load(next(tmp_path.rglob("image.npz")), allow_pickle=False) as archive:
        assert archive["one"].dtype == np.float16


def test_logistic_regression_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = torch.randn(90, 4, dtype=torch.float64)
    labels = (x[:, :3] + 0.5 * torch.randn(90, 3, dtype=torch.float64)).argmax(1)
    weights = fusion_wiki._logistic(x, labels, 3, 0.01)
    reference = linear_model.LogisticRegression(C=1 / (90 * 0.01), tol=1e-10, max_iter=5000).fit(
        x.numpy(), labels.numpy()
    )
    expected = reference.predict_proba(x.numpy())
    assert np.allclose((fusion_wiki._with_one(x) @ weights).softmax(1).numpy(), expected, atol=2e-3)


def test_the_picture_has_a_panel_for_each_set_and_refuses_other_shapes():
    curves = {"ours": [[1, 2], [2, 3]], "$rCCA$": [[1, 1], [1, 2]]}
    figure = retrieval_curves(
        {"a": ([50, 100], curves), "b": ([50, 100], curves), "c": ([50, 100], curves)}, chance=0.25
    )
    assert len(figure.axes) == 3
    figure.savefig(io.BytesIO())
    with pytest.raises(ValueError, match="panels: expected at least one"):
        retrieval_curves({})
    with pytest.raises(ValueError, match="expected shape"):
        retrieval_curves({"a": ([50], curves)})


# benches


def test_bars_are_those_of_the_issue():
    bars = [contest.bars for contest in fusion_retrieval._CONTESTS]
    assert bars == [
        {1: (5.0, 7.9, 13.0, 18.6, 23.0)},
        {1: (3.7, 6.5, 10.9, 13.8, 20.9, 26.7)},
        {1: (1.4, 1.7, 2.8, 2.8, 3.0, 3.3), 10: (9.2, 10.2, 13.6, 15.6, 17.9, 18.5)},
        {1: (5.6, 8.9, 14.4, 18.8, 26.7)},
    ]
    assert all(len(bar) == len(one.sizes) for one in fusion_retrieval._CONTESTS for bar in one.bars.values())
    assert fusion_wiki._BARS == (0.27, 0.22)


def test_an_interval_is_that_of_scipy():
    from scipy.stats import ttest_1samp

    values = [0.3, -1.0, 2.0, 0.7, 1.1]
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    assert student_interval(values) == pytest.approx((low, high))
    assert student_interval(values[:1]) is None


def test_a_quick_run_of_retrieval(monkeypatch):
    pytest.importorskip("cca_zoo")
    x, y = pairs(140)
    small = PairedSet("small", x.float(), y.float())
    monkeypatch.setattr(PairedSet, "split", lambda self, seed: random_split(140, test=40, seed=seed))
    contest = fusion_retrieval._Contest(lambda: small, (20, 40, 80), {1: (5.0, 10.0, 20.0)})
    monkeypatch.setattr(fusion_retrieval, "_CONTESTS", (contest,))
    with Progress(disable=True) as progress:
        table = fusion_retrieval.run(quick=True, progress=progress)
    assert [row.figure for row in table.rows] == [
        f"small, {size} pairs: {what}" for size in (20, 40) for what in ("R@1", "R@10", "R@1 above rCCA, upper end")
    ]
    values = {row.figure: row.value for row in table.rows}
    assert values["small, 40 pairs: R@1"] > 3 * 100 / 40
    assert all(row.bar is None for row in table.rows)
    assert set(table.pictures) == {"pairs"}


def test_a_quick_run_of_wiki(shared_data):
    pytest.importorskip("cca_zoo")
    shared_data("wiki_xmodal")
    with Progress(disable=True) as progress:
        table = fusion_wiki.run(quick=True, progress=progress)
    values = {row.figure: row.value for row in table.rows}
    assert len(values) == 4 * 9
    assert 0.15 < values["image → text: ours"] < 0.4
    assert values["image → text: ours, class probabilities"] > values["image → text: CCA(7)"] - 0.02


def test_a_quick_run_of_speed():
    with Progress(disable=True) as progress:
        table = fusion_speed.run(quick=True, progress=progress)
    values = {row.figure: row.value for row in table.rows}
    assert values["linear, 600 pairs"] > 0
    assert 0 <= values["linear, 600 pairs: peak memory above the pairs"] < 1
    assert "rCCA: CPU time of 600 pairs over that of 300" in values


def test_pairs_of_the_speed_bench_share_directions():
    x, y = fusion_speed.made_pairs(2000, (30, 20))
    assert x.dtype == torch.float32
    assert torch.equal(x, fusion_speed.made_pairs(2000, (30, 20))[0])
    found = rcca(x, y).correlations
    assert found[0] > 0.9 > found[-1]

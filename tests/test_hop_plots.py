"""The picture of hop counts against distances: what it draws, counts and says, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from sklearn.metrics import r2_score

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, hop_counts
from hyperspectral_geo.plotting import hop_scatter, png_bytes, poincare_disk


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def table(count: int = 120, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hops = rng.integers(1, 5, (count, count))
    np.fill_diagonal(hops, 0)
    hops[0, 1:4] = -1
    return hops + rng.normal(size=hops.shape) * 0.4, hops


def test_each_count_has_a_violin_a_median_and_a_number():
    predicted, hops = table()
    figure = hop_scatter(predicted, hops)
    axes = figure.axes[0]
    shapes = [np.concatenate([path.vertices for path in c.get_paths()]) for c in axes.collections]
    assert len(shapes) == 4
    for hop, shape in zip((1, 2, 3, 4), shapes, strict=True):
        chosen = predicted[hops == hop]
        assert shape[:, 0].mean() == pytest.approx(hop, abs=0.05)
        assert np.abs(shape[:, 0] - hop).max() <= 0.42 + 1e-9
        # the widest place is where most predictions are, and the ends are near the least and the greatest
        assert shape[np.argmax(shape[:, 0]), 1] == pytest.approx(np.median(chosen), abs=0.3)
        assert chosen.min() - 0.2 < shape[:, 1].min() < shape[:, 1].max() < chosen.max() + 0.2
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert medians == [pytest.approx(np.median(predicted[hops == hop])) for hop in (1, 2, 3, 4)]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    numbers = [float(text.removesuffix("k")) * 1000 for text in texts(figure)[:4]]
    assert numbers == pytest.approx([(hops == hop).sum() for hop in (1, 2, 3, 4)], rel=0.005)


def test_the_corner_says_r2_and_distortion():
    predicted, hops = table()
    drawn = hops >= 1
    corner = texts(hop_scatter(predicted, hops))[-1]
    r2 = r2_score(hops[drawn], predicted[drawn])
    distortion = np.abs(predicted[drawn] / hops[drawn] - 1).mean()
    assert corner == f"R² = {r2:.3f}\naverage distortion {distortion:.3f}"


def test_only_the_chosen_pairs_are_drawn():
    predicted, hops = table()
    where = np.random.default_rng(1).random(hops.shape) < 0.2
    chosen = hop_scatter(predicted[where], hops[where])
    assert texts(hop_scatter(predicted, hops, where=where)) == texts(chosen)
    assert texts(chosen) != texts(hop_scatter(predicted, hops))


def test_few_pairs_are_dots():
    figure = hop_scatter([1.1, 0.9, 2.2], [1, 1, 2])
    assert len(figure.axes[0].collections) == 0
    assert any(list(line.get_ydata()) == [1.1, 0.9] for line in figure.axes[0].lines)
    assert "R²" in texts(figure)[-1]
    assert "undefined" in texts(hop_scatter([1.1], [1]))[-1]


def test_a_model_is_asked_for_its_distances():
    ring = HopGraph.from_edges([(i, (i + 1) % 12) for i in range(12)], directed=False)
    turn = torch.arange(12) * torch.pi / 6
    model = HopEmbedding(ring.names, torch.stack([turn.cos(), turn.sin()], 1), "euclidean", 3.0)
    hops = hop_counts(ring)
    assert texts(hop_scatter(model, hops)) == texts(hop_scatter(model.distances(), hops))


@pytest.mark.parametrize("count", [1, 2, 12, 40])
def test_any_number_of_counts_makes_a_picture(count: int):
    hops = np.repeat(np.arange(1, count + 1), 50)
    figure = hop_scatter(hops + np.random.default_rng(0).normal(size=hops.shape), hops, title="$x$ \\frac")
    assert png_bytes(figure, dpi=40).startswith(b"\x89PNG")
    assert figure.axes[0].get_title() == "$x$ \\frac"


def test_it_draws_in_given_axes():
    figure = Figure()
    axes = figure.add_subplot(1, 2, 2)
    assert hop_scatter([1.0, 2.0], [1, 2], ax=axes) is figure
    assert len(axes.lines) > 0


def test_equal_predictions_are_drawn():
    assert png_bytes(hop_scatter(np.full(100, 2.0), np.repeat([1, 2], 50)), dpi=40)
    assert png_bytes(hop_scatter(np.full(100, 2.0), np.full(100, 2)), dpi=40)


BAD = {
    "other shapes": (([1.0, 2.0], [1, 2, 3]), {}, r"predicted: expected shape \(3,\) like hops, got \(2,\)"),
    "no pair": (([1.0, 2.0], [0, -1]), {}, "hops: expected pairs with a hop count of at least 1, got none"),
    "none chosen": (([1.0], [1]), {"where": np.array([False])}, "hops: expected pairs"),
    "numbers to choose": (([1.0], [1]), {"where": [1]}, r"where: expected booleans of shape \(1,\), got int64"),
    "a wrong choice": (([1.0], [1]), {"where": [True, False]}, r"where: expected booleans of shape \(1,\)"),
    "half hops": (([1.0], [1.5]), {}, "hops: expected whole numbers, got 1.5"),
    "too many counts": ((np.arange(1.0, 50), np.arange(1, 50)), {}, "at most 40 different counts, got 49"),
    "NaN": (([np.nan], [1]), {}, "predicted: expected finite numbers, got nan"),
    "words": ((["far"], [1]), {}, "predicted: expected real numbers"),
}


@pytest.mark.parametrize(("arguments", "options", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_drawn_is_refused(arguments, options, said: str, unchecked):
    with pytest.raises(ValueError, match=said):
        hop_scatter(*arguments, **options)


def test_the_disk_takes_a_model_of_two_dimensions():
    tree = HopGraph.from_edges([(f"n{i}", f"n{(i - 1) // 2}") for i in range(1, 31)])
    tangents = torch.randn(31, 2, dtype=torch.float64)
    model = HopEmbedding(tree.names, tangents * 2)
    figure = poincare_disk(model.poincare(), labels=model.names, edges=tree.edges, highlight=["n0", "n1"])
    assert {text.get_text() for text in figure.axes[0].texts} == {"n0", "n1"}
    arcs = next(c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    ends = np.array([[path.vertices[0], path.vertices[-1]] for path in arcs.get_paths()])
    np.testing.assert_allclose(ends, model.poincare().numpy()[tree.edges.numpy()])

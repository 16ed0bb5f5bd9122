"""Clicks of walks, ranks and logits by other libraries, splits by player, and the bench's parts on small data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from hyperspectral_geo.benchmarks.click_contest import interval
from hyperspectral_geo.benchmarks.click_logit import ClickLogit
from hyperspectral_geo.benchmarks.walk_clicks import Clicks, judged, nearer_by_clicks, walk_clicks, walk_players
from hyperspectral_geo.data import Walk, load_walks, load_wikispeedia
from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.plotting.feedback import feedback_curve

EDGES = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "a")]
GRAPH = HopGraph.from_edges(EDGES)


def walk(path: str, target: str) -> Walk:
    return Walk(9, tuple(path.split()), target, "restart")


CASES = {
    "forth": ("a b c", "d", [("a", "b"), ("b", "c")], {}),
    "back": ("a b < c", "d", [("a", "b"), ("a", "c")], {}),
    "back twice": ("a b c < < d", "b", [("a", "b")][:0] + [("b", "c"), ("a", "d")], {"clicks on the target": 1}),
    "back beyond the start": ("a < < c", "d", [("a", "c")], {}),
    "target that is no page": ("a b c", "Microsoft", [], {"clicks of walks to no page of the graph": 2}),
    "a page that is none": ("a x b", "d", [], {"clicks from or to other pages": 2}),
    "no link": ("b d", "c", [], {"clicks that are no link": 1}),
    "no choice": ("d a", "b", [], {"clicks without a choice": 1}),
    "one page": ("a", "b", [], {}),
}


@pytest.mark.parametrize(("path", "target", "clicks", "left"), CASES.values(), ids=CASES)
def test_clicks_of_a_walk(path: str, target: str, clicks: list[tuple[str, str]], left: dict[str, int]):
    found = walk_clicks([walk(path, target)], GRAPH)
    names = GRAPH.names
    made = [(names[a], names[b]) for a, b in zip(found.here.tolist(), found.choice.tolist(), strict=True)]
    assert made == clicks
    assert dict(found.left_out) == left
    assert all(names[t] == target for t in found.target.tolist())


WALKS = [walk("a b c d", "b"), walk("a c a d", "b"), walk("b c", "d"), walk("c a c", "d"), walk("a b < d", "c")] * 3
CLICKS = walk_clicks(WALKS, GRAPH, players=["ann", "bob", "cy", "dan", "ann"] * 3)


@given(st.lists(st.integers(0, 2), min_size=len(CLICKS.links[0]), max_size=len(CLICKS.links[0])))
def test_ranks_and_surprises_are_those_of_scipy(scores: list[int]):
    found = judged(CLICKS, torch.tensor(scores).double())
    click, link, _ = CLICKS.links
    for i in range(len(CLICKS)):
        own = np.array(scores)[(click == i).numpy()]
        links = link[click == i].tolist()
        assert sorted(links) == sorted(b for a, b in GRAPH.edges.tolist() if a == CLICKS.here[i])
        at = links.index(int(CLICKS.choice[i]))
        assert float(found.reciprocal[i]) == pytest.approx(1 / rankdata(-own)[at])
        assert float(found.surprise[i]) == pytest.approx(-own[at] + math.log(np.exp(own).sum()))


def test_a_logit_finds_the_likeliest_weight():
    table = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = {"d": lambda link, target: table[link, target]}
    found = ClickLogit.fit(features, CLICKS)
    click, link, _ = CLICKS.links
    values = table[link, CLICKS.target[click]]
    best = minimize_scalar(lambda w: float(judged(CLICKS, w * values).surprise.mean()), bounds=(-50, 50))
    assert float(found.weights[0]) == pytest.approx(best.x, abs=1e-2)
    assert float(found.judged(CLICKS).surprise.mean()) == pytest.approx(best.fun, rel=1e-6)
    plain = ClickLogit.fit({}, CLICKS).judged(CLICKS)
    counts = click.bincount().double()
    torch.testing.assert_close(plain.surprise, counts.log())
    torch.testing.assert_close(plain.reciprocal, 2 / (counts + 1))


def test_no_player_is_in_both_parts_and_every_click_in_one_fold():
    folds = [CLICKS.split(0.5, seed=1, number=number) for number in range(2)]
    for train, test in folds:
        assert not set(train.player.tolist()) & set(test.player.tolist())
        assert len(train) + len(test) == len(CLICKS)
    assert sum(len(test) for _, test in folds) == len(CLICKS)


def test_what_clicks_say_is_true_of_them():
    said = nearer_by_clicks(CLICKS, each=3, seed=0)
    assert said == nearer_by_clicks(CLICKS, each=3, seed=0)
    assert all(one.toward for one in said)
    made = {(int(t), int(c)) for t, c in zip(CLICKS.target, CLICKS.choice, strict=True)}
    index = GRAPH.names.index
    for one in said:
        assert (index(one.anchor), index(one.near)) in made
        assert one.far not in (one.anchor, one.near)


def test_the_interval_draws_players():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, generator=generator)
    alone = interval(values, torch.arange(4000))
    half = 1.96 * float(values.std()) / 4000**0.5
    assert alone == pytest.approx((float(values.mean()) - half, float(values.mean()) + half), abs=0.2 * half)
    together = interval(torch.cat([values] * 2), torch.arange(4000).repeat(2))
    assert together == pytest.approx(alone, abs=1e-6)


def test_real_walks(shared_data):
    folder: Path = shared_data("wikispeedia")
    core = load_wikispeedia(folder, core=True)
    graph = HopGraph.from_edges(core.edges, names=core.names)
    walks, players = load_walks(folder), walk_players(folder)
    assert len(walks) == len(players) == 24_875
    clicks: Clicks = walk_clicks(walks, graph, players=players)
    assert clicks.left_out["clicks that are no link"] == 0
    assert 85_000 < len(clicks) < 95_000
    back = sum(step == "<" for one in walks for step in one.path)
    assert len(clicks) + clicks.left_out.total() == sum(len(one.path) - 1 for one in walks) - back


def test_the_curve_has_a_panel_for_each_measure():
    ways = {"random $x$": [[3, 2, 1], [4, 3, 2]], "active": [[3, 1, 0], [4, 2, 1]]}
    figure = feedback_curve([0, 10, 400], {"all pairs": ways, "changed": ways}, title="Answers")
    assert len(figure.axes) == 2
    for ax in figure.axes:
        assert [line.get_ydata().tolist() for line in ax.get_lines()] == [[3.5, 2.5, 1.5], [3.5, 1.5, 0.5]]
        assert [text.get_text() for text in ax.texts] == list(ways)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "10", "400"]
    for panels in ({}, {"all": {}}, {"all": {"one": [[1, 2]]}}, {"all": {str(i): [[1, 2, 3]] for i in range(6)}}):
        with pytest.raises(ValueError, match="expected"):
            feedback_curve([0, 1, 2], panels)

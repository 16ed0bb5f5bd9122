"""Facts of pairs beside slow loops, and a link model that looks at what it may look at alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from text_cases import about_known, encoder, known_texts, new_texts, page_facts, world
from torch import Tensor

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.text import TextLinks
from hyperspectral_geo.hyperbolic.text.link_model import HIDDEN, LinkModel
from hyperspectral_geo.hyperbolic.text.mentions import MentionTable
from hyperspectral_geo.hyperbolic.text.pair_features import GROUPS, PairFacts, candidate_pairs, known_rates

N = 7
pairs_of_pages = st.sets(
    st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda p: p[0] != p[1]), max_size=25
)


def mentions(pairs: list[tuple[int, int]], *, seed: int = 0) -> MentionTable:
    g = torch.Generator().manual_seed(seed)
    numbers = (torch.randint(1, 9, (len(pairs),), generator=g).float() for _ in range(4))
    return MentionTable(torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2), *numbers)


def table_of(pairs: set[tuple[int, int]]) -> Tensor:
    return torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)


@given(pairs_of_pages, pairs_of_pages, st.sets(st.integers(0, N - 1), max_size=2))
def test_known_rates_count_all_but_the_pair_itself(told: set, links: set, new: set):
    links = {pair for pair in links if new.isdisjoint(pair)}
    asked = sorted({(a, b) for a in range(N) for b in range(N) if a != b})
    expected = []
    for pair in asked:
        columns = []
        for end in (0, 1):
            others = [p for p in told if p[end] == pair[end] and p != pair and new.isdisjoint(p)]
            degree = sum(p[end] == pair[end] and p != pair for p in links)
            columns += [(sum(p in links for p in others) + 2 / 3) / (len(others) + 2), math.log1p(degree)]
        expected.append(columns)
    pairs = torch.tensor(asked)
    linked = torch.tensor([pair in links for pair in asked])
    known = torch.tensor([page not in new for page in range(N)])
    found = known_rates(pairs, linked, known, mentions(sorted(told)), table_of(links))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@given(pairs_of_pages, st.integers(1, 9), st.sets(st.integers(0, N - 1), min_size=1))
def test_candidates_are_mentions_and_the_most_alike_both_ways(told: set, alike: int, some: set):
    facts = page_facts(N)
    likeness = (facts.directions @ facts.directions.T).fill_diagonal_(-9)
    rank = likeness.argsort(1, descending=True)[:, : min(alike, N - 1)]
    for among in (None, torch.tensor(sorted(some))):
        rows = range(N) if among is None else sorted(some)
        near = {(page, int(other)) for page in rows for other in rank[page]}
        expected = near | {pair for pair in told if among is None or some & set(pair)}
        expected |= {(b, a) for a, b in expected}
        found = candidate_pairs(facts, mentions(sorted(told)), alike=alike, among=among)
        assert [tuple(pair) for pair in found.tolist()] == sorted(expected)


def test_columns_are_those_of_the_groups():
    facts, table = page_facts(N), mentions([(0, 1), (0, 2), (3, 1)])
    pairs = torch.tensor([[0, 1], [1, 0], [3, 1], [4, 5]])
    rates = torch.arange(16.0).reshape(4, 4)
    found = PairFacts.of(pairs, facts, table, rates).columns
    assert found.shape == (4, sum(GROUPS.values()))
    parts = dict(zip(GROUPS, found.split(list(GROUPS.values()), 1), strict=True))
    assert torch.equal(torch.cat([parts["source_links"], parts["target_links"]], 1), rates)
    assert parts["forward"][:, -1].tolist() == [1, 0, 1, 0]
    assert parts["reverse"][:, -1].tolist() == [0, 1, 0, 0]
    assert torch.equal(parts["forward"][0], parts["reverse"][1])
    assert float(parts["forward"][2, 0]) == pytest.approx(math.log1p(float(table.counts[2])))
    assert float(parts["forward"][2, 2]) == pytest.approx(float(table.first[2] / facts.lengths[3]))
    assert not bool(parts["forward"][3].any())
    torch.testing.assert_close(parts["renown"][:, 0], facts.mentioned[pairs[:, 1]].log1p())
    torch.testing.assert_close(parts["target_title"], facts.shapes[pairs[:, 1]])
    torch.testing.assert_close(parts["source_title"], facts.shapes[pairs[:, 0]][:, [1, 3]])
    likeness = (facts.directions[pairs[:, 0]] * facts.directions[pairs[:, 1]]).sum(1)
    torch.testing.assert_close(parts["rest"][:, -1], likeness)


def test_facts_without_any_mention():
    found = PairFacts.of(torch.tensor([[0, 1]]), page_facts(N), mentions([]), torch.zeros(1, 4))
    at = GROUPS["source_links"] + GROUPS["target_links"]
    assert not bool(found.columns[:, at : at + GROUPS["forward"] + GROUPS["reverse"]].any())


# The model


def problem(n: int = 20_000, *, seed: int = 0) -> tuple[PairFacts, Tensor, Tensor]:
    """Facts by chance, links of a probability that depends on two columns, and the probability."""
    g = torch.Generator().manual_seed(seed)
    columns = torch.randn(n, sum(GROUPS.values()), generator=g) * 3 + 1
    true = (columns[:, 5] / 3 - columns[:, -1] / 2 - 1).sigmoid()
    return PairFacts(torch.zeros(n, 2, dtype=torch.int64), columns), torch.rand(n, generator=g) < true, true


@pytest.fixture(scope="module")
def learned() -> LinkModel:
    facts, linked, _ = problem()
    return LinkModel.fit(facts, linked, steps=150)


@pytest.mark.parametrize("situation", HIDDEN)
def test_what_is_hidden_does_not_count(learned: LinkModel, situation: str):
    facts, _, _ = problem(50, seed=1)
    changed, at = facts.columns.clone(), 0
    for name, width in GROUPS.items():
        if name in HIDDEN[situation]:
            changed[:, at : at + width] = 1e6
        at += width
    other = PairFacts(facts.pairs, changed)
    assert not torch.equal(changed, facts.columns)
    assert torch.equal(learned.probabilities(facts, situation), learned.probabilities(other, situation))


@pytest.mark.parametrize("situation", HIDDEN)
def test_what_is_at_hand_counts(learned: LinkModel, situation: str):
    facts, _, _ = problem(50, seed=1)
    other = PairFacts(facts.pairs, facts.columns + torch.nn.functional.one_hot(torch.tensor(27), 28) * 9)
    assert not torch.equal(learned.probabilities(facts, situation), learned.probabilities(other, situation))


def test_probabilities_are_calibrated_and_near_the_true_ones(learned: LinkModel):
    facts, linked, true = problem(seed=2)
    found = learned.probabilities(facts, "new to known")  # hides neither of the columns that count
    assert float((found - true).abs().mean()) < 0.05
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (found >= low) & (found < high)
        assert float(found[inside].mean()) == pytest.approx(float(linked[inside].float().mean()), abs=0.05)


def test_the_same_seed_gives_the_same_weights_and_the_caller_keeps_his_random_numbers():
    facts, linked, _ = problem(500)
    before = torch.get_rng_state()
    first, again, other = (LinkModel.fit(facts, linked, steps=5, seed=seed) for seed in (3, 3, 4))
    first.probabilities(facts, "new to new")
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first.weights[name], again.weights[name]) for name in first.weights)
    assert not torch.equal(first.weights["0.weight"], other.weights["0.weight"])
    assert {name: tuple(w.shape) for name, w in first.weights.items()} == LinkModel.shapes()


@pytest.mark.parametrize("linked", [True, False], ids=["only links", "no links"])
def test_pairs_of_one_kind_are_refused(linked: bool):
    facts, _, _ = problem(20)
    with pytest.raises(ValueError, match="graph: expected links as well as other pairs"):
        LinkModel.fit(facts, torch.full((20,), linked))


# From texts and links to links


def test_links_of_new_pages_are_told_from_others():
    whole, known = world().whole, len(world().graph)
    links = encoder().links
    vectors = encoder()._vectors(new_texts(), None)
    found = links.links(world().new, new_texts(), vectors, known_texts=known_texts())
    true = torch.zeros(len(whole), len(whole), dtype=torch.bool)
    true[whole.edges[:, 0], whole.edges[:, 1]] = True
    blocks = {
        "out": (found.out, true[known:, :known], 0.9),
        "into": (found.into, true[:known, known:], 0.9),
        "between": (found.between, true[known:, known:], 0.8),
    }
    for name, (p, links_there, least) in blocks.items():
        assert roc_auc_score(links_there.flatten(), p.flatten()) > least, name
        assert bool(((p >= 0) & (p <= 1)).all())
    assert not bool(found.between.diagonal().any())
    untitled = links.links([None] * len(new_texts()), new_texts(), vectors)
    assert roc_auc_score(true[known:, :known].flatten(), untitled.out.flatten()) > 0.85
    assert untitled.missing == links.missing["unnamed"]


def test_known_pages_taken_for_new_ones_are_near_their_links():
    out, into = encoder().links.among_known()
    facts, linked = about_known(encoder().links)
    at = facts.pairs.unbind(1)
    assert roc_auc_score(linked, out[at]) > 0.9
    assert roc_auc_score(linked, into.T[at]) > 0.9
    assert int((out > 0).sum()) == len(facts.pairs)


def test_nothing_to_learn_from_is_refused():
    graph = HopGraph.from_edges([(0, 1)], names=["a", "b"])
    with pytest.raises(ValueError, match="expected links as well as other pairs"):
        TextLinks.fit(HopGraph.from_edges([], names=["a", "b"]), ["x y", "y z"], torch.eye(2))
    assert len(TextLinks.fit(graph, ["x y b", "y z"], torch.eye(2), steps=2).facts) == 2

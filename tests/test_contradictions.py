"""Statements that cannot hold together: every kind found and its entries named, against linear programming."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from hyperspectral_geo.hyperbolic.feedback import (
    AboutHops,
    Closer,
    Constraint,
    Farther,
    Group,
    Link,
    Nearer,
    Pin,
    contradictions,
)
from hyperspectral_geo.hyperbolic.feedback.contradictions import require_consistent

A, B, C, D = "abcd"

WRONG: dict[str, tuple[list[Constraint], str, int]] = {
    "closer and farther": ([Closer(A, B), Farther(A, B)], "closer and farther on one pair", 2),
    "by both": ([Closer(A, B, both=True), Farther(B, A)], "closer and farther on one pair", 2),
    "two hops": ([AboutHops(A, B, 2), AboutHops(A, B, 3)], "different hops on one pair", 2),
    "three hops": ([AboutHops(A, B, h) for h in (2, 3, 4)], "different hops on one pair", 3),
    "closer, but not by hops": ([Closer(A, B), AboutHops(A, B, 3)], "hops that are not closer than the 3", 2),
    "farther, but not by hops": ([Farther(A, B), AboutHops(A, B, 3)], "hops that are not farther than the 3", 2),
    "circle of two": ([Nearer(A, B, C), Nearer(A, C, B)], "an order that runs in a circle", 2),
    "circle of three": ([Nearer(A, B, C), Nearer(A, C, D), Nearer(A, D, B)], "an order that runs in a circle", 3),
    "circle toward": ([Nearer(A, B, C, toward=True), Nearer(A, C, B, toward=True)], "an order that runs", 2),
    "order against hops": (
        [Nearer(A, B, C), AboutHops(A, B, 3), AboutHops(A, C, 2)],
        "an order against hops",
        3,
    ),
    "order against equal hops": ([Nearer(A, B, C), AboutHops(A, B, 2), AboutHops(A, C, 2)], "an order against", 3),
    "long order against hops": (
        [Nearer(A, B, C), Nearer(A, C, D), AboutHops(A, B, 3), AboutHops(A, D, 2)],
        "an order against hops",
        4,
    ),
    "toward against hops": (
        [Nearer(A, B, C, toward=True), AboutHops(B, A, 3), AboutHops(A, C, 2, both=True)],
        "an order against hops",
        3,
    ),
    "farther in a group": ([Group((A, B, C), 3), Farther(A, B)], "farther than the 3 hops of a group", 2),
    "hops in a group": ([Group((A, B, C), 2), AboutHops(C, A, 2.5)], "farther than the 2 hops of a group", 2),
    "two pins": ([Pin(A, point=(0.0, 1.0)), Pin(A, point=(1.0, 0.0))], "two places for one concept", 2),
    "pinned here and there": ([Pin(A), Pin(A, point=(1.0, 0.0))], "two places for one concept", 2),
    "two lengths": ([Link(A, B, 0.5), Link(A, B, None)], "two lengths for one link", 2),
}


@pytest.mark.parametrize(("said", "reason", "entries"), WRONG.values(), ids=WRONG)
def test_each_kind_is_found_with_its_entries(said: list[Constraint], reason: str, entries: int):
    found = contradictions(said, reference=lambda a, b: 3.0)
    assert len(found) == 1
    assert found[0].reason.startswith(reason)
    assert len(found[0].entries) == entries
    assert set(map(id, found[0].entries)) <= set(map(id, said))
    assert contradictions(said[::-1], reference=lambda a, b: 3.0)
    with pytest.raises(ValueError, match=f"got 1 contradictions: {reason}"):
        require_consistent(said, reference=lambda a, b: 3.0)
    require_consistent(said, conflicts="weigh")


RIGHT: dict[str, list[Constraint]] = {
    "the same twice": [Closer(A, B), Closer(A, B), AboutHops(C, D, 2), AboutHops(C, D, 2.0)],
    "other directions": [Closer(A, B), Farther(B, A), AboutHops(C, D, 1), AboutHops(D, C, 9)],
    "closer with its hops": [Closer(A, B), AboutHops(A, B, 2)],
    "farther with its hops": [Farther(A, B), AboutHops(A, B, 4)],
    "an order": [Nearer(A, B, C), Nearer(A, C, D), Nearer(A, B, D), AboutHops(A, B, 1), AboutHops(A, D, 2)],
    "orders at two anchors": [Nearer(A, B, C), Nearer(D, C, B)],
    "from and toward": [Nearer(A, B, C), Nearer(A, C, B, toward=True)],
    "far enough in a group": [Group((A, B), 4), Farther(A, B), AboutHops(B, A, 4)],
    "out of the group": [Group((A, B), 1), Farther(A, C), AboutHops(C, B, 7)],
    "one pin and link": [Pin(A), Pin(A), Pin(B, point=(1,)), Link(A, B, 1), Link(A, B, 1.0), Link(B, A, None)],
}


@pytest.mark.parametrize("said", RIGHT.values(), ids=RIGHT)
def test_what_can_hold_together_is_let_be(said: list[Constraint]):
    assert contradictions(said, reference=lambda a, b: 3.0) == []
    require_consistent(said, reference=lambda a, b: 3.0)


def test_without_direction_a_pair_is_its_reverse():
    pairs = [
        [Closer(A, B), Farther(B, A)],
        [AboutHops(A, B, 1), AboutHops(B, A, 2)],
        [Nearer(A, B, C), Nearer(A, C, B, toward=True)],
        [Nearer(A, B, C), AboutHops(B, A, 2), AboutHops(C, A, 1)],
        [Link(A, B, 1), Link(B, A, 2)],
    ]
    for said in pairs:
        assert not contradictions(said)
        assert len(contradictions(said, directed=False)) == 1


def test_lengths_of_links_take_the_place_of_a_hop():
    half = lambda a, b: 0.5  # noqa: E731
    right = [Farther(A, B), AboutHops(A, B, 0.7), Group((A, B), 0.65), Closer(C, D), AboutHops(C, D, 0.4)]
    assert contradictions(right[:2], reference=half)  # a whole hop farther is 1.5
    assert not contradictions([*right[:2], *right[3:]], reference=half, step=0.1)
    assert not contradictions([right[0], right[2]], reference=half, step=0.1)
    assert len(contradictions([Closer(C, D), AboutHops(C, D, 0.45)], reference=half, step=0.1)) == 1


def test_what_needs_a_reference_waits_for_one():
    assert not contradictions([Group((A, B), 5), Farther(A, B)])
    assert not contradictions([Group((A, B), 5), Farther(A, B)], reference=lambda a, b: 4.0)
    assert contradictions([Group((A, B), 5), Farther(A, B)], reference=lambda a, b: 4.5)


def test_both_directions_are_told_once():
    assert len(contradictions([Closer(A, B, both=True), Farther(A, B, both=True)])) == 1
    assert len(contradictions([Group((A, B), 2), AboutHops(A, B, 3, both=True)])) == 1


def test_authors_and_lines_are_told():
    said = [Closer(A, B, author="ann", where="said.jsonl, line 3"), Farther(A, B, author="bob\x1b")]
    with pytest.raises(ValueError, match=r"by 'ann', said.jsonl, line 3\) against farther .* by 'bob\\x1b'"):
        require_consistent(said)


def test_more_than_ten_are_cut_short(unchecked):
    said = [cls(A, f"{A}{i}") for i in range(12) for cls in (Closer, Farther)]
    with pytest.raises(ValueError, match="got 12 contradictions: .*and more; remove one of each"):
        require_consistent(said)
    with pytest.raises(ValueError, match="conflicts: expected 'refuse' or 'weigh', got 'ignore'"):
        require_consistent(said, conflicts="ignore")


ends = st.lists(st.sampled_from("bcde"), min_size=2, max_size=2, unique=True)
orders = st.builds(lambda pair, toward: Nearer("a", *pair, toward=toward), ends, st.booleans())
counts = st.builds(
    lambda b, h, both: AboutHops("a", b, h, both=both), st.sampled_from("bcde"), st.integers(1, 3), st.booleans()
)


@given(st.lists(orders, max_size=7), st.lists(counts, max_size=3))
def test_orders_and_hops_contradict_where_no_distances_meet_them(said: list[Nearer], hops: list[AboutHops]):
    assert bool(contradictions([*said, *hops])) != _feasible(said, hops)


def _feasible(said: list[Nearer], hops: list[AboutHops]) -> bool:
    """Whether distances of the pairs exist, by linear programming: near + 1/100 ≤ far."""
    pairs = {pair: i for i, pair in enumerate(permutations("abcde", 2))}
    rows, ceilings, equal, values = [], [], [], []
    for one in said:
        near, far = ((x, one.anchor) if one.toward else (one.anchor, x) for x in (one.near, one.far))
        rows.append([(p == near) - (p == far) for p in pairs])
        ceilings.append(-0.01)
    for one in hops:
        for pair in one.pairs:
            equal.append([float(p == pair) for p in pairs])
            values.append(one.hops)
    found = linprog(
        np.zeros(len(pairs)),
        A_ub=np.array(rows, dtype=float).reshape(-1, len(pairs)) if rows else None,
        b_ub=ceilings or None,
        A_eq=np.array(equal) if equal else None,
        b_eq=values or None,
        bounds=(-10, 20),
    )
    return found.status == 0

"""Statements that cannot hold together, found before anything is trained on them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

from hyperspectral_geo.hyperbolic.feedback.constraint import (
    AboutHops,
    Closer,
    Constraint,
    Farther,
    Group,
    Link,
    Nearer,
    PairConstraint,
    Pin,
)

__all__ = ["Conflicts", "Contradiction", "Reference", "contradictions", "require_consistent"]

Reference = Callable[[str, str], float]
"""r of a pair (source, target) by name: what "closer" and "farther" are measured from."""

Conflicts = Literal["refuse", "weigh"]
"""``"refuse"``: contradictory statements are an error; ``"weigh"``: they enter with their strengths."""

_MOST_TOLD = 10

Pair = tuple[str, str]
T = TypeVar("T", bound=Constraint)


@dataclass(frozen=True)
class Contradiction:
    """Some statements, and why they cannot all be true."""

    reason: str
    entries: tuple[Constraint, ...]

    def __str__(self) -> str:
        return f"{self.reason}: {' against '.join(map(str, self.entries))}"


def contradictions(
    constraints: Iterable[Constraint],
    *,
    reference: Reference | None = None,
    step: int | float = 1.0,
    directed: bool = True,
) -> list[Contradiction]:
    """All groups of statements that contradict each other, strengths aside.

    Looked for are: closer and farther on one pair; different hops on one pair; hops that are not closer, or not
    farther, than ``reference`` has the pair; orders of distances from or to one concept that run in a circle, hops on
    its pairs included; farther than a group allows, by hops or by ``reference``; a concept pinned at two points; a link
    of two lengths.
    A circle is told once for each set of concepts that it ties together.

    Args:
        constraints: any number; half a million take some seconds.
        reference: distances before the statements; without one, what needs it is not looked for.
        step: what "closer" and "farther" ask for, and the least that "closer" may: one hop, or where links have lengths
            their mean.
        directed: if false, a pair and its reverse are the same.

    >>> said = [Closer("Beer", "Yeast", author="ann"), Farther("Beer", "Yeast", author="bob")]
    >>> print(contradictions(said)[0])
    closer and farther on one pair: closer (source 'Beer', target 'Yeast', by 'ann') against farther ...
    """
    entries = list(constraints)
    by_pair = _by_pair(_of_kind(entries, PairConstraint), directed)
    found = [*_on_pairs(by_pair, reference, step), *_orders(entries, by_pair, directed)]
    found += _in_groups(_of_kind(entries, Group), by_pair, reference, step)
    found += _differing(
        _of_kind(entries, Pin), lambda pin: pin.name, lambda pin: pin.point, "two places for one concept"
    )
    found += _differing(
        _of_kind(entries, Link),
        lambda link: _key(link.source, link.target, directed),
        lambda link: link.length,
        "two lengths for one link",
    )
    # Statements on both directions of a pair are met twice.
    return list({(one.reason, *map(id, one.entries)): one for one in found}.values())


def require_consistent(
    constraints: Sequence[Constraint],
    *,
    conflicts: Conflicts = "refuse",
    reference: Reference | None = None,
    step: int | float = 1.0,
    directed: bool = True,
) -> None:
    """Raise ``ValueError`` with up to ten contradictions, unless conflicts are to be weighed."""
    if conflicts not in ("refuse", "weigh"):
        raise ValueError(f"conflicts: expected 'refuse' or 'weigh', got {conflicts!r}")
    if conflicts == "weigh":
        return
    found = contradictions(constraints, reference=reference, step=step, directed=directed)
    if found:
        told = "; ".join(map(str, found[:_MOST_TOLD])) + ("; and more" if len(found) > _MOST_TOLD else "")
        raise ValueError(
            f"constraints: expected statements that can hold together, got {len(found)} contradictions: {told}; remove "
            "one of each, or pass conflicts='weigh'"
        )


def _of_kind(entries: Iterable[Constraint], kind: type[T]) -> list[T]:
    return [one for one in entries if isinstance(one, kind)]


def _key(source: str, target: str, directed: bool) -> Pair:
    return (source, target) if directed or source <= target else (target, source)


def _by_pair(constraints: Iterable[PairConstraint], directed: bool) -> dict[Pair, list[PairConstraint]]:
    found: dict[Pair, list[PairConstraint]] = defaultdict(list)
    for one in constraints:
        for pair in dict.fromkeys(_key(*ends, directed) for ends in one.pairs):
            found[pair].append(one)
    return found


def _on_pairs(
    by_pair: Mapping[Pair, list[PairConstraint]], reference: Reference | None, step: float
) -> Iterator[Contradiction]:
    for pair, said in by_pair.items():
        if len(said) == 1:
            continue
        closer, farther, hops = _of_kind(said, Closer), _of_kind(said, Farther), _of_kind(said, AboutHops)
        if closer and farther:
            yield Contradiction("closer and farther on one pair", (closer[0], farther[0]))
        yield from _differing(hops, lambda _: 0, lambda one: one.hops, "different hops on one pair")
        if reference is not None and hops and (closer or farther):
            now = reference(*pair)
            for one in hops:
                if closer and one.hops > max(step, now - step):
                    yield Contradiction(f"hops that are not closer than the {now:.3g} there are", (closer[0], one))
                if farther and one.hops < now + step:
                    yield Contradiction(f"hops that are not farther than the {now:.3g} there are", (farther[0], one))


def _differing(
    entries: Sequence[T], key: Callable[[T], object], value: Callable[[T], object], reason: str
) -> Iterator[Contradiction]:
    """For each key whose entries have several values: one entry of each value."""
    by_key: dict[object, dict[object, T]] = defaultdict(dict)
    for one in entries:
        by_key[key(one)].setdefault(value(one), one)
    for by_value in by_key.values():
        if len(by_value) > 1:
            yield Contradiction(reason, tuple(by_value.values()))


def _in_groups(
    groups: Sequence[Group],
    by_pair: Mapping[Pair, list[PairConstraint]],
    reference: Reference | None,
    step: float,
) -> Iterator[Contradiction]:
    members: dict[str, set[int]] = defaultdict(set)
    for number, group in enumerate(groups):
        for name in group.names:
            members[name].add(number)
    for pair, said in by_pair.items() if groups else ():
        for number in sorted(members[pair[0]] & members[pair[1]]):
            most = groups[number].hops
            for one in said:
                too_far = isinstance(one, Farther) and reference is not None and reference(*pair) + step > most
                if too_far or (isinstance(one, AboutHops) and one.hops > most):
                    yield Contradiction(f"farther than the {most:g} hops of a group", (groups[number], one))


def _orders(
    entries: Iterable[Constraint], by_pair: Mapping[Pair, list[PairConstraint]], directed: bool
) -> Iterator[Contradiction]:
    """Circles a < b < … < a among the distances of pairs with one end in common.

    An arc says "before"; those of ``Nearer`` are strict, those between equal or rising hops are not. Statements
    contradict each other where a strict arc has a way back.
    """
    arcs: dict[tuple[str, bool], dict[str, dict[str, Nearer | None]]] = defaultdict(lambda: defaultdict(dict))
    for one in entries:
        if isinstance(one, Nearer):
            arcs[one.anchor, one.toward and directed][one.near].setdefault(one.far, one)
    hops = {pair: one for pair, said in by_pair.items() for one in _of_kind(said, AboutHops)[:1]}
    for (anchor, toward), after in arcs.items():
        others = dict.fromkeys([*after, *(far for fars in after.values() for far in fars)])
        ends = {name: _key(*((name, anchor) if toward else (anchor, name)), directed) for name in others}
        counted = {name: hops[pair] for name, pair in ends.items() if pair in hops}
        for (a, x), (b, y) in pairwise(sorted(counted.items(), key=lambda item: item[1].hops)):
            after[a].setdefault(b, None)
            if x.hops == y.hops:
                after[b].setdefault(a, None)
        yield from _circles(after, counted)


def _circles(
    after: Mapping[str, Mapping[str, Nearer | None]], counted: Mapping[str, AboutHops]
) -> Iterator[Contradiction]:
    component = _components(after)
    told = set()
    for near, fars in after.items():
        for far, strict in fars.items():
            if strict is None or component[near] != component[far] or component[near] in told:
                continue
            told.add(component[near])
            way = [near, *_way(after, far, near)]
            steps = [after[a][b] for a, b in pairwise(way)]
            entries: dict[int, Constraint] = {}
            for (a, b), step in zip(pairwise(way), steps, strict=True):
                for one in (counted[a], counted[b]) if step is None else (step,):
                    entries[id(one)] = one
            reason = "an order against hops" if None in steps else "an order that runs in a circle"
            yield Contradiction(reason, tuple(entries.values()))


def _way(after: Mapping[str, Mapping[str, object]], start: str, end: str) -> list[str]:
    """The shortest way along arcs, both ends included."""
    before: dict[str, str] = {}
    queue = deque([start])
    while queue and end not in before:
        here = queue.popleft()
        for there in after.get(here, ()):
            if there not in before and there != start:
                before[there] = here
                queue.append(there)
    way = [end]
    while way[-1] != start:
        way.append(before[way[-1]])
    return way[::-1]


def _components(after: Mapping[str, Mapping[str, object]]) -> dict[str, int]:
    """Number of the strong component of each concept: those that ways lead between in both directions."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = {name: i for i, name in enumerate(dict.fromkeys([*after, *(b for fars in after.values() for b in fars)]))}
    arcs = np.array([(number[a], number[b]) for a, fars in after.items() for b in fars]).reshape(-1, 2)
    links = coo_array((np.ones(len(arcs)), arcs.T), shape=(len(number),) * 2)
    label = connected_components(links, connection="strong")[1]
    return {name: int(label[i]) for name, i in number.items()}

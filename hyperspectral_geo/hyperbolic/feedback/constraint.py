"""What people say of concepts: one small class a kind of statement, each checked when it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar

from hyperspectral_geo.hyperbolic.feedback.statement import (
    MOST_HOPS,
    Check,
    Constraint,
    is_coordinate,
    is_name,
    is_number,
    ordered_fields,
)

__all__ = [
    "KINDS",
    "AboutHops",
    "Closer",
    "Constraint",
    "Farther",
    "Group",
    "Link",
    "Nearer",
    "PairConstraint",
    "Pin",
    "constraint_of",
]

_LEAST_HOPS = 1e-6  # the square of d/h stays far from overflow


@dataclass(frozen=True, slots=True)
class PairConstraint(Constraint):
    """A statement on d(source→target), and with ``both`` on d(target→source) too."""

    source: str
    target: str
    both: bool = field(default=False, kw_only=True)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Source and target."""
        return self.source, self.target

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The ordered pairs it is about."""
        there, back = (self.source, self.target), (self.target, self.source)
        return (there, back) if self.both else (there,)

    def _checks(self) -> Iterator[Check]:
        yield "source", is_name(self.source), "the name of a concept"
        yield "target", is_name(self.target), "the name of a concept"
        yield "target", self.source != self.target, "another concept than the source"
        yield "both", isinstance(self.both, bool), "true or false"


@dataclass(frozen=True, slots=True)
class Closer(PairConstraint):
    """The target should be closer than it is: at most max(1, r − 1), r the distance by hops or by the model."""

    kind: ClassVar[str] = "closer"


@dataclass(frozen=True, slots=True)
class Farther(PairConstraint):
    """The target should be farther than it is: at least r + 1."""

    kind: ClassVar[str] = "farther"


@dataclass(frozen=True, slots=True)
class AboutHops(PairConstraint):
    """The target is about ``hops`` hops away; any number from a millionth to a million."""

    kind: ClassVar[str] = "hops"

    hops: int | float

    def _checks(self) -> Iterator[Check]:
        yield from PairConstraint._checks(self)
        yield _hops_check(self.hops)


@dataclass(frozen=True, slots=True)
class Nearer(Constraint):
    """d(anchor→near) < d(anchor→far); with ``toward`` d(near→anchor) < d(far→anchor)."""

    kind: ClassVar[str] = "nearer"

    anchor: str
    near: str
    far: str
    toward: bool = field(default=False, kw_only=True)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Anchor, near and far."""
        return self.anchor, self.near, self.far

    def _checks(self) -> Iterator[Check]:
        for name in ("anchor", "near", "far"):
            yield name, is_name(getattr(self, name)), "the name of a concept"
        yield "near", self.near != self.anchor, "another concept than the anchor"
        yield "far", self.far not in (self.anchor, self.near), "another concept than anchor and near"
        yield "toward", isinstance(self.toward, bool), "true or false"


@dataclass(frozen=True, slots=True)
class Group(Constraint):
    """Each of the concepts is at most ``hops`` hops from each other one, in both directions."""

    kind: ClassVar[str] = "group"

    names: tuple[str, ...]
    hops: int | float

    @property
    def concepts(self) -> tuple[str, ...]:
        """All members."""
        return self.names

    def _checks(self) -> Iterator[Check]:
        names = self.names
        good = isinstance(names, tuple) and len(names) > 1 and all(map(is_name, names))
        yield "names", good and len(set(names)) == len(names), "at least two names, each once"
        yield _hops_check(self.hops)


@dataclass(frozen=True, slots=True)
class Pin(Constraint):
    """The concept stays where the start or the model has it, or at ``point``.

    ``point`` is its tangent at the origin, d numbers; where concepts are reached at other points than they leave from,
    these may be the next d.
    """

    kind: ClassVar[str] = "pin"

    name: str
    point: tuple[int | float, ...] | None = field(default=None, kw_only=True)

    @property
    def concepts(self) -> tuple[str, ...]:
        """The one."""
        return (self.name,)

    def _checks(self) -> Iterator[Check]:
        point = self.point
        yield "name", is_name(self.name), "the name of a concept"
        good = point is None or (isinstance(point, tuple) and bool(point) and all(map(is_coordinate, point)))
        yield "point", good, "a list of coordinates from -1000 to 1000, or null"


@dataclass(frozen=True, slots=True)
class Link(Constraint):
    """Before hops are counted the link has this length; None removes it; one that is missing is added."""

    kind: ClassVar[str] = "link"

    source: str
    target: str
    length: int | float | None

    @property
    def concepts(self) -> tuple[str, ...]:
        """Source and target."""
        return self.source, self.target

    def _checks(self) -> Iterator[Check]:
        yield "source", is_name(self.source), "the name of a concept"
        yield "target", is_name(self.target), "the name of a concept"
        yield "target", self.source != self.target, "another concept than the source"
        good = self.length is None or is_number(self.length, MOST_HOPS)
        yield "length", good, f"a length above 0 up to {MOST_HOPS:g}, or null"


KINDS: dict[str, type[Constraint]] = {cls.kind: cls for cls in (Closer, Farther, AboutHops, Nearer, Group, Pin, Link)}
"""The classes by the name of their kind in files."""


def constraint_of(record: Mapping[str, Any], *, where: str = "") -> Constraint:
    """What ``as_record`` gave.

    Raises:
        ValueError: for an unknown kind, a field that is missing, unknown or out of range, naming it.

    >>> constraint_of({"kind": "hops", "source": "Beer", "target": "Yeast", "hops": 2}).hops
    2
    """
    cls = KINDS.get(kind) if isinstance(kind := record.get("kind"), str) else None
    if cls is None:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r:.60}")
    known = {f.name: f.default is MISSING for f in ordered_fields(cls) if f.name != "where"}
    for name in record:
        if name != "kind" and name not in known:
            raise ValueError(f"{name!r:.60}: expected no such field in {cls.kind}; known are kind, {', '.join(known)}")
    for name, needed in known.items():
        if needed and name not in record:
            raise ValueError(f"{name}: expected in {cls.kind}, got none; add it")
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in record.items() if n != "kind"}
    return cls(**values, where=where)


def _hops_check(hops: object) -> Check:
    good = is_number(hops, MOST_HOPS, least=_LEAST_HOPS)
    return "hops", good, f"a number of hops from {_LEAST_HOPS:g} to {MOST_HOPS:g}"

"""What people say of concepts: one small class a kind of statement, each checked when it is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar

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

_MOST_STRENGTH = 1e3
_MOST_HOPS = 1e6
_MOST_AUTHOR = 200

Check = tuple[str, bool, str]
"""A field, whether it is right, and what is expected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint(ABC):
    """One statement. Distances are directed, and in hops.

    Attributes:
        strength: how much it counts beside the others, above 0 and at most 1,000.
        author: who says so.
        time: when, ISO 8601.
        where: file and line it was read from; it makes no difference between statements.

    Raises:
        ValueError: for a field that is out of range, naming it.
    """

    kind: ClassVar[str]

    strength: int | float = 1.0
    author: str | None = None
    time: str | None = None
    where: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        author, time = self.author, self.time
        own: tuple[Check, ...] = (
            ("strength", _is_number(self.strength, _MOST_STRENGTH), f"a number above 0 up to {_MOST_STRENGTH:g}"),
            ("author", author is None or _is_short(author), f"a text of at most {_MOST_AUTHOR} characters"),
            ("time", time is None or _is_time(time), "a time such as 2026-11-22T10:00:00Z"),
        )
        for name, good, wanted in (*self._checks(), *own):
            if not good:
                raise ValueError(f"{name}: expected {wanted}, got {getattr(self, name)!r:.60}")

    @property
    @abstractmethod
    def concepts(self) -> tuple[str, ...]:
        """The concepts it names."""

    @abstractmethod
    def _checks(self) -> Iterator[Check]:
        """What its own fields must be."""

    def as_record(self) -> dict[str, Any]:
        """As a JSON object; what is as by default is left out.

        >>> Closer("Beer", "Yeast", author="ann").as_record()
        {'kind': 'closer', 'source': 'Beer', 'target': 'Yeast', 'author': 'ann'}
        """
        values = {
            f.name: (getattr(self, f.name), f.default) for f in sorted(fields(self), key=lambda f: f.kw_only is True)
        }
        del values["where"]
        said = {name: value for name, (value, default) in values.items() if default is MISSING or value != default}
        return {"kind": self.kind} | {n: list(v) if isinstance(v, tuple) else v for n, v in said.items()}

    def __str__(self) -> str:
        said = ", ".join(f"{k} {v!r:.60}" for k, v in self.as_record().items() if k not in ("kind", "author", "time"))
        by = f", by {self.author!r:.60}" if self.author else ""
        return f"{self.kind} ({said}{by}{', ' + self.where if self.where else ''})"


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
        yield "source", _is_name(self.source), "the name of a concept"
        yield "target", _is_name(self.target), "the name of a concept"
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
    """The target is about ``hops`` hops away; any positive number."""

    kind: ClassVar[str] = "hops"

    hops: int | float

    def _checks(self) -> Iterator[Check]:
        yield from PairConstraint._checks(self)
        yield "hops", _is_number(self.hops, _MOST_HOPS), f"a number of hops above 0 up to {_MOST_HOPS:g}"


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
            yield name, _is_name(getattr(self, name)), "the name of a concept"
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
        good = isinstance(names, tuple) and len(names) > 1 and all(map(_is_name, names))
        yield "names", good and len(set(names)) == len(names), "at least two names, each once"
        yield "hops", _is_number(self.hops, _MOST_HOPS), f"a number of hops above 0 up to {_MOST_HOPS:g}"


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
        yield "name", _is_name(self.name), "the name of a concept"
        good = point is None or (isinstance(point, tuple) and bool(point) and all(map(_is_coordinate, point)))
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
        yield "source", _is_name(self.source), "the name of a concept"
        yield "target", _is_name(self.target), "the name of a concept"
        yield "target", self.source != self.target, "another concept than the source"
        good = self.length is None or _is_number(self.length, _MOST_HOPS)
        yield "length", good, f"a length above 0 up to {_MOST_HOPS:g}, or null"


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
    known = {f.name: f.default is MISSING for f in _ordered(cls) if f.name != "where"}
    for name in record:
        if name != "kind" and name not in known:
            raise ValueError(f"{name!r:.60}: expected no such field in {cls.kind}; known are kind, {', '.join(known)}")
    for name, needed in known.items():
        if needed and name not in record:
            raise ValueError(f"{name}: expected in {cls.kind}, got none; add it")
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in record.items() if n != "kind"}
    return cls(**values, where=where)


def _ordered(constraint: Constraint | type[Constraint]) -> list[Field]:
    """Fields, its own before those of every statement."""
    return sorted(fields(constraint), key=lambda f: f.kw_only is True)


def _is_text(value: object) -> bool:
    """Whether UTF-8 can hold it: half of a character cannot be written to a file."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_name(value: object) -> bool:
    return value != "" and _is_text(value)


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most


def _is_coordinate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e3 <= value <= 1e3


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_AUTHOR and _is_text(value)


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False

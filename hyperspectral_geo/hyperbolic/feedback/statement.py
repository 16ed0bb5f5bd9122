"""What every statement of people has, and the checks of its fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, TypeGuard

__all__ = ["MOST_HOPS", "Check", "Constraint", "is_coordinate", "is_name", "is_number", "ordered_fields"]

MOST_HOPS = 1e6
"""Of a distance or a length that is said."""

_MOST_STRENGTH = 1e3
_MOST_AUTHOR = 200
_MOST_COORDINATE = 1e3

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
            ("strength", is_number(self.strength, _MOST_STRENGTH), f"a number above 0 up to {_MOST_STRENGTH:g}"),
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

        >>> from hyperspectral_geo.hyperbolic.feedback.constraint import Closer
        >>> Closer("Beer", "Yeast", author="ann").as_record()
        {'kind': 'closer', 'source': 'Beer', 'target': 'Yeast', 'author': 'ann'}
        """
        values = {f.name: (getattr(self, f.name), f.default) for f in ordered_fields(self)}
        del values["where"]
        said = {name: value for name, (value, default) in values.items() if default is MISSING or value != default}
        return {"kind": self.kind} | {n: list(v) if isinstance(v, tuple) else v for n, v in said.items()}

    def __str__(self) -> str:
        said = ", ".join(f"{k} {v!r:.60}" for k, v in self.as_record().items() if k not in ("kind", "author", "time"))
        by = f", by {self.author!r:.60}" if self.author else ""
        return f"{self.kind} ({said}{by}{', ' + self.where if self.where else ''})"


def ordered_fields(constraint: Constraint | type[Constraint]) -> list[Field]:
    """Fields, its own before those of every statement."""
    return sorted(fields(constraint), key=lambda f: f.kw_only is True)


def is_name(value: object) -> bool:
    """Whether it can be the name of a concept."""
    return value != "" and _is_text(value)


def is_number(value: object, most: float, *, least: float = 0.0) -> bool:
    """Whether it is a number above 0, at least ``least`` and at most ``most``."""
    return _is_real(value) and 0 < value <= most and value >= least


def is_coordinate(value: object) -> bool:
    """Whether it can be a coordinate of a tangent."""
    return _is_real(value) and -_MOST_COORDINATE <= value <= _MOST_COORDINATE


def _is_real(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    """Whether UTF-8 can hold it: half of a character cannot be written to a file."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_AUTHOR and _is_text(value)


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False

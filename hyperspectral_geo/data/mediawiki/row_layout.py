"""What the rows of one INSERT statement look like, and which of their values are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hyperspectral_geo.data.mediawiki.fault import Fault
from hyperspectral_geo.data.mediawiki.schema import Column

__all__ = ["RowLayout"]


@dataclass(frozen=True)
class RowLayout:
    """The columns of a row in their order, and the names of those that are wanted."""

    columns: tuple[Column, ...]
    wanted: tuple[str, ...]

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Where in a row the wanted values stand."""
        names = [column.name for column in self.columns]
        return tuple(names.index(name) for name in self.wanted)

    @classmethod
    def listed(cls, columns: tuple[Column, ...], wanted: tuple[str, ...], names: Sequence[str] | None) -> RowLayout:
        """Layout of rows whose statement names columns itself, or, without ``names``, takes those of the table.

        Raises:
            Fault: if a name is not among the table's columns, or a wanted one not among the names.
        """
        by_name = {column.name: column for column in columns}
        names = list(by_name) if names is None else list(names)
        unknown, missing = sorted({*names} - {*by_name}), sorted({*wanted} - {*names})
        if unknown:
            raise Fault(f"rows of the columns {', '.join(by_name)}", f"also {', '.join(unknown)}")
        if missing:
            raise Fault(f"a column {' and a column '.join(missing)}", f"the columns {', '.join(names)}")
        if len({*names}) != len(names):
            raise Fault("every column once", ", ".join(names))
        return cls(tuple(by_name[name] for name in names), wanted)

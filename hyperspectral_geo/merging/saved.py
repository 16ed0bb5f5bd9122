"""What saving a module wrote, and what it lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Saved"]


@dataclass(frozen=True)
class Saved:
    """A folder that was written.

    Attributes:
        path: the folder.
        errors: of each changed parameter ‖stored − asked‖/‖asked‖ of its change in Frobenius norm: what cutting the
            rank and rounding to the stored kind of number lost.
        tied: parameters that share memory with another and were written once, by the name of that other.
    """

    path: Path
    errors: Mapping[str, float]
    tied: Mapping[str, str] = field(default_factory=dict)

    @property
    def error(self) -> float:
        """The largest of ``errors``; 0 without any."""
        return max(self.errors.values(), default=0.0)

"""Names of concepts as a terminal may show them."""

from __future__ import annotations

__all__ = ["shown"]

_SHOWN = 200


def shown(name: str) -> str:
    """A name that cannot move the cursor of a terminal, nor fill it.

    >>> shown("Beer\\x1b[2J")
    'Beer�[2J'
    """
    cut = name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in cut)

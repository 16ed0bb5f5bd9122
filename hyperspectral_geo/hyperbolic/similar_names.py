"""Names that a misspelt one may have meant, found quickly among a million."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ["similar_names"]

_COMPARED = 2000  # names that are compared letter by letter


def similar_names(name: str, names: Sequence[str], *, count: int = 3) -> list[str]:
    """Up to ``count`` of the names that are like ``name``, the most similar first.

    One slip of the pen leaves the first or the second half of a name as it was: only names that begin or end as this
    one are compared, by ``difflib``; of too many those that share more of their beginning or end.

    Example:
        >>> similar_names("Germani", ["Yeast", "Germany", "Beer", "German"])
        ['German', 'Germany']
    """
    share = max(1, len(name) // 2)
    head, tail = name[:share], name[-share:]
    least, most = len(name) // 2, 2 * len(name)
    near = [other for other in names if other[:share] == head or other[-share:] == tail]
    near = [other for other in near if least <= len(other) <= most]
    while len(near) > _COMPARED and share < len(name):
        share += 1
        head, tail = name[:share], name[-share:]
        nearer = [other for other in near if other[:share] == head or other[-share:] == tail]
        if not nearer:
            break
        near = nearer
    return get_close_matches(name, near[:_COMPARED], count)

"""What is read from the dumps of a wiki."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from jaxtyping import Int
from torch import Tensor

__all__ = ["PageLinks"]


@dataclass(frozen=True, eq=False)
class PageLinks:
    """The pages of one namespace that are no redirects, and the links between them.

    Memory: 16 bytes a link, about 60 bytes and the title's length a page.

    Attributes:
        names: the titles, with spaces, in the order of the pages' ids.
        edges: (e, 2) int64, source and target, sorted, without repeats and self-links.
        namespace: 0 for articles.
        dump_date: the day of the dumps, by their file names, or else by their last comments; None if neither tells.
        counts: how many of what there was; see ``read_links``.
        sha256: of each dump by its table's name, the file as it lies on the disk.
    """

    names: tuple[str, ...]
    edges: Int[Tensor, "e 2"]
    namespace: int
    dump_date: date | None
    counts: Mapping[str, int]
    sha256: Mapping[str, str]

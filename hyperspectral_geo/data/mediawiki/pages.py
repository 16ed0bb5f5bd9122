"""The pages of one namespace, articles and redirects, and where each redirect leads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat

import numpy as np

from hyperspectral_geo.data.mediawiki.id_table import IdTable
from hyperspectral_geo.data.mediawiki.sql_rows import TableDump

__all__ = ["ABSENT", "NOWHERE", "Pages", "follow_redirects", "read_pages", "read_redirects"]

ABSENT, NOWHERE = -1, -2
"""Instead of a page's number: there is none of this title or id; it is a redirect that leads to no article."""


@dataclass(frozen=True)
class Pages:
    """The p pages of a namespace, numbered in the order of their ids.

    Attributes:
        titles: as in the database, UTF-8 with underscores.
        redirect: (p,) bool.
        numbers: of each title.
        by_id: number of each ``page_id``, or ``ABSENT``.
    """

    titles: list[bytes]
    redirect: np.ndarray
    numbers: dict[bytes, int]
    by_id: IdTable

    def numbered(self, titles: np.ndarray) -> np.ndarray:
        """The numbers of titles (k,), or ``ABSENT``: (k,) int32."""
        return np.fromiter(map(self.numbers.get, titles, repeat(ABSENT)), np.int32, len(titles))


def read_pages(dump: TableDump, namespace: int) -> Pages:
    """The pages of ``namespace``.

    Raises:
        ValueError: if there are none, or an id or a title comes twice; and as ``iterate_rows``.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for block in dump.blocks(("page_namespace", "page_id", "page_title", "page_is_redirect")):
        here = block.pop("page_namespace") == namespace
        parts.append(tuple(column[here] for column in block.values()))
    ids, titles, redirect = (np.concatenate(columns) for columns in zip(*parts, strict=True)) if parts else ([],) * 3
    if len(ids) == 0:
        raise ValueError(
            f"{dump.path}: expected pages in namespace {namespace}, got none; pass another namespace or another dump"
        )
    order = np.argsort(ids, kind="stable")
    ids, titles, redirect = ids[order], titles[order].tolist(), redirect[order] != 0
    numbers = {title: number for number, title in enumerate(titles)}
    if len(numbers) < len(titles) or None in numbers:
        raise ValueError(
            f"{dump.path}: expected every title once in namespace {namespace}, got {len(titles)} pages of "
            f"{len(numbers)} titles; download the dump again"
        )
    by_id = IdTable(ids, np.arange(len(ids)), missing=ABSENT, source=f"{dump.path}, page_id")
    return Pages(titles, redirect, numbers, by_id)


def read_redirects(dump: TableDump, pages: Pages, namespace: int) -> np.ndarray:
    """For each page the number of the page to which it redirects, or ``ABSENT``: (p,) int32.

    A redirect to another wiki, to another namespace or to a title without a page has none. The page table says which
    pages are redirects: a row for any other page is a remnant and does not count.

    Raises:
        ValueError: if a page redirects to two titles; and as ``iterate_rows``.
    """
    aims = np.full(len(pages.titles), ABSENT, dtype=np.int32)
    rows = np.zeros(len(pages.titles), dtype=np.int64)
    for block in dump.blocks(("rd_from", "rd_namespace", "rd_title", "rd_interwiki")):
        pages_from = pages.by_id[block["rd_from"]]
        known = pages_from != ABSENT
        known[known] = pages.redirect[pages_from[known]]
        np.add.at(rows, pages_from[known], 1)
        to_other_wiki = block["rd_interwiki"].astype(bool)  # neither NULL nor empty
        used = known & (block["rd_namespace"] == namespace) & ~to_other_wiki
        aims[pages_from[used]] = pages.numbered(block["rd_title"][used])
    if (rows > 1).any():
        title = pages.titles[int(np.argmax(rows > 1))]
        raise ValueError(
            f"{dump.path}: expected one target for each redirect, got {rows.max()} for "
            f"{title.decode(errors='replace')!r}; download the dump again"
        )
    return aims


def follow_redirects(aims: np.ndarray, redirect: np.ndarray) -> np.ndarray:
    """The article at the end of each page's chain of redirects: (p,) int32; ``NOWHERE`` for a cycle or a dead end.

    Each round doubles the length of the chains that are followed, so that log₂ p rounds reach the end of any of them.

    >>> follow_redirects(np.array([1, 2, -1, 4, 3]), np.array([True, True, False, True, True]))
    array([ 2,  2,  2, -2, -2], dtype=int32)
    """
    count = len(aims)
    hop = np.where(redirect, aims, np.arange(count))
    hop = np.append(np.where(hop < 0, count, hop), count)  # the dead end is one more page, which leads to itself
    for _ in range(count.bit_length()):
        hop = hop[hop]
    arrived = np.append(~redirect, False)[hop]
    return np.where(arrived, hop, NOWHERE)[:count].astype(np.int32)

"""The links between the pages of a wiki, joined from the dumps of page, redirect, linktarget and pagelinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from hyperspectral_geo.data.mediawiki.cache import load_links, require_parquet, save_links
from hyperspectral_geo.data.mediawiki.dump_files import find_dumps, named_date
from hyperspectral_geo.data.mediawiki.id_table import IdTable
from hyperspectral_geo.data.mediawiki.page_links import PageLinks
from hyperspectral_geo.data.mediawiki.pages import ABSENT, NOWHERE, Pages, follow_redirects, read_pages, read_redirects
from hyperspectral_geo.data.mediawiki.sql_rows import TableDump, read_schema

__all__ = ["read_links"]

_ELSEWHERE, _UNKNOWN = -3, -4  # instead of a target's number: in another namespace; not in linktarget
_OUTSIDE = ("from other namespace", "to other namespace")
_LOST = ("unknown source", "unknown target", "red link", "broken redirect")
_JOINED = ("from redirect", "self-link", "repeat", "kept")


def read_links(
    source: Path | Mapping[str, Path], *, namespace: int = 0, cache: Path | None = None, most_lost: float = 0.9
) -> PageLinks:
    """Read the links between the pages of one namespace from the SQL dumps of a wiki.

    Links are followed through redirects, chains of them included, to the page at their end. A link without a page at
    its end (a red link, a redirect that is a cycle, leads to another wiki, another namespace or a red link) is dropped
    and counted. Both schemas are read: before 2024 pagelinks held titles, since then it refers to linktarget.

    ``counts`` has the rows ``links``, and what became of each: ``from other namespace``, ``to other namespace``,
    ``unknown source`` (not in page), ``from redirect``, ``unknown target`` (not in linktarget), ``red link``,
    ``broken redirect``, ``self-link``, ``repeat`` or ``kept``; they add up. ``through redirect`` is how many of the
    last three a redirect led to. Also ``pages``, ``redirects`` and ``broken redirects`` of the namespace.

    Memory: for each page and redirect about 150 bytes and its title's length; 24 for each link target; 25 a link.

    Args:
        source: a folder with one dump of each table, or a path for each table's name.
        namespace: which pages; 0 for articles, 14 for categories.
        cache: a Parquet file to read instead, if it was written for the very same dumps, by their sha256; otherwise it
            is written. Needs the extra ``hyperspectral-geo[tables]``.
        most_lost: the largest share of links within the namespace that may have no page at either end.

    Raises:
        FileNotFoundError: if a dump is missing.
        ValueError: as ``iterate_rows``; for dumps of different days; a title that is not UTF-8; or implausible counts:
            no pages, no links within the namespace, or more lost than ``most_lost``.
        ImportError: if ``cache`` is given and pyarrow is missing.
        OSError: if a file cannot be read or the cache not be written.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> dumps = {
    ...     "page": "CREATE TABLE page (page_id int, page_namespace int, page_title text, page_is_redirect int);"
    ...     "INSERT INTO page VALUES (1,0,'A',0),(2,0,'B_C',0),(3,0,'D',1);",
    ...     "redirect": "CREATE TABLE redirect (rd_from int, rd_namespace int, rd_title text, rd_interwiki text);"
    ...     "INSERT INTO redirect VALUES (3,0,'B_C','');",
    ...     "pagelinks": "CREATE TABLE pagelinks (pl_from int, pl_namespace int, pl_title text);"
    ...     "INSERT INTO pagelinks VALUES (1,0,'D'),(1,0,'Red'),(2,0,'A');",
    ... }
    >>> for table, dump in dumps.items():
    ...     _ = (Path(folder.name) / f"{table}.sql").write_text(dump)
    >>> links = read_links(Path(folder.name))
    >>> links.names, links.edges.tolist(), links.counts["red link"]
    (('A', 'B C'), [[0, 1], [1, 0]], 1)
    """
    if not 0 <= most_lost <= 1:
        raise ValueError(f"most_lost: expected a share from 0 to 1, got {most_lost}")
    files = find_dumps(source)
    if cache is not None:
        require_parquet(cache)
        cached = load_links(cache, files, namespace=namespace)
        if cached is not None:
            return cached
    dumps = {table: TableDump(path, table) for table, path in files.items()}
    pages = read_pages(dumps["page"], namespace)
    ends = follow_redirects(read_redirects(dumps["redirect"], pages, namespace), pages.redirect)
    counts = Counter({"pages": int((~pages.redirect).sum()), "redirects": int(pages.redirect.sum())})
    counts["broken redirects"] = int((ends == NOWHERE).sum())
    counts.update(dict.fromkeys(("links", *_OUTSIDE, *_LOST, *_JOINED, "through redirect"), 0))
    edges = _joined(_pairs(dumps, pages, namespace, counts), pages, ends, counts)
    _require_plausible(counts, files["pagelinks"], namespace, most_lost)
    articles = np.flatnonzero(~pages.redirect)
    links = PageLinks(
        _names([pages.titles[number] for number in articles.tolist()], dumps["page"].path),
        torch.from_numpy(edges),
        namespace,
        max((day for dump in dumps.values() if (day := named_date(dump.path) or dump.completed)), default=None),
        dict(counts),
        {table: dump.sha256 for table, dump in dumps.items()},
    )
    if cache is not None:
        save_links(cache, links)
    return links


def _pairs(
    dumps: Mapping[str, TableDump], pages: Pages, namespace: int, counts: Counter[str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Links as numbers of pages, (k,) int32 each: sources that are articles of the namespace, and any targets."""
    dump = dumps["pagelinks"]
    schema = [column.name for column in read_schema(dump.path, "pagelinks")]
    # Wikis before 2014 lack the source's namespace, which the page table also tells.
    told = ["pl_from_namespace"] if "pl_from_namespace" in schema else []
    by_id = None if "pl_title" in schema else _link_targets(dumps["linktarget"], pages, namespace)
    aim = ["pl_namespace", "pl_title"] if by_id is None else ["pl_target_id"]
    for block in dump.blocks(("pl_from", *told, *aim)):
        counts["links"] += len(block["pl_from"])
        if told:
            block = _kept(block, block["pl_from_namespace"] == namespace, "from other namespace", counts)
        if by_id is None:
            block = _kept(block, block["pl_namespace"] == namespace, "to other namespace", counts)
            targets = pages.numbered(block["pl_title"])
        else:
            targets = by_id[block["pl_target_id"]]
        joined = {"source": pages.by_id[block["pl_from"]], "target": targets}
        joined = _kept(joined, joined["target"] != _ELSEWHERE, "to other namespace", counts)
        reason = "unknown source" if told else "from other namespace"
        joined = _kept(joined, joined["source"] != ABSENT, reason, counts)
        joined = _kept(joined, ~pages.redirect[joined["source"]], "from redirect", counts)
        yield joined["source"], joined["target"]


def _kept(block: dict[str, np.ndarray], kept: np.ndarray, reason: str, counts: Counter[str]) -> dict[str, np.ndarray]:
    """The rows of a block that are kept; the others are counted under the reason why they are not."""
    counts[reason] += len(kept) - int(kept.sum())
    return {name: column[kept] for name, column in block.items()}


def _link_targets(dump: TableDump, pages: Pages, namespace: int) -> IdTable:
    """For each ``lt_id`` the number of its page, ``ABSENT`` or ``_ELSEWHERE``; ``_UNKNOWN`` for other ids."""
    ids, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for block in dump.blocks(("lt_id", "lt_namespace", "lt_title")):
        here = block["lt_namespace"] == namespace
        found = np.full(len(here), _ELSEWHERE, dtype=np.int32)
        found[here] = pages.numbered(block["lt_title"][here])
        ids.append(block["lt_id"])
        numbers.append(found)
    return IdTable(np.concatenate(ids), np.concatenate(numbers), missing=_UNKNOWN, source=f"{dump.path}, lt_id")


def _joined(
    pairs: Iterator[tuple[np.ndarray, np.ndarray]], pages: Pages, ends: np.ndarray, counts: Counter[str]
) -> np.ndarray:
    """Links between articles, (e, 2) int64 in the articles' own numbering, sorted; each is one key until then."""
    article = np.cumsum(~pages.redirect) - 1
    count = max(counts["pages"], 1)
    keys = [np.empty(0, np.int64)]
    for source, target in pairs:
        links = _kept({"source": source, "target": target}, target != _UNKNOWN, "unknown target", counts)
        links = _kept(links, links["target"] != ABSENT, "red link", counts)
        arrived = ends[links["target"]]
        through = pages.redirect[links["target"]] & (arrived != NOWHERE)
        counts["through redirect"] += int(through.sum())
        links["target"] = arrived
        links = _kept(links, arrived != NOWHERE, "broken redirect", counts)
        links = _kept(links, links["source"] != links["target"], "self-link", counts)
        keys.append(article[links["source"]] * count + article[links["target"]])
    found = np.concatenate(keys)
    keys.clear()
    found.sort()
    distinct = found[np.diff(found, prepend=-1) > 0]
    counts["repeat"], counts["kept"] = len(found) - len(distinct), len(distinct)
    del found
    edges = np.empty((len(distinct), 2), np.int64)
    np.divmod(distinct, count, out=(edges[:, 0], edges[:, 1]))
    return edges


def _require_plausible(counts: Counter[str], path: Path, namespace: int, most_lost: float) -> None:
    """Refuse counts of dumps that do not belong together."""
    lost = sum(counts[reason] for reason in _LOST)
    within = lost + sum(counts[fate] for fate in _JOINED)
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    if counts["links"] and not within:
        raise ValueError(
            f"{path}: expected links within namespace {namespace}, got none ({told}); pass another namespace, or dumps "
            "of the same wiki and day"
        )
    if lost > most_lost * within:
        raise ValueError(
            f"{path}: expected at most {most_lost:.0%} of the links within namespace {namespace} to be lost, "
            f"got {lost} of {within} ({told}); use dumps of the same wiki and day, or raise most_lost"
        )


def _names(titles: list[bytes], path: Path) -> tuple[str, ...]:
    try:
        names = tuple(title.decode("utf-8").replace("_", " ") for title in titles)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected titles in UTF-8, got {error.object!r}; convert the dump, or repair this title"
        ) from None
    if len({*names}) < len(names):
        repeated = Counter(names).most_common(1)[0][0]
        raise ValueError(
            f"{path}: expected titles that differ by more than spaces for underscores, got {repeated!r} twice; "
            "repair the dump, in which titles have underscores only"
        )
    return names

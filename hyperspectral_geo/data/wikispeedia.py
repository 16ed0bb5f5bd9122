"""Wikispeedia: Wikipedia articles, the links between them, and the walks of people who played on them."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from .catalogue import require_data_set
from .edge_rows import text_rows

__all__ = ["Walk", "Wikispeedia", "article_text", "load_categories", "load_walks", "load_wikispeedia"]

_COUNTS = ((4_604, 119_882), (4_598, 119_879))  # SNAP's, and a copy without six of its articles
_WALKS = 24_875
_TOP = "wikispeedia_paths-and-graph"
_TEXTS = ("plaintext_articles.tar.gz", "wikispeedia_articles_plaintext.tar.gz")
_MOST_TEXT = 16 << 20  # the longest article has 109 kB
_REMEDY = "restore the file, or run `hsgeo data get wikispeedia`"


@dataclass(frozen=True)
class Wikispeedia:
    """Articles and links: row (a, b) of ``edges`` says that article ``names[a]`` has a link to ``names[b]``."""

    names: tuple[str, ...]
    edges: Int[Tensor, "e 2"]


@dataclass(frozen=True)
class Walk:
    """An unfinished game.

    Attributes:
        seconds: how long it took.
        path: the articles clicked on, from the first; ``"<"`` stands for a click on the back button.
        target: the article that was to be reached; some of them were typed in and are no article.
        reason: ``"timeout"`` after 30 minutes without a click, or ``"restart"``.
    """

    seconds: int
    path: tuple[str, ...]
    target: str
    reason: str


def load_wikispeedia(
    folder: str | os.PathLike[str] | None = None, *, core: bool = False, verify: bool = True
) -> Wikispeedia:
    """Read the articles and links of Wikispeedia.

    Args:
        folder: where ``articles.tsv`` and ``links.tsv`` lie; by default ``wikispeedia`` below ``HSGEO_DATA``, or where
            ``hsgeo data get wikispeedia`` puts it.
        core: whether to keep only the largest part in which every article can be reached from every other.
        verify: whether to refuse other numbers of articles and links than those of the two known copies.

    Returns:
        ``names`` in the file's order, with blanks for underscores, and ``edges``, int64 of shape (e, 2), in the file's
        order; 110 links go from an article to itself.

    Raises:
        ValueError: naming file and line, if a file is damaged; with ``verify``, for other counts.
        FileNotFoundError: if a file is missing.

    References:
        West, Pineau and Precup, "Wikispeedia: An Online Game for Inferring Semantic Distances between Concepts", IJCAI
        2009. West and Leskovec, "Human Wayfinding in Information Networks", WWW 2012.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "articles.tsv").write_text("# titles\\n%C3%89douard_Manet\\nParis\\n")
    >>> _ = (folder / "links.tsv").write_text("%C3%89douard_Manet\\tParis\\n")
    >>> load_wikispeedia(folder, verify=False).names
    ('Édouard Manet', 'Paris')

    STATS:

    ==== ======== ======= ========== =============
    copy articles links   self-loops core articles
    ==== ======== ======= ========== =============
    4598 4,598    119,879 110        4,051
    ==== ======== ======= ========== =============
    """
    home = _home(folder)
    names, number = _read_articles(home / "articles.tsv")
    edges = _read_links(home / "links.tsv", number)
    if verify and (len(names), len(edges)) not in _COUNTS:
        known = " or ".join(f"{articles:,} articles and {links:,} links" for articles, links in _COUNTS)
        raise ValueError(
            f"{home}: expected {known}, got {len(names):,} and {len(edges):,}; {_REMEDY}, or pass verify=False"
        )
    names, edges = _largest_strong_component(names, edges) if core else (names, edges)
    return Wikispeedia(names, torch.from_numpy(edges))


def load_categories(folder: str | os.PathLike[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The subject categories of each article that has any, such as ``"subject.People.Artists"``.

    Args:
        folder: where ``categories.tsv`` lies; by default as ``load_wikispeedia``.

    Returns:
        Name of the article → paths in the tree of subjects, joined by full stops.

    Raises:
        ValueError, FileNotFoundError: as ``load_wikispeedia``.
    """
    path = _home(folder) / "categories.tsv"
    found: dict[str, list[str]] = {}
    for line, (article, category) in _rows(path, ("article", "category")):
        found.setdefault(_name(path, line, article), []).append(category)
    return {name: tuple(categories) for name, categories in found.items()}


def load_walks(folder: str | os.PathLike[str] | None = None, *, verify: bool = True) -> tuple[Walk, ...]:
    """The games that were given up: what was clicked on the way to a target that was not reached.

    Args:
        folder: where ``paths_unfinished.tsv`` lies; by default as ``load_wikispeedia``.
        verify: whether to refuse other numbers than 24,875.

    Raises:
        ValueError, FileNotFoundError: as ``load_wikispeedia``.
    """
    path = _home(folder) / "paths_unfinished.tsv"
    columns = ("hashedIpAddress", "timestamp", "durationInSec", "path", "target", "type")
    walks = []
    for line, (_, _, seconds, clicks, target, reason) in _rows(path, columns):
        if not (seconds.isascii() and seconds.isdigit()) or reason not in ("timeout", "restart"):
            got = f"{seconds!r} and {reason!r}"
            raise ValueError(
                f"{path}, line {line}: expected whole seconds and timeout or restart, got {got}; {_REMEDY}"
            )
        steps = tuple(_name(path, line, step) for step in clicks.split(";"))
        walks.append(Walk(int(seconds), steps, _name(path, line, target), reason))
    if verify and len(walks) != _WALKS:
        raise ValueError(f"{path}: expected {_WALKS:,} games, got {len(walks):,}; {_REMEDY}, or pass verify=False")
    return tuple(walks)


def article_text(folder: str | os.PathLike[str] | None = None) -> Iterator[tuple[str, str]]:
    """Name and plain text of each article, in the archive's order, read from it without unpacking it to disk.

    Args:
        folder: where ``plaintext_articles.tar.gz`` lies; by default as ``load_wikispeedia``.

    Yields:
        Names as in ``load_wikispeedia``, and texts; bytes that are not UTF-8 become U+FFFD.

    Raises:
        ValueError: naming the member, if it is no plain file ``plaintext_articles/TITLE.txt`` of at most 16 MiB, or
            if the archive is damaged.
        FileNotFoundError: if it is missing.
    """
    home = _home(folder)
    places = (home, home.parent) if home.name == _TOP else (home,)
    path = next((place / name for place in places for name in _TEXTS if (place / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{home}: expected {' or '.join(_TEXTS)}, found neither; {_REMEDY}")
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.isdir():
                    continue
                inside = PurePosixPath(member.name)
                plain = member.isreg() and inside.suffix == ".txt" and inside.parts[:-1] == ("plaintext_articles",)
                if not plain or member.size > _MOST_TEXT:
                    raise ValueError(
                        f"{path}: expected plain files plaintext_articles/TITLE.txt, got {ascii(member.name)[:80]} "
                        f"of {member.size} bytes; {_REMEDY}"
                    )
                file = archive.extractfile(member)
                yield _name(path, 0, inside.stem), file.read().decode("utf-8", "replace") if file else ""
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole .tar.gz, got a damaged one ({error}); {_REMEDY}") from error


def _home(folder: str | os.PathLike[str] | None) -> Path:
    """The folder of the tables: the one given, or the one inside it that SNAP's archive brings."""
    given = require_data_set("wikispeedia") if folder is None else Path(folder)
    return given / _TOP if (given / _TOP).is_dir() else given


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row of a table."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of Wikispeedia, found none; {_REMEDY}")
    for line, fields in text_rows(path, "\t"):
        if len(fields) != len(columns) or "" in fields:
            raise ValueError(f"{path}, line {line}: expected {', '.join(columns)}, got {fields!r:.80}; {_REMEDY}")
        yield line, fields


def _read_articles(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names, and the number of each title as it is written in the files."""
    number, names = {}, {}
    for line, (title,) in _rows(path, ("article",)):
        name = _name(path, line, title)
        if name in names:
            raise ValueError(f"{path}, line {line}: expected each article once, got {name!r} again; {_REMEDY}")
        number[title] = len(number)
        names[name] = None
    return tuple(names), number


def _read_links(path: Path, number: dict[str, int]) -> np.ndarray:
    pairs = []
    for line, ends in _rows(path, ("linkSource", "linkTarget")):
        try:
            pairs.append((number[ends[0]], number[ends[1]]))
        except KeyError as error:
            raise ValueError(
                f"{path}, line {line}: expected articles of articles.tsv, got {error}; {_REMEDY}"
            ) from None
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _name(path: Path, line: int, title: str) -> str:
    try:
        return _decoded(title)
    except UnicodeDecodeError:
        raise ValueError(f"{path}, line {line}: expected percent-encoded UTF-8, got {title!r:.80}; {_REMEDY}") from None


@lru_cache(maxsize=1 << 14)
def _decoded(title: str) -> str:
    return unquote_to_bytes(title).decode("utf-8").replace("_", " ")


def _largest_strong_component(names: tuple[str, ...], edges: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(edges)), edges.T), shape=(len(names), len(names)))
    label = connected_components(links, connection="strong")[1]
    kept = label == np.bincount(label).argmax()
    renumbered = np.cumsum(kept) - 1
    inside = kept[edges].all(axis=1)
    return tuple(np.array(names, dtype=object)[kept]), renumbered[edges[inside]]

"""Texts of pages by their titles: a file of JSON lines, a folder of text files, or Wikispeedia's articles."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from hyperspectral_geo.data.wikispeedia import article_text

__all__ = ["read_page_texts"]

_MOST_TEXT = 16 << 20


def read_page_texts(source: str | os.PathLike[str]) -> dict[str, str]:
    """Title → text of each page.

    Args:
        source: ``"wikispeedia"``; a file ``.jsonl`` or ``.jsonl.gz`` of objects ``{"title": …, "text": …}``, one a
            line; or a folder of files ``TITLE.txt`` in UTF-8.

    Raises:
        ValueError: naming the file and the line for anything else, a title that comes twice, or bytes that are not
            UTF-8.
        FileNotFoundError: if there is nothing there.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "pages.jsonl"
    >>> _ = file.write_text('{"title": "Beer", "text": "Beer is brewed."}\\n')
    >>> read_page_texts(file)
    {'Beer': 'Beer is brewed.'}
    """
    path = Path(source)
    if str(source) == "wikispeedia":
        return dict(article_text())
    if path.is_dir():
        found = {file.stem: _text_of(file) for file in sorted(path.glob("*.txt"))}
        if not found:
            raise ValueError(f"{path}: expected files TITLE.txt, got none; pass a folder of texts or a .jsonl file")
        return found
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected wikispeedia, a .jsonl file or a folder of TITLE.txt, got neither")
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise ValueError(f"{path}: expected a file .jsonl or .jsonl.gz of pages, got {path.suffix or 'no ending'!r}")
    found = {}
    for line, title, text in _pages(path):
        if title in found:
            raise ValueError(f"{path}, line {line}: expected each title once, got {title[:60]!r} again; remove one")
        found[title] = text
    if not found:
        raise ValueError(f"{path}: expected pages, got an empty file")
    return found


def _text_of(file: Path) -> str:
    if file.stat().st_size > _MOST_TEXT:
        raise ValueError(f"{file}: expected at most 16 MiB of text, got {file.stat().st_size} bytes")
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected UTF-8, got byte {error.start} that is not; convert the file") from error


def _pages(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, title and text of each line that is not blank."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            for line, raw in enumerate(iter(lambda: file.readline(_MOST_TEXT + 1), b""), 1):
                if len(raw) > _MOST_TEXT:
                    raise ValueError(f"{path}, line {line}: expected at most 16 MiB, got more; split the page")
                if raw.strip():
                    yield line, *_page(raw, f"{path}, line {line}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole .gz file, got a damaged one ({error})") from error


def _page(raw: bytes, where: str) -> tuple[str, str]:
    try:
        page = json.loads(raw.decode("utf-8-sig"))
        if b"\\u" in raw:  # an escape may be half of a character, which no text can hold
            json.dumps(page, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected a JSON object, got {str(error)[:80]}; one page a line") from error
    right = isinstance(page, dict) and all(isinstance(page.get(key), str) for key in ("title", "text"))
    if not right or not page["title"].strip():
        raise ValueError(f"{where}: expected strings as title and text, got {str(page)[:60]!r}; see read_page_texts")
    return page["title"], page["text"]

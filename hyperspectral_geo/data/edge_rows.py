"""The rows of a table of links: tab-separated, CSV or blank-separated text, plain or gzipped, and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["WEIGHT_COLUMNS", "parquet_rows", "text_rows"]

WEIGHT_COLUMNS = ("weight", "length", "probability")
"""What a header may call the third column."""

Row = tuple[int, list[Any]]

_DELIMITERS = {".tsv": "\t", ".csv": ",", ".txt": None}


def text_rows(path: Path, delimiter: str | None = None) -> Iterator[Row]:
    """Line number and fields of each line that is neither blank nor a comment.

    Args:
        path: a text file in UTF-8, with or without a byte order mark, gzipped if its name ends in ``.gz``. Lines may
            end in LF, CRLF or CR; those that begin with ``#`` are comments.
        delimiter: one character; a blank stands for any run of blanks. Without it the suffix decides: a tab for
            ``.tsv``, a comma for ``.csv``; for ``.txt``, a tab if the first line holds one, blanks otherwise. Quotes
            have a meaning only where the delimiter is neither a tab nor blank.

    Raises:
        ValueError: naming file and line, for a suffix that says nothing, bytes that are not UTF-8, a damaged gzip file,
            or quotes that do not match.
        FileNotFoundError: if there is no such file.
    """
    delimiter = _delimiter(path, delimiter)
    try:
        with _opened(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as lines:
            yield from (
                _quoted(path, lines, delimiter) if delimiter not in (None, "\t", " ") else _split(lines, delimiter)
            )
    except UnicodeDecodeError:
        number, error = _first_undecodable(path)
        raise ValueError(
            f"{path}, line {number}: expected UTF-8, got byte {error.object[error.start]:#04x} at its place "
            f"{error.start + 1}; save the file as UTF-8"
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got a damaged one ({error}); copy it again") from error


def _delimiter(path: Path, given: str | None) -> str | None:
    if given is not None:
        if len(given) != 1 or given in '"#\r\n':
            raise ValueError(f"delimiter: expected one character such as ',' or a tab, got {given!r}")
        return given
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _DELIMITERS:
        raise ValueError(
            f"{path}: expected a name that ends in .tsv, .csv or .txt, with or without .gz, or in .parquet, "
            f"got {path.name!r}; rename it, or pass delimiter="
        )
    return _DELIMITERS[suffix]


def _opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    if path.is_dir():
        raise ValueError(f"{path}: expected a file of links, got a folder; name a file in it")
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a file of links, found none; check the path") from None


def _split(lines: Iterable[str], delimiter: str | None) -> Iterator[Row]:
    split: Callable[[str], list[str]] | None = None
    for number, line in enumerate(lines, start=1):
        if line[0] == "#" or line.isspace():
            continue
        line = line.rstrip("\r\n")
        if split is None:  # a .txt file: its first line decides
            tabs = delimiter == "\t" or (delimiter is None and "\t" in line)
            split = (lambda line: line.split("\t")) if tabs else str.split
        yield number, split(line)


def _quoted(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    number = taken = 0

    def without_comments() -> Iterator[str]:
        nonlocal number, taken
        for line in lines:
            number += 1
            if line[0] != "#":
                taken += 1
                yield line

    reader = csv.reader(without_comments(), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            if taken > 1:  # nearly always a quote that was never closed: it would swallow links up to the next quote
                raise csv.Error("a quote that goes on from the line before")
            taken = 0
            if fields:
                yield number, fields
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {number}: expected CSV with a link on each line, got {error}; mend the quotes"
        ) from None


def _first_undecodable(path: Path) -> tuple[int, UnicodeDecodeError]:
    """Number and error of the line; only looked for once reading has failed."""
    with _opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return number, error
    raise ValueError(f"{path}: the file was changed while it was read; read it again")


def parquet_rows(path: Path) -> Iterator[Row]:
    """Row number and values of each row, after the names of the columns as row 0 if two are ``source``, ``target``.

    Of a table with these two columns, they and one of ``WEIGHT_COLUMNS`` are read; of another, all columns.

    Raises:
        ImportError: without pyarrow.
        ValueError: if the file is damaged, or the ends are neither text nor whole numbers.
        FileNotFoundError: if there is no such file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
        from pyarrow import types
    except ImportError:
        raise ImportError(
            f'{path}: expected pyarrow, which reads Parquet, found none; pip install "hyperspectral-geo[tables]"'
        ) from None
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a Parquet file of links, found none; check the path")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            named = {"source", "target"} <= set(schema.names)
            weight = [name for name in WEIGHT_COLUMNS if name in schema.names][:1]
            columns = ["source", "target", *weight] if named else list(schema.names)
            twice = next((name for name in columns if schema.names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{path}: expected columns of different names, got {twice!r} twice; rename one")
            if named:
                yield 0, columns
            for name in columns[:2]:
                kind = schema.field(name).type
                kind = kind.value_type if types.is_dictionary(kind) else kind
                if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
                    raise ValueError(f"{path}: expected text or whole numbers in column {name!r}, got {kind}")
            number = 0
            for batch in file.iter_batches(columns=columns):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    yield number, list(values)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a Parquet file, got a damaged one ({error}); write it again") from error

"""The dumps of a wiki among the files of a folder, and the day that their names tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from hyperspectral_geo.data.mediawiki.sql_rows import read_schema

__all__ = ["find_dumps", "named_date"]

_TABLES = ("page", "pagelinks", "linktarget", "redirect")
_FILE = re.compile(r"(?:.*-)?(page|pagelinks|linktarget|redirect)\.sql(?:\.gz)?")
_DATE = re.compile(r"-(\d{4})(\d\d)(\d\d)-")


def find_dumps(source: Path | Mapping[str, Path]) -> dict[str, Path]:
    """The files of page, pagelinks and redirect, and of linktarget if the links refer to it.

    Args:
        source: a folder with files named such as ``enwiki-20240901-page.sql.gz`` or ``page.sql``, or each table's file.

    Raises:
        FileNotFoundError: if a dump is missing.
        ValueError: if there are several of a table, or the names tell different days.
    """
    files = dict(source) if isinstance(source, Mapping) else _in_folder(source)
    unknown = sorted({*files} - {*_TABLES})
    if unknown:
        raise ValueError(f"source: expected files of {', '.join(_TABLES)}, got one of {', '.join(unknown)}; drop it")
    needed = ["page", "pagelinks", "redirect"]
    for table in needed:  # grows by linktarget, once pagelinks is there to ask
        if table not in files or not files[table].is_file():
            where = files.get(table, source if isinstance(source, Path) else "source")
            raise FileNotFoundError(
                f"{where}: expected a dump of the table {table}, such as enwiki-20240901-{table}.sql.gz, found none; "
                "download it from the same day as the others"
            )
        if table == "pagelinks" and not any(c.name == "pl_title" for c in read_schema(files[table], table)):
            needed.append("linktarget")
    found = {table: files[table] for table in needed}
    days = {table: day for table, path in found.items() if (day := named_date(path))}
    if len({*days.values()}) > 1:
        told = ", ".join(f"{found[table].name} of {day}" for table, day in days.items())
        raise ValueError(f"source: expected dumps of one day, got {told}; download them from the same day")
    return found


def named_date(path: Path) -> date | None:
    """The day in a name such as ``enwiki-20240901-page.sql.gz``.

    >>> named_date(Path("enwiki-20240901-page.sql.gz")), named_date(Path("enwiki-latest-page.sql.gz"))
    (datetime.date(2024, 9, 1), None)
    """
    found = _DATE.search(path.name)
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _in_folder(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of dumps, found none; pass the folder or the files")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        table = _FILE.fullmatch(path.name)
        if table is None:
            continue
        if table[1] in files:
            raise ValueError(
                f"{folder}: expected one dump of the table {table[1]}, got {files[table[1]].name} and {path.name}; "
                "pass the files as {table: path}"
            )
        files[table[1]] = path
    return files

"""A report as one HTML file that asks nobody for anything: text, tables and pictures, all inside."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.plotting.report_tables import Table, clean, table_html

__all__ = ["Section", "Table", "write_report"]

# Nothing is fetched and no script runs, whatever a name in the report may say.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Section:
    """One part of a report: a heading, paragraphs parted by blank lines, then a picture and a table if there are any.

    ``picture`` is a PNG file or its bytes, and ``alt`` says in words what it shows, for those who do not see it.

    Raises:
        ValueError: if the heading is empty, or a picture comes without ``alt``.
    """

    heading: str
    text: str = ""
    table: Table | None = None
    picture: Path | bytes | None = None
    alt: str = ""

    def __post_init__(self) -> None:
        if not self.heading.strip():
            raise ValueError("heading: expected a text, got an empty one; readers move by headings")
        if self.picture is not None and not self.alt.strip():
            raise ValueError(f"alt: expected words for the picture of {self.heading!r}, got none; say what it shows")


def write_report(path: str | os.PathLike[str], *, title: str, sections: Sequence[Section], footer: str = "") -> Path:
    """Write a report as one self-contained HTML file, which is either whole or absent.

    All text is shown literally. The page adapts to narrow screens, to print and to a preference for dark colours; it
    works without a mouse and holds no script.

    Args:
        path: the file, usually ``report.html``; its folder must exist.
        title: the heading of the page and the name of its window.
        sections: the parts, in order.
        footer: a line at the end: version, seed, time.

    Returns:
        ``path``, as a ``Path``.

    Raises:
        ValueError: for an empty title, no sections, or a picture that is not a PNG.
        OSError: if a picture cannot be read or the file not be written; nothing half-written stays.

    >>> import tempfile
    >>> table = Table(("method", "accuracy"), [("plain average", 0.81), ("flag mean", 0.937)], note="Held out.")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(Path(folder) / "report.html", title="Demo", sections=[Section("Merging", table=table)])
    ...     "<th scope=\\"row\\">flag mean</th>" in page.read_text(encoding="utf-8")
    True
    """
    if not title.strip():
        raise ValueError("title: expected a text, got an empty one")
    if not len(sections):
        raise ValueError("sections: expected at least one Section, got none")
    parts = "\n".join(_section(section, f"section-{n}") for n, section in enumerate(sections, start=1))
    style = files("hyperspectral_geo.plotting").joinpath("report.css").read_text(encoding="utf-8")
    end = f"<footer>\n{_paragraphs(footer)}\n</footer>\n" if footer.strip() else ""
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{clean(title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{clean(title)}</h1>
{_contents(sections)}</header>
<main id="content">
{parts}
</main>
{end}</body>
</html>
"""
    return write_atomically(path, page.encode("utf-8"))


def _contents(sections: Sequence[Section]) -> str:
    """Links to the sections, once there are enough to look for one."""
    if len(sections) < 3:
        return ""
    links = [f'<li><a href="#section-{n}">{clean(s.heading)}</a></li>' for n, s in enumerate(sections, start=1)]
    return "\n".join(['<nav aria-label="Contents">', "<ul>", *links, "</ul>", "</nav>", ""])


def _section(section: Section, name: str) -> str:
    parts = [f'<h2 id="{name}">{clean(section.heading)}</h2>', _paragraphs(section.text)]
    if section.picture is not None:
        parts.append(_picture(section.picture, section.alt))
    if section.table is not None:
        parts.append(table_html(section.table, described_by=name))
    inside = "\n".join(part for part in parts if part)
    return f'<section aria-labelledby="{name}">\n{inside}\n</section>'


def _paragraphs(text: str) -> str:
    blocks = [block.strip() for block in text.replace("\r\n", "\n").split("\n\n")]
    return "\n".join(f"<p>{clean(block)}</p>" for block in blocks if block)


def _picture(picture: Path | bytes, alt: str) -> str:
    """The picture inside the page, with its size, so that nothing jumps while it is decoded."""
    content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    where = "picture" if isinstance(picture, bytes) else str(picture)
    if len(content) < 24 or not content.startswith(_PNG) or content[12:16] != b"IHDR":
        raise ValueError(f"{where}: expected a PNG, got {len(content)} bytes of something else; use png_bytes(figure)")
    width, height = struct.unpack(">II", content[16:24])
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return f'<figure><img src="{source}" width="{width}" height="{height}" alt="{clean(alt)}"></figure>'

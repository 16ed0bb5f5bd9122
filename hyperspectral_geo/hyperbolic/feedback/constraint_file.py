"""Statements in a file, one JSON object a line: read whole or not at all, every fault with its line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint, constraint_of
from hyperspectral_geo.hyperbolic.similar_names import similar_names
from hyperspectral_geo.tensor_file import parse_json

__all__ = ["json_line", "read_constraints", "read_lines", "require_known", "unknown_names", "write_constraints"]

_MOST_LINE = 1 << 20
_MOST_FAULTS = 10
_MARK = b"\xef\xbb\xbf"

T = TypeVar("T")


def read_constraints(path: str | os.PathLike[str], *, names: Sequence[str] | None = None) -> tuple[Constraint, ...]:
    """The statements of a file, in its order; the format is in the guide, under "Feedback".

    A first line of kind ``journal`` is passed over, so that what the explorer page saves can be read too.

    Args:
        path: a file of UTF-8 without a byte order mark, lines of at most 1 MiB.
        names: of the concepts that there are; others are then refused, with those that are spelt alike.

    Raises:
        ValueError: naming the file and up to ten faults, each with its line, its field, what was expected and what was
            got; for a file without statements.
        OSError: if it cannot be opened.

    >>> import tempfile
    >>> from hyperspectral_geo.hyperbolic.feedback.constraint import Closer
    >>> path = write_constraints(Path(tempfile.mkdtemp()) / "said.jsonl", [Closer("Beer", "Yeast")])
    >>> read_constraints(path)[0].source
    'Beer'
    """
    path = Path(path)
    known = frozenset(names or ())

    def entry(line: int, record: Mapping[str, Any]) -> Constraint | None:
        if line == 1 and record.get("kind") == "journal":
            return None
        found = constraint_of(record, where=f"{path.name}, line {line}")
        if names is not None and (told := "; ".join(unknown_names(found, known, names))):
            raise ValueError(told)
        return found

    found = tuple(one for one in read_lines(path, entry) if one is not None)
    if not found:
        raise ValueError(f"{path}: expected at least one statement, got none; add a line, or leave the file out")
    return found


def write_constraints(path: str | os.PathLike[str], constraints: Iterable[Constraint]) -> Path:
    """Write statements as ``read_constraints`` reads them, whole or not at all; returns the path."""
    return write_atomically(path, b"".join(json_line(one.as_record()) for one in constraints))


def json_line(record: Mapping[str, Any]) -> bytes:
    """An object as one line of plain ASCII."""
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def read_lines(path: Path, entry: Callable[[int, Mapping[str, Any]], T]) -> list[T]:
    """What ``entry`` makes of the number and the object of each line.

    Raises:
        ValueError: naming the file and up to ten faults by their lines, those that ``entry`` raises among them.
        OSError: if it cannot be opened.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a file of JSON lines, got no such file; check its name")
    if not path.is_file():
        raise ValueError(f"{path}: expected a regular file, got a folder or a device; name a file of JSON lines")
    found, faults = [], []
    for number, raw in enumerate(_raw_lines(path), 1):
        try:
            found.append(entry(number, _object(raw, path, first=number == 1)))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            if len(faults) == _MOST_FAULTS:
                faults.append("and perhaps more")
                break
    if faults:
        raise ValueError(f"{path}: {'; '.join(faults)}. Nothing was taken over; correct these lines")
    return found


def unknown_names(constraint: Constraint, known: Collection[str], names: Sequence[str]) -> Iterator[str]:
    """For each concept that is not among ``known``: what to tell, with those of ``names`` that are spelt alike."""
    for name in constraint.concepts:
        if name not in known:
            close = ", ".join(map(repr, similar_names(name, names))) or "none is close"
            yield f"{name!r:.80} is not one of the {len(names)} concepts; similar: {close}"


def require_known(constraints: Iterable[Constraint], names: Sequence[str]) -> None:
    """Raise ``ValueError`` for concepts that are not among ``names``: up to ten of them, with similar names."""
    known, faults = frozenset(names), []
    for one in constraints:
        faults += [f"{one.where or one.kind}: {told}" for told in unknown_names(one, known, names)]
        if len(faults) >= _MOST_FAULTS:
            break
    if faults:
        raise ValueError(f"constraints: {'; '.join(faults[:_MOST_FAULTS])}; correct or remove them")


def _raw_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while raw := file.readline(_MOST_LINE + 1):
            yield raw
            while len(raw) > _MOST_LINE and not raw.endswith(b"\n"):
                raw = file.readline(_MOST_LINE + 1)  # the rest of a line that is refused


def _object(raw: bytes, path: Path, *, first: bool) -> dict[str, Any]:
    if first and raw.startswith(_MARK):
        raise ValueError("expected UTF-8 without a byte order mark, got one; save the file without it")
    if not raw.strip():
        raise ValueError("expected a JSON object, got an empty line; remove it")
    if len(raw) > _MOST_LINE:
        raise ValueError(f"expected a line of at most {_MOST_LINE} bytes, got a longer one; split it")
    return parse_json(raw, path, lambda _, __, reason: ValueError(reason), what="line")

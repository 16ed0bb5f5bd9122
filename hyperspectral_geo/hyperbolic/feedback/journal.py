"""What people have answered, in a file beside the model that only grows."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint, constraint_of
from hyperspectral_geo.hyperbolic.feedback.constraint_file import json_line, read_lines

__all__ = ["Journal", "answers_digest", "journal_lock"]

_FORMAT = 1
_HASH = re.compile(r"[0-9a-f]{64}")
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # of file systems without locks of folders


@dataclass(frozen=True)
class Journal:
    """Answers to a model, numbered from 1 as they came, and what was done with them.

    Attributes:
        model: SHA-256 of the file of the base model, to which all answers belong.
        points: how many concepts it has.
        answers: all of them, taken back or not.
        undone: numbers of those taken back.
        applies: for each time that answers were applied, their numbers.
        applied: numbers of the answers that the model follows now.
        made: SHA-256 of every model file that was made from answers, in their order.
        lines: the file.
    """

    model: str
    points: int
    answers: tuple[Constraint, ...] = ()
    undone: frozenset[int] = frozenset()
    applies: tuple[tuple[int, ...], ...] = ()
    applied: tuple[int, ...] = ()
    made: tuple[str, ...] = ()
    lines: bytes = field(default=b"", repr=False)

    @classmethod
    def empty(cls, model: str, points: int) -> Journal:
        """That of a model without answers."""
        header = {"kind": "journal", "format": _FORMAT, "model": model, "points": points}
        return cls(model, points, lines=json_line(header))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Journal:
        """Read a journal.

        Raises:
            ValueError: naming the file and up to ten faults by their lines.
            OSError: if it cannot be opened.
        """
        path = Path(path)
        records = read_lines(path, lambda line, record: (line, dict(record)))
        if not records:
            raise ValueError(f"{path}: expected a journal, got an empty file; remove it")
        journal = _begun(path, records[0][1])
        for line, record in records[1:]:
            try:
                journal = journal.after(record, where=f"{path.name}, line {line}")
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {error}; restore the journal as it was written") from None
        return replace(journal, lines=path.read_bytes())

    def write(self, path: Path) -> Path:
        """Put all lines in the place of the file: it is the old one or the new one, never a part of either."""
        return write_atomically(path, self.lines)

    @property
    def active(self) -> tuple[int, ...]:
        """Numbers of the answers that were not taken back."""
        return tuple(number for number in range(1, len(self.answers) + 1) if number not in self.undone)

    @property
    def latest(self) -> str:
        """SHA-256 of the model file that follows the applied answers."""
        return self.made[-1] if self.made else self.model

    @property
    def last_applied(self) -> tuple[int, ...]:
        """Numbers of the answers that came into the model with the last apply of which any is still in it."""
        earlier = [frozenset(), *map(frozenset, self.applies)]
        for new, old in zip(self.applies[::-1], earlier[-2::-1], strict=True):
            if found := tuple(number for number in new if number not in old and number in self.applied):
                return found
        return ()

    def some(self, numbers: Sequence[int]) -> list[Constraint]:
        """The answers with these numbers."""
        return [self.answers[number - 1] for number in numbers]

    def with_answers(self, answers: Sequence[Constraint]) -> Journal:
        """After these answers were given; those without a time get the present one."""
        timed = [replace(one, time=one.time or _now()) for one in answers]
        lines = b"".join(json_line(one.as_record()) for one in timed)
        return replace(self, answers=(*self.answers, *timed), lines=self._whole_lines + lines)

    def with_apply(self, numbers: Sequence[int], digest: str) -> Journal:
        """After the model with this SHA-256 was made from these answers."""
        return self._and({"kind": "apply", "answers": list(numbers), "model": digest, "time": _now()})

    def with_undo(self, numbers: Sequence[int], digest: str) -> Journal:
        """After these answers were taken back, which made the model with this SHA-256."""
        return self._and({"kind": "undo", "answers": list(numbers), "model": digest, "time": _now()})

    def after(self, record: Mapping[str, Any], *, where: str = "") -> Journal:
        """After one more line. Raises ``ValueError`` for one that cannot stand there."""
        kind = record.get("kind")
        if kind not in ("apply", "undo"):
            return replace(self, answers=(*self.answers, constraint_of(record, where=where)))
        numbers, digest = self._numbers(record)
        made = (*self.made, digest)
        if kind == "apply":
            return replace(self, applies=(*self.applies, numbers), applied=numbers, made=made)
        left = tuple(number for number in self.applied if number not in numbers)
        return replace(self, undone=self.undone.union(numbers), applied=left, made=made)

    @property
    def _whole_lines(self) -> bytes:
        return self.lines if self.lines.endswith(b"\n") else self.lines + b"\n"

    def _and(self, record: Mapping[str, Any]) -> Journal:
        return replace(self.after(record), lines=self._whole_lines + json_line(record))

    def _numbers(self, record: Mapping[str, Any]) -> tuple[tuple[int, ...], str]:
        """Numbers of answers that were given and not taken back, rising, and a model's SHA-256."""
        known = ("kind", "answers", "model", "time")
        if set(record) != set(known):
            raise ValueError(f"expected fields {', '.join(known)}, got {', '.join(map(repr, record)):.120}")
        numbers, digest, active = record["answers"], record["model"], set(self.active)
        listed = isinstance(numbers, list) and all(type(n) is int for n in numbers)
        if not listed or not set(numbers) <= active or sorted(set(numbers)) != numbers:
            told = ", ".join(map(str, sorted(active)[:20])) or "none"
            raise ValueError(
                f"answers: expected numbers of answers that were given and not taken back ({told}), got {numbers!r:.80}"
            )
        if not isinstance(digest, str) or not _HASH.fullmatch(digest):
            raise ValueError(f"model: expected 64 hexadecimal digits, got {digest!r:.80}")
        return tuple(numbers), digest


def answers_digest(answers: Sequence[Constraint]) -> str:
    """SHA-256 of answers, by which a model tells which ones it follows."""
    return hashlib.sha256(b"".join(json_line(one.as_record()) for one in answers)).hexdigest()


@contextlib.contextmanager
def journal_lock(*paths: Path) -> Iterator[None]:
    """Keep other processes from the folders of these files, and wait for those that are at them.

    Folders are locked, not the files, which are replaced meanwhile. Where folders cannot be locked, as on Windows and
    some network drives, two answers given in the same instant may become one.

    Raises:
        FileNotFoundError: for a folder that there is not.
    """
    folders = sorted({path.parent.resolve() for path in paths})  # in one order, lest two wait for each other
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: expected a folder with a model or a journal, got none; create it")
    with contextlib.ExitStack() as held:
        for folder in folders:
            held.enter_context(_folder_lock(folder))
        yield


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(opened)


def _begun(path: Path, header: Mapping[str, Any]) -> Journal:
    """The empty journal of a first line."""
    digest, points = header.get("model"), header.get("points")
    right = {
        "kind": (header.get("kind") == "journal", "'journal'"),
        "format": (header.get("format") == _FORMAT and type(header.get("format")) is int, f"{_FORMAT}"),
        "model": (isinstance(digest, str) and bool(_HASH.fullmatch(digest)), "64 hexadecimal digits"),
        "points": (type(points) is int and points > 0, "a number of concepts"),
    }
    for name, (good, wanted) in right.items():
        if not good:
            raise ValueError(
                f"{path}, line 1: expected as {name} {wanted}, got {header.get(name)!r:.80}; a journal begins with a "
                "header, and `hsgeo hops feedback MODEL add --from FILE` takes answers from any other file"
            )
    return Journal(str(digest), int(points or 0))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

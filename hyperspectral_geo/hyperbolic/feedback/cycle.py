"""The cycle on files: a model, a copy of what it was before any answer, and the journal beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.feedback.changes import Changes
from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint
from hyperspectral_geo.hyperbolic.feedback.constraint_file import read_constraints, read_lines, require_known
from hyperspectral_geo.hyperbolic.feedback.contradictions import Conflicts
from hyperspectral_geo.hyperbolic.feedback.journal import Journal, answers_digest, journal_lock
from hyperspectral_geo.hyperbolic.feedback.refine import FeedbackResult, apply_feedback, require_no_links
from hyperspectral_geo.hyperbolic.model_file import model_bytes
from hyperspectral_geo.hyperbolic.provenance import Adjusted

__all__ = ["FeedbackCycle", "Merged"]

_SUFFIX = ".safetensors"


class Merged(NamedTuple):
    """Numbers of the answers taken over from a file, and how many were there already."""

    numbers: tuple[int, ...]
    repeated: int


@dataclass(frozen=True)
class FeedbackCycle:
    """A model file that follows the answers in its journal.

    Whatever the journal says is computed from the base model, a copy of the file before the first apply, so that the
    same journal on the same base gives the same bytes, and taking answers back restores what was before them. The
    journal is written first and the model after it, each whole or not at all; a model that was left behind by a kill
    between the two, which ``is_behind`` tells, is brought up by the next ``apply`` or ``undo``.

    Attributes:
        model: ``NAME.safetensors``; the copy is ``NAME.base.safetensors`` beside it.
        journal: by default ``NAME.journal.jsonl`` beside it.

    All methods raise ``ValueError`` for a journal that is damaged or belongs to another model, and ``OSError`` for
    files that cannot be read or written; the model is then as it was.
    """

    model: Path
    journal: Path

    @classmethod
    def of(cls, model: str | Path, journal: str | Path | None = None) -> FeedbackCycle:
        """That of a model file."""
        path = Path(model)
        stem = path.name.removesuffix(_SUFFIX)
        return cls(path, path.with_name(f"{stem}.journal.jsonl") if journal is None else Path(journal))

    @property
    def base(self) -> Path:
        """The copy of the model before the first apply."""
        return self.model.with_name(self.model.name.removesuffix(_SUFFIX) + f".base{_SUFFIX}")

    def read(self) -> Journal:
        """The journal; an empty one where there is none."""
        with self._locked():
            return self._read()[0]

    def is_behind(self) -> bool:
        """Whether the model does not follow its journal, because a run was stopped between the two."""
        with self._locked():
            journal, _, digest = self._read()
        return digest != journal.latest

    def add(self, answers: Sequence[Constraint]) -> tuple[int, ...]:
        """Append answers and return their numbers.

        Raises:
            ValueError: for concepts that the model does not have, and links, whose place is before training.
        """
        with self._locked():
            journal, current, _ = self._read()
            require_known(answers, current.names)
            require_no_links(answers)
            journal.with_answers(answers).write(self.journal)
        return tuple(range(len(journal.answers) + 1, len(journal.answers) + len(answers) + 1))

    def merge(self, path: str | Path) -> Merged:
        """Append the answers of a file, such as an explorer page saves it, but those that are there already.

        Raises:
            ValueError: for faults of the file, by their lines, links, or a header of another model.
        """
        path = Path(path)
        with self._locked():
            journal, current, digest = self._read()
            known = {journal.model, digest, *journal.made}
            _require_same_model(path, known, len(current))
            found = read_constraints(path, names=current.names)
            require_no_links(found)
            there = set(journal.some(journal.active))
            there |= {replace(one, time=None) for one in there}  # answers without a time got one when they came
            new = [one for one in dict.fromkeys(found) if one not in there]
            if new:
                journal.with_answers(new).write(self.journal)
        first = len(journal.answers) + 1
        return Merged(tuple(range(first, first + len(new))), len(found) - len(new))

    def apply(self, *, most_drift: int | float = 0.01, conflicts: Conflicts = "refuse") -> FeedbackResult:
        """Make the model follow all answers that were not taken back; options as in ``apply_feedback``.

        Raises:
            ValueError: as ``apply_feedback``, and if there is no answer to apply.
        """
        with self._locked():
            journal, _, _ = self._read()
            base = self._base_model(journal)
            if not journal.active:
                raise ValueError(
                    f"{self.journal}: expected answers to apply, got none; give some by `hsgeo hops feedback MODEL add`"
                )
            result = _followed(base, journal, journal.active, most_drift, conflicts)
            payload = model_bytes(result.model)
            self._settle(journal.with_apply(journal.active, _digest(payload)), payload)
        return result

    def undo(self, numbers: Sequence[int] | None = None) -> tuple[int, ...]:
        """Take answers back, by default the last one, and restore the model as it is without them.

        Answers that were not applied yet stay so. Without any answer the model is, byte for byte, the base.

        Raises:
            ValueError: for numbers of answers that were not given, or taken back before.
        """
        with self._locked():
            journal, _, digest = self._read()
            base = self._base_model(journal)
            taken = list(journal.active[-1:]) if numbers is None else sorted(set(numbers))
            if not taken:
                raise ValueError(f"{self.journal}: expected answers to take back, got none")
            left = journal.with_undo(taken, digest).applied
            if left:
                result = _followed(base, journal, left, float("inf"), "weigh")
                payload = model_bytes(result.model)
            else:
                payload = self._base_path(journal).read_bytes()
            self._settle(journal.with_undo(taken, _digest(payload)), payload)
        return tuple(taken)

    def undo_last_apply(self) -> tuple[int, ...]:
        """Take back the answers that came in with the last apply."""
        numbers = self.read().last_applied
        if not numbers:
            raise ValueError(f"{self.journal}: expected an apply to take back, got none")
        return self.undo(numbers)

    def changes(self) -> Changes | None:
        """What the answers that the model follows have changed; None if it follows none."""
        with self._locked():
            journal, _, _ = self._read()
            base = self._base_model(journal) if journal.applied else None
        if base is None:
            return None
        return _followed(base, journal, journal.applied, float("inf"), "weigh").changes

    def _locked(self) -> AbstractContextManager[None]:
        return journal_lock(self.journal, self.model)

    def _read(self) -> tuple[Journal, HopEmbedding, str]:
        """The journal, the model and its file's SHA-256, after it was made sure that they belong together."""
        current = HopEmbedding.load(self.model)
        digest = _digest(self.model.read_bytes())
        if not self.journal.exists():
            return Journal.empty(digest, len(current)), current, digest
        journal = Journal.read(self.journal)
        base = digest if current.adjusted is None else current.adjusted.base
        if journal.model not in (digest, base) or journal.points != len(current):
            raise ValueError(
                f"{self.journal}: expected the journal of {self.model.name}, SHA-256 {base:.12}… of {len(current)} "
                f"concepts, got that of another model, {journal.model:.12}… of {journal.points}; name the right one by "
                "--journal, or move it away"
            )
        if digest not in (journal.model, *journal.made):
            raise ValueError(
                f"{self.model}: expected a model that its journal {self.journal.name} tells of, got one that was "
                f"changed by something else, SHA-256 {digest:.12}…; move the journal and {self.base.name} away to give "
                "answers to this model, or copy the latter over it"
            )
        return journal, current, digest

    def _base_path(self, journal: Journal) -> Path:
        """Where the base model lies. Raises ``ValueError`` if it is nowhere."""
        for path in (self.model, self.base):
            if path.is_file() and _digest(path.read_bytes()) == journal.model:
                return path
        got = "another file" if self.base.exists() else "none"
        raise ValueError(
            f"{self.base}: expected the model before any answer, SHA-256 {journal.model:.12}…, got {got}; restore it"
        )

    def _base_model(self, journal: Journal) -> HopEmbedding:
        return HopEmbedding.load(self._base_path(journal))

    def _settle(self, journal: Journal, payload: bytes) -> None:
        """Write what is not yet there of the base's copy, the journal and the model, in this order."""
        stale = self.model.read_bytes() != payload
        if stale and not self.base.exists():
            write_atomically(self.base, self._base_path(journal).read_bytes())
        elif stale and _digest(self.base.read_bytes()) != journal.model:
            raise ValueError(
                f"{self.base}: expected the copy of this model before any answer, got that of another; move it away"
            )
        journal.write(self.journal)
        if stale:
            write_atomically(self.model, payload)


def _followed(
    base: HopEmbedding, journal: Journal, numbers: Sequence[int], most_drift: int | float, conflicts: Conflicts
) -> FeedbackResult:
    answers = journal.some(numbers)
    result = apply_feedback(base, answers, most_drift=most_drift, conflicts=conflicts)
    mark = Adjusted(journal.model, answers_digest(answers), len(answers))
    return replace(result, model=replace(result.model, adjusted=mark))


def _require_same_model(path: Path, known: set[str], points: int) -> None:
    """Refuse a file whose header, where it has one, names another model."""
    headers = read_lines(path, lambda line, record: record if line == 1 and record.get("kind") == "journal" else None)
    for header in headers[:1]:
        if header is not None and (header.get("model") not in known or header.get("points") != points):
            own = " or ".join(sorted(f"{one:.12}…" for one in known))
            raise ValueError(
                f"{path}, line 1: expected answers to this model, SHA-256 {own} of {points} concepts, got "
                f"{header.get('model')!r:.80} of {header.get('points')!r:.20}; take the page of this model, or remove "
                "the line if the answers hold for it too"
            )


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()

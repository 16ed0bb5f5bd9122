"""``hsgeo hops feedback``: what people say of a model's distances, kept in a journal, applied and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperspectral_geo.cli.shown import shown

if TYPE_CHECKING:
    from rich.table import Table

    from hyperspectral_geo.hyperbolic.feedback.changes import Changes
    from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint
    from hyperspectral_geo.hyperbolic.feedback.cycle import FeedbackCycle

__all__ = ["add", "app", "apply", "ask", "list_answers", "undo"]

_SAID = {
    "closer": ("source", "target"),
    "farther": ("source", "target"),
    "hops": ("source", "target", "hops"),
    "nearer": ("anchor", "near", "far"),
    "group": ("hops", "names"),
    "pin": ("name",),
}
"""What the words after each kind are; ``names`` are all that is left."""

_FILES: ContextVar[tuple[Path, Path | None]] = ContextVar("model and journal")
"""What stands before the command's name."""

_MOST_NAMED = 12  # concepts whose neighbours are printed

app = typer.Typer(help="What people say of a model's distances: journal, apply, undo.", no_args_is_help=True)

Json = Annotated[Path | None, typer.Option("--json", help="Write all of it here too.")]


@app.callback()
def _cycle(
    model: Annotated[Path, typer.Argument(help="What `hsgeo hops train` wrote.")],
    journal: Annotated[
        Path | None, typer.Option(help="The journal.", show_default="NAME.journal.jsonl beside the model")
    ] = None,
) -> None:
    """Keep what people say of distances in a journal, adjust the model by it, and take it back."""
    _FILES.set((model, journal))


@app.command()
def add(
    said: Annotated[
        list[str] | None,
        typer.Argument(
            help="closer A B; farther A B; hops A B 2; nearer A NEAR FAR; group 2 A B C …; pin A.",
            metavar="KIND WORDS…",
        ),
    ] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Take over the answers of this file too.")] = None,
    both: Annotated[bool, typer.Option("--both", help="Of a pair: it holds in both directions.")] = False,
    toward: Annotated[bool, typer.Option("--toward", help="Of nearer: the way to A, not from it.")] = False,
    strength: Annotated[float, typer.Option(help="How much it counts beside other answers.")] = 1.0,
    author: Annotated[str | None, typer.Option(help="Who says so.")] = None,
) -> None:
    """Append an answer to the journal, or those of a file such as the explorer page saves."""
    if not said and source is None:
        raise ValueError(f"add: expected a kind ({', '.join(_SAID)}) and its words, or --from FILE, got neither")
    cycle = _opened()
    if said:
        options = {"both": both, "toward": toward, "strength": strength, "author": author}
        (number,) = cycle.add([_answer(said[0], said[1:], options)])
        typer.echo(f"{cycle.journal}: answer {number}")
    if source is not None:
        merged = cycle.merge(source)
        typer.echo(f"{cycle.journal}: {len(merged.numbers)} answers of {source}, {merged.repeated} were there already")


@app.command("list")
def list_answers(json_file: Json = None) -> None:
    """List all answers: in the model, waiting for apply, or taken back."""
    cycle = _opened()
    journal = cycle.read()
    states = [
        "taken back" if n in journal.undone else "in the model" if n in journal.applied else "waiting"
        for n in range(1, len(journal.answers) + 1)
    ]
    _print(
        _table(
            ("", "answer", "strength", "author", "time", ""),
            [
                (str(n), _words(one), f"{one.strength:g}", shown(one.author or ""), one.time or "", state)
                for n, (one, state) in enumerate(zip(journal.answers, states, strict=True), 1)
            ],
        )
    )
    if cycle.is_behind():
        typer.echo(f"{cycle.model}: is behind its journal, as a run was stopped; apply or undo brings it up", err=True)
    if json_file is not None:
        told = [
            {"number": n, "state": state, **one.as_record()}
            for n, (one, state) in enumerate(zip(journal.answers, states, strict=True), 1)
        ]
        _write(json_file, told)


@app.command()
def apply(
    most_drift: Annotated[
        float, typer.Option(help="Refuse if the distances of other pairs change by more in the mean.", min=0)
    ] = 0.01,
    conflicts: Annotated[str, typer.Option(help="Contradictory answers: refuse, or weigh by strength.")] = "refuse",
    json_file: Json = None,
) -> None:
    """Adjust the model to all answers, and show what has changed since before the first of them."""
    cycle = _opened()
    result = cycle.apply(most_drift=most_drift, conflicts=conflicts)  # pyright: ignore[reportArgumentType]
    _show(result.changes)
    typer.echo(f"{cycle.model}: follows {len(result.changes.answers)} answers; {cycle.base} is the model without them")
    if json_file is not None:
        _write(json_file, result.changes.as_dict())


@app.command()
def undo(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Answers, as list numbers them.", show_default="the last one")
    ] = None,
    last_apply: Annotated[bool, typer.Option("--apply", help="All answers that came in with the last apply.")] = False,
) -> None:
    """Take answers back; the model becomes, byte for byte, what it is without them."""
    if numbers and last_apply:
        raise ValueError("undo: expected numbers or --apply, got both; leave one out")
    cycle = _opened()
    taken = cycle.undo_last_apply() if last_apply else cycle.undo(numbers or None)
    left = len(cycle.read().applied)
    what = f"follows {left} answers" if left else "is what it was before any answer"
    typer.echo(f"{cycle.model}: {what}; taken back: {', '.join(map(str, taken))}")


@app.command()
def ask(
    count: Annotated[int, typer.Option("-n", help="How many questions.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Of the pairs that are looked at.", min=0)] = 0,
    json_file: Json = None,
) -> None:
    """Propose pairs that nobody has answered: to concepts that few links lead to, and of these the least sure."""
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.feedback.constraint import PairConstraint
    from hyperspectral_geo.hyperbolic.feedback.questions import questions

    cycle = _opened()
    journal = cycle.read()
    known = [pair for one in journal.some(journal.active) if isinstance(one, PairConstraint) for pair in one.pairs]
    found = questions(HopEmbedding.load(cycle.model), count, without=known, seed=seed)
    rows = [
        (f"{shown(one.source)} → {shown(one.target)}", f"{one.distance:.2f}", f"± {one.spread:.2f}") for one in found
    ]
    _print(_table(("how far is it?", "the model says", ""), rows))
    if json_file is not None:
        _write(json_file, [one._asdict() for one in found])


def _opened() -> FeedbackCycle:
    from hyperspectral_geo.hyperbolic.feedback.cycle import FeedbackCycle

    return FeedbackCycle.of(*_FILES.get())


def _answer(kind: str, words: Sequence[str], options: dict[str, Any]) -> Constraint:
    """The statement that a kind and its words make."""
    from hyperspectral_geo.hyperbolic.feedback.constraint import KINDS, constraint_of

    if kind not in _SAID:
        raise ValueError(f"add: expected {', '.join(_SAID)}, got {kind!r:.60}; links are changed before training")
    names = _SAID[kind]
    if len(words) < len(names) or (len(words) > len(names) and names[-1] != "names"):
        raise ValueError(
            f"add {kind}: expected {' '.join(map(str.upper, names))}, got {len(words)} words: {words!r:.120}"
        )
    record: dict[str, Any] = dict(zip(names, words, strict=False))
    if "names" in record:
        record["names"] = list(words[len(names) - 1 :])
    if "hops" in record:
        try:
            hops = float(record["hops"])
            record["hops"] = int(hops) if hops.is_integer() else hops
        except ValueError:
            raise ValueError(f"add {kind}: expected a number of hops, got {record['hops']!r:.60}") from None
    known = {field.name for field in fields(KINDS[kind])}
    for name, value in options.items():
        if name in known:
            record[name] = value
        elif value:
            raise ValueError(f"--{name}: expected with another kind than {kind}; leave it out")
    return constraint_of({"kind": kind, **record})


def _words(one: Constraint) -> str:
    """A statement in words."""
    record = {k: v for k, v in one.as_record().items() if k not in ("kind", "strength", "author", "time")}
    said = {name: record.pop(name) for name in _SAID.get(one.kind, ()) if name in record}
    texts = [" ".join(map(shown, v)) if isinstance(v, list) else shown(f"{v}") for v in said.values()]
    return " · ".join([one.kind, *texts, *(name for name, value in record.items() if value)])


def _show(changes: Changes) -> None:
    far = lambda values: ", ".join(f"{value:.2f}" for value in values) or "—"  # noqa: E731
    rows = [
        (_words(one.answer), far(one.before), far(one.after), "met" if one.met else "not met")
        for one in changes.answers
    ]
    _print(_table(("answer", "before", "after", ""), rows))
    near = lambda found: ", ".join(f"{shown(one.name)} {one.distance:.2f}" for one in found[:5])  # noqa: E731
    changed = [one for one in changes.neighbors if near(one.before) != near(one.after)]
    rows = [(shown(one.name), near(one.before), near(one.after)) for one in changed[:_MOST_NAMED]]
    if rows:
        _print(_table(("nearest to", "before", "after"), rows))
    if len(changed) > _MOST_NAMED:
        typer.echo(f"and the neighbours of {len(changed) - _MOST_NAMED} more")
    drift, met = changes.drift, sum(one.met for one in changes.answers)
    typer.echo(
        f"{met} of {len(changes.answers)} answers met. Other pairs changed by {drift.mean:.3%} in the mean, by "
        f"{drift.named:.2%} where an answer names an end, by {drift.largest:.1%} at most"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    import rich.box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=rich.box.SIMPLE)
    for column in columns:
        table.add_column(column, justify="right" if column in ("before", "after", "strength") else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _print(table: Table) -> None:
    """As wide as the rows need where no terminal limits them."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def _write(path: Path, told: Any) -> None:
    from hyperspectral_geo.atomic_write import write_atomically

    write_atomically(path, (json.dumps(told, indent=2, allow_nan=False) + "\n").encode())

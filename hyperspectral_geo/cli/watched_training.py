"""A training at the command line: watched, kept, interrupted and taken up again, whatever is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Checkpoint", "Log", "Resume", "require_checkpoint", "watched_training"]

Checkpoint = Annotated[Path | None, typer.Option(help="Keep the state in this folder; signals save before they stop.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the folder of --checkpoint.")]
Log = Annotated[Path | None, typer.Option(help="Write step and loss here, a line of JSON each.")]


def require_checkpoint(resume: bool, checkpoint: Path | None) -> None:
    """Refuse to go on from nowhere, and a file where the folder should be."""
    if resume and checkpoint is None:
        raise ValueError("--resume: expected --checkpoint DIR beside it, to go on from; add it")
    if checkpoint is not None and checkpoint.exists() and not checkpoint.is_dir():
        raise ValueError(f"--checkpoint: expected a folder, got the file {checkpoint}; name another")


@contextmanager
def watched_training(
    steps: int, checkpoint: Path | None, *, shown: bool = True
) -> Iterator[Callable[[int, float], None]]:
    """A bar with the live loss on stderr and a function that moves it; whoever interrupts is told what was kept."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    try:
        with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
            task = bar.add_task("training", total=steps, loss="-")
            yield lambda step, loss: bar.update(task, completed=step, loss=f"{loss:.4f}")
    except (KeyboardInterrupt, SystemExit):
        told = "nothing was kept; pass --checkpoint DIR to go on from it another time"
        if checkpoint is not None:
            told = f"the same command with --resume goes on from {checkpoint}"
        typer.echo(f"hsgeo: interrupted; {told}", err=True)
        raise

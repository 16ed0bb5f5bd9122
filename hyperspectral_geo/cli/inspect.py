"""``hsgeo inspect``: an adapter, a checkpoint or a file on the couch, with remedies for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperspectral_geo.atomic_write import require_writable, write_atomically

if TYPE_CHECKING:
    from hyperspectral_geo.merging.inspection import Inspection
    from hyperspectral_geo.merging.inspection_report import Comparison

__all__ = ["inspect"]


def inspect(
    paths: Annotated[list[Path], typer.Argument(help="Folders of adapters or checkpoints, or safetensors files.")],
    base: Annotated[Path | None, typer.Option(help="The base model's folder or file.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write all to this file.", dir_okay=False)
    ] = None,
    html_path: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with pictures to this file.", dir_okay=False)
    ] = None,
    largest: Annotated[
        int, typer.Option(help="Dense matrices with a longer smaller side are not decomposed.", min=1)
    ] = 2048,
) -> None:
    """Say what is wrong with a module, what is odd, and what to do about it; exit code 1 on an error.

    With several, also how they lie to each other: angles between their spaces and the cosine of their updates.
    """
    for option, path in (("--json", json_path), ("--html", html_path)):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{option}: expected a file in an existing folder, got {path}; create {path.parent}")
        if path is not None:
            require_writable(path.parent)

    from rich.console import Console
    from rich.progress import Progress

    from hyperspectral_geo.merging.inspection import inspect_module
    from hyperspectral_geo.merging.inspection_report import compare, to_dict, write_page

    with Progress(console=Console(stderr=True), transient=True) as progress:
        found = []
        for path in paths:
            task = progress.add_task(f"{path.name}", total=None)
            found.append(
                inspect_module(
                    path,
                    base=base,
                    largest=largest,
                    progress=lambda done, all_, task=task: progress.update(task, completed=done, total=all_),
                )
            )
        between = compare(found, largest=largest)
    for inspection in found:
        _show(inspection)
    if between is not None:
        _show_between(between)
    if json_path is not None:
        write_atomically(json_path, (json.dumps(to_dict(found, between), indent=2, allow_nan=False) + "\n").encode())
    if html_path is not None:
        write_page(html_path, found, between)
    if not all(inspection.sound for inspection in found) or (between is not None and between.refused):
        raise typer.Exit(1)


def _show(inspection: Inspection) -> None:
    from hyperspectral_geo.merging.inspection_report import summary

    typer.echo(f"{inspection.path}")
    for what, text in summary(inspection):
        typer.echo(f"  {what:<16} {text}")
    for finding in inspection.findings:
        label = typer.style(
            f"{finding.severity:<8}", fg={"note": "cyan", "warning": "yellow"}.get(finding.severity, "red")
        )
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        typer.echo(f"  {label} {finding.where}: {' '.join(finding.what.split())}{remedy}")
    if not inspection.findings:
        typer.echo("  nothing to complain of")


def _show_between(between: Comparison) -> None:
    from math import degrees

    if between.refused:
        typer.echo(f"together\n  {typer.style('error   ', fg='red')} {between.refused}")
        return
    typer.echo("together: mean angle of the column spaces, of the row spaces, and cosine of the updates")
    names = between.names
    width = max(map(len, names))
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            pair = f"{first:<{width}}  {names[j]:<{width}}"
            left, right = degrees(between.left[i][j]), degrees(between.right[i][j])
            typer.echo(f"  {pair}  {left:5.1f}°  {right:5.1f}°  {between.cosines[i][j]:+.3f}")

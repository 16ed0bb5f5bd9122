"""``hsgeo data``: which data sets there are and where, and the download of those that the library does not carry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hyperspectral_geo.data.catalogue import DataSet

__all__ = ["app", "get", "list_data_sets"]

app = typer.Typer(help="List data sets, and download them.", no_args_is_help=True)


@app.command("list")
def list_data_sets() -> None:
    """Say which data sets can be read, where each comes from, on what terms, and whether it is on this machine."""
    from hyperspectral_geo.data.catalogue import CATALOGUE

    for data_set in CATALOGUE.values():
        typer.echo(f"{data_set.name:<12} {data_set.what}")
        for label, text in (
            ("size", data_set.size),
            ("licence", data_set.licence),
            ("source", data_set.source),
            ("here", _place(data_set)),
        ):
            typer.echo(f"{'':<12} {label:<8} {text}")


def _place(data_set: DataSet) -> str:
    from hyperspectral_geo.data.catalogue import find_data_set

    found = find_data_set(data_set.name)
    if found is not None:
        return str(found)
    if data_set.archives:
        return f"no: hsgeo data get {data_set.name}"
    return f"no: put {', '.join(data_set.files)} into {data_set.name}/ below the folder that HSGEO_DATA names"


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A name that `hsgeo data list` shows.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Make the folder NAME in this one, rather than in the cache.", file_okay=False),
    ] = None,
) -> None:
    """Download a data set, check it, and say where it is; one that is already here is not fetched again."""
    from hyperspectral_geo.data.catalogue import CATALOGUE, find_data_set, require_data_set

    found = find_data_set(name)
    data_set = CATALOGUE[name]
    if to is None and found is None and not data_set.archives:
        require_data_set(name)  # says what to do instead
    if found is not None and (to is None or data_set.carried):
        typer.echo(f"{name}: already here, {found}")
        return
    folder = _download(name, to)
    for archive in data_set.archives:
        typer.echo(f"{archive.url}: {archive.size:,} bytes, SHA-256 {archive.sha256}")
    typer.echo(f"{name}: {folder}")
    if to is not None:
        typer.echo(f"Set HSGEO_DATA={to} for the library to find it, or pass folder=.")


def _download(name: str, to: Path | None) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from hyperspectral_geo.data.download import download_data_set

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(file, total=total)
            progress.update(tasks[file], completed=done)

        return download_data_set(name, to=to, progress=show)

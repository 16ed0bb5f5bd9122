"""The command ``hsgeo``. Each command imports what it computes with when it runs, so ``--help`` stays quick."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hyperspectral_geo import __version__
from hyperspectral_geo.cli import bench, convert, data, demo, doctor, explore, fuse, hops, inspect, kg, merge

__all__ = ["app", "main"]

app = typer.Typer(
    name="hsgeo",
    help="Learned modules as subspaces with a spectrum.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(inspect.inspect)
app.command()(merge.merge)
app.command()(convert.convert)
app.add_typer(hops.app, name="hops")
app.add_typer(kg.app, name="kg")
app.command()(explore.explore)
app.add_typer(fuse.app, name="fuse")
app.add_typer(data.app, name="data")
app.command()(bench.bench)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"hsgeo {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Learned modules as subspaces with a spectrum."""


def main() -> None:
    """Run the command line and leave with its exit code.

    0: done; 1: a check failed; 2: what the user asked for cannot be done, said in one paragraph on stderr; 130:
    interrupted. With ``HSGEO_TRACEBACK=1`` in the environment, the second kind shows its traceback.
    """
    try:
        app(prog_name="hsgeo")
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if os.environ.get("HSGEO_TRACEBACK", "0") not in ("", "0"):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        typer.echo(f"hsgeo: {message}\n(HSGEO_TRACEBACK=1 shows where this was raised)", err=True)
        sys.exit(2)

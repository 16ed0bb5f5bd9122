"""``hsgeo demo``: the main job in small, on the data that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the report.", file_okay=False)] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=2**31)] = 0,
) -> None:
    """Embed, merge and align real data in about a minute; every figure is computed in this run."""
    from rich.console import Console

    from hyperspectral_geo.benchmarks import demo as computation

    computation.run(out, seed=seed, console=Console())

"""``hsgeo convert``: pickled weights as safetensors, without running the pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["convert"]


def convert(
    file: Annotated[Path, typer.Argument(help="A .bin, .pt, .pth or .ckpt file that torch.save wrote.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to make.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Turn pickled weights into safetensors; whatever in FILE is not a tensor is refused, and nothing of it runs."""
    from hyperspectral_geo.merging.convert import convert as convert_file

    names = convert_file(file, out, overwrite=overwrite)
    typer.echo(f"{out}: {len(names)} tensors")

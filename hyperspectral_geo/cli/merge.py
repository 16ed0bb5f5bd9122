"""``hsgeo merge``: modules joined into one folder, with a report that proves the way in and out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hyperspectral_geo.merging.merge_report import MergeReport
    from hyperspectral_geo.merging.recipe import Recipe

__all__ = ["merge"]

_RECIPES = (".yaml", ".yml")
_NEEDS = {
    "regmean": "Python only: needs statistics of inputs",
    "fisher": "Python only: needs statistics of gradients",
    "larv": "needs --base",
    "compress": "needs --option module_rank=",
}


def merge(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of adapters or checkpoints, or one recipe.yaml.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder to make.", file_okay=False)] = None,
    method: Annotated[str | None, typer.Option(help="One of `hsgeo merge --list`; tsv if not given.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="A number a module: 1,0.5 or 1 0.5; negative ones with commas.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Factor on the merged update.")] = None,
    rank: Annotated[int | None, typer.Option(help="Cut each merged update to this rank.", min=1)] = None,
    option: Annotated[list[str] | None, typer.Option(help="Of the method, as key=value; may be repeated.")] = None,
    base: Annotated[Path | None, typer.Option(help="The base model; needed for checkpoints.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Store in float32, float16, bfloat16 or float64.")] = None,
    write: Annotated[
        str | None, typer.Option("--as", help="adapter or checkpoint; a checkpoint needs --base.", show_default=False)
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Texts to calibrate on, .txt or .jsonl; needs --base and transformers.", dir_okay=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder if it exists.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the methods and stop.")] = False,
) -> None:
    """Merge modules into one folder, with merge_report.json and merge_report.html inside."""
    if listing:
        _list_methods()
        return
    if not inputs or out is None:
        raise ValueError("merge: expected folders or a recipe, and --out; see hsgeo merge --help")
    if write not in (None, "adapter", "checkpoint"):
        raise ValueError(f"--as: expected adapter or checkpoint, got {write!r}")
    given = {
        "method": method,
        "weights": weights,
        "scale": scale,
        "rank": rank,
        "option": option,
        "base": base,
        "dtype": dtype,
    }
    if inputs[0].endswith(_RECIPES):
        recipe = _read(inputs, [f"--{name}" for name, value in given.items() if value is not None])
    else:
        recipe = _recipe(inputs, given)

    from rich.console import Console
    from rich.progress import Progress

    from hyperspectral_geo.merging.run_recipe import run_recipe

    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        report = run_recipe(recipe, out, kind=write, texts=calibrate, overwrite=overwrite, progress=tell)  # pyright: ignore[reportArgumentType]
    _show(report, out)


def _read(inputs: list[str], beside: list[str]) -> Recipe:
    from hyperspectral_geo.merging.recipe import read_recipe

    if len(inputs) > 1:
        raise ValueError(f"merge: expected one recipe and nothing beside it, got {inputs[1]!r} too")
    if beside:
        raise ValueError(f"{beside[0]}: belongs into the recipe {inputs[0]}; write it there")
    return read_recipe(Path(inputs[0]))


def _recipe(inputs: list[str], given: dict[str, Any]) -> Recipe:
    from hyperspectral_geo.merging.recipe import Recipe

    models, numbers = list(inputs), ""
    if given["weights"] is not None:  # --weights 1 0.5: what follows the first number arrives among the folders
        behind = [text for text in models if _is_number(text) and not Path(text).exists()]
        models = [text for text in models if text not in behind]
        numbers = ",".join([given["weights"], *behind])
    return Recipe(
        models=tuple(Path(text) for text in models),
        method=given["method"] or "tsv",
        weights=_weights(numbers, len(models)) if numbers else (),
        base=given["base"],
        scale=1.0 if given["scale"] is None else given["scale"],
        rank=given["rank"],
        options=_options(given["option"] or []),
        dtype=given["dtype"],
    )


def _weights(text: str, count: int) -> tuple[float, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if not _is_number(part)]:
        raise ValueError(f"--weights: expected numbers, got {wrong[0]!r}")
    if len(parts) != count:
        raise ValueError(f"--weights: expected {count} numbers, one a module, got {len(parts)}")
    return tuple(float(part) for part in parts)


def _options(texts: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in map(_option, texts):
        if key in found:
            raise ValueError(f"--option: expected {key} once, got it twice; leave one out")
        found[key] = value
    return found


def _option(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        raise ValueError(f"--option: expected key=value, got {text!r}")
    try:
        read = json.loads(value)
    except ValueError:
        return key, value
    return key, tuple(read) if isinstance(read, list) else read


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _list_methods() -> None:
    from hyperspectral_geo.merging.methods import METHODS

    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        title = (sys.modules[method.layer.__module__].__doc__ or "").split("\n")[0]
        options = ", ".join(method.options)
        needs = f" ({_NEEDS[name]})" if name in _NEEDS else ""
        typer.echo(f"{name:<{width}}  {title}" + (f" [{options}]" if options else "") + needs)


def _show(report: MergeReport, out: Path) -> None:
    holds = f"way error {report.way_error:.1e}"
    if report.stored_error is not None:
        holds += f", stored to {report.stored_error:.1e}"
    typer.echo(f"{out}: {report.kind} of {len(report.rows)} weights from {len(report.models)} modules, {holds}")
    width = max(map(len, report.models))
    for (name, share), weight in zip(report.shares().items(), report.weights, strict=True):
        typer.echo(f"  {name:<{width}}  weight {weight:g}, {100 * share:.0f} % of the energy")
    if report.calibration is not None:
        typer.echo(f"  calibrated: {report.calibration['steps']} steps, loss {100 * report.calibration['gain']:+.1f} %")
    if report.weighted_by_rules:
        typer.echo("  rules give some weights other numbers; the shares count with them")
    if report.larger_than_dense:
        typer.echo(
            "  note: as factors this is larger than the matrices; --rank, --as checkpoint or, with ties, dare, della, "
            "--option space=core make it smaller"
        )
    typer.echo("  report in merge_report.html")

"""``hsgeo fuse``: join features of two or more views into one space, and judge it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hyperspectral_geo.cli.array_files import read_array
from hyperspectral_geo.cli.hop_sources import require_target

if TYPE_CHECKING:
    from hyperspectral_geo.fusion import SubspaceFusion

__all__ = ["app", "evaluate", "fit"]


class _FitUnlessNamed(TyperGroup):
    """``hsgeo fuse A.npy B.npy`` is ``hsgeo fuse fit A.npy B.npy``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["fit", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FitUnlessNamed,
    help="One space for several views: fit (`hsgeo fuse A.npy B.npy -o model`) and eval.",
    no_args_is_help=True,
)

Views = Annotated[list[str], typer.Argument(help="Features, one file a view: .npy, or file.npz:name; rows in step.")]


@app.command()
def fit(
    views: Views,
    out: Annotated[Path, typer.Option("--out", "-o", help="The model to write, a .safetensors file.")],
    method: Annotated[
        str, typer.Option(help="spectral, linear, kernel, rcca, gcca, csa, cca, pls, procrustes, asif.")
    ] = ("spectral"),
    components: Annotated[int | None, typer.Option(help="Directions to keep; all by default.", min=1)] = None,
    ridge: Annotated[float | None, typer.Option(help="In units of the mean variance; chosen by default.")] = None,
    rank: Annotated[int, typer.Option(help="Directions of a kernel lift.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of folds and permutations.", min=0)] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write a page with pictures and tables.")] = None,
) -> None:
    """Join views whose rows belong together; a row of NaN is missing. Prints what they share."""
    require_target("--out", out)
    if report is not None:
        require_target("--report", report)
    arrays = [read_array(f"view {number}", named) for number, named in enumerate(views)]

    from rich.console import Console
    from rich.progress import Progress

    from hyperspectral_geo.fusion import SubspaceFusion

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("fuse", total=None)
        fusion = SubspaceFusion(components, method=method, ridge=ridge, rank=rank, seed=seed).fit(
            arrays, progress=lambda done, total: progress.update(bar, completed=done, total=total)
        )
    fusion.save(out)
    if fusion.choice_ is None:
        typer.echo(f"{out}: {len(fusion.space_)} anchors")
        return
    typer.echo(str(fusion.explain()))
    if report is not None:
        _write_report(report, fusion, views, arrays)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="What `hsgeo fuse` wrote.")],
    views: Views,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    corrected: Annotated[bool, typer.Option(help="Correct similarities for hubs (CSLS).")] = True,
) -> None:
    """Retrieval between views of held-out rows: R@1, R@5, R@10 beside chance."""
    from hyperspectral_geo.fusion import SubspaceFusion

    if json_file is not None:
        require_target("--json", json_file)
    fusion = SubspaceFusion.load(model)
    arrays = [read_array(f"view {number}", named) for number, named in enumerate(views)]
    score = fusion.score(arrays, corrected=corrected)
    typer.echo("  ".join(f"{name} {value:.4f}" for name, value in score.items()))
    if json_file is not None:
        from hyperspectral_geo.atomic_write import write_atomically

        write_atomically(json_file, (json.dumps(score, indent=2) + "\n").encode())


def _write_report(path: Path, fusion: SubspaceFusion, views: list[str], arrays: list[Any]) -> None:
    """Correlations beside chance, a map of both views, and what the directions hold."""
    from hyperspectral_geo.plotting import Section, Table, png_bytes, write_report
    from hyperspectral_geo.plotting.joint_map import joint_map
    from hyperspectral_geo.plotting.shared_directions import shared_directions

    found = fusion.explain()
    choice = fusion.choice_
    assert choice is not None
    names = [Path(named).stem for named in views]
    best = sorted(choice.tried, key=lambda one: -one.score)[:12]
    sections = [
        Section(
            "What the views share",
            f"{found.shared} of {len(found.held_out)} directions are above chance (p = {found.p_value:.3f}).",
            picture=png_bytes(shared_directions(found.correlations, found.held_out, found.edge), dpi=110)
            if len(found.correlations)
            else None,
            alt="Correlation of each joint direction, in sample and held out, and the edge of chance.",
        ),
        Section(
            "Settings by held-out pairs",
            table=Table(
                ("lift", "ridges", "power", "mean reciprocal rank"),
                [
                    (
                        "linear" if one.gamma is None else f"kernel, γ = {one.gamma:g}",
                        ", ".join(f"{ridge:g}" for ridge in one.ridges),
                        one.power,
                        one.score,
                    )
                    for one in best
                ],
            ),
        ),
    ]
    if len(fusion.space_) > 1:
        codes = [code[:400].numpy() for code in fusion.transform([_whole(array) for array in arrays])]
        sections.insert(
            1,
            Section(
                "Rows of all views in the joint space",
                "The two leading principal coordinates of the first 400 rows; a line joins the views of one row.",
                picture=png_bytes(joint_map(codes, names=names), dpi=110),
                alt="Points of each view, joined where they belong to one row.",
            ),
        )
    write_report(path, title="hsgeo fuse", sections=sections)


def _whole(array: Any) -> Any:
    """Rows without NaN: of a view that lacks some, the map shows the others."""
    import numpy as np

    return array[~np.isnan(array).any(1)] if array.dtype.kind == "f" else array

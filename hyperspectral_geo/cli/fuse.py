"""``hsgeo fuse``: join features of two or more views into one space, and judge it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hyperspectral_geo.cli.array_files import read_array
from hyperspectral_geo.cli.fuse_eval_report import write_eval_report
from hyperspectral_geo.cli.fuse_files import read_labels, read_pictures, require_targets
from hyperspectral_geo.cli.fuse_pick import pick
from hyperspectral_geo.cli.fuse_report import MAPPED, write_fit_report

if TYPE_CHECKING:
    import numpy as np

__all__ = ["app", "evaluate", "fit"]


class _FitUnlessNamed(TyperGroup):
    """``hsgeo fuse A.npy B.npy`` is ``hsgeo fuse fit A.npy B.npy``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["fit", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FitUnlessNamed,
    help="One space for several views: fit (`hsgeo fuse A.npy B.npy -o model`) and eval; pick a light model of one.",
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
    thumbnails: Annotated[
        Path | None,
        typer.Option(help="For the page: a picture a row of the first view, .npy (n, h, w[, 3 or 4]) or a folder."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="For the page: words for each row of the second view, .npy or one a line.")
    ] = None,
) -> None:
    """Join views whose rows belong together; a row of NaN is missing. Prints what they share."""
    given = {**_numbered(views), "--thumbnails": thumbnails, "--labels": labels}
    require_targets({"--out": out, "--report": report}, given)
    for option, file in (("--thumbnails", thumbnails), ("--labels", labels)):
        if file is not None and report is None:
            raise ValueError(f"{option}: expected --report PAGE beside it, which shows them, got none; add it")
    arrays = [read_array(view, named) for view, named in _numbered(views).items()]
    rows, mapped = len(arrays[0]), _mapped(arrays)
    pictures = read_pictures("--thumbnails", thumbnails, rows=rows, wanted=mapped) if thumbnails is not None else ()
    words = read_labels("--labels", labels, rows=rows) if labels is not None else ()

    from rich.console import Console
    from rich.progress import Progress

    from hyperspectral_geo.fusion import NothingShared, SubspaceFusion

    with Progress(console=Console(stderr=True), transient=True) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingShared)  # the table that is printed says so
        bar = progress.add_task("fuse", total=None)
        fusion = SubspaceFusion(components, method=method, ridge=ridge, rank=rank, seed=seed).fit(
            arrays, progress=lambda done, total: progress.update(bar, completed=done, total=total)
        )
    fusion.save(out)
    typer.echo(f"{out}: {len(fusion.space_)} anchors" if fusion.choice_ is None else str(fusion.explain()))
    if report is not None:
        write_fit_report(
            report,
            fusion,
            _names(views),
            [array[mapped] for array in arrays],
            thumbnails=pictures,
            labels=[str(words[row]) for row in mapped] if words else (),
        )


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="What `hsgeo fuse` wrote.")],
    views: Views,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    corrected: Annotated[bool, typer.Option(help="Correct similarities for hubs (CSLS).")] = True,
    report: Annotated[Path | None, typer.Option(help="Also write a page: R@k, directions kept, worst rows.")] = None,
) -> None:
    """Retrieval between views of held-out rows: R@1, R@5, R@10 beside chance."""
    from hyperspectral_geo.fusion import SubspaceFusion

    require_targets({"--json": json_file, "--report": report}, {"MODEL": model, **_numbered(views)})
    fusion = SubspaceFusion.load(model)
    arrays = [read_array(view, named) for view, named in _numbered(views).items()]
    score = fusion.score(arrays, corrected=corrected)
    typer.echo("  ".join(f"{name} {value:.4f}" for name, value in score.items()))
    if json_file is not None:
        from hyperspectral_geo.atomic_write import write_atomically

        write_atomically(json_file, (json.dumps(score, indent=2) + "\n").encode())
    if report is not None:
        write_eval_report(report, fusion, _names(views), fusion.transform(arrays), corrected=corrected)


app.command()(pick)


def _mapped(arrays: Sequence[np.ndarray]) -> list[int]:
    """The first rows that have every view: one with NaN is missing."""
    import numpy as np

    whole = np.ones(min(map(len, arrays)), dtype=bool)
    for array in arrays:
        if array.dtype.kind == "f":
            whole &= ~np.isnan(array[: len(whole)]).any(1)
    return np.flatnonzero(whole)[:MAPPED].tolist()


def _numbered(views: Sequence[str]) -> dict[str, str]:
    return {f"view {number}": named for number, named in enumerate(views)}


def _names(views: Sequence[str]) -> list[str]:
    """The views by their files; by number beside that where two files are called alike.

    >>> _names(["a/x.npy", "b/x.npy"])
    ['x 1', 'x 2']
    """
    stems = [named.rpartition(":")[2] if ".npz:" in named else Path(named).stem for named in views]
    return stems if len(set(stems)) == len(stems) else [f"{stem} {n}" for n, stem in enumerate(stems, start=1)]

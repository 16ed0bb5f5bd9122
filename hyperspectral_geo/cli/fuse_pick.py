"""``hsgeo fuse pick``: a light model for a task, picked from the features of a frozen large one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperspectral_geo.cli.array_files import read_array
from hyperspectral_geo.cli.fuse_files import read_labels, require_targets

if TYPE_CHECKING:
    from torch import Tensor

    from hyperspectral_geo.fusion import LightModel, TaskSubspace

__all__ = ["Judged", "Rows", "pick"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Features (n, d) and a label for each row."""

    x: Tensor
    y: list[str] | list[int]

    def at(self, mask: Tensor) -> Rows:
        """Those of a mask (n,)."""
        return Rows(self.x[mask], [self.y[i] for i in mask.nonzero()[:, 0].tolist()])  # pyright: ignore


@dataclass(frozen=True, eq=False)
class Judged:
    """A task fitted to some rows, the others that judge it, and whether these came in files of their own."""

    task: TaskSubspace
    fitted: Rows
    others: Rows
    given: bool

    @property
    def own(self) -> Tensor:
        """The number of each judging row's class."""
        import torch

        number = {name: i for i, name in enumerate(self.task.classes)}
        return torch.tensor([number[label] for label in self.others.y])


def pick(
    features: Annotated[str, typer.Argument(help="Of the large model: .npy, or file.npz:name; a row a sample.")],
    labels: Annotated[Path, typer.Argument(help="Class of each row: .npy of numbers or texts, or text, one a line.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model to write, a .safetensors file.")],
    components: Annotated[int | None, typer.Option(help="Dimensions; classes - 1 by default.", min=1)] = None,
    held_out: Annotated[str | None, typer.Option(help="Features of other rows, to judge by.")] = None,
    held_out_labels: Annotated[Path | None, typer.Option(help="Their classes.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page: accuracy by dimensions, beside PCA.")] = None,
    onnx: Annotated[Path | None, typer.Option(help="Also write the model as ONNX.")] = None,
    seed: Annotated[int, typer.Option(help="Of folds and of rows held out.", min=0)] = 0,
) -> None:
    """Pick the dimensions that a task needs, in an order of which every beginning is a model."""
    if (held_out is None) != (held_out_labels is None):
        missing = "--held-out" if held_out is None else "--held-out-labels"
        raise ValueError(f"{missing}: expected features and labels of held-out rows together, got one; add it")
    given = {
        "FEATURES": features,
        "LABELS": labels,
        "--held-out": held_out,
        "--held-out-labels": held_out_labels,
    }
    require_targets({"--out": out, "--report": report, "--onnx": onnx}, given)
    if onnx is not None:
        _require_exporter()
    rows = _read("FEATURES", features, "LABELS", labels)
    if len(set(rows.y)) < 2:
        raise ValueError(f"LABELS: {labels}: expected two or more classes, got {rows.y[0]!r:.40} in every row")
    others = None
    if held_out is not None and held_out_labels is not None:
        others = _read("--held-out", held_out, "--held-out-labels", held_out_labels)
        _require_alike(rows, others)

    from hyperspectral_geo.fusion import LightModel, select

    task = select(rows.x, rows.y, n_components=components, seed=seed)
    judged = _judged(task, rows, others, seed) if others is not None or report is not None else None
    typer.echo(_summary(task))
    if judged is not None:
        typer.echo(_by_prefix(judged, task.k))
    model = LightModel.of(task)
    model.save(out)
    typer.echo(f"{out}: {_contents(model, out)}")
    if onnx is not None:
        model.export_onnx(onnx)
        typer.echo(f"{onnx}: the same as ONNX, features (n, {rows.x.shape[1]:,}) to scores (n, {len(task.classes):,})")
    if report is not None:
        from hyperspectral_geo.cli.fuse_pick_report import write_pick_report

        write_pick_report(report, task, judged, summary=_summary(task), seed=seed)


def _read(features_option: str, features: str, labels_option: str, labels: Path) -> Rows:
    import numpy as np
    import torch

    from hyperspectral_geo.fusion.alignment import check_samples

    array = read_array(features_option, features)
    kept = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32 if kept else np.float64))
    check_samples(features_option, x)
    return Rows(x, read_labels(labels_option, labels, rows=len(x)))


def _require_alike(rows: Rows, others: Rows) -> None:
    """Held-out rows have the columns and classes of the others."""
    if others.x.shape[1] != rows.x.shape[1]:
        wanted = f"{rows.x.shape[1]} columns as FEATURES"
        raise ValueError(f"--held-out: expected {wanted}, got {others.x.shape[1]}; extract both alike")
    known = set(rows.y)
    for row, label in enumerate(others.y):
        if label not in known:
            some = ", ".join(f"{name!r:.20}" for name in sorted(known)[:5])
            raise ValueError(
                f"--held-out-labels: expected classes of LABELS ({some}, …), got {label!r:.40} in row {row}"
            )


def _judged(task: TaskSubspace, rows: Rows, others: Rows | None, seed: int) -> Judged | None:
    """With rows of their own, or on a fifth of the rows by a task of the others; none where rows are too few."""
    if others is not None:
        return Judged(task, rows, others, given=True)
    import torch

    from hyperspectral_geo.cli.fuse_prefixes import fifth
    from hyperspectral_geo.fusion import select

    number = {name: i for i, name in enumerate(task.classes)}
    held = fifth(torch.tensor([number[label] for label in rows.y]), seed=seed)
    if not bool(held.any()):
        return None
    fitted = rows.at(~held)
    return Judged(select(fitted.x, fitted.y, seed=seed), fitted, rows.at(held), given=False)


def _summary(task: TaskSubspace) -> str:
    counted = min(task.k, len(task.classes) - 1)
    text = (
        f"{task.k:,} of {len(task.mean):,} dimensions picked for {len(task.classes):,} classes; {task.signal:,} tell "
        "more than shuffled labels do"
    )
    return (
        text if counted == task.k else f"{text}; the last {task.k - counted:,} are for other heads, no score uses them"
    )


def _by_prefix(judged: Judged, k: int) -> str:
    from hyperspectral_geo.cli.fuse_prefixes import accuracies, prefixes

    sizes = prefixes(k)
    found = accuracies(judged.task, judged.others.x, judged.own, sizes)
    whose = "held-out rows" if judged.given else "rows, a fifth, by a model of the others"
    lines = [f"accuracy on {len(judged.others.y):,} {whose}, by how many dimensions are kept"]
    return "\n".join([*lines, *(f"{size:9,d}  {value:5.1f} %" for size, value in zip(sizes, found, strict=True))])


def _contents(model: LightModel, path: Path) -> str:
    count = sum(part.numel() for part in model.parameters())
    return (
        f"{model.directions.in_features:,} features to {model.head.in_features:,} coordinates to "
        f"{model.head.out_features:,} scores, two linear layers with {count:,} numbers in "
        f"{str(model.head.weight.dtype).removeprefix('torch.')}, and the names of the classes; "
        f"{path.stat().st_size / 1000:,.0f} kB"
    )


def _require_exporter() -> None:
    """Refuse before the fit what torch could not export after it."""
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"--onnx: expected the packages onnx and onnxscript, got no {' and no '.join(missing)}; "
            "pip install onnx onnxscript"
        )

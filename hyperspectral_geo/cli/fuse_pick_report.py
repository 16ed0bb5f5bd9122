"""The page of ``hsgeo fuse pick``: accuracy against dimension beside PCA, and how much each direction tells."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from hyperspectral_geo.cli.fuse_prefixes import accuracies, pca_accuracies, prefixes

if TYPE_CHECKING:
    from hyperspectral_geo.cli.fuse_pick import Judged
    from hyperspectral_geo.fusion import TaskSubspace
    from hyperspectral_geo.plotting import Section

__all__ = ["write_pick_report"]

_FURTHER = 16  # times the picked dimensions: how far PCA is followed
_SHOWN = 20  # directions in the table


def write_pick_report(path: Path, task: TaskSubspace, judged: Judged | None, *, summary: str, seed: int) -> None:
    """Write the page; without rows that judge it says so."""
    from hyperspectral_geo.plotting import Section, write_report

    if judged is None:
        first = Section("Accuracy", "Too few rows of each class to hold a fifth of them out. Pass --held-out.")
    else:
        first = _accuracy(judged, min(task.k, len(task.classes) - 1), seed)
    sections = [first, _directions(task, summary)]
    write_report(path, title="A light model, picked from a large one", sections=sections)


def _accuracy(judged: Judged, k: int, seed: int) -> Section:
    from hyperspectral_geo.plotting import Section, Table, png_bytes
    from hyperspectral_geo.plotting.dimension_curve import dimension_curve

    fitted, others, own = judged.fitted, judged.others, judged.own
    most = max(k, min(_FURTHER * k, *fitted.x.shape))
    sizes = sorted({*prefixes(k), *prefixes(most)})
    picked = accuracies(judged.task, others.x, own, [size for size in sizes if size <= k])
    picked += [float("nan")] * (len(sizes) - len(picked))
    pca = pca_accuracies(fitted.x, fitted.y, others.x, own, sizes, seed=seed)
    usual, _ = Counter(fitted.y).most_common(1)[0]
    chance = 100 * sum(label == usual for label in others.y) / len(others.y)
    figure = dimension_curve(
        sizes,
        {f"{len(others.y):,} held-out rows, {len(judged.task.classes):,} classes": {"picked": [picked], "PCA": [pca]}},
        levels={f"{len(others.y):,} held-out rows, {len(judged.task.classes):,} classes": {"largest class": [chance]}},
    )
    where = (
        "Judged by rows of their own files, which no fit has seen."
        if judged.given
        else f"No held-out rows were given: {len(others.y):,} rows, about a fifth of each class, were held out for "
        "these figures only. They judge a model fitted to the others; the model in the file is fitted to all rows."
    )
    return Section(
        "Accuracy against dimension",
        f"{where}\n\nPicked: one fit, of which each size is the beginning. PCA: as many leading principal components "
        "of the same training rows, with a head of the same kind, fitted and tuned for each size.",
        picture=png_bytes(figure, dpi=110),
        alt="Accuracy on held-out rows against the number of dimensions, for the picked directions and for PCA.",
        table=Table(
            ("dimensions", "picked, %", "PCA, %"),
            [
                (size, *(None if value != value else f"{value:.1f}" for value in pair))
                for size, *pair in zip(sizes, picked, pca, strict=True)
            ],
            note=f"Always answering the largest class: {chance:.1f} %. Standard error of an accuracy of 50 %: "
            f"{50 / len(others.y) ** 0.5:.1f} points.",
        ),
    )


def _directions(task: TaskSubspace, summary: str) -> Section:
    from hyperspectral_geo.plotting import Section, Table

    rows = [
        (number, value, f"{value / (1 + value):.3f}", value > task.noise_edge)
        for number, value in enumerate(task.eigenvalues[:_SHOWN].tolist(), start=1)
    ]
    return Section(
        "Directions",
        f"{summary}. The ridge is {task.ridge:.3g} times the mean variance within classes.",
        table=Table(
            ("direction", "variance between / within", "share that is between", "above shuffled labels"),
            rows,
            note=f"The largest that shuffled labels reach: {task.noise_edge:.3g}."
            + (f" The first {_SHOWN} of {task.k:,}." if task.k > _SHOWN else ""),
        ),
    )

"""``hsgeo bench fusion-select``: models of few dimensions picked from frozen features, and the network itself cut."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from importlib import import_module
from statistics import mean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.fusion_select_unlabelled import unlabelled_rows
from hyperspectral_geo.benchmarks.network_cut import measure_cut
from hyperspectral_geo.benchmarks.student_interval import student_interval
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.fusion.light.selection import select
from hyperspectral_geo.plotting.dimension_curve import dimension_curve

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

_SPLITS = range(5, 10)
SIZES = (4, 8, 16, 32, 64, 90, 128, 256)
TRAINING, SMALLEST = 1400, 5  # pictures to fit on; members of a class that is asked for
_OURS, _PCA, _RANDOM, _LDA = "selected", "PCA", "random projection", "LDA, scikit-learn"
_RIDGE, _FULL_LDA = "ridge, all 1,280", "LDA, all 1,280"

Accuracies = dict[str, dict[int, list[float]]]


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Accuracy against dimension on emoji categories and subcategories, with many labels and with five a class."""
    table = BenchTable("fusion-select", environment=environment("scikit-learn"))
    tasks = {
        "category": (_task("categories"), None),
        "subcategory": (_task("subcategories"), None),
        "category, 5 labels a class": (_task("categories"), 5),
        "subcategory, 5 labels a class": (_task("subcategories"), 5),
    }
    splits = _SPLITS[:2] if quick else _SPLITS
    if quick:
        del tasks["subcategory"], tasks["subcategory, 5 labels a class"]
    bar = progress.add_task("fusion-select", total=len(tasks) * len(splits) + 2)
    panels, levels = {}, {}
    with one_thread():
        for name, ((features, labels), few) in tasks.items():
            found: Accuracies = defaultdict(lambda: defaultdict(list))
            for split in splits:
                progress.update(bar, description=f"fusion-select: {name}")
                _one_split(features, labels, few, split, found, quick=quick)
                progress.advance(bar)
            table.rows += _rows(name, found, int(labels.max()))
            panels[name] = {
                method: [
                    [found[method].get(size, [float("nan")] * len(splits))[i] for size in SIZES]
                    for i in range(len(splits))
                ]
                for method in (_OURS, _PCA, _RANDOM, _LDA)
                if found[method]
            }
            levels[name] = {method: found[method][0] for method in (_RIDGE, _FULL_LDA) if found[method]}
        progress.update(bar, description="fusion-select: without labels")
        unlabelled_rows(table, splits, quick=quick)
        progress.advance(bar)
        progress.update(bar, description="fusion-select: the network cut")
        measure_cut(table, quick=quick)
        progress.advance(bar)
    for picture, few in (("accuracy against dimension", False), ("five labels a class", True)):
        chosen = [name for name in panels if ("labels" in name) == few]
        table.pictures[picture] = dimension_curve(
            SIZES,
            {name: panels[name] for name in chosen},
            levels=levels,
            title="Models picked from 1,280 frozen features",
        )
    table.notes += [
        f"Emoji, EfficientNet-Lite0's 1,280 features; {len(splits)} random splits (5 to 9: earlier ones were looked at "
        f"while the rules were made), {TRAINING:,} pictures to fit on (or five a class), the others to judge; "
        f"subcategories with at least {SMALLEST} members. Intervals: paired 95 % t over splits, which share pictures, "
        "hence too narrow. Random splits have near-duplicates on both sides, for all.",
        "Selected: one fit, of which all sizes are prefixes; it has at most classes − 1 directions that count, and a "
        "larger size is that model. Its rule at classes − 1 is the regularised discriminant rule on all features, so "
        "the full features are judged by two other heads: scikit-learn's RidgeClassifierCV and its LDA with "
        "shrinkage='auto'. PCA and random projection: a fit of their own for every size, by the head that the "
        "selection has, its ridge chosen by the same cross-validation. LDA at k: its first k directions.",
    ]
    return table


def _task(column: str) -> tuple[Tensor, Tensor]:
    emoji = load_emoji()
    names = getattr(emoji, column)
    sizes = Counter(names)
    rows = [i for i, name in enumerate(names) if sizes[name] >= SMALLEST]
    classes = sorted({names[i] for i in rows})
    return emoji.image[rows], torch.tensor([classes.index(names[i]) for i in rows])


def _one_split(
    features: Tensor, labels: Tensor, few: int | None, split: int, found: Accuracies, *, quick: bool
) -> None:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(split))
    kept = torch.zeros(len(labels), dtype=torch.bool)
    if few is None:
        kept[order[: 400 if quick else TRAINING]] = True
    else:
        for c in range(int(labels.max()) + 1):
            kept[order[labels[order] == c][:few]] = True
    x, y, xt, yt = features[kept].double(), labels[kept], features[~kept].double(), labels[~kept]

    def note(method: str, size: int, predicted: Tensor) -> None:
        found[method][size].append(100 * float((predicted == yt).double().mean()))

    sizes = [size for size in SIZES if size < len(x) - 1 and not (quick and size > 32)]
    picked = select(x, y)
    for size in sizes:
        part = picked.prefix(min(size, picked.k))
        note(_OURS, size, torch.tensor(part.classes)[part.predict(xt)])
    centre = x.mean(0)
    principal = torch.linalg.svd(x - centre, full_matrices=False).Vh.T
    for size in sizes:
        drawn = torch.randn(x.shape[1], size, generator=torch.Generator().manual_seed(split), dtype=x.dtype)
        for method, frame in ((_PCA, principal[:, :size]), (_RANDOM, drawn / x.shape[1] ** 0.5)):
            small = select((x - centre) @ frame, y)
            note(method, size, torch.tensor(small.classes)[small.predict((xt - centre) @ frame)])
    _peers(x, y, xt, sizes, note)


def _peers(x: Tensor, y: Tensor, xt: Tensor, sizes: list[int], note: Callable[[str, int, Tensor], None]) -> None:
    """scikit-learn's heads on all features, and its LDA cut to its first directions."""
    try:
        discriminant = import_module("sklearn.discriminant_analysis").LinearDiscriminantAnalysis
        ridge = import_module("sklearn.linear_model").RidgeClassifierCV
    except ImportError:
        return
    model = ridge(alphas=[10.0**power for power in range(0, 6)]).fit(x.numpy(), y.numpy())
    note(_RIDGE, 0, torch.from_numpy(model.predict(xt.numpy())))
    model = discriminant(solver="eigen", shrinkage="auto").fit(x.numpy(), y.numpy())
    note(_FULL_LDA, 0, torch.from_numpy(model.predict(xt.numpy())))
    scalings, priors = torch.from_numpy(model.scalings_), torch.from_numpy(model.priors_).log()
    classes, means = torch.from_numpy(model.classes_), torch.from_numpy(model.means_)
    for size in sizes:
        if size < len(classes):
            frame = scalings[:, :size]
            centroids = (means - x.mean(0)) @ frame
            scores = (xt - x.mean(0)) @ frame @ centroids.T - centroids.square().sum(1) / 2 + priors
            note(_LDA, size, classes[scores.argmax(1)])


def _rows(task: str, found: Accuracies, most: int) -> list[Row]:
    """Ours minus each peer at each size, and minus the better head on all features at the largest of ours."""
    rows = []
    for peer in (_PCA, _RANDOM, _LDA):
        for size, theirs in found[peer].items():
            rows.append(_difference(f"{task}, {size} dimensions, − {peer}", found[_OURS][size], theirs, 0.0))
    size = max(s for s in found[_OURS] if s <= 90)
    for head in (_RIDGE, _FULL_LDA):
        if found[head]:
            name = f"{task}, {min(size, most)} dimensions, − {head}"
            rows.append(_difference(name, found[_OURS][size], found[head][0], -1.0))
    return rows


def _difference(name: str, ours: list[float], theirs: list[float], bar: float) -> Row:
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    return Row(
        name,
        mean(gaps),
        bar,
        interval=student_interval(gaps),
        ours=f"{mean(ours):.1f} %",
        peer=f"{mean(theirs):.1f} %",
        unit=" points",
    )

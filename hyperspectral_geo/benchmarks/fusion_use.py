"""``hsgeo bench fusion-use``: a joint space at work on unseen classes, on the other modality, and on what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hyperspectral_geo.benchmarks.emoji_layers import group_names
from hyperspectral_geo.benchmarks.fusion_peers import fit_peers
from hyperspectral_geo.benchmarks.fusion_splits import emoji, grouped_split, random_split
from hyperspectral_geo.benchmarks.student_interval import student_interval
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.fusion.retrieval import recall_at_k
from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion
from hyperspectral_geo.fusion.zero_shot import zero_shot

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["converted", "named", "run", "told_apart"]

_SEEDS = (0, 1, 2, 3, 4)
_PAIRS = 800  # of conversion and novelty
_NEW = 200  # items of an unseen category, and of seen ones, that novelty has to tell apart
_OURS = "ours"
_VIEWS = ("picture", "caption")

Figures = dict[str, float]
"""By method."""


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Every method on the same rows of every split, on one thread."""
    table = BenchTable("fusion-use", environment=environment("cca-zoo", "scikit-learn"))
    if find_spec("cca_zoo") is None:
        table.notes.append("Nothing was measured: cca-zoo is not installed; it comes with the extra bench.")
        return table
    seeds, pairs = (_SEEDS[:2], 150) if quick else (_SEEDS, _PAIRS)
    categories = sorted(set(load_emoji().categories))[: 2 if quick else None]
    parts: list[tuple[str, Sequence[int | str], Callable[[Any], Figures]]] = [
        (f"features of a {b} from the {a}: R@10", seeds, lambda seed, a=i, b=1 - i: converted(seed, a, b, pairs=pairs))
        for i, (a, b) in enumerate((_VIEWS, _VIEWS[::-1]))
    ]
    parts += [
        (f"{name}s of an unseen category: ROC", categories, lambda one, i=i: told_apart(one, i, pairs=pairs))
        for i, name in enumerate(_VIEWS)
    ]
    try:
        group_names()
    except ImportError as error:
        table.notes.append(f"Classes by their names were not measured: {error}")
    else:
        most = pairs if quick else None
        parts.insert(0, ("unseen classes by their names: accuracy", seeds, lambda seed: named(seed, most=most)))
    bar = progress.add_task("fusion-use", total=sum(len(keys) for _, keys, _ in parts))
    with one_thread():
        for figure, keys, measure in parts:
            found = []
            for key in keys:
                progress.update(bar, description=f"fusion-use: {figure}, {key}")
                found.append(measure(key))
                progress.advance(bar)
            table.rows += _rows(figure, found)
    table.notes += _NOTES
    return table


def named(seed: int, *, most: int | None = None) -> Figures:
    """Accuracy of pictures of unseen subcategories, each named by the nearest name of them; beside the peers."""
    data, names = emoji(grouped=True), group_names()
    assert data.groups is not None
    split = grouped_split(data.groups, seed=seed)
    x, y, test = data.x[split.train[:most]], data.y[split.train[:most]], data.x[split.test]
    truth = [data.groups[row] for row in split.test.tolist()]
    classes = sorted(set(truth))
    found = zero_shot(
        SubspaceFusion(significance=None, seed=seed).fit([x, y]), test, {one: names[one] for one in classes}
    )
    called = {_OURS: found.similarity}
    words = torch.cat([names[one] for one in classes])
    for name, similarity in fit_peers(x, y, seed=seed).items():
        called[name] = similarity(test, words)
    right = torch.tensor([classes.index(one) for one in truth])
    scores = {name: float((one.argmax(1) == right).double().mean()) for name, one in called.items()}
    return {**scores, "the most frequent": max(truth.count(one) for one in classes) / len(truth)}


def converted(seed: int, source: int, target: int, *, pairs: int) -> Figures:
    """R@10 among 400 held-out items of the features expected beside the other view, and by regression."""
    from sklearn.linear_model import RidgeCV
    from sklearn.neighbors import KNeighborsRegressor

    data = emoji(grouped=False)
    split = random_split(len(data.x), seed=seed)
    rows, views = split.train[:pairs], (data.x, data.y)
    fusion = SubspaceFusion(seed=seed).fit([view[rows] for view in views])
    x, y, asked, answer = (views[side][part].numpy() for part in (rows, split.test) for side in (source, target))
    told = {
        _OURS: fusion.convert(asked, source=source, target=target),
        "ridge regression": RidgeCV(np.logspace(-3, 5, 17)).fit(x, y).predict(asked),
        "mean of the ten nearest": KNeighborsRegressor(10, metric="cosine").fit(x, y).predict(asked),
    }
    mean = torch.from_numpy(y).double().mean(0)
    truth = normalize(torch.from_numpy(answer).double() - mean, dim=1)
    return {
        name: recall_at_k(normalize(torch.as_tensor(one).double() - mean, dim=1) @ truth.T, (10,)).forward[10]
        for name, one in told.items()
    }


def told_apart(category: str, view: int, *, pairs: int) -> Figures:
    """Area under the ROC of novelty: items of a category that no pair has, against held-out ones of others."""
    from sklearn.decomposition import PCA
    from sklearn.metrics import roc_auc_score
    from sklearn.neighbors import NearestNeighbors

    data = emoji(grouped=False)
    inside = torch.tensor([one == category for one in load_emoji().categories])
    seen, new = ((inside == flag).nonzero()[:, 0] for flag in (False, True))
    seen = seen[torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))]
    rows, asked = seen[:pairs], torch.cat([seen[pairs : pairs + _NEW], new[:_NEW]])
    fusion = SubspaceFusion().fit([data.x[rows], data.y[rows]])
    x, test = ((data.x, data.y)[view][part] for part in (rows, asked))
    pca = PCA(0.95, svd_solver="full").fit(x.numpy())
    back = torch.from_numpy(pca.inverse_transform(pca.transform(test.numpy())))
    centre = torch.from_numpy(pca.mean_)
    scores: dict[str, Tensor] = {
        _OURS: fusion.novelty(view, test),
        "outside 95 % PCA": (test - back).norm(dim=1) / (test - centre).norm(dim=1),
        "mean distance of the ten nearest": torch.from_numpy(
            NearestNeighbors(n_neighbors=10, metric="cosine").fit(x.numpy()).kneighbors(test.numpy())[0].mean(1)
        ),
    }
    truth = np.arange(len(test)) >= len(asked) - len(new[:_NEW])
    return {name: float(roc_auc_score(truth, score.numpy())) for name, score in scores.items()}


def _rows(figure: str, found: list[Figures]) -> Iterator[Row]:
    """Ours beside all others, and the paired difference to the best of them."""
    means = {name: fmean(one[name] for one in found) for name in found[0]}
    others = sorted((name for name in means if name != _OURS), key=lambda name: -means[name])
    values = [one[_OURS] for one in found]
    yield Row(
        figure,
        means[_OURS],
        interval=(min(values), max(values)),
        peer=", ".join(f"{name} {means[name]:.3f}" for name in others),
    )
    gaps = [one[_OURS] - one[others[0]] for one in found]
    yield Row(f"{figure}, above {others[0]}", fmean(gaps), interval=student_interval(gaps))


_NOTES = [
    "Emoji, EfficientNet-Lite0 × MiniLM; ours is SubspaceFusion() as it comes. Unseen classes: subcategories that no "
    "training pair is of, in the splits of fusion-retrieval; a class is known by the MiniLM vector of its name alone, "
    'such as "food fruit", and peers get the same vectors.',
    f"Features from the other view: {_PAIRS} pairs, random splits; R@10 among 400 held-out items by the cosine of "
    "features less their mean. Ridge regression chooses its penalty by leave-one-out on the training pairs.",
    f"Unseen categories: {_PAIRS} pairs of eight of the nine categories; up to {_NEW} items of the ninth are to be "
    "told from as many held-out ones of the eight. The area is .5 by chance.",
    "Intervals: least and largest over splits or categories; of differences, Student's at 95 %.",
]

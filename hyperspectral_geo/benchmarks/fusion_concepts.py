"""``hsgeo bench fusion-concepts``: concepts learned apart as a classifier, their geometry, and concepts never seen."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.concept_peers import peers
from hyperspectral_geo.benchmarks.concept_unseen import unseen_rows
from hyperspectral_geo.benchmarks.student_interval import student_interval
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.data import load_emoji, shared_data_path
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.classifier import ConceptClassifier
from hyperspectral_geo.fusion.concepts.concept_module import concept_module
from hyperspectral_geo.fusion.concepts.measures import cross_concept_cosine, linear_factors

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

_LEAST = 8  # members of a subcategory that is a concept here
_SPLITS = range(5, 10)  # others were looked at while the classifier was made
_OURS = "concepts learned apart"


@dataclass(frozen=True)
class Labelled:
    """Samples, float32, and which of the named classes each belongs to."""

    name: str
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]

    def split(self, seed: int, *, training: float) -> tuple[Tensor, Tensor]:
        """Rows to learn from and rows to judge on: the same share of every class, at least two of each."""
        generator = torch.Generator().manual_seed(seed)
        train = torch.zeros(len(self.x), dtype=torch.bool)
        for label in range(len(self.classes)):
            rows = (self.y == label).nonzero().flatten()
            rows = rows[torch.randperm(len(rows), generator=generator)]
            train[rows[: math.ceil(training * len(rows))]] = True
        return train.nonzero().flatten(), (~train).nonzero().flatten()


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Accuracy beside scikit-learn's classifiers, adding a concept, orthogonality and linearity, unseen concepts."""
    table = BenchTable("fusion-concepts", environment=environment("scikit-learn"))
    image, text = _emoji()
    digits = _digits(600 if quick else 2000)
    tasks, seeds = ([digits], _SPLITS[:1]) if quick else ([image, text, digits], _SPLITS)
    bar = progress.add_task("fusion-concepts", total=len(tasks) * len(seeds) + 3)
    for task in tasks:
        accuracies: dict[str, list[float]] = {}
        seconds: dict[str, float] = {}
        for seed in seeds:
            progress.update(bar, description=f"fusion-concepts: {task.name}, split {seed}", advance=1)
            for name, (accuracy, spent) in _one_split(task, seed, few=quick).items():
                accuracies.setdefault(name, []).append(accuracy)
                seconds[name] = seconds.get(name, 0.0) + spent
        table.rows += _accuracy_rows(task, accuracies, seconds)
    progress.update(bar, description="fusion-concepts: adding", advance=1)
    table.rows += _adding_rows(digits)
    progress.update(bar, description="fusion-concepts: geometry", advance=1)
    for task in (text,) if quick else (image, text, digits):
        table.rows += _geometry_rows(task)
    table.rows += _factor_rows(image, text)
    progress.update(bar, description="fusion-concepts: unseen", advance=1)
    for task in (text,) if quick else (image, text):
        splits = [task.split(seed, training=0.5) for seed in seeds]
        table.rows += unseen_rows(task.name, task.x, task.y, task.classes, splits, most=12 if quick else None)
    table.notes += [
        f"Emoji: the {len(image.classes)} subcategories with {_LEAST} members or more, half of each to learn from. "
        "Every method chooses what it has to by 3-fold cross-validation on its training rows. Splits 5 to 9: earlier "
        "ones were looked at while the classifier was made. A random split has "
        "near-duplicates on both sides, for all methods alike. Intervals are those of the mean over splits (t, 95 %); "
        "that of a bar row is of the paired difference to the best peer.",
        "Unseen concepts: a concept's own samples are kept out, and its module is composed of the others'. The score "
        "of a test sample is its log density over that under all others composed equally, whose area is .5.",
    ]
    return table


def _emoji() -> tuple[Labelled, Labelled]:
    emoji = load_emoji()
    counts = Counter(emoji.subcategories)
    classes = tuple(sorted(name for name, count in counts.items() if count >= _LEAST))
    rows = torch.tensor([i for i, name in enumerate(emoji.subcategories) if name in classes])
    y = torch.tensor([classes.index(emoji.subcategories[i]) for i in rows.tolist()])
    return (
        Labelled("emoji pictures", emoji.image[rows], y, classes),
        Labelled("emoji captions", emoji.text[rows], y, classes),
    )


def _digits(count: int) -> Labelled:
    with np.load(shared_data_path("mnist") / "mnist10k.npz", allow_pickle=False) as archive:
        rows = np.random.default_rng(0).permutation(len(archive["y"]))[:count]
        x, y = archive["x"][rows], archive["y"][rows]
    flat = torch.from_numpy(x.reshape(count, -1).astype(np.float32))
    return Labelled("digits", flat / flat.max(), torch.from_numpy(y.astype(np.int64)), tuple("0123456789"))


def _one_split(task: Labelled, seed: int, *, few: bool) -> dict[str, tuple[float, float]]:
    """Accuracy and seconds of fit and prediction, by method."""
    train, test = task.split(seed, training=0.5)
    scale = task.x[train].std()  # of all features together: what some peers' settings are in units of
    parts = (task.x[train] / scale, task.y[train], task.x[test] / scale, task.y[test])
    x, y, held, truth = (part.numpy() for part in parts)
    methods = {
        _OURS: lambda a, b, c: ConceptClassifier(seed=seed).fit(a, b).predict(c),
        **peers(classes=len(task.classes)),
    }
    if few:
        methods = {name: methods[name] for name in (_OURS, "nearest class mean", "k nearest neighbours")}
    found = {}
    for name, predict in methods.items():
        start = perf_counter()
        accuracy = float((predict(x, y, held) == truth).mean())
        found[name] = accuracy, perf_counter() - start
    return found


def _accuracy_rows(task: Labelled, accuracies: dict[str, list[float]], seconds: dict[str, float]) -> list[Row]:
    ours = accuracies[_OURS]
    best = max((name for name in accuracies if name != _OURS), key=lambda name: float(np.mean(accuracies[name])))
    gaps = [100 * (a - b) for a, b in zip(ours, accuracies[best], strict=True)]
    rows = [
        Row(
            f"{task.name}: points above the best peer",
            float(np.mean(gaps)),
            bar=0.0,
            interval=student_interval(gaps),
            ours=f"{100 * np.mean(ours):.1f} %",
            peer=f"{best} {100 * np.mean(accuracies[best]):.1f} %",
        )
    ]
    for name, found in accuracies.items():
        percent = [100 * value for value in found]
        told = f"{seconds[name] / len(found):.1f} s a split"
        rows.append(
            Row(
                f"{task.name}: accuracy, {name}",
                float(np.mean(percent)),
                interval=student_interval(percent),
                ours=told,
                unit=" %",
            )
        )
    return rows


def _adding_rows(digits: Labelled) -> list[Row]:
    """The last digit added to nine, with a background that is given, and with that of the nine."""
    train, test = digits.split(0, training=0.5)
    x, y, held, truth = digits.x[train], digits.y[train], digits.x[test], digits.y[test].numpy()
    nine, last = y < 9, digits.x[train][y == 9]
    background = Background.of(x, groups=y, shrinkage=0.25)
    fixed = {"background": background, "spread": 0.3, "temperature": 10.0}
    together = ConceptClassifier(**fixed).fit(x, y)
    apart = ConceptClassifier(**fixed).fit(x[nine], y[nine])
    added = apart.with_concept(concept_module(last, name="9", background=background), label=9)
    differing = (together.predict_proba(held) != added.predict_proba(held)).sum().item()
    untouched = all(
        a.basis is b.basis and a.mean is b.mean for a, b in zip(apart.concepts_, added.concepts_[:9], strict=True)
    )
    alone = ConceptClassifier().fit(x[nine], y[nine])
    later = alone.with_concept(concept_module(last, name="9", background=alone.background_), label=9)
    return [
        Row(
            "digits: probabilities that differ, last class added later against all at once",
            float(differing),
            bar=0.0,
            better="lower",
            ours=f"{together.predict_proba(held).numel():,} compared bit for bit; the others' tensors are "
            + ("the same objects" if untouched else "COPIES"),
        ),
        Row(
            "digits: accuracy, background and settings of nine classes, the tenth added",
            100 * float((later.predict(held) == truth).mean()),
            unit=" %",
            peer=f"all ten at once {100 * ConceptClassifier().fit(x, y).score(held, truth):.1f} %",
        ),
    ]


def _geometry_rows(task: Labelled) -> list[Row]:
    means = torch.stack([task.x[task.y == label].double().mean(0) for label in range(len(task.classes))])
    centred = (means - task.x.double().mean(0))[:, :, None]
    background = Background.of(task.x, groups=task.y, shrinkage=0.25)
    concepts = [
        concept_module(task.x[task.y == label], name=name, background=background, rank=4)
        for label, name in enumerate(task.classes)
    ]
    luck = math.sqrt(2 / (math.pi * task.x.shape[1]))
    found = linear_factors(task.x, task.y[:, None])
    figures = {
        "mean |cos| of concept means": cross_concept_cosine(list(centred)),
        "mean |cos| of concept means, whitened": cross_concept_cosine([c.mean[:, None] for c in concepts]),
        "mean |cos| of 4 directions a concept, whitened": cross_concept_cosine([c.basis for c in concepts]),
    }
    rows = [Row(f"{task.name}: {name}", value, peer=f"random {luck:.3f}") for name, value in figures.items()]
    told = f"k95 = {found.k95} of {task.x.shape[1]}"
    return [
        *rows,
        Row(f"{task.name}: whitened R² of the class", found.r2, peer=f"random labels {found.chance:.3f}", ours=told),
    ]


def _factor_rows(image: Labelled, text: Labelled) -> list[Row]:
    """Man or woman × what they do: two factors that captions and pictures combine."""
    emoji = load_emoji()
    roles = [(i, *label.split(" ", 1)) for i, label in enumerate(emoji.labels) if label.startswith(("man ", "woman "))]
    both = [role for role, count in Counter(role for _, _, role in roles).items() if count == 2]
    chosen = [(i, int(who == "woman"), both.index(role)) for i, who, role in roles if role in both]
    index, factors = torch.tensor([row[0] for row in chosen]), torch.tensor([row[1:] for row in chosen])
    rows = []
    for task, features in ((image, emoji.image), (text, emoji.text)):
        for name, chosen_factors in (("sex", factors[:, :1]), ("sex + activity", factors)):
            found = linear_factors(features[index], chosen_factors)
            peer = f"chance {found.chance:.3f}"
            told = f"{len(chosen)} emoji, k95 = {found.k95}"
            if chosen_factors.shape[1] > 1:
                told += f", |cos| across factors {found.cosine:.3f} (random {found.cosine_chance:.3f})"
            rows.append(Row(f"{task.name}: whitened R² of {name}", found.r2, peer=peer, ours=told))
    return rows

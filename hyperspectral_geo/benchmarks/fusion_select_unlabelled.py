"""Models picked without labels of the task: from names of its classes, or from concept modules of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import fmean

import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.emoji_layers import group_names
from hyperspectral_geo.benchmarks.fusion_splits import PairedSet, emoji, grouped_split
from hyperspectral_geo.benchmarks.student_interval import student_interval
from hyperspectral_geo.benchmarks.table import BenchTable, Row
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.concept_module import concept_module
from hyperspectral_geo.fusion.light.selection import select
from hyperspectral_geo.fusion.light.unlabelled_selection import Concept, select_by_text, select_from_concepts
from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion
from hyperspectral_geo.fusion.zero_shot import zero_shot

__all__ = ["by_concepts", "by_names", "unlabelled_rows"]

_PAIRS, _FEW, _SMALL = 800, 4, 8  # pairs of a fusion; members that a concept needs; dimensions of a small model
_OURS = "picked"
_OWN = (_OURS, f"its first {_SMALL}")

Accuracies = dict[str, float]
"""Percent by method; that of ours first."""


def unlabelled_rows(table: BenchTable, splits: Sequence[int], *, quick: bool) -> None:
    """Add rows for emoji subcategories that no training pair is of."""
    data = emoji(grouped=True)
    parts = {
        "concept modules": lambda split: by_concepts(data, split, whitened=False),
        "concept modules, whitened": lambda split: by_concepts(data, split, whitened=True),
    }
    try:
        names = group_names()
    except ImportError as error:
        table.notes.append(f"Models picked by names of classes were not measured: {error}")
    else:
        pairs = 100 if quick else _PAIRS
        parts = {"names of the classes": lambda split: by_names(data, names, split, pairs=pairs), **parts}
    for what, measure in parts.items():
        found: dict[str, list[float]] = defaultdict(list)
        for split in splits:
            for method, value in measure(split).items():
                found[method].append(value)
        others = ", ".join(f"{name} {fmean(values):.1f}" for name, values in found.items() if name != _OURS)
        values = found[_OURS]
        title = f"unseen subcategories, {what} alone"
        table.rows.append(Row(title, fmean(values), interval=(min(values), max(values)), peer=others, unit=" %"))
        best = max((name for name in found if name not in _OWN and "labels" not in name), key=lambda n: fmean(found[n]))
        gaps = [a - b for a, b in zip(values, found[best], strict=True)]
        table.rows.append(Row(f"{title}, − {best}", fmean(gaps), interval=student_interval(gaps), unit=" points"))
    table.notes.append(
        "Unseen subcategories: those of the test pictures, 15 to 20 a split, of which no pair of the fusion is. By "
        f"names: {_PAIRS} pairs of other subcategories make the joint space, a class is MiniLM's vector of its name. "
        "By modules: every other test picture makes its class's module, and the rest is judged; whitened is by a "
        "background of other subcategories. The labels that are compared with are those of the modules' members; "
        "principal components are of other subcategories, with the nearest of the modules' means. Intervals: least and "
        "largest over splits; of differences, Student's at 95 %."
    )


def by_names(data: PairedSet, names: dict[str, Tensor], split: int, *, pairs: int) -> Accuracies:
    """Pictures of unseen subcategories by ``select_by_text``, beside ``zero_shot`` and principal components."""
    assert data.groups is not None
    parts = grouped_split(data.groups, seed=split)
    rows, test = parts.train[:pairs], data.x[parts.test]
    classes = sorted({data.groups[row] for row in parts.test.tolist()})
    right = torch.tensor([classes.index(data.groups[row]) for row in parts.test.tolist()])
    fusion = SubspaceFusion(significance=None, seed=split).fit([data.x[rows], data.y[rows]])
    codes, seen = fusion.encode(0, test), fusion.encode(0, data.x[rows])
    words = torch.cat([fusion.encode(1, names[one]) for one in classes])
    task = select_by_text(seen, words, classes=classes)
    principal = torch.linalg.svd(seen - seen.mean(0), full_matrices=False).Vh.T[:, :_SMALL]
    near = torch.nn.functional.normalize((codes - codes.mean(0)) @ principal, dim=1) @ (
        torch.nn.functional.normalize((words - words.mean(0)) @ principal, dim=1).T
    )
    named = zero_shot(fusion, test, {one: names[one] for one in classes})
    return {
        _OURS: _percent(task.predict(codes), right),
        _OWN[1]: _percent(task.prefix(_SMALL).predict(codes), right),
        f"{_SMALL} principal components": _percent(near.argmax(1), right),
        "zero_shot, all directions": _percent(named.numbers, right),
    }


def by_concepts(data: PairedSet, split: int, *, whitened: bool) -> Accuracies:
    """Pictures of unseen subcategories by ``select_from_concepts``, beside ``select`` with the members' labels."""
    assert data.groups is not None
    parts = grouped_split(data.groups, seed=split)
    groups = [data.groups[row] for row in parts.test.tolist()]
    members: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(groups[::2]):
        members[one].append(2 * place)
    members = {one: places for one, places in sorted(members.items()) if len(places) >= _FEW}
    others = data.x[parts.train[:_PAIRS]]
    background = Background.of(others) if whitened else None
    x, others = (rows if background is None else background.whiten(rows) for rows in (data.x[parts.test], others))
    modules: dict[Hashable, Concept] = {
        one: concept_module(data.x[parts.test[places]], name=one, background=background, rank=_FEW - 1)
        for one, places in members.items()
    }
    classes = list(members)
    judged = [place for place, one in enumerate(groups) if place % 2 and one in modules]
    right = torch.tensor([classes.index(groups[place]) for place in judged])
    task = select_from_concepts(modules)
    taught = [(place, classes.index(one)) for one, places in members.items() for place in places]
    rows, labels = torch.tensor(taught).T
    labelled = select(x[rows], labels)
    means = torch.stack([x[members[one]].mean(0) for one in classes])
    principal = torch.linalg.svd(others - others.mean(0), full_matrices=False).Vh.T[:, :_SMALL]
    return {
        _OURS: _percent(task.predict(x[judged]), right),
        _OWN[1]: _percent(task.prefix(_SMALL).predict(x[judged]), right),
        "with labels": _percent(labelled.predict(x[judged]), right),
        f"with labels, its first {_SMALL}": _percent(labelled.prefix(_SMALL).predict(x[judged]), right),
        "nearest mean": _percent(torch.cdist(x[judged], means).argmin(1), right),
        f"nearest mean, {_SMALL} principal components": _percent(
            torch.cdist(x[judged] @ principal, means @ principal).argmin(1), right
        ),
    }


def _percent(found: Tensor, right: Tensor) -> float:
    return 100 * float((found == right).double().mean())

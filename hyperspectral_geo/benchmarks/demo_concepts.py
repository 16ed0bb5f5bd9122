"""Part two of the demo: concept bases of groups of pictures, merged on the Grassmannian, eigenvalues re-weighted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.manifolds import principal_angles
from hyperspectral_geo.merging import ConceptSpace, Fold, merge_concepts, reweight
from hyperspectral_geo.plotting import Table
from hyperspectral_geo.spectral import SpectralBasis, from_activations, from_covariance

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["ConceptFigures", "measure_concepts"]

SPLITS, FOLDS = 5, 3
RANK, COMMON = 8, 64
SMALLEST = 20  # distinct pictures in a group


@dataclass(frozen=True, eq=False)
class ConceptFigures:
    """Held-out accuracies by method, one number a split, and the angles between the concepts of the first split."""

    accuracies: dict[str, list[float]]
    dimensions: dict[str, str]
    names: tuple[str, ...]
    pictures: int
    angles: Tensor

    def table(self) -> Table:
        """Accuracy with its standard error over the splits."""
        rows = [(name, self.dimensions[name], mean(a), stdev(a) / len(a) ** 0.5) for name, a in self.accuracies.items()]
        return Table(
            ("method", "dimensions", "accuracy", "± s.e."),
            rows,
            note=f"Which of {len(self.names)} groups a held-out picture belongs to ({self.pictures:,} pictures, 30 % "
            f"held out, {SPLITS} splits; chance {1 / len(self.names):.3f})",
        )

    def figures(self) -> dict[str, Any]:
        """For ``report.json``."""
        return {"groups": list(self.names), "pictures": self.pictures, "accuracy by split": self.accuracies}


def measure_concepts(seed: int, progress: Progress) -> ConceptFigures:
    """Accuracies over five splits.

    Country flags are left out: they are told apart by country, not as a group. Of pictures that are drawn alike, as
    many of families are, one is kept: it would else be in training and test at once.
    """
    emoji = load_emoji()
    distinct = _first_of_each(emoji.image)
    sizes = Counter(emoji.subcategories[i] for i in distinct)
    names = tuple(sorted(s for s, count in sizes.items() if count >= SMALLEST and s != "country-flag"))
    rows = [i for i in distinct if emoji.subcategories[i] in names]
    labels = torch.tensor([names.index(emoji.subcategories[i]) for i in rows])
    images = emoji.image[rows].double()
    task = progress.add_task("picture groups, merged", total=SPLITS)
    accuracies: dict[str, list[float]] = {}
    angles = torch.zeros(0)
    for split in range(SPLITS):
        measured, bases = _one_split(images, labels, names, torch.Generator().manual_seed(1000 * seed + split))
        for method, accuracy in measured.items():
            accuracies.setdefault(method, []).append(accuracy)
        if split == 0:
            frames = torch.stack([basis.basis for basis in bases])
            angles = principal_angles(frames[:, None], frames[None]).mean(-1).fill_diagonal_(0)
        progress.advance(task)
    return ConceptFigures(accuracies, _dimensions(images.shape[1], len(names)), names, len(rows), angles)


def _first_of_each(images: Tensor) -> list[int]:
    """Rows that differ from all rows before them."""
    seen: dict[bytes, int] = {}
    for i, row in enumerate(images.numpy()):
        seen.setdefault(row.tobytes(), i)
    return list(seen.values())


def _dimensions(n: int, k: int) -> dict[str, str]:
    return {
        "full features, nearest group mean": f"{n:,}",
        "concepts unmerged, one basis each": f"{k} × {RANK}",
        "plain average of covariances": str(COMMON),
        "merged on the Grassmannian": str(COMMON),
        "merged, eigenvalues re-weighted": str(COMMON),
    }


def _one_split(
    images: Tensor, labels: Tensor, names: tuple[str, ...], generator: torch.Generator
) -> tuple[dict[str, float], list[SpectralBasis]]:
    train, test = _stratified(labels, 0.7, generator)
    centre = images[train].mean(0)
    x, y, x_test, y_test = images[train] - centre, labels[train], images[test] - centre, labels[test]

    def accuracy(scores: Callable[[Tensor], Tensor]) -> float:
        return (scores(x_test).argmax(1) == y_test).double().mean().item()

    means = torch.nn.functional.normalize(torch.stack([x[y == k].mean(0) for k in range(len(names))]), dim=1)
    bases = _concept_bases(x, y, names)
    frames = torch.stack([basis.basis for basis in bases])
    merged = merge_concepts(bases, dim=COMMON)
    weighted = reweight(merged, _folds(x, y, names, generator))
    share = 1 / (len(names) * torch.bincount(y)[y])  # each concept's covariance counts the same, whatever its size
    average = from_covariance(x.mT @ (x * share[:, None]), rank=COMMON).basis
    plain = ConceptSpace(average, torch.ones_like(average[0]), average.mT @ frames, names)
    measured = (
        accuracy(lambda v: torch.nn.functional.normalize(v, dim=1) @ means.mT),
        accuracy(lambda v: (v @ frames).square().sum(-1).mT),
        accuracy(plain.scores),
        accuracy(merged.scores),
        accuracy(weighted.scores),
    )
    return dict(zip(_dimensions(0, 0), measured, strict=True)), bases


def _concept_bases(x: Tensor, y: Tensor, names: tuple[str, ...]) -> list[SpectralBasis]:
    return [from_activations(x[y == k], rank=RANK, centre=False, name=name) for k, name in enumerate(names)]


def _folds(x: Tensor, y: Tensor, names: tuple[str, ...], generator: torch.Generator) -> list[Fold]:
    """Each fold with concept bases that have not seen it."""
    fold = torch.empty_like(y)
    for k in range(len(names)):
        members = (y == k).nonzero()[:, 0]
        fold[members[torch.randperm(len(members), generator=generator)]] = torch.arange(len(members)) % FOLDS
    parts = [fold == f for f in range(FOLDS)]
    return [Fold(x[part], y[part], _concept_bases(x[~part], y[~part], names)) for part in parts]


def _stratified(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    train, test = [], []
    for k in labels.unique():
        members = (labels == k).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        cut = round(share * len(members))
        train.append(members[:cut])
        test.append(members[cut:])
    return torch.cat(train), torch.cat(test)

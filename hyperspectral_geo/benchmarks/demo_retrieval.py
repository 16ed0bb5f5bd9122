"""Part three of the demo: pictures and their captions aligned by regularised CCA, scored by retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.fusion import SubspaceFusion
from hyperspectral_geo.plotting import Table

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["RetrievalFigures", "measure_retrieval"]

TEST = 400


@dataclass(frozen=True, eq=False)
class RetrievalFigures:
    """Scores by split: R@1, R@5, R@10 (fractions, both directions averaged) and the chance of R@1."""

    scores: dict[str, dict[str, float]]
    pairs: int

    def table(self) -> Table:
        """Retrieval among the held-out items, beside chance."""
        rows = [(name, *(s[f"R@{k}"] for k in (1, 5, 10))) for name, s in self.scores.items()]
        chance = next(iter(self.scores.values()))["chance"]
        return Table(
            ("split", "R@1", "R@5", "R@10"),
            [*rows, ("chance", chance, 5 * chance, 10 * chance)],
            note=f"Picture to caption and back, among {TEST} held-out of {self.pairs:,} pairs, R@k",
        )

    def figures(self) -> dict[str, Any]:
        """For ``report.json``."""
        return {"pairs": self.pairs, "held out": TEST, **self.scores}


def measure_retrieval(seed: int, progress: Progress) -> RetrievalFigures:
    """Fit on the rest, score on 400 pairs: drawn at random, and from groups that training has not seen."""
    emoji = load_emoji()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(emoji.labels), generator=generator)
    splits = {"random": (order[:TEST], order[TEST:]), "unseen groups": _by_groups(emoji.subcategories, generator)}
    task = progress.add_task("pictures aligned with captions", total=len(splits))
    scores = {}
    for name, (test, train) in splits.items():
        model = SubspaceFusion(n_components=64, method="csa", seed=seed).fit([emoji.image[train], emoji.text[train]])
        scores[name] = model.score([emoji.image[test], emoji.text[test]])
        progress.advance(task)
    return RetrievalFigures(scores, len(order))


def _by_groups(groups: tuple[str, ...], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """400 test items from groups drawn at random, and all items of the other groups; no group is in both."""
    names = sorted(set(groups))
    drawn: set[str] = set()
    held_out: list[int] = []
    for i in torch.randperm(len(names), generator=generator).tolist():
        drawn.add(names[i])
        held_out = [row for row, group in enumerate(groups) if group in drawn]
        if len(held_out) >= TEST:
            break
    train = torch.tensor([row for row, group in enumerate(groups) if group not in drawn])
    some = torch.randperm(len(held_out), generator=generator)[:TEST]
    return torch.tensor(held_out)[some], train

"""The rows and the picture of ``hsgeo bench people`` on a simulated cycle of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from matplotlib.figure import Figure

from hyperspectral_geo.benchmarks.answer_cycle import STRATEGIES, Asked, Cycle
from hyperspectral_geo.benchmarks.student_interval import student_interval
from hyperspectral_geo.benchmarks.table import Row
from hyperspectral_geo.data import Wikispeedia
from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.plotting.feedback import feedback_curve

__all__ = ["CycleRuns", "cycle_runs", "part_of"]

_COUNTS = (10, 20, 50, 100, 200, 400)
_HIDDEN = 0.2


@dataclass(frozen=True)
class CycleRuns:
    """What came of each way of asking, under each seed.

    Attributes:
        graph: whose links were hidden in part.
        asked: by strategy, one for each seed.
    """

    graph: HopGraph
    asked: Mapping[str, Sequence[Asked]]

    def rows(self) -> Iterator[Row]:
        """Mean errors over seeds before any answer and after all, and how each way fares beside random pairs."""
        answers = next(iter(self.asked.values()))[0].answers
        for field, label in _LABELS.items():
            start = [getattr(one.errors[0], field) for one in next(iter(self.asked.values()))]
            yield Row(f"{label}, no answer", fmean(start), better="lower", interval=student_interval(start))
            for name, runs in self.asked.items():
                for at in range(1, len(answers)):
                    values = [getattr(one.errors[at], field) for one in runs]
                    gains = [getattr(one.errors[0], field) - value for one, value in zip(runs, values, strict=True)]
                    yield Row(
                        f"{label}, {answers[at]} answers on {name}",
                        fmean(values),
                        better="lower",
                        interval=student_interval(values),
                        ours=f"gain {fmean(gains):.4f}",
                    )
        last = {name: [one.errors[-1].everywhere for one in runs] for name, runs in self.asked.items()}
        plain = last.pop("random pairs")
        for name, values in last.items():
            ahead = [a - b for a, b in zip(plain, values, strict=True)]
            yield Row(
                f"{_LABELS['everywhere']}, random pairs less {name}, {answers[-1]} answers",
                fmean(ahead),
                interval=student_interval(ahead),
            )

    def picture(self) -> Figure:
        """Both errors less those before any answer, since seeds differ more at the start than answers change."""
        answers = next(iter(self.asked.values()))[0].answers
        panels = {
            f"change of the {label}": {name: _changes(runs, field) for name, runs in self.asked.items()}
            for field, label in _LABELS.items()
        }
        return feedback_curve(
            answers, panels, title="Hop counts told to a model that does not know a fifth of the links"
        )

    def notes(self) -> list[str]:
        """How it was measured."""
        seeds = len(next(iter(self.asked.values())))
        return [
            f"Simulated cycle: {len(self.graph):,} pages of Wikispeedia with {len(self.graph.edges):,} links between "
            f"them, a fifth hidden at random, {seeds} seeds; intervals by Student's t over them. Answers are true hop "
            "counts of the pairs asked, applied with hold 0.1, each time from the first model with all answers so far. "
            "Least sure pairs: largest standard deviation of the read-out's hops. Remote targets: pages that are "
            "farthest from all others by the model. Every strategy asks anew after each cycle, by the model as it then "
            "is."
        ]


_LABELS = {
    "everywhere": "mean error, all pairs",
    "changed": "mean error, pairs that hidden links change",
}


def cycle_runs(core: Wikispeedia, *, quick: bool, told: Callable[[str], None]) -> CycleRuns:
    """Hide links, train, ask and tell, by every strategy under every seed.

    Args:
        core: pages that all lead to each other.
        quick: one seed, few pages and answers.
        told: called with what is being done.
    """
    graph = part_of(core, 700 if quick else 1500)
    found: dict[str, list[Asked]] = {name: [] for name in STRATEGIES}
    for seed in range(2 if quick else 5):
        told(f"cycle of answers, seed {seed}")
        cycle = Cycle.hiding(graph, _HIDDEN, seed=seed, steps=60 if quick else 1500)
        for name, ask in STRATEGIES.items():
            found[name].append(cycle.run(ask, _COUNTS[:2] if quick else _COUNTS, seed=seed))
    return CycleRuns(graph, found)


def part_of(core: Wikispeedia, pages: int) -> HopGraph:
    """The largest part that hangs together in both directions of some pages drawn at random."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    drawn = torch.randperm(len(core.names), generator=torch.Generator().manual_seed(0))[:pages]
    edges = core.edges[torch.isin(core.edges, drawn).all(1)]
    links = coo_array((np.ones(len(edges)), edges.T.numpy()), shape=(len(core.names),) * 2)
    label = torch.from_numpy(connected_components(links, connection="strong")[1]).long()
    kept = (label == label.bincount().argmax()).nonzero()[:, 0]
    inside = torch.searchsorted(kept, edges[torch.isin(edges, kept).all(1)])
    return HopGraph.from_edges(inside, names=[core.names[page] for page in kept.tolist()])


def _changes(runs: Sequence[Asked], field: str) -> np.ndarray:
    """An error less that before any answer, (seeds, numbers of answers)."""
    errors = np.array([[getattr(error, field) for error in one.errors] for one in runs])
    return errors - errors[:, :1]

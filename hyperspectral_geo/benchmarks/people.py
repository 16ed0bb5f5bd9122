"""``hsgeo bench people``: what people's input is worth, on real walks, in a simulated cycle, and what it costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from hyperspectral_geo.benchmarks.click_table import ClickTask, click_rows
from hyperspectral_geo.benchmarks.cycle_table import cycle_runs
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.hyperbolic import HopEmbedding
from hyperspectral_geo.hyperbolic.feedback.constraint import AboutHops
from hyperspectral_geo.hyperbolic.feedback.refine import apply_feedback

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

_ANSWERS = 10


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Next clicks of held-out players, one cycle of ten answers, and cycles of many simulated ones."""
    table = BenchTable("people", environment=environment("scikit-learn", "transformers"))
    bar = progress.add_task("people", total=None)

    def told(what: str) -> None:
        progress.update(bar, description=f"people: {what}")

    with one_thread():
        task = ClickTask.prepared(quick=quick, told=told)
        rows, notes = click_rows(task, quick=quick, told=told)
        table.rows += rows
        told("one cycle of ten answers")
        table.rows += _one_cycle(task.contest.base, barred=not quick)
        runs = cycle_runs(task.core, quick=quick, told=told)
        table.rows += runs.rows()
        table.pictures["answers"] = runs.picture()
    table.notes += [
        *notes,
        f"One cycle: {_ANSWERS} answers on random pairs, each a hop more or less than the model says, applied to the "
        "hop model in process; five draws. Untouched pairs are all ordered pairs but those answered.",
        *runs.notes(),
    ]
    return table


def _one_cycle(model: HopEmbedding, *, barred: bool) -> list[Row]:
    """CPU time, drift and answers met of ten answers."""
    seconds, drift, named, met = [], [], [], []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        ends = torch.randint(len(model), (_ANSWERS, 2), generator=generator)
        ends = ends[ends[:, 0] != ends[:, 1]]
        now = model.pair_distances(ends[:, 0], ends[:, 1]).tolist()
        answers = [
            AboutHops(model.names[a], model.names[b], max(1, round(d) + (-1) ** number))
            for number, ((a, b), d) in enumerate(zip(ends.tolist(), now, strict=True))
        ]
        start = time.process_time()
        changes = apply_feedback(model, answers).changes
        seconds.append(time.process_time() - start)
        drift.append(100 * changes.drift.mean)
        named.append(100 * changes.drift.named)
        met.append(sum(one.met for one in changes.answers) / len(answers))
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    pages = f"{len(model):,} pages"
    return [
        Row("a cycle of 10 answers: CPU s", mean(seconds), 2.0 if barred else None, "lower", _range(seconds), pages),
        Row("its mean drift of untouched pairs, %", mean(drift), 1.0 if barred else None, "lower", _range(drift)),
        Row("its mean drift of pairs with a named end, %", mean(named), None, "lower", _range(named)),
        Row("answers met", mean(met), None, "higher", _range(met)),
    ]


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)

"""``hsgeo bench merge-quality``: how good merged networks are, by every method, on settings with room above them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch

from hyperspectral_geo.benchmarks.expert_training import Setting
from hyperspectral_geo.benchmarks.image_experts import correct, load_experts
from hyperspectral_geo.benchmarks.image_tasks import TASK_NAMES
from hyperspectral_geo.benchmarks.merge_contest import CALIBRATED, DATA_FREE, OURS, Entry, contest
from hyperspectral_geo.benchmarks.merge_results import read_results, write_results
from hyperspectral_geo.benchmarks.paired_bootstrap import Correct, Draws, summary
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.data.catalogue import cache_folder

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

_LABEL = {"lora": "LoRA", "full": "full fine-tuning"}


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Train or read the experts, merge them by every method, and compare.

    One process a core, each with one thread; an interrupted run finds the experts that it has trained and, unless the
    code has changed, the seeds that it has finished.
    """
    seeds, inputs = (range(1), (8,)) if quick else (range(5), (8, 32, 128))
    jobs: list[tuple[Setting, int]] = [(setting, seed) for seed in seeds for setting in get_args(Setting)]
    bar = progress.add_task("merge-quality: experts and merges", total=len(jobs))
    found: dict[tuple[Setting, int], tuple[Correct, dict[str, Entry]]] = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[tuple[Correct, dict[str, Entry]]], tuple[Setting, int]] = {
            pool.submit(_job, setting, seed, inputs, quick): (setting, seed) for setting, seed in jobs
        }
        for future in as_completed(waiting):
            found[waiting[future]] = future.result()
            progress.advance(bar)
    table = BenchTable("merge-quality", environment=environment())
    for setting in get_args(Setting):
        of_setting = [found[setting, seed] for seed in seeds]
        _add_rows(table, setting, [own for own, _ in of_setting], [entries for _, entries in of_setting], inputs)
    table.notes += [
        "Normalised accuracy: a task's test accuracy over its expert's; mean over the tasks, then the worst task; both "
        f"averaged over {len(seeds)} training seeds. Twelve tasks (8 Omniglot alphabets, 4 sets of transformed digits) "
        "on one small transformer. Every method's scale is chosen on validation data from one grid; 'untuned' is the "
        "scale it was published with. Test data are used once. Calibrated methods see training images without labels.",
        "Intervals: 95 %, bootstrap over seeds and test items, paired between methods.",
        "Bars of the data-free rows compare with the best of the others in this run, chosen on the test data itself.",
    ]
    return table


def _job(setting: Setting, seed: int, inputs: Sequence[int], quick: bool) -> tuple[Correct, dict[str, Entry]]:
    torch.set_num_threads(1)
    kept = cache_folder() / "merge-quality" / f"{_fingerprint()}-{setting}-{seed}{'-quick' if quick else ''}.json"
    if kept.exists():
        return read_results(kept)
    names = ("balinese", "tagalog", "digits-rotated") if quick else TASK_NAMES
    experts = load_experts(seed, setting, names=names, steps=(60, 40) if quick else (750, 560))
    own = [correct(experts, module, split="test")[t] for t, module in enumerate(experts.modules)]
    entries = contest(experts, inputs=inputs, progress=lambda _: None)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_results(kept, own, entries)
    return own, entries


def _fingerprint() -> str:
    """Of all code that results may depend on: a resumed run reads no results of another code."""
    package = Path(__file__).parents[1]
    sources = sorted(package.rglob("*.py"))
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _add_rows(
    table: BenchTable,
    setting: Setting,
    own: Sequence[Correct],
    entries: Sequence[Mapping[str, Entry]],
    inputs: Sequence[int],
) -> None:
    draws = Draws(own)
    points = {name: draws.point([e[name].tuned for e in entries]) for name in entries[0]}
    label = _LABEL[setting]
    peers = [name for name in DATA_FREE if not name.startswith(OURS)]
    for name in (*DATA_FREE, *(f"{m}, {n} inputs" for n in inputs for m in CALIBRATED)):
        best = [max(points[p][k] for p in peers) if name == OURS else None for k in (0, 1)]
        table.rows += _score_rows(f"{label}: {name}", draws, [e[name] for e in entries], best)
    best_free = max(DATA_FREE, key=lambda name: points[name][0])
    for count in inputs:
        rivals = [best_free, *(f"{m}, {count} inputs" for m in ("regmean++", "adamerging", "fisher"))]
        rival = max(rivals, key=lambda name: points[name][0])
        table.rows.append(_difference(label, f"calibrated, {count} inputs", rival, draws, entries, bar=count < 128))
        table.rows.append(_over_anchor(label, count, draws, entries))


def _score_rows(figure: str, draws: Draws, entries: Sequence[Entry], bars: Sequence[float | None]) -> list[Row]:
    tuned = [e.tuned for e in entries]
    mean, worst = draws.point(tuned)
    untuned = draws.point([e.default for e in entries])
    spread = [summary(x) for x in draws.normalised(tuned)]
    seconds = sum(e.seconds for e in entries) / len(entries)
    scales = ", ".join(f"{e.scale:g}" for e in entries)
    return [
        Row(
            f"{figure}, mean",
            mean,
            bars[0],
            interval=spread[0],
            ours=f"untuned {untuned[0]:.3f}",
            peer=f"{seconds:.1f} s",
        ),
        Row(
            f"{figure}, worst task",
            worst,
            bars[1],
            interval=spread[1],
            ours=f"untuned {untuned[1]:.3f}",
            peer=f"scales {scales}",
        ),
    ]


def _difference(
    label: str, ours: str, rival: str, draws: Draws, entries: Sequence[Mapping[str, Entry]], *, bar: bool
) -> Row:
    """Ours less the best rival; the figure is the lower end of the paired interval."""
    mine, theirs = ([e[name].tuned for e in entries] for name in (ours, rival))
    low, high = summary(draws.normalised(mine)[0] - draws.normalised(theirs)[0])
    middle = draws.point(mine)[0] - draws.point(theirs)[0]
    figure = f"{label}: {ours}, less the best rival: lower end of the interval"
    return Row(figure, low, 0.0 if bar else None, interval=(low, high), ours=f"{middle:+.3f}", peer=rival)


def _over_anchor(label: str, count: int, draws: Draws, entries: Sequence[Mapping[str, Entry]]) -> Row:
    """Ours less the anchor it started from, seed by seed the data-free method that validation data chose."""
    name = f"calibrated, {count} inputs"
    anchors = [max(DATA_FREE, key=lambda n, e=e: e[n].validation) for e in entries]
    mine, start = [e[name].tuned for e in entries], [e[a].tuned for e, a in zip(entries, anchors, strict=True)]
    low, high = summary(draws.normalised(mine)[0] - draws.normalised(start)[0])
    middle = draws.point(mine)[0] - draws.point(start)[0]
    figure = f"{label}: {name}, less its anchor: upper end of the interval"
    return Row(figure, high, 0.0, interval=(low, high), ours=f"{middle:+.3f}", peer=", ".join(anchors))

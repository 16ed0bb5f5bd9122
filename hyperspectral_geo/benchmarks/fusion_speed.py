"""``hsgeo bench fusion-speed``: time and memory of linear fusion of 100,000 pairs, beside cca-zoo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["made_pairs", "run"]

WIDTHS = (1024, 768)
_SIZES = (12_500, 25_000, 50_000, 100_000)
_QUICK_WIDTHS, _QUICK_SIZES = (64, 48), (300, 600)
_SHARED = 64  # directions that the views have in common
_SECONDS, _BYTES, _DOUBLED, _RATIO = 60.0, 2e9, 2.1, 5.0  # doubled: time of twice the pairs
_PATIENCE = 60.0  # seconds of a peer's fit, beyond which no larger size is tried
_SHORT = 10.0  # seconds: fits are repeated until they took so long, or three times
_RIDGES, _FOLDS = 8, 5  # of ours, method="linear", before it refines them


def made_pairs(rows: int, widths: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Gaussian pairs in float32 that share 64 directions with falling correlations; the same for the same arguments."""
    generator = torch.Generator().manual_seed(0)
    shared = min(_SHARED, *widths)
    meaning = torch.randn(rows, shared, generator=generator) * torch.linspace(3, 0.3, shared)
    views = []
    for width in widths:
        view = torch.randn(rows, width, generator=generator)
        views.append(view.addmm_(meaning, torch.randn(shared, width, generator=generator) / width**0.5))
    return views[0], views[1]


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """All fits in one process that does nothing else, on at most two threads."""
    sizes, widths = (_QUICK_SIZES, _QUICK_WIDTHS) if quick else (_SIZES, WIDTHS)
    threads = 1 if quick else min(2, os.cpu_count() or 1)
    table = BenchTable("fusion-speed", environment=environment("cca-zoo"))
    names = ("linear", "rCCA", *(("cca-zoo", "cca-zoo, 64") if find_spec("cca_zoo") else ()))
    bar = progress.add_task("fusion-speed: fits in a process of their own", total=None)
    found = _measured(names, sizes, widths, threads)
    progress.remove_task(bar)
    table.rows += _rows(found, judged=not quick)
    table.notes.append(
        f"Pairs of {widths[0]} × {widths[1]} float32 on {threads} threads, after a small fit that is not counted. "
        'Linear: SubspaceFusion(method="linear") with ridges, powers and eigenvalues by 5-fold cross-fitting, and a '
        'permutation test. rCCA: SubspaceFusion(method="rcca", ridge=1.0, significance=None), which does what a fit of '
        "cca-zoo's RidgeCCA does, in float64 where that works in float32. Fits keep all directions, as retrieval "
        "needs, but for those with 64; cca-zoo's time grows with that number. Choosing among "
        f"{_RIDGES} ridges by {_FOLDS} folds, a fit of cca-zoo is counted {_RIDGES} · {_FOLDS} · 4/5 + 1 times. "
        "Medians of three fits, of one where that takes 10 seconds. Memory: peak above the pairs."
    )
    if "cca-zoo" not in found:
        table.notes.append("cca-zoo's rows are left out, since it is not installed: it comes with the extra bench.")
    return table


def _rows(found: dict[str, dict[int, dict[str, float]]], *, judged: bool) -> Iterator[Row]:
    ours = found["linear"]
    largest, smallest = max(ours), min(ours)
    for size, one in ours.items():
        top = judged and size == largest
        yield Row(f"linear, {size:,} pairs", one["wall"], _SECONDS if top else None, "lower", unit=" s", ours=_cpu(one))
    yield Row(
        f"linear, {largest:,} pairs: peak memory above the pairs",
        ours[largest]["above"] / 1e9,
        _BYTES / 1e9 if judged else None,
        "lower",
        ours=f"at {smallest:,} pairs {ours[smallest]['above'] / 1e9:.2g} GB",
        unit=" GB",
    )
    fits = found["rCCA"]
    yield Row(
        f"rCCA: CPU time of {largest:,} pairs over that of {largest // 2:,}",
        fits[largest]["cpu"] / fits[largest // 2]["cpu"],
        _DOUBLED if judged else None,
        "lower",
        unit="×",
    )
    if "cca-zoo" not in found:
        return
    for name in ("rCCA", "cca-zoo", "cca-zoo, 64"):
        for size, one in found[name].items():
            yield Row(f"{name}, one fit, {size:,} pairs", one["wall"], better="lower", unit=" s", ours=_cpu(one))
    size = max(found["cca-zoo"])
    times = _RIDGES * _FOLDS * (1 - 1 / _FOLDS) + 1
    for name, mine, count, bar in (
        ("cca-zoo", "rCCA", 1.0, _RATIO),
        ("cca-zoo, 64", "rCCA", 1.0, None),
        ("cca-zoo", "linear", times, None),
        ("cca-zoo, 64", "linear", times, None),
    ):
        one, peer = found[mine][size], found[name][size]
        yield Row(
            f"CPU time, {size:,} pairs: {name} over {mine}{', ridge chosen' if count > 1 else ''}",
            count * peer["cpu"] / one["cpu"],
            bar if judged else None,
            ours=_cpu(one),
            peer=_cpu(peer) if count == 1 else f"{count:.0f} × {_cpu(peer)}",
            unit="×",
        )


def _cpu(one: dict[str, float]) -> str:
    return f"{one['cpu']:.3g} s CPU"


_CHILD = """
import json, re, statistics, sys, time
from pathlib import Path
import torch
from hyperspectral_geo.benchmarks.fusion_speed import made_pairs
names, sizes, widths, threads, patience, short = json.loads(sys.argv[1])
torch.set_num_threads(threads)
def fit(name, x, y):
    if name.startswith("cca-zoo"):
        from cca_zoo.linear import RidgeCCA
        count = 64 if name.endswith("64") else min(widths)
        return RidgeCCA(min(count, *widths), shrinkage=0.5).fit([x.numpy(), y.numpy()])
    from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion
    if name == "rCCA":
        return SubspaceFusion(method="rcca", ridge=1.0, significance=None).fit([x, y])
    return SubspaceFusion(method="linear").fit([x, y])
status, marks = Path("/proc/self/status"), Path("/proc/self/clear_refs")
def memory(field):
    return 1024 * int(re.search(field + r":\\s+(\\d+) kB", status.read_text())[1]) if status.exists() else float("nan")
for name in names:
    fit(name, *made_pairs(300, widths))
    for size in sizes:
        pairs = made_pairs(size, widths)
        if marks.exists():
            marks.write_text("5")  # the high-water mark starts anew
        before, spent = memory("VmRSS"), []
        while len(spent) < 3 and sum(wall for wall, _ in spent) < short:
            cpu, wall = time.process_time(), time.perf_counter()
            fit(name, *pairs)
            spent.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = (statistics.median(part) for part in zip(*spent))
        print(json.dumps([name, size, {"cpu": cpu, "wall": wall, "above": memory("VmHWM") - before}]))
        if name.startswith("cca-zoo") and 2 * wall > patience:
            break
"""


def _measured(
    names: Sequence[str], sizes: Sequence[int], widths: tuple[int, int], threads: int
) -> dict[str, dict[int, dict[str, float]]]:
    """CPU and wall seconds of fits, and the high-water mark of memory above what was held before, from Linux' books."""
    command = [sys.executable, "-c", _CHILD, json.dumps([names, sizes, widths, threads, _PATIENCE, _SHORT])]
    limits = {key: str(threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **limits})
    if done.returncode != 0:
        raise RuntimeError(f"the process that measures {', '.join(names)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, dict[int, dict[str, float]]] = {}
    for line in done.stdout.splitlines():
        name, size, one = json.loads(line)
        found.setdefault(name, {})[size] = one
    return found

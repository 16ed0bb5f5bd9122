"""``hsgeo bench merge-speed``: CPU time, memory and exactness of merging low-rank modules, beside peft."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hyperspectral_geo.benchmarks.dense_merges import DENSE_MERGES
from hyperspectral_geo.benchmarks.merge_compose import reweighting_share
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.merge import merge
from hyperspectral_geo.merging.module import Layout, Module

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

MODULES, RANK = 8, 16
BLOCK = ((1024, 1024),) * 4 + ((4096, 1024), (1024, 4096))
"""Shapes (out, in) of one transformer block's weights."""
BLOCKS = 24
METHODS: dict[str, tuple[dict[str, Any], float]] = {  # options, and bar in CPU seconds
    "tsv": ({}, 3.0),
    "knots_ties": ({"density": 0.2, "granularity": "model"}, 3.0),
    "iso_c": ({}, 3.0),
    "svd": ({"rank": RANK}, 3.0),
    "grassmann": ({}, 10.0),
}
PEFT_RATIO = 60.0
MEMORY_RATIO = 2.0


def run(*, quick: bool = False, progress: Progress | None = None) -> BenchTable:
    """Measure all methods on 24 blocks and peft on one; ``quick`` takes 2 blocks, for which no bar of time is set."""
    blocks = 2 if quick else BLOCKS
    table = BenchTable("merge-speed")
    parts: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        ("time", lambda: _time_rows(blocks, turns=1 if quick else 3, table=table)),
        ("memory", lambda: _memory_rows(blocks)),
        ("re-weighting", lambda: _reweighting_rows(quick)),
        ("exactness", lambda: _exactness_rows(64 if quick else 256)),
    ]
    task = progress.add_task("merge-speed", total=len(parts)) if progress else None
    with one_thread():
        table.environment = environment("peft")
        for name, rows in parts:
            if progress and task is not None:
                progress.update(task, description=name)
            table.rows.extend(rows())
            if progress and task is not None:
                progress.advance(task)
    table.notes.append(
        f"{MODULES} float32 adapters of rank {RANK} with Gaussian factors, {blocks} blocks of four 1024×1024 weights, "
        "one 4096×1024 and one 1024×4096. CPU time on one thread for all blocks, joint bases included: the least "
        "of all turns, the interval over them. Memory is the peak above the loaded adapters, over their size, each in "
        "a process of its own. Exactness is the relative error against the method's formula on full float64 matrices; "
        "the tests hold all methods to it, on many more inputs."
    )
    return table


def _reweighting_rows(quick: bool) -> Iterator[Row]:
    """New weights in a composition over a new merge of the same modules."""
    found = reweighting_share(width=128, blocks=1) if quick else reweighting_share()
    ours, peer = f"{1e3 * found['reweight']:.2f} ms", f"svd merge {1e3 * found['merge']:.0f} ms"
    bar = None if quick else 1.0
    yield Row(
        "re-weighting a composition over merging", 100 * found["share"], bar, "lower", ours=ours, peer=peer, unit=" %"
    )


def modules_of(blocks: int, *, block: tuple[tuple[int, int], ...] = BLOCK, count: int = MODULES) -> list[Module]:
    """Adapters with Gaussian factors, the same for the same arguments."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for t in range(count):
        deltas = {}
        for b in range(blocks):
            for i, (m, n) in enumerate(block):
                left, right = (torch.randn(m, RANK, generator=generator), torch.randn(RANK, n, generator=generator))
                deltas[f"blocks.{b}.{i}.weight"] = LowRank(left / m**0.5, right / n**0.5)
        layouts = {name: Layout("linear", d.shape) for name, d in deltas.items()}
        made.append(Module(f"adapter {t}", deltas, layouts))
    return made


def _time_rows(blocks: int, turns: int, table: BenchTable) -> Iterator[Row]:
    modules = modules_of(blocks)
    peers = _peft_seconds(table)
    times: dict[str, list[float]] = {}
    for name, (options, bar) in METHODS.items():
        merge(modules_of(1), method=name, **options)  # brings libraries and caches to where a second merge has them
        times[name] = [_cpu_seconds(lambda n=name, o=options: merge(modules, method=n, **o)) for _ in range(turns)]
        full = blocks == BLOCKS
        yield Row(
            f"{name}, {blocks} blocks",
            min(times[name]),
            bar if full else None,
            "lower",
            _spread(times[name]),
            unit=" s",
        )
    for ours, theirs in (("svd", "svd"), ("tsv", "svd"), ("knots_ties", "ties_svd")):
        if theirs in peers:
            whole = peers[theirs] * blocks
            texts = (f"{min(times[ours]):.3g} s", f"peft {theirs} {peers[theirs]:.3g} s a block")
            bar = PEFT_RATIO if (ours, theirs) == ("svd", "svd") and blocks == BLOCKS else None
            yield Row(f"{ours}: peft {theirs} over ours", whole / min(times[ours]), bar, "higher", None, *texts, "×")


def _spread(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _peft_seconds(table: BenchTable) -> dict[str, float]:
    """CPU seconds of peft's merges of one block."""
    if find_spec("peft") is None:
        table.notes.append("peft's rows are left out, since it is not installed: it comes with the extra bench.")
        return {}
    peft = import_module("peft")
    base = nn.ModuleDict({f"w{i}": nn.Linear(n, m, bias=False) for i, (m, n) in enumerate(BLOCK)})
    base.requires_grad_(False)
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(base))
    names = [f"a{t}" for t in range(MODULES)]
    model = peft.PeftModel(base, config, adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    for t, module in enumerate(modules_of(1)):
        for i, delta in enumerate(module.deltas.values()):
            layer = model.base_model.model[f"w{i}"]
            layer.lora_A[names[t]].weight.data.copy_(delta.to(torch.float32).right)  # pyright: ignore[reportAttributeAccessIssue]
            layer.lora_B[names[t]].weight.data.copy_(delta.to(torch.float32).left)  # pyright: ignore[reportAttributeAccessIssue]
    add: Callable[..., object] = model.base_model.add_weighted_adapter
    ones = [1.0] * MODULES
    calls = {
        "svd": lambda: add(names, ones, "merged_svd", combination_type="svd", svd_rank=RANK),
        "ties_svd": lambda: add(names, ones, "merged_ties", combination_type="ties_svd", svd_rank=RANK, density=0.2),
    }
    table.notes.append(
        "peft's add_weighted_adapter was measured once, on one block in this run, and counted as often as there are "
        "blocks: it treats each weight alone."
    )
    return {name: _cpu_seconds(call) for name, call in calls.items()}


_CHILD = """
import json, re, sys
from pathlib import Path
import torch
from hyperspectral_geo.benchmarks.merge_speed import METHODS, modules_of
from hyperspectral_geo.merging.merge import merge
torch.set_num_threads(1)
merge(modules_of(1), method=sys.argv[1], **METHODS[sys.argv[1]][0])
modules = modules_of(int(sys.argv[2]))
size = sum(x.numel() * x.element_size() for m in modules for d in m.deltas.values() for x in (d.left, d.right))
def status(field):
    return 1024 * int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = status("VmRSS")
merged = merge(modules, method=sys.argv[1], **METHODS[sys.argv[1]][0])
print(json.dumps({"size": size, "above": status("VmHWM") - before}))
"""


def _memory_rows(blocks: int) -> Iterator[Row]:
    """High-water mark of the process less what it held before the merge; read from Linux' own books.

    ``getrusage`` will not do: its mark is inherited from the process that starts this one.
    """
    if not Path("/proc/self/status").exists():
        return
    for name in METHODS:
        command = [sys.executable, "-c", _CHILD, name, str(blocks)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the process that measures the memory of {name} failed:\n{done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        ratio = found["above"] / found["size"]
        bar = MEMORY_RATIO if blocks == BLOCKS else None
        texts = (f"{found['above'] / 2**20:.0f} MiB", f"adapters {found['size'] / 2**20:.0f} MiB")
        yield Row(f"{name}: peak memory above the adapters", ratio, bar, "lower", None, *texts, "×")


def _exactness_rows(size: int) -> Iterator[Row]:
    shape = (size, size + size // 2)
    modules = modules_of(1, block=(shape,), count=min(MODULES, max(size // 32, 2)))
    (name,) = modules[0].deltas
    modules = [_beside(modules[0], m) for m in modules]
    matrices: list[Tensor] = [m.deltas[name].to(torch.float64).dense() for m in modules]
    for method, (options, formula) in DENSE_MERGES.items():
        found = merge(modules, method=method, **options).deltas[name].to(torch.float64).dense()
        expected = formula(matrices)
        error = float(torch.linalg.matrix_norm(found - expected) / torch.linalg.matrix_norm(expected))
        text = f"{len(modules)} modules of {shape[0]}×{shape[1]}"
        yield Row(f"{method}: error against the dense formula", error, 1e-5, "lower", None, text)


def _beside(first: Module, other: Module) -> Module:
    """The other module with a share of the first in its factors: modules at right angles say little of some methods."""
    deltas = {}
    for name, delta in other.deltas.items():
        share = first.deltas[name]
        assert isinstance(delta, LowRank)
        assert isinstance(share, LowRank)
        deltas[name] = LowRank(delta.left + share.left, delta.right + share.right)
    return Module(other.name, deltas, other.layouts)

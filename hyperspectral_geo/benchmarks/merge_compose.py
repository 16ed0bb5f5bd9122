"""What composing at run time costs beside merging: re-weighting, and adding the n-th module."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from hyperspectral_geo.merging.compose import Composition
from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.merge import merge
from hyperspectral_geo.merging.module import Layout, Module

__all__ = ["add_seconds", "reweighting_share"]


def reweighting_share(
    *, width: int = 1024, blocks: int = 2, rank: int = 16, modules: int = 8, repeats: int = 5, seed: int = 0
) -> dict[str, float]:
    """The time of ``Composition.set`` over that of ``merge(method="svd")`` of the same modules.

    Args:
        width: of the model; each of its blocks has four width×width maps and a four times wider pair.
        blocks: number of blocks. rank: r of each module's updates. modules: how many.
        repeats: the least time of so many is taken.
        seed: of the random updates.

    Returns:
        merge and reweight in seconds, and their quotient share.
    """
    network, adapters = _setting(width, blocks, rank, modules, seed)
    composed = Composition(network, adapters)
    weights = [{m.name: 0.1 * (i + j) for j, m in enumerate(adapters)} for i in range(2)]
    reweight = min(_seconds(lambda i=i: composed.set(weights[i % 2])) for i in range(4 * repeats))
    merging = min(_seconds(lambda: merge(adapters, method="svd", rank=rank)) for _ in range(repeats))
    return {"merge": merging, "reweight": reweight, "share": reweight / merging}


def add_seconds(
    *, width: int = 1024, rank: int = 16, bound: int | None = 64, count: int = 100, seed: int = 0
) -> list[float]:
    """The time of each of ``count`` adds of modules of ``rank`` to one width×width layer, its basis bounded or not."""
    torch.manual_seed(seed)
    layer = nn.Sequential(nn.Linear(width, width, bias=False))
    composed = Composition(layer, rank=bound)
    layouts = {"0.weight": Layout("linear", (width, width))}
    found = []
    for i in range(count):
        module = Module(f"m{i}", {"0.weight": _random(width, width, rank)}, layouts)
        found.append(_seconds(lambda module=module: composed.add(module)))
    return found


def _setting(width: int, blocks: int, rank: int, modules: int, seed: int) -> tuple[nn.Module, list[Module]]:
    torch.manual_seed(seed)
    shapes = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    network = nn.ModuleList(nn.Linear(n, m, bias=False) for m, n in shapes * blocks)
    layouts = {f"{i}.weight": Layout("linear", shape) for i, shape in enumerate(shapes * blocks)}
    adapters = [
        Module(f"m{t}", {name: _random(*layout.matrix_shape, rank) for name, layout in layouts.items()}, layouts)
        for t in range(modules)
    ]
    return network, adapters


def _random(m: int, n: int, rank: int) -> LowRank:
    return LowRank(torch.randn(m, rank) / rank, torch.randn(rank, n))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

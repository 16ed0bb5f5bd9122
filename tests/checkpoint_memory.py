"""Run by a test in a process of its own: merge two tuned checkpoints into their base and print the memory it took."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from hyperspectral_geo.merging import merge
from hyperspectral_geo.merging.load_checkpoint import load_checkpoint
from hyperspectral_geo.merging.merged_checkpoint import write_checkpoint
from hyperspectral_geo.merging.module import LazyMapping
from hyperspectral_geo.tensor_file import Spec

KINDS = (torch.bfloat16, torch.float16, torch.float32)


def make(folder: Path, *, count: int, side: int) -> None:
    """A base and two tuned checkpoints beside it, in shards, with weights of all three kinds and some biases."""
    specs = {f"layers.{i}.weight": Spec(KINDS[i % 3], (side, side)) for i in range(count)}
    specs |= {f"layers.{i}.bias": Spec(KINDS[i % 3], (side,)) for i in range(count)}
    for seed, name in enumerate(("base", "first", "second")):

        def tensor(key: str, seed: int = seed) -> torch.Tensor:
            spec = specs[key]
            start = torch.randn(spec.shape, generator=torch.Generator().manual_seed(hash(key) % 1000))
            change = torch.randn(spec.shape, generator=torch.Generator().manual_seed(seed))
            return start.add_(change, alpha=0.1 * (seed > 0)).to(spec.dtype)

        write_checkpoint(folder / name, LazyMapping(list(specs), tensor), specs=specs, shard_bytes=200_000_000)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    modules = [load_checkpoint(folder / name, base=folder / "base") for name in ("first", "second")]
    merged = merge(modules, method="linear", weights=[0.5, 0.5])
    saved = merged.save(folder / "merged", base=folder / "base")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((peak - before) // 1024, saved.error)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        make(Path(sys.argv[1]), count=int(sys.argv[2]), side=int(sys.argv[3]))
    else:
        main(Path(sys.argv[1]))

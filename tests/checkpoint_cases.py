"""A small model's parameters of every kind, and a way to write them."""

from __future__ import annotations

from pathlib import Path

import torch

from hyperspectral_geo.merging.merged_checkpoint import write_checkpoint

__all__ = ["model", "write"]


def model(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "embed_tokens.weight": torch.randn(20, 8, generator=g).to(dtype),
        "layer.q.weight": torch.randn(8, 8, generator=g).to(dtype),
        "layer.q.bias": torch.randn(8, generator=g).to(dtype),
        "conv.weight": torch.randn(4, 3, 2, 2, generator=g).to(dtype),
        "norm.weight": torch.randn(8, generator=g).to(dtype),
        "scale": torch.randn((), generator=g).to(dtype),
        "position_ids": torch.arange(7),
    }


def write(folder: Path, tensors: dict[str, torch.Tensor], shard_bytes: int = 10**9) -> Path:
    write_checkpoint(folder, tensors, shard_bytes=shard_bytes)
    return folder

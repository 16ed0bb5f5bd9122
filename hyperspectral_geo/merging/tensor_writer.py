"""Safetensors files written one tensor at a time, so that memory holds one tensor and not the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hyperspectral_geo.tensor_file import DTYPES, MOST_HEADER_BYTES, Spec, all_finite, safe_name

__all__ = ["cast", "write_tensor_file"]

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_tensor_file(
    path: Path, specs: Mapping[str, Spec], produce: Callable[[str], Tensor], *, metadata: Mapping[str, str]
) -> None:
    """Write a new file whose tensors are asked for one after another.

    The header comes first, from ``specs``; tensors follow by falling size of their numbers, so that all are aligned.

    Raises:
        ValueError: for a name or kind of number that a reader would refuse, or a tensor unlike its spec.
        OSError: if the file exists or cannot be written.
    """
    names = sorted(specs, key=lambda name: -specs[name].dtype.itemsize)
    raw = _header(path, names, specs, metadata)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for name in names:
            x = produce(name).detach().cpu()
            if (x.dtype, tuple(x.shape)) != tuple(specs[name]):
                expected = f"{specs[name].dtype} of shape {specs[name].shape}"
                raise ValueError(f"{name}: expected {expected}, got {x.dtype} of shape {tuple(x.shape)}")
            file.write(x.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def cast(name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` rounded to ``dtype``; numbers that are finite no longer are refused.

    Raises:
        ValueError: naming the tensor.
    """
    stored = x.to(dtype)
    if not all_finite(stored):
        if all_finite(x):
            reason = f"{x.abs().max().item():.3g} is beyond the range of {dtype}; pass dtype=torch.float32"
        else:
            reason = "it holds NaN or infinity"
        raise ValueError(f"{name}: expected numbers that {dtype} can hold, but {reason}")
    return stored


def _header(path: Path, names: list[str], specs: Mapping[str, Spec], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name in names:
        spec = specs[name]
        if not safe_name(name) or name == "__metadata__":
            raise ValueError(f"{path}: expected a short printable name, got {ascii(name)[:120]}; rename the tensor")
        if spec.dtype not in _NAMES or 0 in spec.shape:
            raise ValueError(
                f"{path}: {name}: expected a tensor that safetensors can hold, got {spec.dtype} {spec.shape}"
            )
        stop = start + spec.size
        header[name] = {"dtype": _NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": [start, stop]}
        start = stop
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    if len(raw) > MOST_HEADER_BYTES:
        raise ValueError(
            f"{path}: expected a header of at most {MOST_HEADER_BYTES} bytes, got {len(raw)}; use more shards"
        )
    return raw

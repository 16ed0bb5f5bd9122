"""Tensors and a JSON record in one safetensors file: what a saved model is, of whatever kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor

from hyperspectral_geo.tensor_file import TensorFile, parse_json, refuse_plainly

__all__ = ["read_record_file", "record_bytes"]

_MARKER = "hyperspectral_geo"
_EMPTY = "empty"
_KINDS = {"float32": torch.float32, "float64": torch.float64}

Read = TypeVar("Read")


def record_bytes(tensors: Mapping[str, Tensor], record: Mapping[str, Any], *, kind: str) -> bytes:
    """The whole file: equal tensors and records give equal bytes.

    Args:
        tensors: by name; they may share memory and lie on any device.
        record: what JSON can hold.
        kind: of file and its version, such as ``"hop embedding 1"``.
    """
    # clones, since the format refuses tensors that share memory, such as targets that are the tangents
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # readers of the format here take no tensors without numbers: of those the record has the shape
    empty = {name: _shape(plain.pop(name)) for name in list(plain) if not plain[name].numel()}
    return save(plain, metadata={_MARKER: json.dumps({"format": kind, **record} | ({_EMPTY: empty} if empty else {}))})


def read_record_file(
    path: Path, unpacked: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Read], *, kind: str, maker: str
) -> Read:
    """What ``unpacked`` makes of the tensors and the record of a file.

    Args:
        path: of the file.
        unpacked: raises ``ValueError``, ``KeyError`` or ``OverflowError`` for parts that do not fit each other.
        kind: as ``record_bytes`` was told.
        maker: the command that makes such files, for messages.

    Raises:
        ValueError: naming the file and what is wrong with it: a pickle, damage, another kind, parts that do not fit.
        OSError: if the file cannot be opened.
    """
    wanted = f"expected a saved {kind.rpartition(' ')[0]}"
    if not path.exists():
        raise FileNotFoundError(f"{path}: {wanted}, got no such file; `{maker}` makes one")
    file = TensorFile(path)
    record = parse_json(file.metadata.get(_MARKER, "{}").encode(), path, refuse_plainly, what="metadata")
    if record.get("format") != kind:
        raise refuse_plainly(path, None, f"{wanted}, got {record.get('format')!r:.40}; `{maker}` makes one")
    try:
        return unpacked(_WithEmpty(file, record.get(_EMPTY, {})), record)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:  # what hostile JSON leads to
        raise refuse_plainly(path, None, f"its parts do not fit each other ({error}); save the model again") from error


class _WithEmpty(Mapping[str, Tensor]):
    """Tensors of a file, read when asked for, and those without numbers by their shapes."""

    def __init__(self, file: TensorFile, empty: Mapping[str, Sequence[Any]]) -> None:
        self._file, self._empty = file, {name: _without_numbers(name, shape) for name, shape in empty.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._empty[name] if name in self._empty else self._file[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._file
        yield from self._empty

    def __len__(self) -> int:
        return len(self._file) + len(self._empty)


def _shape(tensor: Tensor) -> list[Any]:
    return [str(tensor.dtype).removeprefix("torch."), *tensor.shape]


def _without_numbers(name: str, shape: Sequence[Any]) -> Tensor:
    kind, *lengths = shape
    if kind not in _KINDS or 0 not in lengths or any(type(n) is not int or not 0 <= n < 2**31 for n in lengths):
        raise ValueError(f"{name}: expected a shape without numbers, such as ['float32', 0, 5], got {shape!r:.80}")
    return torch.zeros(lengths, dtype=_KINDS[kind])

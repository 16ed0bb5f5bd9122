"""Safetensors files, read with suspicion: the header is checked before any tensor is touched, tensors one at a time."""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "DTYPES",
    "MOST_HEADER_BYTES",
    "Entry",
    "Refusal",
    "Spec",
    "TensorFile",
    "all_finite",
    "parse_json",
    "read_header",
    "read_json",
    "refuse_plainly",
    "safe_name",
    "whole_numbers",
]

MOST_HEADER_BYTES = 1 << 24
"""16 MiB, room for a hundred thousand tensors; parsed JSON takes many times its bytes."""

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The kinds that are read, by the names of the format; its 8-bit floats need scales that the file does not define."""

_MOST_NAME = 512
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

_CONVERT = "convert it with `hsgeo convert FILE OUT`"

Refusal = Callable[[Path, str | None, str], ValueError]


class Spec(NamedTuple):
    """Kind of number and shape of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Entry:
    """What the header says about one tensor.

    Attributes:
        dtype, shape: kind of number and lengths, each at least 1.
        start, size: first byte, counted from the start of the file, and number of bytes.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    size: int


class TensorFile(Mapping[str, Tensor]):
    """A safetensors file as a mapping from names to tensors, each read from disk when it is asked for.

    Reading is by plain reads into fresh memory, not by mapping the file: mapped pages would count as the process's own
    and a file cut short while it is mapped would kill the process.

    Attributes:
        path: the file.
        entries: name → dtype, shape and place, from the header, in the file's order.
        metadata: the header's text entries.

    Raises:
        ValueError: (or what ``refuse`` makes) naming the file, the tensor and the reason: a header that is cut short,
            longer than ``MOST_HEADER_BYTES`` or not JSON, a key twice, a name with control characters or ``..``, a kind
            of number that is not in ``DTYPES``, a shape that does not fit its bytes, bytes that no tensor owns or two.
        OSError: if the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, refuse: Refusal | None = None) -> None:
        self.path = Path(path)
        self._refuse = refuse or refuse_plainly
        header, data_bytes = read_header(self.path, self._refuse)
        start = (size := self.path.stat().st_size) - data_bytes
        self.metadata = self._check_metadata(header.pop("__metadata__", {}))
        found = {name: self._check_entry(name, entry, start) for name, entry in header.items()}
        self.entries = dict(sorted(found.items(), key=lambda item: item[1].start))
        end = start
        for name, entry in self.entries.items():
            if entry.start != end:
                raise self._refuse(
                    self.path, name, f"expected it at byte {end}, got {entry.start}; the file is corrupt"
                )
            end += entry.size
        if end != size:
            raise self._refuse(
                self.path, None, f"expected {end} bytes, got {size}; the file is cut short or padded: copy it again"
            )

    def __getitem__(self, name: str) -> Tensor:
        """The tensor, in memory of its own."""
        entry = self.entries[name]
        try:
            memory = torch.empty(entry.size, dtype=torch.uint8)
        except (RuntimeError, MemoryError) as error:  # a file with holes may claim more than any disk holds
            reason = f"expected a tensor that fits in memory, got shape {entry.shape}, {entry.size} bytes"
            raise self._refuse(self.path, name, reason) from error
        with self.path.open("rb") as file:
            file.seek(entry.start)
            if file.readinto(memory.numpy().data) != entry.size:
                raise self._refuse(self.path, name, "the file was cut short while it was read; copy it again")
        return memory.view(entry.dtype).reshape(entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def _check_metadata(self, metadata: object) -> dict[str, str]:
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise self._refuse(self.path, None, "expected __metadata__ to hold texts only; the file is corrupt")
        return metadata

    def _check_entry(self, name: str, entry: object, data_start: int) -> Entry:
        if not safe_name(name):
            reason = f"expected at most {_MOST_NAME} printable characters without '..' as a folder; refused"
            raise self._refuse(self.path, name, reason)
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self._refuse(self.path, name, "expected dtype, shape and data_offsets; the file is corrupt")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            reason = f"expected dtype {', '.join(DTYPES)}, got {str(dtype)[:40]!r}; convert the file to one of these"
            raise self._refuse(self.path, name, reason)
        if not whole_numbers(shape) or 0 in shape or len(shape) > 16:
            raise self._refuse(self.path, name, f"expected lengths of at least 1, got shape {str(shape)[:80]}")
        if not whole_numbers(offsets) or len(offsets) != 2:
            raise self._refuse(self.path, name, f"expected two data_offsets, got {str(offsets)[:80]}")
        needed = math.prod(shape) * DTYPES[dtype].itemsize
        if offsets[1] - offsets[0] != needed:
            reason = f"shape {str(shape)[:80]} of {dtype} needs {needed} bytes, got {offsets[1] - offsets[0]}"
            raise self._refuse(self.path, name, reason)
        return Entry(DTYPES[dtype], tuple(shape), data_start + offsets[0], needed)


def read_header(
    path: Path, refuse: Refusal, *, most_bytes: int = MOST_HEADER_BYTES, way_out: str = _CONVERT
) -> tuple[dict[str, Any], int]:
    """The parsed header and the number of bytes after it; ``way_out`` is said to whoever brings a pickle."""
    if path.exists() and not path.is_file():
        raise refuse(path, None, "expected a regular file, got a folder or a device")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        # Only if the header is too long to be one: an honest header of 640 bytes starts like a pickle of protocol 2.
        if prefix.startswith(_PICKLES) and length > most_bytes:
            reason = (
                "expected safetensors, got what looks like a pickle (torch.save); pickles can run code and are never"
            )
            raise refuse(path, None, f"{reason} opened here: {way_out}")
        if len(prefix) < 8 or length > size - 8:
            reason = f"expected a safetensors file, got {size} bytes without a whole header; copy it again"
            raise refuse(path, None, reason)
        if length > most_bytes:
            raise refuse(path, None, f"expected a header of at most {most_bytes} bytes, got {length}; refused")
        raw = file.read(length)
    return parse_json(raw, path, refuse, what="header"), size - 8 - length


def parse_json(raw: bytes, path: Path, refuse: Refusal, *, what: str) -> dict[str, Any]:
    """A JSON object without repeated keys and without NaN or Infinity, or the refusal."""
    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if b"\\u" in raw:  # an escape may be half of a character, which no text can hold
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError, MemoryError) as error:
        raise refuse(path, None, f"the {what} is not valid JSON ({str(error)[:120]}); the file is corrupt") from error
    if not isinstance(parsed, dict):
        raise refuse(path, None, f"expected a JSON object as {what}, got {type(parsed).__name__}; the file is corrupt")
    return parsed


def read_json(path: Path, refuse: Refusal, *, most_bytes: int) -> dict[str, Any]:
    """The JSON object in a file of at most ``most_bytes``."""
    if path.exists() and not path.is_file():
        raise refuse(path, None, "expected a regular file, got a folder or a device")
    with path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise refuse(path, None, f"expected at most {most_bytes} bytes of JSON, got more; refused")
    return parse_json(raw, path, refuse, what="file")


def all_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite; in the usual case by one sum, without a copy of ``x``."""
    if not x.is_floating_point() or bool(torch.isfinite(x.sum(dtype=torch.promote_types(x.dtype, torch.float32)))):
        return True
    return bool(torch.isfinite(x).all())


def safe_name(name: str) -> bool:
    """Whether a tensor's name is short, printable and no way out of a folder."""
    if not 0 < len(name) <= _MOST_NAME or "\\" in name or name.startswith("/") or ".." in name.split("/"):
        return False
    return not any(unicodedata.category(character).startswith("C") for character in name)


def refuse_plainly(path: Path, tensor: str | None, reason: str) -> ValueError:
    """A ``ValueError`` that names the file, the tensor and the reason."""
    return ValueError(f"{path}: {reason}" if tensor is None else f"{path}: tensor {ascii(tensor)[:120]}: {reason}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def whole_numbers(values: object) -> bool:
    """Whether it is a list of whole numbers from 0 that a file's size could have; True and False are none."""
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 62 for v in values)

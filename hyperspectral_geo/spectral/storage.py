"""Safetensors files that are written atomically and read with suspicion."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.tensor_file import parse_json, read_header, refuse_plainly, whole_numbers

__all__ = ["MARKER", "read_tensors", "write_tensors"]

MARKER = "hyperspectral_geo"
_MOST_HEADER_BYTES = 1 << 20
_WIDTH = {"F32": 4, "F64": 8}
_WAY_OUT = "save the basis again with SpectralBasis.save"


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], *, record: Mapping[str, object]) -> None:
    """Write tensors and a JSON ``record`` to a safetensors file that is either whole or absent.

    The bytes go to a temporary name in the same folder, are synced to disk, and then take the place of ``path`` in one
    step; on any failure the temporary file is removed and what stood at ``path`` stays. Equal content, equal bytes.

    Raises:
        ValueError: if the header would be larger than `read_tensors` accepts (1 MiB).
        OSError: if the folder is missing or not writable.
    """
    path = Path(path)
    text = json.dumps(record, sort_keys=True)
    if len(text) > _MOST_HEADER_BYTES // 4:
        raise ValueError(f"{path}: expected at most 256 KiB of name and metadata, got {len(text)} bytes; cut them")
    payload = save({key: x.detach().cpu().contiguous() for key, x in tensors.items()}, metadata={MARKER: text})
    write_atomically(path, payload)


def read_tensors(
    path: str | os.PathLike[str], *, required: Mapping[str, int], optional: Mapping[str, int]
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and JSON record of a file that `write_tensors` made.

    The header is checked before any tensor is touched: its size, its JSON (duplicate keys included), the marker, the
    names, dtypes (float32 or float64), numbers of dimensions, shapes and byte ranges, which must fill the file exactly.

    Args:
        path: the file.
        required: names that must be there, with their number of dimensions.
        optional: names that may be there, likewise.

    Raises:
        ValueError: naming the file, the tensor and what is wrong with it.
        OSError: if the file cannot be opened.
    """
    path = Path(path)
    header, data_bytes = read_header(path, refuse_plainly, most_bytes=_MOST_HEADER_BYTES, way_out=_WAY_OUT)
    record = _parse_record(path, header.pop("__metadata__", None))
    allowed = {**required, **optional}
    for name in header:
        if name not in allowed:
            raise ValueError(f"{path}: unexpected tensor {name[:80]!r}; expected only {sorted(allowed)}")
    for name in required:
        if name not in header:
            raise ValueError(f"{path}: tensor {name!r} is missing; the file holds {sorted(header)}")
    ranges = sorted(_check_entry(path, name, entry, dimensions=allowed[name]) for name, entry in header.items())
    end = 0
    for start, stop in ranges:
        if start != end:
            raise ValueError(f"{path}: expected a tensor at byte {end} of the data, got one at {start}; it is corrupt")
        end = stop
    if end != data_bytes:
        raise ValueError(f"{path}: expected {end} bytes of data, got {data_bytes}; the file is cut short or padded")
    try:
        return load_file(path), record
    except SafetensorError as error:
        raise ValueError(f"{path}: not a valid safetensors file ({error}); write it again with save") from error


def _parse_record(path: Path, metadata: object) -> dict[str, object]:
    text = metadata.get(MARKER) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"{path}: expected a file written by SpectralBasis.save (metadata key {MARKER!r}), found none")
    return parse_json(text.encode("utf-8", "surrogatepass"), path, refuse_plainly, what=f"metadata {MARKER!r}")


def _check_entry(path: Path, name: str, entry: object, *, dimensions: int) -> tuple[int, int]:
    """Byte range of one tensor, once its dtype, shape and range agree."""
    where = f"{path}: tensor {name!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{where}: expected dtype, shape and data_offsets in the header; the file is corrupt")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _WIDTH:
        raise ValueError(f"{where}: expected dtype F32 or F64, got {str(dtype)[:40]}; save the basis in one of these")
    if not whole_numbers(shape) or len(shape) != dimensions or 0 in shape:
        raise ValueError(f"{where}: expected {dimensions} positive dimensions, got shape {str(shape)[:80]}")
    if not whole_numbers(offsets) or len(offsets) != 2:
        raise ValueError(f"{where}: expected two data_offsets, got {str(offsets)[:80]}; the file is corrupt")
    count = 1
    for length in shape:
        count *= length
    start, stop = offsets
    if stop - start != count * _WIDTH[dtype]:
        raise ValueError(f"{where}: shape {shape} of {dtype} needs {count * _WIDTH[dtype]} bytes, got {stop - start}")
    return start, stop

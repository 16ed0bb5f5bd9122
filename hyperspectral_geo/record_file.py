"""Tensors and a JSON record in one safetensors file: what a saved model is, of whatever kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save
from torch import Tensor

from hyperspectral_geo.tensor_file import TensorFile, parse_json, refuse_plainly

__all__ = ["read_record_file", "record_bytes"]

_MARKER = "hyperspectral_geo"

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
    return save(plain, metadata={_MARKER: json.dumps({"format": kind, **record})})


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
        return unpacked(file, record)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:  # what hostile JSON leads to
        raise refuse_plainly(path, None, f"its parts do not fit each other ({error}); save the model again") from error

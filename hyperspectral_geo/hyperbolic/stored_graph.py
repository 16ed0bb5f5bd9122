"""A PyG graph in one safetensors file: written atomically, read with suspicion, never a pickle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch_geometric.data import Data

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.tensor_file import TensorFile, parse_json, refuse_plainly

__all__ = ["describe", "read_graph_file", "write_graph_file"]

_MARKER = "hyperspectral_geo"
_NAMES = "names_as_json"
_FORMAT = "pyg graph 1"
_REMEDY = "pass force_reload=True to process it again"


def describe(transform: object) -> str:
    """What is kept of a ``pre_transform`` to tell it from another: its name, or its text without addresses in memory.

    >>> describe(None), describe(json.dumps)
    ('None', 'json.dumps')
    """
    name = getattr(transform, "__qualname__", None)
    if name is not None:
        return f"{transform.__module__}.{name}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(transform))


def write_graph_file(path: Path, data: Data, *, kind: str, pre_transform: str) -> None:
    """Write ``edge_index``, ``num_nodes``, ``names`` and whatever other tensors ``data`` holds.

    Args:
        path: the file, which is either whole or absent.
        data: the graph.
        kind: the name of the data set's class.
        pre_transform: what `describe` says of it.

    Raises:
        ValueError: if ``data`` is no ``Data`` with names, or holds more than tensors, which only a pickle could.
        OSError: if the file cannot be written.
    """
    if not isinstance(data, Data) or not isinstance(data.edge_index, Tensor) or "names" not in data:
        raise ValueError(f"{path}: expected a Data with edge_index and names, got {data!r:.80}; mend pre_transform")
    tensors: dict[str, Tensor] = {}
    for key, value in data.to_dict().items():
        if key in ("names", "num_nodes"):
            continue
        if not isinstance(value, Tensor) or not value.numel() or not _plain(key):
            raise ValueError(
                f"{path}: expected tensors that are not empty, got {key} = {value!r:.80}, which is not stored; "
                "use transform= rather than pre_transform="
            )
        tensors[key] = value.detach().cpu().contiguous()
    names = json.dumps(list(data.names), ensure_ascii=False).encode()
    tensors[_NAMES] = torch.from_numpy(np.frombuffer(names, dtype=np.uint8).copy())
    record = {"format": _FORMAT, "kind": kind, "pre_transform": pre_transform, "num_nodes": data.num_nodes}
    write_atomically(path, save(tensors, metadata={_MARKER: json.dumps(record)}))


def read_graph_file(path: Path, *, kind: str) -> tuple[Data, str]:
    """The graph that `write_graph_file` wrote, and what it was told of ``pre_transform``.

    Raises:
        ValueError: naming the file and what is wrong with it: a pickle, damage, another data set's graph, links to
            nodes that are not there, names that do not fit.
        OSError: if the file cannot be opened.
    """
    file = TensorFile(path, refuse=_refuse)
    record = parse_json(file.metadata.get(_MARKER, "{}").encode(), path, _refuse, what="metadata")
    if (record.get("format"), record.get("kind")) != (_FORMAT, kind):
        raise _refuse(path, None, f"expected a graph that {kind} stored, got {record.get('kind')!r:.40}")
    if not {"edge_index", _NAMES} <= set(file) or not all(map(_plain, file)):
        raise _refuse(path, None, f"expected edge_index and {_NAMES}, got {sorted(file)!r:.80}")
    names = _names(path, file[_NAMES])
    edges = file["edge_index"]
    if record.get("num_nodes") != len(names):
        raise _refuse(
            path, None, f"expected a name for each of {record.get('num_nodes')!r:.20} nodes, got {len(names)}"
        )
    if edges.dtype != torch.int64 or edges.ndim != 2 or len(edges) != 2:
        raise _refuse(path, "edge_index", f"expected int64 of shape (2, e), got {edges.dtype} {tuple(edges.shape)}")
    if int(edges.min()) < 0 or int(edges.max()) >= len(names):
        raise _refuse(path, "edge_index", f"expected nodes from 0 to {len(names) - 1}, got others")
    data = Data(edge_index=edges, num_nodes=len(names), names=names)
    for key in set(file) - {"edge_index", _NAMES}:
        data[key] = file[key]
    return data, str(record.get("pre_transform"))


def _plain(key: str) -> bool:
    """Whether a key is an attribute like any other; those with underscores in front are PyG's own."""
    return key.isidentifier() and not key.startswith("_")


def _names(path: Path, text: Tensor) -> list[str]:
    try:
        names = json.loads(text.numpy().tobytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refuse(path, _NAMES, f"expected names as JSON, got a damaged text ({error})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _refuse(path, _NAMES, "expected a list of strings, got others")
    return names


def _refuse(path: Path, tensor: str | None, reason: str) -> ValueError:
    return ValueError(f"{refuse_plainly(path, tensor, reason)}; {_REMEDY}")

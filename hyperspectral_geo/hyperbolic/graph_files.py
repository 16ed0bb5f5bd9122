"""Files of links as hop graphs, and hop graphs as files of links."""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path
from typing import Literal

import torch

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.data.edge_list import read_edge_list
from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["read_graph", "write_graph"]


def read_graph(
    path: str | os.PathLike[str],
    *,
    directed: bool = True,
    weights: Literal["length", "probability", "ignore"] | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    certain: float | None = None,
) -> HopGraph:
    """Graph from a file of links: ``.tsv``, ``.csv``, ``.txt``, each also with ``.gz``, or ``.parquet``.

    Args:
        path, weights, header, delimiter, certain: as ``data.edge_list.read_edge_list`` takes them; there also the
            order of the nodes.
        directed: if false, each link is also read backwards.

    Raises:
        ValueError, FileNotFoundError, ImportError: as ``read_edge_list``, naming file and line.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "links.tsv"
        >>> _ = file.write_text("Germany\\tEurope\\nEurope\\tEarth\\n")
        >>> read_graph(file).names
        ('Germany', 'Europe', 'Earth')
    """
    found = read_edge_list(path, weights=weights, header=header, delimiter=delimiter, certain=certain)
    return HopGraph.from_edges(found.edges, names=found.names, directed=directed, lengths=found.lengths)


def write_graph(graph: HopGraph, path: str | os.PathLike[str]) -> Path:
    """Write the links to a file that ``read_graph`` reads; the suffix says which kind, and text is UTF-8.

    The columns are ``source``, ``target`` and, if the links have lengths, ``length``. An undirected link stands there
    once. A file of links cannot hold nodes that have none, nor the order of the nodes. It is either whole or absent.

    Raises:
        ValueError: for another suffix, or a name that the format cannot hold.
        OSError: if the folder is missing or not writable.
        ImportError: for Parquet, without pyarrow.
    """
    path = Path(path)
    kept = torch.ones(len(graph.edges), dtype=torch.bool)
    if not graph.directed:
        kept = graph.edges[:, 0] < graph.edges[:, 1]
    sources, targets = ([graph.names[i] for i in ends] for ends in graph.edges[kept].T.tolist())
    columns: dict[str, list] = {"source": sources, "target": targets}
    if graph.lengths is not None:
        columns["length"] = graph.lengths[kept].tolist()
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if path.suffix.lower() == ".parquet":
        return write_atomically(path, _parquet(columns))
    if suffix not in (".tsv", ".csv"):
        raise ValueError(f"{path}: expected a name that ends in .tsv, .csv, .tsv.gz, .csv.gz or .parquet; rename it")
    text = _tsv(path, columns) if suffix == ".tsv" else _csv(columns)
    # Without the time in its header, equal graphs make equal files.
    return write_atomically(path, gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def _tsv(path: Path, columns: dict[str, list]) -> str:
    for name in (*columns["source"], *columns["target"]):
        if name.startswith("#") or "\t" in name or "\n" in name or "\r" in name:
            raise ValueError(f"{path}: expected names without tabs, line ends and '#' in front, got {name!r}; use .csv")
    return "".join("\t".join(map(str, row)) + "\n" for row in (tuple(columns), *zip(*columns.values(), strict=True)))


def _csv(columns: dict[str, list]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerows([tuple(columns), *zip(*columns.values(), strict=True)])
    return text.getvalue()


def _parquet(columns: dict[str, list]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            'expected pyarrow, which writes Parquet, found none; pip install "hyperspectral-geo[tables]"'
        ) from None
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()

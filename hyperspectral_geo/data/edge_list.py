"""Lists of links in files: two columns of names, and a third of lengths or probabilities."""

from __future__ import annotations

import os
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .edge_rows import WEIGHT_COLUMNS, parquet_rows, text_rows
from .link_lengths import link_lengths

__all__ = ["EdgeList", "read_edge_list"]

Weights = Literal["length", "probability", "ignore"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class EdgeList:
    """Links as they stand in a file, repeats and self-loops included.

    Attributes:
        names: one name a node.
        edges: (e, 2) int64, source and target, in the file's order.
        lengths: one positive length a link, float64; None if every link is one hop.
    """

    names: tuple[str, ...]
    edges: Int[Tensor, "e 2"]
    lengths: Float[Tensor, " e"] | None


def read_edge_list(
    path: str | os.PathLike[str],
    *,
    weights: Weights | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    certain: float | None = None,
) -> EdgeList:
    """Read links from a ``.tsv``, ``.csv`` or ``.txt`` file, each also with ``.gz``, or from a ``.parquet`` file.

    A row is source, target and, if the links have weights, a number. Names are taken as they stand. Nodes are numbered
    in the order in which they are first named; if all names are whole numbers, in the order of these.

    Args:
        path: the file. Text is UTF-8, lines that begin with ``#`` are comments; of a Parquet file the columns
            ``source``, ``target`` and ``weight`` (or ``length``, ``probability``) are read, else all of them.
        weights: what the third column holds: a ``"length"``, a ``"probability"`` p, taken as −log p, or something to
            ``"ignore"``. Without it the header may say ``length`` or ``probability``; otherwise there must be none,
            since a guess would turn likely links into long ones.
        header: whether the first row of a text file is one. Without it a row that begins with ``source`` and
            ``target`` is.
        delimiter: one character, where the suffix does not say it; a blank stands for any run of blanks.
        certain: the largest probability; see ``link_lengths``. Without it, p = 1 is refused.

    Raises:
        ValueError: naming file and line: no links, rows of another number of fields, empty names or control characters
            in one, weights that are no numbers or out of range, bytes that are not UTF-8, damaged files.
        FileNotFoundError: if there is no such file.
        ImportError: for a Parquet file, without pyarrow.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "causes.csv"
        >>> _ = file.write_text("source,target,probability\\nrain,wet street,0.9\\nwet street,skid,0.1\\n")
        >>> causes = read_edge_list(file)
        >>> causes.names, causes.edges.tolist(), causes.lengths
        (('rain', 'wet street', 'skid'), [[0, 1], [1, 2]], tensor([0.1054, 2.3026], dtype=torch.float64))
    """
    path = Path(path)
    if weights not in (None, "length", "probability", "ignore"):
        raise ValueError(f"weights: expected 'length', 'probability', 'ignore' or None, got {weights!r}")
    parquet = path.suffix.lower() == ".parquet"
    rows, unit = (parquet_rows(path), "row") if parquet else (text_rows(path, delimiter), "line")
    first = next(rows, None)
    if first is not None and _is_header(first[1], None if parquet else header):
        weights = weights or _named_weights(first[1])
        first = next(rows, None)
    if first is None:
        raise ValueError(f"{path}: expected links, got a file without any; a link is a {unit} of source and target")
    return _collected(path, unit, chain([first], rows), weights, certain)


def _is_header(fields: list[Any], said: bool | None) -> bool:
    if said is not None:
        return said
    return [str(field).strip().lower() for field in fields[:2]] == ["source", "target"]


def _named_weights(fields: list[Any]) -> Weights | None:
    name = str(fields[2]).strip().lower() if len(fields) == 3 else ""
    return name if name in WEIGHT_COLUMNS[1:] else None  # pyright: ignore[reportReturnType]


def _collected(
    path: Path, unit: str, rows: Iterator[tuple[int, list[Any]]], weights: Weights | None, certain: float | None
) -> EdgeList:
    weighted = weights in ("length", "probability")
    width = 3 if weighted else 2
    number: defaultdict[Any, int] = defaultdict()
    number.default_factory = number.__len__  # a name that is new gets the next number
    ends, places, values = array("q"), array("q"), array("d")
    for place, fields in rows:
        if len(fields) != width and (weights != "ignore" or len(fields) < 2):
            raise ValueError(f"{path}, {unit} {place}: {_wrong_width(len(fields), weights)}")
        ends.append(number[fields[0]])
        ends.append(number[fields[1]])
        places.append(place)
        if weighted:
            try:
                values.append(float(fields[2]))
            except (TypeError, ValueError):
                remedy = "; pass header=True if this is a header" if len(places) == 1 else ""
                raise ValueError(
                    f"{path}, {unit} {place}: expected a number as {weights}, got {fields[2]!r}{remedy}"
                ) from None
    edges = np.frombuffer(ends, dtype=np.int64).reshape(-1, 2)
    _check_names(path, unit, number, edges, places)
    names, edges = _numbered(["" if name is None else str(name) for name in number], edges)
    lengths = None
    if weights is not None and weights != "ignore":
        found = link_lengths(
            np.frombuffer(values), weights, certain=certain, where=lambda i: f"{path}, {unit} {places[i]}"
        )
        lengths = torch.from_numpy(found.copy())
    return EdgeList(names, torch.from_numpy(edges), lengths)


def _wrong_width(got: int, weights: Weights | None) -> str:
    if weights in ("length", "probability"):
        return f"expected source, target and {weights}, got {got} fields"
    if weights is None and got == 3:
        return (
            "expected source and target, got 3 fields; say what the third is: weights='length', 'probability' or "
            "'ignore' (--weights)"
        )
    return f"expected source and target, got {got} fields; check the delimiter"


def _check_names(path: Path, unit: str, names: dict[Any, int], edges: np.ndarray, places: array) -> None:
    """Refuse names that nobody means; each distinct name is looked at once."""
    for name, node in names.items():
        text = "" if name is None else str(name)
        if not text.strip() or _CONTROL.search(text):
            place = places[int((edges == node).any(axis=1).argmax())]
            what = "control characters in it; save the file as UTF-8 text" if text.strip() else "an empty one"
            raise ValueError(f"{path}, {unit} {place}: expected a name, got {text[:40]!r}, {what}")


def _numbered(names: list[str], edges: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Nodes that are named by whole numbers in the order of these, others in the order of their first mention."""
    if not all(name.isascii() and name.isdigit() and len(name) <= 18 for name in names):
        return tuple(names), edges.copy()
    order = sorted(range(len(names)), key=lambda node: (int(names[node]), names[node]))
    renumbered = np.empty(len(names), dtype=np.int64)
    renumbered[order] = np.arange(len(names))
    return tuple(names[node] for node in order), renumbered[edges]

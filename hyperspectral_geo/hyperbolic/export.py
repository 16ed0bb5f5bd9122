"""Embeddings in the formats of others: word2vec, TensorBoard's projector, Parquet."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding

__all__ = ["Coordinates", "to_parquet", "to_projector", "to_word2vec"]

Coordinates = Literal["tangents", "poincare"]
"""``"tangents"`` at the origin: what other programs may average and compare, as directions and radii are right;
``"poincare"``: points of the ball, in which hyperbolic distances can be computed again. In float32, points beyond
radius 16 lie on its rim."""

_CONFIG = 'embeddings {\n  tensor_name: "concepts"\n  tensor_path: "tensors.tsv"\n  metadata_path: "metadata.tsv"\n}\n'


def to_word2vec(
    model: HopEmbedding, path: str | os.PathLike[str], *, binary: bool = False, coordinates: Coordinates = "tangents"
) -> Path:
    """Write the points in the text or the binary format of word2vec, which gensim and many others read.

    The format ends a name at a blank and a vector at a line's end: in names each blank, tab, line end or control
    character becomes an underscore. Binary is float32, little-endian; text keeps each number to the last bit. The
    format has no place for the rest: points as which concepts are reached, scalars, scale and read-out.

    Args:
        model: what to write.
        path: the file, made or replaced, whole or not at all.
        binary: which of the two.
        coordinates: of the points.

    Raises:
        ValueError: if two names become the same, or one cannot be written as UTF-8; without concepts; for Poincaré
            coordinates of another geometry.
        OSError: if the folder is missing or not writable.

    References:
        Mikolov et al., "Efficient Estimation of Word Representations in Vector Space", 2013, arXiv:1301.3781, whose
        program defined the format.

    Example:
        >>> import tempfile, torch
        >>> model = HopEmbedding(("New York", "Paris"), torch.tensor([[0.0, 1.5], [2.0, -3.0]]))
        >>> print(to_word2vec(model, Path(tempfile.mkdtemp()) / "concepts.txt").read_text())
        2 2
        New_York 0.0 1.5
        Paris 2.0 -3.0
    """
    path = _file(path)
    rows = _coordinates(path, model, coordinates)
    names = [_without_blanks(name) for name in model.names]
    first: dict[str, str] = {}
    for given, name in zip(model.names, names, strict=True):
        if first.setdefault(name, given) != given:
            raise ValueError(
                f"{path}: expected names that differ without blanks, got {first[name]!r} and {given!r}, both of which "
                f"would be {name!r}; rename one, or export to Parquet, which keeps names as they are"
            )
    head = f"{len(names)} {rows.shape[1]}\n"
    if binary:
        vectors = rows.float().numpy().astype("<f4", copy=False)
        body = b"".join(_utf8(path, f"{n} ") + v.tobytes() + b"\n" for n, v in zip(names, vectors, strict=True))
        return write_atomically(path, head.encode() + body)
    lines = zip(names, _texts(rows, " "), strict=True)
    return write_atomically(path, _utf8(path, head + "".join(f"{name} {text}\n" for name, text in lines)))


def to_projector(model: HopEmbedding, folder: str | os.PathLike[str], *, coordinates: Coordinates = "tangents") -> Path:
    """Write a folder that TensorBoard's embedding projector shows: ``tensorboard --logdir FOLDER``.

    ``tensors.tsv`` holds a point a line; ``metadata.tsv`` its name, without a header, as the projector wants it of a
    single column, tabs and line ends replaced by blanks; ``projector_config.pbtxt``, written last, says so. Other files
    in the folder stay.

    Args:
        model: what to write.
        folder: made if it is missing.
        coordinates: of the points.

    Raises:
        ValueError: without concepts, for a name that cannot be written as UTF-8, or for Poincaré coordinates of another
            geometry.
        OSError: if it cannot be written.

    Example:
        >>> import tempfile, torch
        >>> model = HopEmbedding(("New York", "Paris"), torch.tensor([[0.0, 1.5], [2.0, -3.0]]))
        >>> (to_projector(model, tempfile.mkdtemp()) / "metadata.tsv").read_text()
        'New York\\nParis\\n'
    """
    folder = Path(folder)
    tensors = "".join(f"{text}\n" for text in _texts(_coordinates(folder, model, coordinates), "\t"))
    names = _utf8(folder, "".join(f"{_on_one_line(name)}\n" for name in model.names))
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder to make in an existing one, got none at {folder.parent}")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder, got a file; name another")
    folder.mkdir(exist_ok=True)
    config = folder / "projector_config.pbtxt"
    config.unlink(missing_ok=True)  # never beside tensors of one model and names of another
    write_atomically(folder / "tensors.tsv", tensors.encode())
    write_atomically(folder / "metadata.tsv", names)
    write_atomically(config, _CONFIG.encode())
    return folder


def to_parquet(model: HopEmbedding, path: str | os.PathLike[str], *, coordinates: Coordinates = "tangents") -> Path:
    """Write all there is to a model as a table, a concept a row.

    Columns: ``name``; ``tangents`` or ``poincare``, lists of d numbers; of the points as which concepts are reached,
    ``targets`` or ``target_poincare``; ``outgoing`` and ``incoming``; those that the model has. The metadata of the
    schema holds under ``hyperspectral_geo`` a JSON object with ``geometry``, ``scale`` and, of the read-out,
    ``thresholds`` and ``log_slopes``.

    Args:
        model: what to write.
        path: the file, made or replaced, whole or not at all.
        coordinates: of the points.

    Raises:
        ValueError: without concepts, for a name that cannot be written as UTF-8, or for Poincaré coordinates of another
            geometry.
        OSError: if the folder is missing or not writable.
        ImportError: without pyarrow.
    """
    path = _file(path)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            'expected pyarrow, which writes Parquet, found none; pip install "hyperspectral-geo[tables]"'
        ) from None
    columns = {"name": pyarrow.array([_utf8(path, name) for name in model.names], pyarrow.binary()).cast("string")}
    tables = {coordinates: _coordinates(path, model, coordinates)}
    if model.targets is not None:
        reached = dataclasses.replace(model, tangents=model.targets, targets=None)
        tables["targets" if coordinates == "tangents" else "target_poincare"] = _coordinates(path, reached, coordinates)
    for name, table in tables.items():
        flat = pyarrow.array(table.contiguous().numpy().reshape(-1))
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(flat, table.shape[1])
    columns |= {n: pyarrow.array(_numpy(s)) for n in ("outgoing", "incoming") if (s := getattr(model, n)) is not None}
    record = {"geometry": model.geometry, "scale": model.scale}
    if model.readout is not None:
        record |= {n: getattr(model.readout, n).tolist() for n in ("thresholds", "log_slopes")}
    if model.forms is not None:
        record["forms"] = model.forms.tolist()
    buffer = io.BytesIO()
    table = pyarrow.table(columns, metadata={"hyperspectral_geo": json.dumps(record)})
    pyarrow.parquet.write_table(table, buffer)
    return write_atomically(path, buffer.getvalue())


def _file(path: str | os.PathLike[str]) -> Path:
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: expected a file to write, got a folder; name a file in it")
    return Path(path)


def _coordinates(path: Path, model: HopEmbedding, coordinates: Coordinates) -> Tensor:
    if coordinates not in ("tangents", "poincare"):
        raise ValueError(f"coordinates: expected 'tangents' or 'poincare', got {coordinates!r}")
    if len(model) == 0:
        raise ValueError(f"{path}: expected a model with concepts, got none; there is nothing to export")
    return (model.tangents if coordinates == "tangents" else model.poincare()).detach().cpu()


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _texts(rows: Tensor, between: str) -> list[str]:
    """Each row with the fewest digits that give the same numbers back."""
    return [between.join(map(str, row)) for row in _numpy(rows)]


def _without_blanks(name: str) -> str:
    return "".join("_" if _parts(c) else c for c in name) or "_"


def _on_one_line(name: str) -> str:
    return "".join(" " if _parts(c) else c for c in name).strip() or "_"


def _parts(character: str) -> bool:
    """Whether some reader takes it for the end of a name, a field or a line."""
    return character.isspace() or character < " " or "\x7f" <= character <= "\x9f"


def _utf8(path: Path, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 20) : error.start + 20]
        raise ValueError(f"{path}: expected names that can be written as UTF-8, got {near!r}; rename it") from None

"""Links as a Parquet file, tied to the dumps from which they were read."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hyperspectral_geo.atomic_write import require_writable, write_atomically
from hyperspectral_geo.data.mediawiki.page_links import PageLinks

__all__ = ["load_links", "require_parquet", "save_links"]

_KEY = b"hyperspectral_geo.page_links"
_FORMAT = 1
_GROUP = 1 << 20  # pages a row group


def require_parquet(path: Path) -> None:
    """See to it, before hours of reading, that the cache can be written.

    Raises:
        ImportError: if pyarrow is missing, naming the extra that brings it.
        OSError: if the folder of ``path`` is missing or not writable.
    """
    if find_spec("pyarrow") is None:
        raise ImportError(
            "cache: expected pyarrow to be installed, since the cache is a Parquet file, found none; "
            "pip install 'hyperspectral-geo[tables]', or leave cache out"
        )
    require_writable(path.parent)


def save_links(path: Path, links: PageLinks) -> None:
    """Write a Parquet file with a row a page: ``name``, and ``links``, the row numbers of the pages to which it links.

    The file's metadata holds the counts, the dump's date and the sha256 of the dumps. It is written whole, or not.

    Raises:
        OSError: if it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    source, target = links.edges.numpy().T
    first = np.searchsorted(source, np.arange(len(links.names) + 1))
    about = {
        "format": _FORMAT,
        "namespace": links.namespace,
        "dump_date": links.dump_date.isoformat() if links.dump_date else None,
        "counts": dict(links.counts),
        "sha256": dict(links.sha256),
    }
    fields = [pa.field("name", pa.string(), nullable=False), pa.field("links", pa.list_(pa.int32()), nullable=False)]
    schema = pa.schema(fields, metadata={_KEY: _sealed(about)})
    payload = io.BytesIO()
    with pq.ParquetWriter(payload, schema, compression="zstd", write_page_checksum=True) as writer:
        for begin in range(0, len(links.names), _GROUP):
            end = min(begin + _GROUP, len(links.names))
            offsets = pa.array((first[begin : end + 1] - first[begin]).astype(np.int32))
            targets = pa.array(target[first[begin] : first[end]].astype(np.int32))
            lists = pa.ListArray.from_arrays(offsets, targets)
            writer.write_table(pa.table([pa.array(links.names[begin:end]), lists], schema=schema))
    write_atomically(path, payload.getvalue())


def load_links(path: Path, files: Mapping[str, Path], *, namespace: int) -> PageLinks | None:
    """The links in a cache, or None if there is none, or it was made from other dumps or another namespace.

    The sha256 of every dump is computed: sizes and dates of files may agree where the contents do not.

    Raises:
        ValueError: if ``path`` is no such cache, which is then not overwritten, or is damaged.
        OSError: if a file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    with path.open("rb") as stored:
        try:
            file = pq.ParquetFile(stored, page_checksum_verification=True)
            about = _unsealed((file.schema_arrow.metadata or {}).get(_KEY, b""))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, str(error)) from None
        if about["format"] != _FORMAT or about["namespace"] != namespace or about["sha256"] != _hashes(files):
            return None
        try:
            return _links(file.read(), about)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, str(error)) from None


def _sealed(about: Mapping[str, Any]) -> bytes:
    """JSON behind its checksum: Parquet's own covers the columns only."""
    text = json.dumps(about).encode()
    return b"%08x" % zlib.crc32(text) + text


def _unsealed(stored: bytes) -> dict[str, Any]:
    if stored[:8] != b"%08x" % zlib.crc32(stored[8:]) or not stored[8:]:
        raise ValueError("its metadata are of another kind")
    return json.loads(stored[8:])


def _hashes(files: Mapping[str, Path]) -> dict[str, str]:
    found = {}
    for table, path in files.items():
        with path.open("rb") as file:
            found[table] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _links(table: Any, about: Mapping[str, Any]) -> PageLinks:
    names = tuple(table["name"].to_pylist())
    degrees = [np.diff(chunk.offsets.to_numpy()) for chunk in table["links"].chunks]
    targets = [chunk.flatten().to_numpy() for chunk in table["links"].chunks]
    source = np.repeat(np.arange(len(names)), np.concatenate([np.empty(0, np.int64), *degrees]))
    target = np.concatenate([np.empty(0, np.int64), *targets])
    inside = len(target) == 0 or (target.min() >= 0 and target.max() < len(names))
    if None in names or len(source) != len(target) or not inside or len(target) != about["counts"]["kept"]:
        raise ValueError(f"{len(names)} names and {len(target)} links that do not fit together")
    day = about["dump_date"]
    edges = torch.from_numpy(np.stack([source, target], axis=1))
    return PageLinks(
        names, edges, about["namespace"], date.fromisoformat(day) if day else None, about["counts"], about["sha256"]
    )


def _damaged(path: Path, got: str) -> ValueError:
    return ValueError(
        f"{path}: expected a cache of links, got another or a damaged file ({got}); name another, or remove it"
    )

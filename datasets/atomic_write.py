"""Writing a data file so that a reader never sees half of it; shared by the ``make_*.py`` scripts beside this file."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

__all__ = ["gzip_bytes", "write_atomically"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary name beside ``path``, flush it to the disk, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes files that only their owner may read
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def gzip_bytes(content: bytes) -> bytes:
    """Compress ``content``; the header carries no time stamp, so the same content gives the same bytes."""
    return gzip.compress(content, compresslevel=9, mtime=0)

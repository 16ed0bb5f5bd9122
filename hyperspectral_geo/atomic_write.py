"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

__all__ = ["require_writable", "write_atomically"]


def require_writable(folder: Path) -> None:
    """Raise ``OSError`` unless files can be made in ``folder``, by making one and removing it."""
    temporary = folder / f".{secrets.token_hex(6)}.tmp"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        temporary.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_atomically(path: str | os.PathLike[str], payload: bytes) -> Path:
    """Write ``payload`` to a temporary name in the folder of ``path``, sync it, and rename it to ``path``.

    On any failure the temporary file is removed and what stood at ``path`` before stays as it was.

    Returns:
        ``path``, as a ``Path``.

    Raises:
        OSError: if the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    if not path.parent.exists():
        raise FileNotFoundError(f"{path}: expected a file in an existing folder, got none at {path.parent}; create it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    # O_EXCL: never write through a file or link that somebody else put there. O_BINARY exists on Windows only.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # Without this a power cut may forget the rename. Not every file system lets a folder be opened or synced.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return path


def _unwritable(folder: Path, error: OSError) -> OSError:
    reason = error.strerror or type(error).__name__
    return type(error)(f"{folder}: expected a folder to write to, got {reason!r}; pass another")

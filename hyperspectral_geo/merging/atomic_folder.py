"""Folders that are either whole or absent."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

__all__ = ["require_absent", "write_folder"]

_OWN_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja", ".tiktoken")
_OWN_NAMES = ("README.md", ".gitattributes")
_OWN_STARTS = ("merge_report.", "LICENSE")


def require_absent(path: Path, *, overwrite: bool) -> None:
    """Refuse a ``path`` that exists, or whose parent is missing.

    With ``overwrite`` a folder may exist if it holds only what a merge, an adapter or a checkpoint consists of: all of
    it is going to be removed.

    Raises:
        FileExistsError: if it exists, naming what does not belong to a merge.
        FileNotFoundError: if its parent does not.
    """
    path = _resolved(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected a folder to make in an existing one, got none at {path.parent}")
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path}: expected a new folder, but it exists; pass overwrite=True to replace it")
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        raise FileExistsError(f"{path}: expected a folder to replace, got a file or a link; remove it first")
    if os.path.lexists(path):
        _require_own(path)


def _resolved(path: Path) -> Path:
    """The whole path of what is to be made; the last part stays as it is, so that a link is seen as one."""
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def _require_own(path: Path) -> None:
    here = Path.cwd()
    if path == here or path in here.parents:
        raise FileExistsError(
            f"{path}: expected a folder of its own, got the working directory or one above it; name a folder inside"
        )
    for entry in sorted(path.iterdir()):
        name = entry.name
        own = name in _OWN_NAMES or name.startswith(_OWN_STARTS) or entry.suffix in _OWN_SUFFIXES
        if not own or entry.is_symlink() or not entry.is_file():
            raise FileExistsError(
                f"{path}: expected a folder with nothing but files of a merge, an adapter or a checkpoint, all "
                f"of which is replaced, got {name!r} in it; move it away or name another folder"
            )


def write_folder(path: Path, fill: Callable[[Path], None], *, overwrite: bool = False) -> None:
    """Let ``fill`` write files into a folder under a temporary name, sync them, and rename it to ``path``.

    With ``overwrite`` the old folder is set aside, the new one put in its place, and then the old one removed. On any
    failure, an interrupt included, the temporary folder is removed and what stood at ``path`` stays.

    Raises:
        FileExistsError, FileNotFoundError: as ``require_absent``.
        OSError: saying which folder could not be written and why.
    """
    require_absent(path, overwrite=overwrite)
    path = _resolved(path)
    tag = secrets.token_hex(6)
    temporary, aside = (path.with_name(f".{path.name}.{tag}.{kind}") for kind in ("tmp", "old"))
    try:
        temporary.mkdir()
        fill(temporary)
        for file in temporary.iterdir():
            _sync(file)
        _sync(temporary)
        # Looked at again: somebody may have made the folder meanwhile, and rename replaces an empty one silently.
        require_absent(path, overwrite=overwrite)
        try:
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
        except BaseException:
            if aside.exists() and not path.exists():
                aside.rename(path)
            raise
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, FileExistsError | FileNotFoundError):
            reason = error.strerror or type(error).__name__
            raise type(error)(
                error.errno, f"expected to write it, got {reason!r}; nothing was written", str(path)
            ) from error
        raise
    with contextlib.suppress(OSError):
        _sync(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    # Not every system lets a folder be opened; of files, all do.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

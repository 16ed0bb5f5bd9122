"""Downloads that are either whole and verified, or absent."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .catalogue import CATALOGUE, Archive, DataSet, cache_folder

__all__ = ["RECORD", "download_data_set", "fetch", "unpack"]

RECORD = "source.json"
"""The file in a downloaded folder that says where its content came from."""

Progress = Callable[[str, int, int], None]

_CHUNK = 1 << 18
_TIMEOUT = 60.0  # seconds without a byte
_STALE = 86_400.0  # seconds after which a temporary folder belongs to no running download
_MOST_GROWTH = 32  # an honest text archive unpacks to some five times its bytes


def download_data_set(
    name: str,
    *,
    to: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    _schemes: tuple[str, ...] = ("https",),
) -> Path:
    """Download a data set of the catalogue, check size and SHA-256, unpack it, and only then give it its name.

    Everything happens in a temporary folder beside the new one, so a failure or an interrupt leaves nothing behind,
    and what a killed process left is removed a day later. What was fetched is recorded in ``source.json``.

    Args:
        name: a name of the catalogue.
        to: an existing folder; the data set becomes the folder ``name`` in it. By default ``cache_folder()``.
        progress: called with the file's name, the bytes so far and the bytes in all.

    Returns:
        The new folder.

    Raises:
        ValueError: for another name, a set that cannot be downloaded, or content that is not what it should be.
        FileExistsError: if the new folder exists.
        FileNotFoundError: if ``to`` does not.
        OSError: if the network or the disk fails.
    """
    data_set = CATALOGUE.get(name)
    if data_set is None or not data_set.archives:
        known = ", ".join(key for key, entry in CATALOGUE.items() if entry.archives)
        raise ValueError(
            f"data set: expected one that can be downloaded ({known}), got {name!r}; see `hsgeo data list`"
        )
    if to is not None and not Path(to).is_dir():
        raise FileNotFoundError(f"{to}: expected an existing folder to put {name}/ in, found none; create it")
    parent = cache_folder() if to is None else Path(to)
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / name
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder}: expected to make this folder, but it exists; remove it to download it again")
    for left in parent.glob(f".{name}.*.tmp"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)
    temporary = parent / f".{name}.{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir()
        _fill(temporary, data_set, progress, _schemes)
        if os.path.lexists(folder):  # rename would replace an empty folder without a word
            raise FileExistsError(f"{folder}: expected to make this folder, but somebody else just did; use that")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fill(folder: Path, data_set: DataSet, progress: Progress | None, schemes: tuple[str, ...]) -> None:
    record = []
    for archive in data_set.archives:
        file = folder / (archive.keep_as or "archive.tar.gz")
        fetch(archive, file, progress=progress, _schemes=schemes)
        record.append({"url": archive.url, "bytes": archive.size, "sha256": archive.sha256})
        if archive.top is not None:
            unpack(file, folder, top=archive.top)
            file.unlink()
    missing = [name for name in data_set.files if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{data_set.name}: expected {', '.join(missing)} in the archive, found none; report this")
    content: dict[str, Any] = {"name": data_set.name, "licence": data_set.licence, "files": record}
    _write(folder / RECORD, [json.dumps(content, indent=2).encode() + b"\n"])


def fetch(
    archive: Archive, file: Path, *, progress: Progress | None = None, _schemes: tuple[str, ...] = ("https",)
) -> None:
    """Download ``archive`` to the new ``file``, and check its size and digest; on failure the file is removed.

    Raises:
        ValueError: if the address or one that it redirects to is not https, or the content is not what it should be.
        OSError: if the network or the disk fails.
    """
    digest, done = hashlib.sha256(), 0

    def checked() -> Iterator[bytes]:
        nonlocal done
        for chunk in _chunks(archive.url, _schemes):
            done += len(chunk)
            if done > archive.size:
                break
            digest.update(chunk)
            yield chunk
            if progress is not None:
                progress(archive.url.rsplit("/", 1)[-1], done, archive.size)

    try:
        _write(file, checked())
        if done != archive.size:
            got = "more" if done > archive.size else f"{done:,}"
            raise ValueError(f"{archive.url}: expected {archive.size:,} bytes, got {got}; try again later")
        if digest.hexdigest() != archive.sha256:
            raise ValueError(
                f"{archive.url}: expected SHA-256 {archive.sha256}, got {digest.hexdigest()}; the file was changed at "
                "its source or on its way, and is not used"
            )
    except BaseException:
        file.unlink(missing_ok=True)
        raise


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but not to a scheme that would let others change the content on its way."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self.schemes = schemes

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_scheme(newurl, self.schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_scheme(url: str, schemes: tuple[str, ...]) -> None:
    if urlsplit(url).scheme not in schemes:
        raise ValueError(f"{url}: expected an address by {' or '.join(schemes)}, got another; it is not opened")


def _chunks(url: str, schemes: tuple[str, ...]) -> Iterator[bytes]:
    _require_scheme(url, schemes)
    try:
        with build_opener(_Redirects(schemes)).open(url, timeout=_TIMEOUT) as response:
            while chunk := response.read(_CHUNK):
                yield chunk
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
        raise OSError(
            f"{url}: expected to download it, got {reason!r}; check the network, "
            "or fetch it elsewhere and put what is in it below the folder that HSGEO_DATA names"
        ) from error


def unpack(archive: Path, folder: Path, *, top: str) -> None:
    """Write the plain files below ``top`` in a ``.tar.gz`` into ``folder``, without ``top`` in their paths.

    Each member is looked at before it is written: its path must stay inside, none may be a link or a device, none may
    come twice, and all together may not have more than 32 times the archive's bytes. Owners and modes are not taken.

    Raises:
        ValueError: naming the member, or saying how the archive is damaged. Files written before it stay.
    """
    left = _MOST_GROWTH * archive.stat().st_size
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                inside = _inside(archive, member, top)
                if member.isdir():
                    continue
                left -= member.size
                if left < 0:
                    raise ValueError(
                        f"{archive.name}: expected less than {_MOST_GROWTH} times its bytes inside, got more"
                    )
                content = members.extractfile(member)
                if content is None:
                    raise ValueError(f"{archive.name}: expected a plain file, got {ascii(member.name)[:80]}")
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(target, iter(lambda content=content: content.read(_CHUNK), b""))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive.name}: expected a whole .tar.gz, got a damaged one ({error})") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{archive.name}: expected each path once, got {error.filename!r} again") from error


def _inside(archive: Path, member: tarfile.TarInfo, top: str) -> PurePosixPath:
    """Path of a member below ``top``, or a refusal."""
    path = PurePosixPath(member.name)
    safe = not path.is_absolute() and ".." not in path.parts and not set(member.name) & set("\\:\0")
    if not safe or not (member.isreg() or member.isdir()):
        what = "a link or a device" if safe else "a path that leads out"
        raise ValueError(f"{archive.name}: expected plain files inside {top}/, got {what}, {ascii(member.name)[:80]}")
    tarfile.data_filter(member, str(archive.parent))
    below = path.parts[1:]
    if path.parts[:1] != (top,) or not (below or member.isdir()):
        raise ValueError(f"{archive.name}: expected everything below {top}/, got {ascii(member.name)[:80]}")
    return PurePosixPath(*below)


def _write(path: Path, chunks: Any) -> None:
    """A new file of these bytes, on the disk before this returns."""
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())

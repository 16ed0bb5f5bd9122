"""Arrays from files that a command names: .npy, or one of an .npz as ``file.npz:name``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MAGIC", "load_npy", "path_of", "read_array"]

MAGIC = b"\x93NUMPY"
"""What a .npy file begins with."""

_CHUNK = 1 << 20  # bytes that are read at once


def read_array(option: str, named: str) -> np.ndarray:
    """A matrix of numbers, in the byte order of this machine.

    Args:
        option: what the file was given as, for messages.
        named: path of a .npy file, or of an .npz file with a colon and the array's name; without a name it must hold
            one array.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it. Pickled objects are refused.
    """
    import numpy as np

    path, key = _split(named)
    if not path.is_file():
        raise FileNotFoundError(f"{option}: expected a .npy or .npz file, got {path}, which is none")
    if not path.stat().st_size:
        raise ValueError(f"{option}: {path}: expected a .npy or .npz file, got an empty one")
    if key and _begins(path) == MAGIC:
        raise ValueError(f"{option}: {named}: expected {path} alone, got a name, which only arrays of an .npz have")
    found = _member(option, path, key) if _begins(path) != MAGIC else load_npy(option, path)
    if found.ndim != 2 or found.dtype.kind not in "fiub":
        raise ValueError(
            f"{option}: {named}: expected a matrix of numbers, one row a sample, got {found.dtype} of {found.shape}"
        )
    return np.array(found, dtype=found.dtype.newbyteorder("="))


def path_of(named: str | Path) -> Path:
    """The file of ``file.npz:name``.

    >>> path_of("views.npz:image").name
    'views.npz'
    """
    return _split(str(named))[0]


def load_npy(option: str, path: Path) -> np.ndarray:
    """An array that is mapped, not read: a header that promises too much costs nothing.

    Raises:
        ValueError: naming the file and what is wrong with it. Pickled objects are refused.
    """
    import numpy as np

    if (start := _begins(path)) != MAGIC:
        raise ValueError(f"{option}: {path}: expected a .npy file, got one that begins with {start!r}")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of no one kind: a damaged header is parsed as Python
        raise ValueError(f"{option}: {path}: expected a whole array without pickled objects, got {error}") from None


def _split(named: str) -> tuple[Path, str]:
    path, _, key = named.partition(":") if not Path(named).exists() else (named, "", "")
    return Path(path), key


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(MAGIC))


def _member(option: str, path: Path, key: str) -> np.ndarray:
    try:
        with ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            if key not in names and (key or len(names) != 1):
                raise ValueError(f"holds {', '.join(names) or 'nothing'}; name one as {path}:NAME")
            return _streamed(archive, f"{key or names[0]}.npy")
    # What zipfile, its decompressors and a damaged header raise is of no one kind.
    except Exception as error:
        raise ValueError(f"{option}: {path}: expected an array of numbers, got one that {error}") from None


def _streamed(archive: ZipFile, name: str) -> np.ndarray:
    """Read a .npy that cannot be mapped; memory grows with what is there, not with what the header promises."""
    import numpy as np

    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = header(file)
        if dtype.hasobject:
            raise ValueError("holds pickled objects; save numbers")
        wanted, found = math.prod(shape) * dtype.itemsize, bytearray()
        while len(found) <= wanted and (chunk := file.read(min(_CHUNK, wanted + 1 - len(found)))):
            found += chunk  # one byte more than wanted, since the checksum is looked at in the end
    if len(found) != wanted:
        raise ValueError(f"promises {wanted} bytes and holds {len(found) if len(found) < wanted else 'more'}")
    return np.ndarray(shape, dtype, found, order="F" if by_columns else "C")

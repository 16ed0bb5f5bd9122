"""Arrays from files that a command names: .npy, or one of an .npz as ``file.npz:name``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MAGIC", "load_npy", "read_array"]

MAGIC = b"\x93NUMPY"
"""What a .npy file begins with."""


def read_array(option: str, named: str) -> np.ndarray:
    """A matrix of numbers.

    Args:
        option: what the file was given as, for messages.
        named: path of a .npy file, or of an .npz file with a colon and the array's name; without a name it must hold
            one array.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it. Pickled objects are refused.
    """
    import numpy as np

    path, _, key = named.partition(":") if not Path(named).exists() else (named, "", "")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{option}: expected a .npy or .npz file, got {path}, which is none")
    found = _member(option, Path(path), key) if _begins(Path(path)) != MAGIC else load_npy(option, Path(path))
    if found.ndim != 2 or found.dtype.kind not in "fiub":
        raise ValueError(
            f"{option}: {named}: expected a matrix of numbers, one row a sample, got {found.dtype} of {found.shape}"
        )
    return np.array(found)


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
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        raise ValueError(f"{option}: {path}: expected a whole array without pickled objects, got {error}") from None


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(MAGIC))


def _member(option: str, path: Path, key: str) -> np.ndarray:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            if key not in names and (key or len(names) != 1):
                raise ValueError(f"holds {', '.join(names) or 'nothing'}; name one as {path}:NAME")
            return archive[key or names[0]]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{option}: {path}: expected an array of numbers, got one that {error}") from None

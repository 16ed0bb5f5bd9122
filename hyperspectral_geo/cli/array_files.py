"""Arrays from files that a command names: .npy, or one of an .npz as ``file.npz:name``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_array"]


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
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            found = loaded
        else:
            with loaded:
                names = loaded.files
                if key not in names and (key or len(names) != 1):
                    raise ValueError(f"holds {', '.join(names) or 'nothing'}; name one as {path}:NAME")
                found = loaded[key or names[0]]
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{option}: {path}: expected an array of numbers, got one that {error}") from None
    if found.ndim != 2 or found.dtype.kind not in "fiub":
        raise ValueError(
            f"{option}: {named}: expected a matrix of numbers, one row a sample, got {found.dtype} of {found.shape}"
        )
    return found

"""Where the data lie: the sets that come with the library, and those that the reader keeps elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, overload

__all__ = ["SHARED_DATA_VARIABLE", "dataset_path", "shared_data_path"]

SHARED_DATA_VARIABLE = "HSGEO_DATA"
"""The environment variable that names the folder of data sets which the library does not carry."""

_PACKAGE = Path(__file__).resolve().parents[1]
# The wheel carries the repository's datasets/ as _datasets inside the package; a checkout has it beside the package.
_PLACES = (_PACKAGE / "_datasets", _PACKAGE.parent / "datasets")


def dataset_path(name: str) -> Path:
    """Path of a file or folder among the data sets that come with the library.

    Args:
        name: a path below ``datasets/``, such as ``"wordnet"`` or ``"wordnet/mammals.tsv"``.

    Returns:
        The path inside the installed package, or in the checkout where the package is used from one.

    Raises:
        ValueError: if ``name`` is absolute or leaves the folder of data sets.
        FileNotFoundError: if there is no such file or folder.

    >>> dataset_path("wordnet/mammals.tsv").name
    'mammals.tsv'
    """
    _require_relative(name)
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    tried = " or ".join(str(place / name) for place in _PLACES)
    raise FileNotFoundError(
        f"{name}: expected a data set that comes with the library at {tried}, found none; "
        "reinstall hyperspectral_geo, or run the make_*.py scripts in the checkout's datasets/ folder"
    )


@overload
def shared_data_path(name: str, *, required: Literal[True] = True) -> Path: ...
@overload
def shared_data_path(name: str, *, required: bool) -> Path | None: ...
def shared_data_path(name: str, *, required: bool = True) -> Path | None:
    """Path of a data set that the library does not carry, below the folder that ``HSGEO_DATA`` names.

    Args:
        name: a path below that folder, such as ``"wikispeedia"``.
        required: whether to raise where the set is missing; otherwise return ``None``.

    Raises:
        ValueError: if ``name`` is absolute or leaves the folder.
        FileNotFoundError: if ``required`` and the variable is unset or the folder lacks ``name``.

    >>> shared_data_path("no such set", required=False) is None
    True
    """
    _require_relative(name)
    folder = os.environ.get(SHARED_DATA_VARIABLE, "")
    path = Path(folder) / name
    if folder and path.exists():
        return path
    if not required:
        return None
    got = f"no {path}" if folder else "an unset variable"
    raise FileNotFoundError(
        f"{name}: expected it below the folder that the environment variable {SHARED_DATA_VARIABLE} names, got {got}; "
        f"set {SHARED_DATA_VARIABLE} to a folder that holds {name}"
    )


def _require_relative(name: str) -> None:
    """Refuse names that would reach outside the folder of data sets."""
    path = Path(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise ValueError(
            f"name: expected a relative path inside the folder of data sets, got {name!r}; drop '..' and '/'"
        )

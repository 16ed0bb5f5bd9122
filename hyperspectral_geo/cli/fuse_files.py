"""What ``hsgeo fuse`` is given beside features, labels and pictures, one a row, and where it may write."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import category

from hyperspectral_geo.cli.array_files import MAGIC, load_npy, path_of
from hyperspectral_geo.cli.hop_sources import require_target

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_labels", "read_pictures", "require_targets"]

_PICTURES = (".png", ".jpg", ".jpeg")
_SIDE = 64  # pixels of a thumbnail


def require_targets(outputs: Mapping[str, Path | None], inputs: Mapping[str, str | Path | None]) -> None:
    """Refuse before the work what could not be written after it, or would replace an input or another output.

    Args:
        outputs, inputs: by the options they were given as; an input may be an array of an .npz file.

    Raises:
        ValueError, OSError: naming the option and what is wrong with it.
    """
    taken = {path_of(named).resolve(): option for option, named in inputs.items() if named is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        require_target(option, path)
        if (other := taken.setdefault(path.resolve(), option)) != option:
            raise ValueError(f"{option}: expected a file of its own, got {path}, which is {other} too; name another")


def read_labels(option: str, path: Path, *, rows: int) -> list[str] | list[int]:
    """A label for each of ``rows`` rows: of a .npy file of whole numbers or texts, or of a text file, one a line.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it. Pickled objects are refused.
    """
    _require_file(option, path, "a .npy file, or a text file of one label a line")
    if path.suffix == ".npy" or path.read_bytes()[: len(MAGIC)] == MAGIC:
        found = load_npy(option, path)
        if found.ndim != 1 or found.dtype.kind not in "iuU":
            raise ValueError(
                f"{option}: {path}: expected a row of whole numbers or texts, got {found.dtype} of {found.shape}; "
                "save them with numpy.save(path, numpy.array(labels))"
            )
        labels, place = found.tolist(), "row"
    else:
        labels, place = _lines(option, path), "line"
    for number, label in enumerate(labels, start=1):
        if isinstance(label, str) and (not label.strip() or any(category(letter) == "Cc" for letter in label)):
            got = f"{label!r:.40}" if label.strip() else "an empty one"
            raise ValueError(f"{option}: {path}, {place} {number}: expected a label, got {got}")
    if len(labels) != rows:
        raise ValueError(f"{option}: {path}: expected {rows} labels, one for each row of features, got {len(labels)}")
    return labels


def read_pictures(option: str, path: Path, *, rows: int, wanted: Sequence[int]) -> list[np.ndarray]:
    """The pictures of the rows ``wanted``, as uint8 or float32 (h, w, 3 or 4).

    Args:
        option: what the file was given as, for messages.
        path: a .npy file (n, h, w) or (n, h, w, 3 or 4) of uint8 or of floats from 0 to 1, or a folder of PNG and JPEG
            files, whose names in sorted order belong to the rows.
        rows: how many pictures there have to be.
        wanted: numbers of rows; no others are decoded.

    Raises:
        FileNotFoundError, ValueError: naming the file and what is wrong with it. Pickled objects are refused.
        ImportError: for a folder, without the package pillow.
    """
    if path.is_dir():
        return _of_folder(option, path, rows, wanted)
    import numpy as np

    _require_file(option, path, "a .npy file or a folder of pictures")
    found = load_npy(option, path)
    if found.ndim == 3:
        found = found[..., None]
    if (
        found.ndim != 4
        or found.shape[3] not in (1, 3, 4)
        or 0 in found.shape
        or not (found.dtype == np.uint8 or found.dtype.kind == "f")
    ):
        raise ValueError(
            f"{option}: {path}: expected pictures (n, h, w) or (n, h, w, 3 or 4) in uint8 or floats, got {found.dtype} "
            f"of {found.shape}"
        )
    _require_count(option, path, rows, len(found))
    pictures = found[list(wanted)]
    if found.dtype.kind == "f" and not ((pictures >= 0) & (pictures <= 1)).all():  # or NaN
        raise ValueError(f"{option}: {path}: expected floats from 0 to 1, got others; rescale them")
    pictures = pictures if found.dtype == np.uint8 else pictures.astype(np.float32)
    return list(pictures.repeat(3, axis=3) if found.shape[3] == 1 else pictures)


def _of_folder(option: str, folder: Path, rows: int, wanted: Sequence[int]) -> list[np.ndarray]:
    names = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    for name in names:
        if Path(name).suffix.lower() not in _PICTURES:
            raise ValueError(f"{option}: {folder}: expected {', '.join(_PICTURES)} files only, got {name!r:.80}")
    _require_count(option, folder, rows, len(names))
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"{option}: {folder}: expected the package pillow, which reads pictures, got {error}; pip install pillow, "
            "or pass a .npy file"
        ) from error
    import numpy as np

    pictures = []
    for row in wanted:
        file = folder / names[row]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(file, formats=("PNG", "JPEG")) as picture:
                    picture.thumbnail((_SIDE, _SIDE))
                    pictures.append(np.asarray(picture.convert("RGBA")))
        # What pillow raises for damaged files is of no one kind.
        except Exception as error:
            raise ValueError(f"{option}: {file}: expected a picture, got one that cannot be read ({error})") from error
    return pictures


def _lines(option: str, path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: {path}: expected .npy, or lines of UTF-8 text, got {error}") from None
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _require_file(option: str, path: Path, wanted: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{option}: expected {wanted}, got {path}, which is none")


def _require_count(option: str, path: Path, rows: int, got: int) -> None:
    if got != rows:
        raise ValueError(f"{option}: {path}: expected {rows} pictures, one for each row of features, got {got}")

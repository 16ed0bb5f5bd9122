"""Emoji: frozen image features paired with frozen features of their captions."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .locate import dataset_path

__all__ = ["EmojiPairs", "load_emoji"]

_COLUMNS = {"image": str, "label": str, "tags": list, "category": str, "subcategory": str}
_REMEDY = "restore it, or run datasets/make_emoji.py"


@dataclass(frozen=True)
class EmojiPairs:
    """Row i of every field belongs to one emoji; ``files`` names the picture that the image features came from."""

    image: Float[Tensor, "n 1280"]
    text: Float[Tensor, "n 384"]
    labels: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]
    categories: tuple[str, ...]
    subcategories: tuple[str, ...]
    files: tuple[str, ...]


def load_emoji(*, folder: Path | None = None) -> EmojiPairs:
    """Read 1,906 emoji as pairs of image and text features, with their captions.

    Image features are EfficientNet-Lite0's last feature map averaged over its positions (0 … 6, mostly zeros); text
    features are all-MiniLM-L6-v2 of "label; tag, tag, …", of unit length. Many emoji differ only in gender, direction
    or country: a random split has near-duplicates on both sides, so report a split by ``subcategories`` too.

    Args:
        folder: where the files lie; by default the copy that comes with the library.

    Returns:
        Features as float32 tensors (stored as float16), captions as tuples of strings.

    Raises:
        ValueError: if a file is damaged, or the files do not belong together.
        FileNotFoundError: if a file is missing.

    References:
        Twemoji graphics (CC-BY 4.0), emojibase 17 captions (MIT). Tan and Le, "EfficientNet: Rethinking Model Scaling
        for Convolutional Neural Networks", 2019, arXiv:1905.11946. Wang et al., "MiniLM", 2020, arXiv:2002.10957.

    >>> emoji = load_emoji()
    >>> tuple(emoji.image.shape), tuple(emoji.text.shape)
    ((1906, 1280), (1906, 384))
    >>> emoji.labels[2], emoji.tags[2], emoji.categories[2]
    ('keycap: 0', ('0', 'keycap', 'zero'), 'Symbols')

    STATS:

    ===== ============== ============= ========== ============= ====
    pairs image features text features categories subcategories tags
    ===== ============== ============= ========== ============= ====
    1,906 1,280          384           9          98            5.3
    ===== ============== ============= ========== ============= ====
    """
    folder = dataset_path("emoji") if folder is None else folder
    records = _read_captions(folder / "captions.json")
    image = _read_features(folder / "image_features.npz", rows=len(records))
    text = _read_features(folder / "text_features.npz", rows=len(records))
    return EmojiPairs(
        image=image,
        text=text,
        labels=tuple(record["label"] for record in records),
        tags=tuple(tuple(record["tags"]) for record in records),
        categories=tuple(record["category"] for record in records),
        subcategories=tuple(record["subcategory"] for record in records),
        files=tuple(record["image"] for record in records),
    )


def _read_captions(path: Path) -> list[dict[str, Any]]:
    """The list of caption records; every record must hold every column."""
    _require_file(path)
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # covers both broken JSON and broken UTF-8
        raise ValueError(f"{path}: expected JSON, got a damaged file ({error}); {_REMEDY}") from error
    if not isinstance(records, list) or not records:
        raise ValueError(f"{path}: expected a list of records, got {type(records).__name__}; {_REMEDY}")
    for number, record in enumerate(records):
        for column, kind in _COLUMNS.items():
            if not isinstance(record, dict) or not isinstance(record.get(column), kind):
                raise ValueError(f"{path}, record {number}: expected {column!r} as {kind.__name__}; {_REMEDY}")
    return records


def _read_features(path: Path, *, rows: int) -> Float[Tensor, "n d"]:
    """The array ``features`` of an .npz file as float32; pickled objects are refused."""
    _require_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            features = archive["features"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an .npz file with an array 'features', got {error}; {_REMEDY}") from error
    if features.dtype.kind != "f" or features.ndim != 2 or len(features) != rows:
        raise ValueError(
            f"{path}: expected floating-point features of {rows} rows, one a caption, "
            f"got {features.dtype} of shape {features.shape}; {_REMEDY}"
        )
    if not np.isfinite(features).all():
        raise ValueError(f"{path}: expected finite features, got NaN or infinity; {_REMEDY}")
    return torch.from_numpy(features.astype(np.float32))


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of the emoji data set, found none; {_REMEDY}")

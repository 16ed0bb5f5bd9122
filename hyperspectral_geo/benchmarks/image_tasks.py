"""Twelve small image tasks: eight Omniglot alphabets and four sets of transformed digits, 28×28 pixels each."""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hyperspectral_geo.data import shared_data_path

__all__ = ["Task", "load_tasks", "load_plain_digits", "distort", "PIXELS", "TASK_NAMES"]

PIXELS = 28
"""Pixels a side."""

ALPHABETS = {
    "balinese": "Balinese",
    "early-aramaic": "Early_Aramaic",
    "greek": "Greek",
    "japanese-katakana": "Japanese_(katakana)",
    "korean": "Korean",
    "latin": "Latin",
    "sanskrit": "Sanskrit",
    "tagalog": "Tagalog",
}
ARCHIVES = ("images_background_small1.zip", "images_background_small2.zip")
DIGITS = ("digits-rotated", "digits-inverted", "digits-shuffled", "digits-sheared")
TASK_NAMES = (*ALPHABETS, *DIGITS)
"""Names of all tasks, in order: the alphabets, then the digits."""

_SPLITS = ("train", "val", "test")
_DRAWERS = (12, 3, 5)  # of the 20 who drew each character
_DIGIT_SIZES = (1200, 250, 500)  # of the quarter that each digit task has to itself
_PATCH = 7
# The README of the shared data names the sources; nothing can be rebuilt from here.
_REMEDY = "restore the file below the folder that HSGEO_DATA names"


@dataclass(frozen=True, eq=False)
class Task:
    """Images in [0, 1] with ink (or the digit's stroke) near 1, and labels 0 … classes − 1, in three splits.

    No drawer of an Omniglot alphabet is in two splits, and no digit is in two splits or two tasks.
    """

    name: str
    train_x: Float[Tensor, "a 28 28"]
    train_y: Int64[Tensor, " a"]
    val_x: Float[Tensor, "b 28 28"]
    val_y: Int64[Tensor, " b"]
    test_x: Float[Tensor, "c 28 28"]
    test_y: Int64[Tensor, " c"]

    @property
    def classes(self) -> int:
        """How many classes there are; each has training images."""
        return int(self.train_y.max()) + 1


def load_tasks(names: tuple[str, ...] = TASK_NAMES) -> tuple[Task, ...]:
    """The tasks called ``names``, the same on every machine; read once a process.

    Raises:
        ValueError: if a name is not in ``TASK_NAMES``, or a file is damaged.
        FileNotFoundError: if ``HSGEO_DATA`` is unset or lacks ``omniglot`` or ``mnist``.
    """
    unknown = [name for name in names if name not in TASK_NAMES]
    if unknown:
        raise ValueError(f"names: expected names among {', '.join(TASK_NAMES)}, got {unknown[0]!r}; drop it")
    return tuple(
        _alphabet(name, shared_data_path("omniglot")) if name in ALPHABETS else _digit_task(name, _digits_file())
        for name in names
    )


def load_plain_digits() -> tuple[Float[Tensor, "n 28 28"], Int64[Tensor, " n"]]:
    """The 2,200 digits that no task uses, upright, with their labels.

    Raises:
        ValueError: if the file is damaged.
        FileNotFoundError: if ``HSGEO_DATA`` is unset or lacks ``mnist``.
    """
    images, labels = _read_digits(_digits_file())
    used = sum(_DIGIT_SIZES)
    spare = torch.cat([quarter[used:] for quarter in _quarters(len(images))])
    return images[spare], labels[spare]


def distort(images: Float[Tensor, "n 28 28"], generator: torch.Generator) -> Float[Tensor, "n 28 28"]:
    """Each image under a random affine map close to the identity: moved by up to 1.4 pixels, stretched by a tenth."""
    n = len(images)
    maps = torch.eye(2, 3) + 0.1 * (2 * torch.rand(n, 2, 3, generator=generator) - 1)
    ground = images[:, :1, :1]  # what comes in from outside is the corner's colour: inverted digits lie on white
    grid = F.affine_grid(maps, [n, 1, PIXELS, PIXELS], align_corners=False)
    return F.grid_sample((images - ground)[:, None], grid, align_corners=False)[:, 0] + ground


@lru_cache(maxsize=len(ALPHABETS))
def _alphabet(name: str, folder: Path) -> Task:
    """One alphabet, its characters as classes, split by drawer."""
    drawings = _read_drawings(ALPHABETS[name], folder)
    bounds = np.cumsum((0, *_DRAWERS))
    parts: dict[str, Tensor] = {}
    for split, first, last in zip(_SPLITS, bounds[:-1], bounds[1:], strict=True):
        chosen = [(c, image) for (c, drawer), image in sorted(drawings.items()) if first < drawer <= last]
        parts[f"{split}_x"] = _shrink(np.stack([_centred(1 - image) for _, image in chosen]))
        parts[f"{split}_y"] = torch.tensor([c for c, _ in chosen])
    return Task(name=name, **parts)


def _read_drawings(alphabet: str, folder: Path) -> dict[tuple[int, int], np.ndarray]:
    """Pictures of one alphabet by (character from 0, drawer from 1), white 1 and ink 0."""
    from matplotlib.image import imread  # here, since whoever only wants the names should not wait for it

    pattern = re.compile(rf"[^/]+/{re.escape(alphabet)}/character(\d+)/\d+_(\d+)\.png")
    for path in (folder / archive for archive in ARCHIVES):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected an archive of Omniglot, found none; {_REMEDY}")
        try:
            with zipfile.ZipFile(path) as archive:
                found = [match for match in map(pattern.fullmatch, archive.namelist()) if match]
                drawings = {(int(m[1]) - 1, int(m[2])): imread(io.BytesIO(archive.read(m[0])), "png") for m in found}
        except (OSError, SyntaxError, zipfile.BadZipFile) as error:  # Pillow reports a broken PNG as SyntaxError
            raise ValueError(
                f"{path}: expected a zip of PNG pictures, got a damaged one ({error}); {_REMEDY}"
            ) from error
        if drawings:
            _require_all_drawers(drawings, path)
            return drawings
    raise ValueError(f"{folder}: expected the alphabet {alphabet} in {' or '.join(ARCHIVES)}, found none; {_REMEDY}")


def _require_all_drawers(drawings: dict[tuple[int, int], np.ndarray], path: Path) -> None:
    drawers = defaultdict(set)
    for character, drawer in drawings:
        drawers[character].add(drawer)
    whole = set(range(1, sum(_DRAWERS) + 1))
    for character in range(len(drawers)):
        if drawers[character] != whole:
            got = len(drawers[character])
            raise ValueError(
                f"{path}: expected {len(whole)} drawings of character {character + 1}, got {got}; {_REMEDY}"
            )


def _centred(image: np.ndarray) -> np.ndarray:
    """A picture with ink 1, moved so that the ink's bounding box lies in the middle, as the digits do."""
    for axis in (0, 1):
        inked = np.flatnonzero(image.any(1 - axis))
        if inked.size:  # the box is no larger than the picture, so nothing wraps around
            image = np.roll(image, (image.shape[axis] - 1 - inked[0] - inked[-1]) // 2, axis)
    return image


def _shrink(images: np.ndarray) -> Float[Tensor, "n 28 28"]:
    """Square pictures to 28×28, each new pixel the mean over the area that it covers."""
    side = images.shape[1]
    edges = np.arange(PIXELS + 1) * side / PIXELS
    old = np.arange(side)
    covered = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    weights = np.clip(covered, 0, None) * PIXELS / side
    return torch.from_numpy((weights @ images.astype(np.float64) @ weights.T).astype(np.float32))


def _digits_file() -> Path:
    return shared_data_path("mnist") / "mnist10k.npz"


@lru_cache(maxsize=1)
def _read_digits(path: Path) -> tuple[Float[Tensor, "n 28 28"], Int64[Tensor, " n"]]:
    """All digits in [0, 1], upright, and their labels."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected 10,000 digits, found no file; {_REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive["x"], archive["y"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected an .npz file with arrays 'x' and 'y', got {error}; {_REMEDY}") from error
    if images.shape != (10_000, PIXELS, PIXELS) or labels.shape != (10_000,):
        raise ValueError(f"{path}: expected 10,000 digits of 28×28, got {images.shape} and {labels.shape}; {_REMEDY}")
    return torch.from_numpy(images.astype(np.float32) / 255), torch.from_numpy(labels.astype(np.int64))


def _quarters(n: int) -> tuple[Int64[Tensor, " m"], ...]:
    """The rows of the digits in a fixed random order, in as many parts as there are digit tasks."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).chunk(len(DIGITS))


@lru_cache(maxsize=len(DIGITS))
def _digit_task(name: str, path: Path) -> Task:
    """One quarter of the digits under one transformation."""
    images, labels = _read_digits(path)
    rows = _quarters(len(images))[DIGITS.index(name)][: sum(_DIGIT_SIZES)].split(_DIGIT_SIZES)
    parts = {f"{split}_x": _transform(name, images[r]) for split, r in zip(_SPLITS, rows, strict=True)}
    parts |= {f"{split}_y": labels[r] for split, r in zip(_SPLITS, rows, strict=True)}
    return Task(name=name, **parts)


def _transform(name: str, images: Float[Tensor, "n 28 28"]) -> Float[Tensor, "n 28 28"]:
    """What tells the digit tasks apart."""
    if name == "digits-rotated":
        return images.rot90(dims=(1, 2)).contiguous()
    if name == "digits-inverted":
        return 1 - images
    if name == "digits-shuffled":
        order = torch.randperm((PIXELS // _PATCH) ** 2, generator=torch.Generator().manual_seed(1))
        patches = F.unfold(images[:, None], _PATCH, stride=_PATCH)[:, :, order]
        return F.fold(patches, (PIXELS, PIXELS), _PATCH, stride=_PATCH)[:, 0]
    # Mirrored, then every row moved in proportion to its height: by up to seven pixels at the top and the bottom.
    moves = torch.linspace(-7, 7, PIXELS).round().long()
    columns = (torch.arange(PIXELS) + moves[:, None]) % PIXELS
    return images.flip(2).gather(2, columns.expand_as(images).contiguous())

"""Checkpoints of whole models: safetensors, in one file or in shards, read tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from hyperspectral_geo.merging.format_error import ModuleFormatError, refusal
from hyperspectral_geo.tensor_file import Spec, TensorFile, all_finite, read_json

__all__ = ["INDEX_NAME", "SINGLE_NAME", "Checkpoint"]

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_MOST_INDEX_BYTES = 1 << 26
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class Checkpoint(Mapping[str, Tensor]):
    """A model's parameters by name; each is read from disk when asked for, and never kept.

    Names, kinds and shapes come from the headers. A tied parameter that the file leaves out, such as lm_head.weight
    beside the embedding, is no key here either, so that what is tied stays tied.

    Attributes:
        path: the folder or file.
        folder: the folder it is in, which may hold the configuration and the tokenizer.

    Raises:
        ModuleFormatError: naming the file and the tensor: a pickle, a damaged header or index, a shard that is missing
            or does not hold what the index says; when a tensor is read, NaN or infinity.
        FileNotFoundError: if ``path`` does not exist.

    Example:
        >>> Checkpoint("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: no/such/folder: expected a checkpoint, found nothing; check the path
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path}: expected a checkpoint, found nothing; check the path")
        self.folder = self.path if self.path.is_dir() else self.path.parent
        self._files: dict[str, TensorFile] = {}
        for file in self._open():
            for name in file.entries:
                if name in self._files:
                    raise refusal(file.path, name, f"another file holds it too: {self._files[name].path.name}")
                self._files[name] = file
        if not self._files:
            raise ModuleFormatError(self.path, "expected at least one tensor, got none")

    def __getitem__(self, name: str) -> Tensor:
        """The tensor, as stored; finite if it is of a floating kind."""
        file = self._files[name]
        x = file[name]
        if not all_finite(x):
            raise refusal(file.path, name, "expected finite numbers, got NaN or infinity")
        return x

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the tensor
        return name in self._files

    def spec(self, name: str) -> Spec:
        """Kind of number and shape, from the header."""
        entry = self._files[name].entries[name]
        return Spec(entry.dtype, entry.shape)

    def file(self, name: str) -> Path:
        """The file that holds the tensor."""
        return self._files[name].path

    def family(self) -> str | None:
        """model_type of config.json beside it, None without one."""
        path = self.folder / "config.json"
        if not path.is_file():
            return None
        family = read_json(path, refusal, most_bytes=1 << 22).get("model_type")
        return family if isinstance(family, str) else None

    def _open(self) -> Iterator[TensorFile]:
        if not self.path.is_dir():
            if self.path.suffix in _PICKLES:
                raise ModuleFormatError(
                    self.path,
                    "a pickle can run code and is never opened here; convert it with `hsgeo convert FILE OUT`",
                )
            if self.path.name == INDEX_NAME:
                yield from self._open_shards(self.path)
            else:
                yield TensorFile(self.path, refuse=refusal)
        elif (self.path / SINGLE_NAME).exists():
            yield TensorFile(self.path / SINGLE_NAME, refuse=refusal)
        elif (self.path / INDEX_NAME).exists():
            yield from self._open_shards(self.path / INDEX_NAME)
        else:
            found = sorted(p.name for p in self.path.iterdir() if p.suffix in _PICKLES)
            remedy = "found neither"
            if found:
                remedy = (
                    f"found {found[0]!a}, a pickle, which can run code: convert it with "
                    f"`hsgeo convert {found[0]!a} {SINGLE_NAME}`"
                )
            raise ModuleFormatError(self.path, f"expected {SINGLE_NAME} or {INDEX_NAME}; {remedy}")

    def _open_shards(self, index: Path) -> Iterator[TensorFile]:
        """Every file that the index names, once it holds just what the index says."""
        places = read_json(index, refusal, most_bytes=_MOST_INDEX_BYTES).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
            raise ModuleFormatError(index, "weight_map: expected an object of tensor names and file names")
        shards = list(dict.fromkeys(places.values()))
        for shard in shards:  # all of them before any is opened
            plain = Path(shard).name == shard and "\\" not in shard and shard.isprintable() and 0 < len(shard) < 200
            if not plain or shard == "..":
                raise ModuleFormatError(index, f"weight_map: expected a file in this folder, got {ascii(shard)[:120]}")
            if not (self.folder / shard).is_file():
                raise ModuleFormatError(
                    index, f"weight_map names {ascii(shard)[:120]}, which is missing; copy it again"
                )
        for shard in shards:
            file = TensorFile(self.folder / shard, refuse=refusal)
            expected = {name for name, place in places.items() if place == shard}
            for name in sorted(expected ^ file.entries.keys()):
                reason = "the index expects it here" if name in expected else "the index does not place it here"
                raise refusal(file.path, name, f"{reason}; index and shards belong to different checkpoints")
            yield file

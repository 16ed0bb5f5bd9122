"""Training of the merging benchmark's networks: one pre-trained base, and an expert a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from hyperspectral_geo.benchmarks.image_tasks import Task
from hyperspectral_geo.benchmarks.patch_transformer import WIDTH, PatchTransformer, lora_targets, patches

__all__ = ["Setting", "finetune", "pretrain"]

Setting: TypeAlias = Literal["lora", "full"]
"""How an expert departs from the base: low-rank factors on the linear maps of the blocks, or all parameters."""

_BATCH = 32
_LEARNING_RATE = {"lora": 5e-3, "full": 1e-3}
_PATCH_VARIANCE = 0.08  # of the pixels, so that both losses of the pre-training are about one at first


def pretrain(
    tasks: Sequence[Task],
    digits: tuple[Float[Tensor, "n 28 28"], Int64[Tensor, " n"]],
    *,
    seed: int,
    steps: int = 750,
) -> PatchTransformer:
    """A network that has seen the tasks' training images without labels, and plain digits with them.

    Half of the patches are hidden and have to be restored; digits, none of which is in a task, are classified.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network, restore, head = PatchTransformer(), nn.Linear(WIDTH, 49), nn.Linear(WIDTH, 10)
    images = torch.cat([task.train_x for task in tasks] + [digits[0]])

    def loss() -> Tensor:
        batch = _warped(images[torch.randint(len(images), (2 * _BATCH,), generator=generator)], generator)
        visible = torch.rand(len(batch), 16, generator=generator) > 0.5
        error = (restore(network.norm(network.tokens(batch, visible))) - patches(batch)).square().mean(2)
        rows = torch.randint(len(digits[0]), (2 * _BATCH,), generator=generator)
        labels = F.cross_entropy(head(network(_warped(digits[0][rows], generator))), digits[1][rows])
        return error[~visible].mean() / _PATCH_VARIANCE + labels

    _train([([*network.parameters(), *restore.parameters(), *head.parameters()], 2e-3)], loss, steps)
    return network.eval()


def finetune(
    base: PatchTransformer, task: Task, setting: Setting, *, rank: int, seed: int, steps: int = 560
) -> tuple[dict[str, tuple[Tensor, Tensor]] | dict[str, Tensor], dict[str, Tensor]]:
    """An expert of one task, its encoder and its linear head trained together from the base.

    Returns:
        For "lora" the factors (scale·B (out, rank), A (rank, in)) by weight, scale = alpha/rank = 2; for "full" all
        parameters' values. Then the head's weight and bias.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    start = {name: x.detach() for name, x in base.named_parameters()}
    head = nn.Linear(WIDTH, task.classes)
    names = lora_targets(start) if setting == "lora" else []
    a = {n: nn.Parameter(nn.init.kaiming_uniform_(torch.empty(rank, start[n].shape[1]), a=5**0.5)) for n in names}
    b = {n: nn.Parameter(torch.zeros(start[n].shape[0], rank)) for n in names}
    full = {} if setting == "lora" else {name: nn.Parameter(x.clone()) for name, x in start.items()}

    def state() -> dict[str, Tensor]:
        return {**start, **{n: start[n] + 2 * b[n] @ a[n] for n in names}, **full}

    def loss() -> Tensor:
        rows = torch.randint(len(task.train_x), (_BATCH,), generator=generator)
        features = functional_call(base, state(), (_warped(task.train_x[rows], generator),))
        return F.cross_entropy(head(features), task.train_y[rows])

    _train(
        [([*a.values(), *b.values(), *full.values()], _LEARNING_RATE[setting]), (list(head.parameters()), 3e-3)],
        loss,
        steps,
    )
    ended = {name: x.detach() for name, x in head.state_dict().items()}
    if setting == "lora":
        return {n: ((2 * b[n]).detach(), a[n].detach()) for n in names}, ended
    return {name: x.detach() for name, x in full.items()}, ended


def _train(groups: Iterable[tuple[list[nn.Parameter], float]], loss: Callable[[], Tensor], steps: int) -> None:
    """AdamW with a one-cycle schedule and clipped gradients."""
    groups = list(groups)
    every = [x for parameters, _ in groups for x in parameters]
    adam = torch.optim.AdamW([{"params": p, "lr": rate} for p, rate in groups], weight_decay=0.01, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, [rate for _, rate in groups], steps, pct_start=0.2)
    for _ in range(steps):
        adam.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(every, 1.0)
        adam.step()
        cycle.step()


def _warped(images: Float[Tensor, "b 28 28"], generator: torch.Generator) -> Float[Tensor, "b 28 28"]:
    """Each image moved and bent by up to a tenth of its half side; its corner's shade fills the rest."""
    n = len(images)
    maps = torch.eye(2, 3).repeat(n, 1, 1)
    maps[:, :, :2] += 0.1 * (2 * torch.rand(n, 2, 2, generator=generator) - 1)
    maps[:, :, 2] = 0.1 * (2 * torch.rand(n, 2, generator=generator) - 1)
    shade = images[:, :1, :1]
    grid = F.affine_grid(maps, [n, 1, 28, 28], align_corners=False)
    return F.grid_sample((images - shade)[:, None], grid, align_corners=False)[:, 0] + shade

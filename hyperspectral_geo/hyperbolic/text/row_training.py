"""Training of maps that give pages their rows: on hops between some pages, by these rows, and others, by their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.placement_loss import LandmarkHops, placement_gradient

__all__ = ["trained_weights"]

_PAGES, _KNOWN = 64, 512


def trained_weights(
    start: Mapping[str, Tensor],
    rows: Callable[[Mapping[str, Tensor], Int[Tensor, " m"]], Float[Tensor, "m q"]],
    pages: PageRows,
    hops: LandmarkHops,
    *,
    steps: int,
    rate: float,
    generator: torch.Generator,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, Tensor]:
    """The weights after so many steps of AdamW, 64 pages each against 512 others.

    Args:
        start: weights to begin with; they stay as they are.
        rows: of pages by their numbers and by weights, with a gradient.
        pages: whose rows the others have.
        hops: among these pages.
        steps: how many.
        rate: the largest step length, left along a cosine to zero.
        generator: of samples.
        progress: called with (step, loss) every fiftieth step.
    """
    moved = {name: part.clone().requires_grad_() for name, part in start.items()}
    adam = torch.optim.AdamW(list(moved.values()), lr=rate, weight_decay=0.05)
    for step in range(steps):
        some, others, goal = hops.draw(_PAGES, _KNOWN, generator)
        with torch.enable_grad():
            placed = rows(moved, some)
        loss, gradient = placement_gradient(pages, placed.detach(), others, goal)
        adam.zero_grad()
        placed.backward(gradient)
        adam.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.step()
        if progress is not None and step % 50 == 0:
            progress(step, loss)
    return {name: part.detach() for name, part in moved.items()}

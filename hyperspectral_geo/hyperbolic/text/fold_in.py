"""The place of a page in a finished model: the row whose distances meet given hops best, all else at rest."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.placement_loss import PlacementGoal, placement_gradient

__all__ = ["fold_in"]

_RATE = 0.1


def fold_in(
    pages: PageRows,
    start: Float[Tensor, "m q"],
    goal: PlacementGoal,
    *,
    steps: int = 150,
    sample: int = 1024,
    seed: int = 0,
) -> Float[Tensor, "m q"]:
    """Rows of m new pages by Adam on ``placement_gradient``.

    Args:
        pages: of the model, which stays as it is.
        start: rows to begin with.
        goal: hops to and from all known pages.
        steps: of Adam, along a cosine to zero.
        sample: known pages looked at in a step; all of a smaller model.
        seed: of these samples.

    Raises:
        ValueError: for a start of another width, or steps that are no whole number from 0.

    Example:
        >>> from hyperspectral_geo.hyperbolic import HopEmbedding
        >>> line = HopEmbedding(("a", "b"), torch.tensor([[0.0], [4.0]]), "euclidean")
        >>> hops = torch.tensor([[1, 3]])  # one hop from a, three from b
        >>> fold_in(PageRows.of(line), torch.tensor([[2.0]]), PlacementGoal.counted(hops, hops))
        tensor([[1.00]])
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps: expected a whole number from 0, got {steps!r}")
    if start.shape[1] != pages.width:
        raise ValueError(f"start: expected {pages.width} numbers a page, got {start.shape[1]}; use this model's rows")
    rows = start.clone()
    adam = torch.optim.Adam([rows], lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    known = len(pages.model)
    for step in range(steps):
        some = torch.randperm(known, generator=generator)[:sample]
        # A mean over pairs: each page's share shrinks with the number of pages, which Adam does not see.
        rows.grad = placement_gradient(pages, rows, some, goal.among(some))[1]
        adam.param_groups[0]["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.step()
    return rows

"""Folds and moments of views that come in batches and are never held at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from hyperspectral_geo.fusion.choice import Candidate
from hyperspectral_geo.fusion.cross_fit import Fold
from hyperspectral_geo.fusion.lifting import LinearLift
from hyperspectral_geo.fusion.moments import Moments
from hyperspectral_geo.fusion.views import Views, as_views

__all__ = ["streamed_candidate"]


def streamed_candidate(
    batches: Iterable[Sequence[Any]], *, folds: int, most: int = 500
) -> tuple[Candidate, tuple[tuple[int, ...], ...]]:
    """Linear lifts, moments and folds from one pass; memory does not grow with the number of rows.

    Row i of the stream belongs to fold i mod K, so rows should come in no order that has to do with what they are.

    Args:
        batches: views as ``SubspaceFusion.fit`` takes them, each batch with the same features.
        folds: K.
        most: complete rows of a fold that are kept for judging, the first ones.

    Returns:
        The candidate, and the widths of each view's blocks.

    Raises:
        ValueError: as ``as_views``; for no batch, or one with other features.
    """
    parts: list[Moments] | None = None
    kept: list[list[list[torch.Tensor]]] = []
    held = [0] * folds
    first: Views | None = None
    seen = 0
    for number, batch in enumerate(batches):
        views = as_views(batch)
        if first is None or parts is None:
            first = views
            nothing = Moments.of(views.rows, present=views.present).shifts
            parts = [Moments.nothing(nothing) for _ in range(folds)]
            kept = [[[] for _ in views.rows] for _ in range(folds)]
        if views.blocks != first.blocks:
            raise ValueError(f"batch {number}: expected features {first.blocks} as in the first, got {views.blocks}")
        count = len(views.rows[0])
        owner = (torch.arange(count) + seen) % folds
        seen += count
        for fold in range(folds):
            mine = owner == fold
            rows = [x[mine] for x in views.rows]
            masks = [None if mask is None else mask[mine] for mask in views.present]
            parts[fold] = parts[fold] + Moments.of(rows, present=masks, shifts=parts[fold].shifts)
            whole = [x[views.complete[mine]][: most - held[fold]] for x in rows]
            held[fold] += len(whole[0])
            for view, x in enumerate(whole):
                kept[fold][view].append(x.clone())
    if first is None or parts is None:
        raise ValueError("batches: expected at least one, got none")
    total = sum(parts[1:], parts[0])
    found = [Fold.of(total - part, [torch.cat(x) for x in inside]) for part, inside in zip(parts, kept, strict=True)]
    lifts = tuple(LinearLift(total.mean(view)) for view in range(len(first.rows)))
    return Candidate(None, True, lifts, total, found, folds), first.blocks

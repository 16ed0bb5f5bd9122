"""TIES: trim, elect signs, average what agrees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.coordinates import (
    SPACES,
    Coordinates,
    Frames,
    Space,
    coordinates,
    principal_frames,
)
from hyperspectral_geo.merging.methods.participants import require_choice, require_share, taking_part
from hyperspectral_geo.merging.methods.selection import kept_count, kth_magnitude, kth_magnitudes

__all__ = ["agreeing_mean", "prepare_ties", "ties", "trim_elect_mean"]

GRANULARITIES = ("model", "layer")


def ties(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    density: float = 0.2,
    granularity: Literal["model", "layer"] = "model",
    space: Literal["raw", "core"] = "raw",
    thresholds: Float[Tensor, " t"] | None = None,
    frames: Mapping[str, Frames] | None = None,
) -> Delta:
    """TIES-Merging (Yadav et al. 2023, arXiv:2306.01708): of each module keep the entries of largest magnitude, elect
    for each entry the sign of Σ w_t x_t, and average the w_t x_t of that sign.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too; they scale what trimming has left.
        density: share of a module's entries that is kept; entries as large as the smallest kept one stay as well.
        granularity: "model" ranks a module's entries over all the weights that it changes, as published, "layer"
            within each weight.
        space: "raw" the entries of ΔW_t, which makes a dense result; "core" those of its coordinates between the
            leading singular vectors of all modules side by side, which keeps it low-rank.
        thresholds: found by ``prepare_ties``; without them a "model" is this one weight.
        frames: likewise, by weight name.

    Raises:
        ValueError: for a density outside (0, 1], or another granularity or space.
    """
    require_share("density", density)
    require_choice("granularity", granularity, GRANULARITIES)
    require_choice("space", space, SPACES)
    return trim_elect_mean(joint, weights, density, space, thresholds, (frames or {}).get(joint.name))


def prepare_ties(
    joints: Iterable[Joint],
    *,
    density: float = 0.2,
    granularity: Literal["model", "layer"] = "model",
    space: Space = "raw",
) -> Mapping[str, Any]:
    """Each module's threshold over all weights that it changes, (T,), and the frames of each weight.

    Raises:
        ValueError: as ``ties``.
    """
    require_share("density", density)
    require_choice("granularity", granularity, GRANULARITIES)
    if granularity == "layer":
        return {}
    frames: dict[str, Frames] = {}
    sizes: list[int] = []
    samples: list[list[Tensor]] = []
    kept: list[tuple[Coordinates | None, list[int]]] = []
    for joint in joints:
        frames[joint.name] = principal_frames(joint, space)
        own = coordinates(joint, space, frames[joint.name])
        sizes, samples = sizes or [0] * len(joint.ranks), samples or [[] for _ in joint.ranks]
        for t in joint.present:
            sizes[t] += own.height * own.width
            samples[t].append(own.sample(t).flatten())
        # factors are small, or the caller's own, so that keeping them spares the next pass a joint basis
        factored = all(left is not None for left, _ in own.halves)
        kept.append((replace(own, out=None) if factored else None, joint.present))

    def blocks() -> Iterator[tuple[int, Tensor]]:
        again = iter(joints) if any(own is None for own, _ in kept) else None
        for own, present in kept:
            joint = next(again) if again is not None else None
            if own is None:
                assert joint is not None
                own = coordinates(joint, space, frames[joint.name])
            for t in present:
                yield from ((t, own.block(t, rows)) for rows in own.slices())

    together = [torch.cat(s) if s else torch.zeros(0) for s in samples]
    return {"thresholds": kth_magnitudes(sizes, density, together, blocks), "frames": frames}


def trim_elect_mean(
    joint: Joint,
    weights: Tensor,
    density: float,
    space: Space,
    thresholds: Tensor | None,
    frames: Frames | None,
) -> Delta:
    """TIES in any coordinates, with thresholds (T,) or, without, those of this weight alone."""
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    own = coordinates(active, space, frames)
    limits = torch.stack(own_thresholds(own, density)) if thresholds is None else thresholds[index]
    # hardshrink keeps what is larger than its bound, and the smallest kept entry is to stay
    below = torch.nextafter(limits.to(own.dtype), torch.zeros((), dtype=own.dtype)).tolist()
    shares = w.tolist()
    room: Tensor | None = None

    def combine(rows: slice) -> Tensor:
        nonlocal room
        shape = (len(index), rows.stop - rows.start, own.width)
        room = torch.empty(shape, dtype=own.dtype) if room is None or room.shape != shape else room
        own.fill(rows, room)
        for t, (share, bound) in enumerate(zip(shares, below, strict=True)):
            torch.nn.functional.hardshrink(room[t], bound, out=room[t])
            if share != 1:
                room[t] *= share
        return agreeing_mean(room)

    return own.merge(combine)


def own_thresholds(own: Coordinates, density: float) -> list[Tensor]:
    """The k-th largest magnitude of each X_t."""
    k = kept_count(density, own.height * own.width)
    return [kth_magnitude(own.block(t, slice(None)), k) for t in range(len(own.halves))]


def agreeing_mean(x: Float[Tensor, "t rows width"]) -> Float[Tensor, "rows width"]:
    """Mean over t of the entries that have the sign of their sum, over as many as these are; 0 where the sum is 0.

    x is overwritten. All steps are on floats: torch's booleans take ten times as long.
    """
    sign = x.sum(0).sign_()
    agreeing = x.mul_(sign).clamp_min_(0)
    total = agreeing.sum(0).mul_(sign)
    count = agreeing.sign_().sum(0).clamp_min_(1)
    return total.div_(count)

"""KnOTS: TIES and DARE after turning all modules into one set of left singular vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.coordinates import Frames
from hyperspectral_geo.merging.methods.dare import COMBINES, Combine, dropped, kept_entries
from hyperspectral_geo.merging.methods.participants import require_choice, require_share
from hyperspectral_geo.merging.methods.ties import GRANULARITIES, prepare_ties, trim_elect_mean

__all__ = ["knots_dare", "knots_ties", "prepare_knots_ties"]


def knots_ties(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    density: float = 0.2,
    granularity: Literal["model", "layer"] = "model",
    thresholds: Float[Tensor, " t"] | None = None,
    frames: Mapping[str, Frames] | None = None,
) -> Delta:
    """ΔW = U · TIES(P_1, …, P_T) with [ΔW_1 … ΔW_T] = U Σ [V_1ᵀ … V_Tᵀ] and P_t = Σ V_tᵀ = UᵀΔW_t, (k, n) (KnOTS,
    Stoica et al. 2025, arXiv:2410.19735).

    The published code gives all modules but the first the first one's weight, and cuts singular values at an absolute
    1e-5, so that small modules vanish. Here every w_t counts and the cut is 1e-6 of the largest. (With a sum in place
    of TIES the turn cancels: KnOTS on task arithmetic is task arithmetic.)

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too; they scale what trimming has left.
        density: share of a module's entries P_t that is kept.
        granularity: "model" ranks a module's entries over all the weights that it changes, "layer" within each weight.
        thresholds: found by ``prepare_knots_ties``; without them a "model" is this one weight.
        frames: likewise, by weight name.

    Raises:
        ValueError: for a density outside (0, 1] or another granularity.
    """
    require_share("density", density)
    require_choice("granularity", granularity, GRANULARITIES)
    return trim_elect_mean(joint, weights, density, "knots", thresholds, (frames or {}).get(joint.name))


def prepare_knots_ties(
    joints: Iterable[Joint], *, density: float = 0.2, granularity: Literal["model", "layer"] = "model"
) -> Mapping[str, Any]:
    """Each module's threshold over all weights that it changes, (T,), and the frames of each weight."""
    return prepare_ties(joints, density=density, granularity=granularity, space="knots")


def knots_dare(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    density: float = 0.2,
    combine: Combine = "elect",
    seed: int = 0,
) -> Delta:
    """ΔW = U · DARE(P_1, …, P_T), see ``knots_ties`` for U and P_t and ``dare`` for the options.

    Raises:
        ValueError: for a density outside (0, 1] or another combine.
    """
    require_share("density", density)
    require_choice("combine", combine, COMBINES)
    return dropped(joint, weights, "knots", combine, seed, kept_entries(density))

"""From lifted views to a joint space: settings are chosen, the space is tested, and all rows are joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from hyperspectral_geo.fusion.choice import Candidate, Choice, choose
from hyperspectral_geo.fusion.decoding import decoders_of_moments, decoders_of_rows
from hyperspectral_geo.fusion.joint_space import JointSpace, joint_space
from hyperspectral_geo.fusion.lifting import LinearLift
from hyperspectral_geo.fusion.presets import Preset
from hyperspectral_geo.fusion.shared_evidence import SharedEvidence, shared_evidence
from hyperspectral_geo.fusion.views import Views

__all__ = ["Fitted", "Progress", "fit_space", "with_decoders"]

_PERMUTATIONS = 999

Progress: TypeAlias = Callable[[int, int], None] | None
"""Called with how many of how many settings are done."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A joint space, the choice of its settings, and what says that the views share it; ``None`` if not asked for."""

    space: JointSpace
    choice: Choice
    evidence: SharedEvidence | None


def fit_space(
    candidates: Iterable[Candidate],
    preset: Preset,
    blocks: tuple[tuple[int, ...], ...],
    *,
    lifts: int = 1,
    n_components: int | None,
    significance: float | None,
    seed: int,
    progress: Progress = None,
) -> Fitted:
    """Choose among candidates, test whether anything is shared, and join all rows.

    Args:
        candidates: lifted views, with folds unless the preset is fixed and there is no test.
        preset: settings to choose among.
        blocks: widths of each view's blocks of features.
        lifts: how many candidates there are.
        n_components: directions to keep.
        significance: the space is empty if the p-value is above; ``None`` for no test.
        seed: of the permutations.
        progress: see ``Progress``.

    Returns:
        The space has decoders where lifts do no more than scale the features; else see ``with_decoders``.
    """
    total = lifts * len(preset.ridges) * len(preset.powers)
    told = None if progress is None else lambda done: progress(done, total)
    choice = choose(candidates, preset, n_components=n_components, progress=told)
    evidence = None
    if significance is not None:
        # tested where nothing was chosen by the same pairs, but for the candidate, which Bonferroni's factor pays for
        permutations = max(_PERMUTATIONS, math.ceil(lifts / significance))  # so many that the p-value can be so low
        evidence = shared_evidence(choice.plain, permutations=permutations, seed=seed)
        p_value = min(1.0, lifts * evidence.p_value)
        if choice.cross_fitted is not choice.plain:
            evidence = shared_evidence(choice.cross_fitted, seed=seed)
        evidence = replace(evidence, p_value=p_value)
    nothing = evidence is not None and significance is not None and evidence.p_value > significance
    space = joint_space(
        blocks,
        choice.lifts,
        choice.moments,
        choice.spectral_filter,
        ridges=choice.ridges,
        n_components=0 if nothing else n_components,
        shared=None if evidence is None else evidence.count,
    )
    linear = [lift for lift in choice.lifts if isinstance(lift, LinearLift) and lift.turn is None]
    if len(linear) == len(blocks):
        space = replace(
            space,
            decoders=decoders_of_moments(space.basis, choice.moments, linear),
        )
    return Fitted(space, choice, evidence)


def with_decoders(space: JointSpace, views: Views) -> JointSpace:
    """The space with regressions of the views' features on coordinates, where lifts have changed the features.

    Args:
        space: fitted to the views.
        views: all rows.
    """
    return replace(space, decoders=decoders_of_rows(space.basis, space.lifts, views.rows, views.present))

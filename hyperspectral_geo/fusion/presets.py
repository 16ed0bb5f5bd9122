"""Named methods of fusion: each a fixed filter of one spectrum, or one to be learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["PRESETS", "Preset"]

_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
_POWERS = (0.0, 0.5, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Preset:
    """What a method may choose from; where there is one candidate it is taken as it is.

    Attributes:
        gammas: of kernel lifts; ``None`` stands for the features as they are.
        ridges: in units of the mean variance; ∞ leaves the views as they are.
        powers: p of the weights ρ^p in each view.
        learned: whether eigenvalues may leave ρ^p on held-out evidence.
        anchors: whether samples become similarities to the training pairs, with no further map.
    """

    gammas: tuple[float | None, ...] = (None,)
    ridges: tuple[float, ...] = _RIDGES
    powers: tuple[float, ...] = (0.0,)
    learned: bool = False
    anchors: bool = False

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return not self.learned and len(self.gammas) == len(self.ridges) == len(self.powers) == 1


PRESETS = {
    "spectral": Preset(gammas=(None, 0.5, 1.0, 3.0), powers=_POWERS, learned=True),
    "kernel": Preset(gammas=(0.5, 1.0, 3.0), powers=_POWERS, learned=True),
    "linear": Preset(powers=_POWERS, learned=True),
    "rcca": Preset(),
    "gcca": Preset(),
    "csa": Preset(powers=(0.5,)),
    "cca": Preset(ridges=(0.0,)),
    "pls": Preset(ridges=(math.inf,), powers=(0.5,)),
    "procrustes": Preset(ridges=(math.inf,)),
    "asif": Preset(ridges=(math.inf,), anchors=True),
}
"""Methods by name.

======================== ==============================================================================================
spectral                 linear or kernel lift, ridge, power and learned eigenvalues, all by cross-fitting
kernel, linear           the same with one kind of lift
rcca                     canonical correlation analysis with a ridge (Vinod 1976)
gcca                     the same for any number of views (MAXVAR: Kettenring 1971)
csa                      rcca with products of coordinates weighed by their correlations (Li et al. 2024,
                         arXiv:2410.07610)
cca                      without ridge (Hotelling 1936); it needs many more samples than features
pls                      partial least squares: covariances for correlations (Wold 1985)
procrustes               all directions of the views turned into each other, alike in weight (Schönemann 1966)
asif                     relative representations (Norelli et al. 2023, arXiv:2210.01738)
======================== ==============================================================================================
"""

"""How modules lie to each other: principal angles of their column and row spaces, and the cosine of their updates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.manifolds.angles import principal_angles
from hyperspectral_geo.merging.core import join
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.update_spectrum import update_spectrum

__all__ = ["Relation", "mean_angles", "relate", "relate_cores"]


@dataclass(frozen=True)
class Relation:
    """Two modules' updates of one weight, ΔW_s and ΔW_t.

    Attributes:
        first, second: the modules' names.
        cosine: ⟨ΔW_s, ΔW_t⟩ / (‖ΔW_s‖ ‖ΔW_t‖), signed.
        left: principal angles of the column spaces, ascending, radians; of an update with a noise edge, those of the
            directions above it, since all directions of a full rank span everything.
        right: likewise of the row spaces.
    """

    first: str
    second: str
    cosine: float
    left: tuple[float, ...]
    right: tuple[float, ...]


def relate(modules: Sequence[Module], *, largest: int | None = None) -> dict[str, tuple[Relation, ...]]:
    """Each pair of modules, weight by weight, for the weights that at least two of them change.

    Args:
        modules: of different names.
        largest: leave weights out whose smaller side is longer and that are dense in a module; None takes all.

    Raises:
        ValueError: if updates of one weight have different shapes.
    """
    names = dict.fromkeys(name for m in modules for name in m.deltas)
    found = {}
    for name in names:
        present = [m for m in modules if name in m.deltas]
        if len(present) < 2 or (largest is not None and min(present[0].layouts[name].matrix_shape) > largest):
            continue
        joint = join(name, [m.deltas[name] for m in present])
        found[name] = tuple(relate_cores([m.name for m in present], list(joint.cores), joint.shape))
    return found


def relate_cores(names: Sequence[str], cores: Sequence[Float[Tensor, "a b"]], shape: tuple[int, int]) -> list[Relation]:
    """Each pair of updates of ``shape``, as cores between common orthonormal bases; zero ones have no relations."""
    frames = [_frames(core, shape) for core in cores]
    present = [t for t, (columns, _) in enumerate(frames) if columns.shape[1]]
    found = []
    for at, i in enumerate(present):
        for j in present[at + 1 :]:
            a, b = cores[i], cores[j]
            cosine = float((a / torch.linalg.matrix_norm(a) * (b / torch.linalg.matrix_norm(b))).sum())
            left, right = (principal_angles(frames[i][side], frames[j][side]).tolist() for side in (0, 1))
            found.append(Relation(names[i], names[j], cosine, tuple(left), tuple(right)))
    return found


def mean_angles(
    names: Sequence[str], relations: Mapping[str, Sequence[Relation]], *, side: Literal["left", "right"]
) -> list[list[float]]:
    """Mean principal angle of each pair's column ("left") or row spaces over all weights, radians.

    π/2 where two change no common weight.
    """
    sums = {(a, b): [0.0, 0] for a in names for b in names}
    for row in (r for weight in relations.values() for r in weight):
        angles = row.left if side == "left" else row.right
        for pair in ((row.first, row.second), (row.second, row.first)):
            sums[pair][0] += sum(angles)
            sums[pair][1] += len(angles)
    mean = {pair: total / count if count else math.pi / 2 for pair, (total, count) in sums.items()}
    return [[0.0 if a == b else mean[a, b] for b in names] for a in names]


def _frames(core: Float[Tensor, "a b"], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Orthonormal bases of a core's columns and rows, without what is rounding or below the noise edge."""
    u, s, vh = torch.linalg.svd(core, full_matrices=False)
    spectrum = update_spectrum(s, shape)
    kept = spectrum.rank if spectrum.noise_edge is None else max(spectrum.noise_rank, 1)
    return u[:, :kept], vh[:kept].mT

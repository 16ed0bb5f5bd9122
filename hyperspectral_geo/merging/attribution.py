"""Where a merged module comes from: which module put how much into each singular direction, and what got lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import join
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.relations import Relation, relate_cores
from hyperspectral_geo.merging.update_spectrum import UpdateSpectrum, update_spectrum

__all__ = ["Attribution", "Direction", "Part", "WeightAttribution", "attribute_weight", "attribution"]


@dataclass(frozen=True)
class Direction:
    """One singular direction σ u vᵀ of a merged update; c_t = w_t uᵀΔW_t v is what module t puts into it.

    σ² = gain² · (1 + interference) · Σ c_t², exactly.

    Attributes:
        sigma: σ.
        shares: c_t² / Σ c_s², one a module, summing to one; all zero if no module has anything in this direction.
        interference: (Σ c_t)² / Σ c_t² − 1: positive where the modules push the same way, −1 where they cancel.
        gain: σ / |Σ c_t|, what the method makes of the plain sum: 1 for ``linear``. None where the sum is zero.
    """

    sigma: float
    shares: tuple[float, ...]
    interference: float
    gain: float | None


@dataclass(frozen=True)
class Part:
    """One module's update ΔW in one weight, beside the merged update M.

    Attributes:
        module: its name.
        norm: ‖ΔW‖_F.
        share: its share of M's energy: the directions' shares, weighted by σ².
        kept: ⟨M, ΔW⟩ / ‖ΔW‖², how much of the update is in M: 1 where it is there undisturbed.
        lost: ‖ΔW − P ΔW Q‖_F / ‖ΔW‖_F with P and Q onto the column and row space of M: what M cannot even express.
        rank, effective_rank: numerical rank and exp of the entropy of the singular values of ΔW.
    """

    module: str
    norm: float
    share: float
    kept: float
    lost: float
    rank: int
    effective_rank: float


@dataclass(frozen=True)
class WeightAttribution:
    """One weight: the merged spectrum, its directions, the modules' parts and how they lie to each other."""

    name: str
    spectrum: UpdateSpectrum
    directions: tuple[Direction, ...]
    parts: tuple[Part, ...]
    relations: tuple[Relation, ...]
    way_error: float | None

    @property
    def interference(self) -> float:
        """Mean of the directions' interference, weighted by σ²."""
        energy = sum(d.sigma**2 for d in self.directions)
        return sum(d.sigma**2 * d.interference for d in self.directions) / energy if energy else 0.0


@dataclass(frozen=True)
class Attribution:
    """A row a weight that the merged module changes and at least one module does.

    Attributes:
        merged: the merged module's name.
        modules: the modules' names.
        weights: w_t.
        rows: in the merged module's order.
    """

    merged: str
    modules: tuple[str, ...]
    weights: tuple[float, ...]
    rows: tuple[WeightAttribution, ...]

    def shares(self) -> dict[str, float]:
        """Each module's share of the energy of all updates together; they sum to one."""
        energies = [sum(d.sigma**2 for d in row.directions) for row in self.rows]
        whole = sum(energies)
        return {
            name: sum(e * row.parts[t].share for e, row in zip(energies, self.rows, strict=True)) / whole
            if whole
            else 0.0
            for t, name in enumerate(self.modules)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and texts, for JSON."""
        rows = [{**asdict(row), "interference": row.interference} for row in self.rows]
        return {**asdict(self), "rows": rows, "shares": self.shares()}


def attribution(
    merged: Module, modules: Sequence[Module], *, weights: Sequence[float] | None = None, top: int | None = None
) -> Attribution:
    """Say where each singular direction of a merged module comes from.

    Each weight's updates and the merged one go into one joint basis, where everything is found from the small cores; no
    m×n matrix is formed where all are factors.

    Args:
        merged: what ``merge`` made, by any method.
        modules: what it was made of; ``replaced`` and ``magnitudes`` are not looked at.
        weights: those of the merge, ones by default.
        top: at most so many leading directions a weight are listed; the shares always count all.

    Raises:
        ValueError: for another number of weights, two modules of one name, or updates of unequal shapes.

    Example:
        >>> from hyperspectral_geo.merging import Layout, LowRank, merge
        >>> layouts = {"w": Layout("linear", (3, 3))}
        >>> e = torch.eye(3)
        >>> a, b = (Module(n, {"w": LowRank(e[:, i : i + 1], e[i : i + 1])}, layouts) for i, n in enumerate("ab"))
        >>> attribution(merge([a, b], method="linear", weights=[2.0, 1.0]), [a, b], weights=[2.0, 1.0]).shares()
        {'a': 0.8, 'b': 0.2}
    """
    names = tuple(m.name for m in modules)
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"modules: expected one or more of different names, got {', '.join(names) or 'none'}")
    w = (1.0,) * len(names) if weights is None else tuple(float(x) for x in weights)
    if len(w) != len(names):
        raise ValueError(f"weights: expected {len(names)} numbers, one a module, got {len(w)}")
    rows = [
        attribute_weight(name, result, modules, w, top=top)
        for name, result in merged.deltas.items()
        if any(name in m.deltas for m in modules)
    ]
    return Attribution(merged.name, names, w, tuple(rows))


def attribute_weight(
    name: str, result: Delta, modules: Sequence[Module], weights: Sequence[float], *, top: int | None = None
) -> WeightAttribution:
    """``attribution`` of one weight's merged update, for a merge that streams and so computes each update once."""
    joint = join(name, [m.deltas.get(name) for m in modules] + [result])
    *cores, whole = joint.cores
    u, s, vh = torch.linalg.svd(whole, full_matrices=False)
    kept = int((s > s[:1] * torch.finfo(s.dtype).eps * max(joint.shape)).sum())
    u, s, vh = u[:, :kept], s[:kept], vh[:kept]
    contributions = torch.stack([w * ((u.mT @ c) * vh).sum(1) for w, c in zip(weights, cores, strict=True)])
    directions = _directions(s, contributions)
    energy = s.square()
    shares = torch.tensor([d.shares for d in directions], dtype=s.dtype).reshape(kept, len(modules)).mT @ energy
    shares = shares / energy.sum() if kept else shares
    parts = [_part(modules[t].name, core, whole, u, vh, float(shares[t]), joint.shape) for t, core in enumerate(cores)]
    return WeightAttribution(
        name=name,
        spectrum=update_spectrum(s, joint.shape),
        directions=tuple(directions[:top]),
        parts=tuple(parts),
        relations=tuple(relate_cores([m.name for m in modules], cores, joint.shape)),
        way_error=result.notes.get("way_error"),
    )


def _directions(s: Float[Tensor, " k"], contributions: Float[Tensor, "t k"]) -> list[Direction]:
    # Relative to σ, so that squares of small updates do not vanish; below rounding a contribution is none.
    c = contributions / s
    c = torch.where(c.abs() > 64 * torch.finfo(c.dtype).eps, c, 0.0)
    energy, total = c.square().sum(0), c.sum(0)
    shares = c.square() / torch.where(energy > 0, energy, 1.0)
    interference = torch.where(energy > 0, total.square() / torch.where(energy > 0, energy, 1.0) - 1, 0.0)
    return [
        Direction(float(s[i]), tuple(shares[:, i].tolist()), float(interference[i]), _inverse(float(total[i].abs())))
        for i in range(len(s))
    ]


def _inverse(x: float) -> float | None:
    return 1 / x if x > 1e-12 else None


def _part(name: str, core: Tensor, whole: Tensor, u: Tensor, vh: Tensor, share: float, shape: tuple[int, int]) -> Part:
    norm = float(torch.linalg.matrix_norm(core))
    if norm == 0.0:
        return Part(name, 0.0, share, 0.0, 0.0, 0, 0.0)
    unit = core / norm
    inside = u @ (u.mT @ unit @ vh.mT) @ vh
    spectrum = update_spectrum(torch.linalg.svdvals(core), shape)
    return Part(
        module=name,
        norm=norm,
        share=share,
        kept=float((whole * unit).sum()) / norm,
        lost=float(torch.linalg.matrix_norm(unit - inside)),
        rank=spectrum.rank,
        effective_rank=spectrum.effective_rank,
    )

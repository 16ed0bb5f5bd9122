"""The report of a merge: that each module survived the way, whose the result is, and what the method said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.merging.attribution import WeightAttribution, attribute_weight
from hyperspectral_geo.merging.core import join
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank, relative_difference
from hyperspectral_geo.merging.merge import WAY_TOLERANCE
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.recipe import Recipe
from hyperspectral_geo.version import __version__

__all__ = ["MergeReport", "MergeRow", "describe_weight", "write_merge_report"]

LARGEST = 4_000_000
"""Dense updates are attributed up to so many numbers in all T + 1 matrices: these are decomposed in float64."""

_BLOCK = 1 << 20

_TOP = 16


@dataclass(frozen=True)
class MergeRow:
    """One merged weight.

    Attributes:
        name: of the weight. shape: (out, in).
        norm: ‖M‖_F of the merged update M. energy: ‖M‖² over Σ ‖w_t ΔW_t‖²: 1 for updates that do not meet.
        rank: upper bound of M's rank.
        way_error: largest relative error of a module's update on its way into the joint basis and back, as merged.
        alone: for each module the same, measured by itself from the basis; None where the basis is the identity.
        in_base: the largest of these errors over ‖W₀ + ΔW_t‖, as it would be in the base's weight; None without a base.
        stored_error: what cutting and rounding lost when M was written, relative.
        notes: what the method says, such as the iterations of a mean.
        attribution: None where M is too large to be decomposed.
    """

    name: str
    shape: tuple[int, int]
    norm: float
    energy: float | None
    rank: int
    way_error: float
    alone: dict[str, float] | None
    in_base: float | None
    notes: dict[str, float]
    attribution: WeightAttribution | None
    stored_error: float | None = None


@dataclass(frozen=True)
class MergeReport:
    """What was merged, how, and what came of it; ``to_dict`` is merge_report.json."""

    method: str
    models: tuple[str, ...]
    paths: tuple[str, ...]
    weights: tuple[float, ...]
    base: str | None
    scale: float
    rank: int | None
    options: dict[str, str]
    rules: tuple[dict[str, Any], ...]
    kind: str
    dtype: str | None
    rows: tuple[MergeRow, ...]
    calibration: dict[str, Any] | None
    tolerance: float = WAY_TOLERANCE
    version: str = __version__

    @staticmethod
    def of(
        recipe: Recipe,
        names: Sequence[str],
        kind: str,
        rows: Sequence[MergeRow],
        calibration: dict[str, Any] | None,
        tolerance: float = WAY_TOLERANCE,
    ) -> MergeReport:
        """The report of a recipe that has been carried out; a way that errs by more than ``tolerance`` was refused."""
        return MergeReport(
            method=recipe.method,
            models=tuple(names),
            paths=tuple(str(p) for p in recipe.models),
            weights=tuple(recipe.weights),
            base=None if recipe.base is None else str(recipe.base),
            scale=recipe.scale,
            rank=recipe.rank,
            options={k: str(v) for k, v in recipe.options.items()},
            rules=tuple(
                {**asdict(r), "method": None if r.method is None else str(r.method), "options": dict(r.options)}
                for r in recipe.rules
            ),
            kind=kind,
            dtype=recipe.dtype,
            rows=tuple(rows),
            calibration=calibration,
            tolerance=tolerance,
        )

    @property
    def way_error(self) -> float:
        """The largest error of any module in any weight on its way into the joint basis and back."""
        errors = [e for row in self.rows for e in (row.way_error, *(row.alone or {}).values())]
        return max(errors, default=0.0)

    @property
    def stored_error(self) -> float | None:
        """The largest relative error that cutting and rounding left in a stored update; None where none is known."""
        return max((row.stored_error for row in self.rows if row.stored_error is not None), default=None)

    @property
    def weighted_by_rules(self) -> bool:
        """Whether rules gave some weights other numbers than ``weights``."""
        return any(rule["weights"] is not None for rule in self.rules)

    @property
    def larger_than_dense(self) -> bool:
        """Whether the factors of some weight, as an adapter keeps them, take more room than the matrix itself."""
        return self.kind == "adapter" and any(r.rank * sum(r.shape) >= r.shape[0] * r.shape[1] for r in self.rows)

    def shares(self) -> dict[str, float]:
        """Each module's share of the energy of the weights that were attributed."""
        known = [row for row in self.rows if row.attribution is not None and row.norm > 0]
        whole = sum(row.norm**2 for row in known)
        return {
            name: sum(row.norm**2 * row.attribution.parts[t].share for row in known if row.attribution) / whole
            if whole
            else 0.0
            for t, name in enumerate(self.models)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and texts, for JSON."""
        found = asdict(self)
        tolerance = found.pop("tolerance")
        proof = {"way_error": self.way_error, "tolerance": tolerance, "holds": self.way_error <= tolerance}
        return _plain({**found, "proof": proof, "shares": self.shares()})


def describe_weight(
    name: str, delta: Delta, modules: Sequence[Module], weights: Sequence[float], *, base: Tensor | None = None
) -> MergeRow:
    """The row of one merged update; ``base`` is the base's weight as a matrix."""
    updates = [m.deltas.get(name) for m in modules]
    sizes = [0.0 if d is None else _size(d) for d in updates]
    energy = sum((w * s) ** 2 for w, s in zip(weights, sizes, strict=True))
    norm = _size(delta)
    alone = _alone(name, modules, updates)
    dense = isinstance(delta, Dense) or any(isinstance(d, Dense) for d in updates)
    small = not dense or delta.shape[0] * delta.shape[1] * (len(modules) + 1) <= LARGEST
    return MergeRow(
        name=name,
        shape=delta.shape,
        norm=norm,
        energy=norm**2 / energy if energy else None,
        rank=delta.rank,
        way_error=float(delta.notes.get("way_error", 0.0)),
        alone=alone,
        in_base=None if base is None or alone is None else _in_base(alone, modules, updates, sizes, base),
        notes={k: float(v) for k, v in delta.notes.items() if k != "way_error"},
        attribution=attribute_weight(name, delta, modules, weights, top=_TOP) if small else None,
    )


def write_merge_report(folder: Path, report: MergeReport) -> None:
    """Write merge_report.json and merge_report.html into the folder."""
    from hyperspectral_geo.merging.merge_pages import (
        write_merge_page,
    )  # matplotlib only once there is something to draw

    text = json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "merge_report.json", text.encode())
    write_merge_page(folder / "merge_report.html", report)


def _alone(name: str, modules: Sequence[Module], updates: Sequence[Delta | None]) -> dict[str, float] | None:
    """Each update beside what the joint basis gives back of it; a dense one is its own core and loses nothing."""
    if any(isinstance(d, Dense) for d in updates):
        return None
    joint = join(name, updates)
    return {
        m.name: relative_difference(joint.delta(core), d)
        for m, core, d in zip(modules, joint.cores, updates, strict=True)
        if d is not None
    }


def _in_base(
    alone: Mapping[str, float],
    modules: Sequence[Module],
    updates: Sequence[Delta | None],
    sizes: Sequence[float],
    base: Tensor,
) -> float:
    found = 0.0
    for module, delta, size in zip(modules, updates, sizes, strict=True):
        if delta is not None:
            whole = _size(delta, base)
            found = max(found, alone[module.name] * size / whole if whole > 0 else 0.0)
    return found


def _size(delta: Delta, base: Tensor | None = None) -> float:
    """‖ΔW‖_F, or ‖W₀ + ΔW‖_F, in float64; by blocks of rows, so that no further matrix of the weight's size is made."""
    if base is None and isinstance(delta, LowRank):
        return float(delta.to(torch.float64).norm())
    right = delta.right.double() if isinstance(delta, LowRank) else None
    left = delta.left if isinstance(delta, LowRank) else delta.matrix
    total, step = 0.0, max(1, _BLOCK // max(1, delta.shape[1]))
    for start in range(0, delta.shape[0], step):
        block = left[start : start + step].double()
        block = block if right is None else block @ right
        block = block if base is None else block + base[start : start + step]
        total += float(block.square().sum())
    return math.sqrt(total)


def _plain(value: Any) -> Any:
    """Numbers that JSON does not know become None, tuples lists."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

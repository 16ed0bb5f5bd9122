"""The modules that take part in the merge of one weight, and refusals that several methods share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint

__all__ = ["require_choice", "require_no_negative", "require_share", "taking_part"]


def taking_part(joint: Joint, weights: Float[Tensor, " t"]) -> tuple[Joint, Float[Tensor, " k"], list[int]]:
    """The joint basis without modules of weight 0 and modules that leave this weight alone; which ones remain.

    A LoRA whose B is still zero leaves the weight alone, whatever its rank. Methods that count modules, average over
    them or orthogonalise their directions so give the same as if these had not been passed at all.

    Raises:
        ValueError: for weights that are not one finite number a module.
    """
    count = len(joint.ranks)
    if weights.shape != (count,) or not bool(weights.isfinite().all()):
        raise ValueError(
            f"{joint.name}: weights: expected {count} finite numbers, one a module, got {weights.tolist()}"
        )
    nonzero = joint.cores.flatten(1).any(1)
    index = [t for t in range(count) if joint.ranks[t] > 0 and bool(weights[t] != 0) and bool(nonzero[t])]
    if len(index) == count:
        return joint, weights, index
    parts = tuple(joint.parts[t] for t in index) if joint.parts else ()
    updates = tuple(joint.updates[t] for t in index) if joint.updates else ()
    ranks = tuple(joint.ranks[t] for t in index)
    kept = replace(joint, cores=joint.cores[index], ranks=ranks, parts=parts, updates=updates)
    return kept, weights[index], index


def require_share(name: str, value: float, *, zero: bool = False, one: bool = True) -> None:
    """Raise ``ValueError`` unless 0 < value ≤ 1; ``zero`` and ``one`` say whether the ends are allowed."""
    low = value >= 0 if zero else value > 0
    high = value <= 1 if one else value < 1
    if not (low and high):
        interval = f"{'0 <=' if zero else '0 <'} {name} {'<= 1' if one else '< 1'}"
        raise ValueError(f"{name}: expected a number with {interval}, got {value}")


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def require_no_negative(joint: Joint, weights: Tensor, method: str) -> None:
    """Raise ``ValueError`` for a negative weight, where a method has no meaning for one."""
    if bool((weights < 0).any()):
        raise ValueError(
            f"{joint.name}: weights: {method} means a place between the modules, expected numbers >= 0, "
            f"got {weights.tolist()}; to subtract a module use linear, ties, tsv or another sum"
        )

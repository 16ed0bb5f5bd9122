"""Joining modules: every weight into its joint basis, through a method, and out again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.merging.adapter import SCALE_NOTE
from hyperspectral_geo.merging.core import Joint, join, require_core_kind
from hyperspectral_geo.merging.delta import Delta, LowRank
from hyperspectral_geo.merging.merge_plan import (
    LayerRule,
    ModuleWeights,
    Plan,
    common_config,
    common_layout,
    common_stored,
    plans_of,
    require_rank,
)
from hyperspectral_geo.merging.methods import Method
from hyperspectral_geo.merging.module import LazyMapping, Module

__all__ = ["WAY_TOLERANCE", "LayerRule", "merge", "way_tolerance"]

WAY_TOLERANCE = 1e-6
"""Largest relative error of a module on its way into the joint basis and back; a merge in float64 refuses more."""


def way_tolerance(dtype: torch.dtype) -> float:
    """``WAY_TOLERANCE``, or what rounding alone makes of a way in ``dtype``, if that is more."""
    return max(WAY_TOLERANCE, 50 * torch.finfo(dtype).eps)


def merge(
    modules: Sequence[Module],
    *,
    method: str | Method = "tsv",
    weights: ModuleWeights | None = None,
    scale: float = 1.0,
    rank: int | None = None,
    rules: Sequence[LayerRule] = (),
    dtype: torch.dtype = torch.float64,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Module:
    """Join modules into one: each weight's updates go into their joint basis, through the method, and out again.

    Args:
        modules: at least one, of the same base model.
        method: a name from ``methods.METHODS`` or a ``Method`` of your own.
        weights: w_t, one number a module, or numbers by module name, ones by default; negative ones subtract a module.
        scale: α, factor on the merged update.
        rank: cut each merged update to this rank; methods with an option ``rank``, as "svd", work at that rank.
        rules: other settings for some weights, see ``LayerRule``.
        dtype: the kind in which cores and bases are computed, float32 or float64; results come back in the modules' own
            kind, as ``stored`` says also on disk: the widest that a module has for the parameter.
        progress: called as ``progress(done, all)`` after each weight.
        options: of the method, such as ``density``.

    Returns:
        The merged module; its deltas are computed here, or when asked for if a module streams from a checkpoint.
        Each delta's ``notes`` hold the error of the way into the basis and back, and what the method reports.

    Raises:
        ValueError: for modules of other base models or shapes, parameters known only beside a base, unknown methods
            or options, rules that match no weight, numbers that are not finite, or an update that the joint basis does
            not hold to ``way_tolerance(dtype)``.
    """
    _require_modules(modules)
    require_core_kind(dtype)
    require_rank(rank)
    names = dict.fromkeys(name for m in modules for name in m.deltas)
    vectors = dict.fromkeys(name for m in modules for name in m.vectors)
    given = options if rank is None else {**options, "rank": rank}
    called = [m.name for m in modules]
    plans = plans_of(dict.fromkeys((*names, *vectors)), called, method, weights, scale, rules, given, dtype)
    layouts = {name: common_layout(name, modules) for name in names}
    streaming = any(isinstance(m.deltas, LazyMapping) for m in modules)

    def joint_of(name: str) -> Joint:
        deltas = [m.deltas.get(name) for m in modules]
        # a module of weight 0 is as good as absent, and so has no part in the basis either
        used = [d if w else None for d, w in zip(deltas, plans[name].weights.tolist(), strict=True)]
        joint = join(name, used if any(d is not None for d in used) else deltas, dtype=dtype)
        _require_held(joint, modules, dtype)
        return joint

    kept: dict[str, Callable[[], Joint]] = {}
    prepared = _prepare({n: plans[n] for n in names}, joint_of, None if streaming else kept)

    def merged(name: str) -> Delta:
        joint, plan = kept.pop(name, lambda: joint_of(name))(), plans[name]
        kind = reduce(torch.promote_types, [u.dtype for u in joint.updates if u is not None])
        delta = plan.method.layer(joint, plan.weights, **plan.options, **prepared.get(name, {}))
        delta = delta if plan.scale == 1 else delta.scaled(plan.scale)
        if rank is not None and delta.rank > rank:
            delta = delta.truncated(rank)
        # the scale of a file's factors says nothing of these
        notes = {key: value for key, value in delta.notes.items() if key != SCALE_NOTE}
        return replace(delta.to(kind), notes={**notes, "way_error": joint.error})

    def merged_vector(name: str) -> Tensor:
        return _merge_vectors(name, [m.vectors.get(name) for m in modules], plans[name])

    return Module(
        name=f"{method if isinstance(method, str) else 'merge'}({', '.join(m.name for m in modules)})",
        deltas=LazyMapping(list(names), merged) if streaming else _eager(list(names), merged, progress),
        layouts=layouts,
        vectors=LazyMapping(list(vectors), merged_vector) if streaming else {n: merged_vector(n) for n in vectors},
        config=common_config(modules),
        stored=common_stored(modules, (*names, *vectors)),
    )


def _require_modules(modules: Sequence[Module]) -> None:
    if not modules:
        raise ValueError("modules: expected at least one, got none")
    for m in modules:
        if m.magnitudes or m.replaced:
            some = next(iter({**m.magnitudes, **m.replaced}))
            raise ValueError(
                f"{m.name}: expected changes, got full values whose change is known only beside the base model "
                f"({some}); use module.against(base)"
            )


def _prepare(
    plans: Mapping[str, Plan], joint_of: Callable[[str], Joint], kept: dict[str, Callable[[], Joint]] | None
) -> dict[str, Mapping[str, Any]]:
    """What methods that look at the whole model first, such as TIES, work out for their weights."""
    prepared: dict[str, Mapping[str, Any]] = {}
    groups: list[tuple[Plan, list[str]]] = []
    for name, plan in plans.items():
        if plan.method.prepare is None:
            continue
        group = next((g for p, g in groups if p.method is plan.method and p.options == plan.options), None)
        if group is None:
            groups.append((plan, [name]))
        else:
            group.append(name)
    for plan, names in groups:
        assert plan.method.prepare is not None
        found = plan.method.prepare(_Joints(names, joint_of, kept), **plan.options)
        prepared.update(dict.fromkeys(names, found))
    return prepared


class _Joints(Iterable[Joint]):
    """The joint bases of some weights, one at a time: made anew for each pass, or kept from the first."""

    def __init__(
        self, names: Sequence[str], joint_of: Callable[[str], Joint], kept: dict[str, Callable[[], Joint]] | None
    ) -> None:
        self._names, self._joint_of, self._kept = names, joint_of, kept

    def __iter__(self) -> Iterator[Joint]:
        for name in self._names:
            if self._kept is not None and name in self._kept:
                yield self._kept[name]()
                continue
            joint = self._joint_of(name)
            if self._kept is not None:
                self._kept[name] = joint.packed()
            yield joint


def _eager(
    names: Sequence[str], compute: Callable[[str], Delta], progress: Callable[[int, int], None] | None
) -> dict[str, Delta]:
    done: dict[str, Delta] = {}
    for name in names:
        done[name] = compute(name)
        if progress is not None:
            progress(len(done), len(names))
    return done


def _merge_vectors(name: str, vectors: Sequence[Tensor | None], plan: Plan) -> Tensor:
    given = [v for v in vectors if v is not None]
    shapes = {tuple(v.shape) for v in given}
    if len(shapes) > 1:
        raise ValueError(f"{name}: expected one shape in all modules, got {sorted(shapes)}")
    kind = reduce(torch.promote_types, [v.dtype for v in given])
    # a module of weight 0 is as good as absent, in a mean too
    used = [(v, w) for v, w in zip(vectors, plan.weights.tolist(), strict=True) if v is not None and w != 0]
    if not used:
        return torch.zeros_like(given[0], dtype=kind)
    total = torch.stack([v.to(plan.weights.dtype) * w for v, w in used]).sum(0)
    if not bool(total.isfinite().all()):
        raise ValueError(f"{name}: expected finite changes, got NaN or infinity; repair the modules that change it")
    if plan.method.vectors == "proportion" and any(w < 0 for _, w in used):
        raise ValueError(f"{name}: weights: expected numbers >= 0 of which only proportions count, got {plan.weights}")
    parts = {"sum": 1.0, "mean": float(len(used)), "proportion": sum(w for _, w in used)}
    return (total * (plan.scale / parts[plan.method.vectors])).to(kind)


def _require_held(joint: Joint, modules: Sequence[Module], dtype: torch.dtype) -> None:
    """Raise ``ValueError`` unless the joint basis holds every update."""
    if joint.error <= way_tolerance(dtype):
        return
    for m, update in zip(modules, joint.updates, strict=True):
        if update is None:
            continue
        sides = (update.left, update.right) if isinstance(update, LowRank) else (update.matrix,)
        kind = "holds NaN or infinity" if not all(bool(x.isfinite().all()) for x in sides) else ""
        if not kind and not bool(update.to(dtype).norm().isfinite()):
            kind = f"exceeds the range of {dtype}"
        if kind:
            raise ValueError(
                f"{joint.name}: expected finite updates, got one of module {m.name!r} that {kind}; repair the module, "
                "leave it out or give it weight 0"
            )
    remedy = "truncate the module first" if dtype == torch.float64 else "merge in dtype=torch.float64"
    raise ValueError(
        f"{joint.name}: expected every update to survive its way into the joint basis and back to "
        f"{way_tolerance(dtype):g}, got {joint.error:.1e}; the product of its factors is small beside them, so that "
        f"rounding in {dtype} shows: {remedy}"
    )

"""Joining modules: every weight into its joint basis, through a method, and out again."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.merging.core import Joint, join
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods import METHODS, Method
from hyperspectral_geo.merging.module import Layout, LazyMapping, Module

__all__ = ["WAY_TOLERANCE", "LayerRule", "merge"]

WAY_TOLERANCE = 1e-6
"""Largest relative error of a module on its way into the joint basis and back; beyond it a merge is refused."""


@dataclass(frozen=True)
class LayerRule:
    """Other settings for the weights whose names match a pattern; None keeps what ``merge`` was given.

    Attributes:
        pattern: as in a shell, "*.attention.*"; of several rules the first that matches counts.
        weights: one number a module.
        scale: factor on the merged update.
        method: a method's name or a ``Method``.
        options: of the method, over those given to ``merge``.
    """

    pattern: str
    weights: Sequence[float] | None = None
    scale: float | None = None
    method: str | Method | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """What is done with one weight."""

    method: Method
    weights: Tensor
    scale: float
    options: Mapping[str, Any]


def merge(
    modules: Sequence[Module],
    *,
    method: str | Method = "tsv",
    weights: Sequence[float] | None = None,
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
        weights: w_t, one number a module, ones by default; negative ones subtract a module.
        scale: α, factor on the merged update.
        rank: cut each merged update to this rank; methods with an option ``rank``, as "svd", work at that rank.
        rules: other settings for some weights, see ``LayerRule``.
        dtype: the kind in which cores and bases are computed; results come back in the modules' own kind.
        progress: called as ``progress(done, all)`` after each weight.
        options: of the method, such as ``density``.

    Returns:
        The merged module; its deltas are computed here, or when asked for if a module streams from a checkpoint.
        Each delta's ``notes`` hold the error of the way into the basis and back, and what the method reports.

    Raises:
        ValueError: for modules of other base models or shapes, parameters known only beside a base, unknown methods
            or options, or an update that the joint basis does not hold to ``WAY_TOLERANCE``.
    """
    _require_modules(modules)
    names = dict.fromkeys(name for m in modules for name in m.deltas)
    vectors = dict.fromkeys(name for m in modules for name in m.vectors)
    given = options if rank is None else {**options, "rank": rank}
    plans = {n: _plan(n, len(modules), method, weights, scale, rules, given, dtype) for n in (*names, *vectors)}
    layouts = {name: _common_layout(name, modules) for name in names}
    streaming = any(isinstance(m.deltas, LazyMapping) for m in modules)

    def joint_of(name: str) -> Joint:
        deltas = [m.deltas.get(name) for m in modules]
        # a module of weight 0 is as good as absent, and so has no part in the basis either
        used = [d if w else None for d, w in zip(deltas, plans[name].weights.tolist(), strict=True)]
        joint = join(name, used if any(d is not None for d in used) else deltas, dtype=dtype)
        if not joint.error <= WAY_TOLERANCE:
            raise ValueError(
                f"{name}: expected every update to survive its way into the joint basis and back to "
                f"{WAY_TOLERANCE:g}, got {joint.error:.1e}; its factors cancel: truncate the module first"
            )
        return joint

    kept: dict[str, Callable[[], Joint]] = {}
    prepared = _prepare({n: plans[n] for n in names}, joint_of, None if streaming else kept)

    def merged(name: str) -> Delta:
        joint, plan = kept.pop(name, lambda: joint_of(name))(), plans[name]
        given = next(d for m in modules if (d := m.deltas.get(name)) is not None)
        delta = plan.method.layer(joint, plan.weights, **plan.options, **prepared.get(name, {}))
        delta = delta if plan.scale == 1 else delta.scaled(plan.scale)
        if rank is not None and delta.rank > rank:
            delta = delta.truncated(rank)
        return replace(delta.to(given.dtype), notes={**delta.notes, "way_error": joint.error})

    def merged_vector(name: str) -> Tensor:
        return _merge_vectors(name, [m.vectors.get(name) for m in modules], plans[name])

    return Module(
        name=f"{method if isinstance(method, str) else 'merge'}({', '.join(m.name for m in modules)})",
        deltas=LazyMapping(list(names), merged) if streaming else _eager(list(names), merged, progress),
        layouts=layouts,
        vectors=LazyMapping(list(vectors), merged_vector) if streaming else {n: merged_vector(n) for n in vectors},
        config=_common_config(modules),
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


def _plan(
    name: str,
    count: int,
    method: str | Method,
    weights: Sequence[float] | None,
    scale: float,
    rules: Sequence[LayerRule],
    options: Mapping[str, Any],
    dtype: torch.dtype,
) -> _Plan:
    rule = next((r for r in rules if fnmatchcase(name, r.pattern)), LayerRule("*"))
    chosen = _method(method if rule.method is None else rule.method)
    # merge's own rank is an option of some methods, and options given for all weights may be another method's
    options = {k: v for k, v in options.items() if k in chosen.options or (rule.method is None and k != "rank")}
    chosen.require_options({**options, **rule.options}, method=rule.method or method)
    return _Plan(
        method=chosen,
        weights=_module_weights(weights if rule.weights is None else rule.weights, count).to(dtype),
        scale=scale if rule.scale is None else rule.scale,
        options={**options, **rule.options},
    )


def _method(method: str | Method) -> Method:
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        near = difflib.get_close_matches(method, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(METHODS)}"
        raise ValueError(f"method: no method is called {method!r}; {hint}")
    return METHODS[method]


def _module_weights(weights: Sequence[float] | None, count: int) -> Tensor:
    w = torch.ones(count, dtype=torch.float64) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
    if w.shape != (count,) or not bool(w.isfinite().all()) or not bool(w.any()):
        raise ValueError(f"weights: expected {count} finite numbers, one a module, not all zero, got {weights!r}")
    return w


def _prepare(
    plans: Mapping[str, _Plan], joint_of: Callable[[str], Joint], kept: dict[str, Callable[[], Joint]] | None
) -> dict[str, Mapping[str, Any]]:
    """What methods that look at the whole model first, such as TIES, work out for their weights."""
    prepared: dict[str, Mapping[str, Any]] = {}
    groups: list[tuple[_Plan, list[str]]] = []
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


def _merge_vectors(name: str, vectors: Sequence[Tensor | None], plan: _Plan) -> Tensor:
    present = [(v, w) for v, w in zip(vectors, plan.weights, strict=True) if v is not None]
    shapes = {tuple(v.shape) for v, _ in present}
    if len(shapes) > 1:
        raise ValueError(f"{name}: expected one shape in all modules, got {sorted(shapes)}")
    total = sum(v.to(plan.weights.dtype) * w for v, w in present)
    share = plan.scale / (len(present) if plan.method.vectors == "mean" else 1)
    return (torch.as_tensor(total) * share).to(present[0][0].dtype)


def _common_layout(name: str, modules: Sequence[Module]) -> Layout:
    layouts = {m.layouts[name]: m.name for m in modules if name in m.layouts}
    if len(layouts) > 1:
        (a, first), (b, second), *_ = layouts.items()
        raise ValueError(
            f"{name}: expected one layout in all modules, got {a.kind} {a.shape} in {first} and {b.kind} {b.shape} in "
            f"{second}; the modules belong to different base models"
        )
    return next(iter(layouts))


def _common_config(modules: Sequence[Module]) -> dict[str, Any]:
    """The entries on which all modules agree; another base model is refused."""
    bases = {m.config.get("base_model_name_or_path"): m.name for m in modules}
    bases.pop(None, None)
    if len(bases) > 1:
        raise ValueError(
            f"modules: expected one base model, got {', '.join(f'{b} ({m})' for b, m in bases.items())}; "
            "merge modules of one base, or load them with base_name= where the names mean the same model"
        )
    first = modules[0].config
    return {k: v for k, v in first.items() if all(m.config.get(k, v) == v for m in modules)}

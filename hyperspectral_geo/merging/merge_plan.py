"""What is done with each weight of a merge: method, weights, scale and options, and what the modules have in common."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hyperspectral_geo.merging.methods import METHODS, Method
from hyperspectral_geo.merging.module import Layout, LazyMapping, Module

__all__ = [
    "LayerRule",
    "ModuleWeights",
    "Plan",
    "common_config",
    "common_layout",
    "common_stored",
    "module_weights",
    "plans_of",
    "require_rank",
    "require_scale",
]

ModuleWeights: TypeAlias = Sequence[float] | Mapping[str, float]
"""One number a module in their order, or numbers by module name, 1 for a module that is not named."""


@dataclass(frozen=True)
class LayerRule:
    """Other settings for the weights whose names match a pattern; None keeps what ``merge`` was given.

    Attributes:
        pattern: as in a shell, "*.attention.*"; of several rules the first that matches counts.
        weights: one number a module, or numbers by module name.
        scale: factor on the merged update.
        method: a method's name or a ``Method``.
        options: of the method, over those given to ``merge``.
    """

    pattern: str
    weights: ModuleWeights | None = None
    scale: float | None = None
    method: str | Method | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scale is not None:
            require_scale(self.scale, f"LayerRule({self.pattern!r}): scale")


@dataclass(frozen=True)
class Plan:
    """What is done with one weight."""

    method: Method
    weights: Tensor
    scale: float
    options: Mapping[str, Any]


def plans_of(
    parameters: Iterable[str],
    modules: Sequence[str],
    method: str | Method,
    weights: ModuleWeights | None,
    scale: float,
    rules: Sequence[LayerRule],
    options: Mapping[str, Any],
    dtype: torch.dtype,
) -> dict[str, Plan]:
    """The plan of each parameter; ``modules`` are their names.

    Raises:
        ValueError: for a rule that matches no parameter, unknown methods or options, or weights or a scale that are no
            finite numbers.
    """
    require_scale(scale, "scale")
    names = list(parameters)
    for rule in rules:
        if not any(fnmatchcase(name, rule.pattern) for name in names):
            near = difflib.get_close_matches(rule.pattern, names, n=1, cutoff=0.0)
            hint = f"; the nearest weight is {near[0]!r}" if near else "; the modules change no weight"
            raise ValueError(f"rules: expected patterns that match a weight, got {rule.pattern!r}, matching none{hint}")

    def plan(name: str) -> Plan:
        rule = next((r for r in rules if fnmatchcase(name, r.pattern)), LayerRule("*"))
        chosen = _method(method if rule.method is None else rule.method)
        # merge's own rank is an option of some methods, and options given for all weights may be another method's
        fitting = {k: v for k, v in options.items() if k in chosen.options or (rule.method is None and k != "rank")}
        chosen.require_options({**fitting, **rule.options}, method=rule.method or method)
        return Plan(
            method=chosen,
            weights=module_weights(weights if rule.weights is None else rule.weights, modules).to(dtype),
            scale=scale if rule.scale is None else rule.scale,
            options={**fitting, **rule.options},
        )

    return {name: plan(name) for name in names}


def module_weights(weights: object, modules: Sequence[str]) -> Tensor:
    """One weight a module, (T,) in float64, from what ``merge`` takes as ``weights``: ones by default.

    Raises:
        ValueError: for other than one finite number a module, for zeros only, or a name that no module has.
    """
    count = len(modules)
    given: Any = [1.0] * count if weights is None else weights
    if isinstance(given, Mapping):
        unknown = next((name for name in given if name not in modules), None)
        if unknown is not None:
            raise ValueError(f"weights: no module is called {unknown!r}; expected names among {', '.join(modules)}")
        twice = next((name for name in given if list(modules).count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f"weights: {list(modules).count(twice)} modules share the name {twice!r}; give one number a module"
            )
        given = [given.get(name, 1.0) for name in modules]
    try:
        w = None if isinstance(given, (str, bytes)) else torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        w = None
    if w is None or w.shape != (count,) or not bool(w.isfinite().all()) or not bool(w.any()):
        raise ValueError(f"weights: expected {count} finite numbers, one a module, not all zero, got {weights!r}")
    return w


def require_scale(scale: Any, where: str) -> None:
    """Raise ``ValueError`` unless ``scale`` is a finite number."""
    try:
        finite = not isinstance(scale, str) and math.isfinite(scale)
    except TypeError:
        finite = False
    if not finite:
        raise ValueError(f"{where}: expected a finite number, got {scale!r}")


def require_rank(rank: object) -> None:
    """Raise ``ValueError`` unless ``rank`` is None or a whole number of at least 1."""
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise ValueError(f"rank: expected a whole number of at least 1, got {rank!r}; pass None to keep all")


def _method(method: str | Method) -> Method:
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        near = difflib.get_close_matches(method, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(METHODS)}"
        raise ValueError(f"method: no method is called {method!r}; {hint}")
    return METHODS[method]


def common_layout(name: str, modules: Sequence[Module]) -> Layout:
    """How the modules take a weight to be stored; two ways are refused."""
    layouts = {m.layouts[name]: m.name for m in modules if name in m.layouts}
    if len(layouts) > 1:
        (a, first), (b, second), *_ = layouts.items()
        raise ValueError(
            f"{name}: expected one layout in all modules, got {a.kind} {a.shape} in {first} and {b.kind} {b.shape} in "
            f"{second}; the modules belong to different base models"
        )
    return next(iter(layouts))


def common_config(modules: Sequence[Module]) -> dict[str, Any]:
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


def common_stored(modules: Sequence[Module], names: Iterable[str]) -> dict[str, torch.dtype]:
    """The widest kind in which a parameter is stored by the modules; no entry where none says, or one cannot be asked.

    What streams is not read for this: without an entry the parameter is stored in the kind it is held in.
    """
    found: dict[str, torch.dtype] = {}
    for name in names:
        kinds = [_stored(m, name) for m in modules if name in m.deltas or name in m.vectors]
        if any(name in m.stored for m in modules) and None not in kinds:
            found[name] = reduce(torch.promote_types, [kind for kind in kinds if kind is not None])
    return found


def _stored(module: Module, name: str) -> torch.dtype | None:
    if name in module.stored:
        return module.stored[name]
    held = module.deltas if name in module.deltas else module.vectors
    return None if isinstance(held, LazyMapping) else held[name].dtype

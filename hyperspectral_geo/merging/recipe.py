"""A merge written down: a YAML file in the manner of mergekit, read with suspicion."""

from __future__ import annotations

import difflib
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from hyperspectral_geo.merging.merge import LayerRule

__all__ = ["DTYPES", "Recipe", "read_recipe"]

_MOST_BYTES = 1 << 20
_LARGEST = 1e30
DTYPES = ("float32", "float16", "bfloat16", "float64")
"""Kinds of number that a merged module can be stored in."""

_KEYS = ("merge_method", "base_model", "models", "parameters", "dtype", "rank", "rules")
_MODEL_KEYS = ("model", "parameters")
_RULE_KEYS = ("pattern", "merge_method", "weights", "scale", "parameters")
# mergekit's names for what has another name here.
_METHODS = {"task_arithmetic": "linear", "dare_linear": "dare"}


@dataclass(frozen=True)
class Recipe:
    """What to merge, and how.

    Attributes:
        models: folders of adapters or checkpoints.
        method: a name from ``methods.METHODS``.
        weights: w_t, one a model.
        base: the base model's folder, needed for checkpoints.
        scale: factor on the merged update.
        rank: cut each merged update to this rank.
        options: of the method.
        rules: other settings for some weights.
        dtype: kind of number to store in, None for the models' own.
        source: the file it was read from.
    """

    models: tuple[Path, ...]
    method: str = "tsv"
    weights: tuple[float, ...] = ()
    base: Path | None = None
    scale: float = 1.0
    rank: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[LayerRule, ...] = ()
    dtype: str | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models: expected at least one, got none")
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(f"weights: expected {len(self.models)} numbers, one a model, got {len(self.weights)}")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.rank is not None and (isinstance(self.rank, bool) or self.rank < 1):
            raise ValueError(f"rank: expected a whole number >= 1, got {self.rank!r}")
        if not self.weights:
            object.__setattr__(self, "weights", (1.0,) * len(self.models))


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a YAML recipe: mergekit's keys where they mean the same, and rules for some of the weights.

    ::

        merge_method: ties
        base_model: base            # folders are looked for beside the recipe
        models:
          - model: cat
            parameters: {weight: 0.5}
          - model: dog
        parameters: {density: 0.3, scale: 1.0}
        dtype: float16
        rules:
          - pattern: "*.attention.*"
            merge_method: svd

    ``parameters`` holds the method's options, and ``scale`` (mergekit's ``lambda``); a ``density`` a model is accepted
    if all have the same. The base model among the models is passed over. ``task_arithmetic`` is ``linear`` and
    ``dare_linear`` is ``dare``.

    Raises:
        ValueError: naming the file and the key: an unknown one (with the nearest known), one that occurs twice, a value
            of another kind, anchors and aliases, more than 1 MiB, what is no YAML.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"{path}: expected a recipe of at most {_MOST_BYTES} bytes, got more")
    try:
        data = yaml.load(raw, Loader=_Loader)  # a SafeLoader, with more refusals
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML, got an error: {' '.join(str(error).split())[:300]}") from error
    try:
        return replace(_recipe(data, path.parent), source=path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice, of which YAML keeps the last, and aliases, which can blow up."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "aliases are not accepted; write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"expected texts as keys, got {name!r}", key.start_mark
                )
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} occurs twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def _recipe(data: object, folder: Path) -> Recipe:
    top = _mapping("the file", data, _KEYS)
    base = None if top.get("base_model") is None else folder / _text("base_model", top["base_model"])
    models, weights, own = [], [], []
    for number, entry in enumerate(_list("models", top.get("models"))):
        where = f"models[{number}]"
        model = _mapping(where, entry, _MODEL_KEYS)
        path = folder / _text(f"{where}: model", model.get("model"))
        if base is not None and path == base:
            continue
        parameters = _mapping(f"{where}: parameters", model.get("parameters") or {}, ("weight", "density"))
        models.append(path)
        weights.append(_number(f"{where}: weight", parameters.get("weight", 1.0)))
        own.append(parameters.get("density"))
    options = dict(_mapping("parameters", top.get("parameters") or {}, None))
    scale = _scale(options)
    options |= _density(own, options)
    rank = top.get("rank")
    if rank is not None and type(rank) is not int:
        raise ValueError(f"rank: expected a whole number >= 1, got {rank!r}")
    return Recipe(
        models=tuple(models),
        method=_method("merge_method", top.get("merge_method", "tsv")),
        weights=tuple(weights),
        base=base,
        scale=1.0 if scale is None else scale,
        rank=rank,
        options=_without_neutral(options),
        rules=tuple(_rule(n, entry, len(models)) for n, entry in enumerate(_list("rules", top.get("rules") or []))),
        dtype=None if top.get("dtype") is None else _text("dtype", top["dtype"]),
    )


def _rule(number: int, entry: object, count: int) -> LayerRule:
    where = f"rules[{number}]"
    rule = _mapping(where, entry, _RULE_KEYS)
    options = dict(_mapping(f"{where}: parameters", rule.get("parameters") or {}, None))
    inside = _scale(options)
    weights = rule.get("weights")
    if weights is not None:
        weights = [_number(f"{where}: weights", w) for w in _list(f"{where}: weights", weights)]
        if len(weights) != count:
            raise ValueError(f"{where}: weights: expected {count} numbers, one a model, got {len(weights)}")
    return LayerRule(
        pattern=_text(f"{where}: pattern", rule.get("pattern")),
        weights=weights,
        scale=_number(f"{where}: scale", rule["scale"]) if rule.get("scale") is not None else inside,
        method=None if rule.get("merge_method") is None else _method(f"{where}: merge_method", rule["merge_method"]),
        options=_without_neutral(options),
    )


def _method(where: str, name: object) -> str:
    return _METHODS.get(_text(where, name), str(name))


def _scale(options: dict[str, Any]) -> float | None:
    """Take ``scale``, or mergekit's ``lambda``, out of the options."""
    given = [(key, options.pop(key)) for key in ("scale", "lambda") if key in options]
    if len(given) > 1:
        raise ValueError("parameters: expected one of scale and lambda, which mean the same, got both")
    return _number(f"parameters: {given[0][0]}", given[0][1]) if given else None


def _density(own: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    found = {d for d in own if d is not None}
    if not found:
        return {}
    if len(found) > 1 or None in own or "density" in options:
        raise ValueError(
            f"models: expected one density for all models, got {', '.join(str(d) for d in own)}; densities that differ "
            "are not supported, write it once under parameters"
        )
    return {"density": _number("density", found.pop())}


def _without_neutral(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without mergekit's settings that say what is done here anyway, and with lists as tuples."""
    neutral = {"normalize": False, "int8_mask": None}
    for key, value in neutral.items():
        if key in options and value is not None and options[key] is not value:
            raise ValueError(f"parameters: {key}: {options[key]!r} is not supported; give weights that sum to one")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items() if k not in neutral}


def _mapping(where: str, value: object, known: Sequence[str] | None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected keys and values, got {value!r:.60}")
    for key in value:
        if known is not None and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r:.60}; {hint}")
    return value


def _list(where: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list, got {value!r:.60}")
    return value


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: expected a text, got {value!r:.60}")
    return value


def _number(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise ValueError(
            f"{where}: expected a finite number, got {value!r:.60}; in YAML 1e-3 is a text, 1.0e-3 a number"
        )
    return float(value)

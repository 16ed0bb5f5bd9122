"""A merge written down: a YAML file in the manner of mergekit, read with suspicion."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from hyperspectral_geo.merging.merge import LayerRule
from hyperspectral_geo.merging.recipe_values import StrictLoader, list_of, mapping_of, number_of, text_of

__all__ = ["DTYPES", "Recipe", "read_recipe"]

_MOST_BYTES = 1 << 20
DTYPES = ("float32", "float16", "bfloat16", "float64")
"""Kinds of number that a merged module can be stored in."""

_KEYS = ("merge_method", "base_model", "models", "parameters", "dtype", "rank", "rules")
_MODEL_KEYS = ("model", "parameters")
_RULE_KEYS = ("pattern", "merge_method", "weights", "scale", "parameters")
# mergekit's names for what has another name here.
_METHODS = {"task_arithmetic": "linear", "dare_linear": "dare"}
# mergekit divides by the sum of the weights in these unless told otherwise, which is not done here.
_NORMALIZED = ("linear", "ties", "della")
_NOT_OPTIONS = {
    **{name: f"--{name} or {name}=" for name in ("weights", "scale", "method", "dtype")},
    **{"rules": "a recipe with rules", "modules": "the recipe's models", "progress": "run_recipe(progress=)"},
}


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
        for name in (name for name in self.options if name in _NOT_OPTIONS):
            raise ValueError(f"options: {name} is no option of a method; use {_NOT_OPTIONS[name]}")
        if "rank" in self.options:  # some methods have it as an option, and merge hands its own on to these
            rest = {key: value for key, value in self.options.items() if key != "rank"}
            if self.rank not in (None, self.options["rank"]):
                raise ValueError(
                    f"rank: expected it once, got {self.rank} and, among the options, {self.options['rank']}"
                )
            object.__setattr__(self, "rank", self.options["rank"])
            object.__setattr__(self, "options", rest)
        if self.rank is not None and (type(self.rank) is not int or self.rank < 1):
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
        data = yaml.load(raw, Loader=StrictLoader)  # a SafeLoader, with more refusals
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML, got an error: {' '.join(str(error).split())[:300]}") from error
    try:
        return replace(_recipe(data, path.parent), source=path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _recipe(data: object, folder: Path) -> Recipe:
    top = mapping_of("the file", data, _KEYS)
    base = None if top.get("base_model") is None else folder / text_of("base_model", top["base_model"])
    models, weights, own, whole, weighted = [], [], [], 0.0, False
    for number, entry in enumerate(list_of("models", top.get("models"))):
        where = f"models[{number}]"
        model = mapping_of(where, entry, _MODEL_KEYS)
        path = folder / text_of(f"{where}: model", model.get("model"))
        parameters = mapping_of(f"{where}: parameters", model.get("parameters") or {}, ("weight", "density"))
        weight = number_of(f"{where}: weight", parameters.get("weight", 0.0 if path == base else 1.0))
        whole += weight
        weighted |= "weight" in parameters
        if base is not None and path == base:
            continue
        models.append(path)
        weights.append(weight)
        own.append(parameters.get("density"))
    options = dict(mapping_of("parameters", top.get("parameters") or {}, None))
    if weighted:
        weights = _normalized(top.get("merge_method"), options, weights, whole)
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
        rules=tuple(_rule(n, entry, len(models)) for n, entry in enumerate(list_of("rules", top.get("rules") or []))),
        dtype=None if top.get("dtype") is None else text_of("dtype", top["dtype"]),
    )


def _rule(number: int, entry: object, count: int) -> LayerRule:
    where = f"rules[{number}]"
    rule = mapping_of(where, entry, _RULE_KEYS)
    options = dict(mapping_of(f"{where}: parameters", rule.get("parameters") or {}, None))
    inside = _scale(options)
    weights = rule.get("weights")
    if weights is not None:
        weights = [number_of(f"{where}: weights", w) for w in list_of(f"{where}: weights", weights)]
        if len(weights) != count:
            raise ValueError(f"{where}: weights: expected {count} numbers, one a model, got {len(weights)}")
    return LayerRule(
        pattern=text_of(f"{where}: pattern", rule.get("pattern")),
        weights=weights,
        scale=number_of(f"{where}: scale", rule["scale"]) if rule.get("scale") is not None else inside,
        method=None if rule.get("merge_method") is None else _method(f"{where}: merge_method", rule["merge_method"]),
        options=_without_neutral(options),
    )


def _normalized(method: object, options: dict[str, Any], weights: list[float], whole: float) -> list[float]:
    """The weights as mergekit would use them; ``whole`` counts the base's too. Takes a ``normalize`` that is done."""
    if method in _NORMALIZED and "normalize" not in options:
        raise ValueError(
            f"parameters: normalize: expected it beside {method} with weights, got none; mergekit then divides by the "
            "sum of the weights, which is not done here: write normalize: false"
        )
    if method not in ("linear", "task_arithmetic") or options.get("normalize") is not True:
        return weights
    if whole == 0:
        raise ValueError("parameters: normalize: expected weights whose sum is not zero, got a sum of 0")
    del options["normalize"]
    return [weight / whole for weight in weights]


def _method(where: str, name: object) -> str:
    return _METHODS.get(text_of(where, name), str(name))


def _scale(options: dict[str, Any]) -> float | None:
    """Take ``scale``, or mergekit's ``lambda``, out of the options."""
    given = [(key, options.pop(key)) for key in ("scale", "lambda") if key in options]
    if len(given) > 1:
        raise ValueError("parameters: expected one of scale and lambda, which mean the same, got both")
    return number_of(f"parameters: {given[0][0]}", given[0][1]) if given else None


def _density(own: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    found = {d for d in own if d is not None}
    if not found:
        return {}
    if len(found) > 1 or None in own or "density" in options:
        raise ValueError(
            f"models: expected one density for all models, got {', '.join(str(d) for d in own)}; densities that differ "
            "are not supported, write it once under parameters"
        )
    return {"density": number_of("density", found.pop())}


def _without_neutral(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without mergekit's settings that say what is done here anyway, and with lists as tuples."""
    neutral = {"normalize": False, "int8_mask": None}
    for key, value in neutral.items():
        if key in options and value is not None and options[key] is not value:
            raise ValueError(f"parameters: {key}: {options[key]!r} is not supported; give weights that sum to one")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items() if k not in neutral}

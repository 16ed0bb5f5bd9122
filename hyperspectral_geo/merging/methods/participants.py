"""The modules that take part in the merge of one weight, and refusals that several methods share."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import UnionType
from typing import Any

from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint

__all__ = ["require_choice", "require_kinds", "require_no_negative", "require_share", "taking_part"]


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
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: expected a number, got {value!r}")
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


def require_kinds(layer: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for an option whose value is of another kind than the method's signature says.

    Looked at are numbers, texts, choices and tuples of these; names that the method does not have are passed over, and
    so is what only Python can make, such as statistics of tensors, unless something plain stands in its place.
    """
    kinds = typing.get_type_hints(layer)
    for name, parameter in inspect.signature(layer).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name in options:
            value, kind = options[name], kinds.get(name, Any)
            if not _is_kind(value, kind):
                raise ValueError(f"{name}: expected {_said(kind)}, got {value!r:.60}")


def _is_kind(value: object, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        return any(_is_kind(value, one) for one in arguments)
    if origin is typing.Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, tuple | list) and all(_is_kind(one, arguments[0]) for one in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (str, bool, type(None)):
        return isinstance(value, kind)
    return kind is Any or not _is_plain(value)


def _is_plain(value: object) -> bool:
    """Whether a command line or a file could say it."""
    if isinstance(value, dict):
        return any(_is_plain(one) for one in value.values()) or not value
    if isinstance(value, list | tuple):
        return any(_is_plain(one) for one in value) or not value
    return value is None or isinstance(value, bool | int | float | str)


def _said(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        return " or ".join(dict.fromkeys(_said(one) for one in arguments))
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple:
        return f"a list, each of it {_said(arguments[0])}"
    names = {float: "a finite number", int: "a whole number", str: "a text", bool: "true or false", type(None): "none"}
    return names.get(kind, "what only Python can make; merge in Python")

"""The values of a YAML recipe, each checked for its kind; nothing in the file is run."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import yaml

__all__ = ["StrictLoader", "list_of", "mapping_of", "number_of", "text_of"]

_LARGEST = 1e30


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice, of which YAML keeps the last, and aliases, which can blow up."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node that is no alias."""
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "aliases are not accepted; write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Keys and values, each key once."""
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


def mapping_of(where: str, value: object, known: Sequence[str] | None) -> Mapping[str, Any]:
    """Keys and values, the keys among the ``known`` ones if these are given; ``where`` is for errors."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected keys and values, got {value!r:.60}")
    for key in value:
        if known is not None and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r:.60}; {hint}")
    return value


def list_of(where: str, value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list, got {value!r:.60}")
    return value


def text_of(where: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: expected a text, got {value!r:.60}")
    return value


def number_of(where: str, value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise ValueError(
            f"{where}: expected a finite number, got {value!r:.60}; in YAML 1e-3 is a text, 1.0e-3 a number"
        )
    return float(value)

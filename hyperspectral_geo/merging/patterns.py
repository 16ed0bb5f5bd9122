"""The regular expressions of an adapter's configuration, matched as peft does, once they are known to end soon."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = ["ends_a_path", "find_pattern", "matches_whole", "require_quick"]

_MOST_REPEATS = 3
_MOST_BRANCHES = 10_000
_MOST_LENGTH = 1 << 20

Value = TypeVar("Value")


def require_quick(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that a stranger wrote.

    Python's matcher has no time limit and needs exponential time for some patterns, so only those are accepted whose
    time is a small power of the name's length: at most three repeats, none of them around a group, at most 10,000 ways
    through the branching groups, no lookarounds and no backreferences.

    Raises:
        ValueError: naming what is not accepted.

    Example:
        >>> require_quick("layers.[0-9]+.(q|v)_proj").pattern
        'layers.[0-9]+.(q|v)_proj'
        >>> require_quick("(a+)+")
        Traceback (most recent call last):
        ValueError: the pattern '(a+)+' repeats a group, which is not accepted; write it out
    """
    shown = ascii(pattern)[:100]
    if len(pattern) > _MOST_LENGTH:
        raise ValueError(f"the pattern {shown} has {len(pattern)} characters, expected at most {_MOST_LENGTH}")
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the pattern {shown} is no regular expression ({error})") from error
    repeats, ways, before = 0, 1, ""
    branches: list[int] = []  # of each open group
    for token in re.findall(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?.|.", pattern, re.DOTALL):
        if (token.startswith("(?") and token != "(?:") or re.fullmatch(r"\\[1-9]", token):
            raise ValueError(f"the pattern {shown} uses {token!r}, which is not accepted; use plain groups")
        if token in "*+{?" and before == ")":
            raise ValueError(f"the pattern {shown} repeats a group, which is not accepted; write it out")
        if token in "*+{?" and before not in ("*", "+", "}", "?"):  # after those it only says how greedy they are
            repeats += 1
        if token.startswith("("):
            branches.append(1)
        elif token == "|" and branches:
            branches[-1] += 1
        elif token == ")" and branches:
            ways *= branches.pop()
        before = token
    if repeats > _MOST_REPEATS:
        raise ValueError(f"the pattern {shown} repeats {repeats} times, expected at most {_MOST_REPEATS}")
    if ways > _MOST_BRANCHES:
        raise ValueError(f"the pattern {shown} branches {ways} ways, expected at most {_MOST_BRANCHES}")
    return compiled


def find_pattern(patterns: Mapping[str, Value], path: str, default: Value) -> Value:
    """The value of the first pattern that matches the end of ``path`` from a dot on, as for peft's rank_pattern.

    A key that matches nothing as a regular expression but equals ``path`` counts too, as it does there.
    """
    for key, value in patterns.items():
        if re.match(rf"(.*\.)?({key})$", path):
            return value
    return patterns.get(path, default)


def matches_whole(patterns: str | Iterable[str], path: str) -> bool:
    """Whether ``path`` is meant by target_modules: a text is a pattern for all of it, a list holds ends of paths."""
    if isinstance(patterns, str):
        return re.fullmatch(patterns, path) is not None
    return any(path == name or path.endswith(f".{name}") for name in patterns)


def ends_a_path(name: str, path: str) -> bool:
    """Whether ``name``, one of modules_to_save, ends ``path`` or the path of a module around it, as peft tests it."""
    parts = path.split(".")
    return any(".".join(parts[:i]).endswith(name) for i in range(1, len(parts) + 1))

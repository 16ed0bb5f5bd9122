"""Readers of real data; ``locate`` finds the files, the other modules return tensors. Loaded lazily, without pickle."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .emoji import EmojiPairs, load_emoji
    from .locate import dataset_path, shared_data_path
    from .wordnet import WordNet, load_wordnet, transitive_closure

__all__ = [
    "EmojiPairs",
    "WordNet",
    "dataset_path",
    "load_emoji",
    "load_wordnet",
    "shared_data_path",
    "transitive_closure",
]

_HOME = {
    "EmojiPairs": "emoji",
    "WordNet": "wordnet",
    "dataset_path": "locate",
    "load_emoji": "emoji",
    "load_wordnet": "wordnet",
    "shared_data_path": "locate",
    "transitive_closure": "wordnet",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds ``name`` when it is first asked for: finding a file should not cost torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

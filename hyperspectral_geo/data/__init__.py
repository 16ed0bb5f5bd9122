"""Readers of real data; ``locate`` finds the files, the other modules return tensors. Loaded lazily, without pickle."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue import CATALOGUE, find_data_set
    from .edge_list import EdgeList, read_edge_list
    from .emoji import EmojiPairs, load_emoji
    from .knowledge_graph import KnowledgeGraph, load_knowledge_graph
    from .locate import dataset_path, shared_data_path
    from .mediawiki import PageLinks, iterate_rows, read_links
    from .page_texts import read_page_texts
    from .taxonomy import Taxonomy, load_taxonomy
    from .wikispeedia import Walk, Wikispeedia, article_text, load_categories, load_walks, load_wikispeedia
    from .wordnet import WordNet, load_wordnet, transitive_closure

__all__ = [
    "CATALOGUE",
    "EdgeList",
    "EmojiPairs",
    "KnowledgeGraph",
    "PageLinks",
    "Taxonomy",
    "Walk",
    "Wikispeedia",
    "WordNet",
    "article_text",
    "dataset_path",
    "find_data_set",
    "iterate_rows",
    "load_categories",
    "load_emoji",
    "load_knowledge_graph",
    "load_taxonomy",
    "load_walks",
    "load_wikispeedia",
    "load_wordnet",
    "read_edge_list",
    "read_links",
    "read_page_texts",
    "shared_data_path",
    "transitive_closure",
]

_HOME = {
    "CATALOGUE": "catalogue",
    "EdgeList": "edge_list",
    "EmojiPairs": "emoji",
    "KnowledgeGraph": "knowledge_graph",
    "PageLinks": "mediawiki",
    "Taxonomy": "taxonomy",
    "Walk": "wikispeedia",
    "Wikispeedia": "wikispeedia",
    "WordNet": "wordnet",
    "article_text": "wikispeedia",
    "dataset_path": "locate",
    "find_data_set": "catalogue",
    "iterate_rows": "mediawiki",
    "load_categories": "wikispeedia",
    "load_emoji": "emoji",
    "load_knowledge_graph": "knowledge_graph",
    "load_taxonomy": "taxonomy",
    "load_walks": "wikispeedia",
    "load_wikispeedia": "wikispeedia",
    "load_wordnet": "wordnet",
    "read_edge_list": "edge_list",
    "read_links": "mediawiki",
    "read_page_texts": "page_texts",
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

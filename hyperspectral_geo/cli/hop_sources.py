"""What ``hsgeo hops`` takes as a graph: a name, a file of links, or a folder of MediaWiki dumps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["GRAPHS", "read_hop_graph", "usual_objective"]

GRAPHS = ("wikispeedia", "wikispeedia-core", "wordnet-mammals", "wordnet-nouns", "taxonomy")
"""Names. A file that is called like one of them is meant by ``./wikispeedia``."""


def usual_objective(source: str) -> str:
    """``hops``; ``links`` or ``tree`` for a named graph that says what is a kind of what."""
    if source == "taxonomy":
        return "tree"
    return "links" if source.startswith("wordnet") and source in GRAPHS else "hops"


def read_hop_graph(
    source: str, *, directed: bool = True, weights: str | None = None, closure: bool = False
) -> HopGraph:
    """The graph that ``source`` names.

    Args:
        source: one of ``GRAPHS``, a file as ``read_graph`` takes it, or a folder as ``read_links`` does.
        directed: if false, each link is also read backwards.
        weights: of a file: its third column, ``length``, ``probability`` or ``ignore``.
        closure: of WordNet: links to all ancestors, not to the next ones only.

    Raises:
        ValueError, OSError, ImportError: as the readers; for an unknown name; for weights of what has none; for the
            closure of the taxonomy, 47 million links.
    """
    from hyperspectral_geo.hyperbolic.graph import HopGraph
    from hyperspectral_geo.hyperbolic.graph_files import read_graph

    path = Path(source)
    if source not in GRAPHS and path.is_file():
        return read_graph(path, directed=directed, weights=weights)  # pyright: ignore[reportArgumentType]
    if weights is not None:
        raise ValueError(f"--weights: expected a file of links with a third column, got {source}; leave it out")
    if source not in GRAPHS and not path.is_dir():
        raise FileNotFoundError(
            f"{source}: expected {', '.join(GRAPHS)}, a file of links or a folder of MediaWiki dumps, got neither"
        )
    found = _named(source, closure) if source in GRAPHS else _dumps(path)
    return HopGraph.from_edges(found.edges, names=found.names, directed=directed)


def _named(source: str, closure: bool) -> Any:
    from hyperspectral_geo.data import load_taxonomy, load_wikispeedia, load_wordnet

    if source == "taxonomy" and closure:
        raise ValueError(
            "--objective: expected tree or hops for the taxonomy, got links, of which its closure has 47 million; tree "
            "ranks all ancestors without storing them"
        )
    if source == "taxonomy":
        return load_taxonomy()
    if source.startswith("wikispeedia"):
        return load_wikispeedia(core=source.endswith("core"))
    return load_wordnet("nouns" if source.endswith("nouns") else "mammals", closure=closure)


def _dumps(folder: Path) -> Any:
    from hyperspectral_geo.data import read_links

    return read_links(folder)

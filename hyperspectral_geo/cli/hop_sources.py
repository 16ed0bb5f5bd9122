"""What ``hsgeo hops`` takes as a graph: a name, a file of links, or a folder of MediaWiki dumps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = [
    "GRAPHS",
    "GRAPH_HELP",
    "Certain",
    "SameDirections",
    "Weights",
    "read_graph_of",
    "read_hop_graph",
    "require_target",
    "usual_objective",
]

GRAPHS = ("wikispeedia", "wikispeedia-core", "wordnet-mammals", "wordnet-nouns", "taxonomy")
"""Names. A file that is called like one of them is meant by ``./wikispeedia``."""

GRAPH_HELP = f"{', '.join(GRAPHS)}; a file .tsv, .csv, .txt (also .gz) or .parquet; a folder of MediaWiki dumps."

Weights = Annotated[str | None, typer.Option(help="Third column of a file: length, probability or ignore.")]
Certain = Annotated[
    float | None, typer.Option(help="Largest probability, such as 0.999: p = 1 counts as this, not as no length.")
]
SameDirections = Annotated[
    bool | None,
    typer.Option(
        "--undirected/--directed", help="Read each link backwards too, or not.", show_default="as in training"
    ),
]


def usual_objective(source: str) -> str:
    """``hops``; ``links`` or ``tree`` for a named graph that says what is a kind of what."""
    if source == "taxonomy":
        return "tree"
    return "links" if source.startswith("wordnet") and source in GRAPHS else "hops"


def read_hop_graph(
    source: str,
    *,
    directed: bool = True,
    weights: str | None = None,
    certain: float | None = None,
    closure: bool = False,
) -> HopGraph:
    """The graph that ``source`` names.

    Args:
        source: one of ``GRAPHS``, a file as ``read_graph`` takes it, or a folder as ``read_links`` does.
        directed: if false, each link is also read backwards.
        weights: of a file: its third column, ``length``, ``probability`` or ``ignore``.
        certain: of probabilities: the largest, as ``read_graph`` takes it.
        closure: of WordNet: links to all ancestors, not to the next ones only.

    Raises:
        ValueError, OSError, ImportError: as the readers; for an unknown name; for weights of what has none; for the
            closure of the taxonomy, 47 million links.
    """
    from hyperspectral_geo.hyperbolic.graph import HopGraph
    from hyperspectral_geo.hyperbolic.graph_files import read_graph

    path = Path(source)
    if certain is not None and (weights not in (None, "probability") or source in GRAPHS or not path.is_file()):
        raise ValueError("--certain: expected a file of links with probabilities, got another; leave --certain out")
    if source not in GRAPHS and path.is_file():
        return read_graph(path, directed=directed, weights=weights, certain=certain)  # pyright: ignore[reportArgumentType]
    if weights is not None:
        raise ValueError(f"--weights: expected a file of links with a third column, got {source}; leave it out")
    if source not in GRAPHS and not path.is_dir():
        raise FileNotFoundError(
            f"{source}: expected {', '.join(GRAPHS)}, a file of links or a folder of MediaWiki dumps, got neither"
        )
    found = _named(source, closure) if source in GRAPHS else _dumps(path)
    return HopGraph.from_edges(found.edges, names=found.names, directed=directed)


def read_graph_of(
    model: HopEmbedding,
    source: str,
    *,
    undirected: bool | None = None,
    weights: str | None = None,
    certain: float | None = None,
    closure: bool = False,
) -> HopGraph:
    """The graph that ``source`` names, read as that of the model's training was where options are left out.

    Raises:
        ValueError: as ``read_hop_graph``; for options that contradict the training; for nodes of other names.
    """
    from hyperspectral_geo.hyperbolic.predictions import require_names

    made = model.provenance
    if made is not None:
        if undirected is made.directed:
            taken, other = ("directed", "--undirected") if undirected else ("undirected", "--directed")
            raise ValueError(f"{other}: expected a graph that is {taken}, as in training; leave it out")
        known = made.weights or (None if made.weighted else "ignore")
        if weights is not None and (weights == "ignore" if known is None else weights != known):
            wanted = "lengths" if made.weighted else "no lengths"
            raise ValueError(f"--weights: expected {wanted}, as in training, got {weights}; leave it out")
        if certain is not None and certain != made.certain:
            raise ValueError(f"--certain: expected {made.certain}, as in training, got {certain}; leave it out")
        undirected = not made.directed
        weights, certain = weights or made.weights, made.certain
    graph = read_hop_graph(source, directed=not undirected, weights=weights, certain=certain, closure=closure)
    require_names(model, graph)
    return graph


def require_target(option: str, path: Path) -> None:
    """Refuse before the work what could not be written after it."""
    from hyperspectral_geo.atomic_write import require_writable

    if path.is_dir() or not path.parent.is_dir():
        wanted = f"{option}: expected a file in an existing folder"
        raise ValueError(f"{wanted}, got {path}; create the folder, or name a file")
    require_writable(path.parent)


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

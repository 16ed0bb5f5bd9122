"""``hsgeo hops``: train models of hop distances, judge them, and ask them for neighbours, ways and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperspectral_geo.cli.hop_judging import evaluate
from hyperspectral_geo.cli.hop_sources import read_hop_graph
from hyperspectral_geo.cli.hop_training import GRAPH_HELP, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["app", "distance", "export", "neighbors", "path", "plot"]

_NAMED = 30

app = typer.Typer(help="Hop distances: train, judge and use models of them.", no_args_is_help=True)
app.command()(train)
app.command("eval")(evaluate)

Model = Annotated[Path, typer.Argument(help="What `hsgeo hops train` wrote.")]
Graph = Annotated[str, typer.Argument(help=GRAPH_HELP)]
Weights = Annotated[str | None, typer.Option(help="Third column of a file: length, probability or ignore.")]
Undirected = Annotated[bool, typer.Option("--undirected", help="Read each link backwards too.")]


@app.command()
def neighbors(
    model: Model,
    name: Annotated[str, typer.Argument(help="A concept, as the graph spells it.")],
    k: Annotated[int, typer.Option("-k", help="How many.", min=1)] = 10,
    into: Annotated[bool, typer.Option("--into", help="Nearest to come from, not to go to.")] = False,
) -> None:
    """List the concepts nearest to one, nearest first, with their distances in hops."""
    from hyperspectral_geo.hyperbolic.neighbors import neighbors

    for found in neighbors(_load(model), name, k, direction="in" if into else "out"):
        typer.echo(f"{found.distance:8.3f}  {_shown(found.name)}")


@app.command()
def distance(
    model: Model,
    source: Annotated[str, typer.Argument(help="From here")],
    target: Annotated[str, typer.Argument(help="to there.")],
) -> None:
    """Print the learned distance between two concepts, in hops."""
    typer.echo(f"{_load(model).distance(source, target):.4f}")


@app.command()
def path(
    model: Model,
    graph: Graph,
    source: Annotated[str, typer.Argument(help="From here")],
    target: Annotated[str, typer.Argument(help="to there.")],
    undirected: Undirected = False,
    weights: Weights = None,
    most: Annotated[int, typer.Option(help="Give up after so many links.", min=1)] = 100,
) -> None:
    """Follow links to where the learned distance to the target is least; exit with 1 where this does not arrive."""
    from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
    from hyperspectral_geo.hyperbolic.routing import route

    found_model, links = _load(model), read_hop_graph(graph, directed=not undirected, weights=weights)
    way = route(found_model, links, source, target, most=most)
    least = int(hop_counts(links, [found_model.index(source)], weighted=False)[0, found_model.index(target)])
    typer.echo(" → ".join(map(_shown, way.names)))
    shortest = f"the shortest way has {least}" if least >= 0 else "no way leads there"
    typer.echo(f"{way.hops} links, {way.stopped}; {shortest}")
    if not way.arrived:
        raise typer.Exit(1)


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Argument(help="A file, or for the projector a folder.")],
    format: Annotated[str, typer.Option(help="word2vec, word2vec-binary, projector or parquet.")],
    poincare: Annotated[
        bool, typer.Option("--poincare", help="Points of the Poincaré ball, not tangents at the origin.")
    ] = False,
) -> None:
    """Write the points in a format that other programs read."""
    from functools import partial

    from hyperspectral_geo.hyperbolic.export import to_parquet, to_projector, to_word2vec

    writers = {
        "word2vec": to_word2vec,
        "word2vec-binary": partial(to_word2vec, binary=True),
        "projector": to_projector,
        "parquet": to_parquet,
    }
    if format not in writers:
        raise ValueError(f"--format: expected {', '.join(writers)}, got {format!r}")
    found = _load(model)
    written = writers[format](found, out, coordinates="poincare" if poincare else "tangents")
    typer.echo(f"{written}: {len(found):,} concepts")


@app.command()
def plot(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, a .png file.")],
    graph: Annotated[str | None, typer.Option(help=f"Draw its links: {GRAPH_HELP}")] = None,
    undirected: Undirected = False,
    weights: Weights = None,
    hops: Annotated[
        bool, typer.Option("--hops", help="Hop counts against distances, for any dimension; needs --graph.")
    ] = False,
) -> None:
    """Draw the Poincaré disk of a two-dimensional model, or hop counts against learned distances."""
    from hyperspectral_geo.plotting import save_picture

    found = _load(model)
    links = None if graph is None else read_hop_graph(graph, directed=not undirected, weights=weights)
    if links is not None:
        from hyperspectral_geo.hyperbolic.predictions import require_names

        require_names(found, links)
    save_picture(out, _scatter(found, links, model.stem) if hops else _disk(found, links))
    typer.echo(f"{out}: {len(found):,} concepts")


def _disk(model: HopEmbedding, graph: HopGraph | None) -> Figure:
    """Points, links as geodesics, and the names of those with the most links, or spread over the disk."""
    from hyperspectral_geo.plotting import poincare_disk

    if model.geometry != "hyperbolic" or model.tangents.shape[1] != 2:
        raise ValueError(
            f"model: expected a hyperbolic one of 2 dimensions, got {model.geometry} of {model.tangents.shape[1]}; "
            "train with --dim 2, or draw it with --hops --graph"
        )
    points = model.poincare().numpy()
    if graph is None:
        return poincare_disk(points, labels=model.names)
    linked = graph.edges.flatten().bincount(minlength=len(graph)).argsort(descending=True, stable=True)
    return poincare_disk(points, labels=model.names, edges=graph.edges.numpy(), highlight=linked[:_NAMED].tolist())


def _scatter(model: HopEmbedding, graph: HopGraph | None, title: str) -> Figure:
    from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
    from hyperspectral_geo.plotting import hop_scatter

    if graph is None:
        raise ValueError("--hops: expected --graph beside it, whose hops are counted; add it")
    return hop_scatter(model, hop_counts(graph, weighted=False), title=title)


def _load(path: Path) -> HopEmbedding:
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding

    return HopEmbedding.load(path)


def _shown(name: str) -> str:
    """A name that cannot move the cursor of a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)

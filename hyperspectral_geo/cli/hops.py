"""``hsgeo hops``: train models of hop distances, judge them, and ask them for neighbours, ways and pictures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperspectral_geo.cli import feedback
from hyperspectral_geo.cli.hop_judging import evaluate
from hyperspectral_geo.cli.hop_sources import (
    GRAPH_HELP,
    Certain,
    SameDirections,
    Weights,
    read_graph_of,
    require_target,
)
from hyperspectral_geo.cli.hop_training import train
from hyperspectral_geo.cli.placing import place, texts
from hyperspectral_geo.cli.shown import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["app", "distance", "export", "neighbors", "path", "plot"]

_NAMED = 30

app = typer.Typer(help="Hop distances: train, judge and use models of them.", no_args_is_help=True)
app.command()(train)
app.command("eval")(evaluate)
app.command()(texts)
app.command()(place)
app.add_typer(feedback.app, name="feedback")

Model = Annotated[Path, typer.Argument(help="What `hsgeo hops train` wrote.")]
Graph = Annotated[str, typer.Argument(help=GRAPH_HELP)]


@app.command()
def neighbors(
    model: Model,
    name: Annotated[str, typer.Argument(help="A concept, as the graph spells it.")],
    k: Annotated[int, typer.Option("-k", help="How many.", min=1)] = 10,
    into: Annotated[bool, typer.Option("--into", help="Nearest to come from, not to go to.")] = False,
) -> None:
    """List the concepts nearest to one, nearest first, with their distances in hops.

    The model gives every pair a distance, also where no way leads from one to the other; `hsgeo hops path` sees that.
    """
    from hyperspectral_geo.hyperbolic.neighbors import neighbors

    for found in neighbors(_load(model), name, k, direction="in" if into else "out"):
        typer.echo(f"{found.distance:8.3f}  {shown(found.name)}")


@app.command()
def distance(
    model: Model,
    source: Annotated[str, typer.Argument(help="From here")],
    target: Annotated[str, typer.Argument(help="to there.")],
) -> None:
    """Print the learned distance between two concepts, in hops, or in lengths where it was trained on these.

    The model gives every pair one, also where no way leads from one to the other; `hsgeo hops path` sees that.
    """
    typer.echo(f"{_load(model).distance(source, target):.4f}")


@app.command()
def path(
    model: Model,
    graph: Graph,
    source: Annotated[str, typer.Argument(help="From here")],
    target: Annotated[str, typer.Argument(help="to there.")],
    undirected: SameDirections = None,
    weights: Weights = None,
    certain: Certain = None,
    most: Annotated[int, typer.Option(help="Give up after so many links.", min=1)] = 100,
) -> None:
    """Follow links to where the learned distance to the target is least; exit with 1 where this does not arrive."""
    from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
    from hyperspectral_geo.hyperbolic.routing import route, walk_length

    found = _load(model)
    ends = found.index(source), found.index(target)
    links = read_graph_of(found, graph, undirected=undirected, weights=weights, certain=certain)
    least = float(hop_counts(links, [ends[0]])[0, ends[1]])
    if least < 0 or math.isinf(least):
        typer.echo("no way leads there")
        raise typer.Exit(1)
    way = route(found, links, source, target, most=most)
    typer.echo(" → ".join(map(shown, way.names)))
    if links.lengths is None:
        typer.echo(f"{way.hops} links, {way.stopped}; the shortest way has {least:.0f}")
    else:
        length = walk_length(links, [found.index(name) for name in way.names])
        typer.echo(f"{way.hops} links of length {length:.4g}, {way.stopped}; the shortest way has length {least:.4g}")
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
    undirected: SameDirections = None,
    weights: Weights = None,
    certain: Certain = None,
    hops: Annotated[
        bool, typer.Option("--hops", help="Hop counts against distances, for any dimension; needs --graph.")
    ] = False,
) -> None:
    """Draw the Poincaré disk of a two-dimensional model, or hop counts against learned distances."""
    from hyperspectral_geo.plotting import save_picture

    require_target("--out", out)
    found, links = _load(model), None
    if graph is not None:
        links = read_graph_of(found, graph, undirected=undirected, weights=weights, certain=certain)
    with _missing_glyphs_counted():
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
    if graph.lengths is not None:
        raise ValueError(
            "--hops: expected a graph whose links are hops, got lengths, which are too many for a violin each; `hsgeo "
            "hops eval` gives their R²"
        )
    return hop_scatter(model, hop_counts(graph, weighted=False), title=title)


def _load(path: Path) -> HopEmbedding:
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding

    return HopEmbedding.load(path)


@contextmanager
def _missing_glyphs_counted() -> Iterator[None]:
    """One line for all letters that the font of a picture lacks, where matplotlib warns of each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing = {str(one.message) for one in caught if str(one.message).startswith("Glyph ")}
    for one in caught:
        if str(one.message) not in missing:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if missing:
        typer.echo(f"{len(missing)} letters in names are not in the picture's font; boxes stand for them", err=True)

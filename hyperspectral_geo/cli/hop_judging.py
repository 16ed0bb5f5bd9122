"""``hsgeo hops eval``: how well a model keeps the distances, or the links, of a graph."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperspectral_geo.cli.hop_sources import read_hop_graph, usual_objective
from hyperspectral_geo.cli.hop_training import GRAPH_HELP

if TYPE_CHECKING:
    from torch import Tensor

    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["evaluate"]

_SOURCES = 500  # rows judged of a graph of which not all fit in memory

Scores = dict[str, dict[str, float | int]]


def evaluate(
    model: Annotated[Path, typer.Argument(help="What `hsgeo hops train` wrote.")],
    graph: Annotated[str, typer.Argument(help=GRAPH_HELP)],
    objective: Annotated[
        str | None, typer.Option(help="Judge hops, links, or the ancestors in a tree.", show_default="by the model")
    ] = None,
    hold_out: Annotated[float, typer.Option(help="As in training: judge on the pairs kept from it.", min=0)] = 0.0,
    seed: Annotated[int, typer.Option(help="As in training, for the pairs held out.", min=0)] = 0,
    undirected: Annotated[bool, typer.Option("--undirected", help="As in training.")] = False,
    weights: Annotated[str | None, typer.Option(help="As in training.")] = None,
    sources: Annotated[
        int | None, typer.Option(help="Judge from so many concepts, drawn at random.", min=1, show_default="all")
    ] = None,
    routes: Annotated[int, typer.Option(help="Greedy routes to try; 0 for none.", min=0)] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures here too.")] = None,
) -> None:
    """Judge a model: distortion, R², neighbours and routes of hops, or mean rank and MAP of links."""
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.predictions import require_names

    found = HopEmbedding.load(model)
    ranks = "tree" if usual_objective(graph) == "tree" else "links"
    objective = objective or (ranks if found.outgoing is None and found.readout is None else "hops")
    if objective not in ("hops", "links", "tree"):
        raise ValueError(f"--objective: expected hops or links or tree, got {objective!r}")
    if objective != "hops" and hold_out:
        raise ValueError("--hold-out: expected with hops, whose pairs training may leave out, got links; leave it out")
    links = read_hop_graph(graph, directed=not undirected, weights=weights, closure=objective == "links")
    require_names(found, links)
    if objective == "tree":
        scores = _of_tree(found, links, sources, seed)
    elif objective == "links":
        scores = _of_links(found, links, sources, seed)
    else:
        scores = _of_hops(found, links, sources, hold_out, seed) | _of_routes(found, links, routes, seed)
    if objective != "hops":
        judged = "links" if objective == "links" else "ancestors"
    else:
        judged = "pairs held out" if hold_out else "all pairs, which the model was trained on unless some were held out"
    if json_file is not None:
        _write(json_file, {"model": str(model), "graph": graph, "judged": judged, "seed": seed} | scores)
    typer.echo(f"{model} on {graph}: {judged}")
    for part, figures in scores.items():
        typer.echo(part)
        for name, value in figures.items():
            typer.echo(f"  {name.replace('_', ' '):<24} {value if isinstance(value, int) else format(value, '.4f')}")


def _of_hops(model: HopEmbedding, graph: HopGraph, sources: int | None, hold_out: float, seed: int) -> Scores:
    from hyperspectral_geo.hyperbolic.hop_counts import MOST_NODES, hop_counts
    from hyperspectral_geo.hyperbolic.hop_scores import hop_scores
    from hyperspectral_geo.hyperbolic.splits import held_out_pairs

    wanted = _SOURCES if sources is None and len(graph) > MOST_NODES else sources
    some = _drawn(len(graph), wanted, seed)
    hops = hop_counts(graph, some)
    held = held_out_pairs(len(graph), hold_out, seed=seed, directed=graph.directed) if hold_out else None
    scores: Scores = {"hops": hop_scores(model, hops, sources=some, held=held, graph=graph, seed=seed).as_dict()}
    if wanted is None and len(graph) >= 4:
        scores["hyperbolicity"] = _hyperbolicity(hops, seed, directed=graph.directed)
    return scores


def _hyperbolicity(hops: Tensor, seed: int, *, directed: bool) -> dict[str, float | int]:
    from hyperspectral_geo.hyperbolic.hyperbolicity import NoQuadruplesError, gromov_delta

    try:
        found = gromov_delta(hops, seed=seed, symmetrise="min" if directed else None)
    except NoQuadruplesError:
        typer.echo("hyperbolicity: not known, no four concepts drawn have walks between all of them", err=True)
        return {"quadruples": 0}
    figures = {"mean_delta": found.mean, "low": found.low, "high": found.high, "relative": found.relative}
    return figures | {"quadruples": found.quadruples}


def _of_routes(model: HopEmbedding, graph: HopGraph, routes: int, seed: int) -> Scores:
    from hyperspectral_geo.hyperbolic.routing import routing_success

    if not routes or len(graph) < 2 or not len(graph.edges):
        return {}
    return {"greedy routes": routing_success(model, graph, routes, seed=seed).as_dict()}


def _of_links(model: HopEmbedding, graph: HopGraph, sources: int | None, seed: int) -> Scores:
    import torch

    from hyperspectral_geo.hyperbolic.metrics import reconstruction

    if sources is not None:
        linked = graph.edges[:, 0].unique()
        some = linked[_drawn(len(linked), sources, seed)]
        graph = replace(graph, edges=graph.edges[torch.isin(graph.edges[:, 0], some)], lengths=None)
    found = reconstruction(model, graph)
    return {"links": {"mean_rank": found.mean_rank, "mean_average_precision": found.mean_average_precision}}


def _of_tree(model: HopEmbedding, graph: HopGraph, sources: int | None, seed: int) -> Scores:
    from hyperspectral_geo.hyperbolic.ancestor_ranks import ancestor_precision
    from hyperspectral_geo.hyperbolic.forest import Forest

    forest = Forest.of(graph)
    below = forest.depth.nonzero()[:, 0]
    some = below[_drawn(len(below), _SOURCES if sources is None else sources, seed)]
    if not len(some):
        raise ValueError("graph: expected links from child to parent, got none; there is nothing to judge")
    found = ancestor_precision(model, forest, some).mean().item()
    return {"ancestors": {"sources": len(some), "mean_average_precision": found}}


def _drawn(count: int, wanted: int | None, seed: int) -> Tensor:
    """All numbers below ``count``, or some of them, in order."""
    import torch

    if wanted is None or wanted >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:wanted].sort().values


def _write(path: Path, record: dict[str, Any]) -> None:
    """JSON knows neither NaN nor infinity: null stands for them."""
    from hyperspectral_geo.atomic_write import write_atomically

    plain = {
        key: {k: v if math.isfinite(v) else None for k, v in part.items()} if isinstance(part, dict) else part
        for key, part in record.items()
    }
    write_atomically(path, (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode())

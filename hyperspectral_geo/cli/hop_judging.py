"""``hsgeo hops eval``: how well a model keeps the distances, or the links, of a graph."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperspectral_geo.cli.hop_sources import read_hop_graph
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
    objective: Annotated[str | None, typer.Option(help="Judge hops or links.", show_default="by the model")] = None,
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
    objective = objective or ("links" if found.outgoing is None and found.readout is None else "hops")
    if objective not in ("hops", "links"):
        raise ValueError(f"--objective: expected hops or links, got {objective!r}")
    if objective == "links" and hold_out:
        raise ValueError("--hold-out: expected with hops, whose pairs training may leave out, got links; leave it out")
    links = read_hop_graph(graph, directed=not undirected, weights=weights, closure=objective == "links")
    require_names(found, links)
    if objective == "links":
        scores = _of_links(found, links, sources, seed)
    else:
        scores = _of_hops(found, links, sources, hold_out, seed) | _of_routes(found, links, routes, seed)
    if objective == "links":
        judged = "links"
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
    from hyperspectral_geo.hyperbolic.hyperbolicity import gromov_delta
    from hyperspectral_geo.hyperbolic.splits import held_out_pairs

    wanted = _SOURCES if sources is None and len(graph) > MOST_NODES else sources
    some = _drawn(len(graph), wanted, seed)
    hops = hop_counts(graph, some)
    held = held_out_pairs(len(graph), hold_out, seed=seed, directed=graph.directed) if hold_out else None
    scores: Scores = {"hops": hop_scores(model, hops, sources=some, held=held, graph=graph, seed=seed).as_dict()}
    if wanted is None and len(graph) >= 4:
        with contextlib.suppress(ValueError):  # no four nodes with walks between them
            found = gromov_delta(hops, seed=seed, symmetrise="min" if graph.directed else None)
            scores["hyperbolicity"] = {"mean_delta": found.mean, "low": found.low, "high": found.high}
            scores["hyperbolicity"]["relative"] = found.relative
    return scores


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

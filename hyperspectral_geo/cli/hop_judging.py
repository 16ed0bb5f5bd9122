"""``hsgeo hops eval``: how well a model keeps the distances, or the links, of a graph."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperspectral_geo.cli.hop_sources import (
    GRAPH_HELP,
    Certain,
    SameDirections,
    Weights,
    read_graph_of,
    require_target,
    usual_objective,
)

if TYPE_CHECKING:
    from torch import Tensor

    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["evaluate"]

_KEPT = "as in training"
_SOURCES = 500  # rows judged of a graph of which not all fit in memory

Scores = dict[str, dict[str, float | int]]


def evaluate(
    model: Annotated[Path, typer.Argument(help="What `hsgeo hops train` wrote.")],
    graph: Annotated[str, typer.Argument(help=GRAPH_HELP)],
    objective: Annotated[
        str | None, typer.Option(help="Judge hops, links, or the ancestors in a tree.", show_default="by the model")
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(help="Judge on the share of pairs kept from training; 0: on all.", min=0, show_default=_KEPT),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the pairs held out, and of all samples.", min=0, show_default=_KEPT)
    ] = None,
    undirected: SameDirections = None,
    weights: Weights = None,
    certain: Certain = None,
    sources: Annotated[
        int | None,
        typer.Option(
            help="Judge from so many concepts, drawn at random.",
            min=1,
            show_default="all; 500 for trees and above 20,000 concepts",
        ),
    ] = None,
    routes: Annotated[int, typer.Option(help="Greedy routes to try; 0 for none.", min=0)] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures here too.")] = None,
) -> None:
    """Judge a model: distortion, R², neighbours and routes of hops, or mean rank and MAP of links.

    A model that `hsgeo hops train` wrote keeps how it was trained; what is left out here is as it was there.
    """
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding

    if json_file is not None:
        require_target("--json", json_file)
    found = HopEmbedding.load(model)
    objective = _objective(found, graph, objective, hold_out)
    share, seed = _held_out(found, objective, hold_out, seed)
    links = read_graph_of(
        found, graph, undirected=undirected, weights=weights, certain=certain, closure=objective == "links"
    )
    if objective == "tree":
        scores = _of_tree(found, links, sources, seed)
    elif objective == "links":
        scores = _of_links(found, links, sources, seed)
    else:
        scores = _of_hops(found, links, sources, share, seed) | _of_routes(found, links, routes, seed)
    judged = _heading(found, objective, share, seed)
    same = None if found.provenance is None else found.provenance.is_of(links)
    if json_file is not None:
        about = {"model": str(model), "graph": graph, "trained_on_graph": same, "judged": judged, "seed": seed}
        _write(json_file, about | scores)
    typer.echo(f"{model} on {graph}: {judged}")
    if same is False:
        typer.echo("these are not the links that the model was trained on: others between the same concepts")
    for part, figures in scores.items():
        typer.echo(part)
        for name, value in figures.items():
            typer.echo(f"  {name.replace('_', ' '):<24} {value if isinstance(value, int) else format(value, '.4f')}")


def _objective(model: HopEmbedding, graph: str, asked: str | None, hold_out: float | None) -> str:
    """What to judge: what is asked for, what the model was trained for, or what its parts were made for."""
    if asked not in (None, "hops", "links", "tree"):
        raise ValueError(f"--objective: expected hops or links or tree, got {asked!r}")
    ranks = "tree" if usual_objective(graph) == "tree" else "links"
    usual = ranks if model.outgoing is None and model.readout is None else "hops"
    objective = asked or (usual if model.provenance is None else model.provenance.objective)
    if objective != "hops" and hold_out:
        raise ValueError(
            f"--hold-out: expected with hops, whose pairs training may leave out, got {objective}; leave it out"
        )
    return objective


def _held_out(model: HopEmbedding, objective: str, share: float | None, seed: int | None) -> tuple[float, int]:
    """Share of the pairs to judge on, 0 for all, and the seed: those of the training, if it is known, and no others."""
    made = model.provenance
    if made is None:
        return share or 0.0, seed or 0
    kept = made.hold_out if share is None and objective == "hops" else share or 0.0
    if kept not in (0.0, made.hold_out):
        raise ValueError(f"--hold-out: expected {made.hold_out:g}, as in training, got {kept:g}; leave it out")
    if kept and seed not in (None, made.seed):
        raise ValueError(
            f"--seed: expected {made.seed}, which drew the pairs held out from training, got {seed}; leave it out"
        )
    return kept, made.seed if seed is None else seed


def _heading(model: HopEmbedding, objective: str, share: float, seed: int) -> str:
    """What was judged, and who says that training had left it out."""
    if objective != "hops":
        return "links" if objective == "links" else "ancestors"
    if model.provenance is None:
        drawn = f"the pairs held out from training as you say, a share of {share:g} drawn by seed {seed}"
        return drawn if share else "all pairs; the model does not say which of them it was trained on"
    if share:
        return f"the pairs held out from training, a share of {share:g} drawn by seed {seed}"
    kept = f"a share of {model.provenance.hold_out:g}" if model.provenance.hold_out else "none"
    return f"all pairs, {kept} of them held out from training"


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
    from hyperspectral_geo.hyperbolic.routing import NoRoutesError, routing_success

    if not routes or len(graph) < 2 or not len(graph.edges):
        return {}
    try:
        return {"greedy routes": routing_success(model, graph, routes, seed=seed).as_dict()}
    except NoRoutesError as error:
        typer.echo(f"greedy routes: none of {error.pairs} pairs drawn is joined", err=True)
        return {"greedy routes": {"pairs": 0, "unreachable": error.pairs}}


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

"""``hsgeo hops train``: a graph in, a model out, watched, interrupted and taken up again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperspectral_geo.cli.hop_sources import (
    GRAPH_HELP,
    Certain,
    Weights,
    read_hop_graph,
    require_target,
    usual_objective,
)
from hyperspectral_geo.cli.watched_training import Checkpoint, Log, Resume, require_checkpoint, watched_training

if TYPE_CHECKING:
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.graph import HopGraph
    from hyperspectral_geo.hyperbolic.objective import Objective

__all__ = ["train"]


def train(
    graph: Annotated[str, typer.Argument(help=GRAPH_HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model to write, a .safetensors file.")],
    dim: Annotated[int, typer.Option(help="Dimension of the space.", min=1, max=4096)] = 10,
    geometry: Annotated[
        str, typer.Option(help="hyperbolic, euclidean, spherical, product or bilinear.")
    ] = "hyperbolic",
    objective: Annotated[
        str | None,
        typer.Option(
            help="hops: distances are hop counts; links: links rank first; tree: links lead to parents, and all "
            "ancestors rank first.",
            show_default="by the graph",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 3000,
    seed: Annotated[int, typer.Option(help="Of start, samples and held-out pairs.", min=0)] = 0,
    learning_rate: Annotated[float | None, typer.Option(help="Largest step length.")] = None,
    two_points: Annotated[
        bool | None,
        typer.Option("--two-points/--one-point", help="Reach concepts at other points than they leave from, or not."),
    ] = None,
    forms: Annotated[
        bool, typer.Option("--forms", help="Correct the score for each hop count by a form; the most accurate.")
    ] = False,
    undirected: Annotated[bool, typer.Option("--undirected", help="Read each link backwards too.")] = False,
    weights: Weights = None,
    certain: Certain = None,
    hold_out: Annotated[float, typer.Option(help="Share of pairs kept from training, for eval.", min=0)] = 0.0,
    constraints: Annotated[
        Path | None, typer.Option(help="What people say of distances, JSON lines; see the guide to feedback.")
    ] = None,
    trust: Annotated[float, typer.Option(help="Weight of what people say beside the hops of the graph.")] = 1.0,
    conflicts: Annotated[str, typer.Option(help="Contradictory statements: refuse, or weigh by strength.")] = "refuse",
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    log: Log = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Write them to this folder for TensorBoard.")] = None,
) -> None:
    """Embed a graph so that distances are hop counts, or so that links are nearer than what is not linked.

    The model keeps how it was trained: eval, path and plot read their graph in the same way.

    Several processes train one model: torchrun --nproc-per-node 2 -m hyperspectral_geo hops train ... What a process
    refuses stands above the report that torchrun adds.
    """
    require_checkpoint(resume, checkpoint)
    require_target("--out", out)
    objective = objective or usual_objective(graph)
    _require_hops(objective, hold_out=hold_out, forms=forms, undirected=undirected, constraints=constraints)
    links = read_hop_graph(
        graph, directed=not undirected, weights=weights, certain=certain, closure=objective == "links"
    )
    if objective != "hops" and links.lengths is not None:
        raise ValueError(
            f"--weights: expected lengths with --objective hops, got {objective}, which ranks links and knows no "
            "lengths; pass --weights ignore"
        )
    links, said = _heard(links, constraints, trust, conflicts)
    goal = [(1.0, _objective(objective, links, hold_out, seed)), *said]
    start = None
    if (objective, geometry) == ("tree", "hyperbolic"):
        start, learning_rate = _laid_out(links, dim, seed, learning_rate)

    from hyperspectral_geo.hyperbolic.processes import is_first_process
    from hyperspectral_geo.hyperbolic.provenance import Provenance
    from hyperspectral_geo.hyperbolic.training import fit

    with watched_training(steps, checkpoint, shown=is_first_process()) as show:
        model = fit(
            links,
            dim=dim,
            geometry=geometry,  # pyright: ignore[reportArgumentType]
            objective=goal,
            two_points=two_points,
            forms=forms,
            start=start,
            steps=steps,
            learning_rate=learning_rate,
            seed=seed,
            progress=show,
            log=log,
            tensorboard=tensorboard,
            checkpoint=checkpoint,
            resume=resume,
        )
    if is_first_process():
        made = Provenance.of(
            links,
            objective,  # pyright: ignore[reportArgumentType]
            weights=weights,
            certain=certain,
            hold_out=hold_out,
            seed=seed,
        )
        replace(model, provenance=made).save(out)
        typer.echo(f"{out}: {_described(model)}")


def _heard(
    graph: HopGraph, path: Path | None, trust: float, conflicts: str
) -> tuple[HopGraph, list[tuple[float, Objective]]]:
    """The graph with people's lengths of links, and what else they say as a part of the loss."""
    if path is None:
        return graph, []
    from hyperspectral_geo.hyperbolic.feedback.constraint import Link
    from hyperspectral_geo.hyperbolic.feedback.constraint_file import read_constraints
    from hyperspectral_geo.hyperbolic.feedback.constraint_loss import ConstraintLoss
    from hyperspectral_geo.hyperbolic.feedback.contradictions import require_consistent
    from hyperspectral_geo.hyperbolic.feedback.reweighting import reweighted
    from hyperspectral_geo.hyperbolic.feedback.terms import mean_length

    if not 0 < trust < math.inf:
        raise ValueError(f"--trust: expected a finite number > 0, got {trust}")
    said = read_constraints(path, names=graph.names)
    require_consistent(
        said,
        conflicts=conflicts,  # pyright: ignore[reportArgumentType]
        directed=graph.directed,
        step=mean_length(graph),
    )
    loss = ConstraintLoss(said, conflicts=conflicts)  # pyright: ignore[reportArgumentType]
    only_links = all(isinstance(one, Link) for one in said)
    return reweighted(graph, said), [] if only_links else [(trust, loss)]


def _require_hops(objective: str, *, hold_out: float, forms: bool, undirected: bool, constraints: Path | None) -> None:
    """Refuse an unknown objective, and what only regression of hops makes something of."""
    if objective not in ("hops", "links", "tree"):
        raise ValueError(f"--objective: expected hops or links or tree, got {objective!r}")
    if objective == "tree" and undirected:
        raise ValueError("--undirected: expected links from child to parent for --objective tree; leave it out")
    if objective == "hops":
        return
    if constraints is not None:
        raise ValueError(f"--constraints: expected with --objective hops, got {objective}, which knows no hops")
    if hold_out:
        raise ValueError("--hold-out: expected with --objective hops; links are ranked all of them, leave it out")
    if forms:
        raise ValueError(f"--forms: expected with --objective hops, got {objective}; forms correct hop counts")


def _objective(name: str, graph: HopGraph, hold_out: float, seed: int) -> Objective:
    from hyperspectral_geo.hyperbolic.hop_regression import HopRegression
    from hyperspectral_geo.hyperbolic.link_softmax import LinkSoftmax
    from hyperspectral_geo.hyperbolic.splits import held_out_pairs

    if name == "tree":
        return LinkSoftmax(sources=1024, negatives=512, run=32, ancestors=True)
    if name == "links":
        return LinkSoftmax()
    held = held_out_pairs(len(graph), hold_out, seed=seed, directed=graph.directed)
    return HopRegression(held=held if hold_out else None)


def _laid_out(graph: HopGraph, dim: int, seed: int, rate: float | None) -> tuple[HopEmbedding, float]:
    """A tree without training, and the learning rate from there unless one is given."""
    from hyperspectral_geo.hyperbolic.tree_embedding import embed_tree, tree_learning_rate

    return embed_tree(graph, dim=dim, seed=seed), tree_learning_rate(graph) if rate is None else rate


def _described(model: HopEmbedding) -> str:
    tables = [t for t in (model.tangents, model.targets, model.outgoing, model.incoming) if t is not None]
    numbers = sum(1 if table.ndim == 1 else table.shape[1] for table in tables)
    space = f"{model.geometry}, {model.tangents.shape[1]} dimensions"
    shared = "" if model.forms is None else f", {model.forms.numel():,} in the forms that all share"
    return f"{len(model):,} concepts, {space}, {numbers} numbers each{shared}"

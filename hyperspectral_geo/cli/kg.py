"""``hsgeo kg``: train models of knowledge graphs, judge them, and ask them questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperspectral_geo.cli.hop_sources import require_target
from hyperspectral_geo.cli.watched_training import Checkpoint, Log, Resume, require_checkpoint, watched_training

if TYPE_CHECKING:
    from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph
    from hyperspectral_geo.hyperbolic.relational import Found, RelationalEmbedding

__all__ = ["app", "evaluate", "heads", "tails", "train"]

app = typer.Typer(help="Knowledge graphs: train, judge and ask models of typed relations.", no_args_is_help=True)

_GRAPH_HELP = "wn18rr, fb15k-237, codex-s, umls, kinships, or a folder with train.txt, valid.txt and test.txt (.gz)."

Model = Annotated[Path, typer.Argument(help="What `hsgeo kg train` wrote.")]
Relation = Annotated[str, typer.Argument(help="A relation, as the graph spells it.")]
Count = Annotated[int, typer.Option("-k", help="How many answers.", min=1)]


@app.command()
def train(
    graph: Annotated[str, typer.Argument(help=_GRAPH_HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model to write, a .safetensors file.")],
    dim: Annotated[int, typer.Option(help="Numbers an entity, even.", min=2, max=4096)] = 32,
    geometry: Annotated[str, typer.Option(help="hyperbolic or euclidean.")] = "hyperbolic",
    steps: Annotated[int, typer.Option(help="Steps of training.", min=1)] = 4000,
    questions: Annotated[
        int, typer.Option(help="Pairs of head and relation a step, each with its tails.", min=1)
    ] = 1024,
    scale: Annotated[float, typer.Option(help="What a squared distance costs.")] = 0.5,
    weighted: Annotated[
        bool, typer.Option(help="Sampled entities stand for all; for themselves alone they memorise less.")
    ] = True,
    dropout: Annotated[float, typer.Option(help="Share of a head's coordinates set to zero in a step.")] = 0.1,
    decay: Annotated[float, typer.Option(help="Weight of the squared lengths of tangents.")] = 0.0,
    negatives: Annotated[int, typer.Option(help="Entities a step that tails are ranked against.", min=1)] = 1024,
    learning_rate: Annotated[float, typer.Option(help="Largest step length.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of start and samples.", min=0)] = 0,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    log: Log = None,
) -> None:
    """Embed a knowledge graph; prints filtered metrics of the validation triples if there are any."""
    require_checkpoint(resume, checkpoint)
    require_target("--out", out)
    kg = _graph(graph)

    from hyperspectral_geo.hyperbolic.processes import is_first_process
    from hyperspectral_geo.hyperbolic.relational import fit_relations

    with watched_training(steps, checkpoint, shown=is_first_process()) as show:
        model = fit_relations(
            kg,
            dim=dim,
            geometry=geometry,  # pyright: ignore[reportArgumentType]
            scale=scale,
            steps=steps,
            questions=questions,
            negatives=negatives,
            weighted=weighted,
            dropout=dropout,
            decay=decay,
            learning_rate=learning_rate,
            seed=seed,
            progress=show,
            log=log,
            checkpoint=checkpoint,
            resume=resume,
        )
    if not is_first_process():
        return
    model.save(out)
    typer.echo(f"{out}: {len(model):,} entities, {len(model.relations):,} relations, {geometry}, {dim} dimensions")
    if len(kg.valid):
        typer.echo(_scored(model, kg, "valid"))


@app.command("eval")
def evaluate(
    model: Model,
    graph: Annotated[str, typer.Argument(help=_GRAPH_HELP)],
    split: Annotated[str, typer.Option(help="test, valid or train.")] = "test",
) -> None:
    """Print filtered MRR and hits of a split, each triple asked for its tail and for its head."""
    if split not in ("test", "valid", "train"):
        raise ValueError(f"--split: expected test, valid or train, got {split!r}")
    typer.echo(_scored(_load(model), _graph(graph), split))


@app.command()
def tails(
    model: Model,
    head: Annotated[str, typer.Argument(help="An entity, as the graph spells it.")],
    relation: Relation,
    k: Count = 10,
) -> None:
    """List the entities that answer (HEAD, RELATION, ?) best, the best first, with their scores."""
    _show(_load(model).best_tails(head, relation, k))


@app.command()
def heads(
    model: Model,
    relation: Relation,
    tail: Annotated[str, typer.Argument(help="An entity, as the graph spells it.")],
    k: Count = 10,
) -> None:
    """List the entities that answer (?, RELATION, TAIL) best, the best first, with their scores."""
    _show(_load(model).best_heads(relation, tail, k))


def _show(found: list[Found]) -> None:
    from hyperspectral_geo.cli.shown import shown

    for one in found:
        typer.echo(f"{one.score:9.3f}  {shown(one.name)}")


def _scored(model: RelationalEmbedding, kg: KnowledgeGraph, split: str) -> str:
    from hyperspectral_geo.hyperbolic.relational import rank_triples

    triples = getattr(kg, split)
    if not len(triples):
        raise ValueError(f"--split: expected one with triples, got {split}, which has none; pass --split train")
    found = rank_triples(model, kg, triples)
    hits = ", ".join(f"H@{k} {share:.4f}" for k, share in found.hits.items())
    return f"{split}: MRR {found.mrr:.4f}, {hits}, mean rank {found.mean_rank:,.1f}, {found.count:,} ranks"


def _graph(name: str) -> KnowledgeGraph:
    from hyperspectral_geo.data.knowledge_graph import load_knowledge_graph

    return load_knowledge_graph(name)


def _load(path: Path) -> RelationalEmbedding:
    from hyperspectral_geo.hyperbolic.relational import RelationalEmbedding

    return RelationalEmbedding.load(path)

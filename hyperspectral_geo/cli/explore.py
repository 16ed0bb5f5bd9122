"""``hsgeo explore``: a model as one page, to look at and to say what should be closer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperspectral_geo.cli.hop_sources import (
    GRAPH_HELP,
    Certain,
    SameDirections,
    Weights,
    read_graph_of,
    require_target,
)

if TYPE_CHECKING:
    from torch import Tensor

    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.graph import HopGraph
    from hyperspectral_geo.plotting.explorer import Nearest

__all__ = ["explore"]

# Concepts up to which so many nearest, counted over both directions, and so high a rank of factors keep a page of
# 5,000 below half a megabyte and one of 50,000 below four.
_ROOM = ((2_500, 24, 12), (5_500, 14, 10), (20_000, 10, 8), (1 << 62, 8, 8))
_SPARE = 64  # further nearest that are looked at where links are known


def explore(
    model: Annotated[Path, typer.Argument(help="What `hsgeo hops train` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write, an .html file.")],
    groups: Annotated[
        str | None,
        typer.Option(help="Colours: a .tsv or .csv of concept and group; `wikispeedia` for its subjects."),
    ] = None,
    graph: Annotated[str | None, typer.Option(help=f"Show its links: {GRAPH_HELP}")] = None,
    undirected: SameDirections = None,
    weights: Weights = None,
    certain: Certain = None,
    title: Annotated[
        str | None, typer.Option(help="Heading of the page.", show_default="the model's file name")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the layout.", min=0)] = 0,
) -> None:
    """Write a page that shows a model as a map: search, nearest concepts, rings of hops, and a journal of answers.

    One file, which asks nobody for anything. What people say there should be closer or farther, it saves as a journal,
    which `hsgeo hops feedback` reads.
    """
    require_target("--out", out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out: expected a name that ends in .html, got {out.name!r}")

    from hyperspectral_geo.hyperbolic.disk_layout import disk_layout
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.hop_factors import hop_factors
    from hyperspectral_geo.plotting.explorer import Atlas, write_explorer

    found, digest = HopEmbedding.load(model), hashlib.sha256(model.read_bytes()).hexdigest()
    kinds = None if groups is None else _groups(found, groups)
    links = None
    if graph is not None:
        links = read_graph_of(found, graph, undirected=undirected, weights=weights, certain=certain)
    each, rank = next((each, rank) for most, each, rank in _ROOM if len(found) <= most)
    same = _same_both_ways(found)
    onward = _nearest(found, None if same else links, each if same else each // 2, into=False)
    factors = hop_factors(found, rank=rank, seed=seed)
    atlas = Atlas(
        found.names,
        disk_layout(found, factors, seed=seed).numpy(),
        onward,
        factors.source.numpy(),
        factors.target.numpy(),
        factors.scales.numpy(),
        factors.mean_error,
        digest,
        None if same else _nearest(found, links, each // 2, into=True),
        kinds,
        None if links is None else links.edges.numpy(),
        found.geometry == "hyperbolic" and found.tangents.shape[1] == 2,
    )
    written = write_explorer(out, atlas, title=title or model.stem)
    size = written.stat().st_size / 1e6
    typer.echo(f"{out}: {len(found):,} concepts, {size:.2f} MB; rings are {factors.mean_error:.3f} hops off on average")


def _nearest(model: HopEmbedding, graph: HopGraph | None, k: int, *, into: bool) -> Nearest:
    """The k nearest of each; with a graph, as far as there are any, only of those that a way leads to, or from.

    No training has seen a distance to what no way leads to, and what the model says of it is often too near.
    """
    import torch

    from hyperspectral_geo.hyperbolic.neighbors import nearest
    from hyperspectral_geo.plotting.explorer import Nearest

    spare = 0 if graph is None else _SPARE
    hops, numbers = nearest(model, torch.arange(len(model)), k + spare, direction="in" if into else "out")
    if graph is not None:
        chosen = _lost(graph, numbers, into=into).int().sort(dim=1, stable=True).indices[:, :k].sort(dim=1).values
        hops, numbers = hops.gather(1, chosen), numbers.gather(1, chosen)
    return Nearest(numbers[:, :k].numpy(), hops[:, :k].double().numpy())


def _lost(graph: HopGraph, numbers: Tensor, *, into: bool) -> Tensor:
    """For each concept which of its row of others no way leads to, or from, (n, k).

    All concepts from and to which ways lead from the best-linked one reach the same; the others are followed alone.
    """
    from hyperspectral_geo.hyperbolic.bfs import WORD, bfs, bfs_blocks

    best = int(graph.edges.flatten().bincount(minlength=len(graph)).argmax())
    there, back = (bfs(graph, [best], reverse=reverse)[0] >= 0 for reverse in (into, not into))
    found = ~there[numbers]
    alone = (~(there & back)).nonzero()[:, 0]
    for rows, hops in zip(alone.split(WORD), bfs_blocks(graph, alone, reverse=into), strict=False):
        found[rows] = hops.gather(1, numbers[rows]) < 0
    return found


def _same_both_ways(model: HopEmbedding) -> bool:
    """Whether d(u→v) = d(v→u) but for rounding: one point a concept, no scalars that differ, no forms."""

    def equal(one: Tensor | None, other: Tensor | None) -> bool:
        return one is other if one is None or other is None else one.allclose(other, rtol=1e-5, atol=1e-5)

    return model.targets is None and model.forms is None and equal(model.outgoing, model.incoming)


def _groups(model: HopEmbedding, source: str) -> list[str | None]:
    """A group for each concept that has one; of several the first."""
    from hyperspectral_geo.data import load_categories
    from hyperspectral_geo.data.edge_rows import text_rows

    kind: dict[str, str] = {}
    if source == "wikispeedia":
        kind = {name: every[0].split(".")[1].replace("_", " ") for name, every in load_categories().items()}
    else:
        for line, fields in text_rows(Path(source)):
            if len(fields) != 2 or not fields[1].strip():
                raise ValueError(f"{source}, line {line}: expected a concept and its group, got {fields!r:.80}")
            kind.setdefault(fields[0], fields[1].strip())
    found = [kind.get(name) for name in model.names]
    if not any(found):
        raise ValueError(f"--groups: expected names of the {len(model)} concepts in {source}, found none of them")
    return found

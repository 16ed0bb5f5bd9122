"""``hsgeo bench``: the tables of the project's figures, each measured beside its peers in the same run."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from hyperspectral_geo.atomic_write import require_writable, write_atomically

__all__ = ["TABLES", "bench"]

# Written out rather than found by looking into the folder: the order is the order of the documentation.
TABLES = {
    "manifolds": "exp, log, angles, means and Lorentz distances beside pymanopt, geomstats and mpmath",
    "merge-speed": "merging methods on eight adapters beside peft: CPU time, memory, exactness",
    "merge-quality": "merged networks by every method, data-free and calibrated, on 12 tasks and 5 seeds",
    "hops": "hops of Wikispeedia on held-out pairs: ours beside baselines, gensim and geoopt, at equal numbers a page",
    "hop-links": "WordNet's mammals in five dimensions beside gensim and geoopt: ranks, precision, pairs a second",
    "hop-nouns": "all nouns of WordNet in 10, 5 and 2 dimensions: half an hour",
    "hop-taxonomy": "NCBI's 2.6 million taxa in ten dimensions, hyperbolic beside Euclidean: half an hour",
    "hop-graphs": "power grids, social networks and hierarchies in four geometries: distortion and neighbours",
    "hop-text": "pages that no model has seen, placed by their text: half an hour",
    "kg": "link prediction in WN18RR, FB15k-237, CoDEx-S, UMLS and kinships, hyperbolic beside Euclidean",
    "people": "next clicks of people on Wikispeedia, and a cycle of answers: what human input is worth",
    "fusion-retrieval": "pictures and captions, two halves of digits: ours beside rCCA, KCCA, CSA, Procrustes and ASIF",
    "fusion-use": "unseen classes named by captions, conversion between modalities, novelty: beside their peers",
    "fusion-wiki": "Wikipedia's image and text features, with and without class labels: mean average precision",
    "fusion-concepts": "concepts learned apart as a classifier, their geometry, and one composed by WordNet's hops",
    "fusion-select": "models picked from frozen features beside PCA, LDA and random projection; a network cut",
    "fusion-speed": "fit of 100,000 pairs of 1,024 and 768 features beside cca-zoo: seconds and memory",
    "hop-speed": "breadth-first search beside scipy, and the parser of MediaWiki dumps, at ten million links",
    "merge-minilm": "four real LoRA experts of a sentence encoder, merged",
}


def bench(
    name: Annotated[str | None, typer.Argument(help="The table to measure; without it, the tables are listed.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the rows to this file.", dir_okay=False)
    ] = None,
    markdown_path: Annotated[
        Path | None,
        typer.Option(
            "--markdown", help="Also write the table as a page to this file, pictures beside it.", dir_okay=False
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes and fewer repetitions.")] = False,
) -> None:
    """Measure one table of figures beside its peers."""
    if name is None:
        width = max(map(len, TABLES))
        for table_name, summary in TABLES.items():
            typer.echo(f"{table_name:<{width}}  {summary}")
        return
    if name not in TABLES:
        raise ValueError(f"bench: expected one of {', '.join(TABLES)}, got {name!r}")
    for option, path in (("--json", json_path), ("--markdown", markdown_path)):
        # Said now rather than after minutes of measuring.
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{option}: expected a file in an existing folder, got {path}; create {path.parent}")
        if path is not None:
            require_writable(path.parent)

    from rich.console import Console
    from rich.progress import Progress

    module = import_module(f"hyperspectral_geo.benchmarks.{name.replace('-', '_')}")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        table = module.run(quick=quick, progress=progress)
    table.show(Console())
    if json_path is not None:
        text = json.dumps(table.to_dict(), indent=2, allow_nan=False) + "\n"
        write_atomically(json_path, text.encode())
    if markdown_path is not None:
        command = f"hsgeo bench {name}" + (" --quick" if quick else "")
        write_atomically(markdown_path, table.to_markdown(command=command).encode())
        table.save_pictures(markdown_path.parent)

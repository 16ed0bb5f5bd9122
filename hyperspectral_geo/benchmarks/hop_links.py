"""``hsgeo bench hop-links``: WordNet's mammals, ours beside gensim and geoopt, in one run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from hyperspectral_geo.benchmarks.hop_peers import PeerRun, gensim_poincare, geoopt_poincare
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.hyperbolic import Geometry, HopGraph, LinkSoftmax, Reconstruction, fit, reconstruction

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

STEPS = 2000


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Five seeds of ours, the same recipe in Euclidean space, and one run of each peer, all on one thread."""
    table = BenchTable("hop-links", environment=environment("gensim", "geoopt"))
    mammals = load_wordnet("mammals")
    graph = HopGraph.from_edges(mammals.edges, names=mammals.names)
    seeds = range(1 if quick else 5)
    bar = progress.add_task("hop-links", total=len(seeds) + 3)

    def told(what: str) -> None:
        progress.update(bar, advance=1, description=f"hop-links: {what}")

    with one_thread():
        ours = []
        for seed in seeds:
            told(f"ours, seed {seed}")
            ours.append(_ours(graph, seed, "hyperbolic", 200 if quick else STEPS))
        told("Euclidean")
        flat = _ours(graph, 0, "euclidean", 200 if quick else STEPS)
        told("geoopt")
        peers = {"geoopt": geoopt_poincare(graph, dim=5, epochs=3 if quick else 80)}
        told("gensim")
        try:
            peers["gensim"] = gensim_poincare(graph, dim=5, epochs=1 if quick else 55)
        except ImportError as error:
            table.notes.append(f"gensim was not measured: {error}; install gensim.")
    table.rows += _our_rows(ours, quick)
    table.rows += _score_rows("Euclidean, our recipe, d = 5", *flat)
    speed = median(run.pairs / run.seconds for run, _ in ours)
    for name, bar_at in (("geoopt", 3), ("gensim", 20)):
        if name in peers:
            table.rows += _peer_rows(name, peers[name], graph, speed, None if quick else bar_at)
    table.notes += [
        "Mean rank and MAP of reconstruction by Nickel and Kiela's protocol on the 6,540 closure links of 1,180 "
        "mammals, d = 5; published 1.26 and 0.927. Worst and range of the seeds.",
        "A pair is a concept and a link or negative of it whose distance was computed. One thread, CPU time. geoopt: "
        "PoincareBall, RiemannianSGD, 50 negatives a link, 80 epochs; gensim: 10 negatives, 10 + 55 epochs.",
    ]
    return table


def _ours(graph: HopGraph, seed: int, geometry: Geometry, steps: int) -> tuple[PeerRun, Reconstruction]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        model = fit(graph, dim=5, geometry=geometry, objective=LinkSoftmax(), steps=steps, seed=seed, log=log)
        last = json.loads(log.read_text().splitlines()[-1])
    run = PeerRun(model, last["seconds"], last["pairs"])
    return run, reconstruction(model, graph)


def _our_rows(ours: list[tuple[PeerRun, Reconstruction]], quick: bool) -> list[Row]:
    ranks = [score.mean_rank for _, score in ours]
    precision = [score.mean_average_precision for _, score in ours]
    seconds = [run.seconds for run, _ in ours]
    spread = [(min(values), max(values)) for values in (ranks, precision, seconds)]
    bars = (None, None, None) if quick else (1.10, 0.985, 8.0)
    return [
        Row("mammals, d = 5: mean rank, worst seed", max(ranks), bars[0], "lower", spread[0], peer="published 1.26"),
        Row("mammals, d = 5: MAP, worst seed", min(precision), bars[1], "higher", spread[1], peer="published 0.927"),
        Row("mammals, d = 5: CPU seconds of training", median(seconds), bars[2], "lower", spread[2]),
    ]


def _score_rows(name: str, run: PeerRun, score: Reconstruction) -> list[Row]:
    took = f"{run.seconds:.1f} s"
    return [
        Row(f"{name}: mean rank", score.mean_rank, better="lower", peer=took),
        Row(f"{name}: MAP", score.mean_average_precision, peer=took),
    ]


def _peer_rows(name: str, peer: PeerRun, graph: HopGraph, speed: float, bar: float | None) -> list[Row]:
    theirs = peer.pairs / peer.seconds
    ours, peers = f"{speed / 1e6:.1f} M", f"{theirs / 1e6:.2f} M"
    ratio = Row(f"pairs a CPU second over {name}'s", speed / theirs, bar, ours=ours, peer=peers)
    return [*_score_rows(f"{name}, d = 5", peer, reconstruction(peer.model, graph)), ratio]

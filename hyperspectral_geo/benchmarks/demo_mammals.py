"""Part one of the demo: WordNet mammals in five dimensions, hyperbolic and Euclidean, beside the published run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, LinkSoftmax, Reconstruction, fit, reconstruction
from hyperspectral_geo.hyperbolic.geometry import Geometry
from hyperspectral_geo.plotting import Table

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["MammalFigures", "measure_mammals"]

PUBLISHED = Reconstruction(1.26, 0.927)  # Nickel and Kiela 2017, arXiv 1705.08039, table 1: d = 5
STEPS = {5: 2000, 2: 1000}


@dataclass(frozen=True, eq=False)
class MammalFigures:
    """Scores by geometry, and the two-dimensional embedding that the picture shows."""

    scores: dict[str, Reconstruction]
    nodes: int
    links: int
    disk: HopEmbedding
    graph: HopGraph

    def table(self) -> Table:
        """Mean rank and MAP beside the published run."""
        rows = [(name, s.mean_rank, s.mean_average_precision) for name, s in self.scores.items()]
        return Table(
            ("embedding", "mean rank (1 is best)", "MAP (1 is best)"),
            [*rows, ("published, hyperbolic, d = 5", PUBLISHED.mean_rank, PUBLISHED.mean_average_precision)],
            note=f"WordNet's mammals: {self.nodes:,} concepts, {self.links:,} closure edges to be found again",
        )

    def figures(self) -> dict[str, Any]:
        """For ``report.json``."""
        return {
            "concepts": self.nodes,
            "closure edges": self.links,
            **{name: asdict(score) for name, score in self.scores.items()},
            "published": asdict(PUBLISHED),
        }


def measure_mammals(seed: int, progress: Progress) -> MammalFigures:
    """Train in five hyperbolic and five Euclidean dimensions with one recipe, and in two for the picture."""
    mammals = load_wordnet("mammals")
    graph = HopGraph.from_edges(mammals.edges, names=mammals.names)
    runs: dict[str, tuple[int, Geometry]] = {
        "hyperbolic, d = 5": (5, "hyperbolic"),
        "Euclidean, d = 5": (5, "euclidean"),
        "disk": (2, "hyperbolic"),
    }
    models: dict[str, HopEmbedding] = {}
    for name, (dim, geometry) in runs.items():
        task = progress.add_task(
            "the picture's disk, d = 2" if name == "disk" else f"mammals, {name}", total=STEPS[dim]
        )

        def update(step: int, loss: float, task=task) -> None:
            progress.update(task, completed=step)

        models[name] = fit(
            graph,
            dim=dim,
            geometry=geometry,
            objective=LinkSoftmax(),
            steps=STEPS[dim],
            seed=seed,
            progress=update,
        )
    disk = models.pop("disk")
    scores = {name: reconstruction(model, graph) for name, model in models.items()}
    scores["hyperbolic, d = 2 (the picture)"] = reconstruction(disk, graph)
    return MammalFigures(scores, len(graph), len(graph.edges), disk, graph)

"""The demo's pictures and its page."""

from __future__ import annotations

from pathlib import Path

from hyperspectral_geo.benchmarks.demo_concepts import ConceptFigures
from hyperspectral_geo.benchmarks.demo_mammals import MammalFigures
from hyperspectral_geo.benchmarks.demo_retrieval import RetrievalFigures
from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.plotting import Section, angle_heatmap, poincare_disk, save_picture, write_report

__all__ = ["write_pages"]

# Orders to colour, each by the name of its highest concept.
ORDERS = {
    "carnivores": "carnivore.n.01",
    "ungulates": "ungulate.n.01",
    "rodents": "rodent.n.01",
    "primates": "primate.n.02",
    "bats": "bat.n.01",
    "cetaceans": "cetacean.n.01",
    "marsupials": "marsupial.n.01",
    "lagomorphs": "lagomorph.n.01",
}
NAMED = (
    "mammal placental carnivore dog cat bear wolf lion seal rodent mouse squirrel primate monkey ape ungulate horse "
    "deer cow sheep bat cetacean whale dolphin marsupial kangaroo rabbit elephant"
)


def write_pages(
    out: Path, mammals: MammalFigures, concepts: ConceptFigures, retrieval: RetrievalFigures, *, seed: int
) -> None:
    """Write ``mammals.png``, ``angles.png`` and ``report.html`` to a folder."""
    disk = save_picture(out / "mammals.png", _disk(mammals))
    angles = save_picture(
        out / "angles.png",
        angle_heatmap(concepts.angles, concepts.names, title="Mean principal angle between picture groups"),
    )
    sections = [
        Section(
            "Concepts in hyperbolic space",
            "Each mammal of WordNet is a point; the loss pulls a concept towards all that it is a kind of. The same "
            "recipe runs in hyperbolic and in Euclidean space. The picture is a separate embedding in two dimensions: "
            "a map to look at, far less exact than five.",
            mammals.table(),
            disk,
            "Poincaré disk of WordNet's mammals: each order a colour, lines to the direct hypernyms",
        ),
        Section(
            "Concepts as subspaces",
            "Each group of pictures is a subspace of frozen image features. Merged on the Grassmannian they share one "
            "basis of 64 directions, whose eigenvalues are then chosen by cross-fitting on the training pictures. The "
            "map shows how far the groups' subspaces are from each other.",
            concepts.table(),
            angles,
            "Heat map of mean principal angles between the subspaces of picture groups, similar groups side by side",
        ),
        Section(
            "Pictures and captions aligned",
            "Regularised canonical correlation analysis on training pairs; its ridge is chosen by cross-validation "
            "there. Unseen groups are the harder and more honest test: they have no near-duplicates in training.",
            retrieval.table(),
        ),
    ]
    write_report(
        out / "report.html",
        title="hyperspectral_geo: the demo",
        sections=sections,
        footer=f"Every figure was computed in this run, seed {seed}. Emoji graphics: Twemoji, CC-BY-4.0. WordNet 3.0: "
        "Princeton University.",
    )


def _disk(mammals: MammalFigures):
    names, graph = mammals.graph.names, mammals.graph
    direct = load_wordnet("mammals", closure=False).edges
    tops = {top: order for order, top in ORDERS.items()}
    number = {top: names.index(top) for top in tops}
    groups: list[str | None] = [None] * len(names)
    for top, order in tops.items():
        groups[number[top]] = order
    for child, ancestor in graph.edges.tolist():
        order = tops.get(names[ancestor])
        groups[child] = order or groups[child]
    return poincare_disk(
        mammals.disk.poincare(),
        labels=[name.split(".")[0].replace("_", " ") for name in names],
        edges=direct,
        groups=groups,
        highlight=[i for word in NAMED.split() if (i := _first_sense(word, names)) is not None],
        title="WordNet's mammals in the Poincaré disk",
    )


def _first_sense(word: str, names: tuple[str, ...]) -> int | None:
    """Index of a word's first sense among the mammals: ``seal`` is there as its ninth."""
    senses = sorted(i for i, name in enumerate(names) if name.split(".")[0] == word)
    return min(senses, key=lambda i: names[i], default=None)

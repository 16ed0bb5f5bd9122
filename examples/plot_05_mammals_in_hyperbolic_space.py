"""
Mammals in hyperbolic space
===========================

WordNet says what is a kind of what. :func:`~hyperspectral_geo.hyperbolic.fit` places its 1,180 mammals so that each is
near everything that it is a kind of. The volume of hyperbolic space grows exponentially with the radius, as the number
of nodes of a tree does with depth; the same loss runs in Euclidean space for comparison.

Two dimensions make a picture, not a good model: the printed ranks in five dimensions are far better.
"""

import time

import matplotlib.pyplot as plt
import torch

from hyperspectral_geo import HopGraph, fit, load_wordnet
from hyperspectral_geo.hyperbolic import LinkSoftmax, reconstruction
from hyperspectral_geo.plotting import poincare_disk

# %%
# What is coloured
# ----------------
# Some groups, each by the name of its highest concept; a mammal belongs to a group if that concept is an ancestor.

GROUPS = {
    "carnivores": "carnivore.n.01",
    "ungulates": "ungulate.n.01",
    "rodents": "rodent.n.01",
    "primates": "primate.n.02",
    "bats": "bat.n.01",
    "whales": "cetacean.n.01",
    "marsupials": "marsupial.n.01",
}
NAMED = ["mammal", "placental", "carnivore", "rodent", "primate", "ungulate", "bat", "cetacean", "marsupial"]
NAMED += ["dog", "cat", "bear", "horse", "deer", "monkey", "ape", "squirrel", "kangaroo", "whale", "sheep", "wolf"]


def groups_of(graph):
    tops = {name: group for group, name in GROUPS.items()}
    groups = [tops.get(name) for name in graph.names]
    for child, ancestor in graph.edges.tolist():
        groups[child] = tops.get(graph.names[ancestor], groups[child])
    return groups


def draw_disk(ax, model, graph):
    labels = [name.split(".")[0].replace("_", " ") for name in graph.names]
    poincare_disk(
        model.poincare(),
        labels=labels,
        edges=load_wordnet("mammals", closure=False).edges,
        groups=groups_of(graph),
        highlight=[labels.index(name) for name in NAMED],
        title="Poincaré disk (d = 2)",
        ax=ax,
    )


# %%
# Where general concepts lie
# --------------------------
# The loss is not told which of two concepts is the more general. All the same, the more kinds a concept has, the nearer
# it comes to the origin in five dimensions. In two dimensions there is too little room for that to show.
# Boxes hold the middle half of the concepts, whiskers 90 %.

KINDS = {"none": (0, 1), "1–3": (1, 4), "4–15": (4, 16), "16–63": (16, 64), "64 or more": (64, 10_000)}


def draw_radii(ax, model, graph):
    below = torch.bincount(graph.edges[:, 1], minlength=len(graph))
    radius = torch.linalg.vector_norm(model.tangents, dim=-1)
    groups = [radius[(below >= low) & (below < high)] for low, high in KINDS.values()]
    parts = ax.boxplot(groups, widths=0.6, patch_artist=True, showfliers=False, whis=(5, 95))
    for box, line in zip(parts["boxes"], parts["medians"], strict=True):
        box.set(facecolor="#56B4E9", alpha=0.5)
        line.set(color="#D55E00", linewidth=2)
    ax.set_xticks(range(1, len(KINDS) + 1), [f"{name}\n({len(g)})" for name, g in zip(KINDS, groups, strict=True)])
    ax.set(xlabel="kinds of it (number of concepts)", ylabel="hyperbolic distance from the origin", ylim=(0, None))
    ax.set_title("General concepts lie near the origin (d = 5)")
    ax.spines[["top", "right"]].set_visible(False)


def run(quick=True):
    """Draw the figure; ``quick`` trains for 300 steps, else 1,000 and 2,000."""
    mammals = load_wordnet("mammals")
    graph = HopGraph.from_edges(mammals.edges, names=mammals.names)
    print(f"{len(graph):,} mammals, {len(graph.edges):,} pairs (mammal, what it is a kind of)")
    models = {}
    for geometry in ("hyperbolic", "euclidean"):
        start = time.perf_counter()
        models[geometry] = fit(graph, dim=5, geometry=geometry, objective=LinkSoftmax(), steps=300 if quick else 2000)
        seconds = time.perf_counter() - start
        score = reconstruction(models[geometry], graph)
        print(
            f"d = 5, {geometry:10} mean rank {score.mean_rank:6.2f}, MAP {score.mean_average_precision:.3f} "
            f"after {seconds:.1f} s of training"
        )
    disk = fit(graph, dim=2, objective=LinkSoftmax(), steps=300 if quick else 1000)
    score = reconstruction(disk, graph)
    print(f"d = 2, the picture: mean rank {score.mean_rank:.1f}, MAP {score.mean_average_precision:.3f}")

    figure = plt.figure(figsize=(13, 7.6))
    draw_disk(figure.add_axes((0.0, 0.09, 0.6, 0.85)), disk, graph)
    draw_radii(figure.add_axes((0.65, 0.25, 0.34, 0.5)), models["hyperbolic"], graph)
    return figure


# %%
# These runs are short. ``hsgeo demo`` trains five dimensions to the end and prints the scores beside the published
# ones.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

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
from hyperspectral_geo.hyperbolic import reconstruction
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
NAMED = (
    "mammal placental carnivore rodent primate ungulate bat cetacean marsupial "
    "dog cat bear horse deer monkey ape squirrel kangaroo whale sheep wolf lion"
).split()


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
# What can be read off the disk: general concepts lie near the centre. The panel on the right shows the distance from the
# origin against the number of concepts above a mammal.


def draw_depth(ax, model, graph):
    depth = torch.bincount(graph.edges[:, 0], minlength=len(graph))
    radius = torch.linalg.vector_norm(model.tangents, dim=-1)
    shown = [k for k in depth.unique().tolist() if (depth == k).sum() >= 5]
    parts = ax.boxplot(
        [radius[depth == k] for k in shown], positions=shown, widths=0.6, patch_artist=True, showfliers=False
    )
    for box, line in zip(parts["boxes"], parts["medians"], strict=True):
        box.set(facecolor="#56B4E9", alpha=0.5)
        line.set(color="#D55E00", linewidth=2)
    ax.set(xlabel="concepts above it", ylabel="hyperbolic distance from the origin", title="Depth and radius (d = 2)")
    ax.spines[["top", "right"]].set_visible(False)


def run(quick=True):
    """Draw the figure; ``quick`` trains for 400 steps in two dimensions and 500 in five, else 1,500 and 3,000."""
    mammals = load_wordnet("mammals")
    graph = HopGraph.from_edges(mammals.edges, names=mammals.names)
    print(f"{len(graph):,} mammals, {len(graph.edges):,} pairs (mammal, what it is a kind of)")
    for geometry in ("hyperbolic", "euclidean"):
        start = time.perf_counter()
        model = fit(graph, dim=5, geometry=geometry, steps=500 if quick else 3000)
        seconds = time.perf_counter() - start
        score = reconstruction(model, graph)
        print(
            f"d = 5, {geometry:10} mean rank {score.mean_rank:6.2f}, MAP {score.mean_average_precision:.3f} "
            f"after {seconds:.1f} s of training"
        )
    disk = fit(graph, dim=2, steps=400 if quick else 1500)
    score = reconstruction(disk, graph)
    print(f"d = 2, the picture: mean rank {score.mean_rank:.1f}, MAP {score.mean_average_precision:.3f}")

    figure = plt.figure(figsize=(12.5, 8))
    draw_disk(figure.add_axes((0.0, 0.04, 0.66, 0.9)), disk, graph)
    draw_depth(figure.add_axes((0.72, 0.3, 0.26, 0.42)), disk, graph)
    return figure


# %%
# These runs are short. ``hsgeo demo`` trains five dimensions to the end and prints the scores beside the published ones.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

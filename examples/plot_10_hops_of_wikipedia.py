"""
Hops between Wikipedia pages
============================

Wikispeedia is a game: go from one article of a small Wikipedia to another by its links alone. How many hops it takes
is a distance between topics, and it has a direction: every page on a village links to its country, few link back.

:func:`~hyperspectral_geo.hyperbolic.fit` learns that distance. A tenth of the pairs is kept away from training, and
the models are judged on those.
"""

import itertools

import matplotlib.pyplot as plt
import torch

from hyperspectral_geo import HopGraph, fit
from hyperspectral_geo.data import load_categories, load_wikispeedia
from hyperspectral_geo.hyperbolic import HopRegression, held_out_pairs, hop_counts, hop_scores, neighbors, route
from hyperspectral_geo.plotting import hop_scatter, poincare_disk

# %%
# Some subjects
# -------------
# The pages of some subjects, and the shortest walks between them through all 4,051 pages of the strong core.

SUBJECTS = {
    "Countries": "countries",
    "Everyday_life.Food_and_agriculture": "food and farming",
    "Everyday_life.Drink": "drinks",
    "Everyday_life.Sports": "sports",
    "Science.Chemistry": "chemistry",
    "Mathematics": "mathematics",
    "Music.Musical_genres_styles_eras_and_events": "music",
    "Religion.Divinities": "divinities",
}
NAMED = ["United States", "Germany", "Japan", "Beer", "Yeast", "Sport", "Football", "Mathematics", "Chemistry"]
NAMED += ["Hydrogen", "Jazz", "Music", "Zeus", "Agriculture", "Cheese", "Number", "Chess", "Egypt", "Iron", "Rice"]


def subject_of(categories):
    """The first of the subjects above that a page belongs to, or None."""
    below = [".".join(category.split(".")[1:3]) for category in categories]
    return next((name for key, name in SUBJECTS.items() if key in below), None)


def pages_and_hops():
    """Graph, hop counts and subjects of the chosen pages, and the graph of all pages."""
    core = load_wikispeedia(core=True)
    everything = HopGraph.from_edges(core.edges, names=core.names)
    categories = load_categories()
    subjects = [subject_of(categories.get(name, ())) for name in core.names]
    chosen = torch.tensor([i for i, subject in enumerate(subjects) if subject is not None])
    hops = hop_counts(everything, chosen)[:, chosen]
    direct = (hops == 1).nonzero()
    graph = HopGraph.from_edges(direct, names=[core.names[i] for i in chosen])
    return graph, hops, [subjects[i] for i in chosen], everything


# %%
# Two models
# ----------
# The picture is a hyperbolic plane with one point a page. The model that is used has ten dimensions, two points a page
# and a score of its own for each hop count (``forms``), and a good deal more to say.


def draw_disk(ax, model, graph, subjects):
    way = route(model, graph, "Germany", "Yeast")
    print("a greedy walk in the plane:", " → ".join(way.names))
    at = [graph.names.index(name) for name in way.names]
    poincare_disk(
        model.poincare(),
        labels=graph.names,
        groups=subjects,
        edges=list(itertools.pairwise(at)),
        highlight=[name for name in (*way.names, *NAMED) if name in graph.names],
        title="One point a page (d = 2), with a greedy walk",
        ax=ax,
    )


def run(quick=True):
    """Draw the figure; ``quick`` trains for 300 steps, else 2,500."""
    steps = 300 if quick else 2500
    graph, hops, subjects, everything = pages_and_hops()
    print(f"{len(graph)} of {len(everything):,} pages; mean distance {hops[hops > 0].double().mean():.2f} hops")
    held = held_out_pairs(len(graph), 0.1, seed=0)
    objective = HopRegression(hops=hops, held=held, links=2.0)

    plane = fit(graph, dim=2, objective=objective, two_points=False, steps=steps)
    models = {
        "hyperbolic, one point, d = 2": plane,
        "hyperbolic, two points, d = 10": fit(graph, dim=10, objective=objective, steps=steps),
        "forms, d = 10": fit(graph, dim=10, geometry="bilinear", forms=True, objective=objective, steps=steps),
    }
    print(f"{'on held-out pairs':32} {'R²':>6} {'distortion':>11} {'neighbour MAP':>14}")
    for name, model in models.items():
        score = hop_scores(model, hops, held=held)
        print(f"{name:32} {score.r2:6.3f} {score.average_distortion:11.3f} {score.neighbour_map:14.3f}")

    best = models["forms, d = 10"]
    print(f"Germany → Yeast {best.distance('Germany', 'Yeast'):.1f}, back {best.distance('Yeast', 'Germany'):.1f} hops")
    print("near Hydrogen:", ", ".join(name for name, _ in neighbors(best, "Hydrogen", 8)))

    figure = plt.figure(figsize=(14, 7.6))
    draw_disk(figure.add_axes((0.0, 0.1, 0.56, 0.84)), plane, graph, subjects)
    judged = held.mask() & (hops > 0)
    hop_scatter(
        best, hops, where=judged, title="Held-out pairs (forms, d = 10)", ax=figure.add_axes((0.63, 0.2, 0.34, 0.6))
    )
    return figure


# %%
# ``hsgeo bench hops`` measures all 4,051 pages with five seeds, beside a constant, a star, additive and bilinear
# models, Euclidean points, gensim and geoopt. ``hsgeo hops train wikispeedia-core -o model.safetensors`` trains on
# them.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

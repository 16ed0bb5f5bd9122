"""
Pages placed by their text, then corrected by people
====================================================

A hop model knows the pages it was trained on. Here eight pages are taken out of a small Wikipedia, with all their
links, and put back by what their text says; then somebody tells the model what it has got wrong.
"""

import matplotlib.pyplot as plt
import torch

from hyperspectral_geo import HopGraph, fit
from hyperspectral_geo.data import article_text, load_wikispeedia
from hyperspectral_geo.hyperbolic import hop_counts
from hyperspectral_geo.hyperbolic.feedback import AboutHops, apply_feedback
from hyperspectral_geo.hyperbolic.text import TextHopEncoder

# %%
# A small Wikipedia without eight of its pages
# --------------------------------------------

NEW = ("Beer", "Cheese", "Gold", "Hydrogen", "Chess", "Jazz", "Lion", "Amsterdam")


def small_wikipedia(pages):
    """Graphs with and without the new pages, these last, and all texts."""
    core = load_wikispeedia(core=True)
    most = core.edges.flatten().bincount().argsort(descending=True).tolist()
    kept = [i for i in most if core.names[i] not in NEW][:pages] + [core.names.index(name) for name in NEW]
    number = torch.full((len(core.names),), -1)
    number[kept] = torch.arange(len(kept))
    edges = number[core.edges]
    edges = edges[(edges >= 0).all(1)]
    names = [core.names[i] for i in kept]
    whole = HopGraph.from_edges(edges, names=names)
    known = HopGraph.from_edges(edges[(edges < pages).all(1)], names=names[:pages])
    texts = dict(article_text())
    return whole, known, {name: texts[name] for name in names}


# %%
# Placed by text
# --------------
# The titles that a text mentions, and the texts that mention its title, say which links are probable; these and the
# links of the known pages say how many hops there are. No link of a new page is looked at.


def placed(known, texts, steps):
    model = fit(known, dim=5, geometry="bilinear", forms=True, steps=steps)
    encoder = TextHopEncoder.fit(model, known, {name: texts[name] for name in known.names})
    return encoder.place([texts[name] for name in NEW], NEW, known_texts=texts)


def draw_places(ax, found, true):
    """Expected hops over true ones, and how probable a link is taken to be where there is one."""
    hops, links = found.hops.out.flatten(), found.links.out.flatten()
    counted = sorted(set(true[true > 0].tolist()))
    groups = [hops[true == count].numpy() for count in counted]
    parts = ax.violinplot(groups, counted, showmedians=True, widths=0.8)
    for body in parts["bodies"]:
        body.set_facecolor("#0072b2")
    ax.plot(counted, counted, color="0.6", linestyle="--", linewidth=1, zorder=0)
    ax.set_xticks(counted)
    ax.set_xlabel("hops along the true links")
    ax.set_ylabel("expected hops from the text")
    ax.set_title(f"From {len(found)} new pages to {len(found.model)} known ones")
    real = links[true == 1]
    print(f"{len(real)} links, taken for {real.mean():.2f} probable; other pairs for {links[true != 1].mean():.3f}")


# %%
# Corrected by people
# -------------------
# The new pages are points of the model now. Whoever knows better says so; what is not named stays where it is.


def corrected(model, texts_say):
    answers = [AboutHops("Beer", name, hops, author="ann") for name, hops in texts_say]
    return apply_feedback(model, answers, most_drift=0.05)


def draw_answers(ax, before, after, said):
    """What the model said, what it says now, and what it was told."""
    for row, (name, hops) in enumerate(said):
        old, new = before.distance("Beer", name), after.distance("Beer", name)
        ax.annotate("", (new, row), (old, row), arrowprops={"arrowstyle": "->", "color": "#0072b2", "linewidth": 2})
        ax.plot(old, row, "o", color="0.6", label="before" if row == 0 else None)
        ax.plot(hops, row, "D", color="#d55e00", label="told" if row == 0 else None)
    ax.set_yticks(range(len(said)), [f"Beer → {name}" for name, _ in said])
    ax.margins(0.15)
    ax.set_xlabel("hops")
    ax.set_title("Three answers, and what becomes of them")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)


def run(quick=True):
    """Draw the figure; ``quick`` takes 150 pages and trains for 200 steps, else 1,000 pages and 2,000 steps."""
    whole, known, texts = small_wikipedia(150 if quick else 1000)
    found = placed(known, texts, 200 if quick else 2000)
    true = hop_counts(whole)[len(known) :, : len(known)].flatten()
    for near in found.nearest(0, count=5):
        print(f"Beer → {near.name}: {near.hops:.1f} hops expected, a link with probability {near.link:.2f}")

    said = [(name, float(whole_hops)) for name, whole_hops in far_off(found, whole)]
    model = found.extended()
    result = corrected(model, said)
    print(f"other pairs moved by {result.changes.drift.mean:.2%} in the mean")

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    draw_places(left, found, true)
    draw_answers(right, model, result.model, said)
    return figure


def far_off(found, whole):
    """The three pages that the model's distance from beer is worst for, with the true hops."""
    model, beer = found.extended(), whole.names.index("Beer")
    true = hop_counts(whole, [beer])[0].double()
    off = (model.distances(torch.tensor([model.index("Beer")]))[0].double() - true).abs().masked_fill(true < 1, 0)
    return [(whole.names[i], true[i]) for i in off.argsort(descending=True)[:3].tolist()]


# %%
# ``hsgeo bench hop-text`` places 405 pages of 4,051, five times over. ``hsgeo hops place`` and ``hsgeo hops feedback``
# do the same from the shell, and ``hsgeo explore`` makes a page on which people can look around and answer.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

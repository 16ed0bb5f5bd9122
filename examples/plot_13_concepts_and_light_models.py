"""
Concepts learned apart, and a light model from a large one
==========================================================

A concept is a small module: the mean of its members, the directions in which they vary, and a variance for each. It is
learned from its own members alone, so that concepts can be joined, cut and added without touching each other. A light
model goes the other way: of 1,280 features of a frozen network it picks the few directions that a task needs.
"""

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch

from hyperspectral_geo import load_emoji
from hyperspectral_geo.fusion import (
    Background,
    ConceptClassifier,
    LightModel,
    concept_module,
    difference,
    intersection,
    select,
    union,
)
from hyperspectral_geo.plotting.dimension_curve import dimension_curve

# %%
# Three concepts, and what can be made of them
# --------------------------------------------
# Concepts that share a background, coordinates in which what is usual has variance one, can be compared. The union of
# two has the directions of both, the intersection those that they share, the difference what the other lacks.


def combine(emoji):
    group = np.array(emoji.subcategories)
    background = Background.of(emoji.text)
    fruit, vegetable, transport = (
        concept_module(emoji.text[torch.from_numpy(group == name)], name=name, rank=6, background=background)
        for name in ("food-fruit", "food-vegetable", "transport-ground")
    )
    for other in (vegetable, transport):
        angle = fruit.angles(other)[0].rad2deg()
        print(f"{fruit.name} and {other.name}: least angle {angle:.0f} degrees")
    made = {
        "union": union(fruit, vegetable),
        "intersection": intersection(fruit, vegetable),
        "difference": difference(fruit, vegetable),
    }
    print("fruit and vegetables:", ", ".join(f"{name} {concept.rank} directions" for name, concept in made.items()))


# %%
# A classifier of concepts
# ------------------------
# Every class is a concept of its own. A prediction says which concept it used and how far the next one was behind.
# A tenth class is added later: the modules of the other nine stay as they are, bit for bit.


def classify(emoji, train, test):
    category = np.array(emoji.categories)
    early = [i for i in train.tolist() if category[i] != "Flags"]
    model = ConceptClassifier().fit(emoji.text[early], category[early])
    flags = [i for i in train.tolist() if category[i] == "Flags"]
    flag = concept_module(emoji.text[flags], name="Flags", background=model.background_)
    model = model.with_concept(flag)
    print(f"captions of {len(test)} emoji: {100 * model.score(emoji.text[test], category[test]):.1f} % right")
    for i, use in zip(test[:3].tolist(), model.explain(emoji.text[test[:3]]), strict=True):
        print(f"{emoji.labels[i]}: {use.concept}, {use.margin:.1f} nats before {use.runner_up}")


# %%
# A light model
# -------------
# ``select`` orders directions by how well they tell the classes apart; every prefix is a model, without another fit.
# Principal components, which know nothing of the task, need many more.


def pick(emoji, train, test, sizes=(1, 2, 4, 8, 16, 32, 64)):
    x, xt = emoji.image[train], emoji.image[test]
    names = sorted(set(emoji.categories))
    y = torch.tensor([names.index(name) for name in emoji.categories])
    task = select(x, y[train])
    curves = {"picked": [], "principal components": []}
    principal = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh.T
    for size in sizes:
        part = task.prefix(size).predict(xt) if size <= task.k else None
        curves["picked"].append(float("nan") if part is None else accuracy(part, y[test]))
        head = select((x - x.mean(0)) @ principal[:, :size], y[train])
        curves["principal components"].append(accuracy(head.predict((xt - x.mean(0)) @ principal[:, :size]), y[test]))
    model = LightModel.of(task)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    print(f"{x.shape[1]:,} features to {task.k} coordinates to {len(names)} scores: {numbers:,} numbers")
    largest = 100 * max(Counter(y[test].tolist()).values()) / len(test)
    return dimension_curve(
        sizes,
        {"category of a picture": {name: [values] for name, values in curves.items()}},
        levels={"category of a picture": {"largest class": [largest]}},
        title="A model picked from 1,280 frozen features",
    )


def accuracy(found, truth):
    return 100 * float((found == truth).double().mean())


def run(quick=True):
    """Draw the figure; ``quick`` learns from 700 emoji, else from 1,500."""
    emoji = load_emoji()
    order = torch.randperm(len(emoji.labels), generator=torch.Generator().manual_seed(0))
    train, test = order[400:][: 700 if quick else 1500], order[:400]
    combine(emoji)
    classify(emoji, train, test)
    return pick(emoji, train, test)


# %%
# ``hsgeo fuse pick features.npy labels.txt -o light`` does the same from files.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

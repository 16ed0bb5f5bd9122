"""
Compose modules at run time
===========================

A merge is fixed once it is made. A :class:`~hyperspectral_geo.merging.Composition` keeps the modules apart, on the
network, in a joint basis: their weights change between two calls, or from item to item of one batch, and nothing is
merged anew. The network's own parameters are never written.
"""

import copy
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

from hyperspectral_geo import Composition, merge
from hyperspectral_geo.merging import Dense, Layout, Module, applied, changed_parameters, extract_lora

# %%
# Two modules of one small network
# --------------------------------
# The base network is fitted to a curve. Two copies are fine-tuned to the same curve without its left or its right
# crest. What changed, cut to a low rank, is a module each.


def curve(x):
    return torch.sin(2 * x)


def dip(x, place):
    return curve(x) - torch.exp(-((x - place) ** 2) / 0.3)


DIPS = {"left": -2.36, "right": 0.79}


def fit(network, goal, steps):
    x = torch.linspace(-3, 3, 256).unsqueeze(1)
    adam = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(steps):
        adam.zero_grad()
        nn.functional.mse_loss(network(x), goal(x)).backward()
        adam.step()
    return network


def module(name, tuned, base):
    """What fine-tuning changed, as a module of rank 8."""
    changes = {n: (p - q).detach() for (n, p), q in zip(tuned.named_parameters(), base.parameters(), strict=True)}
    matrices = {n: Dense(c) for n, c in changes.items() if c.ndim == 2}
    layouts = {n: Layout("linear", d.shape) for n, d in matrices.items()}
    vectors = {n: c for n, c in changes.items() if c.ndim == 1}
    found, errors = extract_lora(Module(name, matrices, layouts, vectors), rank=8)
    print(f"{name}: rank 8 loses {100 * max(errors.values()):.1f} % of an update at most")
    return found


# %%
# Weights between calls, and within a batch
# -----------------------------------------


def run(quick=True):
    """Draw the figure; ``quick`` trains for fewer steps."""
    torch.manual_seed(0)
    steps = 1200 if quick else 4000
    base = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    base = fit(base, curve, steps)
    modules = [
        module(name, fit(copy.deepcopy(base), lambda x, at=at: dip(x, at), steps), base) for name, at in DIPS.items()
    ]
    x = torch.linspace(-3, 3, 301).unsqueeze(1)
    with torch.no_grad():
        before = base(x)
        composed = Composition(base, modules)
        together = composed(x)
        merged = applied(base, changed_parameters(base, merge(modules, method="linear")))
        sweep = {}
        for w in (0.0, 0.25, 0.5, 0.75, 1.0):
            composed.set({"left": w, "right": 0.0})
            sweep[w] = composed(x)
        start = time.perf_counter()
        for i in range(100):
            composed.set({"left": i / 100})
        changing = (time.perf_counter() - start) / 100
        # every item of this batch with weights of its own: "left" fades out as "right" fades in
        fade = torch.linspace(0, 1, len(x))
        mixed = composed(x, weights=torch.stack([1 - fade, fade], 1))
        composed.remove("left")
        composed.add(modules[0])
        composed.set({"left": 1.0, "right": 1.0})
        again = composed(x)
        unchanged = torch.equal(composed.unmerge()(x), before)
        start = time.perf_counter()
        for _ in range(20):
            merge(modules, method="linear")
        merging = (time.perf_counter() - start) / 20
        difference = (together - merged(x)).abs().max()
    print(f"composition and merge differ by at most {difference:.0e}; after unmerge the base is itself: {unchanged}")
    print(f"removed and added again: differs by {(again - together).abs().max():.0e}")
    print(f"new weights take {1e3 * changing:.2f} ms, a new merge {1e3 * merging:.1f} ms")

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained", sharey=True)
    colours = plt.get_cmap("viridis")
    for i, (w, y) in enumerate(sweep.items()):
        left.plot(x, y, color=colours(0.9 * i / (len(sweep) - 1)), linewidth=2, label=f"{w:g}")
    left.set(title="one module, weight set between calls", xlabel="x", ylabel="network's output")
    left.legend(frameon=False, title='weight of "left"', loc="upper center", ncols=3)
    right.plot(x, before, color="#6b7280", linewidth=1.2, label="base")
    right.plot(x, together, color="#D55E00", linewidth=2, linestyle=(0, (5, 2)), label="both at weight 1")
    right.plot(x, mixed, color="#0072B2", linewidth=2, label='"left" fades to "right" within the batch')
    right.set(title="both modules", xlabel="x")
    right.legend(frameon=False, loc="upper center")
    left.set_ylim(-1.5, 2.2)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# The modules were trained apart. Together they take both crests away only as far as they do not disturb each other: a
# composition is a weighted sum of the modules, neither better nor worse than that merge.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

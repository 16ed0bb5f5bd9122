"""
Merge four adapters
===================

Four LoRA adapters of one encoder (MiniLM, six layers): questions by type, subjective sentences, opinion words and film
reviews. They are read from their folders, compared by principal angles, merged, and the merged module is asked where it
comes from. None of this needs the base model.

The adapters are looked for in the folder that ``HSGEO_DATA`` names. Without it, adapters of the same shapes with a
common part are drawn at random, so that the example runs; the figure says which it shows.
"""

import time

import matplotlib.pyplot as plt
import torch

from hyperspectral_geo import load_adapter, merge
from hyperspectral_geo.data import shared_data_path
from hyperspectral_geo.merging import Layout, LowRank, Module, attribution, mean_angles, relate

TASKS = {"trec": "#0072B2", "subj": "#E69F00", "mpqa": "#009E73", "sst2": "#CC79A7"}
HATCHES = (None, "//", "..", "xx")
SIDES = {"left": "column spaces (B)", "right": "row spaces (A)"}


def adapters():
    """The four modules, and whether they are the real ones."""
    folder = shared_data_path("adapters", required=False)
    if folder is not None:
        return [load_adapter(folder / f"minilm-{task}", name=task) for task in TASKS], True
    names = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    names = [f"encoder.layer.{i}.{name}.weight" for i in range(6) for name in names]
    draw = torch.Generator().manual_seed(0)

    def factors(count):
        return torch.randn(384, count, generator=draw), torch.randn(count, 384, generator=draw)

    common = {name: factors(2) for name in names}
    modules = []
    for size, task in enumerate(TASKS, start=2):
        deltas = {}
        for name in names:
            left, right = factors(6)
            left, right = torch.cat([common[name][0], left], 1), torch.cat([common[name][1], right], 0)
            deltas[name] = LowRank(size * left / 1000, right)
        modules.append(Module(task, deltas, dict.fromkeys(names, Layout("linear", (384, 384)))))
    return modules, False


# %%
# Merging and asking
# ------------------
# :func:`~hyperspectral_geo.merging.merge` takes the modules and a method's name.
# :func:`~hyperspectral_geo.merging.attribution` then parts the energy of every singular direction of the result among
# the modules, and says how much of each module is still in it (``kept``).


def draw_angles(ax, angles, title):
    shown = angles.clone()
    shown.fill_diagonal_(float("nan"))
    ax.imshow(shown, cmap="viridis", vmin=20, vmax=90)
    for i in range(len(TASKS)):
        for j in range(len(TASKS)):
            if i != j:
                colour = "white" if angles[i, j] < 60 else "black"
                ax.text(j, i, f"{angles[i, j]:.1f}°", ha="center", va="center", color=colour, fontsize=9)
    ax.set(xticks=range(len(TASKS)), yticks=range(len(TASKS)), xticklabels=TASKS, yticklabels=TASKS)
    ax.set_title(title, fontsize=11)
    ax.spines[:].set_visible(False)


def run(quick=True):
    """Draw the figure; ``quick`` makes no difference, since merging takes seconds."""
    modules, real = adapters()
    print("adapters of MiniLM" if real else "random adapters: HSGEO_DATA names no folder with adapters")
    relations = relate(modules)
    angles = {side: torch.tensor(mean_angles(list(TASKS), relations, side=side)).rad2deg() for side in SIDES}
    others = ~torch.eye(len(TASKS), dtype=torch.bool)
    for side, name in SIDES.items():
        found = angles[side][others]
        print(f"mean principal angle of two modules' {name}: {found.min():.1f} to {found.max():.1f} degrees")
    for method in ("linear", "ties", "tsv"):
        start = time.perf_counter()
        merged = merge(modules, method=method)
        seconds = time.perf_counter() - start
        found = attribution(merged, modules)
        parts = [[row.parts[t] for row in found.rows] for t in range(len(TASKS))]
        kept = ", ".join(
            f"{task} {sum(p.kept * p.norm**2 for p in own) / sum(p.norm**2 for p in own):.2f}"
            for task, own in zip(TASKS, parts, strict=True)
        )
        print(f"{method:7} {seconds:.1f} s; share of each module that is in the merge: {kept}")

    figure = plt.figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 2])
    for i, (side, name) in enumerate(SIDES.items()):
        draw_angles(figure.add_subplot(grid[i, 0]), angles[side], f"mean angle of {name}")
    right = figure.add_subplot(grid[:, 1])
    shares = torch.tensor([[part.share for part in row.parts] for row in found.rows])
    place, start = torch.arange(len(found.rows)), torch.zeros(len(found.rows))
    for t, (task, colour) in enumerate(TASKS.items()):
        right.barh(
            place,
            100 * shares[:, t],
            left=100 * start,
            height=0.85,
            color=colour,
            hatch=HATCHES[t],
            edgecolor="white",
            linewidth=0.5,
            label=task,
        )
        start = start + shares[:, t]
    short = [row.name.removeprefix("encoder.layer.").removesuffix(".weight") for row in found.rows]
    right.set_yticks(place, [name.replace("attention.", "").replace("self.", "") for name in short], fontsize=7)
    right.invert_yaxis()
    right.set(xlim=(0, 100), xlabel="energy of the merged update (%)")
    right.set_title("merged by tsv: energy per module", fontsize=11, pad=28)
    right.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    right.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Four adapters of MiniLM" if real else "Four random adapters with a common part")
    return figure


# %%
# Two random subspaces of dimension 8 of R³⁸⁴ lie about 83 degrees apart, and most of these hardly less: what one module
# reads and writes, the others leave alone. Then a sum keeps nearly all of each module, and methods that resolve
# conflicts have little to do. One pair of row spaces lies near, as if both adapters had begun from the same random A,
# which training moves but little; B begins at zero, so column spaces are learned. ``kept`` is not accuracy: it says
# what arrived, not what it is good for.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

"""
Calibrate a merge
=================

A merged module is a basis and eigenvalues. :func:`~hyperspectral_geo.merging.calibrate` keeps the basis and moves only
the eigenvalues, or the small core between the bases, by gradient, until the merged network answers a few unlabelled
inputs as the modules' own networks do. How far it may go is decided on inputs that are held out: where no step lowers
their loss, the merge stays as it was.
"""

import copy
import time
from statistics import mean

import matplotlib.pyplot as plt
import torch
from torch import nn

from hyperspectral_geo import calibrate, merge
from hyperspectral_geo.merging import Dense, Layout, Module, ModuleMatching, applied, changed_parameters

TASKS = 3
RATES = {"eigenvalues": (0.01, 0.03), "core": (0.003, 0.01)}

# %%
# A network of two layers, fine-tuned for three tasks
# ---------------------------------------------------
# Each task has inputs in a place of its own and a map of its own. The modules are what fine-tuning changes.


def inputs(task, count, generator):
    x = torch.randn(count, 16, generator=generator)
    x[:, 4 * task : 4 * task + 8] += 1.0
    return x


def experts(seed):
    """The base network, and a module a task."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    base = nn.Sequential(nn.Linear(16, 48), nn.Tanh(), nn.Linear(48, 8))
    modules = []
    for task in range(TASKS):
        teacher, student = copy.deepcopy(base), copy.deepcopy(base)
        with torch.no_grad():
            for p in teacher.parameters():
                p.add_(torch.randn(p.shape, generator=generator), alpha=0.05)
        adam = torch.optim.Adam(student.parameters(), lr=5e-3)
        for _ in range(200):
            x = inputs(task, 64, generator)
            adam.zero_grad()
            nn.functional.mse_loss(student(x), teacher(x).detach()).backward()
            adam.step()
        changes = {n: (p - q).detach() for (n, p), q in zip(student.named_parameters(), base.parameters(), strict=True)}
        matrices = {n: Dense(c) for n, c in changes.items() if c.ndim == 2}
        layouts = {n: Layout("linear", d.shape) for n, d in matrices.items()}
        modules.append(Module(f"task {task}", matrices, layouts, {n: c for n, c in changes.items() if c.ndim == 1}))
    return base, modules


# %%
# From few inputs
# ---------------
# :class:`~hyperspectral_geo.merging.ModuleMatching` makes folds, a loss and mixtures of the inputs. The anchor is a
# merge without any data. The score is the same loss on 500 new inputs a task.


def score(base, modules, found, fresh):
    matching = ModuleMatching(base, modules, fresh, mixing=False)
    forward = applied(base, changed_parameters(base, found))
    with torch.no_grad():
        return mean(float(matching.objective(forward, b)) for fold in matching.folds(2, batch=250) for b in fold)


def run(quick=True):
    """Draw the figure; ``quick`` takes one draw of the tasks instead of five, and two numbers of inputs."""
    torch.set_num_threads(1)  # matrices this small are slower on several
    seeds, counts = (1, (4, 16)) if quick else (5, (4, 8, 16, 32))
    scores, seconds = {}, []
    for seed in range(seeds):
        base, modules = experts(seed)
        generator = torch.Generator().manual_seed(100 + seed)
        fresh = [inputs(t, 500, generator) for t in range(TASKS)]
        some = [inputs(t, max(counts), generator) for t in range(TASKS)]
        anchor = merge(modules, method="linear", scale=1 / TASKS)
        nothing = merge(modules, method="linear", scale=0.0)
        scores.setdefault("base network", []).append(score(base, modules, nothing, fresh))
        scores.setdefault("mean of the modules", []).append(score(base, modules, anchor, fresh))
        for count in counts:
            matching = ModuleMatching(base, modules, [x[:count] for x in some])
            start = time.perf_counter()
            found = calibrate(
                base,
                anchor,
                matching.folds(4, batch=16),
                matching.objective,
                renew=matching.renew,
                learning_rates=RATES,
                steps=45,
            )
            seconds.append(time.perf_counter() - start)
            scores.setdefault(f"calibrated on {count}", []).append(score(base, modules, found.module, fresh))
        whole = merge(modules, method="linear")
        scores.setdefault("sum of the modules", []).append(score(base, modules, whole, fresh))
    course = found.course
    print(
        f"{count} inputs a task: {course.steps} steps at {course.learning_rate} of the {course.free}, {found.gain:+.1%}"
    )
    for name, values in scores.items():
        print(f"{name:22} loss on new inputs {mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    print(f"calibration takes {mean(seconds):.1f} s")

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    styles = {"eigenvalues": ("#0072B2", "o"), "core": ("#D55E00", "s")}
    ways = list(dict.fromkeys((c.free, c.learning_rate) for c in found.curves))
    for free, rate in ways:
        points = [(c.steps, v) for c, v in found.curves.items() if (c.free, c.learning_rate) == (free, rate)]
        colour, marker = styles[free]
        first = rate == min(r for f, r in ways if f == free)
        left.plot(
            *zip((0, 1.0), *points, strict=True),
            color=colour,
            marker=marker,
            markersize=4,
            linestyle="-" if first else (0, (5, 2)),
            label=f"{free}, step {rate:g}",
        )
    left.plot(course.steps, found.curves[course], "k*", markersize=14, label="chosen")
    left.axhline(1, color="#6b7280", linewidth=1)
    left.set(
        xlabel="steps", ylabel="held-out loss over the anchor's", title=f"{count} inputs a task, one draw of tasks"
    )
    left.legend(frameon=False)
    order = sorted(scores, key=lambda name: mean(scores[name]), reverse=True)
    bars = right.barh(order, [mean(scores[name]) for name in order], color="#9ca3af", height=0.6)
    for bar, name in zip(bars, order, strict=True):
        if name.startswith("calibrated"):
            bar.set_color("#0072B2")
        right.plot([min(scores[name]), max(scores[name])], [bar.get_y() + bar.get_height() / 2] * 2, color="black")
    right.bar_label(bars, fmt="%.3f", padding=6)
    right.margins(x=0.15)
    right.set(xlabel="loss on new inputs (0: each task as by its own module)", title="what was not seen")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# The held-out curves fall while what is learned carries over to other inputs; the lowest point of all is taken. With
# few inputs less is gained, or the merge is left as it was. These are small synthetic tasks: what is gained elsewhere
# depends on how far the merge is from its modules, and on how many inputs there are.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

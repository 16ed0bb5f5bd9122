"""
Merge concepts and re-weight them
=================================

Each group of emoji ("face-smiling", "plant-flower", …) is a concept: the subspace that its pictures span in the
features of a frozen network. The concepts are merged in one common subspace, and its eigenvalues are then tuned on
training pictures. The figure shows how many held-out pictures are given to the right group, against the dimension of
that common subspace.
"""

import time
from collections import Counter

import matplotlib.pyplot as plt
import torch

from hyperspectral_geo import from_activations, from_covariance, load_emoji, principal_angles
from hyperspectral_geo.merging import ConceptSpace, Fold, merge_concepts, reweight

RANK = 6

# %%
# The data
# --------
# The largest groups, 30 % of each held out. Country flags are told apart by country, not as a group, and are left out.


def load(count, seed):
    """Training and test pictures with their labels, centred on the training mean; and the groups' names."""
    emoji = load_emoji()
    sizes = Counter(s for s in emoji.subcategories if s != "country-flag")
    names = [name for name, _ in sizes.most_common(count)]
    rows = [i for i, name in enumerate(emoji.subcategories) if name in names]
    x = emoji.image[rows].double()
    y = torch.tensor([names.index(emoji.subcategories[i]) for i in rows])
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    place = torch.empty_like(y)  # the place of a picture within its group, in random order
    for k in range(count):
        members = order[y[order] == k]
        place[members] = torch.arange(len(members)) * 10 // len(members)
    train, test = place < 7, place >= 7
    centre = x[train].mean(0)
    return x[train] - centre, y[train], x[test] - centre, y[test], names


def concept_bases(x, y, names):
    return [from_activations(x[y == k], rank=RANK, centre=False, name=name) for k, name in enumerate(names)]


# %%
# Eigenvalues from pictures that the bases have not seen
# ------------------------------------------------------
# A concept's own training pictures always lie close to its subspace. So the eigenvalues are tuned by cross-fitting:
# each half of the training pictures is scored by bases of the other half.


def halves(x, y, names):
    part = torch.arange(len(y)) % 2 == 0
    return [Fold(x[p], y[p], concept_bases(x[~p], y[~p], names)) for p in (part, ~part)]


METHODS = {
    "merged, eigenvalues re-weighted": ("#0072B2", "o", "-"),
    "merged": ("#009E73", "^", (0, (5, 2))),
    "plain average of covariances": ("#D55E00", "s", (0, (1, 1))),
}


def run(quick=True):
    """Draw the figure; ``quick`` takes two random splits instead of ten, and fewer dimensions."""
    groups, seeds, dims = (20, 2, (8, 16, 32, 64)) if quick else (20, 10, (8, 16, 32, 64, 96, 120))
    accuracy = {method: torch.zeros(seeds, len(dims)) for method in METHODS}
    unmerged, seconds = torch.zeros(seeds), 0.0
    for seed in range(seeds):
        x, y, x_test, y_test, names = load(groups, seed)
        bases = concept_bases(x, y, names)
        frames = torch.stack([basis.basis for basis in bases])
        folds = halves(x, y, names)
        unmerged[seed] = ((x_test @ frames).square().sum(-1).argmax(0) == y_test).double().mean()
        covariance = sum(x[y == k].mT @ x[y == k] / (y == k).sum() for k in range(groups)) / groups
        principal = from_covariance(covariance, rank=max(dims)).basis
        for i, dim in enumerate(dims):
            merged = merge_concepts(bases, dim=dim)
            start = time.perf_counter()
            weighted = reweight(merged, folds)
            seconds += time.perf_counter() - start
            average = principal[:, :dim]
            plain = ConceptSpace(average, torch.ones_like(average[0]), average.mT @ frames, tuple(names))
            for method, space in zip(METHODS, (weighted, merged, plain), strict=True):
                accuracy[method][seed, i] = (space.scores(x_test).argmax(1) == y_test).double().mean()

    angles = principal_angles(frames[:, None], frames[None]).mean(-1).rad2deg()
    print(f"{len(y)} training and {len(y_test)} test pictures in {groups} groups, {seeds} random splits")
    print(
        f"mean principal angle between two concepts: {angles[~torch.eye(groups, dtype=torch.bool)].mean():.0f} degrees"
    )
    print(f"unmerged, one basis of rank {RANK} a concept: accuracy {unmerged.mean():.3f} (chance {1 / groups:.3f})")
    for method, values in accuracy.items():
        print(f"{method:32}", ", ".join(f"{d}: {v:.3f}" for d, v in zip(dims, values.mean(0).tolist(), strict=True)))
    print(f"re-weighting takes {seconds / seeds / len(dims):.2f} s")

    figure, ax = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for method, (colour, marker, dashes) in METHODS.items():
        values = 100 * accuracy[method]
        ax.plot(dims, values.mean(0), color=colour, marker=marker, linestyle=dashes, linewidth=2, label=method)
        ax.fill_between(dims, values.amin(0), values.amax(0), color=colour, alpha=0.15, linewidth=0)
    ax.axhline(100 * unmerged.mean(), color="#6b7280", linewidth=1.2)
    ax.annotate(
        f"unmerged: {groups} bases of rank {RANK}",
        (dims[-1], 100 * unmerged.mean()),
        (0, 4),
        textcoords="offset points",
        ha="right",
        color="#6b7280",
    )
    ax.axhline(100 / groups, color="#6b7280", linewidth=1, linestyle=":")
    ax.annotate("chance", (dims[-1], 100 / groups), (0, 4), textcoords="offset points", ha="right", color="#6b7280")
    ax.set(xscale="log", xticks=dims, xticklabels=dims, ylim=(0, 90))
    ax.minorticks_off()
    ax.set(xlabel="dimension of the common subspace", ylabel="held-out pictures in the right group (%)")
    ax.set_title(f"{groups} groups of emoji merged in one subspace")
    ax.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.35), title="band: range of the splits")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# A common subspace of about half the dimensions that the concepts have together (20 × 6) tells them apart nearly as
# well as the separate bases. Between the three ways to choose it there is little to see on these data; differences of a
# point or two are within the range of the splits.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

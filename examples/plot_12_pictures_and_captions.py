"""
Pictures and captions in one space
==================================

Two frozen networks have looked at emoji: one at the pictures, one at the captions. Neither knows of the other. A
:class:`~hyperspectral_geo.fusion.SubspaceFusion` finds the directions in which their features agree, from a few hundred
pairs, and puts both in one space.
"""

import io
import warnings

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import normalize

from hyperspectral_geo import load_emoji
from hyperspectral_geo.fusion import NothingShared, SubspaceFusion
from hyperspectral_geo.plotting import png_bytes
from hyperspectral_geo.plotting.joint_map import joint_map
from hyperspectral_geo.plotting.shared_directions import shared_directions

# %%
# Pairs to learn from, and pairs to judge on
# ------------------------------------------
# Flags are kept away from both, for a question at the end.

TEST = 300


def split(pairs):
    """The data, and row numbers to learn from, to judge on, and of flags."""
    emoji = load_emoji()
    order = torch.randperm(len(emoji.labels), generator=torch.Generator().manual_seed(0))
    flag = torch.tensor([category == "Flags" for category in emoji.categories])
    rows = order[~flag[order]]
    return emoji, rows[TEST:][:pairs], rows[:TEST], flag.nonzero()[:, 0]


# %%
# The right partner among 300
# ---------------------------
# R@k is how often the partner of a held-out row is among the k most similar of the other view. The default chooses
# linear or kernel lift, ridge and eigenvalues by cross-fitting on the training pairs; ``method=`` names simpler ones.


def fit_all(train, test):
    """Fusions by method, each fitted on the training pairs and judged on the others."""
    fusions = {name: SubspaceFusion(method=name).fit(train) for name in ("spectral", "rcca", "procrustes")}
    for method, fusion in fusions.items():
        score = fusion.score(test)
        print(f"{method:10}", ", ".join(f"{name} {100 * value:.1f} %" for name, value in score.items()))
    return fusions


# %%
# What there is in common
# -----------------------
# :meth:`~hyperspectral_geo.fusion.SubspaceFusion.explain` gives each direction's correlation on rows that it has not
# seen, beside what shuffled rows reach. If the captions of all pictures are shuffled, nothing is above that: the joint
# space is then empty, and a warning says so.


def shuffled(train, seed=1):
    image, text = train
    other = text[torch.randperm(len(text), generator=torch.Generator().manual_seed(seed))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SubspaceFusion().fit([image, other])
    print("captions shuffled:", *(one.message for one in caught if one.category is NothingShared))


# %%
# In use
# ------
# ``convert`` gives the caption features to be expected beside a picture; ``novelty`` is the share of a sample that the
# joint space cannot speak of. It is asked of flags, and of features dealt anew among the held-out rows, in the linear
# space: a kernel lift finds nearly all of an unseen row new, whatever it is.


def use(fusion, linear, emoji, test, flags):
    expected = fusion.convert(emoji.image[test[:4]], source=0, target=1).to(emoji.text)
    nearest = (normalize(expected, dim=1) @ emoji.text.T).topk(3).indices.tolist()
    for row, found in zip(test.tolist(), nearest, strict=False):
        print(f"a picture of {emoji.labels[row]}: captions near {', '.join(emoji.labels[i] for i in found)}")

    generator = torch.Generator().manual_seed(0)
    for view, (name, x) in enumerate((("pictures", emoji.image), ("captions", emoji.text))):
        dealt = torch.stack([column[torch.randperm(len(test), generator=generator)] for column in x[test].T], 1)
        groups = {"held out": x[test], "flags": x[flags], "dealt anew": dealt}
        medians = [f"{group} {linear.novelty(view, rows).median():.2f}" for group, rows in groups.items()]
        print(f"median novelty of {name}:", ", ".join(medians))


# %%
# A map of some held-out pairs
# ----------------------------
# A line joins a picture and its caption.

SHOWN = ("animal-mammal", "food-fruit", "transport-ground", "sky & weather")


def draw_map(fusion, emoji, test):
    rows = [i for i in test.tolist() if emoji.subcategories[i] in SHOWN]
    codes = fusion.transform([emoji.image[rows], emoji.text[rows]])
    return joint_map(
        [code.numpy() for code in codes],
        names=["picture", "caption"],
        labels=[emoji.labels[i] for i in rows],
        title="Held-out pairs in the joint space",
    )


def stacked(pictures, dpi=100):
    """The library's pictures below each other, at their own size, in one figure that a window can show."""
    width = max(picture.get_figwidth() for picture in pictures)
    heights = [picture.get_figheight() for picture in pictures]
    figure, axes = plt.subplots(len(pictures), figsize=(width, sum(heights)), height_ratios=heights, dpi=dpi)
    figure.subplots_adjust(0, 0, 1, 1, hspace=0)
    for ax, picture in zip(axes, pictures, strict=True):
        ax.imshow(plt.imread(io.BytesIO(png_bytes(picture, dpi=2 * dpi))))
        ax.axis("off")
    return figure


def run(quick=True):
    """Draw the figure; ``quick`` learns from 300 pairs, else from 1,000."""
    emoji, train, test, flags = split(300 if quick else 1000)
    pairs = [emoji.image[train], emoji.text[train]]
    print(f"{len(train)} pairs to learn from, {len(test)} to judge on")
    fusions = fit_all(pairs, [emoji.image[test], emoji.text[test]])
    shuffled(pairs)
    fusion = fusions["spectral"]
    found = fusion.explain()
    print(found)
    use(fusion, fusions["rcca"], emoji, test, flags)
    title = f"{found.shared} of {len(found.held_out)} directions are above chance"
    spectrum = shared_directions(found.correlations, found.held_out, found.edge, chance=found.chance, title=title)
    return stacked([spectrum, draw_map(fusion, emoji, test)])


# %%
# ``hsgeo fuse pictures.npy captions.npy -o model`` does the same from files.

if __name__ == "__main__":
    run(quick=True)
    plt.show()

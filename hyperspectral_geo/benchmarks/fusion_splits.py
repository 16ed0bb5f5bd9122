"""Paired data for retrieval, split at random or by groups that training never sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.data import load_emoji, shared_data_path

__all__ = ["TEST", "PairedSet", "Split", "digit_halves", "emoji", "emoji_hog", "grouped_split", "random_split"]

TEST = 400
"""Items of a test set."""


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the items that are searched among, and of those to train on, in random order."""

    test: Int[Tensor, " m"]
    train: Int[Tensor, " r"]


@dataclass(frozen=True, eq=False)
class PairedSet:
    """Two views of the same things.

    Attributes:
        name: for tables.
        x, y: features, rows i of both belong together.
        groups: name of each row's group if test groups are to be unseen in training, or ``None`` for random splits.
    """

    name: str
    x: Float[Tensor, "n dx"]
    y: Float[Tensor, "n dy"]
    groups: tuple[str, ...] | None = None

    def split(self, seed: int) -> Split:
        """The split of a seed; its first n training rows are the training set of size n."""
        if self.groups is None:
            return random_split(len(self.x), seed=seed)
        return grouped_split(self.groups, seed=seed)


def random_split(rows: int, *, test: int = TEST, seed: int) -> Split:
    """``test`` rows at random, and all others.

    >>> split = random_split(10, test=3, seed=0)
    >>> len(split.test), sorted(split.test.tolist() + split.train.tolist()) == list(range(10))
    (3, True)
    """
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return Split(order[:test], order[test:])


def grouped_split(groups: Sequence[str], *, test: int = TEST, seed: int) -> Split:
    """``test`` rows of groups that are drawn until they suffice, and all rows of the other groups.

    Rows of drawn groups that are left over are in neither part, so no group is in both; a large group that is drawn
    last may leave fewer rows to train on than there are in other splits.

    >>> split = grouped_split(["cat", "cat", "dog", "dog"], test=1, seed=0)
    >>> len(split.test), len(split.train)
    (1, 2)
    """
    generator = torch.Generator().manual_seed(seed)
    names = sorted(set(groups))
    number = {name: i for i, name in enumerate(names)}
    of_row = torch.tensor([number[name] for name in groups])
    order = torch.randperm(len(names), generator=generator)
    counts = torch.bincount(of_row, minlength=len(names))[order].cumsum(0)
    drawn = order[: int((counts < test).sum()) + 1]
    inside = torch.isin(of_row, drawn)
    held_out, others = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
    return Split(
        held_out[torch.randperm(len(held_out), generator=generator)[:test]],
        others[torch.randperm(len(others), generator=generator)],
    )


def emoji(*, grouped: bool) -> PairedSet:
    """EfficientNet-Lite0 and MiniLM features of 1,906 emoji; grouped by subcategory."""
    data = load_emoji()
    name = "emoji, unseen subcategories" if grouped else "emoji, random split"
    return PairedSet(name, data.image, data.text, data.subcategories if grouped else None)


def emoji_hog() -> PairedSet:
    """HOG and colours of 1,601 emoji, and TF-IDF of their captions reduced to 300 numbers.

    Raises:
        FileNotFoundError: if the shared data are missing.
    """
    with np.load(shared_data_path("emoji") / "hog_tfidf_1601.npz", allow_pickle=False) as archive:
        x, y = (torch.from_numpy(archive[key].astype(np.float32)) for key in ("X", "Y"))
    return PairedSet("emoji, HOG × TF-IDF", x, y)


def digit_halves() -> PairedSet:
    """Left and right half of scikit-learn's 1,797 digits of 8 × 8 pixels, 32 numbers each.

    Raises:
        ImportError: if scikit-learn is not installed.
    """
    from sklearn.datasets import load_digits

    images = torch.from_numpy(np.asarray(load_digits()["images"], dtype=np.float32)) / 16
    return PairedSet("digits, left × right", images[:, :, :4].flatten(1), images[:, :, 4:].flatten(1))

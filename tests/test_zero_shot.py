"""Classes named by captions: against means by hand, blocks and kinds of input, bad input, emoji of unseen classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fusion_cases import related

from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.fusion import SubspaceFusion, zero_shot

X, Y = related(160, 9, 7, noise=0.2)
FUSION = SubspaceFusion(method="csa", ridge=0.1, significance=None).fit([X[:120], Y[:120]])
NAMES = {"a": Y[120:125], "b": Y[125], "c": Y[126:128]}


def test_a_class_is_the_mean_of_its_captions():
    found = zero_shot(FUSION, X[120:], NAMES)
    codes = FUSION.encode(1, Y[120:128])
    means = torch.stack([codes[:5].mean(0), codes[5], codes[6:].mean(0)])
    cosines = torch.nn.functional.cosine_similarity(FUSION.encode(0, X[120:])[:, None], means[None], dim=2)
    torch.testing.assert_close(found.similarity, cosines)
    assert found.classes == ("a", "b", "c")
    assert found.labels == ["abc"[i] for i in cosines.argmax(1)]
    assert found.labels[5] == "b"


def test_arrays_and_tensors_are_alike_and_views_turn_round():
    arrays = {name: value.numpy() for name, value in NAMES.items()}
    same = zero_shot(FUSION, X[120:].numpy(), arrays).similarity
    assert torch.equal(same, zero_shot(FUSION, X[120:], NAMES).similarity)
    turned = zero_shot(FUSION, Y[120:], {0: X[120], 1: X[121]}, view=1, caption_view=0)
    assert turned.labels[:2] == [0, 1]


def test_correction_changes_similarities_and_not_their_shape():
    plain, corrected = (zero_shot(FUSION, X[120:], NAMES, corrected=flag).similarity for flag in (False, True))
    assert plain.shape == corrected.shape
    assert not torch.equal(plain, corrected)


BAD = {
    "one class": ({"a": Y[:2]}, "expected two classes or more, got 1"),
    "no class": ({}, "expected two classes or more, got 0"),
    "no captions": ({"a": Y[:2], "b": Y[:0]}, "captions of class 'b': expected one or more, got none"),
    "other width": ({"a": Y[:2], "b": X[:2]}, "captions of class 'b': view 1: expected 7 features"),
    "NaN": (
        {"a": Y[:2] * torch.nan, "b": Y[:2]},
        "captions of class 'a': view 1: expected samples, got a missing one, row 0",
    ),
    "words": ({"a": np.array([["cat"]]), "b": Y[:2]}, "captions of class 'a': view 1: expected real numbers"),
}


@pytest.mark.parametrize(("captions", "message"), BAD.values(), ids=BAD)
def test_bad_captions_are_refused_with_the_class(captions, message):
    with pytest.raises(ValueError, match=message):
        zero_shot(FUSION, X[:3], captions)


def test_unseen_subcategories_of_emoji_are_named_by_their_captions():
    """Fruit, mammals and vehicles, which no pair of the fit has; by chance a third would be right."""
    emoji = load_emoji()
    group = np.array(emoji.subcategories)
    held = ["food-fruit", "animal-mammal", "transport-ground"]
    unseen = np.isin(group, held)
    rows = torch.from_numpy((~unseen).nonzero()[0])[::4]
    fusion = SubspaceFusion(method="csa", ridge=1.0, significance=None).fit([emoji.image[rows], emoji.text[rows]])
    captions, x, truth = {}, [], []
    for name in held:
        members = (group == name).nonzero()[0]
        captions[name] = emoji.text[members[:3]]
        x.append(emoji.image[members[3:]])
        truth += [name] * (len(members) - 3)
    found = zero_shot(fusion, torch.cat(x), captions).labels
    assert np.mean([a == b for a, b in zip(found, truth, strict=True)]) > 0.6

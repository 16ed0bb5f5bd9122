"""TF-IDF and its main directions, beside scikit-learn."""

from __future__ import annotations

from functools import cache
from itertools import islice

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from text_cases import known_texts, new_texts, world

from hyperspectral_geo.data import article_text
from hyperspectral_geo.hyperbolic.text import FamiliarWords, Tfidf
from hyperspectral_geo.hyperbolic.text import tfidf as module


def peer(texts: list[str], *, most: int | None = None, least: int = 3) -> TfidfVectorizer:
    """The same weights by scikit-learn."""
    return TfidfVectorizer(
        sublinear_tf=True, smooth_idf=True, norm="l2", token_pattern=r"\w+", min_df=least, max_df=0.8, max_features=most
    ).fit(texts)


def test_vocabulary_and_rarity_are_scikit_learns():
    found, expected = Tfidf.fit(known_texts()), peer(known_texts())
    assert found.vocabulary == tuple(expected.get_feature_names_out())
    np.testing.assert_allclose(found.rarity.numpy(), expected.idf_, rtol=1e-6)


@pytest.mark.parametrize("texts", [known_texts, new_texts], ids=["known", "new"])
def test_as_many_directions_as_texts_keep_all_products(texts):
    found, expected = Tfidf.fit(known_texts(), dim=10_000), peer(known_texts())
    rows = expected.transform(known_texts()).toarray()
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(found.width), atol=1e-5)
    # What of a text lies among the known ones' rows, of a new one not all.
    other = expected.transform(texts()).toarray()
    np.testing.assert_allclose(found.encode(texts()) @ found.encode(known_texts()).T, other @ rows.T, atol=1e-5)


@pytest.mark.parametrize("way", ["whole", "random"])
def test_main_directions_are_those_of_a_truncated_decomposition(monkeypatch: pytest.MonkeyPatch, way: str):
    if way == "random":
        monkeypatch.setattr(module, "_SMALL", 0)
    found, rows = Tfidf.fit(known_texts(), dim=6), peer(known_texts()).transform(known_texts())
    vectors = found.encode(known_texts()).double().numpy()
    expected = TruncatedSVD(6, algorithm="arpack", random_state=0).fit_transform(rows)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), np.linalg.norm(expected, axis=0), rtol=1e-3)
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=2e-2 if way == "random" else 1e-5)
    largest = found.directions[found.directions.abs().argmax(0), torch.arange(found.width)]
    assert bool((largest > 0).all())


def test_the_random_way_gives_the_same_each_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_SMALL", 0)
    assert torch.equal(Tfidf.fit(known_texts(), dim=5).directions, Tfidf.fit(known_texts(), dim=5).directions)


def test_the_words_in_most_texts_are_kept():
    texts = ["b c d", "b c", "b a", "z", "y"]
    assert Tfidf.fit(texts, most=2, least=1).vocabulary == ("b", "c")
    assert Tfidf.fit(texts, least=2).vocabulary == ("b", "c")
    assert Tfidf.fit(["a b", "a b", "a c", "a c", "a d"], least=1).vocabulary == ("b", "c", "d")  # "a" is in all


def test_words_that_are_not_known():
    found = Tfidf.fit(known_texts(), dim=7)
    vectors = found.encode(["zzz qqq", "", world().titles[0]])
    assert vectors.shape == (3, 7)
    assert not bool(vectors[:2].any())
    assert bool(vectors[2].any())
    assert found.encode([]).shape == (0, 7)


def test_case_does_not_matter_and_unknown_words_neither():
    found = Tfidf.fit(known_texts(), dim=7)
    text = known_texts()[3]
    torch.testing.assert_close(found.encode([text.upper()]), found.encode([text + " zzz"]))


REFUSED = {
    "no texts": (([],), {}, "got none in 0"),
    "no words twice": ((["a", "b"],), {}, "got none in 2"),
    "no words": ((["", "!"],), {"least": 1}, "got none in 2"),
    "no dimension": ((["a b", "a c"],), {"dim": 0}, "dim: expected a whole number >= 1"),
    "half a dimension": ((["a b", "a c"],), {"dim": 2.5}, "dim: expected a whole number >= 1"),
    "no word at most": ((["a b", "a c"],), {"most": 0}, "most: expected"),
    "none at least": ((["a b", "a c"],), {"least": 0}, "least: expected"),
}


@pytest.mark.parametrize(("arguments", "options", "said"), REFUSED.values(), ids=REFUSED)
def test_refusals(arguments: tuple, options: dict, said: str, unchecked):
    with pytest.raises(ValueError, match=said):
        Tfidf.fit(*arguments, **options)


# Language

ENGLISH = "It is one of the oldest drinks that people have made, and it was brewed in the cities of the river valleys."
LANGUAGES = {
    "English": (ENGLISH, False),
    "English, short": ("the oldest of drinks", False),
    "French": (
        "La bière est une boisson alcoolisée obtenue par fermentation de matières glucidiques végétales et d'eau pure.",
        True,
    ),
    "German": (
        "Das Bier ist ein Getränk, das durch Gärung gewonnen wird und zu dem kein Zucker zugesetzt werden darf.",
        True,
    ),
    "Japanese": (
        "ビールは、主に大麦を発芽させた麦芽をビール酵母でアルコール発酵させて作る。世界で最も飲まれている。",
        True,
    ),
    "one word of none": ("Gärung", True),
}


@pytest.mark.parametrize(("text", "foreign"), LANGUAGES.values(), ids=LANGUAGES)
def test_texts_in_another_language_are_told(text: str, foreign: bool, shared_data):
    shared_data("wikispeedia")
    assert _wikispeedia_words().foreign(text) is foreign


@cache
def _wikispeedia_words() -> FamiliarWords:
    return FamiliarWords.of([text for _, text in islice(article_text(), 300)])


def test_familiar_words_by_hand():
    texts = ["a a a a a a b b b b c c", "a b"] * 3  # of the texts of 12 words and more all are common
    found = FamiliarWords.of(texts)
    assert (found.order, found.usual) == (("a", "b", "c"), 1.0)
    assert not found.foreign("a " * 6 + "x " * 6)
    assert found.foreign("a " * 5 + "x " * 6 + "y")
    assert FamiliarWords.of(["a"]).usual == 0

"""Titles in texts: found as a slow search by regular expressions finds them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic.text import TitleIndex
from hyperspectral_geo.hyperbolic.text.mentions import MentionTable
from hyperspectral_geo.hyperbolic.text.words import passages, require_text, require_texts, words

WORDS = ("Sea", "sea", "lion", "of", "ÉTÉ", "été", "x_1")


def slowly(titles: Sequence[str], text: str, page: int) -> list[tuple[int, int, float, float, float, float]]:
    """Rows of one text by an alternation of all titles, the one with most words first."""
    plain = [re.sub(r"\s*\([^)]*\)\s*$", "", title) for title in titles]
    plain = [" ".join(re.findall(r"\w+", p) or re.findall(r"\w+", t)) for p, t in zip(plain, titles, strict=True)]
    by_length = sorted({p.lower() for p in plain if p}, key=lambda p: -p.count(" "))
    found: dict[int, list[tuple[int, str]]] = {}
    joined = " ".join(re.findall(r"\w+", text))
    pattern = "|".join(rf"(?<!\S){re.escape(p)}(?!\S)" for p in by_length) or r"(?!)"
    for match in re.finditer(pattern, joined.lower()):
        written = joined[match.start() : match.end()]
        for other, title in enumerate(plain):
            if title.lower() == match.group() and other != page:
                found.setdefault(other, []).append((joined[: match.start()].count(" "), written))
    return [
        (
            page,
            other,
            float(len(hits)),
            float(hits[0][0]),
            sum(written == plain[other] for _, written in hits) / len(hits),
            sum(written == written.lower() for _, written in hits) / len(hits),
        )
        for other, hits in sorted(found.items())
    ]


def rows(table: MentionTable) -> list[tuple[int, int, float, float, float, float]]:
    numbers = zip(*(getattr(table, name).tolist() for name in ("counts", "first", "cased", "small")), strict=True)
    return [(*pair, *rest) for pair, rest in zip(table.pairs.tolist(), numbers, strict=True)]


title = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
qualified = st.one_of(title, title.map(lambda t: f"{t} (sea)"))


@given(st.lists(qualified, max_size=8), st.lists(st.lists(st.sampled_from(WORDS), max_size=30), min_size=1, max_size=3))
def test_finds_what_a_slow_search_finds(titles: list[str], texts: list[list[str]]):
    written = [", ".join(text) for text in texts]
    pages = range(1, 2 * len(texts), 2)
    found = rows(TitleIndex(titles).find(written, pages))
    expected = [row for text, page in zip(written, pages, strict=True) for row in slowly(titles, text, page)]
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    assert [row[4:] for row in found] == [pytest.approx(row[4:]) for row in expected]


CASES = {
    "longest first": (["Japan", "Prime Minister of Japan"], "the Prime Minister of Japan spoke", {1: 1}),
    "longest first, then the rest": (
        ["Japan", "Prime Minister of Japan"],
        "Prime Minister of Japan, Japan",
        {0: 1, 1: 1},
    ),
    "longest of one first word": (["sea", "sea lion", "sea lion 7"], "sea lion 7, sea lion, sea", {0: 1, 1: 1, 2: 1}),
    "a longer title broken off": (["Prime", "Prime Minister of Japan"], "Prime Minister of", {0: 1}),
    "no overlap": (["a b", "b c"], "a b c", {0: 1}),
    "qualifiers": (["Mercury (planet)", "Mercury (element)", "Mercury"], "mercury", {0: 1, 1: 1, 2: 1}),
    "qualifier alone": (["(planet)"], "a planet", {0: 1}),
    "brackets inside": (["Rock (and) Roll"], "rock and roll", {0: 1}),
    "qualifier is not looked for": (["Mercury (planet)"], "planet", {}),
    "apostrophes": (["Hitchhiker's Guide"], "the Hitchhiker’s guide", {0: 1}),
    "punctuation": (["Saint-Étienne"], "saint étienne, Saint–Étienne", {0: 2}),
    "other script": (["Москва", "北京"], "МОСКВА и 北京", {0: 1, 1: 1}),
    "part of a word": (["cat"], "catalogue concatenate cat's", {0: 1}),
    "decomposed letters differ": (["é"], "e\u0301", {}),
    "empty titles": (["", "?!", "a"], "a ?!", {2: 1}),
    "no titles": ([], "a", {}),
    "empty text": (["a"], "", {}),
    "newlines": (["a b"], "a\n\tb", {0: 1}),
}


@pytest.mark.parametrize(("titles", "text", "counts"), CASES.values(), ids=CASES)
def test_cases(titles: list[str], text: str, counts: dict[int, int]):
    table = TitleIndex(titles).find([text], [len(titles)])
    assert dict(zip(table.pairs[:, 1].tolist(), table.counts.tolist(), strict=True)) == counts
    assert table.pairs[:, 0].tolist() == [len(titles)] * len(counts)
    assert len(table) == len(counts)


def test_a_text_does_not_mention_its_own_title_but_another_of_the_same_words():
    table = TitleIndex(["Mercury (planet)", "Mercury (element)"]).find(["Mercury, Mercury", "Mercury"], [0, 1])
    assert table.pairs.tolist() == [[0, 1], [1, 0]]
    assert table.counts.tolist() == [2, 1]


def test_place_and_spelling():
    index = TitleIndex(["Sea Lion", "Beer"])
    table = index.find(["A Sea Lion, a sea lion, a Sea lion; BEER"], [2])
    assert table.first.tolist() == [1, 9]
    assert table.cased.tolist() == pytest.approx([1 / 3, 0])
    assert table.small.tolist() == pytest.approx([1 / 3, 0])


def test_shapes():
    titles = ["Bank of England", "Sea lion", "Mercury (planet)", "Mercury (element)", "", "X"]
    assert TitleIndex(titles).shapes().tolist() == [
        [1, 3, 0, 0],
        [1, 2, 0, 1],
        [2, 1, 1, 1],
        [2, 1, 1, 1],
        [0, 0, 0, 0],
        [1, 1, 0, 1],
    ]
    assert len(TitleIndex(titles)) == 6
    assert TitleIndex([]).shapes().shape == (0, 4)


def test_pairs_are_in_order_and_texts_may_be_any_pages():
    index = TitleIndex(["a", "b", "c"])
    table = index.find(["c b a", "b c", "a"], [1, 7, 9])
    assert table.pairs.tolist() == [[1, 0], [1, 2], [7, 1], [7, 2], [9, 0]]
    assert table.pairs.dtype == torch.int64
    with pytest.raises(ValueError, match="argument"):
        index.find(["a"], [1, 2])


# Words and passages


@given(st.text(max_size=60), st.integers(1, 5), st.integers(1, 4))
def test_passages_are_the_first_words_in_order(text: str, length: int, most: int):
    found = passages(text, length=length, most=most)
    assert " ".join(found).split() == text.split()[: length * most]
    assert 1 <= len(found) <= most
    assert all(len(piece.split()) == length for piece in found[:-1])


@given(st.text(max_size=60))
def test_words_are_runs_of_word_characters(text: str):
    assert "".join(words(text)) == "".join(c for c in text if re.match(r"\w", c))


@pytest.mark.parametrize("text", ["", " \n", "?!", "\u200b", None, 3, b"bytes", ["a"]], ids=repr)
def test_what_is_no_text_is_refused_by_name(text: object, unchecked):
    with pytest.raises(ValueError, match="^text of 'Beer': expected a text"):
        require_text(text, "text of 'Beer'")
    with pytest.raises(ValueError, match="text of 'b'"):
        list(require_texts(["fine", text], ["a", "b"]))  # pyright: ignore[reportArgumentType]


def test_numbers_of_texts_and_names_must_agree():
    with pytest.raises(ValueError, match="expected one for each of 2 titles, got 1"):
        list(require_texts(["a"], ["a", "b"]))

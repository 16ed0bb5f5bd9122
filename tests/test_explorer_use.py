"""Using the explorer page: what it shows of a model, by hand and by keys, and the journal that it saves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_cases import DIGEST, NAMES, Watched, chromium, opened, random_atlas, small, written

from hyperspectral_geo.hyperbolic.feedback.constraint_file import read_constraints

__all__ = ["chromium", "small"]


@pytest.fixture(autouse=True)
def _cleared(small: Watched) -> None:
    """The shared page as it was opened, but for what the journal holds."""
    small.page.focus("#map")
    small.page.keyboard.press("Escape")
    small.page.keyboard.press("0")


def hops(source: str, target: str) -> float:
    """What the factors in the page say."""
    table = random_atlas(NAMES)
    u, v = NAMES.index(source), NAMES.index(target)
    return float((table.source[u] * table.scales) @ table.target[v].astype(float))


# What it shows


def test_the_nearest_are_those_of_the_model_in_both_directions(small: Watched):
    atlas = random_atlas(NAMES)
    i = NAMES.index("Beer")
    small.choose("beer")
    assert small.text("#selected-name") == "Beer"
    assert "Selected Beer. Nearest:" in small.text("#status")
    listed = small.texts("#nearest button.name")
    assert listed[:4] == [NAMES[j] for j in atlas.onward.numbers[i]]
    shown = [float(text.split()[0]) for text in small.texts("#nearest .hops")[:4]]
    assert shown == pytest.approx(atlas.onward.hops[i], abs=0.06)
    assert small.texts("#nearest .hops")[4].startswith("≈")
    small.page.check("[value=backward]", force=True)
    assert small.texts("#nearest button.name")[:4] == [NAMES[j] for j in atlas.backward.numbers[i]]
    small.page.check("[value=onward]", force=True)


def test_pairs_are_estimated_and_links_are_named(small: Watched):
    small.choose("Beer")
    assert "links to 1" in small.text("#selected-note")
    small.choose("angstrom", field="#pair-to")
    said = small.text("#pair-estimate")
    assert f"{hops('Beer', 'Ångström'):.1f} hop" in said
    assert f"{hops('Ångström', 'Beer'):.1f} hop" in said


def test_rings_hold_as_many_concepts_as_the_estimates_say(small: Watched):
    atlas = random_atlas(NAMES)
    estimates = (atlas.source[0] * atlas.scales) @ atlas.target.T.astype(float)
    estimates[atlas.onward.numbers[0]] = atlas.onward.hops[0]
    small.choose("Beer")
    small.page.check("[value=hops]", force=True)
    small.page.check("[value=rings]", force=True)
    shown = dict(zip(small.texts("#legend .name"), map(int, small.texts("#legend .count")), strict=True))
    last = max(int(name.split()[0]) for name in shown if name[0].isdigit())
    rings = np.clip(np.rint(estimates[1:]), 1, None).astype(int).tolist()
    expected = Counter("farther" if ring > last else f"{ring} hop{'s' * (ring > 1)}" for ring in rings)
    assert shown == {"itself": 1, **expected}
    assert len(shown) > 3


@pytest.mark.parametrize(
    ("far", "step"),
    [
        (0.05, 0.01),
        (0.5, 0.1),
        (1.5, 0.2),
        (2, 1),
        (5, 1),
        (8, 1),
        (9, 2),
        (12, 2),
        (40, 5),
        (41, 10),
        (400, 50),
        (3e4, 5e3),
    ],
)
def test_rings_are_round_numbers_apart(small: Watched, far: float, step: float):
    assert small.page.evaluate("far => Scene.ringStep(far)", far) == step
    assert far / step <= 8


def test_what_no_way_leads_to_is_not_near(chromium: Any, tmp_path: Path):
    links = np.array([[0, 1], [1, 2], [3, 0]])
    with opened(chromium, written(tmp_path, random_atlas(NAMES[:6], links=links))) as watched:
        watched.choose("Beer")
        assert sorted(watched.texts("#nearest button.name")) == ["Hops", "Yeast"]
        watched.page.check("[value=backward]", force=True)
        assert watched.texts("#nearest button.name") == ["Steel"]
        assert watched.faults == []


# Hands and keys


def test_keys_move_zoom_select_and_search(small: Watched):
    page = small.page
    picture = lambda: page.evaluate("document.querySelector('#map').toDataURL()")  # noqa: E731
    page.focus("#map")
    seen = [picture()]
    for key in ("ArrowLeft", "ArrowUp", "+", "-", "ArrowRight", "0"):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
        seen.append(picture())
    assert len(set(seen)) == 5
    assert (seen[2], seen[0]) == (seen[4], seen[6])  # − undoes +, and 0 goes home
    page.keyboard.press("Enter")
    assert small.text("#selected-name") in NAMES
    page.keyboard.press("Escape")
    assert small.text("#selected-name") == "Nothing selected"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("concept 1")
    page.keyboard.press("ArrowDown")
    chosen = page.get_attribute("#search", "aria-activedescendant")
    assert page.get_attribute(f"#{chosen}", "aria-selected") == "true"
    wanted = small.text(f"#{chosen}")
    page.keyboard.press("Enter")
    assert small.text("#selected-name") == wanted


def test_everything_is_reached_by_tab_and_has_a_name(small: Watched):
    page = small.page
    small.choose("Beer")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas, summary")]
          .filter((e) => e.offsetParent && !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
          .map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    reached = ["search"]  # where the name was typed
    while reached.count("search") < 2 and len(reached) < 90:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {"search", "map", "zoom-in", "home", "centre", "pair-to", "author", "Pair", "more"} <= set(reached)
    order = [reached.index(name) for name in ("search", "zoom-out", "map", "centre", "pair-to", "author")]
    assert order == sorted(order)


def test_a_point_is_selected_by_a_click_and_paired_by_another(small: Watched):
    page = small.page
    box = page.locator("#map").bounding_box()

    def at(i: int) -> tuple[float, float]:
        x, y = random_atlas(NAMES).places[i]
        size = min(box["width"], box["height"]) / 2 - 14
        return box["x"] + box["width"] / 2 + size * x, box["y"] + box["height"] / 2 + size * y

    page.mouse.click(*at(3))
    assert small.text("#selected-name") == "Steel"
    page.keyboard.press("0")
    page.keyboard.down("Shift")
    page.mouse.click(*at(1))
    page.keyboard.up("Shift")
    assert page.input_value("#pair-to") == "Yeast"


# The journal


def test_the_saved_journal_is_what_the_library_reads(small: Watched, tmp_path: Path):
    page = small.page
    small.choose("Beer")
    page.fill("#author", "Ada")
    small.choose("Yeast", field="#pair-to")
    page.click("#farther")
    page.check("#both")
    page.click("#closer")  # of the same pair: replaces what was said before
    small.choose("Steel", field="#pair-to")
    page.uncheck("#both")
    page.fill("#hops", "4")
    page.select_option("#strength", "0.5")
    page.click("#about")
    small.choose("Hops", field="#pair-to")
    page.click("#pair summary")
    small.choose("Steel", field="#far")
    page.click("#nearer")
    page.click("#farther")
    assert small.texts("#answers .name") == [
        "Beer ↔ Yeast: should be closer",
        "Beer → Steel: about 4 hops",
        "Beer: nearer to Hops than to Steel",
        "Beer → Hops: should be farther",
    ]
    page.click("#answers li:last-child button")
    with page.expect_download() as download:
        page.click("#save")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    header = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    assert header == {"kind": "journal", "format": 1, "model": DIGEST, "points": len(NAMES)}
    said = read_constraints(file, names=NAMES)
    records = [{k: v for k, v in one.as_record().items() if k != "time"} for one in said]
    assert records == [
        {"kind": "closer", "source": "Beer", "target": "Yeast", "both": True, "author": "Ada"},
        {"kind": "hops", "source": "Beer", "target": "Steel", "hops": 4, "strength": 0.5, "author": "Ada"},
        {"kind": "nearer", "anchor": "Beer", "near": "Hops", "far": "Steel", "strength": 0.5, "author": "Ada"},
    ]
    assert all(one.time is not None for one in said)
    assert small.faults == []


@pytest.mark.parametrize("wrong", ["0", "-3", "2.5", "", "1000"])
def test_hops_that_are_none_are_not_kept(small: Watched, wrong: str):
    before = len(small.texts("#answers li"))
    small.choose("Beer")
    small.choose("Yeast", field="#pair-to")
    small.page.fill("#hops", wrong)
    small.page.click("#about")
    assert "expected a whole number" in small.text("#status")
    assert small.page.get_attribute("#hops", "aria-invalid") == "true"
    assert len(small.texts("#answers li")) == before
    small.page.fill("#hops", "2")
    small.page.click("#about")
    assert small.page.get_attribute("#hops", "aria-invalid") == "false"
    small.page.click("#answers li:last-child button")
    assert small.page.evaluate("document.activeElement.id") == "journal-title"

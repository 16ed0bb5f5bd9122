"""What an explorer page is made of: columns that unpack to what went in, a policy of the right hashes, refusals."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import tomllib
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_cases import DIGEST, HOSTILE, random_atlas
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.plotting.explorer import Atlas, Nearest, explorer_page, write_explorer
from hyperspectral_geo.plotting.explorer.packing import packed, script_safe

NAMES = [f"concept {i}" for i in range(300)]


def column(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def numbers(text: str, width: int) -> np.ndarray:
    """Numbers whose lowest bytes come first."""
    planes = np.frombuffer(column(text), np.uint8).reshape(width, -1).astype(np.int64)
    return (planes << (8 * np.arange(width)[:, None])).sum(0)


def test_columns_unpack_to_what_was_packed():
    draw = np.random.default_rng(1)
    links = draw.integers(0, 300, (900, 2))
    groups = [("a", "b", None)[i % 3] for i in range(299)] + ["b"]
    atlas = random_atlas(NAMES, ranks=5, groups=groups, links=links)
    record = json.loads(script_safe(packed(atlas, title="t")))
    assert json.loads(column(record["names"])) == NAMES
    places = numbers(record["places"], 2).astype(np.uint16).view(np.int16).reshape(2, 300).T / 32767
    assert np.abs(places - atlas.places).max() <= 0.51 / 32767
    assert record["groups"] == ["b", "a"]  # the larger one first
    assert list(column(record["group"])) == [{"a": 1, "b": 0, None: 255}[name] for name in groups]
    for side in ("source", "target"):
        assert np.array_equal(np.frombuffer(column(record[side]), np.int8).reshape(-1, 300).T, getattr(atlas, side))
    low, high = record["hopRange"]
    for side in ("onward", "backward"):
        assert np.array_equal(numbers(record[side]["numbers"], 4).reshape(5, 300).T, getattr(atlas, side).numbers)
        steps = np.frombuffer(column(record[side]["rises"]), np.uint8).reshape(5, 300).astype(int).cumsum(0).T
        assert np.abs(low + steps * (high - low) / 255 - getattr(atlas, side).hops).max() <= (high - low) / 509
    counts, gaps = (numbers(record["links"][part], 4) for part in ("counts", "gaps"))
    ends = np.concatenate([run.cumsum() for run in np.split(gaps, counts.cumsum()[:-1])])
    found = np.stack([np.repeat(np.arange(300), counts), ends], 1)
    assert np.array_equal(found, links[np.lexsort((links[:, 1], links[:, 0]))])


def test_what_is_the_same_both_ways_is_packed_once():
    record = packed(random_atlas(NAMES, directed=False), title="t")
    assert (record["backward"], record["links"], record["groups"]) == (None, None, [])


def test_beyond_28_groups_the_smallest_have_no_colour():
    groups = [str(i % 28) for i in range(299)] + ["alone"]
    record = packed(random_atlas(NAMES, groups=groups), title="t")
    assert len(record["groups"]) == 28
    assert column(record["group"])[-1] == 255


@given(st.text() | st.dictionaries(st.text(), st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.text())))
def test_json_for_a_script_element_says_the_same_and_leaves_it_not(value: Any):
    text = script_safe(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set(text) & set("<>&")


# The page


def parts(page: str) -> tuple[str, list[str], str, str]:
    """Policy, scripts, style, title."""
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert len(policy) == 1
    style, title = (re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL) for tag in ("style", "title"))
    return html.unescape(policy[0]), [text for _, text in scripts], style[0], html.unescape(title[0])


@pytest.mark.parametrize("title", ["Concepts", *HOSTILE[::9], "{script}{atlas}{policy}"])
def test_the_policy_names_this_script_and_style_and_no_other(title: str):
    policy, scripts, style, shown = parts(explorer_page(random_atlas(HOSTILE, groups=HOSTILE), title=title))
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (scripts[1], style)]
    assert f"script-src 'sha256-{hashes[0]}'" in policy
    assert f"style-src 'sha256-{hashes[1]}'" in policy
    for said in ("default-src", "connect-src", "form-action", "base-uri"):
        assert f"{said} 'none'" in policy
    assert "unsafe" not in policy
    assert len(scripts) == 2
    assert json.loads(scripts[0])["title"] == title
    assert "".join(c for c in title if c.isprintable()) == "".join(
        c for c in shown if c.isprintable() and c != "\ufffd"
    )


def test_nothing_in_the_page_names_another_place():
    page = explorer_page(random_atlas(NAMES), title="Concepts")
    assert re.findall(r"(?:https?:)?//[\w.]+\.\w+", page.split('type="application/json"')[0]) == []
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch("):
        assert unsafe not in page


def test_the_same_atlas_gives_the_same_page():
    assert explorer_page(random_atlas(NAMES), title="x") == explorer_page(random_atlas(NAMES), title="x")


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path):
    path = write_explorer(tmp_path / "page.html", random_atlas(NAMES), title="Concepts")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="title: expected a text, got an empty one"):
        write_explorer(path, random_atlas(NAMES), title="  ")
    with pytest.raises(FileNotFoundError, match="existing folder"):
        write_explorer(tmp_path / "missing" / "page.html", random_atlas(NAMES), title="Concepts")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["page.html"]


def test_assets_are_short_and_travel_with_the_package():
    folder = files("hyperspectral_geo.plotting.explorer")
    assets = {
        found.name: found.read_text(encoding="utf-8")
        for found in folder.iterdir()
        if Path(found.name).suffix in (".js", ".css", ".html")
    }
    assert {"page.html", "style.css", "disk.js", "journal.js"} <= set(assets)
    assert {name for name, text in assets.items() if text.count("\n") > 250} == set()
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["hyperspectral_geo"]
    assert not {"exclude", "only-include"} & set(wheel)


# What is refused

ONE = np.ones((2, 1), np.int8)
GOOD: dict[str, Any] = {
    "names": ["a", "b"],
    "places": np.array([[0.0, 0.0], [0.5, 0.1]]),
    "onward": Nearest(np.array([[1], [0]]), np.array([[1.0], [1.0]])),
    "source": ONE,
    "target": ONE,
    "scales": np.ones(1),
    "mean_error": 0.1,
    "digest": DIGEST,
}
BAD = {
    "no concepts": ({"names": []}, "names: expected at least one"),
    "one name for all": ({"names": "ab"}, "names: expected 2 items"),
    "too many places": ({"places": np.zeros((3, 2))}, r"places: expected shape \(2, 2\)"),
    "a place outside": ({"places": np.array([[0.0, 0.0], [1.0, 0.1]])}, "places: expected points inside"),
    "a place nowhere": ({"places": np.array([[0.0, np.nan], [0.5, 0.1]])}, "places: expected finite"),
    "three coordinates": ({"places": np.zeros((2, 3))}, "places: expected shape"),
    "a neighbour that is none": (
        {"onward": (np.array([[1], [2]]), np.ones((2, 1)))},
        "onward.numbers: expected numbers of concepts from 0 to 1, got 1 to 2",
    ),
    "fewer hops than neighbours": ({"onward": (np.array([[1], [0]]), np.ones((2, 2)))}, "onward.hops: expected"),
    "hops that are none": ({"onward": (np.array([[1], [0]]), np.array([[1.0], [np.inf]]))}, "onward.hops"),
    "the farthest first": (
        {"onward": (np.array([[1, 0], [0, 1]]), np.array([[1.0, 2.0], [2.0, 1.0]]))},
        "onward.hops: expected the nearest first in every row, got another order in row 1",
    ),
    "neighbours of others": ({"backward": (np.array([[0]]), np.ones((1, 1)))}, "backward.numbers: expected"),
    "factors of others": ({"source": np.ones((3, 1), np.int8)}, r"source: expected shape \(2, 1\)"),
    "scales of another rank": ({"scales": np.ones(2)}, r"source: expected shape \(2, 2\)"),
    "an error that is none": ({"mean_error": -0.1}, "mean_error: expected"),
    "an infinite error": ({"mean_error": np.inf}, "mean_error: expected"),
    "a digest that is none": ({"digest": "</script>"}, "digest: expected 8 to 128 hexadecimal"),
    "a digest in capitals": ({"digest": "AB" * 32}, "digest: expected"),
    "too few groups": ({"groups": ["a"]}, "groups: expected 2 items"),
    "a link to nowhere": ({"links": np.array([[0, 2]])}, "links: expected indices from 0 to 1"),
    "links that are no pairs": ({"links": np.array([[0, 1, 1]])}, "links: expected integers of shape"),
}


@pytest.mark.parametrize(("changed", "said"), BAD.values(), ids=BAD)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, Any], said: str, unchecked: None):
    Atlas(**GOOD)
    # Made here, where types are not checked.
    made = {key: Nearest(*value) if isinstance(value, tuple) else value for key, value in changed.items()}
    with pytest.raises(ValueError, match=said):
        Atlas(**(GOOD | made))

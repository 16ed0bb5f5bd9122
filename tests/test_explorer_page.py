"""The explorer page in a real browser: quick, silent, deaf to hostile titles, right in its geometry."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explorer_cases import DIGEST, HOSTILE, NAMES, Watched, chromium, opened, random_atlas, small, written

from hyperspectral_geo.manifolds import Lorentz
from hyperspectral_geo.plotting import disk_distance, geodesic_arc
from hyperspectral_geo.plotting.explorer import Atlas, Nearest

__all__ = ["chromium", "small"]

# Quick and silent


def large_atlas(names: list[str]) -> Atlas:
    """What compresses worst: all numbers random, seven nearest in each direction, factors of rank 10, twelve groups."""
    n, draw = len(names), np.random.default_rng(0)
    few = random_atlas(names[:100], rank=10)

    def nearest() -> Nearest:
        return Nearest(draw.integers(0, n, (n, 7)), np.sort(draw.uniform(1, 3, (n, 7)), axis=1))

    source, target = (draw.integers(-127, 128, (n, 10)).astype(np.int8) for _ in range(2))
    places, groups = draw.uniform(-0.7, 0.7, (n, 2)), [f"kind {i}" for i in draw.integers(0, 12, n)]
    return Atlas(names, places, nearest(), source, target, few.scales, 0.05, DIGEST, nearest(), groups)


def test_a_page_of_5000_is_small_quick_and_asks_for_nothing(chromium: Any, tmp_path: Path):
    names = [f"Concept number {i} of {i % 97}" for i in range(5_000)]
    file = written(tmp_path, large_atlas(names))
    assert file.stat().st_size <= 500_000
    first = []
    for _ in range(3):
        with opened(chromium, file) as watched:
            first.append(watched.marks()["first picture"])
            assert watched.requests == [file.as_uri()]
            assert watched.faults == []
    assert statistics.median(first) <= 1_500


def test_the_first_picture_shows_the_points(small: Watched):
    ink = small.page.evaluate(
        """() => {
          const canvas = document.querySelector("#map"), context = canvas.getContext("2d");
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height), colours = new Set();
          for (let i = 0; i < data.length; i += 4) colours.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
          return colours.size;
        }"""
    )
    assert ink > 50
    assert small.texts("#legend .name") == ["red", "green", "other"]


# Hostile titles

TAKE = """async (name) => {
  const field = document.querySelector("#search");
  field.value = name;
  field.dispatchEvent(new Event("input"));
  const offered = [...document.querySelectorAll("#search-list [role=option]")];
  const found = offered.find((option) => option.textContent === name);
  found?.dispatchEvent(new PointerEvent("pointerdown", { bubbles: true, cancelable: true }));
  await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
  return found !== undefined;
}"""
"""Searches for a name, takes it where it is offered to the letter, and waits until the map has painted it."""


def test_a_hundred_hostile_titles_are_text_in_every_view(chromium: Any, tmp_path: Path):
    assert len(set(HOSTILE)) == 100
    file = written(tmp_path, random_atlas(HOSTILE, groups=HOSTILE), title=HOSTILE[1])
    with opened(chromium, file, reduced_motion="reduce") as watched:
        page = watched.page
        elements = page.evaluate("document.querySelectorAll('*').length")
        for name in HOSTILE:
            assert page.evaluate(TAKE, name), name
            assert watched.text("#selected-name") == name
            assert set(watched.texts("#nearest button.name")) <= set(HOSTILE)
            assert len(watched.texts("#nearest li")) == 8
            page.evaluate("document.querySelector('#clear').click()")
        page.evaluate(TAKE, HOSTILE[0])
        assert page.title() == HOSTILE[1]
        page.evaluate("document.querySelector('#nearest .small').click(); document.querySelector('#closer').click()")
        page.hover("#map", position={"x": 300, "y": 300})
        page.evaluate("document.querySelector('#clear').click()")
        page.evaluate("document.querySelector('#answers .small').click()")
        page.wait_for_timeout(100)
        assert watched.faults == []
        assert watched.requests == [file.as_uri()]
        assert page.evaluate("document.querySelectorAll('script').length") == 2
        assert page.evaluate("document.querySelectorAll('img, iframe, svg, form, base, object, math').length") == 0
        assert page.evaluate("document.querySelectorAll('*').length") < elements + 100


def test_the_policy_stops_what_a_fault_of_the_page_would_let_through(chromium: Any, tmp_path: Path):
    with opened(chromium, written(tmp_path, random_atlas(NAMES))) as watched:
        tried = watched.page.evaluate(
            """async () => {
              const outcome = async (act) => {
                try { await act(); return "done"; } catch (error) { return error.name; }
              };
              const inline = document.createElement("p");
              return [
                await outcome(() => inline.setAttribute("onclick", "document.title = 'ran'")),
                await outcome(() => fetch("https://example.org/")),
                await outcome(() => { document.body.innerHTML = "<b>x</b>"; }),
                await outcome(() => { document.createElement("script").text = "document.title = 'ran'"; }),
                document.title,
              ];
            }"""
        )
        assert tried == ["TypeError"] * 4 + ["Concepts"]


@pytest.mark.parametrize("place", ["names", "places", "onward", "target"])
def test_a_damaged_page_says_so(chromium: Any, tmp_path: Path, place: str):
    file = written(tmp_path, random_atlas(NAMES))
    page = file.read_text(encoding="utf-8")
    at = page.index(f'"{place}":') + len(place) + 24
    file.write_text(page[:at] + page[at + 8 :], encoding="utf-8")
    with opened(chromium, file, state="failed") as watched:
        said = watched.text("body")
        assert "This page could not be unpacked (" in said
        assert watched.faults == []


# Geometry


def test_isometries_keep_distances_and_meet_pythons(small: Watched):
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    points = points / (1 + torch.linalg.vector_norm(points, dim=1, keepdim=True)) * 0.99
    p, q, a, b = (part.tolist() for part in points.reshape(4, 10, 2))
    found = small.page.evaluate(
        """([p, q, a, b]) => p.map((_, i) => {
          const move = Disk.carry(...a[i], ...b[i]);
          const there = Disk.apply(move, ...p[i]), other = Disk.apply(move, ...q[i]);
          const back = Disk.apply(Disk.carry(...b[i], ...a[i]), ...there);
          return { moved: Disk.apply(move, ...a[i]), back, there, other };
        })""",
        [p, q, a, b],
    )
    ball = torch.stack([points[:10], points[10:20]])
    space = 2 * ball / (1 - ball.square().sum(-1, keepdim=True))
    x, y = Lorentz().projx(torch.cat([torch.zeros_like(space[..., :1]), space], -1))
    by_lorentz = Lorentz().dist(x, y)
    for i, one in enumerate(found):
        assert one["moved"] == pytest.approx(b[i], abs=1e-12)
        assert one["back"] == pytest.approx(p[i], abs=1e-10)
        assert float(disk_distance(one["there"], one["other"])) == pytest.approx(float(by_lorentz[i]), rel=1e-9)


def test_arcs_are_geodesics(small: Watched):
    for start, end in (([0.5, 0.1], [-0.2, 0.6]), ([0.9, 0.0], [0.1, -0.8]), ([-0.3, -0.3], [0.7, -0.6])):
        arc = small.page.evaluate("([p, q]) => Disk.arc(...p, ...q)", [start, end])
        centre = np.array([arc["cx"], arc["cy"]])
        on_it = np.linalg.norm(geodesic_arc(start, end) - centre, axis=1)
        assert on_it == pytest.approx(arc["radius"], rel=1e-9)
        assert centre @ centre == pytest.approx(1 + arc["radius"] ** 2)
        assert centre + arc["radius"] * np.array([math.cos(arc["to"]), math.sin(arc["to"])]) == pytest.approx(end)
    assert small.page.evaluate("Disk.arc(0.5, 0.5, -0.2, -0.2)") is None

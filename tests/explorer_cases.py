"""What the tests of the explorer page share: atlases, hostile titles, and a real browser that is watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperspectral_geo.plotting.explorer import Atlas, Nearest, write_explorer

DIGEST = "0123456789abcdef" * 4
NAMES = ["Beer", "Yeast", "Hops", "Steel", "Ångström", "New York", *(f"Concept {i}" for i in range(60))]

# Each would raise the canary, ask for something or break out of its place, were it anything but text.
PAYLOADS = (
    "<script>canary()</script>",
    "</script><script>canary()</script>",
    "<img src=x onerror=canary()>",
    "<svg onload=canary()>",
    "<iframe src='javascript:canary()'></iframe>",
    "<a href=javascript:canary()>click</a>",
    "<style>@import 'https://example.org/x.css'</style>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<img src=https://example.org/x.png>",
    "<base href=https://example.org/>",
    "<meta http-equiv=refresh content='0;url=https://example.org'>",
    "<form action=https://example.org><button autofocus>go</button></form>",
    "${canary()}",
    "{{constructor.constructor('canary()')()}}",
    "javascript:canary()",
    "*{background:url(https://example.org/x)}",
    "<details open ontoggle=canary()>",
    "<body onload=canary()>",
    "<math><mi xlink:href='javascript:canary()'>",
    "]]><script>canary()</script>",
)
SETTINGS = ("{}", '"></li>{}', "'/*-->{}<!--", "\u2028\u2029{}\u202e\x00\x1b[31m", "{atlas}{}\\u003c&lt;")
HOSTILE = [setting.replace("{}", payload) for payload, setting in product(PAYLOADS, SETTINGS)]


def random_atlas(names: list[str], *, ranks: int = 4, rank: int = 3, directed: bool = True, **options: Any) -> Atlas:
    """An atlas of these names; hops are what its own random factors say, so that lists and estimates agree."""
    n, draw = len(names), np.random.default_rng(7)
    angle, norm = draw.uniform(0, 2 * np.pi, n), 0.95 * np.sqrt(draw.uniform(size=n))
    source, target = (draw.integers(-20, 20, (n, rank)).astype(np.int8) for _ in range(2))
    source[:, 0], target[:, 0] = (draw.integers(60, 120, n) for _ in range(2))
    target = target if directed else source
    scales = np.full(rank, 4e-4)
    hops = (source * scales) @ target.T.astype(float)
    np.fill_diagonal(hops, np.inf)

    def nearest(table: np.ndarray) -> Nearest:
        order = np.argsort(table, axis=1, kind="stable")[:, : min(ranks, n - 1)]
        return Nearest(order, np.take_along_axis(table, order, 1))

    backward = nearest(hops.T) if directed else None
    places = np.stack([norm * np.cos(angle), norm * np.sin(angle)], 1)
    return Atlas(names, places, nearest(hops), source, target, scales, 0.02, DIGEST, backward, **options)


@dataclass
class Watched:
    """A page in the browser, and all that it did beside what it should."""

    page: Any
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def marks(self) -> dict[str, float]:
        """Milliseconds from navigation to each mark of the page."""
        return self.page.evaluate(
            "Object.fromEntries(performance.getEntriesByType('mark').map(m => [m.name, m.startTime]))"
        )

    def text(self, selector: str) -> str:
        """What stands in an element, to the letter."""
        return self.page.evaluate("selector => document.querySelector(selector).textContent", selector)

    def texts(self, selector: str) -> list[str]:
        """What stands in each element."""
        return self.page.evaluate("all => [...document.querySelectorAll(all)].map(e => e.textContent)", selector)

    def choose(self, name: str, *, field: str = "#search") -> None:
        """Types a name into a field and takes the first that is offered."""
        self.page.fill(field, name)
        self.page.press(field, "Enter")


@pytest.fixture(scope="module")  # and no longer: while it is open, an event loop runs in this thread
def chromium() -> Iterator[Any]:
    """A real Chromium; without one the test is skipped, but in CI it fails."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if path is None or sync_playwright is None:
        told = "expected chromium and playwright to test the explorer page; install chromium and the extra test"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Any, file: Path, *, state: str = "ready", **options: Any) -> Iterator[Watched]:
    """The page of a file, ready or failed, and watched: what it asks for, every error, dialog, message and canary."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True, **options)
    page = context.new_page()
    watched = Watched(page)
    page.expose_function("canary", lambda: watched.faults.append("a script ran"))
    page.on("request", lambda request: watched.requests.append(request.url))
    page.on("dialog", lambda dialog: (watched.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: watched.faults.append(f"error {error}"))
    page.on("console", lambda message: watched.faults.append(f"{message.type} {message.text}"))
    page.goto(file.as_uri())
    page.wait_for_selector(f"html.{state}", state="attached", timeout=20_000)
    yield watched
    context.close()


def written(folder: Path, atlas: Atlas, title: str = "Concepts") -> Path:
    """The atlas as a page in a folder."""
    return write_explorer(folder / "page.html", atlas, title=title)


@pytest.fixture(scope="module")
def small(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A directed atlas of 66 concepts with three groups and a ring of links, opened once."""
    n = len(NAMES)
    links = np.stack([np.arange(n), (np.arange(n) + 1) % n], 1)
    atlas = random_atlas(NAMES, groups=[("red", "green", None)[i % 3] for i in range(n)], links=links)
    with opened(chromium, written(tmp_path_factory.mktemp("small"), atlas), reduced_motion="reduce") as watched:
        yield watched

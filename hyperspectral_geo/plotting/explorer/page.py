"""The page itself: assets and atlas put together into one file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from importlib.resources import files
from pathlib import Path

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.plotting.explorer.atlas import Atlas
from hyperspectral_geo.plotting.explorer.packing import packed, script_safe
from hyperspectral_geo.plotting.report_tables import clean

__all__ = ["explorer_page", "write_explorer"]

# In this order: each uses only what stands before it.
_SCRIPTS = (
    "disk.js",
    "data.js",
    "links.js",
    "search.js",
    "journal.js",
    "labels.js",
    "scene.js",
    "drawing.js",
    "view.js",
    "combobox.js",
    "panel.js",
    "legend.js",
    "main.js",
)


def explorer_page(atlas: Atlas, *, title: str) -> str:
    """An HTML page that shows the atlas, complete in itself.

    A content security policy lets only this page's own script and style run, by their hashes, and forbids every
    request; names are data in a block that is no script, and reach the page as text only.

    Args:
        atlas: what to show.
        title: the heading of the page and the name of its window.

    Raises:
        ValueError: for an empty title.

    >>> import numpy as np
    >>> from hyperspectral_geo.plotting.explorer import Nearest
    >>> one = np.ones((1, 1), np.int8)
    >>> nearest = Nearest(np.zeros((1, 0), int), np.zeros((1, 0)))
    >>> atlas = Atlas(["<b>"], np.zeros((1, 2)), nearest, one, one, np.ones(1), 0.0, "0" * 64)
    >>> "<b>" in explorer_page(atlas, title="Hops")
    False
    """
    if not title.strip():
        raise ValueError("title: expected a text, got an empty one")
    style = _asset("style.css")
    script = '"use strict";\n' + "\n".join(_asset(name) for name in _SCRIPTS)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "connect-src 'none'",
            "form-action 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    contents = {
        "policy": policy,
        "title": clean(title),
        "style": style,
        "script": script,
        "atlas": script_safe(packed(atlas, title=title)),
    }
    # In one pass: what a content says is not looked at for further places to fill.
    return re.sub(r"\{(policy|title|style|script|atlas)\}", lambda place: contents[place[1]], _asset("page.html"))


def write_explorer(path: str | os.PathLike[str], atlas: Atlas, *, title: str) -> Path:
    """Write ``explorer_page`` to a file that is either whole or absent, and return its path.

    Raises:
        ValueError: as ``explorer_page``.
        OSError: if the folder is missing or not writable.
    """
    return write_atomically(path, explorer_page(atlas, title=title).encode("utf-8"))


def _asset(name: str) -> str:
    return files("hyperspectral_geo.plotting.explorer").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """What a policy calls an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")

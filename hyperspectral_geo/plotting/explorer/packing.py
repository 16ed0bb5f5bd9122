"""An atlas as JSON with compressed columns: what the page's script unpacks, in the fewest bytes."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from hyperspectral_geo.plotting.explorer.atlas import Atlas, Nearest

__all__ = ["packed", "script_safe"]

_NO_GROUP = 255
_MOST_GROUPS = 28  # seven colours by four shapes


def packed(atlas: Atlas, *, title: str) -> dict[str, Any]:
    """The atlas as a JSON object.

    Texts and numbers stand as they are; each column is a string, base64 of zlib's deflate of little-endian bytes. Of
    numbers of more than one byte all lowest bytes come first, then all second ones, and so on; tables go column by
    column: like stands beside like, which compresses better. Places are in 1/32767, hops in 1/255 of ``hopRange``.
    """
    groups, group = _group_numbers(atlas.groups, len(atlas))
    sides = [side for side in (atlas.onward, atlas.backward) if side is not None]
    hops = np.concatenate([side.hops.ravel() for side in sides]) if sides[0].hops.size else np.zeros(1)
    low, high = float(hops.min()), float(hops.max())
    return {
        "title": title,
        "points": len(atlas),
        "model": atlas.digest,
        "own": atlas.own_places,
        "error": atlas.mean_error,
        "rank": len(atlas.scales),
        "scales": [float(f"{scale:.6g}") for scale in atlas.scales],
        "hopRange": [low, high],
        "groups": groups,
        "names": _column(json.dumps(list(atlas.names)).encode("ascii")),
        "places": _column(_planes(np.rint(atlas.places * 32767).astype("<i2"))),
        "group": _column(group.tobytes()),
        "source": _column(atlas.source.T.tobytes()),
        "target": _column(atlas.target.T.tobytes()),
        "onward": _nearest(atlas.onward, low, high),
        "backward": None if atlas.backward is None else _nearest(atlas.backward, low, high),
        "links": None if atlas.links is None else _links(atlas.links, len(atlas)),
    }


def script_safe(value: object) -> str:
    """JSON that may stand inside a ``script`` element: ASCII only, without ``<``, ``>`` and ``&``.

    >>> script_safe("</script>&\\u2028")
    '"\\\\u003c/script\\\\u003e\\\\u0026\\\\u2028"'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _group_numbers(groups: Sequence[str | None] | None, count: int) -> tuple[list[str], np.ndarray]:
    """Names of the groups, the largest first, and each concept's number among them, 255 for none."""
    given = [None] * count if groups is None else [None if name is None else str(name) for name in groups]
    names = [name for name, _ in Counter(name for name in given if name is not None).most_common(_MOST_GROUPS)]
    number = {name: i for i, name in enumerate(names)}
    return names, np.array([number.get(name, _NO_GROUP) if name is not None else _NO_GROUP for name in given], np.uint8)


def _nearest(found: Nearest, low: float, high: float) -> dict[str, str]:
    """Numbers of each rank in four bytes, and by how much each rank is farther than the one before it."""
    steps = np.rint((found.hops - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    rises = np.diff(steps, axis=1, prepend=np.zeros((len(steps), 1), np.uint8))
    return {"numbers": _column(_planes(found.numbers)), "rises": _column(rises.T.tobytes())}


def _links(links: Int[np.ndarray, "e 2"], count: int) -> dict[str, str]:
    """How many links leave each concept, and their sorted targets as differences, both in four bytes."""
    order = np.lexsort((links[:, 1], links[:, 0]))
    source, target = links[order].T
    first = np.diff(source, prepend=-1) != 0
    gaps = np.where(first, target, np.diff(target, prepend=0))
    each = np.bincount(source, minlength=count)
    return {"counts": _column(_planes(each)), "gaps": _column(_planes(gaps))}


def _planes(table: np.ndarray) -> bytes:
    """Column by column, all lowest bytes, then all second ones, and so on; bytes that are always 0 cost nothing."""
    whole = table.astype("<u4") if table.dtype.itemsize > 4 else table
    flat = np.ascontiguousarray(whole.T).reshape(-1, 1)
    return np.ascontiguousarray(flat.view(np.uint8).T).tobytes()


def _column(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")

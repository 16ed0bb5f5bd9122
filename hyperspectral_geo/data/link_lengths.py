"""Lengths of links from the numbers that a file or another library's graph gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

__all__ = ["link_lengths"]


def link_lengths(
    weights: Float[np.ndarray, " e"],
    kind: Literal["length", "probability"] = "length",
    *,
    certain: float | None = None,
    where: Callable[[int], str] = "link {}".format,
) -> Float[np.ndarray, " e"]:
    """The length of each link: the weight itself, or ℓ = −log p if the weight is a probability p.

    A link that is taken for certain (p = 1) would have length 0, which no two nodes can have between them, and which
    a loss relative to the length would divide by. It is therefore refused, unless ``certain`` says what to count it as.

    Args:
        weights: one number a link.
        kind: what the numbers are.
        certain: the largest probability, in (0, 1): a higher one counts as this one. 0.999 is a length of 0.001.
        where: how an error calls link i; a reader names the line.

    Returns:
        Positive finite lengths, float64.

    Raises:
        ValueError: for another ``kind`` or a ``certain`` outside (0, 1), and for a weight that is NaN, infinite, zero
            or negative, or a probability that is above 1, or 1 without ``certain``, naming the first such link.

    >>> link_lengths(np.array([0.5, 1.0]), "probability", certain=0.999).round(4).tolist()
    [0.6931, 0.001]
    """
    if kind not in ("length", "probability"):
        raise ValueError(f"weights: expected 'length' or 'probability', got {kind!r}")
    if certain is not None and not 0 < certain < 1:
        raise ValueError(f"certain: expected a probability above 0 and below 1, got {certain}; 0.999 will often do")
    weights = np.asarray(weights, dtype=np.float64)
    if kind == "length":
        _refuse(weights, ~((weights > 0) & np.isfinite(weights)), where, "a positive finite length")
        return weights
    what = "a probability above 0 and at most 1"
    _refuse(weights, ~((weights > 0) & (weights <= 1)), where, what, "; p = 0 is no link: leave it out")
    if certain is None:
        remedy = "; a certain link has length 0: join its two nodes, or pass certain=0.999 (--certain 0.999)"
        _refuse(weights, weights == 1, where, "a probability below 1", remedy)
        return -np.log(weights)
    return -np.log(np.minimum(weights, certain))


def _refuse(weights: np.ndarray, wrong: np.ndarray, where: Callable[[int], str], what: str, remedy: str = "") -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(f"{where(first)}: expected {what}, got {weights[first]:g}{remedy}")

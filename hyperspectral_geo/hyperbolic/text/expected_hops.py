"""Hops to and from a page whose links are only probable: a breadth-first search that carries probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.text.missing_links import MissingLinks

__all__ = ["MOST_HOPS", "arrivals", "expected_hops", "usual_reach", "within"]

MOST_HOPS = 12
"""Farther pairs count as this far apart; pages of Wikipedia hardly ever are."""

_SURE = 0.999  # the largest probability of a link, so that the logarithm of its failure is finite


def within(hops: Int[Tensor, "c n"]) -> Iterator[Float[Tensor, "c n"]]:
    """1 where hops ≤ t and 0 elsewhere, for t = 0 … MOST_HOPS − 2; hops are −1 where there is no walk."""
    far = hops.to(torch.int16).masked_fill(hops < 0, MOST_HOPS)
    return ((far <= t).float() for t in range(MOST_HOPS - 1))


def usual_reach(hops: Int[Tensor, "s n"]) -> Float[Tensor, "t n"]:
    """F_t of each page: the share of some sources that reach it in t hops, t = 0 … MOST_HOPS − 2.

    A page that hardly any of them reaches gets what is usual one hop sooner: some link to it is not known.

    >>> usual_reach(torch.tensor([[0, 1, 2], [2, 0, 1]]))[:3]
    tensor([[0.5000, 0.5000, 0.0000],
            [0.5000, 1.0000, 0.5000],
            [1.0000, 1.0000, 1.0000]])
    """
    shares = torch.stack([reach.mean(0) for reach in within(hops)])
    lost = shares[-1] < shares[-1].max() / 2
    if bool(lost.any()):
        shares[1:, lost] = shares[:-1, ~lost].mean(1, keepdim=True)
    return shares


def arrivals(
    links: Float[Tensor, "m c"], reach: Iterable[Tensor], missing: MissingLinks, usual: Float[Tensor, "t n"]
) -> Float[Tensor, "t m n"]:
    """P(h ≤ t | h < ∞), t = 1 … MOST_HOPS − 1, from m pages whose links are probable and independent, to n others.

    A page is farther than t + 1 hops if every link either is none or leads to a page farther than t from it:

    P(h > t + 1) = Π_c (1 − p_c)^{P(h_c ≤ t)} · (1 + (α + β Σ p) F_t/κ)^{−κ},

    the second factor for ``MissingLinks`` beside the candidates c, to pages like any other, a share F_t of which is
    within t hops. That there is a walk is taken for granted: a page has a link at least.

    Args:
        links: p, probability of a link to each candidate.
        reach: P(h_c ≤ t) from each candidate to each of the others, (c, n) for t = 0 … MOST_HOPS − 2.
        missing: α, β, κ.
        usual: F_t of each of the others.
    """
    failure = torch.log1p(-links.clamp(0, _SURE))
    expected = links.sum(1)
    some = 1 - (failure.sum(1, keepdim=True) + missing.log_failure(expected, usual.new_ones(1))).exp()
    some.clamp_min_(torch.finfo(some.dtype).eps)  # a page that surely has no link reaches nothing
    steps = zip(reach, usual, strict=True)
    farther = (torch.addmm(missing.log_failure(expected, share), failure, seen).exp_() for seen, share in steps)
    return torch.stack([(1 - beyond).div_(some).clamp_max_(1) for beyond in farther])


def expected_hops(arrived: Float[Tensor, "t m n"]) -> Float[Tensor, "m n"]:
    """E[h] = 1 + Σ_t P(h > t), from 1 to ``MOST_HOPS``.

    >>> sure = torch.ones(MOST_HOPS - 1, 1, 1)
    >>> expected_hops(sure), expected_hops(0 * sure)
    (tensor([[1.]]), tensor([[12.]]))
    """
    return arrived.sum(0).neg_().add_(MOST_HOPS)

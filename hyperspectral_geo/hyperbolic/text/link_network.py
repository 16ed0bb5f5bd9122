"""Rows of pages that have some links: the text's, corrected by what the linked pages' rows say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.placement_loss import LandmarkHops
from hyperspectral_geo.hyperbolic.text.row_training import trained_weights
from hyperspectral_geo.hyperbolic.text.text_head import TextHead

__all__ = ["LinkNetwork"]

_RATE = 3e-3


@dataclass(frozen=True, eq=False)
class LinkNetwork:
    """row = head(x) + W [head(x), out, in, log(1 + Σp_out), log(1 + Σp_in)] + V silu(U […]) of standardised columns.

    ``out`` is the mean row of the pages that are linked to, ``in`` of those that link, each weighted by the link's
    probability, 1 for links that are known: tangents are averaged at the origin, as hyperbolic graph networks do. The
    messages are sums over weighted edges, by ``torch_geometric.nn.SumAggregation``.

    Attributes:
        head: rows by text alone.
        weights: ``mean``, ``deviation`` (c,) of the columns, and the three maps.

    References:
        Chami, Ying, Ré and Leskovec, "Hyperbolic Graph Convolutional Neural Networks", NeurIPS 2019, arXiv 1910.12933.
        Hamilton, Ying and Leskovec, "Inductive Representation Learning on Large Graphs", NeurIPS 2017, arXiv
        1706.02216.
    """

    head: TextHead
    weights: Mapping[str, Tensor]

    @classmethod
    def fit(
        cls,
        head: TextHead,
        pages: PageRows,
        vectors: Float[Tensor, "n f"],
        out: Float[Tensor, "n n"],
        into: Float[Tensor, "n n"],
        hops: LandmarkHops,
        *,
        steps: int = 600,
        width: int = 128,
        seed: int = 0,
        progress: Callable[[int, float], None] | None = None,
    ) -> LinkNetwork:
        """Train on known pages, each taken for one that has but some links.

        Args:
            head: of these pages.
            pages, vectors, hops: as ``TextHead.trained`` takes them.
            out: weight of the link from each page to each other, of the kind that new pages will have, (n, n).
            into: weight of the link from each of the others to it: ``into[i, j]`` is that of j → i.
            steps: of Adam, 64 pages each against 512 others.
            width: of the hidden layer.
            seed: of weights and samples.
            progress: called with (step, loss) every fiftieth step.
        """
        columns = _columns(head, pages, vectors, out, into)
        mean, deviation = columns.mean(0), columns.std(0).clamp_min(1e-6)
        columns, base = (columns - mean) / deviation, head.rows(vectors)
        generator = torch.Generator().manual_seed(seed)
        c, q = columns.shape[1], pages.width
        start = {
            "linear": torch.zeros(q, c),
            "hidden": torch.randn(width, c, generator=generator) * c**-0.5,
            "out": torch.zeros(q, width),
        }

        def rows(moved: Mapping[str, Tensor], some: Tensor) -> Tensor:
            return base[some] + _correction(columns[some], moved)

        found = trained_weights(
            start, rows, pages, hops, steps=steps, rate=_RATE, generator=generator, progress=progress
        )
        return cls(head, {"mean": mean, "deviation": deviation, **found})

    def rows(
        self,
        pages: PageRows,
        vectors: Float[Tensor, "m f"],
        out: Float[Tensor, "m n"],
        into: Float[Tensor, "m n"],
    ) -> Float[Tensor, "m q"]:
        """Rows of new pages by their texts' vectors and the weights of their links with the known ones."""
        columns = (_columns(self.head, pages, vectors, out, into) - self.weights["mean"]) / self.weights["deviation"]
        return self.head.rows(vectors) + _correction(columns, self.weights)


def _columns(head: TextHead, pages: PageRows, vectors: Tensor, out: Tensor, into: Tensor) -> Float[Tensor, "m c"]:
    rows = pages.packed()
    parts = [head.rows(vectors)]
    for weights in (out, into):
        parts += [_messages(weights, rows), weights.sum(1, keepdim=True).log1p()]
    return torch.cat(parts, 1)


def _messages(weights: Float[Tensor, "m n"], rows: Float[Tensor, "n q"]) -> Float[Tensor, "m q"]:
    """Weighted mean of the rows of linked pages; zeros for a page without links."""
    from torch_geometric.nn import SumAggregation

    page, other = weights.nonzero(as_tuple=True)
    share = weights[page, other] / weights.sum(1).clamp_min(1e-6)[page]
    return SumAggregation()(share[:, None] * rows[other], page, dim_size=len(weights))


def _correction(columns: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    return columns @ weights["linear"].T + nn.functional.silu(columns @ weights["hidden"].T) @ weights["out"].T

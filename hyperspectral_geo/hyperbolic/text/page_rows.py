"""A page's own numbers in a hop model as one row: its tangent, its target and its scalars side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.parameters import HopParameters

__all__ = ["PageRows"]

_TABLES = ("tangents", "targets", "outgoing", "incoming")


@dataclass(frozen=True, eq=False)
class PageRows:
    """What of a model belongs to single pages, and how wide it is.

    Attributes:
        model: whose pages are known.
        widths: numbers a page in each of the model's tables, such as ``{"tangents": 10, "outgoing": 1}``.
    """

    model: HopEmbedding
    widths: dict[str, int]

    @classmethod
    def of(cls, model: HopEmbedding) -> PageRows:
        """Of a hop model of any form.

        >>> pages = PageRows.of(HopEmbedding(("a", "b"), torch.eye(2), outgoing=torch.ones(2), incoming=torch.zeros(2)))
        >>> pages.widths, pages.packed()[0]
        ({'tangents': 2, 'outgoing': 1, 'incoming': 1}, tensor([1., 0., 1., 0.]))
        """
        tables = {name: getattr(model, name) for name in _TABLES if getattr(model, name) is not None}
        return cls(model, {name: 1 if table.ndim == 1 else table.shape[1] for name, table in tables.items()})

    @property
    def width(self) -> int:
        """q, numbers a page."""
        return sum(self.widths.values())

    def packed(self) -> Float[Tensor, "n q"]:
        """Rows of the model's own pages, in float32."""
        return torch.cat([getattr(self.model, name).float().reshape(-1, w) for name, w in self.widths.items()], 1)

    def tables(self, rows: Float[Tensor, "m q"]) -> dict[str, Tensor]:
        """The tables that rows stand for, in the model's kind of number."""
        parts = zip(self.widths, rows.to(self.model.tangents.dtype).split(list(self.widths.values()), 1), strict=True)
        return {name: part[:, 0] if name in _TABLES[2:] else part for name, part in parts}

    def parameters(self, rows: Float[Tensor, "m q"]) -> HopParameters:
        """The model's shared numbers with new pages behind its own, as training holds them, in float32."""
        known = HopParameters.of(self.model, scale=self.model.scale)
        tables = {name: torch.cat([known.tables[name], part]).float() for name, part in self.tables(rows).items()}
        return replace(known, tables=tables, shared={name: x.float() for name, x in known.shared.items()})

    def extended(self, names: tuple[str, ...], rows: Float[Tensor, "m q"]) -> HopEmbedding:
        """The model with new pages behind its own."""
        more = self.tables(rows)
        joined = {name: torch.cat([getattr(self.model, name), more[name]]) for name in self.widths}
        return replace(self.model, names=(*self.model.names, *names), provenance=None, adjusted=None, **joined)

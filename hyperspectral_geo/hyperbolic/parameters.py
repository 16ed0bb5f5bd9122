"""What training moves: a model's tables, one row a concept, and the few numbers that all concepts share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import Geometry
from hyperspectral_geo.hyperbolic.readout import Staircase

__all__ = ["Gradient", "HopParameters", "summed_rows"]


class Gradient(NamedTuple):
    """A gradient of some rows of a table, each row once; of the whole tensor where ``rows`` is None."""

    rows: Tensor | None
    value: Tensor


@dataclass(frozen=True, eq=False)
class HopParameters:
    """The tensors of a ``HopEmbedding`` as training holds them, changed in place.

    Attributes:
        geometry: of the points.
        tables: ``tangents`` (n, d), and where the model has them ``targets`` (n, d), ``outgoing``, ``incoming`` (n,).
        shared: ``log_scale`` (), and with a read-out ``thresholds`` and ``log_slopes`` (K,).
    """

    geometry: Geometry
    tables: dict[str, Tensor]
    shared: dict[str, Tensor]

    @classmethod
    def initial(
        cls,
        count: int,
        dim: int,
        geometry: Geometry,
        *,
        generator: torch.Generator,
        spread: float,
        scale: float,
        two_points: bool = False,
        scalars: bool = False,
        center: float = 0.0,
        steps: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> HopParameters:
        """Tangents drawn from a normal distribution, and scalars that add to ``center`` for every pair.

        Args:
            count, dim: concepts and dimensions.
            geometry: of the points.
            generator: what is drawn from.
            spread: standard deviation of a tangent's entries.
            scale: s at the start.
            two_points: whether concepts are reached at other points than they leave from.
            scalars: whether there are out- and in-scalars.
            center: what the scalars of a pair add to at the start.
            steps: steps of the read-out's staircase; 0 for none.
            dtype: of all of it; drawn in float64, so that both kinds start alike.
        """

        def table() -> Tensor:
            return torch.randn(count, dim, generator=generator, dtype=torch.float64).mul_(spread).to(dtype)

        tables = {"tangents": table()}
        if two_points:
            tables["targets"] = table()
        if scalars:
            tables |= {name: torch.full((count,), center / 2, dtype=dtype) for name in ("outgoing", "incoming")}
        shared = {"log_scale": torch.tensor(math.log(scale), dtype=dtype)}
        if steps:
            stairs = Staircase.even(steps, dtype=dtype)
            shared |= {"thresholds": stairs.thresholds, "log_slopes": stairs.log_slopes}
        return cls(geometry, tables, shared)

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number of all tensors."""
        return self.tables["tangents"].dtype

    def __len__(self) -> int:
        return len(self.tables["tangents"])

    def all(self) -> Mapping[str, Tensor]:
        """Every tensor by name."""
        return {**self.tables, **self.shared}

    def embedding(self, names: tuple[str, ...]) -> HopEmbedding:
        """The model as it stands; its tensors are copies."""
        tables = {name: table.clone() for name, table in self.tables.items()}
        stairs = Staircase(self.shared["thresholds"].clone(), self.shared["log_slopes"].clone()) if self.read else None
        return HopEmbedding(
            names, geometry=self.geometry, scale=float(self.shared["log_scale"].exp()), readout=stairs, **tables
        )

    @property
    def read(self) -> bool:
        """Whether there is a read-out."""
        return "thresholds" in self.shared


def summed_rows(rows: Tensor, values: Tensor) -> Gradient:
    """Gradients of rows that may repeat, added up row by row."""
    distinct, where = torch.unique(rows, return_inverse=True)
    total = values.new_zeros(len(distinct), *values.shape[1:])
    return Gradient(distinct, total.index_add_(0, where, values))

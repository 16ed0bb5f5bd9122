"""What training moves: a model's tables, one row a concept, and the few numbers that all concepts share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import Geometry
from hyperspectral_geo.hyperbolic.readout import Staircase
from hyperspectral_geo.hyperbolic.step_forms import feature_count

__all__ = ["Gradient", "HopParameters", "summed_rows"]

# Shares of the points' step length: what all pairs share has a gradient at every step, a row in few of them.
_RATES = {"log_scale": 0.3, "thresholds": 0.3, "log_slopes": 0.3, "forms": 0.06}


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
        unit: how many hops one of training's is; the model's distances are in hops. 1 with a read-out.
        shared: ``log_scale`` (), with a read-out ``thresholds`` and ``log_slopes`` (K,), and with forms ``forms``
            (K, f, f).
    """

    geometry: Geometry
    tables: dict[str, Tensor]
    shared: dict[str, Tensor]
    unit: float = 1.0

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
        forms: bool = False,
        unit: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> HopParameters:
        """Tangents drawn from a normal distribution, and scalars that add to ``center`` for every pair.

        Args:
            count, dim: concepts and dimensions.
            geometry: of the points.
            generator: what is drawn from.
            spread: standard deviation of a tangent's entries.
            scale: s at the start, in units.
            two_points: whether concepts are reached at other points than they leave from.
            scalars: whether there are out- and in-scalars.
            center: what the scalars of a pair add to at the start, in hops.
            steps: steps of the read-out's staircase; 0 for none.
            forms: whether each step has a form of its own; they begin at zero.
            unit: hops that training counts as one; without a read-out, which counts hops.
            dtype: of all of it; drawn in float64, so that both kinds start alike.
        """

        def table() -> Tensor:
            return torch.randn(count, dim, generator=generator, dtype=torch.float64).mul_(spread).to(dtype)

        tables = {"tangents": table()}
        if two_points:
            tables["targets"] = table()
        if scalars:
            tables |= {name: torch.full((count,), center / unit / 2, dtype=dtype) for name in ("outgoing", "incoming")}
        shared = {"log_scale": torch.tensor(math.log(scale), dtype=dtype)}
        if steps:
            stairs = Staircase.even(steps, dtype=dtype)
            shared |= {"thresholds": stairs.thresholds, "log_slopes": stairs.log_slopes}
        if forms:
            size = feature_count(dim)
            shared["forms"] = torch.zeros(steps, size, size, dtype=dtype)
        return cls(geometry, tables, shared, unit)

    @classmethod
    def of(cls, model: HopEmbedding, *, scale: float, unit: float = 1.0) -> HopParameters:
        """Copies of a model's tensors, to be trained further at another scale."""
        names = ("tangents", "targets", "outgoing", "incoming")
        tables = {name: getattr(model, name).clone() for name in names if getattr(model, name) is not None}
        tables |= {name: tables[name] / unit for name in ("outgoing", "incoming") if name in tables}
        shared = {"log_scale": torch.tensor(math.log(scale / unit), dtype=model.tangents.dtype)}
        if model.readout is not None:
            shared |= {"thresholds": model.readout.thresholds.clone(), "log_slopes": model.readout.log_slopes.clone()}
        if model.forms is not None:
            shared["forms"] = model.forms.clone()
        return cls(model.geometry, tables, shared, unit)

    def digest(self) -> str:
        """SHA-256 of all numbers."""
        found = hashlib.sha256(self.geometry.encode())
        for name, tensor in self.all().items():
            found.update(f" {name} {tensor.dtype} {tuple(tensor.shape)} ".encode() + tensor.numpy().tobytes())
        return found.hexdigest()

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number of all tensors."""
        return self.tables["tangents"].dtype

    @property
    def rates(self) -> dict[str, float]:
        """Shares of the learning rate: what all concepts share moves slower."""
        return _RATES

    def __len__(self) -> int:
        return len(self.tables["tangents"])

    def all(self) -> Mapping[str, Tensor]:
        """Every tensor by name."""
        return {**self.tables, **self.shared}

    def embedding(self, names: tuple[str, ...]) -> HopEmbedding:
        """The model as it stands; its tensors are copies."""
        costs = ("outgoing", "incoming")
        tables = {n: self.unit * table if n in costs else table.clone() for n, table in self.tables.items()}
        stairs = Staircase(self.shared["thresholds"].clone(), self.shared["log_slopes"].clone()) if self.read else None
        return HopEmbedding(
            names,
            geometry=self.geometry,
            scale=self.unit * float(self.shared["log_scale"].exp()),
            readout=stairs,
            forms=self.shared["forms"].clone() if "forms" in self.shared else None,
            provenance=None,
            adjusted=None,
            **tables,
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

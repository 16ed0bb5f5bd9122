"""The model: concepts as points of a geometry, and the directed distance between them in hops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from geoopt import ManifoldParameter
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.geometry import (
    Geometry,
    points_from_tangents,
    require_geometry,
)
from hyperspectral_geo.hyperbolic.pair_scores import Ends, PairScores
from hyperspectral_geo.hyperbolic.provenance import Adjusted, Provenance
from hyperspectral_geo.hyperbolic.readout import Staircase
from hyperspectral_geo.hyperbolic.similar_names import similar_names
from hyperspectral_geo.hyperbolic.step_forms import feature_count, quadratic_features
from hyperspectral_geo.manifolds import Lorentz

__all__ = ["HopEmbedding"]


@dataclass(frozen=True, eq=False)
class HopEmbedding:
    """Named concepts with d(u→v) = read(s·d_M(x_u, y_v) + a_u + b_v); made by ``fit``.

    Each part may be missing: without ``targets`` a concept is one point, y = x; without scalars a = b = 0; without
    read-out the score itself is the distance, and may be negative where scalars are. From a concept to itself the
    distance is 0. In hyperbolic space s is also the curvature: measured in hops, the space has curvature −1/s².

    With ``forms`` each step of the read-out corrects the score x = s·d_M + a + b by a form of its own,
    d(u→v) = 1 + Σ_k σ(β_k(x + φ(u)ᵀ M_k φ(v) − θ_k)), φ quadratic features of tangent and scalar (see ``step_forms``).
    That is no longer a function of a distance, and the most accurate model of Wikipedia's hops at a given number of
    coordinates; all concepts share its K·f² numbers.

    Attributes:
        names: one name a concept.
        tangents: z, (n, d), tangents at the origin, x = exp₀(z); in Euclidean space the points themselves.
        geometry: M, one of ``GEOMETRIES``.
        scale: s > 0, hops per unit of distance.
        targets: tangents of y, the points as which concepts are reached, (n, d).
        outgoing: a, (n,): what it costs in hops to leave a concept; well-linked pages have a small one.
        incoming: b, (n,): what it costs to reach it.
        readout: the staircase from scores to hops.
        forms: M_k, (K, f, f) with f = d + 2 + d(d + 1)/2; needs scalars and the read-out.
        provenance: what it was trained on and how, where that is known.
        adjusted: by which answers of people it was changed after training, if by any.

    Raises:
        ValueError: if names repeat, parts are missing that others need, shapes or dtypes differ, or a number is not
            finite.
    """

    names: tuple[str, ...]
    tangents: Float[Tensor, "n d"]
    geometry: Geometry = "hyperbolic"
    scale: float = 1.0
    targets: Float[Tensor, "n d"] | None = None
    outgoing: Float[Tensor, " n"] | None = None
    incoming: Float[Tensor, " n"] | None = None
    readout: Staircase | None = None
    forms: Float[Tensor, "k f f"] | None = None
    provenance: Provenance | None = None
    adjusted: Adjusted | None = None

    def __post_init__(self) -> None:
        require_geometry(self.geometry)
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: expected a finite number > 0, got {self.scale!r}")
        n = len(self.names)
        if self.tangents.ndim != 2 or self.tangents.shape[0] != n or self.tangents.shape[1] < 1:
            raise ValueError(f"tangents: expected shape ({n}, d) for {n} names, got {tuple(self.tangents.shape)}")
        if self.tangents.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"tangents: expected torch.float32 or torch.float64, got {self.tangents.dtype}")
        if self.forms is not None and any(part is None for part in (self.readout, self.outgoing, self.incoming)):
            raise ValueError(
                "forms: expected scalars and a read-out beside them, got none; add them or leave forms out"
            )
        for name, tensor, shape in self._parts():
            if tuple(tensor.shape) != tuple(shape) or tensor.dtype != self.tangents.dtype:
                raise ValueError(
                    f"{name}: expected {self.tangents.dtype} of shape {tuple(shape)}, got {tensor.dtype} of shape "
                    f"{tuple(tensor.shape)}"
                )
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity; training has run away")
        if len(self._numbers) != n:
            raise ValueError("names: expected a different name for each concept; number the repeated ones")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def points(self) -> Float[Tensor, "n c"]:
        """x: Lorentz coordinates (n, 1 + d), time-like first, or Euclidean (n, d)."""
        return points_from_tangents(self.tangents, self.geometry)

    @property
    def target_points(self) -> Float[Tensor, "n c"]:
        """y: the points as which concepts are reached; x itself where there is one point a concept."""
        return self.points if self.targets is None else points_from_tangents(self.targets, self.geometry)

    def index(self, name: str) -> int:
        """Number of a concept. Raises ``ValueError`` for an unknown name, with the nearest spellings."""
        if not isinstance(name, str) or name not in self._numbers:
            close = ", ".join(similar_names(str(name), self.names)) or "none is close"
            raise ValueError(f"name: {name!r} is not one of the {len(self)} concepts; similar: {close}")
        return self._numbers[name]

    def distance(self, source: str, target: str) -> float:
        """d(source→target) between two concepts by name, exact at any radius."""
        pair = torch.tensor([[self.index(source)], [self.index(target)]])
        return float(self.pair_distances(pair[0], pair[1]))

    def pair_distances(self, sources: Int[Tensor, " k"], targets: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
        """d(sources[i]→targets[i]), exact at any radius."""
        return (
            self.scoring.hops(self.pair_scores(sources, targets))
            .to(self.tangents.dtype)
            .masked_fill(sources == targets, 0.0)
        )

    def pair_scores(self, sources: Int[Tensor, " k"], targets: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
        """What orders the pairs sources[i]→targets[i], in float64: a read-out keeps it, and tells fewer apart."""
        return self.scoring.rowwise(self.leaving(sources), self.reached(targets))

    def distances(self, sources: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n"]:
        """d from some concepts (default: all) to all, (m, n).

        Good to 1e-7 at any radius, by one matrix product where that is enough (see ``accurate_pairwise``).
        """
        rows = torch.arange(len(self)) if sources is None else sources
        found = self.scoring.hops(self.scoring.pairwise(self.leaving(rows), self.reached())).to(self.tangents.dtype)
        found[torch.arange(len(rows)), rows] = 0.0
        return found

    @cached_property
    def scoring(self) -> PairScores:
        """How pairs of ``leaving`` and ``reached`` are scored."""
        forms = None if self.forms is None else self.forms.double()
        return PairScores(self.geometry, self.scale, self.readout, forms)

    def leaving(self, concepts: Int[Tensor, " m"] | None = None) -> Ends:
        """Concepts (default: all) as those that are left."""
        return self._ends(self.tangents, self.outgoing, concepts)

    def reached(self, concepts: Int[Tensor, " m"] | None = None) -> Ends:
        """Concepts (default: all) as those that are reached."""
        return self._ends(self.tangents if self.targets is None else self.targets, self.incoming, concepts)

    def poincare(self) -> Float[Tensor, "n d"]:
        """Points of the Poincaré ball, tanh(|z|/2)·z/|z|: the conformal picture of hyperbolic space."""
        if self.geometry != "hyperbolic":
            raise ValueError(
                f"geometry: expected a hyperbolic embedding, got {self.geometry!r}; plot its tangents instead"
            )
        radius = torch.linalg.vector_norm(self.tangents, dim=-1, keepdim=True)
        return torch.tanh(radius / 2) * self.tangents / radius.clamp_min(torch.finfo(radius.dtype).tiny)

    def manifold_parameter(self) -> ManifoldParameter:
        """The points as a ``ManifoldParameter`` on ``Lorentz()``, to be trained on with geoopt's optimisers."""
        if self.geometry != "hyperbolic":
            raise ValueError(f"geometry: expected a hyperbolic embedding, got {self.geometry!r}")
        return ManifoldParameter(self.points.clone(), manifold=Lorentz())

    @classmethod
    def from_manifold_parameter(
        cls, names: tuple[str, ...], points: Float[Tensor, "n c"], *, scale: float = 1.0
    ) -> HopEmbedding:
        """The embedding of points (n, 1 + d) on the unit hyperboloid, such as a ``ManifoldParameter``."""
        return cls(names, Lorentz().logmap0(points.detach().as_subclass(Tensor))[:, 1:], "hyperbolic", scale)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all; returns its path."""
        from hyperspectral_geo.hyperbolic.model_file import write_model

        return write_model(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> HopEmbedding:
        """Read what ``save`` wrote. Raises ``ValueError`` naming the file, the tensor and what is wrong with it."""
        from hyperspectral_geo.hyperbolic.model_file import read_model

        return read_model(Path(path))

    def _parts(self) -> Iterator[tuple[str, Tensor, tuple[int, ...]]]:
        """The tensors that there are, each with its name and the shape that it must have."""
        n, d = self.tangents.shape
        shapes = {"tangents": (n, d), "targets": (n, d), "outgoing": (n,), "incoming": (n,)}
        yield from (
            (name, getattr(self, name), shape) for name, shape in shapes.items() if getattr(self, name) is not None
        )
        if self.readout is not None:
            steps = (self.readout.thresholds.numel(),)
            yield "readout.thresholds", self.readout.thresholds, steps
            yield "readout.log_slopes", self.readout.log_slopes, steps
            if self.forms is not None:
                yield "forms", self.forms, (*steps, feature_count(d), feature_count(d))

    def _ends(self, tangents: Tensor, scalars: Tensor | None, concepts: Tensor | None) -> Ends:
        """In float64: float32 would tell near points apart badly."""
        some = slice(None) if concepts is None else concepts
        z = tangents[some].double()
        costs = z.new_zeros(len(z)) if scalars is None else scalars[some].double()
        features = None if self.forms is None else quadratic_features(z, costs)
        return Ends(points_from_tangents(z, self.geometry), costs, features)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

"""The model of a knowledge graph: entities as points, relations as isometries, and the score of a triple."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import (
    Geometry,
    accurate_pairwise,
    exact_distance,
    points_from_tangents,
)
from hyperspectral_geo.hyperbolic.relational.queries import RELATION_TABLES, query_points
from hyperspectral_geo.hyperbolic.similar_names import similar_names

__all__ = ["Found", "RelationalEmbedding"]


class Found(NamedTuple):
    """An entity that was looked for, and the score of its triple."""

    name: str
    score: float


@dataclass(frozen=True, eq=False)
class RelationalEmbedding:
    """Named entities and relations with score(h, r, t) = −s·d(q_r(h), x_t)² + b_t; made by ``fit_relations``.

    q_r(h) is where the tails of (h, r) are looked for: the head turned in planes and boosted (see ``query_points``).
    Each relation stands for two, itself and its inverse, so that heads are looked for as the tails of the inverse.
    Scores order the candidates of one question; between questions they are not comparable.

    Attributes:
        entities: one name an entity.
        relations: one name a relation.
        tangents: z, (n, d) with d even, tangents at the origin as those of ``HopEmbedding``: x = exp₀(z).
        biases: b, (n,): how often an entity is an answer.
        rotations, reflections: angles α, β of the planes, (2m, d/2); the inverses after the relations.
        mixing: m, (2m, d/2): w = σ(m) is the rotation's share.
        translations: t, (2m, d): the tangent of the boost.
        geometry: ``"hyperbolic"`` or ``"euclidean"``.
        scale: s > 0.

    Raises:
        ValueError: if names repeat, shapes or dtypes do not fit, or a number is not finite.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    tangents: Float[Tensor, "n d"]
    biases: Float[Tensor, " n"]
    rotations: Float[Tensor, "m2 h"]
    reflections: Float[Tensor, "m2 h"]
    mixing: Float[Tensor, "m2 h"]
    translations: Float[Tensor, "m2 d"]
    geometry: Geometry = "hyperbolic"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.geometry not in ("hyperbolic", "euclidean"):
            raise ValueError(f"geometry: expected 'hyperbolic' or 'euclidean', got {self.geometry!r:.40}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: expected a finite number > 0, got {self.scale!r}")
        n, m = len(self.entities), 2 * len(self.relations)
        d = self.tangents.shape[-1] if self.tangents.ndim == 2 else 0
        if d < 2 or d % 2 or self.tangents.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"tangents: expected float32 or float64 of shape ({n}, d), d even, got {self.tangents.dtype} of shape "
                f"{tuple(self.tangents.shape)}"
            )
        shapes = {"tangents": (n, d), "biases": (n,)} | dict.fromkeys(RELATION_TABLES, (m, d // 2))
        for name, shape in (shapes | {"translations": (m, d)}).items():
            part = getattr(self, name)
            if tuple(part.shape) != shape or part.dtype != self.tangents.dtype:
                raise ValueError(
                    f"{name}: expected {self.tangents.dtype} of shape {shape}, got {part.dtype} of shape "
                    f"{tuple(part.shape)}"
                )
            if not bool(part.isfinite().all()):
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity; training has run away")
        if len(self._entity_numbers) != n or len(self._relation_numbers) != m // 2:
            raise ValueError("entities, relations: expected different names; number the repeated ones")

    def __len__(self) -> int:
        return len(self.entities)

    def score(self, head: str | int, relation: str | int, tail: str | int) -> float:
        """Score of a triple by names or numbers: the higher, the likelier among the tails of the same question."""
        h, t = (self._entity(name, given) for name, given in (("head", head), ("tail", tail)))
        queries = self.queries(torch.tensor([h]), torch.tensor([self._relation(relation)]))
        distance = exact_distance(queries, self._points[t : t + 1], self.geometry)
        return float(self.biases[t].double() - self.scale * distance.square()[0])

    def best_tails(self, head: str | int, relation: str | int, count: int = 10) -> list[Found]:
        """The entities that answer (head, relation, ?) best, the best first."""
        return self._best(self._entity("head", head), self._relation(relation), count)

    def best_heads(self, relation: str | int, tail: str | int, count: int = 10) -> list[Found]:
        """The entities that answer (?, relation, tail) best, the best first."""
        return self._best(self._entity("tail", tail), self._relation(relation) + len(self.relations), count)

    def tail_scores(self, heads: Int[Tensor, " b"], relations: Int[Tensor, " b"]) -> Float[Tensor, "b n"]:
        """Scores of all entities as tails, in float64; numbers of relations from m on stand for inverses."""
        distance = accurate_pairwise(self.queries(heads, relations), self._points, self.geometry)
        return distance.square_().mul_(-self.scale).add_(self.biases.double())

    def queries(self, heads: Int[Tensor, " b"], relations: Int[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """q: where the tails are looked for, points in float64."""
        tables = {name: getattr(self, name).double() for name in RELATION_TABLES}
        return query_points(self.tangents[heads].double(), tables, self.geometry, relations)

    def hop_embedding(self) -> HopEmbedding:
        """The entities alone, as a model of distances between them: for neighbours, pictures and export."""
        return HopEmbedding(self.entities, self.tangents, self.geometry)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all; returns its path."""
        from hyperspectral_geo.hyperbolic.relational.model_file import write_relations

        return write_relations(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> RelationalEmbedding:
        """Read what ``save`` wrote. Raises ``ValueError`` naming the file, the tensor and what is wrong with it."""
        from hyperspectral_geo.hyperbolic.relational.model_file import read_relations

        return read_relations(Path(path))

    def _best(self, head: int, relation: int, count: int) -> list[Found]:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"count: expected a whole number >= 1, got {count!r}")
        scores = self.tail_scores(torch.tensor([head]), torch.tensor([relation]))[0]
        best = scores.argsort(descending=True, stable=True)[:count].tolist()
        return [Found(self.entities[i], float(scores[i])) for i in best]

    def _entity(self, what: str, given: str | int) -> int:
        return _number(what, given, self.entities, self._entity_numbers)

    def _relation(self, given: str | int) -> int:
        return _number("relation", given, self.relations, self._relation_numbers)

    @cached_property
    def _points(self) -> Tensor:
        return points_from_tangents(self.tangents.double(), self.geometry)

    @cached_property
    def _entity_numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.entities)}

    @cached_property
    def _relation_numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.relations)}


def _number(what: str, given: str | int, names: Sequence[str], numbers: dict[str, int]) -> int:
    if isinstance(given, str) and given in numbers:
        return numbers[given]
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(names):
        return given
    if isinstance(given, str):
        close = ", ".join(similar_names(given, names)) or "none is close"
        raise ValueError(f"{what}: {given!r:.80} is not one of the {len(names)} names; similar: {close}")
    raise ValueError(f"{what}: expected a name or a number below {len(names)}, got {given!r:.80}")

"""What a model was trained on, and how: kept with it, so that judging need not be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_store import graph_hash

__all__ = ["Adjusted", "Goal", "Provenance"]

Goal = Literal["hops", "links", "tree"]
"""``"hops"``: distances are hop counts or lengths; ``"links"``: links rank first; ``"tree"``: ancestors do."""

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Provenance:
    """Graph and options of a training, as ``hsgeo hops train`` sets it; made by ``Provenance.of``.

    Attributes:
        graph: ``graph_hash`` of the graph.
        directed: whether a link was one-way.
        objective: what was trained for, one of ``Goal``.
        weighted: whether links had lengths.
        weights: as what the third column of a file of links was read, ``length``, ``probability`` or ``ignore``; None
            where nothing was said.
        certain: the largest probability, in (0, 1), as which higher ones counted; None where nothing was said.
        hold_out: share of the ordered pairs that ``held_out_pairs`` kept from training, from 0 to below 1.
        seed: of start, samples and held-out pairs, from 0 to 2^63 − 1.

    Raises:
        ValueError: for anything else, naming it.
    """

    graph: str
    directed: bool
    objective: Goal
    weighted: bool = False
    weights: str | None = None
    certain: float | None = None
    hold_out: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        certain, share, seed = self.certain, self.hold_out, self.seed
        right = {
            "graph": (isinstance(self.graph, str) and _HASH.fullmatch(self.graph), "64 hexadecimal digits"),
            "directed": (isinstance(self.directed, bool), "true or false"),
            "objective": (self.objective in ("hops", "links", "tree"), "hops, links or tree"),
            "weighted": (isinstance(self.weighted, bool), "true or false"),
            "weights": (self.weights in (None, "length", "probability", "ignore"), "length, probability or ignore"),
            "certain": (certain is None or (_is_real(certain) and 0 < certain < 1), "a number above 0 and below 1"),
            "hold_out": (_is_real(share) and 0 <= share < 1, "a number from 0 to below 1"),
            "seed": (type(seed) is int and 0 <= seed < 2**63, "a whole number from 0 to 2^63 - 1"),
        }
        for name, (good, wanted) in right.items():
            if not good:
                raise ValueError(f"provenance: expected as {name} {wanted}, got {getattr(self, name)!r:.40}")

    @classmethod
    def of(cls, graph: HopGraph, objective: Goal, **options: Any) -> Provenance:
        """That of a model trained on ``graph``; options are the attributes from ``weights`` on.

        Example:
            >>> made = Provenance.of(HopGraph.from_edges([("a", "b")]), "hops", hold_out=0.1, seed=3)
            >>> made.directed, made.hold_out, made.is_of(HopGraph.from_edges([("b", "a"), ("a", "c")]))
            (True, 0.1, False)
        """
        return cls(graph_hash(graph), graph.directed, objective, graph.lengths is not None, **options)

    def is_of(self, graph: HopGraph) -> bool:
        """Whether this is the graph of the training, by its nodes' number, links and lengths."""
        return graph_hash(graph) == self.graph

    def as_record(self) -> dict[str, Any]:
        """Attributes by name, as a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object) -> Provenance:
        """What ``as_record`` gave. Raises ``ValueError`` for anything else."""
        known = {field.name for field in fields(cls)}
        if not isinstance(record, Mapping) or set(record) != known:
            raise ValueError(f"provenance: expected {', '.join(sorted(known))}, got {record!r:.80}")
        return cls(**record)


@dataclass(frozen=True)
class Adjusted:
    """From which model people's answers made this one.

    Attributes:
        base: SHA-256 of the file of the model before any answer.
        answers: SHA-256 of the answers it follows, as ``answers_digest`` gives it.
        count: how many these are, from 1.

    Raises:
        ValueError: for anything else, naming it.
    """

    base: str
    answers: str
    count: int

    def __post_init__(self) -> None:
        for name in ("base", "answers"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _HASH.fullmatch(value):
                raise ValueError(f"adjusted: expected as {name} 64 hexadecimal digits, got {value!r:.40}")
        if type(self.count) is not int or not 1 <= self.count < 2**63:
            raise ValueError(f"adjusted: expected as count a whole number from 1, got {self.count!r:.40}")

    @classmethod
    def from_record(cls, record: object) -> Adjusted:
        """What ``dataclasses.asdict`` gave. Raises ``ValueError`` for anything else."""
        if not isinstance(record, Mapping) or set(record) != {"base", "answers", "count"}:
            raise ValueError(f"adjusted: expected answers, base, count, got {record!r:.80}")
        return cls(**record)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

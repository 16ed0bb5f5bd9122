"""A learned module: what an adapter or a fine-tuned checkpoint changes in a base model, weight by weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from torch import Tensor

from hyperspectral_geo.merging.delta import Delta

__all__ = ["Layout", "LazyMapping", "Module"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Layout:
    """How a weight of ``shape`` is read as a matrix (out, in).

    Attributes:
        kind: "linear" (out, in) as stored; "fan_in_fan_out" stored as (in, out); "embedding" stored as (vocabulary,
            out), a matrix (out, vocabulary); "conv" stored as (out, in, *kernel), a matrix (out, in·kernel).
        shape: the stored shape.
    """

    kind: Literal["linear", "fan_in_fan_out", "embedding", "conv"]
    shape: tuple[int, ...]

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(out, in)."""
        if self.kind in ("fan_in_fan_out", "embedding"):
            return self.shape[1], self.shape[0]
        return self.shape[0], math.prod(self.shape[1:])

    def to_matrix(self, weight: Tensor) -> Tensor:
        """The stored weight as a matrix (out, in)."""
        if self.kind in ("fan_in_fan_out", "embedding"):
            return weight.mT
        return weight.reshape(self.matrix_shape)

    def to_weight(self, matrix: Tensor) -> Tensor:
        """A matrix (out, in) as the weight is stored."""
        if self.kind in ("fan_in_fan_out", "embedding"):
            return matrix.mT
        return matrix.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Module:
    """The change that a module makes to a base model; all mappings go by the base model's parameter names.

    The mappings may be lazy: a checkpoint's tensors are read, and a merged module's computed, when asked for, one at
    a time, so that models larger than memory stream through.

    Attributes:
        name: for reports.
        deltas: changes of matrices.
        layouts: for each delta, how the weight is stored.
        vectors: changes of everything that is no matrix: biases, norms, scalars.
        replaced: parameters whose full value the module carries (peft's modules_to_save, trained biases): their
            change is known only beside a base, see ``against``.
        magnitudes: DoRA's magnitude vectors (out,), by weight name; like ``replaced`` they need a base.
        config: what passes through to a saved adapter: the base model's name, the task type, …
    """

    name: str
    deltas: Mapping[str, Delta]
    layouts: Mapping[str, Layout]
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    replaced: Mapping[str, Tensor] = field(default_factory=dict)
    magnitudes: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


class LazyMapping(Mapping[str, Value], Generic[Value]):
    """A mapping whose values are computed each time they are asked for and never kept."""

    def __init__(self, names: Sequence[str], compute: Callable[[str], Value]) -> None:
        self._names = dict.fromkeys(names)
        self._compute = compute

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(name)
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

"""A learned module: what an adapter or a fine-tuned checkpoint changes in a base model, weight by weight."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from hyperspectral_geo.merging.delta import Delta

if TYPE_CHECKING:
    from hyperspectral_geo.merging.saved import Saved

__all__ = ["Layout", "LazyMapping", "Module"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Layout:
    """How a weight of ``shape`` is read as a matrix (out, in).

    Attributes:
        kind: "linear" (out, in) as stored; "fan_in_fan_out" stored as (in, out); "embedding" stored as (vocabulary,
            out), a matrix (out, vocabulary); "conv" stored as (out, in, kernel…), a matrix (out, in·kernel).
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
        stored: the kind of number in which a parameter's change came from its file, and in which ``save`` stores it;
            a parameter without an entry is stored in the kind it is held in.
    """

    name: str
    deltas: Mapping[str, Delta]
    layouts: Mapping[str, Layout]
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    replaced: Mapping[str, Tensor] = field(default_factory=dict)
    magnitudes: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, torch.dtype] = field(default_factory=dict)

    def against(self, base: Mapping[str, Tensor]) -> Module:
        """The same module with ``replaced`` and ``magnitudes`` turned into changes of ``base``, computed in float64.

        A replaced parameter changes by its value minus the base's. With DoRA the weight, as a matrix (out, in), becomes
        W′ = m ⊙ (W + ΔW)/‖W + ΔW‖, the norm taken of each row, so its change W′ − W is dense.

        Args:
            base: the base model's parameters, such as ``model.state_dict()`` or a ``Checkpoint``, which is read one
                tensor at a time. Where its names carry another prefix, a name is found by its end, if that is unique.

        Raises:
            ValueError: naming the parameter that the base lacks, has twice, or has in another shape, as after the
                vocabulary was resized, or a row of W + ΔW that is zero.
        """
        from hyperspectral_geo.merging.against import against

        return against(self, base)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        rank: int | None = None,
        dtype: torch.dtype | None = None,
        base: str | os.PathLike[str] | Mapping[str, Tensor] | None = None,
        overwrite: bool = False,
    ) -> Saved:
        """Write a folder that peft loads as an adapter, or with ``base`` a whole checkpoint.

        The folder is written under a temporary name beside ``path``, synced, and renamed: it is whole or absent.

        Args:
            path: the folder to make.
            rank: cut each change to this rank; without it a dense change becomes factors of its full numerical rank.
            dtype: store in this kind of number; by default each parameter in the kind it came in.
            base: the base model, a folder with a checkpoint or a mapping of its parameters: then the sum of base and
                change is written, tensor by tensor, with the base's configuration and tokenizer beside it. A mapping
                has no such files. What is tied in the base stays tied: both sides then move, as in peft's own merge,
                while peft's running adapter moves the one side it is on.
            overwrite: replace an existing folder, once the new one is complete.

        Returns:
            What was written, with the relative error that cutting and rounding made in each parameter's change.

        Raises:
            ValueError: for what peft's format cannot hold, such as a change of a norm (the remedy is ``base=``), or a
                number beyond the range of ``dtype``.
            FileExistsError: if ``path`` exists and ``overwrite`` is not set.
            OSError: if the folder cannot be written; nothing is left behind.
        """
        if base is None:
            from hyperspectral_geo.merging.peft_writer import save_adapter

            return save_adapter(self, path, rank=rank, dtype=dtype, overwrite=overwrite)
        from hyperspectral_geo.merging.merged_checkpoint import save_merged

        return save_merged(self, path, base=base, rank=rank, dtype=dtype, overwrite=overwrite)


class LazyMapping(Mapping[str, Value], Generic[Value]):
    """A mapping whose values are computed each time they are asked for and never kept."""

    def __init__(self, names: Sequence[str], compute: Callable[[str], Value]) -> None:
        self._names = dict.fromkeys(names)
        self._compute = compute

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(name)
        return self._compute(name)

    def __contains__(self, name: object) -> bool:  # Mapping's own would compute the value
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

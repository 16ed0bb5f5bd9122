"""Processes that train one model together: each draws its own samples, and all take the same steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from hyperspectral_geo.hyperbolic.parameters import Gradient, summed_rows

__all__ = ["Processes", "is_first_process", "joined_processes"]

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Processes:
    """A group of processes as one of them sees it; made by ``joined_processes``. One alone sends nothing.

    Attributes:
        rank: of this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def averaged(self, loss: float, gradients: Mapping[str, Gradient]) -> tuple[float, dict[str, Gradient]]:
        """Mean loss and mean gradients over all processes.

        They are gathered and added up in the order of ranks by each process, so that all have the same bits; if one is
        not finite, the mean is not either, in all of them.
        """
        if self.count == 1:
            return loss, dict(gradients)
        rows = {f"rows.{name}": g.rows for name, g in gradients.items() if g.rows is not None}
        values = {f"value.{name}": g.value for name, g in gradients.items()}
        found = self._gathered(rows | values | {"loss": torch.tensor(loss, dtype=torch.float64)})
        mean = {name: self._mean(found, name) for name in gradients}
        return float(torch.stack([part["loss"] for part in found]).mean()), mean

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers."""
        return max(int(part["number"]) for part in self._gathered({"number": torch.tensor(number)}))

    def total(self, number: int) -> int:
        """The sum of the processes' numbers."""
        return sum(int(part["number"]) for part in self._gathered({"number": torch.tensor(number)}))

    def by_first(self, action: Callable[[], Found]) -> Found | None:
        """What an action gives that the first process alone does, None in the others; what it refuses, all refuse.

        Raises:
            ValueError, OSError, ImportError: what the action raised; ``ValueError`` with its text in the others.
        """
        found, error = None, None
        if self.first:
            try:
                found = action()
            except (ValueError, OSError, ImportError) as caught:
                error = caught
        said = self.from_first({"error": _text("" if error is None else str(error) or type(error).__name__)})
        if error is not None:
            raise error
        if len(said["error"]):
            raise ValueError(bytes(said["error"].tolist()).decode())
        return found

    def from_first(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, in all processes."""
        if self.count == 1:
            return dict(tensors)
        message = _packed(tensors if self.first else {})
        length = torch.tensor([len(message)], device=_device())
        dist.broadcast(length, 0)
        message = message if self.first else torch.empty(int(length), dtype=torch.uint8, device=_device())
        dist.broadcast(message, 0)
        return _unpacked(message)

    def require_same(self, run: str) -> None:
        """Raise ``ValueError`` unless all processes are about to train the same."""
        if len({bytes(part["run"].tolist()) for part in self._gathered({"run": _text(run)})}) > 1:
            raise ValueError(
                f"fit: expected the same graph, objectives and settings in all {self.count} processes, got different "
                "ones; start them with the same arguments"
            )

    def _gathered(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Every process's tensors by rank; their shapes may differ."""
        if self.count == 1:
            return [dict(tensors)]
        message = _packed(tensors)
        lengths = [torch.zeros(1, dtype=torch.int64, device=message.device) for _ in range(self.count)]
        dist.all_gather(lengths, torch.tensor([len(message)], device=message.device))
        longest = max(int(length) for length in lengths)
        messages = [message.new_empty(longest) for _ in range(self.count)]
        dist.all_gather(messages, torch.cat([message, message.new_zeros(longest - len(message))]))
        return [_unpacked(part[: int(length)]) for part, length in zip(messages, lengths, strict=True)]

    def _mean(self, found: list[dict[str, Tensor]], name: str) -> Gradient:
        values = [part[f"value.{name}"] for part in found]
        if f"rows.{name}" not in found[0]:
            return Gradient(None, torch.stack(values).mean(0))
        return summed_rows(torch.cat([part[f"rows.{name}"] for part in found]), torch.cat(values) / self.count)


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """The group that this process belongs to: one that is initialised, the one of ``torchrun``, or itself alone.

    Under torchrun the group is made here and ended with the block: gloo, and NCCL beside it where there is a GPU.

    Raises:
        OSError: if the others cannot be reached.
    """
    if dist.is_available() and dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if not _under_torchrun():
        yield Processes()
        return
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    except (RuntimeError, ValueError) as error:
        told = ", ".join(f"{name}={os.environ.get(name)}" for name in _TORCHRUN)
        raise OSError(f"torchrun: expected to reach the other processes, got {error} ({told})") from error
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process is alone or the first of its group: the one to write what all have computed.

    Example:
        >>> is_first_process()
        True
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return not _under_torchrun() or os.environ["RANK"] == "0"


def _under_torchrun() -> bool:
    return dist.is_available() and all(name in os.environ for name in _TORCHRUN)


def _device() -> torch.device:
    """Where messages must lie: a group of NCCL alone passes them from GPU to GPU."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _packed(tensors: Mapping[str, Tensor]) -> Tensor:
    """Bytes in safetensors' format, which unlike pickle can be read from anyone."""
    content = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).to(_device())


def _unpacked(message: Tensor) -> dict[str, Tensor]:
    return load(message.cpu().numpy().tobytes())


def _text(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)

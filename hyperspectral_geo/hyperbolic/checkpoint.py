"""Checkpoints of a training run: whole or absent, the last two kept, and refused to any other run."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save
from torch import Tensor

from hyperspectral_geo.atomic_write import require_writable, write_atomically
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_store import HopStore, graph_hash
from hyperspectral_geo.hyperbolic.objective import Objective
from hyperspectral_geo.tensor_file import TensorFile, parse_json, refuse_plainly

if TYPE_CHECKING:
    from hyperspectral_geo.hyperbolic.training_run import Training

__all__ = ["Checkpoints", "fingerprint"]

_MARKER = "hyperspectral_geo"
_FORMAT = "hop training 1"
_LINE = 80  # characters of a setting that is kept as it is
_SHORT = 24  # and of one that is told
_MOST_TOLD = 400
_NAME = re.compile(r"step-(\d{9})\.safetensors")


class _AnotherRunError(ValueError):
    """A whole checkpoint, but not of this run."""


class Checkpoints:
    """The folder in which a run keeps its state.

    Files are written to a temporary name, synced and renamed, so that a run that is killed at any moment leaves the
    latest whole checkpoint or the one before it.

    Args:
        folder: made if it is missing.
        run: what ``fingerprint`` says of graph, objectives and settings.
        processes: how many train together.

    Raises:
        OSError: if the folder cannot be written to.
    """

    def __init__(self, folder: Path, run: str, processes: int = 1) -> None:
        self.folder = folder
        self.run = run
        self.processes = processes
        folder.mkdir(parents=True, exist_ok=True)
        require_writable(folder)

    def files(self) -> list[Path]:
        """Checkpoints, the latest first."""
        found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, reverse=True)

    def save(self, training: Training) -> Path:
        """Write the state, then remove all but the last two."""
        tensors, numbers = training.state()
        record = {"format": _FORMAT, "run": self.run, "processes": self.processes, **numbers}
        plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        path = self.folder / f"step-{training.taken:09d}.safetensors"
        write_atomically(path, save(plain, metadata={_MARKER: json.dumps(record)}))
        for old in self.files()[2:]:
            old.unlink()
        for left in self.folder.glob(".step-*.tmp"):  # of a run that was killed while it wrote
            left.unlink(missing_ok=True)
        return path

    def take_up(self, training: Training, *, resume: bool) -> None:
        """Bring a fresh ``training`` to the latest checkpoint that is whole.

        Raises:
            ValueError: if there are checkpoints and ``resume`` is false, if they are of another graph or run, or if
                none of them can be read.
        """
        files = self.files()
        if files and not resume:
            raise ValueError(
                f"checkpoint: {self.folder} holds {files[0].name} of an earlier run; resume it (resume=True, --resume) "
                "or pass another folder"
            )
        damage: list[Exception] = []
        for path in files:
            try:
                self._load(path, training)
            except (ValueError, OSError) as error:
                damage.append(error)
            else:
                return
        if files:
            others = (error for error in damage if isinstance(error, _AnotherRunError))
            told = "; ".join(map(str, damage))
            unreadable = ValueError(f"checkpoint: expected one of {len(files)} files to be readable, got {told}")
            raise next(others, unreadable)

    def _load(self, path: Path, training: Training) -> None:
        tensors, record = self._read(path)
        try:
            training.load_state(tensors, record)
        except (ValueError, KeyError) as error:
            raise refuse_plainly(path, None, f"expected the state of this run, got another ({error})") from error

    def _read(self, path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        file = TensorFile(path)
        record = parse_json(file.metadata.get(_MARKER, "{}").encode(), path, refuse_plainly, what="metadata")
        if record.get("format") != _FORMAT:
            raise refuse_plainly(path, None, f"expected a training checkpoint, got {record.get('format')!r:.40}")
        if record.get("processes") != self.processes:
            raise _AnotherRunError(
                f"{path}: expected a run of as many processes as this, {self.processes}, got one of "
                f"{record.get('processes')!r:.20}; start as many (torchrun --nproc-per-node)"
            )
        if record.get("run") != self.run:
            raise _AnotherRunError(
                f"{path}: it belongs to another graph, objective or setting; pass another checkpoint folder, or what "
                f"it was begun with ({_differences(record.get('run'), self.run)})"
            )
        return {name: file[name] for name in file}, record


def fingerprint(graph: HopGraph, objectives: Sequence[tuple[float, Objective]], run: Mapping[str, Any]) -> str:
    """Graph, objectives with their numbers and tables, and settings of a run, as a JSON object by name.

    What is longer than a line, such as the graph or a table, stands there as its SHA-256.
    """
    found = {"graph": graph_hash(graph)}
    for number, (weight, objective) in enumerate(objectives):
        name = "objective" if number == 0 else f"objective {number + 1}"
        found |= {name: type(objective).__qualname__, f"weight of {name}": repr(weight)}
        found |= {f"{name}'s {key}": _line(_bytes(value)) for key, value in vars(objective).items()}
    for key, value in run.items():
        parts = {f"{key}'s {k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
        found |= {name: str(part) for name, part in parts.items()}
    return json.dumps(found, sort_keys=True)


def _line(content: bytes) -> str:
    plain = len(content) <= _LINE and content.isascii()
    return content.decode() if plain else hashlib.sha256(content).hexdigest()


def _differences(kept: object, own: str) -> str:
    """The settings in which two fingerprints differ, with their values where these are short."""
    try:
        then, now = json.loads(str(kept)), json.loads(own)
    except ValueError:
        return "which it does not name"
    if not isinstance(then, dict):
        return "which it does not name"
    told = []
    for name in sorted(then.keys() | now):
        values = [str(found.get(name, "none")) for found in (then, now)]
        if values[0] != values[1]:
            short = max(map(len, values)) <= _SHORT
            told.append(f"{name:.{_LINE}}: {values[0]}, not {values[1]}" if short else f"another {name:.{_LINE}}")
    return "; ".join(told)[:_MOST_TOLD]


def _bytes(value: object) -> bytes:
    if isinstance(value, Tensor):
        content = value.contiguous().numpy().tobytes()
        return f"{value.dtype} {tuple(value.shape)}".encode() + hashlib.sha256(content).digest()
    if isinstance(value, HopStore):
        return json.dumps(value.header).encode()
    if isinstance(value, tuple):  # such as HopSamples, whose text leaves numbers out
        return b"".join(map(_bytes, value))
    if inspect.isfunction(value):  # by what it does and what it holds, not where it lies in memory
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        return value.__code__.co_code + b"".join(_bytes(part) for part in (*value.__code__.co_consts, *held))
    if callable(value):  # without its address in memory, which changes from run to run
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value)).encode()
    return repr(value).encode()

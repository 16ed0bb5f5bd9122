"""A look at an adapter, a checkpoint or one file, as a physician's: everything odd, how bad it is, and the remedy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from hyperspectral_geo.merging.adapter import WEIGHTS_NAME, load_adapter
from hyperspectral_geo.merging.adapter_config import CONFIG_NAME
from hyperspectral_geo.merging.against import BaseNames
from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.load_checkpoint import load_checkpoint
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.tensor_scan import Finding, TensorScan, scan_files, scan_findings
from hyperspectral_geo.merging.update_report import UpdateRow, update_findings, update_rows, weight_rows

__all__ = ["Inspection", "inspect_module"]

Progress = Callable[[int, int], None]

_ORDER = ("error", "warning", "note", "ok")


@dataclass(frozen=True)
class Inspection:
    """What was found in one place.

    Attributes:
        path: the place.
        kind: what it is: an adapter's folder, a checkpoint, or a single file.
        findings: the worst first; none is as good as it gets.
        rows: a row a matrix: the module's updates, or the weights themselves of a checkpoint without its base.
        of: what the rows are of.
        tensors: number of tensors in the files that could be read. numbers: their entries.
        dtypes: how many tensors of each kind of number.
        module: what was loaded, None where that is refused or there is no base to compare with.
    """

    path: Path
    kind: Literal["adapter", "checkpoint", "file"]
    findings: tuple[Finding, ...]
    rows: tuple[UpdateRow, ...]
    of: Literal["updates", "weights"]
    tensors: int
    numbers: int
    dtypes: Mapping[str, int]
    module: Module | None = field(default=None, repr=False, compare=False)

    @property
    def sound(self) -> bool:
        """Whether no finding is an error."""
        return all(f.severity != "error" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and texts, for JSON."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "sound": self.sound,
            "findings": [asdict(f) for f in self.findings],
            "of": self.of,
            "rows": [asdict(r) for r in self.rows],
            "tensors": self.tensors,
            "numbers": self.numbers,
            "dtypes": dict(self.dtypes),
        }


def inspect_module(
    path: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    largest: int = 2048,
    progress: Progress | None = None,
) -> Inspection:
    """Examine a folder of an adapter or a checkpoint, or one safetensors file; damage is a finding, not an error.

    Every tensor is read once, one at a time. Looked at are: NaN and infinities, magnitudes, mixed kinds of number,
    duplicates, what the loader refuses; of each update rank, effective rank, rank above the noise edge and size; and
    with ``base`` the size relative to its weight, missing parameters, other shapes and an unequal vocabulary.

    Args:
        path: the folder or file.
        base: the base model's folder or file.
        largest: dense matrices whose smaller side is longer are not decomposed: only their size is given.
        progress: called as ``progress(done, all)`` after each matrix.

    Raises:
        FileNotFoundError: if there is nothing at ``path`` or ``base``.
    """
    path = Path(path)
    for place in (path, *([] if base is None else [Path(base)])):
        if not place.exists():
            raise FileNotFoundError(f"{place}: expected a folder or a file, found nothing; check the path")
    if path.name == WEIGHTS_NAME and (path.parent / CONFIG_NAME).exists():
        path = path.parent
    kind = _kind(path)
    scans, findings = scan_files(_files(path))
    findings += scan_findings(scans, adapter=kind == "adapter")
    source, refused = _base(base)
    findings += refused
    module, said = _load(path, kind, source, findings)
    findings += said
    rows: list[UpdateRow] = []
    if module is not None:
        reference = None if source is None else _Reference(source, module)
        findings += [] if reference is None else reference.findings
        rows = update_rows(module, None if reference is None else reference.weight, largest=largest, progress=progress)
        findings += update_findings(rows, adapter=kind == "adapter")
    elif kind != "adapter" and not any(f.severity == "error" for f in findings):
        rows = weight_rows(Checkpoint(path), largest=largest, progress=progress)
    return Inspection(
        path=path,
        kind=kind,
        findings=tuple(sorted(findings, key=lambda f: _ORDER.index(f.severity))),
        rows=tuple(rows),
        of="weights" if module is None else "updates",
        tensors=len(scans),
        numbers=sum(_entries(s) for s in scans),
        dtypes=Counter(s.dtype for s in scans),
        module=module,
    )


class _Reference:
    """The base's weights beside a module's, and what does not fit."""

    def __init__(self, base: Checkpoint, module: Module) -> None:
        self._base, self._module = base, module
        self._keys: dict[str, str] = {}
        self.findings: list[Finding] = []
        names = BaseNames(base)
        shapes = {n: layout.shape for n, layout in module.layouts.items()}
        shapes |= {n: tuple(x.shape) for n, x in module.replaced.items()}
        for name, shape in shapes.items():
            try:
                self._keys[name] = names.require_shape(name, shape, module=module.name)
            except ValueError as error:
                what, _, remedy = str(error).removeprefix(f"{module.name}: ").rpartition("; ")
                self.findings.append(Finding("error", name, what.removeprefix(f"{name}: "), remedy))

    def weight(self, name: str) -> Tensor | None:
        """The base's value as a matrix, None where it has none that fits."""
        if name not in self._keys:
            return None
        try:
            return self._module.layouts[name].to_matrix(self._base[self._keys[name]])
        except ValueError:  # NaN in the base: said of the base itself when that is inspected
            return None


def _kind(path: Path) -> Literal["adapter", "checkpoint", "file"]:
    if path.is_file():
        return "file"
    return "adapter" if (path / CONFIG_NAME).exists() or (path / WEIGHTS_NAME).exists() else "checkpoint"


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix == ".safetensors":
            yield path
    elif _kind(path) == "adapter":
        if (path / WEIGHTS_NAME).exists():
            yield path / WEIGHTS_NAME
    else:
        yield from sorted(path.glob("*.safetensors"))


def _base(base: str | os.PathLike[str] | None) -> tuple[Checkpoint | None, list[Finding]]:
    if base is None:
        return None, []
    try:
        return Checkpoint(base), []
    except (ValueError, OSError) as error:
        return None, [Finding("error", "base", str(error), "inspect the base model by itself")]


def _load(path: Path, kind: str, base: Checkpoint | None, known: list[Finding]) -> tuple[Module | None, list[Finding]]:
    """The module, and a finding if it cannot be loaded, unless the files' own findings have said why."""
    try:
        if kind == "adapter":
            return load_adapter(path), []
        if base is None:
            Checkpoint(path)
            return None, []
        return load_checkpoint(path, base=base), []
    except (ValueError, OSError) as error:
        if any(f.severity == "error" and f.where != "base" for f in known):
            return None, []
        return None, [Finding("error", "loading", str(error), "the message says what to change")]


def _entries(scan: TensorScan) -> int:
    count = 1
    for length in scan.shape:
        count *= length
    return count

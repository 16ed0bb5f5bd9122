"""What the tensors of a file look like, read one at a time: before anybody asks what they mean."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hyperspectral_geo.tensor_file import TensorFile

__all__ = ["Finding", "TensorScan", "scan_files", "scan_findings"]

_MOST_NAMED = 6
# Trained weights stay well below; float16 ends at 65504.
_LARGE = 1e4
_OUTLIER = 1000.0


@dataclass(frozen=True)
class Finding:
    """One thing that was found: how bad it is, where, what, and what to do about it."""

    severity: Literal["ok", "note", "warning", "error"]
    where: str
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class TensorScan:
    """One tensor as its file holds it.

    Attributes:
        file, name: where it is.
        dtype: kind of number, such as "float32".
        shape: its lengths.
        bad: entries that are NaN or infinite. first_bad: the index of the first, or None.
        largest: the largest absolute value of the finite entries. rms: their root mean square.
        digest: equal for tensors of equal kind, shape and bytes.
    """

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    bad: int
    first_bad: tuple[int, ...] | None
    largest: float
    rms: float
    digest: bytes


def scan_files(paths: Iterable[Path]) -> tuple[list[TensorScan], list[Finding]]:
    """All tensors of some safetensors files, and a finding for each file or tensor that cannot be read."""
    scans: list[TensorScan] = []
    findings: list[Finding] = []
    for path in paths:
        try:
            file = TensorFile(path)
            scans += [_scan(path, name, file[name]) for name in file]
        except (ValueError, OSError) as error:
            findings.append(Finding("error", path.name, _reason(path, error), "copy or export the file again"))
    return scans, findings


def scan_findings(scans: list[TensorScan], *, adapter: bool) -> Iterator[Finding]:
    """What is wrong or odd about tensors by themselves."""
    for scan in scans:
        if scan.bad:
            what = f"{scan.bad:,} of {_count(scan.shape):,} entries are NaN or infinite, the first at {scan.first_bad}"
            yield Finding("error", scan.name, what, "take an earlier checkpoint: no merge can repair it")
    yield from _magnitudes(scans)
    yield from _kinds(scans)
    yield from _twins(scans, adapter=adapter)


def _scan(path: Path, name: str, x: Tensor) -> TensorScan:
    digest = hashlib.blake2b(x.contiguous().reshape(-1).view(torch.uint8).numpy().data, digest_size=16).digest()
    kind = str(x.dtype).removeprefix("torch.")
    if not x.is_floating_point():
        return TensorScan(path, name, kind, tuple(x.shape), 0, None, 0.0, 0.0, digest)
    finite = x.isfinite()
    bad = int((~finite).sum())
    first = tuple(torch.nonzero(~finite)[0].tolist()) if bad else None
    kept = (x[finite] if bad else x).to(torch.promote_types(x.dtype, torch.float32))
    largest = float(kept.abs().max()) if kept.numel() else 0.0
    # divided first, so that squares do not overflow
    rms = largest * float((kept / largest).square().mean().sqrt()) if largest > 0 else 0.0
    return TensorScan(path, name, kind, tuple(x.shape), bad, first, largest, rms, digest)


def _magnitudes(scans: list[TensorScan]) -> Iterator[Finding]:
    matrices = [s for s in scans if len(s.shape) >= 2 and s.rms > 0]
    for scan in (s for s in scans if s.largest > _LARGE and len(s.shape) >= 2):
        what = f"its largest entry is {scan.largest:.3g}, its root mean square {scan.rms:.3g}"
        yield Finding("warning", scan.name, what, "check how it was trained and scaled; half precision ends at 65504")
    if len(matrices) >= 4:
        middle = statistics.median(s.rms for s in matrices)
        odd = [s for s in matrices if s.largest <= _LARGE and not middle / _OUTLIER < s.rms < middle * _OUTLIER]
        for scan in odd:
            what = f"root mean square {scan.rms:.3g}, over {_OUTLIER:g} times off the median {middle:.3g} of the file"
            yield Finding("warning", scan.name, what, "check how it was trained and scaled")


def _kinds(scans: list[TensorScan]) -> Iterator[Finding]:
    kinds = Counter(s.dtype for s in scans if len(s.shape) >= 2)
    floats = [kind for kind in kinds if "float" in kind]
    if len(floats) > 1:
        said = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common())
        yield Finding("warning", "kinds of number", f"matrices are mixed: {said}", "save all matrices in one kind")
    whole = [kind for kind in kinds if "float" not in kind]
    if whole:
        said = ", ".join(f"{kinds[kind]} of {kind}" for kind in whole)
        yield Finding("note", "kinds of number", f"matrices that are no real numbers: {said}", "")


def _twins(scans: list[TensorScan], *, adapter: bool) -> Iterator[Finding]:
    groups: dict[bytes, list[TensorScan]] = {}
    for scan in scans:
        if len(scan.shape) >= 2 and scan.largest > 0:
            groups.setdefault(scan.digest, []).append(scan)
    for group in groups.values():
        if len(group) > 1 and len({s.shape for s in group}) == 1:
            names = [s.name for s in group]
            said = ", ".join(names[1 : 1 + _MOST_NAMED]) + (f" and {len(names) - 7} more" if len(names) > 7 else "")
            if adapter:
                what, remedy = f"equals {said} to the bit", "check that the layers were trained apart"
                yield Finding("warning", names[0], what, remedy)
            else:
                yield Finding("note", names[0], f"is tied to {said}, or a copy: equal to the bit", "")


def _reason(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ") or type(error).__name__


def _count(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()

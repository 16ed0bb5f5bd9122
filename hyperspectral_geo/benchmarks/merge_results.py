"""Results of one seed and setting of the merging benchmark, kept as JSON so that an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.benchmarks.merge_contest import Entry
from hyperspectral_geo.benchmarks.paired_bootstrap import Correct

__all__ = ["read_results", "write_results"]


def write_results(path: Path, own: Correct, entries: Mapping[str, Entry]) -> None:
    """Write the experts' own results and every method's entry."""
    found: dict[str, Any] = {"own": _bits(own), "entries": {}}
    for name, entry in entries.items():
        record = {**asdict(entry), "tuned": _bits(entry.tuned), "default": _bits(entry.default)}
        found["entries"][name] = record
    write_atomically(path, json.dumps(found).encode())


def read_results(path: Path) -> tuple[Correct, dict[str, Entry]]:
    """What ``write_results`` wrote."""
    found = json.loads(path.read_text())
    entries = {
        name: Entry(**{**record, "tuned": _correct(record["tuned"]), "default": _correct(record["default"])})
        for name, record in found["entries"].items()
    }
    return _correct(found["own"]), entries


def _bits(correct: Correct) -> list[str]:
    return ["".join("1" if right else "0" for right in task.tolist()) for task in correct]


def _correct(bits: list[str]) -> Correct:
    return [torch.tensor([bit == "1" for bit in task]) for task in bits]

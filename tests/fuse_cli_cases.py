"""What all refusals of ``hsgeo fuse`` have in common."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest


def assert_refused(
    hsgeo: Callable[..., int], capsys: pytest.CaptureFixture[str], *arguments: str | Path, message: str
) -> None:
    """The command ends with code 2 and a message that fits, and every file of the current folder stays as it was."""
    before = _contents()
    assert hsgeo("fuse", *arguments) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.replace("│", " ").split()))
    assert _contents() == before


def _contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}

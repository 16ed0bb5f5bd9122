"""``hsgeo convert``: the remedy that errors about pickles name is there, and does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

Run = Callable[..., int]


def test_a_pickle_becomes_safetensors(hsgeo: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    wanted = {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3)}
    torch.save(wanted, tmp_path / "model.bin")
    out = tmp_path / "model.safetensors"
    assert hsgeo("convert", tmp_path / "model.bin", out) == 0
    assert f"{out}: 2 tensors" in " ".join(capsys.readouterr().out.replace("\n", "").split())
    found = load_file(out)
    assert sorted(found) == sorted(wanted)
    assert all(torch.equal(found[name], x) for name, x in wanted.items())
    assert hsgeo("convert", tmp_path / "model.bin", out) == 2
    assert "expected a new file" in capsys.readouterr().err
    assert hsgeo("convert", tmp_path / "model.bin", out, "--overwrite") == 0


def test_what_is_no_tensor_is_refused(hsgeo: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save({"path": tmp_path}, tmp_path / "model.bin")
    assert hsgeo("convert", tmp_path / "model.bin", tmp_path / "model.safetensors") == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "model.safetensors").exists()

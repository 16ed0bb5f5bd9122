"""Checkpoints are written whole or not at all, in little memory, and pickles never become code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_cases import model, write

from hyperspectral_geo.merging import Dense, Module
from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.convert import convert
from hyperspectral_geo.merging.format_error import ModuleFormatError
from hyperspectral_geo.merging.merged_checkpoint import write_checkpoint
from hyperspectral_geo.merging.module import Layout


def test_rounding_beyond_the_kind_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    base = write(tmp_path / "base", model(0, torch.float16))
    module = Module(
        "m", {"layer.q.weight": Dense(torch.full((8, 8), 1e5))}, {"layer.q.weight": Layout("linear", (8, 8))}
    )
    with pytest.raises(ValueError, match="layer.q.weight.*beyond the range of torch.float16"):
        module.save(tmp_path / "sum", base=base)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]


def test_existing_folders_stay_unless_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", model(0))
    (folder / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(folder, model(1))
    write_checkpoint(folder, model(1), overwrite=True)
    assert not (folder / "note.txt").exists()
    assert torch.equal(Checkpoint(folder)["scale"], model(1)["scale"])
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="a file or a link"):
        write_checkpoint(tmp_path / "file", model(1), overwrite=True)
    with pytest.raises(FileNotFoundError, match="existing one"):
        write(tmp_path / "none" / "model", model(1))


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "model", model(0))
    before = (folder / "model.safetensors").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(folder, model(1), overwrite=True)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")
def test_a_file_size_limit_is_an_error_and_no_half_file(tmp_path: Path) -> None:
    code = (
        "import resource, signal, torch\n"
        "from hyperspectral_geo.merging.merged_checkpoint import write_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    write_checkpoint('model', {'x': torch.ones(100, 1000)})\n"
        "except OSError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "nothing was written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_pickles_are_refused_with_the_way_out(tmp_path: Path) -> None:
    tensors = model(0)
    tensors["lm_head.weight"] = tensors["embed_tokens.weight"]
    for name, content in (("a.bin", tensors), ("b.pt", {"state_dict": tensors})):
        torch.save(content, tmp_path / name)
        with pytest.raises(ModuleFormatError, match="hsgeo convert"):
            Checkpoint(tmp_path / name)
        with pytest.raises(ModuleFormatError, match="hsgeo convert"):
            Checkpoint(tmp_path)
        convert(tmp_path / name, tmp_path / "out.safetensors", overwrite=True)
        found = Checkpoint(tmp_path / "out.safetensors")
        assert set(found) == set(model(0))
        assert all(torch.equal(found[n], tensors[n]) for n in found)
    with pytest.raises(FileExistsError):
        convert(tmp_path / "a.bin", tmp_path / "out.safetensors")


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("planted",)


@pytest.mark.parametrize(
    "content", [{"a": _Hostile()}, {"a": 3}, {"a": "text"}, [torch.ones(2)], {3: torch.ones(2)}, {}, b"", b"PK\x03\x04"]
)
def test_converting_refuses_all_but_tensors(content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        Path("a.bin").write_bytes(content)
    else:
        torch.save(content, "a.bin")
    with pytest.raises(ModuleFormatError, match="a.bin"):
        convert("a.bin", "out.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin"]


def test_the_command_converts(tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from hyperspectral_geo.cli.convert import convert as command

    torch.save(model(0), tmp_path / "a.bin")
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors")])
    assert done.exit_code == 0
    assert done.stdout.strip().endswith("a.safetensors: 7 tensors")
    assert len(Checkpoint(tmp_path / "a.safetensors")) == 7
    with pytest.raises(ValueError, match="ends in .safetensors"):
        convert(tmp_path / "a.bin", tmp_path / "b.bin")
    with pytest.raises(FileNotFoundError, match="found nothing"):
        convert(tmp_path / "none.bin", tmp_path / "b.safetensors")


def _measure(folder: Path, count: int, side: int) -> float:
    """Megabytes that merging two checkpoints takes beyond what the imports take."""
    script = Path(__file__).parent / "checkpoint_memory.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, str(script), str(folder)]
    subprocess.run([*command, str(count), str(side)], env=environment, check=True)
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    # 48 weights of 2 to 4 MB, 128 MB a checkpoint; a weight's merge in float64 takes about twelve times its bytes
    assert _measure(tmp_path, 48, 1024) <= 150


@pytest.mark.slow
def test_merging_two_checkpoints_of_two_gigabytes_takes_one(tmp_path: Path) -> None:
    assert _measure(tmp_path, 45, 4096) <= 1024
    assert sum(f.stat().st_size for f in (tmp_path / "base").iterdir()) > 1.9e9

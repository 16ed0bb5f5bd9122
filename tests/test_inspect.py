"""``hsgeo inspect``: what is planted is found, damage is a finding and not a traceback, and sound modules are sound."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyperspectral_geo.merging import Layout, LowRank, Module
from hyperspectral_geo.merging.inspection import Inspection, inspect_module
from hyperspectral_geo.merging.inspection_report import compare

LAYERS = {f"layers.{i}.{name}": shape for i in range(2) for name, shape in {"q": (8, 6), "v": (6, 6)}.items()}
FILE = "adapter_model.safetensors"
KEY = "base_model.model.layers.0.q.lora_B.weight"

run = Callable[..., int]


def adapter(
    folder: Path, *, seed: int = 0, rank: int = 2, change: Callable[[dict[str, Tensor]], None] | None = None
) -> Path:
    g = torch.Generator().manual_seed(seed)
    deltas = {
        f"{n}.weight": LowRank(0.1 * torch.randn(m, rank, generator=g), torch.randn(rank, k, generator=g))
        for n, (m, k) in LAYERS.items()
    }
    layouts = {f"{n}.weight": Layout("linear", shape) for n, shape in LAYERS.items()}
    Module(folder.name, deltas, layouts, config={"base_model_name_or_path": "toy"}).save(folder)
    if change is not None:
        tensors = load_file(folder / FILE)
        change(tensors)
        save_file(tensors, folder / FILE)
    return folder


def checkpoint(folder: Path, *, seed: int = 0, change: Callable[[dict[str, Tensor]], None] | None = None) -> Path:
    g = torch.Generator().manual_seed(seed)
    tensors = {f"{n}.weight": torch.randn(shape, generator=g) for n, shape in LAYERS.items()}
    tensors["embed.weight"] = torch.randn(10, 6, generator=g)
    tensors["norm.bias"] = torch.zeros(6)
    if change is not None:
        change(tensors)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def said(inspection: Inspection, severity: str | None = None) -> str:
    return "\n".join(f"{f.where}: {f.what}; {f.remedy}" for f in inspection.findings if severity in (None, f.severity))


def test_a_sound_adapter(tmp_path: Path):
    found = inspect_module(adapter(tmp_path / "cat"), base=checkpoint(tmp_path / "base"))
    assert (found.findings, found.sound, found.kind, found.of) == ((), True, "adapter", "updates")
    assert [row.rank for row in found.rows] == [2] * 4
    weight = load_file(tmp_path / "base" / "model.safetensors")["layers.0.q.weight"]
    assert found.module is not None
    change = found.module.deltas["layers.0.q.weight"].dense()
    assert found.rows[0].relative == pytest.approx(float(change.norm() / weight.norm()))
    assert found.rows[0].effective_rank is not None
    assert 1 < found.rows[0].effective_rank <= 2
    assert found.numbers == sum(2 * (m + n) for m, n in LAYERS.values())


@pytest.mark.parametrize("name", [FILE, ""])
def test_the_file_of_an_adapter_stands_for_its_folder(tmp_path: Path, name: str):
    assert inspect_module(adapter(tmp_path / "cat") / name).kind == "adapter"


def plant(key: str, value: float, *, where: tuple[int, int] = (3, 1)) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[key][where] = value

    return change


def dead(tensors: dict[str, Tensor]) -> None:
    tensors[KEY].zero_()


def mixed(tensors: dict[str, Tensor]) -> None:
    tensors[KEY] = tensors[KEY].half()


def copied(tensors: dict[str, Tensor]) -> None:
    tensors[KEY.replace("layers.0", "layers.1")] = tensors[KEY].clone()


def loud(tensors: dict[str, Tensor]) -> None:
    tensors[KEY] *= 2000


def lower(tensors: dict[str, Tensor]) -> None:
    tensors[KEY][:, 1] = tensors[KEY][:, 0]


@pytest.mark.parametrize(
    "change, severity, match",
    [
        (plant(KEY, math.nan), "error", "1 of 16 entries are NaN or infinite, the first at (3, 1)"),
        (plant(KEY, math.inf), "error", "NaN or infinite"),
        (dead, "warning", "the update is zero; train it"),
        (mixed, "warning", "matrices are mixed: 7 of float32, 1 of float16"),
        (copied, "warning", "equals base_model.model.layers.1.q.lora_B.weight to the bit"),
        (loud, "warning", "times the median of all updates"),
        (lambda t: t[KEY].mul_(1e6), "warning", "its largest entry is"),
        (lower, "note", "a lower rank than factors, here 1 of 2"),
    ],
)
def test_what_is_planted_is_found(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], None], severity: str, match: str
):
    found = inspect_module(adapter(tmp_path / "cat", change=change))
    assert match in said(found, severity)
    assert found.sound == (severity != "error")
    json.dumps(found.to_dict(), allow_nan=False)


def test_beside_a_base(tmp_path: Path):
    folder = adapter(tmp_path / "cat", change=lambda t: t[KEY].mul_(200))
    tiny = checkpoint(tmp_path / "tiny", change=lambda t: t["layers.0.q.weight"].mul_(0.01))
    assert "times as large as its weight" in said(inspect_module(folder, base=tiny), "warning")
    other = checkpoint(tmp_path / "other", change=lambda t: t.update({"layers.1.v.weight": torch.randn(6, 7)}))
    found = inspect_module(folder, base=other)
    assert "layers.1.v.weight: expected shape (6, 6)" in said(found, "error")
    lacking = checkpoint(tmp_path / "lacking", change=lambda t: t.pop("layers.1.v.weight"))
    assert "found none; check that it is the base" in said(inspect_module(folder, base=lacking), "error")


def test_an_unequal_vocabulary(tmp_path: Path):
    base = checkpoint(tmp_path / "base")
    layouts = {"embed.weight": Layout("embedding", (12, 6))}
    Module("words", {"embed.weight": LowRank(torch.randn(6, 2), torch.randn(2, 12))}, layouts).save(tmp_path / "words")
    assert "the vocabulary or the classes differ" in said(inspect_module(tmp_path / "words", base=base), "error")
    grown = checkpoint(tmp_path / "grown", change=lambda t: t.update({"embed.weight": torch.randn(12, 6)}))
    assert "vocabulary" in said(inspect_module(grown, base=base), "error")


def test_checkpoints(tmp_path: Path):
    base = checkpoint(tmp_path / "base")
    alone = inspect_module(base)
    assert (alone.kind, alone.of, alone.findings) == ("checkpoint", "weights", ())
    assert [row.name for row in alone.rows][-1] in ("embed.weight", "layers.1.v.weight")
    tuned = checkpoint(tmp_path / "tuned", change=lambda t: t["embed.weight"].add_(torch.randn(10, 6)))
    found = inspect_module(tuned, base=base)
    assert found.of == "updates"
    assert "4 of 5 matrices did not change" in said(found, "note")
    assert "all updates are zero" in said(inspect_module(base, base=base), "warning")
    single = inspect_module(tuned / "model.safetensors", base=base / "model.safetensors")
    assert (single.kind, single.of) == ("file", "updates")
    tied = checkpoint(tmp_path / "tied", change=lambda t: t.update({"head.weight": t["embed.weight"].clone()}))
    assert "is tied to" in said(inspect_module(tied), "note")
    large = inspect_module(tuned, base=base, largest=4)
    assert "too large to be decomposed" in said(large, "note")
    assert large.rows[0].rank is None


def damage(folder: Path, how: str) -> None:
    file, config = folder / FILE, folder / "adapter_config.json"
    raw = file.read_bytes()
    if how == "cut":
        file.write_bytes(raw[:-7])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "header":
        file.write_bytes(raw[:8] + b"\xff" * 20 + raw[28:])
    elif how == "pickle":
        file.write_bytes(b"\x80\x04\x95" + b"\xff" * 30)
    elif how == "no file":
        file.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "config":
        config.write_text("{")
    elif how == "rank":
        config.write_text(json.dumps({**json.loads(config.read_text()), "r": 3}))
    elif how == "folder":
        file.unlink()
        file.mkdir()


@pytest.mark.parametrize(
    "how", ["cut", "empty", "header", "pickle", "no file", "no config", "config", "rank", "folder"]
)
def test_damage_is_an_error_among_the_findings(
    tmp_path: Path, hsgeo: run, capsys: pytest.CaptureFixture[str], how: str
):
    folder = adapter(tmp_path / "cat")
    damage(folder, how)
    assert hsgeo("inspect", folder) == 1
    captured = capsys.readouterr()
    assert "error" in captured.out
    assert "Traceback" not in captured.out + captured.err
    assert str(tmp_path) not in said(inspect_module(folder), "error") or how not in ("cut", "empty", "header", "pickle")


def test_a_broken_base_is_a_finding(tmp_path: Path):
    (tmp_path / "base").mkdir()
    found = inspect_module(adapter(tmp_path / "cat"), base=tmp_path / "base")
    assert "inspect the base model by itself" in said(found, "error")
    assert len(found.rows) == 4


def test_several_modules_and_their_files(tmp_path: Path, hsgeo: run, capsys: pytest.CaptureFixture[str]):
    a, b = adapter(tmp_path / "cat"), adapter(tmp_path / "dog", seed=1)
    assert hsgeo("inspect", a, b, "--json", tmp_path / "i.json", "--html", tmp_path / "i.html") == 0
    out = capsys.readouterr().out
    assert "nothing to complain of" in out
    assert "together" in out
    data = json.loads((tmp_path / "i.json").read_text())
    assert [i["sound"] for i in data["inspections"]] == [True, True]
    assert data["together"]["names"] == ["cat", "dog"]
    page = (tmp_path / "i.html").read_text()
    assert "Angles between the modules" in page
    assert page.count("data:image/png") == 3
    assert str(tmp_path) not in page


def test_comparison_of_twins_and_of_modules_that_do_not_fit(tmp_path: Path):
    a, twin = adapter(tmp_path / "cat"), adapter(tmp_path / "twin")
    between = compare([inspect_module(a), inspect_module(twin)], largest=100)
    assert between is not None
    assert between.left[0][1] == pytest.approx(0.0, abs=1e-6)
    assert between.cosines[0][1] == pytest.approx(1.0)
    layouts = {"layers.0.q.weight": Layout("linear", (8, 9))}
    Module("odd", {"layers.0.q.weight": LowRank(torch.randn(8, 2), torch.randn(2, 9))}, layouts).save(tmp_path / "odd")
    refused = compare([inspect_module(a), inspect_module(tmp_path / "odd")], largest=100)
    assert refused is not None
    assert "different base models" in refused.refused
    same_name = compare([inspect_module(a), inspect_module(a)], largest=100)
    assert same_name is not None
    assert same_name.names == ("cat", "cat (2)")


def test_what_is_not_there_is_a_mistake_of_the_caller(tmp_path: Path, hsgeo: run, capsys: pytest.CaptureFixture[str]):
    assert hsgeo("inspect", tmp_path / "none") == 2
    assert "found nothing; check the path" in capsys.readouterr().err
    assert hsgeo("inspect", adapter(tmp_path / "cat"), "--json", tmp_path / "no" / "i.json") == 2
    assert "existing folder" in capsys.readouterr().err


def test_real_adapters_are_sound(shared_data: Callable[[str], Path]):
    for name in ("mpqa", "trec"):
        assert inspect_module(shared_data("adapters") / f"minilm-{name}").findings == ()

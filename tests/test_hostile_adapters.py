"""Adapters that are damaged or were made to harm: each loads to what it says, or is refused by name."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_cases import CONFIG, HOSTILE, WEIGHTS, P, edit_header, edit_tensors, write
from safetensors.torch import load_file

from hyperspectral_geo.merging import LowRank
from hyperspectral_geo.merging.adapter import load_adapter
from hyperspectral_geo.merging.format_error import ModuleFormatError
from hyperspectral_geo.merging.module import Module

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "adapter")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_adapters_are_refused_by_name(name: str, folder: Path) -> None:
    spoil, message = HOSTILE[name]
    if name == "overflowing scale":
        edit_tensors(lambda t: [x.mul_(1e15) for x in t.values() if x.dtype == torch.float32])(folder)
    spoil(folder)
    with pytest.raises(ModuleFormatError, match=message) as caught:
        load_adapter(folder)
    assert str(folder) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(folder)) + 900


def test_paths_that_are_no_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found nothing"):
        load_adapter(tmp_path / "none")
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(ModuleFormatError, match="hsgeo convert"):
        load_adapter(tmp_path / "a.bin")


def test_a_file_of_holes_is_refused_before_it_takes_the_memory(folder: Path) -> None:
    columns = 1 << 41  # times two rows of float32: 16 TB but for the header
    entry = {"dtype": "F32", "shape": [2, columns - 1024], "data_offsets": [0, 8 * (columns - 1024)]}
    text = json.dumps(
        {
            f"{P}layer.0.q.lora_A.weight": entry,
            f"{P}layer.0.q.lora_B.weight": {
                "dtype": "F32",
                "shape": [1, 2],
                "data_offsets": [entry["data_offsets"][1], entry["data_offsets"][1] + 8],
            },
        }
    ).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        try:
            file.truncate(8 + len(text) + entry["data_offsets"][1] + 8)
        except OSError:
            pytest.skip("this file system has no files of this size")
    with pytest.raises(ModuleFormatError, match="layer.0.q.lora_A.*fits in memory"):
        load_adapter(folder)


def test_links_and_untrained_adapters_load(folder: Path, tmp_path: Path) -> None:
    edit_tensors(lambda t: [x.zero_() for x in t.values()])(folder)
    (tmp_path / "link").symlink_to(folder)
    module = load_adapter(tmp_path / "link", name="mine", base_name="base")
    assert module.name == "mine"
    assert module.config["base_model_name_or_path"] == "base"
    assert all(not d.dense().any() for d in module.deltas.values())


def expected(folder: Path) -> dict[str, torch.Tensor]:
    """What an adapter of this shape says, worked out a second time by hand, with safetensors' own reader."""
    fields, given = json.loads((folder / CONFIG).read_text()), load_file(folder / WEIGHTS)
    found: dict[str, torch.Tensor] = {}
    for key, a in given.items():
        layer = key.removeprefix(P)
        if layer.endswith((".lora_A.weight", ".lora_embedding_A")):
            b = given[key.replace("lora_A", "lora_B").replace("embedding_A", "embedding_B")].double()
            layer = layer.rsplit(".lora_", 1)[0]
            scale = _alpha(fields, layer) / (len(a) ** 0.5 if fields.get("use_rslora") else len(a))
            found[f"{layer}.weight"] = scale * b.reshape(len(b), -1) @ a.double().reshape(len(a), -1)
        elif ".lora_" not in key:
            found[layer] = a.double()
    return found


def _alpha(fields: dict[str, Any], layer: str) -> float:
    for pattern, alpha in (fields.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return alpha
    return fields["lora_alpha"]


def mutate(folder: Path, g: random.Random) -> None:
    """One to three changes: bytes, cuts, the header's or the configuration's structure."""
    for _ in range(g.choice([1, 1, 1, 1, 2, 3])):
        kind = g.choice(["flip", "flip", "cut", "grow", "header", "header", "config", "config", "config bytes"])
        file = folder / (CONFIG if kind == "config bytes" else WEIGHTS)
        raw = bytearray(file.read_bytes())
        if kind in ("flip", "config bytes") and raw:
            data = min(8 + int.from_bytes(raw[:8], "little"), len(raw) - 1)
            start = 0 if kind == "config bytes" or g.random() < 0.3 else data
            for _ in range(g.randint(1, 4)):
                raw[g.randrange(start, len(raw))] ^= 1 << g.randrange(8)
        elif kind == "cut":
            del raw[g.randrange(len(raw) + 1) :]
        elif kind == "grow":
            position = g.randrange(len(raw) + 1)
            raw[position:position] = g.randbytes(g.randint(1, 9))
        if kind not in ("header", "config"):
            file.write_bytes(raw)
            continue
        # An earlier change may have left nothing that could be parsed.
        with suppress(ValueError, RecursionError, OverflowError, struct.error):
            if kind == "header":
                edit_header(lambda h: mutate_json(h, g))(folder)
            else:
                fields = json.loads((folder / CONFIG).read_text())
                mutate_json(fields, g)
                (folder / CONFIG).write_text(json.dumps(fields))


VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, 4, -1, 7, 1 << 40, 1 << 70, 0.5, 1e300, float("nan"), "", "q", "F16", "BF16", "F32"),
    *([], {}, [1], [2, 4], [4, 2], [3, 2], [2, 3, 2, 2], [0, 32], "I8", "BOOL", "F64", "LORA", "all", "none", ["q"]),
    *(".*", "(a+)+", {"q": 2}, {"k": 4}, {".*": 4}, {"(": 2}, {"q": -1}, {"q": "2"}, {"k": 1e400}, "pissa", [[1]]),
]


def mutate_json(value: Any, g: random.Random) -> None:
    """Change one place in a nest of objects and lists."""
    if not isinstance(value, dict | list) or not value:
        return
    key = g.choice(list(value)) if isinstance(value, dict) else g.randrange(len(value))
    if isinstance(value[key], dict | list) and value[key] and g.random() < 0.6:
        mutate_json(value[key], g)
    elif isinstance(value, dict) and g.random() < 0.3:
        old = value.pop(key)
        if g.random() < 0.7:
            letters = list(key)
            letters[g.randrange(len(letters)) if letters else 0 : 1] = [chr(g.choice([1, 46, 65, 0x202E, 0xD800]))]
            value["".join(letters)] = old
    elif isinstance(value, dict) and g.random() < 0.2:
        value[g.choice(["use_dora", "lora_bias", "use_rslora", "exclude_modules", "x", "layers_to_transform"])] = (
            g.choice(VALUES)
        )
    else:
        value[key] = g.choice(VALUES)


def judge(folder: Path) -> bool:
    """Whether the folder loads; it must then say what it says, and otherwise be refused as it should."""
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    module, said = None, ""
    try:
        module = load_adapter(folder)
    except ModuleFormatError as error:
        said = str(error)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    if module is None:
        assert str(folder) in said
        assert said.isprintable()
        return False
    compare(module, expected(folder))
    return True


def compare(module: Module, wanted: dict[str, torch.Tensor]) -> None:
    assert {*module.deltas, *module.replaced} == set(wanted)
    for name, delta in module.deltas.items():
        assert isinstance(delta, LowRank)
        assert bool(torch.isfinite(delta.left).all() & torch.isfinite(delta.right).all())
        found = delta.left.double() @ delta.right.double()
        scale = delta.left.double().norm() * delta.right.double().norm()
        assert float((found - wanted[name]).norm()) <= 1e-6 * float(scale) + 1e-30
    for name, value in module.replaced.items():
        assert torch.equal(value.double(), wanted[name])
        assert bool(torch.isfinite(value).all())


def _fuzz(start: Path, tmp_path: Path, *, first: int, count: int) -> tuple[int, int]:
    loaded = 0
    for seed in range(first, first + count):
        folder = tmp_path / "mutant"
        shutil.copytree(start, folder)
        mutate(folder, random.Random(seed))
        try:
            loaded += judge(folder)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        shutil.rmtree(folder)
    return loaded, count - loaded


def test_mutated_adapters_load_or_are_refused(folder: Path, tmp_path: Path) -> None:
    loaded, refused = _fuzz(folder, tmp_path, first=0, count=500)
    assert loaded >= 50
    assert refused >= 200


@pytest.mark.slow
def test_many_mutated_adapters_load_or_are_refused(folder: Path, tmp_path: Path) -> None:
    loaded, refused = _fuzz(folder, tmp_path, first=500, count=20_000)
    print(loaded, refused)
    assert loaded >= 2_000
    assert refused >= 8_000

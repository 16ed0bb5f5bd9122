"""Saved embeddings: exact there and back with any names, whole or absent, and hostile files refused."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import torch
from hop_cases import tangents
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from hyperspectral_geo.hyperbolic import GEOMETRIES, HopEmbedding, Staircase
from hyperspectral_geo.hyperbolic.model_file import packed_names, unpacked_names
from hyperspectral_geo.hyperbolic.step_forms import feature_count

AWKWARD = (
    "",
    " ",
    "a\nb",
    "a\r\n",
    "\0",
    "é",
    "e\u0301",
    "𝔊",
    "\ud800",
    "../../x",
    "'\"\\",
    "页",
    "x" * 100_000,
    "a\tb",
)
TABLES = ("tangents", "targets", "outgoing", "incoming")


def embedding(*, geometry="hyperbolic", dtype=torch.float32, parts: bool = True, names=AWKWARD) -> HopEmbedding:
    n = len(names)
    if not parts:
        return HopEmbedding(names, tangents(n, 3, dtype=dtype), geometry, 0.3)
    return HopEmbedding(
        names,
        tangents(n, 3, dtype=dtype),
        geometry,
        1 / 3,
        tangents(n, 3, seed=1, dtype=dtype),
        torch.arange(n, dtype=dtype) / 3,
        -torch.arange(n, dtype=dtype) / 7,
        Staircase.even(3, dtype=dtype),
    )


def with_forms(*, dtype=torch.float32) -> HopEmbedding:
    """A model whose steps have scores of their own."""
    size = feature_count(3)
    forms = torch.randn(3, size, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
    return dataclasses.replace(embedding(dtype=dtype), forms=forms)


def same(a: HopEmbedding, b: HopEmbedding) -> bool:
    assert (a.names, a.geometry, a.scale) == (b.names, b.geometry, b.scale)
    assert (a.readout is None) == (b.readout is None)
    pairs = [(getattr(a, name), getattr(b, name)) for name in TABLES]
    if a.readout is not None and b.readout is not None:
        pairs += [(a.readout.thresholds, b.readout.thresholds), (a.readout.log_slopes, b.readout.log_slopes)]
    assert all((x is None) == (y is None) for x, y in pairs)
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs if x is not None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("parts", [True, False], ids=["all parts", "bare"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_there_and_back_bit_by_bit(tmp_path: Path, geometry, parts: bool, dtype: torch.dtype):
    model = embedding(geometry=geometry, dtype=dtype, parts=parts)
    path = model.save(tmp_path / "model.safetensors")
    assert path == tmp_path / "model.safetensors"
    back = HopEmbedding.load(str(path))
    assert same(model, back)
    assert torch.equal(model.distances(), back.distances())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_forms_are_saved(tmp_path: Path, dtype: torch.dtype):
    model = with_forms(dtype=dtype)
    back = HopEmbedding.load(model.save(tmp_path / "m"))
    assert same(model, back)
    assert model.forms is not None
    assert torch.equal(model.forms, back.forms)


def test_saving_again_replaces_and_gives_the_same_bytes(tmp_path: Path):
    path = embedding(parts=False).save(tmp_path / "m")
    embedding().save(path)
    assert same(HopEmbedding.load(path), embedding())
    assert HopEmbedding.load(path).save(tmp_path / "again").read_bytes() == path.read_bytes()


def test_parts_that_share_memory_or_are_strided_are_saved(tmp_path: Path):
    z, scalars = tangents(6, 3)[::2], torch.rand(3, dtype=torch.float64)
    model = HopEmbedding(("a", "b", "c"), z, "euclidean", targets=z, outgoing=scalars, incoming=scalars)
    assert same(HopEmbedding.load(model.save(tmp_path / "m")), model)


def test_a_parameter_that_takes_gradients_is_saved_without_them(tmp_path: Path):
    model = HopEmbedding(("a", "b"), tangents(2, 3).requires_grad_())
    assert not HopEmbedding.load(model.save(tmp_path / "m")).tangents.requires_grad


@given(st.lists(st.text(st.characters(), max_size=8), min_size=1, max_size=12, unique=True))
def test_any_names_survive(names: list[str]):
    assert unpacked_names(*packed_names(tuple(names))) == tuple(names)


def test_the_file_is_plain_safetensors(tmp_path: Path):
    path = embedding(names=("a", "b")).save(tmp_path / "m")
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {*TABLES, "thresholds", "log_slopes", "names", "name_ends"}
        record = json.loads(file.metadata()["hyperspectral_geo"])
        assert record == {"format": "hop embedding 1", "geometry": "hyperbolic", "scale": 1 / 3}
        assert bytes(file.get_tensor("names").tolist()) == b"ab"


# Failures


@pytest.mark.parametrize("failing", ["write", "replace", "missing folder", "a folder there", "no concepts"])
def test_a_failed_save_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str):
    path = tmp_path / "m"
    embedding(parts=False).save(path)
    before = path.read_bytes()
    model = embedding()
    if failing == "write":
        monkeypatch.setattr("os.fsync", _full)
    elif failing == "replace":
        monkeypatch.setattr(Path, "replace", _full)
    elif failing == "missing folder":
        path = tmp_path / "missing" / "m"
    elif failing == "a folder there":
        path = tmp_path / "folder"
        path.mkdir()
    else:
        model = HopEmbedding((), torch.zeros(0, 2))
    listed = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError if failing == "no concepts" else OSError):
        model.save(path)
    assert sorted(tmp_path.iterdir()) == listed
    assert (tmp_path / "m").read_bytes() == before


def _full(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def written(folder: Path, *, record=None, drop=(), **changed: object) -> Path:
    """A file as ``save`` would write it, with changes."""
    z = torch.zeros(2, 3)
    joined, ends = packed_names(("a", "b"))
    tensors = {"tangents": z, "names": joined, "name_ends": ends} | changed
    tensors = {name: tensor for name, tensor in tensors.items() if name not in drop}
    plain = {"format": "hop embedding 1", "geometry": "hyperbolic", "scale": 1.0}
    text = record if isinstance(record, str) else json.dumps({**plain, **(record or {})})
    save_file(tensors, folder / "m", metadata={"hyperspectral_geo": text})
    return folder / "m"


NAN = torch.full((2, 3), torch.nan)
HOSTILE = {
    "another format": {"record": {"format": "hop embedding 2"}},
    "a checkpoint": {"record": {"format": "hop training 1"}},
    "no record": {"record": "{}"},
    "record no JSON": {"record": "{"},
    "record a list": {"record": "[]"},
    "record nested": {"record": "[" * 100_000},
    "unknown geometry": {"record": {"geometry": "lorentz"}},
    "geometry a list": {"record": {"geometry": ["hyperbolic"]}},
    "scale missing": {"record": '{"format": "hop embedding 1", "geometry": "hyperbolic"}'},
    "scale zero": {"record": {"scale": 0}},
    "scale a text": {"record": {"scale": "1"}},
    "scale true": {"record": {"scale": True}},
    "scale NaN": {"record": {"scale": float("nan")}},
    "scale beyond floats": {"record": {"scale": 10**400}},
    "no tangents": {"drop": ["tangents"]},
    "no names": {"drop": ["names"]},
    "no name ends": {"drop": ["name_ends"]},
    "a tensor more": {"surprise": torch.zeros(1)},
    "tangents NaN": {"tangents": NAN},
    "tangents of whole numbers": {"tangents": torch.zeros(2, 3, dtype=torch.int64)},
    "tangents flat": {"tangents": torch.zeros(2)},
    "tangents in half precision": {"tangents": torch.zeros(2, 3, dtype=torch.float16)},
    "too many tangents": {"tangents": torch.zeros(3, 3)},
    "targets NaN": {"targets": NAN},
    "targets of other width": {"targets": torch.zeros(2, 4)},
    "targets of other kind": {"targets": torch.zeros(2, 3, dtype=torch.float64)},
    "scalars in two columns": {"outgoing": torch.zeros(2, 2)},
    "thresholds alone": {"thresholds": torch.zeros(2)},
    "slopes alone": {"log_slopes": torch.zeros(2)},
    "stairs uneven": {"thresholds": torch.zeros(2), "log_slopes": torch.zeros(3)},
    "stairs square": {"thresholds": torch.zeros(2, 2), "log_slopes": torch.zeros(2, 2)},
    "stairs NaN": {"thresholds": torch.full((2,), torch.nan), "log_slopes": torch.zeros(2)},
    "stairs of other kind": {"thresholds": torch.zeros(2).double(), "log_slopes": torch.zeros(2).double()},
    "names as numbers": {"names": torch.zeros(2)},
    "names in a table": {"names": torch.zeros(2, 1, dtype=torch.uint8)},
    "names not UTF-8": {"names": torch.tensor([255, 255], dtype=torch.uint8)},
    "names alike": {"names": torch.tensor([97, 97], dtype=torch.uint8)},
    "ends beyond": {"name_ends": torch.tensor([1, 3])},
    "ends short of the bytes": {"name_ends": torch.tensor([0, 1])},
    "ends falling": {"name_ends": torch.tensor([2, 1])},
    "ends negative": {"name_ends": torch.tensor([-1, 2])},
    "ends of another kind": {"name_ends": torch.tensor([1, 2], dtype=torch.int32)},
    "ends too many": {"name_ends": torch.tensor([1, 1, 2])},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path: Path, changes: dict, unchecked):
    assert len(HopEmbedding.load(written(tmp_path))) == 2
    path = written(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"^{path}: ") as caught:
        HopEmbedding.load(path)
    assert len(str(caught.value)) < 500
    assert list(tmp_path.iterdir()) == [path]


class _Planted:
    def __reduce__(self):
        return (Path.touch, (Path("planted"),))


@pytest.mark.parametrize("kind", ["pickle", "torch.save", "empty", "text", "folder", "zeros"])
def test_what_is_no_safetensors_file_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m"
    if kind == "folder":
        path.mkdir()
    elif kind == "torch.save":
        torch.save({"tangents": _Planted()}, path)
    else:
        content = {"pickle": pickle.dumps(_Planted()), "empty": b"", "text": b"hello", "zeros": bytes(100)}
        path.write_bytes(content[kind])
    with pytest.raises(ValueError, match=f"^{path}: "):
        HopEmbedding.load(path)
    assert list(tmp_path.iterdir()) == [path]


def test_every_cut_and_a_longer_file_are_refused(tmp_path: Path):
    path = embedding(names=("a", "b")).save(tmp_path / "m")
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"^{path}: "):
            HopEmbedding.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=f"^{path}: "):
        HopEmbedding.load(path)


def test_a_missing_file_is_an_os_error_that_names_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="missing"):
        HopEmbedding.load(tmp_path / "missing")

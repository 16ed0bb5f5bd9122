"""Exports, read back by gensim where it is installed, by an independent reader, by csv and by pyarrow."""

from __future__ import annotations

import builtins
import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from hyperspectral_geo.hyperbolic import HopEmbedding, Staircase
from hyperspectral_geo.hyperbolic import export as module
from hyperspectral_geo.hyperbolic.export import to_parquet, to_projector, to_word2vec

NAMES = (
    "Germany",
    "New York",
    "tab\there",
    "two\nlines",
    "漢字 é",
    "🐕\u200d🦺",
    "nb\u00a0sp",
    "#hash",
    '"quoted"',
    "a\x00b",
)
JOINED = ["Germany", "New_York", "tab_here", "two_lines", "漢字_é", "🐕\u200d🦺", "nb_sp", "#hash", '"quoted"', "a_b"]
DTYPES = (torch.float32, torch.float64)


def embedding(*, names: tuple[str, ...] = NAMES, dtype: torch.dtype = torch.float64, **parts) -> HopEmbedding:
    generator = torch.Generator().manual_seed(0)
    tangents = torch.randn(len(names), 3, generator=generator, dtype=dtype)
    tangents[0] = torch.tensor([1e-30, -12345.678, 0.1], dtype=dtype) if "geometry" in parts else tangents[0]
    return HopEmbedding(names, tangents, **parts)


def read_text(path: Path) -> tuple[list[str], np.ndarray]:
    """word2vec's text format as its own program reads it: by blanks and line ends."""
    head, *lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    count, dim = map(int, head.split(" "))
    rows = [line.split(" ") for line in lines]
    assert len(rows) == count
    assert all(len(row) == dim + 1 for row in rows)
    return [row[0] for row in rows], np.array([[float(x) for x in row[1:]] for row in rows])


def read_binary(path: Path) -> tuple[list[str], np.ndarray]:
    """Names up to a blank, then float32; a line end before the next."""
    head, rest = path.read_bytes().split(b"\n", 1)
    count, dim = map(int, head.split())
    names, rows = [], []
    for _ in range(count):
        name, rest = rest.split(b" ", 1)
        names.append(name.lstrip(b"\n").decode())
        rows.append(np.frombuffer(rest[: 4 * dim], "<f4"))
        rest = rest[4 * dim :]
    assert rest == b"\n"
    return names, np.stack(rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_word2vec_text_keeps_every_bit(dtype: torch.dtype, tmp_path: Path):
    model = embedding(dtype=dtype, geometry="euclidean")
    names, rows = read_text(to_word2vec(model, tmp_path / "x.txt"))
    assert names == JOINED
    assert np.array_equal(rows.astype(model.tangents.numpy().dtype), model.tangents.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_word2vec_binary_is_float32(dtype: torch.dtype, tmp_path: Path):
    model = embedding(dtype=dtype)
    names, rows = read_binary(to_word2vec(model, tmp_path / "x.bin", binary=True))
    assert names == JOINED
    assert np.array_equal(rows, model.tangents.float().numpy())


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_it(binary: bool, tmp_path: Path):
    keyed_vectors = pytest.importorskip("gensim.models").KeyedVectors
    model = embedding()
    path = to_word2vec(model, tmp_path / "x", binary=binary)
    found = keyed_vectors.load_word2vec_format(str(path), binary=binary)
    assert found.index_to_key == JOINED
    np.testing.assert_array_equal(found.vectors, model.tangents.float().numpy())


def test_a_blank_inside_the_numbers_of_a_binary_file_does_no_harm(tmp_path: Path):
    # 0x20 is a blank and 0x0a a line end, and both are bytes of perfectly good numbers.
    numbers = torch.from_numpy(np.frombuffer(b"\x20\x20\x20\x20\x0a\x0a\x0a\x0a" * 2, "<f4").copy()).reshape(2, 2)
    path = to_word2vec(HopEmbedding(("a", "b"), numbers), tmp_path / "x", binary=True)
    assert np.array_equal(read_binary(path)[1], numbers.numpy())


@pytest.mark.parametrize("pair", [("a b", "a_b"), ("a b", "a\tb"), ("", "_"), ("a\u2028b", "a\u3000b")])
@pytest.mark.parametrize("binary", [False, True])
def test_names_that_become_equal_are_refused(pair: tuple[str, str], binary: bool, tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"got .* both of which would be .*; rename one, or export to Parquet"
    ) as caught:
        to_word2vec(embedding(names=("x", *pair)), tmp_path / "x", binary=binary)
    assert all(repr(name) in str(caught.value) for name in pair)
    assert list(tmp_path.iterdir()) == []


def test_the_projector_gets_one_name_a_line(tmp_path: Path):
    model = embedding(geometry="euclidean")
    folder = to_projector(model, tmp_path / "projector")
    assert sorted(p.name for p in folder.iterdir()) == ["metadata.tsv", "projector_config.pbtxt", "tensors.tsv"]
    names = (folder / "metadata.tsv").read_text("utf-8").removesuffix("\n").split("\n")
    assert names == [
        "Germany",
        "New York",
        "tab here",
        "two lines",
        "漢字 é",
        "🐕\u200d🦺",
        "nb sp",
        *NAMES[7:9],
        "a b",
    ]
    with (folder / "tensors.tsv").open(newline="") as file:
        rows = [[float(x) for x in row] for row in csv.reader(file, delimiter="\t")]
    assert rows == model.tangents.tolist()
    paths = dict(re.findall(r'(\w+): "([^"]+)"', (folder / "projector_config.pbtxt").read_text()))
    assert {paths["tensor_path"], paths["metadata_path"]} == {"tensors.tsv", "metadata.tsv"}


def test_the_projector_folder_is_never_a_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    to_projector(embedding(), tmp_path)
    (tmp_path / "events").write_text("another's")
    write = module.write_atomically

    def fail_at_names(path: Path, payload: bytes) -> Path:
        if path.name == "metadata.tsv":
            raise OSError("disk full")
        return write(path, payload)

    monkeypatch.setattr(module, "write_atomically", fail_at_names)
    with pytest.raises(OSError, match="disk full"):
        to_projector(embedding(names=("a", "b")), tmp_path)
    # without its configuration the projector shows nothing rather than the wrong names
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events", "metadata.tsv", "tensors.tsv"]
    monkeypatch.undo()
    to_projector(embedding(names=("a", "b")), tmp_path)
    assert (tmp_path / "metadata.tsv").read_text() == "a\nb\n"
    assert (tmp_path / "events").read_text() == "another's"


@pytest.mark.parametrize("dtype", DTYPES)
def test_parquet_holds_the_whole_model(dtype: torch.dtype, tmp_path: Path):
    model = dataclasses.replace(
        embedding(dtype=dtype, scale=1.25),
        targets=torch.randn(len(NAMES), 3, dtype=dtype),
        outgoing=torch.rand(len(NAMES), dtype=dtype),
        incoming=torch.rand(len(NAMES), dtype=dtype),
        readout=Staircase.even(3, dtype=dtype),
    )
    table = pyarrow.parquet.read_table(to_parquet(model, tmp_path / "x.parquet"))
    assert table.column_names == ["name", "tangents", "targets", "outgoing", "incoming"]
    assert table["name"].to_pylist() == list(NAMES)
    for name in table.column_names[1:]:
        assert torch.equal(torch.tensor(table[name].to_pylist(), dtype=dtype), getattr(model, name))
    record = json.loads(table.schema.metadata[b"hyperspectral_geo"])
    assert (record["geometry"], record["scale"]) == ("hyperbolic", 1.25)
    assert record["thresholds"] == model.readout.thresholds.tolist()
    assert record["log_slopes"] == model.readout.log_slopes.tolist()


def test_parquet_has_no_columns_for_what_the_model_lacks(tmp_path: Path):
    table = pyarrow.parquet.read_table(to_parquet(embedding(), tmp_path / "x.parquet"))
    assert table.column_names == ["name", "tangents"]
    assert set(json.loads(table.schema.metadata[b"hyperspectral_geo"])) == {"geometry", "scale"}


def test_poincare_coordinates_give_the_distances_back(tmp_path: Path):
    model = dataclasses.replace(embedding(), targets=torch.randn(len(NAMES), 3, dtype=torch.float64))
    table = pyarrow.parquet.read_table(to_parquet(model, tmp_path / "x.parquet", coordinates="poincare"))
    x, y = (np.array(table[name].to_pylist()) for name in ("poincare", "target_poincare"))
    squared = ((x[:, None] - y) ** 2).sum(-1) / (1 - (x**2).sum(-1))[:, None] / (1 - (y**2).sum(-1))
    found = np.arccosh(1 + 2 * squared) * (1 - np.eye(len(NAMES)))
    np.testing.assert_allclose(found, model.distances().numpy(), rtol=1e-9)
    text = read_text(to_word2vec(model, tmp_path / "x.txt", coordinates="poincare"))[1]
    assert np.array_equal(text, x)
    folder = to_projector(model, tmp_path / "p", coordinates="poincare")
    assert np.array_equal(np.loadtxt(folder / "tensors.tsv"), x)


WRITERS = {"word2vec": to_word2vec, "projector": to_projector, "parquet": to_parquet}
EMPTY = HopEmbedding((), torch.zeros(0, 2))
BAD = {
    "no concepts": (EMPTY, {}, "expected a model with concepts, got none"),
    "Euclidean in a ball": (embedding(geometry="euclidean"), {"coordinates": "poincare"}, "hyperbolic embedding"),
    "unknown coordinates": (embedding(), {"coordinates": "klein"}, "'tangents' or 'poincare', got 'klein'"),
    "half a character": (embedding(names=("a", "b\ud800")), {}, r"can be written as UTF-8, got .*\\ud800"),
}


@pytest.mark.parametrize(("model", "options", "said"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_cannot_be_exported_leaves_nothing(write, model, options, said: str, tmp_path: Path, unchecked):
    with pytest.raises(ValueError, match=said):
        write(model, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_no_folder_to_write_to(write, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="existing"):
        write(embedding(), tmp_path / "no" / "out")


def test_parquet_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    real = builtins.__import__

    def without(name: str, *rest, **more):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "hyperspectral-geo\[tables\]"'):
        to_parquet(embedding(), tmp_path / "x.parquet")

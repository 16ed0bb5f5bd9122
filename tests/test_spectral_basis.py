"""SpectralBasis: a constant with a checked content, its geometry, and its file."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor

from hyperspectral_geo.spectral import SpectralBasis, noise_edge
from hyperspectral_geo.spectral.storage import MARKER

DTYPES = [torch.float32, torch.float64]


def frame(n: int, p: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, p, generator=generator, dtype=dtype)).Q


def make(n: int = 12, p: int = 4, dtype: torch.dtype = torch.float64, **labels: Any) -> SpectralBasis:
    values = torch.arange(p, 0, -1, dtype=dtype).square()
    return SpectralBasis(frame(n, p, dtype), values, **labels)


def full(dtype: torch.dtype = torch.float64) -> SpectralBasis:
    return make(
        dtype=dtype,
        name="layer 3 ü",
        mean=torch.randn(12, dtype=dtype),
        frequencies=torch.arange(4, dtype=dtype),
        metadata={"source": "test", "note": "žluťoučký\n\x00"},
    )


# --- a constant ---------------------------------------------------------------------------------------------------


def test_it_is_detached_from_what_made_it():
    q, values = frame(6, 2), torch.tensor([2.0, 1.0], dtype=torch.float64, requires_grad=True)
    labels = {"a": "1"}
    b = SpectralBasis(q, values, metadata=labels)
    before = hash(b)
    q.zero_()
    labels["a"] = "2"
    assert b.metadata["a"] == "1"
    assert not b.eigenvalues.requires_grad
    assert hash(b) == before
    with pytest.raises(FrozenInstanceError):
        b.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        b.metadata["a"] = "3"  # type: ignore[index]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equality_and_hash_go_by_content(dtype: torch.dtype):
    torch.manual_seed(1)
    a = full(dtype)
    torch.manual_seed(1)
    b = full(dtype)
    assert a == b
    assert hash(a) == hash(b)
    assert len({a, b, make(dtype=dtype)}) == 2
    assert a != make(dtype=dtype)
    assert a != a.to(torch.float32 if dtype == torch.float64 else torch.float64)
    assert make(name="x") != make(name="y")
    assert make(kind="singular") != make()
    assert a != "a basis"
    minus_zero = SpectralBasis(frame(3, 1), torch.tensor([-0.0], dtype=torch.float64))
    plus_zero = SpectralBasis(frame(3, 1), torch.tensor([0.0], dtype=torch.float64))
    assert minus_zero == plus_zero
    assert hash(minus_zero) == hash(plus_zero)


def test_copies_are_equal():
    b = full()
    assert copy.deepcopy(b) == b
    assert copy.copy(b) == b


# --- its geometry -------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 20), p=st.integers(1, 20), seed=st.integers(0, 100))
def test_project_then_reconstruct_is_the_projection(n: int, p: int, seed: int):
    p = min(n, p)
    q, mean = frame(n, p, seed=seed), torch.linspace(-3, 3, n, dtype=torch.float64)
    b = SpectralBasis(q, torch.ones(p, dtype=torch.float64), mean=mean)
    x = torch.randn(2, 3, n, dtype=torch.float64)
    near = b.reconstruct(b.project(x))
    torch.testing.assert_close(near, mean + (x - mean) @ q @ q.T)
    torch.testing.assert_close(b.reconstruct(b.project(near)), near)
    torch.testing.assert_close(b.project(near), b.project(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_angles_against_scipy_and_blind_to_signs_and_turns(dtype: torch.dtype):
    a, b = make(30, 5, dtype), SpectralBasis(frame(30, 3, dtype, seed=9), torch.ones(3, dtype=dtype))
    expected = scipy.linalg.subspace_angles(a.basis.double().numpy(), b.basis.double().numpy())[::-1]
    tolerance = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        a.angles(b).double(), torch.from_numpy(expected.copy()).double(), atol=tolerance, rtol=tolerance
    )
    turned = SpectralBasis(b.basis @ frame(3, 3, dtype, seed=4), b.eigenvalues)
    flipped = SpectralBasis(a.basis * torch.tensor([1, -1, 1, -1, -1], dtype=dtype), a.eigenvalues)
    torch.testing.assert_close(flipped.angles(turned), a.angles(b), atol=tolerance, rtol=tolerance)
    assert float(a.angles(flipped).max()) <= tolerance


def test_truncate_by_each_criterion():
    b = make(kind="variance", frequencies=torch.arange(4.0, dtype=torch.float64))  # eigenvalues 16, 9, 4, 1
    assert torch.equal(b.truncate(rank=2).basis, b.basis[:, :2])
    assert b.truncate(energy=25 / 30).p == 2
    assert b.truncate(energy=26 / 30).p == 3
    assert make(kind="singular").truncate(energy=0.95).p == 2  # 256 + 81 of 354
    assert b.truncate(above=3.9).p == 3
    cut = b.truncate(rank=3)
    assert cut.frequencies is not None
    assert cut.frequencies.tolist() == [0, 1, 2]
    assert b.truncate(rank=4) == b


def test_truncate_at_the_noise_edge():
    noise = torch.randn(100, 200, dtype=torch.float64)
    u, v = frame(100, 3, seed=1), frame(200, 3, seed=2)
    w = noise + u * torch.tensor([60.0, 50.0, 40.0], dtype=torch.float64) @ v.T
    left, s, _ = torch.linalg.svd(w, full_matrices=False)
    b = SpectralBasis(left, s, kind="singular")
    kept = b.truncate(noise_shape=(100, 200))
    assert kept.p == 3
    assert kept == b.truncate(above=float(noise_edge(s, shape=(100, 200))))
    assert b.truncate(rank=10).truncate(noise_shape=(100, 200), sigma=1.0).p == 3
    x = torch.randn(500, 60, dtype=torch.float64)
    x[:, :2] *= 3
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    c = SpectralBasis(vectors.flip(-1), values.flip(-1), mean=x.mean(0))
    assert c.truncate(noise_shape=(500, 60)).p == 2
    assert c.truncate(noise_shape=(500, 60), sigma=1.0).p == 2


def test_change_of_dtype():
    b = full(torch.float32)
    wide = b.to(torch.float64)
    assert wide.mean is not None
    assert wide.mean.dtype == wide.dtype == torch.float64
    torch.testing.assert_close(wide.basis.T @ wide.basis, torch.eye(4, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(wide.basis, b.basis.double(), atol=1e-6, rtol=0)
    assert b.to() == b
    assert b.to(device="cpu") == b
    assert wide.to(torch.float32).dtype == torch.float32


# --- its file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_file_round_trip_is_exact(tmp_path: Path, dtype: torch.dtype):
    b = full(dtype)
    b.save(tmp_path / "b.safetensors")
    again = SpectralBasis.load(str(tmp_path / "b.safetensors"))
    assert again == b
    assert again.metadata == b.metadata
    first = (tmp_path / "b.safetensors").read_bytes()
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["b.safetensors"]


def test_a_missing_folder_is_named(tmp_path: Path):
    path = tmp_path / "no" / "basis.safetensors"
    with pytest.raises(FileNotFoundError, match=re.escape(f"{path}: expected a file in an existing folder")):
        make().save(path)
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_starts_like_a_pickle_is_read(tmp_path: Path):
    # Header lengths 640 … 1279 in steps of 8 include the bytes 80 02, 80 03 and 80 04.
    prefixes = set()
    for length in range(0, 900, 8):
        b = make(3, 1, metadata={"x": "y" * length})
        b.save(tmp_path / "b")
        prefixes.add((tmp_path / "b").read_bytes()[:2])
        if (tmp_path / "b").read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
            assert SpectralBasis.load(tmp_path / "b") == b
    assert {b"\x80\x02", b"\x80\x03", b"\x80\x04"} <= prefixes


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_save_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    path = tmp_path / "b.safetensors"
    old = make()
    old.save(path)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="no space left"):
        make(name="new").save(path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["b.safetensors"]
    assert SpectralBasis.load(path) == old


def parts(b: SpectralBasis | None = None) -> tuple[dict[str, Any], bytes]:
    """Header and data of a good file."""
    b = b or make()
    record = {"what": "SpectralBasis", "version": 1, "name": "n", "kind": "variance", "metadata": {}}
    raw = save({"basis": b.basis, "eigenvalues": b.eigenvalues}, metadata={MARKER: json.dumps(record)})
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def edited(edit: Callable[[dict[str, Any]], Any]) -> bytes:
    header, data = parts()
    edit(header)
    return joined(header, data)


def with_record(**changes: Any) -> bytes:
    header, data = parts()
    record = json.loads(header["__metadata__"][MARKER]) | changes
    header["__metadata__"][MARKER] = json.dumps({k: v for k, v in record.items() if v is not None})
    return joined(header, data)


def with_tensors(basis: Tensor, eigenvalues: Tensor, **more: Tensor) -> bytes:
    header, _ = parts()
    return save({"basis": basis, "eigenvalues": eigenvalues, **more}, metadata=header["__metadata__"])


E = torch.eye(3, dtype=torch.float64)
V = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
HOSTILE = {
    "empty": (lambda: b"", "got 0 bytes without a whole header"),
    "cut in the header": (lambda: joined(*parts())[:40], "got 40 bytes without a whole header"),
    "cut in the data": (lambda: joined(*parts())[:-5], "bytes of data, got .*cut short or padded"),
    "padded": (lambda: joined(*parts()) + b"x", "bytes of data, got .*cut short or padded"),
    "pickle": (lambda: pickle.dumps({"basis": 1}), "looks like a pickle .*never opened"),
    "zip": (lambda: b"PK\x03\x04" + bytes(100), "looks like a pickle .*never opened"),
    "header bomb": (lambda: joined(b"[" * (1 << 20) + b"]", b""), "header of at most 1048576 bytes, got 1048577"),
    "nested header": (lambda: joined(b"[" * 200_000, b""), "header is not valid JSON"),
    "no JSON": (lambda: joined(b"\xff\xfe{", b""), "header is not valid JSON"),
    "list": (lambda: joined([], b""), "expected a JSON object as header, got list"),
    "twice": (lambda: joined(b'{"basis": 1, "basis": 2}', b""), "a key occurs twice"),
    "no marker": (lambda: save({"basis": E, "eigenvalues": V}), "written by SpectralBasis.save"),
    "marker no JSON": (
        lambda: save({"basis": E, "eigenvalues": V}, metadata={MARKER: "{"}),
        "metadata 'hyperspectral_geo' is not valid JSON",
    ),
    "other thing": (lambda: with_record(what="Adapter"), "expected a SpectralBasis, got 'Adapter'"),
    "newer": (lambda: with_record(version=2), "expected format version 1, got 2; update"),
    "no name": (lambda: with_record(name=None), "the record lacks 'name'"),
    "name a number": (lambda: with_record(name=3), "name: expected a str, got int"),
    "kind": (lambda: with_record(kind="exec"), "kind: expected one of variance, singular, smoothness, got 'exec'"),
    "metadata": (lambda: with_record(metadata={"a": 1}), r"metadata\['a'\]: expected a str, got int"),
    "path as name": (lambda: with_tensors(E, V, **{"../../x": V.clone()}), r"unexpected tensor '\.\./\.\./x'"),
    "missing": (lambda: edited(lambda h: h.pop("eigenvalues")), "tensor 'eigenvalues' is missing"),
    "dtype": (lambda: with_tensors(E.half(), V.half()), "tensor 'basis': expected dtype F32 or F64, got F16"),
    "dimensions": (
        lambda: with_tensors(E[None], V),
        r"tensor 'basis': expected 2 positive dimensions, got .*\[1, 3, 3\]",
    ),
    "no columns": (lambda: with_tensors(E[:, :0], V[:0]), "tensor 'basis': expected 2 positive dimensions"),
    "huge shape": (lambda: edited(lambda h: h["basis"].update(shape=[1 << 61, 1 << 61])), "shape .* needs .* bytes"),
    "negative": (lambda: edited(lambda h: h["basis"].update(shape=[-12, -4])), "expected 2 positive dimensions"),
    "offsets": (lambda: edited(lambda h: h["basis"].update(data_offsets=[0])), "expected two data_offsets"),
    "overlap": (
        lambda: edited(lambda h: h["eigenvalues"].update(data_offsets=[0, 32])),
        "expected a tensor at byte .* of the data",
    ),
    "no entry": (lambda: edited(lambda h: h.update(basis=7)), "expected dtype, shape and data_offsets"),
    "nan": (lambda: with_tensors(E * torch.nan, V), "basis: expected finite entries, got nan"),
    "nan values": (lambda: with_tensors(E, V * torch.nan), "eigenvalues: expected finite entries, got nan"),
    "skewed": (lambda: with_tensors(E + 0.1, V), "basis: expected orthonormal columns"),
    "lengths": (lambda: with_tensors(E, V[:2].clone()), r"eigenvalues: expected shape \(3,\)"),
    "mixed": (lambda: with_tensors(E, V.float()), "eigenvalues: expected dtype torch.float64"),
    "mean": (lambda: with_tensors(E, V, mean=V[:2].clone()), r"mean: expected shape \(3,\)"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.usefixtures("unchecked")
def test_a_hostile_file_is_refused_by_name(tmp_path: Path, case: str):
    content, message = HOSTILE[case]
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content())
    with pytest.raises(ValueError, match=message) as caught:
        SpectralBasis.load(path)
    assert str(path) in str(caught.value)


def test_no_file_a_folder_and_a_foreign_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        SpectralBasis.load(tmp_path / "none")
    with pytest.raises(ValueError, match="expected a regular file"):
        SpectralBasis.load(tmp_path)
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model.safetensors: expected a file written by SpectralBasis\.save"):
        SpectralBasis.load(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError):
        make().save(tmp_path / "no" / "such" / "folder")
    with pytest.raises(ValueError, match="at most 256 KiB of name and metadata"):
        make(metadata={"x": "y" * 300_000}).save(tmp_path / "big")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors"]


@given(cut=st.integers(0, 600), junk=st.binary(max_size=40), keep=st.booleans())
def test_a_damaged_file_never_does_worse_than_value_error(tmp_path_factory: Any, cut: int, junk: bytes, keep: bool):
    good = joined(*parts())
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(good[:cut] + junk + (good[cut + len(junk) :] if keep else b""))
    # A file that loads (only the numbers changed, still a basis) is fine, too; any other exception fails the test.
    with suppress(ValueError):
        SpectralBasis.load(path)


# --- bad input ----------------------------------------------------------------------------------------------------

F = torch.eye(4)
W = torch.tensor([2.0, 1.0])
TWIN = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
BAD = {
    "list": (lambda: SpectralBasis([[1.0]], W), "basis: expected a torch.Tensor, got list"),
    "integers": (lambda: SpectralBasis(torch.eye(2, dtype=torch.long), W), "got torch.int64; convert"),
    "half": (
        lambda: SpectralBasis(torch.eye(2).half(), W.half()),
        "basis: expected float32 or float64, got torch.float16",
    ),
    "complex": (lambda: SpectralBasis(torch.eye(2, dtype=torch.cfloat), W), "got torch.complex64"),
    "vector": (lambda: SpectralBasis(W, W), r"expected shape \(n, p\) with n >= p >= 1, got \(2,\)"),
    "wide": (lambda: SpectralBasis(F[:2], torch.ones(4)), r"got \(2, 4\); columns are the directions"),
    "no columns": (lambda: SpectralBasis(F[:, :0], W[:0]), r"n >= p >= 1, got \(4, 0\)"),
    "batch": (lambda: SpectralBasis(F[None], torch.ones(4)), r"got \(1, 4, 4\)"),
    "nan": (lambda: SpectralBasis(F * torch.nan, torch.ones(4)), "basis: expected finite entries, got nan"),
    "dependent": (lambda: SpectralBasis(TWIN, W), "got 1.0e.00 at columns 0 and 1; .*linalg.orthonormalize"),
    "not unit": (lambda: SpectralBasis(2 * F, torch.ones(4)), "expected orthonormal columns, .* got 3.0e.00"),
    "nearly": (lambda: SpectralBasis(F * 1.0001, torch.ones(4)), "expected orthonormal columns"),
    "mismatch": (lambda: SpectralBasis(F, W), r"eigenvalues: expected shape \(4,\), one for each column, got \(2,\)"),
    "negative": (lambda: SpectralBasis(F[:, :2], -W), "eigenvalues: expected numbers >= 0, got -2"),
    "ascending": (lambda: SpectralBasis(F[:, :2], W.flip(0)), "expected descending numbers, got 1 before 2 at 0; sort"),
    "infinite": (lambda: SpectralBasis(F[:, :2], W / 0), "eigenvalues: expected finite entries, got inf"),
    "mixed": (lambda: SpectralBasis(F[:, :2], W.double()), "eigenvalues: expected dtype torch.float32 like basis"),
    "device": (lambda: SpectralBasis(F[:, :2], W, mean=torch.ones(3)), r"mean: expected shape \(4,\) to match"),
    "name": (lambda: SpectralBasis(F[:, :2], W, 3), "name: expected a str, got int"),
    "surrogate": (lambda: SpectralBasis(F[:, :2], W, "\ud800"), "name: expected text that UTF-8 can hold"),
    "kind": (lambda: SpectralBasis(F[:, :2], W, kind="pca"), "kind: expected one of variance, singular, smoothness"),
    "metadata": (lambda: SpectralBasis(F[:, :2], W, metadata=[1]), "metadata: expected a mapping from str to str"),
    "project": (lambda: make().project(torch.ones(5).double()), r"x: expected shape \(\.\.\., 12\), got \(5,\)"),
    "project dtype": (lambda: make().project(torch.ones(12)), "x: expected dtype torch.float64 like basis"),
    "reconstruct": (lambda: make().reconstruct(torch.ones(12).double()), r"coefficients: expected shape \(\.\.\., 4\)"),
    "angles": (lambda: make().angles(make(11)), "expected a basis in the same space, n = 12, got n = 11"),
    "angles tensor": (lambda: make().angles(F), "other: expected a SpectralBasis, got Tensor"),
    "angles dtype": (lambda: make().angles(make(dtype=torch.float32)), "other: expected dtype torch.float64"),
    "no criterion": (lambda: make().truncate(), "expected exactly one of rank, energy, above, noise_shape, got none"),
    "two criteria": (lambda: make().truncate(rank=1, energy=0.5), r"exactly one of .* got \['rank', 'energy'\]"),
    "rank 0": (lambda: make().truncate(rank=0), r"rank: expected 1 <= rank <= 4 \(the directions held\), got 0"),
    "rank 5": (lambda: make().truncate(rank=5), "rank: expected 1 <= rank <= 4"),
    "rank 1.5": (lambda: make().truncate(rank=1.5), "rank: expected a whole number, got 1.5"),
    "energy": (lambda: make().truncate(energy=2.0), r"energy: expected a fraction in \(0, 1\]"),
    "nothing above": (lambda: make().truncate(above=99.0), "no eigenvalue rises above 99 .the largest is 16"),
    "nan above": (lambda: make().truncate(above=float("nan")), "above: expected a number, got nan"),
    "noise_shape a number": (
        lambda: make().truncate(noise_shape=5),
        r"noise_shape: expected two whole numbers \(rows, columns\), got 5",
    ),
    "energy a text": (lambda: make().truncate(energy="a"), "energy: expected a real number, got 'a'"),
    "above a text": (lambda: make().truncate(above="a"), "above: expected a real number, got 'a'"),
    "sigma a text": (lambda: make().truncate(noise_shape=(12, 4), sigma="a"), "sigma: expected a real number"),
    "lone sigma": (lambda: make().truncate(rank=1, sigma=1.0), "sigma: goes with noise_shape only"),
    "edge of a graph": (
        lambda: make(kind="smoothness").truncate(noise_shape=(12, 4)),
        "a graph's frequencies have no noise edge",
    ),
    "edge after a cut": (lambda: make(kind="singular").truncate(noise_shape=(12, 9)), "got 4; find the edge before"),
    "to half": (
        lambda: make().to(torch.bfloat16),
        "dtype: expected torch.float32 or torch.float64, got torch.bfloat16",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_with_a_remedy(case: str):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.usefixtures("unchecked")
def test_devices_may_not_be_mixed():
    with pytest.raises(ValueError, match="mean: expected device cpu like basis, got meta; move it"):
        SpectralBasis(F[:, :2], torch.ones(2), mean=torch.empty(4, device="meta"))

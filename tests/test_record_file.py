"""Files of tensors and a record: the same bytes for the same content, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from hyperspectral_geo.record_file import read_record_file, record_bytes

KIND, MAKER = "bird song 1", "hsgeo birds train"
TENSORS = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, requires_grad=True)}


def read(path: Path, unpacked=lambda tensors, record: (dict(tensors), dict(record))):
    return read_record_file(path, unpacked, kind=KIND, maker=MAKER)


def test_there_and_back(tmp_path):
    (tmp_path / "m").write_bytes(record_bytes(TENSORS, {"pitch": 0.1, "names": ["é"]}, kind=KIND))
    tensors, record = read(tmp_path / "m")
    assert record == {"format": KIND, "pitch": 0.1, "names": ["é"]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_equal_content_gives_equal_bytes_though_tensors_share_memory():
    one = torch.arange(4.0)
    shared, apart = {"a": one, "b": one[:2]}, {"a": one.clone(), "b": one[:2].clone()}
    assert record_bytes(shared, {}, kind=KIND) == record_bytes(apart, {}, kind=KIND)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, r"expected a saved bird song, got None; `hsgeo birds train` makes one"),
        ({}, r"got None; `hsgeo birds train`"),
        ({"format": "bird song 2"}, r"expected a saved bird song, got 'bird song 2'"),
        ({"format": ["bird song 1"]}, r"expected a saved bird song, got \['bird song 1'\]"),
        ("[1]", r"expected a JSON object as metadata"),
        ('{"format": ', r"the metadata is not valid JSON"),
        ('{"format": "bird song 1", "format": "bird song 1"}', r"not valid JSON .*twice"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, metadata, said):
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    header = None if metadata is None else {"hyperspectral_geo": text}
    (tmp_path / "m").write_bytes(save({"a": torch.zeros(1)}, metadata=header))
    with pytest.raises(ValueError, match=rf"/m: .*{said}"):
        read(tmp_path / "m")


@pytest.mark.parametrize("error", [ValueError("no beak"), KeyError("no beak"), OverflowError("no beak")], ids=repr)
def test_parts_that_do_not_fit_are_refused_with_the_file(tmp_path, error):
    def unpacked(tensors, record):
        raise error

    (tmp_path / "m").write_bytes(record_bytes(TENSORS, {}, kind=KIND))
    with pytest.raises(ValueError, match=r"/m: its parts do not fit each other \(.*no beak.*\); save the model again"):
        read(tmp_path / "m", unpacked)


def test_a_missing_file_is_told_who_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a saved bird song, got no such file; `hsgeo birds train`"):
        read(tmp_path / "none")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_without_numbers_keep_shape_and_dtype(tmp_path, dtype):
    empty = {"a": torch.ones(2), "none": torch.zeros(0, 5, dtype=dtype), "neither": torch.zeros(4, 0, dtype=dtype)}
    (tmp_path / "m").write_bytes(record_bytes(empty, {}, kind=KIND))
    tensors, _ = read(tmp_path / "m")
    assert {name: (x.shape, x.dtype) for name, x in tensors.items()} == {
        name: (x.shape, x.dtype) for name, x in empty.items()
    }


BAD = {
    "no dict": [1],
    "numbers after all": {"b": ["float32", 2]},
    "no numbers at all": {"b": []},
    "a negative length": {"b": ["float32", 0, -1]},
    "a huge length": {"b": ["float32", 0, 2**62]},
    "another type": {"b": ["object", 0]},
    "text": {"b": ["float32", "0", 0]},
}


@pytest.mark.parametrize("empty", BAD.values(), ids=BAD)
def test_hostile_shapes_are_refused_with_the_file(tmp_path, empty):
    metadata = {"hyperspectral_geo": json.dumps({"format": KIND, "empty": empty})}
    (tmp_path / "m").write_bytes(save({"a": torch.ones(1)}, metadata=metadata))
    with pytest.raises(ValueError, match=r"/m: its parts do not fit each other"):
        read(tmp_path / "m")

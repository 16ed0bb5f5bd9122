"""The taxonomy: counts, shape, and how damage is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperspectral_geo.data import load_taxonomy

FILE = "ncbi_taxonomy_20240907.npz"
TREE = {"taxid": [1, 2, 5, 9], "parent": [1, 1, 2, 2], "rank": [45, 40, 9, 9]}


def folder_with(place: Path, **changed: object) -> Path:
    np.savez(place / FILE, **{key: np.array(value) for key, value in {**TREE, **changed}.items() if value is not None})
    return place


def test_counts(shared_data: Callable[[str], Path]):
    found = load_taxonomy(shared_data("taxonomy"))
    assert (len(found.names), tuple(found.edges.shape), found.depth) == (2_609_295, (2_609_294, 2), 38)
    assert len(found.edges[:, 1].unique()) == 236_449
    human, genus = found.names.index("9606"), found.names.index("9605")
    assert found.edges[found.edges[:, 0] == human].tolist() == [[human, genus]]
    assert found.ranks[[human, genus, 0]].tolist() == [23, 9, 45]
    assert found.names[0] == "1"
    assert int(found.edges[:, 0].min()) == 1


def test_rows_may_come_in_any_order(tmp_path: Path):
    expected = load_taxonomy(folder_with(tmp_path), verify=False)
    assert expected.names == ("1", "2", "5", "9")
    assert expected.edges.tolist() == [[1, 0], [2, 1], [3, 1]]
    assert (expected.depth, expected.ranks.tolist()) == (2, [45, 40, 9, 9])
    shuffled = {key: [column[i] for i in (2, 0, 3, 1)] for key, column in TREE.items()}
    found = load_taxonomy(folder_with(tmp_path, **shuffled), verify=False)
    assert found.names == expected.names
    assert torch.equal(found.edges, expected.edges)
    assert torch.equal(found.ranks, expected.ranks)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 63, 64, 65, 200])
def test_depth_of_a_chain(length: int, tmp_path: Path):
    chain = list(range(1, length + 1))
    folder_with(tmp_path, taxid=chain, parent=[1, *chain[:-1]], rank=[0] * length)
    assert load_taxonomy(tmp_path, verify=False).depth == length - 1


BAD = {
    "other counts": ({}, True, "expected 2,609,295 taxa and depth 38, got 4 and 2"),
    "a column missing": ({"rank": None}, False, "damaged file"),
    "an object": ({"rank": np.array([print, 1, 2, 3], dtype=object)}, False, "damaged file"),
    "floats": ({"parent": [1.0, 1, 2, 2]}, False, "whole numbers of one length"),
    "a short column": ({"rank": [1]}, False, "whole numbers of one length"),
    "a table": ({"rank": [[1], [2], [3], [4]]}, False, "whole numbers of one length"),
    "nothing": ({key: np.zeros(0, int) for key in TREE}, False, "whole numbers of one length"),
    "a taxid twice": ({"taxid": [1, 2, 2, 9]}, False, "each taxid once, got 2"),
    "an unknown parent": ({"parent": [1, 1, 2, 7]}, False, "parents among the taxa, got 7"),
    "a parent beyond the last": ({"parent": [1, 1, 2, 70]}, False, "parents among the taxa, got 70"),
    "two roots": ({"parent": [1, 2, 2, 2]}, False, "one root, its own parent, got 2"),
    "no root": ({"parent": [2, 1, 2, 2]}, False, "one root, its own parent, got 0"),
    "a cycle": ({"parent": [1, 1, 9, 5]}, False, "expected a tree, got a cycle"),
    "a rank too high": ({"rank": [300, 0, 0, 0]}, False, "ranks from 0 to 255"),
}


@pytest.mark.parametrize(("changed", "verify", "said"), BAD.values(), ids=BAD)
def test_bad_trees_are_refused(changed: dict, verify: bool, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=said):
        load_taxonomy(folder_with(tmp_path, **changed), verify=verify)


@pytest.mark.parametrize("keep", [0, 4, 100, -10])
def test_a_damaged_file_is_refused(keep: int, tmp_path: Path):
    file = folder_with(tmp_path) / FILE
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged file"):
        load_taxonomy(tmp_path, verify=False)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(FileNotFoundError, match=FILE):
        load_taxonomy(tmp_path)
    monkeypatch.setenv("HSGEO_DATA", str(tmp_path))
    monkeypatch.setenv("HSGEO_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{FILE} in "):
        load_taxonomy()

"""PyG data sets: the conventions of PyG, what is in them, and that no pickle is opened."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch_geometric.data import Data, Dataset, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import ToUndirected
from torch_geometric.utils import is_undirected

from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.pyg_dataset import TaxonomyDataset, WikispeediaDataset, WordNetDataset
from hyperspectral_geo.hyperbolic.stored_graph import read_graph_file, write_graph_file


@pytest.fixture(scope="module")
def mammals_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pyg") / "mammals"
    WordNetDataset(root)
    return root


@pytest.fixture
def root(mammals_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mammals_root, tmp_path / "mammals"))


def processed(root: Path) -> Path:
    return root / "processed" / "mammals_closure.safetensors"


def test_it_follows_the_conventions(root: Path):
    data_set = WordNetDataset(root)
    assert isinstance(data_set, InMemoryDataset)
    assert (len(data_set), data_set.len(), repr(data_set)) == (1, 1, "WordNetDataset()")
    assert (data_set.raw_dir, data_set.processed_dir) == (str(root / "raw"), str(root / "processed"))
    assert data_set.raw_file_names == ["nouns.tsv.gz", "mammals.tsv"]
    assert sorted(path.name for path in (root / "raw").iterdir()) == ["mammals.tsv", "nouns.tsv.gz"]
    assert [path.name for path in (root / "processed").iterdir()] == data_set.processed_file_names
    assert data_set.num_node_features == data_set.num_edge_features == 0
    assert data_set[0].is_directed()
    assert data_set[0].validate()
    assert len(data_set[:1]) == len(data_set.copy()) == len(list(data_set)) == 1
    (batch,) = DataLoader(data_set, batch_size=1)
    assert batch.num_nodes == 1180


def test_wordnet_is_that_of_the_reader(root: Path):
    expected = load_wordnet("mammals")
    data = WordNetDataset(root)[0]
    assert data.names == list(expected.names)
    assert data.num_nodes == 1180
    assert torch.equal(data.edge_index.T, expected.edges)
    graph = HopGraph.from_pyg(data)
    assert (graph.names, graph.loops, graph.repeats) == (expected.names, 0, 0)
    direct = WordNetDataset(root, closure=False)
    assert direct[0].num_edges == 1180
    assert len(list((root / "processed").iterdir())) == 2


def test_wikispeedia(shared_data: Callable[[str], Path], tmp_path: Path):
    shared_data("wikispeedia")
    data = WikispeediaDataset(tmp_path)[0]
    assert (data.num_nodes, data.num_edges, data.names[:1]) == (4598, 119_879, ["Áedán mac Gabráin"])
    assert WikispeediaDataset(tmp_path, core=True)[0].num_nodes == 4051
    graph = HopGraph.from_pyg(data)
    assert (graph.loops, len(graph.edges)) == (110, 119_769)


@pytest.mark.slow
def test_taxonomy(shared_data: Callable[[str], Path], tmp_path: Path):
    shared_data("taxonomy")
    TaxonomyDataset(tmp_path)
    data = TaxonomyDataset(tmp_path)[0]
    assert (data.num_nodes, data.num_edges, tuple(data.ranks.shape)) == (2_609_295, 2_609_294, (2_609_295,))


def test_taken_out_it_is_a_copy_and_transformed(root: Path):
    data_set = WordNetDataset(root, transform=ToUndirected())
    assert is_undirected(data_set[0].edge_index)
    data_set[0].edge_index = None
    assert data_set[0].edge_index is not None


def test_processed_once(root: Path, monkeypatch: pytest.MonkeyPatch):
    before = processed(root).stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(WordNetDataset, "read", lambda self: pytest.fail("processed again"))
        WordNetDataset(root)
    assert processed(root).stat().st_mtime_ns == before
    WordNetDataset(root, force_reload=True)
    assert processed(root).stat().st_mtime_ns > before


def add_degree(data: Data) -> Data:
    data.degree = torch.bincount(data.edge_index[0], minlength=data.num_nodes)
    return data


def test_pre_transform_is_stored_and_remembered(root: Path):
    with pytest.warns(UserWarning, match=r"made with pre_transform None.*force_reload=True"):
        assert "degree" not in WordNetDataset(root, pre_transform=add_degree)[0]
    made = WordNetDataset(root, pre_transform=add_degree, force_reload=True)[0]
    assert int(made.degree.sum()) == 6540
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = WordNetDataset(root, pre_transform=add_degree)[0]
    assert torch.equal(again.degree, made.degree)
    with pytest.warns(UserWarning, match="made with pre_transform .*add_degree"):
        WordNetDataset(root)


UNSTORABLE = {
    "a dict": lambda data: data.update({"table": {"a": 1}}),
    "a text": lambda data: data.update({"title": "mammals"}),
    "nothing": lambda data: data.update({"empty": torch.zeros(0)}),
    "no graph": lambda data: None,
    "no names": lambda data: Data(edge_index=data.edge_index, num_nodes=data.num_nodes),
    "a hidden tensor": lambda data: data.update({"_hidden": torch.ones(1)}),
}


@pytest.mark.parametrize("change", UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_cannot_be_stored_is_refused_and_the_old_file_stays(change: Callable, root: Path, unchecked):
    before = processed(root).read_bytes()
    with pytest.raises(ValueError, match="expected"):
        WordNetDataset(root, pre_transform=change, force_reload=True)
    assert processed(root).read_bytes() == before
    assert len(list((root / "processed").iterdir())) == 1


def test_save_and_load_of_pyg_are_without_pickle(root: Path, tmp_path: Path):
    data_set = WordNetDataset(root)
    WordNetDataset.save([data_set[0]], str(tmp_path / "x"))
    data_set.load(str(tmp_path / "x"))
    assert data_set[0].names == WordNetDataset(root)[0].names
    assert set(load_file(tmp_path / "x")) == {"edge_index", "names_as_json"}
    with pytest.raises(ValueError, match="expected one graph, got 2"):
        WordNetDataset.save([data_set[0]] * 2, str(tmp_path / "x"))


# Planted files


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return os.makedirs, (str(self.file), 0o777, True)


def bombs(file: Path) -> list[bytes]:
    zipped = io.BytesIO()
    torch.save(Bomb(file), zipped)
    return [pickle.dumps(Bomb(file)), zipped.getvalue()]


@pytest.mark.parametrize("force_reload", [False, True])
@pytest.mark.parametrize("kind", [0, 1], ids=["pickle", "torch.save"])
def test_planted_pickles_are_never_opened(kind: int, force_reload: bool, root: Path, tmp_path: Path):
    bomb = bombs(tmp_path / "boom")[kind]
    for place in (root, tmp_path / "fresh"):
        (place / "processed").mkdir(parents=True, exist_ok=True)
        for name in ("data.pt", "pre_transform.pt", "pre_filter.pt", "mammals_closure.pt"):
            (place / "processed" / name).write_bytes(bomb)
        data_set = WordNetDataset(place, force_reload=force_reload)
        assert copy.deepcopy(data_set)[0].num_nodes == 1180
    assert not (tmp_path / "boom").exists()
    if kind:  # the same file does go off where PyG's own method looks at it
        data_set.force_reload = False
        with pytest.warns(UserWarning, match="differs from the one used"):
            Dataset._process(data_set)
        assert (tmp_path / "boom").exists()


@pytest.mark.parametrize("kind", [0, 1], ids=["pickle", "torch.save"])
def test_a_pickle_in_place_of_the_graph_is_refused(kind: int, root: Path, tmp_path: Path):
    processed(root).write_bytes(bombs(tmp_path / "boom")[kind])
    with pytest.raises(ValueError, match="force_reload=True"):
        WordNetDataset(root)
    assert not (tmp_path / "boom").exists()
    assert WordNetDataset(root, force_reload=True)[0].num_nodes == 1180


def changed(root: Path, *, metadata: dict[str, str] | None = None, **tensors: torch.Tensor | None) -> None:
    file = processed(root)
    whole = {**load_file(file), **tensors}
    record = {"format": "pyg graph 1", "kind": "WordNetDataset", "pre_transform": "None", "num_nodes": 1180}
    record = {"hyperspectral_geo": json.dumps(record)} if metadata is None else metadata
    save_file({key: value for key, value in whole.items() if value is not None}, file, metadata=record)


def text(content: bytes) -> torch.Tensor:
    return torch.tensor(list(content), dtype=torch.uint8)


PLANTED = {
    "not ours": ({"metadata": {"format": "pt"}}, "expected a graph that WordNetDataset stored, got None"),
    "metadata no JSON": ({"metadata": {"hyperspectral_geo": "{"}}, "not valid JSON"),
    "metadata a list": ({"metadata": {"hyperspectral_geo": "[]"}}, "expected a JSON object"),
    "no links": ({"edge_index": None}, "expected edge_index and names_as_json"),
    "no names": ({"names_as_json": None}, "expected edge_index and names_as_json"),
    "floats": ({"edge_index": torch.zeros(2, 3)}, "expected int64"),
    "turned": ({"edge_index": torch.zeros(3, 2, dtype=torch.long)}, "expected int64 of shape"),
    "beyond": ({"edge_index": torch.full((2, 3), 1180)}, "nodes from 0 to 1179"),
    "below": ({"edge_index": torch.full((2, 3), -1)}, "nodes from 0 to 1179"),
    "few names": ({"names_as_json": text(b'["a"]')}, "a name for each of 1180 nodes, got 1"),
    "numbers for names": ({"names_as_json": text(b"[1]")}, "expected a list of strings"),
    "broken names": ({"names_as_json": text(b'["a')}, "expected names as JSON"),
    "names in latin-1": ({"names_as_json": text(b'["\xc9"]')}, "expected names as JSON"),
    "an attribute of PyG": ({"_store": torch.ones(1)}, "expected edge_index and names_as_json, got"),
}


@pytest.mark.parametrize(("change", "said"), PLANTED.values(), ids=PLANTED)
def test_a_planted_graph_is_refused(change: dict, said: str, root: Path):
    changed(root)
    assert WordNetDataset(root)[0].num_nodes == 1180
    changed(root, **change)
    with pytest.raises(ValueError, match=said) as caught:
        WordNetDataset(root)
    assert str(caught.value).endswith("force_reload=True to process it again")


def test_the_graph_of_another_data_set_is_refused(tmp_path: Path):
    data = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2, names=["a", "b"])
    write_graph_file(tmp_path / "x", data, kind="TaxonomyDataset", pre_transform="None")
    assert read_graph_file(tmp_path / "x", kind="TaxonomyDataset")[0].names == ["a", "b"]
    with pytest.raises(ValueError, match="that WordNetDataset stored, got 'TaxonomyDataset'"):
        read_graph_file(tmp_path / "x", kind="WordNetDataset")


def test_damaged_raw_files_leave_nothing_processed(root: Path):
    processed(root).unlink()
    (root / "raw" / "mammals.tsv").write_text("dog\n")
    with pytest.raises(ValueError, match=r"mammals.tsv, line 1"):
        WordNetDataset(root)
    assert list((root / "processed").iterdir()) == []


def test_a_part_that_is_none_makes_no_folder(tmp_path: Path, unchecked):
    with pytest.raises(ValueError, match="part: expected"):
        WordNetDataset(tmp_path / "new", part="../../verbs")
    assert not (tmp_path / "new").exists()


def test_without_raw_files_anywhere_the_way_to_get_them_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HSGEO_DATA", str(tmp_path))
    monkeypatch.setenv("HSGEO_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="ncbi_taxonomy_20240907.npz"):
        TaxonomyDataset(tmp_path / "root")

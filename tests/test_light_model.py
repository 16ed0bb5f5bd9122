"""Light models: the same scores as the selection, and files that are whole, without pickle."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hyperspectral_geo.fusion.light.light_model import LightModel
from hyperspectral_geo.fusion.light.selection import select


@pytest.fixture
def task():
    x = torch.randn(60, 10)
    y = torch.arange(60) % 4
    return select(x + 3 * nn.functional.one_hot(y, 10), [("ant", "bee", "cow", "dog")[i] for i in y.tolist()])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_layers_give_the_scores_of_the_prefix(task, k):
    x = torch.randn(7, 10)
    model = LightModel.of(task.prefix(k))
    assert (model.directions.weight.shape, model.head.weight.shape) == ((k, 10), (4, k))
    torch.testing.assert_close(model(x), task.prefix(k).scores(x))
    torch.testing.assert_close(model.directions(x), task.prefix(k).coordinates(x), atol=1e-5, rtol=1e-5)


def test_a_file_gives_the_model_back(task, tmp_path):
    model = LightModel.of(task)
    model.save(tmp_path / "a")
    model.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = LightModel.load(tmp_path / "a")
    assert loaded.classes == ("ant", "bee", "cow", "dog")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["i8", ">i2", "u1", "U3", "O"])
def test_labels_of_numpy_become_names_that_a_file_holds(kind, tmp_path):
    x, y = torch.randn(12, 4), (np.arange(12) % 3).astype(kind)
    for labels in (y, list(y)):
        model = LightModel.of(select(x, labels))
        assert model.classes == tuple(np.unique(y).tolist())
        assert {type(name) for name in model.classes} <= {int, str}
    model.save(tmp_path / "model")
    assert LightModel.load(tmp_path / "model").classes == model.classes


def test_it_trains_as_any_module(task):
    model = LightModel.of(task)
    model(torch.randn(5, 10)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_wrong_layers_and_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected 2 inputs"):
        LightModel(nn.Linear(4, 2), nn.Linear(3, 2), classes=("a", "b"))
    for classes in (("a",), ("a", "a"), (True, "b")):
        with pytest.raises(ValueError, match="classes: expected"):
            LightModel(nn.Linear(4, 2), nn.Linear(2, 2), classes=classes)
    half = LightModel(nn.Linear(4, 2), nn.Linear(2, 2), classes=("a", "b")).half()
    with pytest.raises(ValueError, match="float32 or float64"):
        half.save(tmp_path / "half")
    assert not (tmp_path / "half").exists()


def damaged(path, kind: str) -> None:
    """A file that is not a light model."""
    model = LightModel(nn.Linear(4, 2), nn.Linear(2, 2), classes=("a", "b"))
    tensors = dict(model.state_dict())
    if kind == "pickle":
        torch.save(tensors, path)
    elif kind == "no record":
        save_file(tensors, path)
    else:
        if kind == "bias":
            tensors["head.bias"] = torch.zeros(5)
        if kind == "missing":
            del tensors["head.bias"]
        record = {
            "names": '{"what": "LightModel", "version": 1, "classes": ["a", "a"]}',
            "no names": '{"what": "LightModel", "version": 1}',
            "kind": '{"what": "SpectralBasis", "version": 1}',
        }.get(kind, '{"what": "LightModel", "version": 1, "classes": ["a", "b"]}')
        save_file(tensors, path, metadata={"hyperspectral_geo": record})
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize("kind", ["pickle", "no record", "bias", "missing", "names", "no names", "kind", "cut"])
def test_other_files_are_refused(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    damaged(path, kind)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        LightModel.load(path)


def test_onnx_without_its_packages_says_what_to_install(task, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        LightModel.of(task).export_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_gives_the_same_scores(task, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = LightModel.of(task)
    model.export_onnx(tmp_path / "model.onnx")
    features = torch.randn(9, 10)
    (scores,) = runtime.InferenceSession(tmp_path / "model.onnx").run(None, {"features": features.numpy()})
    torch.testing.assert_close(torch.from_numpy(scores), model(features).detach(), atol=1e-5, rtol=1e-5)

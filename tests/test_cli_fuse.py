"""``hsgeo fuse`` from files to a model, its report and its score, and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from fusion_cases import related, unrelated

from hyperspectral_geo.fusion import SubspaceFusion
from hyperspectral_geo.plotting.joint_map import joint_map
from hyperspectral_geo.plotting.shared_directions import shared_directions


@pytest.fixture
def files(tmp_path):
    x, y = (view.numpy() for view in related(160, 9, 7, noise=0.3))
    np.save(tmp_path / "a.npy", x[:120])
    np.save(tmp_path / "b.npy", y[:120].astype(np.float32))
    np.savez(tmp_path / "test.npz", a=x[120:], b=y[120:])
    return tmp_path


def test_from_files_to_figures(hsgeo, files, capsys):
    model, page, told = files / "m.safetensors", files / "page.html", files / "score.json"
    fit = ("fuse", files / "a.npy", files / "b.npy", "-o", model, "--method", "linear", "--report", page)
    assert hsgeo(*fit) == 0
    said = capsys.readouterr().out
    assert "directions above chance" in said
    assert "<img" in page.read_text(encoding="utf-8")
    test = (f"{files / 'test.npz'}:a", f"{files / 'test.npz'}:b")
    assert hsgeo("fuse", "eval", model, *test, "--json", told) == 0
    score = json.loads(told.read_text())
    assert score["R@10"] > 0.8
    assert f"R@10 {score['R@10']:.4f}" in capsys.readouterr().out
    assert SubspaceFusion.load(model).method == "linear"
    assert hsgeo(*fit) == 0
    first = model.read_bytes()
    assert hsgeo("fuse", "fit", *fit[1:]) == 0
    assert model.read_bytes() == first


def test_nothing_shared_is_said(hsgeo, tmp_path, capsys):
    for name, view in zip("ab", unrelated(60, 5, 4), strict=True):
        np.save(tmp_path / f"{name}.npy", view.numpy())
    with pytest.warns(UserWarning, match="no more than shuffled ones"):
        assert hsgeo("fuse", tmp_path / "a.npy", tmp_path / "b.npy", "-o", tmp_path / "m.safetensors") == 0
    assert "no shared direction" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.npy", "none.npy"), "view 1: expected a .npy or .npz file"),
        (("a.npy", "test.npz"), "holds a, b; name one as"),
        (("a.npy", "test.npz:c"), "holds a, b; name one as"),
        (("a.npy", "text.npy"), "view 1: .*text.npy: expected an array of numbers"),
        (("a.npy", "vector.npy"), "expected a matrix of numbers"),
        (("a.npy", "names.npy"), "expected a matrix of numbers"),
        (("a.npy", "test.npz:b"), "view 1: expected 120 rows"),
        (("a.npy",), "views: expected 2 or more"),
        (("a.npy", "pickle.npy"), "pickle"),
        (("a.npy", "b.npy", "--method", "magic"), "method: expected one of"),
        (("a.npy", "b.npy", "--report", "no/page.html"), "--report: expected a file in an existing folder"),
    ],
)
def test_bad_files_are_refused(hsgeo, files, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    (files / "text.npy").write_text("no array")
    np.save(files / "vector.npy", np.zeros(3))
    np.save(files / "names.npy", np.array([["a"]] * 120))
    np.save(files / "pickle.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    assert hsgeo("fuse", *arguments, "-o", "m.safetensors") == 2
    assert not (files / "m.safetensors").exists()

    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_pictures_show_what_they_are_given():
    figure = shared_directions([0.9, 0.5, 0.2], [0.8, 0.1], 0.3, title="cost: $5 \\frac")
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 2, 2]
    rows = [view.numpy() for view in related(20, 4, 4)]
    figure = joint_map(rows, names=["image", "$x$"], labels=["a\nb"], thumbnails=[np.zeros((8, 8, 3))], title="map")
    assert len(figure.axes[0].collections) == 3
    figure.savefig("/dev/null", format="png")
    with pytest.raises(ValueError, match="codes: expected"):
        joint_map(rows, names=["one"])
    with pytest.raises(ValueError, match="at least one a direction"):
        shared_directions([], [], 0.1)

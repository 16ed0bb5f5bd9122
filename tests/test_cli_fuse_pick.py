"""``hsgeo fuse pick`` from features and labels to a light model, its accuracy by prefix, and what it refuses."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from fuse_cli_cases import assert_refused
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from hyperspectral_geo import fusion
from hyperspectral_geo.cli.fuse_prefixes import fifth, prefixes
from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.fusion import LightModel, select
from hyperspectral_geo.plotting import dimension_curve as curve

_HELD = ("--held-out", "test.npy", "--held-out-labels")


def _task(rows, *, seed=0):
    """Four classes in the first three of 12 features, which are not the ones of the largest variance."""
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, 4, rows)
    centres = 4 * np.eye(4)[:, :3]
    x = generator.normal(size=(rows, 12)) * np.r_[np.ones(3), 6 * np.ones(9)]
    x[:, :3] += centres[classes]
    return x, classes


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = np.array(["ash", "beech", "cedar", "dogwood"])
    for part, rows, seed in (("train", 200, 0), ("test", 90, 1)):
        x, classes = _task(rows, seed=seed)
        np.save(f"{part}.npy", x.astype(np.float32))
        np.save(f"{part}_numbers.npy", classes)
        np.save(f"{part}_names.npy", names[classes])
        (tmp_path / f"{part}.txt").write_text("\n".join(names[classes]) + "\n")
    np.savez("both.npz", train=np.load("train.npy"), test=np.load("test.npy"))
    return tmp_path


def _drawn(monkeypatch):
    """What ``dimension_curve`` is given, once it is."""
    calls, draw = [], curve.dimension_curve
    monkeypatch.setattr(curve, "dimension_curve", lambda *a, **k: calls.append((a, k)) or draw(*a, **k))
    return calls


def _by_dimension(said):
    return {int(size): float(value) for size, value in re.findall(r"^ +(\d+) +([\d.]+) %$", said, re.MULTILINE)}


@pytest.mark.parametrize(
    ("features", "labels", "other", "other_labels"),
    [
        ("train.npy", "train.txt", "test.npy", "test.txt"),
        ("both.npz:train", "train_names.npy", "both.npz:test", "test.txt"),
        ("train.npy", "train_numbers.npy", "test.npy", "test_numbers.npy"),
    ],
)
def test_from_features_to_a_light_model(hsgeo, files, capsys, features, labels, other, other_labels):
    given = ("--held-out", other, "--held-out-labels", other_labels)
    assert hsgeo("fuse", "pick", features, labels, "-o", "light.safetensors", *given) == 0
    said = capsys.readouterr().out
    assert "3 of 12 dimensions picked for 4 classes; 3 tell more than shuffled labels do" in said
    assert "12 features to 3 coordinates to 4 scores, two linear layers with 55 numbers in float32" in said
    x, xt = torch.from_numpy(np.load("train.npy")), torch.from_numpy(np.load("test.npy"))
    y, yt = np.load("train_numbers.npy"), np.load("test_numbers.npy")
    task = select(x, y.tolist())
    found = _by_dimension(said)
    assert list(found) == [1, 2, 3]
    for k, value in found.items():
        assert value == pytest.approx(100 * (task.prefix(k).predict(xt).numpy() == yt).mean(), abs=0.051)
    assert found[3] > 80
    model = LightModel.load("light.safetensors")
    assert list(model.classes) == ([0, 1, 2, 3] if "numbers" in labels else ["ash", "beech", "cedar", "dogwood"])
    torch.testing.assert_close(model(xt), task.scores(xt), atol=1e-4, rtol=1e-4)


def test_the_page_compares_with_principal_components(hsgeo, files, capsys, monkeypatch):
    calls = _drawn(monkeypatch)
    given = ("--held-out", "test.npy", "--held-out-labels", "test.txt", "--report", "page.html")
    assert hsgeo("fuse", "pick", "train.npy", "train.txt", "-o", "light.safetensors", *given) == 0
    ((sizes, panels), options) = calls[0]
    assert sizes == [1, 2, 3, 4, 8, 12]
    (lines,) = panels.values()
    said = _by_dimension(capsys.readouterr().out)
    assert lines["picked"][0][:3] == pytest.approx([said[k] for k in (1, 2, 3)], abs=0.051)
    assert np.isnan(lines["picked"][0][3:]).all()
    x, xt, y, yt = (np.load(f"{name}.npy") for name in ("train", "test", "train_numbers", "test_numbers"))
    for k, value in zip(sizes, lines["PCA"][0], strict=True):
        peer = PCA(k, svd_solver="full").fit(x)
        head = select(torch.from_numpy(peer.transform(x)), y.tolist())
        assert value == pytest.approx(100 * (head.predict(torch.from_numpy(peer.transform(xt))).numpy() == yt).mean())
    assert lines["picked"][0][2] > lines["PCA"][0][2] + 20
    (level,) = options["levels"].values()
    assert level["largest class"][0] == pytest.approx(100 * (yt == np.bincount(y).argmax()).mean())
    page = Path("page.html").read_text(encoding="utf-8")
    assert "no fit has seen" in page
    assert "<img" in page


def test_without_other_rows_a_fifth_judges_and_the_model_has_all(hsgeo, files, capsys):
    assert hsgeo("fuse", "pick", "train.npy", "train.txt", "-o", "plain.safetensors") == 0
    assert "accuracy" not in capsys.readouterr().out
    assert hsgeo("fuse", "pick", "train.npy", "train.txt", "-o", "light.safetensors", "--report", "page.html") == 0
    assert "rows, a fifth, by a model of the others" in capsys.readouterr().out
    assert "the model in the file is fitted to all rows" in Path("page.html").read_text(encoding="utf-8")
    assert Path("plain.safetensors").read_bytes() == Path("light.safetensors").read_bytes()


@pytest.mark.parametrize("each", [2, 3])
def test_where_no_fifth_can_be_held_out_the_page_says_so(hsgeo, files, each):
    np.save("few.npy", np.load("train.npy")[: 3 * each])
    np.save("few_labels.npy", np.arange(3).repeat(each))
    assert hsgeo("fuse", "pick", "few.npy", "few_labels.npy", "-o", "few.safetensors", "--report", "page.html") == 0
    assert "Too few rows of each class to hold a fifth of them out" in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("labels", ["train.txt", "test_numbers.npy"])
def test_labels_of_held_out_rows_are_looked_at_before_the_fit(hsgeo, files, capsys, monkeypatch, labels):
    monkeypatch.setattr(fusion, "select", lambda *_, **__: pytest.fail("a fit"))
    arguments = ("pick", "train.npy", "train.txt", "-o", "light.safetensors", *_HELD, labels)
    assert_refused(hsgeo, capsys, *arguments, message="--held-out-labels: ")


@pytest.mark.parametrize(("components", "more"), [(2, None), (5, "the last 2 are for other heads")])
def test_as_many_dimensions_as_asked(hsgeo, files, capsys, components, more):
    given = ("--held-out", "test.npy", "--held-out-labels", "test.txt", "--report", "page.html")
    command = ("fuse", "pick", "train.npy", "train.txt", "-o", "light.safetensors", "--components", components)
    assert hsgeo(*map(str, command), *given) == 0
    said = capsys.readouterr().out
    assert LightModel.load("light.safetensors").head.in_features == components
    assert list(_by_dimension(said))[-1] == components
    assert ("other heads" in said) == (more is not None)
    assert more is None or more in said


def test_onnx_beside_the_model_or_what_to_install_before_the_work(hsgeo, files, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    command = ("fuse", "pick", "train.npy", "train.txt", "-o", "light.safetensors", "--onnx", "light.onnx")
    assert hsgeo(*command) == 2
    assert "got no onnxscript; pip install onnx onnxscript" in " ".join(capsys.readouterr().err.split())
    assert not Path("light.safetensors").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(LightModel, "export_onnx", lambda self, path: Path(path).write_bytes(b"onnx"))
    assert hsgeo(*command) == 0
    assert "features (n, 12) to scores (n, 4)" in capsys.readouterr().out
    assert Path("light.onnx").read_bytes() == b"onnx"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.npy", "train.txt"), "FEATURES: expected a .npy or .npz file"),
        (("void.npy", "train.txt"), "FEATURES: expected finite"),
        (("pickle.npy", "train.txt"), "FEATURES: .*pickle"),
        (("train.npy", "none.txt"), "LABELS: expected a .npy file, or a text file of one label a line, got none.txt"),
        (("train.npy", "test.txt"), "LABELS: test.txt: expected 200 labels, one for each row of features, got 90"),
        (("train.npy", "test_names.npy"), "expected 200 labels, one for each row of features, got 90"),
        (("train.npy", "same.txt"), "LABELS: same.txt: expected two or more classes, got 'ash' in every row"),
        (("train.npy", "each.txt"), "2 rows or more in some class"),
        (("train.npy", "pickle.npy"), "LABELS: pickle.npy: expected a whole array without pickled objects"),
        (("train.npy", "train.npy"), "LABELS: train.npy: expected a row of whole numbers or texts"),
        (("train.npy", "text.npy"), "LABELS: text.npy: expected a .npy file, got one that begins with b'no arr'"),
        (("train.npy", "lying.npy"), "LABELS: lying.npy: expected a whole array"),
        (("train.npy", "both.npz"), "LABELS: both.npz: expected .npy, or lines of UTF-8 text"),
        (("train.npy", "folder"), "LABELS: expected a .npy file, or a text file"),
        (("train.npy", "empty.txt"), "empty.txt, line 1: expected a label, got an empty one"),
        (("train.npy", "train.txt", "--components", "13"), "n_components: expected at most 12"),
        (("train.npy", "train.txt", "--components", "0"), "greater than or equal to 1"),
        (("train.npy", "train.txt", *_HELD[:2]), "--held-out-labels: expected features and labels"),
        (("train.npy", "train.txt", "--held-out-labels", "test.txt"), "--held-out: expected features and labels"),
        (("train.npy", "train.txt", *_HELD, "train.txt"), "--held-out-labels: train.txt: expected 90 labels"),
        (("train.npy", "train.txt", *_HELD, "test_numbers.npy"), r"expected classes of LABELS \('ash', .* got \d"),
        (("train.npy", "train.txt", *_HELD, "other.txt"), "got 'elm' in row 3"),
        (("slim.npy", "train.txt", *_HELD, "test.txt"), "--held-out: expected 11 columns as FEATURES, got 12"),
        (("train.npy", "train.txt", "--report", "no/page.html"), "--report: expected a file in an existing folder"),
        (("train.npy", "train.txt", "--onnx", "no/m.onnx"), "--onnx: expected a file in an existing folder"),
        (("train.npy", "train.txt", "--onnx", "light.safetensors"), "--onnx: .* which is --out too"),
        (("train.npy", "train.txt", "--report", "train.npy"), "--report: .* which is FEATURES too"),
        (("train.npy", "train.txt", "--report", "train.txt"), "--report: .* which is LABELS too"),
        (("train.npy", "train.txt", *_HELD, "test.txt", "--report", "test.txt"), "which is --held-out-labels too"),
    ],
)
def test_bad_input_is_refused(hsgeo, files, capsys, arguments, message):
    train, lines = np.load("train.npy"), (files / "test.txt").read_text().split()
    np.save("slim.npy", train[:, :11])
    np.save("void.npy", np.where(train > 3, np.nan, train))
    np.save("pickle.npy", np.array([{}] * 200, dtype=object), allow_pickle=True)
    whole = (files / "train_numbers.npy").read_bytes()
    (files / "lying.npy").write_bytes(whole.replace(b"(200,), ", b"(2**9,),").replace(b"2**9", b"9999"))
    (files / "folder").mkdir()
    for name, text in (
        ("same.txt", "ash\n" * 200),
        ("each.txt", "".join(f"{i}\n" for i in range(200))),
        ("text.npy", "no array"),
        ("empty.txt", ""),
        ("other.txt", "\n".join([*lines[:3], "elm", *lines[4:]])),
    ):
        (files / name).write_text(text)
    assert_refused(hsgeo, capsys, "pick", *arguments, "-o", "light.safetensors", message=message)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=120), st.integers(0, 3))
def test_a_fifth_of_each_class_but_never_its_last_two(classes, seed):
    labels = torch.tensor(classes)
    held = fifth(labels, seed=seed)
    assert torch.equal(held, fifth(labels, seed=seed))
    for name in labels.unique():
        of_class = int((labels == name).sum())
        taken = int((held & (labels == name)).sum())
        assert max(0, of_class // 5 - 1) <= taken <= -(-of_class // 5)
        assert of_class - taken >= min(2, of_class)


@given(st.integers(1, 5000))
def test_prefixes_double_up_to_the_whole(k):
    sizes = prefixes(k)
    assert sizes[0] == 1 if k > 1 else sizes == [1]
    assert sizes[-1] == k
    assert all(a < b <= 2 * a for a, b in pairwise(sizes))
    assert all(b == 2 * a for a, b in pairwise(sizes[:-1]))


def test_emoji_categories_in_eight_dimensions(hsgeo, files, monkeypatch):
    emoji, order = load_emoji(), np.random.default_rng(0).permutation(1906)
    for part, rows in (("e", order[:500]), ("f", order[500:800])):
        np.save(f"{part}.npy", emoji.image.numpy()[rows])
        np.save(f"{part}_labels.npy", np.array(emoji.categories)[rows])
    calls = _drawn(monkeypatch)
    given = ("--held-out", "f.npy", "--held-out-labels", "f_labels.npy", "--report", "page.html")
    assert hsgeo("fuse", "pick", "e.npy", "e_labels.npy", "-o", "light.safetensors", *given) == 0
    (sizes, panels), _ = calls[0]
    (lines,) = panels.values()
    at = sizes.index(8)
    assert lines["picked"][0][at] > max(60, lines["PCA"][0][at] + 5)

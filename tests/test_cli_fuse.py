"""``hsgeo fuse`` from files to a model, its report and its score, and what it refuses."""

from __future__ import annotations

import io
import json
import re
import zipfile

import numpy as np
import pytest
import torch
from fuse_cli_cases import assert_refused
from fusion_cases import related, unrelated
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.cli.array_files import read_array
from hyperspectral_geo.fusion import SubspaceFusion
from hyperspectral_geo.plotting import dimension_curve as curve
from hyperspectral_geo.plotting.dimension_curve import dimension_curve
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
    fit = ("fuse", tmp_path / "a.npy", tmp_path / "b.npy", "-o", tmp_path / "m.safetensors", "--method", "csa")
    assert hsgeo(*fit, "--report", tmp_path / "page.html") == 0
    assert "no shared direction: the views agree no more than shuffled ones" in capsys.readouterr().out
    assert "No map: it needs two directions, and there are 0" in (tmp_path / "page.html").read_text(encoding="utf-8")


def _damage(folder):
    """Archives that are not what they say, and other names of files."""
    np.savez(folder / "pickle.npz", a=np.array([[{}]], dtype=object), allow_pickle=True)
    whole = (folder / "test.npz").read_bytes()
    (folder / "flipped.npz").write_bytes(whole.replace(np.load(folder / "test.npz")["b"].tobytes()[:8], b"flipped!"))
    promise = io.BytesIO()
    np.lib.format.write_array_header_1_0(promise, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)})
    honest = io.BytesIO()
    np.save(honest, np.zeros((120, 1)))
    for name, member, content in (
        ("notes", "notes.txt", b"no array"),
        ("huge", "a.npy", promise.getvalue() + bytes(960)),
        ("more", "a.npy", honest.getvalue() + bytes(8)),
    ):
        with zipfile.ZipFile(folder / f"{name}.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
    (folder / "empty.npz").touch()
    (folder / "link.npy").symlink_to(folder / "b.npy")


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
        (("a.npy", "b.npy:b"), "view 1: b.npy:b: expected b.npy alone"),
        (("a.npy", "empty.npz"), "view 1: empty.npz: expected a .npy or .npz file, got an empty one"),
        (("a.npy", "b.npy", "--seed", "1" + 30 * "0"), "seed: expected a whole number from 0"),
        (("a.npy",), "views: expected 2 or more"),
        (("a.npy", "pickle.npy"), "pickle"),
        (("a.npy", "pickle.npz"), r"view 1: pickle.npz: .* pickled objects"),
        (("a.npy", "notes.npz"), "view 1: notes.npz: expected an array of numbers, got one that holds nothing"),
        (("a.npy", "notes.npz:notes.txt"), "view 1: notes.npz: .* holds nothing"),
        (("a.npy", "flipped.npz:b"), "view 1: flipped.npz: .* Bad CRC-32"),
        (("a.npy", "huge.npz"), "view 1: huge.npz: .* promises 8000000000000000000 bytes and holds 960"),
        (("a.npy", "more.npz"), "view 1: more.npz: .* promises 960 bytes and holds more"),
        (("a.npy", "b.npy", "--method", "magic"), "method: expected one of"),
        (("a.npy", "b.npy", "--report", "no/page.html"), "--report: expected a file in an existing folder"),
        (("a.npy", "b.npy", "--report", "m.safetensors"), "--report: .* m.safetensors, which is --out too"),
        (("a.npy", "b.npy", "--report", "./a.npy"), "--report: .* a.npy, which is view 0 too"),
        (("a.npy", "test.npz:b", "--report", "test.npz"), "--report: .* test.npz, which is view 1 too"),
        (("a.npy", "b.npy", "--labels", "m.safetensors", "--report", "p.html"), "--out: .* which is --labels too"),
        (("eval", "old.safetensors", "a.npy", "b.npy", "--json", "link.npy"), "--json: .* which is view 1 too"),
        (("eval", "old.safetensors", "a.npy", "b.npy", "--report", "old.safetensors"), "--report: .* is MODEL too"),
        (("eval", "old.safetensors", "a.npy", "b.npy", "--json", "s", "--report", "s"), "--report: .* is --json too"),
    ],
)
def test_bad_files_are_refused(hsgeo, files, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    _damage(files)
    (files / "text.npy").write_text("no array")
    np.save(files / "vector.npy", np.zeros(3))
    np.save(files / "names.npy", np.array([["a"]] * 120))
    np.save(files / "pickle.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    out = () if arguments[0] == "eval" else ("-o", "m.safetensors")
    assert_refused(hsgeo, capsys, *arguments, *out, message=message)


def test_the_page_of_eval_agrees_with_the_score(hsgeo, files, monkeypatch):
    model, page, held_out = files / "m.safetensors", files / "eval.html", np.load(files / "test.npz")
    assert hsgeo("fuse", files / "a.npy", files / "b.npy", "-o", model, "--method", "csa") == 0
    calls, draw = [], curve.dimension_curve
    monkeypatch.setattr(curve, "dimension_curve", lambda *a, **k: calls.append(a) or draw(*a, **k))
    test = (f"{files / 'test.npz'}:a", f"{files / 'test.npz'}:b")
    for flag, said in (("--corrected", "are corrected for hubs"), ("--no-corrected", "are not corrected for hubs")):
        assert hsgeo("fuse", "eval", model, *test, "--report", page, "--json", files / "s.json", flag) == 0
        score = json.loads((files / "s.json").read_text())
        sizes, panels = calls[-1]
        (ways,) = panels.values()
        assert list(ways) == ["a → b", "b → a"]
        assert np.mean([values[0][-1] for values in ways.values()]) == pytest.approx(100 * score["R@1"])
        text = page.read_text(encoding="utf-8")
        assert said in text
        (row,) = re.findall(r'<th scope="row">a → b</th>((?:<td[^>]*>[^<]*</td>)+)', text)
        assert float(re.findall(r">([\d.]+)<", row)[0]) == pytest.approx(ways["a → b"][0][-1], abs=0.051)
        assert text[text.index("Rows that are found last</h2>") :].count("<tr>") == 11
    space = SubspaceFusion.load(model).space_
    for k, value in zip(sizes, ways["a → b"][0], strict=True):
        views = [torch.from_numpy(held_out[name]).double() for name in "ab"]
        cut = [(space.coordinates(view, x) * space.weights).numpy()[:, :k] for view, x in enumerate(views)]
        a, b = (code / np.linalg.norm(code, axis=1, keepdims=True) for code in cut)
        similarity = a @ b.T
        first = (similarity > np.diag(similarity)[:, None] - 1e-12).sum(1) == 1
        assert value == pytest.approx(100 * first.mean())


def test_pages_of_anchors_and_of_three_views(hsgeo, tmp_path):
    views = [view.numpy() for view in related(60, 6, 5, 4)]
    for number, view in enumerate(views):
        (tmp_path / str(number)).mkdir()
        np.save(tmp_path / str(number) / "view.npy", view)
    paths = [tmp_path / str(number) / "view.npy" for number in range(3)]
    model, page = tmp_path / "m.safetensors", tmp_path / "page.html"
    assert hsgeo("fuse", *paths, "-o", model, "--method", "gcca", "--report", page) == 0
    assert hsgeo("fuse", "eval", model, *paths, "--report", page) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("view 1 → view 3") == 2
    assert "view 3 → view 2" in text
    assert hsgeo("fuse", *paths[:2], "-o", model, "--method", "asif", "--report", page) == 0
    assert "Settings" not in page.read_text(encoding="utf-8")
    assert hsgeo("fuse", "eval", model, *paths[:2], "--report", page) == 0
    assert "directions kept" not in page.read_text(encoding="utf-8")


def test_thumbnails_and_labels_never_cover_each_other():
    rows = np.zeros((30, 2))
    rows[20:] = np.arange(20).reshape(10, 2) * 40
    dots = [np.ones((8, 8, 3))] * 30
    figure = joint_map([rows, rows], names=["_a", "$b$"], thumbnails=dots, labels=[f"$label_{i}$" for i in range(30)])
    (ax,) = figure.axes
    figure.canvas.draw()
    shown = [artist.get_window_extent() for artist in ax.artists]
    assert 2 <= len(shown) <= 11
    assert not any(a.overlaps(b) for i, a in enumerate(shown) for b in shown[:i])
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["_a", "$b$"]


def test_the_dimension_curve_names_all_lines_and_sizes_with_room():
    values = {"_ours": [[10, 20, 30, 31]], "$x$": [[10, 20, float("nan"), float("nan")]]}
    figure = dimension_curve([1, 2, 250, 256], {"a": values}, levels={"a": {"_l": [5]}}, x="kept", y="R@1", title="t")
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["_ours", "$x$", "_l"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "", "256"]
    assert [line.get_ydata().tolist() for line in ax.get_lines()[:2]] == [[10, 20, 30, 31], [10, 20]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("kept", "R@1")
    figure.savefig("/dev/null", format="png")


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


def test_options_may_come_before_the_files(files, hsgeo):
    assert hsgeo("fuse", "--out", files / "m.safetensors", "--method", "rcca", files / "a.npy", files / "b.npy") == 0
    assert (files / "m.safetensors").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", [">f8", ">f4", ">i2", "<f8", "?"])
def test_arrays_come_in_the_byte_order_of_the_machine(tmp_path, save, kind):
    array = np.asfortranarray(np.arange(12).reshape(4, 3) % 7, dtype=kind)
    np.save(tmp_path / "a.npy", array)
    save(tmp_path / "a.npz", a=array, none=array[:0])
    for named in ("a.npy", "a.npz:a"):
        found = read_array("view 0", str(tmp_path / named))
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype.newbyteorder("=")
        assert found.dtype.isnative
    assert read_array("view 0", str(tmp_path / "a.npz:none")).shape == (0, 3)


@given(st.sampled_from(["a.npy", "a.npz"]), st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1))
def test_damaged_files_are_refused_by_name(tmp_path_factory, name, changes):
    path, array = tmp_path_factory.mktemp("damaged") / name, np.eye(5)
    (np.savez if name == "a.npz" else np.save)(path, array)
    content = bytearray(path.read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    path.write_bytes(content)
    try:
        found = read_array("view 0", str(path))
    except ValueError as error:
        found, said = None, str(error)
    if found is None:
        assert f"view 0: {path}" in said
    elif name == "a.npz":  # which has checksums
        np.testing.assert_array_equal(found, array)

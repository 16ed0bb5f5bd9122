"""Pictures and labels that ``hsgeo fuse`` reads beside features, and what it refuses."""

from __future__ import annotations

import struct
import sys
import zlib

import numpy as np
import pytest
from fuse_cli_cases import assert_refused
from fusion_cases import related

from hyperspectral_geo.cli.fuse_files import read_labels, read_pictures
from hyperspectral_geo.fusion import SubspaceFusion
from hyperspectral_geo.plotting import joint_map as module


@pytest.fixture
def files(tmp_path):
    for name, view in zip("ab", related(120, 9, 7, noise=0.3), strict=True):
        np.save(tmp_path / f"{name}.npy", view.numpy())
    np.savez(tmp_path / "test.npz", a=np.eye(3))
    return tmp_path


def _png(path, *, width=6, height=4, claimed=None):
    """A grey PNG, by hand; ``claimed`` is a width and height that its header lies about."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", *(claimed or (width, height)), 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(range(width))) * height)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def test_the_map_shows_pictures_and_words_of_whole_rows(hsgeo, files, monkeypatch):
    a = np.load(files / "a.npy")
    a[[0, 7]] = np.nan
    np.save(files / "a.npy", a)
    (files / "words.txt").write_text("".join(f"word {row}\r\n" for row in range(120)))
    (files / "pictures").mkdir()
    for row in range(120):
        _png(files / "pictures" / f"{row:03d}.png", width=2 + row % 5)
    calls, draw = [], module.joint_map
    monkeypatch.setattr(module, "joint_map", lambda *a, **k: calls.append((a, k)) or draw(*a, **k))
    page = ("--report", files / "page.html", "--thumbnails", files / "pictures", "--labels", files / "words.txt")
    command = ("fuse", files / "a.npy", files / "b.npy", "-o", files / "m.safetensors", "--method", "csa")
    assert hsgeo(*command, *page) == 0
    (((codes,), shown),) = calls
    whole = [row for row in range(120) if row not in (0, 7)]
    assert shown["labels"] == [f"word {row}" for row in whole]
    assert [picture.shape for picture in shown["thumbnails"]] == [(4, 2 + row % 5, 4) for row in whole]
    fusion = SubspaceFusion.load(files / "m.safetensors")
    np.testing.assert_allclose(codes[0], fusion.encode(0, a[whole]), atol=1e-6)


_TONE = np.arange(120, dtype=np.uint8)[:, None, None].repeat(5, 1).repeat(4, 2)


@pytest.mark.parametrize(
    ("array", "shape", "scale"),
    [
        (_TONE, (5, 4, 3), 1),
        (_TONE[..., None], (5, 4, 3), 1),
        (_TONE[..., None].repeat(3, 3), (5, 4, 3), 1),
        (_TONE[..., None].repeat(4, 3), (5, 4, 4), 1),
        ((_TONE / 255).astype(np.float16), (5, 4, 3), 255),
        ((_TONE / 255).astype(">f8"), (5, 4, 3), 255),
    ],
    ids=["grey", "one channel", "colour", "alpha", "half", "big-endian"],
)
def test_arrays_of_pictures(tmp_path, array, shape, scale):
    np.save(tmp_path / "pictures.npy", array)
    found = read_pictures("--thumbnails", tmp_path / "pictures.npy", rows=120, wanted=[3, 119, 50])
    assert [picture.shape for picture in found] == [shape] * 3
    assert {picture.dtype for picture in found} <= {np.dtype("uint8"), np.dtype("float32")}
    assert [float(picture[0, 0, 0]) * scale for picture in found] == pytest.approx([3, 119, 50], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.txt", "cat\ndog\n", ["cat", "dog"]),
        ("a.txt", "cat \r\n dog", ["cat", "dog"]),
        ("labels", "\ufeffcat\n👩\u200d🚀\n", ["cat", "👩\u200d🚀"]),
        ("a.npy", np.array([3, -1], np.int8), [3, -1]),
        ("a.npy", np.array(["cat", "dög"]), ["cat", "dög"]),
    ],
)
def test_labels(tmp_path, name, content, found):
    if isinstance(content, str):
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    else:
        np.save(tmp_path / name, content)
    assert read_labels("LABELS", tmp_path / name, rows=2) == found


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--thumbnails", "none", "--thumbnails: expected a .npy file or a folder"),
        ("--thumbnails", "few.npy", "expected 120 pictures, one for each row of features, got 3"),
        ("--thumbnails", "a.npy", r"expected pictures \(n, h, w\)"),
        ("--thumbnails", "wide.npy", "expected pictures .* got uint16"),
        ("--thumbnails", "loud.npy", "expected floats from 0 to 1"),
        ("--thumbnails", "void.npy", "expected floats from 0 to 1"),
        ("--thumbnails", "pickle.npy", "without pickled objects"),
        ("--thumbnails", "cut.npy", "expected a whole array"),
        ("--thumbnails", "test.npz", "expected a .npy file, got one that begins with b'PK"),
        ("--thumbnails", "folder", "expected 120 pictures, .* got 2"),
        ("--thumbnails", "mixed", "files only, got 'notes.txt'"),
        ("--thumbnails", "damaged", "000.png: expected a picture, got one that cannot be read"),
        ("--thumbnails", "bomb", "000.png: expected a picture, got one that cannot be read"),
        ("--labels", "none", "--labels: expected a .npy file, or a text file"),
        ("--labels", "short.txt", "expected 120 labels, one for each row of features, got 2"),
        ("--labels", "gap.txt", "line 2: expected a label, got an empty one"),
        ("--labels", "escape.npy", r"row 3: expected a label, got 'a\\x1b"),
        ("--labels", "bell.txt", r"line 1: expected a label, got 'a\\x07'"),
        ("--labels", "test.npz", "expected .npy, or lines of UTF-8 text"),
        ("--labels", "a.npy", "expected a row of whole numbers or texts, got float64"),
        ("--labels", "pickle.npy", "without pickled objects"),
    ],
)
def test_bad_pictures_and_words_are_refused(hsgeo, files, capsys, monkeypatch, option, name, message):
    monkeypatch.chdir(files)
    np.save("few.npy", np.zeros((3, 4, 4)))
    np.save("wide.npy", np.zeros((120, 4, 4), np.uint16))
    np.save("loud.npy", np.full((120, 2, 2), 255.0))
    np.save("void.npy", np.full((120, 2, 2), np.nan))
    np.save("pickle.npy", np.array([{}] * 120, dtype=object), allow_pickle=True)
    (files / "cut.npy").write_bytes((files / "few.npy").read_bytes()[:200])
    (files / "short.txt").write_text("one\ntwo\n")
    (files / "gap.txt").write_text("one\n\ntwo\n")
    (files / "bell.txt").write_text("a\a\n")
    np.save(files / "escape.npy", np.array(["a", "b", "a\x1b[31m"]))
    for folder, count in (("folder", 2), ("mixed", 119), ("damaged", 120), ("bomb", 120)):
        (files / folder).mkdir()
        for row in range(count):
            _png(files / folder / f"{row:03d}.png")
    (files / "mixed" / "notes.txt").write_text("")
    (files / "damaged" / "000.png").write_bytes((files / "damaged" / "000.png").read_bytes()[:40])
    _png(files / "bomb" / "000.png", claimed=(60_000, 60_000))
    command = ("a.npy", "b.npy", "-o", "m.safetensors", "--method", "linear", "--report", "page.html")
    assert_refused(hsgeo, capsys, *command, option, name, message=message)


def test_pictures_need_a_page_and_folders_need_pillow(hsgeo, files, capsys, monkeypatch):
    command = (
        "fuse",
        files / "a.npy",
        files / "b.npy",
        "-o",
        files / "m.safetensors",
        "--thumbnails",
        files / "folder",
    )
    assert hsgeo(*command) == 2
    assert "--thumbnails: expected --report PAGE beside it" in capsys.readouterr().err
    (files / "folder").mkdir()
    for row in range(120):
        _png(files / "folder" / f"{row:03d}.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert hsgeo(*command, "--report", files / "page.html") == 2
    assert "expected the package pillow" in capsys.readouterr().err

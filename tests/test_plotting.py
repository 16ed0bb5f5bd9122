"""Pictures and the report: the geometry of arcs, what is drawn and named, and hostile text that stays text."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.plotting import (
    Section,
    Table,
    angle_heatmap,
    disk_distance,
    geodesic_arc,
    png_bytes,
    poincare_disk,
    save_picture,
    write_report,
)
from hyperspectral_geo.plotting.group_styles import group_styles
from hyperspectral_geo.plotting.heatmap import cluster_order
from hyperspectral_geo.plotting.label_placement import place_labels

# The least that is read of a picture: its signature and its size, here 3 × 2.
SMALL_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x03\x00\x00\x00\x02"
PNG = b"\x89PNG\r\n\x1a\n"
HOSTILE = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><style>*{background:url(https://evil.example)}",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<a href='javascript:alert(1)'>x</a>",
    "<svg/onload=alert(1)>",
    "--><iframe src=https://evil.example>",
    "]]><!DOCTYPE x>",
    "&lt;script&gt;",
    "{{7*7}} ${7*7} %s {0}",
    "nul \x00 bell \x07 escape \x1b[31m",
    "lone surrogate \ud800",
    "right to left \u202e txt",
    "$\\frac{1}{0}$ \\input{/etc/passwd} $unbalanced",
    "line\r\nbreak\ttab",
    "é ü 漢字 🐕",
    "x" * 500,
]
# The same again, as if they had first broken out of an attribute or out of a table.
MORE_HOSTILE = [prefix + text for text in HOSTILE for prefix in ("", '">', "</td></tr></table>'")]


def points(count: int, *, seed: int = 0, most: float = 0.98) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, count)
    return most * np.sqrt(rng.uniform(size=(count, 1))) * np.stack((np.cos(angle), np.sin(angle)), axis=1)


def angles(count: int, *, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).uniform(0.2, 1.5, (count, count))
    x = (x + x.T) / 2
    np.fill_diagonal(x, 0)
    return x


def is_picture(figure: Figure) -> bool:
    content = png_bytes(figure, dpi=50)
    return content.startswith(PNG) and len(content) > 2000


# Geodesics


def test_arcs_join_their_ends_exactly_and_are_as_long_as_the_distance():
    a, b = points(200, seed=1), points(200, seed=2)
    arc = geodesic_arc(a, b)
    assert arc.shape == (200, 24, 2)
    assert (arc[:, 0] == a).all()
    assert (arc[:, -1] == b).all()
    # A curve is a geodesic exactly if the distances between its points add up.
    np.testing.assert_allclose(disk_distance(arc[:, 1:], arc[:, :-1]).sum(axis=1), disk_distance(a, b), rtol=1e-9)


def test_arcs_lie_on_circles_orthogonal_to_the_rim():
    arc = geodesic_arc(points(200, seed=3), points(200, seed=4))
    # Such a circle with centre c meets |z|² + 1 = 2 z·c: two points give c, the others must agree.
    system, right = 2 * arc[:, [0, -1]], (arc[:, [0, -1]] ** 2).sum(axis=-1) + 1
    centre = np.linalg.solve(system, right[..., None])[..., 0]
    residual = (arc**2).sum(axis=-1) + 1 - 2 * (arc * centre[:, None]).sum(axis=-1)
    assert (np.abs(residual).max(axis=1) <= 1e-11 * (1 + np.linalg.norm(centre, axis=1))).all()


def test_geodesics_through_the_centre_are_straight_and_of_constant_speed():
    arc = geodesic_arc([0.6, 0.3], [-0.4, -0.2], count=11)
    np.testing.assert_allclose(arc, np.linspace([0.6, 0.3], [-0.4, -0.2], 11), atol=1e-15)
    assert (geodesic_arc([0.1, 0.2], [0.1, 0.2]) == [0.1, 0.2]).all()


def test_distance_agrees_with_the_hyperboloid():
    a, b = points(50, seed=5), points(50, seed=6)
    lift = [(1 + (x**2).sum(1), 2 * x, 1 - (x**2).sum(1)) for x in (a, b)]
    product = (lift[0][0] * lift[1][0] - (lift[0][1] * lift[1][1]).sum(1)) / (lift[0][2] * lift[1][2])
    np.testing.assert_allclose(disk_distance(a, b), np.arccosh(product), rtol=1e-8)


# The disk


def test_disk_draws_every_point_arc_group_and_name():
    labels = [f"name_{i}" for i in range(60)]
    edges = np.stack((np.arange(1, 60), np.zeros(59, dtype=int)), axis=1)
    groups = ["a"] * 30 + ["b"] * 20 + [None] * 10
    figure = poincare_disk(
        points(60), labels=labels, edges=edges, groups=groups, highlight=["name_3", 40, 3], title="Disk"
    )
    (ax,) = figure.axes
    (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert len(lines.get_segments()) == 59
    dots = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert sum(len(c.get_offsets()) for c in dots) == 60
    assert len({to_hex(c.get_facecolor()[0]) for c in dots if len(c.get_offsets())}) == 3
    assert sorted(t.get_text() for t in ax.texts) == ["name_3", "name_40"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a (30)", "b (20)", "other (10)"]
    assert ax.get_title() == "Disk"
    assert is_picture(figure)


def test_disk_takes_tensors_of_torch_and_any_axes():
    xy = torch.tensor(points(5), dtype=torch.float32, requires_grad=True)
    figure = Figure(figsize=(6, 3))
    left, right = figure.subplots(1, 2)
    edges, groups = torch.tensor([[1, 0], [2, 0]]), torch.tensor([0, 0, 1, 1, 2])
    assert poincare_disk(xy, edges=edges, groups=groups, highlight=torch.tensor([2]), ax=left) is figure
    assert poincare_disk(xy.bfloat16().float(), ax=right) is figure
    assert is_picture(figure)


def test_disk_of_nothing_and_of_one_point():
    assert is_picture(poincare_disk(np.zeros((0, 2)), labels=[], edges=[], groups=[]))
    assert is_picture(poincare_disk([[0, 0]], labels=["only"], highlight=[]))


def test_disk_is_quick_with_thousands_of_geodesics():
    edges = np.random.default_rng(0).integers(0, 1180, (6540, 2))
    poincare_disk(points(10), edges=[[0, 1]])  # the first picture loads fonts
    start = time.perf_counter()
    figure = poincare_disk(points(1180), labels=[str(i) for i in range(1180)], edges=edges)
    assert time.perf_counter() - start < 5  # 0.5 s on one free core
    assert len([c for c in figure.axes[0].collections if isinstance(c, LineCollection)]) == 1


def test_names_are_spread_and_limited_if_none_are_highlighted():
    figure = poincare_disk(points(300), labels=[f"n{i}" for i in range(300)], max_labels=12)
    assert 8 <= len(figure.axes[0].texts) <= 12


def test_names_never_overlap_and_stay_in_the_frame():
    rng = np.random.default_rng(0)
    anchors, sizes = rng.uniform(0, 300, (40, 2)), np.stack((rng.uniform(20, 90, 40), np.full(40, 10.0)), axis=1)
    frame = np.array([[0.0, 0.0], [300.0, 300.0]])
    centres, placed = place_labels(anchors, sizes, anchors, frame)
    assert placed.sum() >= 25
    low, high = (centres - sizes / 2)[placed], (centres + sizes / 2)[placed]
    assert ((low >= 0) & (high <= 300)).all()
    overlap = ((low[:, None] < high) & (low < high[:, None])).all(axis=-1)
    assert overlap.sum() == placed.sum(), "each overlaps itself only"


def test_groups_have_their_own_look_until_they_are_too_many():
    styles = group_styles([f"g{i}" for i in range(40)])
    assert len({(s.colour, s.marker) for s in styles}) == len(styles) == 29
    assert styles[-1].name is None
    assert sorted(np.concatenate([s.members for s in styles])) == list(range(40))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("points: expected shape", {"points": np.zeros((4, 3))}),
        ("points: expected shape", {"points": np.zeros((4, 4, 2))}),
        ("points: expected points inside the unit disk, got norm 1", {"points": [[0, 0], [1, 0], [0, 0], [0, 0]]}),
        ("points: expected finite numbers, got nan at index", {"points": [[0, 0], [0, 0], [np.nan, 0], [0, 0]]}),
        ("points: expected real numbers", {"points": [["a", "b"]] * 4}),
        ("points: expected an array", {"points": [[0, 0], [0]]}),
        ("labels: expected 4 items", {"labels": ["a"]}),
        ("labels: expected 4 items", {"labels": "abcd"}),
        ("groups: expected 4 items", {"groups": [1, 2]}),
        ("edges: expected integers of shape", {"edges": [[0.0, 1.0]]}),
        ("edges: expected integers of shape", {"edges": [[0, 1, 2]]}),
        ("edges: expected indices from 0 to 3, got 0 to 4", {"edges": [[0, 4]]}),
        ("highlight: expected names among labels, got 'x'", {"highlight": ["x"]}),
        ("highlight: expected names, or indices from 0 to 3", {"highlight": [4]}),
        ("highlight: expected names, or indices", {"highlight": [1.5]}),
        ("max_labels: expected an integer", {"max_labels": -1}),
    ],
)
def test_disk_refuses(message: str, change: dict):
    arguments = {"points": np.zeros((4, 2)), "labels": list("abcd"), **change}
    with pytest.raises(ValueError, match=message):
        poincare_disk(arguments.pop("points"), **arguments)


@pytest.mark.usefixtures("unchecked")
def test_geodesic_refuses():
    with pytest.raises(ValueError, match="count: expected"):
        geodesic_arc([0, 0], [0, 0.5], count=1)
    with pytest.raises(ValueError, match="b: expected a shape that broadcasts"):
        geodesic_arc(np.zeros((2, 2)), np.zeros((3, 2)))


# The heat map


def test_heatmap_shows_blocks_and_values():
    block = np.where(np.arange(8)[:, None] % 2 == np.arange(8) % 2, 0.3, 1.4) * (1 - np.eye(8))
    figure = angle_heatmap(block, [f"s{i}" for i in range(8)], title="Angles")
    ax, bar = figure.axes
    order = [int(t.get_text()[1:]) % 2 for t in ax.get_yticklabels()]
    assert order in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)
    assert sorted({t.get_text() for t in ax.texts}) == ["17", "80"]
    assert len(ax.texts) == 8 * 7
    assert bar.get_ylabel() == "angle (degrees)"
    assert is_picture(figure)


@pytest.mark.parametrize("count", [1, 2, 3, 30, 150])
def test_heatmap_of_any_size(count: int):
    figure = angle_heatmap(torch.tensor(angles(count)), [f"s{i}" for i in range(count)], unit="radians", order=None)
    assert (len(figure.axes[0].texts) > 0) == (count <= 24)
    assert figure.axes[0].get_yticklabels()[0].get_text() == "s0"
    assert is_picture(figure)


def test_cluster_order_is_a_permutation():
    assert sorted(cluster_order(angles(17))) == list(range(17))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("message", "matrix", "change"),
    [
        ("matrix: expected shape", np.zeros((3, 2)), {}),
        ("matrix: expected shape", np.zeros((0, 0)), {"labels": []}),
        ("matrix: expected angles from 0 to pi/2, got 0 to 40; convert degrees", 40 * (1 - np.eye(3)), {}),
        ("matrix: expected a symmetric matrix", np.triu(np.ones((3, 3)), 1), {}),
        ("matrix: expected finite numbers", np.full((3, 3), np.nan), {}),
        ("labels: expected 3 items", np.zeros((3, 3)), {"labels": ["a"]}),
        ("unit: expected", np.zeros((3, 3)), {"unit": "gradians"}),
        ("order: expected", np.zeros((3, 3)), {"order": "name"}),
    ],
)
def test_heatmap_refuses(message: str, matrix: np.ndarray, change: dict):
    arguments = {"labels": list("abc"), **change}
    with pytest.raises(ValueError, match=message):
        angle_heatmap(matrix, **arguments)


# Text in pictures


@pytest.mark.parametrize("text", HOSTILE)
def test_pictures_take_names_literally(text: str):
    names = [text, "_hidden", "$x^2$"]
    figures = [
        poincare_disk(points(3), labels=names, groups=names, title=text),
        angle_heatmap(angles(3), names, title=text),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for figure in figures:
            assert is_picture(figure)
    texts = [t for t in figures[0].axes[0].texts + figures[0].axes[0].get_legend().get_texts() if t.get_text()]
    assert not any(t.get_parse_math() or t.get_usetex() for t in texts)
    assert "$x^2$" in {t.get_text() for t in texts}
    assert all(len(t.get_text()) <= 40 for t in texts)


# Files


def test_equal_pictures_give_equal_bytes(tmp_path: Path):
    first, second = (save_picture(tmp_path / f"{i}.png", poincare_disk(points(9)), dpi=40) for i in range(2))
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(ValueError, match=r"path: expected a name that ends in \.png"):
        save_picture(tmp_path / "x.pdf", poincare_disk(points(9)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_atomically(tmp_path / "report.html", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(path, title="T", sections=[Section("H")])
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_bytes() == b"old"


def test_nothing_heavy_is_imported_for_a_report(tmp_path: Path):
    script = (
        "import sys; from hyperspectral_geo import plotting; plotting.write_report("
        f"{str(tmp_path / 'r.html')!r}, title='T', sections=[plotting.Section('H')]); "
        "print([n for n in ('torch', 'numpy', 'matplotlib') if n in sys.modules]); "
        "plotting.poincare_disk([[0.0, 0.0]]); print([n for n in ('torch', 'matplotlib.pyplot') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert result.stdout.split() == ["[]", "[]"], result.stdout + result.stderr


# The report


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.others: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def values(self, *names: str) -> list[str]:
        return [value or "" for _, attributes in self.tags for name, value in attributes.items() if name in names]


def report(path: Path, text: str) -> Page:
    table = Table((text, "b"), [(text, 1.5), (text, None)], note=text)
    section = Section(text, text, table, SMALL_PNG, alt=text)
    return Page(write_report(path, title=text, sections=[section] * 3, footer=text))


def test_report_keeps_hostile_text_as_text(tmp_path: Path):
    plain = report(tmp_path / "plain.html", "plain")
    for text in MORE_HOSTILE:
        page = report(tmp_path / "hostile.html", text)
        assert [(tag, list(a)) for tag, a in page.tags] == [(tag, list(a)) for tag, a in plain.tags]
        assert page.others == []
        assert all(value.startswith(("#", "data:image/png;base64,")) for value in page.values("src", "href"))
        shown = "".join(c if c >= " " or c in "\t\n" else "\ufffd" for c in text.replace("\r\n", "\n"))
        shown = shown.replace("\ud800", "\ufffd")
        assert "".join(page.text).count(shown.strip()) >= 10
        assert page.values("alt") == [shown] * 3


def test_report_is_closed_to_the_outside_and_open_to_readers(tmp_path: Path):
    page = report(tmp_path / "report.html", "plain")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": policy}) in page.tags
    assert "http:" not in source
    assert "https:" not in source
    assert "url(" not in source
    tags = [tag for tag, _ in page.tags]
    for landmark in ("header", "nav", "main", "section", "footer", "figure", "caption", "h1", "h2"):
        assert landmark in tags
    assert tags.count("h1") == tags.count("main") == 1
    targets = {value.removeprefix("#") for value in page.values("href", "aria-labelledby")}
    assert targets <= set(page.values("id"))
    assert len(page.values("id")) == len(set(page.values("id")))
    assert all(a["scope"] in ("col", "row") for tag, a in page.tags if tag == "th")


def test_numbers_are_aligned_and_keep_their_digits(tmp_path: Path):
    rows = [("hyperbolic", 1.2634, 1180, "87.3 %", True, 1e-7), ("Euclidean", 0.92749, None, "9 ± 2", False, 3.0)]
    table = Table(("run", "rank", "n", "share", "met", "p"), rows)
    page = Page(write_report(tmp_path / "r.html", title="T", sections=[Section("H", table=table)]))
    cells = [t for t in page.text if t.strip()]
    for text in ("1.263", "0.927", "1,180", "–", "87.3 %", "yes", "no", "1e−07", "3"):
        assert text in cells
    assert [tag for tag, a in page.tags if a.get("class") == "number"] == ["th"] * 4 + ["td"] * 8


@pytest.mark.parametrize("value", [np.float32(0.5), torch.tensor(0.5)])
def test_numbers_of_other_libraries_are_numbers(value: object, tmp_path: Path, unchecked: None):
    sections = [Section("H", table=Table(("x",), [(value,)]))]
    assert '<td class="number">0.500</td>' in write_report(tmp_path / "r", title="T", sections=sections).read_text()


def test_report_takes_pictures_from_files_and_empty_tables(tmp_path: Path):
    picture = save_picture(tmp_path / "p.png", angle_heatmap(angles(3), list("abc")), dpi=20)
    sections = [Section("H", "One.\n\nTwo.", Table(("a", "b"), []), picture, "words")]
    page = Page(write_report(tmp_path / "r.html", title="T", sections=sections))
    (image,) = [a for tag, a in page.tags if tag == "img"]
    assert int(image["width"] or 0) > 50
    assert [tag for tag, _ in page.tags].count("p") == 2


@pytest.mark.usefixtures("unchecked")
def test_report_refuses(tmp_path: Path):
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match="alt: expected words"):
        Section("H", picture=b"x")
    with pytest.raises(ValueError, match="heading: expected"):
        Section(" ")
    with pytest.raises(ValueError, match=r"rows\[1\]: expected 2 cells, one a column, got 1"):
        Table(("a", "b"), [(1, 2), (1,)])
    with pytest.raises(ValueError, match="columns: expected"):
        Table((), [])
    with pytest.raises(ValueError, match="title: expected"):
        write_report(path, title="", sections=[Section("H")])
    with pytest.raises(ValueError, match="sections: expected"):
        write_report(path, title="T", sections=[])
    with pytest.raises(ValueError, match="picture: expected a PNG"):
        write_report(path, title="T", sections=[Section("H", picture=b"GIF89a" * 10, alt="x")])
    with pytest.raises(FileNotFoundError):
        write_report(path, title="T", sections=[Section("H", picture=tmp_path / "none.png", alt="x")])
    assert list(tmp_path.iterdir()) == []

"""The demo from end to end: what it writes, that its figures are plausible, and that failure leaves nothing behind."""

from __future__ import annotations

import io
import json
import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from hyperspectral_geo.benchmarks import demo, demo_concepts, demo_mammals, demo_retrieval
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.cli import main
from hyperspectral_geo.data import load_emoji

SEED = 2
FILES = ["angles.png", "mammals.png", "report.html", "report.json"]


class Demo(NamedTuple):
    """One run: its folder, what it returned, and what it printed."""

    out: Path
    report: dict[str, Any]
    printed: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, into a folder that has an older report and a file of somebody else.

    Its mammals train for a fifth of their steps: test_reconstruction.py trains them to the end.
    """
    out = tmp_path_factory.mktemp("demo") / "two" / "folders"
    out.mkdir(parents=True)
    (out / "report.json").write_text("old")
    (out / "notes.txt").write_text("mine")
    console = Console(file=io.StringIO(), width=120)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_mammals, "STEPS", {5: 600, 2: 300})
        report = demo.run(out, seed=SEED, console=console)
    assert torch.get_num_threads() == threads
    return Demo(out, report, console.file.getvalue())


# What is written


def test_the_four_files_are_written_and_others_kept(run: Demo):
    assert sorted(path.name for path in run.out.iterdir()) == sorted([*FILES, "notes.txt"])
    assert (run.out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["angles.png", "mammals.png"])
def test_pictures_are_pictures(run: Demo, name: str):
    content = (run.out / name).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", content[16:24])) >= 600
    assert content[-8:-4] == b"IEND"


def test_the_file_holds_what_is_returned(run: Demo):
    text = (run.out / "report.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) == run.report
    assert list(run.report) == ["seed", "mammals", "concepts", "retrieval", "environment", "seconds"]
    assert run.report["seed"] == SEED
    assert 0 < run.report["seconds"] < 600
    assert {"Python", "torch", "numpy", "torch threads"} <= run.report["environment"].keys()


class Page(HTMLParser):
    """Elements, their attributes and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(run: Demo) -> Page:
    parsed = Page()
    parsed.feed((run.out / "report.html").read_text(encoding="utf-8"))
    return parsed


def test_the_page_runs_and_fetches_nothing(page: Page):
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                assert value is not None
                assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:40])
    styles = "".join(page.text)
    assert "@import" not in styles
    assert "url(" not in styles
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert "default-src 'none'" in str(policy[0])


def test_the_page_shows_both_pictures_and_all_tables(run: Demo, page: Page):
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 2
    assert all(len(picture["alt"] or "") > 20 for picture in pictures)
    assert sum(tag == "table" for tag, _ in page.elements) == 3
    shown = " ".join("".join(page.text).split())
    for method in (*run.report["concepts"]["accuracy by split"], "hyperbolic, d = 5", "unseen groups", "chance"):
        assert method in shown, method
    assert f"seed {SEED}" in shown


def test_what_is_printed_are_the_figures_of_the_report(run: Demo):
    mammals = run.report["mammals"]
    for name in ("hyperbolic, d = 5", "Euclidean, d = 5", "published"):
        for figure in mammals[name].values():
            assert f"{figure:.3f}" in run.printed, (name, figure)
    for scores in run.report["concepts"]["accuracy by split"].values():
        assert f"{sum(scores) / len(scores):.3f}" in run.printed
    for split in ("random", "unseen groups"):
        for k in (1, 5, 10):
            assert f"{run.report['retrieval'][split][f'R@{k}']:.3f}" in run.printed
    for part in ("mammals, hyperbolic, d = 5", "picture groups, merged", "pictures aligned with captions", "wrote"):
        assert part in run.printed


# What it says


def test_mammals(run: Demo):
    mammals = run.report["mammals"]
    assert (mammals["concepts"], mammals["closure edges"]) == (1180, 6540)
    assert mammals["published"] == {"mean_rank": 1.26, "mean_average_precision": 0.927}
    hyperbolic, euclidean = mammals["hyperbolic, d = 5"], mammals["Euclidean, d = 5"]
    # A fifth of the steps: short of the bar of 1.26 and .95, which the whole recipe reaches in test_reconstruction.py
    assert 1 <= hyperbolic["mean_rank"] <= 3
    assert 0.75 <= hyperbolic["mean_average_precision"] <= 1
    assert euclidean["mean_rank"] > 5 * hyperbolic["mean_rank"]
    assert 0 < euclidean["mean_average_precision"] < hyperbolic["mean_average_precision"]


def test_picture_groups(run: Demo):
    concepts = run.report["concepts"]
    names = concepts["groups"]
    assert len(names) == len(set(names)) >= 20
    assert names == sorted(names)
    assert "country-flag" not in names
    emoji = load_emoji()
    pictures = {(g, tuple(row)) for g, row in zip(emoji.subcategories, emoji.image.tolist(), strict=True) if g in names}
    assert concepts["pictures"] == len(pictures), "pictures that are drawn alike count once"
    splits = concepts["accuracy by split"]
    assert len(splits) == 5
    mean = {}
    for method, accuracies in splits.items():
        assert len(accuracies) == demo_concepts.SPLITS == 5
        assert len(set(accuracies)) > 1, "every split is a measurement of its own"
        assert all(10 / len(names) < accuracy < 1 for accuracy in accuracies), method
        mean[method] = sum(accuracies) / 5
    # The merge of 30 concepts of rank 8 keeps 64 of 240 directions and nearly all of the accuracy.
    assert mean["merged on the Grassmannian"] > 0.85 * mean["concepts unmerged, one basis each"]
    assert mean["merged, eigenvalues re-weighted"] > mean["merged on the Grassmannian"] - 0.02


def test_retrieval(run: Demo):
    retrieval = run.report["retrieval"]
    assert retrieval["pairs"] == len(load_emoji().labels)
    for split in ("random", "unseen groups"):
        scores = retrieval[split]
        assert scores["chance"] == pytest.approx(1 / retrieval["held out"])
        assert scores["R@1"] <= scores["R@5"] <= scores["R@10"] <= 1
        for k in (1, 5, 10):
            assert scores[f"R@{k}"] >= 5 * k * scores["chance"], (split, k)
    assert retrieval["random"]["R@10"] > retrieval["unseen groups"]["R@10"]


def test_no_group_is_in_training_and_test():
    groups = load_emoji().subcategories
    test, train = demo_retrieval._by_groups(groups, torch.Generator().manual_seed(SEED))
    assert len(test) == len(set(test.tolist())) == demo_retrieval.TEST
    assert not {groups[i] for i in test} & {groups[i] for i in train}
    again = demo_retrieval._by_groups(groups, torch.Generator().manual_seed(SEED))
    assert torch.equal(test, again[0])
    assert torch.equal(train, again[1])
    assert not torch.equal(test, demo_retrieval._by_groups(groups, torch.Generator().manual_seed(SEED + 1))[0])


def test_split_leaves_no_picture_out_and_none_in_both():
    labels = torch.tensor([0] * 10 + [1] * 23 + [2] * 20)
    train, test = demo_concepts._stratified(labels, 0.7, torch.Generator().manual_seed(0))
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(53))
    assert torch.bincount(labels[train]).tolist() == [7, 16, 14]


@pytest.mark.parametrize("seed", [1, 7])
def test_every_seed_gives_folds_with_bases_of_full_rank(seed: int, monkeypatch: pytest.MonkeyPatch):
    # Groups of pictures drawn alike once had too low a rank at two seeds of three.
    def only_the_bases(space, folds):
        assert all(basis.p == demo_concepts.RANK for fold in folds for basis in fold.bases)
        return space

    monkeypatch.setattr(demo_concepts, "reweight", only_the_bases)
    monkeypatch.setattr(demo_concepts, "SPLITS", 2)
    demo_concepts.measure_concepts(seed, Progress(disable=True))


def test_folds_are_scored_by_bases_that_have_not_seen_them():
    generator = torch.Generator().manual_seed(0)
    names, y = ("a", "b"), torch.arange(60) % 2
    x = torch.randn(60, 16, generator=generator, dtype=torch.float64)
    folds = demo_concepts._folds(x, y, names, generator)
    assert sorted(row for fold in folds for row in fold.x[:, 0].tolist()) == sorted(x[:, 0].tolist())
    for fold in folds:
        assert len(fold.x) == 20
        seen = set(x[:, 0].tolist()) - set(fold.x[:, 0].tolist())
        rest = torch.tensor([value in seen for value in x[:, 0].tolist()])
        expected = demo_concepts._concept_bases(x[rest], y[rest], names)
        for basis, other in zip(fold.bases, expected, strict=True):
            torch.testing.assert_close(basis.basis @ basis.basis.mT, other.basis @ other.basis.mT)


# The same seed, the same figures


def test_first_split_of_the_pictures_is_found_again(run: Demo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_concepts, "SPLITS", 1)
    with one_thread():
        again = demo_concepts.measure_concepts(SEED, Progress(disable=True)).accuracies
    first = {method: accuracies[:1] for method, accuracies in run.report["concepts"]["accuracy by split"].items()}
    assert again == first


def test_mammals_are_found_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_mammals, "STEPS", {5: 12, 2: 12})
    first, again, other = (
        demo_mammals.measure_mammals(seed, Progress(disable=True)).figures() for seed in (SEED, SEED, SEED + 1)
    )
    assert first == again
    assert first != other


# When it cannot be done


def refused(monkeypatch: pytest.MonkeyPatch, out: Path) -> int:
    monkeypatch.setattr(demo, "measure_mammals", lambda *_: pytest.fail("computed before the folder was looked at"))
    monkeypatch.setattr(sys, "argv", ["hsgeo", "demo", "--out", str(out)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize("below", ["", "folder", "folder/deeper"])
def test_a_file_in_the_place_of_the_folder_is_refused_at_once(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "taken"
    file.write_text("mine")
    assert refused(monkeypatch, file / below) == 2
    said = re.sub(r"\W", "", capsys.readouterr().err)  # typer wraps it in a box
    assert "taken" in said
    assert "out" in said
    assert "Traceback" not in said
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_nothing_is_left_behind_when_computing_stops(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stop(*_) -> None:
        raise error

    monkeypatch.setattr(demo_mammals, "STEPS", {5: 2, 2: 2})
    monkeypatch.setattr(demo, "measure_concepts", stop)
    threads = torch.get_num_threads()
    with pytest.raises(error):
        demo.run(tmp_path / "out", console=Console(file=io.StringIO()))
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads

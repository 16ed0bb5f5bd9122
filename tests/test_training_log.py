"""What a run leaves beside its model: TensorBoard's events and warnings; what is said of what is not known."""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hop_cases import SMALL, tree
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, HopRegression, Objective, fit
from hyperspectral_geo.hyperbolic.objective import PreparedObjective
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters
from hyperspectral_geo.hyperbolic.similar_names import similar_names
from hyperspectral_geo.hyperbolic.training_log import TrainingLog

OPTIONS = {"dim": 2, "steps": 60, "objective": HopRegression(block=8)}


def events(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars by name and step, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder), purge_orphaned_data=True)
    shown.Reload()
    return {name: {event.step: event.value for event in shown.Scalars(name)} for name in shown.Tags()["scalars"]}


def test_tensorboard_is_told_what_the_progress_is(tmp_path: Path):
    told: dict[int, float] = {}
    fit(tree(), tensorboard=tmp_path / "events", progress=told.__setitem__, **OPTIONS)
    found = events(tmp_path / "events")
    assert set(found) == {"loss", "skipped", "pairs"}
    assert found["loss"] == pytest.approx(told)
    assert found["pairs"] == {step: 64 * step for step in range(10, 61, 10)}
    assert set(found["skipped"].values()) == {0}


def test_a_resumed_run_goes_on_with_the_events(tmp_path: Path):
    def stop(step: int, loss: float) -> None:
        if step == 50:
            raise InterruptedError

    kept = {"checkpoint": tmp_path / "kept", "every": 20, "tensorboard": tmp_path / "events"}
    with pytest.raises(InterruptedError):
        fit(tree(), progress=stop, **kept, **OPTIONS)
    told: dict[int, float] = {}
    fit(tree(), resume=True, progress=told.__setitem__, **kept, **OPTIONS)
    assert list(told) == [50, 60]  # taken up at step 40
    found = events(tmp_path / "events")
    assert sorted(found["loss"]) == [10, 20, 30, 40, 50, 60]
    assert found["loss"][60] == pytest.approx(told[60])


def test_without_tensorboard_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    told: list[int] = []
    with pytest.raises(ImportError, match=r"^tensorboard: expected .+, got .+; pip install 'hyperspectral-geo\[tens"):
        fit(tree(), tensorboard=tmp_path / "events", progress=lambda step, loss: told.append(step), **OPTIONS)
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_events(hsgeo, tmp_path: Path):
    out, folder = tmp_path / "m.safetensors", tmp_path / "events"
    links = tmp_path / "links.tsv"
    links.write_text("a\tb\nb\tc\nc\ta\n")
    assert hsgeo("hops", "train", links, "-o", out, "--steps", 20, "--dim", 2, "--tensorboard", folder) == 0
    assert sorted(events(folder)["loss"]) == [10, 20]


# Skipped steps


@dataclass(frozen=True)
class Failing(Objective, PreparedObjective):
    """A loss that is not finite at some draws."""

    share: float

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        return self

    def form(self, graph: HopGraph) -> dict:
        return {"spread": 0.1, "scale": 1.0, "learning_rate": 0.1}

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        bad = float(torch.rand((), generator=generator)) < self.share
        return math.nan if bad else 1.0, {"tangents": Gradient(torch.tensor([0]), torch.ones(1, 2))}


def test_skipped_steps_are_warned_of_once_at_the_end():
    with pytest.warns(RuntimeWarning, match=r"^\d+ of 60 steps were skipped: .* not finite; lower learning_rate or"):
        fit(tree(2), dim=2, steps=60, objective=Failing(0.3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(tree(2), dim=2, steps=60, objective=Failing(0.0))


def test_the_number_of_threads_belongs_to_a_run(tmp_path: Path):
    kept = {"checkpoint": tmp_path / "kept", **OPTIONS}
    fit(tree(), **kept)
    with pytest.raises(ValueError, match="another graph, objective or setting"):
        fit(tree(), resume=True, threads=2, **kept)


# Judging says what it does not know


@pytest.mark.parametrize(("links", "quadruples"), [("a\tb\nc\td\ne\tf\n", 0), ("a\tb\nb\tc\nc\td\nd\te\n", 5)])
def test_hyperbolicity_without_quadruples_is_said_to_be_unknown(hsgeo, tmp_path: Path, capsys, links: str, quadruples):
    file, out = tmp_path / "links.tsv", tmp_path / "m.safetensors"
    file.write_text(links)
    assert hsgeo("hops", "train", file, "-o", out, "--steps", 20, "--dim", 2, "--undirected") == 0
    assert hsgeo("hops", "eval", out, file, "--undirected") == 0
    said = capsys.readouterr()
    assert ("hyperbolicity: not known, no four concepts" in said.err) == (quadruples == 0)
    assert f"quadruples               {quadruples}\n" in said.out


def test_another_error_of_the_hyperbolicity_is_not_hidden(hsgeo, tmp_path: Path, capsys, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ValueError("distances: expected something else, got this")

    monkeypatch.setattr("hyperspectral_geo.hyperbolic.hyperbolicity.gromov_delta", broken)
    file, out = tmp_path / "links.tsv", tmp_path / "m.safetensors"
    file.write_text("a\tb\nb\tc\nc\td\n")
    assert hsgeo("hops", "train", file, "-o", out, "--steps", 20, "--dim", 2) == 0
    assert hsgeo("hops", "eval", out, file) == 2
    assert "expected something else" in capsys.readouterr().err


# A log killed inside its first line


@pytest.mark.parametrize("text", ["", "{", '{"st', '{"step": ', '{"step": 10, "loss": 2.'])
@pytest.mark.parametrize("after", [0, 20])
def test_a_log_cut_short_in_its_first_line_is_begun_again(tmp_path: Path, text: str, after: int):
    (tmp_path / "log").write_text(text)
    TrainingLog(tmp_path / "log", after=after)
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize("text", ["hello", '{"steps": 1', "{}", '{"step": x}\n', "[", '{"loss": 1.0'])
def test_one_line_of_another_file_is_refused_and_stays(tmp_path: Path, text: str):
    (tmp_path / "log").write_text(text)
    with pytest.raises(ValueError, match="log, line 1: expected a line of a training log"):
        TrainingLog(tmp_path / "log")
    assert (tmp_path / "log").read_text() == text


# Similar names

NAMES = [
    *("Germany", "German", "Yeast", "Beer", "Hops", "Straße", "New York City"),
    *(f"town {i}" for i in range(20_000)),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Germani", ["German", "Germany"]),
        ("germany", ["Germany"]),
        ("Yeest", ["Yeast"]),
        ("Beeer", ["Beer"]),
        ("Hosp", ["Hops"]),
        ("eer", ["Beer"]),
        ("twn 19876", ["town 19876"]),
        ("town 1987x", ["town 1987"]),
        ("town19876", ["town 19876"]),
        ("BEER", ["Beer"]),
        ("tOWN_19876", ["town 19876"]),
        ("Strasse", ["Straße"]),
        ("new_york_citty", ["New York City"]),
    ],
)
def test_the_name_that_was_meant_comes_first(name: str, expected: list[str]):
    assert similar_names(name, NAMES)[: len(expected)] == expected
    if expected[0] in NAMES[:7]:
        assert similar_names(name, NAMES[:7])[: len(expected)] == expected  # all of few names are compared


@pytest.mark.parametrize("name", ["", "x", "zzzzzz", "\n", "☃" * 500])
def test_nothing_similar_is_an_empty_answer(name: str):
    assert similar_names(name, NAMES) == []
    assert similar_names(name, []) == []


@given(st.text(min_size=4, max_size=30), st.data())
def test_one_slip_of_the_pen_is_found(name: str, data):
    at = data.draw(st.integers(0, len(name) - 1))
    wrong = data.draw(st.sampled_from([name[:at] + name[at + 1 :], name[:at] + "§" + name[at + 1 :], name + "§"]))
    assert name in similar_names(wrong, ["Beer", name, "Hops"])


def test_a_million_names_are_no_burden():
    import time

    graph = SMALL["chain"]
    model = fit(graph, dim=2, steps=2)
    names = tuple(f"page {i}" for i in range(300_000))
    large = HopEmbedding(names, model.tangents[:1].expand(len(names), 2))
    start = time.process_time()
    with pytest.raises(ValueError, match="'pgae 123456' is not one of the 300000 concepts; similar: page 123456,"):
        large.index("pgae 123456")
    assert time.process_time() - start < 0.5  # difflib alone takes some seconds

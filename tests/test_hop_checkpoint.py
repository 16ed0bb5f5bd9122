"""Checkpoints: resumed runs are the same bit by bit, damage falls back to the one before, other runs are refused."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hop_cases import SMALL, tree
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hyperspectral_geo.hyperbolic import HopEmbedding, HopRegression, LinkSoftmax, checkpoint, fit
from hyperspectral_geo.hyperbolic.training_run import Training

GRAPH = tree(3)
OBJECTIVES = {
    "hops": HopRegression(block=4),
    "links": LinkSoftmax(sources=4, negatives=3),
    "mixed": [(0.5, HopRegression(block=4)), (2.0, LinkSoftmax(sources=4, negatives=3))],
}
STEPS = 24


def run(folder: Path, name: str = "hops", **given) -> HopEmbedding:
    options = {"dim": 2, "steps": STEPS, "objective": OBJECTIVES[name], "every": 1000, "graph": GRAPH, **given}
    return fit(options.pop("graph"), checkpoint=folder / "kept", log=folder / "log", **options)


def same(a: HopEmbedding, b: HopEmbedding) -> bool:
    tables = [(getattr(a, name), getattr(b, name)) for name in ("tangents", "targets", "outgoing", "incoming")]
    if a.readout is not None and b.readout is not None:
        tables += [(a.readout.thresholds, b.readout.thresholds), (a.readout.log_slopes, b.readout.log_slopes)]
    assert (a.readout is None) == (b.readout is None)
    alike = [(x is None and y is None) or (x.dtype == y.dtype and torch.equal(x, y)) for x, y in tables]
    return a.scale == b.scale and all(alike)


def logged(folder: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return [(line["step"], line["loss"], line["skipped"]) for line in lines]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "kept").iterdir())


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs until a signal comes in the middle of a step."""
    plain = Training.advance

    def stop(step: int, folder: Path, *arguments, number: int = signal.SIGTERM, **given) -> None:
        def advance(self: Training) -> float:
            if self.taken == step - 1:
                signal.raise_signal(number)
            return plain(self)

        monkeypatch.setattr(Training, "advance", advance)
        with pytest.raises(SystemExit if number == signal.SIGTERM else KeyboardInterrupt) as caught:
            run(folder, *arguments, **given)
        assert number == signal.SIGINT or caught.value.code == 143
        monkeypatch.setattr(Training, "advance", plain)

    return stop


# There and back


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[HopEmbedding, list]]:
    """Runs that nothing stopped: model and log."""
    found = {}
    for name in OBJECTIVES:
        folder = tmp_path_factory.mktemp(name)
        found[name] = (run(folder, name), logged(folder))
    return found


RESUMED = [("mixed", step) for step in (*range(1, 20), 23, 24)]
RESUMED += [(name, step) for name in ("hops", "links") for step in (1, 10, 17, 24)]


@pytest.mark.parametrize(("objective", "step"), RESUMED)
def test_a_resumed_run_is_the_straight_one_bit_by_bit(tmp_path: Path, straight, stopped_at, objective: str, step: int):
    stopped_at(step, tmp_path, objective, number=signal.SIGINT if step % 3 else signal.SIGTERM)
    assert files(tmp_path) == [f"step-{step:09d}.safetensors"]
    model = run(tmp_path, objective, resume=True)
    assert same(model, straight[objective][0])
    assert logged(tmp_path) == straight[objective][1]
    assert same(run(tmp_path, objective, resume=True), model)  # there is nothing left to do


def test_checkpoints_and_logs_do_not_change_the_result(tmp_path: Path, straight):
    assert same(fit(GRAPH, dim=2, steps=STEPS, objective=OBJECTIVES["hops"]), straight["hops"][0])
    assert same(run(tmp_path, every=1, resume=True), straight["hops"][0])
    assert files(tmp_path) == ["step-000000023.safetensors", "step-000000024.safetensors"]


def test_a_run_is_resumed_across_the_change_to_float64(tmp_path: Path, stopped_at):
    given = {"graph": SMALL["chain"], "steps": 150, "scale": 0.1, "learning_rate": 1.0, "scalars": False}
    whole = fit(
        SMALL["chain"], dim=2, objective=OBJECTIVES["hops"], steps=150, scale=0.1, learning_rate=1.0, scalars=False
    )
    assert whole.tangents.dtype == torch.float64
    for step in (99, 100, 140):
        folder = tmp_path / str(step)
        folder.mkdir()
        stopped_at(step, folder, **given)
        kind = load_file(folder / "kept" / files(folder)[0])["parameter.tangents"].dtype
        assert kind == (torch.float32 if step < 100 else torch.float64)
        assert same(run(folder, resume=True, **given), whole)


@pytest.mark.filterwarnings("ignore:4 of 24 steps were skipped:RuntimeWarning")
def test_skipped_steps_are_counted_across_a_resumption(tmp_path: Path, stopped_at, monkeypatch: pytest.MonkeyPatch):
    sampled = Training._sampled

    def now_and_then(self: Training, step: int):
        loss, gradients = sampled(self, step)
        return (float("nan") if step in (3, 4, 12, 21) else loss), gradients

    monkeypatch.setattr(Training, "_sampled", now_and_then)
    whole = fit(GRAPH, dim=2, steps=STEPS, objective=OBJECTIVES["hops"])
    stopped_at(14, tmp_path)
    assert same(run(tmp_path, resume=True), whole)
    assert [skipped for _, _, skipped in logged(tmp_path)] == [2, 3]


# Damage


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(folder, every=16)
    return folder


@pytest.fixture
def used(tmp_path: Path, finished: Path) -> Path:
    """A folder with checkpoints of steps 16 and 24 of a finished run."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    assert files(tmp_path) == ["step-000000016.safetensors", "step-000000024.safetensors"]
    return tmp_path


class _Planted:
    def __reduce__(self):
        return (Path.touch, (Path("planted"),))


def rewritten(path: Path, *, tensors: dict | None = None, **numbers) -> None:
    """The checkpoint with other tensors (None: without) or numbers."""
    with safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["hyperspectral_geo"])
    changed = {**load_file(path), **(tensors or {})}
    text = json.dumps({**record, **numbers})
    save_file({k: t for k, t in changed.items() if t is not None}, path, metadata={"hyperspectral_geo": text})


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "cut in the header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(_Planted())),
    "torch.save": lambda path: torch.save(_Planted(), path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "another format": lambda path: rewritten(path, format="hop training 0"),
    "of another run": lambda path: rewritten(path, run="0" * 64),
    "a parameter missing": lambda path: rewritten(path, tensors={"parameter.tangents": None}),
    "a parameter of another shape": lambda path: rewritten(path, tensors={"parameter.tangents": torch.zeros(3, 2)}),
    "a parameter of whole numbers": lambda path: rewritten(
        path, tensors={"parameter.tangents": torch.zeros(7, 2, dtype=torch.int64)}
    ),
    "a moment missing": lambda path: rewritten(path, tensors={"second.tangents": None}),
    "a moment of another shape": lambda path: rewritten(path, tensors={"first.tangents": torch.zeros(7, 3)}),
    "a moment of another kind": lambda path: rewritten(path, tensors={"first.tangents": torch.zeros(7, 2).double()}),
    "counts of another kind": lambda path: rewritten(path, tensors={"met.tangents": torch.zeros(7)}),
    "steps a text": lambda path: rewritten(path, taken="24"),
    "steps a list": lambda path: rewritten(path, taken=[24]),
    "steps negative": lambda path: rewritten(path, taken=-1),
    "steps beyond": lambda path: rewritten(path, taken=25),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_falls_back_to_the_checkpoint_before(used: Path, straight, damage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(used)
    latest = used / "kept" / "step-000000024.safetensors"
    damage(latest)
    latest.rename(latest.with_name("step-000000025.safetensors"))
    assert same(run(used, resume=True), straight["hops"][0])
    assert logged(used) == straight["hops"][1]
    assert not (used / "planted").exists()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_folder_without_a_whole_checkpoint_is_refused(used: Path, damage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(used)
    before = logged(used)
    for path in (used / "kept").iterdir():
        damage(path)
    with pytest.raises(
        ValueError, match=r"^checkpoint: expected one of 2 files to be readable, got .*step-0000000|belongs to another"
    ):
        run(used, resume=True)
    assert logged(used) == before
    assert not (used / "planted").exists()


OTHERS = {
    "graph": {"graph": tree(2)},
    "dim": {"dim": 3},
    "geometry": {"geometry": "euclidean"},
    "steps": {"steps": STEPS + 1},
    "seed": {"seed": 1},
    "rate": {"learning_rate": 0.02},
    "dtype": {"dtype": torch.float64},
    "read-out": {"readout": 0},
    "scale": {"scale": 2.0},
    "objective": {"objective": LinkSoftmax()},
    "objective's numbers": {"objective": HopRegression(block=5)},
    "objective's table": {"objective": HopRegression(block=4, hops=torch.ones(7, 7))},
    "held-out pairs": {"objective": HopRegression(block=4, held=lambda s, t: s[:, None] == t)},
    "weights": {"objective": [(2.0, HopRegression(block=4))]},
}


@pytest.mark.parametrize("given", OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_another_run_is_refused_and_stays(used: Path, given: dict):
    contents = {path.name: path.read_bytes() for path in (used / "kept").iterdir()}
    with pytest.raises(ValueError, match="it belongs to another graph, objective or setting; pass another"):
        run(used, resume=True, **given)
    assert {path.name: path.read_bytes() for path in (used / "kept").iterdir()} == contents


def test_the_fingerprint_tells_kinds_of_number_apart():
    tables = (torch.ones(7, 7), torch.ones(7, 7).view(torch.int32), torch.ones(7, 7))
    found = [checkpoint.fingerprint(GRAPH, [(1.0, HopRegression(hops=table))], {}) for table in tables]
    assert found[0] == found[2] != found[1]


def test_a_used_folder_is_not_written_over(used: Path):
    with pytest.raises(
        ValueError, match="^checkpoint: .* holds step-000000024.safetensors of an earlier run; resume it"
    ):
        run(used)
    assert len(logged(used)) == 2


def test_other_files_in_the_folder_stay_and_temporary_ones_go(used: Path):
    for name in ("step-1.safetensors", "notes.txt", ".notes.tmp", ".step-000000031.safetensors.0123456789ab.tmp"):
        (used / "kept" / name).write_text("x")
    (used / "kept" / "step-000000024.safetensors").unlink()
    run(used, resume=True)
    assert files(used) == [
        ".notes.tmp",
        "notes.txt",
        *(f"step-{s:09d}.safetensors" for s in (16, 24)),
        "step-1.safetensors",
    ]


@pytest.mark.parametrize("kind", ["a file there", "below a file", "not writable"])
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("x")
    place = {"a file there": tmp_path / "file", "below a file": tmp_path / "file" / "kept"}.get(kind, tmp_path / "kept")
    if kind == "not writable":

        def refused(*arguments: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("os.open", refused)
    with pytest.raises(OSError):
        fit(GRAPH, dim=2, steps=5, checkpoint=place)
    assert (tmp_path / "file").read_text() == "x"


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path: Path, straight, monkeypatch: pytest.MonkeyPatch):
    write, calls = checkpoint.write_atomically, []

    def full(path: Path, payload: bytes) -> Path:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return write(path, payload)

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, every=10)
    assert files(tmp_path) == ["step-000000010.safetensors", "step-000000020.safetensors"]
    assert same(run(tmp_path, every=10, resume=True), straight["hops"][0])

"""Killed while it saves, told to stop, resumed with a log of before: whatever ends a run, it can be taken up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hop_cases import tree

from hyperspectral_geo.hyperbolic import HopGraph, HopRegression, fit
from hyperspectral_geo.hyperbolic.training_log import TrainingLog
from hyperspectral_geo.hyperbolic.waiting_signals import waiting_signals

# One process imports torch; its children save as fast as they can and are killed at random moments.
KILLED_WHILE_SAVING = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from hyperspectral_geo.hyperbolic.checkpoint import Checkpoints
from hyperspectral_geo.hyperbolic.parameters import HopParameters
from hyperspectral_geo.hyperbolic.training_run import Training

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
random.seed(0)

def fresh():
    parameters = HopParameters("euclidean", {"tangents": torch.zeros(20_000, 10)}, {"log_scale": torch.zeros(())})
    return Training([], parameters, steps=10**9, rate=1.0, seed=0)

def taken_up():
    training, kept = fresh(), Checkpoints(folder, "run")
    kept.take_up(training, resume=True)
    return training, kept

def save_once_more(training, kept):
    training.taken += 1
    for tensor in training.parameters.all().values():
        tensor.fill_(training.taken)
    kept.save(training)

start = time.perf_counter()
save_once_more(*taken_up())
duration, caught, latest = time.perf_counter() - start, 0, 1
for kill in range(kills):
    waiting, ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            state = taken_up()
            os.write(ready, b"!")
            while True:
                save_once_more(*state)
        finally:
            os._exit(1)
    os.close(ready)
    assert os.read(waiting, 1) == b"!", "the child could not take up the checkpoints"
    os.close(waiting)
    time.sleep(random.uniform(0, 3 * duration))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    caught += any(folder.glob(".*.tmp"))
    files = sorted(path.name for path in folder.glob("step-*"))
    training, kept = taken_up()
    values = {float(v) for t in training.parameters.all().values() for v in t.unique()}
    assert values == {float(training.taken)}, (values, training.taken)
    assert training.taken == int(files[-1][5:14]) >= latest, (files, training.taken, latest)
    latest = training.taken
save_once_more(training, kept)
assert len(list(folder.iterdir())) == 2, list(folder.iterdir())
print(json.dumps({"caught": caught, "latest": latest}))
"""


def killed_while_saving(folder: Path, kills: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(folder), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["latest"] >= kills / 5  # the children did save
    assert found["caught"] >= kills / 10  # and were killed in the middle of it


def test_fifty_kills_during_a_save(tmp_path: Path):
    killed_while_saving(tmp_path, 50)


@pytest.mark.slow
def test_two_hundred_kills_during_a_save(tmp_path: Path):
    killed_while_saving(tmp_path, 200)


# Signals

TRAINED = """
import sys
from hyperspectral_geo.hyperbolic import HopGraph, HopRegression, fit
graph = HopGraph.from_edges([(i, i + 1) for i in range(6)])
options = {"dim": 2, "steps": 10**6, "every": 10**6, "objective": HopRegression()}
told = lambda step, loss: print(step, flush=True)
fit(graph, checkpoint=sys.argv[1], log=sys.argv[2], progress=told, **options)
"""


def test_a_training_process_saves_and_ends_when_it_is_told_to(tmp_path: Path):
    runs = {}
    for number in (signal.SIGINT, signal.SIGTERM):  # both at a time: most of it is waiting for imports
        folder = tmp_path / number.name
        folder.mkdir()
        command = [sys.executable, "-c", TRAINED, str(folder / "kept"), str(folder / "log")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        runs[number] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
    for number, process in runs.items():
        assert process.stdout is not None
        assert process.stdout.readline() == "10\n"
        process.send_signal(number)
        process.stdout.read()
        code = process.wait(timeout=60)
        assert (code if code >= 0 else 128 - code) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        folder = tmp_path / number.name
        (kept,) = (folder / "kept").iterdir()
        taken = int(kept.name[5:14])
        assert taken >= 10
        resumed = []

        def stop(step: int, loss: float, resumed: list = resumed) -> None:
            resumed.append(step)
            raise InterruptedError

        graph = HopGraph.from_edges([(i, i + 1) for i in range(6)])
        options = {"dim": 2, "steps": 10**6, "every": 10**6, "objective": HopRegression()}
        with pytest.raises(InterruptedError):
            fit(graph, checkpoint=folder / "kept", log=folder / "log", resume=True, progress=stop, **options)
        assert resumed == [10 * (taken // 10) + 10]
        lines = [json.loads(line)["step"] for line in (folder / "log").read_text().splitlines()]
        assert lines == list(range(10, resumed[0] + 1, 10))


def handlers() -> tuple:
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_waits_for_the_end_of_the_block_and_a_second_does_not(number: int, error: type[BaseException]):
    before, passed = handlers(), []
    other = signal.SIGTERM if number == signal.SIGINT else signal.SIGINT

    def raising(*numbers: int) -> None:
        with waiting_signals() as arrived:
            assert not arrived()
            for one in numbers:
                signal.raise_signal(one)
                assert arrived()
            passed.append(numbers)

    for numbers in ((number,), (other, number)):
        with pytest.raises(error):
            raising(*numbers)
        assert handlers() == before
    assert passed == [(number,)]


def test_without_a_signal_nothing_happens():
    before = handlers()
    with waiting_signals() as arrived:
        assert handlers() != before
        assert not arrived()
    with waiting_signals(enabled=False) as arrived:
        assert handlers() == before
    with pytest.raises(ZeroDivisionError), waiting_signals():
        raise ZeroDivisionError
    assert handlers() == before


def test_outside_the_main_thread_a_run_keeps_its_checkpoints_all_the_same(tmp_path: Path):
    found = []
    arguments = {"dim": 2, "steps": 10, "checkpoint": tmp_path / "kept"}
    thread = threading.Thread(target=lambda: found.append(fit(tree(2), **arguments)))
    thread.start()
    thread.join()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["step-000000010.safetensors"]
    assert torch.equal(found[0].tangents, fit(tree(2), dim=2, steps=10).tangents)


# The log of a run that is resumed


def line(step: int) -> str:
    return json.dumps({"step": step, "loss": 1.0, "skipped": 0, "pairs": 3, "seconds": 0.1}) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        line(10) + line(20) + line(30) + line(40),
        line(10) + line(20) + line(30)[:-9],
        line(10) + line(20) + '{"step": 3',
        line(10) + line(20),
    ],
    ids=["later lines", "a line cut short", "a line cut in its step", "nothing more"],
)
def test_lines_after_the_checkpoint_are_dropped(tmp_path: Path, text: str):
    path = tmp_path / "log"
    path.write_text(text)
    TrainingLog(path, after=25).add(step=30, loss=2.0, skipped=0, pairs=1)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 30]


@pytest.mark.parametrize("text", ["hello\nworld\n", "{}\n" + line(10), "[1]\n\n", '{"step": "x"}\n' + line(10)])
def test_a_file_that_is_no_log_is_refused_and_stays(tmp_path: Path, text: str):
    (tmp_path / "log").write_text(text)
    with pytest.raises(ValueError, match="log, line 1: expected a line of a training log, got .*; pass another log"):
        TrainingLog(tmp_path / "log", after=25)
    assert (tmp_path / "log").read_text() == text

"""Two processes train one model: the same bits in both, as good as one alone, kept, resumed and stopped together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hop_process_cases import GRAPH, MIXED, QUALITY

from hyperspectral_geo.hyperbolic import HopEmbedding, HopRegression, fit, hop_counts, hop_scores
from hyperspectral_geo.hyperbolic.parameters import Gradient
from hyperspectral_geo.hyperbolic.processes import Processes, is_first_process, joined_processes
from hyperspectral_geo.hyperbolic.training_run import step_generator


def started(arguments: list[str], count: int = 2) -> list[subprocess.Popen]:
    """The command in so many processes with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    said = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have left that ran all cases and were stopped by a signal to the second alone."""
    place = tmp_path_factory.mktemp("processes")
    processes = started([str(Path(__file__).with_name("hop_process_cases.py")), str(place)])
    patience = time.monotonic() + 120
    while not (place / "ready").exists() and time.monotonic() < patience and processes[0].poll() is None:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    codes = ended(processes)
    assert [code for code, *_ in codes] == [143, 143], codes
    return place


def same(one: HopEmbedding, other: HopEmbedding) -> bool:
    tables = [[model.tangents, model.outgoing, model.incoming] for model in (one, other)]
    pairs = [(a, b) for a, b in zip(*tables, strict=True) if a is not None or b is not None]
    return one.scale == other.scale and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ["quality", "straight", "resumed", "skipped"])
def test_both_hold_the_same_bits(folder: Path, name: str):
    first, second = ((folder / f"{name}-{rank}.safetensors").read_bytes() for rank in (0, 1))
    assert first == second


def test_two_are_as_good_as_one_that_draws_as_many_pairs(folder: Path):
    hops = hop_counts(GRAPH)
    together = HopEmbedding.load(folder / "quality-0.safetensors")
    alone = fit(GRAPH, objective=HopRegression(block=round(64 * 2**0.5)), **QUALITY)
    scores = [hop_scores(model, hops, graph=GRAPH) for model in (together, alone)]
    assert not same(together, alone)
    assert scores[0].r2 == pytest.approx(scores[1].r2, abs=0.04)
    assert scores[0].average_distortion == pytest.approx(scores[1].average_distortion, abs=0.01)
    assert scores[0].r2 > 0.3


def test_gradients_are_the_mean_of_all_processes(folder: Path):
    for rank in (0, 1):
        mean = json.loads((folder / f"found-{rank}.json").read_text())["mean"]
        assert mean == {"loss": [0.5], "rows": [2, 7], "z": [[1.5], [1.0]], "s": 4.5}


def test_a_resumed_run_is_the_same_bit_by_bit(folder: Path):
    straight, resumed = (HopEmbedding.load(folder / f"{name}-0.safetensors") for name in ("straight", "resumed"))
    assert same(straight, resumed)
    assert not same(straight, fit(GRAPH, **MIXED))


def test_the_first_alone_writes_and_shows(folder: Path):
    first, second = (json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1))
    assert (first["first"], second["first"]) == (True, False)
    assert (first["told"], second["told"]) == ([10, 20, 20], [])  # the second run begins at step 16
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert sorted(path.name for path in (folder / "kept").iterdir()) == [
        "step-000000016.safetensors",
        "step-000000024.safetensors",
    ]


def test_what_one_cannot_do_all_refuse(folder: Path):
    first, second = (json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1))
    assert first["used"] == second["used"]
    assert "step-000000024.safetensors of an earlier run; resume it" in first["used"]
    assert first["differing"] == second["differing"]
    assert "expected the same graph, objectives and settings in all 2 processes" in first["differing"]


def test_a_step_that_one_cannot_take_is_skipped_by_all(folder: Path):
    first, second = (json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1))
    bad = [int(torch.randint(10**6, (), generator=step_generator(0, step + 1, 0, 1))) % 3 == 0 for step in range(30)]
    assert first["warned"][0].startswith(f"{sum(bad)} of 30 steps were skipped")
    assert second["warned"] == []


def test_a_signal_to_one_stops_all_after_the_same_step(folder: Path):
    assert len(list((folder / "stopped").iterdir())) == 1


def test_a_run_of_another_number_of_processes_is_refused(folder: Path):
    with pytest.raises(ValueError, match="expected a run of as many processes as this, 1, got one of 2; start as many"):
        fit(GRAPH, **MIXED, checkpoint=folder / "kept", resume=True)


def test_the_command_under_torchrun_writes_one_model(tmp_path: Path):
    links = tmp_path / "links.tsv"
    links.write_text("".join(f"{a}\t{(a * a + 1) % 40}\n{a}\t{(a + 1) % 40}\n" for a in range(40)))
    out = tmp_path / "model.safetensors"
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "hyperspectral_geo"]
    options = ["hops", "train", str(links), "-o", str(out), "--steps", "20", "--dim", "2"]
    found = subprocess.run(
        [sys.executable, *command, *options], capture_output=True, text=True, timeout=200, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("40 concepts") == 1
    assert len(HopEmbedding.load(out)) == 40


def test_unreachable_processes_are_an_error_in_words(monkeypatch: pytest.MonkeyPatch):
    wrong = {"RANK": "3", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "none"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    assert not is_first_process()
    with pytest.raises(OSError, match="^torchrun: expected to reach the other processes, got .*RANK=3"):
        fit(GRAPH, **MIXED)


# One alone


def test_one_alone_sends_nothing_and_draws_as_ever():
    with joined_processes() as alone:
        assert (alone.rank, alone.count, alone.first, is_first_process()) == (0, 1, True, True)
    own = {"z": Gradient(torch.tensor([1]), torch.ones(1, 2))}
    loss, mean = Processes().averaged(2.0, own)
    assert (loss, mean) == (2.0, own)
    assert (Processes().largest(3), Processes().total(4), Processes().by_first(lambda: 5)) == (3, 4, 5)
    with pytest.raises(OSError, match="full"):
        Processes().by_first(lambda: (_ for _ in ()).throw(OSError("disk full")))
    draws = {float(torch.rand((), generator=step_generator(7, 3, 1, rank))) for rank in range(50)}
    assert len(draws) == 50
    assert float(torch.rand((), generator=step_generator(7, 3, 1))) in draws

"""The quality bench's parts: experts that training resumes, results kept between runs, and intervals that pair."""

from __future__ import annotations

import torch

from hyperspectral_geo.benchmarks.image_experts import correct, load_experts
from hyperspectral_geo.benchmarks.merge_contest import Entry, contest
from hyperspectral_geo.benchmarks.merge_results import read_results, write_results
from hyperspectral_geo.benchmarks.paired_bootstrap import Draws, summary

NAMES = ("tagalog", "digits-rotated")


def results(seed: int, share: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(n, generator=generator) < share for n in (40, 60)]


def test_points_are_normalised_by_the_experts():
    experts = [[torch.tensor([True, True, False, False]), torch.tensor([True, True])]]
    merged = [[torch.tensor([True, False, False, False]), torch.tensor([True, True])]]
    assert Draws(experts, count=10).point(merged) == (0.75, 0.5)


def test_a_method_against_itself_has_no_difference_and_a_better_one_has():
    experts = [results(s, 1.0) for s in range(3)]
    worse, better = ([results(s, share) for s in range(3)] for share in (0.3, 0.7))
    draws = Draws(experts, count=200)
    mean, worst = draws.normalised(worse)
    assert bool((worst <= mean).all())
    assert summary(mean - draws.normalised(worse)[0]) == (0.0, 0.0)
    low, high = summary(draws.normalised(better)[0] - mean)
    assert 0 < low < draws.point(better)[0] - draws.point(worse)[0] < high


def test_results_come_back(tmp_path):
    entry = Entry(results(1, 0.5), results(2, 0.5), 0.3, 0.8, 1.5, "a note")
    write_results(tmp_path / "r.json", results(0, 0.9), {"tsv": entry})
    own, entries = read_results(tmp_path / "r.json")
    assert all(torch.equal(a, b) for a, b in zip(own, results(0, 0.9), strict=True))
    found = entries["tsv"]
    assert (found.scale, found.validation, found.seconds, found.note) == (0.3, 0.8, 1.5, "a note")
    assert all(torch.equal(a, b) for a, b in zip(found.tuned, entry.tuned, strict=True))


def test_experts_are_trained_once_and_enter_a_contest(shared_data, tmp_path):
    shared_data("omniglot")
    shared_data("mnist")
    said: list[str] = []
    options = {"names": NAMES, "folder": tmp_path, "steps": (2, 2)}
    experts = load_experts(0, "lora", progress=said.append, **options)
    assert said == ["seed 0, base", "seed 0, lora-tagalog", "seed 0, lora-digits-rotated"]
    (next(tmp_path.rglob("lora-tagalog.safetensors"))).unlink()
    again = load_experts(0, "lora", progress=said.append, **options)
    assert said[3:] == ["seed 0, lora-tagalog"]  # only what is missing, and to the same bits
    for a, b in zip(experts.modules, again.modules, strict=True):
        assert all(torch.equal(a.deltas[n].dense(), b.deltas[n].dense()) for n in a.deltas)
    assert [d.rank for d in list(experts.modules[1].deltas.values())[:1]] == [8]
    entries = contest(experts, inputs=(), progress=said.append, data_free=("linear", "tempered"), scales=(0.5, 1.0))
    assert set(entries) == {"linear", "tempered"}
    assert [len(task) for task in entries["linear"].tuned] == [len(t.test_y) for t in experts.tasks]
    assert len(correct(experts, None, split="val")) == 2

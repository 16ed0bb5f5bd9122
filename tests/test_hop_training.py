"""Training: seeded, checked step by step, mixed from several objectives, stopped when it runs away, and logged."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hop_cases import tangents, tree

from hyperspectral_geo.hyperbolic import GEOMETRIES, HopGraph, HopRegression, LinkSoftmax, Objective, fit
from hyperspectral_geo.hyperbolic.objective import PreparedObjective
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters
from hyperspectral_geo.hyperbolic.training_run import MOST_SKIPPED, Training

OBJECTIVES = {
    "hops": HopRegression(block=8),
    "links": LinkSoftmax(sources=6, negatives=5),
    "mixed": [(0.5, HopRegression(block=8)), (2.0, LinkSoftmax(sources=6, negatives=5))],
}


@dataclass(frozen=True)
class Pull(Objective, PreparedObjective):
    """Half the squared distance of some rows to a place, with NaN in the loss or the gradient at chosen calls."""

    rows: tuple[int, ...] = (0, 1, 2)
    place: float = 1.0
    bad: frozenset[int] = frozenset()
    where: str = "loss"
    calls: tuple = ()

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        return Pull(self.rows, self.place, self.bad, self.where, ([],))

    def form(self, graph: HopGraph) -> dict:
        return {"spread": 0.1, "scale": 1.0, "learning_rate": 0.1}

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        call = len(self.calls[0])
        self.calls[0].append(torch.rand((), generator=generator).item())
        rows = torch.tensor(self.rows)
        off = parameters.tables["tangents"][rows] - self.place
        loss, shared = 0.5 * float(off.square().sum()), torch.ones((), dtype=parameters.dtype)
        if call in self.bad:
            loss, off = (math.nan, off) if self.where == "loss" else (loss, off * math.inf)
        return loss, {"tangents": Gradient(rows, off), "log_scale": Gradient(None, shared)}


def training(*objectives: tuple[float, Pull], steps: int = 50, geometry="euclidean", **given) -> Training:
    graph = tree(2)
    z = given.pop("tangents", torch.zeros(3, 2))
    parameters = HopParameters(geometry, {"tangents": z.clone()}, {"log_scale": torch.zeros((), dtype=z.dtype)})
    prepared = [(weight, objective.prepare(graph)) for weight, objective in objectives]
    return Training(prepared, parameters, steps=steps, rate=0.1, seed=0, **given)


# A run


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_a_seed_gives_one_result_and_leaves_the_global_state_alone(geometry, objective):
    graph = tree()
    state, threads, edges = torch.get_rng_state(), torch.get_num_threads(), graph.edges.clone()
    options = {"dim": 3, "steps": 25, "geometry": geometry, "objective": objective}
    first = fit(graph, seed=3, **options)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = fit(graph, seed=3, **options), fit(graph, seed=4, **options)
    assert torch.equal(first.tangents, again.tangents)
    assert not torch.equal(first.tangents, other.tangents)
    assert (first.geometry, first.names) == (geometry, graph.names)
    assert not first.tangents.requires_grad
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert torch.equal(graph.edges, edges)
    with torch.no_grad():
        assert torch.equal(fit(graph, seed=3, **options).tangents, first.tangents)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_loss_falls_and_links_come_near(geometry, objective):
    told = []
    graph = tree()
    options = {"dim": 4, "steps": 105, "geometry": geometry, "learning_rate": 0.1}
    fitted = fit(graph, objective=objective, progress=lambda step, loss: told.append((step, loss)), **options)
    assert [step for step, _ in told] == list(range(10, 101, 10))
    losses = [loss for _, loss in told]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    nodes = torch.arange(len(graph))
    linked = graph.has_links(nodes[:, None], nodes)
    apart = ~linked & (nodes[:, None] != nodes)
    assert float(fitted.distances()[linked].mean()) < float(fitted.distances()[apart].mean())


@pytest.mark.parametrize("given", [{"steps": 1}, {"steps": 3}, {"dim": 1}, {"dim": 40}, {"readout": 1}, {"scale": 9.0}])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_short_runs_and_odd_sizes(geometry, given: dict):
    options = {"dim": 2, "steps": 4, **given}
    fitted = fit(tree(2), geometry=geometry, objective=OBJECTIVES["mixed"], **options)
    assert bool(torch.isfinite(fitted.tangents).all())
    assert fitted.tangents.shape == (3, options["dim"])


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def interrupt(step: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tree(), dim=2, steps=100, progress=interrupt)
    assert torch.is_grad_enabled()
    assert list(tmp_path.iterdir()) == []


# Steps that are not finite


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(where: str):
    bad = frozenset({0, 3, *range(10, 29), 40})
    run = training((1.0, Pull(bad=bad, where=where)))
    for step in range(50):
        before, moments = run.parameters.tables["tangents"].clone(), run.adam.state()["met.tangents"].clone()
        run.advance()
        moved = not torch.equal(before, run.parameters.tables["tangents"])
        assert moved == (step not in bad)
        assert torch.equal(run.adam.state()["met.tangents"] - moments, torch.full((3,), int(moved)))
    assert (run.taken, run.skipped, run.in_a_row) == (50, 22, 0)


@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_training_stops_after_twenty_such_steps_in_a_row(where: str, start: int):
    run = training((1.0, Pull(bad=frozenset(range(start, 50)), where=where)))
    for _ in range(start + MOST_SKIPPED - 1):
        run.advance()
    with pytest.raises(FloatingPointError, match=f"20 steps up to step {start + 19}, .* lower learning_rate or scale"):
        run.advance()
    assert MOST_SKIPPED == 20
    assert bool(run.parameters.tables["tangents"].isfinite().all())


@pytest.mark.parametrize(
    ("geometry", "given"),
    [
        ("hyperbolic", {"learning_rate": 1e4}),
        ("hyperbolic", {"learning_rate": 1e308}),
        ("hyperbolic", {"scale": 1e308}),
        ("product", {"learning_rate": 1e4}),
        ("euclidean", {"learning_rate": 1e308}),
    ],
)
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_training_that_runs_away_is_stopped(geometry, objective, given: dict):
    with pytest.raises(FloatingPointError, match="lower learning_rate or scale"):
        fit(tree(), dim=2, steps=60, geometry=geometry, objective=objective, **given)


# Several objectives


def test_losses_and_gradients_of_several_objectives_add_up_by_weight():
    parts = [(0.5, Pull((0, 1), 2.0)), (3.0, Pull((2, 1), -1.0)), (1.0, Pull((1,), 0.5))]
    run = training(*parts, tangents=tangents(3, 2))
    loss, gradients = run._sampled(0)
    expected, dense = 0.0, torch.zeros(3, 2, dtype=torch.float64)
    for weight, objective in parts:
        alone, found = objective.prepare(tree(2)).step(run.parameters, torch.Generator())
        expected += weight * alone
        rows, value = found["tangents"]
        dense.index_add_(0, rows, weight * value)
    assert loss == pytest.approx(expected)
    rows, value = gradients["tangents"]
    assert rows.tolist() == [0, 1, 2]
    torch.testing.assert_close(value, dense)
    assert gradients["log_scale"].rows is None
    assert float(gradients["log_scale"].value) == pytest.approx(4.5)


def test_samples_differ_by_step_and_by_objective_and_not_by_what_was_before():
    run, later = (training((1.0, Pull()), (1.0, Pull()), steps=300) for _ in range(2))
    for _ in range(30):
        run.advance()
    first, second = (objective.calls[0] for _, objective in run.objectives)
    assert len({*first, *second}) == 60
    later.taken = 20
    later.advance()
    assert later.objectives[1][1].calls[0] == [second[20]]


def test_the_model_has_the_form_of_the_first_objective():
    hops, links = HopRegression(block=8), LinkSoftmax(sources=6, negatives=5)
    assert fit(tree(), dim=2, steps=2, objective=[(1.0, hops), (1.0, links)]).readout is not None
    assert fit(tree(), dim=2, steps=2, objective=[(1.0, links), (1.0, hops)]).readout is None


# Wider numbers


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("widen", [True, False])
@pytest.mark.parametrize("radius", [4.0, 6.0])
def test_far_points_go_over_to_float64(geometry, widen: bool, radius: float):
    z = torch.tensor([[radius, 0.0], [0.0, 1.0], [1.0, 0.0]])
    run = training((1.0, Pull(rows=(1,))), steps=400, geometry=geometry, tangents=z, widen=widen)
    for _ in range(99):
        run.advance()
    assert run.parameters.dtype == torch.float32
    before = run.parameters.tables["tangents"].clone(), run.adam.state()["met.tangents"].clone()
    run.advance()
    wide = widen and radius > 4.8 and geometry in ("hyperbolic", "product")
    kind = torch.float64 if wide else torch.float32
    assert {tensor.dtype for tensor in run.parameters.all().values()} == {kind}
    assert {t.dtype for name, t in run.adam.state().items() if not name.startswith("met")} == {kind}
    assert torch.equal(run.parameters.tables["tangents"][0].float(), before[0][0])
    assert torch.equal(run.adam.state()["met.tangents"], before[1] + torch.tensor([0, 1, 0]))
    run.advance()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_given_dtype_stays(dtype: torch.dtype):
    model = fit(tree(), dim=2, steps=101, objective=OBJECTIVES["hops"], dtype=dtype, learning_rate=2.0, scale=0.1)
    assert model.tangents.dtype == dtype


# The log


def test_every_tenth_step_is_a_line_of_the_log(tmp_path: Path):
    told, path = [], tmp_path / "log.jsonl"
    fit(tree(), dim=2, steps=45, log=path, progress=lambda *values: told.append(values))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == told
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert all(set(line) == {"step", "loss", "skipped", "pairs", "seconds"} for line in lines)
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)


def test_a_loss_that_is_not_finite_is_null_in_the_log(tmp_path: Path):
    with pytest.warns(RuntimeWarning, match=r"^2 of 30 steps were skipped: .*; lower learning_rate or scale$"):
        fit(tree(2), dim=2, steps=30, objective=Pull(bad=frozenset({9, 12})), log=tmp_path / "log")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["loss"] is None for line in lines] == [True, False, False]
    assert [line["skipped"] for line in lines] == [1, 2, 2]


# What is refused

BAD = {
    "no links": {"graph": HopGraph.from_edges([], names=["a"])},
    "no nodes": {"graph": HopGraph.from_edges([])},
    "geometry": {"geometry": "lorentz"},
    **{f"{n} {v!r}": {n: v} for n in ("dim", "steps", "every") for v in (0, -1, 2.0, True, "2", None, math.nan)},
    **{f"{n} {v!r}": {n: v} for n in ("scale", "learning_rate") for v in (0, 0.0, -0.1, math.nan, math.inf, "3", True)},
    **{f"seed {v!r}": {"seed": v} for v in (1.5, True, -1, 2**70, None, "0")},
    **{f"readout {v!r}": {"readout": v} for v in (-1, 2.5, True, "3")},
    **{f"{n} {v!r}": {n: v} for n in ("two_points", "scalars") for v in (1, "no", 0.0)},
    **{f"dtype {v!r}": {"dtype": v} for v in (torch.float16, torch.int64, "float32", float)},
    **{
        f"objective {name}": {"objective": value}
        for name, value in {
            "a text": "links",
            "a class": LinkSoftmax,
            "none of several": [],
            "without weights": [LinkSoftmax()],
            "weight zero": [(0.0, LinkSoftmax())],
            "weight negative": [(-1.0, LinkSoftmax())],
            "weight NaN": [(math.nan, LinkSoftmax())],
            "weight a text": [("1", LinkSoftmax())],
            "weight true": [(True, LinkSoftmax())],
            "the other way round": [(LinkSoftmax(), 1.0)],
            "of another kind": [(1.0, "links")],
        }.items()
    },
}


@pytest.mark.parametrize("given", BAD.values(), ids=BAD)
def test_bad_arguments_are_refused_before_training(given: dict, unchecked, tmp_path: Path):
    told = []
    places = {"log": tmp_path / "log", "checkpoint": tmp_path / "kept"}
    given = {
        "graph": tree(2),
        "dim": 2,
        "steps": 10,
        "progress": lambda *values: told.append(values),
        **places,
        **given,
    }
    with pytest.raises(ValueError, match="^[a-z_]+: expected .+ got"):
        fit(given.pop("graph"), **given)
    assert told == []
    assert list(tmp_path.iterdir()) == []

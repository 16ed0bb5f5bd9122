"""Merging methods: their papers' formulas on dense matrices, what they keep, and what they refuse."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from cases import given_share, randn, rotation
from hypothesis import strategies as st
from merge_cases import INPUTS, METHOD_CASES, NAME, Inputs, MethodCase, dense_reference

from hyperspectral_geo.merging.core import Joint, join
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.merge import LayerRule, merge
from hyperspectral_geo.merging.methods import METHODS
from hyperspectral_geo.merging.methods.selection import kth_magnitudes
from hyperspectral_geo.merging.module import Layout, Module

BY_ID = {case.id: case for case in METHOD_CASES}
by_method = pytest.mark.parametrize("case", METHOD_CASES, ids=BY_ID)
by_inputs = pytest.mark.parametrize("inputs", INPUTS, ids=[i.name for i in INPUTS])


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(a.double() - b) / torch.linalg.matrix_norm(b).clamp_min(1e-300))


def fitting(case: MethodCase, inputs: Inputs) -> Inputs:
    """The inputs with weights that the method takes."""
    if case.negative:
        return inputs
    return dataclasses.replace(inputs, weights=tuple(abs(w) for w in inputs.weights))


def turned(inputs: Inputs, left: torch.Tensor, right: torch.Tensor) -> list[Delta | None]:
    made: list[Delta | None] = []
    for d in inputs.deltas(torch.float64):
        if isinstance(d, LowRank):
            made.append(LowRank(left @ d.left, d.right @ right))
        else:
            made.append(None if d is None else Dense(left @ d.dense() @ right))
    return made


def module(name: str, deltas: dict[str, Delta], vectors: dict[str, torch.Tensor] | None = None) -> Module:
    layouts = {n: Layout("linear", d.shape) for n, d in deltas.items()}
    return Module(name, deltas, layouts, vectors or {})


# The formulas


@by_inputs
@by_method
def test_against_the_dense_formula(case: MethodCase, inputs: Inputs):
    inputs = fitting(case, inputs)
    if case.searches and inputs.name not in ("mixed ranks", "one dense", "absent"):
        pytest.skip("a mean that is not unique, or no other than one of the inputs that are tried")
    exact = case.reference(inputs.matrices(torch.float64), inputs.weights)
    assert difference(case.run(inputs.joint(torch.float64), inputs.weights).dense(), exact) <= case.tight
    expected = exact if case.searches else case.reference(inputs.matrices(torch.float32), inputs.weights)
    assert difference(case.run(inputs.joint(torch.float32), inputs.weights).dense(), expected) <= 1e-5


def test_every_method_has_a_row():
    assert {case.method for case in METHOD_CASES} == set(METHODS)


@pytest.mark.parametrize("method", ["ties", "knots_ties"])
@pytest.mark.parametrize("space", ["raw", "core"])
def test_thresholds_over_the_whole_model(method: str, space: str):
    if method == "knots_ties":
        space = "knots"
    weights, density = (1.0, 0.5, -2.0), 0.3
    layers = {f"w{i}": Inputs("", (12 + i, 10), (2, 3, 0 if i == 1 else 2), weights, seed=20 + i) for i in range(3)}
    modules = [
        module(str(t), {n: d for n, i in layers.items() if (d := i.deltas(torch.float64)[t]) is not None})
        for t in range(3)
    ]
    options = {} if space == "knots" else {"space": space}
    merged = merge(modules, method=method, weights=weights, density=density, **options)
    matrices = {n: list(i.matrices(torch.float64)) for n, i in layers.items()}
    frames = {n: frames_of([m for m in ms if m is not None], space) for n, ms in matrices.items()}
    thresholds = []
    for t in range(3):
        entries = [
            (left.mT @ ms[t] @ right).abs().flatten()
            for (left, right), ms in zip(frames.values(), matrices.values(), strict=True)
            if ms[t] is not None
        ]
        together = torch.cat(entries).sort(descending=True).values
        thresholds.append(together[round(density * len(together)) - 1] * (1 - 1e-12))
    for name, ms in matrices.items():
        own = [thresholds[t] for t in range(3) if ms[t] is not None]
        reference = dense_reference(method, ms, weights, {"density": density, "thresholds": own, **options})
        assert difference(merged.deltas[name].dense(), reference) <= 1e-10


def frames_of(ws: list[torch.Tensor], space: str) -> tuple[torch.Tensor, torch.Tensor]:
    m, n = ws[0].shape
    eye = torch.eye(m, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    if space == "raw":
        return eye
    u, s, _ = torch.linalg.svd(torch.cat(ws, 1), full_matrices=False)
    left = u[:, s > 1e-6 * s[0]]
    if space == "knots":
        return left, eye[1]
    _, s, vh = torch.linalg.svd(torch.cat(ws, 0), full_matrices=False)
    return left, vh[s > 1e-6 * s[0]].mT


@pytest.mark.parametrize("density", [1e-7, 0.2, 0.5, 0.999999, 1.0])
@pytest.mark.parametrize("sampled", [lambda v: v[::7], lambda v: v[:3], lambda v: v[:0]])
def test_selection_in_passes_is_exact(density: float, sampled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hyperspectral_geo.merging.methods.selection._FEW", 6_000)
    vectors = [randn(20_000, seed=1), randn(9_000, seed=2).round(decimals=1), torch.zeros(5_000), torch.zeros(0)]

    def blocks():
        for t, v in enumerate(vectors):
            yield from ((t, part.clone()) for part in v.split(777) if len(part))

    found = kth_magnitudes([len(v) for v in vectors], density, [sampled(v) for v in vectors], blocks)
    for v, limit in zip(vectors, found, strict=True):
        if len(v):
            count = min(max(round(density * len(v)), 1), len(v))
            assert float(limit) == float(v.abs().sort(descending=True).values[count - 1])


# What holds for all methods


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if m.keeps_single])
def test_a_single_module_comes_out_as_it_went_in(method: str, dtype: torch.dtype):
    case = MethodCase(method)
    for inputs in INPUTS:
        for delta in inputs.deltas(dtype):
            if delta is not None:
                found = case.run(join(NAME, [delta]), [1.0]).dense()
                assert difference(found, delta.to(torch.float64).dense()) <= 1e-6


@pytest.mark.parametrize("inputs", [INPUTS[i] for i in (3, 6, 8, 9, 11)], ids=lambda i: i.name)
@pytest.mark.parametrize("case", [c for c in METHOD_CASES if not c.ordered], ids=lambda c: c.id)
def test_the_order_of_the_modules_does_not_matter(case: MethodCase, inputs: Inputs):
    inputs = fitting(case, inputs)
    if case.searches and inputs.name == "more than the sides":
        pytest.skip("seconds long, and no other than the inputs that are tried")
    deltas, weights = inputs.deltas(torch.float64), inputs.weights
    order = [(2 * t + 1) % len(deltas) for t in range(len(deltas))] if len(deltas) % 2 else range(len(deltas))[::-1]
    first = case.run(join(NAME, deltas), weights).dense()
    second = case.run(join(NAME, [deltas[t] for t in order]), [weights[t] for t in order]).dense()
    assert difference(second, first) <= max(1e-9, case.tight)


@by_method
def test_a_module_of_weight_zero_or_without_change_is_as_good_as_absent(case: MethodCase):
    inputs = fitting(case, INPUTS[3])
    deltas = inputs.deltas(torch.float64)
    idle = LowRank(randn(24, 2, seed=90) * 0, randn(2, 18, seed=91))
    silent = case.run(
        join(NAME, [*deltas, LowRank(randn(24, 2, seed=92), randn(2, 18, seed=93))]), (*inputs.weights, 0)
    )
    if case.method in ("regmean", "fisher"):  # a module that keeps the base's weight has inputs of its own
        return
    alone = case.run(join(NAME, deltas), inputs.weights).dense()
    with_idle = case.run(join(NAME, [*deltas, idle]), (*inputs.weights, 1.0)).dense()
    assert difference(with_idle, alone) <= max(1e-9, case.tight)
    if not (case.options.get("space") == "core" or case.method.startswith("knots") or case.method == "compress"):
        assert difference(silent.dense(), alone) <= max(1e-9, case.tight)
    modules = [module(str(t), {NAME: d}) for t, d in enumerate([*deltas, silent]) if d is not None]
    options = case.all_options((24, 18), len(modules))
    given = merge(modules, method=case.method, weights=[*inputs.weights, 0.0], **options).deltas[NAME].dense()
    assert difference(given, alone) <= max(1e-9, case.tight)


@by_method
@pytest.mark.parametrize("factor", [3.0, 1e-5])
def test_the_scale_of_the_modules_is_the_scale_of_the_result(case: MethodCase, factor: float):
    for inputs in (fitting(case, INPUTS[3]), fitting(case, INPUTS[9])):
        deltas = [d for d in inputs.deltas(torch.float64) if d is not None]
        expected = factor * case.run(join(NAME, deltas), inputs.weights).dense()
        found = case.run(join(NAME, [d.scaled(factor) for d in deltas]), inputs.weights).dense()
        assert difference(found, expected) <= max(1e-9, case.tight)


@pytest.mark.parametrize("case", [c for c in METHOD_CASES if c.left and not c.ordered], ids=lambda c: c.id)
@pytest.mark.parametrize("inputs", [INPUTS[3], INPUTS[6], INPUTS[9]], ids=lambda i: i.name)
def test_the_result_turns_with_the_modules(case: MethodCase, inputs: Inputs):
    inputs = fitting(case, inputs)
    m, n = inputs.shape
    left = rotation(m, 31)
    right = rotation(n, 32) if case.right else torch.eye(n, dtype=torch.float64)
    expected = left @ case.run(inputs.joint(torch.float64), inputs.weights).dense() @ right
    found = case.run(join(NAME, turned(inputs, left, right)), inputs.weights).dense()
    assert difference(found, expected) <= max(1e-9, case.tight)


@by_method
def test_how_the_factors_are_written_does_not_matter(case: MethodCase):
    inputs = fitting(case, INPUTS[3])
    deltas = inputs.deltas(torch.float64)
    rewritten: list[Delta | None] = []
    for t, d in enumerate(deltas):
        assert isinstance(d, LowRank)
        g = randn(d.rank, d.rank, seed=40 + t) + 2 * torch.eye(d.rank, dtype=torch.float64)
        rewritten.append(LowRank(d.left @ g, torch.linalg.solve(g, d.right)))
    found = case.run(join(NAME, rewritten), inputs.weights).dense()
    assert difference(found, case.run(join(NAME, deltas), inputs.weights).dense()) <= max(1e-9, case.tight)


@by_method
@given_share(0.2, seed=st.integers(0, 10_000), shape=st.tuples(st.integers(3, 9), st.integers(3, 9)))
def test_any_modules_give_a_finite_result_of_their_shape(case: MethodCase, seed: int, shape: tuple[int, int]):
    ranks = tuple((seed // 3**t) % 4 for t in range(3))
    weights = [1.0, -0.5, 0.0] if seed % 2 and case.negative else [1.0, 2.0, 0.5]
    if not any(ranks):
        ranks = (1, 0, 0)
    joint = Inputs("", shape, ranks, tuple(weights), seed=seed).joint(torch.float64)
    found = case.run(joint, weights)
    assert found.shape == shape
    assert bool(found.dense().isfinite().all())


@by_method
def test_no_module_that_counts_gives_zero(case: MethodCase):
    joint = join(NAME, [LowRank(randn(5, 2, seed=1), randn(2, 4, seed=2))])
    assert not bool(case.run(joint, [0.0]).dense().any())


def test_cat_keeps_one_block_a_module():
    deltas = [d for d in INPUTS[3].deltas(torch.float64) if d is not None]
    found = METHODS["cat"].layer(join(NAME, deltas), torch.tensor([1.0, 0.5, -2.0], dtype=torch.float64))
    assert isinstance(found, LowRank)
    assert found.rank == 9
    assert isinstance(deltas[1], LowRank)
    assert difference(found.left[:, 2:5] @ found.right[2:5], 0.5 * deltas[1].dense()) <= 1e-12


@pytest.mark.parametrize("method", ["dare", "della", "knots_dare"])
def test_masks_go_by_seed_and_weight(method: str):
    modules = [module(str(t), {n: Dense(randn(6, 8, seed=t)) for n in ("a", "b")}) for t in range(2)]
    first, again, other = (merge(modules, method=method, seed=s).deltas for s in (0, 0, 1))
    assert torch.equal(first["a"].dense(), again["a"].dense())
    assert not torch.equal(first["a"].dense(), other["a"].dense())
    assert not torch.equal(first["a"].dense() == 0, first["b"].dense() == 0)
    backwards = [module(m.name, dict(reversed(list(m.deltas.items())))) for m in modules]
    assert torch.equal(merge(backwards, method=method).deltas["b"].dense(), first["b"].dense())


def test_dare_and_della_keep_the_expected_value():
    x = randn(4, 6, seed=5)
    joint = join(NAME, [Dense(x)])
    one = torch.ones(1, dtype=torch.float64)
    for method, options in (("dare", {}), ("della", {"combine": "sum"})):
        draws = [METHODS[method].layer(joint, one, seed=s, **options).dense() for s in range(150)]
        assert difference(torch.stack(draws).mean(0), x) < 0.35


# Means on manifolds


def test_slerp_of_directions_that_nearly_agree():
    a = randn(5, 6, seed=1)
    b = a + 1e-9 * randn(5, 6, seed=2)
    found = METHODS["slerp"].layer(join(NAME, [Dense(a), Dense(b)]), torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert difference(found.dense(), 0.25 * a + 0.75 * b) <= 1e-15


@pytest.mark.parametrize("others", [(), (randn(5, 6, seed=3),)])
def test_slerp_refuses_opposite_directions(others):
    a = randn(5, 6, seed=1)
    joint = join(NAME, [Dense(a), Dense(-2 * a), *(Dense(1e-9 * o + a) for o in others)])
    weights = torch.tensor([1.0, 1.0, 1e-9][: len(joint.ranks)], dtype=torch.float64)
    with pytest.raises(ValueError, match="less than π apart, got opposite ones.*use linear"):
        METHODS["slerp"].layer(joint, weights)


def test_grassmann_reports_how_it_ended():
    inputs = INPUTS[5]
    found = MethodCase("grassmann").run(inputs.joint(torch.float64), inputs.weights)
    for side in ("left", "right"):
        assert found.notes[f"{side}_converged"] == 1
        assert found.notes[f"{side}_gradient_norm"] <= 1e-6
        assert 0 < found.notes[f"{side}_mean_angle"] < math.pi / 2
    short = MethodCase("grassmann", {"max_iterations": 1}).run(inputs.joint(torch.float64), inputs.weights)
    assert short.notes["left_converged"] == 0


def test_grassmann_between_two_lines_is_half_way():
    angle = 0.7
    columns = (torch.tensor([[math.cos(x)], [math.sin(x)], [0.0]], dtype=torch.float64) for x in (0, angle))
    lines = [LowRank(column, torch.eye(1, 4, dtype=torch.float64)) for column in columns]
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found = METHODS["grassmann"].layer(join(NAME, lines), weights, tolerance=1e-12).svd()[0][:, 0]
    assert float(torch.atan(found[1] / found[0])) == pytest.approx(0.75 * angle, abs=1e-9)


def test_grassmann_of_modules_at_right_angles():
    eye = torch.eye(6, dtype=torch.float64)
    deltas: list[Delta | None] = [LowRank(eye[:, 2 * t : 2 * t + 2], eye[2 * t : 2 * t + 2]) for t in range(3)]
    found = METHODS["grassmann"].layer(join(NAME, deltas), torch.ones(3, dtype=torch.float64))
    # all angles equal is the least that three planes in six dimensions allow to one: cos² = 2/6
    assert found.notes["left_mean_angle"] == pytest.approx(math.acos(math.sqrt(1 / 3)), abs=1e-5)


def test_larv_scales_by_the_rating_of_the_layers():
    names = [f"w{i}" for i in range(4)]
    base = {n: torch.eye(6, dtype=torch.float64) for n in names}
    # commutes with the base everywhere; concentrated in the last layers
    deltas = {n: Dense(torch.diag(torch.tensor([1.0] * (6 - i) + [1e-6] * i)).double()) for i, n in enumerate(names)}
    merged = merge([module("m", deltas)], method="larv", base=base, tiers=(0.5, 2.0))
    assert [merged.deltas[n].notes["layer_scale"] for n in names] == [0.5, 0.5, 2.0, 2.0]
    assert difference(merged.deltas["w3"].dense(), 2 * deltas["w3"].dense()) <= 1e-15


# Options and refusals


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("linear", {"density": 0.2}, "density: linear has no option of this name; it has none"),
        ("ties", {"densty": 0.2}, "densty: ties has no option of this name; did you mean 'density'"),
        ("ties", {"thresholds": 1}, "thresholds: ties has no option of this name"),
        ("ties", {"density": 0.0}, "density: expected a number with 0 < density <= 1, got 0.0"),
        ("ties", {"density": 1.5}, "density: .*got 1.5"),
        ("ties", {"density": math.nan}, "density: .*got nan"),
        ("ties", {"granularity": "row"}, "granularity: expected one of 'model', 'layer', got 'row'"),
        ("ties", {"space": "knots"}, "space: expected one of 'raw', 'core', got 'knots'"),
        ("dare", {"density": -0.1}, "density: .*got -0.1"),
        ("dare", {"combine": "mean"}, "combine: expected one of 'sum', 'elect', got 'mean'"),
        ("dare", {"space": "fourier"}, "space: .*got 'fourier'"),
        ("della", {"window": 0.9}, "window: expected 0 <= window <= .*, got 0.9 at density 0.3"),
        ("della", {"window": -0.1}, "window: "),
        ("della", {"density": 0}, "density: "),
        ("knots_ties", {"density": 2}, "density: "),
        ("knots_ties", {"granularity": ""}, "granularity: "),
        ("knots_dare", {"combine": "x"}, "combine: "),
        ("compress", {}, "module_rank: compress needs this option, got none"),
        ("svd", {"rank": 0}, "rank: expected a whole number of at least 1, got 0"),
        ("svd", {"rank": 2.5}, "rank: expected a whole number of at least 1, got 2.5"),
        ("svd", {"rnk": 2}, "rnk: svd has no option of this name; did you mean 'rank'"),
        ("tsv", {"tolerance": 1.0}, "tolerance: expected a number with 0 <= tolerance < 1, got 1.0"),
        ("iso_c", {"tolerance": -1e-3}, "tolerance: "),
        ("iso_cts", {"common_fraction": 0}, "common_fraction: "),
        ("svc", {"alpha": 0.0}, "alpha: expected a positive number, got 0.0"),
        ("wudi", {"ridge": 0}, "ridge: expected a positive number, got 0"),
        ("wudi", {"anchor": "mean"}, "anchor: expected one of 'sum', 'zero', got 'mean'"),
        ("regmean", {"grams": {}}, "grams: expected an entry for 'w', found none; collect it with"),
        ("regmean", {"grams": {"w": torch.zeros(2, 3, 3)}}, r"grams: w: expected shape \(2, 4, 4\), one item a module"),
        ("regmean", {"grams": {"w": torch.full((2, 4, 4), math.nan)}}, "grams: w: expected finite numbers"),
        ("regmean", {"grams": {"w": torch.zeros(2, 4, 4)}, "reduction": 1.1}, "reduction: "),
        ("regmean", {"grams": {"w": torch.zeros(2, 4, 4)}, "ridge": -1}, "ridge: "),
        ("fisher", {"fishers": [{}, {}]}, "fishers: expected an entry for 'w'"),
        ("fisher", {"fishers": {"w": -torch.ones(2, 5, 4)}}, "fishers: w: expected squares of gradients, >= 0, got -1"),
        ("fisher", {"fishers": {"w": torch.ones(2, 4, 5)}}, r"fishers: w: expected shape \(2, 5, 4\)"),
        ("fisher", {"fishers": {"w": torch.ones(2, 5, 4)}, "floor": 0.0}, "floor: "),
        ("larv", {"base": {}}, "base: expected the base's weight 'w', found none"),
        ("larv", {"base": {"w": torch.ones(4, 5)}}, r"base: w: expected a matrix of shape \(5, 4\), got \(4, 5\)"),
        ("larv", {"base": {"w": torch.ones(5, 4)}, "tiers": ()}, "tiers: expected at least one scale"),
        ("slerp", {"weights": [1.0, -1.0]}, "weights: slerp means a place between the modules, expected numbers >= 0"),
        ("grassmann", {"rank": -1}, "rank: "),
        ("grassmann", {"core": "turn"}, "core: expected one of 'projection', 'transport', got 'turn'"),
        ("grassmann", {"eigenvalues": "all"}, "eigenvalues: "),
        ("grassmann", {"tolerance": 0.0}, "tolerance: expected a positive number, got 0.0"),
        ("compress", {"module_rank": 0}, "module_rank: "),
        (
            "compress",
            {"module_rank": 1, "inner": "compress"},
            "inner: expected another method, one of linear, .*'compress'",
        ),
        ("compress", {"module_rank": 1, "inner": "ties", "densit": 1}, "densit: ties has no option.*'density'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_options(method: str, options: dict, message: str):
    modules = [module(str(t), {"w": LowRank(randn(5, 2, seed=t), randn(2, 4, seed=9 - t))}) for t in range(2)]
    with pytest.raises(ValueError, match=message):
        merge(modules, method=method, **options)


@by_method
@pytest.mark.parametrize("weights", [[1.0], [1.0, math.nan, 1.0], [1.0, 1.0, 1.0, 1.0]])
@pytest.mark.usefixtures("unchecked")
def test_bad_weights(case: MethodCase, weights: list[float]):
    modules = [module(str(t), {NAME: LowRank(randn(5, 2, seed=t), randn(2, 4, seed=9 - t))}) for t in range(3)]
    with pytest.raises(ValueError, match="weights: expected 3 finite numbers"):
        merge(modules, method=case.method, weights=weights, **case.all_options((5, 4), 3))


def test_a_rule_with_another_method_leaves_options_it_does_not_know():
    modules = [module(str(t), {n: Dense(randn(4, 5, seed=t)) for n in ("a", "b")}) for t in range(2)]
    merged = merge(modules, method="ties", density=0.5, rules=[LayerRule("b", method="linear")])
    total = randn(4, 5, seed=0) + randn(4, 5, seed=1)
    assert difference(merged.deltas["b"].dense(), total) <= 1e-15
    with pytest.raises(ValueError, match="density: linear has no option"):
        merge(modules, method="ties", rules=[LayerRule("b", method="linear", options={"density": 0.5})])


def test_a_joint_basis_built_by_hand_serves_as_well():
    inputs = INPUTS[3]
    joint = inputs.joint(torch.float64)
    bare = Joint(joint.name, joint.left, joint.right, joint.cores, joint.ranks)
    for case in METHOD_CASES:
        weights = fitting(case, inputs).weights
        expected = case.run(joint, weights).dense()
        assert difference(case.run(bare, weights).dense(), expected) <= max(1e-9, case.tight), case.id

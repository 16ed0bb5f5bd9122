"""Calibration: what moves and how, what held-out inputs allow, any network and loss, and what is left untouched."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from cases import randn
from torch import Tensor, nn

from hyperspectral_geo.merging import (
    Dense,
    Layout,
    LowRank,
    Module,
    ModuleMatching,
    Spectrum,
    activation_grams,
    adamerging,
    applied,
    calibrate,
    calibrate_layerwise,
    changed_parameters,
    entropy,
    labelled,
    merge,
    spectra,
)
from hyperspectral_geo.merging.adamerging import coefficients
from hyperspectral_geo.merging.apply import require_fits
from hyperspectral_geo.merging.calibrate import Calibration, Course
from hyperspectral_geo.merging.descent import Movable, Problem
from hyperspectral_geo.merging.objectives import split_folds
from hyperspectral_geo.merging.spectrum import Free

FREE: tuple[Free, ...] = ("eigenvalues", "core", "scale")


def low(shape: tuple[int, int], rank: int, seed: int, dtype: torch.dtype = torch.float64) -> LowRank:
    return LowRank(
        randn(shape[0], rank, seed=seed, dtype=dtype) / 3, randn(rank, shape[1], seed=seed + 1, dtype=dtype) / 3
    )


def net(dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, 4)).to(dtype)


LAYOUTS = {"0.weight": Layout("linear", (12, 6)), "3.weight": Layout("linear", (4, 12))}


def module(name: str, seed: int, dtype: torch.dtype = torch.float64) -> Module:
    deltas = {n: low(layout.matrix_shape, 2, seed + i, dtype) for i, (n, layout) in enumerate(LAYOUTS.items())}
    return Module(name, deltas, LAYOUTS, {"3.bias": randn(4, seed=seed + 9, dtype=dtype) / 5})


def distance(a: Module, b: Module) -> float:
    """Largest relative difference of an update."""
    pairs = [(a.deltas[n].dense().double(), d.dense().double()) for n, d in b.deltas.items()]
    return max(float((x - y).norm() / y.norm()) for x, y in pairs)


def draw(like: Tensor, seed: int) -> Tensor:
    return randn(max(like.numel(), 1), seed=seed, dtype=like.dtype).reshape(like.shape)


# A network of two layers, fine-tuned for two tasks


@cache
def tuned() -> tuple[nn.Module, tuple[Module, ...], tuple[Callable[[Tensor], Tensor], ...]]:
    """A base model, what two tasks change in it, and the tasks' own answers."""
    torch.manual_seed(3)
    base = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 5))
    teachers = [copy.deepcopy(base) for _ in range(2)]
    modules = []
    for t, teacher in enumerate(teachers):
        with torch.no_grad():
            for p in teacher.parameters():
                p.add_(torch.randn_like(p), alpha=0.35)
        student = copy.deepcopy(base)
        adam = torch.optim.Adam(student.parameters(), lr=5e-3)
        for _ in range(250):
            x = inputs_of(t, 64)
            adam.zero_grad()
            nn.functional.mse_loss(student(x), teacher(x).detach()).backward()
            adam.step()
        changes = {n: (p - q).detach() for (n, p), q in zip(student.named_parameters(), base.parameters(), strict=True)}
        matrices = {n: Dense(c) for n, c in changes.items() if c.ndim == 2}
        layouts = {n: Layout("linear", d.shape) for n, d in matrices.items()}
        modules.append(Module(f"task {t}", matrices, layouts, {n: c for n, c in changes.items() if c.ndim == 1}))
    return base, tuple(modules), tuple(teachers)


def inputs_of(task: int, count: int, seed: int | None = None) -> Tensor:
    """Tasks live in different, overlapping places."""
    generator = None if seed is None else torch.Generator().manual_seed(100 * task + seed)
    x = torch.randn(count, 8, generator=generator)
    x[:, 4 * task : 4 * task + 4] += 1.5
    return x


def error_of(found: Module) -> float:
    """Mean squared distance from the modules' own answers on 400 new inputs a task."""
    base, modules, _ = tuned()
    fresh = ModuleMatching(base, modules, [inputs_of(t, 400, seed=77) for t in range(2)])
    forward = applied(base, changed_parameters(base, found))
    (whole, _) = fresh.folds(2, batch=400)
    with torch.no_grad():
        return float(torch.stack([fresh.objective(forward, b) for b in whole]).mean())


@cache
def calibrated(count: int, mixing: bool = True, seed: int = 0) -> tuple[Module, Calibration]:
    base, modules, _ = tuned()
    anchor = merge(modules, method="linear", scale=0.5)
    matching = ModuleMatching(base, modules, [inputs_of(t, count, seed=seed) for t in range(2)], mixing=mixing)
    found = calibrate(base, anchor, matching.folds(3, batch=32), matching.objective, renew=matching.renew, steps=15)
    return anchor, found


@pytest.mark.parametrize("mixing", [True, False])
def test_held_out_error_falls(mixing: bool):
    anchor, found = calibrated(16, mixing)
    before, after = error_of(anchor), error_of(found.module)
    assert found.gain < -0.1
    assert after < 0.9 * before
    assert found.course.steps % 3 == 0
    assert found.gain == pytest.approx(found.curves[found.course] - 1)
    assert min(found.curves.values()) == found.curves[found.course]
    assert all(torch.equal(found.module.vectors[n], v) for n, v in anchor.vectors.items())  # only eigenvalues move


def test_the_basis_stays():
    anchor, found = calibrated(16)
    for name, delta in anchor.deltas.items():
        u, _, vh = delta.svd()
        moved = found.module.deltas[name]
        assert isinstance(moved, Dense)  # as the anchor's
        inside = u @ (u.mT @ moved.matrix @ vh.mT) @ vh
        torch.testing.assert_close(inside, moved.matrix, atol=1e-5, rtol=1e-5)


def test_more_inputs_let_it_go_further():
    few, many = (error_of(calibrated(count)[1].module) for count in (4, 48))
    assert many < few


@pytest.mark.parametrize("seed", range(4))
def test_noise_moves_nothing(seed: int):
    # Targets are the anchor's own answers and noise of their size: the best there is, is where it starts.
    network, anchor = net(seed=seed).eval(), merge([module("a", seed), module("b", seed + 50)], method="linear")
    forward = applied(network, changed_parameters(network, anchor))
    x = randn(8, 4, 6, seed=seed)
    targets = [forward(part).detach() + randn(4, 4, seed=seed + 20 + i) for i, part in enumerate(x)]

    def loss(forward, batch):
        return (forward(batch[0]) - batch[1]).square().mean()

    folds = [[(x[i], targets[i]), (x[i + 4], targets[i + 4])] for i in range(4)]
    found = calibrate(network, anchor, folds, loss, steps=9)
    assert found.module is anchor
    assert found.course.steps == 0
    assert found.gain == 0
    assert max(found.curves.values()) > 1


def test_over_fitting_is_stopped_early():
    network = net().eval()
    anchor = merge([module("a", 1), module("b", 60)], method="linear")
    goal = merge([module("a", 1), module("b", 60)], method="linear", scale=1.25)
    target = applied(network, changed_parameters(network, goal))
    x = randn(8, 3, 6, seed=5)

    def course(noise: float) -> tuple[Course, dict[Course, float]]:
        answers = [target(part).detach() + noise * randn(3, 4, seed=30 + i) for i, part in enumerate(x)]
        folds = [[(x[i], answers[i]), (x[i + 4], answers[i + 4])] for i in range(4)]
        found = calibrate(
            network,
            anchor,
            folds,
            lambda forward, batch: (forward(batch[0]) - batch[1]).square().mean(),
            free="core",
            learning_rates={"core": (0.05,)},
            steps=24,
            caution=0.0,
        )
        return found.course, dict(found.curves)

    clean, noisy = course(0.0)[0], course(0.3)
    assert noisy[0].steps < clean.steps
    assert list(noisy[1].values())[-1] > min(noisy[1].values())


# What moves, and how


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("kind", ["factors", "dense", "deficient"])
def test_a_spectrum_starts_at_the_anchor_and_moves_as_it_says(free: Free, kind: str, dtype: torch.dtype):
    delta = low((7, 5), 3, 4, dtype)
    if kind == "deficient":
        delta = LowRank(torch.cat([delta.left, delta.left], 1), torch.cat([delta.right, delta.right], 0))
    given = Dense(delta.dense()) if kind == "dense" else delta
    found = spectra(Module("m", {"w": given}, {"w": Layout("linear", (7, 5))}), free=free)["w"]
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    assert isinstance(found, Movable)
    assert found.s.shape == (3,)  # of a dense update too: what is zero to rounding has no say
    torch.testing.assert_close(found.left(found.origin()) @ found.vh, given.dense(), atol=tolerance, rtol=0)
    p = draw(found.origin(), 8)
    sigma = found.s.diag()
    core = {
        "eigenvalues": lambda: (found.s * (1 + p)).diag(),
        "core": lambda: sigma + found.s.square().mean().sqrt() * p,
        "scale": lambda: (1 + p) * sigma,
    }[free]()
    torch.testing.assert_close(found.left(p) @ found.vh, found.u @ core @ found.vh, atol=tolerance, rtol=0)
    assert found.to(torch.float32).s.dtype == torch.float32


@pytest.mark.parametrize("free", FREE)
def test_gradients_are_those_of_the_loss(free: Free):
    network, anchor = net().eval(), module("a", 1)
    problem = Problem(network, anchor, spectra(anchor, free=free), lambda f, x: f(x).square().sum().sin() + f(x).mean())
    x = randn(3, 6, seed=2)
    names = list(problem.found)

    def loss(*parameters: Tensor) -> Tensor:
        return problem.objective(problem.forward(dict(zip(names, parameters, strict=True))), x)

    at = [(0.1 * draw(s.origin(), i)).requires_grad_() for i, s in enumerate(problem.found.values())]
    assert torch.autograd.gradcheck(loss, at)


def test_a_bounded_spectrum_keeps_the_leading_directions():
    anchor = module("a", 1)
    found = spectra(anchor, free="core", rank=1)
    assert {s.s.shape for s in found.values()} == {(1,)}
    assert float(found["0.weight"].s) == pytest.approx(
        float(torch.linalg.svdvals(anchor.deltas["0.weight"].dense())[0])
    )


def test_updates_that_are_zero_stay_as_they_are():
    network = net(torch.float32)

    def loss(forward, batch):  # towards the base
        return (forward(batch) - network(batch)).square().mean()

    zero, none = LowRank(torch.zeros(4, 2), torch.ones(2, 12)), LowRank(torch.zeros(4, 0), torch.zeros(0, 12))
    for nothing in (zero, none):
        anchor = Module("m", {**module("a", 1, torch.float32).deltas, "3.weight": nothing}, LAYOUTS)
        x = randn(8, 6, seed=3, dtype=torch.float32)
        assert set(spectra(anchor, free="core")) == {"0.weight"}
        folds = [[x[:4]], [x[4:]]]
        found = calibrate(network, anchor, folds, loss, steps=3, caution=0.0)
        assert found.course.steps > 0
        assert not bool(found.module.deltas["3.weight"].dense().any())
        assert all(bool(d.dense().isfinite().all()) for d in found.module.deltas.values())
        grams = [activation_grams(network, [part]) for part in (x[:4], x[4:])]
        stacked = [{n: g.unsqueeze(0) for n, g in fold.items()} for fold in grams]
        layerwise = calibrate_layerwise(anchor, [module("a", 4, torch.float32)], stacked)
        assert all(bool(d.dense().isfinite().all()) for d in layerwise.module.deltas.values())


# Any network and any loss


class Reader(nn.Module):
    """Token numbers through an embedding, a convolution and a head that is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.line = nn.Conv1d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.line(self.words(tokens).mT).tanh().mean(-1))


READER = {"words.weight": Layout("embedding", (11, 6)), "line.weight": Layout("conv", (6, 6, 3))}


def reader_module(name: str, seed: int) -> Module:
    deltas = {n: low(layout.matrix_shape, 2, seed + i) for i, (n, layout) in enumerate(READER.items())}
    return Module(name, deltas, READER)


def test_embeddings_convolutions_and_tied_weights_move():
    network = Reader().double()
    modules = [reader_module("a", 1), reader_module("b", 40)]
    anchor = merge(modules, method="tsv", scale=0.6)
    tokens = [torch.randint(0, 11, (12, 5)) for _ in modules]
    matching = ModuleMatching(network, modules, tokens, mixing=False)
    found = calibrate(network, anchor, matching.folds(3), matching.objective, steps=12)
    assert found.course.steps > 0
    # the tied head moves with the embedding
    plain = copy.deepcopy(network)
    with torch.no_grad():
        for name, delta in found.module.deltas.items():
            plain.get_parameter(name).add_(READER[name].to_weight(delta.dense()))
    changed = applied(network, changed_parameters(network, found.module))
    torch.testing.assert_close(changed(tokens[0]), plain(tokens[0]), atol=1e-12, rtol=0)
    assert plain.head.weight is plain.words.weight


def test_labels_and_several_inputs_make_a_loss():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor, *, gain: float) -> dict[str, Tensor]:
            return {"logits": gain * self.layer(x)}

    torch.manual_seed(1)
    network, layouts = Two(), {"layer.weight": Layout("linear", (3, 4))}
    anchor = Module("m", {"layer.weight": low((3, 4), 2, 7, torch.float32)}, layouts)
    x = randn(60, 4, seed=4, dtype=torch.float32)
    y = (x @ (network.layer.weight + 2 * anchor.deltas["layer.weight"].dense()).detach().mT).argmax(1)

    def loss(forward, rows):
        return nn.functional.cross_entropy(forward(x[rows], gain=3.0)["logits"], y[rows])

    folds = [[r] for r in split_folds(60, 3)]
    found = calibrate(network, anchor, folds, loss, steps=6)
    assert found.gain < -0.03

    plain = nn.Sequential(network.layer)
    renamed = Module("m", {"0.weight": anchor.deltas["layer.weight"]}, {"0.weight": layouts["layer.weight"]})
    by_label = calibrate(plain, renamed, [[(x[r], y[r])] for (r,) in folds], labelled(lambda f: 3 * f), steps=6)
    assert by_label.gain == pytest.approx(found.gain, abs=1e-5)


@pytest.mark.parametrize("of", ["network", "module", "both"])
def test_bfloat16(of: str):
    kinds = [torch.bfloat16 if of in (part, "both") else torch.float32 for part in ("network", "module")]
    network = net(kinds[0])
    anchor = merge([module("a", 1, kinds[1]), module("b", 60, kinds[1])], method="linear")
    assert all(d.dtype == kinds[1] for d in anchor.deltas.values())
    x = randn(24, 6, seed=4, dtype=kinds[0])

    def loss(forward, batch):  # towards smaller outputs
        return forward(batch).float().square().mean()

    found = calibrate(network, anchor, [[x[:8]], [x[8:16]], [x[16:]]], loss, steps=9)
    assert found.course.steps > 0
    assert all(d.dtype == kinds[1] for d in found.module.deltas.values())
    assert 1e-3 < distance(found.module, anchor) < 1


def test_the_network_is_left_as_it_was():
    network, seen = net(), []
    network.train()
    network[0].eval()
    network[3].weight.requires_grad_(False)
    before = {n: x.clone() for n, x in network.state_dict().items()}
    modes = [m.training for m in network.modules()]
    modules = [module("a", 1), module("b", 60)]
    anchor = merge(modules, method="linear")
    old = {n: d.dense().clone() for n, d in anchor.deltas.items()}
    heads = [nn.Linear(4, 3).double() for _ in modules]
    matching = ModuleMatching(network, modules, [randn(8, 6, seed=t) for t in range(2)], heads=heads)

    def loss(forward, batch):
        seen.append(network[2].training)
        return matching.objective(forward, batch)

    found = calibrate(network, anchor, matching.folds(2), loss, renew=matching.renew, steps=6, caution=0.0)
    adamerging(network, modules, [randn(8, 6, seed=3)], entropy(), steps=2)
    assert found.course.steps > 0
    assert not any(seen)
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(before[n], x) for n, x in network.state_dict().items())
    assert [p.requires_grad for p in network.parameters()] == [True, True, False, True]
    assert all(p.grad is None for m in (network, *heads) for p in m.parameters())
    assert all(torch.equal(old[n], d.dense()) for n, d in anchor.deltas.items())
    assert not any(d.dense().requires_grad for d in found.module.deltas.values())


def test_the_same_seed_gives_the_same_bits():
    base, modules, _ = tuned()
    anchor = merge(modules, method="linear", scale=0.5)
    matching = ModuleMatching(base, modules, [inputs_of(t, 12, seed=5) for t in range(2)])

    def run(seed: int) -> Calibration:
        torch.manual_seed(torch.randint(1000, ()).item())  # the global generator has no part in it
        return calibrate(base, anchor, matching.folds(3), matching.objective, renew=matching.renew, seed=seed, steps=6)

    first, again, other = run(0), run(0), run(1)
    assert first.curves == again.curves
    assert all(torch.equal(first.module.deltas[n].dense(), d.dense()) for n, d in again.module.deltas.items())
    assert first.curves != other.curves


def test_progress_comes_to_its_end():
    network, anchor = net(), module("a", 1)
    told: list[tuple[int, int]] = []
    x = randn(8, 6, seed=4)
    calibrate(
        network,
        anchor,
        [[x[:4]], [x[4:]]],
        lambda f, b: f(b).square().mean(),
        steps=3,
        progress=lambda done, all_: told.append((done, all_)),
    )
    assert told == [(i, 5) for i in range(1, 6)]


def test_few_batches_a_step_take_turns():
    network, anchor, seen = net(), module("a", 1), []
    x = randn(5, 3, 6, seed=4)

    def loss(forward, batch):
        if torch.is_grad_enabled():
            seen.append(int(batch[0]))
        return forward(x[int(batch[0])]).square().mean()

    problem = Problem(network, anchor, spectra(anchor, free="scale"), loss)
    list(problem.descend([torch.tensor([i]) for i in range(5)], 0.01, 4, batches_per_step=2))
    assert seen == [0, 1, 2, 3, 4, 0, 1, 2]


# Layer by layer


def layer_case(seed: int = 0, count: int = 3) -> tuple[Module, list[Module], list[Tensor]]:
    layouts = {"w": Layout("linear", (9, 7))}
    modules = [Module(f"m{t}", {"w": low((9, 7), 3, seed + 10 * t)}, layouts) for t in range(count)]
    modules[-1] = Module("dense", {"w": Dense(modules[-1].deltas["w"].dense())}, layouts)
    inputs = [randn(40, 7, seed=seed + 90 + t) * torch.linspace(2, 0.3, 7, dtype=torch.float64) for t in range(count)]
    return merge(modules, method="tsv", scale=0.5), modules, inputs


def grams_of(inputs: list[Tensor], folds: int) -> list[dict[str, Tensor]]:
    return [{"w": torch.stack([x[r].mT @ x[r] for x in inputs])} for r in split_folds(len(inputs[0]), folds)]


def least_squares(
    spectrum: Spectrum, modules: list[Module], inputs: list[Tensor], ridge: float
) -> tuple[Tensor, Callable[[Tensor, list[Tensor]], float]]:
    """The core by torch.linalg.lstsq on the inputs themselves, and the error of a core on other inputs."""
    u, s, v = spectrum.u, spectrum.s, spectrum.vh.mT
    a = torch.cat([x @ v for x in inputs])
    b = torch.cat([x @ m.deltas["w"].dense().mT @ u for m, x in zip(modules, inputs, strict=True)])
    root = (ridge * a.square().sum(0).mean()).sqrt()
    if spectrum.free == "core":
        rows = torch.cat([a, root * torch.eye(len(s), dtype=a.dtype)])
        core = torch.linalg.lstsq(rows, torch.cat([b, root * s.diag()])).solution.mT
    else:
        each = [
            torch.linalg.lstsq(
                torch.cat([a[:, i], root.reshape(1)]).unsqueeze(1),
                torch.cat([b[:, i], (root * s[i]).reshape(1)]).unsqueeze(1),
            ).solution
            for i in range(len(s))
        ]
        core = torch.cat(each).flatten().diag()

    def error(core: Tensor, others: list[Tensor]) -> float:
        parts = [x @ (u @ core @ v.mT - m.deltas["w"].dense()).mT for m, x in zip(modules, others, strict=True)]
        return float(torch.stack([p.square().sum() for p in parts]).sum())

    return core, error


@pytest.mark.parametrize("free", ["eigenvalues", "core"])
@pytest.mark.parametrize("ridge", [1e-3, 0.3])
def test_layerwise_is_least_squares(free: Free, ridge: float):
    anchor, modules, inputs = layer_case()
    spectrum = spectra(anchor, free=free)["w"]
    found = calibrate_layerwise(anchor, modules, grams_of(inputs, 2), free=free, ridges=(ridge,))
    core, _ = least_squares(spectrum, modules, inputs, ridge)
    assert found.ridge == ridge
    torch.testing.assert_close(found.module.deltas["w"].dense(), spectrum.u @ core @ spectrum.vh, atol=1e-9, rtol=0)
    halves = [[x[r] for x in inputs] for r in split_folds(40, 2)]
    held_out = start = 0.0
    for one, other in (halves, halves[::-1]):
        core, error = least_squares(spectrum, modules, one, ridge)
        held_out += error(core, other)
        start += error(spectrum.s.diag(), other)
    assert found.errors[ridge] == pytest.approx(held_out / start, rel=1e-8)


@pytest.mark.parametrize("free", ["eigenvalues", "core"])
def test_the_ridge_leads_to_the_anchor_and_away_from_it(free: Free):
    anchor, modules, inputs = layer_case()
    grams = grams_of(inputs, 2)
    far, near = (
        calibrate_layerwise(anchor, modules, grams, free=free, ridges=(ridge,)).module for ridge in (1e-12, 1e8)
    )
    assert distance(near, anchor) < 1e-6
    core, _ = least_squares(spectra(anchor, free=free)["w"], modules, inputs, 1e-300)
    spectrum = spectra(anchor, free=free)["w"]
    torch.testing.assert_close(far.deltas["w"].dense(), spectrum.u @ core @ spectrum.vh, atol=1e-7, rtol=0)
    chosen = calibrate_layerwise(anchor, modules, grams, free=free)
    assert chosen.ridge == min(chosen.errors, key=lambda r: chosen.errors[r])


def test_layerwise_keeps_an_anchor_that_no_ridge_improves():
    _, modules, inputs = layer_case()
    exact = merge(modules[:1], method="linear")
    found = calibrate_layerwise(exact, modules[:1], grams_of(inputs[:1], 2))
    assert found.module is exact
    assert found.ridge == math.inf


# AdaMerging


def test_adamerging_lowers_the_entropy_by_coefficients_alone():
    network, modules = net(seed=2), [module("a", 1), module("b", 60)]
    modules[1] = Module("b", {n: Dense(d.dense()) for n, d in modules[1].deltas.items()}, LAYOUTS, modules[1].vectors)
    batches = [randn(16, 6, seed=t) for t in range(3)]
    loss = entropy()
    found = adamerging(network, modules, batches, loss, learning_rate=0.02, steps=40)
    start = merge(modules, method="linear", scale=0.3)
    values = [
        sum(float(loss(applied(network.eval(), changed_parameters(network, m)), b).detach()) for b in batches)
        for m in (start, found)
    ]
    assert values[1] < values[0]
    for name, delta in found.deltas.items():  # Σ λ_t ΔW_t for some λ
        a, b = (m.deltas[name].dense().flatten() for m in modules)
        solved = torch.linalg.lstsq(torch.stack([a, b], 1), delta.dense().flatten().unsqueeze(1)).solution
        torch.testing.assert_close(torch.stack([a, b], 1) @ solved, delta.dense().reshape(-1, 1), atol=1e-10, rtol=0)
        assert float((solved - 0.3).abs().min()) > 1e-3
    torch.testing.assert_close(found.vectors["3.bias"], start.vectors["3.bias"])


def test_coefficients_of_absent_modules_have_no_columns():
    a, b = module("a", 1), module("b", 60)
    only = Module("b", {"3.weight": b.deltas["3.weight"]}, {"3.weight": LAYOUTS["3.weight"]})
    found = coefficients([a, only], start=0.5)
    assert found["0.weight"].owner.tolist() == [0, 0]
    assert found["3.weight"].owner.tolist() == [0, 0, 1, 1]
    p = torch.tensor([0.5, -0.25], dtype=torch.float64)
    expected = a.deltas["3.weight"].dense() + 0.25 * b.deltas["3.weight"].dense()
    torch.testing.assert_close(found["3.weight"].left(p) @ found["3.weight"].vh, expected)


# What is aimed at


def test_mixtures_stay_within_their_task_and_the_modules_answer_them():
    network, modules = net(), [module("a", 1), module("b", 60)]
    x = [torch.zeros(10, 6, dtype=torch.float64) for _ in range(2)]
    x[0][:, :3], x[1][:, 3:] = randn(10, 3, seed=1), randn(10, 3, seed=2)
    matching = ModuleMatching(network, modules, x)
    (batch, *_), *_ = matching.folds(2, batch=8)
    renewed = matching.renew(batch, torch.Generator().manual_seed(4))
    assert torch.equal(renewed.task, batch.task)
    assert not torch.equal(renewed.inputs, batch.inputs)
    first, second = (renewed.inputs[renewed.task == t] for t in range(2))
    assert not bool(first[:, 3:].any())
    assert not bool(second[:, :3].any())
    for t, m in enumerate(modules):
        own = applied(network.eval(), changed_parameters(network, m))(renewed.inputs[renewed.task == t])
        torch.testing.assert_close(renewed.goals[t], own)
        old, new = batch.inputs[batch.task == t], renewed.inputs[renewed.task == t]
        for i, row in enumerate(new):  # λx + (1 − λ)x′ with λ from a half on
            fits = [torch.linalg.lstsq(torch.stack([old[i], y], 1), row.unsqueeze(1)).solution.flatten() for y in old]
            gaps = [float((s[0] * old[i] + s[1] * y - row).norm()) for s, y in zip(fits, old, strict=True)]
            shares = fits[gaps.index(min(gaps))]
            assert min(gaps) < 1e-10
            if not torch.allclose(row, old[i]):  # mixed with another
                assert 0.5 - 1e-9 <= float(shares[0]) <= 1 + 1e-9
                assert float(shares.sum()) == pytest.approx(1.0)
    again = matching.renew(batch, torch.Generator().manual_seed(4))
    assert torch.equal(again.inputs, renewed.inputs)
    assert ModuleMatching(network, modules, x, mixing=False).renew(batch, torch.Generator()) is batch


@pytest.mark.parametrize("headed", [True, False])
def test_matching_is_zero_where_the_modules_agree_with_the_merge(headed: bool):
    network, one = net(), module("a", 1)
    twins = [one, Module("twin", one.deltas, one.layouts, one.vectors)]
    heads = [nn.Linear(4, 3).double(), nn.Linear(4, 2).double()] if headed else None
    matching = ModuleMatching(network, twins, [randn(9, 6, seed=t) for t in range(2)], heads=heads)
    forward = applied(network.eval(), changed_parameters(network, one))
    other = applied(network, changed_parameters(network, module("c", 33)))
    for batch in (b for fold in matching.folds(3, batch=2) for b in fold):
        assert float(matching.objective(forward, batch).detach()) == pytest.approx(0.0, abs=1e-12)
        assert float(matching.objective(other, batch).detach()) > 1e-3


def test_folds_share_out_all_inputs_once():
    network, modules = net(), [module("a", 1), module("b", 60)]
    matching = ModuleMatching(network, modules, [randn(7, 6, seed=1), randn(13, 6, seed=2)])
    parts = matching.folds(3, batch=2)
    assert len(parts) == 3
    for t, x in enumerate(matching.inputs):
        rows = torch.cat([b.inputs[b.task == t] for fold in parts for b in fold])
        assert sorted(rows[:, 0].tolist()) == sorted(x[:, 0].tolist())
    assert all(int((b.task == t).sum()) <= 2 for fold in parts for b in fold for t in range(2))


def test_entropy_and_labels_by_hand():
    logits = randn(5, 3, seed=1)
    p = logits.softmax(-1)
    assert float(entropy()(lambda x: x, logits)) == pytest.approx(float(-(p * p.log()).sum(1).mean()))
    y = torch.tensor([0, 2, 1, 1, 0])
    expected = float(-p[range(5), y].log().mean())
    assert float(labelled()(lambda x: x, (logits, y))) == pytest.approx(expected)
    assert float(labelled(lambda x: 2 * x)(lambda x: x / 2, (logits, y))) == pytest.approx(expected)


# A module on a network


def test_changed_parameters_are_sums_in_the_networks_kind():
    network = net(torch.float32)
    given = module("a", 1)
    given = Module("a", given.deltas, given.layouts, given.vectors, replaced={"0.bias": torch.ones(12)})
    found = changed_parameters(network, given)
    assert set(found) == {"0.weight", "3.weight", "3.bias", "0.bias"}
    assert {x.dtype for x in found.values()} == {torch.float32}
    torch.testing.assert_close(
        found["0.weight"], (network[0].weight.double() + given.deltas["0.weight"].dense()).float()
    )
    assert torch.equal(found["0.bias"], torch.ones(12))
    assert not any(x.requires_grad for x in found.values())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layouts": {"7.weight": Layout("linear", (2, 2))}}, "expected a network with the parameter 7.weight"),
        ({"layouts": {"0.weight": Layout("linear", (6, 12))}}, r"0.weight: expected shape \(12, 6\) as in the network"),
        ({"vectors": {"3.bias": torch.ones(5)}}, r"3.bias: expected shape \(4,\)"),
        ({"replaced": {"0.norm": torch.ones(5)}}, "with the parameter 0.norm"),
        ({"magnitudes": {"0.weight": torch.ones(12)}}, r"use module.against\(base\)"),
    ],
)
def test_a_module_that_does_not_fit_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        require_fits(net(), Module("m", {}, **{"layouts": {}, **change}))


# Bad input


GOOD = [[torch.ones(2, 6, dtype=torch.float64)], [torch.zeros(2, 6, dtype=torch.float64)]]


def size(forward, batch):
    return forward(batch).square().mean()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "change, message",
    [
        ({"folds": GOOD[:1]}, "folds: expected two or more"),
        ({"folds": [*GOOD, []]}, "none of them empty"),
        ({"free": "spectrum"}, "free, learning_rates: expected one or more of eigenvalues, core, scale"),
        ({"free": ()}, "free, learning_rates: expected one or more"),
        ({"learning_rates": {"cores": (0.1,)}}, "free, learning_rates: expected one or more"),
        ({"learning_rates": {"core": ()}}, "learning_rates: expected positive numbers for core"),
        ({"learning_rates": {"core": (0.1, -1.0)}}, "learning_rates: expected positive numbers for core"),
        ({"learning_rates": {"eigenvalues": (math.nan,)}}, "learning_rates: expected positive numbers"),
        ({"steps": 0}, "expected 1 <= every <= steps"),
        ({"every": 0}, "expected 1 <= every <= steps"),
        ({"every": 31}, "expected 1 <= every <= steps"),
        ({"batches_per_step": 0}, "batches_per_step: expected at least 1"),
        ({"caution": -1.0}, "caution: expected a number >= 0"),
        ({"caution": math.nan}, "caution: expected a number >= 0"),
        ({"objective": lambda f, b: f(b)}, r"objective: expected a loss of a batch.*got shape \(2, 4\)"),
        ({"objective": lambda f, b: 1.0}, "objective: expected a loss of a batch.*got float"),
        ({"objective": lambda f, b: size(f, b) * math.nan}, "expected finite losses at the anchor"),
        ({"objective": lambda f, b: size(f, b) * 0}, "where the anchor is perfect there is nothing to calibrate"),
        ({"objective": lambda f, b: torch.ones(())}, "objective: expected a loss that depends on forward's outputs"),
        ({"anchor": Module("none", {}, {})}, "expected a module that changes at least one matrix"),
        ({"anchor": reader_module("other", 1)}, "expected a network with the parameter words.weight"),
    ],
)
def test_calibrate_refuses(change: dict[str, Any], message: str):
    given = {"network": net(), "anchor": module("a", 1), "folds": GOOD, "objective": size, **change}
    with pytest.raises(ValueError, match=message):
        calibrate(**given)


def test_a_loss_that_turns_to_nan_is_never_chosen():
    def loss(forward, batch):  # a cliff beside the anchor
        value = size(forward, batch)
        return torch.where(value < start * 0.999, value * math.nan, value)

    network, anchor = net().eval(), module("a", 1)
    start = float(min(size(applied(network, changed_parameters(network, anchor)), b) for f in GOOD for b in f))
    found = calibrate(network, anchor, GOOD, loss, steps=6)
    assert all(bool(d.dense().isfinite().all()) for d in found.module.deltas.values())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "change, message",
    [
        ({"inputs": [torch.ones(4, 6)]}, "inputs: expected one for each of 2 modules, got 1"),
        ({"heads": [nn.Identity()]}, "heads: expected one for each of 2 modules, got 1"),
        ({"inputs": [torch.ones(4, 6), torch.ones(0, 6)]}, "inputs: expected some of every task"),
        ({"modules": [], "inputs": []}, "inputs: expected some of every task"),
        ({"inputs": [torch.ones(4, 6).long()] * 2}, "pass mixing=False"),
        ({"modules": [reader_module("r", 1)] * 2}, "with the parameter words.weight"),
    ],
)
def test_matching_refuses(change: dict[str, Any], message: str):
    given: dict[str, Any] = {"network": net(), "modules": [module("a", 1), module("b", 2)]}
    given |= {"inputs": [torch.ones(4, 6, dtype=torch.float64)] * 2, **change}
    with pytest.raises(ValueError, match=message):
        ModuleMatching(**given)


@pytest.mark.parametrize("count, folds", [(3, 4), (3, 1), (0, 2)])
def test_folds_that_would_be_empty_are_refused(count: int, folds: int):
    with pytest.raises(ValueError, match="expected at least two folds and as many inputs as folds"):
        split_folds(count, folds)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "change, message",
    [
        ({"free": "scale"}, "free: expected 'eigenvalues' or 'core'"),
        ({"free": "all"}, "free: expected one of"),
        ({"folds": []}, "folds: expected two or more sets"),
        ({"folds": [{"w": torch.ones(3, 7, 7)}, {}]}, "w: expected Gram matrices of shape .*, got none"),
        (
            {"folds": [{"w": torch.ones(2, 7, 7)}] * 2},
            r"w: expected Gram matrices of shape \(3, 7, 7\), got \(2, 7, 7\)",
        ),
        ({"ridges": ()}, "ridges: expected modules, and positive ridges"),
        ({"ridges": (0.0,)}, "ridges: expected modules, and positive ridges"),
        ({"modules": []}, "ridges: expected modules, and positive ridges"),
    ],
)
def test_layerwise_refuses(change: dict[str, Any], message: str):
    anchor, modules, inputs = layer_case()
    with pytest.raises(ValueError, match=message):
        calibrate_layerwise(**{"anchor": anchor, "modules": modules, "folds": grams_of(inputs, 2), **change})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batches": []}, "batches: expected at least one"),
        ({"steps": 0}, "steps, learning_rate: expected positive"),
        ({"learning_rate": 0.0}, "steps, learning_rate: expected positive"),
        ({"modules": [reader_module("r", 1)]}, "with the parameter words.weight"),
    ],
)
def test_adamerging_refuses(change: dict[str, Any], message: str):
    given: dict[str, Any] = {"network": net(), "modules": [module("a", 1)], "batches": GOOD[0], "objective": entropy()}
    with pytest.raises(ValueError, match=message):
        adamerging(**{**given, **change})

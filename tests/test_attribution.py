"""Attribution and ablation: shares that add up, angles as dense matrices have them, derivatives that hold."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hyperspectral_geo import plotting
from hyperspectral_geo.benchmarks.patch_transformer import PatchTransformer
from hyperspectral_geo.merging import Delta, Dense, Layout, LowRank, Module, merge
from hyperspectral_geo.merging.ablation import ablation
from hyperspectral_geo.merging.attribution import WeightAttribution, attribution
from hyperspectral_geo.merging.methods import METHODS, Method
from hyperspectral_geo.merging.update_spectrum import update_spectrum

SHAPES = {"a.weight": (12, 9), "b.weight": (7, 15)}
LAYOUTS = {name: Layout("linear", shape) for name, shape in SHAPES.items()}
MEAN = [0.5, -1.0, 2.0]


def some_module(name: str, rank: int = 2, *, dense: bool = False) -> Module:
    deltas: dict[str, Delta] = {}
    for weight, (m, n) in SHAPES.items():
        delta = LowRank(torch.randn(m, rank, dtype=torch.float64), torch.randn(rank, n, dtype=torch.float64))
        deltas[weight] = Dense(delta.dense()) if dense else delta
    return Module(name, deltas, LAYOUTS)


def module_of(name: str, matrix: Tensor) -> Module:
    return Module(name, {"w": Dense(matrix.double())}, {"w": Layout("linear", tuple(matrix.shape))})


def only_row(modules: list[Module], weights: list[float], method: str = "linear") -> WeightAttribution:
    (row,) = attribution(merge(modules, method=method, weights=weights), modules, weights=weights).rows
    return row


def test_a_direction_belongs_to_the_module_that_made_it():
    row = only_row(
        [module_of("a", torch.diag(torch.tensor([3.0, 0, 0]))), module_of("b", torch.eye(3) * 2)], [1.0, 1.0]
    )
    assert [d.sigma for d in row.directions] == pytest.approx([5.0, 2.0, 2.0])
    assert row.directions[0].shares == pytest.approx((9 / 13, 4 / 13))
    assert row.directions[0].interference == pytest.approx(25 / 13 - 1)
    assert row.directions[1].shares == (0.0, 1.0)
    assert row.directions[1].interference == pytest.approx(0.0, abs=1e-12)


def test_twins_halve_their_directions_and_opposites_cancel():
    matrix = torch.randn(4, 5)
    twins = only_row([module_of("a", matrix), module_of("b", matrix)], [1.0, 1.0])
    for direction in twins.directions:
        assert direction.shares == pytest.approx((0.5, 0.5))
        assert direction.interference == pytest.approx(1.0)
    assert twins.relations[0].cosine == pytest.approx(1.0)
    assert max(*twins.relations[0].left, *twins.relations[0].right) < 1e-7
    rest = torch.zeros(4, 5)
    rest[0, 0] = 1e-3
    against = only_row([module_of("a", matrix), module_of("b", rest - matrix)], [1.0, 1.0])
    assert against.directions[0].interference == pytest.approx(-1.0, abs=1e-3)
    assert against.relations[0].cosine == pytest.approx(-1.0, abs=1e-3)


@pytest.mark.parametrize("dense", [False, True])
def test_identities_against_dense_matrices(dense: bool):
    modules = [some_module("a"), some_module("b", 3, dense=dense), some_module("c", 1)]
    merged = merge(modules, method="linear", weights=MEAN)
    found = attribution(merged, modules, weights=MEAN)
    assert sum(found.shares().values()) == pytest.approx(1.0)
    for row in found.rows:
        whole = merged.deltas[row.name].dense()
        u, s, vh = torch.linalg.svd(whole, full_matrices=False)
        assert row.spectrum.singular_values == pytest.approx(s[: row.spectrum.rank].tolist())
        rank = row.spectrum.rank
        for i, direction in enumerate(row.directions):
            c = [w * float(u[:, i] @ m.deltas[row.name].dense() @ vh[i]) for w, m in zip(MEAN, modules, strict=True)]
            assert sum(c) == pytest.approx(direction.sigma)
            assert direction.shares == pytest.approx(tuple(x * x / sum(y * y for y in c) for x in c))
            assert sum(direction.shares) == pytest.approx(1.0)
            assert direction.gain == pytest.approx(1.0)
            assert direction.sigma**2 == pytest.approx((1 + direction.interference) * sum(x * x for x in c))
        for module, part in zip(modules, row.parts, strict=True):
            own = module.deltas[row.name].dense()
            left, right = u[:, :rank] @ u[:, :rank].mT, vh[:rank].mT @ vh[:rank]
            assert part.norm == pytest.approx(float(own.norm()))
            assert part.kept == pytest.approx(float((whole * own).sum() / own.norm() ** 2))
            assert part.lost == pytest.approx(float((own - left @ own @ right).norm() / own.norm()), abs=1e-12)
            assert part.rank == module.deltas[row.name].svd()[1].gt(1e-10).sum()
        assert sum(part.share for part in row.parts) == pytest.approx(1.0)
        assert row.way_error is not None
        assert row.way_error < 1e-12


def test_angles_are_those_of_the_matrices():
    modules = [some_module("a", 2), some_module("b", 3)]
    for row in attribution(merge(modules, method="linear"), modules).rows:
        (relation,) = row.relations
        u = [torch.linalg.svd(m.deltas[row.name].dense())[0][:, : m.deltas[row.name].rank] for m in modules]
        v = [torch.linalg.svd(m.deltas[row.name].dense())[2][: m.deltas[row.name].rank].mT for m in modules]
        for angles, (x, y) in ((relation.left, u), (relation.right, v)):
            cosines = torch.linalg.svdvals(x.mT @ y).clamp(max=1.0)
            assert angles == pytest.approx(cosines.acos().tolist(), abs=1e-7)


def needs_nothing_else(method: Method) -> bool:
    parameters = inspect.signature(method.layer).parameters.values()
    return not any(
        p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in method.prepared for p in parameters
    )


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if needs_nothing_else(method)])
def test_every_method_can_be_attributed(method: str):
    modules = [some_module("a"), some_module("b", 3), some_module("c")]
    found = attribution(merge(modules, method=method), modules)
    assert [row.name for row in found.rows] == list(SHAPES)
    assert sum(found.shares().values()) == pytest.approx(1.0, abs=1e-6)
    for row in found.rows:
        for direction in row.directions:
            assert math.isfinite(direction.interference)
            assert -1.0 - 1e-9 <= direction.interference <= 2.0 + 1e-9
            assert direction.gain is None or direction.gain > 0
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["modules"] == ["a", "b", "c"]


def test_no_matrix_is_formed_from_factors(monkeypatch: pytest.MonkeyPatch):
    modules = [some_module("a"), some_module("b")]
    merged = merge(modules, method="tsv")

    def fail(self: LowRank) -> Tensor:
        raise AssertionError("a dense matrix was formed")

    monkeypatch.setattr(LowRank, "dense", fail)
    attribution(merged, modules)


def test_modules_that_leave_a_weight_alone_and_zero_updates():
    a, b = some_module("a"), some_module("b")
    partial = Module("partial", {"a.weight": a.deltas["a.weight"]}, {"a.weight": LAYOUTS["a.weight"]})
    nothing = Module("nothing", {n: d.scaled(0.0) for n, d in b.deltas.items()}, LAYOUTS)
    modules = [partial, b, nothing]
    first, second = attribution(merge(modules, method="linear"), modules).rows
    assert first.parts[2].share == 0.0
    assert second.parts[0].norm == 0.0
    assert second.parts[1].share == pytest.approx(1.0)
    assert len(second.relations) == 0
    dead = merge([nothing], method="linear")
    rows = attribution(dead, [nothing]).rows
    assert [r.spectrum.rank for r in rows] == [0, 0]
    assert attribution(dead, [nothing]).shares() == {"nothing": 0.0}


def test_top_cuts_the_list_and_nothing_else():
    modules = [some_module("a"), some_module("b")]
    merged = merge(modules, method="linear")
    whole, cut = attribution(merged, modules), attribution(merged, modules, top=1)
    assert [len(row.directions) for row in cut.rows] == [1, 1]
    assert [row.parts for row in cut.rows] == [row.parts for row in whole.rows]


def test_attribution_refuses():
    a = some_module("a")
    merged = merge([a], method="linear")
    with pytest.raises(ValueError, match="different names"):
        attribution(merged, [a, a])
    with pytest.raises(ValueError, match="different names, got none"):
        attribution(merged, [])
    with pytest.raises(ValueError, match="expected 1 numbers"):
        attribution(merged, [a], weights=[1.0, 2.0])


def test_update_spectrum_finds_signal_in_noise_and_no_edge_at_low_rank():
    torch.manual_seed(2)
    noise = torch.randn(60, 40, dtype=torch.float64)
    signal = 60 * torch.linalg.qr(torch.randn(60, 3, dtype=torch.float64))[0]
    matrix = noise + signal @ torch.linalg.qr(torch.randn(40, 3, dtype=torch.float64))[0].mT
    found = update_spectrum(torch.linalg.svdvals(matrix), (60, 40))
    assert (found.rank, found.noise_rank) == (40, 3)
    assert found.noise_edge is not None
    low = update_spectrum(torch.tensor([3.0, 2.0, 1.0]), (60, 40))
    assert (low.rank, low.noise_rank, low.noise_edge) == (3, 3, None)
    assert update_spectrum(torch.zeros(3), (60, 40)).rank == 0


def test_angles_of_whole_weights_are_those_of_their_signal():
    noise = [0.1 * torch.randn(60, 40, dtype=torch.float64) for _ in range(2)]
    signal = [8 * torch.linalg.qr(torch.randn(60, 2, dtype=torch.float64))[0] for _ in range(2)]
    rows = torch.linalg.qr(torch.randn(40, 2, dtype=torch.float64))[0].mT
    modules = [module_of(name, noise[i] + signal[i] @ rows) for i, name in enumerate("ab")]
    (relation,) = only_row(modules, [1.0, 1.0]).relations
    assert len(relation.left) == len(relation.right) == 2
    assert min(relation.left) > 0.8
    assert max(relation.right) < 0.3


def test_ablation_of_a_linear_network_is_exact():
    network = nn.Sequential(nn.Linear(9, 12)).double()
    delta = some_module("a", 3).deltas["a.weight"]
    module = Module("a", {"0.weight": delta}, {"0.weight": Layout("linear", (12, 9))})
    x = torch.randn(20, 9, dtype=torch.float64)
    rows = ablation(network, module, x)
    _, s, vh = delta.svd()
    effect = float((x @ delta.dense().mT).norm())
    assert [row.direction for row in rows] == [0, 1, 2]
    for i, row in enumerate(rows):
        assert row.sigma == pytest.approx(float(s[i]))
        assert row.measured == pytest.approx(float(s[i] * (x @ vh[i]).norm()) / effect)
        assert row.predicted == pytest.approx(row.measured, rel=1e-10)
        assert row.cosine == pytest.approx(1.0)
    assert sum(row.measured**2 for row in rows) == pytest.approx(1.0)


def test_ablation_of_a_curved_network_agrees_to_first_order():
    network = nn.Sequential(nn.Linear(9, 12), nn.Tanh(), nn.Linear(12, 4)).double()
    delta = some_module("a", 3).deltas["a.weight"]
    x = torch.randn(20, 9, dtype=torch.float64)
    gaps = []
    for size in (0.1, 0.05, 0.025):
        module = Module("a", {"0.weight": delta.scaled(size / 100)}, {"0.weight": Layout("linear", (12, 9))})
        rows = ablation(network, module, {"input": x}, top=2)
        gaps.append(max(abs(row.predicted - row.measured) for row in rows))
        assert min(row.cosine for row in rows) > 0.99
    assert gaps[2] < 0.6 * gaps[1] < 0.36 * gaps[0]  # the error of the first order halves with the update


def test_ablation_goes_through_attention():
    network = PatchTransformer().eval()
    names = ["blocks.0.q.weight", "blocks.3.down.weight"]
    shapes = {n: tuple(network.get_parameter(n).shape) for n in names}
    deltas = {n: LowRank(0.02 * torch.randn(m, 2), torch.randn(2, k)) for n, (m, k) in shapes.items()}
    module = Module("a", deltas, {n: Layout("linear", s) for n, s in shapes.items()})
    before = {n: p.clone() for n, p in network.state_dict().items()}
    done: list[tuple[int, int]] = []
    rows = ablation(network, module, (torch.rand(2, 28, 28),), top=1, progress=lambda *x: done.append(x))
    assert [row.weight for row in rows] == names
    assert all(row.cosine > 0.8 for row in rows)
    assert done == [(1, 2), (2, 2)]
    assert all(torch.equal(before[n], p) for n, p in network.state_dict().items())
    json.dumps([row.to_dict() for row in rows], allow_nan=False)


def test_ablation_refuses():
    network = nn.Sequential(nn.Linear(9, 12)).double()
    delta = some_module("a", 1).deltas["a.weight"]
    module = Module("a", {"0.weight": delta}, {"0.weight": Layout("linear", (12, 9))})
    x = torch.randn(2, 9, dtype=torch.float64)
    with pytest.raises(ValueError, match="names: expected weights that a changes"):
        ablation(network, module, x, names=["1.weight"])
    with pytest.raises(ValueError, match="changes the output on these inputs"):
        ablation(network, module, torch.zeros_like(x))

    class Many(nn.Sequential):
        def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
            return input, input

    with pytest.raises(ValueError, match="one floating tensor"):
        ablation(Many(nn.Linear(9, 12)).double(), module, x)


def test_pictures_draw_what_they_are_given():
    bars = plotting.attribution_bars(
        [[0.2, 0.8], [0.0, 0.0]], ["one", "$two$"], ["_cat", "dog"], interference=[0.5, -0.25], title="shares"
    )
    ax, side = bars.axes
    assert [patch.get_width() for patch in ax.patches] == pytest.approx([0.2, 0.0, 0.8, 0.0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["_cat", "dog"]
    assert [patch.get_width() for patch in side.patches] == pytest.approx([0.5, -0.25])
    many = [[1 / 9] * 9] * 300
    tall = plotting.attribution_bars(many, [f"layer {i}" for i in range(300)], [f"m{i}" for i in range(9)])
    assert tall.get_figheight() < 20
    scree = plotting.scree_plot({"a": [1.0, 4.0, 0.0], "b": [2.0]}, edges={"a": 0.5})
    lines = scree.axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[4.0, 1.0], [0.5, 0.5], [2.0]]
    assert len(plotting.png_bytes(scree)) > 1000


@pytest.mark.parametrize(
    "draw, match",
    [
        (lambda: plotting.attribution_bars([[0.2, 0.2]], ["a"], ["x", "y"]), "sum to 1"),
        (lambda: plotting.attribution_bars([[1.5, -0.5]], ["a"], ["x", "y"]), "numbers >= 0"),
        (lambda: plotting.attribution_bars([[0.5, 0.5]], ["a", "b"], ["x", "y"]), "labels"),
        (lambda: plotting.attribution_bars([[0.5, 0.5]], ["a"], ["x"]), "modules"),
        (lambda: plotting.attribution_bars([[1.0]], ["a"], ["x"], interference=[1.0, 2.0]), "one a layer"),
        (lambda: plotting.attribution_bars([0.5, 0.5], ["a"], ["x"]), r"expected shape \(n, t\)"),
        (lambda: plotting.scree_plot({}), "expected 1 to 12"),
        (lambda: plotting.scree_plot({"a": [0.0]}), "at least one singular value > 0"),
        (lambda: plotting.scree_plot({"a": [-1.0]}), "singular values >= 0"),
        (lambda: plotting.scree_plot({"a": [float("nan")]}), "finite"),
        (lambda: plotting.scree_plot({"a": [1.0]}, edges={"b": 1.0}), "names of spectra"),
        (lambda: plotting.scree_plot({"a": [1.0]}, edges={"a": 0.0}), "number > 0"),
    ],
)
def test_pictures_refuse(draw: Callable[[], object], match: str):
    with pytest.raises(ValueError, match=match):
        draw()

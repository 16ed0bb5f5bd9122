"""What a merge refuses, keeps and gives back: proofs, weights, kinds of number, tied networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import randn
from torch import nn

from hyperspectral_geo.merging import diagonal_fisher, load_adapter, regmean_plus_plus
from hyperspectral_geo.merging.apply import changed_parameters
from hyperspectral_geo.merging.core import join
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.grams import activation_grams
from hyperspectral_geo.merging.layerwise import calibrate_layerwise
from hyperspectral_geo.merging.merge import LayerRule, merge
from hyperspectral_geo.merging.merge_plan import module_weights, require_rank
from hyperspectral_geo.merging.module import Layout, Module

NAN, INF = float("nan"), float("inf")


def low(m: int = 6, n: int = 5, rank: int = 2, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> LowRank:
    return LowRank(randn(m, rank, seed=seed).to(dtype), randn(rank, n, seed=seed + 100).to(dtype))


def module(name: str, delta: Delta | None = None, bias: torch.Tensor | None = None, **settings: Any) -> Module:
    deltas = {} if delta is None else {"a.weight": delta}
    layouts = {n: Layout("linear", d.shape) for n, d in deltas.items()}
    return Module(name, deltas, layouts, {} if bias is None else {"a.bias": bias}, **settings)


BROKEN = {
    "NaN factors": LowRank(torch.full((6, 1), NAN), torch.ones(1, 5)),
    "overflow": LowRank(torch.full((6, 1), 1e200, dtype=torch.float64), torch.full((1, 5), 1e200, dtype=torch.float64)),
    "identity sides": LowRank(torch.full((6, 7), INF), torch.ones(7, 5)),
    "dense": Dense(torch.full((6, 5), NAN)),
}


@pytest.mark.parametrize("delta", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_numbers_that_are_not_finite_are_refused(delta: Delta, dtype: torch.dtype):
    assert join("x", [low(), delta], dtype=dtype).error == INF
    with pytest.raises(ValueError, match="a.weight: expected finite updates, got one of module 'bad' that"):
        merge([module("good", low()), module("bad", delta)], method="linear", dtype=dtype)
    assert merge([module("good", low()), module("bad", delta)], method="linear", weights=[1.0, 0.0]).deltas


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(400, 300, 16), (20, 18, 16)])
def test_ordinary_factors_pass_and_cancelling_ones_do_not(shape: tuple[int, int, int], dtype: torch.dtype):
    m, n, r = shape
    a, b = (low(m, n, r, seed=s) for s in (0, 1))
    error = join("x", [a, b], dtype=dtype).error
    assert error <= 20 * torch.finfo(dtype).eps
    merge([module("a", a), module("b", b)], method="linear", dtype=dtype)
    big, small = randn(m, 1, seed=5), randn(m, 1, seed=6)
    row = randn(1, n, seed=7)
    digits = 1e-12 if dtype == torch.float64 else 1e-5
    cancelling = LowRank(torch.cat([big, big + digits * small], 1), torch.cat([row, -row]))
    with pytest.raises(ValueError, match="product of its factors is small beside them"):
        merge([module("a", cancelling), module("b", b)], method="linear", dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_half_kinds_cannot_hold_a_basis(dtype: torch.dtype):
    with pytest.raises(ValueError, match="dtype: expected torch.float32 or torch.float64"):
        join("x", [low()], dtype=dtype)
    with pytest.raises(ValueError, match="dtype: expected torch.float32 or torch.float64"):
        merge([module("a", bias=torch.ones(3))], dtype=dtype)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": -1}, "rank: expected a whole number of at least 1, got -1"),
        ({"rank": 0}, "rank: expected a whole number"),
        ({"rank": True}, "rank: expected a whole number of at least 1, got True"),
        ({"scale": NAN}, "scale: expected a finite number, got nan"),
        ({"rules": [LayerRule("b.*", scale=2.0)]}, "got 'b.*', matching none; the nearest weight is 'a."),
        ({"weights": {"c": 1.0}}, "weights: no module is called 'c'; expected names among a, b"),
    ],
)
def test_settings_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError) as refused:
        merge([module("a", low()), module("b", low(seed=1))], method="linear", **settings)
    assert message in str(refused.value)


def test_wrong_kinds_are_refused():
    with pytest.raises(ValueError, match=r"rank: expected a whole number of at least 1, got 1\.5"):
        require_rank(1.5)
    for weights in ("11", 1.0, [1.0, "x"]):
        with pytest.raises(ValueError, match="weights: expected 2 finite numbers"):
            module_weights(weights, ["a", "b"])


def test_a_rule_refuses_a_scale_that_is_not_finite():
    with pytest.raises(ValueError, match="scale: expected a finite number, got inf"):
        LayerRule("*", scale=INF)


def test_weights_by_name():
    pair = [module("a", low()), module("b", low(seed=1))]
    named = merge(pair, method="linear", weights={"b": 0.25}).deltas["a.weight"].dense()
    torch.testing.assert_close(named, merge(pair, method="linear", weights=[1.0, 0.25]).deltas["a.weight"].dense())
    with pytest.raises(ValueError, match="2 modules share the name 'a'"):
        merge([pair[0], pair[0]], method="linear", weights={"a": 0.5})


@pytest.mark.parametrize(
    ("method", "weights", "expected"),
    [
        ("tsv", [1.0, 0.0], [1.0, 0.0]),
        ("tsv", [1.0, 1.0], [0.5, 0.5]),
        ("linear", [1.0, 2.0], [1.0, 2.0]),
        ("slerp", [1.0, 3.0], [0.25, 0.75]),
        ("slerp", [0.0, 3.0], [0.0, 1.0]),
    ],
)
def test_vectors(method: str, weights: list[float], expected: list[float]):
    a, b = randn(4, seed=1), randn(4, seed=2)
    found = merge([module("a", bias=a), module("b", bias=b)], method=method, weights=weights).vectors["a.bias"]
    torch.testing.assert_close(found, expected[0] * a + expected[1] * b)


def test_a_replaced_parameter_keeps_its_changes():
    network = nn.Sequential()
    network.add_module("a", nn.Linear(5, 6).double())
    given = module("m", low(), randn(6, seed=3), replaced={"a.weight": randn(6, 5, seed=4), "a.bias": randn(6, seed=5)})
    base = network.state_dict()
    full = given.against(base)
    changed = changed_parameters(network, given)
    torch.testing.assert_close(changed["a.weight"], base["a.weight"] + full.deltas["a.weight"].dense())
    torch.testing.assert_close(changed["a.bias"], base["a.bias"] + full.vectors["a.bias"])


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((torch.bfloat16, torch.bfloat16), torch.bfloat16),
        ((torch.bfloat16, torch.float16), torch.float32),
        ((torch.float16, torch.float32), torch.float32),
    ],
)
def test_merged_adapters_are_stored_in_their_own_kind(tmp_path, kinds, expected: torch.dtype):
    loaded = []
    for t, kind in enumerate(kinds):
        delta = low(seed=t, dtype=torch.float32)
        module(str(t), delta).save(tmp_path / str(t), dtype=kind)
        loaded.append(load_adapter(tmp_path / str(t)))
    merged = merge(loaded, method="tsv")
    assert merged.stored == {"a.weight": expected}
    assert merged.deltas["a.weight"].dtype == torch.float32
    assert "lora_scale" not in merged.deltas["a.weight"].notes
    merged.save(tmp_path / "merged")
    assert load_adapter(tmp_path / "merged").stored == {"a.weight": expected}


def test_the_widest_kind_of_all_modules_counts():
    narrow, wide = low(dtype=torch.float32), low(seed=1)
    assert merge([module("a", narrow), module("b", wide)], method="linear").deltas["a.weight"].dtype == torch.float64


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(7, 4)
        self.a = nn.Linear(4, 4)
        self.h = nn.Linear(4, 7, bias=False)
        self.h.weight = self.e.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.h(torch.tanh(self.a(input=self.e(ids))))


def test_tied_networks_and_layers_called_by_keyword():
    torch.manual_seed(0)
    network = Tied().double()
    batches = [torch.arange(6).reshape(2, 3)]
    deltas = {"h.weight": low(7, 4), "a.weight": low(4, 4, seed=1)}
    modules = [
        Module(
            str(t),
            {n: d.scaled(1.0 + t) for n, d in deltas.items()},
            {n: Layout("linear", d.shape) for n, d in deltas.items()},
        )
        for t in range(2)
    ]
    assert set(activation_grams(network, batches, weights=["a.weight"])) == {"a.weight"}
    assert set(regmean_plus_plus(network, modules, [batches, batches]).deltas) == set(deltas)
    found = diagonal_fisher(network, modules[0], batches)
    assert {n: tuple(f.shape) for n, f in found.items()} == {"h.weight": (7, 4), "a.weight": (4, 4)}


def test_layerwise_calibration_takes_grams_as_regmean_does():
    modules = [module(str(t), low(seed=t)) for t in range(2)]
    anchor = merge(modules, method="tsv")
    diagonals = [randn(2, 5, seed=s).square() for s in range(3)]
    full = [{"a.weight": torch.diag_embed(d)} for d in diagonals]
    expected = calibrate_layerwise(anchor, modules, full)
    forms = {
        "a mapping a module": [[{"a.weight": g} for g in fold["a.weight"]] for fold in full],
        "diagonals": [{"a.weight": d} for d in diagonals],
        "diagonals a module": [[{"a.weight": g} for g in d] for d in diagonals],
    }
    for form in forms.values():
        found = calibrate_layerwise(anchor, modules, form)
        assert found.errors == pytest.approx(dict(expected.errors))
    full[1] = {"a.weight": torch.full((2, 5, 5), NAN)}
    with pytest.raises(ValueError, match=r"folds\[1\]: a.weight: expected finite Gram matrices"):
        calibrate_layerwise(anchor, modules, full)

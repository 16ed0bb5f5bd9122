"""What is written for peft: only the layers that change, at the rank asked for, or a refusal with the way out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from hyperspectral_geo.merging import Dense, LowRank, Module, merge
from hyperspectral_geo.merging.adapter import load_adapter
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.module import Layout


def low(m: int, n: int, r: int, seed: int = 0) -> LowRank:
    g = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(m, r, generator=g), torch.randn(r, n, generator=g))


def linear(m: int, n: int) -> Layout:
    return Layout("linear", (m, n))


def module(**more: object) -> Module:
    deltas: dict[str, Delta] = {"a.q.weight": low(6, 5, 2), "b.a.q.weight": low(6, 5, 3, 1)}
    return replace(Module("m", deltas, {name: linear(6, 5) for name in deltas}), **more)  # pyright: ignore


def same(found: Module, given: Module, tolerance: float = 1e-6) -> None:
    assert set(found.deltas) == set(given.deltas)
    for name, delta in given.deltas.items():
        exact = delta.to(torch.float64).dense()
        error = (found.deltas[name].to(torch.float64).dense() - exact).norm()
        assert float(error) <= tolerance * max(1e-30, float(exact.norm()))
        assert found.layouts[name] == given.layouts[name]


def test_only_the_changed_layers_are_targets(tmp_path: Path) -> None:
    saved = module().save(tmp_path / "m")
    config = json.loads((saved.path / "adapter_config.json").read_text())
    assert {r for r in ("a.q", "b.a.q", "x.a.q", "aXq", "a.qq") if re.fullmatch(config["target_modules"], r)} == {
        "a.q",
        "b.a.q",
    }
    ranks = {x: load_adapter(saved.path).deltas[x].rank for x in module().deltas}
    assert ranks == {"a.q.weight": 2, "b.a.q.weight": 3}
    assert config["use_rslora"] is False
    same(load_adapter(saved.path), module(), 1e-7)


def test_dense_changes_become_factors_and_say_what_they_lose(tmp_path: Path) -> None:
    w = low(7, 6, 3, 4).dense() + 0.01 * torch.randn(7, 6, generator=torch.Generator().manual_seed(5))
    whole = Module(
        "m", {"a.weight": Dense(w), "z.weight": Dense(w * 0)}, {n: linear(7, 6) for n in ("a.weight", "z.weight")}
    )
    assert whole.save(tmp_path / "full").error < 1e-6
    found = load_adapter(tmp_path / "full")
    assert set(found.deltas) == {"a.weight"}  # what does not change is left out
    saved = whole.save(tmp_path / "cut", rank=3)
    assert load_adapter(saved.path).deltas["a.weight"].rank == 3
    s = torch.linalg.svdvals(w)
    assert saved.errors["a.weight"] == pytest.approx(float(s[3:].norm() / s.norm()), rel=1e-3)
    half = whole.save(tmp_path / "half", dtype=torch.bfloat16)
    assert 1e-4 < half.error < 0.02
    assert all(x.dtype == torch.bfloat16 for x in load_file(half.path / "adapter_model.safetensors").values())
    assert load_adapter(half.path).save(tmp_path / "again").error < 1e-7  # in the kind it came in


def test_merged_modules_are_saved(tmp_path: Path) -> None:
    one, two = module(), module(deltas={n: low(6, 5, 2, 7) for n in module().deltas})
    merged = merge([one, two], method="linear", weights=[0.5, -1.0])
    same(load_adapter(merged.save(tmp_path / "m").path), merged)


def test_biases_of_changed_layers_are_saved_with_zeros_elsewhere(tmp_path: Path) -> None:
    given = module(vectors={"a.q.bias": torch.arange(6.0), "norm.weight": torch.zeros(3)})
    found = load_adapter(given.save(tmp_path / "m").path)
    assert torch.equal(found.vectors["a.q.bias"], torch.arange(6.0))
    assert torch.equal(found.vectors["b.a.q.bias"], torch.zeros(6))


@pytest.mark.parametrize(
    "more, message",
    [
        ({"vectors": {"norm.weight": torch.ones(3)}}, "norm.weight; pass base="),
        ({"vectors": {"other.bias": torch.ones(3)}}, "other.bias; pass base="),
        ({"magnitudes": {"a.q.weight": torch.ones(6)}}, r"b.a.q.weight has none.*module.against\(base\)"),
        ({"deltas": {"a.q": low(6, 5, 1)}, "layouts": {"a.q": linear(6, 5)}}, "not of a.q; pass base="),
        ({"deltas": {}}, "expected at least one changed weight"),
        ({"layouts": {"a.q.weight": linear(6, 5), "b.a.q.weight": Layout("fan_in_fan_out", (5, 6))}}, "pass base="),
        (
            {
                "layouts": {"a.q.weight": linear(6, 5), "b.a.q.weight": Layout("embedding", (5, 6))},
                "vectors": {"a.q.bias": torch.ones(6)},
            },
            "beside a changed embedding",
        ),
        ({"stored": {"a.q.weight": torch.float16}, "deltas": {"a.q.weight": low(6, 5, 1).scaled(1e9)}}, "range of"),
    ],
)
def test_what_peft_cannot_hold_is_refused_and_nothing_written(
    more: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        module(**more).save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, message", [({"rank": 0}, "rank: expected"), ({"dtype": torch.int8}, "dtype: expected")]
)
def test_bad_options_are_refused(options: dict[str, object], message: str, tmp_path: Path, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        module().save(tmp_path / "m", **options)  # pyright: ignore


def test_existing_output_stays_unless_told(tmp_path: Path) -> None:
    module().save(tmp_path / "m")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}
    with pytest.raises(FileExistsError, match="overwrite=True"):
        module().save(tmp_path / "m")
    assert {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()} == before
    module(deltas={"a.q.weight": low(6, 5, 1)}).save(tmp_path / "m", overwrite=True)
    assert set(load_adapter(tmp_path / "m").deltas) == {"a.q.weight"}
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


BASE = {"a.q.weight": torch.eye(6, 5) + 1, "b.a.q.weight": torch.ones(6, 5), "head.weight": torch.ones(3, 6)}


def test_full_values_become_changes_beside_a_base() -> None:
    magnitudes = torch.arange(1.0, 7.0)
    given = module(replaced={"head.weight": torch.full((3, 6), 3.0)}, magnitudes={"a.q.weight": magnitudes})
    found = given.against(BASE)
    assert torch.equal(found.deltas["head.weight"].dense(), torch.full((3, 6), 2.0))
    weight = BASE["a.q.weight"] + found.deltas["a.q.weight"].dense()
    torch.testing.assert_close(weight.norm(dim=1), magnitudes)
    direction = BASE["a.q.weight"] + given.deltas["a.q.weight"].dense()
    torch.testing.assert_close(
        weight / weight.norm(dim=1, keepdim=True), direction / direction.norm(dim=1, keepdim=True)
    )
    assert found.deltas["b.a.q.weight"] is given.deltas["b.a.q.weight"]
    assert not found.replaced
    assert not found.magnitudes


@pytest.mark.parametrize(
    "more, change, message",
    [
        ({}, {"a.q.weight": torch.ones(5, 6)}, "a.q.weight: expected shape.*fan_in_fan_out"),
        ({"replaced": {"head.weight": torch.ones(4, 6)}}, {}, "head.weight: expected shape.*vocabulary"),
        ({"replaced": {"lm_head.weight": torch.ones(4, 6)}}, {}, "lm_head.weight.*found none.*tied"),
        ({"vectors": {"a.q.bias": torch.ones(6)}}, {}, "a.q.bias.*found none.*may have no bias"),
        (
            {
                "deltas": {"a.q.weight": LowRank(torch.zeros(6, 1), torch.zeros(1, 5))},
                "magnitudes": {"a.q.weight": torch.ones(6)},
            },
            {"a.q.weight": torch.zeros(6, 5)},
            "a.q.weight: row 0.*zero",
        ),
    ],
)
def test_what_does_not_fit_the_base_is_refused(
    more: dict[str, object], change: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        module(**more).against({**BASE, **change})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["linear", "fan_in_fan_out", "embedding", "conv"]),
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=2),
    kernel=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    ranks=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    layer=st.text(st.characters(categories=["L", "N"], include_characters="_-+*()[]^$|"), min_size=1, max_size=8),
)
def test_saving_and_loading_returns_any_module(kind, sizes, kernel, ranks, dtype, layer, tmp_path: Path) -> None:
    shape = (*sizes, *(kernel if kind == "conv" else ()))
    layout = Layout(kind, shape)
    m, n = layout.matrix_shape
    deltas = {f"block.{i}.{layer}.weight": low(m, n, r, i).to(torch.float64) for i, r in enumerate(ranks)}
    stored = dict.fromkeys(deltas, dtype)
    given = Module("m", deltas, dict.fromkeys(deltas, layout), stored=stored)
    saved = given.save(tmp_path / "m", overwrite=True)
    found = load_adapter(saved.path)
    same(found, given, {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 0.1}[dtype])
    again = load_adapter(found.save(tmp_path / "m", overwrite=True).path)
    assert all(torch.equal(again.deltas[n].dense(), found.deltas[n].dense()) for n in deltas)

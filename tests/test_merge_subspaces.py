"""EigenLoRAx' common subspaces and loadings, and MM-Lego's merge of latents."""

from __future__ import annotations

import math

import pytest
import torch
from cases import randn
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.eigenlorax import EigenLoadings, eigen_subspaces
from hyperspectral_geo.merging.frequency import merge_frequencies, merge_latents


def adapters(count: int = 5, shape: tuple[int, int] = (20, 14), rank: int = 3, inside: int = 4) -> list[LowRank]:
    """Adapters whose factors lie in common planes beside a common mean."""
    m, n = shape
    left, right = randn(m, inside, seed=1), randn(n, inside, seed=2)
    mean = randn(m, 1, seed=3), randn(n, 1, seed=4)
    return [
        LowRank(
            mean[0] + left @ randn(inside, rank, seed=10 + t), (mean[1] + right @ randn(inside, rank, seed=30 + t)).mT
        )
        for t in range(count)
    ]


def test_subspaces_hold_what_the_adapters_share():
    updates = adapters()
    for space, side in zip(
        eigen_subspaces(updates, components=9), (lambda u: u.left, lambda u: u.right.mT), strict=True
    ):
        assert space.components.shape[1] == 4
        assert space.captured == pytest.approx(1)
        gram = space.components.mT @ space.components
        torch.testing.assert_close(gram, torch.eye(4, dtype=torch.float64), atol=1e-13, rtol=0)
        for u in updates:
            torch.testing.assert_close(space.vectors(space.loadings(side(u))), side(u))


def test_fewer_components_capture_the_leading_share():
    left, _ = eigen_subspaces(adapters(), components=2)
    everything, _ = eigen_subspaces(adapters(), components=4)
    energy = everything.values.square()
    assert left.captured == pytest.approx(float(energy[:2].sum() / energy.sum()))
    torch.testing.assert_close(left.components, everything.components[:, :2])


def test_loadings_start_from_an_adapter_or_from_nothing():
    updates = adapters()
    spaces = eigen_subspaces(updates, components=4)
    start = EigenLoadings(*spaces, rank=3, start=updates[2])
    torch.testing.assert_close(start.update().dense(), updates[2].dense())
    fresh = EigenLoadings(*spaces, rank=2, seed=1)
    assert not bool(fresh.update().dense().any())
    assert sum(p.numel() for p in fresh.parameters()) == 2 * (4 + 1) * 2
    assert set(dict(fresh.named_parameters())) == {"left_loadings", "right_loadings"}


def test_loadings_learn_a_new_adapter_of_the_family():
    *known, new = adapters(6)
    layer = nn.Linear(14, 20, bias=False).double()
    layer.weight.requires_grad_(False)
    target = layer.weight + new.dense()
    loadings = EigenLoadings(*eigen_subspaces(known, components=4), rank=3)
    register_parametrization(layer, "weight", loadings)
    optimiser = torch.optim.LBFGS(
        loadings.parameters(), max_iter=800, line_search_fn="strong_wolfe", tolerance_change=0
    )

    def loss():
        optimiser.zero_grad()
        value = (layer.weight - target).square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    assert float((layer.weight - target).detach().norm() / new.norm()) < 1e-3


def test_one_adapter_and_repeated_adapters():
    one = adapters(1)
    left, right = eigen_subspaces(one * 3, components=8)
    assert left.components.shape[1] == 2  # three centred columns
    found = EigenLoadings(left, right, rank=3, start=one[0]).update()
    torch.testing.assert_close(found.dense(), one[0].dense())
    flat = eigen_subspaces([LowRank(torch.ones(4, 1), torch.ones(1, 3))], components=2)
    assert flat[0].captured == 1
    assert bool(flat[0].vectors(flat[0].loadings(torch.ones(4, 1).double())).isfinite().all())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eigen_subspaces([], components=2), "updates: expected at least one adapter"),
        (lambda: eigen_subspaces(adapters(), components=0), "components: expected a whole number >= 1, got 0"),
        (
            lambda: eigen_subspaces([*adapters(), *adapters(shape=(20, 13))], components=2),
            "updates: expected one shape",
        ),
        (lambda: EigenLoadings(*eigen_subspaces(adapters(), components=2), rank=0), "rank: expected a whole number"),
        (
            lambda: EigenLoadings(*eigen_subspaces(adapters(), components=2), rank=2, start=adapters()[0]),
            r"start: expected shape and rank \(\(20, 14\), 2\), got \(\(20, 14\), 3\)",
        ),
        (lambda: merge_latents([]), "latents: expected at least one, got none"),
        (lambda: merge_latents([torch.ones(3), torch.ones(4)]), "latents: expected one shape"),
        (lambda: merge_latents([torch.ones(3)], rule="median"), "rule: expected one of 'sum', .* got 'median'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Latents


@pytest.mark.parametrize("rule", ["mean", "harmonic"])
@given(count=st.integers(1, 5), n=st.integers(1, 9), seed=st.integers(0, 99))
def test_equal_latents_stay(rule, count: int, n: int, seed: int):
    x = randn(3, n, seed=seed)
    torch.testing.assert_close(merge_latents([x] * count, rule=rule), x)


def test_rules_on_spectra():
    a = torch.polar(torch.tensor([2.0, 1.0, 0.0, 1.0]), torch.tensor([0.3, 0.0, 0.0, 1.0]))
    b = torch.polar(torch.tensor([6.0, 1.0, 5.0, 3.0]), torch.tensor([0.5, math.pi, 1.0, 1.0]))
    torch.testing.assert_close(merge_frequencies([a, b], rule="sum"), a + b)
    torch.testing.assert_close(merge_frequencies([a, b], rule="mean"), (a + b) / 2)
    torch.testing.assert_close(merge_frequencies([a, b], rule="product"), a * b)
    found = merge_frequencies([a, b], rule="harmonic")
    torch.testing.assert_close(found.abs(), torch.tensor([3.0, 0.0, 0.0, 1.5]), atol=1e-6, rtol=1e-6)
    assert float(found[0].angle()) == pytest.approx(0.4)
    assert float(found[3].angle()) == pytest.approx(1.0)


def test_harmonic_latents_do_not_depend_on_their_order_and_scale_with_them():
    x = [randn(2, 8, seed=s) for s in range(3)]
    found = merge_latents(x)
    torch.testing.assert_close(merge_latents(x[::-1]), found)
    torch.testing.assert_close(merge_latents([3 * v for v in x]), 3 * found)

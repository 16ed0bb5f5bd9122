"""Layers cut in the eigenbasis of their outputs: the least loss, the right costs, and distillation of what was lost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hyperspectral_geo.fusion.light.distillation import distill
from hyperspectral_geo.fusion.light.layer_truncation import ThinLayers, truncate_layers


def inputs(rows: int = 80, d: int = 8, *, spread: float = 0.6) -> torch.Tensor:
    """Rows with a falling spectrum and a mean."""
    return torch.randn(rows, d) * spread ** torch.arange(d) @ torch.linalg.qr(torch.randn(d, d)).Q + 2.0


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_no_map_of_that_rank_loses_less(rank):
    """The loss on the inputs is Σ_{i>k} λ_i, by the singular values of the centred outputs, and a cut of the inputs'
    own eigenbasis loses no less."""
    x, layer = inputs(), nn.Linear(8, 12)
    outputs = layer(x).detach()
    values = torch.linalg.svdvals((outputs - outputs.mean(0)).double())
    kept = float(values[:rank].square().sum() / values.square().sum())
    found = truncate_layers(layer, x.split(30), energy=kept * 0.99999)
    (cut,) = found.layers
    loss = float((found.network(x) - outputs).detach().square().sum())
    assert cut.rank == rank
    assert loss == pytest.approx(float(values[rank:].square().sum()), rel=1e-2)
    assert cut.lost == pytest.approx(1 - kept, rel=1e-2)
    frame = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:rank].T
    by_inputs = (x - x.mean(0)) @ frame @ frame.T @ layer.weight.detach().T + outputs.mean(0)
    assert loss <= float((by_inputs - outputs).square().sum()) * (1 + 1e-5)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 1, stride=2),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.Conv2d(12, 10, 1, bias=False),
        nn.BatchNorm2d(10),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, 6),
    )


def test_convolutions_keep_stride_and_bias_and_everything_is_counted():
    whole, pictures = network(), torch.randn(16, 3, 8, 8)
    found = truncate_layers(whole, [pictures], energy=1.0)
    assert [(layer.name, layer.before) for layer in found.layers] == [
        ("0", 16 * 3 * 12),
        ("3", 16 * 12 * 10),
        ("7", 60),
    ]
    assert found.others == 16 * 12 * 9
    assert found.before == 16 * (36 + 120 + 108) + 60
    whole.eval()
    torch.testing.assert_close(found.network.eval()(pictures), whole(pictures), atol=1e-4, rtol=1e-4)
    # rank 3 of 3 × 12 costs more than the layer, so it stays
    assert isinstance(found.network.get_submodule("0"), nn.Conv2d)


def test_the_original_stays_as_it_was():
    whole, pictures = network(), torch.randn(8, 3, 8, 8)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    truncate_layers(whole, [pictures], budget=0.7)
    assert whole.training
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert not any(module._forward_hooks for module in whole.modules())


@pytest.mark.parametrize("budget", [0.4, 0.6, 0.9])
def test_budgets_are_kept_and_more_loses_less(budget):
    x = inputs(d=16)
    deep = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
    found = truncate_layers(deep, [x], budget=budget)
    assert found.after <= budget * found.before
    parameters = sum(p.numel() for m in found.network.modules() if isinstance(m, nn.Linear) for p in [m.weight])
    assert parameters == found.after
    more = truncate_layers(deep, [x], budget=min(0.95, budget + 0.2))
    assert sum(layer.lost for layer in more.layers) <= sum(layer.lost for layer in found.layers) + 1e-9


class Doubling(nn.Linear):
    """A subclass that does something else with its weight."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_layers_that_do_something_else_or_do_not_run_are_left():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd, self.idle, self.plain = Doubling(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.plain(self.odd(x))

    found = truncate_layers(Net(), [inputs()], energy=0.5)
    assert [layer.name for layer in found.layers] == ["plain"]
    assert isinstance(found.network.get_submodule("plain"), ThinLayers)
    with pytest.raises(ValueError, match="none that can be cut"):
        truncate_layers(Net(), [inputs()], energy=0.5, skip=["plain"])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one"),
        ({"energy": 0.5, "budget": 0.5}, "exactly one"),
        ({"energy": 0.0}, "energy: expected"),
        ({"energy": float("nan")}, "energy: expected"),
        ({"budget": 1.0}, "budget: expected"),
        ({"budget": 0.01}, "budget: expected at least"),
        ({"energy": 0.9, "skip": ["nowhere"]}, "skip: expected names"),
        ({"energy": 0.9, "batches": []}, "none that can be cut"),
        ({"energy": 0.9, "batches": [torch.full((2, 8), float("nan"))]}, "batch 0: expected finite"),
        ({"energy": 0.9, "batches": [[1.0]]}, "batch 0: expected a torch.Tensor"),
    ],
)
def test_bad_truncations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        truncate_layers(nn.Linear(8, 8), options.pop("batches", [inputs()]), **options)


def test_distillation_regains_what_was_lost_and_moves_thin_layers_only():
    x = inputs(256, 16, spread=0.9)
    whole = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4))
    targets = whole(x).detach()
    cut = truncate_layers(whole, [x], budget=0.25, skip=["4"]).network
    seen = []
    found = distill(cut, targets, x, steps=200, rate=1e-2, progress=lambda step, loss: seen.append((step, loss)))
    before, after = ((net(x) - targets).square().mean().detach() for net in (cut, found.network))
    assert after < 0.9 * before
    assert [step for step, _ in seen] == list(range(200))
    assert torch.equal(found.losses, torch.tensor([loss for _, loss in seen]))
    assert torch.equal(found.network.get_submodule("4").weight, whole[4].weight)
    x.requires_grad_()
    again = distill(cut, whole(x), x, steps=200, rate=1e-2)
    assert torch.equal(again.losses, found.losses)
    assert x.grad is None


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (torch.randn(5, 3), {}, "expected 80 rows"),
        (torch.randn(80), {}, r"targets: expected \(3,\) for each input, as the network gives, got \(\)"),
        (torch.randn(80, 1), {}, r"targets: expected \(3,\) for each input, .* got \(1,\)"),
        (torch.ones(80, 3), {}, "outputs that vary"),
        (torch.full((80, 3), float("nan")), {}, "targets: expected finite"),
        (torch.randn(80, 3), {"steps": 0}, "steps: expected"),
        (torch.randn(80, 3), {"rate": -1.0}, "rate: expected"),
        (torch.randn(80, 3), {"rate": 1e30}, "expected a finite loss"),
        (torch.randn(80, 3), {"truncated": nn.Linear(8, 3)}, "thin layers, got none"),
    ],
)
def test_bad_distillations_are_refused(targets, options, message):
    x = inputs()
    truncated = options.pop("truncated", None) or truncate_layers(nn.Linear(8, 3), [x], energy=0.4).network
    with pytest.raises(ValueError, match=message):
        distill(truncated, targets, x, **options)

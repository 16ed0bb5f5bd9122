"""Gram matrices, Fisher information and RegMean++ against what one computes by hand on small networks."""

from __future__ import annotations

import math

import pytest
import torch
from cases import randn
from torch import nn

from hyperspectral_geo.merging.delta import Dense
from hyperspectral_geo.merging.fisher import diagonal_fisher
from hyperspectral_geo.merging.grams import activation_grams
from hyperspectral_geo.merging.merge import merge
from hyperspectral_geo.merging.module import Layout, Module
from hyperspectral_geo.merging.regmean_plus_plus import regmean_plus_plus


class Words(nn.Module):
    """Embedding, a convolution over positions, dropout, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 3, 3, stride=2, padding=1, dilation=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.tanh(self.conv(self.embedding(words).mT))).mean(-1))


def dense_module(network: nn.Module, name: str, seed: int, scale: float = 0.3) -> Module:
    deltas, layouts = {}, {}
    for i, (weight, p) in enumerate(network.named_parameters()):
        if p.ndim > 1:
            kind = "embedding" if "embedding" in weight else "conv" if p.ndim > 2 else "linear"
            layouts[weight] = Layout(kind, tuple(p.shape))
            deltas[weight] = Dense(scale * randn(*layouts[weight].matrix_shape, seed=seed + i, dtype=torch.float32))
    vectors = {
        n: scale * randn(*p.shape, seed=seed, dtype=p.dtype) for n, p in network.named_parameters() if p.ndim == 1
    }
    return Module(name, deltas, layouts, vectors)


# Gram matrices


def test_grams_of_linear_convolution_and_embedding():
    network = Words().train()
    batches = [torch.randint(7, (3, 6)), torch.randint(7, (2, 6))]
    grams = activation_grams(network, batches, mean=False)
    assert network.training
    assert network.drop.training
    words = torch.cat(batches)
    assert torch.equal(grams["embedding.weight"], torch.bincount(words.flatten(), minlength=7).double())
    features = network.embedding(words).mT.detach().double()
    patches = torch.nn.functional.unfold(features.unsqueeze(2), (1, 3), stride=(1, 2), padding=(0, 1))
    rows = patches.mT.flatten(0, 1)
    torch.testing.assert_close(grams["conv.weight"], rows.mT @ rows)
    # what a patch times the kernel, read as a matrix, gives is what the layer gives
    expected = network.conv(features.float()).detach() - network.conv.bias.detach()[:, None]
    found = (rows @ network.conv.weight.detach().double().flatten(1).mT).reshape(5, -1, 3).mT
    torch.testing.assert_close(found.float(), expected)
    x = torch.tanh(network.conv(features.float())).mean(-1).detach().double()
    torch.testing.assert_close(grams["head.weight"], x.mT @ x)
    means = activation_grams(network, batches)
    torch.testing.assert_close(means["conv.weight"], grams["conv.weight"] / (5 * 3))
    torch.testing.assert_close(activation_grams(network, [words])["head.weight"], means["head.weight"])


@pytest.mark.parametrize("stride,dilation,padding", [((1, 2), (2, 1), (0, 3)), ((2, 1), (1, 1), (1, 1))])
def test_patches_of_images(stride, dilation, padding):
    layer = nn.Conv2d(2, 3, (2, 3), stride=stride, dilation=dilation, padding=padding)
    x = randn(4, 2, 7, 6, seed=1, dtype=torch.float32)
    rows = nn.functional.unfold(x.double(), (2, 3), dilation, padding, stride).mT.flatten(0, 1)
    found = activation_grams(layer, [(x,)], mean=False)["weight"]
    torch.testing.assert_close(found, rows.mT @ rows)


def test_grams_with_parameters_in_place_of_the_networks_own():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    x = randn(9, 3, seed=1, dtype=torch.float32)
    found = activation_grams(network, [{"input": x}], weights=["1.weight"], parameters={"0.weight": torch.zeros(4, 3)})[
        "1.weight"
    ]
    bias = network[0].bias.detach().double()
    torch.testing.assert_close(found, torch.outer(bias, bias))


@pytest.mark.parametrize(
    ("weights", "batches", "message"),
    [
        (["head.bias"], None, "weights: 'head.bias' is no weight of a linear layer.*it has embedding.weight, conv"),
        (None, [], "inputs: expected at least one batch, got none"),
        (["unused.weight"], None, "inputs: no batch has reached 'unused.weight'"),
    ],
)
def test_bad_requests_for_grams(weights, batches, message):
    network = Words()
    network.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=message):
        activation_grams(
            network, [torch.zeros(1, 6, dtype=torch.int64)] if batches is None else batches, weights=weights
        )


def test_grams_of_inputs_that_are_not_finite():
    with pytest.raises(ValueError, match="inputs: the inputs of 'weight' hold a NaN"):
        activation_grams(nn.Linear(2, 2), [torch.full((1, 2), math.nan)])
    with pytest.raises(ValueError, match="convolutions of one group, got 2"):
        activation_grams(nn.Conv1d(2, 2, 1, groups=2), [torch.zeros(1, 2, 3)])


# RegMean and RegMean++


def test_regmean_fits_each_module_on_its_own_inputs():
    """With as many unknowns as equations, each module's outputs are met exactly."""
    network = nn.Linear(6, 3, bias=False).double()
    modules = [
        Module(str(t), {"weight": Dense(randn(3, 6, seed=t))}, {"weight": Layout("linear", (3, 6))}) for t in (0, 1)
    ]
    inputs = [[randn(3, 6, seed=t)] for t in (2, 3)]
    grams = [activation_grams(network, batches) for batches in inputs]
    merged = merge(modules, method="regmean", grams=grams, reduction=1.0, ridge=1e-13).deltas["weight"].dense()
    for m, (x,) in zip(modules, inputs, strict=True):
        torch.testing.assert_close(x @ merged.mT, x @ m.deltas["weight"].dense().mT, atol=1e-6, rtol=1e-6)


def test_regmean_plus_plus_sees_the_merged_networks_inputs():
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    modules = [dense_module(network, str(t), 10 * t + 1) for t in range(2)]
    inputs = [[randn(30, 4, seed=t, dtype=torch.float32)] for t in (5, 6)]
    merged = regmean_plus_plus(network, modules, inputs)
    first = [activation_grams(network, b, weights=["0.weight"])["0.weight"] for b in inputs]
    by_hand = merge(
        modules, method="regmean", grams={"0.weight": torch.stack(first), "2.weight": torch.stack([torch.eye(5)] * 2)}
    )
    torch.testing.assert_close(merged.deltas["0.weight"].dense(), by_hand.deltas["0.weight"].dense())
    torch.testing.assert_close(
        merged.vectors["0.bias"], (modules[0].vectors["0.bias"] + modules[1].vectors["0.bias"]) / 2
    )
    weight = network[0].weight.detach() + merged.deltas["0.weight"].dense()
    bias = network[0].bias.detach() + merged.vectors["0.bias"]
    hidden = [torch.tanh(x @ weight.mT + bias).double() for (x,) in inputs]
    second = torch.stack([h.mT @ h / len(h) for h in hidden])
    again = merge(modules, method="regmean", grams={"0.weight": torch.stack(first), "2.weight": second})
    torch.testing.assert_close(
        merged.deltas["2.weight"].dense(), again.deltas["2.weight"].dense(), atol=1e-5, rtol=1e-5
    )


def test_regmean_plus_plus_through_embeddings_and_convolutions():
    network = Words()
    before = {n: p.clone() for n, p in network.named_parameters()}
    modules = [dense_module(network, str(t), 20 * t) for t in range(2)]
    inputs = [[torch.randint(7, (8, 6))] for _ in modules]
    done: list[tuple[int, int]] = []
    merged = regmean_plus_plus(network, modules, inputs, progress=lambda *p: done.append(p))
    assert set(merged.deltas) == {"embedding.weight", "conv.weight", "head.weight"}
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
    alone = regmean_plus_plus(network, modules[:1], inputs[:1])
    for name, delta in modules[0].deltas.items():
        torch.testing.assert_close(alone.deltas[name].dense(), delta.dense(), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="inputs: expected a sequence of at least one batch for each of 2 modules"):
        regmean_plus_plus(network, modules, inputs[:1])


# Fisher information


def test_fisher_of_a_softmax_regression():
    """With p the softmax of W x, the Fisher's diagonal is p_i (1 − p_i) x_j² on average."""
    network = nn.Linear(4, 3, bias=False)
    module = dense_module(network, "m", 1)
    x = randn(40, 4, seed=2, dtype=torch.float32)
    found = diagonal_fisher(network, module, [x[:25], (x[25:],)], samples=60)["weight"]
    weight = (network.weight.detach() + module.deltas["weight"].dense()).double()
    p = (x.double() @ weight.mT).softmax(-1)
    expected = torch.einsum("bi,bj->ij", p * (1 - p), x.double().square()) / len(x)
    assert float((found - expected).norm() / expected.norm()) < 0.1


def test_fisher_with_a_given_loss_and_stored_layouts():
    network = Words()
    module = dense_module(network, "m", 3)
    words = torch.randint(7, (3, 6))
    labels = torch.tensor([0, 4, 2])

    def loss(output, example):
        return nn.functional.cross_entropy(output, example["label"])

    class Labelled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = network

        def forward(self, word, label):
            return self.words(word)

    prefixed = Module(
        "m",
        {f"words.{n}": d for n, d in module.deltas.items()},
        {f"words.{n}": layout for n, layout in module.layouts.items()},
    )
    found = diagonal_fisher(Labelled(), prefixed, [{"word": words, "label": labels}], loss=loss)
    assert found["words.embedding.weight"].shape == (4, 7)
    assert found["words.conv.weight"].shape == (3, 12)
    unused = torch.bincount(words.flatten(), minlength=7) == 0
    assert bool((found["words.embedding.weight"][:, unused] == 0).all())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_bad_requests_for_fisher():
    network = nn.Linear(4, 3)
    module = dense_module(network, "m", 1)
    with pytest.raises(ValueError, match="inputs: expected at least one example"):
        diagonal_fisher(network, module, [])
    with pytest.raises(ValueError, match="samples: expected at least one label"):
        diagonal_fisher(network, module, [torch.zeros(1, 4)], samples=0)
    with pytest.raises(ValueError, match="expected a network with the parameter weight"):
        diagonal_fisher(nn.Sequential(network), module, [torch.zeros(1, 4)])
    with pytest.raises(ValueError, match="gradients of 'weight' hold a NaN"):
        diagonal_fisher(network, module, [torch.full((1, 4), math.nan)], loss=lambda output, _: output.sum())

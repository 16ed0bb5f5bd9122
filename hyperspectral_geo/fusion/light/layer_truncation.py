"""A network's own layers cut to the directions that their outputs use, by two thin layers in the place of one."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperspectral_geo.fusion.light.layer_spectra import Forward, LayerCut, OutputSpectrum, watch

__all__ = ["ThinLayers", "Truncation", "truncate_layers"]


class ThinLayers(nn.Sequential):
    """A layer of rank k: from its input to k coordinates, and from these to its output."""


@dataclass(frozen=True)
class Truncation:
    """The cut network and what was cut.

    Attributes:
        network: a copy; the original is untouched.
        layers: that could be cut, in the network's order.
        others: multiplications of one row in the convolutions and linear layers that could not.
    """

    network: nn.Module
    layers: tuple[LayerCut, ...]
    others: int

    @property
    def before(self) -> int:
        """Multiplications of one row in all convolutions and linear layers of the original."""
        return self.others + sum(layer.before for layer in self.layers)

    @property
    def after(self) -> int:
        """Likewise, of the cut network."""
        return self.others + sum(layer.after for layer in self.layers)


def truncate_layers(
    network: nn.Module,
    batches: Iterable[Tensor],
    *,
    energy: float | None = None,
    budget: float | None = None,
    skip: Collection[str] = (),
    forward: Forward | None = None,
) -> Truncation:
    r"""Replace linear layers and 1×1 convolutions by two thin ones each, in the eigenbasis of their outputs.

    With the covariance C and mean x̄ of a layer's inputs, and the leading eigenvectors U_k of W C Wᵀ,

        W x + b  ≈  U_k (U_kᵀ W) x + b + (I − U_k U_kᵀ) W x̄,

    which is the best map of rank k for these inputs: the loss Σ_{i>k} λ_i is the least of all (Eckart and Young), so
    that a cut in the eigenbasis of the inputs is never better. The layer costs k(in + out) instead of in·out.

    Args:
        network: any; it is put into evaluation mode while it runs, and is not changed. Convolutions count that have
            kernel 1, no padding and one group. A layer is left alone whose output is not what its weight makes of its
            input (a subclass that does something else), or that does not run.
        batches: inputs like those to come, a few hundred rows; labels are not needed.
        energy: keep this share of the variance of every layer's outputs, in (0, 1]; or
        budget: spend at most this share of the multiplications of all layers that can be cut, in (0, 1), where the
            variance kept, as a share of each layer's own, is largest for its cost.
        skip: names of layers to leave alone.
        forward: how to run the network; ``network(batch)`` if left out.

    Returns:
        ``Truncation``: the cut copy, and rank, loss and cost of every layer.

    Raises:
        ValueError: unless exactly one of ``energy`` and ``budget`` is given and in range, for a name in ``skip`` that
            is no layer, for a network or batches with nothing to cut, or a batch that is not finite.

    References:
        Eckart and Young 1936; Denton et al., "Exploiting linear structure within convolutional networks", 2014,
        arXiv:1404.0736; Zhang et al., "Accelerating very deep convolutional networks", 2015, arXiv:1505.06798, for the
        covariance of outputs; Yu and Wu, "Compressing transformers: features are low-rank, but weights are not!", 2023.

    >>> layer = nn.Linear(6, 6)
    >>> inputs = torch.randn(50, 2) @ torch.randn(2, 6)
    >>> cut = truncate_layers(nn.Sequential(layer), [inputs], energy=0.999)
    >>> cut.layers[0].rank, torch.allclose(cut.network(inputs), layer(inputs), atol=1e-5)
    (2, True)
    """
    _check_share(energy, budget)
    names = dict(network.named_modules())
    if unknown := sorted(set(skip) - set(names)):
        raise ValueError(f"skip: expected names of layers, got {unknown[0]!r}, which the network lacks")
    spectra, others = watch(network, batches, set(skip), forward or (lambda network, batch: network(batch)))
    if not spectra:
        raise ValueError("network: expected linear layers or 1x1 convolutions that run, got none that can be cut")
    ranks = _by_energy(spectra, energy) if energy is not None else _by_budget(spectra, budget or 1.0)
    cuts = tuple(spectrum.cut(rank) for spectrum, rank in zip(spectra, ranks, strict=True))
    copied = copy.deepcopy(network)
    for spectrum, cut in zip(spectra, cuts, strict=True):
        if cut.rank < cut.full_rank:
            copied = _replaced(copied, spectrum, cut.rank)
    return Truncation(copied, cuts, others)


def _by_energy(spectra: list[OutputSpectrum], energy: float) -> list[int]:
    """The least rank of each layer that keeps the share."""
    ranks = []
    for spectrum in spectra:
        kept = spectrum.variances.cumsum(0) / spectrum.variances.sum().clamp_min(torch.finfo(torch.float64).tiny)
        ranks.append(min(len(kept), int((kept < energy * (1 - 1e-12)).sum()) + 1))
    return ranks


def _by_budget(spectra: list[OutputSpectrum], budget: float) -> list[int]:
    """Directions above one common ratio of variance to cost: the best that can be had for it, layer by layer.

    A layer for which the thin layers would cost no less stays, and costs what it does.
    """
    ratios = [s.variances / s.variances.sum().clamp_min(1e-300) / s.per_rank for s in spectra]
    allowed = budget * sum(s.before for s in spectra)

    def ranks(least: float) -> list[int]:
        return [max(1, int((ratio >= least).sum())) for ratio in ratios]

    def cost(least: float) -> int:
        return sum(s.cut(rank).after for s, rank in zip(spectra, ranks(least), strict=True))

    levels = torch.cat(ratios).unique()
    low, high = 0, len(levels) - 1
    while low < high:  # the first level whose cost is allowed
        middle = (low + high) // 2
        low, high = (low, middle) if cost(float(levels[middle])) <= allowed else (middle + 1, high)
    if cost(float(levels[low])) > allowed:
        least = sum(s.cut(1).after for s in spectra) / sum(s.before for s in spectra)
        raise ValueError(f"budget: expected at least {least:.4f}, which rank 1 in every layer costs, got {budget}")
    return ranks(float(levels[low]))


def _replaced(network: nn.Module, spectrum: OutputSpectrum, rank: int) -> nn.Module:
    """The network with one layer in two; a network that is that layer itself becomes the two."""
    parent, _, own = spectrum.name.rpartition(".")
    layer = network.get_submodule(spectrum.name)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    frame = spectrum.directions[:, :rank]
    weight = layer.weight.detach()
    shape = (-1, 1, 1) if isinstance(layer, nn.Conv2d) else (-1,)
    bias = spectrum.mean - frame @ (frame.T @ spectrum.mean)
    bias = (bias + (0 if layer.bias is None else layer.bias.detach().double())).to(weight)
    first = (frame.T @ weight.flatten(1).double()).to(weight).reshape(rank, *shape)
    second = frame.to(weight).reshape(len(frame), *((rank, 1, 1) if isinstance(layer, nn.Conv2d) else (rank,)))
    if isinstance(layer, nn.Conv2d):
        thin = ThinLayers(
            nn.Conv2d(weight.shape[1], rank, 1, stride=(layer.stride[0], layer.stride[1]), bias=False),
            nn.Conv2d(rank, len(frame), 1),
        )
    else:
        thin = ThinLayers(nn.Linear(weight.shape[1], rank, bias=False), nn.Linear(rank, len(frame)))
    thin.to(weight).train(layer.training)
    with torch.no_grad():
        for parameter, value in zip(thin.parameters(), (first, second, bias), strict=True):
            parameter.copy_(value)
    if not own:
        return thin
    setattr(network.get_submodule(parent), own, thin)
    return network


def _check_share(energy: float | None, budget: float | None) -> None:
    if (energy is None) == (budget is None):
        raise ValueError("energy, budget: expected exactly one of them, got both or none")
    if energy is not None and not (math.isfinite(energy) and 0 < energy <= 1):
        raise ValueError(f"energy: expected a share in (0, 1], got {energy!r}")
    if budget is not None and not 0 < budget < 1:
        raise ValueError(f"budget: expected a share in (0, 1), got {budget!r}")

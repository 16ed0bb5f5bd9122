"""What the layers of a network put out, as eigenvalues and directions, and what each would cost at a lower rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from hyperspectral_geo.validation import require_finite, require_floating

__all__ = ["Forward", "LayerCut", "OutputSpectrum", "watch"]

Forward: TypeAlias = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class LayerCut:
    """One layer that could be cut.

    Attributes:
        name: in the network.
        rank, full_rank: of the thin layers, or equal where the layer stayed, since cutting it would save nothing.
        lost: share of the variance of its outputs that the cut gives up, from 0 to 1.
        before, after: multiplications of one row (one picture).
    """

    name: str
    rank: int
    full_rank: int
    lost: float
    before: int
    after: int


@dataclass(frozen=True)
class OutputSpectrum:
    """Outputs of a layer without their bias.

    Attributes:
        name: of the layer in the network.
        mean: of the outputs.
        directions, variances: eigenvectors and eigenvalues of their covariance, descending.
        before: multiplications of one row.
        per_rank: multiplications of one row that thin layers cost for each direction kept.
    """

    name: str
    mean: Tensor
    directions: Tensor
    variances: Tensor
    before: int
    per_rank: int

    def cut(self, rank: int) -> LayerCut:
        """The layer at a rank, or as it is if the thin layers would cost no less."""
        full = len(self.variances)
        if rank * self.per_rank >= self.before:
            return LayerCut(self.name, full, full, 0.0, self.before, self.before)
        lost = float(self.variances[rank:].sum() / self.variances.sum().clamp_min(torch.finfo(torch.float64).tiny))
        return LayerCut(self.name, rank, full, lost, self.before, rank * self.per_rank)


def watch(
    network: nn.Module, batches: Iterable[Tensor], skip: set[str], forward: Forward
) -> tuple[list[OutputSpectrum], int]:
    """Spectra of the layers that can be cut, and multiplications of a row in the others.

    Args:
        network: put into evaluation mode while it runs, and given back as it was.
        batches: inputs.
        skip: names of layers to leave alone.
        forward: how to run the network.

    Raises:
        ValueError: for a batch that is not finite.
    """
    watchers = [
        _Watcher(name, layer, wanted=name not in skip and _can_be_cut(layer))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    modes = {module: module.training for module in network.modules()}
    handles = [watcher.layer.register_forward_hook(watcher) for watcher in watchers]
    inputs = 0
    try:
        network.eval()
        with torch.no_grad():
            for number, batch in enumerate(batches):
                require_floating(f"batch {number}", batch)
                require_finite(f"batch {number}", batch)
                forward(network, batch)
                inputs += len(batch)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    spectra = [watcher.spectrum(inputs) for watcher in watchers if watcher.wanted and watcher.rows]
    cut = {spectrum.name for spectrum in spectra}
    others = sum(w.positions * w.layer.weight.numel() // max(1, inputs) for w in watchers if w.name not in cut)
    return spectra, others


class _Watcher:
    """A forward hook that sums the inputs of a layer and their products, and counts multiplications."""

    def __init__(self, name: str, layer: nn.Linear | nn.Conv2d, *, wanted: bool) -> None:
        self.name, self.layer, self.wanted = name, layer, wanted
        self.rows = self.positions = 0
        self.total = self.products = torch.zeros(())

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0]
        self.positions += output.numel() // self.layer.weight.shape[0]
        if not self.wanted:
            return
        if isinstance(self.layer, nn.Conv2d):
            x = x[..., :: self.layer.stride[0], :: self.layer.stride[1]].movedim(1, -1)
            output = output.movedim(1, -1)
        if self.rows == 0 and not self._plain(x, output):
            self.wanted = False
            return
        flat = x.reshape(-1, x.shape[-1])
        self.rows += len(flat)
        # Sums of one batch in its own precision, over batches in float64: thousands of rows lose few digits so.
        self.total = self.total + flat.sum(0).double()
        self.products = self.products + (flat.T @ flat).double()

    def spectrum(self, inputs: int) -> OutputSpectrum:
        """Eigenvectors of the outputs' covariance, from that of the inputs."""
        weight = self.layer.weight.detach().flatten(1).double()
        mean = self.total / self.rows
        covariance = weight @ (self.products / self.rows - torch.outer(mean, mean)) @ weight.T
        variances, directions = torch.linalg.eigh((covariance + covariance.T) / 2)
        kept = min(weight.shape)
        positions = self.positions // inputs
        return OutputSpectrum(
            self.name,
            weight @ mean,
            directions.flip(1)[:, :kept],
            variances.flip(0)[:kept].clamp_min(0),
            positions * weight.numel(),
            positions * sum(weight.shape),
        )

    def _plain(self, x: Tensor, output: Tensor) -> bool:
        """Whether the output is what the weight makes of the input; looked at for the first rows."""
        if x.shape[:-1] != output.shape[:-1]:
            return False
        made = nn.functional.linear(x[:2], self.layer.weight.flatten(1), self.layer.bias)
        return torch.allclose(made, output[:2], rtol=1e-3, atol=1e-4 * float(output[:2].abs().max()))


def _can_be_cut(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.groups == 1 and layer.padding in ((0, 0), "valid")
    return isinstance(layer, nn.Linear)

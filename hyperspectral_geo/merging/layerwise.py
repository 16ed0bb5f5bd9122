"""Eigenvalues after the merge, layer by layer: least squares in closed form, from activation Gram matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.delta import Delta, LowRank
from hyperspectral_geo.merging.descent import with_parameters
from hyperspectral_geo.merging.methods.per_module import PerModule, grams_of
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.spectrum import Free, Spectrum, spectra

__all__ = ["LayerwiseCalibration", "calibrate_layerwise"]


@dataclass(frozen=True, eq=False)
class LayerwiseCalibration:
    """A calibrated module, the ridge that held-out inputs chose, and their errors.

    Attributes:
        module: the merged module with moved eigenvalues; the anchor itself if no ridge was better.
        ridge: the chosen one, inf for the anchor.
        errors: for each ridge the held-out error over the anchor's, mean over the weights.
    """

    module: Module
    ridge: float
    errors: Mapping[float, float]


def calibrate_layerwise(
    anchor: Module,
    modules: Sequence[Module],
    folds: Sequence[PerModule],
    *,
    free: Free = "eigenvalues",
    ridges: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
) -> LayerwiseCalibration:
    """Least squares on each weight's eigenvalues, so that merged and own outputs of a layer agree on its inputs.

    min over C of Σ_t tr((U C Vᵀ − ΔW_t) G_t (U C Vᵀ − ΔW_t)ᵀ) + ρ‖C − diag(σ)‖², where G_t = Σ x xᵀ over the inputs
    that module t's layer saw and ρ = ridge · mean of the diagonal of Vᵀ(Σ G_t)V. For the core
    C = (Σ UᵀΔW_tG_tV + ρ diag(σ))(Σ VᵀG_tV + ρI)⁻¹; for eigenvalues θ_i = (Σ u_iᵀΔW_tG_tv_i + ρσ_i)/(Σ v_iᵀG_tv_i + ρ).
    The ridge is the one of least held-out error; with few inputs a layer's own errors say little of the network's, so
    expect less of it than of ``calibrate``.

    Args:
        anchor: a merged module.
        modules: one a task.
        folds: two or more sets of Gram matrices of disjoint inputs; each by weight name (T, n, n), or one mapping with
            (n, n) a module, from ``activation_grams``; (T, n) or (n,) where they are diagonal, as an embedding's.
        free: "eigenvalues" or "core".
        ridges: to choose from.

    Raises:
        ValueError: for fewer than two folds, Gram matrices that are missing, not finite or of wrong shape, no modules,
            or other ``free`` or ridges.
    """
    if free == "scale":
        raise ValueError("free: expected 'eigenvalues' or 'core', got 'scale'")
    if len(folds) < 2:
        raise ValueError(f"folds: expected two or more sets of Gram matrices, got {len(folds)}")
    if not modules or not ridges or not all(0 < ridge < math.inf for ridge in ridges):
        raise ValueError(f"modules, ridges: expected modules, and positive ridges, got {len(modules)} and {ridges}")
    found = {name: s.to(torch.float64) for name, s in spectra(anchor, free=free).items()}
    layers = [_Layer.of(name, s, modules, folds) for name, s in found.items()]
    errors = {ridge: _held_out(layers, ridge) for ridge in ridges}
    best = min(errors, key=lambda ridge: errors[ridge])
    if not errors[best] < 1:
        return LayerwiseCalibration(anchor, math.inf, errors)
    every = list(range(len(folds)))
    moved = {layer.name: layer.parameter(layer.solve(every, best)) for layer in layers}
    return LayerwiseCalibration(with_parameters(anchor, found, moved), best, errors)


@dataclass(frozen=True)
class _Layer:
    """One weight's normal equations, fold by fold: Σ UᵀΔW_tG_tV, Σ VᵀG_tV and Σ tr(ΔW_tG_tΔW_tᵀ)."""

    name: str
    spectrum: Spectrum
    cross: Float[Tensor, "f k k"]
    grams: Float[Tensor, "f k k"]
    energy: Float[Tensor, " f"]

    @classmethod
    def of(cls, name: str, spectrum: Spectrum, modules: Sequence[Module], folds: Sequence[PerModule]) -> _Layer:
        n = spectrum.vh.shape[1]
        cross, grams, energy = [], [], []
        for i, fold in enumerate(folds):
            g = grams_of(f"folds[{i}]", fold, name, len(modules), n)
            parts = [(delta, g[t]) for t, m in enumerate(modules) if (delta := m.deltas.get(name)) is not None]
            cross.append(sum(_through(delta, spectrum.u.mT, _times(x, spectrum.vh.mT)) for delta, x in parts))
            grams.append(spectrum.vh @ _times(g.sum(0), spectrum.vh.mT))
            energy.append(sum(_energy(delta, x) for delta, x in parts))
        return cls(name, spectrum, *(torch.stack([torch.as_tensor(x) for x in xs]) for xs in (cross, grams, energy)))

    def solve(self, chosen: Sequence[int], ridge: float) -> Float[Tensor, "k k"]:
        """The core of least squares on the chosen folds."""
        cross, gram = self.cross[list(chosen)].sum(0), self.grams[list(chosen)].sum(0)
        rho = ridge * gram.diagonal().mean()
        if self.spectrum.free == "eigenvalues":
            return torch.diag((cross.diagonal() + rho * self.spectrum.s) / (gram.diagonal() + rho))
        eye = torch.eye(len(gram), dtype=gram.dtype)
        return torch.linalg.solve(gram + rho * eye, cross + rho * torch.diag(self.spectrum.s), left=False)

    def error(self, core: Tensor, fold: int) -> float:
        """Σ_t tr((U C Vᵀ − ΔW_t) G_t (U C Vᵀ − ΔW_t)ᵀ) on a fold."""
        own = (core @ self.grams[fold] * core).sum() - 2 * (core * self.cross[fold]).sum()
        return float(own + self.energy[fold])

    def parameter(self, core: Tensor) -> Tensor:
        """The ``Spectrum`` parameter of a core."""
        s = self.spectrum.s
        if self.spectrum.free == "eigenvalues":
            return core.diagonal() / s - 1
        return (core - torch.diag(s)) / s.square().mean().sqrt()


def _held_out(layers: Sequence[_Layer], ridge: float) -> float:
    ratios = []
    for layer in layers:
        folds = range(len(layer.energy))
        anchor = torch.diag(layer.spectrum.s)
        solved = [layer.solve([j for j in folds if j != i], ridge) for i in folds]
        start = sum(layer.error(anchor, i) for i in folds)
        ratios.append(sum(layer.error(core, i) for i, core in enumerate(solved)) / start if start > 0 else 1.0)
    return sum(ratios) / len(ratios)


def _through(delta: Delta, left: Tensor, right: Tensor) -> Tensor:
    """left @ ΔW @ right, the factors multiplied from outside in."""
    wide = delta.to(left.dtype)
    if isinstance(wide, LowRank):
        return (left @ wide.left) @ (wide.right @ right)
    return left @ wide.matrix @ right


def _energy(delta: Delta, gram: Tensor) -> Tensor:
    """tr(ΔW G ΔWᵀ)."""
    wide = delta.to(gram.dtype)
    if isinstance(wide, LowRank):
        return ((wide.left.mT @ wide.left) * (wide.right @ _times(gram, wide.right.mT))).sum()
    return (_times(gram, wide.matrix.mT) * wide.matrix.mT).sum()


def _times(gram: Tensor, columns: Tensor) -> Tensor:
    """G @ columns, G a matrix or its diagonal, which for an embedding is too long to be made a matrix."""
    return gram.unsqueeze(-1) * columns if gram.ndim == 1 else gram @ columns

"""Features of a view before it is joined: as they are, or similarities to anchors that make linear joins curved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.moments import mean_of_rows

__all__ = ["AnchorLift", "KernelLift", "LinearLift", "Lift"]

_TINY = 1e-10  # of the largest eigenvalue: what is below is rounding


@dataclass(frozen=True)
class LinearLift:
    """The features as they are; of more features than samples, their coordinates in the samples' span.

    Attributes:
        mean: of the samples, (d,).
        scales: one number for each block of features, repeated over it, so that several blocks have equal variance;
            ``None`` for one block.
        turn: an orthonormal basis of the span of the scaled samples, (d, r); ``None`` to stay with the features.
    """

    mean: Float[Tensor, " d"]
    scales: Float[Tensor, " d"] | None = None
    turn: Float[Tensor, "d r"] | None = None

    @classmethod
    def fitted(cls, x: Float[Tensor, "n d"], *, blocks: Sequence[int] = ()) -> LinearLift:
        """Turned into the span where that has fewer dimensions, which changes no distance and saves d³ of work."""
        mean = mean_of_rows(x)
        if len(blocks) < 2 and len(x) > x.shape[1]:
            return cls(mean)
        centred = x.double() - mean
        scales = None
        if len(blocks) > 1:
            scales = torch.cat(
                [
                    _scale(part, given).expand(part.shape[1])
                    for part, given in zip(centred.split(list(blocks), 1), x.split(list(blocks), 1), strict=True)
                ]
            )
            centred = centred * scales
        if len(x) > x.shape[1]:
            return cls(mean, scales)
        _, values, right = torch.linalg.svd(centred, full_matrices=False)
        kept = values > values[0] * max(x.shape) * torch.finfo(values.dtype).eps
        return cls(mean, scales, right[kept].T.contiguous())

    @property
    def plain(self) -> bool:
        """Whether lifted samples are the samples themselves."""
        return self.scales is None and self.turn is None

    @property
    def sizes(self) -> tuple[int, int]:
        """Features that go in, and coordinates that come out."""
        return len(self.mean), len(self.mean) if self.turn is None else self.turn.shape[1]

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        """Lifted samples, in float64 unless they are the samples themselves."""
        if self.plain:
            return x
        scaled = self._scaled(x)
        return scaled if self.turn is None else scaled @ self.turn

    def lost(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Squared length of the part of each sample that its lifted coordinates leave out."""
        if self.turn is None:
            return torch.zeros(len(x), dtype=self.mean.dtype)
        return (self._scaled(x).square().sum(1) - self(x).square().sum(1)).clamp_min(0)

    def _scaled(self, x: Tensor) -> Tensor:
        centred = x.double() - self.mean
        return centred if self.scales is None else centred * self.scales


@dataclass(frozen=True)
class KernelLift:
    """Coordinates in the span of some anchors under a sum of kernels of centred cosines.

        k(x, y) = mean over blocks b of exp(γ·(cos(x_b − m_b, y_b − m_b) − 1)),   φ(x) = Λ^(−½) Vᵀ k(A, x),

    with k(A, A) = V Λ Vᵀ: φ(x)·φ(y) is k(x, y) where x or y is an anchor, and its best approximation elsewhere
    (Nyström). Blocks of features, such as layers of one network, have equal say whatever their scales are.

    Attributes:
        means: m of each block.
        anchors: centred unit vectors of each block, (a, d_b).
        map: V Λ^(−½), (a, r).
        gamma: γ > 0: the larger, the more local.

    References:
        Williams and Seeger, "Using the Nyström method to speed up kernel machines", 2000. Schölkopf, Smola and Müller,
        "Nonlinear component analysis as a kernel eigenvalue problem", 1998.
    """

    means: tuple[Float[Tensor, " _"], ...]
    anchors: tuple[Float[Tensor, "a _"], ...]
    map: Float[Tensor, "a r"]
    gamma: float

    @classmethod
    def fitted(
        cls, x: Float[Tensor, "n d"], *, gamma: float, blocks: Sequence[int] = (), most: int = 2000, rank: int = 1000
    ) -> KernelLift:
        """Anchors are all samples, or ``most`` of them at equal steps; r is at most ``rank``.

        Args:
            x: samples.
            gamma: γ.
            blocks: widths of the blocks of features, which add up to d; one block if left out.
            most: anchors.
            rank: directions to keep, of the largest eigenvalues.
        """
        widths = list(blocks) or [x.shape[1]]
        some = torch.linspace(0, len(x) - 1, min(most, len(x))).round().long()
        means, anchors = [], []
        for part in x.split(widths, 1):
            mean = part.double().mean(0)
            means.append(mean)
            anchors.append(_unit(part[some].double() - mean))
        kernel = _similarity(anchors, anchors, gamma)
        values, vectors = torch.linalg.eigh(kernel)
        values, vectors = values.flip(0)[:rank], vectors.flip(1)[:, :rank]
        kept = values > _TINY * values[0]
        return cls(tuple(means), tuple(anchors), vectors[:, kept] * values[kept].rsqrt(), gamma)

    @property
    def sizes(self) -> tuple[int, int]:
        """Features that go in, and coordinates that come out."""
        return sum(map(len, self.means)), self.map.shape[1]

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        """Lifted samples in float64."""
        parts = x.split([len(mean) for mean in self.means], 1)
        units = [_unit(part.double() - mean) for part, mean in zip(parts, self.means, strict=True)]
        return _similarity(units, self.anchors, self.gamma) @ self.map

    def lost(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """k(x, x) − ‖φ(x)‖² = 1 − ‖φ(x)‖²: what no combination of anchors has, near 1 far from all of them."""
        return (1 - self(x).square().sum(1)).clamp_min(0)


@dataclass(frozen=True)
class AnchorLift:
    """Sparse similarities to anchors, one coordinate an anchor: a relative representation.

    Coordinate j is max(0, cos(x − m, a_j − m))^p for the ``kept`` nearest anchors, and 0 for the others; they are then
    divided by their sum. Of paired anchors, the coordinates of two views mean the same, so that no further map is
    needed.

    References:
        Norelli, Fumero, Maiorca, Moschella, Rodolà and Locatello, "ASIF: coupled data turns unimodal models to
        multimodal without training", 2023, arXiv:2210.01738.
    """

    mean: Float[Tensor, " d"]
    anchors: Float[Tensor, "a d"]
    kept: int
    power: float

    @classmethod
    def fitted(cls, x: Float[Tensor, "n d"], *, kept: int = 100, power: float = 8.0) -> AnchorLift:
        """All samples become anchors."""
        mean = x.double().mean(0)
        return cls(mean, _unit(x.double() - mean), kept, power)

    @property
    def sizes(self) -> tuple[int, int]:
        """Features that go in, and coordinates that come out."""
        return len(self.mean), len(self.anchors)

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n a"]:
        """Relative representations in float64."""
        found = (_unit(x.double() - self.mean) @ self.anchors.T).clamp_min(0)
        if self.kept < found.shape[1]:
            least = found.topk(self.kept, dim=1).values[:, -1:]
            found = found * (found >= least)
        return torch.nn.functional.normalize(found**self.power, p=1, dim=1)

    def lost(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Nothing: a relative representation is no projection."""
        return torch.zeros(len(x), dtype=self.mean.dtype)


Lift = LinearLift | KernelLift | AnchorLift


def _scale(centred: Tensor, given: Tensor) -> Tensor:
    """What gives a block a total variance of one; 0 for a block that is constant but for rounding."""
    spread = centred.square().sum()
    least = len(given) * given.shape[1] * (torch.finfo(torch.float64).eps * given.double().abs().max()).square()
    return torch.where(spread > least, (len(centred) / spread).sqrt(), torch.zeros_like(spread))


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1, eps=math.sqrt(torch.finfo(x.dtype).tiny))


def _similarity(x: Sequence[Tensor], y: Sequence[Tensor], gamma: float) -> Tensor:
    found = None
    for one, other in zip(x, y, strict=True):
        part = (one @ other.T).sub_(1).mul_(gamma).exp_()
        found = part if found is None else found.add_(part)
    assert found is not None
    return found.div_(len(x))

"""A fitted joint space: what carries samples of each view to unit vectors in common coordinates, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.decoding import Decoders
from hyperspectral_geo.fusion.joint_basis import JointBasis, join, principal_covariances, view_basis
from hyperspectral_geo.fusion.lifting import Lift
from hyperspectral_geo.fusion.moments import Moments
from hyperspectral_geo.fusion.spectral_filter import SpectralFilter

__all__ = ["JointSpace", "joint_space"]


@dataclass(frozen=True)
class JointSpace:
    """Maps of V views into k common coordinates.

    Attributes:
        blocks: widths of each view's blocks of features.
        lifts: of each view.
        basis: means and weights that carry lifted samples to coordinates, and the correlations.
        spectral_filter: eigenvalues, as a function of the correlation.
        decoders: by source and target view: regression of features on coordinates.
        shared: how many directions, from the first, are above what chance gives.
    """

    blocks: tuple[tuple[int, ...], ...]
    lifts: tuple[Lift, ...]
    basis: JointBasis
    spectral_filter: SpectralFilter
    decoders: Decoders
    shared: int

    def __len__(self) -> int:
        """How many directions there are."""
        return len(self.basis.correlations)

    @cached_property
    def weights(self) -> Float[Tensor, " k"]:
        """Eigenvalues of the joint space, as weights of coordinates in each view."""
        if not len(self):
            return self.basis.correlations
        return self.spectral_filter(self.basis.correlations)

    def coordinates(self, view: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """z: coordinates of samples of a view, before weights, in float64."""
        return self.basis.coordinates(view, self.lifts[view](x))

    def encode(self, view: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Unit vectors w∘z/‖w∘z‖; a sample that equals the mean has no direction and becomes 0."""
        return torch.nn.functional.normalize(self.coordinates(view, x) * self.weights, dim=1)

    @cached_property
    def axes(self) -> tuple[Float[Tensor, "_ s"], ...]:
        """Orthonormal basis of the shared subspace of each view, among its lifted samples."""
        return tuple(torch.linalg.qr(weights[:, : self.shared])[0] for weights in self.basis.weights)

    def convert(self, x: Float[Tensor, "n d"], source: int, target: int) -> Float[Tensor, "n e"]:
        """Features of another view to be expected beside samples of one, by ridge regression on coordinates."""
        return self.decoders[source, target](self.coordinates(source, x))

    def novelty(self, view: int, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Share of a sample that lies outside the subspace that is shared, from 0 to 1.

        1 − ‖Qᵀ(φ(x) − m)‖² / ‖φ(x) − m‖² with Q the ``axes`` of the view; the length counts what the lift has lost, so
        that a sample unlike all anchors is new.
        """
        lifted = self.lifts[view](x).double() - self.basis.means[view]
        whole = lifted.square().sum(1) + self.lifts[view].lost(x)
        inside = (lifted @ self.axes[view]).square().sum(1)
        return (1 - inside / whole.clamp_min(torch.finfo(whole.dtype).tiny)).clamp(0.0, 1.0)


def joint_space(
    blocks: Sequence[tuple[int, ...]],
    lifts: Sequence[Lift],
    moments: Moments,
    spectral_filter: SpectralFilter,
    *,
    ridges: Sequence[float],
    n_components: int | None,
    shared: int | None,
) -> JointSpace:
    """Join all rows with settings that are chosen; decoders are to be added.

    ``shared=None`` counts all directions as shared.
    """
    bases = [view_basis(moments, view) for view in range(len(lifts))]
    basis = join(bases, principal_covariances(moments, bases), ridges=ridges, n_components=n_components)
    return JointSpace(
        blocks=tuple(blocks),
        lifts=tuple(lifts),
        basis=basis,
        spectral_filter=spectral_filter,
        decoders={},
        shared=len(basis.correlations) if shared is None else min(shared, len(basis.correlations)),
    )

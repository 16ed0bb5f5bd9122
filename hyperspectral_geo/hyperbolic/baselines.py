"""Simple predictions of distances that a geometry has to beat, each fitted in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from hyperspectral_geo.hyperbolic.hop_table import Held, HopTable, training_pairs, walk_lengths
from hyperspectral_geo.hyperbolic.predictions import rows_at_once

__all__ = ["Bilinear", "BestSymmetric", "Loss", "additive", "best_symmetric", "constant", "pair_weights", "star"]

Loss = Literal["squared", "relative"]
"""What is made small: (d̂ − h)² or (d̂/h − 1)² over pairs; a constant makes |d̂/h − 1| small for the latter."""


@dataclass(frozen=True, eq=False)
class Bilinear:
    """Predictions d̂(u→v) = a_u + b_v + l_u·r_v; a constant, a star and an additive model are of this form.

    Attributes:
        outgoing, incoming: a and b, (n,) float64.
        left, right: l and r, (n, k) float64; k may be 0.
        numbers_per_node: numbers that the model keeps for a node.
    """

    outgoing: Float[Tensor, " n"]
    incoming: Float[Tensor, " n"]
    left: Float[Tensor, "n k"]
    right: Float[Tensor, "n k"]
    numbers_per_node: int

    def distances(self, sources: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n"]:
        """Predictions from some nodes (default: all) to all; also from a node to itself, where they mean nothing."""
        out, left = (self.outgoing, self.left) if sources is None else (self.outgoing[sources], self.left[sources])
        return torch.addmm(out[:, None] + self.incoming, left, self.right.T)


@dataclass(frozen=True, eq=False)
class BestSymmetric:
    """Of all symmetric predictions the best: an oracle, which looks at the true distances of both directions."""

    hops: Real[Tensor, "n n"]
    loss: Loss

    def distances(self, sources: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n"]:
        """Predictions from some nodes (default: all) to all; infinite where there is no walk in either direction."""
        rows = torch.arange(len(self.hops)) if sources is None else sources
        there, back = (walk_lengths(part) for part in (self.hops[rows], self.hops[:, rows].T))
        if self.loss == "relative":
            return torch.minimum(there, back)
        middle = (there + back) / 2
        return torch.where(middle.isfinite(), middle, torch.minimum(there, back))


def constant(hops: Real[Tensor, "n n"], *, held: Held | None = None, loss: Loss = "squared") -> Bilinear:
    """The same number c for all pairs.

    ``"squared"``: the mean distance, best for Σ(c − h)², that is for R² and stress. ``"relative"``: the median weighted
    by 1/h, best for Σ|c/h − 1|, the average distortion.

    Args:
        hops: (n, n) distances, −1 or infinity where there is no walk.
        held: pairs not to be looked at, as for ``hop_scores``.
        loss: which score the constant is best for.

    Raises:
        ValueError: for a table that holds no distances, or no pair to fit to.

    Example:
        >>> hops = torch.tensor([[0, 1, 2], [1, 0, 6], [1, 1, 0]])
        >>> [constant(hops, loss=loss).outgoing[0].item() for loss in ("squared", "relative")]
        [2.0, 1.0]
    """
    _require_loss(loss)
    seen = training_pairs(hops, held=held)
    values, counts = seen[seen > 0].double().unique(return_counts=True)
    if loss == "squared":
        level = values.dot(counts.double()) / counts.sum()
    else:
        weight = (counts / values).cumsum(0)
        level = values[torch.searchsorted(weight, weight[-1:] / 2)[0]]
    return _without_product(level.expand(len(hops)), torch.zeros(len(hops), dtype=torch.float64), 0)


def star(hops: Real[Tensor, "n n"], *, held: Held | None = None, loss: Loss = "squared") -> Bilinear:
    """Distances through a hub, a_u + a_v: symmetric, one number a node; least squares over the pairs not held out.

    Args, errors: as ``additive``.

    Example:
        >>> places = torch.tensor([1.0, 2.0, 4.0])
        >>> hops = (places + places[:, None]).fill_diagonal_(0)
        >>> star(hops).outgoing
        tensor([1., 2., 4.], dtype=torch.float64)
    """
    normal, right, diagonal = _normal_equations(training_pairs(hops, held=held), loss)

    def folded(x: np.ndarray) -> np.ndarray:  # the equations of a and of b, where both are the same unknown
        return x.reshape(2, -1).sum(0)

    a = _solved(lambda a: folded(normal(np.tile(a, 2))), folded(right), folded(diagonal), len(hops))
    return _without_product(a, a, 1)


def additive(hops: Real[Tensor, "n n"], *, held: Held | None = None, loss: Loss = "squared") -> Bilinear:
    """A number for leaving a node and one for reaching it, a_u + b_v; least squares over the pairs not held out.

    Args:
        hops: (n, n) distances, −1 or infinity where there is no walk.
        held: pairs not to be looked at, as for ``hop_scores``.
        loss: ``"squared"`` for Σ(d̂ − h)², ``"relative"`` for Σ(d̂/h − 1)².

    A node without any pair to fit to gets the mean of the others' numbers.

    Raises:
        ValueError: for a table that holds no distances, or no pair to fit to.

    Example:
        >>> hops = torch.tensor([[0, 2, 3], [2, 0, 4], [3, 4, 0]])
        >>> additive(hops).distances()[0, 1:]
        tensor([2., 3.], dtype=torch.float64)
    """
    normal, right, diagonal = _normal_equations(training_pairs(hops, held=held), loss)
    outgoing, incoming = _solved(normal, right, diagonal, len(hops)).chunk(2)
    return _without_product(outgoing, incoming, 2)


def best_symmetric(hops: Real[Tensor, "n n"], *, loss: Loss = "squared") -> BestSymmetric:
    """What no symmetric model can beat over all pairs, however many numbers it has.

    An oracle: it looks at the pairs that it is judged on, held out or not.

    ``"squared"``: the mean of the two directions, best for R² and stress. ``"relative"``: the smaller of the two, best
    for average distortion. Where only one direction has a walk, its distance.

    Example:
        >>> best_symmetric(torch.tensor([[0, 1], [3, 0]])).distances()
        tensor([[0., 2.],
                [2., 0.]], dtype=torch.float64)
    """
    _require_loss(loss)
    HopTable.over(hops)
    return BestSymmetric(hops, loss)


def pair_weights(seen: Tensor, loss: Loss) -> Float[Tensor, "m n"]:
    """What each pair counts in a sum of squares, 1 or 1/h², and 0 where ``seen`` holds no distance."""
    _require_loss(loss)
    known = (seen > 0).double()
    return known if loss == "squared" else known / seen.double().square().clamp_min(torch.finfo(torch.float64).tiny)


def _normal_equations(seen: Tensor, loss: Loss) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray]:
    """Matrix (as a function), right side and diagonal of the normal equations of a_u + b_v = h, for (a, b)."""
    n = len(seen)
    right, diagonal = torch.zeros(2, n, dtype=torch.float64), torch.zeros(2, n, dtype=torch.float64)

    def blocks():
        for part in torch.arange(n).split(rows_at_once(n, None)):
            yield part, pair_weights(seen[part], loss)

    for part, weight in blocks():
        for total, values in ((diagonal, weight), (right, weight * seen[part])):
            total[0, part] = values.sum(1)
            total[1] += values.sum(0)

    def normal(x: np.ndarray) -> np.ndarray:
        a, b = torch.from_numpy(x).reshape(2, n)
        product = diagonal * torch.stack([a, b])
        for part, weight in blocks():
            product[0, part] += weight @ b
            product[1] += a[part] @ weight
        return product.flatten().numpy()

    return normal, right.flatten().numpy(), diagonal.flatten().numpy()


def _solved(
    matrix: Callable[[np.ndarray], np.ndarray], right: np.ndarray, diagonal: np.ndarray, nodes: int
) -> Float[Tensor, " k"]:
    """Least-squares solution by conjugate gradients; a node's unknown in no equation gets the mean of the others'."""
    from scipy.sparse.linalg import LinearOperator, cg

    size, used = len(right), diagonal > 0
    inverse = np.where(used, 1 / np.where(used, diagonal, 1), 1)
    found, failed = cg(
        LinearOperator((size, size), matvec=matrix, dtype=np.float64),
        right,
        rtol=1e-10,
        maxiter=1000,
        M=LinearOperator((size, size), matvec=lambda x: inverse * x, dtype=np.float64),
    )
    if failed:
        raise ValueError("hops: expected distances that an additive model can be fitted to, got no convergence")
    for numbers, known in zip(found.reshape(-1, nodes), used.reshape(-1, nodes), strict=True):
        numbers[~known] = numbers[known].mean()
    return torch.from_numpy(found)


def _without_product(outgoing: Tensor, incoming: Tensor, numbers: int) -> Bilinear:
    none = torch.zeros(len(outgoing), 0, dtype=torch.float64)
    return Bilinear(outgoing.contiguous(), incoming.contiguous(), none, none, numbers)


def _require_loss(loss: object) -> None:
    if loss not in ("squared", "relative"):
        raise ValueError(f"loss: expected 'squared' or 'relative', got {loss!r}")

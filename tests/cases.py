"""Tables of objects. A new manifold, mean or distance adds a row here and inherits the contract tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from geoopt.manifolds.base import Manifold
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.linalg import orthonormalize
from hyperspectral_geo.manifolds import (
    Grassmann,
    Lorentz,
    Stiefel,
    flag_mean,
    frechet_mean,
    geometric_median,
    grassmann_exp,
)

DTYPES = (torch.float32, torch.float64)
BATCHES = ((), (3,), (2, 3))
FRAMES = ((5, 2), (4, 1), (3, 3), (12, 4), (6, 5))


def given_share(share: float, **strategies: st.SearchStrategy):
    """``hypothesis.given`` with a share of the profile's examples, where one row of a table is an example already."""
    examples = max(5, round(share * settings().max_examples))
    return lambda test: settings(max_examples=examples)(given(**strategies)(test))


def eps(x: Tensor) -> float:
    """Machine epsilon of the dtype of x."""
    return torch.finfo(x.dtype).eps


def plain(x: Tensor) -> Tensor:
    """The same values as an ordinary tensor, without a manifold attached."""
    return x.detach().as_subclass(torch.Tensor)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Gaussian numbers that are the same in every dtype, up to rounding."""
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def frames(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random orthonormal bases, computed in float64 and rounded, so that both dtypes mean the same points."""
    return orthonormalize(randn(*shape, seed=seed)).to(dtype)


def rotation(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random orthogonal n×n matrix of either determinant."""
    return frames(n, n, seed=seed, dtype=dtype)


def projector(x: Tensor) -> Tensor:
    """XXᵀ, which depends on the span of X only."""
    return x @ x.mT


# Manifolds


@dataclass(frozen=True)
class ManifoldCase:
    """A manifold with what the contract needs to know of it."""

    name: str
    make: Callable[[], Manifold]
    sizes: tuple[tuple[int, ...], ...] = FRAMES  # shapes of one point
    reach: float = 1.2  # tangents up to this length are logarithms of where they lead
    radius: float = 3.0  # points are drawn up to this far from the origin, where that means anything
    second_order: bool = True  # the retraction agrees with exp to second order
    parallel: bool = True  # transp is parallel transport, not a projection
    rounding: float = 200.0  # results are compared to this many eps, times their size
    kind: str = "frames"
    same_but_retraction: bool = False  # another row differs in the retraction only

    @property
    def is_span(self) -> bool:
        """Whether points are compared by the projector onto their span."""
        return self.name.startswith("grassmann")

    def gap(self, x: Tensor, y: Tensor) -> Tensor:
        """Largest difference between representations of points that does not depend on the choice of basis."""
        difference = projector(x) - projector(y) if self.is_span else x - y
        return difference.abs().amax() if difference.numel() else difference.new_zeros(())

    def ambient(self, u: Tensor, v: Tensor) -> Tensor:
        """The bilinear form of the ambient space that the metric is the restriction of."""
        product = u * v
        if self.kind == "vectors":
            return product[..., 1:].sum(-1) - product[..., 0]
        return product.sum((-1, -2))

    def move(self, seed: int, size: tuple[int, ...], dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """An isometry of the manifold that acts linearly, on points and tangents alike."""
        if self.kind == "frames":
            q = rotation(size[0], seed, dtype)
            return lambda x: q @ x
        turn = rotation(size[0] - 1, seed, dtype)
        c, s = math.cosh(0.7), math.sinh(0.7)

        def boost(x: Tensor) -> Tensor:  # along the first axis, then a turn of space
            time, first, rest = x[..., :1], x[..., 1:2], x[..., 2:]
            space = torch.cat([s * time + c * first, rest], -1) @ turn.mT
            return torch.cat([c * time + s * first, space], -1)

        return boost


@dataclass(frozen=True)
class Situation:
    """Points and tangents of one manifold, drawn from a seed; the same in float32 and float64 up to rounding."""

    case: ManifoldCase
    manifold: Manifold
    size: tuple[int, ...]
    batch: tuple[int, ...]
    dtype: torch.dtype
    seed: int
    fraction: float  # of the reach that tangents have as their length

    def ambient(self, salt: int = 0, batch: tuple[int, ...] | None = None) -> Tensor:
        """A Gaussian array of the shape of a point."""
        batch = self.batch if batch is None else batch
        return randn(*batch, *self.size, seed=self.seed + 7919 * (salt + 1), dtype=self.dtype)

    def point(self, salt: int = 0, batch: tuple[int, ...] | None = None) -> Tensor:
        a = self.ambient(salt + 100, batch).double()
        if self.case.kind == "frames":
            return orthonormalize(a).to(self.dtype)
        direction = a[..., 1:] / a[..., 1:].norm(dim=-1, keepdim=True)
        radius = self.case.radius * torch.sigmoid(a[..., :1])
        space = math.sqrt(self.k) * torch.sinh(radius) * direction
        return torch.cat([(self.k + space.square().sum(-1, keepdim=True)).sqrt(), space], -1).to(self.dtype)

    @property
    def k(self) -> float:
        return float(getattr(self.manifold, "k", 1.0))

    def tangent(self, x: Tensor, salt: int = 0, length: float | None = None) -> Tensor:
        """A tangent at x of the given length, by default a fraction of the reach."""
        length = self.fraction * self.case.reach if length is None else length
        u = self.manifold.proju(x, self.ambient(salt + 200, tuple(x.shape[: x.ndim - len(self.size)])))
        norm = self.manifold.inner(x, u, keepdim=True).sqrt()
        return torch.where(norm > 1e-6, u * (length / norm.clamp_min(1e-6)), torch.zeros_like(u))

    def pair(self, salt: int = 0) -> tuple[Tensor, Tensor]:
        """Two points within reach of each other."""
        x = self.point(salt)
        return x, plain(self.manifold.expmap(x, self.tangent(x, salt)))

    def tolerance(self, *tensors: Tensor, factor: float = 1.0) -> float:
        scale = max([1.0, *(t.abs().amax().item() for t in tensors if t.numel())])
        return factor * self.case.rounding * torch.finfo(self.dtype).eps * scale

    def assert_close(self, a: Tensor, b: Tensor, *, factor: float = 1.0, scale: tuple[Tensor, ...] = ()) -> None:
        assert a.shape == b.shape, (a.shape, b.shape)
        assert a.dtype == b.dtype == self.dtype, (a.dtype, b.dtype)
        torch.testing.assert_close(plain(a), plain(b), rtol=0, atol=self.tolerance(a, b, *scale, factor=factor))

    def assert_same_point(self, x: Tensor, y: Tensor, *, factor: float = 1.0) -> None:
        assert x.shape == y.shape
        assert self.case.gap(plain(x), plain(y)) <= self.tolerance(x, factor=factor)


MANIFOLDS = {
    case.name: case
    for case in (
        ManifoldCase("grassmann-polar", lambda: Grassmann("polar")),
        ManifoldCase("grassmann-qr", lambda: Grassmann("qr"), same_but_retraction=True),
        ManifoldCase("grassmann-cayley", lambda: Grassmann("cayley"), same_but_retraction=True),
        ManifoldCase("stiefel", Stiefel, second_order=False, parallel=False, reach=1.0, rounding=500.0),
        *(
            ManifoldCase(
                f"lorentz-{k}",
                lambda k=k: Lorentz(k),
                sizes=((3,), (2,), (6,)),
                reach=2.0 * math.sqrt(k),
                rounding=2000.0,
                kind="vectors",
            )
            for k in (1.0, 0.25, 4.0)
        ),
    )
}


@dataclass(frozen=True)
class Draw:
    """What hypothesis chooses; ``of`` a case it becomes a situation."""

    size: int
    batch: tuple[int, ...]
    dtype: torch.dtype
    seed: int
    fraction: float

    def of(self, case: ManifoldCase, *, dtype: torch.dtype | None = None) -> Situation:
        size = case.sizes[self.size % len(case.sizes)]
        return Situation(case, case.make(), size, self.batch, dtype or self.dtype, self.seed, self.fraction)


def draws(
    *, dtypes: tuple[torch.dtype, ...] = DTYPES, batches: tuple[tuple[int, ...], ...] = BATCHES
) -> st.SearchStrategy[Draw]:
    """Strategy for shapes, batch, dtype, seed and how far points lie apart."""
    return st.builds(
        Draw,
        size=st.integers(0, len(FRAMES) - 1),
        batch=st.sampled_from(batches),
        dtype=st.sampled_from(dtypes),
        seed=st.integers(0, 2**20),
        fraction=st.floats(0.01, 1.0),
    )


# Subspace distances as functions of the principal angles, written out a second time


def _closed(kind: str, t: Tensor) -> Tensor:
    cos2 = torch.cos(t).square()
    return {
        "geodesic": lambda: t.square().sum(-1).sqrt(),
        "chordal": lambda: t.sin().square().sum(-1).sqrt(),
        "projection": lambda: t.sin().amax(-1),
        "binet_cauchy": lambda: (1 - cos2.prod(-1)).sqrt(),
        "martin": lambda: (-cos2.log().sum(-1)).sqrt(),
        "asimov": lambda: t.amax(-1),
    }[kind]()


DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    kind: (lambda t, kind=kind: _closed(kind, t))
    for kind in ("geodesic", "chordal", "projection", "binet_cauchy", "martin", "asimov")
}


# Means


@dataclass(frozen=True)
class MeanCase:
    """A mean of subspaces: the function, and the cost that it minimises, from the angles (…, k, p) and weights."""

    name: str
    mean: Callable[..., Tensor]
    cost: Callable[[Tensor, Tensor], Tensor]
    iterative: bool = True
    options: dict = field(default_factory=dict)


MEANS = {
    case.name: case
    for case in (
        MeanCase("frechet", frechet_mean, lambda t, w: (w * t.square().sum(-1)).sum(-1) / 2),
        MeanCase("median", geometric_median, lambda t, w: (w * t.square().sum(-1).sqrt()).sum(-1)),
        MeanCase("flag", flag_mean, lambda t, w: (w * t.sin().square().sum(-1)).sum(-1), iterative=False),
    )
}


def cluster(
    k: int,
    n: int,
    p: int,
    *,
    seed: int,
    spread: float = 0.4,
    batch: tuple[int, ...] = (),
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """k points (…, k, n, p) at most ``spread`` from a common centre, each in an arbitrary basis."""
    centre = frames(*batch, 1, n, p, seed=seed)
    u = randn(*batch, k, n, p, seed=seed + 1)
    u = u - centre @ (centre.mT @ u)
    length = spread * torch.linspace(0.3, 1.0, k, dtype=torch.float64)[:, None, None]
    u = u / torch.linalg.matrix_norm(u, keepdim=True) * length if p < n else torch.zeros_like(u)
    points = grassmann_exp(centre, u - centre @ (centre.mT @ u))
    return (points @ frames(*batch, k, p, p, seed=seed + 2)).to(dtype)

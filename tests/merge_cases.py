"""Tables of merging methods and inputs, and what each method should give: its paper's formula on dense matrices.

The references take full matrices through ``torch.linalg.svd`` and share nothing with the package but the random masks
of DARE and DELLA. A module is a matrix, or None where it leaves the weight alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from cases import randn
from scipy.optimize import minimize
from torch import Tensor

from hyperspectral_geo.merging.core import Joint, join
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.methods import METHODS
from hyperspectral_geo.merging.methods.dare import layer_generator

NAME = "layer.weight"
CUT = 1e-6


# References


def dense_reference(
    method: str, matrices: Sequence[Tensor | None], weights: Sequence[float], options: dict[str, Any] | None = None
) -> Tensor:
    """What ``method`` makes of full matrices, in float64, by the formula of its paper."""
    shape = next(m.shape for m in matrices if m is not None)
    full = [torch.zeros(shape, dtype=torch.float64) if m is None else m.double() for m in matrices]
    return REFERENCES[method](full, [float(w) for w in weights], **(options or {}))


def _used(ws: list[Tensor], weights: list[float]) -> tuple[list[Tensor], list[float], list[int]]:
    index = [t for t, (m, w) in enumerate(zip(ws, weights, strict=True)) if w != 0 and bool(m.any())]
    return [ws[t] for t in index], [weights[t] for t in index], index


def _svd(m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(m, full_matrices=False)
    k = int((s > CUT * s[0]).sum())
    return u[:, :k], s[:k], vh[:k]


def _polar(m: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(m, full_matrices=False)
    return u @ vh


def _sum(ws: list[Tensor], weights: list[float]) -> Tensor:
    return torch.stack([w * m for m, w in zip(ws, weights, strict=True)]).sum(0)


def _svd_sum(ws, weights, *, rank):
    u, s, vh = torch.linalg.svd(_sum(ws, weights))
    return u[:, :rank] @ s[:rank].diag() @ vh[:rank]


def _ties_of(xs, weights, density, thresholds=None):
    trimmed = []
    for t, (x, w) in enumerate(zip(xs, weights, strict=True)):
        count = max(round(density * x.numel()), 1)
        limit = x.abs().flatten().sort(descending=True).values[count - 1] if thresholds is None else thresholds[t]
        trimmed.append(torch.where(x.abs() >= limit, x, 0) * w)
    return _elect(trimmed)


def _elect(xs):
    x = torch.stack(xs)
    sign = torch.sign(x.sum(0))
    agree = (torch.sign(x) == sign) & (sign != 0)
    return torch.where(agree, x, 0).sum(0) / agree.sum(0).clamp(min=1)


def _frames(ws):
    left, _, _ = _svd(torch.cat(ws, 1))
    _, _, right = _svd(torch.cat(ws, 0))
    return left, right.mT


def _in_space(ws, space):
    if space == "raw":
        return ws, lambda x: x
    left, right = _frames(ws)
    if space == "knots":
        return [left.mT @ m for m in ws], lambda x: left @ x
    return [left.mT @ m @ right for m in ws], lambda x: left @ x @ right.mT


def _ties(ws, weights, *, density=0.2, granularity="model", space="raw", thresholds=None):
    ws, weights, _ = _used(ws, weights)
    xs, back = _in_space(ws, space)
    return back(_ties_of(xs, weights, density, thresholds))


def _dropped(ws, weights, space, combine, seed, chance: Callable[[Tensor], Tensor], relative):
    ws, weights, index = _used(ws, weights)
    xs, back = _in_space(ws, space)
    parts = []
    for t, x, w in zip(index, xs, weights, strict=True):
        p = chance(x)
        draw = torch.rand(x.shape, generator=layer_generator(seed, NAME, t), dtype=torch.float32)
        keep = draw < 1 - p if relative else draw >= p
        parts.append(torch.where(keep, x / (1 - p), 0) * w)
    return back(_elect(parts) if combine == "elect" else torch.stack(parts).sum(0))


def _dare(ws, weights, *, density=0.2, combine="sum", space="raw", seed=0):
    return _dropped(ws, weights, space, combine, seed, lambda x: torch.full_like(x, 1 - density), True)


def _della(ws, weights, *, density=0.3, window=0.2, combine="elect", space="raw", seed=0):
    def chance(x):
        place = x.abs().argsort(dim=1, descending=True).argsort(dim=1)
        return 1 - density - window / 2 + window * place.double() / max(x.shape[1] - 1, 1)

    return _dropped(ws, weights, space, combine, seed, chance, False)


def _tsv(ws, weights):
    ws, weights, _ = _used(ws, weights)
    parts = [_svd(w * m) for m, w in zip(ws, weights, strict=True)]
    side = min(ws[0].shape)
    if sum(len(s) for _, s, _ in parts) > side:
        k = max(side // len(parts), 1)
        parts = [(u[:, :k], s[:k], vh[:k]) for u, s, vh in parts]
    u, s, vh = (torch.cat([p[i] for p in parts], d) for i, d in ((0, 1), (1, 0), (2, 0)))
    return _polar(u) @ s.diag() @ _polar(vh.mT).mT


def _iso_c(ws, weights):
    u, s, vh = _svd(_sum(ws, weights))
    return s.mean() * u @ vh


def _tempered(ws, weights, *, power=None):
    u, s, vh = _svd(_sum(ws, weights))
    if power is None:
        ranks = [int(torch.linalg.matrix_rank(m)) for m in _used(ws, weights)[0]]
        power = max(0, 1 - (sum(ranks) - max(ranks)) / (4 * min(ws[0].shape)))
    flat = torch.where(s > 1e-10 * s[0], s**power, 0)
    return u @ torch.diag(flat * torch.sum(s**1.5) ** (2 / 3) / torch.sum(flat**1.5) ** (2 / 3)) @ vh


def _iso_cts(ws, weights, *, common_fraction=0.8):
    ws, weights, _ = _used(ws, weights)
    u, s, vh = _svd(_sum(ws, weights))
    own = math.floor((1 - common_fraction) * len(s) / len(ws) + 1e-9)
    k = len(s) - own * len(ws)
    us, ss, vs = [u[:, :k]], [s[:k]], [vh[:k]]
    for m, w in zip(ws, weights, strict=True):
        a, b, c = torch.linalg.svd(w * (m - u[:, :k] @ u[:, :k].mT @ m), full_matrices=False)
        count = min(own, int((b > CUT * (w * m).norm()).sum()))
        us.append(a[:, :count])
        ss.append(b[:count])
        vs.append(c[:count])
    return torch.cat(ss).mean() * _polar(torch.cat(us, 1)) @ _polar(torch.cat(vs, 0).mT).mT


def _svc(ws, weights, *, alpha=0.1):
    ws, weights, _ = _used(ws, weights)
    scaled = [w * m for m, w in zip(ws, weights, strict=True)]
    u, s, vh = _svd(_sum(ws, weights))
    merged = torch.zeros_like(ws[0])
    for i in range(len(s)):
        shares = []
        for m in scaled:
            response = u[:, i] @ m
            seen = response.square().sum() > 1e-15 * m.square().sum()
            shares.append(float((s[i] * vh[i]) @ response / response.square().sum()) if seen else 0.0)
        merged += len(ws) / sum(max(alpha, share) for share in shares) * s[i] * torch.outer(u[:, i], vh[i])
    return merged


def _wudi(ws, weights, *, ridge=1e-3, anchor="sum"):
    ws, weights, _ = _used(ws, weights)
    grams = [m.mT @ m / m.square().sum() for m in ws]
    total = sum(grams)
    rho = ridge * torch.linalg.eigvalsh(total)[-1]
    target = sum(w * m @ g for m, w, g in zip(ws, weights, grams, strict=True))
    start = _sum(ws, weights) if anchor == "sum" else torch.zeros_like(ws[0])
    return (target + rho * start) @ torch.linalg.inv(total + rho * torch.eye(len(total), dtype=torch.float64))


def _regmean(ws, weights, *, grams, reduction=0.9, ridge=1e-6):
    index = [t for t, w in enumerate(weights) if w != 0]
    gs = [grams[NAME][t].double() for t in index]
    gs = [reduction * g + (1 - reduction) * g.diagonal().diag() for g in gs]
    rho = ridge * sum(gs).diagonal().mean()
    target = sum(weights[t] * ws[t] @ g for t, g in zip(index, gs, strict=True))
    mean = sum(weights[t] * ws[t] for t in index) / len(index)
    return (target + rho * mean) @ torch.linalg.inv(sum(gs) + rho * torch.eye(ws[0].shape[1], dtype=torch.float64))


def _fisher(ws, weights, *, fishers, floor=1e-6):
    index = [t for t, w in enumerate(weights) if w != 0]
    f = fishers[NAME].double()[index]
    f = f + floor * f.mean()
    return sum(f[i] * weights[t] * ws[t] for i, t in enumerate(index)) / f.sum(0)


def _model_stock(ws, weights):
    ws, weights, _ = _used(ws, weights)
    vectors = [(w * m).flatten() for m, w in zip(ws, weights, strict=True)]
    if len(vectors) == 1:
        return vectors[0].reshape(ws[0].shape)
    pairs = itertools.combinations(vectors, 2)
    cos = max(float(torch.stack([a @ b / (a.norm() * b.norm()) for a, b in pairs]).mean()), 0.0)
    n = len(vectors)
    return (n * cos / (1 + (n - 1) * cos) * sum(vectors) / n).reshape(ws[0].shape)


def _slerp(ws, weights):
    ws, weights, _ = _used(ws, weights)
    w = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    vectors = torch.stack(ws).flatten(1)
    norms = vectors.norm(dim=1)
    units = vectors / norms[:, None]
    if len(ws) == 1:
        return ws[0]
    if len(ws) == 2:
        angle = torch.arccos(units[0] @ units[1])
        shares = torch.sin(w * angle) / torch.sin(angle)
        return (shares @ vectors).reshape(ws[0].shape)
    mean = (w @ units) / (w @ units).norm()
    for _ in range(500):
        angles = torch.arccos((units @ mean).clamp(-1, 1))
        step = w @ ((units - torch.cos(angles)[:, None] * mean) * (angles / torch.sin(angles))[:, None])
        length = step.norm()
        if length < 1e-15:
            break
        mean = torch.cos(length) * mean + torch.sin(length) * step / length
    return (w @ norms) * mean.reshape(ws[0].shape)


def _subspace_mean(points, shares, k):
    """A quasi-Newton method on frames Y = qf(Y₀ + X), the gradient by autograd."""
    start = torch.linalg.eigh((points * shares) @ points.mT)[1][:, -k:]

    def frame(x):
        return torch.linalg.qr(start + x)[0]

    def objective(x):
        y = torch.from_numpy(x).reshape(start.shape).requires_grad_()
        angles = torch.arccos((frame(y).mT @ points).norm(dim=0).clamp(max=1 - 1e-15))
        value = (shares * angles.square()).sum()
        (gradient,) = torch.autograd.grad(value, y)
        return float(value.detach()), gradient.flatten().numpy()

    options = {"gtol": 1e-9, "ftol": 0, "maxiter": 300, "maxcor": 40}
    found = minimize(objective, numpy.zeros(start.numel()), jac=True, method="L-BFGS-B", options=options)
    return frame(torch.from_numpy(found.x).reshape(start.shape))


def _grassmann(ws, weights, *, rank, eigenvalues="squared", core="projection", **_):
    ws, weights, _ = _used(ws, weights)
    svds = [_svd(m) for m in ws]
    power = 2 if eigenvalues == "squared" else 1
    spectra = [abs(w) * s**power / (s**power).sum() for (_, s, _), w in zip(svds, weights, strict=True)]
    shares = torch.cat(spectra) / torch.cat(spectra).sum()
    left = _subspace_mean(torch.cat([u for u, _, _ in svds], 1), shares, rank)
    right = _subspace_mean(torch.cat([vh for _, _, vh in svds], 0).mT, shares, rank)
    if core == "projection":
        return left @ left.mT @ _sum(ws, weights) @ right @ right.mT
    turned = [
        w * left @ _polar(left.mT @ u) @ s.diag() @ _polar(right.mT @ vh.mT).mT @ right.mT
        for (u, s, vh), w in zip(svds, weights, strict=True)
    ]
    return torch.stack(turned).sum(0)


def _compress(ws, weights, *, module_rank, inner="tsv", **options):
    cut = []
    for m in ws:
        u, s, vh = torch.linalg.svd(m, full_matrices=False)
        cut.append(u[:, :module_rank] @ s[:module_rank].diag() @ vh[:module_rank])
    return REFERENCES[inner](cut, weights, **options)


REFERENCES: dict[str, Callable[..., Tensor]] = {
    "linear": _sum,
    "cat": _sum,
    "svd": _svd_sum,
    "ties": _ties,
    "dare": _dare,
    "della": _della,
    "knots_ties": lambda ws, weights, **o: _ties(ws, weights, space="knots", **o),
    "knots_dare": lambda ws, weights, **o: _dare(ws, weights, space="knots", **{"combine": "elect", **o}),
    "tsv": _tsv,
    "iso_c": _iso_c,
    "iso_cts": _iso_cts,
    "tempered": _tempered,
    "svc": _svc,
    "larv": lambda ws, weights, **o: _sum(ws, weights),
    "wudi": _wudi,
    "regmean": _regmean,
    "fisher": _fisher,
    "model_stock": _model_stock,
    "slerp": _slerp,
    "grassmann": _grassmann,
    "compress": _compress,
}


# Methods with options


@dataclass(frozen=True)
class MethodCase:
    """A method with options, and what may be expected of it."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    negative: bool = True  # takes weights below zero
    ordered: bool = False  # random masks go by the modules' places
    left: bool = True  # turns with the rows' space
    right: bool = True  # turns with the columns' space
    tight: float = 1e-10  # relative error against the reference in float64

    @property
    def searches(self) -> bool:
        """Whether the result is the end of a search, whose reference takes seconds."""
        return self.method == "grassmann"

    @property
    def id(self) -> str:
        return "-".join([self.method, *(f"{k}={v}" for k, v in self.options.items())])

    def run(self, joint: Joint, weights: Sequence[float]) -> Delta:
        w = torch.tensor(weights, dtype=joint.cores.dtype)
        return METHODS[self.method].layer(joint, w, **self.all_options(joint.shape, len(weights)))

    def reference(self, matrices: Sequence[Tensor | None], weights: Sequence[float]) -> Tensor:
        shape = next(m.shape for m in matrices if m is not None)
        return dense_reference(self.method, matrices, weights, self.all_options(tuple(shape), len(weights)))

    def all_options(self, shape: tuple[int, int], count: int) -> dict[str, Any]:
        """The options with the data that some methods need, drawn for this shape."""
        m, n = shape
        data: dict[str, Any] = {}
        if self.method == "regmean":
            x = randn(count, n // 2 + 2, n, seed=71)
            data["grams"] = {NAME: x.mT @ x}
        if self.method == "fisher":
            data["fishers"] = {NAME: randn(count, m, n, seed=72).square()}
        if self.method == "larv":
            data["base"] = {NAME: randn(m, n, seed=73)}
        return {**self.options, **data}


METHOD_CASES = (
    MethodCase("linear"),
    MethodCase("cat"),
    MethodCase("svd", {"rank": 2}),
    MethodCase("ties", left=False, right=False),
    MethodCase("ties", {"density": 0.7, "granularity": "layer"}, left=False, right=False),
    MethodCase("ties", {"space": "core"}),
    MethodCase("dare", {"density": 0.5}, ordered=True, left=False, right=False),
    MethodCase("dare", {"space": "core", "combine": "elect"}, ordered=True),
    MethodCase("della", ordered=True, left=False, right=False),
    MethodCase("della", {"space": "core", "combine": "sum", "seed": 4}, ordered=True),
    MethodCase("knots_ties", right=False),
    MethodCase("knots_dare", {"seed": 1}, ordered=True, right=False),
    MethodCase("tsv"),
    MethodCase("iso_c"),
    MethodCase("iso_cts"),
    MethodCase("iso_cts", {"common_fraction": 0.3}),
    MethodCase("tempered"),
    MethodCase("tempered", {"power": 0.2}),
    MethodCase("svc", tight=1e-9),
    MethodCase("larv"),
    MethodCase("wudi"),
    MethodCase("wudi", {"ridge": 0.1, "anchor": "zero"}),
    MethodCase("regmean", right=False, ordered=True),
    MethodCase("fisher", left=False, right=False, ordered=True),
    MethodCase("model_stock"),
    MethodCase("slerp", negative=False, tight=1e-8),
    MethodCase("grassmann", {"rank": 3, "tolerance": 1e-8}, tight=1e-5),
    MethodCase("grassmann", {"rank": 3, "core": "transport", "eigenvalues": "plain", "tolerance": 1e-8}, tight=1e-5),
    MethodCase("compress", {"module_rank": 1}),
    MethodCase("compress", {"module_rank": 2, "inner": "knots_ties", "density": 0.5}, right=False),
)


# Inputs


@dataclass(frozen=True)
class Inputs:
    """Modules of one weight: ranks, 0 for one that leaves it alone, "dense" for full fine-tuning."""

    name: str
    shape: tuple[int, int]
    ranks: tuple[int | str, ...]
    weights: tuple[float, ...]
    deficient: bool = False  # the last factor of each module repeats the first
    seed: int = 0

    def deltas(self, dtype: torch.dtype) -> list[Delta | None]:
        m, n = self.shape
        made: list[Delta | None] = []
        # a share that all modules have in common keeps their angles away from right ones
        common = randn(m, max(self.shape), seed=self.seed + 1), randn(max(self.shape), n, seed=self.seed + 2)
        for t, rank in enumerate(self.ranks):
            if rank == 0:
                made.append(None)
                continue
            r = min(m, n) if rank == "dense" else int(rank)
            left = randn(m, r, seed=100 * self.seed + 10 * t + 3) + common[0][:, :r]
            right = randn(r, n, seed=100 * self.seed + 10 * t + 4) + common[1][:r]
            left = left * torch.linspace(2, 1, r, dtype=torch.float64)
            if self.deficient:
                left, right = torch.cat([left, left[:, :1]], 1), torch.cat([right, right[:1]], 0)
            if rank == "dense":
                made.append(Dense((left @ right).to(dtype)))
            else:
                made.append(LowRank(left.to(dtype), right.to(dtype)))
        return made

    def joint(self, dtype: torch.dtype) -> Joint:
        return join(NAME, self.deltas(dtype))

    def matrices(self, dtype: torch.dtype) -> list[Tensor | None]:
        return [None if d is None else d.to(torch.float64).dense() for d in self.deltas(dtype)]


INPUTS = (
    Inputs("one", (12, 9), (3,), (1.0,)),
    Inputs("one scaled", (9, 12), (3,), (0.5,), seed=1),
    Inputs("two", (14, 11), (3, 3), (1.0, 1.0), seed=2),
    Inputs("mixed ranks", (24, 18), (2, 3, 4), (1.0, 0.5, -2.0), seed=3),
    Inputs("five", (30, 26), (3, 2, 4, 1, 3), (1.0, 1.0, 0.3, 1.0, 2.0), seed=4),
    Inputs("eight", (40, 36), (3,) * 8, (1.0,) * 8, seed=5),
    Inputs("more than the sides", (6, 9), (4, 4, 3), (1.0, 0.5, -2.0), seed=6),
    Inputs("more than one side", (7, 30), (4, 4, 3), (1.0, 1.0, 1.0), seed=7),
    Inputs("deficient", (20, 16), (2, 3, 2), (1.0, 0.5, -2.0), deficient=True, seed=8),
    Inputs("one dense", (10, 12), (3, "dense", 4), (1.0, 0.5, -2.0), seed=9),
    Inputs("all dense", (8, 7), ("dense", "dense"), (1.0, 0.5), seed=10),
    Inputs("absent", (15, 17), (3, 0, 4, 3), (1.0, 1.0, 0.5, 0.0), seed=11),
)

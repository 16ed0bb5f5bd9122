"""``hsgeo bench manifolds``: speed and accuracy of the manifold layer beside pymanopt, geomstats, geoopt and mpmath."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.demo_mammals import PUBLISHED, STEPS
from hyperspectral_geo.benchmarks.lorentz_oracle import lorentz_rows
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment, worst
from hyperspectral_geo.benchmarks.timing import Pair, compare, one_thread
from hyperspectral_geo.data import load_wordnet
from hyperspectral_geo.hyperbolic import HopGraph, LinkSoftmax, fit, reconstruction
from hyperspectral_geo.linalg import orthonormalize
from hyperspectral_geo.manifolds import MeanReport, frechet_mean, grassmann_exp, grassmann_log, principal_angles

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

SHAPES = ((64, 768, 16), (8, 4096, 64))
BARS = {  # (exp, log) speed-up over pymanopt
    torch.float32: (6.0, 4.0),
    torch.float64: (3.0, 1.6),
}
NAMES = {torch.float32: "float32", torch.float64: "float64"}


def run(*, quick: bool = False, progress: Progress | None = None) -> BenchTable:
    """Measure every figure of the manifold layer; ``quick`` takes two seeds and few turns instead of five and many.

    Raises:
        ModuleNotFoundError: if pymanopt or mpmath is missing; without geomstats its rows are left out with a note.
    """
    for peer in ("pymanopt", "mpmath"):
        if find_spec(peer) is None:
            raise ModuleNotFoundError(f"{peer} is not installed; python -m pip install -e '.[bench]' in the checkout")
    seeds = range(2 if quick else 5)
    turns = 2 if quick else 5
    parts: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        ("exp and log", lambda: _exp_log_rows(seeds, turns)),
        ("geomstats", lambda: _geomstats_rows(1 if quick else 2)),
        ("angles", lambda: _angle_rows(seeds, turns)),
        ("orthonormality", lambda: _orthonormality_rows(seeds)),
        ("Karcher mean", lambda: _karcher_rows(seeds, 1 if quick else 3)),
        ("mammals", lambda: _mammal_rows(range(1 if quick else 5))),
        ("Lorentz", lambda: lorentz_rows(pairs=8 if quick else 64)),
    ]
    table = BenchTable("manifolds")
    task = progress.add_task("manifolds", total=len(parts)) if progress else None
    with one_thread():
        table.environment = environment("geoopt", "pymanopt", "geomstats", "mpmath")
        for name, rows in parts:
            if progress and task is not None:
                progress.update(task, description=name)
            table.rows.extend(rows())
            if progress and task is not None:
                progress.advance(task)
    table.notes.append(
        f"Speed-ups are CPU time on one thread, peer over ours in turn: median over {len(seeds)} seeds × {turns} turns "
        "(fewer turns for the Karcher mean, one seed for geomstats), interval from the second smallest to the second "
        "largest turn, or of all turns if they are fewer than five. No figure was tuned on these seeds."
    )
    if _geomstats_grassmannian() is None:
        table.notes.append(
            "geomstats' rows are left out, since it cannot be imported: it comes with the extra bench, and "
            "version 2.8 needs numpy<2.4."
        )
    return table


def _points(seed: int, shape: tuple[int, int, int], dtype: torch.dtype, length: float = 1.0) -> tuple[Tensor, Tensor]:
    """A batch of random points, and horizontal tangents of Frobenius norm ``length`` there."""
    generator = torch.Generator().manual_seed(seed)
    x = orthonormalize(torch.randn(*shape, generator=generator, dtype=torch.float64))
    u = torch.randn(*shape, generator=generator, dtype=torch.float64)
    u = u - x @ (x.mT @ u)
    u = u * (length / torch.linalg.matrix_norm(u))[:, None, None]
    return x.to(dtype).contiguous(), u.to(dtype).contiguous()


def _speed_row(figure: str, pair: Pair, bar: float | None, peer: str) -> Row:
    ours = f"{1e3 * median(pair.ours):.3g} ms"
    return Row(
        figure, pair.speedup, bar, "higher", pair.interval, ours, f"{peer} {1e3 * median(pair.peer):.1f} ms", "×"
    )


def _over_seeds(seeds: range, measure: Callable[[int], Pair]) -> Pair:
    pairs = [measure(seed) for seed in seeds]
    return sum(pairs[1:], pairs[0])


def _exp_log_rows(seeds: range, turns: int) -> Iterator[Row]:
    from pymanopt.manifolds import Grassmann as Peer

    for shape in SHAPES:
        peer = Peer(shape[1], shape[2], k=shape[0])
        for dtype, (exp_bar, log_bar) in BARS.items():

            def exp(seed: int, shape=shape, dtype=dtype, peer=peer) -> Pair:
                x, u = _points(seed, shape, dtype)
                a, b = x.numpy(), u.numpy()
                return compare(lambda: grassmann_exp(x, u), lambda: peer.exp(a, b), turns=turns)

            def log(seed: int, shape=shape, dtype=dtype, peer=peer) -> Pair:
                x, _ = _points(seed, shape, dtype)
                y, _ = _points(seed + 1000, shape, dtype)
                a, b = x.numpy(), y.numpy()
                return compare(lambda: grassmann_log(x, y), lambda: peer.log(a, b), turns=turns)

            where = f"{'×'.join(map(str, shape))} {NAMES[dtype]}"
            yield _speed_row(f"exp {where}", _over_seeds(seeds, exp), exp_bar, "pymanopt")
            yield _speed_row(f"log {where}", _over_seeds(seeds, log), log_bar, "pymanopt")


def _geomstats_rows(turns: int) -> Iterator[Row]:
    """Per item: geomstats works on n×n projectors, so its batch of one is set against our batch of 64."""
    Grassmannian = _geomstats_grassmannian()
    if Grassmannian is None:
        return
    items, n, p = SHAPES[0]
    peer = Grassmannian(n, p)
    x, u = _points(0, (items, n, p), torch.float64)
    y = grassmann_exp(x, u)
    projector, end = (x[0] @ x[0].T).numpy(), (y[0] @ y[0].T).numpy()
    tangent = (u[0] @ x[0].T + x[0] @ u[0].T).numpy()
    calls = {
        "exp": (lambda: grassmann_exp(x, u), lambda: peer.metric.exp(tangent, projector)),
        "log": (lambda: grassmann_log(x, y), lambda: peer.metric.log(end, projector)),
    }
    for name, (ours, theirs) in calls.items():
        pair = compare(ours, theirs, turns=turns)
        each = Pair(tuple(t / items for t in pair.ours), pair.peer)
        yield _speed_row(f"{name} {n}×{p} float64, per item", each, 3000.0, "geomstats")


def _geomstats_grassmannian():
    """geomstats' class, or ``None`` if it is missing or its version does not go with this NumPy."""
    try:
        return import_module("geomstats.geometry.grassmannian").Grassmannian
    except ImportError:
        return None


def _angle_rows(seeds: range, turns: int) -> Iterator[Row]:
    """Angles log-uniform from 1e-12 to π/2, both ends included: all of them need the accurate path."""
    from pymanopt.manifolds import Grassmann as Peer

    for shape in SHAPES:
        peer = Peer(shape[1], shape[2], k=shape[0])
        for dtype in BARS:
            where = f"{'×'.join(map(str, shape))} {NAMES[dtype]}"
            yield _angle_error_row(seeds, where, shape, dtype)

            def dist(seed: int, shape=shape, dtype=dtype, peer=peer) -> Pair:
                x, y, _ = _constructed(seed, shape, dtype)
                a, b = x.numpy(), y.numpy()
                return compare(lambda: principal_angles(x, y), lambda: peer.dist(a, b), turns=turns)

            pair = _over_seeds(seeds, dist)
            low, high = pair.interval
            times = (f"{1e3 * median(pair.ours):.3g} ms", f"pymanopt {1e3 * median(pair.peer):.1f} ms")
            figure = f"angles, time over pymanopt's dist {where}"
            yield Row(figure, 1 / pair.speedup, 3.0, "lower", (1 / high, 1 / low), *times, "×")


def _angle_error_row(seeds: range, where: str, shape: tuple[int, int, int], dtype: torch.dtype) -> Row:
    from pymanopt.manifolds import Grassmann as Peer

    eps = torch.finfo(dtype).eps
    errors, peer_errors = [], []
    for seed in seeds:
        x, y, angles = _constructed(seed, (2, *shape[1:]), dtype, exact=True)
        errors.append((principal_angles(x, y).double() - angles).abs().max().item() / eps)
        distance = Peer(*shape[1:], k=2).dist(x.numpy(), y.numpy())
        peer_errors.append(abs(float(distance) - angles.norm().item()) / eps)
    theirs = f"pymanopt's distance {worst(peer_errors):.2g} eps"
    return Row(f"angle error {where}", worst(errors), 10.0, "lower", (min(errors), worst(errors)), "", theirs, " eps")


def _constructed(
    seed: int, shape: tuple[int, int, int], dtype: torch.dtype, *, exact: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Bases of subspaces with known principal angles, turned at random within their spans.

    ``exact`` builds them in NumPy's extended precision before the last rounding: in float64 the construction itself
    would else be off by several eps.
    """
    batch, n, p = shape
    wide = np.longdouble if exact else np.float64
    generator = np.random.default_rng(seed)
    angles = 10 ** (generator.random((batch, p)) * (math.log10(math.pi / 2) + 12) - 12)
    angles[:, 0], angles[:, -1] = 1e-12, math.pi / 2
    angles.sort(-1)

    def frames(*size: int) -> np.ndarray:
        q = np.linalg.qr(generator.standard_normal(size))[0].astype(wide)
        return 1.5 * q - q @ (q.swapaxes(-1, -2) @ q) / 2

    frame = frames(batch, n, 2 * p)
    cos, sin = (f(angles.astype(wide))[:, None] for f in (np.cos, np.sin))
    x, y = frame[..., :p], frame[..., :p] * cos + frame[..., p:] * sin
    x, y = (torch.from_numpy((a @ frames(batch, p, p)).astype(np.float64)).to(dtype) for a in (x, y))
    return x.contiguous(), y.contiguous(), torch.from_numpy(angles)


def _orthonormality_rows(seeds: range) -> Iterator[Row]:
    for shape in SHAPES:
        errors = []
        for seed in seeds:
            x, u = _points(seed, shape, torch.float32, length=3.0)
            y = grassmann_exp(x, u).double()
            errors.append(torch.linalg.matrix_norm(y.mT @ y - torch.eye(shape[2])).max().item() / shape[2] ** 0.5)
        spread = (min(errors), worst(errors))
        where = "×".join(map(str, shape))
        yield Row(f"‖YᵀY − I‖/√p after exp, {where} float32", spread[1], 1e-6, "lower", spread)


def _karcher_rows(seeds: range, turns: int) -> Iterator[Row]:
    from pymanopt.manifolds import Grassmann as Peer

    count, n, p = 64, 768, 16
    many, one = Peer(n, p, k=count), Peer(n, p)

    def by_pymanopt(points, tolerance: float = 1e-8):
        mean = points[0]
        for _ in range(100):
            step = many.log(mean[None].repeat(count, 0), points).mean(0)
            if (step**2).sum() ** 0.5 <= tolerance:
                break
            mean = one.exp(mean, step)
        return mean

    def measure(seed: int) -> Pair:
        points = _cloud(seed, count, n, p, torch.float64)
        array = points.numpy()
        return compare(lambda: frechet_mean(points, tolerance=1e-8), lambda: by_pymanopt(array), turns=turns)

    yield _speed_row(
        f"Karcher mean of {count} points {n}×{p} float64 to 1e-8",
        _over_seeds(seeds, measure),
        2.5,
        "pymanopt's exp, log",
    )
    reports = []
    for seed in seeds:
        _, report = frechet_mean(_cloud(seed, count, n, p, torch.float32), return_report=True)
        assert isinstance(report, MeanReport)
        reports.append(report)
    norms = [report.gradient_norm.item() for report in reports]
    converged = sum(bool(report.converged) for report in reports) / len(reports)
    yield Row(
        "Karcher mean, float32: share of seeds converged",
        converged,
        1.0,
        ours=f"gradient {worst(norms):.1e}, {max(r.iterations for r in reports)} iterations",
    )


def _mammal_rows(seeds: range) -> Iterator[Row]:
    """The demo's embedding of WordNet's mammals, at its recipe, over seeds."""
    mammals = load_wordnet("mammals")
    graph = HopGraph.from_edges(mammals.edges, names=mammals.names)
    scores = [
        reconstruction(fit(graph, dim=5, objective=LinkSoftmax(), steps=STEPS[5], seed=seed), graph) for seed in seeds
    ]
    ranks, precisions = ([getattr(s, name) for s in scores] for name in ("mean_rank", "mean_average_precision"))
    spreads = [(min(values), max(values)) for values in (ranks, precisions)]
    published = (f"published {PUBLISHED.mean_rank}", f"published {PUBLISHED.mean_average_precision}")
    yield Row("mammals, hyperbolic d = 5: mean rank", max(ranks), 1.26, "lower", spreads[0], "", published[0])
    yield Row("mammals, hyperbolic d = 5: MAP", min(precisions), 0.95, "higher", spreads[1], "", published[1])


def _cloud(seed: int, count: int, n: int, p: int, dtype: torch.dtype) -> Tensor:
    """Points at distance 2 around a common centre, in random directions."""
    generator = torch.Generator().manual_seed(seed)
    centre = orthonormalize(torch.randn(1, n, p, generator=generator, dtype=torch.float64))
    u = torch.randn(count, n, p, generator=generator, dtype=torch.float64)
    u = u - centre @ (centre.mT @ u)
    return grassmann_exp(centre, 2 * u / torch.linalg.matrix_norm(u)[:, None, None]).to(dtype)

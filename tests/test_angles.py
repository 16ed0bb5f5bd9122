"""Principal angles against SciPy, pymanopt and angles known by construction; the six distances against formulas."""

from __future__ import annotations

import math

import numpy as np
import pymanopt
import pytest
import scipy.linalg
import torch
from cases import BATCHES, DISTANCES, DTYPES, eps, frames, plain, randn, rotation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hyperspectral_geo.linalg import orthonormalize, polar
from hyperspectral_geo.manifolds import principal_angles, subspace_distance

HALF = math.pi / 2
CLUSTERS = {
    "one of each size": [1e-12, 1e-9, 1e-6, 1e-3, 0.3, math.pi / 4, 1.2, HALF],
    "tiny beside right": [1e-12, 1e-11, 1e-10, 1e-9, HALF, HALF],
    "tied small": [1e-5, 1e-5, 1e-5],
    "tied middle": [0.7, 0.7, 0.7, 0.7],
    "tied at the switch": [math.pi / 4] * 3,
    "around the switch": [math.pi / 4 - 1e-9, math.pi / 4, math.pi / 4 + 1e-9],
    "near right": [HALF - 1e-3, HALF - 1e-6, HALF - 1e-9, HALF],
    "all right": [HALF, HALF],
    "coincident": [0.0, 0.0, 0.0],
    "coincident beside large": [0.0, 0.0, 1.0, 1.5],
    "clusters": [1e-8, 1.0001e-8, 0.4, 0.4 + 1e-10, 1.1, 1.1],
    "only tiny": [1e-12],
    "graded": [10.0**-k for k in range(12, 0, -1)],
}


def at_angles(angles: list[float], n: int, seed: int, extra: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bases of subspaces with the given angles, ``extra`` dimensions of x being orthogonal to y, in long double."""
    m = len(angles)
    assert n >= 2 * m + extra
    t = np.array(angles, dtype=np.longdouble)
    x, y = np.zeros((n, m + extra), np.longdouble), np.zeros((n, m), np.longdouble)
    x[: m + extra] = np.eye(m + extra)
    y[:m] = np.diag(np.cos(t))
    y[m + extra : 2 * m + extra] = np.diag(np.sin(t))

    def turn(k: int, salt: int) -> np.ndarray:
        """An orthogonal matrix in long double: three products of reflections."""
        q = np.eye(k, dtype=np.longdouble)
        for i in range(3):
            v = randn(k, seed=seed * 31 + salt * 7 + i).numpy().astype(np.longdouble)
            v /= np.sqrt((v * v).sum())
            q = q - 2 * np.outer(q @ v, v)
        return q

    space = turn(n, 1)
    return space @ x @ turn(m + extra, 2), space @ y @ turn(m, 3)


def tensor(a: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(a.astype(np.float64)).to(dtype)


def rounding_of_input(angles: list[float], x: np.ndarray, y: np.ndarray, dtype: torch.dtype) -> float:
    """How far rounding the entries to ``dtype`` may itself move an angle: the size of the change of both bases."""
    return sum(float(np.linalg.norm((a - tensor(a, dtype).double().numpy()).astype(np.float64), 2)) for a in (x, y))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("name", CLUSTERS)
def test_known_angles_within_ten_eps(name, extra, dtype):
    angles = CLUSTERS[name]
    for seed in range(5):
        x, y = at_angles(angles, 2 * len(angles) + extra + seed, seed, extra)
        unit = torch.finfo(dtype).eps
        for a, b in ((x, y), (y, x)):
            found = principal_angles(tensor(a, dtype), tensor(b, dtype)).double().numpy()
            assert found.shape == (len(angles),)
            error = np.abs(found - np.sort(angles)).max()
            # what the functions are given is rounded; that they cannot undo
            assert error <= 10 * unit + 2 * rounding_of_input(angles, x, y, dtype)
            assert error <= 20 * unit


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("angle", [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.5, 0.78, 0.79, 1.0, 1.5, HALF - 1e-7])
def test_one_angle_in_the_plane(angle, dtype):
    t = torch.tensor(angle, dtype=torch.float64)
    x = torch.tensor([[1.0], [0.0], [0.0]], dtype=dtype)
    y = torch.stack([t.cos(), t.sin(), torch.zeros_like(t)])[:, None].to(dtype)
    exact = math.atan2(float(y[1, 0]), float(y[0, 0]))
    assert abs(principal_angles(x, y).item() - exact) <= 10 * torch.finfo(dtype).eps


SHAPES = [(6, 1, 1), (6, 2, 2), (6, 4, 4), (5, 3, 2), (7, 2, 6), (4, 4, 2), (3, 3, 3), (30, 7, 4), (6, 5, 5)]


@pytest.mark.parametrize("n, p, q", SHAPES)
@given(seed=st.integers(0, 10_000), closeness=st.floats(-10, 0.5))
def test_agrees_with_scipy(n, p, q, seed, closeness):
    x = frames(n, p, seed=seed)
    k = min(p, q)
    y = randn(n, q, seed=seed + 1)
    y[:, :k] = x[:, :k] + 10**closeness * y[:, :k]
    y = orthonormalize(y)
    expected = np.sort(scipy.linalg.subspace_angles(x.numpy(), y.numpy()))
    expected[: max(p + q - n, 0)] = (
        0  # subspaces that must meet; SciPy gives up to 1.5e-8 there, and 1e-14 too little elsewhere
    )
    np.testing.assert_allclose(principal_angles(x, y).numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n, p", [(6, 2), (20, 5)])
def test_geodesic_distance_agrees_with_pymanopt(n, p):
    reference = pymanopt.manifolds.Grassmann(n, p)
    for seed in range(10):
        x, y = frames(n, p, seed=seed), frames(n, p, seed=seed + 100)
        assert float(subspace_distance(x, y)) == pytest.approx(reference.dist(x.numpy(), y.numpy()), rel=1e-10)


@pytest.mark.parametrize("n, p, q", [(5, 3, 4), (6, 5, 5), (4, 4, 1), (3, 3, 3)])
def test_subspaces_that_must_meet_do(n, p, q):
    angles = principal_angles(frames(n, p, seed=1), frames(n, q, seed=2))
    assert (angles[: p + q - n] <= 10 * torch.finfo(torch.float64).eps).all()
    assert angles.numel() == min(p, q)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("p, q", [(2, 2), (3, 1), (1, 3)])
def test_a_batch_is_a_loop_and_dimensions_broadcast(batch, p, q, dtype):
    x, y = frames(*batch, 6, p, seed=3, dtype=dtype), frames(*batch, 6, q, seed=4, dtype=dtype)
    angles = principal_angles(x, y)
    assert angles.shape == (*batch, min(p, q))
    assert angles.dtype == dtype
    for i in np.ndindex(*batch):
        torch.testing.assert_close(angles[i], principal_angles(x[i], y[i]), rtol=0, atol=10 * eps(x))
    one = y[(0,) * len(batch)]
    torch.testing.assert_close(
        principal_angles(x, one), principal_angles(x, one.expand_as(y)), rtol=0, atol=10 * eps(x)
    )


@given(seed=st.integers(0, 10_000), p=st.integers(1, 4), q=st.integers(1, 4))
def test_depends_on_the_spans_only_is_symmetric_and_sorted(seed, p, q):
    x, y = frames(7, p, seed=seed), frames(7, q, seed=seed + 1)
    angles = principal_angles(x, y)
    turned = principal_angles(
        rotation(7, seed) @ x @ rotation(p, seed + 2), rotation(7, seed) @ y @ rotation(q, seed + 3)
    )
    torch.testing.assert_close(turned, angles, rtol=0, atol=1e-14)
    torch.testing.assert_close(principal_angles(y, x), angles, rtol=0, atol=1e-14)
    assert (angles.diff() >= 0).all()
    assert (angles >= 0).all()
    assert (angles <= HALF + 1e-15).all()


@given(seed=st.integers(0, 10_000), p=st.integers(1, 3))
def test_angles_of_complements_are_the_same(seed, p):
    whole, other = rotation(7, seed), rotation(7, seed + 1)
    angles = principal_angles(whole[:, :p], other[:, :p])
    complements = principal_angles(whole[:, p:], other[:, p:])
    torch.testing.assert_close(complements[-p:], angles, rtol=0, atol=1e-14)
    assert (complements[:-p] <= 1e-15 * 10).all()


# Distances


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("p, q", [(2, 2), (1, 1), (4, 2), (2, 4)])
@given(seed=st.integers(0, 10_000))
def test_distances_follow_their_formulas(kind, p, q, seed):
    x, y = frames(8, p, seed=seed), frames(8, q, seed=seed + 1)
    t = torch.from_numpy(np.sort(scipy.linalg.subspace_angles(x.numpy(), y.numpy())).copy())
    formula = DISTANCES[kind]
    rtol = 1e-12 / t.cos().min().item() ** 2 if kind == "martin" else 1e-12
    torch.testing.assert_close(subspace_distance(x, y, kind), formula(t), rtol=rtol, atol=0)
    full = torch.cat([t, torch.full((abs(p - q),), HALF, dtype=t.dtype)])
    metric = subspace_distance(x, y, kind, unequal="metric")
    if kind == "martin" and p != q:
        assert metric == math.inf
    else:
        torch.testing.assert_close(metric, formula(full), rtol=rtol, atol=0)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("angle", [1e-9, 1e-5, 1e-2])
def test_distances_are_accurate_when_small(kind, angle):
    x, y = (tensor(a, torch.float64) for a in at_angles([angle, angle / 2], 6, 1))
    small = {"projection": angle, "asimov": angle}.get(kind, angle * math.sqrt(1.25))
    assert float(subspace_distance(x, y, kind)) == pytest.approx(
        small, rel=angle**2 * 2 + 1e-5 * (1e-9 / angle) + 1e-12
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", DISTANCES)
def test_largest_distances(kind, dtype):
    """The float32 number next to π/2 lies above it: its cosine is negative."""
    e = torch.eye(6, dtype=dtype)
    expected = {"geodesic": math.sqrt(3) * HALF, "chordal": math.sqrt(3), "asimov": HALF}.get(kind, 1)
    distance = subspace_distance(e[:, :3], e[:, 3:], kind)
    assert distance.dtype == dtype
    if kind == "martin":  # without bound in theory, and as large as the dtype can tell
        assert distance > 12
    else:
        assert float(distance) == pytest.approx(expected, rel=4 * torch.finfo(dtype).eps)
    mixed = subspace_distance(e[:, :2], e[:, [0, 5]], kind)
    assert mixed >= (1 - 1e-6 if kind != "martin" else 8)


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_contained_subspace_is_at_distance_zero_unless_dimensions_count(kind):
    x = frames(7, 4, seed=1)
    y = x @ rotation(4, 2)[:, :2]
    assert subspace_distance(x, y, kind) <= 1e-14
    assert subspace_distance(y, x, kind) <= 1e-14
    assert subspace_distance(x, y, kind, unequal="metric") >= 1


@pytest.mark.parametrize("kind", [k for k in DISTANCES if k != "martin"])
@given(seed=st.integers(0, 10_000), sizes=st.tuples(*[st.integers(1, 4)] * 3), closeness=st.floats(-4, 1))
def test_triangle_inequality_across_dimensions(kind, seed, sizes, closeness):
    """In the "metric" mode; "containment" has no triangle inequality, by design."""
    common = randn(6, 4, seed=seed)
    x, y, z = (
        orthonormalize(common[:, :p] + 10**closeness * randn(6, p, seed=seed + i)) for i, p in enumerate(sizes, 1)
    )

    def d(a: Tensor, b: Tensor) -> float:
        return float(subspace_distance(a, b, kind, unequal="metric"))

    assert d(x, z) <= d(x, y) + d(y, z) + 1e-12
    assert d(x, y) == pytest.approx(d(y, x), abs=1e-13)


def test_containment_is_not_a_metric():
    e = torch.eye(3, dtype=torch.float64)
    line, plane, other = e[:, :1], e[:, :2], e[:, 1:2]
    assert subspace_distance(line, plane) + subspace_distance(plane, other) < subspace_distance(line, other)


# Gradients


def from_any(function, make=orthonormalize):
    return lambda a, b: function(make(a), make(b))


@pytest.mark.parametrize("make", [orthonormalize, polar])
@pytest.mark.parametrize("p, q", [(1, 1), (2, 2), (3, 3), (3, 2), (1, 3)])
@pytest.mark.parametrize("kind", DISTANCES)
def test_gradients_of_distances(kind, p, q, make):
    a, b = randn(6, p, seed=1).requires_grad_(), randn(6, q, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(from_any(lambda x, y: subspace_distance(x, y, kind), make), (a, b))


def test_gradients_of_distinct_angles():
    a, b = randn(2, 7, 3, seed=3).requires_grad_(), randn(2, 7, 3, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(from_any(principal_angles), (a, b))


def test_gradients_broadcast():
    a, b = randn(6, 2, seed=3).requires_grad_(), randn(2, 6, 2, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(from_any(subspace_distance), (a, b))


@pytest.mark.parametrize("angles", [[0.4, 0.4], [1.2, 1.2], [0.2, 0.2, 1.1, 1.1], [math.pi / 4] * 2, [1e-4, 0.3]])
@pytest.mark.parametrize("kind", ["geodesic", "chordal", "binet_cauchy", "martin"])
def test_gradients_at_ties(kind, angles):
    """Symmetric functions of the angles are smooth at ties, though the single angles are not."""
    x, y = (tensor(a, torch.float64).requires_grad_() for a in at_angles(angles, 2 * len(angles) + 1, 3))
    squared = from_any(lambda x, y: subspace_distance(x, y, kind).square(), polar)
    assert torch.autograd.gradcheck(squared, (x, y), atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CLUSTERS)
@pytest.mark.parametrize("kind", [*DISTANCES, "angles"])
def test_gradients_are_finite_wherever_the_distance_is(kind, name, dtype):
    angles = CLUSTERS[name]
    x, y = (tensor(a, dtype).requires_grad_() for a in at_angles(angles, 2 * len(angles), 5))
    value = principal_angles(x, y).sum() if kind == "angles" else subspace_distance(x, y, kind)
    value.backward()
    if kind == "martin" and angles[-1] > HALF - 1e-3:  # the distance itself grows without bound
        return
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", DISTANCES)
def test_coincident_subspaces_have_no_gradient(kind, dtype):
    x = frames(6, 2, seed=1, dtype=dtype).requires_grad_()
    y = (plain(x) @ rotation(2, 2, dtype)).requires_grad_()
    subspace_distance(x, y, kind).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(y.grad).all()
    subspace_distance(x, x.detach(), kind).square().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1e-3, 0.7, 0.8, 1.5])
def test_gradient_of_an_angle_has_length_one_and_is_horizontal(angle):
    x, y = (tensor(a, torch.float64).requires_grad_() for a in at_angles([angle], 5, 2))
    principal_angles(x, y).sum().backward()
    for point, grad in ((x, x.grad), (y, y.grad)):
        assert torch.linalg.matrix_norm(grad).item() == pytest.approx(1, abs=1e-6)
        assert (point.detach().mT @ grad).abs().max() <= 1e-7

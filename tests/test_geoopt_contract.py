"""geoopt's own ways of use: its optimisers, tensors, products and scalings, on a problem whose answer SciPy knows."""

from __future__ import annotations

import geoopt
import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from cases import DTYPES, frames, plain, randn
from geoopt.manifolds.base import Manifold

from hyperspectral_geo.manifolds import Grassmann, Lorentz, Stiefel, principal_angles, subspace_distance

RETRACTIONS = ["polar", "qr", "cayley"]
SPANS = {f"grassmann-{r}": lambda r=r: Grassmann(r) for r in RETRACTIONS}
FRAMES = {**SPANS, "stiefel": Stiefel}


def spiked(n: int, p: int) -> np.ndarray:
    """A symmetric matrix with p eigenvalues well above the others."""
    q = frames(n, n, seed=1).numpy()
    values = np.concatenate([np.linspace(6, 5, p), np.linspace(1, 0, n - p)])
    return (q * values) @ q.T


OPTIMISERS = {
    "adam": lambda params: geoopt.optim.RiemannianAdam(params, lr=0.1, amsgrad=True),
    "sgd": lambda params: geoopt.optim.RiemannianSGD(params, lr=0.08, momentum=0.5),
    "sgd with stabilize": lambda params: geoopt.optim.RiemannianSGD(params, lr=0.08, momentum=0.5, stabilize=10),
    "line search": lambda params: geoopt.optim.RiemannianLineSearch(params),
}


@pytest.mark.parametrize("optimiser", [name for name in OPTIMISERS if name != "line search"])
@pytest.mark.parametrize("name", FRAMES)
def test_finds_the_dominant_subspace_that_scipy_finds(name, optimiser):
    n, p = 30, 3
    matrix = spiked(n, p)
    _, vectors = scipy.sparse.linalg.eigsh(matrix, k=p)
    a = torch.from_numpy(matrix)
    manifold = FRAMES[name]()
    x = geoopt.ManifoldParameter(frames(n, p, seed=2), manifold=manifold)
    steps = OPTIMISERS[optimiser]([x])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(steps, 150) if optimiser == "adam" else None
    for _ in range(150):
        steps.zero_grad()
        (-(x * (a @ x)).sum() / 2).backward()
        steps.step()
        if scheduler:
            scheduler.step()
    angle = principal_angles(plain(x), torch.from_numpy(vectors.copy())).max()
    assert angle <= (1e-2 if optimiser == "adam" else 1e-6)
    assert manifold.check_point_on_manifold(plain(x), atol=1e-10)


@pytest.mark.parametrize("name", FRAMES)
def test_a_stack_of_points_trains_as_one_parameter(name):
    manifold = FRAMES[name]()
    target = frames(6, 10, 2, seed=1, dtype=torch.float32)
    x = geoopt.ManifoldParameter(frames(6, 10, 2, seed=2, dtype=torch.float32), manifold=manifold)
    steps = geoopt.optim.RiemannianAdam([x], lr=0.05)
    before = subspace_distance(plain(x), target)
    for _ in range(40):
        steps.zero_grad()
        subspace_distance(x, target).square().sum().backward()
        steps.step()
    assert (subspace_distance(plain(x), target) < 0.5 * before).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SPANS)
@pytest.mark.parametrize("length", [1e-12, 1.0, 1e2, 1e4, 1e6])
def test_retractions_of_any_length_stay_orthonormal(name, length, dtype):
    manifold = SPANS[name]()
    x = frames(5, 10, 3, seed=1, dtype=dtype)
    # of rank one but for a little, so that one direction is long and the others are not
    u = randn(5, 10, 1, seed=2, dtype=dtype) @ randn(5, 1, 3, seed=3, dtype=dtype)
    u = manifold.proju(x, u + 1e-3 * randn(5, 10, 3, seed=4, dtype=dtype))
    u = (u / torch.linalg.matrix_norm(u, keepdim=True) * length).requires_grad_()
    y = manifold.retr(x, u)
    error = torch.linalg.matrix_norm(y.mT @ y - torch.eye(3, dtype=dtype)).max()
    assert error <= (1e-5 if dtype == torch.float32 else 1e-13)
    y.sum().backward()
    assert torch.isfinite(u.grad).all()


@pytest.mark.parametrize("name", SPANS)
def test_a_thousand_retractions_do_not_drift(name):
    manifold = SPANS[name]()
    x = frames(20, 3, seed=1, dtype=torch.float32)
    for i in range(1000):
        x = manifold.retr(x, manifold.proju(x, 0.1 * randn(20, 3, seed=i, dtype=torch.float32)))
    assert torch.linalg.matrix_norm(x.mT @ x - torch.eye(3)) <= 2e-6


@pytest.mark.parametrize("name", SPANS)
def test_retractions_have_gradients(name):
    manifold = SPANS[name]()

    def function(a, b):
        x = manifold.projx(a)
        return manifold.retr(x, manifold.proju(x, b))

    inputs = (frames(5, 2, seed=1).requires_grad_(), randn(5, 2, seed=2).requires_grad_())
    assert torch.autograd.gradcheck(function, inputs)
    zero = (frames(5, 2, seed=1).requires_grad_(), torch.zeros(5, 2, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(function, zero)


def test_polar_and_qr_reach_the_same_subspace():
    x = frames(8, 3, seed=1)
    u = Grassmann().proju(x, randn(8, 3, seed=2))
    ends = [Grassmann(r).retr(x, u) for r in ("polar", "qr")]
    assert subspace_distance(*ends) <= 1e-14
    assert subspace_distance(ends[0], Grassmann("cayley").retr(x, u)) > 1e-3


def test_cayley_is_the_cayley_transform():
    x = frames(7, 2, seed=1)
    u = Grassmann().proju(x, randn(7, 2, seed=2))
    w = (u @ x.mT - x @ u.mT).numpy() / 2
    identity = np.eye(7)
    expected = np.linalg.solve(identity - w, (identity + w) @ x.numpy())
    np.testing.assert_allclose(Grassmann("cayley").retr(x, u), expected, rtol=0, atol=1e-14)


# What geoopt itself promises of every manifold


@pytest.mark.parametrize("make", [Grassmann, Stiefel, Lorentz])
def test_every_abstract_method_is_there(make):
    manifold = make()
    assert isinstance(manifold, Manifold)
    assert not make.__abstractmethods__
    assert set(Manifold.__scaling__) <= set(make.__scaling__)
    assert isinstance(manifold.reversible, bool)
    assert manifold.ndim == (1 if make is Lorentz else 2)


@pytest.mark.parametrize("make", [Grassmann, Stiefel])
def test_wrong_shapes_are_refused_at_construction(make):
    manifold = make()
    with pytest.raises(ValueError, match="shape"):
        geoopt.ManifoldParameter(torch.zeros(2, 3), manifold=manifold)
    with pytest.raises(ValueError, match="dim"):
        geoopt.ManifoldParameter(torch.zeros(3), manifold=manifold)


def test_tensors_and_parameters_keep_their_manifold():
    manifold = Grassmann()
    x = manifold.random(3, 5, 2)
    assert isinstance(x, geoopt.ManifoldTensor)
    p = geoopt.ManifoldParameter(x, manifold=manifold)
    assert p.requires_grad
    assert p.dist(x).item() <= 1e-5
    moved = p.double()
    assert moved.dtype == torch.float64
    assert manifold.check_point_on_manifold(plain(moved))


@pytest.mark.parametrize("learnable", [False, True])
def test_training_inside_scaled_and_product(learnable):
    base = Grassmann()
    scaled = geoopt.Scaled(base, 2.0, learnable=learnable)
    target = frames(6, 2, seed=1, dtype=torch.float32)
    x = geoopt.ManifoldParameter(frames(6, 2, seed=2, dtype=torch.float32), manifold=scaled)
    product = geoopt.ProductManifold((base, (6, 2)), (Lorentz(), (4,)))
    goal = product.pack_point(target, Lorentz().expmap0(torch.tensor([0.0, 1.0, -1.0, 0.5])))
    begin = product.pack_point(plain(x).clone(), Lorentz().origin(4).as_subclass(torch.Tensor))
    y = geoopt.ManifoldParameter(begin, manifold=product)
    for manifold, point, end in ((scaled, x, target), (product, y, goal)):
        steps = geoopt.optim.RiemannianAdam([point], lr=0.1)
        before = manifold.dist(point, end).item()
        for _ in range(30):
            steps.zero_grad()
            manifold.dist2(point, end).sum().backward()
            steps.step()
        assert manifold.dist(point, end).item() < 0.5 * before
        assert manifold.check_point_on_manifold(plain(point), atol=1e-4)
    if learnable:
        assert scaled._log_scale.grad is not None


def test_frames_of_unequal_dimension_have_no_distance_on_one_grassmannian():
    e = torch.eye(4)
    with pytest.raises(ValueError, match="subspace_distance"):
        Grassmann().dist(e[:, :1], e[:, :2])


@pytest.mark.parametrize("radius", [1.0, 8.0, 12.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_hyperbolic_training_holds_far_from_the_origin(radius, dtype, optimiser):
    """geoopt's own inner product turns negative there in float32, and Adam takes its root."""
    manifold = Lorentz(torch.tensor(1.0, dtype=dtype))
    z = randn(8, 4, seed=1, dtype=dtype)
    z[:, 0] = 0
    z = z / z.norm(dim=-1, keepdim=True) * radius
    x = geoopt.ManifoldParameter(manifold.expmap0(z), manifold=manifold)
    target = manifold.expmap0(z.roll(1, 0))
    build = geoopt.optim.RiemannianAdam if optimiser == "adam" else geoopt.optim.RiemannianSGD
    steps = build([x], lr=0.05)
    before = manifold.dist(plain(x), target).sum()
    for _ in range(20):
        steps.zero_grad()
        manifold.dist2(x, target).sum().backward()
        steps.step()
    assert torch.isfinite(x).all()
    assert manifold.dist(plain(x), target).sum() < before

"""What every manifold of the table promises: one property a test, on random shapes, batches, dtypes and distances."""

from __future__ import annotations

import copy
import math

import geoopt
import pytest
import torch
from cases import MANIFOLDS, ManifoldCase, Situation, draws, eps, given_share, plain, randn, rotation
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from hyperspectral_geo.manifolds import Grassmann, Lorentz, Stiefel


def rows(choose):
    """Parametrise over the rows of the table that ``choose`` keeps."""
    kept = {name: case for name, case in MANIFOLDS.items() if choose(case)}
    return pytest.mark.parametrize("case", kept.values(), ids=kept)


retractions = rows(lambda case: True)
every = rows(lambda case: not case.same_but_retraction)
spans = rows(lambda case: case.is_span and not case.same_but_retraction)
parallel = rows(lambda case: case.parallel and not case.same_but_retraction)
in_float64 = draws(dtypes=(torch.float64,))


def length(s: Situation, x: Tensor, u: Tensor) -> Tensor:
    return s.manifold.inner(x, u).sqrt()


# Projections


@every
@given_share(0.6, draw=draws())
def test_projx_lands_on_the_manifold_and_repeats_itself(case: ManifoldCase, draw):
    s = draw.of(case)
    once = s.manifold.projx(s.ambient())
    assert s.manifold.check_point_on_manifold(once, atol=1e-4 if s.dtype == torch.float32 else 1e-11)
    s.assert_close(s.manifold.projx(once), once)


@every
@given_share(0.6, draw=draws())
def test_projx_keeps_points(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    s.assert_close(s.manifold.projx(x), x)


@spans
@given_share(0.6, draw=draws())
def test_projx_is_the_nearest_frame(case: ManifoldCase, draw):
    s = draw.of(case)
    a = s.ambient()
    nearest = torch.linalg.matrix_norm(a - s.manifold.projx(a))
    assert (nearest <= torch.linalg.matrix_norm(a - s.point()) + s.tolerance(a)).all()


@every
@given_share(0.6, draw=draws())
def test_proju_lands_in_the_tangent_space_and_repeats_itself(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    u = s.manifold.proju(x, s.ambient())
    assert s.manifold.check_vector_on_tangent(x, u, atol=s.tolerance(x, u))
    s.assert_close(s.manifold.proju(x, u), u, scale=(x.square(),))


@every
@given_share(0.6, draw=draws())
def test_proju_is_orthogonal_so_self_adjoint(case: ManifoldCase, draw):
    s = draw.of(case)
    x, a, b = s.point(), s.ambient(1), s.ambient(2)
    left, right = case.ambient(s.manifold.proju(x, a), b), case.ambient(a, s.manifold.proju(x, b))
    s.assert_close(left, right, scale=(a, x.square() * 10))


@every
@given_share(0.6, draw=draws(), factor=st.floats(-3, 3))
def test_proju_is_linear(case: ManifoldCase, draw, factor):
    s = draw.of(case)
    x, a, b = s.point(), s.ambient(1), s.ambient(2)
    whole = s.manifold.proju(x, a + factor * b)
    s.assert_close(whole, s.manifold.proju(x, a) + factor * s.manifold.proju(x, b), scale=(x.square(),))


# Points that the manifold makes, and its checks


@every
@given_share(0.6, draw=draws())
def test_random_and_origin_are_points(case: ManifoldCase, draw):
    s = draw.of(case)
    shape = (*s.batch, *s.size)
    vectors = case.kind == "vectors"
    dtype = None if vectors else s.dtype  # geoopt's Lorentz draws in the dtype of k
    for make in (s.manifold.random_normal if vectors else s.manifold.random, s.manifold.origin):
        x = make(*shape, dtype=dtype)
        assert x.shape == shape
        assert x.dtype == (dtype or torch.float32)
        assert x.manifold is s.manifold
        assert s.manifold.check_point_on_manifold(plain(x), atol=1e-5)
        assert s.manifold.check_point(x)


@every
@given_share(0.6, draw=draws())
def test_checks_refuse_what_is_off_the_manifold(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    assert s.manifold.check_point_on_manifold(x)
    ok, reason = s.manifold.check_point_on_manifold(1.01 * x, explain=True)
    assert not ok
    assert reason
    assert s.manifold.check_vector_on_tangent(x, s.tangent(x), atol=1e-4)
    ok, reason = s.manifold.check_vector_on_tangent(x, x, explain=True)
    assert not ok
    assert reason


# Retractions


@retractions
@given_share(0.6, draw=draws())
def test_retraction_of_zero_is_the_point(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    s.assert_close(s.manifold.retr(x, torch.zeros_like(x)), x, factor=0.1)


@retractions
@given_share(0.6, draw=draws())
def test_retraction_stays_on_the_manifold(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    y = s.manifold.retr(x, s.tangent(x))
    assert s.manifold.check_point_on_manifold(y, atol=1e-5 if s.dtype == torch.float32 else 1e-12)


@retractions
@given_share(0.6, draw=in_float64)
def test_retraction_has_the_identity_as_its_derivative(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    u, h = s.tangent(x), 1e-5
    slope = (s.manifold.retr(x, h * u) - s.manifold.retr(x, -h * u)) / (2 * h)
    torch.testing.assert_close(slope, u, rtol=0, atol=1e-8 * (1 + x.abs().max().item()) ** 2)


@retractions
@given_share(0.6, draw=in_float64)
def test_retraction_agrees_with_exp_to_its_order(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    u = s.tangent(x, length=1.0)
    gaps = [case.gap(s.manifold.retr(x, t * u), s.manifold.expmap(x, t * u)).item() for t in (0.02, 0.01)]
    order = 3 if case.second_order else 2
    assert gaps[1] <= max(gaps[0] / (2**order - 1), 1e-12)
    assert gaps[0] <= 0.02**order * 2


# Exponential and logarithm


@every
@given_share(0.6, draw=draws())
def test_exp_stays_on_the_manifold(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    y = s.manifold.expmap(x, s.tangent(x))
    assert s.manifold.check_point_on_manifold(y, atol=1e-6 if case.kind == "frames" else 1e-5)
    if case.kind == "frames":
        p = s.size[-1]
        error = torch.linalg.matrix_norm(y.mT @ y - torch.eye(p, dtype=s.dtype)).max()
        assert error <= (1e-6 if s.dtype == torch.float32 else 1e-14) * math.sqrt(p)


@every
@given_share(0.6, draw=draws())
def test_exp_of_log_is_the_other_point(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    s.assert_same_point(s.manifold.expmap(x, s.manifold.logmap(x, y)), y)


@every
@given_share(0.6, draw=draws())
def test_log_of_exp_is_the_tangent(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    u = s.tangent(x)
    s.assert_close(s.manifold.logmap(x, s.manifold.expmap(x, u)), u, scale=(x,))


@every
@given_share(0.6, draw=draws())
def test_log_is_a_tangent(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    u = s.manifold.logmap(x, y)
    s.assert_close(s.manifold.proju(x, u), u, scale=(x.square(),))


@every
@given_share(0.6, draw=draws())
def test_exp_of_zero_is_the_point_and_its_log_is_zero(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    zero = torch.zeros_like(x)
    s.assert_close(s.manifold.expmap(x, zero), x, factor=0.1)
    s.assert_close(s.manifold.logmap(x, x), zero, factor=0.1, scale=(x,))


@every
@given_share(0.6, draw=in_float64)
def test_exp_has_the_identity_as_its_derivative(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    u, h = s.tangent(x), 1e-5
    slope = (s.manifold.expmap(x, h * u) - s.manifold.expmap(x, -h * u)) / (2 * h)
    torch.testing.assert_close(slope, u, rtol=0, atol=1e-8 * (1 + x.abs().max().item()) ** 2)


# Distance


@every
@given_share(0.6, draw=draws())
def test_distance_is_the_length_of_the_log(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    s.assert_close(s.manifold.dist(x, y), length(s, x, s.manifold.logmap(x, y)), scale=(x,))


@every
@given_share(0.6, draw=draws())
def test_distance_is_how_far_exp_goes(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    u = s.tangent(x)
    s.assert_close(s.manifold.dist(x, s.manifold.expmap(x, u)), length(s, x, u), scale=(x,))


@every
@given_share(0.6, draw=draws())
def test_distance_is_symmetric(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    s.assert_close(s.manifold.dist(x, y), s.manifold.dist(y, x))


@every
@given_share(0.6, draw=draws())
def test_triangle_inequality(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    y, z = (plain(s.manifold.expmap(x, s.tangent(x, salt, length=case.reach * 0.45))) for salt in (1, 2))
    d = s.manifold.dist
    assert (d(y, z) <= d(y, x) + d(x, z) + s.tolerance(x)).all()
    assert (d(x, z) <= d(x, y) + d(y, z) + s.tolerance(x)).all()


@every
@given_share(0.6, draw=draws())
def test_distance_is_zero_for_one_point_only(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    assert (s.manifold.dist(x, x) <= (0 if case.kind == "vectors" else 10 * eps(x) * s.size[-1])).all()
    u = s.tangent(x, length=0.01)
    apart = length(s, x, u)  # zero where the manifold is one point
    assert (s.manifold.dist(x, s.manifold.expmap(x, u)) >= 0.9 * apart - s.tolerance(x)).all()


@every
@given_share(0.6, draw=draws())
def test_squared_distance_and_kept_dimensions(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    d, kept = s.manifold.dist(x, y), s.manifold.dist(x, y, keepdim=True)
    ones = (1,) * len(s.size)
    assert d.shape == s.batch
    assert kept.shape == (*s.batch, *ones)
    s.assert_close(kept.reshape(s.batch), d)
    s.assert_close(s.manifold.dist2(x, y), d.square())
    u = s.tangent(x)
    assert s.manifold.inner(x, u).shape == s.batch
    assert s.manifold.inner(x, u, keepdim=True).shape == (*s.batch, *ones)


@every
@given_share(0.6, draw=in_float64)
def test_gradient_of_the_squared_distance_is_minus_twice_the_log(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    x.requires_grad_()
    (grad,) = torch.autograd.grad(s.manifold.dist2(x, y).sum(), x)
    x = x.detach()
    expected = -2 * s.manifold.logmap(x, y)
    torch.testing.assert_close(s.manifold.egrad2rgrad(x, grad), expected, rtol=0, atol=1e-9 * (1 + x.abs().max()))


# Invariance


@spans
@given_share(0.6, draw=draws())
def test_a_change_of_basis_changes_no_distance(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    q, r = (rotation(s.size[-1], s.seed + i, s.dtype) for i in (1, 2))
    s.assert_close(s.manifold.dist(x @ q, y @ r), s.manifold.dist(x, y))


@spans
@given_share(0.6, draw=draws())
def test_tangents_turn_with_the_basis(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    v = s.tangent(x, 3)
    q, r = (rotation(s.size[-1], s.seed + i, s.dtype) for i in (1, 2))
    s.assert_close(s.manifold.logmap(x @ q, y @ r), s.manifold.logmap(x, y) @ q)
    s.assert_close(s.manifold.expmap(x @ q, v @ q), s.manifold.expmap(x, v) @ q)
    s.assert_close(s.manifold.transp(x @ q, y @ r, v @ q), s.manifold.transp(x, y, v) @ r)
    s.assert_same_point(s.manifold.retr(x @ q, v @ q), s.manifold.retr(x, v))


@every
@given_share(0.6, draw=draws())
def test_a_motion_of_the_whole_space_moves_everything_along(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    v = s.tangent(x, 3)
    move = case.move(s.seed, s.size, s.dtype)
    mx, my, mv = move(x), move(y), move(v)
    m = s.manifold
    s.assert_close(m.dist(mx, my), m.dist(x, y), scale=(mx,))
    s.assert_close(m.logmap(mx, my), move(m.logmap(x, y)), scale=(mx * 5,))
    s.assert_close(m.expmap(mx, mv), move(m.expmap(x, v)), scale=(mx * 5,))
    s.assert_close(m.transp(mx, my, mv), move(m.transp(x, y, v)), scale=(mx * 5,))
    s.assert_close(m.inner(mx, mv), m.inner(x, v), scale=(mx,))


# Transport


@every
@given_share(0.6, draw=draws())
def test_transport_ends_in_the_tangent_space(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    w = s.manifold.transp(x, y, s.tangent(x, 3))
    s.assert_close(s.manifold.proju(y, w), w, scale=(y.square(), w))


@every
@given_share(0.6, draw=draws(), factor=st.floats(-3, 3))
def test_transport_is_linear(case: ManifoldCase, draw, factor):
    s = draw.of(case)
    x, y = s.pair()
    a, b = s.tangent(x, 3), s.tangent(x, 4)
    whole = s.manifold.transp(x, y, a + factor * b)
    s.assert_close(whole, s.manifold.transp(x, y, a) + factor * s.manifold.transp(x, y, b), scale=(x, y))


@parallel
@given_share(0.6, draw=draws())
def test_transport_keeps_inner_products(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    a, b = s.tangent(x, 3), s.tangent(x, 4)
    moved = s.manifold.inner(y, s.manifold.transp(x, y, a), s.manifold.transp(x, y, b))
    s.assert_close(moved, s.manifold.inner(x, a, b), scale=(x, y))


@parallel
@given_share(0.6, draw=draws())
def test_transport_there_and_back_changes_nothing(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    v = s.tangent(x, 3)
    s.assert_close(s.manifold.transp(y, x, s.manifold.transp(x, y, v)), v, scale=(x, y))


@parallel
@given_share(0.6, draw=draws())
def test_transport_carries_the_velocity_of_the_geodesic(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    carried = s.manifold.transp(x, y, s.manifold.logmap(x, y))
    s.assert_close(carried, -s.manifold.logmap(y, x), scale=(x, y))


@parallel
@given_share(0.6, draw=draws())
def test_transport_keeps_the_angle_with_the_geodesic(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    v = s.tangent(x, 3, length=1.0)
    before = s.manifold.inner(x, s.manifold.logmap(x, y), v)
    after = s.manifold.inner(y, -s.manifold.logmap(y, x), s.manifold.transp(x, y, v))
    s.assert_close(after, before, scale=(x, y))


@every
@given_share(0.6, draw=draws())
def test_transport_to_the_point_itself_changes_nothing(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    v = s.tangent(x)
    s.assert_close(s.manifold.transp(x, x, v), v, scale=(x,))


@retractions
@given_share(0.6, draw=draws())
def test_combined_maps_agree_with_their_parts(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point()
    u, v = s.tangent(x, 1), s.tangent(x, 2)
    m = s.manifold
    y, w = m.retr_transp(x, u, v)
    s.assert_close(y, m.retr(x, u))
    s.assert_close(w, m.transp_follow_retr(x, u, v))
    s.assert_close(m.proju(y, w), w, scale=(y.square(), w))
    y, w = m.expmap_transp(x, u, v)
    s.assert_close(y, m.expmap(x, u))
    s.assert_close(w, m.transp_follow_expmap(x, u, v))
    s.assert_close(w, m.transp(x, y, v), scale=(x, y))


# Geodesics


@every
@given_share(0.6, draw=draws(), a=st.floats(-0.5, 0.5), b=st.floats(-0.5, 0.5))
def test_geodesics_have_constant_speed(case: ManifoldCase, draw, a, b):
    s = draw.of(case)
    x = s.point()
    u = s.tangent(x)
    d = s.manifold.dist(s.manifold.expmap(x, a * u), s.manifold.expmap(x, b * u))
    s.assert_close(d, abs(a - b) * length(s, x, u), scale=(x,), factor=2)


@parallel
@given_share(0.6, draw=draws(), a=st.floats(0, 0.5), b=st.floats(0, 0.5))
def test_geodesics_continue_along_the_transported_velocity(case: ManifoldCase, draw, a, b):
    s = draw.of(case)
    x = s.point()
    u = s.tangent(x)
    middle, velocity = s.manifold.expmap_transp(x, a * u, u)
    s.assert_same_point(s.manifold.expmap(middle, b * velocity), s.manifold.expmap(x, (a + b) * u), factor=2)


@every
@given_share(0.6, draw=draws())
def test_the_midpoint_is_half_way(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    middle = s.manifold.expmap(x, s.manifold.logmap(x, y) / 2)
    half = s.manifold.dist(x, y) / 2
    s.assert_close(s.manifold.dist(x, middle), half, scale=(x,))
    s.assert_close(s.manifold.dist(middle, y), half, scale=(x,))


# Metric


@every
@given_share(0.6, draw=draws(), factor=st.floats(-3, 3))
def test_inner_product_is_positive_symmetric_and_bilinear(case: ManifoldCase, draw, factor):
    s = draw.of(case)
    x = s.point()
    a, b, c = (s.tangent(x, i, length=1.0) for i in (1, 2, 3))
    inner = s.manifold.inner
    assert (inner(x, a) >= 0).all()
    s.assert_close(inner(x, a, b), inner(x, b, a))
    s.assert_close(inner(x, a), inner(x, a, a))
    s.assert_close(inner(x, a + factor * b, c), inner(x, a, c) + factor * inner(x, b, c), scale=(x,))
    assert (inner(x, a, b).abs() <= (inner(x, a) * inner(x, b)).sqrt() + s.tolerance(x)).all()


@every
@given_share(0.6, draw=draws())
def test_riemannian_gradient_represents_the_derivative(case: ManifoldCase, draw):
    s = draw.of(case)
    x, gradient = s.point(), s.ambient(5)
    v = s.tangent(x, length=1.0)
    r = s.manifold.egrad2rgrad(x, gradient.clone())
    s.assert_close(s.manifold.proju(x, r), r, scale=(x.square(), r))
    s.assert_close(s.manifold.inner(x, r, v), (gradient * v).flatten(len(s.batch)).sum(-1), scale=(x.square(), r))


# Batches, dtypes, memory


def evaluate(s: Situation, x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
    m = s.manifold
    return {
        "projx": m.projx(x),
        "proju": m.proju(x, u),
        "egrad2rgrad": m.egrad2rgrad(x, u.clone()),
        "inner": m.inner(x, u, v),
        "expmap": m.expmap(x, u),
        "logmap": m.logmap(x, y),
        "dist": m.dist(x, y),
        "retr": m.retr(x, u),
        "transp": m.transp(x, y, v),
    }


@retractions
@given_share(0.6, draw=draws(batches=((3,), (2, 3))))
def test_a_batch_is_a_loop(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    u, v = s.tangent(x, 1), s.tangent(x, 2)
    whole = evaluate(s, x, y, u, v)
    flat = [t.flatten(0, len(s.batch) - 1) for t in (x, y, u, v)]
    for i, (a, b, c, d) in enumerate(zip(*flat, strict=True)):
        for name, one in evaluate(s, a, b, c, d).items():
            s.assert_close(whole[name].flatten(0, len(s.batch) - 1)[i], one, scale=(x, y))


@every
@given_share(0.6, draw=draws(batches=((3,), (2, 3))))
def test_one_point_meets_many(case: ManifoldCase, draw):
    s = draw.of(case)
    x = s.point(batch=())
    many = x.expand(*s.batch, *s.size)
    u, v = s.tangent(many, 1), s.tangent(x, 2)
    y = plain(s.manifold.expmap(x, u))
    spread = evaluate(s, many, y, u, v.expand_as(many))
    names = ("expmap", "logmap", "dist", "retr", "transp", "proju", "inner")
    together = evaluate(s, x, y, u, v)
    for name in names:
        s.assert_close(together[name], spread[name], scale=(x, y))
    s.assert_close(s.manifold.dist(y, x), spread["dist"], scale=(x, y))
    s.assert_same_point(s.manifold.expmap(y, s.manifold.logmap(y, x)), many)


@every
@given_share(0.6, draw=draws())
def test_an_empty_batch_gives_an_empty_result(case: ManifoldCase, draw):
    s = draw.of(case)
    x = torch.zeros(2, 0, *s.size, dtype=s.dtype)
    for name, result in evaluate(s, x, x, x, x).items():
        assert result.shape == ((2, 0) if name in ("inner", "dist") else x.shape), name
    assert s.manifold.check_point_on_manifold(x)
    assert s.manifold.check_vector_on_tangent(x, x)


@every
@given_share(0.6, draw=draws())
def test_float32_agrees_with_float64(case: ManifoldCase, draw):
    single, double = draw.of(case, dtype=torch.float32), draw.of(case, dtype=torch.float64)
    x, y = single.pair()
    u, v = single.tangent(x, 1), single.tangent(x, 2)
    exact = evaluate(double, *(t.double() for t in (x, y, u, v)))
    for name, result in evaluate(single, x, y, u, v).items():
        assert result.dtype == torch.float32, name
        single.assert_close(result, exact[name].float(), scale=(x.square(), y.square()))


@every
@given_share(0.6, draw=draws(batches=((3,),)))
def test_memory_layout_does_not_matter_and_inputs_are_left_alone(case: ManifoldCase, draw):
    s = draw.of(case)
    x, y = s.pair()
    inputs = [x, y, s.tangent(x, 1), s.tangent(x, 2)]
    copies = [t.clone() for t in inputs]
    expected = evaluate(s, *inputs)
    for t, kept in zip(inputs, copies, strict=True):
        assert torch.equal(t, kept)
    strided = [torch.stack([t, t + 1], -1)[..., 0] for t in inputs]
    assert not strided[0].is_contiguous()
    for name, result in evaluate(s, *strided).items():
        s.assert_close(result, expected[name], scale=(x, y))


@every
@given_share(0.6, draw=in_float64)
def test_gradients_at_one_point_are_finite(case: ManifoldCase, draw):
    s = draw.of(case)
    for function in (s.manifold.dist, s.manifold.dist2, s.manifold.logmap):
        x = s.point().requires_grad_()
        y = x.detach().clone().requires_grad_()
        grads = torch.autograd.grad(function(x, y).sum(), (x, y))
        assert all(torch.isfinite(g).all() for g in grads)
        if function != s.manifold.logmap:
            assert all((s.manifold.egrad2rgrad(x.detach(), g).abs() <= 1e-6).all() for g in grads)


# Inside geoopt's other manifolds


@every
@given_share(0.6, draw=draws(), scale=st.sampled_from((0.25, 0.5, 2.0, 4.0)))
def test_scaled(case: ManifoldCase, draw, scale):
    s = draw.of(case)
    x, y = s.pair()
    u = s.tangent(x, 1)
    scaled = geoopt.Scaled(s.manifold, scale)
    factor = scaled.scale.item()
    s.assert_close(scaled.dist(x, y), s.manifold.dist(x, y) * factor)
    s.assert_close(scaled.dist2(x, y), s.manifold.dist2(x, y) * factor**2, scale=(x * factor,))
    s.assert_close(scaled.logmap(x, y), s.manifold.logmap(x, y) * factor)
    s.assert_close(scaled.expmap(x, u * factor), s.manifold.expmap(x, u), scale=(x.square(),))
    s.assert_close(scaled.retr(x, u * factor), s.manifold.retr(x, u), scale=(x.square(),))
    s.assert_same_point(scaled.expmap(x, scaled.logmap(x, y)), y)
    s.assert_close(scaled.transp(x, y, u), s.manifold.transp(x, y, u))
    for name in ("expmap_transp", "retr_transp"):
        for got, expected in zip(
            getattr(scaled, name)(x, u * factor, u), getattr(s.manifold, name)(x, u, u), strict=True
        ):
            s.assert_close(got, expected, scale=(x.square(),))


@every
@given_share(0.6, draw=draws(batches=((), (3,))))
def test_product(case: ManifoldCase, draw):
    s = draw.of(case)
    product = geoopt.ProductManifold((s.manifold, s.size), (geoopt.Sphere(), 3), (s.manifold, s.size))
    (x, y), (v, w) = s.pair(1), s.pair(2)
    north = torch.tensor([0.0, 0.0, 1.0], dtype=s.dtype).expand(*s.batch, 3)
    east = torch.tensor([1.0, 0.0, 0.0], dtype=s.dtype).expand(*s.batch, 3)
    a, b = product.pack_point(x, north, v), product.pack_point(y, east, w)
    expected = s.manifold.dist2(x, y) + s.manifold.dist2(v, w) + (math.pi / 2) ** 2
    s.assert_close(product.dist2(a, b), expected, scale=(x, v))
    log = product.logmap(a, b)
    s.assert_close(product.take_submanifold_value(log, 2), s.manifold.logmap(v, w))
    end = product.expmap(a, log)
    s.assert_same_point(product.take_submanifold_value(end, 0), y)
    s.assert_same_point(product.take_submanifold_value(end, 2), w)
    s.assert_close(product.inner(a, log), product.dist2(a, b), scale=(x, v))
    assert product.check_point_on_manifold(product.projx(product.retr(a, log / 2)), atol=1e-4)
    moved = product.take_submanifold_value(product.transp(a, b, log), 0)
    s.assert_close(moved, s.manifold.transp(x, y, product.take_submanifold_value(log, 0)), scale=(x, y))


# Training


OPTIMISERS = {"adam": geoopt.optim.RiemannianAdam, "sgd": geoopt.optim.RiemannianSGD}


@retractions
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@given_share(0.6, draw=draws(batches=((), (3,))))
def test_optimisers_decrease_a_loss_and_stay_on_the_manifold(case: ManifoldCase, optimiser, draw):
    s = draw.of(case)
    target = s.point()
    start = plain(s.manifold.expmap(target, s.tangent(target, length=0.8 * case.reach)))
    point = geoopt.ManifoldParameter(start, manifold=s.manifold)
    options = {"lr": 0.05} if optimiser == "adam" else {"lr": 0.1, "momentum": 0.3}
    steps = OPTIMISERS[optimiser]([point], **options)
    losses = []
    for _ in range(5):
        steps.zero_grad()
        loss = s.manifold.dist2(point, target).sum()
        loss.backward()
        losses.append(loss.item())
        steps.step()
    assert losses[-1] <= 0.95 * losses[0] + s.tolerance(target)  # both are zero where the manifold is one point
    atol = 1e-5 if s.dtype == torch.float32 else 1e-11
    assert s.manifold.check_point_on_manifold(plain(point), atol=atol)


@every
@given_share(0.6, draw=draws())
def test_parameters_survive_a_save_without_pickle(case: ManifoldCase, draw):
    s = draw.of(case)
    module = torch.nn.Module()
    module.points = geoopt.ManifoldParameter(s.point(), manifold=s.manifold)
    other = torch.nn.Module()
    other.points = geoopt.ManifoldParameter(s.point(salt=50), manifold=s.manifold)
    kept = {name: plain(t).contiguous() for name, t in module.state_dict().items()}
    other.load_state_dict(load(save(kept)))
    assert torch.equal(plain(other.points), plain(module.points))
    assert other.points.manifold is s.manifold
    twin = copy.deepcopy(module)
    assert torch.equal(plain(twin.points), plain(module.points))
    assert type(twin.points.manifold) is type(s.manifold)


@pytest.mark.parametrize("make", [Grassmann, Stiefel, Lorentz])
def test_names_tell_the_manifolds_apart(make):
    manifold = make()
    assert make.__name__ in repr(manifold)
    assert type(manifold).__mro__[1].__module__.startswith("geoopt")


def test_grassmann_random_is_uniform():
    """The mean projector of uniform subspaces is p/n of the identity."""
    points = plain(Grassmann().random(20_000, 4, 2, dtype=torch.float64))
    mean = (points @ points.mT).mean(0)
    torch.testing.assert_close(mean, torch.eye(4, dtype=torch.float64) / 2, rtol=0, atol=0.015)
    signs = randn(1, seed=0)  # the generator of the test must not be the one that random() draws from
    assert torch.equal(signs, randn(1, seed=0))

"""The checks themselves: what passes, what does not, and what the refusal says."""

from __future__ import annotations

import re

import pytest
import torch
from cases import DTYPES, frames, randn

from hyperspectral_geo import validation as v

DAMAGE = {
    "zero column": lambda x, j: x[..., j].zero_(),
    "repeated column": lambda x, j: x[..., j].copy_(x[..., j - 1]),
    "negated copy": lambda x, j: x[..., j].copy_(-x[..., j - 1]),
    "in the span of the others": lambda x, j: x[..., j].copy_((x.sum(-1) - x[..., j]) / (x.shape[-1] - 1) ** 0.5),
    "a difference of two others": lambda x, j: x[..., j].copy_((x[..., j - 1] - x[..., j + 1 - x.shape[-1]]) / 2**0.5),
    "a sum of two others": lambda x, j: x[..., j].copy_((x[..., j - 1] + x[..., j + 1 - x.shape[-1]]) / 2**0.5),
    "twice as long": lambda x, j: x[..., j].mul_(2),
    "half as long": lambda x, j: x[..., j].mul_(0.5),
    "nan": lambda x, j: x[..., 0, j].fill_(torch.nan),
    "infinite": lambda x, j: x[..., 0, j].fill_(-torch.inf),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [2, 3, 8, 16, 64, 200])
@pytest.mark.parametrize("damage", DAMAGE)
def test_one_bad_column_among_many_is_seen(damage, p, dtype):
    x = frames(p + 5, p, seed=1, dtype=dtype)
    v.require_orthonormal("x", x)
    for j in range(1, p, max(1, p // 16)):
        bad = x.clone()
        DAMAGE[damage](bad, j)
        with pytest.raises(ValueError, match=r"^x: expected (finite|orthonormal)"):
            v.require_orthonormal("x", bad)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "p"), [(1, 1), (300, 300), (2000, 64), (5, 1)])
def test_rounding_is_not_taken_for_a_mistake(n, p, dtype):
    x = torch.linalg.qr(torch.randn(3, n, p, dtype=dtype))[0]
    v.require_orthonormal("x", x)
    v.require_orthonormal("x", x[:0])


def test_one_bad_item_of_a_batch_is_seen_and_the_remedy_named():
    x = frames(4, 6, 2, seed=1)
    x[2] *= 1.1
    with pytest.raises(ValueError, match=r"points: .*0\.29.*shape \(4, 6, 2\).*linalg\.orthonormalize\(points\)"):
        v.require_orthonormal("points", x)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("index", [(0, 0), (1, 2), (3, 1)])
def test_the_first_entry_that_is_not_finite_is_named(index, value):
    x = randn(4, 3, seed=1)
    x[index] = value
    message = re.escape(f"got {value} at index {index} (1 of 12 entries)")
    with pytest.raises(ValueError, match=message):
        v.require_finite("x", x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_finite_entries_are_finite(dtype):
    v.require_finite("x", torch.full((10,), torch.finfo(dtype).max, dtype=dtype))
    v.require_finite("x", torch.zeros(0))


def test_infinities_that_cancel_are_seen():
    with pytest.raises(ValueError, match="2 of 3"):
        v.require_finite("x", torch.tensor([torch.inf, -torch.inf, 1.0]))


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 2.0], torch.tensor([1, 1, 2]), (0.1, 0.1, 0.2), [1e300] * 3])
def test_weights_sum_to_one_in_the_dtype_asked_for(weights):
    w = v.resolve_weights(weights, 3, like=torch.zeros(1, dtype=torch.float64))
    assert w.dtype == torch.float64
    assert w.sum().item() == pytest.approx(1, rel=1e-15)
    if weights is not None and len(set(weights)) == 2:
        torch.testing.assert_close(w, torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64), rtol=1e-15, atol=0)


def test_weights_keep_their_gradient_and_batch():
    w = torch.tensor([[1.0, 3.0], [2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    like = torch.zeros(1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: v.resolve_weights(t, 2, like=like), w)
    torch.testing.assert_close(v.resolve_weights(w, 2, like=like).sum(-1), torch.ones(2, dtype=torch.float64))


def test_weights_are_spread_over_a_batch_or_refused():
    w = torch.tensor([0.5, 0.5])
    assert v.spread_weights(w, (3, 4)).shape == (3, 4, 2)
    with pytest.raises(ValueError, match=r"weights: expected shape \(4, 2\) or its tail, got \(3, 2\)"):
        v.spread_weights(w.expand(3, 2), (4,))


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((2, 1), (1, 3)), ((), (5,)), ((0,), (1,))])
def test_batches_that_broadcast_pass(shapes):
    a, b = (torch.zeros(*batch, 4, 2) for batch in shapes)
    v.require_broadcastable(2, a=a, b=b)
    v.require_pair("a", a, "b", b)


def test_batches_that_do_not_broadcast_are_named():
    with pytest.raises(ValueError, match=r"a, b: .*\(2,\) of a, \(3,\) of b"):
        v.require_broadcastable(1, a=torch.zeros(2, 4), b=torch.zeros(3, 4))

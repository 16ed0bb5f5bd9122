"""Bad input is refused with a ValueError that says what was expected, what was got and, often, the remedy."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from cases import frames, randn
from torch import Tensor

from hyperspectral_geo.linalg import orthonormalize, polar, symmetric_function
from hyperspectral_geo.manifolds import (
    Grassmann,
    Lorentz,
    Stiefel,
    flag_mean,
    frechet_mean,
    geometric_median,
    grassmann_exp,
    grassmann_log,
    grassmann_transport,
    principal_angles,
    subspace_distance,
)

# Here the library's own checks are tested, so those of the annotations are off.
pytestmark = pytest.mark.usefixtures("unchecked")

X = frames(6, 2, seed=1, dtype=torch.float32)
Y = frames(6, 2, seed=2, dtype=torch.float32)
U = randn(6, 2, seed=3, dtype=torch.float32)
U = 0.1 * (U - X @ (X.mT @ U))
G, S, H = Grassmann(), Stiefel(), Lorentz()
S_TANGENT = S.proju(X, U)

# Functions of two (or three) frames: name, call, and the names of the arguments
PAIRS = {
    "Grassmann.expmap": (lambda a, b: G.expmap(a, b), "x", "u", U),
    "Grassmann.logmap": (lambda a, b: G.logmap(a, b), "x", "y", Y),
    "Grassmann.dist": (lambda a, b: G.dist(a, b), "x", "y", Y),
    "Grassmann.retr polar": (lambda a, b: Grassmann("polar").retr(a, b), "x", "u", U),
    "Grassmann.retr qr": (lambda a, b: Grassmann("qr").retr(a, b), "x", "u", U),
    "Grassmann.retr cayley": (lambda a, b: Grassmann("cayley").retr(a, b), "x", "u", U),
    "Grassmann.transp": (lambda a, b: G.transp(a, b, U.to(a) if isinstance(a, Tensor) else U), "x", "y", Y),
    "grassmann_exp": (grassmann_exp, "x", "u", U),
    "grassmann_log": (grassmann_log, "x", "y", Y),
    "grassmann_transport, velocity": (lambda a, b: grassmann_transport(a, b, b), "x", "u", U),
    "principal_angles": (principal_angles, "x", "y", Y),
    "subspace_distance": (subspace_distance, "x", "y", Y),
    "Stiefel.expmap": (lambda a, b: S.expmap(a, b), "x", "u", S_TANGENT),
    "Stiefel.logmap": (lambda a, b: S.logmap(a, b), "x", "y", S.expmap(X, S_TANGENT)),
    "Stiefel.dist": (lambda a, b: S.dist(a, b), "x", "y", S.expmap(X, S_TANGENT)),
}
FRAME_FUNCTIONS = {
    "orthonormalize": (orthonormalize, "a"),
    "polar": (polar, "a"),
    "Grassmann.projx": (lambda a: G.projx(a), "a"),
    "Grassmann.check_point_on_manifold": (lambda a: G._check_point_on_manifold(a), "x"),
}
MEANS = {"frechet_mean": frechet_mean, "geometric_median": geometric_median, "flag_mean": flag_mean}
WHERE = [(0, 0), (3, 1), (5, 0)]
WRONG_KIND = {
    "a list": (lambda x: x.tolist(), "expected a torch.Tensor, got list; .*torch.as_tensor"),
    "an array": (lambda x: x.numpy(), "expected a torch.Tensor, got ndarray; .*torch.as_tensor"),
    "nothing": (lambda x: None, "expected a torch.Tensor, got NoneType"),
    "integers": (lambda x: x.int(), "expected a real floating-point tensor, got torch.int32; convert with"),
    "booleans": (lambda x: x.bool(), "expected a real floating-point tensor, got torch.bool; convert with"),
    "complex numbers": (lambda x: x + 0j, "expected a real floating-point tensor, got torch.complex64"),
    "half precision": (lambda x: x.half(), "expected float32 or float64, got torch.float16; convert with"),
    "bfloat16": (lambda x: x.bfloat16(), "expected float32 or float64, got torch.bfloat16; convert with"),
}
WRONG_SHAPE = {
    "a vector": (lambda x: x[:, 0], r"expected shape \(\.\.\., n, p\), got \(6,\); add a dimension"),
    "a number": (lambda x: x[0, 0], r"expected shape \(\.\.\., n, p\), got \(\); add a dimension"),
    "lying": (lambda x: x.mT, r"n >= p >= 1, got \(2, 6\).*transpose"),
    "no columns": (lambda x: x[:, :0], r"n >= p >= 1, got \(6, 0\)"),
    "no rows": (lambda x: x[:0], r"n >= p >= 1, got \(0, 2\)"),
}


def refuses(call, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert type(caught.value) is ValueError


# One frame


@pytest.mark.parametrize("damage", [*WRONG_KIND, *WRONG_SHAPE])
@pytest.mark.parametrize("name", FRAME_FUNCTIONS)
def test_what_is_no_frame(name, damage):
    function, argument = FRAME_FUNCTIONS[name]
    make, message = {**WRONG_KIND, **WRONG_SHAPE}[damage]
    refuses(lambda: function(make(X)), rf"^{argument}: .*{message}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", ["orthonormalize", "polar", "Grassmann.projx"])
def test_entries_that_are_not_finite(name, where, value):
    bad = X.clone()
    bad[where] = value
    function, argument = FRAME_FUNCTIONS[name]
    message = rf"^{argument}: expected finite entries, got {value} at index {re.escape(str(where))} \(1 of 12 entries\)"
    refuses(lambda: function(bad), message)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(4, 2), r"expected 2 linearly independent columns, but column 0 depends"),
        (torch.ones(4, 2), r"column 1 depends on the columns before it; drop it"),
        (torch.ones(2, 4, 2) * torch.tensor([1.0, 1 + 1e-9]), r"column 1 of item \(0,\) depends"),
    ],
)
def test_orthonormalize_of_dependent_columns(bad, message):
    refuses(lambda: orthonormalize(bad), message)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 3), r"expected square matrices \(\.\.\., p, p\), got shape \(2, 3\)"),
        (torch.zeros(3), r"expected square matrices"),
        (torch.eye(2).int(), r"real floating-point tensor, got torch.int32"),
        (torch.full((2, 2), math.nan), r"finite entries, got nan at index \(0, 0\)"),
        ([[1.0]], "expected a torch.Tensor, got list"),
    ],
)
def test_functions_of_matrices(bad, message):
    refuses(lambda: symmetric_function(bad, torch.exp, torch.exp), message)


# Two frames


@pytest.mark.parametrize("damage", [*WRONG_KIND, *WRONG_SHAPE])
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_with_something_else(name, position, damage):
    function, first, second, other = PAIRS[name]
    make, message = {**WRONG_KIND, **WRONG_SHAPE}[damage]
    arguments = [X, other]
    arguments[position] = make(arguments[position])
    refuses(lambda: function(*arguments), rf"^{(first, second)[position]}: .*{message}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_with_entries_that_are_not_finite(name, position, where, value):
    function, first, second, other = PAIRS[name]
    arguments = [X.clone(), other.clone()]
    arguments[position][where] = value
    message = rf"^{(first, second)[position]}: expected finite entries, got {value} at index {re.escape(str(where))}"
    refuses(lambda: function(*arguments), message)


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_two_kinds(name):
    function, first, second, other = PAIRS[name]
    mixed = rf"^{second}: expected dtype torch.float32 like {first}, got torch.float64; convert with {second}\.to\("
    refuses(lambda: function(X, other.double()), mixed)
    devices = rf"^{second}: expected device cpu like {first}, got meta; move it with"
    refuses(lambda: function(X, other.to("meta")), devices)


@pytest.mark.parametrize("name", [n for n in PAIRS if n not in ("principal_angles", "subspace_distance")])
def test_pairs_of_two_sizes(name):
    function, _, second, other = PAIRS[name]
    refuses(lambda: function(X, other[:, :1]), rf"^{second}: expected last dimensions \(6, 2\).*got \(6, 1\)")
    refuses(lambda: function(X, other[:5]), rf"^{second}: expected last dimensions \(6, 2\).*got \(5, 2\)")


@pytest.mark.parametrize("name", PAIRS)
def test_batches_that_do_not_fit(name):
    function, first, second, other = PAIRS[name]
    message = (
        rf"^{first}, {second}: expected batch dimensions that broadcast, got \(3,\) of {first}, \(4,\) of {second}"
    )
    refuses(lambda: function(X.expand(3, 6, 2), other.expand(4, 6, 2)), message)


def test_ambient_spaces_that_differ():
    for function in (principal_angles, subspace_distance):
        refuses(
            lambda f=function: f(X, frames(5, 2, seed=1, dtype=torch.float32)),
            "^y: expected vectors of length 6.*got 5",
        )


NOT_ORTHONORMAL = {
    "scaled": lambda x: 1.2 * x,
    "zero column": lambda x: x * torch.tensor([1.0, 0.0]),
    "repeated column": lambda x: x[:, [0, 0]],
    "oblique": lambda x: torch.stack([x[:, 0], 0.6 * x[:, 0] + 0.8 * x[:, 1]], -1),
    "zero": torch.zeros_like,
}
UNCHECKED = ("grassmann_log", "grassmann_transport, velocity", "Stiefel.expmap")  # the manifold's methods check
CHECKED = {name: row for name, row in PAIRS.items() if "retr" not in name and name not in UNCHECKED}


@pytest.mark.parametrize("damage", NOT_ORTHONORMAL)
@pytest.mark.parametrize(
    ("name", "position"), [(n, i) for n in CHECKED for i in (0, 1) if (CHECKED[n][2], i) != ("u", 1)]
)
def test_bases_that_are_not_orthonormal(name, position, damage):
    function, _, _, other = CHECKED[name]
    arguments = [X, other]
    arguments[position] = NOT_ORTHONORMAL[damage](arguments[position])
    message = r"expected (orthonormal columns|a horizontal tangent|finite)|linalg\.orthonormalize|proju"
    refuses(lambda: function(*arguments), message)


@pytest.mark.parametrize("near", [0.0, 1e-3, 0.7])
def test_a_bad_direction_behind_a_good_one_is_seen(near):
    """The wrong column is not the one whose angle is small."""
    e = torch.eye(4, dtype=torch.float64)
    y = e[:, :2].clone()
    y[:, 0] = math.cos(near) * e[:, 0] + math.sin(near) * e[:, 2]
    bad = torch.stack([e[:, 0], 0.5 * e[:, 1]], -1)
    refuses(lambda: principal_angles(bad, y), "orthonormal columns")
    refuses(lambda: principal_angles(y, bad), "orthonormal columns")


def test_tangents_that_are_not_horizontal():
    refuses(lambda: G.expmap(X, X), r"^u: expected a horizontal tangent at x.*proju")
    refuses(lambda: grassmann_exp(X, U + 0.3 * X), r"^u: expected a horizontal tangent at x.*proju")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_vectors_to_transport(value):
    bad = U.clone()
    bad[2, 1] = value
    for call in (lambda: grassmann_transport(X, U, bad), lambda: G.transp(X, Y, bad)):
        refuses(call, rf"^v: expected finite entries, got {value} at index \(2, 1\)")
    refuses(lambda: grassmann_transport(X, U, U[:, :1]), r"^v: expected last dimensions \(6, 2\)")
    refuses(lambda: grassmann_transport(X, U, U.double()), r"^v: expected dtype torch.float32 like x")


def test_projections_and_inner_products():
    for call in (lambda: G.proju(X, U[:, :1]), lambda: G.egrad2rgrad(X, U[:, :1]), lambda: G.inner(X, U[:, :1])):
        refuses(call, r"^u: expected last dimensions \(6, 2\)")
    refuses(lambda: G.inner(X, U, U[:, :1]), r"^v: expected last dimensions \(6, 2\)")
    refuses(lambda: G.proju(X, U.double()), r"^u: expected dtype torch.float32")
    refuses(lambda: G.proju(X, U[:, 0]), r"^u: expected shape")


# Options


@pytest.mark.parametrize("kind", ["", "Geodesic", "euclidean", None, 3, ["geodesic"]])
def test_unknown_kinds_of_distance(kind):
    refuses(lambda: subspace_distance(X, Y, kind), r"^kind: expected one of geodesic, chordal.*got")


@pytest.mark.parametrize("unequal", ["", "pad", None, True])
def test_unknown_ways_to_compare_dimensions(unequal):
    refuses(lambda: subspace_distance(X, Y, unequal=unequal), r"^unequal: expected 'containment' or 'metric', got")


@pytest.mark.parametrize("retraction", ["", "exp", None, ["qr"]])
def test_unknown_retractions(retraction):
    refuses(lambda: Grassmann(retraction), r"^retraction: expected one of qr, polar, cayley, got")


@pytest.mark.parametrize(
    "k", [0, 0.0, -1.0, math.nan, math.inf, -math.inf, "one", None, 1j, torch.ones(2), torch.zeros(0)]
)
def test_curvatures(k):
    refuses(lambda: Lorentz(k), r"^k: expected one finite number > 0 \(curvature is -1/k\), got")


@pytest.mark.parametrize("manifold", [G, S])
@pytest.mark.parametrize("size", [(2, 3), (3, 2, 3), (2, 0), (4,)])
def test_sizes_of_random_points(manifold, size):
    for make in (manifold.random, manifold.origin):
        refuses(lambda m=make: m(*size), "dim|shape")


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64, torch.complex64])
def test_dtypes_of_random_points(dtype):
    refuses(lambda: G.random(4, 2, dtype=dtype), "expected float32 or float64, got")


# Means


SET = frames(3, 6, 2, seed=5, dtype=torch.float32)
WEIGHTS = {
    "negative": ([1.0, -1.0, 1.0], r"expected numbers >= 0, got -1; drop the item"),
    "slightly negative": ([1.0, 1.0, -1e-9], r"expected numbers >= 0, got -1e-09"),
    "all zero": ([0.0, 0.0, 0.0], r"expected a positive sum, got 0; give at least one item a weight"),
    "too few": ([1.0, 1.0], r"expected 3 numbers, one an item, got shape \(2,\)"),
    "too many": ([1.0] * 4, r"expected 3 numbers, one an item, got shape \(4,\)"),
    "none": ([], r"expected 3 numbers, one an item, got shape \(0,\)"),
    "one number": (torch.tensor(1.0), r"expected 3 numbers, one an item, got shape \(\)"),
    "nan": ([1.0, math.nan, 1.0], r"expected finite entries, got nan at index \(1,\)"),
    "infinite": ([1.0, 1.0, math.inf], r"expected finite entries, got inf at index \(2,\)"),
    "a column": (torch.ones(3, 1), r"expected 3 numbers, one an item, got shape \(3, 1\)"),
    "of another batch": (torch.ones(5, 3), r"expected shape \(3,\) or its tail, got \(5, 3\)"),
    "words": (["a", "b", "c"], r"expected 3 real numbers"),
    "complex": ([1j, 1, 1], r"expected 3 real numbers"),
    "a complex tensor": (torch.ones(3) + 0j, r"expected 3 real numbers"),
    "ragged": ([[1.0], [1.0, 2.0], [3.0]], r"expected 3 real numbers"),
}


@pytest.mark.parametrize("damage", WEIGHTS)
@pytest.mark.parametrize("name", MEANS)
def test_weights(name, damage):
    weights, message = WEIGHTS[damage]
    refuses(lambda: MEANS[name](SET, weights), rf"^weights: .*{message}")


def test_one_bad_row_of_weights_is_enough():
    points = SET.expand(2, 3, 6, 2)
    for mean in MEANS.values():
        refuses(lambda m=mean: m(points, torch.tensor([[1.0, 1, 1], [0, 0, 0]])), "^weights: expected a positive sum")
        refuses(
            lambda m=mean: m(points, torch.ones(4, 3)), r"^weights: expected shape \(2, 3\) or its tail, got \(4, 3\)"
        )


POINT_SETS = {
    "one frame": (lambda: SET[0], "expected"),
    "no points": (lambda: SET[:0], "with k >= 1"),
    "no points in a batch": (lambda: SET[:0].expand(2, 0, 6, 2), "with k >= 1"),
    "a vector": (lambda: SET[0, :, 0], "expected"),
    "lying": (lambda: SET.mT, r"n >= p >= 1, got"),
    "no columns": (lambda: SET[..., :0], "n >= p >= 1, got"),
    "integers": (lambda: SET.int(), "floating-point tensor, got torch.int32"),
    "half precision": (lambda: SET.half(), "expected float32 or float64, got torch.float16"),
    "complex": (lambda: SET + 0j, "floating-point tensor, got torch.complex64"),
    "an array": (lambda: SET.numpy(), "got ndarray"),
    "a number": (lambda: 3, "got int"),
    "nothing": (lambda: None, "got NoneType"),
    "scaled": (lambda: 1.1 * SET, "expected orthonormal columns.*linalg.orthonormalize"),
    "one oblique": (
        lambda: torch.cat([SET, NOT_ORTHONORMAL["oblique"](X)[None]]),
        "expected orthonormal columns.*linalg.orthonormalize",
    ),
    "rank deficient": (lambda: SET[..., [0, 0]], "expected orthonormal columns"),
    "nan": (lambda: torch.where(torch.arange(2) == 1, math.nan, SET), "expected finite entries, got nan"),
}


@pytest.mark.parametrize("damage", POINT_SETS)
@pytest.mark.parametrize("name", MEANS)
def test_point_sets(name, damage):
    make, message = POINT_SETS[damage]
    refuses(lambda: MEANS[name](make()), rf"^points(\[\d\])?: .*{message}")


@pytest.mark.parametrize("tolerance", [0.0, -1e-6, math.nan])
@pytest.mark.parametrize("mean", [frechet_mean, geometric_median])
def test_tolerances(mean, tolerance):
    refuses(lambda: mean(SET, tolerance=tolerance), "^tolerance: expected a positive number, got")


@pytest.mark.parametrize("dim", [0, -1, 7, 1.5, "2"])
def test_dimensions_of_the_flag_mean(dim):
    refuses(lambda: flag_mean(SET, dim=dim), r"^dim: expected a whole number from 1 to 6, got")


def test_mixed_sequences_of_the_flag_mean():
    refuses(lambda: flag_mean([X, Y.double()]), r"^points\[1\]: expected dtype torch.float32 like points\[0\]")
    refuses(lambda: flag_mean([X, frames(5, 2, seed=1, dtype=torch.float32)]), r"^points\[1\]: expected shape \(6,\)")
    refuses(lambda: flag_mean([X, X.expand(2, 6, 2)]), r"^points\[1\]: expected shape \(6,\)")
    refuses(lambda: flag_mean([X, X.to("meta")]), r"^points\[1\]: expected device cpu")
    refuses(lambda: flag_mean([]), r"^points: expected .*k >= 1")
    refuses(lambda: flag_mean([X, "abc"]), r"^points\[1\]: expected a torch.Tensor, got str")


# Hyperbolic space


POINT = torch.tensor([1.5, 1.0, 0.5])
LORENTZ_PAIRS = {
    "dist": (lambda a, b: H.dist(a, b), "x", "y"),
    "logmap": (lambda a, b: H.logmap(a, b), "x", "y"),
    "expmap": (lambda a, b: H.expmap(a, b), "x", "u"),
    "retr": (lambda a, b: H.retr(a, b), "x", "u"),
    "inner": (lambda a, b: H.inner(a, b), "x", "u"),
    "transp": (lambda a, b: H.transp(a, a, b), "x", "v"),
}
LORENTZ_SINGLES = {
    "dist0": (lambda a: H.dist0(a), "x"),
    "expmap0": (lambda a: H.expmap0(a), "u"),
    "logmap0": (lambda a: H.logmap0(a), "y"),
    "projx": (lambda a: H.projx(a), "x"),
}
BAD_POINTS = {
    "a list": (lambda x: x.tolist(), "expected a torch.Tensor, got list"),
    "an array": (lambda x: x.numpy(), "expected a torch.Tensor, got ndarray"),
    "integers": (lambda x: x.int(), "expected a real floating-point tensor, got torch.int32"),
    "complex": (lambda x: x + 0j, "expected a real floating-point tensor, got torch.complex64"),
    "a number": (lambda x: x[0], r"expected shape \(\.\.\., d\) with d >= 2, got \(\)"),
    "time only": (lambda x: x[:1], r"expected shape \(\.\.\., d\) with d >= 2, got \(1,\)"),
    "empty": (lambda x: x[:0], r"expected shape \(\.\.\., d\) with d >= 2, got \(0,\)"),
    **{
        f"{value} at {i}": (
            lambda x, i=i, v=value: x.index_fill(0, torch.tensor(i), v),
            rf"got {value} at index \({i},\)",
        )
        for value in (math.nan, math.inf, -math.inf)
        for i in range(3)
    },
}


@pytest.mark.parametrize("damage", BAD_POINTS)
@pytest.mark.parametrize("name", LORENTZ_SINGLES)
def test_hyperbolic_points(name, damage):
    function, argument = LORENTZ_SINGLES[name]
    make, message = BAD_POINTS[damage]
    refuses(lambda: function(make(POINT)), rf"^{argument}: .*{message}")


@pytest.mark.parametrize("damage", BAD_POINTS)
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("name", LORENTZ_PAIRS)
def test_hyperbolic_pairs(name, position, damage):
    function, first, second = LORENTZ_PAIRS[name]
    make, message = BAD_POINTS[damage]
    arguments = [POINT, POINT.clone()]
    arguments[position] = make(POINT)
    refuses(lambda: function(*arguments), rf"^{(first, second)[position]}: .*{message}")


@pytest.mark.parametrize("name", LORENTZ_PAIRS)
def test_hyperbolic_pairs_that_do_not_fit(name):
    function, first, second = LORENTZ_PAIRS[name]
    refuses(lambda: function(POINT, POINT.double()), rf"^{second}: expected dtype torch.float32 like {first}")
    refuses(lambda: function(POINT, POINT.to("meta")), rf"^{second}: expected device cpu like {first}, got meta")
    refuses(lambda: function(POINT, torch.ones(4)), rf"^{second}: expected 3 coordinates like {first}, got 4")
    refuses(lambda: function(POINT.expand(2, 3), POINT.expand(4, 3)), "expected batch dimensions that broadcast")


@pytest.mark.parametrize("dim", [1, 3, -2])
def test_dimensions_that_are_not_there(dim):
    refuses(lambda: H.dist(POINT, POINT, dim=dim), rf"^dim: expected -1 to 0 for x \(3,\), got {dim}")
    refuses(lambda: H.dist0(POINT, dim=dim), "^dim: expected -1 to 0")


# What looks odd and has a right answer


def test_a_space_as_its_own_subspace():
    q, r = frames(4, 4, seed=1), frames(4, 4, seed=2)
    assert (principal_angles(q, r) <= 1e-15 * 10).all()
    assert G.dist(q, r) <= 1e-14
    assert (G.logmap(q, r).abs() <= 1e-14).all()
    assert torch.allclose(G.expmap(q, torch.zeros_like(q)), q)
    for mean in MEANS.values():
        m = mean(torch.stack([q, r]))
        assert torch.allclose(m @ m.mT, torch.eye(4, dtype=torch.float64))


def test_empty_batches_of_everything():
    e, v = torch.zeros(0, 5, 2), torch.zeros(0, 3)
    assert orthonormalize(e).shape == polar(e).shape == e.shape
    assert symmetric_function(torch.zeros(0, 2, 2), torch.exp, torch.exp).shape == (0, 2, 2)
    assert principal_angles(e, e[..., :1]).shape == (0, 1)
    for kind in ("geodesic", "chordal", "projection", "binet_cauchy", "martin", "asimov"):
        for unequal in ("containment", "metric"):
            assert subspace_distance(e, e[..., :1], kind, unequal=unequal).shape == (0,)
    assert grassmann_exp(e, e).shape == grassmann_log(e, e).shape == grassmann_transport(e, e, e).shape == e.shape
    assert G.random(0, 5, 2).shape == G.origin(0, 5, 2).shape == e.shape
    assert S.logmap(e, e).shape == S.expmap(e, e).shape == e.shape
    assert S.dist(e, e).shape == H.dist(v, v).shape == H.dist0(v).shape == (0,)
    assert H.logmap(v, v).shape == H.expmap(v, v).shape == H.transp(v, v, v).shape == v.shape
    assert H.expmap0(v).shape == H.logmap0(v).shape == H.projx(v).shape == v.shape


def test_refusals_leave_the_input_alone():
    bad = X.clone()
    bad[0, 0] = math.nan
    before = bad.clone()
    for name in ("Grassmann.expmap", "Grassmann.logmap", "Grassmann.dist"):
        refuses(lambda n=name: PAIRS[n][0](bad, PAIRS[n][3]), "finite")
    np.testing.assert_array_equal(bad, before)

"""The model: each part on and off, three ways to ask for a distance, what it refuses, its pictures and manifolds."""

from __future__ import annotations

import itertools
import math

import geoopt
import pytest
import torch
from hop_cases import plain_distance, tangents
from torch import Tensor

from hyperspectral_geo.hyperbolic import GEOMETRIES, HopEmbedding, Staircase
from hyperspectral_geo.manifolds import Lorentz

PARTS = ("targets", "outgoing", "incoming", "readout")
SWITCHED = [parts for count in range(5) for parts in itertools.combinations(PARTS, count)]


def embedding(parts=(), *, n: int = 7, d: int = 3, geometry="hyperbolic", dtype=torch.float64, radius=1.5, scale=1.7):
    """A random model that has the named parts."""
    generator = torch.Generator().manual_seed(5)
    there = {
        "targets": tangents(n, d, radius=radius, seed=1, dtype=dtype),
        "outgoing": torch.rand(n, generator=generator, dtype=torch.float64).to(dtype),
        "incoming": torch.randn(n, generator=generator, dtype=torch.float64).to(dtype),
        "readout": Staircase(torch.tensor([1.2, 2.0, 3.5], dtype=dtype), torch.tensor([0.5, 1.0, -0.3], dtype=dtype)),
    }
    z = tangents(n, d, radius=radius, dtype=dtype)
    chosen = {name: there[name] for name in parts}
    return HopEmbedding(tuple(f"page {i}" for i in range(n)), z, geometry, scale, **chosen)


def by_the_formula(model: HopEmbedding) -> Tensor:
    """read(s·d + a + b), off the diagonal."""
    targets = model.tangents if model.targets is None else model.targets
    score = model.scale * plain_distance(model.tangents, targets, model.geometry)
    if model.outgoing is not None:
        score = score + model.outgoing[:, None]
    if model.incoming is not None:
        score = score + model.incoming[None, :]
    if model.readout is not None:
        steps = zip(model.readout.thresholds, model.readout.log_slopes, strict=True)
        score = 1 + sum(1 / (1 + torch.exp(-slope.exp() * (score - edge))) for edge, slope in steps)
    return score * (1 - torch.eye(len(model), dtype=score.dtype))


@pytest.mark.parametrize("parts", SWITCHED, ids=lambda parts: "+".join(parts) or "bare")
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_all_ways_to_ask_give_the_formula(geometry, parts):
    model = embedding(parts, geometry=geometry)
    expected = by_the_formula(model)
    table = model.distances()
    torch.testing.assert_close(table, expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(table.diagonal(), torch.zeros(7, dtype=torch.float64))
    some = torch.tensor([4, 2, 4])
    torch.testing.assert_close(model.distances(some), table[some])
    sources, targets = torch.cartesian_prod(torch.arange(7), torch.arange(7)).T
    pairs = model.pair_distances(sources, targets).reshape(7, 7)
    torch.testing.assert_close(pairs, expected, rtol=1e-12, atol=1e-12)
    for i, j in ((0, 0), (3, 5), (5, 3)):
        assert model.distance(model.names[i], model.names[j]) == pytest.approx(float(pairs[i, j]), abs=1e-12)
    assert model.distances(some[:0]).shape == (0, 7)
    assert model.pair_distances(some[:0], some[:0]).shape == (0,)
    symmetric = not parts or parts == ("readout",)
    assert torch.allclose(table, table.T) == symmetric


@pytest.mark.parametrize("parts", [(), PARTS], ids=["bare", "all"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_float32_models_answer_in_float32(geometry, parts):
    small, wide = (embedding(parts, geometry=geometry, dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert small.distances().dtype == torch.float32
    torch.testing.assert_close(small.distances().double(), wide.distances(), rtol=1e-4, atol=1e-4)
    pair = torch.tensor([0, 1])
    assert small.pair_distances(pair, pair.flip(0)).dtype == torch.float32


@pytest.mark.parametrize(("dtype", "radius", "rtol"), [(torch.float64, 30.0, 1e-12), (torch.float32, 8.0, 1e-5)])
@pytest.mark.parametrize("geometry", ["hyperbolic", "product"])
def test_far_points_have_exact_distances(geometry, dtype, radius, rtol):
    model = embedding(("targets", "outgoing"), geometry=geometry, dtype=dtype, radius=radius)
    sources, targets = torch.cartesian_prod(torch.arange(7), torch.arange(7)).T
    expected = model.pair_distances(sources, targets).reshape(7, 7)
    torch.testing.assert_close(model.distances(), expected, rtol=rtol, atol=0)
    wide = HopEmbedding(
        model.names, model.tangents.double(), geometry, 1.7, model.targets.double(), model.outgoing.double()
    )
    torch.testing.assert_close(model.distances().double(), wide.distances(), rtol=10 * rtol, atol=1e-5)


def test_far_and_near_points_in_one_place():
    far = HopEmbedding(("a", "b"), torch.tensor([[20.0, 0.0], [20.0, 1e-9]], dtype=torch.float64), "hyperbolic", 2.0)
    # along a circle of radius 20, by an angle of 1e-9/20
    expected = 2 * 2 * math.asinh(math.sinh(20) * math.sin(0.5e-9 / 20))
    assert far.distance("a", "b") == pytest.approx(expected, rel=1e-9)
    flat = HopEmbedding(("a", "b"), torch.tensor([[0.0, 3.0], [4.0, 0.0]], dtype=torch.float64), "euclidean", 2.0)
    assert flat.distance("a", "b") == 10.0


def test_points_and_target_points():
    one, two = embedding(), embedding(("targets",))
    assert torch.equal(one.points, one.target_points)
    assert torch.equal(one.points, two.points)
    assert not torch.equal(two.points, two.target_points)
    assert two.target_points.shape == (7, 4)
    assert len(two) == 7


def test_questions_change_nothing():
    model = embedding(PARTS)
    before = [model.tangents.clone(), model.outgoing.clone(), model.incoming.clone()]
    first, again = model.distances(), model.distances()
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(before, (model.tangents, model.outgoing, model.incoming), strict=True))


# Names


def test_unknown_names_are_answered_with_the_nearest(unchecked):
    model = HopEmbedding(("Germany", "German", "Yeast"), tangents(3, 2))
    with pytest.raises(ValueError, match="^name: 'Germani' is not one of the 3 concepts; similar: German, Germany$"):
        model.distance("Germani", "Yeast")
    with pytest.raises(ValueError, match="'Yeest' .* similar: Yeast"):
        model.distance("Germany", "Yeest")
    for other in ("", "xyzzy", 2, None, ["Yeast"], ("Yeast",), b"Yeast"):
        with pytest.raises(ValueError, match="^name: .* is not one of the 3 concepts; similar: "):
            model.index(other)
    assert [model.index(name) for name in model.names] == [0, 1, 2]


# What is refused

N = 3
BAD = {
    "geometry": ({"geometry": "lorentz"}, "geometry"),
    "scale zero": ({"scale": 0.0}, "scale"),
    "scale negative": ({"scale": -1.0}, "scale"),
    "scale NaN": ({"scale": math.nan}, "scale"),
    "scale infinite": ({"scale": math.inf}, "scale"),
    "fewer tangents": ({"tangents": torch.zeros(2, 2)}, "tangents"),
    "tangents flat": ({"tangents": torch.zeros(3)}, "tangents"),
    "no dimension": ({"tangents": torch.zeros(3, 0)}, "tangents"),
    "tangents whole": ({"tangents": torch.zeros(3, 2, dtype=torch.int64)}, "tangents"),
    "tangents of half precision": ({"tangents": torch.zeros(3, 2, dtype=torch.float16)}, "tangents"),
    "tangents NaN": ({"tangents": torch.full((3, 2), math.nan)}, "tangents"),
    "tangents infinite": ({"tangents": torch.full((3, 2), math.inf)}, "tangents"),
    "targets of other width": ({"targets": torch.zeros(3, 1)}, "targets"),
    "targets of other kind": ({"targets": torch.zeros(3, 2, dtype=torch.float64)}, "targets"),
    "targets NaN": ({"targets": torch.full((3, 2), math.nan)}, "targets"),
    "outgoing short": ({"outgoing": torch.zeros(2)}, "outgoing"),
    "outgoing a column": ({"outgoing": torch.zeros(3, 1)}, "outgoing"),
    "incoming infinite": ({"incoming": torch.full((3,), -math.inf)}, "incoming"),
    "incoming whole": ({"incoming": torch.zeros(3, dtype=torch.int64)}, "incoming"),
    "names repeat": ({"names": ("a", "b", "a")}, "names"),
    "one name more": ({"names": ("a", "b", "c", "d")}, "tangents"),
    "no names": ({"names": ()}, "tangents"),
    "stairs NaN": ({"readout": Staircase(torch.full((2,), math.nan), torch.zeros(2))}, "readout.thresholds"),
    "stairs of other kind": ({"readout": Staircase.even(2, dtype=torch.float64)}, "readout.thresholds"),
    "stairs that differ": ({"readout": "uneven"}, "readout.log_slopes"),
}


@pytest.mark.parametrize(("given", "name"), BAD.values(), ids=BAD)
def test_a_model_whose_parts_do_not_fit_is_refused(given: dict, name: str, unchecked):
    if given.get("readout") == "uneven":
        given = {"readout": Staircase(torch.zeros(2), torch.zeros(3))}
    good = {"names": ("a", "b", "c"), "tangents": torch.zeros(N, 2)}
    HopEmbedding(**good)
    with pytest.raises(ValueError, match=f"^{name}: expected "):
        HopEmbedding(**{**good, **given})


# Pictures and manifolds


def test_poincare_picture_keeps_directions_and_radii():
    z = torch.cat([torch.zeros(1, 2, dtype=torch.float64), tangents(5, 2, radius=30.0)])
    disk = HopEmbedding(tuple("abcdef"), z).poincare()
    radius = disk.norm(dim=1)
    assert bool((radius <= 1).all())
    assert radius[0] == 0
    inside = z.norm(dim=1) < 15
    torch.testing.assert_close(2 * torch.atanh(radius[inside]), z.norm(dim=1)[inside], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(disk[1:] / radius[1:, None], z[1:] / z[1:].norm(dim=1, keepdim=True))
    # The picture is of the same space: its distance formula gives the distances of the points.
    model = embedding()
    ball = model.poincare()
    between = geoopt.PoincareBall().dist(ball[1], ball[2])
    assert model.scale * float(between) == pytest.approx(model.distance("page 1", "page 2"), rel=1e-9)


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g != "hyperbolic"])
def test_only_hyperbolic_points_have_a_ball_and_a_manifold(geometry):
    model = embedding(geometry=geometry)
    for ask in (model.poincare, model.manifold_parameter):
        with pytest.raises(ValueError, match=f"^geometry: expected a hyperbolic embedding, got '{geometry}'"):
            ask()


@pytest.mark.parametrize(("dtype", "radius"), [(torch.float64, 1e-3), (torch.float64, 20.0), (torch.float32, 3.0)])
def test_manifold_parameters_there_and_back(dtype, radius):
    model = embedding(radius=radius, dtype=dtype)
    parameter = model.manifold_parameter()
    assert isinstance(parameter, geoopt.ManifoldParameter)
    assert isinstance(parameter.manifold, Lorentz)
    assert parameter.requires_grad
    assert parameter.manifold.check_point_on_manifold(parameter.double(), rtol=1e-4, atol=1e-4)
    back = HopEmbedding.from_manifold_parameter(model.names, parameter, scale=model.scale)
    assert type(back.tangents) is Tensor
    assert not back.tangents.requires_grad
    torch.testing.assert_close(back.tangents, model.tangents, rtol=1e-5 if dtype == torch.float32 else 1e-10, atol=1e-9)
    with torch.no_grad():
        parameter.zero_()
    assert float(model.points.abs().max()) >= 1  # a copy


def test_geoopt_trains_what_it_is_handed():
    model = embedding(radius=2.0)
    parameter = model.manifold_parameter()
    optimiser = geoopt.optim.RiemannianAdam([parameter], lr=0.1)
    hops = torch.arange(7, dtype=torch.float64).sub(torch.arange(7)[:, None]).abs()  # on a line
    upper = torch.triu(torch.ones(7, 7, dtype=torch.bool), 1)

    def stress() -> Tensor:
        return (parameter.manifold.dist(parameter[:, None], parameter) - hops)[upper].square().mean()

    before = float(stress().detach())
    for _ in range(100):
        optimiser.zero_grad()
        stress().backward()
        optimiser.step()
    trained = HopEmbedding.from_manifold_parameter(model.names, parameter)
    after = (trained.distances() - hops)[upper].square().mean()
    assert float(after) == pytest.approx(float(stress().detach()), rel=1e-6)
    assert float(after) < 0.2 * before

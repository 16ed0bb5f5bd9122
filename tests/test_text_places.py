"""Rows of pages in a hop model: packed, their loss differentiated, and found from hops, vectors and links."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from text_cases import FORMS, encoder, hop_model, known_texts, model, world
from torch import Tensor

from hyperspectral_geo.hyperbolic import Geometry, HopEmbedding, hop_counts
from hyperspectral_geo.hyperbolic.text import LinkNetwork, TextHead, fold_in
from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.placement_loss import LandmarkHops, PlacementGoal, placement_gradient

GEOMETRIES: tuple[Geometry, ...] = ("hyperbolic", "euclidean", "bilinear", "spherical", "product")
NEW = ("x", "y", "z")


def rows_of(pages: PageRows, *, seed: int = 5) -> Tensor:
    return torch.randn(3, pages.width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("parts", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_hold_all_that_belongs_to_a_page(parts: dict, dtype: torch.dtype):
    made = hop_model(dtype=dtype, **parts)
    pages = PageRows.of(made)
    assert pages.width == 3 * (1 + ("targets" in parts)) + 2 * ("scalars" in parts)
    packed = pages.packed()
    assert packed.shape == (len(made), pages.width)
    for name, table in pages.tables(packed).items():
        torch.testing.assert_close(table, getattr(made, name), atol=1e-6, rtol=1e-6)
    # A page's own row beside it stands where the page stands.
    twin = pages.extended(("twin",), packed[4:5])
    assert twin.names == (*made.names, "twin")
    assert twin.tangents.dtype == dtype
    distances = twin.distances()
    others = torch.arange(len(made)) != 4
    torch.testing.assert_close(distances[-1, :-1][others], distances[4, :-1][others], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(distances[:-1, -1][others], distances[:-1, 4][others], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(distances[:-1, :-1], made.distances())


def goal_by_chance(k: int, *, seed: int = 2) -> PlacementGoal:
    g = torch.Generator().manual_seed(seed)
    out, into = (torch.randint(-1, 5, (3, k), generator=g) for _ in range(2))
    return PlacementGoal.counted(out, into)


def plain_loss(pages: PageRows, rows: Tensor, known: Tensor, goal: PlacementGoal) -> float:
    """The loss by the model's own distances in float64, pair by pair."""
    base = pages.model
    wide = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    wide |= {
        name: wide[name].double()
        for name in ("tangents", "targets", "outgoing", "incoming", "forms")
        if wide[name] is not None
    }
    if base.readout is not None:
        wide["readout"] = dataclasses.replace(
            base.readout, thresholds=base.readout.thresholds.double(), log_slopes=base.readout.log_slopes.double()
        )
    extended = PageRows.of(HopEmbedding(**wide)).extended(NEW, rows)
    total, n = 0.0, len(base)
    for hops, link, out in ((goal.out, goal.link_out, True), (goal.into, goal.link_into, False)):
        real = ~hops.isnan()
        mean, count = float(hops[real].double().mean()), int(real.sum())
        for i, j in real.nonzero().tolist():
            pair = torch.tensor([n + i]), known[j : j + 1]
            ends = pair if out else pair[::-1]
            h = float(hops[i, j])
            away = float(extended.pair_distances(*ends)) - h
            total += (1 + min(mean / h, 10.0) ** 2) / 2 * away**2 / count
            first = first_step(extended, *ends)
            if first is not None:
                total -= 0.5 * float(np.log(first if link[i, j] == 0 else 1 - first)) / count
    return total


def first_step(made: HopEmbedding, source: Tensor, target: Tensor) -> float | None:
    """The probability of more than one hop that the read-out's first step gives."""
    if made.readout is None:
        return None
    one = dataclasses.replace(
        made,
        readout=dataclasses.replace(
            made.readout, thresholds=made.readout.thresholds[:1], log_slopes=made.readout.log_slopes[:1]
        ),
        forms=None if made.forms is None else made.forms[:1],
    )
    return float(one.pair_distances(source, target)) - 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("parts", FORMS.values(), ids=FORMS)
def test_loss_and_gradient_are_those_of_the_models_distances(parts: dict, geometry: Geometry):
    pages = PageRows.of(hop_model(geometry=geometry, **parts))
    rows, known = 0.7 * rows_of(pages), torch.tensor([0, 3, 4, 7, 11])
    goal = goal_by_chance(len(known))
    loss, gradient = placement_gradient(pages, rows, known, goal)
    assert loss == pytest.approx(plain_loss(pages, rows.double(), known, goal), rel=1e-4)
    step = torch.randn(rows.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    ahead, behind = (plain_loss(pages, rows.double() + e * step, known, goal) for e in (1e-5, -1e-5))
    assert float((gradient.double() * step).sum()) == pytest.approx((ahead - behind) / 2e-5, rel=2e-3, abs=2e-3)


def test_a_goal_knows_nothing_of_pairs_without_a_walk():
    counts = torch.tensor([[-1, 0, 1, 3]])
    goal = PlacementGoal.counted(counts, counts)
    assert goal.out.isnan().tolist() == [[True, True, False, False]]
    assert goal.link_into.tolist() == [[0, 0, 1, 0]]
    some = goal.among(torch.tensor([3, 2]))
    assert (some.out.tolist(), some.link_out.tolist()) == ([[3, 1]], [[0, 1]])
    pages = PageRows.of(hop_model())
    nothing = PlacementGoal.counted(torch.full((1, 2), -1), torch.full((1, 2), 0))
    loss, gradient = placement_gradient(pages, rows_of(pages)[:1], torch.tensor([0, 1]), nothing)
    assert loss == 0
    assert not bool(gradient.any())


def test_landmark_hops_are_hop_counts():
    graph = world().graph
    true = hop_counts(graph)
    hops = LandmarkHops.of(graph, most=10, seed=1)
    assert torch.equal(hops.out, true[:, hops.landmarks])
    assert torch.equal(hops.into, true[hops.landmarks].T)
    some, others, goal = hops.draw(7, 4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(goal.out.nan_to_num(0), true[some][:, others].float().clamp_min(0))
    torch.testing.assert_close(goal.into.nan_to_num(0), true[others][:, some].T.float().clamp_min(0))


# Places from hops


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean", "bilinear"])
def test_the_place_of_a_removed_page_is_found_from_its_distances(geometry: Geometry):
    whole = hop_model(60, geometry=geometry, targets=True, scalars=True)
    assert whole.outgoing is not None
    whole = dataclasses.replace(whole, tangents=0.5 * whole.tangents, outgoing=whole.outgoing + 6)
    packed, true = PageRows.of(whole).packed(), whole.distances()
    kept = {name: getattr(whole, name)[:57] for name in ("names", "tangents", "targets", "outgoing", "incoming")}
    pages = PageRows.of(dataclasses.replace(whole, **kept))
    goal = PlacementGoal(true[57:, :57], true[:57, 57:].T, torch.zeros(3, 57), torch.zeros(3, 57))
    start = packed[:57].mean(0) + 0.3 * rows_of(pages)
    found = pages.extended(NEW, fold_in(pages, start, goal, steps=200)).distances()
    assert float((found[57:, :57] - true[57:, :57]).abs().median()) < 0.03
    assert float((found[:57, 57:] - true[:57, 57:]).abs().median()) < 0.03


def test_true_hops_of_held_out_pages_give_their_place():
    n, true = len(world().graph), hop_counts(world().whole)
    goal = PlacementGoal.counted(true[n:, :n], true[:n, n:].T)
    pages = PageRows.of(model())
    start = pages.packed().mean(0).expand(len(world().new), -1).contiguous()
    before = pages.packed().clone()
    rows = fold_in(pages, start, goal, steps=100)
    assert torch.equal(pages.packed(), before)
    at_start, at_end = (placement_gradient(pages, r, torch.arange(n), goal)[0] for r in (start, rows))
    own = PlacementGoal.counted(true[:n, :n], true[:n, :n].T)
    usual = placement_gradient(pages, pages.packed(), torch.arange(n), own)[0]  # of pages that the model was trained on
    assert at_end < 1.5 * usual
    assert at_end < 0.8 * at_start
    assert torch.equal(fold_in(pages, start, goal, steps=0), start)
    sampled = [fold_in(pages, start, goal, steps=3, sample=20, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(sampled[0], sampled[1])
    assert not torch.equal(sampled[0], sampled[2])


@pytest.mark.parametrize("steps", [-1, 1.5, True, "3", None], ids=repr)
def test_steps_that_are_none_are_refused(steps: object, unchecked):
    pages = PageRows.of(hop_model())
    with pytest.raises(ValueError, match="steps: expected a whole number from 0"):
        fold_in(pages, rows_of(pages), goal_by_chance(12), steps=steps)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="start: expected 3 numbers a page, got 2"):
        fold_in(pages, torch.zeros(1, 2), goal_by_chance(12))


# Heads


def vectors() -> Tensor:
    tfidf = encoder().encoder
    assert tfidf is not None
    return tfidf.encode(known_texts())


def test_distillation_is_ridge_regression_with_the_strength_of_least_leave_one_out_error():
    pages, x = PageRows.of(model()), vectors()
    head = TextHead.distilled(pages, x)
    rows = pages.packed().double().numpy()
    scaled = ((x - x.mean(0)) * head.weights["scale"]).double().numpy()
    # scikit-learn weighs all targets alike, this each by its variance.
    spread = (rows - rows.mean(0)).std(0)
    ridge = RidgeCV([len(x) * 10.0**power for power in range(-3, 4)]).fit(scaled, rows / spread)
    np.testing.assert_allclose(head.rows(x).numpy(), ridge.predict(scaled) * spread, rtol=1e-3, atol=1e-3)
    assert float(scaled.std()) == pytest.approx(1, rel=1e-5)


def test_training_on_hops_lowers_the_loss_on_hops():
    pages, x = PageRows.of(model()), vectors()
    hops = LandmarkHops.of(world().graph)
    some, others, goal = hops.draw(len(x), len(x), torch.Generator().manual_seed(0))
    linear, seen = TextHead.distilled(pages, x), []
    trained = linear.trained(pages, x, hops, steps=51, progress=lambda step, loss: seen.append((step, loss)))
    before, after = (placement_gradient(pages, head.rows(x)[some], others, goal)[0] for head in (linear, trained))
    assert after < before
    assert [step for step, _ in seen] == [0, 50]
    assert torch.equal(trained.weights["linear"], linear.weights["linear"])
    again = linear.trained(pages, x, hops, steps=3, seed=2), linear.trained(pages, x, hops, steps=3, seed=2)
    assert torch.equal(again[0].rows(x), again[1].rows(x))


def test_a_network_over_links_lies_better_than_the_head():
    """Trained on half of the known pages' own links, it is judged on links of pages that are held out."""
    pages, x, hops = PageRows.of(model()), vectors(), LandmarkHops.of(world().graph)
    n, edges = len(world().graph), world().whole.edges
    linked = torch.zeros(len(world().whole), len(world().whole))
    linked[edges[:, 0], edges[:, 1]] = 1
    head = TextHead.distilled(pages, x)
    seen: list[int] = []
    network = LinkNetwork.fit(
        head,
        pages,
        x,
        linked[:n, :n],
        linked[:n, :n].T.contiguous(),
        hops,
        steps=60,
        progress=lambda s, _: seen.append(s),
    )
    own = encoder().encoder
    assert own is not None
    new = own.encode([world().texts[name] for name in world().new])
    true = hop_counts(world().whole)
    goal = PlacementGoal.counted(true[n:, :n], true[:n, n:].T)
    rows = network.rows(pages, new, linked[n:, :n], linked[:n, n:].T.contiguous())
    by_links, by_text = (placement_gradient(pages, r, torch.arange(n), goal)[0] for r in (rows, head.rows(new)))
    assert by_links < by_text
    assert seen == [0, 50]
    nowhere = network.rows(pages, new, torch.zeros(len(new), n), torch.zeros(len(new), n))
    assert bool(nowhere.isfinite().all())


REFUSED = {
    "another number": (lambda: torch.zeros(3, 4), "vectors: expected 130, one a page, got 3"),
    "all the same": (lambda: torch.full((130, 4), 0.1), "expected those of the pages to differ"),
    "all zero": (lambda: torch.zeros(130, 4), "expected those of the pages to differ"),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_vectors_that_teach_nothing_are_refused(given, said: str):
    with pytest.raises(ValueError, match=said):
        TextHead.distilled(PageRows.of(model()), given())


@pytest.mark.parametrize("shape", [(2, 5), (24,), (1, 2, 24)], ids=str)
def test_vectors_of_another_shape_are_refused(shape: tuple[int, ...], unchecked):
    with pytest.raises(ValueError, match=f"vectors: expected {len(encoder().head.center)} numbers a text"):
        encoder().head.rows(torch.zeros(shape))

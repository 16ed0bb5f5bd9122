"""SubspaceFusion on rows as they come: some without a view, few of them, far from zero, or in batches."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from fusion_cases import TEST, TRAIN, VIEWS, part, related, unrelated

from hyperspectral_geo.fusion import Moments, NothingShared, SubspaceFusion
from hyperspectral_geo.fusion.decoding import decoders_of_moments, decoders_of_rows
from hyperspectral_geo.fusion.streaming import streamed_candidate


def test_three_views_and_rows_that_lack_one():
    views = related(200, 9, 8, 7, seed=4, noise=0.3)
    train, test = part(views, slice(0, 150)), part(views, slice(150, 200))
    whole = SubspaceFusion(3, method="gcca").fit(train)
    lacking = [x.clone() for x in train]
    lacking[2][::3] = torch.nan
    lacking[0][1::5] = torch.nan
    part_missing = SubspaceFusion(3, method="gcca").fit(lacking)
    assert part_missing.score(test)["R@5"] > 0.9 * whole.score(test)["R@5"] > 0.4
    gappy = [x.clone() for x in test]
    gappy[1][:25] = torch.nan
    fused = part_missing.fuse(gappy)
    torch.testing.assert_close(fused.norm(dim=1), torch.ones(50, dtype=torch.float64))
    whole_rows = part_missing.fuse(test)
    assert torch.equal(fused[25:], whole_rows[25:])
    assert float((fused[:25] * whole_rows[:25]).sum(1).mean()) > 0.9


def test_a_view_may_be_missing_in_every_row_that_is_fused():
    x, y = VIEWS
    fusion = SubspaceFusion(method="csa").fit([x[TRAIN], y[TRAIN]])
    alone = fusion.fuse([x[TEST], torch.full_like(y[TEST], torch.nan)])
    torch.testing.assert_close(alone, fusion.encode(0, x[TEST]))
    with pytest.raises(ValueError, match="views: expected 2 as when fitted, got 3"):
        fusion.fuse([x, y, y])


# rows that lack a view


def lacking(view, rows):
    out = view.clone()
    out[rows] = torch.nan
    return out


def test_unpaired_rows_have_a_say_where_they_help():
    """Few pairs of many features, whose covariance only the many unpaired rows can tell."""
    generator = torch.Generator().manual_seed(1)
    meaning = torch.randn(700, 8, generator=generator, dtype=torch.float64)
    scales = torch.logspace(1.5, -1.5, 60, dtype=torch.float64)
    views = []
    for _ in range(2):
        own = torch.randn(700, 60, generator=generator, dtype=torch.float64) * scales
        views.append(own + meaning @ torch.randn(8, 60, generator=generator, dtype=torch.float64))
    unpaired = slice(40, 500)
    x, y = views[0][:500], lacking(views[1][:500], unpaired)
    test = part(views, slice(500, 700))
    options = {"method": "rcca", "significance": None}
    given, without = SubspaceFusion(**options).fit([x, y]), SubspaceFusion(**options).fit([x[:40], y[:40]])
    tried = given.choice_.tried
    assert {one.unpaired for one in tried} == {True, False}
    assert max(tried, key=lambda one: one.score).unpaired
    assert given.score(test)["R@5"] > without.score(test)["R@5"] + 0.02


def test_unpaired_rows_are_left_out_where_they_harm():
    """Rows of another kind, which vary where pairs do not: the space is that of the pairs alone."""
    x, y = related(120, 12, 10, noise=0.4)
    strangers = 300 * torch.randn(200, 3, dtype=torch.float64) @ torch.randn(3, 12, dtype=torch.float64)
    views = [torch.cat([x, strangers]), torch.cat([y, torch.full((200, 10), torch.nan, dtype=torch.float64)])]
    options = {"method": "csa", "significance": None}
    given, without = SubspaceFusion(**options).fit(views), SubspaceFusion(**options).fit([x, y])
    assert not max(given.choice_.tried, key=lambda one: one.score).unpaired
    assert torch.equal(given.encode(0, x), without.encode(0, x))
    fixed = SubspaceFusion(method="rcca", ridge=1.0).fit(views)
    assert {one.unpaired for one in fixed.choice_.tried} == {True}


def halves(seed=0, share=0.5):
    """Views of which the second lacks rows, and more of those where the first is small."""
    x, y = related(200, 10, 8, seed=seed, noise=0.1)
    generator = torch.Generator().manual_seed(seed)
    gone = torch.rand(200, generator=generator) < share
    gone |= x[:, 0] < x[:, 0].quantile(0.2)
    return x, lacking(y, gone), ~gone


def test_regressions_by_moments_and_by_rows_agree_where_rows_lack_views():
    x, y, has = halves()
    fusion = SubspaceFusion(method="rcca", ridge=0.1, significance=None).fit([x, y])
    rows = decoders_of_rows(fusion.space_.basis, fusion.space_.lifts, [x, y.nan_to_num(0.0)], [None, has])
    for pair, decoder in rows.items():
        torch.testing.assert_close(fusion.space_.decoders[pair].weights, decoder.weights, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(fusion.space_.decoders[pair].offset, decoder.offset, rtol=1e-8, atol=1e-9)
    streamed = SubspaceFusion(method="rcca", ridge=0.1, significance=None).fit_batches(in_batches([x, y], 30))
    torch.testing.assert_close(streamed.convert(x), fusion.convert(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_conversion_is_as_good_where_rows_lack_a_view(share):
    x, y, _ = halves(share=share)
    truth = related(200, 10, 8, noise=0.1)[1]
    found = SubspaceFusion(method="rcca", ridge=0.1, significance=None).fit([x, y]).convert(x)
    error = (found - truth).square().sum() / (truth - truth.mean(0)).square().sum()
    assert float(error) < 0.05


def test_correlations_are_over_the_rows_that_have_both_views():
    x, y, has = halves()
    fusion = SubspaceFusion(3, method="rcca", ridge=0.1).fit([x, y])
    codes = [fusion.space_.coordinates(v, rows[has]).numpy() for v, rows in enumerate((x, y))]
    expected = [np.corrcoef(codes[0][:, i], codes[1][:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(fusion.explain().correlations.numpy(), expected, rtol=1e-8)


# few rows, offsets, constant blocks


@pytest.mark.parametrize("rows", [4, 5, 6, 8])
def test_noise_of_a_few_rows_is_not_shared(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingShared)
        kept = [len(SubspaceFusion(method="rcca").fit(unrelated(rows, 6, 5, seed=seed)).space_) for seed in range(30)]
    assert sum(map(bool, kept)) <= 2


@pytest.mark.parametrize("offset", [1e3, 1e6, 1.7e9])
def test_a_column_with_an_offset_costs_nothing(offset):
    x, y = VIEWS
    plain = SubspaceFusion(method="rcca", ridge=0.1).fit([x[TRAIN], y[TRAIN]])
    wide = torch.cat([x, torch.full((len(x), 1), offset, dtype=x.dtype)], 1)
    found = SubspaceFusion(method="rcca", ridge=0.1 * 13 / 12).fit([wide[TRAIN], y[TRAIN]])
    assert found.score([wide[TEST], y[TEST]])["R@5"] == pytest.approx(plain.score(part(VIEWS, TEST))["R@5"], abs=0.05)


@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize("rows", [120, 8], ids=["many rows", "fewer rows than features"])
def test_a_block_that_is_constant_says_nothing(value, rows):
    x, y = related(rows, 10, 8)
    dead = torch.full((rows, 3), value, dtype=x.dtype)
    options = {"method": "rcca", "ridge": 1.0, "significance": None}
    found = SubspaceFusion(**options).fit([(x, dead), y])
    assert bool(torch.isfinite(found.encode(0, (x, dead))).all())
    assert float((found.encode(0, (x, dead)) - found.encode(0, (x, dead + 1))).abs().max()) < 1e-9


# batches


def in_batches(views, size):
    rows = len(views[0][0] if isinstance(views[0], tuple) else views[0])
    for start in range(0, rows, size):
        some = slice(start, start + size)
        yield [tuple(p[some] for p in view) if isinstance(view, tuple) else view[some] for view in views]


def test_blocks_of_batches_have_equal_say():
    x, y = part(VIEWS, TRAIN)
    dead = torch.full((120, 2), 0.1, dtype=x.dtype)
    views = [(x[:, :5] * 1e3, x[:, 5:], dead), y]
    whole = SubspaceFusion(method="rcca", ridge=0.2, significance=None).fit(views)
    streamed = SubspaceFusion(method="rcca", ridge=0.2, significance=None).fit_batches(in_batches(views, 30))
    torch.testing.assert_close(streamed.similarity(views[0], y), whole.similarity(views[0], y), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(streamed.convert(views[0]), whole.convert(views[0]), rtol=1e-6, atol=1e-6)


def test_batches_may_lack_a_view():
    x, y = part(VIEWS, TRAIN)
    gappy = torch.cat([torch.full_like(y[:30], torch.nan), y[30:] + 1e6])
    whole = SubspaceFusion(method="rcca", ridge=0.2).fit([x, gappy])
    streamed = SubspaceFusion(method="rcca", ridge=0.2).fit_batches(in_batches([x, gappy], 30))
    test = VIEWS[0][TEST], VIEWS[1][TEST] + 1e6
    torch.testing.assert_close(streamed.similarity(*test), whole.similarity(*test), rtol=1e-6, atol=1e-7)
    assert [len(found.coordinates[0]) for found in streamed.choice_.cross_fitted] == [18] * 5


def test_few_pairs_in_batches_mean_fewer_folds():
    views = part(VIEWS, slice(0, 5))
    streamed = SubspaceFusion(method="rcca", ridge=1.0, significance=1.0).fit_batches(in_batches(views, 1))
    assert [len(found.coordinates[0]) for found in streamed.choice_.cross_fitted] == [3, 2]
    with pytest.raises(ValueError, match="at least 4 rows that have every view, got 3"):
        SubspaceFusion().fit_batches(in_batches(part(VIEWS, slice(0, 3)), 2))


def test_batches_give_what_all_rows_at_once_give():
    whole = SubspaceFusion(method="rcca", ridge=0.2).fit(part(VIEWS, TRAIN))
    batches = [part(VIEWS, slice(start, start + 30)) for start in range(0, 120, 30)]
    streamed = SubspaceFusion(method="rcca", ridge=0.2).fit_batches(batches)
    torch.testing.assert_close(streamed.similarity(*VIEWS), whole.similarity(*VIEWS), rtol=1e-8, atol=1e-9)
    moments = Moments.of(part(VIEWS, TRAIN))
    by_moments = decoders_of_moments(streamed.space_.basis, moments, streamed.space_.lifts)
    by_rows = decoders_of_rows(streamed.space_.basis, streamed.space_.lifts, part(VIEWS, TRAIN), [None] * 2)
    for pair, decoder in by_rows.items():
        torch.testing.assert_close(by_moments[pair].weights, decoder.weights, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(by_moments[pair].offset, decoder.offset, rtol=1e-7, atol=1e-8)
    with pytest.raises(ValueError, match="batch 1: expected features"):
        SubspaceFusion().fit_batches([part(VIEWS, TRAIN), [VIEWS[0], VIEWS[1][:, 1:]]])
    with pytest.raises(ValueError, match="expected at least one, got none"):
        SubspaceFusion().fit_batches([])
    with pytest.raises(ValueError, match="expected one with linear lifts"):
        SubspaceFusion(method="kernel").fit_batches(batches)


def test_a_fold_of_a_stream_keeps_no_more_than_it_judges():
    views = part(VIEWS, slice(0, 60))
    candidate, blocks = streamed_candidate(in_batches(views, 1), folds=2, most=7)
    assert [len(fold.inside[0]) for fold in candidate.folds] == [7, 7]
    assert (candidate.moments.count(0, 0), blocks) == (60, ((10,), (8,)))
    bad = [view.clone() for view in views]
    bad[0][0, 3] = torch.nan
    with pytest.raises(ValueError, match="batch 1, view 0: expected finite numbers, got nan in row 0, feature 3"):
        SubspaceFusion().fit_batches([views, bad])

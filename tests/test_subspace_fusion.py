"""SubspaceFusion: methods against each other and references, chance and evidence, saving, bad input."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from fusion_cases import TEST, TRAIN, VIEWS, part, related, unrelated
from scipy.sparse import csr_matrix
from sklearn.base import clone

from hyperspectral_geo.data import load_emoji
from hyperspectral_geo.fusion import PRESETS, NothingShared, SubspaceFusion, rcca
from hyperspectral_geo.fusion.lifting import KernelLift, LinearLift
from hyperspectral_geo.manifolds import principal_angles


@pytest.mark.parametrize("method", PRESETS)
def test_every_method_finds_partners_and_is_kept_by_its_file(method, tmp_path):
    fusion = SubspaceFusion(None if method == "asif" else 3, method=method).fit(part(VIEWS, TRAIN))
    score = fusion.score(part(VIEWS, TEST))
    assert score["R@5"] > 0.5 > 4 * score["chance"]
    loaded = SubspaceFusion.load(fusion.save(tmp_path / "fusion.safetensors"))
    assert loaded.get_params() == fusion.get_params()
    with pytest.raises(ValueError, match="explain: expected a fusion that fit has just made"):
        loaded.explain()
    for view, x in enumerate(VIEWS):
        assert torch.equal(loaded.encode(view, x), fusion.encode(view, x))
        if method != "asif":
            assert torch.equal(loaded.novelty(view, x), fusion.novelty(view, x))
    assert torch.equal(loaded.convert(VIEWS[0]), fusion.convert(VIEWS[0]))
    assert fusion.save(tmp_path / "again.safetensors").read_bytes() == (tmp_path / "fusion.safetensors").read_bytes()


def test_a_given_ridge_without_weights_is_rcca():
    fusion = SubspaceFusion(method="rcca", ridge=0.3).fit(part(VIEWS, TRAIN))
    directions = rcca(*part(VIEWS, TRAIN), ridge=0.3)
    codes = [
        torch.nn.functional.normalize((x - directions.means[v]) @ directions.weights[v]) for v, x in enumerate(VIEWS)
    ]
    torch.testing.assert_close(fusion.similarity(*VIEWS), codes[0] @ codes[1].T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arrays_tensors_and_kinds_of_numbers_give_the_same(dtype):
    views = [x.to(dtype) for x in VIEWS]
    fusion = SubspaceFusion(method="rcca", ridge=0.3).fit(part(views, TRAIN))
    arrays = SubspaceFusion(method="rcca", ridge=0.3).fit([x[TRAIN].numpy() for x in views])
    assert torch.equal(arrays.encode(0, views[0].numpy()), fusion.encode(0, views[0]))
    exact = SubspaceFusion(method="rcca", ridge=0.3).fit(part(VIEWS, TRAIN))
    torch.testing.assert_close(fusion.similarity(*views), exact.similarity(*VIEWS), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["spectral", "linear"])
def test_scale_offset_rotation_and_order_of_features_do_not_matter(method):
    generator = torch.Generator().manual_seed(1)
    turn = torch.linalg.qr(torch.randn(10, 10, generator=generator, dtype=torch.float64))[0]
    moved = [VIEWS[0] @ turn * 7 - 100, VIEWS[1].flip(1) * 0.01]
    one, other = (SubspaceFusion(method=method).fit(part(views, TRAIN)) for views in (VIEWS, moved))
    torch.testing.assert_close(other.similarity(*moved), one.similarity(*VIEWS), rtol=1e-5, atol=1e-6)


def test_blocks_have_equal_say():
    x, y = VIEWS
    loud = SubspaceFusion(method="linear").fit([(x[TRAIN, :5] * 1e3, x[TRAIN, 5:]), y[TRAIN]])
    soft = SubspaceFusion(method="linear").fit([(x[TRAIN, :5], x[TRAIN, 5:]), y[TRAIN]])
    torch.testing.assert_close(
        loud.similarity((x[:, :5] * 1e3, x[:, 5:]), y), soft.similarity((x[:, :5], x[:, 5:]), y), rtol=1e-6, atol=1e-7
    )
    with pytest.raises(ValueError, match="view 0: expected 5 \\+ 5 features as when fitted, got 4 \\+ 6"):
        soft.encode(0, (x[:, :4], x[:, 4:]))


def test_views_that_share_nothing_have_no_joint_space():
    with pytest.warns(NothingShared, match="no more than shuffled ones"):
        fusion = SubspaceFusion().fit(unrelated(100, 12, 9))
    assert len(fusion.space_) == 0
    assert fusion.encode(0, VIEWS[0][:, :10].repeat(1, 2)[:, :12]).shape == (160, 0)
    assert "no shared direction" in str(fusion.explain())


def test_the_test_of_sharing_is_calibrated():
    """Of 40 unrelated pairs of views p < .2 comes in about a fifth; the limits are binomial, at 99.9 %."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingShared)
        p = [SubspaceFusion(method="rcca").fit(unrelated(40, 6, 5, seed=seed)).evidence_.p_value for seed in range(40)]
    assert 1 <= sum(value < 0.2 for value in p) <= 17
    assert sum(value < 0.02 for value in p) <= 5


def test_explanation_counts_the_shared_directions():
    views = related(400, 10, 8, factors=3, noise=0.3)
    found = SubspaceFusion(method="rcca").fit(views).explain()
    assert found.shared == 3
    assert found.p_value == 0.001
    low, high = found.chance
    assert bool((low < 0).all())
    assert bool((high > 0).all())
    assert bool((high < found.edge + 1e-3).all())
    assert bool((found.held_out[3:] < high[3:]).all())
    torch.testing.assert_close(found.angles.cos(), found.correlations)
    assert bool((found.variance >= 0).all())
    assert bool((found.variance.sum(1) <= 1.2).all())
    name, moved = found.strongest_features(0, 0, 1)[0]
    assert moved == found.features[0][0, name]
    assert str(found).startswith("3 of ")


def test_novelty_is_low_inside_and_high_outside():
    fusion = SubspaceFusion(method="rcca").fit(related(400, 10, 8, factors=3, noise=0.1))
    inside = related(400, 10, 8, factors=3, noise=0.1)[0]
    generator = torch.Generator().manual_seed(0)
    outside = inside.mean(0) + 30 * torch.randn(100, 10, generator=generator, dtype=torch.float64)
    assert float(fusion.novelty(0, inside).median()) < 0.2 < 0.6 < float(fusion.novelty(0, outside).median())
    with pytest.raises(ValueError, match="joins subspaces, got 'asif'"):
        SubspaceFusion(method="asif").fit(VIEWS).novelty(0, VIEWS[0])


def test_what_a_lift_loses_counts_as_new():
    x = related(8, 10, 8)[0]
    away = x.mean(0) - 5 * (x - x.mean(0)) + torch.linspace(0, 9, 10, dtype=torch.float64)
    turned = LinearLift.fitted(x, blocks=(4, 6))
    scaled = (away - turned.mean) * turned.scales
    torch.testing.assert_close(turned(away).square().sum(1) + turned.lost(away), scaled.square().sum(1))
    assert float(turned.lost(x).max()) < 1e-9 < float(turned.lost(away).min())
    curved = KernelLift.fitted(x, gamma=3.0)
    assert float(curved.lost(x).max()) < 1e-9
    assert float(curved.lost(away).min()) > 0.5
    fusion = SubspaceFusion(method="kernel", significance=None).fit([x, x])
    assert float(fusion.novelty(0, away).min()) > float(fusion.novelty(0, x).max()) + 0.1


def test_conversion_predicts_the_other_view():
    x, y = related(300, 10, 8, noise=0.05)
    fusion = SubspaceFusion(method="rcca").fit([x[:200], y[:200]])
    error = (fusion.convert(x[200:]) - y[200:]).square().sum() / (y[200:] - y[:200].mean(0)).square().sum()
    assert float(error) < 0.02


def test_it_clones_prints_and_repeats():
    fusion = SubspaceFusion(5, method="kernel", seed=3)
    assert repr(fusion) == "SubspaceFusion(n_components=5, method='kernel', seed=3)"
    assert clone(fusion).get_params() == fusion.get_params()
    first, again = (clone(fusion).fit(part(VIEWS, TRAIN)) for _ in range(2))
    assert torch.equal(first.similarity(*VIEWS), again.similarity(*VIEWS))


NAN = torch.tensor([1.0, torch.nan, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
BAD = {
    "one view": ([VIEWS[0]], {}, "views: expected 2 or more"),
    "an array": (VIEWS[0], {}, "views: expected 2 or more"),
    "lengths": ([VIEWS[0], VIEWS[1][1:]], {}, "view 1: expected 160 rows"),
    "a NaN": (
        [VIEWS[0], torch.cat([VIEWS[1][:-1], NAN[None]])],
        {},
        "view 1: expected finite numbers, got nan in row 159",
    ),
    "infinity": ([VIEWS[0] / 0, VIEWS[1]], {}, "view 0: expected finite numbers, got inf"),
    "only NaN": ([VIEWS[0] * torch.nan, VIEWS[1]], {}, "view 0: expected samples, got only rows of NaN"),
    "constant": ([VIEWS[0], torch.full_like(VIEWS[1], 0.1)], {}, "expected features that vary"),
    "three rows": ([VIEWS[0][:3], VIEWS[1][:3]], {}, "at least 4 rows"),
    "texts": ([np.array([["a"]] * 160), VIEWS[1]], {}, "view 0: expected real numbers"),
    "complex": ([VIEWS[0] * 1j, VIEWS[1]], {}, "view 0: expected real numbers"),
    "vector": ([VIEWS[0][:, 0], VIEWS[1]], {}, "view 0: expected real numbers of shape"),
    "ragged": ([[[1.0], [1.0, 2.0]], VIEWS[1]], {}, "view 0: expected a matrix"),
    "method": (VIEWS, {"method": "magic"}, "method: expected one of spectral"),
    "ridge": (VIEWS, {"ridge": -1.0}, "ridge: expected None, or a number"),
    "folds": (VIEWS, {"folds": 1}, "folds: expected 2 or more"),
    "components": (VIEWS, {"n_components": 0}, "n_components: expected a whole number"),
    "significance": (VIEWS, {"significance": 2.0}, "significance: expected None, or a number from 0.0001 to 1"),
    "no significance": (VIEWS, {"significance": 0}, "significance: expected None, or a number from 0.0001 to 1"),
    "no seed": (VIEWS, {"seed": None}, "seed: expected a whole number"),
    "a fraction of a seed": (VIEWS, {"seed": 0.5}, "seed: expected a whole number"),
    "components of anchors": (VIEWS, {"n_components": 3, "method": "asif"}, "n_components: expected None for 'asif'"),
    "SciPy sparse": ([csr_matrix(VIEWS[0].numpy()), VIEWS[1]], {}, "view 0: expected a dense matrix, got a sparse"),
    "torch sparse": ([VIEWS[0], VIEWS[1].to_sparse()], {}, "view 1: expected a dense matrix, got a sparse"),
    "varies in one row": (
        [VIEWS[0], torch.zeros_like(VIEWS[1]).index_fill(0, torch.tensor(3), 1.0)],
        {},
        "view 1: expected features that vary outside each fold, got 8 constant ones",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("views", "options", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(views, options, message):
    with pytest.raises(ValueError, match=message):
        SubspaceFusion(**options).fit(views)


@pytest.mark.usefixtures("unchecked")
def test_misuse_after_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="call fit first"):
        SubspaceFusion().transform(VIEWS)
    fusion = SubspaceFusion(2, method="rcca", ridge=0.1).fit(VIEWS)
    with pytest.raises(ValueError, match="score needs partners"):
        fusion.score([VIEWS[0], VIEWS[1][1:]])
    with pytest.raises(ValueError, match="view 1: expected 8 features as when fitted, got 10"):
        fusion.transform([VIEWS[0], VIEWS[0]])
    gap = VIEWS[0].clone()
    gap[4] = torch.nan
    with pytest.raises(ValueError, match="view 0: expected samples, got a missing one, row 4.*use fuse"):
        fusion.encode(0, gap)
    with pytest.raises(ValueError, match="view: expected a whole number from 0 to 1, got 2"):
        fusion.encode(2, VIEWS[0])
    with pytest.raises(ValueError, match="views: expected 2 as when fitted"):
        fusion.transform(VIEWS[:1])
    damaged = fusion.save(tmp_path / "f.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(ValueError, match="f.safetensors"):
        SubspaceFusion.load(damaged)
    with pytest.raises(FileNotFoundError, match="hsgeo fuse"):
        SubspaceFusion.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("pairs", "least"), [(100, 0.26), (400, 0.44)])
def test_pictures_find_their_captions(pairs, least):
    """Random split of emoji, R@10 with hubs corrected; the best linear or kernel peer has .28 and .45."""
    emoji = load_emoji()
    order = torch.randperm(1906, generator=torch.Generator().manual_seed(0))
    train, test = order[:pairs], order[1400:1800]
    fusion = SubspaceFusion().fit([emoji.image[train], emoji.text[train]])
    assert fusion.score([emoji.image[test], emoji.text[test]], corrected=True)["R@10"] > least


# without a test


def test_a_fixed_method_without_a_test_joins_all_rows_and_nothing_else():
    x, y = related(60, 8, 6)
    model = SubspaceFusion(method="rcca", ridge=0.3, significance=None).fit([x, y])
    tested = SubspaceFusion(method="rcca", ridge=0.3).fit([x, y])
    assert model.evidence_ is None
    assert math.isnan(model.choice_.tried[0].score)
    assert model.choice_.cross_fitted == ()
    assert torch.allclose(model.space_.basis.correlations, tested.space_.basis.correlations)
    assert model.space_.shared == len(model.space_) >= tested.space_.shared
    with pytest.raises(ValueError, match="significance=None"):
        model.explain()


def test_an_empty_space_is_kept_by_its_file(tmp_path):
    with pytest.warns(NothingShared):
        empty = SubspaceFusion(method="rcca").fit(unrelated(60, 6, 5))
    loaded = SubspaceFusion.load(empty.save(tmp_path / "empty.safetensors"))
    assert loaded.encode(0, torch.ones(3, 6)).shape == (3, 0)
    assert torch.equal(loaded.convert(torch.ones(3, 6)), empty.convert(torch.ones(3, 6)))
    assert loaded.novelty(0, torch.randn(3, 6)).tolist() == [1.0] * 3


def test_four_pairs_are_enough_for_anchors():
    assert len(SubspaceFusion(method="asif").fit(related(4, 6, 5)).space_) == 4


@pytest.mark.parametrize("parameters", [{"ridge": math.inf}, {"ridge": np.float64(1)}])
def test_every_parameter_is_kept_by_the_file(parameters, tmp_path):
    fusion = SubspaceFusion(method="rcca", significance=None, **parameters).fit(part(VIEWS, TRAIN))
    assert SubspaceFusion.load(fusion.save(tmp_path / "m.safetensors")).get_params() == fusion.get_params()


def test_a_fit_whose_warning_is_an_error_is_whole():
    fusion = SubspaceFusion(method="rcca").fit(part(VIEWS, TRAIN))
    with warnings.catch_warnings():
        warnings.simplefilter("error", NothingShared)
        with pytest.raises(NothingShared):
            fusion.fit(unrelated(60, 6, 5))
    assert len(fusion.space_) == 0
    assert str(fusion.explain()).startswith("no shared direction")


# anchors


def test_anchors_convert_to_weighted_means():
    x, y = part(VIEWS, TRAIN)
    fusion = SubspaceFusion(method="asif").fit([x, y])
    shares = fusion.space_.coordinates(0, x[:7])
    torch.testing.assert_close(shares.sum(1), torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close(fusion.convert(x[:7]), shares @ y)


def test_narrow_views_may_share_different_things_with_a_wide_one():
    generator = torch.Generator().manual_seed(0)
    meaning = torch.randn(600, 8, generator=generator, dtype=torch.float64)
    mixed = [
        m @ torch.randn(m.shape[1], width, generator=generator, dtype=torch.float64)
        for m, width in ((meaning, 40), (meaning[:, :4], 4), (meaning[:, 4:], 4))
    ]
    views = [m + 0.1 * torch.randn(m.shape, generator=generator, dtype=torch.float64) for m in mixed]
    fusion = SubspaceFusion(method="gcca", significance=None).fit(part(views, slice(0, 400)))
    assert len(fusion.space_) == 8
    for narrow in (1, 2):
        found = fusion.similarity(views[0][400:], views[narrow][400:], views=(0, narrow))
        assert float((found.argmax(1) == torch.arange(200)).double().mean()) > 0.12


def test_the_narrowest_of_three_views_does_not_narrow_the_others():
    x, y, z = related(300, 10, 8, 1, factors=5, noise=0.1)
    train, test = [v[:200] for v in (x, y, z)], (x[200:], y[200:])
    fusion = SubspaceFusion(method="gcca", significance=None).fit(train)
    assert len(fusion.space_) >= 5
    found = fusion.similarity(*test)
    assert float((found.argmax(1) == torch.arange(100)).double().mean()) > 0.7


# evidence


@pytest.mark.parametrize("method", ["procrustes", "pls", "rcca", "cca"])
def test_correlations_are_those_of_the_coordinates(method):
    x, y = (view * 1e4 for view in part(VIEWS, TRAIN))
    found = SubspaceFusion(method=method).fit([x, y])
    codes = [found.space_.coordinates(v, rows).numpy() for v, rows in enumerate((x, y))]
    expected = [np.corrcoef(codes[0][:, i], codes[1][:, i])[0, 1] for i in range(8)]
    told = found.explain()
    np.testing.assert_allclose(told.correlations.numpy(), expected, rtol=1e-8)
    if method == "cca":
        angles = principal_angles(*(torch.linalg.qr(view - view.mean(0))[0] for view in (x, y)))
        torch.testing.assert_close(told.angles, angles, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("method", "significance"), [("spectral", 1e-3), ("kernel", 3e-4)])
def test_any_significance_can_be_reached(method, significance):
    fusion = SubspaceFusion(method=method, significance=significance, rank=20).fit(part(VIEWS, TRAIN))
    assert len(fusion.space_) > 0
    assert fusion.evidence_.p_value <= significance


def test_a_space_that_is_kept_without_a_single_direction_says_so():
    fusion = SubspaceFusion(method="rcca", significance=1.0).fit(unrelated(60, 6, 5))
    told = str(fusion.explain())
    assert told.startswith("0 of 5 directions above chance")
    assert "kept without regard to the test" in told
    assert "(99 % of chance)" in told


def test_big_endian_arrays_are_taken():
    plain = SubspaceFusion(method="rcca", ridge=0.3).fit(part(VIEWS, TRAIN))
    big = [x[TRAIN].numpy().astype(">f8") for x in VIEWS]
    assert torch.equal(SubspaceFusion(method="rcca", ridge=0.3).fit(big).encode(0, VIEWS[0]), plain.encode(0, VIEWS[0]))

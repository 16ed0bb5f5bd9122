"""Peers of fusion against known identities, splits without leaks, and mean average precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fusion_bench_cases import pairs

from hyperspectral_geo.benchmarks import fusion_peers
from hyperspectral_geo.benchmarks.fusion_splits import Split, emoji, grouped_split, random_split
from hyperspectral_geo.fusion.alignment import rcca
from hyperspectral_geo.fusion.retrieval import mean_average_precision, recall_at_k
from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion

GROUPS = tuple(name for name, count in (("a", 5), ("b", 9), ("c", 2), ("d", 14)) for _ in range(count))


# splits


@pytest.mark.parametrize("seed", range(6))
def test_a_grouped_split_never_tests_a_group_it_trained_on(seed):
    split = grouped_split(GROUPS, test=6, seed=seed)
    tested, trained = ({GROUPS[i] for i in part.tolist()} for part in (split.test, split.train))
    assert not tested & trained
    assert len(split.test) == 6 == len(set(split.test.tolist()))
    held_out = [i for i, name in enumerate(GROUPS) if name not in trained]
    assert set(split.test.tolist()) <= set(held_out)
    assert sorted([*held_out, *split.train.tolist()]) == list(range(len(GROUPS)))


def test_grouped_splits_draw_no_more_groups_than_they_need():
    for seed in range(20):
        split = grouped_split(GROUPS, test=1, seed=seed)
        assert len({GROUPS[i] for i in range(len(GROUPS))} - {GROUPS[i] for i in split.train.tolist()}) == 1


@pytest.mark.parametrize(
    "make", [lambda s: random_split(50, test=20, seed=s), lambda s: grouped_split(GROUPS, test=6, seed=s)]
)
def test_splits_depend_on_the_seed_alone(make):
    again, other = make(3), make(4)
    assert torch.equal(make(3).test, again.test)
    assert torch.equal(make(3).train, again.train)
    assert not torch.equal(other.train[: len(again.train)], again.train[: len(other.train)])


def test_emoji_grouped_by_subcategory_has_enough_pairs():
    paired = emoji(grouped=True)
    for seed in range(5):
        split = paired.split(seed)
        assert len(split.test) == 400
        assert len(split.train) >= 1200
        assert not {paired.groups[i] for i in split.test.tolist()} & {paired.groups[i] for i in split.train.tolist()}


# peers


@pytest.mark.parametrize("ridge", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("n", [300, 9])
def test_cca_zoo_and_ours_have_the_same_canonical_coordinates(ridge, n):
    pytest.importorskip("cca_zoo")
    if n < 12 and ridge == 0:
        pytest.skip("all correlations are one, so the directions are any")
    x, y = pairs(n)
    a, b = pairs(20, seed=1)
    found = fusion_peers.canonical(x, y, ridge=ridge, count=5)(a, b)
    directions = rcca(x, y, ridge=ridge, n_components=5)
    z = [(v - m) @ w for v, m, w in zip((a, b), directions.means, directions.weights, strict=True)]
    expected = torch.nn.functional.normalize(z[0], dim=1) @ torch.nn.functional.normalize(z[1], dim=1).T
    assert torch.allclose(found, expected, atol=1e-6)


def test_csa_weighs_products_by_the_correlations():
    pytest.importorskip("cca_zoo")
    x, y = pairs(300)
    a, b = pairs(20, seed=1)
    found = fusion_peers.canonical(x, y, ridge=0.5, count=6, weighted=True)(a, b)
    directions = rcca(x, y, ridge=0.5, n_components=6)
    z = [(v - m) @ w for v, m, w in zip((a, b), directions.means, directions.weights, strict=True)]
    lengths = z[0].norm(dim=1)[:, None] * z[1].norm(dim=1)
    assert torch.allclose(found, (z[0] * directions.correlations) @ z[1].T / lengths, atol=1e-6)


def test_procrustes_finds_a_rotation():
    from scipy.linalg import orthogonal_procrustes

    x = torch.randn(100, 7, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    found = fusion_peers.procrustes(x, x @ turn + 5, unit=False)(x, x @ turn + 5)
    assert torch.allclose(found.diagonal(), torch.ones(100, dtype=torch.float64))
    y = torch.randn(100, 7, dtype=torch.float64)
    centred = [v - v.mean(0) for v in (x, y)]
    expected = torch.from_numpy(orthogonal_procrustes(*(v.numpy() for v in centred))[0])
    unit = [torch.nn.functional.normalize(v, dim=1) for v in (centred[0] @ expected, centred[1])]
    assert torch.allclose(fusion_peers.procrustes(x, y, unit=False)(x, y), unit[0] @ unit[1].T)


def test_kernel_coordinates_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x, test = torch.randn(40, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    median = float(torch.pdist(x).square().median())
    reference = decomposition.KernelPCA(10, kernel="rbf", gamma=1 / median).fit(x.numpy())
    found = fusion_peers.kernel_coordinates(x, rank=10)(test)
    assert np.allclose(found.numpy().__abs__(), np.abs(reference.transform(test.numpy())), atol=1e-8)


def test_asif_with_one_anchor_kept_is_the_nearest_neighbour():
    x, y = pairs(30)
    a, b = x[:5], y[:5]
    found = fusion_peers.asif(x, y, power=1.0, share=1.0)(a, b)
    codes = []
    for samples, train in ((a, x), (b, y)):
        unit, anchors = (torch.nn.functional.normalize(v - train.mean(0), dim=1) for v in (samples, train))
        codes.append(torch.nn.functional.normalize((unit @ anchors.T).clamp_min(0), dim=1))
    assert torch.allclose(found, codes[0] @ codes[1].T)
    five = fusion_peers.asif(x, y, power=8.0, share=0.01)(x, y)
    assert (five.argmax(1) == torch.arange(30)).float().mean() > 0.5


def test_peers_choose_on_training_pairs_and_find_partners():
    pytest.importorskip("cca_zoo")
    x, y = pairs(120)
    a, b = pairs(60, seed=1)
    found = fusion_peers.fit_peers(x.float(), y.float())
    assert tuple(found) == fusion_peers.PEERS
    for name, similarity in found.items():
        recall = recall_at_k(fusion_peers.corrected(similarity(a.float(), b.float()))).mean
        assert recall[10] > 3 * 10 / 60, name


def test_the_correction_is_that_of_ours():
    x, y = pairs(80)
    model = SubspaceFusion(method="procrustes").fit([x, y])
    for n in (5, 40):
        a, b = x[:n], y[:n]
        assert torch.equal(fusion_peers.corrected(model.similarity(a, b)), model.similarity(a, b, corrected=True))


# mean average precision


@pytest.mark.parametrize("ties", [False, True])
def test_mean_average_precision_is_that_of_scikit_learn(ties):
    metrics = pytest.importorskip("sklearn.metrics")
    g = torch.Generator().manual_seed(1)
    similarity = torch.randn(30, 50, generator=g, dtype=torch.float64)
    similarity = similarity.round() if ties else similarity
    relevant = torch.rand(30, 50, generator=g) < 0.2
    relevant[:, 0] = True
    expected = np.mean(
        [metrics.average_precision_score(r, s) for r, s in zip(relevant.numpy(), similarity.numpy(), strict=True)]
    )
    assert mean_average_precision(similarity, relevant) == pytest.approx(expected, abs=1e-12)
    assert mean_average_precision(similarity.float(), relevant) == pytest.approx(expected, abs=1e-6)


def test_a_constant_similarity_has_the_share_of_relevant_items():
    relevant = torch.tensor([[True, False, False, True], [True, False, False, False]])
    assert mean_average_precision(torch.zeros(2, 4), relevant) == pytest.approx((0.5 + 0.25) / 2)
    assert mean_average_precision(relevant.float(), relevant) == 1.0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "similarity, relevant, message",
    [
        (torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool), "relevant: expected one entry"),
        (torch.zeros(3), torch.ones(3, dtype=torch.bool), "relevant: expected one entry"),
        (torch.zeros(0, 3), torch.ones(0, 3, dtype=torch.bool), "relevant: expected one entry"),
        (torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]), "none in row 1"),
        (torch.full((2, 2), torch.nan), torch.ones(2, 2, dtype=torch.bool), "similarity"),
        (torch.zeros(2, 2, dtype=torch.long), torch.ones(2, 2, dtype=torch.bool), "similarity"),
    ],
)
def test_bad_input_of_mean_average_precision(similarity, relevant, message):
    with pytest.raises(ValueError, match=message):
        mean_average_precision(similarity, relevant)


def test_splits_are_frozen():
    with pytest.raises(AttributeError):
        Split(torch.arange(2), torch.arange(2)).test = torch.arange(3)

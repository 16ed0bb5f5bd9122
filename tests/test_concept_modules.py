"""Concepts: what is learned from samples, densities against SciPy, set operations as subspaces, and files."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from hyperspectral_geo.fusion.concepts.algebra import compose, difference, intersection, union
from hyperspectral_geo.fusion.concepts.background import Background
from hyperspectral_geo.fusion.concepts.concept_file import load_concepts, save_concepts
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule, concept_module

D = torch.float64


def samples(k: int, n: int, *, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0.5, -0.5, n, dtype=D)
    turn = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=D))[0]
    return (torch.randn(k, n, generator=generator, dtype=D) * scales) @ turn + shift


def learned(name: str, *, p: int, n: int = 12, seed: int = 0) -> ConceptModule:
    return concept_module(samples(p + 4, n, seed=seed), name=name, rank=p)


def turned(concept: ConceptModule, seed: int = 0) -> ConceptModule:
    """The same concept with other signs."""
    signs = torch.randint(0, 2, (concept.rank,), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    return ConceptModule(
        concept.name, concept.mean, concept.basis * signs, concept.eigenvalues, concept.noise, concept.count
    )


def projector(concept: ConceptModule) -> torch.Tensor:
    return concept.basis @ concept.basis.T


def assert_same(a: ConceptModule, b: ConceptModule) -> None:
    """Equal means, noise, spans and covariances; names and counts aside."""
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(projector(a), projector(b), rtol=0, atol=1e-8)
    torch.testing.assert_close(a.covariance(), b.covariance(), rtol=1e-8, atol=1e-9)
    assert a.noise == pytest.approx(b.noise)


pairs = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000)).map(
    lambda t: (learned("a", p=t[0], seed=t[2]), learned("b", p=t[1], seed=t[2] + 1))
)


def test_a_concept_is_the_principal_components_of_its_samples() -> None:
    x = samples(20, 8, seed=0, shift=5.0)
    found = concept_module(x, name="cat")
    reference = PCA().fit(x.numpy())
    np.testing.assert_allclose(found.mean, reference.mean_)
    np.testing.assert_allclose(found.eigenvalues, reference.explained_variance_ * 19 / 20)
    np.testing.assert_allclose(
        projector(concept_module(x, name="cat", rank=3)),
        reference.components_[:3].T @ reference.components_[:3],
        atol=1e-9,
    )
    assert found.spectral_basis().angles(found.spectral_basis()).max() < 1e-7


def test_noise_rank_finds_planted_directions() -> None:
    x = torch.randn(200, 20, generator=torch.Generator().manual_seed(0), dtype=D)
    x[:, :3] *= 6
    assert concept_module(x, name="cat", rank="noise").rank == 3
    background = Background.of(x[:, 3:].repeat(1, 2)[:, :20], shrinkage=1.0)
    assert concept_module(x, name="cat", rank="noise", background=background).rank == 3


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 10.0])
def test_log_density_is_that_of_the_gaussian(spread: float) -> None:
    concept, z = learned("a", p=4, n=7), samples(9, 7, seed=3)
    covariance = concept.noise * np.eye(7) + spread * concept.covariance().numpy()
    wanted = multivariate_normal(concept.mean.numpy(), covariance).logpdf(z.numpy()) + 3.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(concept.log_density(z, spread=spread), wanted)


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("k", "n"), [(40, 6), (5, 9)])
def test_the_background_whitens_its_shrunk_covariance(shrinkage: float, k: int, n: int) -> None:
    x = samples(k, n, seed=0, shift=3.0)
    groups = torch.arange(k) % 2
    background = Background.of(x, groups=groups, shrinkage=shrinkage)
    rest = torch.cat([x[groups == g] - x[groups == g].mean(0) for g in (0, 1)])
    s = rest.T @ rest / k
    shrunk = (1 - shrinkage) * s + shrinkage * s.trace() / n * torch.eye(n, dtype=D)
    w = background.whiten(torch.eye(n, dtype=D) + background.mean)
    torch.testing.assert_close(w, w.T)
    torch.testing.assert_close(w @ shrunk @ w, torch.eye(n, dtype=D), rtol=1e-9, atol=1e-9)
    assert background.fingerprint == Background.of(x, groups=groups, shrinkage=shrinkage).fingerprint
    assert background.fingerprint != Background.of(x, shrinkage=shrinkage).fingerprint


def test_groups_are_told_by_any_numbers_and_one_of_them_is_none() -> None:
    x, groups = samples(12, 4, seed=0), torch.arange(12) % 3
    for others in (7 - groups, groups * 10**12, groups.int()):
        torch.testing.assert_close(Background.of(x, groups=others).whiten(x), Background.of(x, groups=groups).whiten(x))
    one = Background.of(x, groups=torch.full((12,), 5))
    torch.testing.assert_close(one.whiten(x), Background.of(x).whiten(x))


@given(pairs)
def test_union_and_intersection_are_idempotent_and_commute(pair) -> None:
    a, b = pair
    for made in (union(a, a), union(a, turned(a)), intersection(a, a), intersection(a, turned(a)), compose([a, a])):
        assert_same(made, a)
    assert_same(union(a, b), union(turned(b), turned(a)))
    assert_same(intersection(a, b), intersection(turned(b), turned(a)))
    assert_same(difference(a, b), difference(turned(a), turned(b)))
    assert_same(union(a, b, weights=[0.2, 0.8]), union(b, a, weights=[4.0, 1.0]))


@given(pairs)
def test_laws_between_the_operations(pair) -> None:
    a, b = pair
    whole = union(a, b)
    assert whole.rank == a.rank + b.rank
    torch.testing.assert_close(projector(intersection(whole, a)), projector(a), rtol=0, atol=1e-8)
    torch.testing.assert_close(projector(union(whole, a)), projector(whole), rtol=0, atol=1e-8)
    rest = difference(a, b)
    assert (rest.basis.T @ b.basis).abs().sum() < 1e-9
    assert rest.rank + intersection(a, b).rank == a.rank
    assert difference(a, a).rank == difference(a, whole).rank == 0
    assert difference(whole, b).rank == a.rank
    torch.testing.assert_close(projector(union(difference(whole, b), b)), projector(whole), rtol=0, atol=1e-8)


def test_operations_on_axes() -> None:
    e, lambdas = torch.eye(6, dtype=D), torch.tensor([9.0, 4.0, 1.0], dtype=D)
    a = ConceptModule("a", e[0], e[:, :3], lambdas, 1.0, 4)
    b = ConceptModule("b", e[1], e[:, 2:5], lambdas, 3.0, 6)
    assert_same(
        intersection(a, b), ConceptModule("", (e[0] + e[1]) / 2, e[:, 2:3], torch.tensor([3.0], dtype=D), 2.0, 1)
    )
    assert_same(difference(a, b), ConceptModule("", e[0], e[:, :2], lambdas[:2], 1.0, 4))
    torch.testing.assert_close(union(a, b).covariance().diagonal(), torch.tensor([4.5, 2, 5, 2, 0.5, 0], dtype=D))
    assert (union(a, b).name, intersection(a, b).name, difference(a, b).name) == ("a∪b", "a∩b", "a∖b")
    assert union(a, b).count == 10
    nothing = difference(a, a)
    assert (nothing.rank, intersection(a, nothing).rank, difference(a, nothing).rank) == (0, 0, 3)
    assert_same(
        union(a, ConceptModule("n", e[0], nothing.basis, nothing.eigenvalues, 1.0, 4), weights=[1.0, 1e-300]), a
    )
    with pytest.raises(ValueError, match="expected at least one direction"):
        nothing.spectral_basis()


def test_the_threshold_of_sharing_is_a_principal_angle() -> None:
    e = torch.eye(3, dtype=D)
    angle = torch.tensor(0.5, dtype=D)
    tilted = (e[:, 0] * angle.cos() + e[:, 1] * angle.sin())[:, None]
    a, b = (ConceptModule(k, e[0], basis, e[0, :1], 1.0, 2) for k, basis in (("a", e[:, :1]), ("b", tilted)))
    assert a.angles(b).item() == pytest.approx(0.5)
    assert intersection(a, b, threshold=0.87).rank == 1
    assert intersection(a, b, threshold=0.88).rank == 0
    bisector = intersection(a, b).basis[:, 0]
    assert (bisector @ e[0]).abs().acos().item() == pytest.approx(0.25)


@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 99))
def test_composition_by_counts_is_learning_from_all_samples(k: int, m: int, seed: int) -> None:
    background = Background.of(samples(30, 10, seed=7), shrinkage=0.3)
    x, y = samples(k, 10, seed=seed), samples(m, 10, seed=seed + 100, shift=20.0)
    parts = [concept_module(part, name=name, background=background) for part, name in ((x, "x"), (y, "y"))]
    whole = concept_module(torch.cat([x, y]), name="all", background=background)
    assert_same(compose(parts), whole)
    assert compose(parts).count == k + m


def test_files_give_back_every_bit(tmp_path) -> None:
    point = ConceptModule("a point/∖", torch.ones(12, dtype=D), torch.zeros(12, 0), torch.zeros(0), 0.1, 1, "0f")
    concepts = [learned("cat", p=3), learned("dog", p=5, seed=2), point]
    for path in (tmp_path / "animals.safetensors", tmp_path / "animals"):
        save_concepts(path, concepts)
        for saved, found in zip(concepts, load_concepts(path), strict=True):
            assert all(
                torch.equal(getattr(saved, key), getattr(found, key)) for key in ("mean", "basis", "eigenvalues")
            )
            assert (saved.name, saved.noise, saved.count, saved.space) == (
                found.name, found.noise, found.count, found.space
            )  # fmt: skip
    assert len(list((tmp_path / "animals").iterdir())) == 3
    before = (tmp_path / "animals" / "00000.safetensors").read_bytes()
    save_concepts(tmp_path / "animals", concepts)
    assert before == (tmp_path / "animals" / "00000.safetensors").read_bytes()


def test_damaged_files_are_refused(tmp_path) -> None:
    path = tmp_path / "one.safetensors"
    save_concepts(path, [learned("cat", p=3)])
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:50], b"", whole.replace(b"concepts 1", b"concepts 9"), b"\x80\x04" + whole):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="one.safetensors"):
            load_concepts(path)
    for old, new in ((b'\\"count\\": 7', b'\\"count\\":-7'), (b'\\"name\\"', b'\\"nine\\"'), (b"0.basis", b"1.basis")):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ValueError, match="do not fit"):
            load_concepts(path)
    path.write_bytes(whole[:-8] + np.float64(np.nan).tobytes())
    with pytest.raises(ValueError, match="do not fit"):
        load_concepts(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_concepts(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="a folder without"):
        load_concepts(tmp_path / "empty")
    with pytest.raises(ValueError, match="different names"):
        save_concepts(path, [learned("cat", p=3), learned("cat", p=2)])


E = torch.eye(3, dtype=D)
OTHER = ConceptModule("other", torch.zeros(4, dtype=D), torch.eye(4, dtype=D)[:, :1], E[0, :1], 1.0, 2)
AXIS = ConceptModule("axis", E[0], E[:, :1], E[0, :1], 1.0, 2)
SPACED = ConceptModule("spaced", E[0], E[:, :1], E[0, :1], 1.0, 2, "ff")

REFUSALS = {
    "columns not orthonormal": (lambda: ConceptModule("a", E[0], 2 * E[:, :1], E[0, :1], 1.0, 1), "orthonormal"),
    "eigenvalue 0": (lambda: ConceptModule("a", E[0], E[:, :1], E[1, :1], 1.0, 1), "eigenvalues > 0"),
    "ascending": (lambda: ConceptModule("a", E[0], E[:, :2], E[0, :2] + E[2, 1:] * 2, 1.0, 1), "descend"),
    "shapes": (lambda: ConceptModule("a", E[0], E[:2, :1], E[0, :1], 1.0, 1), "expected mean"),
    "noise 0": (lambda: ConceptModule("a", E[0], E[:, :1], E[0, :1], 0.0, 1), "noise variance > 0"),
    "count": (lambda: ConceptModule("a", E[0], E[:, :1], E[0, :1], 1.0, -1), "whole number of samples"),
    "NaN mean": (lambda: ConceptModule("a", E[0] * np.nan, E[:, :1], E[0, :1], 1.0, 1), "finite"),
    "no samples": (lambda: concept_module(E[:0], name="a"), "expected shape"),
    "NaN samples": (lambda: concept_module(E * np.nan, name="a"), "finite"),
    "equal samples": (lambda: concept_module(torch.ones(4, 3), name="a"), "that differ"),
    "rank": (lambda: concept_module(E, name="a", rank=-1), "0 or more"),
    "rank kind": (lambda: concept_module(E, name="a", rank="all"), "'noise' or None"),
    "background's features": (lambda: concept_module(E[:, :2], name="a", background=Background.of(E)), "3 features"),
    "background of one": (lambda: Background.of(E[:1]), "at least 2 samples"),
    "background of equals": (lambda: Background.of(torch.ones(4, 3)), "that vary"),
    "too few groups": (lambda: Background.of(E, groups=torch.arange(2)), "groups: expected 3 whole numbers"),
    "a column of groups": (lambda: Background.of(E, groups=torch.arange(3)[:, None]), "got torch.int64 of (3, 1)"),
    "NaN for groups": (lambda: Background.of(E, groups=torch.full((3,), np.nan)), "3 whole numbers, one for each row"),
    "a list of groups": (lambda: Background.of(E, groups=[0, 1, 0]), "got list; pass a tensor"),
    "a group a sample": (lambda: Background.of(E, groups=torch.arange(3)), "that vary (within groups)"),
    "no shrinkage": (lambda: Background.of(E, shrinkage=0.0), "in (0, 1]"),
    "union of none": (lambda: union(), "one or more"),
    "other dimension": (lambda: union(AXIS, OTHER), "expected 3 coordinates"),
    "other background": (lambda: intersection(AXIS, SPACED), "same background"),
    "no weight": (lambda: union(AXIS, AXIS, weights=[1.0, 0.0]), "numbers > 0"),
    "negative weight": (lambda: compose([AXIS, AXIS], [1.0, -1.0]), "numbers >= 0"),
    "weights too many": (lambda: compose([AXIS], [1.0, 1.0]), "expected 1 numbers"),
    "threshold": (lambda: difference(AXIS, AXIS, threshold=1.0), "a cosine in"),
    "no concept": (lambda: union(AXIS, E), "expected a ConceptModule"),
}  # fmt: skip


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "message"), REFUSALS.values(), ids=REFUSALS)
def test_bad_input_is_refused(call, message: str) -> None:
    import re

    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_eigenvalues_descend_in_all_results() -> None:
    a, b = learned("a", p=4), learned("b", p=4, seed=1)
    for made in (union(a, b), difference(a, b), intersection(union(a, b), a), compose([a, b])):
        assert all(x >= y for x, y in pairwise(made.eigenvalues.tolist()))


def test_a_shorter_list_leaves_no_concept_behind(tmp_path):
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    a, b, c = (concept_module(x[4 * i : 4 * i + 4], name=name) for i, name in enumerate("abc"))
    save_concepts(tmp_path / "some", [a, b, c])
    (tmp_path / "some" / "notes.txt").write_text("mine")
    save_concepts(tmp_path / "some", [b, c])
    assert [concept.name for concept in load_concepts(tmp_path / "some")] == ["b", "c"]
    assert (tmp_path / "some" / "notes.txt").exists()

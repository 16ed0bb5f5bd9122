"""Concepts merged in a common basis and re-weighted: exact where theory is, invariant to how they are written down."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.linalg import orthonormalize
from hyperspectral_geo.merging import ConceptSpace, Fold, merge_concepts, reweight
from hyperspectral_geo.spectral import SpectralBasis, from_activations

N = 12


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def concept(frame: torch.Tensor, name: str = "") -> SpectralBasis:
    return SpectralBasis(frame, torch.ones_like(frame[0]), name)


def concepts(k: int = 3, p: int = 2, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[SpectralBasis]:
    frames = orthonormalize(normal(k, N, p, seed=seed, dtype=dtype))
    return [concept(frame, f"c{i}") for i, frame in enumerate(frames)]


def orthogonal(k: int = 3, p: int = 2, *, dtype: torch.dtype = torch.float64) -> list[SpectralBasis]:
    frame = orthonormalize(normal(N, k * p, seed=5, dtype=dtype))
    return [concept(frame[:, i * p : (i + 1) * p], f"c{i}") for i in range(k)]


# The merge


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_orthogonal_concepts_score_one_hot(dtype: torch.dtype, tolerance: float):
    bases = orthogonal(dtype=dtype)
    space = merge_concepts(bases, dim=6)
    for k, basis in enumerate(bases):
        expected = torch.nn.functional.one_hot(torch.full((7,), k), 3).to(dtype)
        x = normal(7, 2, dtype=dtype) @ basis.basis.mT
        torch.testing.assert_close(space.scores(x), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("k", "p", "dim"), [(3, 2, 6), (3, 2, 4), (4, 3, 12), (2, 1, 2), (5, 2, 3)])
def test_scores_are_the_shares_of_energy_in_the_common_subspace(k: int, p: int, dim: int):
    bases = concepts(k, p)
    space = merge_concepts(bases, dim=dim)
    x = normal(9, N, seed=1)
    projector = space.basis @ space.basis.mT
    for i, basis in enumerate(bases):
        inside = torch.linalg.svd(projector @ basis.basis, full_matrices=False).U
        expected = (x @ projector @ inside).square().sum(1) / (x @ projector).square().sum(1)
        torch.testing.assert_close(space.scores(x)[:, i], expected, rtol=1e-10, atol=1e-12)


def test_common_subspace_is_nearest_to_all_concepts():
    bases = concepts(4, 2)
    space = merge_concepts(bases, dim=3)
    mean = sum(b.basis @ b.basis.mT for b in bases) / 4
    kept = torch.linalg.eigvalsh(mean)[-3:].sum()
    torch.testing.assert_close(torch.trace(space.basis.mT @ mean @ space.basis), kept)
    torch.testing.assert_close(space.basis.mT @ space.basis, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(space.frames, torch.stack([space.basis.mT @ b.basis for b in bases]))
    assert space.names == ("c0", "c1", "c2", "c3")
    assert torch.equal(space.eigenvalues, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("p", [1, 4, N])
def test_one_concept_merged_is_itself(p: int):
    (basis,) = concepts(1, p)
    space = merge_concepts([basis], dim=p)
    projector = basis.basis @ basis.basis.mT
    assert float((space.basis @ space.basis.mT - projector).abs().max()) <= 1e-12
    assert float((space.scores(normal(5, N)) - 1).abs().max()) <= 1e-12


def test_copies_of_one_concept_merge_to_it():
    (basis,) = concepts(1, 3)
    turned = concept(basis.basis @ orthonormalize(normal(3, 3, seed=3)), "turned")
    space = merge_concepts([basis, turned, basis], dim=3)
    assert float((space.basis @ space.basis.mT - basis.basis @ basis.basis.mT).abs().max()) <= 1e-12


@given(st.integers(0, 10_000), st.sampled_from([3, 4, 6]))
def test_scores_do_not_depend_on_the_basis_chosen_within_a_concept(seed: int, dim: int):
    bases = concepts(seed=seed)
    turned = [concept(b.basis @ orthonormalize(normal(2, 2, seed=seed + i))) for i, b in enumerate(bases)]
    x = normal(5, N, seed=seed + 1)
    one, other = merge_concepts(bases, dim=dim), merge_concepts(turned, dim=dim)
    torch.testing.assert_close(other.scores(x), one.scores(x), rtol=1e-7, atol=1e-8)


@given(st.permutations(range(4)), st.sampled_from([3, 5, 8]))
def test_scores_follow_the_order_of_the_concepts(order: list[int], dim: int):
    bases, x = concepts(4), normal(5, N, seed=1)
    one, other = merge_concepts(bases, dim=dim), merge_concepts([bases[i] for i in order], dim=dim)
    assert other.names == tuple(one.names[i] for i in order)
    torch.testing.assert_close(other.scores(x), one.scores(x)[:, order], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("factor", [-1.0, 1e-3, 1e-200, 1e200])
def test_scores_depend_on_the_direction_of_a_vector_only(factor: float):
    space, x = merge_concepts(concepts(), dim=4), normal(5, N, seed=1)
    torch.testing.assert_close(space.scores(factor * x), space.scores(x))


def test_scores_lie_between_zero_and_one_and_are_zero_for_zero():
    space = merge_concepts(concepts(), dim=4).with_eigenvalues(torch.tensor([1e-9, 1.0, 7.0, 1e9]).double())
    found = space.scores(torch.cat([normal(50, N), torch.zeros(1, N, dtype=torch.float64)]))
    assert bool(((found >= 0) & (found <= 1 + 1e-12)).all())
    assert found[-1].tolist() == [0, 0, 0]
    assert tuple(space.scores(torch.zeros(0, N, dtype=torch.float64)).shape) == (0, 3)


def test_equal_eigenvalues_are_no_eigenvalues():
    space, x = merge_concepts(concepts(), dim=4), normal(5, N, seed=1)
    again = space.with_eigenvalues(torch.ones(4, dtype=torch.float64))
    assert torch.equal(again.scores(x), space.scores(x))
    torch.testing.assert_close(space.with_eigenvalues(3 * space.eigenvalues).scores(x), space.scores(x))


def test_a_direction_of_little_weight_is_as_good_as_gone():
    bases, x = concepts(), normal(5, N, seed=1)
    space = merge_concepts(bases, dim=4)
    eigenvalues = torch.tensor([1, 1, 1, 1e-8], dtype=torch.float64)
    without = ConceptSpace(space.basis[:, :3], space.eigenvalues[:3], space.frames[:, :3], space.names)
    torch.testing.assert_close(space.with_eigenvalues(eigenvalues).scores(x), without.scores(x), rtol=1e-6, atol=1e-7)


# Eigenvalues after the merge

SIGNAL, NOISE, K = 4, 8, 4


def noisy_problem(seed: int, *, noise: float) -> tuple[ConceptSpace, list[Fold], torch.Tensor, torch.Tensor]:
    """Concepts that differ in four directions and share eight of pure noise, of variance ``noise``."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.linalg.qr(torch.randn(K, SIGNAL, 2, generator=generator, dtype=torch.float64))[0]

    def draw(each: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.arange(K).repeat_interleave(each)
        signal = (mixing[y] @ torch.randn(len(y), 2, 1, generator=generator, dtype=torch.float64))[..., 0]
        rest = noise**0.5 * torch.randn(len(y), NOISE, generator=generator, dtype=torch.float64)
        return torch.cat([signal, rest], 1), y

    def extract(x: torch.Tensor, y: torch.Tensor) -> list[SpectralBasis]:
        return [from_activations(x[y == k], rank=4, centre=False, name=str(k)) for k in range(K)]

    x, y = draw(60)
    fold = torch.arange(len(y)) % 3
    folds = [Fold(x[fold == f], y[fold == f], extract(x[fold != f], y[fold != f])) for f in range(3)]
    return merge_concepts(extract(x, y), dim=SIGNAL + NOISE), folds, *draw(400)


def accuracy(space: ConceptSpace, x: torch.Tensor, y: torch.Tensor) -> float:
    return (space.scores(x).argmax(1) == y).double().mean().item()


def test_noise_is_turned_down_and_held_out_accuracy_rises():
    gains = []
    for seed in range(4):
        space, folds, x, y = noisy_problem(seed, noise=0.1)
        weighted = reweight(space, folds)
        gains.append(accuracy(weighted, x, y) - accuracy(space, x, y))
        # How much of each direction of the common basis is signal decides on its eigenvalue.
        signal = space.basis[:SIGNAL].square().sum(0)
        assert float(torch.corrcoef(torch.stack([signal, weighted.eigenvalues.log()]))[0, 1]) > 0.5
    assert min(gains) > 0.05, gains


@pytest.mark.parametrize("noise", [1e-6, 0.01, 1.5])
def test_where_little_can_be_gained_held_out_accuracy_does_not_fall(noise: float):
    changes = []
    for seed in range(3):
        space, folds, x, y = noisy_problem(seed, noise=noise)
        changes.append(accuracy(reweight(space, folds), x, y) - accuracy(space, x, y))
    # 1,600 held-out vectors: three standard errors of a difference are about 0.03
    assert sum(changes) / len(changes) > -0.03, changes


def test_reweighting_is_deterministic_and_changes_only_the_eigenvalues():
    space, folds, *_ = noisy_problem(0, noise=1.0)
    before, state = space.eigenvalues.clone(), torch.get_rng_state()
    first = reweight(space, folds, steps=15)
    torch.manual_seed(9)
    second = reweight(space, folds, steps=15)
    assert torch.equal(first.eigenvalues, second.eigenvalues)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(space.eigenvalues, before)
    assert torch.equal(first.basis, space.basis)
    assert torch.equal(first.frames, space.frames)
    assert not first.eigenvalues.requires_grad
    assert float(first.eigenvalues.log().mean()) == pytest.approx(0, abs=1e-12)
    assert bool((first.eigenvalues > 0).all())


def test_order_of_folds_and_turns_within_concepts_do_not_count():
    space, folds, *_ = noisy_problem(0, noise=1.0)
    q = orthonormalize(normal(4, 4))
    turned = [Fold(f.x, f.labels, [concept(b.basis @ q) for b in f.bases]) for f in reversed(folds)]
    found, expected = reweight(space, turned, steps=15), reweight(space, folds, steps=15)
    torch.testing.assert_close(found.eigenvalues, expected.eigenvalues, rtol=1e-6, atol=0)


def test_no_steps_or_a_large_penalty_keep_the_merge():
    space, folds, *_ = noisy_problem(0, noise=1.0)
    assert torch.equal(reweight(space, folds, steps=0).eigenvalues, space.eigenvalues)
    kept = reweight(space, folds, penalty=1e6, learning_rate=1e-3).eigenvalues
    torch.testing.assert_close(kept, space.eigenvalues, rtol=0, atol=0.01)


def test_one_concept_alone_has_nothing_to_tell_apart():
    basis = concepts(1, 3)
    space = merge_concepts(basis, dim=3)
    fold = Fold(normal(6, N), torch.zeros(6, dtype=torch.long), basis)
    torch.testing.assert_close(reweight(space, [fold]).eigenvalues, space.eigenvalues)


# What is refused

F32 = torch.float32
BASES = {
    "none": (lambda: ([], 1), "bases: expected at least one concept"),
    "numbers": (lambda: ([1, 2], 1), "bases: expected SpectralBasis, got int"),
    "tensors": (lambda: ([torch.eye(3, 1)], 1), "bases: expected SpectralBasis, got Tensor"),
    "one alone": (lambda: (concepts(1)[0], 2), "bases: expected a list of SpectralBasis, got SpectralBasis"),
    "differing p": (lambda: ([*concepts(1, 2), *concepts(1, 3)], 4), "bases: expected equal shapes"),
    "differing n": (lambda: ([*concepts(1, 2), concept(torch.eye(7, 2).double())], 3), "bases: expected equal shapes"),
    "differing dtypes": (lambda: ([*concepts(1), *concepts(1, dtype=F32)], 3), "bases.1.: expected dtype"),
    "dim below p": (lambda: (concepts(), 1), "dim: expected at least p = 2"),
    "dim above the sum": (lambda: (concepts(), 7), "dim: expected a whole number from 1 to 6"),
    "dim above n": (lambda: (concepts(9, 2), 13), "dim: expected a whole number from 1 to 12"),
    "dim a float": (lambda: (concepts(), 3.0), "dim: expected a whole number"),
    "dim a text": (lambda: (concepts(), "3"), "dim: expected a whole number"),
    "dim too small to keep all": (
        lambda: ([*2 * orthogonal()[:1], orthogonal()[1]], 2),
        "dim: expected .+ keep its rank.+ raise dim",
    ),
}


@pytest.mark.parametrize(("made", "said"), BASES.values(), ids=BASES)
def test_bad_bases_are_refused(made, said: str, unchecked):
    bases, dim = made()
    with pytest.raises(ValueError, match=said):
        merge_concepts(bases, dim=dim)


VECTORS = {
    "length": (normal(4, N - 1), "x: expected shape .m, 12."),
    "one vector": (normal(N), "x: expected shape .m, 12."),
    "batched": (normal(2, 4, N), "x: expected shape .m, 12."),
    "dtype": (normal(4, N, dtype=F32), "x: expected dtype"),
    "integers": (torch.ones(4, N, dtype=torch.long), "x: expected a real floating-point"),
    "NaN": (normal(4, N) * math.nan, "x: expected finite"),
    "infinity": (normal(4, N) / 0, "x: expected finite"),
}


@pytest.mark.parametrize(("x", "said"), VECTORS.values(), ids=VECTORS)
def test_bad_vectors_are_refused(x: torch.Tensor, said: str, unchecked):
    space = merge_concepts(concepts(), dim=6)
    with pytest.raises(ValueError, match=said):
        space.scores(x)
    with pytest.raises(ValueError, match=said):
        reweight(space, [Fold(x, torch.zeros(len(x), dtype=torch.long), concepts())])


@pytest.mark.parametrize(
    ("eigenvalues", "said"),
    [
        ([1.0, 1, 1], "expected shape .4,.* got .3,."),
        ([1.0, 1, 1, 0], "> 0, got 0"),
        ([1.0, 1, 1, -2], "> 0, got -2"),
        ([1.0, 1, 1, math.nan], "finite"),
        ([1.0, 1, 1, math.inf], "finite"),
    ],
)
def test_bad_eigenvalues_are_refused(eigenvalues: list[float], said: str, unchecked):
    space = merge_concepts(concepts(), dim=4)
    with pytest.raises(ValueError, match=said):
        space.with_eigenvalues(torch.tensor(eigenvalues, dtype=torch.float64))
    with pytest.raises(ValueError, match="dtype"):
        space.with_eigenvalues(torch.ones(4))


X, Y = normal(6, N), torch.arange(6) % 3
FOLDS = {
    "none": (lambda: [], "at least one"),
    "without vectors": (lambda: [Fold(X[:0], Y[:0], concepts())], "at least one vector"),
    "too few bases": (lambda: [Fold(X, Y, concepts(2))], "3 bases a fold"),
    "bases of another rank": (lambda: [Fold(X, Y, concepts(3, 1))], "bases of shape"),
    "bases of mixed rank": (lambda: [Fold(X, Y, [*concepts(2), *concepts(1, 1)])], "bases of shape"),
    "too few labels": (lambda: [Fold(X, Y[:5], concepts())], "a label from 0 to 2 for each of the 6"),
    "labels of another concept": (lambda: [Fold(X, Y + 1, concepts())], "a label from 0 to 2"),
    "negative labels": (lambda: [Fold(X, Y - 1, concepts())], "a label from 0 to 2"),
    "labels as floats": (lambda: [Fold(X, Y.double(), concepts())], "int64 labels"),
    "labels in a list": (lambda: [Fold(X, [0, 1, 2], concepts())], "int64 labels, got list"),
    "labels elsewhere": (lambda: [Fold(X, Y.to("meta"), concepts())], "labels on cpu like x, got meta"),
    "bases of another dtype": (
        lambda: [Fold(X, Y, concepts(dtype=F32))],
        "bases of torch.float64 on cpu like the space, got torch.float32",
    ),
    "numbers for bases": (lambda: [Fold(X, Y, [1, 2, 3])], "bases: expected SpectralBasis, got int"),
    "labels as int32": (lambda: [Fold(X, Y.int(), concepts())], "int64 labels"),
    "only the last is bad": (lambda: [Fold(X, Y, concepts()), Fold(X, Y[:5], concepts())], "a label from 0 to 2"),
}


@pytest.mark.parametrize(("made", "said"), FOLDS.values(), ids=FOLDS)
def test_bad_folds_are_refused(made, said: str, unchecked):
    with pytest.raises(ValueError, match=f"folds: .*{said}"):
        reweight(merge_concepts(concepts(), dim=6), made())


@pytest.mark.parametrize("given", [{"steps": -1}, {"penalty": -1.0}, {"learning_rate": 0.0}, {"penalty": math.nan}])
def test_bad_arguments_of_reweight_are_refused(given: dict):
    with pytest.raises(ValueError, match="steps, penalty, learning_rate"):
        reweight(merge_concepts(concepts(), dim=6), [Fold(X, Y, concepts())], **given)

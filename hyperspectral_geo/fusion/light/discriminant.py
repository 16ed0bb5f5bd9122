"""Discriminants of labelled rows: solved in the whitened eigenbasis, tuned on held-out folds, judged by shuffling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_count

__all__ = [
    "ClassMoments",
    "Discriminant",
    "Rule",
    "choose",
    "class_moments",
    "continued",
    "noise_edge",
    "solve",
]

_SCALES = tuple(2.0**power for power in range(-2, 4))
_CENTROIDS = ((0.0, False), (1.0, False), (1.0, True))  # h, and whether they are of equal length
_TEMPERATURES = tuple(2.0 ** (power / 2) for power in range(-2, 19))
_SHUFFLES = 20


class ClassMoments(NamedTuple):
    """Means and within-class covariance of labelled rows, in the covariance's eigenbasis."""

    mean: Tensor
    axes: Tensor  # (d, r), orthonormal
    variances: Tensor  # (r,), within the classes
    offsets: Tensor  # (C, r), class means minus the mean
    shares: Tensor  # (C,), of the rows
    spread: float  # mean variance within: the unit of ridges


class Discriminant(NamedTuple):
    """Directions (r, k) in that eigenbasis that make the regularised covariance the identity, best first."""

    directions: Tensor
    eigenvalues: Tensor
    centroids: Tensor

    def drawn_in(self, pull: float) -> Discriminant:
        """With centroids multiplied by μ/(μ + pull)."""
        factors = torch.where(self.eigenvalues > 0, self.eigenvalues / (self.eigenvalues + pull), 0.0)
        return self._replace(centroids=self.centroids * factors)

    def levelled(self) -> Discriminant:
        """With centroids scaled to the root mean square of their lengths; one of length 0 stays."""
        lengths = self.centroids.norm(dim=1, keepdim=True)
        mean = lengths[lengths > 0].square().mean().sqrt()
        return self._replace(centroids=torch.where(lengths > 0, self.centroids * (mean / lengths), 0.0))

    def scaled(self, factor: float) -> Discriminant:
        """With squared distances multiplied by ``factor``."""
        return self._replace(directions=self.directions * factor**0.5, centroids=self.centroids * factor**0.5)


def class_moments(rows: Tensor, labels: Tensor, count: int) -> ClassMoments:
    """Of rows (n, d) whose classes are numbered below ``count``; a class without rows has offset and share 0."""
    sizes = torch.bincount(labels, minlength=count).to(rows.dtype)
    mean = rows.mean(0)
    centred = rows - mean
    offsets = centred.new_zeros(count, rows.shape[1]).index_add_(0, labels, centred) / sizes.clamp_min(1)[:, None]
    centred -= offsets[labels]
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
    variances = variances.clamp_min(0)
    # Where nothing varies within the classes, as in a fold of one row a class, rounding sets the unit.
    floor = 1e-12 * float(centred.square().sum() + offsets.square().sum()) / centred.numel()
    spread = float(variances.sum()) / max(1, min(len(rows) - 1, rows.shape[1])) + floor
    return ClassMoments(mean, axes, variances, offsets @ axes, sizes / len(rows), spread)


def solve(found: ClassMoments, ridge: float) -> Discriminant:
    """Singular vectors of the weighted class means, whitened."""
    whitening = (found.variances + ridge * found.spread).rsqrt()
    means = found.offsets * whitening
    singular, frame = torch.linalg.svd(found.shares.sqrt()[:, None] * means, full_matrices=False)[1:]
    kept = min(len(means) - 1, len(singular))  # the offsets add up to 0
    frame = frame[:kept].T
    return Discriminant(whitening[:, None] * frame, singular[:kept].square(), means @ frame)


class Rule(NamedTuple):
    """Settings of a rule: λ, h, whether centroids are of equal length, τ and T."""

    ridge: float
    pull: float
    level: bool
    scale: float
    temperature: float


class _Candidate(NamedTuple):
    """A rule without its temperature, and what it says of the rows that are held out."""

    rule: Rule
    logits: Tensor
    right: Tensor

    @property
    def hits(self) -> int:
        """How many rows it gets right."""
        return int(self.right.sum())

    def clearly_below(self, best: _Candidate) -> bool:
        """By one standard error of the difference, for which only rows count on which one of the two is right."""
        return best.hits - self.hits > float((best.right ^ self.right).sum()) ** 0.5

    def losses(self, own: Tensor) -> dict[float, float]:
        """Log-loss by temperature."""
        return {t: float(torch.nn.functional.cross_entropy(self.logits / t, own)) for t in _TEMPERATURES}


def choose(
    rows: Tensor, labels: Tensor, count: int, ridges: Sequence[float], folds: int, generator: torch.Generator
) -> Rule:
    """The least log-loss in held-out folds among the rules that are not clearly below the most right answers.

    Right answers are what is asked for, but of few rows they are few, and say less than the loss.
    """
    judged = _held_out(rows, labels, count, sorted(ridges), folds, generator)
    candidates = []
    own = labels[:0]
    for (ridge, pull, level), parts in judged.items():
        scores, priors, own = (torch.cat(part) for part in zip(*parts, strict=True))
        for scale in _SCALES:
            logits = scale * scores + priors
            candidates.append(_Candidate(Rule(ridge, pull, level, scale, 1.0), logits, logits.argmax(1) == own))
    if not len(own):  # no class is left in any fold without the rows that are held out
        return Rule(max(ridges), 1.0, False, 1.0, 1.0)
    best = max(candidates, key=lambda one: one.hits)
    losses = [(one.rule, one.losses(own)) for one in candidates if not one.clearly_below(best)]
    rule, by_temperature = min(losses, key=lambda one: min(one[1].values()))
    return rule._replace(temperature=min(by_temperature, key=by_temperature.__getitem__))


def _held_out(
    rows: Tensor, labels: Tensor, count: int, ridges: Sequence[float], folds: int, generator: torch.Generator
) -> dict[tuple[float, float, bool], list[tuple[Tensor, Tensor, Tensor]]]:
    """For each λ, h and kind of centroids, and each fold: scores of the rows left out, log-shares, right answers."""
    order = torch.randperm(len(rows), generator=generator)
    order = order[labels[order].argsort(stable=True)]  # class after class, dealt to the folds in turn
    judged: dict[tuple[float, float, bool], list[tuple[Tensor, Tensor, Tensor]]] = {}
    for fold in range(min(folds, len(rows))):
        kept = torch.ones(len(rows), dtype=torch.bool)
        kept[order[fold::folds]] = False
        found = class_moments(rows[kept], labels[kept], count)
        held = ~kept & (found.shares[labels] > 0)
        coordinates = (rows[held] - found.mean) @ found.axes
        priors = found.shares.log().expand(len(coordinates), -1)
        for ridge in ridges:
            discriminant = solve(found, ridge)
            z = coordinates @ discriminant.directions
            for pull, level in _CENTROIDS:
                drawn = discriminant.drawn_in(pull)
                centroids = (drawn.levelled() if level else drawn).centroids
                part = z @ centroids.T - centroids.square().sum(1) / 2, priors, labels[held]
                judged.setdefault((ridge, pull, level), []).append(part)
    return judged


def noise_edge(rows: Tensor, labels: Tensor, count: int, ridge: float, generator: torch.Generator) -> float:
    """The largest eigenvalue of 20 shufflings of the labels.

    In the metric of the total covariance, which no shuffling changes, an eigenvalue is ρ = μ/(1 + μ).
    """
    covariance = rows.T @ rows / len(rows)
    rounding = len(covariance) * torch.finfo(rows.dtype).eps * float(covariance.trace())
    covariance.diagonal().add_(max(ridge, rounding))  # repeated rows and a ridge below rounding have no factor
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), rows.T, upper=False).T
    sizes = torch.bincount(labels, minlength=count)
    weights = (sizes * len(rows)).double().rsqrt()[:, None]
    largest = 0.0
    for _ in range(_SHUFFLES):
        shuffled = labels[torch.randperm(len(labels), generator=generator)]
        sums = white.new_zeros(count, white.shape[1]).index_add_(0, shuffled, white) * weights
        largest = max(largest, float(torch.linalg.eigvalsh(sums @ sums.T)[-1]))
    return largest / max(1 - largest, 1e-12)


def continued(found: ClassMoments, discriminant: Discriminant, ridge: float, components: int) -> Discriminant:
    """The first directions, or all of them and then those of the largest variance within classes.

    Raises:
        ValueError: for more components than these.
    """
    check_count("n_components", components)
    first = discriminant.directions.shape[1]
    if components > first:
        whitening = (found.variances + ridge * found.spread).rsqrt()
        # in the complement of the discriminants, where nothing repeats them
        outside = torch.linalg.svd(discriminant.directions / whitening[:, None]).U[:, first:]
        within = outside.T @ ((found.variances * whitening.square())[:, None] * outside)
        variances, axes = torch.linalg.eigh(within)
        possible = first + int((variances > 1e-9).sum())  # of at most 1
        if components > possible:
            raise ValueError(
                f"n_components: expected at most {possible}, as many as tell classes apart or vary within them, got "
                f"{components}"
            )
        rest = outside @ axes.flip(1)[:, : components - first]
        zeros = torch.zeros(len(discriminant.centroids), components - first, dtype=rest.dtype)
        discriminant = Discriminant(
            torch.cat([discriminant.directions, whitening[:, None] * rest], 1),
            torch.cat([discriminant.eigenvalues, zeros[0]]),
            torch.cat([discriminant.centroids, zeros], 1),
        )
    return Discriminant(*(part[..., :components] for part in discriminant))

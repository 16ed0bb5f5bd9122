"""Two or more modalities in one common space, fitted on paired features and judged by retrieval."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.anchor_space import anchor_space
from hyperspectral_geo.fusion.choice import Candidate, Choice, lifted_candidates
from hyperspectral_geo.fusion.estimator import Estimator
from hyperspectral_geo.fusion.explanation import Explanation, explanation
from hyperspectral_geo.fusion.fitting import Fitted, Progress, fit_space, with_decoders
from hyperspectral_geo.fusion.fusion_parameters import require_parameters
from hyperspectral_geo.fusion.joint_space import JointSpace
from hyperspectral_geo.fusion.presets import PRESETS, Preset
from hyperspectral_geo.fusion.retrieval import csls, recall_at_k
from hyperspectral_geo.fusion.shared_evidence import SharedEvidence
from hyperspectral_geo.fusion.streaming import streamed_candidate
from hyperspectral_geo.fusion.views import as_samples, as_views, require_pairs

__all__ = ["NothingShared", "SubspaceFusion"]

_NEIGHBOURS = 10  # of the correction for hubs


class NothingShared(UserWarning):
    """The views of ``fit`` agree no more than shuffled ones; the joint space has no directions."""


class SubspaceFusion(Estimator):
    """Common space of two or more modalities: joint directions of their subspaces, with learned eigenvalues.

    The views are lifted (linearly, or by similarities to anchors), whitened with a ridge, and joined in the directions
    in which they agree (see ``join``); each direction is weighed by a function of its correlation, which starts at ρ^p
    and leaves it only where held-out pairs say so (see ``learn_filter``). Lift, ridges, p and the function are chosen
    by cross-fitting on the pairs of ``fit`` alone. Samples of any view then become unit vectors whose inner product is
    their similarity. Other methods of the same machinery have names, see ``PRESETS``.

    Args:
        n_components: directions to keep; ``None`` keeps all that there are. ``"asif"``, whose coordinates are the
            training pairs, takes none.
        method: ``"spectral"``, ``"linear"``, ``"kernel"``, ``"rcca"``, ``"gcca"``, ``"csa"``, ``"cca"``, ``"pls"``,
            ``"procrustes"`` or ``"asif"``.
        ridge: in units of a view's mean variance, for all views; ``None`` chooses it.
        folds: of the cross-fitting; at least two pairs go in each, so few pairs mean fewer folds.
        significance: the joint space is empty, with a ``NothingShared`` warning, if shuffled rows agree as well as the
            true ones with a greater probability than this, 0.0001 at least; 1.0 keeps it whatever the test says, and
            ``None`` does without the test, which leaves nothing to ``explain`` and counts all directions as shared.
        rank: directions of a kernel lift.
        seed: of folds and permutations.

    Attributes:
        space_: what was fitted, a ``JointSpace``.
        choice_: the settings that were tried, with their scores, or ``None`` for ``"asif"``.
        evidence_: held-out correlations and the permutation test, or ``None`` for ``"asif"`` and where none was asked
            for.

    References:
        Hotelling 1936; Björck and Golub 1973; Kettenring 1971; Vinod 1976; Li, Ravi, Johnson and Wang, "CSA:
        Data-efficient mapping of unimodal features to multimodal features", 2024, arXiv:2410.07610; Norelli et al.,
        "ASIF", 2023, arXiv:2210.01738.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> meaning = torch.randn(300, 4)
        >>> image, text = meaning @ torch.randn(4, 30), meaning @ torch.randn(4, 20)
        >>> fusion = SubspaceFusion().fit([image[:200], text[:200]])
        >>> fusion.score([image[200:], text[200:]])
        {'R@1': 1.0, 'R@5': 1.0, 'R@10': 1.0, 'chance': 0.01}
    """

    space_: JointSpace
    choice_: Choice | None
    evidence_: SharedEvidence | None

    def __init__(
        self,
        n_components: int | None = None,
        *,
        method: str = "spectral",
        ridge: float | None = None,
        folds: int = 5,
        significance: float | None = 0.01,
        rank: int = 1000,
        seed: int = 0,
    ) -> None:
        self.n_components, self.method, self.ridge, self.folds = n_components, method, ridge, folds
        self.significance, self.rank, self.seed = significance, rank, seed

    def fit(self, views: Sequence[Any], y: None = None, *, progress: Progress = None) -> SubspaceFusion:
        """Fit on views whose rows i belong together.

        Args:
            views: two or more arrays or tensors (n, d_v); a view may be a tuple of blocks of features. A row that is
                NaN throughout is missing in that view; whether it still counts in the others, or only whole rows do,
                is chosen with the rest (where nothing is chosen, it counts).
            y: ignored.
            progress: called with how many of how many settings are done.

        Raises:
            ValueError: for bad parameters, fewer than two views, fewer than four complete rows, unequal lengths, views
                that do not vary, NaN or infinity.
        """
        require_parameters(self)
        given = as_views(views)
        pairs = int(given.complete.sum())
        require_pairs(pairs)
        preset = self._preset()
        if preset.anchors:
            self.space_ = anchor_space(given, folds=self.folds, seed=self.seed)
            self.choice_ = self.evidence_ = None
            return self
        folds = 0 if preset.fixed and self.significance is None else max(2, min(self.folds, pairs // 2))
        unpaired = (True,) if preset.fixed or pairs == len(given.complete) else (True, False)
        candidates = lifted_candidates(
            given, preset.gammas, unpaired=unpaired, folds=folds, seed=self.seed, rank=self.rank
        )
        lifts = len(unpaired) * len(preset.gammas)
        fitted = self._fitted(candidates, given.blocks, preset, progress, lifts=lifts)
        space = fitted.space if fitted.space.decoders else with_decoders(fitted.space, given)
        return self._keep(replace(fitted, space=space))

    def fit_batches(self, batches: Iterable[Sequence[Any]], *, progress: Progress = None) -> SubspaceFusion:
        """Fit on views that come in batches, in one pass and constant memory; lifts are linear.

        Rows that lack a view count in the others; only whole rows are held out. A batch may lack a view throughout.

        Args:
            batches: each as ``fit`` takes its views. Rows should come in no order that has to do with what they are.
            progress: as for ``fit``.

        Raises:
            ValueError: as ``fit``; for a method that lifts by anchors alone.
        """
        require_parameters(self)
        preset = self._preset()
        if None not in preset.gammas or preset.anchors:
            raise ValueError(f"method: expected one with linear lifts for batches, got {self.method!r}; pass 'linear'")
        candidate, blocks = streamed_candidate(batches, folds=self.folds)
        return self._keep(self._fitted([candidate], blocks, replace(preset, gammas=(None,)), progress))

    def encode(self, view: int, x: Any) -> Float[Tensor, "n k"]:
        """Unit vectors of samples of one view; inner products with those of another are similarities."""
        space = self._space(view)
        return space.encode(view, as_samples(f"view {view}", x, blocks=space.blocks[view]))

    def transform(self, views: Sequence[Any]) -> list[Float[Tensor, "_ k"]]:
        """Unit vectors of every view; they need not be paired here."""
        self.require_fitted()
        self._require_views(views)
        return [self.encode(view, x) for view, x in enumerate(views)]

    def fit_transform(self, views: Sequence[Any], y: None = None) -> list[Float[Tensor, "_ k"]]:
        """``fit``, then ``transform`` of the same views; rows must be whole."""
        return self.fit(views).transform(views)

    def fuse(self, views: Sequence[Any]) -> Float[Tensor, "n k"]:
        """One unit vector a row: the mean over the views that it has; NaN rows are missing, even all of a view."""
        self.require_fitted()
        self._require_views(views)
        given = as_views(views, lacking=True)
        total = torch.zeros(len(given.rows[0]), len(self.space_), dtype=torch.float64)
        for view, (rows, mask) in enumerate(zip(given.rows, given.present, strict=True)):
            found = self.encode(view, rows)
            total += found if mask is None else found * mask[:, None]
        return torch.nn.functional.normalize(total, dim=1)

    def similarity(
        self, x: Any, y: Any, *, views: tuple[int, int] = (0, 1), corrected: bool = False
    ) -> Float[Tensor, "n m"]:
        """Cosines of samples of one view with those of another; ``corrected`` for hubs by ``csls``."""
        found = self.encode(views[0], x) @ self.encode(views[1], y).T
        return csls(found, k=min(_NEIGHBOURS, *found.shape)) if corrected else found

    def score(
        self, views: Sequence[Any], y: None = None, *, ks: Sequence[int] = (1, 5, 10), corrected: bool = False
    ) -> dict[str, float]:
        """Retrieval between paired test rows: R@k as fractions, averaged over directions and pairs of views.

        Ties count against the partner; the chance of R@k is k times that of R@1. ``corrected`` applies ``csls``.
        """
        codes = self.transform(views)
        if len({len(code) for code in codes}) > 1:
            raise ValueError(f"views: expected pairs, got {[len(code) for code in codes]} rows; score needs partners")
        found = []
        for x, y_codes in combinations(codes, 2):
            similarity = x @ y_codes.T
            if corrected:
                similarity = csls(similarity, k=min(_NEIGHBOURS, len(x)))
            found.append(recall_at_k(similarity, ks).mean)
        return {**{f"R@{k}": sum(one[k] for one in found) / len(found) for k in ks}, "chance": 1 / len(codes[0])}

    def convert(self, x: Any, *, source: int = 0, target: int = 1) -> Float[Tensor, "n d"]:
        """Features of view ``target`` that are to be expected beside samples of view ``source``."""
        space = self._space(source)
        self._space(target)
        return space.convert(as_samples(f"view {source}", x, blocks=space.blocks[source]), source, target)

    def novelty(self, view: int, x: Any) -> Float[Tensor, " n"]:
        """Share of a sample outside the subspace that is shared, 0 to 1: high for what the joint space cannot speak of.

        See ``JointSpace.novelty``. ``"asif"`` joins no subspaces and is refused.
        """
        space = self._space(view)
        return space.novelty(view, as_samples(f"view {view}", x, blocks=space.blocks[view]))

    def explain(self) -> Explanation:
        """Directions, their correlations in and out of sample beside chance, angles, and what each view puts in."""
        self.require_fitted()
        if self.choice_ is None or self.evidence_ is None:
            raise ValueError(
                f"explain: expected a fusion that fit has just made and tested, got one from a file, which keeps no "
                f"evidence, one with significance=None, or of a method without directions ({self.method!r}); call fit"
            )
        return explanation(self.space_, self.choice_, self.evidence_)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all; what was tried is not kept."""
        from hyperspectral_geo.fusion.fusion_file import write_fusion

        self.require_fitted()
        return write_fusion(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> SubspaceFusion:
        """Read what ``save`` wrote. Raises ``ValueError`` naming the file and what is wrong with it."""
        from hyperspectral_geo.fusion.fusion_file import read_fusion

        return read_fusion(Path(path))

    def _preset(self) -> Preset:
        preset = PRESETS[self.method]
        return preset if self.ridge is None else replace(preset, ridges=(float(self.ridge),))

    def _fitted(
        self,
        candidates: Iterable[Candidate],
        blocks: tuple[tuple[int, ...], ...],
        preset: Preset,
        progress: Progress,
        *,
        lifts: int = 1,
    ) -> Fitted:
        return fit_space(
            candidates,
            preset,
            blocks,
            lifts=lifts,
            n_components=self.n_components,
            significance=self.significance,
            seed=self.seed,
            progress=progress,
        )

    def _keep(self, fitted: Fitted) -> SubspaceFusion:
        """All of a fit or nothing of it, and then a warning."""
        self.space_, self.choice_, self.evidence_ = fitted.space, fitted.choice, fitted.evidence
        if fitted.evidence is not None and not len(fitted.space):
            warnings.warn(
                f"the views agree no more than shuffled ones (p = {fitted.evidence.p_value:.2g}): the joint space is "
                "empty; pass more pairs, or significance=1.0 to keep it",
                NothingShared,
                stacklevel=3,
            )
        return self

    def _space(self, view: int) -> JointSpace:
        self.require_fitted()
        count = len(self.space_.blocks)
        if isinstance(view, bool) or not isinstance(view, int) or not 0 <= view < count:
            raise ValueError(f"view: expected a whole number from 0 to {count - 1}, got {view!r}")
        return self.space_

    def _require_views(self, views: Sequence[Any]) -> None:
        if isinstance(views, Tensor) or len(views) != len(self.space_.blocks):
            raise ValueError(f"views: expected {len(self.space_.blocks)} as when fitted, got {len(views)}")

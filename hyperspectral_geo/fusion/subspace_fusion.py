"""Two modalities in one common subspace, fitted on paired features and judged by retrieval."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from .alignment import CanonicalDirections, check_count, check_pairs, rcca
from .retrieval import recall_at_k
from .ridge import RidgeChoice, select_ridge

__all__ = ["SubspaceFusion"]


class SubspaceFusion:
    """Common subspace of two modalities: regularised canonical directions, weighted by their correlations.

    ``fit`` computes the principal angles between the column spans of the paired features (see ``rcca``), with the
    ridge chosen by cross-validation on those pairs unless it is given. Samples of either modality then become unit
    vectors whose inner product is the correlation-weighted cosine Σ ρ_i a_i b_i / (‖√ρ a‖ ‖√ρ b‖).

    Args:
        n_components: directions to keep; fewer where the features' rank is smaller.
        ridge: in units of the mean variance, one number or one a view; ``None`` chooses it in ``fit``.
        folds: of the cross-validation; at least two pairs go in each, so few pairs mean fewer folds.
        seed: of the shuffle before the folds.

    Attributes:
        directions: what was fitted, ``CanonicalDirections``; its ``correlations`` are the cosines of the angles.
        ridge_choice: the candidates and their scores, or ``None`` where the ridge was given.

    References:
        Hotelling 1936 and Björck and Golub 1973 for the angles; Li, Ravi, Johnson and Wang, "CSA: Data-efficient
        Mapping of Unimodal Features to Multimodal Features", 2024, arXiv:2410.07610, for the weights.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> meaning = torch.randn(300, 4)
    >>> image, text = meaning @ torch.randn(4, 30), meaning @ torch.randn(4, 20)
    >>> fusion = SubspaceFusion(n_components=4).fit([image[:200], text[:200]])
    >>> fusion.score([image[200:], text[200:]])
    {'R@1': 1.0, 'R@5': 1.0, 'R@10': 1.0, 'chance': 0.01}
    """

    directions: CanonicalDirections
    ridge_choice: RidgeChoice | None

    def __init__(
        self,
        n_components: int = 64,
        *,
        ridge: float | tuple[float, float] | None = None,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        check_count("n_components", n_components)
        check_count("folds", folds)
        self.n_components, self.ridge, self.folds, self.seed = n_components, ridge, folds, seed

    def fit(self, views: Sequence[Tensor]) -> SubspaceFusion:
        """Fit on paired features, shapes (n, dx) and (n, dy); refuses what ``rcca`` and ``select_ridge`` refuse."""
        x, y = _two(views)
        check_pairs(x, y)
        choice, ridge = None, self.ridge
        if ridge is None:
            folds = max(2, min(self.folds, len(x) // 2))
            choice = select_ridge(x, y, n_components=self.n_components, folds=folds, seed=self.seed)
            ridge = choice.ridge
        self.directions = rcca(x, y, ridge=ridge, n_components=self.n_components)
        self.ridge_choice = choice
        return self

    def transform(self, views: Sequence[Tensor]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "m k"]]:
        """Unit vectors of both views in the common subspace; their inner products are the similarity.

        The views need not be paired here. For one modality alone there is ``directions.embed(x, view=0)``.
        """
        x, y = _two(views)
        fitted = self._fitted()
        return fitted.embed(x, view=0), fitted.embed(y, view=1)

    def score(self, views: Sequence[Tensor], *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Retrieval between paired test features: R@k as fractions, averaged over both directions, and chance of R@1.

        Ties count against the partner; the chance of R@k is k times that of R@1.
        """
        x, y = self.transform(views)
        if len(x) != len(y):
            raise ValueError(f"views: expected pairs, got {len(x)} and {len(y)} samples; score needs the true partners")
        recall = recall_at_k(x @ y.T, ks)
        return {**{f"R@{k}": value for k, value in recall.mean.items()}, "chance": 1 / len(x)}

    def _fitted(self) -> CanonicalDirections:
        if not hasattr(self, "directions"):
            raise ValueError("SubspaceFusion: expected a fitted model, got one that is not; call fit first")
        return self.directions


def _two(views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    try:
        x, y = views
    except (TypeError, ValueError):
        got = len(views) if isinstance(views, Sequence) else type(views).__name__
        raise ValueError(f"views: expected two, such as [image_features, text_features], got {got}") from None
    return x, y

"""A task's own subspace of a large model's features: nested directions, any prefix of which classifies."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_count, check_samples

__all__ = ["TaskSubspace"]


@dataclass(frozen=True, eq=False)
class TaskSubspace:
    """Directions in the order in which they tell classes apart, and where the classes lie along them.

    Coordinates of a sample are z = (x − mean)·weights, uncorrelated and of equal spread within the classes, and

        score of class c = (z·M_c − ‖M_c‖²/2 + log π_c) / T,

    the Gaussian rule with one covariance for all classes: linear in x. Cutting z and M to their first k columns
    therefore gives the rule of the first k directions: every prefix is a model, without another fit.

    Attributes:
        mean: (d,).
        weights: (d, k).
        eigenvalues: variance between classes over (regularised) variance within, (k,), descending; 0 where a direction
            only says how members of one class differ.
        centroids: M, (C, k).
        log_priors: log π, (C,).
        temperature: T > 0, at which the scores are log-probabilities; it decides nothing.
        classes: what the C rows stand for.
        noise_edge: the eigenvalue that shuffled labels reach; 0 where there were no labels to shuffle.
        ridge: that the within-class covariance was regularised with, in units of its mean variance.
    """

    mean: Float[Tensor, " d"]
    weights: Float[Tensor, "d k"]
    eigenvalues: Float[Tensor, " k"]
    centroids: Float[Tensor, "C k"]
    log_priors: Float[Tensor, " C"]
    temperature: float
    classes: tuple[Hashable, ...]
    noise_edge: float
    ridge: float

    @property
    def k(self) -> int:
        """How many directions."""
        return self.weights.shape[1]

    @property
    def signal(self) -> int:
        """How many directions lie above the noise edge; they lead."""
        return int((self.eigenvalues > self.noise_edge).sum())

    def prefix(self, k: int) -> TaskSubspace:
        """The model of the first k directions.

        Raises:
            ValueError: for a k below 1 or above the directions that there are.
        """
        check_count("k", k)
        if k > self.k:
            raise ValueError(f"k: expected at most {self.k} directions, got {k}; select more with n_components")
        return replace(
            self, weights=self.weights[:, :k], eigenvalues=self.eigenvalues[:k], centroids=self.centroids[:, :k]
        )

    def coordinates(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """z of each row, in the dtype of the weights."""
        check_samples("x", x)
        if x.shape[1] != len(self.mean):
            raise ValueError(f"x: expected {len(self.mean)} features as when selected, got {x.shape[1]}")
        return (x.to(self.mean) - self.mean) @ self.weights

    def scores(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n C"]:
        """Log-probability of each class, up to a constant a row."""
        weight, bias = self.head()
        return self.coordinates(x) @ weight.T + bias

    def predict(self, x: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Number of the best class of each row, in the order of ``classes``."""
        return self.scores(x).argmax(1)

    def head(self) -> tuple[Float[Tensor, "C k"], Float[Tensor, " C"]]:
        """Weight and bias of a linear layer from coordinates to scores."""
        bias = self.log_priors - self.centroids.square().sum(1) / 2
        return self.centroids / self.temperature, bias / self.temperature

"""How many links a page has that its text gave no reason to expect."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["MissingLinks"]


@dataclass(frozen=True)
class MissingLinks:
    """A negative binomial count: Poisson, with a mean that is itself Gamma of mean α + β s and shape κ.

    s is the number of links that the page is expected to have among the candidates. Pages with many links have many
    that were not expected too; most pages have few, some have hundreds.

    Attributes:
        least: α, from 0.
        share: β, from 0.
        shape: κ > 0.

    Raises:
        ValueError: for other numbers.

    References:
        Hilbe, *Negative Binomial Regression*, 2nd edition, 2011.
    """

    least: float
    share: float
    shape: float

    def __post_init__(self) -> None:
        numbers = (self.least, self.share, self.shape)
        right = all(isinstance(x, int | float) and 0 <= x < math.inf for x in numbers)
        if not right or self.shape == 0:
            raise ValueError(f"missing: expected finite numbers from 0, and a shape above it, got {numbers!r:.60}")

    @classmethod
    def fit(cls, counts: Float[Tensor, " n"], expected: Float[Tensor, " n"]) -> MissingLinks:
        """Most likely α, β, κ for counts of unexpected links beside expected numbers of links."""
        from scipy.optimize import minimize
        from scipy.special import gammaln

        c, s = counts.double().numpy(), expected.double().numpy()

        def surprise(logs: np.ndarray) -> float:
            least, share, shape = np.exp(logs)
            mean = least + share * s
            chance = gammaln(c + shape) - gammaln(shape) - shape * np.log1p(mean / shape) - c * np.log1p(shape / mean)
            return -float(chance.mean())

        start = np.log([0.5 * c.mean() + 1e-2, (0.5 * c.mean() + 1e-3) / max(s.mean(), 1e-3), 0.5])
        found = minimize(surprise, start, method="L-BFGS-B", bounds=[(-9, 9)] * 3)
        least, share, shape = np.exp(found.x).tolist()
        return cls(least, share, shape)

    def log_failure(self, expected: Float[Tensor, " m"], usual: Float[Tensor, " n"]) -> Float[Tensor, "m n"]:
        """log of the probability that none of these links of m pages leads into a share F of all pages:

        −κ log(1 + (α + β s) F/κ).

        >>> MissingLinks(2.0, 0.0, 1e6).log_failure(torch.zeros(1), torch.tensor([0.5])).exp()
        tensor([[0.3679]])
        """
        return torch.log1p((self.least + self.share * expected)[:, None] * usual / self.shape).mul_(-self.shape)

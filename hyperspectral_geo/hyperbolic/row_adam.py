"""Adam for large tables of which a step touches few rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.parameters import Gradient

__all__ = ["RowAdam"]


class RowAdam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) whose rows move, and whose moments fade, only when they have a gradient.

    The cost of a step is that of the rows it touches, not of the table; ``torch.optim.SparseAdam`` is the same but for
    the correction of the first steps, which counts here how often a row itself was met: a concept seen for the first
    time after a thousand steps starts as carefully as at the first.

    Args:
        parameters: tensors by name, changed in place.
        rates: by name, the share of the step length that a tensor takes; 1 where nothing is said.
        betas: how fast the means of gradient and squared gradient fade.
        eps: keeps the quotient finite.

    Example:
        >>> table = torch.zeros(3, 2)
        >>> adam = RowAdam({"z": table})
        >>> adam.step({"z": Gradient(torch.tensor([1]), torch.ones(1, 2))}, rate=0.5)
        >>> table
        tensor([[ 0.0000,  0.0000],
                [-0.5000, -0.5000],
                [ 0.0000,  0.0000]])
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        rates: Mapping[str, float] | None = None,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-10,
    ) -> None:
        self.parameters = dict(parameters)
        self.rates = dict(rates or {})
        self.betas = betas
        self.eps = eps
        self.first = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.met = {name: torch.zeros(p.shape[:1], dtype=torch.int64) for name, p in self.parameters.items()}

    def step(self, gradients: Mapping[str, Gradient], rate: float) -> None:
        """Move by ``rate``; tensors without a gradient stay.

        Raises:
            FloatingPointError: if a parameter would leave the range of its kind of number; it stays.
        """
        for name, (rows, gradient) in gradients.items():
            place = ... if rows is None else rows
            parameter, first, second, met = (part[name] for part in (self.parameters, *self._parts().values()))
            count = met[place] + 1
            by_row = count.to(parameter.dtype).reshape(count.shape + (1,) * (gradient.ndim - count.ndim))
            b1, b2 = self.betas
            mean = first[place] * b1 + gradient * (1 - b1)
            square = second[place] * b2 + gradient.square() * (1 - b2)
            length = (square / (1 - b2**by_row)).sqrt_().add_(self.eps)
            moved = parameter[place] - rate * self.rates.get(name, 1.0) * (mean / (1 - b1**by_row)) / length
            if not bool(moved.isfinite().all()):
                raise FloatingPointError(
                    f"{name}: a step of {rate:g} led beyond {moved.dtype}; lower learning_rate or scale"
                )
            met[place], first[place], second[place], parameter[place] = count, mean, square, moved

    def state(self) -> dict[str, Tensor]:
        """All moments and counts, by names such as ``first.tangents``."""
        return {f"{part}.{name}": t for part, tensors in self._parts().items() for name, t in tensors.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave.

        Raises:
            KeyError: for a missing tensor.
            ValueError: for a tensor of another shape or kind of number.
        """
        for part, tensors in self._parts().items():
            for name, own in tensors.items():
                given = state[f"{part}.{name}"]
                if (given.shape, given.dtype) != (own.shape, own.dtype):
                    raise ValueError(
                        f"{part}.{name}: expected {own.dtype} of shape {tuple(own.shape)}, got {given.dtype} of shape "
                        f"{tuple(given.shape)}"
                    )
                tensors[name] = given.clone()

    def _parts(self) -> dict[str, dict[str, Tensor]]:
        return {"first": self.first, "second": self.second, "met": self.met}

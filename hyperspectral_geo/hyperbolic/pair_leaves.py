"""Distances of pairs as training differentiates them: the rows that a step touches, as leaves of autograd."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.geometry import pairwise_distance, points_from_tangents, rowwise_distance
from hyperspectral_geo.hyperbolic.objective import concept_gradients
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters, summed_rows
from hyperspectral_geo.hyperbolic.readout import Staircase
from hyperspectral_geo.hyperbolic.step_forms import form_scores, quadratic_features, rowwise_form_scores

__all__ = ["PairLeaves"]


class PairLeaves:
    """The rows of a block, or of pairs, as leaves of autograd.

    Args:
        parameters: of the model that is trained; its tables are read, not changed.
        rows: the concepts that are left, (m,).
        columns: the concepts that are reached, (n,); (m,) if paired.
        paired: whether rows and columns correspond; otherwise every row is measured with every column.
    """

    def __init__(
        self, parameters: HopParameters, rows: Int[Tensor, " m"], columns: Int[Tensor, " n"], *, paired: bool
    ) -> None:
        tables = parameters.tables
        self.rows, self.columns, self.paired = rows, columns, paired
        self.leaving = tables["tangents"][rows].requires_grad_()
        self.reached = tables.get("targets", tables["tangents"])[columns].requires_grad_()
        ends = {"outgoing": rows, "incoming": columns}
        self.scalars = {name: tables[name][at].requires_grad_() for name, at in ends.items() if name in tables}
        self.shared = {name: tensor.clone().requires_grad_() for name, tensor in parameters.shared.items()}

    def predicted(self, parameters: HopParameters) -> tuple[Float[Tensor, "*pairs"], Float[Tensor, "*pairs"] | None]:
        """Distances in training's unit, and the logit of the read-out's first step where there is a read-out."""
        if not parameters.read:
            return self._scores(parameters), None
        edges, slopes = self.shared["thresholds"], self.shared["log_slopes"]
        score = self._scores(parameters)
        if "forms" in self.shared:
            logits = Staircase(edges, slopes).logits(score + self._form_scores())
            return 1 + logits.sigmoid().sum(0), logits[0]
        return Staircase(edges, slopes)(score), slopes[0].exp() * (score - edges[0])

    def _scores(self, parameters: HopParameters) -> Float[Tensor, "*pairs"]:
        x, y = (points_from_tangents(z, parameters.geometry) for z in (self.leaving, self.reached))
        distance = (rowwise_distance if self.paired else pairwise_distance)(x, y, parameters.geometry)
        score = self.shared["log_scale"].exp() * distance
        if "outgoing" not in self.scalars:
            return score
        outgoing = self.scalars["outgoing"]
        return score + (outgoing if self.paired else outgoing[:, None]) + self.scalars["incoming"]

    def _form_scores(self) -> Float[Tensor, "k *pairs"]:
        left = quadratic_features(self.leaving, self.scalars["outgoing"])
        right = quadratic_features(self.reached, self.scalars["incoming"])
        return (rowwise_form_scores if self.paired else form_scores)(left, right, self.shared["forms"])

    def gradients(self, parameters: HopParameters) -> dict[str, Gradient]:
        """Those of all tensors that ``predicted`` read, after ``backward``; each row of a table once."""
        assert self.leaving.grad is not None
        assert self.reached.grad is not None
        found = concept_gradients(
            parameters, self.rows, self.columns, tangents=self.leaving.grad, targets=self.reached.grad
        )
        for name, at in (("outgoing", self.rows), ("incoming", self.columns)):
            leaf = self.scalars.get(name)
            if leaf is not None and leaf.grad is not None:
                found[name] = summed_rows(at, leaf.grad)
        return found | {n: Gradient(None, leaf.grad) for n, leaf in self.shared.items() if leaf.grad is not None}

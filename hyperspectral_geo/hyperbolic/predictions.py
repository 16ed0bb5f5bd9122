"""What can be judged: anything that predicts distances from some nodes to all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph

__all__ = ["Predict", "PredictsRows", "predicted_rows", "require_block", "require_names", "rows_at_once"]

_ENTRIES = 1 << 22  # predictions held at once: 32 MB in float64


@runtime_checkable
class PredictsRows(Protocol):
    """A model, or a baseline: predicted distances (m, n) from some nodes, by default from all, to all n nodes."""

    def distances(self, sources: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n"]:
        """Predicted distances of whole rows."""
        ...


Predict = PredictsRows | Callable[[Tensor], Tensor]
"""A model, or a function from node numbers (m,) to predicted distances (m, n)."""


def predicted_rows(predict: Predict, sources: Int[Tensor, " m"], nodes: int) -> Float[Tensor, "m n"]:
    """Predicted distances from ``sources`` to all ``nodes``, float64 on the CPU, without gradients.

    Raises:
        ValueError: if they are not (m, n) real numbers, or one is NaN; infinity is allowed.

    Example:
        >>> predicted_rows(lambda sources: torch.ones(len(sources), 3), torch.tensor([0]), 3)
        tensor([[1., 1., 1.]], dtype=torch.float64)
    """
    with torch.no_grad():
        rows = predict.distances(sources) if isinstance(predict, PredictsRows) else predict(sources)
    if not isinstance(rows, Tensor) or rows.shape != (len(sources), nodes) or rows.is_complex():
        got = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
        raise ValueError(f"predict: expected real predictions of shape {(len(sources), nodes)}, got {got}")
    rows = rows.to("cpu", torch.float64)
    if bool(rows.isnan().any()):
        row, target = rows.isnan().nonzero()[0].tolist()
        raise ValueError(
            f"predict: expected numbers, got NaN from node {int(sources[row])} to node {target}; "
            "a model whose training diverged cannot be judged"
        )
    return rows


def rows_at_once(nodes: int, block: int | None) -> int:
    """Rows to handle at once: ``block`` if it is given, else as many as 32 MB hold in float64."""
    require_block(block)
    return max(1, _ENTRIES // max(nodes, 1)) if block is None else block


def require_block(block: object) -> None:
    """Raise ``ValueError`` unless ``block`` is None or a whole number from 1."""
    if block is not None and (isinstance(block, bool) or not isinstance(block, int) or block < 1):
        raise ValueError(f"block: expected a whole number of rows from 1, or None, got {block!r}")


def require_names(predict: Predict, graph: HopGraph) -> None:
    """Raise ``ValueError`` if ``predict`` has names and they are not those of the graph's nodes, in their order."""
    if getattr(predict, "names", graph.names) != graph.names:
        raise ValueError("model: expected an embedding of the graph's nodes, got other names; fit it on this graph")

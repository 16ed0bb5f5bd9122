"""From a text's vector straight to a page's row: what a sentence encoder knows of hops, learned from known pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.placement_loss import LandmarkHops
from hyperspectral_geo.hyperbolic.text.row_training import trained_weights

__all__ = ["TextHead"]

_RIDGES = tuple(10.0**power for power in range(-3, 4))
_RATE = 1e-3


@dataclass(frozen=True, eq=False)
class TextHead:
    """row = m + A x̃ + B silu(C x̃ + c), x̃ the vector less its mean over known pages, at unit variance overall.

    A is a ridge regression on the rows of known pages, its strength chosen by leave-one-out error: distillation from
    the table. B and C begin at B = 0 and are trained on hops, with drop-out, each time between some pages by this head
    and others by their rows; A stays, since training it too learns the known pages by heart.

    Attributes:
        center: mean of the vectors, (f,).
        weights: ``scale`` () of x̃, ``mean`` (q,), ``linear`` (q, f); once trained also ``hidden`` (w, f), ``bias``
            (w,) and ``out`` (q, w).
    """

    center: Float[Tensor, " f"]
    weights: Mapping[str, Tensor]

    @classmethod
    def distilled(cls, pages: PageRows, vectors: Float[Tensor, "n f"]) -> TextHead:
        """The linear map alone, from vectors of the model's pages in its order.

        Raises:
            ValueError: if their number is another, or they are all the same.
        """
        if len(vectors) != len(pages.model):
            raise ValueError(f"vectors: expected {len(pages.model)}, one a page, got {len(vectors)}")
        center, rows = vectors.mean(0), pages.packed()
        variance = (vectors - center).square().mean()
        if not bool(variance > 1e-12 * vectors.square().mean()):
            raise ValueError(
                "vectors: expected those of the pages to differ, got the same for all; use another encoder"
            )
        scale = variance.rsqrt()
        x, y, mean = ((vectors - center) * scale).double(), rows.double(), rows.mean(0)
        u, s, vt = torch.linalg.svd(x, full_matrices=False)
        kept = s > 1e-9 * s[0]
        u, s, vt = u[:, kept], s[kept], vt[kept]
        projected = u.T @ (y - y.mean(0))
        linear = min((_ridge(u, s, projected, y - y.mean(0), strength * len(x)) for strength in _RIDGES), key=_error)
        return cls(center, {"scale": scale, "mean": mean, "linear": (vt.T @ linear[1]).T.float().contiguous()})

    def trained(
        self,
        pages: PageRows,
        vectors: Float[Tensor, "n f"],
        hops: LandmarkHops,
        *,
        steps: int = 300,
        width: int = 256,
        drop: float = 0.5,
        seed: int = 0,
        progress: Callable[[int, float], None] | None = None,
    ) -> TextHead:
        """The head after training on hop counts among known pages.

        Args:
            pages, vectors: as ``distilled`` took them.
            hops: among these pages.
            steps: of Adam, 64 pages each against 512 others.
            width: of the hidden layer.
            drop: share of the hidden layer that a step leaves out.
            seed: of weights and samples.
            progress: called with (step, loss) every fiftieth step.
        """
        generator = torch.Generator().manual_seed(seed)
        f, q = len(self.center), pages.width
        start = {
            "hidden": torch.randn(width, f, generator=generator) * f**-0.5,
            "bias": torch.zeros(width),
            "out": torch.zeros(q, width),
        }

        def rows(moved: Mapping[str, Tensor], some: Tensor) -> Tensor:
            kept = (torch.rand(len(some), width, generator=generator) >= drop) / (1 - drop)
            return TextHead(self.center, {**self.weights, **moved})._rows(vectors[some], kept)

        found = trained_weights(
            start, rows, pages, hops, steps=steps, rate=_RATE, generator=generator, progress=progress
        )
        return TextHead(self.center, {**self.weights, **found})

    def rows(self, vectors: Float[Tensor, "m f"]) -> Float[Tensor, "m q"]:
        """Rows of pages by their texts' vectors.

        Raises:
            ValueError: for vectors of another dimension.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.center):
            raise ValueError(
                f"vectors: expected {len(self.center)} numbers a text, got shape {tuple(vectors.shape)}; use the "
                "encoder that this was trained with"
            )
        with torch.no_grad():
            return self._rows(vectors)

    def _rows(self, vectors: Tensor, kept: Tensor | None = None) -> Tensor:
        w = self.weights
        x = (vectors - self.center) * w["scale"]
        rows = w["mean"] + x @ w["linear"].T
        if "out" not in w:
            return rows
        hidden = nn.functional.silu(x @ w["hidden"].T + w["bias"])
        return rows + (hidden if kept is None else hidden * kept) @ w["out"].T


def _ridge(u: Tensor, s: Tensor, projected: Tensor, y: Tensor, strength: float) -> tuple[float, Tensor]:
    """Leave-one-out error, and the coefficients in the basis of right singular vectors."""
    shrunk = s.square() / (s.square() + strength)
    leverage = (u.square() * shrunk).sum(1, keepdim=True) + 1 / len(u)
    residual = (y - u @ (shrunk[:, None] * projected)) / (1 - leverage).clamp_min(1e-6)
    scaled = residual.square().mean(0) / y.square().mean(0).clamp_min(1e-12)
    return float(scaled.mean()), (shrunk / s)[:, None] * projected


def _error(found: tuple[float, Tensor]) -> float:
    return found[0]

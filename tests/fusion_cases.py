"""Views with known common factors, shared by the tests of fusion."""

from __future__ import annotations

import torch
from torch import Tensor


def related(n: int, *widths: int, seed: int = 0, factors: int = 3, noise: float = 0.5) -> list[Tensor]:
    """Views of common factors, off centre and with unequal scales."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(n, factors, generator=generator, dtype=torch.float64)
    views = []
    for width in widths:
        mixing = torch.randn(factors, width, generator=generator, dtype=torch.float64)
        own = torch.randn(n, width, generator=generator, dtype=torch.float64)
        views.append((common @ mixing + noise * own) * torch.logspace(0, 1, width, dtype=torch.float64) + 5)
    return views


def unrelated(n: int, *widths: int, seed: int = 0) -> list[Tensor]:
    """Views that share nothing."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, width, generator=generator, dtype=torch.float64) for width in widths]


def part(views: list[Tensor], rows: slice | Tensor) -> list[Tensor]:
    """Some rows of every view."""
    return [view[rows] for view in views]


TRAIN = slice(0, 120)
TEST = slice(120, 160)
VIEWS = related(160, 10, 8, seed=2, noise=0.3)

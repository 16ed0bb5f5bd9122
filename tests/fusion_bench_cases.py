"""Made pairs of views for the tests of fusion's benches."""

from __future__ import annotations

import torch


def pairs(n: int, *, widths=(12, 9), shared=4, noise=0.3, seed=0):
    """Views of one meaning with noise, float64; other seeds are other samples."""
    g = torch.Generator().manual_seed(0)
    maps = [torch.randn(shared, w, generator=g, dtype=torch.float64) for w in widths]
    g = torch.Generator().manual_seed(1 + seed)
    meaning = torch.randn(n, shared, generator=g, dtype=torch.float64)
    return [meaning @ m + noise * torch.randn(n, m.shape[1], generator=g, dtype=torch.float64) + 3 for m in maps]

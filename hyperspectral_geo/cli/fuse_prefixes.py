"""How good the first 1, 2, 4, 8 … dimensions are: of a task's subspace, and of principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from hyperspectral_geo.fusion import TaskSubspace

__all__ = ["accuracies", "fifth", "pca_accuracies", "prefixes"]


def prefixes(k: int) -> list[int]:
    """1, 2, 4, 8 … below k, and k itself.

    >>> prefixes(9)
    [1, 2, 4, 8, 9]
    """
    return [2**power for power in range((k - 1).bit_length())] + [k]


def fifth(labels: Tensor, *, seed: int) -> Tensor:
    """About a fifth of the rows of each class as a mask, drawn at random; two rows of each class always stay.

    >>> import torch
    >>> fifth(torch.tensor([0] * 10 + [1] * 5 + [2] * 2), seed=0)[:10].sum()
    tensor(2)
    """
    import torch

    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]
    sizes = torch.bincount(labels)
    place = torch.arange(len(labels))
    within = place - (sizes.cumsum(0) - sizes)[labels[order]]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[order[(place % 5 == 4) & (within >= 2)]] = True
    return held


def accuracies(task: TaskSubspace, x: Tensor, own: Tensor, sizes: Sequence[int]) -> list[float]:
    """Percentage of rows x (n, d) whose class number ``own`` (n,) the first ``sizes`` directions tell.

    A size beyond what the task has is the task itself.
    """
    return [100 * float((task.prefix(min(k, task.k)).predict(x) == own).double().mean()) for k in sizes]


def pca_accuracies(
    x: Tensor, y: Sequence[str] | Sequence[int], xt: Tensor, own: Tensor, sizes: Sequence[int], *, seed: int
) -> list[float]:
    """As ``accuracies``, of heads fitted in the same way to the leading principal components of x; NaN beyond its rank.

    ``own`` numbers the sorted classes of y.
    """
    from hyperspectral_geo.fusion import select
    from hyperspectral_geo.spectral import from_activations

    principal = from_activations(x)
    assert principal.mean is not None
    found = []
    for k in sizes:
        if k > len(principal.eigenvalues):
            found.append(float("nan"))
            continue
        frame = principal.basis[:, :k]
        small = select((x - principal.mean) @ frame, y, seed=seed)
        found += accuracies(small, (xt - principal.mean) @ frame, own, [k])
    return found

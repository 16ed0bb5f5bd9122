"""Classes that are known by captions alone: samples of one view named by words of another, with nothing fitted."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from hyperspectral_geo.fusion.retrieval import csls
from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion

__all__ = ["ZeroShot", "zero_shot"]

_NEIGHBOURS = 10  # of the correction for hubs


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """What samples are called.

    Attributes:
        classes: c names in the order of the captions.
        similarity: of each sample with each class, (n, c).
    """

    classes: tuple[Hashable, ...]
    similarity: Float[Tensor, "n c"]

    @property
    def numbers(self) -> Int[Tensor, " n"]:
        """Place of the best class of each sample in ``classes``."""
        return self.similarity.argmax(1)

    @property
    def labels(self) -> list[Hashable]:
        """Name of the best class of each sample."""
        return [self.classes[number] for number in self.numbers.tolist()]


def zero_shot(
    fusion: SubspaceFusion,
    x: Any,
    captions: Mapping[Hashable, Any],
    *,
    view: int = 0,
    caption_view: int = 1,
    corrected: bool = False,
) -> ZeroShot:
    """Name samples by the class whose captions are nearest in the joint space.

    A class is the mean of the unit vectors of its captions, c = Σ_j u_j / ‖Σ_j u_j‖, and a sample is of the class with
    the largest cosine. No sample of these classes is needed, neither here nor when ``fusion`` was fitted.

    Args:
        fusion: fitted.
        x: samples of ``view``, as ``encode`` takes them.
        captions: by class, features of one or more captions in ``caption_view``: (m, d), or (d,) for one.
        view: of the samples.
        caption_view: of the captions.
        corrected: whether similarities are corrected for hubs by ``csls``: for many samples of all classes at once.

    Raises:
        ValueError: for fewer than two classes, a class without captions, or what ``encode`` refuses; with the class.

    References:
        Radford et al., "Learning transferable visual models from natural language supervision", 2021, arXiv:2103.00020.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> meaning = torch.randn(200, 4)
        >>> image, text = meaning @ torch.randn(4, 30), meaning @ torch.randn(4, 20)
        >>> fusion = SubspaceFusion(method="rcca").fit([image, text])
        >>> zero_shot(fusion, image[:3], {"first": text[0], "second": text[1], "third": text[2]}).labels
        ['first', 'second', 'third']
    """
    if len(captions) < 2:
        raise ValueError(f"captions: expected two classes or more, got {len(captions)}")
    prototypes = []
    for name, given in captions.items():
        rows = given if isinstance(given, tuple) or getattr(given, "ndim", 2) != 1 else given[None]
        if not isinstance(rows, tuple) and not len(rows):
            raise ValueError(f"captions of class {name!r}: expected one or more, got none")
        try:
            codes = fusion.encode(caption_view, rows)
        except ValueError as error:
            raise ValueError(f"captions of class {name!r}: {error}") from None
        prototypes.append(codes.sum(0))
    similarity = fusion.encode(view, x) @ normalize(torch.stack(prototypes), dim=1).T
    if corrected:
        similarity = csls(similarity, k=min(_NEIGHBOURS, *similarity.shape))
    return ZeroShot(tuple(captions), similarity)

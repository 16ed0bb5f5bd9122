"""The page of ``hsgeo fuse eval``: how well held-out rows find their partners, by how many directions, which not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from hyperspectral_geo.cli.fuse_prefixes import prefixes

if TYPE_CHECKING:
    from torch import Tensor

    from hyperspectral_geo.fusion import SubspaceFusion
    from hyperspectral_geo.plotting import Section

__all__ = ["write_eval_report"]

_KS = (1, 5, 10)
_WORST = 10
_PANELS = 3  # pairs of views in one picture


@dataclass(frozen=True)
class _Pair:
    """Two views by number, and the similarity (n, n) of their rows, partners on the diagonal."""

    first: int
    second: int
    similarity: Tensor


def write_eval_report(
    path: Path, fusion: SubspaceFusion, names: Sequence[str], codes: Sequence[Tensor], *, corrected: bool
) -> None:
    """R@k of each pair of views, R@1 against how many directions are kept, and the rows that are found last."""
    from hyperspectral_geo.fusion import PRESETS
    from hyperspectral_geo.plotting import write_report

    pairs = _pairs(codes, corrected=corrected)
    sections = [_recall(pairs, names, corrected=corrected), _worst(pairs, names)]
    if len(fusion.space_) > 1 and not PRESETS[fusion.method].anchors:
        sections.insert(1, _kept(pairs, names, codes, corrected=corrected))
    write_report(path, title="hsgeo fuse eval", sections=sections)


def _recall(pairs: Sequence[_Pair], names: Sequence[str], *, corrected: bool) -> Section:
    from hyperspectral_geo.fusion import ranks, recall_at_k
    from hyperspectral_geo.plotting import Section, Table

    rows, n = [], len(pairs[0].similarity)
    for pair in pairs:
        found = recall_at_k(pair.similarity, _KS)
        for way, recall, similarity in (
            (_way(names, pair.first, pair.second), found.forward, pair.similarity),
            (_way(names, pair.second, pair.first), found.backward, pair.similarity.T),
        ):
            median = float(ranks(similarity).double().quantile(0.5))
            rows.append((way, *(f"{100 * recall[k]:.1f}" for k in _KS), f"{median:g}"))
    rows.append(("chance", *(f"{100 * min(k / n, 1):.1f}" for k in _KS), f"{(n + 1) / 2:g}"))
    hubs = "corrected for hubs (CSLS)" if corrected else "not corrected for hubs"
    return Section(
        "Retrieval",
        f"How many of {n:,} rows find their partner among the k most similar rows of another view. Similarities are "
        f"{hubs}; ties count against the partner.",
        table=Table(("from → to", *(f"R@{k}, %" for k in _KS), "median rank"), rows),
    )


def _kept(pairs: Sequence[_Pair], names: Sequence[str], codes: Sequence[Tensor], *, corrected: bool) -> Section:
    from hyperspectral_geo.plotting import Section, png_bytes
    from hyperspectral_geo.plotting.dimension_curve import dimension_curve

    sizes = prefixes(codes[0].shape[1])
    found = _recalls(codes, sizes, corrected=corrected)
    n = len(codes[0])
    panels = {}
    for number, pair in enumerate(pairs[:_PANELS]):
        there, back = zip(*(one[number] for one in found), strict=True)
        panels[f"{names[pair.first]} and {names[pair.second]}, {n:,} rows"] = {
            _way(names, pair.first, pair.second): [there],
            _way(names, pair.second, pair.first): [back],
        }
    figure = dimension_curve(
        sizes,
        panels,
        levels={label: {"chance": [100 / n]} for label in panels},
        x="joint directions kept",
        y="R@1 on held-out rows, %",
    )
    text = "Weighted coordinates are cut to the first ones and made of unit length again."
    if len(pairs) > _PANELS:
        text += f" The first {_PANELS} of {len(pairs)} pairs of views."
    return Section(
        "R@1 against joint directions kept",
        text,
        picture=png_bytes(figure, dpi=110),
        alt="Share of rows that find their partner first, against the number of joint directions, in both directions.",
    )


def _worst(pairs: Sequence[_Pair], names: Sequence[str]) -> Section:
    import torch

    from hyperspectral_geo.fusion import ranks
    from hyperspectral_geo.plotting import Section, Table

    ways, columns = [], []
    for pair in pairs:
        ways += [_way(names, pair.first, pair.second), _way(names, pair.second, pair.first)]
        columns += [ranks(pair.similarity), ranks(pair.similarity.T)]
    table = torch.stack(columns, 1)
    last = table.double().mean(1).argsort(descending=True, stable=True)[:_WORST].tolist()
    return Section(
        "Rows that are found last",
        f"The rank of the partner among {len(table):,} rows, 1 being best; rows are counted from 0, as in the files.",
        table=Table(("row", *ways), [(row, *table[row].tolist()) for row in last]),
    )


def _way(names: Sequence[str], source: int, target: int) -> str:
    return f"{names[source]} → {names[target]}"


def _pairs(codes: Sequence[Tensor], *, corrected: bool) -> list[_Pair]:
    """All pairs of views of unit vectors (n, k), as ``SubspaceFusion.score`` compares them."""
    from hyperspectral_geo.fusion import csls

    pairs = []
    for (a, x), (b, y) in combinations(enumerate(codes), 2):
        similarity = x @ y.T
        pairs.append(_Pair(a, b, csls(similarity, k=min(10, len(x))) if corrected else similarity))
    return pairs


def _recalls(codes: Sequence[Tensor], sizes: Sequence[int], *, corrected: bool) -> list[list[tuple[float, float]]]:
    """R@1 in percent, there and back, of each pair of views at each size: the first coordinates, of unit length again.

    Unit vectors are cut: their scale is gone, the weights of the coordinates are in them.
    """
    from torch.nn.functional import normalize

    from hyperspectral_geo.fusion import recall_at_k

    found: list[list[tuple[float, float]]] = []
    for k in sizes:
        pairs = _pairs([normalize(code[:, :k], dim=1) for code in codes], corrected=corrected)
        recall = [recall_at_k(pair.similarity, (1,)) for pair in pairs]
        found.append([(100 * one.forward[1], 100 * one.backward[1]) for one in recall])
    return found

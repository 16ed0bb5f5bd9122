"""``hsgeo bench fusion-retrieval``: pairs found across modalities, by fusion and its peers, from 50 to 1,400 pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hyperspectral_geo.benchmarks.emoji_layers import caption_parts, image_layers
from hyperspectral_geo.benchmarks.fusion_peers import PEERS, corrected, fit_peers
from hyperspectral_geo.benchmarks.fusion_splits import TEST, PairedSet, digit_halves, emoji, emoji_hog
from hyperspectral_geo.benchmarks.student_interval import student_interval
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.fusion.retrieval import recall_at_k
from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion
from hyperspectral_geo.plotting.fusion_retrieval import retrieval_curves

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

OURS = "ours"
_KS = (1, 10)
_SEEDS = (0, 1, 2, 3, 4)
_BEYOND = 1.25  # times the best peer's R@10, with more features


@dataclass(frozen=True)
class _Contest:
    """A set at several numbers of pairs, with the bars of R@k in percent, by k, one a size."""

    make: Callable[[], PairedSet]
    sizes: tuple[int, ...]
    bars: Mapping[int, tuple[float, ...]]


_CONTESTS = (
    _Contest(emoji_hog, (50, 100, 200, 400, 800), {1: (5.0, 7.9, 13.0, 18.6, 23.0)}),
    _Contest(lambda: emoji(grouped=False), (50, 100, 200, 400, 800, 1400), {1: (3.7, 6.5, 10.9, 13.8, 20.9, 26.7)}),
    _Contest(
        lambda: emoji(grouped=True),
        (50, 100, 200, 400, 800, 1400),
        {1: (1.4, 1.7, 2.8, 2.8, 3.0, 3.3), 10: (9.2, 10.2, 13.6, 15.6, 17.9, 18.5)},
    ),
    _Contest(digit_halves, (50, 100, 200, 400, 800), {1: (5.6, 8.9, 14.4, 18.8, 26.7)}),
)

Scores = dict[str, dict[int, float]]
"""R@k in percent, by method and k."""


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Every method on the same pairs of every seed, on one thread."""
    table = BenchTable("fusion-retrieval", environment=environment("cca-zoo", "scikit-learn"))
    if find_spec("cca_zoo") is None:
        table.notes.append("Nothing was measured: cca-zoo is not installed; it comes with the extra bench.")
        return table
    contests = [_CONTESTS[-1]] if quick else _CONTESTS
    seeds = _SEEDS[:2] if quick else _SEEDS
    sizes = {id(one): one.sizes[:2] if quick else one.sizes for one in contests}
    bar = progress.add_task("fusion-retrieval", total=len(seeds) * sum(map(len, sizes.values())))
    panels: dict[str, tuple[Sequence[int], dict[str, list[list[float]]]]] = {}
    with one_thread():
        for contest in contests:
            paired = contest.make()
            curves: dict[str, list[list[float]]] = {name: [[] for _ in seeds] for name in (OURS, *PEERS)}
            for at, size in enumerate(sizes[id(contest)]):
                found = []
                for number, seed in enumerate(seeds):
                    progress.update(bar, description=f"fusion-retrieval: {paired.name}, {size} pairs, seed {seed}")
                    found.append(scores(paired, size, seed))
                    for name, recall in found[-1].items():
                        curves[name][number].append(recall[1])
                    progress.advance(bar)
                table.rows += _rows(f"{paired.name}, {size} pairs", found, contest, None if quick else at)
                if paired.groups is not None and size == contest.sizes[-1]:
                    table.rows += _ablation_rows(paired, size, seeds, found, progress, table)
            panels[paired.name] = (sizes[id(contest)], curves)
    table.pictures["pairs"] = retrieval_curves(panels, chance=100 / TEST, title="R@1, %, among 400 test items")
    table.notes += _notes(len(seeds))
    return table


def scores(paired: PairedSet, size: int, seed: int) -> Scores:
    """R@1 and R@10 of ours and of every peer, fitted on the first ``size`` training pairs of a seed's split."""
    split = paired.split(seed)
    rows = split.train[:size]
    x, y, a, b = paired.x[rows], paired.y[rows], paired.x[split.test], paired.y[split.test]
    found = {OURS: _ours([x, y], [a, b], seed=seed)}
    for name, similarity in fit_peers(x, y, seed=seed).items():
        found[name] = _percent(recall_at_k(corrected(similarity(a, b)), _KS).mean)
    return found


def _ours(views: list[Any], test: list[Any], *, seed: int, method: str = "spectral") -> dict[int, float]:
    model = SubspaceFusion(method=method, significance=None, seed=seed).fit(views)
    found = model.score(test, ks=_KS, corrected=True)
    return _percent({k: found[f"R@{k}"] for k in _KS})


def _rows(label: str, found: list[Scores], contest: _Contest, at: int | None) -> Iterator[Row]:
    """R@1 and R@10 of ours beside the peers, and the difference to rCCA; ``at`` is the size's place among the bars."""
    for k in _KS:
        means = {name: fmean(one[name][k] for one in found) for name in found[0]}
        best = max(PEERS, key=lambda name: means[name])
        others = ", ".join(f"{name} {means[name]:.1f}" for name in PEERS if name != best)
        values = [one[OURS][k] for one in found]
        yield Row(
            f"{label}: R@{k}",
            means[OURS],
            None if at is None or k not in contest.bars else contest.bars[k][at],
            interval=(min(values), max(values)),
            ours=f"{_signed(means[OURS] - means[best])} to the best peer",
            peer=f"{best} {means[best]:.1f} ({others})",
            unit=" %",
        )
    differences = [one[OURS][1] - one["rCCA"][1] for one in found]
    interval = student_interval(differences)
    assert interval is not None
    yield Row(
        f"{label}: R@1 above rCCA, upper end",
        interval[1],
        None if at is None else 0.0,
        interval=interval,
        ours=f"mean {_signed(fmean(differences))}",
        unit=" pt",
    )


def _ablation_rows(
    paired: PairedSet, size: int, seeds: Sequence[int], base: list[Scores], progress: Progress, table: BenchTable
) -> Iterator[Row]:
    """What more layers of the frozen network, and labels and tags apart, add where test groups are unseen."""
    bar = progress.add_task("features", total=None)
    try:
        layers = tuple(
            image_layers(progress=lambda now, all_: progress.update(bar, completed=now, total=all_)).values()
        )
        parts = tuple(caption_parts().values())
    except (ImportError, FileNotFoundError) as error:
        table.notes.append(f"Other layers were not measured: {error}")
        return
    finally:
        progress.remove_task(bar)
    best = {k: max(fmean(one[name][k] for one in base) for name in PEERS) for k in _KS}
    variants = {
        "base features": (paired.x, paired.y),
        "and layers": ((paired.x, *layers), paired.y),
        "and label, tags": (paired.x, (paired.y, *parts)),
        "and both": ((paired.x, *layers), (paired.y, *parts)),
    }
    bar = progress.add_task("", total=len(variants) * len(seeds))
    for name, views in variants.items():
        found = []
        for seed in seeds:
            progress.update(bar, description=f"fusion-retrieval: {name}, seed {seed}")
            split = paired.split(seed)
            train, test = ([_taken(view, part) for view in views] for part in (split.train[:size], split.test))
            found.append(_ours(train, test, seed=seed, method="kernel"))
            progress.advance(bar)
        for k in _KS:
            value = fmean(one[k] for one in found)
            yield Row(
                f"{paired.name}, {size} pairs, {name}: R@{k} over the best peer's",
                value / best[k],
                _BEYOND if (k, name) == (10, "and both") else None,
                ours=f"{value:.1f} %, {_range(one[k] for one in found)}",
                peer=f"{best[k]:.1f} % on base features",
                unit="×",
            )
    progress.remove_task(bar)


def _taken(view: Any, rows: Any) -> Any:
    return tuple(part[rows] for part in view) if isinstance(view, tuple) else view[rows]


def _percent(recall: Mapping[int, float]) -> dict[int, float]:
    return {k: 100 * recall[k] for k in _KS}


def _range(values: Iterator[float]) -> str:
    found = list(values)
    return f"{min(found):.1f} – {max(found):.1f}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _notes(seeds: int) -> list[str]:
    return [
        f"R@k among {TEST} test items, mean of both directions and of {seeds} seeds, interval: least and largest; "
        'ours is method="spectral", one setting for all sets and sizes. CSLS with ten neighbours for all. All '
        "hyper-parameters, ours and the peers', by 5-fold cross-validation on the training pairs. The best peer is "
        "picked on the test scores, which favours it.",
        "Differences to rCCA are paired by seed; their interval is Student's at 95 %, and below rCCA significantly is "
        "where its upper end is below 0. Peers: cca-zoo's RidgeCCA (rCCA), the same after kernel PCA to 200 (KCCA), "
        "with weighed products (CSA); orthogonal Procrustes; ASIF.",
        "Unseen subcategories: splits differ by whether the flags of countries, a seventh of all emoji that look alike "
        "to the network, are among the test groups; then about 1,340 pairs are left for 1,400, and all are taken. "
        'Methods are compared on equal splits. More features: method="kernel", which averages the similarities of the '
        "blocks of features.",
    ]

"""The rows of ``hsgeo bench people`` on next clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from hyperspectral_geo.benchmarks.click_contest import ClickContest, Foreseen, interval, page_features
from hyperspectral_geo.benchmarks.cycle_table import part_of
from hyperspectral_geo.benchmarks.table import Row
from hyperspectral_geo.benchmarks.text_cosines import page_texts, sentence_cosines, tfidf_cosines
from hyperspectral_geo.benchmarks.walk_clicks import Clicks, walk_clicks, walk_players
from hyperspectral_geo.data import Wikispeedia, load_walks, load_wikispeedia
from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, HopRegression, fit, hop_counts, hop_scores

__all__ = ["ClickTask", "click_rows"]

_FOLDS = 5
_TRUSTS = (0.3, 1.0, 3.0)
_OURS, _RIVALS = "conditioned model", ("hop model", "hop count", "TF-IDF cosine", "MiniLM cosine")


@dataclass(frozen=True, eq=False)
class ClickTask:
    """What is trained and read before any click is looked at.

    Attributes:
        core: Wikispeedia's largest strong component.
        clicks: those of all players on it.
        contest: the hop model, features of links, and how the model is conditioned.
        missing: notes on what could not be measured.
    """

    core: Wikispeedia
    clicks: Clicks
    contest: ClickContest
    missing: tuple[str, ...]

    @classmethod
    def prepared(cls, *, quick: bool, told: Callable[[str], None]) -> ClickTask:
        """Read walks and texts, and train the hop model; quick: a small one of few pages, short texts, no encoder."""
        core = load_wikispeedia(core=True)
        graph = part_of(core, 1500) if quick else HopGraph.from_edges(core.edges, names=core.names)
        clicks = walk_clicks(load_walks(), graph, players=walk_players())
        told("training the hop model")
        hops = hop_counts(graph)
        base = _base(graph, hops, quick)
        told("texts")
        texts = [text[:400] if quick else text for text in page_texts(graph.names)]
        cosines, missing = {"tfidf": tfidf_cosines(texts)}, []
        try:
            cosines |= {} if quick else {"minilm": sentence_cosines(texts)}
        except ImportError as error:
            missing.append(f"MiniLM: not measured: {error}.")
        contest = ClickContest(page_features(graph, hops, base, cosines), base, hops, 20 if quick else 600)
        return cls(core, clicks, contest, tuple(missing))


def click_rows(task: ClickTask, *, quick: bool, told: Callable[[str], None]) -> tuple[list[Row], list[str]]:
    """Rows and notes; every click is judged once, in the fold in which its player was held out; quick: one fold."""
    contest, clicks = task.contest, task.clicks
    told("choosing how far clicks are trusted")
    first, _ = clicks.split(1 / _FOLDS, seed=0)
    tried = {1.0: (0.0, 0.0)} if quick else contest.by_trust(first, _TRUSTS)
    trust = max(tried, key=lambda one: tried[one])
    parts: list[dict[str, Foreseen]] = []
    kept: list[float] = []
    for number in range(1 if quick else _FOLDS):
        told(f"clicks, fold {number + 1} of {_FOLDS}")
        train, test = clicks.split(1 / _FOLDS, seed=0, number=number)
        model = contest.conditioned(train, trust=trust, seed=number)
        parts.append(contest.foreseen(train, test, model))
        kept.append(hop_scores(model, contest.hops).r2)
    found = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    before = hop_scores(contest.base, contest.hops).r2
    cost = Row(
        "R² of hops, conditioned model",
        fmean(kept),
        None,
        "higher",
        (min(kept), max(kept)),
        peer=f"{before:.3f} before",
    )
    rows = [*_model_rows(found), *_gains(found, barred=not quick), cost]
    return rows, [*task.missing, *_notes(clicks, len(found["uniform"].player), trust, tried)]


def _base(graph: HopGraph, hops: Tensor, quick: bool) -> HopEmbedding:
    objective = HopRegression(hops=hops, block=128 if quick else 512)
    return fit(graph, geometry="bilinear", forms=not quick, steps=100 if quick else 3000, objective=objective)


def _joined(parts: list[Foreseen]) -> Foreseen:
    columns = ("reciprocal", "surprise", "player")
    return Foreseen(*(torch.cat([getattr(part, column) for part in parts]) for column in columns))


def _model_rows(found: dict[str, Foreseen]) -> Iterator[Row]:
    for name, one in found.items():
        yield Row(
            f"MRR of the next click, {name}",
            float(one.reciprocal.mean()),
            interval=interval(one.reciprocal, one.player),
            ours=f"NLL {float(one.surprise.mean()):.3f}",
        )


def _gains(found: dict[str, Foreseen], *, barred: bool) -> Iterator[Row]:
    """How far the conditioned model is ahead: the lower end of the paired interval is what has a bar."""
    for name in _RIVALS:
        if name in found:
            ahead = found[_OURS].reciprocal - found[name].reciprocal
            low, high = interval(ahead, found[name].player)
            yield Row(
                f"MRR, conditioned model less {name}: lower end",
                low,
                0.0 if barred else None,
                interval=(low, high),
                ours=f"mean {float(ahead.mean()):+.4f}",
            )
    for ours, plain in (
        ("conditioned model + degree", "degree + hop count + hop model"),
        ("conditioned model + all of these", "degree + hop count + hop model + texts"),
    ):
        ahead = found[ours].reciprocal - found[plain].reciprocal
        yield Row(f"MRR, {ours} less {plain}", float(ahead.mean()), interval=interval(ahead, found[plain].player))


def _notes(clicks: Clicks, judged: int, trust: float, tried: dict[float, tuple[float, float]]) -> list[str]:
    left = ", ".join(f"{count:,} {reason}" for reason, count in clicks.left_out.items())
    mean = len(clicks.links[0]) / len(clicks)
    validated = ", ".join(f"{mrr:.3f} at {trust:g} (R² of hops {r2:.3f})" for trust, (mrr, r2) in tried.items())
    return [
        f"Next clicks: {judged:,} of {len(clicks):,} clicks on Wikispeedia's unfinished walks, {mean:.0f} links to "
        f"choose from in the mean; left out: {left}. Five folds of players, so that nobody is learned from and judged; "
        "intervals by drawing players. All contestants are conditional logits with weights from the training folds; "
        "NLL is −log of the probability of the click. The hop model is trained on the links alone, once.",
        "The conditioned model is the hop model after 600 further steps on hops and on four triplets a training click "
        f"(to the target, the chosen link is nearer than another one), trusted with {trust:g}, which was chosen by MRR "
        f"on a fifth of the first fold's training players: {validated}.",
    ]

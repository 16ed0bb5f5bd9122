"""``hsgeo hops texts`` and ``hsgeo hops place``: learn from the pages' texts, and place new text among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperspectral_geo.cli.hop_sources import GRAPH_HELP, read_graph_of, require_target
from hyperspectral_geo.cli.shown import shown

if TYPE_CHECKING:
    from hyperspectral_geo.hyperbolic.text import Placement

__all__ = ["place", "texts"]

_TEXTS_HELP = "wikispeedia; a file .jsonl of {title, text}; or a folder of TITLE.txt."


def texts(
    model: Annotated[Path, typer.Argument(help="What `hsgeo hops train` wrote.")],
    graph: Annotated[str, typer.Argument(help=GRAPH_HELP)],
    source: Annotated[str, typer.Argument(metavar="TEXTS", help=_TEXTS_HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The text encoder, one safetensors file.")],
    sentences: Annotated[
        str | None,
        typer.Option(help="minilm, or a folder of a transformers model: vectors by it, not by TF-IDF."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is trained.", min=0)] = 0,
) -> None:
    """Learn from the texts of a model's pages where new texts belong."""
    from hyperspectral_geo.data import read_page_texts
    from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
    from hyperspectral_geo.hyperbolic.text import SentenceEncoder, TextHopEncoder
    from hyperspectral_geo.hyperbolic.text.sentence_encoder import MINILM

    require_target("--out", out)
    found = HopEmbedding.load(model)
    links = read_graph_of(found, graph)
    encoder = None if sentences is None else SentenceEncoder.load(MINILM if sentences == "minilm" else sentences)
    made = TextHopEncoder.fit(
        found,
        links,
        read_page_texts(source),
        vectors=encoder,
        seed=seed,
        progress=lambda now: typer.echo(now, err=True),
    )
    made.save(out)
    typer.echo(f"{out}: {len(found):,} pages")


def place(
    encoder: Annotated[Path, typer.Argument(help="What `hsgeo hops texts` wrote.")],
    text: Annotated[str | None, typer.Argument(help="A text; - reads it from standard input.")] = None,
    file: Annotated[str | None, typer.Option("--file", help=f"Many pages at once: {_TEXTS_HELP}")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the text, to be looked for in the known texts.")] = None,
    known_texts: Annotated[
        str | None, typer.Option(help="Texts of the known pages, as `hsgeo hops texts` took them.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many pages to name.", min=1)] = 10,
    extended: Annotated[
        Path | None, typer.Option(help="Write the hop model with the new pages as points in it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Place text: the nearest concepts with expected hops there and back, and the probability of a link."""
    from hyperspectral_geo.data import read_page_texts
    from hyperspectral_geo.hyperbolic.text import TextHopEncoder

    if (text is None) == (file is None):
        raise ValueError("text: expected either a text or --file, got both or neither; pass one")
    if title is not None and file is not None:
        raise ValueError("--title: expected beside a text, got it beside --file, whose pages have titles; leave it out")
    if known_texts is not None and title is None and file is None:
        raise ValueError("--known-texts: expected --title beside it, which is looked for in them; add it")
    if extended is not None:
        require_target("--extended", extended)
    pages = _given(text, title) if file is None else read_page_texts(str(file))
    found = TextHopEncoder.load(encoder).place(
        list(pages.values()),
        None if file is None and title is None else list(pages),
        known_texts=None if known_texts is None else read_page_texts(known_texts),
    )
    if extended is not None:
        found.extended().save(extended)
    if as_json:
        typer.echo(json.dumps([_record(found, page, k) for page in range(len(found))], ensure_ascii=False, indent=2))
        return
    for page in range(len(found)):
        _print(found, page, k)


def _given(text: str | None, title: str | None) -> dict[str, str]:
    import sys

    return {"text 1" if title is None else title: sys.stdin.read() if text == "-" else text or ""}


def _record(found: Placement, page: int, k: int) -> dict[str, Any]:
    ways = {"to": found.nearest(page, count=k), "from": found.nearest(page, count=k, reverse=True)}
    near = {
        way: [{**one._asdict(), "hops": round(one.hops, 4), "link": round(one.link, 4)} for one in ones]
        for way, ones in ways.items()
    }
    return {"title": found.names[page], "foreign": found.foreign[page], **near}


def _print(found: Placement, page: int, k: int) -> None:
    typer.echo(shown(found.names[page]))
    if found.foreign[page]:
        typer.echo("  seems to be in another language than the known texts: expect little", err=True)
    typer.echo("  hops   link  to                              hops   link  from")
    rows = zip(found.nearest(page, count=k), found.nearest(page, count=k, reverse=True), strict=True)
    for to, back in rows:
        typer.echo(
            f"  {to.hops:4.1f}  {to.link:5.2f}  {shown(to.name):30.30}  {back.hops:4.1f}  {back.link:5.2f}  "
            f"{shown(back.name)}"
        )

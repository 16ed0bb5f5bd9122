"""A text encoder and its hop model in one safetensors file: written whole or not at all, read with suspicion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.model_file import packed_model, packed_names, unpacked_model, unpacked_names
from hyperspectral_geo.hyperbolic.text.encoder import TextHopEncoder
from hyperspectral_geo.hyperbolic.text.familiar_words import FamiliarWords
from hyperspectral_geo.hyperbolic.text.link_model import LinkModel
from hyperspectral_geo.hyperbolic.text.mentions import MentionTable
from hyperspectral_geo.hyperbolic.text.missing_links import MissingLinks
from hyperspectral_geo.hyperbolic.text.pair_features import PageFacts
from hyperspectral_geo.hyperbolic.text.sentence_encoder import SentenceEncoder
from hyperspectral_geo.hyperbolic.text.text_head import TextHead
from hyperspectral_geo.hyperbolic.text.text_links import NEW, TextLinks
from hyperspectral_geo.hyperbolic.text.tfidf import Tfidf
from hyperspectral_geo.tensor_file import TensorFile, all_finite, parse_json, refuse_plainly

__all__ = ["read_encoder", "write_encoder"]

_MARKER = "hyperspectral_geo"
_FORMAT = "text hop encoder 1"


def write_encoder(path: Path, encoder: TextHopEncoder) -> Path:
    """Write an encoder; what stood at ``path`` before stays until the new file is whole."""
    model, about_model = packed_model(encoder.model)
    links, own = encoder.links, encoder.encoder
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": model,
        "graph": {"edges": links.graph.edges.int()},
        "facts": vars(links.facts),
        "table": {**vars(links.table), "pairs": links.table.pairs.int()},
        "links": {"center": links.center, "mean": links.model.mean, "deviation": links.model.deviation},
        "network": links.model.weights,
        "head": {"center": encoder.head.center, **encoder.head.weights},
        "words": dict(zip(("joined", "ends"), packed_names(encoder.familiar.order), strict=True)),
    }
    if isinstance(own, Tfidf):
        joined, ends = packed_names(own.vocabulary)
        parts["tfidf"] = {"joined": joined, "ends": ends, "rarity": own.rarity, "directions": own.directions}
    record = {
        "format": _FORMAT,
        "model": about_model,
        "missing": {kind: [asdict(side) for side in sides] for kind, sides in links.missing.items()},
        "usual": encoder.familiar.usual,
        "sentences": [own.name, own.most] if isinstance(own, SentenceEncoder) else None,
    }
    tensors = {
        f"{part}.{name}": tensor.contiguous().clone() for part, own in parts.items() for name, tensor in own.items()
    }
    return write_atomically(path, save(tensors, metadata={_MARKER: json.dumps(record)}))


def read_encoder(path: Path) -> TextHopEncoder:
    """Read an encoder.

    Raises:
        ValueError: naming the file and what is wrong with it.
        OSError: if the file cannot be opened.
        ImportError: if it needs a sentence encoder that is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: expected a saved text encoder, got no such file; `hsgeo hops texts` makes one from a model, its "
            "graph and texts"
        )
    file = TensorFile(path)
    record = parse_json(file.metadata.get(_MARKER, "{}").encode(), path, refuse_plainly, what="metadata")
    if record.get("format") != _FORMAT:
        hint = "; `hsgeo hops texts` makes one of a hop model" if "hop embedding" in str(record.get("format")) else ""
        raise refuse_plainly(path, None, f"expected a saved text encoder, got {record.get('format')!r:.40}{hint}")
    parts: dict[str, dict[str, Tensor]] = {}
    for key in file:
        part, _, name = key.partition(".")
        tensor = file[key]
        if not all_finite(tensor):
            raise refuse_plainly(path, key, "expected finite numbers, got NaN or infinity; save the encoder again")
        parts.setdefault(part, {})[name] = tensor
    try:
        return _unpacked(parts, record)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        raise refuse_plainly(path, None, f"its parts do not fit each other ({error}); save it again") from error


def _unpacked(parts: dict[str, dict[str, Tensor]], record: dict[str, Any]) -> TextHopEncoder:
    model = unpacked_model(parts["model"], record["model"])
    n, edges = len(model), parts["graph"]["edges"].long()
    graph = HopGraph.from_edges(edges, names=model.names)
    table = MentionTable(**{**parts["table"], "pairs": parts["table"]["pairs"].long()})
    facts = PageFacts(**parts["facts"])
    pairs = table.pairs
    if len(facts) != n or (len(pairs) and not 0 <= int(pairs.min()) <= int(pairs.max()) < n):
        raise ValueError(f"expected facts and mentions of {n} pages, got those of {len(facts)}")
    network = LinkModel(parts["links"]["mean"], parts["links"]["deviation"], parts["network"])
    sides = {kind: [MissingLinks(**side) for side in record["missing"][kind]] for kind in NEW}
    missing = {kind: (out, into) for kind, (out, into) in sides.items()}
    links = TextLinks(graph, parts["links"]["center"], facts, table, network, missing)
    head = TextHead(parts["head"].pop("center"), parts["head"])
    _require_shapes(model.tangents, links, head)
    words = FamiliarWords(unpacked_names(parts["words"]["joined"], parts["words"]["ends"]), float(record["usual"]))
    return TextHopEncoder(model, links, head, words, _own_encoder(parts, record))


def _require_shapes(tangents: Tensor, links: TextLinks, head: TextHead) -> None:
    """Try everything once: a file whose parts do not fit each other fails here, not in use."""
    f = len(head.center)
    if links.facts.directions.shape[1] != f or len(links.center) != f:
        raise ValueError(f"expected vectors of {f} numbers throughout, got {tuple(links.facts.directions.shape)}")
    rows = head.rows(torch.zeros(1, f))
    if rows.shape[1] < tangents.shape[1]:
        raise ValueError(f"expected rows of at least {tangents.shape[1]} numbers, got {rows.shape[1]}")


def _own_encoder(parts: dict[str, dict[str, Tensor]], record: dict[str, Any]) -> Tfidf | SentenceEncoder | None:
    if "tfidf" in parts:
        own = parts["tfidf"]
        return Tfidf(unpacked_names(own["joined"], own["ends"]), own["rarity"], own["directions"])
    if record["sentences"] is None:
        return None
    name, most = record["sentences"]
    if not isinstance(name, str) or type(most) is not int or not 1 <= most <= 10_000:
        raise ValueError(f"expected name and passages of a sentence encoder, got {record['sentences']!r:.60}")
    return SentenceEncoder.load(name, most=most)

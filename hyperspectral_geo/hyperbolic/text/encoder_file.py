"""A text encoder and its hop model in one safetensors file: written whole or not at all, read with suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.model_file import packed_model, packed_names, unpacked_model, unpacked_names
from hyperspectral_geo.hyperbolic.text.encoder import TextHopEncoder
from hyperspectral_geo.hyperbolic.text.familiar_words import FamiliarWords
from hyperspectral_geo.hyperbolic.text.link_model import LinkModel
from hyperspectral_geo.hyperbolic.text.mentions import MentionTable, TitleIndex
from hyperspectral_geo.hyperbolic.text.missing_links import MissingLinks
from hyperspectral_geo.hyperbolic.text.page_rows import PageRows
from hyperspectral_geo.hyperbolic.text.pair_features import GROUPS, PageFacts
from hyperspectral_geo.hyperbolic.text.sentence_encoder import SentenceEncoder
from hyperspectral_geo.hyperbolic.text.text_head import TextHead
from hyperspectral_geo.hyperbolic.text.text_links import NEW, TextLinks
from hyperspectral_geo.hyperbolic.text.tfidf import Tfidf
from hyperspectral_geo.record_file import read_record_file, record_bytes
from hyperspectral_geo.tensor_file import all_finite

__all__ = ["read_encoder", "write_encoder"]

_KIND = "text hop encoder 1"


def write_encoder(path: Path, encoder: TextHopEncoder) -> Path:
    """Write an encoder; what stood at ``path`` before stays until the new file is whole."""
    model, about_model = packed_model(encoder.model)
    links, own = encoder.links, encoder.encoder
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": model,
        "graph": {"edges": links.graph.edges.int()},
        "facts": vars(links.facts),
        "links": {"center": links.center, "mean": links.model.mean, "deviation": links.model.deviation},
        "network": links.model.weights,
        "head": {"center": encoder.head.center, **encoder.head.weights},
        "words": dict(zip(("joined", "ends"), packed_names(encoder.familiar.order), strict=True)),
    }
    if len(links.table):  # the format holds no empty tensors
        parts["table"] = {**vars(links.table), "pairs": links.table.pairs.int()}
    if isinstance(own, Tfidf):
        joined, ends = packed_names(own.vocabulary)
        parts["tfidf"] = {"joined": joined, "ends": ends, "rarity": own.rarity, "directions": own.directions}
    record = {
        "model": about_model,
        "missing": {kind: [asdict(side) for side in sides] for kind, sides in links.missing.items()},
        "usual": encoder.familiar.usual,
        "sentences": [own.name, own.most] if isinstance(own, SentenceEncoder) else None,
    }
    tensors = {f"{part}.{name}": tensor for part, own in parts.items() for name, tensor in own.items()}
    return write_atomically(path, record_bytes(tensors, record, kind=_KIND))


def read_encoder(path: Path) -> TextHopEncoder:
    """Read an encoder.

    Raises:
        ValueError: naming the file and what is wrong with it.
        OSError: if the file cannot be opened.
        ImportError: if it needs a sentence encoder that is not installed.
    """
    return read_record_file(path, _unpacked, kind=_KIND, maker="hsgeo hops texts")


def _unpacked(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> TextHopEncoder:
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        if not all_finite(tensor):
            raise ValueError(f"tensor {key!r:.120}: expected finite numbers, got NaN or infinity")
        parts.setdefault(part, {})[name] = tensor
    try:
        return _joined(parts, record)
    except (TypeError, IndexError, AttributeError, RuntimeError) as error:
        raise ValueError(str(error)[:300]) from error


def _joined(parts: dict[str, dict[str, Tensor]], record: Mapping[str, Any]) -> TextHopEncoder:
    model = unpacked_model(parts["model"], record["model"])
    _require_shapes(parts, len(model), PageRows.of(model).width)
    graph = HopGraph.from_edges(parts["graph"]["edges"].long(), names=model.names)
    table = _table(parts, len(model))
    network = LinkModel(parts["links"]["mean"], parts["links"]["deviation"], parts["network"])
    if not bool((network.deviation > 0).all()):
        raise ValueError("links.deviation: expected numbers above 0, got others")
    missing = {}
    for kind in NEW:
        out, into = (MissingLinks(**side) for side in record["missing"][kind])
        missing[kind] = (out, into)
    links = TextLinks(graph, parts["links"]["center"], PageFacts(**parts["facts"]), table, network, missing)
    head = TextHead(parts["head"].pop("center"), parts["head"])
    usual, own = record["usual"], _own_encoder(parts, record)
    if not (isinstance(usual, float) and 0 <= usual <= 1):
        raise ValueError(f"usual: expected a share from 0 to 1, got {usual!r:.40}")
    if own is not None and own.width != len(head.center):
        raise ValueError(f"expected vectors of {len(head.center)} numbers throughout, got an encoder of {own.width}")
    words = FamiliarWords(unpacked_names(parts["words"]["joined"], parts["words"]["ends"]), usual)
    return TextHopEncoder(model, links, head, words, own)


def _require_shapes(parts: dict[str, dict[str, Tensor]], n: int, q: int) -> None:
    """Raise ``ValueError`` unless all tensors fit each other: a file that does not fit fails here, not in use."""
    (f,) = parts["head"]["center"].shape
    vector, matrix, page = (f,), (q, f), (n,)
    columns = (sum(GROUPS.values()),)
    wanted: dict[str, Mapping[str, tuple[int, ...]]] = {
        "graph": {"edges": (*parts["graph"]["edges"].shape[:1], 2)},
        "facts": {"directions": (n, f), "lengths": page, "shapes": (n, 4), "mentioning": page, "mentioned": page},
        "links": {"center": vector, "mean": columns, "deviation": columns},
        "network": LinkModel.shapes(),
        "head": {"center": vector, "scale": (), "mean": (q,), "linear": matrix},
    }
    if "out" in parts["head"]:
        (w,) = parts["head"]["bias"].shape
        wanted["head"] = {**wanted["head"], "hidden": (w, f), "bias": (w,), "out": (q, w)}
    if "table" in parts:
        (k,) = parts["table"]["counts"].shape
        wanted["table"] = {"pairs": (k, 2), **dict.fromkeys(("counts", "first", "cased", "small"), (k,))}
    for part, shapes in wanted.items():
        found = {name: tuple(tensor.shape) for name, tensor in parts[part].items()}
        if found != dict(shapes):
            raise ValueError(f"{part}: expected tensors {dict(shapes)}, got {found}"[:300])
        for name, tensor in parts[part].items():
            right = torch.int32 if name in ("edges", "pairs") else torch.float32
            if tensor.dtype != right:
                raise ValueError(f"{part}.{name}: expected {right}, got {tensor.dtype}")


def _table(parts: dict[str, dict[str, Tensor]], n: int) -> MentionTable:
    """The mentions, which are looked up by bisection and so must be in order."""
    if "table" not in parts:
        return TitleIndex([]).find([], [])
    pairs = parts["table"]["pairs"].long()
    keys = pairs @ torch.tensor([n, 1])
    if not 0 <= int(pairs.min()) <= int(pairs.max()) < n or not bool((keys.diff() > 0).all()):
        raise ValueError(f"table.pairs: expected rising pairs of pages from 0 to {n - 1}, got others")
    return MentionTable(**{**parts["table"], "pairs": pairs})


def _own_encoder(parts: dict[str, dict[str, Tensor]], record: Mapping[str, Any]) -> Tfidf | SentenceEncoder | None:
    if "tfidf" in parts:
        own = parts["tfidf"]
        vocabulary, rarity, directions = unpacked_names(own["joined"], own["ends"]), own["rarity"], own["directions"]
        right = rarity.shape == (len(vocabulary),) and directions.shape[:1] == rarity.shape and directions.ndim == 2
        if not right or {rarity.dtype, directions.dtype} != {torch.float32}:
            raise ValueError(f"tfidf: expected numbers of {len(vocabulary)} words, got shape {tuple(directions.shape)}")
        return Tfidf(vocabulary, rarity, directions)
    if record["sentences"] is None:
        return None
    name, most = record["sentences"]
    if not isinstance(name, str) or type(most) is not int or not 1 <= most <= 10_000:
        raise ValueError(f"expected name and passages of a sentence encoder, got {record['sentences']!r:.60}")
    return SentenceEncoder.load(name, most=most)

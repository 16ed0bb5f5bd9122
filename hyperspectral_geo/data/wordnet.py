"""WordNet 3.0: the hypernym hierarchy of the nouns, and its mammals."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from .locate import dataset_path

__all__ = ["WordNet", "load_wordnet", "transitive_closure"]


@dataclass(frozen=True)
class WordNet:
    """A hierarchy of synsets: row (c, a) of ``edges`` says that ``names[c]`` is a kind of ``names[a]``."""

    names: tuple[str, ...]
    edges: Int[Tensor, "e 2"]


def load_wordnet(
    part: Literal["mammals", "nouns"] = "mammals", *, closure: bool = True, folder: Path | None = None
) -> WordNet:
    """Read the noun hierarchy of WordNet 3.0, or the mammals in it.

    An edge points from a synset to a hypernym (``@`` and ``@i`` pointers alike): to every ancestor with ``closure``,
    to the direct hypernyms without. Names are those of NLTK, such as ``dog.n.01``.

    Args:
        part: ``"nouns"`` for all of them, ``"mammals"`` for what lies at or below ``mammal.n.01``.
        closure: whether to return the transitive closure, which is what embeddings are trained and judged on.
        folder: where the files lie; by default the copy that comes with the library.

    Returns:
        ``names`` (nouns in the order of WordNet's own file, mammals sorted) and ``edges``, int64 of shape (e, 2),
        sorted by child, then ancestor.

    Raises:
        ValueError: for another ``part``, or a file that is damaged, naming the line.
        FileNotFoundError: if the file is missing.

    References:
        Miller, "WordNet: A Lexical Database for English", 1995. The mammals as an embedding benchmark: Nickel and
        Kiela, "Poincaré Embeddings for Learning Hierarchical Representations", 2017, arXiv:1705.08039.

    >>> mammals = load_wordnet("mammals")
    >>> len(mammals.names), tuple(mammals.edges.shape)
    (1180, (6540, 2))
    >>> [mammals.names[i] for i in mammals.edges[0].tolist()]
    ['aardvark.n.01', 'mammal.n.01']

    STATS:

    ======= ======= ============ =============
    part    nodes   direct edges closure edges
    ======= ======= ============ =============
    mammals 1,180   1,180        6,540
    nouns   82,115  84,427       743,241
    ======= ======= ============ =============
    """
    if part not in ("mammals", "nouns"):
        raise ValueError(f"part: expected 'mammals' or 'nouns', got {part!r}")
    folder = dataset_path("wordnet") if folder is None else folder
    if part == "nouns":
        names, edges = _read_nouns(folder / "nouns.tsv.gz")
        return WordNet(names, transitive_closure(edges, len(names)) if closure else edges)
    names, edges = _read_mammals(folder / "mammals.tsv")
    return WordNet(names, edges if closure else _direct_among(names, folder / "nouns.tsv.gz"))


def transitive_closure(edges: Int[Tensor, "e 2"], count: int) -> Int[Tensor, "c 2"]:
    """All pairs (node, ancestor) that a chain of edges (child, parent) joins.

    The closure is the union of E, E∘E, E∘E∘E, …; each round joins the pairs of the last one with the edges, so that
    the rounds are as many as the longest chain has edges.

    Args:
        edges: int64 of shape (e, 2), rows (child, parent); repeated edges are allowed.
        count: the number of nodes.

    Returns:
        int64 of shape (c, 2), without repetition, sorted by node, then ancestor.

    Raises:
        ValueError: if an index is outside 0 … count − 1, or the edges hold a cycle.

    >>> transitive_closure(torch.tensor([[2, 1], [1, 0]]), 3).tolist()
    [[1, 0], [2, 0], [2, 1]]
    """
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.is_floating_point():
        raise ValueError(f"edges: expected integers of shape (e, 2), got {edges.dtype} of shape {tuple(edges.shape)}")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= count):
        raise ValueError(f"edges: expected indices from 0 to {count - 1}, got {int(edges.min())} to {int(edges.max())}")
    # A pair (c, a) travels as the one number c·count + a, so that a sort finds the repetitions.
    direct = _sorted_distinct(edges[:, 0].numpy().astype(np.int64) * count + edges[:, 1].numpy())
    child, parent = np.divmod(direct, max(count, 1))
    first = np.searchsorted(child, np.arange(count + 1))  # the parents of node i are parent[first[i]:first[i + 1]]
    rounds = [direct]
    while rounds[-1].size:
        node, reached = np.divmod(rounds[-1], count)
        if (node == reached).any():
            raise ValueError(f"edges: expected a hierarchy, got a cycle through node {node[node == reached][0]}")
        fan = first[reached + 1] - first[reached]
        offset = np.arange(fan.sum()) - np.repeat(np.cumsum(fan) - fan, fan)
        up = parent[np.repeat(first[reached], fan) + offset]
        rounds.append(_sorted_distinct(np.repeat(node, fan) * count + up))
    found = _sorted_distinct(np.concatenate(rounds))
    return torch.from_numpy(np.stack(np.divmod(found, max(count, 1)), axis=1))


def _sorted_distinct(keys: np.ndarray) -> np.ndarray:
    """``np.unique`` by sorting, which on these keys is several times faster than its hash table."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=-1) > 0]


def _read_nouns(path: Path) -> tuple[tuple[str, ...], Tensor]:
    """Names and direct edges from a file of lines ``name<TAB>hypernym<TAB>…``."""
    rows = [line.split("\t") for line in _lines(path)]
    names = tuple(row[0] for row in rows)
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        raise ValueError(
            f"{path}: expected every synset once, got {len(names) - len(index)} repetitions; restore the file"
        )
    return names, _edges_of(path, index, ((i, row[0], up) for i, row in enumerate(rows) for up in row[1:]))


def _read_mammals(path: Path) -> tuple[tuple[str, ...], Tensor]:
    """Names and closure edges from a file of lines ``child<TAB>ancestor``."""
    pairs = [line.split("\t") for line in _lines(path)]
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2:
            raise ValueError(
                f"{path}, line {number}: expected child<TAB>ancestor, got {len(pair)} fields; restore the file"
            )
    names = tuple(sorted({name for pair in pairs for name in pair}))
    index = {name: i for i, name in enumerate(names)}
    return names, _edges_of(path, index, ((i, child, up) for i, (child, up) in enumerate(pairs)))


def _direct_among(names: tuple[str, ...], path: Path) -> Tensor:
    """The direct noun edges with both ends among ``names``, in the numbering of ``names``."""
    nouns, edges = _read_nouns(path)
    number = {name: i for i, name in enumerate(names)}
    renumbered = torch.tensor([number.get(name, -1) for name in nouns])[edges]
    kept = renumbered[(renumbered >= 0).all(dim=1)]
    return kept[torch.argsort(kept[:, 0] * len(names) + kept[:, 1])]


def _edges_of(path: Path, index: dict[str, int], triples: Iterator[tuple[int, str, str]]) -> Tensor:
    """Turn (row, child, parent) names into a sorted (e, 2) tensor of indices."""
    pairs = []
    for row, child, parent in triples:
        if parent not in index:
            raise ValueError(f"{path}, line {row + 1}: expected a known hypernym, got {parent!r}; restore the file")
        pairs.append((index[child], index[parent]))
    return torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2)


def _lines(path: Path) -> list[str]:
    """The lines of a plain or gzipped text file; ``ValueError`` if it is empty or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: expected a file of the WordNet data set, found none; run datasets/make_wordnet.py"
        ) from None
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected readable text, got a damaged file ({error}); run datasets/make_wordnet.py"
        ) from error
    if not text.strip():
        raise ValueError(f"{path}: expected lines of synsets, got an empty file; run datasets/make_wordnet.py")
    return text.splitlines()

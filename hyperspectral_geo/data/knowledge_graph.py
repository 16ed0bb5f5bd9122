"""Knowledge graphs: typed links between entities, split into training, validation and test."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from .edge_rows import text_rows
from .locate import SHARED_DATA_VARIABLE, shared_data_path

__all__ = ["KNOWLEDGE_GRAPHS", "KnowledgeGraph", "load_knowledge_graph", "synset_glosses"]

# Name: folder below kg/, then entities, relations, and triples of training, validation and test.
KNOWLEDGE_GRAPHS: dict[str, tuple[str, tuple[int, int, int, int, int]]] = {
    "wn18rr": ("WN18RR_orig", (40_943, 11, 86_835, 3_034, 3_134)),
    "fb15k-237": ("FB15k-237", (14_541, 237, 272_115, 17_535, 20_466)),
    "codex-s": ("codex-s", (2_034, 42, 32_888, 1_827, 1_828)),
    "umls": ("umls", (135, 46, 5_216, 652, 661)),
    "kinships": ("kinships", (104, 25, 8_544, 1_068, 1_074)),
}
"""The sets that go by a name: folder, and what must be counted in it."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """Entities, relations, and triples (head, relation, tail) as rows of numbers; made by ``load_knowledge_graph``.

    Attributes:
        entities: one name an entity, in order of appearance: training, validation, test.
        relations: one name a relation, likewise.
        train, valid, test: int64 of shape (m, 3): number of the head, the relation and the tail.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    train: Int[Tensor, "m 3"]
    valid: Int[Tensor, "v 3"]
    test: Int[Tensor, "t 3"]

    @classmethod
    def from_triples(
        cls,
        train: Sequence[tuple[str, str, str]],
        valid: Sequence[tuple[str, str, str]] = (),
        test: Sequence[tuple[str, str, str]] = (),
    ) -> KnowledgeGraph:
        """From triples of names. Raises ``ValueError`` for what is no triple of three names.

        Example:
            >>> kg = KnowledgeGraph.from_triples([("dog", "is a", "mammal"), ("paw", "part of", "dog")])
            >>> kg.entities, kg.train.tolist()
            (('dog', 'mammal', 'paw'), [[0, 0, 1], [2, 1, 0]])
        """
        entities: dict[str, int] = {}
        relations: dict[str, int] = {}
        rows = [
            [
                (
                    entities.setdefault(head, len(entities)),
                    relations.setdefault(relation, len(relations)),
                    entities.setdefault(tail, len(entities)),
                )
                for head, relation, tail in _checked(split, triples)
            ]
            for split, triples in zip(_SPLITS, (train, valid, test), strict=True)
        ]
        splits = [torch.tensor(triples, dtype=torch.int64).reshape(-1, 3) for triples in rows]
        return cls(tuple(entities), tuple(relations), *splits)

    @cached_property
    def unseen(self) -> int:
        """How many entities of validation and test are in no triple of the training."""
        return len(self.entities) - len(self.train[:, [0, 2]].unique())

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """Numbers of entities, relations, and triples of training, validation and test."""
        return (len(self.entities), len(self.relations), len(self.train), len(self.valid), len(self.test))


def load_knowledge_graph(
    name: str | os.PathLike[str], *, folder: str | os.PathLike[str] | None = None, verify: bool = True
) -> KnowledgeGraph:
    """Read a knowledge graph that goes by a name, or the files of a folder.

    Args:
        name: ``"wn18rr"``, ``"fb15k-237"``, ``"codex-s"``, ``"umls"`` or ``"kinships"``, which are looked for in
            ``kg/`` below the folder that ``HSGEO_DATA`` names; or the path of a folder.
        folder: where the files of a named set lie instead.
        verify: whether to refuse other numbers of entities, relations and triples than a named set has.

    A folder holds ``train.txt``, ``valid.txt`` and ``test.txt``, each of them plain or with ``.gz``, UTF-8, with head,
    relation and tail on a line, tabs between. Lines that begin with ``#`` are comments. A folder without ``valid`` or
    ``test`` gives empty splits. Entities that training does not show are kept; ``unseen`` counts them.

    Raises:
        ValueError: naming file and line, for what is no triple, and for damaged files; with ``verify``, for other
            counts.
        FileNotFoundError: if neither a set nor a folder has this name, or the training file is missing.

    References:
        WN18RR: Dettmers et al., "Convolutional 2D Knowledge Graph Embeddings", AAAI 2018, arXiv:1707.01476. FB15k-237:
        Toutanova and Chen, 2015. CoDEx: Safavi and Koutra, EMNLP 2020, arXiv:2009.07810. UMLS and kinships: Kok and
        Domingos, "Statistical Predicate Invention", ICML 2007.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "train.txt").write_text("dog\\tis a\\tmammal\\n")
    >>> _ = (folder / "test.txt").write_text("cat\\tis a\\tmammal\\n")
    >>> kg = load_knowledge_graph(folder)
    >>> kg.entities, kg.counts, kg.unseen
    (('dog', 'mammal', 'cat'), (3, 1, 1, 0, 1), 1)

    STATS:

    ========= ======== ========= ======== ========== ====== ==================
    name      entities relations training validation test   unseen in training
    ========= ======== ========= ======== ========== ====== ==================
    wn18rr    40,943   11        86,835   3,034      3,134  384
    fb15k-237 14,541   237       272,115  17,535     20,466 36
    codex-s   2,034    42        32,888   1,827      1,828  0
    umls      135      46        5,216    652        661    0
    kinships  104      25        8,544    1,068      1,074  0
    ========= ======== ========= ======== ========== ====== ==================
    """
    known = KNOWLEDGE_GRAPHS.get(name) if isinstance(name, str) else None
    home = _folder(name, known) if folder is None else Path(folder)
    kg = KnowledgeGraph.from_triples(*(_triples(home, split) for split in _SPLITS))
    if known and verify and kg.counts != known[1]:
        wanted, got = (", ".join(f"{count:,}" for count in counts) for counts in (known[1], kg.counts))
        raise ValueError(
            f"{home}: expected {wanted} entities, relations, triples of training, validation and test, got {got}; "
            "restore the files, or pass verify=False"
        )
    return kg


def synset_glosses(entities: Sequence[str], path: str | os.PathLike[str] | None = None) -> tuple[str | None, ...]:
    """Words and gloss of each entity that is a noun of WordNet 3.0, such as those of WN18RR.

    Args:
        entities: eight digits each, a synset's place in WordNet's file.
        path: WordNet's ``data.noun``, plain or gzipped; by default ``wordnet/data.noun.gz`` below ``HSGEO_DATA``.

    Returns:
        ``"dog, domestic dog: a member of the genus Canis"`` and the like; None for what is no noun there.

    Raises:
        ValueError: for a damaged file.
        FileNotFoundError: if it is missing.
    """
    source = shared_data_path("wordnet/data.noun.gz") if path is None else Path(path)
    wanted = set(entities)
    found: dict[str, str] = {}
    for line, fields in text_rows(source, "|"):
        head = fields[0].split()
        if len(head) < 6 or head[0] not in wanted:
            continue
        try:
            words = head[4 : 4 + 2 * int(head[3], 16) : 2]
        except ValueError:
            raise ValueError(f"{source}, line {line}: expected a count of words, got {head[3]!r:.20}") from None
        found[head[0]] = f"{', '.join(words).replace('_', ' ')}: {'|'.join(fields[1:]).strip()}"
    return tuple(found.get(entity) for entity in entities)


def _checked(split: str, triples: Sequence[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    for number, triple in enumerate(triples):
        named = isinstance(triple, (tuple, list)) and all(isinstance(name, str) and name.strip() for name in triple)
        if not named or len(triple) != 3:
            raise ValueError(f"{split}[{number}]: expected the names of head, relation and tail, got {triple!r:.80}")
        yield triple


def _folder(name: str | os.PathLike[str], known: tuple[str, object] | None) -> Path:
    if known:
        return shared_data_path("kg") / known[0]
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name) or not Path(name).is_dir():
        raise FileNotFoundError(
            f"name: expected {', '.join(KNOWLEDGE_GRAPHS)} in kg/ below the folder that {SHARED_DATA_VARIABLE} names, "
            f"or a folder with train.txt, got {name!r}; check the path"
        )
    return Path(name)


def _triples(folder: Path, split: str) -> list[tuple[str, str, str]]:
    """Triples of a file; none where it is missing, unless it is the training's."""
    path = next((p for p in (folder / f"{split}.txt", folder / f"{split}.txt.gz") if p.exists()), None)
    if path is None and split == "train":
        raise FileNotFoundError(f"{folder}: expected train.txt or train.txt.gz, found neither; name another folder")
    triples = []
    for line, fields in text_rows(path, "\t") if path else ():
        if len(fields) != 3 or not all(field.strip() for field in fields):
            raise ValueError(
                f"{path}, line {line}: expected head, relation and tail with tabs between, got {fields!r:.80}; "
                "mend the line"
            )
        if any(map(_CONTROL.search, fields)):
            raise ValueError(
                f"{path}, line {line}: expected names, got {fields!r:.80}, control characters in them; save the file "
                "as UTF-8 text"
            )
        triples.append(tuple(fields))
    if not triples and split == "train":
        raise ValueError(f"{path}: expected triples of head, relation and tail, got none; name another folder")
    return triples

"""Build ``datasets/wordnet/`` from Debian's ``wordnet-base`` package (WordNet 3.0).

Usage::

    python datasets/make_wordnet.py                            # fetches the package with apt-get
    python datasets/make_wordnet.py wordnet-base_3.0-37_all.deb
    python datasets/make_wordnet.py /usr/share/wordnet/data.noun

Writes ``nouns.tsv.gz`` (one synset a line, in the order of ``data.noun``: its name, then the names of its direct
hypernyms, @ and @i pointers alike), ``mammals.tsv`` (the transitive closure below ``mammal.n.01``: child, ancestor),
``LICENSE`` and ``STATS.md``. Beside the standard library only this package is needed: ``python -m pip install .`` in
the folder of the checkout.
"""

from __future__ import annotations

import argparse
import gzip
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from hyperspectral_geo.atomic_write import write_atomically

HERE = Path(__file__).resolve().parent / "wordnet"
EXPECTED = {"synsets": 82_115, "direct": 84_427, "closure": 743_241, "mammals": 1_180, "mammal_edges": 6_540}

# Both ends of a mammal edge lie at or below mammal.n.01. These two children hang directly under it with no relative
# among the mammals, and the customary data set (Nickel and Kiela 2017, arXiv:1705.08039) leaves them out.
MAMMALS_LEFT_OUT = {"tusker.n.01", "female_mammal.n.01"}

STATS = """# WordNet 3.0 nouns and mammals

| file | what | nodes | edges |
|---|---|---|---|
| nouns.tsv.gz | one synset a line: its name, then its direct hypernyms (`@` and `@i`) | {synsets:,} | {direct:,} |
| (computed on loading) | transitive closure of nouns.tsv.gz | {synsets:,} | {closure:,} |
| mammals.tsv | transitive closure below mammal.n.01: child, ancestor | {mammals:,} | {mammal_edges:,} |

A synset is called `lemma.n.NN`: its first word in lower case and its sense number in `index.noun`, as in NLTK.
The mammals leave out tusker.n.01 and female_mammal.n.01, as the customary data set does
(Nickel and Kiela 2017, arXiv:1705.08039).

Source: WordNet 3.0, Princeton University, as packed in Debian's `wordnet-base` 1:3.0-37; licence in LICENSE.
Made by `datasets/make_wordnet.py`; the same input gives the same bytes.
"""


def fetch_package(folder: Path) -> Path:
    """Download the ``wordnet-base`` package into ``folder`` with apt-get and return the file."""
    subprocess.run(["apt-get", "download", "wordnet-base"], cwd=folder, check=True)
    return next(folder.glob("wordnet-base_*.deb"))


def read_text(path: Path) -> str:
    """Read a plain or gzipped file of the WordNet database."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("ascii")


def read_sources(source: Path, scratch: Path) -> tuple[str, str | None]:
    """Return the text of data.noun and, where it is at hand, of index.noun."""
    if source.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(source.resolve()), str(scratch)], check=True)
        source = scratch / "usr" / "share" / "wordnet" / "data.noun"
    index = source.with_name(source.name.replace("data.noun", "index.noun"))
    return read_text(source), read_text(index) if index != source and index.exists() else None


def parse_index(text: str) -> dict[tuple[str, str], int]:
    """Sense numbers from index.noun: (lemma, synset offset) to 1, 2, …"""
    senses = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            fields = line.split()
            offsets = fields[6 + int(fields[3]) :]  # lemma pos count p_cnt [symbols…] senses tagged [offsets…]
            senses.update({(fields[0], offset): number for number, offset in enumerate(offsets, start=1)})
    return senses


def parse_synsets(text: str) -> dict[str, tuple[str, list[str]]]:
    """Synsets from data.noun: offset to (first word in lower case, offsets of the direct hypernyms)."""
    synsets = {}
    for line in text.splitlines():
        if line.startswith(" "):  # the licence at the head of the file
            continue
        fields = line.split(" | ", 1)[0].split()
        start = 4 + 2 * int(fields[3], 16)  # after the words, each with its lexical id
        pointers = fields[start + 1 : start + 1 + 4 * int(fields[start])]
        hypernyms = [
            offset for symbol, offset in zip(pointers[::4], pointers[1::4], strict=True) if symbol in ("@", "@i")
        ]
        synsets[fields[0]] = (fields[4].lower(), hypernyms)
    return synsets


def name_synsets(synsets: dict[str, tuple[str, list[str]]], senses: dict[tuple[str, str], int]) -> dict[str, str]:
    """Give every synset the name that NLTK gives it, such as dog.n.01."""
    names = {offset: f"{lemma}.n.{senses[lemma, offset]:02d}" for offset, (lemma, _) in synsets.items()}
    repeated = [name for name, count in Counter(names.values()).items() if count > 1]
    if repeated:
        raise ValueError(f"expected unique synset names, got {len(repeated)} repeated ones, first {repeated[0]}")
    return names


def close(parents: dict[str, list[str]]) -> dict[str, list[str]]:
    """All ancestors of every node, nearest first; a walk from each node, independent of the library's own closure."""
    ancestors = {}
    for child, direct in parents.items():
        found = list(dict.fromkeys(direct))
        for node in found:  # grows while it is walked
            found += [up for up in parents[node] if up not in found]
        ancestors[child] = found
    return ancestors


def mammal_edges(ancestors: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Closure edges with both ends at or below mammal.n.01, sorted."""
    below = {child for child, up in ancestors.items() if "mammal.n.01" in up} - MAMMALS_LEFT_OUT
    inside = below | {"mammal.n.01"}
    return sorted((child, up) for child in below for up in ancestors[child] if up in inside)


def licence_text(data: str) -> str:
    """The licence that heads data.noun, without its line numbers."""
    head = [line for line in data.splitlines() if line.startswith(" ")]
    return "\n".join(re.sub(r"^ +\d+ ?", "", line).rstrip() for line in head).strip() + "\n"


def build(data: str, index: str) -> dict[str, bytes]:
    """All files of the data set as bytes; raises ``ValueError`` if a count is not the published one."""
    synsets = parse_synsets(data)
    names = name_synsets(synsets, parse_index(index))
    parents = {names[offset]: [names[up] for up in hypernyms] for offset, (_, hypernyms) in synsets.items()}
    ancestors = close(parents)
    mammals = mammal_edges(ancestors)
    counted = {
        "synsets": len(parents),
        "direct": sum(map(len, parents.values())),
        "closure": sum(map(len, ancestors.values())),
        "mammals": len({name for edge in mammals for name in edge}),
        "mammal_edges": len(mammals),
    }
    if counted != EXPECTED:
        raise ValueError(f"expected {EXPECTED}, got {counted}; is the input WordNet 3.0?")
    nouns = "".join("\t".join([child, *direct]) + "\n" for child, direct in parents.items())
    return {
        "nouns.tsv.gz": gzip.compress(nouns.encode("ascii"), compresslevel=9, mtime=0),
        "mammals.tsv": "".join(f"{child}\t{up}\n" for child, up in mammals).encode("ascii"),
        "LICENSE": licence_text(data).encode("ascii"),
        "STATS.md": STATS.format(**counted).encode(),
    }


def main() -> None:
    """Read the arguments, build every file in memory, then write them."""
    parser = argparse.ArgumentParser(description="Build datasets/wordnet from Debian's wordnet-base package.")
    parser.add_argument(
        "source", type=Path, nargs="?", help="a wordnet-base .deb, or data.noun[.gz] beside index.noun[.gz]"
    )
    parser.add_argument("--index", type=Path, help="index.noun[.gz], where it is not beside data.noun")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = arguments.source or fetch_package(Path(scratch))
        data, index = read_sources(source, Path(scratch))
    if arguments.index is not None:
        index = read_text(arguments.index)
    if index is None:
        parser.error(f"index.noun: expected it beside {source}, got none; pass --index or the .deb, which carries it")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in build(data, index).items():
        write_atomically(arguments.out / name, content)
        print(f"{arguments.out / name}: {len(content):,} bytes")


if __name__ == "__main__":
    main()

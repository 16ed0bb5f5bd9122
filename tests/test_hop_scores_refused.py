"""Tables, masks and predictions that cannot be judged, and how that is said."""

from __future__ import annotations

import math

import pytest
import torch

from hyperspectral_geo.hyperbolic import HopGraph
from hyperspectral_geo.hyperbolic.hop_scores import hop_scores
from hyperspectral_geo.hyperbolic.splits import held_out_pairs

HOPS = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0]])


def changed(value: float, row: int = 0, column: int = 1) -> torch.Tensor:
    hops = HOPS.double()
    hops[row, column] = value
    return hops


def ones(sources: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(sources), 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hops": HOPS[:2]}, r"hops: expected shape \(n, n\), or \(m, n\) with sources, got \(2, 3\)"),
        ({"hops": HOPS[0]}, r"hops: expected real distances of shape \(m, n\)"),
        ({"hops": HOPS.bool()}, "hops: expected real distances"),
        ({"hops": HOPS.tolist()}, "hops: expected real distances .* got list"),
        ({"hops": changed(math.nan)}, "hops: expected distances .* got nan from node 0 to node 1"),
        ({"hops": changed(-2)}, "got -2 from node 0 to node 1"),
        ({"hops": changed(0)}, "got 0 from node 0 to node 1"),
        ({"hops": changed(1, 2, 2)}, "got 1 from node 2 to node 2"),
        ({"hops": HOPS[[1, 0]], "sources": torch.tensor([0, 1])}, "hops: expected .* got 1 from node 0 to node 0"),
        ({"hops": HOPS[:2], "sources": torch.tensor([0])}, "sources: expected a node number for each of 2 rows"),
        ({"hops": HOPS[:1], "sources": torch.tensor([3])}, "sources: expected nodes from 0 to 2"),
        ({"hops": HOPS[:1], "sources": torch.tensor([0.0])}, "sources: expected a node number"),
        ({"hops": HOPS.new_zeros(0, 0)}, "held: expected pairs to judge, got none at all"),
        ({"hops": torch.eye(3).long() - 1}, "held: expected pairs to judge, got 6 that no walk joins"),
        ({"held": torch.zeros(3, 3, dtype=torch.bool)}, "held: expected pairs to judge, got none at all"),
        ({"held": torch.eye(3, dtype=torch.bool)}, "held: expected pairs to judge, got none at all"),
        ({"held": torch.ones(2, 3, dtype=torch.bool)}, r"held: expected a boolean mask of shape \(3, 3\)"),
        ({"held": torch.ones(3, 3)}, "held: expected a boolean mask"),
        ({"held": held_out_pairs(4, 0.5, seed=0)}, "held: expected pairs of 3 nodes, got pairs of 4"),
        ({"held": lambda rows, columns: rows}, "held: expected a function that gives a boolean mask"),
        ({"held": lambda rows, columns: None}, "held: expected a function .* got NoneType"),
        ({"graph": HopGraph.from_edges([(0, 1)])}, "graph: expected 3 nodes like hops, got 2"),
        ({"block": 0}, "block: expected a whole number of rows from 1"),
        ({"predict": lambda s: torch.ones(len(s), 2)}, r"predict: expected real predictions of shape \(3, 3\), got"),
        ({"predict": lambda s: torch.ones(3)}, "predict: expected real predictions"),
        ({"predict": lambda s: torch.ones(len(s), 3, dtype=torch.cfloat)}, "predict: expected real predictions"),
        ({"predict": lambda s: None}, "predict: expected real predictions .* got NoneType"),
        ({"predict": lambda s: changed(math.nan)[s]}, "predict: expected numbers, got NaN from node 0 to node 1"),
        ({"predict": lambda s: changed(math.inf)[s]}, "predict: expected finite .* got inf from node 0 to node 1"),
    ],
)
def test_bad_input(arguments: dict, message: str, unchecked):
    with pytest.raises(ValueError, match=message):
        hop_scores(**{"predict": ones, "hops": HOPS, **arguments})


def test_a_model_of_other_nodes_is_refused():
    class Model:
        names = ("a", "b", "c")

        def distances(self, sources: torch.Tensor) -> torch.Tensor:
            return ones(sources)

    with pytest.raises(ValueError, match="model: expected an embedding of the graph's nodes"):
        hop_scores(Model(), HOPS, graph=HopGraph.from_edges([(0, 1), (1, 2)]))


def test_no_neighbours_held_out_is_no_error():
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 2] = True
    found = hop_scores(ones, HOPS, held=mask)
    assert found.pairs == 1
    assert math.isnan(found.held_neighbour_map)
    assert not math.isnan(found.neighbour_map)

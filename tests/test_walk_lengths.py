"""Lengths −log p with directed distances, on real data: what people click on Wikispeedia's busiest pages."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from hyperspectral_geo.data import load_walks
from hyperspectral_geo.hyperbolic import HopEmbedding, held_out_pairs, hop_scores


def click_probabilities(pages: int) -> dict[tuple[str, str], float]:
    """Of each link that was taken twice or more among the busiest pages: the share of all clicks on its source."""
    clicks: Counter[tuple[str, str]] = Counter()
    for walk in load_walks():
        way: list[str] = []
        for page in walk.path:
            if page == "<":
                way = way[:-1] or way
                continue
            if way and way[-1] != page:
                clicks[way[-1], page] += 1
            way.append(page)
    on: Counter[str] = Counter()
    for (source, _), count in clicks.items():
        on[source] += count
    busy = {name for name, _ in on.most_common(pages)}
    return {link: count / on[link[0]] for link, count in clicks.items() if set(link) <= busy and count > 1}


def test_directed_distances_are_lengths_of_the_likeliest_ways(hsgeo, shared_data, tmp_path, capsys):
    shared_data("wikispeedia")
    chances = click_probabilities(150)
    file, out = tmp_path / "clicks.tsv", tmp_path / "clicks.safetensors"
    file.write_text("".join(f"{source}\t{target}\t{p}\n" for (source, target), p in chances.items()))
    options = ("--weights", "probability", "--dim", 8, "--steps", 300, "--hold-out", 0.2)
    assert hsgeo("hops", "train", file, "-o", out, *options) == 0
    model = HopEmbedding.load(out)
    number = {name: i for i, name in enumerate(model.names)}
    rows, columns = zip(*([number[name] for name in link] for link in chances), strict=True)
    n = len(number)
    true = dijkstra(csr_array(([-math.log(p) for p in chances.values()], (rows, columns)), shape=(n, n)))
    held = held_out_pairs(n, 0.2, seed=0, directed=True)
    scores = hop_scores(model, torch.from_numpy(true), held=held)
    assert scores.r2 > 0.45
    assert scores.spearman > 0.65
    found = model.distances(torch.arange(n)).double().numpy()
    both = np.isfinite(true) & np.isfinite(true.T) & ~np.eye(n, dtype=bool)
    there, back = np.where(both, true, 0), np.where(both, true, 0).T
    assert np.corrcoef((there - back)[both], (found - found.T)[both])[0, 1] > 0.6  # which way is the longer
    (source, target), p = max(chances.items(), key=lambda item: item[1])
    capsys.readouterr()
    assert hsgeo("hops", "path", out, file, source, target) == 0
    assert f"the shortest way has length {-math.log(p):.3f}" in capsys.readouterr().out

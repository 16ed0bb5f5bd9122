"""One row a layer: names, ranks and decay of known weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from hyperspectral_geo.spectral import alpha_req, describe


def test_alpha_req_against_numpy_and_in_a_window():
    eigenvalues = torch.rand(40, dtype=torch.float64) + 0.01
    ordered = np.sort(eigenvalues.numpy())[::-1]
    slope = np.polyfit(np.log(np.arange(1, 41)), np.log(ordered), 1)[0]
    assert alpha_req(eigenvalues) == pytest.approx(-slope)
    window = np.polyfit(np.log(np.arange(5, 21)), np.log(ordered[4:20]), 1)[0]
    assert alpha_req(eigenvalues, start=5, stop=20) == pytest.approx(-window)
    assert math.isnan(alpha_req(torch.tensor([1.0, 0.0])))


def test_describe_rows():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(128, 256, generator=generator)
    spiked = noise + 60 * torch.outer(torch.ones(128), torch.ones(256)) / math.sqrt(128 * 256)
    state = {
        "noise": noise,
        "spiked": 1e-3 * spiked,
        "low": torch.randn(64, 3, generator=generator) @ torch.randn(3, 80, generator=generator),
        "half": noise.bfloat16(),
        "zero": torch.zeros(4, 4),
        "kernel": torch.randn(8, 3, 3, 3, generator=generator),
        "bias": torch.ones(3),
        "steps": torch.ones(2, 2, dtype=torch.long),
    }
    rows = {row.name: row for row in describe(state)}
    assert list(rows) == ["noise", "spiked", "low", "half", "zero", "kernel"]
    assert [rows[name].noise_rank for name in ("noise", "spiked", "low", "half", "zero")] == [0, 1, 3, 0, 0]
    assert rows["low"].rank == 3
    assert rows["low"].effective_rank <= 3 + 1e-6
    assert (rows["kernel"].rows, rows["kernel"].columns) == (8, 27)
    assert rows["zero"].effective_rank == 0
    assert math.isnan(rows["zero"].alpha)
    w = noise.double().numpy()
    assert rows["noise"].stable_rank == pytest.approx(np.linalg.norm(w) ** 2 / np.linalg.norm(w, 2) ** 2, rel=1e-5)


def test_describe_module_in_order():
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Conv2d(5, 4, 3))
    assert [row.name for row in describe(model)] == ["0.weight", "2.weight"]


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"layer\.3: expected finite entries, got nan"):
        describe({"layer.3": torch.full((2, 2), torch.nan)})
    with pytest.raises(ValueError, match="source: expected a torch.nn.Module or a state dict, got list"):
        describe([torch.ones(2, 2)])
    with pytest.raises(ValueError, match="start: expected an index >= 1, got 0"):
        alpha_req(torch.ones(3), start=0)

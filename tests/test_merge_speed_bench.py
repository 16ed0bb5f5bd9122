"""The bench of merging speed: one quick run, and what it says where peft is missing."""

from __future__ import annotations

import importlib.util

import pytest

from hyperspectral_geo.benchmarks import merge_speed


def test_a_quick_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(merge_speed, "BLOCK", ((96, 64), (64, 160)))
    monkeypatch.setattr(merge_speed, "MODULES", 2)
    monkeypatch.setattr(merge_speed, "METHODS", dict(list(merge_speed.METHODS.items())[:2]))
    found = importlib.util.find_spec
    monkeypatch.setattr(merge_speed, "find_spec", lambda name: None if name == "peft" else found(name))
    table = merge_speed.run(quick=True)
    assert any("peft's rows are left out" in note for note in table.notes)
    exact = [row for row in table.rows if "dense formula" in row.figure]
    assert len(exact) == 12
    assert all(row.passed for row in exact)
    assert sum("peak memory" in row.figure for row in table.rows) == 2
    assert all(row.value > 0 for row in table.rows if row.unit == " s")

"""adapter_config.json: every field of peft is known, and names and patterns mean what they mean there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperspectral_geo.merging.adapter_config import PASSING, READ, REFUSED, AdapterConfig
from hyperspectral_geo.merging.patterns import find_pattern, require_quick

PATHS = [
    *("q", "layer.0.q", "layer.1.q", "layer.10.q", "layers.1.q", "encoder.layer.1.attention.self.query", "aq"),
    *("model.layers.1.experts.0.q", "layer.1.q.x", "h.2.c_attn", "x.layer.1.mlp.q", "classifier.q", "my_classifier.q"),
]


def test_every_field_of_peft_is_read_passed_on_or_refused() -> None:
    peft = pytest.importorskip("peft")
    known = PASSING | READ | REFUSED.keys()
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} - known == set()
    assert not PASSING & READ
    assert not (PASSING | READ) & REFUSED.keys()


@pytest.mark.parametrize(
    "pattern",
    ["q", "layer.1.q", "^layer.1", "^layer.1.q", r"layer\.\d+\.q", ".*q", "(q|c_attn)", "layer.[0-9].q", "1.q", "y"],
)
@pytest.mark.parametrize("path", PATHS)
def test_rank_patterns_mean_what_they_mean_to_peft(pattern: str, path: str) -> None:
    other = pytest.importorskip("peft.utils.other")
    patterns = {"never": 1, pattern: 2, ".*": 3}
    assert find_pattern(patterns, path, 0) == patterns.get(other.get_pattern_key(patterns, path), 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": ["q"]},
        {"target_modules": r".*layer\.\d\.q"},
        {"target_modules": ["q", "c_attn"], "exclude_modules": ["0.q"]},
        {"target_modules": ["q"], "exclude_modules": r"layers.*"},
        {"target_modules": ["q"], "layers_to_transform": [1]},
        {"target_modules": ["q", "layer.0.q"], "layers_to_transform": 1},
        {"target_modules": ["q", "query"], "layers_to_transform": [1, 10], "layers_pattern": "layer"},
        {"target_modules": ["q"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
        {"target_modules": ["q"], "modules_to_save": ["classifier"]},
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_targets_are_those_of_peft(fields: dict[str, Any], path: str) -> None:
    tuners = pytest.importorskip("peft.tuners.tuners_utils")
    defaults = {"exclude_modules": None, "layers_to_transform": None, "layers_pattern": None, "target_parameters": None}
    theirs = tuners.check_target_module_exists(SimpleNamespace(**{**defaults, **fields}), path)
    excluded = type(theirs).__name__ == "_ExcludedModule"
    found = AdapterConfig(Path("x"), fields).targets(path)
    if path == "my_classifier.q" and "modules_to_save" in fields:
        # Where peft saves a module by the end of its name, it keeps LoRA off by the whole name; refused to be safe.
        assert not found
    else:
        assert found == (bool(theirs) and not excluded)


@given(st.text(st.sampled_from("ab.*+?()[]{}|\\^$1"), max_size=14), st.text(st.sampled_from("ab1."), max_size=30))
def test_patterns_end_or_are_refused(pattern: str, path: str) -> None:
    try:
        compiled = require_quick(pattern)
    except ValueError:
        return
    compiled.fullmatch(path * 8)


@pytest.mark.parametrize(
    "pattern", ["(a*)*", "(a|a)*b", "(a|aa)+$", "(a?){9}", "a?" * 30, "(?=a)b", r"(a)\1", ".*" * 5, "(a|b)" * 20, "["]
)
def test_patterns_that_may_not_end_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="the pattern"):
        require_quick(pattern)

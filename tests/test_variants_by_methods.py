"""Every adapter variant through every method: the dense float64 reference is met, and what is saved acts as merged."""

from __future__ import annotations

import random
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import merge_cases
import pytest
import torch
from adapter_cases import CASES, AdapterCase, logits, make_adapter, peft_logits, reference_logits
from cases import randn
from merge_cases import REFERENCES, dense_reference
from safetensors.torch import load_file, save_file
from scipy.stats import rankdata
from torch import Tensor

from hyperspectral_geo.merging import (
    Delta,
    Module,
    extract_lora,
    load_adapter,
    load_checkpoint,
    merge,
    write_checkpoint,
)
from hyperspectral_geo.merging.methods import METHODS

BY_NAME = {case.name: case for case in CASES}
MIX = "several variants"
# One base model, so that plain, scaled, normed, biased, whole and half-precise changes meet in one weight.
MIX_OF = ("plain", "rsLoRA", "DoRA", "lora_bias", "patterns", "modules_to_save", "bias all", "bf16")
VARIANTS = (*BY_NAME, MIX)
WEIGHTS = (1.0, 0.5, -0.7, 0.8, 1.2, -0.3, 0.6, 0.9)
SEARCHED = 2
"""Weights of a variant for which a mean that is found by search is searched a second time; each takes seconds."""
ALWAYS = 2
"""Methods a variant that run each time; the rest of the product has the marker slow."""


def _chosen() -> set[tuple[str, str]]:
    """Pairs that always run: every method and every variant, evenly, and no second search but one."""
    draw = random.Random(0)
    quick = [name for name in METHODS if name != "grassmann"]
    deck: list[str] = []
    found = {("plain", "grassmann")}
    for variant in VARIANTS:
        if len(deck) < ALWAYS:
            deck += draw.sample(quick, len(quick))
        found |= {(variant, deck.pop()) for _ in range(ALWAYS)}
    return found


CHOSEN = _chosen()
PRODUCT = [
    pytest.param(variant, method, marks=() if (variant, method) in CHOSEN else pytest.mark.slow)
    for variant in VARIANTS
    for method in METHODS
]
# What is saved goes by few ways, whatever the method: a pair a variant, another method each time.
SAVED = [(variant, [*METHODS][3 * i % len(METHODS)]) for i, variant in enumerate(VARIANTS)]


def case_of(variant: str) -> AdapterCase:
    return BY_NAME[MIX_OF[0] if variant == MIX else variant]


@cache
def loaded(name: str, place: int) -> Module:
    """The adapter of a case as peft saves it, or for another place a second one of the kind, near the first."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_adapter(BY_NAME[name], Path(folder) / "adapter")
        file = path / "adapter_model.safetensors"
        tensors = load_file(file)
        for key, x in tensors.items() if place else ():
            size = 0.1 if "magnitude" in key else 0.7
            # peft writes the biases of saved modules several times, and the copies must stay the same
            seed = zlib.crc32(f"{place} {key.replace('.modules_to_save', '').replace('.original_module', '')}".encode())
            noise = randn(*x.shape, seed=seed) * x.double().square().mean().sqrt()
            tensors[key] = (x.double() + size * noise).to(x.dtype)
        save_file(tensors, file, metadata={"format": "pt"})
        return load_adapter(path, name=f"{name} {place}")


@cache
def base_of(variant: str) -> dict[str, Tensor]:
    return dict(case_of(variant).base().state_dict())


@cache
def modules_of(variant: str) -> tuple[Module, ...]:
    """Three modules of a variant, or one of each of several, as changes of the base."""
    names = [(n, i % 3) for i, n in enumerate(MIX_OF)] if variant == MIX else [(variant, t) for t in range(3)]
    return tuple(loaded(n, t).against(base_of(variant)) for n, t in names)


def weights_of(method: str, count: int) -> tuple[float, ...]:
    return tuple(map(abs, WEIGHTS[:count])) if method == "slerp" else WEIGHTS[:count]


def matrices_of(modules: Sequence[Module]) -> dict[str, list[Tensor | None]]:
    names = dict.fromkeys(n for m in modules for n in m.deltas)
    return {n: [None if n not in m.deltas else m.deltas[n].to(torch.float64).dense() for m in modules] for n in names}


def some(matrices: Sequence[Tensor | None]) -> Tensor:
    return next(m for m in matrices if m is not None)


def options_of(method: str, matrices: Mapping[str, Sequence[Tensor | None]]) -> dict[str, Any]:
    """Options, and for methods that need data, data drawn for each weight."""
    if method == "svd":
        return {"rank": 3}
    if method == "compress":
        return {"module_rank": 2}
    if method == "grassmann":
        return {"rank": 3, "tolerance": 1e-8}
    found: dict[str, Any] = {}
    for i, (name, ms) in enumerate(matrices.items()):
        m, n = some(ms).shape
        if method == "regmean":
            x = randn(len(ms), n // 2 + 2, n, seed=300 + i)
            found.setdefault("grams", {})[name] = x.mT @ x
        elif method == "fisher":
            found.setdefault("fishers", {})[name] = randn(len(ms), m, n, seed=400 + i).square()
        elif method == "larv":
            found.setdefault("base", {})[name] = randn(m, n, seed=500 + i)
    return found


def references(
    method: str, matrices: Mapping[str, list[Tensor | None]], weights: Sequence[float], options: dict[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """What each weight should become, by the papers' formulas on full matrices."""
    limits = _limits(method, matrices)
    scales = _layer_scales(matrices, options["base"]) if method == "larv" else {}
    for done, (name, ms) in enumerate(matrices.items()):
        if method == "grassmann" and done == SEARCHED:
            return
        merge_cases.NAME = name  # by which the references draw masks and look data up
        if method == "larv":
            yield name, scales[name] * dense_reference("linear", ms, weights)
        else:
            more = {"thresholds": [t[0] for t in limits[name]]} if limits else {}
            yield name, dense_reference(method, ms, weights, {**options, **more})


def _limits(method: str, matrices: Mapping[str, list[Tensor | None]]) -> dict[str, list[Tensor]]:
    """For each weight the bounds over the whole model, one a module that changes it."""
    if method not in ("ties", "knots_ties"):
        return {}
    entries: dict[int, list[Tensor]] = {}
    owners: dict[str, list[int]] = {}
    for name, ms in matrices.items():
        owners[name] = [t for t, m in enumerate(ms) if m is not None]
        given = [m for m in ms if m is not None]
        xs, _ = merge_cases._in_space(given, "knots" if method == "knots_ties" else "raw")
        for t, x in zip(owners[name], xs, strict=True):
            entries.setdefault(t, []).append(x.abs().flatten())
    bound = {}
    for t, parts in entries.items():
        ordered = torch.cat(parts).sort(descending=True).values
        # between the last that is kept and the first that is not, where float32 does not decide
        k = max(round(0.2 * len(ordered)), 1)
        bound[t] = ordered[k - 1 : k + 1].mean(0, keepdim=True)
    return {name: [bound[t] for t in ts] for name, ts in owners.items()}


def _layer_scales(matrices: Mapping[str, list[Tensor | None]], base: Mapping[str, Tensor]) -> dict[str, float]:
    def spread(a: Tensor) -> Tensor:
        p = torch.linalg.svdvals(a).square()
        p = (p / p.sum())[p > 1e-24 * p.sum()]
        return torch.exp(-(p * p.log()).sum())

    rated = []
    for name, ms in matrices.items():
        total, theta = torch.stack([m for m in ms if m is not None]).sum(0), base[name]
        turned = theta.mT @ total - total.mT @ theta
        rated.append([spread(theta) / spread(total), turned.norm() / (2 * theta.norm() * total.norm())])
    z = torch.tensor(rated, dtype=torch.float64)
    z = (z - z.mean(0)) / z.std(0, correction=0).clamp_min(1e-12)
    places = rankdata([round(float(e - c), 9) for e, c in z])  # from 1; equals have their mean
    return {
        name: (0.8, 1.0, 1.2)[int((place - 0.5) / len(z) * 3)] for name, place in zip(matrices, places, strict=True)
    }


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def _name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(merge_cases, "NAME", merge_cases.NAME)  # the references change it


def test_the_product_is_whole():
    assert len(VARIANTS) >= 12
    assert set(REFERENCES) == set(METHODS)
    assert {variant for variant, _ in CHOSEN} == set(VARIANTS)
    assert {method for _, method in CHOSEN} == set(METHODS)


@pytest.mark.parametrize("variant, method", PRODUCT)
def test_a_merge_is_the_dense_formula(variant: str, method: str, record_property):
    modules = modules_of(variant)
    matrices, weights = matrices_of(modules), weights_of(method, len(modules))
    options = options_of(method, matrices)
    merged = merge(modules, method=method, weights=weights, **options)
    assert set(merged.deltas) == set(matrices)
    worst = 0.0
    for name, expected in references(method, matrices, weights, options):
        found = error(merged.deltas[name].dense(), expected)
        if found > 1e-5 and method == "grassmann":  # a mean of subspaces that lie far apart need not be the only one
            found = beside_a_better_mean(merged.deltas[name], matrices[name], weights)
        worst = max(worst, found)
    for name in dict.fromkeys(n for m in modules for n in m.vectors):
        present = [(m.vectors[name].double(), w) for m, w in zip(modules, weights, strict=True) if name in m.vectors]
        total = sum(w for _, w in present)
        share = {"mean": 1 / len(present), "sum": 1.0, "proportion": 1 / total}[METHODS[method].vectors]
        expected = share * torch.stack([w * v for v, w in present]).sum(0)
        assert error(merged.vectors[name], expected) <= 1e-6
    record_property("error", worst)
    assert worst <= 1e-5


def beside_a_better_mean(merged: Delta, matrices: Sequence[Tensor | None], weights: Sequence[float]) -> float:
    """Error against the sum between the merge's own subspaces, which are as near to the modules' as the reference's."""
    given = [(m, w) for m, w in zip(matrices, weights, strict=True) if m is not None]
    svds = [(*merge_cases._svd(m), abs(w)) for m, w in given]
    shares = torch.cat([w * s.square() / s.square().sum() for _, s, _, w in svds])
    u, _, vh = merged.to(torch.float64).svd()
    total = torch.stack([w * m for m, w in given]).sum(0)
    frames = []
    for own, points in ((u, torch.cat([x[0] for x in svds], 1)), (vh.mT, torch.cat([x[2] for x in svds], 0).mT)):
        costs = [
            float((shares * torch.arccos((y.mT @ points).norm(dim=0).clamp(max=1)).square()).sum())
            for y in (own[:, :3], merge_cases._subspace_mean(points, shares / shares.sum(), 3))
        ]
        assert costs[0] <= costs[1] * (1 + 1e-6)
        frames.append(own[:, :3])
    left, right = frames
    return error(merged.dense(), left @ left.mT @ total @ right @ right.mT)


@pytest.mark.parametrize(
    "name", ["DoRA", "bf16 rsDoRA", "modules_to_save", "saved embedding", "bias all", "everything"]
)
def test_whole_values_are_refused_without_the_base(name: str):
    with pytest.raises(ValueError, match=r"use module.against\(base\)"):
        merge([loaded(name, 0), loaded(name, 1)], method="linear")


@pytest.mark.parametrize("variant, method", SAVED)
def test_what_is_saved_answers_as_the_merge(variant: str, method: str, tmp_path: Path):
    case, modules = case_of(variant), modules_of(variant)
    weights = weights_of(method, len(modules))
    options = options_of(method, matrices_of(modules))
    # of a size that leaves the network's answers finite and its saturations few
    merged = merge(modules, method=method, weights=weights, scale=0.3, **options)
    changes = {n: merged.layouts[n].to_weight(d.to(torch.float64).dense()) for n, d in merged.deltas.items()}
    expected = reference_logits(case, {**changes, **{n: v.double() for n, v in merged.vectors.items()}})
    if saved_as_adapter(merged, tmp_path / "m"):
        found = peft_logits(case, tmp_path / "m")
    else:
        merged.save(tmp_path / "m", base=base_of(variant))
        model = case.base()
        model.load_state_dict(load_file(tmp_path / "m" / "model.safetensors"))
        found = logits(model)
    assert error(found, expected) <= 1e-5
    assert error(reference_logits(case), expected) > 1e-3  # the merge is not nothing


def saved_as_adapter(merged: Module, folder: Path) -> bool:
    """Save for peft, unless it has no words for the module: changed norms, or biases beside embeddings."""
    with (
        pytest.raises(ValueError, match="pass base= to save a whole checkpoint")
        if not sayable(merged)
        else nullcontext()
    ):
        merged.save(folder, dtype=torch.float32)  # a half would round the factors
    return folder.exists()


def sayable(merged: Module) -> bool:
    layers = {name.removesuffix(".weight") for name, layout in merged.layouts.items() if layout.kind != "embedding"}
    biases = {name.removesuffix(".bias") for name, vector in merged.vectors.items() if bool(vector.any())}
    kinds = {layout.kind for layout in merged.layouts.values()}
    return biases <= layers and not (biases and "embedding" in kinds) and not {"linear", "fan_in_fan_out"} <= kinds


SINGLE = [
    pytest.param(variant, part, marks=() if part == i % 4 else pytest.mark.slow)
    for i, variant in enumerate(BY_NAME)
    for part in range(4)
]


@pytest.mark.parametrize("variant, part", SINGLE)
def test_a_single_module_goes_through_unchanged(variant: str, part: int, tmp_path: Path):
    module = modules_of(variant)[0]
    kept = [name for name, method in METHODS.items() if method.keeps_single]
    base_folder = write_checkpoint(tmp_path / "base", base_of(variant)).path
    for method in kept[part::4]:
        options = {} if method in ("svd", "grassmann") else options_of(method, matrices_of([module]))
        merged = merge([module], method=method, **options)
        require_same(merged, module)
        if saved_as_adapter(merged, tmp_path / method):
            require_same(load_adapter(tmp_path / method), module)
            continue
        merged.save(tmp_path / method, base=base_folder)
        layouts = {n: layout.kind for n, layout in module.layouts.items() if layout.kind != "conv"}
        require_same(load_checkpoint(tmp_path / method, base=base_folder, layouts=layouts), module)


def require_same(found: Module, given: Module) -> None:
    for name, delta in given.deltas.items():
        assert error(found.deltas[name].dense(), delta.to(torch.float64).dense()) <= 1e-6
    for name, vector in given.vectors.items():
        assert error(found.vectors[name], vector.double()) <= 1e-6
    for name in set(found.deltas) - set(given.deltas):  # a checkpoint names all parameters, changed or not
        assert not bool(found.deltas[name].dense().any())
    for name in set(found.vectors) - set(given.vectors):
        assert not bool(found.vectors[name].any())


@pytest.mark.parametrize("name", ["plain", "lora_bias", "convolutions", "embedding"])
def test_a_dense_merge_can_be_cut_to_factors(name: str):
    merged = merge(modules_of(name), method="ties", weights=weights_of("ties", 3))
    low, errors = extract_lora(merged, rank=4)
    for key, delta in low.deltas.items():
        s = torch.linalg.svdvals(merged.deltas[key].dense().double())
        assert errors[key] == pytest.approx(float(s[4:].norm() / s.norm()), abs=1e-5)
        assert delta.rank == min(4, len(s))

"""All merging methods on the experts of one seed and setting: merged, scaled on validation, scored on test data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hyperspectral_geo.benchmarks.image_experts import Experts, correct
from hyperspectral_geo.benchmarks.paired_bootstrap import Correct
from hyperspectral_geo.merging import Module, merge
from hyperspectral_geo.merging.adamerging import adamerging
from hyperspectral_geo.merging.apply import changed_parameters
from hyperspectral_geo.merging.calibrate import calibrate
from hyperspectral_geo.merging.fisher import diagonal_fisher
from hyperspectral_geo.merging.grams import activation_grams
from hyperspectral_geo.merging.layerwise import calibrate_layerwise
from hyperspectral_geo.merging.objectives import Head, ModuleMatching, split_folds
from hyperspectral_geo.merging.regmean_plus_plus import regmean_plus_plus

__all__ = ["CALIBRATED", "DATA_FREE", "OURS", "SCALES", "Entry", "contest"]

SCALES = (0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
"""Factors on the merged update among which validation data choose, for every method alike."""

DATA_FREE: dict[str, float | None] = {
    "linear": 0.3,
    "ties": 1.0,
    "dare": 0.3,
    "knots_ties": 1.0,
    "tsv": 1.0,
    "iso_c": 1.0,
    "iso_cts": 1.0,
    "wudi": 1.0,
    "tempered": None,
    "tempered, power 0.6": None,
}
"""Methods that see no data, with the scale that each is published with; None for ours: 2/T."""

_OPTIONS: dict[str, dict[str, Any]] = {"tempered, power 0.6": {"power": 0.6}}
OURS = "tempered"
CALIBRATED = ("regmean", "regmean++", "fisher", "adamerging", "layer-wise eigenvalues", "calibrated")
"""Methods that see unlabelled inputs; the last is ours."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What one method gives: test results at the scale that validation chose, and at the default scale.

    Attributes:
        tuned: results on the test data.
        default: likewise without tuning.
        scale: the chosen one.
        validation: normalised mean accuracy at it.
        seconds: CPU time of the merge, without tuning.
        note: what the method says of itself.
    """

    tuned: Correct
    default: Correct
    scale: float
    validation: float
    seconds: float
    note: str = ""


def contest(
    experts: Experts,
    *,
    inputs: Sequence[int],
    progress: Callable[[str], None],
    data_free: Sequence[str] = tuple(DATA_FREE),
    calibrated: Sequence[str] = CALIBRATED,
    scales: Sequence[float] = SCALES,
) -> dict[str, Entry]:
    """Every method's entry; those that see data once for each number of inputs a task, as "name, n inputs"."""
    judge = _Judge(experts, scales)
    entries: dict[str, Entry] = {}
    merged: dict[str, Module] = {}
    for name in data_free:
        progress(name)
        default = DATA_FREE[name]
        scale = 2 / len(experts.modules) if default is None else default
        merged[name], entries[name] = judge.entry(lambda name=name: (_merged(experts.modules, name), ""), scale)
    best = max(entries, key=lambda name: entries[name].validation)
    anchor = _scaled(merged[best], entries[best].scale)
    start = entries["linear"].scale
    for count in inputs:
        for name, make in _calibrated(experts, anchor, best, _drawn(experts, count), arithmetic=start).items():
            if name not in calibrated:
                continue
            progress(f"{name}, {count} inputs")
            entries[f"{name}, {count} inputs"] = judge.entry(make, 1.0)[1]
    return entries


def _merged(modules: Sequence[Module], name: str) -> Module:
    return merge(modules, method=name.partition(",")[0], **_OPTIONS.get(name, {}))


class _Judge:
    """Scores merged modules on validation and test data."""

    def __init__(self, experts: Experts, scales: Sequence[float]) -> None:
        self.experts = experts
        self.scales = scales
        own = [correct(experts, module, split="val") for module in experts.modules]
        self.own = torch.tensor([float(own[t][t].double().mean()) for t in range(len(own))])

    def entry(self, make: Callable[[], tuple[Module, str]], default: float) -> tuple[Module, Entry]:
        start = time.process_time()
        module, note = make()
        seconds = time.process_time() - start
        scale, validation = self._tuned(module)
        tuned = correct(self.experts, _scaled(module, scale), split="test")
        untuned = correct(self.experts, _scaled(module, default), split="test")
        return module, Entry(tuned, untuned, scale, validation, seconds, note)

    def _tuned(self, module: Module) -> tuple[float, float]:
        """The scale of the best normalised mean on validation data; the search ends six scales beyond a maximum."""
        found: dict[float, float] = {}
        best = self.scales[0]
        for scale in self.scales:
            results = correct(self.experts, _scaled(module, scale), split="val")
            found[scale] = float((torch.tensor([float(r.double().mean()) for r in results]) / self.own).mean())
            best = max(found, key=lambda s: found[s])
            if self.scales.index(scale) - self.scales.index(best) >= 6:
                break
        return best, found[best]


def _calibrated(
    experts: Experts, anchor: Module, anchor_name: str, inputs: Sequence[Tensor], *, arithmetic: float
) -> dict[str, Callable[[], tuple[Module, str]]]:
    """The methods that see unlabelled inputs, one tensor a task; ``arithmetic`` is task arithmetic's best scale."""
    network, modules, heads = experts.network, experts.modules, [_head(h) for h in experts.heads]
    batches = [x.split(128) for x in inputs]

    def regmean() -> tuple[Module, str]:
        return merge(modules, method="regmean", grams=_grams(experts, inputs)), ""

    def plus_plus() -> tuple[Module, str]:
        return regmean_plus_plus(network, modules, batches), ""

    def fisher() -> tuple[Module, str]:
        found = [
            diagonal_fisher(network, m, [x], loss=_drawn_label(h))
            for m, h, x in zip(modules, heads, inputs, strict=True)
        ]
        names = dict.fromkeys(name for f in found for name in f)
        stacked = {name: torch.stack([f[name] for f in found]) for name in names}
        return merge(modules, method="fisher", fishers=stacked), ""

    def ada() -> tuple[Module, str]:
        # a mini-batch of 8 a task a step, as the published 16; every input is seen
        parts = list(zip(*[x.split(8) for x in inputs], strict=True))
        found = adamerging(
            network, modules, parts, _entropy(heads), start=arithmetic, learning_rate=1e-2, steps=60, batches_per_step=1
        )
        return found, f"start {arithmetic:g}"

    def layerwise() -> tuple[Module, str]:
        halves = [[x[rows] for x, rows in zip(inputs, part, strict=True)] for part in _halves(inputs)]
        found = calibrate_layerwise(anchor, modules, [_grams(experts, half) for half in halves])
        return found.module, f"ridge {found.ridge:g}"

    def ours() -> tuple[Module, str]:
        mixing = all(x.is_floating_point() for x in inputs)
        matching = ModuleMatching(network, modules, inputs, heads=heads, mixing=mixing)
        folds = matching.folds(4 if len(inputs[0]) <= 8 else 2)
        found = calibrate(
            network, anchor, folds, matching.objective, free="core", renew=matching.renew, **_course(len(inputs[0]))
        )
        way = f"{found.course.free}, rate {found.course.learning_rate:g}, {found.course.steps} steps"
        return found.module, f"anchor {anchor_name}; {way}; held-out loss {found.gain:+.3f}"

    return dict(zip(CALIBRATED, (regmean, plus_plus, fisher, ada, layerwise, ours), strict=True))


def _course(count: int) -> dict[str, Any]:
    """What calibration may choose from: more inputs bear more and longer steps before the held-out loss rises."""
    if count <= 8:
        return {"learning_rates": {"core": (0.0007, 0.0015)}, "steps": 12, "every": 3}
    return {"learning_rates": {"core": (0.002, 0.004)}, "steps": 64, "every": 8, "batches_per_step": 1}


def _drawn(experts: Experts, count: int) -> list[Tensor]:
    """Training images of each task without their labels, the same for every method."""
    generator = torch.Generator().manual_seed(count)
    return [t.train_x[torch.randperm(len(t.train_x), generator=generator)[:count]] for t in experts.tasks]


def _halves(inputs: Sequence[Tensor]) -> list[list[Tensor]]:
    """Row numbers of each task's first and second half."""
    return [list(part) for part in zip(*[split_folds(len(x), 2) for x in inputs], strict=True)]


def _grams(experts: Experts, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Each layer's Σ x xᵀ under each module's own network, (T, n, n)."""
    found = []
    for module, x in zip(experts.modules, inputs, strict=True):
        parameters = changed_parameters(experts.network, module)
        found.append(activation_grams(experts.network, [x], parameters=parameters, weights=list(module.deltas)))
    return {name: torch.stack([f[name] for f in found]) for name in found[0]}


def _head(head: Mapping[str, Tensor]) -> Head:
    return lambda features: functional.linear(features, head["weight"], head["bias"])


def _drawn_label(head: Head) -> Callable[[Tensor, Any], Tensor]:
    """−log p of a label that the module's own answer draws."""
    generator = torch.Generator().manual_seed(0)

    def loss(features: Tensor, _: Any) -> Tensor:
        log_p = head(features).log_softmax(-1)
        label = torch.multinomial(log_p.detach().exp(), 1, generator=generator)
        return -log_p.gather(1, label).sum()

    return loss


def _entropy(heads: Sequence[Head]) -> Callable[[Any, Sequence[Tensor]], Tensor]:
    """Mean entropy of all tasks' answers, for a batch of one tensor a task."""

    def objective(forward: Any, batch: Sequence[Tensor]) -> Tensor:
        features = forward(torch.cat(list(batch))).split([len(x) for x in batch])
        losses = []
        for f, head in zip(features, heads, strict=True):
            log_p = head(f).log_softmax(-1)
            losses.append(-(log_p.exp() * log_p).sum(-1).mean())
        return torch.stack(losses).mean()

    return objective


def _scaled(module: Module, scale: float) -> Module:
    """α times all that a module changes."""
    deltas = {name: delta.scaled(scale) for name, delta in module.deltas.items()}
    return replace(module, deltas=deltas, vectors={name: scale * x for name, x in module.vectors.items()})

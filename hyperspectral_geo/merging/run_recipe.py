"""A recipe carried out: modules read, merged, proved, written, and the report beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hyperspectral_geo.merging.adapter import WEIGHTS_NAME, load_adapter
from hyperspectral_geo.merging.adapter_config import CONFIG_NAME
from hyperspectral_geo.merging.against import BaseNames
from hyperspectral_geo.merging.atomic_folder import require_absent, write_folder
from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.inspection_report import distinct
from hyperspectral_geo.merging.load_checkpoint import load_checkpoint
from hyperspectral_geo.merging.merge import merge, way_tolerance
from hyperspectral_geo.merging.merge_plan import module_weights
from hyperspectral_geo.merging.merge_report import MergeReport, MergeRow, describe_weight, write_merge_report
from hyperspectral_geo.merging.methods import METHODS, Method
from hyperspectral_geo.merging.methods.participants import require_kinds
from hyperspectral_geo.merging.module import LazyMapping, Module
from hyperspectral_geo.merging.recipe import Recipe
from hyperspectral_geo.merging.text_calibration import calibrate_on_texts, read_texts

__all__ = ["load_module", "run_recipe"]

Progress = Callable[[str, int, int], None]


def load_module(path: str | os.PathLike[str], *, base: Checkpoint | None = None, name: str | None = None) -> Module:
    """An adapter's folder, or a checkpoint beside its base, as a module whose every part is a change.

    Raises:
        ModuleFormatError, OSError: as the loaders.
        ValueError: for a checkpoint, or an adapter with whole parameters, without ``base``.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a folder of an adapter or a checkpoint, found nothing")
    if not ((path / CONFIG_NAME).exists() or (path / WEIGHTS_NAME).exists()):
        if base is None:
            raise ValueError(
                f"{path}: expected a base for a checkpoint, whose change is a difference; name it (--base)"
            )
        return load_checkpoint(path, base=base, name=name)
    module = load_adapter(path, name=name)
    if not (module.replaced or module.magnitudes):
        return module
    if base is None:
        some = next(iter({**module.magnitudes, **module.replaced}))
        raise ValueError(f"{path}: expected a base for {some}, which is there as a whole value; name it (--base)")
    return module.against(base)


def run_recipe(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    kind: Literal["adapter", "checkpoint"] | None = None,
    texts: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge as the recipe says and write a folder with the result, merge_report.json and merge_report.html.

    Args:
        recipe: from ``read_recipe`` or made in Python.
        out: the folder to make; whole or absent.
        kind: what to write; without it an adapter if all models are adapters, and else a checkpoint on the base.
        texts: lines of text on which the merged eigenvalues are calibrated, see ``calibrate_on_texts``.
        overwrite: replace an existing folder.
        progress: called as ``progress(step, done, all)``.

    Returns:
        The report, as written.

    Raises:
        ValueError, OSError: as ``merge``, the loaders and ``Module.save``; nothing is left behind.
    """
    out = Path(out)
    require_absent(out, overwrite=overwrite)
    _require_kinds(recipe)
    tell = progress or (lambda step, done, all_: None)
    base = None if recipe.base is None else Checkpoint(recipe.base)
    names = distinct([path.resolve().name for path in recipe.models])
    modules = [load_module(p, base=base, name=n) for p, n in zip(recipe.models, names, strict=True)]
    streaming = any(isinstance(m.deltas, LazyMapping) for m in modules)
    kind = kind or ("checkpoint" if streaming else "adapter")
    if kind == "checkpoint" and recipe.base is None:
        raise ValueError("base: expected the base model for a whole checkpoint, got none; name it (--base)")
    if texts is not None:
        if recipe.base is None:
            raise ValueError("calibrate: expected the base model to run the texts through, got none; name it (--base)")
        read_texts(texts, names)  # for its errors, before the work
    beside = _base_weights(base, modules)
    joined_in = torch.float32 if streaming else torch.float64  # of whole weights, float64 would double the memory
    merged = merge(
        modules,
        method=recipe.method,
        weights=recipe.weights,
        scale=recipe.scale,
        rank=recipe.rank,
        rules=[replace(r, options=_options(r.method, r.options, beside)) for r in recipe.rules],
        dtype=joined_in,
        progress=lambda done, all_: tell("merging", done, all_),
        **_options(recipe.method, recipe.options, beside),
    )
    calibration = None
    if texts is not None and recipe.base is not None:
        merged, calibration = calibrate_on_texts(
            merged, modules, recipe.base, texts, progress=lambda done, all_: tell("calibrating", done, all_)
        )
    record = _Record(merged, modules, recipe, base, lambda done, all_: tell("writing", done, all_))
    report: list[MergeReport] = []

    def fill(folder: Path) -> None:
        inside = folder / "module"
        saved = replace(merged, deltas=LazyMapping(list(merged.deltas), record.delta)).save(
            inside,
            dtype=None if recipe.dtype is None else getattr(torch, recipe.dtype),
            base=recipe.base if kind == "checkpoint" else None,
        )
        for file in inside.iterdir():
            file.rename(folder / file.name)
        inside.rmdir()
        rows = [replace(row, stored_error=saved.errors.get(row.name)) for row in record.rows.values()]
        report.append(MergeReport.of(recipe, names, kind, rows, calibration, way_tolerance(joined_in)))
        write_merge_report(folder, report[0])

    write_folder(out, fill, overwrite=overwrite)
    return report[0]


@dataclass
class _Record:
    """Hands out a merged module's updates and describes each on its way, since a stream computes it but once."""

    merged: Module
    modules: Sequence[Module]
    recipe: Recipe
    base: Checkpoint | None
    progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        self.rows: dict[str, MergeRow] = {}
        self._names = None if self.base is None else BaseNames(self.base)

    def delta(self, name: str) -> Delta:
        delta = self.merged.deltas[name]
        if name not in self.rows:
            rule = next((r for r in self.recipe.rules if fnmatchcase(name, r.pattern)), None)
            given = self.recipe.weights if rule is None or rule.weights is None else rule.weights
            weights = module_weights(given, [m.name for m in self.modules]).tolist()
            self.rows[name] = describe_weight(name, delta, self.modules, weights, base=self._base_weight(name))
            self.progress(len(self.rows), len(self.merged.deltas))
        return delta

    def _base_weight(self, name: str) -> Tensor | None:
        if self.base is None or self._names is None:
            return None
        layout = self.merged.layouts[name]
        return layout.to_matrix(self.base[self._names.require_shape(name, layout.shape, module=self.merged.name)])


def _require_kinds(recipe: Recipe) -> None:
    """Refuse option values of another kind before anything is read."""
    for name, options in (
        (recipe.method, recipe.options),
        *((r.method or recipe.method, r.options) for r in recipe.rules),
    ):
        method = METHODS.get(name) if isinstance(name, str) else name
        if method is None:
            continue  # merge names the nearest
        require_kinds(method.layer, options)
        if (inner := METHODS.get(str(options.get("inner", "tsv")))) is not None and name == "compress":
            require_kinds(inner.layer, options)
        if "base" in method.options and recipe.base is None:
            raise ValueError(f"base: {name} looks at the base model's weights, got none; name it (--base)")


def _base_weights(base: Checkpoint | None, modules: Sequence[Module]) -> Mapping[str, Tensor] | None:
    """The base's weights as matrices by the modules' names, each read when asked for."""
    if base is None:
        return None
    layouts = {name: layout for m in modules for name, layout in m.layouts.items()}
    names = BaseNames(base)

    def weight(name: str) -> Tensor:
        return layouts[name].to_matrix(base[names.find(name, module="base")])

    return LazyMapping(list(layouts), weight)


def _options(method: str | Method | None, options: Mapping[str, Any], base: Mapping[str, Tensor] | None) -> Mapping:
    """The options and, for a method that looks at the base's weights, these."""
    found = METHODS.get(method) if isinstance(method, str) else method
    return options if found is None or base is None or "base" not in found.options else {**options, "base": base}

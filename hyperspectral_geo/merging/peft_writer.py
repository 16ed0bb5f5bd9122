"""A module written as a folder that peft loads, every change as LoRA."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.merging.adapter import SCALE_NOTE, WEIGHTS_NAME
from hyperspectral_geo.merging.adapter_config import CONFIG_NAME
from hyperspectral_geo.merging.atomic_folder import require_absent, write_folder
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank, relative_difference
from hyperspectral_geo.merging.module import Layout, Module
from hyperspectral_geo.merging.peft_keys import PREFIX, name_replaced
from hyperspectral_geo.merging.saved import Saved
from hyperspectral_geo.merging.tensor_writer import cast, write_tensor_file
from hyperspectral_geo.tensor_file import Spec

__all__ = ["save_adapter"]

_PASSING = ("task_type", "auto_mapping", "base_model_name_or_path", "revision", "lora_dropout")
_HEADED_TASKS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
_REMEDY = "pass base= to save a whole checkpoint"


@dataclass
class _Folder:
    """What the folder will hold."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)


def save_adapter(
    module: Module,
    path: str | os.PathLike[str],
    *,
    rank: int | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> Saved:
    """See ``Module.save``; factors are stored as they act, with lora_alpha = r, unless they came from a peft folder.

    Those go back as they came, under their own scale. target_modules is a pattern that matches the changed layers and
    no other; ranks and alphas that differ from the most frequent go to rank_pattern and alpha_pattern. Layers whose
    dense change is exactly zero are left out.
    """
    path = Path(path)
    require_absent(path, overwrite=overwrite)
    _require_expressible(module, rank, dtype)
    biases = _layer_biases(module)
    folder = _Folder()
    for name, delta in module.deltas.items():
        layer = _layer(module, name)
        if not biases and isinstance(delta, Dense) and not bool(delta.matrix.any()):
            continue
        stored = dtype or module.stored.get(name, delta.dtype)
        folder.scales[layer] = _scale(delta, rank)
        folder.errors[name] = _add_factors(folder, layer, _factors(delta, rank), delta, module.layouts[name], stored)
        if name in module.magnitudes:
            folder.tensors[f"{PREFIX}{layer}.lora_magnitude_vector"] = cast(
                name, _magnitude(module.magnitudes[name], module.layouts[name]), stored
            )
        if biases:
            folder.errors |= _add_bias(folder, layer, biases.get(layer), module, stored)
    if not folder.ranks:
        raise ValueError(f"{module.name}: expected at least one changed weight, got none; there is nothing to save")
    keys, extra = name_replaced(module, set(folder.ranks))
    for name, key in keys.items():
        value = module.replaced[name]
        folder.tensors[PREFIX + key] = cast(name, value, dtype or module.stored.get(name, value.dtype))
    config = _config(module, folder, extra, lora_bias=bool(biases))
    specs = {key: Spec(x.dtype, tuple(x.shape)) for key, x in folder.tensors.items()}

    def fill(temporary: Path) -> None:
        write_tensor_file(temporary / WEIGHTS_NAME, specs, folder.tensors.__getitem__, metadata={"format": "pt"})
        (temporary / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    write_folder(path, fill, overwrite=overwrite)
    return Saved(path, folder.errors)


def _require_expressible(module: Module, rank: int | None, dtype: torch.dtype | None) -> None:
    if rank is not None and not rank >= 1:
        raise ValueError(f"rank: expected a whole number of at least 1, got {rank!r}; pass None to keep all")
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype: expected a floating kind of number, got {dtype}")
    kinds = {layout.kind: name for name, layout in module.layouts.items() if name in module.deltas}
    if "linear" in kinds and "fan_in_fan_out" in kinds:
        raise ValueError(
            f"{module.name}: expected all layers stored (out, in) or all (in, out), got both ({kinds['linear']} and "
            f"{kinds['fan_in_fan_out']}), which one adapter cannot say; {_REMEDY}"
        )
    if not module.magnitudes:
        return
    without = [name for name in module.deltas if name not in module.magnitudes]
    if without or any(bool(v.any()) for v in module.vectors.values()) or rank is not None:
        reason = f"{without[0]} has none" if without else "rank= is given" if rank is not None else "biases change too"
        raise ValueError(
            f"{module.name}: DoRA magnitudes can be saved as they came or not at all, but {reason}; turn them into "
            "changes with module.against(base) first"
        )


def _layer(module: Module, name: str) -> str:
    layer, _, leaf = name.rpartition(".")
    if leaf != "weight" or not layer:
        raise ValueError(f"{module.name}: peft's format holds changes of layers' weights, not of {name}; {_REMEDY}")
    return layer


def _layer_biases(module: Module) -> dict[str, Tensor]:
    """The changed biases by layer; empty if none changes."""
    found: dict[str, Tensor] = {}
    for name, vector in module.vectors.items():
        layer, _, leaf = name.rpartition(".")
        weight = f"{layer}.weight"
        if leaf == "bias" and weight in module.deltas and module.layouts[weight].kind != "embedding":
            found[layer] = vector
        elif bool(vector.any()):
            raise ValueError(
                f"{module.name}: peft's format holds changes of the biases of changed layers, not of {name}; {_REMEDY}"
            )
    if not any(bool(vector.any()) for vector in found.values()):
        return {}
    embedding = next((n for n in module.deltas if module.layouts[n].kind == "embedding"), None)
    if embedding is not None:
        raise ValueError(
            f"{module.name}: peft cannot hold changes of biases beside a changed embedding ({embedding}); {_REMEDY}"
        )
    return found


def _factors(delta: Delta, rank: int | None) -> LowRank:
    if isinstance(delta, Dense):
        u, s, vh = delta.svd()
        numerical = int((s > max(delta.shape) * torch.finfo(s.dtype).eps * s[:1]).sum())
        keep = max(1, numerical if rank is None else min(rank, numerical))
        return LowRank(u[:, :keep] * s[:keep].sqrt(), s[:keep].sqrt().unsqueeze(1) * vh[:keep])
    if rank is not None and delta.rank > rank:
        delta = delta.truncated(rank)
    if delta.rank == 0:
        zero = delta.left.new_zeros
        return LowRank(zero(delta.shape[0], 1), zero(1, delta.shape[1]))
    return delta


def _scale(delta: Delta, rank: int | None) -> float:
    """The scale that factors from a peft folder came with; 1 for all that have been computed."""
    if isinstance(delta, Dense) or (rank is not None and delta.rank > rank):
        return 1.0
    scale = float(delta.notes.get(SCALE_NOTE, 1.0))
    return scale if 1e-6 < abs(scale) < 1e6 else 1.0


def _add_factors(folder: _Folder, layer: str, low: LowRank, delta: Delta, layout: Layout, dtype: torch.dtype) -> float:
    """Store the factors as the kind of layer wants them; the relative error of what is stored."""
    scale = folder.scales[layer]
    left = cast(f"{layer}.weight", (low.left.double() / scale).to(low.dtype), dtype)
    right = cast(f"{layer}.weight", low.right, dtype)
    folder.ranks[layer] = low.rank
    error = relative_difference(LowRank(left.double(), right.double()).scaled(scale), delta)
    if layout.kind == "embedding":
        folder.tensors[f"{PREFIX}{layer}.lora_embedding_A"] = right
        folder.tensors[f"{PREFIX}{layer}.lora_embedding_B"] = left
        return error
    if layout.kind == "conv":
        right = right.reshape(low.rank, *layout.shape[1:])
        left = left.reshape(*left.shape, *[1] * (len(layout.shape) - 2))
    folder.tensors[f"{PREFIX}{layer}.lora_A.weight"] = right
    folder.tensors[f"{PREFIX}{layer}.lora_B.weight"] = left
    return error


def _add_bias(
    folder: _Folder, layer: str, vector: Tensor | None, module: Module, dtype: torch.dtype
) -> Mapping[str, float]:
    """peft wants a bias at every layer or at none: zeros where nothing changes."""
    name = f"{layer}.bias"
    given = torch.zeros(module.layouts[f"{layer}.weight"].matrix_shape[0]) if vector is None else vector
    scale = folder.scales[layer]
    stored = cast(name, (given.double() / scale).to(given.dtype), dtype)
    folder.tensors[f"{PREFIX}{layer}.lora_B.bias"] = stored
    size = float(given.double().norm())
    lost = float((stored.double() * scale - given.double()).norm())
    return {} if vector is None else {name: lost / size if size else 0.0}


def _magnitude(magnitude: Tensor, layout: Layout) -> Tensor:
    return magnitude.reshape(1, -1, *[1] * (len(layout.shape) - 2)) if layout.kind == "conv" else magnitude


def _config(module: Module, folder: _Folder, extra: Mapping[str, Any], *, lora_bias: bool) -> dict[str, Any]:
    alphas = {layer: _number(folder.scales[layer] * rank) for layer, rank in folder.ranks.items()}
    rank, rank_pattern = _pattern(folder.ranks)
    alpha, alpha_pattern = _pattern(alphas)
    config = {key: module.config[key] for key in _PASSING if key in module.config}
    if config.get("task_type") in _HEADED_TASKS and not module.replaced:
        # For these tasks peft expects the head in the file, whole.
        del config["task_type"]
    return {
        **config,
        "peft_type": "LORA",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": rank_pattern,
        "alpha_pattern": alpha_pattern,
        "target_modules": "|".join(re.escape(layer) for layer in folder.ranks),
        "use_rslora": False,
        "use_dora": bool(module.magnitudes),
        "lora_bias": lora_bias,
        "fan_in_fan_out": any(module.layouts[f"{layer}.weight"].kind == "fan_in_fan_out" for layer in folder.ranks),
        "init_lora_weights": True,
        "bias": "none",
        "modules_to_save": None,
        **extra,
    }


def _pattern(values: Mapping[str, int | float]) -> tuple[int | float, dict[str, int | float]]:
    """The most frequent value, and the others by patterns that match one layer each."""
    usual = Counter(values.values()).most_common(1)[0][0]
    return usual, {f"^{re.escape(layer)}": value for layer, value in values.items() if value != usual}


def _number(x: float) -> int | float:
    """As a whole number where it is one, which is what other readers of the format expect."""
    return round(x) if abs(x - round(x)) < 1e-9 * abs(x) else x

"""Under which names a peft file holds parameters of the base model in full: read and written."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import torch

from hyperspectral_geo.merging.adapter_config import AdapterConfig
from hyperspectral_geo.merging.format_error import refusal
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.patterns import ends_a_path
from hyperspectral_geo.tensor_file import TensorFile

__all__ = ["EMBEDDING_NAMES", "PREFIX", "Parts", "find_replaced", "name_replaced"]

PREFIX = "base_model.model."
"""Before every name in an adapter's file."""

EMBEDDING_NAMES = frozenset(
    (
        *("embed_tokens", "lm_head", "wte", "wpe", "word_embeddings", "tok_embeddings", "embed_in", "embed_out"),
        *("shared", "embeddings", "embedding", "embed_positions", "position_embeddings", "token_type_embeddings"),
    )
)
"""Layers that peft saves whole when the vocabulary has been resized."""

Parts = Mapping[str, str]
"""Of one layer: peft's name for the part → key in the file."""


def find_replaced(
    file: TensorFile, others: Mapping[str, str], layers: Mapping[str, Parts], config: AdapterConfig
) -> dict[str, str]:
    """Base parameters that the file holds in full → their keys.

    Args:
        file: the adapter's tensors.
        others: the keys that are no LoRA parts, by what follows peft's prefix.
        layers: the layers with LoRA and their parts.
        config: which modules are saved whole and whether biases are trained.

    Raises:
        ModuleFormatError: naming the tensor, if nothing says what it is there for.
    """
    found: dict[str, str] = {}
    copies: list[tuple[str, str]] = []
    for rest, key in others.items():
        module, _, leaf = rest.rpartition(".")
        owner, _, wrapper = module.rpartition(".")
        if config.trains_biases and wrapper in ("original_module", "modules_to_save") and config.saves(f"{owner}.x"):
            # With bias="all" peft writes the biases of saved modules three times; that of the original has no effect.
            if wrapper == "modules_to_save":
                copies.append((f"{owner}.{leaf}", key))
        elif wrapper == "base_layer" and owner in layers and _is_whole(leaf, layers[owner], config):
            found[f"{owner}.{leaf}"] = key
        elif module in layers:
            raise refusal(file.path, key, "peft would ignore it: parameters of a LoRA layer are named …base_layer…")
        elif (
            config.saves(rest)
            or (config.trains_biases and leaf == "bias")
            or (leaf == "weight" and module.rpartition(".")[2] in EMBEDDING_NAMES)
        ):
            found[rest] = key
        else:
            raise refusal(
                file.path,
                key,
                "expected only LoRA weights, modules_to_save, trained biases and embeddings; if it belongs to the "
                "adapter, save that with peft's save_pretrained, which leaves the adapter's name out of the keys",
            )
    for name, key in copies:
        if name not in found or not torch.equal(file[key], file[found[name]]):
            raise refusal(file.path, key, f"expected a copy of {name!r}, got other numbers; the file is inconsistent")
    return found


def _is_whole(leaf: str, parts: Parts, config: AdapterConfig) -> bool:
    return (leaf == "bias" and config.trains_biases) or (leaf == "weight" and "lora_embedding_A" in parts)


def name_replaced(module: Module, layers: AbstractSet[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The key of each of ``module.replaced`` behind peft's prefix, and the fields of the configuration they need.

    Args:
        module: the module.
        layers: the layers that get LoRA; peft keeps what they had under ``base_layer``.
    """
    given = module.config.get("modules_to_save") or ()
    keys: dict[str, str] = {}
    saved: dict[str, None] = dict.fromkeys(given) if module.replaced else {}
    biases = False
    for name in module.replaced:
        layer, _, leaf = name.rpartition(".")
        if any(ends_a_path(m, layer) for m in given):
            keys[name] = name
        elif layer in layers:
            keys[name] = f"{layer}.base_layer.{leaf}"
            biases |= leaf == "bias"
        elif leaf == "bias":
            keys[name] = name
            biases = True
        else:
            keys[name] = name
            if layer.rpartition(".")[2] not in EMBEDDING_NAMES:  # those peft loads wherever they are
                saved[layer] = None
    fields: dict[str, Any] = {"modules_to_save": list(saved) or None}
    if biases:
        fields["bias"] = module.config.get("bias", "all")
    return keys, fields

"""What adapter_config.json says: the fields that change the mathematics, and a refusal of those not understood."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperspectral_geo.merging.format_error import ModuleFormatError, refusal
from hyperspectral_geo.merging.patterns import ends_a_path, find_pattern, matches_whole, require_quick
from hyperspectral_geo.tensor_file import read_json

__all__ = ["CONFIG_NAME", "PASSING", "READ", "REFUSED", "AdapterConfig", "read_config"]

CONFIG_NAME = "adapter_config.json"
_MOST_CONFIG_BYTES = 1 << 22

PASSING = frozenset(
    (
        *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
        *("lora_dropout", "megatron_core", "qalora_group_size", "eva_config", "corda_config", "lora_ga_config"),
        *("runtime_config", "merge_weights"),
    )
)
"""Fields that leave the learned function as it is: they pass through to ``Module.config``."""

READ = frozenset(
    (
        *("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "lora_bias", "bias", "fan_in_fan_out"),
        *("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save"),
        *("layers_to_transform", "layers_pattern", "init_lora_weights"),
    )
)
"""Fields that are understood."""

REFUSED: Mapping[str, str] = {
    "layer_replication": "layers used twice have no weights of their own to change",
    "megatron_config": "its layers are split over devices",
    "trainable_token_indices": "single rows of an embedding",
    "loftq_config": "its base model is quantised at load",
    "alora_invocation_tokens": "it acts on some tokens only, so it is no change of a weight",
    "use_qalora": "it pools its inputs",
    "arrow_config": "it routes between adapters by the input, so it is no change of a weight",
    "use_bdlora": "its factors are stored as blocks",
    "kasa_config": "it cuts the base weight at load",
    "velora_config": "it projects activations",
    "monteclora_config": "its factors are random",
    "target_parameters": "it changes parameters outside of layers",
    "ensure_weight_tying": "it ties weights at load",
}
"""Fields that change the mathematics in ways not supported here, and why; other unknown fields are refused too."""

_HARMLESS_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
_BASE_CHANGING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class AdapterConfig:
    """The checked fields of a LoRA configuration; names are peft's."""

    path: Path
    fields: Mapping[str, Any]

    @property
    def use_dora(self) -> bool:
        """Whether each layer has a magnitude vector."""
        return bool(self.fields.get("use_dora"))

    @property
    def lora_bias(self) -> bool:
        """Whether each B has a bias."""
        return bool(self.fields.get("lora_bias"))

    @property
    def fan_in_fan_out(self) -> bool:
        """Whether two-dimensional weights are stored as (in, out)."""
        return bool(self.fields.get("fan_in_fan_out"))

    @property
    def trains_biases(self) -> bool:
        """Whether biases of the base model are in the file."""
        return self.fields.get("bias", "none") != "none"

    def rank(self, path: str) -> int:
        """R of the layer at ``path``."""
        return find_pattern(self.fields.get("rank_pattern") or {}, path, self.fields["r"])

    def scale(self, path: str) -> float:
        """alpha/r of the layer at ``path``, alpha/√r with rsLoRA (Kalajdzievski 2023, arXiv:2312.03732)."""
        alpha = find_pattern(self.fields.get("alpha_pattern") or {}, path, self.fields["lora_alpha"])
        rank = self.rank(path)
        return alpha / math.sqrt(rank) if self.fields.get("use_rslora") else alpha / rank

    def targets(self, path: str) -> bool:
        """Whether peft would put LoRA on the layer at ``path``, so that its weights in the file have an effect."""
        if matches_whole(self.fields.get("exclude_modules") or (), path) or self.saves(f"{path}.weight"):
            return False
        wanted = self.fields.get("target_modules")
        if wanted is None or wanted == "all-linear":
            return True
        if not matches_whole(wanted, path):
            return False
        if isinstance(wanted, str) or path in wanted:
            return True
        return self._in_chosen_layer(path)

    def saves(self, name: str) -> bool:
        """Whether the parameter ``name`` belongs to one of modules_to_save."""
        layer = name.rpartition(".")[0]
        return any(ends_a_path(m, layer) for m in self.fields.get("modules_to_save") or ())

    def _in_chosen_layer(self, path: str) -> bool:
        chosen = self.fields.get("layers_to_transform")
        if chosen is None or chosen == []:
            return True
        patterns = self.fields.get("layers_pattern") or [None]
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            start = r".*?\.[^.]*" if pattern is None else rf"(?:^|.*?\.){pattern}"
            match = re.match(rf"{start}\.(?P<index>\d+)\.", path)
            if match is not None:
                return int(match["index"]) in ([chosen] if isinstance(chosen, int) else chosen)
        return False


def read_config(folder: Path) -> AdapterConfig:
    """The configuration in ``folder``, every field of it understood or known to be harmless.

    Raises:
        ModuleFormatError: naming the field.
        OSError: if the file cannot be opened.
    """
    path = folder / CONFIG_NAME
    fields = read_json(path, refusal, most_bytes=_MOST_CONFIG_BYTES)
    _refuse_foreign_mathematics(path, fields)
    for name in ("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out"):
        if not isinstance(fields.get(name), bool | None):
            raise _wrong(path, name, "true or false", fields[name])
    if fields.get("bias", "none") not in ("none", "all", "lora_only"):
        raise _wrong(path, "bias", "'none', 'all' or 'lora_only'", fields["bias"])
    if fields.get("lora_bias") and fields.get("use_dora"):
        raise ModuleFormatError(path, "lora_bias and use_dora exclude each other, got both; peft refuses this too")
    _check_numbers(path, fields)
    _check_names(path, fields)
    return AdapterConfig(path, fields)


def _refuse_foreign_mathematics(path: Path, fields: Mapping[str, Any]) -> None:
    if fields.get("peft_type") != "LORA":
        raise ModuleFormatError(path, f"peft_type: expected 'LORA', got {ascii(fields.get('peft_type'))[:40]}; others "
                                "are not supported")  # fmt: skip
    for name, value in fields.items():
        if name in REFUSED and value not in (None, False, [], {}):
            reason = f"{name}: not supported ({REFUSED[name]}), got {ascii(value)[:60]}; train or save without it"
            raise ModuleFormatError(path, reason)
        if name not in PASSING | READ | REFUSED.keys() and value:
            shown = f"{ascii(name)[:60]}: {ascii(value)[:60]}"
            raise ModuleFormatError(
                path, f"the field {shown} is not known here and may change the mathematics; remove it if it does not"
            )
    start = fields.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_BASE_CHANGING_STARTS):
        raise ModuleFormatError(
            path,
            f"init_lora_weights: {ascii(start)[:40]} changes the base model at load; save the adapter with "
            "path_initial_model_for_weight_conversion, which makes it a plain LoRA",
        )
    if not isinstance(start, bool | str | None) or start not in _HARMLESS_STARTS:
        raise _wrong(path, "init_lora_weights", f"one of {_HARMLESS_STARTS}", start)


def _check_numbers(path: Path, fields: Mapping[str, Any]) -> None:
    if not _is_rank(fields.get("r")):
        raise _wrong(path, "r", "a whole number of at least 1", fields.get("r"))
    if not _is_alpha(fields.get("lora_alpha")):
        raise _wrong(path, "lora_alpha", "a finite number", fields.get("lora_alpha"))
    for name, fits, wanted in (
        ("rank_pattern", _is_rank, "whole numbers of at least 1"),
        ("alpha_pattern", _is_alpha, "finite numbers"),
    ):
        patterns = fields.get(name) or {}
        if not isinstance(patterns, dict) or not all(fits(v) for v in patterns.values()):
            raise _wrong(path, name, f"an object of patterns and {wanted}", patterns)
        for pattern in patterns:
            _check_pattern(path, name, pattern, wrapped=rf"(.*\.)?({pattern})$")


def _check_names(path: Path, fields: Mapping[str, Any]) -> None:
    for name in ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern"):
        value = fields.get(name)
        if isinstance(value, str) and name != "modules_to_save":
            _check_pattern(path, name, value, wrapped=value)
        elif value is not None and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise _wrong(path, name, "a list of names", value)
        elif name == "layers_pattern":
            for pattern in value or ():
                _check_pattern(path, name, pattern, wrapped=pattern)
    chosen = fields.get("layers_to_transform")
    if chosen is not None and not all(type(i) is int for i in (chosen if isinstance(chosen, list) else [chosen])):
        raise _wrong(path, "layers_to_transform", "a whole number or a list of them", chosen)


def _check_pattern(path: Path, field: str, pattern: str, *, wrapped: str) -> None:
    try:
        require_quick(pattern)
        re.compile(wrapped)
    except (ValueError, re.error) as error:
        raise ModuleFormatError(path, f"{field}: {error}") from error


def _is_rank(value: object) -> bool:
    return type(value) is int and 1 <= value < 1 << 31


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _wrong(path: Path, field: str, expected: str, got: object) -> ModuleFormatError:
    return ModuleFormatError(path, f"{field}: expected {expected}, got {ascii(got)[:80]}")

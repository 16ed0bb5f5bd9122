"""Adapters in peft's format: LoRA, rsLoRA and DoRA on linear, embedding and convolution layers, read exactly."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from hyperspectral_geo.merging.adapter_config import CONFIG_NAME, PASSING, AdapterConfig, read_config
from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.format_error import ModuleFormatError, refusal
from hyperspectral_geo.merging.module import Layout, Module
from hyperspectral_geo.merging.peft_keys import PREFIX, Parts, find_replaced
from hyperspectral_geo.tensor_file import TensorFile, all_finite

__all__ = ["SCALE_NOTE", "WEIGHTS_NAME", "load_adapter"]

WEIGHTS_NAME = "adapter_model.safetensors"
SCALE_NOTE = "lora_scale"

_PARTS = ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_embedding_A", "lora_embedding_B")
_MAGNITUDE = "lora_magnitude_vector"
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_adapter(path: str | os.PathLike[str], *, name: str | None = None, base_name: str | None = None) -> Module:
    """Read a peft folder; what the module changes is exactly what peft would add to the base model.

    ΔW = s B A with s = alpha/r, or alpha/√r with rsLoRA, r and alpha by layer from rank_pattern and alpha_pattern;
    a bias of B changes the layer's bias by s·bias; modules_to_save and trained biases go to ``replaced``, DoRA's
    magnitudes to ``magnitudes``. Half precisions are held in float32, and ``stored`` remembers what to save them in.
    Each delta's ``notes`` hold its s as ``lora_scale``.

    Args:
        path: folder with adapter_config.json and adapter_model.safetensors.
        name: the module's name; the folder's by default.
        base_name: stands for base_model_name_or_path, where two names mean the same base model.

    Returns:
        The module; its parameters go by the base model's names. An adapter that has not been trained (B = 0) loads.

    Raises:
        ModuleFormatError: naming the file and the tensor or field: a field that changes the mathematics and is not
            supported, weights that peft would ignore or miss, shapes whose ranks disagree, NaN or infinity, another
            kind of number, a pickle, a damaged file.
        OSError: if the folder or a file in it cannot be opened.

    A layer is taken as stored (in, out) if fan_in_fan_out is set, as transformers' Conv1D is; the file does not say
    more. If an adapter mixes both kinds of layers, `Module.against` refuses those whose shape does not fit.

    References:
        E. J. Hu et al., *LoRA*, arXiv:2106.09685. S.-Y. Liu et al., *DoRA*, arXiv:2402.09353.
    """
    folder = Path(path)
    _require_folder(folder)
    config = read_config(folder)
    file = TensorFile(folder / WEIGHTS_NAME, refuse=refusal)
    layers, others = _sort_keys(file)
    if not layers:
        raise ModuleFormatError(file.path, "expected LoRA weights, got none")
    replaced = find_replaced(file, others, layers, config)
    deltas: dict[str, LowRank] = {}
    layouts: dict[str, Layout] = {}
    vectors: dict[str, Tensor] = {}
    magnitudes: dict[str, Tensor] = {}
    stored: dict[str, torch.dtype] = {}
    for layer, parts in layers.items():
        _require_parts(file.path, layer, parts, config)
        weight = f"{layer}.weight"
        a, b = _factors(file, layer, parts, config)
        layouts[weight] = layout = _layout(a, b, config, embedding="lora_embedding_A" in parts)
        scale = config.scale(layer)
        left = _scaled(file, parts, b.reshape(len(b), -1), scale)
        # Remembered for saving: B comes back to the bit only if it is divided by the scale that it was multiplied by.
        deltas[weight] = LowRank(left, a.reshape(len(a), -1).to(left.dtype), {SCALE_NOTE: scale})
        stored[weight] = file.entries[next(iter(parts.values()))].dtype
        if "lora_B.bias" in parts:
            vectors[f"{layer}.bias"] = _bias(file, parts["lora_B.bias"], scale, len(b))
            stored[f"{layer}.bias"] = file.entries[parts["lora_B.bias"]].dtype
        if _MAGNITUDE in parts:
            magnitudes[weight] = _magnitude(file, parts[_MAGNITUDE], layout)
    stored.update({n: file.entries[key].dtype for n, key in replaced.items() if n not in stored})
    return Module(
        name=(folder.name or folder.resolve().name) if name is None else name,
        deltas=deltas,
        layouts=layouts,
        vectors=vectors,
        replaced={n: _finite(file, key) for n, key in replaced.items()},
        magnitudes=magnitudes,
        config=_passing(config, base_name),
        stored=stored,
    )


def _require_folder(folder: Path) -> None:
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: expected a peft folder, found nothing; check the path")
    pickles = (".bin", ".pt", ".pth", ".ckpt")
    if not folder.is_dir():
        remedy = "convert it with `hsgeo convert FILE OUT`" if folder.suffix in pickles else "pass the folder it is in"
        raise ModuleFormatError(folder, f"expected a peft folder, got a file; {remedy}")
    if not (folder / CONFIG_NAME).exists():
        raise ModuleFormatError(folder, f"expected a peft folder with {CONFIG_NAME}, found none")
    if not (folder / WEIGHTS_NAME).exists():
        found = sorted(p.name for p in folder.iterdir() if p.suffix in pickles)
        remedy = (
            f"found {found[0]!a}, a pickle, which can run code: convert it with "
            f"`hsgeo convert {found[0]!a} {WEIGHTS_NAME}`"
            if found
            else "found none"
        )
        raise ModuleFormatError(folder, f"expected {WEIGHTS_NAME}; {remedy}")


def _sort_keys(file: TensorFile) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Keys of LoRA parts by layer, and all others by what follows peft's prefix."""
    layers: dict[str, dict[str, str]] = {}
    others: dict[str, str] = {}
    for key, entry in file.entries.items():
        if entry.dtype not in _FLOATS:
            raise refusal(file.path, key, f"expected a floating kind of number, got {entry.dtype}; it is not supported")
        if not key.startswith(PREFIX):
            raise refusal(file.path, key, f"expected a name that starts with {PREFIX!r}, as peft writes; refused")
        rest = key.removeprefix(PREFIX)
        for part in (*_PARTS, _MAGNITUDE):
            if rest.endswith(f".{part}"):
                layers.setdefault(rest.removesuffix(f".{part}"), {})[part] = key
                break
        else:
            others[rest] = key
    return layers, others


def _require_parts(path: Path, layer: str, parts: Parts, config: AdapterConfig) -> None:
    """Both factors, and what the configuration promises; nothing that peft would leave unread."""
    embedding = any(part.startswith("lora_embedding") for part in parts)
    wanted = {"lora_embedding_A", "lora_embedding_B"} if embedding else {"lora_A.weight", "lora_B.weight"}
    if config.lora_bias and not embedding:
        wanted.add("lora_B.bias")
    if config.use_dora:
        wanted.add(_MAGNITUDE)
    key = next(iter(parts.values()))
    missing = sorted(wanted - parts.keys())
    if missing:
        raise refusal(path, key, f"expected {missing[0]} beside it, found none; the adapter is incomplete")
    extra = sorted(parts.keys() - wanted)
    if extra:
        raise refusal(path, parts[extra[0]], "adapter_config.json does not announce it, so peft would ignore it")
    if config.lora_bias and embedding:
        raise refusal(path, key, "lora_bias is set, which peft does not support for embeddings")
    if not config.targets(layer):
        raise refusal(path, key, "target_modules does not name this layer, so peft would ignore it")


def _factors(file: TensorFile, layer: str, parts: Parts, config: AdapterConfig) -> tuple[Tensor, Tensor]:
    """A (r, in, …) and B (out, r, …), their ranks checked against each other and the configuration."""
    embedding = "lora_embedding_A" in parts
    key_a, key_b = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
    a, b = file.entries[parts[key_a]].shape, file.entries[parts[key_b]].shape
    rank = config.rank(layer)
    if a[:1] != (rank,):
        raise refusal(file.path, parts[key_a], f"expected rank {rank} by adapter_config.json, got shape {a}")
    allowed = (2,) if embedding else (2, 3, 4, 5)
    if len(a) not in allowed or len(b) != len(a) or b[1] != rank or any(n != 1 for n in b[2:]):
        hint = "; grouped convolutions are not supported" if len(b) > 2 and rank % b[1] == 0 and b[1] != rank else ""
        ones = ", 1" * (len(a) - 2)
        raise refusal(file.path, parts[key_b], f"expected shape (out, {rank}{ones}) beside A of {a}, got {b}{hint}")
    return _finite(file, parts[key_a]), _finite(file, parts[key_b])


def _layout(a: Tensor, b: Tensor, config: AdapterConfig, *, embedding: bool) -> Layout:
    out, inside = b.shape[0], a.shape[1]
    if embedding:
        return Layout("embedding", (inside, out))
    if a.ndim > 2:
        return Layout("conv", (out, *a.shape[1:]))
    return Layout("fan_in_fan_out", (inside, out)) if config.fan_in_fan_out else Layout("linear", (out, inside))


def _finite(file: TensorFile, key: str) -> Tensor:
    """The tensor in float32, or float64 if stored so, and finite."""
    x = file[key]
    if not all_finite(x):
        raise refusal(file.path, key, "expected finite numbers, got NaN or infinity; the training has diverged")
    return x if x.dtype == torch.float64 else x.float()


def _scaled(file: TensorFile, parts: Parts, b: Tensor, scale: float) -> Tensor:
    """S·B, one rounding from exact."""
    left = (b.double() * scale).to(b.dtype)
    if not all_finite(left):
        raise refusal(file.path, next(iter(parts.values())), f"its scale {scale:.3g} takes B beyond {b.dtype}")
    return left


def _bias(file: TensorFile, key: str, scale: float, out: int) -> Tensor:
    if file.entries[key].shape != (out,):
        raise refusal(file.path, key, f"expected shape ({out},), got {file.entries[key].shape}")
    return _scaled(file, {"": key}, _finite(file, key), scale)


def _magnitude(file: TensorFile, key: str, layout: Layout) -> Tensor:
    """DoRA's m, (out,); peft keeps it as (1, out, 1, …) for convolutions."""
    out = layout.matrix_shape[0]
    wanted = (1, out, *[1] * (len(layout.shape) - 2)) if layout.kind == "conv" else (out,)
    if file.entries[key].shape != wanted:
        raise refusal(file.path, key, f"expected shape {wanted}, got {file.entries[key].shape}")
    return _finite(file, key).reshape(out)


def _passing(config: AdapterConfig, base_name: str | None) -> dict[str, object]:
    fields: dict[str, object] = {k: v for k, v in config.fields.items() if k in PASSING}
    fields |= {k: config.fields[k] for k in ("modules_to_save",) if config.fields.get(k)}
    if config.trains_biases:
        fields["bias"] = config.fields["bias"]
    if base_name is not None:
        fields["base_model_name_or_path"] = base_name
    return fields

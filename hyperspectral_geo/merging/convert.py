"""The way from pickled weights to safetensors, without running what the pickle says."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from hyperspectral_geo.merging.format_error import ModuleFormatError, refusal
from hyperspectral_geo.merging.tensor_writer import write_tensor_file
from hyperspectral_geo.tensor_file import Spec

__all__ = ["convert"]

_WRAPPERS = ("state_dict", "model", "module", "model_state_dict")


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], *, overwrite: bool = False) -> list[str]:
    """Write the tensors of a ``.bin``, ``.pt``, ``.pth`` or ``.ckpt`` file to a safetensors file.

    The pickle is read by torch's unpickler for weights alone, which builds tensors and plain containers and refuses
    everything else; nothing of it runs. The file is mapped, so that memory holds one tensor at a time.

    Args:
        source: what torch.save wrote: a state dict, or an object with one under state_dict, model or module.
        target: the file to make; whole or absent.
        overwrite: replace an existing file.

    Returns:
        The names of the tensors written. Of names for the same memory, as tied weights are, the first is written and
        the metadata says which others mean it.

    Raises:
        ModuleFormatError: if the file is not such a pickle, or holds anything but tensors.
        FileExistsError: if ``target`` exists and ``overwrite`` is not set.
        OSError: if a file cannot be opened or written.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: expected a name that ends in .safetensors, got {target.suffix!r}")
    if os.path.lexists(target) and not overwrite:
        raise FileExistsError(f"{target}: expected a new file, but it exists; allow it to be replaced with overwrite")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: expected a file in an existing folder, got none at {target.parent}")
    tensors = _tensors(source, _load(source))
    names: dict[str, Tensor] = {}
    seen: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    for name, x in tensors.items():
        place = (x.data_ptr(), x.dtype, tuple(x.shape), x.stride())
        if x.numel() and seen.setdefault(place, name) != name:
            aliases[name] = seen[place]
        else:
            names[name] = x
    specs = {name: Spec(x.dtype, tuple(x.shape)) for name, x in names.items()}
    _write(target, specs, names, {**aliases, "format": "pt"})
    return list(names)


def _load(source: Path) -> object:
    if not source.exists():
        raise FileNotFoundError(f"{source}: expected a file, found nothing; check the path")
    if not source.is_file():
        raise ModuleFormatError(source, "expected a file, got a folder or a device")
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=_is_zip(source))
    except Exception as error:  # whatever torch raises on a damaged or hostile file
        reason = " ".join(str(error).split())[:200]
        raise ModuleFormatError(
            source, f"expected weights that torch.load(weights_only=True) accepts, got {type(error).__name__}: {reason}"
        ) from error


def _is_zip(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _tensors(source: Path, loaded: object) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise ModuleFormatError(source, f"expected tensors by name, got {type(loaded).__name__}")
    for name, x in loaded.items():
        if not isinstance(name, str) or not isinstance(x, Tensor):
            shown = name if isinstance(name, str) else repr(name)
            raise refusal(source, shown[:200], f"expected a tensor, got {type(x).__name__}; save the state dict alone")
        if x.layout != torch.strided or x.is_quantized or x.device.type == "meta":
            raise refusal(source, name, "expected a plain dense tensor; densify or dequantise it first")
    return dict(loaded)


def _write(target: Path, specs: Mapping[str, Spec], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        write_tensor_file(temporary, specs, tensors.__getitem__, metadata=metadata)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise

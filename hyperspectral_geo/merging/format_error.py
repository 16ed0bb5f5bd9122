"""The one error of files that hold a module."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ModuleFormatError", "refusal"]


class ModuleFormatError(ValueError):
    """A file of an adapter or a checkpoint that cannot be read as what it claims to be.

    The message names the file, the tensor or field, if one is to blame, what was expected and the remedy.

    Attributes:
        path: the file.
        tensor: the tensor's name, or None.
        reason: what is wrong.
    """

    def __init__(self, path: Path | str, reason: str, *, tensor: str | None = None) -> None:
        where = f"{path}" if tensor is None else f"{path}: tensor {ascii(tensor)[:300]}"
        super().__init__(f"{where}: {reason}")
        self.path = Path(path)
        self.tensor = tensor
        self.reason = reason


def refusal(path: Path, tensor: str | None, reason: str) -> ModuleFormatError:
    """The error, from what a reader knows."""
    return ModuleFormatError(path, reason, tensor=tensor)

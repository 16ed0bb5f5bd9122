"""Whole checkpoints: read tensor by tensor, differences as modules, sums written in shards, in little memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoint_cases import model, write
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from hyperspectral_geo.merging import Dense, LowRank, Module, merge
from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.extract import extract_lora
from hyperspectral_geo.merging.format_error import ModuleFormatError
from hyperspectral_geo.merging.load_checkpoint import load_checkpoint
from hyperspectral_geo.merging.merged_checkpoint import write_checkpoint
from hyperspectral_geo.merging.module import Layout


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shard_bytes", [1, 600, 10**9])
def test_what_is_written_is_what_is_read(dtype: torch.dtype, shard_bytes: int, tmp_path: Path) -> None:
    tensors = model(0, dtype)
    folder = write(tmp_path / "model", tensors, shard_bytes)
    found = Checkpoint(folder)
    assert set(found) == set(tensors)
    assert all(torch.equal(found[n], x) and found.spec(n) == (x.dtype, tuple(x.shape)) for n, x in tensors.items())
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):  # safetensors itself agrees
        names |= load_file(file).keys()
    assert names == set(tensors)


def test_difference_and_sum_return_the_tuned_model(tmp_path: Path) -> None:
    base, tuned = model(0), model(1)
    module = load_checkpoint(write(tmp_path / "tuned", tuned, 300), base=write(tmp_path / "base", base))
    assert set(module.deltas) == {"embed_tokens.weight", "layer.q.weight", "conv.weight"}
    assert set(module.vectors) == {"layer.q.bias", "norm.weight", "scale"}
    assert module.layouts["embed_tokens.weight"].kind == "embedding"
    assert module.layouts["conv.weight"] == Layout("conv", (4, 3, 2, 2))
    (tmp_path / "base" / "config.json").write_text('{"model_type": "x", "dtype": "float32"}')
    (tmp_path / "base" / "modeling.py").write_text("raise SystemExit")
    saved = module.save(tmp_path / "sum", base=tmp_path / "base")
    found = Checkpoint(saved.path)
    for name, x in tuned.items():
        torch.testing.assert_close(found[name], x, rtol=1e-6, atol=1e-6)
    assert (saved.path / "config.json").exists()
    assert not (saved.path / "modeling.py").exists()
    assert saved.error < 1e-6


def test_merging_streams_and_keeps_the_kind(tmp_path: Path) -> None:
    base, one, two = (write(tmp_path / n, model(i, torch.bfloat16)) for i, n in enumerate(("base", "one", "two")))
    merged = merge([load_checkpoint(p, base=base) for p in (one, two)], method="linear", weights=[0.5, 0.5])
    saved = merged.save(tmp_path / "merged", base=base)
    b, x, y, z = (Checkpoint(p) for p in (base, one, two, saved.path))
    for name in b:
        assert z.spec(name) == b.spec(name)
        if b[name].is_floating_point() and b[name].ndim > 1:
            exact = b[name].double() + 0.5 * (x[name].double() + y[name].double() - 2 * b[name].double())
            torch.testing.assert_close(z[name], exact.to(torch.bfloat16), rtol=0.01, atol=1e-5)
    assert 0 < saved.errors["layer.q.weight"] < 0.01  # bf16 keeps 8 bits
    wide = merged.save(tmp_path / "wide", base=base, dtype=torch.float32)
    assert wide.error < 1e-6
    assert Checkpoint(wide.path).spec("layer.q.weight").dtype == torch.float32


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    tied = model(0)
    tied["lm_head.weight"] = tied["embed_tokens.weight"]
    saved = write_checkpoint(tmp_path / "base", tied)
    assert saved.tied == {"lm_head.weight": "embed_tokens.weight"}
    assert "lm_head.weight" not in Checkpoint(saved.path)
    # A tuned model that was saved with the head written out, as some tools do, is still one tied weight.
    tuned = model(1)
    tuned["lm_head.weight"] = tuned["embed_tokens.weight"].clone()
    module = load_checkpoint(write(tmp_path / "tuned", tuned), base=saved.path)
    assert "lm_head.weight" not in module.deltas
    tuned["lm_head.weight"][0, 0] += 1
    with pytest.raises(ModuleFormatError, match="lm_head.weight.*does not have it"):
        load_checkpoint(write(tmp_path / "untied", tuned), base=saved.path)


def test_adapter_and_checkpoint_give_the_same_sum(tmp_path: Path) -> None:
    base = model(0)
    module = load_checkpoint(write(tmp_path / "tuned", model(1)), base=write(tmp_path / "base", base), rank=2)
    with pytest.raises(ValueError, match="norm.weight.*pass base="):
        module.save(tmp_path / "adapter")
    plain = Module("m", dict(module.deltas), module.layouts, stored=module.stored)
    saved = plain.save(tmp_path / "adapter")
    assert saved.error < 1e-6
    assert json.loads((saved.path / "adapter_config.json").read_text())["r"] == 2


def test_prefix_of_the_base_may_differ(tmp_path: Path) -> None:
    base = {f"model.{n}": x for n, x in model(0).items()}
    change = LowRank(torch.ones(8, 1), torch.ones(1, 8))
    module = Module("m", {"layer.q.weight": change}, {"layer.q.weight": Layout("linear", (8, 8))})
    saved = module.save(tmp_path / "sum", base=base)
    assert torch.equal(Checkpoint(saved.path)["model.layer.q.weight"], base["model.layer.q.weight"] + 1)
    twice = base | {f"other.{n}": x for n, x in model(0).items()}
    with pytest.raises(ValueError, match="layer.q.weight.*end of 2 parameters"):
        module.save(tmp_path / "other", base=twice)
    with pytest.raises(ValueError, match="expected 'layer.q.weight' in the base model, found none"):
        module.save(tmp_path / "other", base={"a": torch.ones(1)})


def test_extraction_finds_the_rank_and_says_what_it_loses() -> None:
    g = torch.Generator().manual_seed(0)
    low = torch.randn(96, 3, generator=g) @ torch.randn(3, 64, generator=g)
    noisy = low + 0.01 * torch.randn(96, 64, generator=g)
    module = Module("m", {"w": Dense(noisy)}, {"w": Layout("linear", (96, 64))})
    found, errors = extract_lora(module)
    assert found.deltas["w"].rank == 3
    exact = float((found.deltas["w"].dense() - noisy).norm() / noisy.norm())
    assert errors["w"] == pytest.approx(exact, rel=1e-4)
    assert extract_lora(found, rank=1)[1]["w"] > errors["w"]
    with pytest.raises(ValueError, match="rank: expected a whole number"):
        extract_lora(module, rank=0)


def test_checkpoints_are_cut_above_their_noise(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    base = {"q.weight": torch.randn(96, 64, generator=g), "c_attn.weight": torch.randn(8, 24, generator=g)}
    signal = torch.randn(96, 2, generator=g) @ torch.randn(2, 64, generator=g)
    tuned = {**base, "q.weight": base["q.weight"] + signal + 0.01 * torch.randn(96, 64, generator=g)}
    folders = write(tmp_path / "tuned", tuned), write(tmp_path / "base", base)
    (tmp_path / "base" / "config.json").write_text('{"model_type": "gpt2"}')
    module = load_checkpoint(folders[0], base=folders[1], rank="noise_edge")
    assert module.deltas["q.weight"].rank == 2
    torch.testing.assert_close(module.deltas["q.weight"].dense(), signal, rtol=0.1, atol=0.1)
    assert not module.deltas["c_attn.weight"].dense().any()  # unchanged, and there
    assert module.layouts["c_attn.weight"].kind == "fan_in_fan_out"
    named = load_checkpoint(folders[0], base=folders[1], layouts={"c_*": "linear"}, name="mine")
    assert (named.name, named.layouts["c_attn.weight"].kind) == ("mine", "linear")


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_extraction_error_is_the_tail_of_the_spectrum(rows: int, columns: int, rank: int, seed: int) -> None:
    w = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    lora, errors = extract_lora(Module("m", {"w": Dense(w)}, {"w": Layout("linear", (rows, columns))}), rank=rank)
    s = torch.linalg.svdvals(w)
    assert lora.deltas["w"].rank == min(rank, rows, columns)
    assert errors["w"] == pytest.approx(float(s[rank:].norm() / s.norm()), abs=1e-12)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda t: t.pop("scale"), "scale.*the base model has it"),
        (lambda t: t.update(more=torch.ones(3)), "more.*does not have it"),
        (lambda t: t.update({"embed_tokens.weight": torch.ones(24, 8)}), "embed_tokens.*vocabulary resized"),
        (lambda t: t.update({"norm.weight": torch.ones(9)}), "norm.weight.*expected shape"),
        (lambda t: t.update(position_ids=torch.ones(7, dtype=torch.int64)), "position_ids.*dequantise"),
    ],
)
def test_checkpoints_that_do_not_belong_together_are_refused(spoil, message: str, tmp_path: Path) -> None:
    tuned = model(1)
    spoil(tuned)
    with pytest.raises(ModuleFormatError, match=message):
        load_checkpoint(write(tmp_path / "tuned", tuned), base=write(tmp_path / "base", model(0)))


def _index(folder: Path, change) -> None:
    path = folder / "model.safetensors.index.json"
    fields = json.loads(path.read_text())
    change(fields["weight_map"])
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: _index(f, lambda m: m.update(scale="../x.safetensors")), "a file in this folder"),
        (lambda f: _index(f, lambda m: m.update(scale="/etc/passwd")), "a file in this folder"),
        (lambda f: _index(f, lambda m: m.update(scale="gone.safetensors")), "which is missing"),
        (lambda f: _index(f, lambda m: m.pop("scale")), "scale.*does not place it here"),
        (lambda f: _index(f, lambda m: m.update(more=m["scale"])), "more.*expects it here"),
        (lambda f: _index(f, lambda m: m.update(scale=3)), "weight_map: expected an object"),
        (lambda f: (f / "model.safetensors.index.json").write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda f: (f / "model.safetensors.index.json").write_text("[" * 100_000), "not valid JSON"),
        (lambda f: (f / "model.safetensors.index.json").write_text('{"a": 1, "a": 2}'), "a key occurs twice"),
    ],
)
def test_broken_indices_are_refused(spoil, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "model", model(0), 300)
    spoil(folder)
    with pytest.raises(ModuleFormatError, match=message):
        Checkpoint(folder)


def test_numbers_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    tensors = model(0)
    tensors["layer.q.weight"][2, 3] = float("nan")
    found = Checkpoint(write(tmp_path / "model", tensors))
    with pytest.raises(ModuleFormatError, match="layer.q.weight.*NaN"):
        found["layer.q.weight"]
    assert found["norm.weight"].shape == (8,)

"""A small adapter of every kind of layer, and ways to spoil it with what the refusal must say."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

__all__ = ["CONFIG", "HOSTILE", "WEIGHTS", "P", "edit_header", "edit_tensors", "write"]

P = "base_model.model."
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

Header = dict[str, Any]


def tensors() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        f"{P}layer.0.q.lora_A.weight": torch.randn(2, 4, generator=g),
        f"{P}layer.0.q.lora_B.weight": torch.randn(3, 2, generator=g),
        f"{P}layer.1.k.lora_A.weight": torch.randn(4, 3, generator=g).bfloat16(),
        f"{P}layer.1.k.lora_B.weight": torch.randn(5, 4, generator=g).bfloat16(),
        f"{P}embed_tokens.lora_embedding_A": torch.randn(2, 6, generator=g),
        f"{P}embed_tokens.lora_embedding_B": torch.randn(4, 2, generator=g),
        f"{P}conv.lora_A.weight": torch.randn(2, 3, 2, 2, generator=g),
        f"{P}conv.lora_B.weight": torch.randn(4, 2, 1, 1, generator=g),
        f"{P}score.weight": torch.randn(2, 4, generator=g),
    }


def config() -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 3,
        "use_rslora": True,
        "rank_pattern": {"k": 4},
        "alpha_pattern": {r"layer\.\d+\.k": 5},
        "target_modules": ["q", "k", "embed_tokens", "conv"],
        "modules_to_save": ["score"],
        "bias": "none",
        "fan_in_fan_out": False,
        "task_type": None,
    }


def write(folder: Path) -> Path:
    folder.mkdir()
    save_file(tensors(), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config()))
    return folder


def edit_config(**changes: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / CONFIG).write_text(json.dumps({**config(), **changes}))


def edit_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        changed = tensors()
        change(changed)
        save_file(changed, folder / WEIGHTS)

    return apply


def edit_header(change: Callable[[Header], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        change(header)
        put_header(folder, json.dumps(header).encode())

    return apply


def put_header(folder: Path, text: bytes) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def header_text(change: Callable[[str], str]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        length = int.from_bytes(raw[:8], "little")
        put_header(folder, change(raw[8 : 8 + length].decode()).encode("utf-8", "surrogatepass"))

    return apply


def rename(old: str, new: str) -> Callable[[Header], object]:
    return lambda header: header.update({new: header.pop(old)})


Q = f"{P}layer.0.q.lora_A.weight"
QB = f"{P}layer.0.q.lora_B.weight"
CONV_B = f"{P}conv.lora_B.weight"


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    # the file as a whole
    "empty file": (_bytes(lambda raw: b""), "without a whole header"),
    "cut in the header": (_bytes(lambda raw: raw[:100]), "without a whole header"),
    "cut in the data": (_bytes(lambda raw: raw[:-5]), "cut short or padded"),
    "padded": (_bytes(lambda raw: raw + b"\0"), "cut short or padded"),
    "header of 2^63 bytes": (_bytes(lambda raw: b"\xff" * 7 + b"\x7f" + raw[8:]), "without a whole header"),
    "a pickle": (_bytes(lambda raw: b"\x80\x04" + raw), "pickle.*hsgeo convert"),
    "a zip": (_bytes(lambda raw: b"PK\x03\x04" + raw), "pickle.*hsgeo convert"),
    "random bytes": (_bytes(lambda raw: random.Random(0).randbytes(1000)), "without a whole header"),
    "a folder": (lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()), "got a folder"),
    "only a pickle": (lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"), "hsgeo convert 'adapter_model.bin'"),
    # the header
    "nested 100,000 deep": (lambda f: put_header(f, b"[" * 100_000), "not valid JSON"),
    "no object": (lambda f: put_header(f, b"[1, 2]"), "expected a JSON object"),
    "not UTF-8": (lambda f: put_header(f, b'{"\xff": 1}'), "not valid JSON"),
    "a key twice": (header_text(lambda t: t[:-1].rstrip("} ") + '}, "a": 1, "a": 2}'), "not valid JSON.*twice"),
    "a field twice": (header_text(lambda t: t.replace('"dtype":"F32"', '"dtype":"F32","dtype":"F32"', 1)), "twice"),
    "NaN as an offset": (header_text(lambda t: t.replace("[0,", "[NaN,", 1)), "not valid JSON"),
    "integer of 5,000 digits": (header_text(lambda t: t.replace("[0,", f"[{'9' * 5000},", 1)), "not valid JSON"),
    "metadata a number": (edit_header(lambda h: h.update(__metadata__={"a": 1})), "texts only"),
    "entry a list": (edit_header(lambda h: h.update({Q: [1]})), "layer.0.q.lora_A.*expected dtype"),
    "a field more": (edit_header(lambda h: h[Q].update(stride=1)), "layer.0.q.lora_A.*expected dtype"),
    "unknown dtype": (edit_header(lambda h: h[Q].update(dtype="F8_E4M3")), "layer.0.q.lora_A.*F8_E4M3"),
    "dtype a list": (edit_header(lambda h: h[Q].update(dtype=["F32"])), "layer.0.q.lora_A.*expected dtype"),
    "negative length": (edit_header(lambda h: h[Q].update(shape=[-2, -4])), "layer.0.q.lora_A.*lengths"),
    "length zero": (edit_header(lambda h: h[Q].update(shape=[0, 4])), "layer.0.q.lora_A.*at least 1"),
    "absurd shape": (edit_header(lambda h: h[Q].update(shape=[1 << 61, 1 << 61])), "layer.0.q.lora_A.*needs"),
    "length true": (edit_header(lambda h: h[Q].update(shape=[True, 8])), "layer.0.q.lora_A.*lengths"),
    "overlapping": (
        edit_header(lambda h: h[Q].update(data_offsets=[x + 4 for x in h[Q]["data_offsets"]])),
        "corrupt",
    ),
    "beyond the file": (edit_header(lambda h: h[Q].update(data_offsets=[1 << 40, (1 << 40) + 32])), "corrupt"),
    "backwards": (edit_header(lambda h: h[Q].update(data_offsets=[32, 0])), "layer.0.q.lora_A.*needs"),
    "no tensors": (lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 2) + b"{}"), "expected LoRA weights"),
    # names
    "out of the folder": (edit_header(rename(Q, f"{P}../../etc/x.lora_A.weight")), "printable characters"),
    "backslash": (edit_header(rename(Q, f"{P}a\\b.lora_A.weight")), "printable characters"),
    "control character": (edit_header(rename(Q, f"{P}a\x1b[31m.lora_A.weight")), "printable characters"),
    "right-to-left override": (edit_header(rename(Q, f"{P}a\u202eb.lora_A.weight")), "printable characters"),
    "half a character": (edit_header(rename(Q, f"{P}a\ud800b.lora_A.weight")), "not valid JSON.*surrogates"),
    "empty name": (edit_header(rename(Q, "")), "printable characters"),
    "very long name": (edit_header(rename(Q, P + "a" * 1000)), "printable characters"),
    "no prefix": (edit_header(rename(Q, "layer.0.q.lora_A.weight")), "starts with 'base_model.model.'"),
    "adapter's name in the key": (edit_header(rename(Q, f"{P}layer.0.q.lora_A.default.weight")), "save_pretrained"),
    "unknown part": (edit_header(rename(Q, f"{P}layer.0.q.lora_C.weight")), "lora_C.*expected only LoRA"),
    "not a target": (
        edit_header(lambda h: (rename(Q, f"{P}v.lora_A.weight")(h), rename(QB, f"{P}v.lora_B.weight")(h))),
        "v.lora_A.*target_modules",
    ),
    # numbers and shapes
    "NaN": (edit_tensors(lambda t: t[Q][1].fill_(float("nan"))), "layer.0.q.lora_A.*NaN"),
    "infinity": (edit_tensors(lambda t: t[QB][1].fill_(float("inf"))), "layer.0.q.lora_B.*infinity"),
    "NaN in the head": (edit_tensors(lambda t: t[f"{P}score.weight"].fill_(float("nan"))), "score.weight.*NaN"),
    "A without B": (edit_tensors(lambda t: t.pop(QB)), "layer.0.q.lora_A.*expected lora_B"),
    "B without A": (edit_tensors(lambda t: t.pop(Q)), "layer.0.q.lora_B.*expected lora_A"),
    "ranks disagree": (edit_tensors(lambda t: t.update({QB: torch.ones(3, 5)})), "layer.0.q.lora_B.*expected shape"),
    "rank of no pattern": (edit_tensors(lambda t: t.update({Q: torch.ones(3, 4)})), "layer.0.q.lora_A.*rank 2"),
    "a vector": (edit_tensors(lambda t: t.update({QB: torch.ones(3)})), "layer.0.q.lora_B.*expected shape"),
    "a scalar": (edit_tensors(lambda t: t.update({Q: torch.tensor(1.0)})), "layer.0.q.lora_A.*rank 2"),
    "grouped convolution": (
        edit_tensors(lambda t: t.update({CONV_B: torch.ones(4, 1, 1, 1)})),
        "conv.lora_B.*grouped convolutions",
    ),
    "whole numbers": (edit_tensors(lambda t: t.update({Q: torch.ones(2, 4, dtype=torch.int8)})), "lora_A.*floating"),
    "magnitude not announced": (
        edit_tensors(lambda t: t.update({f"{P}layer.0.q.lora_magnitude_vector": torch.ones(3)})),
        "magnitude_vector.*does not announce",
    ),
    "bias not announced": (
        edit_tensors(lambda t: t.update({f"{P}layer.0.q.lora_B.bias": torch.ones(3)})),
        "lora_B.bias.*does not announce",
    ),
    "trained bias not announced": (
        edit_tensors(lambda t: t.update({f"{P}norm.bias": torch.ones(3)})),
        "norm.bias.*expected only LoRA",
    ),
    "linear and embedding": (
        edit_tensors(lambda t: t.update({f"{P}embed_tokens.lora_A.weight": torch.ones(2, 6)})),
        "embed_tokens.lora_A.*does not announce",
    ),
    # the configuration
    "no configuration": (lambda f: (f / CONFIG).unlink(), "adapter_config.json, found none"),
    "empty configuration": (lambda f: (f / CONFIG).write_text(""), "not valid JSON"),
    "configuration a list": (lambda f: (f / CONFIG).write_text("[]"), "expected a JSON object"),
    "configuration nested deep": (lambda f: (f / CONFIG).write_text('{"a":' * 100_000), "not valid JSON"),
    "configuration not UTF-8": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe{}"), "not valid JSON"),
    "configuration of 5 MB": (lambda f: (f / CONFIG).write_text(" " * 5_000_000), "at most"),
    "another method": (edit_config(peft_type="IA3"), "peft_type: expected 'LORA', got 'IA3'"),
    "no method": (edit_config(peft_type=None), "peft_type"),
    "rank zero": (edit_config(r=0), "r: expected a whole number"),
    "rank true": (edit_config(r=True), "r: expected a whole number"),
    "rank a text": (edit_config(r="2"), "r: expected a whole number"),
    "alpha infinite": (
        lambda f: (f / CONFIG).write_text('{"peft_type":"LORA","r":2,"lora_alpha":1e999}'),
        "lora_alpha",
    ),
    "alpha NaN": (lambda f: (f / CONFIG).write_text('{"peft_type":"LORA","r":2,"lora_alpha":NaN}'), "not valid JSON"),
    "flag a text": (edit_config(use_rslora="false"), "use_rslora: expected true or false"),
    "DoRA without magnitudes": (edit_config(use_dora=True), "lora_magnitude_vector beside it"),
    "bias without biases": (edit_config(lora_bias=True), "lora_B.bias beside it"),
    "unknown bias": (edit_config(bias="some"), "bias: expected"),
    "pattern without end": (edit_config(rank_pattern={"(a+)+b": 3}), "rank_pattern.*repeats a group"),
    "pattern with many branches": (edit_config(target_modules="(a|a)" * 40), "target_modules.*branches"),
    "pattern with many repeats": (edit_config(target_modules="a*" * 40), "target_modules.*repeats 40 times"),
    "pattern broken": (edit_config(target_modules="("), "target_modules.*no regular expression"),
    "pattern a list": (edit_config(rank_pattern=[1]), "rank_pattern: expected an object"),
    "targets numbers": (edit_config(target_modules=[1]), "target_modules: expected a list of names"),
    "targets others": (edit_config(target_modules=["v"]), "target_modules does not name"),
    "start that changes the base": (edit_config(init_lora_weights="pissa_niter_4"), "path_initial_model"),
    "unknown start": (edit_config(init_lora_weights="zeros"), "init_lora_weights: expected"),
    "unknown field": (edit_config(use_magic=True), "use_magic.*not known here"),
    "layers twice": (edit_config(layer_replication=[[0, 2], [1, 3]]), "layer_replication: not supported"),
    "tokens": (edit_config(trainable_token_indices=[3]), "trainable_token_indices: not supported"),
    "activated LoRA": (edit_config(alora_invocation_tokens=[3]), "alora_invocation_tokens: not supported"),
    "QALoRA": (edit_config(use_qalora=True), "use_qalora: not supported"),
    "parameters": (edit_config(target_parameters=["x"]), "target_parameters: not supported"),
    "blocks": (edit_config(use_bdlora={"nblocks": 2}), "use_bdlora: not supported"),
    "routing": (edit_config(arrow_config={"top_k": 2}), "arrow_config: not supported"),
    "Megatron": (edit_config(megatron_config={"a": 1}), "megatron_config: not supported"),
    "KaSA": (edit_config(kasa_config={"a": 1}), "kasa_config: not supported"),
    "overflowing scale": (edit_config(lora_alpha=1e29, alpha_pattern={"q": 1e29, "k": 1e29, "conv": 1e29}), "beyond"),
}

"""``hsgeo merge``: what is written is what the library merges, proved in its report, and whole or absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperspectral_geo.merging import LayerRule, Layout, LowRank, Module, merge
from hyperspectral_geo.merging.adapter import load_adapter
from hyperspectral_geo.merging.delta import relative_difference
from hyperspectral_geo.merging.methods import METHODS
from hyperspectral_geo.merging.text_calibration import read_texts

SHAPES = {"layers.0.q.weight": (8, 6), "layers.1.v.weight": (6, 6)}
LAYOUTS = {name: Layout("linear", shape) for name, shape in SHAPES.items()}

Run = Callable[..., int]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("cat", "dog"):
        deltas = {n: LowRank(0.1 * torch.randn(m, 2), torch.randn(2, k)) for n, (m, k) in SHAPES.items()}
        Module(name, deltas, LAYOUTS, config={"base_model_name_or_path": "toy"}).save(tmp_path / name)
    return tmp_path / "cat", tmp_path / "dog"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    save_file(
        {**{n: torch.randn(s) for n, s in SHAPES.items()}, "norm.bias": torch.zeros(6)},
        tmp_path / "base/model.safetensors",
    )
    return tmp_path / "base"


def tuned(folder: Path, base: Path) -> Path:
    tensors = {n: x + 0.1 * torch.randn(x.shape) for n, x in load_file(base / "model.safetensors").items()}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join((captured.out + captured.err).split())


def test_adapters_become_an_adapter_with_its_report(hsgeo: Run, pair: tuple[Path, Path], tmp_path: Path, capsys):
    assert (
        hsgeo("merge", *pair, "-o", tmp_path / "out", "--method", "linear", "--weights", "1", ".5", "--scale", "2") == 0
    )
    assert "2 weights from 2 modules" in said(capsys)
    modules = [load_adapter(p) for p in pair]
    wanted = merge(modules, method="linear", weights=[1.0, 0.5], scale=2.0)
    written = load_adapter(tmp_path / "out")
    for name, delta in wanted.deltas.items():
        assert relative_difference(written.deltas[name], delta) < 1e-6
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert report["proof"]["holds"]
    assert report["proof"]["way_error"] < 1e-12
    assert (report["method"], report["weights"], report["models"]) == ("linear", [1.0, 0.5], ["cat", "dog"])
    assert sum(report["shares"].values()) == pytest.approx(1.0)
    for row in report["rows"]:
        assert max(row["alone"].values()) < 1e-12
        assert row["stored_error"] < 1e-6
        assert row["norm"] == pytest.approx(float(wanted.deltas[row["name"]].dense().norm()), rel=1e-5)
        assert len(row["attribution"]["relations"]) == 1
    page = (tmp_path / "out" / "merge_report.html").read_text()
    for heading in ("Proof of the way", "Whose the result is", "Spectra", "Angles between the modules", "Every weight"):
        assert heading in page


def test_a_base_proves_each_module_in_its_weights(hsgeo: Run, pair: tuple[Path, Path], base: Path, tmp_path: Path):
    assert (
        hsgeo("merge", *pair, "-o", tmp_path / "out", "--base", base, "--as", "checkpoint", "--method", "linear") == 0
    )
    before, after = (load_file(p / "model.safetensors") for p in (base, tmp_path / "out"))
    wanted = merge([load_adapter(p) for p in pair], method="linear")
    for name in SHAPES:
        assert torch.allclose(after[name], before[name] + wanted.deltas[name].dense(), atol=1e-6)
    assert torch.equal(after["norm.bias"], before["norm.bias"])
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert all(0 <= row["in_base"] < 1e-12 for row in report["rows"])


def test_checkpoints_stream_through(hsgeo: Run, base: Path, tmp_path: Path):
    folders = [tuned(tmp_path / name, base) for name in ("a", "b")]
    assert (
        hsgeo("merge", *folders, "-o", tmp_path / "out", "--base", base, "--method", "linear", "--weights", "0.5,0.5")
        == 0
    )
    after = load_file(tmp_path / "out" / "model.safetensors")
    for name, x in after.items():
        wanted = sum(load_file(f / "model.safetensors")[name] for f in folders) / 2
        assert torch.allclose(x, torch.as_tensor(wanted), atol=1e-6)
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert (report["kind"], len(report["rows"])) == ("checkpoint", 2)
    assert report["rows"][0]["attribution"]["spectrum"]["rank"] == 6


def test_a_recipe_with_rules(hsgeo: Run, pair: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(
        "merge_method: ties\nmodels: [{model: cat}, {model: dog}]\nparameters: {density: 0.5}\ndtype: float16\n"
        "rules: [{pattern: 'layers.1*', merge_method: linear, weights: [1.0, 0.0]}]\n"
    )
    assert hsgeo("merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out") == 0
    written, cat = load_adapter(tmp_path / "out"), load_adapter(pair[0])
    assert relative_difference(written.deltas["layers.1.v.weight"], cat.deltas["layers.1.v.weight"]) < 2e-3
    rules = [LayerRule("layers.1*", method="linear", weights=[1.0, 0.0])]
    wanted = merge([load_adapter(p) for p in pair], method="ties", density=0.5, rules=rules).deltas["layers.0.q.weight"]
    assert relative_difference(written.deltas["layers.0.q.weight"], wanted) < 2e-3
    assert {str(x.dtype) for x in load_file(tmp_path / "out" / "adapter_model.safetensors").values()} == {
        "torch.float16"
    }
    assert "layers.1*" in (tmp_path / "out" / "merge_report.html").read_text()


def test_folders_of_one_name_are_told_apart(hsgeo: Run, pair: tuple[Path, Path], tmp_path: Path):
    assert hsgeo("merge", pair[0], pair[0], "-o", tmp_path / "out", "--rank", "1") == 0
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert report["models"] == ["cat", "cat (2)"]
    assert report["rank"] == 1


def test_the_list_of_methods(hsgeo: Run, capsys: pytest.CaptureFixture[str]):
    assert hsgeo("merge", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(METHODS)
    assert all(len(line.split()) > 3 for line in lines)
    assert "[density" in next(line for line in lines if line.startswith("ties "))


def test_a_folder_with_foreign_things_is_never_replaced(
    hsgeo: Run, pair: tuple[Path, Path], tmp_path: Path, monkeypatch, capsys
):
    (tmp_path / "out" / "photos").mkdir(parents=True)
    (tmp_path / "out" / "photos" / "x.txt").write_text("mine")
    assert hsgeo("merge", *pair, "-o", tmp_path / "out", "--overwrite") == 2
    assert "'photos'" in said(capsys)
    assert (tmp_path / "out" / "photos" / "x.txt").read_text() == "mine"
    monkeypatch.chdir(tmp_path / "out")
    for path in (".", "..", tmp_path / "out" / ".."):
        assert hsgeo("merge", *pair, "-o", path, "--overwrite") == 2
        assert "the working directory or one above it" in said(capsys)


@pytest.mark.parametrize("method", ["svd", "grassmann"])
def test_a_rank_among_the_options_is_the_rank(hsgeo: Run, pair: tuple[Path, Path], tmp_path: Path, capsys, method: str):
    assert hsgeo("merge", *pair, "-o", tmp_path / "out", "--method", method, "--option", "rank=1") == 0
    assert "stored to" in said(capsys)
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert report["rank"] == 1
    assert all(row["rank"] == 1 for row in report["rows"])


def test_rules_reach_the_report_and_larv_has_its_base(hsgeo: Run, pair: tuple[Path, Path], base: Path, tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(
        "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: cat}, {model: dog}]\n"
        "rules: [{pattern: 'layers.1*', weights: [2, 0]}, {pattern: '*', merge_method: larv}]\n"
    )
    assert hsgeo("merge", tmp_path / "recipe.yaml", "-o", tmp_path / "out") == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "merge_report.json").read_text())["rows"]}
    assert rows["layers.1.v.weight"]["energy"] == pytest.approx(1.0)
    assert "layer_scale" in rows["layers.0.q.weight"]["notes"]


def test_an_existing_folder_is_replaced_only_when_asked(hsgeo: Run, pair: tuple[Path, Path], tmp_path: Path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert hsgeo("merge", *pair, "-o", tmp_path / "out") == 2
    assert "overwrite" in said(capsys)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    assert hsgeo("merge", *pair, "-o", tmp_path / "out", "--overwrite") == 0
    assert not (tmp_path / "out" / "mine.txt").exists()


@pytest.mark.parametrize(
    "arguments, match",
    [
        (["cat", "dog"], "expected folders or a recipe, and --out"),
        (["cat", "dog", "-o", "out", "--method", "tise"], "did you mean 'ties'"),
        (["cat", "dog", "-o", "out", "--method", "ties", "--option", "densty=0.5"], "did you mean 'density'"),
        (["cat", "dog", "-o", "out", "--option", "density"], "expected key=value"),
        (["cat", "dog", "-o", "out", "--method", "regmean"], "grams"),
        (["cat", "dog", "-o", "out", "--weights", "1"], "expected 2 numbers"),
        (["cat", "dog", "-o", "out", "--weights", "1,x"], "expected numbers, got 'x'"),
        (["cat", "dog", "-o", "out", "--weights", "0,0"], "not all zero"),
        (["cat", "dog", "-o", "out", "--dtype", "int8"], "dtype: expected one of"),
        (["cat", "dog", "-o", "out", "--as", "file"], "--as: expected adapter or checkpoint"),
        (["cat", "dog", "-o", "out", "--as", "checkpoint"], "expected the base model"),
        *[
            (["cat", "dog", "-o", "out", "--method", method, "--option", option], match)
            for method, option, match in (
                ("ties", "density=abc", "density: expected a finite number, got 'abc'"),
                ("ties", "density=null", "density: expected a finite number, got None"),
                ("ties", "density=[1]", "density: expected a finite number"),
                ("ties", "density=true", "density: expected a finite number, got True"),
                ("ties", "space=5", "space: expected one of 'raw', 'core'"),
                ("tsv", "tolerance=abc", "tolerance: expected a finite number"),
                ("fisher", "fishers=3", "merge in Python"),
                ("dare", "seed=1.5", "seed: expected a whole number"),
                ("svd", "rank=abc", "rank: expected a whole number"),
                ("svd", "weights=1", "use --weights"),
                ("svd", "dtype=float16", "use --dtype"),
                ("svd", "progress=1", "progress is no option"),
                ("larv", "tiers=[1]", "name it (--base)"),
            )
        ],
        (["cat", "dog", "-o", "out", "--option", "a=1", "--option", "a=2"], "expected a once"),
        (["cat", "dog", "-o", "no/out"], "expected a folder to make in an existing one"),
        (["cat", "none", "-o", "out"], "none: expected a folder"),
        (["cat", "base", "-o", "out"], "name it (--base)"),
        (["cat", "dog", "-o", "out", "--base", "cat"], "cat"),
        (["cat", "dog", "-o", "out", "--calibrate", "texts.txt"], "expected the base model to run the texts through"),
        (["recipe.yaml", "-o", "out", "--method", "ties"], "--method: belongs into the recipe"),
        (["recipe.yaml", "cat", "-o", "out"], "expected one recipe and nothing beside it"),
    ],
)
def test_mistakes_leave_nothing_behind(
    hsgeo: Run,
    pair: tuple[Path, Path],
    base: Path,
    tmp_path: Path,
    monkeypatch,
    capsys,
    arguments: list[str],
    match: str,
):
    monkeypatch.chdir(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    assert hsgeo("merge", *arguments) == 2
    assert match in said(capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_failing_report_leaves_no_folder(hsgeo: Run, pair: tuple[Path, Path], tmp_path: Path, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyperspectral_geo.merging.run_recipe.write_merge_report", fail)
    assert hsgeo("merge", *pair, "-o", tmp_path / "out") == 2
    assert "nothing was written" in said(capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cat", "dog"]


def test_texts_for_calibration(tmp_path: Path):
    plain = tmp_path / "a.txt"
    plain.write_text("one\n\ntwo\nthree\nfour\n")
    assert read_texts(plain, ["cat", "dog"]) == {name: ["one", "two", "three", "four"] for name in ("cat", "dog")}
    marked = tmp_path / "a.jsonl"
    lines = [json.dumps({"module": m, "text": f"{m} {i}"}) for m in ("cat", "dog") for i in range(4)]
    marked.write_text("\n".join(lines))
    assert read_texts(marked, ["cat", "dog"])["dog"][0] == "dog 0"
    for path, text, match in (
        (marked, "\n".join(lines[:5]), "fewer for dog"),
        (marked, '{"module": "cow", "text": "x"}', "line 1: expected"),
        (marked, "{", "line 1: expected a JSON object"),
        (plain, "one", "at least 4 texts"),
        (tmp_path / "a.npz", "x", "calibrate in Python"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            read_texts(path, ["cat", "dog"])
    plain.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="expected UTF-8"):
        read_texts(plain, ["cat"])


@pytest.mark.slow
def test_calibration_on_texts_of_a_small_bert(hsgeo: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    words = [f"w{i}" for i in range(60)]
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = transformers.BertTokenizerFast(vocab_file=str(tmp_path / "base" / "vocab.txt"))
    tokenizer.save_pretrained(tmp_path / "base")
    config = transformers.BertConfig(
        vocab_size=65, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "base")
    names = [f"bert.encoder.layer.{i}.attention.self.{n}.weight" for i in range(2) for n in ("query", "value")]
    layouts = {n: Layout("linear", (16, 16)) for n in names}
    for name in ("cat", "dog"):
        deltas = {n: LowRank(torch.randn(16, 2), torch.randn(2, 16)) for n in names}
        Module(name, deltas, layouts).save(tmp_path / name)
    texts = [" ".join(words[(7 * i + j) % 60] for j in range(5)) for i in range(24)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    common = ("--base", tmp_path / "base", "--calibrate", tmp_path / "texts.txt", "--method", "linear")
    assert hsgeo("merge", tmp_path / "cat", tmp_path / "dog", "-o", tmp_path / "out", *common) == 0
    assert "calibrated" in said(capsys)
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert report["calibration"]["gain"] <= 0
    assert report["calibration"]["texts"] == 48
    assert sorted(load_adapter(tmp_path / "out").deltas) == sorted(names)

"""``hsgeo kg`` from training to answers, and what it refuses."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from hyperspectral_geo.cli.kg import train
from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph
from hyperspectral_geo.hyperbolic.relational import RelationalEmbedding, fit_relations

TRAIN = "".join(f"cat{i}\tis a\tpet\ntree{i}\tis a\tplant\ncat{i}\tfears\tdog{i}\n" for i in range(6))
HELD = "cat0\tis a\tpet\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the folder's graph, trained once."""
    kg = KnowledgeGraph.from_triples([tuple(line.split("\t")) for line in TRAIN.splitlines()])
    return fit_relations(kg, dim=4, steps=200).save(tmp_path_factory.mktemp("kg") / "m.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, content in {"train": TRAIN, "valid": HELD, "test": HELD}.items():
        (tmp_path / f"{split}.txt").write_text(content)
    return tmp_path


def test_training_judging_and_asking(hsgeo, folder, capsys):
    model = folder / "m.safetensors"
    assert hsgeo("kg", "train", folder, "-o", model, "--dim", "4", "--steps", "200") == 0
    assert hsgeo("kg", "eval", model, folder) == 0
    assert hsgeo("kg", "eval", model, folder, "--split", "train") == 0
    assert hsgeo("kg", "tails", model, "cat3", "is a", "-k", "2") == 0
    assert hsgeo("kg", "heads", model, "is a", "plant", "-k", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("20 entities, 2 relations, hyperbolic, 4 dimensions")
    assert lines[1].startswith("valid: MRR ")
    assert lines[2].startswith("test: MRR ")
    assert lines[3].startswith("train: MRR ")
    assert float(lines[3].split()[2].rstrip(",")) > 0.8
    assert lines[4].endswith(" pet")
    assert " tree" in lines[6]


def test_a_run_is_taken_up_again(hsgeo, folder):
    options = ("--dim", "4", "--steps", "20", "--checkpoint", folder / "run")
    assert hsgeo("kg", "train", folder, "-o", folder / "a.safetensors", *options) == 0
    assert hsgeo("kg", "train", folder, "-o", folder / "b.safetensors", *options, "--resume") == 0
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()
    assert hsgeo("kg", "train", folder, "-o", folder / "c.safetensors", *options) == 2
    assert not (folder / "c.safetensors").exists()


def test_a_split_without_triples_is_named(hsgeo, folder, made, capsys):
    (folder / "test.txt").unlink()
    assert hsgeo("kg", "eval", made, folder) == 2
    assert "--split: expected one with triples, got test" in " ".join(capsys.readouterr().err.split())


def test_what_is_not_said_is_as_in_python():
    ours, theirs = (inspect.signature(one).parameters for one in (train, fit_relations))
    shared = [name for name in ours if name in theirs and ours[name].default is not inspect.Parameter.empty]
    assert {"dim", "steps", "questions", "negatives", "scale", "dropout", "learning_rate", "seed"} <= set(shared)
    assert {name: ours[name].default for name in shared} == {name: theirs[name].default for name in shared}


def test_two_processes_write_one_model(folder):
    out = folder / "m.safetensors"
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "hyperspectral_geo"]
    command = [sys.executable, *torchrun, "kg", "train", folder, "-o", out, "--dim", "4", "--steps", "20"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("20 entities") == 1
    assert len(RelationalEmbedding.load(out)) == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tails", "MODEL", "cat33", "is a"), "head: 'cat33' is not one of"),
        (("tails", "MODEL", "cat3", "eats"), "relation: 'eats'"),
        (("heads", "MODEL", "is a", "catt"), "tail: 'catt'"),
        (("eval", "MODEL", "FOLDER", "--split", "all"), "--split: expected"),
        (("eval", "MODEL", "no such graph"), "expected wn18rr"),
        (("eval", "FOLDER/train.txt", "FOLDER"), "train.txt"),
        (("eval", "FOLDER/none", "FOLDER"), "no such file"),
        (("train", "FOLDER", "-o", "FOLDER/no/m.safetensors"), "--out: expected"),
        (("train", "FOLDER", "-o", "FOLDER/n.safetensors", "--resume"), "--resume: expected --checkpoint"),
        (("train", "FOLDER", "-o", "FOLDER/n.safetensors", "--checkpoint", "FOLDER/train.txt"), "expected a folder"),
        (("train", "FOLDER", "-o", "FOLDER/n.safetensors", "--dim", "5"), "dim: expected an even"),
        (("train", "FOLDER", "-o", "FOLDER/n.safetensors", "--dim", "1000000000000"), "--dim"),
        (("train", "FOLDER", "-o", "FOLDER/n.safetensors", "--geometry", "spherical"), "geometry: expected"),
        (("train", "FOLDER", "-o", "FOLDER/n.safetensors", "--dropout", "1"), "dropout: expected"),
        (("train", "FOLDER", "-o", "FOLDER/n.safetensors", "--scale", "nan"), "scale: expected"),
    ],
)
def test_refusals_name_what_is_wrong_and_write_nothing(hsgeo, folder, made, capsys, arguments, said):
    given = [part.replace("MODEL", str(made)).replace("FOLDER", str(folder)) for part in arguments]
    assert hsgeo("kg", *given) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (folder / "n.safetensors").exists()

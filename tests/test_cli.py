"""The command line: what it prints, how it fails, and that asking for help imports nothing heavy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from hyperspectral_geo import __version__
from hyperspectral_geo.cli import app, bench, demo, findings, main
from hyperspectral_geo.cli.findings import Finding

run_in_process = CliRunner().invoke
HEAVY = ("torch", "geoopt", "torch_geometric", "numpy", "scipy", "networkx", "matplotlib")


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hyperspectral_geo", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
    )


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hsgeo", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_help_lists_every_command():
    result = run("--help")
    assert result.returncode == 0
    for command in ("demo", "bench", "doctor"):
        assert command in result.stdout


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from hyperspectral_geo.cli import app; from typer.testing import CliRunner; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_version():
    assert run("--version").stdout == f"hsgeo {__version__}\n"


@pytest.mark.parametrize("command", ["demo", "bench", "doctor"])
def test_every_command_explains_itself(command: str):
    result = run_in_process(app, [command, "--help"])
    assert result.exit_code == 0
    assert command in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["demo", "--seed", "-1"],
        ["demo", "--seed", "x"],
        ["demo", "--seed", str(2**63 - 1)],
        ["doctor", "-z"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    assert run_main(monkeypatch, *arguments) == 2


def test_bench_lists_its_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run_main(monkeypatch, "bench") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(bench.TABLES)


def test_every_table_of_bench_exists():
    for name in bench.TABLES:
        assert (Path(bench.__file__).parents[1] / "benchmarks" / f"{name.replace('-', '_')}.py").is_file()


def test_user_error_is_one_paragraph_without_traceback():
    result = run("bench", "nonsense")
    assert result.returncode == 2
    assert result.stderr.startswith("hsgeo: bench: expected one of ")
    assert "nonsense" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_user_error_shows_its_traceback_when_asked():
    assert "Traceback" in run("bench", "nonsense", HSGEO_TRACEBACK="1").stderr


def test_bench_refuses_a_json_path_in_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run_main(monkeypatch, "bench", "manifolds", "--json", str(tmp_path / "no" / "rows.json")) == 2
    assert "existing folder" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_, **__) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("pymanopt is not installed; python -m pip install x"), FloatingPointError("the loss")]
)
def test_what_a_command_raises_is_one_paragraph(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    stub = types.SimpleNamespace(run=raising(error))
    monkeypatch.setitem(sys.modules, "hyperspectral_geo.benchmarks.manifolds", stub)
    assert run_main(monkeypatch, "bench", "manifolds") == 2
    said = capsys.readouterr().err
    assert f"hsgeo: {error}\n" in said
    assert "Traceback" not in said


def test_bench_without_its_extra_names_the_remedy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("hyperspectral_geo.benchmarks.manifolds.find_spec", lambda _: None)
    assert run_main(monkeypatch, "bench", "manifolds") == 2
    assert "'.[bench]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["demo", "--out"], ["bench", "manifolds", "--json"], ["bench", "manifolds", "--markdown"]]
)
def test_a_folder_that_takes_no_files_is_refused_at_once(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("hyperspectral_geo.benchmarks.demo.measure_mammals", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr("hyperspectral_geo.benchmarks.manifolds.run", lambda **_: pytest.fail("computed"))
    monkeypatch.setattr("hyperspectral_geo.atomic_write.os.open", raising(PermissionError(13, "Permission denied")))
    assert run_main(monkeypatch, *arguments, str(tmp_path / "new")) == 2
    assert f"{tmp_path}: expected a folder to write to, got 'Permission denied'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_bench_prints_a_table_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Table:
        def show(self, console: Console) -> None:
            console.print("shown")

        def to_dict(self) -> dict:
            return {"rows": [1, 2]}

    calls = []
    stub = types.SimpleNamespace(run=lambda **given: calls.append(given) or Table())
    monkeypatch.setitem(sys.modules, "hyperspectral_geo.benchmarks.manifolds", stub)
    result = run_in_process(app, ["bench", "manifolds", "--quick", "--json", str(tmp_path / "rows.json")])
    assert (result.exit_code, result.stdout) == (0, "shown\n")
    assert calls[0].keys() == {"quick", "progress"}
    assert calls[0]["quick"]
    assert json.loads((tmp_path / "rows.json").read_text()) == {"rows": [1, 2]}
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_demo_passes_on_where_and_with_which_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    stub = types.ModuleType("demo")
    stub.run = lambda out, **given: calls.append((out, given["seed"]))
    monkeypatch.setitem(sys.modules, "hyperspectral_geo.benchmarks.demo", stub)
    monkeypatch.setattr("hyperspectral_geo.benchmarks.demo", stub, raising=False)
    assert run_in_process(app, ["demo", "--out", str(tmp_path / "out"), "--seed", "3"]).exit_code == 0
    assert calls == [(tmp_path / "out", 3)]


def test_demo_refuses_a_file_as_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "taken"
    file.touch()
    assert run_main(monkeypatch, "demo", "--out", str(file)) == 2


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX signals")
def test_interrupt_exits_with_130(tmp_path: Path):
    # The command says that it runs before the signal is sent; it would sleep longer than the test waits.
    script = (
        "import signal, sys, time, typer, hyperspectral_geo.cli as cli\n"
        # A test run in the background of a script inherits a signal that is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@cli.app.command()\n"
        "def wait():\n"
        "    print('running', flush=True); time.sleep(60)\n"
        "sys.argv = ['hsgeo', 'wait']\n"
        "cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_doctor_reports_this_installation():
    result = run("doctor", HSGEO_DATA="")
    for what in (
        "python",
        "threads",
        "BLAS of torch",
        "devices",
        "float64",
        "data wordnet",
        "data emoji",
        "HSGEO_DATA",
    ):
        assert what in result.stdout
    assert "─" not in result.stdout  # no drawing when it goes to a file


def test_doctor_as_json_says_what_to_do_about_each_problem(tmp_path: Path):
    (tmp_path / "wordnet").mkdir()
    report = json.loads(run("doctor", "--json", HSGEO_DATA=str(tmp_path), OPENBLAS_CORETYPE="Haswell").stdout)
    found = {finding["what"]: finding for finding in report["findings"]}
    assert found["OPENBLAS_CORETYPE"]["level"] == "warning"
    assert "wikispeedia" in found["HSGEO_DATA"]["found"]
    assert "wordnet" not in found["HSGEO_DATA"]["found"].split("without")[1]
    for finding in report["findings"]:
        assert bool(finding["remedy"]) == (finding["level"] != "ok"), finding


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("note", 0), ("warning", 0), ("error", 1)])
def test_doctor_exits_with_1_on_an_error(level: str, code: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(findings, "examine", lambda: [Finding("thing", "found", level, "do this")])
    result = run_in_process(app, ["doctor"])
    assert result.exit_code == code
    assert f"{level}: thing: do this" in result.output


def test_doctor_says_which_version_is_out_of_range(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        findings, "requires", lambda _: ["typer>=999", "no-such-package>=1", 'pytest>=999; extra == "test"']
    )
    typer_finding, missing = findings._dependencies()
    assert typer_finding.level == missing.level == "error"
    assert typer_finding.remedy == 'python -m pip install "typer>=999"'
    assert missing.found == "missing"


def test_commands_are_documented_where_they_stand():
    for module in (bench, demo, findings):
        assert module.__doc__

"""The project's own files agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hyperspectral_geo import __version__

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "python -m pip install torch==2.13.0 -e . && hsgeo demo",
    'python -m pip install torch==2.13.0 -e ".[test]" && python -m pytest',
)
SKIPPED_FOLDERS = {".git", "_build", "gallery", "__pycache__", "build", "dist", "demo"}


def text_files() -> list[Path]:
    """The files of a checkout that people read or run."""
    suffixes = {".py", ".md", ".toml", ".cff", ".css", ".html", ".json", ".txt", ".yml", ".yaml"}
    files = [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and path.suffix in suffixes
        and not SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts)
        and not any(part.startswith(".") or part.endswith(".egg-info") for part in path.relative_to(ROOT).parts)
    ]
    return [*files, ROOT / ".ci" / "run"]


@pytest.fixture(scope="module")
def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_shows_the_command_on_a_line_of_its_own(command: str):
    assert command in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_ci_takes_its_test_command_from_the_readme():
    pattern = re.search(r"grep -m1 -E '(.+)' README\.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert pattern is not None
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.search(pattern[1], line)] == [COMMANDS[1]]


def test_version_is_the_newest_in_the_changelog_and_the_citation(pyproject: dict):
    assert pyproject["project"]["dynamic"] == ["version"]
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == __version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation


def test_no_paths_of_one_machine():
    # Spelt with brackets, so that this file does not find itself.
    pattern = re.compile(r"/wor[k]/|/roo[t]/|/hom[e]/\w|/User[s]/\w|C:\\User[s]")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_no_file_holds_more_than_one_concept():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "hyperspectral_geo").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}, "split these: a file of over 400 lines rarely holds one concept"


def test_extras_need_no_other_torch(pyproject: dict):
    # A stray pin would make pip replace the CPU build that the README's command installs.
    extras = pyproject["project"]["optional-dependencies"]
    names = [re.match(r"[\w-]+", line)[0] for lines in extras.values() for line in lines]
    assert not [name for name in names if name.startswith(("torch", "jax"))]


def test_ci_is_executable():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111

"""The code on the documentation's pages runs and prints what the pages say."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
FENCE = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path) -> list[tuple[int, str]]:
    """First line number and text of every fenced block of Python."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(2)), found[2]) for found in FENCE.finditer(text)]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
@pytest.mark.filterwarnings("error:.*did not converge:RuntimeWarning")
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # what a page saves stays here
    names: dict[str, object] = {"__name__": "__main__"}
    report: list[str] = []
    for line, source in blocks(page):  # the blocks of a page share their names, as a reader's session would
        if ">>> " not in source:
            exec(compile("\n" * line + source, str(page), "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(source, {}, page.name, str(page), line)
        test.globs = names
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)


def test_every_gallery_example_is_named_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [path.stem for path in (ROOT / "examples").glob("plot_*.py") if f"gallery/{path.stem}" not in index]
    assert missing == []


def test_every_public_package_is_in_the_reference():
    # What a user imports; the command line and the benchmarks are documented by their own help and tables.
    packages = {path.parent.name for path in (ROOT / "hyperspectral_geo").glob("*/__init__.py")} - {"cli", "benchmarks"}
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    missing = [name for name in sorted(packages) if f"automodule:: hyperspectral_geo.{name}\n" not in reference]
    assert missing == [], "add these to docs/api.md"

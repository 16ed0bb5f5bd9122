"""The public face: every name resolves, is documented, and costs nothing before it is used."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest

import hyperspectral_geo
from hyperspectral_geo.validation import require_floating

ROOT = Path(__file__).parents[1]
# Found as files: walking packages would import them, and one that fails would take all tests here with it.
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "hyperspectral_geo").rglob("*.py")
    if path.name != "__main__.py"
)
PACKAGES = ("manifolds", "spectral", "hyperbolic", "merging", "fusion", "plotting", "data")


def test_import_loads_nothing_heavy():
    script = (
        "import sys, hyperspectral_geo; dir(hyperspectral_geo); "
        "print([n for n in ('torch', 'geoopt', 'numpy', 'scipy', 'typer', 'rich') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize("name", hyperspectral_geo.__all__)
def test_every_name_resolves(name: str):
    assert getattr(hyperspectral_geo, name) is not None
    assert name in dir(hyperspectral_geo)


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_are_attributes(name: str):
    assert getattr(hyperspectral_geo, name) is importlib.import_module(f"hyperspectral_geo.{name}")


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(AttributeError, match=r"'grassmann'; it has Grassmann, "):
        hyperspectral_geo.grassmann  # noqa: B018


def test_the_three_lists_of_names_agree():
    tree = ast.parse(Path(hyperspectral_geo.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    for_checkers = {
        (node.module.removeprefix("hyperspectral_geo."), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    at_run_time = {(home, name) for home, names in hyperspectral_geo._HOMES.items() for name in names}
    assert for_checkers == at_run_time
    assert {name for _, name in at_run_time} == set(hyperspectral_geo.__all__) - {"__version__"}


@pytest.mark.parametrize("module_name", MODULES)
def test_every_module_lists_and_documents_what_is_public(module_name: str):
    module = importlib.import_module(module_name)
    assert module.__doc__, f"{module_name} has no docstring"
    undocumented = []
    for name in module.__all__:
        value = getattr(module, name)
        if (inspect.isclass(value) or inspect.isroutine(value)) and not inspect.getdoc(value):
            undocumented.append(name)
    assert undocumented == []


def test_every_public_name_has_an_entry_in_the_documentation():
    # The pages name what they show by autodoc directives; a page that is not about an object only mentions it.
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    missing = []
    for package in PACKAGES:
        module = importlib.import_module(f"hyperspectral_geo.{package}")
        for name in module.__all__:
            covered = f"automodule:: hyperspectral_geo.{package}\n" in pages
            if not covered and f"hyperspectral_geo.{package}.{name}" not in pages:
                missing.append(f"{package}.{name}")
    assert missing == [], "add these to docs/api.md"


def test_shapes_are_checked_in_tests():
    hooks = [finder for finder in sys.meta_path if type(finder).__name__ == "_JaxtypingFinder"]
    assert len(hooks) == 1
    assert not jaxtyping.config.jaxtyping_disable

    with pytest.raises(jaxtyping.TypeCheckError):
        require_floating(0, [1.0])  # pyright: ignore[reportArgumentType]  # the name is no str


def test_unchecked_turns_the_checks_off(unchecked: None):
    assert jaxtyping.config.jaxtyping_disable
    with pytest.raises(ValueError, match="expected a torch.Tensor, got list"):
        require_floating(0, [1.0])  # pyright: ignore[reportArgumentType]

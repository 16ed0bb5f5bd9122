"""Every example of the gallery runs, and draws a figure that shows something."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))


@pytest.fixture(autouse=True)
def _no_window(monkeypatch: pytest.MonkeyPatch):
    """Draw without a display, and leave no figure behind."""
    from matplotlib import pyplot

    backend = mpl.get_backend()
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(backend)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_draws_a_figure(path: Path, capsys: pytest.CaptureFixture[str]):
    figure = load(path).run(quick=True)
    assert isinstance(figure, Figure)
    assert figure.axes
    assert all(ax.has_data() for ax in figure.axes)
    figure.draw_without_rendering()  # lays out the figure: what cannot be drawn fails here
    assert capsys.readouterr().out.strip(), "an example prints the figures that its text speaks of"

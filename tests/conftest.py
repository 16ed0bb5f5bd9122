"""What all tests share: shapes and types checked at run time, fixed seeds, and where larger data is found."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import settings

# Before the package is first imported: every function then checks the shapes and types that its annotations say.
jaxtyping.install_import_hook("hyperspectral_geo", "beartype.beartype")

# Derandomised: a run on another machine tries the same examples. `--hypothesis-profile=thorough` looks for new ones.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25, database=None)
settings.register_profile("thorough", deadline=None, max_examples=500, print_blob=True)
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker of pytest-xdist one thread: two workers with all threads each would wait for one another."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    # Imported here, since the process that only hands out the tests would wait seconds for it.
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def hsgeo(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, called with its arguments; gives its exit code."""
    from hyperspectral_geo.cli import main  # after the import hook

    def call(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["hsgeo", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return call


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same random state, whatever ran before it."""
    import numpy
    import torch

    torch.manual_seed(0)
    numpy.random.seed(0)  # noqa: NPY002  # peers such as pymanopt draw from the global generator


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turn the run-time checks of shapes and types off, so that bad input meets the library's own refusals."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from the name of a data set to its folder under ``HSGEO_DATA``; the test is skipped without it.

    In CI (``CI=true``) a missing folder fails the test: there the data is meant to be present.
    """

    from hyperspectral_geo.data import shared_data_path

    def find(name: str) -> Path:
        try:
            return shared_data_path(name)
        except FileNotFoundError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))

    return find

"""What ``hsgeo doctor`` looks at: each examination yields findings, and a finding with a remedy is a problem."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from hyperspectral_geo import __version__

__all__ = ["SHARED_FOLDERS", "Finding", "examine"]

_DISTRIBUTION = "hyperspectral-geo"
_CARRIED = ("wordnet", "emoji")

# What the benchmarks and the longer tests look for in the folder that HSGEO_DATA names.
SHARED_FOLDERS = (
    "adapters",
    "emoji",
    "kg",
    "mnist",
    "omniglot",
    "taxonomy",
    "text_tasks",
    "wiki_xmodal",
    "wikispeedia",
    "wordnet",
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``what`` was looked at, what was ``found``, how bad that is and the remedy, if any."""

    what: str
    found: str
    level: Literal["ok", "note", "warning", "error"] = "ok"
    remedy: str = ""


def examine() -> list[Finding]:
    """All findings about this installation and machine, in the order of the report."""
    return [
        *_python(),
        *_dependencies(),
        *_torch(),
        *_openblas(),
        *_carried_data(),
        *_shared_data(),
        *_folder(),
    ]


def _python() -> Iterator[Finding]:
    yield Finding("hyperspectral_geo", f"{__version__} in {Path(__file__).parents[1]}")
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Finding("python", found)
    else:
        yield Finding("python", found, "error", "make a virtual environment with Python 3.11, 3.12 or 3.13")


def _dependencies() -> Iterator[Finding]:
    """Each required package, its version and whether the version is in the range that this package declares."""
    from packaging.requirements import Requirement

    try:
        declared = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:
        yield Finding("installed", "no, run from its folder", "warning", "python -m pip install -e . in the checkout")
        return
    for line in declared:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue  # belongs to an extra
        install = f'python -m pip install "{requirement.name}{requirement.specifier}"'
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "missing", "error", install)
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield Finding(requirement.name, found)
        else:
            yield Finding(requirement.name, f"{found}, expected {requirement.specifier}", "error", install)


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it does not load
        remedy = "python -m pip install --force-reinstall torch==2.13.0"
        yield Finding("torch", f"does not import: {error}", "error", remedy)
        return
    yield _threads(torch.get_num_threads())
    built_with = re.search(r"\bBLAS_INFO=(\w+)", torch.__config__.show())
    yield Finding("BLAS of torch", built_with[1] if built_with else "unknown")
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    yield Finding("devices", ", ".join(devices))
    if "mps" in devices:
        yield Finding("float64", "cpu only", "note", "MPS has no float64: keep float64 work on the CPU")
    else:
        yield Finding("float64", "on all devices")


def _threads(threads: int) -> Finding:
    # The scheduler's mask, where there is one: in a container it is smaller than the machine.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{threads} of torch on {cores} cores"
    if threads > cores:
        remedy = f"set OMP_NUM_THREADS={cores}: more threads than cores wait for each other"
        return Finding("threads", found, "warning", remedy)
    if threads < cores:
        return Finding("threads", found, "note", f"unset OMP_NUM_THREADS or set it to {cores} for full speed")
    return Finding("threads", found)


def _openblas() -> Iterator[Finding]:
    yield Finding("BLAS of numpy, scipy", _numpy_blas())
    core = os.environ.get("OPENBLAS_CORETYPE")
    if core:
        remedy = (
            "unset OPENBLAS_CORETYPE before benchmarks: it slows numpy and scipy, so peers look slower than they are"
        )
        yield Finding("OPENBLAS_CORETYPE", core, "warning", remedy)


def _numpy_blas() -> str:
    import numpy
    import scipy.linalg  # noqa: F401  # loads scipy's own BLAS, which threadpoolctl then sees

    try:
        from threadpoolctl import threadpool_info  # pyright: ignore[reportMissingImports]
    except ImportError:
        name = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]  # pyright: ignore
        return f"{name} (install threadpoolctl for kernel and threads)"
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    described = [
        f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', '?')}, {pool['num_threads']} threads"
        for pool in pools
    ]
    return "; ".join(dict.fromkeys(described)) or "unknown"


def _carried_data() -> Iterator[Finding]:
    for name in _CARRIED:
        try:
            from hyperspectral_geo.data.locate import dataset_path

            path = dataset_path(name)
        except (ImportError, OSError, ValueError) as error:
            remedy = f"reinstall {_DISTRIBUTION}, whose wheel carries it"
            yield Finding(f"data {name}", " ".join(str(error).split()), "error", remedy)
        else:
            yield Finding(f"data {name}", str(path))


def _shared_data() -> Iterator[Finding]:
    named = os.environ.get("HSGEO_DATA")
    if not named:
        yield Finding("HSGEO_DATA", "not set: the tests that need larger data are skipped")
        return
    if not Path(named).is_dir():
        yield Finding("HSGEO_DATA", f"{named}: no such folder", "warning", "set it to an existing folder or unset it")
        return
    missing = [name for name in SHARED_FOLDERS if not (Path(named) / name).is_dir()]
    if missing:
        remedy = "put the missing folders there; what needs them is skipped until then"
        yield Finding("HSGEO_DATA", f"{named}, without {', '.join(missing)}", "warning", remedy)
    else:
        yield Finding("HSGEO_DATA", f"{named}: all {len(SHARED_FOLDERS)} folders")


def _folder() -> Iterator[Finding]:
    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        remedy = "change to a folder that you may write to, or name one with --out"
        yield Finding("current folder", f"{here}: {error.strerror}", "warning", remedy)
    else:
        yield Finding("current folder", f"{here}, writable")

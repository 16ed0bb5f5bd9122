"""What each of several processes trains in the tests of them: ``python hop_process_cases.py FOLDER``.

Each writes what it has found to FOLDER; then it trains until it is told to stop.
"""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import networkx
import torch

from hyperspectral_geo.hyperbolic import HopGraph, HopRegression, LinkSoftmax, Objective, fit
from hyperspectral_geo.hyperbolic.objective import PreparedObjective
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters
from hyperspectral_geo.hyperbolic.processes import Processes, is_first_process, joined_processes

GRAPH = HopGraph.from_edges(list(networkx.barabasi_albert_graph(300, 2, seed=0).edges), directed=False)
MIXED = {"dim": 3, "steps": 24, "objective": [(0.5, HopRegression(block=16)), (1.0, LinkSoftmax(sources=9))]}
QUALITY = {"dim": 5, "steps": 150, "learning_rate": 0.05}


@dataclass(frozen=True)
class Counting(Objective, PreparedObjective):
    """A gradient of ones on row ``rank``; in the second process not finite at every third step."""

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        return Counting()

    def form(self, graph: HopGraph) -> dict:
        return {"spread": 0.1, "scale": 1.0, "learning_rate": 0.1}

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        rank = int(os.environ["RANK"])
        rows = torch.arange(rank + 1)  # of unequal numbers
        value = torch.ones(rank + 1, parameters.tables["tangents"].shape[1])
        at = int(torch.randint(10**6, (), generator=generator))
        loss = math.nan if rank == 1 and at % 3 == 0 else float(rank)
        return loss, {"tangents": Gradient(rows, value), "log_scale": Gradient(None, torch.tensor(float(rank)))}


def tried(**given: object) -> str:
    try:
        fit(GRAPH, **{**MIXED, **given})  # pyright: ignore[reportArgumentType]
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing raised"


def mean_of_two(together: Processes) -> dict[str, list]:
    """The mean of gradients of one row and of two, and of one number each."""
    own = torch.tensor([7, 2] if together.rank else [2])
    rows = Gradient(own, torch.full((len(own), 1), 1.0 + together.rank))
    loss, mean = together.averaged(float(together.rank), {"z": rows, "s": Gradient(None, torch.ones(()) * own[0])})
    return {
        "loss": [loss],
        "rows": mean["z"].rows.tolist(),
        "z": mean["z"].value.tolist(),
        "s": mean["s"].value.tolist(),
    }


def everything(folder: Path, together: Processes) -> None:
    """All that does not end the process, in a group that is made once."""
    rank = together.rank
    found: dict[str, object] = {"first": is_first_process(), "mean": mean_of_two(together)}
    kept, log = folder / "kept", folder / "log.jsonl"
    quality = fit(GRAPH, objective=HopRegression(block=64), **QUALITY)
    quality.save(folder / f"quality-{rank}.safetensors")
    told: list[int] = []
    options = {**MIXED, "checkpoint": kept, "every": 8, "log": log, "progress": lambda step, loss: told.append(step)}
    fit(GRAPH, **options).save(folder / f"straight-{rank}.safetensors")
    found["told"], found["used"] = told, tried(checkpoint=kept)
    if rank == 0:
        (kept / "step-000000024.safetensors").unlink()
    fit(GRAPH, resume=True, **options).save(folder / f"resumed-{rank}.safetensors")
    found["differing"] = tried(seed=rank)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        skipped = fit(GRAPH, dim=2, steps=30, objective=Counting(), scale=1.0)
    skipped.save(folder / f"skipped-{rank}.safetensors")
    found["warned"] = [str(one.message) for one in caught if one.category is RuntimeWarning]
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    torch.set_num_threads(1)
    with joined_processes() as group:
        everything(place, group)
        ready = lambda step, loss: (place / "ready").touch()  # noqa: E731
        fit(GRAPH, **{**MIXED, "steps": 10**6}, checkpoint=place / "stopped", every=10**6, progress=ready)

"""Training: sampled steps of Adam that can be watched, interrupted and taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hyperspectral_geo.hyperbolic.checkpoint import fingerprint
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import Geometry, require_geometry
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_regression import HopRegression
from hyperspectral_geo.hyperbolic.objective import Objective, require_counts
from hyperspectral_geo.hyperbolic.parameters import HopParameters
from hyperspectral_geo.hyperbolic.processes import joined_processes
from hyperspectral_geo.hyperbolic.thread_count import torch_threads
from hyperspectral_geo.hyperbolic.training_loop import train
from hyperspectral_geo.hyperbolic.training_run import Training, step_generator
from hyperspectral_geo.validation import require_seed

__all__ = ["fit"]


def fit(
    graph: HopGraph,
    *,
    dim: int = 10,
    geometry: Geometry = "hyperbolic",
    objective: Objective | Sequence[tuple[float, Objective]] | None = None,
    two_points: bool | None = None,
    scalars: bool | None = None,
    readout: int | None = None,
    forms: bool = False,
    start: HopEmbedding | None = None,
    scale: float | None = None,
    dtype: torch.dtype | None = None,
    steps: int = 3000,
    learning_rate: float | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, float], None] | None = None,
    log: str | Path | None = None,
    tensorboard: str | Path | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    resume: bool = False,
) -> HopEmbedding:
    """Embed a graph so that distances are hop counts, or so that links are nearer than what is not linked.

    Where ``torch.distributed`` is initialised, or under ``torchrun``, all processes train one model: each draws samples
    of its own and the mean gradient is taken, so that a step sees as many times more pairs as there are processes. All
    return the same model; the first one writes the files. Each needs the same arguments.

    Args:
        graph: what to embed.
        dim: d, dimension of the space.
        geometry: of the points, one of ``GEOMETRIES``.
        objective: ``HopRegression()`` by default; ``LinkSoftmax()`` for rankings; several as (weight, objective).
        two_points: whether concepts are reached at other points than they leave from. This and what follows is chosen
            by the objective where it is None: hop regression takes two points on directed graphs, out- and in-scalars
            and a read-out; links take one point and nothing else.
        scalars: whether each concept has an out- and an in-scalar.
        readout: steps of the staircase from scores to hops, 0 for none.
        forms: whether each step of the staircase corrects the score by a form of its own (see ``HopEmbedding``);
            needs scalars and the read-out.
        scale: s at the start; hop regression learns it, links keep it.
        dtype: float32 or float64. By default by the radius: float64 for links, whose points go far out, float32 for
            hops until a point is farther out than float32 can tell, then float64.
        steps: steps of Adam.
        learning_rate: its largest step length, reached after a short rise and left along a cosine to zero.
        seed: of start and samples. Step t draws from (seed, t) alone, in further processes from (seed, t, rank), so
            that a resumed run is the same bit by bit.
        threads: of torch, while training. A step is too small for two to gain much, and one gives the same result on
            every machine of a kind.
        progress: called with (step, loss) every tenth step.
        log: a file to which a line of JSON is added every tenth step.
        tensorboard: a folder to which the same numbers are written as TensorBoard's events.
        checkpoint: a folder in which the state is kept, written atomically, the last two; SIGINT and SIGTERM then save
            before they take effect.
        every: steps between checkpoints.
        resume: whether to go on from the folder's checkpoint where there is one.

    Raises:
        ValueError: for an empty graph, arguments out of range, a checkpoint of another graph or run or number of
            processes, or processes whose arguments differ.
        OSError: if a file cannot be written, or other processes cannot be reached.
        ImportError: for ``tensorboard`` where it is not installed.
        FloatingPointError: if loss or gradient are not finite 20 steps in a row, or a parameter leaves its range.
        KeyboardInterrupt, SystemExit: on SIGINT and SIGTERM (143), after saving where there is a ``checkpoint``.

    Warns:
        RuntimeWarning: if steps were skipped because they were not finite.

    References:
        M. Nickel, D. Kiela, *Poincaré embeddings for learning hierarchical representations*, NeurIPS 2017, arXiv
        1705.08039; *Learning continuous hierarchies in the Lorentz model*, ICML 2018, arXiv 1806.03417.

    Example:
        >>> graph = HopGraph.from_edges([("germany", "beer"), ("beer", "hops"), ("hops", "yeast"), ("yeast", "beer")])
        >>> model = fit(graph, dim=2, steps=300)
        >>> round(model.distance("germany", "yeast")), round(model.distance("germany", "beer"))
        (3, 1)
    """
    require_geometry(geometry)
    _require_numbers(
        dim=dim, steps=steps, every=every, threads=threads, seed=seed, scale=scale, learning_rate=learning_rate
    )
    _require_form(two_points=two_points, scalars=scalars, forms=forms, readout=readout, dtype=dtype)
    parts = _weighted(HopRegression() if objective is None else objective)
    if (scalars or readout) and not any(part.moves_scores for _, part in parts):
        raise ValueError("scalars, readout: no objective here trains them; add HopRegression() or leave them out")
    prepared = [(weight, part.prepare(graph)) for weight, part in parts]
    if start is None and any(part.needs_start for _, part in prepared):
        raise ValueError("start: expected one, whose concepts are pinned, got none; pass it, or pins with a point")
    chosen = {"two_points": two_points, "scalars": scalars, "steps": readout, "dtype": dtype}
    form = {**prepared[0][1].form(graph), **{k: v for k, v in chosen.items() if v is not None}}
    if form.get("steps") if start is None else start.readout is not None:
        form["unit"] = 1.0  # a read-out counts hops
    if scale is not None:
        form["scale"] = scale / form.get("unit", 1.0)
    rate = form.pop("learning_rate") if learning_rate is None else float(learning_rate)
    form.pop("learning_rate", None)
    if forms and not (form.get("scalars") and form.get("steps")):
        raise ValueError(
            "forms: expected scalars and a read-out beside them, got none; leave scalars and readout to fit, which "
            "makes a read-out for whole counts of up to 16 hops"
        )
    form["forms"] = forms
    run = {"dim": dim, "geometry": geometry, "form": form, "steps": steps, "rate": rate, "seed": seed}
    if start is None:
        parameters = HopParameters.initial(len(graph), dim, geometry, generator=step_generator(seed, 0, 0), **form)
    else:
        own = {"two_points": two_points, "scalars": scalars, "readout": readout, "forms": forms or None, "dtype": dtype}
        _require_start(start, graph, parts, dim=dim, geometry=geometry, own=own)
        parameters = HopParameters.of(start, scale=scale or start.scale, unit=form.get("unit", 1.0))
        run["start"] = parameters.digest()
    with joined_processes() as together, torch_threads(threads):
        training = Training(
            prepared, parameters, steps=steps, rate=rate, seed=seed, widen=dtype is None, together=together
        )
        asked = checkpoint is not None or together.count > 1
        train(
            training,
            run=fingerprint(graph, parts, run | {"threads": threads}) if asked else "",
            progress=progress,
            log=log,
            tensorboard=tensorboard,
            checkpoint=checkpoint,
            every=every,
            resume=resume,
        )
    return training.parameters.embedding(graph.names)


def _weighted(objective: Objective | Sequence[tuple[float, Objective]]) -> list[tuple[float, Objective]]:
    if isinstance(objective, Objective):
        return [(1.0, objective)]
    parts = list(objective) if isinstance(objective, Sequence) else []
    good = all(isinstance(p, tuple) and len(p) == 2 and isinstance(p[1], Objective) for p in parts)
    if not parts or not good:
        raise ValueError(f"objective: expected an Objective or pairs (weight, Objective), got {objective!r:.80}")
    for weight, _ in parts:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ValueError(f"objective: expected a finite weight > 0, got {weight!r}")
    return parts


def _require_numbers(*, dim, steps, every, threads, seed, scale, learning_rate) -> None:
    require_counts(dim=dim, steps=steps, every=every, threads=threads)
    for name, value in (("scale", scale), ("learning_rate", learning_rate)):
        plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if value is not None and not plain:
            raise ValueError(f"{name}: expected a finite number > 0, got {value!r}")
    require_seed(seed)


def _require_start(
    start: HopEmbedding, graph: HopGraph, parts: Any, *, dim: int, geometry: str, own: dict[str, Any]
) -> None:
    if start.names != graph.names:
        raise ValueError("start: expected a model of this graph, got one of other names; fit it to its own graph")
    found = (start.tangents.shape[1], start.geometry)
    if found != (dim, geometry):
        raise ValueError(f"start: expected {dim} dimensions, {geometry}, got {found[0]}, {found[1]}; pass its own")
    chosen = [name for name, value in own.items() if value is not None]
    if chosen:
        raise ValueError(f"{', '.join(chosen)}: a start brings its own; leave them out")
    more = start.outgoing is not None or start.incoming is not None or start.readout is not None
    if more and not any(part.moves_scores for _, part in parts):
        raise ValueError("start: its scalars or read-out are trained by no objective here; add HopRegression()")


def _require_form(*, two_points, scalars, forms, readout, dtype) -> None:
    if not isinstance(forms, bool):
        raise ValueError(f"forms: expected True or False, got {forms!r}")
    for name, value in (("two_points", two_points), ("scalars", scalars)):
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{name}: expected True, False or None, got {value!r}")
    if readout is not None and readout != 0:
        require_counts(readout=readout)
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype!r}")

"""Training: sampled steps of Adam that can be watched, interrupted and taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.checkpoint import Checkpoints, fingerprint
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import Geometry, require_geometry
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_regression import HopRegression
from hyperspectral_geo.hyperbolic.objective import Objective, PreparedObjective, require_counts
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters, summed_rows
from hyperspectral_geo.hyperbolic.row_adam import RowAdam
from hyperspectral_geo.hyperbolic.training_log import TrainingLog
from hyperspectral_geo.hyperbolic.waiting_signals import waiting_signals

__all__ = ["Training", "fit"]

MOST_SKIPPED = 20
"""Steps in a row whose loss or gradient is not finite, after which training stops."""

_WARM_UP = 50


def fit(
    graph: HopGraph,
    *,
    dim: int = 10,
    geometry: Geometry = "hyperbolic",
    objective: Objective | Sequence[tuple[float, Objective]] | None = None,
    two_points: bool | None = None,
    scalars: bool | None = None,
    readout: int | None = None,
    scale: float | None = None,
    dtype: torch.dtype | None = None,
    steps: int = 3000,
    learning_rate: float | None = None,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
    log: str | Path | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    resume: bool = False,
) -> HopEmbedding:
    """Embed a graph so that distances are hop counts, or so that links are nearer than what is not linked.

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
        scale: s at the start; hop regression learns it, links keep it.
        dtype: float32 or float64. By default by the radius: float64 for links, whose points go far out, float32 for
            hops until a point is farther out than float32 can tell, then float64.
        steps: steps of Adam.
        learning_rate: its largest step length, reached after a short rise and left along a cosine to zero.
        seed: of start and samples. Step t draws from (seed, t) alone, so that a resumed run is the same bit by bit.
        progress: called with (step, loss) every tenth step.
        log: a file to which a line of JSON is added every tenth step.
        checkpoint: a folder in which the state is kept, written atomically, the last two; SIGINT and SIGTERM then save
            before they take effect.
        every: steps between checkpoints.
        resume: whether to go on from the folder's checkpoint where there is one.

    Raises:
        ValueError: for an empty graph, arguments out of range, or a checkpoint of another graph or run.
        FloatingPointError: if loss or gradient are not finite 20 steps in a row, or a parameter leaves its range.
        KeyboardInterrupt, SystemExit: on SIGINT and SIGTERM (143), after saving where there is a ``checkpoint``.

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
    _require_numbers(dim=dim, steps=steps, every=every, seed=seed, scale=scale, learning_rate=learning_rate)
    _require_form(two_points=two_points, scalars=scalars, readout=readout, dtype=dtype)
    parts = _weighted(HopRegression() if objective is None else objective)
    if (scalars or readout) and not any(part.moves_scores for _, part in parts):
        raise ValueError("scalars, readout: no objective here trains them; add HopRegression() or leave them out")
    prepared = [(weight, part.prepare(graph)) for weight, part in parts]
    chosen = {"two_points": two_points, "scalars": scalars, "steps": readout, "scale": scale, "dtype": dtype}
    form = {**prepared[0][1].form(graph), **{k: v for k, v in chosen.items() if v is not None}}
    rate = form.pop("learning_rate") if learning_rate is None else float(learning_rate)
    form.pop("learning_rate", None)
    parameters = HopParameters.initial(len(graph), dim, geometry, generator=_generator(seed, 0, 0), **form)
    training = Training(prepared, parameters, steps=steps, rate=rate, seed=seed, widen=dtype is None)
    kept = None
    if checkpoint is not None:
        run = {"dim": dim, "geometry": geometry, "form": form, "steps": steps, "rate": rate, "seed": seed}
        kept = Checkpoints(Path(checkpoint), fingerprint(graph, parts, run))
        kept.take_up(training, resume=resume)
    _run(training, progress=progress, log=TrainingLog(log, after=training.taken), kept=kept, every=every)
    return training.parameters.embedding(graph.names)


class Training:
    """A run of training: parameters, Adam's moments, and how many steps were taken.

    Args:
        objectives: what is minimised, each with its weight.
        parameters: changed in place.
        steps: how many there will be.
        rate: the largest step length.
        seed: of all samples.
        widen: whether to go over to float64 when points are too far out for float32.
    """

    def __init__(
        self,
        objectives: Sequence[tuple[float, PreparedObjective]],
        parameters: HopParameters,
        *,
        steps: int,
        rate: float,
        seed: int,
        widen: bool = False,
    ) -> None:
        self.objectives = objectives
        self.parameters = parameters
        self.adam = RowAdam(parameters.all())
        self.steps, self.rate, self.seed, self.widen = steps, rate, seed, widen
        self.taken = self.skipped = self.in_a_row = 0

    @property
    def pairs(self) -> int:
        """Pairs of concepts measured since the run was begun or resumed."""
        return sum(objective.pairs for _, objective in self.objectives)

    def advance(self) -> float:
        """Take one step and return its loss; a step that is not finite is skipped and counted.

        Raises:
            FloatingPointError: if that happens ``MOST_SKIPPED`` times in a row, or a parameter leaves its range.
        """
        step = self.taken
        loss, gradients = self._sampled(step)
        self.taken += 1
        if not (math.isfinite(loss) and all(bool(g.value.isfinite().all()) for g in gradients.values())):
            self.skipped += 1
            self.in_a_row += 1
            if self.in_a_row >= MOST_SKIPPED:
                raise FloatingPointError(
                    f"the loss or its gradient was not finite in {MOST_SKIPPED} steps up to step {step}, where the "
                    f"loss was {loss:g}; lower learning_rate or scale"
                )
            return loss
        self.in_a_row = 0
        rise = min(1.0, (step + 1) / min(_WARM_UP, self.steps))
        self.adam.step(gradients, self.rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps)))
        if self.widen and step % 100 == 99:
            self._widen_where_needed()
        return loss

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All tensors, and the numbers that go with them."""
        tensors = {f"parameter.{n}": t for n, t in self.parameters.all().items()} | self.adam.state()
        return tensors, {"taken": self.taken, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave. Raises ``KeyError`` or ``ValueError`` for what does not fit."""
        for name, own in self.parameters.all().items():
            given = tensors[f"parameter.{name}"]
            if given.shape != own.shape or given.dtype not in (torch.float32, torch.float64):
                raise ValueError(
                    f"parameter.{name}: expected floats of shape {tuple(own.shape)}, got {given.dtype} of shape "
                    f"{tuple(given.shape)}"
                )
        self._adopt({name: tensors[f"parameter.{name}"].clone() for name in self.parameters.all()})
        self.adam.load_state(tensors)
        for name in ("taken", "skipped", "in_a_row"):
            value = numbers[name]
            if type(value) is not int or not 0 <= value <= self.steps:
                raise ValueError(f"{name}: expected a number of steps up to {self.steps}, got {value!r:.40}")
            setattr(self, name, value)

    def _sampled(self, step: int) -> tuple[float, dict[str, Gradient]]:
        total, found = 0.0, {}
        for number, (weight, objective) in enumerate(self.objectives):
            loss, gradients = objective.step(self.parameters, _generator(self.seed, step + 1, number))
            total += weight * loss
            for name, (rows, value) in gradients.items():
                found.setdefault(name, []).append(Gradient(rows, value if weight == 1 else weight * value))
        return total, {name: _added(parts) for name, parts in found.items()}

    def _widen_where_needed(self) -> None:
        """Over to float64 once eps·e^{2r}, the error of cosh d, exceeds a thousandth."""
        tangents = [self.parameters.tables[n] for n in ("tangents", "targets") if n in self.parameters.tables]
        radius = max(float(torch.linalg.vector_norm(z, dim=1).max()) for z in tangents)
        curved = self.parameters.geometry in ("hyperbolic", "product")
        if curved and self.parameters.dtype == torch.float32 and radius > 4.8:
            moments = {n: t.double() if t.is_floating_point() else t for n, t in self.adam.state().items()}
            self._adopt({name: tensor.double() for name, tensor in self.parameters.all().items()})
            self.adam.load_state(moments)

    def _adopt(self, tensors: Mapping[str, Tensor]) -> None:
        for part in (self.parameters.tables, self.parameters.shared):
            part.update({name: tensors[name] for name in part})
        self.adam = RowAdam(self.parameters.all())


def _run(training: Training, *, progress: Any, log: TrainingLog, kept: Checkpoints | None, every: int) -> None:
    with waiting_signals(enabled=kept is not None) as arrived:
        while training.taken < training.steps:
            loss = training.advance()
            if training.taken % 10 == 0:
                log.add(step=training.taken, loss=loss, skipped=training.skipped, pairs=training.pairs)
                if progress is not None:
                    progress(training.taken, loss)
            due = training.taken % every == 0 or training.taken == training.steps
            stopping = arrived()  # asked once: what arrives later waits for the next step, and its save
            if kept is not None and (due or stopping):
                kept.save(training)
            if stopping:
                break


def _added(parts: list[Gradient]) -> Gradient:
    if len(parts) == 1:
        return parts[0]
    if parts[0].rows is None:
        return Gradient(None, torch.stack([part.value for part in parts]).sum(0))
    return summed_rows(torch.cat([p.rows for p in parts if p.rows is not None]), torch.cat([p.value for p in parts]))


def _generator(seed: int, step: int, number: int) -> torch.Generator:
    """What one objective draws in one step: a function of these three numbers alone."""
    mixed = seed
    for part in (step, number):
        # splitmix64, so that neighbouring steps have nothing in common
        mixed = (mixed + 0x9E3779B97F4A7C15 * (part + 1)) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)


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


def _require_numbers(*, dim, steps, every, seed, scale, learning_rate) -> None:
    require_counts(dim=dim, steps=steps, every=every)
    for name, value in (("scale", scale), ("learning_rate", learning_rate)):
        plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if value is not None and not plain:
            raise ValueError(f"{name}: expected a finite number > 0, got {value!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed: expected a whole number from 0 to 2^63 - 1, got {seed!r}")


def _require_form(*, two_points, scalars, readout, dtype) -> None:
    for name, value in (("two_points", two_points), ("scalars", scalars)):
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{name}: expected True, False or None, got {value!r}")
    if readout is not None and readout != 0:
        require_counts(readout=readout)
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype!r}")

"""Training of a relational embedding: the loop, checkpoints and signals of hop models, with typed links."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph
from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import Geometry
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.parameters import HopParameters
from hyperspectral_geo.hyperbolic.processes import joined_processes
from hyperspectral_geo.hyperbolic.relational.link_sampling import TypedLinks
from hyperspectral_geo.hyperbolic.relational.model import RelationalEmbedding
from hyperspectral_geo.hyperbolic.thread_count import torch_threads
from hyperspectral_geo.hyperbolic.training_loop import train
from hyperspectral_geo.hyperbolic.training_run import Training, step_generator
from hyperspectral_geo.validation import require_seed

__all__ = ["fit_relations"]

_SPREAD = 0.01  # of tangents at the start
_ANGLES = 0.5


def fit_relations(
    kg: KnowledgeGraph,
    *,
    dim: int = 32,
    geometry: Geometry = "hyperbolic",
    scale: float = 0.5,
    features: Float[Tensor, "n f"] | None = None,
    start: HopEmbedding | None = None,
    steps: int = 4000,
    questions: int = 1024,
    negatives: int = 1024,
    weighted: bool = True,
    dropout: float = 0.1,
    decay: float = 0.0,
    learning_rate: float = 0.05,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int, float], None] | None = None,
    watch: Callable[[int, RelationalEmbedding], None] | None = None,
    log: str | Path | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    resume: bool = False,
) -> RelationalEmbedding:
    """Embed a knowledge graph so that the true tail of (head, relation, ?) is the nearest to where it is looked for.

    Args:
        kg: its ``train`` is learned; ``valid`` and ``test`` are not looked at.
        dim: d, even: numbers an entity, beside its bias.
        geometry: ``"hyperbolic"``, or ``"euclidean"``: the same model with translations for boosts.
        scale: what a squared distance costs. It stays: the smaller it is, the farther out points must move to tell
            entities apart, and the more the space is curved for them.
        features: of the entities, such as vectors of their names or glosses, in the order of ``kg.entities``; a learned
            linear map of them is added to the tangents, so that entities which training never meets have a place. Rows
            of about unit length suit the learning rate.
        start: a model of hops whose concepts are the entities, in the same order: tangents to begin with.
        steps: steps of Adam.
        questions: pairs (head, relation) a step, each with all its tails.
        negatives: entities a step against which they are ranked; all where there are no more.
        weighted: whether the sampled entities stand for all (their sum of exponentials is scaled up, as in a full
            softmax), or for themselves alone: then a tail that is ahead of the sample is pushed no further, which
            memorises less.
        dropout: share of a head's coordinates set to zero in a step.
        decay: weight, ≥ 0, of |z|² of the heads and tails of a step, mean over its tails.
        learning_rate: its largest step length, left along a cosine to zero.
        seed: of start and samples; step t draws from (seed, t) alone.
        threads: of torch, while training.
        progress: called with (step, loss) every tenth step.
        watch: called with (step, model) every ``every`` steps and at the end, for curves; the model is a copy.
        log, checkpoint, every, resume: as for ``fit``: a log of JSON lines, a folder in which the state is kept,
            written atomically, and whether to go on from it; a resumed run is the same bit by bit.

    Raises:
        ValueError: for arguments out of range, features or a start of other entities, or a checkpoint of another run.
        OSError: if a file cannot be written.
        FloatingPointError: if loss or gradient are not finite 20 steps in a row.
        KeyboardInterrupt, SystemExit: on signals, after saving where there is a ``checkpoint``.

    References:
        I. Chami et al., *Low-dimensional hyperbolic knowledge graph embeddings*, ACL 2020, arXiv:2005.00545. I.
        Balažević et al., *Multi-relational Poincaré graph embeddings*, NeurIPS 2019, arXiv:1905.09791.

    Example:
        >>> kg = KnowledgeGraph.from_triples(
        ...     [("dog", "is a", "mammal"), ("cat", "is a", "mammal"), ("paw", "of", "dog")]
        ... )
        >>> model = fit_relations(kg, dim=4, steps=200)
        >>> model.best_tails("cat", "is a", 1)[0].name
        'mammal'
    """
    _require(kg, dim=dim, geometry=geometry, dropout=dropout)
    _require_numbers(scale=scale, learning_rate=learning_rate, decay=decay)
    require_counts(steps=steps, questions=questions, negatives=negatives, threads=threads, every=every)
    require_seed(seed)
    features = _checked_features(features, len(kg.entities))
    parameters = _initial(kg, dim, geometry, features, start, step_generator(seed, 0, 0))
    links = TypedLinks(
        kg,
        scale=scale,
        questions=questions,
        negatives=negatives,
        weighted=weighted,
        dropout=dropout,
        decay=decay,
        features=features,
    )
    settings = {
        "dim": dim,
        "geometry": geometry,
        "scale": scale,
        "steps": steps,
        "questions": questions,
        "negatives": negatives,
        "weighted": weighted,
        "dropout": dropout,
        "decay": decay,
        "rate": learning_rate,
        "seed": seed,
        "threads": threads,
    }
    with joined_processes() as together, torch_threads(threads):
        training = Training([(1.0, links)], parameters, steps=steps, rate=learning_rate, seed=seed, together=together)
        train(
            training,
            run=_fingerprint(kg, parameters, settings, features),
            progress=_watched(training, progress, watch, every, lambda: _model(kg, parameters, scale, links)),
            log=log,
            checkpoint=checkpoint,
            every=every,
            resume=resume,
        )
    return _model(kg, training.parameters, scale, links)


def _initial(
    kg: KnowledgeGraph,
    dim: int,
    geometry: Geometry,
    features: Tensor | None,
    start: HopEmbedding | None,
    generator: torch.Generator,
) -> HopParameters:
    """Small tangents, or those of ``start``; relations that turn and mirror at random, and move nothing yet."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    n, ways = len(kg.entities), 2 * len(kg.relations)
    tangents = drawn(n, dim) * _SPREAD
    if start is not None:
        if start.names != kg.entities or (start.tangents.shape[1], start.geometry) != (dim, geometry):
            raise ValueError(
                f"start: expected a {geometry} model of {dim} dimensions of the same {n} entities, got a "
                f"{start.geometry} one of {start.tangents.shape[1]} and {len(start)} names; fit it to "
                "HopGraph.from_edges(..., names=kg.entities)"
            )
        tangents = start.tangents.float().clone()
    shared = {
        "rotations": drawn(ways, dim // 2) * _ANGLES,
        "reflections": drawn(ways, dim // 2) * _ANGLES,
        "mixing": torch.zeros(ways, dim // 2),
        "translations": drawn(ways, dim) * _SPREAD,
    }
    if features is not None:
        shared["map"] = torch.zeros(features.shape[1], dim)
    return HopParameters(geometry, {"tangents": tangents, "biases": torch.zeros(n)}, shared)


def _model(kg: KnowledgeGraph, parameters: HopParameters, scale: float, links: TypedLinks) -> RelationalEmbedding:
    """The model as it stands, of copies; what features add is in its tangents."""
    parts = {name: tensor.clone() for name, tensor in parameters.all().items()}
    if links.features is not None:
        parts["tangents"] += links.features @ parts.pop("map")
    return RelationalEmbedding(kg.entities, kg.relations, geometry=parameters.geometry, scale=scale, **parts)


def _watched(
    training: Training,
    progress: Callable[[int, float], None] | None,
    watch: Callable[[int, RelationalEmbedding], None] | None,
    every: int,
    model: Callable[[], RelationalEmbedding],
) -> Callable[[int, float], None]:
    def told(step: int, loss: float) -> None:
        if progress is not None:
            progress(step, loss)
        if watch is not None and (step % every < 10 or step == training.steps):  # told of every tenth step
            watch(step, model())

    return told


def _fingerprint(
    kg: KnowledgeGraph, parameters: HopParameters, settings: dict[str, Any], features: Tensor | None
) -> str:
    """Knowledge graph, start and settings of a run, for its checkpoints."""
    graph = hashlib.sha256(json.dumps([kg.entities, kg.relations]).encode())
    graph.update(kg.train.numpy().tobytes())
    found = {"knowledge graph": graph.hexdigest(), "start": parameters.digest()}
    if features is not None:
        found["features"] = hashlib.sha256(features.numpy().tobytes()).hexdigest()
    return json.dumps(found | {name: str(value) for name, value in settings.items()}, sort_keys=True)


def _require(kg: KnowledgeGraph, *, dim: Any, geometry: Any, dropout: Any) -> None:
    if not len(kg.train):
        raise ValueError("kg: expected at least one triple in train, got none; pass another")
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 2 or dim % 2:
        raise ValueError(f"dim: expected an even whole number >= 2, since relations turn planes, got {dim!r}")
    if geometry not in ("hyperbolic", "euclidean"):
        raise ValueError(f"geometry: expected 'hyperbolic' or 'euclidean', got {geometry!r:.40}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout: expected a share from 0 to below 1, got {dropout!r:.40}")


def _require_numbers(**given: Any) -> None:
    for name, value in given.items():
        number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and name != "decay"):
            raise ValueError(
                f"{name}: expected a finite number {'>=' if name == 'decay' else '>'} 0, got {value!r:.40}"
            )


def _checked_features(features: object, count: int) -> Tensor | None:
    """The features in float32, without the graph of gradients that an encoder may have left on them."""
    if features is None:
        return None
    shape = tuple(features.shape) if isinstance(features, Tensor) and features.is_floating_point() else ()
    if not isinstance(features, Tensor) or len(shape) != 2 or shape[0] != count or not shape[1]:
        got = f"{features.dtype} of shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features)
        raise ValueError(f"features: expected floats of shape ({count}, f), one row an entity, got {got}")
    found = features.detach().float().cpu().contiguous()
    if not bool(found.isfinite().all()):
        raise ValueError(
            "features: expected finite numbers of float32, got NaN or infinity; clean them with torch.nan_to_num"
        )
    return found

"""Gram matrices of the inputs of a network's weights, streamed: what RegMean needs to know of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["activation_grams", "run_network", "watched_layers"]

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Embedding
KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


def activation_grams(
    network: nn.Module,
    inputs: Iterable[Any],
    *,
    weights: Sequence[str] | None = None,
    parameters: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
    mean: bool = True,
) -> Mapping[str, Float[Tensor, "n *_"]]:
    """G = Σ x xᵀ over all inputs x of each weight, (n, n) with n the columns of the weight read as (out, in).

    Batches are run one at a time and their activations are dropped as soon as they are counted. The inputs of a linear
    layer are the rows of its input; those of a convolution the patches under its kernel (one group only); those of an
    embedding one-hot vectors, whose G is diagonal and given as the counts alone, (n,).

    Args:
        network: run in evaluation mode, without gradients; left in the mode it was in.
        inputs: batches: a tensor, a tuple of positional or a mapping of keyword arguments each.
        weights: names as in ``network.state_dict()``; by default all linear layers', convolutions' and embeddings'.
        parameters: run with these in place of the network's own, as from ``changed_parameters(network, module)``.
        dtype: in which sums are kept.
        mean: divide by the number of inputs, so that tasks with more of them do not count more.

    Raises:
        ValueError: for a name that is no weight of such a layer, no batches, a weight that no batch has reached, or
            entries that are not finite.
    """
    layers = watched_layers(network, weights)
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(layers, 0)

    def watch(name: str, layer: Layer) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            x = _rows(layer, arguments[0] if arguments else named["input"], dtype)
            counts[name] += len(x)
            gram = x.mT @ x if not isinstance(layer, nn.Embedding) else _counts(x, layer.num_embeddings).to(dtype)
            sums[name] = gram if name not in sums else sums[name].add_(gram)

        return hook

    handles = [layer.register_forward_pre_hook(watch(name, layer), with_kwargs=True) for name, layer in layers.items()]
    try:
        with evaluating(network), torch.no_grad():
            seen = 0
            for batch in inputs:
                run_network(network, batch, parameters)
                seen += 1
    finally:
        for handle in handles:
            handle.remove()
    _require_reached(seen, layers, sums)
    return {name: gram / counts[name] if mean else gram for name, gram in sums.items()}


def watched_layers(network: nn.Module, weights: Sequence[str] | None) -> dict[str, Layer]:
    """The layers whose inputs are meant, by the names of their weights.

    Raises:
        ValueError: for a name that is no weight of a linear layer, convolution or embedding.
    """
    known = {f"{name}.weight" if name else "weight": m for name, m in network.named_modules() if isinstance(m, KINDS)}
    if weights is None:
        return known
    for name in weights:
        if name not in known:
            raise ValueError(
                f"weights: {name!r} is no weight of a linear layer, convolution or embedding of this network; it has "
                f"{', '.join(list(known)[:8])}{', …' if len(known) > 8 else ''}"
            )
    return {name: known[name] for name in weights}


def run_network(network: nn.Module, batch: Any, parameters: Mapping[str, Tensor] | None = None) -> Any:
    """network(batch) with ``parameters`` in place of its own; a tuple as positional, a mapping as keyword arguments."""
    arguments = () if isinstance(batch, Mapping) else tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
    named = dict(batch) if isinstance(batch, Mapping) else {}
    return functional_call(network, dict(parameters or {}), arguments, named)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, each part back in its own mode afterwards."""
    modes = {m: m.training for m in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


def _counts(indices: Tensor, size: int) -> Tensor:
    return torch.bincount(indices, minlength=size)


def _rows(layer: Layer, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The inputs of a layer one a row; an embedding's indices as they are."""
    if isinstance(layer, nn.Embedding):
        return x.flatten()
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2).to(dtype) if x.ndim > 1 else x[None].to(dtype)
    if layer.groups != 1:
        raise ValueError(f"network: expected convolutions of one group, got {layer.groups}; leave this one's name out")
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ValueError("network: expected convolutions with numbers of zeros as padding; leave this one's name out")
    pads = [p for p in reversed(layer.padding) for _ in range(2)]
    x = nn.functional.pad(x.to(dtype), pads)
    for axis, (size, stride, gap) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), 2):
        x = x.unfold(axis, gap * (size - 1) + 1, stride)[..., ::gap]
    space = len(layer.kernel_size)
    patches = x.movedim(1, 1 + space)  # (batch, *places, channels, *kernel)
    return patches.flatten(1 + space).flatten(0, space)


def _require_reached(seen: int, layers: Mapping[str, Layer], sums: Mapping[str, Tensor]) -> None:
    if seen == 0:
        raise ValueError("inputs: expected at least one batch, got none")
    for name in layers:
        if name not in sums:
            raise ValueError(f"inputs: no batch has reached {name!r}; leave its name out, or pass inputs that use it")
        if not bool(sums[name].isfinite().all()):
            raise ValueError(f"inputs: the inputs of {name!r} hold a NaN or an infinity; clean the batches")

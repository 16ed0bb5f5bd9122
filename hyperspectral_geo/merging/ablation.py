"""What the output loses with each direction of a merged module: predicted to first order, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hyperspectral_geo.merging.apply import applied, base_parameters, changed_parameters, weight_from
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.spectrum import spectra

__all__ = ["Ablation", "ablation"]


@dataclass(frozen=True)
class Ablation:
    """What taking σ u vᵀ out of one weight does to the output f.

    Attributes:
        weight: its name.
        direction: number of the direction, 0 the strongest.
        sigma: σ.
        predicted: ‖J σuvᵀ‖, J the derivative of f by the weight at the merged model, over ``ablation``'s unit.
        measured: ‖f(without) − f(merged)‖ over the same unit.
        cosine: of the predicted and the measured change; near 1 where the first order tells the truth. 0 if one is 0.
    """

    weight: str
    direction: int
    sigma: float
    predicted: float
    measured: float
    cosine: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, for JSON."""
        return asdict(self)


def ablation(
    network: nn.Module,
    merged: Module,
    inputs: Any,
    *,
    names: Sequence[str] | None = None,
    top: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> list[Ablation]:
    """Take the leading directions of a merged module out, one at a time, and look at the output on some inputs.

    The unit is ‖f(merged) − f(base)‖, what the module does to the output as a whole: 0.3 means a change of the output
    by three tenths of that. The prediction is a forward-mode derivative, one pass a direction; so is the measurement.

    Args:
        network: the base model, in evaluation mode; its output is one tensor. Wrap it if it is not. Not changed.
        merged: a merged module.
        inputs: what the network is called with: one argument, a tuple of them, or a mapping of named ones.
        names: of the weights to look at, all by default.
        top: at most so many leading directions a weight.
        progress: called as ``progress(done, all)`` after each direction.

    Returns:
        A row a direction, weight by weight, the strongest first.

    Raises:
        ValueError: for a module that does not fit the network or has no such weight, an output that is no floating
            tensor, or one that the module does not change at all.
    """
    chosen = list(merged.deltas) if names is None else list(names)
    if unknown := [n for n in chosen if n not in merged.deltas]:
        raise ValueError(f"names: expected weights that {merged.name} changes, got {', '.join(unknown)}")
    call = _caller(inputs)
    parameters = changed_parameters(network, merged)
    with torch.no_grad():
        after = _tensor(call(applied(network, parameters)))
        unit = torch.linalg.vector_norm((after - _tensor(call(network))).double())
    if not bool(unit > 0):
        raise ValueError(f"{merged.name}: expected a module that changes the output on these inputs, got none")
    found = spectra(replace(merged, deltas={n: merged.deltas[n] for n in chosen}), free="eigenvalues")
    base = base_parameters(network, found)
    rows: list[Ablation] = []
    total = sum(min(top, len(s.s)) for s in found.values())
    for name, spectrum in found.items():
        spectrum = spectrum.to(base[name].dtype)

        def output(p: Tensor, name: str = name, spectrum: Any = spectrum) -> Tensor:
            weight = weight_from(base[name], merged.layouts[name], spectrum.left(p), spectrum.vh)
            return _tensor(call(applied(network, {**parameters, name: weight})))

        for i in range(min(top, len(spectrum.s))):
            minus = spectrum.origin()
            minus[i] = -1.0
            predicted, measured = _changes(output, spectrum.origin(), minus)
            sizes = [float(torch.linalg.vector_norm(x)) for x in (predicted, measured)]
            dot = float((predicted * measured).sum())
            cosine = dot / (sizes[0] * sizes[1]) if min(sizes) > 0 else 0.0
            ratio = [size / float(unit) for size in sizes]
            rows.append(Ablation(name, i, float(spectrum.s[i]), ratio[0], ratio[1], cosine))
            if progress is not None:
                progress(len(rows), total)
    return rows


def _changes(output: Callable[[Tensor], Tensor], at: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """The first-order and the real change of the output, in float64."""
    # Of the kernels of attention only the plain one has a forward derivative.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        try:
            before, predicted, *_ = torch.func.jvp(output, (at,), (step,))
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(
                f"network: expected operations with a forward-mode derivative, got {str(error).splitlines()[0][:200]}; "
                "load transformers models with attn_implementation='eager'"
            ) from error
        measured = output(at + step) - before
    return predicted.double(), measured.double()


def _caller(inputs: Any) -> Callable[[Callable[..., Any]], Any]:
    if isinstance(inputs, Mapping):
        return lambda f: f(**inputs)
    if isinstance(inputs, tuple):
        return lambda f: f(*inputs)
    return lambda f: f(inputs)


def _tensor(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise ValueError(
            f"network: expected one floating tensor as output, got {type(output).__name__}; wrap the network in a "
            "module that returns one"
        )
    return output

"""What ``merge`` has to know of a method besides its formula."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hyperspectral_geo.merging.delta import Delta

__all__ = ["Method"]


@dataclass(frozen=True)
class Method:
    """A merging method: a function of one weight's joint basis, and the facts that hold for all weights.

    Attributes:
        layer: ``layer(joint, weights, **options) -> Delta``; the updates of one weight as cores, and a weight a module.
        prepare: for what spans all weights at once, such as a threshold over the whole model:
            ``prepare(joints, **options) -> further options for layer``; ``joints`` may be iterated more than once.
        keeps_single: whether one module of weight 1 comes out as it went in.
        vectors: how tensors that are no matrices are merged: "sum" Σ w_t v_t, "mean" Σ w_t v_t / T over the T modules
            that have them and whose weight is not 0, "proportion" Σ w_t v_t / Σ w_t over these, for methods to which
            only the proportions of the weights count.
        prepared: the further options that ``prepare`` finds, which a caller does not give.
    """

    layer: Callable[..., Delta]
    prepare: Callable[..., Mapping[str, Any]] | None = None
    keeps_single: bool = True
    vectors: Literal["sum", "mean", "proportion"] = "sum"
    prepared: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that a caller may give: the keyword-only parameters of ``layer``."""
        parameters = inspect.signature(self.layer).parameters.values()
        names = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
        return tuple(n for n in names if n not in self.prepared)

    def require_options(self, given: Collection[str], *, method: object = "this method") -> None:
        """Raise ``ValueError`` for an option that the method does not have, naming the nearest, or for one it lacks."""
        called = method if isinstance(method, str) else "this method"
        parameters = inspect.signature(self.layer).parameters.values()
        known = self.options
        needed = (p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
        missing = next((name for name in needed if name not in given), None)
        if missing is not None:
            raise ValueError(f"{missing}: {called} needs this option, got none; pass {missing}=")
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
            return  # the method hands its options on, and so refuses them itself
        for name in given:
            if name in known:
                continue
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ValueError(f"{name}: {called} has no option of this name; {hint}")

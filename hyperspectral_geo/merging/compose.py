"""Composition at run time: modules on a network, set, added, removed and re-weighted without merging anew."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.merging.apply import require_fits
from hyperspectral_geo.merging.composed_places import Place, find_places
from hyperspectral_geo.merging.delta import relative_difference
from hyperspectral_geo.merging.hooked_network import HookedNetwork
from hyperspectral_geo.merging.joint_update import working_kind
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.validation import require_finite

__all__ = ["Composition"]


class Composition(HookedNetwork):
    """A network and modules on it, y = f(x; W₀ + Σ w_t ΔW_t), whose weights w change between calls or within a batch.

    The network's own parameters are never written: every changed layer adds x (Σ w_t ΔW_t)ᵀ to its output, from
    the modules' joint basis, so setting w rescales small cores only, and ``unmerge`` gives the network back as it was
    to the bit. Layers: ``Linear`` (and transformers' ``Conv1D``), ``Conv1d/2d/3d``, ``Embedding``, ``LayerNorm``; a
    change of a parameter that several layers share acts in all of them.

    Args:
        network: in evaluation mode or not; it is used, not copied.
        modules: to begin with.
        weights: one number a module, ones by default.
        rank: most directions of a layer's joint basis a side; None keeps all. With a bound the cost of adding stays
            the same for the hundredth module, and ``forgetting`` says what that bound loses.

    Raises:
        ValueError: for a module that does not fit the network, or changes a layer of another kind.

    Example:
        >>> from hyperspectral_geo.merging import Layout, LowRank
        >>> net = nn.Sequential(nn.Linear(4, 3))
        >>> module = Module(
        ...     "a", {"0.weight": LowRank(torch.ones(3, 1), torch.ones(1, 4))}, {"0.weight": Layout("linear", (3, 4))}
        ... )
        >>> both = Composition(net, [module])
        >>> x = torch.ones(2, 4)
        >>> torch.allclose(both(x), net[0].bias + x @ (net[0].weight + 1).mT)
        True
        >>> torch.equal(both(x, weights={"a": 0.0}), both.unmerge()(x))
        True
    """

    def __init__(
        self,
        network: nn.Module,
        modules: Sequence[Module] = (),
        *,
        weights: Sequence[float] | None = None,
        rank: int | None = None,
    ) -> None:
        values = [1.0] * len(modules) if weights is None else list(weights)
        if len(values) != len(modules):
            raise ValueError(f"weights: expected {len(modules)} numbers, one a module, got {len(values)}")
        super().__init__(network, rank=rank)
        self._slots: dict[str, int] = {}
        self._kept: dict[str, Module] = {}
        like = next(network.parameters())
        self.weights: Float[Tensor, " slots"]
        self.register_buffer("weights", torch.zeros(0, dtype=working_kind(like.dtype), device=like.device))
        for module, weight in zip(modules, values, strict=True):
            self.add(module, weight=weight)

    @property
    def names(self) -> tuple[str, ...]:
        """The modules' names, in the order of the rows of per-request weights."""
        return tuple(self._slots)

    def forward(
        self, *args: Any, weights: Mapping[str, float] | Float[Tensor, "requests t"] | None = None, **kwargs: Any
    ) -> Any:
        """The composed network.

        Args:
            args, kwargs: the network's.
            weights: for this call alone: a number a module by name (others keep theirs), or a row of weights, in the
                order of ``names``, for each item of the batch.
        """
        if weights is None:
            return self.network(*args, **kwargs)
        rows = self._requests(weights)
        for layer in self.composed():
            layer.requests = rows
        try:
            return self.network(*args, **kwargs)
        finally:
            for layer in self.composed():
                layer.requests = None

    def add(self, module: Module, *, weight: float = 1.0) -> None:
        """Take in a module, by a QR update of each layer's joint basis; all of it or, after an error, nothing.

        Raises:
            ValueError: for a name that is taken, entries that are not finite, or a module that does not fit.
        """
        if module.name in self._slots:
            raise ValueError(f"{module.name}: expected a new name, got one of {', '.join(self.names)}; remove it first")
        self._require_number(module.name, weight)
        require_fits(self.network, module)
        if module.replaced:
            raise ValueError(f"{module.name}: its replaced parameters need the base: use module.against(base) first")
        places = find_places(self.network, module)
        taken = set(self._slots.values())
        slot = next(i for i in range(len(taken) + 1) if i not in taken)
        before = self.buffers_by_layer()
        try:
            for place in places:
                self._add_at(place, module, slot)
        except BaseException as error:
            self.restore(before)
            if isinstance(error, ValueError):
                raise ValueError(f"{module.name}: {error}") from error
            raise
        if slot == len(self.weights):
            self.weights = torch.cat([self.weights, self.weights.new_zeros(1)])
        self._slots[module.name] = slot
        if self.rank is not None:
            self._kept[module.name] = module
        self.set({module.name: weight})

    def remove(self, name: str) -> None:
        """Drop a module; what the others add does not change by a bit while ``rank`` is None."""
        slot = self._slot(name)
        for key, layer in zip(list(self.layers), self.composed(), strict=True):
            layer.remove(slot)
            if layer.empty:
                self.detach(key)
        del self._slots[name]
        self._kept.pop(name, None)
        self.weights[slot] = 0.0
        self._mix()

    def set(self, weights: Mapping[str, float]) -> None:
        """Set the standing weights of the named modules; the cost is that of small cores."""
        for name, weight in weights.items():
            self._require_number(name, weight)
            self._slot(name)
        for name, weight in weights.items():
            self.weights[self._slot(name)] = weight
        self._mix()

    def unmerge(self) -> nn.Module:
        """Take all modules off and give the network back, bit by bit what it was."""
        for key in list(self.layers):
            self.detach(key)
        self._slots.clear()
        self._kept.clear()
        self.weights = self.weights[:0]
        return self.network

    def forgetting(self) -> dict[str, float]:
        """For each module the relative error ‖held − ΔW‖/‖ΔW‖ of its matrices as the bounded joint bases hold them.

        Zeros while ``rank`` is None.

        Raises:
            ValueError: after ``load_state_dict``: a state holds what is left of the modules, not what they were.
        """
        if self.rank is None:
            return dict.fromkeys(self.names, 0.0)
        if unknown := set(self.names) - set(self._kept):
            raise ValueError(f"{', '.join(sorted(unknown))}: loaded from a state, whose losses are not known; add anew")
        found = {}
        for name, module in self._kept.items():
            lost = size = 0.0
            for place in find_places(self.network, module):
                if (delta := place.delta(module)) is None:
                    continue
                held = self.attach(place.path).update.update(self._slots[name])
                own = float(delta.to(torch.float64).norm())
                lost += (relative_difference(held, delta) * own) ** 2 if own else 0.0
                size += own**2
            found[name] = math.sqrt(lost / size) if size else 0.0
        return found

    def get_extra_state(self) -> Tensor:
        """Names and places of the modules, as a tensor of UTF-8 so that safetensors can keep the state too."""
        return torch.tensor(list(json.dumps(self._slots).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take in what ``get_extra_state`` gave."""
        self._slots = {str(name): int(slot) for name, slot in json.loads(bytes(state.tolist())).items()}
        self._kept.clear()

    def _add_at(self, place: Place, module: Module, slot: int) -> None:
        layer = self.attach(place.path)
        delta = place.delta(module)
        try:
            if delta is None:
                layer.add_vector(place.own, module.vectors[place.parameter], slot)
            else:
                layer.add_matrix(delta, slot)
        except ValueError as error:
            raise ValueError(f"{place.parameter}: {error}") from error

    def _require_number(self, name: str, weight: object) -> None:
        largest = torch.finfo(self.weights.dtype).max
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not abs(weight) <= largest:
            raise ValueError(f"{name}: expected a finite number as weight, got {weight!r}")

    def _slot(self, name: str) -> int:
        if name not in self._slots:
            raise ValueError(f"{name}: expected one of the modules {', '.join(self.names) or '(none)'}")
        return self._slots[name]

    def _mix(self) -> None:
        for layer in self.composed():
            layer.set_weights(self.weights)

    def _requests(self, weights: Mapping[str, float] | Tensor) -> Tensor:
        """Weights as rows over the slots."""
        if isinstance(weights, Mapping):
            rows = self.weights.clone().unsqueeze(0)
            for name, weight in weights.items():
                self._require_number(name, weight)
                rows[0, self._slot(name)] = weight
            return rows
        if not isinstance(weights, Tensor):
            raise ValueError(
                f"weights: expected numbers by name, such as {{{self.names[0] if self.names else 'a'!r}: 0.5}}, or a "
                f"tensor (batch, {len(self.names)}), got {weights!r:.60}; set standing weights with set()"
            )
        if weights.ndim != 2 or weights.shape[1] != len(self.names):
            raise ValueError(
                f"weights: expected shape (batch, {len(self.names)}), a row for each item of the batch and a column "
                f"for each of {', '.join(self.names)}, got {tuple(weights.shape)}"
            )
        if not torch.compiler.is_compiling():  # looking at values would break the graph
            require_finite("weights", weights)
        rows = weights.new_zeros(len(weights), len(self.weights)).to(self.weights)
        rows[:, list(self._slots.values())] = weights.to(self.weights)
        return rows

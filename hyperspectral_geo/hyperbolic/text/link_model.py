"""How probable it is that one page links to another, from what their texts say: a small network, well calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from hyperspectral_geo.hyperbolic.text.pair_features import GROUPS, PairFacts

__all__ = ["HIDDEN", "LinkModel"]

HIDDEN: Mapping[str, tuple[str, ...]] = {
    "new to known": ("source_links",),
    "known to new": ("target_links",),
    "new to new": ("source_links", "target_links"),
    "unnamed to known": ("source_links", "reverse", "source_title"),
    "known to unnamed": ("target_links", "forward", "renown", "target_title"),
    "unnamed to unnamed": tuple(name for name in GROUPS if name != "rest"),
}
"""What is not at hand of a pair: a new page has no links yet, and no text mentions a page without a title, or where the
other pages' texts are not there to be searched."""

_BATCH = 4096
_RATE = 5e-3
_WIDTH = 64
_OPTIONAL = tuple(name for name in GROUPS if name != "rest")


@dataclass(frozen=True, eq=False)
class LinkModel:
    """p(link) = σ(w₃ᵀ silu(W₂ silu(W₁ x + b₁) + b₂) + b₃) of a pair's standardised facts x and what is hidden of them.

    One network serves all situations of ``HIDDEN``: it is trained on pairs of known pages, each time with a random
    situation's columns at zero and a column that says so, as if a page of the pair were new.

    Attributes:
        mean, deviation: of the columns over the pairs that it was trained on, (28,).
        weights: of the three layers, as ``nn.Sequential.state_dict`` names them.
    """

    mean: Float[Tensor, "28"]
    deviation: Float[Tensor, "28"]
    weights: Mapping[str, Tensor]

    @classmethod
    def fit(cls, facts: PairFacts, linked: Bool[Tensor, " k"], *, steps: int = 2000, seed: int = 0) -> LinkModel:
        """Train on pairs of known pages by cross entropy.

        Args:
            facts: of candidate pairs of known pages.
            linked: which of them are links.
            steps: of Adam, 4,096 pairs each.
            seed: of weights, pairs and situations.

        Raises:
            ValueError: unless some pairs are links and some are not.
        """
        if not bool(linked.any()) or bool(linked.all()):
            raise ValueError(
                f"graph: expected links as well as other pairs among pages alike in text, got {int(linked.sum())} "
                f"links of {len(linked)} pairs; texts of other pages, or titles that texts never mention?"
            )
        mean, deviation = facts.columns.mean(0), facts.columns.std(0).clamp_min(1e-6)
        columns, goal = (facts.columns - mean) / deviation, linked.float()
        masks = torch.stack([_visible(hidden) for hidden in HIDDEN.values()])
        generator = torch.Generator().manual_seed(seed)
        network = _network(generator)
        adam = torch.optim.Adam(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, _RATE, total_steps=steps)
        with torch.enable_grad():
            for _ in range(steps):
                some = torch.randint(len(goal), (_BATCH,), generator=generator)
                seen = masks[torch.randint(len(masks), (_BATCH,), generator=generator)]
                loss = binary_cross_entropy_with_logits(network(_masked(columns[some], seen))[:, 0], goal[some])
                adam.zero_grad()
                loss.backward()
                adam.step()
                schedule.step()
        return cls(mean, deviation, {name: tensor.clone() for name, tensor in network.state_dict().items()})

    @staticmethod
    def shapes() -> dict[str, tuple[int, ...]]:
        """Of ``weights``.

        >>> LinkModel.shapes()["4.weight"]
        (1, 64)
        """
        return {name: tuple(tensor.shape) for name, tensor in _network(None).state_dict().items()}

    def probabilities(self, facts: PairFacts, situation: str) -> Float[Tensor, " k"]:
        """p of each pair in a situation of ``HIDDEN``; what is hidden in it is not looked at."""
        network = _network(None)
        network.load_state_dict(dict(self.weights))
        columns = (facts.columns - self.mean) / self.deviation
        with torch.no_grad():
            seen = _visible(HIDDEN[situation]).expand(len(columns), -1)
            return network(_masked(columns, seen))[:, 0].sigmoid()


def _network(generator: torch.Generator | None) -> nn.Sequential:
    sizes = (sum(GROUPS.values()) + len(_OPTIONAL), _WIDTH, _WIDTH, 1)
    # On the CPU at once, nn.Linear would draw weights, to be overwritten, from the random numbers of the caller.
    layers = [nn.Linear(a, b, device="meta").to_empty(device="cpu") for a, b in pairwise(sizes)]
    for layer in layers if generator is not None else ():
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])


def _visible(hidden: tuple[str, ...]) -> Float[Tensor, " g"]:
    """1 for each group of columns that may be hidden and is not."""
    return torch.tensor([float(name not in hidden) for name in _OPTIONAL])


def _masked(columns: Tensor, seen: Tensor) -> Tensor:
    """Columns of hidden groups at zero, their mean, and beside them what is seen."""
    sizes = torch.tensor([GROUPS[name] for name in _OPTIONAL])
    everything = torch.cat([seen.repeat_interleave(sizes, dim=1), seen.new_ones(len(seen), GROUPS["rest"])], 1)
    return torch.cat([columns * everything, seen], 1)

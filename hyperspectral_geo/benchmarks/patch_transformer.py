"""The network of the merging benchmark: a small transformer over patches, and what is done with its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["PatchTransformer", "accuracy", "lora_targets", "WIDTH", "TARGETS"]

WIDTH = 128
"""Length of a token and of the features."""

TARGETS = ("q", "k", "v", "out", "up", "down")
"""Names of the linear maps in a block: the four of attention and the two of the MLP. Low-rank experts change these."""

PATCH = 7
_DEPTH, _HEADS, _HIDDEN, _SIDE = 4, 4, 256, 4


class _Block(nn.Module):
    """Attention and an MLP, each on normalised tokens and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(WIDTH)
        self.norm_mlp = nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up = nn.Linear(WIDTH, _HIDDEN)
        self.down = nn.Linear(_HIDDEN, WIDTH)

    def forward(self, x: Float[Tensor, "b t 128"]) -> Float[Tensor, "b t 128"]:
        normed = self.norm_attention(x)
        q, k, v = (_split(layer(normed)) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))


def _split(x: Float[Tensor, "b t 128"]) -> Float[Tensor, "b 4 t 32"]:
    return x.unflatten(-1, (_HEADS, -1)).transpose(1, 2)


class PatchTransformer(nn.Module):
    """A pre-norm transformer of four blocks over the 16 patches of an image, for features of length 128.

    The weights that low-rank experts change are ``blocks.<0 … 3>.<q, k, v, out, up or down>.weight``.

    >>> PatchTransformer()(torch.zeros(2, 28, 28)).shape
    torch.Size([2, 128])
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH * PATCH, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(_SIDE * _SIDE, WIDTH))
        self.blocks = nn.ModuleList(_Block() for _ in range(_DEPTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, images: Float[Tensor, "b 28 28"]) -> Float[Tensor, "b 128"]:
        """Features: the mean of the last block's tokens, normalised."""
        return self.norm(self.tokens(images).mean(1))

    def tokens(
        self, images: Float[Tensor, "b 28 28"], visible: Bool[Tensor, "b 16"] | None = None
    ) -> Float[Tensor, "b 16 128"]:
        """Tokens after the last block; where ``visible`` is false, the network sees a patch's position only."""
        x = self.embed(patches(images))
        if visible is not None:
            x = x * visible[..., None]
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        return x


def patches(images: Float[Tensor, "b 28 28"]) -> Float[Tensor, "b 16 49"]:
    """The 7×7 patches of each image, row by row."""
    return F.unfold(images[:, None], PATCH, stride=PATCH).transpose(1, 2)


def lora_targets(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights in ``state`` that low-rank experts change, in order."""
    return [name for name in state if name.endswith(tuple(f".{target}.weight" for target in TARGETS))]


@torch.no_grad()
def accuracy(
    network: PatchTransformer,
    state: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    images: Float[Tensor, "n 28 28"],
    labels: Int64[Tensor, " n"],
) -> float:
    """Share of ``images`` that an encoder with the weights ``state`` and a linear ``head`` label right.

    Args:
        network: gives the architecture; its own weights are used only where ``state`` lacks a name.
        state: weights by name, such as those of a merged network.
        head: ``weight`` of shape (classes, 128) and ``bias`` of shape (classes,).
        images: what to label.
        labels: their classes, from 0.

    Returns:
        A fraction in [0, 1].
    """
    features = functional_call(network, dict(state), (images,))
    return (F.linear(features, head["weight"], head["bias"]).argmax(1) == labels).double().mean().item()

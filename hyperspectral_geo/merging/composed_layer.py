"""What modules add to the output of one layer, without touching its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.joint_update import JointUpdate, working_kind
from hyperspectral_geo.validation import require_finite

__all__ = ["ComposedLayer", "Kind", "is_transposed", "layer_kind"]

Kind = Literal["linear", "embedding", "conv", "norm"]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def layer_kind(name: str, layer: nn.Module) -> Kind:
    """Which of the kinds that modules can be composed on a layer is.

    Raises:
        ValueError: naming the layer, if it is of none.
    """
    # The output map of torch's MultiheadAttention is never called: its weight is used directly, past any hook.
    if isinstance(layer, nn.Linear) and not isinstance(layer, NonDynamicallyQuantizableLinear):
        return "linear"
    if type(layer).__name__ == "Conv1D":
        return "linear"
    if isinstance(layer, nn.Embedding) and layer.max_norm is None:
        return "embedding"
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.groups == 1 and layer.padding_mode == "zeros":
        return "conv"
    if isinstance(layer, nn.LayerNorm) and layer.elementwise_affine and len(layer.normalized_shape) == 1:
        return "norm"
    shown = " ".join(str(layer).split())[:80]
    raise ValueError(
        f"{name or 'the network itself'}: expected a Linear outside of MultiheadAttention, Conv1D, Embedding without "
        f"max_norm, Conv of one group and zero padding, or LayerNorm over one dimension, got {shown}; merge the "
        "modules into the weights instead"
    )


def is_transposed(layer: nn.Module) -> bool:
    """Whether the layer's weight is stored as (in, out)."""
    return isinstance(layer, nn.Embedding) or type(layer).__name__ == "Conv1D"


class ComposedLayer(nn.Module):
    """The additions of several modules to one layer: output ↦ output + Σ w_t (ΔW_t x + Δb_t).

    For a LayerNorm, whose matrix is diagonal, ΔW_t x is the change of the gain times the normalised input.

    Args:
        name: the layer's name, for errors.
        layer: the layer; its dtype and device are taken, nothing else is kept of its parameters.
        rank: bound on the joint basis, see ``JointUpdate``.
    """

    def __init__(self, name: str, layer: nn.Module, *, rank: int | None) -> None:
        super().__init__()
        self.kind = layer_kind(name, layer)
        self.name = name
        like = next(layer.parameters())
        self.update = JointUpdate(_matrix_shape(self.kind, layer), rank=rank, like=like)
        width = like.shape[-1] if self.kind in ("norm", "embedding") else self.update.left.shape[0]
        self.biases: Float[Tensor, "j m"]
        self.gains: Float[Tensor, "i m"]
        self.bias_owner: Int[Tensor, " j"]
        self.gain_owner: Int[Tensor, " i"]
        self.mixed_bias: Float[Tensor, " m"]
        self.mixed_gain: Float[Tensor, " m"]
        for one, plural in (("bias", "biases"), ("gain", "gains")):
            self.register_buffer(plural, like.new_empty(0, width, dtype=working_kind(like.dtype)))
            self.register_buffer(f"{one}_owner", torch.empty(0, dtype=torch.int64, device=like.device))
            self.register_buffer(f"mixed_{one}", like.new_zeros(width, dtype=working_kind(like.dtype)))
        self.requests: Float[Tensor, "requests t"] | None = None  # weights of one call alone; None for the standing

    @property
    def empty(self) -> bool:
        """Whether no module changes the layer any more."""
        return not (len(self.update.owner) or len(self.bias_owner) or len(self.gain_owner))

    def add_matrix(self, delta: Delta, owner: int) -> None:
        """Take in a module's change of the weight."""
        self.update.add(delta, owner)

    def add_vector(self, parameter: str, change: Tensor, owner: int) -> None:
        """Take in a module's change of the bias, or of a LayerNorm's weight."""
        require_finite(parameter, change)
        which = "gain" if parameter == "weight" else "bias"
        plural = {"bias": "biases", "gain": "gains"}[which]
        rows, owners = getattr(self, plural), getattr(self, f"{which}_owner")
        setattr(self, plural, torch.cat([rows, change.to(rows).reshape(1, -1)]))
        setattr(self, f"{which}_owner", torch.cat([owners, owners.new_tensor([owner])]))

    def remove(self, owner: int) -> None:
        """Drop what a module changes."""
        self.update.remove(owner)
        for plural, one in (("biases", "bias"), ("gains", "gain")):
            owners = getattr(self, f"{one}_owner")
            kept = owners != owner
            setattr(self, plural, getattr(self, plural)[kept])
            setattr(self, f"{one}_owner", owners[kept])
            if not kept.any():
                setattr(self, f"mixed_{one}", torch.zeros_like(getattr(self, f"mixed_{one}")))

    def restore(self, buffers: Mapping[str, Tensor]) -> None:
        """Put back what ``named_buffers`` gave before a change."""
        for name, value in buffers.items():
            owner, _, buffer = name.rpartition(".")
            setattr(self.get_submodule(owner), buffer, value)

    @torch.no_grad()
    def set_weights(self, weights: Float[Tensor, " t"]) -> None:
        """Make ``weights`` the standing ones: the small core and the vectors are mixed anew, nothing else."""
        self.update.core = self.update.mixed(weights)
        if len(self.bias_owner):  # most layers have neither, and even nothing takes time to mix
            self.mixed_bias = weights[self.bias_owner] @ self.biases
        if len(self.gain_owner):
            self.mixed_gain = weights[self.gain_owner] @ self.gains

    def forward(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """The layer's output with the modules' additions."""
        rows = self._rows(x)
        if self.kind == "embedding":
            change = self.update.project(functional.embedding(x, self.update.right), rows)
        elif self.kind == "norm":
            assert isinstance(layer, nn.LayerNorm)
            normal = functional.layer_norm(x.to(self.gains.dtype), layer.normalized_shape, eps=layer.eps)
            gain = self._vector(self.mixed_gain, self.gains, self.gain_owner, rows, x.ndim)
            change = normal * gain + self._vector(self.mixed_bias, self.biases, self.bias_owner, rows, x.ndim)
        elif self.kind == "conv":
            assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
            inside = self._convolved(layer, x.to(self.update.right.dtype))
            bias = self._vector(self.mixed_bias, self.biases, self.bias_owner, rows, inside.ndim)
            change = (self.update.project(inside, rows) + bias).movedim(-1, -1 - len(layer.kernel_size))
        else:
            inside = x.to(self.update.right.dtype) @ self.update.right
            bias = self._vector(self.mixed_bias, self.biases, self.bias_owner, rows, x.ndim)
            change = self.update.project(inside, rows) + bias
        return output + change.to(output.dtype)

    def _convolved(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
        """The coordinates in the right basis at each place, channels last."""
        kernel = self.update.right.mT.reshape(-1, *layer.weight.shape[1:])
        none = len(kernel) == 0  # torch refuses a convolution to no channels
        kernel = kernel.new_zeros(1, *layer.weight.shape[1:]) if none else kernel
        convolve = _CONVOLUTIONS[len(layer.kernel_size)]
        inside = convolve(x, kernel, None, layer.stride, layer.padding, layer.dilation)
        inside = inside.movedim(-1 - len(layer.kernel_size), -1)
        return inside[..., :0] if none else inside

    def _rows(self, x: Tensor) -> Tensor | None:
        """The weights of this call alone; a position table is called with one row of indices for all requests."""
        shared = self.kind == "embedding" and x.shape[:1] == (1,)
        if self.requests is not None and not shared and len(self.requests) not in (1, *x.shape[:1]):
            raise ValueError(
                f"{self.name}: expected weights of {x.shape[0]} requests, the input's first dimension, "
                f"got {len(self.requests)}"
            )
        return self.requests

    def _vector(self, standing: Tensor, rows: Tensor, owner: Tensor, requests: Tensor | None, ndim: int) -> Tensor:
        if requests is None:
            return standing
        mixed = requests[:, owner] @ rows
        return mixed[0] if len(mixed) == 1 else mixed.reshape(len(mixed), *[1] * (ndim - 2), -1)


def _matrix_shape(kind: Kind, layer: nn.Module) -> tuple[int, int]:
    """(out, in) of the layer's matrix; none for a norm."""
    if kind == "norm":
        return 0, 0
    weight = layer.get_parameter("weight")
    return (weight.shape[1], weight.shape[0]) if is_transposed(layer) else (weight.shape[0], weight[0].numel())

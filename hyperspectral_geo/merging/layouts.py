"""How a weight that only a checkpoint knows is stored, from its name."""

from __future__ import annotations

from hyperspectral_geo.merging.module import Layout

__all__ = ["guess_layout"]

_EMBEDDINGS = frozenset(
    (
        *("embed_tokens", "wte", "wpe", "word_embeddings", "tok_embeddings", "embed_in", "shared"),
        *("position_embeddings", "token_type_embeddings", "embed_positions"),
    )
)
_TRANSPOSED = frozenset(("c_attn", "c_proj", "c_fc", "q_attn"))
_TRANSPOSED_FAMILIES = frozenset(("gpt2", "openai-gpt", "imagegpt", "decision_transformer"))


def guess_layout(name: str, shape: tuple[int, ...], *, family: str | None = None) -> Layout:
    """How a weight that only a checkpoint knows is read as a matrix, from its name and dimensions.

    Embeddings by their usual names; transformers' Conv1D, stored (in, out), by name within the model families (config's
    model_type) that use it; more than two dimensions are a convolution.
    """
    layer = name.rpartition(".")[0].rpartition(".")[2]
    if len(shape) > 2:
        return Layout("conv", shape)
    if layer in _EMBEDDINGS:
        return Layout("embedding", shape)
    if family in _TRANSPOSED_FAMILIES and layer in _TRANSPOSED:
        return Layout("fan_in_fan_out", shape)
    return Layout("linear", shape)

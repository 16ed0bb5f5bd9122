"""A small network made of a task subspace: two linear layers, in a file of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace
from hyperspectral_geo.record_file import read_record_file, record_bytes

__all__ = ["LightModel"]

_KIND = "light model 1"


class LightModel(nn.Module):
    """Scores of C classes from features of a frozen network, by way of k coordinates.

    ``directions`` maps features (…, d) to coordinates (…, k), ``head`` coordinates to scores (…, C). That is d·k + k·C
    numbers instead of d·C, and the coordinates serve other heads too. Both layers train as any others do.

    Args:
        directions, head: the layers; ``LightModel.of`` takes them from a ``TaskSubspace``.
        classes: names of the C scores, texts or whole numbers.

    Raises:
        ValueError: if the widths do not fit each other, or a name occurs twice or is neither text nor whole number.

    >>> model = LightModel(nn.Linear(8, 2), nn.Linear(2, 3), classes=("cat", "dog", "fox"))
    >>> model(torch.zeros(5, 8)).shape
    torch.Size([5, 3])
    """

    def __init__(self, directions: nn.Linear, head: nn.Linear, *, classes: tuple[str | int, ...]) -> None:
        super().__init__()
        if directions.out_features != head.in_features:
            raise ValueError(
                f"head: expected {directions.out_features} inputs, one a direction, got {head.in_features}"
            )
        if len(classes) != head.out_features or len(set(classes)) != len(classes):
            raise ValueError(f"classes: expected {head.out_features} different names, got {len(set(classes))}")
        for name in classes:
            if not isinstance(name, str | int) or isinstance(name, bool):
                raise ValueError(f"classes: expected texts or whole numbers, got {name!r}; a file holds nothing else")
        self.directions, self.head, self.classes = directions, head, tuple(classes)

    @classmethod
    def of(cls, task: TaskSubspace) -> LightModel:
        """The layers that compute ``task.scores``; ``task.prefix(k)`` gives a smaller model."""
        weight, bias = task.head()
        directions, head = _linear(task.weights.T, -task.mean @ task.weights), _linear(weight, bias)
        return cls(directions, head, classes=task.classes)  # pyright: ignore[reportArgumentType]  # checked there

    def forward(self, features: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch C"]:
        """Scores, of which the softmax gives probabilities."""
        return self.head(self.directions(features))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with the classes in its metadata: whole or not at all, no pickle.

        Raises:
            ValueError: for parameters that are not float32 or float64.
            OSError: if the folder is missing or not writable.
        """
        tensors = dict(self.state_dict())
        if wrong := {x.dtype for x in tensors.values()} - {torch.float32, torch.float64}:
            raise ValueError(f"{path}: expected parameters in float32 or float64, got {wrong.pop()}; use model.float()")
        write_atomically(Path(path), record_bytes(tensors, {"classes": list(self.classes)}, kind=_KIND))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LightModel:
        """Read a file that ``save`` wrote.

        Raises:
            ValueError: naming the file, for one that is corrupt, hostile, a pickle, or of another kind.
            OSError: if the file cannot be opened.
        """
        return read_record_file(
            Path(path),
            lambda tensors, record: cls(*_layers(tensors), classes=tuple(_names(record))),
            kind=_KIND,
            maker="LightModel.save",
        )

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model as ONNX with inputs ``features`` (n, d) and outputs ``scores`` (n, C), n being free.

        Raises:
            ImportError: without the packages onnx and onnxscript, which torch's exporter needs.
            OSError: if the folder is missing or not writable.
        """
        try:
            import onnxscript  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                f"{path}: expected the packages onnx and onnxscript, which torch's exporter needs, got {error}; "
                "pip install onnx onnxscript"
            ) from error
        example = torch.zeros(2, self.directions.in_features, dtype=self.directions.weight.dtype)
        program = torch.onnx.export(
            self.eval(),
            (example,),
            input_names=["features"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        write_atomically(Path(path), program.model_proto.SerializeToString())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _layers(tensors: Mapping[str, Tensor]) -> list[nn.Linear]:
    """Both layers, once weights and biases fit each other."""
    layers = []
    for name in ("directions", "head"):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        if (weight.ndim, bias.ndim) != (2, 1):
            raise ValueError(f"{name}: expected a matrix and a vector, got shapes {weight.shape} and {bias.shape}")
        if len(bias) != len(weight) or bias.dtype != weight.dtype:
            raise ValueError(f"{name}: expected a bias of {len(weight)} {weight.dtype}, got {len(bias)} {bias.dtype}")
        layers.append(_linear(weight, bias))
    return layers


def _names(record: Mapping[str, object]) -> list[str | int]:
    names = record.get("classes")
    if not isinstance(names, list):
        raise ValueError(f"classes: expected a list of names, got {type(names).__name__}")
    return names

"""A fitted fusion as one safetensors file: tensors and a JSON record, no pickle."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hyperspectral_geo.atomic_write import write_atomically
from hyperspectral_geo.fusion.anchor_space import AnchorSpace
from hyperspectral_geo.fusion.decoding import Decoder
from hyperspectral_geo.fusion.joint_basis import JointBasis
from hyperspectral_geo.fusion.joint_space import JointSpace
from hyperspectral_geo.fusion.lifting import AnchorLift, KernelLift, Lift, LinearLift
from hyperspectral_geo.fusion.spectral_filter import SpectralFilter
from hyperspectral_geo.record_file import read_record_file, record_bytes

if TYPE_CHECKING:
    from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion

__all__ = ["read_fusion", "write_fusion"]

_KIND = "subspace fusion 3"


def write_fusion(path: Path, fusion: SubspaceFusion) -> Path:
    """Write the joint space and the parameters; returns ``path``."""
    space = fusion.space_
    tensors = {
        "correlations": space.basis.correlations,
        "knots": space.spectral_filter.knots,
        "heights": space.spectral_filter.heights,
    }
    lifts = []
    for view, lift in enumerate(space.lifts):
        parts = {}
        for target in range(len(space.lifts)):
            decoder = space.decoders[view, target]
            parts |= {f"decoder.{target}.weights": decoder.weights, f"decoder.{target}.offset": decoder.offset}
        if not isinstance(space, AnchorSpace):
            parts |= {"mean": space.basis.means[view], "weights": space.basis.weights[view]}
        found, record = _packed_lift(lift)
        lifts.append(record)
        tensors |= {f"{view}.{name}": part for name, part in (parts | found).items()}
    record = {
        "parameters": {name: _plain(value) for name, value in fusion.get_params().items()},
        "blocks": [list(widths) for widths in space.blocks],
        "lifts": lifts,
        "power": space.spectral_filter.power,
        "shared": space.shared,
    }
    return write_atomically(path, record_bytes(tensors, record, kind=_KIND))


def read_fusion(path: Path) -> SubspaceFusion:
    """Read what ``write_fusion`` wrote.

    Raises:
        ValueError: naming the file and what is wrong with it.
        OSError: if it cannot be opened.
    """
    from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion

    def unpacked(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> SubspaceFusion:
        parameters = dict(record["parameters"])
        if isinstance(parameters.get("ridge"), str):
            parameters["ridge"] = float(parameters["ridge"])
        fusion = SubspaceFusion(**parameters)
        fusion.space_ = _unpacked_space(tensors, record)
        fusion.choice_, fusion.evidence_ = None, None
        return fusion

    return read_record_file(path, unpacked, kind=_KIND, maker="hsgeo fuse")


def _plain(value: Any) -> Any:
    """What JSON can hold: whole numbers of NumPy as Python's, and ∞, which JSON lacks, as text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return operator.index(value)


def _unpacked_space(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> JointSpace:
    views = range(len(record["lifts"]))
    blocks = tuple(tuple(int(width) for width in widths) for widths in record["blocks"])
    lifts = tuple(_unpacked_lift(tensors, f"{view}.", record["lifts"][view]) for view in views)
    anchored = all(isinstance(lift, AnchorLift) for lift in lifts)
    joined = () if anchored else views
    space = (AnchorSpace if anchored else JointSpace)(
        blocks=blocks,
        lifts=lifts,
        basis=JointBasis(
            tuple(tensors[f"{view}.mean"] for view in joined),
            tuple(tensors[f"{view}.weights"] for view in joined),
            tensors["correlations"],
        ),
        spectral_filter=SpectralFilter(float(record["power"]), tensors["knots"], tensors["heights"]),
        decoders={
            (u, v): Decoder(tensors[f"{u}.decoder.{v}.weights"], tensors[f"{u}.decoder.{v}.offset"])
            for u in views
            for v in views
        },
        shared=int(record["shared"]),
    )
    for view in views:
        _require_fitting(space, view)
    return space


def _require_fitting(space: JointSpace, view: int) -> None:
    """Raise ``ValueError`` unless the tensors of a view have shapes that go together."""
    features, k = sum(space.blocks[view]), len(space)
    sizes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    lifted = k
    if not isinstance(space, AnchorSpace):
        lifted = len(space.basis.means[view])
        sizes["weights"] = (tuple(space.basis.weights[view].shape), (lifted, k))
    sizes["lift"] = (space.lifts[view].sizes, (features, lifted))
    for source in range(len(space.lifts)):
        decoder = space.decoders[source, view]
        sizes[f"decoder of view {source}, weights"] = (tuple(decoder.weights.shape), (k, features))
        sizes[f"decoder of view {source}, offset"] = (tuple(decoder.offset.shape), (features,))
    for name, (got, expected) in sizes.items():
        if got != expected:
            raise ValueError(f"view {view}, {name}: expected {expected}, got {got}")


def _packed_lift(lift: Lift) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if isinstance(lift, LinearLift):
        parts = {"lift.mean": lift.mean, "lift.scales": lift.scales, "lift.turn": lift.turn}
        return {name: part for name, part in parts.items() if part is not None}, {"kind": "linear"}
    if isinstance(lift, KernelLift):
        parts = {"lift.map": lift.map}
        for block, (mean, anchors) in enumerate(zip(lift.means, lift.anchors, strict=True)):
            parts |= {f"lift.{block}.mean": mean, f"lift.{block}.anchors": anchors}
        return parts, {"kind": "kernel", "gamma": lift.gamma}
    return {"lift.mean": lift.mean, "lift.anchors": lift.anchors}, {
        "kind": "anchors",
        "kept": lift.kept,
        "power": lift.power,
    }


def _unpacked_lift(tensors: Mapping[str, Tensor], at: str, record: Mapping[str, Any]) -> Lift:
    kind = record["kind"]
    if kind == "linear":
        mean, scales, turn = (f"{at}lift.{part}" for part in ("mean", "scales", "turn"))
        return LinearLift(tensors[mean], tensors.get(scales), tensors.get(turn))
    if kind == "kernel":
        count = sum(name.startswith(f"{at}lift.") and name.endswith(".anchors") for name in tensors)
        return KernelLift(
            tuple(tensors[f"{at}lift.{block}.mean"] for block in range(count)),
            tuple(tensors[f"{at}lift.{block}.anchors"] for block in range(count)),
            tensors[f"{at}lift.map"],
            float(record["gamma"]),
        )
    if kind == "anchors":
        return AnchorLift(tensors[f"{at}lift.mean"], tensors[f"{at}lift.anchors"], int(record["kept"]), record["power"])
    raise ValueError(f"expected a linear, kernel or anchors lift, got {kind!r:.40}")

"""Light models picked from a large one: directions for a task, layers cut to rank, and what was lost distilled."""

from hyperspectral_geo.fusion.light.distillation import distill
from hyperspectral_geo.fusion.light.layer_truncation import Truncation, truncate_layers
from hyperspectral_geo.fusion.light.light_model import LightModel
from hyperspectral_geo.fusion.light.selection import select
from hyperspectral_geo.fusion.light.subspace_selector import SubspaceSelector
from hyperspectral_geo.fusion.light.task_subspace import TaskSubspace
from hyperspectral_geo.fusion.light.unlabelled_selection import select_by_text, select_from_concepts

__all__ = [
    "LightModel",
    "SubspaceSelector",
    "TaskSubspace",
    "Truncation",
    "distill",
    "select",
    "select_by_text",
    "select_from_concepts",
    "truncate_layers",
]

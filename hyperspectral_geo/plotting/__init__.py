"""Pictures and a one-file report: the Poincaré disk, principal angles, spectra, shares. Loaded lazily, no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperspectral_geo.plotting.attribution import attribution_bars
    from hyperspectral_geo.plotting.feedback import feedback_curve
    from hyperspectral_geo.plotting.geodesic import disk_distance, geodesic_arc
    from hyperspectral_geo.plotting.heatmap import angle_heatmap
    from hyperspectral_geo.plotting.hops import hop_scatter
    from hyperspectral_geo.plotting.picture import png_bytes, save_picture
    from hyperspectral_geo.plotting.poincare import poincare_disk
    from hyperspectral_geo.plotting.report import Section, Table, write_report
    from hyperspectral_geo.plotting.scree import scree_plot

__all__ = [
    "poincare_disk",
    "hop_scatter",
    "feedback_curve",
    "angle_heatmap",
    "scree_plot",
    "attribution_bars",
    "png_bytes",
    "save_picture",
    "write_report",
    "Section",
    "Table",
    "geodesic_arc",
    "disk_distance",
]

_HOME = {
    "poincare_disk": "poincare",
    "hop_scatter": "hops",
    "feedback_curve": "feedback",
    "angle_heatmap": "heatmap",
    "scree_plot": "scree",
    "attribution_bars": "attribution",
    "png_bytes": "picture",
    "save_picture": "picture",
    "write_report": "report",
    "Section": "report",
    "Table": "report",
    "geodesic_arc": "geodesic",
    "disk_distance": "geodesic",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds ``name`` when it is first asked for: a report should not cost matplotlib."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

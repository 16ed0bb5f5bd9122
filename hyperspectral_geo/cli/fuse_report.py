"""The page of a fit of ``hsgeo fuse``: correlations beside chance, a map of all views, and what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperspectral_geo.fusion import SubspaceFusion
    from hyperspectral_geo.plotting import Section

__all__ = ["MAPPED", "write_fit_report"]

MAPPED = 400
"""Rows in the map of a fit."""

_RESOLUTION = 110


def write_fit_report(
    path: Path,
    fusion: SubspaceFusion,
    names: Sequence[str],
    rows: Sequence[Any],
    *,
    thumbnails: Sequence[Any] = (),
    labels: Sequence[str] = (),
) -> None:
    """Correlations beside chance, a map of all views, and the settings that were tried.

    Args:
        path: of the page.
        fusion: that was just fitted.
        names: of the views.
        rows: of each view, those to be mapped, which have every view.
        thumbnails, labels: of the same rows.
    """
    from hyperspectral_geo.plotting import write_report

    sections = [_map(fusion, names, rows, thumbnails, labels)]
    if fusion.choice_ is not None:
        sections = [_shared(fusion), *sections, _settings(fusion)]
    write_report(path, title="hsgeo fuse", sections=sections)


def _shared(fusion: SubspaceFusion) -> Section:
    from hyperspectral_geo.plotting import Section, png_bytes
    from hyperspectral_geo.plotting.shared_directions import shared_directions

    found = fusion.explain()
    text = f"{found.shared} of {len(found.held_out)} directions are above chance (p = {found.p_value:.3f})."
    if not len(found.correlations):
        return Section("What the views share", text)
    return Section(
        "What the views share",
        text,
        picture=png_bytes(
            shared_directions(found.correlations, found.held_out, found.edge, chance=found.chance), dpi=_RESOLUTION
        ),
        alt="Correlation of each joint direction, in sample and held out, beside what chance gives.",
    )


def _map(
    fusion: SubspaceFusion, names: Sequence[str], rows: Sequence[Any], thumbnails: Sequence[Any], labels: Sequence[str]
) -> Section:
    from hyperspectral_geo.plotting import Section, png_bytes
    from hyperspectral_geo.plotting.joint_map import joint_map

    heading = "Rows of all views in the joint space"
    if len(fusion.space_) < 2:
        return Section(heading, f"No map: it needs two directions, and there are {len(fusion.space_)}.")
    codes = [code.numpy() for code in fusion.transform(rows)]
    text = (
        f"The two leading principal coordinates of the first {len(rows[0]):,} rows that have every view; a line joins "
        "the views of one row."
    )
    if len(thumbnails) or len(labels):
        text += " Where pictures or words would cover each other, the earlier row shows its own."
    return Section(
        heading,
        text,
        picture=png_bytes(joint_map(codes, names=names, thumbnails=thumbnails, labels=labels), dpi=_RESOLUTION),
        alt="Points of each view, joined where they belong to one row.",
    )


def _settings(fusion: SubspaceFusion) -> Section:
    from hyperspectral_geo.plotting import Section, Table

    assert fusion.choice_ is not None
    best = sorted(fusion.choice_.tried, key=lambda one: -one.score)[:12]
    return Section(
        "Settings by held-out pairs",
        table=Table(
            ("lift", "ridges", "power", "mean reciprocal rank"),
            [
                (
                    "linear" if one.gamma is None else f"kernel, γ = {one.gamma:g}",
                    ", ".join(f"{ridge:g}" for ridge in one.ridges),
                    one.power,
                    one.score,
                )
                for one in best
            ],
        ),
    )

"""What an inspection says in words, in a dictionary and on a page; and several modules beside each other."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperspectral_geo import plotting
from hyperspectral_geo.merging.inspection import Inspection
from hyperspectral_geo.merging.relations import Relation, mean_angles, relate
from hyperspectral_geo.merging.update_report import UpdateRow
from hyperspectral_geo.version import __version__

__all__ = [
    "Comparison",
    "angle_section",
    "compare",
    "distinct",
    "mean_cosines",
    "short_name",
    "summary",
    "to_dict",
    "write_page",
]

_MOST_ROWS = 400
_MOST_SPECTRA = 6


@dataclass(frozen=True)
class Comparison:
    """Several modules beside each other.

    Attributes:
        names: the modules'.
        left: mean principal angle of each pair's column spaces over the weights, radians.
        right: of the row spaces; near 0 where adapters were trained from the same random A.
        cosines: ⟨ΔW_s, ΔW_t⟩/(‖ΔW_s‖‖ΔW_t‖), mean over the weights that both change.
        relations: weight by weight.
        refused: why they cannot be compared, empty if they can.
    """

    names: tuple[str, ...]
    left: list[list[float]]
    right: list[list[float]]
    cosines: list[list[float]]
    relations: dict[str, tuple[Relation, ...]]
    refused: str = ""


def compare(inspections: Sequence[Inspection], *, largest: int) -> Comparison | None:
    """How the modules lie to each other; None for fewer than two that could be loaded."""
    modules = [i.module for i in inspections if i.module is not None]
    if len(modules) < 2:
        return None
    names = tuple(distinct([m.name for m in modules]))
    try:
        relations = relate([replace(m, name=n) for m, n in zip(modules, names, strict=True)], largest=largest)
    except ValueError as error:
        return Comparison(names, [], [], [], {}, f"{error}; the modules belong to different base models")
    left, right = (mean_angles(names, relations, side=side) for side in ("left", "right"))
    return Comparison(names, left, right, mean_cosines(names, relations), relations)


def distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that occur twice.

    >>> distinct(["cat", "dog", "cat"])
    ['cat', 'dog', 'cat (2)']
    """
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def summary(inspection: Inspection) -> list[tuple[str, str]]:
    """The facts of one inspection as pairs of what and how much."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in inspection.dtypes.items())
    facts = [
        ("kind", inspection.kind),
        ("tensors", f"{inspection.tensors:,} ({kinds}), {inspection.numbers:,} numbers"),
    ]
    if not inspection.tensors:
        facts = facts[:1]
    rows = inspection.rows
    if rows:
        facts.append((inspection.of, f"{len(rows):,} matrices, norm {_span([r.norm for r in rows])}"))
    known = [r for r in rows if r.rank]
    if known:
        facts.append(("rank", _span([float(r.rank or 0) for r in known])))
        facts.append(("effective rank", _span([r.effective_rank or 0.0 for r in known])))
        facts.append(("above the noise", _noise(known)))
    relative = [r.relative for r in rows if r.relative is not None]
    if relative:
        facts.append(("relative size", f"{_span(relative)} of the base's weights"))
    return facts


def to_dict(inspections: Sequence[Inspection], between: Comparison | None) -> dict[str, Any]:
    """Plain lists, numbers and texts, for JSON."""
    found: dict[str, Any] = {"inspections": [i.to_dict() for i in inspections]}
    if between is not None:
        found["together"] = {
            "names": list(between.names),
            "mean_angles_left": between.left,
            "mean_angles_right": between.right,
            "mean_cosines": between.cosines,
            "refused": between.refused,
        }
    return found


def write_page(path: str | os.PathLike[str], inspections: Sequence[Inspection], between: Comparison | None) -> Path:
    """One page with findings, spectra and, for several modules, their angles."""
    sections = [part for inspection in inspections for part in _sections(inspection)]
    if between is not None and not between.refused:
        sections.append(angle_section(between))
    elif between is not None:
        sections.append(plotting.Section("Together", between.refused))
    names = ", ".join(i.path.resolve().name for i in inspections)
    footer = f"hyperspectral_geo {__version__}"
    return plotting.write_report(path, title=f"Inspection of {names}"[:200], sections=sections, footer=footer)


def angle_section(between: Comparison) -> plotting.Section:
    """Angles of column and row spaces together as a heat map, apart and with the cosines as a table."""
    count = len(between.names)
    both = [[(between.left[i][j] + between.right[i][j]) / 2 for j in range(count)] for i in range(count)]
    figure = plotting.angle_heatmap(both, list(between.names), title="Mean principal angles")
    pairs = [
        (
            a,
            b,
            round(math.degrees(between.left[i][j]), 2),
            round(math.degrees(between.right[i][j]), 2),
            between.cosines[i][j],
        )
        for i, a in enumerate(between.names)
        for j, b in enumerate(between.names)
        if i < j
    ]
    return plotting.Section(
        "Angles between the modules",
        "Means over all weights that two modules change; 90° is nothing in common. Of whole weights, the directions "
        "above the noise edge are compared. The picture shows the mean of column and row spaces. Row spaces near 0° "
        "come from the same random start of A. The cosine is that of the updates themselves: below zero the modules "
        "work against each other.",
        plotting.Table(("module", "module", "column spaces, °", "row spaces, °", "mean cosine"), pairs),
        plotting.png_bytes(figure),
        f"Heat map of the angles between {', '.join(between.names)}; the table gives the numbers.",
    )


def _sections(inspection: Inspection) -> list[plotting.Section]:
    name = inspection.path.resolve().name
    facts = "\n".join(f"{what}: {text}" for what, text in summary(inspection))
    findings = [(f.severity, f.where, f.what, f.remedy or None) for f in inspection.findings]
    table = plotting.Table(("severity", "where", "what", "remedy"), findings) if findings else None
    said = facts if findings else f"{facts}\n\nNothing to complain of."
    sections = [plotting.Section(f"{name}: findings", said, table)]
    if inspection.rows:
        sections.append(_rows_section(name, inspection))
    return sections


def _rows_section(name: str, inspection: Inspection) -> plotting.Section:
    rows = inspection.rows[:_MOST_ROWS]
    columns = {
        "matrix": [r.name for r in rows],
        "shape": [f"{r.shape[0]}×{r.shape[1]}" for r in rows],
        "norm": [r.norm for r in rows],
        "of the base's": [r.relative for r in rows],
        "rank": [r.rank for r in rows],
        "effective rank": [r.effective_rank for r in rows],
        "noise edge": [r.noise_edge for r in rows],
        "above the noise": [r.noise_rank if r.noise_edge is not None else None for r in rows],
    }
    columns = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    table = list(zip(*columns.values(), strict=True))
    note = f"The first {_MOST_ROWS} of {len(inspection.rows):,}." if len(rows) < len(inspection.rows) else ""
    shown = sorted((r for r in inspection.rows if r.singular_values), key=lambda r: -r.norm)[:_MOST_SPECTRA]
    heading = f"{name}: {inspection.of}"
    if not shown:
        return plotting.Section(heading, "", plotting.Table(list(columns), table, note))
    edges = {short_name(r.name): r.noise_edge for r in shown[:1] if r.noise_edge}
    spectra = {short_name(r.name): r.singular_values for r in shown}
    figure = plotting.scree_plot(spectra, edges=edges, title="The largest spectra")
    return plotting.Section(
        heading,
        "",
        plotting.Table(list(columns), table, note),
        plotting.png_bytes(figure),
        f"Singular values of {', '.join(r.name for r in shown)} on a logarithmic scale.",
    )


def short_name(name: str) -> str:
    """A weight's name for a picture: without what all have, and cut at the front, where names are alike."""
    name = name.removesuffix(".weight")
    return name if len(name) <= 40 else "…" + name[-39:]


def mean_cosines(names: Sequence[str], relations: dict[str, tuple[Relation, ...]]) -> list[list[float]]:
    """Mean cosine of each pair's updates over the weights that both change; 0 where there are none."""
    sums = {(a, b): [0.0, 0] for a in names for b in names}
    for row in (r for weight in relations.values() for r in weight):
        for pair in ((row.first, row.second), (row.second, row.first)):
            sums[pair][0] += row.cosine
            sums[pair][1] += 1
    return [[1.0 if a == b else sums[a, b][0] / max(sums[a, b][1], 1) for b in names] for a in names]


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _noise(rows: Sequence[UpdateRow]) -> str:
    if all(r.noise_edge is None for r in rows):
        return "no edge to be seen: every update is of low rank by construction"
    return _span([float(r.noise_rank or 0) for r in rows if r.noise_edge is not None])

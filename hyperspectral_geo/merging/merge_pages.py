"""merge_report.html: the proof first, then whose the result is, the spectra, the angles and every weight."""

from __future__ import annotations

from pathlib import Path

from hyperspectral_geo import plotting
from hyperspectral_geo.merging.inspection_report import Comparison, angle_section, mean_cosines, short_name
from hyperspectral_geo.merging.merge_report import MergeReport, MergeRow
from hyperspectral_geo.merging.relations import mean_angles

__all__ = ["write_merge_page"]

_MOST_ROWS = 600
_MOST_BARS = 200


def write_merge_page(path: Path, report: MergeReport) -> Path:
    """Write the page; it fetches nothing and runs no script."""
    sections = [_recipe(report), _proof(report)]
    known = [row for row in report.rows if row.attribution is not None and row.attribution.spectrum.rank]
    if known:
        sections += [_attribution(report, known), _scree(known)]
        relations = {row.name: row.attribution.relations for row in known if row.attribution}
        if any(relations.values()):
            left, right = (mean_angles(report.models, relations, side=side) for side in ("left", "right"))
            cosines = mean_cosines(report.models, relations)
            sections.append(angle_section(Comparison(report.models, left, right, cosines, relations)))
    sections.append(_weights(report))
    if any(row.notes for row in report.rows):
        sections.append(_notes(report))
    title = f"Merge of {len(report.models)} modules by {report.method}"
    return plotting.write_report(path, title=title, sections=sections, footer=f"hyperspectral_geo {report.version}")


def _recipe(report: MergeReport) -> plotting.Section:
    facts = [f"method: {report.method}", f"scale: {report.scale:g}", f"written as: {report.kind}"]
    facts += [f"{key}: {value}" for key, value in report.options.items()]
    facts += [f"{name}: {value}" for name, value in (("base", report.base), ("rank", report.rank)) if value is not None]
    facts += [f"stored in: {report.dtype}"] if report.dtype else []
    facts += [f"for {rule['pattern']}: {_rule(rule)}" for rule in report.rules]
    if report.calibration is not None:
        c = report.calibration
        facts.append(
            f"calibrated on {c['texts']:,} texts: {c['steps']} steps, held-out loss changed by {100 * c['gain']:+.1f} %"
            if c["steps"]
            else f"calibrated on {c['texts']:,} texts: nothing beat the merge itself, so it stayed"
        )
    if report.weighted_by_rules:
        facts.append("the weights below are those that no rule changes; every number counts with its own weight's")
    shares = report.shares()
    rows = list(zip(report.models, report.paths, report.weights, shares.values(), strict=True))
    columns = ("module", "folder", "weight", "share of the energy")
    return plotting.Section("What was merged", "\n".join(facts), plotting.Table(columns, rows))


def _rule(rule: dict) -> str:
    said = {k: v for k, v in rule.items() if k not in ("pattern", "options") and v is not None} | rule["options"]
    return ", ".join(f"{key} {value}" for key, value in said.items()) or "nothing else"


def _proof(report: MergeReport) -> plotting.Section:
    text = (
        "Before the method sees them, the updates of each weight go into a joint basis and back. The largest relative "
        f"error of any module in any weight is {report.way_error:.2g}; a merge is refused above {report.tolerance:.2g}."
    )
    stored = [row.stored_error for row in report.rows if row.stored_error is not None]
    if stored:
        text += f"\n\nCutting and rounding on the way to the file lost at most {max(stored):.2g} of a weight's update."
    rows = []
    for name in report.models:
        errors = [row.alone[name] for row in report.rows if row.alone is not None and name in row.alone]
        rows.append((name, len(errors), f"{max(errors):.2g}" if errors else None))
    in_base = [row.in_base for row in report.rows if row.in_base is not None]
    note = f"In the base's weights that is at most {max(in_base):.2g}." if in_base else ""
    if not any(row[1] for row in rows):
        return plotting.Section("Proof of the way", f"{text}\n\nWhole weights are their own cores: nothing is lost.")
    columns = ("module alone", "weights", "largest error")
    return plotting.Section("Proof of the way", text, plotting.Table(columns, rows, note))


def _attribution(report: MergeReport, rows: list[MergeRow]) -> plotting.Section:
    shown = rows if len(rows) <= _MOST_BARS else sorted(rows, key=lambda r: -r.norm)[:_MOST_BARS]
    parts = [row.attribution for row in shown if row.attribution is not None]
    figure = plotting.attribution_bars(
        [[part.share for part in a.parts] for a in parts],
        [short_name(a.name) for a in parts],
        report.models,
        interference=[a.interference for a in parts],
    )
    said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in report.shares().items())
    text = (
        "How much of the energy of each weight's merged directions comes from which module. Interference is stated "
        "apart: above zero the modules push a direction the same way, at −1 they cancel."
    )
    return plotting.Section(
        "Whose the result is",
        text,
        picture=plotting.png_bytes(figure),
        alt=f"Bars of the modules' shares for {len(parts)} weights; over all weights: {said}.",
    )


def _scree(rows: list[MergeRow]) -> plotting.Section:
    strongest = sorted(rows, key=lambda r: -r.norm)[:6]
    spectra = {short_name(r.name): r.attribution.spectrum for r in strongest if r.attribution is not None}
    edges = {name: s.noise_edge for name, s in list(spectra.items())[:1] if s.noise_edge}
    figure = plotting.scree_plot({n: s.singular_values for n, s in spectra.items()}, edges=edges)
    text = "The merged updates with the largest norm. " + (
        "The broken line is the noise edge of the first: what is below it looks like noise."
        if edges
        else "They are of low rank by construction, so there is no noise to find an edge from."
    )
    alt = f"Singular values of {', '.join(spectra)} on a logarithmic scale; the table below has their ranks."
    return plotting.Section("Spectra", text, picture=plotting.png_bytes(figure), alt=alt)


def _weights(report: MergeReport) -> plotting.Section:
    rows = report.rows[:_MOST_ROWS]
    spectra = [None if r.attribution is None else r.attribution.spectrum for r in rows]
    columns = {
        "weight": [r.name for r in rows],
        "shape": [f"{r.shape[0]}×{r.shape[1]}" for r in rows],
        "norm": [r.norm for r in rows],
        "energy": [r.energy for r in rows],
        "rank": [r.rank if s is None else s.rank for r, s in zip(rows, spectra, strict=True)],
        "effective rank": [None if s is None else s.effective_rank for s in spectra],
        "interference": [None if r.attribution is None else r.attribution.interference for r in rows],
        "way error": [f"{r.way_error:.1e}" for r in rows],
    }
    columns = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    note = "Energy is that of the merged update over the sum of the modules' own."
    if skipped := sum(row.attribution is None for row in report.rows):
        note += f" {skipped:,} whole weights are too large to be decomposed: their shares and angles are not known."
    if len(rows) < len(report.rows):
        note += f" The first {_MOST_ROWS} of {len(report.rows):,}; merge_report.json has all."
    return plotting.Section(
        "Every weight", "", plotting.Table(list(columns), list(zip(*columns.values(), strict=True)), note)
    )


def _notes(report: MergeReport) -> plotting.Section:
    keys = list(dict.fromkeys(key for row in report.rows for key in row.notes))
    rows = [(row.name, *(row.notes.get(key) for key in keys)) for row in report.rows[:_MOST_ROWS] if row.notes]
    return plotting.Section("What the method says", "", plotting.Table(("weight", *keys), rows))

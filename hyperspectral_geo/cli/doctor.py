"""``hsgeo doctor``: what is installed and found here, and what to do about each problem."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hyperspectral_geo.cli.findings import Finding

__all__ = ["doctor"]

_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Say what is installed and found here, and what to do about each problem; exit code 1 on an error."""
    from hyperspectral_geo.cli.findings import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print_findings(findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _print_findings(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if console.is_terminal:
        table = Table("", "what", "found", box=None, pad_edge=False)
        for finding in findings:
            table.add_row(Text(finding.level, _STYLES[finding.level]), Text(finding.what), Text(finding.found))
        console.print(table)
    else:
        # Neither wrapped nor coloured: these lines go to a file or to grep.
        for finding in findings:
            typer.echo(f"{finding.level:<8} {finding.what:<22} {finding.found}")

    problems = [finding for finding in findings if finding.remedy]
    typer.echo("")
    for finding in problems:
        typer.echo(f"{finding.level}: {finding.what}: {finding.remedy}")
    if not problems:
        typer.echo("Nothing to do.")

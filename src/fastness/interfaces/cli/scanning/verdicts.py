"""The table for people: what is worst comes first, and stands again in the last lines; nothing bad is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastness.core.findings import Finding, Severity
from fastness.interfaces.cli.output import SEVERITY_STYLE
from fastness.models.scan import Outcome, Report, rules

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {Outcome.PASS: "green", Outcome.REVIEW: "yellow", Outcome.INCOMPLETE: "bold red", Outcome.BLOCK: "bold red"}
_RANK = {Outcome.BLOCK: 0, Outcome.INCOMPLETE: 1, Outcome.REVIEW: 2, Outcome.PASS: 3}
_WORDS = {Outcome.BLOCK: "blocked", Outcome.REVIEW: "for review", Outcome.INCOMPLETE: "undecided", Outcome.PASS: "pass"}
_ALIKE = 5
_PASSING = 30


def print_reports(out: Console, reports: Sequence[Report], notes: Sequence[str], *, explain: bool) -> None:
    """All verdicts with their findings, the worst first; then notes, counts and once more the worst finding."""
    ranked = sorted(
        reports, key=lambda r: (_RANK[r.outcome], -max((f.severity for f in r.verdict.findings), default=0))
    )
    plain = [report for report in ranked if report.outcome is Outcome.PASS and not _told(report)]
    for report in ranked:
        if report not in plain[_PASSING:]:
            _print_report(out, report, explain=explain)
    if len(plain) > _PASSING:
        out.print(f"[green]pass[/green]       and {len(plain) - _PASSING} more files without any finding")
    for note in notes:
        out.print(f"[yellow]note[/yellow]       {_plain(note)}", soft_wrap=True)
    if any(report.isolation == "limits" for report in reports):
        out.print("[yellow]note[/yellow]       this system offers no sandbox: files were read under limits alone")
    _print_totals(out, ranked)


def _plain(text: str) -> str:
    """Text of others, as it is: it makes no lines, colours or directions of its own here."""
    from rich.markup import escape

    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return escape(shown)


def _told(report: Report) -> bool:
    return bool(report.verdict.findings or report.waived)


def _print_report(out: Console, report: Report, *, explain: bool) -> None:
    style, word = _STYLE[report.outcome], report.outcome.value
    formats = ", ".join(report.formats) or "unknown format"
    out.print(
        f"[{style}]{word:<10}[/{style}] {_plain(report.name)}  [dim]{_plain(formats)}[/dim]", soft_wrap=True
    )  # fmt: skip
    alike: Counter[tuple[str, Severity]] = Counter()
    for finding in report.verdict.findings:
        alike[finding.rule, finding.severity] += 1
        if alike[finding.rule, finding.severity] <= _ALIKE:
            _print_finding(out, finding, explain=explain)
    for (rule, severity), count in alike.items():
        if count > _ALIKE:
            more = f"and {count - _ALIKE} more {severity.name.lower()} findings of {_plain(rule)}"
            out.print(f"  [dim]{more}; --format json has them all[/dim]")
    if report.dropped:
        out.print(f"  [dim]and {report.dropped} more of the same kinds, which are not kept[/dim]")
    for one in report.waived:
        said = f"{one.finding.rule}: waived by {one.by} until {one.until}: {one.reason}"
        out.print(f"  [cyan]waived  [/cyan] {_plain(said)}", soft_wrap=True)
        out.print(
            f"           [dim]{_plain(one.finding.message)}, at {_plain(one.finding.where)}[/dim]", soft_wrap=True
        )


def _print_finding(out: Console, finding: Finding, *, explain: bool) -> None:
    rule = {rule.id: rule for rule in rules()}[finding.rule]
    name = finding.severity.name.lower()
    style = SEVERITY_STYLE[name]
    out.print(f"  [{style}]{name:<8}[/{style}] {_plain(finding.rule)}: {_plain(finding.message)}", soft_wrap=True)
    out.print(f"           [dim]at[/dim] {_plain(finding.where)}", soft_wrap=True)
    if explain:
        for number, line in enumerate(str(finding.evidence.get("chain", "")).splitlines()):
            lead = "           [dim]what it does[/dim] " if not number else "             "
            out.print(f"{lead}{_plain(line)}", soft_wrap=True)
        known = {k: v for k, v in finding.evidence.items() if k not in {"chain", "offset"}}
        if known:
            shown = ", ".join(f"{key} {value}" for key, value in known.items())
            out.print(f"           [dim]seen[/dim] {_plain(shown)}", soft_wrap=True)
        out.print(f"           [dim]why it matters[/dim] {_plain(rule.why)}", soft_wrap=True)
    out.print(f"           [dim]what to do[/dim] {_plain(rule.fix)}", soft_wrap=True)


def _print_totals(out: Console, ranked: Sequence[Report]) -> None:
    counts = Counter(report.outcome for report in ranked)
    told = ", ".join(f"{counts[outcome]} {_WORDS[outcome]}" for outcome in _RANK if counts[outcome])
    waived = sum(len(report.waived) for report in ranked)
    out.print(f"{len(ranked)} scanned: {told or 'nothing'}" + (f"; {waived} findings waived" if waived else ""))
    worst = max(
        ((finding, report) for report in ranked for finding in report.verdict.findings),
        key=lambda both: both[0].severity,
        default=None,
    )
    if worst is not None and worst[0].severity >= Severity.MEDIUM:
        finding, report = worst
        out.print(
            f"the worst: {finding.severity.name.lower()} {_plain(finding.rule)} in {_plain(report.name)}",
            soft_wrap=True,
        )

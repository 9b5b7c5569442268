"""Runs what `fastness scan` was asked for: files, folders, standard input, or all models of a house."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.core.clock import SystemClock, system_entropy
from fastness.core.digests import Digest
from fastness.core.errors import Invalid, NotFound
from fastness.core.findings import Decision
from fastness.core.sources import FileSource
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console
from fastness.interfaces.cli.scanning.verdicts import as_text, print_reports, printable
from fastness.models.scan import (
    Outcome,
    Report,
    RunSettings,
    Scanner,
    add_witness,
    pool,
    to_cyclonedx,
    to_json,
    to_sarif,
    waivers,
)

if TYPE_CHECKING:
    from rich.console import Console

STORE, INPUT = "store", "-"
BAD, UNDECIDED = 1, 3
_BUCKET = re.compile(r"(?:s3|gs|az|abfss?)://", re.IGNORECASE)
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        imported: reports of other scanners.
        advisories: a snapshot, at most `advisories_days` old.
    """

    paths: tuple[str, ...]
    settings: RunSettings
    fail_on: str = "review"
    explain: bool = False
    output: Path | None = None
    cache: Path | None = None
    waivers: Path | None = None
    trust: tuple[Path, ...] = ()
    imported: tuple[Path, ...] = ()
    advisories: Path | None = None
    advisories_days: int = 30


def run(options: Options, request: Request) -> int:
    """Scan, print, and give the exit status."""
    _require(request)
    now = SystemClock().now()
    trusted = {waivers.key_id(pem): pem for pem in map(_read, request.trust)}  # a missing key is told before the work
    given = waivers.read_waivers(_read(request.waivers), trusted, now) if request.waivers else waivers.Waivers()
    snapshot = _read(request.advisories) if request.advisories else b""
    witnesses = [(pool.shown(Path(path.name)), _read(path)) for path in request.imported]
    reports: list[Report] = []
    with Scanner(request.settings) as scanner, _progress(options, request) as advance:
        scanner.start()
        kept = pool.open_cache(request.cache, request.settings) if request.cache else None
        bench = pool.Bench(scanner, cache=kept, advance=advance)
        reports += _scanned(options, request, bench)
        if kept is not None:
            kept.prune()
    for name, said in witnesses:
        reports = add_witness(reports, said, name)
    if snapshot:
        reports = pool.advised(reports, snapshot, now, request.advisories_days)
    judged, notes = waivers.honour(reports, given)
    if not snapshot and any(kind == "package" for report in reports for kind, *_ in report.contents):
        notes.append(
            "packages were held against the few advisories that are shipped; --advisories takes a whole snapshot"
        )
    with _printed(request.output) as out:
        _write(options, request, judged, notes, out)
    return _status(judged, Decision.REVIEW if request.fail_on == "review" else Decision.DENY)


def digest_of(path: Path, rule: str) -> Digest:
    """The digest that a waiver for `rule` names: that of a file, or of the folder whose files stand for one model.

    Raises:
        Invalid: the scan does not find what is to be waived, or the path cannot be scanned.
    """
    with Scanner() as scanner:
        reports = list(pool.scan_folders([path], pool.Bench(scanner)))
    found = [report for report in reports if any(f.rule == rule for f in report.verdict.findings)]
    if len(found) != 1 or not found[0].digest:
        where = "nothing in it has" if not found else f"{len(found)} files have"
        raise Invalid("waiver-unfounded", f"{where} a finding of {rule}", "Name the one file whose finding is waived.")
    return Digest(found[0].digest)


def _require(request: Request) -> None:
    """Refuse what cannot be scanned before any work is done."""
    for path in request.paths:
        if _BUCKET.match(path):
            continue
        if _REMOTE.match(path):
            raise Invalid(
                "scan-remote", f"{path[:200]!a} is not on this machine",
                "Buckets are read by s3://, gs:// and az://; download anything else, and scan that folder.",
            )  # fmt: skip
        if path == STORE and Path(STORE).exists():
            raise Invalid("scan-ambiguous", "`store` is the house's models, and here is a path of that name",
                          "Write ./store for the path, or go to another folder.")  # fmt: skip
        if path not in {STORE, INPUT} and not Path(path).exists() and not Path(path).is_symlink():
            raise NotFound("path-missing", f"there is no {path[:200]!a}", "Name a file or folder that exists.")
    if request.cache is not None:
        _require_apart(request.cache.resolve(), request)


def _require_apart(kept: Path, request: Request) -> None:
    """Refuse a cache that is a part of what is scanned."""
    if any(kept.is_relative_to(path.resolve()) for path in _folders(request)):
        raise Invalid(
            "cache-inside", f"the cache {str(kept)!a} is a part of what is scanned, which could bring its own results",
            "Name a folder elsewhere.",
        )  # fmt: skip


def _scanned(options: Options, request: Request, bench: pool.Bench) -> list[Report]:
    with pool.engine(request.settings) as many:
        reports = list(pool.scan_folders(_folders(request), bench, many))
    for path in request.paths:
        if _BUCKET.match(path):
            reports += pool.scan_bucket(path, bench)
    if INPUT in request.paths:
        reports += _from_input(bench)
    if STORE in request.paths:
        from fastness.interfaces.cli.scanning.stores import scan_store

        reports += scan_store(options, bench)
    return reports


def _folders(request: Request) -> list[Path]:
    return [Path(path) for path in request.paths if path not in {STORE, INPUT} and not _BUCKET.match(path)]


def _from_input(bench: pool.Bench) -> list[Report]:
    """What comes over standard input, kept in a file that goes away with the scan."""
    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        file.flush()
        found = pool.in_threads(bench, [pool.Work(Path(file.name), "stdin")], None)
        return [seen.report for seen in found if seen.report is not None]


def _read(path: Path) -> bytes:
    try:
        with FileSource(path) as source:
            return source.read_at(0, source.size)
    except OSError as error:
        raise Invalid("file-unreadable", f"cannot read {path}: {error.strerror}") from error


@contextmanager
def _progress(options: Options, request: Request) -> Iterator[Callable[[int], None]]:
    """A bar by bytes, for people who watch."""
    if options.form is not Format.TABLE or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    total = pool.sizes(_folders(request))
    columns = (TextColumn("scanning"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("scanning", total=total or None)
        yield lambda count: progress.advance(task, count)


@contextmanager
def _printed(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Where the result goes; a file is there whole or not at all."""
    if path is None:
        yield sys.stdout.write
        return
    # Nobody can have laid a link under this name: the folder may be one that others fill, such as a checkout.
    temporary = path.with_name(f".{path.name[:200]}.{system_entropy(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(temporary, flags, 0o666), "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123 - a descriptor
            yield file.write
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise Invalid("output-unwritten", f"cannot write {path}: {error.strerror}") from error


def _write(
    options: Options, request: Request, reports: list[Report], notes: list[str], out: Callable[[str], object]
) -> None:
    if options.form is Format.TABLE:
        print_reports(_console(request.output, out), reports, notes, explain=request.explain)
        return
    documents: Mapping[Format, Callable[[], object]] = {
        Format.JSON: lambda: to_json(reports, notes),
        Format.SARIF: lambda: to_sarif(reports),
        Format.CYCLONEDX: lambda: to_cyclonedx(reports, SystemClock().now()),
    }
    out(as_text(documents[options.form]()) + "\n")
    if options.form is not Format.JSON:
        for note in notes:
            sys.stderr.write(f"{printable(note)}\n")


def _console(output: Path | None, out: Callable[[str], object]) -> Console:
    if output is None:
        return console()
    from rich.console import Console

    class _Into:
        """The file, as a console wants it."""

        def write(self, text: str) -> int:
            out(text)
            return len(text)

        def flush(self) -> None:
            """Nothing is held back."""

    return Console(file=_Into(), highlight=False, width=120)  # type: ignore[arg-type]  # all that a console uses of it


def _status(reports: list[Report], worst: Decision) -> int:
    undecided = [report.outcome is Outcome.INCOMPLETE for report in reports]
    bad = any(r.verdict.decision >= worst and not u for r, u in zip(reports, undecided, strict=True))
    return BAD if bad else UNDECIDED if any(undecided) else 0

"""Admission: an artifact comes in, and is either registered with everything that speaks for it, or refused.

What is scanned, assessed, stored and later loaded are the same bytes by identity: they are hashed and encrypted once, on
the way in, and each step reads them back out of the encrypted container. Nothing is registered before the last step, and
the last three stand in one transaction: whatever is killed when, a version is there whole or not at all. Blobs that are
left over are swept by the vault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fastness.core.clock import Instant
from fastness.core.digests import parse_name
from fastness.core.errors import FastnessError
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Decision, Verdict
from fastness.core.identity import Action, Scope
from fastness.core.sources import ByteSource
from fastness.foundation.crypto import Purpose, sign_statement
from fastness.foundation.storage import Transaction
from fastness.foundation.vault import Candidate
from fastness.models.assess import Measure
from fastness.models.registry import ManifestFile, Predicate, RegisterRequest, Version, register
from fastness.models.release.card import Card, PushRequest, assess_candidate, not_run
from fastness.models.release.parts import ReleaseParts
from fastness.models.release.policy import fix_of
from fastness.models.release.statements import digest_json, predicate_of, scan_record
from fastness.models.scan import Report

Progress = Callable[[str, str], None]
"""Called with a step and `begun` as it begins, and with the step and `done: …` or `failed: …` as it ends."""

_RECORDED = 100  # findings in the event of a refusal; an event holds 64 KiB


@dataclass(frozen=True, slots=True)
class Admission:
    """The outcome of a push.

    Attributes:
        verdict: ALLOW, or why it was refused.
        reason: empty, or `scan-block`, `scan-incomplete`, `scan-review`, `assess-failed`.
        version: what was registered; None if it was refused.
        measures: what was measured so far.
        fixes: rule id to what to do about its findings.
    """

    verdict: Verdict
    reason: str
    version: Version | None
    measures: tuple[Measure, ...]
    fixes: Mapping[str, str]


def silent(_step: str, _state: str) -> None:
    """The progress of a push that nobody watches."""


def admit(
    parts: ReleaseParts, scope: Scope, source: ByteSource, request: PushRequest, progress: Progress = silent
) -> Admission:
    """Take an artifact in: steps 1 to 7 of the path of admission. A refusal is a value.

    Raises:
        Invalid: the request names what the model does not have.
        FastnessError: it could not be decided; the artifact is discarded and the attempt recorded.
    """
    push = _Push(parts, scope, request, parts.clock.now(), progress)
    with push.intake(source) as candidate:  # 1: one pass, hashed and encrypted into quarantine
        report = push.scan(candidate)  # 2
        if report.verdict.decision is not Decision.ALLOW:
            return push.refused(report.verdict, f"scan-{report.outcome.value}", ())
        dependencies = push.dependencies()  # 3
        card = push.assess(candidate, report, dependencies)  # 4: in the sandbox
        if card.verdict.decision is not Decision.ALLOW:
            return push.refused(card.verdict, "assess-failed", card.record.measures)
        push.compare(candidate)
        with push.transaction() as tx:
            file = push.commit(tx, candidate)  # 5: into the vault
            evidence = push.attest(tx, file, report, card)  # 6
            version = push.register(tx, evidence)  # 7
    return Admission(report.verdict, "", version, card.record.measures, _fixes(report.verdict))


@dataclass(frozen=True, slots=True)
class Evidence:
    """A manifest's bytes and the signed statements about its digest."""

    manifest: bytes
    envelopes: tuple[bytes, ...]


class _Push:
    """One push on its way; each step says when it begins and what came of it."""

    def __init__(
        self, parts: ReleaseParts, scope: Scope, request: PushRequest, now: Instant, progress: Progress
    ) -> None:
        self._parts = parts
        self._scope = scope
        self._request = request
        self._now = now
        self._progress = progress
        self._about: dict[str, Detail] = {}

    @contextmanager
    def intake(self, source: ByteSource) -> Iterator[Candidate]:
        """Take the bytes in; what was not committed on leaving is discarded, and an error is recorded."""
        parse_name(self._request.model)
        self._about = {"file": source.name}
        try:
            with self._step("intake") as done:
                candidate = self._parts.vault.intake(source, self._scope, self._now, None)
                done(f"{candidate.size} bytes, {candidate.digest}")
        except FastnessError as error:
            self._record_refusal(error.code, Verdict(Decision.DENY))
            raise
        self._about = {"file": source.name, "digest": candidate.digest, "size": candidate.size}
        try:
            yield candidate
        except FastnessError as error:
            self._record_refusal(error.code, Verdict(Decision.DENY))
            raise
        finally:
            self._parts.vault.discard(candidate)

    def scan(self, candidate: Candidate) -> Report:
        """Scan the very bytes that were stored, in a process that has nothing else."""
        with self._step("scan") as done, self._parts.vault.open(candidate) as segments:
            report = self._parts.scanner.scan(segments, self._parts.scan)
            formats = ", ".join(report.formats) or "unknown format"
            told = f"{formats}, {report.outcome.value}, {len(report.verdict.findings)} findings"
            done(told, report.verdict.decision)
        return report

    def dependencies(self) -> tuple[Measure, ...]:
        """What is known of the software it needs: nothing yet, and that is what it says."""
        with self._step("dependencies") as done:
            measure = not_run("dependencies", "security", "bill of materials and advisories are not checked yet")
            done("not run")
        return (measure,)

    def assess(self, candidate: Candidate, report: Report, known: Sequence[Measure]) -> Card:
        """Run the model in the sandbox and see whether it does what is declared; what is `known` goes on the card."""
        with self._step("assess") as done:
            card = assess_candidate(self._parts, candidate, report, self._request).with_measures(known)
            told = ", ".join(f"{m.name} {m.state}" for m in card.record.measures)
            done(told, card.verdict.decision)
        return card

    def compare(self, candidate: Candidate) -> None:
        """Look whether what the vault holds of the same content is whole, or this is the good copy."""
        with self._parts.records.read(self._scope) as reading:
            self._parts.vault.compare(reading, candidate)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """The last three steps stand or fall together."""
        with self._parts.records.begin(self._scope, self._now) as tx:
            yield tx

    def commit(self, tx: Transaction, candidate: Candidate) -> ManifestFile:
        """Make the blob the vault's own."""
        with self._step("commit") as done:
            blob = self._parts.vault.commit(tx, candidate)
            done(f"blob {blob[:16]}")
        return ManifestFile(_file_name(candidate.name), candidate.size, candidate.digest, blob)

    def attest(self, tx: Transaction, file: ManifestFile, report: Report, card: Card) -> Evidence:
        """Sign what was found over the digest of the manifest that names it all."""
        with self._step("attest") as done:
            scanned, behaved = predicate_of(scan_record(report)), predicate_of(card.record)
            request = RegisterRequest(
                model=self._request.model,
                files=(file,),
                formats=report.formats,
                loader=card.record.loader,
                signature=card.signature,
                labels=self._request.labels,
                scan=digest_json(scanned),
                behaviour=digest_json(behaved),
            )
            manifest, digest = request.manifest(tx)
            placed = {"tenant": tx.scope.tenant, "model": request.model, "digest": digest}
            signer = self._parts.keyring.signer(Purpose.ATTEST)
            said = {Predicate.MANIFEST: placed, Predicate.SCAN: scanned, Predicate.BEHAVIOUR: behaved}
            envelopes = tuple(sign_statement(signer, {"manifest": digest}, kind, said[kind]) for kind in said)
            done(f"{len(envelopes)} statements by key {signer.keyid[:16]}")
        return Evidence(manifest, envelopes)

    def register(self, tx: Transaction, evidence: Evidence) -> Version:
        """Give it the next number, for good."""
        with self._step("register") as done:
            new = register(tx, evidence.manifest, evidence.envelopes, self._parts.attesting)
            for kind in (EventKind.MODEL_PUSHED, EventKind.MODEL_SCANNED, EventKind.MODEL_ASSESSED):
                tx.emit(tx.events.make(kind, new.resource, details=dict(self._about)))
            tx.touch("routes")
            done(f"{new.resource}, {new.digest}")
        return new

    def refused(self, verdict: Verdict, reason: str, measures: tuple[Measure, ...]) -> Admission:
        """Record the refusal; nothing of the artifact is kept."""
        self._record_refusal(reason, verdict)
        return Admission(verdict, reason, None, measures, _fixes(verdict))

    def _record_refusal(self, reason: str, verdict: Verdict) -> None:
        with self._parts.records.begin(self._scope, self._now) as tx:
            event = tx.events.make(
                EventKind.MODEL_REFUSED,
                f"model:{self._request.model}",
                action=Action.MODEL_PUSH,
                decision=verdict.decision,
                reason=reason,
                findings=verdict.findings[:_RECORDED],
                details=dict(self._about),
            )
            tx.emit(event)

    @contextmanager
    def _step(self, name: str) -> Iterator[_Done]:
        """Say that a step begins, and at its end what came of it."""
        done = _Done()
        self._progress(name, "begun")
        try:
            yield done
        except FastnessError as error:
            self._progress(name, f"failed: {error.message}")
            raise
        self._progress(name, done.told)


class _Done:
    """Takes down what came of a step."""

    def __init__(self) -> None:
        self.told = "done: "

    def __call__(self, detail: str, decision: Decision = Decision.ALLOW) -> None:
        self.told = f"{'done' if decision is Decision.ALLOW else 'failed'}: {detail}"


def _file_name(name: str) -> str:
    """The last part of a path, in characters that every file system and terminal takes."""
    last = name.replace("\\", "/").rpartition("/")[2][-255:]
    plain = "".join(c if c.isprintable() else "_" for c in last).lstrip(".")
    return plain or "model"


def _fixes(verdict: Verdict) -> dict[str, str]:
    return {finding.rule: fix_of(finding.rule) for finding in verdict.findings}

"""Everything about a version is checked again: when it is deployed, when it is rolled back to, when it is loaded.

Integrity is an error: a changed manifest, statement, revision or blob row raises `Corrupt`. What policy and approvers
say is a finding, so that all of it can be told at once. What it misses: the blob's bytes, which authenticate themselves
as they are read; `Deployable.verify_bytes` reads them all.
Cost: about ten signature checks, half a millisecond.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import msgspec

from fastness.access import approvals
from fastness.core.clock import Instant
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound
from fastness.core.events import Event, EventKind, decode_event
from fastness.core.findings import Decision, Verdict, combine, decision_of
from fastness.core.signature import ModelSignature
from fastness.foundation.storage import Reading
from fastness.foundation.vault import LoadTicket, Vault
from fastness.guard import GuardSettings
from fastness.models.registry import Predicate, Revision, Version, VersionState, alias, history, revision, version
from fastness.models.release import records
from fastness.models.release.granting import granted
from fastness.models.release.parts import EnvironmentPolicy, ReleaseParts
from fastness.models.release.policy import RULES, USED, judge_measures
from fastness.models.release.statements import BehaviourRecord, ScanRecord, passes, read_predicate

_APPROVALS_READ = 10_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """A version whose signatures hold, with what the signed statements say."""

    version: Version
    scan: ScanRecord
    behaviour: BehaviourRecord
    ticket: LoadTicket


@dataclass(frozen=True, slots=True)
class Standing:
    """How a version stands for one environment.

    Attributes:
        policy: the verdict on its scores.
        approval: the verdict of its approvers.
    """

    evidence: Evidence
    policy: Verdict
    approval: Verdict

    @property
    def verdict(self) -> Verdict:
        """Both, the policy's findings first."""
        return combine((self.policy, self.approval))

    @property
    def allowances(self) -> tuple[str, ...]:
        """The ids of the allowances that stand in for something."""
        used = (str(f.evidence["allowance"]) for f in self.policy.findings if f.rule == USED.id)
        return tuple(dict.fromkeys(used))


@dataclass(frozen=True, slots=True)
class Deployable:
    """A version that may be run now, verified.

    Attributes:
        ticket: opens its file.
        loader: what runs it.
        guard: the stages that its requests and replies pass.
        revision: what it runs under: the revision that is deployed, or the one that a deployment would make.
    """

    ticket: LoadTicket
    loader: str
    signature: ModelSignature
    guard: GuardSettings
    revision: Revision

    def verify_bytes(self, vault: Vault) -> None:
        """Read and authenticate every stored byte.

        Raises:
            Corrupt: a byte was changed, cut off, added or exchanged.
            NotFound: the blob is gone.
        """
        with vault.open(self.ticket) as segments:
            for _ in segments:
                pass


def verify_version(reading: Reading, parts: ReleaseParts, model: str, number: int, environment: str = "") -> Deployable:
    """The version, if everything that it needs to run in `environment` (that which is served, if empty) holds now.

    A version that is deployed there is held to the policy of its revision as well as to today's.

    Raises:
        NotFound: no such version or environment.
        Corrupt: something was changed.
        Conflict: it is not registered any more, cannot be served, or policy or approvals do not hold.
    """
    environment = environment or parts.settings.serving
    now = parts.clock.now()
    deployed = deployed_revision(reading, parts, model, number, environment)
    found = check(reading, parts, (model, number, environment), now, deployed)
    evidence = found.evidence
    held_to_log(parts, evidence.version)
    approvals_held_to_log(reading, parts, found, environment)
    return deployable(evidence, deployed or draft_revision(parts, evidence.version, environment))


def check(
    reading: Reading, parts: ReleaseParts, what: tuple[str, int, str], now: Instant, deployed: Revision | None = None
) -> Standing:
    """How a version (model, number) stands for an environment, if it may run there.

    Args:
        reading: an open reading of the tenant.
        parts: what the release works with.
        what: model, number and environment.
        now: the instant at which allowances and approvals must hold.
        deployed: the revision it was deployed under; its policy must hold too.

    Raises:
        NotFound: no such version or environment.
        Corrupt: something was changed.
        Conflict: it may not run there.
    """
    model, number, environment = what
    evidence = gather(reading, parts, model, number)
    policies = [parts.settings.environment(environment)]
    if deployed is not None:
        if deployed.manifest != evidence.version.digest:
            raise Corrupt("revision-corrupt", f"revision {deployed.id} names another manifest than its version has")
        policies.append(policy_of(deployed))
    found = [standing(reading, parts, evidence, (environment, policy), now) for policy in policies]
    for one in found:
        require(one)
    return found[0]


def gather(reading: Reading, parts: ReleaseParts, model: str, number: int) -> Evidence:
    """What is signed about a version, every signature and every cross-reference checked.

    Raises:
        NotFound: no such version, or its blob was shredded.
        Corrupt: something was changed or exchanged.
    """
    found = version(reading, model, number)
    manifest, said = found.manifest, found.evidence(reading, parts.attesting)
    if len(manifest.files) != 1:
        raise Corrupt("manifest-files", f"{found.resource} has {len(manifest.files)} files; one is expected")
    (file,) = manifest.files
    ticket = parts.vault.ticket(reading, file.blob)
    if (ticket.digest, ticket.size, ticket.blob) != (file.sha256, file.size, file.blob):
        raise Corrupt(
            "blob-exchanged",
            f"the blob behind {found.resource} is not the one that its manifest names",
            "Restore the records from a backup.",
        )
    return Evidence(
        found,
        read_predicate(said.get(Predicate.SCAN), manifest.scan, ScanRecord),
        read_predicate(said.get(Predicate.BEHAVIOUR), manifest.behaviour, BehaviourRecord),
        ticket,
    )


def held_to_log(parts: ReleaseParts, found: Version) -> None:
    """Return if no numbered event that took the version out of service was changed, moved or deleted.

    `Version.evidence` has read the events; here they are held against the signed tree. Asked where something is put into
    service or kept there, not where it is only shown, for it counts the rows of the log: 10 ms for a million.

    Raises:
        Corrupt: records and log differ.
    """
    with suppress(NotFound):  # nothing was ever signed: no event has a number yet
        parts.ledger.find(EventKind.MODEL_QUARANTINED, found.resource, 1)


def approvals_held_to_log(reading: Reading, parts: ReleaseParts, found: Standing, environment: str) -> None:
    """Return if the log knows of each approval that counts, and the records of each rejection that the log knows.

    Raises:
        Corrupt: an approval was written, or a rejection removed, behind our back.
    """
    digest, purpose = found.evidence.version.digest, purpose_of(environment)
    said: set[tuple[str, str]] = set()
    for event in _approvals_in_log(reading, parts, digest):
        if event.tenant == reading.scope.tenant and event.details.get("purpose") == purpose:
            said.add((str(event.details.get("approver")), str(event.details.get("choice"))))
    findings = found.approval.findings
    counted = {
        (str(f.evidence["principal"]), str(f.evidence["choice"])) for f in findings if f.rule == approvals.COUNTED.id
    }
    set_aside = {str(f.evidence.get("principal")) for f in findings if f.rule == approvals.NOT_COUNTED.id}
    hidden = {who for who, choice in said if choice == approvals.Choice.REJECT and who not in set_aside}
    unknown = {who for who, choice in counted if (who, choice) not in said}
    if hidden or unknown:
        what = f"a rejection by {min(hidden)} is missing" if hidden else f"the log knows no approval by {min(unknown)}"
        raise Corrupt(
            "approvals-changed",
            f"{found.evidence.version.resource}: {what}",
            "Somebody changed the records: run `fastness audit verify`, and restore a backup.",
        )


def _approvals_in_log(reading: Reading, parts: ReleaseParts, subject: str) -> list[Event]:
    kind = EventKind.APPROVAL_RECORDED
    try:
        waiting = [decode_event(data) for data in records.waiting_events(reading, kind, subject)]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt("events-changed", "an event that waits for its number cannot be read") from error
    numbered: list[Event] = []
    with suppress(NotFound):  # nothing was ever signed: no event has a number yet
        numbered = [entry.event for entry in parts.ledger.find(kind, subject, _APPROVALS_READ)]
    return numbered + waiting


def standing(
    reading: Reading, parts: ReleaseParts, evidence: Evidence, place: tuple[str, EnvironmentPolicy], now: Instant
) -> Standing:
    """How a version stands for an environment under a policy: steps 8 and 9 of the path.

    Raises:
        Corrupt: an allowance is not signed by this house.
    """
    environment, policy = place
    found = evidence.version
    allowed = granted(reading, parts.attesting, environment)
    scores = judge_measures(evidence.behaviour.measures, policy, allowed, now)
    quorum = approvals.quorum(
        reading, found.digest, purpose_of(environment), policy.approvals, {found.manifest.author}, now
    )
    return Standing(evidence, scores, quorum)


def require(found: Standing) -> None:
    """Return if the version may run.

    Raises:
        Conflict: it may not; the message has all reasons, the code is that of the first.
    """
    held = found.evidence.version
    active(held)
    if not passes(found.evidence.scan):
        raise Conflict("scan-blocked", f"{held.resource} did not pass the scan", "Push a clean artifact.")
    if not found.evidence.behaviour.loader or held.manifest.signature is None:
        formats = ", ".join(held.manifest.formats)
        raise Conflict(
            "not-servable",
            f"{held.resource} ({formats}) cannot be run by any loader",
            "Export the model to ONNX and push that.",
        )
    verdict = found.verdict
    if verdict.decision is not Decision.ALLOW:
        blocking = [f for f in verdict.findings if decision_of(f.severity) is not Decision.ALLOW]
        reasons = "; ".join(f.message for f in blocking)
        fixes = dict.fromkeys(rule.fix for rule in RULES for f in blocking if f.rule == rule.id)
        raise Conflict(blocking[0].rule, f"{held.resource} may not be put into service: {reasons}", " ".join(fixes))


def active(held: Version) -> None:
    """Return if the version was taken out of service by nobody.

    Raises:
        Conflict: it is quarantined or retired.
    """
    if held.state is not VersionState.REGISTERED:
        raise Conflict(
            f"version-{held.state}", f"{held.resource} is {held.state}: {held.reason}", "Deploy another version."
        )


def deployable(evidence: Evidence, runs_under: Revision) -> Deployable:
    """What is needed to load the version.

    Raises:
        Conflict: no loader runs it.
    """
    manifest = evidence.version.manifest
    if manifest.signature is None:
        raise Conflict("not-servable", f"{evidence.version.resource} cannot be run by any loader")
    return Deployable(evidence.ticket, manifest.loader, manifest.signature, guard_of(runs_under), runs_under)


def guard_of(revision: Revision) -> GuardSettings:
    """The guard that a revision runs behind.

    Raises:
        Corrupt: this Fastness has no such stages.
    """
    stages = tuple(str(revision.guard.get("stages", "")).split(","))
    try:
        return msgspec.convert({**revision.guard, "stages": stages}, GuardSettings)
    except (msgspec.ValidationError, Invalid) as error:
        raise Corrupt("revision-guard", f"revision {revision.id} asks for a guard that is not to be had") from error


def deployed_revision(
    reading: Reading, parts: ReleaseParts, model: str, number: int, environment: str
) -> Revision | None:
    """The revision under which a version was last put into `environment`; None if it never was.

    Raises:
        Corrupt: the alias was rolled back, or its history changed.
    """
    try:
        current = alias(reading, parts.pointing, parts.ledger, model, environment)
    except NotFound:
        return None
    if current.version == number:
        return revision(reading, current.revision)
    moves = [move for move in history(reading, parts.pointing, model, environment) if move.version == number]
    return revision(reading, moves[-1].revision) if moves else None


def draft_revision(parts: ReleaseParts, found: Version, environment: str) -> Revision:
    """The revision that a deployment makes today."""
    policy, guard = parts.settings.environment(environment), parts.settings.guard
    return Revision(
        tenant=found.manifest.tenant,
        model=found.manifest.model,
        version=found.manifest.number,
        manifest=found.digest,
        environment=environment,
        guard={"stages": ",".join(guard.stages), "max_bytes": guard.max_bytes, "max_rows": guard.max_rows},
        policy={**policy.thresholds, "approvals": policy.approvals, "allowances": policy.allowances},
        limits={},
    )


def policy_of(deployed: Revision) -> EnvironmentPolicy:
    """The policy that a revision was admitted under."""
    return msgspec.convert(deployed.policy, EnvironmentPolicy)


def purpose_of(environment: str) -> str:
    """What an approval for an environment is good for."""
    return f"deploy:{environment}"

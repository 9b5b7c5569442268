"""A tenant's own rules as signed, numbered documents: who wrote them, who said yes, when they were put into force.

An author signs the texts with an enrolled key; others approve them through an approval request; then the house seals the
number, the digest and the approvers with its own key, and that seal is what workers check. So the rules that hold do not
depend on whether their author is still there, and who can write the tables can make none: neither a text, nor an earlier set
under a new number. Sets are never changed and never come back; to return to earlier rules, propose them again.

What it misses: who can write the tables can delete the newest set; the projection holds that against the events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from fastness.access.approvals import COUNTED, ApprovalSettings, requests
from fastness.access.approvals.signed import enrolled_keys
from fastness.access.decisions import Policies
from fastness.access.policysets import records
from fastness.access.policysets.findings import check
from fastness.access.policysets.records import SetRow
from fastness.core.clock import Instant, later
from fastness.core.digests import Digest
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Decision, Finding
from fastness.core.identity import Action, Principal, PrincipalId, TenantId
from fastness.foundation.crypto import Signer, sign_statement, verify_statement
from fastness.foundation.storage import Reading, Transaction

TOPIC = "policies"
PURPOSE = Action.POLICY_CHANGE.value
SET_TYPE = "urn:fastness:predicate:policy-set:v1"
SEAL_TYPE = "urn:fastness:predicate:policy-seal:v1"
_SETTINGS = ApprovalSettings()
_MOST_BYTES = 1 << 20
_encode = msgspec.json.Encoder(order="deterministic").encode
_HINT = "Somebody changed the records: compare them with the ledger, and restore a backup."


class PolicyDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an author signs.

    Attributes:
        number: 1 for a tenant's first set, without gaps.
        texts: file name to Cedar text; none returns to the shipped rules alone.
        base: version of the shipped rules that it was written against.
    """

    tenant: TenantId
    number: int
    texts: dict[str, str]
    base: str
    reason: str

    @property
    def digest(self) -> Digest:
        """What names it, and what is approved."""
        return Digest(f"sha256:{hashlib.sha256(_encode(self)).hexdigest()}")

    def statement(self) -> tuple[Digest, dict[str, object]]:
        """Subject and predicate that the author signs, of type `SET_TYPE`."""
        return self.digest, msgspec.to_builtins(self)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A set as it stands."""

    document: PolicyDocument
    author: PrincipalId
    created_at: Instant
    activated_at: Instant | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A set that waits for approval, and what was found in it."""

    set: PolicySet
    request: requests.ApprovalRequest
    findings: tuple[Finding, ...]


def draft(reading: Reading, texts: Mapping[str, str], reason: str, shipped: Policies) -> PolicyDocument:
    """The document to sign: the tenant's next set."""
    number = len(records.find(reading)) + 1
    return PolicyDocument(reading.scope.tenant, number, dict(sorted(texts.items())), shipped.version, reason)


def propose(
    tx: Transaction,
    who: Principal,
    envelope: bytes,
    trusted: Mapping[str, tuple[PrincipalId, bytes]],
    shipped: Policies,
    settings: ApprovalSettings = _SETTINGS,
) -> Proposal:
    """Keep a set that its author signed, and ask for its approval.

    Args:
        who: the author; `decide` has permitted `policy.change`.
        envelope: DSSE around the statement of `draft`.
        trusted: `approvals.public_keys(tx)`.

    Raises:
        Invalid: not signed by one key of `who`, not of this tenant, without a reason, too large, or (`policies-refused`) with
            findings that block.
        Conflict: another set took the number meanwhile; draft it anew.
    """
    document, author = _opened(envelope, {keyid: pem for keyid, (_, pem) in trusted.items()}, dict(trusted))
    if author != who.id or document.tenant != tx.scope.tenant:
        raise Invalid(
            "policies-signer", "a set is signed by who proposes it, for their own tenant", "Sign it yourself."
        )
    if not document.reason.strip() or len(envelope) > _MOST_BYTES:
        raise Invalid("policies-reason", "a set says why, and has at most a mebibyte")
    if document.number != len(records.find(tx)) + 1:
        raise Conflict("policies-number", "another set was proposed meanwhile", "Draft it anew.")
    verdict = check(document.texts, shipped)
    if verdict.decision is Decision.DENY:
        raise Invalid("policies-refused", "; ".join(f.message for f in verdict.findings), "Mend the rules named.")
    digest = document.digest
    records.add(tx, SetRow(tx.scope.tenant, document.number, digest, who.id, envelope, tx.now, None, None))
    details: dict[str, Detail] = {"number": document.number, "digest": digest}
    tx.emit(tx.events.make(EventKind.POLICY_CHANGED, _resource(tx.scope.tenant), reason="proposed", details=details))
    terms = requests.Terms(_needed(settings), settings.whose, later(tx.now, settings.hours * 3600))
    request = requests.ask(tx, who, PURPOSE, digest, terms, {"number": document.number, "reason": document.reason})
    return Proposal(PolicySet(document, who.id, tx.now, None), request, verdict.findings)


def activate(  # the contract's six
    tx: Transaction,
    signer: Signer,
    number: int,
    request: str,
    shipped: Policies,
    settings: ApprovalSettings = _SETTINGS,
) -> PolicySet:
    """Put an approved set into force; the workers take it with their next snapshot.

    Args:
        signer: the house's own, which seals it.
        request: the approval request; it is used up.

    Raises:
        NotFound: no such set.
        Conflict: it is in force already, a newer one is, or it is not approved.
        Corrupt: its row was changed.
        Invalid: it does not load beside the rules shipped now.
    """
    rows = {row.number: row for row in records.find(tx)}
    row = rows.get(number)
    if row is None:
        raise NotFound("policies-unknown", f"there is no policy set {number}", "See: fastness access policy list.")
    if any(other.activated_at is not None and other.number >= number for other in rows.values()):
        raise Conflict("policies-outdated", "this set or a newer one is in force", "Propose the rules again.")
    document = _of_row(tx, row)
    verdict = check(document.texts, shipped)
    if verdict.decision is Decision.DENY:
        raise Invalid("policies-refused", "; ".join(f.message for f in verdict.findings), "Mend the rules named.")
    said = requests.use(tx, request, PURPOSE, document.digest, _needed(settings))
    approvers = sorted(str(f.evidence["principal"]) for f in said.findings if f.rule == COUNTED.id)
    seal = seal_of(signer, document, approvers)
    if records.mark_active(tx, number, seal) != 1:
        raise Conflict("policies-outdated", "this set was activated meanwhile")
    details: dict[str, Detail] = {"number": number, "digest": document.digest, "approvers": " ".join(approvers)}
    tx.emit(tx.events.make(EventKind.POLICY_CHANGED, _resource(tx.scope.tenant), reason="activated", details=details))
    tx.touch(TOPIC)
    return PolicySet(document, PrincipalId(row.author), row.created_at, tx.now)


def sets(reading: Reading) -> list[PolicySet]:
    """All sets of the tenant, oldest first; their authors' signatures hold.

    Raises:
        Corrupt: a row was changed.
    """
    return [
        PolicySet(_of_row(reading, row), PrincipalId(row.author), row.created_at, row.activated_at)
        for row in records.find(reading)
    ]


def _needed(settings: ApprovalSettings) -> int:
    return settings.needed_for(Action.POLICY_CHANGE, obliged=True)


def seal_of(signer: Signer, document: PolicyDocument, approvers: list[str]) -> bytes:
    """The house's word that a document holds."""
    predicate = {"document": msgspec.to_builtins(document), "approvers": approvers}
    return sign_statement(signer, {"policies": document.digest}, SEAL_TYPE, predicate)


def open_seal(seal: bytes, house: Mapping[str, bytes], tenant: str) -> PolicyDocument:
    """The document that the house sealed for a tenant.

    Args:
        house: key id to PEM of the house's own keys.

    Raises:
        Corrupt: it was not sealed by the house, or for another tenant.
    """
    try:
        statement = verify_statement(seal, house)
        document = msgspec.convert(statement.predicate.get("document"), PolicyDocument)
    except (Corrupt, msgspec.ValidationError) as error:
        raise Corrupt("policies-corrupt", f"the rules of {tenant} are not sealed by this house", _HINT) from error
    if (statement.predicate_type, document.tenant) != (SEAL_TYPE, tenant) or list(statement.subjects.values()) != [
        document.digest
    ]:
        raise Corrupt("policies-corrupt", f"the rules of {tenant} carry the seal of others", _HINT)
    return document


def _of_row(reading: Reading, row: SetRow) -> PolicyDocument:
    """The document of a row, signed by its author with a key that was enrolled."""
    keys = enrolled_keys(reading)
    try:
        document, author = _opened(row.envelope, {keyid: pem for keyid, (_, pem) in keys.items()}, keys)
    except Invalid as error:
        raise Corrupt("policies-corrupt", f"policy set {row.number}: {error.message}", _HINT) from error
    found = (document.tenant, document.number, document.digest, author)
    if found != (row.tenant, row.number, row.digest, row.author):
        raise Corrupt("policies-corrupt", f"policy set {row.number} carries the signature of another", _HINT)
    return document


def _opened(
    envelope: bytes, pems: Mapping[str, bytes], owners: Mapping[str, tuple[PrincipalId, bytes]]
) -> tuple[PolicyDocument, PrincipalId]:
    try:
        statement = verify_statement(envelope, pems)
        document = msgspec.convert(dict(statement.predicate), PolicyDocument)
    except (Corrupt, msgspec.ValidationError) as error:
        raise Invalid("policies-signature", "this is no set that an enrolled key has signed") from error
    if (
        len(statement.keyids) != 1
        or statement.predicate_type != SET_TYPE
        or list(statement.subjects.values()) != [document.digest]
    ):
        raise Invalid("policies-signature", "this is signed, but is no policy set of one author")
    (keyid,) = statement.keyids
    return document, owners[keyid][0]


def _resource(tenant: str) -> str:
    return f"policies:{tenant}"

"""A house whose rows are sealed, with people, groups and a directory service, for the tests of directory and reviews."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fastness.access import records as rows
from fastness.access.apikeys import ApiKey
from fastness.access.directory import groups
from fastness.access.members import UNBOUND, KeyTerms, issue_key
from fastness.access.records import PrincipalRow
from fastness.access.scim import Provisioning, ScimReply, ScimRequest, serve
from fastness.core.clock import later
from fastness.core.events import Event, EventKind
from fastness.core.identity import PrincipalId, Role, Scope, TenantId
from fastness.core.limits import Limit
from fastness.foundation.crypto import Purpose, SealedKeyRing
from fastness.foundation.storage import SqliteRecords
from tests.unit.access.house import ADMIN, House, Person

LIMIT = Limit(per_s=5.0, burst=7.0)
ACME = Scope(TenantId("acme"), PrincipalId("user:root"))
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
PROVISIONING = Provisioning(
    "https://fastness.example/scim/v2",
    {"ML Operators": frozenset({Role.OPERATOR}), "Keepers": frozenset({Role.ADMINISTRATOR})},
)


@dataclass
class SealedHouse(House):
    """Everything as in a real home: the rows are sealed under a key of the ring."""

    ring: SealedKeyRing = field(default_factory=lambda: SealedKeyRing.in_memory(os.urandom))

    def __post_init__(self) -> None:
        self.records.close()
        self.records = SqliteRecords(":memory:", os.urandom, seal=self.ring.mac(Purpose.ROWS))
        self.records.create_all()

    def standing(self, principal: str, scope: Scope = ADMIN) -> PrincipalRow:
        with self.records.read(scope) as reading:
            return rows.find_principals(reading)[PrincipalId(principal)]

    def key(self, person: Person, **terms: Any) -> ApiKey:
        with self.begin() as tx:
            wanted = KeyTerms(LIMIT, later(tx.now, 86_400.0 * 30), "made", **terms)
            return issue_key(tx, person.id, wanted, UNBOUND, self.pepper)

    def group(self, name: str, roles: Iterable[Role], *members: Person, scope: Scope = ADMIN) -> str:
        with self.begin(scope) as tx:
            group = groups.create_group(tx, name, frozenset(roles))
            for member in members:
                groups.add_member(tx, group, member.id)
        return group

    def scim(self, method: str, path: str, body: Any = None, scope: Scope = ADMIN, **query: str) -> ScimReply:
        headers = {name: query.pop(name) for name in ("if_match", "if_none_match") if name in query}
        request = ScimRequest(method, path, query, body, **headers)
        return serve(self.records, scope, self.clock.now(), PROVISIONING, request)

    def joiner(self, name: str = "erin@acme.example", scope: Scope = ADMIN, **attributes: Any) -> dict[str, Any]:
        reply = self.scim("POST", "/Users", {"schemas": [USER], "userName": name, **attributes}, scope)
        assert reply.status == 201, reply
        assert reply.body is not None
        return reply.body

    def patch(self, path: str, *operations: dict[str, Any], scope: Scope = ADMIN, **query: str) -> ScimReply:
        return self.scim("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, scope, **query)

    def principal_of(self, user: str, scope: Scope = ADMIN) -> PrincipalRow:
        events = [e for e in self.events() if e.kind is EventKind.DIRECTORY_CHANGED and e.details.get("user") == user]
        return self.standing(events[0].resource.removeprefix("principal:"), scope)

    def told(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events() if event.kind is kind]

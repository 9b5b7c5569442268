"""A house with an authorization server and its clients, for the tests of OAuth2."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastness.access import oauth
from fastness.access.oauth import Client, GrantType, OAuth, Reply, Wanted, clients, doors
from fastness.access.tokens.jose import SigningKey, make_key, public_jwk, sign
from fastness.core.clock import SECOND
from fastness.core.identity import (
    Action,
    Principal,
    PrincipalId,
    PrincipalKind,
    Resource,
    Role,
    Scope,
    Strength,
    TenantId,
)
from fastness.foundation.crypto import Purpose
from fastness.foundation.storage import MemoryCounters
from fastness.foundation.storage.seen import once_in
from tests.unit.access.house import ADMIN, TENANT
from tests.unit.access.issuing import ALICE, Mint

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
APP = "https://app.example/callback"
SERVICE = PrincipalId("service:robot")


def alice(**changes: Any) -> Principal:
    values: dict[str, Any] = {
        "kind": PrincipalKind.USER,
        "id": ALICE,
        "tenant": TENANT,
        "roles": frozenset({Role.DEVELOPER}),
        "strength": Strength.MFA,
        "authenticated_at": 1_700_000_000 * SECOND,
    }
    return Principal(**values | changes)


@dataclass
class Authority(Mint):
    """A house that lets clients in."""

    allowed: set[Action] = field(default_factory=lambda: set(Action))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.person("robot", Role.DEVELOPER, kind=PrincipalKind.SERVICE)
        self.oauth = OAuth(self.issuer, self.ring.mac(Purpose.TOKENS), once_in, self.may, MemoryCounters())
        codes = frozenset({GrantType.CODE, GrantType.REFRESH})
        self.app, _ = self.client(Wanted("app", "model.infer model.read token.delegate", codes, (APP,)))
        self.web, self.web_secret = self.client(
            Wanted("web", "model.infer model.read", codes, (APP, "https://app.example/other"), confidential=True)
        )
        alone = frozenset({GrantType.MACHINE, GrantType.EXCHANGE})
        self.robot, self.robot_secret = self.client(
            Wanted("robot", "model.infer token.delegate", alone, confidential=True, principal=SERVICE)
        )
        self.key: SigningKey = make_key("ES256")
        jwk = public_jwk(self.key.key) | {"kid": self.key.kid, "alg": "ES256"}
        self.signer, _ = self.client(Wanted("signer", "model.infer", alone, jwks=(jwk,), principal=SERVICE))
        self.refresh()

    def may(self, principal: Principal, action: Action, resource: Resource) -> bool:
        del principal, resource
        return action in self.allowed

    def client(self, wanted: Wanted, scope: Scope = ADMIN) -> tuple[Client, str]:
        with self.begin(scope) as tx:
            made = clients.create_client(tx, self.oauth, wanted)
        return made.client, made.secret

    def request(
        self, method: str, authorization: str | None = None, thumbprint: str = "", **form: str
    ) -> oauth.Request:
        return oauth.read_request(method, urlencode(form).encode(), authorization, thumbprint)

    def scope(self, request: oauth.Request) -> Scope:
        with self.records.read(ADMIN) as reading:
            return doors.scope_of(reading, self.oauth, request)

    def token(self, authorization: str | None = None, thumbprint: str = "", **form: str) -> Reply:
        request = self.request("POST", authorization, thumbprint, **form)
        with self.begin(self.scope(request)) as tx:
            return doors.token(tx, self.oauth, request)

    def authorization(self, **changes: str | None) -> dict[str, str]:
        whole: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.app.client_id,
            "redirect_uri": APP,
            "scope": "model.infer",
            "state": "st&te=1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (whole | changes).items() if value is not None}

    def authorize(self, principal: Principal | None = None, *, granted: bool = True, **changes: str | None) -> Reply:
        request = self.request("GET", **self.authorization(**changes))
        with self.begin() as tx:
            return doors.answer(tx, self.oauth, request, principal or alice(), granted=granted)

    def code(self, **changes: str | None) -> str:
        return query_of(self.authorize(**changes))["code"]

    def redeem(self, code: str, thumbprint: str = "", **changes: str) -> Reply:
        form = {
            "grant_type": "authorization_code",
            "client_id": self.app.client_id,
            "code": code,
            "redirect_uri": APP,
            "code_verifier": VERIFIER,
        }
        return self.token(None, thumbprint, **form | changes)

    def refreshed(self, refresh: str, thumbprint: str = "", **changes: str) -> Reply:
        form = {"grant_type": "refresh_token", "client_id": self.app.client_id, "refresh_token": refresh}
        return self.token(None, thumbprint, **form | changes)

    def login(self, thumbprint: str = "", **changes: str | None) -> dict[str, Any]:
        reply = self.redeem(self.code(**changes), thumbprint)
        assert reply.status == 200, reply.body
        return reply.body

    def as_robot(self, grant: GrantType = GrantType.MACHINE, thumbprint: str = "", **form: str) -> Reply:
        return self.token(basic(self.robot.client_id, self.robot_secret), thumbprint, grant_type=grant.value, **form)

    def exchange(self, subject: str, thumbprint: str = "", **form: str) -> Reply:
        whole = {
            "subject_token": subject,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        } | form
        return self.as_robot(GrantType.EXCHANGE, thumbprint, **whole)

    def assertion(self, **changes: Any) -> str:
        now_s = self.clock.now() // SECOND
        claims = {
            "iss": self.signer.client_id,
            "sub": self.signer.client_id,
            "aud": self.oauth.address("token"),
            "exp": now_s + 60,
            "iat": now_s,
            "jti": os.urandom(8).hex(),
        } | changes
        kept = {name: value for name, value in claims.items() if value is not None}
        return sign(self.key, "JWT", kept)

    def as_signer(self, assertion: str, **form: str) -> Reply:
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        whole = {"grant_type": "client_credentials", "client_assertion": assertion, "client_assertion_type": kind}
        return self.token(**whole | form)

    def device(self, **form: str) -> dict[str, Any]:
        request = self.request("POST", **{"client_id": clients.CLI, "scope": "model.infer"} | form)
        with self.begin(self.scope(request)) as tx:
            reply = doors.device(tx, self.oauth, request)
        assert reply.status == 200, reply.body
        return reply.body

    def polled(self, device_code: str, **form: str) -> Reply:
        grant = GrantType.DEVICE.value
        return self.token(**{"grant_type": grant, "client_id": clients.CLI, "device_code": device_code} | form)

    def let_in(self, user_code: str, principal: Principal | None = None, *, granted: bool = True) -> None:
        with self.begin() as tx:
            doors.answer_device(tx, self.oauth, principal or alice(), user_code, granted=granted)

    def asked_of(self, endpoint: Any, token: str, authorization: str | None = None, **form: str) -> Reply:
        request = self.request("POST", authorization, token=token, **form)
        with self.begin(self.scope(request)) as tx:
            return endpoint(tx, self.oauth, request)


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def query_of(reply: Reply) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(reply.location).query).items()}


OTHER = Scope(TenantId("other"), PrincipalId("user:root"))

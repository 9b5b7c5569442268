"""Logins by a real OpenID provider: npm's oidc-provider, run by node on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastness.access import federation
from fastness.access.federation import Authentication
from fastness.access.federation.mapping import Admitted
from fastness.access.standing import deactivate
from fastness.core.clock import SECOND
from fastness.core.errors import Corrupt, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId, Role, Strength
from tests.external.oidc_provider import Browser, ProviderProcess, ec_key, rsa_key
from tests.unit.access.federated import Gate
from tests.unit.access.house import ADMIN


@pytest.fixture(scope="module")
def running() -> Iterator[ProviderProcess]:
    made = ProviderProcess()
    yield made
    made.stop()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.records.close()


def login(gate: Gate, hint: str = "", *, fresh: bool = False, browser: Browser | None = None) -> Admitted:
    begun = gate.begun(fresh=fresh)
    back = (browser or Browser()).walk(begun.location, hint)
    return gate.admitted(gate.proven(gate.resumed(back, begun.browser)))


def test_a_person_logs_in(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer, scopes=("profile",))
    admitted = login(gate)
    assert (admitted.principal.id, admitted.return_to) == ("user:alice", "/models")
    assert admitted.principal.strength is Strength.PASSWORD
    assert admitted.principal.roles == {Role.DEVELOPER}
    assert abs(admitted.principal.authenticated_at - gate.clock.now()) < 60 * SECOND
    assert login(gate).principal.id == "user:alice"
    assert gate.events()[-1].kind is EventKind.AUTHENTICATION_SUCCEEDED


@pytest.mark.parametrize("settled", [{"strong_acr": ("urn:strong",)}, {"strong_amr": ("otp", "hwk")}])
def test_a_second_factor_at_the_provider_counts_where_that_is_settled(
    running: ProviderProcess, gate: Gate, settled: dict[str, Any]
) -> None:
    gate.settle(running.issuer, **settled)
    assert login(gate).principal.strength is Strength.MFA


def test_a_weaker_login_does_not_count_as_strong(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer, strong_amr=("otp",), people={"subject-of-mallory": PrincipalId("user:alice")})
    assert login(gate, "subject-of-mallory").principal.strength is Strength.PASSWORD


def test_a_person_logs_in_anew_for_a_step_up(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer)
    browser = Browser()
    login(gate, browser=browser)
    assert abs(login(gate, fresh=True, browser=browser).principal.authenticated_at - gate.clock.now()) < 60 * SECOND


def test_groups_give_and_take_roles(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(
        running.issuer,
        scopes=("profile",),
        groups_claim="groups",
        groups={"ml-developers": (Role.PUBLISHER,), "ml-operators": (Role.OPERATOR,), "admins": (Role.ADMINISTRATOR,)},
    )
    assert login(gate).principal.roles == {Role.DEVELOPER, Role.PUBLISHER}
    gate.settle(running.issuer, scopes=("profile",), groups_claim="groups", groups={"nobody": (Role.PUBLISHER,)})
    assert login(gate).principal.roles == {Role.DEVELOPER}


def test_people_are_provisioned_where_that_is_settled(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer, scopes=("profile",), provision=True, people={})
    with pytest.raises(Unauthenticated) as caught:
        login(gate)  # there is an alice already, and nothing says that it is the same
    assert caught.value.audit_code == "identity-taken"
    admitted = login(gate, "subject-of-mallory")
    assert (admitted.principal.id, admitted.principal.roles) == ("user:root", frozenset())
    assert login(gate, "subject-of-mallory").principal.id == "user:root"


def test_who_is_linked_stays_linked_and_nobody_else_is(running: ProviderProcess, gate: Gate) -> None:
    """An address or name given to somebody else later opens nothing: the subject is what counts."""
    provider = gate.settle(running.issuer)
    login(gate)
    gate.settle(running.issuer, people={"subject-of-mallory": PrincipalId("user:alice")})
    assert login(gate).principal.id == "user:alice"
    with pytest.raises(Unauthenticated) as caught:
        login(gate, "subject-of-mallory")
    assert caught.value.audit_code == "identity-taken"
    with gate.begin() as tx:
        federation.identities.unlink(tx, provider, PrincipalId("user:alice"))
    assert login(gate, "subject-of-mallory").principal.id == "user:alice"


def test_who_left_does_not_come_back_by_the_provider(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer)
    login(gate)
    with gate.begin() as tx:
        deactivate(tx, PrincipalId("user:alice"))
    with pytest.raises(Unauthenticated) as caught:
        login(gate)
    assert caught.value.audit_code == "principal-inactive"


def test_a_code_works_once_and_for_its_own_login(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer)
    begun = gate.begun()
    back = Browser().walk(begun.location)
    resumed = gate.resumed(back, begun.browser)
    gate.proven(resumed)
    with pytest.raises(Unauthenticated, match="federation-refused"):
        gate.proven(resumed)
    assert gate.resumed(back, begun.browser) is None
    other = gate.begun()
    stolen = Browser().walk(gate.begun().location)
    swapped = gate.resumed({**stolen, "state": Browser().walk(other.location)["state"]}, other.browser)
    with pytest.raises(Unauthenticated) as caught:
        gate.proven(swapped)  # the code of another login: the provider refuses the verifier
    assert caught.value.audit_code == "code-refused"


def test_a_login_that_another_browser_began(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer)
    mine, theirs = gate.begun(), gate.begun()
    back = Browser().walk(mine.location)
    assert gate.resumed(back, theirs.browser) is None
    assert gate.resumed(back, mine.browser) is None  # it was used up by the attempt
    assert gate.events()[-1].kind is EventKind.AUTHENTICATION_FAILED


def test_a_login_comes_back_to_its_own_provider(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer)
    gate.settle(running.issuer, name="other")
    begun = gate.begun()
    assert gate.resumed(Browser().walk(begun.location), begun.browser, "other") is None


@pytest.mark.parametrize("said", [None, "", "https://evil.example"])
def test_a_provider_that_names_itself_must_do_so(running: ProviderProcess, gate: Gate, said: str | None) -> None:
    gate.settle(running.issuer)
    begun = gate.begun()
    back = Browser().walk(begun.location)
    assert back.pop("iss") == running.issuer
    with pytest.raises(Unauthenticated) as caught:
        gate.proven(gate.resumed(back | ({} if said is None else {"iss": said}), begun.browser))
    assert caught.value.audit_code == "issuer-other"


def test_a_login_takes_ten_minutes_at_most(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer)
    begun = gate.begun()
    back = Browser().walk(begun.location)
    gate.clock.advance(600)
    assert gate.resumed(back, begun.browser) is None


def test_keys_rotate_and_the_new_one_is_fetched_when_it_is_met() -> None:
    running, gate = ProviderProcess(), Gate()
    try:
        gate.settle(running.issuer)
        login(gate)
        running.restart(keys=[ec_key("ec-2"), rsa_key("rsa-2")])
        with pytest.raises(Unauthenticated) as caught:
            login(gate)  # fetched a moment ago: not again at once
        assert caught.value.audit_code == "token-key-unknown"
        gate.clock.advance(61)
        gate_login = login(gate)
        assert gate_login.principal.id == "user:alice"
        running.restart(keys=[ec_key("ec-2"), rsa_key("rsa-3")])
        gate.clock.advance(61)
        with pytest.raises(Unauthenticated):
            login(gate)  # another key under a known name: the signature does not fit, and nothing is fetched
    finally:
        running.stop()
        gate.records.close()


@pytest.mark.parametrize(
    ("algorithm", "client", "settled"),
    [
        ("RS256", {}, {}),
        ("ES256", {"token_endpoint_auth_method": "client_secret_post"}, {"authentication": Authentication.POST}),
        ("ES256", {"token_endpoint_auth_method": "none"}, {"authentication": Authentication.NONE}),
    ],
)
def test_the_ways_of_a_provider(algorithm: str, client: dict[str, Any], settled: dict[str, Any]) -> None:
    running, gate = ProviderProcess(algorithm=algorithm, client=client), Gate()
    try:
        gate.settle(running.issuer, **settled)
        assert login(gate).principal.id == "user:alice"
        if algorithm == "RS256":
            gate.settle(running.issuer, algorithms=("ES256",))
            with pytest.raises(Unauthenticated) as caught:
                login(gate)
            assert caught.value.audit_code == "token-key-unknown"
    finally:
        running.stop()
        gate.records.close()


def test_a_document_of_another_issuer(running: ProviderProcess, gate: Gate) -> None:
    """The provider says who it is, and that is not who is settled: letter by letter."""
    gate.settle(running.issuer + "/")
    with pytest.raises(Corrupt, match="another issuer"):
        gate.begun()


def test_a_provider_that_was_disabled(running: ProviderProcess, gate: Gate) -> None:
    gate.settle(running.issuer)
    begun = gate.begun()
    back = Browser().walk(begun.location)
    with gate.begin() as tx:
        federation.providers.disable_provider(tx, "acme")
    with gate.records.read(ADMIN) as reading:
        assert federation.providers.providers(reading) == []
    assert gate.resumed(back, begun.browser) is None
    with gate.begin() as tx:
        federation.providers.enable_provider(tx, "acme")
    assert login(gate).principal.id == "user:alice"

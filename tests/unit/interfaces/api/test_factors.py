"""Second factors over the control plane: set up at enrolment, asked for by what is hard to undo, good once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.client import ControlClient
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.events import EventKind
from fastness.core.identity import Action
from fastness.foundation.crypto import SoftwareSigner
from fastness.interfaces.cli.demo.authenticator import Authenticator
from fastness.wire import control
from tests.unit.interfaces.api.town import Town, founded, refused

OFFICER = "security-officer"


@pytest.fixture(scope="module")
def bare() -> Iterator[Town]:
    """A house with its people and no model."""
    with tempfile.TemporaryDirectory(prefix="fastness-factors-") as folder, founded(Path(folder) / "home") as made:
        yield made


def newcomer(town: Town, name: str, *roles: str, kind: str = "user") -> control.EnrolmentReply:
    """Somebody who has enrolled and set up no app yet."""
    made = town.client("admin").access.create_principal(control.PrincipalRequest(name, roles, kind))
    signer = SoftwareSigner.create(system_entropy)
    reply = ControlClient(town.carrier).access.enrol(made.code, signer.public_pem.decode())
    town.keys[name] = reply.api_key
    return reply


def rollback(client: ControlClient) -> None:
    client.models.rollback("nothing", "development", "a try")


def test_an_app_is_set_up_with_the_enrolment_and_counts_from_its_first_code_on(bare: Town) -> None:
    reply = newcomer(bare, "fresh", "operator")
    assert reply.app is not None
    assert reply.app.uri.startswith("otpauth://totp/")
    client = ControlClient(bare.carrier, reply.api_key)
    assert client.login.factors() == control.FactorsView((), 0)
    assert refused(client.login.ways).code == "second-factor-missing"
    app = Authenticator(reply.app.uri)
    done = client.login.confirm_totp(reply.app.factor, app.code(SystemClock().now()))
    assert len(set(done.recovery_codes)) == 10
    (factor,) = client.login.factors().factors
    assert (factor.factor, factor.method) == (reply.app.factor, "totp")
    assert client.login.ways().methods == ("totp", "recovery")
    assert refused(lambda: client.login.confirm_totp(reply.app.factor, "123456")).code == "factor-unknown"


def test_a_program_gets_no_second_factor(bare: Town) -> None:
    reply = newcomer(bare, "daemon", "operator", kind="service")
    assert reply.app is None
    assert refused(lambda: ControlClient(bare.carrier, reply.api_key).login.start_totp("app")).code == "factor-person"


def test_a_key_alone_makes_no_factor(bare: Town) -> None:
    """Who stole the key before its owner set up an app would otherwise own the account."""
    reply = newcomer(bare, "slow", "operator")
    assert (
        refused(lambda: ControlClient(bare.carrier, reply.api_key).login.start_totp("mine")).code == "login-not-fresh"
    )


def test_what_is_hard_to_undo_takes_a_second_factor_and_says_how(bare: Town) -> None:
    plain = ControlClient(bare.carrier, bare.keys["operator"])
    error = refused(lambda: rollback(plain))
    assert (error.code, error.status) == ("step-up-required", 401)
    reply = bare.carrier.send(
        "POST", "/api/v1/models/nothing/rollbacks",
        {"authorization": f"Bearer {bare.keys['operator']}", "content-type": "application/json"},
        msgspec.json.encode(control.ReasonRequest("a try", "development")),
    )  # fmt: skip
    assert reply.headers["www-authenticate"] == (
        'Bearer realm="fastness", error="insufficient_user_authentication", max_age="300"'
    )
    event = bare.events(EventKind.ACCESS_DENIED)[-1]
    assert (event.reason, event.action) == ("step-up-required", Action.MODEL_ROLLBACK)
    assert (
        refused(lambda: rollback(bare.client("operator"))).code == "alias-unknown"
    )  # with the factor it comes through
    assert bare.events(EventKind.STEP_UP_SUCCEEDED)[-1].principal == "user:operator"


def test_who_may_not_is_not_helped_by_a_second_factor(bare: Town) -> None:
    assert refused(lambda: rollback(bare.client("viewer"))).code == "not-permitted"


def test_a_code_works_once(bare: Town) -> None:
    client = ControlClient(bare.carrier, bare.keys["approver"])
    code = bare.seconds["approver"].app.code(SystemClock().now())
    kind = "totp" if code.isdigit() else "recovery"
    first = client.login.step_up(control.StepUpRequest(kind, code))
    assert first.elevation.startswith("fsu_")
    assert refused(lambda: client.login.step_up(control.StepUpRequest(kind, code))).code == "factor-refused"
    assert bare.events(EventKind.STEP_UP_FAILED)[-1].reason in {"totp-replayed", "recovery-wrong"}
    assert first.elevation not in repr(bare.events())
    assert code not in {
        str(value) for event in bare.events(EventKind.STEP_UP_FAILED) for value in event.details.values()
    }


def test_an_elevation_is_good_with_its_own_credential_alone(bare: Town) -> None:
    client = bare.client(OFFICER)
    spare = client.access.create_key(control.KeyRequest(f"user:{OFFICER}", "spare"))
    code = bare.seconds[OFFICER].app.code(SystemClock().now())
    elevation = client.login.step_up(control.StepUpRequest("totp" if code.isdigit() else "recovery", code)).elevation
    for key, expected in ((bare.keys[OFFICER], 200), (spare.api_key, 401), (bare.keys["viewer"], 401)):
        headers = {"authorization": f"Bearer {key}", "fastness-elevation": elevation}
        reply = bare.carrier.send("GET", "/api/v1/factors", headers)
        assert reply.status == expected
        reply.read()
    assert bare.events(EventKind.ACCESS_DENIED)[-1].reason == "elevation-foreign"


@pytest.mark.parametrize("elevation", ["fsu_nonsense", "x" * 5000, "fsu_" + "0" * 43])
def test_an_elevation_that_is_none_is_refused(bare: Town, elevation: str) -> None:
    headers = {"authorization": f"Bearer {bare.keys['viewer']}", "fastness-elevation": elevation}
    reply = bare.carrier.send("GET", "/api/v1/models", headers)
    assert reply.status == 401
    assert b"elevation-refused" in reply.read()


@pytest.mark.parametrize("method", ["sms", "", "TOTP"])
def test_another_method_is_no_second_factor(bare: Town, method: str) -> None:
    client = ControlClient(bare.carrier, bare.keys["viewer"])
    assert refused(lambda: client.login.step_up(control.StepUpRequest(method, "123456"))).code == "method-unknown"


def test_a_factor_is_added_and_removed_with_another(bare: Town) -> None:
    client, second = bare.client("auditor"), bare.seconds["auditor"]
    plain = ControlClient(bare.carrier, bare.keys["auditor"])
    assert refused(lambda: plain.login.start_totp("spare phone")).code == "step-up-required"
    assert not second.elevation
    made = client.login.start_totp("spare phone")
    client.login.confirm_totp(made.factor, Authenticator(made.uri).code(SystemClock().now()))
    assert [f.label for f in client.login.factors().factors] == ["authenticator app", "spare phone"]
    fresh = client.login.new_recovery_codes()
    assert len(fresh.recovery_codes) == 10
    client.login.remove_factor(made.factor)
    assert [f.label for f in client.login.factors().factors] == ["authenticator app"]
    kinds = [e.reason for e in bare.events(EventKind.FACTOR_ENROLLED) if e.principal == "user:auditor"]
    assert kinds[-3:] == ["begun", "confirmed", "regenerated"]

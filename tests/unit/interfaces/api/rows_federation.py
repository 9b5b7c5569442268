"""The rows of external providers; `test_sign_on` logs people in by them."""

from __future__ import annotations

import msgspec

from fastness.wire import federation
from tests.unit.interfaces.api.rows import Route, encoded
from tests.unit.interfaces.api.town import Town, refused

SETTINGS = federation.ProviderSettings(issuer="https://provider.example", client_id="fastness")
SECRET = "hunter2-hunter2"


def _provider(town: Town, name: str, **changes: object) -> federation.ProviderView:
    return town.client("admin").providers.add(name, msgspec.structs.replace(SETTINGS, **changes), SECRET)


def _added(town: Town) -> None:
    made = _provider(
        town, "added", groups_claim="groups", groups={"ml": ("developer",)}, required={"hd": "example.org"}
    )
    assert made.redirect_uri == "https://localhost:8444/console/login/oidc/added/callback"
    assert made.logout_uri == "https://localhost:8444/console/login/oidc/added/logout"
    assert (made.enabled, made.settings.groups) == (True, {"ml": ("developer",)})
    admin = town.client("admin").providers
    assert refused(lambda: admin.add("added", SETTINGS, SECRET)).code == "provider-exists"
    assert refused(lambda: admin.add("x", SETTINGS)).code == "provider-secret"
    reference = msgspec.structs.replace(SETTINGS, secret_ref="secret://env/HOME")
    assert refused(lambda: admin.add("x", reference)).code == "provider-secret-reference"
    for wrong, code in WRONG.items():
        field, value = wrong
        error = refused(lambda f=field, v=value: admin.add("x", msgspec.structs.replace(SETTINGS, **{f: v}), SECRET))  # type: ignore[misc]
        assert error.code == code, wrong


WRONG: dict[tuple[str, object], str] = {
    ("issuer", "http://provider.example"): "address-refused",
    ("issuer", "https://169.254.169.254@x"): "address-refused",
    ("algorithms", ("HS256",)): "provider-algorithms",
    ("claim", "email"): "provider-claim",
    ("authentication", "magic"): "provider-malformed",
    ("client_id", ""): "provider-client",
    ("max_age_s", -1): "provider-words",
    ("groups_claim", "groups"): "provider-groups",
}


def _listed(town: Town) -> None:
    _provider(town, "listed")
    shown = next(one for one in town.client("auditor").providers.list() if one.name == "listed")
    assert shown.settings == SETTINGS


def _shown(town: Town) -> None:
    _provider(town, "shown")
    view = town.client("auditor").providers.show("shown")
    assert SECRET.encode() not in msgspec.json.encode(view)
    assert refused(lambda: town.client("auditor").providers.show("nobody")).code == "provider-unknown"


def _changed(town: Town) -> None:
    _provider(town, "changed")
    admin = town.client("admin").providers
    wanted = msgspec.structs.replace(SETTINGS, scopes=("profile",))
    assert admin.change("changed", wanted).settings.scopes == ("profile",)
    elsewhere = msgspec.structs.replace(SETTINGS, issuer="https://evil.example")
    assert refused(lambda: admin.change("changed", elsewhere)).code == "provider-secret"
    hosts = msgspec.structs.replace(SETTINGS, hosts=("evil.example",))
    assert refused(lambda: admin.change("changed", hosts)).code == "provider-secret"
    assert admin.change("changed", elsewhere, "another secret").settings.issuer == "https://evil.example"
    assert refused(lambda: admin.change("nobody", SETTINGS)).code == "provider-unknown"


def _disabled(town: Town) -> None:
    _provider(town, "disabled")
    admin = town.client("admin").providers
    admin.disable("disabled")
    assert not admin.show("disabled").enabled
    assert not admin.change("disabled", msgspec.structs.replace(SETTINGS, scopes=("profile",))).enabled
    assert refused(lambda: admin.disable("disabled")).code == "provider-unknown"


def _enabled(town: Town) -> None:
    _provider(town, "enabled")
    admin = town.client("admin").providers
    assert refused(lambda: admin.enable("enabled")).code == "provider-unknown"
    admin.disable("enabled")
    admin.enable("enabled")
    assert admin.show("enabled").enabled


def _removed(town: Town) -> None:
    _provider(town, "removed")
    admin = town.client("admin").providers
    admin.remove("removed")
    assert "removed" not in {one.name for one in admin.list()}
    assert refused(lambda: admin.remove("removed")).code == "provider-unknown"


def _tested(town: Town) -> None:
    _provider(town, "tested", issuer="https://127.0.0.1:9")
    trial = town.client("admin").providers.test("tested")
    assert not trial.passed
    assert [check.name for check in trial.checks] == ["secret", "discovery"]
    assert "public internet" in trial.checks[-1].hint


def _identities(town: Town) -> None:
    _provider(town, "linked")
    assert town.client("auditor").providers.identities("linked") == []
    assert refused(lambda: town.client("auditor").providers.identities("nobody")).code == "provider-unknown"


def _unlinked(town: Town) -> None:
    _provider(town, "unlinked")
    admin = town.client("admin").providers
    assert refused(lambda: admin.unlink("unlinked", "user:viewer")).code == "identity-unknown"
    assert refused(lambda: admin.unlink("nobody", "user:viewer")).code == "provider-unknown"
    assert refused(lambda: admin.unlink_own("unlinked")).code == "identity-unknown"
    assert admin.own() == []


ADD = encoded(federation.NewProviderRequest("intruder", SETTINGS, SECRET))
CHANGE = encoded(federation.ProviderRequest(SETTINGS, SECRET))

FEDERATION_ROUTES = {
    "GET /providers": Route("/providers", None, "operator", "access.read", "access:providers", _listed),
    "POST /providers": Route("/providers", ADD, "operator", "provider.change", "access:providers", _added),
    "GET /providers/{provider}": Route("/providers/x", None, "operator", "access.read", "provider:x", _shown),
    "PUT /providers/{provider}": Route("/providers/x", CHANGE, "operator", "provider.change", "provider:x", _changed),
    "POST /providers/{provider}/deactivation": Route(
        "/providers/x/deactivation", None, "operator", "provider.change", "provider:x", _disabled
    ),
    "POST /providers/{provider}/activation": Route(
        "/providers/x/activation", None, "operator", "provider.change", "provider:x", _enabled
    ),
    "DELETE /providers/{provider}": Route(
        "/providers/x", None, "operator", "provider.change", "provider:x", _removed
    ),
    "POST /providers/{provider}/tests": Route(
        "/providers/x/tests", None, "operator", "provider.change", "provider:x", _tested
    ),
    "GET /providers/{provider}/identities": Route(
        "/providers/x/identities", None, "operator", "access.read", "provider:x", _identities
    ),
    "DELETE /providers/{provider}/identities/{principal}": Route(
        "/providers/x/identities/user:viewer", None, "operator", "provider.change", "provider:x", _unlinked
    ),
}  # fmt: skip
FEDERATION_OWN = {"GET /identities": None, "DELETE /identities/{provider}": None}

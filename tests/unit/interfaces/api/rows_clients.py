"""The rows of OAuth 2 clients."""

from __future__ import annotations

from fastness.access.tokens.jose import make_key, public_jwk
from fastness.wire import oauth
from tests.unit.interfaces.api.rows import Route, encoded
from tests.unit.interfaces.api.town import Town, refused

KEY = {**public_jwk(make_key("ES256").key), "kid": "k", "alg": "ES256"}
REQUEST = oauth.ClientRequest("web", "model.read", ("authorization_code",), ("https://app.example/cb",))


def _clients(town: Town) -> None:
    made = town.client("admin").clients.create(REQUEST)
    (view,) = [one for one in town.client("auditor").clients.list() if one.client == made.client]
    assert (view.grants, view.scope, view.confidential) == (("authorization_code",), "model.read", False)


def _one_client(town: Town) -> None:
    made = town.client("admin").clients.create(REQUEST)
    answer = town.ask("auditor", "GET", f"/api/v1/clients/{made.client}")
    assert (answer.status, answer.problem["client"]) == (200, made.client)
    assert town.ask("auditor", "GET", "/api/v1/clients/x").code == "client-unknown"


def _created(town: Town) -> None:
    admin = town.client("admin").clients
    wanted = oauth.ClientRequest(
        "batch", "model.read", ("client_credentials",), principal="service:robot", confidential=True
    )
    assert admin.create(wanted).secret.startswith("fsc_")
    assert refused(lambda: admin.create(oauth.ClientRequest("x", "fly", ("device_code",)))).code == "scope-invalid"
    assert refused(lambda: admin.create(oauth.ClientRequest("x", "model.read", ("magic",)))).code == "client-grant"


def _renewed(town: Town) -> None:
    admin = town.client("admin").clients
    wanted = oauth.ClientRequest("renewed", "model.read", ("device_code",), confidential=True)
    made = admin.create(wanted)
    assert admin.renew(made.client).secret not in {"", made.secret}
    assert refused(lambda: admin.renew("nobody")).code == "client-unknown"


def _keyed(town: Town) -> None:
    admin = town.client("admin").clients
    old, new = ({**public_jwk(make_key("ES256").key), "kid": name, "alg": "ES256"} for name in ("old", "new"))
    wanted = oauth.ClientRequest(
        "keyed", "model.read", ("client_credentials",), principal="service:robot", jwks=(old,)
    )  # fmt: skip
    made = admin.create(wanted)
    assert made.secret == ""
    admin.put_keys(made.client, oauth.ClientKeys((new,)))
    (view,) = [one for one in admin.list() if one.client == made.client]
    assert (view.confidential, view.keys) == (True, ("new",))
    for wrong in ((), ({**new, "d": "AA"},), (new, new), ({"kid": "x"},), ({**new, "alg": "HS256"},), (new,) * 9):
        assert refused(lambda keys=wrong: admin.put_keys(made.client, oauth.ClientKeys(keys))).exit == 2  # type: ignore[misc]
    assert refused(lambda: admin.put_keys("nobody", oauth.ClientKeys((new,)))).code == "client-unknown"


def _disabled(town: Town) -> None:
    admin = town.client("admin").clients
    made = admin.create(REQUEST)
    admin.disable(made.client)
    assert not next(one for one in admin.list() if one.client == made.client).active
    assert refused(lambda: admin.disable(made.client)).code == "client-disabled"


CLIENT_ROUTES = {
    "GET /clients/{client}": Route("/clients/x", None, "operator", "access.read", "client:x", _one_client),
    "GET /clients": Route("/clients", None, "operator", "access.read", "access:clients", _clients),
    "POST /clients": Route("/clients", encoded(REQUEST), "operator", "client.change", "access:clients", _created),
    "POST /clients/{client}/secret": Route(
        "/clients/x/secret", None, "operator", "client.change", "client:x", _renewed
    ),
    "PUT /clients/{client}/keys": Route(
        "/clients/x/keys", encoded(oauth.ClientKeys((KEY,))), "operator", "client.change", "client:x", _keyed
    ),
    "POST /clients/{client}/deactivation": Route(
        "/clients/x/deactivation", None, "operator", "client.change", "client:x", _disabled
    ),
}  # fmt: skip
CLIENT_OWN = {
    "POST /devices/questions": encoded(oauth.DeviceCode("BCDFGHJK")),
    "POST /devices/answers": encoded(oauth.DeviceAnswer("BCDFGHJK", granted=False)),
}

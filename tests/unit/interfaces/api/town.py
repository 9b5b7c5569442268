"""A house with people of every role, its control plane asked in this process: all parts real."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from fastness.app import Home, House, Settings, create_home, load_settings, open_house
from fastness.client import ControlClient
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.errors import FastnessError
from fastness.core.events import Event, EventKind
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.interfaces.api import create_api
from fastness.interfaces.cli.context import Format, Identity, Options
from fastness.interfaces.cli.demo.authenticator import Authenticator
from fastness.interfaces.cli.inprocess import InProcessTransport
from fastness.wire import control
from tests.unit.models.release.world import PATIENT, digits_onnx

ROLES = ("viewer", "developer", "publisher", "approver", "operator", "auditor", "security-officer")
MORE = {
    "second": ("approver",),
    "third": ("approver", "operator"),
    "author": ("publisher", "approver", "operator"),
}
DECLARED = {"range.X": "0:16", "probabilities": "probabilities"}


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    kind: str
    body: bytes

    @property
    def problem(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def code(self) -> str:
        return str(self.problem["type"]).removeprefix("urn:fastness:problem:")


class Second:
    """The second factor of one person: an app, and what the house gave for its last code."""

    def __init__(self, town: Town, name: str, uri: str) -> None:
        self.elevation = ""
        self.app = Authenticator(uri)
        self._town = town
        self._name = name

    def confirm(self, factor: str) -> None:
        client = ControlClient(self._town.carrier, self._town.keys[self._name])
        self.app.recovery = list(client.login.confirm_totp(factor, self.app.code(SystemClock().now())).recovery_codes)

    def answer(self, ways: control.WaysView) -> control.StepUpRequest:
        assert "totp" in ways.methods
        code = self.app.code(SystemClock().now())
        return control.StepUpRequest("totp" if code.isdigit() else "recovery", code)


@dataclass
class Town:
    """One opened house and the secrets of its people, by name; each is called like their first role."""

    house: House
    carrier: InProcessTransport
    keys: dict[str, str] = field(default_factory=dict)
    signers: dict[str, SoftwareSigner] = field(default_factory=dict)
    seconds: dict[str, Second] = field(default_factory=dict)

    def client(self, name: str) -> ControlClient:
        return ControlClient(self.carrier, self.keys[name], self.seconds.get(name))

    def enrol(self, name: str, roles: tuple[str, ...], kind: str = "user") -> None:
        self.signers[name] = SoftwareSigner.create(system_entropy)
        code = self.client("admin").access.create_principal(control.PrincipalRequest(name, roles, kind)).code
        reply = ControlClient(self.carrier).access.enrol(code, self.signers[name].public_pem.decode())
        self.keys[name] = reply.api_key
        if reply.app is not None:
            self.seconds[name] = Second(self, name, reply.app.uri)
            self.seconds[name].confirm(reply.app.factor)

    def ask(self, who: str, method: str, path: str, body: bytes | Iterable[bytes] | None = None) -> Answer:
        """One raw request; `who` of "" sends no key, an unknown name is sent as the header itself."""
        headers = {"content-type": "application/json"}
        if who in self.seconds and self.seconds[who].elevation:
            headers["fastness-elevation"] = self.seconds[who].elevation
        if who:
            headers["authorization"] = f"Bearer {self.keys[who]}" if who in self.keys else who
        reply = self.carrier.send(method, path, headers, body)
        return Answer(reply.status, reply.headers.get("content-type", ""), reply.read())

    def push(self, model: str, who: str = "publisher", strength: float = 1.0) -> control.AdmissionReply:
        data = digits_onnx(strength)
        reply = self.client(who).models.push(model, "model.onnx", [data], DECLARED, lambda _: None)
        assert reply.decision == "allow", reply
        return reply

    def envelope(self, who: str, model: str, version: int, environment: str = "development") -> str:
        """What `who` signs, outside of the house, as `fastness models approve` does."""
        subject = self.client(who).models.approval_subject(model, version, environment)
        predicate = {**subject.predicate, "decision": "approve"}
        signed = sign_statement(
            self.signers[who], {subject.subject: subject.digest}, subject.predicate_type, predicate
        )  # fmt: skip
        return signed.decode()

    def approve(self, who: str, model: str, version: int) -> None:
        request = control.ApprovalRequest("development", self.envelope(who, model, version))
        self.client(who).models.approve(model, version, request)

    def allow(self, model: str) -> None:
        view = self.client("viewer").models.version(model, 1)
        names = tuple(m.name for m in view.measures if m.state == "not-run")
        self.client("security-officer").access.grant_allowance(
            "development", control.AllowanceRequest(names, 14, "a trial")
        )

    def released(self, model: str, versions: int = 1) -> None:
        """A model whose versions are pushed, approved by two and deployed, in order."""
        for number in range(1, versions + 1):
            self.push(model, strength=1 / number)
            for who in ("approver", "second"):
                self.approve(who, model, number)
            if number == 1:
                self.allow(model)
            self.client("operator").models.deploy(model, number, "development")

    def all_keys(self) -> list[control.KeyView]:
        access = self.client("auditor").access
        return access.keys()

    def keep_credentials(self) -> None:
        """Lay everybody's secrets where `fastness --as NAME` finds them."""
        for name, signer in self.signers.items():
            options = Options.of(str(self.house.home.root), name, "", Format.JSON, "")
            options.keep(Identity(f"user:{name}", self.keys[name], signer.private_pem().decode()))

    def events(self, *kinds: EventKind) -> list[Event]:
        """Every event of these kinds, or all, in the order of the log."""
        self.house.settle()
        return [entry.event for entry in self.house.ledger.tail(-1, frozenset(kinds) or None)]

    def blobs(self) -> set[Path]:
        return {path for path in self.house.home.blobs.rglob("*") if path.is_file()}


def settings(home: Home) -> Settings:
    """As the file says, with an assessment that does not depend on how fast the machine is, and passwords at the least cost."""
    read = load_settings(home, {})
    cheap = replace(read.login, memory_kib=19_456, passes=2, lanes=1)
    return replace(read, login=cheap, release=replace(read.release, assess=PATIENT))


@contextlib.contextmanager
def founded(folder: Path) -> Iterator[Town]:
    """A new house in `folder`, with its people, open for as long as the context lasts."""
    home, signer = Home(folder), SoftwareSigner.create(system_entropy)
    created = create_home(home, None, "admin", signer.public_pem)
    with (
        home.locked(),
        open_house(home, settings(home), None) as house,
        InProcessTransport(create_api(house)) as carrier,
    ):
        town = Town(house, carrier, {"admin": created.api_key}, {"admin": signer})
        town.seconds["admin"] = Second(town, "admin", created.app.uri)
        town.seconds["admin"].confirm(created.app.factor)
        for name in ROLES:
            town.enrol(name, (name,))
        for name, roles in MORE.items():
            town.enrol(name, roles)
        town.enrol("robot", ("approver",), "service")
        yield town


def refused(act: object) -> FastnessError:
    """The error of a call that must fail."""
    try:
        act()  # type: ignore[operator]
    except FastnessError as error:
        return error
    raise AssertionError("it was not refused")

"""A whole house for releases, all parts real: records, blobs, key ring, ledger, sandbox, people with keys of their own."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from sqlalchemy import Executable, select

from fastness import access
from fastness.core.clock import SECOND, Instant, ManualClock, system_entropy
from fastness.core.events import Event, EventKind, decode_event
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, PrincipalKind, Role, Scope
from fastness.core.sources import BytesSource
from fastness.foundation.crypto import Purpose, SealedKeyRing, SoftwareSigner, Unlock, sign_statement
from fastness.foundation.ledger import Ledger, Sequencer
from fastness.foundation.sandbox import Sandbox, SandboxSettings
from fastness.foundation.storage import METADATA, FileBlobs, SqliteRecords
from fastness.foundation.vault import Vault
from fastness.models import release
from fastness.models.assess import AssessSettings
from fastness.models.release import PushRequest, ReleaseParts, ReleaseSettings, Routes, RoutesProjection, views
from fastness.models.release.admission import Admission, Progress, silent
from fastness.models.runtime import ModelHost, RuntimeSettings
from fastness.wire.control import VersionView

START = Instant(1_780_000_000 * SECOND)
DAY_S = 86_400.0
PATIENT = AssessSettings(latency_s=0.05, single_ms=60_000, batch_ms=60_000, timeout_s=60)
"""No test depends on how fast the machine is."""
DIGITS = PushRequest("digits", {"X": (0.0, 16.0)}, "probabilities")
SIX_PEOPLE = {
    "alice": {Role.PUBLISHER},
    "bob": {Role.APPROVER},
    "carol": {Role.APPROVER},
    "dave": {Role.OPERATOR},
    "erin": {Role.SECURITY_OFFICER},
    "frank": {Role.APPROVER, Role.PUBLISHER},
}


def scope(name: str) -> Scope:
    return Scope(DEFAULT_TENANT, PrincipalId(f"user:{name}"))


ALICE, DAVE, ERIN, FRANK = scope("alice"), scope("dave"), scope("erin"), scope("frank")


class World:
    """One home, opened.

    Args:
        folder: where it stands; made if it is not there.
    """

    def __init__(self, folder: Path, settings: ReleaseSettings | None = None) -> None:
        self.folder = folder
        self.clock = ManualClock(START)
        new = not (folder / "keyring").exists()
        if new:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "unlock.key").write_bytes(bytes(range(64)))
            (folder / "unlock.key").chmod(0o600)
            unlock = Unlock.key_file(folder / "unlock.key")
            self.keyring = SealedKeyRing.create(folder / "keyring", unlock, system_entropy)
        else:
            self.keyring = SealedKeyRing.open(folder / "keyring", Unlock.key_file(folder / "unlock.key"))
        self.records = SqliteRecords(folder / "records.db", system_entropy)
        self.records.create_all()
        self.blobs = FileBlobs(folder / "blobs")
        self.vault = Vault(self.blobs, self.keyring, system_entropy)
        signer = self.keyring.signer(Purpose.CHECKPOINT)
        self.sequencer = Sequencer(folder / "ledger", self.records, None, signer, self.clock)
        self.sequencer.recover()
        self.ledger = Ledger(folder / "ledger", self.records, self.sequencer.vkey)
        self.parts = ReleaseParts(
            records=self.records,
            vault=self.vault,
            host=ModelHost(sandbox(), RuntimeSettings()),
            keyring=self.keyring,
            ledger=self.ledger,
            clock=self.clock,
            entropy=system_entropy,
            sockets=folder / "run",
            settings=replace(settings or ReleaseSettings(serving="development"), assess=PATIENT),
        )
        if new:
            for name, roles in SIX_PEOPLE.items():
                self.enrol(name, frozenset(roles))

    def enrol(self, name: str, roles: frozenset[Role]) -> None:
        """Let a person join, with a key that stands in a folder of their own."""
        signer = SoftwareSigner.create(system_entropy)
        (self.folder / "people").mkdir(exist_ok=True)
        (self.folder / "people" / name).write_bytes(signer.private_pem())
        with self.records.begin(scope("root"), self.tick()) as tx:
            code = access.create_principal(tx, PrincipalKind.USER, name, roles).code
        with self.records.begin(scope("root"), self.tick()) as tx:
            access.enrol(tx, code, signer.public_pem, self.keyring.mac(Purpose.KEY_PEPPER))

    def signer(self, name: str) -> SoftwareSigner:
        return SoftwareSigner.from_pem((self.folder / "people" / name).read_bytes())

    def tick(self, seconds: float = 1.0) -> Instant:
        self.clock.advance(seconds)
        return self.clock.now()

    # --- what people do ---------------------------------------------------------------------------------------------

    def push(
        self,
        data: bytes,
        name: str = "model.onnx",
        request: PushRequest = DIGITS,
        who: Scope = ALICE,
        progress: Progress = silent,
    ) -> Admission:
        self.tick()
        return release.admit(self.parts, who, BytesSource(name, data), request, progress)

    def statement(self, who: str, number: int, environment: str = "development", choice: str = "approve") -> bytes:
        """What `who` signs about a version of digits, outside of the house."""
        with self.records.read(scope(who)) as reading:
            subject = views.approval_subject(reading, self.parts, "digits", number, environment)
        predicate = {**subject.predicate, "decision": choice}
        return sign_statement(self.signer(who), {subject.subject: subject.digest}, subject.predicate_type, predicate)

    def approve(self, who: str, number: int, environment: str = "development", choice: str = "approve") -> None:
        envelope = self.statement(who, number, environment, choice)
        self.hand_in(who, number, environment, envelope)

    def hand_in(self, who: str, number: int, environment: str, envelope: bytes) -> None:
        self.tick()
        release.approve(self.parts, scope(who), "digits", number, environment, envelope)

    def allow(self, environment: str = "development", days: float = 30) -> None:
        """Grant what is needed for the checks that nobody can run yet."""
        self.tick()
        names = sorted({m.name for m in self.view(1).measures if m.state == "not-run"})
        release.grant_allowance(self.parts, ERIN, environment, names, days * DAY_S, "not built yet")

    def deploy(self, number: int, environment: str = "development", who: Scope = DAVE) -> str:
        self.tick()
        return release.deploy(self.parts, who, "digits", number, environment).id

    # --- what is seen -----------------------------------------------------------------------------------------------

    def view(self, number: int, model: str = "digits") -> VersionView:
        with self.records.read(ALICE) as reading:
            return views.version_view(reading, self.parts, model, number)

    def routes(self) -> Routes:
        with self.records.read(ALICE) as reading:
            return RoutesProjection(self.parts).load(reading)

    def verify(self, number: int, environment: str = "") -> release.verification.Deployable:
        with self.records.read(ALICE) as reading:
            return release.verify_version(reading, self.parts, "digits", number, environment)

    def events(self, kind: EventKind) -> list[Event]:
        table = METADATA.tables["events"]
        with self.records.read(ALICE) as reading:
            rows = reading.execute(select(table.c.data).where(table.c.kind == kind).order_by(table.c.seq))
            return [decode_event(bytes(row[0])) for row in rows]

    def rows(self, table: str) -> list[Mapping[str, object]]:
        with self.records.read(ALICE) as reading:
            return [dict(row._mapping) for row in reading.execute(select(METADATA.tables[table]))]

    def tamper(self, statement: Executable) -> int:
        """What somebody does who can write the database and has no key; the event is a cover."""
        with self.records.begin(scope("mallory"), self.tick()) as tx:
            tx.emit(tx.events.make(EventKind.ACCESS_DENIED))
            return tx.execute(statement).count

    def settle(self) -> None:
        while self.sequencer.run_once():
            pass

    def close(self) -> None:
        self.sequencer.close()
        self.records.close()


@contextmanager
def opened(folder: Path, settings: ReleaseSettings | None = None) -> Iterator[World]:
    world = World(folder, settings)
    try:
        yield world
    finally:
        world.close()


@cache
def sandbox() -> Sandbox:
    return Sandbox.detect(SandboxSettings())


def build(folder: Path) -> None:
    """A home with digits 1 and 2 registered and approved by two for both environments, allowed in development."""
    with opened(folder) as world:
        for strength in (1.0, 0.1):
            admission = world.push(digits_onnx(strength))
            assert admission.version is not None, admission
        for number in (1, 2):
            for environment in ("development", "production"):
                for who in ("bob", "carol"):
                    world.approve(who, number, environment)
        world.allow()
        world.settle()
        (folder / "now").write_text(str(world.clock.now()))


@cache
def template() -> Path:
    """The home of `build`, made once a run."""
    folder = Path(tempfile.mkdtemp(prefix="fastness-release-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build(folder / "home")
    return folder / "home"


@contextmanager
def copied(folder: Path, settings: ReleaseSettings | None = None) -> Iterator[World]:
    """The home of `build`, copied and opened where it ended."""
    shutil.copytree(template(), folder, dirs_exist_ok=True)
    with opened(folder, settings) as world:
        world.clock = ManualClock(Instant(int((folder / "now").read_text())))
        object.__setattr__(world.parts, "clock", world.clock)
        yield world


def digits_onnx(strength: float = 1.0) -> bytes:
    """Logistic regression on scikit-learn's handwritten digits, as ONNX: (n, 64) float32 to label and probabilities."""
    return _trained(strength)


@cache
def _trained(strength: float) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    digits = load_digits()
    model = LogisticRegression(C=strength, max_iter=500).fit(
        digits.data[:600].astype(np.float32) / 16, digits.target[:600]
    )
    kinds = [("X", FloatTensorType([None, 64]))]
    exported = convert_sklearn(model, initial_types=kinds, options={id(model): {"zipmap": False}}, target_opset=17)
    return bytes(exported.SerializeToString())


def safetensors(fill: int = 0) -> bytes:
    """A file of weights: one tensor of four numbers."""
    header = msgspec.json.encode({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + bytes([fill]) * 16

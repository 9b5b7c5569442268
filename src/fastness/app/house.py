"""A house: everything wired. The only place that picks implementations."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fastness.access import Credentials, Policies, create_principal, decide, enrol
from fastness.access.duties import Separation
from fastness.access.federation import Federation, Fetcher, References
from fastness.access.integrity import Watch, seal_once
from fastness.access.login import App, Desk, factors
from fastness.access.oauth import OAuth
from fastness.access.policysets import PolicyBook
from fastness.access.restrictions import Asking
from fastness.access.tokens import Issuer, Signers, rotate_keys
from fastness.app.home import Home, write_private
from fastness.app.migrate import upgrade
from fastness.app.settings import FILE, Settings, open_nonces
from fastness.app.snapshots import Snapshots
from fastness.core.clock import Clock, Entropy, SystemClock, later, system_entropy
from fastness.core.errors import Corrupt, FastnessError, Invalid
from fastness.core.events import Detail, Event, EventFactory, EventKind
from fastness.core.findings import Decision
from fastness.core.identity import (
    DEFAULT_TENANT,
    SYSTEM,
    SYSTEM_SCOPE,
    Action,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    Scope,
    TenantId,
)
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import CertificateAuthority, Purpose, SealedKeyRing, Unlock, references
from fastness.foundation.ledger import Ledger, LogReport, Sequencer, open_checkpoint, verify_log
from fastness.foundation.sandbox import Sandbox, SealedFile
from fastness.foundation.storage import FileBlobs, MemoryCounters, SqliteRecords, counters
from fastness.foundation.vault import Vault
from fastness.models.release import ReleaseParts, Route, Routes, RoutesProjection, verify_version
from fastness.models.runtime import ModelHost
from fastness.models.scan import Scanner
from fastness.wire.control import SystemView

LOG = "ledger:log"
FIRST_FACTOR = "authenticator app"
_LONGEST_TEXT = 500  # in an event: paths and messages may be longer
_MOST_TOLD = 1_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Created:
    """The first administrator of a new house; the key, and what an authenticator app takes in, are shown this once."""

    principal: str
    api_key: str
    app: App = field(repr=False)


class _Damage:
    """Records each damage once; where even that fails, what is damaged is left out all the same."""

    def __init__(self, record: Callable[[Scope, str, Corrupt], None]) -> None:
        self._record = record
        self._told: set[tuple[str, str, str]] = set()

    def __call__(self, tenant: TenantId, resource: str, error: Corrupt) -> None:
        what = (tenant, resource, error.message)
        if what in self._told or len(self._told) >= _MOST_TOLD:
            return
        try:
            self._record(Scope(tenant, SYSTEM), resource, error)
            self._told.add(what)
        except FastnessError:
            _log.exception("damage of %s is not recorded", resource)


class House:
    """The wired parts of one home, opened by one process under the home's lock.

    Attributes:
        parts: what admission and release work with.
        pepper: secret of the API keys' digests.
        desk: where people log in.
        policies: the rules shipped with the house; what holds for a tenant is `book.of(tenant)`.
        snapshots: keys, rules, restrictions, quotas, token keys, certificates and signing keys as they stand, loaded anew when they moved.
        issuer: of access tokens; `signers` opens the keys that sign them, `oauth` is the authorization server.
        federation: logs people in by external providers.
        seals: signs rules that were approved.
        secrets: what the settings refer to.
        watch: looks through the seals.
        nonces: which signed requests came before.
        mended: what was wrong with the log and is mended; None where nothing was.
    """

    def __init__(self, home: Home, settings: Settings, keyring: SealedKeyRing, *, mend: bool = False) -> None:
        self.home = home
        self.settings = settings
        self.keyring = keyring
        self.clock: Clock = SystemClock()
        self.entropy: Entropy = system_entropy
        self.mended: Corrupt | None = None
        with contextlib.ExitStack() as opened:
            self.records = _records(home, settings, keyring)
            opened.callback(self.records.close)
            self.sequencer = Sequencer(
                home.ledger,
                self.records,
                home.journal,
                keyring.signer(Purpose.CHECKPOINT),
                self.clock,
                home.checkpoints,
            )
            opened.callback(self.sequencer.close)
            _take_up_log(self, mend=mend)
            self._opened = opened.pop_all()  # nothing stays open of a house that could not be opened
        self.blobs = FileBlobs(home.blobs)
        self.vault = Vault(self.blobs, keyring, self.entropy)
        self.ledger = Ledger(home.ledger, self.records, (home.ledger / "vkey").read_text("utf-8").strip())
        self.policies = Policies.shipped()
        self.pepper = keyring.mac(Purpose.KEY_PEPPER)
        self.desk = Desk.open(settings.login.at(settings.server.console_origin), keyring, self.entropy)
        self.sandbox = Sandbox.detect(settings.sandbox)
        self.host = ModelHost(self.sandbox, settings.runtime)
        self.scanner = Scanner(settings.scanning)
        self._opened.callback(self.scanner.close)
        self.parts = ReleaseParts(
            records=self.records, vault=self.vault, host=self.host, keyring=keyring, ledger=self.ledger, clock=self.clock,
            entropy=self.entropy, sockets=home.workers, settings=settings.release, scan=settings.scan,
            scanner=self.scanner,
        )  # fmt: skip
        tokens, address = settings.tokens, settings.tokens.issuer or settings.server.admin_url
        self.signers = Signers(keyring)
        self.issuer = Issuer(address.rstrip("/"), tokens.audience or address.rstrip("/"), self.signers, tokens.life_s)
        self.seals = keyring.signer(Purpose.POLICIES)
        self.secrets = references.open_secrets(settings.secrets, os.environ)
        self.nonces = open_nonces(settings, self.secrets, self.clock)
        damage = _Damage(self.record_damage)
        self.snapshots = Snapshots(self.records, keyring, self.issuer, settings.quotas, damage)
        self.oauth = _oauth(self)
        self.watch = Watch(self.records)
        self.federation = _federation(self)
        self._routes = RoutesProjection(self.parts)
        self._view: Callable[[str, TenantId], SystemView] | None = None
        self._published: Callable[[str], None] | None = None

    def credentials(self) -> Credentials:
        """API keys as they stand now."""
        return self.snapshots.keys.load()

    @property
    def book(self) -> PolicyBook:
        """The rules as they stand now: `book.of(tenant)`."""
        return self.snapshots.book()

    def routes(self) -> Routes:
        """What is to be served, each alias verified."""
        with self.records.read(SYSTEM_SCOPE) as reading:
            return self._routes.load(reading)

    def load_model(self, route: Route) -> SealedFile:
        """The bytes of a route's model, after everything about it was verified again.

        Raises:
            Corrupt, Conflict: it does not pass; it must not be served.
        """
        with self.records.read(SYSTEM_SCOPE) as reading:
            deployable = verify_version(reading, self.parts, route.model, route.version)
        with self.vault.open(deployable.ticket) as segments:
            return SealedFile.filled(f"{route.model}-{route.version}", segments.size, segments.read_into)

    def record(self, scope: Scope, make: Callable[[EventFactory], Event]) -> None:
        """Record one event by itself."""
        with self.records.begin(scope, self.clock.now()) as tx:
            tx.emit(make(tx.events))

    def record_damage(self, scope: Scope, resource: str, error: Corrupt) -> None:
        """Record that something stored is not what it was."""
        what: dict[str, Detail] = {"what": error.message[:_LONGEST_TEXT]}

        def make(events: EventFactory) -> Event:
            shown = resource[:_LONGEST_TEXT]
            return events.make(
                EventKind.INTEGRITY_FAILED, shown, decision=Decision.DENY, reason=error.code, details=what
            )

        self.record(scope, make)

    def verify_log(self, since: bytes | None = None) -> LogReport:
        """Verify the whole log: its files, its growth since the newest kept checkpoint, and the event table against it.

        Args:
            since: the note of a checkpoint that was kept elsewhere: the log must continue it, too.

        Raises:
            Corrupt: something does not fit; the message names the place.
            Invalid: `since` is no checkpoint of this log.
        """
        _require_log(self.home)
        vkey = self.sequencer.vkey  # from the key ring: the file beside the log may have been exchanged with it
        kept = sorted(self.home.checkpoints.glob("*.note"))
        if since is not None:
            try:
                open_checkpoint(since, vkey)
            except Corrupt as error:
                raise Invalid("checkpoint-foreign", error.message, "Give a note that this log signed.") from error
            verify_log(self.home.ledger, vkey, since)
        report = verify_log(self.home.ledger, vkey, kept[-1].read_bytes() if kept else None)
        while Ledger(self.home.ledger, self.records, vkey).check_rows(report.size):
            pass
        return report

    def mend_log(self, error: Corrupt) -> None:
        """Write the log's files anew from the event table, which has to give every signed root.

        Raises:
            Corrupt: it does not, or no signed root is left.
        """
        self.sequencer.rebuild()
        self.mended = error

    def attach(self, view: Callable[[str, TenantId], SystemView], published: Callable[[str], None]) -> None:
        """Have processes serve from this house.

        Args:
            view: how they stand, given the version of the program and whose models are shown.
            published: returns when all of them have the snapshot of a topic as it stands.
        """
        self._view = view
        self._published = published

    def published(self, topic: str) -> None:
        """Wait until what was just changed is known wherever it is served from; without processes, at once."""
        if self._published is not None:
            self._published(topic)

    def system_view(self, version: str, tenant: TenantId = DEFAULT_TENANT) -> SystemView:
        """How the house stands, with the models of one tenant; without processes, only what is stored."""
        if self._view is not None:
            return self._view(version, tenant)
        return SystemView(version, str(self.home.root), "", self.ledger.checkpoint().size)

    def settle(self) -> None:
        """Take everything recorded into the log."""
        while self.sequencer.run_once():
            pass

    def close(self) -> None:
        """Give back files, locks and connections."""
        self._opened.close()


def _records(home: Home, settings: Settings, keyring: SealedKeyRing) -> SqliteRecords:
    apart = Separation() if settings.duties.refuses else None
    return SqliteRecords(home.records, system_entropy, seal=keyring.mac(Purpose.ROWS), constraint=apart)


def look_through(house: House) -> None:
    """Look through the seals of all rows; the tenants whose rows somebody else changed are refused everything from then on."""
    house.snapshots.doubt(house.watch.look(house.clock.now()))


def keep_token_keys(house: House) -> None:
    """Make the keys that sign access tokens where there are none yet, and turn them when they are old."""
    with house.records.read(SYSTEM_SCOPE) as reading:
        changed_at = house.signers.changed_at(reading)
    if changed_at is not None and house.clock.now() < later(changed_at, house.settings.tokens.rotate_s):
        return
    with house.records.begin(SYSTEM_SCOPE, house.clock.now()) as tx:
        if house.signers.changed_at(tx) == changed_at:
            rotate_keys(tx, house.signers)


def _take_up_log(house: House, *, mend: bool) -> None:
    """Go on where the log ended; one that does not fit is recorded, and mended only if that is asked for."""
    try:
        _require_log(house.home)
        house.sequencer.recover()
    except Corrupt as error:
        house.record_damage(SYSTEM_SCOPE, LOG, error)
        if not mend:
            raise
        house.mend_log(error)


def _oauth(house: House) -> OAuth:
    def permits(who: Principal, action: Action, resource: Resource) -> bool:
        rules, now = house.book.of(who.tenant), house.clock.now()
        asked = {"tenant": who.tenant, "owner": who.id}  # what is lent is one's own
        if house.snapshots.fence().bars(Asking(who, action), now):
            return False
        return decide(who, action, resource, asked, rules, now).allow

    digests = house.keyring.mac(Purpose.TOKENS)
    pages = house.desk.settings.origin
    return OAuth(house.issuer, digests, counters.once_in, permits, MemoryCounters(), pages)


def _federation(house: House) -> Federation:
    settings = house.settings.federation
    fetcher = Fetcher(settings.loopback, settings.networks, settings.ca_file, settings.timeout_s)
    references = References(settings, house.secrets.reveal)
    redirect = f"{house.desk.settings.origin}/console/login/oidc"
    return Federation(house.keyring.mac(Purpose.TOKENS), house.keyring, fetcher, redirect, references)


def _require_log(home: Home) -> None:
    """Check that a finished home still has its log, for a new one would vouch for whatever the records hold now.

    Raises:
        Corrupt: it was taken away.
    """
    if home.exists() and not (home.ledger / "checkpoint").exists():
        raise Corrupt("ledger-missing", f"the log of {home.root} is gone", "Restore the ledger folder from a copy.")


def create_home(home: Home, passphrase: str | None, admin: str, public_pem: bytes) -> Created:
    """Make a house and its first administrator, who holds the private half of `public_pem`.

    Args:
        passphrase: seals the keys; None makes a key file.

    Raises:
        Conflict: there is a house already.
    """
    sealed = Unlock.passphrase(SecretBytes(passphrase.encode())) if passphrase is not None else None
    home.make_folders()
    unlock = sealed or Unlock.new_key_file(home.unlock, system_entropy)
    keyring = SealedKeyRing.create(home.keyring, unlock, system_entropy)
    authority = CertificateAuthority.create(keyring, SystemClock().now())
    write_private(home.ca, authority.ca_pem)
    with home.locked():
        upgrade(home.records)
        house = House(home, Settings(), keyring)
        with contextlib.closing(house):
            created = _first_administrator(house, admin, public_pem)
            seal_once(house.records, keyring, house.clock.now())
            keep_token_keys(house)
            house.settle()
    write_private(home.settings, FILE.encode())  # last: its presence says that the house is whole
    return created


def _first_administrator(house: House, name: str, public_pem: bytes) -> Created:
    with house.records.begin(SYSTEM_SCOPE, house.clock.now()) as tx:
        tx.emit(tx.events.make(EventKind.HOME_CREATED, "system:house"))
        enrolment = create_principal(tx, PrincipalKind.USER, name, frozenset({Role.ADMINISTRATOR}))
    with house.records.begin(SYSTEM_SCOPE, house.clock.now()) as tx:
        principal, key = enrol(tx, enrolment.code, public_pem, house.pepper)
        app = factors.start_totp(tx, house.desk, principal, FIRST_FACTOR)
    return Created(principal.id, key.text, app)


@contextlib.contextmanager
def open_house(home: Home, settings: Settings, passphrase: str | None, *, mend: bool = False) -> Iterator[House]:
    """The house in `home`, opened; the caller holds the home's lock.

    Args:
        mend: write damaged files of the log anew if the event table gives every signed root.

    Raises:
        Unauthenticated: the passphrase is wrong.
        Corrupt: keys, records or log are damaged.
    """
    unlock = (
        Unlock.passphrase(SecretBytes(passphrase.encode())) if passphrase is not None else Unlock.key_file(home.unlock)
    )
    keyring = SealedKeyRing.open(home.keyring, unlock)
    upgrade(home.records)
    house = House(home, settings, keyring, mend=mend)
    try:
        seal_once(house.records, keyring, house.clock.now())
        look_through(house)
        keep_token_keys(house)
        yield house
    finally:
        house.close()

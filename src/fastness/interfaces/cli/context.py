"""What every command knows: the home, who asks, how to print; and the way to the control plane."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fastness.core.clock import SystemClock
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.interfaces.cli.tokens import KeptLogin, read_private

if TYPE_CHECKING:
    from fastness.app import Home, House
    from fastness.client import ControlClient, Transport

_GLOBAL = ("--home", "--as", "--credentials", "--format", "--passphrase-file", "--code", "--ask")


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"
    CYCLONEDX = "cyclonedx"


class Identity(msgspec.Struct, frozen=True):
    """One person's secrets, kept in a file that only they can read.

    Attributes:
        private_pem: their own Ed25519 key, with which they sign approvals; it never leaves their process.
    """

    principal: str
    api_key: str
    private_pem: str


@dataclass(frozen=True, slots=True)
class Options:
    """The options that stand anywhere on the line."""

    home: Path
    who: str
    credentials: Path
    form: Format
    passphrase_file: Path | None
    code: str = field(default="", repr=False)
    reason: str = ""

    @classmethod
    def of(  # noqa: PLR0913 - the options of the line
        cls,
        home: str,
        who: str,
        credentials: str,
        form: Format,
        passphrase_file: str,
        code: str = "",
        reason: str = "",
    ) -> Options:
        """The options as typed, made whole."""
        root = Path(home).expanduser().absolute()
        folder = Path(credentials).expanduser().absolute() if credentials else root / "credentials"
        return cls(
            root, who, folder, form, Path(passphrase_file).expanduser() if passphrase_file else None, code, reason
        )

    @property
    def house(self) -> Home:
        """The home folder, which must be a house.

        Raises:
            NotFound: it is none.
        """
        from fastness.app import Home

        home = Home(self.home)
        home.require()
        return home

    def identity(self) -> Identity:
        """Whose name the command acts in.

        Raises:
            NotFound: there are no such credentials.
            Invalid: the file is not readable as such, or readable by others.
        """
        path = self.credentials / f"{parse_name(self.who)}.json"
        data = read_private(path)
        if data is None:
            raise NotFound(
                "credentials-missing",
                f"no credentials for {self.who} in {self.credentials}",
                f"Redeem a one-time code: fastness access enroll CODE --as {self.who}, or log in: fastness login.",
            )
        try:
            return msgspec.json.decode(data, type=Identity)
        except msgspec.MsgspecError as error:
            raise Invalid("credentials-malformed", f"{path} is not a credentials file") from error

    @property
    def kept_login(self) -> KeptLogin:
        """The login of that name, if there is one."""
        return KeptLogin(self.credentials / f"{parse_name(self.who)}.login")

    @property
    def elevation(self) -> Path:
        """Where the last second factor is kept."""
        return self.credentials / f"{parse_name(self.who)}.elevation"

    def require_no_identity(self) -> None:
        """Return if the name has no API key, which would go before a login.

        Raises:
            Conflict: it has.
        """
        if (self.credentials / f"{parse_name(self.who)}.json").exists():
            raise Conflict(
                "credentials-exist",
                f"{self.who} has an API key in {self.credentials}",
                "Choose another name with --as.",
            )

    def credential(self, transport: Transport | None = None) -> Callable[[], str]:
        """What commands show: the API key of that name, else the token of its login.

        Args:
            transport: to the house, by which a token is renewed; None takes another one for it.

        Raises:
            NotFound: there is neither.
        """
        kept = self.kept_login
        login = None if (self.credentials / f"{parse_name(self.who)}.json").exists() else kept.read()
        if login is None:
            key = self.identity().api_key
            return lambda: key
        clock = SystemClock()
        if transport is not None:
            return lambda: kept.token(transport, clock)
        with self.carried(login.server, login.ca) as carrier:
            token = kept.token(carrier, clock)
        return lambda: token

    def keep(self, identity: Identity) -> Path:
        """Store credentials; never over others.

        Raises:
            Invalid: there are credentials of that name already.
        """
        from fastness.app import write_private

        path = self.credentials / f"{parse_name(self.who)}.json"
        if path.exists() or self.kept_login.path.exists():
            raise Invalid("credentials-exist", f"{path} exists already", "Choose another name with --as.")
        self.credentials.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, msgspec.json.format(msgspec.json.encode(identity), indent=1))
        return path

    @contextlib.contextmanager
    def control(self, *, anonymous: bool = False) -> Iterator[ControlClient]:
        """The control plane: where the login of that name is, else over the socket of a running house, else in this
        process under the home's lock.
        """
        from fastness.client import ControlClient
        from fastness.interfaces.cli.second import AtTerminal

        if anonymous:
            with self.carried() as transport:
                yield ControlClient(transport)
            return
        own = (self.credentials / f"{parse_name(self.who)}.json").exists()
        login = None if own else self.kept_login.read()
        if login is None and not own:
            _ = self.house, self.identity()  # which say what is missing
        with self.carried(login.server, login.ca) if login else self.carried() as transport:
            second = AtTerminal(self.elevation, self.code)
            yield ControlClient(transport, self.credential(transport), second, self.reason)

    @contextlib.contextmanager
    def carried(self, server: str = "", ca: str = "", timeout_s: float = 600) -> Iterator[Transport]:
        """The way to a house: to the one at `server`, else to that of the home as `control` says."""
        from fastness.client import HttpTransport

        if server:
            with HttpTransport(server, Path(ca) if ca else None, timeout_s) as transport:
                yield transport
            return
        home = self.house
        if running(home.control_socket):
            with HttpTransport(home.control_socket, timeout_s=timeout_s) as transport:
                yield transport
            return
        from fastness.interfaces.api import create_api
        from fastness.interfaces.cli.inprocess import InProcessTransport

        with self.opened(home) as house, InProcessTransport(create_api(house)) as carrier:
            yield carrier

    @contextlib.contextmanager
    def opened(self, home: Home) -> Iterator[House]:
        """The house itself, in this process."""
        from fastness.app import load_settings, open_house

        with home.locked(), open_house(home, load_settings(home, {}), self.passphrase(home)) as house:
            yield house
            house.settle()

    @staticmethod
    def read_passphrase(file: Path) -> str:
        """The passphrase in a file, without the line end.

        Raises:
            Invalid: the file cannot be read, or is no text.
        """
        try:
            return file.read_text("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(
                "passphrase-file", f"cannot read the passphrase: {error}", "Name a readable text file."
            ) from error

    def passphrase(self, home: Home) -> str | None:
        """The passphrase, asked for where neither a key file unlocks the keyring nor a file holds it."""
        if home.unlock.exists():
            return None
        if self.passphrase_file is not None:
            return self.read_passphrase(self.passphrase_file)
        import getpass

        return getpass.getpass(f"Passphrase of {home.root}: ")


def running(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def hoist(arguments: list[str]) -> list[str]:
    """The line with the options that may stand anywhere moved to its front."""
    front: list[str] = []
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        name, joined, value = argument.partition("=")
        if argument == "--":
            rest += [argument, *pending]
        elif name not in _GLOBAL:
            rest.append(argument)
        elif joined:
            front += [name, value]
        else:
            front += [name, *([following] if (following := next(pending, None)) is not None else [])]
    return front + rest

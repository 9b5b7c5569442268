"""The home folder: where everything of one house lies, and the lock that keeps two processes out of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fastness.core.clock import system_entropy
from fastness.core.errors import Conflict, Invalid, NotFound

OPTIONS = frozenset(f"FASTNESS_{name}" for name in ("HOME", "AS", "CODE", "CREDENTIALS", "KEY", "PASSPHRASE_FILE"))
"""Names in the environment that are options of the command line and not settings; some hold secrets."""

_SOCKET_PATH_MAX = 107  # sun_path of unix(7), less the closing zero
_LONGEST_SOCKET = "run/workers/0123456789abcdef.sock"


class Home:
    """Paths of a house.

    Attributes:
        root: the folder itself, mode 0700.
        settings: the settings file; written last, so that its presence says that the house is whole.
        keyring: the sealed keys.
        unlock: the key file that unlocks the keyring, where no passphrase does.
        records: the database.
        blobs: the encrypted containers.
        ledger: the log: tiles, entry bundles, checkpoint, public key.
        checkpoints: the last signed checkpoints, kept apart from the log.
        journal: what the gateway workers recorded and the sequencer has not yet taken.
        ca: the certificate that clients trust.
        credentials: where people on this machine keep their keys, one file a person.
        run: sockets of the running processes.
        control_socket: the control plane of a running house.
        state_socket: where gateway workers get their snapshots.
        url: where the gateway listens, while the house runs.
        workers: sockets of the model workers.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = root / "fastness.toml"
        self.keyring = root / "keyring"
        self.unlock = root / "unlock.key"
        self.records = root / "records.db"
        self.blobs = root / "blobs"
        self.ledger = root / "ledger"
        self.checkpoints = root / "checkpoints"
        self.journal = root / "journal"
        self.ca = root / "tls" / "ca.pem"
        self.credentials = root / "credentials"
        self.run = root / "run"
        self.control_socket = self.run / "control.sock"
        self.state_socket = self.run / "state.sock"
        self.url = self.run / "url"
        self.workers = self.run / "workers"

    def exists(self) -> bool:
        """Whether `fastness init` has finished here."""
        return self.settings.exists()

    def require(self) -> None:
        """Check that this is a house.

        Raises:
            NotFound: it is not.
        """
        if not self.exists():
            raise NotFound(
                "home-missing",
                f"{self.root} is not a Fastness home",
                "Make one with `fastness init`, or name it with --home.",
            )

    def make_folders(self) -> None:
        """Make the folders, for their owner only.

        Raises:
            Conflict: there is a house already.
            Invalid: the path is too long for the sockets in it.
        """
        if self.exists():
            raise Conflict("home-exists", f"{self.root} is a Fastness home already", "Name another with --home.")
        if len(os.fsencode(self.root / _LONGEST_SOCKET)) > _SOCKET_PATH_MAX:
            raise Invalid("home-path-long", f"{self.root} is too long a path for sockets", "Choose a shorter one.")
        for folder in (
            self.root, self.blobs, self.ledger, self.checkpoints, self.journal, self.ca.parent,
            self.credentials, self.run, self.workers,
        ):  # fmt: skip
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)  # it may have been there, open to others

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the house: one process at a time opens its records and keys.

        Raises:
            Conflict: another process holds it.
        """
        self.run.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(
                    "home-locked", f"another process holds {self.root}", "Wait for it, or stop `fastness up`."
                ) from error
            yield
        finally:
            os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    # A name that nobody can guess, and a file that was not there: nobody else holds it open.
    temporary = path.with_name(f".{path.name}.{system_entropy(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
